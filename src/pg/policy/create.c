/*
 * create.c
 *	  Creating policies: the defaults, and the parameters that replace them.
 *
 * The defaults are those of the simulated shops of
 * test/unit/test_bandit_learning.c, for features in [0, 1] and rewards that are
 * clicks. The prior trusts the calibrated score: mean 1 on that feature, 0
 * elsewhere, so that an untaught policy expects just the click rate that the
 * score states. The noise is set below the variance c(1 - c) of a click: at
 * rates of a few per cent the honest one explores for longer than a few
 * thousand decisions repay. For rewards s times as large, noise wants to be
 * s * s times as large and prior_precision as much smaller.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "core/bundle/br_bundle.h"
#include "pg/catalog/catalog.h"
#include "pg/policy/context.h"
#include "pg/policy/policy.h"
#include "pg/policy/reward.h"

/* of a catalog's policy: see above */
#define CATALOG_PRIOR_PRECISION 1000.0
#define CATALOG_NOISE 0.01
/* what a logistic one believes of a bundle of score 0 is .01, of one of score 1 an even chance */
#define CATALOG_LOG_ODDS 4.6

static void
check_name(const char *name)
{
	if (name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a policy must not be empty")));
}

static const BrAlgorithm *
algorithm_of(const char *name)
{
	const BrAlgorithm *algorithm = br_bandit_algorithm(name);
	StringInfoData names;

	if (algorithm != NULL)
		return algorithm;
	initStringInfo(&names);
	for (int i = 0; br_bandit_algorithm_name(i) != NULL; i++)
		appendStringInfo(&names, i == 0 ? "%s" : ", %s", br_bandit_algorithm_name(i));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown algorithm \"%s\"", name),
			 errhint("Algorithms are %s.", names.data)));
}

static bool
works_over(const BrAlgorithm *algorithm, BrModel model)
{
	return (br_bandit_algorithm_models(algorithm) & BR_MODEL_BIT(model)) != 0;
}

/* what the algorithm can work over, where nothing is said of the model */
static BrModel
default_model(const BrAlgorithm *algorithm, const BrPgPolicySettings *settings)
{
	if (settings->arm_features > 0 && works_over(algorithm, BR_MODEL_SHARED))
		return BR_MODEL_SHARED;
	if (settings->context == NULL && settings->arm_features == 0 &&
		works_over(algorithm, BR_MODEL_ARM))
		return BR_MODEL_ARM;
	return works_over(algorithm, BR_MODEL_DISJOINT) ? BR_MODEL_DISJOINT : BR_MODEL_ARM;
}

/* features of an arm in its context: see br_pg_choice_features */
static int
choice_dims(const BrPgPolicySettings *settings, int context_dims)
{
	int64 dims = 1 + (int64) settings->arm_features + context_dims;

	if (settings->model == BR_MODEL_ARM)
		return 0;
	if (settings->model == BR_MODEL_SHARED && settings->interactions)
		dims += (int64) settings->arm_features * context_dims;
	if (dims > BR_BANDIT_MAX_DIMS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the policy would have %lld features", (long long) dims),
				 errdetail("At most %d are allowed; it has 1, %d of an arm, %d of the context%s.",
						   BR_BANDIT_MAX_DIMS, settings->arm_features, context_dims,
						   settings->interactions && settings->model == BR_MODEL_SHARED
							   ? " and their products"
							   : ""),
				 errhint("Set \"interactions\" to false, or use fewer features.")));
	return (int) dims;
}

static void
require_shape(bool fits, const char *what, const char *hint)
{
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what),
				 errhint("%s", hint)));
}

/* model and number of features of a policy that chooses among arms of its own */
static void
shape_choices(const BrPgPolicyRequest *request, BrPgPolicySettings *settings, BrPolicySpec *spec)
{
	int context_dims = br_pg_context_dims(settings->context);

	require_shape(works_over(spec->algorithm, settings->model),
				  psprintf("algorithm \"%s\" does not work over model \"%s\"", request->algorithm,
						   br_pg_policy_model_name(settings->model)),
				  "README says which models each algorithm works over.");
	require_shape(settings->model != BR_MODEL_ARM ||
					  (settings->arm_features == 0 && context_dims == 0),
				  "model \"arm\" uses neither context nor arm_features",
				  "Leave them out, or use an algorithm over model \"shared\" or \"disjoint\".");
	require_shape(settings->model != BR_MODEL_SHARED || settings->arm_features > 0,
				  "model \"shared\" needs arm_features",
				  "Arms that have no features of their own would all be worth the same: give "
				  "\"arm_features\", or use model \"disjoint\".");
	/* bounds of a UCB are not linear in the features, and neither is a share by softmax */
	require_shape(!settings->indexed ||
					  (settings->model == BR_MODEL_SHARED &&
					   (strcmp(request->algorithm, "linear_thompson") == 0 ||
						strcmp(request->algorithm, "logistic_thompson") == 0)),
				  psprintf("arms of algorithm \"%s\" over model \"%s\" cannot be found by an index",
						   request->algorithm, br_pg_policy_model_name(settings->model)),
				  "\"index\" needs linear_thompson or logistic_thompson over model \"shared\".");
	spec->model = settings->model;
	spec->dims = choice_dims(settings, context_dims);
}

static void
shape_catalog(const BrPgPolicyRequest *request, const BrPgPolicySettings *settings,
			  BrPolicySpec *spec)
{
	require_shape(works_over(spec->algorithm, BR_MODEL_SHARED),
				  psprintf("algorithm \"%s\" cannot decide about bundles", request->algorithm),
				  "It needs named arms: create the policy without a catalog and call choose. For a "
				  "catalog, use an algorithm over model \"shared\", such as linear_thompson.");
	require_shape(!settings->shape_given ||
					  (settings->model == BR_MODEL_SHARED && settings->context == NULL &&
					   settings->arm_features == 0),
				  "a catalog's policy has its features from the catalog",
				  "Leave model, context, arm_features, interactions and index out.");
	require_shape(settings->keep_decisions == NULL, "a catalog keeps its decisions",
				  "Say how long with set_retention.");
	spec->model = BR_MODEL_SHARED;
	spec->dims = BR_FEATURE_COUNT;
}

static BrPgPolicySettings
default_settings(const BrAlgorithm *algorithm, BrModel model, bool catalog)
{
	BrPgPolicySettings settings = {
		.parameters = br_bandit_default_parameters(algorithm, model),
		.model = model,
		.interactions = true,
		.discount = 1,
		.discount_period = palloc0(sizeof(Interval)),
		.fold_size = 1000,
		.fold_every = palloc0(sizeof(Interval)),
	};

	settings.discount_period->day = 1;
	settings.fold_every->time = USECS_PER_HOUR;
	if (catalog)
	{
		settings.parameters.prior_precision = CATALOG_PRIOR_PRECISION;
		settings.parameters.noise = CATALOG_NOISE;
	}
	return settings;
}

/* defaults of the numbers depend on the model, which params may say: so they are read twice */
static BrPgPolicySettings
settings_of(const BrPgPolicyRequest *request, BrPolicySpec *spec)
{
	Jsonb *params = DatumGetJsonbP(request->parameters);
	bool catalog = request->catalog != 0;
	BrModel model = BR_MODEL_SHARED;
	BrPgPolicySettings settings;

	if (!catalog)
	{
		BrPgPolicySettings asked = br_pg_policy_read_shape(params);

		model = asked.model_given ? asked.model : default_model(spec->algorithm, &asked);
	}
	settings = default_settings(spec->algorithm, model, catalog);
	if (catalog)
	{
		BrPgPolicySettings asked = br_pg_policy_read_shape(params);

		settings.shape_given = asked.shape_given;
		shape_catalog(request, asked.shape_given ? &asked : &settings, spec);
	}
	br_pg_policy_read_settings(spec->algorithm, params, &settings);
	if (!catalog)
		shape_choices(request, &settings, spec);
	spec->parameters = settings.parameters;
	return settings;
}

/* a catalog's: the calibrated score is the rate that is expected, or stretched to its log-odds */
static Datum
prior_mean(const BrPgPolicyRequest *request, const BrPolicySpec *spec)
{
	double mean[BR_FEATURE_COUNT] = {[BR_FEATURE_SCORE] = 1.0};

	if (br_bandit_algorithm_refits(spec->algorithm))
	{
		mean[BR_FEATURE_BIAS] = -CATALOG_LOG_ODDS;
		mean[BR_FEATURE_SCORE] = CATALOG_LOG_ODDS;
	}

	return br_pg_float8_array(mean, request->catalog != 0 ? BR_FEATURE_COUNT : 0);
}

/* a row in the making: (column, value) pairs of one INSERT */
typedef struct Row
{
	StringInfoData columns;
	StringInfoData places;
	int n;
	Oid types[32];
	Datum values[32];
	char nulls[32];
} Row;

static void
put(Row *row, const char *column, Oid type, Datum value, bool is_null)
{
	appendStringInfo(&row->columns, row->n == 0 ? "%s" : ", %s", column);
	appendStringInfo(&row->places, row->n == 0 ? "$%d" : ", $%d", row->n + 1);
	row->types[row->n] = type;
	row->values[row->n] = value;
	row->nulls[row->n++] = is_null ? 'n' : ' ';
}

static void
put_settings(Row *row, const BrPgPolicySettings *settings)
{
	put(row, "context", JSONBOID, JsonbPGetDatum(settings->context), settings->context == NULL);
	put(row, "arm_features", INT4OID, Int32GetDatum(settings->arm_features), false);
	put(row, "interactions", BOOLOID, BoolGetDatum(settings->interactions), false);
	put(row, "indexed", BOOLOID, BoolGetDatum(settings->indexed), false);
	put(row, "discount", FLOAT8OID, Float8GetDatum(settings->discount), false);
	put(row, "discount_period", INTERVALOID, IntervalPGetDatum(settings->discount_period), false);
	put(row, "evidence_window", INTERVALOID, IntervalPGetDatum(settings->evidence_window),
		settings->evidence_window == NULL);
	put(row, "examination", FLOAT8ARRAYOID,
		br_pg_float8_array(settings->examination, settings->n_examination),
		settings->examination == NULL);
	put(row, "keep_versions", INT4OID, Int32GetDatum(settings->keep_versions),
		settings->keep_versions == 0);
	put(row, "keep_decisions", INTERVALOID, IntervalPGetDatum(settings->keep_decisions),
		settings->keep_decisions == NULL);
	put(row, "fold_size", INT4OID, Int32GetDatum(settings->fold_size), false);
	put(row, "fold_every", INTERVALOID, IntervalPGetDatum(settings->fold_every), false);
}

static void
insert_policy(const BrPgPolicyRequest *request, int32 catalog, const BrPolicySpec *spec,
			  const BrPgPolicySettings *settings)
{
	int n_evidence = (int) br_bandit_shared_length(spec);
	double *evidence = palloc0(sizeof(double) * n_evidence);
	bool owned = request->catalog == 0;
	Row row = {.n = 0};

	initStringInfo(&row.columns);
	initStringInfo(&row.places);
	put(&row, "catalog", INT4OID, Int32GetDatum(catalog), false);
	put(&row, "name", TEXTOID, CStringGetTextDatum(request->name), false);
	put(&row, "owner", TEXTOID,
		owned ? CStringGetTextDatum(GetUserNameFromId(request->owner, false)) : (Datum) 0, !owned);
	put(&row, "algorithm", TEXTOID, CStringGetTextDatum(request->algorithm), false);
	put(&row, "model", TEXTOID, CStringGetTextDatum(br_pg_policy_model_name(spec->model)), false);
	put(&row, "is_default", BOOLOID, BoolGetDatum(request->make_default), false);
	put(&row, "feature_schema", INT4OID, Int32GetDatum(owned ? 0 : BR_FEATURE_SCHEMA), false);
	put(&row, "dims", INT4OID, Int32GetDatum(spec->dims), false);
	put(&row, "prior_mean", FLOAT8ARRAYOID, prior_mean(request, spec), false);
	put(&row, "reward", JSONBOID, request->reward, false);
	put(&row, "attribution_window", INTERVALOID, request->window, false);
	put_settings(&row, settings);
	/* not columns of the policy, but parameters of the statement */
	row.types[row.n] = JSONBOID;
	row.values[row.n] =
		br_pg_policy_write_parameters(spec, settings->discount,
									  br_pg_interval_seconds(settings->discount_period));
	row.nulls[row.n++] = ' ';
	row.types[row.n] = FLOAT8ARRAYOID;
	row.values[row.n] = br_pg_float8_array(evidence, n_evidence);
	row.nulls[row.n++] = ' ';

	if (br_pg_execute(psprintf("WITH made AS (INSERT INTO bundle_rec.policy (%s) VALUES (%s)"
							   " ON CONFLICT (name) DO NOTHING RETURNING policy, feature_schema)"
							   " INSERT INTO bundle_rec.posterior (policy, version, feature_schema,"
							   " parameters, evidence, decisions, events)"
							   " SELECT policy, 0, feature_schema, $%d, $%d, 0, 0 FROM made",
							   row.columns.data, row.places.data, row.n - 1, row.n),
					  row.n, row.types, row.values, row.nulls, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("policy \"%s\" already exists", request->name),
				 errhint("Choose another name: decisions refer to policies for good.")));
}

/* a number of its own, and the tables of its choices */
static int32
create_choices(Oid owner)
{
	static const Oid types[] = {INT4OID};
	Datum values[1];
	bool is_null;
	int32 number;

	br_pg_execute("SELECT pg_catalog.nextval('bundle_rec.catalog_number')::pg_catalog.int4", 0,
				  NULL, NULL, NULL, false, 1);
	number = DatumGetInt32(br_pg_column(0, 1, &is_null));
	br_pg_catalog_create_choices(number, owner);
	values[0] = Int32GetDatum(number);
	br_pg_execute("INSERT INTO bundle_rec.catalog_secret (catalog) VALUES ($1)", 1, types, values,
				  NULL, false, 0);
	return number;
}

/* the table whose index finds arms by their features */
static void
create_index(const char *name, int32 catalog, int arm_features)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	bool is_null;

	br_pg_execute("SELECT policy FROM bundle_rec.policy WHERE name = $1", 1, types, values, NULL,
				  false, 1);
	br_pg_catalog_create_arms(catalog, DatumGetInt32(br_pg_column(0, 1, &is_null)), arm_features);
}

void
br_pg_policy_create(const BrPgPolicyRequest *request)
{
	static const Oid types[] = {INT4OID};
	BrPolicySpec spec = {.algorithm = algorithm_of(request->algorithm)};
	Datum values[] = {Int32GetDatum(request->catalog)};
	BrPgPolicySettings settings;
	BrContext context;
	int32 catalog = request->catalog;

	check_name(request->name);
	settings = settings_of(request, &spec);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_check_spec(&context, &spec), &context,
				psprintf("policy \"%s\" cannot be", request->name), NULL);
	br_pg_reward_check(request->reward, request->window, request->catalog);
	if (catalog != 0)
		br_pg_catalog_hold(catalog);
	else if (request->make_default)
		require_shape(false, "only a catalog has a default policy", "Leave make_default out.");
	if (request->make_default)
		br_pg_execute("UPDATE bundle_rec.policy SET is_default = false"
					  " WHERE catalog = $1 AND is_default",
					  1, types, values, NULL, false, 0);
	if (catalog == 0)
		catalog = create_choices(request->owner);
	insert_policy(request, catalog, &spec, &settings);
	if (settings.indexed)
		create_index(request->name, catalog, settings.arm_features);
}

void
br_pg_policy_create_default(int32 catalog, const char *catalog_name)
{
	BrPgPolicyRequest request = {
		.name = catalog_name,
		.algorithm = "linear_thompson",
		.catalog = catalog,
		.parameters = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")),
		.reward = DirectFunctionCall1(jsonb_in, CStringGetDatum("{\"click\": 1}")),
		.window = DirectFunctionCall3(interval_in, CStringGetDatum("1 day"),
									  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)),
		.make_default = true,
	};

	br_pg_policy_create(&request);
}
