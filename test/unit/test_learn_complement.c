/*
 * test_learn_complement.c
 *	  Directed complements: loss, scores and biases beside NumPy, a planted
 *	  direction, and what keeps the maps where they began.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/complement_int.h"
#include "learn_shop.h"

static void
assert_near(double have, double want, double tolerance)
{
	if (!(fabs(have - want) <= tolerance))
		fail_msg("%.9g is not %.9g", have, want);
}

/*
 * NumPy 2.4.6, in double: Z = sin(1.3 arange(35) + .5) as rows of 5,
 * F, G = cos(.7 arange(30)) / 2 as (2, 3, 5), temperature .4; a pair's own logit
 * less the log of the sum over its columns, averaged by weight:
 *
 *	def s(i, j): return (F @ Z[i]) @ (G @ Z[j]) + bias(cat[i], cat[j])
 *	for p: columns = the targets j of the batch, without those of another pair
 *		that are tgt[p], src[p] or known after src[p]: s(src[p], j) / .4 - logq[j];
 *		and its hard ones: s(src[p], j) / .4 - log_hard[p]
 */
static void
a_small_batch_matches_numpy(void **state)
{
	const float bias[4] = {0.1f, -0.2f, 0.3f, 0};
	const double expected[FEW] = {0.5, 2, 1, 0.5, 0.25, 1, 3};
	double log_expected[FEW];
	const BrSparse known = {FEW, FEW, (int64_t[]){0, 2, 2, 3, 4, 4, 5, 5},
							(int32_t[]){1, 4, 3, 2, 1}, NULL};
	const float log_hard[] = {(float) log(0.5), 0, (float) log(0.25), 0};
	const BrComplementBatch batch = {4,
									 (int32_t[]){0, 2, 5, 0},
									 (int32_t[]){1, 3, 1, 4},
									 (float[]){1, 2, 0.5f, 1},
									 (int32_t[]){5, 6, -1, -1, 0, -1, 2, 3},
									 log_hard};
	const BrComplementOptions options = {.rank = FEW_RANK,
										 .temperature = 0.4,
										 .batch = 4,
										 .hard = 2};
	BrContext context;
	BrComplementModel model;
	double loss;

	(void) state;
	set_few();
	br_base_context_init(&context);
	for (int i = 0; i < FEW; i++)
		log_expected[i] = log(expected[i]);
	assert_int_equal(br_learn_complement_create(&context, &few, &options, &model), BR_OK);
	model.known = &known;
	model.log_expected = log_expected;
	model.bias = bias;
	for (int i = 0; i < 2 * FEW_RANK * FEW_DIMS; i++)
		model.parameters[i] = (float) cos(0.7 * i) / 2;
	assert_int_equal(br_learn_complement_loss(&model, &batch, &loss), BR_OK);
	assert_near(loss, 1.760656398792836, 1e-5);
	br_learn_complement_destroy(&model);
}

/* The same maps and items; NumPy's three best others of each. */
static void
scores_and_lists_match_numpy(void **state)
{
	static const int32_t ids[FEW][3] = {{1, 2, 3}, {0, 3, 6}, {0, 1, 3}, {0, 1, 2},
										{0, 1, 3}, {0, 1, 3}, {0, 3, 2}};
	static const double weights[FEW][3] = {{-1.56526118, -1.63285303, -1.72398694},
										   {-0.70707959, -1.51093782, -1.57526327},
										   {-0.933261606, -1.25614535, -1.713092},
										   {-0.715743881, -1.3113464, -1.3549104},
										   {-0.360029155, -0.914508933, -0.985092698},
										   {-0.17340873, -0.674849815, -0.674980184},
										   {-0.16462106, -0.519214469, -0.523662939}};
	float maps[2 * FEW_RANK * FEW_DIMS];
	float bias[4] = {0.1f, -0.2f, 0.3f, 0};
	const BrComplement complement = {.dims = FEW_DIMS,
									 .rank = FEW_RANK,
									 .categories = 2,
									 .source = maps,
									 .target = maps + FEW_RANK * FEW_DIMS,
									 .bias = bias};
	BrComplementItems other = few;
	BrContext context;
	BrLists lists;

	(void) state;
	set_few();
	br_base_context_init(&context);
	for (int i = 0; i < 2 * FEW_RANK * FEW_DIMS; i++)
		maps[i] = (float) cos(0.7 * i) / 2;
	assert_near(br_learn_complement_score(&complement, few_embeddings, 0, few_embeddings + FEW_DIMS,
										  1),
				-1.56526118161253, 1e-6);
	assert_near(br_learn_complement_score(&complement, few_embeddings + 2 * FEW_DIMS, -1,
										  few_embeddings + 3 * FEW_DIMS, 0),
				-1.7130919962724243, 1e-6);
	assert_int_equal(br_learn_complement_lists(&context, br_math_portable_backend(), &complement,
											   &few, 3, &lists),
					 BR_OK);
	for (int i = 0; i < FEW; i++)
	{
		assert_int_equal(lists.starts[i + 1] - lists.starts[i], 3);
		for (int k = 0; k < 3; k++)
		{
			assert_int_equal(lists.ids[3 * i + k], ids[i][k]);
			assert_near(lists.weights[3 * i + k], weights[i][k], 1e-6);
		}
	}
	br_learn_lists_free(&context, &lists);
	other.categories = 3;
	assert_int_equal(br_learn_complement_lists(&context, br_math_portable_backend(), &complement,
											   &other, 3, &lists),
					 BR_ERR_ARGUMENT);
	assert_string_equal(context.detail,
						"Items have 5 dimensions and 3 categories, the model 5 and 2.");
}

/* More items than a block and a tile have, beside scores one by one. */
static void
blocks_leave_nothing_out(void **state)
{
	enum
	{
		N = 4200
	};
	float *embeddings = malloc(sizeof(float) * N * FEW_DIMS);
	float maps[2 * FEW_RANK * FEW_DIMS];
	const BrComplement complement = {.dims = FEW_DIMS,
									 .rank = FEW_RANK,
									 .source = maps,
									 .target = maps + FEW_RANK * FEW_DIMS};
	const BrComplementItems items = {N, FEW_DIMS, embeddings, NULL, 0};
	BrContext context;
	BrLists lists;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < N * FEW_DIMS; i++)
		embeddings[i] = (float) sin(1.3 * i + 0.5);
	for (int i = 0; i < 2 * FEW_RANK * FEW_DIMS; i++)
		maps[i] = (float) cos(0.7 * i) / 2;
	assert_int_equal(br_learn_complement_lists(&context, br_math_portable_backend(), &complement,
											   &items, 1, &lists),
					 BR_OK);
	for (int i = 0; i < N; i += 523)
	{
		double best = -INFINITY;

		for (int j = 0; j < N; j++)
		{
			double score =
				br_learn_complement_score(&complement, embeddings + (size_t) i * FEW_DIMS, -1,
										  embeddings + (size_t) j * FEW_DIMS, -1);

			best = j != i && score > best ? score : best;
		}
		assert_near(lists.weights[i], best, 1e-5);
	}
	br_learn_lists_free(&context, &lists);
	free(embeddings);
}

static void
learn(BrContext *context, const Shop *shop, const BrLists *alike,
	  const BrComplementOptions *options, BrComplement *complement)
{
	BrStatus status = br_learn_complement(context, &shop->items, shop->pairs, PAIRS, alike, options,
										  NULL, complement);

	if (status != BR_OK)
		fail_msg("%s", context->detail);
}

static double
score(const Shop *shop, const BrComplement *complement, int source, int target)
{
	return br_learn_complement_score(complement, shop->embeddings + source * DIMS, -1,
									 shop->embeddings + target * DIMS, -1);
}

/* how many of a phone's `depth` best are cases of its make, on average */
static double
fitting(BrContext *context, const Shop *shop, const BrComplement *complement, int depth)
{
	double fit = 0;
	BrLists lists;

	assert_int_equal(br_learn_complement_lists(context, br_math_portable_backend(), complement,
											   &shop->items, depth, &lists),
					 BR_OK);
	for (int item = 0; item < ITEMS / 2; item++)
		for (int64_t i = lists.starts[item]; i < lists.starts[item + 1]; i++)
			fit += lists.ids[i] / OF_A_KIND == item / OF_A_KIND + MAKES;
	br_learn_lists_free(context, &lists);
	return fit / (ITEMS / 2);
}

static void
a_planted_direction_is_found(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement before;
	BrComplement after;
	double gap = 0;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	options.hard = 3;
	learn(&context, &shop, &shop.alike, &options, &after);
	options.epochs = 0;
	learn(&context, &shop, &shop.alike, &options, &before);
	assert_int_equal(before.epoch, 0);
	assert_true(after.epoch > 0);
	assert_true(after.held_out_loss < before.held_out_loss);

	/* at the start s is the same both ways; then cases follow phones and not the reverse */
	for (int make = 0; make < MAKES; make++)
		for (int i = 0; i < OF_A_KIND; i++)
		{
			assert_near(score(&shop, &before, phone(make, i), phone_case(make, i)),
						score(&shop, &before, phone_case(make, i), phone(make, i)), 1e-6);
			gap += score(&shop, &after, phone(make, i), phone_case(make, i)) -
				score(&shop, &after, phone_case(make, i), phone(make, i));
		}
	assert_true(gap / (ITEMS / 2) > 0.3);
	/* other phones of the make read most alike */
	assert_true(fitting(&context, &shop, &before, OF_A_KIND) < 3);
	assert_true(fitting(&context, &shop, &after, OF_A_KIND) > 5);
	br_learn_complement_free(&context, &before);
	br_learn_complement_free(&context, &after);
}

/* With the whole space to project on, s begins as the product of the texts. */
static void
the_start_is_similarity(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement complement;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	options.rank = DIMS;
	options.epochs = 0;
	learn(&context, &shop, NULL, &options, &complement);
	for (int i = 0; i < ITEMS; i++)
		for (int j = 0; j < ITEMS; j++)
		{
			double product = 0;

			for (int d = 0; d < DIMS; d++)
				product +=
					(double) shop.embeddings[i * DIMS + d] * (double) shop.embeddings[j * DIMS + d];
			assert_near(score(&shop, &complement, i, j), product, 1e-5);
		}
	br_learn_complement_free(&context, &complement);
}

static void
a_huge_penalty_keeps_the_start(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement start;
	BrComplement held;
	BrComplement loose;
	double moved = 0;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	options.held_out = 0;
	options.epochs = 0;
	learn(&context, &shop, NULL, &options, &start);
	options.epochs = 20;
	learn(&context, &shop, NULL, &options, &loose);
	options.penalty = 1e9;
	learn(&context, &shop, NULL, &options, &held);
	assert_int_equal(held.epoch, 20);
	assert_true(isnan(held.held_out_loss));
	for (int i = 0; i < options.rank * DIMS; i++)
	{
		assert_near(held.source[i], start.source[i], 1e-6);
		assert_near(held.target[i], start.target[i], 1e-6);
		moved += fabs((double) loose.source[i] - (double) start.source[i]);
	}
	assert_true(moved / (options.rank * DIMS) > 0.01);
	br_learn_complement_free(&context, &start);
	br_learn_complement_free(&context, &held);
	br_learn_complement_free(&context, &loose);
}

/* Overfitted on purpose: what is kept is what training up to that epoch leaves. */
static void
early_stopping_keeps_the_best(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement kept;
	BrComplement again;
	double least = INFINITY;
	int at = -1;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	options.penalty = 0;
	options.learning_rate = 0.05;
	options.held_out = 0.3;
	options.epochs = 30;
	options.patience = 30;
	learn(&context, &shop, NULL, &options, &kept);
	assert_true(kept.epoch < 30);
	for (int epochs = 0; epochs <= 30; epochs++)
	{
		options.epochs = epochs;
		learn(&context, &shop, NULL, &options, &again);
		if (again.held_out_loss < least)
		{
			least = again.held_out_loss;
			at = epochs;
		}
		if (epochs == kept.epoch)
			assert_memory_equal(again.source, kept.source,
								sizeof(float) * (size_t) options.rank * DIMS);
		br_learn_complement_free(&context, &again);
	}
	assert_int_equal(at, kept.epoch);
	assert_near(kept.held_out_loss, least, 0);
	br_learn_complement_free(&context, &kept);
}

/* Targets at random, and a rate at which every step does harm: the start is the best. */
static void
noise_teaches_nothing(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrRandom random;
	BrContext context;
	BrComplement complement;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	br_base_random_init(&random, 9, 0);
	for (int i = 0; i < PAIRS; i++)
		do
			shop.pairs[i].target = (int32_t) br_base_random_below(&random, ITEMS);
		while (shop.pairs[i].target == shop.pairs[i].source);
	options.learning_rate = 0.2;
	options.penalty = 0;
	options.held_out = 0.3;
	learn(&context, &shop, NULL, &options, &complement);
	assert_int_equal(complement.epoch, 0);
	br_learn_complement_free(&context, &complement);
}

/* Hard negatives, phones of the make, push these down further than other targets do alone. */
static void
hard_negatives_are_pushed_down(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement without;
	BrComplement with;
	double lower = 0;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	options.held_out = 0;
	options.epochs = 10;
	learn(&context, &shop, &shop.alike, &options, &without);
	options.hard = 3;
	learn(&context, &shop, &shop.alike, &options, &with);
	for (int make = 0; make < MAKES; make++)
		lower += score(&shop, &without, phone(make, 0), phone(make, 1)) -
			score(&shop, &with, phone(make, 0), phone(make, 1));
	assert_true(lower / MAKES > 0.1);
	br_learn_complement_free(&context, &without);
	br_learn_complement_free(&context, &with);
}

/*
 * NumPy: C = [[4, 1], [2, 3]], e = C.sum(1, keepdims=True) * C.sum(0) / C.sum(),
 * .05 * log((C + 5) / (e + 5)); a pair without a category does not count.
 */
static void
biases_match_numpy(void **state)
{
	const BrComplementPair pairs[] = {{0, 3, 3}, {0, 6, 0.5f}, {0, 6, 0.5f}, {3, 1, 1},
									  {1, 0, 2}, {4, 5, 3},	   {2, 1, 9}};
	BrComplementOptions options;
	BrContext context;
	BrComplement complement;

	(void) state;
	set_few();
	br_base_context_init(&context);
	br_learn_complement_defaults(&options);
	options.rank = 2;
	options.epochs = 0;
	options.held_out = 0;
	assert_int_equal(br_learn_complement(&context, &few, pairs, 7, NULL, &options, NULL,
										 &complement),
					 BR_OK);
	assert_near(complement.bias[0], 0.005889151782819173, 1e-8);
	assert_near(complement.bias[1], -0.007707533991362918, 1e-8);
	assert_near(complement.bias[2], -0.0066765696312261315, 1e-8);
	assert_near(complement.bias[3], 0.006676569631226129, 1e-8);
	br_learn_complement_free(&context, &complement);
}

static void
a_seed_repeats_every_bit(void **state)
{
	Shop shop;
	BrComplementOptions options = shop_options();
	BrContext context;
	BrComplement first;
	BrComplement second;
	size_t size = sizeof(float) * (size_t) options.rank * DIMS;

	(void) state;
	open_shop(&shop);
	br_base_context_init(&context);
	options.epochs = 3;
	learn(&context, &shop, NULL, &options, &first);
	learn(&context, &shop, NULL, &options, &second);
	assert_memory_equal(first.source, second.source, size);
	assert_memory_equal(first.target, second.target, size);
	assert_memory_not_equal(first.source, first.target, size);
	br_learn_complement_free(&context, &second);
	options.seed++;
	learn(&context, &shop, NULL, &options, &second);
	assert_memory_not_equal(first.source, second.source, size);
	br_learn_complement_free(&context, &second);
	br_learn_complement_free(&context, &first);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_batch_matches_numpy),
		cmocka_unit_test(scores_and_lists_match_numpy),
		cmocka_unit_test(blocks_leave_nothing_out),
		cmocka_unit_test(a_planted_direction_is_found),
		cmocka_unit_test(the_start_is_similarity),
		cmocka_unit_test(a_huge_penalty_keeps_the_start),
		cmocka_unit_test(early_stopping_keeps_the_best),
		cmocka_unit_test(noise_teaches_nothing),
		cmocka_unit_test(hard_negatives_are_pushed_down),
		cmocka_unit_test(biases_match_numpy),
		cmocka_unit_test(a_seed_repeats_every_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
