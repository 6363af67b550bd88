/*
 * gate.c
 *	  A gate from what is asked to its verdict.
 *
 * Each side ranks all items by the mean cosine of their embeddings with those of
 * a case's context, nothing learned besides, and the harness's board counts where
 * the hidden one stands: ties take the expected rank, differences are taken case
 * by case, and their error is clustered by session. The candidate passes if it is
 * better by more than chance, lower = mean - 1.96 errors > margin, and does no harm
 * that this figure does not show: more items without an embedding, slower queries,
 * fewer different items shown.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "pg/bulk.h"
#include "pg/catalog/catalog.h"
#include "pg/harness/board.h"
#include "pg/model/model.h"
#include "pg/promote/promote_int.h"

/* of a normal distribution, between which and its negative 95 % lie */
#define Z_95 1.96
/* cases that are computed together, and how many scores they may have: none waits for a cancel */
#define MOST_ROWS 64
#define MOST_SCORES (1024 * 1024)

static const char *const task_names[] = {[BR_PG_GATE_ANY] = "completion",
										 [BR_PG_GATE_COMPLETION] = "completion",
										 [BR_PG_GATE_NEXT_ITEM] = "next_item"};

/* ---- ranking ---- */

/* mean of the context's vectors; its length changes no rank */
static void
mean_vector(const BrPgSide *side, const BrPgCase *one, float *mean)
{
	memset(mean, 0, sizeof(float) * side->dims);
	for (int c = 0; c < one->n; c++)
	{
		const float *vector = side->vectors + (Size) one->context[c] * side->dims;

		for (int i = 0; i < side->dims; i++)
			mean[i] += vector[i] / (float) one->n;
	}
}

/* Room for the cases that are ranked together. */
typedef struct Room
{
	int rows;
	float *means[2];  /* (rows, dims) */
	float *scores[2]; /* (rows, n_items) */
	bool *left_out;	  /* (n_items), all false between cases */
} Room;

static Room
make_room(const BrPgSide sides[2], int n_items)
{
	Room room = {.rows = Max(1, Min(MOST_ROWS, MOST_SCORES / n_items))};

	for (int s = 0; s < 2; s++)
	{
		room.means[s] =
			palloc_extended(sizeof(float) * (Size) room.rows * sides[s].dims, MCXT_ALLOC_HUGE);
		room.scores[s] =
			palloc_extended(sizeof(float) * (Size) room.rows * n_items, MCXT_ALLOC_HUGE);
	}
	room.left_out = palloc_extended(sizeof(bool) * n_items, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return room;
}

static void
tell_board(BrPgBoard *board, const BrPgSide sides[2], const BrPgCase *one, const Room *room,
		   int row, int n_items)
{
	for (int c = 0; c < one->n; c++)
		room->left_out[one->context[c]] = true;
	br_pg_board_begin_case(board, one->session, one->hidden, n_items, room->left_out, NULL);
	for (int s = 0; s < 2; s++)
		br_pg_board_score(board, sides[s].name, room->scores[s] + (Size) row * n_items);
	for (int c = 0; c < one->n; c++)
		room->left_out[one->context[c]] = false;
}

static void
rank_cases(BrPgBoard *board, const BrPgSide sides[2], const BrPgCases *cases,
		   const BrPgLearnData *data)
{
	const BrBackend *backend = br_pg_session_backend();
	Room room = make_room(sides, data->n_items);

	for (int first = 0; first < cases->n; first += room.rows)
	{
		int rows = Min(room.rows, cases->n - first);

		for (int s = 0; s < 2; s++)
		{
			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < rows; i++)
				mean_vector(&sides[s], &cases->cases[first + i],
							room.means[s] + (Size) i * sides[s].dims);
			backend->multiply_transposed(room.means[s], sides[s].vectors, rows, data->n_items,
										 sides[s].dims, room.scores[s]);
		}
		for (int i = 0; i < rows; i++)
		{
			CHECK_FOR_INTERRUPTS();
			tell_board(board, sides, &cases->cases[first + i], &room, i, data->n_items);
		}
	}
}

/* ---- conditions ---- */

static const BrPgFigure *
find_figure(const BrPgFigure *figures, int n, const char *method, const char *metric)
{
	for (int i = 0; i < n; i++)
		if (strcmp(figures[i].method, method) == 0 && strcmp(figures[i].metric, metric) == 0)
			return &figures[i];
	elog(ERROR, "the board has no figure \"%s\" of \"%s\"", metric, method);
	pg_unreachable();
}

static void
add(BrPgVerdict *verdict, BrPgCondition condition)
{
	verdict->conditions[verdict->n++] = condition;
}

/* share of what was before; the same where there was nothing */
static double
ratio(double after, double before)
{
	return before > 0 ? after / before : 1;
}

static void
judge(BrPgGateRun *run, const BrPgSide sides[2], const BrPgLearnData *data, BrPgBoard *board)
{
	BrPgVerdict *verdict = run->verdict;
	const BrPgGateOptions *options = &run->options;
	int n;
	BrPgFigure *figures = br_pg_board_figures(board, sides[0].name, &n);
	const BrPgFigure *before = find_figure(figures, n, sides[0].name, options->metric);
	const BrPgFigure *after = find_figure(figures, n, sides[1].name, options->metric);
	double shown[2] = {find_figure(figures, n, sides[0].name, "coverage")->value,
					   find_figure(figures, n, sides[1].name, "coverage")->value};
	double lower = after->difference - Z_95 * after->difference_error;
	double coverage = ratio(shown[1], shown[0]);
	double times[2], latency;

	run->difference = after->difference;
	run->difference_error = after->difference_error;
	add(verdict,
		(BrPgCondition){options->metric, before->value, after->value, lower, run->margin,
						lower > run->margin});
	add(verdict,
		(BrPgCondition){"unembedded", sides[0].unembedded, sides[1].unembedded, sides[1].unembedded,
						sides[0].unembedded, sides[1].unembedded <= sides[0].unembedded});
	br_pg_sides_time(sides, data, times);
	latency = ratio(times[1], times[0]);
	add(verdict,
		(BrPgCondition){"latency", times[0], times[1], latency, options->latency,
						latency <= options->latency});
	add(verdict,
		(BrPgCondition){"coverage", shown[0], shown[1], coverage, options->coverage,
						coverage >= options->coverage});
}

/* a sentence about what did not hold */
static const char *
summarize(const BrPgVerdict *verdict)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < verdict->n; i++)
		if (!verdict->conditions[i].held)
			appendStringInfo(&text, "%s%s (%.4g, bound %.4g)", text.len > 0 ? ", " : "It fails by ",
							 verdict->conditions[i].name, verdict->conditions[i].value,
							 verdict->conditions[i].bound);
	appendStringInfoString(&text, text.len > 0 ? "." : "All conditions hold.");
	return text.data;
}

/* ---- writing it down ---- */

static void
append_number(StringInfo text, const char *key, double number)
{
	if (isfinite(number))
		appendStringInfo(text, ", \"%s\": %.17g", key, number);
	else
		appendStringInfo(text, ", \"%s\": null", key);
}

static Datum
conditions_json(const BrPgVerdict *verdict)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '[');
	for (int i = 0; i < verdict->n; i++)
	{
		const BrPgCondition *condition = &verdict->conditions[i];

		appendStringInfo(&text, "%s{\"condition\": \"%s\"", i > 0 ? ", " : "", condition->name);
		append_number(&text, "before", condition->before);
		append_number(&text, "after", condition->after);
		append_number(&text, "value", condition->value);
		append_number(&text, "bound", condition->bound);
		appendStringInfo(&text, ", \"held\": %s}", condition->held ? "true" : "false");
	}
	appendStringInfoChar(&text, ']');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data));
}

/* in an owner section */
static int64
write_down(const BrPgGateRun *run, const BrPgCases *cases)
{
	static const char sql[] =
		"INSERT INTO bundle_rec.stored_gate (catalog, model, model_name, against, against_name,"
		" task, metric, k, cases, sessions, used_from, used_until, difference, standard_error,"
		" margin, conditions, passed, judged_by) SELECT $1, m.model, m.name, a.model, a.name, $4,"
		" $5, NULLIF($6, 0), $7, $8, NULLIF($9, '-infinity'), $10, NULLIF($11, 'NaN'),"
		" NULLIF($12, 'NaN'), $13, $14, $15, $16 FROM bundle_rec.stored_model m,"
		" bundle_rec.stored_model a WHERE m.model = $2 AND a.model = $3 RETURNING gate";
	static const Oid types[] = {INT4OID,		INT4OID,		INT4OID,   TEXTOID,
								TEXTOID,		INT4OID,		INT4OID,   INT8OID,
								TIMESTAMPTZOID, TIMESTAMPTZOID, FLOAT8OID, FLOAT8OID,
								FLOAT8OID,		JSONBOID,		BOOLOID,   TEXTOID};
	bool has_k = strcmp(run->options.metric, "mrr") != 0;
	Datum values[] = {Int32GetDatum(run->catalog->number),
					  Int32GetDatum(run->model),
					  Int32GetDatum(run->catalog->model),
					  CStringGetTextDatum(task_names[cases->task]),
					  CStringGetTextDatum(run->options.metric),
					  Int32GetDatum(has_k ? run->options.k : 0),
					  Int32GetDatum(cases->n),
					  Int64GetDatum(cases->sessions),
					  TimestampTzGetDatum(cases->from),
					  TimestampTzGetDatum(cases->until),
					  Float8GetDatum(run->difference),
					  Float8GetDatum(run->difference_error),
					  Float8GetDatum(run->margin),
					  conditions_json(run->verdict),
					  BoolGetDatum(run->verdict->passed),
					  CStringGetTextDatum(GetUserNameFromId(run->by, false))};
	bool is_null;

	br_pg_execute(sql, lengthof(types), types, values, NULL, false, 0);
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
}

static void
tell_used(const BrPgGateRun *run, const BrPgCases *cases)
{
	ereport(NOTICE,
			(errmsg("gate %lld used up %lld sessions of catalog \"%s\"",
					(long long) run->verdict->gate, (long long) cases->sessions,
					run->catalog->name),
			 errdetail("No other gate can ask about sessions that began up to %s.",
					   timestamptz_to_str(cases->until))));
}

static void
tell_few(const BrPgGateRun *run, const BrPgCases *cases)
{
	ereport(NOTICE,
			(errmsg("catalog \"%s\" has too few sessions to judge a model by", run->catalog->name),
			 errdetail("%d cases of sessions%s%s, of at least %d; none was used up.", cases->n,
					   TIMESTAMP_IS_NOBEGIN(cases->from) ? "" : " after ",
					   TIMESTAMP_IS_NOBEGIN(cases->from) ? "" : timestamptz_to_str(cases->from),
					   run->options.cases),
			 errhint("What a model has learned from and what another gate used does not count."
					 " Wait for more, call refresh, or lower the parameter \"cases\".")));
}

/* ---- the whole ---- */

/* until the end of the transaction no other gate of the catalog runs */
static void
lock_gates(int32 catalog)
{
	LOCKTAG tag = {.locktag_field1 = MyDatabaseId,
				   .locktag_field2 = br_pg_relation("stored_gate"),
				   .locktag_field3 = (uint32) catalog,
				   .locktag_type = LOCKTAG_USERLOCK,
				   .locktag_lockmethodid = USER_LOCKMETHOD};

	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

static void
refuse_same(const BrPgGateRun *run)
{
	if (run->catalog->model == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("catalog \"%s\" has no model", run->catalog->name),
				 errhint("alter_catalog gives it text columns and a model.")));
	if (run->catalog->model == run->model)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the model serves catalog \"%s\" already", run->catalog->name),
				 errhint("The view bundle_rec.model_history says which models do and did.")));
}

void
br_pg_gate_open(BrPgGateRun *run, const BrPgPromotion *promotion)
{
	BrPgRights rights;

	memset(run, 0, sizeof(*run));
	run->options = br_pg_gate_options(promotion->parameters);
	run->margin = promotion->margin;
	if (!isfinite(run->margin))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"margin\" must be a finite number")));
	run->model = promotion->model;
	run->by = GetUserId();
	run->verdict = palloc0(sizeof(BrPgVerdict));
	run->catalog = br_pg_catalog_open(promotion->catalog);
	br_pg_catalog_require_owner(run->catalog);
	lock_gates(run->catalog->number);
	run->catalog = br_pg_catalog_reopen(run->catalog);
	refuse_same(run);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(run->catalog->number);
	br_pg_model_hold(run->catalog->model);
	br_pg_model_hold(run->model);
	br_pg_leave(&rights);
}

static void
compare(BrPgGateRun *run, const BrPgLearnData *data, const BrPgCases *cases)
{
	BrPgSide sides[2] = {{.model = run->catalog->model, .name = "before"},
						 {.model = run->model, .name = "after"}};
	BrPgBoard *board = br_pg_board_create(&run->options.k, 1, false);
	BrPgRights rights;

	for (int s = 0; s < 2; s++)
		br_pg_side_fill(&sides[s], data);
	rank_cases(board, sides, cases, data);
	judge(run, sides, data, board);
	run->verdict->passed = true;
	for (int i = 0; i < run->verdict->n; i++)
		run->verdict->passed = run->verdict->passed && run->verdict->conditions[i].held;
	br_pg_enter_owner(&rights);
	run->verdict->gate = write_down(run, cases);
	br_pg_leave(&rights);
	tell_used(run, cases);
}

void
br_pg_gate_run(BrPgGateRun *run)
{
	BrPgVerdict *verdict = run->verdict;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext memory = AllocSetContextCreate(caller, "gate", ALLOCSET_DEFAULT_SIZES);
	const int32 models[2] = {run->catalog->model, run->model};
	BrPgLearnData *data;
	BrPgCases cases;

	MemoryContextSwitchTo(memory);
	data = br_pg_learn_read_items(run->catalog, BR_PG_LEARN_TEXTS);
	cases = br_pg_gate_cases(data, models, run->options.task);
	add(verdict,
		(BrPgCondition){"cases", NAN, NAN, cases.n, run->options.cases,
						cases.n >= run->options.cases});
	if (verdict->conditions[0].held)
		compare(run, data, &cases);
	else
		tell_few(run, &cases);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(memory);
	verdict->summary = summarize(verdict);
}

BrPgVerdict *
br_pg_gate(const BrPgPromotion *promotion)
{
	BrPgGateRun run;

	br_pg_require_writes("gate()");
	br_pg_gate_open(&run, promotion);
	br_pg_gate_run(&run);
	return run.verdict;
}
