/*
 * kmeans_seed.c
 *	  The first centroids: each a row drawn with the probability of its squared
 *	  distance to those before it (Arthur and Vassilvitskii, "k-means++: the
 *	  advantages of careful seeding", SODA 2007).
 *
 * One row after another would read the whole sample for each. So many are
 * drawn at once, and one is rejected with the probability by which the others
 * of its batch have come nearer to it than the rest: what remains has exactly
 * the distribution of k-means++, and one matrix product moves all distances.
 * A backend has it, never an assigner: the sample would have to travel once for
 * each batch.
 */
#include <math.h>
#include <string.h>

#include "core/ann/kmeans_int.h"

#define MAX_BATCH 64

typedef struct Seeding
{
	BrKmeans *kmeans;
	int rows;			/* of a block */
	int chosen;			/* centroids so far */
	int first;			/* of the batch that distances do not know yet */
	double *block_sums; /* (blocks): of distances */
	float *products;	/* (workers, rows, MAX_BATCH) */
} Seeding;

static int
block_count(const Seeding *seeding)
{
	return (seeding->kmeans->n + seeding->rows - 1) / seeding->rows;
}

static int
block_end(const Seeding *seeding, int block)
{
	int end = (block + 1) * seeding->rows;

	return end < seeding->kmeans->n ? end : seeding->kmeans->n;
}

/* Shortens the distances of a block's rows to the new centroids. */
static void
shorten_block(void *arg, int block, int worker)
{
	Seeding *seeding = arg;
	const BrKmeans *kmeans = seeding->kmeans;
	int start = block * seeding->rows;
	int end = block_end(seeding, block);
	int batch = seeding->chosen - seeding->first;
	const float *norms = kmeans->centroid_norms + seeding->first;
	float *products = seeding->products + (size_t) worker * seeding->rows * MAX_BATCH;
	double sum = 0;

	kmeans->backend->multiply_transposed(br_ann_sample_row(kmeans, start),
										 kmeans->centroids + (size_t) seeding->first * kmeans->dims,
										 end - start, batch, kmeans->dims, products);
	for (int row = start; row < end; row++)
	{
		float least = kmeans->distances[row];

		for (int i = 0; i < batch; i++)
		{
			float distance = kmeans->norms[row] + norms[i] - 2 * *products++;

			least = distance < least ? distance : least;
		}
		kmeans->distances[row] = least > 0 ? least : 0;
		sum += (double) kmeans->distances[row];
	}
	seeding->block_sums[block] = sum;
}

/* Distances to nothing yet, all alike. */
static void
begin_block(void *arg, int block, int worker)
{
	const Seeding *seeding = arg;
	BrKmeans *kmeans = seeding->kmeans;

	(void) worker;
	for (int row = block * seeding->rows; row < block_end(seeding, block); row++)
	{
		kmeans->norms[row] = br_ann_squared_length(br_ann_sample_row(kmeans, row), kmeans->dims);
		kmeans->distances[row] = INFINITY;
	}
}

/* A row, with the probability of its distance. */
static int
draw_row(const Seeding *seeding, double total)
{
	BrKmeans *kmeans = seeding->kmeans;
	double left = br_base_random_uniform(&kmeans->random) * total;
	int block = 0;
	int row;

	while (block < block_count(seeding) - 1 && left >= seeding->block_sums[block])
		left -= seeding->block_sums[block++];
	row = block * seeding->rows;
	while (row < block_end(seeding, block) - 1 && left >= (double) kmeans->distances[row])
		left -= (double) kmeans->distances[row++];
	return row;
}

static void
choose(Seeding *seeding, int row)
{
	BrKmeans *kmeans = seeding->kmeans;

	memcpy(kmeans->centroids + (size_t) seeding->chosen * kmeans->dims,
		   br_ann_sample_row(kmeans, row), sizeof(float) * (size_t) kmeans->dims);
	kmeans->centroid_norms[seeding->chosen++] = kmeans->norms[row];
}

static double
squared_distance(const float *left, const float *right, int dims)
{
	double sum = 0;

	for (int i = 0; i < dims; i++)
	{
		double difference = (double) left[i] - (double) right[i];

		sum += difference * difference;
	}
	return sum;
}

/* The distance of a row to all that is chosen, the batch included. */
static double
distance_now(const Seeding *seeding, int row)
{
	const BrKmeans *kmeans = seeding->kmeans;
	double least = (double) kmeans->distances[row];

	for (int i = seeding->first; i < seeding->chosen; i++)
		least = fmin(least,
					 squared_distance(br_ann_sample_row(kmeans, row),
									  kmeans->centroids + (size_t) i * kmeans->dims, kmeans->dims));
	return least;
}

static void
choose_batch(Seeding *seeding, double total)
{
	BrKmeans *kmeans = seeding->kmeans;
	int left = kmeans->lists - seeding->chosen;
	int batch = left < MAX_BATCH ? left : MAX_BATCH;

	/* few centroids share the sample: each new one takes much of it */
	if (batch > seeding->chosen)
		batch = seeding->chosen;
	seeding->first = seeding->chosen;
	for (int i = 0; i < batch; i++)
	{
		int row = draw_row(seeding, total);
		double before = (double) kmeans->distances[row];

		if (br_base_random_uniform(&kmeans->random) * before <= distance_now(seeding, row))
			choose(seeding, row);
	}
}

static BrStatus
choose_all(Seeding *seeding)
{
	BrKmeans *kmeans = seeding->kmeans;
	int blocks = block_count(seeding);
	BrStatus status =
		br_ann_run_blocks(kmeans->context, kmeans->pool, begin_block, seeding, blocks);

	if (status == BR_OK)
		choose(seeding, (int) br_base_random_below(&kmeans->random, (uint32_t) kmeans->n));
	while (status == BR_OK && seeding->chosen < kmeans->lists)
	{
		double total = 0;

		status = br_ann_run_blocks(kmeans->context, kmeans->pool, shorten_block, seeding, blocks);
		for (int block = 0; block < blocks; block++)
			total += seeding->block_sums[block];
		if (status == BR_OK)
			choose_batch(seeding, total);
	}
	return status;
}

BrStatus
br_ann_seed(BrKmeans *kmeans)
{
	BrContext *context = kmeans->context;
	Seeding seeding = {.kmeans = kmeans, .rows = br_ann_block_rows(MAX_BATCH, kmeans->dims)};
	size_t workers = (size_t) br_base_pool_threads(kmeans->pool);
	BrStatus status = BR_ERR_MEMORY;

	seeding.block_sums =
		br_base_alloc_array(context, (size_t) block_count(&seeding), sizeof(double));
	if (seeding.block_sums == NULL)
		return BR_ERR_MEMORY;
	seeding.products =
		br_base_alloc_array(context, workers * (size_t) seeding.rows * MAX_BATCH, sizeof(float));
	if (seeding.products != NULL)
		status = choose_all(&seeding);
	br_base_free(context, seeding.products);
	br_base_free(context, seeding.block_sums);
	return status;
}
