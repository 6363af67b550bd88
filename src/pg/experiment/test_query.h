/*
 * test_query.h
 *	  What ab_test reads: the caller's query, summed per unit, as moments.
 */
#ifndef BR_TEST_QUERY_H
#define BR_TEST_QUERY_H

#include "core/eval/br_eval.h"
#include "pg/experiment/experiment.h"

/* One metric of a test, and the columns that it is made of. */
typedef struct BrPgMetric
{
	char *name;
	char *covariate;   /* NULL: none */
	char *denominator; /* NULL: none */
	double margin;	   /* NaN: no guardrail */
	bool is_boolean;
	BrComparisonMethod method;
} BrPgMetric;

/* The units of one segment, variant and version of the weights. */
typedef struct BrPgGroup
{
	char *segment; /* NULL: none */
	char *variant; /* NULL: units of several variants */
	int32 version; /* of the experiment's weights; 0 without an experiment */
	int64 units;
	double *moments; /* (metrics, BR_MOMENTS) */
} BrPgGroup;

typedef struct BrPgGroups
{
	bool has_segments;
	int n;
	BrPgGroup *groups;
} BrPgGroups;

/*
 * The metrics of a request, with their types taken from the columns of its query.
 * Raises 22023 for names that it does not know, 42703 for columns that the query
 * lacks, 42804 for columns that are no numbers.
 */
extern BrPgMetric *br_pg_test_metrics(const BrPgTestRequest *request);

/*
 * Reads the query as the caller, under the active snapshot. experiment NULL: the
 * query names the variants.
 */
extern BrPgGroups br_pg_test_groups(const BrPgTestRequest *request,
									const BrPgExperiment *experiment, const BrPgMetric *metrics);

#endif /* BR_TEST_QUERY_H */
