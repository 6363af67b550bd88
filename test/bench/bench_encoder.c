/*
 * bench_encoder.c
 *	  The C library's side of encoder.sh: one system, one subprocess.
 *
 * bench_encoder [--backend NAME] [--precision f32|bf16|int8] [--threads N]
 *               [--embed TEXTS OUTPUT]... MODEL TEXTS
 *
 * Imports the model folder, embeds all texts once to warm up and once timed,
 * then one at a time, and prints one line of JSON as encoder_peers.py does.
 * A file of texts holds the size of each as four bytes, little-endian, and then
 * its bytes. --embed writes the embeddings of further texts, untimed, as plain
 * float32. CLOCK=cpu measures the process's time on the processor instead, with
 * one thread: what a busy machine leaves to others does not count.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load_backend.h"
#include "bench/load_model.h"

#define MAX_OUTPUTS 8
#define SINGLE_TEXTS 100

typedef struct Options
{
	const char *backend;
	BrPrecision precision;
	int threads;
	const char *model;
	const char *texts;
	const char *outputs[MAX_OUTPUTS][2];
	int n_outputs;
} Options;

typedef struct Model
{
	BrContext context;
	BrEncoder *encoder;
	BrCompute compute;
} Model;

static const char *const precisions[BR_PRECISION_COUNT] = {"f32", "bf16", "int8"};

static clockid_t measured_clock = CLOCK_MONOTONIC;

static double
now(void)
{
	struct timespec time;

	clock_gettime(measured_clock, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

/* Everything stays until the program ends. */
static void
open_model(Model *model, const Options *options)
{
	BrContext *context = &model->context;
	const char *why = NULL;
	void *packed;
	size_t size;

	br_base_context_init(context);
	model->compute.backend = load_backend(options->backend, &why);
	if (model->compute.backend == NULL)
		die(options->backend, why);
	model->encoder = load_model(context, options->model);

	size = br_encoder_packed_size(model->encoder, model->compute.backend, options->precision);
	if (size > 0)
	{
		packed = aligned_alloc(64, (size + 63) / 64 * 64);
		if (packed == NULL)
			die("packed weights", "no memory");
		check(br_encoder_pack(model->encoder, context, model->compute.backend, options->precision,
							  packed),
			  precisions[options->precision], context);
		check(br_encoder_check_packed(model->encoder, context, model->compute.backend,
									  options->precision, packed, size),
			  precisions[options->precision], context);
		model->compute.packed = packed;
	}
	else if (options->precision != BR_PRECISION_F32)
		die(options->backend, "it computes in f32 alone");
	if (options->threads > 1)
		check(br_base_pool_create(context, options->threads, &model->compute.pool), "threads",
			  context);
}

/* (n, dimensions), to be freed */
static float *
embed(Model *model, const Texts *texts)
{
	size_t dimensions = (size_t) br_encoder_info(model->encoder)->dimensions;
	float *embeddings = malloc((size_t) texts->n * dimensions * sizeof(float));

	if (embeddings == NULL)
		die("embeddings", "no memory");
	check(br_encoder_embed(model->encoder, &model->context, &model->compute, texts->texts,
						   texts->sizes, texts->n, true, embeddings),
		  "embedding", &model->context);
	return embeddings;
}

static int
compare_doubles(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

/* Median seconds of one text by itself. */
static double
single_text_seconds(Model *model, const Texts *texts)
{
	double seconds[SINGLE_TEXTS];
	int n = texts->n < SINGLE_TEXTS ? texts->n : SINGLE_TEXTS;

	for (int i = 0; i < n; i++)
	{
		Texts one = {.texts = texts->texts + i, .sizes = texts->sizes + i, .n = 1};
		double start = now();

		free(embed(model, &one));
		seconds[i] = now() - start;
	}
	qsort(seconds, (size_t) n, sizeof(double), compare_doubles);
	return seconds[n / 2];
}

/* Seconds of tokenizing all texts, in one thread, and how many tokens they are. */
static double
tokenize_seconds(Model *model, const Texts *texts, int64_t *tokens)
{
	double start = now();

	*tokens = 0;
	for (int i = 0; i < texts->n; i++)
	{
		int32_t *ids;
		int n;

		check(br_encoder_tokenize(model->encoder, &model->context, texts->texts[i], texts->sizes[i],
								  true, &ids, &n),
			  "tokenizing", &model->context);
		*tokens += n;
		br_base_free(&model->context, ids);
	}
	return now() - start;
}

static void
write_embeddings(Model *model, const char *from, const char *to)
{
	Texts texts = read_texts(from);
	float *embeddings = embed(model, &texts);
	size_t size = (size_t) texts.n * (size_t) br_encoder_info(model->encoder)->dimensions;
	FILE *file = fopen(to, "wb");

	if (file == NULL || fwrite(embeddings, sizeof(float), size, file) != size || fclose(file) != 0)
		die(to, "cannot be written");
	free(embeddings);
}

static BrPrecision
precision_of(const char *name)
{
	for (int i = 0; i < BR_PRECISION_COUNT; i++)
		if (strcmp(name, precisions[i]) == 0)
			return (BrPrecision) i;
	die(name, "no precision of that name");
}

static bool
parse_options(int argc, char **argv, Options *options)
{
	int i = 1;

	*options = (Options){.backend = "openblas", .threads = 1};
	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2)
	{
		if (strcmp(argv[i], "--backend") == 0)
			options->backend = argv[i + 1];
		else if (strcmp(argv[i], "--precision") == 0)
			options->precision = precision_of(argv[i + 1]);
		else if (strcmp(argv[i], "--threads") == 0)
			options->threads = atoi(argv[i + 1]);
		else if (strcmp(argv[i], "--embed") == 0 && i + 2 < argc &&
				 options->n_outputs < MAX_OUTPUTS)
		{
			options->outputs[options->n_outputs][0] = argv[i + 1];
			options->outputs[options->n_outputs++][1] = argv[i + 2];
			i++;
		}
		else
			return false;
	}
	if (i + 2 != argc)
		return false;
	options->model = argv[i];
	options->texts = argv[i + 1];
	return options->threads >= 1;
}

int
main(int argc, char **argv)
{
	Options options;
	Model model = {0};
	Texts texts;
	int64_t tokens;
	double tokenizing;
	double all;
	double start;

	if (!parse_options(argc, argv, &options))
	{
		fprintf(stderr,
				"usage: bench_encoder [--backend NAME] [--precision f32|bf16|int8]"
				" [--threads N] [--embed TEXTS OUTPUT]... MODEL TEXTS\n");
		return 2;
	}
	if (options.threads == 1 && getenv("CLOCK") != NULL && strcmp(getenv("CLOCK"), "cpu") == 0)
		measured_clock = CLOCK_PROCESS_CPUTIME_ID;
	open_model(&model, &options);
	texts = read_texts(options.texts);
	if (texts.n == 0)
		die(options.texts, "holds no texts");
	for (int i = 0; i < options.n_outputs; i++)
		write_embeddings(&model, options.outputs[i][0], options.outputs[i][1]);

	free(embed(&model, &texts));
	start = now();
	free(embed(&model, &texts));
	all = now() - start;
	tokenizing = tokenize_seconds(&model, &texts, &tokens);
	printf("{\"texts_per_second\": %.3f, \"tokens_per_second\": %.1f, \"tokens\": %lld, "
		   "\"tokenizing_ms\": %.3f, \"single_ms\": %.4f, \"detail\": \"%s %s\"}\n",
		   texts.n / all, (double) tokens / all, (long long) tokens, 1e3 * tokenizing,
		   1e3 * single_text_seconds(&model, &texts), model.compute.backend->name,
		   model.compute.backend->instruction_set());
	return 0;
}
