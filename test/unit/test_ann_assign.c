/*
 * test_ann_assign.c
 *	  Assigners in a backend's place: right ones, and those that fail at once, in
 *	  the middle, or give what cannot be.
 *
 * What they must come to is known from plain code in double, or is what the
 * backend gives alone.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ann/br_ann.h"
#include "unit/ann_fixture.h"

enum
{
	N = 900,
	DIMS = 12,
	LISTS = 20,
	SEED = 6
};

typedef enum Answer
{
	RIGHT,
	ITS_OWN,	   /* by the number of the vector: nobody else would say so */
	FAILS,		   /* after it has written nonsense */
	BELOW,		   /* a list -1 */
	BEYOND,		   /* the list after the last */
	NOT_A_NUMBER,  /* as a distance */
	INFINITE,	   /* a distance */
	ROUNDED_BELOW, /* every distance a little below the right one */
	IS_CANCELLED
} Answer;

typedef struct Device
{
	Answer answer;
	int right; /* calls before that */
	int calls;
} Device;

/* Ties to the smaller number. */
static int
nearest_of(const float *vector, const float *centroids, int lists, int dims, double *distance)
{
	int nearest = 0;

	*distance = INFINITY;
	for (int list = 0; list < lists; list++)
	{
		double value =
			ann_value(BR_METRIC_L2, vector, centroids + (size_t) list * (size_t) dims, dims);

		if (value < *distance)
		{
			*distance = value;
			nearest = list;
		}
	}
	return nearest;
}

static BrStatus
assign(void *arg, BrContext *context, const float *vectors, int n, int dims, const float *centroids,
	   int lists, int32_t *nearest, float *distances)
{
	Device *device = arg;
	Answer answer = device->calls++ < device->right ? RIGHT : device->answer;

	for (int i = 0; i < n; i++)
	{
		double distance;

		nearest[i] =
			nearest_of(vectors + (size_t) i * (size_t) dims, centroids, lists, dims, &distance);
		distances[i] = (float) distance - (answer == ROUNDED_BELOW ? 1e-4F : 0);
		if (answer == ITS_OWN)
			nearest[i] = i % lists;
		else if (answer == FAILS)
			nearest[i] = 1000000;
	}
	if (answer == BELOW)
		nearest[n - 1] = -1;
	else if (answer == BEYOND)
		nearest[n / 2] = lists;
	else if (answer == NOT_A_NUMBER)
		distances[n - 1] = NAN;
	else if (answer == INFINITE)
		distances[0] = INFINITY;
	else if (answer == IS_CANCELLED)
		return br_base_fail(context, BR_ERR_CANCELLED, "It was cancelled.");
	else if (answer == FAILS)
		return br_base_fail(context, BR_ERR_DEVICE, "It broke after %d calls.", device->right);
	return BR_OK;
}

static BrAssigner
assigner_of(Device *device)
{
	return (BrAssigner){.assign = assign, .arg = device};
}

/* ---- what is assigned ---- */

typedef struct Vectors
{
	float *vectors;
	float *centroids;
	float norms[LISTS];
	int32_t nearest[N];
} Vectors;

/* Whole numbers, so that every sum is exact and ties are ties. */
static Vectors
whole_vectors(void)
{
	Vectors v = {.vectors = ann_vectors(2, N, DIMS, 5, 4),
				 .centroids = ann_vectors(3, LISTS, DIMS, 1, 4)};

	for (int i = 0; i < N * DIMS; i++)
		v.vectors[i] = rintf(v.vectors[i]);
	for (int i = 0; i < LISTS * DIMS; i++)
		v.centroids[i] = rintf(v.centroids[i]);
	for (int i = 0; i < LISTS; i++)
		v.norms[i] = (float) ann_product(v.centroids + (size_t) i * DIMS,
										 v.centroids + (size_t) i * DIMS, DIMS);
	return v;
}

static void
free_vectors(Vectors *v)
{
	free(v->vectors);
	free(v->centroids);
}

static BrStatus
assign_vectors(BrContext *context, BrAssigner *assigner, Vectors *v)
{
	return br_ann_assign(context, br_math_portable_backend(), NULL, assigner, v->vectors, N, DIMS,
						 v->centroids, v->norms, LISTS, v->nearest);
}

static void
assert_nearest(const Vectors *v)
{
	for (int i = 0; i < N; i++)
	{
		double distance;

		assert_int_equal(v->nearest[i],
						 nearest_of(v->vectors + (size_t) i * DIMS, v->centroids, LISTS, DIMS,
									&distance));
	}
}

static float *
find_centroids(const float *sample, BrPool *pool, BrAssigner *assigner)
{
	float *centroids = malloc(sizeof(float) * LISTS * DIMS);
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(br_ann_kmeans(&context, br_math_portable_backend(), pool, assigner, sample, N,
								   DIMS, LISTS, SEED, NULL, NULL, centroids),
					 BR_OK);
	return centroids;
}

static double
inertia_of(const float *sample, const float *centroids)
{
	double sum = 0;

	for (int i = 0; i < N; i++)
	{
		double distance;

		nearest_of(sample + (size_t) i * DIMS, centroids, LISTS, DIMS, &distance);
		sum += distance;
	}
	return sum;
}

/* ---- tests ---- */

static void
an_assigner_takes_the_place_of_the_backend(void **state)
{
	Device device = {.answer = ITS_OWN};
	BrAssigner assigner = assigner_of(&device);
	Vectors v = whole_vectors();
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(assign_vectors(&context, &assigner, &v), BR_OK);
	for (int i = 0; i < N; i++)
		assert_int_equal(v.nearest[i], i % LISTS);
	assert_int_equal(device.calls, 1);
	device.answer = RIGHT;
	assert_int_equal(assign_vectors(&context, &assigner, &v), BR_OK);
	assert_nearest(&v);
	assert_int_equal(device.calls, 2);
	assert_int_equal(assigner.failure, BR_OK);
	free_vectors(&v);
}

/* Clusters that stand far apart, so that rounding moves no row: the same centroids, bit for bit. */
static void
a_right_assigner_finds_the_same_centroids(void **state)
{
	float *sample = ann_vectors(8, N, DIMS, LISTS, 0.05);
	Device device = {.answer = RIGHT};
	BrAssigner assigner = assigner_of(&device);
	float *expected = find_centroids(sample, NULL, NULL);
	float *found = find_centroids(sample, NULL, &assigner);
	BrContext context;
	BrPool *pool;

	(void) state;
	assert_memory_equal(found, expected, sizeof(float) * LISTS * DIMS);
	/* two iterations at least, and one round of balance */
	assert_true(device.calls >= 3);
	free(found);
	br_base_context_init(&context);
	assert_int_equal(br_base_pool_create(&context, 3, &pool), BR_OK);
	found = find_centroids(sample, pool, &assigner);
	assert_memory_equal(found, expected, sizeof(float) * LISTS * DIMS);
	br_base_pool_destroy(pool);
	free(found);
	free(expected);
	free(sample);
}

static void
one_that_fails_at_once_changes_nothing(void **state)
{
	float *sample = ann_vectors(9, N, DIMS, 7, 0.5);
	Device device = {.answer = FAILS};
	BrAssigner assigner = assigner_of(&device);
	float *expected = find_centroids(sample, NULL, NULL);
	float *found = find_centroids(sample, NULL, &assigner);

	(void) state;
	assert_memory_equal(found, expected, sizeof(float) * LISTS * DIMS);
	assert_int_equal(device.calls, 1);
	assert_int_equal(assigner.failure, BR_ERR_DEVICE);
	assert_string_equal(assigner.detail, "It broke after 0 calls.");
	free(found);
	free(expected);
	free(sample);
}

static void
one_that_fails_in_the_middle_is_asked_no_more(void **state)
{
	float *sample = ann_vectors(9, N, DIMS, 7, 0.5);
	float *expected = find_centroids(sample, NULL, NULL);

	(void) state;
	for (int right = 1; right <= 3; right++)
	{
		Device device = {.answer = FAILS, .right = right};
		BrAssigner assigner = assigner_of(&device);
		float *found = find_centroids(sample, NULL, &assigner);
		Vectors v = whole_vectors();
		BrContext context;

		ann_assert_near(inertia_of(sample, found) / inertia_of(sample, expected), 1, 0.01);
		assert_int_equal(device.calls, right + 1);
		assert_int_equal(assigner.failure, BR_ERR_DEVICE);
		/* nor by a later call */
		br_base_context_init(&context);
		assert_int_equal(assign_vectors(&context, &assigner, &v), BR_OK);
		assert_nearest(&v);
		assert_int_equal(device.calls, right + 1);
		free_vectors(&v);
		free(found);
	}
	free(expected);
	free(sample);
}

static void
what_cannot_be_is_not_believed(void **state)
{
	static const struct
	{
		Answer answer;
		BrStatus failure;
		const char *detail;
	} cases[] = {
		{BELOW, BR_ERR_FORMAT, "A vector was assigned to centroid -1, of 20 from 0 on."},
		{BEYOND, BR_ERR_FORMAT, "A vector was assigned to centroid 20, of 20 from 0 on."},
		{NOT_A_NUMBER, BR_ERR_NUMERIC,
		 "The distance of a vector from its centroid is no finite number."},
		{INFINITE, BR_ERR_NUMERIC,
		 "The distance of a vector from its centroid is no finite number."},
	};
	float *sample = ann_vectors(9, N, DIMS, 7, 0.5);
	float *expected = find_centroids(sample, NULL, NULL);

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Device device = {.answer = cases[i].answer};
		BrAssigner assigner = assigner_of(&device);
		BrAssigner again = assigner_of(&device);
		float *found = find_centroids(sample, NULL, &assigner);
		Vectors v = whole_vectors();
		BrContext context;

		assert_memory_equal(found, expected, sizeof(float) * LISTS * DIMS);
		assert_int_equal(device.calls, 1);
		assert_int_equal(assigner.failure, cases[i].failure);
		assert_string_equal(assigner.detail, cases[i].detail);
		br_base_context_init(&context);
		assert_int_equal(assign_vectors(&context, &again, &v), BR_OK);
		assert_nearest(&v);
		assert_int_equal(again.failure, cases[i].failure);
		free_vectors(&v);
		free(found);
	}
	free(expected);
	free(sample);
}

/* More lists than kinds of rows: distances are 0, and rounding takes them below. */
static void
rounding_below_zero_is_no_failure(void **state)
{
	float *sample = ann_vectors(9, N, DIMS, 7, 0.5);
	Device device = {.answer = ROUNDED_BELOW};
	BrAssigner assigner = assigner_of(&device);
	float *found;

	(void) state;
	for (int i = 5; i < N; i++)
		memcpy(sample + (size_t) i * DIMS, sample + (size_t) (i % 5) * DIMS, sizeof(float) * DIMS);
	found = find_centroids(sample, NULL, &assigner);
	assert_int_equal(assigner.failure, BR_OK);
	assert_true(inertia_of(sample, found) < 1e-6);
	free(found);
	free(sample);
}

static BrStatus
starved(AnnLedger *ledger, BrAssigner *assigner, const float *sample, int allowed)
{
	float centroids[LISTS * DIMS];
	Vectors v = whole_vectors();
	BrContext context;
	BrStatus status;

	ledger->allowed = allowed;
	ann_ledger_context(&context, ledger);
	status = br_ann_kmeans(&context, br_math_portable_backend(), NULL, assigner, sample, N, DIMS,
						   LISTS, SEED, NULL, NULL, centroids);
	if (status == BR_OK)
		status = assign_vectors(&context, assigner, &v);
	free_vectors(&v);
	return status;
}

static void
cancelled_and_starved_calls_leave_nothing(void **state)
{
	float *sample = ann_vectors(9, N, DIMS, 7, 0.5);
	BrStatus status = BR_ERR_MEMORY;

	(void) state;
	for (int right = 0; right < 4; right++)
	{
		Device device = {.answer = IS_CANCELLED, .right = right};
		BrAssigner assigner = assigner_of(&device);
		AnnLedger ledger = {0};

		assert_int_equal(starved(&ledger, &assigner, sample, -1), BR_ERR_CANCELLED);
		assert_int_equal(ledger.live, 0);
		assert_int_equal(device.calls, right + 1);
		/* it has not failed, and whoever asks again may */
		assert_int_equal(assigner.failure, BR_OK);
	}
	for (int allowed = 0; status != BR_OK; allowed++)
	{
		Device device = {.answer = RIGHT};
		BrAssigner assigner = assigner_of(&device);
		AnnLedger ledger = {0};

		status = starved(&ledger, &assigner, sample, allowed);
		assert_int_equal(status, status == BR_OK ? BR_OK : BR_ERR_MEMORY);
		assert_int_equal(ledger.live, 0);
		assert_true(allowed < 100);
	}
	free(sample);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_assigner_takes_the_place_of_the_backend),
		cmocka_unit_test(a_right_assigner_finds_the_same_centroids),
		cmocka_unit_test(one_that_fails_at_once_changes_nothing),
		cmocka_unit_test(one_that_fails_in_the_middle_is_asked_no_more),
		cmocka_unit_test(what_cannot_be_is_not_believed),
		cmocka_unit_test(rounding_below_zero_is_no_failure),
		cmocka_unit_test(cancelled_and_starved_calls_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
