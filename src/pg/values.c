/*
 * values.c
 *	  Between C and Datums: arrays, numbers of any type, tables by text.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"

#include "pg/br_pg.h"

/* ---- arrays ---- */

char **
br_pg_text_array(ArrayType *array, const char *argument, int *n)
{
	Datum *elements;
	bool *nulls;
	char **texts;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, n);
	texts = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("element %d of \"%s\" is NULL", i + 1, argument)));
		texts[i] = TextDatumGetCString(elements[i]);
	}
	return texts;
}

/* construct_array would take a Datum for each of what may be a thousand arms' features */
static Datum
array_of(const void *values, int n, Size size, Oid type)
{
	Size bytes = ARR_OVERHEAD_NONULLS(1) + size * (Size) n;
	ArrayType *array;

	if (n == 0)
		return PointerGetDatum(construct_empty_array(type));
	array = palloc0(bytes);
	SET_VARSIZE(array, bytes);
	array->ndim = 1;
	array->elemtype = type;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	memcpy(ARR_DATA_PTR(array), values, size * (Size) n);
	return PointerGetDatum(array);
}

Datum
br_pg_int4_array(const int32 *values, int n)
{
	return array_of(values, n, sizeof(int32), INT4OID);
}

Datum
br_pg_float4_array(const float *values, int n)
{
	return array_of(values, n, sizeof(float), FLOAT4OID);
}

Datum
br_pg_float8_array(const double *values, int n)
{
	return array_of(values, n, sizeof(double), FLOAT8OID);
}

Datum
br_pg_text_array_datum(char **values, int n)
{
	Datum *elements = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(values[i]);
	return PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

const void *
br_pg_array_elements(Datum datum, int *n)
{
	ArrayType *array = DatumGetArrayTypeP(datum);

	*n = 0;
	if (ARR_HASNULL(array))
		return NULL;
	*n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return ARR_DATA_PTR(array);
}

const void *
br_pg_column_elements(uint64 row, int column, int *n)
{
	bool is_null;
	Datum datum = br_pg_column(row, column, &is_null);

	*n = 0;
	return is_null ? NULL : br_pg_array_elements(datum, n);
}

/* ---- numbers ---- */

bool
br_pg_is_number(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID || type == FLOAT4OID ||
		type == FLOAT8OID || type == NUMERICOID;
}

/* 9.99::real is meant as 9.99, not as the nearest real written as a double */
static double
widen_float4(float4 value)
{
	char digits[FLOAT_SHORTEST_DECIMAL_LEN];

	if (isnan(value) || isinf(value))
		return value;
	float_to_shortest_decimal_buf(value, digits);
	return strtod(digits, NULL);
}

double
br_pg_number(Datum value, Oid type)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return (double) DatumGetInt64(value);
		case FLOAT4OID:
			return widen_float4(DatumGetFloat4(value));
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, value));
	}
	elog(ERROR, "type %u is not a number", type);
}

int
br_pg_compare_doubles(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return a < b ? -1 : a > b;
}

/* ---- tables ---- */

static uint32
hash_text(const void *key, Size size)
{
	const char *text = *(const char *const *) key;

	return hash_bytes((const unsigned char *) text, (int) strlen(text));
}

static int
compare_texts(const void *left, const void *right, Size size)
{
	return strcmp(*(const char *const *) left, *(const char *const *) right);
}

HTAB *
br_pg_text_table(const char *name, long expected, Size entry, MemoryContext memory)
{
	HASHCTL control = {
		.keysize = sizeof(const char *),
		.entrysize = entry,
		.hash = hash_text,
		.match = compare_texts,
		.hcxt = memory,
	};

	return hash_create(name, expected, &control,
					   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}
