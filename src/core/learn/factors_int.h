/*
 * factors_int.h
 *	  What the learners of factors share: their kernels, vectors in work, and
 *	  blocks of work that threads take.
 *
 * While factors are learned, a vector stands at a multiple of 64 bytes and is
 * filled up with zeros to `padded` floats, a multiple of 16, so that no kernel
 * has to look after a remainder. Zeros stay zeros in every step of a learner.
 */
#ifndef FACTORS_INT_H
#define FACTORS_INT_H

#include <stdatomic.h>

#include "core/learn/learn_int.h"

#define BR_LEARN_MAX_FACTORS 512
#define BR_LEARN_PAD 16
#define BR_LEARN_PADDED(dims) (((dims) + BR_LEARN_PAD - 1) / BR_LEARN_PAD * BR_LEARN_PAD)

/* ---- kernels (factor_kernels_*.c) ---- */

/* Entries of a sparse row, and the vectors they point to. */
typedef struct BrEntryRow
{
	const float *vectors; /* (others, padded) */
	int padded;
	const int32_t *ids;	 /* (n) */
	const float *values; /* (n), NULL: 1 each */
	float alpha;
	int n;
} BrEntryRow;

/*
 * The inner loops, for one instruction set. Lengths are multiples of
 * BR_LEARN_PAD; the weight w of an entry is alpha times its value.
 */
typedef struct BrFactorKernels
{
	const char *name;

	float (*dot)(const float *left, const float *right, int n);

	/* out = keep out + scale added */
	void (*mix)(float *out, float keep, const float *added, float scale, int n);

	/* out (n, columns) = left right; component s of row i of left: left[i row + s step] */
	void (*product)(const float *left, int row, int step, int n,
					const float *right /* (depth, columns) */, int depth, int columns,
					float *out /* (n, columns) */);

	/* sum += panel' panel, on and above the diagonal; what is below it is undefined */
	void (*gram)(const float *panel /* (n, padded) */, int n, int padded,
				 float *sum /* (padded, padded) */);

	/* out += sum of w (y'at) y over the entries' vectors y */
	void (*add_products)(const BrEntryRow *row, const float *at, float *out);

	/* out += sum of (1 + w (1 - y'at)) y */
	void (*add_residuals)(const BrEntryRow *row, const float *at, float *out);

	/* panel row i = sqrt(w) y, and out += sum of (1 + w) y */
	void (*gather)(const BrEntryRow *row, float *panel /* (n, padded) */, float *out);

	/*
	 * vector = inverse(matrix) vector, by Cholesky; the matrix is given on and
	 * above its diagonal and overwritten. n at most BR_LEARN_MAX_FACTORS.
	 * false: not positive definite as far as floats can tell.
	 */
	bool (*solve)(float *matrix /* (n, n) */, int n, float *vector);

	/* user'(liked - other) */
	float (*pair_score)(const float *user, const float *liked, const float *other, int n);

	/* one step of BPR: each keeps so much of itself and takes rate times its slope */
	void (*pair_step)(float *user, float *liked, float *other, float keep, float rate, int n);

	/* the places, ascending, and values of those above `above`; returns how many */
	int (*filter)(const float *values, int n, float above, int32_t *places, float *kept);
} BrFactorKernels;

extern const BrFactorKernels *br_learn_factor_kernels(void); /* the best that runs here */
extern const BrFactorKernels *br_learn_factor_kernels_baseline(void);
extern const BrFactorKernels *br_learn_factor_kernels_avx2(void);	/* NULL: cannot run here */
extern const BrFactorKernels *br_learn_factor_kernels_avx512(void); /* NULL: cannot run here */

/* ---- vectors in work (factors.c) ---- */

typedef struct BrVectors
{
	void *memory;  /* what is freed, and becomes the result */
	float *vector; /* (n, padded) */
	int n;
	int dims;
	int padded;
} BrVectors;

/* count floats at a multiple of 64 bytes, zeroed; *memory is what is freed. */
extern float *br_learn_aligned_floats(BrContext *context, size_t count, void **memory);

extern BrStatus br_learn_vectors_alloc(BrContext *context, int n, int dims, BrVectors *vectors);
extern void br_learn_vectors_free(BrContext *context, BrVectors *vectors);

/*
 * Sets all vectors: those of start (n, dims) or, where it is NULL, uniform ones of
 * [low, low + range), vector i from the stream `first_stream` + i.
 */
extern BrStatus br_learn_vectors_start(BrContext *context, BrVectors *vectors, const float *start,
									   uint64_t seed, uint64_t first_stream, double low,
									   double range);

/* The vectors without padding, which are no longer the work's. BR_ERR_NUMERIC: not finite. */
extern BrStatus br_learn_vectors_finish(BrContext *context, BrVectors *vectors, float **result);

/* BR_ERR_ARGUMENT: start is not of the matrix' shape and these dims, or not finite. */
extern BrStatus br_learn_start_check(BrContext *context, const BrFactors *start, int rows,
									 int columns, int dims);

/* BR_ERR_ARGUMENT: not as BrFoldIn says. */
extern BrStatus br_learn_fold_in_check(BrContext *context, const BrFoldIn *done, int n_others);

/* Streams of start values of rows, of columns, and of what is drawn later. */
#define BR_LEARN_ROW_STREAMS UINT64_C(0)
#define BR_LEARN_COLUMN_STREAMS (UINT64_C(1) << 32)
#define BR_LEARN_DRAW_STREAMS (UINT64_C(2) << 32)

/* ---- blocks of work (factors.c) ---- */

/*
 * Blocks are cut by what the rows are, never by how many threads there are, and
 * each writes what is its own: results do not depend on the pool.
 */
typedef struct BrBlocks BrBlocks;

/* worker: below br_base_pool_threads, no two at a time have the same */
typedef void (*BrBlockWork)(void *arg, BrBlocks *blocks, int block, int worker);

/* Runs all blocks, in any order. BR_ERR_CANCELLED: not all of them have run. */
extern BrStatus br_learn_blocks_run(BrContext *context, BrPool *pool, BrBlockWork work, void *arg,
									int n);

/* For work that takes long: whether it should return, whatever it has done. */
extern bool br_learn_blocks_stopped(BrBlocks *blocks, int worker);

/* ---- a half-sweep of ALS (als_rows.c) ---- */

typedef struct BrAlsWork
{
	BrContext *context;
	const BrAlsOptions *options;
	const BrFactorKernels *kernels;
	int padded;
	int workers;
	void *memory;
	float *gram;	/* (padded, padded), of the side that stands still */
	float *slices;	/* (BR_ALS_SLICES, padded, padded): parts of it */
	float *scratch; /* (workers, scratch_size) */
	size_t scratch_size;
} BrAlsWork;

extern BrStatus br_learn_als_begin(BrContext *context, const BrAlsOptions *options,
								   BrAlsWork *work);
extern void br_learn_als_end(BrAlsWork *work);

/* Solves for all vectors of one side while the other stands still. */
extern BrStatus br_learn_als_half_sweep(BrAlsWork *work, const BrSparse *matrix,
										const BrVectors *still, BrVectors *moving);

#endif /* FACTORS_INT_H */
