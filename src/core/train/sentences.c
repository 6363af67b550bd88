/*
 * sentences.c
 *	  Pairs for next-sentence prediction: which sentences, and how they are joined.
 *
 * Documents are runs of equal numbers, so any sentence of the other documents is
 * one draw among those before the run and those behind it.
 */
#include "core/train/br_train_texts.h"
#include "core/train/train_int.h"

/* Neither a run nor augmentation reads these streams. */
#define NEXT_STREAM (UINT64_C(1) << 62)

#define FOLLOWS 0
#define IS_OF_ANOTHER 1

/* Where the document that begins at a sentence ends. */
static int
document_end(const int32_t *documents, int n, int begin)
{
	int end = begin;

	while (end < n && documents[end] == documents[begin])
		end++;
	return end;
}

BrStatus
br_train_draw_next(BrContext *context, const int32_t *documents, int n, uint64_t seed,
				   uint64_t step, BrTrainNext *pairs, int *n_pairs)
{
	uint64_t key = br_train_key(seed, step);

	*n_pairs = 0;
	if (n < 1 || document_end(documents, n, 0) == n)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d sentences of fewer than two documents; a pair may need another.",
							n);
	for (int begin = 0, end; begin < n; begin = end)
	{
		end = document_end(documents, n, begin);
		for (int i = begin; i + 1 < end; i++)
		{
			BrTrainNext *pair = &pairs[(*n_pairs)++];
			BrRandom random;
			int other;

			br_base_random_init(&random, key, NEXT_STREAM + (uint64_t) i);
			*pair = (BrTrainNext){i, i + 1, FOLLOWS};
			if (br_base_random_uniform(&random) < 0.5)
				continue;
			other = (int) br_base_random_below(&random, (uint32_t) (n - (end - begin)));
			pair->second = other < begin ? other : other + (end - begin);
			pair->label = IS_OF_ANOTHER;
		}
	}
	return BR_OK;
}

/* One sentence of a pair: its words, without what is around them. */
static int
count_words(const BrTrainBatch *sentences, int number, const BrTrainJoin *join)
{
	return sentences->offsets[number + 1] - sentences->offsets[number] - join->lead - join->tail;
}

/* Copies n tokens from one of a sentence on; returns where the next go. */
static int32_t *
copy_tokens(const int32_t *from, int n, int32_t *to)
{
	memcpy(to, from, (size_t) n * sizeof(int32_t));
	return to + n;
}

/* Returns how many tokens the joined text has. */
static int
join_pair(const BrTrainBatch *sentences, const BrTrainNext *pair, const BrTrainJoin *join,
		  int32_t *ids)
{
	const int32_t *first = sentences->ids + sentences->offsets[pair->first];
	const int32_t *second = sentences->ids + sentences->offsets[pair->second] + join->lead;
	int words_of_first = count_words(sentences, pair->first, join);
	int words_of_second = count_words(sentences, pair->second, join);
	const int32_t *tail_of_first = first + join->lead + words_of_first;
	const int32_t *tail_of_second = second + words_of_second;
	int room = join->longest - join->lead - 2 * join->tail;
	int32_t *to;

	while (words_of_first + words_of_second > room)
		if (words_of_first > words_of_second)
			words_of_first--;
		else
			words_of_second--;
	to = copy_tokens(first, join->lead + words_of_first, ids);
	to = copy_tokens(tail_of_first, join->tail, to);
	to = copy_tokens(second, words_of_second, to);
	to = copy_tokens(tail_of_second, join->tail, to);
	return (int) (to - ids);
}

static BrStatus
check_join(BrContext *context, const BrTrainBatch *sentences, const BrTrainNext *pairs, int n_pairs,
		   const BrTrainJoin *join)
{
	if (join->lead < 0 || join->tail < 0 || join->longest < join->lead + 2 * join->tail + 2)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d tokens before and %d behind every sentence, %d in a pair; a pair has room for two words.",
							join->lead, join->tail, join->longest);
	for (int i = 0; i < 2 * n_pairs; i++)
	{
		int number = i % 2 == 0 ? pairs[i / 2].first : pairs[i / 2].second;

		if (number < 0 || number >= sentences->texts)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Pair %d has the sentence %d; there are 0 to %d.", i / 2, number,
								sentences->texts - 1);
		if (count_words(sentences, number, join) < 1)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Sentence %d has no word between its special tokens.", number);
	}
	return BR_OK;
}

BrStatus
br_train_join_next(BrContext *context, const BrTrainBatch *sentences, const BrTrainNext *pairs,
				   int n_pairs, const BrTrainJoin *join, int32_t *ids, int32_t *offsets,
				   int32_t *labels)
{
	BrStatus status = check_join(context, sentences, pairs, n_pairs, join);

	if (status != BR_OK)
		return status;
	offsets[0] = 0;
	for (int i = 0; i < n_pairs; i++)
	{
		offsets[i + 1] = offsets[i] + join_pair(sentences, &pairs[i], join, ids + offsets[i]);
		labels[i] = pairs[i].label;
	}
	return BR_OK;
}
