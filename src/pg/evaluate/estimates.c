/*
 * estimates.c
 *	  From the figures of rows to estimates, with errors that know of clusters.
 *
 * Rows come cluster by cluster. Each estimator has a state of the present
 * cluster and one of all clusters; a log without users has clusters of one
 * decision, of which the plain state of all rows is enough.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"

#include "core/math/br_math.h"
#include "pg/evaluate/evaluate_int.h"

typedef struct Gathered
{
	BrEstimator estimator;
	double parameter;
	double present[BR_STATE_SIZE]; /* of the present cluster, or of all rows */
	double clusters[BR_CLUSTERS_SIZE];
} Gathered;

/* The slots of the present decision. */
typedef struct Slate
{
	int64 decision;
	int slots;
	int room;
	double *rewards, *target, *logged, *predicted, *expected;
} Slate;

struct BrPgGather
{
	const BrPgEvaluation *evaluation;
	bool clustered;
	int n;
	Gathered *gathered; /* (n), the last one a replay's weights */
	int64 cluster;
	int64 rows;
	Slate slate;
	BrContext context;
};

bool
br_pg_reads_slates(BrEstimator estimator)
{
	return estimator == BR_ESTIMATOR_SIPS || estimator == BR_ESTIMATOR_RIPS ||
		estimator == BR_ESTIMATOR_CASCADE_DR;
}

bool
br_pg_reads_predictions(BrEstimator estimator)
{
	return estimator == BR_ESTIMATOR_DM || estimator == BR_ESTIMATOR_DR ||
		estimator == BR_ESTIMATOR_SNDR || estimator == BR_ESTIMATOR_SWITCH_DR ||
		estimator == BR_ESTIMATOR_DR_OS || estimator == BR_ESTIMATOR_CASCADE_DR;
}

int64
br_pg_cluster_of(const BrPgLoggedRow *row)
{
	return row->user == NULL ? row->decision
							 : (int64) hash_bytes_extended((const unsigned char *) row->user,
														   (int) strlen(row->user), 0);
}

static double
parameter_of(const BrPgEvaluation *evaluation, BrEstimator estimator)
{
	if (estimator == BR_ESTIMATOR_CLIPPED_IPS)
		return evaluation->cap;
	if (estimator == BR_ESTIMATOR_SWITCH_DR)
		return evaluation->tau;
	return estimator == BR_ESTIMATOR_DR_OS ? evaluation->lambda : 0;
}

BrPgGather *
br_pg_gather_open(const BrPgEvaluation *evaluation, bool clustered)
{
	BrPgGather *gather = palloc0(sizeof(BrPgGather));

	gather->evaluation = evaluation;
	gather->clustered = clustered;
	gather->n = evaluation->n_estimators + (evaluation->learning ? 1 : 0);
	gather->gathered = palloc0(sizeof(Gathered) * gather->n);
	for (int i = 0; i < gather->n; i++)
	{
		Gathered *one = &gather->gathered[i];

		one->estimator =
			i < evaluation->n_estimators ? evaluation->estimators[i] : BR_ESTIMATOR_IPS;
		one->parameter = parameter_of(evaluation, one->estimator);
		br_eval_state_init(one->present, one->estimator);
	}
	br_pg_context(&gather->context, CurrentMemoryContext);
	return gather;
}

static void
check(BrPgGather *gather, BrStatus status)
{
	br_pg_check(status, &gather->context, "the log cannot be evaluated", NULL);
}

/* ---- slates ---- */

static void
end_slate(BrPgGather *gather)
{
	Slate *slate = &gather->slate;
	BrLoggedSlate logged = {
		.slots = slate->slots,
		.rewards = slate->rewards,
		.target = slate->target,
		.logged = slate->logged,
		.predicted = slate->predicted,
		.expected = slate->expected,
	};

	if (slate->slots == 0)
		return;
	for (int i = 0; i < gather->n; i++)
		if (br_pg_reads_slates(gather->gathered[i].estimator))
			check(gather,
				  br_eval_add_slate(&gather->context, gather->gathered[i].present, &logged));
	slate->slots = 0;
}

static double *
widen(double *values, int room)
{
	return values == NULL ? palloc(sizeof(double) * room) : repalloc(values, sizeof(double) * room);
}

static void
add_slot(BrPgGather *gather, const BrPgFigures *figures)
{
	Slate *slate = &gather->slate;
	int k;

	if (slate->slots > 0 && (slate->decision != figures->decision || figures->rank == 1))
		end_slate(gather);
	if (slate->slots == slate->room)
	{
		slate->room = Max(slate->room * 2, 16);
		slate->rewards = widen(slate->rewards, slate->room);
		slate->target = widen(slate->target, slate->room);
		slate->logged = widen(slate->logged, slate->room);
		slate->predicted = widen(slate->predicted, slate->room);
		slate->expected = widen(slate->expected, slate->room);
	}
	k = slate->slots++;
	slate->decision = figures->decision;
	slate->rewards[k] = figures->row.reward;
	slate->target[k] = figures->row.target;
	slate->logged[k] = figures->row.logged;
	slate->predicted[k] = figures->row.predicted;
	slate->expected[k] = figures->row.expected;
}

/* ---- rows ---- */

static void
end_cluster(BrPgGather *gather)
{
	end_slate(gather);
	for (int i = 0; gather->clustered && i < gather->n; i++)
	{
		Gathered *one = &gather->gathered[i];

		check(gather, br_eval_clusters_add(&gather->context, one->clusters, one->present));
		br_eval_state_init(one->present, one->estimator);
	}
}

/* only what the estimator reads */
static void
add_row(BrPgGather *gather, Gathered *one, const BrLoggedRow *row)
{
	BrLoggedRow read = *row;

	read.parameter = one->parameter;
	if (one->estimator == BR_ESTIMATOR_REPLAY)
	{
		if (row->target != 1)
			return;
		read = (BrLoggedRow){.reward = row->reward};
	}
	else if (!br_pg_reads_predictions(one->estimator))
		read.predicted = read.expected = 0;
	check(gather, br_eval_add_row(&gather->context, one->present, &read));
}

void
br_pg_gather_add(BrPgGather *gather, const BrPgFigures *figures)
{
	if (gather->rows > 0 && gather->clustered && figures->cluster != gather->cluster)
		end_cluster(gather);
	gather->cluster = figures->cluster;
	gather->rows++;
	for (int i = 0; figures->rank == 1 && i < gather->n; i++)
		if (!br_pg_reads_slates(gather->gathered[i].estimator))
			add_row(gather, &gather->gathered[i], &figures->row);
	for (int i = 0; i < gather->n; i++)
		if (br_pg_reads_slates(gather->gathered[i].estimator))
		{
			add_slot(gather, figures);
			break;
		}
}

/* ---- the end ---- */

/* lower triangle of the products of (n, w, z, e) */
#define PRODUCT(clusters, i, j) ((clusters)[BR_CLUSTERS_M + (i) * ((i) + 1) / 2 + (j)])

/* The standard error of the mean weight, by the same formulas as that of IPS. */
static double
weight_error(const BrPgGather *gather, const Gathered *one, const BrEstimate *estimate)
{
	double rows = (double) estimate->rows;
	double mean = estimate->mean_weight;
	double groups = one->clusters[BR_CLUSTERS_COUNT];

	if (one->estimator == BR_ESTIMATOR_DM || one->estimator == BR_ESTIMATOR_REPLAY)
		return NAN;
	if (!gather->clustered)
		return sqrt(one->present[BR_STATE_M_WW] / (rows - 1) / rows);
	return sqrt(groups / (groups - 1) *
				fmax(PRODUCT(one->clusters, 1, 1) - 2 * mean * PRODUCT(one->clusters, 1, 0) +
						 mean * mean * PRODUCT(one->clusters, 0, 0),
					 0)) /
		rows;
}

static double
estimate_of(BrPgGather *gather, const Gathered *one, BrEstimate *estimate)
{
	check(gather,
		  gather->clustered ? br_eval_clusters_estimate(&gather->context, one->clusters, estimate)
							: br_eval_estimate(&gather->context, one->present, estimate));
	return weight_error(gather, one, estimate);
}

void
br_pg_gather_close(BrPgGather *gather, const BrPgSupport *support, BrPgEstimate *estimates)
{
	const BrPgEvaluation *evaluation = gather->evaluation;
	double quantile = br_math_normal_quantile((1 + evaluation->level) / 2);

	end_cluster(gather);
	for (int i = 0; i < evaluation->n_estimators; i++)
	{
		BrPgEstimate *one = &estimates[i];
		double error = estimate_of(gather, &gather->gathered[i], &one->estimate);

		one->estimator = evaluation->estimators[i];
		if (one->estimator == BR_ESTIMATOR_REPLAY)
		{
			BrEstimate weights;

			error = estimate_of(gather, &gather->gathered[gather->n - 1], &weights);
			one->estimate.mean_weight = weights.mean_weight;
		}
		one->lower = one->estimate.value - quantile * one->estimate.standard_error;
		one->upper = one->estimate.value + quantile * one->estimate.standard_error;
		one->warning = br_pg_alarms(support, one->estimator, &one->estimate, error);
	}
}
