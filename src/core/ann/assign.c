/*
 * assign.c
 *	  The nearest centroid of each vector.
 *
 * |x - c|^2 = |x|^2 + |c|^2 - 2 <x, c>, with the products of a block of
 * vectors and a block of centroids at a time. Where the caller has an assigner
 * it is asked first, and not believed before every number is possible; after its
 * first failure the backend computes, so that a build goes on whatever happens to
 * a device.
 */
#include <math.h>
#include <string.h>

#include "core/ann/blocks.h"

/* Centroids of a block. */
#define MAX_COLUMNS 512

typedef struct Assignment
{
	const BrBackend *backend;
	const float *vectors;
	const float *vector_norms;
	const float *centroids;
	const float *squared_norms;
	int n;
	int dims;
	int lists;
	int rows;	 /* of a block */
	int columns; /* of a block */
	int32_t *nearest;
	float *distances;
	float *products; /* (workers, rows, columns) */
	float *best;	 /* (workers, rows): |c|^2 - 2 <x, c> of the nearest so far */
} Assignment;

/* Looks for nearer ones in a block of centroids from `first` on. */
static void
compare(const float *products, const float *squared_norms, int rows, int columns, int first,
		float *best, int32_t *nearest)
{
	for (int row = 0; row < rows; row++)
	{
		const float *product = products + (size_t) row * columns;
		float least = first == 0 ? squared_norms[0] - 2 * product[0] : best[row];
		int32_t place = first == 0 ? 0 : nearest[row];

		for (int column = 0; column < columns; column++)
		{
			float value = squared_norms[column] - 2 * product[column];

			if (value < least)
			{
				least = value;
				place = first + column;
			}
		}
		best[row] = least;
		nearest[row] = place;
	}
}

static void
assign_block(void *arg, int block, int worker)
{
	const Assignment *a = arg;
	int start = block * a->rows;
	int rows = a->n - start < a->rows ? a->n - start : a->rows;
	float *products = a->products + (size_t) worker * a->rows * a->columns;
	float *best = a->best + (size_t) worker * a->rows;

	for (int first = 0; first < a->lists; first += a->columns)
	{
		int columns = a->lists - first < a->columns ? a->lists - first : a->columns;

		a->backend->multiply_transposed(a->vectors + (size_t) start * a->dims,
										a->centroids + (size_t) first * a->dims, rows, columns,
										a->dims, products);
		compare(products, a->squared_norms + first, rows, columns, first, best, a->nearest + start);
	}
	for (int row = 0; row < rows && a->distances != NULL; row++)
	{
		float distance = a->vector_norms[start + row] + best[row];

		a->distances[start + row] = distance > 0 ? distance : 0;
	}
}

/* By the backend. */
static BrStatus
compute(BrContext *context, const BrBackend *backend, BrPool *pool, const float *vectors,
		const float *vector_norms, int n, int dims, const float *centroids,
		const float *squared_norms, int lists, int32_t *nearest, float *distances)
{
	int columns = lists < MAX_COLUMNS ? lists : MAX_COLUMNS;
	int rows = br_ann_block_rows(columns, dims);
	size_t workers = (size_t) br_base_pool_threads(pool);
	Assignment a = {.backend = backend,
					.vectors = vectors,
					.vector_norms = vector_norms,
					.centroids = centroids,
					.squared_norms = squared_norms,
					.n = n,
					.dims = dims,
					.lists = lists,
					.rows = rows,
					.columns = columns,
					.nearest = nearest,
					.distances = distances};
	BrStatus status;

	a.products = br_base_alloc_array(context, workers * (size_t) rows * ((size_t) columns + 1),
									 sizeof(float));
	if (a.products == NULL)
		return BR_ERR_MEMORY;
	a.best = a.products + workers * (size_t) rows * (size_t) columns;
	status = br_ann_run_blocks(context, pool, assign_block, &a, (n + rows - 1) / rows);
	br_base_free(context, a.products);
	return status;
}

/* ---- by an assigner ---- */

static BrStatus
check_answer(BrContext *context, int n, int lists, const int32_t *nearest, float *distances)
{
	for (int i = 0; i < n; i++)
	{
		if (nearest[i] < 0 || nearest[i] >= lists)
			return br_base_fail(context, BR_ERR_FORMAT,
								"A vector was assigned to centroid %d, of %d from 0 on.",
								nearest[i], lists);
		if (!isfinite(distances[i]))
			return br_base_fail(context, BR_ERR_NUMERIC,
								"The distance of a vector from its centroid is no finite number.");
		/* rounding may take one of 0 below it */
		distances[i] = distances[i] > 0 ? distances[i] : 0;
	}
	return BR_OK;
}

/* Asks it, and notes what goes wrong. *done: whether nothing did. */
static BrStatus
ask(BrContext *context, BrAssigner *assigner, const float *vectors, int n, int dims,
	const float *centroids, int lists, int32_t *nearest, float *distances, bool *done)
{
	BrStatus status;

	context->detail[0] = '\0';
	status = assigner->assign(assigner->arg, context, vectors, n, dims, centroids, lists, nearest,
							  distances);
	if (status == BR_OK)
		status = check_answer(context, n, lists, nearest, distances);
	*done = status == BR_OK;
	if (*done || status == BR_ERR_CANCELLED)
		return status;
	assigner->failure = status;
	memcpy(assigner->detail, context->detail, BR_DETAIL_SIZE);
	return BR_OK;
}

/* The same, for a caller who may not want distances. */
static BrStatus
ask_measured(BrContext *context, BrAssigner *assigner, const float *vectors, int n, int dims,
			 const float *centroids, int lists, int32_t *nearest, float *distances, bool *done)
{
	float *own;
	BrStatus status;

	if (distances != NULL)
		return ask(context, assigner, vectors, n, dims, centroids, lists, nearest, distances, done);
	own = br_base_alloc_array(context, (size_t) n, sizeof(float));
	if (own == NULL)
		return BR_ERR_MEMORY;
	status = ask(context, assigner, vectors, n, dims, centroids, lists, nearest, own, done);
	br_base_free(context, own);
	return status;
}

/* ---- the door ---- */

BrStatus
br_ann_assign_measured(BrContext *context, const BrBackend *backend, BrPool *pool,
					   BrAssigner *assigner, const float *vectors, const float *vector_norms, int n,
					   int dims, const float *centroids, const float *squared_norms, int lists,
					   int32_t *nearest, float *distances)
{
	bool done = false;
	BrStatus status = BR_OK;

	if (assigner != NULL && assigner->failure == BR_OK && n > 0)
		status = ask_measured(context, assigner, vectors, n, dims, centroids, lists, nearest,
							  distances, &done);
	if (done || status != BR_OK)
		return status;
	return compute(context, backend, pool, vectors, vector_norms, n, dims, centroids, squared_norms,
				   lists, nearest, distances);
}

BrStatus
br_ann_assign(BrContext *context, const BrBackend *backend, BrPool *pool, BrAssigner *assigner,
			  const float *vectors, int n, int dims, const float *centroids,
			  const float *squared_norms, int lists, int32_t *nearest)
{
	return br_ann_assign_measured(context, backend, pool, assigner, vectors, NULL, n, dims,
								  centroids, squared_norms, lists, nearest, NULL);
}
