/*
 * helper_int.h
 *	  What the files of the helper process share.
 *
 * main.c prepares the process and takes requests one after another; exchange.c
 * is its side of the socket and the lanes; requests.c checks a request and has
 * it computed; models.c maps models and keeps those used last; compute_cpu.c and
 * compute_device.c are the two kinds of what computes. Nothing here exits or
 * prints but main.c.
 */
#ifndef BR_HELPER_INT_H
#define BR_HELPER_INT_H

#include "core/encoder/br_encoder.h"
#include "helper/br_exchange.h"

/* ---- what the helper was called with ---- */

typedef struct BrHelperTask
{
	int socket;
	int file;
	const char *backends; /* a directory */
	const char *compute;  /* "cpu", or a device: [a-z0-9_] */
	int number;			  /* of the device */
	int64_t memory;		  /* bytes for models; 0: what the device has */
	int threads;		  /* of the CPU; 0: as many as the process may use */
} BrHelperTask;

/* ---- models.c ---- */

/* Bytes of a file, mapped for reading; NULL: none. */
typedef struct BrHelperMapping
{
	const void *bytes;
	size_t size;
} BrHelperMapping;

/* A model that is loaded, by the files that it came from. */
typedef struct BrHelperModel
{
	uint8_t hash[BR_EXCHANGE_HASH];
	BrExchangeFile image_file;
	BrExchangeFile weights_file;
	BrPrecision precision; /* of the packed weights */

	/* of the CPU alone; a device has copied what it needs */
	BrHelperMapping image;
	BrHelperMapping weights;
	BrEncoder *encoder;

	BrDeviceModel *loaded; /* NULL: on the CPU */
	int dimensions;
	int max_tokens;
	int vocabulary;
	int64_t bytes;
	struct BrHelperModel *next; /* the one used before it */
} BrHelperModel;

struct BrHelperCompute;

typedef struct BrHelperModels
{
	BrContext *context;
	struct BrHelperCompute *compute;
	BrHelperModel *first; /* used last */
	int64_t budget;		  /* bytes; 0: as many as there are */
	int64_t bytes;		  /* of all that are loaded */
	uint32_t n;
	uint32_t evicted; /* since the beginning */
} BrHelperModels;

/*
 * The model of a request whose numbers are checked, loaded if it is not there
 * yet: those used longest ago go where it would exceed the budget, and all
 * others where there is no memory for it.
 * BR_ERR_FORMAT: a file is missing, or not what the request says.
 */
extern BrStatus br_helper_models_get(BrHelperModels *models, const BrExchangeRequest *request,
									 BrHelperModel **model);

/* Unloads all but one, which may be NULL. false: there was nothing to unload. */
extern bool br_helper_models_make_room(BrHelperModels *models, const BrHelperModel *but);

/* ---- what computes ---- */

typedef struct BrHelperCompute
{
	/*
	 * Takes over a model whose image is mapped and whose encoder is open, checks
	 * its packed weights, and sets bytes.
	 */
	BrStatus (*load)(struct BrHelperCompute *compute, BrContext *context, BrHelperModel *model);
	void (*unload)(struct BrHelperCompute *compute, BrHelperModel *model);

	/* Ids are checked. offsets[0] is 0. */
	BrStatus (*embed)(struct BrHelperCompute *compute, BrContext *context, BrHelperModel *model,
					  const int32_t *ids, const int32_t *offsets /* (texts + 1) */, int texts,
					  float *embeddings /* (texts, dimensions) */);

	/* Copies centroids. */
	BrStatus (*place_centroids)(struct BrHelperCompute *compute, BrContext *context,
								const float *centroids /* (lists, dims) */, int lists, int dims);

	/* The nearest of them, and the squared distance. */
	BrStatus (*assign)(struct BrHelperCompute *compute, BrContext *context,
					   const float *vectors /* (n, dims) */, int n, int32_t *nearest /* (n) */,
					   float *distances /* (n) */);

	/* As it is now. model: that of the last request, NULL: none. */
	void (*tell)(struct BrHelperCompute *compute, const BrHelperModel *model, BrDeviceInfo *info);

	/* of the CPU */
	const BrBackend *backend;
	BrPool *pool;
	float *centroids; /* (lists, dims) */
	float *norms;	  /* (lists) */

	/* of a device */
	const BrDeviceTable *table;
	BrDevice *device;

	int lists; /* centroids that are placed; 0: none */
	int dims;
} BrHelperCompute;

/*
 * Both fill *compute. The context must stay as long as the process. Failures
 * have the reason as detail.
 */
extern BrStatus br_helper_open_cpu(BrHelperCompute *compute, BrContext *context,
								   const BrHelperTask *task);
extern BrStatus br_helper_open_device(BrHelperCompute *compute, BrContext *context,
									  const BrHelperTask *task);

/* The function of that name of a shared object of the backends' directory; NULL with detail. */
extern void *br_helper_load_symbol(BrContext *context, const BrHelperTask *task, const char *name,
								   const char *symbol);

/* ---- exchange.c ---- */

typedef struct BrHelperExchange
{
	int socket;
	char *lanes; /* BR_EXCHANGE_BYTES */
} BrHelperExchange;

/* BR_ERR_ARGUMENT: a descriptor is not what it should be, or the file is too short. */
extern BrStatus br_helper_open_exchange(BrHelperExchange *exchange, BrContext *context,
										const BrHelperTask *task);

/* Waits for a request. false: the service is gone, or does not talk as it should. */
extern bool br_helper_receive(const BrHelperExchange *exchange, BrExchangeRequest *request);
extern bool br_helper_send(const BrHelperExchange *exchange, const BrExchangeReply *reply);

/* A cancel callback: whether the service has gone; arg: the exchange. */
extern bool br_helper_service_gone(void *arg);

/* ---- requests.c ---- */

typedef struct BrHelper
{
	BrContext context;
	BrHelperExchange exchange;
	BrHelperCompute compute;
	BrHelperModels models;
	BrServeTrainer trainer; /* of a device that trains; else its device is NULL */
} BrHelper;

/* Checks a request, has it computed, and fills the reply. */
extern void br_helper_answer(BrHelper *helper, const BrExchangeRequest *request,
							 BrExchangeReply *reply);

/* What every reply tells: kind, status, detail, models, and the device as it is now. */
extern void br_helper_fill_reply(BrHelper *helper, BrExchangeReplyKind kind, BrStatus status,
								 const BrHelperModel *model, BrExchangeReply *reply);

#endif /* BR_HELPER_INT_H */
