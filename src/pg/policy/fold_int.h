/*
 * fold_int.h
 *	  What the files of folding share: one fold under way, and rows of the log
 *	  of a catalog's decisions or of a policy's choices.
 */
#ifndef BR_FOLD_INT_H
#define BR_FOLD_INT_H

#include "pg/policy/evidence.h"
#include "pg/policy/policy.h"
#include "utils/snapshot.h"

typedef struct BrPgFold
{
	BrPgPolicy *policy;
	BrPgEvidence *evidence;
	Snapshot snapshot;	 /* that all of it is over */
	bool recounts;		 /* the evidence is made anew from the whole log */
	bool has_window;	 /* or from the part of it that is young enough */
	int64 decisions;	 /* counted now */
	int64 events;		 /* of feedback, counted now */
	int64 refused;		 /* rows of the log that make no sense */
	MemoryContext batch; /* of one statement's rows; reset after each */
} BrPgFold;

/* "decision" or "choice", and expressions of the arms and the pins of a row d of it */
extern const char *br_pg_fold_log(const BrPgPolicy *policy);
extern const char *br_pg_fold_arms(const BrPgPolicy *policy);
extern const char *br_pg_fold_pins(const BrPgPolicy *policy);

/* The slots of one decision; n 0: the row makes no sense. */
typedef struct BrPgLoggedSlots
{
	int n;
	const float *features; /* (n, dims); NULL over BR_MODEL_ARM */
	TimestampTz decided_at;
	const double *propensity; /* (n) */
	const int32 *arms;		  /* (n); NULL: of a catalog */
	const int32 *pinned;	  /* (n): 0 where the policy chose; NULL: everywhere */
} BrPgLoggedSlots;

/* Of columns 1 to 5 of the SPI result: slot_features, decided_at, propensity, arms, pins. */
extern BrPgLoggedSlots br_pg_fold_slots(const BrPgFold *fold, uint64 row);
extern BrPgSlot br_pg_fold_slot(const BrPgFold *fold, const BrPgLoggedSlots *slots, int slot);

/* Whether a rule chose and not the policy, which learns nothing from it then. */
extern bool br_pg_fold_is_pinned(const BrPgLoggedSlots *slots, int slot);

/* recount.c */
extern bool br_pg_fold_has_window(const BrPgPolicy *policy);
extern bool br_pg_fold_recounts(const BrPgPolicy *policy);
extern void br_pg_fold_recount(BrPgFold *fold);

#endif /* BR_FOLD_INT_H */
