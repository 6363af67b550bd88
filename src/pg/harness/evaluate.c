/*
 * evaluate.c
 *	  An evaluation from its arguments to its figures.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/harness/harness.h"

#define LAST_SEED 1000000000

typedef struct Task
{
	const char *name;
	const char *baseline;
	bool splits; /* by a unit; else the task says what is hidden */
	void (*run)(BrPgEvaluation *evaluation, const char *seed);
} Task;

static const Task tasks[] = {
	[BR_PG_TASK_COMPLETION] = {"completion", "popularity", true, br_pg_evaluate_items},
	[BR_PG_TASK_NEXT_ITEM] = {"next_item", "popularity", true, br_pg_evaluate_items},
	[BR_PG_TASK_BUNDLE] = {"bundle", "popularity", false, br_pg_evaluate_bundles},
	[BR_PG_TASK_COLD_BUNDLE] = {"cold_bundle", "profile", false, br_pg_evaluate_bundles},
	[BR_PG_TASK_DETECTION] = {"detection", "whole", true, br_pg_evaluate_detection},
};

static const char *const splits[] = {
	[BR_PG_SPLIT_SESSION] = "session",
	[BR_PG_SPLIT_USER] = "user",
	[BR_PG_SPLIT_BASKET] = "basket",
	[BR_PG_SPLIT_TIME] = "time",
};

static BrPgTaskNumber
find_task(const char *name)
{
	for (int i = 0; i < lengthof(tasks); i++)
		if (strcmp(tasks[i].name, name) == 0)
			return (BrPgTaskNumber) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no task \"%s\"", name),
			 errhint("Tasks are completion, next_item, bundle, cold_bundle and detection.")));
}

static BrPgSplitNumber
find_split(const char *name, const BrPgLearnData *data)
{
	if (name == NULL)
		return data->n_users > 1 ? BR_PG_SPLIT_USER : BR_PG_SPLIT_BASKET;
	for (int i = 0; i < lengthof(splits); i++)
		if (strcmp(splits[i], name) == 0)
			return (BrPgSplitNumber) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no split \"%s\"", name),
			 errhint("Splits are session, user, basket and time.")));
}

static void
check_request(const BrPgEvaluationRequest *request)
{
	if (request->seeds < 1 || request->seeds > 1000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"seeds\" must be between 1 and 1000: %d", request->seeds)));
	if (request->first_seed < 0 || request->first_seed > LAST_SEED)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"first_seed\" must be between 0 and %d: %d", LAST_SEED,
						request->first_seed)));
	if (request->n_k < 1 || request->n_k > BR_PG_BOARD_CUTOFFS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"k\" must name between 1 and %d numbers", BR_PG_BOARD_CUTOFFS)));
	for (int i = 0; i < request->n_k; i++)
		if (request->k[i] < 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("\"k\" must be at least 1: %d", request->k[i])));
}

/* every seed in memory of its own; texts that were read once are shared */
static void
run_seeds(BrPgEvaluation *evaluation, const Task *task)
{
	for (int seed = 0; seed < evaluation->seeds; seed++)
	{
		MemoryContext memory =
			AllocSetContextCreate(CurrentMemoryContext, "seed", ALLOCSET_DEFAULT_SIZES);
		MemoryContext outer = MemoryContextSwitchTo(memory);

		br_pg_board_begin_seed(evaluation->board);
		task->run(evaluation, psprintf("%d", evaluation->first_seed + seed));
		MemoryContextSwitchTo(outer);
		MemoryContextDelete(memory);
		/* by time there is but one */
		if (task->splits && evaluation->split == BR_PG_SPLIT_TIME)
			break;
	}
	if (br_pg_board_cases(evaluation->board) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is nothing to evaluate \"%s\" by", task->name),
				 errdetail("No test part has a set of two things, as of the last refresh."),
				 errhint("Call refresh after events have come, or choose another split.")));
}

/* which methods there are shows only when all are fitted: some data have no texts */
static void
check_baseline(const BrPgEvaluation *evaluation, const char *baseline)
{
	if (baseline != NULL && !br_pg_board_has_method(evaluation->board, baseline))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is none of the methods that were compared", baseline),
				 errhint("These are %s.", br_pg_board_list_methods(evaluation->board))));
}

/* ---- writing it down ---- */

static int64
next_number(void)
{
	bool is_null;

	br_pg_execute("SELECT pg_catalog.nextval('bundle_rec.evaluation_number')", 0, NULL, NULL, NULL,
				  false, 0);
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
}

static void
write_figure(int64 number, const BrPgEvaluation *evaluation, const char *split,
			 const BrPgFigure *figure)
{
	static const Oid types[] = {INT8OID, INT4OID, TEXTOID,	 TEXTOID,	INT4OID, TEXTOID,
								TEXTOID, INT4OID, FLOAT8OID, FLOAT8OID, INT8OID, INT4OID};
	Datum values[] = {Int64GetDatum(number),
					  Int32GetDatum(evaluation->catalog->number),
					  CStringGetTextDatum(tasks[evaluation->task].name),
					  CStringGetTextDatum(split),
					  Int32GetDatum(evaluation->seeds),
					  CStringGetTextDatum(figure->method),
					  CStringGetTextDatum(figure->metric),
					  Int32GetDatum(figure->k),
					  Float8GetDatum(figure->value),
					  Float8GetDatum(figure->error),
					  Int64GetDatum(figure->cases),
					  Int32GetDatum(evaluation->first_seed)};

	br_pg_execute("INSERT INTO bundle_rec.stored_evaluation (evaluation, catalog, task, split,"
				  " seeds, method, metric, k, value, standard_error, cases, first_seed, versions) SELECT $1,"
				  " $2, $3, $4, $5, $6, $7, NULLIF($8, 0), $9, NULLIF($10, 'NaN'), $11, $12,"
				  " (SELECT COALESCE(pg_catalog.jsonb_object_agg(l.kind, l.version), '{}')"
				  "  FROM bundle_rec.learned_version l WHERE l.catalog = $2 AND l.serving)",
				  lengthof(types), types, values, NULL, false, 0);
}

static void
write_down(const BrPgEvaluation *evaluation, const BrPgFigure *figures, int n)
{
	const char *split =
		tasks[evaluation->task].splits ? splits[evaluation->split] : "leave_one_out";
	BrPgRights rights;
	int64 number;

	if (RecoveryInProgress() || XactReadOnly)
		return;
	if (evaluation->task == BR_PG_TASK_COLD_BUNDLE)
		split = "bundle";
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(evaluation->catalog->number);
	number = next_number();
	for (int i = 0; i < n; i++)
		if (isfinite(figures[i].value))
			write_figure(number, evaluation, split, &figures[i]);
	br_pg_leave(&rights);
}

BrPgFigure *
br_pg_evaluate_learners(const BrPgEvaluationRequest *request, int *n)
{
	BrPgCatalog *catalog = br_pg_catalog_open(request->catalog);
	BrPgTaskNumber number = find_task(request->task);
	const Task *task = &tasks[number];
	BrPgEvaluation evaluation = {.catalog = catalog, .task = number};
	BrPgFigure *figures;
	BrPgLearnData *data;

	br_pg_catalog_require_owner(catalog);
	check_request(request);
	evaluation.first_seed = request->first_seed;
	evaluation.seeds = request->seeds;
	data = br_pg_learn_read(catalog, BR_PG_LEARN_TEXTS | BR_PG_LEARN_EMBEDDINGS);
	evaluation.data = data;
	evaluation.looks = br_pg_looks_create(data);
	evaluation.split = find_split(request->split, data);
	evaluation.board =
		br_pg_board_create(request->k, request->n_k, number == BR_PG_TASK_COLD_BUNDLE);
	run_seeds(&evaluation, task);
	check_baseline(&evaluation, request->baseline);
	figures =
		br_pg_board_figures(evaluation.board,
							request->baseline != NULL ? request->baseline : task->baseline, n);
	write_down(&evaluation, figures, *n);
	br_pg_learn_data_free(data);
	return figures;
}
