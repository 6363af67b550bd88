/*
 * compare.c
 *	  How near a smaller model's embeddings are to the original's.
 *
 * A cosine says how far each text has moved. What an application sees is which
 * texts are near which, and that may change where the cosine hardly does: so the
 * nearest of every text are found in both, by brute force.
 */
#include <math.h>
#include <string.h>

#include "core/compress/br_compress.h"

/* Steps between two questions whether to stop: some milliseconds. */
#define CANCEL_WORK 4000000

/* One set of embeddings. */
typedef struct Vectors
{
	const float *rows; /* (n, dim) */
	double *scales;	   /* (n): 1 / length, 0 of a row of length 0 */
	double *cosines;   /* (n): of one row with all */
	int *nearest;	   /* (k, or n where there are fewer) */
} Vectors;

static double
dot(const float *left, const float *right, int dim)
{
	double sum = 0;

	for (int i = 0; i < dim; i++)
		sum += (double) left[i] * (double) right[i];
	return sum;
}

static BrStatus
prepare(BrContext *context, const float *rows, int n, int dim, int k, Vectors *vectors)
{
	vectors->rows = rows;
	vectors->scales = br_base_alloc_array(context, (size_t) n, sizeof(double));
	vectors->cosines = br_base_alloc_array(context, (size_t) n, sizeof(double));
	vectors->nearest = br_base_alloc_array(context, (size_t) (k < n ? k : n), sizeof(int));
	if (vectors->scales == NULL || vectors->cosines == NULL || vectors->nearest == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < n; i++)
	{
		const float *row = rows + (size_t) i * (size_t) dim;
		double length = sqrt(dot(row, row, dim));

		vectors->scales[i] = length > 0 ? 1 / length : 0;
	}
	return BR_OK;
}

static void
release(BrContext *context, const Vectors *vectors)
{
	br_base_free(context, vectors->scales);
	br_base_free(context, vectors->cosines);
	br_base_free(context, vectors->nearest);
}

/* The k texts nearest to one, itself left out. */
static void
find_nearest(Vectors *vectors, int n, int dim, int text, int k)
{
	const float *row = vectors->rows + (size_t) text * (size_t) dim;
	int found = 0;

	for (int other = 0; other < n; other++)
	{
		double cosine = dot(row, vectors->rows + (size_t) other * (size_t) dim, dim) *
			vectors->scales[text] * vectors->scales[other];
		int at;

		vectors->cosines[other] = cosine;
		if (other == text || (found == k && cosine <= vectors->cosines[vectors->nearest[k - 1]]))
			continue;
		at = found < k ? found++ : k - 1;
		for (; at > 0 && vectors->cosines[vectors->nearest[at - 1]] < cosine; at--)
			vectors->nearest[at] = vectors->nearest[at - 1];
		vectors->nearest[at] = other;
	}
}

static int
count_common(const int *left, const int *right, int k)
{
	int common = 0;

	for (int i = 0; i < k; i++)
		for (int j = 0; j < k; j++)
			common += left[i] == right[j];
	return common;
}

static BrStatus
compare_nearest(BrContext *context, Vectors *before, Vectors *after, int n, int dim, int k,
				double *recall)
{
	int64_t common = 0;
	int64_t work = 0;

	for (int text = 0; text < n; text++)
	{
		find_nearest(before, n, dim, text, k);
		find_nearest(after, n, dim, text, k);
		common += count_common(before->nearest, after->nearest, k);
		work += 2 * (int64_t) n * (dim + k) + (int64_t) k * k;
		if (work < CANCEL_WORK)
			continue;
		work = 0;
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Comparing embeddings was cancelled.");
	}
	*recall = (double) common / ((double) n * k);
	return BR_OK;
}

BrStatus
br_compress_compare(BrContext *context, const float *before, const float *after, int n, int dim,
					int k, BrCompressLikeness *likeness)
{
	Vectors left = {.rows = NULL};
	Vectors right = {.rows = NULL};
	BrStatus status;

	if (n < 1 || k < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"At least 1 text and 1 neighbour are compared, not %d and %d.", n, k);
	status = prepare(context, before, n, dim, k, &left);
	if (status == BR_OK)
		status = prepare(context, after, n, dim, k, &right);
	*likeness = (BrCompressLikeness){.least_cosine = 1, .recall = NAN};
	for (int i = 0; i < n && status == BR_OK; i++)
	{
		size_t at = (size_t) i * (size_t) dim;
		double cosine = dot(before + at, after + at, dim) * left.scales[i] * right.scales[i];

		likeness->mean_cosine += cosine / n;
		likeness->least_cosine = fmin(likeness->least_cosine, cosine);
	}
	if (status == BR_OK && n > k)
		status = compare_nearest(context, &left, &right, n, dim, k, &likeness->recall);
	release(context, &left);
	release(context, &right);
	return status;
}
