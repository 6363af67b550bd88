/*
 * decision_log.c
 *	  Reading the log of decisions: whose it is, who may, and what it says.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "core/bundle/br_bundle.h"
#include "pg/bulk.h"
#include "pg/decide/curated.h"
#include "pg/decide/decision_log.h"
#include "pg/policy/policy.h"
#include "pg/privacy/privacy.h"

void
br_pg_decision_unknown(int64 decision_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("decision %lld does not exist", (long long) decision_id),
			 errdetail("It was never logged, its transaction has not committed, or its "
					   "catalog was dropped."),
			 errhint("Use the decision_id that recommend returned.")));
}

int64
br_pg_decision_next_id(int32 number)
{
	Oid sequence = get_relname_relid("decision_number", get_namespace_oid("bundle_rec", false));

	return ((int64) number << BR_PG_DECISION_NUMBER_BITS) | nextval_internal(sequence, false);
}

uint64
br_pg_decision_key(void)
{
	uint64 key;

	if (!pg_strong_random(&key, sizeof(key)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random key")));
	return key;
}

int32
br_pg_decision_number(int64 decision_id)
{
	int64 number = decision_id >> BR_PG_DECISION_NUMBER_BITS;

	if (number <= 0 || number > PG_INT32_MAX)
		br_pg_decision_unknown(decision_id);
	return (int32) number;
}

BrPgCatalog *
br_pg_decision_catalog(int64 decision_id)
{
	BrPgCatalog *catalog = br_pg_catalog_find(br_pg_decision_number(decision_id));

	if (catalog == NULL)
		br_pg_decision_unknown(decision_id);
	return catalog;
}

/*
 * SELECT on the column decision_id will do: it lets a role ask for what it may
 * see of a decision, and not read the log, which hides nothing from it.
 */
void
br_pg_require_explained(const BrPgCatalog *catalog)
{
	Oid log = br_pg_child("decision", catalog->number);
	AttrNumber id = get_attnum(log, "decision_id");

	br_pg_catalog_require_reader(catalog);
	if (has_privs_of_role(GetUserId(), catalog->owner) ||
		pg_class_aclcheck(log, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		pg_attribute_aclcheck(log, id, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to read decisions of catalog \"%s\"", catalog->name),
			 errhint("GRANT SELECT (decision_id) ON bundle_rec.decision_%d TO this role.",
					 catalog->number)));
}

/* a text for those who see names ($2), else its keyed hash */
#define MASKED(what, text) \
	"CASE WHEN $2 THEN " text " ELSE bundle_rec.pseudonym(s.secret, '" what "', " text ") END"

/* reasons of a slot, the query in them masked as the query itself is */
#define MASKED_REASONS                                                                                       \
	"CASE WHEN $2 OR d.query IS NULL THEN r.slot ELSE pg_catalog.jsonb_set(r.slot, '{context}',"             \
	" COALESCE((SELECT pg_catalog.jsonb_agg(CASE e.c ->> 'source' WHEN 'query' THEN"                         \
	" pg_catalog.jsonb_set(e.c, '{from}', pg_catalog.to_jsonb(" MASKED(                                      \
		"query",                                                                                             \
		"d.query") ")) ELSE e.c END ORDER BY e.n) FROM pg_catalog.jsonb_array_elements(r.slot -> 'context')" \
				   " WITH ORDINALITY e (c, n)), '[]')) END"

/*
 * One row per slot. Columns 1 and 2 are the rank and the ids; the rest is
 * passed on as it is. $2: whether the caller sees names. Ids of feedback that
 * feedback made up itself name nobody.
 */
#define ITEMS_OF_SLOT                                                                   \
	"ARRAY(SELECT i.item_id FROM pg_catalog.unnest("                                    \
	"d.slot_items[k.before + 1 : k.before + k.size]) WITH ORDINALITY AS m(item, place)" \
	" JOIN bundle_rec.item_@ i USING (item) ORDER BY m.place)"
#define FEEDBACK_OF_SLOT                                                                              \
	"(SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('kind', f.kind, 'value',"             \
	" f.value, 'event_id', CASE f.event_id WHEN f.rank || ':' || f.kind THEN f.event_id"              \
	" ELSE " MASKED("event",                                                                          \
					"f.event_id") " END, 'received_at', f.received_at)"                               \
								  " ORDER BY f.received_at, f.event_id) FROM bundle_rec.feedback_@ f" \
								  " WHERE f.decision_id = d.decision_id AND f.rank = k.rank)"
#define BUNDLE_OF_SLOT                               \
	"(SELECT b.bundle_id FROM bundle_rec.bundle_@ b" \
	" WHERE b.bundle = d.slot_bundles[k.rank])"
#define FEATURES_OF_SLOT "d.slot_features[(k.rank - 1) * n.features + 1 : k.rank * n.features]"
#define VERSION_KEPT                                                       \
	"EXISTS (SELECT FROM bundle_rec.posterior o WHERE o.policy = d.policy" \
	" AND o.version = d.posterior)"
#define SLOTS                                                                        \
	"(SELECT u.rank, u.size, pg_catalog.sum(u.size) OVER (ORDER BY u.rank) - u.size" \
	" AS before FROM pg_catalog.unnest(d.slot_sizes) WITH ORDINALITY AS u(size, rank))"

static const char explain[] =
	"SELECT k.rank::pg_catalog.int4, " ITEMS_OF_SLOT ", d.score[k.rank], d.propensity[k.rank],"
	" NULLIF(d.price[k.rank], 'NaN'), NULLIF(d.list_price[k.rank], 'NaN'),"
	" NULLIF(d.margin[k.rank], 'NaN'), " MASKED_REASONS ", " FEEDBACK_OF_SLOT
	", p.name, d.posterior, d.pool_size, d.decided_at, " MASKED("user", "d.user_id") ", d.basket, " MASKED(
		"query",
		"d.query") ", d.filters, " BUNDLE_OF_SLOT ", " FEATURES_OF_SLOT ", p.policy, " VERSION_KEPT
				   " FROM bundle_rec.decision_@ d JOIN bundle_rec.catalog_secret s USING (catalog)"
				   " LEFT JOIN bundle_rec.policy p USING (policy), LATERAL " SLOTS " k,"
				   " LATERAL (SELECT d.reasons -> (k.rank - 1)::pg_catalog.int4 AS slot) r,"
				   " LATERAL (SELECT pg_catalog.cardinality(d.slot_features)"
				   " / NULLIF(pg_catalog.cardinality(d.slot_sizes), 0) AS features) n"
				   " WHERE d.decision_id = $1 ORDER BY k.rank";

/* columns from 0; the last that is told is made of those that follow it in the statement */
#define EXPLAIN_COLUMNS 19
#define REASONS_COLUMN 7
#define POSTERIOR_COLUMN 10
#define BASKET_COLUMN 14
#define FILTERS_COLUMN 16
#define BUNDLE_COLUMN 17
#define CONTRIBUTIONS_COLUMN 18
#define FEATURES_COLUMN 18
#define POLICY_COLUMN 19
#define KEPT_COLUMN 20

/* $1 reasons, $2 basket, $3 filters: every item they name, but those of the slot itself */
#define NAMED_ITEMS                                                                            \
	"SELECT pg_catalog.array_agg(DISTINCT n.id) FROM (SELECT c ->> 'from' AS id"               \
	" FROM pg_catalog.jsonb_array_elements($1 -> 'context') c WHERE c ->> 'source' <> 'query'" \
	" UNION ALL SELECT pg_catalog.unnest($2)"                                                  \
	" UNION ALL SELECT pg_catalog.jsonb_array_elements_text($3 -> 'exclude')) n"

/* the same three, naming only items of $4 */
#define WITHOUT_OTHERS                                                                             \
	"SELECT pg_catalog.jsonb_set($1, '{context}', COALESCE((SELECT pg_catalog.jsonb_agg(e.c"       \
	" ORDER BY e.n) FROM pg_catalog.jsonb_array_elements($1 -> 'context') WITH ORDINALITY e(c, n)" \
	" WHERE e.c ->> 'source' = 'query' OR e.c ->> 'from' = ANY ($4)), '[]')),"                     \
	" ARRAY(SELECT b.id FROM pg_catalog.unnest($2) WITH ORDINALITY b(id, n)"                       \
	" WHERE b.id = ANY ($4) ORDER BY b.n), pg_catalog.jsonb_set($3, '{exclude}',"                  \
	" COALESCE((SELECT pg_catalog.jsonb_agg(x.id) FROM"                                            \
	" pg_catalog.jsonb_array_elements_text($3 -> 'exclude') x(id) WHERE x.id = ANY ($4)), '[]'),"  \
	" false)"

/* whether the caller may see every item of a slot in the source, and a curated bundle in its own */
static bool
slot_visible(const BrPgCatalog *catalog, Datum items, const char *bundle_id)
{
	int n;
	char **ids = br_pg_text_array(DatumGetArrayTypeP(items), "items", &n);
	bool *visible = palloc(sizeof(bool) * Max(n, 1));

	if (bundle_id != NULL && !br_pg_bundle_visible(catalog, bundle_id, ids, n))
		return false;
	if (!br_pg_catalog_must_ask(catalog))
		return true;
	br_pg_catalog_visible(catalog, ids, n, visible);
	for (int i = 0; i < n; i++)
		if (!visible[i])
			return false;
	return true;
}

/* takes out of a slot's explanation what names items that the caller may not see */
static void
hide_items(const BrPgCatalog *catalog, Datum *columns)
{
	static const Oid types[] = {JSONBOID, TEXTARRAYOID, JSONBOID, TEXTARRAYOID};
	Datum values[] = {columns[REASONS_COLUMN], columns[BASKET_COLUMN], columns[FILTERS_COLUMN],
					  (Datum) 0};
	char **ids;
	bool *visible;
	bool is_null;
	int n, n_kept = 0;
	Datum named;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute(NAMED_ITEMS, 3, types, values, NULL, true, 0);
	named = br_pg_column(0, 1, &is_null);
	br_pg_leave(&rights);
	if (is_null)
		return;

	ids = br_pg_text_array(DatumGetArrayTypeP(named), "items", &n);
	visible = palloc(sizeof(bool) * Max(n, 1));
	br_pg_catalog_visible(catalog, ids, n, visible);
	for (int i = 0; i < n; i++)
		if (visible[i])
			ids[n_kept++] = ids[i];
	values[3] = br_pg_text_array_datum(ids, n_kept);
	br_pg_enter_owner(&rights);
	br_pg_execute(WITHOUT_OTHERS, 4, types, values, NULL, true, 0);
	columns[REASONS_COLUMN] = br_pg_column(0, 1, &is_null);
	columns[BASKET_COLUMN] = br_pg_column(0, 2, &is_null);
	columns[FILTERS_COLUMN] = br_pg_column(0, 3, &is_null);
	br_pg_leave(&rights);
}

/* ---- what adds up to the score ---- */

/* The theta of a version of a policy by which scores were x'theta. */
typedef struct Theta
{
	int dims;
	double *mean; /* NULL: scores were something else, or the version is gone */
} Theta;

/* of the decision that the first row tells of */
static Theta
theta_of(SPITupleTable *rows)
{
	Theta theta = {0, NULL};
	BrPgPolicy *policy;
	const double *mean;
	bool is_null;

	if (!DatumGetBool(SPI_getbinval(rows->vals[0], rows->tupdesc, KEPT_COLUMN + 1, &is_null)))
		return theta;
	policy = br_pg_policy_find(
		DatumGetInt32(SPI_getbinval(rows->vals[0], rows->tupdesc, POLICY_COLUMN + 1, &is_null)));
	if (policy == NULL)
		return theta;
	br_pg_policy_at(policy,
					DatumGetInt32(SPI_getbinval(rows->vals[0], rows->tupdesc, POSTERIOR_COLUMN + 1,
												&is_null)),
					policy->arms_version);
	mean = br_bandit_linear_mean(br_pg_policy_state(policy)->belief);
	if (mean == NULL)
		return theta;
	theta.dims = policy->spec.dims;
	theta.mean = memcpy(palloc(sizeof(double) * theta.dims), mean, sizeof(double) * theta.dims);
	return theta;
}

/* NULL where the features are not those that theta speaks of */
static char *
contributions_json(const Theta *theta, ArrayType *features)
{
	const float *x = (const float *) ARR_DATA_PTR(features);
	const char *separator = "";
	StringInfoData json;

	if (theta->mean == NULL ||
		ArrayGetNItems(ARR_NDIM(features), ARR_DIMS(features)) != theta->dims ||
		array_contains_nulls(features))
		return NULL;
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < theta->dims; i++)
	{
		double part = theta->mean[i] * (double) x[i];
		char digits[DOUBLE_SHORTEST_DECIMAL_LEN];

		if (part == 0 || !isfinite(part))
			continue;
		/* as many digits as make it the same number again, whatever extra_float_digits is */
		double_to_shortest_decimal_buf(part, digits);
		appendStringInfo(&json, "%s\"%s\": %s", separator, br_bundle_feature_name((BrFeature) i),
						 digits);
		separator = ", ";
	}
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* puts the last of a row's columns, of the features that follow the others in the statement */
static void
put_contributions(const Theta *theta, Datum features, bool is_null, Datum *columns, bool *nulls)
{
	char *json = is_null ? NULL : contributions_json(theta, DatumGetArrayTypeP(features));

	nulls[CONTRIBUTIONS_COLUMN] = json == NULL;
	columns[CONTRIBUTIONS_COLUMN] =
		json == NULL ? (Datum) 0 : DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

void
br_pg_explain_decision(int64 decision_id, ReturnSetInfo *result)
{
	static const Oid types[] = {INT8OID, BOOLOID};
	BrPgCatalog *catalog = br_pg_decision_catalog(decision_id);
	Datum values[] = {Int64GetDatum(decision_id), (Datum) 0};
	SPITupleTable *rows;
	uint64 n;
	Theta theta;
	BrPgRights rights;

	br_pg_require_explained(catalog);
	values[1] = BoolGetDatum(br_pg_sees_users(br_pg_child("decision", catalog->number)));
	br_pg_enter_owner(&rights);
	n = br_pg_execute(br_pg_catalog_sql(explain, catalog->number), 2, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	rows = SPI_tuptable;
	if (n == 0)
		br_pg_decision_unknown(decision_id);
	theta = theta_of(rows);

	for (uint64 row = 0; row < n; row++)
	{
		Datum columns[EXPLAIN_COLUMNS];
		bool nulls[EXPLAIN_COLUMNS];
		const char *bundle_id;

		for (int i = 0; i < EXPLAIN_COLUMNS; i++)
			columns[i] = SPI_getbinval(rows->vals[row], rows->tupdesc, i + 1, &nulls[i]);
		bundle_id = nulls[BUNDLE_COLUMN] ? NULL : TextDatumGetCString(columns[BUNDLE_COLUMN]);
		if (!slot_visible(catalog, columns[1], bundle_id))
			continue;
		put_contributions(&theta, columns[FEATURES_COLUMN], nulls[FEATURES_COLUMN], columns, nulls);
		if (br_pg_catalog_must_ask(catalog))
			hide_items(catalog, columns);
		tuplestore_putvalues(result->setResult, result->setDesc, columns, nulls);
	}
}
