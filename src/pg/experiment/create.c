/*
 * create.c
 *	  Experiments from their start to their end.
 *
 * Whoever changes experiments locks their table against others who do, so that
 * room in a layer is given away once; those who assign only read it. A layer's
 * slots are given out first fit, and the table's exclusion constraint would
 * refuse an overlap all the same.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "pg/bulk.h"
#include "pg/experiment/experiment.h"

/* weights are decimal fractions that may sum to 1 but for their rounding */
#define SUM_TOLERANCE 1e-9

/* slots that rounding may take from shares that fill a layer */
#define ROUNDED_SLOTS 16

static void
run(const char *sql)
{
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

BrPgNumbers
br_pg_numbers_of(Datum object, const char *argument)
{
	static const Oid types[] = {JSONBOID};
	BrPgNumbers numbers = {0};
	BrPgRights rights;
	bool is_null;

	br_pg_enter_role(&rights, InvalidOid);
	br_pg_execute("SELECT pg_catalog.jsonb_typeof($1) = 'object'", 1, types, &object, NULL, true,
				  1);
	if (!DatumGetBool(br_pg_column(0, 1, &is_null)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a JSON object", argument)));
	numbers.n = (int) br_pg_execute("SELECT key, CASE pg_catalog.jsonb_typeof(value) WHEN 'number'"
									" THEN (value #>> '{}')::pg_catalog.float8 END"
									" FROM pg_catalog.jsonb_each($1) ORDER BY key COLLATE \"C\"",
									1, types, &object, NULL, true, 0);
	numbers.keys = palloc(sizeof(char *) * (numbers.n + 1));
	numbers.values = palloc(sizeof(double) * (numbers.n + 1));
	for (int i = 0; i < numbers.n; i++)
	{
		numbers.keys[i] = br_pg_column_text(i, 1);
		numbers.values[i] = DatumGetFloat8(br_pg_column(i, 2, &is_null));
		if (is_null)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" of \"%s\" is not a number", numbers.keys[i], argument)));
	}
	br_pg_leave(&rights);
	return numbers;
}

/* ---- what is asked for ---- */

static void
check_variants(const BrPgNumbers *variants, bool may_be_zero)
{
	double sum = 0;

	if (variants->n < 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an experiment needs at least two variants"),
				 errdetail("It has %d.", variants->n),
				 errhint("Give variants such as {\"control\": 0.5, \"treatment\": 0.5}.")));
	for (int i = 0; i < variants->n; i++)
	{
		if (variants->keys[i][0] == '\0')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the name of a variant must not be empty")));
		if (variants->values[i] < 0 || (variants->values[i] == 0 && !may_be_zero))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the weight of variant \"%s\" is %g", variants->keys[i],
							variants->values[i]),
					 errhint("Weights must be above 0; alter_experiment may set one to 0.")));
		sum += variants->values[i];
	}
	if (!(fabs(sum - 1) <= SUM_TOLERANCE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the weights of the variants do not sum to 1"),
				 errdetail("They sum to %.12g.", sum)));
}

static void
check_traffic(double traffic)
{
	if (!(traffic > 0 && traffic <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"traffic\" is %g", traffic),
				 errhint("Give the share of units in the experiment, above 0 and at most 1.")));
}

static void
check_request(const BrPgExperimentRequest *request)
{
	if (request->name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of an experiment must not be empty")));
	if (request->layer != NULL && request->layer[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a layer must not be empty")));
	check_traffic(request->traffic);
	if (!isnan(request->holdout) && !(request->holdout >= 0 && request->holdout < 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"holdout\" is %g", request->holdout),
				 errhint("Give the share of units that is left out, at least 0 and below 1.")));
}

/* ---- layers ---- */

typedef struct Layer
{
	int32 number; /* 0: none */
	double holdout;
} Layer;

/* whether role owns one of the layer's experiments, or there is none */
static bool
owns_layer(int32 layer, Oid role)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(layer)};
	uint64 n = br_pg_execute_now("SELECT experiment FROM bundle_rec.experiment WHERE layer = $1", 1,
								 types, values);

	for (uint64 row = 0; row < n; row++)
	{
		bool is_null;
		int32 number = DatumGetInt32(br_pg_column(row, 1, &is_null));

		if (pg_class_aclcheck(br_pg_child("exposure", number), role,
							  ACL_GRANT_OPTION_FOR(ACL_INSERT)) == ACLCHECK_OK)
			return true;
	}
	return n == 0;
}

/* the layer of a request, made where there is none of that name */
static Layer
find_layer(const BrPgExperimentRequest *request, Oid caller)
{
	static const Oid types[] = {TEXTOID, FLOAT8OID};
	double holdout = isnan(request->holdout) ? 0 : request->holdout;
	Layer layer = {0, holdout};
	Datum values[] = {(Datum) 0, Float8GetDatum(holdout)};
	bool is_null;

	if (request->layer == NULL)
		return layer;
	values[0] = CStringGetTextDatum(request->layer);
	br_pg_execute_now("INSERT INTO bundle_rec.experiment_layer (name, salt, holdout)"
					  " VALUES ($1, pg_catalog.gen_random_uuid()::pg_catalog.text, $2)"
					  " ON CONFLICT (name) DO NOTHING",
					  2, types, values);
	br_pg_execute_now("SELECT layer, holdout FROM bundle_rec.experiment_layer"
					  " WHERE name = $1 AND $2 IS NOT NULL",
					  2, types, values);
	layer.number = DatumGetInt32(br_pg_column(0, 1, &is_null));
	layer.holdout = DatumGetFloat8(br_pg_column(0, 2, &is_null));
	if (!owns_layer(layer.number, caller))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of an experiment of layer \"%s\"", request->layer),
				 errhint("Its experiments share their units: ask who owns one of them.")));
	if (!isnan(request->holdout) && request->holdout != layer.holdout)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("layer \"%s\" holds out %g, not %g", request->layer, layer.holdout,
						request->holdout),
				 errhint(
					 "All experiments of a layer hold out the same units: leave holdout out.")));
	return layer;
}

static int64
slots_of(double share)
{
	return (int64) llround(share * (double) BR_PG_SLOTS);
}

/*
 * The first slot from `first` on after which `wanted` slots of a layer are free of
 * running experiments other than `except`; *end is where they end. Rounding may
 * leave a few slots less.
 */
static int64
free_slots(const Layer *layer, int32 except, int64 first, int64 wanted, bool anywhere, int64 *end)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(layer->number), Int32GetDatum(except)};
	int64 usable = slots_of(1 - layer->holdout);
	int64 widest = 0;
	uint64 n = br_pg_execute_now("SELECT first_slot, end_slot FROM bundle_rec.experiment"
								 " WHERE layer = $1 AND experiment <> $2 AND stopped_at IS NULL"
								 " ORDER BY first_slot",
								 2, types, values);

	for (uint64 row = 0; row <= n; row++)
	{
		bool is_null;
		int64 next = row < n ? DatumGetInt64(br_pg_column(row, 1, &is_null)) : usable;

		if (next - first >= wanted - ROUNDED_SLOTS && next > first)
		{
			*end = Min(first + wanted, next);
			return first;
		}
		widest = Max(widest, next - first);
		if (row < n && (anywhere || next < first))
			first = Max(first, DatumGetInt64(br_pg_column(row, 2, &is_null)));
		else if (row < n)
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the layer has no room for this traffic"),
			 errdetail("It takes %.6g of the units; at most %.6g are free together.",
					   (double) wanted / BR_PG_SLOTS, (double) widest / BR_PG_SLOTS),
			 errhint("Stop an experiment of the layer with stop_experiment, or ask for less "
					 "traffic.")));
}

/* ---- rows ---- */

static void
insert_variants(int32 number, int32 version, const BrPgNumbers *variants)
{
	static const Oid types[] = {INT4OID, INT4OID, TEXTOID, FLOAT8OID, INT8OID};
	double sum = 0;

	for (int i = 0; i < variants->n; i++)
	{
		int64 end;

		sum += variants->values[i];
		/* the last of those with a weight ends where the slots do, whatever was rounded */
		end = sum >= 1 - SUM_TOLERANCE ? BR_PG_SLOTS : slots_of(sum);
		br_pg_execute_now("INSERT INTO bundle_rec.experiment_variant (experiment, version,"
						  " variant, weight, end_slot) VALUES ($1, $2, $3, $4, $5)",
						  5, types,
						  (Datum[]){Int32GetDatum(number), Int32GetDatum(version),
									CStringGetTextDatum(variants->keys[i]),
									Float8GetDatum(variants->values[i]), Int64GetDatum(end)});
	}
}

static int32
insert_experiment(const BrPgExperimentRequest *request, const Layer *layer)
{
	static const Oid types[] = {TEXTOID, INT4OID, TEXTOID, FLOAT8OID, INT8OID, INT8OID};
	int64 wanted = slots_of(request->traffic * (1 - layer->holdout));
	int64 first = 0;
	int64 end = wanted;
	Datum values[6];
	bool is_null;

	if (wanted < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"traffic\" is %g: no unit would be in the experiment",
						request->traffic)));
	if (layer->number != 0)
		first = free_slots(layer, 0, 0, wanted, true, &end);
	values[0] = CStringGetTextDatum(request->name);
	values[1] = Int32GetDatum(layer->number);
	values[2] = CStringGetTextDatum(request->salt != NULL ? request->salt : "");
	values[3] = Float8GetDatum(layer->holdout);
	values[4] = Int64GetDatum(first);
	values[5] = Int64GetDatum(end);
	if (br_pg_execute_now("INSERT INTO bundle_rec.experiment (name, layer, salt, holdout,"
						  " first_slot, end_slot) VALUES ($1, NULLIF($2, 0), COALESCE(NULLIF($3,"
						  " ''), pg_catalog.gen_random_uuid()::pg_catalog.text), $4, $5, $6)"
						  " ON CONFLICT (name) DO NOTHING RETURNING experiment",
						  6, types, values) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("experiment \"%s\" already exists", request->name),
				 errhint("Choose another name, or drop that one with drop_experiment.")));
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

/* exposure_<n>, where the caller's settings would not put it */
static void
create_exposures(int32 number, Oid owner)
{
	const char *role = quote_identifier(GetUserNameFromId(owner, false));

	br_pg_set_for_section("default_tablespace", "");
	br_pg_set_for_section("default_table_access_method", DEFAULT_TABLE_ACCESS_METHOD);
	run(psprintf("CREATE TABLE bundle_rec.exposure_%d (CHECK (experiment = %d),"
				 " PRIMARY KEY (unit_id)) INHERITS (bundle_rec.exposure);"
				 " ALTER TABLE bundle_rec.exposure_%d ALTER experiment SET DEFAULT %d;"
				 " GRANT SELECT, INSERT, DELETE ON bundle_rec.exposure_%d TO %s WITH GRANT OPTION",
				 number, number, number, number, number, role));
}

static void
lock_experiments(void)
{
	run("LOCK TABLE bundle_rec.experiment IN SHARE ROW EXCLUSIVE MODE");
}

void
br_pg_experiment_create(const BrPgExperimentRequest *request)
{
	Oid caller = GetUserId();
	BrPgNumbers variants = br_pg_numbers_of(request->variants, "variants");
	BrPgRights rights;
	Layer layer;
	int32 number;

	check_request(request);
	check_variants(&variants, false);
	br_pg_enter_owner(&rights);
	lock_experiments();
	layer = find_layer(request, caller);
	number = insert_experiment(request, &layer);
	insert_variants(number, 1, &variants);
	create_exposures(number, caller);
	br_pg_leave(&rights);
}

/* ---- changes ---- */

/* the experiment, locked against other changes; the caller owns it */
static BrPgExperiment *
open_owned(const char *name)
{
	BrPgExperiment *experiment = br_pg_experiment_open(name, true);
	BrPgRights rights;

	if (pg_class_aclcheck(experiment->exposures, GetUserId(), ACL_GRANT_OPTION_FOR(ACL_INSERT)) !=
		ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of experiment \"%s\"", name),
				 errhint("An owner may pass INSERT on bundle_rec.exposure_%d on: "
						 "GRANT INSERT ... WITH GRANT OPTION.",
						 experiment->number)));
	br_pg_enter_owner(&rights);
	lock_experiments();
	br_pg_leave(&rights);
	/* whoever held the lock may have changed it */
	return br_pg_experiment_open(name, true);
}

static void
set_weights(const BrPgExperiment *experiment, const BrPgNumbers *variants)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(experiment->number)};

	for (int old = 0; old < experiment->n_variants; old++)
	{
		bool found = false;

		for (int i = 0; i < variants->n && !found; i++)
			found = strcmp(variants->keys[i], experiment->variants[old]) == 0;
		if (!found)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("variant \"%s\" of experiment \"%s\" is missing",
							experiment->variants[old], experiment->name),
					 errhint("Give it weight 0: units that have it keep it.")));
	}
	insert_variants(experiment->number, experiment->version + 1, variants);
	br_pg_execute_now("UPDATE bundle_rec.experiment SET version = version + 1"
					  " WHERE experiment = $1",
					  1, types, values);
}

static void
set_traffic(const BrPgExperiment *experiment, double traffic)
{
	static const Oid types[] = {INT4OID, INT8OID};
	Layer layer = {experiment->layer, experiment->holdout};
	int64 wanted = slots_of(traffic * (1 - experiment->holdout));
	int64 end = experiment->first_slot + wanted;

	if (layer.number != 0 && end < experiment->end_slot - ROUNDED_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the traffic of an experiment in a layer must not shrink"),
				 errdetail("Units that have a variant of \"%s\" could get one of another "
						   "experiment besides.",
						   experiment->name),
				 errhint("Stop it and create another one.")));
	if (layer.number != 0)
		(void) free_slots(&layer, experiment->number, experiment->first_slot, wanted, false, &end);
	br_pg_execute_now("UPDATE bundle_rec.experiment SET end_slot = $2 WHERE experiment = $1", 2,
					  types, (Datum[]){Int32GetDatum(experiment->number), Int64GetDatum(end)});
}

void
br_pg_experiment_alter(const char *name, const Datum *variants, double traffic)
{
	BrPgNumbers weights = {0};
	BrPgExperiment *experiment;
	BrPgRights rights;

	if (variants != NULL)
	{
		weights = br_pg_numbers_of(*variants, "variants");
		check_variants(&weights, true);
	}
	if (!isnan(traffic))
		check_traffic(traffic);
	experiment = open_owned(name);
	if (experiment->stopped)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("experiment \"%s\" was stopped", name),
				 errhint("Create another one with create_experiment.")));
	br_pg_enter_owner(&rights);
	if (variants != NULL)
		set_weights(experiment, &weights);
	if (!isnan(traffic))
		set_traffic(experiment, traffic);
	br_pg_leave(&rights);
}

void
br_pg_experiment_stop(const char *name)
{
	static const Oid types[] = {INT4OID};
	BrPgExperiment *experiment = open_owned(name);
	Datum values[] = {Int32GetDatum(experiment->number)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute_now("UPDATE bundle_rec.experiment SET stopped_at = pg_catalog.now()"
					  " WHERE experiment = $1 AND stopped_at IS NULL",
					  1, types, values);
	br_pg_leave(&rights);
}

void
br_pg_experiment_drop(const char *name)
{
	static const Oid types[] = {INT4OID, INT4OID};
	BrPgExperiment *experiment = open_owned(name);
	Datum values[] = {Int32GetDatum(experiment->number), Int32GetDatum(experiment->layer)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	run(psprintf("DROP TABLE bundle_rec.exposure_%d", experiment->number));
	br_pg_execute_now("DELETE FROM bundle_rec.experiment_variant WHERE experiment = $1", 1, types,
					  values);
	br_pg_execute_now("DELETE FROM bundle_rec.experiment WHERE experiment = $1", 1, types, values);
	br_pg_execute_now("DELETE FROM bundle_rec.experiment_layer l WHERE layer = $2 AND NOT EXISTS"
					  " (SELECT FROM bundle_rec.experiment e WHERE e.layer = $2"
					  " AND e.experiment <> $1)",
					  2, types, values);
	br_pg_leave(&rights);
}
