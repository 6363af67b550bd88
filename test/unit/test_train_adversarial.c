/*
 * test_train_adversarial.c
 *	  Disturbed texts, compiled in double: slopes of word embeddings and the
 *	  whole gradient beside differences, and parts beside the whole.
 */
#include "unit/train_double.h"

#include "unit/gradient_fixture.h"

#define STEP 1e-5
#define TEXTS 4
#define TOKENS 15
#define HIDDEN 32
#define SAMPLE 8

static const int32_t ids[TOKENS] = {2, 30, 31, 3, 2, 40, 3, 2, 600, 30, 602, 3, 2, 77, 3};
static const int32_t offsets[TEXTS + 1] = {0, 4, 7, 12, 15};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};
static const int32_t labels[] = {0, 2, 1, 1};
static const BrTrainAdversary adversary = {0.3, 0.7};

typedef struct Attacked
{
	Trained trained;
	BrTrainClasses classes;
	double moves[TOKENS * HIDDEN];
	double slopes[TOKENS * HIDDEN];
} Attacked;

static void
attacked_open(Attacked *attacked, const char *name)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend(),
									.dropout = 0.1,
									.attention_dropout = 0.1,
									.seed = 2};

	memset(attacked, 0, sizeof(*attacked));
	trained_open(&attacked->trained, name, (BrTrainHead){3, HIDDEN, false}, &options);
	attacked->classes =
		(BrTrainClasses){options.backend, attacked->trained.model, labels, false, 0.1};
}

/* The loss with word embeddings moved; fills the slopes. */
static double
loss_of(void *arg)
{
	Attacked *attacked = arg;
	const BrTrainDisturbance disturbance = {0, attacked->moves, attacked->slopes};
	double loss;

	attacked->trained.run->disturbance = &disturbance;
	assert_int_equal(br_train_accumulate(attacked->trained.run, &batch, 3, br_train_classes,
										 &attacked->classes, 0, &loss),
					 BR_OK);
	attacked->trained.run->disturbance = NULL;
	return loss;
}

static void
attack(Attacked *attacked, const BrTrainBatch *texts, int chunk_tokens, double *loss,
	   double *disturbed)
{
	br_train_zero_gradient(attacked->trained.model);
	if (br_train_accumulate_adversarial(attacked->trained.run, texts, 3, br_train_classes,
										&attacked->classes, chunk_tokens, &adversary, loss,
										disturbed) != BR_OK)
		fail_msg("%s", attacked->trained.open.context.detail);
}

static void
word_slopes_are_differences(void **state)
{
	Attacked attacked;
	const Differences differences = {loss_of, &attacked, STEP, 1e-9, 1e-5};
	double slopes[TOKENS * HIDDEN];

	(void) state;
	attacked_open(&attacked, "tiny-roberta-mean");
	loss_of(&attacked);
	memcpy(slopes, attacked.slopes, sizeof(slopes));
	for (size_t i = 0; i < TOKENS * HIDDEN; i++)
		expect_slope(&differences, "word embedding", i, &attacked.moves[i], slopes[i]);
	trained_close(&attacked.trained);
}

/* The definition: each text's slopes at one length. */
static void
fill_moves(Attacked *attacked)
{
	loss_of(attacked);
	for (int i = 0; i < TEXTS; i++)
	{
		double length = 0;

		for (int j = offsets[i] * HIDDEN; j < offsets[i + 1] * HIDDEN; j++)
			length += attacked->slopes[j] * attacked->slopes[j];
		for (int j = offsets[i] * HIDDEN; j < offsets[i + 1] * HIDDEN; j++)
			attacked->moves[j] = adversary.size * attacked->slopes[j] / sqrt(length);
	}
}

/* The plain loss and, with weight, that where words are moved by what the test knows. */
typedef struct Known
{
	Attacked *attacked;
	double moves[TOKENS * HIDDEN];
} Known;

static double
both_losses(void *arg)
{
	const Known *known = arg;
	Attacked *attacked = known->attacked;
	double sum;

	memset(attacked->moves, 0, sizeof(attacked->moves));
	sum = loss_of(attacked);
	memcpy(attacked->moves, known->moves, sizeof(attacked->moves));
	return sum + adversary.weight * loss_of(attacked);
}

static void
check_model(const char *name)
{
	Attacked attacked;
	Known known = {.attacked = &attacked};
	const Differences differences = {both_losses, &known, STEP, 1e-8, 1e-5};
	double *gradient;
	double loss;
	double disturbed;

	attacked_open(&attacked, name);
	fill_moves(&attacked);
	memcpy(known.moves, attacked.moves, sizeof(known.moves));
	attack(&attacked, &batch, 0, &loss, &disturbed);
	gradient = copy_gradient(attacked.trained.model);
	assert_true(disturbed > loss);
	assert_true(fabs(both_losses(&known) - loss - adversary.weight * disturbed) < 1e-12);
	expect_model_gradient(&differences, attacked.trained.model, gradient, SAMPLE, ids, SAMPLE);
	free(gradient);
	trained_close(&attacked.trained);
}

static void
gradients_are_differences(void **state)
{
	(void) state;
	check_model("tiny-bert-cls");
	check_model("tiny-mpnet-mean");
}

/* In parts, and as a share of a larger batch, it is the same. */
static void
parts_are_the_whole(void **state)
{
	static const BrTrainShare share = {0.5, 7};
	static const BrTrainShare half = {0.5, 0};
	static const BrTrainBatch later = {ids, offsets, TEXTS, &share};
	static const BrTrainBatch lighter = {ids, offsets, TEXTS, &half};
	Attacked attacked;
	double *expected;
	double loss[2];
	double disturbed[2];
	size_t n;

	(void) state;
	attacked_open(&attacked, "tiny-mpnet-mean");
	n = attacked.trained.model->n;
	expected = malloc(n * sizeof(double));
	for (int i = 0; i < 2; i++)
	{
		const BrTrainBatch *texts = i == 0 ? &batch : &later;

		attack(&attacked, texts, 0, &loss[0], &disturbed[0]);
		memcpy(expected, attacked.trained.model->gradient, n * sizeof(double));
		attack(&attacked, texts, 6, &loss[1], &disturbed[1]);
		assert_true(fabs(loss[0] - loss[1]) < 1e-12 && fabs(disturbed[0] - disturbed[1]) < 1e-12);
		for (size_t j = 0; j < n; j++)
			assert_true(fabs(attacked.trained.model->gradient[j] - expected[j]) < 1e-10);
	}

	/* half of everything */
	attack(&attacked, &batch, 0, &loss[0], &disturbed[0]);
	memcpy(expected, attacked.trained.model->gradient, n * sizeof(double));
	attack(&attacked, &lighter, 0, &loss[1], &disturbed[1]);
	assert_true(fabs(loss[0] - 2 * loss[1]) < 1e-12);
	assert_true(fabs(disturbed[0] - 2 * disturbed[1]) < 1e-12);
	for (size_t j = 0; j < n; j++)
		assert_true(fabs(2 * attacked.trained.model->gradient[j] - expected[j]) < 1e-10);
	free(expected);
	trained_close(&attacked.trained);
}

/* A loss that sees nothing of the first text, which therefore stays where it is. */
static BrStatus
blind_loss(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
		   double *loss, BrReal *slope)
{
	(void) arg, (void) context;
	*loss = 0;
	for (int i = dim; i < texts * dim; i++)
	{
		*loss += embeddings[i] * embeddings[i] * embeddings[i];
		slope[i] += 3 * embeddings[i] * embeddings[i];
	}
	return BR_OK;
}

static void
texts_without_slope_stay(void **state)
{
	Attacked attacked;
	double loss;
	double disturbed;

	(void) state;
	attacked_open(&attacked, "tiny-bert-cls");
	assert_int_equal(br_train_accumulate_adversarial(attacked.trained.run, &batch, 3, blind_loss,
													 NULL, 0, &adversary, &loss, &disturbed),
					 BR_OK);
	assert_true(isfinite(disturbed) && disturbed > loss);
	for (size_t i = 0; i < attacked.trained.model->n; i++)
		assert_true(isfinite(attacked.trained.model->gradient[i]));
	trained_close(&attacked.trained);
}

static BrStatus
attack_once(BrContext *context, void *arg)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	const Attacked *attacked = arg;
	BrTrainRun *run;
	double loss;
	double disturbed;
	BrStatus status = br_train_begin(context, attacked->trained.model, &options, &run);

	if (status == BR_OK)
		status =
			br_train_accumulate_adversarial(run, &batch, 3, br_train_classes, &attacked->classes, 0,
											&adversary, &loss, &disturbed);
	br_train_end(run);
	return status;
}

static void
wrong_adversaries_are_refused(void **state)
{
	static const BrTrainAdversary bad[] = {{0, 1}, {-1, 1}, {NAN, 1}, {1, 0}, {1, INFINITY}};
	Attacked attacked;
	double loss;
	double disturbed;

	(void) state;
	attacked_open(&attacked, "tiny-bert-cls");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(br_train_accumulate_adversarial(attacked.trained.run, &batch, 3,
														 br_train_classes, &attacked.classes, 0,
														 &bad[i], &loss, &disturbed),
						 BR_ERR_ARGUMENT);
	expect_no_leaks(attack_once, &attacked);
	trained_close(&attacked.trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(word_slopes_are_differences),
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(parts_are_the_whole),
		cmocka_unit_test(texts_without_slope_stay),
		cmocka_unit_test(wrong_adversaries_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
