/*
 * attention.cu
 *	  Attention of texts of any lengths over packed tokens, without padding.
 *
 * A block of four warps takes one item (attention_items.c): 64 queries of a
 * head, or fewer queries of several heads where texts are short. A warp has 16
 * queries. Keys and values of its head pass through shared memory, 16 of them
 * for each warp that shares the head, and every warp uses all of them:
 *
 *		scores = queries keys'			tensor cores, to shared memory in float
 *		weights = exp2(scores - max)	two lanes a row, to shared memory in half
 *		output = output * change of max + weights values		tensor cores
 *
 * which is the softmax over what has come so far (Milakov and Gimelshein, "Online
 * normalizer calculation for softmax", 2018; Dao et al., "FlashAttention",
 * NeurIPS 2022): scores never reach the device's memory. The output stays in
 * registers. Which element of it a lane holds is not ours to know, so that the
 * factors by which rows change are loaded as a tile of the same kind, and tiles
 * are multiplied element by element; texts of up to 64 tokens never need it.
 *
 * Rows in shared memory are padded by 16 bytes, so that eight rows at the
 * same column lie in different banks; scores are read four at a time by two
 * lanes a row in turn, for the same reason. Shared memory of a block is 37 KB
 * and a thread has at most 128 registers, so that four blocks fit on a
 * multiprocessor and one computes while another one loads.
 */
#include <mma.h>

#include "backend/cuda/attention.h"
#include "backend/cuda/kernel.cuh"

using nvcuda::wmma::accumulator;
using nvcuda::wmma::col_major;
using nvcuda::wmma::fill_fragment;
using nvcuda::wmma::fragment;
using nvcuda::wmma::load_matrix_sync;
using nvcuda::wmma::matrix_a;
using nvcuda::wmma::matrix_b;
using nvcuda::wmma::mem_row_major;
using nvcuda::wmma::mma_sync;
using nvcuda::wmma::row_major;
using nvcuda::wmma::store_matrix_sync;

#define THREADS (ATTENTION_WARPS * BR_WARP)
#define KERNEL static __global__ __launch_bounds__(THREADS)
#define DENSE_KERNEL static __global__ __launch_bounds__(THREADS, 4) /* blocks at a time */
#define TILE ATTENTION_TILE
#define LOG2_E 1.4426950408889634f

/* Halves and floats between rows in shared memory. */
#define PAD 8
#define WEIGHT_STRIDE (ATTENTION_BLOCK + PAD)
#define SCORE_STRIDE (ATTENTION_BLOCK + PAD)

/* Where the tile of factors stands in a warp's work memory, behind the weights: in floats. */
#define FACTORS (TILE * WEIGHT_STRIDE / 2)

typedef fragment<matrix_a, TILE, TILE, TILE, __half, row_major> LeftTile;
typedef fragment<matrix_b, TILE, TILE, TILE, __half, col_major> KeyTile;
typedef fragment<matrix_b, TILE, TILE, TILE, __half, row_major> ValueTile;
typedef fragment<accumulator, TILE, TILE, TILE, float> SumTile;

/* What a launch is about. */
typedef struct Attention
{
	const __half *qkv;
	const BrAttentionItem *items;
	int heads;
	int head_dim;
	int first_head;
	int last_head;
	const float *relative;
	int longest;
	float scale; /* of scores, for powers of two */
	__half *output;
} Attention;

/* Which part of its block's item a warp does. */
typedef struct Part
{
	int head;
	bool wanted; /* whether there is such a head, and it is asked for */
	int query;	 /* the first, in the text */
	int group;	 /* which head of the block it is */
	int share;	 /* warps that share it */
} Part;

static __device__ inline Part
part_of_warp(const Attention &attention, const BrAttentionItem &item)
{
	int warp = (int) threadIdx.x / BR_WARP;
	Part part;

	part.share = ATTENTION_SHARE(item.length);
	part.group = warp / part.share;
	part.head = item.head + part.group;
	part.wanted = part.head < attention.heads && part.head >= attention.first_head &&
		part.head < attention.last_head;
	part.query = item.query + warp % part.share * TILE;
	return part;
}

/* What is added to a query's score of key 0, key 1, ...; NULL: nothing. */
static __device__ inline const float *
relative_row(const Attention &attention, int head, int query)
{
	if (attention.relative == NULL)
		return NULL;
	return attention.relative + (size_t) head * (2 * (size_t) attention.longest - 1) +
		(size_t) (attention.longest - 1 - query);
}

/* Copies n rows of a head, of which those from `there` on are zeros, by `threads` threads. */
template <int HEAD>
static __device__ inline void
load_rows(const __half *from, size_t stride, int there, int n, int thread, int threads,
		  __half *to /* (n, HEAD + PAD) */)
{
	const int vectors = HEAD / BR_HALF_STEP;

	for (int i = thread; i < n * vectors; i += threads)
	{
		int row = i / vectors;
		int column = i % vectors * BR_HALF_STEP;
		uint4 raw = make_uint4(0, 0, 0, 0);

		if (row < there)
			raw = *(const uint4 *) (from + (size_t) row * stride + column);
		*(uint4 *) (to + row * (HEAD + PAD) + column) = raw;
	}
}

/*
 * Of a warp's row of scores: the weights, relative to the largest score so far.
 * Two lanes have a row, each every other four of its columns.
 */
typedef struct RowState
{
	float largest;
	float total;
} RowState;

/* Replaces scores by weights; returns by how much what was summed before must change. */
static __device__ inline float
weigh_scores(float *work, int columns, int keys_left, float scale, const float *relative,
			 RowState *state)
{
	int row = (int) threadIdx.x % BR_WARP / 2;
	int parity = (int) threadIdx.x % 2;
	float scores[ATTENTION_BLOCK / 8][4];
	float largest = -INFINITY;
	float sum = 0;
	float change;

#pragma unroll
	for (int j = 0; j < ATTENTION_BLOCK / 8; j++)
	{
		int column = 8 * j + 4 * parity;

		for (int i = 0; i < 4; i++)
			scores[j][i] = -INFINITY;
		if (8 * j < columns)
		{
			float4 four = *(const float4 *) (work + row * SCORE_STRIDE + column);
			float plain[4] = {four.x, four.y, four.z, four.w};

			for (int i = 0; i < 4; i++)
				if (column + i < keys_left)
					scores[j][i] =
						plain[i] * scale + (relative != NULL ? relative[column + i] * LOG2_E : 0);
		}
		for (int i = 0; i < 4; i++)
			largest = fmaxf(largest, scores[j][i]);
	}
	largest = fmaxf(largest, __shfl_xor_sync(BR_FULL_WARP, largest, 1));
	largest = fmaxf(largest, state->largest);
	change = exp2f(state->largest - largest);
	__syncwarp();

#pragma unroll
	for (int j = 0; j < ATTENTION_BLOCK / 8; j++)
		if (8 * j < columns)
		{
			__half2 *to = (__half2 *) ((__half *) work + row * WEIGHT_STRIDE + 8 * j + 4 * parity);

			for (int i = 0; i < 4; i++)
			{
				scores[j][i] = exp2f(scores[j][i] - largest);
				sum += scores[j][i];
			}
			to[0] = __floats2half2_rn(scores[j][0], scores[j][1]);
			to[1] = __floats2half2_rn(scores[j][2], scores[j][3]);
		}
	sum += __shfl_xor_sync(BR_FULL_WARP, sum, 1);
	state->total = state->total * change + sum;
	state->largest = largest;
	return change;
}

/* Multiplies the rows of what was summed so far, if any of them changes. */
template <int COLUMNS>
static __device__ inline void
change_rows(SumTile *output /* (COLUMNS) */, float change, float *work)
{
	int row = (int) threadIdx.x % BR_WARP / 2;
	int parity = (int) threadIdx.x % 2;
	float4 *to = (float4 *) (work + FACTORS + row * TILE + parity * TILE / 2);
	SumTile factors;

	if (!__any_sync(BR_FULL_WARP, change != 1))
		return;
	to[0] = make_float4(change, change, change, change);
	to[1] = make_float4(change, change, change, change);
	__syncwarp();
	load_matrix_sync(factors, work + FACTORS, TILE, mem_row_major);
#pragma unroll
	for (int i = 0; i < COLUMNS; i++)
		for (int e = 0; e < output[i].num_elements; e++)
			output[i].x[e] *= factors.x[e];
}

/* Divides by the sums of weights and writes the queries that there are. */
template <int HEAD>
static __device__ inline void
write_output(SumTile *output, float *work, float total, int there, __half *to, size_t stride)
{
	int row = (int) threadIdx.x % BR_WARP / 2;
	int parity = (int) threadIdx.x % 2;

	__syncwarp();
#pragma unroll
	for (int i = 0; i < HEAD / TILE; i++)
		store_matrix_sync(work + i * TILE, output[i], SCORE_STRIDE, mem_row_major);
	__syncwarp();
	if (row >= there)
		return;
#pragma unroll
	for (int j = 0; j < HEAD / (2 * BR_HALF_STEP); j++)
	{
		int column = (2 * j + parity) * BR_HALF_STEP;
		const float4 *from = (const float4 *) (work + row * SCORE_STRIDE + column);
		float4 low = from[0];
		float4 high = from[1];
		float eight[BR_HALF_STEP] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};

		for (int i = 0; i < BR_HALF_STEP; i++)
			eight[i] /= total;
		write_halves(eight, to + (size_t) row * stride + column);
	}
}

/* The warp's 16 queries over the keys and values that stand in shared memory. */
template <int HEAD>
static __device__ inline void
attend_tile(const LeftTile *queries, const __half *keys, const __half *values, int keys_left,
			int width, float scale, const float *relative, float *work, bool first, RowState *state,
			SumTile *output)
{
	int columns = keys_left < width ? (keys_left + TILE - 1) / TILE * TILE : width;
	float change;

	for (int column = 0; column < columns; column += TILE)
	{
		SumTile scores;

		fill_fragment(scores, 0.0f);
#pragma unroll
		for (int i = 0; i < HEAD / TILE; i++)
		{
			KeyTile key;

			load_matrix_sync(key, keys + column * (HEAD + PAD) + i * TILE, HEAD + PAD);
			mma_sync(scores, queries[i], key, scores);
		}
		store_matrix_sync(work + column, scores, SCORE_STRIDE, mem_row_major);
	}
	__syncwarp();
	change = weigh_scores(work, columns, keys_left, scale, relative, state);
	__syncwarp();
	if (!first)
		change_rows<HEAD / TILE>(output, change, work);
	for (int row = 0; row < columns; row += TILE)
	{
		LeftTile weights;

		load_matrix_sync(weights, (const __half *) work + row, WEIGHT_STRIDE);
#pragma unroll
		for (int i = 0; i < HEAD / TILE; i++)
		{
			ValueTile value;

			load_matrix_sync(value, values + row * (HEAD + PAD) + i * TILE, HEAD + PAD);
			mma_sync(output[i], weights, value, output[i]);
		}
	}
	__syncwarp();
}

template <int HEAD>
DENSE_KERNEL void
attend(Attention attention)
{
	__shared__ __align__(128) __half keys[ATTENTION_BLOCK * (HEAD + PAD)];
	__shared__ __align__(128) __half values[ATTENTION_BLOCK * (HEAD + PAD)];
	__shared__ __align__(128) float all_work[ATTENTION_WARPS][TILE * SCORE_STRIDE];
	BrAttentionItem item = attention.items[blockIdx.x];
	Part part = part_of_warp(attention, item);
	size_t dim = (size_t) attention.heads * HEAD;
	const __half *text = attention.qkv + (size_t) item.start * 3 * dim + (size_t) part.head * HEAD;
	float *work = all_work[threadIdx.x / BR_WARP];
	int lane = (int) threadIdx.x % BR_WARP;
	int width = part.share * TILE; /* keys at a time, and threads in twos that load them */
	int place = part.group * width * (HEAD + PAD);
	int thread = (int) threadIdx.x % (part.share * BR_WARP);
	int there = item.length - part.query; /* queries of this warp */
	bool busy = part.wanted && there > 0;
	int row = part.query + lane / 2;
	const float *relative =
		busy && lane / 2 < there ? relative_row(attention, part.head, row) : NULL;
	LeftTile queries[HEAD / TILE];
	SumTile output[HEAD / TILE];
	RowState state = {-INFINITY, 0};

	if (busy)
	{
		load_rows<HEAD>(text + (size_t) part.query * 3 * dim, 3 * dim, there, TILE, lane, BR_WARP,
						(__half *) work);
		__syncwarp();
#pragma unroll
		for (int i = 0; i < HEAD / TILE; i++)
		{
			load_matrix_sync(queries[i], (const __half *) work + i * TILE, HEAD + PAD);
			fill_fragment(output[i], 0.0f);
		}
	}
	for (int key = 0; key < item.length; key += width)
	{
		const __half *from = text + (size_t) key * 3 * dim;

		__syncthreads();
		if (part.wanted)
		{
			load_rows<HEAD>(from + dim, 3 * dim, item.length - key, width, thread,
							part.share * BR_WARP, keys + place);
			load_rows<HEAD>(from + 2 * dim, 3 * dim, item.length - key, width, thread,
							part.share * BR_WARP, values + place);
		}
		__syncthreads();
		if (busy)
			attend_tile<HEAD>(queries, keys + place, values + place, item.length - key, width,
							  attention.scale, relative != NULL ? relative + key : NULL, work,
							  key == 0, &state, output);
	}
	if (busy)
		write_output<HEAD>(output, work, state.total, there,
						   attention.output + (size_t) (item.start + part.query) * dim +
							   (size_t) part.head * HEAD,
						   dim);
}

/* ---- any other head dimension: one query at a time, without tensor cores ---- */

/* Floats of shared memory of a warp: its query, its output, and weights of as many keys. */
#define PLAIN_FLOATS(head_dim) (2 * (head_dim) + BR_WARP)

/* One query over all keys, 32 at a time, one a lane. */
static __device__ inline void
attend_query(const __half *query, const __half *keys, const __half *values, size_t stride,
			 int length, int head_dim, float scale, const float *relative, float *work,
			 __half *output)
{
	int lane = (int) threadIdx.x % BR_WARP;
	float *sums = work + head_dim;
	float *weights = work + 2 * head_dim;
	RowState state = {-INFINITY, 0};

	for (int i = lane; i < head_dim; i += BR_WARP)
	{
		work[i] = __half2float(query[i]) * scale;
		sums[i] = 0;
	}
	__syncwarp();
	for (int first = 0; first < length; first += BR_WARP)
	{
		int key = first + lane;
		int n = length - first < BR_WARP ? length - first : BR_WARP;
		float score = -INFINITY;
		float largest;
		float change;
		float weight;

		if (key < length)
		{
			score = relative != NULL ? relative[key] * LOG2_E : 0;
			for (int i = 0; i < head_dim; i++)
				score += work[i] * __half2float(keys[(size_t) key * stride + i]);
		}
		largest = fmaxf(state.largest, warp_max(score));
		change = exp2f(state.largest - largest);
		weight = exp2f(score - largest);
		weights[lane] = weight;
		state.total = state.total * change + warp_sum(weight);
		state.largest = largest;
		__syncwarp();
		for (int i = lane; i < head_dim; i += BR_WARP)
		{
			float sum = sums[i] * change;

			for (int j = 0; j < n; j++)
				sum += weights[j] * __half2float(values[(size_t) (first + j) * stride + i]);
			sums[i] = sum;
		}
		__syncwarp();
	}
	for (int i = lane; i < head_dim; i += BR_WARP)
		output[i] = __float2half(sums[i] / state.total);
}

KERNEL void
attend_plainly(Attention attention)
{
	BR_DYNAMIC_SHARED(memory);
	BrAttentionItem item = attention.items[blockIdx.x];
	Part part = part_of_warp(attention, item);
	int head_dim = attention.head_dim;
	size_t dim = (size_t) attention.heads * (size_t) head_dim;
	size_t column = (size_t) part.head * (size_t) head_dim;
	const __half *text = attention.qkv + (size_t) item.start * 3 * dim + column;
	float *work = (float *) memory + threadIdx.x / BR_WARP * PLAIN_FLOATS(head_dim);

	if (!part.wanted)
		return;
	for (int query = part.query; query < part.query + TILE && query < item.length; query++)
		attend_query(text + (size_t) query * 3 * dim, text + dim, text + 2 * dim, 3 * dim,
					 item.length, head_dim, attention.scale,
					 relative_row(attention, part.head, query), work,
					 attention.output + (size_t) (item.start + query) * dim + column);
}

void
br_cuda_attention(BrStream stream, const BrHalf *qkv, const BrAttentionItem *items, int n_items,
				  int heads, int head_dim, int first_head, int last_head, const float *relative,
				  int longest, BrHalf *output)
{
	Attention attention = {(const __half *) qkv,
						   items,
						   heads,
						   head_dim,
						   first_head,
						   last_head,
						   relative,
						   longest,
						   LOG2_E / sqrtf((float) head_dim),
						   (__half *) output};
	size_t plain = ATTENTION_WARPS * PLAIN_FLOATS((size_t) head_dim) * sizeof(float);

	if (n_items == 0)
		return;
	if (head_dim == 32)
		BR_LAUNCH(attend<32>, (unsigned) n_items, THREADS, 0, stream, attention);
	else if (head_dim == 64)
		BR_LAUNCH(attend<64>, (unsigned) n_items, THREADS, 0, stream, attention);
	else
		BR_LAUNCH(attend_plainly, (unsigned) n_items, THREADS, plain, stream, attention);
}
