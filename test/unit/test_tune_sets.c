/*
 * test_tune_sets.c
 *	  Fine-tuning by completion of sets: what is learned, what validation says,
 *	  what is no negative, and how much of it is taken.
 *
 * Compiled with the room's inside, for a look into batches.
 */
#include "core/tune/tune_int.h"
#include "unit/tune_fixture.h"

#include <math.h>

#define SETS EXAMPLES
#define MOST_MEMBERS (3 * SETS)

static int32_t sets[SETS + 1];
static int32_t members[MOST_MEMBERS];

/* The pairs of the shop as sets; every third one has another partner of the same kind. */
static void
sets_open(Shop *shop)
{
	int n = 0;

	shop_open(shop, BR_TUNE_SETS, BR_TUNE_FULL);
	for (int i = 0; i < SETS; i++)
	{
		int32_t partner = shop->examples[i].second;

		members[n++] = shop->examples[i].first;
		members[n++] = partner;
		if (i % 3 == 0)
			members[n++] = partner / OF_KIND * OF_KIND + (partner + 1) % OF_KIND;
		sets[i + 1] = n;
	}
	shop->data.examples = NULL;
	shop->data.sets = sets;
	shop->data.members = members;
	shop->options.mix = 1;
}

static BrTuneProgress
run_to_end(Shop *shop, BrTune *tune)
{
	BrTuneProgress progress;

	do
		progress = shop_step(shop, tune);
	while (progress.end == BR_TUNE_GOES_ON);
	return progress;
}

/* Members of other sets cannot be told apart by what the model knows. */
static void
sets_are_learned(void **state)
{
	BrTuneProgress progress;
	BrTune *tune;
	Shop shop;

	(void) state;
	sets_open(&shop);
	shop.options.epochs = 40;
	shop.options.dropout = shop.options.attention_dropout = 0;
	tune = shop_tune(&shop);
	progress = run_to_end(&shop, tune);
	assert_true(progress.start.figure < 0.3);
	assert_true(progress.validation.figure > 0.5);
	assert_true(progress.validation.loss < progress.start.loss);
	br_tune_close(tune);
	shop_close(&shop);
}

/* ---- validation by brute force ---- */

static bool
has(int set, int32_t text)
{
	for (int32_t i = sets[set]; i < sets[set + 1]; i++)
		if (members[i] == text)
			return true;
	return false;
}

/* Whether a validation set has a text. */
static bool
is_asked(const Shop *shop, int32_t text)
{
	for (int i = SETS - shop->data.n_validation; i < SETS; i++)
		if (has(i, text))
			return true;
	return false;
}

static double
mean_cosine(const float *units, int dim, int set, int32_t without, int32_t text)
{
	double sum = 0;
	int n = 0;

	for (int32_t i = sets[set]; i < sets[set + 1]; i++)
	{
		if (members[i] == without)
			continue;
		for (int d = 0; d < dim; d++)
			sum += (double) units[members[i] * dim + d] * (double) units[text * dim + d];
		n++;
	}
	return sum / n;
}

static double
brute_figure(const Shop *shop, const float *units, int dim)
{
	double figure = 0;
	int n = 0;

	for (int set = SETS - shop->data.n_validation; set < SETS; set++)
		for (int32_t i = sets[set]; i < sets[set + 1]; i++)
		{
			double own = mean_cosine(units, dim, set, members[i], members[i]);
			double nearer = 0;

			for (int32_t text = 0; text < TEXTS; text++)
				if (is_asked(shop, text) && !has(set, text))
				{
					double other = mean_cosine(units, dim, set, members[i], text);

					nearer += other > own ? 1 : 0;
				}
			figure += 1 / (1 + nearer);
			n++;
		}
	return figure / n;
}

static void
validation_ranks_members(void **state)
{
	BrTuneProgress progress;
	BrTune *tune;
	Shop shop;
	float *units;
	int dim;

	(void) state;
	sets_open(&shop);
	tune = shop_tune(&shop);
	dim = br_encoder_info(shop.open.encoder)->dimensions;
	units = malloc((size_t) TEXTS * (size_t) dim * sizeof(float));
	assert_non_null(units);
	assert_int_equal(br_tune_embed(tune, shop.ids, shop.offsets, TEXTS, units), BR_OK);
	for (int i = 0; i < TEXTS; i++)
	{
		double length = 0;

		for (int d = 0; d < dim; d++)
			length += (double) units[i * dim + d] * (double) units[i * dim + d];
		for (int d = 0; d < dim; d++)
			units[i * dim + d] = (float) ((double) units[i * dim + d] / sqrt(length));
	}
	progress = shop_step(&shop, tune);
	assert_true(fabs(progress.start.figure - brute_figure(&shop, units, dim)) < 1e-6);
	free(units);
	br_tune_close(tune);
	shop_close(&shop);
}

/* ---- batches ---- */

static bool
go_together(int32_t left, int32_t right, int n_training)
{
	for (int i = 0; i < n_training; i++)
		if (has(i, left) && has(i, right))
			return true;
	return left == right;
}

/* Every set once in an epoch, and what goes together in training is no negative. */
static void
batches_hold_whole_sets(void **state)
{
	int taken[SETS] = {0};
	int excluded = 0;
	BrTune *tune;
	Shop shop;
	int n_training;

	(void) state;
	sets_open(&shop);
	tune = shop_tune(&shop);
	n_training = SETS - shop.data.n_validation;
	assert_int_equal(br_tune_plan_epoch(tune, 3), BR_OK);
	for (int64_t step = 0; step < tune->steps_of_epoch; step++)
	{
		BrTuneBatch batch;
		int first;
		int n;
		int at = 0;

		br_tune_find_batch(tune, step, &first, &n);
		assert_int_equal(br_tune_gather(tune, tune->order + first, n, true, &batch), BR_OK);
		for (int i = 0; i < n; i++)
		{
			int32_t set = tune->order[first + i];

			taken[set]++;
			for (int32_t j = sets[set]; j < sets[set + 1]; j++, at++)
			{
				assert_int_equal(batch.texts[at], members[j]);
				assert_int_equal(batch.sets[at], i);
			}
		}
		assert_int_equal(at, batch.n_texts);
		for (int i = 0; i < at; i++)
			for (int c = 0; c < at; c++)
			{
				bool expected = batch.sets[i] != batch.sets[c] &&
					go_together(batch.texts[i], batch.texts[c], n_training);

				assert_int_equal(batch.excluded[i * at + c], expected);
				excluded += expected;
			}
		br_tune_free_batch(&shop.open.context, &batch);
	}
	for (int i = 0; i < SETS; i++)
		assert_int_equal(taken[i], i < n_training);
	assert_true(excluded > 0);
	br_tune_close(tune);
	shop_close(&shop);
}

/* ---- what is taken ---- */

static float *
weights_of(Shop *shop, double mix, bool interrupted)
{
	float *weights;
	BrTune *tune;

	shop->options.mix = mix;
	tune = shop_tune(shop);
	if (interrupted)
	{
		Bytes bytes = {.context = &shop->open.context};

		for (int i = 0; i < 5; i++)
			shop_step(shop, tune);
		assert_int_equal(br_tune_save(tune, write_bytes, &bytes), BR_OK);
		br_tune_close(tune);
		tune = shop_tune(shop);
		assert_int_equal(br_tune_restore(tune, read_bytes, &bytes), BR_OK);
		free(bytes.bytes);
	}
	run_to_end(shop, tune);
	weights = malloc(br_tune_weights_count(tune) * sizeof(float));
	assert_non_null(weights);
	assert_int_equal(br_tune_weights(tune, weights), BR_OK);
	br_tune_close(tune);
	return weights;
}

static void
weights_are_mixed(void **state)
{
	BrModelShape shape;
	Shop shop;
	float *all;
	float *most;
	float *again;
	const float *base;
	double moved = 0;

	(void) state;
	sets_open(&shop);
	shop.options.epochs = 3;
	all = weights_of(&shop, 1, false);
	most = weights_of(&shop, 0.75, false);
	again = weights_of(&shop, 0.75, true);
	br_encoder_tell_shape(shop.open.encoder, &shape);
	base = br_encoder_weights(shop.open.encoder);
	for (size_t i = 0; i < shape.map.total; i++)
	{
		double expected = 0.75 * (double) all[i] + 0.25 * (double) base[i];

		assert_true(fabs((double) most[i] - expected) <= 1e-6 * (1 + fabs(expected)));
		moved += fabs((double) all[i] - (double) base[i]);
	}
	assert_true(moved > 1);
	assert_memory_equal(most, again, shape.map.total * sizeof(float));
	free(all);
	free(most);
	free(again);
	shop_close(&shop);
}

/* ---- what is refused ---- */

/* Closes the shop. */
static void
refuse(Shop *shop, const char *words)
{
	BrTune *tune;

	assert_int_equal(shop_open_tune(shop, &shop->open.context, &tune), BR_ERR_ARGUMENT);
	assert_null(tune);
	assert_non_null(strstr(shop->open.context.detail, words));
	shop_close(shop);
}

static void
bad_sets_are_refused(void **state)
{
	Shop shop;

	(void) state;
	sets_open(&shop);
	members[7] = TEXTS;
	refuse(&shop, "has the text 96; there are 0 to 95");
	sets_open(&shop);
	sets[4] = sets[3] + 1;
	refuse(&shop, "Set 3 has 1 members");
	sets_open(&shop);
	sets[0] = 1;
	refuse(&shop, "begin at member 0");
	sets[0] = 0;
	sets_open(&shop);
	shop.data.sets = NULL;
	refuse(&shop, "There are no sets");
	sets_open(&shop);
	shop.options.batch = 1;
	refuse(&shop, "batch is 1");
	sets_open(&shop);
	for (int i = 0; i < 2; i++)
	{
		members[i] = i;
		members[i + 2] = i;
	}
	sets[1] = 2;
	sets[2] = 4;
	shop.data.n_examples = 2;
	shop.data.n_validation = 0;
	refuse(&shop, "at least two different");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_are_learned),		   cmocka_unit_test(validation_ranks_members),
		cmocka_unit_test(batches_hold_whole_sets), cmocka_unit_test(weights_are_mixed),
		cmocka_unit_test(bad_sets_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
