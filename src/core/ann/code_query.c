/*
 * code_query.c
 *	  A query as codes are compared with it, and the choice of kernels.
 *
 * The product of a query with bits is a sum over groups of four of them, each
 * of which has only 16 values. These stand in tables of bytes with one
 * step for all groups, so that the sum is one of integers.
 */
#include <math.h>
#include <string.h>

#include "core/ann/ann_int.h"
#include "core/math/br_math.h"

#define GROUP 4

/* Asking the processor costs a load and a test, so nothing needs to be remembered. */
static const BrCodeKernels *
best_kernels(void)
{
	const BrCodeKernels *kernels = br_ann_code_kernels_avx512();

	if (kernels == NULL)
		kernels = br_ann_code_kernels_avx2();
	return kernels != NULL ? kernels : br_ann_code_kernels_portable();
}

const char *
br_ann_instruction_set(void)
{
	return best_kernels()->name;
}

/* ---- the query ---- */

/* What the bits of a pair of coordinates add to the least product with them. */
static void
fill_pair(float first, float second, float *above /* (4) */)
{
	/* twice the number where the bit has its sign, else 0 */
	float first_set = fabsf(first) + first;
	float first_clear = fabsf(first) - first;
	float second_set = fabsf(second) + second;
	float second_clear = fabsf(second) - second;

	above[0] = first_clear + second_clear;
	above[1] = first_set + second_clear;
	above[2] = first_clear + second_set;
	above[3] = first_set + second_set;
}

static void
fill_table(const float *group, float per_step, uint8_t *table /* (16) */)
{
	float low[4];
	float high[4];

	fill_pair(group[0], group[1], low);
	fill_pair(group[2], group[3], high);
	for (int code = 0; code < 16; code++)
		table[code] = (uint8_t) ((low[code & 3] + high[code >> 2]) * per_step + 0.5f);
}

static float
largest_group(const float *rotated, int n)
{
	float largest = 0;

	for (int i = 0; i < n; i += GROUP)
	{
		float sum = (fabsf(rotated[i]) + fabsf(rotated[i + 1])) +
			(fabsf(rotated[i + 2]) + fabsf(rotated[i + 3]));

		largest = sum > largest ? sum : largest;
	}
	return largest;
}

static void
fill_tables(BrCodeQuery *query)
{
	int coded = query->bits / 2;
	float range = 2 * largest_group(query->rotated, coded);
	/* of a query that is next to nothing the inverse might overflow; its tables are 0 */
	float per_step = range > 0x1p-100f ? BR_ANN_TABLE_TOP / range : 0;
	int groups = query->bits / GROUP;
	double absolute = 0;

	for (int group = 0; group < groups; group++)
	{
		/* two pairs take 128 bytes: first groups of both, second groups of both, each twice */
		uint8_t *table = query->tables + group / 4 * 128 + group % 2 * 64 + group / 2 % 2 * 32;
		bool second = group * GROUP >= coded;

		/* second bits count half */
		fill_table(query->rotated + group * GROUP - (second ? coded : 0),
				   second ? per_step / 2 : per_step, table);
		memcpy(table + 16, table, 16);
	}
	for (int i = 0; i < coded; i++)
		absolute += fabs((double) query->rotated[i]);
	query->step = range / BR_ANN_TABLE_TOP;
	query->bias = (float) (-1.5 * absolute);
	query->table_error = query->epsilon * query->step * sqrtf((float) groups / 12);
}

/* In the order of the kernels' products, so that the distance of a query to itself is 0. */
static float
squared_norm(const float *values, int n)
{
	float lanes[BR_ANN_LANES] = {0};

	for (int i = 0; i < n; i++)
		lanes[i % BR_ANN_LANES] += values[i] * values[i];
	for (int width = BR_ANN_LANES / 2; width > 0; width /= 2)
		for (int lane = 0; lane < width; lane++)
			lanes[lane] += lanes[lane + width];
	return lanes[0];
}

float
br_ann_centroid_squared_norm(const uint16_t *centroid, int n)
{
	float values[BR_ANN_MAX_ROTATED];

	br_math_half_to_floats(centroid, (size_t) n, values);
	return squared_norm(values, n);
}

BrStatus
br_ann_code_query_create(BrContext *context, BrMetric metric, int dims, const float *rotated,
						 double epsilon, BrCodeQuery **query)
{
	int padded = br_ann_rotated_dims(dims);
	int bits = br_ann_code_bits(dims);
	size_t tables = BR_ANN_TABLE_BYTES(bits);
	BrCodeQuery *created;

	*query = NULL;
	if (!(epsilon >= 0) || !isfinite(epsilon))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The bound of an error is %g deviations, it must be at least 0.",
							epsilon);
	created =
		br_base_alloc(context, sizeof(BrCodeQuery) + tables + sizeof(float) * (size_t) padded);
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->context = context;
	created->metric = metric;
	created->bits = bits;
	created->padded = padded;
	created->epsilon = (float) epsilon;
	created->rotated = (float *) (created->tables + tables);
	memcpy(created->rotated, rotated, sizeof(float) * (size_t) padded);
	created->squared_norm = squared_norm(rotated, padded);
	created->norm = sqrtf(created->squared_norm);
	fill_tables(created);
	*query = created;
	return BR_OK;
}

void
br_ann_code_query_destroy(BrCodeQuery *query)
{
	if (query != NULL)
		br_base_free(query->context, query);
}

/* ---- lists and blocks ---- */

void
br_ann_view_list_with(const BrCodeKernels *kernels, const BrCodeQuery *query,
					  const uint16_t *centroid, float centroid_squared_norm, BrListView *view)
{
	float product = kernels->product(query->rotated, centroid, query->padded);
	float squares = query->squared_norm + centroid_squared_norm;
	float squared_distance = squares - 2 * product;

	if (squared_distance < 0)
		squared_distance = 0;
	/* (|q| + |c|)^2 is at most twice the squares */
	view->distance = sqrtf(squared_distance + 2 * BR_ANN_ROUNDING * squares);
	view->order = sqrtf(squared_distance);
	if (query->metric == BR_METRIC_L2)
		view->base = squared_distance - 2 * BR_ANN_ROUNDING * squares;
	else
		view->base = -product - BR_ANN_ROUNDING * (query->norm * sqrtf(centroid_squared_norm));
	if (query->metric == BR_METRIC_INNER_PRODUCT)
		view->order = -product;
}

void
br_ann_view_list(const BrCodeQuery *query, const uint16_t *centroid, float centroid_squared_norm,
				 BrListView *view)
{
	br_ann_view_list_with(best_kernels(), query, centroid, centroid_squared_norm, view);
}

uint32_t
br_ann_scan_block_with(const BrCodeKernels *kernels, const BrCodeQuery *query,
					   const BrListView *view, const uint8_t *codes, const float *add,
					   const float *scale, float width, int rows, float from, float below,
					   float *bounds)
{
	/* |c| <= |q| + |q - c| */
	float lengths = 4 * query->norm + 2 * view->distance;
	BrScan scan = {
		.tables = query->tables,
		.codes = codes,
		.add = add,
		.scale = scale,
		.pairs = BR_ANN_GROUP_PAIRS(query->bits),
		.step = query->step,
		.offset = query->bias + query->epsilon * width * view->distance + query->table_error +
			/* a number is at most 1.5, of which there are half as many as bits */
			BR_ANN_ROUNDING * sqrtf(1.125f * (float) query->bits) * lengths,
		.base = view->base - BR_ANN_ROUNDING * fabsf(view->base),
		.from = from,
		.below = below,
	};
	uint32_t found = kernels->scan(&scan, bounds);

	return rows < BR_ANN_BLOCK_ROWS ? found & ((UINT32_C(1) << rows) - 1) : found;
}

uint32_t
br_ann_scan_block(const BrCodeQuery *query, const BrListView *view, const uint8_t *codes,
				  const float *add, const float *scale, float width, int rows, float from,
				  float below, float *bounds)
{
	return br_ann_scan_block_with(best_kernels(), query, view, codes, add, scale, width, rows, from,
								  below, bounds);
}
