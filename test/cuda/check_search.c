/*
 * check_search.c
 *	  Nearest centroids, k-means' next centroids and the k best, against their
 *	  references and by hand.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/checks.h"

/* Small integers: distances are exact, and ties are many. */
static float *
whole_numbers(size_t n, int bound)
{
	float *values = check_memory(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		values[i] = (float) (check_below(2 * bound + 1) - bound);
	return values;
}

static void
check_assignment(int n, int dims, int lists, int bound)
{
	float *vectors = whole_numbers((size_t) n * (size_t) dims, bound);
	float *centroids = whole_numbers((size_t) lists * (size_t) dims, bound);
	float *own_vectors = check_upload(vectors, (size_t) n * (size_t) dims * sizeof(float));
	float *own_centroids = check_upload(centroids, (size_t) lists * (size_t) dims * sizeof(float));
	float *norms = check_take((size_t) lists * sizeof(float));
	int32_t *own_nearest = check_take((size_t) n * sizeof(int32_t));
	float *own_distances = check_take((size_t) n * sizeof(float));
	int32_t *expected = check_memory((size_t) n * sizeof(int32_t));
	int32_t *actual = check_memory((size_t) n * sizeof(int32_t));
	float *expected_distances = check_room((size_t) n);
	float *distances = check_room((size_t) n);

	br_cuda_reference_assign(check_stream, own_vectors, n, dims, own_centroids, lists, own_nearest,
							 own_distances);
	check_download(expected, own_nearest, (size_t) n * sizeof(int32_t));
	check_download(expected_distances, own_distances, (size_t) n * sizeof(float));
	br_cuda_squared_norms(check_stream, own_centroids, lists, dims, norms);
	br_cuda_assign(check_stream, own_vectors, n, dims, own_centroids, norms, lists, own_nearest,
				   own_distances);
	check_download(actual, own_nearest, (size_t) n * sizeof(int32_t));
	check_download(distances, own_distances, (size_t) n * sizeof(float));
	for (int i = 0; i < n; i++)
	{
		CHECK(actual[i] == expected[i]);
		CHECK(distances[i] == expected_distances[i]);
	}
	/* without distances */
	br_cuda_assign(check_stream, own_vectors, n, dims, own_centroids, norms, lists, own_nearest,
				   NULL);
	memset(actual, 0xff, (size_t) n * sizeof(int32_t));
	check_download(actual, own_nearest, (size_t) n * sizeof(int32_t));
	CHECK(memcmp(actual, expected, (size_t) n * sizeof(int32_t)) == 0);
}

static void
assignments_match(void)
{
	check_assignment(0, 4, 3, 2);
	check_assignment(1, 1, 1, 5);
	check_assignment(129, 3, 200, 2);
	check_assignment(128, 8, 128, 1);
	check_assignment(77, 33, 129, 3);
	check_assignment(140, 384, 20, 20);
	if (check_on_device)
		check_assignment(20000, 96, 1000, 3);
}

static void
centroids_become_means(void)
{
	/* list 0 has rows 0 and 3, list 2 has rows 1, 2 and 4, list 1 none */
	static const float vectors[] = {1, 2, 10, 20, 20, 40, 3, 6, 60, 90};
	static const int32_t nearest[] = {0, 2, 2, 0, 2};
	static const float before[] = {-1, -2, -3, -4, -5, -6};
	static const float expected[] = {2, 4, -3, -4, 30, 50};
	float *own = check_upload(before, sizeof(before));
	int32_t *own_counts = check_take(3 * sizeof(int32_t));
	float actual[6];
	int32_t counts[3];

	br_cuda_update_centroids(check_stream, check_upload(vectors, sizeof(vectors)),
							 check_upload(nearest, sizeof(nearest)), 5, 2, 3, own, own_counts);
	check_download(actual, own, sizeof(actual));
	check_download(counts, own_counts, sizeof(counts));
	check_close("centroids", actual, expected, 6, 0, 0);
	CHECK(counts[0] == 2 && counts[1] == 0 && counts[2] == 3);
}

/* Of several blocks of members and of columns: whole numbers, whose sums are exact. */
static void
many_centroids_become_means(void)
{
	int n = 700;
	int dims = 300;
	int lists = 5;
	float *vectors = whole_numbers((size_t) n * (size_t) dims, 50);
	float *expected = check_memory((size_t) lists * (size_t) dims * sizeof(float));
	float *actual = check_room((size_t) lists * (size_t) dims);
	int32_t *nearest = check_memory((size_t) n * sizeof(int32_t));
	float *own = check_take((size_t) lists * (size_t) dims * sizeof(float));

	for (int i = 0; i < n; i++)
		nearest[i] = check_below(lists);
	for (int list = 0; list < lists; list++)
		for (int j = 0; j < dims; j++)
		{
			double sum = 0;
			int count = 0;

			for (int i = 0; i < n; i++)
				if (nearest[i] == list)
				{
					sum += (double) vectors[i * dims + j];
					count++;
				}
			expected[list * dims + j] = (float) (sum / count);
		}
	br_cuda_update_centroids(check_stream,
							 check_upload(vectors, (size_t) n * (size_t) dims * sizeof(float)),
							 check_upload(nearest, (size_t) n * sizeof(int32_t)), n, dims, lists,
							 own, NULL);
	check_download(actual, own, (size_t) lists * (size_t) dims * sizeof(float));
	check_close("centroids", actual, expected, (size_t) lists * (size_t) dims, 0, 0);
}

/* Rows are offered in two pieces; whole numbers make ties. */
static void
check_top_k(int n_queries, int n, int k, int bound)
{
	float *similarities = whole_numbers((size_t) n_queries * (size_t) n, bound);
	size_t n_best = (size_t) n_queries * (size_t) k;
	int parts = br_cuda_top_k_parts(n_queries);
	size_t key_bytes = n_best * (size_t) parts * sizeof(BrTopKey);
	int first = n / 3;
	int32_t *own_ids = check_take(n_best * sizeof(int32_t));
	float *own_best = check_take(n_best * sizeof(float));
	BrTopKey *keys = check_take(key_bytes);
	int32_t *expected = check_memory(n_best * sizeof(int32_t));
	int32_t *ids = check_memory(n_best * sizeof(int32_t));
	float *expected_best = check_room(n_best);
	float *best = check_room(n_best);
	float *piece = check_memory((size_t) n_queries * (size_t) n * sizeof(float));

	br_cuda_reference_top_k(check_stream,
							check_upload(similarities,
										 (size_t) n_queries * (size_t) n * sizeof(float)),
							n_queries, n, k, own_ids, own_best);
	check_download(expected, own_ids, n_best * sizeof(int32_t));
	check_download(expected_best, own_best, n_best * sizeof(float));

	check_ok(br_cuda_clear(&check_context, check_stream, keys, key_bytes));
	for (int turn = 0; turn < 2; turn++)
	{
		int from = turn == 0 ? 0 : first;
		int columns = turn == 0 ? first : n - first;

		for (int i = 0; i < n_queries; i++)
			memcpy(piece + (size_t) i * (size_t) columns,
				   similarities + (size_t) i * (size_t) n + from, (size_t) columns * sizeof(float));
		br_cuda_top_k_offer(check_stream,
							check_upload(piece,
										 (size_t) n_queries * (size_t) columns * sizeof(float)),
							n_queries, columns, from, k, parts, keys);
		check_ok(br_cuda_wait(&check_context, check_stream));
	}
	br_cuda_top_k_finish(check_stream, keys, n_queries, k, parts, own_ids, own_best);
	check_download(ids, own_ids, n_best * sizeof(int32_t));
	check_download(best, own_best, n_best * sizeof(float));
	for (size_t i = 0; i < n_best; i++)
	{
		CHECK(ids[i] == expected[i]);
		CHECK(ids[i] < 0 || best[i] == expected_best[i]);
	}
}

static void
the_best_match(void)
{
	check_top_k(0, 10, 3, 5);
	check_top_k(1, 1, 1, 5);
	check_top_k(2, 40, 7, 3);
	check_top_k(3, 700, 100, 1000);
	check_top_k(300, 33, 33, 4);
	check_top_k(1, 1500, 1024, 400);
	if (check_on_device)
		check_top_k(40, 100000, 200, 1000000);
}

/* NaN comes last, -0 equals 0, and where there are fewer rows the rest is -1. */
static void
odd_similarities_are_in_order(void)
{
	const float similarities[] = {NAN, -0.0f, INFINITY, 0, -INFINITY, -1e-40f, 1e-40f};
	static const int32_t expected[] = {2, 6, 1, 3, 5, 4, 0, -1, -1};
	BrTopKey *keys = check_take(9 * sizeof(BrTopKey));
	int32_t *own_ids = check_take(9 * sizeof(int32_t));
	float *own_best = check_take(9 * sizeof(float));
	int32_t ids[9];
	float best[9];

	check_ok(br_cuda_clear(&check_context, check_stream, keys, 9 * sizeof(BrTopKey)));
	br_cuda_top_k_offer(check_stream, check_upload(similarities, sizeof(similarities)), 1, 7, 0, 9,
						1, keys);
	br_cuda_top_k_finish(check_stream, keys, 1, 9, 1, own_ids, own_best);
	check_download(ids, own_ids, sizeof(ids));
	check_download(best, own_best, sizeof(best));
	for (int i = 0; i < 9; i++)
		CHECK(ids[i] == expected[i]);
	CHECK(best[0] == INFINITY && best[2] == 0 && best[5] == -INFINITY && isnan(best[6]));
}

static const Check checks[] = {
	{"nearest centroids match their reference", assignments_match},
	{"centroids become means, by hand", centroids_become_means},
	{"many centroids become means", many_centroids_become_means},
	{"the k best match their reference", the_best_match},
	{"odd similarities are in order", odd_similarities_are_in_order},
};

const Checks search_checks = {checks, LENGTH(checks)};
