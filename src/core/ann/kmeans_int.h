/*
 * kmeans_int.h
 *	  What the files of k-means share.
 */
#ifndef BR_ANN_KMEANS_INT_H
#define BR_ANN_KMEANS_INT_H

#include "core/ann/blocks.h"

typedef struct BrKmeans
{
	BrContext *context;
	const BrBackend *backend;
	BrPool *pool;
	BrAssigner *assigner; /* may be NULL */
	const float *sample;  /* (n, dims) */
	int n;
	int dims;
	int lists;
	float *centroids; /* (lists, dims) */
	BrRandom random;

	float *norms;		   /* (n): |x|^2 */
	float *distances;	   /* (n): squared, to the nearest centroid */
	int32_t *nearest;	   /* (n) */
	float *centroid_norms; /* (lists): |c|^2 */
	int32_t *rows;		   /* (n): of list 0, of list 1, ..., ascending in each */
	int32_t *starts;	   /* (lists + 1): where those of a list begin */
} BrKmeans;

static inline int32_t
br_ann_list_length(const BrKmeans *kmeans, int list)
{
	return kmeans->starts[list + 1] - kmeans->starts[list];
}

static inline const float *
br_ann_sample_row(const BrKmeans *kmeans, int32_t row)
{
	return kmeans->sample + (size_t) row * kmeans->dims;
}

/* kmeans_seed.c: the first centroids, by k-means++. */
extern BrStatus br_ann_seed(BrKmeans *kmeans);

/*
 * kmeans_balance.c: divides long lists in two, each in place of a short one
 * that is given up; *divided: how many. Sets centroids alone.
 */
extern BrStatus br_ann_divide_long_lists(BrKmeans *kmeans, int *divided);

#endif /* BR_ANN_KMEANS_INT_H */
