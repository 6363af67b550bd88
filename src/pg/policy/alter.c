/*
 * alter.c
 *	  Changing and dropping policies.
 *
 * Numbers of the algorithm belong to a version: a change makes a new one with
 * the same evidence, and what was decided before can still be replayed.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/catalog/catalog.h"
#include "pg/policy/policy.h"
#include "pg/policy/reward.h"

static Interval *
interval_column(int column)
{
	bool is_null;
	Datum datum = br_pg_column(0, column, &is_null);
	Interval *copy;

	if (is_null)
		return NULL;
	copy = palloc(sizeof(Interval));
	*copy = *DatumGetIntervalP(datum);
	return copy;
}

static BrPgPolicySettings
present_settings(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};
	BrPgPolicySettings settings = {
		.parameters = policy->spec.parameters,
		.model = policy->spec.model,
		.discount = policy->discount,
		.n_examination = policy->n_examination,
		.examination = policy->examination,
	};
	bool is_null;
	Datum keep;

	br_pg_execute("SELECT discount_period, evidence_window, keep_versions, fold_size, fold_every,"
				  " keep_decisions"
				  " FROM bundle_rec.policy WHERE policy = $1",
				  1, types, values, NULL, false, 1);
	settings.discount_period = interval_column(1);
	settings.evidence_window = interval_column(2);
	keep = br_pg_column(0, 3, &is_null);
	settings.keep_versions = is_null ? 0 : DatumGetInt32(keep);
	settings.fold_size = DatumGetInt32(br_pg_column(0, 4, &is_null));
	settings.fold_every = interval_column(5);
	settings.keep_decisions = interval_column(6);
	return settings;
}

static void
update_policy(const BrPgPolicy *policy, const BrPgPolicySettings *settings,
			  const BrPgPolicyChange *change)
{
	static const Oid types[] = {INT4OID,	 FLOAT8OID,		 INTERVALOID, INTERVALOID,
								INT4OID,	 INT4OID,		 INTERVALOID, JSONBOID,
								INTERVALOID, FLOAT8ARRAYOID, BOOLOID,	  INTERVALOID};
	Datum values[] = {
		Int32GetDatum(policy->number),
		Float8GetDatum(settings->discount),
		IntervalPGetDatum(settings->discount_period),
		IntervalPGetDatum(settings->evidence_window),
		Int32GetDatum(settings->keep_versions),
		Int32GetDatum(settings->fold_size),
		IntervalPGetDatum(settings->fold_every),
		change->reward,
		change->window,
		br_pg_float8_array(settings->examination, settings->n_examination),
		BoolGetDatum(change->make_default),
		IntervalPGetDatum(settings->keep_decisions),
	};
	char nulls[] = {' ',
					' ',
					' ',
					settings->evidence_window == NULL ? 'n' : ' ',
					settings->keep_versions == 0 ? 'n' : ' ',
					' ',
					' ',
					change->reward == 0 ? 'n' : ' ',
					change->window == 0 ? 'n' : ' ',
					settings->examination == NULL ? 'n' : ' ',
					change->has_default ? ' ' : 'n',
					settings->keep_decisions == NULL ? 'n' : ' '};

	if (change->has_default && change->make_default)
		br_pg_execute("UPDATE bundle_rec.policy o SET is_default = false"
					  " FROM bundle_rec.policy p WHERE p.policy = $1 AND o.catalog = p.catalog"
					  " AND o.policy <> p.policy AND o.is_default",
					  1, types, values, NULL, false, 0);
	br_pg_execute("UPDATE bundle_rec.policy SET discount = $2, discount_period = $3,"
				  " evidence_window = $4, keep_versions = $5, fold_size = $6, fold_every = $7,"
				  " reward = COALESCE($8, reward),"
				  " attribution_window = COALESCE($9, attribution_window), examination = $10,"
				  " is_default = COALESCE($11, is_default), keep_decisions = $12 WHERE policy = $1",
				  lengthof(types), types, values, nulls, false, 0);
}

static void
insert_version(const BrPgPolicy *policy, const BrPgPolicySettings *settings)
{
	static const Oid types[] = {INT4OID, INT4OID, JSONBOID};
	BrPolicySpec spec = policy->spec;
	Datum values[] = {Int32GetDatum(policy->number), Int32GetDatum(policy->version), (Datum) 0};
	BrContext context;

	spec.parameters = settings->parameters;
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_check_spec(&context, &spec), &context,
				psprintf("policy \"%s\" cannot be", policy->name), NULL);
	values[2] = br_pg_policy_write_parameters(&spec, settings->discount,
											  br_pg_interval_seconds(settings->discount_period));
	br_pg_execute("INSERT INTO bundle_rec.posterior (policy, version, feature_schema, parameters,"
				  " evidence, incumbent, decisions, events, as_of)"
				  " SELECT policy, version + 1, feature_schema, $3, evidence, incumbent, decisions,"
				  " events, as_of FROM bundle_rec.posterior o WHERE policy = $1 AND version = $2"
				  " AND parameters <> $3",
				  3, types, values, NULL, false, 0);
}

/* the reward and the window that it will have */
static void
check_reward(const BrPgPolicy *policy, const BrPgPolicyChange *change)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};
	bool is_null;
	Datum reward, window;

	br_pg_execute("SELECT reward, attribution_window FROM bundle_rec.policy WHERE policy = $1", 1,
				  types, values, NULL, false, 1);
	reward = change->reward != 0 ? change->reward : br_pg_column(0, 1, &is_null);
	window = change->window != 0 ? change->window : br_pg_column(0, 2, &is_null);
	br_pg_reward_check(reward, window, policy->owner != NULL ? 0 : policy->catalog);
}

static bool
is_default(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};

	return br_pg_execute("SELECT FROM bundle_rec.policy WHERE policy = $1 AND is_default", 1, types,
						 values, NULL, false, 1) > 0;
}

static void
refuse_default(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("policy \"%s\" is its catalog's default policy", name),
			 errhint("Make another one the default first: alter_policy(..., make_default => "
					 "true).")));
}

void
br_pg_policy_alter(const char *name, const BrPgPolicyChange *change)
{
	BrPgPolicy *policy = br_pg_policy_lock(name);
	BrPgPolicySettings settings = present_settings(policy);

	br_pg_policy_read_settings(policy->spec.algorithm, DatumGetJsonbP(change->parameters),
							   &settings);
	if (settings.shape_given)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("model, context, arm_features and interactions of a policy cannot change"),
				 errdetail("What policy \"%s\" has learned is about those that it has.", name),
				 errhint("Create another policy, and teach it from the log with warm_start.")));
	if (change->has_default && policy->owner != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("only a catalog has a default policy"),
				 errhint("Leave make_default out.")));
	if (change->has_default && !change->make_default && is_default(policy))
		refuse_default(name);
	check_reward(policy, change);
	update_policy(policy, &settings, change);
	insert_version(policy, &settings);
}

void
br_pg_policy_drop(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	static const char *const statements[] = {
		"DELETE FROM bundle_rec.unfolded_decision WHERE policy = $1",
		"DELETE FROM bundle_rec.unfolded_feedback WHERE policy = $1",
		"DELETE FROM bundle_rec.posterior WHERE policy = $1",
		"DELETE FROM bundle_rec.posterior_arm WHERE policy = $1",
		"DELETE FROM bundle_rec.arm WHERE policy = $1",
	};
	Datum values[] = {Int32GetDatum(policy->number)};
	Datum numbers[] = {Int32GetDatum(policy->catalog)};

	(void) br_pg_policy_lock(policy->name);
	if (br_pg_execute("DELETE FROM bundle_rec.policy WHERE policy = $1 AND NOT is_default", 1,
					  types, values, NULL, false, 0) == 0)
		refuse_default(policy->name);
	for (int i = 0; i < lengthof(statements); i++)
		br_pg_execute(statements[i], 1, types, values, NULL, false, 0);
	if (policy->owner == NULL)
		return;
	br_pg_catalog_drop_choices(policy->catalog);
	br_pg_execute("DELETE FROM bundle_rec.catalog_secret WHERE catalog = $1", 1, types, numbers,
				  NULL, false, 0);
	br_pg_execute("DELETE FROM bundle_rec.forgotten_user WHERE catalog = $1", 1, types, numbers,
				  NULL, false, 0);
}
