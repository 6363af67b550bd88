/*
 * batch.c
 *	  From examples to a batch of texts and the loss that asks about it.
 *
 * Training and validation ask the same losses of the same layout: all first
 * texts, then all second ones, then whatever is to be far. An anchor that has
 * fewer hard negatives than others gets its own partner in their place, which no
 * anchor counts.
 */
#include <string.h>

#include "core/tune/tune_int.h"

#define NO_TEXT (-1)

static int
count_texts(const BrTune *tune, const int32_t *examples, int n, int negatives)
{
	BrTuneObjective objective = tune->options.objective;
	int members = 0;

	if (objective == BR_TUNE_SETS)
	{
		for (int i = 0; i < n; i++)
			members += br_tune_set_size(tune, examples[i]);
		return members;
	}
	if (objective == BR_TUNE_TRIPLET)
		return 3 * n;
	return n * (br_tune_has_pairs(objective) ? 2 + negatives : 1);
}

/* Hard negative number which of an example: what the data give, then what was mined; or none. */
static int32_t
find_negative(const BrTune *tune, int32_t example, int which)
{
	int mined = tune->options.negatives;

	if (which < tune->n_given)
		return tune->data.examples[example].third;
	return tune->negatives[(size_t) example * (size_t) mined + (size_t) (which - tune->n_given)];
}

static void
place_texts(const BrTune *tune, const int32_t *numbers, BrTuneBatch *batch)
{
	bool pairs = br_tune_has_pairs(tune->options.objective);
	bool third = tune->options.objective == BR_TUNE_TRIPLET;
	int n = batch->n;

	for (int i = 0; i < n; i++)
	{
		const BrTuneExample *example = &tune->data.examples[numbers[i]];

		batch->texts[i] = example->first;
		if (pairs)
			batch->texts[n + i] = example->second;
		if (third)
			batch->texts[2 * n + i] = example->third;
		for (int j = 0; j < batch->n_negatives; j++)
		{
			int32_t text = find_negative(tune, numbers[i], j);

			batch->texts[2 * n + i * batch->n_negatives + j] =
				text == NO_TEXT ? example->second : text;
		}
	}
}

static BrStatus
exclude(const BrTune *tune, const int32_t *numbers, BrTuneBatch *batch)
{
	int n = batch->n;
	int m = n + n * batch->n_negatives;

	batch->excluded = br_base_alloc_array(tune->context, (size_t) n, (size_t) m);
	if (batch->excluded == NULL)
		return BR_ERR_MEMORY;
	for (int c = 0; c < m; c++)
	{
		int hard = c - n;
		bool none = hard >= 0 &&
			find_negative(tune, numbers[hard / batch->n_negatives], hard % batch->n_negatives) ==
				NO_TEXT;

		for (int i = 0; i < n; i++)
			batch->excluded[(size_t) i * (size_t) m + (size_t) c] = none ||
				(tune->options.no_false_negatives && c != i &&
				 br_tune_goes_with(tune, batch->texts[i], batch->texts[n + c]));
	}
	return BR_OK;
}

/* ---- losses ---- */

static BrStatus
copy_labels(const BrTune *tune, const int32_t *numbers, BrTuneBatch *batch)
{
	batch->labels = br_base_alloc_array(tune->context, (size_t) batch->n, sizeof(int32_t));
	if (batch->labels == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < batch->n; i++)
		batch->labels[i] = tune->data.examples[numbers[i]].label;
	return BR_OK;
}

static BrStatus
copy_scores(const BrTune *tune, const int32_t *numbers, BrTuneBatch *batch)
{
	batch->targets = br_base_alloc_array(tune->context, (size_t) batch->n, sizeof(double));
	if (batch->targets == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < batch->n; i++)
		batch->targets[i] = (double) tune->data.examples[numbers[i]].score;
	return BR_OK;
}

static BrStatus
copy_teacher(const BrTune *tune, BrTuneBatch *batch)
{
	size_t row = (size_t) tune->data.teacher_dimensions;

	batch->teacher =
		br_base_alloc_array(tune->context, (size_t) batch->n_texts, row * sizeof(BrReal));
	if (batch->teacher == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < batch->n_texts; i++)
		memcpy(batch->teacher + (size_t) i * row,
			   tune->data.teacher + (size_t) batch->texts[i] * row, row * sizeof(BrReal));
	return BR_OK;
}

/* What a loss reads of the examples. */
static BrStatus
copy_targets(const BrTune *tune, const int32_t *numbers, BrTuneBatch *batch)
{
	switch (tune->options.objective)
	{
		case BR_TUNE_CONTRASTIVE:
			return exclude(tune, numbers, batch);
		case BR_TUNE_SCORE:
			return copy_scores(tune, numbers, batch);
		case BR_TUNE_TEXT_CLASSES:
		case BR_TUNE_PAIR_CLASSES:
			return copy_labels(tune, numbers, batch);
		case BR_TUNE_DISTILLATION:
			return copy_teacher(tune, batch);
		case BR_TUNE_TRIPLET:
		case BR_TUNE_MASKED_WORDS:
		case BR_TUNE_NEXT_SENTENCE:
		case BR_TUNE_SETS:
			break;
	}
	return BR_OK;
}

static void
choose_loss(const BrTune *tune, BrTuneBatch *batch)
{
	const BrTuneOptions *options = &tune->options;

	switch (options->objective)
	{
		case BR_TUNE_CONTRASTIVE:
			batch->contrastive = (BrTrainContrastive){
				.backend = tune->compute.backend,
				.temperature = options->temperature,
				.negatives = batch->n_negatives,
				.both_directions = options->both_directions,
				.smoothing = options->smoothing,
				.excluded = batch->excluded,
			};
			batch->loss = br_train_contrastive;
			batch->arg = &batch->contrastive;
			break;
		case BR_TUNE_SETS:
			batch->completion = (BrTrainSets){tune->compute.backend, options->temperature,
											  batch->sets, batch->excluded};
			batch->loss = br_train_sets;
			batch->arg = &batch->completion;
			break;
		case BR_TUNE_TRIPLET:
			batch->triplet = (BrTrainTriplet){options->margin, true};
			batch->loss = br_train_triplet;
			batch->arg = &batch->triplet;
			break;
		case BR_TUNE_SCORE:
			batch->cosine.targets = batch->targets;
			batch->loss = br_train_cosine;
			batch->arg = &batch->cosine;
			break;
		case BR_TUNE_TEXT_CLASSES:
		case BR_TUNE_PAIR_CLASSES:
		case BR_TUNE_NEXT_SENTENCE:
			batch->classes =
				(BrTrainClasses){tune->compute.backend, tune->model, batch->labels,
								 options->objective == BR_TUNE_PAIR_CLASSES, options->smoothing};
			batch->loss = br_train_classes;
			batch->arg = &batch->classes;
			break;
		case BR_TUNE_DISTILLATION:
			batch->distillation =
				(BrTrainDistillation){batch->teacher, tune->data.teacher_dimensions};
			batch->loss = br_train_distillation;
			batch->arg = &batch->distillation;
			break;
		case BR_TUNE_MASKED_WORDS:
			break;
	}
	if (options->n_matryoshka > 0)
	{
		batch->matryoshka = (BrTrainMatryoshka){batch->loss, batch->arg, options->matryoshka, NULL,
												options->n_matryoshka};
		batch->loss = br_train_matryoshka;
		batch->arg = &batch->matryoshka;
	}
}

/* ---- tokens ---- */

static BrStatus
copy_tokens(const BrTune *tune, BrTuneBatch *batch)
{
	const BrTuneTexts *texts = &tune->texts;
	BrContext *context = tune->context;
	int64_t tokens = 0;

	for (int i = 0; i < batch->n_texts; i++)
		tokens += texts->offsets[batch->texts[i] + 1] - texts->offsets[batch->texts[i]];
	if (tokens > INT32_MAX)
		return br_base_fail(context, BR_ERR_LIMIT, "A batch of %lld tokens; it has at most %d.",
							(long long) tokens, INT32_MAX);
	batch->offsets = br_base_alloc_array(context, (size_t) batch->n_texts + 1, sizeof(int32_t));
	batch->ids = br_base_alloc_array(context, (size_t) tokens, sizeof(int32_t));
	if (batch->offsets == NULL || batch->ids == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < batch->n_texts; i++)
	{
		int32_t begin = texts->offsets[batch->texts[i]];
		int32_t n = texts->offsets[batch->texts[i] + 1] - begin;

		memcpy(batch->ids + batch->offsets[i], texts->ids + begin, (size_t) n * sizeof(int32_t));
		batch->offsets[i + 1] = batch->offsets[i] + n;
	}
	return BR_OK;
}

/* Pairs of sentences as joined texts with labels. */
static BrStatus
join_sentences(BrTune *tune, const int32_t *numbers, bool learning, BrTuneBatch *batch)
{
	BrContext *context = tune->context;
	const BrTrainNext *all = learning ? tune->sentences : tune->sentences_asked;
	const BrTuneTexts *texts = &tune->texts;
	const BrTrainBatch sentences = {texts->ids, texts->offsets, texts->n, NULL};
	int model = br_train_shape(tune->model)->max_tokens;
	int asked = tune->options.most_tokens;
	const BrTrainJoin join = {tune->data.lead, tune->data.tail,
							  asked > 0 && asked < model ? asked : model};
	size_t n = (size_t) batch->n;
	BrTrainNext *pairs = br_base_alloc_array(context, n, sizeof(BrTrainNext));
	BrStatus status = BR_ERR_MEMORY;

	batch->ids = br_base_alloc_array(context, n * (size_t) join.longest, sizeof(int32_t));
	batch->offsets = br_base_alloc_array(context, n + 1, sizeof(int32_t));
	batch->labels = br_base_alloc_array(context, n, sizeof(int32_t));
	if (pairs != NULL && batch->ids != NULL && batch->offsets != NULL && batch->labels != NULL)
	{
		for (int i = 0; i < batch->n; i++)
			pairs[i] = all[numbers[i]];
		status = br_train_join_next(context, &sentences, pairs, batch->n, &join, batch->ids,
									batch->offsets, batch->labels);
	}
	br_base_free(context, pairs);
	return status;
}

BrStatus
br_tune_gather(BrTune *tune, const int32_t *examples, int n, bool learning, BrTuneBatch *batch)
{
	BrContext *context = tune->context;
	BrStatus status;

	*batch = (BrTuneBatch){.n = n};
	if (tune->options.objective == BR_TUNE_CONTRASTIVE)
		batch->n_negatives = tune->n_given + (learning ? tune->options.negatives : 0);
	batch->n_texts = count_texts(tune, examples, n, batch->n_negatives);
	if (tune->options.objective == BR_TUNE_NEXT_SENTENCE)
		status = join_sentences(tune, examples, learning, batch);
	else
	{
		batch->texts = br_base_alloc_array(context, (size_t) batch->n_texts, sizeof(int32_t));
		if (batch->texts == NULL)
			return BR_ERR_MEMORY;
		if (tune->options.objective == BR_TUNE_SETS)
			status = br_tune_place_sets(tune, examples, batch);
		else
		{
			place_texts(tune, examples, batch);
			status = copy_targets(tune, examples, batch);
		}
		if (status == BR_OK)
			status = copy_tokens(tune, batch);
	}
	if (status == BR_OK)
		choose_loss(tune, batch);
	batch->batch = (BrTrainBatch){batch->ids, batch->offsets, batch->n_texts, NULL};
	return status;
}

void
br_tune_free_batch(BrContext *context, BrTuneBatch *batch)
{
	br_base_free(context, batch->texts);
	br_base_free(context, batch->ids);
	br_base_free(context, batch->offsets);
	br_base_free(context, batch->excluded);
	br_base_free(context, batch->sets);
	br_base_free(context, batch->targets);
	br_base_free(context, batch->labels);
	br_base_free(context, batch->teacher);
}

BrStatus
br_tune_augment(BrTune *tune, uint64_t step, BrTuneBatch *batch)
{
	BrContext *context = tune->context;
	const BrTuneOptions *options = &tune->options;
	const BrTrainAugmentation augmentation = {
		.span = options->word_span,
		.longest_span = options->longest_span,
		.dropout = options->word_dropout,
		.swap = options->word_swap,
		.kept = tune->data.special,
		.n_kept = tune->data.n_special,
	};
	int32_t *ids;
	int32_t *offsets;
	BrStatus status = BR_ERR_MEMORY;

	if (options->word_span == 0 && options->word_dropout == 0 && options->word_swap == 0)
		return BR_OK;
	ids = br_base_alloc_array(context, (size_t) batch->offsets[batch->n_texts], sizeof(int32_t));
	offsets = br_base_alloc_array(context, (size_t) batch->n_texts + 1, sizeof(int32_t));
	if (ids != NULL && offsets != NULL)
		status =
			br_train_augment(context, &batch->batch, &augmentation,
							 (uint64_t) options->seed ^ BR_TUNE_DRAW_WORDS, step, ids, offsets);
	br_base_free(context, batch->ids);
	br_base_free(context, batch->offsets);
	batch->ids = ids;
	batch->offsets = offsets;
	batch->batch.ids = ids;
	batch->batch.offsets = offsets;
	return status;
}
