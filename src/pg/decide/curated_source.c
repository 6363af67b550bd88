/*
 * curated_source.c
 *	  The tables that curated bundles come from, and who may see them.
 *
 * What a bundle holds and costs is content, not a count: whoever asks for
 * bundles needs SELECT on the tables that they come from, as he needs it on the
 * table of the items. Where row-level security applies to him in one of them,
 * each row of a bundle is looked for there as him, and a bundle of which he
 * cannot see every row is none.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "pg/decide/curated.h"

static bool
may_read(Oid table)
{
	return pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

static void
require_reader(const BrPgCatalog *catalog, Oid table)
{
	if (!may_read(table))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for the bundles of catalog \"%s\"", catalog->name),
				 errhint("GRANT SELECT ON %s TO this role.",
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)),
													get_rel_name(table)))));
}

/* NULL: the catalog never had any */
static BrPgBundleTables *
read_tables(const BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number)};
	BrPgBundleTables *found = palloc0(sizeof(BrPgBundleTables));
	BrPgRights rights;
	uint64 n;

	br_pg_enter_owner(&rights);
	n = br_pg_execute("SELECT source, bundles::pg_catalog.oid, bundle_id, item_id,"
					  " price IS NOT NULL FROM bundle_rec.bundle_source"
					  " WHERE catalog = $1 ORDER BY source",
					  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	if (n == 0)
		return NULL;
	found->tables = palloc(sizeof(BrPgBundleTable) * n);
	found->filtered = br_pg_catalog_must_ask(catalog);
	for (uint64 row = 0; row < n; row++)
	{
		BrPgBundleTable *table = &found->tables[found->n];
		bool is_null;

		table->source = DatumGetInt32(br_pg_column(row, 1, &is_null));
		table->table = DatumGetObjectId(br_pg_column(row, 2, &is_null));
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(table->table)))
			continue;
		table->bundle_id = br_pg_column_text(row, 3);
		table->item_id = br_pg_column_text(row, 4);
		table->priced = DatumGetBool(br_pg_column(row, 5, &is_null));
		table->row_security = check_enable_rls(table->table, InvalidOid, true) == RLS_ENABLED;
		found->filtered = found->filtered || table->row_security;
		found->n++;
	}
	SPI_freetuptable(SPI_tuptable);
	return found;
}

BrPgBundleTables *
br_pg_bundle_tables(const BrPgCatalog *catalog)
{
	BrPgBundleTables *found = read_tables(catalog);

	if (found == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no curated bundles", catalog->name),
				 errhint("add_bundle_source names the table that holds them;"
						 " recommend makes bundles itself.")));
	for (int i = 0; i < found->n; i++)
		require_reader(catalog, found->tables[i].table);
	return found;
}

BrPgBundleTables *
br_pg_bundle_tables_readable(const BrPgCatalog *catalog)
{
	BrPgBundleTables *found = read_tables(catalog);

	for (int i = 0; found != NULL && i < found->n; i++)
		if (!may_read(found->tables[i].table))
			return NULL;
	return found;
}

static int
compare_rows(const void *left, const void *right)
{
	const BrPgBundleRow *a = *(const BrPgBundleRow *const *) left;
	const BrPgBundleRow *b = *(const BrPgBundleRow *const *) right;
	int order = strcmp(a->bundle_id, b->bundle_id);

	return order != 0 ? order : strcmp(a->item_id, b->item_id);
}

/* column of the SPI result as ids are stored: without the blanks that pad a char(n) */
static char *
id_column(uint64 row, int column)
{
	char *id = br_pg_column_text(row, column);

	if (id != NULL && SPI_gettypeid(SPI_tuptable->tupdesc, column) == BPCHAROID)
		id[bpchartruelen(id, (int) strlen(id))] = '\0';
	return id;
}

/* of the rows of one source, sets visible[i] of those that are not there */
static void
hide_rows(const BrPgCatalog *catalog, const BrPgBundleTable *table, const BrPgBundleRow *rows,
		  int n, bool *visible)
{
	char **ids = palloc(sizeof(char *) * Max(n, 1));
	BrPgBundleRow *seen;
	const BrPgBundleRow **sorted;
	uint64 n_seen;
	int n_ids = 0, n_sorted = 0;

	for (int i = 0; i < n; i++)
		if (rows[i].source == table->source &&
			(n_ids == 0 || strcmp(ids[n_ids - 1], rows[i].bundle_id) != 0))
			ids[n_ids++] = unconstify(char *, rows[i].bundle_id);
	if (n_ids == 0)
		return;
	n_seen = br_pg_catalog_select_visible(catalog, table->table, table->bundle_id, table->item_id,
										  ids, n_ids);
	seen = palloc(sizeof(BrPgBundleRow) * Max(n_seen, 1));
	sorted = palloc(sizeof(BrPgBundleRow *) * Max(n_seen, 1));
	for (uint64 row = 0; row < n_seen; row++)
	{
		seen[n_sorted].bundle_id = id_column(row, 1);
		seen[n_sorted].item_id = id_column(row, 2);
		if (seen[n_sorted].item_id == NULL)
			continue;
		sorted[n_sorted] = &seen[n_sorted];
		n_sorted++;
	}
	SPI_freetuptable(SPI_tuptable);
	qsort(sorted, n_sorted, sizeof(BrPgBundleRow *), compare_rows);
	for (int i = 0; i < n; i++)
	{
		const BrPgBundleRow *row = &rows[i];

		if (row->source == table->source && visible[i])
			visible[i] =
				bsearch(&row, sorted, n_sorted, sizeof(BrPgBundleRow *), compare_rows) != NULL;
	}
}

void
br_pg_bundle_rows_visible(const BrPgCatalog *catalog, const BrPgBundleTables *tables,
						  const BrPgBundleRow *rows, int n, bool *visible)
{
	if (br_pg_catalog_must_ask(catalog))
	{
		char **ids = palloc(sizeof(char *) * Max(n, 1));

		for (int i = 0; i < n; i++)
			ids[i] = rows[i].item_id;
		br_pg_catalog_visible(catalog, ids, n, visible);
	}
	else
		memset(visible, true, sizeof(bool) * (Size) n);
	for (int t = 0; t < tables->n; t++)
		if (tables->tables[t].row_security)
			hide_rows(catalog, &tables->tables[t], rows, n, visible);
}

static bool
is_there(const BrPgBundleTables *tables, int32 source)
{
	for (int i = 0; i < tables->n; i++)
		if (tables->tables[i].source == source)
			return true;
	return false;
}

bool
br_pg_bundle_visible(const BrPgCatalog *catalog, const char *bundle_id, char **item_ids, int n)
{
	static const Oid types[] = {TEXTOID, TEXTARRAYOID};
	Datum values[] = {CStringGetTextDatum(bundle_id), br_pg_text_array_datum(item_ids, n)};
	const BrPgBundleTables *tables = br_pg_bundle_tables(catalog);
	BrPgBundleRow *rows = palloc(sizeof(BrPgBundleRow) * Max(n, 1));
	bool *visible = palloc(sizeof(bool) * Max(n, 1));
	uint64 found;
	BrPgRights rights;

	if (!tables->filtered)
		return true;
	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT m.item_id, m.source FROM bundle_rec.bundle_@ b"
											" JOIN bundle_rec.bundle_item_@ m USING (bundle)"
											" WHERE b.bundle_id = $1 AND m.item_id = ANY ($2)",
											catalog->number),
						  2, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	/* what it held then and does not hold now cannot be looked for */
	if (found != (uint64) n)
		return false;
	for (int i = 0; i < n; i++)
	{
		bool is_null;

		rows[i].bundle_id = bundle_id;
		rows[i].item_id = br_pg_column_text(i, 1);
		rows[i].source = DatumGetInt32(br_pg_column(i, 2, &is_null));
		if (!is_there(tables, rows[i].source))
			return false;
	}
	SPI_freetuptable(SPI_tuptable);
	br_pg_bundle_rows_visible(catalog, tables, rows, n, visible);
	for (int i = 0; i < n; i++)
		if (!visible[i])
			return false;
	return true;
}
