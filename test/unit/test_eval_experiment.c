/*
 * test_eval_experiment.c
 *	  Statistics of experiments against SciPy 1.17.1, statsmodels 0.15.0 and
 *	  NumPy 1.26.4.
 *
 * The call that gave a value stands beside it, with stats for scipy.stats. Both
 * groups of units are made of whole numbers by series(), as in
 *
 *		series = lambda n, a, b, c: ((numpy.arange(1, n + 1) * a) % b) / c
 *		y0 = series(40, 37, 101, 10); x0 = series(40, 53, 97, 9) + y0 / 2; d0 = 1 + series(40, 29, 7, 1)
 *		y1 = series(50, 41, 103, 9); x1 = series(50, 59, 89, 9) + y1 / 2; d1 = 1 + series(50, 31, 6, 1)
 *
 * X, Y and D are both groups together.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/eval/br_eval.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static void
assert_near(double value, double expected, double tolerance)
{
	if (!(fabs(value - expected) <= tolerance))
		fail_msg("%.17g is not %.17g within %g", value, expected, tolerance);
}

/* to so many parts of what is expected */
static void
assert_close(double value, double expected, double relative)
{
	assert_near(value, expected, fabs(expected) * relative);
}

static double
series(int i, int a, int b, int c)
{
	return (double) (i * a % b) / c;
}

/* columns kept are added, others left at 0 and 1 */
static void
group_moments(int group, bool covariate, bool denominator, int first, int last,
			  double *moments /* (BR_MOMENTS) */)
{
	memset(moments, 0, sizeof(double) * BR_MOMENTS);
	for (int i = first; i <= last; i++)
	{
		double y = group == 0 ? series(i, 37, 101, 10) : series(i, 41, 103, 9);
		double x = (group == 0 ? series(i, 53, 97, 9) : series(i, 59, 89, 9)) + y / 2;
		double d = 1 + (group == 0 ? series(i, 29, 7, 1) : series(i, 31, 6, 1));

		br_eval_moments_add(moments, y, covariate ? x : 0, denominator ? d : 1);
	}
}

typedef struct Groups
{
	BrContext context;
	double control[BR_MOMENTS];
	double variant[BR_MOMENTS];
	double pooled[BR_MOMENTS];
	BrComparison comparison;
} Groups;

static void
set_up(Groups *groups, bool covariate, bool denominator)
{
	br_base_context_init(&groups->context);
	group_moments(0, covariate, denominator, 1, 40, groups->control);
	group_moments(1, covariate, denominator, 1, 50, groups->variant);
	memcpy(groups->pooled, groups->control, sizeof(groups->pooled));
	br_eval_moments_combine(groups->pooled, groups->variant);
}

static BrStatus
compare(Groups *groups, BrComparisonMethod method)
{
	return br_eval_compare(&groups->context, method, groups->control, groups->variant,
						   groups->pooled, 0.95, &groups->comparison);
}

static void
share_moments(double conversions, double n, double *moments /* (BR_MOMENTS) */)
{
	memset(moments, 0, sizeof(double) * BR_MOMENTS);
	moments[BR_MOMENT_COUNT] = n;
	moments[BR_MOMENT_MEAN_VALUE] = conversions / n;
	moments[BR_MOMENT_MEAN_DENOMINATOR] = 1;
	moments[BR_MOMENT_VALUE_VALUE] = conversions * (1 - conversions / n);
}

static void
set_up_shares(Groups *groups, double conversions0, double n0, double conversions1, double n1)
{
	br_base_context_init(&groups->context);
	share_moments(conversions0, n0, groups->control);
	share_moments(conversions1, n1, groups->variant);
}

/* ---- distributions ---- */

static void
distributions_match_scipy(void **state)
{
	/* stats.norm.sf(x) */
	static const double normal[][2] = {{-1.5, 0.9331927987311419},
									   {0, 0.5},
									   {1.96, 0.024997895148220435},
									   {6, 9.865876450376946e-10},
									   {20, 2.7536241186061556e-89}};
	/* 2 * stats.t.sf(t, df) */
	static const double t[][3] =
		{{0.5, 1, 0.7048327646991335},		{2, 3.7, 0.12181720190523398},
		 {-12, 5, 7.089492517161522e-05},	{2.3, 30, 0.028581387287141748},
		 {0.001, 100, 0.9992041077601035},	{1.96, 1234.5, 0.050220476080472434},
		 {3.5, 85.2, 0.000742639854534372}, {5.5, 2e6, 3.798375279900443e-08},
		 {2.2, 3e7, 0.027806902623290292},	{0, 9, 1}};
	/* stats.chi2.sf(x, df) */
	static const double chi[][3] = {{0.5, 1, 0.47950012218695337},
									{10.83, 1, 0.0009986863791802592},
									{3, 2, 0.22313016014842982},
									{20, 7, 0.005569683072945574},
									{150, 100, 0.0009039320423540184},
									{90, 100, 0.7531979655998298},
									{0.001, 3, 0.9999915920809419},
									{0, 3, 1}};

	(void) state;
	for (int i = 0; i < LENGTH(normal); i++)
		assert_close(br_eval_normal_tail(normal[i][0]), normal[i][1], 1e-12);
	for (int i = 0; i < LENGTH(t); i++)
		assert_close(br_eval_t_two_sided(t[i][0], t[i][1]), t[i][2], 1e-11);
	for (int i = 0; i < LENGTH(chi); i++)
		assert_close(br_eval_chi_square_tail(chi[i][0], chi[i][1]), chi[i][2], 1e-12);
	assert_true(br_eval_t_two_sided(INFINITY, 3) == 0);
	assert_true(isnan(br_eval_t_two_sided(NAN, 3)));
	assert_true(br_eval_chi_square_tail(INFINITY, 3) == 0);
}

static void
quantiles_match_scipy(void **state)
{
	/* stats.t.ppf(p, df) */
	static const double t[][3] = {{0.975, 1, 12.706204736174694},
								  {0.975, 9.4, 2.247568091256614},
								  {0.995, 120, 2.6174211451068654},
								  {0.9, 3e5, 1.2815543875001674},
								  {0.025, 7, -2.3646242515927844},
								  {0.975, 1e8, 1.9599640082627663}};
	/* stats.chi2.ppf(p, df) */
	static const double chi[][3] = {{0.95, 1, 3.841458820694124},
									{0.999, 3, 16.26623619623813},
									{0.05, 10, 3.9402991361190605}};

	(void) state;
	for (int i = 0; i < LENGTH(t); i++)
		assert_close(br_eval_t_quantile(t[i][0], t[i][1]), t[i][2], 1e-12);
	for (int i = 0; i < LENGTH(chi); i++)
		assert_close(br_eval_chi_square_quantile(chi[i][0], chi[i][1]), chi[i][2], 1e-11);
	/* stats.norm.ppf(0.975) */
	assert_close(br_eval_t_quantile(0.975, INFINITY), 1.959963984540054, 1e-14);
	assert_true(isnan(br_eval_t_quantile(1, 4)));
	assert_true(br_eval_t_quantile(0.5, 4) == 0);
}

/* ---- moments ---- */

static void
parts_combine_to_the_whole(void **state)
{
	static const int cuts[] = {1, 7, 25, 49};

	(void) state;
	for (int c = 0; c < LENGTH(cuts); c++)
	{
		double whole[BR_MOMENTS];
		double left[BR_MOMENTS];
		double right[BR_MOMENTS];
		double nothing[BR_MOMENTS] = {0};

		group_moments(1, true, true, 1, 50, whole);
		group_moments(1, true, true, 1, cuts[c], left);
		group_moments(1, true, true, cuts[c] + 1, 50, right);
		br_eval_moments_combine(nothing, left);
		br_eval_moments_combine(nothing, right);
		for (int i = 0; i < BR_MOMENTS; i++)
			assert_near(nothing[i], whole[i], 1e-10 * (1 + fabs(whole[i])));
		br_eval_moments_combine(left, (double[BR_MOMENTS]){0});
		assert_true(left[BR_MOMENT_COUNT] == cuts[c]);
	}
}

/* units shifted by a billion still have the variance of 0, 1 and 2 */
static void
large_means_cost_no_variance(void **state)
{
	double moments[BR_MOMENTS] = {0};

	(void) state;
	for (int i = 0; i < 3; i++)
		br_eval_moments_add(moments, 1e9 + i, 0, 1);
	assert_near(moments[BR_MOMENT_VALUE_VALUE], 2, 1e-6);
	assert_near(moments[BR_MOMENT_DENOMINATOR_DENOMINATOR], 0, 0);
}

/* ---- comparisons ---- */

static void
proportions_match_statsmodels(void **state)
{
	Groups groups;

	(void) state;
	set_up_shares(&groups, 1000, 10000, 1100, 10000);
	assert_int_equal(compare(&groups, BR_COMPARE_PROPORTIONS), BR_OK);
	/* statsmodels.stats.proportion.proportions_ztest([1100, 1000], [10000, 10000]) */
	assert_near(groups.comparison.statistic, 2.3066347738170103, 1e-9);
	assert_near(groups.comparison.p_value, 0.021075189273797826, 1e-9);
	/* confint_proportions_2indep(1100, 10000, 1000, 10000, method='wald') */
	assert_near(groups.comparison.lower, 0.0015040591315121105, 1e-9);
	assert_near(groups.comparison.upper, 0.01849594086848788, 1e-9);
	/* sqrt(.11*.89/1e4/.01 + .0121*.1*.9/1e4/1e-4) */
	assert_near(groups.comparison.lift, 0.1, 1e-12);
	assert_near(groups.comparison.lift_standard_error, 0.045475268003608287, 1e-9);

	set_up_shares(&groups, 30, 1100, 45, 900);
	assert_int_equal(compare(&groups, BR_COMPARE_PROPORTIONS), BR_OK);
	assert_near(groups.comparison.statistic, 2.661545653496, 1e-9);
	assert_near(groups.comparison.p_value, 0.007778279201453443, 1e-9);
	assert_near(groups.comparison.lower, 0.005540390803046091, 1e-9);
	assert_near(groups.comparison.upper, 0.039914154651499376, 1e-9);
}

static void
means_match_scipy(void **state)
{
	Groups groups;

	(void) state;
	set_up(&groups, false, false);
	assert_int_equal(compare(&groups, BR_COMPARE_MEANS), BR_OK);
	/* r = stats.ttest_ind(y1, y0, equal_var=False); r.confidence_interval(.95) */
	assert_near(groups.comparison.statistic, 1.7705993872648065, 1e-9);
	assert_near(groups.comparison.degrees_of_freedom, 87.1224042476114, 1e-9);
	assert_near(groups.comparison.p_value, 0.08012514176807359, 1e-9);
	assert_near(groups.comparison.lower, -0.14092117657044434, 1e-9);
	assert_near(groups.comparison.upper, 2.440921176570443, 1e-9);
	assert_near(groups.comparison.standard_error, 0.6494975702982146, 1e-9);
	/* sqrt(y1.var(ddof=1)/50/y0.mean()**2 + y1.mean()**2 * y0.var(ddof=1)/40/y0.mean()**4) */
	assert_near(groups.comparison.lift, 0.2233009708737863, 1e-9);
	assert_near(groups.comparison.lift_standard_error, 0.1407071142486522, 1e-9);
}

static void
ratios_match_numpy(void **state)
{
	Groups groups;

	(void) state;
	set_up(&groups, false, true);
	assert_int_equal(compare(&groups, BR_COMPARE_RATIOS), BR_OK);
	/* c = cov(y, d): (c[0,0]/D**2 + M**2*c[1,1]/D**4 - 2*M*c[0,1]/D**3) / n with the means M and D */
	assert_near(groups.comparison.control, 1.2875, 1e-9);
	assert_near(groups.comparison.variant, 1.8208092485549132, 1e-9);
	assert_near(groups.comparison.standard_error, 0.2288305062426554, 1e-9);
	assert_near(groups.comparison.statistic, 2.3305863248381042, 1e-9);
	/* 2 * stats.norm.sf(2.33...) */
	assert_near(groups.comparison.p_value, 0.019775183268418917, 1e-9);
	/* without denominators it is the mean */
	set_up(&groups, false, false);
	assert_int_equal(compare(&groups, BR_COMPARE_RATIOS), BR_OK);
	assert_near(groups.comparison.standard_error, 0.6494975702982146, 1e-9);
}

static void
adjusted_means_match_scipy(void **state)
{
	Groups groups;
	double slope;

	(void) state;
	set_up(&groups, true, false);
	assert_int_equal(br_eval_covariate_slope(&groups.context, groups.pooled, &slope), BR_OK);
	/* t = cov(X, Y)[0,1] / X.var(ddof=1); a = y - t * (x - X.mean()) */
	assert_near(slope, 0.4572958679600939, 1e-9);
	assert_int_equal(compare(&groups, BR_COMPARE_ADJUSTED), BR_OK);
	assert_near(groups.comparison.control, 5.410828013577239, 1e-9);
	assert_near(groups.comparison.variant, 6.0913375891382096, 1e-9);
	/* stats.ttest_ind(a1, a0, equal_var=False) */
	assert_near(groups.comparison.statistic, 1.1884257169552264, 1e-9);
	assert_near(groups.comparison.degrees_of_freedom, 87.36274634909402, 1e-9);
	assert_near(groups.comparison.p_value, 0.2378863336843907, 1e-9);
	assert_near(groups.comparison.lower, -0.45755674669445057, 1e-9);
	assert_near(groups.comparison.upper, 1.818575897816391, 1e-9);
}

static void
adjusted_ratios_match_numpy(void **state)
{
	Groups groups;
	double slope;

	(void) state;
	set_up(&groups, true, true);
	/* Z = (Y - R*D)/D.mean() with R = Y.mean()/D.mean(); cov(X, Z)[0,1] / X.var(ddof=1) */
	assert_int_equal(br_eval_covariate_slope(&groups.context, groups.pooled, &slope), BR_OK);
	assert_near(slope, 0.1623120842738718, 1e-9);
	/* each group's variance is that of (y - r*d)/d.mean() - t*(x - X.mean()) with its own r */
	assert_int_equal(compare(&groups, BR_COMPARE_ADJUSTED), BR_OK);
	assert_near(groups.comparison.control, 1.3800780036228755, 1e-9);
	assert_near(groups.comparison.variant, 1.7467468456566133, 1e-9);
	assert_near(groups.comparison.standard_error, 0.20330014363744292, 1e-9);
	assert_near(groups.comparison.statistic, 1.8035837824474925, 1e-9);
	assert_near(groups.comparison.p_value, 0.071296580322857, 1e-9);
}

/* ---- what is refused ---- */

static void
assert_refused(Groups *groups, BrComparisonMethod method, BrStatus status, const char *detail)
{
	assert_int_equal(compare(groups, method), status);
	if (strstr(groups->context.detail, detail) == NULL)
		fail_msg("\"%s\" lacks \"%s\"", groups->context.detail, detail);
}

static void
comparisons_refuse_what_has_no_answer(void **state)
{
	Groups groups;

	(void) state;
	set_up(&groups, false, false);
	group_moments(1, false, false, 1, 1, groups.variant);
	assert_refused(&groups, BR_COMPARE_MEANS, BR_ERR_NUMERIC, "The variant has 1 of the two units");
	groups.variant[BR_MOMENT_MEAN_VALUE] = NAN;
	assert_refused(&groups, BR_COMPARE_MEANS, BR_ERR_ARGUMENT, "not those of any units");
	set_up(&groups, false, true);
	groups.control[BR_MOMENT_MEAN_DENOMINATOR] = 0;
	assert_refused(&groups, BR_COMPARE_RATIOS, BR_ERR_NUMERIC, "denominators of the control");
	set_up(&groups, false, false);
	assert_refused(&groups, BR_COMPARE_ADJUSTED, BR_ERR_NUMERIC, "covariate is 0 for every unit");
	assert_refused(&groups, BR_COMPARE_PROPORTIONS, BR_ERR_NUMERIC, "not all 0 or 1");
	groups.control[BR_MOMENT_VALUE_VALUE] = groups.variant[BR_MOMENT_VALUE_VALUE] = 0;
	assert_refused(&groups, BR_COMPARE_MEANS, BR_ERR_NUMERIC, "Neither group varies");
	set_up_shares(&groups, 0, 100, 0, 100);
	assert_refused(&groups, BR_COMPARE_PROPORTIONS, BR_ERR_NUMERIC, "No unit of either group");
	set_up_shares(&groups, 100, 100, 90, 90);
	assert_refused(&groups, BR_COMPARE_PROPORTIONS, BR_ERR_NUMERIC, "Every unit of both groups");
	assert_int_equal(br_eval_compare(&groups.context, BR_COMPARE_MEANS, groups.control,
									 groups.variant, NULL, 1, &groups.comparison),
					 BR_ERR_ARGUMENT);
}

/* a control without conversions has a difference, but no lift */
static void
nothing_has_no_lift(void **state)
{
	Groups groups;

	(void) state;
	set_up_shares(&groups, 0, 100, 9, 100);
	assert_int_equal(compare(&groups, BR_COMPARE_PROPORTIONS), BR_OK);
	assert_near(groups.comparison.difference, 0.09, 1e-12);
	assert_true(isnan(groups.comparison.lift));
	assert_true(isnan(groups.comparison.lift_upper));
}

/* ---- sequential, guardrails, shares, many tests ---- */

/* GrowthBook's sequence for 1,000 and 1,100 of 10,000, its formula in NumPy */
static void
sequence_matches_its_formula(void **state)
{
	BrContext context;
	BrSequential sequential;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_sequential(&context, 0.01, 0.004334743360338649, 20000, 0.95, 5000,
										&sequential),
					 BR_OK);
	assert_near(sequential.upper - 0.01, 0.013555237271372596, 1e-9);
	assert_near(0.01 - sequential.lower, 0.013555237271372596, 1e-9);
	assert_near(sequential.p_value, 0.43372021342570544, 1e-9);
	/* the interval excludes 0 just where the p-value is below alpha */
	assert_int_equal(br_eval_sequential(&context, 0.013555237271372596, 0.004334743360338649, 20000,
										0.95, 5000, &sequential),
					 BR_OK);
	assert_near(sequential.p_value, 0.05, 1e-9);
	assert_near(sequential.lower, 0, 1e-12);
	assert_int_equal(br_eval_sequential(&context, 0.01, 0, 20000, 0.95, 5000, &sequential),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_sequential(&context, 0.01, 0.1, 20000, 0, 5000, &sequential),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_sequential(&context, 0.01, 0.1, 20000, 0.95, 0, &sequential),
					 BR_ERR_ARGUMENT);
}

static void
guardrails_match_scipy(void **state)
{
	BrContext context;
	double p;

	(void) state;
	br_base_context_init(&context);
	/* stats.norm.sf((-.01 + .02) / .006) */
	assert_int_equal(br_eval_non_inferiority(&context, -0.01, 0.006, 0.02, &p), BR_OK);
	assert_near(p, 0.0477903522728147, 1e-9);
	/* the same where less is better */
	assert_int_equal(br_eval_non_inferiority(&context, 0.01, 0.006, -0.02, &p), BR_OK);
	assert_near(p, 0.0477903522728147, 1e-9);
	assert_int_equal(br_eval_non_inferiority(&context, 0.01, 0.006, 0, &p), BR_ERR_ARGUMENT);
}

static void
sample_ratios_match_scipy(void **state)
{
	/* stats.chisquare(counts, shares / shares.sum() * counts.sum()).pvalue */
	static const struct
	{
		double counts[3];
		double shares[3];
		int n;
		double p_value;
	} cases[] = {{{5123, 4877}, {1, 1}, 2, 0.013893701577248655},
				 {{5000, 2600, 2400}, {0.5, 0.25, 0.25}, 3, 0.018315638888734182},
				 {{821, 5588}, {0.1, 0.9}, 2, 6.435763248436163e-14},
				 {{5123, 0, 4877}, {0.5, 0, 0.5}, 3, 0.013893701577248655}};
	BrContext context;
	double p;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < LENGTH(cases); i++)
	{
		assert_int_equal(br_eval_sample_ratio(&context, cases[i].counts, cases[i].shares,
											  cases[i].n, &p),
						 BR_OK);
		assert_close(p, cases[i].p_value, 1e-9);
	}
	assert_int_equal(br_eval_sample_ratio(&context, cases[0].counts, cases[0].shares, 1, &p),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_sample_ratio(&context, (double[]){1, 2}, (double[]){1, 0}, 2, &p),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_sample_ratio(&context, (double[]){0, 0}, (double[]){1, 1}, 2, &p),
					 BR_ERR_ARGUMENT);
}

static void
adjusted_p_values_match_statsmodels(void **state)
{
	static const double p_values[] = {.01, .04, .03, .005, .5, NAN, .04, .9};
	/* statsmodels.stats.multitest.multipletests(p, method='fdr_bh') and 'holm', without the NaN */
	static const double hochberg[] = {.035, .056, .056, .035, 0.5833333333333334, NAN, .056, .9};
	static const double holm[] = {.06, .16, .15, .035, 1, NAN, .16, 1};
	BrContext context;
	double adjusted[LENGTH(p_values)];

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_benjamini_hochberg(&context, p_values, LENGTH(p_values), adjusted),
					 BR_OK);
	for (int i = 0; i < LENGTH(p_values); i++)
		if (isnan(hochberg[i]))
			assert_true(isnan(adjusted[i]));
		else
			assert_near(adjusted[i], hochberg[i], 1e-12);
	assert_int_equal(br_eval_holm(&context, p_values, LENGTH(p_values), adjusted), BR_OK);
	for (int i = 0; i < LENGTH(p_values); i++)
		if (isnan(holm[i]))
			assert_true(isnan(adjusted[i]));
		else
			assert_near(adjusted[i], holm[i], 1e-12);
	assert_int_equal(br_eval_holm(&context, (double[]){0.5, 1.5}, 2, adjusted), BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_benjamini_hochberg(&context, NULL, 0, adjusted), BR_OK);
}

/* ---- planning ---- */

static void
plans_match_statsmodels(void **state)
{
	BrPlan means = {.baseline = 7, .standard_deviation = 2, .ratio = 1, .significance = .05};
	BrPlan rates = {.baseline = .1, .standard_deviation = NAN, .ratio = 1, .significance = .05};
	BrPlan rare = {.baseline = .005, .standard_deviation = NAN, .ratio = 2, .significance = .05};
	BrContext context;
	double value;

	(void) state;
	br_base_context_init(&context);
	/* NormalIndPower().power(.1, 1000, .05) and solve_power(effect_size=.05, power=.8) */
	assert_int_equal(br_eval_power(&context, &means, 0.2, 1000, &value), BR_OK);
	assert_near(value, 0.6087794846454566, 1e-9);
	assert_int_equal(br_eval_sample_size(&context, &means, 0.1, 0.8, &value), BR_OK);
	assert_close(value, 6279.088407460959, 1e-9);
	/* scipy.optimize.brentq of power(e, 1000, .05, ratio=.5) - .9, times the deviation */
	means.ratio = 0.5;
	assert_int_equal(br_eval_minimum_effect(&context, &means, 1000, 0.9, &value), BR_OK);
	assert_close(value, 2 * 0.17754508787649487, 1e-9);
	/* normal_power_het(e, n, .05, sd, sd), sd = sqrt(p0*(1-p0) + p1*(1-p1)/ratio) */
	assert_int_equal(br_eval_power(&context, &rates, 0.01, 10000, &value), BR_OK);
	assert_near(value, 0.6357058611395973, 1e-9);
	assert_int_equal(br_eval_power(&context, &rare, -0.001, 50000, &value), BR_OK);
	assert_near(value, 0.7639222112072177, 1e-9);
	/* scipy.optimize.brentq of that */
	assert_int_equal(br_eval_sample_size(&context, &rates, 0.01, 0.8, &value), BR_OK);
	assert_close(value, 14748.008897023929, 1e-9);
	assert_int_equal(br_eval_sample_size(&context, &rare, -0.001, 0.9, &value), BR_OK);
	assert_close(value, 73205.19102731551, 1e-9);
	assert_int_equal(br_eval_minimum_effect(&context, &rates, 10000, 0.8, &value), BR_OK);
	assert_near(value, 0.012199291927830492, 1e-9);
}

static void
plans_refuse_the_impossible(void **state)
{
	BrPlan rates = {.baseline = .1, .standard_deviation = NAN, .ratio = 1, .significance = .05};
	BrPlan bad;
	BrContext context;
	double value;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_eval_power(&context, &rates, 0.95, 100, &value), BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_power(&context, &rates, 0, 100, &value), BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_power(&context, &rates, 0.1, 0, &value), BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_sample_size(&context, &rates, 0.1, 0.05, &value), BR_ERR_ARGUMENT);
	assert_int_equal(br_eval_sample_size(&context, &rates, 1e-12, 0.8, &value), BR_ERR_NUMERIC);
	assert_int_equal(br_eval_minimum_effect(&context, &rates, 0.01, 0.8, &value), BR_ERR_NUMERIC);
	bad = rates;
	bad.baseline = 1.2;
	assert_int_equal(br_eval_power(&context, &bad, 0.1, 100, &value), BR_ERR_ARGUMENT);
	bad = rates;
	bad.ratio = 0;
	assert_int_equal(br_eval_power(&context, &bad, 0.1, 100, &value), BR_ERR_ARGUMENT);
	bad = rates;
	bad.standard_deviation = 0;
	assert_int_equal(br_eval_power(&context, &bad, 0.1, 100, &value), BR_ERR_ARGUMENT);
	bad = rates;
	bad.significance = 1;
	assert_int_equal(br_eval_power(&context, &bad, 0.1, 100, &value), BR_ERR_ARGUMENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(distributions_match_scipy),
		cmocka_unit_test(quantiles_match_scipy),
		cmocka_unit_test(parts_combine_to_the_whole),
		cmocka_unit_test(large_means_cost_no_variance),
		cmocka_unit_test(proportions_match_statsmodels),
		cmocka_unit_test(means_match_scipy),
		cmocka_unit_test(ratios_match_numpy),
		cmocka_unit_test(adjusted_means_match_scipy),
		cmocka_unit_test(adjusted_ratios_match_numpy),
		cmocka_unit_test(comparisons_refuse_what_has_no_answer),
		cmocka_unit_test(nothing_has_no_lift),
		cmocka_unit_test(sequence_matches_its_formula),
		cmocka_unit_test(guardrails_match_scipy),
		cmocka_unit_test(sample_ratios_match_scipy),
		cmocka_unit_test(adjusted_p_values_match_statsmodels),
		cmocka_unit_test(plans_match_statsmodels),
		cmocka_unit_test(plans_refuse_the_impossible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
