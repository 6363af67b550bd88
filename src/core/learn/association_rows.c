/*
 * association_rows.c
 *	  Rows of a matrix with equal ones merged, and which columns share rows.
 *
 * People own the same few sets: of Steam's 29,634 histories 2,754 differ. A
 * hash table finds the equal ones in one pass that can be cancelled. W is kept
 * for pairs that share rows: on Steam those are 8 % of all, and without
 * weights of the others no hit rate changes by more than .0002.
 */
#include <string.h>

#include "core/learn/association_int.h"

/* entries between two questions whether to stop */
#define CHUNK (INT64_C(1) << 20)

#define FNV_START UINT64_C(0xCBF29CE484222325)
#define FNV_FACTOR UINT64_C(0x100000001B3)

void
br_learn_association_rows_free(BrContext *context, BrAssociationRows *rows)
{
	br_base_free(context, rows->starts);
	br_base_free(context, rows->ids);
	br_base_free(context, rows->counts);
	br_base_free(context, rows->alone);
	br_base_free(context, rows->met);
	memset(rows, 0, sizeof(*rows));
}

void
br_learn_association_pairs_free(BrContext *context, BrAssociationPairs *pairs)
{
	br_base_free(context, pairs->starts);
	br_base_free(context, pairs->ids);
	memset(pairs, 0, sizeof(*pairs));
}

static BrStatus
allocate(BrContext *context, const BrSparse *matrix, BrAssociationRows *rows)
{
	int64_t n = matrix->rows;

	memset(rows, 0, sizeof(*rows));
	rows->columns = matrix->columns;
	rows->starts = br_learn_association_room(context, n + 1, sizeof(int64_t));
	rows->ids = br_learn_association_room(context, br_learn_entries(matrix), sizeof(int32_t));
	rows->counts = br_learn_association_room(context, n, sizeof(double));
	rows->alone = br_base_alloc_array(context, (size_t) matrix->columns, sizeof(double));
	rows->met = br_base_alloc_array(context, (size_t) matrix->columns, sizeof(double));
	if (rows->starts == NULL || rows->ids == NULL || rows->counts == NULL || rows->alone == NULL ||
		rows->met == NULL)
		return BR_ERR_MEMORY;
	rows->starts[0] = 0;
	return BR_OK;
}

static uint64_t
hash(const int32_t *ids, int64_t n)
{
	uint64_t value = FNV_START;

	for (int64_t i = 0; i < n; i++)
		value = (value ^ (uint64_t) ids[i]) * FNV_FACTOR;
	return value ^ value >> 29;
}

/* Counts a row of two columns and more: as one of those there, or as a new one. */
static void
count_row(BrAssociationRows *rows, int64_t *table /* (mask + 1), row + 1 */, uint64_t mask,
		  const int32_t *ids, int64_t n)
{
	uint64_t place = hash(ids, n) & mask;
	int64_t row;

	for (; (row = table[place] - 1) >= 0; place = (place + 1) & mask)
	{
		int64_t start = rows->starts[row];

		if (rows->starts[row + 1] - start == n &&
			memcmp(rows->ids + start, ids, sizeof(int32_t) * (size_t) n) == 0)
		{
			rows->counts[row]++;
			return;
		}
	}
	row = rows->rows++;
	table[place] = row + 1;
	memcpy(rows->ids + rows->starts[row], ids, sizeof(int32_t) * (size_t) n);
	rows->starts[row + 1] = rows->starts[row] + n;
	rows->counts[row] = 1;
}

static BrStatus
count_rows(BrContext *context, const BrSparse *matrix, BrAssociationRows *rows, int64_t *table,
		   uint64_t mask)
{
	int64_t asked = 0;

	for (int row = 0; row < matrix->rows; row++)
	{
		int64_t start = matrix->starts[row];
		int64_t n = matrix->starts[row + 1] - start;

		for (int64_t i = start; i < start + n; i++)
			rows->met[matrix->ids[i]]++;
		if (n == 1)
			rows->alone[matrix->ids[start]]++;
		else if (n > 1)
			count_row(rows, table, mask, matrix->ids + start, n);
		asked += n + 1;
		if (asked >= CHUNK)
		{
			asked = 0;
			if (br_base_cancelled(context))
				return BR_ERR_CANCELLED;
		}
	}
	return BR_OK;
}

BrStatus
br_learn_association_merge(BrContext *context, const BrSparse *matrix, BrAssociationRows *rows)
{
	BrStatus status = allocate(context, matrix, rows);
	uint64_t places = 16;
	int64_t *table = NULL;

	while (places < 2 * (uint64_t) matrix->rows)
		places *= 2;
	if (status == BR_OK)
	{
		table = br_learn_association_room(context, (int64_t) places, sizeof(int64_t));
		status = table == NULL
			? BR_ERR_MEMORY
			: br_learn_association_clear(context, table, places * sizeof(int64_t));
	}
	if (status == BR_OK)
		status = count_rows(context, matrix, rows, table, places - 1);
	br_base_free(context, table);
	if (status != BR_OK)
		br_learn_association_rows_free(context, rows);
	return status;
}

/* The rows by column: which merged rows hold it. */
typedef struct Holders
{
	int64_t *starts; /* (columns + 1) */
	int64_t *rows;
	int64_t *next;	  /* (columns): where the next of its rows, or pairs, goes */
	double *together; /* (columns), of one column with all; 0 between columns */
	int32_t *met;	  /* (columns): those with which it is not 0 */
	int64_t work;
} Holders;

static void
release_holders(BrContext *context, Holders *holders)
{
	br_base_free(context, holders->starts);
	br_base_free(context, holders->rows);
	br_base_free(context, holders->next);
	br_base_free(context, holders->together);
	br_base_free(context, holders->met);
}

static BrStatus
find_holders(BrContext *context, const BrAssociationRows *rows, Holders *holders)
{
	size_t columns = (size_t) rows->columns;
	int64_t entries = rows->starts[rows->rows];

	memset(holders, 0, sizeof(*holders));
	holders->starts = br_base_alloc_array(context, columns + 1, sizeof(int64_t));
	holders->rows = br_learn_association_room(context, entries, sizeof(int64_t));
	holders->next = br_base_alloc_array(context, columns, sizeof(int64_t));
	holders->together = br_base_alloc_array(context, columns, sizeof(double));
	holders->met = br_base_alloc_array(context, columns, sizeof(int32_t));
	if (holders->starts == NULL || holders->rows == NULL || holders->next == NULL ||
		holders->together == NULL || holders->met == NULL)
		return BR_ERR_MEMORY;
	for (int64_t i = 0; i < entries; i++)
	{
		if (i % CHUNK == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		holders->starts[rows->ids[i] + 1]++;
	}
	for (size_t column = 0; column < columns; column++)
	{
		holders->starts[column + 1] += holders->starts[column];
		holders->next[column] = holders->starts[column];
	}
	for (int64_t row = 0; row < rows->rows; row++)
	{
		for (int64_t i = rows->starts[row]; i < rows->starts[row + 1]; i++)
			holders->rows[holders->next[rows->ids[i]]++] = row;
		holders->work += rows->starts[row + 1] - rows->starts[row];
		if (holders->work >= CHUNK)
		{
			holders->work = 0;
			if (br_base_cancelled(context))
				return BR_ERR_CANCELLED;
		}
	}
	return BR_OK;
}

/* Counts the rows that the column shares with each other; *n: with how many, in holders->met. */
static BrStatus
meet_others(BrContext *context, const BrAssociationRows *rows, Holders *holders, int column,
			int64_t *n)
{
	*n = 0;
	for (int64_t h = holders->starts[column]; h < holders->starts[column + 1]; h++)
	{
		int64_t row = holders->rows[h];

		for (int64_t i = rows->starts[row]; i < rows->starts[row + 1]; i++)
		{
			int32_t other = rows->ids[i];

			if (holders->together[other] == 0)
				holders->met[(*n)++] = other;
			holders->together[other] += rows->counts[row];
		}
		holders->work += rows->starts[row + 1] - rows->starts[row];
		if (holders->work >= CHUNK)
		{
			holders->work = 0;
			if (br_base_cancelled(context))
				return BR_ERR_CANCELLED;
		}
	}
	holders->together[column] = 0;
	return BR_OK;
}

/*
 * One pass over the columns. Without ids it counts the pairs of each; with them
 * it puts the column at the end of the list of each of its others, which so
 * ascends.
 */
static BrStatus
pass_columns(BrContext *context, const BrAssociationRows *rows, int least, Holders *holders,
			 BrAssociationPairs *pairs)
{
	for (int column = 0; column < rows->columns; column++)
	{
		int64_t n;
		BrStatus status = meet_others(context, rows, holders, column, &n);

		if (status != BR_OK)
			return status;
		for (int64_t i = 0; i < n; i++)
		{
			int32_t other = holders->met[i];

			if (holders->together[other] >= least && pairs->ids != NULL)
				pairs->ids[holders->next[other]++] = column;
			else if (holders->together[other] >= least)
				pairs->starts[column + 1]++;
			holders->together[other] = 0;
		}
	}
	return BR_OK;
}

static BrStatus
check_memory(BrContext *context, int columns, int64_t pairs, size_t limit)
{
	size_t needed = br_learn_association_memory(columns, pairs);

	if (limit == 0 || needed <= limit)
		return BR_OK;
	return br_base_fail(context, BR_ERR_LIMIT,
						"Associations of %lld pairs of %d columns take %zu bytes, above the limit "
						"of %zu; ask for more rows together.",
						(long long) pairs, columns, needed, limit);
}

static BrStatus
fill_pairs(BrContext *context, const BrAssociationRows *rows, int least, size_t memory_limit,
		   Holders *holders, BrAssociationPairs *pairs)
{
	BrStatus status = pass_columns(context, rows, least, holders, pairs);

	if (status != BR_OK)
		return status;
	for (int column = 0; column < rows->columns; column++)
	{
		pairs->starts[column + 1] += pairs->starts[column];
		holders->next[column] = pairs->starts[column];
	}
	status = check_memory(context, rows->columns, pairs->starts[rows->columns], memory_limit);
	if (status != BR_OK)
		return status;
	pairs->ids = br_learn_association_room(context, pairs->starts[rows->columns], sizeof(int32_t));
	if (pairs->ids == NULL)
		return BR_ERR_MEMORY;
	return pass_columns(context, rows, least, holders, pairs);
}

BrStatus
br_learn_association_pairs(BrContext *context, const BrAssociationRows *rows, int least_together,
						   size_t memory_limit, BrAssociationPairs *pairs)
{
	Holders holders;
	BrStatus status = find_holders(context, rows, &holders);

	memset(pairs, 0, sizeof(*pairs));
	if (status == BR_OK)
	{
		pairs->starts = br_base_alloc_array(context, (size_t) rows->columns + 1, sizeof(int64_t));
		if (pairs->starts == NULL)
			status = BR_ERR_MEMORY;
	}
	if (status == BR_OK)
		status = fill_pairs(context, rows, least_together, memory_limit, &holders, pairs);
	release_holders(context, &holders);
	if (status != BR_OK)
		br_learn_association_pairs_free(context, pairs);
	return status;
}
