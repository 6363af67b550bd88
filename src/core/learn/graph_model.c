/*
 * graph_model.c
 *	  The memory of a model over graphs, and where its embeddings begin.
 *
 * Embeddings of users, items and bundles stand one after another, so that the
 * optimiser sees one vector. Users have one embedding that both views start from.
 */
#include <stdlib.h>

#include "core/learn/graph_int.h"
#include "core/math/br_math.h"

/* what drawing a number is as much as */
#define DRAW_WORK 32

/* as Glorot and Bengio, "Understanding the difficulty of training ...", AISTATS 2010 */
static BrStatus
draw_table(const BrGraphModel *model, int64_t first, int rows, uint64_t stream)
{
	int64_t dims = model->options.dims;
	BrReal *table = model->embedding + first * dims;
	double spread = sqrt(2.0 / ((double) rows + (double) dims));
	int64_t work = 0;
	BrStatus status = BR_OK;
	BrRandom random;

	br_base_random_init(&random, model->options.seed, stream);
	for (int row = 0; status == BR_OK && row < rows; row++)
	{
		for (int64_t i = row * dims; i < (row + 1) * dims; i++)
			table[i] = (BrReal) (spread * br_math_normal(&random));
		status = br_learn_graph_work(model->context, &work, DRAW_WORK * dims);
	}
	return status;
}

static BrStatus
allocate(BrGraphModel *model)
{
	BrContext *context = model->context;
	size_t dims = (size_t) model->options.dims;
	size_t size = ((size_t) model->users + (size_t) model->items + (size_t) model->bundles) * dims;
	size_t means = (size_t) model->bundles * dims;

	model->embedding = br_base_alloc(context, size * sizeof(BrReal));
	model->slope = br_base_alloc(context, size * sizeof(BrReal));
	model->mean = br_base_alloc(context, means * sizeof(BrReal));
	model->mean_slope = br_base_alloc(context, means * sizeof(BrReal));
	model->wanted = br_base_alloc_array(context, (size_t) model->users, 1);
	model->met = br_base_alloc_array(context, (size_t) model->bundles, 1);
	model->group = br_base_alloc_array(context, BR_GRAPH_GROUP_SIZE(dims), sizeof(BrReal));
	model->distinct = br_base_alloc_array(context, (size_t) model->options.batch, sizeof(int32_t));
	return model->embedding != NULL && model->slope != NULL && model->mean != NULL &&
			model->mean_slope != NULL && model->wanted != NULL && model->met != NULL &&
			model->group != NULL && model->distinct != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

BrStatus
br_learn_graph_create(BrContext *context, const BrSparse *user_bundle, const BrSparse *user_item,
					  const BrSparse *bundle_item, const BrGraphOptions *options,
					  BrGraphModel *model)
{
	BrStatus status;

	memset(model, 0, sizeof(*model));
	model->context = context;
	model->options = *options;
	model->users = user_bundle->rows;
	model->bundles = user_bundle->columns;
	model->items = bundle_item->columns;
	model->bundle_item = bundle_item;
	status = allocate(model);
	if (status == BR_OK)
		status = br_learn_graph_view_create(model, user_item, model->users, &model->item_view);
	if (status == BR_OK)
		status =
			br_learn_graph_view_create(model, user_bundle, (int64_t) model->users + model->items,
									   &model->bundle_view);
	if (status == BR_OK)
		status = draw_table(model, 0, model->users, 0);
	if (status == BR_OK)
		status = draw_table(model, model->users, model->items, 1);
	if (status == BR_OK)
		status = draw_table(model, (int64_t) model->users + model->items, model->bundles, 2);
	if (status == BR_OK)
		status = br_learn_graph_weigh(context, &model->item_view, 0, 0, 0);
	if (status == BR_OK)
		status = br_learn_graph_weigh(context, &model->bundle_view, 0, 0, 0);
	if (status != BR_OK)
		br_learn_graph_destroy(model);
	return status;
}

void
br_learn_graph_destroy(BrGraphModel *model)
{
	BrContext *context = model->context;

	br_learn_graph_view_free(context, &model->item_view);
	br_learn_graph_view_free(context, &model->bundle_view);
	br_base_free(context, model->embedding);
	br_base_free(context, model->slope);
	br_base_free(context, model->mean);
	br_base_free(context, model->mean_slope);
	br_base_free(context, model->wanted);
	br_base_free(context, model->met);
	br_base_free(context, model->group);
	br_base_free(context, model->distinct);
}

static int
compare_ids(const void *left, const void *right)
{
	int32_t a = *(const int32_t *) left;
	int32_t b = *(const int32_t *) right;

	return a < b ? -1 : a > b;
}

/* the items of a user's bundles, each once, ascending; seen: (items), the last user of each */
static int
collect_items(const BrSparse *user_bundle, const BrSparse *bundle_item, int user, int32_t *seen,
			  int32_t *items)
{
	int n = 0;

	for (int64_t b = user_bundle->starts[user]; b < user_bundle->starts[user + 1]; b++)
	{
		int bundle = user_bundle->ids[b];

		for (int64_t i = bundle_item->starts[bundle]; i < bundle_item->starts[bundle + 1]; i++)
			if (seen[bundle_item->ids[i]] != user + 1)
			{
				seen[bundle_item->ids[i]] = user + 1;
				items[n++] = bundle_item->ids[i];
			}
	}
	if (n > 1)
		qsort(items, (size_t) n, sizeof(int32_t), compare_ids);
	return n;
}

/* Once to count, with ids NULL, and once to fill. */
static BrStatus
derive(BrContext *context, const BrSparse *user_bundle, const BrSparse *bundle_item, int32_t *seen,
	   int32_t *room, BrSparse *user_item)
{
	memset(seen, 0, sizeof(int32_t) * (size_t) bundle_item->columns);
	for (int user = 0; user < user_bundle->rows; user++)
	{
		int n = collect_items(user_bundle, bundle_item, user, seen, room);

		if (user_item->ids != NULL && n > 0)
			memcpy(user_item->ids + user_item->starts[user], room, sizeof(int32_t) * (size_t) n);
		user_item->starts[user + 1] = user_item->starts[user] + n;
		if (user % 256 == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

BrStatus
br_learn_graph_items(BrContext *context, const BrSparse *user_bundle, const BrSparse *bundle_item,
					 BrSparse *user_item)
{
	size_t items = (size_t) bundle_item->columns;
	int32_t *seen = br_base_alloc_array(context, items, sizeof(int32_t));
	int32_t *room = br_base_alloc_array(context, items, sizeof(int32_t));
	BrStatus status = BR_ERR_MEMORY;

	memset(user_item, 0, sizeof(*user_item));
	user_item->rows = user_bundle->rows;
	user_item->columns = bundle_item->columns;
	user_item->starts =
		br_base_alloc_array(context, (size_t) user_bundle->rows + 1, sizeof(int64_t));
	if (seen != NULL && room != NULL && user_item->starts != NULL)
		status = derive(context, user_bundle, bundle_item, seen, room, user_item);
	if (status == BR_OK)
	{
		user_item->ids =
			br_base_alloc_array(context, (size_t) br_learn_entries(user_item), sizeof(int32_t));
		status = user_item->ids == NULL
			? BR_ERR_MEMORY
			: derive(context, user_bundle, bundle_item, seen, room, user_item);
	}
	br_base_free(context, seen);
	br_base_free(context, room);
	if (status != BR_OK)
		br_learn_sparse_free(context, user_item);
	return status;
}
