/*
 * cuda_int.h
 *	  What the files of the CUDA backend share: its kernels, as functions that
 *	  launch them.
 *
 * All pointers are to the device's memory, at multiples of 16 bytes, unless a
 * function says otherwise. Functions that return nothing only put work into a
 * stream and cannot fail here: what went wrong with a launch is the answer of
 * br_cuda_check and br_cuda_wait (runtime.h). Matrices are row-major; tokens of
 * texts are packed as in br_backend.h. Rows, texts and queries may be 0, which
 * launches nothing; a matrix may have more than 2^31 elements. Vectors of half
 * precision are read 16 bytes at a time where their length is a multiple of
 * BR_HALF_STEP, and one by one where it is not.
 */
#ifndef BR_CUDA_INT_H
#define BR_CUDA_INT_H

#include "backend/cuda/runtime.h"
#include "core/base/br_base.h"
#include "core/math/br_backend.h"
#include "core/math/br_device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The bits of an IEEE binary16. */
typedef uint16_t BrHalf;

#define BR_HALF_STEP 8

/* ---- convert.cu ---- */

/* To the nearest, ties to even; beyond 65504 to infinity. */
extern void br_cuda_to_half(BrStream stream, const float *values /* (n) */, size_t n,
							BrHalf *halves /* (n) */);
extern void br_cuda_to_float(BrStream stream, const BrHalf *halves /* (n) */, size_t n,
							 float *values /* (n) */);

/* ---- embedding.cu ---- */

/*
 * output = layer_norm(word[id] + position[position] + type_row) * gain + bias;
 * with gain NULL the sum alone. type_row may be NULL. Ids and positions are
 * not checked.
 */
extern void br_cuda_embed(BrStream stream, const int32_t *ids /* (rows) */,
						  const int32_t *positions /* (rows) */,
						  const BrHalf *word /* (vocabulary, dim) */,
						  const BrHalf *position /* (positions, dim) */,
						  const BrHalf *type_row /* (dim) */, const float *gain /* (dim) */,
						  const float *bias /* (dim) */, float epsilon, int rows, int dim,
						  BrHalf *output /* (rows, dim) */);

/* ---- norm.cu ---- */

/*
 * output = layer_norm(input + residual) * gain + bias; residual may be NULL;
 * output may be input or residual. Statistics are float.
 */
extern void br_cuda_add_layer_norm(BrStream stream, const BrHalf *input /* (rows, dim) */,
								   const BrHalf *residual /* (rows, dim) */,
								   const float *gain /* (dim) */, const float *bias /* (dim) */,
								   float epsilon, int rows, int dim,
								   BrHalf *output /* (rows, dim) */);

/* ---- activation.cu ---- */

/* values = activation(values + bias), in place; bias may be NULL. */
extern void br_cuda_activate(BrStream stream, BrHalf *values /* (rows, dim) */,
							 const BrHalf *bias /* (dim) */, int rows, int dim,
							 BrActivation activation);
extern void br_cuda_activate_floats(BrStream stream, float *values /* (rows, dim) */,
									const float *bias /* (dim) */, int rows, int dim,
									BrActivation activation);

/* ---- attention.cu, attention_items.c ---- */

/*
 * What one block of threads does: the queries first .. of one text, under as
 * many heads as share the block. Items of long texts come first, so that no
 * block begins late what takes long.
 */
typedef struct BrAttentionItem
{
	int32_t start;	/* row of the text's first token */
	int32_t length; /* tokens of the text */
	int32_t query;	/* the first, counted from start */
	int32_t head;	/* the first */
} BrAttentionItem;

/*
 * Host: items of a batch, the same for all its layers. Writes at most capacity
 * of them and returns how many there are; called with capacity 0 it counts. The
 * order is of falling length. Texts without tokens are passed over.
 */
extern int br_cuda_attention_items(const int32_t *offsets /* (texts + 1), host */, int texts,
								   int heads, BrAttentionItem *items /* host */, int capacity);

/*
 * At most as many items as this, for batches of at most so many texts and tokens:
 * to allocate once.
 */
extern size_t br_cuda_attention_most_items(int texts, int tokens, int heads);

/*
 * softmax(q k' / sqrt(head_dim) + r) v as in br_backend.h, r being
 * relative[head][key - query + longest - 1], or 0 without relative. Heads
 * first_head .. last_head - 1 are computed; items are of all heads. On tensor cores where
 * head_dim is 32 or 64, plainly for any other from 1 to BR_CUDA_HEAD_LIMIT.
 */
#define BR_CUDA_HEAD_LIMIT 1024

extern void br_cuda_attention(BrStream stream, const BrHalf *qkv /* (rows, 3 * heads * head_dim) */,
							  const BrAttentionItem *items /* (n_items) */, int n_items, int heads,
							  int head_dim, int first_head, int last_head,
							  const float *relative /* (heads, 2 * longest - 1) */, int longest,
							  BrHalf *output /* (rows, heads * head_dim) */);

/* ---- pooling.cu ---- */

/* Texts of at least one token each; sums are float. */
extern void br_cuda_pool(BrStream stream, BrPooling pooling, const BrHalf *tokens /* (rows, dim) */,
						 const int32_t *offsets /* (texts + 1) */, int texts, int dim,
						 float *pooled /* (texts, dim) */);

/* Each row to length 1, in place; a row of zeros stays. */
extern void br_cuda_normalize(BrStream stream, float *rows /* (n, dim) */, int n, int dim);

/* ---- product.c, multiply.cu ---- */

typedef enum BrProductKind
{
	BR_PRODUCT_BEST,	 /* cuBLASLt where it can be loaded, else the kernel */
	BR_PRODUCT_KERNEL,	 /* the kernel of multiply.cu */
	BR_PRODUCT_REFERENCE /* one thread an element */
} BrProductKind;

typedef struct BrProducts BrProducts;

/*
 * How products are computed on the current device, with work memory of their
 * own: one stream at a time. The context's allocator must outlive *products.
 * That cuBLASLt is missing or does not work is no error.
 */
extern BrStatus br_cuda_open_products(BrContext *context, BrProductKind kind,
									  BrProducts **products);
extern void br_cuda_close_products(BrProducts *products); /* NULL is ignored */
extern const char *br_cuda_products_name(
	const BrProducts *products); /* "cuBLASLt 13.1.0", "kernel" */

/*
 * output = activation(input weight' + bias), sums in float; bias may be NULL.
 * An activation that cuBLASLt cannot fuse (the GELU of erf, tanh) is a pass of its own over
 * the output: fastest over so many rows that the output stays in the
 * second-level cache (4096 rows of 3072).
 * BR_ERR_DEVICE: cuBLASLt failed.
 */
extern BrStatus br_cuda_multiply(BrProducts *products, BrContext *context, BrStream stream,
								 const BrHalf *input /* (rows, in_dim) */,
								 const BrHalf *weight /* (out_dim, in_dim) */,
								 const BrHalf *bias /* (out_dim) */, int rows, int in_dim,
								 int out_dim, BrActivation activation,
								 BrHalf *output /* (rows, out_dim) */);

/* output = input weight', the sums as they are. */
extern BrStatus br_cuda_multiply_to_floats(BrProducts *products, BrContext *context,
										   BrStream stream,
										   const BrHalf *input /* (rows, in_dim) */,
										   const BrHalf *weight /* (out_dim, in_dim) */, int rows,
										   int in_dim, int out_dim,
										   float *output /* (rows, out_dim) */);

/*
 * multiply.cu: the same as either of the two above, into whichever output is not NULL; bias
 * and activation hold for both.
 */
extern void br_cuda_multiply_halves(BrStream stream, const BrHalf *input /* (rows, in_dim) */,
									const BrHalf *weight /* (out_dim, in_dim) */,
									const BrHalf *bias /* (out_dim) */, int rows, int in_dim,
									int out_dim, BrActivation activation,
									BrHalf *halves /* (rows, out_dim) */,
									float *floats /* (rows, out_dim) */);

/* output = left right' of floats, without tensor cores: for the few rows that must be exact. */
extern void br_cuda_multiply_floats(BrStream stream, const float *left /* (rows, depth) */,
									const float *right /* (columns, depth) */, int rows,
									int columns, int depth, float *output /* (rows, columns) */);

/* As br_backend.h has it: output = keep * output + scale * left right'. */
extern void br_cuda_multiply_doubles(BrStream stream, const double *left /* (rows, depth) */,
									 const double *right /* (columns, depth) */, int rows,
									 int columns, int depth, int left_stride, int right_stride,
									 int output_stride, double scale, double keep,
									 double *output /* (rows, columns) */);

/* ---- assign.cu ---- */

/* norms[i] = |row i|^2 */
extern void br_cuda_squared_norms(BrStream stream, const float *rows /* (n, dims) */, int n,
								  int dims, float *norms /* (n) */);

/*
 * The nearest centroid of each vector under the Euclidean distance, by |c|^2 -
 * 2 <x, c> in float, ties to the smaller number, and the squared distance to it,
 * summed from differences; distances may be NULL. lists >= 1.
 */
extern void br_cuda_assign(BrStream stream, const float *vectors /* (n, dims) */, int n, int dims,
						   const float *centroids /* (lists, dims) */,
						   const float *squared_norms /* (lists) */, int lists,
						   int32_t *nearest /* (n) */, float *distances /* (n) */);

/*
 * Each centroid becomes the mean of its vectors, summed in their order, so that
 * every run gives the same; one without vectors stays. counts may be NULL.
 */
extern void br_cuda_update_centroids(BrStream stream, const float *vectors /* (n, dims) */,
									 const int32_t *nearest /* (n) */, int n, int dims, int lists,
									 float *centroids /* (lists, dims) */,
									 int32_t *counts /* (lists) */);

/* ---- top_k.cu ---- */

#define BR_TOP_K_LIMIT 1024

/* Parts into which the rows are cut for so many queries, so that few queries fill the device too. */
extern int br_cuda_top_k_parts(int n_queries);

/* Similarity and number of a row in one word whose order is theirs; 0 stands for no row. */
typedef uint64_t BrTopKey;

/*
 * Offers `columns` rows, numbered from first_row on, to the k best of each query and
 * part. Before the first offer best is all 0 bytes. A similarity of NaN is below all others.
 * 1 <= k <= BR_TOP_K_LIMIT; rows are below 2^32 - 1.
 */
extern void br_cuda_top_k_offer(BrStream stream,
								const float *similarities /* (n_queries, columns) */, int n_queries,
								int columns, int first_row, int k, int parts,
								BrTopKey *best /* (n_queries, parts, k) */);

/* The k best of all parts, greatest first, ties to the smaller number; -1 where there are fewer. */
extern void br_cuda_top_k_finish(BrStream stream, const BrTopKey *best /* (n_queries, parts, k) */,
								 int n_queries, int k, int parts, int32_t *ids /* (n_queries, k) */,
								 float *similarities /* (n_queries, k) */);

/* ---- reference.cu: one thread an element, for checking ---- */

extern void br_cuda_reference_add_layer_norm(BrStream stream, const BrHalf *input,
											 const BrHalf *residual, const float *gain,
											 const float *bias, float epsilon, int rows, int dim,
											 BrHalf *output);
extern void br_cuda_reference_embed(BrStream stream, const int32_t *ids, const int32_t *positions,
									const BrHalf *word, const BrHalf *position,
									const BrHalf *type_row, const float *gain, const float *bias,
									float epsilon, int rows, int dim, BrHalf *output);
extern void br_cuda_reference_attention(BrStream stream, const BrHalf *qkv,
										const int32_t *offsets /* (texts + 1) */, int texts,
										int rows, int heads, int head_dim, const float *relative,
										int longest, BrHalf *output);
extern void br_cuda_reference_multiply(BrStream stream, const BrHalf *input, const BrHalf *weight,
									   int rows, int in_dim, int out_dim, float *output);
extern void br_cuda_reference_pool(BrStream stream, BrPooling pooling, const BrHalf *tokens,
								   const int32_t *offsets, int texts, int dim, float *pooled);
extern void br_cuda_reference_assign(BrStream stream, const float *vectors, int n, int dims,
									 const float *centroids, int lists, int32_t *nearest,
									 float *distances);
extern void br_cuda_reference_top_k(BrStream stream, const float *similarities, int n_queries,
									int n, int k, int32_t *ids, float *best);

#ifdef __cplusplus
}
#endif

#endif /* BR_CUDA_INT_H */
