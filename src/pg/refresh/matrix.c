/*
 * matrix.c
 *	  Embeddings of one refresh, in a temporary file.
 *
 * Only the item numbers stay in memory: a catalog of a million items would
 * need a gigabyte for its vectors. The file goes with the transaction.
 */
#include "postgres.h"

#include "storage/buffile.h"
#include "utils/memutils.h"

#include "pg/refresh/refresh_int.h"

struct BrPgMatrix
{
	BufFile *file;
	int dims;
	int rows;
	int capacity;
	int32 *items;
};

BrPgMatrix *
br_pg_matrix_create(int dims)
{
	BrPgMatrix *matrix = palloc(sizeof(BrPgMatrix));

	matrix->file = BufFileCreateTemp(false);
	matrix->dims = dims;
	matrix->rows = 0;
	matrix->capacity = 1024;
	matrix->items = palloc(sizeof(int32) * matrix->capacity);
	return matrix;
}

void
br_pg_matrix_append(BrPgMatrix *matrix, int32 item, const uint16 *halves)
{
	if (matrix->rows == matrix->capacity)
	{
		matrix->capacity *= 2;
		matrix->items = repalloc_huge(matrix->items, sizeof(int32) * (Size) matrix->capacity);
	}
	matrix->items[matrix->rows++] = item;
	BufFileWrite(matrix->file, unconstify(uint16 *, halves), sizeof(uint16) * matrix->dims);
}

int
br_pg_matrix_rows(const BrPgMatrix *matrix)
{
	return matrix->rows;
}

int32
br_pg_matrix_item(const BrPgMatrix *matrix, int row)
{
	return matrix->items[row];
}

void
br_pg_matrix_read(BrPgMatrix *matrix, int first, int n, uint16 *halves)
{
	Size width = sizeof(uint16) * matrix->dims;

	if (BufFileSeek(matrix->file, 0, (off_t) first * width, SEEK_SET) != 0 ||
		BufFileRead(matrix->file, halves, width * n) != width * n)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read embeddings from a temporary file")));
}

void
br_pg_matrix_free(BrPgMatrix *matrix)
{
	BufFileClose(matrix->file);
	pfree(matrix->items);
	pfree(matrix);
}
