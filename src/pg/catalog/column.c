/*
 * column.c
 *	  Columns of a source, found by name and read from slots.
 *
 * Values are turned into text by their type's output function and into
 * numbers by arithmetic, never by casts: a cast may be anybody's code. Ids and
 * texts must be of types whose output is the same in every session, whatever
 * DateStyle or extra_float_digits say, or an item would change its id with the
 * session that writes it.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "pg/catalog/catalog_int.h"

static bool
type_fits(Oid type, BrPgColumnKind kind)
{
	char category;
	bool preferred;

	switch (kind)
	{
		case BR_PG_COLUMN_NUMBER:
			return br_pg_is_number(type);
		case BR_PG_COLUMN_BOOLEAN:
			return type == BOOLOID;
		case BR_PG_COLUMN_TIME:
			return type == DATEOID || type == TIMESTAMPOID || type == TIMESTAMPTZOID;
		case BR_PG_COLUMN_TEXT:
			get_type_category_preferred(type, &category, &preferred);
			return category == TYPCATEGORY_STRING || category == TYPCATEGORY_ENUM ||
				type == INT2OID || type == INT4OID || type == INT8OID || type == NUMERICOID ||
				type == OIDOID || type == UUIDOID;
		case BR_PG_COLUMN_ANY:
			return true;
	}
	return false;
}

static const char *
kind_wanted(BrPgColumnKind kind)
{
	switch (kind)
	{
		case BR_PG_COLUMN_NUMBER:
			return "an integer type, real, double precision or numeric";
		case BR_PG_COLUMN_BOOLEAN:
			return "boolean";
		case BR_PG_COLUMN_TIME:
			return "date, timestamp or timestamptz";
		default:
			return "text, varchar, char, an enum, uuid, an integer type or numeric";
	}
}

bool
br_pg_column_find(Relation source, const char *name, BrPgColumnKind kind, BrPgColumn *column,
				  char **problem)
{
	TupleDesc descriptor = RelationGetDescr(source);
	const char *table = RelationGetRelationName(source);

	memset(column, 0, sizeof(*column));
	if (name == NULL)
		return true;
	for (int i = 0; i < descriptor->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(descriptor, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
		{
			column->number = attribute->attnum;
			column->type = getBaseType(attribute->atttypid);
		}
	}
	if (column->number == 0)
	{
		if (problem == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s\" has no column \"%s\"", table, name)));
		*problem = psprintf("Table \"%s\" has no column \"%s\" any more.", table, name);
		return false;
	}
	if (!type_fits(column->type, kind))
	{
		if (problem == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of table \"%s\" has type %s", name, table,
							format_type_be(column->type)),
					 errhint("It must be %s; a generated column can convert it.",
							 kind_wanted(kind))));
		*problem = psprintf("Column \"%s\" of table \"%s\" has type %s now.", name, table,
							format_type_be(column->type));
		return false;
	}
	if (kind == BR_PG_COLUMN_TEXT)
	{
		Oid output;
		bool is_varlena;

		getTypeOutputInfo(column->type, &output, &is_varlena);
		fmgr_info(output, &column->output);
	}
	return true;
}

char *
br_pg_column_read_text(const BrPgColumn *column, TupleTableSlot *slot)
{
	bool is_null;
	Datum value;
	char *text;

	if (column->number == 0)
		return NULL;
	value = slot_getattr(slot, column->number, &is_null);
	if (is_null)
		return NULL;
	text = OutputFunctionCall(unconstify(FmgrInfo *, &column->output), value);
	if (column->type == BPCHAROID)
		text[bpchartruelen(text, (int) strlen(text))] = '\0';
	return text;
}

double
br_pg_column_read_number(const BrPgColumn *column, TupleTableSlot *slot, bool *known)
{
	bool is_null = true;
	Datum value = 0;

	if (column->number != 0)
		value = slot_getattr(slot, column->number, &is_null);
	*known = !is_null;
	if (is_null)
		return 0;
	return br_pg_number(value, column->type);
}

TimestampTz
br_pg_column_read_time(const BrPgColumn *column, TupleTableSlot *slot, bool *known)
{
	bool is_null = true;
	Datum value = 0;
	int overflow = 0;
	TimestampTz result;

	if (column->number != 0)
		value = slot_getattr(slot, column->number, &is_null);
	*known = false;
	if (is_null)
		return 0;
	if (column->type == TIMESTAMPTZOID)
		result = DatumGetTimestampTz(value);
	else if (column->type == DATEOID)
		result = date2timestamptz_opt_overflow(DatumGetDateADT(value), &overflow);
	else
		result = timestamp2timestamptz_opt_overflow(DatumGetTimestamp(value), &overflow);
	*known = overflow == 0 && !TIMESTAMP_NOT_FINITE(result);
	return result;
}

bool
br_pg_column_read_boolean(const BrPgColumn *column, TupleTableSlot *slot, bool when_null)
{
	bool is_null = true;
	Datum value = 0;

	if (column->number != 0)
		value = slot_getattr(slot, column->number, &is_null);
	return is_null ? when_null : DatumGetBool(value);
}

bool
br_pg_column_same(const BrPgColumn *column, Relation source, TupleTableSlot *left,
				  TupleTableSlot *right)
{
	Form_pg_attribute attribute;
	bool left_null, right_null;
	Datum left_value, right_value;

	if (column->number == 0)
		return true;
	attribute = TupleDescAttr(RelationGetDescr(source), column->number - 1);
	left_value = slot_getattr(left, column->number, &left_null);
	right_value = slot_getattr(right, column->number, &right_null);
	if (left_null || right_null)
		return left_null && right_null;
	return datum_image_eq(left_value, right_value, attribute->attbyval, attribute->attlen);
}

static bool
index_makes_unique(Oid index, AttrNumber column)
{
	HeapTuple tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;
	bool unique;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	unique = form->indisunique && form->indimmediate && form->indisvalid &&
		form->indnkeyatts == 1 && form->indkey.values[0] == column &&
		heap_attisnull(tuple, Anum_pg_index_indpred, NULL);
	ReleaseSysCache(tuple);
	return unique;
}

bool
br_pg_column_is_unique(Relation source, const BrPgColumn *column)
{
	List *indexes = RelationGetIndexList(source);
	ListCell *cell;
	bool unique = false;

	foreach (cell, indexes)
		unique = unique || index_makes_unique(lfirst_oid(cell), column->number);
	list_free(indexes);
	return unique;
}

bool
br_pg_column_is_part_of_key(Relation source, const BrPgColumn *column)
{
	HeapTuple tuple;
	Form_pg_index form;
	bool part = false;

	list_free(RelationGetIndexList(source));
	if (!OidIsValid(source->rd_pkindex))
		return false;
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(source->rd_pkindex));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_index) GETSTRUCT(tuple);
	for (int i = 0; form->indnkeyatts > 1 && i < form->indnkeyatts; i++)
		part = part || form->indkey.values[i] == column->number;
	ReleaseSysCache(tuple);
	return part;
}

Datum
br_pg_array(Datum *values, bool *nulls, int n, Oid type)
{
	int dims[1] = {n};
	int lower[1] = {1};
	int16 length;
	bool by_value;
	char alignment;

	get_typlenbyvalalign(type, &length, &by_value, &alignment);
	if (n == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(
		construct_md_array(values, nulls, 1, dims, lower, type, length, by_value, alignment));
}
