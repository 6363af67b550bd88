/*
 * policy.h
 *	  Policies as the rest of src/pg sees them: parameters and the newest
 *	  posterior, by name.
 */
#ifndef BR_POLICY_H
#define BR_POLICY_H

#include "pg/br_pg.h"

#include "core/bandit/br_bandit.h"

typedef struct BrPgPolicy
{
	int32 number;
	int32 catalog;
	char *name;
	BrAlgorithm algorithm;
	const char *algorithm_name;
	int32 feature_schema;
	double epsilon;
	int32 draws;
	double diversity;
	int dims;
	double *prior_mean; /* (dims) */
	double prior_precision;
	double noise;
	int32 version;	  /* of the newest posterior in the active snapshot */
	double *evidence; /* (br_bandit_evidence_length(dims)) */
	int64 decisions;
	int64 events;
} BrPgPolicy;

/*
 * The policy called name, or with NULL the catalog's default, with its newest
 * posterior, in the current memory context. SPI must be connected. catalog 0:
 * of any catalog. Raises 42704 where there is none and 22023 where it belongs
 * to another catalog.
 */
extern BrPgPolicy *br_pg_policy_open(int32 catalog, const char *name);

/* What create_policy is asked for. */
typedef struct BrPgPolicyRequest
{
	const char *name;
	const char *algorithm;
	int32 catalog;
	Datum parameters; /* jsonb object */
	Datum reward;	  /* jsonb object: weight per kind of feedback */
	Datum window;	  /* interval */
	bool make_default;
} BrPgPolicyRequest;

/*
 * Creates a policy and its version 0. In an owner section. Raises 22023 for an
 * unknown algorithm, parameter or value, 42710 for a name in use.
 */
extern void br_pg_policy_create(const BrPgPolicyRequest *request);

/* Creates the policy a new catalog starts with, named like the catalog. In an owner section. */
extern void br_pg_policy_create_default(int32 catalog, const char *catalog_name);

/*
 * Makes the next posterior version of a policy from the decisions whose window
 * has closed and the rewards that came in; returns its number, or the present
 * one where there is nothing new. In an owner section.
 */
extern int32 br_pg_policy_fold(const char *name);

#endif /* BR_POLICY_H */
