/*
 * calibrate.c
 *	  How many of its nearest lists a query has to see.
 *
 * The sample asks itself: the exact neighbours of some of its members, and how
 * far behind in the order of lists theirs stand. All products of a block of
 * queries, with the sample and with the centroids, come from the backend.
 */
#include <math.h>
#include <stdlib.h>

#include "core/ann/blocks.h"

/* Of a block. */
#define QUERIES 64

/* See gap_for. */
#define LEAST_DEVIATIONS 3.0

/* Rows between two looks at cancellation. */
#define LOOK_ROWS 1024

typedef struct Calibration
{
	BrContext *context;
	const BrBackend *backend;
	BrMetric metric;
	const float *sample;
	int n;
	int dims;
	const float *centroids;
	int lists;
	const int32_t *lists_of;
	int queries;
	int neighbours;
	int columns;	   /* of a block of the sample */
	float *asked;	   /* (QUERIES, dims): the queries of a block */
	float *products;   /* (QUERIES, columns or lists) */
	float *row_norms;  /* (n): |x|^2 */
	float *list_norms; /* (lists): |c|^2 */
	double mean_norm;  /* root of the mean of row_norms */
	double mean_order; /* of the nearest lists of queries */
	int64_t *ranks;	   /* (lists): how many neighbours are in a list of that rank */
	float *gaps;	   /* (n_gaps): of neighbours' lists */
	int n_gaps;
	BrTopK *tops[QUERIES];
} Calibration;

/* Queries stand evenly in the sample. */
static int32_t
query_row(const Calibration *calibration, int query)
{
	return (int32_t) ((int64_t) query * calibration->n / calibration->queries);
}

/* What orders by the metric, for one query: less is nearer. */
static float
order_value(BrMetric metric, float product, float squared_norm)
{
	return metric == BR_METRIC_L2 ? squared_norm - 2 * product : -product;
}

static void
take_queries(Calibration *calibration, int first, int count)
{
	for (int i = 0; i < count; i++)
	{
		const float *row =
			calibration->sample + (size_t) query_row(calibration, first + i) * calibration->dims;

		for (int j = 0; j < calibration->dims; j++)
			calibration->asked[(size_t) i * calibration->dims + j] = row[j];
	}
}

static void
offer_columns(Calibration *calibration, int first, int count, int start, int columns)
{
	for (int i = 0; i < count; i++)
	{
		const float *products = calibration->products + (size_t) i * columns;
		BrTopK *top = calibration->tops[i];
		int32_t self = query_row(calibration, first + i);
		double threshold = br_ann_top_k_threshold(top);

		for (int column = 0; column < columns; column++)
		{
			double similarity = -(double) order_value(calibration->metric, products[column],
													  calibration->row_norms[start + column]);

			if (similarity < threshold || start + column == self)
				continue;
			br_ann_top_k_offer(top, start + column, similarity);
			threshold = br_ann_top_k_threshold(top);
		}
	}
}

/* The neighbours of a block of queries. */
static BrStatus
find_neighbours(Calibration *calibration, int first, int count)
{
	take_queries(calibration, first, count);
	for (int i = 0; i < count; i++)
	{
		BrStatus status = br_ann_top_k_create(calibration->context, calibration->neighbours,
											  &calibration->tops[i]);

		if (status != BR_OK)
			return status;
	}
	for (int start = 0; start < calibration->n; start += calibration->columns)
	{
		int columns = calibration->n - start < calibration->columns ? calibration->n - start
																	: calibration->columns;

		if (br_base_cancelled(calibration->context))
			return BR_ERR_CANCELLED;
		calibration->backend->multiply_transposed(calibration->asked,
												  calibration->sample +
													  (size_t) start * calibration->dims,
												  count, columns, calibration->dims,
												  calibration->products);
		offer_columns(calibration, first, count, start, columns);
	}
	return BR_OK;
}

/* By what lists stand in order: those of the cosine by the distance, too. */
static BrMetric
list_metric(const Calibration *calibration)
{
	return calibration->metric == BR_METRIC_INNER_PRODUCT ? BR_METRIC_INNER_PRODUCT : BR_METRIC_L2;
}

/* Lists that a query sees before this one. */
static int
rank_of(const Calibration *calibration, const float *products, int32_t list)
{
	BrMetric metric = list_metric(calibration);
	float value = order_value(metric, products[list], calibration->list_norms[list]);
	int rank = 0;

	for (int other = 0; other < calibration->lists; other++)
	{
		float its = order_value(metric, products[other], calibration->list_norms[other]);

		rank += its < value || (its == value && other < list);
	}
	return rank;
}

/* The order of a list as br_ann_view_list gives it, the query being of typical length for inner products. */
static double
list_order(const Calibration *calibration, const float *products, int32_t list,
		   double query_squared_norm)
{
	float value =
		order_value(list_metric(calibration), products[list], calibration->list_norms[list]);

	if (calibration->metric != BR_METRIC_INNER_PRODUCT)
		return sqrt(fmax(0, value + query_squared_norm));
	return query_squared_norm > 0 ? value * calibration->mean_norm / sqrt(query_squared_norm) : 0;
}

/* How much farther the lists of a query's neighbours are than its nearest list. */
static void
note_gaps(Calibration *calibration, const float *products, int query, const BrNeighbour *found,
		  int n)
{
	double squared_norm = calibration->row_norms[query_row(calibration, query)];
	double nearest = INFINITY;

	for (int list = 0; list < calibration->lists; list++)
		nearest = fmin(nearest, list_order(calibration, products, list, squared_norm));
	calibration->mean_order += nearest / calibration->queries;
	for (int i = 0; i < n; i++)
		calibration->gaps[calibration->n_gaps++] =
			(float) (list_order(calibration, products, calibration->lists_of[found[i].id],
								squared_norm) -
					 nearest);
}

/* Of a block of queries, some at a time: lists may be many. */
static BrStatus
count_ranks(Calibration *calibration, int first, int count)
{
	int lists = calibration->lists;
	int step = br_ann_block_rows(lists, calibration->dims);

	for (int i = 0; i < count; i++)
	{
		const float *products = calibration->products + (size_t) (i % step) * lists;
		int n;
		const BrNeighbour *found = br_ann_top_k_sorted(calibration->tops[i], &n);

		if (i % step == 0)
		{
			if (br_base_cancelled(calibration->context))
				return BR_ERR_CANCELLED;
			calibration->backend->multiply_transposed(calibration->asked +
														  (size_t) i * calibration->dims,
													  calibration->centroids,
													  count - i < step ? count - i : step, lists,
													  calibration->dims, calibration->products);
		}
		for (int j = 0; j < n; j++)
			calibration
				->ranks[rank_of(calibration, products, calibration->lists_of[found[j].id])]++;
		note_gaps(calibration, products, first + i, found, n);
	}
	return BR_OK;
}

static BrStatus
measure_lengths(Calibration *calibration)
{
	int dims = calibration->dims;

	for (int row = 0; row < calibration->n; row++)
	{
		if (row % LOOK_ROWS == 0 && br_base_cancelled(calibration->context))
			return BR_ERR_CANCELLED;
		calibration->row_norms[row] =
			br_ann_squared_length(calibration->sample + (size_t) row * dims, dims);
	}
	for (int row = 0; row < calibration->n; row++)
		calibration->mean_norm += (double) calibration->row_norms[row] / calibration->n;
	calibration->mean_norm = sqrt(calibration->mean_norm);
	for (int list = 0; list < calibration->lists; list++)
		calibration->list_norms[list] =
			br_ann_squared_length(calibration->centroids + (size_t) list * dims, dims);
	return BR_OK;
}

static BrStatus
run(Calibration *calibration)
{
	BrStatus status = measure_lengths(calibration);

	for (int first = 0; first < calibration->queries && status == BR_OK; first += QUERIES)
	{
		int left = calibration->queries - first;
		int count = left < QUERIES ? left : QUERIES;

		status = find_neighbours(calibration, first, count);
		if (status == BR_OK)
			status = count_ranks(calibration, first, count);
		for (int i = 0; i < count; i++)
		{
			br_ann_top_k_destroy(calibration->tops[i]);
			calibration->tops[i] = NULL;
		}
	}
	return status;
}

/* The smallest share of lists that holds such a share of the neighbours. */
static float
share_for(const Calibration *calibration, double recall)
{
	double all = 0;
	double seen = 0;

	for (int rank = 0; rank < calibration->lists; rank++)
		all += (double) calibration->ranks[rank];
	for (int rank = 0; rank < calibration->lists; rank++)
	{
		seen += (double) calibration->ranks[rank];
		if (seen >= recall * all)
			return (float) (rank + 1) / (float) calibration->lists;
	}
	return 1;
}

static int
compare_floats(const void *left, const void *right)
{
	float a = *(const float *) left;
	float b = *(const float *) right;

	return (a > b) - (a < b);
}

/*
 * The smallest gap that such a share of the neighbours do not exceed; gaps are
 * sorted. Members of the sample that stand in tight clusters find all of their
 * neighbours in one list. For a query from anywhere a row at distance r from its
 * centroid is nearer or farther than that by some r z / sqrt(dims), z being
 * standard normal, because directions in many dimensions are nearly orthogonal:
 * no gap is less than that of a row in some hundreds.
 */
static float
gap_for(const Calibration *calibration, double recall)
{
	double place = ceil(recall * calibration->n_gaps);
	double least = LEAST_DEVIATIONS * calibration->mean_order / sqrt(calibration->dims);

	if (calibration->n_gaps == 0)
		return INFINITY;
	if (calibration->metric == BR_METRIC_INNER_PRODUCT)
		least = 0;
	return (float) fmax(least, calibration->gaps[place < 1 ? 0 : (int) place - 1]);
}

BrStatus
br_ann_calibrate(BrContext *context, const BrBackend *backend, BrMetric metric, const float *sample,
				 int n, int dims, const float *centroids, int lists, const int32_t *lists_of,
				 int queries, int neighbours, const double *recalls, int n_recalls, float *shares,
				 float *gaps)
{
	int columns = br_ann_block_rows(QUERIES, dims);
	int widest = columns > lists ? columns : lists;
	size_t floats = (size_t) QUERIES * ((size_t) dims + (size_t) widest) + (size_t) n +
		(size_t) lists + (size_t) queries * (size_t) neighbours;
	Calibration calibration = {.context = context,
							   .backend = backend,
							   .metric = metric,
							   .sample = sample,
							   .n = n,
							   .dims = dims,
							   .centroids = centroids,
							   .lists = lists,
							   .lists_of = lists_of,
							   .queries = queries,
							   .neighbours = neighbours,
							   .columns = columns};
	BrStatus status;

	if (queries < 1 || queries > n || neighbours < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d of %d rows cannot be queries for %d neighbours.", queries, n,
							neighbours);
	calibration.ranks =
		br_base_alloc_array(context, 1, (size_t) lists * sizeof(int64_t) + floats * sizeof(float));
	if (calibration.ranks == NULL)
		return BR_ERR_MEMORY;
	calibration.asked = (float *) (calibration.ranks + lists);
	calibration.products = calibration.asked + (size_t) QUERIES * (size_t) dims;
	calibration.row_norms = calibration.products + (size_t) QUERIES * (size_t) widest;
	calibration.list_norms = calibration.row_norms + n;
	calibration.gaps = calibration.list_norms + lists;
	status = run(&calibration);
	qsort(calibration.gaps, (size_t) calibration.n_gaps, sizeof(float), compare_floats);
	for (int i = 0; i < n_recalls && status == BR_OK; i++)
	{
		shares[i] = share_for(&calibration, recalls[i]);
		gaps[i] = gap_for(&calibration, recalls[i]);
	}
	br_base_free(context, calibration.ranks);
	return status;
}
