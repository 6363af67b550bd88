/*
 * test_train_next.c
 *	  Next-sentence prediction, compiled in double: which pairs are drawn, how
 *	  they are joined, and the gradient of the loss beside differences.
 */
#include "unit/train_double.h"

#include "unit/gradient_fixture.h"

#define SENTENCES 5
#define LONGEST 8
#define SAMPLE 8

/* [CLS] is 2, [SEP] is 3: sentences of 2, 1, 3, 4 and 1 words. */
static const int32_t ids[] = {2, 30, 31, 3,	 2,	 40, 3, 2, 50, 51, 52,
							  3, 2,	 60, 61, 62, 63, 3, 2, 70, 3};
static const int32_t offsets[SENTENCES + 1] = {0, 4, 7, 12, 18, 21};
static const BrTrainBatch sentences = {ids, offsets, SENTENCES, NULL};
static const BrTrainJoin as_bert = {1, 1, LONGEST};

/* Worked out by hand: what fits, what is cut on one side, and on both in turn. */
static void
pairs_are_joined(void **state)
{
	static const BrTrainNext pairs[] = {{0, 1, 0}, {3, 1, 1}, {1, 3, 1}, {2, 3, 0}};
	static const int32_t expected[] = {
		2, 30, 31, 3,  40, 3,		  /* whole */
		2, 60, 61, 62, 63, 3,  40, 3, /* just fits */
		2, 40, 3,  60, 61, 62, 63, 3, /* and the other way round */
		2, 50, 51, 52, 3,  60, 61, 3, /* 3 and 4 words are two too many: 3, 3, then 3, 2 */
	};
	static const int32_t ends[] = {0, 6, 14, 22, 30};
	int32_t joined[4 * LONGEST];
	int32_t joined_offsets[5];
	int32_t labels[4];
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_train_join_next(&context, &sentences, pairs, 4, &as_bert, joined,
										joined_offsets, labels),
					 BR_OK);
	assert_memory_equal(joined_offsets, ends, sizeof(ends));
	assert_memory_equal(joined, expected, sizeof(expected));
	for (int i = 0; i < 4; i++)
		assert_int_equal(labels[i], pairs[i].label);

	/* the least room leaves a word of each, and with no specials nothing else */
	assert_int_equal(br_train_join_next(&context, &sentences, &pairs[3], 1, &(BrTrainJoin){1, 1, 5},
										joined, joined_offsets, labels),
					 BR_OK);
	assert_int_equal(joined_offsets[1], 5);
	assert_memory_equal(joined, ((const int32_t[]){2, 50, 3, 60, 3}), 5 * sizeof(int32_t));
	assert_int_equal(br_train_join_next(&context, &sentences, &pairs[0], 1,
										&(BrTrainJoin){0, 0, LONGEST}, joined, joined_offsets,
										labels),
					 BR_OK);
	assert_memory_equal(joined, ids, 7 * sizeof(int32_t));
}

/*
 * 1,000 documents of 1, 2, 3 and 4 sentences: all that have a successor are
 * first, half of them with it, and any of the others is second as often.
 */
static void
pairs_are_drawn_fairly(void **state)
{
	enum
	{
		N = 2500
	};
	static int32_t documents[N];
	static BrTrainNext pairs[N];
	static BrTrainNext again[N];
	int n = 0;
	int others = 0;
	int early = 0;
	int n_pairs;
	int n_again;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int document = 0; n < N; document++)
		for (int i = 0; i <= document % 4; i++)
			documents[n++] = 7000 - document;
	assert_int_equal(n, N);
	assert_int_equal(br_train_draw_next(&context, documents, N, 5, 1, pairs, &n_pairs), BR_OK);
	assert_int_equal(n_pairs, 1500);
	for (int i = 0; i < n_pairs; i++)
	{
		int first = pairs[i].first;
		int second = pairs[i].second;

		assert_true(i == 0 || first > pairs[i - 1].first);
		assert_true(second >= 0 && second < N);
		assert_int_equal(documents[first], documents[first + 1]);
		if (pairs[i].label == 0)
			assert_int_equal(second, first + 1);
		else
		{
			assert_int_equal(pairs[i].label, 1);
			assert_true(documents[second] != documents[first]);
			early += second < N / 2;
			others++;
		}
	}
	assert_true(fabs(others - 750.0) < 4 * sqrt(1500 * 0.25));
	assert_true(fabs(early - others / 2.0) < 4 * sqrt(others * 0.25));

	assert_int_equal(br_train_draw_next(&context, documents, N, 5, 1, again, &n_again), BR_OK);
	assert_memory_equal(again, pairs, (size_t) n_pairs * sizeof(BrTrainNext));
	assert_int_equal(br_train_draw_next(&context, documents, N, 5, 2, again, &n_again), BR_OK);
	assert_memory_not_equal(again, pairs, (size_t) n_pairs * sizeof(BrTrainNext));
}

/* What a step is made of: drawn, joined, embedded, judged. */
typedef struct Predicted
{
	Trained trained;
	int32_t ids[SENTENCES * LONGEST];
	int32_t offsets[SENTENCES + 1];
	int32_t labels[SENTENCES];
	BrTrainBatch batch;
	BrTrainClasses classes;
} Predicted;

static void
predicted_open(Predicted *predicted, const char *name)
{
	static const int32_t documents[SENTENCES] = {1, 1, 1, 2, 2};
	const BrTrainOptions options = {.backend = br_math_portable_backend(), .dropout = 0.1};
	BrTrainNext pairs[SENTENCES];
	BrContext *context = &predicted->trained.open.context;
	int n;

	trained_open(&predicted->trained, name, (BrTrainHead){2, 32, false}, &options);
	assert_int_equal(br_train_draw_next(context, documents, SENTENCES, 1, 1, pairs, &n), BR_OK);
	assert_int_equal(n, 3);
	assert_int_equal(br_train_join_next(context, &sentences, pairs, n, &as_bert, predicted->ids,
										predicted->offsets, predicted->labels),
					 BR_OK);
	predicted->batch = (BrTrainBatch){predicted->ids, predicted->offsets, n, NULL};
	predicted->classes =
		(BrTrainClasses){options.backend, predicted->trained.model, predicted->labels, false, 0};
}

static double
loss_of(void *arg)
{
	const Predicted *predicted = arg;
	double loss;

	assert_int_equal(br_train_accumulate(predicted->trained.run, &predicted->batch, 3,
										 br_train_classes, &predicted->classes, 0, &loss),
					 BR_OK);
	return loss;
}

static void
gradients_are_differences(void **state)
{
	Predicted predicted;
	const Differences differences = {loss_of, &predicted, 1e-5, 1e-8, 1e-5};
	BrTrainModel *model;
	double *gradient;

	(void) state;
	predicted_open(&predicted, "tiny-bert-cls");
	model = predicted.trained.model;
	loss_of(&predicted);
	gradient = copy_gradient(model);
	/* of words those that the first pair reads */
	expect_model_gradient(&differences, model, gradient, SAMPLE, predicted.ids, 5);

	/* who knows nothing halves the chances */
	memset(model->parameters + model->shape.map.total, 0,
		   (model->n - model->shape.map.total) * sizeof(double));
	assert_true(fabs(loss_of(&predicted) - log(2)) < 1e-12);
	free(gradient);
	trained_close(&predicted.trained);
}

static void
wrong_pairs_are_refused(void **state)
{
	static const int32_t one[] = {4, 4, 4};
	static const BrTrainJoin bad_joins[] = {{1, 1, 4}, {-1, 1, 8}, {1, -1, 8}, {1, 2, 8}};
	static const BrTrainNext bad_pairs[] = {{-1, 0, 0}, {0, SENTENCES, 0}};
	static const BrTrainNext good = {0, 1, 0};
	int32_t joined[LONGEST];
	int32_t ends[2];
	int32_t label;
	BrTrainNext pairs[3];
	BrContext context;
	int n;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_train_draw_next(&context, one, 3, 1, 1, pairs, &n), BR_ERR_ARGUMENT);
	assert_int_equal(br_train_draw_next(&context, one, 0, 1, 1, pairs, &n), BR_ERR_ARGUMENT);
	/* the last one leaves no word of the second sentence */
	for (size_t i = 0; i < sizeof(bad_joins) / sizeof(bad_joins[0]); i++)
		assert_int_equal(br_train_join_next(&context, &sentences, &good, 1, &bad_joins[i], joined,
											ends, &label),
						 BR_ERR_ARGUMENT);
	for (size_t i = 0; i < sizeof(bad_pairs) / sizeof(bad_pairs[0]); i++)
		assert_int_equal(br_train_join_next(&context, &sentences, &bad_pairs[i], 1, &as_bert,
											joined, ends, &label),
						 BR_ERR_ARGUMENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pairs_are_joined),
		cmocka_unit_test(pairs_are_drawn_fairly),
		cmocka_unit_test(gradients_are_differences),
		cmocka_unit_test(wrong_pairs_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
