/*
 * sparse.c
 *	  Sparse matrices by rows: built, checked, transposed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/learn/learn_int.h"

/* entries that are looked at between two questions whether to stop */
#define BETWEEN_QUESTIONS 1000000

BrStatus
br_learn_sparse_check(BrContext *context, const BrSparse *matrix)
{
	if (matrix->rows < 0 || matrix->columns < 0 || matrix->starts[0] != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A sparse matrix has no valid shape.");
	for (int row = 0; row < matrix->rows; row++)
	{
		int32_t last = -1;

		if (matrix->starts[row + 1] < matrix->starts[row])
			return br_base_fail(context, BR_ERR_ARGUMENT, "Row %d ends before it begins.", row);
		for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
		{
			if (matrix->ids[i] <= last || matrix->ids[i] >= matrix->columns)
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Row %d has column %d, which is out of range or order.", row,
									matrix->ids[i]);
			if (!isfinite(br_learn_value(matrix, i)))
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"The value at row %d and column %d is not finite.", row,
									matrix->ids[i]);
			last = matrix->ids[i];
			if ((i + 1) % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
				return BR_ERR_CANCELLED;
		}
	}
	return BR_OK;
}

void
br_learn_sparse_free(BrContext *context, BrSparse *matrix)
{
	br_base_free(context, matrix->starts);
	br_base_free(context, matrix->ids);
	br_base_free(context, matrix->values);
	memset(matrix, 0, sizeof(*matrix));
}

static BrStatus
allocate(BrContext *context, int rows, int columns, int64_t entries, bool with_values,
		 BrSparse *matrix)
{
	memset(matrix, 0, sizeof(*matrix));
	matrix->rows = rows;
	matrix->columns = columns;
	matrix->starts = br_base_alloc_array(context, (size_t) rows + 1, sizeof(int64_t));
	matrix->ids = br_base_alloc_array(context, (size_t) entries, sizeof(int32_t));
	if (with_values)
		matrix->values = br_base_alloc_array(context, (size_t) entries, sizeof(float));
	if (matrix->starts != NULL && matrix->ids != NULL && (matrix->values != NULL || !with_values))
		return BR_OK;
	br_learn_sparse_free(context, matrix);
	return BR_ERR_MEMORY;
}

/* starts of the result; next (columns): where each row of it begins */
static BrStatus
count_columns(BrContext *context, const BrSparse *matrix, BrSparse *transposed, int64_t *next)
{
	int64_t entries = br_learn_entries(matrix);

	for (int64_t i = 0; i < entries; i++)
	{
		transposed->starts[matrix->ids[i] + 1]++;
		if ((i + 1) % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	for (int row = 0; row < matrix->columns; row++)
	{
		transposed->starts[row + 1] += transposed->starts[row];
		next[row] = transposed->starts[row];
	}
	return BR_OK;
}

/* Rows of the original are met in ascending order, so columns of the result ascend. */
static BrStatus
turn(BrContext *context, const BrSparse *matrix, BrSparse *transposed, int64_t *next)
{
	for (int row = 0; row < matrix->rows; row++)
		for (int64_t i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
		{
			int64_t place = next[matrix->ids[i]]++;

			transposed->ids[place] = row;
			if (matrix->values != NULL)
				transposed->values[place] = matrix->values[i];
			if ((i + 1) % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
				return BR_ERR_CANCELLED;
		}
	return BR_OK;
}

BrStatus
br_learn_sparse_transpose(BrContext *context, const BrSparse *matrix, BrSparse *transposed)
{
	BrStatus status = allocate(context, matrix->columns, matrix->rows, br_learn_entries(matrix),
							   matrix->values != NULL, transposed);
	int64_t *next;

	if (status != BR_OK)
		return status;
	next = br_base_alloc_array(context, (size_t) matrix->columns + 1, sizeof(int64_t));
	status = next != NULL ? count_columns(context, matrix, transposed, next) : BR_ERR_MEMORY;
	if (status == BR_OK)
		status = turn(context, matrix, transposed, next);
	if (status != BR_OK)
		br_learn_sparse_free(context, transposed);
	br_base_free(context, next);
	return status;
}

/* by column, then by value, so that a sum is rounded alike whatever order entries came in */
static int
compare_columns(const void *left, const void *right)
{
	const BrEntry *a = left;
	const BrEntry *b = right;

	if (a->column != b->column)
		return a->column < b->column ? -1 : 1;
	return a->value < b->value ? -1 : a->value > b->value;
}

static BrStatus
check_entries(BrContext *context, const BrEntry *entries, int64_t n, int rows, int columns)
{
	for (int64_t i = 0; i < n; i++)
	{
		if (entries[i].row < 0 || entries[i].row >= rows || entries[i].column < 0 ||
			entries[i].column >= columns || !isfinite(entries[i].value))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"An entry at row %d and column %d is out of range.", entries[i].row,
								entries[i].column);
		if (i % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

/* entries row by row; ends (rows): where each row ends, 0 each at first */
static BrStatus
group_by_row(BrContext *context, const BrEntry *entries, int64_t n, int rows, int64_t *ends,
			 BrEntry *grouped)
{
	int64_t before = 0;

	for (int64_t i = 0; i < n; i++)
	{
		ends[entries[i].row]++;
		if ((i + 1) % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	for (int row = 0; row < rows; row++)
	{
		int64_t size = ends[row];

		ends[row] = before;
		before += size;
	}
	for (int64_t i = 0; i < n; i++)
	{
		grouped[ends[entries[i].row]++] = entries[i];
		if (i % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

/* a row's entries by column, those of one column added up; returns how many are left */
static int64_t
settle_row(BrEntry *entries, int64_t n)
{
	int64_t kept = 0;

	if (n > 1)
		qsort(entries, (size_t) n, sizeof(BrEntry), compare_columns);
	for (int64_t i = 0; i < n;)
	{
		BrEntry place = entries[i];
		double sum = place.value;

		for (i++; i < n && entries[i].column == place.column; i++)
			sum += entries[i].value;
		place.value = (float) sum;
		if (place.value > 0)
			entries[kept++] = place;
	}
	return kept;
}

/* n entries as they stand in the matrix, which has room for them */
static BrStatus
take(BrContext *context, const BrEntry *entries, int64_t n, BrSparse *matrix)
{
	for (int64_t i = 0; i < n; i++)
	{
		if (isinf(entries[i].value))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The sum at row %d and column %d is out of range.", entries[i].row,
								entries[i].column);
		matrix->starts[entries[i].row + 1]++;
		matrix->ids[i] = entries[i].column;
		matrix->values[i] = entries[i].value;
		if ((i + 1) % BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
	}
	for (int row = 0; row < matrix->rows; row++)
		matrix->starts[row + 1] += matrix->starts[row];
	return BR_OK;
}

/* entries: grouped by row, and overwritten */
static BrStatus
settle(BrContext *context, BrEntry *entries, const int64_t *ends, int rows, int columns,
	   BrSparse *matrix)
{
	int64_t kept = 0, since = 0;
	BrStatus status;

	for (int row = 0; row < rows; row++)
	{
		int64_t start = row > 0 ? ends[row - 1] : 0;
		int64_t n = settle_row(entries + start, ends[row] - start);

		if (n > 0)
			memmove(entries + kept, entries + start, sizeof(BrEntry) * (size_t) n);
		kept += n;
		since += ends[row] - start;
		if (since > BETWEEN_QUESTIONS && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		since = since > BETWEEN_QUESTIONS ? 0 : since;
	}
	status = allocate(context, rows, columns, kept, true, matrix);
	if (status == BR_OK)
		status = take(context, entries, kept, matrix);
	if (status != BR_OK)
		br_learn_sparse_free(context, matrix);
	return status;
}

BrStatus
br_learn_sparse_build(BrContext *context, const BrEntry *entries, int64_t n, int rows, int columns,
					  BrSparse *matrix)
{
	BrEntry *grouped = br_base_alloc(context, sizeof(BrEntry) * (size_t) n);
	int64_t *ends = br_base_alloc_array(context, (size_t) rows, sizeof(int64_t));
	BrStatus status = grouped != NULL && ends != NULL ? BR_OK : BR_ERR_MEMORY;

	memset(matrix, 0, sizeof(*matrix));
	if (status == BR_OK)
		status = check_entries(context, entries, n, rows, columns);
	if (status == BR_OK)
		status = group_by_row(context, entries, n, rows, ends, grouped);
	if (status == BR_OK)
		status = settle(context, grouped, ends, rows, columns, matrix);
	br_base_free(context, grouped);
	br_base_free(context, ends);
	return status;
}

double
br_learn_sparse_product(const BrSparse *matrix, int left, int right)
{
	int64_t a = matrix->starts[left];
	int64_t b = matrix->starts[right];
	double sum = 0;

	while (a < matrix->starts[left + 1] && b < matrix->starts[right + 1])
		if (matrix->ids[a] < matrix->ids[b])
			a++;
		else if (matrix->ids[a] > matrix->ids[b])
			b++;
		else
			sum += (double) br_learn_value(matrix, a++) * br_learn_value(matrix, b++);
	return sum;
}
