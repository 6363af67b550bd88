/*
 * device.h
 *	  What the files behind br_device_table share.
 *
 * device.c fills the table; model.c brings a model to the device; batch.c cuts
 * texts into batches and prepares them on the host; forward.c computes a batch;
 * search.c has centroids and exact search; memory.c keeps what they work in.
 */
#ifndef BR_CUDA_DEVICE_H
#define BR_CUDA_DEVICE_H

#include "backend/cuda/cuda_int.h"

/* ---- memory.c ---- */

/* Memory that is kept from call to call, and grows; zero before the first use. */
typedef struct BrBuffer
{
	void *memory;
	size_t capacity; /* bytes */
	bool of_host;	 /* of the host, read by the device itself */
} BrBuffer;

/*
 * Makes room for so many bytes; what stood there is lost where it grows. Nothing
 * that uses it may still be running. BR_ERR_MEMORY: the buffer is empty.
 */
extern BrStatus br_cuda_reserve(BrContext *context, BrBuffer *buffer, size_t bytes);
extern void br_cuda_empty(BrBuffer *buffer);

/* Cuts memory into pieces at multiples of 256 bytes; base NULL: counts only, and gives NULL. */
typedef struct BrCutter
{
	char *base;
	size_t used;
} BrCutter;

extern void *br_cuda_cut(BrCutter *cutter, size_t count, size_t size);

/* ---- model.c ---- */

/* On the device; matrices are (out_dim, in_dim). */
typedef struct BrLayer
{
	const BrHalf *qkv_weight;
	const BrHalf *qkv_bias;
	const BrHalf *output_weight;
	const BrHalf *output_bias;
	const float *attention_gain;
	const float *attention_bias;
	const BrHalf *up_weight;
	const BrHalf *up_bias;
	const BrHalf *down_weight;
	const BrHalf *down_bias;
	const float *layer_gain;
	const float *layer_bias;
} BrLayer;

/* What follows pooling stays in float: it is small. */
typedef struct BrStep
{
	bool normalize;
	int in_dim;
	int out_dim;
	BrActivation activation;
	const float *weight;
	const float *bias;
} BrStep;

struct BrDeviceModel
{
	BrAllocator allocator; /* of all that is the host's */
	BrDeviceModel *next;   /* of the device's models */
	BrTransformer shape;   /* its pointers are NULL */
	int widest;			   /* floats of an embedding before, between and after the steps */
	void *memory;		   /* on the device: all that is below */
	size_t bytes;
	const BrHalf *word;
	const BrHalf *position;
	const BrHalf *type_row; /* may be NULL */
	const float *gain;
	const float *bias;
	const float *relative; /* may be NULL */
	BrLayer *layers;	   /* of the host, as are the steps */
	BrStep *steps;
};

/*
 * Whether the device computes such a model: BR_ERR_ARGUMENT, BR_ERR_UNSUPPORTED.
 * *widest: floats of an embedding before, between and after the steps.
 */
extern BrStatus br_cuda_check_shape(BrContext *context, const BrTransformer *model, int *widest);

extern BrStatus br_cuda_load(BrDevice *device, BrContext *context, const BrTransformer *model,
							 BrDeviceModel **loaded);
extern void br_cuda_unload(BrDevice *device, BrDeviceModel *loaded);

/* ---- batch.c ---- */

/*
 * Texts on their way to the device and their embeddings on the way back. All
 * pointers but on_device are into host, which the device copies by itself.
 */
typedef struct BrBatch
{
	BrBuffer host;
	int first; /* of the caller's texts */
	int texts;
	int tokens;
	int n_items;
	size_t input_bytes; /* from offsets on */
	int32_t *offsets;	/* (texts + 1), from 0 */
	int32_t *ids;		/* (tokens) */
	int32_t *positions; /* (tokens) */
	BrAttentionItem *items;
	float *embeddings; /* (texts, dimensions) */
} BrBatch;

#define BR_CUDA_BATCHES 2 /* one is computed while the other one is prepared */

/* Whether texts are ones of the model: BR_ERR_ARGUMENT. */
extern BrStatus br_cuda_check_texts(BrContext *context, const BrTransformer *model,
									const int32_t *ids, const int32_t *offsets, int texts);

/*
 * Rows of the position table, of which `first` is the first token's. Where they
 * begin behind the row of padding, a padding token in a text stands at that row
 * and is not counted.
 */
extern void br_cuda_number_tokens(int first, const int32_t *ids /* (offsets[texts]) */,
								  const int32_t *offsets /* (texts + 1) */, int texts,
								  int32_t *positions /* (offsets[texts]) */);

extern BrStatus br_cuda_embed_texts(BrDevice *device, BrContext *context, BrDeviceModel *model,
									const int32_t *ids, const int32_t *offsets, int texts,
									float *embeddings);

/* ---- forward.c ---- */

/*
 * Puts a batch into the device's stream: after br_cuda_wait its embeddings are there.
 * BR_ERR_MEMORY and BR_ERR_CANCELLED leave nothing running.
 */
extern BrStatus br_cuda_forward(BrDevice *device, BrContext *context, const BrDeviceModel *model,
								BrBatch *batch);

/* ---- search.c: as the table has them ---- */

extern BrStatus br_cuda_place_centroids(BrDevice *device, BrContext *context,
										const float *centroids, int lists, int dims);
extern BrStatus br_cuda_assign_vectors(BrDevice *device, BrContext *context, const float *vectors,
									   int n, int32_t *nearest, float *distances);
extern BrStatus br_cuda_top_k(BrDevice *device, BrContext *context, const float *queries,
							  int n_queries, const float *rows, int n, int dims, int k,
							  int32_t *ids, float *similarities);

/* ---- device.c ---- */

/*
 * What a call that failed with status answers: first all that it put into the
 * stream must end, since the memory it works in is used again.
 */
extern BrStatus br_cuda_settle(BrDevice *device, BrContext *context, BrStatus status);

struct BrDevice
{
	BrAllocator allocator;
	BrDeviceInfo info;
	int number;
	BrStream stream;
	BrProducts *products;
	BrDeviceModel *models;
	BrDeviceTraining *trainings;
	BrBuffer work;
	BrBatch batches[BR_CUDA_BATCHES];
	BrBuffer centroids; /* (lists, dims), then their squared norms (lists) */
	int lists;
	int dims;
};

#endif /* BR_CUDA_DEVICE_H */
