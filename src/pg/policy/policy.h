/*
 * policy.h
 *	  Policies as the rest of src/pg sees them: what they are, by name, and what
 *	  they believe, by version.
 *
 * A policy serves a catalog, or it chooses among arms of its own and then has a
 * number in the range of catalogs' and the tables choice_<n> and feedback_<n>;
 * whoever may grant INSERT on the first owns it, whatever he is called. Versions are immutable, so what follows from one is kept for
 * the connection (state.c).
 */
#ifndef BR_POLICY_H
#define BR_POLICY_H

#include "pg/br_pg.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "core/bandit/br_bandit.h"

typedef struct BrPgPolicy
{
	int32 number;
	int32 catalog;	   /* the n of decision_<n> or choice_<n> */
	const char *owner; /* who created it; NULL: it serves the catalog, whose owner it has */
	char *name;
	const char *algorithm_name;
	BrPolicySpec spec; /* with the parameters of version */
	int32 feature_schema;
	int32 version;	/* the newest in the active snapshot, unless another was asked for */
	Jsonb *context; /* what a context is; NULL: there is none */
	int arm_features;
	bool interactions;
	bool indexed; /* arms stand in arm_<n>, and are found by an index over their features */
	int32 arms_version;
	int n_examination;
	double *examination; /* (n_examination), in (0, 1]; NULL: every slot is looked at */
	double discount;	 /* per period */
	double period;		 /* seconds */
	TimestampTz as_of;	 /* of version */
	int64 decisions;
	int64 events;
	int32 incumbent;	   /* arm number, 0: none */
	uint32 policy_xmin;	   /* who wrote what the rows say: a version that was rolled back may */
	uint32 posterior_xmin; /* come again with other content */
} BrPgPolicy;

/*
 * The policy called name, or with NULL the catalog's default, as of its newest
 * version, in the current memory context. SPI must be connected. catalog 0: of
 * any catalog, or of none. Raises 42704 where there is none and 22023 where it
 * belongs to another catalog.
 */
extern BrPgPolicy *br_pg_policy_open(int32 catalog, const char *name);

/* The same as of a version and a set of arms. Raises 42704 where that version is not kept. */
extern void br_pg_policy_at(BrPgPolicy *policy, int32 version, int32 arms_version);

/* By number; NULL where there is none. */
extern BrPgPolicy *br_pg_policy_find(int32 number);

/* The policy that has a number in place of a catalog; NULL where there is none. */
extern BrPgPolicy *br_pg_policy_of_choices(int32 catalog);

/* The evidence that all arms share, of policy->version, in the current memory context. */
extern double *br_pg_policy_shared_evidence(const BrPgPolicy *policy);

/* Raises 42501 unless the current user has the rights of who owns the policy or its catalog. */
extern void br_pg_policy_require_owner(const BrPgPolicy *policy);

/* The same as a question; false also where its catalog's source is gone. */
extern bool br_pg_policy_is_owned(const BrPgPolicy *policy);

/* Raises 22023 where it serves a catalog; function: what the message names. */
extern void br_pg_policy_require_arms(const BrPgPolicy *policy, const char *function);

/* gamma^(seconds from .. to / period), 1 for to <= from. */
extern double br_pg_policy_weight(const BrPgPolicy *policy, TimestampTz from, TimestampTz to);

/* ---- what a version believes (state.c) ---- */

typedef struct BrPgPolicyState
{
	const BrBelief *belief;
	BrPolicySpec spec; /* what belief refers to */
	int n_arms;		 /* those of arms_version, by number; 0 for a policy of a catalog or indexed */
	int32 *arms;	 /* (n_arms): their numbers */
	char **names;	 /* (n_arms) */
	float *features; /* (n_arms, arm_features); NULL: there are none */
	bool *featureless; /* (n_arms): which have none stored; NULL where arm_features = 0 */
	struct HTAB *by_name;
} BrPgPolicyState;

/*
 * State of policy->version and arms_version, kept for the connection while
 * others do not need the room: valid until the next call. SPI must be connected.
 * Raises an error that names the policy where its evidence cannot be used.
 */
extern const BrPgPolicyState *br_pg_policy_state(const BrPgPolicy *policy);

/* Lets go what is kept of a policy: a version was changed by the transaction that made it. */
extern void br_pg_policy_forget_states(int32 policy);

/* Index of the arm of that name, or number, -1: none. */
extern int br_pg_policy_arm(const BrPgPolicyState *state, const char *name);
extern int br_pg_policy_arm_number(const BrPgPolicyState *state, int32 number);

/* ---- parameters (parameters.c) ---- */

/* What params of create_policy and alter_policy may say besides the algorithm's numbers. */
typedef struct BrPgPolicySettings
{
	BrParameters parameters;
	BrModel model;
	bool model_given;
	Jsonb *context;
	int arm_features;
	bool interactions;
	bool indexed;
	bool shape_given; /* any of these five */
	double discount;
	Interval *discount_period;
	Interval *evidence_window; /* NULL: none */
	int n_examination;
	double *examination;
	int32 keep_versions;	  /* 0: all */
	Interval *keep_decisions; /* of choices; NULL: for ever */
	int32 fold_size;
	Interval *fold_every;
} BrPgPolicySettings;

/*
 * Reads params over *settings, which hold what counts where nothing is said.
 * Raises 22023 or 22003 with the name of what is wrong.
 */
extern void br_pg_policy_read_settings(const BrAlgorithm *algorithm, Jsonb *params,
									   BrPgPolicySettings *settings);

/* Of params only what says the policy's shape: model, context, arm_features, interactions, index. */
extern BrPgPolicySettings br_pg_policy_read_shape(Jsonb *params);
extern BrModel br_pg_policy_model_of(const char *name);
extern const char *br_pg_policy_model_name(BrModel model);

/* All numbers that the algorithm reads, and the discount, as stored with a version, and back. */
extern Datum br_pg_policy_write_parameters(const BrPolicySpec *spec, double discount,
										   double period);
extern void br_pg_policy_read_parameters(Jsonb *stored, BrPolicySpec *spec, double *discount,
										 double *period);

/* Seconds of an interval, a month being 30 days. */
extern double br_pg_interval_seconds(const Interval *interval);

/* ---- creating and changing ---- */

/* What create_policy is asked for. */
typedef struct BrPgPolicyRequest
{
	const char *name;
	const char *algorithm;
	int32 catalog;	  /* 0: of none */
	Oid owner;		  /* of a policy without a catalog */
	Datum parameters; /* jsonb object */
	Datum reward;	  /* jsonb object: weight per kind of feedback */
	Datum window;	  /* interval */
	bool make_default;
} BrPgPolicyRequest;

/*
 * Creates a policy, its version 0 and, without a catalog, its tables. In an
 * owner section. Raises 22023 for an unknown algorithm, parameter or value,
 * 42710 for a name in use.
 */
extern void br_pg_policy_create(const BrPgPolicyRequest *request);

/* Creates the policy a new catalog starts with, named like the catalog. In an owner section. */
extern void br_pg_policy_create_default(int32 catalog, const char *catalog_name);

/* What alter_policy is asked for; a Datum 0 leaves as it is. */
typedef struct BrPgPolicyChange
{
	Datum parameters;
	Datum reward;
	Datum window;
	bool has_default;
	bool make_default;
} BrPgPolicyChange;

/* In an owner section. */
extern void br_pg_policy_alter(const char *name, const BrPgPolicyChange *change);

/* In an owner section. Raises 2BP01 for a catalog's default policy. */
extern void br_pg_policy_drop(const BrPgPolicy *policy);

/*
 * In an owner section: adds arms, or gives them other features; returns how
 * many are new or changed. features: (n, arm_features), NULL: none are given.
 */
extern int br_pg_policy_add_arms(const char *name, char **arms, int n, const double *features);

/* In an owner section. false: it was retired before. Raises 42704 for an arm that never was. */
extern bool br_pg_policy_retire_arm(const char *name, const char *arm);

/* ---- learning ---- */

/*
 * Makes the next posterior version of a policy from the decisions whose window
 * has closed and the rewards that came in; returns its number, or the present
 * one where there is nothing new. In an owner section.
 */
extern int32 br_pg_policy_fold(const char *name);

/* Names of the caller's policies that have enough to learn, in nobody's section. */
extern char **br_pg_policy_due(int *n);

/*
 * Folds one of several, in nobody's section: an error becomes a WARNING, and
 * false is returned; a cancel is raised.
 */
extern bool br_pg_policy_try_fold(const char *name, int32 *version);

/*
 * In an owner section: waits for whoever folds or changes the policy, and opens
 * it as it is then.
 */
extern BrPgPolicy *br_pg_policy_lock(const char *name);

#endif /* BR_POLICY_H */
