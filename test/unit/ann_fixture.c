/*
 * ann_fixture.c
 *	  Vectors, and callers that run out of memory or of patience, for the tests
 *	  of the nearest-neighbour room.
 */
#include "unit/ann_fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/math/br_math.h"

float *
ann_vectors(uint64_t seed, int n, int dims, int clusters, double spread)
{
	float *vectors = malloc(sizeof(float) * (size_t) n * (size_t) dims);
	float *centres = calloc((size_t) clusters * (size_t) dims, sizeof(float));
	BrRandom random;

	br_base_random_init(&random, seed, 77);
	for (size_t i = 0; clusters > 1 && i < (size_t) clusters * (size_t) dims; i++)
		centres[i] = (float) br_math_normal(&random);
	for (int row = 0; row < n; row++)
	{
		size_t centre = br_base_random_below(&random, (uint32_t) clusters);

		for (int i = 0; i < dims; i++)
			vectors[(size_t) row * dims + i] = centres[centre * (size_t) dims + (size_t) i] +
				(float) (spread * br_math_normal(&random));
	}
	free(centres);
	return vectors;
}

double
ann_product(const float *left, const float *right, int dims)
{
	double sum = 0;

	for (int i = 0; i < dims; i++)
		sum += (double) left[i] * (double) right[i];
	return sum;
}

void
ann_normalise(float *vectors, int n, int dims)
{
	for (int row = 0; row < n; row++)
	{
		float *vector = vectors + (size_t) row * dims;
		double length = sqrt(ann_product(vector, vector, dims));

		for (int i = 0; i < dims; i++)
			vector[i] = (float) ((double) vector[i] / length);
	}
}

double
ann_value(BrMetric metric, const float *left, const float *right, int dims)
{
	double sum = 0;

	if (metric != BR_METRIC_L2)
		return -ann_product(left, right, dims);
	for (int i = 0; i < dims; i++)
		sum += ((double) left[i] - (double) right[i]) * ((double) left[i] - (double) right[i]);
	return sum;
}

static void *
ledger_alloc(void *arg, size_t size)
{
	AnnLedger *ledger = arg;

	if (ledger->allowed == 0)
		return NULL;
	ledger->allowed--;
	ledger->live++;
	return malloc(size);
}

static void
ledger_free(void *arg, void *pointer)
{
	AnnLedger *ledger = arg;

	ledger->live -= pointer != NULL;
	free(pointer);
}

void
ann_ledger_context(BrContext *context, AnnLedger *ledger)
{
	br_base_context_init(context);
	context->allocator = (BrAllocator){ledger_alloc, ledger_free, ledger};
}

bool
ann_count_down(void *left)
{
	return (*(int *) left)-- <= 0;
}

const int ann_dims[ANN_DIMS] = {1, 3, 63, 64, 65, 384, 1000, 1536, 4000};

BrRotation *
ann_rotation(BrContext *context, int dims, uint64_t seed)
{
	BrRotation *rotation;

	br_base_context_init(context);
	assert_int_equal(br_ann_rotation_create(context, dims, seed, &rotation), BR_OK);
	return rotation;
}

void
ann_assert_near(double value, double expected, double tolerance)
{
	assert_true(fabs(value - expected) <= tolerance);
}
