/*
 * test_tune_state.c
 *	  Saving and restoring: a fine-tuning that went on from any of its states has
 *	  the same bits, and a state that does not belong is refused.
 */
#include "unit/tune_fixture.h"

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
	shop->options.bottleneck_size = 8;
	shop->options.adversary = 0.1;
}

static Bytes
save(Shop *shop, BrTune *tune)
{
	Bytes bytes = {NULL, 0, 0, &shop->open.context};

	assert_int_equal(br_tune_save(tune, write_bytes, &bytes), BR_OK);
	assert_int_equal(bytes.size, br_tune_state_size(tune));
	return bytes;
}

static BrStatus
restore(BrTune *tune, Bytes bytes)
{
	bytes.at = 0;
	return br_tune_restore(tune, read_bytes, &bytes);
}

/* At each step a tuning is opened anew, restored, and takes the next one. */
static void
goes_on(BrTuneMethod method)
{
	Shop shop;
	BrTune *tune;
	BrTuneProgress progress;
	int validated = 0;

	busy_shop(&shop, method);
	tune = shop_tune(&shop);
	do
	{
		Bytes before = save(&shop, tune);
		BrTune *again = shop_tune(&shop);
		BrTuneProgress there;
		Bytes after;
		Bytes after_there;

		assert_int_equal(restore(again, before), BR_OK);
		progress = shop_step(&shop, tune);
		there = shop_step(&shop, again);
		validated += progress.validated;
		assert_int_equal(there.step, progress.step);
		after = save(&shop, tune);
		after_there = save(&shop, again);
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
	shop_close(&shop);
}

static void
states_go_on_to_the_same_bits(void **state)
{
	(void) state;
	goes_on(BR_TUNE_FULL);
	goes_on(BR_TUNE_LORA);
	goes_on(BR_TUNE_BOTTLENECK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_go_on_to_the_same_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
