/*
 * evidence.c
 *	  The evidence of a policy's next version.
 *
 * Only arms that something was learned of get a row of the new version: of the
 * others the row before still holds, as it was at its own time. A discount
 * makes that older row smaller when it is read, not when a version is made.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/policy/evidence.h"

typedef struct ArmEvidence
{
	int32 arm; /* the key */
	double *evidence;
} ArmEvidence;

BrPgEvidence *
br_pg_evidence_open(const BrPgPolicy *policy, bool from_nothing)
{
	BrPgEvidence *evidence = palloc0(sizeof(BrPgEvidence));
	HASHCTL control = {
		.keysize = sizeof(int32),
		.entrysize = sizeof(ArmEvidence),
		.hcxt = CurrentMemoryContext,
	};
	size_t n = br_bandit_shared_length(&policy->spec);
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	evidence->policy = policy;
	evidence->as_of = Max(now, policy->as_of);
	evidence->from_nothing = from_nothing;
	evidence->memory = CurrentMemoryContext;
	if (from_nothing)
		evidence->shared = palloc0(sizeof(double) * n);
	else
	{
		evidence->shared = br_pg_policy_shared_evidence(policy);
		br_bandit_evidence_scale(evidence->shared, n,
								 br_pg_policy_weight(policy, policy->as_of, evidence->as_of));
	}
	if (br_bandit_arm_length(&policy->spec) > 0)
		evidence->arms =
			hash_create("bundle_rec evidence", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return evidence;
}

/* what the newest row of an arm says, discounted to evidence->as_of */
static void
read_arm(const BrPgEvidence *evidence, int32 arm, double *values, size_t n)
{
	static const Oid types[] = {INT4OID, INT4OID};
	const BrPgPolicy *policy = evidence->policy;
	Datum arguments[] = {Int32GetDatum(policy->number), Int32GetDatum(arm)};
	const double *stored;
	int n_stored;
	bool is_null;
	SPITupleTable *caller = SPI_tuptable;
	BrPgRights rights;

	br_pg_enter_owner(&rights);

	if (br_pg_execute("SELECT evidence, as_of FROM bundle_rec.posterior_arm"
					  " WHERE policy = $1 AND arm = $2 ORDER BY version DESC LIMIT 1",
					  2, types, arguments, NULL, false, 1) > 0)
	{
		stored = br_pg_column_elements(0, 1, &n_stored);
		if ((size_t) n_stored != n)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the evidence of arm number %d of policy \"%s\" does not fit its model",
							arm, policy->name)));
		memcpy(values, stored, sizeof(double) * n);
		br_bandit_evidence_scale(values, n,
								 br_pg_policy_weight(policy,
													 DatumGetTimestampTz(
														 br_pg_column(0, 2, &is_null)),
													 evidence->as_of));
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = caller;
	br_pg_leave(&rights);
}

double *
br_pg_evidence_of(BrPgEvidence *evidence, int32 arm)
{
	size_t n = br_bandit_arm_length(&evidence->policy->spec);
	ArmEvidence *entry;
	bool found;

	if (evidence->arms == NULL)
		return evidence->shared;
	entry = hash_search(evidence->arms, &arm, HASH_ENTER, &found);
	if (!found)
	{
		entry->evidence = MemoryContextAllocZero(evidence->memory, sizeof(double) * n);
		if (!evidence->from_nothing)
			read_arm(evidence, arm, entry->evidence, n);
	}
	return entry->evidence;
}

/* the slot's features, times how often it is looked at */
static const float *
examined(const BrPgEvidence *evidence, const BrPgSlot *slot, float *scaled)
{
	int dims = evidence->policy->spec.dims;

	if (slot->features == NULL || slot->examination == 1)
		return slot->features;
	for (int i = 0; i < dims; i++)
		scaled[i] = (float) (slot->examination * slot->features[i]);
	return scaled;
}

void
br_pg_evidence_add_slot(BrPgEvidence *evidence, const BrPgSlot *slot)
{
	const BrPolicySpec *spec = &evidence->policy->spec;
	double *arm = evidence->arms != NULL ? br_pg_evidence_of(evidence, slot->arm) : NULL;
	double weight = br_pg_policy_weight(evidence->policy, slot->decided_at, evidence->as_of);
	float scaled[BR_BANDIT_MAX_DIMS];

	if (spec->model == BR_MODEL_ARM)
		weight *= slot->examination;
	br_bandit_add_slot(spec, evidence->shared, arm, examined(evidence, slot, scaled), weight);
}

void
br_pg_evidence_add_reward(BrPgEvidence *evidence, const BrPgSlot *slot, double before, double added)
{
	const BrPolicySpec *spec = &evidence->policy->spec;
	double *arm = evidence->arms != NULL ? br_pg_evidence_of(evidence, slot->arm) : NULL;
	double weight = br_pg_policy_weight(evidence->policy, slot->decided_at, evidence->as_of);
	float scaled[BR_BANDIT_MAX_DIMS];

	if (br_bandit_algorithm_bounded(spec->algorithm))
	{
		double after = Min(Max(before + added, 0), 1);

		before = Min(Max(before, 0), 1);
		added = after - before;
	}
	br_bandit_add_reward(spec, evidence->shared, arm, examined(evidence, slot, scaled), weight,
						 slot->propensity, before, added);
}

/* ---- storing ---- */

static void
insert_version(const BrPgEvidence *evidence, int64 decisions, int64 events)
{
	static const Oid types[] = {INT4OID, INT4OID, FLOAT8ARRAYOID, INT8OID, INT8OID, TIMESTAMPTZOID};
	const BrPgPolicy *policy = evidence->policy;
	Datum values[] = {
		Int32GetDatum(policy->number),
		Int32GetDatum(policy->version),
		br_pg_float8_array(evidence->shared, (int) br_bandit_shared_length(&policy->spec)),
		Int64GetDatum(policy->decisions + decisions),
		Int64GetDatum(policy->events + events),
		TimestampTzGetDatum(evidence->as_of),
	};

	br_pg_execute("INSERT INTO bundle_rec.posterior (policy, version, feature_schema, parameters,"
				  " evidence, incumbent, decisions, events, as_of)"
				  " SELECT policy, version + 1, feature_schema, parameters, $3, incumbent, $4, $5,"
				  " $6 FROM bundle_rec.posterior WHERE policy = $1 AND version = $2",
				  lengthof(types), types, values, NULL, false, 0);
}

static void
insert_arms(const BrPgEvidence *evidence)
{
	static const Oid types[] = {INT4OID, INT4OID, INT4OID, TIMESTAMPTZOID, FLOAT8ARRAYOID};
	const BrPgPolicy *policy = evidence->policy;
	HASH_SEQ_STATUS sequence;
	ArmEvidence *entry;

	if (evidence->arms == NULL)
		return;
	hash_seq_init(&sequence, evidence->arms);
	while ((entry = hash_seq_search(&sequence)) != NULL)
	{
		Datum values[] = {
			Int32GetDatum(policy->number),
			Int32GetDatum(entry->arm),
			Int32GetDatum(policy->version + 1),
			TimestampTzGetDatum(evidence->as_of),
			br_pg_float8_array(entry->evidence, (int) br_bandit_arm_length(&policy->spec)),
		};

		br_pg_execute("INSERT INTO bundle_rec.posterior_arm (policy, arm, version, as_of, evidence)"
					  " VALUES ($1, $2, $3, $4, $5)",
					  lengthof(types), types, values, NULL, false, 0);
		pfree(DatumGetPointer(values[4]));
	}
}

/* what was counted anew says nothing of arms that no slot is left of */
static void
empty_other_arms(const BrPgEvidence *evidence)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(evidence->policy->number)};
	uint64 n;
	int32 *arms;

	if (!evidence->from_nothing || evidence->arms == NULL)
		return;
	n = br_pg_execute("SELECT DISTINCT arm FROM bundle_rec.posterior_arm WHERE policy = $1", 1,
					  types, values, NULL, false, 0);
	arms = palloc(sizeof(int32) * Max(n, 1));
	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;

		arms[row] = DatumGetInt32(br_pg_column(row, 1, &is_null));
	}
	for (uint64 row = 0; row < n; row++)
		(void) br_pg_evidence_of(unconstify(BrPgEvidence *, evidence), arms[row]);
}

/* the incumbent that follows from the version just stored */
static void
set_incumbent(const BrPgEvidence *evidence)
{
	static const Oid types[] = {INT4OID, INT4OID, INT4OID};
	BrPgPolicy *policy;
	const BrPgPolicyState *state;
	bool *allowed;
	int incumbent;
	Datum values[3];

	if (!br_bandit_algorithm_has_incumbent(evidence->policy->spec.algorithm))
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	policy = br_pg_policy_find(evidence->policy->number);
	state = br_pg_policy_state(policy);
	allowed = palloc(sizeof(bool) * Max(state->n_arms, 1));
	memset(allowed, true, sizeof(bool) * Max(state->n_arms, 1));
	incumbent = policy->incumbent > 0 ? br_pg_policy_arm_number(state, policy->incumbent) : -1;
	incumbent = br_bandit_next_incumbent(state->belief, incumbent, allowed);
	if (incumbent >= 0)
	{
		values[0] = Int32GetDatum(policy->number);
		values[1] = Int32GetDatum(policy->version);
		values[2] = Int32GetDatum(state->arms[incumbent]);
		br_pg_execute("UPDATE bundle_rec.posterior SET incumbent = $3"
					  " WHERE policy = $1 AND version = $2",
					  3, types, values, NULL, false, 0);
		br_pg_policy_forget_states(policy->number);
	}
	PopActiveSnapshot();
}

/* $2: the newest version */
static void
drop_old_versions(int32 policy, int32 version)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(policy), Int32GetDatum(version)};

	if (br_pg_execute("DELETE FROM bundle_rec.posterior o USING bundle_rec.policy p"
					  " WHERE o.policy = $1 AND p.policy = $1 AND p.keep_versions IS NOT NULL"
					  " AND o.version <= $2 - p.keep_versions",
					  2, types, values, NULL, false, 0) == 0)
		return;
	/* of each arm the newest row that the oldest version left still needs */
	br_pg_execute("DELETE FROM bundle_rec.posterior_arm a WHERE a.policy = $1 AND EXISTS ("
				  "SELECT FROM bundle_rec.posterior_arm n WHERE n.policy = $1 AND n.arm = a.arm"
				  " AND n.version > a.version AND n.version <= (SELECT pg_catalog.min(o.version)"
				  " FROM bundle_rec.posterior o WHERE o.policy = $1 AND o.version <= $2))",
				  2, types, values, NULL, false, 0);
}

int32
br_pg_evidence_store(BrPgEvidence *evidence, int64 decisions, int64 events)
{
	int32 version = evidence->policy->version + 1;

	empty_other_arms(evidence);
	insert_version(evidence, decisions, events);
	insert_arms(evidence);
	set_incumbent(evidence);
	drop_old_versions(evidence->policy->number, version);
	return version;
}
