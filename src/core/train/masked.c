/*
 * masked.c
 *	  Guessing hidden words: which tokens, the head that guesses, its gradient.
 *
 * Only the states of chosen tokens go through the head. The scores of all words
 * are by far its largest matrix, so they are made for some of the tokens at a
 * time: every thread takes a part of the words for the products, and a part of
 * the tokens for softmax. The word table is the one that embeds tokens, so its
 * gradient gets both shares.
 */
#include "core/math/br_math.h"
#include "core/train/train_int.h"

/* Scores at a time, in numbers: 32 MiB in float. A test wants fewer. */
#ifndef BR_TRAIN_MOST_SCORES
#define BR_TRAIN_MOST_SCORES ((size_t) 8 << 20)
#endif

#define MASKED_SHARE 0.8
#define REPLACED_SHARE 0.9

/* The guesses of one batch. */
typedef struct BrTrainGuesses
{
	int32_t *ids;	 /* (tokens): the batch's with what hides them */
	int32_t *rows;	 /* (n): of the batch */
	int32_t *labels; /* (n): what stood there */
	int n;
	double part;	 /* of one guess in the loss */
	int most;		 /* rows of scores at a time */
	BrReal *states;	 /* (n, hidden) */
	BrReal *inner;	 /* (n, hidden): before the activation */
	BrReal *active;	 /* (n, hidden) */
	BrReal *guess;	 /* (n, hidden): the norm, which the word table reads */
	BrReal *moments; /* (n, 2) */
	BrReal *slopes;	 /* (n, hidden): of guess, then of inner */
	BrReal *lower;	 /* (n, hidden): slopes of the states */
	BrReal *scores;	 /* (most, vocabulary), then their slopes */
	double *losses;	 /* (n) */

	int first; /* row of the scores at work */
	int count;
} BrTrainGuesses;

/* ---- which tokens ---- */

static bool
is_kept(const BrTrainMasking *masking, int32_t id)
{
	for (int i = 0; i < masking->n_kept; i++)
		if (masking->kept[i] == id)
			return true;
	return false;
}

/* A stream that no dropout uses: it would be of a layer behind the last. */
static uint64_t
masking_stream(const BrModelShape *shape)
{
	return ((uint64_t) shape->layers * ((uint64_t) shape->heads + BR_SITE_HEADS)) << 32;
}

static void
choose_tokens(const BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
			  const BrTrainMasking *masking, BrTrainGuesses *guesses)
{
	for (int row = 0; row < batch->offsets[batch->texts]; row++)
	{
		int32_t id = batch->ids[row];
		BrRandom random;
		double fate;

		guesses->ids[row] = id;
		br_base_random_init(&random, br_train_key(run->options.seed, step),
							masking_stream(run->shape) + br_train_place(batch) + (uint64_t) row);
		if (br_base_random_uniform(&random) >= masking->share || is_kept(masking, id))
			continue;
		guesses->rows[guesses->n] = row;
		guesses->labels[guesses->n++] = id;
		fate = br_base_random_uniform(&random);
		if (fate < MASKED_SHARE)
			guesses->ids[row] = masking->mask_id;
		else if (fate < REPLACED_SHARE)
			guesses->ids[row] =
				(int32_t) br_base_random_below(&random, (uint32_t) run->shape->vocabulary);
	}
}

/* ---- the head ---- */

/* From the states of chosen tokens to what the word table reads. */
static void
prepare_guesses(BrTrainRun *run)
{
	const BrTrainModel *model = run->model;
	BrTrainGuesses *guesses = run->guesses;
	const BrReal *parameters = model->parameters;
	int hidden = run->shape->hidden;
	size_t width = (size_t) hidden;
	size_t n = (size_t) guesses->n * width;
	const BrReal *state = br_train_state(run, run->shape->layers);

	for (int i = 0; i < guesses->n; i++)
		memcpy(guesses->states + (size_t) i * width, state + (size_t) guesses->rows[i] * width,
			   width * sizeof(BrReal));
	br_train_dense(run->backend, &model->words_dense, parameters, guesses->states, guesses->n,
				   guesses->inner);
	memcpy(guesses->active, guesses->inner, n * sizeof(BrReal));
	br_train_activate(run->backend, guesses->active, n, run->shape->activation);
	br_train_norm(guesses->active, parameters + model->words_norm.gain,
				  parameters + model->words_norm.bias, (BrReal) run->shape->epsilon, guesses->n,
				  hidden, guesses->moments, guesses->guess);
}

/* The slopes of the states, from those of what the word table read. */
static void
lower_guesses(BrTrainRun *run)
{
	BrTrainModel *model = run->model;
	BrTrainGuesses *guesses = run->guesses;
	int hidden = run->shape->hidden;
	size_t width = (size_t) hidden;

	br_train_norm_slope(guesses->active, guesses->moments,
						model->parameters + model->words_norm.gain, guesses->n, hidden,
						model->gradient + model->words_norm.gain,
						model->gradient + model->words_norm.bias, guesses->slopes);
	br_train_activate_slope(run->backend, guesses->inner, (size_t) guesses->n * width,
							run->shape->activation, guesses->slopes);
	br_train_dense_weight(run->backend, &model->words_dense, guesses->states, guesses->slopes,
						  guesses->n, 0, hidden, model->gradient);
	br_train_dense_input(run->backend, &model->words_dense, model->parameters, guesses->slopes,
						 guesses->n, 0, guesses->lower);
	memset(run->slopes.state, 0, (size_t) run->tokens * width * sizeof(BrReal));
	for (int i = 0; i < guesses->n; i++)
		memcpy(run->slopes.state + (size_t) guesses->rows[i] * width,
			   guesses->lower + (size_t) i * width, width * sizeof(BrReal));
}

/* ---- the words ---- */

/* Scores of a part of the words, for all tokens at work. */
static BrStatus
score_words(BrTrainRun *run, int number)
{
	const BrTrainModel *model = run->model;
	const BrTrainGuesses *guesses = run->guesses;
	int vocabulary = run->shape->vocabulary;
	int hidden = run->shape->hidden;
	int first = br_train_part(run, vocabulary, number);
	int last = br_train_part(run, vocabulary, number + 1);
	const BrReal *words =
		model->parameters + run->shape->map.word + (size_t) first * (size_t) hidden;
	BrTrainFactor left = {guesses->guess + (size_t) guesses->first * (size_t) hidden, hidden,
						  false};

	for (int i = 0; i < guesses->count; i++)
		memcpy(guesses->scores + (size_t) i * (size_t) vocabulary + first,
			   model->parameters + model->words_bias + first,
			   (size_t) (last - first) * sizeof(BrReal));
	br_train_multiply(run->backend, left, (BrTrainFactor){words, hidden, true}, guesses->count,
					  last - first, hidden, 1, 1, vocabulary, guesses->scores + first);
	return br_train_stopped(run, number);
}

/* Cross-entropies of a part of the tokens; scores become their slopes. */
static BrStatus
judge_tokens(BrTrainRun *run, int number)
{
	BrTrainGuesses *guesses = run->guesses;
	int vocabulary = run->shape->vocabulary;
	int last = br_train_part(run, guesses->count, number + 1);

	for (int i = br_train_part(run, guesses->count, number); i < last; i++)
	{
		BrReal *scores = guesses->scores + (size_t) i * (size_t) vocabulary;
		int32_t label = guesses->labels[guesses->first + i];
		double own = (double) scores[label];
		double largest = -INFINITY;
		double total = 0;

		for (int j = 0; j < vocabulary; j++)
			largest = (double) scores[j] > largest ? (double) scores[j] : largest;
		for (int j = 0; j < vocabulary; j++)
			total += br_math_exp((double) scores[j] - largest);
		guesses->losses[guesses->first + i] = largest + br_math_log(total) - own;
		br_train_softmax(run->backend, scores, 1, vocabulary, vocabulary);
		scores[label] -= 1;
		for (int j = 0; j < vocabulary; j++)
			scores[j] *= (BrReal) guesses->part;
	}
	return br_train_stopped(run, number);
}

/* The gradient of a part of the words, and a part of the slopes of what they read. */
static BrStatus
lower_words(BrTrainRun *run, int number)
{
	BrTrainModel *model = run->model;
	BrTrainGuesses *guesses = run->guesses;
	int vocabulary = run->shape->vocabulary;
	int hidden = run->shape->hidden;
	int first = br_train_part(run, vocabulary, number);
	int last = br_train_part(run, vocabulary, number + 1);
	int first_token = br_train_part(run, guesses->count, number);
	int tokens = br_train_part(run, guesses->count, number + 1) - first_token;
	size_t at = (size_t) guesses->first * (size_t) hidden;
	BrTrainFactor slopes = {guesses->scores + first, vocabulary, true};
	BrTrainFactor own = {guesses->scores + (size_t) first_token * (size_t) vocabulary, vocabulary,
						 false};

	if (model->delta == NULL)
		br_train_multiply(run->backend, slopes, (BrTrainFactor){guesses->guess + at, hidden, false},
						  last - first, hidden, guesses->count, 1, 1, hidden,
						  model->gradient + run->shape->map.word +
							  (size_t) first * (size_t) hidden);
	for (int i = 0; i < guesses->count; i++)
		br_train_add(model->gradient + model->words_bias + first,
					 guesses->scores + (size_t) i * (size_t) vocabulary + first, last - first);
	br_train_multiply(run->backend, own,
					  (BrTrainFactor){model->parameters + run->shape->map.word, hidden, false},
					  tokens, hidden, vocabulary, 1, 0, hidden,
					  guesses->slopes + at + (size_t) first_token * (size_t) hidden);
	return br_train_stopped(run, number);
}

/* All chosen tokens, some at a time; the mean of their losses. */
static BrStatus
guess_words(BrTrainRun *run, double *value)
{
	BrTrainGuesses *guesses = run->guesses;
	BrStatus status = BR_OK;

	prepare_guesses(run);
	for (int first = 0; first < guesses->n && status == BR_OK; first += guesses->most)
	{
		guesses->first = first;
		guesses->count = guesses->n - first < guesses->most ? guesses->n - first : guesses->most;
		status = br_train_run_all(run, score_words);
		if (status == BR_OK)
			status = br_train_run_all(run, judge_tokens);
		if (status == BR_OK)
			status = br_train_run_all(run, lower_words);
	}
	for (int i = 0; i < guesses->n && status == BR_OK; i++)
		*value += guesses->losses[i] * guesses->part;
	if (status == BR_OK && !isfinite(*value))
		status = br_base_fail(run->context, BR_ERR_NUMERIC, "The loss of %d guesses is %g.",
							  guesses->n, *value);
	return status;
}

/* ---- the whole ---- */

static BrStatus
check_masking(BrContext *context, const BrTrainModel *model, const BrTrainMasking *masking)
{
	if (!model->head.words)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The model has no head that guesses words.");
	if (!(masking->share > 0 && masking->share <= 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The share of guessed tokens, %g, is not in (0, 1].", masking->share);
	if (masking->mask_id < 0 || masking->mask_id >= model->shape.vocabulary)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The mask has the id %d; the model has 0 to %d.", masking->mask_id,
							model->shape.vocabulary - 1);
	return BR_OK;
}

/* Memory of the choice, before it is known how many tokens are chosen. */
static BrStatus
open_choice(BrContext *context, int tokens, BrTrainGuesses *guesses)
{
	guesses->ids = br_base_alloc_array(context, (size_t) tokens, 3 * sizeof(int32_t));
	if (guesses->ids == NULL)
		return BR_ERR_MEMORY;
	guesses->rows = guesses->ids + tokens;
	guesses->labels = guesses->rows + tokens;
	return BR_OK;
}

/* Memory of the head for the tokens that were chosen. */
static BrStatus
open_head(BrContext *context, const BrModelShape *shape, BrTrainGuesses *guesses)
{
	size_t n = (size_t) guesses->n;
	size_t size = n * (size_t) shape->hidden;
	size_t most = BR_TRAIN_MOST_SCORES / (size_t) shape->vocabulary;

	most = most < 1 ? 1 : most < n ? most : n;
	guesses->most = (int) most;
	guesses->states = br_base_alloc_array(context, 6 * size + 2 * n, sizeof(BrReal));
	guesses->scores =
		br_base_alloc_array(context, most * (size_t) shape->vocabulary, sizeof(BrReal));
	guesses->losses = br_base_alloc_array(context, n, sizeof(double));
	if (guesses->states == NULL || guesses->scores == NULL || guesses->losses == NULL)
		return BR_ERR_MEMORY;
	guesses->inner = guesses->states + size;
	guesses->active = guesses->inner + size;
	guesses->guess = guesses->active + size;
	guesses->slopes = guesses->guess + size;
	guesses->lower = guesses->slopes + size;
	guesses->moments = guesses->lower + size;
	return BR_OK;
}

static BrStatus
run_guesses(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step, double *value)
{
	BrTrainGuesses *guesses = run->guesses;
	const BrTrainBatch hidden = {guesses->ids, batch->offsets, batch->texts, batch->share};
	BrStatus status = br_train_device_refuse(run, "masked words");

	if (status == BR_OK)
		status = open_head(run->context, run->shape, guesses);
	if (status == BR_OK)
		status = br_train_plan(run, &hidden);
	if (status == BR_OK)
		status = br_train_forward(run, step, br_train_place(batch));
	if (status == BR_OK)
		status = guess_words(run, value);
	if (status != BR_OK)
		return status;
	lower_guesses(run);
	return br_train_backward(run);
}

/* Checks all, chooses, and tells how many. */
static BrStatus
open_guesses(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
			 const BrTrainMasking *masking, BrTrainGuesses *guesses, int *guessed)
{
	BrContext *context = run->context;
	BrStatus status = check_masking(context, run->model, masking);

	*guessed = 0;
	if (status == BR_OK)
		status = br_train_check_batch(context, run->shape, batch);
	if (status == BR_OK)
		status = open_choice(context, batch->offsets[batch->texts], guesses);
	if (status != BR_OK)
		return status;
	choose_tokens(run, batch, step, masking, guesses);
	*guessed = guesses->n;
	return BR_OK;
}

BrStatus
br_train_count_masked(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
					  const BrTrainMasking *masking, int *guessed)
{
	BrTrainGuesses guesses = {.n = 0};
	BrStatus status = open_guesses(run, batch, step, masking, &guesses, guessed);

	br_base_free(run->context, guesses.ids);
	return status;
}

BrStatus
br_train_accumulate_masked(BrTrainRun *run, const BrTrainBatch *batch, uint64_t step,
						   const BrTrainMasking *masking, double *value, int *guessed)
{
	BrContext *context = run->context;
	BrTrainGuesses guesses = {.n = 0};
	BrStatus status = open_guesses(run, batch, step, masking, &guesses, guessed);

	*value = 0;
	if (status == BR_OK)
	{
		run->guesses = &guesses;
		if (guesses.n > 0)
		{
			guesses.part = br_train_weight(batch) / guesses.n;
			status = run_guesses(run, batch, step, value);
		}
		run->guesses = NULL;
		run->pending = false;
	}
	br_base_free(context, guesses.ids);
	br_base_free(context, guesses.states);
	br_base_free(context, guesses.scores);
	br_base_free(context, guesses.losses);
	return status;
}
