/*
 * test_tune_objectives.c
 *	  Every objective learns a rule that the model did not know, from examples
 *	  to others; options and data that are none are refused.
 */
#include "unit/tune_fixture.h"

#include <math.h>

/* Runs to the end; the mean loss of the last epoch. */
static double
finish(Shop *shop, BrTune *tune, BrTuneProgress *progress)
{
	double last = 0;
	int n = 0;

	do
	{
		*progress = shop_step(shop, tune);
		if (progress->epoch == shop->options.epochs - 1)
		{
			last += progress->loss;
			n++;
		}
	} while (progress->end == BR_TUNE_GOES_ON);
	assert_int_equal(progress->end, BR_TUNE_ALL_STEPS);
	assert_int_equal(progress->step, progress->steps);
	return last / n;
}

static BrTuneProgress
learn(Shop *shop, double *last)
{
	BrTune *tune = shop_tune(shop);
	BrTuneProgress progress;

	*last = finish(shop, tune, &progress);
	br_tune_close(tune);
	return progress;
}

static void
learning_shop(Shop *shop, BrTuneObjective objective)
{
	shop_open(shop, objective, BR_TUNE_FULL);
	shop->options.epochs = 40;
	shop->options.dropout = shop->options.attention_dropout = 0;
}

/* Of three labels chance finds a third. */
static void
labels_are_learned(void **state)
{
	const BrTuneObjective objectives[] = {BR_TUNE_TEXT_CLASSES, BR_TUNE_PAIR_CLASSES};

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		Shop shop;
		BrTuneProgress progress;
		double last;

		learning_shop(&shop, objectives[i]);
		progress = learn(&shop, &last);
		assert_true(progress.start.figure < 0.6);
		assert_true(progress.validation.figure > 0.85);
		assert_true(last < 0.2 * log(3));
		assert_true(progress.validation.loss < progress.start.loss);
		shop_close(&shop);
	}
}

static void
scores_are_learned(void **state)
{
	Shop shop;
	BrTuneProgress progress;
	double last;

	(void) state;
	learning_shop(&shop, BR_TUNE_SCORE);
	progress = learn(&shop, &last);
	assert_true(progress.start.pearson < 0.5);
	assert_true(progress.validation.pearson > 0.8);
	assert_true(progress.validation.figure > 0.7);
	assert_true(last < 0.05);
	shop_close(&shop);
}

/* What is far is a text of the next kind. */
static void
triplets_are_learned(void **state)
{
	Shop shop;
	BrTuneProgress progress;
	double last;

	(void) state;
	learning_shop(&shop, BR_TUNE_TRIPLET);
	for (int i = 0; i < EXAMPLES; i++)
		shop.examples[i].third = shop_text((i + 1) % KINDS + KINDS, i / KINDS);
	progress = learn(&shop, &last);
	assert_true(progress.start.figure < 0.8);
	assert_true(progress.validation.figure > 0.9);
	assert_true(last < 0.02);
	shop_close(&shop);
}

/* The teacher knows kinds alone. */
static void
teachers_are_learned_from(void **state)
{
	float teacher[TEXTS * 40] = {0};
	Shop shop;
	BrTuneProgress progress;
	double last;

	(void) state;
	learning_shop(&shop, BR_TUNE_DISTILLATION);
	for (int i = 0; i < TEXTS; i++)
	{
		teacher[i * 40 + i / OF_KIND] = 1;
		teacher[i * 40 + 39] = 1000; /* beyond the dimensions that are compared */
	}
	shop.data.teacher = teacher;
	shop.data.teacher_dimensions = 40;
	progress = learn(&shop, &last);
	assert_true(progress.validation.loss < 0.5 * progress.start.loss);
	assert_true(progress.validation.figure == -progress.validation.loss);
	assert_true(last < 0.5 * progress.start.loss);
	shop_close(&shop);
}

/* A kind's word stands in six texts, so it is guessed better than any of 1000 words. */
static void
hidden_words_are_learned(void **state)
{
	Shop shop;
	BrTuneProgress progress;
	double last;

	(void) state;
	learning_shop(&shop, BR_TUNE_MASKED_WORDS);
	shop.options.mask_share = 0.4;
	shop.options.chunk_tokens = 12;
	progress = learn(&shop, &last);
	assert_true(-progress.best_figure < 0.8 * progress.start.loss);
	assert_true(last < 0.5 * progress.start.loss);
	shop_close(&shop);
}

/* Two documents with a word each, of which two more have a part; other words are of texts alone. */
static void
next_sentences_are_learned(void **state)
{
	int32_t documents[TEXTS];
	Shop shop;
	BrTuneProgress progress;
	double last;

	(void) state;
	learning_shop(&shop, BR_TUNE_NEXT_SENTENCE);
	for (int i = 0; i < TEXTS; i++)
	{
		documents[i] = i < 36 ? 0 : i < 72 ? 1 : i < 84 ? 2 : 3;
		shop.ids[i * 4 + 1] = 100 + documents[i] % 2;
	}
	shop.data.documents = documents;
	shop.data.n_validation = 24;
	shop.options.epochs = 60;
	shop.options.rate = 1e-3;
	progress = learn(&shop, &last);
	assert_int_equal(progress.steps, 60 * 9);
	assert_true(progress.start.figure < 0.8);
	assert_true(progress.best_figure > 0.9);
	assert_true(last < 0.5 * log(2));
	shop_close(&shop);
}

/* ---- what is refused ---- */

static void
expect_refused(Shop *shop, const char *hint)
{
	BrTune *tune = (BrTune *) shop;
	BrStatus status = shop_open_tune(shop, &shop->open.context, &tune);

	assert_int_equal(status, BR_ERR_ARGUMENT);
	assert_null(tune);
	if (strstr(shop->open.context.detail, hint) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", shop->open.context.detail, hint);
}

static void
data_that_are_none_are_refused(void **state)
{
	Shop shop;
	BrTuneData data;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	data = shop.data;
	shop.data.n_examples = shop.data.n_validation = 0;
	expect_refused(&shop, "0 examples");
	shop.data = data;
	shop.data.n_validation = EXAMPLES;
	expect_refused(&shop, "at least one must be there to learn from");
	shop.data = data;
	shop.data.n_examples = 1;
	shop.data.n_validation = 0;
	expect_refused(&shop, "one pair of texts");
	shop.data = data;
	for (int i = 0; i < EXAMPLES; i++)
		shop.examples[i] =
			(BrTuneExample){.first = i % 2 == 0 ? 3 : 5, .second = i % 2 == 0 ? 5 : 3, .third = -1};
	expect_refused(&shop, "one pair of texts");
	shop.examples[2].second = TEXTS;
	expect_refused(&shop, "Example 2 has the texts 3, 96");
	shop.data.n_texts = 0;
	expect_refused(&shop, "no texts");
	shop.data = data;
	shop.ids[9] = 1 << 20;
	expect_refused(&shop, "Text 2 has the token id 1048576");
	shop_close(&shop);
}

static void
labels_and_scores_out_of_range_are_refused(void **state)
{
	Shop shop;

	(void) state;
	shop_open(&shop, BR_TUNE_TEXT_CLASSES, BR_TUNE_FULL);
	shop.examples[11].label = 3;
	expect_refused(&shop, "Example 11 has the label 3; there are 0 to 2.");
	shop.examples[11].label = -1;
	expect_refused(&shop, "Example 11 has the label -1; there are 0 to 2.");
	shop.data.classes = 1;
	expect_refused(&shop, "1 classes");
	shop.options.objective = BR_TUNE_SCORE;
	shop.examples[4].score = 1.5F;
	expect_refused(&shop, "Example 4 has the score 1.5");
	shop.examples[4].score = NAN;
	expect_refused(&shop, "Example 4 has the score");
	shop.options.objective = BR_TUNE_DISTILLATION;
	expect_refused(&shop, "The teacher's embeddings have 0 dimensions");
	shop_close(&shop);
}

/* Every number of the table is tried just beyond its range. */
static void
options_out_of_range_are_named(void **state)
{
	BrTuneOptions options;
	BrContext context;
	const char *name;
	int n;
	const BrTuneField *fields = br_tune_fields(&n);
	int tried = 0;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < n; i++)
	{
		void *at;

		br_tune_defaults(BR_TUNE_CONTRASTIVE, BR_TUNE_LORA, &options);
		assert_int_equal(br_tune_check_options(&context, &options, &name), BR_OK);
		assert_null(name);
		at = (char *) &options + fields[i].offset;
		if (fields[i].kind == BR_TUNE_INT)
			*(int *) at = (int) fields[i].lowest - 1;
		else if (fields[i].kind == BR_TUNE_INT64)
			*(int64_t *) at = (int64_t) fields[i].lowest - 1;
		else if (fields[i].kind == BR_TUNE_DOUBLE)
			*(double *) at = fields[i].above ? fields[i].lowest : fields[i].lowest - 1e-9;
		else if (fields[i].kind == BR_TUNE_CHOICE)
			*(int *) at = fields[i].n_words;
		else if (fields[i].kind == BR_TUNE_FLAGS)
			*(unsigned *) at = 0;
		else
			continue;
		assert_int_equal(br_tune_check_options(&context, &options, &name), BR_ERR_ARGUMENT);
		assert_string_equal(name, fields[i].name);
		assert_int_equal(strncmp(context.detail, name, strlen(name)), 0);
		tried++;
		if (fields[i].kind != BR_TUNE_DOUBLE)
			continue;
		*(double *) at = NAN;
		assert_int_equal(br_tune_check_options(&context, &options, &name), BR_ERR_ARGUMENT);
		*(double *) at = fields[i].highest;
		assert_int_equal(br_tune_check_options(&context, &options, &name),
						 fields[i].below || isinf(fields[i].highest) ? BR_ERR_ARGUMENT : BR_OK);
	}
	assert_true(tried > 30);
}

static void
options_against_others_are_named(void **state)
{
	Shop shop;

	(void) state;
	shop_open(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.batch = 1;
	expect_refused(&shop, "batch is 1");
	shop.options.batch = 8;
	shop.options.negatives_to = shop.options.negatives_from + 1;
	shop.options.negatives = 3;
	expect_refused(&shop, "negatives is 3; ranks 5 to 6 have 2.");
	shop.options.negatives_to = 4;
	expect_refused(&shop, "negatives_to is 4");
	shop.options.negatives_to = 50;
	shop.options.matryoshka[0] = 33;
	shop.options.n_matryoshka = 1;
	expect_refused(&shop, "matryoshka has 33; embeddings have 32 dimensions.");
	shop.options.n_matryoshka = 0;
	shop.options.method = BR_TUNE_LORA;
	shop.options.lora_rank = 33;
	expect_refused(&shop, "lora_rank is 33");
	shop_close(&shop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_are_learned),
		cmocka_unit_test(scores_are_learned),
		cmocka_unit_test(triplets_are_learned),
		cmocka_unit_test(teachers_are_learned_from),
		cmocka_unit_test(hidden_words_are_learned),
		cmocka_unit_test(next_sentences_are_learned),
		cmocka_unit_test(data_that_are_none_are_refused),
		cmocka_unit_test(labels_and_scores_out_of_range_are_refused),
		cmocka_unit_test(options_out_of_range_are_named),
		cmocka_unit_test(options_against_others_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
