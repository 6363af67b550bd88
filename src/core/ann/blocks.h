/*
 * blocks.h
 *	  Work on many rows in blocks that threads share, and the step of k-means
 *	  that others need too.
 *
 * Blocks are cut by what the rows are, never by how many threads there are,
 * and each writes what is its own: results do not depend on the pool.
 */
#ifndef BR_ANN_BLOCKS_H
#define BR_ANN_BLOCKS_H

#include "core/ann/br_ann.h"

/* Runs a block; worker: below br_base_pool_threads, no two at a time have the same. */
typedef void (*BrBlockTask)(void *arg, int block, int worker);

/* Runs all blocks, in any order. BR_ERR_CANCELLED: not all of them have run. */
extern BrStatus br_ann_run_blocks(BrContext *context, BrPool *pool, BrBlockTask task, void *arg,
								  int blocks);

/*
 * Rows of a block whose product with so many columns takes a few milliseconds,
 * on a slow machine not so many that cancellation would have to wait.
 */
extern int br_ann_block_rows(int columns, int dims);

/* |v|^2, summed in double in a fixed order. */
extern float br_ann_squared_length(const float *vector /* (dims) */, int dims);

/*
 * br_ann_assign that also tells how far: distances[i], squared, from
 * vector_norms[i] = |vectors[i]|^2. Both may be NULL.
 */
extern BrStatus br_ann_assign_measured(BrContext *context, const BrBackend *backend, BrPool *pool,
									   BrAssigner *assigner, const float *vectors /* (n, dims) */,
									   const float *vector_norms /* (n) */, int n, int dims,
									   const float *centroids /* (lists, dims) */,
									   const float *squared_norms /* (lists) */, int lists,
									   int32_t *nearest /* (n) */, float *distances /* (n) */);

#endif /* BR_ANN_BLOCKS_H */
