/*
 * bench_codes.c
 *	  What the parts of an inverted file cost on one core: nanoseconds of a
 *	  block's scan, of a look at a list, of an exact distance, of rotating,
 *	  encoding and preparing a query, and seconds of k-means.
 *
 * Codes and centroids are read one after another from a set that fits into the
 * second cache, as a search reads lists. Figures are the best of some rounds.
 *
 * bench_codes [DIMS [ROWS LISTS]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load_backend.h"
#include "core/ann/ann_int.h"
#include "core/math/br_math.h"

#define ROUNDS 7
#define BLOCKS 128
#define WORK 20000 /* calls of a round */

typedef struct Bench
{
	BrContext context;
	int dims;
	int padded;
	int bits;
	BrRotation *rotation;
	BrCodeQuery *query;
	BrListView view;
	float *vectors;		 /* (BLOCKS, dims) */
	float *rotated;		 /* (BLOCKS, padded) */
	uint16_t *centroids; /* (BLOCKS, padded) */
	uint8_t *codes;		 /* (BLOCKS) blocks */
	uint8_t *bytes;		 /* the bits of a row */
	float add[BR_ANN_BLOCK_ROWS];
	float scale[BR_ANN_BLOCK_ROWS];
	const BrCodeKernels *kernels;
	BrMetric metric;
} Bench;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static void *
allocate(size_t size)
{
	void *memory = aligned_alloc(64, (size + 63) / 64 * 64);

	if (memory == NULL)
		abort();
	return memory;
}

static void
fill_normal(float *values, size_t n)
{
	BrRandom random;

	br_base_random_init(&random, 1, n);
	for (size_t i = 0; i < n; i++)
		values[i] = (float) (0.05 * br_math_normal(&random));
}

static void
check(BrStatus status, const BrContext *context)
{
	if (status == BR_OK)
		return;
	fprintf(stderr, "bench_codes: %s\n", context->detail);
	exit(1);
}

/* ---- the parts, each called with the number of the call modulo BLOCKS ---- */

static void
scan_block(Bench *bench, int i)
{
	float bounds[BR_ANN_BLOCK_ROWS];

	(void) br_ann_scan_block_with(bench->kernels, bench->query, &bench->view,
								  bench->codes + (size_t) i * BR_ANN_BLOCK_CODE_BYTES(bench->bits),
								  bench->add, bench->scale, 1, BR_ANN_BLOCK_ROWS, -1, 1, bounds);
}

static void
view_list(Bench *bench, int i)
{
	br_ann_view_list_with(bench->kernels, bench->query,
						  bench->centroids + (size_t) i * (size_t) bench->padded, 1, &bench->view);
}

static void
rotate(Bench *bench, int i)
{
	br_ann_rotate(bench->rotation, bench->vectors + (size_t) i * (size_t) bench->dims,
				  bench->rotated + (size_t) i * (size_t) bench->padded);
}

static void
encode(Bench *bench, int i)
{
	BrCode code;

	br_ann_encode(BR_METRIC_L2, bench->dims, bench->rotated + (size_t) i * (size_t) bench->padded,
				  bench->centroids, bench->bytes, &code);
	bench->add[i % BR_ANN_BLOCK_ROWS] = code.add;
	bench->scale[i % BR_ANN_BLOCK_ROWS] = code.scale;
}

static void
prepare_query(Bench *bench, int i)
{
	br_ann_code_query_destroy(bench->query);
	check(br_ann_code_query_create(&bench->context, BR_METRIC_L2, bench->dims,
								   bench->rotated + (size_t) i * (size_t) bench->padded, 1.9,
								   &bench->query),
		  &bench->context);
}

static void
exact_distance(Bench *bench, int i)
{
	bench->view.base =
		(float) br_ann_distance(bench->metric, bench->centroids, 1,
								bench->centroids + (size_t) i * (size_t) bench->padded,
								bench->dims);
}

/* ---- measuring ---- */

static void
measure(Bench *bench, const char *what, const char *with, void (*part)(Bench *bench, int i))
{
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++)
	{
		double start = now();
		double seconds;

		for (int i = 0; i < WORK; i++)
			part(bench, i % BLOCKS);
		seconds = now() - start;
		best = seconds < best ? seconds : best;
	}
	printf("%-24s %-9s %8.1f ns\n", what, with, 1e9 * best / WORK);
}

static void
prepare(Bench *bench, int dims)
{
	BrRandom random;

	memset(bench, 0, sizeof(*bench));
	br_base_context_init(&bench->context);
	bench->dims = dims;
	bench->padded = br_ann_rotated_dims(dims);
	bench->bits = br_ann_code_bits(dims);
	check(br_ann_rotation_create(&bench->context, dims, 1, &bench->rotation), &bench->context);
	bench->vectors = allocate(sizeof(float) * BLOCKS * (size_t) dims);
	bench->rotated = allocate(sizeof(float) * BLOCKS * (size_t) bench->padded);
	bench->centroids = allocate(sizeof(uint16_t) * BLOCKS * (size_t) bench->padded);
	bench->codes = allocate(BLOCKS * BR_ANN_BLOCK_CODE_BYTES(bench->bits));
	bench->bytes = allocate((size_t) bench->bits / 8);
	fill_normal(bench->vectors, BLOCKS * (size_t) dims);
	fill_normal(bench->rotated, BLOCKS * (size_t) bench->padded);
	br_math_half_from_floats(bench->rotated, BLOCKS * (size_t) bench->padded, bench->centroids);
	br_base_random_init(&random, 2, 0);
	for (size_t i = 0; i < BLOCKS * BR_ANN_BLOCK_CODE_BYTES(bench->bits); i++)
		bench->codes[i] = (uint8_t) br_base_random_u32(&random);
}

static void
measure_parts(int dims)
{
	const BrCodeKernels *sets[] = {br_ann_code_kernels_portable(), br_ann_code_kernels_avx2(),
								   br_ann_code_kernels_avx512()};
	static const char *const names[] = {"cosine", "product", "l2"};
	Bench bench;

	prepare(&bench, dims);
	printf("dims %d, bits %d, in use %s\n", dims, bench.bits, br_ann_instruction_set());
	measure(&bench, "rotate a vector", "", rotate);
	measure(&bench, "encode a vector", "", encode);
	measure(&bench, "prepare a query", "", prepare_query);
	for (int set = 0; set < 3; set++)
	{
		bench.kernels = sets[set];
		if (sets[set] == NULL)
			continue;
		measure(&bench, "view a list", sets[set]->name, view_list);
		measure(&bench, "scan a block of 32", sets[set]->name, scan_block);
	}
	for (int metric = 0; metric < 3; metric++)
	{
		bench.metric = (BrMetric) metric;
		measure(&bench, "exact distance", names[metric], exact_distance);
	}
	br_ann_code_query_destroy(bench.query);
	br_ann_rotation_destroy(bench.rotation);
	free(bench.vectors);
	free(bench.rotated);
	free(bench.centroids);
	free(bench.codes);
	free(bench.bytes);
}

static void
measure_kmeans(int dims, int n, int lists)
{
	const char *why;
	const BrBackend *backend = load_backend("openblas", &why);
	float *sample = allocate(sizeof(float) * (size_t) n * (size_t) dims);
	float *centroids = allocate(sizeof(float) * (size_t) lists * (size_t) dims);
	BrContext context;
	double start;

	br_base_context_init(&context);
	if (backend == NULL)
	{
		printf("k-means with the portable backend: %s\n", why);
		backend = br_math_portable_backend();
	}
	fill_normal(sample, (size_t) n * (size_t) dims);
	start = now();
	check(br_ann_kmeans(&context, backend, NULL, NULL, sample, n, dims, lists, 1, NULL, NULL,
						centroids),
		  &context);
	printf("k-means of %d rows, %d lists %.3f s\n", n, lists, now() - start);
	free(sample);
	free(centroids);
}

int
main(int argc, char **argv)
{
	int dims = argc > 1 ? atoi(argv[1]) : 384;
	int n = argc > 3 ? atoi(argv[2]) : 12500;
	int lists = argc > 3 ? atoi(argv[3]) : 250;

	if (dims < 1 || dims > BR_ANN_MAX_DIMS || lists < 1 || n < lists)
	{
		fprintf(stderr, "bench_codes: [DIMS [ROWS LISTS]], with 1 to %d dimensions\n",
				BR_ANN_MAX_DIMS);
		return 2;
	}
	measure_parts(dims);
	measure_kmeans(dims, n, lists);
	return 0;
}
