/*
 * assign.cu
 *	  Which centroid is nearest to each vector, and k-means' next centroids.
 *
 * A block takes 128 vectors and goes over all centroids, 128 at a time
 * (float_tile.cuh). Products never leave its registers: each thread keeps the
 * nearest of its own columns for each of its rows, and the 16 lanes of a row agree
 * at the end. As |x|^2 is the same for all centroids of a vector, |c|^2 - 2 <x, c>
 * decides; the distance itself is summed from differences afterwards, since
 * that expression loses its digits where vectors lie close to their centroids.
 */
#include "backend/cuda/float_tile.cuh"

/* Warps of a block that has a row for each. */
#define WARPS 8
#define WARP_THREADS (WARPS * BR_WARP)
#define WARP_KERNEL static __global__ __launch_bounds__(WARP_THREADS)

typedef struct Nearest
{
	float value;
	int32_t number;
} Nearest;

static __device__ inline void
offer(Nearest *nearest, float value, int32_t number)
{
	if (value < nearest->value || (value == nearest->value && number < nearest->number))
	{
		nearest->value = value;
		nearest->number = number;
	}
}

/* Between the lanes that share rows. */
static __device__ inline void
agree(Nearest *nearest)
{
	for (int step = FLOAT_ACROSS / 2; step > 0; step /= 2)
	{
		float value = __shfl_xor_sync(BR_FULL_WARP, nearest->value, step);
		int32_t number = __shfl_xor_sync(BR_FULL_WARP, nearest->number, step);

		offer(nearest, value, number);
	}
}

template <bool FOURS>
FLOAT_KERNEL void
find_nearest(const float *vectors, int n, int dims, const float *centroids,
			 const float *squared_norms, int lists, int32_t *nearest)
{
	__shared__ FloatTiles tiles;
	int first = (int) blockIdx.x * FLOAT_TILE;
	float sums[FLOAT_EACH][FLOAT_EACH];
	Nearest best[FLOAT_EACH];

#pragma unroll
	for (int i = 0; i < FLOAT_EACH; i++)
	{
		best[i].value = INFINITY;
		best[i].number = 0;
	}
	for (int list = 0; list < lists; list += FLOAT_TILE)
	{
		multiply_tile<FOURS>(vectors, n, first, centroids, lists, list, dims, &tiles, sums);
#pragma unroll
		for (int j = 0; j < FLOAT_EACH; j++)
		{
			int number = list + float_column(j);
			float norm = number < lists ? squared_norms[number] : INFINITY;

#pragma unroll
			for (int i = 0; i < FLOAT_EACH; i++)
				if (norm - 2 * sums[i][j] < best[i].value)
				{
					best[i].value = norm - 2 * sums[i][j];
					best[i].number = number;
				}
		}
	}
#pragma unroll
	for (int i = 0; i < FLOAT_EACH; i++)
	{
		agree(&best[i]);
		if (threadIdx.x % FLOAT_ACROSS == 0 && first + float_row(i) < n)
			nearest[first + float_row(i)] = best[i].number;
	}
}

/* A row for each warp; the last block has fewer. */
static __device__ inline size_t
row_of_warp(void)
{
	return (size_t) blockIdx.x * WARPS + threadIdx.x / BR_WARP;
}

WARP_KERNEL void
measure(const float *vectors, int n, int dims, const float *centroids, const int32_t *nearest,
		float *distances)
{
	size_t number = row_of_warp();
	int lane = (int) threadIdx.x % BR_WARP;
	const float *vector = vectors + number * (size_t) dims;
	const float *centroid;
	float sum = 0;

	if (number >= (size_t) n)
		return;
	centroid = centroids + (size_t) nearest[number] * (size_t) dims;
	for (int i = lane; i < dims; i += BR_WARP)
		sum += (vector[i] - centroid[i]) * (vector[i] - centroid[i]);
	sum = warp_sum(sum);
	if (lane == 0)
		distances[number] = sum;
}

WARP_KERNEL void
square(const float *rows, int n, int dims, float *norms)
{
	size_t number = row_of_warp();
	int lane = (int) threadIdx.x % BR_WARP;
	const float *row = rows + number * (size_t) dims;
	float sum = 0;

	if (number >= (size_t) n)
		return;
	for (int i = lane; i < dims; i += BR_WARP)
		sum += row[i] * row[i];
	sum = warp_sum(sum);
	if (lane == 0)
		norms[number] = sum;
}

void
br_cuda_squared_norms(BrStream stream, const float *rows, int n, int dims, float *norms)
{
	if (n > 0)
		BR_LAUNCH(square, blocks_for((size_t) n, WARPS), WARP_THREADS, 0, stream, rows, n, dims,
				  norms);
}

void
br_cuda_assign(BrStream stream, const float *vectors, int n, int dims, const float *centroids,
			   const float *squared_norms, int lists, int32_t *nearest, float *distances)
{
	unsigned blocks = blocks_for((size_t) n, FLOAT_TILE);

	if (n == 0)
		return;
	if (dims % FLOAT_FOUR == 0)
		BR_LAUNCH(find_nearest<true>, blocks, FLOAT_THREADS, 0, stream, vectors, n, dims, centroids,
				  squared_norms, lists, nearest);
	else
		BR_LAUNCH(find_nearest<false>, blocks, FLOAT_THREADS, 0, stream, vectors, n, dims,
				  centroids, squared_norms, lists, nearest);
	if (distances != NULL)
		BR_LAUNCH(measure, blocks_for((size_t) n, WARPS), WARP_THREADS, 0, stream, vectors, n, dims,
				  centroids, nearest, distances);
}

/* ---- the next centroids ---- */

#define MEMBER_THREADS 256
#define MEMBER_KERNEL static __global__ __launch_bounds__(MEMBER_THREADS)
#define MEMBER_WARPS (MEMBER_THREADS / BR_WARP)

/*
 * Gathers, in their order, which of the next 256 vectors are of this list;
 * returns how many. Every warp counts its own by the bits of a ballot.
 */
static __device__ inline int
gather_members(const int32_t *nearest, int n, int first, int list, int *counts /* (warps) */,
			   int32_t *members /* (256) */)
{
	int warp = (int) threadIdx.x / BR_WARP;
	int lane = (int) threadIdx.x % BR_WARP;
	int number = first + (int) threadIdx.x;
	bool member = number < n && nearest[number] == list;
	unsigned bits = __ballot_sync(BR_FULL_WARP, member);
	int before = 0;
	int all = 0;

	__syncthreads();
	if (lane == 0)
		counts[warp] = __popc(bits);
	__syncthreads();
	for (int i = 0; i < MEMBER_WARPS; i++)
	{
		before += i < warp ? counts[i] : 0;
		all += counts[i];
	}
	if (member)
		members[before + __popc(bits & ((1u << lane) - 1))] = number;
	__syncthreads();
	return all;
}

/* A block has a list and as many of its columns as it has threads. */
MEMBER_KERNEL void
average(const float *vectors, const int32_t *nearest, int n, int dims, float *centroids,
		int32_t *counts)
{
	__shared__ int warp_counts[MEMBER_WARPS];
	__shared__ int32_t members[MEMBER_THREADS];
	int list = (int) blockIdx.x;
	int column = (int) (blockIdx.y * MEMBER_THREADS + threadIdx.x);
	double sum = 0;
	int count = 0;

	for (int first = 0; first < n; first += MEMBER_THREADS)
	{
		int more = gather_members(nearest, n, first, list, warp_counts, members);

		if (column < dims)
#pragma unroll 4
			for (int i = 0; i < more; i++)
				sum += vectors[(size_t) members[i] * (size_t) dims + (size_t) column];
		count += more;
	}
	if (column < dims && count > 0)
		centroids[(size_t) list * (size_t) dims + (size_t) column] = (float) (sum / count);
	if (counts != NULL && column == 0)
		counts[list] = count;
}

void
br_cuda_update_centroids(BrStream stream, const float *vectors, const int32_t *nearest, int n,
						 int dims, int lists, float *centroids, int32_t *counts)
{
	dim3 blocks((unsigned) lists, blocks_for((size_t) dims, MEMBER_THREADS));

	if (lists > 0)
		BR_LAUNCH(average, blocks, MEMBER_THREADS, 0, stream, vectors, nearest, n, dims, centroids,
				  counts);
}
