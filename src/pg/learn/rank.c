/*
 * rank.c
 *	  Rankers: weights over what the learners say, from sessions that the learners
 *	  did not see.
 *
 * The events are parted by user, or by basket where nobody's user is known. For
 * each part the learners are fitted to all the others, and asked about sets of
 * this one with one thing taken out: the ranker learns to find it among all
 * things that could have been taken. Where there are many events one part is
 * enough. A model that was trained has learned from all of them, so it is asked as
 * it was before (untrained.c).
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/choices.h"
#include "pg/learn/kinds.h"
#include "pg/learn/model.h"
#include "pg/learn/rank.h"
#include "pg/learn/split.h"

#define PARTS 5
/* with more entries than these, one part tells enough */
#define MANY_ENTRIES 20000
/* where there are few sets, each is asked about so often, with another item hidden */
#define MOST_EACH 3
/* cases times items, and cases that are asked whatever the number of items */
#define MOST_LOOKED_AT 100000000
#define LEAST_ASKED 500
/* fewer cases than these say nothing about a dozen weights */
#define LEAST_CASES 20

static const uint32 item_kinds = 1u << BR_PG_KIND_POPULARITY | 1u << BR_PG_KIND_ASSOCIATION |
	1u << BR_PG_KIND_EASE | 1u << BR_PG_KIND_ALS | 1u << BR_PG_KIND_COMPLEMENT |
	1u << BR_PG_KIND_LEXICAL;

static const uint32 bundle_kinds = 1u << BR_PG_KIND_BUNDLE_COMPANIONS |
	1u << BR_PG_KIND_BUNDLE_ASSOCIATION | 1u << BR_PG_KIND_BUNDLE_EASE |
	1u << BR_PG_KIND_BUNDLE_LIKENESS;

uint32
br_pg_ranked_item_kinds(void)
{
	return item_kinds;
}

uint32
br_pg_ranked_bundle_kinds(void)
{
	return bundle_kinds;
}

/* the events in use that are of the part, or all others in use */
static bool *
mask_part(const BrPgTraining *training, int part, bool of_part)
{
	const BrPgLearnData *data = training->data;
	bool *mask = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);

	for (int64 i = 0; i < data->n_events; i++)
	{
		bool used = training->use == NULL || training->use[i];
		const char *unit = br_pg_event_unit(data, &data->events[i]);

		CHECK_FOR_INTERRUPTS();
		mask[i] = used && (br_pg_md5_number(unit, "rank") % PARTS == (uint32) part) == of_part;
	}
	return mask;
}

/* ---- items ---- */

/* one case: a set without one of its items, another one for each turn */
static void
add_item_case(const BrPgModel *model, const BrSparse *sets, int row, int turn, float *features,
			  bool *left_out, BrPgChoices *choices)
{
	int64 first = sets->starts[row];
	int n = (int) (sets->starts[row + 1] - first);
	int32_t *context = palloc(sizeof(int32_t) * n);
	BrRandom random;
	int hidden, kept = 0;

	br_base_random_init(&random, (uint64) row, 0x68696465u);
	hidden = (int) ((br_base_random_below(&random, (uint32) n) + (uint32) turn) % (uint32) n);
	for (int i = 0; i < n; i++)
	{
		left_out[sets->ids[first + i]] = true;
		if (i != hidden)
			context[kept++] = sets->ids[first + i];
	}
	br_pg_model_item_features(model, context, kept, features);
	br_pg_choices_add_group(choices, features, sets->columns, left_out, sets->ids[first + hidden],
							(uint64) row * MOST_EACH + (uint64) turn);
	for (int i = 0; i < n; i++)
		left_out[sets->ids[first + i]] = false;
	pfree(context);
}

/* sets to ask about: every so many-th of those that hold something together */
static int
stride_of(const BrSparse *sets, int cases)
{
	return Max(1, (br_pg_count_sets(sets) + cases - 1) / Max(cases, 1));
}

static void
add_item_cases(BrPgTraining *training, int part, int cases, BrPgChoices *choices)
{
	const BrPgLearnData *data = training->data;
	BrPgLooks *looks = br_pg_looks_untrained(training->looks);
	BrPgTraining *rest = br_pg_training_create(data, mask_part(training, part, false), looks);
	BrPgTraining *held_out = br_pg_training_create(data, mask_part(training, part, true), looks);
	BrPgModel *model;
	const BrSparse *sets = br_pg_training_sets(held_out);
	int stride = stride_of(sets, cases), met = 0;
	int each = Min(Max(cases / Max(br_pg_count_sets(sets), 1), 1), MOST_EACH);
	float *features =
		palloc_extended(sizeof(float) * (Size) data->n_items * BR_FEATURE_COUNT, MCXT_ALLOC_HUGE);
	bool *left_out = palloc0(sizeof(bool) * Max(data->n_items, 1));

	rest->bundle_known = training->bundle_known;
	model = br_pg_model_fit(rest, item_kinds);
	for (int row = 0; row < sets->rows; row++)
	{
		int64 n = sets->starts[row + 1] - sets->starts[row];

		if (n < 2 || n > br_pg_max_basket_items || met++ % stride != 0)
			continue;
		for (int i = 0; i < Min(each, n); i++)
			add_item_case(model, sets, row, i, features, left_out, choices);
		CHECK_FOR_INTERRUPTS();
	}
	br_pg_model_free(model);
}

/* ---- bundles ---- */

/*
 * One bundle of each buyer in the part is taken away, for all learners; the
 * buyers stay, with what else they have: that is whom they are asked about.
 */
static bool *
mask_one_each(const BrPgTraining *training, const BrSparse *bought, int part, int32_t *hidden)
{
	const BrPgLearnData *data = training->data;
	bool *mask = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);

	for (int user = 0; user < bought->rows; user++)
	{
		int64 first = bought->starts[user];
		uint32 n = (uint32) (bought->starts[user + 1] - first);

		CHECK_FOR_INTERRUPTS();
		hidden[user] = -1;
		if (n > 1 && br_pg_md5_number(data->users[user], "rank") % PARTS == (uint32) part)
			hidden[user] = bought->ids[first + br_pg_md5_number(data->users[user], "hide") % n];
	}
	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];

		mask[i] = (training->use == NULL || training->use[i]) &&
			!(event->bundle >= 0 && event->user >= 0 && hidden[event->user] == event->bundle);
	}
	return mask;
}

static void
add_bundle_case(const BrPgModel *model, const BrSparse *bought, int user, int32_t hidden,
				float *features, bool *left_out, BrPgChoices *choices)
{
	const int32_t *owned = bought->ids + bought->starts[user];
	int n = (int) (bought->starts[user + 1] - bought->starts[user]);

	for (int i = 0; i < n; i++)
		left_out[owned[i]] = true;
	br_pg_model_bundle_features(model, owned, n, features);
	br_pg_choices_add_group(choices, features, bought->columns, left_out, hidden, (uint64) user);
	for (int i = 0; i < n; i++)
		left_out[owned[i]] = false;
}

static void
add_bundle_cases(BrPgTraining *training, int cases, BrPgChoices *choices)
{
	const BrPgLearnData *data = training->data;
	const BrSparse *bought = br_pg_training_user_bundles(training);
	int32_t *hidden = palloc(sizeof(int32_t) * Max(bought->rows, 1));
	BrPgTraining *rest =
		br_pg_training_create(data, mask_one_each(training, bought, 0, hidden), training->looks);
	BrPgModel *model;
	float *features =
		palloc_extended(sizeof(float) * (Size) Max(data->n_bundles, 1) * BR_FEATURE_COUNT,
						MCXT_ALLOC_HUGE);
	bool *left_out = palloc0(sizeof(bool) * Max(data->n_bundles, 1));
	int n = 0, met = 0, stride;

	rest->bundle_known = training->bundle_known;
	model = br_pg_model_fit(rest, bundle_kinds);
	bought = br_pg_training_user_bundles(rest);
	for (int user = 0; user < bought->rows; user++)
		n += hidden[user] >= 0;
	stride = Max(1, (n + cases - 1) / Max(cases, 1));
	for (int user = 0; user < bought->rows; user++)
	{
		if (hidden[user] < 0 || met++ % stride != 0)
			continue;
		add_bundle_case(model, bought, user, hidden[user], features, left_out, choices);
		CHECK_FOR_INTERRUPTS();
	}
	br_pg_model_free(model);
}

/*
 * A second question about bundles that nobody bought yet: a fifth of them is
 * taken away from everybody, and buyers are asked which of these they have.
 */
static bool *
mask_cold(const BrPgTraining *training, bool *cold)
{
	const BrPgLearnData *data = training->data;
	bool *mask = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);

	for (int b = 0; b < data->n_bundles; b++)
		cold[b] = br_pg_md5_number(data->bundle_ids[b], "cold") % PARTS == 0;
	for (int64 i = 0; i < data->n_events; i++)
		mask[i] = (training->use == NULL || training->use[i]) &&
			(data->events[i].bundle < 0 || !cold[data->events[i].bundle]);
	return mask;
}

static void
add_cold_cases(BrPgTraining *training, int cases, BrPgChoices *choices)
{
	const BrPgLearnData *data = training->data;
	const BrSparse *all = br_pg_training_user_bundles(training);
	bool *cold = palloc(sizeof(bool) * Max(data->n_bundles, 1));
	bool *left_out = palloc(sizeof(bool) * Max(data->n_bundles, 1));
	BrPgTraining *rest = br_pg_training_create(data, mask_cold(training, cold), training->looks);
	float *features =
		palloc_extended(sizeof(float) * (Size) Max(data->n_bundles, 1) * BR_FEATURE_COUNT,
						MCXT_ALLOC_HUGE);
	const BrSparse *bought;
	BrPgModel *model;
	int64 n = 0, met = 0, stride;

	rest->bundle_known = training->bundle_known;
	model = br_pg_model_fit(rest, bundle_kinds);
	bought = br_pg_training_user_bundles(rest);
	for (int b = 0; b < data->n_bundles; b++)
		left_out[b] = !cold[b];
	for (int64 i = 0; i < all->starts[all->rows]; i++)
		n += cold[all->ids[i]];
	stride = Max(1, (n + cases - 1) / Max(cases, 1));
	for (int user = 0; user < all->rows; user++)
	{
		const int32_t *owned = bought->ids + bought->starts[user];
		int n_owned = (int) (bought->starts[user + 1] - bought->starts[user]);

		for (int64 i = all->starts[user]; n_owned > 0 && i < all->starts[user + 1]; i++)
		{
			if (!cold[all->ids[i]] || met++ % stride != 0)
				continue;
			br_pg_model_bundle_features(model, owned, n_owned, features);
			br_pg_choices_add_group(choices, features, data->n_bundles, left_out, all->ids[i],
									(uint64) user);
		}
		CHECK_FOR_INTERRUPTS();
	}
	br_pg_model_free(model);
}

/* ---- doors ---- */

/* a case looks at every item: of very many items, fewer cases tell as much in a time that is left */
static int
affordable(const BrPgLearnData *data, double cases)
{
	return (int) Min(cases, Max(LEAST_ASKED, MOST_LOOKED_AT / Max(data->n_items, 1)));
}

static const char *
fit_weights(const BrPgChoices *choices, BrPgLearned *learned)
{
	if (choices->groups < LEAST_CASES)
		return psprintf("Only %lld sets could be asked about; a ranker needs %d.",
						(long long) choices->groups, LEAST_CASES);
	return br_pg_choices_fit(choices, learned->parameters[BR_PG_RANKER_L2],
							 learned->parameters[BR_PG_RANKER_ROBUSTNESS], learned);
}

const char *
br_pg_fit_ranker(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *sets = br_pg_training_sets(training);
	int parts = sets->starts[sets->rows] > MANY_ENTRIES ? 1 : PARTS;
	BrPgChoices *choices = br_pg_choices_create();

	if (br_pg_count_sets(sets) < LEAST_CASES)
		return "There are too few baskets or users with two items to ask about.";
	for (int part = 0; part < parts; part++)
	{
		MemoryContext memory =
			AllocSetContextCreate(CurrentMemoryContext, "part", ALLOCSET_DEFAULT_SIZES);
		MemoryContext outer = MemoryContextSwitchTo(memory);

		add_item_cases(training, part,
					   affordable(training->data, learned->parameters[BR_PG_RANKER_CASES]) / parts,
					   choices);
		MemoryContextSwitchTo(outer);
		MemoryContextDelete(memory);
	}
	return fit_weights(choices, learned);
}

const char *
br_pg_fit_bundle_ranker(BrPgTraining *training, BrPgLearned *learned)
{
	BrPgChoices *choices = br_pg_choices_create();
	MemoryContext memory, outer;

	if (br_pg_count_sets(br_pg_training_user_bundles(training)) < LEAST_CASES)
		return "Too few users bought two curated bundles as a whole to ask about.";
	memory = AllocSetContextCreate(CurrentMemoryContext, "part", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(memory);
	add_bundle_cases(training, (int) learned->parameters[BR_PG_RANKER_CASES], choices);
	add_cold_cases(training, (int) learned->parameters[BR_PG_RANKER_CASES] / 4, choices);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(memory);
	return fit_weights(choices, learned);
}
