/*
 * test_query.c
 *	  From the caller's query to the moments of each variant's units.
 *
 * The query becomes a subquery of one aggregate statement: its rows are summed per
 * unit first, since rows of one unit are no independent observations, and the
 * units are then reduced to moments, by parallel workers where there are any.
 * Everything runs as the caller, in one statement that only reads. Names of
 * columns are quoted, and functions and operators named with their schema: the
 * search path is the caller's, whose query may need it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/experiment/test_query.h"

/* the columns before the moments */
#define GROUP_COLUMNS 4

/* ---- the query's columns ---- */

/* the query without what would end it early: a semicolon, or a comment at its end */
static char *
as_subquery(const char *query)
{
	int length = (int) strlen(query);

	while (length > 0 && (isspace((unsigned char) query[length - 1]) || query[length - 1] == ';'))
		length--;
	if (length == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"query\" is empty"),
				 errhint("Give a SELECT with a row for each unit, or several.")));
	return psprintf("(%.*s\n)", length, query);
}

static void
execute(const char *sql)
{
	int result = SPI_execute(sql, true, 0);

	if (result != SPI_OK_SELECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"query\" is not a SELECT")));
}

/* the type of a column of the SPI result, under any domain; InvalidOid: none of that name */
static Oid
column_type(const char *name)
{
	int column = SPI_fnumber(SPI_tuptable->tupdesc, name);

	return column > 0 ? getBaseType(SPI_gettypeid(SPI_tuptable->tupdesc, column)) : InvalidOid;
}

static bool
has_column(const char *name)
{
	return OidIsValid(column_type(name));
}

static void
refuse_column(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("the query has no column \"%s\"", name)));
}

static void
check_number(const char *name, bool may_be_boolean)
{
	Oid type = column_type(name);

	if (!OidIsValid(type))
		refuse_column(name);
	if (!br_pg_is_number(type) && !(may_be_boolean && type == BOOLOID))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of the query is no number", name),
				 errdetail("It is of type %s.", format_type_be(type)),
				 errhint(may_be_boolean ? "Metrics are numbers, or booleans."
										: "Covariates and denominators are numbers.")));
}

/* ---- metrics ---- */

/* names of columns by metric, as text */
static void
set_columns(const BrPgTestRequest *request, BrPgMetric *metrics, Datum object, const char *argument,
			size_t field)
{
	static const Oid types[] = {JSONBOID};
	BrPgRights rights;
	uint64 n;
	bool is_null;

	br_pg_enter_role(&rights, InvalidOid);
	br_pg_execute("SELECT pg_catalog.jsonb_typeof($1) = 'object'", 1, types, &object, NULL, true,
				  1);
	if (!DatumGetBool(br_pg_column(0, 1, &is_null)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a JSON object", argument)));
	n = br_pg_execute("SELECT key, value FROM pg_catalog.jsonb_each_text($1)", 1, types, &object,
					  NULL, true, 0);
	for (uint64 row = 0; row < n; row++)
	{
		char *key = br_pg_column_text(row, 1);
		char *column = br_pg_column_text(row, 2);
		int metric = 0;

		while (metric < request->n_metrics && strcmp(metrics[metric].name, key) != 0)
			metric++;
		if (metric == request->n_metrics || column == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" of \"%s\" is no metric, or has no column", key, argument),
					 errhint("Name a metric of \"metrics\", and a column of the query for it.")));
		*(char **) ((char *) &metrics[metric] + field) = column;
	}
	br_pg_leave(&rights);
}

static void
set_margins(const BrPgTestRequest *request, BrPgMetric *metrics)
{
	BrPgNumbers margins = br_pg_numbers_of(request->margins, "margins");

	for (int i = 0; i < margins.n; i++)
	{
		int metric = 0;

		while (metric < request->n_metrics && strcmp(metrics[metric].name, margins.keys[i]) != 0)
			metric++;
		if (metric == request->n_metrics)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"%s\" of \"margins\" is no metric", margins.keys[i]),
					 errhint("Name a metric of \"metrics\".")));
		if (margins.values[i] == 0 || !isfinite(margins.values[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the margin of metric \"%s\" is %g", margins.keys[i],
							margins.values[i]),
					 errhint(
						 "Give the share of the control's value that it may fall, such as 0.02, "
						 "or -0.02 where less is better.")));
		metrics[metric].margin = margins.values[i];
	}
}

BrPgMetric *
br_pg_test_metrics(const BrPgTestRequest *request)
{
	BrPgMetric *metrics = palloc0(sizeof(BrPgMetric) * Max(request->n_metrics, 1));

	if (request->n_metrics == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"metrics\" is empty"),
				 errhint("Name the columns of the query that are compared.")));
	for (int i = 0; i < request->n_metrics; i++)
	{
		metrics[i].name = request->metrics[i];
		metrics[i].margin = NAN;
	}
	set_columns(request, metrics, request->covariates, "covariates",
				offsetof(BrPgMetric, covariate));
	set_columns(request, metrics, request->denominators, "denominators",
				offsetof(BrPgMetric, denominator));
	set_margins(request, metrics);

	execute(psprintf("SELECT q.* FROM %s q LIMIT 0", as_subquery(request->query)));
	for (int i = 0; i < request->n_metrics; i++)
	{
		BrPgMetric *metric = &metrics[i];

		check_number(metric->name, true);
		if (metric->covariate != NULL)
			check_number(metric->covariate, false);
		if (metric->denominator != NULL)
			check_number(metric->denominator, false);
		metric->is_boolean = column_type(metric->name) == BOOLOID;
		metric->method = metric->covariate != NULL ? BR_COMPARE_ADJUSTED
			: metric->denominator != NULL		   ? BR_COMPARE_RATIOS
			: metric->is_boolean				   ? BR_COMPARE_PROPORTIONS
												   : BR_COMPARE_MEANS;
	}
	return metrics;
}

/* ---- the statement ---- */

/*
 * How the rows of the query become units: whether several rows are one, and
 * whether units may have no row at all.
 */
typedef struct Source
{
	bool grouped;
	bool exposed;
	bool has_segments;
	bool timed; /* rows before the exposure do not count */
} Source;

/* one number of a unit, from a column of its rows */
static void
append_number(StringInfo sql, const Source *source, const char *aggregate, const char *column,
			  const char *cast, const char *alias, int metric)
{
	const char *value = psprintf("q.%s%s", quote_identifier(column), cast);

	if (!source->grouped)
		appendStringInfo(sql, ", %s::pg_catalog.float8 AS %s%d", value, alias, metric);
	else if (source->exposed)
		appendStringInfo(sql,
						 ", CASE WHEN pg_catalog.count(q.unit_id) OPERATOR(pg_catalog.>) 0 THEN"
						 " pg_catalog.%s(%s::pg_catalog.float8) ELSE 0 END AS %s%d",
						 aggregate, value, alias, metric);
	else
		appendStringInfo(sql, ", pg_catalog.%s(%s::pg_catalog.float8) AS %s%d", aggregate, value,
						 alias, metric);
}

/* what min and max agree on; NULL where they do not */
static char *
agreed(const char *column)
{
	return psprintf("CASE WHEN pg_catalog.min(%s::pg_catalog.text COLLATE pg_catalog.\"C\")"
					" OPERATOR(pg_catalog.=) pg_catalog.max(%s::pg_catalog.text COLLATE pg_catalog.\"C\")"
					" THEN pg_catalog.min(%s::pg_catalog.text COLLATE pg_catalog.\"C\") END",
					column, column, column);
}

static void
append_units(StringInfo sql, const BrPgTestRequest *request, const BrPgExperiment *experiment,
			 const Source *source, const BrPgMetric *metrics)
{
	const char *variant = source->exposed ? "e.variant" : "q.variant";

	appendStringInfo(sql, "(SELECT %s AS variant, %s AS segment, %s AS version",
					 source->grouped ? agreed(variant) : "q.variant::pg_catalog.text",
					 !source->has_segments ? "NULL::pg_catalog.text"
						 : source->grouped ? agreed("q.segment")
										   : "q.segment::pg_catalog.text",
					 source->exposed ? "pg_catalog.min(e.version)" : "0");
	for (int i = 0; i < request->n_metrics; i++)
	{
		const BrPgMetric *metric = &metrics[i];

		/* a boolean says whether it was ever true of the unit; a covariate repeats itself */
		append_number(sql, source, metric->is_boolean ? "max" : "sum", metric->name,
					  metric->is_boolean ? "::pg_catalog.int4" : "", "y", i);
		if (metric->covariate != NULL)
			append_number(sql, source, "avg", metric->covariate, "", "x", i);
		if (metric->denominator != NULL)
			append_number(sql, source, "sum", metric->denominator, "", "d", i);
	}
	if (source->exposed)
		appendStringInfo(sql,
						 " FROM bundle_rec.exposure_%d e LEFT JOIN %s q"
						 " ON q.unit_id::pg_catalog.text OPERATOR(pg_catalog.=) e.unit_id%s"
						 " GROUP BY e.unit_id) u",
						 experiment->number, as_subquery(request->query),
						 source->timed ? " AND q.occurred_at OPERATOR(pg_catalog.>=) e.exposed_at"
									   : "");
	else
		appendStringInfo(sql, " FROM %s q WHERE q.variant IS NOT NULL%s) u",
						 as_subquery(request->query),
						 source->grouped ? " AND q.unit_id IS NOT NULL GROUP BY q.unit_id" : "");
}

static char *
statement(const BrPgTestRequest *request, const BrPgExperiment *experiment, const Source *source,
		  const BrPgMetric *metrics)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT u.segment, u.variant, u.version, pg_catalog.count(*)");
	for (int i = 0; i < request->n_metrics; i++)
	{
		bool has_denominator = metrics[i].denominator != NULL;

		appendStringInfo(&sql, ", bundle_rec.experiment_moments(u.y%d", i);
		if (metrics[i].covariate != NULL)
			appendStringInfo(&sql, ", u.x%d", i);
		else if (has_denominator)
			appendStringInfoString(&sql, ", 0::pg_catalog.float8");
		if (has_denominator)
			appendStringInfo(&sql, ", u.d%d", i);
		appendStringInfoChar(&sql, ')');
	}
	appendStringInfoString(&sql, " FROM ");
	append_units(&sql, request, experiment, source, metrics);
	appendStringInfoString(&sql, " GROUP BY 1, 2, 3");
	return sql.data;
}

static Source
source_of(const BrPgExperiment *experiment)
{
	Source source = {
		.grouped = experiment != NULL || has_column("unit_id"),
		.exposed = experiment != NULL,
		.has_segments = has_column("segment"),
		.timed = experiment != NULL && has_column("occurred_at"),
	};

	if (experiment != NULL && !has_column("unit_id"))
		refuse_column("unit_id");
	if (experiment != NULL && has_column("variant"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("both the query and experiment \"%s\" say which variant a unit has",
						experiment->name),
				 errhint("Leave out the query's column \"variant\", or the experiment.")));
	if (experiment == NULL && !has_column("variant"))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN), errmsg("the query has no column \"variant\""),
				 errhint("Add it, or name the experiment whose exposures say it.")));
	return source;
}

static void
require_exposures(const BrPgExperiment *experiment)
{
	if (experiment != NULL &&
		pg_class_aclcheck(experiment->exposures, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to analyse experiment \"%s\"", experiment->name),
				 errhint("GRANT SELECT ON bundle_rec.exposure_%d TO this role.",
						 experiment->number)));
}

static double *
moments_of_row(uint64 row, int n_metrics)
{
	double *moments = palloc(sizeof(double) * BR_MOMENTS * n_metrics);

	for (int i = 0; i < n_metrics; i++)
	{
		bool is_null;
		ArrayType *state = DatumGetArrayTypeP(br_pg_column(row, GROUP_COLUMNS + 1 + i, &is_null));

		memcpy(moments + BR_MOMENTS * i, ARR_DATA_PTR(state), sizeof(double) * BR_MOMENTS);
	}
	return moments;
}

BrPgGroups
br_pg_test_groups(const BrPgTestRequest *request, const BrPgExperiment *experiment,
				  const BrPgMetric *metrics)
{
	MemoryContext caller = CurrentMemoryContext;
	BrPgGroups groups = {0};
	Source source;

	require_exposures(experiment);
	execute(psprintf("SELECT q.* FROM %s q LIMIT 0", as_subquery(request->query)));
	source = source_of(experiment);
	execute(statement(request, experiment, &source, metrics));
	MemoryContextSwitchTo(caller);
	groups.has_segments = source.has_segments;
	groups.n = (int) SPI_processed;
	groups.groups = palloc(sizeof(BrPgGroup) * Max(groups.n, 1));
	for (int row = 0; row < groups.n; row++)
	{
		bool is_null;

		groups.groups[row] = (BrPgGroup){
			.segment = br_pg_column_text(row, 1),
			.variant = br_pg_column_text(row, 2),
			.version = DatumGetInt32(br_pg_column(row, 3, &is_null)),
			.units = DatumGetInt64(br_pg_column(row, 4, &is_null)),
			.moments = moments_of_row(row, request->n_metrics),
		};
	}
	return groups;
}
