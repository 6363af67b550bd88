/*
 * choices.h
 *	  Examples for a ranker: what was taken beside what could have been.
 */
#ifndef BR_PG_LEARN_CHOICES_H
#define BR_PG_LEARN_CHOICES_H

#include "core/bundle/br_bundle.h"
#include "pg/learn/learn_int.h"

/* Grows group by group; palloc'd in the context in which it was created. */
typedef struct BrPgChoices
{
	MemoryContext memory;
	int64 groups;
	int64 n;	/* candidates */
	int64 room; /* of them */
	int64 group_room;
	int64_t *starts;
	float *values;	/* (n, BR_FEATURE_COUNT) */
	float *weights; /* (n) */
	uint8_t *taken; /* (n) */
} BrPgChoices;

extern BrPgChoices *br_pg_choices_create(void);
extern void br_pg_choices_add(BrPgChoices *choices, const float *values, double weight, bool taken);
extern void br_pg_choices_end_group(BrPgChoices *choices);

/*
 * One group out of n things with features (n, BR_FEATURE_COUNT): what was taken,
 * the strongest of the others by each feature, and some drawn from the rest,
 * who stand for all of it. left_out: (n), not to be offered.
 */
extern void br_pg_choices_add_group(BrPgChoices *choices, const float *features, int n,
									const bool *left_out, int taken, uint64 key);

/*
 * Weights of a ranker over the choices, ending in a probability that is
 * calibrated on a fifth of the groups that the weights were not fitted to, and
 * figures of both. Returns NULL, or why there is none.
 */
extern const char *br_pg_choices_fit(const BrPgChoices *choices, double l2, double robustness,
									 BrPgLearned *learned);

#endif /* BR_PG_LEARN_CHOICES_H */
