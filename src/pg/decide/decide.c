/*
 * decide.c
 *	  One decision from end to end.
 *
 * The slate is drawn from what the newest version of the policy believes, under
 * a random key of its own, and what was drawn is logged in the caller's
 * transaction: the decision, its propensities and the state it saw commit
 * together or not at all.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "pg/decide/decide.h"
#include "pg/decide/decision_log.h"

/*
 * Only what two bundles have in common counts. How alike their other items read would be worth
 * knowing too, but the log could not tell it later: a pool has 32,640 pairs, embeddings and
 * categories change, and replay_decision must find the very propensities that were logged. For
 * the same reason the penalty is that of the likest earlier slot and no determinant, of whose
 * gain only a matrix of all pairs would remind; diversify chooses by determinants where no
 * propensity hangs on it.
 */
static void
overlap_with(void *arg, int chosen, double *similarity)
{
	const BrPool *pool = arg;

	for (int i = 0; i < pool->n; i++)
		similarity[i] = br_bundle_overlap(&pool->bundles[chosen], &pool->bundles[i]);
}

/*
 * Diversity is a share of the best calibrated score in the pool: at 1, repeating
 * an earlier slot entirely costs a bundle the whole of it.
 */
static double
diversity_penalty(const BrPgDecision *decision)
{
	double best = 0;

	for (int i = 0; i < decision->pool.n; i++)
		best = Max(best, decision->pool.features[i * BR_FEATURE_COUNT + BR_FEATURE_SCORE]);
	return decision->request->diversity * best;
}

/* the most that is expected of a member that competes for the next slot, less its penalty */
static double
best_remaining(const BrSlate *slate, const double *penalty, int n)
{
	double best = -INFINITY;

	for (int i = 0; i < n; i++)
		best = Max(best, slate->expected[i] - penalty[i]);
	return best;
}

/*
 * Of each slot, whether chance put it there. Like the policy, it looks at what is expected of a
 * member less the penalty for repeating an earlier slot; what a rule pinned was nobody's choice.
 */
static void
mark_explored(BrPgDecision *decision, const BrSlateRequest *request)
{
	const BrSlate *slate = &decision->slate;
	int n = request->pool;
	double *penalty = palloc0(sizeof(double) * Max(n, 1));
	double *similarity = palloc(sizeof(double) * Max(n, 1));

	decision->explored = palloc(sizeof(bool) * Max(slate->slots, 1));
	for (int i = 0; i < request->n_pins; i++)
		penalty[request->pins[i].member] = INFINITY;
	for (int slot = 0; slot < slate->slots; slot++)
	{
		int chosen = slate->chosen[slot];

		decision->explored[slot] = !isinf(penalty[chosen]) &&
			slate->expected[chosen] - penalty[chosen] < best_remaining(slate, penalty, n);
		request->similarity(request->similarity_arg, chosen, similarity);
		for (int i = 0; i < n; i++)
			penalty[i] = Max(penalty[i], request->diversity * similarity[i]);
		penalty[chosen] = INFINITY;
	}
}

static void
draw_slate(BrPgDecision *decision)
{
	const BrPgPolicy *policy = decision->request->policy;
	BrSlateRequest request = {
		.pool = decision->pool.n,
		.features = decision->pool.features,
		.slots = decision->request->wanted,
		.diversity = diversity_penalty(decision),
		.similarity = overlap_with,
		.similarity_arg = &decision->pool,
		.key = decision->key,
	};
	BrContext context;

	request.pins =
		br_pg_decide_place_pins(decision, Min(request.slots, request.pool), &request.n_pins);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bandit_slate(&context, br_pg_policy_state(policy)->belief, &request,
								&decision->slate),
				&context, "could not choose among the bundles", NULL);
	mark_explored(decision, &request);
}

/* part of an ereport: whoever forgot a rule should not have to search for the reason */
static int
hint_at_rules(const BrPgRequest *request)
{
	if (!br_pg_rules_have(request->rules, BR_PG_RULE_BAN) &&
		!br_pg_rules_have(request->rules, BR_PG_RULE_CAP) &&
		!br_pg_rules_have(request->rules, BR_PG_RULE_REQUIRE))
		return 0;
	return errhint("The view bundle_rec.rule shows rules that ban, cap or require.");
}

/* tells why there are fewer rows than asked for */
static void
report_shortage(const BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	const BrRefusals *refusals = &decision->pool.refusals;
	int found = decision->pool.n;
	const char *what = strcmp(request->kind, "item") == 0 ? "items" : "bundles";

	if (found >= request->wanted)
		return;
	if (!decision->pool.complete)
		ereport(NOTICE,
				(errmsg("only %d of %d %s were found", found, request->wanted, what),
				 errdetail("The search among %d candidates was given up: hardly any "
						   "combination meets budget and margin together.",
						   decision->n_items),
				 errhint("Ask for smaller bundles, or loosen a limit.")));
	else if (refusals->budget == 0 && refusals->margin == 0 && refusals->category == 0 &&
			 refusals->required == 0)
		ereport(NOTICE,
				(errmsg("only %d of %d %s are possible", found, request->wanted, what),
				 errdetail("%d items may be offered after stock, category and exclusions.",
						   decision->n_items),
				 hint_at_rules(request)));
	else
		ereport(NOTICE,
				(errmsg("only %d of %d %s are possible", found, request->wanted, what),
				 errdetail("Of the combinations of %d candidates, the budget refused %lld, "
						   "the margin %lld and the category limit %lld%s.",
						   decision->n_items, (long long) refusals->budget,
						   (long long) refusals->margin, (long long) refusals->category,
						   refusals->required == 0 ? ""
												   : psprintf("; %lld lack what a rule requires",
															  (long long) refusals->required)),
				 hint_at_rules(request)));
}

static void
generate_pool(BrPgDecision *decision)
{
	BrPgDecision before;

	br_pg_decide_candidates(decision, NULL);
	br_pg_decide_pool(decision);
	before = *decision;
	if (before.pool.n < decision->request->wanted)
	{
		br_pg_decide_candidates(decision, &before);
		br_pg_decide_pool(decision);
	}
	/* not all that was found before need be among the candidates now */
	if (decision->pool.n < before.pool.n)
		*decision = before;
	report_shortage(decision);
}

BrPgDecision *
br_pg_decide(const BrPgRequest *request)
{
	BrPgDecision *decision = palloc0(sizeof(BrPgDecision));
	bool will_log = br_pg_decide_will_log(request);

	decision->request = request;
	decision->key = request->seeded ? (uint64) request->seed : br_pg_decision_key();
	br_pg_decide_context(decision);
	if (request->curated)
		br_pg_decide_curated(decision);
	else
		generate_pool(decision);
	CHECK_FOR_INTERRUPTS();
	if (decision->pool.n == 0)
		return decision;
	draw_slate(decision);
	if (request->constraints.max_size > 1)
		br_pg_decide_exact_pairs(decision);
	br_pg_decide_reasons(decision);
	if (will_log)
		br_pg_decide_log(decision);
	return decision;
}
