/*
 * product_peak.c
 *	  What the core's widest multiply-add instructions reach on registers alone.
 *
 * Twelve accumulators hide their latency on every processor of today. No
 * product of matrices can be faster, AMX tiles apart, which are not measured.
 */
#include <stdbool.h>
#include <time.h>

#include "bench/bench_products.h"

#if defined(__x86_64__)

#define ROUNDS 20000
#define CHAINS 12

/* ROUNDS times the instruction into each of twelve registers; in assembler, so that none is left out. */
#define LOOP(instruction, bits)                                                                    \
	static void loop_##instruction##_##bits(void)                                                  \
	{                                                                                              \
		long rounds = ROUNDS;                                                                      \
                                                                                                   \
		__asm__ volatile("vzeroall\n"                                                              \
						 "1:\n\t"                                                                  \
						 ".irp accumulator, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\t" #instruction \
						 " %%" #bits "15, %%" #bits "14, %%" #bits "\\accumulator\n\t"             \
						 ".endr\n\t"                                                               \
						 "decq %0\n\t"                                                             \
						 "jnz 1b\n\t"                                                              \
						 : "+r"(rounds)                                                            \
						 :                                                                         \
						 : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",   \
						   "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");  \
	}

LOOP(vfmadd231ps, ymm)
LOOP(vfmadd231ps, zmm)
LOOP(vdpbf16ps, zmm)
LOOP(vpdpbusd, zmm)

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

/* GOP/s, each instruction being so many multiplications and additions. */
static double
best_of(void (*loop)(void), int operations, double seconds)
{
	double best = 1e9;
	double end = now() + seconds;

	while (now() < end)
	{
		double start = now();

		loop();
		if (now() - start < best)
			best = now() - start;
	}
	return 1e-9 * ROUNDS * CHAINS * operations / best;
}

double
product_peak(ProductPrecision precision, double seconds)
{
	bool avx512 = __builtin_cpu_supports("avx512f");

	if (precision == PRODUCT_F32 && avx512)
		return best_of(loop_vfmadd231ps_zmm, 32, seconds);
	if (precision == PRODUCT_F32 && __builtin_cpu_supports("fma"))
		return best_of(loop_vfmadd231ps_ymm, 16, seconds);
	if (precision == PRODUCT_BF16 && avx512 && __builtin_cpu_supports("avx512bf16"))
		return best_of(loop_vdpbf16ps_zmm, 64, seconds);
	if (precision == PRODUCT_INT8 && avx512 && __builtin_cpu_supports("avx512vnni"))
		return best_of(loop_vpdpbusd_zmm, 128, seconds);
	return 0;
}

#else

double
product_peak(ProductPrecision precision, double seconds)
{
	(void) precision;
	(void) seconds;
	return 0;
}

#endif
