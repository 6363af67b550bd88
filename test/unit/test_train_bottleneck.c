/*
 * test_train_bottleneck.c
 *	  Bottlenecks, compiled in double: their gradient beside differences of the
 *	  loss, what they compute, and what they leave alone.
 */
#include "unit/train_double.h"

#include "unit/train_fixture.h"

#define STEP 1e-5
#define TEXTS 4
#define SIZE 5

static const int32_t ids[] = {2, 30, 31, 3, 2, 40, 3, 2, 600, 601, 602, 3, 2, 77, 3};
static const int32_t offsets[TEXTS + 1] = {0, 4, 7, 12, 15};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};
static const int32_t labels[] = {0, 2, 1, 1};
static const BrTrainBottleneckOptions usual = {SIZE, 5};

typedef struct Adapted
{
	Trained trained;
	BrTrainClasses classes;
	BrTrainBottleneck *bottleneck;
	BrTrainSet set;
} Adapted;

static void
adapted_open(Adapted *adapted, const char *name, BrTrainOptions options)
{
	Trained *trained = &adapted->trained;

	options.backend = br_math_portable_backend();
	trained_open(trained, name, (BrTrainHead){3, 32, false}, &options);
	adapted->classes = (BrTrainClasses){options.backend, trained->model, labels, false, 0};
	assert_int_equal(br_train_bottleneck_create(&trained->open.context, trained->model, &usual,
												&adapted->bottleneck),
					 BR_OK);
	adapted->set = br_train_bottleneck_set(adapted->bottleneck);
}

static void
adapted_close(Adapted *adapted)
{
	br_train_bottleneck_destroy(adapted->bottleneck);
	trained_close(&adapted->trained);
}

static double
loss_of(Adapted *adapted)
{
	double loss;

	br_train_bottleneck_push(adapted->bottleneck);
	if (br_train_accumulate(adapted->trained.run, &batch, 0, br_train_classes, &adapted->classes, 0,
							&loss) != BR_OK)
		fail_msg("%s", adapted->trained.open.context.detail);
	return loss;
}

static void
check_parameter(Adapted *adapted, const BrTrainTensor *tensor, int i)
{
	double *parameter = &adapted->set.parameters[tensor->offset + (size_t) i];
	double slope = adapted->set.gradient[tensor->offset + (size_t) i];
	double kept = *parameter;
	double difference;

	*parameter = kept + STEP;
	difference = loss_of(adapted);
	*parameter = kept - STEP;
	difference = (difference - loss_of(adapted)) / (2 * STEP);
	*parameter = kept;
	if (!(fabs(slope - difference) <= 1e-8 + 1e-5 * fabs(difference)))
		fail_msg("%s[%d]: slope %.12g, difference %.12g", tensor->name, i, slope, difference);
}

/* With dropout, and with layers that are computed twice; from weights large enough to matter. */
static void
gradients_are_differences(void **state)
{
	static const struct
	{
		const char *model;
		BrTrainOptions options;
	} cases[] = {{"tiny-bert-cls", {.dropout = 0.1, .attention_dropout = 0.1}},
				 {"tiny-mpnet-mean", {.memory = 130000}}};

	(void) state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		Adapted adapted;

		adapted_open(&adapted, cases[c].model, cases[c].options);
		for (size_t i = 0; i < adapted.set.n; i++)
			adapted.set.parameters[i] += 0.1 * sin((double) i);
		loss_of(&adapted);
		assert_true(cases[c].options.memory == 0 || adapted.trained.run->n_kept < 2);
		br_train_bottleneck_pull(adapted.bottleneck);
		for (int t = 0; t < adapted.set.n_tensors; t++)
		{
			const BrTrainTensor *tensor = &adapted.set.tensors[t];

			for (int i = 0; i < tensor->rows * (tensor->columns > 0 ? tensor->columns : 1); i += 3)
				check_parameter(&adapted, tensor, i);
		}
		adapted_close(&adapted);
	}
}

/* 2 layers of 2 halves with 4 tensors and of 2 norms, and the head's two tensors. */
static void
set_is_named_and_small(void **state)
{
	Adapted adapted;

	(void) state;
	adapted_open(&adapted, "tiny-bert-cls", (BrTrainOptions){.seed = 0});
	assert_int_equal(adapted.set.n_tensors, 2 * (2 * 4 + 4) + 2);
	assert_int_equal(adapted.set.n, 2 * (2 * (2 * SIZE * 32 + SIZE + 32) + 4 * 32) + 3 * 32 + 3);
	assert_string_equal(adapted.set.tensors[0].name,
						"encoder.layer.0.attention.output.dense.adapter_down.weight");
	assert_string_equal(adapted.set.tensors[7].name,
						"encoder.layer.0.output.dense.adapter_up.bias");
	assert_string_equal(adapted.set.tensors[8].name,
						"encoder.layer.0.attention.output.LayerNorm.weight");
	assert_string_equal(adapted.set.tensors[25].name, "head.bias");
	assert_true(adapted.set.tensors[0].decays && !adapted.set.tensors[7].decays &&
				!adapted.set.tensors[8].decays);
	for (int i = 0; i < SIZE * 32; i++)
		assert_true(fabs(adapted.set.parameters[i]) <= 0.02);
	adapted_close(&adapted);
}

/* With nothing in them they change nothing; with a bias alone, every row gets it. */
static void
empty_bottlenecks_change_nothing(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	double expected[TEXTS * 32];
	double embeddings[TEXTS * 32];
	Adapted adapted;
	Trained plain;
	BrTrainModel *model;

	(void) state;
	trained_open(&plain, "tiny-bert-cls", (BrTrainHead){0}, &options);
	assert_int_equal(br_train_embed(plain.run, &batch, 0, expected), BR_OK);
	adapted_open(&adapted, "tiny-bert-cls", options);
	model = adapted.trained.model;
	assert_int_equal(br_train_embed(adapted.trained.run, &batch, 0, embeddings), BR_OK);
	assert_memory_not_equal(embeddings, expected, sizeof(expected));
	for (int t = 0; t < adapted.set.n_tensors; t++)
		if (strstr(adapted.set.tensors[t].name, "adapter_up.weight") != NULL)
			memset(adapted.set.parameters + adapted.set.tensors[t].offset, 0,
				   32 * SIZE * sizeof(double));
	assert_int_equal(br_train_embed(adapted.trained.run, &batch, 0, embeddings), BR_OK);
	assert_memory_equal(embeddings, expected, sizeof(expected));

	/* a bias behind the projection of attention is a bias of that projection */
	for (size_t i = 0; i < 32; i++)
	{
		assert_string_equal(adapted.set.tensors[3].name,
							"encoder.layer.0.attention.output.dense.adapter_up.bias");
		adapted.set.parameters[adapted.set.tensors[3].offset + i] = 0.1 * (double) i;
		plain.model->parameters[br_train_layer(&model->shape, 0).output.bias + i] +=
			0.1 * (double) i;
	}
	assert_int_equal(br_train_embed(plain.run, &batch, 0, expected), BR_OK);
	assert_int_equal(br_train_embed(adapted.trained.run, &batch, 0, embeddings), BR_OK);
	for (size_t i = 0; i < TEXTS * 32; i++)
		assert_true(fabs(embeddings[i] - expected[i]) < 1e-12);
	trained_close(&plain);
	adapted_close(&adapted);
}

/* Steps lower the loss, and of the model move norms of layers and the head alone. */
static void
steps_move_what_is_lent(void **state)
{
	const BrTrainRecipe recipe = {.rate = 0.02,
								  .steps = 20,
								  .beta1 = 0.9,
								  .beta2 = 0.999,
								  .epsilon = 1e-8};
	BrTrainOptimiser *optimiser;
	Adapted adapted;
	BrTrainModel *model;
	double *before;
	double first;
	double length;
	int changed = 0;

	(void) state;
	adapted_open(&adapted, "tiny-bert-cls", (BrTrainOptions){.seed = 0});
	model = adapted.trained.model;
	before = malloc(model->n * sizeof(double));
	memcpy(before, model->parameters, model->n * sizeof(double));
	first = loss_of(&adapted);
	br_train_zero_gradient(model);
	assert_int_equal(br_train_optimiser_create(&adapted.trained.open.context, &adapted.set, &recipe,
											   NULL, &optimiser),
					 BR_OK);
	for (int step = 0; step < 20; step++)
	{
		loss_of(&adapted);
		br_train_bottleneck_pull(adapted.bottleneck);
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
	}
	assert_true(loss_of(&adapted) < 0.5 * first);
	for (int t = 0; t < model->n_tensors; t++)
	{
		const BrTrainTensor *tensor = &model->tensors[t];
		size_t n = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
		bool lent = (strstr(tensor->name, "LayerNorm") != NULL &&
					 strstr(tensor->name, "embeddings") == NULL) ||
			strncmp(tensor->name, "head.", 5) == 0;

		assert_true((memcmp(before + tensor->offset, model->parameters + tensor->offset,
							n * sizeof(double)) != 0) == lent);
		changed += lent;
	}
	assert_int_equal(changed, 2 * 4 + 2);
	free(before);
	br_train_optimiser_destroy(optimiser);
	adapted_close(&adapted);
}

static void
wrong_options_are_refused(void **state)
{
	const BrTrainOptions how = {.backend = br_math_portable_backend()};
	const BrTrainLoraOptions low_rank = {2, 2, BR_TRAIN_LORA_ALL, 0};
	BrStatus status = BR_ERR_MEMORY;
	BrTrainBottleneck *bottleneck;
	BrTrainLora *lora;
	Trained trained;
	BrContext *own = &trained.open.context;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &how);
	for (int i = 0; i < 3; i++)
	{
		BrTrainBottleneckOptions bad = {(const int[]){0, -1, 33}[i], 0};

		assert_int_equal(br_train_bottleneck_create(own, trained.model, &bad, &bottleneck),
						 BR_ERR_ARGUMENT);
		assert_null(bottleneck);
	}
	for (int tries = 0; status == BR_ERR_MEMORY; tries++)
	{
		Ledger ledger = {.allowed = tries};
		BrContext context;

		ledger_context(&context, &ledger);
		status = br_train_bottleneck_create(&context, trained.model, &usual, &bottleneck);
		br_train_bottleneck_destroy(bottleneck);
		assert_true(ledger.outstanding == 0);
	}
	assert_int_equal(status, BR_OK);

	/* one addition at a time, and then the other */
	assert_int_equal(br_train_bottleneck_create(own, trained.model, &usual, &bottleneck), BR_OK);
	assert_int_equal(br_train_lora_create(own, trained.model, how.backend, &low_rank, &lora),
					 BR_ERR_ARGUMENT);
	assert_null(lora);
	br_train_bottleneck_destroy(bottleneck);
	assert_int_equal(br_train_lora_create(own, trained.model, how.backend, &low_rank, &lora),
					 BR_OK);
	assert_int_equal(br_train_bottleneck_create(own, trained.model, &usual, &bottleneck),
					 BR_ERR_ARGUMENT);
	br_train_lora_destroy(lora);
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(set_is_named_and_small),
		cmocka_unit_test(empty_bottlenecks_change_nothing),
		cmocka_unit_test(steps_move_what_is_lent),
		cmocka_unit_test(wrong_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
