/*
 * dropout.cuh
 *	  The random numbers of dropout, wherever they are asked for.
 *
 * Philox4x32-10 as core/base/random.c has it: block number b of a stream is a
 * function of both, so that a thread computes the eight numbers of 16 bits that
 * it needs and no other.
 */
#ifndef BR_CUDA_DROPOUT_CUH
#define BR_CUDA_DROPOUT_CUH

#include "backend/cuda/kernel.cuh"
#include "backend/cuda/training.h"

/* Numbers of a block. */
#define DROPOUT_EACH 8

#define DROPOUT_UNIT 65536u

static __device__ inline float
dropout_scale(uint32_t share)
{
	return (float) DROPOUT_UNIT / (float) (DROPOUT_UNIT - share);
}

/* Bit i: whether value 8 block + i of a row, of the batch, is kept. */
static __device__ inline unsigned
dropout_bits(BrDropout dropout, uint64_t row, unsigned block)
{
	uint64_t stream = dropout.stream + row;
	uint32_t word[4] = {block, 0, (uint32_t) stream, (uint32_t) (stream >> 32)};
	uint32_t key[2] = {(uint32_t) dropout.key, (uint32_t) (dropout.key >> 32)};
	unsigned bits = 0;

#pragma unroll
	for (int round = 0; round < BR_PHILOX_ROUNDS; round++)
	{
		uint64_t first = (uint64_t) BR_PHILOX_MULTIPLIER_0 * word[0];
		uint64_t second = (uint64_t) BR_PHILOX_MULTIPLIER_1 * word[2];

		word[0] = (uint32_t) (second >> 32) ^ word[1] ^ key[0];
		word[1] = (uint32_t) second;
		word[2] = (uint32_t) (first >> 32) ^ word[3] ^ key[1];
		word[3] = (uint32_t) first;
		key[0] += BR_PHILOX_WEYL_0;
		key[1] += BR_PHILOX_WEYL_1;
	}
#pragma unroll
	for (int i = 0; i < DROPOUT_EACH; i++)
		bits |= (unsigned) ((word[i / 2] >> (i % 2 * 16) & (DROPOUT_UNIT - 1)) >= dropout.share)
			<< i;
	return bits;
}

#endif /* BR_CUDA_DROPOUT_CUH */
