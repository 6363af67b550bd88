/*
 * association_fixture.h
 *	  Matrices for the tests of log-linear associations.
 */
#ifndef BR_ASSOCIATION_FIXTURE_H
#define BR_ASSOCIATION_FIXTURE_H

#include "core/learn/br_learn.h"

#define ASSOCIATION_MAX_ENTRIES 100000
#define ASSOCIATION_MAX_ROWS 4000

/* free() releases it */
typedef struct AssociationMatrix
{
	BrSparse sparse;
	int64_t starts[ASSOCIATION_MAX_ROWS + 1];
	int32_t ids[ASSOCIATION_MAX_ENTRIES];
} AssociationMatrix;

/* .3, .25, row damping 0; 1,000 iterations and all of the lists */
extern const BrAssociationOptions association_usual;

/* without rows */
extern AssociationMatrix *association_matrix(int columns);

/* the row `times` times; columns ascending, ended by -1 */
extern void association_add_row(AssociationMatrix *matrix, int times, const int32_t *columns);

#define ROW(matrix, times, ...) \
	association_add_row(matrix, times, (const int32_t[]){__VA_ARGS__, -1})

/* 17 rows of 5 columns, of which 3 is in none */
extern AssociationMatrix *association_small_matrix(void);

/*
 * Rows of 2 to 6 of the 16 columns beside a random place, so that most blocks
 * are touched by no column of a row; every tenth row has one column. The last
 * three columns are in none.
 */
extern AssociationMatrix *association_random_matrix(int rows, int columns, uint64_t key);

#endif /* BR_ASSOCIATION_FIXTURE_H */
