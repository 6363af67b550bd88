/*
 * test_learn_complement_limits.c
 *	  What learning complements refuses, what a single pair teaches, and what is
 *	  left behind when memory runs out or it is cancelled: nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "learn_countdown.h"
#include "learn_shop.h"

/* One pair, or one pair many times, has nothing to be told from: the maps stay. */
static void
one_pair_moves_nothing(void **state)
{
	const BrComplementPair pairs[] = {{0, 1, 1}, {0, 1, 1}, {0, 1, 1}};
	BrComplementOptions options;
	BrContext context;
	BrComplement start;
	BrComplement after;

	(void) state;
	set_few();
	br_base_context_init(&context);
	br_learn_complement_defaults(&options);
	options.rank = 4;
	options.held_out = 0;
	options.epochs = 0;
	assert_int_equal(br_learn_complement(&context, &few, pairs, 1, NULL, &options, NULL, &start),
					 BR_OK);
	options.epochs = 3;
	for (int n = 1; n <= 3; n += 2)
	{
		assert_int_equal(br_learn_complement(&context, &few, pairs, n, NULL, &options, NULL,
											 &after),
						 BR_OK);
		assert_memory_equal(after.source, start.source, sizeof(float) * 4 * FEW_DIMS);
		assert_memory_equal(after.target, start.target, sizeof(float) * 4 * FEW_DIMS);
		br_learn_complement_free(&context, &after);
	}
	br_learn_complement_free(&context, &start);
}

static void
refuses(const BrComplementItems *items, BrComplementPair pair, int64_t n,
		const BrComplementOptions *options, const char *detail)
{
	BrContext context;
	BrComplement complement;

	br_base_context_init(&context);
	assert_int_equal(br_learn_complement(&context, items, &pair, n, NULL, options, NULL,
										 &complement),
					 BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, detail);
	assert_null(complement.source);
}

static void
bad_input_is_refused(void **state)
{
	const BrComplementPair pair = {0, 1, 1};
	const BrComplementItems one = {1, FEW_DIMS, few_embeddings, NULL, 0};
	const BrComplementItems none = {0, FEW_DIMS, few_embeddings, NULL, 0};
	const BrComplementItems narrow = {FEW, FEW_DIMS, few_embeddings, few_category, 1};
	BrComplementOptions options;

	(void) state;
	set_few();
	br_learn_complement_defaults(&options);
	options.rank = 2;
	refuses(&one, pair, 1, &options, "A pair leads from item 0 to item 1.");
	refuses(&none, pair, 1, &options,
			"There are 0 items of 5 dimensions; 1 to 1024 are learned from.");
	refuses(&narrow, pair, 1, &options, "Item 1 is of category 1 of 1.");
	refuses(&few, pair, 0, &options, "There are no pairs to learn from.");
	refuses(&few, (BrComplementPair){2, 2, 1}, 1, &options, "A pair leads from item 2 to item 2.");
	refuses(&few, (BrComplementPair){2, 3, 0}, 1, &options,
			"The pair from item 2 to item 3 weighs 0.");
	options.rank = 6;
	refuses(&few, pair, 1, &options, "rank is 6, which is not in [1, 5].");
	options.rank = 2;
	options.temperature = NAN;
	refuses(&few, pair, 1, &options, "temperature is nan, which is not in [0.001, 100].");
	options.temperature = 1;
	options.batch = 1;
	refuses(&few, pair, 1, &options, "batch is 1, which is not in [2, 4096].");
	options.batch = 2;
	few_embeddings[3 * FEW_DIMS] = NAN;
	refuses(&few, pair, 1, &options, "The embedding of item 3 is not finite.");
}

static void
memory_may_run_out_anywhere(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrStatus status = BR_ERR_MEMORY;
	int allowed;

	(void) state;
	open_shop(&shop);
	shop.items.category = shop.category;
	options.epochs = 1;
	for (allowed = 0; status != BR_OK; allowed++)
	{
		Countdown countdown;
		BrContext context;
		BrComplement complement;
		BrLists lists;

		countdown_begin(&context, &countdown, allowed, INT_MAX);
		status = br_learn_complement(&context, &shop.items, shop.pairs, PAIRS, NULL, &options, NULL,
									 &complement);
		if (status == BR_OK)
		{
			status = br_learn_complement_lists(&context, br_math_portable_backend(), &complement,
											   &shop.items, 3, &lists);
			if (status == BR_OK)
				br_learn_lists_free(&context, &lists);
			br_learn_complement_free(&context, &complement);
		}
		assert_true(status == BR_OK || status == BR_ERR_MEMORY);
		assert_int_equal(countdown.live, 0);
	}
	assert_true(allowed > 30);
}

static void
cancelling_leaves_nothing(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrStatus status = BR_ERR_CANCELLED;
	int asked;

	(void) state;
	open_shop(&shop);
	options.epochs = 2;
	for (asked = 0; status != BR_OK; asked++)
	{
		Countdown countdown;
		BrContext context;
		BrComplement complement;
		BrLists lists;

		countdown_begin(&context, &countdown, INT_MAX, asked);
		status = br_learn_complement(&context, &shop.items, shop.pairs, PAIRS, NULL, &options, NULL,
									 &complement);
		if (status == BR_OK)
		{
			status = br_learn_complement_lists(&context, br_math_portable_backend(), &complement,
											   &shop.items, 3, &lists);
			if (status == BR_OK)
				br_learn_lists_free(&context, &lists);
			br_learn_complement_free(&context, &complement);
		}
		assert_true(status == BR_OK || status == BR_ERR_CANCELLED);
		assert_int_equal(countdown.live, 0);
	}
	assert_true(asked > 20);
}

/* how often learning for so many epochs from all pairs in one batch asks whether to stop */
static int
questions(const BrComplementPair *pairs, int n, int epochs)
{
	Countdown countdown;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement complement;
	Shop shop;

	open_shop(&shop);
	options.epochs = epochs;
	options.batch = n;
	options.held_out = 0;
	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_complement(&context, &shop.items, pairs, n, NULL, &options, NULL,
										 &complement),
					 BR_OK);
	br_learn_complement_free(&context, &complement);
	return INT_MAX - countdown.checks;
}

/* Work grows with the square of a batch: it asks every 64 pairs on the way there and back. */
static void
large_batches_may_be_cancelled(void **state)
{
	enum
	{
		BATCH = 1024
	};
	BrComplementPair pairs[BATCH];

	(void) state;
	for (int i = 0; i < BATCH; i++)
		pairs[i] = (BrComplementPair){i % 32, 32 + i / 32, 1};
	assert_true(questions(pairs, BATCH, 1) - questions(pairs, BATCH, 0) >= 2 * BATCH / 64);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_pair_moves_nothing),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(memory_may_run_out_anywhere),
		cmocka_unit_test(cancelling_leaves_nothing),
		cmocka_unit_test(large_batches_may_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
