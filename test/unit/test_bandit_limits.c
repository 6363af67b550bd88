/*
 * test_bandit_limits.c
 *	  What a slate refuses, and what it leaves behind when it stops half-way:
 *	  nothing.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "unit/bandit_fixture.h"

static void
similarity_out_of_range(void *arg, int chosen, double *similarity)
{
	bandit_similar_by_place(arg, chosen, similarity);
	similarity[5] = *(const double *) arg;
}

static void
assert_refused(BanditFixture *fixture, BrStatus status, const char *detail)
{
	BrSlate slate;

	memset(&slate, 1, sizeof(slate));
	assert_int_equal(bandit_slate(fixture, &slate), status);
	if (strstr(fixture->context.detail, detail) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", fixture->context.detail, detail);
	assert_int_equal(slate.slots, 0);
	assert_null(slate.chosen);
	assert_null(slate.propensity);
	assert_null(slate.votes);
	assert_null(slate.expected);
}

#define REFUSED(change, status, detail)           \
	do                                            \
	{                                             \
		BanditFixture fixture;                    \
                                                  \
		bandit_set_up(&fixture);                  \
		fixture.change;                           \
		assert_refused(&fixture, status, detail); \
	} while (0)

static void
slate_refuses_bad_requests(void **state)
{
	static const double bad_mean[DIMS] = {0, 0, NAN, 0};

	(void) state;
	REFUSED(spec.algorithm = NULL, BR_ERR_ARGUMENT, "without an algorithm");
	REFUSED(spec.model = BR_MODEL_ARM, BR_ERR_ARGUMENT, "does not work over arms");
	REFUSED(spec.dims = 0, BR_ERR_ARGUMENT, "0 features");
	REFUSED(spec.dims = 513, BR_ERR_ARGUMENT, "513 features");
	REFUSED(spec.parameters.draws = 0, BR_ERR_ARGUMENT, "\"draws\" is 0");
	REFUSED(spec.parameters.draws = 65536, BR_ERR_ARGUMENT, "whole number between 1 and 65535");
	REFUSED(spec.parameters.draws = 1.5, BR_ERR_ARGUMENT, "\"draws\" is 1.5");
	REFUSED(spec.parameters.epsilon = -0.1, BR_ERR_ARGUMENT, "\"epsilon\" is -0.1");
	REFUSED(spec.parameters.epsilon = 1.5, BR_ERR_ARGUMENT, "number between 0 and 1");
	REFUSED(spec.parameters.epsilon = NAN, BR_ERR_ARGUMENT, "\"epsilon\" is nan");
	REFUSED(spec.parameters.noise = 0, BR_ERR_ARGUMENT, "\"noise\" is 0");
	REFUSED(spec.parameters.prior_precision = INFINITY, BR_ERR_ARGUMENT, "is inf");
	REFUSED(evidence[3] = NAN, BR_ERR_NUMERIC, "Element 4 of the evidence");
	REFUSED(request.pool = -1, BR_ERR_ARGUMENT, "-1 members");
	REFUSED(request.slots = 0, BR_ERR_ARGUMENT, "0 slots");
	REFUSED(request.diversity = -1, BR_ERR_ARGUMENT, "penalty is -1");
	REFUSED(request.diversity = INFINITY, BR_ERR_ARGUMENT, "penalty is inf");
	REFUSED(spec.prior_mean = bad_mean, BR_ERR_ARGUMENT, "prior mean of feature 3 is nan");
}

static void
slate_refuses_bad_features(void **state)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		BanditFixture fixture;
		float features[POOL][DIMS];

		bandit_set_up(&fixture);
		memcpy(features, bandit_shown, sizeof(features));
		features[6][1] = bad[i];
		fixture.request.features = &features[0][0];
		assert_refused(&fixture, BR_ERR_ARGUMENT, "Feature 2 of pool member 7");
	}
}

/* Half of the largest double times the largest float: no score of any algorithm stays finite. */
static void
slate_refuses_features_that_overflow(void **state)
{
	static const double huge_mean[DIMS] = {0, DBL_MAX / 16, 0, 0};
	static const char *const algorithms[] = {"linear_thompson", "epsilon_greedy"};

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		BanditFixture fixture;
		float features[POOL][DIMS];

		bandit_set_up(&fixture);
		memcpy(features, bandit_shown, sizeof(features));
		features[6][1] = 3e38f;
		fixture.request.features = &features[0][0];
		fixture.spec.algorithm = br_bandit_algorithm(algorithms[i]);
		fixture.spec.prior_mean = huge_mean;
		assert_refused(&fixture, BR_ERR_NUMERIC, "Feature 2 of pool member 7 is 3e+38");
	}
}

static void
slate_refuses_bad_similarity(void **state)
{
	static double bad[] = {NAN, -0.25, 1.25};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		BanditFixture fixture;

		bandit_set_up(&fixture);
		fixture.request.diversity = 1;
		fixture.request.similarity = similarity_out_of_range;
		fixture.request.similarity_arg = &bad[i];
		assert_refused(&fixture, BR_ERR_ARGUMENT, "and 6 is");
	}
}

typedef struct Countdown
{
	BrAllocator inner;
	int left; /* calls that still succeed */
	int live; /* allocated and not yet freed */
} Countdown;

static void *
countdown_alloc(void *arg, size_t size)
{
	Countdown *countdown = arg;

	if (countdown->left-- <= 0)
		return NULL;
	countdown->live++;
	return countdown->inner.alloc(countdown->inner.arg, size);
}

static void
countdown_free(void *arg, void *pointer)
{
	Countdown *countdown = arg;

	countdown->live--;
	countdown->inner.free(countdown->inner.arg, pointer);
}

static bool
countdown_cancel(void *arg)
{
	return (*(int *) arg)-- <= 0;
}

static void
refused_memory_leaves_nothing_behind(void **state)
{
	BrStatus status = BR_ERR_MEMORY;

	(void) state;
	for (int allowed = 0; status == BR_ERR_MEMORY; allowed++)
	{
		BanditFixture fixture;
		Countdown countdown;
		BrSlate slate;

		bandit_set_up(&fixture);
		countdown = (Countdown){fixture.context.allocator, allowed, 0};
		fixture.context.allocator = (BrAllocator){countdown_alloc, countdown_free, &countdown};
		status = bandit_slate(&fixture, &slate);
		if (status == BR_OK)
		{
			assert_true(allowed > 4);
			br_bandit_slate_free(&fixture.context, &slate);
		}
		else
			assert_non_null(strstr(fixture.context.detail, "allocate"));
		assert_int_equal(countdown.live, 0);
	}
	assert_int_equal(status, BR_OK);
}

static void
cancel_stops_drawing_and_voting(void **state)
{
	/* the callback answers no that often: to the belief, the means, the draws and their votes */
	static const struct
	{
		int patience;
		const char *detail;
	} cases[] = {{0, "belief"},
				 {1, "members"},
				 {2, "of 257 draws"},
				 {30, "of 257 draws"},
				 {36, "were voting"}};

	(void) state;
	for (int i = 0; i < 5; i++)
	{
		BanditFixture fixture;
		int left = cases[i].patience;

		bandit_set_up(&fixture);
		fixture.context.cancel = (BrCancel){countdown_cancel, &left};
		assert_refused(&fixture, BR_ERR_CANCELLED, cases[i].detail);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slate_refuses_bad_requests),
		cmocka_unit_test(slate_refuses_bad_features),
		cmocka_unit_test(slate_refuses_features_that_overflow),
		cmocka_unit_test(slate_refuses_bad_similarity),
		cmocka_unit_test(refused_memory_leaves_nothing_behind),
		cmocka_unit_test(cancel_stops_drawing_and_voting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
