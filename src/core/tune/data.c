/*
 * data.c
 *	  What is learned from: texts cut to length, examples, and which texts go
 *	  together.
 *
 * Texts that are the same to the model, cut as they are, are one text: each
 * knows the first of its ids, and pairs are remembered by those. Only training
 * examples tell what goes together; what validation asks is not given away.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/tune/tune_int.h"

#define NO_TEXT (-1)

bool
br_tune_has_pairs(BrTuneObjective objective)
{
	return objective == BR_TUNE_CONTRASTIVE || objective == BR_TUNE_TRIPLET ||
		objective == BR_TUNE_SCORE || objective == BR_TUNE_PAIR_CLASSES;
}

bool
br_tune_has_labels(BrTuneObjective objective)
{
	return objective == BR_TUNE_TEXT_CLASSES || objective == BR_TUNE_PAIR_CLASSES ||
		objective == BR_TUNE_NEXT_SENTENCE;
}

/* ---- texts ---- */

static BrStatus
check_text(BrContext *context, const BrTuneData *data, int i, int vocabulary)
{
	int64_t length = (int64_t) data->offsets[i + 1] - data->offsets[i];

	if (length < 1 || length < data->lead + data->tail)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Text %d has %lld tokens; it must have at least 1, and its special ones.",
							i, (long long) length);
	for (int32_t j = data->offsets[i]; j < data->offsets[i + 1]; j++)
		if (data->ids[j] < 0 || data->ids[j] >= vocabulary)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Text %d has the token id %d; the model has 0 to %d.", i,
								data->ids[j], vocabulary - 1);
	return BR_OK;
}

/* The most tokens of a text. */
static int
longest_text(const BrTune *tune)
{
	int model = br_train_shape(tune->model)->max_tokens;
	int asked = tune->options.most_tokens;

	return asked > 0 && asked < model ? asked : model;
}

static BrStatus
check_texts(BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	BrContext *context = tune->context;
	int vocabulary = br_train_shape(tune->model)->vocabulary;
	int longest = longest_text(tune);
	BrStatus status = BR_OK;

	if (data->n_texts < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There are no texts to learn from.");
	if (data->offsets[0] != 0 || data->lead < 0 || data->tail < 0 || data->n_special < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Texts begin at token %d with %d special tokens before and %d behind; they begin at 0, with at least none.",
							data->offsets[0], data->lead, data->tail);
	if (longest < data->lead + 2 * data->tail + 2)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"most_tokens is %d; with special tokens texts need at least %d.",
							longest, data->lead + 2 * data->tail + 2);
	for (int i = 0; i < data->n_texts && status == BR_OK; i++)
	{
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled while reading text %d.", i);
		status = check_text(context, data, i, vocabulary);
	}
	return status;
}

/* Words at the end give way to the special tokens behind them. */
static void
cut_texts(BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	BrTuneTexts *texts = &tune->texts;
	int longest = longest_text(tune);

	for (int i = 0; i < data->n_texts; i++)
	{
		const int32_t *from = data->ids + data->offsets[i];
		int32_t *to = texts->ids + texts->offsets[i];
		int n = data->offsets[i + 1] - data->offsets[i];
		int kept = n < longest ? n : longest;
		int tail = n > longest ? data->tail : 0;

		memcpy(to, from, (size_t) (kept - tail) * sizeof(int32_t));
		memcpy(to + kept - tail, from + n - tail, (size_t) tail * sizeof(int32_t));
		texts->offsets[i + 1] = texts->offsets[i] + kept;
	}
}

static bool
same_ids(const BrTuneTexts *texts, int32_t left, int32_t right)
{
	int n = texts->offsets[left + 1] - texts->offsets[left];

	return texts->offsets[right + 1] - texts->offsets[right] == n &&
		memcmp(texts->ids + texts->offsets[left], texts->ids + texts->offsets[right],
			   (size_t) n * sizeof(int32_t)) == 0;
}

/* Finds the first text of each one's ids by a table of hashes. */
static BrStatus
find_same(BrTune *tune)
{
	BrTuneTexts *texts = &tune->texts;
	size_t slots = 1;
	int32_t *table;

	while (slots < 2 * (size_t) texts->n)
		slots *= 2;
	table = br_base_alloc_array(tune->context, slots, sizeof(int32_t));
	if (table == NULL)
		return BR_ERR_MEMORY;
	memset(table, 0xff, slots * sizeof(int32_t));
	for (int32_t i = 0; i < texts->n; i++)
	{
		BrTuneHash hash;
		size_t at;

		br_tune_hash_init(&hash);
		br_tune_hash_add(&hash, texts->ids + texts->offsets[i],
						 (size_t) (texts->offsets[i + 1] - texts->offsets[i]) * sizeof(int32_t));
		at = (size_t) hash.state & (slots - 1);
		while (table[at] != NO_TEXT && !same_ids(texts, table[at], i))
			at = (at + 1) & (slots - 1);
		if (table[at] == NO_TEXT)
			table[at] = i;
		texts->same[i] = table[at];
	}
	br_base_free(tune->context, table);
	return BR_OK;
}

static BrStatus
take_texts(BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	BrTuneTexts *texts = &tune->texts;
	BrStatus status = check_texts(tune);
	size_t n;

	if (status != BR_OK)
		return status;
	texts->n = data->n_texts;
	n = (size_t) texts->n;
	texts->ids = br_base_alloc_array(tune->context, (size_t) data->offsets[n], sizeof(int32_t));
	texts->offsets = br_base_alloc_array(tune->context, n + 1, sizeof(int32_t));
	texts->same = br_base_alloc_array(tune->context, n, sizeof(int32_t));
	if (texts->ids == NULL || texts->offsets == NULL || texts->same == NULL)
		return BR_ERR_MEMORY;
	cut_texts(tune);
	return find_same(tune);
}

/* ---- examples ---- */

static bool
is_text(const BrTuneData *data, int32_t number)
{
	return number >= 0 && number < data->n_texts;
}

static BrStatus
check_example(const BrTune *tune, int i)
{
	const BrTuneData *data = &tune->data;
	const BrTuneExample *example = &data->examples[i];
	BrTuneObjective objective = tune->options.objective;
	bool pairs = br_tune_has_pairs(objective);
	bool third = objective == BR_TUNE_TRIPLET ||
		(objective == BR_TUNE_CONTRASTIVE && example->third != NO_TEXT);

	if (!is_text(data, example->first) || (pairs && !is_text(data, example->second)) ||
		(third && !is_text(data, example->third)))
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"Example %d has the texts %d, %d and %d; there are 0 to %d.", i,
							example->first, pairs ? example->second : NO_TEXT,
							third ? example->third : NO_TEXT, data->n_texts - 1);
	if (br_tune_has_labels(objective) && (example->label < 0 || example->label >= data->classes))
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"Example %d has the label %d; there are 0 to %d.", i, example->label,
							data->classes - 1);
	if (objective == BR_TUNE_SCORE && !(example->score >= -1 && example->score <= 1))
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"Example %d has the score %g; scores are in [-1, 1].", i,
							(double) example->score);
	return BR_OK;
}

static BrStatus
check_examples(BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	BrStatus status = BR_OK;

	if (data->n_examples < 0 || data->n_validation < 0 || data->n_validation >= data->n_examples)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"%d examples, %d of them for validation; at least one must be there to learn from.",
							data->n_examples, data->n_validation);
	if (br_tune_has_labels(tune->options.objective) && data->classes < 2)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT, "%d classes; there must be at least 2.",
							data->classes);
	if (tune->options.objective == BR_TUNE_SETS)
		status = br_tune_check_sets(tune);
	else
		for (int i = 0; i < data->n_examples && status == BR_OK; i++)
			status = check_example(tune, i);
	tune->n_validation = data->n_validation;
	tune->n_training = data->n_examples - data->n_validation;
	return status;
}

static BrStatus
check_teacher(const BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	size_t n;

	if (data->teacher == NULL || data->teacher_dimensions < tune->dim)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"The teacher's embeddings have %d dimensions; at least the model's %d are needed.",
							data->teacher == NULL ? 0 : data->teacher_dimensions, tune->dim);
	n = (size_t) data->teacher_dimensions;
	for (size_t i = 0; i < (size_t) data->n_texts * n; i++)
		if (!isfinite(data->teacher[i]))
			return br_base_fail(tune->context, BR_ERR_ARGUMENT,
								"The teacher's embedding of text %d is not finite.", (int) (i / n));
	return BR_OK;
}

/* ---- pairs ---- */

uint64_t
br_tune_pair(const BrTune *tune, int32_t left, int32_t right)
{
	uint64_t a = (uint64_t) tune->texts.same[left];
	uint64_t b = (uint64_t) tune->texts.same[right];

	return a < b ? a << 32 | b : b << 32 | a;
}

static int
compare_pairs(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *) left;
	uint64_t b = *(const uint64_t *) right;

	return (a > b) - (a < b);
}

static BrStatus
take_pairs(BrTune *tune)
{
	BrTunePairs *known = &tune->known;
	const BrTuneExample *examples = tune->data.examples;
	bool sets = tune->options.objective == BR_TUNE_SETS;
	size_t n = sets ? br_tune_count_set_pairs(tune) : (size_t) tune->n_training;

	known->pairs = br_base_alloc_array(tune->context, n, sizeof(uint64_t));
	if (known->pairs == NULL)
		return BR_ERR_MEMORY;
	if (sets)
		br_tune_list_set_pairs(tune, known->pairs);
	for (int i = 0; i < tune->n_training && !sets; i++)
	{
		known->pairs[i] = br_tune_pair(tune, examples[i].first, examples[i].second);
		tune->n_given |= examples[i].third != NO_TEXT;
	}
	qsort(known->pairs, n, sizeof(uint64_t), compare_pairs);
	for (size_t i = 0; i < n; i++)
		if (i == 0 || known->pairs[i] != known->pairs[i - 1])
			known->pairs[known->n++] = known->pairs[i];
	if (known->n < 2)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"%d examples with one pair of texts among them; contrast takes at least two different ones.",
							tune->n_training);
	return BR_OK;
}

bool
br_tune_goes_with(const BrTune *tune, int32_t left, int32_t right)
{
	uint64_t pair = br_tune_pair(tune, left, right);

	return tune->texts.same[left] == tune->texts.same[right] ||
		bsearch(&pair, tune->known.pairs, tune->known.n, sizeof(uint64_t), compare_pairs) != NULL;
}

/* ---- sentences ---- */

/* Pairs of the sentences from first to last - 1, which keep their numbers. */
static BrStatus
draw_sentences(BrTune *tune, int first, int last, uint64_t seed, BrTrainNext **pairs, int *n)
{
	*pairs = br_base_alloc_array(tune->context, (size_t) (last - first) + 1, sizeof(BrTrainNext));
	if (*pairs == NULL)
		return BR_ERR_MEMORY;
	return br_train_draw_next(tune->context, tune->data.documents + first, last - first, seed, 0,
							  *pairs, n);
}

static BrStatus
take_sentences(BrTune *tune)
{
	const BrTuneData *data = &tune->data;
	int first = data->n_texts - data->n_validation;
	uint64_t seed = (uint64_t) tune->options.seed;
	BrStatus status;

	if (data->documents == NULL || data->n_validation < 0 || first < 1)
		return br_base_fail(tune->context, BR_ERR_ARGUMENT,
							"%d texts, %d of them for validation; next sentence asks for documents to learn from.",
							data->documents == NULL ? 0 : data->n_texts, data->n_validation);
	for (int i = 0; i < data->n_texts; i++)
		if (data->offsets[i + 1] - data->offsets[i] <= data->lead + data->tail)
			return br_base_fail(tune->context, BR_ERR_ARGUMENT,
								"Text %d has no word between its special tokens.", i);
	status = draw_sentences(tune, 0, first, seed ^ BR_TUNE_DRAW_SENTENCES, &tune->sentences,
							&tune->n_training);
	if (status == BR_OK && data->n_validation > 0)
		status = draw_sentences(tune, first, data->n_texts, seed ^ BR_TUNE_DRAW_VALIDATION,
								&tune->sentences_asked, &tune->n_validation);
	if (status == BR_OK && tune->n_training < 1)
		status = br_base_fail(tune->context, BR_ERR_ARGUMENT,
							  "No text follows another in its document.");
	for (int i = 0; i < tune->n_validation; i++)
	{
		tune->sentences_asked[i].first += first;
		tune->sentences_asked[i].second += first;
	}
	return status;
}

BrStatus
br_tune_take_data(BrTune *tune)
{
	BrStatus status = take_texts(tune);

	if (status == BR_OK && tune->options.objective == BR_TUNE_NEXT_SENTENCE)
		return take_sentences(tune);
	if (status == BR_OK)
		status = check_examples(tune);
	if (status == BR_OK && tune->options.objective == BR_TUNE_DISTILLATION)
		status = check_teacher(tune);
	if (status == BR_OK &&
		(tune->options.objective == BR_TUNE_CONTRASTIVE || tune->options.objective == BR_TUNE_SETS))
		status = take_pairs(tune);
	return status;
}

/* ---- fingerprints ---- */

uint64_t
br_tune_print_model(BrTrainModel *model)
{
	const BrModelShape *shape = br_train_shape(model);
	BrTuneHash hash;

	br_tune_hash_init(&hash);
	br_tune_hash_number(&hash, shape->heads);
	br_tune_hash_number(&hash, shape->max_tokens);
	br_tune_hash_number(&hash, shape->first_position);
	br_tune_hash_number(&hash, shape->activation);
	br_tune_hash_number(&hash, shape->pooling);
	br_tune_hash_number(&hash, shape->n_steps);
	br_tune_hash_add(&hash, br_train_parameters(model), shape->map.total * sizeof(BrReal));
	return hash.state;
}

uint64_t
br_tune_print_data(const BrTuneData *data)
{
	size_t n = (size_t) data->n_texts;
	BrTuneHash hash;

	br_tune_hash_init(&hash);
	br_tune_hash_number(&hash, data->n_texts);
	br_tune_hash_number(&hash, data->n_validation);
	br_tune_hash_number(&hash, data->classes);
	br_tune_hash_number(&hash, data->lead);
	br_tune_hash_number(&hash, data->tail);
	br_tune_hash_number(&hash, data->mask_id);
	br_tune_hash_add(&hash, data->offsets, (n + 1) * sizeof(int32_t));
	br_tune_hash_add(&hash, data->ids, (size_t) data->offsets[n] * sizeof(int32_t));
	br_tune_hash_add(&hash, data->special, (size_t) data->n_special * sizeof(int32_t));
	if (data->examples != NULL && data->n_examples > 0)
		br_tune_hash_add(&hash, data->examples, (size_t) data->n_examples * sizeof(BrTuneExample));
	if (data->sets != NULL)
	{
		size_t sets = (size_t) data->n_examples + 1;

		br_tune_hash_add(&hash, data->sets, sets * sizeof(int32_t));
		br_tune_hash_add(&hash, data->members, (size_t) data->sets[sets - 1] * sizeof(int32_t));
	}
	if (data->teacher != NULL)
		br_tune_hash_add(&hash, data->teacher,
						 n * (size_t) data->teacher_dimensions * sizeof(float));
	if (data->documents != NULL)
		br_tune_hash_add(&hash, data->documents, n * sizeof(int32_t));
	return hash.state;
}
