/*
 * tasks.c
 *	  What a schedule can do.
 *
 * A task is a statement that its role could have written, over the catalog's
 * name and the object that the schedule's parameters hold for the task. Only
 * refresh goes in steps, as a background job does, so that a run commits what
 * was embedded.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/learn/learn.h"
#include "pg/refresh/refresh.h"
#include "pg/schedule/schedule_int.h"

/* texts of one step of refresh: some ten seconds of a small model on one core */
#define STEP_TEXTS 2000

#define OPTION(name) "pg_catalog.jsonb_extract_path_text($2, '" name "')"

typedef struct Task
{
	const char *name;
	const char *options; /* names that its parameters may have, or "*" */
	const char *sql;	 /* $1: the catalog's name, $2: parameters; NULL: in C */
} Task;

static const Task tasks[] = {
	{"refresh", " max_texts ", NULL},
	{"fit", " kind parameters ",
	 "SELECT pg_catalog.count(*) FROM bundle_rec.fit($1, " OPTION(
		 "kind") ", pg_catalog.jsonb_extract_path($2, 'parameters'))"},
	{"fold", " ",
	 "SELECT bundle_rec.fold(p.policy) FROM bundle_rec.policy_state p"
	 " WHERE p.catalog OPERATOR(pg_catalog.=) $1 AND $2 IS NOT NULL ORDER BY p.policy"},
	{"train", "*",
	 "SELECT bundle_rec.train($1, COALESCE(" OPTION("objective") ", 'sets'), COALESCE(" OPTION("method") ", 'full'), " OPTION(
		 "query") ", " OPTION("model_name") ", $2 OPERATOR(pg_catalog.-) '{objective,method,query,model_name,promote}'::pg_catalog.text[],"
											" COALESCE(" OPTION(
												"promote") "::pg_catalog.bool, false))"},
	{"evaluate", " task split seeds baseline ",
	 "SELECT pg_catalog.count(*) FROM bundle_rec.evaluate($1, COALESCE(" OPTION("task") ", 'completion'), split => " OPTION(
		 "split") ", seeds => COALESCE(" OPTION("seeds") "::pg_catalog.int4, 10), baseline => " OPTION("baseline") ")"},
};

/* NULL where there is none of that name */
static const Task *
find(const char *name)
{
	for (int i = 0; i < lengthof(tasks); i++)
		if (strcmp(tasks[i].name, name) == 0)
			return &tasks[i];
	return NULL;
}

static int
position_of(const char *name, char **names, int n)
{
	int i = 0;

	while (i < n && strcmp(names[i], name) != 0)
		i++;
	return i;
}

/* the object that parameters hold for a task; an empty one where they hold none */
static Datum
options_of(Jsonb *parameters, const char *task)
{
	static const Oid types[] = {JSONBOID, TEXTOID};
	Datum values[] = {JsonbPGetDatum(parameters), CStringGetTextDatum(task)};
	bool is_null;

	br_pg_execute("SELECT COALESCE(pg_catalog.jsonb_extract_path($1, $2), '{}')", lengthof(types),
				  types, values, NULL, true, 0);
	return JsonbPGetDatum(DatumGetJsonbPCopy(br_pg_column(0, 1, &is_null)));
}

/* ---- checks ---- */

static void
refuse_parameters(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid parameters of a schedule"),
			 errdetail("%s", detail),
			 errhint("parameters holds an object for each task that wants other than defaults, such"
					 " as {\"refresh\": {\"max_texts\": 1000}}.")));
}

static void
check_names(char **names, int n)
{
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("tasks must not be empty"),
				 errhint("Tasks are refresh, fit, fold, train and evaluate.")));
	for (int i = 0; i < n; i++)
	{
		if (find(names[i]) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("there is no task \"%s\"", names[i]),
					 errhint("Tasks are refresh, fit, fold, train and evaluate.")));
		if (position_of(names[i], names, i) < i)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("task \"%s\" stands twice", names[i]),
					 errhint("Name each task once, in the order in which they are to be done.")));
	}
}

static void
check_option_names(const Task *task, Datum options)
{
	static const Oid types[] = {JSONBOID};
	uint64 n =
		br_pg_execute("SELECT pg_catalog.jsonb_object_keys($1)", 1, types, &options, NULL, true, 0);

	for (uint64 i = 0; i < n; i++)
	{
		char *name = br_pg_column_text(i, 1);

		if (strcmp(task->options, "*") != 0 &&
			strstr(task->options, psprintf(" %s ", name)) == NULL)
			refuse_parameters(psprintf("Task %s has no parameter \"%s\".", task->name, name));
	}
}

/* values of the wrong type raise PostgreSQL's own error */
static void
check_values(Jsonb *parameters)
{
	static const Oid types[] = {JSONBOID};
	Datum values[] = {JsonbPGetDatum(parameters)};
	bool no_limit, no_seeds, no_promote;
	int32 limit, seeds;

	br_pg_execute("SELECT (pg_catalog.jsonb_extract_path_text($1, 'refresh', 'max_texts'))::int4,"
				  " (pg_catalog.jsonb_extract_path_text($1, 'evaluate', 'seeds'))::int4,"
				  " (pg_catalog.jsonb_extract_path_text($1, 'train', 'promote'))::bool",
				  1, types, values, NULL, true, 0);
	limit = DatumGetInt32(br_pg_column(0, 1, &no_limit));
	seeds = DatumGetInt32(br_pg_column(0, 2, &no_seeds));
	(void) br_pg_column(0, 3, &no_promote);
	if (!no_limit && limit < 0)
		refuse_parameters(psprintf("max_texts must not be negative, but is %d.", limit));
	if (!no_seeds && seeds < 1)
		refuse_parameters(psprintf("seeds must be at least 1, but is %d.", seeds));
}

static void
check_fit(Datum options)
{
	static const Oid types[] = {JSONBOID};
	bool is_null;
	Datum given;
	char *kind;

	br_pg_execute("SELECT pg_catalog.jsonb_extract_path_text($1, 'kind'),"
				  " pg_catalog.jsonb_extract_path($1, 'parameters')",
				  1, types, &options, NULL, true, 0);
	kind = br_pg_column_text(0, 1);
	given = br_pg_column(0, 2, &is_null);
	br_pg_fit_check(kind, is_null ? NULL : DatumGetJsonbPCopy(given));
}

void
br_pg_tasks_check(char **names, int n, Jsonb *parameters)
{
	static const Oid types[] = {JSONBOID};
	Datum values[] = {JsonbPGetDatum(parameters)};
	BrPgRights rights;
	char **keys;
	uint64 n_keys;

	check_names(names, n);
	if (!JB_ROOT_IS_OBJECT(parameters))
		refuse_parameters("It is no object.");

	/* nothing of the user's search_path */
	br_pg_enter_owner(&rights);
	n_keys = br_pg_execute("SELECT e.key, pg_catalog.jsonb_typeof(e.value)"
						   " FROM pg_catalog.jsonb_each($1) e",
						   1, types, values, NULL, true, 0);
	keys = palloc(sizeof(char *) * Max(n_keys, 1));
	for (uint64 i = 0; i < n_keys; i++)
	{
		keys[i] = br_pg_column_text(i, 1);
		if (position_of(keys[i], names, n) == n)
			refuse_parameters(psprintf("\"%s\" is none of the tasks of the schedule.", keys[i]));
		if (strcmp(br_pg_column_text(i, 2), "object") != 0)
			refuse_parameters(psprintf("What \"%s\" holds is no object.", keys[i]));
	}
	for (uint64 i = 0; i < n_keys; i++)
	{
		Datum options = options_of(parameters, keys[i]);

		check_option_names(find(keys[i]), options);
		if (strcmp(keys[i], "fit") == 0)
			check_fit(options);
	}
	check_values(parameters);
	br_pg_leave(&rights);
}

/* ---- doing them ---- */

static int64
limit_of_refresh(Datum options)
{
	static const Oid types[] = {JSONBOID};
	bool is_null;
	Datum limit;

	br_pg_execute("SELECT (pg_catalog.jsonb_extract_path_text($1, 'max_texts'))::int4", 1, types,
				  &options, NULL, true, 0);
	limit = br_pg_column(0, 1, &is_null);
	return is_null ? PG_INT64_MAX : DatumGetInt32(limit);
}

static bool
refresh_step(BrPgRun *run)
{
	BrPgRefreshWork work = {.budget = Min(STEP_TEXTS, run->texts_left)};
	int64 budget = work.budget;

	br_pg_catalog_refresh(run->catalog, &work);
	run->texts_left -= budget - work.budget;
	/* with some of its budget left it has tried everything that waited */
	return budget > 0 && work.budget == 0 && run->texts_left > 0;
}

bool
br_pg_tasks_do(BrPgRun *run, const char *name)
{
	static const Oid types[] = {TEXTOID, JSONBOID};
	const Task *task = find(name);
	BrPgRights rights;
	Datum values[2];

	if (task == NULL)
		elog(ERROR, "there is no task \"%s\"", name);
	br_pg_enter_owner(&rights);
	values[0] = CStringGetTextDatum(run->catalog);
	values[1] = options_of(run->parameters, name);
	if (task->sql == NULL && !run->begun)
		run->texts_left = limit_of_refresh(values[1]);
	br_pg_leave(&rights);

	run->begun = true;
	if (task->sql == NULL)
		return refresh_step(run);
	br_pg_execute_once(task->sql, lengthof(types), types, values);
	return false;
}
