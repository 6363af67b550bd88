/*
 * test_train.c
 *	  A run of training in float: it embeds as the encoder does, and keeps its
 *	  promises about memory, threads, dropout and parts of batches.
 */
#include <math.h>

#include "unit/train_fixture.h"

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};
static const char *const backends[] = {"portable", "openblas", "onednn"};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define TEXTS 12
#define LONGEST 40

static const BrTrainHead no_head = {0};

/* Texts of 1, 4, 7, ... 34 tokens of any kind. */
typedef struct Tokens
{
	int32_t ids[TEXTS * LONGEST];
	int32_t offsets[TEXTS + 1];
	BrTrainBatch batch;
} Tokens;

static void
fill_tokens(Tokens *tokens)
{
	BrRandom random;

	br_base_random_init(&random, 6, 6);
	tokens->offsets[0] = 0;
	for (int i = 0; i < TEXTS; i++)
		tokens->offsets[i + 1] = tokens->offsets[i] + 1 + 3 * i;
	for (int i = 0; i < tokens->offsets[TEXTS]; i++)
		tokens->ids[i] = (int32_t) br_base_random_below(&random, 1000);
	tokens->batch = (BrTrainBatch){tokens->ids, tokens->offsets, TEXTS, NULL};
}

/* A slope for every component that is neither 0 nor the same everywhere. */
static float
slope_at(size_t i)
{
	return sinf((float) i + 1);
}

/* The loss whose slope that is. */
static BrStatus
sine_loss(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
		  double *loss, BrReal *slope)
{
	(void) arg, (void) context;
	*loss = 0;
	for (size_t i = 0; i < (size_t) texts * (size_t) dim; i++)
	{
		*loss += (double) embeddings[i] * (double) slope_at(i);
		slope[i] += slope_at(i);
	}
	return BR_OK;
}

static float *
gradient_of(Trained *trained, const Tokens *tokens, int chunk_tokens, double *loss)
{
	size_t size = br_train_count(trained->model) * sizeof(float);
	float *gradient = malloc(size);

	br_train_zero_gradient(trained->model);
	if (br_train_accumulate(trained->run, &tokens->batch, 3, sine_loss, NULL, chunk_tokens, loss) !=
		BR_OK)
		fail_msg("%s", trained->open.context.detail);
	memcpy(gradient, br_train_gradient(trained->model), size);
	return gradient;
}

/* The largest difference, of the largest number of all. */
static double
distance(const float *left, const float *right, size_t n)
{
	double largest = 0;
	double apart = 0;

	for (size_t i = 0; i < n; i++)
	{
		largest = fmax(largest, fabs((double) right[i]));
		apart = fmax(apart, fabs((double) left[i] - (double) right[i]));
	}
	return apart / largest;
}

static void
check_embeddings(const char *name, const BrBackend *backend)
{
	const BrTrainOptions options = {.backend = backend};
	const BrCompute compute = {.backend = br_math_portable_backend()};
	Trained trained;
	Tokens tokens;
	float *ours;
	float *theirs;
	size_t n;

	fill_tokens(&tokens);
	trained_open(&trained, name, no_head, &options);
	n = TEXTS * (size_t) trained.dim;
	ours = malloc(n * sizeof(float));
	theirs = malloc(n * sizeof(float));
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, ours), BR_OK);
	assert_int_equal(br_encoder_embed_tokens(trained.open.encoder, &trained.open.context, &compute,
											 tokens.ids, tokens.offsets, TEXTS, theirs),
					 BR_OK);
	if (!(distance(ours, theirs, n) <= COMPONENT_BOUND))
		fail_msg("%s, %s: off by %.1e", name, backend->name, distance(ours, theirs, n));
	free(ours);
	free(theirs);
	trained_close(&trained);
}

static void
embeddings_are_the_encoders(void **state)
{
	(void) state;
	for (size_t i = 0; i < LENGTH(models); i++)
		for (size_t j = 0; j < LENGTH(backends); j++)
		{
			const BrBackend *backend = load_backend(backends[j]);

			if (backend != NULL)
				check_embeddings(models[i], backend);
			else
				print_message("backend %s is not built\n", backends[j]);
		}
}

/* With dropout, so that every product of the way back is there. */
static void
backends_agree_on_the_gradient(void **state)
{
	(void) state;
	for (size_t i = 0; i < LENGTH(models); i++)
	{
		float *expected = NULL;

		for (size_t j = 0; j < LENGTH(backends); j++)
		{
			const BrTrainOptions options = {.backend = load_backend(backends[j]),
											.dropout = 0.1,
											.attention_dropout = 0.1};
			Trained trained;
			Tokens tokens;
			double loss;
			float *gradient;

			if (options.backend == NULL)
				continue;
			fill_tokens(&tokens);
			trained_open(&trained, models[i], no_head, &options);
			gradient = gradient_of(&trained, &tokens, 0, &loss);
			if (expected == NULL)
				expected = gradient;
			else
			{
				double off = distance(gradient, expected, br_train_count(trained.model));

				if (!(off <= 5e-6))
					fail_msg("%s, %s: off by %.1e", models[i], backends[j], off);
				free(gradient);
			}
			trained_close(&trained);
		}
		free(expected);
	}
}

/* Layers computed twice give the same bits, in less memory, down to what is too little. */
static void
memory_is_kept_within_the_budget(void **state)
{
	BrTrainOptions options = {.backend = br_math_portable_backend(),
							  .dropout = 0.1,
							  .attention_dropout = 0.1};
	Trained trained;
	Tokens tokens;
	float *expected;
	size_t needed = 0;
	int refused = 0;
	int computed = 0;
	double loss;

	(void) state;
	fill_tokens(&tokens);
	trained_open(&trained, "tiny-mpnet-mean", no_head, &options);
	expected = gradient_of(&trained, &tokens, 0, &loss);
	for (options.memory = 4000000; options.memory > 100000; options.memory -= 50000)
	{
		Ledger ledger = {.allowed = -1};
		BrContext context;
		BrTrainRun *run;
		double again;
		BrStatus status;

		ledger_context(&context, &ledger);
		assert_int_equal(br_train_begin(&context, trained.model, &options, &run), BR_OK);
		br_train_zero_gradient(trained.model);
		status = br_train_accumulate(run, &tokens.batch, 3, sine_loss, NULL, 0, &again);
		if (status == BR_OK)
		{
			assert_int_equal(refused, 0);
			/* what the loss takes comes on top */
			assert_true(ledger.peak <= options.memory + 20000);
			assert_memory_equal(br_train_gradient(trained.model), expected,
								br_train_count(trained.model) * sizeof(float));
			needed = ledger.peak;
			computed++;
		}
		else
		{
			assert_int_equal(status, BR_ERR_LIMIT);
			assert_non_null(strstr(context.detail, "bytes"));
			refused++;
		}
		br_train_end(run);
		assert_true(ledger.outstanding == 0);
	}
	assert_true(computed > 2 && refused > 2 && needed > 0);
	free(expected);
	trained_close(&trained);
}

/* Any number of threads computes the same but for rounding, and each the same bits again. */
static void
threads_agree(void **state)
{
	float *expected = NULL;

	(void) state;
	for (int threads = 1; threads <= 7; threads += 2)
	{
		BrTrainOptions options = {.backend = br_math_portable_backend(),
								  .dropout = 0.1,
								  .attention_dropout = 0.1};
		BrContext context;
		Trained trained;
		Tokens tokens;
		float *gradient;
		float *again;
		double loss;
		size_t n;

		br_base_context_init(&context);
		if (threads > 1)
			assert_int_equal(br_base_pool_create(&context, threads, &options.pool), BR_OK);
		fill_tokens(&tokens);
		trained_open(&trained, "tiny-mpnet-mean", no_head, &options);
		n = br_train_count(trained.model);
		gradient = gradient_of(&trained, &tokens, 0, &loss);
		again = gradient_of(&trained, &tokens, 0, &loss);
		assert_memory_equal(gradient, again, n * sizeof(float));
		free(again);
		if (expected == NULL)
			expected = gradient;
		else
		{
			assert_true(distance(gradient, expected, n) < 2e-6);
			free(gradient);
		}
		trained_close(&trained);
		br_base_pool_destroy(options.pool);
	}
	free(expected);
}

/* Parts of any size, with dropout, give what the whole batch gives. */
static void
parts_are_the_whole(void **state)
{
	static const int sizes[] = {1, 10, 50, 100, 1000};
	const BrTrainOptions options = {.backend = br_math_portable_backend(),
									.dropout = 0.2,
									.attention_dropout = 0.1};
	Trained trained;
	Tokens tokens;
	float *expected;
	double whole;

	(void) state;
	fill_tokens(&tokens);
	trained_open(&trained, "tiny-bert-cased-max-dense", no_head, &options);
	expected = gradient_of(&trained, &tokens, 0, &whole);
	for (size_t i = 0; i < LENGTH(sizes); i++)
	{
		double loss;
		float *gradient = gradient_of(&trained, &tokens, sizes[i], &loss);

		assert_true(fabs(loss - whole) <= 1e-6 * fabs(whole));
		assert_true(distance(gradient, expected, br_train_count(trained.model)) < 2e-6);
		free(gradient);
	}
	free(expected);
	trained_close(&trained);
}

/* Gradients add up until they are set to 0. */
static void
gradients_accumulate(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	Trained trained;
	Tokens tokens;
	float *once;
	double loss;

	(void) state;
	fill_tokens(&tokens);
	trained_open(&trained, "tiny-roberta-mean", no_head, &options);
	once = gradient_of(&trained, &tokens, 0, &loss);
	assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, 3, sine_loss, NULL, 0, &loss),
					 BR_OK);
	for (size_t i = 0; i < br_train_count(trained.model); i++)
		once[i] *= 2;
	assert_true(distance(br_train_gradient(trained.model), once, br_train_count(trained.model)) <
				1e-6);
	free(once);
	trained_close(&trained);
}

/* The same step drops the same, another step or seed something else; none drops nothing. */
static void
dropout_is_of_seed_and_step(void **state)
{
	BrTrainOptions options = {.backend = br_math_portable_backend(), .dropout = 0.1, .seed = 5};
	Tokens tokens;
	float first[TEXTS * 32];
	float again[TEXTS * 32];

	(void) state;
	fill_tokens(&tokens);
	for (int round = 0; round < 4; round++)
	{
		Trained trained;
		bool same = round < 2;

		options.seed = round == 3 ? 6 : 5;
		trained_open(&trained, "tiny-bert-cls", no_head, &options);
		assert_int_equal(br_train_embed(trained.run, &tokens.batch, round == 2 ? 8 : 7,
										round == 0 ? first : again),
						 BR_OK);
		if (round > 0)
			assert_true((memcmp(first, again, sizeof(first)) == 0) == same);
		trained_close(&trained);
	}
}

/* What is read has no dropout, in whatever parts, and leaves the run as it was but for the way back. */
static void
reading_drops_nothing(void **state)
{
	BrTrainOptions plain = {.backend = br_math_portable_backend()};
	BrTrainOptions drops = {.backend = br_math_portable_backend(),
							.dropout = 0.3,
							.attention_dropout = 0.3,
							.seed = 5};
	static const int parts[] = {0, 1, 20};
	Tokens tokens;
	Trained expected;
	Trained trained;
	float embeddings[TEXTS * 32];
	float dropped[TEXTS * 32];
	float found[TEXTS * 32];

	(void) state;
	fill_tokens(&tokens);
	trained_open(&expected, "tiny-bert-cls", no_head, &plain);
	trained_open(&trained, "tiny-bert-cls", no_head, &drops);
	assert_int_equal(br_train_embed(expected.run, &tokens.batch, 7, embeddings), BR_OK);
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 7, dropped), BR_OK);
	assert_memory_not_equal(dropped, embeddings, sizeof(embeddings));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
	{
		assert_int_equal(br_train_read(trained.run, &tokens.batch, parts[i], found), BR_OK);
		for (int j = 0; j < TEXTS * 32; j++)
			assert_true(fabs((double) found[j] - (double) embeddings[j]) <= 1e-6);
		assert_int_equal(br_train_backpropagate(trained.run, found), BR_ERR_ARGUMENT);
	}
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 7, found), BR_OK);
	assert_memory_equal(found, dropped, sizeof(dropped));
	assert_int_equal(br_train_backpropagate(trained.run, found), BR_OK);
	trained_close(&expected);
	trained_close(&trained);
}

static BrStatus
infinite_loss(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
			  double *loss, BrReal *slope)
{
	(void) context, (void) embeddings, (void) texts, (void) dim;
	*loss = arg != NULL ? 1 : NAN;
	slope[0] = INFINITY;
	return BR_OK;
}

static void
bad_input_is_refused(void **state)
{
	BrTrainOptions options = {.backend = br_math_portable_backend()};
	BrBackend forward_only = *br_math_portable_backend();
	BrTrainModel *model;
	BrTrainRun *run;
	Trained trained;
	Tokens tokens;
	float embeddings[TEXTS * 32];
	double loss;

	(void) state;
	fill_tokens(&tokens);
	trained_open(&trained, "tiny-bert-cls", no_head, &options);
	assert_int_equal(br_train_backpropagate(trained.run, embeddings), BR_ERR_ARGUMENT);
	tokens.ids[30] = 1200;
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, embeddings), BR_ERR_ARGUMENT);
	assert_non_null(strstr(trained.open.context.detail, "1200"));
	tokens.ids[30] = -1;
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, embeddings), BR_ERR_ARGUMENT);
	tokens.ids[30] = 0;
	tokens.batch.texts = 0;
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, embeddings), BR_ERR_ARGUMENT);
	tokens.batch.texts = TEXTS;
	tokens.offsets[1] = 0;
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, embeddings), BR_ERR_ARGUMENT);
	tokens.offsets[1] = 1;
	assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, 0, sine_loss, NULL, -1, &loss),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, 0, infinite_loss, NULL, 0,
										 &loss),
					 BR_ERR_NUMERIC);
	assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, 0, infinite_loss, "", 0,
										 &loss),
					 BR_ERR_NUMERIC);

	for (int i = 0; i < 3; i++)
	{
		options.dropout = (const double[]){-0.1, 1, NAN}[i];
		assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &run),
						 BR_ERR_ARGUMENT);
		assert_null(run);
	}
	options.dropout = 0;
	forward_only.multiply = NULL;
	options.backend = &forward_only;
	assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &run),
					 BR_ERR_UNSUPPORTED);
	for (int i = 0; i < 3; i++)
	{
		const BrTrainHead heads[] = {{1, 32, false}, {-2, 32, false}, {2, 0, false}};

		assert_int_equal(br_train_open(&trained.open.context, trained.open.encoder, heads[i], 1,
									   &model),
						 BR_ERR_ARGUMENT);
		assert_null(model);
	}
	trained_close(&trained);
}

static BrStatus
train_once(BrContext *context, void *arg)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	const BrEncoder *encoder = arg;
	BrTrainModel *model = NULL;
	BrTrainRun *run = NULL;
	Tokens tokens;
	double loss;
	BrStatus status = br_train_open(context, encoder, (BrTrainHead){2, 32, false}, 1, &model);

	fill_tokens(&tokens);
	if (status == BR_OK)
		status = br_train_begin(context, model, &options, &run);
	if (status == BR_OK)
		status = br_train_accumulate(run, &tokens.batch, 0, sine_loss, NULL, 0, &loss);
	br_train_end(run);
	br_train_close(model);
	return status;
}

/* Wherever memory ends or the caller stops, that is what comes back, and nothing is left. */
static void
failures_come_back(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	Trained trained;
	Tokens tokens;
	double loss;
	BrStatus status = BR_ERR_CANCELLED;
	int tries = 0;

	(void) state;
	fill_tokens(&tokens);
	trained_open(&trained, "tiny-bert-cls", no_head, &options);
	assert_true(expect_no_leaks(train_once, trained.open.encoder) > 8);

	for (; status == BR_ERR_CANCELLED; tries++)
	{
		Countdown countdown = {.checks = tries};

		trained.open.context.cancel = (BrCancel){count_down, &countdown};
		status = br_train_accumulate(trained.run, &tokens.batch, 0, sine_loss, NULL, 50, &loss);
	}
	assert_int_equal(status, BR_OK);
	assert_true(tries > 100);
	trained_close(&trained);
}

/* Hidden words are guessed alike by any number of threads and by every backend. */
static void
guesses_agree(void **state)
{
	static const BrTrainMasking masking = {0.3, 4, NULL, 0};
	float *expected = NULL;

	(void) state;
	for (size_t i = 0; i < 2 * LENGTH(backends); i++)
	{
		BrTrainOptions options = {.backend = load_backend(backends[i / 2]), .dropout = 0.1};
		BrContext context;
		Trained trained;
		Tokens tokens;
		float *gradient;
		double loss;
		int guessed;
		size_t n;

		if (options.backend == NULL)
			continue;
		br_base_context_init(&context);
		if (i % 2 == 1)
			assert_int_equal(br_base_pool_create(&context, 3, &options.pool), BR_OK);
		fill_tokens(&tokens);
		trained_open(&trained, "tiny-xlmr-mean", (BrTrainHead){.words = true}, &options);
		assert_int_equal(br_train_accumulate_masked(trained.run, &tokens.batch, 1, &masking, &loss,
													&guessed),
						 BR_OK);
		n = br_train_count(trained.model);
		gradient = malloc(n * sizeof(float));
		memcpy(gradient, br_train_gradient(trained.model), n * sizeof(float));
		if (expected == NULL)
			expected = gradient;
		else
		{
			assert_true(distance(gradient, expected, n) < 5e-6);
			free(gradient);
		}
		trained_close(&trained);
		br_base_pool_destroy(options.pool);
	}
	free(expected);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(embeddings_are_the_encoders),
		cmocka_unit_test(backends_agree_on_the_gradient),
		cmocka_unit_test(memory_is_kept_within_the_budget),
		cmocka_unit_test(threads_agree),
		cmocka_unit_test(parts_are_the_whole),
		cmocka_unit_test(gradients_accumulate),
		cmocka_unit_test(dropout_is_of_seed_and_step),
		cmocka_unit_test(reading_drops_nothing),
		cmocka_unit_test(guesses_agree),
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(failures_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
