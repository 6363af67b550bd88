/*
 * reference_transformer.c
 *	  What a device must compute, written down as slowly and plainly as it can be.
 *
 * One text at a time and in double throughout, row by row as the formulas stand
 * in the papers: it shares nothing with the forward passes that are checked
 * against it but the description of the model.
 */
#include <math.h>
#include <stdlib.h>

#include "backend/reference_transformer.h"

static double *
new_rows(size_t rows, size_t columns)
{
	double *made = calloc(rows * columns, sizeof(double));

	if (made == NULL)
		abort();
	return made;
}

static double
activate(BrActivation activation, double x)
{
	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			return x;
		case BR_ACTIVATION_GELU_ERF:
			return x * 0.5 * (1 + erf(x / sqrt(2)));
		case BR_ACTIVATION_GELU_TANH:
			return 0.5 * x *
				(1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
		case BR_ACTIVATION_TANH:
			return tanh(x);
		case BR_ACTIVATION_RELU:
			return x > 0 ? x : 0;
	}
	return NAN;
}

/* output = activation(input weight' + bias) */
static void
dense(const double *input, const float *weight, const float *bias, int rows, int in_dim,
	  int out_dim, BrActivation activation, double *output)
{
	for (int i = 0; i < rows; i++)
		for (int j = 0; j < out_dim; j++)
		{
			double sum = bias != NULL ? (double) bias[j] : 0;

			for (int k = 0; k < in_dim; k++)
				sum += input[i * in_dim + k] *
					(double) weight[(size_t) j * (size_t) in_dim + (size_t) k];
			output[i * out_dim + j] = activate(activation, sum);
		}
}

/* state = layer_norm(state + added) */
static void
add_norm(double *state, const double *added, const float *gain, const float *bias, double epsilon,
		 int rows, int dim)
{
	for (int i = 0; i < rows; i++)
	{
		double *row = state + i * dim;
		double mean = 0;
		double variance = 0;

		for (int j = 0; j < dim; j++)
		{
			row[j] += added != NULL ? added[i * dim + j] : 0;
			mean += row[j] / dim;
		}
		for (int j = 0; j < dim; j++)
			variance += (row[j] - mean) * (row[j] - mean) / dim;
		for (int j = 0; j < dim; j++)
			row[j] =
				(row[j] - mean) / sqrt(variance + epsilon) * (double) gain[j] + (double) bias[j];
	}
}

static void
embed_tokens(const BrTransformer *model, const int32_t *ids, int n, double *state)
{
	int dim = model->hidden;
	int next = model->first_position;

	for (int i = 0; i < n; i++)
	{
		bool padding = model->first_position > 0 && ids[i] == model->first_position - 1;
		int position = padding ? model->first_position - 1 : next++;

		for (int j = 0; j < dim; j++)
			state[i * dim + j] = (double) model->word[(size_t) ids[i] * (size_t) dim + (size_t) j] +
				(double) model->position[position * dim + j] +
				(model->type_row != NULL ? (double) model->type_row[j] : 0);
	}
	add_norm(state, NULL, model->gain, model->bias, (double) model->epsilon, n, dim);
}

/* Token `row` under one head: a mean of the values, by the softmax of its query with the keys. */
static void
attend(const BrTransformer *model, const double *qkv, int n, int row, int head, double *output)
{
	int dim = model->hidden;
	int head_dim = dim / model->heads;
	const double *query = qkv + row * 3 * dim + head * head_dim;
	double *weight = new_rows((size_t) n, 1);
	double greatest = -INFINITY;
	double sum = 0;

	for (int i = 0; i < n; i++)
	{
		const double *key = qkv + i * 3 * dim + dim + head * head_dim;

		for (int j = 0; j < head_dim; j++)
			weight[i] += query[j] * key[j];
		weight[i] /= sqrt(head_dim);
		if (model->relative != NULL)
			weight[i] += (double) model->relative[head * (2 * model->max_tokens - 1) + i - row +
												  model->max_tokens - 1];
		greatest = fmax(greatest, weight[i]);
	}
	for (int i = 0; i < n; i++)
		sum += weight[i] = exp(weight[i] - greatest);
	for (int j = 0; j < head_dim; j++)
	{
		double mean = 0;

		for (int i = 0; i < n; i++)
			mean += weight[i] / sum * qkv[i * 3 * dim + 2 * dim + head * head_dim + j];
		output[row * dim + head * head_dim + j] = mean;
	}
	free(weight);
}

static void
run_layer(const BrTransformer *model, const BrTransformerLayer *layer, int n, double *state)
{
	int dim = model->hidden;
	double *qkv = new_rows((size_t) n, 3 * (size_t) dim);
	double *attended = new_rows((size_t) n, (size_t) dim);
	double *projected = new_rows((size_t) n, (size_t) dim);
	double *wide = new_rows((size_t) n, (size_t) model->intermediate);
	double epsilon = (double) model->epsilon;

	dense(state, layer->qkv_weight, layer->qkv_bias, n, dim, 3 * dim, BR_ACTIVATION_NONE, qkv);
	for (int row = 0; row < n; row++)
		for (int head = 0; head < model->heads; head++)
			attend(model, qkv, n, row, head, attended);
	dense(attended, layer->output_weight, layer->output_bias, n, dim, dim, BR_ACTIVATION_NONE,
		  projected);
	add_norm(state, projected, layer->attention_gain, layer->attention_bias, epsilon, n, dim);
	dense(state, layer->up_weight, layer->up_bias, n, dim, model->intermediate, model->activation,
		  wide);
	dense(wide, layer->down_weight, layer->down_bias, n, model->intermediate, dim,
		  BR_ACTIVATION_NONE, projected);
	add_norm(state, projected, layer->layer_gain, layer->layer_bias, epsilon, n, dim);
	free(qkv);
	free(attended);
	free(projected);
	free(wide);
}

/* One component of all tokens to one of the text. */
static double
pool(BrPooling pooling, const double *column, int stride, int n)
{
	double sum = 0;
	double weighted = 0;
	double greatest = -INFINITY;

	for (int i = 0; i < n; i++)
	{
		sum += column[i * stride];
		weighted += (i + 1) * column[i * stride];
		greatest = fmax(greatest, column[i * stride]);
	}
	switch (pooling)
	{
		case BR_POOLING_CLS:
			return column[0];
		case BR_POOLING_MEAN:
			return sum / n;
		case BR_POOLING_MAX:
			return greatest;
		case BR_POOLING_MEAN_SQRT_LENGTH:
			return sum / sqrt(n);
		case BR_POOLING_WEIGHTED_MEAN:
			return weighted / (n * (n + 1) / 2.0);
		case BR_POOLING_LAST:
			return column[(n - 1) * stride];
	}
	return NAN;
}

/* The vector after a step, in memory of its own; that of before is freed. */
static double *
run_step(const BrTransformerStep *step, double *vector)
{
	double *result = new_rows((size_t) step->out_dim, 1);

	if (step->normalize)
	{
		double squares = 0;

		for (int i = 0; i < step->in_dim; i++)
			squares += vector[i] * vector[i];
		for (int i = 0; i < step->in_dim; i++)
			result[i] = vector[i] / fmax(sqrt(squares), 1e-12);
	}
	else
		dense(vector, step->weight, step->bias, 1, step->in_dim, step->out_dim, step->activation,
			  result);
	free(vector);
	return result;
}

void
reference_embed(const BrTransformer *model, const int32_t *ids, int n, float *embedding)
{
	double *state = new_rows((size_t) n, (size_t) model->hidden);
	double *vector = new_rows((size_t) model->hidden, 1);

	embed_tokens(model, ids, n, state);
	for (int i = 0; i < model->layers; i++)
		run_layer(model, &model->layer[i], n, state);
	for (int i = 0; i < model->hidden; i++)
		vector[i] = pool(model->pooling, state + i, model->hidden, n);
	for (int i = 0; i < model->n_steps; i++)
		vector = run_step(&model->steps[i], vector);
	for (int i = 0; i < model->dimensions; i++)
		embedding[i] = (float) vector[i];
	free(state);
	free(vector);
}

int
reference_nearest(const float *vector, const float *centroids, int lists, int dims,
				  double *distance)
{
	int nearest = 0;

	for (int i = 0; i < lists; i++)
	{
		double squares = 0;

		for (int j = 0; j < dims; j++)
		{
			double difference =
				(double) vector[j] - (double) centroids[(size_t) i * (size_t) dims + (size_t) j];

			squares += difference * difference;
		}
		if (i == 0 || squares < *distance)
		{
			*distance = squares;
			nearest = i;
		}
	}
	return nearest;
}
