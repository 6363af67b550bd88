/*
 * order.c
 *	  In which order an epoch takes its examples.
 *
 * Each epoch has a permutation of its own, by seed and epoch alone. In a
 * contrastive batch a text that is there twice is a negative of nothing it
 * should be, so a batch is filled from those who wait, in the order of the
 * permutation, passing over who has a text with one already in. It looks
 * at the first of them only, a number of batches full; when they do not do, the
 * first in line are taken all the same.
 */
#include <string.h>

#include "core/tune/tune_int.h"

/* Of so many times a batch's size the first who wait are looked at. */
#define LOOK_AHEAD 16

void
br_tune_find_batch(const BrTune *tune, int64_t number, int *first, int *n)
{
	int64_t end = tune->n_training * (number + 1) / tune->steps_of_epoch;

	*first = (int) (tune->n_training * number / tune->steps_of_epoch);
	*n = (int) end - *first;
}

static void
shuffle(const BrTune *tune, int64_t epoch, int32_t *order)
{
	BrRandom random;

	br_base_random_init(&random, (uint64_t) tune->options.seed ^ BR_TUNE_DRAW_ORDER,
						(uint64_t) epoch);
	for (int i = 0; i < tune->n_training; i++)
		order[i] = i;
	for (int i = tune->n_training - 1; i > 0; i--)
	{
		int other = (int) br_base_random_below(&random, (uint32_t) i + 1);
		int32_t kept = order[i];

		order[i] = order[other];
		order[other] = kept;
	}
}

/* Who waits, as a list through the permutation. */
typedef struct Waiting
{
	const int32_t *shuffled; /* (n) */
	int32_t *next;			 /* (n + 1): behind whom; the head of the list is at n */
	int32_t *seen;			 /* (texts): the last batch that has a text */
} Waiting;

static bool
is_there(const BrTune *tune, const Waiting *waiting, int32_t example, int batch)
{
	const BrTuneExample *texts = &tune->data.examples[example];
	const int32_t *same = tune->texts.same;

	return waiting->seen[same[texts->first]] == batch ||
		waiting->seen[same[texts->second]] == batch;
}

/* Fills one batch; returns how many of n it got. */
static int
fill_batch(BrTune *tune, Waiting *waiting, int batch, int n, bool all, int32_t *taken)
{
	int32_t before = tune->n_training;
	int got = 0;

	for (int looked = 0; got < n && (all || looked < LOOK_AHEAD * n); looked++)
	{
		int32_t place = waiting->next[before];
		int32_t example;

		if (place == tune->n_training)
			break;
		example = waiting->shuffled[place];
		if (!all && is_there(tune, waiting, example, batch))
		{
			before = place;
			continue;
		}
		waiting->seen[tune->texts.same[tune->data.examples[example].first]] = batch;
		waiting->seen[tune->texts.same[tune->data.examples[example].second]] = batch;
		waiting->next[before] = waiting->next[place];
		taken[got++] = example;
	}
	return got;
}

static void
spread(BrTune *tune, Waiting *waiting)
{
	for (int i = 0; i < tune->n_training; i++)
		waiting->next[i] = i + 1;
	waiting->next[tune->n_training] = 0;
	for (int i = 0; i < tune->texts.n; i++)
		waiting->seen[i] = -1;
	for (int batch = 0; batch < tune->steps_of_epoch; batch++)
	{
		int first;
		int n;
		int got;

		br_tune_find_batch(tune, batch, &first, &n);
		got = fill_batch(tune, waiting, batch, n, false, tune->order + first);
		(void) fill_batch(tune, waiting, batch, n - got, true, tune->order + first + got);
	}
}

/* Sentences have other partners in each epoch. */
static BrStatus
draw_sentences(BrTune *tune, int64_t epoch)
{
	int n;

	return br_train_draw_next(tune->context, tune->data.documents,
							  tune->data.n_texts - tune->data.n_validation,
							  (uint64_t) tune->options.seed ^ BR_TUNE_DRAW_SENTENCES,
							  (uint64_t) epoch, tune->sentences, &n);
}

BrStatus
br_tune_plan_epoch(BrTune *tune, int64_t epoch)
{
	BrContext *context = tune->context;
	size_t n = (size_t) tune->n_training;
	Waiting waiting = {NULL, NULL, NULL};
	BrStatus status = BR_OK;

	if (tune->planned_epoch == epoch)
		return BR_OK;
	tune->planned_epoch = -1;
	if (tune->options.objective == BR_TUNE_CONTRASTIVE)
	{
		int32_t *shuffled = br_base_alloc_array(context, n, sizeof(int32_t));

		waiting.shuffled = shuffled;
		waiting.next = br_base_alloc_array(context, n + 1, sizeof(int32_t));
		waiting.seen = br_base_alloc_array(context, (size_t) tune->texts.n, sizeof(int32_t));
		if (shuffled == NULL || waiting.next == NULL || waiting.seen == NULL)
			status = BR_ERR_MEMORY;
		else
		{
			shuffle(tune, epoch, shuffled);
			spread(tune, &waiting);
		}
		br_base_free(context, shuffled);
		br_base_free(context, waiting.next);
		br_base_free(context, waiting.seen);
	}
	else
		shuffle(tune, epoch, tune->order);
	if (status == BR_OK && tune->options.objective == BR_TUNE_NEXT_SENTENCE)
		status = draw_sentences(tune, epoch);
	if (status == BR_OK)
		tune->planned_epoch = epoch;
	return status;
}
