/*
 * expire.c
 *	  How long events and decisions are kept.
 *
 * Too old an event is taken back like one whose source row was deleted, so that
 * counts still equal a plain join over what is left. From then on the sources'
 * rows of that age are neither taken nor taken back: catalog_state.events_since
 * says where that begins, for triggers and loads alike. A row that slipped in
 * between is taken back next time, whichever sign it has.
 *
 * Each refresh does a bounded share of the work, so that the first one after a
 * shorter retention does not run for hours; the next one goes on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/privacy/privacy.h"

/* groups of equal events, and decisions, that one refresh takes out */
#define EXPIRE_AT_ONCE 500000
#define LONGEST_YEARS 1000

/* ---- set_retention ---- */

static void
check_age(const Interval *age, const char *name)
{
	const Interval nothing = {0};
	const Interval longest = {.month = LONGEST_YEARS * MONTHS_PER_YEAR};

	if (age == NULL)
		return;
	if (!DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(age),
										  IntervalPGetDatum(&nothing))) ||
		DatumGetBool(
			DirectFunctionCall2(interval_gt, IntervalPGetDatum(age), IntervalPGetDatum(&longest))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be more than 0 and at most %d years", name, LONGEST_YEARS),
				 errdetail("It is %s.",
						   DatumGetCString(
							   DirectFunctionCall1(interval_out, IntervalPGetDatum(age)))),
				 errhint("Leave it out, or NULL, to keep them for ever.")));
}

void
br_pg_set_retention(const BrPgCatalog *catalog, const Interval *events, const Interval *decisions)
{
	static const Oid types[] = {INT4OID, INTERVALOID, INTERVALOID};
	Datum values[] = {Int32GetDatum(catalog->number), IntervalPGetDatum(events),
					  IntervalPGetDatum(decisions)};
	char nulls[] = {' ', events == NULL ? 'n' : ' ', decisions == NULL ? 'n' : ' ', '\0'};
	BrPgRights rights;

	br_pg_catalog_require_owner(catalog);
	check_age(events, "events");
	check_age(decisions, "decisions");
	br_pg_enter_owner(&rights);
	br_pg_execute("UPDATE bundle_rec.catalog_state SET events_since = pg_catalog.now() - $2"
				  " WHERE catalog = $1",
				  2, types, values, nulls, false, 0);
	br_pg_execute("UPDATE bundle_rec.catalog SET keep_events = $2, keep_decisions = $3"
				  " WHERE catalog = $1",
				  3, types, values, nulls, false, 0);
	br_pg_leave(&rights);
}

/* ---- events ---- */

/* what makes two rows of the log the same event */
#define EVENT_COLUMNS \
	"source, user_id, item_id, bundle_id, basket_id, kind, quantity, price, occurred_at"

/* $1 the catalog's number: the moment before which events are too old */
#define EVENTS_SINCE                                                        \
	"(SELECT events_since FROM bundle_rec.catalog_state WHERE catalog = $1" \
	" AND events_since IS NOT NULL)"

/* waiting for an item or bundle that nobody has: never counted, so nothing to take back */
static const char drop_uncounted[] =
	"DELETE FROM bundle_rec.event_queue_@ q WHERE occurred_at < " EVENTS_SINCE
	" AND NOT EXISTS (SELECT FROM bundle_rec.item_@ i WHERE i.item_id = q.item_id)"
	" AND NOT EXISTS (SELECT FROM bundle_rec.bundle_@ b WHERE b.bundle_id = q.bundle_id)";

/* $2 groups at most */
static const char take_back[] =
	"WITH old AS (SELECT " EVENT_COLUMNS ", pg_catalog.sum(weight) AS live FROM"
	" (SELECT * FROM bundle_rec.event_@ WHERE occurred_at < " EVENTS_SINCE
	"  UNION ALL SELECT * FROM bundle_rec.event_queue_@ WHERE occurred_at < " EVENTS_SINCE
	" ) l GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 HAVING pg_catalog.sum(weight) <> 0 LIMIT $2)"
	" INSERT INTO bundle_rec.event_queue_@ (" EVENT_COLUMNS ", weight)"
	" SELECT " EVENT_COLUMNS ", -pg_catalog.sign(live) FROM old,"
	" pg_catalog.generate_series(1, pg_catalog.abs(live))";

void
br_pg_expire_events(int32 catalog)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog), Int32GetDatum(EXPIRE_AT_ONCE)};

	if (br_pg_execute("UPDATE bundle_rec.catalog_state s SET events_since = pg_catalog.now()"
					  " - c.keep_events FROM bundle_rec.catalog c"
					  " WHERE c.catalog = $1 AND s.catalog = $1 AND c.keep_events IS NOT NULL",
					  1, types, values, NULL, false, 0) == 0)
		return;
	br_pg_execute_once(br_pg_catalog_sql(drop_uncounted, catalog), 1, types, values);
	br_pg_execute_once(br_pg_catalog_sql(take_back, catalog), 2, types, values);
	br_pg_execute("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND noticed_at < " EVENTS_SINCE,
				  1, types, values, NULL, false, 0);
}

/* ---- compaction ---- */

/*
 * Of each group of equal events as many rows of either sign go as have a
 * counterpart. Looked at are the baskets from which something was taken back,
 * found by their index, and rows without a basket of the same moments.
 */
#define COMPACT(log)                                                                         \
	"WITH near AS (SELECT e.ctid AS place, e.* FROM (SELECT DISTINCT source, basket_id FROM" \
	"  bundle_rec." log "_@ WHERE weight < 0 AND basket_id IS NOT NULL) t"                   \
	"  JOIN bundle_rec." log "_@ e USING (source, basket_id)"                                \
	" UNION ALL SELECT e.ctid, e.* FROM (SELECT DISTINCT source, occurred_at FROM"           \
	"  bundle_rec." log "_@ WHERE weight < 0 AND basket_id IS NULL) t"                       \
	"  JOIN bundle_rec." log "_@ e USING (source, occurred_at) WHERE e.basket_id IS NULL),"  \
	" counted AS (SELECT place,"                                                             \
	"  pg_catalog.row_number() OVER (PARTITION BY " EVENT_COLUMNS ", weight) AS number,"     \
	"  pg_catalog.count(*) FILTER (WHERE weight > 0) OVER w AS gained,"                      \
	"  pg_catalog.count(*) FILTER (WHERE weight < 0) OVER w AS lost"                         \
	"  FROM near WINDOW w AS (PARTITION BY " EVENT_COLUMNS "))"                              \
	" DELETE FROM bundle_rec." log "_@ e USING counted c"                                    \
	" WHERE e.ctid = c.place AND c.number <= LEAST(c.gained, c.lost)"

static void
compact(int32 catalog, const char *taken_back, const char *statement)
{
	if (br_pg_execute(br_pg_catalog_sql(taken_back, catalog), 0, NULL, NULL, NULL, false, 1) > 0)
		br_pg_execute_once(br_pg_catalog_sql(statement, catalog), 0, NULL, NULL);
}

void
br_pg_compact_events(int32 catalog)
{
	compact(catalog, "SELECT 1 FROM bundle_rec.event_@ WHERE weight < 0", COMPACT("event"));
	compact(catalog, "SELECT 1 FROM bundle_rec.event_queue_@ WHERE weight < 0",
			COMPACT("event_queue"));
}

/* ---- decisions ---- */

/*
 * Of a log whose decisions are kept for `keep`, $2 decisions at most; $1 is for
 * keep. What fold still waits for stays.
 */
#define DROP_DECISIONS(log, keep)                                              \
	"WITH gone AS (DELETE FROM bundle_rec." log "_@ WHERE decision_id IN ("    \
	"  SELECT d.decision_id FROM bundle_rec." log "_@ d"                       \
	"  WHERE d.decided_at < (SELECT pg_catalog.now() - " keep ")"              \
	"  AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_decision u"             \
	"   WHERE u.decision_id = d.decision_id)"                                  \
	"  AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_feedback u"             \
	"   WHERE u.decision_id = d.decision_id) LIMIT $2) RETURNING decision_id)" \
	" DELETE FROM bundle_rec.feedback_@ f USING gone WHERE f.decision_id = gone.decision_id"

static const char drop_decisions[] =
	DROP_DECISIONS("decision", "keep_decisions FROM bundle_rec.catalog WHERE catalog = $1");
static const char drop_choices[] =
	DROP_DECISIONS("choice", "keep_decisions FROM bundle_rec.policy WHERE policy = $1");

/* feedback that came while its decision went; decisions are numbered in the order they came */
static const char drop_orphans[] =
	"DELETE FROM bundle_rec.feedback_@ WHERE decision_id <"
	" (SELECT pg_catalog.min(decision_id) FROM bundle_rec.decision_@)";

void
br_pg_expire_decisions(int32 catalog)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog), Int32GetDatum(EXPIRE_AT_ONCE)};

	if (br_pg_execute("SELECT 1 FROM bundle_rec.catalog WHERE catalog = $1"
					  " AND keep_decisions IS NOT NULL",
					  1, types, values, NULL, false, 1) == 0)
		return;
	br_pg_execute_once(br_pg_catalog_sql(drop_decisions, catalog), 2, types, values);
	br_pg_execute(br_pg_catalog_sql(drop_orphans, catalog), 0, NULL, NULL, NULL, false, 0);
}

void
br_pg_expire_choices(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(policy->number), Int32GetDatum(EXPIRE_AT_ONCE)};

	if (policy->owner != NULL &&
		br_pg_execute("SELECT 1 FROM bundle_rec.policy WHERE policy = $1"
					  " AND keep_decisions IS NOT NULL",
					  1, types, values, NULL, false, 1) > 0)
		br_pg_execute_once(br_pg_catalog_sql(drop_choices, policy->catalog), 2, types, values);
}
