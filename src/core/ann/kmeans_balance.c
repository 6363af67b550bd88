/*
 * kmeans_balance.c
 *	  Dividing lists that are much longer than the average.
 *
 * A search reads whole lists, and how long it takes depends on the longest
 * that it meets. A long list is cut across the direction in which its rows
 * vary most, which some steps of the power method find; the second half takes
 * the place of the shortest list, whose rows go to its neighbours.
 */
#include <math.h>
#include <string.h>

#include "core/ann/kmeans_int.h"

/* In average lengths: what is longer is divided, what is not longer may be given up. */
#define LONG 3.0
#define SHORT 0.5

#define POWER_STEPS 4

/* Rows between two looks at cancellation. */
#define LOOK_ROWS 1024

/* A list that is being divided; vectors of dims in one allocation. */
typedef struct Division
{
	const BrKmeans *kmeans;
	int list;
	float *direction;
	double *sum;   /* of what a pass collects */
	double *first; /* sum of the rows before the cut */
} Division;

/* <x - c, direction> */
static double
project(const Division *division, const float *row)
{
	const BrKmeans *kmeans = division->kmeans;
	const float *centroid = kmeans->centroids + (size_t) division->list * kmeans->dims;
	double sum = 0;

	for (int i = 0; i < kmeans->dims; i++)
		sum += ((double) row[i] - (double) centroid[i]) * (double) division->direction[i];
	return sum;
}

/* Now and then, on the way through the rows. */
static bool
cancelled(const Division *division, int32_t at)
{
	return at % LOOK_ROWS == 0 && br_base_cancelled(division->kmeans->context);
}

/* One step of the power method on the covariance; false where there is none. */
static bool
turn_direction(Division *division)
{
	int dims = division->kmeans->dims;
	double square = 0;

	for (int i = 0; i < dims; i++)
		square += division->sum[i] * division->sum[i];
	if (!(square > 0) || !isfinite(square))
		return false;
	for (int i = 0; i < dims; i++)
		division->direction[i] = (float) (division->sum[i] / sqrt(square));
	return true;
}

/* Adds up the rows, less the centroid, times their projections. */
static BrStatus
collect(Division *division)
{
	const BrKmeans *kmeans = division->kmeans;
	const float *centroid = kmeans->centroids + (size_t) division->list * kmeans->dims;

	memset(division->sum, 0, sizeof(double) * (size_t) kmeans->dims);
	for (int32_t at = kmeans->starts[division->list]; at < kmeans->starts[division->list + 1]; at++)
	{
		const float *row = br_ann_sample_row(kmeans, kmeans->rows[at]);
		double projection = project(division, row);

		if (cancelled(division, at))
			return BR_ERR_CANCELLED;
		for (int i = 0; i < kmeans->dims; i++)
			division->sum[i] += projection * ((double) row[i] - (double) centroid[i]);
	}
	return BR_OK;
}

/* The sums of the rows on either side, and how many are on the first. */
static BrStatus
cut(Division *division, int32_t *before)
{
	const BrKmeans *kmeans = division->kmeans;

	*before = 0;
	memset(division->sum, 0, sizeof(double) * (size_t) kmeans->dims);
	memset(division->first, 0, sizeof(double) * (size_t) kmeans->dims);
	for (int32_t at = kmeans->starts[division->list]; at < kmeans->starts[division->list + 1]; at++)
	{
		const float *row = br_ann_sample_row(kmeans, kmeans->rows[at]);
		bool first = project(division, row) < 0;
		double *sum = first ? division->first : division->sum;

		if (cancelled(division, at))
			return BR_ERR_CANCELLED;
		*before += first;
		for (int i = 0; i < kmeans->dims; i++)
			sum[i] += (double) row[i];
	}
	return BR_OK;
}

static void
set_centroid(const BrKmeans *kmeans, int list, const double *sum, int32_t rows)
{
	float *centroid = kmeans->centroids + (size_t) list * kmeans->dims;

	for (int i = 0; i < kmeans->dims; i++)
		centroid[i] = (float) (sum[i] / rows);
	kmeans->centroid_norms[list] = br_ann_squared_length(centroid, kmeans->dims);
}

/* From the centroid to the row farthest from it; false where all rows are alike. */
static bool
begin_direction(Division *division)
{
	const BrKmeans *kmeans = division->kmeans;
	const float *centroid = kmeans->centroids + (size_t) division->list * kmeans->dims;
	int32_t farthest = kmeans->rows[kmeans->starts[division->list]];
	const float *row;

	for (int32_t at = kmeans->starts[division->list]; at < kmeans->starts[division->list + 1]; at++)
		if (kmeans->distances[kmeans->rows[at]] > kmeans->distances[farthest])
			farthest = kmeans->rows[at];
	row = br_ann_sample_row(kmeans, farthest);
	for (int i = 0; i < kmeans->dims; i++)
		division->sum[i] = (double) row[i] - (double) centroid[i];
	return turn_direction(division);
}

/* Divides a list between itself and `other`; *done is false where its rows are all alike. */
static BrStatus
divide(Division *division, int other, bool *done)
{
	const BrKmeans *kmeans = division->kmeans;
	int32_t length = br_ann_list_length(kmeans, division->list);
	int32_t before;
	BrStatus status = BR_OK;

	*done = false;
	if (!begin_direction(division))
		return BR_OK;
	for (int step = 0; step < POWER_STEPS; step++)
	{
		status = collect(division);
		if (status != BR_OK)
			return status;
		if (!turn_direction(division))
			return BR_OK;
	}
	status = cut(division, &before);
	if (status != BR_OK || before == 0 || before == length)
		return status;
	set_centroid(kmeans, division->list, division->first, before);
	set_centroid(kmeans, other, division->sum, length - before);
	*done = true;
	return BR_OK;
}

/* The shortest list that is short and not yet spoken for, else -1. */
static int
find_short(const BrKmeans *kmeans, const uint8_t *used, double average)
{
	int shortest = -1;

	for (int list = 0; list < kmeans->lists; list++)
		if (!used[list] && br_ann_list_length(kmeans, list) <= SHORT * average &&
			(shortest < 0 ||
			 br_ann_list_length(kmeans, list) < br_ann_list_length(kmeans, shortest)))
			shortest = list;
	return shortest;
}

/* The longest list that is long and was not tried, else -1. */
static int
find_long(const BrKmeans *kmeans, const uint8_t *used, double average)
{
	int longest = -1;

	for (int list = 0; list < kmeans->lists; list++)
		if (!used[list] && br_ann_list_length(kmeans, list) > LONG * average &&
			(longest < 0 || br_ann_list_length(kmeans, list) > br_ann_list_length(kmeans, longest)))
			longest = list;
	return longest;
}

BrStatus
br_ann_divide_long_lists(BrKmeans *kmeans, int *divided)
{
	BrContext *context = kmeans->context;
	double average = (double) kmeans->n / kmeans->lists;
	size_t dims = (size_t) kmeans->dims;
	Division division = {.kmeans = kmeans};
	BrStatus status = BR_OK;
	uint8_t *used; /* (lists): tried, or given up */

	*divided = 0;
	division.sum =
		br_base_alloc_array(context, 1,
							dims * (2 * sizeof(double) + sizeof(float)) + (size_t) kmeans->lists);
	if (division.sum == NULL)
		return BR_ERR_MEMORY;
	division.first = division.sum + dims;
	division.direction = (float *) (division.first + dims);
	used = (uint8_t *) (division.direction + dims);
	while (status == BR_OK)
	{
		int other = find_short(kmeans, used, average);
		bool done;

		division.list = find_long(kmeans, used, average);
		if (division.list < 0 || other < 0)
			break;
		used[division.list] = 1;
		status = divide(&division, other, &done);
		if (status == BR_OK && done)
		{
			used[other] = 1;
			(*divided)++;
		}
	}
	br_base_free(context, division.sum);
	return status;
}
