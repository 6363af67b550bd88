/*
 * graph_fold.c
 *	  Vectors of users and bundles that were not there in training.
 *
 * A user is known by his embedding and by what he has: each of his bundles and
 * items hands him its embedding, and at a further step what it received itself,
 * over the root of both degrees. What a bundle or an item hands out is kept, so
 * that a purchase moves a user's vector at once. His own degree is that of
 * today; that of a bundle stays what it was.
 */
#include "core/learn/graph_int.h"

void
br_learn_graph_free(BrContext *context, BrGraph *graph)
{
	br_base_free(context, graph->user);
	br_base_free(context, graph->bundle);
	br_base_free(context, graph->own);
	br_base_free(context, graph->item);
	br_base_free(context, graph->item_steps);
	br_base_free(context, graph->bundle_steps);
	memset(graph, 0, sizeof(*graph));
}

static BrStatus
check_ids(BrContext *context, const char *what, const int32_t *ids, int n, int bound)
{
	if (n < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A number of %ss is %d.", what, n);
	for (int i = 0; i < n; i++)
		if (ids[i] < 0 || ids[i] >= bound)
			return br_base_fail(context, BR_ERR_ARGUMENT, "There is no %s %d.", what, ids[i]);
	return BR_OK;
}

static void
add_scaled(float *to, double weight, const float *from, int n)
{
	for (int i = 0; i < n; i++)
		to[i] += (float) weight * from[i];
}

static double
length(const float *row, int n)
{
	double squared = 0;

	for (int i = 0; i < n; i++)
		squared += (double) row[i] * (double) row[i];
	return sqrt(squared);
}

/* one view's half of a user; room: (view_dims) */
static void
fold_view(const BrGraph *graph, const float *own, const float *steps, const int32_t *ids, int n,
		  float *room, float *out)
{
	int dims = graph->view_dims;
	bool average = graph->combine == BR_GRAPH_AVERAGE;
	double share = average ? 1.0 / (graph->layers + 1) : 1;

	memset(out, 0, sizeof(float) * (size_t) dims);
	if (own != NULL)
		add_scaled(out, share, own, dims);
	for (int layer = 0; layer < graph->layers; layer++)
	{
		double root = sqrt((double) n);

		memset(room, 0, sizeof(float) * (size_t) dims);
		for (int i = 0; i < n; i++)
			add_scaled(room, 1 / root,
					   steps +
						   ((size_t) ids[i] * (size_t) graph->layers + (size_t) layer) *
							   (size_t) dims,
					   dims);
		if (!average)
			share = length(room, dims) > 1e-12 ? 1 / length(room, dims) : 0;
		add_scaled(out, share, room, dims);
	}
}

BrStatus
br_learn_graph_fold_user(BrContext *context, const BrGraph *graph, const float *own,
						 const int32_t *bundles, int n_bundles, const int32_t *items, int n_items,
						 float *user)
{
	BrStatus status = check_ids(context, "bundle", bundles, n_bundles, graph->bundles);
	float *room;

	if (status == BR_OK)
		status = check_ids(context, "item", items, n_items, graph->items);
	if (status != BR_OK)
		return status;
	room = br_base_alloc_array(context, (size_t) graph->view_dims, sizeof(float));
	if (room == NULL)
		return BR_ERR_MEMORY;
	fold_view(graph, own, graph->item_steps, items, n_items, room, user);
	fold_view(graph, own, graph->bundle_steps, bundles, n_bundles, room, user + graph->view_dims);
	br_base_free(context, room);
	return BR_OK;
}

BrStatus
br_learn_graph_fold_bundle(BrContext *context, const BrGraph *graph, const int32_t *items, int n,
						   float *bundle)
{
	BrStatus status = check_ids(context, "item", items, n, graph->items);

	if (status != BR_OK)
		return status;
	memset(bundle, 0, sizeof(float) * (size_t) graph->dims);
	for (int i = 0; i < n; i++)
		add_scaled(bundle, 1.0 / n, graph->item + (size_t) items[i] * (size_t) graph->view_dims,
				   graph->view_dims);
	return BR_OK;
}
