/*
 * bench_train.c
 *	  The C library's side of train.sh: tokens per second of training steps.
 *
 * bench_train [--backend NAME] [--threads N] [--dropout SHARE] [--memory BYTES]
 *             [--part TOKENS] [--steps N] [--lora RANK] [--write FILE] MODEL TEXTS
 *
 * Makes pairs of the first 128 texts of a file, cut to 64 tokens, and takes
 * steps of the contrastive loss in both directions with AdamW, one to warm up
 * and then N (3). Prints the median step: tokens per second, and the seconds of
 * the gradient and of AdamW, and the first loss, which without dropout is the
 * peer's. --lora trains low-rank additions to all matrices. --write writes the token ids for the peer, a text a line, and does
 * nothing else. CLOCK=cpu measures the process's time on the
 * processor instead, with one thread: what a busy machine leaves to others does
 * not count.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/load_backend.h"
#include "bench/load_model.h"
#include "core/train/br_train_adapters.h"
#include "core/train/br_train_losses.h"
#include "core/train/br_train_optimiser.h"

#define TEXTS 128
#define LONGEST 64
#define MOST_STEPS 1000

typedef struct Options
{
	const char *backend;
	int threads;
	double dropout;
	size_t memory;
	int part;
	int steps;
	int lora; /* rank; 0: the model itself is trained */
	const char *write;
	const char *model;
	const char *texts;
} Options;

typedef struct Tokens
{
	int32_t ids[TEXTS * LONGEST];
	int32_t offsets[TEXTS + 1];
} Tokens;

static double
now(void)
{
	const char *clock = getenv("CLOCK");
	bool cpu = clock != NULL && strcmp(clock, "cpu") == 0;
	struct timespec time;

	clock_gettime(cpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static bool
parse_options(int argc, char **argv, Options *options)
{
	int i = 1;

	*options = (Options){.backend = "openblas", .threads = 1, .steps = 3};
	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2)
	{
		const char *value = argv[i + 1];

		if (strcmp(argv[i], "--backend") == 0)
			options->backend = value;
		else if (strcmp(argv[i], "--threads") == 0)
			options->threads = atoi(value);
		else if (strcmp(argv[i], "--dropout") == 0)
			options->dropout = atof(value);
		else if (strcmp(argv[i], "--memory") == 0)
			options->memory = (size_t) strtoull(value, NULL, 10);
		else if (strcmp(argv[i], "--part") == 0)
			options->part = atoi(value);
		else if (strcmp(argv[i], "--steps") == 0)
			options->steps = atoi(value);
		else if (strcmp(argv[i], "--lora") == 0)
			options->lora = atoi(value);
		else if (strcmp(argv[i], "--write") == 0)
			options->write = value;
		else
			return false;
	}
	if (i + 2 != argc)
		return false;
	options->model = argv[i];
	options->texts = argv[i + 1];
	return options->threads >= 1 && options->steps >= 1 && options->steps <= MOST_STEPS;
}

/* Cut texts keep their last special token. */
static void
tokenize(const BrEncoder *encoder, BrContext *context, const Texts *texts, Tokens *tokens)
{
	if (texts->n < TEXTS)
		die("texts", "there are too few");
	tokens->offsets[0] = 0;
	for (int i = 0; i < TEXTS; i++)
	{
		int32_t *to = tokens->ids + tokens->offsets[i];
		int32_t *ids;
		int n;

		check(br_encoder_tokenize(encoder, context, texts->texts[i], texts->sizes[i], true, &ids,
								  &n),
			  "tokenizing", context);
		tokens->offsets[i + 1] = tokens->offsets[i] + (n < LONGEST ? n : LONGEST);
		memcpy(to, ids, (size_t) (n < LONGEST ? n : LONGEST) * sizeof(int32_t));
		if (n > LONGEST)
			to[LONGEST - 1] = ids[n - 1];
		br_base_free(context, ids);
	}
}

static void
write_tokens(const Tokens *tokens, const char *path)
{
	FILE *file = fopen(path, "w");

	if (file == NULL)
		die(path, "cannot be written");
	for (int i = 0; i < TEXTS; i++)
		for (int j = tokens->offsets[i]; j < tokens->offsets[i + 1]; j++)
			fprintf(file, "%d%c", tokens->ids[j], j + 1 < tokens->offsets[i + 1] ? ' ' : '\n');
	if (fclose(file) != 0)
		die(path, "cannot be written");
}

/* Seconds of a step's two parts. */
typedef struct Step
{
	double gradient;
	double update;
	double loss;
} Step;

static int
compare_steps(const void *left, const void *right)
{
	const Step *a = left;
	const Step *b = right;
	double apart = a->gradient + a->update - b->gradient - b->update;

	return (apart > 0) - (apart < 0);
}

/* The median step; the first is not counted. */
static Step
time_steps(BrTrainRun *run, BrTrainOptimiser *optimiser, BrTrainLora *lora, BrContext *context,
		   const Tokens *tokens, const Options *options, const BrBackend *backend,
		   double *first_loss)
{
	const BrTrainContrastive loss = {backend, 0.05, 0, true, 0, NULL};
	const BrTrainBatch batch = {tokens->ids, tokens->offsets, TEXTS, NULL};
	static Step steps[MOST_STEPS + 1];
	double value;
	double length;

	for (int i = 0; i <= options->steps; i++)
	{
		double start = now();
		double middle;

		check(br_train_accumulate(run, &batch, (uint64_t) i, br_train_contrastive, &loss,
								  options->part, &value),
			  "gradient", context);
		if (lora != NULL)
			br_train_lora_pull(lora);
		middle = now();
		check(br_train_update(optimiser, &length), "update", context);
		if (lora != NULL)
			br_train_lora_push(lora);
		steps[i] = (Step){middle - start, now() - middle, value};
	}
	*first_loss = steps[0].loss;
	qsort(steps + 1, (size_t) options->steps, sizeof(Step), compare_steps);
	return steps[1 + options->steps / 2];
}

int
main(int argc, char **argv)
{
	static Tokens tokens;
	Options options;
	BrContext context;
	BrEncoder *encoder;
	BrTrainModel *model;
	BrTrainLora *lora = NULL;
	BrTrainSet set;
	BrTrainRun *run;
	BrTrainOptimiser *optimiser;
	BrTrainOptions how = {0};
	BrTrainRecipe recipe = {.rate = 5e-5,
							.steps = MOST_STEPS + 1,
							.beta1 = 0.9,
							.beta2 = 0.999,
							.epsilon = 1e-8,
							.decay = 0.01,
							.clip = 1};
	const char *why = NULL;
	Texts texts;
	Step step;
	double first_loss;

	if (!parse_options(argc, argv, &options))
		die("usage",
			"bench_train [--backend NAME] [--threads N] [--dropout SHARE] "
			"[--memory BYTES] [--part TOKENS] [--steps N] [--lora RANK] [--write FILE] MODEL TEXTS");
	br_base_context_init(&context);
	encoder = load_model(&context, options.model);
	texts = read_texts(options.texts);
	tokenize(encoder, &context, &texts, &tokens);
	if (options.write != NULL)
	{
		write_tokens(&tokens, options.write);
		return 0;
	}
	how.backend = load_backend(options.backend, &why);
	if (how.backend == NULL)
		die(options.backend, why);
	how.memory = options.memory;
	how.dropout = how.attention_dropout = options.dropout;
	if (options.threads > 1)
		check(br_base_pool_create(&context, options.threads, &how.pool), "threads", &context);
	check(br_train_open(&context, encoder, (BrTrainHead){0}, 1, &model), "model", &context);
	set = br_train_set(model);
	if (options.lora != 0)
	{
		const BrTrainLoraOptions low_rank = {options.lora, options.lora, BR_TRAIN_LORA_ALL, 1};

		check(br_train_lora_create(&context, model, how.backend, &low_rank, &lora), "additions",
			  &context);
		set = br_train_lora_set(lora);
	}
	check(br_train_begin(&context, model, &how, &run), "run", &context);
	check(br_train_optimiser_create(&context, &set, &recipe, how.pool, &optimiser), "optimiser",
		  &context);
	step = time_steps(run, optimiser, lora, &context, &tokens, &options, how.backend, &first_loss);
	printf("%.0f tokens/s of %d tokens, gradient %.3f s, update %.3f s, first loss %.5f\n",
		   tokens.offsets[TEXTS] / (step.gradient + step.update), tokens.offsets[TEXTS],
		   step.gradient, step.update, first_loss);
	return 0;
}
