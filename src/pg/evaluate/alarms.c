/*
 * alarms.c
 *	  What should make the reader doubt an estimate.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/memutils.h"

#include "pg/evaluate/evaluate_int.h"

#define MOST_ERRORS 3.0
#define LEAST_SAMPLE 100.0
#define LEAST_SHARE 0.01
#define MOST_UNSUPPORTED 0.01
#define MOST_NAMES 5

static void
make_room(BrPgSupport *support, int32 number)
{
	int n = Max(support->n * 2, number + 1);
	bool *logged;
	double *expected;
	char **names;

	if (number < support->n)
		return;
	logged = MemoryContextAllocZero(support->memory, sizeof(bool) * n);
	expected = MemoryContextAllocZero(support->memory, sizeof(double) * n);
	names = MemoryContextAllocZero(support->memory, sizeof(char *) * n);
	if (support->n > 0)
	{
		memcpy(logged, support->logged, sizeof(bool) * support->n);
		memcpy(expected, support->expected, sizeof(double) * support->n);
		memcpy(names, support->names, sizeof(char *) * support->n);
	}
	support->logged = logged;
	support->expected = expected;
	support->names = names;
	support->n = n;
}

void
br_pg_support_add(BrPgSupport *support, const BrPgLoggedRow *row, const double *probability)
{
	support->rows++;
	support->learned += row->learned;
	if (row->numbers == NULL)
		return;
	for (int i = 0; i < row->request.pool; i++)
	{
		int32 number = row->numbers[i];

		make_room(support, number);
		support->expected[number] += probability[i];
		if (support->names[number] == NULL)
			support->names[number] = MemoryContextStrdup(support->memory, row->names[i]);
	}
	support->logged[row->numbers[row->member]] = true;
}

static void say(StringInfo text, const char *format, ...) pg_attribute_printf(2, 3);

static void
say(StringInfo text, const char *format, ...)
{
	va_list arguments;
	char line[400];

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (text->len > 0)
		appendStringInfoString(text, "; ");
	appendStringInfoString(text, line);
}

/* arms that the log never holds */
static void
say_unsupported(const BrPgSupport *support, StringInfo text)
{
	StringInfoData names;
	double share = 0;
	int n = 0;

	initStringInfo(&names);
	for (int i = 0; i < support->n; i++)
	{
		if (support->logged[i] || support->expected[i] <= 0)
			continue;
		share += support->expected[i] / support->rows;
		if (n++ < MOST_NAMES)
			appendStringInfo(&names, "%s%.60s", n > 1 ? ", " : "", support->names[i]);
	}
	if (n > MOST_NAMES)
		appendStringInfoString(&names, ", ...");
	if (share > MOST_UNSUPPORTED)
		say(text,
			"support is missing: %.3g %% of the candidate's probability lies on arms that the log "
			"never holds (%s)",
			100 * share, names.data);
}

char *
br_pg_alarms(const BrPgSupport *support, BrEstimator estimator, const BrEstimate *estimate,
			 double weight_error)
{
	StringInfoData text;

	initStringInfo(&text);
	if (fabs(estimate->mean_weight - 1) > MOST_ERRORS * weight_error)
		say(&text,
			"the mean weight is %.4g, %.1f standard errors from 1: the propensities, or the "
			"eligible arms, are not those of the log",
			estimate->mean_weight, fabs(estimate->mean_weight - 1) / weight_error);
	if (estimator != BR_ESTIMATOR_DM && estimator != BR_ESTIMATOR_REPLAY &&
		(estimate->effective_sample_size < LEAST_SAMPLE ||
		 estimate->effective_sample_size < LEAST_SHARE * (double) estimate->rows))
		say(&text, "the effective sample size is %.4g of %lld rows",
			estimate->effective_sample_size, (long long) estimate->rows);
	if (estimator == BR_ESTIMATOR_REPLAY && estimate->rows < LEAST_SAMPLE)
		say(&text, "the candidate agreed with the log in %lld rows only",
			(long long) estimate->rows);
	if (support != NULL)
		say_unsupported(support, &text);
	if (support != NULL && support->learned > 0)
		say(&text,
			"the candidate has learned from %lld of %lld decisions, and looks better on them than "
			"it is",
			(long long) support->learned, (long long) support->rows);
	return text.len > 0 ? text.data : NULL;
}
