/*
 * lineage.h
 *	  The door of models that are made of others: storing one, and what it came from.
 *
 * A model that was trained or compressed is stored as any other. A row of
 * stored_lineage says besides of which model, by which job and from which data
 * it was made, so that it can be made again, and that a gate knows which
 * sessions it has seen. SPI must be connected.
 */
#ifndef BR_PG_LINEAGE_H
#define BR_PG_LINEAGE_H

#include "datatype/timestamp.h"

#include "pg/br_pg.h"

#include "utils/jsonb.h"

typedef struct BrPgLineage
{
	const char *made_by; /* "train" or "compress" */
	int32 parent;		 /* number of the model that it was made of */
	int64 job;			 /* 0: no job made it */
	const char *catalog; /* whose data it was made from; NULL: none */
	const char *objective;
	const char *method;
	Jsonb *parameters; /* all of them, defaults written out */
	int64 seed;
	Jsonb *data;			   /* what was learned from: counts, and the SHA-256 of the snapshot */
	TimestampTz learned_until; /* of the latest event among it; DT_NOBEGIN: no event is.
								* What is stored is not before the parent's. */
	Jsonb *figures;			   /* what came of it */
	const char *backend;
	int threads;
} BrPgLineage;

/*
 * Stores an image of an encoder as a model under a new name, for the current
 * user, with its lineage; returns its number. Raises 42710 where the name is
 * taken, 22023 for an empty one, 25006 where nothing may be written, 42704 where
 * the parent is gone.
 */
extern int32 br_pg_model_store(const char *name, const void *image, size_t size,
							   const BrPgLineage *lineage);

/* Raises 42710 and 22023 as above, before the work that the name is for. */
extern void br_pg_model_require_new_name(const char *name);

/* Time of the latest event that a model learned from, as its lineage has it; DT_NOBEGIN: none. */
extern TimestampTz br_pg_model_learned_until(int32 model);

/*
 * The image of a model, for br_encoder_with_weights; valid as long as
 * br_pg_model_encoder's. Raises 42704 if the model is gone.
 */
extern const void *br_pg_model_image(int32 model, size_t *size);

/*
 * The model from which the first of all trainings began that led to a model: an
 * ancestor that has learned from nobody's data here. The model itself, where none
 * did; 0 where it is gone, or a model on the way to it is.
 */
extern int32 br_pg_model_before_training(int32 model);

#endif /* BR_PG_LINEAGE_H */
