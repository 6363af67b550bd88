/*
 * cases.c
 *	  The sessions that a gate may ask about, and what it asks.
 *
 * A session is a basket, or what a user did outside of any. One moment parts
 * those that are left: a basket counts if all of it came later than whatever
 * either model learned and any earlier gate of the catalog used, and what a user
 * did counts where it was later and new to him. The last event of them all is
 * the moment for the next gate. So no session is asked about twice, and one that
 * comes late with an older time is lost rather than asked about. Events without a
 * time, and those of the future, cannot be placed and are left out.
 *
 * As in the harness, curated bundles are completed where any were bought whole,
 * else baskets; a hash chooses what is hidden.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/learn/split.h"
#include "pg/promote/promote_int.h"

/* sets with more items are no baskets that anybody could complete */
#define LARGEST_SET "200"
/* items before the hidden one that count, as in a decision */
#define HISTORY_ITEMS 20
/* more would tell no more; which of them is chosen by a hash */
#define MOST_CASES "20000"

/* $1: the moment, $2: now */
#define IS_LATER(event) event ".occurred_at > $1 AND " event ".occurred_at <= $2"

#define RECENT                                                                                         \
	"WITH recent AS MATERIALIZED (SELECT e.*, CASE WHEN e.basket_id IS NULL"                           \
	"  THEN pg_catalog.concat('u ', e.user_id)"                                                        \
	"  ELSE pg_catalog.concat('b ', e.source, ' ', e.basket_id) END AS session,"                       \
	"  CASE e.kind WHEN 'purchase' THEN e.weight WHEN 'return' THEN -e.weight ELSE 0 END"              \
	"   * e.quantity AS bought"                                                                        \
	" FROM bundle_rec.event_@ e WHERE " IS_LATER(                                                      \
		"e") "  AND (e.basket_id IS NOT NULL OR e.user_id IS NOT NULL)"                                \
			 "  AND NOT EXISTS (SELECT FROM bundle_rec.event_@ o WHERE o.source = e.source"            \
			 "   AND o.basket_id = e.basket_id AND NOT (" IS_LATER(                                    \
				 "o") "))"                                                                             \
					  "  AND (e.basket_id IS NOT NULL OR NOT EXISTS (SELECT FROM bundle_rec.event_@ o" \
					  "   WHERE o.user_id = e.user_id AND NOT (" IS_LATER(                             \
						  "o") ")"                                                                     \
							   "   AND (o.item_id = e.item_id OR o.bundle_id = e.bundle_id))))"

/* quantities are sums of doubles: less than this is nothing, as for refresh */
#define SOMETHING "1e-9"

/* what they come to */
static const char summary[] =
	RECENT " SELECT pg_catalog.count(DISTINCT session), pg_catalog.max(occurred_at) FROM recent";

/* Sets: session, name, numbers of their items. */
#define SETS                                                                    \
	" SELECT session, name, pg_catalog.array_agg(item ORDER BY item) FROM held" \
	" JOIN bundle_rec.item_state_@ USING (item) GROUP BY session, name"         \
	" HAVING pg_catalog.count(*) BETWEEN 2 AND " LARGEST_SET                    \
	" ORDER BY pg_catalog.md5(pg_catalog.concat(session, name)), session, name" \
	" LIMIT " MOST_CASES

static const char bundles[] =
	RECENT ", bundle AS (SELECT session, bundle_id FROM recent WHERE bundle_id IS NOT NULL"
		   "  GROUP BY 1, 2 HAVING pg_catalog.sum(bought) > " SOMETHING "),"
		   " held AS (SELECT u.session, u.bundle_id AS name, i.item FROM bundle u"
		   "  JOIN bundle_rec.bundle_@ b USING (bundle_id)"
		   "  JOIN bundle_rec.bundle_item_@ m USING (bundle)"
		   "  JOIN bundle_rec.item_@ i ON i.item_id = m.item_id)" SETS;

static const char baskets[] =
	RECENT ", line AS (SELECT session, basket_id AS name, item_id, bought FROM recent"
		   "  WHERE basket_id IS NOT NULL AND item_id IS NOT NULL UNION ALL"
		   "  SELECT r.session, r.basket_id, m.item_id, r.bought FROM recent r"
		   "  JOIN bundle_rec.bundle_@ b USING (bundle_id)"
		   "  JOIN bundle_rec.bundle_item_@ m USING (bundle) WHERE r.basket_id IS NOT NULL),"
		   " held AS (SELECT l.session, l.name, i.item FROM line l"
		   "  JOIN bundle_rec.item_@ i USING (item_id) GROUP BY 1, 2, 3"
		   "  HAVING pg_catalog.sum(l.bought) > " SOMETHING ")" SETS;

/* the latest of each user's items, then those before; what came with it is not before it */
static const char next_items[] =
	RECENT ", taken AS (SELECT r.user_id, i.item, pg_catalog.max(r.occurred_at) AS at"
		   "  FROM recent r JOIN bundle_rec.item_@ i USING (item_id)"
		   "  JOIN bundle_rec.item_state_@ s USING (item) WHERE r.user_id IS NOT NULL"
		   "  GROUP BY 1, 2 HAVING pg_catalog.sum(r.bought) > " SOMETHING "),"
		   " placed AS (SELECT *, pg_catalog.row_number() OVER of_user AS place,"
		   "  pg_catalog.max(at) OVER (PARTITION BY user_id) AS latest FROM taken"
		   "  WINDOW of_user AS (PARTITION BY user_id ORDER BY at DESC, item))"
		   " SELECT pg_catalog.concat('u ', user_id), user_id,"
		   " pg_catalog.array_agg(item ORDER BY place) FROM placed WHERE place = 1 OR at < latest"
		   " GROUP BY user_id HAVING pg_catalog.count(*) > 1"
		   " ORDER BY pg_catalog.md5(user_id), user_id LIMIT " MOST_CASES;

/* ---- the moment ---- */

/* in an owner section */
static TimestampTz
find_moment(int32 catalog, const int32 models[2])
{
	static const Oid types[] = {INT4OID, INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog), Int32GetDatum(models[0]), Int32GetDatum(models[1])};
	bool is_null;
	Datum moment;

	br_pg_execute_now("SELECT GREATEST((SELECT pg_catalog.max(used_until)"
					  "  FROM bundle_rec.stored_gate WHERE catalog = $1),"
					  " (SELECT pg_catalog.max(learned_until) FROM bundle_rec.stored_lineage"
					  "  WHERE model IN ($2, $3)))",
					  lengthof(types), types, values);
	moment = br_pg_column(0, 1, &is_null);
	return is_null ? DT_NOBEGIN : DatumGetTimestampTz(moment);
}

/* ---- cases ---- */

typedef struct Asking
{
	const BrPgLearnData *data;
	BrPgCases *cases;
	HTAB *sessions;
} Asking;

typedef struct Session
{
	const char *name; /* the key */
	int32 number;
} Session;

static int32
session_number(Asking *asking, char *name)
{
	const char *key = name;
	bool found;
	Session *session = hash_search(asking->sessions, &key, HASH_ENTER, &found);

	if (!found)
		session->number = (int32) hash_get_num_entries(asking->sessions) - 1;
	return session->number;
}

/* the rows of the SPI result: session, name, numbers of items */
static void
add_case(Asking *asking, uint64 row, BrPgGateTask task)
{
	BrPgCase *one = &asking->cases->cases[asking->cases->n];
	int n, hidden = 0;
	const int32 *numbers = br_pg_column_elements(row, 3, &n);

	if (task == BR_PG_GATE_COMPLETION)
		hidden = (int) (br_pg_md5_number(br_pg_column_text(row, 2), "0") % (uint32) n);
	else
		n = Min(n, HISTORY_ITEMS + 1);
	one->context = palloc(sizeof(int32_t) * n);
	one->n = 0;
	for (int i = 0; i < n; i++)
	{
		int index = br_pg_learn_item_index(asking->data, numbers[i]);

		/* one that came since the items were read */
		if (index < 0)
			return;
		if (i == hidden)
			one->hidden = index;
		else
			one->context[one->n++] = index;
	}
	one->session = session_number(asking, br_pg_column_text(row, 1));
	asking->cases->n++;
}

static void
ask(Asking *asking, const char *pattern, const Datum moments[2], BrPgGateTask task)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	BrPgRights rights;
	uint64 rows;

	br_pg_enter_owner(&rights);
	rows = br_pg_execute_once_now(br_pg_catalog_sql(pattern, asking->data->catalog->number),
								  lengthof(types), types, moments);
	br_pg_leave(&rights);
	asking->cases->task = task;
	asking->cases->cases = palloc(sizeof(BrPgCase) * Max(rows, 1));
	for (uint64 row = 0; row < rows; row++)
		add_case(asking, row, task);
	SPI_freetuptable(SPI_tuptable);
}

static void
count_sessions(const BrPgCatalog *catalog, const Datum moments[2], BrPgCases *cases)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	BrPgRights rights;
	Datum until;
	bool is_null;

	br_pg_enter_owner(&rights);
	br_pg_execute_once_now(br_pg_catalog_sql(summary, catalog->number), lengthof(types), types,
						   moments);
	br_pg_leave(&rights);
	cases->sessions = DatumGetInt64(br_pg_column(0, 1, &is_null));
	until = br_pg_column(0, 2, &is_null);
	cases->until = is_null ? cases->from : DatumGetTimestampTz(until);
	SPI_freetuptable(SPI_tuptable);
}

BrPgCases
br_pg_gate_cases(const BrPgLearnData *data, const int32 models[2], BrPgGateTask task)
{
	BrPgCases cases = {0};
	Asking asking = {.data = data, .cases = &cases};
	BrPgRights rights;
	Datum moments[2];

	br_pg_enter_owner(&rights);
	cases.from = find_moment(data->catalog->number, models);
	br_pg_leave(&rights);
	moments[0] = TimestampTzGetDatum(cases.from);
	moments[1] = TimestampTzGetDatum(GetCurrentTimestamp());
	asking.sessions = br_pg_text_table("sessions", 1024, sizeof(Session), CurrentMemoryContext);
	count_sessions(data->catalog, moments, &cases);
	if (task != BR_PG_GATE_NEXT_ITEM && data->n_bundles > 0)
		ask(&asking, bundles, moments, BR_PG_GATE_COMPLETION);
	if (task != BR_PG_GATE_NEXT_ITEM && cases.n == 0)
		ask(&asking, baskets, moments, BR_PG_GATE_COMPLETION);
	if (task == BR_PG_GATE_NEXT_ITEM || (task == BR_PG_GATE_ANY && cases.n == 0))
		ask(&asking, next_items, moments, BR_PG_GATE_NEXT_ITEM);
	return cases;
}
