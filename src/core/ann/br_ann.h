/*
 * br_ann.h
 *	  The door of the nearest-neighbour room: its exact half, so far. Exact
 *	  search is what an index is later checked against.
 */
#ifndef BR_ANN_H
#define BR_ANN_H

#include "core/base/br_base.h"

/* A row and how near it is; larger is nearer. */
typedef struct BrNeighbour
{
	int32_t id;
	double similarity;
} BrNeighbour;

/*
 * Keeps the k nearest of any number of rows in memory for k. Ties go to the
 * smaller id, so the result does not depend on the order of offers.
 */
typedef struct BrTopK BrTopK;

/* k >= 1, else BR_ERR_ARGUMENT. The context must outlive *top. */
extern BrStatus br_ann_top_k_create(BrContext *context, int k, BrTopK **top);

/* A similarity of NaN is ignored. The same id offered twice is two rows. */
extern void br_ann_top_k_offer(BrTopK *top, int32_t id, double similarity);

/* Least similarity that still enters; -infinity while fewer than k are held. */
extern double br_ann_top_k_threshold(const BrTopK *top);

/* Sorts what is held, nearest first; *n <= k. Valid until the next offer or destroy. Offers may go on. */
extern const BrNeighbour *br_ann_top_k_sorted(BrTopK *top, int *n);
extern void br_ann_top_k_destroy(BrTopK *top); /* NULL is ignored */

#endif /* BR_ANN_H */
