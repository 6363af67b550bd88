/*
 * bench_cuda.c
 *	  How fast the CUDA backend is, on the device of this machine.
 *
 *		bench_cuda [TITLES]
 *
 * TITLES: a golden file, whose rows have ids of texts; with BR_MODEL_DIR these are
 * embedded by the default model. What needs no model is measured in any case: a
 * product of halves, as the most that this device does; a model of BERT-base's
 * shape with random weights; k-means' two steps. Training takes contrastive steps
 * of 64 pairs of the titles with dropout .1 and AdamW, which as many threads of the
 * processor share as it has cores, up to 8. Each line is a name, a figure and its
 * unit; times are medians.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend/cuda/cuda_int.h"
#include "core/math/br_math.h"

#ifndef BR_WITHOUT_ENCODER
#include <cjson/cJSON.h>

#include "core/encoder/br_encoder.h"
#include "core/train/br_train_losses.h"
#include "core/train/br_train_optimiser.h"
#endif

extern const BrDeviceTable *br_device_table(void);

#define RUNS 9
#define SINGLE_RUNS 300
#define TITLE_COUNT 20000
#define LONG_COUNT 4000
#define LONG_TOKENS 256
#define TRAIN_PAIRS 64
#define TRAIN_STEPS 15
#define MOST_THREADS 8

static BrContext context;
static BrStream stream;

static double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

static void
need(BrStatus status)
{
	if (status == BR_OK)
		return;
	fprintf(stderr, "bench_cuda: %s\n", context.detail);
	exit(1);
}

static void *
memory_of(size_t bytes)
{
	void *memory = malloc(bytes);

	if (memory == NULL)
		exit(1);
	return memory;
}

static void
report(const char *name, double figure, const char *unit)
{
	printf("%-28s %12.2f %s\n", name, figure, unit);
	fflush(stdout);
}

static int
ascending(const void *left, const void *right)
{
	double a = *(const double *) left;
	double b = *(const double *) right;

	return (a > b) - (a < b);
}

static double
median(double *times, int n)
{
	qsort(times, (size_t) n, sizeof(double), ascending);
	return times[n / 2];
}

static float *
random_floats(size_t n, double scale)
{
	float *values = memory_of(n * sizeof(float));
	BrRandom random;

	br_base_random_init(&random, 1, n);
	for (size_t i = 0; i < n; i++)
		values[i] = (float) (scale * ((double) br_base_random_u32(&random) / 2147483648.0 - 1));
	return values;
}

/* ---- the most that a product does ---- */

static double
measure_peak(void)
{
	const int side = 8192;
	size_t n = (size_t) side * (size_t) side;
	double times[RUNS];
	BrProducts *products;
	void *memory[3];
	double peak;

	need(br_cuda_open_products(&context, BR_PRODUCT_BEST, &products));
	for (int i = 0; i < 3; i++)
	{
		need(br_cuda_allocate(&context, n * sizeof(BrHalf), &memory[i]));
		need(br_cuda_clear(&context, stream, memory[i], n * sizeof(BrHalf)));
	}
	/* not zeros, on which devices save energy and are faster than on anything else */
	for (int i = 0; i < 2; i++)
	{
		float *values = random_floats((size_t) side * 512, 1);
		void *floats;

		need(br_cuda_allocate(&context, (size_t) side * 512 * sizeof(float), &floats));
		need(br_cuda_upload(&context, stream, floats, values, (size_t) side * 512 * sizeof(float)));
		for (int j = 0; j < 16; j++)
			br_cuda_to_half(stream, floats, (size_t) side * 512,
							(BrHalf *) memory[i] + (size_t) j * (size_t) side * 512);
		need(br_cuda_wait(&context, stream));
		br_cuda_release(floats);
		free(values);
	}
	for (int i = -2; i < RUNS; i++)
	{
		double start = now();

		need(br_cuda_multiply(products, &context, stream, memory[0], memory[1], NULL, side, side,
							  side, BR_ACTIVATION_NONE, memory[2]));
		need(br_cuda_wait(&context, stream));
		if (i >= 0)
			times[i] = now() - start;
	}
	peak = 2.0 * side * side * side / median(times, RUNS) / 1e12;
	printf("# products by %s\n", br_cuda_products_name(products));
	report("product_f16_8192", peak, "TFLOP/s");
	for (int i = 0; i < 3; i++)
		br_cuda_release(memory[i]);
	br_cuda_close_products(products);
	return peak;
}

/* ---- models ---- */

typedef struct Texts
{
	int32_t *ids;
	int32_t *offsets;
	int n;
} Texts;

/* n texts of so many tokens each. */
static Texts
equal_texts(int n, int tokens, int vocabulary)
{
	Texts texts = {memory_of((size_t) n * (size_t) tokens * sizeof(int32_t)),
				   memory_of(((size_t) n + 1) * sizeof(int32_t)), n};

	for (int i = 0; i < n * tokens; i++)
		texts.ids[i] = (int32_t) ((uint32_t) i * 2654435761u % (uint32_t) vocabulary);
	for (int i = 0; i <= n; i++)
		texts.offsets[i] = i * tokens;
	return texts;
}

/* Seconds for all of them. */
static double
time_texts(BrDevice *device, BrDeviceModel *model, const Texts *texts, int dimensions, int runs)
{
	float *embeddings = memory_of((size_t) texts->n * (size_t) dimensions * sizeof(float));
	double *times = memory_of((size_t) runs * sizeof(double));
	double middle;

	for (int i = -1; i < runs; i++)
	{
		double start = now();

		need(br_device_table()->embed(device, &context, model, texts->ids, texts->offsets, texts->n,
									  embeddings));
		if (i >= 0)
			times[i] = now() - start;
	}
	middle = median(times, runs);
	free(embeddings);
	free(times);
	return middle;
}

static BrTransformer
bert_base(BrTransformerLayer *layers /* (12) */)
{
	const int hidden = 768;
	const float *matrix = random_floats((size_t) 4 * 768 * 768, 0.04);
	const float *vector = random_floats(3072, 0.1);
	BrTransformer model = {
		.hidden = hidden,
		.layers = 12,
		.heads = 12,
		.intermediate = 4 * hidden,
		.vocabulary = 3000,
		.positions = 512,
		.max_tokens = 512,
		.dimensions = hidden,
		.epsilon = 1e-12f,
		.activation = BR_ACTIVATION_GELU_ERF,
		.pooling = BR_POOLING_MEAN,
		.word = matrix,
		.position = matrix,
		.gain = vector,
		.bias = vector,
		.layer = layers,
	};

	for (int i = 0; i < model.layers; i++)
		layers[i] = (BrTransformerLayer){matrix, vector, matrix, vector, vector, vector,
										 matrix, vector, matrix, vector, vector, vector};
	return model;
}

static void
measure_bert_base(BrDevice *device, double peak)
{
	const int tokens = 128;
	const int n = 1024;
	BrTransformerLayer layers[12];
	BrTransformer shape = bert_base(layers);
	Texts texts = equal_texts(n, tokens, shape.vocabulary);
	double hidden = shape.hidden;
	double of_token = 2 * (3 + 1 + 4 + 4) * hidden * hidden + 4.0 * tokens * hidden;
	double work = (double) n * tokens * shape.layers * of_token;
	BrDeviceModel *model;
	double seconds;
	double rate;

	need(br_device_table()->load(device, &context, &shape, &model));
	seconds = time_texts(device, model, &texts, shape.dimensions, RUNS);
	rate = work / seconds / 1e12;
	report("bert_base_128", rate, "TFLOP/s");
	report("bert_base_128_share", 100 * rate / peak, "% of the product");
	report("bert_base_128_texts", n / seconds, "texts/s");
	br_device_table()->unload(device, model);
}

#ifndef BR_WITHOUT_ENCODER

static char *
read_file(const char *directory, const char *name, size_t *size)
{
	char path[4096];
	char *data = NULL;
	FILE *file;
	long length;

	snprintf(path, sizeof(path), "%s%s%s", directory, directory[0] != '\0' ? "/" : "", name);
	file = fopen(path, "rb");
	if (file == NULL)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0)
	{
		rewind(file);
		data = memory_of((size_t) length + 1);
		*size = fread(data, 1, (size_t) length, file);
		data[*size] = '\0';
	}
	fclose(file);
	return data;
}

static BrEncoder *
open_model(const char *directory)
{
	size_t size = 0;
	char *modules = read_file(directory, "modules.json", &size);
	BrModelFile files[32];
	int n_files = 0;
	BrEncoder *encoder;
	void *image;
	char **paths;
	int n;

	need(br_encoder_needed_files(&context, modules, size, &paths, &n));
	for (int i = 0; i < n && n_files < 32; i++)
	{
		char *data = read_file(directory, paths[i], &size);

		if (data != NULL)
			files[n_files++] = (BrModelFile){paths[i], data, size};
	}
	need(br_encoder_import(&context, files, n_files, &image, &size));
	need(br_encoder_open(&context, image, size, &encoder));
	return encoder;
}

/* The rows of a golden file over and over. */
static int
read_titles(const char *path, const char **titles, size_t *sizes, int n)
{
	size_t size;
	char *text = read_file("", path, &size);
	cJSON *json = text != NULL ? cJSON_ParseWithLength(text, size) : NULL;
	const cJSON *row;
	int count = 0;

	if (json == NULL || cJSON_GetObjectItem(json, "rows") == NULL)
		return 0;
	while (count < n)
		cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "rows")) if (count < n)
		{
			titles[count] = cJSON_GetObjectItem(row, "text")->valuestring;
			sizes[count] = strlen(titles[count]);
			count++;
		}
	return count;
}

/* Steps of a model of its own, from its titles' ids. */
static void
measure_training(BrDevice *device, const BrEncoder *encoder, const Texts *texts)
{
	const BrTrainRecipe recipe = {.rate = 5e-5,
								  .steps = TRAIN_STEPS + 1,
								  .beta1 = 0.9,
								  .beta2 = 0.999,
								  .epsilon = 1e-8,
								  .decay = 0.01,
								  .clip = 1};
	const BrTrainContrastive loss = {br_math_portable_backend(), 0.05, 0, true, 0, NULL};
	const BrTrainBatch batch = {texts->ids, texts->offsets, 2 * TRAIN_PAIRS, NULL};
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	double tokens = texts->offsets[2 * TRAIN_PAIRS];
	double times[2][TRAIN_STEPS];
	BrTrainOptions options = {.backend = br_math_portable_backend(),
							  .dropout = 0.1,
							  .attention_dropout = 0.1,
							  .device_table = br_device_table(),
							  .device = device};
	BrTrainOptimiser *optimiser;
	BrTrainModel *model;
	BrTrainRun *run;
	BrTrainSet set;
	BrPool *pool;

	need(br_base_pool_create(&context, cores < MOST_THREADS ? (int) cores : MOST_THREADS, &pool));
	need(br_train_open(&context, encoder, (BrTrainHead){0}, 1, &model));
	set = br_train_set(model);
	need(br_train_begin(&context, model, &options, &run));
	need(br_train_optimiser_create(&context, &set, &recipe, pool, &optimiser));
	for (int i = -1; i < TRAIN_STEPS; i++)
	{
		double start = now();
		double middle;
		double value;
		double length;

		need(br_train_accumulate(run, &batch, (uint64_t) (i + 1), br_train_contrastive, &loss, 0,
								 &value));
		middle = now();
		need(br_train_update(optimiser, &length));
		if (i < 0)
			continue;
		times[0][i] = now() - start;
		times[1][i] = middle - start;
	}
	printf("# training: %d pairs, %.0f tokens, %d threads\n", TRAIN_PAIRS, tokens,
		   br_base_pool_threads(pool));
	report("minilm_train", tokens / median(times[0], TRAIN_STEPS), "tokens/s");
	report("minilm_train_gradient", tokens / median(times[1], TRAIN_STEPS), "tokens/s");
	br_train_optimiser_destroy(optimiser);
	br_train_end(run);
	br_train_close(model);
	br_base_pool_destroy(pool);
}

static void
measure_default_model(BrDevice *device, const char *directory, const char *golden)
{
	BrEncoder *encoder = open_model(directory);
	int dimensions = br_encoder_info(encoder)->dimensions;
	const char **titles = memory_of(TITLE_COUNT * sizeof(char *));
	size_t *sizes = memory_of(TITLE_COUNT * sizeof(size_t));
	Texts texts = {NULL, NULL, read_titles(golden, titles, sizes, TITLE_COUNT)};
	BrTransformer *transformer;
	BrDeviceModel *model;
	double tokenizing;
	double seconds;

	need(br_encoder_describe(encoder, &context, &transformer));
	need(br_device_table()->load(device, &context, transformer, &model));
	if (texts.n > 0)
	{
		double start = now();

		need(br_encoder_encode(encoder, &context, titles, sizes, texts.n, true, &texts.ids,
							   &texts.offsets));
		tokenizing = now() - start;
		seconds = time_texts(device, model, &texts, dimensions, RUNS);
		report("minilm_titles_ids", texts.n / seconds, "texts/s");
		report("minilm_titles", texts.n / (seconds + tokenizing), "texts/s");
		measure_training(device, encoder, &texts);
		texts.n = 1;
		report("minilm_single", 1e6 * time_texts(device, model, &texts, dimensions, SINGLE_RUNS),
			   "us");
	}
	texts = equal_texts(LONG_COUNT, LONG_TOKENS, transformer->vocabulary);
	report("minilm_256_tokens", texts.n / time_texts(device, model, &texts, dimensions, RUNS),
		   "texts/s");
	br_device_table()->unload(device, model);
}
#endif

/* ---- k-means ---- */

static void
measure_k_means(void)
{
	const int dims = 384;
	const int lists = 3162;
	const int piece = 100000;
	size_t bytes = (size_t) piece * (size_t) dims * sizeof(float);
	float *values = random_floats((size_t) piece * (size_t) dims, 1);
	void *memory[4] = {NULL, NULL, NULL, NULL};
	double times[2][3];
	BrDeviceInfo info;
	int n;

	need(br_cuda_describe(&context, 0, &info));
	n = (int) (0.8 * (double) info.memory_free / (double) (bytes + (size_t) piece * 4)) * piece;
	n = n < 10000000 ? n : 10000000;
	need(br_cuda_allocate(&context, (size_t) (n / piece) * bytes, &memory[0]));
	need(br_cuda_allocate(&context, (size_t) lists * (size_t) dims * sizeof(float), &memory[1]));
	need(br_cuda_allocate(&context, (size_t) lists * sizeof(float), &memory[2]));
	need(br_cuda_allocate(&context, (size_t) n * sizeof(int32_t), &memory[3]));
	for (int i = 0; i < n / piece; i++)
		need(br_cuda_upload(&context, stream, (char *) memory[0] + (size_t) i * bytes, values,
							bytes));
	need(br_cuda_upload(&context, stream, memory[1], values,
						(size_t) lists * (size_t) dims * sizeof(float)));
	need(br_cuda_wait(&context, stream));
	for (int i = 0; i < 3; i++)
	{
		double start = now();

		br_cuda_squared_norms(stream, memory[1], lists, dims, memory[2]);
		br_cuda_assign(stream, memory[0], n, dims, memory[1], memory[2], lists, memory[3], NULL);
		need(br_cuda_wait(&context, stream));
		times[0][i] = now() - start;
		br_cuda_update_centroids(stream, memory[0], memory[3], n, dims, lists, memory[1], NULL);
		need(br_cuda_wait(&context, stream));
		times[1][i] = now() - start - times[0][i];
	}
	printf("# k-means: %d vectors of %d dimensions, %d lists\n", n, dims, lists);
	report("k_means_assign", median(times[0], 3), "s");
	report("k_means_update", median(times[1], 3), "s");
	report("k_means_assign_rate", 2.0 * n * lists * dims / times[0][1] / 1e12, "TFLOP/s");
	for (int i = 0; i < 4; i++)
		br_cuda_release(memory[i]);
	free(values);
}

int
main(int n, char **arguments)
{
	BrDeviceInfo info;
	BrDevice *device;
	double peak;

	br_base_context_init(&context);
	if (br_cuda_count(&context) == 0)
	{
		printf("skipped: %s\n", context.detail);
		return 0;
	}
	need(br_device_table()->open(&context, 0, &device));
	need(br_cuda_create_stream(&context, &stream));
	br_device_table()->tell(device, &info);
	printf("# %s, %s, %.1f GB\n", info.name, info.instructions, (double) info.memory / 1e9);
	peak = measure_peak();
	measure_bert_base(device, peak);
#ifndef BR_WITHOUT_ENCODER
	if (getenv("BR_MODEL_DIR") != NULL && getenv("BR_MODEL_DIR")[0] != '\0')
		measure_default_model(device, getenv("BR_MODEL_DIR"), n > 1 ? arguments[1] : "");
	else
		printf("skipped: the default model, BR_MODEL_DIR is not set\n");
#else
	(void) n;
	(void) arguments;
	printf("skipped: the default model, built without the encoder\n");
#endif
	br_device_table()->close(device);
	measure_k_means();
	br_cuda_destroy_stream(stream);
	return 0;
}
