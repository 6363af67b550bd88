/*
 * refresh.c
 *	  What refresh(catalog) does, in one transaction: count the events that
 *	  came, embed new texts, bring the stored neighbours and indexes on texts up
 *	  to date.
 *
 * Counts are changed by differences. A basket that new events touch held some
 * items before and holds some now; items, pairs and baskets gain or lose what
 * differs, so that the counts always equal a plain join over the live events.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "pg/learn/learn.h"
#include "pg/policy/reward.h"
#include "pg/privacy/privacy.h"
#include "pg/refresh/refresh.h"
#include "pg/refresh/refresh_int.h"

/* after this many changes, and that part of the whole, the planner's idea of the tables is renewed */
#define MANY_CHANGES 1000
#define MANY_CHANGES_PART "10"
/* bytes; of smaller queues any plan will do */
#define LARGE_QUEUE (1 << 20)

static void
analyze(const char *sql, int32 catalog)
{
	int result = SPI_execute(br_pg_catalog_sql(sql, catalog), false, 0);

	if (result < 0)
		elog(ERROR, "could not analyze: %s", SPI_result_code_string(result));
}

/* ---- counting ---- */

/* locks the catalog against another refresh; returns the basket limit of the last one, 0: none */
static int32
lock_state(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	Datum value;
	bool is_null;

	if (br_pg_execute("SELECT max_basket_items FROM bundle_rec.catalog_state"
					  " WHERE catalog = $1 FOR UPDATE",
					  1, types, values, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the catalog was dropped while refresh waited for it")));
	value = br_pg_column(0, 1, &is_null);
	return is_null ? 0 : DatumGetInt32(value);
}

/*
 * The pairs of a basket come from its array of items rather than from a join,
 * whose plan would hang on guesses about tables that have just grown.
 * $1, $2 the largest baskets whose pairs are counted, before and now; $3 whether
 * they differ, so that every basket must be looked at. Purchases without a
 * basket are baskets of their own. A return takes its quantity out of the
 * basket that it names; one that names none takes nothing back.
 */
#define IN_BASKET "kind IN ('purchase', 'return') AND basket_id IS NOT NULL"
#define NET_QUANTITY \
	"pg_catalog.sum(CASE kind WHEN 'purchase' THEN weight ELSE -weight END * quantity)"
/* quantities are sums of doubles: less than this is nothing */
#define SOMETHING "1e-9"

/*
 * Purchases and returns that a policy may learn from wait for fold, which finds
 * the slots they came from. What happened before there was such a policy came
 * from none of its slots; and an event that is only too old to keep was not
 * taken back.
 */
#define ATTRIBUTABLE                                                                      \
	"  INSERT INTO bundle_rec.unattributed_event (catalog, source, user_id, item_id,"     \
	"  bundle_id, basket_id, kind, quantity, occurred_at) SELECT @, source, user_id,"     \
	"  item_id, bundle_id, basket_id, kind, quantity, occurred_at FROM folding"           \
	"  WHERE kind IN ('purchase', 'return') AND (user_id IS NOT NULL OR kind = 'return')" \
	"  AND occurred_at >= (SELECT pg_catalog.min(p.created_at) FROM bundle_rec.policy p"  \
	"   WHERE p.catalog = @ AND p.reward ?| " BR_PG_ATTRIBUTED_KINDS ")"                  \
	"  AND occurred_at >= (SELECT COALESCE(events_since, '-infinity')"                    \
	"   FROM bundle_rec.catalog_state WHERE catalog = @)"

static const char fold_statement[] =
	"WITH folding AS ("
	"  DELETE FROM bundle_rec.event_queue_@ e USING bundle_rec.item_@ i"
	"  WHERE i.item_id = e.item_id"
	"  RETURNING e.*, i.item),"
	" logged AS ("
	"  INSERT INTO bundle_rec.event_@ (source, user_id, item_id, basket_id, kind, quantity, price,"
	"  occurred_at, weight) SELECT source, user_id, item_id, basket_id, kind, quantity, price,"
	"  occurred_at, weight FROM folding),"
	" waiting AS (" ATTRIBUTABLE "),"
	" fresh AS ("
	"  SELECT source, basket_id, item, " NET_QUANTITY " AS quantity FROM folding"
	"  WHERE " IN_BASKET " GROUP BY 1, 2, 3),"
	" single AS ("
	"  SELECT item, pg_catalog.sum(weight) AS delta FROM folding"
	"  WHERE kind = 'purchase' AND basket_id IS NULL GROUP BY 1),"
	" touched AS ("
	"  SELECT source, basket_id FROM fresh UNION"
	"  SELECT source, basket_id FROM bundle_rec.event_@ WHERE $3 AND " IN_BASKET "),"
	" before AS ("
	"  SELECT e.source, e.basket_id, i.item, " NET_QUANTITY " AS quantity FROM touched t"
	"  JOIN bundle_rec.event_@ e USING (source, basket_id)"
	"  JOIN bundle_rec.item_@ i ON i.item_id = e.item_id"
	"  WHERE " IN_BASKET " GROUP BY 1, 2, 3),"
	" member AS ("
	"  SELECT source, basket_id, item, COALESCE(b.quantity, 0) > " SOMETHING " AS was,"
	"  COALESCE(b.quantity, 0) + COALESCE(f.quantity, 0) > " SOMETHING " AS stays"
	"  FROM before b FULL JOIN fresh f USING (source, basket_id, item)),"
	" sized AS MATERIALIZED ("
	"  SELECT source, basket_id, item, was, stays,"
	"  pg_catalog.count(*) FILTER (WHERE was) OVER w AS size_was,"
	"  pg_catalog.count(*) FILTER (WHERE stays) OVER w AS size_is"
	"  FROM member WINDOW w AS (PARTITION BY source, basket_id)),"
	" item_delta AS ("
	"  SELECT item, pg_catalog.sum(delta) AS delta FROM ("
	"   SELECT item, stays::int - was::int AS delta FROM sized"
	"   UNION ALL SELECT item, delta FROM single) d GROUP BY 1),"
	" counted AS ("
	"  INSERT INTO bundle_rec.item_count_@ AS c (item, baskets)"
	"  SELECT item, delta FROM item_delta WHERE delta <> 0 ORDER BY item"
	"  ON CONFLICT (item) DO UPDATE SET baskets = c.baskets + excluded.baskets"
	"  RETURNING item, baskets),"
	" pair_delta AS ("
	"  SELECT a.item, b.item AS other, pg_catalog.sum("
	"   (a.stays AND b.stays AND k.size_is <= $2)::int"
	"   - (a.was AND b.was AND k.size_was <= $1)::int) AS delta"
	"  FROM (SELECT size_was, size_is, pg_catalog.array_agg(item) AS items,"
	"   pg_catalog.array_agg(was) AS was, pg_catalog.array_agg(stays) AS stays FROM sized"
	"   WHERE (stays AND size_is <= $2) OR (was AND size_was <= $1)"
	"   GROUP BY source, basket_id, 1, 2) k,"
	"  unnest(k.items, k.was, k.stays) AS a (item, was, stays),"
	"  unnest(k.items, k.was, k.stays) AS b (item, was, stays)"
	"  WHERE a.item <> b.item GROUP BY 1, 2),"
	" paired AS ("
	"  INSERT INTO bundle_rec.item_pair_@ AS p (item, other, together)"
	"  SELECT item, other, delta FROM pair_delta WHERE delta <> 0 ORDER BY item, other"
	"  ON CONFLICT (item, other) DO UPDATE SET together = p.together + excluded.together"
	"  RETURNING item, together)"
	" SELECT (SELECT COALESCE(pg_catalog.sum(delta), 0)::int8 FROM single)"
	" + (SELECT COALESCE(pg_catalog.sum((size_is > 0)::int - (size_was > 0)::int), 0)::int8"
	"    FROM (SELECT DISTINCT source, basket_id, size_was, size_is FROM sized) b),"
	" (SELECT pg_catalog.count(*) FROM folding),"
	" (SELECT pg_catalog.array_agg(item) FROM counted WHERE baskets = 0),"
	" (SELECT pg_catalog.array_agg(DISTINCT item) FROM paired WHERE together = 0)";

/* purchases of bundles as a whole; those of unknown bundles wait */
static const char fold_bundles_statement[] =
	"WITH folding AS ("
	"  DELETE FROM bundle_rec.event_queue_@ e USING bundle_rec.bundle_@ b"
	"  WHERE b.bundle_id = e.bundle_id RETURNING e.*, b.bundle),"
	" logged AS ("
	"  INSERT INTO bundle_rec.event_@ (source, user_id, bundle_id, basket_id, kind, quantity, price,"
	"  occurred_at, weight) SELECT source, user_id, bundle_id, basket_id, kind, quantity, price,"
	"  occurred_at, weight FROM folding),"
	" waiting AS (" ATTRIBUTABLE "),"
	" counted AS ("
	"  INSERT INTO bundle_rec.bundle_count_@ AS c (bundle, purchases)"
	"  SELECT bundle, pg_catalog.sum(CASE kind WHEN 'purchase' THEN weight ELSE -weight END)"
	"  FROM folding WHERE kind IN ('purchase', 'return') GROUP BY 1 ORDER BY 1"
	"  ON CONFLICT (bundle) DO UPDATE SET purchases = c.purchases + excluded.purchases)"
	" SELECT pg_catalog.count(*) FROM folding";

/* returns how many event rows were new */
static int64
fold_bundles(int32 catalog)
{
	bool is_null;

	/* most catalogs have none, and need not have the long statement planned */
	if (br_pg_execute(br_pg_catalog_sql("SELECT FROM bundle_rec.bundle_@", catalog), 0, NULL, NULL,
					  NULL, false, 1) == 0)
		return 0;
	br_pg_execute_once(br_pg_catalog_sql(fold_bundles_statement, catalog), 0, NULL, NULL);
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
}

/* deletes rows that count nothing, of the items that a column of the result names */
static void
delete_emptied(int32 catalog, int column, const char *sql)
{
	static const Oid types[] = {INT4ARRAYOID};
	Datum values[1];
	bool is_null;

	values[0] = br_pg_column(0, column, &is_null);
	if (!is_null)
		br_pg_execute(br_pg_catalog_sql(sql, catalog), 1, types, values, NULL, false, 0);
}

/*
 * The queue is empty after each refresh. Analyzed then, by autovacuum or by hand,
 * it looks empty to the planner however many rows have come since, and folding
 * them would take minutes.
 */
static void
analyze_queue(int32 catalog)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(LARGE_QUEUE)};

	if (br_pg_execute(br_pg_catalog_sql("SELECT WHERE $1 <= pg_catalog.pg_relation_size("
										"'bundle_rec.event_queue_@'::pg_catalog.regclass)",
										catalog),
					  1, types, values, NULL, false, 0) > 0)
		analyze("ANALYZE bundle_rec.event_queue_@", catalog);
}

/*
 * After the first refreshes of a catalog, and those that bring much, plans must
 * not wait for autovacuum. Small refreshes leave the tables to it: what they do
 * costs less than looking at the tables.
 */
static void
analyze_after(int32 catalog, int64 folded, int64 embedded)
{
	static const Oid types[] = {INT4OID, INT8OID, INT8OID};
	Datum values[] = {Int32GetDatum(catalog), Int64GetDatum(folded < MANY_CHANGES ? 0 : folded),
					  Int64GetDatum(embedded < MANY_CHANGES ? 0 : embedded)};

	if (folded < MANY_CHANGES && embedded < MANY_CHANGES)
		return;
	if (br_pg_execute(br_pg_catalog_sql("SELECT FROM bundle_rec.catalog_state s, pg_catalog.pg_class c"
										" WHERE s.catalog = $1 AND c.oid = 'bundle_rec.item_@'::pg_catalog.regclass"
										" AND ($2 * " MANY_CHANGES_PART " > s.events_counted"
										" OR $3 * " MANY_CHANGES_PART " > c.reltuples)",
										catalog),
					  lengthof(types), types, values, NULL, true, 0) > 0)
		analyze("ANALYZE bundle_rec.item_@, bundle_rec.item_state_@, bundle_rec.item_count_@,"
				" bundle_rec.item_pair_@, bundle_rec.event_@",
				catalog);
}

/* counts what is new; returns how many event rows that was, *baskets the change of baskets */
static int64
fold_events(int32 catalog, int32 limit_was, int64 *baskets)
{
	static const Oid types[] = {INT4OID, INT4OID, BOOLOID};
	Datum values[] = {Int32GetDatum(limit_was), Int32GetDatum(br_pg_max_basket_items),
					  BoolGetDatum(limit_was != 0 && limit_was != br_pg_max_basket_items)};
	SPITupleTable *result;
	bool is_null;
	int64 folded;

	/* compiling this statement would often take longer than running it */
	br_pg_set_for_section("jit", "off");
	br_pg_execute_once(br_pg_catalog_sql(fold_statement, catalog), lengthof(types), types, values);
	*baskets = DatumGetInt64(br_pg_column(0, 1, &is_null));
	folded = DatumGetInt64(br_pg_column(0, 2, &is_null));
	result = SPI_tuptable;
	delete_emptied(catalog, 3,
				   "DELETE FROM bundle_rec.item_count_@ WHERE item = ANY ($1) AND baskets = 0");
	SPI_tuptable = result;
	delete_emptied(catalog, 4,
				   "DELETE FROM bundle_rec.item_pair_@ WHERE item = ANY ($1) AND together = 0");
	SPI_freetuptable(result);
	return folded;
}

/*
 * The typical price is the median of active items, of a sample of blocks where
 * there are very many items: refresh must not read them all when little changed.
 */
#define TYPICAL_PRICE                                                                \
	"(SELECT pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY s.price)"        \
	" FROM bundle_rec.item_state_@ s TABLESAMPLE SYSTEM ((SELECT"                    \
	" LEAST(100, 100 * 50000 / GREATEST(r.reltuples, 1)) FROM pg_catalog.pg_class r" \
	" WHERE r.oid = 'bundle_rec.item_state_@'::pg_catalog.regclass)) REPEATABLE (0)" \
	" WHERE s.active)"

static void
write_state(int32 catalog, int64 baskets, int64 events)
{
	static const Oid types[] = {INT4OID, INT8OID, INT4OID, INT8OID};
	Datum values[] = {Int32GetDatum(catalog), Int64GetDatum(baskets),
					  Int32GetDatum(br_pg_max_basket_items), Int64GetDatum(events)};

	br_pg_execute(br_pg_catalog_sql("UPDATE bundle_rec.catalog_state SET baskets = baskets + $2,"
									" events_counted = events_counted + $4,"
									" max_basket_items = $3, refreshed_at = pg_catalog.now(),"
									" typical_price = " TYPICAL_PRICE " WHERE catalog = $1",
									catalog),
				  lengthof(types), types, values, NULL, false, 0);
}

/* ---- the whole ---- */

void
br_pg_catalog_refresh(const char *name, BrPgRefreshWork *work)
{
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	BrPgRights rights;
	int32 limit;
	int64 folded, baskets, of_bundles, embedded = 0;

	br_pg_catalog_require_owner(catalog);
	br_pg_catalog_follow_owner(catalog);
	br_pg_catalog_tell_dropped(catalog);
	br_pg_enter_owner(&rights);
	limit = lock_state(catalog->number);
	br_pg_leave(&rights);
	catalog = br_pg_catalog_reopen(catalog);
	br_pg_enter_owner(&rights);
	br_pg_expire_events(catalog->number);
	analyze_queue(catalog->number);
	folded = fold_events(catalog->number, limit, &baskets);
	of_bundles = fold_bundles(catalog->number);
	br_pg_compact_events(catalog->number);
	br_pg_leave(&rights);
	if (catalog->model != 0)
		embedded = br_pg_refresh_embeddings(catalog, work);
	br_pg_refresh_text_indexes(catalog);
	/* last, since it keeps the shop from writing until the end of the transaction */
	br_pg_retry_items(catalog);

	br_pg_enter_owner(&rights);
	write_state(catalog->number, baskets, folded + of_bundles);
	br_pg_expire_decisions(catalog->number);
	analyze_after(catalog->number, folded, embedded);
	/* what changes locks of the whole table comes last of all */
	br_pg_catalog_index_embeddings(catalog);
	br_pg_leave(&rights);
	br_pg_refit_when_stale(catalog);
}
