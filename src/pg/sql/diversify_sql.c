/*
 * diversify_sql.c
 *	  SQL door of diversity (sql/parts/diversify.sql): which of given items to show
 *	  together, so that they do not repeat one another.
 *
 * Similarity is that of the items' texts: cosines, whose matrix is positive
 * semidefinite, as a determinantal point process needs it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/bundle/br_bundle.h"
#include "core/math/br_math.h"
#include "pg/catalog/catalog.h"
#include "pg/embedding.h"
#include "pg/sql/arguments.h"

PG_FUNCTION_INFO_V1(br_diversify);

/* places of the arguments */
enum
{
	CATALOG,
	ITEMS,
	QUALITY,
	WANTED,
	THETA,
	METHOD
};

/* their similarities are (n, n) numbers */
#define MOST_ITEMS 2000

/* ---- arguments ---- */

static int
compare_ids(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

static char **
items_argument(FunctionCallInfo fcinfo, int *n)
{
	char **item_ids, **sorted;

	br_pg_require_argument(fcinfo, ITEMS, "items");
	item_ids = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(ITEMS), "items", n);
	if (*n > MOST_ITEMS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%d items are too many", *n),
				 errdetail("diversify compares at most %d.", MOST_ITEMS)));
	sorted = palloc(sizeof(char *) * Max(*n, 1));
	memcpy(sorted, item_ids, sizeof(char *) * *n);
	qsort(sorted, *n, sizeof(char *), compare_ids);
	for (int i = 1; i < *n; i++)
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("item \"%s\" is named twice", sorted[i])));
	return item_ids;
}

/* (n); 0 of each where none is given: all are equally good */
static const double *
quality_argument(FunctionCallInfo fcinfo, int n)
{
	ArrayType *array;
	const double *quality;
	int found;

	if (PG_ARGISNULL(QUALITY))
		return palloc0(sizeof(double) * Max(n, 1));
	array = PG_GETARG_ARRAYTYPE_P(QUALITY);
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("quality must not have NULL elements")));
	quality = br_pg_array_elements(PointerGetDatum(array), &found);
	if (found != n)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d items have %d qualities", n, found),
				 errhint("Give as many, or NULL where all are equally good.")));
	for (int i = 0; i < n; i++)
		if (!isfinite(quality[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("quality %d is %g; it must be finite", i + 1, quality[i])));
	return quality;
}

static double
theta_argument(FunctionCallInfo fcinfo)
{
	double theta;

	br_pg_require_argument(fcinfo, THETA, "theta");
	theta = PG_GETARG_FLOAT8(THETA);
	if (!(theta >= 0 && theta <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("theta is %g; it must be from 0 to 1", theta),
				 errhint("0: diversity alone; 1: quality alone.")));
	return theta;
}

/* whether by coverage, else by determinants */
static bool
method_argument(FunctionCallInfo fcinfo)
{
	char *method = br_pg_text_argument(fcinfo, METHOD, "method");

	if (strcmp(method, "coverage") != 0 && strcmp(method, "dpp") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no method \"%s\"", method),
				 errhint("Methods are dpp and coverage.")));
	return strcmp(method, "coverage") == 0;
}

/* ---- how alike the items are ---- */

/* (n), NULL where an item has none; raises 42704 for an item that is not there */
static const BrEmbedding **
find_embeddings(const BrPgCatalog *catalog, char **item_ids, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[] = {br_pg_text_array_datum(item_ids, n)};
	const BrEmbedding **embeddings = palloc0(sizeof(BrEmbedding *) * Max(n, 1));
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute(br_pg_catalog_sql("SELECT i.item, i.embedding FROM pg_catalog.unnest($1)"
									" WITH ORDINALITY AS u(item_id, place)"
									" LEFT JOIN bundle_rec.item_@ i USING (item_id)"
									" ORDER BY u.place",
									catalog->number),
				  lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (int i = 0; i < n; i++)
	{
		bool is_null;
		Datum value;

		(void) br_pg_column(i, 1, &is_null);
		if (is_null)
			br_pg_catalog_refuse_item(catalog, item_ids[i]);
		value = br_pg_column(i, 2, &is_null);
		embeddings[i] = is_null ? NULL : (BrEmbedding *) PG_DETOAST_DATUM_COPY(value);
	}
	br_pg_catalog_require_visible(catalog, item_ids, n);
	return embeddings;
}

/* (n, n); an item without text is like no other */
static double *
similarities(const BrEmbedding *const *embeddings, int n)
{
	double *similarity = palloc0(sizeof(double) * Max((size_t) n * n, 1));
	double *squares = palloc0(sizeof(double) * Max(n, 1));

	for (int a = 0; a < n; a++)
	{
		const BrEmbedding *left = embeddings[a];

		CHECK_FOR_INTERRUPTS();
		similarity[(size_t) a * n + a] = 1;
		if (left == NULL)
			continue;
		squares[a] = br_math_half_dot(left->components, left->components, left->dims);
		for (int b = 0; b < a; b++)
		{
			const BrEmbedding *right = embeddings[b];
			double cosine;

			if (right == NULL || right->dims != left->dims || squares[a] * squares[b] == 0)
				continue;
			cosine = br_math_half_dot(left->components, right->components, left->dims) /
				sqrt(squares[a] * squares[b]);
			similarity[(size_t) a * n + b] = similarity[(size_t) b * n + a] =
				Min(Max(cosine, -1.0), 1.0);
		}
	}
	return similarity;
}

/* ---- choosing ---- */

static int *
pick(const double *similarity, const double *quality, int n, int k, double theta, bool covering)
{
	int *picks = palloc(sizeof(int) * Max(k, 1));
	double *weighed = palloc(sizeof(double) * Max(n, 1));
	BrContext context;
	BrStatus status;

	for (int i = 0; i < n; i++)
		weighed[i] = covering ? theta * quality[i] : br_bundle_log_quality(quality[i], theta);
	br_pg_context(&context, CurrentMemoryContext);
	status = covering
		? br_bundle_covering(&context, similarity, weighed, n, k, 1 - theta, picks, NULL)
		: br_bundle_diverse(&context, similarity, weighed, n, k, picks, NULL);
	br_pg_check(status, &context, "could not choose among the items", NULL);
	return picks;
}

PGDLLEXPORT Datum
br_diversify(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	BrPgCatalog *catalog;
	char **item_ids;
	const double *quality;
	double theta;
	bool covering;
	int n, k;
	int *picks;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	catalog = br_pg_catalog_open(br_pg_text_argument(fcinfo, CATALOG, "catalog"));
	br_pg_catalog_require_reader(catalog);
	item_ids = items_argument(fcinfo, &n);
	quality = quality_argument(fcinfo, n);
	k = Min(br_pg_rows_argument(fcinfo, WANTED), n);
	theta = theta_argument(fcinfo);
	covering = method_argument(fcinfo);
	picks = pick(similarities(find_embeddings(catalog, item_ids, n), n), quality, n, k, theta,
				 covering);
	for (int i = 0; i < k; i++)
	{
		Datum values[] = {Int32GetDatum(i + 1), CStringGetTextDatum(item_ids[picks[i]])};
		bool nulls[] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	return (Datum) 0;
}
