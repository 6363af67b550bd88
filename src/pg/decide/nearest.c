/*
 * nearest.c
 *	  Nearest items of a catalog, through the index of their embeddings, and all
 *	  of them for who needs all.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
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

/* Scans of the index miss fewer than this leaves room for, in the order of their distance. */
#define SEARCH_RECALL "0.999"
#define LEAST_LIMIT 32
#define LEAST_SPARE 16

/*
 * The model stands in the text, since only so the planner knows that the
 * model's index has all rows, and so does the number of rows, rounded up so
 * that there are few such texts, since it takes a parameter for a tenth of the
 * table. An item embedded with an earlier model waits for refresh. An index has
 * no second order: more rows than are wanted are asked for, so that of items
 * equally near, such as those of one text, the smaller numbers are among them.
 */
static const char *
search_statement(const BrPgCatalog *catalog, int k)
{
	return psprintf("SELECT n.item, n.embedding FROM (SELECT i.item, i.embedding"
					" FROM bundle_rec.item_%d i JOIN bundle_rec.item_state_%d s USING (item)"
					" WHERE i.model = %d AND s.active AND i.item <> $2"
					" ORDER BY i.embedding OPERATOR(bundle_rec.<=>) $1::bundle_rec.embedding LIMIT %u) n"
					" ORDER BY n.embedding OPERATOR(bundle_rec.<=>) $1::bundle_rec.embedding, n.item",
					catalog->number, catalog->number, catalog->model,
					pg_nextpower2_32(Max(k + LEAST_SPARE, LEAST_LIMIT)));
}

/*
 * As real[], which halves become exactly: a plan that is kept for the session
 * must not have a parameter of a type that goes with the extension.
 */
static Datum
components_of(const BrEmbedding *embedding)
{
	float *components = palloc(sizeof(float) * embedding->dims);

	for (int i = 0; i < embedding->dims; i++)
		components[i] = br_math_half_to_float(embedding->components[i]);
	return br_pg_float4_array(components, embedding->dims);
}

BrNeighbour *
br_pg_nearest(const BrPgCatalog *catalog, const BrEmbedding *query, int k, int32 except, int *n)
{
	static const Oid types[] = {FLOAT4ARRAYOID, INT4OID};
	Datum values[] = {components_of(query), Int32GetDatum(except)};
	BrNeighbour *nearest;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_set_for_section("bundle_rec.recall", SEARCH_RECALL);
	br_pg_set_for_section("bundle_rec.probes", "0");
	br_pg_set_for_section("bundle_rec.scan_order", "strict");
	*n = (int) br_pg_execute(search_statement(catalog, k), lengthof(types), types, values, NULL,
							 true, k);
	br_pg_leave(&rights);
	nearest = palloc(sizeof(BrNeighbour) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		bool is_null;

		nearest[i].id = DatumGetInt32(br_pg_column(i, 1, &is_null));
		nearest[i].similarity =
			br_pg_embedding_cosine(query, DatumGetEmbedding(br_pg_column(i, 2, &is_null)));
	}
	SPI_freetuptable(SPI_tuptable);
	return nearest;
}

BrNeighbour *
br_pg_nearest_to_text(const BrPgCatalog *catalog, const char *text, int k, int *n)
{
	return br_pg_nearest(catalog, br_pg_nearest_embed(catalog, text), k, 0, n);
}
