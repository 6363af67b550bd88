/*
 * lineage.c
 *	  Models that are made of others, and what they came from.
 *
 * The parent's name is kept beside its number, for those who ask when it has
 * been dropped. And what the parent learned the child knows: until when that
 * was is taken over, so that no gate asks a child about sessions of its parent's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/model/lineage.h"
#include "pg/model/model_int.h"

static void
insert_lineage(int32 model, const BrPgLineage *lineage)
{
	static const char sql[] =
		"INSERT INTO bundle_rec.stored_lineage (model, made_by, parent, parent_name, job, catalog,"
		" objective, method, parameters, seed, data, learned_until, figures, backend, threads)"
		" SELECT $1, $2, m.model, m.name, nullif($4, 0), c.catalog, $6, $7, $8, $9, $10,"
		" GREATEST($11, p.learned_until), $12, $13, $14 FROM bundle_rec.stored_model m"
		" LEFT JOIN bundle_rec.stored_lineage p ON p.model = m.model"
		" LEFT JOIN bundle_rec.catalog c ON c.name = $5 WHERE m.model = $3";
	static const Oid types[] = {INT4OID,		TEXTOID,  INT4OID,	INT8OID, TEXTOID,
								TEXTOID,		TEXTOID,  JSONBOID, INT8OID, JSONBOID,
								TIMESTAMPTZOID, JSONBOID, TEXTOID,	INT4OID};
	Datum values[] = {Int32GetDatum(model),
					  CStringGetTextDatum(lineage->made_by),
					  Int32GetDatum(lineage->parent),
					  Int64GetDatum(lineage->job),
					  lineage->catalog == NULL ? (Datum) 0 : CStringGetTextDatum(lineage->catalog),
					  CStringGetTextDatum(lineage->objective),
					  CStringGetTextDatum(lineage->method),
					  JsonbPGetDatum(lineage->parameters),
					  Int64GetDatum(lineage->seed),
					  JsonbPGetDatum(lineage->data),
					  TimestampTzGetDatum(lineage->learned_until),
					  JsonbPGetDatum(lineage->figures),
					  CStringGetTextDatum(lineage->backend),
					  Int32GetDatum(lineage->threads)};
	char nulls[lengthof(types) + 1];

	memset(nulls, ' ', lengthof(types));
	nulls[lengthof(types)] = '\0';
	if (lineage->catalog == NULL)
		nulls[4] = 'n';
	if (TIMESTAMP_IS_NOBEGIN(lineage->learned_until))
		nulls[10] = 'n';
	if (br_pg_execute(sql, lengthof(types), types, values, nulls, false, 0) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the model that this one was made of does not exist any more"),
				 errhint("The view bundle_rec.model lists the models.")));
}

int32
br_pg_model_store(const char *name, const void *image, size_t size, const BrPgLineage *lineage)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_rec model", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before;
	BrContext context;
	BrPgRights saved;
	int32 model;

	br_pg_require_writes("storing a model");
	br_pg_model_require_new_name(name);
	before = MemoryContextSwitchTo(work);
	br_pg_context(&context, work);
	model = br_pg_model_insert(name, image, size, &context);
	br_pg_enter_owner(&saved);
	insert_lineage(model, lineage);
	br_pg_leave(&saved);
	MemoryContextDelete(MemoryContextSwitchTo(before));
	return model;
}

TimestampTz
br_pg_model_learned_until(int32 model)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(model)};
	bool is_null;
	Datum until;
	BrPgRights saved;

	br_pg_enter_owner(&saved);
	br_pg_execute("SELECT pg_catalog.max(learned_until) FROM bundle_rec.stored_lineage"
				  " WHERE model = $1",
				  lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&saved);
	until = br_pg_column(0, 1, &is_null);
	return is_null ? DT_NOBEGIN : DatumGetTimestampTz(until);
}

const void *
br_pg_model_image(int32 model, size_t *size)
{
	const BrPgOpenModel *opened = br_pg_model_open(model);

	*size = opened->key.size;
	return opened->packed.contents;
}

int32
br_pg_model_before_training(int32 model)
{
	/* numbers are never reused, so a parent that is gone is nobody else */
	static const char sql[] =
		"WITH RECURSIVE chain AS (SELECT l.made_by, l.parent, 1 AS depth"
		" FROM bundle_rec.stored_lineage l WHERE l.model = $1 UNION ALL"
		" SELECT l.made_by, l.parent, chain.depth + 1 FROM chain"
		" JOIN bundle_rec.stored_lineage l ON l.model = chain.parent),"
		" first AS (SELECT parent FROM chain WHERE made_by = 'train' ORDER BY depth DESC LIMIT 1),"
		" last AS (SELECT parent FROM chain ORDER BY depth DESC LIMIT 1)"
		" SELECT CASE WHEN NOT EXISTS (SELECT FROM chain) THEN $1"
		" WHEN NOT EXISTS (SELECT FROM last JOIN bundle_rec.stored_model m ON m.model = last.parent) THEN 0"
		" ELSE coalesce((SELECT parent FROM first), $1) END";
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(model)};
	BrPgRights saved;
	bool is_null;
	int32 found;

	br_pg_enter_owner(&saved);
	br_pg_execute(sql, lengthof(types), types, values, NULL, true, 1);
	found = DatumGetInt32(br_pg_column(0, 1, &is_null));
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);
	return found;
}
