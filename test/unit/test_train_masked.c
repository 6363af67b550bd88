/*
 * test_train_masked.c
 *	  Guessing hidden words, compiled in double: its gradient beside differences
 *	  of the loss, and which tokens are chosen.
 */
#include "unit/train_double.h"

#include "unit/gradient_fixture.h"

#define SAMPLE 12
#define TOKENS 24
#define TEXTS 3

static const int32_t special[] = {2, 3};
static const BrTrainMasking half = {0.5, 4, special, 2};

/* A third of them specials. */
static const int32_t ids[TOKENS] = {2,	30, 31, 32, 33, 34, 35, 3, 2, 40,  41,	42,
									43, 44, 45, 3,	2,	50, 51, 3, 2, 600, 601, 3};
static const int32_t offsets[TEXTS + 1] = {0, 8, 16, 24};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};
static const BrTrainHead guesser = {.words = true};

static double
loss_of(void *arg)
{
	const Trained *trained = arg;
	double loss;
	int guessed;

	if (br_train_accumulate_masked(trained->run, &batch, 2, &half, &loss, &guessed) != BR_OK)
		fail_msg("%s", trained->open.context.detail);
	assert_true(guessed > 3 && guessed < 14);
	return loss;
}

/* As the loss adds to the gradient, that of the differences is thrown away. */
static void
check_model(const char *name)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend(),
									.dropout = 0.1,
									.attention_dropout = 0.1};
	Trained trained;
	const Differences differences = {loss_of, &trained, 1e-5, 1e-7, 1e-5};
	double *gradient;

	trained_open(&trained, name, guesser, &options);
	/* a bias of its own for every word, or a mistake in adding it would not show */
	for (int i = 0; i < trained.run->shape->vocabulary; i++)
		trained.model->parameters[trained.model->words_bias + (size_t) i] = 0.1 * sin(i);
	loss_of(&trained);
	gradient = copy_gradient(trained.model);
	expect_model_gradient(&differences, trained.model, gradient, SAMPLE, NULL, 0);
	free(gradient);
	trained_close(&trained);
}

static void
gradients_are_differences(void **state)
{
	(void) state;
	check_model("tiny-bert-cls");
	check_model("tiny-mpnet-mean");
	check_model("tiny-roberta-mean");
}

/* A head of zeros likes all words alike: the loss is the logarithm of their number. */
static void
nothing_known_costs_the_logarithm(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", guesser, &options);
	memset(trained.model->parameters + trained.model->shape.map.total, 0,
		   (trained.model->n - trained.model->shape.map.total) * sizeof(double));
	assert_true(fabs(loss_of(&trained) - log(1200)) < 1e-12);
	trained_close(&trained);
}

/*
 * Of 40,000 tokens 15 % are chosen; of those 80 % become the mask, 10 % any word,
 * 10 % stay, within four standard deviations. Specials never are.
 */
static void
choices_have_their_shares(void **state)
{
	enum
	{
		N = 40000
	};
	const BrTrainOptions options = {.backend = br_math_portable_backend(), .seed = 17};
	const BrTrainMasking masking = {0.15, 4, special, 2};
	static int32_t many[N];
	static int32_t hidden[N];
	static int32_t rows[N];
	static int32_t labels[N];
	static int32_t ends[N / 50 + 1];
	BrTrainGuesses guesses = {.ids = hidden, .rows = rows, .labels = labels};
	BrTrainBatch large = {many, ends, N / 50, NULL};
	int masked = 0;
	int same = 0;
	int words = 0;
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", guesser, &options);
	for (int i = 0; i < N; i++)
	{
		many[i] = i % 50 == 0 ? 2 : i % 50 == 49 ? 3 : 5 + i % 1195;
		words += i % 50 != 0 && i % 50 != 49;
	}
	for (int i = 0; i <= N / 50; i++)
		ends[i] = 50 * i;
	choose_tokens(trained.run, &large, 3, &masking, &guesses);
	for (int i = 0, next = 0; i < N; i++)
	{
		bool chosen = next < guesses.n && rows[next] == i;

		if (!chosen)
		{
			assert_int_equal(hidden[i], many[i]);
			continue;
		}
		assert_int_equal(labels[next], many[i]);
		assert_true(many[i] != 2 && many[i] != 3);
		masked += hidden[i] == 4;
		same += hidden[i] == many[i];
		next++;
	}
	assert_true(fabs(guesses.n - 0.15 * words) < 4 * sqrt(words * 0.15 * 0.85));
	assert_true(fabs(masked - 0.8 * guesses.n) < 4 * sqrt(guesses.n * 0.8 * 0.2));
	assert_true(fabs(same - 0.1 * guesses.n) < 4 * sqrt(guesses.n * 0.1 * 0.9));
	trained_close(&trained);
}

static void
wrong_masking_is_refused(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	const BrTrainMasking bad[] = {{0, 4, special, 2},
								  {1.1, 4, special, 2},
								  {NAN, 4, special, 2},
								  {0.5, -1, NULL, 0},
								  {0.5, 1200, special, 2}};
	const BrTrainMasking all_kept = {1, 4, ids, TOKENS};
	Trained trained;
	double loss;
	int guessed;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", guesser, &options);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(br_train_accumulate_masked(trained.run, &batch, 0, &bad[i], &loss,
													&guessed),
						 BR_ERR_ARGUMENT);

	/* nothing to guess is no mistake, and no gradient */
	assert_int_equal(br_train_accumulate_masked(trained.run, &batch, 0, &all_kept, &loss, &guessed),
					 BR_OK);
	assert_true(loss == 0 && guessed == 0);
	for (size_t i = 0; i < trained.model->n; i++)
		assert_true(trained.model->gradient[i] == 0);
	trained_close(&trained);

	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &options);
	assert_int_equal(br_train_accumulate_masked(trained.run, &batch, 0, &half, &loss, &guessed),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(trained.open.context.detail, "no head"));
	trained_close(&trained);
}

static BrStatus
guess_once(BrContext *context, void *arg)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	BrTrainModel *model = arg;
	BrTrainRun *run;
	double loss;
	int guessed;
	BrStatus status = br_train_begin(context, model, &options, &run);

	if (status == BR_OK)
		status = br_train_accumulate_masked(run, &batch, 0, &half, &loss, &guessed);
	br_train_end(run);
	return status;
}

/* Wherever memory ends or the caller stops, that is what comes back, and nothing is left. */
static void
failures_come_back(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	BrStatus status = BR_ERR_CANCELLED;
	Trained trained;
	double loss;
	int guessed;
	int tries = 0;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", guesser, &options);
	assert_true(expect_no_leaks(guess_once, trained.model) > 5);
	for (; status == BR_ERR_CANCELLED; tries++)
	{
		Countdown countdown = {.checks = tries};

		trained.open.context.cancel = (BrCancel){count_down, &countdown};
		status = br_train_accumulate_masked(trained.run, &batch, 0, &half, &loss, &guessed);
	}
	assert_int_equal(status, BR_OK);
	assert_true(tries > 20);
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(nothing_known_costs_the_logarithm),
		cmocka_unit_test(choices_have_their_shares),
		cmocka_unit_test(wrong_masking_is_refused),
		cmocka_unit_test(failures_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
