/*
 * top_k.cu
 *	  The k rows of the greatest similarity, as rows come by.
 *
 * A similarity and its row make one 64-bit key, greater for what comes first, so
 * that all keys differ and the order in which threads offer them changes nothing.
 * A block keeps the k best of its query and part in shared memory, and behind
 * them what was offered since: only keys above the k-th best get there, which are
 * few after the first rows. When there is no room for another offer of every
 * thread, all are sorted and the first half stays.
 */
#include "backend/cuda/kernel.cuh"

#define THREADS 256
#define KERNEL static __global__ __launch_bounds__(THREADS)

/* Blocks that fill a device, and parts beyond which a query has too few rows in each. */
#define MOST_BLOCKS 512
#define MOST_PARTS 64

/* What a block has in shared memory. */
typedef struct Collector
{
	BrTopKey *keys; /* (2 * room): the best, then offers */
	int room;		/* a power of two, at least k and two keys of each thread */
	int k;
	unsigned *n_offers; /* shared by all threads */
} Collector;

/* Floats in an order of unsigned integers; NaN is 0 and -0 is 0. */
static __device__ inline BrTopKey
key_of(float similarity, uint32_t row)
{
	uint32_t bits = __float_as_uint(similarity + 0.0f);

	bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
	if (similarity != similarity)
		bits = 0;
	return (BrTopKey) bits << 32 | (BrTopKey) ~row;
}

static __device__ inline float
similarity_of(BrTopKey key)
{
	uint32_t bits = (uint32_t) (key >> 32);

	if (bits == 0)
		return NAN;
	return __uint_as_float((bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits);
}

/* Batcher's bitonic sort, greatest first, by all threads. */
static __device__ inline void
sort_keys(BrTopKey *keys, int n)
{
	for (int size = 2; size <= n; size *= 2)
		for (int step = size / 2; step > 0; step /= 2)
		{
			__syncthreads();
			for (int i = (int) threadIdx.x; i < n / 2; i += THREADS)
			{
				int low = 2 * step * (i / step) + i % step;
				BrTopKey first = keys[low];
				BrTopKey second = keys[low + step];

				if ((first < second) == ((low & size) == 0))
				{
					keys[low] = second;
					keys[low + step] = first;
				}
			}
		}
	__syncthreads();
}

static __device__ inline Collector
open_collector(void *memory, int k, int room)
{
	Collector collector = {(BrTopKey *) memory, room, k,
						   (unsigned *) ((BrTopKey *) memory + 2 * room)};

	for (int i = (int) threadIdx.x; i < 2 * room; i += THREADS)
		collector.keys[i] = 0;
	if (threadIdx.x == 0)
		*collector.n_offers = 0;
	__syncthreads();
	return collector;
}

/* The k best of what came so far to the front. */
static __device__ inline void
settle(const Collector &collector)
{
	__syncthreads();
	if (*collector.n_offers == 0)
		return;
	sort_keys(collector.keys, 2 * collector.room);
	for (int i = (int) threadIdx.x; i < 2 * collector.room; i += THREADS)
		if (i >= collector.k)
			collector.keys[i] = 0;
	if (threadIdx.x == 0)
		*collector.n_offers = 0;
	__syncthreads();
}

/* One key of each thread, 0 for none. */
static __device__ inline void
offer(const Collector &collector, BrTopKey key)
{
	__syncthreads();
	if (*collector.n_offers + THREADS > (unsigned) collector.room)
		settle(collector);
	__syncthreads();
	if (key > collector.keys[collector.k - 1])
		collector.keys[(unsigned) collector.room + atomicAdd(collector.n_offers, 1u)] = key;
}

KERNEL void
offer_rows(const float *similarities, int columns, int first_row, int k, int room, int parts,
		   BrTopKey *best)
{
	BR_DYNAMIC_SHARED(memory);
	size_t query = blockIdx.x / (unsigned) parts;
	int part = (int) (blockIdx.x % (unsigned) parts);
	int begin = (int) ((int64_t) columns * part / parts);
	int end = (int) ((int64_t) columns * (part + 1) / parts);
	const float *from = similarities + query * (size_t) columns;
	BrTopKey *to = best + (size_t) blockIdx.x * (size_t) k;
	Collector collector = open_collector(memory, k, room);

	for (int i = (int) threadIdx.x; i < k; i += THREADS)
		collector.keys[i] = to[i];
	for (int column = begin; column < end; column += THREADS)
	{
		int own = column + (int) threadIdx.x;

		offer(collector, own < end ? key_of(from[own], (uint32_t) first_row + (uint32_t) own) : 0);
	}
	settle(collector);
	for (int i = (int) threadIdx.x; i < k; i += THREADS)
		to[i] = collector.keys[i];
}

KERNEL void
finish(const BrTopKey *best, int k, int room, int parts, int32_t *ids, float *similarities)
{
	BR_DYNAMIC_SHARED(memory);
	size_t query = blockIdx.x;
	int n = parts * k;
	const BrTopKey *from = best + query * (size_t) n;
	Collector collector = open_collector(memory, k, room);

	for (int first = 0; first < n; first += THREADS)
	{
		int own = first + (int) threadIdx.x;

		offer(collector, own < n ? from[own] : 0);
	}
	settle(collector);
	for (int i = (int) threadIdx.x; i < k; i += THREADS)
	{
		BrTopKey key = collector.keys[i];
		size_t place = query * (size_t) k + (size_t) i;

		ids[place] = key != 0 ? (int32_t) ~(uint32_t) key : -1;
		similarities[place] = key != 0 ? similarity_of(key) : 0;
	}
}

static int
room_for(int k)
{
	int room = 2 * THREADS;

	while (room < k)
		room *= 2;
	return room;
}

static size_t
memory_for(int room)
{
	return 2 * (size_t) room * sizeof(BrTopKey) + sizeof(BrTopKey);
}

int
br_cuda_top_k_parts(int n_queries)
{
	int parts = n_queries > 0 ? MOST_BLOCKS / n_queries : 1;

	if (parts < 1)
		return 1;
	return parts < MOST_PARTS ? parts : MOST_PARTS;
}

void
br_cuda_top_k_offer(BrStream stream, const float *similarities, int n_queries, int columns,
					int first_row, int k, int parts, BrTopKey *best)
{
	unsigned blocks = (unsigned) n_queries * (unsigned) parts;
	int room = room_for(k);

	if (blocks > 0 && columns > 0)
		BR_LAUNCH(offer_rows, blocks, THREADS, memory_for(room), stream, similarities, columns,
				  first_row, k, room, parts, best);
}

void
br_cuda_top_k_finish(BrStream stream, const BrTopKey *best, int n_queries, int k, int parts,
					 int32_t *ids, float *similarities)
{
	int room = room_for(k);

	if (n_queries > 0)
		BR_LAUNCH(finish, (unsigned) n_queries, THREADS, memory_for(room), stream, best, k, room,
				  parts, ids, similarities);
}
