/*
 * search.c
 *	  Nearest centroids and exact search over vectors of the host.
 *
 * Vectors pass through the device's work memory a piece at a time, of fewer bytes
 * where it has not enough. In place of centroids come others only when these are
 * there.
 */
#include <string.h>

#include "backend/cuda/device.h"

/* Bytes of vectors that are on the device at a time. */
#define PIECE_BYTES ((size_t) 64 * 1024 * 1024)

/* Queries whose similarities to a piece are there at a time, of so many bytes. */
#define MOST_QUERIES 1024
#define SIMILARITY_BYTES ((size_t) 256 * 1024 * 1024)

/* Below so many rows the device has not the memory to speak of. */
#define FEWEST_ROWS 128

static int
at_most(size_t n, int limit)
{
	return n < (size_t) limit ? (int) n : limit;
}

BrStatus
br_cuda_place_centroids(BrDevice *device, BrContext *context, const float *centroids, int lists,
						int dims)
{
	size_t n = (size_t) lists * (size_t) dims;
	BrBuffer buffer = {NULL, 0, false};
	float *norms;
	BrStatus status;

	if (lists < 1 || dims < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"There are %d centroids of %d dimensions; both must be 1 or more.",
							lists, dims);
	status = br_cuda_reserve(context, &buffer, (n + (size_t) lists) * sizeof(float));
	if (status != BR_OK)
		return status;
	norms = (float *) buffer.memory + n;
	status = br_cuda_upload(context, device->stream, buffer.memory, centroids, n * sizeof(float));
	if (status == BR_OK)
	{
		br_cuda_squared_norms(device->stream, buffer.memory, lists, dims, norms);
		status = br_cuda_wait(context, device->stream);
	}
	if (status != BR_OK)
	{
		br_cuda_empty(&buffer);
		return status;
	}
	br_cuda_empty(&device->centroids);
	device->centroids = buffer;
	device->lists = lists;
	device->dims = dims;
	return BR_OK;
}

/* Room for a piece of rows and so many bytes more for each; halves rows until it is there. */
static BrStatus
reserve_rows(BrDevice *device, BrContext *context, size_t fixed, size_t bytes_of_row, int *rows)
{
	BrStatus status =
		br_cuda_reserve(context, &device->work, fixed + (size_t) *rows * bytes_of_row);

	while (status == BR_ERR_MEMORY && *rows > FEWEST_ROWS)
	{
		*rows /= 2;
		status = br_cuda_reserve(context, &device->work, fixed + (size_t) *rows * bytes_of_row);
	}
	return status;
}

static BrStatus
assign_piece(BrDevice *device, BrContext *context, const float *vectors, int n, int rows,
			 int32_t *nearest, float *distances)
{
	size_t dims = (size_t) device->dims;
	const float *centroids = device->centroids.memory;
	float *own = device->work.memory;
	float *own_distances = own + (size_t) rows * dims;
	int32_t *own_nearest = (int32_t *) (own_distances + rows);
	BrStream stream = device->stream;
	BrStatus status =
		br_cuda_upload(context, stream, own, vectors, (size_t) n * dims * sizeof(float));

	if (status != BR_OK)
		return status;
	br_cuda_assign(stream, own, n, device->dims, centroids,
				   centroids + (size_t) device->lists * dims, device->lists, own_nearest,
				   distances != NULL ? own_distances : NULL);
	status = br_cuda_download(context, stream, nearest, own_nearest, (size_t) n * sizeof(int32_t));
	if (status == BR_OK && distances != NULL)
		status =
			br_cuda_download(context, stream, distances, own_distances, (size_t) n * sizeof(float));
	return status == BR_OK ? br_cuda_wait(context, stream) : status;
}

static BrStatus
cancelled(BrContext *context)
{
	return br_base_fail(context, BR_ERR_CANCELLED, "The call was cancelled.");
}

BrStatus
br_cuda_assign_vectors(BrDevice *device, BrContext *context, const float *vectors, int n,
					   int32_t *nearest, float *distances)
{
	size_t dims = (size_t) device->dims;
	size_t bytes = dims * sizeof(float) + sizeof(float) + sizeof(int32_t);
	BrStatus status = BR_OK;
	int rows;

	if (device->lists == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "No centroids were placed.");
	if (n == 0)
		return BR_OK;
	rows = at_most(PIECE_BYTES / bytes + 1, n);
	status = reserve_rows(device, context, 0, bytes, &rows);
	for (int row = 0; row < n && status == BR_OK; row += rows)
	{
		int some = n - row < rows ? n - row : rows;

		status = br_base_cancelled(context)
			? cancelled(context)
			: assign_piece(device, context, vectors + (size_t) row * dims, some, rows,
						   nearest + row, distances != NULL ? distances + row : NULL);
	}
	return status == BR_OK ? BR_OK : br_cuda_settle(device, context, status);
}

/* ---- exact search ---- */

/* One call, and where its pieces stand in the work memory. */
typedef struct Search
{
	BrDevice *device;
	BrContext *context;
	const float *rows; /* of the host */
	int n;
	int dims;
	int k;
	int piece;	 /* rows on the device at a time */
	int queries; /* at a time */
	int parts;
	float *own_rows;	 /* (piece, dims) */
	float *own_queries;	 /* (queries, dims) */
	float *similarities; /* (queries, piece) */
	BrTopKey *best;		 /* (queries, parts, k) */
	int32_t *ids;		 /* (queries, k) */
	float *greatest;	 /* (queries, k) */
} Search;

static size_t
cut_search(Search *search, char *base)
{
	BrCutter cutter = {base, 0};
	size_t queries = (size_t) search->queries;
	size_t piece = (size_t) search->piece;
	size_t dims = (size_t) search->dims;
	size_t k = (size_t) search->k;

	search->own_rows = br_cuda_cut(&cutter, piece * dims, sizeof(float));
	search->own_queries = br_cuda_cut(&cutter, queries * dims, sizeof(float));
	search->similarities = br_cuda_cut(&cutter, queries * piece, sizeof(float));
	search->best = br_cuda_cut(&cutter, queries * (size_t) search->parts * k, sizeof(BrTopKey));
	search->ids = br_cuda_cut(&cutter, queries * k, sizeof(int32_t));
	search->greatest = br_cuda_cut(&cutter, queries * k, sizeof(float));
	return cutter.used;
}

static BrStatus
offer_rows(const Search *search, int n_queries)
{
	BrStream stream = search->device->stream;
	size_t dims = (size_t) search->dims;
	BrStatus status = BR_OK;

	for (int row = 0; row < search->n && status == BR_OK; row += search->piece)
	{
		int some = search->n - row < search->piece ? search->n - row : search->piece;

		if (br_base_cancelled(search->context))
			return cancelled(search->context);
		status = br_cuda_upload(search->context, stream, search->own_rows,
								search->rows + (size_t) row * dims,
								(size_t) some * dims * sizeof(float));
		if (status != BR_OK)
			break;
		br_cuda_multiply_floats(stream, search->own_queries, search->own_rows, n_queries, some,
								search->dims, search->similarities);
		br_cuda_top_k_offer(stream, search->similarities, n_queries, some, row, search->k,
							search->parts, search->best);
		status = br_cuda_check(search->context);
	}
	return status;
}

static BrStatus
search_queries(const Search *search, const float *queries, int n_queries, int32_t *ids,
			   float *similarities)
{
	BrStream stream = search->device->stream;
	BrContext *context = search->context;
	size_t n = (size_t) n_queries * (size_t) search->k;
	BrStatus status = br_cuda_upload(context, stream, search->own_queries, queries,
									 (size_t) n_queries * (size_t) search->dims * sizeof(float));

	if (status == BR_OK)
		status = br_cuda_clear(context, stream, search->best,
							   n * (size_t) search->parts * sizeof(BrTopKey));
	if (status == BR_OK)
		status = offer_rows(search, n_queries);
	if (status != BR_OK)
		return status;
	br_cuda_top_k_finish(stream, search->best, n_queries, search->k, search->parts, search->ids,
						 search->greatest);
	status = br_cuda_download(context, stream, ids, search->ids, n * sizeof(int32_t));
	if (status == BR_OK)
		status =
			br_cuda_download(context, stream, similarities, search->greatest, n * sizeof(float));
	return status == BR_OK ? br_cuda_wait(context, stream) : status;
}

/* Rows of a piece, by the bytes of what depends on them; fewer where memory is short. */
static BrStatus
plan_search(Search *search, int n_queries)
{
	BrDevice *device = search->device;
	size_t similarities;
	size_t rows;
	BrStatus status;

	search->queries = n_queries < MOST_QUERIES ? n_queries : MOST_QUERIES;
	search->parts = br_cuda_top_k_parts(search->queries);
	similarities = SIMILARITY_BYTES / ((size_t) search->queries * sizeof(float));
	rows = PIECE_BYTES / ((size_t) search->dims * sizeof(float)) + 1;
	search->piece = at_most(rows < similarities ? rows : similarities, search->n);
	status = br_cuda_reserve(search->context, &device->work, cut_search(search, NULL));
	while (status == BR_ERR_MEMORY && search->piece > FEWEST_ROWS)
	{
		search->piece /= 2;
		status = br_cuda_reserve(search->context, &device->work, cut_search(search, NULL));
	}
	if (status == BR_OK)
		(void) cut_search(search, device->work.memory);
	return status;
}

BrStatus
br_cuda_top_k(BrDevice *device, BrContext *context, const float *queries, int n_queries,
			  const float *rows, int n, int dims, int k, int32_t *ids, float *similarities)
{
	Search search =
		{.device = device, .context = context, .rows = rows, .n = n, .dims = dims, .k = k};
	BrStatus status;

	if (k < 1 || k > BR_TOP_K_LIMIT || k > n || dims < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The best %d of %d rows of %d dimensions were asked for; 1 to %d are "
							"found.",
							k, n, dims, n < BR_TOP_K_LIMIT ? n : BR_TOP_K_LIMIT);
	if (n_queries == 0)
		return BR_OK;
	status = plan_search(&search, n_queries);
	for (int query = 0; query < n_queries && status == BR_OK; query += search.queries)
	{
		int some = n_queries - query < search.queries ? n_queries - query : search.queries;
		size_t place = (size_t) query * (size_t) k;

		status = search_queries(&search, queries + (size_t) query * (size_t) dims, some,
								ids + place, similarities + place);
	}
	return status == BR_OK ? BR_OK : br_cuda_settle(device, context, status);
}
