/*
 * test_train_lora.c
 *	  Low-rank additions, compiled in double: their gradient beside differences
 *	  of the loss, and what they leave alone.
 */
#include "unit/train_double.h"

#include "unit/adapted_fixture.h"

static const AdditionOptions all = {.kind = LORA, .lora = {3, 6, BR_TRAIN_LORA_ALL, 5}};

/* Every fifth number of every factor and all of the head's biases. */
static void
gradients_are_differences(void **state)
{
	Adapted adapted;
	const Differences differences = {adapted_loss, &adapted, 1e-5, 1e-8, 1e-5};

	(void) state;
	adapted_open(&adapted, "tiny-bert-cls", &all, (BrTrainOptions){.seed = 0});
	adapted_move(&adapted, 0.05);
	adapted_loss(&adapted);
	addition_pull(&adapted.addition);
	expect_set_gradient(&differences, &adapted.set, 5);
	adapted_close(&adapted);
}

/* The slope of factors from that of the whole matrix, by the definition. */
static void
assert_factors(const Adapted *adapted, const double *whole)
{
	const BrTrainLora *lora = adapted->addition.lora;
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
		adapted_open(&adapted, "tiny-bert-cls", &all, how);
		model = adapted.model;
		adapted_move(&adapted, 0.05);
		adapted_loss(&adapted);
		for (int t = 0; t < model->n_tensors; t++)
			if (strstr(model->tensors[t].name, "orm") == NULL &&
				strncmp(model->tensors[t].name, "head.", 5) != 0)
				assert_true(model->gradient[model->tensors[t].offset] == 0);
		addition_pull(&adapted.addition);

		/* the same model as if nothing were added to it */
		model->delta = NULL;
		model->lora = NULL;
		assert_int_equal(br_train_accumulate(adapted.trained.run, &batch, 0, br_train_classes,
											 &adapted.classes, 0, &loss),
						 BR_OK);
		whole = copy_gradient(model);
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
	adapted_open(&adapted, "tiny-bert-cls", &all, (BrTrainOptions){.seed = 0});
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
	const AdditionOptions options =
		{.kind = LORA,
		 .lora = {2, 4, BR_TRAIN_LORA_QUERY | BR_TRAIN_LORA_VALUE | BR_TRAIN_LORA_UP, 1}};
	Adapted adapted;
	double *before;
	int changed = 0;

	(void) state;
	adapted_open(&adapted, "tiny-bert-cls", &options, (BrTrainOptions){.seed = 0});
	before = copy_parameters(adapted.model);
	adapted_loss(&adapted);
	assert_memory_equal(before, adapted.model->parameters, adapted.model->n * sizeof(double));
	expect_adapted_to_learn(&adapted, 0.02, 20, 0.01);
	for (int t = 0; t < adapted.model->n_tensors; t++)
	{
		const BrTrainTensor *tensor = &adapted.model->tensors[t];
		bool chosen = strstr(tensor->name, "query.weight") != NULL ||
			strstr(tensor->name, "value.weight") != NULL ||
			strstr(tensor->name, "intermediate.dense.weight") != NULL ||
			strncmp(tensor->name, "head.", 5) == 0;

		assert_true(adapted_moved(&adapted, tensor, before) == chosen);
		changed += chosen;
	}
	assert_int_equal(changed, 2 * 3 + 2);
	free(before);
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
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &how);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_addition_refused(&trained, how.backend,
								&(AdditionOptions){.kind = LORA, .lora = bad[i]}, BR_ERR_ARGUMENT);
	expect_addition_refused(&trained, NULL, &all, BR_ERR_UNSUPPORTED);
	expect_addition_leaks_nothing(&trained, how.backend, &all);
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
