/*
 * rows.c
 *	  What a query gives to learn from, by the names of its columns.
 *
 * The query is the user's, so it runs with the rights of who queued the training
 * and in a read-only transaction, where whatever would write fails. A row that
 * cannot be used is an error that says which: a model that learned from half of
 * what it was given would look as good as one that learned from all.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/query.h"
#include "pg/train/train_int.h"

#define MOST_ROWS 10000000
#define MOST_CLASSES 1000

enum
{
	FIRST,
	SECOND,
	THIRD,
	LABEL,
	SCORE,
	DOCUMENT,
	OCCURRED_AT,
	N_COLUMNS
};

/* What the columns of an objective are called; NULL: it has none. */
typedef struct Columns
{
	const char *names[N_COLUMNS];
	bool optional[N_COLUMNS];
	const char *hint;
} Columns;

static const Columns columns_of[] = {
	[BR_PG_TRAIN_PAIRS] = {{[FIRST] = "anchor", [SECOND] = "positive", [THIRD] = "negative"},
						   {[THIRD] = true},
						   "It needs anchor and positive (text), and may have negative (text)."},
	[BR_PG_TRAIN_TRIPLETS] = {{[FIRST] = "anchor", [SECOND] = "positive", [THIRD] = "negative"},
							  {false},
							  "It needs anchor, positive and negative (text)."},
	[BR_PG_TRAIN_SCORES] = {{[FIRST] = "a", [SECOND] = "b", [SCORE] = "score"},
							{false},
							"It needs a and b (text), and score (number from -1 to 1)."},
	[BR_PG_TRAIN_LABELS] = {{[FIRST] = "text", [LABEL] = "label"},
							{false},
							"It needs text, and label (integer from 0)."},
	[BR_PG_TRAIN_PAIR_LABELS] = {{[FIRST] = "a", [SECOND] = "b", [LABEL] = "label"},
								 {false},
								 "It needs a and b (text), and label (integer from 0)."},
	[BR_PG_TRAIN_TEXTS] = {{[FIRST] = "text"}, {false}, "It needs text."},
	[BR_PG_TRAIN_SENTENCES] = {{[FIRST] = "text", [DOCUMENT] = "document"},
							   {false},
							   "It needs document, and text: a sentence, in the order of its"
							   " document."},
	[BR_PG_TRAIN_SETS] = {{[FIRST] = "text", [DOCUMENT] = "set"},
						  {false},
						  "It needs set, and text: a row for each member of a set."},
};

static const BrPgQueryKind kinds[N_COLUMNS] = {
	[FIRST] = BR_PG_QUERY_TEXT,		  [SECOND] = BR_PG_QUERY_TEXT,	[THIRD] = BR_PG_QUERY_TEXT,
	[LABEL] = BR_PG_QUERY_WHOLE,	  [SCORE] = BR_PG_QUERY_NUMBER, [DOCUMENT] = BR_PG_QUERY_TEXT,
	[OCCURRED_AT] = BR_PG_QUERY_TIME,
};

const char *
br_pg_train_columns_hint(BrPgTrainShape shape)
{
	return columns_of[shape].hint;
}

/* A query that is being read. */
typedef struct Rows
{
	BrPgQuery query;
	BrPgQueryColumn columns[N_COLUMNS];
	bool optional[N_COLUMNS];
} Rows;

static void
open_rows(Rows *rows, BrPgTrainShape shape, const char *sql)
{
	const Columns *columns = &columns_of[shape];

	memset(rows, 0, sizeof(*rows));
	br_pg_query_open(&rows->query, sql, "query");
	for (int i = 0; i < N_COLUMNS; i++)
	{
		const char *name = i == OCCURRED_AT ? "occurred_at" : columns->names[i];

		rows->columns[i] = (BrPgQueryColumn){.name = name, .kind = kinds[i]};
		rows->optional[i] = i == OCCURRED_AT || columns->optional[i];
		if (name != NULL && rows->optional[i])
			br_pg_query_find_column(&rows->query, &rows->columns[i]);
		else if (name != NULL)
			br_pg_query_need_column(&rows->query, &rows->columns[i], columns->hint);
	}
}

void
br_pg_train_check_query(BrPgTrainShape shape, const char *sql)
{
	BrPgRights rights;
	Rows rows;

	br_pg_enter_caller(&rights, GetUserId());
	br_pg_set_for_section("transaction_read_only", "on");
	open_rows(&rows, shape, sql);
	SPI_cursor_close(rows.query.portal);
	br_pg_leave(&rights);
}

/* ---- rows ---- */

static void
refuse_row(const Rows *rows, int sqlstate, const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(sqlstate), errmsg("%s", what),
			 errdetail("It is row %lld of the query.", (long long) rows->query.row),
			 errhint("%s", hint)));
}

/* false where there is no such column, or one that may be NULL is */
static bool
get(const Rows *rows, int column, Datum *value)
{
	const BrPgQueryColumn *found = &rows->columns[column];

	if (found->number == 0)
		return false;
	if (br_pg_query_value(&rows->query, found->number, value))
		return true;
	if (!rows->optional[column])
		refuse_row(rows, ERRCODE_NULL_VALUE_NOT_ALLOWED,
				   psprintf("\"%s\" must not be null", found->name),
				   "Leave such rows out in the query.");
	return false;
}

static int32
get_text(const Rows *rows, int column, BrPgTrainTexts *texts)
{
	int32 number = -1;
	Datum value;

	if (get(rows, column, &value))
	{
		char *string = TextDatumGetCString(value);

		number = br_pg_train_texts_add(texts, string);
		pfree(string);
	}
	return number;
}

static int64
whole(Datum value, Oid type)
{
	return type == INT2OID ? DatumGetInt16(value)
		: type == INT4OID  ? DatumGetInt32(value)
						   : DatumGetInt64(value);
}

static int32
get_label(const Rows *rows, int classes)
{
	const int most = classes > 0 ? classes : MOST_CLASSES;
	Datum value;
	int64 label;

	if (!get(rows, LABEL, &value))
		return -1;
	label = whole(value, rows->columns[LABEL].type);
	if (label < 0 || label >= most)
		refuse_row(rows, ERRCODE_INVALID_PARAMETER_VALUE,
				   psprintf("label is out of range: %lld", (long long) label),
				   psprintf("Labels are whole numbers from 0 to %d.", most - 1));
	return (int32) label;
}

static float
get_score(const Rows *rows)
{
	Datum value;
	double score;

	if (!get(rows, SCORE, &value))
		return 0;
	score = br_pg_number(value, rows->columns[SCORE].type);
	if (!(score >= -1 && score <= 1))
		refuse_row(rows, ERRCODE_INVALID_PARAMETER_VALUE,
				   psprintf("score is out of range: %g", score),
				   "Scores are cosines, from -1 to 1.");
	return (float) score;
}

/* A document and the number it was given. */
typedef struct Document
{
	const char *name; /* the key */
	int32 number;
	bool validates;
} Document;

/* -1 where there are none; a document is for validation as a whole */
static int32
get_document(const Rows *rows, HTAB *documents, bool *validates)
{
	Document *document;
	const char *name;
	Datum value;
	bool found;

	if (!get(rows, DOCUMENT, &value))
		return -1;
	name = TextDatumGetCString(value);
	document = hash_search(documents, &name, HASH_ENTER, &found);
	if (!found)
	{
		document->number = (int32) hash_get_num_entries(documents) - 1;
		document->validates = *validates;
	}
	*validates = document->validates;
	return document->number;
}

static void
follow_time(const Rows *rows, BrPgTrainCounts *counts)
{
	Datum value;

	if (get(rows, OCCURRED_AT, &value))
		counts->learned_until = Max(counts->learned_until, DatumGetTimestampTz(value));
}

BrPgTrainCounts
br_pg_train_rows(const BrPgTrainPlan *plan, BrPgTrainTexts *texts, BrPgTrainExamples *examples)
{
	BrPgTrainCounts counts = {.source = "query", .learned_until = DT_NOBEGIN};
	HTAB *documents = br_pg_text_table("documents", 1024, sizeof(Document), CurrentMemoryContext);
	BrRandom random;
	Rows rows;

	br_base_random_init(&random, plan->options.seed, BR_PG_TRAIN_STREAM_VALIDATION);
	open_rows(&rows, plan->shape, plan->query);
	while (br_pg_query_next(&rows.query))
	{
		bool validates = br_base_random_uniform(&random) < plan->choice.validation;
		BrPgTrainExample example = {.first = get_text(&rows, FIRST, texts),
									.second = get_text(&rows, SECOND, texts),
									.third = get_text(&rows, THIRD, texts),
									.label = get_label(&rows, plan->choice.classes),
									.document = get_document(&rows, documents, &validates),
									.score = get_score(&rows)};

		if (rows.query.row > MOST_ROWS)
			refuse_row(&rows, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
					   "there are too many rows to learn from",
					   psprintf("There may be %d.", MOST_ROWS));
		follow_time(&rows, &counts);
		br_pg_train_examples_add(examples, &example, validates);
		counts.met++;
	}
	/* whatever it read, it cannot have read what came later; texts alone tell of no session */
	if (rows.columns[OCCURRED_AT].number == 0 && plan->shape != BR_PG_TRAIN_TEXTS &&
		plan->shape != BR_PG_TRAIN_SENTENCES)
		counts.learned_until = GetCurrentTransactionStartTimestamp();
	return counts;
}
