/*
 * nearest.c
 *	  Exact nearest items of a catalog, by a scan of all of them.
 *
 * Rows come through a cursor, some hundred at a time, and only the k nearest
 * stay in memory.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/encoder/br_encoder.h"
#include "pg/decide/nearest.h"
#include "pg/model/model.h"

#define FETCH_ROWS 500

BrEmbedding *
br_pg_nearest_embed(const BrPgCatalog *catalog, const char *text)
{
	if (catalog->model == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no model to read a query with", catalog->name),
				 errhint("Create the catalog with text columns.")));
	return br_pg_model_embed_text(catalog->model, text, false);
}

void
br_pg_scan_items(const BrPgCatalog *catalog, BrPgScanned scanned, void *state)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "items", ALLOCSET_DEFAULT_SIZES);
	BrPgRights rights;
	Portal portal;

	br_pg_enter_owner(&rights);
	portal =
		SPI_cursor_open_with_args(NULL,
								  br_pg_catalog_sql("SELECT i.item, i.embedding FROM bundle_rec.item_@ i"
													" JOIN bundle_rec.item_state_@ s USING (item)"
													" WHERE s.active",
													catalog->number),
								  0, NULL, NULL, NULL, true, CURSOR_OPT_NO_SCROLL);
	do
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		MemoryContextSwitchTo(batch);
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool is_null;
			int32 item = DatumGetInt32(br_pg_column(row, 1, &is_null));
			Datum embedding = br_pg_column(row, 2, &is_null);

			scanned(state, item, is_null ? NULL : DatumGetEmbedding(embedding));
		}
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed > 0);
	SPI_cursor_close(portal);
	MemoryContextSwitchTo(outer);
	br_pg_leave(&rights);
	MemoryContextDelete(batch);
}

char **
br_pg_item_ids(const BrPgCatalog *catalog, const int32 *items, int n)
{
	static const Oid types[] = {INT4ARRAYOID};
	Datum values[] = {br_pg_int4_array(items, n)};
	char **item_ids = palloc0(sizeof(char *) * Max(n, 1));
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT u.place, i.item_id FROM pg_catalog.unnest($1)"
											" WITH ORDINALITY AS u(item, place)"
											" JOIN bundle_rec.item_@ i USING (item)",
											catalog->number),
						  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		item_ids[DatumGetInt64(br_pg_column(row, 1, &is_null)) - 1] = br_pg_column_text(row, 2);
	}
	SPI_freetuptable(SPI_tuptable);
	return item_ids;
}

/* What is searched for. */
typedef struct Search
{
	BrTopK *top;
	const BrEmbedding *query;
	int32 except;
} Search;

static void
offer_item(void *state, int32 item, const BrEmbedding *embedding)
{
	const Search *search = state;

	/* an item embedded with an earlier model waits for refresh */
	if (item != search->except && embedding != NULL && embedding->dims == search->query->dims)
		br_ann_top_k_offer(search->top, item, br_pg_embedding_cosine(search->query, embedding));
}

BrNeighbour *
br_pg_nearest(const BrPgCatalog *catalog, const BrEmbedding *query, int k, int32 except, int *n)
{
	Search search = {.query = query, .except = except};
	BrContext context;
	const BrNeighbour *sorted;
	BrNeighbour *nearest;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_ann_top_k_create(&context, k, &search.top), &context,
				"could not search for items", NULL);
	br_pg_scan_items(catalog, offer_item, &search);
	sorted = br_ann_top_k_sorted(search.top, n);
	nearest = palloc(sizeof(BrNeighbour) * Max(*n, 1));
	memcpy(nearest, sorted, sizeof(BrNeighbour) * *n);
	br_ann_top_k_destroy(search.top);
	return nearest;
}

BrNeighbour *
br_pg_nearest_to_text(const BrPgCatalog *catalog, const char *text, int k, int *n)
{
	return br_pg_nearest(catalog, br_pg_nearest_embed(catalog, text), k, 0, n);
}
