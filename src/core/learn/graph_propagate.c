/*
 * graph_propagate.c
 *	  Steps along the edges of a graph, and the gradient back along them.
 *
 * A step multiplies the embeddings by D^-1/2 A D^-1/2. It is linear and its
 * matrix symmetric, so the gradient with respect to the embeddings is the same
 * step of the gradient with respect to its result. Only what a batch looks at
 * is computed at the last step: few of the users' rows.
 */
#include "core/learn/graph_int.h"

/* what drawing and weighing an edge is as much as */
#define EDGE_WORK 16

/* Tables are written before they are read, so nobody waits until they are cleared. */
static BrStatus
side_create(BrGraphModel *model, int rows, int64_t first, BrGraphSide *side)
{
	size_t dims = (size_t) model->options.dims;
	size_t size = (size_t) rows * dims * sizeof(BrReal);
	BrContext *context = model->context;

	side->rows = rows;
	side->start = model->embedding + first * (int64_t) dims;
	side->start_slope = model->slope + first * (int64_t) dims;
	side->steps = br_base_alloc(context, size * (size_t) model->options.layers);
	side->out = br_base_alloc(context, size);
	side->out_slope = br_base_alloc(context, size);
	side->slope = br_base_alloc(context, size);
	side->next = br_base_alloc(context, size);
	return side->steps != NULL && side->out != NULL && side->out_slope != NULL &&
			side->slope != NULL && side->next != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

static void
side_free(BrContext *context, BrGraphSide *side)
{
	br_base_free(context, side->steps);
	br_base_free(context, side->out);
	br_base_free(context, side->out_slope);
	br_base_free(context, side->slope);
	br_base_free(context, side->next);
}

BrStatus
br_learn_graph_view_create(BrGraphModel *model, const BrSparse *edges, int64_t first_other,
						   BrGraphView *view)
{
	BrContext *context = model->context;
	BrStatus status;

	view->edges = edges;
	view->weights = br_base_alloc_array(context, (size_t) br_learn_entries(edges), sizeof(BrReal));
	view->user_degree = br_base_alloc_array(context, (size_t) edges->rows, sizeof(int32_t));
	view->other_degree = br_base_alloc_array(context, (size_t) edges->columns, sizeof(int32_t));
	if (view->weights == NULL || view->user_degree == NULL || view->other_degree == NULL)
		return BR_ERR_MEMORY;
	status = side_create(model, edges->rows, 0, &view->user);
	if (status == BR_OK)
		status = side_create(model, edges->columns, first_other, &view->other);
	return status;
}

void
br_learn_graph_view_free(BrContext *context, BrGraphView *view)
{
	br_base_free(context, view->weights);
	br_base_free(context, view->user_degree);
	br_base_free(context, view->other_degree);
	side_free(context, &view->user);
	side_free(context, &view->other);
}

BrStatus
br_learn_graph_weigh(BrContext *context, BrGraphView *view, double dropout, uint64_t key,
					 uint64_t stream)
{
	const BrSparse *edges = view->edges;
	int64_t work = 0;
	BrStatus status = BR_OK;
	BrRandom random;

	br_base_random_init(&random, key, stream);
	memset(view->user_degree, 0, sizeof(int32_t) * (size_t) edges->rows);
	memset(view->other_degree, 0, sizeof(int32_t) * (size_t) edges->columns);
	for (int user = 0; status == BR_OK && user < edges->rows; user++)
	{
		for (int64_t i = edges->starts[user]; i < edges->starts[user + 1]; i++)
		{
			bool stays = dropout == 0 || br_base_random_uniform(&random) >= dropout;

			view->weights[i] = stays;
			view->user_degree[user] += stays;
			view->other_degree[edges->ids[i]] += stays;
		}
		status = br_learn_graph_work(context, &work,
									 EDGE_WORK * (edges->starts[user + 1] - edges->starts[user]));
	}
	for (int user = 0; status == BR_OK && user < edges->rows; user++)
	{
		for (int64_t i = edges->starts[user]; i < edges->starts[user + 1]; i++)
			if (view->weights[i] != 0)
				view->weights[i] = (BrReal) (1 /
											 sqrt((double) view->user_degree[user] *
												  (double) view->other_degree[edges->ids[i]]));
		status = br_learn_graph_work(context, &work,
									 EDGE_WORK * (edges->starts[user + 1] - edges->starts[user]));
	}
	return status;
}

/* user[u] = the weighted sum of others, for users first to last - 1 that are wanted */
BR_LEARN_INLINE void
gather_body(const BrGraphView *view, const BrReal *other, BrReal *user, const uint8_t *wanted,
			int dims, int first, int last)
{
	for (int u = first; u < last; u++)
	{
		BrReal *row = user + (size_t) u * (size_t) dims;

		if (wanted != NULL && !wanted[u])
			continue;
		memset(row, 0, sizeof(BrReal) * (size_t) dims);
		for (int64_t i = view->edges->starts[u]; i < view->edges->starts[u + 1]; i++)
			br_learn_add_scaled(row, view->weights[i],
								other + (size_t) view->edges->ids[i] * (size_t) dims, dims);
	}
}

/* adds to others the weighted users first to last - 1 that are wanted */
BR_LEARN_INLINE void
scatter_body(const BrGraphView *view, const BrReal *user, BrReal *other, const uint8_t *wanted,
			 int dims, int first, int last)
{
	for (int u = first; u < last; u++)
	{
		const BrReal *row = user + (size_t) u * (size_t) dims;

		if (wanted != NULL && !wanted[u])
			continue;
		for (int64_t i = view->edges->starts[u]; i < view->edges->starts[u + 1]; i++)
			br_learn_add_scaled(other + (size_t) view->edges->ids[i] * (size_t) dims,
								view->weights[i], row, dims);
	}
}

BR_LEARN_WIDE static void
gather_wide(const BrGraphView *view, const BrReal *other, BrReal *user, const uint8_t *wanted,
			int dims, int first, int last)
{
	gather_body(view, other, user, wanted, dims, first, last);
}

BR_LEARN_WIDE static void
scatter_wide(const BrGraphView *view, const BrReal *user, BrReal *other, const uint8_t *wanted,
			 int dims, int first, int last)
{
	scatter_body(view, user, other, wanted, dims, first, last);
}

/* the end of a block of users that begins at first */
static int
block_end(const BrSparse *edges, int first, int dims)
{
	int last = first + 1;

	while (last < edges->rows &&
		   (edges->starts[last + 1] - edges->starts[first] + last - first) * dims <
			   BR_GRAPH_WORK_BLOCK)
		last++;
	return last;
}

static BrStatus
gather(const BrGraphModel *model, const BrGraphView *view, const BrReal *other, BrReal *user,
	   const uint8_t *wanted)
{
	int dims = model->options.dims;

	for (int first = 0, last; first < view->edges->rows; first = last)
	{
		last = block_end(view->edges, first, dims);
		if (BR_LEARN_IS_WIDE())
			gather_wide(view, other, user, wanted, dims, first, last);
		else
			gather_body(view, other, user, wanted, dims, first, last);
		if (br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

static BrStatus
scatter(const BrGraphModel *model, const BrGraphView *view, const BrReal *user, BrReal *other,
		const uint8_t *wanted)
{
	int dims = model->options.dims;

	memset(other, 0, sizeof(BrReal) * (size_t) view->edges->columns * (size_t) dims);
	for (int first = 0, last; first < view->edges->rows; first = last)
	{
		last = block_end(view->edges, first, dims);
		if (BR_LEARN_IS_WIDE())
			scatter_wide(view, user, other, wanted, dims, first, last);
		else
			scatter_body(view, user, other, wanted, dims, first, last);
		if (br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

static size_t
side_size(const BrGraphModel *model, const BrGraphSide *side)
{
	return (size_t) side->rows * (size_t) model->options.dims;
}

/* out of a side: the mean of all steps, or the start plus each step at length 1 */
static void
combine(const BrGraphModel *model, BrGraphSide *side, const uint8_t *wanted)
{
	int dims = model->options.dims;
	int layers = model->options.layers;
	bool average = model->options.combine == BR_GRAPH_AVERAGE;
	BrReal share = average ? 1 / (BrReal) (layers + 1) : 1;

	for (int row = 0; row < side->rows; row++)
	{
		size_t at = (size_t) row * (size_t) dims;

		if (wanted != NULL && !wanted[row])
			continue;
		memset(side->out + at, 0, sizeof(BrReal) * (size_t) dims);
		br_learn_add_scaled(side->out + at, share, side->start + at, dims);
		for (int layer = 0; layer < layers; layer++)
		{
			const BrReal *step = side->steps + (size_t) layer * side_size(model, side) + at;

			br_learn_add_scaled(side->out + at, average ? share : br_learn_inverse_norm(step, dims),
								step, dims);
		}
	}
}

BrStatus
br_learn_graph_forward(BrGraphModel *model, BrGraphView *view, const uint8_t *wanted)
{
	const BrReal *user = view->user.start;
	const BrReal *other = view->other.start;

	for (int layer = 0; layer < model->options.layers; layer++)
	{
		bool last = layer + 1 == model->options.layers;
		BrReal *next_user = view->user.steps + (size_t) layer * side_size(model, &view->user);
		BrReal *next_other = view->other.steps + (size_t) layer * side_size(model, &view->other);
		BrStatus status = gather(model, view, other, next_user, last ? wanted : NULL);

		if (status == BR_OK)
			status = scatter(model, view, user, next_other, NULL);
		if (status != BR_OK)
			return status;
		user = next_user;
		other = next_other;
	}
	combine(model, &view->user, wanted);
	combine(model, &view->other, NULL);
	return BR_OK;
}

/* adds to slope, the gradient of step `layer` (0: the start), what out_slope says of it directly */
static void
uncombine(const BrGraphModel *model, const BrGraphSide *side, int layer, const uint8_t *wanted,
		  BrReal *slope)
{
	int dims = model->options.dims;
	bool average = model->options.combine == BR_GRAPH_AVERAGE;
	BrReal share = average ? 1 / (BrReal) (model->options.layers + 1) : 1;
	const BrReal *steps =
		layer > 0 ? side->steps + (size_t) (layer - 1) * side_size(model, side) : NULL;

	for (int row = 0; row < side->rows; row++)
	{
		size_t at = (size_t) row * (size_t) dims;

		if (wanted != NULL && !wanted[row])
			continue;
		if (average || layer == 0)
			br_learn_add_scaled(slope + at, share, side->out_slope + at, dims);
		else
			br_learn_add_through_norm(slope + at, steps + at, side->out_slope + at, dims);
	}
}

static void
swap(BrGraphSide *side)
{
	BrReal *kept = side->slope;

	side->slope = side->next;
	side->next = kept;
}

BrStatus
br_learn_graph_backward(BrGraphModel *model, BrGraphView *view, const uint8_t *wanted)
{
	int layers = model->options.layers;

	memset(view->user.slope, 0, sizeof(BrReal) * side_size(model, &view->user));
	memset(view->other.slope, 0, sizeof(BrReal) * side_size(model, &view->other));
	for (int layer = layers; layer > 0; layer--)
	{
		BrStatus status;

		uncombine(model, &view->user, layer, wanted, view->user.slope);
		uncombine(model, &view->other, layer, NULL, view->other.slope);
		status = gather(model, view, view->other.slope, view->user.next, NULL);
		if (status == BR_OK)
			status = scatter(model, view, view->user.slope, view->other.next,
							 layer == layers ? wanted : NULL);
		if (status != BR_OK)
			return status;
		swap(&view->user);
		swap(&view->other);
	}
	uncombine(model, &view->user, 0, wanted, view->user.slope);
	uncombine(model, &view->other, 0, NULL, view->other.slope);
	for (size_t i = 0; i < side_size(model, &view->user); i++)
		view->user.start_slope[i] += view->user.slope[i];
	for (size_t i = 0; i < side_size(model, &view->other); i++)
		view->other.start_slope[i] += view->other.slope[i];
	return BR_OK;
}

BrStatus
br_learn_graph_mean(BrGraphModel *model)
{
	const BrSparse *edges = model->bundle_item;
	size_t dims = (size_t) model->options.dims;
	int64_t work = 0;
	BrStatus status = BR_OK;

	memset(model->mean, 0, sizeof(BrReal) * (size_t) model->bundles * dims);
	for (int bundle = 0; status == BR_OK && bundle < model->bundles; bundle++)
	{
		int64_t n = edges->starts[bundle + 1] - edges->starts[bundle];

		for (int64_t i = edges->starts[bundle]; i < edges->starts[bundle + 1]; i++)
			br_learn_add_scaled(model->mean + (size_t) bundle * dims, 1 / (BrReal) n,
								model->item_view.other.out + (size_t) edges->ids[i] * dims,
								(int) dims);
		status = br_learn_graph_work(model->context, &work, n * (int64_t) dims);
	}
	return status;
}

BrStatus
br_learn_graph_mean_back(BrGraphModel *model)
{
	const BrSparse *edges = model->bundle_item;
	size_t dims = (size_t) model->options.dims;
	int64_t work = 0;
	BrStatus status = BR_OK;

	for (int bundle = 0; status == BR_OK && bundle < model->bundles; bundle++)
	{
		int64_t n = edges->starts[bundle + 1] - edges->starts[bundle];

		for (int64_t i = edges->starts[bundle]; i < edges->starts[bundle + 1]; i++)
			br_learn_add_scaled(model->item_view.other.out_slope + (size_t) edges->ids[i] * dims,
								1 / (BrReal) n, model->mean_slope + (size_t) bundle * dims,
								(int) dims);
		status = br_learn_graph_work(model->context, &work, n * (int64_t) dims);
	}
	return status;
}
