/*
 * test_train_share.c
 *	  Batches that share a step, compiled in double: their gradients add up to
 *	  that of the whole batch.
 */
#include "unit/train_double.h"

#include "unit/train_fixture.h"

#define TEXTS 5
#define BOUND 1e-12

static const int32_t ids[] = {2, 30, 31, 3, 2, 40, 3, 2, 600, 601, 602, 3, 2, 77, 3, 2, 41, 5, 3};
static const int32_t offsets[TEXTS + 1] = {0, 4, 7, 12, 15, 19};
static const int32_t labels[TEXTS] = {0, 2, 1, 1, 0};
static const int32_t special[] = {2, 3};
static const BrTrainMasking half = {0.5, 4, special, 2};
static const BrTrainOptions options = {.dropout = 0.1, .attention_dropout = 0.2, .seed = 4};

/* Texts first to last - 1 as a batch of its own. */
typedef struct Micro
{
	int32_t offsets[TEXTS + 1];
	BrTrainShare share;
	BrTrainBatch batch;
	int first;
} Micro;

static void
take_texts(Micro *micro, int first, int last)
{
	for (int i = first; i <= last; i++)
		micro->offsets[i - first] = offsets[i] - offsets[first];
	micro->first = first;
	micro->share = (BrTrainShare){(double) (last - first) / TEXTS, (size_t) offsets[first]};
	micro->batch =
		(BrTrainBatch){ids + offsets[first], micro->offsets, last - first, &micro->share};
}

static void
open_trained(Trained *trained, const char *name, BrTrainHead head)
{
	BrTrainOptions how = options;

	how.backend = br_math_portable_backend();
	trained_open(trained, name, head, &how);
}

/* A gradient that was there before stays, and is not weighted. */
static void
begin_gradient(Trained *trained)
{
	for (size_t i = 0; i < trained->model->n; i++)
		trained->model->gradient[i] = 0.01 * sin((double) i);
}

static void
assert_gradient(const Trained *trained, const double *expected)
{
	for (size_t i = 0; i < trained->model->n; i++)
		if (!(fabs(trained->model->gradient[i] - expected[i]) <= BOUND * (1 + fabs(expected[i]))))
			fail_msg("parameter %zu: %.15g, of the whole %.15g", i, trained->model->gradient[i],
					 expected[i]);
}

static double
add_classes(Trained *trained, const BrTrainBatch *batch, int first, int chunk_tokens)
{
	const BrTrainClasses classes = {trained->run->backend, trained->model, labels + first, false,
									0.1};
	double loss;

	if (br_train_accumulate(trained->run, batch, 6, br_train_classes, &classes, chunk_tokens,
							&loss) != BR_OK)
		fail_msg("%s", trained->open.context.detail);
	return loss;
}

/* Cut in two anywhere, at once and in parts, with dropout and with a head. */
static void
shares_are_the_whole(void **state)
{
	static const char *const names[] = {"tiny-bert-cls", "tiny-mpnet-mean"};
	static const BrTrainBatch whole = {ids, offsets, TEXTS, NULL};

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Trained trained;
		double *expected;
		double loss;

		open_trained(&trained, names[i], (BrTrainHead){3, 32, false});
		begin_gradient(&trained);
		loss = add_classes(&trained, &whole, 0, 0);
		expected = copy_gradient(trained.model);
		for (int cut = 1; cut < TEXTS; cut++)
			for (int chunk_tokens = 0; chunk_tokens <= 5; chunk_tokens += 5)
			{
				Micro left;
				Micro right;
				double sum;

				take_texts(&left, 0, cut);
				take_texts(&right, cut, TEXTS);
				begin_gradient(&trained);
				sum = add_classes(&trained, &left.batch, left.first, chunk_tokens);
				sum += add_classes(&trained, &right.batch, right.first, chunk_tokens);
				assert_true(fabs(sum - loss) <= BOUND);
				assert_gradient(&trained, expected);
			}
		free(expected);
		trained_close(&trained);
	}
}

static double
add_masked(Trained *trained, const BrTrainBatch *batch, int *guessed)
{
	double loss;

	if (br_train_accumulate_masked(trained->run, batch, 6, &half, &loss, guessed) != BR_OK)
		fail_msg("%s", trained->open.context.detail);
	return loss;
}

/* Weights are the guesses that each has, counted beforehand. */
static void
guesses_are_those_of_the_whole(void **state)
{
	static const BrTrainBatch whole = {ids, offsets, TEXTS, NULL};
	Trained trained;
	Micro parts[3];
	int counted[3];
	double *expected;
	double loss;
	int total = 0;
	int all;

	(void) state;
	open_trained(&trained, "tiny-bert-cls", (BrTrainHead){.words = true});
	begin_gradient(&trained);
	loss = add_masked(&trained, &whole, &all);
	expected = copy_gradient(trained.model);
	for (int i = 0; i < 3; i++)
	{
		take_texts(&parts[i], (int[]){0, 1, 3}[i], (int[]){1, 3, 5}[i]);
		assert_int_equal(br_train_count_masked(trained.run, &parts[i].batch, 6, &half, &counted[i]),
						 BR_OK);
		total += counted[i];
	}
	assert_int_equal(total, all);
	begin_gradient(&trained);
	for (int i = 0; i < 3; i++)
		if (counted[i] > 0)
		{
			int guessed;

			parts[i].share.weight = (double) counted[i] / total;
			loss -= add_masked(&trained, &parts[i].batch, &guessed);
			assert_int_equal(guessed, counted[i]);
		}
	assert_true(fabs(loss) <= BOUND);
	assert_gradient(&trained, expected);
	free(expected);
	trained_close(&trained);
}

static void
wrong_weights_are_refused(void **state)
{
	static const double bad[] = {0, -1, NAN, INFINITY};
	Trained trained;
	Micro micro;
	double embeddings[TEXTS * 32];

	(void) state;
	open_trained(&trained, "tiny-bert-cls", (BrTrainHead){0});
	take_texts(&micro, 1, 3);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		micro.share.weight = bad[i];
		assert_int_equal(br_train_embed(trained.run, &micro.batch, 0, embeddings), BR_ERR_ARGUMENT);
	}
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shares_are_the_whole),
		cmocka_unit_test(guesses_are_those_of_the_whole),
		cmocka_unit_test(wrong_weights_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
