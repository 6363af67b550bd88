/*
 * br_math.h
 *	  The door of the math room: numbers that are the same on every machine.
 *
 * Decisions must be reproducible, so whatever feeds a decision uses these
 * functions instead of libm or BLAS: exp and log of our own, Cholesky in fixed
 * order, dot products in fixed order, all in double. The fast and
 * machine-dependent tensor operations live behind br_backend.h.
 */
#ifndef BR_MATH_H
#define BR_MATH_H

#include "core/base/br_base.h"
#include "core/math/br_backend.h"

/* e^x within 1 ulp or so; 0 below -745.13, infinity above 709.78; NaN stays NaN. */
extern double br_math_exp(double x);

/* Natural logarithm within 1 ulp or so; x > 0; 0 gives -infinity, below 0 NaN. */
extern double br_math_log(double x);

/* 1 / (1 + e^-x), in [0, 1], without overflow at either end. */
extern double br_math_logistic(double x);

/*
 * Quantile of the standard normal distribution, p in (0, 1).
 * Source: Wichura, "Algorithm AS 241", Applied Statistics 37 (1988), PPND16.
 */
extern double br_math_normal_quantile(double p);

/*
 * P(Z <= x) of the standard normal distribution, within 2e-14 of it relatively
 * in both tails, down to the smallest normal double; NaN stays NaN.
 */
extern double br_math_normal_cdf(double x);

/* One standard normal draw by inversion: exactly one uniform is consumed. */
extern double br_math_normal(BrRandom *random);

/*
 * The first n draws of each of eight adjacent streams: values[8 i + lane] is
 * the i-th br_math_normal of stream first_stream + lane, to the last bit.
 */
#define BR_MATH_NORMAL_LANES 8
extern void br_math_normal_lanes(uint64_t key, uint64_t first_stream, size_t n,
								 double *values /* (n, BR_MATH_NORMAL_LANES) */);

/*
 * ln Gamma(x) for x > 0, within 1e-14 of max(1, |ln Gamma(x)|); infinity at 0
 * and infinity, NaN below 0.
 */
extern double br_math_log_gamma(double x);

/*
 * A Beta distribution, prepared: alpha, beta > 0 and finite, which the caller
 * guarantees to lie between 1e-300 and 1e15.
 */
typedef struct BrBeta
{
	double alpha;
	double beta;
	double mean;
	double co_mean; /* 1 - mean */
	double log_mean;
	double log_co_mean;
	double scale; /* of the kernel below at the mean */
} BrBeta;

extern void br_math_beta_init(BrBeta *beta, double alpha, double beta_parameter);

/* A number of (0, 1) that keeps its digits at both ends: x, 1 - x, and their logarithms. */
typedef struct BrFraction
{
	double x;
	double complement;
	double log_x;
	double log_complement;
} BrFraction;

extern BrFraction br_math_fraction(double x);			   /* x in [0, 1] */
extern BrFraction br_math_fraction_of_logit(double logit); /* 1 / (1 + e^-logit) */

/*
 * x^alpha (1 - x)^beta / B(alpha, beta): the density with respect to logit x.
 * Its relative error is about 1e-15 (1 + sqrt(alpha + beta)) near the mean.
 */
extern double br_math_beta_kernel(const BrBeta *beta, const BrFraction *at);

/* Density with respect to x; infinite at an end with a pole, NaN outside [0, 1]. */
extern double br_math_beta_density(const BrBeta *beta, double x);

/*
 * Regularised incomplete beta function, P(X <= x); 0 below 0, 1 above 1, NaN
 * stays NaN. Error about 1e-15 (10 + sqrt(alpha + beta)) of the value, or 2e-15
 * where that is more.
 */
extern double br_math_beta_cdf(const BrBeta *beta, double x);
extern double br_math_beta_cdf_at(const BrBeta *beta, const BrFraction *at);

/*
 * Gauss-Legendre rule of 16 nodes on [0, 1], ascending: polynomials of degree
 * up to 31 are integrated exactly.
 */
#define BR_MATH_GAUSS_NODES 16
extern const double br_math_gauss_node[BR_MATH_GAUSS_NODES];
extern const double br_math_gauss_weight[BR_MATH_GAUSS_NODES];

/* IEEE 754 binary16, round to nearest even; overflow gives infinity. */
extern uint16_t br_math_half_from_float(float value);
extern float br_math_half_to_float(uint16_t half);
extern void br_math_half_from_floats(const float *values /* (n) */, size_t n,
									 uint16_t *halves /* (n) */);
extern void br_math_half_to_floats(const uint16_t *halves /* (n) */, size_t n,
								   float *values /* (n) */);

/*
 * Products of half vectors: converted to float exactly, accumulated in double
 * in an order that does not depend on the instruction set.
 */
extern double br_math_half_dot(const uint16_t *left /* (n) */, const uint16_t *right /* (n) */,
							   size_t n);
extern double br_math_half_squared_distance(const uint16_t *left /* (n) */,
											const uint16_t *right /* (n) */, size_t n);

/* Whether a half is neither infinite nor NaN. */
#define BR_MATH_HALF_IS_FINITE(half) (((half) &0x7C00) != 0x7C00)

/* value to the nearest half, ties to even; what is too small becomes 0, too large infinity. */
extern uint16_t br_math_half_from_double(double value);

/*
 * Vectors of finite halves as text, [0.1,0.2], and in binary: the number of
 * components, a second field of 0 and the components, each of 2 bytes, highest
 * first.
 */
#define BR_MATH_MAX_COMPONENTS 16000

/* Bytes that the text of n components may take, with its NUL. */
#define BR_MATH_HALF_TEXT_SIZE(n) ((size_t) (n) *16 + 2)
#define BR_MATH_HALF_BINARY_HEADER 4
#define BR_MATH_HALF_BINARY_SIZE(n) ((size_t) (n) *2 + BR_MATH_HALF_BINARY_HEADER)

/*
 * The components that a NUL-terminated text has if it is well-formed, from its
 * commas: at least 1. BR_ERR_LIMIT: more than BR_MATH_MAX_COMPONENTS.
 */
extern BrStatus br_math_half_count_text(BrContext *context, const char *text, int64_t *n);

/*
 * Reads numbers as strtod does, hexadecimal ones apart, each rounded once. The
 * numeric locale must be that of C.
 * n: of br_math_half_count_text.
 * BR_ERR_SYNTAX: not a list of numbers in brackets; BR_ERR_NUMERIC: a component
 * is NaN or leaves the range of a half.
 */
extern BrStatus br_math_half_parse(BrContext *context, const char *text, uint16_t *halves /* (n) */,
								   int n);

/*
 * Of each finite half the shortest decimal that reads back as it. text has
 * room for BR_MATH_HALF_TEXT_SIZE(n) bytes; returns its length without the NUL.
 */
extern size_t br_math_half_print(const uint16_t *halves /* (n) */, int n, char *text);

/*
 * The components that a message of size bytes has; n is set whatever the
 * status. BR_ERR_LIMIT: none, or more than BR_MATH_MAX_COMPONENTS;
 * BR_ERR_FORMAT: no header, a second field that is not 0, another size.
 */
extern BrStatus br_math_half_count_binary(BrContext *context, const void *message, size_t size,
										  int *n);

/* n: of br_math_half_count_binary. BR_ERR_NUMERIC: a component is NaN or infinite. */
extern BrStatus br_math_half_receive(BrContext *context, const void *message,
									 uint16_t *halves /* (n) */, int n);
extern void br_math_half_send(const uint16_t *halves /* (n) */, int n,
							  void *message /* BR_MATH_HALF_BINARY_SIZE(n) bytes */);

/* BR_ERR_NUMERIC, with a detail that names a component, counted from 0, and its value. */
extern BrStatus br_math_half_out_of_range(BrContext *context, double value, int index);

extern double br_math_dot(const double *left /* (n) */, const double *right /* (n) */, size_t n);

/* Length of a packed lower triangle of order n, row by row: (i, j) at i(i+1)/2 + j, j <= i. */
#define BR_MATH_PACKED(n) ((size_t) (n) * ((size_t) (n) + 1) / 2)

/*
 * In place: the packed lower triangle of a symmetric positive definite matrix
 * becomes its Cholesky factor L, A = L L'.
 * BR_ERR_NUMERIC: not positive definite, or not finite; the contents are then
 * undefined.
 */
extern BrStatus br_math_cholesky(BrContext *context, double *packed /* (n(n+1)/2) */, int n);

/* Solves L y = b in place. */
extern void br_math_solve_lower(const double *factor /* (n(n+1)/2) */, int n,
								double *vector /* (n) */);

/* Solves L' x = y in place. */
extern void br_math_solve_lower_transposed(const double *factor /* (n(n+1)/2) */, int n,
										   double *vector /* (n) */);

/*
 * Solves A x = b for a symmetric positive definite A of order n <= stride:
 * vector holds b and then x, and the upper triangle of the matrix becomes its
 * factor U, A = U' U. What stands below the diagonal is lost; it and what is
 * beyond n must be finite. As all that feeds a decision, the same bits on
 * every machine; unlike the packed functions above, as fast as its vectors.
 *
 * stride: a multiple of BR_MATH_SOLVE_ALIGN, as are the matrix's rows: the
 * rows are padded to it, and the matrix to as many rows.
 * BR_ERR_NUMERIC: not positive definite; BR_ERR_CANCELLED. Matrix and vector
 * are then undefined.
 */
#define BR_MATH_SOLVE_ALIGN 8
extern BrStatus br_math_solve_positive_definite(BrContext *context,
												double *matrix /* (stride, stride) */, int stride,
												int n, double *vector /* (n) */);

/*
 * In place: a symmetric positive definite matrix, of which only the lower
 * triangle is read, becomes its inverse, both triangles of it and exactly
 * symmetric. The results depend on the backend in their last bits; backend
 * NULL, or without multiply_transposed_double: the portable one's.
 *
 * It takes n^3 multiplications and additions together and
 * br_math_inverse_work(n) bytes of its own, asks for cancellation before each
 * product of at most 256 x 256 x 128. The relative error of the inverse is in
 * proportion to the matrix's condition number.
 * BR_ERR_NUMERIC: not positive definite, as far as double can tell, or not
 * finite. After a failure the contents are undefined.
 *
 * Source: the sweep operator, by blocks (Goodnight, "A tutorial on the SWEEP
 * operator", The American Statistician 33, 1979).
 */
extern BrStatus br_math_invert_positive_definite(BrContext *context, const BrBackend *backend,
												 double *matrix /* (n, n) */, int n);
extern size_t br_math_inverse_work(int n);

#endif /* BR_MATH_H */
