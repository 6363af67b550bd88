/*
 * assign.c
 *	  The nearest centroid of each vector.
 *
 * |x - c|^2 = |x|^2 + |c|^2 - 2 <x, c>, with the products of a block of
 * vectors and a block of centroids at a time.
 */
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

BrStatus
br_ann_assign_measured(BrContext *context, const BrBackend *backend, BrPool *pool,
					   const float *vectors, const float *vector_norms, int n, int dims,
					   const float *centroids, const float *squared_norms, int lists,
					   int32_t *nearest, float *distances)
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

BrStatus
br_ann_assign(BrContext *context, const BrBackend *backend, BrPool *pool, const float *vectors,
			  int n, int dims, const float *centroids, const float *squared_norms, int lists,
			  int32_t *nearest)
{
	return br_ann_assign_measured(context, backend, pool, vectors, NULL, n, dims, centroids,
								  squared_norms, lists, nearest, NULL);
}
