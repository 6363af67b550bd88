/*
 * fit.c
 *	  Fitting what a catalog's data support, and storing it.
 *
 * All kinds of one call see the same data, read once. The learners come first,
 * the rankers that weigh what they say last. A kind that fails ends the call,
 * and with it the transaction: what was in service stays so.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "pg/learn/learn_int.h"

void
br_pg_add_figure(BrPgLearned *learned, const char *name, double value)
{
	appendStringInfo(&learned->figures, "%s\"%s\": %.10g", learned->figures.len > 0 ? ", " : "",
					 name, value);
}

static BrPgKindNumber
require_kind(const char *name)
{
	BrPgKindNumber kind = br_pg_kind_of(name);
	StringInfoData list;

	if (kind < BR_PG_N_KINDS)
		return kind;
	initStringInfo(&list);
	for (int i = 0; i < BR_PG_N_KINDS; i++)
		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", br_pg_fit_kind_name(i));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no learner \"%s\"", name),
			 errhint("Learners are %s.", list.data)));
}

void
br_pg_fit_check(const char *kind, Jsonb *parameters)
{
	double numbers[BR_PG_MOST_PARAMETERS];

	if (kind != NULL)
		br_pg_read_fit_parameters(require_kind(kind), parameters, numbers);
	else if (parameters != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameters were given, but not for which learner"),
				 errhint("Name the kind, or leave \"parameters\" out.")));
}

/* fits one kind; returns why not, or NULL */
static const char *
fit_one(BrPgTraining *training, BrPgKindNumber kind, Jsonb *parameters, BrPgFitted *fitted)
{
	MemoryContext memory =
		AllocSetContextCreate(training->memory, "learner", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(memory);
	BrPgLearned *learned = palloc0(sizeof(BrPgLearned));
	instr_time start, duration;
	const char *reason;
	Datum figures;

	INSTR_TIME_SET_CURRENT(start);
	learned->kind = kind;
	initStringInfo(&learned->figures);
	br_pg_read_fit_parameters(kind, parameters, learned->parameters);
	br_pg_progress_kind(kind);
	reason = br_pg_kind_fit(training, learned);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	learned->seconds = INSTR_TIME_GET_DOUBLE(duration);
	if (reason == NULL)
	{
		int32 version = br_pg_store_version(training->data, learned, &figures);

		MemoryContextSwitchTo(outer);
		*fitted = (BrPgFitted){.kind = br_pg_fit_kind_name(kind),
							   .version = version,
							   .seconds = learned->seconds,
							   .figures = PointerGetDatum(PG_DETOAST_DATUM_COPY(figures))};
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(memory);
	CHECK_FOR_INTERRUPTS();
	return reason;
}

BrPgFitted *
br_pg_fit(const char *name, const char *wanted, Jsonb *parameters, int *n)
{
	BrPgCatalog *catalog = br_pg_catalog_open(name);
	BrPgFitted *fitted = palloc(sizeof(BrPgFitted) * BR_PG_N_KINDS);
	BrPgKindNumber only = wanted == NULL ? BR_PG_N_KINDS : require_kind(wanted);
	BrPgTraining *training;
	BrPgLearnData *data;
	int reads = 0;
	BrPgRights rights;

	br_pg_catalog_require_owner(catalog);
	br_pg_fit_check(wanted, parameters);
	for (int kind = 0; kind < BR_PG_N_KINDS; kind++)
		if (only == BR_PG_N_KINDS || only == kind)
			reads |= br_pg_kind_reads(kind);
	/* before its tables, as who drops it does */
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog->number);
	br_pg_leave(&rights);
	br_pg_progress_begin(catalog);
	data = br_pg_learn_read(catalog, reads);
	training = br_pg_training_create(data, NULL, NULL);
	training->progress = br_pg_progress_report();
	*n = 0;
	for (int kind = 0; kind < BR_PG_N_KINDS; kind++)
	{
		const char *reason;

		if (only != BR_PG_N_KINDS && only != kind)
			continue;
		reason = fit_one(training, kind, parameters, &fitted[*n]);
		if (reason == NULL)
			(*n)++;
		else
			ereport(only == kind ? ERROR : NOTICE,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" cannot be learned of catalog \"%s\"", br_pg_fit_kind_name(kind),
							catalog->name),
					 errdetail("%s", reason)));
	}
	br_pg_progress_end();
	br_pg_learn_data_free(data);
	return fitted;
}
