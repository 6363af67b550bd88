/*
 * test_train_texts.c
 *	  Augmented texts: what is left of them, how often, and the same again.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/train/br_train_texts.h"
#include "unit/encoder_fixture.h"

#define TEXTS 2000
#define WORDS 20
#define LENGTH (WORDS + 2)
#define TOKENS (TEXTS * LENGTH)

static const int32_t special[] = {2, 3};

/* Texts [CLS] w0 .. w19 [SEP] whose words say where they stood. */
typedef struct Texts
{
	int32_t ids[TOKENS];
	int32_t offsets[TEXTS + 1];
	BrTrainBatch batch;
	int32_t new_ids[TOKENS];
	int32_t new_offsets[TEXTS + 1];
	BrContext context;
} Texts;

static Texts texts;

static void
fill_texts(void)
{
	br_base_context_init(&texts.context);
	for (int i = 0; i < TEXTS; i++)
	{
		int32_t *text = texts.ids + (ptrdiff_t) i * LENGTH;

		text[0] = 2;
		for (int j = 0; j < WORDS; j++)
			text[1 + j] = 100 + j;
		text[LENGTH - 1] = 3;
		texts.offsets[i] = i * LENGTH;
	}
	texts.offsets[TEXTS] = TOKENS;
	texts.batch = (BrTrainBatch){texts.ids, texts.offsets, TEXTS, NULL};
}

static void
augment(const BrTrainAugmentation *augmentation, uint64_t seed, uint64_t step)
{
	if (br_train_augment(&texts.context, &texts.batch, augmentation, seed, step, texts.new_ids,
						 texts.new_offsets) != BR_OK)
		fail_msg("%s", texts.context.detail);
}

/* A new text's words, between its specials, which must be there. */
static const int32_t *
words_of(int text, int *n)
{
	const int32_t *ids = texts.new_ids + texts.new_offsets[text];

	*n = texts.new_offsets[text + 1] - texts.new_offsets[text] - 2;
	assert_true(*n >= 1 && *n <= WORDS);
	assert_int_equal(ids[0], 2);
	assert_int_equal(ids[*n + 1], 3);
	return ids + 1;
}

/* Within four standard deviations of so many draws with such a chance. */
static void
assert_share(int count, int draws, double chance)
{
	if (!(fabs(count - draws * chance) <= 4 * sqrt(draws * chance * (1 - chance))))
		fail_msg("%d of %d, where the chance is %g", count, draws, chance);
}

static void
nothing_asked_changes_nothing(void **state)
{
	const BrTrainAugmentation none = {.kept = special, .n_kept = 2};

	(void) state;
	fill_texts();
	augment(&none, 1, 1);
	assert_memory_equal(texts.new_ids, texts.ids, sizeof(texts.ids));
	assert_memory_equal(texts.new_offsets, texts.offsets, sizeof(texts.offsets));
}

/* Each place is left out as often as any other, and what stays keeps its order. */
static void
dropout_leaves_out_its_share(void **state)
{
	const BrTrainAugmentation drop = {.dropout = 0.3, .kept = special, .n_kept = 2};
	int left[WORDS] = {0};

	(void) state;
	fill_texts();
	augment(&drop, 3, 8);
	for (int i = 0; i < TEXTS; i++)
	{
		int n;
		const int32_t *words = words_of(i, &n);

		for (int j = 0; j < n; j++)
		{
			assert_true(j == 0 || words[j] > words[j - 1]);
			left[words[j] - 100]++;
		}
	}
	for (int j = 0; j < WORDS; j++)
		assert_share(left[j], TEXTS, 0.7);
}

/* One run of words is missing in half of the texts, each length up to 4 as often as the others. */
static void
spans_are_cut(void **state)
{
	const BrTrainAugmentation cut = {.span = 0.5, .longest_span = 4, .kept = special, .n_kept = 2};
	const BrTrainAugmentation cut_one = {.span = 1,
										 .longest_span = 1,
										 .kept = special,
										 .n_kept = 2};
	int lengths[5] = {0};
	int cut_at[WORDS] = {0};

	(void) state;
	fill_texts();
	augment(&cut, 4, 8);
	for (int i = 0; i < TEXTS; i++)
	{
		int n;
		const int32_t *words = words_of(i, &n);
		int missing = WORDS - n;
		int gap = 0;

		assert_true(missing <= 4);
		while (gap < n && words[gap] == 100 + gap)
			gap++;
		for (int j = gap; j < n; j++)
			assert_int_equal(words[j], 100 + j + missing);
		lengths[missing]++;
	}
	assert_share(lengths[0], TEXTS, 0.5);
	for (int length = 1; length <= 4; length++)
		assert_share(lengths[length], TEXTS, 0.5 / 4);

	augment(&cut_one, 4, 8);
	for (int i = 0; i < TEXTS; i++)
	{
		int n;
		const int32_t *words = words_of(i, &n);
		int gap = 0;

		assert_int_equal(n, WORDS - 1);
		while (gap < n && words[gap] == 100 + gap)
			gap++;
		cut_at[gap]++;
	}
	for (int j = 0; j < WORDS; j++)
		assert_share(cut_at[j], TEXTS, 1.0 / WORDS);
}

/* All words stay, each in the place of another. */
static void
swaps_only_change_places(void **state)
{
	const BrTrainAugmentation swap = {.swap = 0.05, .kept = special, .n_kept = 2};
	const BrTrainAugmentation always = {.swap = 1, .kept = special, .n_kept = 2};
	int untouched = 0;
	int moved = 0;

	(void) state;
	fill_texts();
	augment(&swap, 5, 8);
	for (int i = 0; i < TEXTS; i++)
	{
		int n;
		const int32_t *words = words_of(i, &n);
		bool seen[WORDS] = {false};
		int others = 0;

		assert_int_equal(n, WORDS);
		for (int j = 0; j < WORDS; j++)
		{
			seen[words[j] - 100] = true;
			others += words[j] != 100 + j;
		}
		for (int j = 0; j < WORDS; j++)
			assert_true(seen[j]);
		untouched += others == 0;
	}
	/* no swap: .95^20 = .3585; two that undo each other are rarer than 1 of 600 texts */
	assert_true(fabs(untouched - 0.3585 * TEXTS) < 4 * sqrt(TEXTS * 0.3585 * 0.6415) + 4);

	augment(&always, 5, 8);
	for (int i = 0; i < TOKENS; i++)
		moved += texts.new_ids[i] != texts.ids[i];
	assert_true(moved > 0.8 * TEXTS * WORDS);

	/* each of two words changes places with the other: twice is not at all */
	texts.batch.texts = 1;
	texts.offsets[1] = 3;
	for (uint64_t seed = 0; seed < 20; seed++)
	{
		augment(&always, seed, 8);
		assert_memory_equal(texts.new_ids, texts.ids, 3 * sizeof(int32_t));
	}
}

/* The same seed and step give the same; a share of the batch gives its part; others differ. */
static void
draws_are_of_seed_step_and_place(void **state)
{
	const BrTrainAugmentation all = {0.3, 5, 0.1, 0.1, special, 2};
	static int32_t first[TOKENS];
	static int32_t ends[TEXTS + 1];
	const BrTrainShare share = {0.5, 700 * LENGTH};
	const BrTrainBatch part = {texts.ids, texts.offsets, TEXTS - 700, &share};
	size_t size;

	(void) state;
	fill_texts();
	augment(&all, 6, 8);
	memcpy(first, texts.new_ids, sizeof(first));
	memcpy(ends, texts.new_offsets, sizeof(ends));
	size = (size_t) ends[TEXTS] * sizeof(int32_t);
	augment(&all, 6, 8);
	assert_memory_equal(first, texts.new_ids, size);
	augment(&all, 6, 9);
	assert_true(memcmp(first, texts.new_ids, size) != 0);
	augment(&all, 7, 8);
	assert_true(memcmp(first, texts.new_ids, size) != 0);

	assert_int_equal(br_train_augment(&texts.context, &part, &all, 6, 8, texts.new_ids,
									  texts.new_offsets),
					 BR_OK);
	assert_int_equal(texts.new_offsets[TEXTS - 700], ends[TEXTS] - ends[700]);
	assert_memory_equal(first + ends[700], texts.new_ids,
						(size_t) (ends[TEXTS] - ends[700]) * sizeof(int32_t));
}

/* The harshest options leave a word of a text that has one; specials stay even alone. */
static void
something_is_always_left(void **state)
{
	static const int32_t ids[] = {2, 7, 3, 2, 3, 9, 2, 8, 3, 8, 3};
	static const int32_t offsets[] = {0, 3, 5, 6, 11};
	const BrTrainBatch batch = {ids, offsets, 4, NULL};
	const BrTrainAugmentation harsh = {1, 100, 0.999999, 1, special, 2};
	int32_t left[11];
	int32_t ends[5];

	(void) state;
	fill_texts();
	for (uint64_t seed = 0; seed < 50; seed++)
	{
		assert_int_equal(br_train_augment(&texts.context, &batch, &harsh, seed, 0, left, ends),
						 BR_OK);
		assert_int_equal(ends[4], 3 + 2 + 1 + 4);
		assert_memory_equal(left, ids, 6 * sizeof(int32_t));
		/* one of two words that are the same, between three specials */
		assert_true(left[6] == 2 && (left[7] == 8 || left[8] == 8) && left[9] == 3);
	}
}

static void
wrong_options_are_refused(void **state)
{
	const BrTrainAugmentation bad[] = {{-0.1, 1, 0, 0, NULL, 0}, {1.1, 1, 0, 0, NULL, 0},
									   {0.5, 0, 0, 0, NULL, 0},	 {0, 0, 1, 0, NULL, 0},
									   {0, 0, NAN, 0, NULL, 0},	 {0, 0, 0, 1.5, NULL, 0}};
	const BrTrainAugmentation good = {0.1, 1, 0.1, 0.1, NULL, 0};
	const int32_t ids[] = {5, -1};
	const int32_t offsets[] = {0, 1, 1};
	const int32_t ends[] = {0, 2};
	int32_t left[2];
	int32_t new_ends[3];
	Ledger ledger = {.allowed = 0};
	BrContext context;

	(void) state;
	fill_texts();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(br_train_augment(&texts.context, &texts.batch, &bad[i], 0, 0,
										  texts.new_ids, texts.new_offsets),
						 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_augment(&texts.context, &(BrTrainBatch){ids, offsets, 2, NULL}, &good,
									  0, 0, left, new_ends),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_augment(&texts.context, &(BrTrainBatch){ids, ends, 1, NULL}, &good, 0,
									  0, left, new_ends),
					 BR_ERR_ARGUMENT);
	ledger_context(&context, &ledger);
	assert_int_equal(br_train_augment(&context, &texts.batch, &good, 0, 0, texts.new_ids,
									  texts.new_offsets),
					 BR_ERR_MEMORY);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_asked_changes_nothing),
		cmocka_unit_test(dropout_leaves_out_its_share),
		cmocka_unit_test(spans_are_cut),
		cmocka_unit_test(swaps_only_change_places),
		cmocka_unit_test(draws_are_of_seed_step_and_place),
		cmocka_unit_test(something_is_always_left),
		cmocka_unit_test(wrong_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
