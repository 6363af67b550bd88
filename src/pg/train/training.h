/*
 * training.h
 *	  What the files of a training at work share.
 */
#ifndef BR_PG_TRAINING_H
#define BR_PG_TRAINING_H

#include "portability/instr_time.h"

#include "pg/service/service.h"
#include "pg/train/train_int.h"

/* Rows that wait to be written. */
#define BR_PG_TRAIN_ROWS 64

/* Figures of some steps, up to one. */
typedef struct BrPgTrainRow
{
	int64 step;
	int epoch; /* from 0 */
	double seconds;
	double loss; /* the mean */
	double rate;
	double length; /* of the last one's gradient */
	double tokens_per_second;
	bool validated;
	BrTuneValidation validation;
} BrPgTrainRow;

/* What was computed, and when it was written down. */
typedef struct BrPgTrainMeter
{
	instr_time since;	   /* of the last row */
	instr_time written;	   /* when the last transaction was */
	instr_time checkpoint; /* when the last one was written, or could not be */
	double seconds;		   /* of computing up to the last row, earlier workers' included */
	double per_step;	   /* seconds, in the last row */
	int64 tokens;		   /* up to the last row */
	int64 step;			   /* of the last row */
	int64 steps;		   /* since then */
	double loss;		   /* their sum */
	int n_rows;
	BrPgTrainRow rows[BR_PG_TRAIN_ROWS];
	char *message; /* that a checkpoint failed; NULL: it did not */
} BrPgTrainMeter;

typedef struct Training
{
	BrPgTrainPlan plan;
	MemoryContext memory; /* of all this, outside of transactions */
	BrContext context;
	BrPgTrainData *data;
	BrTuneData tune_data;
	BrPgServiceTrainer *trainer; /* NULL: no device computes */
	const char *computes; /* the name of the backend, or device, that does; NULL: none has yet */
	BrTune *tune;
	BrTuneProgress progress;
	BrPgTrainMeter meter;
} Training;

/* training.c: raises 42704 */
extern void br_pg_train_refuse_dropped_model(const BrPgTrainPlan *plan);

/* ---- device.c ---- */

/*
 * Outside of a transaction: opens the service's device, in the memory of the
 * training, if it trains what the plan says and there is none open. May take seconds.
 */
extern void br_pg_train_find_device(Training *training);

/* What a tuning is to be opened with now; notes its name. */
extern BrTuneCompute br_pg_train_compute(Training *training);

/* Has the processor compute from now on, and ends the device's helper. */
extern void br_pg_train_leave_device(Training *training);

/*
 * After a call that failed: whether that may be the device's fault. Then it has been
 * left, with a WARNING that tells the context's detail, and the call is to be made
 * again.
 */
extern bool br_pg_train_lose_device(Training *training, BrStatus status);

/* In a transaction: writes down what computes. */
extern void br_pg_train_note_compute(const Training *training);

/* In a transaction: the names of all that did, in the order in which they came. */
extern char *br_pg_train_computed_by(const Training *training);

/* ---- progress.c ---- */

/* In a transaction: of a seed that begins, or goes on. */
extern void br_pg_train_begin_meter(Training *training);

/* After a step: takes it down. */
extern void br_pg_train_meter(Training *training);

/*
 * Outside of a transaction: writes figures and a checkpoint where they are due. A
 * checkpoint for which there is no room is a WARNING and a message in the job, and
 * is tried again when the next is due. Returns whether the job is still to be
 * done; raises 42704 where its model was dropped.
 */
extern bool br_pg_train_write_when_due(Training *training);

/*
 * Ends a transaction that has written; what it wrote for a job that is not to be
 * done any more must not outlive it.
 */
extern void br_pg_train_end_transaction(bool wanted);

/* In a transaction: writes down phase, progress and what computes; whether the job is still to be done. */
extern bool br_pg_train_tell(Training *training, const char *phase);

/* ---- finish.c: each outside of a transaction, and false where the job is not to be done any more ---- */

/* Where there are several seeds, keeps the image of this one if it is the best. */
extern bool br_pg_train_end_seed(Training *training);

/* Stores the model and its lineage, and forgets data and checkpoints. */
extern bool br_pg_train_store(Training *training);

/* Asks the gate where that was wanted, ends the job and tells who listens. */
extern void br_pg_train_end(Training *training);

#endif /* BR_PG_TRAINING_H */
