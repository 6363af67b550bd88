/*
 * instructions.cuh
 *	  Products of small tiles whose elements are held by the lanes of a warp, and
 *	  other instructions that CUDA's language has no word for.
 *
 * Of 16 by 8 sums lane i holds, in rows i / 4 and i / 4 + 8, columns 2 (i % 4)
 * and the next: elements 0, 1 of the first row and 2, 3 of the second. A left
 * side of 16 by 16 halves is four registers of two halves each: the same places
 * in columns 0 to 7, then in columns 8 to 15, the first row before the second. A
 * right side of 16 by 8 is two: of column i / 4, rows 2 (i % 4) and the next, and
 * those eight further (PTX ISA, "Matrix multiply-accumulate operation using mma
 * instruction"). Where a lane holds what is therefore known, so that sums can
 * become the left side of another product without leaving the registers.
 */
#ifndef BR_CUDA_INSTRUCTIONS_CUH
#define BR_CUDA_INSTRUCTIONS_CUH

#include <cuda_fp16.h>
#include <cuda_runtime.h>

/* Two floats as halves in a register, the first one lower. */
static __device__ inline unsigned
pack_halves(float low, float high)
{
	__half2 pair = __floats2half2_rn(low, high);

	return *(const unsigned *) &pair;
}

/* sums += left right. Before compute capability 8.0 an instruction does half of it. */
static __device__ inline void
multiply_tile(float *sums /* (4) */, const unsigned *left /* (4) */,
			  const unsigned *right /* (2) */)
{
#if __CUDA_ARCH__ >= 800
	asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
		"{%8, %9}, {%0, %1, %2, %3};"
		: "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
		: "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right[0]), "r"(right[1]));
#else
	for (int i = 0; i < 2; i++)
		asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
			"{%0, %1, %2, %3};"
			: "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
			: "r"(left[2 * i]), "r"(left[2 * i + 1]), "r"(right[i]));
#endif
}

/*
 * Four tiles of 8 by 8 halves from shared memory: lane i gives where row i % 8 of
 * tile i / 8 stands, at a multiple of 16 bytes, and gets of each tile the first
 * two halves from column 2 (i % 4) of row i / 4.
 */
static __device__ inline void
load_tiles(unsigned *tiles /* (4) */, const __half *row)
{
	unsigned place = (unsigned) __cvta_generic_to_shared(row);

	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
				 : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
				 : "r"(place)
				 : "memory");
}

/* The same of tiles whose rows and columns change places. */
static __device__ inline void
load_tiles_turned(unsigned *tiles /* (4) */, const __half *row)
{
	unsigned place = (unsigned) __cvta_generic_to_shared(row);

	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
				 : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
				 : "r"(place)
				 : "memory");
}

/* ---- copies to shared memory that go on beside the computing ---- */

/* 16 bytes, of both sides at a multiple of 16; zeros where they are not there. */
static __device__ inline void
copy_to_shared(__half *shared, const __half *from, bool there)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
				 :
				 : "r"((unsigned) __cvta_generic_to_shared(shared)), "l"(from), "r"(there ? 16 : 0)
				 : "memory");
#else
	*(uint4 *) shared = there ? *(const uint4 *) from : make_uint4(0, 0, 0, 0);
#endif
}

/* Until all that this thread has begun to copy is there; for other threads a barrier must follow. */
static __device__ inline void
wait_for_copies(void)
{
#if __CUDA_ARCH__ >= 800
	asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/* ---- functions to float's precision, or nearly ---- */

/* 2^x, to some 2^-22 of it; 0 below 2^-126. */
static __device__ inline float
power_of_two(float x)
{
	float power;

	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
	return power;
}

/* 1 / x, to 2^-23 of it; of x from 2^-126 to 2^126 in absolute value. */
static __device__ inline float
reciprocal(float x)
{
	float answer;

	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(answer) : "f"(x));
	return answer;
}

#endif /* BR_CUDA_INSTRUCTIONS_CUH */
