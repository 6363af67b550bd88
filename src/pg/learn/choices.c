/*
 * choices.c
 *	  Examples for a ranker, and the weights and the probability that come of
 *	  them.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/learn/choices.h"

/* others that are among so many strongest by some feature are all in the group */
#define STRONGEST 30
/* of the rest so many are drawn */
#define DRAWN 100
/* every so many-th group calibrates */
#define CALIBRATING 5

BrPgChoices *
br_pg_choices_create(void)
{
	BrPgChoices *choices = palloc0(sizeof(BrPgChoices));

	choices->memory = CurrentMemoryContext;
	choices->room = 4096;
	choices->group_room = 256;
	choices->starts = palloc0(sizeof(int64_t) * (choices->group_room + 1));
	choices->values = palloc(sizeof(float) * choices->room * BR_FEATURE_COUNT);
	choices->weights = palloc(sizeof(float) * choices->room);
	choices->taken = palloc(sizeof(uint8_t) * choices->room);
	return choices;
}

void
br_pg_choices_add(BrPgChoices *choices, const float *values, double weight, bool taken)
{
	if (choices->n == choices->room)
	{
		choices->room *= 2;
		choices->values =
			repalloc_huge(choices->values, sizeof(float) * choices->room * BR_FEATURE_COUNT);
		choices->weights = repalloc_huge(choices->weights, sizeof(float) * choices->room);
		choices->taken = repalloc_huge(choices->taken, sizeof(uint8_t) * choices->room);
	}
	memcpy(choices->values + choices->n * BR_FEATURE_COUNT, values,
		   sizeof(float) * BR_FEATURE_COUNT);
	choices->weights[choices->n] = (float) weight;
	choices->taken[choices->n++] = taken;
}

void
br_pg_choices_end_group(BrPgChoices *choices)
{
	if (choices->groups == choices->group_room)
	{
		choices->group_room *= 2;
		choices->starts =
			repalloc_huge(choices->starts, sizeof(int64_t) * (choices->group_room + 1));
	}
	choices->starts[++choices->groups] = choices->n;
}

/* ---- a group ---- */

/* A thing and its value of one feature. */
typedef struct Ranked
{
	float value;
	int index;
} Ranked;

static int
compare_ranked(const void *left, const void *right)
{
	const Ranked *a = left;
	const Ranked *b = right;

	if (a->value != b->value)
		return a->value > b->value ? -1 : 1;
	return a->index < b->index ? -1 : a->index > b->index;
}

/* marks the strongest by one feature, if anything is above the weakest */
static void
mark_strongest(const float *features, int n, int feature, Ranked *ranked, bool *marked)
{
	float threshold = -INFINITY;
	int kept = 0;

	/* a first pass keeps only what beats what was kept when that was last sorted */
	for (int i = 0; i < n; i++)
	{
		float value = features[(Size) i * BR_FEATURE_COUNT + feature];

		if (value == 0 || value <= threshold)
			continue;
		ranked[kept++] = (Ranked){value, i};
		if (kept == 4 * STRONGEST)
		{
			qsort(ranked, kept, sizeof(Ranked), compare_ranked);
			kept = STRONGEST;
			threshold = ranked[kept - 1].value;
		}
	}
	qsort(ranked, kept, sizeof(Ranked), compare_ranked);
	for (int i = 0; i < Min(kept, STRONGEST); i++)
		marked[ranked[i].index] = true;
}

void
br_pg_choices_add_group(BrPgChoices *choices, const float *features, int n, const bool *left_out,
						int taken, uint64 key)
{
	Ranked ranked[4 * STRONGEST];
	bool *marked = palloc0(sizeof(bool) * n);
	int rest = 0;
	double share;
	BrRandom random;

	for (int f = BR_FEATURE_CONTENT; f < BR_FEATURE_COUNT; f++)
		mark_strongest(features, n, f, ranked, marked);
	for (int i = 0; i < n; i++)
		rest += !marked[i] && !left_out[i] && i != taken;
	share = rest <= DRAWN ? 1 : (double) DRAWN / rest;
	br_base_random_init(&random, key, 0x72616e6bu);
	for (int i = 0; i < n; i++)
	{
		const float *row = features + (Size) i * BR_FEATURE_COUNT;

		if (left_out[i] && i != taken)
			continue;
		if (i == taken || marked[i])
			br_pg_choices_add(choices, row, 1, i == taken);
		else if (share == 1 || br_base_random_uniform(&random) < share)
			br_pg_choices_add(choices, row, 1 / share, false);
	}
	br_pg_choices_end_group(choices);
	pfree(marked);
}

/* ---- fitting ---- */

/* the groups that calibrate, or all others, one after the other */
static BrPgChoices *
part_of(const BrPgChoices *choices, bool calibrating)
{
	BrPgChoices *part = br_pg_choices_create();

	for (int64 g = 0; g < choices->groups; g++)
	{
		if ((g % CALIBRATING == CALIBRATING - 1) != calibrating)
			continue;
		for (int64 i = choices->starts[g]; i < choices->starts[g + 1]; i++)
			br_pg_choices_add(part, choices->values + i * BR_FEATURE_COUNT, choices->weights[i],
							  choices->taken[i]);
		br_pg_choices_end_group(part);
	}
	return part;
}

/* Mean log-likelihood of what was taken, and how often it was the best of its group. */
static void
judge(const BrPgChoices *choices, const double *weights, BrPgLearned *learned)
{
	int64 first = 0;
	double squares = 0, candidates = 0;

	for (int64 g = 0; g < choices->groups; g++)
	{
		double best = -INFINITY, taken = -INFINITY;

		for (int64 i = choices->starts[g]; i < choices->starts[g + 1]; i++)
		{
			double score = br_learn_ranker_score(weights, choices->values + i * BR_FEATURE_COUNT,
												 BR_FEATURE_COUNT);
			double miss = br_math_logistic(score) - choices->taken[i];

			if (choices->taken[i])
				taken = Max(taken, score);
			else
				best = Max(best, score);
			squares += choices->weights[i] * miss * miss;
			candidates += choices->weights[i];
		}
		first += taken > best;
	}
	br_pg_add_figure(learned, "held_out_first", (double) first / Max(choices->groups, 1));
	br_pg_add_figure(learned, "held_out_brier", squares / Max(candidates, 1));
}

/*
 * Evidence may only speak for a candidate. A weight below 0 would mostly say
 * that the shop's past is not its future: what few have seen looks new.
 */
static void
bound_weights(bool *not_below)
{
	for (int f = 0; f < BR_FEATURE_COUNT; f++)
		not_below[f] = true;
}

const char *
br_pg_choices_fit(const BrPgChoices *choices, double l2, double robustness, BrPgLearned *learned)
{
	BrPgChoices *fitting = part_of(choices, false);
	BrPgChoices *calibrating = part_of(choices, true);
	BrChoices examples = {fitting->groups, BR_FEATURE_COUNT, fitting->starts,
						  fitting->values, fitting->weights, fitting->taken};
	bool not_below[BR_FEATURE_COUNT];
	BrRankerOptions options = {l2, robustness, not_below, br_pg_progress_report()};
	double *scores = palloc_extended(sizeof(double) * Max(calibrating->n, 1), MCXT_ALLOC_HUGE);
	double a, b;
	BrContext context;

	bound_weights(not_below);
	learned->n_weights = BR_FEATURE_COUNT;
	learned->weights = palloc0(sizeof(double) * BR_FEATURE_COUNT);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_ranker_fit(&context, &examples, &options, learned->weights), &context,
				"could not fit the ranker", NULL);
	for (int64 i = 0; i < calibrating->n; i++)
		scores[i] =
			br_learn_ranker_score(learned->weights, calibrating->values + i * BR_FEATURE_COUNT,
								  BR_FEATURE_COUNT);
	br_pg_check(br_learn_calibrate(&context, scores, calibrating->weights, calibrating->taken,
								   calibrating->n, &a, &b),
				&context, "could not calibrate the ranker", NULL);
	if (b == 0)
		return "Nothing that was learned tells what was taken from what was not.";
	for (int f = 0; f < BR_FEATURE_COUNT; f++)
		learned->weights[f] *= b;
	learned->weights[BR_FEATURE_BIAS] = a;
	br_pg_add_figure(learned, "cases", (double) choices->groups);
	judge(calibrating, learned->weights, learned);
	return NULL;
}
