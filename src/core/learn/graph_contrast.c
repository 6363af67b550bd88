/*
 * graph_contrast.c
 *	  Two views of one user, or bundle, should look more alike than two users.
 *
 * InfoNCE as CrossCBR has it: the vectors of both views are brought to length 1;
 * a row of one view is asked which of the group's rows of the other view is its
 * own. Groups are of fixed size, so that the work grows with the batch and not
 * with its square.
 */
#include "core/learn/graph_int.h"
#include "core/math/br_math.h"

/* A group's rows side by side, of length 1, with the gradients of both. */
typedef struct Group
{
	int n;
	int dims;
	BrReal *left;		 /* (n, dims) */
	BrReal *right;		 /* (n, dims) */
	BrReal *left_slope;	 /* (n, dims) */
	BrReal *right_slope; /* (n, dims) */
	BrReal *logits;		 /* (n, n) */
} Group;

static void
lay_out(BrReal *memory, int dims, Group *group)
{
	size_t size = (size_t) BR_GRAPH_GROUP * (size_t) dims;

	group->dims = dims;
	group->left = memory;
	group->right = memory + size;
	group->left_slope = memory + 2 * size;
	group->right_slope = memory + 3 * size;
	group->logits = memory + 4 * size;
}

static void
collect(const BrReal *table, const int32_t *rows, int n, int dims, BrReal *units)
{
	memset(units, 0, sizeof(BrReal) * (size_t) n * (size_t) dims);
	for (int i = 0; i < n; i++)
	{
		const BrReal *row = table + (size_t) rows[i] * (size_t) dims;

		br_learn_add_scaled(units + (size_t) i * (size_t) dims, br_learn_inverse_norm(row, dims),
							row, dims);
	}
}

BR_LEARN_INLINE void
multiply_body(Group *group, BrReal sharpness)
{
	size_t dims = (size_t) group->dims;

	for (int i = 0; i < group->n; i++)
		for (int j = 0; j < group->n; j++)
			group->logits[(size_t) i * (size_t) group->n + (size_t) j] = sharpness *
				br_learn_dot(group->left + (size_t) i * dims, group->right + (size_t) j * dims,
							 group->dims);
}

/* slopes of both sides from those of the logits */
BR_LEARN_INLINE void
multiply_back_body(Group *group)
{
	size_t dims = (size_t) group->dims;

	memset(group->left_slope, 0, sizeof(BrReal) * (size_t) group->n * dims);
	memset(group->right_slope, 0, sizeof(BrReal) * (size_t) group->n * dims);
	for (int i = 0; i < group->n; i++)
		for (int j = 0; j < group->n; j++)
		{
			BrReal slope = group->logits[(size_t) i * (size_t) group->n + (size_t) j];

			br_learn_add_scaled(group->left_slope + (size_t) i * dims, slope,
								group->right + (size_t) j * dims, group->dims);
			br_learn_add_scaled(group->right_slope + (size_t) j * dims, slope,
								group->left + (size_t) i * dims, group->dims);
		}
}

BR_LEARN_WIDE static void
multiply_wide(Group *group, BrReal sharpness)
{
	multiply_body(group, sharpness);
}

BR_LEARN_WIDE static void
multiply_back_wide(Group *group)
{
	multiply_back_body(group);
}

/* Logits become the gradient of share * sum of losses with respect to the products; the sum. */
static double
soften(Group *group, double share)
{
	double loss = 0;

	for (int i = 0; i < group->n; i++)
	{
		BrReal *row = group->logits + (size_t) i * (size_t) group->n;
		double own = (double) row[i];
		double most = own;
		double sum = 0;

		for (int j = 0; j < group->n; j++)
			most = row[j] > most ? (double) row[j] : most;
		for (int j = 0; j < group->n; j++)
		{
			row[j] = (BrReal) br_math_exp((double) row[j] - most);
			sum += (double) row[j];
		}
		for (int j = 0; j < group->n; j++)
			row[j] = (BrReal) (share * ((double) row[j] / sum - (i == j)));
		loss += most + br_math_log(sum) - own;
	}
	return loss;
}

static void
spread_back(const BrReal *table, const int32_t *rows, int n, int dims, const BrReal *outer,
			BrReal *slope)
{
	for (int i = 0; i < n; i++)
	{
		size_t at = (size_t) rows[i] * (size_t) dims;

		br_learn_add_through_norm(slope + at, table + at, outer + (size_t) i * (size_t) dims, dims);
	}
}

BrStatus
br_learn_graph_contrast(BrGraphModel *model, const int32_t *rows, int n, const BrReal *left,
						const BrReal *right, double share, BrReal *left_slope, BrReal *right_slope,
						double *loss)
{
	double sharpness = 1 / model->options.temperature;
	int dims = model->options.dims;
	Group group;

	*loss = 0;
	lay_out(model->group, dims, &group);
	for (int first = 0; first < n; first += BR_GRAPH_GROUP)
	{
		const int32_t *own = rows + first;

		group.n = n - first < BR_GRAPH_GROUP ? n - first : BR_GRAPH_GROUP;
		collect(left, own, group.n, dims, group.left);
		collect(right, own, group.n, dims, group.right);
		if (BR_LEARN_IS_WIDE())
			multiply_wide(&group, (BrReal) sharpness);
		else
			multiply_body(&group, (BrReal) sharpness);
		*loss += soften(&group, share * sharpness / n) / n;
		if (BR_LEARN_IS_WIDE())
			multiply_back_wide(&group);
		else
			multiply_back_body(&group);
		spread_back(left, own, group.n, dims, group.left_slope, left_slope);
		spread_back(right, own, group.n, dims, group.right_slope, right_slope);
		if (br_base_cancelled(model->context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}
