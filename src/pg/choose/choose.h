/*
 * choose.h
 *	  One choice among the arms of a policy, from the request to the logged
 *	  slate.
 *
 * The path: the eligible arms and their features in the context (options.c,
 * search.c), the slate under what the policy believes (choose.c), the log (log.c).
 * Everything is palloc'd in the SPI context of the call. SPI must be connected.
 */
#ifndef BR_CHOOSE_H
#define BR_CHOOSE_H

#include "pg/br_pg.h"

#include "core/bandit/br_bandit.h"
#include "pg/policy/policy.h"

/* Largest number of slots of one choice. */
#define BR_PG_MAX_SLOTS 1000

/* A context or features as they were given. */
typedef struct BrPgGiven
{
	Oid context_type; /* InvalidOid: no context */
	Datum context;
	char **arms; /* NULL: all */
	int n_arms;
	double *features; /* NULL: those that are stored */
	int n_features;
} BrPgGiven;

/* What may be chosen, and what is known of it. */
typedef struct BrPgOptions
{
	BrPgPolicy *policy;
	const BrPgPolicyState *state;
	bool all; /* every arm of the policy's set, as it stores them */
	int n;
	int *arms;		/* (n): indexes into the state's arms; NULL: the policy is indexed */
	int32 *numbers; /* (n) of arms */
	char **names;	/* (n) of arms */
	float *stored;	/* (n, policy->arm_features), where the policy is indexed */
	int n_context;
	const float *context; /* (n_context); NULL: none */
	const float *given; /* (n, policy->arm_features): features of the call; NULL: the stored ones */
	float *features;	/* (n, dims) as the model sees them; NULL over BR_MODEL_ARM */
} BrPgOptions;

/*
 * Resolves names and computes features. slots and key: of the choice, whose
 * draws say which arms an index finds. Raises 42704 for an arm that the policy
 * does not have, 22023 for numbers that do not fit, and where nothing may be
 * chosen.
 */
extern BrPgOptions *br_pg_options(BrPgPolicy *policy, const BrPgGiven *given, int slots,
								  uint64 key);

/* What the log of a choice holds of its options; whoever may INSERT there may have written it. */
typedef struct BrPgLoggedOptions
{
	const int32 *numbers; /* (n) of arms; NULL: all */
	int n;
	const float *context; /* (n_context); NULL: none */
	int n_context;
	const float *given; /* (n_given): features of the call, arm after arm; NULL: none */
	int n_given;
} BrPgLoggedOptions;

/*
 * The same as a logged choice saw them. Raises 22023 where the numbers are not
 * as many as the policy takes.
 */
extern BrPgOptions *br_pg_options_logged(BrPgPolicy *policy, const BrPgLoggedOptions *logged);

/*
 * search.c: of an indexed policy, the arms that are the best `slots` of one of
 * the choice's draws of theta; and arms by name, or by number as of the policy's
 * arms_version.
 */
extern void br_pg_options_search(BrPgOptions *options, int slots, uint64 key);
extern void br_pg_options_find(BrPgOptions *options, char **names, const int32 *numbers, int n);

extern BrSlateRequest br_pg_options_request(const BrPgOptions *options, int slots, uint64 key);

typedef struct BrPgChoice
{
	const BrPgOptions *options;
	const char *user_id; /* NULL: nobody's */
	int wanted;
	bool seeded;
	uint64 key;
	char **positions; /* of arrange, by rank; NULL */
	BrSlate slate;
	int64 decision_id; /* 0: not logged */
} BrPgChoice;

/* Draws the slate. Raises 22023 where fewer arms are eligible than slots are wanted. */
extern void br_pg_choose(BrPgChoice *choice);

/*
 * Whether this call will write the log. log: NULL where it can be. Raises 25006
 * where true cannot be honoured, 42501 without the rights to choose.
 */
extern bool br_pg_choice_will_log(const BrPgPolicy *policy, const bool *log);
extern void br_pg_choice_log(BrPgChoice *choice);

/* Raises 42501 unless the caller may SELECT from the policy's choices. */
extern void br_pg_choice_require_reader(const BrPgPolicy *policy);

/*
 * A logged choice again: its options, and the slate as it was drawn. Raises
 * 42704 for an unknown decision or a version that is not kept.
 */
extern BrPgChoice *br_pg_choice_replay(int64 decision_id);

#endif /* BR_CHOOSE_H */
