/*
 * kernels_template.h
 *	  The operations and their table, over vectors of any width.
 *
 * Each kernels_<set>.c selects its instruction set, defines the words below
 * and includes this file once; one text thus becomes one table per instruction
 * set, and the processor decides which of them is used.
 *
 *		SET, SET_NUMBER			the name of the instruction set, and its place in the order
 *		Vector, LANES			floats side by side, usable with + - * /
 *		Integers				as many int32_t, usable with + - & | << >>
 *		MULTIPLY_ADD(a, b, c)	a * b + c, fused where that is one instruction
 *		MAXIMUM, MINIMUM(a, b)	lane by lane
 *		LOAD_FIRST(p, n)		the first n <= LANES floats at p, zeros behind
 *		STORE_FIRST(p, n, v)	writes only the first n <= LANES lanes
 *		TILE_ROWS				rows of a product tile; TILE_ROWS * 2 vectors fit
 *								into the registers
 */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "backend/vector/br_vector.h"

#define TILE_COLUMNS (2 * LANES)

/* Features of a head that one packed tile of keys holds. */
#define TILE_DEPTH 128

#define INLINE static inline __attribute__((always_inline))

#define LOG2_E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e4p-1f /* 15 bits: exact times any exponent of a float */
#define LN2_LOW 0x1.7f7d1cp-20f

/* Adding it rounds a small float to an integer, which then fills the low bits. */
#define ROUNDING_SHIFT 0x1.8p23f

#define MANTISSA_BITS 23

/* e^x is a normal float between these */
#define EXP_SMALLEST (-87.0f)
#define EXP_LARGEST 88.0f

#define SQRT_8_OVER_PI 0x1.988454p+0f
#define GELU_TANH_CUBIC 0.044715f

INLINE Vector
splat(float x)
{
	return x - (Vector){0};
}

INLINE Vector
load(const float *p)
{
	Vector v;

	memcpy(&v, p, sizeof(v));
	return v;
}

INLINE void
store(float *p, Vector v)
{
	memcpy(p, &v, sizeof(v));
}

/* Lane i of the result is lane i ^ width; width is a constant at every call. */
INLINE Vector
exchange(Vector v, int width)
{
	Integers from;

#pragma GCC unroll 16
	for (int lane = 0; lane < LANES; lane++)
		from[lane] = lane ^ width;
	return __builtin_shuffle(v, from);
}

INLINE float
sum_lanes(Vector v)
{
#pragma GCC unroll 4
	for (int width = LANES / 2; width > 0; width /= 2)
		v += exchange(v, width);
	return v[0];
}

/*
 * Transposes LANES rows of LANES floats in place: stage by stage, rows a width
 * apart exchange the halves of every block of twice that width.
 */
INLINE void
transpose(Vector rows[LANES])
{
#pragma GCC unroll 4
	for (int width = LANES / 2; width > 0; width /= 2)
	{
		Integers upper;
		Integers lower;

#pragma GCC unroll 16
		for (int lane = 0; lane < LANES; lane++)
		{
			upper[lane] = lane & width ? LANES + lane - width : lane;
			lower[lane] = lane & width ? LANES + lane : lane + width;
		}
#pragma GCC unroll 16
		for (int i = 0; i < LANES; i++)
			if ((i & width) == 0)
			{
				Vector first = rows[i];

				rows[i] = __builtin_shuffle(first, rows[i + width], upper);
				rows[i + width] = __builtin_shuffle(first, rows[i + width], lower);
			}
	}
}

/*
 * x = n ln 2 + r with integer n and |r| <= ln(2)/2. Returns e^r - 1, and n in
 * the low bits of *exponent. The polynomial is the minimax one of e^r with
 * value and slope 1 at 0; its error is 3e-9.
 */
INLINE Vector
reduced_expm1(Vector x, Integers *exponent)
{
	Vector shifted = MULTIPLY_ADD(x, splat(LOG2_E), splat(ROUNDING_SHIFT));
	Vector n = shifted - splat(ROUNDING_SHIFT);
	Vector r = MULTIPLY_ADD(n, splat(-LN2_LOW), MULTIPLY_ADD(n, splat(-LN2_HIGH), x));
	Vector p = splat(0x1.6a2400p-10f);

	p = MULTIPLY_ADD(p, r, splat(0x1.1239e4p-7f));
	p = MULTIPLY_ADD(p, r, splat(0x1.5558f2p-5f));
	p = MULTIPLY_ADD(p, r, splat(0x1.555492p-3f));
	p = MULTIPLY_ADD(p, r, splat(0x1.fffffcp-2f));
	*exponent = (Integers) shifted;
	return MULTIPLY_ADD(p * r, r, r);
}

INLINE Vector
exponential(Vector x)
{
	Integers exponent;
	Vector power =
		reduced_expm1(MINIMUM(MAXIMUM(x, splat(EXP_SMALLEST)), splat(EXP_LARGEST)), &exponent) +
		splat(1);

	return (Vector) ((Integers) power + (exponent << MANTISSA_BITS));
}

/* e / (e + 2) with e = e^(2|x|) - 1, which stays accurate near 0; beyond 10 it rounds to 1. */
INLINE Vector
hyperbolic_tangent(Vector x)
{
	const Integers sign_bit = (Integers) splat(-0.0f);
	Vector magnitude = (Vector) ((Integers) x & ~sign_bit);
	Integers exponent;
	Vector e = reduced_expm1(MINIMUM(magnitude + magnitude, splat(20)), &exponent);
	Vector power = (Vector) ((exponent << MANTISSA_BITS) + (Integers) splat(1));

	e = MULTIPLY_ADD(e, power, power - splat(1));
	return (Vector) ((Integers) (e / (e + splat(2))) | ((Integers) x & sign_bit));
}

/*
 * Phi(-a), which falls from 1/2 to 1e-7 over [0, 5.2]: there it is the
 * polynomial of degree 15 in a / 2.6 - 1 with the least largest error (3.5e-8,
 * weighted by a).
 */
INLINE Vector
normal_tail(Vector a)
{
	static const float coefficient[] = {0x1.3179e4p-8f,	 -0x1.214edcp-5f, 0x1.e8ec64p-4f,
										-0x1.d558c6p-3f, 0x1.02ed62p-2f,  -0x1.c10ad6p-4f,
										-0x1.ad1ae6p-4f, 0x1.85ff34p-3f,  -0x1.55e414p-4f,
										-0x1.0f5712p-4f, 0x1.7647aap-4f,  -0x1.818350p-7f,
										-0x1.24b5f8p-5f, 0x1.f45074p-7f,  0x1.758dc2p-8f,
										-0x1.d3a4f6p-9f};
	const int degree = (int) (sizeof(coefficient) / sizeof(coefficient[0])) - 1;
	Vector u = MULTIPLY_ADD(a, splat(1 / 2.6f), splat(-1));
	Vector tail = splat(coefficient[degree]);

#pragma GCC unroll 16
	for (int i = degree - 1; i >= 0; i--)
		tail = MULTIPLY_ADD(tail, u, splat(coefficient[i]));
	return tail;
}

/* x Phi(x) = max(x, 0) - a Phi(-a) with a = |x|, of which beyond 5.2 no bit of x is left. */
INLINE Vector
gelu_erf(Vector x)
{
	Vector a = MINIMUM(MAXIMUM(x, -x), splat(5.2f));

	return MULTIPLY_ADD(-a, normal_tail(a), MAXIMUM(x, splat(0)));
}

/* x (1 + tanh(t)) / 2 = x / (1 + e^(-2t)) */
INLINE Vector
gelu_tanh(Vector x)
{
	Vector twice_t =
		splat(SQRT_8_OVER_PI) * x * MULTIPLY_ADD(x * x, splat(GELU_TANH_CUBIC), splat(1));

	return x / (splat(1) + exponential(-twice_t));
}

INLINE Vector
activation_of(Vector x, BrActivation activation)
{
	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			return gelu_erf(x);
		case BR_ACTIVATION_GELU_TANH:
			return gelu_tanh(x);
		case BR_ACTIVATION_TANH:
			return hyperbolic_tangent(x);
		case BR_ACTIVATION_RELU:
			return MAXIMUM(x, splat(0));
	}
	return x;
}

/* activation is a constant at every call, so that no loop decides anything. */
INLINE void
activate_all(float *values, size_t n, BrActivation activation)
{
	size_t i = 0;

	for (; i + LANES <= n; i += LANES)
		store(values + i, activation_of(load(values + i), activation));
	if (i < n)
		STORE_FIRST(values + i, n - i, activation_of(LOAD_FIRST(values + i, n - i), activation));
}

static void
activate(float *values, size_t n, BrActivation activation)
{
	switch (activation)
	{
		case BR_ACTIVATION_NONE:
			break;
		case BR_ACTIVATION_GELU_ERF:
			activate_all(values, n, BR_ACTIVATION_GELU_ERF);
			break;
		case BR_ACTIVATION_GELU_TANH:
			activate_all(values, n, BR_ACTIVATION_GELU_TANH);
			break;
		case BR_ACTIVATION_TANH:
			activate_all(values, n, BR_ACTIVATION_TANH);
			break;
		case BR_ACTIVATION_RELU:
			activate_all(values, n, BR_ACTIVATION_RELU);
			break;
	}
}

static void
finish(float *values, const float *bias, int rows, int dim, BrActivation activation)
{
	for (int row = 0; row < rows; row++, values += dim)
	{
		int i = 0;

		for (; bias != NULL && i + LANES <= dim; i += LANES)
			store(values + i, load(values + i) + load(bias + i));
		for (; bias != NULL && i < dim; i++)
			values[i] += bias[i];
		activate(values, (size_t) dim, activation);
	}
}

/*
 * The bias is put into the output before the product is added to it, where
 * BLAS would otherwise write zeros.
 */
static void
linear(const float *input, const float *weight, const float *bias, int rows, int in_dim,
	   int out_dim, BrActivation activation, float *output)
{
	if (bias != NULL)
		for (int row = 0; row < rows; row++)
			memcpy(output + (size_t) row * (size_t) out_dim, bias,
				   (size_t) out_dim * sizeof(float));
	br_vector_multiply(input, weight, rows, out_dim, in_dim, bias != NULL ? 1 : 0, output);
	activate(output, (size_t) rows * (size_t) out_dim, activation);
}

static void
multiply_transposed(const float *left, const float *right, int rows, int columns, int dim,
					float *output)
{
	br_vector_multiply(left, right, rows, columns, dim, 0, output);
}

/* sum = left + right; returns the sum of its elements. right may be NULL. */
INLINE float
add_rows(const float *left, const float *right, int dim, float *sum)
{
	Vector total = {0};
	int i = 0;

	for (; i + LANES <= dim; i += LANES)
	{
		Vector v = load(left + i);

		if (right != NULL)
			v += load(right + i);
		store(sum + i, v);
		total += v;
	}
	if (i < dim)
	{
		size_t rest = (size_t) (dim - i);
		Vector v = LOAD_FIRST(left + i, rest);

		if (right != NULL)
			v += LOAD_FIRST(right + i, rest);
		STORE_FIRST(sum + i, rest, v);
		total += v;
	}
	return sum_lanes(total);
}

/*
 * Of row - mean: its mean, which is what rounding left out of mean, and its
 * variance around that.
 */
INLINE void
deviation(const float *row, int dim, float mean, float *remainder, float *variance)
{
	Vector total = {0};
	Vector squares = {0};
	float rest[LANES] = {0};
	int i = 0;

	for (; i + LANES <= dim; i += LANES)
	{
		Vector v = load(row + i) - splat(mean);

		total += v;
		squares = MULTIPLY_ADD(v, v, squares);
	}
	for (int lane = 0; i + lane < dim; lane++)
		rest[lane] = row[i + lane] - mean;
	total += load(rest);
	squares = MULTIPLY_ADD(load(rest), load(rest), squares);

	*remainder = sum_lanes(total) / (float) dim;
	*variance = sum_lanes(squares) / (float) dim - *remainder * *remainder;
	if (*variance < 0)
		*variance = 0;
}

/* One row at a time, all three passes while it is in the nearest cache. */
static void
add_layer_norm(const float *input, const float *residual, const float *gain, const float *bias,
			   float epsilon, int rows, int dim, float *output)
{
	for (int row = 0; row < rows; row++)
	{
		size_t start = (size_t) row * (size_t) dim;
		float *out = output + start;
		float mean = add_rows(input + start, residual != NULL ? residual + start : NULL, dim, out) /
			(float) dim;
		float remainder;
		float variance;
		float scale;
		int i = 0;

		deviation(out, dim, mean, &remainder, &variance);
		scale = 1 / sqrtf(variance + epsilon);
		for (; i + LANES <= dim; i += LANES)
		{
			Vector v = load(out + i) - splat(mean) - splat(remainder);

			store(out + i, MULTIPLY_ADD(v * splat(scale), load(gain + i), load(bias + i)));
		}
		for (; i < dim; i++)
			out[i] = (out[i] - mean - remainder) * scale * gain[i] + bias[i];
	}
}

static void
embed(const int32_t *ids, const int32_t *positions, const float *word, const float *position,
	  const float *type_row, int rows, int dim, float *output)
{
	for (int row = 0; row < rows; row++)
	{
		const float *word_row = word + (size_t) ids[row] * (size_t) dim;
		const float *position_row = position + (size_t) positions[row] * (size_t) dim;
		float *out = output + (size_t) row * (size_t) dim;

		add_rows(word_row, position_row, dim, out);
		if (type_row != NULL)
			add_rows(out, type_row, dim, out);
	}
}

/*
 * output = left right, over one tile of at most TILE_ROWS rows and
 * TILE_COLUMNS columns; added to what is there when more. Element (i, k) of
 * left stands at i * row_stride + k * depth_stride. Rows that are missing
 * repeat the last one and are not stored. whole: right and output have room
 * for whole vectors, whatever columns is. Sums are added only to whole ones.
 * narrow: columns is at most LANES. What saves time where it is a constant, the
 * flags and strides of left, is one at every call.
 */
INLINE void
multiply_tile(const float *left, size_t row_stride, size_t depth_stride, int rows,
			  const float *right, size_t right_stride, int depth, int columns, bool whole,
			  bool narrow, bool more, float *output, size_t output_stride)
{
	Vector sums[TILE_ROWS][2];
	const float *row_of[TILE_ROWS];
	int in_first = columns < LANES ? columns : LANES;
	int in_second = columns - in_first;

#pragma GCC unroll 8
	for (int i = 0; i < TILE_ROWS; i++)
	{
		row_of[i] = left + (size_t) (i < rows ? i : rows - 1) * row_stride;
		sums[i][0] = splat(0);
		sums[i][1] = splat(0);
	}
	for (int k = 0; k < depth; k++)
	{
		const float *p = right + (size_t) k * right_stride;
		Vector first = whole || in_first == LANES ? load(p) : LOAD_FIRST(p, (size_t) in_first);
		Vector second = narrow ? splat(0)
			: whole			   ? load(p + LANES)
							   : LOAD_FIRST(p + LANES, (size_t) in_second);

#pragma GCC unroll 8
		for (int i = 0; i < TILE_ROWS; i++)
		{
			Vector element = splat(row_of[i][(size_t) k * depth_stride]);

			sums[i][0] = MULTIPLY_ADD(element, first, sums[i][0]);
			if (!narrow)
				sums[i][1] = MULTIPLY_ADD(element, second, sums[i][1]);
		}
	}
#pragma GCC unroll 8
	for (int i = 0; i < TILE_ROWS; i++)
	{
		if (i < rows)
		{
			float *out = output + (size_t) i * output_stride;

			if (more)
			{
				sums[i][0] += load(out);
				if (!narrow)
					sums[i][1] += load(out + LANES);
			}
			if (whole)
			{
				store(out, sums[i][0]);
				if (!narrow)
					store(out + LANES, sums[i][1]);
				continue;
			}
			STORE_FIRST(out, (size_t) in_first, sums[i][0]);
			STORE_FIRST(out + LANES, (size_t) in_second, sums[i][1]);
		}
	}
}

/*
 * packed = queries', times scale: one row per feature, TILE_COLUMNS queries
 * side by side, zeros where queries are missing. packed has room for features
 * rounded up to LANES.
 */
static void
pack_queries(const float *queries /* (n, stride) */, size_t stride, int n, int features,
			 float scale, float *packed /* (features, TILE_COLUMNS) */)
{
	for (int first = 0; first < n; first += LANES)
		for (int feature = 0; feature < features; feature += LANES)
		{
			size_t width = features - feature < LANES ? (size_t) (features - feature) : LANES;
			Vector rows[LANES];

#pragma GCC unroll 16
			for (int i = 0; i < LANES; i++)
			{
				rows[i] = splat(0);
				if (first + i < n)
					rows[i] = LOAD_FIRST(queries + (size_t) (first + i) * stride + feature, width) *
						splat(scale);
			}
			transpose(rows);
#pragma GCC unroll 16
			for (int i = 0; i < LANES; i++)
				store(packed + (size_t) (feature + i) * TILE_COLUMNS + first, rows[i]);
		}
}

/* scores = key query' scale, for all keys of a text and head and n <= TILE_COLUMNS queries */
static void
score(const float *query /* (n, stride) */, int n, const float *key /* (tokens, stride) */,
	  size_t stride, int tokens, int head_dim, float scale,
	  float *scores /* (tokens, TILE_COLUMNS) */)
{
	float packed[TILE_DEPTH * TILE_COLUMNS];

	for (int start = 0; start < head_dim; start += TILE_DEPTH)
	{
		int depth = head_dim - start < TILE_DEPTH ? head_dim - start : TILE_DEPTH;

		pack_queries(query + start, stride, n, depth, scale, packed);
		for (int row = 0; row < tokens; row += TILE_ROWS)
		{
			const float *left = key + (size_t) row * stride + start;
			float *out = scores + (size_t) row * TILE_COLUMNS;

			if (start > 0)
				multiply_tile(left, stride, 1, tokens - row, packed, TILE_COLUMNS, depth,
							  TILE_COLUMNS, true, false, true, out, TILE_COLUMNS);
			else if (n > LANES)
				multiply_tile(left, stride, 1, tokens - row, packed, TILE_COLUMNS, depth,
							  TILE_COLUMNS, true, false, false, out, TILE_COLUMNS);
			else
				multiply_tile(left, stride, 1, tokens - row, packed, TILE_COLUMNS, depth, LANES,
							  true, true, false, out, TILE_COLUMNS);
		}
	}
}

/* centre: of the table of one head, where the key is the first of the n queries */
static void
add_relative(const float *centre, int tokens, int n, float *scores /* (tokens, TILE_COLUMNS) */)
{
	for (int key = 0; key < tokens; key++)
		for (int query = 0; query < n; query++)
			scores[key * TILE_COLUMNS + query] += centre[key - query];
}

/* Over the keys of each of n queries: lanes are queries, so that no lane looks at another. */
static void
softmax(float *scores /* (tokens, TILE_COLUMNS) */, int n, int tokens)
{
	for (int first = 0; first < n; first += LANES)
	{
		Vector largest = splat(-INFINITY);
		Vector total = {0};

		for (int key = 0; key < tokens; key++)
			largest = MAXIMUM(largest, load(scores + key * TILE_COLUMNS + first));
		for (int key = 0; key < tokens; key++)
		{
			float *at = scores + key * TILE_COLUMNS + first;
			Vector weight = exponential(load(at) - largest);

			store(at, weight);
			total += weight;
		}
		total = splat(1) / total;
		for (int key = 0; key < tokens; key++)
		{
			float *at = scores + key * TILE_COLUMNS + first;

			store(at, load(at) * total);
		}
	}
}

/* output = weights' value, for the n queries of a tile, one text and head */
static void
mix(const float *weights /* (tokens, TILE_COLUMNS) */, int n,
	const float *value /* (tokens, stride) */, size_t stride, int tokens, int head_dim,
	float *output /* (n, output_stride) */, size_t output_stride)
{
	for (int row = 0; row < n; row += TILE_ROWS)
	{
		float *out = output + (size_t) row * output_stride;
		int column = 0;

		for (; column + TILE_COLUMNS <= head_dim; column += TILE_COLUMNS)
			multiply_tile(weights + row, 1, TILE_COLUMNS, n - row, value + column, stride, tokens,
						  TILE_COLUMNS, true, false, false, out + column, output_stride);
		if (column < head_dim)
			multiply_tile(weights + row, 1, TILE_COLUMNS, n - row, value + column, stride, tokens,
						  head_dim - column, false, false, false, out + column, output_stride);
	}
}

/*
 * Text by text, head by head and TILE_COLUMNS queries at a time, so that the
 * scores stay in the nearest cache. A product of some tens of tokens by a head
 * of some tens of features is too small for a BLAS call to pay.
 */
static void
attention(const float *qkv, const int32_t *offsets, int texts, int heads, int head_dim,
		  int first_head, int last_head, const float *relative, int longest, float *scratch,
		  float *output)
{
	size_t dim = (size_t) heads * (size_t) head_dim;
	float scale = 1 / sqrtf((float) head_dim);

	for (int i = 0; i < texts; i++)
	{
		int tokens = offsets[i + 1] - offsets[i];

		for (int head = first_head; head < last_head; head++)
		{
			size_t first = (size_t) head * (size_t) head_dim;
			const float *query = qkv + (size_t) offsets[i] * 3 * dim + first;
			float *out = output + (size_t) offsets[i] * dim + first;

			for (int row = 0; row < tokens; row += TILE_COLUMNS)
			{
				int n = tokens - row < TILE_COLUMNS ? tokens - row : TILE_COLUMNS;

				score(query + (size_t) row * 3 * dim, n, query + dim, 3 * dim, tokens, head_dim,
					  scale, scratch);
				if (relative != NULL)
					add_relative(relative + (size_t) head * (2 * (size_t) longest - 1) + longest -
									 1 - row,
								 tokens, n, scratch);
				softmax(scratch, n, tokens);
				mix(scratch, n, query + 2 * dim, 3 * dim, tokens, head_dim,
					out + (size_t) row * dim, dim);
			}
		}
	}
}

#include "backend/vector/slopes_template.h"

static const char *
instruction_set(void)
{
	return SET;
}

static const BrVectorSet set = {
	.number = SET_NUMBER,
	.table =
		{
			.version = BR_BACKEND_VERSION,
			.instruction_set = instruction_set,
			.linear = linear,
			.embed = embed,
			.add_layer_norm = add_layer_norm,
			.attention = attention,
			.multiply_transposed = multiply_transposed,
			.activate = activate,
			.activate_slope = activate_slope,
			.softmax = softmax_rows,
		},
	.finish = finish,
};
