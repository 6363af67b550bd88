/*
 * bench_learn.c
 *	  Seconds that learning takes on one machine, on a matrix that it makes itself.
 *
 *	  bench_learn matrix USERS ITEMS EVENTS FILE    writes the matrix for all systems
 *	  bench_learn als FILE FACTORS ITERATIONS THREADS cg|cholesky
 *	  bench_learn lists FILE FACTORS DEPTH
 *	  bench_learn bpr FILE FACTORS EPOCHS
 *
 * The last three print the seconds, and what shows that work was done: the
 * objective, the length of all lists, the share of entries ranked above a random
 * other column. A matrix is a file of int32: users, items, entries, the starts of
 * the users' rows, the items; every value is 1.
 */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/learn/br_learn.h"

#define LAMBDA .01
#define ALPHA 1.0
#define SEED 7

/* Items and users are drawn by the powers of their ranks. */
#define ITEM_EXPONENT 1.0
#define USER_EXPONENT .5

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static void
check(BrStatus status, const BrContext *context)
{
	if (status == BR_OK)
		return;
	fprintf(stderr, "bench_learn: %s\n", context->detail);
	exit(1);
}

static void *
get(size_t size)
{
	void *memory = malloc(size);

	if (memory == NULL)
	{
		fprintf(stderr, "bench_learn: out of memory\n");
		exit(1);
	}
	return memory;
}

/* ---- the matrix ---- */

static double *
zipf_sums(int n, double exponent)
{
	double *sums = get(sizeof(double) * (size_t) n);
	double sum = 0;

	for (int i = 0; i < n; i++)
		sums[i] = sum += pow(i + 1, -exponent);
	return sums;
}

static int
draw(BrRandom *random, const double *sums, int n)
{
	double at = br_base_random_uniform(random) * sums[n - 1];
	int first = 0;

	while (n > 1)
	{
		int half = n / 2;

		if (sums[first + half - 1] < at)
		{
			first += half;
			n -= half;
		}
		else
			n = half;
	}
	return first;
}

/* Ranks are scattered over the numbers, as a shop's are. */
static int *
shuffled(BrRandom *random, int n)
{
	int *numbers = get(sizeof(int) * (size_t) n);

	for (int i = 0; i < n; i++)
	{
		int j = (int) br_base_random_below(random, (uint32_t) i + 1);

		numbers[i] = numbers[j];
		numbers[j] = i;
	}
	return numbers;
}

static void
put(FILE *file, const int32_t *numbers, size_t n)
{
	if (fwrite(numbers, sizeof(int32_t), n, file) != n)
	{
		fprintf(stderr, "bench_learn: the matrix could not be written\n");
		exit(1);
	}
}

static void
write_matrix(BrContext *context, int users, int items, int events, const char *path)
{
	double *user_sums = zipf_sums(users, USER_EXPONENT);
	double *item_sums = zipf_sums(items, ITEM_EXPONENT);
	BrEntry *entries = get(sizeof(BrEntry) * (size_t) events);
	FILE *file = fopen(path, "wb");
	BrRandom random;
	BrSparse matrix;
	int *user_of;
	int *item_of;

	br_base_random_init(&random, SEED, 0);
	user_of = shuffled(&random, users);
	item_of = shuffled(&random, items);
	for (int i = 0; i < events; i++)
		entries[i] = (BrEntry){user_of[draw(&random, user_sums, users)],
							   item_of[draw(&random, item_sums, items)], 1};
	check(br_learn_sparse_build(context, entries, events, users, items, &matrix), context);
	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	put(file, (int32_t[]){users, items, (int32_t) matrix.starts[users]}, 3);
	for (int user = 0; user <= users; user++)
		put(file, (int32_t[]){(int32_t) matrix.starts[user]}, 1);
	put(file, matrix.ids, (size_t) matrix.starts[users]);
	fclose(file);
	printf("%d users, %d items, %lld entries\n", users, items, (long long) matrix.starts[users]);
}

static int32_t *
take(FILE *file, size_t n)
{
	int32_t *numbers = get(sizeof(int32_t) * n);

	if (fread(numbers, sizeof(int32_t), n, file) != n)
	{
		fprintf(stderr, "bench_learn: the matrix could not be read\n");
		exit(1);
	}
	return numbers;
}

static BrSparse
read_matrix(const char *path)
{
	FILE *file = fopen(path, "rb");
	BrSparse matrix = {0};
	int32_t *sizes;
	int32_t *starts;

	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	sizes = take(file, 3);
	matrix.rows = sizes[0];
	matrix.columns = sizes[1];
	starts = take(file, (size_t) matrix.rows + 1);
	matrix.starts = get(sizeof(int64_t) * ((size_t) matrix.rows + 1));
	for (int row = 0; row <= matrix.rows; row++)
		matrix.starts[row] = starts[row];
	matrix.ids = take(file, (size_t) sizes[2]);
	free(sizes);
	free(starts);
	fclose(file);
	return matrix;
}

/* ---- what is timed ---- */

static void
time_als(BrContext *context, const BrSparse *matrix, BrAlsOptions options, int threads)
{
	BrFactors factors;
	double objective;
	double begun;
	double taken;

	if (threads > 1)
		check(br_base_pool_create(context, threads, &options.pool), context);
	begun = now();
	check(br_learn_als(context, matrix, &options, &factors), context);
	taken = now() - begun;
	check(br_learn_als_objective(context, matrix, &factors, LAMBDA, ALPHA, &objective), context);
	printf("%.4f %.6g\n", taken, objective);
	br_base_pool_destroy(options.pool);
}

static void
time_lists(BrContext *context, const BrSparse *matrix, int dims, int depth)
{
	BrAlsOptions options = {.factors = dims,
							.lambda = LAMBDA,
							.alpha = ALPHA,
							.iterations = 2,
							.seed = SEED};
	BrFactors factors;
	BrLists lists;
	double begun;

	check(br_learn_als(context, matrix, &options, &factors), context);
	begun = now();
	check(br_learn_factor_lists(context, &factors, depth, 0, NULL, &lists), context);
	printf("%.4f %lld\n", now() - begun, (long long) lists.starts[lists.n]);
}

/* How often an entry's column is scored above a random one; ties count half. */
static double
share_above(const BrSparse *matrix, const BrFactors *factors)
{
	int n = 100000;
	double above = 0;
	BrRandom random;

	br_base_random_init(&random, SEED, 1);
	for (int i = 0; i < n; i++)
	{
		int row = (int) br_base_random_below(&random, (uint32_t) matrix->rows);
		int64_t entries = matrix->starts[row + 1] - matrix->starts[row];
		const float *user = factors->row + (size_t) row * factors->dims;
		int column[2];
		double score[2];

		if (entries == 0)
			continue;
		column[0] = matrix->ids[matrix->starts[row] +
								(int64_t) br_base_random_below(&random, (uint32_t) entries)];
		column[1] = (int) br_base_random_below(&random, (uint32_t) matrix->columns);
		for (int c = 0; c < 2; c++)
		{
			score[c] = (double) factors->bias[column[c]];
			for (int d = 0; d < factors->dims; d++)
				score[c] += (double) user[d] *
					(double) factors->column[(size_t) column[c] * factors->dims + d];
		}
		above += score[0] > score[1] ? 1 : score[0] == score[1] ? .5 : 0;
	}
	return above / n;
}

static void
time_bpr(BrContext *context, const BrSparse *matrix, int dims, int epochs)
{
	BrBprOptions options = {.factors = dims,
							.learning_rate = .05,
							.lambda = LAMBDA,
							.epochs = epochs,
							.seed = SEED};
	BrFactors factors;
	double begun = now();

	check(br_learn_bpr(context, matrix, &options, &factors), context);
	printf("%.4f ", now() - begun);
	printf("%.4f\n", share_above(matrix, &factors));
}

int
main(int argc, char **argv)
{
	BrContext context;
	BrSparse matrix;

	br_base_context_init(&context);
	if (argc == 6 && strcmp(argv[1], "matrix") == 0)
	{
		write_matrix(&context, atoi(argv[2]), atoi(argv[3]), atoi(argv[4]), argv[5]);
		return 0;
	}
	if (argc < 5)
	{
		fprintf(stderr, "bench_learn: bench_learn.c says how to call it\n");
		return 2;
	}
	matrix = read_matrix(argv[2]);
	if (argc == 7 && strcmp(argv[1], "als") == 0)
		time_als(&context, &matrix,
				 (BrAlsOptions){.factors = atoi(argv[3]),
								.lambda = LAMBDA,
								.alpha = ALPHA,
								.iterations = atoi(argv[4]),
								.solver = strcmp(argv[6], "cg") == 0 ? BR_ALS_CG : BR_ALS_CHOLESKY,
								.seed = SEED},
				 atoi(argv[5]));
	else if (strcmp(argv[1], "lists") == 0)
		time_lists(&context, &matrix, atoi(argv[3]), atoi(argv[4]));
	else if (strcmp(argv[1], "bpr") == 0)
		time_bpr(&context, &matrix, atoi(argv[3]), atoi(argv[4]));
	return 0;
}
