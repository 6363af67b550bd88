/*
 * solve_template.h
 *	  Rows of a Cholesky factor with vectors of one width; for solve.c alone.
 *
 * Included once for each instruction set, with TARGET, its function attribute,
 * WIDTH, the doubles of a vector, VECTORS, how many are computed side by side,
 * and NAME(x), what x is called here.
 */

typedef double NAME(Vector) __attribute__((vector_size(WIDTH * sizeof(double))));
typedef double NAME(Place)
	__attribute__((vector_size(WIDTH * sizeof(double)), aligned(sizeof(double)), may_alias));

/* From PANEL rows takes their products with the rows above, which are done. */
TARGET static void
NAME(reduce)(double *matrix, int stride, int first)
{
	double *panel = matrix + (size_t) first * stride;

	for (int column = FLOOR(first); column < stride; column += WIDTH * VECTORS)
	{
		NAME(Vector) sums[PANEL][VECTORS];

#pragma GCC unroll 4
		for (int r = 0; r < PANEL; r++)
#pragma GCC unroll 2
			for (int v = 0; v < VECTORS; v++)
				sums[r][v] = *(NAME(Place) *) (panel + (size_t) r * stride + column + v * WIDTH);
		for (int k = 0; k < first; k++)
		{
			const double *row = matrix + (size_t) k * stride;

#pragma GCC unroll 2
			for (int v = 0; v < VECTORS; v++)
			{
				NAME(Vector) right = *(const NAME(Place) *) (row + column + v * WIDTH);

#pragma GCC unroll 4
				for (int r = 0; r < PANEL; r++)
					sums[r][v] -= row[first + r] * right;
			}
		}
#pragma GCC unroll 4
		for (int r = 0; r < PANEL; r++)
#pragma GCC unroll 2
			for (int v = 0; v < VECTORS; v++)
				*(NAME(Place) *) (panel + (size_t) r * stride + column + v * WIDTH) = sums[r][v];
	}
}

/* row -= factor * other, from `first` on. */
TARGET static void
NAME(subtract)(double *row, const double *other, double factor, int first, int stride)
{
	for (int column = FLOOR(first); column < stride; column += WIDTH)
		*(NAME(Place) *) (row + column) -= factor * *(const NAME(Place) *) (other + column);
}

TARGET static void
NAME(multiply)(double *row, double factor, int first, int stride)
{
	for (int column = FLOOR(first); column < stride; column += WIDTH)
		*(NAME(Place) *) (row + column) *= factor;
}

/* Rows `first` to `last` - 1 of the factor; returns the row whose pivot is none, or -1. */
TARGET static int
NAME(factor)(double *matrix, int stride, int first, int last)
{
	for (int i = first; i < last; i += PANEL)
	{
		NAME(reduce)(matrix, stride, i);
		for (int row = i; row < i + PANEL && row < last; row++)
		{
			double *values = matrix + (size_t) row * stride;
			double pivot = values[row];

			if (!(pivot > 0) || isinf(pivot))
				return row;
			NAME(multiply)(values, 1 / sqrt(pivot), row, stride);
			for (int below = row + 1; below < i + PANEL && below < last; below++)
				NAME(subtract)
			(values + (size_t) (below - row) * stride, values, values[below], row, stride);
		}
	}
	return -1;
}

#undef TARGET
#undef WIDTH
#undef VECTORS
#undef NAME
