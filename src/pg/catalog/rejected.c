/*
 * rejected.c
 *	  Rows of a source that a catalog cannot take.
 *
 * They are written down with the reason and announced by one WARNING per
 * statement; the shop's own statement goes on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/catalog/catalog_int.h"

/* what is shown and indexed of an id, which may be as long as its writer liked */
#define SHOWN_BYTES 200

char *
br_pg_shown_id(const char *id)
{
	int length = (int) strlen(id);

	if (length <= SHOWN_BYTES)
		return unconstify(char *, id);
	return psprintf("%.*s...", pg_mbcliplen(id, length, SHOWN_BYTES), id);
}

void
br_pg_rejections_init(BrPgRejections *rejections, int32 catalog, Oid origin)
{
	memset(rejections, 0, sizeof(*rejections));
	rejections->catalog = catalog;
	rejections->origin = origin;
	rejections->memory =
		AllocSetContextCreate(CurrentMemoryContext, "rejected rows", ALLOCSET_DEFAULT_SIZES);
}

static void
put(BrPgRejections *rejections, BrPgRejectionList *list, const char *row_id, const char *reason)
{
	MemoryContext old = MemoryContextSwitchTo(rejections->memory);
	int i = list->n++;

	Assert(i < BR_PG_BATCH_ROWS);
	if (i == 0)
	{
		list->row_ids = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
		list->row_id_nulls = palloc(sizeof(bool) * BR_PG_BATCH_ROWS);
		list->reasons = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
	}
	list->row_id_nulls[i] = row_id == NULL;
	list->row_ids[i] = row_id == NULL ? (Datum) 0 : CStringGetTextDatum(br_pg_shown_id(row_id));
	list->reasons[i] = CStringGetTextDatum(reason);
	MemoryContextSwitchTo(old);
}

void
br_pg_reject(BrPgRejections *rejections, const char *row_id, const char *reason)
{
	rejections->total++;
	if (rejections->first == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(rejections->memory));

		rejections->first = row_id == NULL
			? psprintf("The first one has no id: %s.", reason)
			: psprintf("The first one is \"%s\": %s.", br_pg_shown_id(row_id), reason);
		MemoryContextSwitchTo(old);
	}
	put(rejections, &rejections->added, row_id, reason);
}

void
br_pg_unreject(BrPgRejections *rejections, const char *row_id, const char *reason)
{
	put(rejections, &rejections->gone, row_id, reason);
}

bool
br_pg_rejections_pending(const BrPgRejections *rejections)
{
	return rejections->added.n > 0 || rejections->gone.n > 0;
}

bool
br_pg_rejections_full(const BrPgRejections *rejections)
{
	return rejections->added.n == BR_PG_BATCH_ROWS || rejections->gone.n == BR_PG_BATCH_ROWS;
}

static void
execute(const BrPgRejections *rejections, const BrPgRejectionList *list, const char *sql)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum values[4];

	if (list->n == 0)
		return;
	values[0] = Int32GetDatum(rejections->catalog);
	values[1] = ObjectIdGetDatum(rejections->origin);
	values[2] = br_pg_array(list->row_ids, list->row_id_nulls, list->n, TEXTOID);
	values[3] = br_pg_array(list->reasons, NULL, list->n, TEXTOID);
	br_pg_execute_now(sql, lengthof(types), types, values);
}

void
br_pg_rejections_flush(BrPgRejections *rejections)
{
	execute(rejections, &rejections->added,
			"INSERT INTO bundle_rec.rejected (catalog, origin, row_id, reason)"
			" SELECT $1, $2, u.row_id, u.reason FROM unnest($3, $4) AS u (row_id, reason)");
	/* of several rows alike, as many as went */
	execute(rejections, &rejections->gone,
			"DELETE FROM bundle_rec.rejected WHERE rejected IN (SELECT r.rejected FROM"
			" (SELECT row_id, reason, pg_catalog.count(*) AS n FROM unnest($3, $4)"
			"  AS u (row_id, reason) GROUP BY 1, 2) u, LATERAL"
			" (SELECT x.rejected FROM bundle_rec.rejected x WHERE x.catalog = $1 AND x.origin = $2"
			"  AND x.row_id IS NOT DISTINCT FROM u.row_id AND x.reason = u.reason LIMIT u.n) r)");
	rejections->added.n = rejections->gone.n = 0;
	MemoryContextReset(rejections->memory);
}

bool
br_pg_rejections_exist(const BrPgRejections *rejections)
{
	static const Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(rejections->catalog), ObjectIdGetDatum(rejections->origin)};
	BrPgRights rights;
	bool exist;

	br_pg_enter_owner(&rights);
	exist = br_pg_execute_now("SELECT FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2"
							  " LIMIT 1",
							  2, types, values) > 0;
	br_pg_leave(&rights);
	return exist;
}

void
br_pg_rejections_clear(const BrPgRejections *rejections)
{
	static const Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(rejections->catalog), ObjectIdGetDatum(rejections->origin)};

	br_pg_execute_now("DELETE FROM bundle_rec.rejected WHERE catalog = $1 AND origin = $2", 2,
					  types, values);
}

void
br_pg_reject_source(int32 catalog, Oid origin, const char *problem)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog), ObjectIdGetDatum(origin),
					  CStringGetTextDatum(problem)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now("INSERT INTO bundle_rec.rejected (catalog, origin, reason) SELECT $1, $2, $3"
					  " WHERE NOT EXISTS (SELECT FROM bundle_rec.rejected WHERE catalog = $1"
					  " AND origin = $2 AND row_id IS NULL AND reason = $3)",
					  lengthof(types), types, values);
	br_pg_leave(&rights);
}

void
br_pg_rejections_warn(BrPgRejections *rejections, const char *catalog_name)
{
	if (rejections->total == 0)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg_plural("catalog \"%s\" set aside %lld row of table \"%s\"",
						   "catalog \"%s\" set aside %lld rows of table \"%s\"",
						   (unsigned long) rejections->total, catalog_name,
						   (long long) rejections->total, get_rel_name(rejections->origin)),
			 errdetail("%s", rejections->first),
			 errhint("The view bundle_rec.rejected_row lists them.")));
	rejections->total = 0;
	pfree(rejections->first);
	rejections->first = NULL;
}
