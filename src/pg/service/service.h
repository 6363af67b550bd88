/*
 * service.h
 *	  The door of the embedding service: one process computes for all connections.
 *
 * Loaded with shared_preload_libraries, the library asks for a ring of slots in
 * shared memory and starts a worker, which has no database. A connection
 * tokenizes, puts token ids into slots and waits; the worker batches what waits,
 * across connections, and has a helper process compute it (helper.h).
 */
#ifndef BR_SERVICE_H
#define BR_SERVICE_H

#include "access/htup.h"
#include "access/tupdesc.h"

#include "core/ann/br_ann.h"
#include "core/math/br_device.h"
#include "pg/br_pg.h"
#include "pg/model/packed_file.h"

/* From _PG_init: hooks, settings and the worker, while libraries are preloaded; else the settings alone. */
extern void br_pg_service_init(void);

/* A model as the service maps it: files that are there already, and stay for as long as the call. */
typedef struct BrPgServiceModel
{
	BrPgPackedKey image;
	BrPgPackedKey weights; /* size 0: none */
	BrPrecision precision; /* of the weights */
	int dimensions;
} BrPgServiceModel;

/*
 * Whether texts of this session go to the service now: it is there, and the
 * session left backend and precision to it (auto). Cheap.
 */
extern bool br_pg_service_wanted(void);

/* Whether it computes as sessions do, with weights that their backend has packed. */
extern bool br_pg_service_wants_weights(void);

/*
 * The precision class in which a device computes for this session now; -1: none
 * does, and what is computed is as the session would compute it.
 */
extern int br_pg_service_precision(void);

/* Whether a device is not there yet, but may be within seconds: the service is starting. */
extern bool br_pg_service_starts(void);

/*
 * Embeds token ids, as br_encoder_embed_tokens does; ids and lengths are checked.
 * Only where it is wanted. The precision class of what was computed
 * (br_pg_precision_name); -1: it could not, after a WARNING once for each failure
 * of the service, and the caller computes itself. Cancellable within 100 ms, and
 * leaves nothing behind then.
 */
extern int br_pg_service_embed(const BrPgServiceModel *model, const int32 *ids,
							   const int32 *offsets /* (n + 1) */, int n,
							   float *embeddings /* (n, dimensions) */);

/*
 * An assigner that has the service's device assign so many vectors, k-means's
 * included, in a helper process of this session's own, so that neither they wait
 * for texts nor texts for them. NULL: no device computes for this session, it would
 * not pay, or, after a WARNING, it does not start. It goes with the current memory
 * context, and so after an error too. One at a time; another one is NULL. Can be
 * cancelled.
 */
extern BrAssigner *br_pg_service_open_assigner(double vectors, int lists, int dims);

/* After each call of br_ann.h: a WARNING where it has failed, the first time. NULL is ignored. */
extern void br_pg_service_tell_assigner(BrAssigner *assigner);

/* Ends the helper before the memory goes. NULL is ignored. */
extern void br_pg_service_close_assigner(BrAssigner *assigner);

/* What a model is trained with (br_train.h): the device, and its functions. */
typedef struct BrPgServiceTrainer
{
	const BrDeviceTable *table;
	BrDevice *device;
	const char *name; /* of the device's library, such as "cuda" */
} BrPgServiceTrainer;

/*
 * The service's device for training, in a helper process of this session's, or
 * worker's, own; waits for a service that is only just starting, as after a restart of
 * the server. NULL: no device computes for this session, or, after a WARNING, it
 * does not start; then the processor trains. It goes with the current memory
 * context, and so after an error too. One at a time; another one is NULL. The
 * allocator of the context must outlive it. After BR_ERR_DEVICE or
 * BR_ERR_CANCELLED of a training it is to be closed. Can be cancelled.
 */
extern BrPgServiceTrainer *br_pg_service_open_trainer(BrContext *context);

/*
 * Ends the helper before the memory goes. What is trained must not be trained on, but
 * may be closed later: the device is there as long as the memory, and fails at once.
 * NULL is ignored.
 */
extern void br_pg_service_close_trainer(BrPgServiceTrainer *trainer);

/* The row of the view gpu; NULL where the library is not preloaded. */
extern HeapTuple br_pg_service_info(TupleDesc descriptor);

/* The worker's entry point; its name stands in worker.c. */
extern PGDLLEXPORT void br_service_main(Datum argument);

#endif /* BR_SERVICE_H */
