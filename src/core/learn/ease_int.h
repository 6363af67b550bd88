/*
 * ease_int.h
 *	  What EASE and its local form share: the matrix G, row by row.
 */
#ifndef EASE_INT_H
#define EASE_INT_H

#include "core/learn/learn_int.h"

/* Asks for cancellation once in so many steps of a few nanoseconds. */
#define BR_EASE_STEPS (1 << 20)

typedef struct BrEasePace
{
	const BrContext *context;
	int64_t steps;
} BrEasePace;

static inline bool
br_learn_ease_stops(BrEasePace *pace, int64_t steps)
{
	pace->steps += steps;
	if (pace->steps < BR_EASE_STEPS)
		return false;
	pace->steps = 0;
	return br_base_cancelled(pace->context);
}

/* The matrix or the extra rows, both ways. */
typedef struct BrEasePart
{
	const BrSparse *rows;
	BrSparse columns;
	double weight;
} BrEasePart;

#define BR_EASE_PARTS 2

/* G without lambda: the sum over parts of weight rows' rows. */
typedef struct BrEaseGram
{
	int n; /* columns */
	int n_parts;
	BrEasePart parts[BR_EASE_PARTS];
	double *diagonal; /* (n) */
} BrEaseGram;

/* Checks everything; keeps matrix and extra. Nothing to free after a failure. */
extern BrStatus br_learn_ease_gram_begin(BrContext *context, const BrSparse *matrix,
										 const BrSparse *extra, double extra_weight, double lambda,
										 BrEaseGram *gram);
extern void br_learn_ease_gram_end(BrContext *context, BrEaseGram *gram);

/* G among a few columns, of many such few: what ease_support.c keeps for it. */
typedef struct BrEaseSupport BrEaseSupport;

extern BrStatus br_learn_ease_support_begin(BrContext *context, const BrEaseGram *gram, int most,
											BrEaseSupport **support);
extern void br_learn_ease_support_end(BrContext *context, BrEaseSupport *support);

/*
 * The upper triangle of G among n columns in the order given, n at most `most`,
 * into a matrix that holds zeros. Its sum of steps is asked of pace.
 */
extern BrStatus br_learn_ease_support_gram(BrEaseSupport *support, const int32_t *columns, int n,
										   BrEasePace *pace, double *matrix /* (n, stride) */,
										   int stride);

#endif /* EASE_INT_H */
