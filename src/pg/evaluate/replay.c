/*
 * replay.c
 *	  A candidate that learns, over a log of uniform choices.
 *
 * The candidate goes through the log in the order of time, from its prior. Where
 * it chooses what was logged, the row is kept and it learns the reward; other
 * rows it never saw. Because the log chose uniformly, the rows kept are as if the
 * candidate had been asked.
 * Source: Li, Chu, Langford and Wang, "Unbiased offline evaluation of
 * contextual-bandit-based news article recommendation algorithms", WSDM 2011.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "pg/evaluate/evaluate_int.h"

/* propensities of a uniform log are 1 / n but for rounding */
#define SLACK 1e-9

typedef struct Replayed
{
	const BrPgEvaluation *evaluation;
	BrPgLog *log;
	BrReplay *replay;
	BrContext context;
	BrPgSorted *sorted; /* NULL: nobody repeats */
	BrPgGather *gather;
	bool has_users;
	int64 rows;
	int64 agreed;
	int32 arms_version;
	TimestampTz before; /* of the row before */
	TimestampTz as_of;	/* of what was learned */
} Replayed;

static void
refuse(const BrPgEvaluation *evaluation, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("policy \"%s\" cannot be replayed", evaluation->candidate->name),
			 errdetail("%s", reason), errhint("Evaluate it as it stands: learning => false.")));
}

static bool
has_evidence_window(const BrPgPolicy *policy)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(policy->number)};
	bool is_null;
	bool has;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute("SELECT evidence_window IS NOT NULL FROM bundle_rec.policy WHERE policy = $1", 1,
				  types, values, NULL, true, 1);
	has = DatumGetBool(br_pg_column(0, 1, &is_null));
	br_pg_leave(&rights);
	return has;
}

static void
check_candidate(const BrPgEvaluation *evaluation)
{
	const BrPgPolicy *policy = evaluation->candidate;

	if (br_bandit_algorithm_refits(policy->spec.algorithm))
		refuse(evaluation, "Its algorithm fits all its decisions anew for every version.");
	if (has_evidence_window(policy))
		refuse(evaluation, "It counts the decisions of a window of time only.");
	if (policy->examination != NULL && policy->examination[0] != 1)
		refuse(evaluation, "Its first slot is not always looked at.");
}

/* ---- rows ---- */

static void
check_uniform(const Replayed *replayed, const BrPgLoggedRow *row)
{
	if (row->rank != 1)
		br_pg_log_refuse(replayed->log,
						 "it is a slot beyond the first, and replay takes single choices");
	if (fabs(row->propensity * row->request.pool - 1) > SLACK)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a learning candidate cannot be evaluated over this log: it did not choose "
						"uniformly"),
				 errdetail("Row %lld has propensity %.15g among %d eligible arms.",
						   (long long) replayed->log->query.row, row->propensity,
						   row->request.pool),
				 errhint("Evaluate the candidate as it stands, with learning => false, or over a "
						 "log whose propensities are all 1 / eligible arms.")));
}

static void
check_time(Replayed *replayed, const BrPgLoggedRow *row)
{
	if (!row->has_time && replayed->evaluation->candidate->discount < 1)
		br_pg_log_refuse(replayed->log, "it has no decided_at, by which the candidate discounts");
	if (!row->has_time)
		return;
	if (replayed->rows > 1 && row->decided_at < replayed->before)
		br_pg_log_refuse(replayed->log,
						 "it was decided before the row above it; let the query end "
						 "with ORDER BY decided_at");
	replayed->before = row->decided_at;
}

/* rewards as evidence takes them */
static double
learned_reward(const Replayed *replayed, double reward)
{
	return br_bandit_algorithm_bounded(replayed->evaluation->candidate->spec.algorithm)
		? Min(Max(reward, 0), 1)
		: reward;
}

static void
check(Replayed *replayed, BrStatus status)
{
	if (status == BR_OK)
		return;
	br_pg_check(status, &replayed->context,
				psprintf("policy \"%s\" cannot choose or learn as in row %lld of the log",
						 replayed->log->policy.name, (long long) replayed->log->query.row),
				NULL);
}

static void
learn(Replayed *replayed, const BrPgLoggedRow *row)
{
	const BrPgPolicy *policy = replayed->evaluation->candidate;
	const float *features = row->request.features == NULL
		? NULL
		: row->request.features + (Size) row->member * policy->spec.dims;
	int arm = row->request.arms != NULL ? row->request.arms[row->member] : 0;

	if (policy->discount < 1)
	{
		if (replayed->agreed > 0)
			check(replayed,
				  br_bandit_replay_discount(&replayed->context, replayed->replay,
											br_pg_policy_weight(policy, replayed->as_of,
																row->decided_at)));
		replayed->as_of = row->decided_at;
	}
	replayed->agreed++;
	check(replayed,
		  br_bandit_replay_learn(&replayed->context, replayed->replay, arm, features,
								 row->propensity, learned_reward(replayed, row->reward)));
}

static void
replay_row(Replayed *replayed, BrPgLoggedRow *row)
{
	BrPgFigures figures = {
		.cluster = br_pg_cluster_of(row),
		.decision = row->decision,
		.rank = 1,
		.row = {.reward = row->reward, .logged = row->propensity},
	};
	int chosen;

	row->request.key = br_pg_evaluation_key(replayed->evaluation, replayed->log->query.row);
	check(replayed,
		  br_bandit_replay_choose(&replayed->context, replayed->replay, &row->request, &chosen));
	if (chosen == row->member)
	{
		figures.row.target = 1;
		learn(replayed, row);
	}
	replayed->has_users |= row->user != NULL;
	if (replayed->sorted != NULL)
		br_pg_sorted_add(replayed->sorted, &figures, NULL, 0);
	else
		br_pg_gather_add(replayed->gather, &figures);
}

/* ---- the log ---- */

static void
begin(Replayed *replayed, const BrPgLoggedRow *first)
{
	br_pg_context(&replayed->context, CurrentMemoryContext);
	br_pg_check(br_bandit_replay_create(&replayed->context, &replayed->evaluation->candidate->spec,
										first->state->n_arms, replayed->evaluation->batch,
										&replayed->replay),
				&replayed->context, "the replay cannot begin", NULL);
	replayed->arms_version = replayed->log->policy.arms_version;
	if (first->has_user)
		replayed->sorted = br_pg_sorted_open();
	else
		replayed->gather = br_pg_gather_open(replayed->evaluation, false);
}

static void
gather_sorted(Replayed *replayed)
{
	BrPgFigures figures;
	const void *more;
	Size size;

	replayed->gather = br_pg_gather_open(replayed->evaluation, replayed->has_users);
	br_pg_sorted_turn(replayed->sorted);
	while (br_pg_sorted_next(replayed->sorted, &figures, &more, &size))
	{
		CHECK_FOR_INTERRUPTS();
		br_pg_gather_add(replayed->gather, &figures);
	}
	br_pg_sorted_close(replayed->sorted);
}

void
br_pg_evaluate_learning(const BrPgEvaluation *evaluation, BrPgEstimate *estimates)
{
	Replayed replayed = {.evaluation = evaluation};
	BrPgLoggedRow row;

	check_candidate(evaluation);
	replayed.log = br_pg_log_open(evaluation);
	while (br_pg_log_next(replayed.log, &row))
	{
		if (replayed.rows++ == 0)
			begin(&replayed, &row);
		check_uniform(&replayed, &row);
		check_time(&replayed, &row);
		if (replayed.log->policy.arms_version != replayed.arms_version)
			br_pg_log_refuse(replayed.log,
							 "arms were added or retired before it, and replay takes "
							 "one set of arms");
		replay_row(&replayed, &row);
	}
	br_pg_log_close(replayed.log);
	if (replayed.rows == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the log has no rows")));
	br_bandit_replay_free(&replayed.context, replayed.replay);
	if (replayed.sorted != NULL)
		gather_sorted(&replayed);
	br_pg_gather_close(replayed.gather, NULL, estimates);
}
