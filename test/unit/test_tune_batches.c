/*
 * test_tune_batches.c
 *	  What a step learns from, beside brute force: order, false negatives, hard
 *	  negatives; and when patience ends.
 */
#include "core/tune/tune_int.h"
#include "unit/tune_fixture.h"

#include <math.h>

/* Every fourth text is a copy of the one before it. */
static void
copy_some_texts(Shop *shop)
{
	for (int i = 3; i < TEXTS; i += 4)
		memcpy(shop->ids + i * 4, shop->ids + (i - 1) * 4, 4 * sizeof(int32_t));
}

static bool
same_text(const Shop *shop, int32_t left, int32_t right)
{
	return memcmp(shop->ids + left * 4, shop->ids + right * 4, 4 * sizeof(int32_t)) == 0;
}

/* By reading all training examples. */
static bool
goes_with(const Shop *shop, int32_t left, int32_t right)
{
	if (same_text(shop, left, right))
		return true;
	for (int i = 0; i < shop->data.n_examples - shop->data.n_validation; i++)
	{
		const BrTuneExample *example = &shop->examples[i];

		if ((same_text(shop, left, example->first) && same_text(shop, right, example->second)) ||
			(same_text(shop, left, example->second) && same_text(shop, right, example->first)))
			return true;
	}
	return false;
}

/* ---- order ---- */

static void
epochs_are_permutations(void **state)
{
	Shop shop;
	BrTune *tune;
	int32_t first_order[EXAMPLES];

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.batch = 7;
	tune = shop_tune(&shop);
	for (int epoch = 0; epoch < 3; epoch++)
	{
		int seen[EXAMPLES] = {0};
		int taken = 0;

		assert_int_equal(br_tune_plan_epoch(tune, epoch), BR_OK);
		for (int i = 0; i < tune->n_training; i++)
			seen[tune->order[i]]++;
		for (int i = 0; i < EXAMPLES; i++)
			assert_int_equal(seen[i], i < KINDS * TRAINED);
		assert_int_equal(tune->steps_of_epoch, 5);
		for (int step = 0; step < 5; step++)
		{
			int first;
			int n;

			br_tune_find_batch(tune, step, &first, &n);
			assert_int_equal(first, taken);
			assert_true(n == 6 || n == 7);
			taken += n;
		}
		assert_int_equal(taken, KINDS * TRAINED);
		if (epoch == 0)
			memcpy(first_order, tune->order, (size_t) taken * sizeof(int32_t));
		else
			assert_memory_not_equal(first_order, tune->order, (size_t) taken * sizeof(int32_t));
	}
	br_tune_close(tune);
	shop_close(&shop);
}

/* Six anchors with eight partners each: a batch of six can have each of them once. */
static void
batches_have_a_text_once(void **state)
{
	Shop shop;
	BrTune *tune;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	for (int i = 0; i < EXAMPLES; i++)
		shop.examples[i] = (BrTuneExample){.first = i % 6, .second = 6 + i, .third = -1};
	shop.data.n_validation = 0;
	shop.options.batch = 6;
	tune = shop_tune(&shop);
	for (int epoch = 0; epoch < 4; epoch++)
	{
		assert_int_equal(br_tune_plan_epoch(tune, epoch), BR_OK);
		for (int i = 0; i < EXAMPLES; i += 6)
		{
			int anchors = 0;

			for (int j = 0; j < 6; j++)
				anchors |= 1 << tune->order[i + j] % 6;
			assert_int_equal(anchors, 0x3f);
		}
	}
	br_tune_close(tune);
	shop_close(&shop);
}

/* ---- false negatives ---- */

/* How many candidates are masked in a batch; all of them and no other must be. */
static int
count_masked(const Shop *shop, const BrTuneBatch *batch)
{
	int n = batch->n;
	int m = n + n * batch->n_negatives;
	int masked = 0;

	for (int i = 0; i < n; i++)
		for (int c = 0; c < m; c++)
		{
			bool excluded = batch->contrastive.excluded[i * m + c] != 0;
			bool known = goes_with(shop, batch->texts[i], batch->texts[n + c]);

			assert_int_equal(excluded, c != i && known);
			masked += excluded;
		}
	return masked;
}

/* Anchors have several partners, partners several anchors, and texts are there twice. */
static void
tangle(Shop *shop)
{
	copy_some_texts(shop);
	for (int i = 0; i < KINDS * TRAINED; i++)
		shop->examples[i] =
			(BrTuneExample){.first = i * 7 % 20, .second = 20 + i * 11 % 18, .third = -1};
}

static void
false_negatives_are_masked(void **state)
{
	Shop shop;
	BrTune *tune;
	int masked = 0;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	tangle(&shop);
	shop.options.batch = 16;
	shop.options.negatives = 2;
	shop.options.negatives_from = 1;
	shop.options.negatives_to = 3;
	tune = shop_tune(&shop);
	assert_int_equal(br_tune_mine(tune, 0), BR_OK);
	for (int epoch = 0; epoch < 3; epoch++)
	{
		assert_int_equal(br_tune_plan_epoch(tune, epoch), BR_OK);
		for (int step = 0; step < 2; step++)
		{
			BrTuneBatch batch;
			int first;
			int n;

			br_tune_find_batch(tune, step, &first, &n);
			assert_int_equal(br_tune_gather(tune, tune->order + first, n, true, &batch), BR_OK);
			assert_int_equal(batch.n_negatives, 2);
			masked += count_masked(&shop, &batch);
			br_tune_free_batch(&shop.open.context, &batch);
		}
	}
	assert_true(masked > 20);
	br_tune_close(tune);
	shop_close(&shop);
}

/* The data give a hard negative for every other anchor alone; the others' places count for none. */
static void
given_negatives_come_first(void **state)
{
	const int32_t numbers[] = {0, 1, 2, 3};
	Shop shop;
	BrTune *tune;
	BrTuneBatch batch;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	for (int i = 0; i < EXAMPLES; i += 2)
		shop.examples[i].third = shop_text(5, 1);
	shop.options.no_false_negatives = false;
	tune = shop_tune(&shop);
	assert_int_equal(br_tune_gather(tune, numbers, 4, true, &batch), BR_OK);
	assert_int_equal(batch.n_texts, 12);
	for (int c = 0; c < 8; c++)
		for (int i = 0; i < 4; i++)
			assert_int_equal(batch.excluded[i * 8 + c], c >= 4 && c % 2 == 1);
	assert_int_equal(batch.texts[8], shop_text(5, 1));
	assert_int_equal(batch.texts[10], shop_text(5, 1));
	br_tune_free_batch(&shop.open.context, &batch);
	br_tune_close(tune);
	shop_close(&shop);
}

/* Four texts of 2^30 tokens are 2^32, which 32 bits have no room for. */
static void
too_many_tokens_are_refused(void **state)
{
	const int32_t numbers[] = {0, 1};
	Shop shop;
	BrTune *tune;
	BrTuneBatch batch;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	tune = shop_tune(&shop);
	for (int i = 0; i < 2; i++)
		shop.examples[i].first = shop.examples[i].second = 0;
	tune->texts.offsets[1] = 1 << 30;
	assert_int_equal(br_tune_gather(tune, numbers, 2, true, &batch), BR_ERR_LIMIT);
	assert_non_null(strstr(shop.open.context.detail, "4294967296 tokens"));
	br_tune_free_batch(&shop.open.context, &batch);
	br_tune_close(tune);
	shop_close(&shop);
}

/* ---- hard negatives ---- */

/* Cosines of all texts by the encoder's own embeddings, in double. */
static void
find_cosines(const BrEncoder *encoder, BrContext *context, const Shop *shop, double *cosines)
{
	const BrCompute compute = {.backend = br_math_portable_backend()};
	int dim = br_encoder_info(encoder)->dimensions;
	float *rows = calloc((size_t) TEXTS * (size_t) dim, sizeof(float));

	assert_non_null(rows);
	assert_int_equal(br_encoder_embed_tokens(encoder, context, &compute, shop->ids, shop->offsets,
											 TEXTS, rows),
					 BR_OK);
	for (int i = 0; i < TEXTS; i++)
		for (int j = 0; j < TEXTS; j++)
		{
			double dot = 0;
			double left = 0;
			double right = 0;

			for (int d = 0; d < dim; d++)
			{
				double a = (double) rows[i * dim + d];
				double b = (double) rows[j * dim + d];

				dot += a * b;
				left += a * a;
				right += b * b;
			}
			cosines[i * TEXTS + j] = dot / sqrt(left * right);
		}
	free(rows);
}

/* Ranks that a text may have among different texts that do not go with an anchor, from 1 on. */
static void
find_ranks(const Shop *shop, const double *cosines, int32_t anchor, int32_t text, int *least,
		   int *most)
{
	*least = 1;
	*most = 1;
	for (int i = 0; i < TEXTS; i++)
	{
		double apart = cosines[anchor * TEXTS + i] - cosines[anchor * TEXTS + text];
		bool copy = false;

		for (int j = 0; j < i; j++)
			copy |= same_text(shop, i, j);
		if (copy || same_text(shop, i, text) || goes_with(shop, anchor, i))
			continue;
		*least += apart > 1e-6;
		*most += apart > -1e-6;
	}
}

/* Every negative has a rank that was asked for; returns how many different ones there are. */
static int
assert_ranks(const Shop *shop, const BrTune *tune, const double *cosines)
{
	int count = shop->options.negatives;
	int counted[TEXTS + 1] = {0};
	int different = 0;

	for (int i = 0; i < tune->n_training; i++)
		for (int j = 0; j < count; j++)
		{
			int32_t anchor = shop->examples[i].first;
			int32_t text = tune->negatives[i * count + j];
			int least;
			int most;

			assert_in_range(text, 0, TEXTS - 1);
			assert_false(goes_with(shop, anchor, text));
			for (int k = 0; k < j; k++)
				assert_false(same_text(shop, text, tune->negatives[i * count + k]));
			find_ranks(shop, cosines, anchor, text, &least, &most);
			assert_true(least <= shop->options.negatives_to);
			assert_true(most >= shop->options.negatives_from);
			counted[most]++;
		}
	for (int rank = 1; rank <= TEXTS; rank++)
		different += counted[rank] > 0;
	return different;
}

static void
negatives_have_the_ranks(void **state)
{
	double *cosines = calloc((size_t) TEXTS * TEXTS, sizeof(double));
	Shop shop;
	BrTune *tune;
	float *weights;
	void *image;
	BrEncoder *encoder;

	(void) state;
	assert_non_null(cosines);
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_LORA);
	tangle(&shop);
	shop.data.n_examples = KINDS * TRAINED;
	shop.data.n_validation = 0;
	shop.options.negatives = 3;
	shop.options.negatives_from = 4;
	shop.options.negatives_to = 10;
	tune = shop_tune(&shop);
	assert_int_equal(br_tune_mine(tune, 0), BR_OK);
	find_cosines(shop.open.encoder, &shop.open.context, &shop, cosines);
	assert_true(assert_ranks(&shop, tune, cosines) >= 7);

	/* of the model as it was at the beginning of the last epoch that has begun */
	for (int step = 0; step < 4; step++)
		shop_step(&shop, tune);
	weights = calloc(br_tune_weights_count(tune), sizeof(float));
	assert_non_null(weights);
	assert_int_equal(br_tune_weights(tune, weights), BR_OK);
	assert_int_equal(br_encoder_with_weights(&shop.open.context, shop.open.image,
											 shop.open.image_size, weights, &image),
					 BR_OK);
	assert_int_equal(br_encoder_open(&shop.open.context, image, shop.open.image_size, &encoder),
					 BR_OK);
	assert_int_equal(br_tune_mine(tune, 1), BR_OK);
	find_cosines(encoder, &shop.open.context, &shop, cosines);
	assert_true(assert_ranks(&shop, tune, cosines) >= 7);
	br_encoder_close(encoder);
	br_base_free(&shop.open.context, image);
	free(weights);
	free(cosines);
	br_tune_close(tune);
	shop_close(&shop);
}

/* ---- patience ---- */

typedef struct Curve
{
	const char *what;
	double figures[8]; /* the first is before the first step */
	int patience;
	double least_improvement;
	int ends;	   /* after which validation; 0: not at all */
	int best_step; /* at ten steps each */
} Curve;

/* Worked out by hand from the definition. */
static const Curve curves[] = {
	{"rises to the end", {.1, .2, .3, .4, .5, .6, .7, .8}, 1, 0, 0, 70},
	{"falls at once", {.5, .4, .3, .2, .1, .1, .1, .1}, 3, 0, 3, 0},
	{"a plateau is no rise", {.1, .5, .5, .5, .6, .7, .8, .9}, 2, 0, 3, 10},
	{"a rise starts patience anew", {.1, .2, .1, .3, .1, .2, .1, .9}, 3, 0, 6, 30},
	{"too small a rise is none", {.1, .15, .25, .29, .31, .3, .3, .3}, 3, 0.1, 5, 20},
	{"without patience it goes on", {.9, .1, .1, .1, .1, .1, .1, .1}, 0, 0, 0, 0},
};

static void
patience_ends_where_the_curve_says(void **state)
{
	(void) state;
	for (size_t c = 0; c < sizeof(curves) / sizeof(curves[0]); c++)
	{
		const Curve *curve = &curves[c];
		BrTuneRecord record = {0};
		int ends = 0;

		for (int i = 0; i < 8 && ends == 0; i++)
		{
			BrTuneValidation validation = {0, curve->figures[i], 0};

			record.step = 10 * i;
			br_tune_judge(&record, &validation, curve->least_improvement, curve->patience);
			record.started = 1;
			if (record.end == BR_TUNE_PATIENCE)
				ends = i;
		}
		if (ends != curve->ends || record.best_step != curve->best_step)
			fail_msg("%s: ends after %d, best step %d", curve->what, ends, (int) record.best_step);
	}
}

/* At a rate that changes nothing nothing improves, and the weights are those it began with. */
static void
patience_ends_a_tuning(void **state)
{
	Shop shop;
	BrTune *tune;
	BrTuneProgress progress;
	float *weights;
	int steps = 0;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.rate = 1e-30;
	shop.options.patience = 3;
	shop.options.validate_every = 5;
	tune = shop_tune(&shop);
	do
	{
		progress = shop_step(&shop, tune);
		steps++;
		assert_int_equal(progress.validated, steps % 5 == 0);
	} while (progress.end == BR_TUNE_GOES_ON);
	assert_int_equal(progress.end, BR_TUNE_PATIENCE);
	assert_int_equal(steps, 15);
	assert_int_equal(progress.step, 15);
	assert_int_equal(progress.best_step, 0);
	assert_false(progress.best);
	progress = shop_step(&shop, tune);
	assert_int_equal(progress.step, 15);
	weights = calloc(br_tune_weights_count(tune), sizeof(float));
	assert_non_null(weights);
	assert_int_equal(br_tune_weights(tune, weights), BR_OK);
	assert_memory_equal(weights, br_encoder_weights(shop.open.encoder),
						br_tune_weights_count(tune) * sizeof(float));
	free(weights);
	br_tune_close(tune);
	shop_close(&shop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(epochs_are_permutations),
		cmocka_unit_test(batches_have_a_text_once),
		cmocka_unit_test(false_negatives_are_masked),
		cmocka_unit_test(given_negatives_come_first),
		cmocka_unit_test(too_many_tokens_are_refused),
		cmocka_unit_test(negatives_have_the_ranks),
		cmocka_unit_test(patience_ends_where_the_curve_says),
		cmocka_unit_test(patience_ends_a_tuning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
