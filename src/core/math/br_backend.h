/*
 * br_backend.h
 *	  The table of tensor operations that every backend fills.
 *
 * The portable table in core/math is the reference: slow, clear, and what the
 * others are checked against, operation by operation (test/backend). Other
 * backends are shared objects that export one function, br_backend_table.
 * Matrices are row-major, of floats but for one product in double. Texts of a
 * batch are packed: token rows stand one after another without padding, and
 * offsets[i] .. offsets[i + 1] are the rows of text i. Plain operations neither
 * allocate nor fail; none calls back.
 */
#ifndef BR_BACKEND_H
#define BR_BACKEND_H

#include "core/base/br_base.h"

/* Raised when the table below changes; a backend of another version is refused. */
#define BR_BACKEND_VERSION 4

typedef enum BrActivation
{
	BR_ACTIVATION_NONE = 0,
	BR_ACTIVATION_GELU_ERF,	 /* x Phi(x) */
	BR_ACTIVATION_GELU_TANH, /* the tanh approximation ("gelu_new", "gelu_pytorch_tanh") */
	BR_ACTIVATION_TANH,
	BR_ACTIVATION_RELU
} BrActivation;

/* Floats of work memory that attention needs where the longest text has so many tokens. */
#define BR_ATTENTION_SCRATCH(longest) ((size_t) (longest) *32)

/* In what the weights of the dense layers are kept and multiplied; sums are always wider. */
typedef enum BrPrecision
{
	BR_PRECISION_F32 = 0,
	BR_PRECISION_BF16, /* products of bfloat16, sums in float32 */
	BR_PRECISION_INT8  /* products of bytes, scales per output channel and per row of input */
} BrPrecision;

#define BR_PRECISION_COUNT 3

/* A factor of a product, in a matrix that may be wider. */
typedef struct BrFactor
{
	const float *values;
	int stride;		 /* elements a stored row begins after the one before it; at least 1 */
	bool transposed; /* element (i, k) stands at values[k * stride + i], not [i * stride + k] */
} BrFactor;

typedef struct BrBackend
{
	uint32_t version;					  /* BR_BACKEND_VERSION */
	const char *name;					  /* "portable", "openblas", ... */
	const char *(*instruction_set)(void); /* what it runs with here, such as "avx512" */

	/* output = activation(input weight' + bias); bias may be NULL */
	void (*linear)(const float *input /* (rows, in_dim) */,
				   const float *weight /* (out_dim, in_dim) */, const float *bias /* (out_dim) */,
				   int rows, int in_dim, int out_dim, BrActivation activation,
				   float *output /* (rows, out_dim) */);

	/* output[i] = word[ids[i]] + position[positions[i]] + type_row */
	void (*embed)(const int32_t *ids /* (rows) */, const int32_t *positions /* (rows) */,
				  const float *word /* (vocabulary, dim) */,
				  const float *position /* (max_positions, dim) */,
				  const float *type_row /* (dim), may be NULL */, int rows, int dim,
				  float *output /* (rows, dim) */);

	/*
	 * output = layer_norm(input + residual) * gain + bias; residual may be
	 * NULL; output may be input. Variance is the biased one.
	 */
	void (*add_layer_norm)(const float *input /* (rows, dim) */,
						   const float *residual /* (rows, dim) */, const float *gain /* (dim) */,
						   const float *bias /* (dim) */, float epsilon, int rows, int dim,
						   float *output /* (rows, dim) */);

	/*
	 * Self-attention of each text over its own tokens only:
	 * softmax(q k' / sqrt(head_dim) + r) v, heads side by side in dim.
	 * qkv holds query, key and value of a token side by side.
	 * r of a pair of tokens is relative[head][key - query + longest - 1];
	 * without relative it is 0. No text has more than longest tokens. Only heads
	 * first_head to last_head - 1 are computed, so that threads may share a text.
	 * scratch: BR_ATTENTION_SCRATCH floats for the longest text.
	 */
	void (*attention)(const float *qkv /* (rows, 3 * dim) */,
					  const int32_t *offsets /* (texts + 1) */, int texts, int heads, int head_dim,
					  int first_head, int last_head,
					  const float *relative /* (heads, 2 * longest - 1), may be NULL */,
					  int longest, float *scratch, float *output /* (rows, heads * head_dim) */);

	/* similarity = left right'; plain product for exact search over many rows */
	void (*multiply_transposed)(const float *left /* (rows, dim) */,
								const float *right /* (columns, dim) */, int rows, int columns,
								int dim, float *output /* (rows, columns) */);

	/*
	 * Dense layers whose weights were packed beforehand. All five are NULL in a
	 * backend that takes plain weights only.
	 */

	/* whether this processor computes fast in precision; true at least for f32 */
	bool (*packs)(BrPrecision precision);

	/* bytes of a packed matrix, a multiple of 64; 0: there was no memory */
	size_t (*packed_size)(BrPrecision precision, int in_dim, int out_dim);

	/*
	 * Packs a matrix. The result depends on the instruction set, is free of
	 * pointers and stands at a multiple of 64. factor: above 0, by which weights
	 * are multiplied and inputs divided before int8 rounds them; NULL: by none.
	 * false: there was no memory.
	 */
	bool (*pack)(BrPrecision precision, const float *weight /* (out_dim, in_dim) */,
				 const float *factor /* (in_dim) */, int in_dim, int out_dim, void *packed);

	/* bytes of work memory, at a multiple of 64, of linear_packed */
	size_t (*packed_scratch)(BrPrecision precision, int rows, int in_dim, int out_dim);

	/* as linear; false: there was no memory, and the output is undefined */
	bool (*linear_packed)(BrPrecision precision, const float *input /* (rows, in_dim) */,
						  const void *packed, const float *bias /* (out_dim) */, int rows,
						  int in_dim, int out_dim, BrActivation activation, void *scratch,
						  float *output /* (rows, out_dim) */);

	/*
	 * output = keep * output + scale * left right', in double, of matrices that
	 * stand in wider ones: a stride is how many elements a row begins after the
	 * one before it, at least the row's length and 1. With keep 0 the output is
	 * not read. The output overlaps neither input. NULL in a backend whose
	 * library has no such product; the portable one's does then.
	 */
	void (*multiply_transposed_double)(const double *left /* (rows, depth) */,
									   const double *right /* (columns, depth) */, int rows,
									   int columns, int depth, int left_stride, int right_stride,
									   int output_stride, double scale, double keep,
									   double *output /* (rows, columns) */);

	/*
	 * What training needs besides: gradients are products of the same matrices
	 * the other way round. All four are NULL in a backend that does not train.
	 */

	/*
	 * output = keep * output + scale * left right, each factor as it stands or
	 * transposed. With keep 0 the output is not read. The output, whose rows
	 * are output_stride apart, overlaps neither factor.
	 */
	void (*multiply)(BrFactor left /* (rows, depth) */, BrFactor right /* (depth, columns) */,
					 int rows, int columns, int depth, float scale, float keep, int output_stride,
					 float *output /* (rows, columns) */);

	/* values = activation(values) */
	void (*activate)(float *values /* (n) */, size_t n, BrActivation activation);

	/* slope = slope * activation'(input); of ReLU 0 at 0, as everywhere below it */
	void (*activate_slope)(const float *input /* (n) */, size_t n, BrActivation activation,
						   float *slope /* (n) */);

	/* each row = e^row / sum of e^row; rows are stride apart */
	void (*softmax)(float *values /* (rows, columns) */, int rows, int columns, int stride);
} BrBackend;

/* The reference. Always there; the same results on every machine but for libm's last bit. */
extern const BrBackend *br_math_portable_backend(void);

/* The one symbol a backend's shared object exports: NULL where it cannot run here. */
typedef const BrBackend *(*BrBackendTable)(void);

#define BR_BACKEND_SYMBOL "br_backend_table"

/*
 * An environment variable that the function above reads: "baseline", "avx2",
 * "avx512", "avx512_vnni" or "avx512_bf16" is the most that a CPU backend may
 * use, for tests and for finding the instruction set at fault. Unset: whatever
 * the processor has.
 */
#define BR_BACKEND_ISA_VARIABLE "BR_MAX_ISA"

#endif /* BR_BACKEND_H */
