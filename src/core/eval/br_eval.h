/*
 * br_eval.h
 *	  The door of the eval room: what decisions were worth.
 *
 * Every statistic is a sum over rows, kept in a flat array of doubles that is
 * merged by addition or by Chan's formula, so that the parts of a table can be
 * summed by parallel workers or on other servers. Deterministic figures equal
 * the formulas of their sources to 1e-9.
 */
#ifndef BR_EVAL_H
#define BR_EVAL_H

#include "core/base/br_base.h"

/* ---- ranking metrics (ranking.c, tally.c) ---- */

/* A mean that grows row by row and merges by Chan's formula; three doubles, {0} is empty. */
#define BR_EVAL_MEAN_SIZE 3
typedef struct BrMean
{
	double n;		/* values, a whole number >= 0 */
	double mean;	/* of them; 0 where there are none */
	double squares; /* sum of squared distances from the mean, >= 0 */
} BrMean;

extern void br_eval_mean_add(BrMean *mean, double value);
extern void br_eval_mean_merge(BrMean *mean, const BrMean *other);

/* Standard deviation (n - 1) over the root of n; NaN for fewer than two values. */
extern double br_eval_mean_error(const BrMean *mean);

/* The name of an item: bytes that are compared as they are. */
typedef struct BrItemName
{
	const char *bytes;
	size_t length;
} BrItemName;

/*
 * A ranked list beside what was relevant. An item counts at its first place
 * only; a repetition takes its place and gains nothing.
 */
typedef struct BrJudgedList
{
	int cutoff;	   /* k: places that count, >= 1 */
	int places;	   /* of them filled: at most k */
	double *gain;  /* (places): 0 where the item is not relevant, or a repetition */
	int relevant;  /* distinct items whose gain is above 0 */
	double *ideal; /* (min(k, relevant)): the best gains, descending */
} BrJudgedList;

/*
 * recommended: (n), best first. relevant: (m), in any order. gain: (m), each
 * finite and >= 0, where 0 means not relevant; NULL for 1 each. The same item
 * twice in relevant counts once. BR_ERR_ARGUMENT: cutoff below 1, a gain out of
 * range, or an item with two gains. Free it with br_eval_judged_free, which
 * may be called on what a failure left.
 */
extern BrStatus br_eval_judge(BrContext *context, const BrItemName *recommended, int n,
							  const BrItemName *relevant, const double *gain, int m, int cutoff,
							  BrJudgedList *list);
extern void br_eval_judged_free(BrContext *context, BrJudgedList *list);

/*
 * Metrics of a judged list, in [0, 1]; NaN where nothing is relevant, because
 * then no list is better than another.
 *
 *	precision			hits / k, however short the list
 *	recall				hits / relevant
 *	f1					their harmonic mean: 2 hits / (k + relevant)
 *	hit rate			1 where there is a hit
 *	reciprocal rank		1 / place of the first hit, 0 without one
 *	average precision	sum over hits of the precision at their places, over
 *						min(k, relevant), so that the best list has 1
 *	ndcg				sum of gain / log2(1 + place), over that of the ideal list
 *
 * Source: Manning, Raghavan, Schuetze, "Introduction to Information
 * Retrieval", 2008, chapter 8; NDCG: Jaervelin, Kekaelaeinen, "Cumulated
 * gain-based evaluation of IR techniques", TOIS 2002, with linear gain.
 */
extern double br_eval_precision(const BrJudgedList *list);
extern double br_eval_recall(const BrJudgedList *list);
extern double br_eval_f1(const BrJudgedList *list);
extern double br_eval_hit_rate(const BrJudgedList *list);
extern double br_eval_reciprocal_rank(const BrJudgedList *list);
extern double br_eval_average_precision(const BrJudgedList *list);
extern double br_eval_ndcg(const BrJudgedList *list);

/*
 * Mean cosine distance of all pairs among n vectors; in [0, 2], a zero vector is
 * at distance 1 from every other. vectors: (n, dims), finite. NaN for n < 2.
 * Source: Ziegler et al., "Improving recommendation lists through topic
 * diversification", WWW 2005. BR_ERR_MEMORY.
 */
extern BrStatus br_eval_diversity(BrContext *context, const float *vectors, int n, int dims,
								  double *diversity);

/*
 * A tally: two sums for each key, where a key is a pair of doubles. It lies in
 * one array of doubles that its owner stores and grows:
 *
 *	[0]			entries in use
 *	[1]			a number that all of its rows share, such as a catalog's size; 0: none
 *	[2 + 4 i]	key, key, sum, sum of entry i
 *
 * Entries are in no order, and a key may stand in several of them, until
 * br_eval_tally_compact. So two tallies are merged by putting the entries of
 * one behind those of the other.
 */
#define BR_EVAL_TALLY_HEADER 2
#define BR_EVAL_TALLY_ENTRY 4

/*
 * Sorts the entries by key and makes those of one key one; *n entries before
 * and after. BR_ERR_NUMERIC: a key is NaN, a sum not finite, or the first one negative.
 * BR_ERR_MEMORY, BR_ERR_CANCELLED: the entries may be in another order.
 */
extern BrStatus br_eval_tally_compact(BrContext *context, double *entries, size_t *n);

/*
 * Area under the ROC curve of a compact tally whose first key is a score (the
 * second 0) and whose sums count positives and negatives: the probability that
 * a positive scores above a negative, ties counting half. *error is DeLong's
 * standard error (DeLong et al., "Comparing the areas under two or more
 * correlated receiver operating characteristic curves", Biometrics 1988), NaN
 * where a class has fewer than two. *area is NaN where a class is empty.
 */
extern void br_eval_auc(const double *entries, size_t n, double *area, double *error);

/*
 * Gini index of values x_1 <= .. <= x_n, sum (2 i - n - 1) x_i / (n sum x): 0
 * where all are equal, (n - 1) / n where one has all. values: (entries), each
 * >= 0, ascending; counts: how often each occurs; zeros: values of 0 besides.
 * NaN where the sum is 0. stride: doubles from one value to the next, and from
 * one count to the next.
 */
extern double br_eval_gini(const double *values, const double *counts, size_t n, size_t stride,
						   double zeros);

/*
 * Mean of a compact tally whose keys say a cluster, such as a user, and whose
 * sums are its rows and the sum of their values. *error is robust to what rows
 * of a cluster have in common: with G clusters, n_g rows and sums s_g,
 * G / (G - 1) times the sum of (s_g - mean n_g)^2, its root over all rows
 * (Liang, Zeger, "Longitudinal data analysis using generalized linear models",
 * Biometrika 1986). NaN: no rows; *error also for one cluster.
 */
extern void br_eval_clustered_mean(const double *entries, size_t n, double *mean, double *error,
								   double *rows);

/* How far exposure is from a target, over groups. */
typedef struct BrFairness
{
	double groups; /* with exposure or a target */
	double
		disparity_ratio; /* least exposure per target over the greatest; 1 is fair, 0 where one has none */
	double divergence; /* Kullback-Leibler, of exposure from the target, in nats; >= 0 */
	double variation;  /* total variation distance, in [0, 1]: exposure to be moved */
} BrFairness;

/*
 * entries of a compact tally: keys say the group, sums are its exposure and
 * its target, each in a unit of its own. All NaN but groups where exposure or
 * target sums to 0. Source of the ratio: Singh, Joachims, "Fairness of
 * exposure in rankings", KDD 2018.
 */
extern void br_eval_fairness(const double *entries, size_t n, BrFairness *fairness);

/* ---- off-policy estimators (off_policy.c, off_policy_*.c, reward_model.c) ---- */

/*
 * Estimators of what a target policy would have earned, from the log of another.
 * A row has the weight w = target / logged and contributes z to a mean, or, self
 * normalised (SN), to a ratio; e is kept apart where only z is normalised:
 *
 *		IPS			z = w r
 *		clipped		z = min(w, cap) r
 *		SNIPS		z = w r					value = sum z / sum w
 *		DM			z = e
 *		DR			z = e + w (r - q)
 *		SNDR		z = w (r - q)			value = mean e + sum z / sum w
 *		Switch-DR	z = e + [w <= tau] w (r - q)
 *		DRos		z = e + lambda w / (w^2 + lambda) (r - q)
 *		replay		z = r of the rows that match
 *
 * r: reward; q: predicted reward of the logged action; e: expected predicted
 * reward under the target. Of a slate of K slots, with w_l the weight of slot l
 * and w_1:l the product of the first l (conditional propensities):
 *
 *		SIPS		z = w_1:K sum r_l
 *		IIPS		z = sum w_l r_l					(w_l of marginal propensities)
 *		RIPS		z = sum w_1:l r_l
 *		cascade-DR	z = sum w_1:l (r_l - q_l) + w_1:l-1 e_l
 *		PBM			z = sum r_l <k, target_l> / <k, logged_l>
 *
 * where target_l and logged_l hold the probability of slot l's item at each
 * position and k the examination probabilities.
 *
 * Sources: Dudik et al., "Doubly robust policy evaluation and optimization",
 * Statistical Science 2014 (IPS, DM, DR); Swaminathan and Joachims, "The
 * self-normalized estimator for counterfactual learning", NIPS 2015; Wang et
 * al., "Optimal and adaptive off-policy evaluation in contextual bandits", ICML
 * 2017 (Switch-DR); Su et al., "Doubly robust off-policy evaluation with
 * shrinkage", ICML 2020 (DRos); Li et al., "Unbiased offline evaluation",
 * WSDM 2011 (replay); McInerney et al., KDD 2020 (SIPS, IIPS, RIPS); Kiyohara et
 * al., WSDM 2022 (cascade-DR); Li et al., "Offline evaluation of ranking policies
 * with click models", KDD 2018 (PBM).
 */
typedef enum BrEstimator
{
	BR_ESTIMATOR_IPS = 1,
	BR_ESTIMATOR_CLIPPED_IPS,
	BR_ESTIMATOR_SNIPS,
	BR_ESTIMATOR_DM,
	BR_ESTIMATOR_DR,
	BR_ESTIMATOR_SNDR,
	BR_ESTIMATOR_SWITCH_DR,
	BR_ESTIMATOR_DR_OS,
	BR_ESTIMATOR_REPLAY,
	BR_ESTIMATOR_SIPS,
	BR_ESTIMATOR_IIPS,
	BR_ESTIMATOR_RIPS,
	BR_ESTIMATOR_CASCADE_DR,
	BR_ESTIMATOR_PBM_IPS
} BrEstimator;

/*
 * What a state holds, by index; M is a sum of products of deviations from the
 * means. A ratio's error lies in z - R w, which is lost in rounding where rewards
 * vary little around a large value; so SNIPS and SNDR hold z - c w, with c the
 * first row's r or r - q.
 */
enum
{
	BR_STATE_ESTIMATOR, /* BrEstimator */
	BR_STATE_PARAMETER, /* cap, tau or lambda; 0 where there is none or no row yet */
	BR_STATE_CENTRE,	/* c of SNIPS and SNDR, 0 for others and without rows */
	BR_STATE_ROWS,
	BR_STATE_MAX_WEIGHT,
	BR_STATE_MEAN_W,
	BR_STATE_MEAN_Z,
	BR_STATE_MEAN_E, /* e and its products are 0 except for SNDR */
	BR_STATE_M_WW,
	BR_STATE_M_WZ,
	BR_STATE_M_ZZ,
	BR_STATE_M_WE,
	BR_STATE_M_ZE,
	BR_STATE_M_EE,
	BR_STATE_SIZE
};

/* A logged action; only what the estimator needs is read. */
typedef struct BrLoggedRow
{
	double reward;	  /* finite */
	double target;	  /* the target policy's probability of the action, [0, 1] */
	double logged;	  /* the logging policy's, (0, 1] */
	double predicted; /* finite */
	double expected;  /* finite */
	double parameter; /* cap > 0, tau >= 0 or lambda >= 0, the same in all rows; may be infinite */
} BrLoggedRow;

/* A logged slate; only what the estimator needs is read. Ranges as of BrLoggedRow. */
typedef struct BrLoggedSlate
{
	int slots;				   /* > 0 */
	int positions;			   /* PBM: > 0 */
	const double *rewards;	   /* (slots) */
	const double *target;	   /* (slots), PBM: (slots, positions) */
	const double *logged;	   /* (slots), PBM: (slots, positions), where 0 is allowed */
	const double *predicted;   /* (slots) */
	const double *expected;	   /* (slots) */
	const double *examination; /* PBM: (positions), [0, 1] */
} BrLoggedSlate;

/* What an estimate is worth; NaN where there is no such figure. Weights are w, before cap, tau or
 * lambda; of a slate the product or, for IIPS and PBM, the mean over its slots. */
typedef struct BrEstimate
{
	double value;				  /* SNIPS, SNDR: NaN where all weights are 0 */
	double standard_error;		  /* NaN for a single row */
	int64_t rows;				  /* or slates; 0: all else is NaN */
	double effective_sample_size; /* (sum w)^2 / sum w^2 */
	double max_weight;			  /* of a single slot for IIPS and PBM */
	double mean_weight;			  /* 1 but for chance where the propensities are right */
} BrEstimate;

/* A state without rows. */
extern void br_eval_state_init(double *state /* (BR_STATE_SIZE) */, BrEstimator estimator);

/* BR_ERR_ARGUMENT: not what these functions make. For states that come from elsewhere. */
extern BrStatus br_eval_state_check(BrContext *context, const double *state /* (BR_STATE_SIZE) */);

/* "ips" and so on, as in SQL. */
extern const char *br_eval_estimator_name(BrEstimator estimator);

/*
 * Adds a row, or a slate, to a state of its estimator. BR_ERR_ARGUMENT names
 * the value that is out of its range; BR_ERR_NUMERIC: a product overflows. The
 * state is unchanged then.
 */
extern BrStatus br_eval_add_row(BrContext *context, double *state /* (BR_STATE_SIZE) */,
								const BrLoggedRow *row);
extern BrStatus br_eval_add_slate(BrContext *context, double *state /* (BR_STATE_SIZE) */,
								  const BrLoggedSlate *slate);

/*
 * The state of the rows of both, by the pairwise update of Chan, Golub and
 * LeVeque, "Algorithms for computing the sample variance", American
 * Statistician 1983. BR_ERR_ARGUMENT: of different estimators or parameters.
 */
extern BrStatus br_eval_combine(BrContext *context, double *state /* (BR_STATE_SIZE) */,
								const double *other /* (BR_STATE_SIZE) */);

/*
 * Standard errors, for means: the sample standard deviation of z over sqrt n;
 * for ratios by the delta method: with R = sum z / sum w, SNIPS
 * sqrt(sum (z - R w)^2) / sum w, and SNDR sqrt(sum p^2) / n where
 * p = e - mean e + (z - R w) / mean w (Owen, "Monte Carlo theory, methods and
 * examples", 2013, section 9.2).
 * BR_ERR_NUMERIC: a sum has overflowed.
 */
extern BrStatus br_eval_estimate(BrContext *context, const double *state /* (BR_STATE_SIZE) */,
								 BrEstimate *estimate);

/*
 * The same with rows that belong together, such as those of a user. A cluster
 * state is fed with the states of whole clusters; with u_c the sum over cluster
 * c of the linear terms above, the standard error is
 * sqrt(C / (C - 1) sum u_c^2), C clusters: NaN for one (Liang and Zeger,
 * "Longitudinal data analysis using generalized linear models", 1986, with the
 * usual correction).
 */
enum
{
	BR_CLUSTERS_ESTIMATOR,
	BR_CLUSTERS_PARAMETER,
	BR_CLUSTERS_CENTRE,
	BR_CLUSTERS_COUNT,
	BR_CLUSTERS_ROWS,
	BR_CLUSTERS_MAX_WEIGHT,
	BR_CLUSTERS_SQUARES,				   /* sum w^2 */
	BR_CLUSTERS_MEANS,					   /* over clusters, of the sums n, w, z, e of each */
	BR_CLUSTERS_M = BR_CLUSTERS_MEANS + 4, /* (4, 4) lower triangle of their products */
	BR_CLUSTERS_SIZE = BR_CLUSTERS_M + 10
};

/* An empty state of clusters is all 0; a cluster without rows changes nothing. */
extern BrStatus br_eval_clusters_check(BrContext *context,
									   const double *clusters /* (BR_CLUSTERS_SIZE) */);
extern BrStatus br_eval_clusters_add(BrContext *context, double *clusters /* (BR_CLUSTERS_SIZE) */,
									 const double *state /* (BR_STATE_SIZE) */);
extern BrStatus br_eval_clusters_combine(BrContext *context,
										 double *clusters /* (BR_CLUSTERS_SIZE) */,
										 const double *other /* (BR_CLUSTERS_SIZE) */);
extern BrStatus br_eval_clusters_estimate(BrContext *context,
										  const double *clusters /* (BR_CLUSTERS_SIZE) */,
										  BrEstimate *estimate);

/* An interval; NaN where the estimate has no standard error. */
typedef struct BrBounds
{
	double lower;
	double upper;
} BrBounds;

/* value -+ z standard errors, z the normal quantile. BR_ERR_ARGUMENT: level not in (0, 1). */
extern BrStatus br_eval_normal_bounds(BrContext *context, const BrEstimate *estimate, double level,
									  BrBounds *bounds);

/*
 * An interval that holds for any number of rows, of an estimator that is a mean
 * (not SNIPS or SNDR) of independent terms within [lowest, highest]: with
 * d = 1 - level, b = highest - lowest and V the sample variance of the terms,
 *
 *		value -+ (sqrt(2 V ln(4/d) / n) + 7 b ln(4/d) / (3 (n - 1)))
 *
 * cut to [lowest, highest] (Maurer and Pontil, "Empirical Bernstein bounds and
 * sample variance penalization", COLT 2009, theorem 4, at d/2 for each side).
 * BR_ERR_ARGUMENT: level not in (0, 1), bounds that are no interval, or that the
 * value is outside of.
 */
extern BrStatus br_eval_bernstein_bounds(BrContext *context, const BrEstimate *estimate,
										 double level, double lowest, double highest,
										 BrBounds *bounds);

/*
 * What speaks against an estimate, one bit each. The standard error of the mean
 * weight is taken as of independent rows.
 */
typedef enum BrSupportWarning
{
	BR_SUPPORT_BELOW_1 = 1,	  /* mean weight 3 standard errors below 1: target actions unlogged */
	BR_SUPPORT_ABOVE_1 = 2,	  /* as far above 1: propensities that are too small */
	BR_SUPPORT_FEW_ROWS = 4,  /* effective sample size below 100 */
	BR_SUPPORT_ONE_WEIGHT = 8 /* a tenth of all weight, or more, is that of one row */
} BrSupportWarning;

#define BR_SUPPORT_WARNINGS 4

/* Bits; 0 for estimators without weights and without rows. */
extern unsigned br_eval_support_warnings(const BrEstimate *estimate);

/* The name of bit i, as in SQL. */
extern const char *br_eval_support_warning_name(int i);

/*
 * How often which weights occur, in bins of powers of 2: bin 0 holds weights of
 * 0, bin 1 those below 2^-10, then [2^-10, 2^-9) and so on, bin 22 those of 2^10
 * and more, and the last what the target policy does and the logging policy
 * never. Merged by addition.
 */
#define BR_OVERLAP_BINS 24

enum
{
	BR_OVERLAP_ROWS,
	BR_OVERLAP_WEIGHT, /* sum of w; 0 in the last bin */
	BR_OVERLAP_TARGET, /* sum of target probabilities */
	BR_OVERLAP_FIGURES
};

#define BR_OVERLAP_SIZE (BR_OVERLAP_BINS * BR_OVERLAP_FIGURES)

/* logged: 0 is allowed. BR_ERR_ARGUMENT: a probability outside [0, 1]. */
extern BrStatus br_eval_overlap_add(BrContext *context,
									double *bins /* (BR_OVERLAP_BINS, BR_OVERLAP_FIGURES) */,
									double target, double logged);

/* Weights of a bin: lower <= w < upper; 0, 0 of the first; infinity, infinity of the last. */
extern BrBounds br_eval_overlap_bin(int bin);

/*
 * The Poisson bootstrap: in each replicate a unit (the rows of one state: a row,
 * a user) counts as often as a Poisson number of mean 1 says, drawn from seed,
 * key of the unit and replicate alone, so that order and parallel workers do not
 * matter (Chamandy et al., "Estimating uncertainty for massive data streams",
 * 2012). Sums are merged by addition.
 */
enum
{
	BR_BOOTSTRAP_ESTIMATOR,
	BR_BOOTSTRAP_PARAMETER,
	BR_BOOTSTRAP_CENTRE,
	BR_BOOTSTRAP_UNITS,
	BR_BOOTSTRAP_SEED_HIGH, /* 32 bits */
	BR_BOOTSTRAP_SEED_LOW,
	BR_BOOTSTRAP_LEVEL,
	BR_BOOTSTRAP_SUMS /* (replicates, 4): n, w, z, e */
};

#define BR_BOOTSTRAP_MAX_REPLICATES 10000
#define BR_BOOTSTRAP_SIZE(replicates) (BR_BOOTSTRAP_SUMS + 4 * (replicates))

/* BR_ERR_ARGUMENT: replicates outside 2 to the maximum, or level outside (0, 1). */
extern BrStatus br_eval_bootstrap_check(BrContext *context, int replicates, double level);
/* The same for sums that come from elsewhere. */
extern BrStatus br_eval_bootstrap_check_sums(BrContext *context, const double *sums,
											 int replicates);
extern void br_eval_bootstrap_init(double *sums /* (BR_BOOTSTRAP_SIZE(replicates)) */,
								   int replicates, int64_t seed, double level);

/* BR_ERR_ARGUMENT: a state of another estimator or parameter than the first. */
extern BrStatus br_eval_bootstrap_add(BrContext *context, double *sums, int replicates,
									  const double *state /* (BR_STATE_SIZE) */, const void *key,
									  size_t key_size);

/* BR_ERR_ARGUMENT: sums of another estimator, parameter, seed or level. */
extern BrStatus br_eval_bootstrap_combine(BrContext *context, double *sums, const double *other,
										  int replicates);

/*
 * The percentiles (1 - level) / 2 and (1 + level) / 2 of the replicates' values,
 * interpolated linearly; replicates without a value are left out.
 */
extern BrStatus br_eval_bootstrap_bounds(BrContext *context, const double *sums, int replicates,
										 BrBounds *bounds);

/* ---- experiments (experiment.c, sequential.c, many_tests.c, planning.c) ---- */

/*
 * What an experiment's statistics need of its units: their number n, the means
 * of a metric's value y, a covariate x from before the experiment and a
 * denominator d, and the sums of products of deviations from the means. x is 0
 * where there is no covariate and d is 1 where there is no denominator, so a
 * mean is a ratio with denominator 1. All zero: no units.
 */
typedef enum BrMoment
{
	BR_MOMENT_COUNT,
	BR_MOMENT_MEAN_VALUE,
	BR_MOMENT_MEAN_COVARIATE,
	BR_MOMENT_MEAN_DENOMINATOR,
	BR_MOMENT_VALUE_VALUE,
	BR_MOMENT_COVARIATE_COVARIATE,
	BR_MOMENT_DENOMINATOR_DENOMINATOR,
	BR_MOMENT_VALUE_COVARIATE,
	BR_MOMENT_VALUE_DENOMINATOR,
	BR_MOMENT_COVARIATE_DENOMINATOR,
	BR_MOMENTS
} BrMoment;

/* Adds one unit, whose numbers are finite. */
extern void br_eval_moments_add(double *moments /* (BR_MOMENTS) */, double value, double covariate,
								double denominator);

/*
 * Adds other units to those of moments. Source: Chan, Golub and LeVeque,
 * "Updating formulae and a pairwise algorithm for computing sample variances",
 * Stanford STAN-CS-79-773 (1979).
 */
extern void br_eval_moments_combine(double *moments /* (BR_MOMENTS) */,
									const double *other /* (BR_MOMENTS) */);

/* Whether units can have such moments: finite, a whole number of units, no negative squares. */
extern bool br_eval_moments_possible(const double *moments /* (BR_MOMENTS) */);

typedef enum BrComparisonMethod
{
	BR_COMPARE_PROPORTIONS, /* values 0 and 1: two-proportion z, pooled for the p-value */
	BR_COMPARE_MEANS,		/* Welch's t */
	BR_COMPARE_RATIOS,		/* sum of values / sum of denominators, by the delta method */
	BR_COMPARE_ADJUSTED		/* means or ratios, adjusted by a covariate (CUPED) */
} BrComparisonMethod;

/* A variant against the control; what is undefined is NaN. */
typedef struct BrComparison
{
	double control;	   /* the metric in the control: mean, share or ratio, adjusted or not */
	double variant;	   /* and in the variant */
	double difference; /* variant - control */
	double standard_error;
	double statistic;		   /* z or t of the difference */
	double degrees_of_freedom; /* of t; infinite for z */
	double p_value;			   /* two-sided */
	double lower;			   /* interval of the difference */
	double upper;
	double lift;				/* difference / |control|; NaN where the control is 0 */
	double lift_standard_error; /* by the delta method */
	double lift_lower;
	double lift_upper;
} BrComparison;

/*
 * The slope that BR_COMPARE_ADJUSTED takes off: Cov(z, x) / Var(x) over the units of
 * all variants together, with z the value, or for a ratio the value less ratio
 * times denominator, over the mean denominator. pooled: the combined moments.
 * BR_ERR_NUMERIC: fewer than two units, a covariate that does not vary, or a mean
 * denominator of 0.
 * Source: Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online
 * controlled experiments by utilizing pre-experiment data", WSDM 2013, section 3.2.
 */
extern BrStatus br_eval_covariate_slope(BrContext *context, const double *pooled /* (BR_MOMENTS) */,
										double *slope);

/*
 * Compares a variant with the control. pooled: the combined moments of all
 * variants, read by BR_COMPARE_ADJUSTED alone: adjusted values are
 * y - slope * (x - mean x). confidence: of the intervals, in (0, 1).
 * Intervals are symmetric about the estimate, with the quantile of Welch's t for
 * means and of the normal distribution for all else; those of proportions have
 * the unpooled standard error.
 * BR_ERR_NUMERIC: fewer than two units in a group, no variance in either, no
 * conversion or nothing but conversions in both, values other than 0 and 1 where
 * they should be, a mean denominator of 0, or no slope.
 * BR_ERR_ARGUMENT: impossible moments, or a confidence out of range.
 * Sources: Welch, "The generalization of 'Student's' problem", Biometrika 34 (1947);
 * Deng, Knoblich and Lu, "Applying the delta method in metric analytics", KDD 2018.
 */
extern BrStatus br_eval_compare(BrContext *context, BrComparisonMethod method,
								const double *control /* (BR_MOMENTS) */,
								const double *variant /* (BR_MOMENTS) */,
								const double *pooled /* (BR_MOMENTS) */, double confidence,
								BrComparison *comparison);

/* Valid however often and whenever it is looked at. */
typedef struct BrSequential
{
	double p_value; /* the smallest of all looks is valid too */
	double lower;	/* interval of the difference */
	double upper;
} BrSequential;

/*
 * The asymptotic confidence sequence of a difference with standard error s over
 * n units of both groups:
 *
 *		difference -+ s * sqrt(2 (n r + 1) / (n r) * ln(sqrt(n r + 1) / alpha))
 *		r = (ln(1 - 2 ln alpha) - 2 ln alpha) / planned,  alpha = 1 - confidence
 *
 * and the least alpha, r unchanged, at which it excludes 0. planned: the number
 * of units at which the interval shall be narrowest, > 0.
 * BR_ERR_ARGUMENT: something out of its range, or not finite.
 * Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central
 * limit theory and asymptotic confidence sequences", Annals of Statistics 52 (2024).
 */
extern BrStatus br_eval_sequential(BrContext *context, double difference, double standard_error,
								   double n, double confidence, double planned,
								   BrSequential *sequential);

/*
 * Whether a metric got worse by more than a margin. With a margin m > 0 more is
 * better, and the metric must not fall by more than m; with m < 0 less is better,
 * and it must not rise by more than -m. *p_value: one-sided, of the hypothesis that
 * it did; small values say that the guardrail holds.
 * BR_ERR_ARGUMENT: margin 0, a standard error that is not positive, or not finite.
 */
extern BrStatus br_eval_non_inferiority(BrContext *context, double estimate, double standard_error,
										double margin, double *p_value);

/*
 * Pearson's chi-square of counts per variant against expected shares, with one
 * degree of freedom less than variants; shares need not sum to 1.
 * BR_ERR_ARGUMENT: fewer than two variants, a share that is not positive where
 * there are counts, negative or non-finite numbers, no counts at all.
 */
extern BrStatus br_eval_sample_ratio(BrContext *context, const double *counts /* (n) */,
									 const double *shares /* (n) */, int n, double *p_value);

/*
 * P-values adjusted for their number. NaN stays NaN and is not counted.
 * BR_ERR_ARGUMENT: outside [0, 1]. BR_ERR_MEMORY.
 * Sources: Benjamini and Hochberg, JRSS B 57 (1995); Holm, Scand. J. Statist. 6 (1979).
 */
extern BrStatus br_eval_benjamini_hochberg(BrContext *context, const double *p_values /* (n) */,
										   int n, double *adjusted /* (n) */);
extern BrStatus br_eval_holm(BrContext *context, const double *p_values /* (n) */, int n,
							 double *adjusted /* (n) */);

/* An experiment that is planned. */
typedef struct BrPlan
{
	double baseline;		   /* of the control: a mean or, without deviation, a rate in (0, 1) */
	double standard_deviation; /* of the units' values; NaN: they are 0 or 1 */
	double ratio;			   /* units of the variant for each of the control, > 0 */
	double significance;	   /* of the two-sided test, in (0, 1) */
} BrPlan;

/*
 * The probability that a two-sided z test of n units in the control and
 * n * ratio in the variant finds a difference of effect:
 *
 *		Phi(effect/s - q) + Phi(-effect/s - q),  s^2 = v0/n + v1/(n ratio)
 *
 * with q the normal quantile of 1 - significance/2 and, for rates, v0 = p0 (1 - p0) and
 * v1 = p1 (1 - p1) at p1 = p0 + effect. BR_ERR_ARGUMENT: out of range.
 */
extern BrStatus br_eval_power(BrContext *context, const BrPlan *plan, double effect, double n,
							  double *power);

/* The least n, not rounded, with that power, which is above the significance. */
extern BrStatus br_eval_sample_size(BrContext *context, const BrPlan *plan, double effect,
									double power, double *n);

/*
 * The least positive effect that n units find with that power. BR_ERR_NUMERIC: with
 * so few units none below 1 - baseline is found.
 */
extern BrStatus br_eval_minimum_effect(BrContext *context, const BrPlan *plan, double n,
									   double power, double *effect);

/*
 * Distributions (distributions.c): tails to 1e-12, small ones to 1e-11 of themselves,
 * quantiles to 1e-11 of themselves. Tails are P(X > x); of t it is
 * P(|T| > |t|). Quantiles: P(X <= x) = p, p in (0, 1). df > 0; of chi-square at most
 * 1e5, an infinite one of t is the normal distribution.
 */
extern double br_eval_normal_tail(double x);
extern double br_eval_t_two_sided(double t, double df);
extern double br_eval_t_quantile(double p, double df);
extern double br_eval_chi_square_tail(double x, double df);
extern double br_eval_chi_square_quantile(double p, double df);

/* ---- reward models (reward_model.c) ---- */

/*
 * Predicted rewards q, cross-fitted: the model of a fold is fitted to the rows of all
 * other folds. Ridge, q = x'theta + c, minimises sum (r - q)^2 + penalty |theta|^2;
 * logistic, q = 1 / (1 + e^-(x'theta + c)) for rewards in [0, 1], the negative
 * log-likelihood + penalty / 2 |theta|^2. A model lives in the context's allocator.
 */
typedef struct BrRewardModel BrRewardModel;
#define BR_EVAL_MAX_FEATURES 1024
#define BR_EVAL_MAX_FOLDS 100
/* dims, folds: 1, 2 to these limits; penalty >= 0. */
extern BrStatus br_eval_reward_model_create(BrContext *context, bool logistic, int dims, int folds,
											double penalty, BrRewardModel **model);
extern void br_eval_reward_model_free(BrContext *context, BrRewardModel *model); /* or NULL */

/* A row that its fold's model must not see. BR_ERR_ARGUMENT: a number that it cannot take. */
extern BrStatus br_eval_reward_model_add(BrContext *context, BrRewardModel *model, int fold,
										 const double *x /* (dims) */, double reward);
/* BR_ERR_ARGUMENT: a fold holds all rows; BR_ERR_NUMERIC: a singular design, penalty 0. */
extern BrStatus br_eval_reward_model_fit(BrContext *context, BrRewardModel *model);
extern double br_eval_reward_model_predict(const BrRewardModel *model, int fold, const double *x);

/* The fold, from 0, of what belongs together under a key; the same on every machine. */
extern int br_eval_fold(const void *key, size_t length, uint64_t seed, int folds);

#endif /* BR_EVAL_H */
