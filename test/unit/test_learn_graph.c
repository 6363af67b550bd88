/*
 * test_learn_graph.c
 *	  Users and bundles over graphs: the walk and the loss beside NumPy, what is
 *	  planted is found, and a user folded in is where training has him.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/learn/graph_int.h"

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

/*
 * NumPy 2.4.6, dense, with embeddings E = sin(1 + arange(96)).reshape(12, 8) / 2:
 *
 *	def view(A, L, R, K, average):
 *		n, m = A.shape; S = zeros((n + m, n + m))
 *		S[:n, n:] = where(A > 0, A / sqrt(A.sum(1, keepdims=True) * A.sum(0)), 0)
 *		S[n:, :n] = S[:n, n:].T; X = vstack([L, R]); out = X.copy()
 *		for k in range(K):
 *			X = S @ X; l = norm(X, axis=1, keepdims=True)
 *			out = out + (X if average else where(l > 0, X / l, 0))
 *		return out / (K + 1 if average else 1)
 *
 * the mean of a bundle's items, scores iu @ ib.T + bu @ bb.T, and the loss of the
 * triples below with contrast .3 at temperature .5 and penalty .01.
 */
typedef struct Walk
{
	int layers;
	BrGraphCombine combine;
	double scores[4][3];
	double item[5]; /* component 5 of each */
	double loss;
} Walk;

static const Walk walks[] = {
	{1,
	 BR_GRAPH_NORMALISED,
	 {{0.460556948, 0.594222162, -0.433529247},
	  {0.203447752, -0.109850744, -0.956326515},
	  {-0.0971515489, -0.241264223, 0.192017575},
	  {0.599350884, 0.732358973, 0.117084983}},
	 {-0.227839065, 0.319694825, 0.0384428527, -0.373726099, 0.0103745705},
	 1.165244757402764},
	{3,
	 BR_GRAPH_NORMALISED,
	 {{1.60845336, 4.39194039, -2.27384418},
	  {2.19027433, 3.68205258, -3.29404504},
	  {-0.104839406, -1.08410756, 0.750019115},
	  {1.18169596, 3.34526807, -0.529283482}},
	 {-0.384894886, 0.802732447, 0.549261909, -0.599886418, 0.352084974},
	 0.7654161677535658},
	{2,
	 BR_GRAPH_AVERAGE,
	 {{0.0112201103, 0.0391962147, 0.128908085},
	  {0.0767523099, 0.0100447617, -0.0842187913},
	  {0.0993799618, 0.00418005529, -0.0781312908},
	  {-0.0261386888, 0.0600929928, 0.145815688}},
	 {0.0265735224, 0.163201792, 0.00750599077, -0.168374625, 0.168545208},
	 1.1074225195122098},
};

static void
begin(BrContext *context, const BrGraphOptions *options, BrGraphModel *model)
{
	br_base_context_init(context);
	assert_int_equal(br_learn_graph_create(context, &user_bundle, &user_item, &bundle_item, options,
										   model),
					 BR_OK);
	for (int i = 0; i < (4 + 5 + 3) * 8; i++)
		model->embedding[i] = (float) sin(i + 1.0) / 2;
}

static void
walks_match_numpy(void **state)
{
	const BrGraphBatch batch = {4, (int32_t[]){0, 1, 2, 0}, (int32_t[]){0, 1, 2, 1},
								(int32_t[]){2, 0, 1, 2}};

	(void) state;
	for (size_t w = 0; w < sizeof(walks) / sizeof(walks[0]); w++)
	{
		const BrGraphOptions options = {.dims = 8,
										.layers = walks[w].layers,
										.combine = walks[w].combine,
										.contrast = 0.3,
										.temperature = 0.5,
										.penalty = 0.01,
										.batch = 4};
		BrContext context;
		BrGraphModel model;
		double loss;

		begin(&context, &options, &model);
		assert_int_equal(br_learn_graph_forward(&model, &model.item_view, NULL), BR_OK);
		assert_int_equal(br_learn_graph_forward(&model, &model.bundle_view, NULL), BR_OK);
		assert_int_equal(br_learn_graph_mean(&model), BR_OK);
		for (int i = 0; i < 5; i++)
			assert_near(model.item_view.other.out[i * 8 + 5], walks[w].item[i], 2e-6);
		for (int user = 0; user < 4; user++)
			for (int bundle = 0; bundle < 3; bundle++)
				assert_near(br_learn_dot(model.item_view.user.out + user * 8,
										 model.mean + bundle * 8, 8) +
								br_learn_dot(model.bundle_view.user.out + user * 8,
											 model.bundle_view.other.out + bundle * 8, 8),
							walks[w].scores[user][bundle], 1e-5);
		assert_int_equal(br_learn_graph_loss(&model, &batch, &loss), BR_OK);
		assert_near(loss, walks[w].loss, 1e-6);
		br_learn_graph_destroy(&model);
	}
}

/* Of 200,000 edges a fifth is left out, each end counts what stays, and a seed repeats it. */
static void
dropout_leaves_out_its_share(void **state)
{
	enum
	{
		ROWS = 400,
		COLUMNS = 500
	};
	static int64_t starts[ROWS + 1];
	static int32_t ids[ROWS * COLUMNS];
	static float weights[2][ROWS * COLUMNS];
	static int32_t rows[ROWS];
	static int32_t columns[COLUMNS];
	BrSparse edges = {ROWS, COLUMNS, starts, ids, NULL};
	BrGraphView view = {.edges = &edges,
						.weights = weights[0],
						.user_degree = rows,
						.other_degree = columns};
	int left = 0;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < ROWS * COLUMNS; i++)
		ids[i] = i % COLUMNS;
	for (int row = 0; row < ROWS; row++)
		starts[row + 1] = (int64_t) (row + 1) * COLUMNS;
	assert_int_equal(br_learn_graph_weigh(&context, &view, 0.2, 3, 1), BR_OK);
	for (int i = 0; i < ROWS * COLUMNS; i++)
	{
		left += weights[0][i] != 0;
		if (weights[0][i] != 0)
			assert_near(weights[0][i], 1 / sqrt((double) rows[i / COLUMNS] * columns[ids[i]]),
						1e-8);
	}
	/* five standard deviations */
	assert_near(left, 160000, 5 * sqrt(200000 * 0.2 * 0.8));
	view.weights = weights[1];
	assert_int_equal(br_learn_graph_weigh(&context, &view, 0.2, 3, 1), BR_OK);
	assert_memory_equal(weights[0], weights[1], sizeof(weights[0]));
	assert_int_equal(br_learn_graph_weigh(&context, &view, 0.2, 3, 2), BR_OK);
	assert_memory_not_equal(weights[0], weights[1], sizeof(weights[0]));
}

/* Three tastes: each of 60 users buys 3 of the 8 bundles of his, each bundle of 3 of 6 items. */
enum
{
	TASTES = 3,
	OF_A_TASTE = 8,
	USERS = 60,
	BUNDLES = TASTES * OF_A_TASTE,
	ITEMS = TASTES * 6
};

typedef struct Planted
{
	int64_t user_starts[USERS + 1];
	int32_t bundles[USERS * 3];
	int64_t bundle_starts[BUNDLES + 1];
	int32_t items[BUNDLES * 3];
	BrSparse user_bundle;
	BrSparse bundle_item;
} Planted;

/* n of `from` numbers, ascending, by selection sampling */
static void
draw(BrRandom *random, int n, int from, int32_t base, int32_t *drawn)
{
	for (int i = 0; i < from && n > 0; i++)
		if ((int) br_base_random_below(random, (uint32_t) (from - i)) < n)
		{
			*drawn++ = base + i;
			n--;
		}
}

static void
plant(Planted *planted)
{
	BrRandom random;

	br_base_random_init(&random, 17, 0);
	memset(planted, 0, sizeof(*planted));
	for (int user = 0; user < USERS; user++)
	{
		planted->user_starts[user + 1] = (user + 1) * 3;
		draw(&random, 3, OF_A_TASTE, user % TASTES * OF_A_TASTE, planted->bundles + user * 3);
	}
	for (int bundle = 0; bundle < BUNDLES; bundle++)
	{
		planted->bundle_starts[bundle + 1] = (bundle + 1) * 3;
		draw(&random, 3, 6, bundle / OF_A_TASTE * 6, planted->items + bundle * 3);
	}
	planted->user_bundle = (BrSparse){USERS, BUNDLES, planted->user_starts, planted->bundles, NULL};
	planted->bundle_item = (BrSparse){BUNDLES, ITEMS, planted->bundle_starts, planted->items, NULL};
}

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

static double
product(const float *left, const float *right, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) left[i] * (double) right[i];
	return sum;
}

static bool
bought(const Planted *planted, int user, int bundle)
{
	for (int i = 0; i < 3; i++)
		if (planted->bundles[user * 3 + i] == bundle)
			return true;
	return false;
}

/* how often a bundle of a user's taste that he did not buy is above one of another taste */
static double
area(const Planted *planted, const BrGraph *graph, const float *users)
{
	double above = 0;
	double pairs = 0;

	for (int user = 0; user < USERS; user++)
		for (int own = 0; own < BUNDLES; own++)
			for (int other = 0; other < BUNDLES; other++)
			{
				const float *row = users + (size_t) user * (size_t) graph->dims;
				double difference;

				if (own / OF_A_TASTE != user % TASTES || other / OF_A_TASTE == user % TASTES ||
					bought(planted, user, own))
					continue;
				difference =
					product(row, graph->bundle + (size_t) own * (size_t) graph->dims, graph->dims) -
					product(row, graph->bundle + (size_t) other * (size_t) graph->dims,
							graph->dims);
				above += difference > 0 ? 1 : difference == 0 ? 0.5 : 0;
				pairs++;
			}
	return above / pairs;
}

static void
fold_all(BrContext *context, const Planted *planted, const BrGraph *graph, bool with_own,
		 float *users)
{
	BrSparse items;

	assert_int_equal(br_learn_graph_items(context, &planted->user_bundle, &planted->bundle_item,
										  &items),
					 BR_OK);
	for (int user = 0; user < USERS; user++)
		assert_int_equal(br_learn_graph_fold_user(context, graph,
												  with_own ? graph->own + user * graph->view_dims
														   : NULL,
												  planted->bundles + user * 3, 3,
												  items.ids + items.starts[user],
												  (int) (items.starts[user + 1] -
														 items.starts[user]),
												  users + user * graph->dims),
						 BR_OK);
	br_learn_sparse_free(context, &items);
}

static void
tastes_are_found(const Planted *planted, const BrGraphOptions *options)
{
	float *users;
	float *bundle;
	BrContext context;
	BrGraph graph;

	br_base_context_init(&context);
	assert_int_equal(br_learn_graph(&context, &planted->user_bundle, NULL, &planted->bundle_item,
									options, NULL, &graph),
					 BR_OK);
	assert_int_equal(graph.dims, 2 * options->dims);
	assert_true(area(planted, &graph, graph.user) > 0.9);
	users = br_base_alloc_array(&context, (size_t) USERS * (size_t) graph.dims, sizeof(float));
	fold_all(&context, planted, &graph, true, users);
	for (int i = 0; i < USERS * graph.dims; i++)
		assert_near(users[i], graph.user[i], 2e-5);
	fold_all(&context, planted, &graph, false, users);
	assert_true(area(planted, &graph, users) > 0.9);

	/* a new bundle of the items of an old one is, to the item view, that one */
	bundle = br_base_alloc_array(&context, (size_t) graph.dims, sizeof(float));
	assert_int_equal(br_learn_graph_fold_bundle(&context, &graph, planted->items + 5 * 3, 3,
												bundle),
					 BR_OK);
	for (int i = 0; i < graph.view_dims; i++)
	{
		assert_near(bundle[i], graph.bundle[5 * graph.dims + i], 2e-5);
		assert_near(bundle[graph.view_dims + i], 0, 0);
	}
	br_base_free(&context, bundle);
	br_base_free(&context, users);
	br_learn_graph_free(&context, &graph);
}

static void
planted_tastes_are_found(void **state)
{
	Planted planted;
	BrGraphOptions options = small_options();

	(void) state;
	plant(&planted);
	tastes_are_found(&planted, &options);
	options.layers = 3;
	options.combine = BR_GRAPH_AVERAGE;
	options.contrast = 0;
	tastes_are_found(&planted, &options);
	options.layers = 2;
	options.combine = BR_GRAPH_NORMALISED;
	options.contrast = 0.1;
	options.edge_dropout = 0.2;
	tastes_are_found(&planted, &options);
}

/* bundles 0 and 1 of user 0 share item 1; user 3 has none */
static void
items_are_those_of_the_bundles(void **state)
{
	const int32_t ids[] = {0, 1, 2, 4, 1, 2, 4, 0, 1, 3};
	const int64_t starts[] = {0, 4, 7, 10, 10};
	BrContext context;
	BrSparse items;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_learn_graph_items(&context, &user_bundle, &bundle_item, &items), BR_OK);
	assert_int_equal(br_learn_sparse_check(&context, &items), BR_OK);
	assert_int_equal(items.rows, 4);
	assert_int_equal(items.columns, 5);
	assert_memory_equal(items.starts, starts, sizeof(starts));
	assert_memory_equal(items.ids, ids, sizeof(ids));
	br_learn_sparse_free(&context, &items);
}

static void
count_reports(void *arg, int64_t done, int64_t total)
{
	int *reports = arg;

	assert_int_equal(total, 60);
	assert_int_equal(done, ++*reports);
}

static void
a_seed_repeats_every_bit(void **state)
{
	int reports = 0;
	const BrProgress progress = {count_reports, &reports};
	Planted planted;
	BrGraphOptions options = small_options();
	BrContext context;
	BrGraph first;
	BrGraph second;
	size_t size = sizeof(float) * BUNDLES * 2 * 16;

	(void) state;
	plant(&planted);
	br_base_context_init(&context);
	options.edge_dropout = 0.1;
	assert_int_equal(br_learn_graph(&context, &planted.user_bundle, NULL, &planted.bundle_item,
									&options, &progress, &first),
					 BR_OK);
	assert_int_equal(reports, 60);
	assert_int_equal(br_learn_graph(&context, &planted.user_bundle, NULL, &planted.bundle_item,
									&options, NULL, &second),
					 BR_OK);
	assert_memory_equal(first.user, second.user, sizeof(float) * USERS * 2 * 16);
	assert_memory_equal(first.bundle, second.bundle, size);
	br_learn_graph_free(&context, &second);
	options.seed++;
	assert_int_equal(br_learn_graph(&context, &planted.user_bundle, NULL, &planted.bundle_item,
									&options, NULL, &second),
					 BR_OK);
	assert_memory_not_equal(first.bundle, second.bundle, size);
	br_learn_graph_free(&context, &second);
	br_learn_graph_free(&context, &first);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walks_match_numpy),
		cmocka_unit_test(dropout_leaves_out_its_share),
		cmocka_unit_test(items_are_those_of_the_bundles),
		cmocka_unit_test(planted_tastes_are_found),
		cmocka_unit_test(a_seed_repeats_every_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
