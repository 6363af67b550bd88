/*
 * br_serve_training.h
 *	  Training on a device that another process has.
 *
 * One side has a device in its own process: a trainer, which answers messages.
 * The other side has a device that is none (br_device.h): its training functions
 * fill a message and the payload that both sides have mapped, have it answered,
 * and take the answer. So who trains (br_train.h) need not know where the device is.
 * One message is on its way at a time. Parameters and gradients go in pieces, for
 * which the payload may be too small; all else must fit into it.
 *
 * What the other side wrote is checked before it is used, by both: it may be
 * damaged, or of another program.
 */
#ifndef BR_SERVE_TRAINING_H
#define BR_SERVE_TRAINING_H

#include "core/base/br_base.h"
#include "core/math/br_device.h"

typedef enum BrServeTrainingKind
{
	BR_SERVE_OPEN = 1,	 /* payload: where tensors stand (training_shape.c), then the buckets */
	BR_SERVE_CLOSE,		 /* nothing */
	BR_SERVE_PARAMETERS, /* a piece of them; with the last one they are set */
	BR_SERVE_EMBED,		 /* offsets (texts + 1), ids (tokens); the answer: embeddings */
	BR_SERVE_BACK,		 /* the slope of the embeddings */
	BR_SERVE_GRADIENT	 /* the answer: a piece of it; with the first one it is taken */
} BrServeTrainingKind;

/* A message: numbers alone, the same in both processes. */
typedef struct BrServeTraining
{
	uint32_t kind; /* BrServeTrainingKind */

	/* EMBED */
	uint32_t texts;
	uint32_t tokens;
	uint32_t drop;
	uint32_t drop_attention;
	uint32_t unused;
	uint64_t key;
	uint64_t first_token;
	uint64_t memory;

	/* PARAMETERS, GRADIENT: the piece */
	uint64_t at;
	uint64_t count;

	/* OPEN: as in BrTransformer */
	uint64_t n; /* parameters */
	int32_t hidden;
	int32_t layers;
	int32_t heads;
	int32_t intermediate;
	int32_t vocabulary;
	int32_t positions;
	int32_t max_tokens;
	int32_t dimensions;
	int32_t first_position;
	int32_t activation;
	int32_t pooling;
	int32_t steps;
	int32_t buckets;
	float epsilon;
} BrServeTraining;

/* ---- the side that has no device ---- */

/* How messages are answered. */
typedef struct BrServeChannel
{
	void *payload; /* of this side, at a multiple of 8 */
	size_t bytes;

	/*
	 * Has a message answered. The trainer's status and detail; BR_ERR_CANCELLED:
	 * this side's caller gave up; BR_ERR_DEVICE: there will be no answer. After
	 * these two no message is sent any more.
	 */
	BrStatus (*ask)(void *arg, BrContext *context, const BrServeTraining *message);
	void *arg;
} BrServeChannel;

/* What to train with: its functions of training, which take a device of br_serve_connect. */
extern const BrDeviceTable *br_serve_training_table(void);

/*
 * The device at the other end, which can have one training open. The channel and
 * the allocator of the context must outlive it.
 */
extern BrStatus br_serve_connect(BrContext *context, const BrServeChannel *channel,
								 BrDevice **device);
extern void br_serve_disconnect(BrDevice *device); /* sends nothing; NULL is ignored */

/* ---- the side that has it ---- */

typedef struct BrServeTrainer
{
	BrContext *context;
	const BrDeviceTable *table;
	BrDevice *device;
	BrDeviceTraining *training; /* NULL: none is open */
	size_t n;
	int dimensions;
	int texts;	   /* of the last batch */
	float *floats; /* (n): parameters that are coming, or a gradient that goes */
} BrServeTrainer;

/* device: that does train. All three must outlive the trainer. */
extern void br_serve_trainer_init(BrServeTrainer *trainer, BrContext *context,
								  const BrDeviceTable *table, BrDevice *device);

/* Closes what is open. */
extern void br_serve_trainer_release(BrServeTrainer *trainer);

/*
 * Answers a message into its payload. BR_ERR_ARGUMENT: it is wrong, and nothing
 * has changed; all else is as the device has it. A training that is open goes
 * when another one is opened.
 */
extern BrStatus br_serve_trainer_answer(BrServeTrainer *trainer, const BrServeTraining *message,
										void *payload, size_t bytes);

#endif /* BR_SERVE_TRAINING_H */
