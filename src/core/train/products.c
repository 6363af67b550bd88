/*
 * products.c
 *	  What the backend computes, and a reference of it in double for tests.
 *
 * A dense layer and its gradient are three products of the same three
 * matrices: output = input weight', slope of the input = slope of the output
 * times weight, slope of the weight = slope of the output' times input. The
 * backend takes each as it stands, so nothing is ever transposed in memory.
 */
#include "core/train/train_int.h"

#ifdef BR_TRAIN_DOUBLE

void
br_train_multiply(const BrBackend *backend, BrTrainFactor left, BrTrainFactor right, int rows,
				  int columns, int depth, BrReal scale, BrReal keep, int output_stride,
				  BrReal *output)
{
	/* by how much a next row, column or element of the sum is further on */
	size_t left_row = left.transposed ? 1 : (size_t) left.stride;
	size_t left_next = left.transposed ? (size_t) left.stride : 1;
	size_t right_column = right.transposed ? (size_t) right.stride : 1;
	size_t right_next = right.transposed ? 1 : (size_t) right.stride;

	(void) backend;
	for (int row = 0; row < rows; row++)
		for (int column = 0; column < columns; column++)
		{
			const double *l = left.values + (size_t) row * left_row;
			const double *r = right.values + (size_t) column * right_column;
			double *place = output + (size_t) row * (size_t) output_stride + column;
			double sum = 0;

			for (int k = 0; k < depth; k++, l += left_next, r += right_next)
				sum += *l * *r;
			*place = scale * sum + (keep != 0 ? keep * *place : 0);
		}
}

/* The value, or with slope the derivative, of an activation, from its definition. */
static double
activation_at(double x, BrActivation activation, bool slope)
{
	const double root = sqrt(2 / acos(-1));
	double inner = tanh(root * (x + 0.044715 * x * x * x));

	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return slope ? erfc(-x / sqrt(2)) / 2 + x * root / 2 * exp(-x * x / 2)
						 : x * erfc(-x / sqrt(2)) / 2;
		case BR_ACTIVATION_GELU_TANH:
			return slope
				? (1 + inner) / 2 + x / 2 * (1 - inner * inner) * root * (1 + 3 * 0.044715 * x * x)
				: x * (1 + inner) / 2;
		case BR_ACTIVATION_TANH:
			return slope ? 1 - tanh(x) * tanh(x) : tanh(x);
		case BR_ACTIVATION_RELU:
			return slope ? x > 0 : fmax(x, 0);
	}
	return slope ? 1 : x;
}

void
br_train_activate(const BrBackend *backend, BrReal *values, size_t n, BrActivation activation)
{
	(void) backend;
	for (size_t i = 0; i < n; i++)
		values[i] = activation_at(values[i], activation, false);
}

void
br_train_activate_slope(const BrBackend *backend, const BrReal *input, size_t n,
						BrActivation activation, BrReal *slope)
{
	(void) backend;
	for (size_t i = 0; i < n; i++)
		slope[i] *= activation_at(input[i], activation, true);
}

void
br_train_softmax(const BrBackend *backend, BrReal *values, int rows, int columns, int stride)
{
	(void) backend;
	for (int row = 0; row < rows; row++, values += stride)
	{
		double largest = values[0];
		double total = 0;

		for (int i = 1; i < columns; i++)
			largest = fmax(largest, values[i]);
		for (int i = 0; i < columns; i++)
			total += values[i] = exp(values[i] - largest);
		for (int i = 0; i < columns; i++)
			values[i] /= total;
	}
}

#else

void
br_train_multiply(const BrBackend *backend, BrTrainFactor left, BrTrainFactor right, int rows,
				  int columns, int depth, BrReal scale, BrReal keep, int output_stride,
				  BrReal *output)
{
	backend->multiply(left, right, rows, columns, depth, scale, keep, output_stride, output);
}

void
br_train_activate(const BrBackend *backend, BrReal *values, size_t n, BrActivation activation)
{
	backend->activate(values, n, activation);
}

void
br_train_activate_slope(const BrBackend *backend, const BrReal *input, size_t n,
						BrActivation activation, BrReal *slope)
{
	backend->activate_slope(input, n, activation, slope);
}

void
br_train_softmax(const BrBackend *backend, BrReal *values, int rows, int columns, int stride)
{
	backend->softmax(values, rows, columns, stride);
}

#endif /* BR_TRAIN_DOUBLE */

void
br_train_dense(const BrBackend *backend, const BrTrainDense *dense, const BrReal *parameters,
			   const BrReal *input, int rows, BrReal *output)
{
	BrTrainFactor left = {input, dense->in_dim, false};
	BrTrainFactor right = {parameters + dense->weight, dense->in_dim, true};

	for (int row = 0; dense->has_bias && row < rows; row++)
		memcpy(output + (size_t) row * (size_t) dense->out_dim, parameters + dense->bias,
			   (size_t) dense->out_dim * sizeof(BrReal));
	br_train_multiply(backend, left, right, rows, dense->out_dim, dense->in_dim, 1, dense->has_bias,
					  dense->out_dim, output);
}

void
br_train_dense_input(const BrBackend *backend, const BrTrainDense *dense, const BrReal *parameters,
					 const BrReal *output_slope, int rows, BrReal keep, BrReal *input_slope)
{
	BrTrainFactor left = {output_slope, dense->out_dim, false};
	BrTrainFactor right = {parameters + dense->weight, dense->in_dim, false};

	br_train_multiply(backend, left, right, rows, dense->in_dim, dense->out_dim, 1, keep,
					  dense->in_dim, input_slope);
}

void
br_train_dense_weight(const BrBackend *backend, const BrTrainDense *dense, const BrReal *input,
					  const BrReal *output_slope, int rows, int first, int last, BrReal *gradient)
{
	BrTrainFactor left = {output_slope + first, dense->out_dim, true};
	BrTrainFactor right = {input, dense->in_dim, false};

	br_train_multiply(backend, left, right, last - first, dense->in_dim, rows, 1, 1, dense->in_dim,
					  gradient + dense->weight + (size_t) first * (size_t) dense->in_dim);
	for (int row = 0; dense->has_bias && row < rows; row++)
		br_train_add(gradient + dense->bias + first,
					 output_slope + (size_t) row * (size_t) dense->out_dim + first, last - first);
}
