/*
 * bundle_sql.c
 *	  SQL doors to what belongs together (sql/parts/bundle.sql): scores of
 *	  pairs, what was bought together, what reads alike.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "core/bundle/br_bundle.h"
#include "pg/catalog/catalog.h"
#include "pg/decide/nearest.h"
#include "pg/sql/arguments.h"

#define SHRINKAGE 10.0
#define N_SCORES 6

PG_FUNCTION_INFO_V1(br_pair_scores);
PG_FUNCTION_INFO_V1(br_bought_together);
PG_FUNCTION_INFO_V1(br_similar_items);

/* in the order of columns, and of the fields of BrPairScores */
static const char *const score_names[N_SCORES] = {"confidence", "lift",	   "pmi",
												  "npmi",		"jaccard", "shrunk_cosine"};

static void
list_scores(const BrPairScores *scores, double list[N_SCORES])
{
	list[0] = scores->confidence;
	list[1] = scores->lift;
	list[2] = scores->pmi;
	list[3] = scores->npmi;
	list[4] = scores->jaccard;
	list[5] = scores->shrunk_cosine;
}

PGDLLEXPORT Datum
br_pair_scores(PG_FUNCTION_ARGS)
{
	BrPairCounts counts = {.together = PG_GETARG_INT64(0),
						   .left = PG_GETARG_INT64(1),
						   .right = PG_GETARG_INT64(2),
						   .baskets = PG_GETARG_INT64(3)};
	BrPairScores scores;
	BrContext context;
	TupleDesc descriptor;
	double list[N_SCORES];
	Datum values[N_SCORES];
	bool nulls[N_SCORES] = {0};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_pair_scores(&context, &counts, PG_GETARG_FLOAT8(4), &scores), &context,
				"invalid co-purchase counts or shrinkage",
				"Counts must satisfy 0 <= together <= left_count, right_count, and left_count +"
				" right_count - together <= baskets; shrinkage must be at least 0.");
	list_scores(&scores, list);
	for (int i = 0; i < N_SCORES; i++)
		values[i] = Float8GetDatum(list[i]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

/* ---- arguments ---- */

static BrPgCatalog *
open_catalog(FunctionCallInfo fcinfo)
{
	BrPgCatalog *catalog;

	br_pg_require_argument(fcinfo, 0, "catalog");
	catalog = br_pg_catalog_open(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	br_pg_catalog_require_reader(catalog);
	return catalog;
}

/* ---- bought_together ---- */

/* One of the items that were asked for. */
typedef struct Given
{
	int32 item;
	char *item_id;
	int64 baskets;
} Given;

/* An item that was bought together with some of them. */
typedef struct Partner
{
	char *item_id;
	int64 together;
	double score[N_SCORES];
	double key; /* the score it is ranked by */
} Partner;

static int
compare_strings(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

/* those of n that the caller may see, in their order; returns how many */
static int
keep_visible(const BrPgCatalog *catalog, Given *given, int n)
{
	char **item_ids = palloc(sizeof(char *) * Max(n, 1));
	bool *visible = palloc(sizeof(bool) * Max(n, 1));
	int kept = 0;

	if (n == 0 || !br_pg_catalog_must_ask(catalog))
		return n;
	for (int i = 0; i < n; i++)
		item_ids[i] = given[i].item_id;
	br_pg_catalog_visible(catalog, item_ids, n, visible);
	for (int i = 0; i < n; i++)
		if (visible[i])
			given[kept++] = given[i];
	return kept;
}

/* finds the given items, each once, in the order of their ids; raises 42704 for an unknown one */
static Given *
find_given(const BrPgCatalog *catalog, char **item_ids, int n, int *n_given)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum *elements = palloc(sizeof(Datum) * Max(n, 1));
	Given *given = palloc(sizeof(Given) * Max(n, 1));
	Datum values[1];
	BrPgRights rights;
	uint64 found;

	for (int i = 0; i < n; i++)
		elements[i] = CStringGetTextDatum(item_ids[i]);
	values[0] = PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT i.item, i.item_id, COALESCE(c.baskets, 0)"
											" FROM bundle_rec.item_@ i"
											" LEFT JOIN bundle_rec.item_count_@ c USING (item)"
											" WHERE i.item_id = ANY ($1) ORDER BY i.item_id",
											catalog->number),
						  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;

		given[row].item = DatumGetInt32(br_pg_column(row, 1, &is_null));
		given[row].item_id = br_pg_column_text(row, 2);
		given[row].baskets = DatumGetInt64(br_pg_column(row, 3, &is_null));
	}
	SPI_freetuptable(SPI_tuptable);
	*n_given = keep_visible(catalog, given, (int) found);

	qsort(item_ids, n, sizeof(char *), compare_strings);
	for (int i = 0, place = 0; i < n; i++)
	{
		while (place < *n_given && strcmp(given[place].item_id, item_ids[i]) < 0)
			place++;
		if (place == *n_given || strcmp(given[place].item_id, item_ids[i]) != 0)
			br_pg_catalog_refuse_item(catalog, item_ids[i]);
	}
	return given;
}

/* rows: other item, given item, baskets with both, baskets of the other, id of the other */
static uint64
select_partners(const BrPgCatalog *catalog, const Given *given, int n_given)
{
	static const Oid types[] = {INT4ARRAYOID};
	int32 *items = palloc(sizeof(int32) * Max(n_given, 1));
	Datum values[1];
	BrPgRights rights;
	uint64 found;

	for (int i = 0; i < n_given; i++)
		items[i] = given[i].item;
	values[0] = br_pg_int4_array(items, n_given);
	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT p.other, p.item, p.together, c.baskets,"
											" i.item_id FROM bundle_rec.item_pair_@ p"
											" JOIN bundle_rec.item_count_@ c ON c.item = p.other"
											" JOIN bundle_rec.item_@ i ON i.item = p.other"
											" JOIN bundle_rec.item_state_@ s ON s.item = p.other"
											" WHERE p.item = ANY ($1) AND p.other <> ALL ($1)"
											" ORDER BY p.other, p.item",
											catalog->number),
						  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	return found;
}

/* adds the scores of one pair, counts of 0 included */
static void
add_scores(const BrPgCatalog *catalog, const Given *given, int64 together, int64 right,
		   Partner *partner)
{
	BrPairCounts counts = {.together = together, .left = given->baskets, .right = right};
	BrPairScores scores;
	BrContext context;
	double list[N_SCORES];

	/* baskets over the limit count for items and not for pairs: both may then exceed the sum */
	counts.baskets = Max(catalog->baskets, given->baskets + right - together);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_pair_scores(&context, &counts, SHRINKAGE, &scores), &context,
				"the counts of a catalog contradict each other", NULL);
	list_scores(&scores, list);
	for (int i = 0; i < N_SCORES; i++)
		partner->score[i] += list[i];
	partner->together += together;
}

/*
 * The partner whose rows begin at *row of the SPI result; *row moves to the
 * next one's. Given items that are in no basket say nothing and do not enter
 * the mean.
 */
static void
read_partner(const BrPgCatalog *catalog, const Given *given, int n_given, uint64 n_rows,
			 uint64 *row, Partner *partner)
{
	bool is_null;
	Datum other = br_pg_column(*row, 1, &is_null);
	int64 right = DatumGetInt64(br_pg_column(*row, 4, &is_null));
	int bought = 0;
	int64 *together = palloc0(sizeof(int64) * n_given);

	memset(partner, 0, sizeof(*partner));
	partner->item_id = br_pg_column_text(*row, 5);
	for (; *row < n_rows && br_pg_column(*row, 1, &is_null) == other; (*row)++)
	{
		int32 item = DatumGetInt32(br_pg_column(*row, 2, &is_null));

		for (int i = 0; i < n_given; i++)
			if (given[i].item == item)
				together[i] = DatumGetInt64(br_pg_column(*row, 3, &is_null));
	}
	for (int i = 0; i < n_given; i++)
	{
		if (given[i].baskets == 0)
			continue;
		add_scores(catalog, &given[i], together[i], right, partner);
		bought++;
	}
	for (int i = 0; i < N_SCORES; i++)
		partner->score[i] /= bought;
	pfree(together);
}

static int
compare_partners(const void *left, const void *right)
{
	const Partner *a = left;
	const Partner *b = right;

	if (a->key != b->key)
		return a->key > b->key ? -1 : 1;
	if (a->together != b->together)
		return a->together > b->together ? -1 : 1;
	return strcmp(a->item_id, b->item_id);
}

/* the first k of n ids that the caller may see; returns how many */
static int
first_visible(const BrPgCatalog *catalog, char **item_ids, int n, int k, int *chosen)
{
	bool filter = br_pg_catalog_must_ask(catalog);
	int step = Max(64, 2 * k), n_chosen = 0;
	bool *visible = palloc(sizeof(bool) * step);

	for (int first = 0; first < n && n_chosen < k; first += step)
	{
		int length = Min(step, n - first);

		if (filter)
			br_pg_catalog_visible(catalog, item_ids + first, length, visible);
		for (int i = 0; i < length && n_chosen < k; i++)
			if (!filter || visible[i])
				chosen[n_chosen++] = first + i;
	}
	return n_chosen;
}

static Partner *
find_partners(const BrPgCatalog *catalog, const Given *given, int n_given, int measure, int *n)
{
	uint64 found = select_partners(catalog, given, n_given), row = 0;
	Partner *partners = palloc_extended(sizeof(Partner) * Max(found, 1), MCXT_ALLOC_HUGE);

	for (*n = 0; row < found; (*n)++)
	{
		read_partner(catalog, given, n_given, found, &row, &partners[*n]);
		partners[*n].key = partners[*n].score[measure];
		CHECK_FOR_INTERRUPTS();
	}
	SPI_freetuptable(SPI_tuptable);
	qsort(partners, *n, sizeof(Partner), compare_partners);
	return partners;
}

static void
return_partner(ReturnSetInfo *result, int rank, const Partner *partner)
{
	Datum values[3 + N_SCORES];
	bool nulls[3 + N_SCORES] = {0};

	values[0] = Int32GetDatum(rank);
	values[1] = CStringGetTextDatum(partner->item_id);
	values[2] = Int64GetDatum(partner->together);
	for (int i = 0; i < N_SCORES; i++)
		values[3 + i] = Float8GetDatum(partner->score[i]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static int
measure_argument(FunctionCallInfo fcinfo, int i)
{
	char *name;

	br_pg_require_argument(fcinfo, i, "measure");
	name = text_to_cstring(PG_GETARG_TEXT_PP(i));
	for (int measure = 0; measure < N_SCORES; measure++)
		if (strcmp(name, score_names[measure]) == 0)
			return measure;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no measure \"%s\"", name),
			 errhint("Measures are confidence, lift, pmi, npmi, jaccard and shrunk_cosine.")));
}

PGDLLEXPORT Datum
br_bought_together(PG_FUNCTION_ARGS)
{
	int k, measure, n_ids, n_given, n, n_chosen;
	BrPgCatalog *catalog;
	char **item_ids;
	Given *given;
	Partner *partners;
	int *chosen;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	catalog = open_catalog(fcinfo);
	br_pg_require_argument(fcinfo, 1, "items");
	item_ids = br_pg_text_array(PG_GETARG_ARRAYTYPE_P(1), "items", &n_ids);
	k = br_pg_rows_argument(fcinfo, 2);
	measure = measure_argument(fcinfo, 3);

	given = find_given(catalog, item_ids, n_ids, &n_given);
	partners = find_partners(catalog, given, n_given, measure, &n);
	item_ids = palloc_extended(sizeof(char *) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		item_ids[i] = partners[i].item_id;
	chosen = palloc(sizeof(int) * k);
	n_chosen = first_visible(catalog, item_ids, n, k, chosen);
	for (int i = 0; i < n_chosen; i++)
		return_partner((ReturnSetInfo *) fcinfo->resultinfo, i + 1, &partners[chosen[i]]);
	SPI_finish();
	return (Datum) 0;
}

/* ---- similar_items ---- */

/* the embedding of an item, and its number */
static BrEmbedding *
item_embedding(const BrPgCatalog *catalog, char *item_id, int32 *item)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(item_id)};
	BrPgRights rights;
	uint64 found;
	bool is_null;
	Datum value;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT item, embedding FROM bundle_rec.item_@"
											" WHERE item_id = $1",
											catalog->number),
						  1, types, values, NULL, true, 1);
	br_pg_leave(&rights);
	if (found == 0)
		br_pg_catalog_refuse_item(catalog, item_id);
	*item = DatumGetInt32(br_pg_column(0, 1, &is_null));
	value = br_pg_column(0, 2, &is_null);
	br_pg_catalog_require_visible(catalog, &item_id, 1);
	if (is_null && catalog->model == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no text to compare", catalog->name),
				 errhint("Create the catalog with text columns.")));
	if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("item \"%s\" has no embedding", item_id),
				 errhint("If it has text, SELECT refresh(%s) embeds it.",
						 quote_literal_cstr(catalog->name))));
	return (BrEmbedding *) PG_DETOAST_DATUM_COPY(value);
}

/* searches for more than k where some may be invisible, until k are found or all were seen */
static void
return_nearest(FunctionCallInfo fcinfo, const BrPgCatalog *catalog, const BrEmbedding *query,
			   int32 except, int k)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int wanted = br_pg_catalog_must_ask(catalog) ? Max(100, Min(4 * k, BR_PG_MAX_ROWS)) : k;
	int *chosen = palloc(sizeof(int) * k);
	int n, n_chosen;
	BrNeighbour *nearest;
	int32 *items;
	char **item_ids;

	for (;;)
	{
		nearest = br_pg_nearest(catalog, query, wanted, except, &n);
		items = palloc(sizeof(int32) * Max(n, 1));
		for (int i = 0; i < n; i++)
			items[i] = nearest[i].id;
		item_ids = br_pg_item_ids(catalog, items, n);
		n_chosen = first_visible(catalog, item_ids, n, k, chosen);
		if (n_chosen == k || n < wanted || wanted > INT_MAX / 4)
			break;
		wanted *= 4;
	}
	for (int i = 0; i < n_chosen; i++)
	{
		Datum values[] = {Int32GetDatum(i + 1), CStringGetTextDatum(item_ids[chosen[i]]),
						  Float8GetDatum(nearest[chosen[i]].similarity)};
		bool nulls[] = {false, false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

PGDLLEXPORT Datum
br_similar_items(PG_FUNCTION_ARGS)
{
	BrPgCatalog *catalog;
	BrEmbedding *query;
	int32 except = 0;
	int k;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	catalog = open_catalog(fcinfo);
	if (PG_ARGISNULL(1) == PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("give either item_id or query"),
				 errhint("similar_items('%s', 'id') or similar_items('%s', query => 'words').",
						 catalog->name, catalog->name)));
	k = br_pg_rows_argument(fcinfo, 3);
	if (PG_ARGISNULL(1))
		query = br_pg_nearest_embed(catalog, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	else
		query = item_embedding(catalog, text_to_cstring(PG_GETARG_TEXT_PP(1)), &except);
	return_nearest(fcinfo, catalog, query, except, k);
	SPI_finish();
	return (Datum) 0;
}
