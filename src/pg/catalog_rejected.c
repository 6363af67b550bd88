/*
 * catalog_rejected.c
 *	  Rows of a source that a catalog cannot take.
 *
 * They are written down with the reason and announced by one WARNING per
 * statement; the shop's own statement goes on.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/catalog_int.h"

void
br_pg_rejections_init(BrPgRejections *rejections, int32 catalog, Oid origin)
{
	memset(rejections, 0, sizeof(*rejections));
	rejections->catalog = catalog;
	rejections->origin = origin;
	rejections->memory =
		AllocSetContextCreate(CurrentMemoryContext, "rejected rows", ALLOCSET_DEFAULT_SIZES);
	rejections->row_ids = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
	rejections->row_id_nulls = palloc(sizeof(bool) * BR_PG_BATCH_ROWS);
	rejections->reasons = palloc(sizeof(Datum) * BR_PG_BATCH_ROWS);
}

void
br_pg_reject(BrPgRejections *rejections, const char *row_id, const char *reason)
{
	MemoryContext old;
	int i = rejections->pending;

	rejections->total++;
	if (rejections->first == NULL)
	{
		old = MemoryContextSwitchTo(MemoryContextGetParent(rejections->memory));
		rejections->first = row_id == NULL
			? psprintf("The first one has no id: %s.", reason)
			: psprintf("The first one is \"%s\": %s.", row_id, reason);
		MemoryContextSwitchTo(old);
	}
	Assert(i < BR_PG_BATCH_ROWS);
	old = MemoryContextSwitchTo(rejections->memory);
	rejections->row_id_nulls[i] = row_id == NULL;
	rejections->row_ids[i] = row_id == NULL ? (Datum) 0 : CStringGetTextDatum(row_id);
	rejections->reasons[i] = CStringGetTextDatum(reason);
	rejections->pending++;
	MemoryContextSwitchTo(old);
}

void
br_pg_rejections_flush(BrPgRejections *rejections)
{
	static const Oid types[] = {INT4OID, OIDOID, TEXTARRAYOID, TEXTARRAYOID};
	Datum values[4];

	if (rejections->pending == 0)
		return;
	values[0] = Int32GetDatum(rejections->catalog);
	values[1] = ObjectIdGetDatum(rejections->origin);
	values[2] =
		br_pg_array(rejections->row_ids, rejections->row_id_nulls, rejections->pending, TEXTOID);
	values[3] = br_pg_array(rejections->reasons, NULL, rejections->pending, TEXTOID);
	br_pg_execute("INSERT INTO bundle_rec.rejected (catalog, origin, row_id, reason)"
				  " SELECT $1, $2, u.row_id, u.reason"
				  " FROM unnest($3, $4) AS u (row_id, reason)",
				  lengthof(types), types, values, NULL, false, 0);
	rejections->pending = 0;
	MemoryContextReset(rejections->memory);
}

void
br_pg_rejections_warn(const BrPgRejections *rejections, const char *catalog_name)
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
}
