/*
 * slopes_template.h
 *	  What training needs besides the operations of kernels_template.h, whose
 *	  last part this is: slopes of the activations, and softmax of plain rows.
 *
 * A slope multiplies the gradient that comes from above in place, so that no
 * derivative is ever stored. Inputs are first cut to where the activation is
 * still curved: beyond, slopes are 0 and 1 to the last bit, and an infinite
 * factor would make a NaN of the 0.
 */

#define INVERSE_SQRT_2_PI 0x1.988454p-2f
#define GELU_FLAT 10.0f

INLINE Vector
clamped(Vector x, float limit)
{
	return MINIMUM(MAXIMUM(x, splat(-limit)), splat(limit));
}

/* Phi(x) + x phi(x); Phi(x) is 1/2 and, with the sign of x, 1/2 - Phi(-|x|). */
INLINE Vector
gelu_erf_slope(Vector input)
{
	const Integers sign_bit = (Integers) splat(-0.0f);
	Vector x = clamped(input, GELU_FLAT);
	Vector a = MINIMUM(MAXIMUM(x, -x), splat(5.2f));
	Vector off_half = splat(0.5f) - normal_tail(a);
	Vector signed_half = (Vector) ((Integers) off_half ^ ((Integers) x & sign_bit));
	Vector density = splat(INVERSE_SQRT_2_PI) * exponential(splat(-0.5f) * x * x);

	return MULTIPLY_ADD(x, density, splat(0.5f) + signed_half);
}

/* With s = 1 / (1 + e^(-2t)): s + x s (1 - s) (2t)' */
INLINE Vector
gelu_tanh_slope(Vector input)
{
	Vector x = clamped(input, GELU_FLAT);
	Vector square = x * x;
	Vector twice_t =
		splat(SQRT_8_OVER_PI) * x * MULTIPLY_ADD(square, splat(GELU_TANH_CUBIC), splat(1));
	Vector steepness =
		splat(SQRT_8_OVER_PI) * MULTIPLY_ADD(square, splat(3 * GELU_TANH_CUBIC), splat(1));
	Vector s = splat(1) / (splat(1) + exponential(-twice_t));

	return MULTIPLY_ADD(x * s * (splat(1) - s), steepness, s);
}

/* 1 where x > 0, else 0: the sign bit of -x, whose zeros are both without it. */
INLINE Vector
step(Vector x)
{
	Integers below = (Integers) (splat(0) - x) >> 31;

	return (Vector) (below & (Integers) splat(1));
}

INLINE Vector
slope_of(Vector x, BrActivation activation)
{
	Vector y;

	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return gelu_erf_slope(x);
		case BR_ACTIVATION_GELU_TANH:
			return gelu_tanh_slope(x);
		case BR_ACTIVATION_TANH:
			y = hyperbolic_tangent(x);
			return MULTIPLY_ADD(-y, y, splat(1));
		case BR_ACTIVATION_RELU:
			return step(x);
	}
	return splat(1);
}

/* activation is a constant at every call, so that no loop decides anything. */
INLINE void
slope_all(const float *input, size_t n, BrActivation activation, float *slope)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		store(slope + i, load(slope + i) * slope_of(load(input + i), activation));
	if (i < n)
		STORE_FIRST(slope + i, n - i,
					LOAD_FIRST(slope + i, n - i) *
						slope_of(LOAD_FIRST(input + i, n - i), activation));
}

static void
activate_slope(const float *input, size_t n, BrActivation activation, float *slope)
{
	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			slope_all(input, n, BR_ACTIVATION_GELU_ERF, slope);
			break;
		case BR_ACTIVATION_GELU_TANH:
			slope_all(input, n, BR_ACTIVATION_GELU_TANH, slope);
			break;
		case BR_ACTIVATION_TANH:
			slope_all(input, n, BR_ACTIVATION_TANH, slope);
			break;
		case BR_ACTIVATION_RELU:
			slope_all(input, n, BR_ACTIVATION_RELU, slope);
			break;
	}
}

/* The last elements of a row, filled up with what is smaller than any. */
INLINE Vector
load_rest(const float *row, int i, int columns)
{
	float rest[LANES];

	for (int lane = 0; lane < LANES; lane++)
		rest[lane] = i + lane < columns ? row[i + lane] : -INFINITY;
	return load(rest);
}

INLINE float
rest_sum(const float *row, int begin, int end)
{
	float sum = 0;

	for (int i = begin; i < end; i++)
		sum += row[i];
	return sum;
}

static void
softmax_rows(float *values, int rows, int columns, int stride)
{
	for (int number = 0; number < rows; number++)
	{
		float *row = values + (size_t) number * (size_t) stride;
		int whole = columns / LANES * LANES;
		Vector last = load_rest(row, whole, columns);
		Vector largest = last;
		Vector total = {0};

		for (int i = 0; i < whole; i += LANES)
			largest = MAXIMUM(largest, load(row + i));
#pragma GCC unroll 4
		for (int width = LANES / 2; width > 0; width /= 2)
			largest = MAXIMUM(largest, exchange(largest, width));
		for (int i = 0; i < whole; i += LANES)
		{
			Vector weight = exponential(load(row + i) - largest);

			store(row + i, weight);
			total += weight;
		}
		last = exponential(last - largest);
		for (int i = whole; i < columns; i++)
			row[i] = last[i - whole];
		total = splat(1 / (sum_lanes(total) + rest_sum(row, whole, columns)));
		for (int i = 0; i < whole; i += LANES)
			store(row + i, load(row + i) * total);
		for (int i = whole; i < columns; i++)
			row[i] *= total[0];
	}
}
