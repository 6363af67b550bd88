/*
 * store.c
 *	  Versions in tables: written once, put into service, and let go.
 *
 * Rows are written before the version serves, all in one transaction, so that
 * whoever reads finds a version whole or not at all. A lock on the table of lists
 * lets one writer through at a time; readers do not meet it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "pg/bulk.h"
#include "pg/learn/learn_int.h"

/* rows that are written together */
#define ROWS 500

/* Rows on their way into a table of (version, item, one array or two). */
typedef struct Writer
{
	Oid table;
	BrPgBatch batch;
	Datum version;
	Datum *columns[6]; /* (ROWS) */
	Datum **values;
	bool **nulls;
	MemoryContext memory; /* of the rows */
} Writer;

static void
open_writer(Writer *writer, const char *table, int32 catalog, int32 version,
			const char *const *names, int columns)
{
	writer->table = br_pg_child(table, catalog);
	writer->memory =
		AllocSetContextCreate(CurrentMemoryContext, "rows to write", ALLOCSET_DEFAULT_SIZES);
	writer->values = palloc(sizeof(Datum *) * columns);
	writer->nulls = palloc0(sizeof(bool *) * columns);
	for (int c = 0; c < columns; c++)
	{
		writer->columns[c] = palloc0(sizeof(Datum) * ROWS);
		writer->values[c] = writer->columns[c];
		/* the first two are the same in all rows; NULL flags say so of the others by their absence */
		writer->nulls[c] = c < 2 ? NULL : palloc0(sizeof(bool) * ROWS);
	}
	writer->columns[0][0] = Int32GetDatum(catalog);
	writer->columns[1][0] = Int32GetDatum(version);
	writer->batch = (BrPgBatch){.columns = columns,
								.names = names,
								.values = writer->values,
								.nulls = writer->nulls};
}

static void
flush(Writer *writer)
{
	if (writer->batch.rows > 0)
		br_pg_bulk_insert(writer->table, &writer->batch);
	writer->batch.rows = 0;
	MemoryContextReset(writer->memory);
	CHECK_FOR_INTERRUPTS();
}

static void
next_row(Writer *writer)
{
	if (++writer->batch.rows == ROWS)
		flush(writer);
}

static void
close_writer(Writer *writer)
{
	flush(writer);
	MemoryContextDelete(writer->memory);
}

static int32
number_of(const BrPgLearnData *data, const BrPgLearned *learned, int index)
{
	return learned->of_bundles ? data->bundles[index] : data->items[index].number;
}

static void
write_lists(const BrPgLearnData *data, const BrPgLearned *learned, int32 version)
{
	static const char *const names[] = {"catalog", "version", "item", "others", "weights"};
	const BrLists *lists = &learned->lists;
	Writer writer;

	open_writer(&writer, "learned_list", data->catalog->number, version, names, lengthof(names));
	for (int i = 0; i < lists->n; i++)
	{
		int n = (int) (lists->starts[i + 1] - lists->starts[i]);
		const int32_t *ids = lists->ids + lists->starts[i];
		MemoryContext outer;
		int32 *others;

		if (n == 0)
			continue;
		outer = MemoryContextSwitchTo(writer.memory);
		others = palloc(sizeof(int32) * n);
		for (int j = 0; j < n; j++)
			others[j] = number_of(data, learned, ids[j]);
		writer.columns[2][writer.batch.rows] = Int32GetDatum(number_of(data, learned, i));
		writer.columns[3][writer.batch.rows] = br_pg_int4_array(others, n);
		writer.columns[4][writer.batch.rows] =
			br_pg_float4_array(lists->weights + lists->starts[i], n);
		MemoryContextSwitchTo(outer);
		next_row(&writer);
	}
	close_writer(&writer);
}

/* the list of number 0 is nobody's in particular: what each has whatever the context */
static void
write_bias(const BrPgLearnData *data, const BrPgLearned *learned, int32 version)
{
	static const Oid types[] = {INT4OID, INT4ARRAYOID, FLOAT4ARRAYOID};
	int n = learned->of_bundles ? data->n_bundles : data->n_items;
	int32 *others = palloc_extended(sizeof(int32) * Max(n, 1), MCXT_ALLOC_HUGE);
	float *weights = palloc_extended(sizeof(float) * Max(n, 1), MCXT_ALLOC_HUGE);
	Datum values[3];
	int kept = 0;

	for (int i = 0; i < n; i++)
		if (learned->bias[i] != 0)
		{
			others[kept] = number_of(data, learned, i);
			weights[kept++] = learned->bias[i];
		}
	values[0] = Int32GetDatum(version);
	values[1] = br_pg_int4_array(others, kept);
	values[2] = br_pg_float4_array(weights, kept);
	br_pg_execute(br_pg_catalog_sql("INSERT INTO bundle_rec.learned_list_@ (version, item, others,"
									" weights) VALUES ($1, 0, $2, $3)",
									data->catalog->number),
				  lengthof(types), types, values, NULL, false, 0);
}

static void
write_vectors(const BrPgLearnData *data, const BrPgLearned *learned, int32 version)
{
	static const char *const names[] = {"catalog", "version", "item", "vector"};
	int n = learned->of_bundles ? data->n_bundles : data->n_items;
	Writer writer;

	open_writer(&writer, "learned_vector", data->catalog->number, version, names, lengthof(names));
	for (int i = 0; i < n; i++)
	{
		MemoryContext outer = MemoryContextSwitchTo(writer.memory);

		writer.columns[2][writer.batch.rows] = Int32GetDatum(number_of(data, learned, i));
		writer.columns[3][writer.batch.rows] =
			br_pg_float4_array(learned->vectors + (Size) i * learned->dims, learned->dims);
		MemoryContextSwitchTo(outer);
		next_row(&writer);
	}
	close_writer(&writer);
}

static void
write_sets(const BrPgLearnData *data, const BrPgLearned *learned, int32 version)
{
	static const char *const names[] = {"catalog", "version",	 "number",
										"items",   "categories", "support"};
	Writer writer;

	open_writer(&writer, "learned_set", data->catalog->number, version, names, lengthof(names));
	for (int i = 0; i < learned->n_sets; i++)
	{
		const BrPgSet *set = &learned->sets[i];
		MemoryContext outer = MemoryContextSwitchTo(writer.memory);
		int32 *items = palloc(sizeof(int32) * set->n);
		char **categories = palloc(sizeof(char *) * set->n);
		int n_items = 0, n_categories = 0;

		for (int j = 0; j < set->n; j++)
			if (set->columns[j] < data->n_items)
				items[n_items++] = data->items[set->columns[j]].number;
			else
				categories[n_categories++] = data->categories[set->columns[j] - data->n_items];
		writer.columns[2][writer.batch.rows] = Int32GetDatum(i + 1);
		writer.columns[3][writer.batch.rows] = br_pg_int4_array(items, n_items);
		writer.columns[4][writer.batch.rows] = br_pg_text_array_datum(categories, n_categories);
		writer.columns[5][writer.batch.rows] = Int64GetDatum(set->support);
		MemoryContextSwitchTo(outer);
		next_row(&writer);
	}
	close_writer(&writer);
}

/* ---- rows of learned_version ---- */

static void
delete_version(int32 catalog, int32 version)
{
	static const Oid types[] = {INT4OID};
	static const char *const statements[] = {
		"DELETE FROM bundle_rec.learned_list_@ WHERE version = $1",
		"DELETE FROM bundle_rec.learned_vector_@ WHERE version = $1",
		"DELETE FROM bundle_rec.learned_set_@ WHERE version = $1",
		"DELETE FROM bundle_rec.learned_version WHERE version = $1",
	};
	Datum values[] = {Int32GetDatum(version)};

	for (int i = 0; i < lengthof(statements); i++)
		br_pg_execute(br_pg_catalog_sql(statements[i], catalog), 1, types, values, NULL, false, 0);
}

static void
drop_old(int32 catalog, const char *kind)
{
	static const Oid types[] = {INT4OID, TEXTOID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog), CStringGetTextDatum(kind),
					  Int32GetDatum(BR_PG_KEPT_VERSIONS)};
	uint64 n = br_pg_execute("SELECT version FROM bundle_rec.learned_version WHERE catalog = $1"
							 " AND kind = $2 AND NOT serving ORDER BY version DESC OFFSET $3 - 1",
							 lengthof(types), types, values, NULL, false, 0);
	int32 *versions = palloc(sizeof(int32) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
	{
		bool is_null;

		versions[i] = DatumGetInt32(br_pg_column(i, 1, &is_null));
	}
	for (uint64 i = 0; i < n; i++)
		delete_version(catalog, versions[i]);
}

static void
end_service(int32 catalog, const char *kind)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog), CStringGetTextDatum(kind)};

	br_pg_execute("UPDATE bundle_rec.learned_version SET serving = false WHERE catalog = $1"
				  " AND kind = $2 AND serving",
				  lengthof(types), types, values, NULL, false, 0);
}

/* one writer at a time; readers are not kept */
static void
lock_versions(int32 catalog)
{
	br_pg_catalog_hold(catalog);
	LockRelationOid(br_pg_child("learned_list", catalog), ShareRowExclusiveLock);
}

static int32
insert_version(const BrPgLearnData *data, const BrPgLearned *learned, Datum figures)
{
	static const Oid types[] = {INT4OID,		TEXTOID,   JSONBOID, JSONBOID,
								FLOAT8ARRAYOID, FLOAT8OID, INT8OID};
	Datum values[] = {Int32GetDatum(data->catalog->number),
					  CStringGetTextDatum(br_pg_fit_kind_name(learned->kind)),
					  JsonbPGetDatum(br_pg_parameters_json(br_pg_kind_parameters(learned->kind),
														   learned->parameters)),
					  figures,
					  br_pg_float8_array(learned->weights, learned->n_weights),
					  Float8GetDatum(learned->seconds),
					  Int64GetDatum(data->counted)};
	bool is_null;

	br_pg_execute("INSERT INTO bundle_rec.learned_version (catalog, kind, parameters, figures, weights,"
				  " seconds, serving, events) VALUES ($1, $2, $3, $4, NULLIF($5, '{}'), $6, true, $7)"
				  " RETURNING version",
				  lengthof(types), types, values, NULL, false, 0);
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

int32
br_pg_store_version(const BrPgLearnData *data, const BrPgLearned *learned, Datum *figures)
{
	int32 catalog = data->catalog->number;
	const char *kind = br_pg_fit_kind_name(learned->kind);
	BrPgRights rights;
	int32 version;

	*figures =
		DirectFunctionCall1(jsonb_in, CStringGetDatum(psprintf("{%s}", learned->figures.data)));
	br_pg_enter_owner(&rights);
	lock_versions(catalog);
	end_service(catalog, kind);
	version = insert_version(data, learned, *figures);
	if (learned->lists.n > 0)
		write_lists(data, learned, version);
	if (learned->bias != NULL)
		write_bias(data, learned, version);
	if (learned->dims > 0)
		write_vectors(data, learned, version);
	if (learned->n_sets > 0)
		write_sets(data, learned, version);
	drop_old(catalog, kind);
	br_pg_leave(&rights);
	return version;
}

/* ---- changing what serves ---- */

/* the kind of a version, with the catalog's versions locked, in an owner section */
static char *
lock_version(const BrPgCatalog *catalog, int32 version)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number), Int32GetDatum(version)};

	lock_versions(catalog->number);
	if (br_pg_execute_now("SELECT kind FROM bundle_rec.learned_version WHERE catalog = $1 AND version = $2",
						  lengthof(types), types, values) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("catalog \"%s\" has no version %d", catalog->name, version),
				 errhint("The view bundle_rec.learner lists versions; of each kind the newest are"
						 " kept.")));
	return br_pg_column_text(0, 1);
}

void
br_pg_serve_version(const char *name, int32 version)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(version)};
	const BrPgCatalog *catalog = br_pg_catalog_open_owned(name);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	end_service(catalog->number, lock_version(catalog, version));
	br_pg_execute("UPDATE bundle_rec.learned_version SET serving = true WHERE version = $1", 1,
				  types, values, NULL, false, 0);
	br_pg_leave(&rights);
}

void
br_pg_drop_version(const char *name, int32 version)
{
	const BrPgCatalog *catalog = br_pg_catalog_open_owned(name);
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	(void) lock_version(catalog, version);
	delete_version(catalog->number, version);
	br_pg_leave(&rights);
}
