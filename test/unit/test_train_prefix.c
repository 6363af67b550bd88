/*
 * test_train_prefix.c
 *	  Prefixes of attention, compiled in double: their gradient beside differences
 *	  of the loss, what attention makes of them, and what they leave alone.
 */
#include "unit/train_double.h"

#include "unit/adapted_fixture.h"

#define LENGTH 3
#define WIDTH 7
#define NUMBERS (2 * 2 * LENGTH * 32)

/* width: of the network, 0: none. */
static AdditionOptions
prefix_of(int width)
{
	return (AdditionOptions){.kind = PREFIX, .prefix = {LENGTH, width, 5}};
}

static void
prefixed_open(Adapted *adapted, const char *name, int width, BrTrainOptions how)
{
	const AdditionOptions options = prefix_of(width);

	adapted_open(adapted, name, &options, how);
}

/* With dropout, with distances, with layers computed twice, by threads; with a network and without. */
static void
gradients_are_differences(void **state)
{
	static const struct
	{
		const char *model;
		int width;
		int threads;
		BrTrainOptions options;
	} cases[] = {{"tiny-bert-cls", 0, 1, {.dropout = 0.1, .attention_dropout = 0.1}},
				 {"tiny-mpnet-mean", 0, 1, {.memory = 130000}},
				 {"tiny-bert-cls", WIDTH, 3, {.attention_dropout = 0.1}},
				 {"tiny-mpnet-mean", WIDTH, 1, {.dropout = 0.1}}};

	(void) state;
	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++)
	{
		BrTrainOptions options = cases[c].options;
		BrContext context;
		Adapted adapted;
		const Differences differences = {adapted_loss, &adapted, 1e-5, 1e-8, 1e-5};
		double largest = 0;

		br_base_context_init(&context);
		if (cases[c].threads > 1)
			assert_int_equal(br_base_pool_create(&context, cases[c].threads, &options.pool), BR_OK);
		prefixed_open(&adapted, cases[c].model, cases[c].width, options);
		adapted_move(&adapted, 0.3);
		adapted_loss(&adapted);
		assert_true(options.memory == 0 || adapted.trained.run->n_kept < 2);
		addition_pull(&adapted.addition);
		expect_set_gradient(&differences, &adapted.set, 3);
		for (int t = 0; t < adapted.set.n_tensors; t++)
			if (strncmp(adapted.set.tensors[t].name, "head", 4) != 0)
				largest = fmax(largest, fabs(adapted.set.gradient[adapted.set.tensors[t].offset]));
		assert_true(largest > 1e-4);
		adapted_close(&adapted);
		br_base_pool_destroy(options.pool);
	}
}

/* What two pulls add up to is what one of twice the loss gives; then there is nothing more. */
static void
pulls_add_up(void **state)
{
	(void) state;
	for (int width = 0; width <= WIDTH; width += WIDTH)
	{
		Adapted adapted;
		double *once;

		prefixed_open(&adapted, "tiny-bert-cls", width, (BrTrainOptions){.seed = 0});
		adapted_loss(&adapted);
		addition_pull(&adapted.addition);
		once = copied(adapted.set.gradient, adapted.set.n * sizeof(double));
		addition_pull(&adapted.addition);
		assert_memory_equal(once, adapted.set.gradient, adapted.set.n * sizeof(double));
		adapted_loss(&adapted);
		addition_pull(&adapted.addition);
		for (size_t i = 0; i < adapted.set.n; i++)
			assert_true(fabs(adapted.set.gradient[i] - 2 * once[i]) <= 1e-15);
		adapted_loss(&adapted);
		br_train_zero_gradient(adapted.model);
		memset(adapted.set.gradient, 0, adapted.set.n * sizeof(double));
		addition_pull(&adapted.addition);
		for (size_t i = 0; i < adapted.set.n; i++)
			assert_true(adapted.set.gradient[i] == 0);
		free(once);
		adapted_close(&adapted);
	}
}

/* ---- what attention makes of a prefix ---- */

/* softmax over all keys, of one query of one head; written out. */
static void
attend_plainly(const double *query, const double *keys[], const double *values[], int n, int dim,
			   double *output)
{
	double total = 0;

	memset(output, 0, (size_t) dim * sizeof(double));
	for (int i = 0; i < n; i++)
	{
		double score = 0;

		for (int j = 0; j < dim; j++)
			score += query[j] * keys[i][j];
		score = exp(score / sqrt(dim));
		total += score;
		for (int j = 0; j < dim; j++)
			output[j] += score * values[i][j];
	}
	for (int j = 0; j < dim; j++)
		output[j] /= total;
}

/* The last layer's attention from its own queries, keys and values and from the set. */
static void
attention_sees_the_prefix(void **state)
{
	Adapted adapted;
	BrTrainRun *run;
	double embeddings[TEXTS * 32];
	int dim;
	int compared = 0;

	(void) state;
	prefixed_open(&adapted, "tiny-bert-cls", 0, (BrTrainOptions){.seed = 0});
	for (size_t i = 0; i < NUMBERS; i++)
		adapted.set.parameters[i] = sin((double) i);
	addition_push(&adapted.addition);
	run = adapted.trained.run;
	assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
	assert_string_equal(adapted.set.tensors[2].name,
						"encoder.layer.1.attention.self.key.prefix.weight");
	dim = 32 / run->shape->heads;
	for (int text = 0; text < TEXTS; text++)
		for (int row = offsets[text]; row < offsets[text + 1]; row++)
			for (int head = 0; head < run->shape->heads; head++, compared++)
			{
				const double *qkv = run->tape->qkv + head * dim;
				const double *keys[LENGTH + 5];
				const double *values[LENGTH + 5];
				double expected[32];
				int n = 0;

				for (int i = 0; i < LENGTH; i++, n++)
				{
					keys[n] = adapted.set.parameters + adapted.set.tensors[2].offset + i * 32 +
						head * dim;
					values[n] = adapted.set.parameters + adapted.set.tensors[3].offset + i * 32 +
						head * dim;
				}
				for (int i = offsets[text]; i < offsets[text + 1]; i++, n++)
				{
					keys[n] = qkv + i * 96 + 32;
					values[n] = qkv + i * 96 + 64;
				}
				attend_plainly(qkv + row * 96, keys, values, n, dim, expected);
				for (int j = 0; j < dim; j++)
					assert_true(fabs(run->tape->attended[row * 32 + head * dim + j] - expected[j]) <
								1e-12);
			}
	assert_int_equal(compared, 15 * run->shape->heads);
	adapted_close(&adapted);
}

/* A prefix whose keys point away from every query changes nothing, also where distances count. */
static void
far_prefixes_change_nothing(void **state)
{
	static const char *const names[] = {"tiny-bert-cls", "tiny-mpnet-mean"};

	(void) state;
	for (size_t m = 0; m < 2; m++)
	{
		const BrTrainOptions options = {.backend = br_math_portable_backend()};
		double expected[TEXTS * 32];
		double embeddings[TEXTS * 32];
		Adapted adapted;
		Trained plain;
		double *bias;
		size_t block = LENGTH * 32;

		trained_open(&plain, names[m], (BrTrainHead){0}, &options);
		prefixed_open(&adapted, names[m], 0, options);
		/* all queries are nearly the bias, and the prefix's keys point away from it */
		for (int layer = 0; layer < 2; layer++)
		{
			bias = plain.model->parameters + br_train_layer(&plain.model->shape, layer).qkv.bias;
			for (int i = 0; i < 32; i++)
				bias[i] += 50;
			memcpy(adapted.model->parameters + br_train_layer(&plain.model->shape, layer).qkv.bias,
				   bias, 32 * sizeof(double));
			for (size_t i = 0; i < block; i++)
			{
				adapted.set.parameters[2 * (size_t) layer * block + i] = -50;
				adapted.set.parameters[(2 * (size_t) layer + 1) * block + i] = 9;
			}
		}
		addition_push(&adapted.addition);
		assert_int_equal(br_train_embed(plain.run, &batch, 0, expected), BR_OK);
		assert_int_equal(br_train_embed(adapted.trained.run, &batch, 0, embeddings), BR_OK);
		for (size_t i = 0; i < TEXTS * 32; i++)
			assert_true(fabs(embeddings[i] - expected[i]) < 1e-12);
		trained_close(&plain);
		adapted_close(&adapted);
	}
}

/* ---- the set ---- */

static void
sets_are_named(void **state)
{
	Adapted adapted;

	(void) state;
	prefixed_open(&adapted, "tiny-bert-cls", 0, (BrTrainOptions){.seed = 0});
	assert_int_equal(adapted.set.n_tensors, 4 + 2);
	assert_int_equal(adapted.set.n, NUMBERS + 3 * 32 + 3);
	assert_string_equal(adapted.set.tensors[1].name,
						"encoder.layer.0.attention.self.value.prefix.weight");
	assert_string_equal(adapted.set.tensors[5].name, "head.bias");
	adapted_close(&adapted);

	prefixed_open(&adapted, "tiny-bert-cls", WIDTH, (BrTrainOptions){.seed = 0});
	assert_int_equal(adapted.set.n_tensors, 5 + 2);
	assert_int_equal(adapted.set.n,
					 LENGTH * 32 + WIDTH * 32 + WIDTH + 128 * WIDTH + 128 + 3 * 32 + 3);
	assert_string_equal(adapted.set.tensors[0].name, "prefix.embedding.weight");
	assert_string_equal(adapted.set.tensors[4].name, "prefix.up.bias");
	assert_true(adapted.set.tensors[3].decays && !adapted.set.tensors[4].decays);
	adapted_close(&adapted);
}

/* The numbers of a network, from its definition. */
static void
network_makes_the_prefix(void **state)
{
	Adapted adapted;
	const double *set;
	const double *down;
	const double *up;
	double largest = 0;

	(void) state;
	prefixed_open(&adapted, "tiny-bert-cls", WIDTH, (BrTrainOptions){.seed = 0});
	adapted_move(&adapted, 0.1);
	addition_push(&adapted.addition);
	set = adapted.set.parameters;
	down = set + adapted.set.tensors[1].offset;
	up = set + adapted.set.tensors[3].offset;
	for (int place = 0; place < LENGTH; place++)
		for (int output = 0; output < 128; output++)
		{
			double sum = set[adapted.set.tensors[4].offset + (size_t) output];
			double value = adapted.addition.prefix
							   ->values[output / 32 * LENGTH * 32 + place * 32 + output % 32];

			for (int i = 0; i < WIDTH; i++)
			{
				double inner = set[adapted.set.tensors[2].offset + (size_t) i];

				for (int j = 0; j < 32; j++)
					inner += down[i * 32 + j] * set[place * 32 + j];
				sum += up[output * WIDTH + i] * tanh(inner);
			}
			assert_true(fabs(sum - value) < 1e-14);
			largest = fmax(largest, fabs(value));
		}
	assert_true(largest > 0.05);
	adapted_close(&adapted);
}

/* Steps lower the loss, and of the model move the head alone. */
static void
steps_move_the_head_alone(void **state)
{
	(void) state;
	for (int width = 0; width <= WIDTH; width += WIDTH)
	{
		Adapted adapted;
		double *before;
		size_t own;

		prefixed_open(&adapted, "tiny-bert-cls", width, (BrTrainOptions){.seed = 0});
		before = copy_parameters(adapted.model);
		expect_adapted_to_learn(&adapted, 0.05, 30, 0);
		own = adapted.model->shape.map.total;
		assert_memory_equal(before, adapted.model->parameters, own * sizeof(double));
		assert_memory_not_equal(before + own, adapted.model->parameters + own,
								(adapted.model->n - own) * sizeof(double));
		free(before);
		adapted_close(&adapted);
	}
}

static void
wrong_options_are_refused(void **state)
{
	const BrTrainOptions how = {.backend = br_math_portable_backend()};
	const BrTrainPrefixOptions bad[] = {{0, 0, 0},
										{-1, 0, 0},
										{513, 0, 0},
										{3, -1, 0},
										{3, 9000, 0}};
	const AdditionOptions usual = prefix_of(WIDTH);
	Addition addition;
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &how);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_addition_refused(&trained, how.backend,
								&(AdditionOptions){.kind = PREFIX, .prefix = bad[i]},
								BR_ERR_ARGUMENT);
	expect_addition_refused(&trained, NULL, &usual, BR_ERR_UNSUPPORTED);
	expect_addition_leaks_nothing(&trained, how.backend, &usual);
	addition_create(&addition, &trained, how.backend, &usual);
	expect_addition_refused(&trained, how.backend, &usual, BR_ERR_ARGUMENT);
	addition_destroy(&addition);
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(pulls_add_up),
		cmocka_unit_test(attention_sees_the_prefix),
		cmocka_unit_test(far_prefixes_change_nothing),
		cmocka_unit_test(sets_are_named),
		cmocka_unit_test(network_makes_the_prefix),
		cmocka_unit_test(steps_move_the_head_alone),
		cmocka_unit_test(wrong_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
