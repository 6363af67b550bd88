/*
 * test_learn_graph_limits.c
 *	  What learning over graphs refuses, and what it leaves behind when memory
 *	  runs out or it is cancelled: nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/br_learn.h"
#include "learn_countdown.h"

static void
assert_near(double have, double want, double tolerance)
{
	if (!(fabs(have - want) <= tolerance))
		fail_msg("%.9g is not %.9g", have, want);
}

/* 4 users, 5 items, 3 bundles; user 3 has no bundle, item 3 is in one bundle only */
static const BrSparse user_bundle = {4, 3, (int64_t[]){0, 2, 3, 5, 5}, (int32_t[]){0, 1, 1, 0, 2},
									 NULL};
static const BrSparse user_item = {4, 5, (int64_t[]){0, 3, 5, 7, 8},
								   (int32_t[]){0, 1, 2, 2, 4, 0, 3, 4}, NULL};
static const BrSparse bundle_item = {3, 5, (int64_t[]){0, 2, 5, 6}, (int32_t[]){0, 1, 1, 2, 4, 3},
									 NULL};

static BrGraphOptions
small_options(void)
{
	BrGraphOptions options;

	br_learn_graph_defaults(&options);
	options.dims = 16;
	options.batch = 64;
	options.epochs = 60;
	options.learning_rate = 0.01;
	options.seed = 1;
	return options;
}

static void
refuses(const BrSparse *bundles, const BrSparse *items, const BrSparse *contents,
		const BrGraphOptions *options, const char *detail)
{
	BrContext context;
	BrGraph graph;

	br_base_context_init(&context);
	assert_int_equal(br_learn_graph(&context, bundles, items, contents, options, NULL, &graph),
					 BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, detail);
	assert_null(graph.user);
}

static void
bad_input_is_refused(void **state)
{
	const BrSparse empty = {0, 0, (int64_t[]){0}, NULL, NULL};
	const BrSparse nothing = {4, 3, (int64_t[]){0, 0, 0, 0, 0}, NULL, NULL};
	const BrSparse unordered = {4, 3, (int64_t[]){0, 2, 2, 2, 2}, (int32_t[]){1, 1}, NULL};
	const BrSparse narrow = {4, 2, (int64_t[]){0, 0, 0, 0, 0}, NULL, NULL};
	BrGraphOptions options = small_options();

	(void) state;
	refuses(&empty, NULL, &empty, &options, "No user has a bundle.");
	refuses(&nothing, NULL, &bundle_item, &options, "No user has a bundle.");
	refuses(&unordered, NULL, &bundle_item, &options,
			"Row 0 has column 1, which is out of range or order.");
	refuses(&narrow, NULL, &bundle_item, &options, "2 bundles were bought, but 3 have items.");
	refuses(&user_bundle, &narrow, &bundle_item, &options,
			"Users' items are 4 by 2, but there are 4 users and 5 items.");
	options.dims = 12;
	refuses(&user_bundle, NULL, &bundle_item, &options,
			"dims is 12, which is not a multiple of 8 from 8 to 256.");
	options = small_options();
	options.layers = 4;
	refuses(&user_bundle, NULL, &bundle_item, &options, "layers is 4, which is not in [1, 3].");
	options = small_options();
	options.learning_rate = NAN;
	refuses(&user_bundle, NULL, &bundle_item, &options,
			"learning_rate is nan, which is not in [1e-08, 10].");
	options = small_options();
	options.temperature = 0;
	refuses(&user_bundle, NULL, &bundle_item, &options,
			"temperature is 0, which is not in [0.01, 100].");
	options = small_options();
	options.edge_dropout = 1;
	refuses(&user_bundle, NULL, &bundle_item, &options,
			"edge_dropout is 1, which is not in [0, 0.95].");
}

static void
too_many_users_are_refused(void **state)
{
	const int users = 1 << 20;
	int64_t *starts = calloc((size_t) users + 1, sizeof(int64_t));
	BrSparse bought = {users, 3, starts, (int32_t[]){0}, NULL};
	BrGraphOptions options = small_options();
	BrContext context;
	BrGraph graph;

	(void) state;
	br_base_context_init(&context);
	starts[users] = 1;
	options.dims = 64;
	assert_int_equal(br_learn_graph(&context, &bought, NULL, &bundle_item, &options, NULL, &graph),
					 BR_ERR_LIMIT);
	assert_string_equal(context.detail,
						"1048584 users, items and bundles of 64 dimensions exceed 67108864 numbers.");
	free(starts);
}

static void
folding_in_refuses_what_does_not_exist(void **state)
{
	const int32_t ids[] = {0, 3};
	float out[32];
	BrGraphOptions options = small_options();
	BrContext context;
	BrGraph graph;

	(void) state;
	options.epochs = 1;
	br_base_context_init(&context);
	assert_int_equal(br_learn_graph(&context, &user_bundle, &user_item, &bundle_item, &options,
									NULL, &graph),
					 BR_OK);
	assert_int_equal(br_learn_graph_fold_user(&context, &graph, NULL, ids, 2, NULL, 0, out),
					 BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "There is no bundle 3.");
	assert_int_equal(br_learn_graph_fold_bundle(&context, &graph, ids, -1, out), BR_ERR_ARGUMENT);
	/* who has nothing is nowhere */
	assert_int_equal(br_learn_graph_fold_user(&context, &graph, NULL, NULL, 0, NULL, 0, out),
					 BR_OK);
	for (int i = 0; i < 32; i++)
		assert_near(out[i], 0, 0);
	br_learn_graph_free(&context, &graph);
}

/* One user with one of one bundle has nothing to be compared with; the result is finite. */
static void
one_of_each_is_learned(void **state)
{
	const BrSparse one = {1, 1, (int64_t[]){0, 1}, (int32_t[]){0}, NULL};
	BrGraphOptions options = small_options();
	BrContext context;
	BrGraph graph;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_graph(&context, &one, NULL, &one, &options, NULL, &graph), BR_OK);
	for (int i = 0; i < graph.dims; i++)
		assert_true(isfinite(graph.user[i]) && isfinite(graph.bundle[i]));
	br_learn_graph_free(&context, &graph);
}

static void
memory_may_run_out_anywhere(void **state)
{
	BrGraphOptions options = small_options();
	BrStatus status = BR_ERR_MEMORY;
	int allowed;

	(void) state;
	options.epochs = 1;
	for (allowed = 0; status != BR_OK; allowed++)
	{
		Countdown countdown;
		BrContext context;
		BrGraph graph;

		countdown_begin(&context, &countdown, allowed, INT_MAX);
		status = br_learn_graph(&context, &user_bundle, NULL, &bundle_item, &options, NULL, &graph);
		assert_true(status == BR_OK || status == BR_ERR_MEMORY);
		if (status == BR_OK)
			br_learn_graph_free(&context, &graph);
		assert_int_equal(countdown.live, 0);
	}
	assert_true(allowed > 40);
}

static void
cancelling_leaves_nothing(void **state)
{
	BrGraphOptions options = small_options();
	BrStatus status = BR_ERR_CANCELLED;
	int asked;

	(void) state;
	options.epochs = 2;
	for (asked = 0; status != BR_OK; asked++)
	{
		Countdown countdown;
		BrContext context;
		BrGraph graph;

		countdown_begin(&context, &countdown, INT_MAX, asked);
		status = br_learn_graph(&context, &user_bundle, NULL, &bundle_item, &options, NULL, &graph);
		assert_true(status == BR_OK || status == BR_ERR_CANCELLED);
		if (status == BR_OK)
			br_learn_graph_free(&context, &graph);
		assert_int_equal(countdown.live, 0);
	}
	assert_true(asked > 20);
}

/* how often learning asks whether to stop */
static int
questions(const BrSparse *bundles, const BrSparse *items, const BrSparse *contents,
		  const BrGraphOptions *options)
{
	Countdown countdown;
	BrContext context;
	BrGraph graph;

	countdown_begin(&context, &countdown, INT_MAX, INT_MAX);
	assert_int_equal(br_learn_graph(&context, bundles, items, contents, options, NULL, &graph),
					 BR_OK);
	br_learn_graph_free(&context, &graph);
	return INT_MAX - countdown.checks;
}

/* Three million numbers take a tenth of a second to draw. */
static void
drawing_embeddings_may_be_cancelled(void **state)
{
	const int users = 50000;
	int64_t *starts = calloc((size_t) users + 1, sizeof(int64_t));
	const BrSparse bought = {users, 3, starts, (int32_t[]){0}, NULL};
	const BrSparse owned = {users, 5, starts, (int32_t[]){0}, NULL};
	BrGraphOptions options = small_options();

	(void) state;
	starts[users] = 1;
	options.dims = 64;
	options.epochs = 0;
	assert_true(questions(&bought, &owned, &bundle_item, &options) > 10);
	free(starts);
}

/* Of 2,000 bundles a user lacks one, for which each of his purchases takes 2,000 draws, or half. */
static void
looking_for_what_a_user_lacks_may_be_cancelled(void **state)
{
	enum
	{
		BUNDLES = 2000
	};
	static int32_t ids[BUNDLES];
	static int64_t starts[BUNDLES + 1];
	const BrSparse lacks_one = {1, BUNDLES, (int64_t[]){0, BUNDLES - 1}, ids, NULL};
	const BrSparse lacks_half = {1, BUNDLES, (int64_t[]){0, BUNDLES / 2}, ids, NULL};
	const BrSparse contents = {BUNDLES, 5, starts, NULL, NULL};
	BrGraphOptions options = small_options();

	(void) state;
	for (int i = 0; i < BUNDLES; i++)
		ids[i] = i;
	options.dims = 8;
	options.epochs = 1;
	options.batch = BUNDLES;
	assert_true(questions(&lacks_one, NULL, &contents, &options) >
				questions(&lacks_half, NULL, &contents, &options) + 20);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_input_is_refused),
		cmocka_unit_test(too_many_users_are_refused),
		cmocka_unit_test(folding_in_refuses_what_does_not_exist),
		cmocka_unit_test(one_of_each_is_learned),
		cmocka_unit_test(memory_may_run_out_anywhere),
		cmocka_unit_test(cancelling_leaves_nothing),
		cmocka_unit_test(drawing_embeddings_may_be_cancelled),
		cmocka_unit_test(looking_for_what_a_user_lacks_may_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
