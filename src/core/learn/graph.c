/*
 * graph.c
 *	  Users and curated bundles, learned over who bought what and what is in it.
 *
 * Two graphs say two things of a user: which items he has, and which bundles. A
 * bundle is, on the one hand, the mean of its items and, on the other, a node of
 * its own. Each graph is walked for a few steps from embeddings that are trained
 * so that a user's score of a bundle he bought exceeds that of one he did not.
 */
#include <stdlib.h>

#include "core/learn/graph_int.h"

/* streams of the seed, beyond those that embeddings begin with */
#define STREAM_SHUFFLE (UINT64_C(1) << 32)
#define STREAM_ITEM_EDGES (UINT64_C(2) << 32)
#define STREAM_BUNDLE_EDGES (UINT64_C(3) << 32)

/* parameters between two looks at the cancel callback */
#define ADAM_BLOCK (INT64_C(1) << 20)

/* what drawing a purchase, or a bundle, is as much as */
#define DRAW_WORK 64

#define MAX_PARAMETERS (INT64_C(1) << 26)
#define MAX_EPOCHS 100000
#define MAX_BATCH (1 << 20)

void
br_learn_graph_defaults(BrGraphOptions *options)
{
	*options = (BrGraphOptions){.dims = 64,
								.layers = 1,
								.combine = BR_GRAPH_NORMALISED,
								.contrast = 0.04,
								.temperature = 0.25,
								.learning_rate = 0.001,
								.penalty = 1e-4,
								.epochs = 50,
								.batch = 2048};
}

static BrStatus
check_range(BrContext *context, const char *name, double value, double least, double most)
{
	if (value >= least && value <= most)
		return BR_OK;
	return br_base_fail(context, BR_ERR_ARGUMENT, "%s is %g, which is not in [%g, %g].", name,
						value, least, most);
}

static BrStatus
check_options(BrContext *context, const BrGraphOptions *options)
{
	const struct
	{
		const char *name;
		double value;
		double least;
		double most;
	} ranges[] = {{"layers", options->layers, 1, BR_GRAPH_MAX_LAYERS},
				  {"combine", options->combine, BR_GRAPH_AVERAGE, BR_GRAPH_NORMALISED},
				  {"contrast", options->contrast, 0, 100},
				  {"temperature", options->temperature, 0.01, 100},
				  {"learning_rate", options->learning_rate, 1e-8, 10},
				  {"penalty", options->penalty, 0, 100},
				  {"edge_dropout", options->edge_dropout, 0, 0.95},
				  {"epochs", options->epochs, 0, MAX_EPOCHS},
				  {"batch", options->batch, 1, MAX_BATCH}};
	BrStatus status = BR_OK;

	if (options->dims < 8 || options->dims > 256 || options->dims % 8 != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"dims is %d, which is not a multiple of 8 from 8 to 256.",
							options->dims);
	for (size_t i = 0; status == BR_OK && i < sizeof(ranges) / sizeof(ranges[0]); i++)
		status =
			check_range(context, ranges[i].name, ranges[i].value, ranges[i].least, ranges[i].most);
	return status;
}

static BrStatus
check_matrices(BrContext *context, const BrSparse *user_bundle, const BrSparse *user_item,
			   const BrSparse *bundle_item)
{
	BrStatus status = br_learn_sparse_check(context, user_bundle);

	if (status == BR_OK)
		status = br_learn_sparse_check(context, bundle_item);
	if (status == BR_OK && user_item != NULL)
		status = br_learn_sparse_check(context, user_item);
	if (status != BR_OK)
		return status;
	if (bundle_item->rows != user_bundle->columns)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d bundles were bought, but %d have items.",
							user_bundle->columns, bundle_item->rows);
	if (user_item != NULL &&
		(user_item->rows != user_bundle->rows || user_item->columns != bundle_item->columns))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Users' items are %d by %d, but there are %d users and %d items.",
							user_item->rows, user_item->columns, user_bundle->rows,
							bundle_item->columns);
	if (br_learn_entries(user_bundle) == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "No user has a bundle.");
	return BR_OK;
}

static BrStatus
check_size(BrContext *context, const BrSparse *user_bundle, const BrSparse *bundle_item, int dims)
{
	int64_t rows = (int64_t) user_bundle->rows + user_bundle->columns + bundle_item->columns;

	if (rows * dims <= MAX_PARAMETERS)
		return BR_OK;
	return br_base_fail(context, BR_ERR_LIMIT,
						"%lld users, items and bundles of %d dimensions exceed %lld numbers.",
						(long long) rows, dims, (long long) MAX_PARAMETERS);
}

/* What one epoch draws from: every purchase as a pair, and one bundle not bought for each. */
typedef struct Purchases
{
	int64_t n;
	int32_t *user;	/* (n) */
	int32_t *has;	/* (n) */
	int32_t *lacks; /* (n) */
} Purchases;

static void
purchases_free(BrContext *context, Purchases *purchases)
{
	br_base_free(context, purchases->user);
	br_base_free(context, purchases->has);
	br_base_free(context, purchases->lacks);
}

/* A user who has all bundles teaches nothing and is left out. */
static BrStatus
purchases_create(BrContext *context, const BrSparse *user_bundle, Purchases *purchases)
{
	size_t entries = (size_t) br_learn_entries(user_bundle);

	purchases->n = 0;
	purchases->user = br_base_alloc_array(context, entries, sizeof(int32_t));
	purchases->has = br_base_alloc_array(context, entries, sizeof(int32_t));
	purchases->lacks = br_base_alloc_array(context, entries, sizeof(int32_t));
	if (purchases->user == NULL || purchases->has == NULL || purchases->lacks == NULL)
		return BR_ERR_MEMORY;
	for (int user = 0; user < user_bundle->rows; user++)
	{
		int64_t first = user_bundle->starts[user];
		int64_t last = user_bundle->starts[user + 1];

		for (int64_t i = first; last - first < user_bundle->columns && i < last; i++)
		{
			purchases->user[purchases->n] = user;
			purchases->has[purchases->n++] = user_bundle->ids[i];
		}
	}
	return BR_OK;
}

static bool
row_contains(const BrSparse *matrix, int row, int32_t column)
{
	int64_t first = matrix->starts[row];
	int64_t last = matrix->starts[row + 1];

	while (first < last)
	{
		int64_t middle = first + (last - first) / 2;

		if (matrix->ids[middle] == column)
			return true;
		if (matrix->ids[middle] < column)
			first = middle + 1;
		else
			last = middle;
	}
	return false;
}

/* Somebody who lacks few of many bundles takes many draws. */
static BrStatus
shuffle(BrContext *context, const BrSparse *user_bundle, Purchases *purchases, uint64_t seed,
		int epoch)
{
	int64_t work = 0;
	BrStatus status = BR_OK;
	BrRandom random;

	br_base_random_init(&random, seed, STREAM_SHUFFLE + (uint64_t) epoch);
	for (int64_t i = purchases->n - 1; status == BR_OK && i > 0; i--)
	{
		int64_t other = (int64_t) (br_base_random_u64(&random) % (uint64_t) (i + 1));
		int32_t user = purchases->user[i];
		int32_t has = purchases->has[i];

		purchases->user[i] = purchases->user[other];
		purchases->has[i] = purchases->has[other];
		purchases->user[other] = user;
		purchases->has[other] = has;
		status = br_learn_graph_work(context, &work, DRAW_WORK);
	}
	for (int64_t i = 0; status == BR_OK && i < purchases->n; i++)
		do
		{
			purchases->lacks[i] =
				(int32_t) br_base_random_below(&random, (uint32_t) user_bundle->columns);
			status = br_learn_graph_work(context, &work, DRAW_WORK);
		} while (status == BR_OK &&
				 row_contains(user_bundle, purchases->user[i], purchases->lacks[i]));
	return status;
}

static BrStatus
descend(BrGraphModel *model, BrAdam *adam)
{
	br_learn_adam_begin(adam);
	for (int64_t first = 0; first < adam->n; first += ADAM_BLOCK)
	{
		int64_t last = adam->n - first > ADAM_BLOCK ? first + ADAM_BLOCK : adam->n;

		br_learn_adam_step(adam, model->options.learning_rate, first, last, model->slope,
						   model->embedding);
		if (br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

static BrStatus
run_epoch(BrGraphModel *model, BrAdam *adam, Purchases *purchases, int epoch)
{
	const BrGraphOptions *options = &model->options;
	BrStatus status = BR_OK;

	if (br_base_cancelled(model->context))
		return BR_ERR_CANCELLED;
	status = shuffle(model->context, model->bundle_view.edges, purchases, options->seed, epoch);
	if (status == BR_OK && options->edge_dropout > 0)
		status = br_learn_graph_weigh(model->context, &model->item_view, options->edge_dropout,
									  options->seed, STREAM_ITEM_EDGES + (uint64_t) epoch);
	if (status == BR_OK && options->edge_dropout > 0)
		status = br_learn_graph_weigh(model->context, &model->bundle_view, options->edge_dropout,
									  options->seed, STREAM_BUNDLE_EDGES + (uint64_t) epoch);
	for (int64_t first = 0; status == BR_OK && first < purchases->n; first += options->batch)
	{
		int64_t left = purchases->n - first;
		const BrGraphBatch batch = {left < options->batch ? (int) left : options->batch,
									purchases->user + first, purchases->has + first,
									purchases->lacks + first};
		double loss;

		status = br_learn_graph_loss(model, &batch, &loss);
		if (status == BR_OK && !isfinite(loss))
			status = br_base_fail(model->context, BR_ERR_NUMERIC,
								  "The loss left the finite numbers in epoch %d.", epoch + 1);
		if (status == BR_OK)
			status = descend(model, adam);
	}
	return status;
}

static BrStatus
train(BrGraphModel *model, const BrProgress *progress)
{
	BrContext *context = model->context;
	int64_t parameters =
		((int64_t) model->users + model->items + model->bundles) * model->options.dims;
	Purchases purchases = {0};
	BrAdam adam = {0};
	BrStatus status = purchases_create(context, model->bundle_view.edges, &purchases);

	if (status == BR_OK)
		status = br_learn_adam_create(context, parameters, &adam);
	for (int epoch = 0; status == BR_OK && epoch < model->options.epochs; epoch++)
	{
		status = run_epoch(model, &adam, &purchases, epoch);
		br_learn_report(progress, epoch + 1, model->options.epochs);
	}
	purchases_free(context, &purchases);
	br_learn_adam_free(context, &adam);
	return status;
}

/* Rows of a table into every stride-th of another. */
static BrStatus
copy_rows(const BrGraphModel *model, const BrReal *from, int rows, size_t stride, float *to)
{
	size_t dims = (size_t) model->options.dims;
	int64_t work = 0;
	BrStatus status = BR_OK;

	for (size_t row = 0; status == BR_OK && row < (size_t) rows; row++)
	{
		for (size_t i = 0; i < dims; i++)
			to[row * stride * dims + i] = (float) from[row * dims + i];
		status = br_learn_graph_work(model->context, &work, (int64_t) dims);
	}
	return status;
}

/* Both views side by side. */
static BrStatus
join(const BrGraphModel *model, const BrReal *items, const BrReal *bundles, int rows, float *joined)
{
	BrStatus status = copy_rows(model, items, rows, 2, joined);

	return status == BR_OK ? copy_rows(model, bundles, rows, 2, joined + model->options.dims)
						   : status;
}

/* What each row hands its users at each step, before their own degrees divide it. */
static BrStatus
keep_steps(const BrGraphModel *model, const BrGraphView *view, float *steps)
{
	const BrGraphSide *side = &view->other;
	size_t dims = (size_t) model->options.dims;
	size_t layers = (size_t) model->options.layers;
	int64_t work = 0;
	BrStatus status = BR_OK;

	for (int row = 0; status == BR_OK && row < side->rows; row++)
	{
		int degree = view->other_degree[row];
		float share = degree > 0 ? (float) (1 / sqrt((double) degree)) : 0;

		for (size_t layer = 0; layer < layers; layer++)
		{
			const BrReal *from =
				layer == 0 ? side->start : side->steps + (layer - 1) * (size_t) side->rows * dims;

			for (size_t i = 0; i < dims; i++)
				steps[((size_t) row * layers + layer) * dims + i] =
					share * (float) from[(size_t) row * dims + i];
		}
		status = br_learn_graph_work(model->context, &work, (int64_t) (layers * dims));
	}
	return status;
}

static BrStatus
allocate_result(BrContext *context, const BrGraphModel *model, BrGraph *graph)
{
	size_t dims = (size_t) model->options.dims;
	size_t layers = (size_t) model->options.layers;
	size_t users = (size_t) model->users;
	size_t items = (size_t) model->items;
	size_t bundles = (size_t) model->bundles;

	graph->users = model->users;
	graph->items = model->items;
	graph->bundles = model->bundles;
	graph->dims = 2 * model->options.dims;
	graph->view_dims = model->options.dims;
	graph->layers = model->options.layers;
	graph->combine = model->options.combine;
	graph->user = br_base_alloc(context, users * 2 * dims * sizeof(float));
	graph->bundle = br_base_alloc(context, bundles * 2 * dims * sizeof(float));
	graph->own = br_base_alloc(context, users * dims * sizeof(float));
	graph->item = br_base_alloc(context, items * dims * sizeof(float));
	graph->item_steps = br_base_alloc(context, items * layers * dims * sizeof(float));
	graph->bundle_steps = br_base_alloc(context, bundles * layers * dims * sizeof(float));
	return graph->user != NULL && graph->bundle != NULL && graph->own != NULL &&
			graph->item != NULL && graph->item_steps != NULL && graph->bundle_steps != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

static BrStatus
finish(BrGraphModel *model, BrGraph *graph)
{
	BrStatus status = br_learn_graph_weigh(model->context, &model->item_view, 0, 0, 0);

	if (status == BR_OK)
		status = br_learn_graph_weigh(model->context, &model->bundle_view, 0, 0, 0);
	if (status == BR_OK)
		status = br_learn_graph_forward(model, &model->item_view, NULL);
	if (status == BR_OK)
		status = br_learn_graph_forward(model, &model->bundle_view, NULL);
	if (status == BR_OK)
		status = br_learn_graph_mean(model);
	if (status == BR_OK)
		status = allocate_result(model->context, model, graph);
	if (status == BR_OK)
		status = join(model, model->item_view.user.out, model->bundle_view.user.out, model->users,
					  graph->user);
	if (status == BR_OK)
		status =
			join(model, model->mean, model->bundle_view.other.out, model->bundles, graph->bundle);
	if (status == BR_OK)
		status = copy_rows(model, model->embedding, model->users, 1, graph->own);
	if (status == BR_OK)
		status = copy_rows(model, model->item_view.other.out, model->items, 1, graph->item);
	if (status == BR_OK)
		status = keep_steps(model, &model->item_view, graph->item_steps);
	if (status == BR_OK)
		status = keep_steps(model, &model->bundle_view, graph->bundle_steps);
	return status;
}

BrStatus
br_learn_graph(BrContext *context, const BrSparse *user_bundle, const BrSparse *user_item,
			   const BrSparse *bundle_item, const BrGraphOptions *options,
			   const BrProgress *progress, BrGraph *graph)
{
	BrSparse derived = {0};
	BrGraphModel model;
	BrStatus status = check_options(context, options);

	memset(graph, 0, sizeof(*graph));
	if (status == BR_OK)
		status = check_matrices(context, user_bundle, user_item, bundle_item);
	if (status == BR_OK)
		status = check_size(context, user_bundle, bundle_item, options->dims);
	if (status == BR_OK && user_item == NULL)
	{
		status = br_learn_graph_items(context, user_bundle, bundle_item, &derived);
		user_item = &derived;
	}
	if (status != BR_OK)
		return status;
	status = br_learn_graph_create(context, user_bundle, user_item, bundle_item, options, &model);
	if (status == BR_OK)
	{
		status = train(&model, progress);
		if (status == BR_OK)
			status = finish(&model, graph);
		br_learn_graph_destroy(&model);
	}
	if (status != BR_OK)
		br_learn_graph_free(context, graph);
	br_learn_sparse_free(context, &derived);
	return status;
}
