/*
 * association_int.h
 *	  What the files of the log-linear associations share.
 */
#ifndef ASSOCIATION_INT_H
#define ASSOCIATION_INT_H

#include "core/learn/learn_int.h"

/* Columns of a block; the last is padded, so that kernels have no remainder. */
#define BR_ASSOCIATION_LANES 16

/* ---- memory (association.c) ---- */

/*
 * Fresh pages are slow, and nobody is asked while they are zeroed: large arrays
 * are made as they are, and those that must be zero are cleared in pieces.
 */

/* Uninitialised; NULL: no memory, or count * size overflows. */
extern void *br_learn_association_room(BrContext *context, int64_t count, size_t size);
/* BR_ERR_CANCELLED between two pieces. */
extern BrStatus br_learn_association_clear(BrContext *context, void *array, size_t bytes);

/* ---- kernels (association_kernels.c, association_x86.c) ---- */

/* e^r for |r| <= ln(2)/2: minimax, Cephes 2.8, expf; ln 2 in two parts, the first of few bits */
#define BR_ASSOCIATION_LOG2_E 1.44269504f
#define BR_ASSOCIATION_LN2_HIGH 0.693359375f
#define BR_ASSOCIATION_LN2_LOW (-2.12194440e-4f)
#define BR_ASSOCIATION_EXP_7 1.9875691500e-4f
#define BR_ASSOCIATION_EXP_6 1.3981999507e-3f
#define BR_ASSOCIATION_EXP_5 8.3334519073e-3f
#define BR_ASSOCIATION_EXP_4 4.1665795894e-2f
#define BR_ASSOCIATION_EXP_3 1.6666665459e-1f
#define BR_ASSOCIATION_EXP_2 5.0000001201e-1f

/* Which blocks of an array of columns to work on, in any order. */
typedef struct BrBlocks
{
	int32_t *ids; /* (n), from 0 */
	int n;
} BrBlocks;

/* Loops over blocks of arrays of columns; results differ in the last bits between sets. */
typedef struct BrAssociationKernels
{
	const char *name;
	/* scores = bias + scale * scores; returns the greatest */
	float (*combine)(const BrBlocks *blocks, const float *bias, float scale, float *scores);
	/* scores = exp(scores - greatest), 0 below exp(-60); returns the sum */
	double (*exponentials)(const BrBlocks *blocks, float *scores, float greatest);
	/* sums += factor * values */
	void (*add)(const BrBlocks *blocks, float factor, const float *values, float *sums);
	/* sums[k] += factor * values[ids[k]] for k from 0 to n - 1 */
	void (*gather)(float factor, const int32_t *ids, const float *values, float *sums, size_t n);
} BrAssociationKernels;

extern const BrAssociationKernels *br_learn_association_portable(void);

/* NULL where the processor or the build lacks them. */
extern const BrAssociationKernels *br_learn_association_avx2(void);
extern const BrAssociationKernels *br_learn_association_avx512(void);

/* The fastest that runs here. */
extern const BrAssociationKernels *br_learn_association_kernels(void);

/* ---- rows and pairs (association_rows.c) ---- */

/* The matrix with equal rows merged, in the order in which they are first met. */
typedef struct BrAssociationRows
{
	int columns;
	int64_t rows;	 /* merged, of two columns and more */
	int64_t *starts; /* (rows + 1) */
	int32_t *ids;	 /* (starts[rows]), ascending within a row */
	double *counts;	 /* (rows): how many were equal */
	double *alone;	 /* (columns): rows of this column only */
	double *met;	 /* (columns): rows that hold it */
} BrAssociationRows;

extern BrStatus br_learn_association_merge(BrContext *context, const BrSparse *matrix,
										   BrAssociationRows *rows);
extern void br_learn_association_rows_free(BrContext *context, BrAssociationRows *rows);

/* Which W_ij there are: for each i the j, ascending. */
typedef struct BrAssociationPairs
{
	int64_t *starts; /* (columns + 1) */
	int32_t *ids;	 /* (starts[columns]) */
} BrAssociationPairs;

/*
 * The ordered pairs that share at least least_together rows.
 * BR_ERR_LIMIT: a fit of as many takes more than memory_limit bytes (0: none).
 */
extern BrStatus br_learn_association_pairs(BrContext *context, const BrAssociationRows *rows,
										   int least_together, size_t memory_limit,
										   BrAssociationPairs *pairs);
extern void br_learn_association_pairs_free(BrContext *context, BrAssociationPairs *pairs);

/* ---- loss and gradient (association_loss.c) ---- */

/*
 * Parameters are one array: the W_ij in the order of the pairs, then the b_j of
 * all columns. Columns never met have a bias that no softmax sees.
 */
typedef struct BrAssociationLoss BrAssociationLoss;

/* rows and pairs must outlive it. kernels: NULL for the fastest. */
extern BrStatus br_learn_association_loss_create(BrContext *context, const BrAssociationRows *rows,
												 const BrAssociationPairs *pairs,
												 const BrAssociationOptions *options,
												 const BrAssociationKernels *kernels,
												 BrAssociationLoss **loss);
extern int64_t br_learn_association_parameters(const BrAssociationLoss *loss);
/* W = 0 and the b that the regularisation draws to */
extern BrStatus br_learn_association_start(BrContext *context, const BrAssociationLoss *loss,
										   double *parameters);
extern BrStatus br_learn_association_evaluate(BrContext *context, void *loss,
											  const double *parameters, double *value,
											  double *gradient);
extern void br_learn_association_loss_free(BrContext *context, BrAssociationLoss *loss);

/* ---- minimisation (lbfgs.c) ---- */

/* Pairs of steps and changes of the gradient that are remembered. */
#define BR_LEARN_LBFGS_MEMORY 8

/* A smooth function of n variables. evaluate: its value and gradient at x. */
typedef struct BrSmooth
{
	BrStatus (*evaluate)(BrContext *context, void *arg, const double *x, double *value,
						 double *gradient);
	void *arg;
	int64_t n;
} BrSmooth;

/*
 * Moves x to where the function is least. Ends after `iterations` steps, or
 * earlier where a step gains less than `tolerance` of the value or no step
 * along the direction gains anything.
 * BR_ERR_NUMERIC: the value at the start is not finite. BR_ERR_MEMORY. What
 * evaluate returns. x is then undefined.
 *
 * Source: Nocedal and Wright, "Numerical Optimization", 2006, algorithms 7.4
 * and 3.1.
 */
extern BrStatus br_learn_lbfgs(BrContext *context, const BrSmooth *function, int iterations,
							   double tolerance, const BrProgress *progress, double *x,
							   double *value);
/* Bytes it takes for n variables. */
extern size_t br_learn_lbfgs_memory(int64_t n);

#endif /* ASSOCIATION_INT_H */
