/*
 * augment.c
 *	  Other readings of a text: words left out, exchanged, cut by the span.
 *
 * Every step works on a text's words alone, of which a list of places is kept;
 * special tokens stand between them untouched. Left out is what has lost its
 * mark at the end, so that places do not move while there is still to draw.
 */
#include "core/train/br_train_texts.h"
#include "core/train/train_int.h"

/* No run reads a stream so high: theirs are of layers and of places below 2^32. */
#define AUGMENTATION_STREAM (UINT64_C(1) << 63)

/* One text at work. */
typedef struct AugmentedText
{
	int32_t *ids;	/* (n) */
	int32_t *words; /* (n_words): places of words among ids */
	int n;
	int n_words;
	BrRandom random;
} AugmentedText;

static bool
stays(const BrTrainAugmentation *augmentation, int32_t id)
{
	for (int i = 0; i < augmentation->n_kept; i++)
		if (augmentation->kept[i] == id)
			return true;
	return false;
}

/* A word left out has an id that no model has. */
static void
leave_out(AugmentedText *text, int word)
{
	text->ids[text->words[word]] = -1;
}

/* What is left of the list of words. */
static void
close_ranks(AugmentedText *text)
{
	int n = 0;

	for (int i = 0; i < text->n_words; i++)
		if (text->ids[text->words[i]] >= 0)
			text->words[n++] = text->words[i];
	text->n_words = n;
}

static void
cut_span(AugmentedText *text, const BrTrainAugmentation *augmentation)
{
	int most = text->n_words - 1 < augmentation->longest_span ? text->n_words - 1
															  : augmentation->longest_span;
	int length;
	int first;

	if (most < 1 || br_base_random_uniform(&text->random) >= augmentation->span)
		return;
	length = 1 + (int) br_base_random_below(&text->random, (uint32_t) most);
	first = (int) br_base_random_below(&text->random, (uint32_t) (text->n_words - length + 1));
	for (int i = first; i < first + length; i++)
		leave_out(text, i);
	close_ranks(text);
}

/* If all words would go, one of them, any, stays. */
static void
drop_words(AugmentedText *text, const BrTrainAugmentation *augmentation)
{
	int stayed = 0;
	int spared;
	int32_t id;

	if (text->n_words == 0 || augmentation->dropout == 0)
		return;
	spared = (int) br_base_random_below(&text->random, (uint32_t) text->n_words);
	id = text->ids[text->words[spared]];
	for (int i = 0; i < text->n_words; i++)
		if (br_base_random_uniform(&text->random) < augmentation->dropout)
			leave_out(text, i);
		else
			stayed++;
	if (stayed == 0)
		text->ids[text->words[spared]] = id;
	close_ranks(text);
}

static void
swap_words(AugmentedText *text, const BrTrainAugmentation *augmentation)
{
	for (int i = 0; text->n_words > 1 && i < text->n_words; i++)
		if (br_base_random_uniform(&text->random) < augmentation->swap)
		{
			int other = (int) br_base_random_below(&text->random, (uint32_t) text->n_words - 1);
			int32_t *left = &text->ids[text->words[i]];
			int32_t *right = &text->ids[text->words[other + (other >= i)]];
			int32_t id = *left;

			*left = *right;
			*right = id;
		}
}

/* Returns how many tokens the text has then. */
static int
augment_text(AugmentedText *text, const BrTrainAugmentation *augmentation)
{
	int n = 0;

	text->n_words = 0;
	for (int i = 0; i < text->n; i++)
		if (!stays(augmentation, text->ids[i]))
			text->words[text->n_words++] = i;
	cut_span(text, augmentation);
	drop_words(text, augmentation);
	swap_words(text, augmentation);
	for (int i = 0; i < text->n; i++)
		if (text->ids[i] >= 0)
			text->ids[n++] = text->ids[i];
	return n;
}

static bool
is_chance(double chance)
{
	return chance >= 0 && chance <= 1;
}

static BrStatus
check_options(BrContext *context, const BrTrainAugmentation *augmentation)
{
	if (!is_chance(augmentation->span) || !is_chance(augmentation->swap) ||
		!is_chance(augmentation->dropout) || augmentation->dropout == 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Chances of a span %g, of dropout %g, of a swap %g; they must be in [0, 1], that of dropout below 1.",
							augmentation->span, augmentation->dropout, augmentation->swap);
	if (augmentation->span > 0 && augmentation->longest_span < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Spans of at most %d words; they have at least 1.",
							augmentation->longest_span);
	return BR_OK;
}

static BrStatus
check_texts(BrContext *context, const BrTrainBatch *batch, int *longest)
{
	*longest = 0;
	for (int i = 0; i < batch->texts; i++)
	{
		int n = batch->offsets[i + 1] - batch->offsets[i];

		if (n < 1)
			return br_base_fail(context, BR_ERR_ARGUMENT, "Text %d has %d tokens.", i, n);
		for (int32_t j = batch->offsets[i]; j < batch->offsets[i + 1]; j++)
			if (batch->ids[j] < 0)
				return br_base_fail(context, BR_ERR_ARGUMENT, "Text %d has the token id %d.", i,
									batch->ids[j]);
		*longest = n > *longest ? n : *longest;
	}
	return BR_OK;
}

BrStatus
br_train_augment(BrContext *context, const BrTrainBatch *batch,
				 const BrTrainAugmentation *augmentation, uint64_t seed, uint64_t step,
				 int32_t *ids, int32_t *offsets)
{
	AugmentedText text = {.words = NULL};
	uint64_t key = br_train_key(seed, step);
	BrStatus status = check_options(context, augmentation);
	int longest;

	if (status == BR_OK)
		status = check_texts(context, batch, &longest);
	if (status != BR_OK)
		return status;
	text.words = br_base_alloc_array(context, (size_t) longest + 1, sizeof(int32_t));
	if (text.words == NULL)
		return BR_ERR_MEMORY;
	offsets[0] = 0;
	for (int i = 0; i < batch->texts; i++)
	{
		int32_t begin = batch->offsets[i];

		text.ids = ids + offsets[i];
		text.n = batch->offsets[i + 1] - begin;
		memcpy(text.ids, batch->ids + begin, (size_t) text.n * sizeof(int32_t));
		br_base_random_init(&text.random, key,
							AUGMENTATION_STREAM + br_train_place(batch) + (uint64_t) begin);
		offsets[i + 1] = offsets[i] + augment_text(&text, augmentation);
	}
	br_base_free(context, text.words);
	return BR_OK;
}
