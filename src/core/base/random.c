/*
 * random.c
 *	  Counter-based random numbers, Philox4x32-10.
 *
 * A block of four words is a keyed bijection of a 128-bit counter: the low
 * half counts blocks, the high half is the stream. There is no state to carry
 * from one draw to the next, which is why a logged decision can be replayed
 * from its key alone.
 */
#include <string.h>

#include "core/base/br_base.h"

static void
next_block(BrRandom *random)
{
	uint32_t c0 = (uint32_t) random->counter;
	uint32_t c1 = (uint32_t) (random->counter >> 32);
	uint32_t c2 = (uint32_t) random->stream;
	uint32_t c3 = (uint32_t) (random->stream >> 32);
	uint32_t k0 = (uint32_t) random->key;
	uint32_t k1 = (uint32_t) (random->key >> 32);

	for (int round = 0; round < BR_PHILOX_ROUNDS; round++)
	{
		uint64_t product0 = (uint64_t) BR_PHILOX_MULTIPLIER_0 * c0;
		uint64_t product1 = (uint64_t) BR_PHILOX_MULTIPLIER_1 * c2;

		c0 = (uint32_t) (product1 >> 32) ^ c1 ^ k0;
		c1 = (uint32_t) product1;
		c2 = (uint32_t) (product0 >> 32) ^ c3 ^ k1;
		c3 = (uint32_t) product0;
		k0 += BR_PHILOX_WEYL_0;
		k1 += BR_PHILOX_WEYL_1;
	}

	random->block[0] = c0;
	random->block[1] = c1;
	random->block[2] = c2;
	random->block[3] = c3;
	random->left = 4;
	random->counter++;
}

void
br_base_random_init(BrRandom *random, uint64_t key, uint64_t stream)
{
	memset(random, 0, sizeof(*random));
	random->key = key;
	random->stream = stream;
}

uint32_t
br_base_random_u32(BrRandom *random)
{
	if (random->left == 0)
		next_block(random);
	return random->block[4 - random->left--];
}

uint64_t
br_base_random_u64(BrRandom *random)
{
	uint64_t low = br_base_random_u32(random);

	return low | (uint64_t) br_base_random_u32(random) << 32;
}

/* An odd multiple of 2^-53: exact in double, and symmetric about 1/2. */
double
br_base_random_uniform(BrRandom *random)
{
	return (double) (br_base_random_u64(random) >> 11 | 1) * 0x1p-53;
}

/*
 * The high word of draw * bound is the answer. Each answer is hit by 2^32 /
 * bound draws, rounded up or down; dropping the draws whose low word is below
 * 2^32 mod bound makes them all equal (Lemire, "Fast random integer generation
 * in an interval", TOMACS 2019).
 */
uint32_t
br_base_random_below(BrRandom *random, uint32_t bound)
{
	uint64_t product = (uint64_t) br_base_random_u32(random) * bound;

	if ((uint32_t) product < bound)
	{
		uint32_t threshold = -bound % bound;

		while ((uint32_t) product < threshold)
			product = (uint64_t) br_base_random_u32(random) * bound;
	}
	return (uint32_t) (product >> 32);
}
