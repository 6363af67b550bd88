/*
 * state.c
 *	  What a version of a policy believes, kept for the connection.
 *
 * To factor the evidence of a thousand arms takes longer than to choose among
 * them. Versions never change, so what follows from one is made once; policies
 * compete for the room, and who was asked least lately goes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/policy/policy.h"

/* Together no more than this, but for the one in use. */
#define MOST_BYTES ((Size) 16 * 1024 * 1024)

typedef struct KeptState
{
	struct KeptState *next; /* the less lately used */
	int32 policy;
	int32 version;
	int32 arms_version;
	uint32 policy_xmin;
	uint32 posterior_xmin;
	MemoryContext memory;
	BrPgPolicyState state;
} KeptState;

typedef struct NamedArm
{
	const char *name; /* the key */
	int index;
} NamedArm;

static KeptState *kept_states = NULL;

/* ---- reading ---- */

static void
read_features(const BrPgPolicy *policy, uint64 row, BrPgPolicyState *state)
{
	int n;
	const float *features = br_pg_column_elements(row, 3, &n);

	(void) br_pg_column(row, 3, &state->featureless[row]);
	if (state->featureless[row])
		return;
	if (n != policy->arm_features)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("arm \"%s\" of policy \"%s\" does not have %d features", state->names[row],
						policy->name, policy->arm_features)));
	memcpy(state->features + row * n, features, sizeof(float) * n);
}

static void
name_arms(BrPgPolicyState *state)
{
	state->by_name = br_pg_text_table("bundle_rec arms", Max(state->n_arms, 16), sizeof(NamedArm),
									  CurrentMemoryContext);
	for (int i = 0; i < state->n_arms; i++)
	{
		NamedArm *arm = hash_search(state->by_name, &state->names[i], HASH_ENTER, NULL);

		arm->index = i;
	}
}

static void
read_arms(const BrPgPolicy *policy, BrPgPolicyState *state)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(policy->number), Int32GetDatum(policy->arms_version)};
	uint64 n;

	if (policy->owner == NULL || policy->indexed)
		return;
	n = br_pg_execute("SELECT arm, name, features FROM bundle_rec.arm WHERE policy = $1"
					  " AND added <= $2 AND (retired IS NULL OR retired > $2) ORDER BY arm",
					  2, types, values, NULL, true, 0);
	state->n_arms = (int) n;
	state->arms = palloc(sizeof(int32) * Max(n, 1));
	state->names = palloc(sizeof(char *) * Max(n, 1));
	if (policy->arm_features > 0)
	{
		state->features = palloc0(sizeof(float) * Max(n * policy->arm_features, 1));
		state->featureless = palloc(sizeof(bool) * Max(n, 1));
	}
	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;

		state->arms[row] = DatumGetInt32(br_pg_column(row, 1, &is_null));
		state->names[row] = br_pg_column_text(row, 2);
		if (policy->arm_features > 0)
			read_features(policy, row, state);
	}
	name_arms(state);
	SPI_freetuptable(SPI_tuptable);
}

int
br_pg_policy_arm_number(const BrPgPolicyState *state, int32 number)
{
	int low = 0, high = state->n_arms - 1;

	while (low <= high)
	{
		int middle = (low + high) / 2;

		if (state->arms[middle] == number)
			return middle;
		if (state->arms[middle] < number)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return -1;
}

/* one row of posterior_arm: the arm's number, evidence and when that was as it is */
static void
read_arm_evidence(const BrPgPolicy *policy, const BrPgPolicyState *state, uint64 row,
				  const double **evidence)
{
	bool is_null;
	int arm = br_pg_policy_arm_number(state, DatumGetInt32(br_pg_column(row, 1, &is_null)));
	size_t n = br_bandit_arm_length(&policy->spec);
	const double *stored;
	double *values;
	int n_stored;

	if (arm < 0)
		return;
	stored = br_pg_column_elements(row, 2, &n_stored);
	if ((size_t) n_stored != n)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("version %d of policy \"%s\" does not fit its model", policy->version,
						policy->name),
				 errdetail("The evidence of arm \"%s\" does not have %zu numbers.",
						   state->names[arm], n)));
	values = memcpy(palloc(sizeof(double) * n), stored, sizeof(double) * n);
	if (!br_bandit_algorithm_refits(policy->spec.algorithm))
		br_bandit_evidence_scale(values, n,
								 br_pg_policy_weight(policy,
													 DatumGetTimestampTz(
														 br_pg_column(row, 3, &is_null)),
													 policy->as_of));
	evidence[arm] = values;
}

static const double **
read_evidence(const BrPgPolicy *policy, const BrPgPolicyState *state)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(policy->number), Int32GetDatum(policy->version)};
	const double **evidence;
	uint64 n;

	if (state->n_arms == 0 || br_bandit_arm_length(&policy->spec) == 0)
		return NULL;
	evidence = palloc0(sizeof(double *) * state->n_arms);
	n = br_pg_execute("SELECT DISTINCT ON (arm) arm, evidence, as_of FROM bundle_rec.posterior_arm"
					  " WHERE policy = $1 AND version <= $2 ORDER BY arm, version DESC",
					  2, types, values, NULL, true, 0);
	for (uint64 row = 0; row < n; row++)
		read_arm_evidence(policy, state, row, evidence);
	SPI_freetuptable(SPI_tuptable);
	return evidence;
}

/* ---- beliefs ---- */

/* the state in the memory context `memory`, which nothing else is in */
static void
make_state(const BrPgPolicy *policy, MemoryContext memory, BrPgPolicyState *state)
{
	MemoryContext before = MemoryContextSwitchTo(memory);
	BrPolicyEvidence evidence = {.incumbent = -1};
	BrContext context;
	BrBelief *belief;
	BrPgRights rights;

	state->spec = policy->spec;
	if (policy->spec.prior_mean != NULL)
	{
		double *mean = palloc(sizeof(double) * policy->spec.dims);

		memcpy(mean, policy->spec.prior_mean, sizeof(double) * policy->spec.dims);
		state->spec.prior_mean = mean;
	}
	br_pg_enter_owner(&rights);
	read_arms(policy, state);
	MemoryContextSwitchTo(before);
	evidence.shared = br_pg_policy_shared_evidence(policy);
	evidence.arms = read_evidence(policy, state);
	evidence.n_arms = evidence.arms != NULL ? state->n_arms : 0;
	if (policy->incumbent > 0)
		evidence.incumbent = br_pg_policy_arm_number(state, policy->incumbent);
	br_pg_leave(&rights);

	br_pg_context(&context, memory);
	br_pg_check(br_bandit_believe(&context, &state->spec, &evidence, &belief), &context,
				psprintf("what policy \"%s\" has learned cannot be used", policy->name),
				"Check the values that feedback was given with, and raise prior_precision.");
	state->belief = belief;
}

/* ---- the kept ones ---- */

static bool
is_of(const KeptState *kept, const BrPgPolicy *policy)
{
	return kept->policy == policy->number && kept->version == policy->version &&
		kept->arms_version == policy->arms_version && kept->policy_xmin == policy->policy_xmin &&
		kept->posterior_xmin == policy->posterior_xmin;
}

/* what is beyond the bound, the first apart */
static void
forget_least_used(void)
{
	Size bytes = 0;
	KeptState **place = &kept_states;

	while (*place != NULL)
	{
		KeptState *kept = *place;

		bytes += MemoryContextMemAllocated(kept->memory, true);
		if (bytes > MOST_BYTES && kept != kept_states)
		{
			*place = kept->next;
			MemoryContextDelete(kept->memory);
		}
		else
			place = &kept->next;
	}
}

void
br_pg_policy_forget_states(int32 policy)
{
	KeptState **place = &kept_states;

	while (*place != NULL)
	{
		KeptState *kept = *place;

		if (kept->policy == policy)
		{
			*place = kept->next;
			MemoryContextDelete(kept->memory);
		}
		else
			place = &kept->next;
	}
}

const BrPgPolicyState *
br_pg_policy_state(const BrPgPolicy *policy)
{
	KeptState *kept;
	MemoryContext memory;

	for (KeptState **place = &kept_states; *place != NULL; place = &(*place)->next)
		if (is_of(*place, policy))
		{
			kept = *place;
			*place = kept->next;
			kept->next = kept_states;
			kept_states = kept;
			return &kept->state;
		}

	memory = AllocSetContextCreate(CurrentMemoryContext, "bundle_rec policy", ALLOCSET_SMALL_SIZES);
	kept = MemoryContextAllocZero(memory, sizeof(KeptState));
	kept->memory = memory;
	kept->policy = policy->number;
	kept->version = policy->version;
	kept->arms_version = policy->arms_version;
	kept->policy_xmin = policy->policy_xmin;
	kept->posterior_xmin = policy->posterior_xmin;
	make_state(policy, memory, &kept->state);

	MemoryContextSetParent(memory, TopMemoryContext);
	kept->next = kept_states;
	kept_states = kept;
	forget_least_used();
	return &kept->state;
}

int
br_pg_policy_arm(const BrPgPolicyState *state, const char *name)
{
	NamedArm *arm = hash_search(state->by_name, &name, HASH_FIND, NULL);

	return arm != NULL ? arm->index : -1;
}
