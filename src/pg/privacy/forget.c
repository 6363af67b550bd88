/*
 * forget.c
 *	  forget_user: a user's name out of everything a catalog keeps.
 *
 * What counts stays, without the name: events keep item, basket and time, so
 * that no count changes, and decisions keep what was offered, with which
 * probability, so that learning and evaluation go on. What leads back to a
 * person goes: the name, what was typed, basket, exclusions and the reasons
 * drawn from them, and ids of feedback that the application gave, such as order
 * numbers, which become keyed hashes, so that a repeated one is still
 * recognised.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/privacy/privacy.h"

/* tables that names are written to, and feedback on their decisions */
static const char *const written[] = {"event_queue", "decision", "feedback"};
static const char *const written_choices[] = {"choice", "feedback"};

/* ---- order among others ---- */

/* refresh moves events from one table to another, fold reads ids of feedback: neither meanwhile */
static void
lock_out_refresh_and_fold(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};

	br_pg_execute("SELECT 1 FROM bundle_rec.catalog_state WHERE catalog = $1 FOR UPDATE", 1, types,
				  values, NULL, false, 0);
	br_pg_execute("SELECT 1 FROM bundle_rec.policy WHERE catalog = $1 ORDER BY policy"
				  " FOR NO KEY UPDATE",
				  1, types, values, NULL, false, 0);
}

/* until all who may not have seen the new hash have ended; nobody waits behind this */
static void
wait_for_writers(int32 catalog, const char *const *tables, int n)
{
	for (int i = 0; i < n; i++)
	{
		Oid table = get_relname_relid(psprintf("%s_%d", tables[i], catalog),
									  get_namespace_oid("bundle_rec", false));
		LOCKTAG tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
		WaitForLockers(tag, ShareLock, false);
	}
}

static void
check_call(const char *user_id, const char *function)
{
	br_pg_require_writes(function);
	if (user_id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"user_id\" is empty"),
				 errdetail("Rows with an empty user id are kept as rows of nobody.")));
	/* rows that came after the snapshot could not be changed */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s needs the isolation level READ COMMITTED", function),
				 errhint("Call it in a transaction of its own.")));
}

/* ---- what is changed ---- */

/* $1 the user, $2 the catalog's number; a basket named like its user is renamed whole */
#define WITHOUT_NAME(table)                                                                      \
	"UPDATE bundle_rec." table "_@ e SET user_id = NULLIF(e.user_id, $1),"                       \
	" basket_id = CASE e.basket_id WHEN $1 THEN bundle_rec.pseudonym(s.secret, 'user', $1) ELSE" \
	" e.basket_id END FROM bundle_rec.catalog_secret s WHERE s.catalog = $2"                     \
	" AND (e.user_id = $1 OR e.basket_id = $1 AND e.source = ANY"                                \
	" (ARRAY(SELECT source FROM bundle_rec.event_source WHERE catalog = $2)))"

/* rows that a source holds still: what triggers appended less what they took back */
static const char source_rows[] =
	"SELECT pg_catalog.jsonb_object_agg(s.events, r.live), pg_catalog.string_agg("
	"pg_catalog.format('%s: %s', s.events, r.live), ', ' ORDER BY s.source)"
	" FROM (SELECT source, pg_catalog.sum(weight) AS live FROM"
	" (SELECT source, weight FROM bundle_rec.event_@ WHERE user_id = $1"
	" UNION ALL SELECT source, weight FROM bundle_rec.event_queue_@ WHERE user_id = $1) e"
	" GROUP BY source) r JOIN bundle_rec.event_source s USING (source)"
	" WHERE s.events IS NOT NULL AND r.live > 0";

/* ids that feedback makes up itself name nobody */
#define GIVEN_ID "f.event_id <> f.rank || ':' || f.kind"

/* after a CTE of the decisions that lost their name */
#define RENAME_EVENTS                                                                            \
	" given AS (SELECT f.decision_id, f.event_id,"                                               \
	"  bundle_rec.pseudonym(s.secret, 'event', f.event_id) AS mask FROM bundle_rec.feedback_@ f" \
	"  JOIN gone USING (decision_id), bundle_rec.catalog_secret s"                               \
	"  WHERE s.catalog = $2 AND " GIVEN_ID "),"                                                  \
	" renamed AS (UPDATE bundle_rec.feedback_@ f SET event_id = g.mask FROM given g"             \
	"  WHERE f.decision_id = g.decision_id AND f.event_id = g.event_id RETURNING 1),"            \
	" waiting AS (UPDATE bundle_rec.unfolded_feedback u SET event_id = g.mask FROM given g"      \
	"  WHERE u.decision_id = g.decision_id AND u.event_id = g.event_id)"                         \
	" SELECT (SELECT pg_catalog.count(*) FROM gone), (SELECT pg_catalog.count(*) FROM renamed)"

static const char anonymise_decisions[] =
	"WITH gone AS (UPDATE bundle_rec.decision_@ d SET user_id = NULL, query = NULL, basket = '{}',"
	"  filters = d.filters - 'exclude', anonymised_at = pg_catalog.now(),"
	"  reasons = COALESCE((SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_set(r.slot, '{context}', '[]')"
	"   ORDER BY r.n) FROM pg_catalog.jsonb_array_elements(d.reasons) WITH ORDINALITY r (slot, n)),"
	"   '[]') WHERE d.user_id = $1 RETURNING decision_id)," RENAME_EVENTS;

static const char anonymise_choices[] =
	"WITH gone AS (UPDATE bundle_rec.choice_@ SET user_id = NULL, anonymised_at = pg_catalog.now()"
	"  WHERE user_id = $1 RETURNING decision_id)," RENAME_EVENTS;

/* runs a statement of one catalog with $1 the user, $2 the number; returns its rows */
static uint64
run(int32 number, const char *pattern, const char *user_id)
{
	static const Oid types[] = {TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(user_id), Int32GetDatum(number)};

	return br_pg_execute_once(br_pg_catalog_sql(pattern, number), 2, types, values);
}

/* a statement over forgotten_user with $1 the number, $2 the user's hash; returns its rows */
static uint64
run_on_list(int32 number, const char *sql, const char *user_id)
{
	static const Oid types[] = {INT4OID, BYTEAOID};
	Datum values[] = {Int32GetDatum(number), br_pg_user_hash(number, user_id)};

	return br_pg_execute(sql, 2, types, values, NULL, false, 0);
}

static const char remember_forgotten[] =
	"INSERT INTO bundle_rec.forgotten_user (catalog, user_hash) VALUES ($1, $2)"
	" ON CONFLICT DO NOTHING";

/* the log holds what the sources hold, but for rows that were set aside */
static Datum
rows_in_sources(const BrPgCatalog *catalog, const char *user_id)
{
	bool is_null;
	Datum in_sources;

	run(catalog->number, source_rows, user_id);
	in_sources = br_pg_column(0, 1, &is_null);
	if (is_null)
		return DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	ereport(NOTICE,
			(errmsg("tables that feed catalog \"%s\" still hold rows of this user", catalog->name),
			 errdetail("Rows by table: %s.", br_pg_column_text(0, 2)),
			 errhint("Your tables are never changed for you: delete or anonymise them there. The"
					 " catalog does not learn the name again.")));
	return in_sources;
}

BrPgForgetting
br_pg_forget_user(const BrPgCatalog *catalog, const char *user_id)
{
	BrPgForgetting result;
	BrPgRights rights;
	bool is_null;

	br_pg_catalog_require_owner(catalog);
	check_call(user_id, "forget_user()");
	br_pg_enter_owner(&rights);
	lock_out_refresh_and_fold(catalog->number);
	run_on_list(catalog->number, remember_forgotten, user_id);
	wait_for_writers(catalog->number, written, lengthof(written));

	result.in_sources = rows_in_sources(catalog, user_id);
	result.events = run(catalog->number, WITHOUT_NAME("event"), user_id);
	result.events += run(catalog->number, WITHOUT_NAME("event_queue"), user_id);
	/* what he bought is no longer traced back to what he was shown */
	run(catalog->number,
		"DELETE FROM bundle_rec.unattributed_event WHERE catalog = $2 AND user_id = $1", user_id);
	run(catalog->number, anonymise_decisions, user_id);
	result.decisions = DatumGetInt64(br_pg_column(0, 1, &is_null));
	result.feedback = DatumGetInt64(br_pg_column(0, 2, &is_null));
	br_pg_leave(&rights);
	return result;
}

bool
br_pg_unforget_user(const BrPgCatalog *catalog, const char *user_id)
{
	BrPgRights rights;
	uint64 found;

	br_pg_catalog_require_owner(catalog);
	check_call(user_id, "unforget_user()");
	br_pg_enter_owner(&rights);
	found = run_on_list(catalog->number,
						"DELETE FROM bundle_rec.forgotten_user WHERE catalog = $1"
						" AND user_hash = $2",
						user_id);
	br_pg_leave(&rights);
	return found > 0;
}

void
br_pg_forget_chooser(const BrPgPolicy *policy, const char *user_id, int64 *choices, int64 *feedback)
{
	BrPgRights rights;
	bool is_null;

	br_pg_policy_require_owner(policy);
	br_pg_policy_require_arms(policy, "forget_user_choices");
	check_call(user_id, "forget_user_choices()");
	br_pg_enter_owner(&rights);
	(void) br_pg_policy_lock(policy->name);
	run_on_list(policy->catalog, remember_forgotten, user_id);
	wait_for_writers(policy->catalog, written_choices, lengthof(written_choices));
	run(policy->catalog, anonymise_choices, user_id);
	*choices = DatumGetInt64(br_pg_column(0, 1, &is_null));
	*feedback = DatumGetInt64(br_pg_column(0, 2, &is_null));
	br_pg_leave(&rights);
}
