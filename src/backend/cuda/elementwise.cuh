/*
 * elementwise.cuh
 *	  Over how many threads work is spread whose elements know nothing of each other.
 *
 * Blocks enough to fill the largest device several times, and each goes on to
 * where no other is, in size_t: a matrix may have more elements than an int.
 */
#ifndef BR_CUDA_ELEMENTWISE_CUH
#define BR_CUDA_ELEMENTWISE_CUH

#include "backend/cuda/kernel.cuh"

#define ELEMENT_THREADS 256
#define ELEMENT_KERNEL static __global__ __launch_bounds__(ELEMENT_THREADS)
#define ELEMENT_BLOCKS 4096

static inline unsigned
element_blocks(size_t n)
{
	size_t blocks = (n + ELEMENT_THREADS - 1) / ELEMENT_THREADS;

	return (unsigned) (blocks < ELEMENT_BLOCKS ? blocks : ELEMENT_BLOCKS);
}

static __device__ inline size_t
element_first(void)
{
	return (size_t) blockIdx.x * ELEMENT_THREADS + threadIdx.x;
}

static __device__ inline size_t
element_step(void)
{
	return (size_t) gridDim.x * ELEMENT_THREADS;
}

#endif /* BR_CUDA_ELEMENTWISE_CUH */
