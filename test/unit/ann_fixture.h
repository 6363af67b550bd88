/*
 * ann_fixture.h
 *	  Vectors, and callers that run out of memory or of patience, for the tests
 *	  of the nearest-neighbour room.
 */
#ifndef BR_ANN_FIXTURE_H
#define BR_ANN_FIXTURE_H

#include "core/ann/br_ann.h"

/* Independent normal components around one of some random centres (1: around 0), to be freed. */
extern float *ann_vectors(uint64_t seed, int n, int dims, int clusters, double spread);

/* Dimensions around every edge of how vectors are padded, coded and held. */
#define ANN_DIMS 9
extern const int ann_dims[ANN_DIMS];

/* Initialises the context, too. */
extern BrRotation *ann_rotation(BrContext *context, int dims, uint64_t seed);

/* Fails the test where they differ by more. */
extern void ann_assert_near(double value, double expected, double tolerance);

/* To length 1. */
extern void ann_normalise(float *vectors, int n, int dims);

/* The value that codes estimate (BrCode), in double. */
extern double ann_value(BrMetric metric, const float *left, const float *right, int dims);

extern double ann_product(const float *left, const float *right, int dims);

/* An allocator that counts what is out, and refuses after some calls; below 0: never. */
typedef struct AnnLedger
{
	int allowed;
	int live;
} AnnLedger;

extern void ann_ledger_context(BrContext *context, AnnLedger *ledger);

/* A cancel callback that says yes after *left questions. */
extern bool ann_count_down(void *left);

#endif /* BR_ANN_FIXTURE_H */
