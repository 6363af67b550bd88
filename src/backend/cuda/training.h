/*
 * training.h
 *	  What the files of training on a device share: a model whose weights change,
 *	  a batch of it, and the kernels of both ways.
 *
 * training_model.c holds parameters and gradient, training_batch.c brings texts
 * to the device, training_forward.c and training_backward.c go through the
 * layers; the kernels are in training_*.cu. All numbers are floats. Parameters
 * stand on the device as the host has them, and the gradient beside them in the
 * same order. No kernel adds into one place from two threads, so that the same
 * work gives the same bits. "Slope" is the derivative of the loss with respect to
 * what it is named after; kernels that launch say what cuda_int.h says of them.
 */
#ifndef BR_CUDA_TRAINING_H
#define BR_CUDA_TRAINING_H

#include "backend/cuda/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- training_rows.cu ---- */

/* The random numbers of dropout in one place of a layer (br_device.h). */
typedef struct BrDropout
{
	uint64_t key;
	uint64_t stream; /* of the batch's first token */
	uint32_t share;	 /* of 65536; 0: nothing is dropped */
} BrDropout;

/* output = input where it is kept, over the share that is, else 0; output may be input. */
extern void br_cuda_drop_rows(BrStream stream, BrDropout dropout,
							  const float *input /* (rows, dim) */, int rows, int dim,
							  float *output /* (rows, dim) */);

/* sum = word[id] + position[position] + type_row, which may be NULL. */
extern void br_cuda_sum_embedded(BrStream stream, const int32_t *ids /* (rows) */,
								 const int32_t *positions /* (rows) */, const float *word,
								 const float *position, const float *type_row, int rows, int dim,
								 float *sum /* (rows, dim) */);

/*
 * sum += added, which may be NULL; output = (sum - mean) scale gain + bias, with
 * mean and scale = 1 / sqrt(variance + epsilon) kept.
 */
extern void br_cuda_norm_rows(BrStream stream, const float *added /* (rows, dim) */,
							  const float *gain /* (dim) */, const float *bias /* (dim) */,
							  float epsilon, int rows, int dim, float *sum /* (rows, dim) */,
							  float *moments /* (rows, 2) */, float *output /* (rows, dim) */);

/* The slope of sum from that of the output. */
extern void br_cuda_norm_slopes(BrStream stream, const float *sum /* (rows, dim) */,
								const float *moments /* (rows, 2) */, const float *gain /* (dim) */,
								const float *output_slope /* (rows, dim) */, int rows, int dim,
								float *slope /* (rows, dim) */);

/* active = activation(inner) */
extern void br_cuda_activate_into(BrStream stream, const float *inner /* (n) */, size_t n,
								  BrActivation activation, float *active /* (n) */);

/* slope *= activation'(inner) */
extern void br_cuda_activation_slope(BrStream stream, const float *inner /* (n) */, size_t n,
									 BrActivation activation, float *slope /* (n) */);

/* ---- training_columns.cu: sums over rows ---- */

/* Floats of work memory that sums over so many rows need. */
extern size_t br_cuda_columns_scratch(int rows, int dim);

/* sums += the sum of the rows */
extern void br_cuda_add_columns(BrStream stream, const float *values /* (rows, dim) */, int rows,
								int dim, float *scratch, float *sums /* (dim) */);

/* Adds the slopes of a norm's gain and bias. */
extern void br_cuda_add_norm_columns(BrStream stream, const float *sum /* (rows, dim) */,
									 const float *moments /* (rows, 2) */,
									 const float *output_slope /* (rows, dim) */, int rows, int dim,
									 float *scratch, float *gain_slope /* (dim) */,
									 float *bias_slope /* (dim) */);

/* Rows that belong to the same row of a table. */
typedef struct BrRowGroups
{
	const int32_t *rows;   /* (all rows): group after group */
	const int32_t *starts; /* (n + 1) */
	const int32_t *which;  /* (n): the row of the table */
	int n;
} BrRowGroups;

/* table[which] += the sum of the group's rows, one after another */
extern void br_cuda_add_groups(BrStream stream, BrRowGroups groups /* on the device */,
							   const float *values /* (rows, dim) */, int dim, float *table);

/* ---- training_attention.cu ---- */

/* A batch as attention sees it; all on the device. */
typedef struct BrTrainingAttention
{
	const int32_t *offsets; /* (texts + 1) */
	const int32_t *text;	/* (rows): of which text */
	const uint64_t *masks;	/* (texts): where the text's bits begin in kept */
	int rows;
	int heads;
	int head_dim;		   /* at most BR_CUDA_HEAD_LIMIT */
	const float *table;	   /* (buckets, heads): added by distance; NULL: nothing is */
	const int32_t *bucket; /* (2 * longest - 1) */
	int buckets;
	int longest;
	const uint8_t *kept; /* a bit for each query, head and key; NULL: all are kept */
	float kept_scale;	 /* by which those that are kept are multiplied */
} BrTrainingAttention;

/* Bytes of the bits of one text. */
extern size_t br_cuda_mask_bytes(int heads, int length);

/* Fills kept as dropout says; its stream is of the first head. */
extern void br_cuda_fill_mask(BrStream stream, BrTrainingAttention batch, BrDropout dropout,
							  uint8_t *kept);

/* Attention as br_backend.h has it, with logarithms of the sums of weights. */
extern void br_cuda_attend(BrStream stream, BrTrainingAttention batch,
						   const float *qkv /* (rows, 3 * dim) */,
						   float *logarithms /* (rows, heads) */, float *output /* (rows, dim) */);

/* What the way back through attention reads and writes. */
typedef struct BrAttentionSlopes
{
	const float *qkv;		   /* (rows, 3 * dim) */
	const float *logarithms;   /* (rows, heads) */
	const float *output;	   /* (rows, dim) */
	const float *output_slope; /* (rows, dim) */
	float *along;			   /* (rows, heads): work memory */
	float *table_slopes;	   /* (rows, buckets, heads): of each query; NULL where table is */
	float *slope;			   /* (rows, 3 * dim): of qkv */
} BrAttentionSlopes;

extern void br_cuda_attend_slope(BrStream stream, BrTrainingAttention batch,
								 BrAttentionSlopes slopes);

/* ---- training_pooling.cu ---- */

extern void br_cuda_pool_rows(BrStream stream, BrPooling pooling,
							  const float *tokens /* (rows, dim) */,
							  const int32_t *offsets /* (texts + 1) */, int texts, int dim,
							  float *pooled /* (texts, dim) */);
extern void br_cuda_pool_slope(BrStream stream, BrPooling pooling,
							   const float *tokens /* (rows, dim) */,
							   const int32_t *offsets /* (texts + 1) */,
							   const float *pooled_slope /* (texts, dim) */, int texts, int dim,
							   float *slope /* (rows, dim) */);

/* output = input / its length, which is taken for 1e-12 where it is less. */
extern void br_cuda_normalize_rows(BrStream stream, const float *input /* (n, dim) */, int n,
								   int dim, float *output /* (n, dim) */);
extern void br_cuda_normalize_slope(BrStream stream, const float *input /* (n, dim) */,
									const float *output_slope /* (n, dim) */, int n, int dim,
									float *slope /* (n, dim) */);

/* ---- multiply_factors.cu, product.c ---- */

/*
 * output = keep * output + left right + bias, each factor as it stands or
 * transposed, in float. With keep 0 the output is not read; bias may be NULL. The
 * output, whose rows follow one another, overlaps neither factor.
 */
extern void br_cuda_multiply_factors(BrStream stream, BrFactor left /* (rows, depth) */,
									 BrFactor right /* (depth, columns) */,
									 const float *bias /* (columns) */, int rows, int columns,
									 int depth, float keep, float *output /* (rows, columns) */);

/* The same by whatever is fastest, with factors rounded to 10 bits of the mantissa. */
extern BrStatus br_cuda_multiply_best(BrProducts *products, BrContext *context, BrStream stream,
									  BrFactor left, BrFactor right, const float *bias, int rows,
									  int columns, int depth, float keep, float *output);

/* ---- training_model.c ---- */

/* Floats that go to the host at a time while a gradient is taken. */
#define BR_TRAINING_PIECE ((size_t) 1024 * 1024)
#define BR_TRAINING_PIECES 2

/* What a layer leaves behind; the states before and behind it stand apart. */
typedef struct BrTrainingTape
{
	float *qkv;		   /* (tokens, 3 * hidden) */
	float *logarithms; /* (tokens, heads) */
	float *attended;   /* (tokens, hidden) */
	float *first_sum;  /* (tokens, hidden) */
	float *first;	   /* (tokens, hidden): its norm */
	float *inner;	   /* (tokens, intermediate): before the activation */
	float *active;	   /* (tokens, intermediate) */
	float *second_sum; /* (tokens, hidden) */
	float *first_moments;
	float *second_moments; /* (tokens, 2) */
	float *state;		   /* (tokens, hidden): what the layer gives */
} BrTrainingTape;

/* A dense layer or a length of 1 behind pooling. */
typedef struct BrTrainingVectors
{
	float *inner;  /* (texts, width): of a dense step, before the activation */
	float *output; /* (texts, width) */
} BrTrainingVectors;

/* A batch: what the host prepares, and where it stands on the device. */
typedef struct BrTrainingBatch
{
	int texts;
	int tokens;
	uint32_t drop;
	uint32_t drop_attention;
	uint64_t key;
	uint64_t first_token;
	bool embedded; /* and not yet propagated back */

	/* of the host; of_device: the same on the device */
	BrBuffer host;
	size_t input_bytes;
	size_t mask_bytes;
	int32_t *offsets;
	int32_t *ids;
	int32_t *positions;
	int32_t *text;
	uint64_t *masks;
	int32_t *group_rows[2]; /* of words, of positions */
	int32_t *group_starts[2];
	int32_t *group_which[2];
	int groups[2];
	char *of_device;
	float *embeddings; /* of the host (texts, dimensions): then their slope */

	/* of the device */
	BrTrainingAttention attention;
	uint8_t *kept;
	float *embedded_sum;	 /* (tokens, hidden) */
	float *embedded_moments; /* (tokens, 2) */
	float *first_state;		 /* (tokens, hidden): what the first layer reads */
	float *pooled;			 /* (texts, hidden) */
	float *vector_slopes[2]; /* (texts, widest) */
	float *state_slope;		 /* (tokens, hidden) */
	float *sum_slope;		 /* (tokens, hidden) */
	float *dropped_slope;	 /* (tokens, hidden) */
	float *inner_slope;		 /* (tokens, intermediate) */
	float *qkv_slope;		 /* (tokens, 3 * hidden) */
	float *along;			 /* (tokens, heads) */
	float *table_slopes;	 /* (tokens, buckets, heads); NULL where there is no table */
	float *columns;			 /* work memory of sums over rows */
} BrTrainingBatch;

struct BrDeviceTraining
{
	BrAllocator allocator; /* of all that is the host's */
	BrDeviceTraining *next;
	BrTransformer model; /* its weights stand in parameters, on the device */
	BrTransformerLayer *layers;
	BrTransformerStep *steps;
	BrTrainingTape *tapes;		/* (layers) */
	BrTrainingVectors *vectors; /* (steps) */
	int widest;					/* floats of a text behind pooling */
	int buckets;
	size_t n;
	void *memory;	   /* on the device: the three below */
	float *parameters; /* (n) */
	float *gradient;   /* (n) */
	int32_t *bucket;   /* (2 * max_tokens - 1) */
	BrBuffer pieces[BR_TRAINING_PIECES];
	BrBuffer work; /* of a batch */
	BrTrainingBatch batch;
};

extern BrStatus br_cuda_open_training(BrDevice *device, BrContext *context,
									  const BrDeviceTrainable *trainable,
									  BrDeviceTraining **training);
extern void br_cuda_close_training(BrDevice *device, BrDeviceTraining *training);
extern BrStatus br_cuda_set_parameters(BrDevice *device, BrContext *context,
									   BrDeviceTraining *training, const float *parameters);
extern BrStatus br_cuda_take_gradient(BrDevice *device, BrContext *context,
									  BrDeviceTraining *training, float *gradient);

/* The gradient of a tensor among the parameters. */
static inline float *
br_cuda_gradient_of(const BrDeviceTraining *training, const float *tensor)
{
	return training->gradient + (tensor - training->parameters);
}

/* ---- training_batch.c ---- */

/* Checks the texts, makes room, and brings them to the device. */
extern BrStatus br_cuda_prepare_batch(BrDevice *device, BrContext *context,
									  BrDeviceTraining *training, const BrDeviceBatch *texts);

/* ---- training_forward.c, training_backward.c ---- */

/* Where dropout strikes (br_device.h). */
enum
{
	BR_SITE_EMBEDDING,
	BR_SITE_ATTENTION,
	BR_SITE_DENSE,
	BR_SITE_HEADS
};

extern BrDropout br_cuda_dropout(const BrDeviceTraining *training, int layer, int site);

/* The layer's dropped weights of attention, where some are dropped. */
extern void br_cuda_drop_weights(BrDevice *device, BrDeviceTraining *training, int layer);

extern BrStatus br_cuda_embed_batch(BrDevice *device, BrContext *context,
									BrDeviceTraining *training, const BrDeviceBatch *batch,
									float *embeddings);
extern BrStatus br_cuda_propagate_back(BrDevice *device, BrContext *context,
									   BrDeviceTraining *training, const float *slope);

#ifdef __cplusplus
}
#endif

#endif /* BR_CUDA_TRAINING_H */
