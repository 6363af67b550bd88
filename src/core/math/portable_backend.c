/*
 * portable_backend.c
 *	  The reference of the tensor operations: slow, clear, in plain C.
 *
 * Every operation follows its definition, with sums in double, so that what
 * another backend differs from it is that backend's own rounding.
 */
#include <math.h>

#include "core/math/br_backend.h"
#include "core/math/br_math.h"

#define SQRT_HALF 0x1.6a09e667f3bcdp-1
#define SQRT_2_OVER_PI 0x1.9884533d43651p-1
#define GELU_TANH_CUBIC 0.044715
#define GELU_TANH_FLAT 20
#define INVERSE_SQRT_2_PI 0x1.9884533d43651p-2

static const char *
instruction_set(void)
{
	return "portable";
}

/* Eight interleaved sums, so that a compiler may keep them in vector registers. */
static double
product_sum(const float *left, const float *right, int n)
{
	double sums[8] = {0};
	int i = 0;

	for (; i + 8 <= n; i += 8)
		for (int lane = 0; lane < 8; lane++)
			sums[lane] += (double) left[i + lane] * (double) right[i + lane];
	for (int lane = 0; i + lane < n; lane++)
		sums[lane] += (double) left[i + lane] * (double) right[i + lane];
	return ((sums[0] + sums[4]) + (sums[1] + sums[5])) +
		((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

static double
activate(double x, BrActivation activation)
{
	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return 0.5 * x * (1 + erf(x * SQRT_HALF));
		case BR_ACTIVATION_GELU_TANH:
			return 0.5 * x * (1 + tanh(SQRT_2_OVER_PI * (x + GELU_TANH_CUBIC * x * x * x)));
		case BR_ACTIVATION_TANH:
			return tanh(x);
		case BR_ACTIVATION_RELU:
			return x > 0 ? x : 0;
	}
	return x;
}

static void
linear(const float *input, const float *weight, const float *bias, int rows, int in_dim,
	   int out_dim, BrActivation activation, float *output)
{
	for (int row = 0; row < rows; row++)
		for (int column = 0; column < out_dim; column++)
		{
			double sum = product_sum(input + (size_t) row * in_dim,
									 weight + (size_t) column * in_dim, in_dim);

			if (bias != NULL)
				sum += bias[column];
			output[(size_t) row * out_dim + column] = (float) activate(sum, activation);
		}
}

static void
embed(const int32_t *ids, const int32_t *positions, const float *word, const float *position,
	  const float *type_row, int rows, int dim, float *output)
{
	for (int row = 0; row < rows; row++)
	{
		const float *word_row = word + (size_t) ids[row] * dim;
		const float *position_row = position + (size_t) positions[row] * dim;

		for (int i = 0; i < dim; i++)
			output[(size_t) row * dim + i] =
				(float) ((double) word_row[i] + (double) position_row[i] +
						 (type_row != NULL ? (double) type_row[i] : 0));
	}
}

static void
layer_norm_row(const float *input, const float *residual, const float *gain, const float *bias,
			   float epsilon, int dim, float *output)
{
	double mean = 0;
	double variance = 0;
	double scale;

	for (int i = 0; i < dim; i++)
		mean += (double) input[i] + (residual != NULL ? (double) residual[i] : 0);
	mean /= dim;
	for (int i = 0; i < dim; i++)
	{
		double x = (double) input[i] + (residual != NULL ? (double) residual[i] : 0) - mean;

		variance += x * x;
	}
	variance /= dim;

	scale = 1 / sqrt(variance + (double) epsilon);
	for (int i = 0; i < dim; i++)
	{
		double x = (double) input[i] + (residual != NULL ? (double) residual[i] : 0) - mean;

		output[i] = (float) (x * scale * (double) gain[i] + (double) bias[i]);
	}
}

static void
add_layer_norm(const float *input, const float *residual, const float *gain, const float *bias,
			   float epsilon, int rows, int dim, float *output)
{
	for (int row = 0; row < rows; row++)
	{
		size_t start = (size_t) row * dim;

		layer_norm_row(input + start, residual != NULL ? residual + start : NULL, gain, bias,
					   epsilon, dim, output + start);
	}
}

/* One query over the keys and values of its text; weights: room for one per token. */
static void
attend(const float *query, const float *text /* (tokens, 3 * dim), from this head's query on */,
	   int tokens, int dim, int head_dim, const float *relative /* (tokens), may be NULL */,
	   float *weights, float *output /* (head_dim) */)
{
	double largest = -INFINITY;
	double total = 0;

	for (int token = 0; token < tokens; token++)
	{
		double score =
			product_sum(query, text + (size_t) token * 3 * dim + dim, head_dim) / sqrt(head_dim);

		if (relative != NULL)
			score += relative[token];
		weights[token] = (float) score;
		largest = fmax(largest, weights[token]);
	}
	for (int token = 0; token < tokens; token++)
	{
		weights[token] = (float) br_math_exp(weights[token] - largest);
		total += weights[token];
	}
	for (int i = 0; i < head_dim; i++)
	{
		double sum = 0;

		for (int token = 0; token < tokens; token++)
			sum += (double) weights[token] * (double) text[(size_t) token * 3 * dim + 2 * dim + i];
		output[i] = (float) (sum / total);
	}
}

static void
attention(const float *qkv, const int32_t *offsets, int texts, int heads, int head_dim,
		  int first_head, int last_head, const float *relative, int longest, float *scratch,
		  float *output)
{
	int dim = heads * head_dim;

	for (int i = 0; i < texts; i++)
		for (int token = offsets[i]; token < offsets[i + 1]; token++)
			for (int head = first_head; head < last_head; head++)
			{
				const float *text = qkv + (size_t) offsets[i] * 3 * dim + head * head_dim;
				int query = token - offsets[i];
				const float *row = relative == NULL
					? NULL
					: relative + (size_t) head * (2 * (size_t) longest - 1) + longest - 1 - query;

				attend(text + (size_t) query * 3 * dim, text, offsets[i + 1] - offsets[i], dim,
					   head_dim, row, scratch, output + (size_t) token * dim + head * head_dim);
			}
}

static void
multiply_transposed(const float *left, const float *right, int rows, int columns, int dim,
					float *output)
{
	linear(left, right, NULL, rows, dim, columns, BR_ACTIVATION_NONE, output);
}

static void
multiply_transposed_double(const double *left, const double *right, int rows, int columns,
						   int depth, int left_stride, int right_stride, int output_stride,
						   double scale, double keep, double *output)
{
	for (int row = 0; row < rows; row++)
		for (int column = 0; column < columns; column++)
		{
			double *place = output + (size_t) row * output_stride + column;
			double sum = br_math_dot(left + (size_t) row * left_stride,
									 right + (size_t) column * right_stride, (size_t) depth);

			*place = scale * sum + (keep != 0 ? keep * *place : 0);
		}
}

static double
element(const BrFactor *factor, int row, int column)
{
	size_t major = (size_t) (factor->transposed ? column : row);
	size_t minor = (size_t) (factor->transposed ? row : column);

	return factor->values[major * (size_t) factor->stride + minor];
}

static void
multiply(BrFactor left, BrFactor right, int rows, int columns, int depth, float scale, float keep,
		 int output_stride, float *output)
{
	for (int row = 0; row < rows; row++)
		for (int column = 0; column < columns; column++)
		{
			float *place = output + (size_t) row * (size_t) output_stride + column;
			double sum = 0;

			for (int k = 0; k < depth; k++)
				sum += element(&left, row, k) * element(&right, k, column);
			*place =
				(float) ((double) scale * sum + (keep != 0 ? (double) keep * (double) *place : 0));
		}
}

static void
activate_values(float *values, size_t n, BrActivation activation)
{
	for (size_t i = 0; i < n; i++)
		values[i] = (float) activate(values[i], activation);
}

static double
activation_slope(double x, BrActivation activation)
{
	double inner;

	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return 0.5 * erfc(-x * SQRT_HALF) + x * INVERSE_SQRT_2_PI * exp(-x * x / 2);
		case BR_ACTIVATION_GELU_TANH:
			/* beyond, tanh is 1 and its slope 0, which an infinite factor would spoil */
			x = fmax(fmin(x, GELU_TANH_FLAT), -GELU_TANH_FLAT);
			inner = tanh(SQRT_2_OVER_PI * (x + GELU_TANH_CUBIC * x * x * x));
			return 0.5 * (1 + inner) +
				0.5 * x * (1 - inner * inner) * SQRT_2_OVER_PI * (1 + 3 * GELU_TANH_CUBIC * x * x);
		case BR_ACTIVATION_TANH:
			return 1 - tanh(x) * tanh(x);
		case BR_ACTIVATION_RELU:
			return x > 0;
	}
	return 1;
}

static void
activate_slope(const float *input, size_t n, BrActivation activation, float *slope)
{
	for (size_t i = 0; i < n; i++)
		slope[i] = (float) ((double) slope[i] * activation_slope(input[i], activation));
}

static void
softmax(float *values, int rows, int columns, int stride)
{
	for (int row = 0; row < rows; row++)
	{
		float *at = values + (size_t) row * (size_t) stride;
		double largest = -INFINITY;
		double total = 0;

		for (int i = 0; i < columns; i++)
			largest = fmax(largest, at[i]);
		for (int i = 0; i < columns; i++)
			total += br_math_exp((double) at[i] - largest);
		for (int i = 0; i < columns; i++)
			at[i] = (float) (br_math_exp((double) at[i] - largest) / total);
	}
}

const BrBackend *
br_math_portable_backend(void)
{
	static const BrBackend backend = {
		.version = BR_BACKEND_VERSION,
		.name = "portable",
		.instruction_set = instruction_set,
		.linear = linear,
		.embed = embed,
		.add_layer_norm = add_layer_norm,
		.attention = attention,
		.multiply_transposed = multiply_transposed,
		.multiply_transposed_double = multiply_transposed_double,
		.multiply = multiply,
		.activate = activate_values,
		.activate_slope = activate_slope,
		.softmax = softmax,
	};

	return &backend;
}
