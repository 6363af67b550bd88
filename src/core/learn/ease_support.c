/*
 * ease_support.c
 *	  The Gram matrix among a hundred columns, for each of many hundreds.
 *
 * All of G would take memory in proportion to the pairs of every row. Instead
 * each support goes through the rows in which its columns occur. Most columns
 * occur in few rows, and a few in most of them: these, the heads, would be
 * gone through for every support that has one, so what they have in common is
 * kept in a matrix that is as large as the entries are, and only rows with a
 * column that is no head are visited.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/learn/ease_int.h"
#include "core/math/br_math.h"

/* How many rows of a column ahead of its own one is fetched into the cache. */
#define AHEAD 8

typedef struct Found
{
	double value;
	int32_t place; /* in the support */
} Found;

struct BrEaseSupport
{
	const BrEaseGram *gram;
	int n_heads;
	int32_t *head;		 /* (columns): its number among heads, or -1 */
	double *between;	 /* G among heads, a packed lower triangle */
	int32_t *place;		 /* (columns): 1 + where it stands in the support, or 0 */
	int32_t round;		 /* supports so far */
	int32_t *visited[2]; /* (rows) of each part: the last support that saw the row */
	int32_t *met;		 /* (most + 1): where in a row the support's columns are */
	Found *found;		 /* (most): what a row has of the support */
	Found *heads;		 /* (most): the heads among it */
};

typedef struct Count
{
	int64_t rows;
	int32_t column;
} Count;

/* the more frequent first, ties by number */
static int
compare_counts(const void *left, const void *right)
{
	const Count *a = left;
	const Count *b = right;

	if (a->rows != b->rows)
		return a->rows > b->rows ? -1 : 1;
	return a->column < b->column ? -1 : a->column > b->column;
}

static BrStatus
choose_heads(BrContext *context, BrEaseSupport *support)
{
	const BrEaseGram *gram = support->gram;
	Count *counts = br_base_alloc_array(context, (size_t) gram->n + 1, sizeof(Count));
	double entries = 0;

	if (counts == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < gram->n; i++)
	{
		counts[i].column = i;
		for (int p = 0; p < gram->n_parts; p++)
			counts[i].rows +=
				gram->parts[p].columns.starts[i + 1] - gram->parts[p].columns.starts[i];
		entries += (double) counts[i].rows;
		support->head[i] = -1;
	}
	if (gram->n > 0)
		qsort(counts, (size_t) gram->n, sizeof(Count), compare_counts);
	support->n_heads = (int) fmin(gram->n, 2 * sqrt(entries));
	for (int h = 0; h < support->n_heads; h++)
		support->head[counts[h].column] = h;
	br_base_free(context, counts);
	return BR_OK;
}

/* Adds the products of one row's heads, of which somebody who has everything has thousands. */
static BrStatus
add_between(BrEaseSupport *support, const BrEasePart *part, int row, BrEasePace *pace,
			int32_t *found, double *values)
{
	int64_t length = part->rows->starts[row + 1] - part->rows->starts[row];
	int n = 0;

	for (int64_t i = part->rows->starts[row]; i < part->rows->starts[row + 1]; i++)
	{
		int32_t head = support->head[part->rows->ids[i]];

		if (head < 0)
			continue;
		found[n] = head;
		values[n++] = (double) br_learn_value(part->rows, i);
	}
	for (int a = 0; a < n; a++)
	{
		for (int b = 0; b < n; b++)
			if (found[b] < found[a])
				support->between[BR_MATH_PACKED(found[a]) + (size_t) found[b]] +=
					part->weight * values[a] * values[b];
		if (br_learn_ease_stops(pace, n))
			return BR_ERR_CANCELLED;
	}
	return br_learn_ease_stops(pace, length + 1) ? BR_ERR_CANCELLED : BR_OK;
}

static BrStatus
fill_between(BrContext *context, BrEaseSupport *support)
{
	size_t n = (size_t) support->n_heads;
	int32_t *found = br_base_alloc_array(context, n + 1, sizeof(int32_t));
	double *values = br_base_alloc_array(context, n + 1, sizeof(double));
	BrStatus status = found != NULL && values != NULL ? BR_OK : BR_ERR_MEMORY;
	BrEasePace pace = {context, 0};

	for (int p = 0; status == BR_OK && p < support->gram->n_parts; p++)
	{
		const BrEasePart *part = &support->gram->parts[p];

		for (int row = 0; status == BR_OK && row < part->rows->rows; row++)
			status = add_between(support, part, row, &pace, found, values);
	}
	br_base_free(context, found);
	br_base_free(context, values);
	return status;
}

void
br_learn_ease_support_end(BrContext *context, BrEaseSupport *support)
{
	if (support == NULL)
		return;
	br_base_free(context, support->head);
	br_base_free(context, support->between);
	br_base_free(context, support->place);
	br_base_free(context, support->met);
	br_base_free(context, support->found);
	br_base_free(context, support->heads);
	for (int p = 0; p < BR_EASE_PARTS; p++)
		br_base_free(context, support->visited[p]);
	br_base_free(context, support);
}

static BrStatus
allocate(BrContext *context, BrEaseSupport *support, size_t most)
{
	const BrEaseGram *gram = support->gram;

	support->head = br_base_alloc_array(context, (size_t) gram->n + 1, sizeof(int32_t));
	support->place = br_base_alloc_array(context, (size_t) gram->n + 1, sizeof(int32_t));
	support->met = br_base_alloc_array(context, most + 1, sizeof(int32_t));
	support->found = br_base_alloc_array(context, most, sizeof(Found));
	support->heads = br_base_alloc_array(context, most, sizeof(Found));
	for (int p = 0; p < gram->n_parts; p++)
	{
		size_t rows = (size_t) gram->parts[p].rows->rows;

		support->visited[p] = br_base_alloc_array(context, rows + 1, sizeof(int32_t));
		if (support->visited[p] == NULL)
			return BR_ERR_MEMORY;
	}
	return support->head != NULL && support->place != NULL && support->met != NULL &&
			support->found != NULL && support->heads != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

BrStatus
br_learn_ease_support_begin(BrContext *context, const BrEaseGram *gram, int most,
							BrEaseSupport **made)
{
	BrEaseSupport *support = br_base_alloc_array(context, 1, sizeof(BrEaseSupport));
	BrStatus status;

	*made = NULL;
	if (support == NULL)
		return BR_ERR_MEMORY;
	support->gram = gram;
	status = allocate(context, support, (size_t) most);
	if (status == BR_OK)
		status = choose_heads(context, support);
	if (status == BR_OK)
	{
		size_t length = BR_MATH_PACKED(support->n_heads);

		support->between = br_base_alloc_array(context, length + 1, sizeof(double));
		status = support->between != NULL ? fill_between(context, support) : BR_ERR_MEMORY;
	}
	if (status != BR_OK)
	{
		br_learn_ease_support_end(context, support);
		return status;
	}
	*made = support;
	return BR_OK;
}

/*
 * What a row has of the support, those that are no heads first, which it
 * returns the number of; n: of all.
 */
static int
find(BrEaseSupport *support, const BrSparse *rows, int row, int *n)
{
	int64_t start = rows->starts[row];
	int length = (int) (rows->starts[row + 1] - start);
	int n_heads = 0;
	int others = 0;

	/* most rows have one of the support, where is hard to foretell: no branch */
	*n = 0;
	for (int i = 0; i < length; i++)
	{
		support->met[*n] = i;
		*n += support->place[rows->ids[start + i]] != 0;
	}
	if (*n < 2)
		return 0;
	for (int i = 0; i < *n; i++)
	{
		int64_t at = start + support->met[i];
		bool is_head = support->head[rows->ids[at]] >= 0;
		Found *found = is_head ? &support->heads[n_heads++] : &support->found[others++];

		found->place = support->place[rows->ids[at]] - 1;
		found->value = (double) br_learn_value(rows, at);
	}
	memcpy(support->found + others, support->heads, (size_t) n_heads * sizeof(Found));
	return others;
}

/*
 * Adds a row's products but the squares and those between heads; returns how
 * many steps it took.
 */
static int64_t
add_row(BrEaseSupport *support, const BrEasePart *part, int row, double *matrix, int stride)
{
	int n;
	int others = find(support, part->rows, row, &n);

	for (int a = 0; a < others; a++)
	{
		double value = part->weight * support->found[a].value;
		int32_t at = support->found[a].place;

		for (int b = a + 1; b < n; b++)
		{
			int32_t other = support->found[b].place;
			size_t place = at < other ? (size_t) at * (size_t) stride + (size_t) other
									  : (size_t) other * (size_t) stride + (size_t) at;

			matrix[place] += value * support->found[b].value;
		}
	}
	return part->rows->starts[row + 1] - part->rows->starts[row] + (int64_t) others * n + 1;
}

static BrStatus
add_column(BrEaseSupport *support, int p, int32_t column, BrEasePace *pace, double *matrix,
		   int stride)
{
	const BrEasePart *part = &support->gram->parts[p];
	const BrSparse *columns = &part->columns;

	for (int64_t c = columns->starts[column]; c < columns->starts[column + 1]; c++)
	{
		int32_t row = columns->ids[c];

		if (c + 2 * AHEAD < columns->starts[column + 1])
		{
			__builtin_prefetch(&part->rows->starts[columns->ids[c + 2 * AHEAD]]);
			__builtin_prefetch(&support->visited[p][columns->ids[c + 2 * AHEAD]]);
			__builtin_prefetch(part->rows->ids + part->rows->starts[columns->ids[c + AHEAD]]);
		}
		if (support->visited[p][row] == support->round)
			continue;
		support->visited[p][row] = support->round;
		if (br_learn_ease_stops(pace, add_row(support, part, row, matrix, stride)))
			return BR_ERR_CANCELLED;
	}
	return BR_OK;
}

/* The squares, and what heads have in common. */
static void
copy_known(const BrEaseSupport *support, const int32_t *columns, int n, double *matrix, int stride)
{
	for (int a = 0; a < n; a++)
	{
		int32_t left = support->head[columns[a]];

		matrix[(size_t) a * (size_t) stride + (size_t) a] = support->gram->diagonal[columns[a]];
		if (left < 0)
			continue;
		for (int b = a + 1; b < n; b++)
		{
			int32_t right = support->head[columns[b]];
			int32_t larger = left > right ? left : right;
			int32_t smaller = left > right ? right : left;

			if (right >= 0)
				matrix[(size_t) a * (size_t) stride + (size_t) b] =
					support->between[BR_MATH_PACKED(larger) + (size_t) smaller];
		}
	}
}

BrStatus
br_learn_ease_support_gram(BrEaseSupport *support, const int32_t *columns, int n, BrEasePace *pace,
						   double *matrix, int stride)
{
	BrStatus status = BR_OK;

	support->round++;
	for (int i = 0; i < n; i++)
		support->place[columns[i]] = i + 1;
	for (int i = 0; status == BR_OK && i < n; i++)
		for (int p = 0; status == BR_OK && p < support->gram->n_parts; p++)
			if (support->head[columns[i]] < 0)
				status = add_column(support, p, columns[i], pace, matrix, stride);
	copy_known(support, columns, n, matrix, stride);
	for (int i = 0; i < n; i++)
		support->place[columns[i]] = 0;
	return status;
}
