/*
 * text_indexes.c
 *	  What refresh does for indexes on the texts of a catalog's source: embeds
 *	  the rows that wait in them, so that no shopper's INSERT has to.
 *
 * The source belongs to who owns the catalog. Nothing of the table's is run:
 * what waits has left the table as token ids.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "nodes/pg_list.h"
#include "utils/rel.h"

#include "pg/am/am.h"
#include "pg/refresh/refresh_int.h"

static void
flush_index(Oid id)
{
	Relation index = index_open(id, RowExclusiveLock);

	if (br_am_is_index(index) && index->rd_index->indisready)
	{
		if (br_am_has_model(index))
			(void) br_am_flush(index);
		else
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("texts in index \"%s\" cannot be embedded, because its model is gone",
							RelationGetRelationName(index)),
					 errhint("REINDEX INDEX embeds its texts with the model that is there now.")));
	}
	/* until the transaction ends it may not be dropped anyway */
	index_close(index, NoLock);
}

void
br_pg_refresh_text_indexes(const BrPgCatalog *catalog)
{
	ListCell *table;

	foreach (table, find_all_inheritors(catalog->items, AccessShareLock, NULL))
	{
		Relation relation = table_open(lfirst_oid(table), NoLock);
		List *indexes = RelationGetIndexList(relation);
		ListCell *index;

		foreach (index, indexes)
			flush_index(lfirst_oid(index));
		list_free(indexes);
		table_close(relation, NoLock);
	}
}
