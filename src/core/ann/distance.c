/*
 * distance.c
 *	  Distances of half vectors, as operators of SQL and indexes both give them.
 *
 * An index hands rows out in the order of the operator, so there is one
 * arithmetic for both. What it needs of the query alone may be computed once.
 */
#include <math.h>

#include "core/ann/br_ann.h"
#include "core/math/br_math.h"

double
br_ann_squared_norm(const uint16_t *halves, int dims)
{
	return br_math_half_dot(halves, halves, (size_t) dims);
}

static double
cosine_of(double product, double left_squared_norm, double right_squared_norm)
{
	double squares = left_squared_norm * right_squared_norm;
	double cosine;

	if (squares == 0)
		return 0;
	cosine = product / sqrt(squares);
	if (cosine > 1)
		return 1;
	return cosine < -1 ? -1 : cosine;
}

double
br_ann_cosine(const uint16_t *left, double left_squared_norm, const uint16_t *right, int dims)
{
	return cosine_of(br_math_half_dot(left, right, (size_t) dims), left_squared_norm,
					 br_ann_squared_norm(right, dims));
}

double
br_ann_distance_known(BrMetric metric, const uint16_t *left, double left_squared_norm,
					  const uint16_t *right, double right_squared_norm, int dims)
{
	switch (metric)
	{
		case BR_METRIC_COSINE:
			break;
		case BR_METRIC_INNER_PRODUCT:
			/* subtracted, since the negation of 0 would be shown as -0 */
			return 0 - br_math_half_dot(left, right, (size_t) dims);
		case BR_METRIC_L2:
			return sqrt(br_math_half_squared_distance(left, right, (size_t) dims));
	}
	return 1 -
		cosine_of(br_math_half_dot(left, right, (size_t) dims), left_squared_norm,
				  right_squared_norm);
}

double
br_ann_distance(BrMetric metric, const uint16_t *left, double left_squared_norm,
				const uint16_t *right, int dims)
{
	return br_ann_distance_known(metric, left, left_squared_norm, right,
								 metric == BR_METRIC_COSINE ? br_ann_squared_norm(right, dims) : 0,
								 dims);
}
