/*
 * graph_loss.c
 *	  The loss of a batch of triples over both views, and its gradient.
 *
 * Forward: both graphs are walked, and bundles of the item view are the means of
 * their items. A score is the sum of two products of what came out; from there
 * the gradient goes the same way back.
 */
#include "core/learn/graph_int.h"
#include "core/math/br_math.h"

/* A view as a batch sees it: users and bundles, with their gradients. */
typedef struct Faces
{
	const BrReal *user;
	const BrReal *bundle;
	BrReal *user_slope;
	BrReal *bundle_slope;
} Faces;

static void
clear(const BrGraphModel *model)
{
	size_t row = sizeof(BrReal) * (size_t) model->options.dims;

	memset(model->item_view.user.out_slope, 0, row * (size_t) model->users);
	memset(model->item_view.other.out_slope, 0, row * (size_t) model->items);
	memset(model->bundle_view.user.out_slope, 0, row * (size_t) model->users);
	memset(model->bundle_view.other.out_slope, 0, row * (size_t) model->bundles);
	memset(model->mean_slope, 0, row * (size_t) model->bundles);
}

static double
margin(const Faces *faces, size_t user, size_t has, size_t lacks, int dims)
{
	return (double) br_learn_dot(faces->user + user, faces->bundle + has, dims) -
		(double) br_learn_dot(faces->user + user, faces->bundle + lacks, dims);
}

static void
push(const Faces *faces, size_t user, size_t has, size_t lacks, int dims, BrReal slope)
{
	br_learn_add_scaled(faces->user_slope + user, slope, faces->bundle + has, dims);
	br_learn_add_scaled(faces->user_slope + user, -slope, faces->bundle + lacks, dims);
	br_learn_add_scaled(faces->bundle_slope + has, slope, faces->user + user, dims);
	br_learn_add_scaled(faces->bundle_slope + lacks, -slope, faces->user + user, dims);
}

/* ln(1 + e^-x) without overflow */
static double
softplus_of_minus(double x)
{
	double small = br_math_log(1 + br_math_exp(-fabs(x)));

	return x < 0 ? small - x : small;
}

static BrStatus
rank(const BrGraphModel *model, const BrGraphBatch *batch, const Faces faces[2], double *loss)
{
	int dims = model->options.dims;
	int64_t work = 0;
	double total = 0;
	BrStatus status = BR_OK;

	for (int i = 0; status == BR_OK && i < batch->n; i++)
	{
		size_t user = (size_t) batch->user[i] * (size_t) dims;
		size_t has = (size_t) batch->has[i] * (size_t) dims;
		size_t lacks = (size_t) batch->lacks[i] * (size_t) dims;
		double x =
			margin(&faces[0], user, has, lacks, dims) + margin(&faces[1], user, has, lacks, dims);
		BrReal slope = (BrReal) (-br_math_logistic(-x) / batch->n);

		push(&faces[0], user, has, lacks, dims, slope);
		push(&faces[1], user, has, lacks, dims, slope);
		total += softplus_of_minus(x);
		status = br_learn_graph_work(model->context, &work, 12 * (int64_t) dims);
	}
	*loss += total / batch->n;
	return status;
}

/* the batch's rows, each once; marks is left marked */
static int
distinct(const int32_t *rows, int n, uint8_t *marks, int n_marks, int32_t *out)
{
	int kept = 0;

	memset(marks, 0, (size_t) n_marks);
	for (int i = 0; i < n; i++)
	{
		if (!marks[rows[i]])
			out[kept++] = rows[i];
		marks[rows[i]] = 1;
	}
	return kept;
}

static BrStatus
contrast(BrGraphModel *model, const BrGraphBatch *batch, const Faces faces[2], double *loss)
{
	double share = model->options.contrast / 2;
	double users = 0;
	double bundles = 0;
	int n;
	BrStatus status;

	if (share == 0)
		return BR_OK;
	n = distinct(batch->user, batch->n, model->wanted, model->users, model->distinct);
	status = br_learn_graph_contrast(model, model->distinct, n, faces[0].user, faces[1].user, share,
									 faces[0].user_slope, faces[1].user_slope, &users);
	if (status != BR_OK)
		return status;
	n = distinct(batch->has, batch->n, model->met, model->bundles, model->distinct);
	status = br_learn_graph_contrast(model, model->distinct, n, faces[0].bundle, faces[1].bundle,
									 share, faces[0].bundle_slope, faces[1].bundle_slope, &bundles);
	*loss += share * (users + bundles);
	return status;
}

/* starts the gradient over with that of the squares */
static BrStatus
penalise(const BrGraphModel *model, double *loss)
{
	int64_t rows = (int64_t) model->users + model->items + model->bundles;
	int64_t dims = model->options.dims;
	BrReal penalty = (BrReal) model->options.penalty;
	double squares = 0;
	int64_t work = 0;
	BrStatus status = BR_OK;

	for (int64_t row = 0; status == BR_OK && row < rows; row++)
	{
		for (int64_t i = row * dims; i < (row + 1) * dims; i++)
		{
			squares += (double) model->embedding[i] * (double) model->embedding[i];
			model->slope[i] = penalty * model->embedding[i];
		}
		status = br_learn_graph_work(model->context, &work, dims);
	}
	*loss = model->options.penalty / 2 * squares;
	return status;
}

BrStatus
br_learn_graph_loss(BrGraphModel *model, const BrGraphBatch *batch, double *loss)
{
	const Faces faces[2] = {{model->item_view.user.out, model->mean,
							 model->item_view.user.out_slope, model->mean_slope},
							{model->bundle_view.user.out, model->bundle_view.other.out,
							 model->bundle_view.user.out_slope,
							 model->bundle_view.other.out_slope}};
	BrStatus status;

	distinct(batch->user, batch->n, model->wanted, model->users, model->distinct);
	status = br_learn_graph_forward(model, &model->item_view, model->wanted);
	if (status == BR_OK)
		status = br_learn_graph_forward(model, &model->bundle_view, model->wanted);
	if (status == BR_OK)
		status = br_learn_graph_mean(model);
	if (status != BR_OK)
		return status;
	clear(model);
	status = penalise(model, loss);
	if (status == BR_OK)
		status = rank(model, batch, faces, loss);
	if (status == BR_OK)
		status = contrast(model, batch, faces, loss);
	if (status == BR_OK)
		status = br_learn_graph_mean_back(model);
	if (status == BR_OK)
		status = br_learn_graph_backward(model, &model->item_view, model->wanted);
	if (status == BR_OK)
		status = br_learn_graph_backward(model, &model->bundle_view, model->wanted);
	return status;
}
