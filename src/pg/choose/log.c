/*
 * log.c
 *	  The log of choices: writing one, and taking one again.
 *
 * A row holds what is needed to draw the same slate once more: versions, key,
 * context and eligible arms. The features of what was offered are there in
 * full, so that learning looks at nothing else.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/bulk.h"
#include "pg/catalog/catalog.h"
#include "pg/choose/choose.h"
#include "pg/decide/decision_log.h"
#include "pg/privacy/privacy.h"

/* ---- rights ---- */

static bool
may(const BrPgPolicy *policy, AclMode right)
{
	Oid choices = br_pg_child("choice", policy->catalog);

	return pg_class_aclcheck(choices, GetUserId(), right) == ACLCHECK_OK;
}

static void
refuse(const BrPgPolicy *policy, const char *to, const char *right)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to %s policy \"%s\"", to, policy->name),
			 errhint("GRANT %s ON bundle_rec.choice_%d TO this role.", right, policy->catalog)));
}

void
br_pg_choice_require_reader(const BrPgPolicy *policy)
{
	if (!may(policy, ACL_SELECT))
		refuse(policy, "read choices of", "SELECT");
}

bool
br_pg_choice_will_log(const BrPgPolicy *policy, const bool *log)
{
	bool possible = !RecoveryInProgress() && !XactReadOnly;

	if ((log != NULL && !*log) || (log == NULL && !possible))
	{
		if (!may(policy, ACL_SELECT) && !may(policy, ACL_INSERT))
			refuse(policy, "choose by", "SELECT or INSERT");
		return false;
	}
	if (!possible)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot log a choice %s",
						RecoveryInProgress() ? "on a standby" : "in a read-only transaction"),
				 errhint("Call with log => NULL or log => false.")));
	if (!may(policy, ACL_INSERT))
		refuse(policy, "log choices of", "INSERT");
	return true;
}

/* ---- writing ---- */

static Datum
arm_numbers(const BrPgOptions *options, const int *members, int n)
{
	int32 *numbers = palloc(sizeof(int32) * Max(n, 1));

	for (int i = 0; i < n; i++)
		numbers[i] = options->numbers[members != NULL ? members[i] : i];
	return br_pg_int4_array(numbers, n);
}

static Datum
slot_features(const BrPgChoice *choice)
{
	const BrPgOptions *options = choice->options;
	int dims = options->features != NULL ? options->policy->spec.dims : 0;
	int n = choice->slate.slots;
	float *features = palloc(sizeof(float) * Max((size_t) n * dims, 1));

	for (int i = 0; i < n && dims > 0; i++)
		memcpy(features + (size_t) i * dims,
			   options->features + (size_t) choice->slate.chosen[i] * dims, sizeof(float) * dims);
	return br_pg_float4_array(features, n * dims);
}

static Datum
scores(const BrPgChoice *choice)
{
	double *values = palloc(sizeof(double) * Max(choice->slate.slots, 1));

	for (int i = 0; i < choice->slate.slots; i++)
		values[i] = choice->slate.expected[choice->slate.chosen[i]];
	return br_pg_float8_array(values, choice->slate.slots);
}

#define LOG_COLUMNS                                                                     \
	"decision_id, decided_at, user_id, anonymised_at, policy, posterior, arms_version," \
	" random_key, deterministic, wanted, context, pool, pool_features, slot_arms,"      \
	" slot_features, propensity, score, positions"
#define INSERT_CHOICE                                                                       \
	"WITH logged AS (INSERT INTO bundle_rec.choice_@ (" LOG_COLUMNS ") VALUES ($1, $2, $3," \
	" $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"                 \
	" RETURNING policy, decision_id, decided_at, deterministic)"                            \
	" INSERT INTO bundle_rec.unfolded_decision (policy, decision_id, decided_at)"           \
	" SELECT policy, decision_id, decided_at FROM logged WHERE NOT deterministic"

void
br_pg_choice_log(BrPgChoice *choice)
{
	static const Oid types[] = {INT8OID,		TIMESTAMPTZOID, TEXTOID,		TIMESTAMPTZOID,
								INT4OID,		INT4OID,		INT4OID,		INT8OID,
								BOOLOID,		INT4OID,		FLOAT4ARRAYOID, INT4ARRAYOID,
								FLOAT4ARRAYOID, INT4ARRAYOID,	FLOAT4ARRAYOID, FLOAT8ARRAYOID,
								FLOAT8ARRAYOID, TEXTARRAYOID};
	const BrPgOptions *options = choice->options;
	const BrPgPolicy *policy = options->policy;
	Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	Datum values[lengthof(types)];
	char nulls[lengthof(types)];
	BrPgForgotten forgotten;
	bool is_forgotten;
	BrPgRights rights;

	br_pg_forgotten_open(policy->catalog, "choice", &forgotten);
	is_forgotten = br_pg_is_forgotten(&forgotten, choice->user_id);
	memset(nulls, ' ', sizeof(nulls));
	choice->decision_id = br_pg_decision_next_id(policy->catalog);
	values[0] = Int64GetDatum(choice->decision_id);
	values[1] = values[3] = now;
	nulls[2] = choice->user_id == NULL || is_forgotten ? 'n' : ' ';
	values[2] = nulls[2] == ' ' ? CStringGetTextDatum(choice->user_id) : (Datum) 0;
	nulls[3] = is_forgotten ? ' ' : 'n';
	values[4] = Int32GetDatum(policy->number);
	values[5] = Int32GetDatum(policy->version);
	values[6] = Int32GetDatum(policy->arms_version);
	values[7] = Int64GetDatum((int64) choice->key);
	values[8] = BoolGetDatum(choice->seeded);
	values[9] = Int32GetDatum(choice->wanted);
	nulls[10] = options->context == NULL ? 'n' : ' ';
	values[10] =
		br_pg_float4_array(options->context, options->context == NULL ? 0 : options->n_context);
	nulls[11] = options->all ? 'n' : ' ';
	values[11] = options->all ? (Datum) 0 : arm_numbers(options, NULL, options->n);
	nulls[12] = options->given == NULL ? 'n' : ' ';
	values[12] = br_pg_float4_array(options->given,
									options->given == NULL ? 0 : options->n * policy->arm_features);
	values[13] = arm_numbers(options, choice->slate.chosen, choice->slate.slots);
	values[14] = slot_features(choice);
	values[15] = br_pg_float8_array(choice->slate.propensity, choice->slate.slots);
	values[16] = scores(choice);
	nulls[17] = choice->positions == NULL ? 'n' : ' ';
	values[17] = choice->positions == NULL
		? (Datum) 0
		: br_pg_text_array_datum(choice->positions, choice->slate.slots);

	br_pg_enter_owner(&rights);
	br_pg_execute(br_pg_catalog_sql(INSERT_CHOICE, policy->catalog), lengthof(types), types, values,
				  nulls, false, 0);
	br_pg_leave(&rights);
}

/* ---- taking one again ---- */

BrPgChoice *
br_pg_choice_replay(int64 decision_id)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(decision_id)};
	BrPgPolicy *policy = br_pg_policy_of_choices(br_pg_decision_number(decision_id));
	BrPgChoice *choice = palloc0(sizeof(BrPgChoice));
	int32 version, arms_version;
	BrPgLoggedOptions logged;
	bool is_null;
	BrPgRights rights;

	if (policy == NULL)
		br_pg_decision_unknown(decision_id);
	br_pg_choice_require_reader(policy);
	br_pg_enter_owner(&rights);
	if (br_pg_execute(br_pg_catalog_sql("SELECT posterior, arms_version, random_key, wanted, pool,"
										" context, pool_features FROM bundle_rec.choice_@"
										" WHERE decision_id = $1",
										policy->catalog),
					  1, types, values, NULL, true, 1) == 0)
		br_pg_decision_unknown(decision_id);
	version = DatumGetInt32(br_pg_column(0, 1, &is_null));
	arms_version = DatumGetInt32(br_pg_column(0, 2, &is_null));
	choice->key = (uint64) DatumGetInt64(br_pg_column(0, 3, &is_null));
	choice->wanted = DatumGetInt32(br_pg_column(0, 4, &is_null));
	logged.numbers = br_pg_column_elements(0, 5, &logged.n);
	logged.context = br_pg_column_elements(0, 6, &logged.n_context);
	logged.given = br_pg_column_elements(0, 7, &logged.n_given);
	br_pg_leave(&rights);

	br_pg_policy_at(policy, version, arms_version);
	choice->options = br_pg_options_logged(policy, &logged);
	br_pg_choose(choice);
	return choice;
}
