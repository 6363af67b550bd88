/*
 * complement_model.c
 *	  The memory of a model of complements, where its maps begin, and its pairs.
 *
 * Both maps begin as one projection onto random orthonormal directions, scaled
 * so that products keep their expected size: at the start what goes with an
 * item is what reads like it.
 */
#include "core/learn/complement_int.h"
#include "core/math/br_math.h"

/* rows of `start` orthonormal by Gram and Schmidt, twice, for the rounding of the first */
static void
orthonormalise(BrReal *rows, int rank, int dims)
{
	for (int i = 0; i < rank; i++)
	{
		BrReal *row = rows + (size_t) i * (size_t) dims;
		BrReal inverse;

		for (int round = 0; round < 2; round++)
			for (int j = 0; j < i; j++)
			{
				const BrReal *other = rows + (size_t) j * (size_t) dims;

				br_learn_add_scaled(row, -br_learn_dot(row, other, dims), other, dims);
			}
		inverse = br_learn_inverse_norm(row, dims);
		for (int d = 0; d < dims; d++)
			row[d] *= inverse;
	}
}

static void
draw_start(BrComplementModel *model)
{
	int rank = model->options.rank;
	int dims = model->items->dims;
	size_t size = (size_t) rank * (size_t) dims;
	BrReal scale = (BrReal) sqrt((double) dims / rank);
	BrRandom random;

	br_base_random_init(&random, model->options.seed, 0);
	for (size_t i = 0; i < size; i++)
		model->start[i] = (BrReal) br_math_normal(&random);
	orthonormalise(model->start, rank, dims);
	for (size_t i = 0; i < size; i++)
		model->start[i] *= scale;
	memcpy(model->parameters, model->start, sizeof(BrReal) * size);
	memcpy(model->parameters + size, model->start, sizeof(BrReal) * size);
}

BrStatus
br_learn_complement_create(BrContext *context, const BrComplementItems *items,
						   const BrComplementOptions *options, BrComplementModel *model)
{
	size_t size = (size_t) options->rank * (size_t) items->dims;
	size_t rows = (size_t) options->batch * (size_t) options->rank;
	size_t hard = (size_t) options->hard;

	memset(model, 0, sizeof(*model));
	model->context = context;
	model->options = *options;
	model->items = items;
	model->parameters = br_base_alloc_array(context, 2 * size, sizeof(BrReal));
	model->slope = br_base_alloc_array(context, 2 * size, sizeof(BrReal));
	model->start = br_base_alloc_array(context, size, sizeof(BrReal));
	model->row = br_base_alloc_array(context, (size_t) items->dims, sizeof(BrReal));
	model->f = br_base_alloc_array(context, rows, sizeof(BrReal));
	model->f_slope = br_base_alloc_array(context, rows, sizeof(BrReal));
	model->g = br_base_alloc_array(context, rows * (1 + hard), sizeof(BrReal));
	model->g_slope = br_base_alloc_array(context, rows * (1 + hard), sizeof(BrReal));
	model->logits =
		br_base_alloc_array(context, (size_t) options->batch * ((size_t) options->batch + hard),
							sizeof(BrReal));
	if (model->parameters == NULL || model->slope == NULL || model->start == NULL ||
		model->row == NULL || model->f == NULL || model->f_slope == NULL || model->g == NULL ||
		model->g_slope == NULL || model->logits == NULL)
	{
		br_learn_complement_destroy(model);
		return BR_ERR_MEMORY;
	}
	draw_start(model);
	return BR_OK;
}

void
br_learn_complement_destroy(BrComplementModel *model)
{
	BrContext *context = model->context;

	br_base_free(context, model->parameters);
	br_base_free(context, model->slope);
	br_base_free(context, model->start);
	br_base_free(context, model->row);
	br_base_free(context, model->f);
	br_base_free(context, model->f_slope);
	br_base_free(context, model->g);
	br_base_free(context, model->g_slope);
	br_base_free(context, model->logits);
}
