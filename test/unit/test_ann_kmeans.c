/*
 * test_ann_kmeans.c
 *	  Centroids, assignment and calibration, against plain code in double.
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

#define SEED 4

static void
norms_of(const float *vectors, int n, int dims, float *norms)
{
	for (int i = 0; i < n; i++)
		norms[i] =
			(float) ann_product(vectors + (size_t) i * dims, vectors + (size_t) i * dims, dims);
}

/* Ties to the smaller number. */
static int
nearest_of(const float *vector, const float *centroids, int lists, int dims, double *distance)
{
	int nearest = 0;

	*distance = INFINITY;
	for (int list = 0; list < lists; list++)
	{
		double value = ann_value(BR_METRIC_L2, vector, centroids + (size_t) list * dims, dims);

		if (value < *distance)
		{
			*distance = value;
			nearest = list;
		}
	}
	return nearest;
}

/* Sum of squared distances, and the length of each list unless it is NULL. */
static double
inertia_of(const float *sample, int n, int dims, const float *centroids, int lists, int *lengths)
{
	double sum = 0;

	if (lengths != NULL)
		memset(lengths, 0, sizeof(int) * (size_t) lists);
	for (int i = 0; i < n; i++)
	{
		double distance;
		int list = nearest_of(sample + (size_t) i * dims, centroids, lists, dims, &distance);

		sum += distance;
		if (lengths != NULL)
			lengths[list]++;
	}
	return sum;
}

static float *
find_centroids(const float *sample, int n, int dims, int lists, BrPool *pool)
{
	float *centroids = malloc(sizeof(float) * (size_t) lists * (size_t) dims);
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(br_ann_kmeans(&context, br_math_portable_backend(), pool, NULL, sample, n,
								   dims, lists, SEED, NULL, NULL, centroids),
					 BR_OK);
	return centroids;
}

/* ---- k-means ---- */

/* Clusters that stand 25 spreads and more apart: each has one centroid, in its middle. */
static void
separate_clusters_are_each_found(void **state)
{
	enum
	{
		N = 1200,
		DIMS = 16,
		CLUSTERS = 24
	};
	float *sample = ann_vectors(8, N, DIMS, CLUSTERS, 0.05);
	float *centroids = find_centroids(sample, N, DIMS, CLUSTERS, NULL);
	/* of the right ones: DIMS * spread^2 for each row, less what the means follow */
	double expected = 0.05 * 0.05 * DIMS * (N - CLUSTERS);

	(void) state;
	assert_true(fabs(inertia_of(sample, N, DIMS, centroids, CLUSTERS, NULL) / expected - 1) < 0.05);
	free(sample);
	free(centroids);
}

/* Lloyd's iterations from random rows. */
static double
reference_inertia(const float *sample, int n, int dims, int lists, uint64_t seed)
{
	float *centroids = malloc(sizeof(float) * (size_t) lists * (size_t) dims);
	double *sums = malloc(sizeof(double) * (size_t) lists * (size_t) dims);
	int *lengths = malloc(sizeof(int) * (size_t) lists);
	BrRandom random;
	double inertia;

	br_base_random_init(&random, seed, 0);
	for (int list = 0; list < lists; list++)
		memcpy(centroids + list * dims,
			   sample + (size_t) br_base_random_below(&random, (uint32_t) n) * (size_t) dims,
			   sizeof(float) * (size_t) dims);
	for (int iteration = 0; iteration < 12; iteration++)
	{
		memset(sums, 0, sizeof(double) * (size_t) lists * (size_t) dims);
		memset(lengths, 0, sizeof(int) * (size_t) lists);
		for (int i = 0; i < n; i++)
		{
			double distance;
			int list = nearest_of(sample + (size_t) i * dims, centroids, lists, dims, &distance);

			lengths[list]++;
			for (int j = 0; j < dims; j++)
				sums[list * dims + j] += (double) sample[(size_t) i * dims + j];
		}
		for (int j = 0; j < lists * dims; j++)
			if (lengths[j / dims] > 0)
				centroids[j] = (float) (sums[j] / lengths[j / dims]);
	}
	inertia = inertia_of(sample, n, dims, centroids, lists, NULL);
	free(centroids);
	free(sums);
	free(lengths);
	return inertia;
}

static void
inertia_is_that_of_plain_iterations(void **state)
{
	enum
	{
		N = 2000,
		DIMS = 12,
		LISTS = 40
	};
	static const int cluster_counts[] = {1, 60};

	(void) state;
	for (int c = 0; c < 2; c++)
	{
		float *sample = ann_vectors(12, N, DIMS, cluster_counts[c], 0.4);
		float *centroids = find_centroids(sample, N, DIMS, LISTS, NULL);
		double ours = inertia_of(sample, N, DIMS, centroids, LISTS, NULL);

		for (uint64_t seed = 0; seed < 3; seed++)
			assert_true(ours < 1.03 * reference_inertia(sample, N, DIMS, LISTS, seed));
		free(sample);
		free(centroids);
	}
}

/*
 * 900 of 1,500 rows stand in a narrow heap, to which k-means alone would give
 * few of 50 lists, since dividing it gains little.
 */
static void
long_lists_are_divided(void **state)
{
	enum
	{
		N = 1500,
		DIMS = 8,
		LISTS = 50
	};
	float *sample = ann_vectors(13, N, DIMS, 40, 0.5);
	float *heap = ann_vectors(14, 900, DIMS, 1, 0.05);
	float *centroids;
	int lengths[LISTS];

	(void) state;
	memcpy(sample, heap, sizeof(float) * 900 * DIMS);
	centroids = find_centroids(sample, N, DIMS, LISTS, NULL);
	(void) inertia_of(sample, N, DIMS, centroids, LISTS, lengths);
	for (int list = 0; list < LISTS; list++)
		assert_in_range(lengths[list], 1, 4 * N / LISTS);
	free(sample);
	free(heap);
	free(centroids);
}

/* Rows of which there are fewer kinds than lists, and a list for each row. */
static void
few_kinds_of_rows_are_no_trouble(void **state)
{
	enum
	{
		N = 90,
		DIMS = 5
	};
	float *sample = ann_vectors(15, N, DIMS, 1, 1);
	float *centroids = find_centroids(sample, N, DIMS, N, NULL);

	(void) state;
	assert_true(inertia_of(sample, N, DIMS, centroids, N, NULL) == 0);
	free(centroids);
	for (int i = DIMS; i < N * DIMS; i++)
		sample[i] = sample[i % (3 * DIMS)];
	centroids = find_centroids(sample, N, DIMS, 7, NULL);
	assert_true(inertia_of(sample, N, DIMS, centroids, 7, NULL) < 1e-9);
	free(centroids);
	memset(sample, 0, sizeof(float) * N * DIMS);
	centroids = find_centroids(sample, N, DIMS, 7, NULL);
	assert_true(inertia_of(sample, N, DIMS, centroids, 7, NULL) == 0);
	free(centroids);
	free(sample);
}

static void
pools_change_nothing(void **state)
{
	enum
	{
		N = 1700,
		DIMS = 33,
		LISTS = 70
	};
	float *sample = ann_vectors(16, N, DIMS, 50, 0.5);
	float *alone = find_centroids(sample, N, DIMS, LISTS, NULL);
	float norms[LISTS];
	int32_t expected[N];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	norms_of(alone, LISTS, DIMS, norms);
	assert_int_equal(br_ann_assign(&context, br_math_portable_backend(), NULL, NULL, sample, N,
								   DIMS, alone, norms, LISTS, expected),
					 BR_OK);
	for (int threads = 2; threads <= 3; threads++)
	{
		int32_t nearest[N];
		float *shared;
		BrPool *pool;

		assert_int_equal(br_base_pool_create(&context, threads, &pool), BR_OK);
		shared = find_centroids(sample, N, DIMS, LISTS, pool);
		assert_memory_equal(alone, shared, sizeof(float) * LISTS * DIMS);
		assert_int_equal(br_ann_assign(&context, br_math_portable_backend(), pool, NULL, sample, N,
									   DIMS, alone, norms, LISTS, nearest),
						 BR_OK);
		assert_memory_equal(expected, nearest, sizeof(expected));
		free(shared);
		br_base_pool_destroy(pool);
	}
	free(sample);
	free(alone);
}

/* Whole numbers, so that ties are exact; more centroids than a block of them. */
static void
assignment_is_to_the_nearest(void **state)
{
	enum
	{
		N = 1100,
		DIMS = 3,
		LISTS = 1300
	};
	float *vectors = ann_vectors(18, N, DIMS, 1, 4);
	float *centroids = ann_vectors(19, LISTS, DIMS, 1, 4);
	float *norms = malloc(sizeof(float) * LISTS);
	int32_t nearest[N];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < N * DIMS; i++)
		vectors[i] = rintf(vectors[i]);
	for (int i = 0; i < LISTS * DIMS; i++)
		centroids[i] = rintf(centroids[i]);
	norms_of(centroids, LISTS, DIMS, norms);
	assert_int_equal(br_ann_assign(&context, br_math_portable_backend(), NULL, NULL, vectors, N,
								   DIMS, centroids, norms, LISTS, nearest),
					 BR_OK);
	for (int i = 0; i < N; i++)
	{
		double distance;

		assert_int_equal(nearest[i],
						 nearest_of(vectors + i * DIMS, centroids, LISTS, DIMS, &distance));
	}
	free(vectors);
	free(centroids);
	free(norms);
}

/* ---- calibration ---- */

#define C_N 400
#define C_DIMS 10
#define C_LISTS 20
#define C_QUERIES 70
#define C_NEIGHBOURS 8

typedef struct Pair
{
	double value;
	int place;
} Pair;

static int
by_value(const void *a, const void *b)
{
	const Pair *left = a;
	const Pair *right = b;

	if (left->value != right->value)
		return left->value < right->value ? -1 : 1;
	return left->place - right->place;
}

static void
order_by_value(BrMetric metric, const float *query, const float *rows, int n, Pair *pairs)
{
	for (int i = 0; i < n; i++)
		pairs[i] = (Pair){ann_value(metric, query, rows + i * C_DIMS, C_DIMS), i};
	qsort(pairs, (size_t) n, sizeof(Pair), by_value);
}

/* The least number of first lists that hold the share, over all queries. */
static int
lists_needed(BrMetric metric, const float *sample, const float *centroids, const int32_t *lists_of,
			 double recall)
{
	int found[C_LISTS] = {0};
	int seen = 0;

	for (int q = 0; q < C_QUERIES; q++)
	{
		int self = q * C_N / C_QUERIES;
		Pair rows[C_N];
		Pair lists[C_LISTS];

		order_by_value(metric, sample + self * C_DIMS, sample, C_N, rows);
		order_by_value(metric == BR_METRIC_INNER_PRODUCT ? metric : BR_METRIC_L2,
					   sample + self * C_DIMS, centroids, C_LISTS, lists);
		for (int i = 0, taken = 0; taken < C_NEIGHBOURS; i++)
		{
			if (rows[i].place == self)
				continue;
			taken++;
			for (int rank = 0; rank < C_LISTS; rank++)
				found[rank] += lists[rank].place == lists_of[rows[i].place];
		}
	}
	for (int rank = 0; rank < C_LISTS; rank++)
	{
		seen += found[rank];
		if (seen >= recall * C_QUERIES * C_NEIGHBOURS)
			return rank + 1;
	}
	return C_LISTS;
}

/* The order of a list for a query, in double. */
static double
order_of(BrMetric metric, const float *query, const float *centroid, double mean_norm)
{
	double product = 0;
	double squared_distance = 0;
	double squared_norm = 0;

	for (int j = 0; j < C_DIMS; j++)
	{
		product += (double) query[j] * centroid[j];
		squared_norm += (double) query[j] * query[j];
		squared_distance += ((double) query[j] - centroid[j]) * ((double) query[j] - centroid[j]);
	}
	return metric == BR_METRIC_INNER_PRODUCT ? -product * mean_norm / sqrt(squared_norm)
											 : sqrt(squared_distance);
}

/* How many neighbours are in lists whose order is at most gap above the nearest list's. */
static int
seen_within(BrMetric metric, const float *sample, const float *centroids, const int32_t *lists_of,
			double gap)
{
	double mean_norm = 0;
	int seen = 0;

	for (int i = 0; i < C_N * C_DIMS; i++)
		mean_norm += (double) sample[i] * sample[i] / C_N;
	mean_norm = sqrt(mean_norm);
	for (int q = 0; q < C_QUERIES; q++)
	{
		int self = q * C_N / C_QUERIES;
		const float *query = sample + self * C_DIMS;
		double nearest = INFINITY;
		Pair rows[C_N];

		order_by_value(metric, query, sample, C_N, rows);
		for (int list = 0; list < C_LISTS; list++)
			nearest = fmin(nearest, order_of(metric, query, centroids + list * C_DIMS, mean_norm));
		for (int i = 0, taken = 0; taken < C_NEIGHBOURS; i++)
		{
			if (rows[i].place == self)
				continue;
			taken++;
			seen += order_of(metric, query, centroids + lists_of[rows[i].place] * C_DIMS,
							 mean_norm) <= nearest + gap;
		}
	}
	return seen;
}

static void
calibration_counts_lists(void **state)
{
	static const BrMetric metrics[] = {BR_METRIC_COSINE, BR_METRIC_INNER_PRODUCT, BR_METRIC_L2};
	static const double recalls[] = {0.5, 0.8, 0.9, 0.95, 0.99, 1};
	float *sample = ann_vectors(20, C_N, C_DIMS, 30, 0.6);
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int m = 2; m >= 0; m--)
	{
		float *centroids;
		float norms[C_LISTS];
		float shares[6];
		float gaps[6];
		int32_t lists_of[C_N];

		if (metrics[m] == BR_METRIC_COSINE)
			ann_normalise(sample, C_N, C_DIMS);
		centroids = find_centroids(sample, C_N, C_DIMS, C_LISTS, NULL);
		norms_of(centroids, C_LISTS, C_DIMS, norms);
		assert_int_equal(br_ann_assign(&context, br_math_portable_backend(), NULL, NULL, sample,
									   C_N, C_DIMS, centroids, norms, C_LISTS, lists_of),
						 BR_OK);
		assert_int_equal(br_ann_calibrate(&context, br_math_portable_backend(), metrics[m], sample,
										  C_N, C_DIMS, centroids, C_LISTS, lists_of, C_QUERIES,
										  C_NEIGHBOURS, recalls, 6, shares, gaps),
						 BR_OK);
		for (int i = 0; i < 6; i++)
			assert_true(shares[i] ==
						(float) lists_needed(metrics[m], sample, centroids, lists_of, recalls[i]) /
							(float) C_LISTS);
		for (int i = 0; i < 6; i++)
		{
			int all = C_QUERIES * C_NEIGHBOURS;
			int seen = seen_within(metrics[m], sample, centroids, lists_of, gaps[i] + 1e-5);
			int nearly = seen_within(metrics[m], sample, centroids, lists_of, gaps[i] - 1e-5);

			assert_true(seen >= recalls[i] * all);
			/* the least gap, or that of the rows themselves */
			assert_true(nearly < recalls[i] * all || gaps[i] == gaps[0]);
		}
		/* else every case would ask for the same */
		assert_true(shares[0] < shares[3] && shares[3] < shares[5]);
		free(centroids);
	}
	free(sample);
}

/* ---- callers that stop ---- */

static BrStatus
build(BrContext *context, BrPool *pool, const float *sample, float *centroids)
{
	const BrBackend *backend = br_math_portable_backend();
	double recall = 0.9;
	float share;
	float gap;
	float norms[C_LISTS];
	int32_t lists_of[C_N];
	BrStatus status = br_ann_kmeans(context, backend, pool, NULL, sample, C_N, C_DIMS, C_LISTS,
									SEED, NULL, NULL, centroids);

	if (status != BR_OK)
		return status;
	norms_of(centroids, C_LISTS, C_DIMS, norms);
	status = br_ann_assign(context, backend, pool, NULL, sample, C_N, C_DIMS, centroids, norms,
						   C_LISTS, lists_of);
	if (status != BR_OK)
		return status;
	return br_ann_calibrate(context, backend, BR_METRIC_L2, sample, C_N, C_DIMS, centroids, C_LISTS,
							lists_of, C_QUERIES, C_NEIGHBOURS, &recall, 1, &share, &gap);
}

static void
cancelled_and_starved_builds_leave_nothing(void **state)
{
	float *sample = ann_vectors(21, C_N, C_DIMS, 30, 0.6);
	float centroids[C_LISTS * C_DIMS];
	AnnLedger ledger;
	BrContext context;
	BrContext plain;
	BrPool *pool;
	BrStatus status = BR_ERR_CANCELLED;
	int stops;

	(void) state;
	br_base_context_init(&plain);
	assert_int_equal(br_base_pool_create(&plain, 3, &pool), BR_OK);
	for (stops = 0; status == BR_ERR_CANCELLED; stops++)
	{
		int left = stops;

		ledger = (AnnLedger){.allowed = -1};
		ann_ledger_context(&context, &ledger);
		context.cancel = (BrCancel){ann_count_down, &left};
		status = build(&context, stops % 2 ? pool : NULL, sample, centroids);
		assert_int_equal(ledger.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > 20);

	status = BR_ERR_MEMORY;
	for (stops = 0; status == BR_ERR_MEMORY; stops++)
	{
		ledger = (AnnLedger){.allowed = stops};
		ann_ledger_context(&context, &ledger);
		status = build(&context, stops % 2 ? pool : NULL, sample, centroids);
		assert_int_equal(ledger.live, 0);
	}
	assert_int_equal(status, BR_OK);
	assert_true(stops > C_QUERIES);
	br_base_pool_destroy(pool);
	free(sample);
}

static void
remember_share(void *arg, double share)
{
	double *last = arg;

	assert_true(share > *last && share <= 1);
	*last = share;
}

static void
progress_rises_to_one(void **state)
{
	float *sample = ann_vectors(22, C_N, C_DIMS, 30, 0.6);
	float centroids[C_LISTS * C_DIMS];
	double last = 0;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_ann_kmeans(&context, br_math_portable_backend(), NULL, NULL, sample, C_N,
								   C_DIMS, C_LISTS, SEED, remember_share, &last, centroids),
					 BR_OK);
	assert_true(last == 1);
	free(sample);
}

static void
impossible_sizes_are_errors(void **state)
{
	const BrBackend *backend = br_math_portable_backend();
	float sample[4] = {1, 2, 3, 4};
	int32_t lists_of[4] = {0};
	double recall = 0.9;
	float share;
	float gap;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_ann_kmeans(&context, backend, NULL, NULL, sample, 4, 1, 0, 1, NULL, NULL,
								   sample),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_kmeans(&context, backend, NULL, NULL, sample, 4, 1, 5, 1, NULL, NULL,
								   sample),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_calibrate(&context, backend, BR_METRIC_L2, sample, 4, 1, sample, 1,
									  lists_of, 5, 1, &recall, 1, &share, &gap),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_ann_calibrate(&context, backend, BR_METRIC_L2, sample, 4, 1, sample, 1,
									  lists_of, 2, 0, &recall, 1, &share, &gap),
					 BR_ERR_ARGUMENT);
	/* a row of its own has no neighbours: one list is enough */
	assert_int_equal(br_ann_calibrate(&context, backend, BR_METRIC_L2, sample, 1, 1, sample, 2,
									  lists_of, 1, 1, &recall, 1, &share, &gap),
					 BR_OK);
	assert_true(share == 0.5f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(separate_clusters_are_each_found),
		cmocka_unit_test(inertia_is_that_of_plain_iterations),
		cmocka_unit_test(long_lists_are_divided),
		cmocka_unit_test(few_kinds_of_rows_are_no_trouble),
		cmocka_unit_test(pools_change_nothing),
		cmocka_unit_test(assignment_is_to_the_nearest),
		cmocka_unit_test(calibration_counts_lists),
		cmocka_unit_test(cancelled_and_starved_builds_leave_nothing),
		cmocka_unit_test(progress_rises_to_one),
		cmocka_unit_test(impossible_sizes_are_errors),
	};

	return cmocka_run_group_tests_name("ann_kmeans", tests, NULL, NULL);
}
