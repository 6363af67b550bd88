/*
 * factor_kernels_template.h
 *	  The inner loops of factorisation and their table, over vectors of any width.
 *
 * Each factor_kernels_<set>.c defines the words below and includes this file
 * once; one text thus becomes one table per instruction set, and the processor
 * decides which of them is used.
 *
 *		NAME					of the instruction set
 *		TARGET					the attribute that lets a function use it
 *		Vector, LANES			floats side by side, usable with + - *
 *		SPLAT(x)				x in all lanes
 *		MULTIPLY_ADD(a, b, c)	a * b + c, fused where that is one instruction
 *		SUM(v)					of the lanes
 *		ABOVE(a, b)				bit i: lane i of a is greater than that of b
 *		TILE_VECTORS			vectors beside each other in a tile of TILE_ROWS rows
 *								whose sums fit into the registers; 2 or 4
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "core/learn/factors_int.h"

#define TILE_ROWS 4
#define ENTRIES 4 /* of a sparse row, at once */
#define INLINE static inline __attribute__((always_inline)) TARGET

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

TARGET static float
dot(const float *left, const float *right, int n)
{
	Vector sum = SPLAT(0);
	Vector second = SPLAT(0);
	int i = 0;

	for (; i + 2 * LANES <= n; i += 2 * LANES)
	{
		sum = MULTIPLY_ADD(load(left + i), load(right + i), sum);
		second = MULTIPLY_ADD(load(left + i + LANES), load(right + i + LANES), second);
	}
	if (i < n)
		sum = MULTIPLY_ADD(load(left + i), load(right + i), sum);
	return SUM(sum + second);
}

TARGET static void
mix(float *out, float keep, const float *added, float scale, int n)
{
	for (int i = 0; i < n; i += LANES)
		store(out + i, MULTIPLY_ADD(SPLAT(keep), load(out + i), SPLAT(scale) * load(added + i)));
}

/* ---- products of matrices ---- */

/* A left matrix by strides, and a right one by rows. */
typedef struct Operands
{
	const float *left;
	size_t row;
	size_t step;
	const float *right;
	size_t right_step;
	int depth;
} Operands;

/* rows and vectors are constants at every call, so that the sums stay in registers. */
INLINE void
tile(const Operands *operands, int rows, int vectors, float *out, size_t out_row, bool add)
{
	const float *left = operands->left;
	const float *right = operands->right;
	Vector sum[TILE_ROWS][TILE_VECTORS];

#pragma GCC unroll 4
	for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (int v = 0; v < vectors; v++)
			sum[i][v] = SPLAT(0);
	for (int s = 0; s < operands->depth; s++, left += operands->step, right += operands->right_step)
	{
		Vector beside[TILE_VECTORS];

#pragma GCC unroll 4
		for (int v = 0; v < vectors; v++)
			beside[v] = load(right + v * LANES);
#pragma GCC unroll 4
		for (int i = 0; i < rows; i++)
		{
			Vector factor = SPLAT(left[(size_t) i * operands->row]);

#pragma GCC unroll 4
			for (int v = 0; v < vectors; v++)
				sum[i][v] = MULTIPLY_ADD(factor, beside[v], sum[i][v]);
		}
	}
#pragma GCC unroll 4
	for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (int v = 0; v < vectors; v++)
		{
			float *place = out + (size_t) i * out_row + v * LANES;

			if (add)
				sum[i][v] += load(place);
			store(place, sum[i][v]);
		}
}

/* All columns from `first` on, for some rows. */
INLINE void
tile_row(Operands operands, int rows, int first, int columns, float *out, size_t out_row, bool add)
{
	const float *right = operands.right;
	int column = first;

	for (; column + TILE_VECTORS * LANES <= columns; column += TILE_VECTORS * LANES)
	{
		operands.right = right + column;
		tile(&operands, rows, TILE_VECTORS, out + column, out_row, add);
	}
	for (; column < columns; column += LANES)
	{
		operands.right = right + column;
		tile(&operands, rows, 1, out + column, out_row, add);
	}
}

TARGET static void
product(const float *left, int row, int step, int n, const float *right, int depth, int columns,
		float *out)
{
	Operands operands = {left, (size_t) row, (size_t) step, right, (size_t) columns, depth};
	int i = 0;

	for (; i + TILE_ROWS <= n; i += TILE_ROWS, operands.left += (size_t) TILE_ROWS * row)
		tile_row(operands, TILE_ROWS, 0, columns, out + (size_t) i * columns, (size_t) columns,
				 false);
	for (; i < n; i++, operands.left += row)
		tile_row(operands, 1, 0, columns, out + (size_t) i * columns, (size_t) columns, false);
}

TARGET static void
gram(const float *panel, int n, int padded, float *sum)
{
	size_t stride = (size_t) padded;
	Operands operands = {panel, 1, stride, panel, stride, n};

	for (int i = 0; i < padded; i += TILE_ROWS, operands.left += TILE_ROWS)
		tile_row(operands, TILE_ROWS, i / BR_LEARN_PAD * BR_LEARN_PAD, padded,
				 sum + (size_t) i * stride, stride, true);
}

/* ---- entries of a sparse row ---- */

INLINE float
weight_of(const BrEntryRow *row, int i)
{
	return row->values != NULL ? row->alpha * row->values[i] : row->alpha;
}

INLINE const float *
vector_of(const BrEntryRow *row, int i)
{
	return row->vectors + (size_t) row->ids[i] * (size_t) row->padded;
}

/* n entries from i on, each added with the factor that its product with `at` gives */
INLINE void
add_some(const BrEntryRow *row, int i, int n, bool residual, const float *at, float *out)
{
	const float *vector[ENTRIES];
	Vector sum[ENTRIES];
	Vector factor[ENTRIES];

#pragma GCC unroll 4
	for (int e = 0; e < n; e++)
	{
		vector[e] = vector_of(row, i + e);
		sum[e] = SPLAT(0);
	}
	for (int d = 0; d < row->padded; d += LANES)
	{
		Vector here = load(at + d);

#pragma GCC unroll 4
		for (int e = 0; e < n; e++)
			sum[e] = MULTIPLY_ADD(load(vector[e] + d), here, sum[e]);
	}
#pragma GCC unroll 4
	for (int e = 0; e < n; e++)
	{
		float weight = weight_of(row, i + e);
		float product_here = SUM(sum[e]);

		factor[e] = SPLAT(residual ? 1 + weight * (1 - product_here) : weight * product_here);
	}
	for (int d = 0; d < row->padded; d += LANES)
	{
		Vector v = load(out + d);

#pragma GCC unroll 4
		for (int e = 0; e < n; e++)
			v = MULTIPLY_ADD(factor[e], load(vector[e] + d), v);
		store(out + d, v);
	}
}

INLINE void
add_all(const BrEntryRow *row, bool residual, const float *at, float *out)
{
	int i = 0;

	for (; i + ENTRIES <= row->n; i += ENTRIES)
		add_some(row, i, ENTRIES, residual, at, out);
	for (; i < row->n; i++)
		add_some(row, i, 1, residual, at, out);
}

TARGET static void
add_products(const BrEntryRow *row, const float *at, float *out)
{
	add_all(row, false, at, out);
}

TARGET static void
add_residuals(const BrEntryRow *row, const float *at, float *out)
{
	add_all(row, true, at, out);
}

TARGET static void
gather(const BrEntryRow *row, float *panel, float *out)
{
	for (int i = 0; i < row->n; i++, panel += row->padded)
	{
		const float *vector = vector_of(row, i);
		float weight = weight_of(row, i);
		Vector root = SPLAT(sqrtf(weight));
		Vector confidence = SPLAT(1 + weight);

		for (int d = 0; d < row->padded; d += LANES)
		{
			Vector v = load(vector + d);

			store(panel + d, root * v);
			store(out + d, MULTIPLY_ADD(confidence, v, load(out + d)));
		}
	}
}

/* ---- Cholesky ---- */

#define PANEL 4 /* pivots whose rows are subtracted from the others at once */

/* Row `at` of the factor, from what is left of the matrix; zeros before the diagonal. */
INLINE bool
finish_pivot(float *matrix, int n, int at, float least)
{
	float *row = matrix + (size_t) at * (size_t) n;
	int first = at / LANES * LANES;
	Vector scale;

	if (!(row[at] > least) || !isfinite(row[at]))
		return false;
	for (int j = first; j < at; j++)
		row[j] = 0;
	scale = SPLAT(1 / sqrtf(row[at]));
	for (int j = first; j < n; j += LANES)
		store(row + j, scale * load(row + j));
	return true;
}

/* row -= the factor's rows from `pivot` on, each times its component `at` */
INLINE void
subtract_rows(float *matrix, int n, int pivot, int count, int at)
{
	const float *above = matrix + (size_t) pivot * (size_t) n;
	float *row = matrix + (size_t) at * (size_t) n;
	Vector factor[PANEL];

#pragma GCC unroll 4
	for (int p = 0; p < count; p++)
		factor[p] = SPLAT(-above[(size_t) p * (size_t) n + at]);
	for (int j = at / LANES * LANES; j < n; j += LANES)
	{
		Vector v = load(row + j);

#pragma GCC unroll 4
		for (int p = 0; p < count; p++)
			v = MULTIPLY_ADD(factor[p], load(above + (size_t) p * (size_t) n + j), v);
		store(row + j, v);
	}
}

/* matrix = U'U */
TARGET static bool
factorise(float *matrix, int n)
{
	float least[BR_LEARN_MAX_FACTORS];

	for (int i = 0; i < n; i++)
		least[i] = FLT_EPSILON * matrix[(size_t) i * (size_t) n + i];
	for (int pivot = 0; pivot < n; pivot += PANEL)
	{
		for (int i = pivot; i < pivot + PANEL; i++)
		{
			for (int before = pivot; before < i; before++)
				subtract_rows(matrix, n, before, 1, i);
			if (!finish_pivot(matrix, n, i, least[i]))
				return false;
		}
		for (int i = pivot + PANEL; i < n; i++)
			subtract_rows(matrix, n, pivot, PANEL, i);
	}
	return true;
}

TARGET static bool
solve(float *matrix, int n, float *vector)
{
	if (!factorise(matrix, n))
		return false;
	for (int i = 0; i < n; i++)
	{
		const float *row = matrix + (size_t) i * (size_t) n;
		int first = i / LANES * LANES;
		float solved = vector[i] / row[i];

		mix(vector + first, 1, row + first, -solved, n - first);
		vector[i] = solved;
	}
	for (int i = n - 1; i >= 0; i--)
	{
		const float *row = matrix + (size_t) i * (size_t) n;
		int first = i / LANES * LANES;
		float right = vector[i];

		vector[i] = 0;
		vector[i] = (right - dot(row + first, vector + first, n - first)) / row[i];
	}
	return true;
}

/* ---- pairs of BPR ---- */

TARGET static float
pair_score(const float *user, const float *liked, const float *other, int n)
{
	Vector sum = SPLAT(0);

	for (int i = 0; i < n; i += LANES)
		sum = MULTIPLY_ADD(load(user + i), load(liked + i) - load(other + i), sum);
	return SUM(sum);
}

TARGET static void
pair_step(float *user, float *liked, float *other, float keep, float rate, int n)
{
	Vector kept = SPLAT(keep);
	Vector step = SPLAT(rate);

	for (int i = 0; i < n; i += LANES)
	{
		Vector u = load(user + i);
		Vector l = load(liked + i);
		Vector o = load(other + i);

		store(user + i, MULTIPLY_ADD(step, l - o, kept * u));
		store(liked + i, MULTIPLY_ADD(step, u, kept * l));
		store(other + i, kept * o - step * u);
	}
}

/* ---- what is above a bound ---- */

TARGET static int
filter(const float *values, int n, float above, int32_t *places, float *kept)
{
	Vector bound = SPLAT(above);
	int found = 0;

	for (int i = 0; i < n; i += LANES)
	{
		unsigned which = (unsigned) ABOVE(load(values + i), bound);

		for (; which != 0; which &= which - 1)
		{
			int place = i + __builtin_ctz(which);

			places[found] = place;
			kept[found++] = values[place];
		}
	}
	return found;
}

static const BrFactorKernels kernels = {
	.name = NAME,
	.dot = dot,
	.mix = mix,
	.product = product,
	.gram = gram,
	.add_products = add_products,
	.add_residuals = add_residuals,
	.gather = gather,
	.solve = solve,
	.pair_score = pair_score,
	.pair_step = pair_step,
	.filter = filter,
};
