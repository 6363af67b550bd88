/*
 * pairs.c
 *	  What a catalog knows to belong together, as pairs of texts or as sets.
 *
 * Items of a curated bundle that was bought say most: somebody chose them, and
 * somebody else agreed. Where fewer than two such pairs are known, the items of a
 * basket have to do, less those of very large baskets, which say nothing. Of
 * a set with more members than a batch can well hold some are drawn.
 *
 * The latest sessions are left alone, so that the gate can ask about what the
 * model has not seen. Of the rest some are for validation; a pair that training
 * sees, too, is none of theirs, since it would tell what was memorised.
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/data.h"
#include "pg/train/train_int.h"

/* streams of random numbers of one seed */
#define STREAM_DRAW (BR_PG_TRAIN_STREAM_VALIDATION + 1)
#define STREAM_DIRECTION (BR_PG_TRAIN_STREAM_VALIDATION + 2)

/* of a set */
#define MOST_MEMBERS 16

/* A pair that somebody bought, and whether that was in a session for validation. */
typedef struct Pair
{
	int32 first; /* numbers of texts */
	int32 second;
	bool validates;
} Pair;

/* Items of one bundle or basket that have different texts. */
typedef struct Set
{
	int32 texts[MOST_MEMBERS]; /* (n): their numbers, ascending */
	int32 n;
	bool validates;
} Set;

/* What was met before. */
typedef struct Met
{
	uint64 key; /* of a pair: the smaller number in front; of a set: a hash of its texts */
} Met;

typedef struct Gathering
{
	const BrPgLearnData *data;
	const BrPgTrainChoice *choice;
	uint64 seed;
	bool bundles; /* otherwise baskets */
	bool as_sets; /* otherwise pairs */

	/* what is split together: a basket, a user's events outside of any, or all other events */
	int n_units;
	double *at; /* (n_units): seconds since 1970 of the last event; -INFINITY: none, or unknown */
	bool *present;	 /* (n_units): has an event of this kind */
	bool *learned;	 /* (n_units) */
	bool *validates; /* (n_units) */

	int32 *texts; /* (n_items): their numbers; -1: none */
	BrRandom draw;
	int64 met; /* pairs or sets, drawn or not */
	int n;
	Pair *pairs; /* (n), at most choice->pairs; NULL: sets */
	Set *sets;	 /* the same; NULL: pairs */
	BrPgTrainCounts counts;
} Gathering;

/* ---- sessions ---- */

static int
unit_of(const BrPgLearnData *data, const BrPgLearnEvent *event)
{
	if (event->basket >= 0)
		return event->basket;
	return data->n_baskets + (event->user >= 0 ? event->user : data->n_users);
}

static int
bundle_size(const BrPgLearnData *data, int bundle)
{
	return (int) (data->bundle_items.starts[bundle + 1] - data->bundle_items.starts[bundle]);
}

/* whether an event may make a pair */
static bool
counts_here(const Gathering *gathering, const BrPgLearnEvent *event)
{
	if (!(event->bought > 0))
		return false;
	if (gathering->bundles)
		return event->bundle >= 0 && bundle_size(gathering->data, event->bundle) >= 2;
	return event->basket >= 0;
}

/* the moment up to which sessions are learned from; those of one moment stay together */
static double
find_moment(const Gathering *gathering)
{
	double *times = palloc_extended(sizeof(double) * gathering->n_units, MCXT_ALLOC_HUGE);
	double moment = INFINITY;
	int n = 0, left;

	for (int i = 0; i < gathering->n_units; i++)
		if (gathering->present[i] && isfinite(gathering->at[i]))
			times[n++] = gathering->at[i];
	qsort(times, n, sizeof(double), br_pg_compare_doubles);
	left = n - (int) (n * gathering->choice->holdout);
	if (left < n)
		moment = left == 0 ? -INFINITY : times[left - 1];
	pfree(times);
	return moment;
}

static void
split_sessions(Gathering *gathering)
{
	const BrPgLearnData *data = gathering->data;
	double moment, latest = -INFINITY;
	BrRandom random;

	memset(gathering->present, 0, sizeof(bool) * gathering->n_units);
	for (int i = 0; i < gathering->n_units; i++)
		gathering->at[i] = -INFINITY;
	for (int64 i = 0; i < data->n_events; i++)
		if (counts_here(gathering, &data->events[i]))
		{
			int unit = unit_of(data, &data->events[i]);

			gathering->present[unit] = true;
			gathering->at[unit] = Max(gathering->at[unit], data->events[i].at);
		}
	moment = find_moment(gathering);
	gathering->counts = (BrPgTrainCounts){.learned_until = DT_NOBEGIN};
	br_base_random_init(&random, gathering->seed, BR_PG_TRAIN_STREAM_VALIDATION);
	for (int i = 0; i < gathering->n_units; i++)
	{
		bool validates = br_base_random_uniform(&random) < gathering->choice->validation;

		gathering->learned[i] = gathering->present[i] && gathering->at[i] <= moment;
		gathering->validates[i] = gathering->learned[i] && validates;
		gathering->counts.sessions += gathering->learned[i];
		gathering->counts.validation_sessions += gathering->validates[i];
		gathering->counts.held_out += gathering->present[i] && !gathering->learned[i];
		if (gathering->learned[i])
			latest = Max(latest, gathering->at[i]);
	}
	if (isfinite(latest))
		gathering->counts.learned_until = br_pg_train_time(latest);
}

/* ---- pairs ---- */

/*
 * Where the next one that is met is kept, so that each of all has the same chance
 * (Vitter's algorithm R); -1: nowhere.
 */
static int64
draw_place(Gathering *gathering)
{
	int64 place = gathering->met++;

	if (place < gathering->choice->pairs)
		gathering->n++;
	else
		place = (int64) (br_base_random_uniform(&gathering->draw) * (double) gathering->met);
	return place < gathering->choice->pairs ? place : -1;
}

static void
meet(Gathering *gathering, int unit, int32 left, int32 right)
{
	Pair pair = {gathering->texts[left], gathering->texts[right], gathering->validates[unit]};
	int64 place;

	if (pair.first < 0 || pair.second < 0 || pair.first == pair.second)
		return;
	place = draw_place(gathering);
	if (place >= 0)
		gathering->pairs[place] = pair;
}

static int
compare_numbers(const void *left, const void *right)
{
	int32 a = *(const int32 *) left;
	int32 b = *(const int32 *) right;

	return (a > b) - (a < b);
}

static void
meet_set(Gathering *gathering, int unit, const int32_t *items, int64 n)
{
	int32 *texts = palloc(sizeof(int32) * n);
	Set set = {.validates = gathering->validates[unit]};
	int64 place;
	int found = 0, different = 0;

	for (int64 i = 0; i < n; i++)
		if (gathering->texts[items[i]] >= 0)
			texts[found++] = gathering->texts[items[i]];
	qsort(texts, found, sizeof(int32), compare_numbers);
	for (int i = 0; i < found; i++)
		if (i == 0 || texts[i] != texts[i - 1])
			texts[different++] = texts[i];
	for (set.n = 0; set.n < Min(different, MOST_MEMBERS); set.n++)
	{
		int other = set.n;

		if (different > MOST_MEMBERS)
			other += (int) br_base_random_below(&gathering->draw, (uint32) (different - set.n));
		set.texts[set.n] = texts[other];
		texts[other] = texts[set.n];
	}
	qsort(set.texts, set.n, sizeof(int32), compare_numbers);
	place = set.n >= 2 ? draw_place(gathering) : -1;
	if (place >= 0)
		gathering->sets[place] = set;
	pfree(texts);
}

static void
meet_all(Gathering *gathering, int unit, const int32_t *items, int64 n)
{
	CHECK_FOR_INTERRUPTS();
	if (n > br_pg_max_basket_items)
		return;
	if (gathering->as_sets)
	{
		meet_set(gathering, unit, items, n);
		return;
	}
	for (int64 i = 0; i < n; i++)
		for (int64 j = i + 1; j < n; j++)
			meet(gathering, unit, items[i], items[j]);
}

static void
meet_bundles(Gathering *gathering)
{
	const BrPgLearnData *data = gathering->data;
	const BrSparse *bundles = &data->bundle_items;

	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];
		int unit = unit_of(data, event);

		if (counts_here(gathering, event) && gathering->learned[unit])
			meet_all(gathering, unit, bundles->ids + bundles->starts[event->bundle],
					 bundle_size(data, event->bundle));
	}
}

static void
meet_baskets(Gathering *gathering)
{
	const BrPgLearnData *data = gathering->data;
	bool *use = palloc_extended(sizeof(bool) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);
	BrSparse baskets;

	for (int64 i = 0; i < data->n_events; i++)
		use[i] =
			counts_here(gathering, &data->events[i]) && gathering->learned[data->events[i].basket];
	baskets = br_pg_learn_baskets(data, use);
	for (int b = 0; b < data->n_baskets; b++)
		meet_all(gathering, b, baskets.ids + baskets.starts[b],
				 baskets.starts[b + 1] - baskets.starts[b]);
	pfree(use);
}

static uint64
key_of(const Gathering *gathering, int i)
{
	const Pair *pair = gathering->as_sets ? NULL : &gathering->pairs[i];

	if (pair == NULL)
		return hash_bytes_extended((const unsigned char *) gathering->sets[i].texts,
								   gathering->sets[i].n * (int) sizeof(int32), 0);
	return (uint64) Min(pair->first, pair->second) << 32 | (uint64) Max(pair->first, pair->second);
}

static bool
is_for_validation(const Gathering *gathering, int i)
{
	return gathering->as_sets ? gathering->sets[i].validates : gathering->pairs[i].validates;
}

static HTAB *
create_met(int64 expected)
{
	HASHCTL control = {.keysize = sizeof(uint64),
					   .entrysize = sizeof(Met),
					   .hcxt = CurrentMemoryContext};

	return hash_create("pairs", expected, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Leaves of what is for validation each once, and only what training does not see. */
static int
remove_known(Gathering *gathering)
{
	HTAB *met = create_met(gathering->n);
	int kept = 0, distinct;
	bool found;

	for (int i = 0; i < gathering->n; i++)
		if (!is_for_validation(gathering, i))
		{
			uint64 key = key_of(gathering, i);

			hash_search(met, &key, HASH_ENTER, NULL);
		}
	distinct = (int) hash_get_num_entries(met);
	for (int i = 0; i < gathering->n; i++)
	{
		uint64 key = key_of(gathering, i);

		found = false;
		if (is_for_validation(gathering, i))
			hash_search(met, &key, HASH_ENTER, &found);
		if (found)
			continue;
		if (gathering->as_sets)
			gathering->sets[kept] = gathering->sets[i];
		else
			gathering->pairs[kept] = gathering->pairs[i];
		kept++;
	}
	gathering->n = kept;
	hash_destroy(met);
	return distinct;
}

/* returns how many different pairs or sets training sees */
static int
gather(Gathering *gathering, bool bundles)
{
	gathering->bundles = bundles;
	gathering->met = 0;
	gathering->n = 0;
	br_base_random_init(&gathering->draw, gathering->seed, STREAM_DRAW);
	split_sessions(gathering);
	if (bundles)
		meet_bundles(gathering);
	else
		meet_baskets(gathering);
	gathering->counts.source = bundles ? "bundles" : "baskets";
	gathering->counts.met = gathering->met;
	return remove_known(gathering);
}

/* ---- all of it ---- */

static void
write_sets(const Gathering *gathering, BrPgTrainExamples *examples)
{
	for (int i = 0; i < gathering->n; i++)
		for (int j = 0; j < gathering->sets[i].n; j++)
			br_pg_train_examples_add(examples,
									 &(BrPgTrainExample){.first = gathering->sets[i].texts[j],
														 .second = -1,
														 .third = -1,
														 .document = i},
									 gathering->sets[i].validates);
}

static void
write_examples(const Gathering *gathering, BrPgTrainExamples *examples)
{
	BrRandom random;

	br_base_random_init(&random, gathering->seed, STREAM_DIRECTION);
	for (int i = 0; i < gathering->n; i++)
	{
		const Pair *pair = &gathering->pairs[i];
		bool turned = (br_base_random_u32(&random) & 1) != 0;

		br_pg_train_examples_add(examples,
								 &(BrPgTrainExample){.first = turned ? pair->second : pair->first,
													 .second = turned ? pair->first : pair->second,
													 .third = -1},
								 pair->validates);
	}
}

static void
refuse_few(const Gathering *gathering, int distinct)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("there is too little to learn from"),
			 errdetail("%d different %s of different texts are known from the %s of %lld sessions;"
					   " it takes two. %lld later sessions are held out.",
					   distinct, gathering->as_sets ? "sets" : "pairs", gathering->counts.source,
					   (long long) gathering->counts.sessions,
					   (long long) gathering->counts.held_out),
			 errhint(
				 "Refresh the catalog when more was bought, lower the parameter holdout, or give"
				 " a query.")));
}

BrPgTrainCounts
br_pg_train_pairs(const BrPgTrainPlan *plan, const BrPgLearnData *data, BrPgTrainTexts *texts,
				  BrPgTrainExamples *examples)
{
	const BrPgTrainChoice *choice = &plan->choice;
	Gathering gathering = {.data = data,
						   .choice = choice,
						   .seed = (uint64) plan->options.seed,
						   .as_sets = plan->shape == BR_PG_TRAIN_SETS};
	int distinct = 0;

	gathering.n_units = data->n_baskets + data->n_users + 1;
	gathering.at = palloc_extended(sizeof(double) * gathering.n_units, MCXT_ALLOC_HUGE);
	gathering.present = palloc_extended(sizeof(bool) * gathering.n_units, MCXT_ALLOC_HUGE);
	gathering.learned = palloc_extended(sizeof(bool) * gathering.n_units, MCXT_ALLOC_HUGE);
	gathering.validates = palloc_extended(sizeof(bool) * gathering.n_units, MCXT_ALLOC_HUGE);
	if (gathering.as_sets)
		gathering.sets = palloc_extended(sizeof(Set) * choice->pairs, MCXT_ALLOC_HUGE);
	else
		gathering.pairs = palloc_extended(sizeof(Pair) * choice->pairs, MCXT_ALLOC_HUGE);
	gathering.texts = palloc_extended(sizeof(int32) * Max(data->n_items, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < data->n_items; i++)
		gathering.texts[i] =
			data->items[i].text == NULL ? -1 : br_pg_train_texts_add(texts, data->items[i].text);
	if (choice->source != BR_PG_TRAIN_BASKETS)
		distinct = gather(&gathering, true);
	if (choice->source == BR_PG_TRAIN_BASKETS ||
		(choice->source == BR_PG_TRAIN_AUTO && distinct < 2))
		distinct = gather(&gathering, false);
	if (distinct < 2)
		refuse_few(&gathering, distinct);
	if (gathering.as_sets)
		write_sets(&gathering, examples);
	else
		write_examples(&gathering, examples);
	return gathering.counts;
}
