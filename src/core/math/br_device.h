/*
 * br_device.h
 *	  The table of whole computations that a device with memory of its own fills.
 *
 * A device keeps what is used again, models and centroids, and is given only
 * what changes: token ids go in, embeddings come out. So its door lies higher
 * than br_backend.h: a model is described once, by where its weights stand in
 * the host's memory, and the device makes of it what it multiplies. Devices are
 * shared objects that export one function, br_device_table, beside
 * br_backend_table, whose operations over the host's memory are for checking
 * each kernel against the portable reference.
 *
 * One process, one thread at a time, uses a device. Nothing here calls back but
 * the context's cancel callback, between the layers of a batch.
 */
#ifndef BR_DEVICE_H
#define BR_DEVICE_H

#include "core/base/br_base.h"
#include "core/math/br_backend.h"

/* Raised when the table below changes; a device of another version is refused. */
#define BR_DEVICE_VERSION 2

typedef enum BrPooling
{
	BR_POOLING_CLS,
	BR_POOLING_MEAN,
	BR_POOLING_MAX,
	BR_POOLING_MEAN_SQRT_LENGTH, /* the sum, divided by the root of the number of tokens */
	BR_POOLING_WEIGHTED_MEAN,	 /* the mean with weights 1, 2, ... n */
	BR_POOLING_LAST
} BrPooling;

/* Weights of one layer, in float32 in the host's memory; matrices are (out_dim, in_dim). */
typedef struct BrTransformerLayer
{
	const float *qkv_weight;	/* (3 * hidden, hidden) */
	const float *qkv_bias;		/* (3 * hidden) */
	const float *output_weight; /* (hidden, hidden) */
	const float *output_bias;
	const float *attention_gain; /* (hidden) */
	const float *attention_bias;
	const float *up_weight; /* (intermediate, hidden) */
	const float *up_bias;
	const float *down_weight; /* (hidden, intermediate) */
	const float *down_bias;
	const float *layer_gain; /* (hidden) */
	const float *layer_bias;
} BrTransformerLayer;

/* What follows pooling. */
typedef struct BrTransformerStep
{
	bool normalize; /* to length 1; what follows is of dense layers */
	int in_dim;
	int out_dim;
	BrActivation activation;
	const float *weight; /* (out_dim, in_dim) */
	const float *bias;	 /* (out_dim), NULL: none */
} BrTransformerStep;

/* A model as forward passes see it. */
typedef struct BrTransformer
{
	int hidden;
	int layers;
	int heads;
	int intermediate;
	int vocabulary;
	int positions; /* rows of the position table */
	int max_tokens;
	int dimensions; /* of an embedding */

	/*
	 * Rows of the position table count from it; where it is above 0, tokens of
	 * the id before it stand at the row of that number and are not counted.
	 */
	int first_position;
	float epsilon; /* of the layer norms */
	BrActivation activation;
	BrPooling pooling;

	const float *word;	   /* (vocabulary, hidden) */
	const float *position; /* (positions, hidden) */
	const float *type_row; /* (hidden), may be NULL */
	const float *gain;	   /* (hidden), of the norm of what is embedded */
	const float *bias;
	const float
		*relative; /* (heads, 2 * max_tokens - 1): by key - query + max_tokens - 1; may be NULL */
	const BrTransformerLayer *layer; /* (layers) */
	int n_steps;
	const BrTransformerStep *steps;
} BrTransformer;

typedef struct BrDevice BrDevice;
typedef struct BrDeviceModel BrDeviceModel;

/* Of what a device is; strings end with a zero. */
typedef struct BrDeviceInfo
{
	char name[64];		   /* "NVIDIA H200" */
	char instructions[32]; /* "sm_90" */
	char precision[8];	   /* of embeddings: "f16"; at least .999 of f32 by the cosine */
	int64_t memory;		   /* bytes of the device */
	int64_t memory_free;   /* of them free now, for anybody */
} BrDeviceInfo;

/* ---- training ---- */

typedef struct BrDeviceTraining BrDeviceTraining;

/* A model as a device trains it. */
typedef struct BrDeviceTrainable
{
	/*
	 * Its weights stand in parameters, all of them; relative is (buckets, heads)
	 * here, and which of its rows is of a distance says bucket.
	 */
	const BrTransformer *model;
	const float *parameters; /* (n) */
	size_t n;
	const int32_t *bucket; /* (2 * max_tokens - 1): by key - query + max_tokens - 1 */
	int buckets;		   /* at most BR_DEVICE_BUCKETS */
} BrDeviceTrainable;

#define BR_DEVICE_BUCKETS 32

/* Texts of a step: those of text i at offsets[i] .. offsets[i + 1], from 0. */
typedef struct BrDeviceBatch
{
	const int32_t *ids;
	const int32_t *offsets; /* (texts + 1) */
	int texts;				/* at least 1 */

	/*
	 * What is set to 0, of 65536 equal parts: value i of a token where the
	 * random number i, of 16 bits, is less. The numbers are those of Philox
	 * (br_base.h) with this key and the stream
	 *
	 *		(layer (heads + 3) + site) 2^32 + first_token + token
	 *
	 * of sites 0: embeddings (layer 0), 1: what attention adds, 2: what the
	 * dense layers add, 3 + head: weights of attention, value i being of key i.
	 */
	uint32_t drop;			 /* below 65536 */
	uint32_t drop_attention; /* below 65536 */
	uint64_t key;
	uint64_t first_token;
	size_t memory; /* bytes that it may take on the device; 0: as many as there are */
} BrDeviceBatch;

/*
 * Of all functions: BR_ERR_MEMORY: the device has not enough memory now, and
 * nothing has changed; BR_ERR_DEVICE: it failed, and nothing more can be done
 * with it, or with what was opened of it, by this process.
 */
typedef struct BrDeviceTable
{
	uint32_t version; /* BR_DEVICE_VERSION */
	const char *name; /* "cuda" */

	/* How many there are; 0 with the reason as the context's detail. */
	int (*count)(BrContext *context);

	/* The allocator of the context must outlive *device. */
	BrStatus (*open)(BrContext *context, int number, BrDevice **device);
	void (*close)(BrDevice *device); /* with all its models; NULL is ignored */
	void (*tell)(BrDevice *device, BrDeviceInfo *info);

	/*
	 * Copies a model to the device. model and all it points to may go when it
	 * returns. BR_ERR_UNSUPPORTED: with the reason, such as a head dimension.
	 */
	BrStatus (*load)(BrDevice *device, BrContext *context, const BrTransformer *model,
					 BrDeviceModel **loaded);
	void (*unload)(BrDevice *device, BrDeviceModel *loaded); /* NULL is ignored */
	int64_t (*model_bytes)(const BrDeviceModel *loaded);

	/*
	 * Embeds texts, ids of text i at offsets[i] .. offsets[i + 1], each of 1 to
	 * max_tokens tokens of the vocabulary (checked: BR_ERR_ARGUMENT). Any number
	 * of texts; work memory is bounded, by going in batches. BR_ERR_NUMERIC: an
	 * embedding is not finite in the device's precision.
	 */
	BrStatus (*embed)(BrDevice *device, BrContext *context, BrDeviceModel *model,
					  const int32_t *ids, const int32_t *offsets /* (texts + 1) */, int texts,
					  float *embeddings /* (texts, dimensions) */);

	/* Keeps centroids until others come or the device is closed. */
	BrStatus (*place_centroids)(BrDevice *device, BrContext *context,
								const float *centroids /* (lists, dims) */, int lists, int dims);

	/*
	 * The nearest of the placed centroids under the Euclidean distance, ties to
	 * the smaller number, and the squared distance, which may be NULL.
	 */
	BrStatus (*assign)(BrDevice *device, BrContext *context, const float *vectors /* (n, dims) */,
					   int n, int32_t *nearest /* (n) */, float *distances /* (n) */);

	/* The k rows of the greatest inner product with each query, greatest first, ties to the
	 * smaller number; 1 <= k <= 1024, k <= n. */
	BrStatus (*top_k)(BrDevice *device, BrContext *context,
					  const float *queries /* (n_queries, dims) */, int n_queries,
					  const float *rows /* (n, dims) */, int n, int dims, int k,
					  int32_t *ids /* (n_queries, k) */, float *similarities /* (n_queries, k) */);

	/*
	 * Training. All are NULL in a device that does not train. Products round
	 * their factors to a precision of the device, to 10 bits of the mantissa at
	 * least; all else, and every sum, is in float. The same calls give the same
	 * bits on the same device.
	 */

	/*
	 * Makes room for a model, its gradient (0 at first) and what a batch leaves
	 * behind. trainable and all it points to may go when it returns.
	 * BR_ERR_UNSUPPORTED: with the reason. What is open when the device is
	 * closed is closed with it.
	 */
	BrStatus (*open_training)(BrDevice *device, BrContext *context,
							  const BrDeviceTrainable *trainable, BrDeviceTraining **training);
	void (*close_training)(BrDevice *device, BrDeviceTraining *training); /* NULL is ignored */

	/* Other values of all parameters, which may change when it returns; the gradient is 0. */
	BrStatus (*set_parameters)(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							   const float *parameters /* (n) */);

	/*
	 * Embeddings of a batch, of which what propagate_back needs is kept until
	 * the next one. BR_ERR_ARGUMENT: as embed; BR_ERR_LIMIT: it takes more than its
	 * memory, and how much.
	 */
	BrStatus (*embed_batch)(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							const BrDeviceBatch *batch,
							float *embeddings /* (texts, dimensions) */);

	/*
	 * Adds to the device's gradient that of a loss with this slope at the last
	 * embeddings, once. After a failure the gradient is of no use until parameters are set.
	 */
	BrStatus (*propagate_back)(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							   const float *slope /* (texts, dimensions) */);

	/* Adds the device's gradient to the caller's; the device's is 0 afterwards. */
	BrStatus (*take_gradient)(BrDevice *device, BrContext *context, BrDeviceTraining *training,
							  float *gradient /* (n) */);
} BrDeviceTable;

/* The one symbol of a device's shared object: NULL where its libraries are of no use here. */
typedef const BrDeviceTable *(*BrDeviceTableFunction)(void);

#define BR_DEVICE_SYMBOL "br_device_table"

#endif /* BR_DEVICE_H */
