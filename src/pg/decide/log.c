/*
 * log.c
 *	  Writing a decision to the log.
 *
 * What learning and evaluation will need is written as it was when the decision
 * was taken: features recomputed later would leak what was bought since. Arrays
 * of bundles are flat; sizes cut them into bundles.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/decide/decide.h"
#include "pg/decide/decision_log.h"
#include "pg/privacy/privacy.h"

/* of the decision's random key: whether the pool is logged (draws and choices have others) */
#define LOG_STREAM (UINT64_C(3) << 32)

bool
br_pg_decide_will_log(const BrPgRequest *request)
{
	bool possible = !RecoveryInProgress() && !XactReadOnly;

	if (request->logging == BR_PG_LOG_OFF || (request->logging == BR_PG_LOG_AUTO && !possible))
		return false;
	if (!possible)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot log a decision %s",
						RecoveryInProgress() ? "on a standby" : "in a read-only transaction"),
				 errhint("Call with log => NULL or log => false.")));
	br_pg_catalog_require_insert(request->catalog, "decision", "log decisions");
	return true;
}

/* ---- flat arrays ---- */

typedef struct FlatBundles
{
	Datum sizes; /* smallint[] */
	Datum items; /* int[] */
} FlatBundles;

static Datum
array_of(Datum *elements, int n, Oid type, int length, bool by_value, char alignment)
{
	return PointerGetDatum(construct_array(elements, n, type, length, by_value, alignment));
}

/* rows of features, of the whole pool or of chosen members */
static Datum
feature_array(const BrPool *pool, const int *chosen, int n)
{
	float *features;

	if (chosen == NULL)
		return br_pg_float4_array(pool->features, n * BR_FEATURE_COUNT);
	features = palloc(sizeof(float) * Max(n * BR_FEATURE_COUNT, 1));
	for (int i = 0; i < n; i++)
		memcpy(features + i * BR_FEATURE_COUNT, pool->features + chosen[i] * BR_FEATURE_COUNT,
			   sizeof(float) * BR_FEATURE_COUNT);
	return br_pg_float4_array(features, n * BR_FEATURE_COUNT);
}

static FlatBundles
flat_bundles(const BrPgDecision *decision, const int *chosen, int n)
{
	Datum *sizes = palloc(sizeof(Datum) * Max(n, 1));
	Datum *items;
	int n_items = 0;
	FlatBundles flat;

	for (int i = 0; i < n; i++)
		n_items += decision->pool.bundles[chosen != NULL ? chosen[i] : i].size;
	items = palloc(sizeof(Datum) * Max(n_items, 1));
	n_items = 0;
	for (int i = 0; i < n; i++)
	{
		const BrBundle *bundle = &decision->pool.bundles[chosen != NULL ? chosen[i] : i];

		sizes[i] = Int16GetDatum((int16) bundle->size);
		for (int j = 0; j < bundle->size; j++)
			items[n_items++] = Int32GetDatum(decision->items[bundle->members[j]].candidate.item);
	}
	flat.sizes = array_of(sizes, n, INT2OID, 2, true, TYPALIGN_SHORT);
	flat.items = array_of(items, n_items, INT4OID, 4, true, TYPALIGN_INT);
	return flat;
}

/* numbers of curated bundles, of the whole pool or of chosen members */
static Datum
bundle_numbers(const BrPgDecision *decision, const int *chosen, int n)
{
	int32 *numbers = palloc(sizeof(int32) * Max(n, 1));

	for (int i = 0; i < n; i++)
		numbers[i] = decision->curated[chosen != NULL ? chosen[i] : i].bundle;
	return br_pg_int4_array(numbers, n);
}

static Datum
vote_array(const BrPgDecision *decision)
{
	int n = decision->slate.slots * decision->pool.n;
	Datum *elements = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elements[i] = Int32GetDatum(decision->slate.votes[i]);
	return array_of(elements, n, INT4OID, 4, true, TYPALIGN_INT);
}

static Datum
candidate_array(const BrPgDecision *decision)
{
	int32 *items = palloc(sizeof(int32) * Max(decision->n_items, 1));

	for (int i = 0; i < decision->n_items; i++)
		items[i] = decision->items[i].candidate.item;
	return br_pg_int4_array(items, decision->n_items);
}

/* what one number of each chosen bundle is */
typedef enum SlotNumber
{
	SLOT_SCORE,
	SLOT_LIST_PRICE,
	SLOT_PRICE,
	SLOT_MARGIN
} SlotNumber;

static Datum
slot_array(const BrPgDecision *decision, SlotNumber which)
{
	int n = decision->slate.slots;
	double *values = palloc(sizeof(double) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		int chosen = decision->slate.chosen[i];
		const BrBundle *bundle = &decision->pool.bundles[chosen];

		switch (which)
		{
			case SLOT_SCORE:
				values[i] = decision->slate.expected[chosen];
				break;
			case SLOT_LIST_PRICE:
				values[i] = bundle->list_price / BR_PG_MILLIONTHS;
				break;
			case SLOT_PRICE:
				values[i] = bundle->price / BR_PG_MILLIONTHS;
				break;
			case SLOT_MARGIN:
				values[i] = bundle->margin;
				break;
		}
	}
	return br_pg_float8_array(values, n);
}

/* what attribution needs to know of each item of each slot, as it was when it was offered */
typedef struct SlotItems
{
	Datum share;  /* float8[]: of the slot's value, in [0, 1] */
	Datum margin; /* float8[]: in currency, of one piece at the slot's discount; NaN: unknown */
} SlotItems;

static void
slot_item_numbers(const BrPgDecision *decision, int chosen, double *share, double *margin)
{
	const BrBundle *bundle = &decision->pool.bundles[chosen];
	const double *quantity = decision->curated != NULL ? decision->curated[chosen].quantity : NULL;
	double charged = bundle->list_price > 0 ? bundle->price / bundle->list_price : 1;
	double value = 0;

	for (int i = 0; i < bundle->size; i++)
	{
		const BrCandidate *item = &decision->items[bundle->members[i]].candidate;

		share[i] = item->price * (quantity != NULL ? quantity[i] : 1);
		margin[i] = (item->price * charged - item->cost) / BR_PG_MILLIONTHS;
		value += share[i];
	}
	/* where prices are unknown, or all nothing, an item is as good as another */
	for (int i = 0; i < bundle->size; i++)
		share[i] = value > 0 && isfinite(value) ? share[i] / value : 1.0 / bundle->size;
}

static SlotItems
slot_items(const BrPgDecision *decision)
{
	const BrSlate *slate = &decision->slate;
	int n = 0;
	double *share, *margin;
	SlotItems items;

	for (int slot = 0; slot < slate->slots; slot++)
		n += decision->pool.bundles[slate->chosen[slot]].size;
	share = palloc(sizeof(double) * Max(n, 1));
	margin = palloc(sizeof(double) * Max(n, 1));
	n = 0;
	for (int slot = 0; slot < slate->slots; slot++)
	{
		slot_item_numbers(decision, slate->chosen[slot], share + n, margin + n);
		n += decision->pool.bundles[slate->chosen[slot]].size;
	}
	items.share = br_pg_float8_array(share, n);
	items.margin = br_pg_float8_array(margin, n);
	return items;
}

static Datum
all_reasons(const BrPgDecision *decision)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int slot = 0; slot < decision->slate.slots; slot++)
	{
		if (slot > 0)
			appendStringInfoString(&json, ", ");
		appendStringInfoString(&json, decision->reasons[slot]);
	}
	appendStringInfoChar(&json, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/* ---- the row ---- */

/* The columns of the log in the order of the table, with their types. */
#define LOG_COLUMNS                                                                                                         \
	"decision_id, kind, decided_at, user_id, anonymised_at, basket, query, wanted, filters, policy, posterior,"             \
	" feature_schema, ranker, algorithm, epsilon, draws, diversity, random_key, deterministic,"                             \
	" candidates, pool_size, pool_sizes, pool_items, pool_features, votes, slot_sizes,"                                     \
	" slot_items, slot_features, slot_item_share, slot_item_margin, propensity, score, list_price, price, margin, reasons," \
	" pool_bundles, slot_bundles, slot_pinned"

#define LOG_ARGUMENTS 39

typedef struct LogRow
{
	int n;
	Oid types[LOG_ARGUMENTS];
	Datum values[LOG_ARGUMENTS];
	char nulls[LOG_ARGUMENTS];
} LogRow;

static void
put(LogRow *row, Oid type, Datum value, bool is_null)
{
	row->types[row->n] = type;
	row->values[row->n] = value;
	row->nulls[row->n] = is_null ? 'n' : ' ';
	row->n++;
}

static void
put_text(LogRow *row, const char *text)
{
	put(row, TEXTOID, text != NULL ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

static void
put_request(LogRow *row, const BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	Datum now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	BrPgForgotten forgotten;
	bool is_forgotten;

	br_pg_forgotten_open(request->catalog->number, "decision", &forgotten);
	is_forgotten = br_pg_is_forgotten(&forgotten, request->user_id);
	put(row, INT8OID, Int64GetDatum(decision->decision_id), false);
	put_text(row, request->kind);
	put(row, TIMESTAMPTZOID, now, false);
	put_text(row, is_forgotten ? NULL : request->user_id);
	put(row, TIMESTAMPTZOID, now, !is_forgotten);
	put(row, TEXTARRAYOID, br_pg_text_array_datum(request->basket, request->n_basket), false);
	put_text(row, request->query);
	put(row, INT4OID, Int32GetDatum(request->wanted), false);
	put(row, JSONBOID, request->filters, false);
}

static void
put_policy(LogRow *row, const BrPgDecision *decision)
{
	const BrPgPolicy *policy = decision->request->policy;

	put(row, INT4OID, Int32GetDatum(policy->number), false);
	put(row, INT4OID, Int32GetDatum(policy->version), false);
	put(row, INT4OID, Int32GetDatum(policy->feature_schema), false);
	put(row, INT4OID, Int32GetDatum(decision->request->ranker), decision->request->ranker == 0);
	put_text(row, policy->algorithm_name);
	put(row, FLOAT8OID, Float8GetDatum(policy->spec.parameters.epsilon), false);
	put(row, INT4OID, Int32GetDatum((int32) policy->spec.parameters.draws), false);
	put(row, FLOAT8OID, Float8GetDatum(decision->request->diversity), false);
	put(row, INT8OID, Int64GetDatum((int64) decision->key), false);
	put(row, BOOLOID, BoolGetDatum(decision->request->seeded), false);
}

/* whether the pool was logged */
static bool
put_pool(LogRow *row, const BrPgDecision *decision)
{
	BrRandom random;
	FlatBundles pool = {(Datum) 0, (Datum) 0};
	bool logged, logged_votes;

	br_base_random_init(&random, decision->key, LOG_STREAM);
	logged = br_base_random_uniform(&random) < br_pg_log_pool;
	if (logged)
		pool = flat_bundles(decision, NULL, decision->pool.n);

	put(row, INT4ARRAYOID, candidate_array(decision), false);
	put(row, INT4OID, Int32GetDatum(decision->pool.n), false);
	put(row, INT2ARRAYOID, pool.sizes, !logged);
	put(row, INT4ARRAYOID, pool.items, !logged);
	put(row, FLOAT4ARRAYOID,
		logged ? feature_array(&decision->pool, NULL, decision->pool.n) : (Datum) 0, !logged);
	logged_votes = logged && decision->slate.votes != NULL;
	put(row, INT4ARRAYOID, logged_votes ? vote_array(decision) : (Datum) 0, !logged_votes);
	return logged;
}

static void
put_slots(LogRow *row, const BrPgDecision *decision)
{
	const BrSlate *slate = &decision->slate;
	FlatBundles slots = flat_bundles(decision, slate->chosen, slate->slots);
	SlotItems items = slot_items(decision);

	put(row, INT2ARRAYOID, slots.sizes, false);
	put(row, INT4ARRAYOID, slots.items, false);
	put(row, FLOAT4ARRAYOID, feature_array(&decision->pool, slate->chosen, slate->slots), false);
	put(row, FLOAT8ARRAYOID, items.share, false);
	put(row, FLOAT8ARRAYOID, items.margin, false);
	put(row, FLOAT8ARRAYOID, br_pg_float8_array(slate->propensity, slate->slots), false);
	put(row, FLOAT8ARRAYOID, slot_array(decision, SLOT_SCORE), false);
	put(row, FLOAT8ARRAYOID, slot_array(decision, SLOT_LIST_PRICE), false);
	put(row, FLOAT8ARRAYOID, slot_array(decision, SLOT_PRICE), false);
	put(row, FLOAT8ARRAYOID, slot_array(decision, SLOT_MARGIN), false);
	put(row, JSONBOID, all_reasons(decision), false);
}

static void
put_bundles(LogRow *row, const BrPgDecision *decision, bool pool)
{
	const BrSlate *slate = &decision->slate;
	bool curated = decision->curated != NULL;

	pool = pool && curated;
	put(row, INT4ARRAYOID, pool ? bundle_numbers(decision, NULL, decision->pool.n) : (Datum) 0,
		!pool);
	put(row, INT4ARRAYOID,
		curated ? bundle_numbers(decision, slate->chosen, slate->slots) : (Datum) 0, !curated);
}

/* of each slot the place in the pool, from 1, of what a rule pinned there, 0: the policy chose */
static void
put_pins(LogRow *row, const BrPgDecision *decision)
{
	int n = decision->slate.slots;
	int32 *places = palloc0(sizeof(int32) * Max(n, 1));
	bool any = false;

	for (int slot = 0; slot < n; slot++)
	{
		const BrPgPinned *pinned = br_pg_decide_pinned_to(decision, slot);

		places[slot] = pinned != NULL ? pinned->member + 1 : 0;
		any = any || pinned != NULL;
	}
	put(row, INT4ARRAYOID, any ? br_pg_int4_array(places, n) : (Datum) 0, !any);
}

static char *
insert_statement(const BrPgDecision *decision)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH logged AS (INSERT INTO bundle_rec.decision_%d (" LOG_COLUMNS
					 ") VALUES (",
					 decision->request->catalog->number);
	for (int i = 1; i <= LOG_ARGUMENTS; i++)
		appendStringInfo(&sql, i == 1 ? "$%d" : ", $%d", i);
	appendStringInfoString(&sql,
						   ") RETURNING policy, decision_id, decided_at, deterministic)"
						   " INSERT INTO bundle_rec.unfolded_decision (policy, decision_id,"
						   " decided_at) SELECT policy, decision_id, decided_at FROM logged"
						   " WHERE NOT deterministic");
	return sql.data;
}

void
br_pg_decide_log(BrPgDecision *decision)
{
	LogRow row = {.n = 0};
	bool pool_logged;
	BrPgRights rights;

	decision->decision_id = br_pg_decision_next_id(decision->request->catalog->number);
	put_request(&row, decision);
	put_policy(&row, decision);
	pool_logged = put_pool(&row, decision);
	put_slots(&row, decision);
	put_bundles(&row, decision, pool_logged);
	put_pins(&row, decision);
	Assert(row.n == LOG_ARGUMENTS);

	br_pg_enter_owner(&rights);
	br_pg_execute(insert_statement(decision), row.n, row.types, row.values, row.nulls, false, 0);
	br_pg_leave(&rights);
}
