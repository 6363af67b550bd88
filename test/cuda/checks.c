/*
 * checks.c
 *	  Runs the checks of the CUDA backend, and speaks TAP.
 *
 *		cuda_check [--require-device] [--small] [NAME ...]
 *
 * NAME: only checks whose names contain it. Without a device everything is
 * skipped, unless one is required. --small leaves out what only a device is fast
 * enough for, as under a sanitizer.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/math/br_math.h"
#include "cuda/checks.h"

BrContext check_context;
BrStream check_stream;
bool check_on_device;

/* Enough for the greediest check. */
#define MOST_PIECES 4096

static BrRandom random_source;
static bool failed;
static const char *skipped;
static void *of_device[MOST_PIECES];
static void *of_host[MOST_PIECES];
static int n_of_device;
static int n_of_host;

/* ---- results ---- */

void
check_failed(const char *format, ...)
{
	va_list arguments;

	if (failed)
		return;
	failed = true;
	printf("# ");
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
}

bool
check_has_failed(void)
{
	return failed;
}

void
check_skipped(const char *why)
{
	skipped = why;
}

void
check_ok(BrStatus status)
{
	if (status != BR_OK)
		check_failed("status %d: %s", (int) status, check_context.detail);
}

void
check_close(const char *what, const float *actual, const float *expected, size_t n, double absolute,
			double relative)
{
	for (size_t i = 0; i < n; i++)
	{
		double difference = fabs((double) actual[i] - (double) expected[i]);

		if (!(difference <= absolute + relative * fabs((double) expected[i])))
		{
			check_failed("%s: element %zu of %zu is %.9g, not %.9g", what, i, n, (double) actual[i],
						 (double) expected[i]);
			return;
		}
	}
}

double
check_cosine(const float *left, const float *right, int n)
{
	double product = 0;
	double squares[2] = {0, 0};

	for (int i = 0; i < n; i++)
	{
		product += (double) left[i] * (double) right[i];
		squares[0] += (double) left[i] * (double) left[i];
		squares[1] += (double) right[i] * (double) right[i];
	}
	return product / sqrt(squares[0] * squares[1]);
}

/* ---- memory ---- */

/* Nothing can be checked any more. */
static void
give_up(const char *why)
{
	printf("Bail out! %s\n", why);
	exit(1);
}

void *
check_memory(size_t bytes)
{
	void *memory = malloc(bytes > 0 ? bytes : 1);

	if (memory == NULL || n_of_host == MOST_PIECES)
		give_up("out of memory");
	of_host[n_of_host++] = memory;
	return memory;
}

void *
check_take(size_t bytes)
{
	void *memory;

	if (br_cuda_allocate(&check_context, bytes, &memory) != BR_OK || n_of_device == MOST_PIECES)
		give_up(check_context.detail);
	of_device[n_of_device++] = memory;
	return memory;
}

void *
check_upload(const void *host, size_t bytes)
{
	void *memory;

	if (host == NULL)
		return NULL;
	memory = check_take(bytes);
	check_ok(br_cuda_upload(&check_context, check_stream, memory, host, bytes));
	return memory;
}

BrHalf *
check_upload_halves(const float *host, size_t n)
{
	BrHalf *halves;

	if (host == NULL)
		return NULL;
	halves = check_memory(n * sizeof(BrHalf));
	br_math_half_from_floats(host, n, halves);
	return check_upload(halves, n * sizeof(BrHalf));
}

void
check_download(void *host, const void *device, size_t bytes)
{
	check_ok(br_cuda_download(&check_context, check_stream, host, device, bytes));
	check_ok(br_cuda_wait(&check_context, check_stream));
}

void
check_download_halves(float *host, const BrHalf *device, size_t n)
{
	BrHalf *halves = check_memory(n * sizeof(BrHalf));

	check_download(halves, device, n * sizeof(BrHalf));
	br_math_half_to_floats(halves, n, host);
}

static void
let_go(void)
{
	for (int i = 0; i < n_of_device; i++)
		br_cuda_release(of_device[i]);
	for (int i = 0; i < n_of_host; i++)
		free(of_host[i]);
	n_of_device = 0;
	n_of_host = 0;
}

/* ---- random numbers ---- */

int
check_below(int bound)
{
	return (int) br_base_random_below(&random_source, (uint32_t) bound);
}

float *
check_floats(size_t n, double scale)
{
	float *values = check_memory(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		values[i] = (float) (scale * (2 * br_base_random_uniform(&random_source) - 1));
	return values;
}

float *
check_rounded(size_t n, double scale)
{
	float *values = check_floats(n, scale);

	for (size_t i = 0; i < n; i++)
		values[i] = br_math_half_to_float(br_math_half_from_float(values[i]));
	return values;
}

float *
check_room(size_t n)
{
	float *values = check_memory(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		values[i] = NAN;
	return values;
}

/* ---- the program ---- */

static const Checks *const all_checks[] =
	{&row_checks,	 &attention_checks, &product_checks, &search_checks,		  &model_checks,
	 &golden_checks, &failure_checks,	&table_checks,	 &training_kernel_checks, &training_checks,
	 &tuning_checks};

static bool
wanted(const char *name, char **names, int n)
{
	for (int i = 0; i < n; i++)
		if (strstr(name, names[i]) != NULL)
			return true;
	return n == 0;
}

/* Returns whether it passed. */
static bool
run(const Check *check, int number)
{
	failed = false;
	skipped = NULL;
	br_base_random_init(&random_source, 33, 1);
	check->run();
	let_go();
	printf("%s %d - %s%s%s\n", failed ? "not ok" : "ok", number, check->name,
		   skipped != NULL ? " # SKIP " : "", skipped != NULL ? skipped : "");
	fflush(stdout);
	return !failed;
}

static int
run_all(char **names, int n_names)
{
	int number = 0;
	int failures = 0;

	for (int i = 0; i < LENGTH(all_checks); i++)
		for (int j = 0; j < all_checks[i]->n; j++)
			if (wanted(all_checks[i]->checks[j].name, names, n_names))
				failures += !run(&all_checks[i]->checks[j], ++number);
	printf("1..%d\n", number);
	return failures == 0 ? 0 : 1;
}

int
main(int n, char **arguments)
{
	bool required = false;
	bool small = false;
	BrDeviceInfo info;
	int status;

	for (; n > 1 && arguments[1][0] == '-'; n--, arguments++)
	{
		required = required || strcmp(arguments[1], "--require-device") == 0;
		small = small || strcmp(arguments[1], "--small") == 0;
	}

	br_base_context_init(&check_context);
	if (br_cuda_count(&check_context) == 0)
	{
		printf("1..0 # SKIP %s\n", check_context.detail);
		return required ? 1 : 0;
	}
	if (br_cuda_select(&check_context, 0) != BR_OK ||
		br_cuda_describe(&check_context, 0, &info) != BR_OK ||
		br_cuda_create_stream(&check_context, &check_stream) != BR_OK)
		give_up(check_context.detail);
	check_on_device = !small && strcmp(info.name, "emulated") != 0;
	printf("# on %s (%s)\n", info.name, info.instructions);
	status = run_all(arguments + 1, n - 1);
	br_cuda_destroy_stream(check_stream);
	return status;
}
