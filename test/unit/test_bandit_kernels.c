/*
 * test_bandit_kernels.c
 *	  The same decisions on every processor: kernels of all instruction sets
 *	  give the bits of the portable ones.
 *
 * The portable kernels in turn are held against plain loops: a sum in ascending
 * order, a search from the front, br_math_solve_lower_transposed.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/bandit/bandit_int.h"
#include "core/math/br_math.h"

#define LANES BR_BANDIT_LANES
#define MAX_DIMS 512
#define MAX_PADDED 64

typedef struct Inputs
{
	double features[MAX_PADDED * MAX_DIMS];
	double theta[MAX_DIMS * LANES];
	double penalty[MAX_PADDED];
	double factor[BR_MATH_PACKED(MAX_DIMS)];
	double scores[2][LANES * MAX_PADDED];
	double solved[2][MAX_DIMS * LANES];
} Inputs;

static const int all_dims[] = {1, 2, 7, 33, 64, 512};

static void
fill(Inputs *inputs, uint64_t seed)
{
	BrRandom random;

	br_base_random_init(&random, seed, 0);
	for (size_t i = 0; i < MAX_PADDED * MAX_DIMS; i++)
		inputs->features[i] = (double) (float) br_math_normal(&random);
	for (size_t i = 0; i < MAX_DIMS * LANES; i++)
		inputs->theta[i] = br_math_normal(&random);
	for (size_t b = 0; b < MAX_PADDED; b++)
		inputs->penalty[b] = b % 5 == 4 ? INFINITY : b % 3 * 0.25;
	for (int i = 0; i < MAX_DIMS; i++)
	{
		for (int j = 0; j <= i; j++)
			inputs->factor[BR_MATH_PACKED(i) + (size_t) j] =
				i == j ? 1 + br_base_random_uniform(&random) : 0.05 * br_math_normal(&random);
	}
}

static void
assert_same(const double *left, const double *right, size_t n)
{
	assert_memory_equal(left, right, n * sizeof(double));
}

static void
portable_kernels_do_what_they_say(void **state)
{
	const BrScoreKernels *kernels = br_bandit_kernels_portable();
	Inputs *inputs = *state;
	const int dims = 33;
	const size_t padded = 24;

	kernels->score(inputs->features, padded, dims, inputs->theta, inputs->scores[0]);
	memcpy(inputs->solved[0], inputs->theta, sizeof(inputs->theta));
	kernels->solve(inputs->factor, dims, inputs->solved[0]);
	for (int draw = 0; draw < LANES; draw++)
	{
		double z[MAX_DIMS];
		int best = -1;

		for (size_t b = 0; b < padded; b++)
		{
			const double *score = &inputs->scores[0][(size_t) draw * padded];
			double sum = 0;

			for (int i = 0; i < dims; i++)
				sum += inputs->theta[i * LANES + draw] *
					inputs->features[(b / LANES * (size_t) dims + (size_t) i) * LANES + b % LANES];
			assert_same(&sum, &score[b], 1);
			if (best < 0 || score[b] - inputs->penalty[b] > score[best] - inputs->penalty[best])
				best = (int) b;
		}
		assert_int_equal(kernels->favourite(&inputs->scores[0][(size_t) draw * padded],
											inputs->penalty, padded),
						 best);
		for (int i = 0; i < dims; i++)
			z[i] = inputs->theta[i * LANES + draw];
		br_math_solve_lower_transposed(inputs->factor, dims, z);
		for (int i = 0; i < dims; i++)
			assert_same(&z[i], &inputs->solved[0][i * LANES + draw], 1);
	}
}

static void
assert_kernels_equal(Inputs *inputs, const BrScoreKernels *kernels)
{
	const BrScoreKernels *portable = br_bandit_kernels_portable();

	if (kernels == NULL)
		return;
	for (size_t d = 0; d < sizeof(all_dims) / sizeof(all_dims[0]); d++)
	{
		for (size_t padded = LANES; padded <= MAX_PADDED; padded += LANES)
		{
			portable->score(inputs->features, padded, all_dims[d], inputs->theta,
							inputs->scores[0]);
			kernels->score(inputs->features, padded, all_dims[d], inputs->theta, inputs->scores[1]);
			assert_same(inputs->scores[0], inputs->scores[1], padded * LANES);
			for (int draw = 0; draw < LANES; draw++)
			{
				const double *score = &inputs->scores[0][(size_t) draw * padded];

				assert_int_equal(kernels->favourite(score, inputs->penalty, padded),
								 portable->favourite(score, inputs->penalty, padded));
			}
		}
		memcpy(inputs->solved[0], inputs->theta, sizeof(inputs->theta));
		memcpy(inputs->solved[1], inputs->theta, sizeof(inputs->theta));
		portable->solve(inputs->factor, all_dims[d], inputs->solved[0]);
		kernels->solve(inputs->factor, all_dims[d], inputs->solved[1]);
		assert_same(inputs->solved[0], inputs->solved[1], (size_t) MAX_DIMS * LANES);
	}
}

static void
kernels_of_all_instruction_sets_are_equal(void **state)
{
	print_message("kernels in use: %s\n", br_bandit_kernels()->name);
	assert_kernels_equal(*state, br_bandit_kernels_avx2());
	assert_kernels_equal(*state, br_bandit_kernels_avx512());
}

/* The earlier of equals, at every pair of places. */
static void
favourites_tie_forward(void **state)
{
	const BrScoreKernels *all[] = {br_bandit_kernels_portable(), br_bandit_kernels_avx2(),
								   br_bandit_kernels_avx512()};
	double value[24];
	double penalty[24] = {0};

	(void) state;
	for (int k = 0; k < 3; k++)
	{
		for (int first = 0; all[k] != NULL && first < 24; first++)
		{
			for (int second = first; second < 24; second++)
			{
				for (int b = 0; b < 24; b++)
					value[b] = b == first || b == second ? -1 : -2;
				assert_int_equal(all[k]->favourite(value, penalty, 24), first);
			}
		}
	}
}

static int
set_up(void **state)
{
	*state = malloc(sizeof(Inputs));
	if (*state != NULL)
		fill(*state, 5);
	return *state == NULL;
}

static int
tear_down(void **state)
{
	free(*state);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(portable_kernels_do_what_they_say),
		cmocka_unit_test(kernels_of_all_instruction_sets_are_equal),
		cmocka_unit_test(favourites_tie_forward),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
