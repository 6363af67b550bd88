/*
 * br_exchange.h
 *	  How the embedding service and its helper process talk.
 *
 * The helper owns the device, and nothing of PostgreSQL: it is executed, not
 * forked, inherits one socket and one anonymous file, and ends when the socket
 * closes. Bulk goes through the file, which both have mapped; the socket
 * carries one fixed record for each request and each reply. What stands in a
 * lane belongs to the service until it has sent the request, and again from the
 * reply on. Either side checks every number that the other one wrote.
 */
#ifndef BR_EXCHANGE_H
#define BR_EXCHANGE_H

#include <limits.h>

#include "core/base/br_base.h"
#include "core/math/br_backend.h"
#include "core/math/br_device.h"
#include "core/serve/br_serve_training.h"

#define BR_EXCHANGE_VERSION 2
#define BR_EXCHANGE_LANES 2 /* one is computed while the other one is filled */
#define BR_EXCHANGE_HASH 32
#define BR_EXCHANGE_PATH 1024
#define BR_EXCHANGE_MAX_LISTS 65536 /* centroids */
#define BR_EXCHANGE_MAX_DIMS 16384	/* of a vector */

/*
 * Where the contents of a packed file stand; size 0: there is none. A path that
 * is not absolute begins in the service's working directory, which the helper has
 * inherited.
 */
typedef struct BrExchangeFile
{
	char path[BR_EXCHANGE_PATH];
	uint64_t offset; /* a multiple of the page size */
	uint64_t size;
} BrExchangeFile;

typedef enum BrExchangeKind
{
	BR_EXCHANGE_EMBED = 1,
	BR_EXCHANGE_CENTROIDS, /* of later assignments */
	BR_EXCHANGE_ASSIGN,
	BR_EXCHANGE_TRAIN /* of one model at a time, on a device alone */
} BrExchangeKind;

/*
 * EMBED: the lane holds offsets (texts + 1), then ids (tokens), both int32_t;
 * the reply puts embeddings (texts, dimensions), finite ones, in their place.
 * CENTROIDS: floats (rows, dims), which take the place of those before.
 * ASSIGN: floats (rows, dims); the reply puts int32_t nearest (rows), then float
 * squared distances (rows) in their place.
 * TRAIN: the lane is the payload of a message (br_serve_training.h), and the reply's.
 */
typedef struct BrExchangeRequest
{
	uint32_t version; /* BR_EXCHANGE_VERSION */
	uint32_t kind;	  /* BrExchangeKind */
	uint32_t lane;
	uint32_t texts;
	uint32_t tokens;
	uint32_t dimensions; /* of an embedding of the model, as the service knows it */
	uint32_t rows;
	uint32_t dims;
	uint64_t number; /* of the request; the reply has it again */

	/* the model of EMBED */
	uint8_t hash[BR_EXCHANGE_HASH];
	BrExchangeFile image;
	BrExchangeFile weights; /* packed for the CPU; a device reads the image alone */
	uint32_t precision;		/* BrPrecision of the packed weights */

	BrServeTraining training; /* the message of TRAIN */
} BrExchangeRequest;

typedef enum BrExchangeReplyKind
{
	BR_EXCHANGE_READY = 1, /* the first record: with what it computes */
	BR_EXCHANGE_DONE,
	BR_EXCHANGE_FAILED /* it cannot begin, or go on: detail says why, and it ends */
} BrExchangeReplyKind;

typedef struct BrExchangeReply
{
	uint32_t version;
	uint32_t kind; /* BrExchangeReplyKind */
	uint32_t lane;
	uint32_t status; /* BrStatus */
	uint64_t number;
	double seconds;		 /* that it computed */
	uint32_t models;	 /* loaded now */
	uint32_t evicted;	 /* models, since it started */
	int64_t model_bytes; /* of the loaded ones */
	BrDeviceInfo device; /* as it is now; of the CPU: name and instructions of the backend */
	char detail[BR_DETAIL_SIZE];
} BrExchangeReply;

/* The file: lanes of so many bytes each, one behind the other. */
#define BR_EXCHANGE_LANE_BYTES (UINT64_C(32) * 1024 * 1024)
#define BR_EXCHANGE_BYTES (BR_EXCHANGE_LANES * BR_EXCHANGE_LANE_BYTES)

/*
 * How the helper is called: bundle_rec_helper --socket=FD --file=FD
 * --backends=DIR --compute=cpu|DEVICE --number=N --memory=BYTES --threads=N,
 * where DEVICE is the name of a shared object DIR/br_backend_DEVICE.so that
 * exports BR_DEVICE_SYMBOL, and N its device; memory: bytes of models that stay
 * loaded, those not used longest go first, 0: what the device has.
 */

#endif /* BR_EXCHANGE_H */
