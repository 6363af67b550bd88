/*
 * association_fixture.c
 *	  Matrices for the tests of log-linear associations.
 */
#include <stdlib.h>

#include "unit/association_fixture.h"

const BrAssociationOptions association_usual = {.l2 = 0.3,
												.damping = 0.25,
												.least_together = 1,
												.iterations = 1000,
												.depth = 1000};

AssociationMatrix *
association_matrix(int columns)
{
	AssociationMatrix *matrix = calloc(1, sizeof(AssociationMatrix));

	matrix->sparse = (BrSparse){.columns = columns, .starts = matrix->starts, .ids = matrix->ids};
	return matrix;
}

void
association_add_row(AssociationMatrix *matrix, int times, const int32_t *columns)
{
	for (; times > 0; times--)
	{
		int64_t end = matrix->starts[matrix->sparse.rows];

		for (int i = 0; columns[i] >= 0; i++)
			matrix->ids[end++] = columns[i];
		matrix->starts[++matrix->sparse.rows] = end;
	}
}

AssociationMatrix *
association_small_matrix(void)
{
	AssociationMatrix *matrix = association_matrix(5);

	ROW(matrix, 2, 0, 1);
	ROW(matrix, 3, 1, 2);
	ROW(matrix, 2, 0, 1, 2);
	ROW(matrix, 5, 0);
	ROW(matrix, 2, 0, 1);
	ROW(matrix, 1, 2);
	ROW(matrix, 1, 0, 2);
	ROW(matrix, 1, 2, 4);
	return matrix;
}

AssociationMatrix *
association_random_matrix(int rows, int columns, uint64_t key)
{
	AssociationMatrix *matrix = association_matrix(columns);
	BrRandom random;

	br_base_random_init(&random, key, 0);
	for (int row = 0; row < rows; row++)
	{
		int centre = (int) br_base_random_below(&random, (uint32_t) (columns - 3 - 16));
		int length = row % 10 == 0 ? 1 : 2 + (int) br_base_random_below(&random, 5);
		int32_t ids[8];
		int n = 0;

		for (int column = 0; column < 16 && n < length; column++)
			if (br_base_random_below(&random, (uint32_t) (16 - column)) < (uint32_t) (length - n))
				ids[n++] = centre + column;
		ids[n] = -1;
		association_add_row(matrix, 1, ids);
	}
	return matrix;
}
