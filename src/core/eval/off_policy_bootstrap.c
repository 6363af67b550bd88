/*
 * off_policy_bootstrap.c
 *	  The Poisson bootstrap over states of off-policy estimators.
 *
 * Drawing n units with replacement gives each a count that is nearly a Poisson
 * number of mean 1, independent of the others' where n is large. Poisson counts
 * need neither n nor the other units, so each unit is met once.
 */
#include <math.h>
#include <stdlib.h>

#include "core/eval/off_policy_int.h"

/* 2^32 P(X <= k) of a Poisson variable of mean 1, rounded; above the last, 12. */
static const uint32_t below[] = {1580030169u, 3160060337u, 3950075422u, 4213413783u,
								 4279248374u, 4292415292u, 4294609778u, 4294923276u,
								 4294962463u, 4294966817u, 4294967253u, 4294967292u};

#define STEPS ((int) (sizeof(below) / sizeof(*below)))

/* FNV-1a (Fowler, Noll and Vo), 64 bits. */
static uint64_t
hash(const void *key, size_t size)
{
	const unsigned char *bytes = key;
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < size; i++)
		h = (h ^ bytes[i]) * 1099511628211u;
	return h;
}

static int
draw_count(BrRandom *random)
{
	uint32_t u = br_base_random_u32(random);
	int count = 0;

	while (count < STEPS && u >= below[count])
		count++;
	return count;
}

BrStatus
br_eval_bootstrap_check(BrContext *context, int replicates, double level)
{
	if (replicates < 2 || replicates > BR_BOOTSTRAP_MAX_REPLICATES)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The number of replicates is %d; it must be between 2 and %d.",
							replicates, BR_BOOTSTRAP_MAX_REPLICATES);
	return br_eval_check_level(context, level);
}

BrStatus
br_eval_bootstrap_check_sums(BrContext *context, const double *sums, int replicates)
{
	double high = sums[BR_BOOTSTRAP_SEED_HIGH], low = sums[BR_BOOTSTRAP_SEED_LOW];
	double units = sums[BR_BOOTSTRAP_UNITS];
	bool possible = high >= 0 && high <= UINT32_MAX && floor(high) == high && low >= 0 &&
		low <= UINT32_MAX && floor(low) == low && units >= 0 && floor(units) == units &&
		(units == 0 || br_eval_is_estimator(sums[BR_BOOTSTRAP_ESTIMATOR]));

	if (!possible)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"It is not what a bootstrap leaves: estimator %g, units %g.",
							sums[BR_BOOTSTRAP_ESTIMATOR], units);
	return br_eval_bootstrap_check(context, replicates, sums[BR_BOOTSTRAP_LEVEL]);
}

void
br_eval_bootstrap_init(double *sums, int replicates, int64_t seed, double level)
{
	for (int i = 0; i < BR_BOOTSTRAP_SIZE(replicates); i++)
		sums[i] = 0;
	sums[BR_BOOTSTRAP_SEED_HIGH] = (double) ((uint64_t) seed >> 32);
	sums[BR_BOOTSTRAP_SEED_LOW] = (double) ((uint64_t) seed & UINT32_MAX);
	sums[BR_BOOTSTRAP_LEVEL] = level;
}

BrStatus
br_eval_bootstrap_add(BrContext *context, double *sums, int replicates, const double *state,
					  const void *key, size_t key_size)
{
	double n = state[BR_STATE_ROWS];
	uint64_t seed =
		(uint64_t) sums[BR_BOOTSTRAP_SEED_HIGH] << 32 | (uint64_t) sums[BR_BOOTSTRAP_SEED_LOW];
	double z, unit[4];
	BrRandom random;

	if (n == 0)
		return BR_OK;
	if (sums[BR_BOOTSTRAP_UNITS] == 0)
		for (int i = BR_BOOTSTRAP_ESTIMATOR; i <= BR_BOOTSTRAP_CENTRE; i++)
			sums[i] = state[i];
	else
	{
		/* estimator, parameter and centre stand where a state has them */
		BrStatus status = br_eval_check_same(context, sums, state);

		if (status != BR_OK)
			return status;
	}
	z = state[BR_STATE_MEAN_Z] +
		(state[BR_STATE_CENTRE] - sums[BR_BOOTSTRAP_CENTRE]) * state[BR_STATE_MEAN_W];
	unit[0] = n;
	unit[1] = n * state[BR_STATE_MEAN_W];
	unit[2] = n * z;
	unit[3] = n * state[BR_STATE_MEAN_E];
	sums[BR_BOOTSTRAP_UNITS] += 1;
	br_base_random_init(&random, seed, hash(key, key_size));
	for (int r = 0; r < replicates; r++)
	{
		double count = draw_count(&random);

		for (int i = 0; i < 4; i++)
			sums[BR_BOOTSTRAP_SUMS + 4 * r + i] += count * unit[i];
	}
	return BR_OK;
}

BrStatus
br_eval_bootstrap_combine(BrContext *context, double *sums, const double *other, int replicates)
{
	double by = 0;

	for (int i = BR_BOOTSTRAP_SEED_HIGH; i <= BR_BOOTSTRAP_LEVEL; i++)
		if (sums[i] != other[i])
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Seed and level must be the same in all rows.");
	if (other[BR_BOOTSTRAP_UNITS] == 0)
		return BR_OK;
	if (sums[BR_BOOTSTRAP_UNITS] > 0)
	{
		BrStatus status = br_eval_check_same(context, sums, other);

		if (status != BR_OK)
			return status;
		by = other[BR_BOOTSTRAP_CENTRE] - sums[BR_BOOTSTRAP_CENTRE];
	}
	else
		for (int i = BR_BOOTSTRAP_ESTIMATOR; i <= BR_BOOTSTRAP_CENTRE; i++)
			sums[i] = other[i];
	sums[BR_BOOTSTRAP_UNITS] += other[BR_BOOTSTRAP_UNITS];
	for (int i = BR_BOOTSTRAP_SUMS; i < BR_BOOTSTRAP_SIZE(replicates); i += 4)
	{
		sums[i] += other[i];
		sums[i + 1] += other[i + 1];
		sums[i + 2] += other[i + 2] + by * other[i + 1];
		sums[i + 3] += other[i + 3];
	}
	return BR_OK;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *) a, y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
quantile(const double *sorted /* (n) */, int n, double q)
{
	double at = q * (n - 1);
	int low = (int) at;

	if (low + 1 >= n)
		return sorted[n - 1];
	return sorted[low] + (at - low) * (sorted[low + 1] - sorted[low]);
}

BrStatus
br_eval_bootstrap_bounds(BrContext *context, const double *sums, int replicates, BrBounds *bounds)
{
	double level = sums[BR_BOOTSTRAP_LEVEL];
	double *values = br_base_alloc_array(context, (size_t) replicates, sizeof(double));
	int n = 0;

	if (values == NULL)
		return BR_ERR_MEMORY;
	for (int r = 0; r < replicates && sums[BR_BOOTSTRAP_UNITS] > 0; r++)
	{
		double value =
			br_eval_value((BrEstimator) sums[BR_BOOTSTRAP_ESTIMATOR], sums[BR_BOOTSTRAP_CENTRE],
						  sums + BR_BOOTSTRAP_SUMS + 4 * (size_t) r, NULL);

		if (isfinite(value))
			values[n++] = value;
	}
	*bounds = (BrBounds){NAN, NAN};
	if (n > 0)
	{
		qsort(values, (size_t) n, sizeof(double), compare);
		bounds->lower = quantile(values, n, (1 - level) / 2);
		bounds->upper = quantile(values, n, (1 + level) / 2);
	}
	br_base_free(context, values);
	return BR_OK;
}
