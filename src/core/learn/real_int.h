/*
 * real_int.h
 *	  The arithmetic of what is trained by gradient: rows of numbers.
 *
 * Training computes in float. Its losses are written over BrReal, so that a test
 * can compile the same lines in double and hold the gradients to differences of
 * the loss. Lanes are eight wide on every machine and sums are added up in one
 * order, so the instruction set does not change a bit of the result.
 */
#ifndef REAL_INT_H
#define REAL_INT_H

#include <math.h>
#include <string.h>

#include "core/learn/learn_int.h"

#ifdef BR_LEARN_DOUBLE
typedef double BrReal;
#else
typedef float BrReal;
#endif

#define BR_LANES 8

typedef BrReal BrLanes
	__attribute__((vector_size(BR_LANES * sizeof(BrReal)), aligned(sizeof(BrReal)), may_alias));

#define BR_LEARN_INLINE static inline __attribute__((always_inline))

/* A function that is compiled twice: BR_LEARN_WIDE for processors with AVX2. */
#ifdef __x86_64__
#define BR_LEARN_WIDE __attribute__((target("avx2")))
#define BR_LEARN_IS_WIDE() __builtin_cpu_supports("avx2")
#else
#define BR_LEARN_WIDE
#define BR_LEARN_IS_WIDE() 0
#endif

/* to += weight * from */
BR_LEARN_INLINE void
br_learn_add_scaled(BrReal *to, BrReal weight, const BrReal *from, int n)
{
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		*(BrLanes *) (to + i) += weight * *(const BrLanes *) (from + i);
	for (; i < n; i++)
		to[i] += weight * from[i];
}

BR_LEARN_INLINE BrReal
br_learn_dot(const BrReal *left, const BrReal *right, int n)
{
	BrLanes sums = {0};
	BrReal rest = 0;
	int i = 0;

	for (; i + BR_LANES <= n; i += BR_LANES)
		sums += *(const BrLanes *) (left + i) * *(const BrLanes *) (right + i);
	for (; i < n; i++)
		rest += left[i] * right[i];
	return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
		((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest;
}

/* 1 / |row|, or 0 where the row is as good as zero. */
BR_LEARN_INLINE BrReal
br_learn_inverse_norm(const BrReal *row, int n)
{
	BrReal squared = br_learn_dot(row, row, n);

	return squared > (BrReal) 1e-24 ? 1 / sqrt(squared) : 0;
}

/*
 * Adds to `slope`, the gradient with respect to row, what comes through
 * row / |row|: (outer - unit (unit . outer)) / |row|.
 */
BR_LEARN_INLINE void
br_learn_add_through_norm(BrReal *slope, const BrReal *row, const BrReal *outer, int n)
{
	BrReal inverse = br_learn_inverse_norm(row, n);
	BrReal along = br_learn_dot(row, outer, n) * inverse * inverse * inverse;

	br_learn_add_scaled(slope, inverse, outer, n);
	br_learn_add_scaled(slope, -along, row, n);
}

/*
 * Adam's running moments of n parameters (Kingma and Ba, "Adam: a method for
 * stochastic optimization", ICLR 2015), with its own defaults.
 */
typedef struct BrAdam
{
	int64_t n;
	int64_t steps;
	BrReal *first;	/* (n) */
	BrReal *second; /* (n) */
} BrAdam;

extern BrStatus br_learn_adam_create(BrContext *context, int64_t n, BrAdam *adam);
extern void br_learn_adam_free(BrContext *context, BrAdam *adam);

/* One step of parameters first to last - 1; begin once for all of them. */
extern void br_learn_adam_begin(BrAdam *adam);
extern void br_learn_adam_step(BrAdam *adam, double rate, int64_t first, int64_t last,
							   const BrReal *slope, BrReal *parameters);

#endif /* REAL_INT_H */
