/*
 * bench_ease.c
 *	  What EASE takes on one core: processor seconds of the dense form by
 *	  columns and backend, and of the local one over a hundred thousand columns.
 *
 * Events are drawn from a Zipf distribution over the columns, ten to a row,
 * repeated ones counted up. Nothing goes with anything else in them, which is
 * as hard for the local form as it gets: rare columns occur with frequent ones
 * alone.
 *
 * bench_ease [BACKEND [COLUMNS ...]]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load_backend.h"
#include "core/learn/br_learn.h"

#define PER_ROW 10
#define LOCAL_COLUMNS 100000
#define LOCAL_EVENTS 1000000
#define LOCAL_NEIGHBOURS 100

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static void
must(BrContext *context, BrStatus status)
{
	if (status == BR_OK)
		return;
	fprintf(stderr, "%s\n", context->detail);
	exit(1);
}

/* The column of rank r has probability in proportion to 1 / (r + 1). */
static BrSparse
draw_events(BrContext *context, int n_events, int columns)
{
	BrEntry *entries = malloc((size_t) n_events * sizeof(BrEntry));
	double *cumulated = malloc((size_t) columns * sizeof(double));
	BrRandom random;
	BrSparse matrix;

	if (entries == NULL || cumulated == NULL)
		exit(1);
	br_base_random_init(&random, 1, 1);
	for (int i = 0; i < columns; i++)
		cumulated[i] = (i > 0 ? cumulated[i - 1] : 0) + 1.0 / (i + 1);
	for (int i = 0; i < n_events; i++)
	{
		double at = br_base_random_uniform(&random) * cumulated[columns - 1];
		int low = 0;
		int high = columns - 1;

		while (low < high)
		{
			int middle = (low + high) / 2;

			if (cumulated[middle] < at)
				low = middle + 1;
			else
				high = middle;
		}
		entries[i] = (BrEntry){i / PER_ROW, low, 1};
	}
	must(context,
		 br_learn_sparse_build(context, entries, n_events, (n_events + PER_ROW - 1) / PER_ROW,
							   columns, &matrix));
	free(entries);
	free(cumulated);
	return matrix;
}

static void
measure_dense(BrContext *context, const BrBackend *backend, int columns)
{
	BrSparse matrix = draw_events(context, columns * 50, columns);
	BrEaseOptions options = {.lambda = 100, .depth = 100, .backend = backend};
	BrLists lists;
	double start = now();

	must(context, br_learn_ease(context, &matrix, &options, &lists));
	printf("dense %6d columns, %s: %7.2f s, %.0f MiB\n", columns, backend->name, now() - start,
		   (double) br_learn_ease_memory(columns) / 1048576);
	br_learn_lists_free(context, &lists);
	br_learn_sparse_free(context, &matrix);
}

typedef struct Halfway
{
	double start;
	double at;
} Halfway;

static void
note_halfway(void *arg, int64_t done, int64_t total)
{
	Halfway *halfway = arg;

	if (2 * done <= total)
		halfway->at = now() - halfway->start;
}

static void
measure_local(BrContext *context)
{
	BrSparse matrix = draw_events(context, LOCAL_EVENTS, LOCAL_COLUMNS);
	Halfway halfway = {now(), 0};
	BrProgress progress = {note_halfway, &halfway};
	BrEaseLocalOptions options = {.lambda = 10,
								  .neighbours = LOCAL_NEIGHBOURS,
								  .progress = &progress};
	BrSparse weights;
	BrLists lists;
	double fitted;

	must(context, br_learn_ease_local(context, &matrix, NULL, 0, &options, &weights));
	fitted = now();
	printf("local %d columns, %d events, %d neighbours: %.2f s, of which %.2f s neighbours; "
		   "%lld weights\n",
		   LOCAL_COLUMNS, LOCAL_EVENTS, LOCAL_NEIGHBOURS, fitted - halfway.start, halfway.at,
		   (long long) weights.starts[weights.rows]);
	must(context, br_learn_ease_lists(context, &weights, 100, 0, &lists));
	printf("local lists: %.2f s\n", now() - fitted);
	br_learn_lists_free(context, &lists);
	br_learn_sparse_free(context, &weights);
	br_learn_sparse_free(context, &matrix);
}

int
main(int argc, char **argv)
{
	const char *why = "";
	const BrBackend *backend = load_backend(argc > 1 ? argv[1] : "openblas", &why);
	BrContext context;

	br_base_context_init(&context);
	if (backend == NULL)
	{
		fprintf(stderr, "%s\n", why);
		return 1;
	}
	if (argc <= 2)
	{
		measure_dense(&context, backend, 2000);
		measure_dense(&context, backend, 5000);
	}
	for (int i = 2; i < argc; i++)
		measure_dense(&context, backend, atoi(argv[i]));
	measure_local(&context);
	return 0;
}
