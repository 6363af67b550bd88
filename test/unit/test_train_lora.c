/*
 * test_train_lora.c
 *	  Low-rank additions, compiled in double: their gradient beside differences
 *	  of the loss, and what they leave alone.
 */
#include "unit/train_double.h"

#include "unit/train_fixture.h"

#define STEP 1e-5
#define TEXTS 4

static const int32_t ids[] = {2, 30, 31, 3, 2, 40, 3, 2, 600, 601, 602, 3, 2, 77, 3};
static const int32_t offsets[TEXTS + 1] = {0, 4, 7, 12, 15};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};
static const int32_t labels[] = {0, 2, 1, 1};
static const BrTrainLoraOptions all = {3, 6, BR_TRAIN_LORA_ALL, 5};

typedef struct Adapted
{
	Trained trained;
	BrTrainClasses classes;
	BrTrainLora *lora;
	BrTrainSet set;
} Adapted;

static void
adapted_open_so(Adapted *adapted, const BrTrainLoraOptions *options, BrTrainOptions how)
{
	Trained *trained = &adapted->trained;

	how.backend = br_math_portable_backend();
	trained_open(trained, "tiny-bert-cls", (BrTrainHead){3, 32, false}, &how);
	adapted->classes = (BrTrainClasses){how.backend, trained->model, labels, false, 0};
	assert_int_equal(br_train_lora_create(&trained->open.context, trained->model, how.backend,
										  options, &adapted->lora),
					 BR_OK);
	adapted->set = br_train_lora_set(adapted->lora);
}

static void
adapted_open(Adapted *adapted, const BrTrainLoraOptions *options)
{
	adapted_open_so(adapted, options, (BrTrainOptions){.seed = 0});
}

static void
adapted_close(Adapted *adapted)
{
	br_train_lora_destroy(adapted->lora);
	trained_close(&adapted->trained);
}

static double
loss_of(Adapted *adapted)
{
	double loss;

	br_train_lora_push(adapted->lora);
	assert_int_equal(br_train_accumulate(adapted->trained.run, &batch, 0, br_train_classes,
										 &adapted->classes, 0, &loss),
					 BR_OK);
	return loss;
}

/* Every parameter of every factor and of the head, from factors that are all not 0. */
static void
gradients_are_differences(void **state)
{
	Adapted adapted;

	(void) state;
	adapted_open(&adapted, &all);
	for (size_t i = 0; i < adapted.set.n; i++)
		adapted.set.parameters[i] += 0.05 * sin((double) i);
	loss_of(&adapted);
	br_train_lora_pull(adapted.lora);
	for (int t = 0; t < adapted.set.n_tensors; t++)
	{
		const BrTrainTensor *tensor = &adapted.set.tensors[t];

		for (int i = 0; i < tensor->rows * (tensor->columns > 0 ? tensor->columns : 1); i += 5)
		{
			size_t at = tensor->offset + (size_t) i;
			double kept = adapted.set.parameters[at];
			double difference;

			adapted.set.parameters[at] = kept + STEP;
			difference = loss_of(&adapted);
			adapted.set.parameters[at] = kept - STEP;
			difference = (difference - loss_of(&adapted)) / (2 * STEP);
			adapted.set.parameters[at] = kept;
			if (!(fabs(adapted.set.gradient[at] - difference) <= 1e-8 + 1e-5 * fabs(difference)))
				fail_msg("%s[%d]: slope %.12g, difference %.12g", tensor->name, i,
						 adapted.set.gradient[at], difference);
		}
	}
	adapted_close(&adapted);
}

/* The slope of factors from that of the whole matrix, by the definition. */
static void
assert_factors(const Adapted *adapted, const double *whole)
{
	const BrTrainLora *lora = adapted->lora;
	const BrTrainSet *set = &adapted->set;
	size_t rank = (size_t) lora->rank;

	for (int t = 0; t < lora->n_targets; t++)
	{
		const LoraTarget *target = &lora->targets[t];
		size_t inputs = (size_t) target->inputs;
		size_t outputs = (size_t) target->outputs;

		for (size_t r = 0; r < rank; r++)
		{
			for (size_t o = 0; o < outputs; o++)
			{
				double sum = 0;

				for (size_t i = 0; i < inputs; i++)
					sum += 2 * whole[target->weight + o * inputs + i] *
						set->parameters[target->down + r * inputs + i];
				assert_true(fabs(set->gradient[target->up + o * rank + r] - sum) < 1e-12);
			}
			for (size_t i = 0; i < inputs; i++)
			{
				double sum = 0;

				for (size_t o = 0; o < outputs; o++)
					sum += 2 * whole[target->weight + o * inputs + i] *
						set->parameters[target->up + o * rank + r];
				assert_true(fabs(set->gradient[target->down + r * inputs + i] - sum) < 1e-12);
			}
		}
	}
}

/*
 * Factors get what the whole matrices' gradient says, by any number of threads,
 * with dropout and with layers that are computed twice; the matrices, the tables
 * and their biases get nothing.
 */
static void
factors_follow_from_whole_gradients(void **state)
{
	(void) state;
	for (int threads = 1; threads <= 3; threads += 2)
	{
		BrTrainOptions how = {.dropout = 0.1, .attention_dropout = 0.1};
		BrContext context;
		Adapted adapted;
		BrTrainModel *model;
		double *whole;
		double loss;

		br_base_context_init(&context);
		if (threads > 1)
		{
			assert_int_equal(br_base_pool_create(&context, threads, &how.pool), BR_OK);
			how.memory = 130000;
		}
		adapted_open_so(&adapted, &all, how);
		model = adapted.trained.model;
		for (size_t i = 0; i < adapted.set.n; i++)
			adapted.set.parameters[i] += 0.05 * sin((double) i);
		loss_of(&adapted);
		for (int t = 0; t < model->n_tensors; t++)
			if (strstr(model->tensors[t].name, "orm") == NULL &&
				strncmp(model->tensors[t].name, "head.", 5) != 0)
				assert_true(model->gradient[model->tensors[t].offset] == 0);
		br_train_lora_pull(adapted.lora);

		/* the same model as if nothing were added to it */
		whole = malloc(model->n * sizeof(double));
		model->delta = NULL;
		model->lora = NULL;
		assert_int_equal(br_train_accumulate(adapted.trained.run, &batch, 0, br_train_classes,
											 &adapted.classes, 0, &loss),
						 BR_OK);
		memcpy(whole, model->gradient, model->n * sizeof(double));
		assert_true(how.memory == 0 || adapted.trained.run->n_kept < 2);
		assert_factors(&adapted, whole);
		free(whole);
		adapted_close(&adapted);
		br_base_pool_destroy(how.pool);
	}
}

/* 2 layers with 6 matrices of 2 factors each, and the head's two tensors. */
static void
set_is_named_and_small(void **state)
{
	/* A of 4 x 32 and B of 32 x 4 numbers where the matrix is square, one side 64 elsewhere */
	const size_t factors = 2 * 3 * (4 * (32 + 32) + 2 * (32 + 64));
	Adapted adapted;

	(void) state;
	adapted_open(&adapted, &all);
	assert_int_equal(adapted.set.n_tensors, 2 * 6 * 2 + 2);
	assert_int_equal(adapted.set.n, factors + 3 * 32 + 3);
	assert_string_equal(adapted.set.tensors[0].name,
						"encoder.layer.0.attention.self.query.lora_A.weight");
	assert_string_equal(adapted.set.tensors[23].name, "encoder.layer.1.output.dense.lora_B.weight");
	assert_string_equal(adapted.set.tensors[25].name, "head.bias");
	assert_true(adapted.set.tensors[0].decays && !adapted.set.tensors[25].decays);
	adapted_close(&adapted);
}

/*
 * At first the model is what it was. After steps the loss is lower, the chosen
 * matrices and the head differ, and nothing else does.
 */
static void
steps_move_what_was_chosen(void **state)
{
	const BrTrainLoraOptions options = {2, 4,
										BR_TRAIN_LORA_QUERY | BR_TRAIN_LORA_VALUE |
											BR_TRAIN_LORA_UP,
										1};
	const BrTrainRecipe recipe =
		{.rate = 0.02, .steps = 20, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .decay = 0.01};
	BrTrainOptimiser *optimiser;
	Adapted adapted;
	double *before;
	double first;
	double length;
	BrTrainModel *model;
	int changed = 0;

	(void) state;
	adapted_open(&adapted, &options);
	model = adapted.trained.model;
	before = malloc(model->n * sizeof(double));
	memcpy(before, model->parameters, model->n * sizeof(double));
	first = loss_of(&adapted);
	assert_memory_equal(before, model->parameters, model->n * sizeof(double));
	assert_int_equal(br_train_optimiser_create(&adapted.trained.open.context, &adapted.set, &recipe,
											   NULL, &optimiser),
					 BR_OK);
	for (int step = 0; step < 20; step++)
	{
		br_train_zero_gradient(model);
		loss_of(&adapted);
		br_train_lora_pull(adapted.lora);
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
	}
	assert_true(loss_of(&adapted) < 0.5 * first);
	for (int t = 0; t < model->n_tensors; t++)
	{
		const BrTrainTensor *tensor = &model->tensors[t];
		size_t n = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
		bool chosen = strstr(tensor->name, "query.weight") != NULL ||
			strstr(tensor->name, "value.weight") != NULL ||
			strstr(tensor->name, "intermediate.dense.weight") != NULL ||
			strncmp(tensor->name, "head.", 5) == 0;
		bool same = memcmp(before + tensor->offset, model->parameters + tensor->offset,
						   n * sizeof(double)) == 0;

		assert_true(same != chosen);
		changed += chosen;
	}
	assert_int_equal(changed, 2 * 3 + 2);
	free(before);
	br_train_optimiser_destroy(optimiser);
	adapted_close(&adapted);
}

static void
wrong_options_are_refused(void **state)
{
	const BrTrainOptions how = {.backend = br_math_portable_backend()};
	const BrTrainLoraOptions bad[] = {{0, 1, BR_TRAIN_LORA_ALL, 0},
									  {33, 1, BR_TRAIN_LORA_ALL, 0},
									  {2, 0, BR_TRAIN_LORA_ALL, 0},
									  {2, NAN, BR_TRAIN_LORA_ALL, 0},
									  {2, 1, 0, 0},
									  {2, 1, 0x40, 0}};
	BrStatus status = BR_ERR_MEMORY;
	BrTrainLora *lora;
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &how);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		assert_int_equal(br_train_lora_create(&trained.open.context, trained.model, how.backend,
											  &bad[i], &lora),
						 BR_ERR_ARGUMENT);
		assert_null(lora);
	}
	assert_int_equal(br_train_lora_create(&trained.open.context, trained.model, NULL, &all, &lora),
					 BR_ERR_UNSUPPORTED);
	for (int tries = 0; status == BR_ERR_MEMORY; tries++)
	{
		Ledger ledger = {.allowed = tries};
		BrContext context;

		ledger_context(&context, &ledger);
		status = br_train_lora_create(&context, trained.model, how.backend, &all, &lora);
		br_train_lora_destroy(lora);
		assert_true(ledger.outstanding == 0);
	}
	assert_int_equal(status, BR_OK);
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(factors_follow_from_whole_gradients),
		cmocka_unit_test(set_is_named_and_small),
		cmocka_unit_test(steps_move_what_was_chosen),
		cmocka_unit_test(wrong_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
