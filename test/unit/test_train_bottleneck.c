/*
 * test_train_bottleneck.c
 *	  Bottlenecks, compiled in double: their gradient beside differences of the
 *	  loss, what they compute, and what they leave alone.
 */
#include "unit/train_double.h"

#include "unit/adapted_fixture.h"

#define SIZE 5

static const AdditionOptions usual = {.kind = BOTTLENECK, .bottleneck = {SIZE, 5}};

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
		const Differences differences = {adapted_loss, &adapted, 1e-5, 1e-8, 1e-5};

		adapted_open(&adapted, cases[c].model, &usual, cases[c].options);
		adapted_move(&adapted, 0.1);
		adapted_loss(&adapted);
		assert_true(cases[c].options.memory == 0 || adapted.trained.run->n_kept < 2);
		addition_pull(&adapted.addition);
		expect_set_gradient(&differences, &adapted.set, 3);
		adapted_close(&adapted);
	}
}

/* 2 layers of 2 halves with 4 tensors and of 2 norms, and the head's two tensors. */
static void
set_is_named_and_small(void **state)
{
	Adapted adapted;

	(void) state;
	adapted_open(&adapted, "tiny-bert-cls", &usual, (BrTrainOptions){.seed = 0});
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
	adapted_open(&adapted, "tiny-bert-cls", &usual, options);
	model = adapted.model;
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
	Adapted adapted;
	double *before;
	int changed = 0;

	(void) state;
	adapted_open(&adapted, "tiny-bert-cls", &usual, (BrTrainOptions){.seed = 0});
	before = copy_parameters(adapted.model);
	expect_adapted_to_learn(&adapted, 0.02, 20, 0);
	for (int t = 0; t < adapted.model->n_tensors; t++)
	{
		const BrTrainTensor *tensor = &adapted.model->tensors[t];
		bool lent = (strstr(tensor->name, "LayerNorm") != NULL &&
					 strstr(tensor->name, "embeddings") == NULL) ||
			strncmp(tensor->name, "head.", 5) == 0;

		assert_true(adapted_moved(&adapted, tensor, before) == lent);
		changed += lent;
	}
	assert_int_equal(changed, 2 * 4 + 2);
	free(before);
	adapted_close(&adapted);
}

static void
wrong_options_are_refused(void **state)
{
	const BrTrainOptions how = {.backend = br_math_portable_backend()};
	const AdditionOptions low_rank = {.kind = LORA, .lora = {2, 2, BR_TRAIN_LORA_ALL, 0}};
	Addition addition;
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &how);
	for (int i = 0; i < 3; i++)
		expect_addition_refused(&trained, how.backend,
								&(AdditionOptions){.kind = BOTTLENECK,
												   .bottleneck = {(const int[]){0, -1, 33}[i], 0}},
								BR_ERR_ARGUMENT);
	expect_addition_leaks_nothing(&trained, how.backend, &usual);

	/* one addition at a time, and then the other */
	addition_create(&addition, &trained, how.backend, &usual);
	expect_addition_refused(&trained, how.backend, &low_rank, BR_ERR_ARGUMENT);
	addition_destroy(&addition);
	addition_create(&addition, &trained, how.backend, &low_rank);
	expect_addition_refused(&trained, how.backend, &usual, BR_ERR_ARGUMENT);
	addition_destroy(&addition);
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
