/*
 * test_helper.c
 *	  The helper process: what it computes.
 *
 * It is executed as the service executes it. On the CPU its embeddings are those
 * of the encoder in this process, bit by bit; on the device for tests
 * (test/helper) they come from the reference transformer and agree up to the
 * rounding of float.
 */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/helper_fixture.h"

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-roberta-mean",
									 "tiny-xlmr-mean",		 "tiny-mpnet-mean"};

#define N_MODELS ((int) (sizeof(models) / sizeof(models[0])))
#define DEVICE_BOUND 1e-5

/* ---- embeddings ---- */

static void
the_cpu_embeds_as_a_session_does(void **state)
{
	const BrBackend *backend = helper_backend();
	HelperProcess helper;

	(void) state;
	helper_start_ready(&helper, "cpu", 0, 1);
	assert_string_equal(helper.reply.device.name, backend->name);
	assert_string_equal(helper.reply.device.instructions, backend->instruction_set());
	assert_string_equal(helper.reply.device.precision, "f32");
	assert_true(helper.reply.device.memory > helper.reply.device.memory_free);
	for (int i = 0; i < N_MODELS; i++)
	{
		StoredModel stored;
		Texts texts;

		stored_open(&stored, models[i]);
		texts_make(&texts, &stored, HELPER_TEXTS, (uint64_t) i, backend);
		assert_int_equal(texts_ask(&texts, &helper, &stored, i % BR_EXCHANGE_LANES), BR_OK);
		texts_expect(&texts, &helper, &stored, i % BR_EXCHANGE_LANES, 0);
		assert_int_equal(helper.reply.models, i + 1);
		assert_true(helper.reply.seconds > 0 && helper.reply.seconds < 30);
		stored_close(&stored);
	}
	assert_int_equal(helper.reply.evicted, 0);
	helper_end(&helper);
}

/* In every precision that the backend packs here. */
static void
packed_weights_are_used(void **state)
{
	static const char *const names[] = {"f32", "bf16", "int8"};
	const BrBackend *backend = helper_backend();
	StoredModel stored;
	HelperProcess helper;

	(void) state;
	if (backend->packs == NULL)
		skip();
	helper_start_ready(&helper, "cpu", 0, 1);
	stored_open(&stored, "tiny-roberta-mean");
	for (int i = 0; i < BR_PRECISION_COUNT; i++)
	{
		Texts texts;

		if (!backend->packs((BrPrecision) i))
			continue;
		stored_pack(&stored, backend, (BrPrecision) i);
		texts_make(&texts, &stored, 20, 3, backend);
		assert_int_equal(texts_ask(&texts, &helper, &stored, 0), BR_OK);
		texts_expect(&texts, &helper, &stored, 0, 0);
		assert_string_equal(helper.reply.device.precision, names[i]);
		assert_true(helper.reply.model_bytes >= (int64_t) stored.request.weights.size);

		/* of another precision than they say */
		stored.request.precision = (uint32_t) (i + 1) % BR_PRECISION_COUNT;
		assert_int_equal(texts_ask(&texts, &helper, &stored, 0), BR_ERR_FORMAT);
	}
	stored_close(&stored);
	helper_end(&helper);
}

static void
threads_change_nothing_but_rounding(void **state)
{
	const BrBackend *backend = helper_backend();
	StoredModel stored;
	HelperProcess helper;
	Texts texts;

	(void) state;
	stored_open(&stored, "tiny-xlmr-mean");
	texts_make(&texts, &stored, HELPER_TEXTS, 9, backend);
	for (int threads = 0; threads < 4; threads++)
	{
		helper_start_ready(&helper, "cpu", 0, threads);
		assert_int_equal(texts_ask(&texts, &helper, &stored, 1), BR_OK);
		texts_expect(&texts, &helper, &stored, 1, 1e-6);
		helper_end(&helper);
	}
	stored_close(&stored);
}

static void
a_device_embeds_the_same(void **state)
{
	HelperProcess helper;

	(void) state;
	helper_set_faults("");
	helper_start_ready(&helper, "faulty", 0, 1);
	assert_string_equal(helper.reply.device.name, "a device that fails");
	for (int i = 0; i < N_MODELS; i++)
	{
		StoredModel stored;
		Texts texts;

		stored_open(&stored, models[i]);
		texts_make(&texts, &stored, 8, (uint64_t) i, br_math_portable_backend());
		assert_int_equal(texts_ask(&texts, &helper, &stored, 0), BR_OK);
		texts_expect(&texts, &helper, &stored, 0, DEVICE_BOUND);
		stored_close(&stored);
	}
	assert_int_equal(helper.reply.models, N_MODELS);
	assert_int_equal(helper.reply.device.memory - helper.reply.device.memory_free, N_MODELS << 20);
	helper_end(&helper);
}

/* ---- several models ---- */

static void
expect_models(HelperProcess *helper, StoredModel *stored, const Texts *texts, double bound,
			  const int *order, const int *evicted, int n)
{
	for (int i = 0; i < n; i++)
	{
		assert_int_equal(texts_ask(&texts[order[i]], helper, &stored[order[i]], 0), BR_OK);
		texts_expect(&texts[order[i]], helper, &stored[order[i]], 0, bound);
		assert_int_equal(helper->reply.evicted, evicted[i]);
	}
}

/* Three models of about the same size, and room for two and a half. */
static void
those_used_longest_ago_go_first(void **state)
{
	/* of 0 1 0 2 goes 1, of 0 2 1 goes 0, then nothing goes until 0 takes the place of 2 */
	static const int order[] = {0, 1, 0, 2, 0, 2, 1, 2, 1, 0};
	static const int evicted[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 3};
	StoredModel stored[3];
	Texts texts[3];
	HelperProcess helper;
	int64_t size = 0;

	(void) state;
	helper_set_faults("");
	for (int i = 0; i < 3; i++)
	{
		stored_open(&stored[i], models[i]);
		texts_make(&texts[i], &stored[i], 4, 1, br_math_portable_backend());
		if ((int64_t) stored[i].model.image_size > size)
			size = (int64_t) stored[i].model.image_size;
	}
	helper_start_ready(&helper, "cpu", size * 5 / 2, 1);
	expect_models(&helper, stored, texts, 1e-5, order, evicted, 10);
	assert_int_equal(helper.reply.models, 2);
	assert_true(helper.reply.model_bytes <= size * 5 / 2);
	helper_end(&helper);

	helper_start_ready(&helper, "faulty", size * 5 / 2, 1);
	expect_models(&helper, stored, texts, DEVICE_BOUND, order, evicted, 10);
	helper_end(&helper);

	/* a model that is larger than the budget is there alone */
	helper_start_ready(&helper, "cpu", 1000, 1);
	expect_models(&helper, stored, texts, 1e-5, (const int[]){0, 0, 1, 0},
				  (const int[]){0, 0, 1, 2}, 4);
	assert_int_equal(helper.reply.models, 1);
	helper_end(&helper);
	for (int i = 0; i < 3; i++)
		stored_close(&stored[i]);
}

/* A device that has room for one model, and then for few texts at a time. */
static void
a_device_short_of_memory_goes_on(void **state)
{
	StoredModel stored[2];
	Texts texts[2];
	HelperProcess helper;

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		stored_open(&stored[i], models[i]);
		texts_make(&texts[i], &stored[i], 11, 1, br_math_portable_backend());
	}
	for (int room = 1; room <= 12; room++)
	{
		char fault[20];

		helper_set_faults("");
		helper_start_ready(&helper, "faulty", 0, 1);
		expect_models(&helper, stored, texts, DEVICE_BOUND, (const int[]){0, 1},
					  (const int[]){0, 0}, 2);
		snprintf(fault, sizeof(fault), "memory %d\n", room);
		helper_set_faults(fault);

		/* where 11 texts are too many, the other model goes before the batch is cut */
		expect_models(&helper, stored, texts, DEVICE_BOUND, (const int[]){0, 0},
					  room < 11 ? (const int[]){1, 1} : (const int[]){0, 0}, 2);
		helper_end(&helper);
	}

	/* loading another one, too, makes room; and what no cutting helps is an error, and no end */
	helper_set_faults("memory 50\n");
	helper_start_ready(&helper, "faulty", 0, 1);
	expect_models(&helper, stored, texts, DEVICE_BOUND, (const int[]){0, 1, 0},
				  (const int[]){0, 1, 2}, 3);
	helper_set_faults("memory 0\n");
	assert_int_equal(texts_ask(&texts[0], &helper, &stored[0], 0), BR_ERR_MEMORY);
	helper_set_faults("");
	expect_models(&helper, stored, texts, DEVICE_BOUND, (const int[]){0, 1}, (const int[]){2, 2},
				  2);
	helper_end(&helper);
	for (int i = 0; i < 2; i++)
		stored_close(&stored[i]);
}

/* ---- centroids ---- */

#define LISTS 37
#define DIMS 19
#define VECTORS 300

static BrStatus
ask_rows(HelperProcess *helper, BrExchangeKind kind, const float *values, int rows, int dims)
{
	BrExchangeRequest request = {.kind = kind,
								 .lane = 1,
								 .rows = (uint32_t) rows,
								 .dims = (uint32_t) dims};

	memcpy(helper->lanes + BR_EXCHANGE_LANE_BYTES, values,
		   (size_t) rows * (size_t) dims * sizeof(float));
	return helper_ask(helper, &request);
}

static double
squared_distance(const float *vector, const float *centroid)
{
	double squares = 0;

	for (int i = 0; i < DIMS; i++)
		squares += pow((double) vector[i] - (double) centroid[i], 2);
	return squares;
}

/* ties: whether the smaller number wins; else products of equals may be rounded differently. */
static void
expect_nearest(const HelperProcess *helper, const float *vectors, const float *centroids, bool ties)
{
	const int32_t *nearest = (const int32_t *) (helper->lanes + BR_EXCHANGE_LANE_BYTES);
	const float *distances = (const float *) (nearest + VECTORS);

	for (int i = 0; i < VECTORS; i++)
	{
		const float *vector = vectors + i * DIMS;
		double best = INFINITY;
		int place = -1;

		for (int j = 0; j < LISTS; j++)
			if (squared_distance(vector, centroids + j * DIMS) < best)
			{
				best = squared_distance(vector, centroids + j * DIMS);
				place = j;
			}
		assert_in_range(nearest[i], 0, LISTS - 1);
		if (ties)
			assert_int_equal(nearest[i], place);
		assert_true(squared_distance(vector, centroids + nearest[i] * DIMS) <= best + 1e-5);
		assert_true(fabs((double) distances[i] - best) <= 1e-5 * (1 + best));
	}
}

static void
vectors_go_to_their_nearest_centroids(void **state)
{
	static const char *const computes[] = {"cpu", "faulty"};
	static float centroids[LISTS * DIMS];
	static float vectors[VECTORS * DIMS];
	BrRandom random;
	HelperProcess helper;

	(void) state;
	helper_set_faults("");
	br_base_random_init(&random, 4, 0);
	for (int i = 0; i < LISTS * DIMS; i++)
		centroids[i] = (float) br_base_random_uniform(&random);
	for (int i = 0; i < VECTORS * DIMS; i++)
		vectors[i] = (float) br_base_random_uniform(&random);
	/* the last list is the same as the first, which is the nearest of the first vector */
	memcpy(centroids + (LISTS - 1) * DIMS, centroids, DIMS * sizeof(float));
	memcpy(vectors, centroids, DIMS * sizeof(float));
	for (size_t i = 0; i < 2; i++)
	{
		helper_start_ready(&helper, computes[i], 0, 2);
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_ASSIGN, vectors, VECTORS, DIMS),
						 BR_ERR_ARGUMENT);
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_CENTROIDS, centroids, LISTS, DIMS), BR_OK);
		for (int time = 0; time < 2; time++)
		{
			assert_int_equal(ask_rows(&helper, BR_EXCHANGE_ASSIGN, vectors, VECTORS, DIMS), BR_OK);
			expect_nearest(&helper, vectors, centroids, i == 1);
		}
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_ASSIGN, vectors, VECTORS, DIMS - 1),
						 BR_ERR_ARGUMENT);

		/* others take their place, and bad ones leave none */
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_CENTROIDS, vectors, 1, DIMS), BR_OK);
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_ASSIGN, vectors, 3, DIMS), BR_OK);
		assert_int_equal(((const int32_t *) (helper.lanes + BR_EXCHANGE_LANE_BYTES))[2], 0);
		vectors[5] = NAN;
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_CENTROIDS, vectors, 1, DIMS),
						 BR_ERR_NUMERIC);
		vectors[5] = 0.5f;
		assert_int_equal(ask_rows(&helper, BR_EXCHANGE_ASSIGN, vectors, 3, DIMS), BR_ERR_ARGUMENT);
		helper_end(&helper);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cpu_embeds_as_a_session_does),
		cmocka_unit_test(packed_weights_are_used),
		cmocka_unit_test(threads_change_nothing_but_rounding),
		cmocka_unit_test(a_device_embeds_the_same),
		cmocka_unit_test(those_used_longest_ago_go_first),
		cmocka_unit_test(a_device_short_of_memory_goes_on),
		cmocka_unit_test(vectors_go_to_their_nearest_centroids),
	};

	return cmocka_run_group_tests(tests, NULL, helper_clean_up);
}
