/*
 * bench_products.c
 *	  The ceiling: how fast one core multiplies matrices of an encoder's shapes.
 *
 * The four products of a layer of all-MiniLM-L6-v2, in f32, bf16 (f32
 * accumulated) and int8 (u8 x s8 -> s32), by OpenBLAS and by oneDNN with packed
 * weights, and beside them what the core's multiply-add instructions reach on
 * registers alone. Every layer has weights of its own, as in the model, so that
 * they come from where they come from there. A figure is the best of many short
 * rounds: a ceiling, not an average. 1 GOP = 10^9 multiplications and additions.
 *
 * bench_products [ROWS] [SECONDS for each figure]
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/bench_products.h"
#include "core/base/br_base.h"

#define LAYERS 6

static const ProductShape shapes[] = {{"qkv", 384, 1152},
									  {"output", 384, 384},
									  {"up", 384, 1536},
									  {"down", 1536, 384}};

#define SHAPES ((int) (sizeof(shapes) / sizeof(shapes[0])))

static const char *const precision_names[] = {"f32", "bf16", "int8"};

static const ProductLibrary *const libraries[] = {
#ifdef HAVE_OPENBLAS
	&product_openblas,
#endif
#ifdef HAVE_ONEDNN
	&product_dnnl_matmul,
	&product_dnnl_inner_product,
#endif
	NULL,
};

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

float *
product_random(size_t count)
{
	float *values = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
	BrRandom random;

	if (values == NULL)
		abort();
	br_base_random_init(&random, 1, 2);
	for (size_t i = 0; i < count; i++)
		values[i] = (float) (2 * br_base_random_uniform(&random) - 1);
	return values;
}

static double
operations(const ProductShape *shape, int rows)
{
	return 2.0 * rows * shape->in_dim * shape->out_dim;
}

/*
 * Best seconds of one product, or 0 where the library has none for this machine.
 * Each call is timed by itself: it is shorter than a time slice, so that on a
 * busy machine too some calls are not interrupted.
 */
static double
measure(const ProductLibrary *library, ProductPrecision precision, const ProductShape *shape,
		int rows, double seconds)
{
	Product *product = library->open(precision, shape, rows, LAYERS);
	double best[LAYERS];
	double total = 0;
	double end;

	if (product == NULL)
		return 0;
	for (int layer = 0; layer < LAYERS; layer++)
	{
		library->run(product, layer);
		best[layer] = 1e9;
	}
	end = now() + seconds;
	while (now() < end)
		for (int layer = 0; layer < LAYERS; layer++)
		{
			double start = now();
			double took;

			library->run(product, layer);
			took = now() - start;
			if (took < best[layer])
				best[layer] = took;
		}
	library->close(product);
	for (int layer = 0; layer < LAYERS; layer++)
		total += best[layer];
	return total / LAYERS;
}

/* best: seconds of each shape by the fastest so far, lowered here; NULL: does not compete. */
static void
print_library(const ProductLibrary *library, ProductPrecision precision, int rows, double seconds,
			  double *best)
{
	double total_operations = 0;
	double total_seconds = 0;
	double figures[SHAPES];

	for (int i = 0; i < SHAPES; i++)
	{
		double took = measure(library, precision, &shapes[i], rows, seconds);

		if (took == 0)
			return;
		figures[i] = operations(&shapes[i], rows) / took / 1e9;
		total_operations += operations(&shapes[i], rows);
		total_seconds += took;
		if (best != NULL && (best[i] == 0 || took < best[i]))
			best[i] = took;
	}
	printf("%-5s %-24s", precision_names[precision], library->name);
	for (int i = 0; i < SHAPES; i++)
		printf(" %8.1f", figures[i]);
	printf(" %8.1f\n", total_operations / total_seconds / 1e9);
}

/* The best library of each shape: what the whole layer could reach. */
static void
print_best(ProductPrecision precision, int rows, const double *best)
{
	double total_operations = 0;
	double total_seconds = 0;

	printf("%-5s %-24s", precision_names[precision], "best");
	for (int i = 0; i < SHAPES; i++)
	{
		printf(" %8.1f", operations(&shapes[i], rows) / best[i] / 1e9);
		total_operations += operations(&shapes[i], rows);
		total_seconds += best[i];
	}
	printf(" %8.1f\n", total_operations / total_seconds / 1e9);
}

int
main(int argc, char **argv)
{
	int rows = argc > 1 ? atoi(argv[1]) : 128;
	double seconds = argc > 2 ? atof(argv[2]) : 0.3;
	const char *threads = getenv("OMP_NUM_THREADS");

	/* both libraries read it when they are loaded */
	if (threads == NULL || strcmp(threads, "1") != 0)
	{
		fprintf(stderr, "bench_products: OMP_NUM_THREADS must be 1 in the environment\n");
		return 2;
	}
	if (rows <= 0 || seconds <= 0)
	{
		fprintf(stderr, "usage: bench_products [ROWS] [SECONDS]\n");
		return 2;
	}
	printf("GOP/s of one core, %d rows, %d layers\n%-30s", rows, LAYERS, "");
	for (int i = 0; i < SHAPES; i++)
		printf(" %8s", shapes[i].name);
	printf(" %8s\n", "weighted");
	for (ProductPrecision precision = PRODUCT_F32; precision <= PRODUCT_INT8; precision++)
	{
		double best[SHAPES] = {0};
		double peak = product_peak(precision, seconds);

		for (int i = 0; libraries[i] != NULL; i++)
			print_library(libraries[i], precision, rows, seconds, best);
		print_library(&product_backend, precision, rows, seconds, NULL);
		if (best[0] > 0)
			print_best(precision, rows, best);
		if (peak > 0)
			printf("%-5s %-24s %44.1f\n", precision_names[precision], "registers alone", peak);
	}
	return 0;
}
