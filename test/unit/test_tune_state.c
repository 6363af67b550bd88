/*
 * test_tune_state.c
 *	  Saving and restoring: a fine-tuning that went on from any of its states has
 *	  the same bits, and a state that does not belong is refused.
 */
#include "unit/tune_fixture.h"

#include <math.h>

/* Everything that has a state is on. */
static void
busy_shop(Shop *shop, BrTuneMethod method)
{
	shop_open(shop, BR_TUNE_CONTRASTIVE, method);
	shop->options.epochs = 3;
	shop->options.negatives = 2;
	shop->options.negatives_from = 2;
	shop->options.negatives_to = 9;
	shop->options.word_dropout = 0.2;
	shop->options.validate_every = 3;
	shop->options.patience = 3;
	shop->options.lora_rank = 4;
	shop->options.adalora_rank = 4;
	shop->options.adalora_target_rank = 2;
	shop->options.bottleneck_size = 8;
	shop->options.prefix_length = 3;
	shop->options.prefix_width = 5;
	shop->options.adversary = 0.1;
}

/* At each step a tuning is opened anew, restored, and takes the next one. */
static void
goes_on(BrTuneMethod method, int threads)
{
	Shop shop;
	BrTune *tune;
	BrTuneProgress progress;
	int validated = 0;

	busy_shop(&shop, method);
	if (threads > 1)
		assert_int_equal(br_base_pool_create(&shop.open.context, threads, &shop.pool), BR_OK);
	tune = shop_tune(&shop);
	do
	{
		Bytes before = shop_save(&shop, tune);
		BrTune *again = shop_tune(&shop);
		BrTuneProgress there;
		Bytes after;
		Bytes after_there;

		assert_int_equal(shop_restore(again, before), BR_OK);
		progress = shop_step(&shop, tune);
		there = shop_step(&shop, again);
		validated += progress.validated;
		assert_int_equal(there.step, progress.step);
		after = shop_save(&shop, tune);
		after_there = shop_save(&shop, again);
		assert_int_equal(after.size, after_there.size);
		assert_memory_equal(after.bytes, after_there.bytes, after.size);
		assert_memory_not_equal(after.bytes, before.bytes, after.size);
		free(before.bytes);
		free(after.bytes);
		free(after_there.bytes);
		br_tune_close(again);
	} while (progress.end == BR_TUNE_GOES_ON);
	assert_true(progress.step >= 9 && validated >= 3);
	br_tune_close(tune);
	br_base_pool_destroy(shop.pool);
	shop_close(&shop);
}

static void
states_go_on_to_the_same_bits(void **state)
{
	(void) state;
	goes_on(BR_TUNE_FULL, 1);
	goes_on(BR_TUNE_FULL, 3);
	goes_on(BR_TUNE_LORA, 1);
	goes_on(BR_TUNE_LORA, 3);
	goes_on(BR_TUNE_ADALORA, 1);
	goes_on(BR_TUNE_ADALORA, 3);
	goes_on(BR_TUNE_BOTTLENECK, 1);
	goes_on(BR_TUNE_BOTTLENECK, 3);
	goes_on(BR_TUNE_PREFIX, 1);
	goes_on(BR_TUNE_PREFIX, 3);
}

/* ---- states that do not belong ---- */

static void
expect_refused(Shop *shop, Bytes bytes, BrStatus expected, const char *hint)
{
	BrTune *tune = shop_tune(shop);
	BrStatus status = shop_restore(tune, bytes);

	if (status != expected || strstr(shop->open.context.detail, hint) == NULL)
		fail_msg("status %d, \"%s\"; not \"%s\"", (int) status, shop->open.context.detail, hint);
	br_tune_close(tune);
}

static void
states_of_others_are_refused(void **state)
{
	Shop shop;
	Shop other;
	BrTune *tune;
	Bytes bytes;

	(void) state;
	busy_shop(&shop, BR_TUNE_FULL);
	tune = shop_tune(&shop);
	shop_step(&shop, tune);
	bytes = shop_save(&shop, tune);
	assert_int_equal(shop_restore(tune, bytes), BR_ERR_ARGUMENT);
	assert_non_null(strstr(shop.open.context.detail, "before the first step alone"));

	busy_shop(&other, BR_TUNE_FULL);
	other.options.rate *= 2;
	expect_refused(&other, bytes, BR_ERR_ARGUMENT, "other options");
	other.options = shop.options;
	other.options.seed++;
	expect_refused(&other, bytes, BR_ERR_ARGUMENT, "other options");
	other.options = shop.options;
	other.examples[3].second++;
	expect_refused(&other, bytes, BR_ERR_ARGUMENT, "other data");
	other.examples[3].second--;
	other.ids[5]++;
	expect_refused(&other, bytes, BR_ERR_ARGUMENT, "other data");
	other.ids[5]--;
	model_close(&other.open);
	model_open_golden(&other.open, "tiny-bert-cased-max-dense");
	expect_refused(&other, bytes, BR_ERR_ARGUMENT, "another model");
	shop_close(&other);
	free(bytes.bytes);
	br_tune_close(tune);
	shop_close(&shop);
}

/* Every cut, and every flipped bit, of a sample of places that begins with the whole head. */
static void
damaged_states_are_refused(void **state)
{
	Shop shop;
	BrTune *tune;
	Bytes bytes;

	(void) state;
	busy_shop(&shop, BR_TUNE_BOTTLENECK);
	tune = shop_tune(&shop);
	shop_step(&shop, tune);
	bytes = shop_save(&shop, tune);
	for (size_t at = 0; at < bytes.size; at = at < 200 ? at + 1 : at + 1 + bytes.size / 60)
	{
		Bytes cut = {bytes.bytes, at, 0, bytes.context};

		bytes.bytes[at] = (char) (bytes.bytes[at] ^ 1 << at % 8);
		expect_refused(&shop, bytes, BR_ERR_FORMAT, "state");
		bytes.bytes[at] = (char) (bytes.bytes[at] ^ 1 << at % 8);
		expect_refused(&shop, cut, BR_ERR_FORMAT, "cut short");
	}
	br_tune_close(tune);
	tune = shop_tune(&shop);
	assert_int_equal(shop_restore(tune, bytes), BR_OK);
	br_tune_close(tune);
	free(bytes.bytes);
	shop_close(&shop);
}

/* ---- steps that fail ---- */

/* A rate beyond all measure leaves weights whose products are not finite. */
static void
loss_that_is_not_finite_changes_nothing(void **state)
{
	Shop shop;
	BrTune *tune;
	BrTuneProgress progress;
	Bytes before;
	Bytes after;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.rate = 1e30;
	shop.options.warm_up = 0;
	shop.data.n_validation = 0;
	tune = shop_tune(&shop);
	shop_step(&shop, tune);
	before = shop_save(&shop, tune);
	for (int i = 0; i < 2; i++)
	{
		assert_int_equal(br_tune_step(tune, &progress), BR_ERR_NUMERIC);
		assert_non_null(strstr(shop.open.context.detail, "Step 2, at learning rate "));
		assert_non_null(strstr(shop.open.context.detail, "e+29: "));
		assert_int_equal(progress.step, 1);
	}
	after = shop_save(&shop, tune);
	assert_int_equal(before.size, after.size);
	assert_memory_equal(before.bytes, after.bytes, after.size);
	free(before.bytes);
	free(after.bytes);
	br_tune_close(tune);
	shop_close(&shop);
}

/* Where the step itself succeeds, the validation after it tells; no figure is made of NaN. */
static void
validation_that_is_not_finite_is_told(void **state)
{
	static const BrTuneObjective objectives[] = {BR_TUNE_CONTRASTIVE, BR_TUNE_TRIPLET,
												 BR_TUNE_SCORE, BR_TUNE_TEXT_CLASSES,
												 BR_TUNE_DISTILLATION};

	(void) state;
	for (size_t i = 0; i < sizeof(objectives) / sizeof(objectives[0]); i++)
	{
		static float teacher[TEXTS * 32];
		Shop shop;
		BrTune *tune;
		BrTuneProgress progress;

		shop_open(&shop, objectives[i], BR_TUNE_FULL);
		for (int j = 0; j < EXAMPLES; j++)
			shop.examples[j].third = shop_text(0, j % OF_KIND);
		for (int j = 0; j < TEXTS * 32; j++)
			teacher[j] = (float) cos(j);
		shop.data.teacher = teacher;
		shop.data.teacher_dimensions = 32;
		shop.options.rate = 1e30;
		shop.options.warm_up = 0;
		shop.options.validate_every = 1;
		tune = shop_tune(&shop);
		for (int again = 0; again < 2; again++)
		{
			assert_int_equal(br_tune_step(tune, &progress), BR_ERR_NUMERIC);
			assert_non_null(strstr(shop.open.context.detail, "Validation after step 1"));
			assert_int_equal(progress.step, 1);
		}
		br_tune_close(tune);
		shop_close(&shop);
	}
}

/* Cancelled later and later, each step at last succeeds, and has the bits of one that never was. */
static void
cancelled_steps_can_be_taken_again(BrTuneMethod method)
{
	Shop shop;
	BrTune *tune;
	BrTune *calm;
	BrTuneProgress progress;
	Bytes bytes;
	Bytes bytes_of_calm;
	int cancelled = 0;

	busy_shop(&shop, method);
	shop.options.validate_every = 1;
	shop.options.patience = 0;
	tune = shop_tune(&shop);
	calm = shop_tune(&shop);
	for (int step = 0; step < 5; step++)
	{
		BrStatus status = BR_ERR_CANCELLED;

		for (int checks = 0; status == BR_ERR_CANCELLED; checks = checks * 3 / 2 + 1)
		{
			Countdown countdown = {checks, 0};

			shop.open.context.cancel = (BrCancel){count_down, &countdown};
			status = br_tune_step(tune, &progress);
			cancelled += status == BR_ERR_CANCELLED;
		}
		shop.open.context.cancel = (BrCancel){NULL, NULL};
		assert_int_equal(status, BR_OK);
		assert_int_equal(progress.step, step + 1);
		shop_step(&shop, calm);
	}
	assert_true(cancelled > 15);
	bytes = shop_save(&shop, tune);
	bytes_of_calm = shop_save(&shop, calm);
	assert_int_equal(bytes.size, bytes_of_calm.size);
	assert_memory_equal(bytes.bytes, bytes_of_calm.bytes, bytes.size);
	free(bytes.bytes);
	free(bytes_of_calm.bytes);
	br_tune_close(tune);
	br_tune_close(calm);
	shop_close(&shop);
}

static void
cancelled_steps_change_nothing(void **state)
{
	(void) state;
	cancelled_steps_can_be_taken_again(BR_TUNE_FULL);
	cancelled_steps_can_be_taken_again(BR_TUNE_LORA);
	cancelled_steps_can_be_taken_again(BR_TUNE_ADALORA);
	cancelled_steps_can_be_taken_again(BR_TUNE_BOTTLENECK);
	cancelled_steps_can_be_taken_again(BR_TUNE_PREFIX);
}

/* Whichever allocation fails, all memory comes back. */
static void
lack_of_memory_is_told(void **state)
{
	Shop shop;
	int failed = 0;
	bool done = false;

	(void) state;
	busy_shop(&shop, BR_TUNE_LORA);
	for (int allowed = 0; !done; allowed++)
	{
		Ledger ledger = {0, 0, allowed};
		BrContext context;
		BrTune *tune;
		BrTuneProgress progress;
		BrStatus status;

		ledger_context(&context, &ledger);
		status = shop_open_tune(&shop, &context, &tune);
		if (status == BR_OK)
			status = br_tune_step(tune, &progress);
		br_tune_close(tune);
		assert_int_equal(ledger.outstanding, 0);
		done = status == BR_OK;
		failed += status == BR_ERR_MEMORY;
		assert_true(done || status == BR_ERR_MEMORY);
	}
	assert_true(failed > 40);
	shop_close(&shop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_go_on_to_the_same_bits),
		cmocka_unit_test(states_of_others_are_refused),
		cmocka_unit_test(damaged_states_are_refused),
		cmocka_unit_test(loss_that_is_not_finite_changes_nothing),
		cmocka_unit_test(validation_that_is_not_finite_is_told),
		cmocka_unit_test(cancelled_steps_change_nothing),
		cmocka_unit_test(lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
