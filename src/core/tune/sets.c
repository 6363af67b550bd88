/*
 * sets.c
 *	  Fine-tuning by completion of sets, such as bundles and baskets.
 *
 * An example is a whole set, so a batch has as many texts as its sets have
 * members. Validation asks what completion asks: which text the mean of the
 * other members is nearest to.
 */
#include <string.h>

#include "core/tune/validate_int.h"

/* Members whose scores are one product. */
#define BLOCK 64

int
br_tune_set_size(const BrTune *tune, int32_t set)
{
	return tune->data.sets[set + 1] - tune->data.sets[set];
}

static const int32_t *
members_of(const BrTune *tune, int32_t set)
{
	return tune->data.members + tune->data.sets[set];
}

/* ---- data ---- */

static BrStatus
check_set(const BrTune *tune, int i)
{
	const BrTuneData *data = &tune->data;
	int64_t size = (int64_t) data->sets[i + 1] - data->sets[i];

	if (size < 2)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"Set %d has %lld members; it must have at least 2.", i,
							(long long) size);
	for (int32_t j = data->sets[i]; j < data->sets[i + 1]; j++)
		if (data->members[j] < 0 || data->members[j] >= data->n_texts)
			return br_base_fail(tune->context, BR_ERR_ARGUMENT,
								"Set %d has the text %d; there are 0 to %d.", i, data->members[j],
								data->n_texts - 1);
	return BR_OK;
}

BrStatus
br_tune_check_sets(BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	BrStatus status = BR_OK;

	if (data->sets == NULL || data->members == NULL || data->sets[0] != 0)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"There are no sets, or they do not begin at member 0.");
	for (int i = 0; i < data->n_examples && status == BR_OK; i++)
		status = check_set(tune, i);
	return status;
}

size_t
br_tune_count_set_pairs(const BrTune *tune)
{
	size_t n = 0;

	for (int i = 0; i < tune->n_training; i++)
	{
		size_t size = (size_t) br_tune_set_size(tune, i);

		n += size * (size - 1) / 2;
	}
	return n;
}

void
br_tune_list_set_pairs(const BrTune *tune, uint64_t *pairs)
{
	for (int i = 0; i < tune->n_training; i++)
	{
		const int32_t *members = members_of(tune, i);
		int size = br_tune_set_size(tune, i);

		for (int j = 0; j < size; j++)
			for (int k = j + 1; k < size; k++)
				*pairs++ = br_tune_pair(tune, members[j], members[k]);
	}
}

/* ---- batches ---- */

static BrStatus
exclude(const BrTune *tune, BrTuneBatch *batch)
{
	size_t n = (size_t) batch->n_texts;

	batch->excluded = br_base_alloc_array(tune->context, n, n);
	if (batch->excluded == NULL)
		return BR_ERR_MEMORY;
	for (size_t i = 0; i < n; i++)
		for (size_t c = 0; c < n && tune->options.no_false_negatives; c++)
			batch->excluded[i * n + c] = batch->sets[i] != batch->sets[c] &&
				br_tune_goes_with(tune, batch->texts[i], batch->texts[c]);
	return BR_OK;
}

BrStatus
br_tune_place_sets(const BrTune *tune, const int32_t *numbers, BrTuneBatch *batch)
{
	int n = 0;

	batch->sets = br_base_alloc_array(tune->context, (size_t) batch->n_texts, sizeof(int32_t));
	if (batch->sets == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < batch->n; i++)
		for (int j = 0; j < br_tune_set_size(tune, numbers[i]); j++)
		{
			batch->texts[n] = members_of(tune, numbers[i])[j];
			batch->sets[n++] = i;
		}
	return exclude(tune, batch);
}

/* ---- validation ---- */

/* A member that the others of its set ask for. */
typedef struct Question
{
	int32_t set;
	int32_t member; /* its place among the members of the set */
} Question;

typedef struct Asking
{
	const BrTuneTable *table;
	Question *questions; /* (n) */
	int n;
	BrReal *means;	/* (BLOCK, dim): sums of the other members */
	BrReal *scores; /* (BLOCK, texts of the table) */
	int32_t *asked; /* (texts of the table): by which question, from 1, its set has it */
} Asking;

static void
sum_others(const BrTune *tune, const Asking *asking, Question question, BrReal *sum)
{
	const int32_t *members = members_of(tune, question.set);

	memset(sum, 0, (size_t) tune->dim * sizeof(BrReal));
	for (int32_t j = 0; j < br_tune_set_size(tune, question.set); j++)
	{
		const BrReal *row = asking->table->rows +
			(size_t) asking->table->place[tune->texts.same[members[j]]] * (size_t) tune->dim;

		for (int d = 0; d < tune->dim && j != question.member; d++)
			sum[d] += row[d];
	}
}

/* 1 / rank among the texts that the set does not have; half of who is as near counts. */
static double
reciprocal_rank(const BrTune *tune, Asking *asking, int number, const BrReal *scores)
{
	Question question = asking->questions[number];
	const int32_t *members = members_of(tune, question.set);
	int32_t own = asking->table->place[tune->texts.same[members[question.member]]];
	double nearer = 0;

	for (int32_t j = 0; j < br_tune_set_size(tune, question.set); j++)
		asking->asked[asking->table->place[tune->texts.same[members[j]]]] = number + 1;
	for (int i = 0; i < asking->table->n; i++)
		if (asking->asked[i] != number + 1 && scores[i] >= scores[own])
			nearer += scores[i] > scores[own] ? 1 : 0.5;
	return 1 / (1 + nearer);
}

static BrStatus
ask_all(const BrTune *tune, Asking *asking, double *figure)
{
	const BrTuneTable *table = asking->table;
	double sum = 0;

	for (int first = 0; first < asking->n; first += BLOCK)
	{
		int n = asking->n - first < BLOCK ? asking->n - first : BLOCK;

		if (br_base_cancelled(tune->context))
			return br_base_fail(tune->context, BR_ERR_CANCELLED,
								"Cancelled while ranking texts of validation.");
		for (int i = 0; i < n; i++)
			sum_others(tune, asking, asking->questions[first + i],
					   asking->means + (size_t) i * (size_t) tune->dim);
		tune->compute.backend->multiply_transposed(asking->means, table->rows, n, table->n,
												   tune->dim, asking->scores);
		for (int i = 0; i < n; i++)
			sum += reciprocal_rank(tune, asking, first + i,
								   asking->scores + (size_t) i * (size_t) table->n);
	}
	*figure = sum / asking->n;
	return BR_OK;
}

BrStatus
br_tune_rank_members(const BrTune *tune, const BrTuneTable *table, double *figure)
{
	BrContext *context = tune->context;
	const int32_t *sets = tune->data.sets + tune->n_training;
	Asking asking = {
		.table = table,
		.questions = br_base_alloc_array(context, (size_t) (sets[tune->n_validation] - sets[0]),
										 sizeof(Question)),
		.means = br_base_alloc_array(context, BLOCK, (size_t) tune->dim * sizeof(BrReal)),
		.scores = br_base_alloc_array(context, (size_t) table->n, BLOCK * sizeof(BrReal)),
		.asked = br_base_alloc_array(context, (size_t) table->n, sizeof(int32_t)),
	};
	BrStatus status = BR_ERR_MEMORY;

	if (asking.questions != NULL && asking.means != NULL && asking.scores != NULL &&
		asking.asked != NULL)
	{
		for (int i = 0; i < tune->n_validation; i++)
			for (int32_t j = 0; j < br_tune_set_size(tune, tune->n_training + i); j++)
				asking.questions[asking.n++] = (Question){tune->n_training + i, j};
		status = ask_all(tune, &asking, figure);
	}
	br_base_free(context, asking.questions);
	br_base_free(context, asking.means);
	br_base_free(context, asking.scores);
	br_base_free(context, asking.asked);
	return status;
}
