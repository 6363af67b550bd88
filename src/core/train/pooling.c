/*
 * pooling.c
 *	  From token embeddings to the embedding of a text and what follows, both ways.
 *
 * One row a text: too little work to share among threads.
 */
#include "core/train/train_int.h"

/* The length below which a vector is divided by it all the same, as the encoder does. */
#define SHORTEST 1e-12

/* What a sum of rows is divided by, and whether row i counts i + 1 times. */
static BrReal
pooling_divisor(BrPooling pooling, int n)
{
	if (pooling == BR_POOLING_MEAN_SQRT_LENGTH)
		return (BrReal) sqrt((double) n);
	if (pooling == BR_POOLING_WEIGHTED_MEAN)
		return (BrReal) ((double) n * (n + 1) / 2);
	return (BrReal) n;
}

/* The row that a pooling takes as it is; -1: it takes all. */
static int
single_row(BrPooling pooling, int n)
{
	return pooling == BR_POOLING_CLS ? 0 : pooling == BR_POOLING_LAST ? n - 1 : -1;
}

/* Of equal rows the first. */
static int
largest_row(const BrReal *rows, int n, int dim, int column)
{
	int largest = 0;

	for (int i = 1; i < n; i++)
		if (rows[(size_t) i * (size_t) dim + (size_t) column] >
			rows[(size_t) largest * (size_t) dim + (size_t) column])
			largest = i;
	return largest;
}

static void
pool_text_rows(BrPooling pooling, const BrReal *rows /* (n, dim) */, int n, int dim, BrReal *pooled)
{
	int single = single_row(pooling, n);
	BrReal divisor = pooling_divisor(pooling, n);

	if (single >= 0)
	{
		memcpy(pooled, rows + (size_t) single * (size_t) dim, (size_t) dim * sizeof(BrReal));
		return;
	}
	if (pooling == BR_POOLING_MAX)
	{
		for (int j = 0; j < dim; j++)
			pooled[j] = rows[(size_t) largest_row(rows, n, dim, j) * (size_t) dim + (size_t) j];
		return;
	}
	memset(pooled, 0, (size_t) dim * sizeof(BrReal));
	for (int i = 0; i < n; i++)
		br_train_add_scaled(pooled,
							pooling == BR_POOLING_WEIGHTED_MEAN ? (BrReal) (i + 1) : (BrReal) 1,
							rows + (size_t) i * (size_t) dim, dim);
	for (int j = 0; j < dim; j++)
		pooled[j] /= divisor;
}

static void
pool_text_slope(BrPooling pooling, const BrReal *rows /* (n, dim) */, int n, int dim,
				const BrReal *pooled_slope, BrReal *slope /* (n, dim) */)
{
	int single = single_row(pooling, n);
	BrReal divisor = pooling_divisor(pooling, n);

	memset(slope, 0, (size_t) n * (size_t) dim * sizeof(BrReal));
	if (single >= 0)
		memcpy(slope + (size_t) single * (size_t) dim, pooled_slope, (size_t) dim * sizeof(BrReal));
	else if (pooling == BR_POOLING_MAX)
		for (int j = 0; j < dim; j++)
			slope[(size_t) largest_row(rows, n, dim, j) * (size_t) dim + (size_t) j] =
				pooled_slope[j];
	else
		for (int i = 0; i < n; i++)
			br_train_add_scaled(slope + (size_t) i * (size_t) dim,
								(pooling == BR_POOLING_WEIGHTED_MEAN ? (BrReal) (i + 1)
																	 : (BrReal) 1) /
									divisor,
								pooled_slope, dim);
}

static void
normalize_vectors(const BrReal *input, int n, int dim, BrReal *output)
{
	for (int i = 0; i < n; i++, input += dim, output += dim)
	{
		memset(output, 0, (size_t) dim * sizeof(BrReal));
		br_train_add_scaled(output, br_train_inverse_length(input, dim), input, dim);
	}
}

/* (slope - unit (unit . slope)) / length, in place; a vector cut at the shortest is only scaled. */
static void
normalize_slope(const BrReal *output, const BrReal *input, int n, int dim, BrReal *slope)
{
	for (int i = 0; i < n; i++, input += dim, output += dim, slope += dim)
	{
		BrReal inverse = br_train_inverse_length(input, dim);

		if (inverse < (BrReal) (1 / SHORTEST))
			br_train_add_scaled(slope, -br_train_dot(output, slope, dim), output, dim);
		for (int j = 0; j < dim; j++)
			slope[j] *= inverse;
	}
}

void
br_train_pool(BrTrainRun *run, BrReal *embeddings)
{
	const BrModelShape *shape = run->shape;
	const int32_t *offsets = run->batch.offsets;
	const BrReal *state = br_train_state(run, shape->layers);
	int texts = run->batch.texts;
	size_t hidden = (size_t) shape->hidden;

	for (int i = 0; i < texts; i++)
		pool_text_rows(shape->pooling, state + (size_t) offsets[i] * hidden,
					   offsets[i + 1] - offsets[i], shape->hidden,
					   run->vectors[0] + (size_t) i * hidden);
	for (int i = 0; i < shape->n_steps; i++)
	{
		const BrImageStep *step = &shape->steps[i];
		BrTrainDense dense = br_train_step_dense(shape, i);
		size_t n = (size_t) texts * step->out_dim;

		if (step->kind == BR_STEP_NORMALIZE)
		{
			normalize_vectors(run->vectors[i], texts, (int) step->in_dim, run->vectors[i + 1]);
			continue;
		}
		br_train_dense(run->backend, &dense, run->model->parameters, run->vectors[i], texts,
					   run->step_inner[i]);
		memcpy(run->vectors[i + 1], run->step_inner[i], n * sizeof(BrReal));
		br_train_activate(run->backend, run->vectors[i + 1], n, (BrActivation) step->activation);
	}
	memcpy(embeddings, run->vectors[shape->n_steps],
		   (size_t) texts * (size_t) br_train_dimensions(run->model) * sizeof(BrReal));
}

/* One step back: the slope of its input, from that of its output. */
static void
step_slope(BrTrainRun *run, int number, BrReal *output_slope, BrReal *input_slope)
{
	const BrImageStep *step = &run->shape->steps[number];
	BrTrainDense dense = br_train_step_dense(run->shape, number);
	int texts = run->batch.texts;

	if (step->kind == BR_STEP_NORMALIZE)
	{
		normalize_slope(run->vectors[number + 1], run->vectors[number], texts, (int) step->in_dim,
						output_slope);
		memcpy(input_slope, output_slope, (size_t) texts * step->in_dim * sizeof(BrReal));
		return;
	}
	br_train_activate_slope(run->backend, run->step_inner[number], (size_t) texts * step->out_dim,
							(BrActivation) step->activation, output_slope);
	br_train_dense_input(run->backend, &dense, run->model->parameters, output_slope, texts, 0,
						 input_slope);
	if (run->model->delta == NULL)
		br_train_dense_weight(run->backend, &dense, run->vectors[number], output_slope, texts, 0,
							  dense.out_dim, run->model->gradient);
}

void
br_train_pool_slope(BrTrainRun *run, const BrReal *slope)
{
	const BrModelShape *shape = run->shape;
	const int32_t *offsets = run->batch.offsets;
	const BrReal *state = br_train_state(run, shape->layers);
	size_t hidden = (size_t) shape->hidden;
	BrReal *from = run->vector_slopes[0];
	BrReal *to = run->vector_slopes[1];

	memcpy(from, slope,
		   (size_t) run->batch.texts * (size_t) br_train_dimensions(run->model) * sizeof(BrReal));
	for (int i = shape->n_steps - 1; i >= 0; i--)
	{
		BrReal *done = from;

		step_slope(run, i, from, to);
		from = to;
		to = done;
	}
	for (int i = 0; i < run->batch.texts; i++)
		pool_text_slope(shape->pooling, state + (size_t) offsets[i] * hidden,
						offsets[i + 1] - offsets[i], shape->hidden, from + (size_t) i * hidden,
						run->slopes.state + (size_t) offsets[i] * hidden);
}
