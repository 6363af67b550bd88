/*
 * kmeans.c
 *	  k-means: seeding, Lloyd's iterations, and balance.
 *
 * An iteration is one assignment, whose products a backend computes, and the
 * means of the lists, each summed in the order of its rows. A list that comes
 * out empty takes the row of the longest list that is farthest from its centroid.
 */
#include <math.h>
#include <string.h>

#include "core/ann/kmeans_int.h"

#define MAX_ITERATIONS 8

/* An iteration that gains less, of the sum of squared distances, is the last. */
#define LEAST_GAIN 0.002

#define BALANCE_ROUNDS 6

/* Lists whose means are a block of work. */
#define MEANS_BLOCK 8

/* Of progress: an assignment of either kind counts the same. */
#define STEPS (2 + MAX_ITERATIONS + BALANCE_ROUNDS)

typedef struct Progress
{
	void (*report)(void *arg, double share);
	void *arg;
} Progress;

static void
report(const Progress *progress, int steps)
{
	if (progress->report != NULL)
		progress->report(progress->arg, (double) steps / STEPS);
}

/* Counting sort: the rows of each list side by side. */
static void
sort_rows(BrKmeans *kmeans)
{
	int32_t *starts = kmeans->starts;

	memset(starts, 0, sizeof(int32_t) * ((size_t) kmeans->lists + 1));
	for (int row = 0; row < kmeans->n; row++)
		starts[kmeans->nearest[row]]++;
	for (int list = 1; list <= kmeans->lists; list++)
		starts[list] += starts[list - 1];
	for (int row = kmeans->n - 1; row >= 0; row--)
		kmeans->rows[--starts[kmeans->nearest[row]]] = row;
}

static BrStatus
assign(BrKmeans *kmeans)
{
	BrStatus status =
		br_ann_assign_measured(kmeans->context, kmeans->backend, kmeans->pool, kmeans->assigner,
							   kmeans->sample, kmeans->norms, kmeans->n, kmeans->dims,
							   kmeans->centroids, kmeans->centroid_norms, kmeans->lists,
							   kmeans->nearest, kmeans->distances);

	if (status == BR_OK)
		sort_rows(kmeans);
	return status;
}

static double
sum_distances(const BrKmeans *kmeans)
{
	double sum = 0;

	for (int row = 0; row < kmeans->n; row++)
		sum += (double) kmeans->distances[row];
	return sum;
}

static int
longest_list(const BrKmeans *kmeans)
{
	int longest = 0;

	for (int list = 1; list < kmeans->lists; list++)
		if (br_ann_list_length(kmeans, list) > br_ann_list_length(kmeans, longest))
			longest = list;
	return longest;
}

/*
 * Gives empty lists a row each; distances of rows that were given become 0.
 * Where the call is cancelled some stay empty, and who asks next will notice.
 */
static void
fill_empty_lists(BrKmeans *kmeans)
{
	bool moved = false;

	for (int list = 0; list < kmeans->lists; list++)
	{
		int longest;
		int32_t farthest;

		if (br_ann_list_length(kmeans, list) > 0)
			continue;
		longest = longest_list(kmeans);
		farthest = kmeans->rows[kmeans->starts[longest]];
		for (int32_t at = kmeans->starts[longest] + 1; at < kmeans->starts[longest + 1]; at++)
			if (kmeans->distances[kmeans->rows[at]] > kmeans->distances[farthest])
				farthest = kmeans->rows[at];
		if (!(kmeans->distances[farthest] > 0) || br_base_cancelled(kmeans->context))
			break;
		kmeans->distances[farthest] = 0;
		kmeans->nearest[farthest] = list;
		moved = true;
	}
	if (moved)
		sort_rows(kmeans);
}

/* The means of a block of lists; an empty one stays where it was. */
static void
average_block(void *arg, int block, int worker)
{
	BrKmeans *kmeans = arg;
	int end = (block + 1) * MEANS_BLOCK;
	double sums[BR_ANN_MAX_DIMS];

	(void) worker;
	for (int list = block * MEANS_BLOCK; list < end && list < kmeans->lists; list++)
	{
		int32_t length = br_ann_list_length(kmeans, list);
		float *centroid = kmeans->centroids + (size_t) list * kmeans->dims;

		if (length == 0)
			continue;
		memset(sums, 0, sizeof(double) * (size_t) kmeans->dims);
		for (int32_t at = kmeans->starts[list]; at < kmeans->starts[list + 1]; at++)
		{
			const float *row = br_ann_sample_row(kmeans, kmeans->rows[at]);

			for (int i = 0; i < kmeans->dims; i++)
				sums[i] += (double) row[i];
		}
		for (int i = 0; i < kmeans->dims; i++)
			centroid[i] = (float) (sums[i] / length);
		kmeans->centroid_norms[list] = br_ann_squared_length(centroid, kmeans->dims);
	}
}

static BrStatus
update_centroids(BrKmeans *kmeans)
{
	fill_empty_lists(kmeans);
	return br_ann_run_blocks(kmeans->context, kmeans->pool, average_block, kmeans,
							 (kmeans->lists + MEANS_BLOCK - 1) / MEANS_BLOCK);
}

static BrStatus
iterate(BrKmeans *kmeans, const Progress *progress)
{
	double last = INFINITY;

	for (int i = 0; i < MAX_ITERATIONS; i++)
	{
		BrStatus status = assign(kmeans);
		double sum;

		if (status != BR_OK)
			return status;
		sum = sum_distances(kmeans);
		status = update_centroids(kmeans);
		if (status != BR_OK)
			return status;
		report(progress, 2 + i);
		if (!(sum < last * (1 - LEAST_GAIN)))
			break;
		last = sum;
	}
	return BR_OK;
}

/* Each round settles what the one before it divided; the last divides nothing. */
static BrStatus
balance(BrKmeans *kmeans, const Progress *progress)
{
	for (int round = 0; round <= BALANCE_ROUNDS; round++)
	{
		int divided = 0;
		BrStatus status = assign(kmeans);

		if (status == BR_OK && round > 0)
			status = update_centroids(kmeans);
		if (status == BR_OK && round < BALANCE_ROUNDS)
			status = br_ann_divide_long_lists(kmeans, &divided);
		if (status != BR_OK || divided == 0)
			return status;
		report(progress, 2 + MAX_ITERATIONS + round);
	}
	return BR_OK;
}

static BrStatus
run(BrKmeans *kmeans, const Progress *progress)
{
	BrStatus status = br_ann_seed(kmeans);

	if (status == BR_OK)
	{
		report(progress, 1);
		status = iterate(kmeans, progress);
	}
	if (status == BR_OK)
		status = balance(kmeans, progress);
	if (status == BR_OK)
		report(progress, STEPS);
	return status;
}

BrStatus
br_ann_kmeans(BrContext *context, const BrBackend *backend, BrPool *pool, BrAssigner *assigner,
			  const float *sample, int n, int dims, int lists, uint64_t seed,
			  void (*progress)(void *arg, double share), void *progress_arg, float *centroids)
{
	BrKmeans kmeans = {.context = context,
					   .backend = backend,
					   .pool = pool,
					   .assigner = assigner,
					   .sample = sample,
					   .n = n,
					   .dims = dims,
					   .lists = lists,
					   .centroids = centroids};
	Progress reported = {progress, progress_arg};
	BrStatus status;

	if (lists < 1 || n < lists || dims < 1 || dims > BR_ANN_MAX_DIMS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d rows of %d dimensions cannot be divided into %d lists.", n, dims,
							lists);
	/* (n) floats twice, (n) integers twice, (lists) floats, (lists + 1) integers */
	kmeans.norms =
		br_base_alloc_array(context, 4 * (size_t) n + 2 * (size_t) lists + 1, sizeof(float));
	if (kmeans.norms == NULL)
		return BR_ERR_MEMORY;
	kmeans.distances = kmeans.norms + n;
	kmeans.nearest = (int32_t *) (kmeans.distances + n);
	kmeans.rows = kmeans.nearest + n;
	kmeans.centroid_norms = (float *) (kmeans.rows + n);
	kmeans.starts = (int32_t *) (kmeans.centroid_norms + lists);
	br_base_random_init(&kmeans.random, seed, 0);
	status = run(&kmeans, &reported);
	br_base_free(context, kmeans.norms);
	return status;
}
