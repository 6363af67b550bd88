/*
 * test_learn_graph_gradient.c
 *	  The gradient over graphs, compiled in double, beside differences of the loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define BR_LEARN_DOUBLE
#include "core/learn/graph_contrast.c"
#include "core/learn/graph_loss.c"
#include "core/learn/graph_model.c"
#include "core/learn/graph_propagate.c"

/* 4 users, 5 items, 3 bundles; user 3 has no bundle, item 3 is in one bundle only */
static const BrSparse user_bundle = {4, 3, (int64_t[]){0, 2, 3, 5, 5}, (int32_t[]){0, 1, 1, 0, 2},
									 NULL};
static const BrSparse user_item = {4, 5, (int64_t[]){0, 3, 5, 7, 8},
								   (int32_t[]){0, 1, 2, 2, 4, 0, 3, 4}, NULL};
static const BrSparse bundle_item = {3, 5, (int64_t[]){0, 2, 5, 6}, (int32_t[]){0, 1, 1, 2, 4, 3},
									 NULL};
static const BrGraphBatch batch = {4, (int32_t[]){0, 1, 2, 0}, (int32_t[]){0, 1, 2, 1},
								   (int32_t[]){2, 0, 1, 2}};

static double
loss_of(BrGraphModel *model, const BrGraphBatch *triples)
{
	double loss;

	assert_int_equal(br_learn_graph_loss(model, triples, &loss), BR_OK);
	return loss;
}

static void
every_slope_is_a_difference(BrGraphCombine combine, int layers, double contrast_share,
							double dropout)
{
	const BrGraphOptions options = {.dims = 8,
									.layers = layers,
									.combine = combine,
									.contrast = contrast_share,
									.temperature = 0.5,
									.penalty = 0.01,
									.batch = 4,
									.seed = 5};
	const double step = 1e-5;
	enum
	{
		N = (4 + 5 + 3) * 8
	};
	double slope[N];
	BrContext context;
	BrGraphModel model;

	br_base_context_init(&context);
	assert_int_equal(br_learn_graph_create(&context, &user_bundle, &user_item, &bundle_item,
										   &options, &model),
					 BR_OK);
	assert_int_equal(br_learn_graph_weigh(&context, &model.item_view, dropout, 11, 0), BR_OK);
	assert_int_equal(br_learn_graph_weigh(&context, &model.bundle_view, dropout, 11, 1), BR_OK);
	loss_of(&model, &batch);
	memcpy(slope, model.slope, sizeof(slope));
	for (int i = 0; i < N; i++)
	{
		double kept = model.embedding[i];
		double difference;

		model.embedding[i] = kept + step;
		difference = loss_of(&model, &batch);
		model.embedding[i] = kept - step;
		difference = (difference - loss_of(&model, &batch)) / (2 * step);
		model.embedding[i] = kept;
		if (!(fabs(difference - slope[i]) < 1e-8 * (1 + 100 * fabs(difference))))
			fail_msg("combine %d, layers %d, parameter %d: slope %.12g, difference %.12g", combine,
					 layers, i, slope[i], difference);
	}
	br_learn_graph_destroy(&model);
}

static void
slopes_are_differences(void **state)
{
	(void) state;
	for (int layers = 1; layers <= BR_GRAPH_MAX_LAYERS; layers++)
		for (int combine = BR_GRAPH_AVERAGE; combine <= BR_GRAPH_NORMALISED; combine++)
		{
			every_slope_is_a_difference((BrGraphCombine) combine, layers, 0, 0);
			every_slope_is_a_difference((BrGraphCombine) combine, layers, 3, 0);
			every_slope_is_a_difference((BrGraphCombine) combine, layers, 3, 0.3);
		}
}

/* So many users that the contrast compares them in two groups: along one direction. */
static void
groups_add_up(void **state)
{
	enum
	{
		USERS = BR_GRAPH_GROUP + 40,
		BUNDLES = 7,
		N = (USERS + 5 + BUNDLES) * 8
	};
	static int64_t starts[USERS + 1];
	static int32_t ids[USERS];
	static int32_t users[USERS];
	static int32_t lacks[USERS];
	static int32_t items[USERS];
	static double direction[N];
	const BrSparse bought = {USERS, BUNDLES, starts, ids, NULL};
	const BrSparse owned = {USERS, 5, starts, items, NULL};
	const BrSparse contents = {BUNDLES, 5, (int64_t[]){0, 1, 2, 3, 4, 5, 6, 7},
							   (int32_t[]){0, 1, 2, 3, 4, 0, 1}, NULL};
	const BrGraphBatch all = {USERS, users, ids, lacks};
	const BrGraphOptions options = {.dims = 8,
									.layers = 1,
									.combine = BR_GRAPH_NORMALISED,
									.contrast = 2,
									.temperature = 0.3,
									.batch = USERS,
									.seed = 2};
	const double step = 1e-6;
	double product = 0;
	double difference;
	BrContext context;
	BrGraphModel model;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < USERS; i++)
	{
		starts[i + 1] = i + 1;
		users[i] = i;
		ids[i] = i % BUNDLES;
		items[i] = ids[i] % 5;
		lacks[i] = (i + 3) % BUNDLES;
	}
	assert_int_equal(br_learn_graph_create(&context, &bought, &owned, &contents, &options, &model),
					 BR_OK);
	loss_of(&model, &all);
	for (int i = 0; i < N; i++)
	{
		direction[i] = sin(i + 1.0);
		product += direction[i] * model.slope[i];
		model.embedding[i] += step * direction[i];
	}
	difference = loss_of(&model, &all);
	for (int i = 0; i < N; i++)
		model.embedding[i] -= 2 * step * direction[i];
	difference = (difference - loss_of(&model, &all)) / (2 * step);
	assert_true(fabs(product) > 1e-3);
	assert_true(fabs(difference - product) < 1e-6 * fabs(product));
	br_learn_graph_destroy(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slopes_are_differences),
		cmocka_unit_test(groups_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
