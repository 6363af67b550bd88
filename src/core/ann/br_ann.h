/*
 * br_ann.h
 *	  The door of the nearest-neighbour room: exact search, and the pure parts
 *	  of an inverted file with quantised codes.
 *
 * Exact: distances of half vectors, and the k nearest of a stream. An index
 * checks itself against these.
 *
 * The inverted file: vectors are rotated at random, the nearest of some
 * centroids names the list of each, and of the difference to it two bits per
 * coordinate are kept, with two numbers that turn a product of bits and query
 * into an unbiased estimate of the distance and a bound of its error (RaBitQ:
 * Gao and Long, "RaBitQ: quantizing high-dimensional vectors with a
 * theoretical error bound for approximate nearest neighbor search", SIGMOD
 * 2024). Codes stand in blocks of 32 whose sums are read from tables in
 * registers (André, Kermarrec and Le Scouarnec, "Cache locality is not
 * enough: high-performance nearest neighbor search with product quantization
 * fast scan", VLDB 2015). All of this is the same on every machine: kernels of
 * all instruction sets add in the same order and never fuse.
 *
 * Where a pool or a backend is asked for, either may be what the caller has.
 */
#ifndef BR_ANN_H
#define BR_ANN_H

#include "core/base/br_base.h"
#include "core/math/br_backend.h"

/* ---- exact search ---- */

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

typedef enum BrMetric
{
	BR_METRIC_COSINE,		 /* 1 - cosine, in [0, 2]; 1 where a vector is zero */
	BR_METRIC_INNER_PRODUCT, /* the negative inner product */
	BR_METRIC_L2			 /* the Euclidean distance */
} BrMetric;

/* Squared length, as distances below use it. */
extern double br_ann_squared_norm(const uint16_t *halves /* (dims) */, int dims);

/* In [-1, 1]; 0 where a vector is zero. left_squared_norm: of br_ann_squared_norm(left). */
extern double br_ann_cosine(const uint16_t *left /* (dims) */, double left_squared_norm,
							const uint16_t *right /* (dims) */, int dims);

/*
 * The distance that operators of SQL give and indexes order by, bit for bit.
 * left_squared_norm: of br_ann_squared_norm(left); only the cosine uses it.
 */
extern double br_ann_distance(BrMetric metric, const uint16_t *left /* (dims) */,
							  double left_squared_norm, const uint16_t *right /* (dims) */,
							  int dims);

/* The same, where the squared length of the other is known too. */
extern double br_ann_distance_known(BrMetric metric, const uint16_t *left /* (dims) */,
									double left_squared_norm, const uint16_t *right /* (dims) */,
									double right_squared_norm, int dims);

/* ---- k-means ---- */

/*
 * What assigns vectors to centroids in a backend's place, such as a device: a
 * function, its argument, and what became of it. Begun with these two alone.
 */
typedef struct BrAssigner
{
	/*
	 * As br_ann_assign, with squared distances, and in the caller's own thread.
	 * Ties and rounding may be others than a backend's. Failures leave a sentence
	 * in the context; BR_ERR_CANCELLED ends the call, after any other one the
	 * backend computes what was asked for, and all that comes later.
	 */
	BrStatus (*assign)(void *arg, BrContext *context, const float *vectors /* (n, dims) */, int n,
					   int dims, const float *centroids /* (lists, dims) */, int lists,
					   int32_t *nearest /* (n) */, float *distances /* (n) */);
	void *arg;
	BrStatus failure;			 /* BR_OK: none yet */
	char detail[BR_DETAIL_SIZE]; /* of it */
} BrAssigner;

/*
 * Centroids of a sample under the Euclidean distance: k-means++ and Lloyd's
 * iterations, after which lists that are much longer than the average have
 * been divided and the shortest ones given up for that. n >= lists >= 1. The
 * same sample, seed and backend give the same centroids whatever the pool.
 * assigner: has the assignments of the iterations; NULL: the backend has.
 * progress: called now and then with the share done, in [0, 1]; may be NULL.
 * Asks for cancellation many times a second.
 */
extern BrStatus br_ann_kmeans(BrContext *context, const BrBackend *backend, BrPool *pool,
							  BrAssigner *assigner, const float *sample /* (n, dims) */, int n,
							  int dims, int lists, uint64_t seed,
							  void (*progress)(void *arg, double share), void *progress_arg,
							  float *centroids /* (lists, dims) */);

/*
 * The nearest centroid of each vector under the Euclidean distance, ties to
 * the smaller number. squared_norms: of the centroids. assigner: NULL: the
 * backend assigns.
 */
extern BrStatus br_ann_assign(BrContext *context, const BrBackend *backend, BrPool *pool,
							  BrAssigner *assigner, const float *vectors /* (n, dims) */, int n,
							  int dims, const float *centroids /* (lists, dims) */,
							  const float *squared_norms /* (lists) */, int lists,
							  int32_t *nearest /* (n) */);

/*
 * How many of its nearest lists a query has to see. For each of `queries`
 * members of the sample the `neighbours` members that are nearest under metric
 * (itself left out) are found exactly, and where the list of each stands among
 * the lists in the order of BrListView.order.
 * shares[i]: the smallest share of the lists, in (0, 1], that holds recalls[i]
 * of all neighbours if every query sees as many.
 * gaps[i]: the same if a query sees all lists whose order is at most so much
 * above that of its nearest, but, except for inner products, not so little
 * that a query from anywhere would miss most; infinity where there are no
 * neighbours. For
 * inner products a query is taken at the length of the sample's root mean
 * square.
 * lists_of: of br_ann_assign. 1 <= queries <= n, neighbours >= 1. Asks for
 * cancellation.
 */
extern BrStatus br_ann_calibrate(BrContext *context, const BrBackend *backend, BrMetric metric,
								 const float *sample /* (n, dims) */, int n, int dims,
								 const float *centroids /* (lists, dims) */, int lists,
								 const int32_t *lists_of /* (n) */, int queries, int neighbours,
								 const double *recalls /* (n_recalls) */, int n_recalls,
								 float *shares /* (n_recalls) */, float *gaps /* (n_recalls) */);

/* ---- rotation and codes ---- */

#define BR_ANN_MAX_DIMS 4000
#define BR_ANN_BLOCK_ROWS 32

/* Coordinates of a rotated vector: a multiple of 64, at least dims. */
extern int br_ann_rotated_dims(int dims);

/*
 * Bits of a code: two for each of the first so many rotated coordinates; a
 * multiple of 128, at most 1536.
 */
extern int br_ann_code_bits(int dims);

/* Bytes of the codes of a block. */
#define BR_ANN_BLOCK_CODE_BYTES(bits) ((size_t) (bits) / 8 * BR_ANN_BLOCK_ROWS)

/*
 * A random rotation: rounds of sign flips, Walsh-Hadamard transforms and
 * plane rotations. Lengths and products are kept within float's rounding.
 */
typedef struct BrRotation BrRotation;

/* dims: 1 .. BR_ANN_MAX_DIMS. Freed by br_ann_rotation_destroy with the same context. */
extern BrStatus br_ann_rotation_create(BrContext *context, int dims, uint64_t seed,
									   BrRotation **rotation);
extern void br_ann_rotate(const BrRotation *rotation, const float *vector /* (dims) */,
						  float *rotated /* (rotated_dims); not vector */);
extern void br_ann_rotation_destroy(BrRotation *rotation); /* NULL is ignored */

/*
 * What a code stands for under its metric, with q the rotated query, c the
 * rotated centroid, v the numbers that the bits stand for (code.c) and <v, q>
 * over the coded coordinates:
 *
 *		estimate = base(q, c) + add - scale <v, q>
 *		|estimate - value| <= epsilon * scale * width * |q - c|
 *
 * but for a share of vectors that the standard normal distribution gives for
 * epsilon on either side. The value, and base, are for L2 the squared distance and
 * |q - c|^2, for the inner product (cosine: of vectors of length 1) its
 * negative and -<q, c>.
 */
typedef struct BrCode
{
	float add;
	float scale; /* >= 0; 0: the estimate is exact */
	float width; /* >= 0 */
} BrCode;

/*
 * Encodes a rotated vector. bits: br_ann_code_bits(dims) / 8 bytes; the first
 * half tells of each coordinate whether it is not below the centroid's.
 */
extern void br_ann_encode(BrMetric metric, int dims, const float *rotated /* (rotated_dims) */,
						  const uint16_t *centroid /* (rotated_dims) */, uint8_t *bits,
						  BrCode *code);

/* Puts the bits of a row (0 .. 31) into a block of codes, or takes them out of it. */
extern void br_ann_block_put(uint8_t *block /* BR_ANN_BLOCK_CODE_BYTES */, int code_bits, int row,
							 const uint8_t *bits);
extern void br_ann_block_get(const uint8_t *block, int code_bits, int row, uint8_t *bits);

/* ---- search in codes ---- */

/* A query as codes are compared with it: its tables for products with bits. */
typedef struct BrCodeQuery BrCodeQuery;

/*
 * rotated: the rotated query, copied. epsilon: of the bound, >= 0. Freed by
 * br_ann_code_query_destroy with the same context.
 */
extern BrStatus br_ann_code_query_create(BrContext *context, BrMetric metric, int dims,
										 const float *rotated /* (rotated_dims) */, double epsilon,
										 BrCodeQuery **query);
extern void br_ann_code_query_destroy(BrCodeQuery *query); /* NULL is ignored */

/* A list as a query sees it. Rounding makes base smaller and distance larger, never the reverse. */
typedef struct BrListView
{
	float base;		/* base(q, c) of BrCode */
	float distance; /* |q - c| */
	float order;	/* lists are visited from the smallest on: the distance of the centroid */
} BrListView;

/* centroid_squared_norm: of the halves given. */
extern void br_ann_view_list(const BrCodeQuery *query,
							 const uint16_t *centroid /* (rotated_dims) */,
							 float centroid_squared_norm, BrListView *view);

/* The squared length of a centroid, in the order of addition that br_ann_view_list uses. */
extern float br_ann_centroid_squared_norm(const uint16_t *centroid /* (n) */, int n);

/*
 * Lower bounds of the values (see BrCode) of the first `rows` rows of a block;
 * bounds beyond rows are undefined. Returns a mask of the rows whose bound is
 * below `below` and not below `from`.
 * width: at least that of each row.
 */
extern uint32_t br_ann_scan_block(const BrCodeQuery *query, const BrListView *view,
								  const uint8_t *codes /* (BR_ANN_BLOCK_CODE_BYTES) */,
								  const float *add /* (32) */, const float *scale /* (32) */,
								  float width, int rows, float from, float below,
								  float *bounds /* (32) */);

/* The instruction set in use: "portable", "avx2" or "avx512". */
extern const char *br_ann_instruction_set(void);

/* ---- candidates ---- */

/* A row whose value is not known yet, and where to find it. */
typedef struct BrRowCandidate
{
	float bound; /* lower bound of its value */
	uint32_t page;
	uint32_t list; /* of the page */
	uint16_t slot;
	uint16_t spare[3]; /* the caller's */
} BrRowCandidate;

/*
 * The candidates with the smallest bounds of any number offered, in bounded
 * memory: all that were offered below a limit that falls as more are offered.
 * At most 2 keep are held, and at least keep once so many were offered, but
 * where more than half as many again tie at the limit. Candidates that tie are
 * held together or not at all: then only those below the limit are held, or,
 * where nothing was below it, all that tie, and room for as many more.
 */
typedef struct BrCandidates BrCandidates;

/* keep >= 1. The context must outlive *candidates. */
extern BrStatus br_ann_candidates_create(BrContext *context, int keep, BrCandidates **candidates);

/* Forgets all, and what the limit was. */
extern void br_ann_candidates_reset(BrCandidates *candidates, int keep);

/* A bound of infinity or NaN is ignored. BR_ERR_MEMORY: the candidate was not taken. */
extern BrStatus br_ann_candidates_offer(BrCandidates *candidates, const BrRowCandidate *candidate);

/* What is not below this was turned away, or will be; infinity: nothing was. */
extern float br_ann_candidates_limit(const BrCandidates *candidates);

/*
 * After the last offer: the candidates one after another, smallest bound
 * first, ties by page and slot; false at the end. Few that are taken cost little, however
 * many are held. peek does not take it.
 */
extern bool br_ann_candidates_peek(BrCandidates *candidates, BrRowCandidate *candidate);
extern bool br_ann_candidates_next(BrCandidates *candidates, BrRowCandidate *candidate);
extern void br_ann_candidates_destroy(BrCandidates *candidates); /* NULL is ignored */

#endif /* BR_ANN_H */
