/*
 * mine.c
 *	  Embeddings without learning, and hard negatives by them.
 *
 * All different texts are embedded by the model as it is, and cosines of a block
 * of anchors with all of them are one product of unit vectors. Of each anchor a
 * heap keeps the best so far, of which then the ranks in question are
 * drawn from. Equal cosines stand in the order of their texts, so ranks are exact.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/tune/tune_int.h"

#define BLOCK 64
#define SMALLEST_LENGTH 1e-12

BrStatus
br_tune_read(BrTune *tune, const int32_t *texts, int n, BrReal *embeddings)
{
	const BrTuneTexts *all = &tune->texts;
	BrContext *context = tune->context;
	int32_t *offsets = br_base_alloc_array(context, (size_t) n + 1, sizeof(int32_t));
	int32_t *ids = NULL;
	BrStatus status = BR_ERR_MEMORY;

	for (int i = 0; offsets != NULL && i < n; i++)
		offsets[i + 1] = offsets[i] + all->offsets[texts[i] + 1] - all->offsets[texts[i]];
	if (offsets != NULL)
		ids = br_base_alloc_array(context, (size_t) offsets[n] + 1, sizeof(int32_t));
	if (ids != NULL)
	{
		BrTrainBatch batch = {ids, offsets, n, NULL};

		for (int i = 0; i < n; i++)
			memcpy(ids + offsets[i], all->ids + all->offsets[texts[i]],
				   (size_t) (offsets[i + 1] - offsets[i]) * sizeof(int32_t));
		status = br_train_read(tune->run, &batch, BR_TUNE_READ_TOKENS, embeddings);
	}
	br_base_free(context, offsets);
	br_base_free(context, ids);
	return status;
}

void
br_tune_make_units(BrReal *rows, int n, int dim)
{
	for (int i = 0; i < n; i++)
	{
		BrReal *row = rows + (size_t) i * (size_t) dim;
		double sum = 0;

		for (int j = 0; j < dim; j++)
			sum += (double) row[j] * (double) row[j];
		for (int j = 0; j < dim; j++)
			row[j] = (BrReal) ((double) row[j] / fmax(sqrt(sum), SMALLEST_LENGTH));
	}
}

/* ---- ranks ---- */

/* A text that may be a negative, and how near it is. */
typedef struct Candidate
{
	float cosine;
	int32_t text;
} Candidate;

/* The memory of one mining. */
typedef struct Mining
{
	int32_t *distinct;	/* (n_distinct): texts, ascending */
	int32_t *place;		/* (texts): of the first of the same ids, in distinct */
	BrReal *units;		/* (n_distinct, dim) */
	BrReal *anchors;	/* (BLOCK, dim) */
	BrReal *cosines;	/* (BLOCK, n_distinct) */
	Candidate *nearest; /* (most): a heap, the farthest on top */
	int32_t *negatives; /* (n_training, options.negatives) */
	int n_distinct;
	int most; /* candidates of an anchor that are kept */
	int n;	  /* and how many there are */
} Mining;

/* Whether left has the better rank. */
static bool
is_nearer(Candidate left, Candidate right)
{
	return left.cosine > right.cosine || (left.cosine == right.cosine && left.text < right.text);
}

static void
sink(Candidate *heap, int n, Candidate candidate)
{
	int at = 0;

	for (int child = 1; child < n; child = 2 * at + 1)
	{
		if (child + 1 < n && is_nearer(heap[child], heap[child + 1]))
			child++;
		if (!is_nearer(candidate, heap[child]))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = candidate;
}

static void
keep_candidate(Mining *mining, Candidate candidate)
{
	int at = mining->n;

	if (mining->n == mining->most)
	{
		if (is_nearer(candidate, mining->nearest[0]))
			sink(mining->nearest, mining->n, candidate);
		return;
	}
	for (mining->n++; at > 0 && is_nearer(mining->nearest[(at - 1) / 2], candidate);
		 at = (at - 1) / 2)
		mining->nearest[at] = mining->nearest[(at - 1) / 2];
	mining->nearest[at] = candidate;
}

static int
compare_candidates(const void *left, const void *right)
{
	return is_nearer(*(const Candidate *) left, *(const Candidate *) right) ? -1 : 1;
}

/* Draws from the ranks asked for without putting back; where too few are there, -1 stands. */
static void
draw_negatives(const BrTune *tune, Mining *mining, int64_t epoch, int example)
{
	int count = tune->options.negatives;
	int32_t *to = mining->negatives + (size_t) example * (size_t) count;
	int first = tune->options.negatives_from - 1;
	BrRandom random;

	br_base_random_init(&random, (uint64_t) tune->options.seed ^ BR_TUNE_DRAW_NEGATIVES,
						(uint64_t) epoch << 32 | (uint32_t) example);
	for (int i = 0; i < count; i++, first++)
	{
		int other;

		to[i] = -1;
		if (first >= mining->n)
			continue;
		other = first + (int) br_base_random_below(&random, (uint32_t) (mining->n - first));
		to[i] = mining->nearest[other].text;
		mining->nearest[other] = mining->nearest[first];
	}
}

static void
rank_example(BrTune *tune, Mining *mining, int64_t epoch, int example, const BrReal *cosines)
{
	int32_t anchor = tune->data.examples[example].first;

	mining->n = 0;
	for (int i = 0; i < mining->n_distinct; i++)
	{
		Candidate candidate = {cosines[i], mining->distinct[i]};

		/* most texts are too far, which is asked sooner than what an anchor goes with */
		if (mining->n == mining->most && !is_nearer(candidate, mining->nearest[0]))
			continue;
		if (!br_tune_goes_with(tune, anchor, candidate.text))
			keep_candidate(mining, candidate);
	}
	qsort(mining->nearest, (size_t) mining->n, sizeof(Candidate), compare_candidates);
	draw_negatives(tune, mining, epoch, example);
}

static BrStatus
rank_all(BrTune *tune, Mining *mining, int64_t epoch)
{
	size_t row = (size_t) tune->dim;

	for (int first = 0; first < tune->n_training; first += BLOCK)
	{
		int n = tune->n_training - first < BLOCK ? tune->n_training - first : BLOCK;

		if (br_base_cancelled(tune->context))
			return br_base_fail(tune->context, BR_ERR_CANCELLED,
								"Cancelled while mining negatives of example %d.", first);
		for (int i = 0; i < n; i++)
		{
			int32_t anchor = tune->texts.same[tune->data.examples[first + i].first];

			memcpy(mining->anchors + (size_t) i * row,
				   mining->units + (size_t) mining->place[anchor] * row, row * sizeof(BrReal));
		}
		tune->compute.backend->multiply_transposed(mining->anchors, mining->units, n,
												   mining->n_distinct, tune->dim, mining->cosines);
		for (int i = 0; i < n; i++)
			rank_example(tune, mining, epoch, first + i,
						 mining->cosines + (size_t) i * (size_t) mining->n_distinct);
	}
	return BR_OK;
}

static BrStatus
mine_all(BrTune *tune, Mining *mining, int64_t epoch)
{
	BrStatus status;

	for (int32_t i = 0; i < tune->texts.n; i++)
		if (tune->texts.same[i] == i)
		{
			mining->place[i] = mining->n_distinct;
			mining->distinct[mining->n_distinct++] = i;
		}
	status = br_tune_read(tune, mining->distinct, mining->n_distinct, mining->units);
	if (status != BR_OK)
		return status;
	br_tune_make_units(mining->units, mining->n_distinct, tune->dim);
	status = rank_all(tune, mining, epoch);
	if (status == BR_OK)
	{
		memcpy(tune->negatives, mining->negatives,
			   (size_t) tune->n_training * (size_t) tune->options.negatives * sizeof(int32_t));
		tune->record.mined_epoch = epoch;
	}
	return status;
}

BrStatus
br_tune_mine(BrTune *tune, int64_t epoch)
{
	BrContext *context = tune->context;
	size_t n = (size_t) tune->texts.n;
	size_t dim = (size_t) tune->dim;
	Mining mining = {.most = tune->options.negatives_to};
	BrStatus status = BR_ERR_MEMORY;

	if (tune->options.negatives == 0 || tune->record.mined_epoch == epoch)
		return BR_OK;
	mining.most = mining.most < tune->texts.n ? mining.most : tune->texts.n;
	mining.distinct = br_base_alloc_array(context, 2 * n, sizeof(int32_t));
	mining.units = br_base_alloc_array(context, n, dim * sizeof(BrReal));
	mining.anchors = br_base_alloc_array(context, BLOCK, dim * sizeof(BrReal));
	mining.cosines = br_base_alloc_array(context, n, BLOCK * sizeof(BrReal));
	mining.nearest = br_base_alloc_array(context, (size_t) mining.most, sizeof(Candidate));
	mining.negatives =
		br_base_alloc_array(context, (size_t) tune->n_training * (size_t) tune->options.negatives,
							sizeof(int32_t));
	if (mining.distinct != NULL && mining.units != NULL && mining.anchors != NULL &&
		mining.cosines != NULL && mining.nearest != NULL && mining.negatives != NULL)
	{
		mining.place = mining.distinct + n;
		status = mine_all(tune, &mining, epoch);
	}
	br_base_free(context, mining.distinct);
	br_base_free(context, mining.units);
	br_base_free(context, mining.anchors);
	br_base_free(context, mining.cosines);
	br_base_free(context, mining.nearest);
	br_base_free(context, mining.negatives);
	return status;
}
