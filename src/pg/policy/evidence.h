/*
 * evidence.h
 *	  The evidence of a policy's next version, while it is being made.
 */
#ifndef BR_EVIDENCE_H
#define BR_EVIDENCE_H

#include "pg/policy/policy.h"

typedef struct BrPgEvidence
{
	const BrPgPolicy *policy; /* as of the version before */
	TimestampTz as_of;		  /* of the next one: never before the last one's */
	bool from_nothing;		  /* counted anew, from the log */
	double *shared;
	struct HTAB *arms; /* those touched; NULL where arms have no evidence */
	MemoryContext memory;
} BrPgEvidence;

/* A slot that was shown, or a reward that it received. */
typedef struct BrPgSlot
{
	int32 arm;			   /* 0 for a policy of a catalog */
	const float *features; /* (dims); NULL over BR_MODEL_ARM */
	TimestampTz decided_at;
	double examination; /* share of times that the slot is looked at, in (0, 1] */
	double propensity;	/* > 0 */
} BrPgSlot;

/*
 * Evidence to add to, discounted to now; from_nothing: without what was counted.
 * In an owner section, which holds the policy; SPI connected.
 */
extern BrPgEvidence *br_pg_evidence_open(const BrPgPolicy *policy, bool from_nothing);

/*
 * A slot weighs gamma^age, its decision's age. Where it is looked at only with
 * probability kappa, an arm's count grows by kappa, and the features of a linear
 * model are multiplied by it (position-based model).
 */
extern void br_pg_evidence_add_slot(BrPgEvidence *evidence, const BrPgSlot *slot);

/* before: the sum of rewards of the slot that were counted before this one. */
extern void br_pg_evidence_add_reward(BrPgEvidence *evidence, const BrPgSlot *slot, double before,
									  double added);

/* Evidence of an arm, or shared for arm 0, to overwrite (algorithms that refit). */
extern double *br_pg_evidence_of(BrPgEvidence *evidence, int32 arm);

/*
 * Stores the next version, with its incumbent where the algorithm has one, and
 * lets go what keep_versions does not keep. Returns its number.
 */
extern int32 br_pg_evidence_store(BrPgEvidence *evidence, int64 decisions, int64 events);

#endif /* BR_EVIDENCE_H */
