/*
 * attention.cu
 *	  Attention of texts of any lengths over packed tokens, without padding.
 *
 * A block of four warps takes one item (attention_items.c): 64 queries of a
 * head, or fewer queries of several heads where texts are short. A warp has 16
 * queries. Keys and values of its head pass through shared memory, 16 of them
 * for each warp that shares the head, and every warp uses all of them:
 *
 *		scores = queries keys'			tensor cores
 *		weights = exp2(scores - max)
 *		output = output * change of max + weights values		tensor cores
 *
 * which is the softmax over what has come so far (Milakov and Gimelshein, "Online
 * normalizer calculation for softmax", 2018; Dao et al., "FlashAttention",
 * NeurIPS 2022). All three stay in registers (instructions.cuh): a lane has two
 * rows of 16, and of each the same two columns of every eight, so that weights
 * are the left side of the second product as they stand, and a row is summed
 * over four lanes.
 *
 * Rows in shared memory are padded by 16 bytes, so that eight rows at the
 * same column lie in different banks. Registers are bounded so that three to five
 * blocks fit on a multiprocessor; the keys and values that come next are copied
 * while those that are there are used.
 */
#include "backend/cuda/attention.h"
#include "backend/cuda/kernel.cuh"

#define THREADS (ATTENTION_WARPS * BR_WARP)
#define KERNEL static __global__ __launch_bounds__(THREADS)
#define DENSE_KERNEL(blocks) static __global__ __launch_bounds__(THREADS, blocks)
#define TILE ATTENTION_TILE

/* Blocks on a multiprocessor at a time: as many as leave registers for a head's tiles. */
#define BLOCKS(head, relative) ((head) > 32 ? 3 : (relative) ? 4 : 5)

/* Halves between rows in shared memory, beyond the head's. */
#define PAD 8

/* Eights of keys that a block holds at a time. */
#define EIGHTS (ATTENTION_BLOCK / 8)

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

/* What a block holds of keys and values; those that come next are copied beside them. */
template <int HEAD> struct Rows
{
	__half keys[ATTENTION_BLOCK * (HEAD + PAD)];
	__half values[ATTENTION_BLOCK * (HEAD + PAD)];
};

/*
 * Begins to copy keys and values of a head, as many rows as its warps take at a
 * time, each warp's share of them; rows from `there` on are zeros.
 */
template <int HEAD>
static __device__ inline void
load_block(const __half *from, size_t dim, int there, Part part, Rows<HEAD> *to)
{
	const int vectors = HEAD / BR_HALF_STEP;
	int threads = part.share * BR_WARP;
	int width = part.share * TILE;
	int place = part.group * width * (HEAD + PAD);

	for (int i = (int) threadIdx.x % threads; i < width * vectors; i += threads)
	{
		int row = i / vectors;
		int column = i % vectors * BR_HALF_STEP;
		const __half *key = from + (size_t) (row < there ? row : 0) * 3 * dim + column;
		int target = place + row * (HEAD + PAD) + column;

		copy_to_shared(to->keys + target, key, row < there);
		copy_to_shared(to->values + target, key + dim, row < there);
	}
}

/* Of the two rows that a lane has a part of: largest score, and sum of weights relative to it. */
typedef struct RowState
{
	float largest[2];
	float total[2];
} RowState;

/* The rows that a lane has, in their tile. */
static __device__ inline int
row_of_lane(int which)
{
	return (int) threadIdx.x % BR_WARP / 4 + 8 * which;
}

/* The first of the two columns that a lane has of every eight. */
static __device__ inline int
column_of_lane(void)
{
	return 2 * ((int) threadIdx.x % 4);
}

/* A warp's queries as the left side of a product; those that are not there are zeros. */
template <int HEAD>
static __device__ inline void
load_queries(const __half *from, size_t stride, int there, unsigned (*queries)[4] /* (HEAD / 16) */)
{
#pragma unroll
	for (int which = 0; which < 2; which++)
	{
		int row = row_of_lane(which);
		const __half *place = from + (size_t) row * stride + column_of_lane();

#pragma unroll
		for (int i = 0; i < HEAD / TILE; i++)
		{
			queries[i][which] = row < there ? *(const unsigned *) (place + i * TILE) : 0;
			queries[i][which + 2] = row < there ? *(const unsigned *) (place + i * TILE + 8) : 0;
		}
	}
}

/* Scores of a warp's queries under `columns` keys, a multiple of 16. */
template <int HEAD>
static __device__ inline void
score(const unsigned (*queries)[4], const __half *keys, int columns, float (*scores)[4])
{
	int lane = (int) threadIdx.x % BR_WARP;
	const __half *place = keys + (lane % 8 + lane / 16 * 8) * (HEAD + PAD) + lane / 8 % 2 * 8;

#pragma unroll
	for (int j = 0; j < EIGHTS; j += 2)
	{
#pragma unroll
		for (int e = 0; e < 4; e++)
			scores[j][e] = scores[j + 1][e] = 0;
		if (8 * j >= columns)
			continue;
#pragma unroll
		for (int i = 0; i < HEAD / TILE; i++)
		{
			unsigned tiles[4];

			load_tiles(tiles, place + 8 * j * (HEAD + PAD) + i * TILE);
			multiply_tile(scores[j], queries[i], tiles);
			multiply_tile(scores[j + 1], queries[i], tiles + 2);
		}
	}
}

/* Scales scores and adds what belongs to distances, of the keys that are there. */
static __device__ inline void
add_relative(float (*scores)[4], int keys_left, float scale, const float *const *relative /* (2) */)
{
#pragma unroll
	for (int j = 0; j < EIGHTS; j++)
#pragma unroll
		for (int e = 0; e < 4; e++)
		{
			int column = 8 * j + column_of_lane() + e % 2;

			scores[j][e] *= scale;
			if (relative[e / 2] != NULL && column < keys_left)
				scores[j][e] += relative[e / 2][column] * LOG2_E;
		}
}

/* Hides the keys that are not there. */
static __device__ inline void
hide_scores(float (*scores)[4], int keys_left)
{
#pragma unroll
	for (int j = 0; j < EIGHTS; j++)
#pragma unroll
		for (int e = 0; e < 4; e++)
			scores[j][e] = 8 * j + column_of_lane() + e % 2 < keys_left ? scores[j][e] : -INFINITY;
}

/*
 * Replaces scores by weights; change: by how much what was summed before must
 * change. scale, above 0: of scores, which one instruction applies together with
 * the difference from the largest.
 */
static __device__ inline void
weigh_scores(float (*scores)[4], float scale, RowState *state, float *change /* (2) */)
{
#pragma unroll
	for (int which = 0; which < 2; which++)
	{
		float largest = -INFINITY;
		float sum = 0;

#pragma unroll
		for (int j = 0; j < EIGHTS; j++)
			largest = fmaxf(largest, fmaxf(scores[j][2 * which], scores[j][2 * which + 1]));
		largest = fmaxf(largest, __shfl_xor_sync(BR_FULL_WARP, largest, 1));
		largest = fmaxf(largest, __shfl_xor_sync(BR_FULL_WARP, largest, 2));
		largest = fmaxf(largest * scale, state->largest[which]);
		change[which] = power_of_two(state->largest[which] - largest);
#pragma unroll
		for (int j = 0; j < EIGHTS; j++)
#pragma unroll
			for (int e = 2 * which; e < 2 * which + 2; e++)
			{
				scores[j][e] = power_of_two(fmaf(scores[j][e], scale, -largest));
				sum += scores[j][e];
			}
		state->total[which] = state->total[which] * change[which] + sum;
		state->largest[which] = largest;
	}
}

/* output = output * change + weights values */
template <int HEAD>
static __device__ inline void
add_values(const float (*weights)[4], const __half *values, int columns, const float *change,
		   float (*output)[4] /* (HEAD / 8) */)
{
	int lane = (int) threadIdx.x % BR_WARP;
	const __half *place = values + (lane % 8 + lane / 8 % 2 * 8) * (HEAD + PAD) + lane / 16 * 8;

#pragma unroll
	for (int i = 0; i < HEAD / 8; i++)
#pragma unroll
		for (int e = 0; e < 4; e++)
			output[i][e] *= change[e / 2];
#pragma unroll
	for (int j = 0; j < EIGHTS; j += 2)
	{
		unsigned left[4];

		if (8 * j >= columns)
			continue;
#pragma unroll
		for (int e = 0; e < 4; e++)
			left[e] = pack_halves(weights[j + e / 2][e % 2 * 2], weights[j + e / 2][e % 2 * 2 + 1]);
#pragma unroll
		for (int i = 0; i < HEAD / 8; i += 2)
		{
			unsigned tiles[4];

			load_tiles_turned(tiles, place + 8 * j * (HEAD + PAD) + 8 * i);
			multiply_tile(output[i], left, tiles);
			multiply_tile(output[i + 1], left, tiles + 2);
		}
	}
}

/* Divides by the sums of weights and writes the queries that there are. */
template <int HEAD>
static __device__ inline void
write_output(const float (*output)[4], const RowState *state, int there, __half *to, size_t stride)
{
#pragma unroll
	for (int which = 0; which < 2; which++)
	{
		int row = row_of_lane(which);
		float total = state->total[which];

		total += __shfl_xor_sync(BR_FULL_WARP, total, 1);
		total += __shfl_xor_sync(BR_FULL_WARP, total, 2);
		if (row >= there)
			continue;
#pragma unroll
		for (int i = 0; i < HEAD / 8; i++)
			*(unsigned *) (to + (size_t) row * stride + 8 * i + column_of_lane()) =
				pack_halves(output[i][2 * which] / total, output[i][2 * which + 1] / total);
	}
}

/* The warp's 16 queries over the keys and values that stand in shared memory. */
template <int HEAD, bool RELATIVE>
static __device__ inline void
attend_tile(const unsigned (*queries)[4], const __half *keys, const __half *values, int keys_left,
			int width, float scale, const float *const *relative, RowState *state,
			float (*output)[4])
{
	int columns = keys_left < width ? (keys_left + TILE - 1) / TILE * TILE : width;
	float scores[EIGHTS][4];
	float change[2];

	score<HEAD>(queries, keys, columns, scores);
	if (RELATIVE)
		add_relative(scores, keys_left, scale, relative);
	if (keys_left < ATTENTION_BLOCK)
		hide_scores(scores, keys_left < width ? keys_left : width);
	else if (width < ATTENTION_BLOCK)
		hide_scores(scores, width);
	weigh_scores(scores, RELATIVE ? 1 : scale, state, change);
	add_values<HEAD>(scores, values, columns, change, output);
}

template <int HEAD, bool RELATIVE>
DENSE_KERNEL(BLOCKS(HEAD, RELATIVE))
void attend(Attention attention)
{
	__shared__ __align__(128) Rows<HEAD> rows[2];
	BrAttentionItem item = attention.items[blockIdx.x];
	Part part = part_of_warp(attention, item);
	size_t dim = (size_t) attention.heads * HEAD;
	const __half *text = attention.qkv + (size_t) item.start * 3 * dim + (size_t) part.head * HEAD;
	int width = part.share * TILE; /* keys at a time, and threads in twos that load them */
	int place = part.group * width * (HEAD + PAD);
	int there = item.length - part.query; /* queries of this warp */
	bool busy = part.wanted && there > 0;
	const float *relative[2] = {NULL, NULL};
	unsigned queries[HEAD / TILE][4];
	float output[HEAD / 8][4] = {};
	RowState state = {{-INFINITY, -INFINITY}, {0, 0}};

	if (part.wanted)
		load_block<HEAD>(text + dim, dim, item.length, part, &rows[0]);
	if (busy)
	{
		load_queries<HEAD>(text + (size_t) part.query * 3 * dim, 3 * dim, there, queries);
#pragma unroll
		for (int which = 0; which < 2 && RELATIVE; which++)
			if (row_of_lane(which) < there)
				relative[which] =
					relative_row(attention, part.head, part.query + row_of_lane(which));
	}
	for (int key = 0; key < item.length; key += width)
	{
		const Rows<HEAD> *now = &rows[key / width % 2];

		wait_for_copies();
		__syncthreads();
		if (part.wanted && key + width < item.length)
			load_block<HEAD>(text + (size_t) (key + width) * 3 * dim + dim, dim,
							 item.length - key - width, part, &rows[(key / width + 1) % 2]);
		if (busy)
			attend_tile<HEAD, RELATIVE>(queries, now->keys + place, now->values + place,
										item.length - key, width, attention.scale, relative, &state,
										output);
		for (int which = 0; which < 2 && RELATIVE; which++)
			relative[which] = relative[which] != NULL ? relative[which] + width : NULL;
	}
	if (busy)
		write_output<HEAD>(output, &state, there,
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
	float largest_so_far = -INFINITY;
	float total = 0;

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
		largest = fmaxf(largest_so_far, warp_max(score));
		change = exp2f(largest_so_far - largest);
		weight = exp2f(score - largest);
		weights[lane] = weight;
		total = total * change + warp_sum(weight);
		largest_so_far = largest;
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
		output[i] = __float2half(sums[i] / total);
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

template <int HEAD>
static inline void
launch_dense(BrStream stream, int n_items, const Attention &attention)
{
	if (attention.relative != NULL)
		BR_LAUNCH((attend<HEAD, true>), (unsigned) n_items, THREADS, 0, stream, attention);
	else
		BR_LAUNCH((attend<HEAD, false>), (unsigned) n_items, THREADS, 0, stream, attention);
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
		launch_dense<32>(stream, n_items, attention);
	else if (head_dim == 64)
		launch_dense<64>(stream, n_items, attention);
	else
		BR_LAUNCH(attend_plainly, (unsigned) n_items, THREADS, plain, stream, attention);
}
