/*
 * test_learn_word_parts.c
 *	  Runs of characters of words beside scikit-learn (1.9.1): CountVectorizer
 *	  with analyzer "char_wb" and ngram_range (3, 5) over the casefolded \w+ words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

static const BrText texts[] = {{"Caf\u00E9 au lait", 13},
							   {"a USB-C", 7},
							   {"na\u00EFve", 6},
							   {"", 0}};

#define N_TEXTS 4
#define N_PARTS 41

static void
parts_match_scikit_learn(void **state)
{
	static const char *const of_usb[] = {" a ",	 " us",	 "usb",	  "sb ",
										 " usb", "usb ", " usb ", " c "};
	static const double totals[N_TEXTS] = {21, 8, 12, 0};
	BrVocabulary *vocabulary;
	BrContext context;
	BrSparse counts;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
	assert_int_equal(br_learn_word_parts(&context, texts, N_TEXTS, vocabulary, NULL, &counts),
					 BR_OK);
	assert_int_equal(br_learn_vocabulary_size(vocabulary), N_PARTS);
	assert_int_equal(counts.columns, N_PARTS);
	for (int text = 0; text < N_TEXTS; text++)
	{
		double total = 0;

		for (int64_t i = counts.starts[text]; i < counts.starts[text + 1]; i++)
			total += counts.values[i];
		assert_true(total == totals[text]);
	}
	for (size_t p = 0; p < sizeof(of_usb) / sizeof(of_usb[0]); p++)
	{
		BrText part = {of_usb[p], strlen(of_usb[p])};
		int32_t number = br_learn_vocabulary_find(vocabulary, part);
		int found = 0;

		assert_true(number >= 0);
		for (int64_t i = counts.starts[1]; i < counts.starts[2]; i++)
			found += counts.ids[i] == number && counts.values[i] == 1;
		assert_int_equal(found, 1);
	}
	/* a character of two bytes is one character: the fourth of " na\u00EFve " */
	assert_true(br_learn_vocabulary_find(vocabulary, (BrText){"a\u00EFv", 4}) >= 0);
	assert_true(br_learn_vocabulary_find(vocabulary, (BrText){"\u00EFv", 3}) < 0);
	br_learn_sparse_free(&context, &counts);
	br_learn_vocabulary_free(&context, vocabulary);
}

static void
failures_leave_nothing(void **state)
{
	const BrText bad = {"ab\xFF", 3};
	int failures = 0;

	(void) state;
	for (int allowed = 0;; allowed++)
	{
		Countdown countdown;
		BrContext context;
		BrVocabulary *vocabulary = NULL;
		BrSparse counts = {0};
		BrStatus status;

		countdown_begin(&context, &countdown, allowed, INT_MAX);
		status = br_learn_vocabulary_create(&context, &vocabulary);
		if (status == BR_OK)
			status = br_learn_word_parts(&context, texts, N_TEXTS, vocabulary, NULL, &counts);
		br_learn_sparse_free(&context, &counts);
		br_learn_vocabulary_free(&context, vocabulary);
		assert_int_equal(countdown.live, 0);
		if (status == BR_OK)
			break;
		assert_int_equal(status, BR_ERR_MEMORY);
		failures++;
	}
	assert_true(failures > 3);
	{
		Countdown countdown;
		BrContext context;
		BrVocabulary *vocabulary;
		BrSparse counts;

		countdown_begin(&context, &countdown, INT_MAX, 0);
		assert_int_equal(br_learn_vocabulary_create(&context, &vocabulary), BR_OK);
		assert_int_equal(br_learn_word_parts(&context, texts, N_TEXTS, vocabulary, NULL, &counts),
						 BR_ERR_CANCELLED);
		countdown.checks = INT_MAX;
		assert_int_equal(br_learn_word_parts(&context, &bad, 1, vocabulary, NULL, &counts),
						 BR_ERR_ARGUMENT);
		br_learn_vocabulary_free(&context, vocabulary);
		assert_int_equal(countdown.live, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_match_scikit_learn),
		cmocka_unit_test(failures_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
