/*
 * ab_test.c
 *	  What an experiment's variants were worth: one row for each segment, metric
 *	  and variant.
 *
 * The groups that test_query.c read are merged into cells, one for each segment
 * and variant, and one for each variant over all segments; every statistic follows
 * from the moments in two cells. Where there is no answer, such as for a segment
 * in which nobody bought, the row says why instead of failing the others.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "pg/experiment/test_query.h"
#include "pg/sql/arguments.h"

#define RESULT_COLUMNS 21

/* the units of one variant in one segment */
typedef struct Cell
{
	double units;
	double expected; /* as many as its weights would give, up to a common factor */
	double *moments; /* (metrics, BR_MOMENTS) */
} Cell;

typedef struct Test
{
	const BrPgTestRequest *request;
	const BrPgExperiment *experiment; /* NULL: the query names the variants */
	BrPgMetric *metrics;
	int n_variants;
	char **variants; /* the control first, the others in the order of bytes */
	int n_segments;
	char **segments; /* [0] is NULL: all units */
	Cell *cells;	 /* (segments, variants) */
	BrContext context;
} Test;

/* One row of the result. */
typedef struct Row
{
	int segment;
	int metric;
	int variant;
	Cell *cell;
	double mean;
	BrComparison comparison;
	BrSequential sequential;
	double adjusted_p_value;
	double srm_p_value;
	const char *guardrail; /* NULL: none, or no verdict */
	char *note;
} Row;

static int
compare_texts(const void *left, const void *right)
{
	return strcmp(*(char *const *) left, *(char *const *) right);
}

/* sorts texts and drops those that repeat; returns how many are left */
static int
distinct(char **texts, int n)
{
	int kept = 0;

	qsort(texts, n, sizeof(char *), compare_texts);
	for (int i = 0; i < n; i++)
		if (kept == 0 || strcmp(texts[kept - 1], texts[i]) != 0)
			texts[kept++] = texts[i];
	return kept;
}

static int
find(char *const *texts, int n, const char *wanted)
{
	for (int i = 0; i < n; i++)
		if (texts[i] != NULL && strcmp(texts[i], wanted) == 0)
			return i;
	return -1;
}

static Cell *
cell_of(const Test *test, int segment, int variant)
{
	return &test->cells[segment * test->n_variants + variant];
}

/* ---- variants and segments ---- */

static void
refuse_variant(const Test *test, const char *variant)
{
	StringInfoData known;

	initStringInfo(&known);
	for (int i = 0; i < test->n_variants; i++)
		appendStringInfo(&known, "%s\"%s\"", i == 0 ? "" : ", ", test->variants[i]);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown variant \"%s\"", variant),
			 errdetail("Variants are %s.", test->n_variants == 0 ? "none" : known.data)));
}

static void
control_first(Test *test)
{
	int control = find(test->variants, test->n_variants, test->request->control);
	char *name;

	if (control < 0)
		refuse_variant(test, test->request->control);
	name = test->variants[control];
	memmove(test->variants + 1, test->variants, sizeof(char *) * control);
	test->variants[0] = name;
}

static void
name_variants(Test *test, const BrPgGroups *groups, const BrPgNumbers *weights)
{
	int n = 0;

	if (test->experiment != NULL)
	{
		test->n_variants = test->experiment->n_variants;
		test->variants = palloc(sizeof(char *) * test->n_variants);
		memcpy(test->variants, test->experiment->variants, sizeof(char *) * test->n_variants);
	}
	else
	{
		test->variants = palloc(sizeof(char *) * (groups->n + weights->n + 1));
		for (int i = 0; i < weights->n; i++)
			test->variants[n++] = weights->keys[i];
		/* with weights, theirs are all variants */
		for (int i = 0; i < groups->n && weights->n == 0; i++)
			if (groups->groups[i].variant != NULL)
				test->variants[n++] = groups->groups[i].variant;
		test->n_variants = distinct(test->variants, n);
	}
	control_first(test);
	for (int i = 0; i < groups->n; i++)
		if (groups->groups[i].variant != NULL &&
			find(test->variants, test->n_variants, groups->groups[i].variant) < 0)
			refuse_variant(test, groups->groups[i].variant);
}

static void
name_segments(Test *test, const BrPgGroups *groups)
{
	int n = 0;

	test->segments = palloc0(sizeof(char *) * (groups->n + 1));
	for (int i = 0; i < groups->n; i++)
		if (groups->groups[i].segment != NULL && groups->groups[i].variant != NULL)
			test->segments[1 + n++] = groups->groups[i].segment;
	test->n_segments = 1 + distinct(test->segments + 1, n);
}

/* ---- cells ---- */

/* (version, variant, weight) of an experiment, or nothing */
typedef struct Weights
{
	int n;
	int32 *versions;
	char **variants;
	double *values;
} Weights;

static Weights
weights_of_versions(const BrPgExperiment *experiment)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(experiment->number)};
	Weights weights;
	BrPgRights rights;
	bool is_null;

	br_pg_enter_owner(&rights);
	weights.n = (int) br_pg_execute("SELECT version, variant, weight"
									" FROM bundle_rec.experiment_variant WHERE experiment = $1",
									1, types, values, NULL, true, 0);
	weights.versions = palloc(sizeof(int32) * (weights.n + 1));
	weights.variants = palloc(sizeof(char *) * (weights.n + 1));
	weights.values = palloc(sizeof(double) * (weights.n + 1));
	for (int i = 0; i < weights.n; i++)
	{
		weights.versions[i] = DatumGetInt32(br_pg_column(i, 1, &is_null));
		weights.variants[i] = br_pg_column_text(i, 2);
		weights.values[i] = DatumGetFloat8(br_pg_column(i, 3, &is_null));
	}
	br_pg_leave(&rights);
	return weights;
}

/* units of a version were expected in the shares of its weights */
static void
expect(const Test *test, int segment, const BrPgGroup *group, const Weights *weights)
{
	for (int i = 0; i < weights->n; i++)
		if (weights->versions[i] == group->version)
			cell_of(test, segment, find(test->variants, test->n_variants, weights->variants[i]))
				->expected += (double) group->units * weights->values[i];
}

static void
add_group(Test *test, int segment, const BrPgGroup *group)
{
	Cell *cell = cell_of(test, segment, find(test->variants, test->n_variants, group->variant));

	cell->units += (double) group->units;
	for (int metric = 0; metric < test->request->n_metrics; metric++)
		br_eval_moments_combine(cell->moments + BR_MOMENTS * metric,
								group->moments + BR_MOMENTS * metric);
}

static void
fill_cells(Test *test, const BrPgGroups *groups, const BrPgNumbers *given)
{
	int n = test->n_segments * test->n_variants;
	size_t moments = sizeof(double) * BR_MOMENTS * test->request->n_metrics;
	Weights weights = {0};
	int64 crossed = 0;

	test->cells = palloc0(sizeof(Cell) * n);
	for (int i = 0; i < n; i++)
	{
		int place = find(given->keys, given->n, test->variants[i % test->n_variants]);

		test->cells[i].moments = palloc0(moments);
		if (test->experiment == NULL)
			test->cells[i].expected = place < 0 ? 1 : given->values[place];
	}
	if (test->experiment != NULL)
		weights = weights_of_versions(test->experiment);
	for (int i = 0; i < groups->n; i++)
	{
		const BrPgGroup *group = &groups->groups[i];

		if (group->variant == NULL)
		{
			crossed += group->units;
			continue;
		}
		add_group(test, 0, group);
		expect(test, 0, group, &weights);
		if (group->segment != NULL)
		{
			int segment = find(test->segments, test->n_segments, group->segment);

			add_group(test, segment, group);
			expect(test, segment, group, &weights);
		}
	}
	if (crossed > 0)
		ereport(WARNING,
				(errmsg("%lld units had more than one variant, and are left out",
						(long long) crossed)));
}

/* ---- rows ---- */

static void
pool_variants(const Test *test, int segment, int metric, double *pooled)
{
	memset(pooled, 0, sizeof(double) * BR_MOMENTS);
	for (int variant = 0; variant < test->n_variants; variant++)
		br_eval_moments_combine(pooled,
								cell_of(test, segment, variant)->moments + BR_MOMENTS * metric);
}

/* a covariate that explains nothing in any segment is a mistake */
static void
check_covariates(Test *test)
{
	for (int metric = 0; metric < test->request->n_metrics; metric++)
	{
		double pooled[BR_MOMENTS];
		double slope;

		pool_variants(test, 0, metric, pooled);
		if (test->metrics[metric].method == BR_COMPARE_ADJUSTED && pooled[BR_MOMENT_COUNT] >= 2)
			br_pg_check(br_eval_covariate_slope(&test->context, pooled, &slope), &test->context,
						psprintf("cannot adjust metric \"%s\" by column \"%s\"",
								 test->metrics[metric].name, test->metrics[metric].covariate),
						"Leave the metric out of \"covariates\", or name a column that varies.");
	}
}

static double
sample_ratio(Test *test, int segment)
{
	double *counts = palloc(sizeof(double) * test->n_variants);
	double *shares = palloc(sizeof(double) * test->n_variants);
	double p_value;

	for (int variant = 0; variant < test->n_variants; variant++)
	{
		counts[variant] = cell_of(test, segment, variant)->units;
		shares[variant] = cell_of(test, segment, variant)->expected;
	}
	if (br_eval_sample_ratio(&test->context, counts, shares, test->n_variants, &p_value) != BR_OK)
		return NAN;
	return p_value;
}

/* holds, broken or undecided, by both one-sided tests at half of what the interval leaves out */
static const char *
guardrail(Test *test, double margin, const BrComparison *comparison)
{
	double worse;

	if (isnan(margin) || isnan(comparison->lift) || comparison->lift_standard_error == 0 ||
		br_eval_non_inferiority(&test->context, comparison->lift, comparison->lift_standard_error,
								margin, &worse) != BR_OK)
		return NULL;
	if (worse < (1 - test->request->confidence) / 2)
		return "holds";
	return 1 - worse < (1 - test->request->confidence) / 2 ? "broken" : "undecided";
}

static const BrComparison nothing_compared = {NAN, NAN, NAN, NAN, NAN, NAN, NAN,
											  NAN, NAN, NAN, NAN, NAN, NAN};

/* what both cells say; note is left where they say nothing */
static void
compare_cells(Test *test, Row *row)
{
	const BrPgMetric *metric = &test->metrics[row->metric];
	Cell *control = cell_of(test, row->segment, 0);
	double pooled[BR_MOMENTS];
	BrStatus status;

	pool_variants(test, row->segment, row->metric, pooled);
	status =
		br_eval_compare(&test->context, metric->method, control->moments + BR_MOMENTS * row->metric,
						row->cell->moments + BR_MOMENTS * row->metric, pooled,
						test->request->confidence, &row->comparison);
	if (status == BR_OK)
		status =
			br_eval_sequential(&test->context, row->comparison.difference,
							   row->comparison.standard_error,
							   control->moments[BR_MOMENTS * row->metric] +
								   row->cell->moments[BR_MOMENTS * row->metric],
							   test->request->confidence, test->request->planned, &row->sequential);
	if (status != BR_OK)
	{
		if (status != BR_ERR_NUMERIC)
			br_pg_check(status, &test->context, "cannot compare the variants", NULL);
		row->comparison = nothing_compared;
		row->note = pstrdup(test->context.detail);
		return;
	}
	row->guardrail = guardrail(test, metric->margin, &row->comparison);
	if (isnan(row->comparison.lift))
		row->note = "The control's value is 0: there is no lift.";
}

static double
plain_mean(const double *moments)
{
	return moments[BR_MOMENT_COUNT] == 0
		? NAN
		: moments[BR_MOMENT_MEAN_VALUE] / moments[BR_MOMENT_MEAN_DENOMINATOR];
}

static Row *
make_rows(Test *test, int *n)
{
	Row *rows;
	int made = 0;

	*n = test->n_segments * test->request->n_metrics * test->n_variants;
	rows = palloc0(sizeof(Row) * *n);
	for (int segment = 0; segment < test->n_segments; segment++)
	{
		double srm = sample_ratio(test, segment);

		for (int metric = 0; metric < test->request->n_metrics; metric++)
			for (int variant = 0; variant < test->n_variants; variant++)
			{
				Row *row = &rows[made++];

				row->segment = segment;
				row->metric = metric;
				row->variant = variant;
				row->cell = cell_of(test, segment, variant);
				row->mean = plain_mean(row->cell->moments + BR_MOMENTS * metric);
				row->comparison = nothing_compared;
				row->sequential = (BrSequential){NAN, NAN, NAN};
				row->srm_p_value = srm;
				if (variant > 0)
					compare_cells(test, row);
			}
	}
	return rows;
}

/* every comparison of the answer is one of the family */
static void
adjust_p_values(Test *test, Row *rows, int n)
{
	double *p_values = palloc(sizeof(double) * n);

	for (int i = 0; i < n; i++)
		p_values[i] = rows[i].comparison.p_value;
	br_pg_check(br_eval_benjamini_hochberg(&test->context, p_values, n, p_values), &test->context,
				"cannot adjust p-values", NULL);
	for (int i = 0; i < n; i++)
		rows[i].adjusted_p_value = p_values[i];
}

static void
put_text(Datum *values, bool *nulls, int i, const char *text)
{
	nulls[i] = text == NULL;
	if (text != NULL)
		values[i] = CStringGetTextDatum(text);
}

static void
put_row(const Test *test, const Row *row, ReturnSetInfo *result)
{
	static const char *const methods[] = {"proportions", "welch", "ratio", "cuped"};
	const BrPgMetric *metric = &test->metrics[row->metric];
	const BrComparison *comparison = &row->comparison;
	const double numbers[] = {row->mean,
							  comparison->difference,
							  comparison->standard_error,
							  comparison->p_value,
							  comparison->lower,
							  comparison->upper,
							  comparison->lift,
							  comparison->lift_lower,
							  comparison->lift_upper,
							  row->sequential.p_value,
							  row->sequential.lower,
							  row->sequential.upper,
							  row->adjusted_p_value};
	Datum values[RESULT_COLUMNS] = {0};
	bool nulls[RESULT_COLUMNS] = {false};
	int at = 0;

	put_text(values, nulls, at++, test->segments[row->segment]);
	put_text(values, nulls, at++, metric->name);
	put_text(values, nulls, at++, test->variants[row->variant]);
	put_text(values, nulls, at++, methods[metric->method]);
	values[at++] = Int64GetDatum((int64) row->cell->moments[BR_MOMENTS * row->metric]);
	for (int i = 0; i < lengthof(numbers); i++)
		br_pg_set_number(values, nulls, at++, numbers[i]);
	put_text(values, nulls, at++, row->guardrail);
	br_pg_set_number(values, nulls, at++, row->srm_p_value);
	put_text(values, nulls, at++, row->note);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static void
check_numbers(const BrPgTestRequest *request)
{
	if (!(request->confidence > 0 && request->confidence < 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"confidence\" is %g", request->confidence),
				 errhint("Give a share between 0 and 1, such as 0.95.")));
	if (!(isfinite(request->planned) && request->planned > 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"planned\" is %g", request->planned),
				 errhint("Give the number of units at which sequential intervals shall be "
						 "narrowest.")));
}

static BrPgNumbers
given_weights(const BrPgTestRequest *request)
{
	BrPgNumbers weights = {0};

	if (request->weights == NULL)
		return weights;
	if (request->experiment != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the experiment has weights of its own"),
				 errhint("Leave out \"weights\", or \"experiment\".")));
	weights = br_pg_numbers_of(*request->weights, "weights");
	for (int i = 0; i < weights.n; i++)
		if (!(isfinite(weights.values[i]) && weights.values[i] > 0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the weight of variant \"%s\" is %g", weights.keys[i],
							weights.values[i]),
					 errhint("Weights must be above 0.")));
	return weights;
}

void
br_pg_experiment_test(const BrPgTestRequest *request, ReturnSetInfo *result)
{
	Test test = {.request = request};
	BrPgNumbers weights;
	BrPgGroups groups;
	Row *rows;
	int n;

	check_numbers(request);
	br_pg_context(&test.context, CurrentMemoryContext);
	weights = given_weights(request);
	if (request->experiment != NULL)
		test.experiment = br_pg_experiment_open(request->experiment, false);
	test.metrics = br_pg_test_metrics(request);
	groups = br_pg_test_groups(request, test.experiment, test.metrics);
	name_variants(&test, &groups, &weights);
	name_segments(&test, &groups);
	fill_cells(&test, &groups, &weights);
	check_covariates(&test);
	rows = make_rows(&test, &n);
	adjust_p_values(&test, rows, n);
	for (int i = 0; i < n; i++)
		put_row(&test, &rows[i], result);
}
