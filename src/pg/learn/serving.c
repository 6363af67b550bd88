/*
 * serving.c
 *	  Reading the versions in service.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/learn/serving.h"

/* ---- which serve ---- */

static void
read_weights(uint64 row, int column, BrRanker *ranker)
{
	int n;
	const double *weights = br_pg_column_elements(row, column, &n);

	/* one that was fitted to features of another schema */
	if (n != BR_FEATURE_COUNT)
		elog(ERROR, "a ranker has %d weights", n);
	memcpy(ranker->weight, weights, sizeof(ranker->weight));
}

BrPgServing *
br_pg_serving_open(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	BrPgServing *serving = palloc0(sizeof(BrPgServing));
	BrPgRights rights;
	uint64 n;

	serving->catalog = catalog;
	br_pg_enter_owner(&rights);
	n = br_pg_execute("SELECT kind, version,"
					  " CASE WHEN kind IN ('ranker', 'bundle_ranker') THEN weights END,"
					  " CASE kind WHEN 'als' THEN (parameters ->> 'lambda')::pg_catalog.float8 END,"
					  " CASE kind WHEN 'als' THEN (parameters ->> 'alpha')::pg_catalog.float8 END"
					  " FROM bundle_rec.learned_version WHERE catalog = $1 AND serving",
					  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < n; row++)
	{
		BrPgKindNumber kind = br_pg_kind_of(br_pg_column_text(row, 1));
		bool is_null;

		/* a kind that this version of the library does not know serves nothing */
		if (kind == BR_PG_N_KINDS)
			continue;
		serving->version[kind] = DatumGetInt32(br_pg_column(row, 2, &is_null));
		if (kind == BR_PG_KIND_RANKER)
			read_weights(row, 3, &serving->ranker);
		else if (kind == BR_PG_KIND_BUNDLE_RANKER)
			read_weights(row, 3, &serving->bundle_ranker);
		else if (kind == BR_PG_KIND_ALS)
		{
			serving->als_lambda = br_pg_column_number(row, 4, 0);
			serving->als_alpha = br_pg_column_number(row, 5, 1);
		}
	}
	SPI_freetuptable(SPI_tuptable);
	return serving;
}

const BrRanker *
br_pg_serving_ranker(const BrPgServing *serving, bool curated, int32 *version)
{
	*version = serving->version[curated ? BR_PG_KIND_BUNDLE_RANKER : BR_PG_KIND_RANKER];
	if (*version == 0)
		return NULL;
	return curated ? &serving->bundle_ranker : &serving->ranker;
}

/* ---- lists ---- */

static BrPgKindNumber
kind_of_version(const BrPgServing *serving, int32 version)
{
	int kind = 0;

	while (serving->version[kind] != version)
		kind++;
	return (BrPgKindNumber) kind;
}

static void
say_row(const BrPgServing *serving, uint64 row, int most, BrPgSaid said, void *state)
{
	bool is_null;
	BrPgKindNumber kind = kind_of_version(serving, DatumGetInt32(br_pg_column(row, 1, &is_null)));
	int32 from = DatumGetInt32(br_pg_column(row, 2, &is_null));
	int n, n_weights;
	const int32 *others = br_pg_column_elements(row, 3, &n);
	const float *weights = br_pg_column_elements(row, 4, &n_weights);

	n = Min(n, n_weights);
	if (from != 0)
		n = Min(n, most);
	for (int i = 0; i < n; i++)
		said(state, kind, from, others[i], weights[i]);
}

static void
read_lists(const BrPgServing *serving, const int32 *versions, int n_versions, const int32 *things,
		   int n, int most, BrPgSaid said, void *state)
{
	static const Oid types[] = {INT4ARRAYOID, INT4ARRAYOID};
	int32 *items = palloc(sizeof(int32) * (n + 1));
	Datum values[2];
	uint64 found;

	if (n_versions == 0)
		return;
	/* what is said of nothing in particular stands at 0 */
	items[0] = 0;
	memcpy(items + 1, things, sizeof(int32) * n);
	values[0] = br_pg_int4_array(versions, n_versions);
	values[1] = br_pg_int4_array(items, n + 1);
	/* sums of what is said hang on its order */
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT l.version, l.item, l.others, l.weights"
										" FROM pg_catalog.unnest($1) AS v(version)"
										" CROSS JOIN pg_catalog.unnest($2) AS u(item)"
										" JOIN bundle_rec.learned_list_@ l USING (version, item)"
										" ORDER BY l.version, l.item",
										serving->catalog),
					  lengthof(types), types, values, NULL, true, 0);
	for (uint64 row = 0; row < found; row++)
		say_row(serving, row, most, said, state);
	SPI_freetuptable(SPI_tuptable);
}

void
br_pg_serving_lists(const BrPgServing *serving, bool of_bundles, const int32 *things, int n,
					int most, BrPgSaid said, void *state)
{
	static const BrPgKindNumber item_kinds[] = {BR_PG_KIND_POPULARITY, BR_PG_KIND_ASSOCIATION,
												BR_PG_KIND_EASE,	   BR_PG_KIND_ALS,
												BR_PG_KIND_COMPLEMENT, BR_PG_KIND_LEXICAL};
	static const BrPgKindNumber bundle_kinds[] = {BR_PG_KIND_BUNDLE_COMPANIONS,
												  BR_PG_KIND_BUNDLE_ASSOCIATION,
												  BR_PG_KIND_BUNDLE_EASE, BR_PG_KIND_BUNDLE_GRAPH};
	const BrPgKindNumber *kinds = of_bundles ? bundle_kinds : item_kinds;
	int n_kinds = of_bundles ? lengthof(bundle_kinds) : lengthof(item_kinds);
	int32 versions[BR_PG_N_KINDS];
	int n_versions = 0;

	for (int i = 0; i < n_kinds; i++)
		if (serving->version[kinds[i]] != 0)
			versions[n_versions++] = serving->version[kinds[i]];
	read_lists(serving, versions, n_versions, things, n, most, said, state);
}

void
br_pg_serving_list(const BrPgServing *serving, BrPgKindNumber kind, const int32 *things, int n,
				   int most, BrPgSaid said, void *state)
{
	read_lists(serving, &serving->version[kind], serving->version[kind] != 0, things, n, most, said,
			   state);
}

/* ---- folding in ---- */

static double *
read_gram(int32 version, int *n)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(version)};
	const double *weights;
	double *gram;

	br_pg_execute("SELECT weights FROM bundle_rec.learned_version WHERE version = $1", 1, types,
				  values, NULL, true, 0);
	weights = SPI_processed > 0 ? br_pg_column_elements(0, 1, n) : NULL;
	if (weights == NULL)
		elog(ERROR, "version %d has no Gram matrix", version);
	gram = memcpy(palloc(sizeof(double) * *n), weights, sizeof(double) * *n);
	SPI_freetuptable(SPI_tuptable);
	return gram;
}

float *
br_pg_serving_fold_in(const BrPgServing *serving, const int32 *items, const float *strength, int n,
					  int *dims)
{
	static const Oid types[] = {INT4OID, INT4ARRAYOID};
	Datum values[] = {Int32GetDatum(serving->version[BR_PG_KIND_ALS]), br_pg_int4_array(items, n)};
	float *vectors = NULL, *kept_strength = palloc(sizeof(float) * Max(n, 1)), *folded;
	int32_t *ids = palloc(sizeof(int32_t) * Max(n, 1));
	double *gram;
	BrFoldIn done = {ids, kept_strength, 0};
	BrContext context;
	uint64 found;
	int n_gram;

	if (serving->version[BR_PG_KIND_ALS] == 0 || n == 0)
		return NULL;
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT u.place, v.vector FROM pg_catalog.unnest($2)"
										" WITH ORDINALITY AS u(item, place)"
										" JOIN bundle_rec.learned_vector_@ v"
										" ON v.version = $1 AND v.item = u.item ORDER BY u.place",
										serving->catalog),
					  lengthof(types), types, values, NULL, true, 0);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int64 place = DatumGetInt64(br_pg_column(row, 1, &is_null));
		const float *vector = br_pg_column_elements(row, 2, dims);

		if (vectors == NULL)
			vectors = palloc(sizeof(float) * found * *dims);
		memcpy(vectors + row * *dims, vector, sizeof(float) * *dims);
		kept_strength[row] = strength[place - 1];
		ids[row] = (int32_t) row;
	}
	SPI_freetuptable(SPI_tuptable);
	if (found == 0)
		return NULL;
	done.n = (int) found;
	gram = read_gram(serving->version[BR_PG_KIND_ALS], &n_gram);
	folded = palloc(sizeof(float) * *dims);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_als_fold_in(&context, vectors, (int) found, *dims, gram,
									 serving->als_lambda, serving->als_alpha, &done, folded),
				&context, "could not fold the context into the factors", NULL);
	return folded;
}
