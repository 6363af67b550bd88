/*
 * test_ann_recall.c
 *	  A whole search, put together from its parts, over real embeddings: lists,
 *	  codes, bounds, and exact distances of what the bounds leave.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/ann/br_ann.h"
#include "core/math/br_math.h"
#include "unit/ann_fixture.h"
#include "unit/encoder_fixture.h"

#define DIMS 384
#define LISTS 12
#define K 10
#define BLOCKS 8 /* in a list, at most */

/* An index over vectors of length 1. */
typedef struct Index
{
	BrContext context;
	BrRotation *rotation;
	float *vectors; /* (n, DIMS) */
	uint16_t *halves;
	int n;
	int32_t lists_of[256];
	uint16_t centroids[LISTS][DIMS];
	int lengths[LISTS];
	int ids[LISTS][BLOCKS * 32];
	uint8_t codes[LISTS][BLOCKS][BR_ANN_BLOCK_CODE_BYTES(2 * DIMS)];
	float add[LISTS][BLOCKS * 32];
	float scale[LISTS][BLOCKS * 32];
	float width;
} Index;

static bool
read_embeddings(Index *index)
{
	char *path = path_from("BR_GOLDEN", "all-MiniLM-L6-v2.json");
	Golden golden;

	if (path == NULL || !golden_read(&golden, path))
	{
		free(path);
		return false;
	}
	index->n = golden.n < 256 ? golden.n : 256;
	index->vectors = malloc(sizeof(float) * (size_t) index->n * DIMS);
	index->halves = malloc(sizeof(uint16_t) * (size_t) index->n * DIMS);
	for (int i = 0; i < index->n; i++)
		memcpy(index->vectors + i * DIMS, golden.rows[i].embedding, sizeof(float) * DIMS);
	ann_normalise(index->vectors, index->n, DIMS);
	br_math_half_from_floats(index->vectors, (size_t) index->n * DIMS, index->halves);
	golden_free(&golden);
	free(path);
	return true;
}

static void
add_row(Index *index, int row)
{
	int list = index->lists_of[row];
	int place = index->lengths[list]++;
	float rotated[DIMS];
	uint8_t bits[2 * DIMS / 8];
	BrCode code;

	assert_true(place < BLOCKS * 32);
	br_ann_rotate(index->rotation, index->vectors + row * DIMS, rotated);
	br_ann_encode(BR_METRIC_COSINE, DIMS, rotated, index->centroids[list], bits, &code);
	br_ann_block_put(index->codes[list][place / 32], 2 * DIMS, place % 32, bits);
	index->ids[list][place] = row;
	index->add[list][place] = code.add;
	index->scale[list][place] = code.scale;
	index->width = fmaxf(index->width, code.width);
}

static void
build_index(Index *index)
{
	const BrBackend *backend = br_math_portable_backend();
	float centroids[LISTS * DIMS];
	float norms[LISTS];

	br_base_context_init(&index->context);
	assert_int_equal(br_ann_rotation_create(&index->context, DIMS, 1, &index->rotation), BR_OK);
	assert_int_equal(br_ann_kmeans(&index->context, backend, NULL, NULL, index->vectors, index->n,
								   DIMS, LISTS, 1, NULL, NULL, centroids),
					 BR_OK);
	for (int list = 0; list < LISTS; list++)
	{
		float rotated[DIMS];

		norms[list] = (float) ann_product(centroids + list * DIMS, centroids + list * DIMS, DIMS);
		br_ann_rotate(index->rotation, centroids + list * DIMS, rotated);
		br_math_half_from_floats(rotated, DIMS, index->centroids[list]);
	}
	assert_int_equal(br_ann_assign(&index->context, backend, NULL, NULL, index->vectors, index->n,
								   DIMS, centroids, norms, LISTS, index->lists_of),
					 BR_OK);
	for (int row = 0; row < index->n; row++)
		add_row(index, row);
}

static void
offer_list(const Index *index, const BrCodeQuery *query, int list, BrCandidates *candidates)
{
	BrListView view;

	br_ann_view_list(query, index->centroids[list],
					 br_ann_centroid_squared_norm(index->centroids[list], DIMS), &view);
	for (int start = 0; start < index->lengths[list]; start += 32)
	{
		int left = index->lengths[list] - start;
		float bounds[32];
		uint32_t found = br_ann_scan_block(query, &view, index->codes[list][start / 32],
										   index->add[list] + start, index->scale[list] + start,
										   index->width, left < 32 ? left : 32, -INFINITY,
										   br_ann_candidates_limit(candidates), bounds);

		for (int i = 0; i < 32; i++)
		{
			BrRowCandidate candidate = {.bound = bounds[i],
										.page = (uint32_t) index->ids[list][start + i]};

			if (found >> i & 1)
				assert_int_equal(br_ann_candidates_offer(candidates, &candidate), BR_OK);
		}
	}
}

static void
offer_row(const Index *index, BrTopK *top, int query, int row)
{
	const uint16_t *left = index->halves + query * DIMS;

	br_ann_top_k_offer(top, row,
					   -br_ann_distance(BR_METRIC_COSINE, left, br_ann_squared_norm(left, DIMS),
										index->halves + row * DIMS, DIMS));
}

/* How many of the K nearest are found, and how many distances it took. */
static int
search(Index *index, int query, int *compared)
{
	BrCandidates *candidates;
	BrRowCandidate candidate;
	BrCodeQuery *asked;
	BrTopK *top;
	BrTopK *exact;
	float rotated[DIMS];
	int hits = 0;
	int n;
	const BrNeighbour *found;
	const BrNeighbour *expected;

	assert_int_equal(br_ann_top_k_create(&index->context, K, &top), BR_OK);
	assert_int_equal(br_ann_top_k_create(&index->context, K, &exact), BR_OK);
	assert_int_equal(br_ann_candidates_create(&index->context, 150, &candidates), BR_OK);
	br_ann_rotate(index->rotation, index->vectors + query * DIMS, rotated);
	assert_int_equal(br_ann_code_query_create(&index->context, BR_METRIC_COSINE, DIMS, rotated, 1.9,
											  &asked),
					 BR_OK);
	for (int list = 0; list < LISTS; list++)
		offer_list(index, asked, list, candidates);
	/* 1 - cosine is 1 + the value that is bounded */
	while (br_ann_candidates_next(candidates, &candidate) &&
		   1 + (double) candidate.bound <= -br_ann_top_k_threshold(top))
	{
		(*compared)++;
		offer_row(index, top, query, (int) candidate.page);
	}
	for (int row = 0; row < index->n; row++)
		offer_row(index, exact, query, row);
	found = br_ann_top_k_sorted(top, &n);
	expected = br_ann_top_k_sorted(exact, &n);
	for (int i = 0; i < K; i++)
		for (int j = 0; j < K; j++)
			hits += found[i].id == expected[j].id;
	br_ann_code_query_destroy(asked);
	br_ann_candidates_destroy(candidates);
	br_ann_top_k_destroy(top);
	br_ann_top_k_destroy(exact);
	return hits;
}

/* Beyond 1.9 deviations are .029 of the errors, and not every such error misses a neighbour. */
static void
bounds_find_the_nearest_of_real_embeddings(void **state)
{
	Index *index = calloc(1, sizeof(Index));
	int compared = 0;
	int hits = 0;

	(void) state;
	if (!read_embeddings(index))
	{
		free(index);
		skip();
	}
	build_index(index);
	for (int query = 0; query < index->n; query++)
		hits += search(index, query, &compared);
	assert_true(hits > 0.99 * K * index->n);
	assert_true(compared < 0.15 * index->n * index->n);
	br_ann_rotation_destroy(index->rotation);
	free(index->vectors);
	free(index->halves);
	free(index);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bounds_find_the_nearest_of_real_embeddings),
	};

	return cmocka_run_group_tests_name("ann_recall", tests, NULL, NULL);
}
