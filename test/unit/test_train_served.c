/*
 * test_train_served.c
 *	  Models with additions as the encoder serves them, beside the training run
 *	  compiled in double: on every backend, with threads, in every precision, also
 *	  where the model has lost heads and neurons.
 */
#include "unit/train_double.h"

#include "core/compress/br_compress.h"
#include "unit/addition_fixture.h"

#define TEXTS 40
#define MOST_TOKENS 1200
#define BOUND 1e-5

static const char *const models[] = {"tiny-bert-cls", "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean", "tiny-xlmr-mean"};
static const char *const backends[] = {"portable", "openblas", "onednn"};

#define N_MODELS (sizeof(models) / sizeof(models[0]))
#define N_BACKENDS (sizeof(backends) / sizeof(backends[0]))

/* Texts of 1 to 48 tokens, in no order of length. */
static int32_t ids[MOST_TOKENS];
static int32_t offsets[TEXTS + 1];

static void
fill_texts(void)
{
	for (int i = 0; i < TEXTS; i++)
		offsets[i + 1] = offsets[i] + 1 + i * 7 % 48;
	assert_true(offsets[TEXTS] <= MOST_TOKENS);
	for (int i = 0; i < MOST_TOKENS; i++)
		ids[i] = 5 + 31 * i % 250;
}

/* A trained model, what it embeds, and the image that it makes. */
typedef struct Served
{
	Trained trained;
	Addition addition;
	double *expected; /* (TEXTS, dim) */
	void *image;
	size_t image_size;
	BrEncoder *encoder;
	int compared;
} Served;

static BrNamedTensor *
named_tensors(BrTrainSet set)
{
	BrNamedTensor *tensors = malloc((size_t) set.n_tensors * sizeof(BrNamedTensor));

	for (int i = 0; i < set.n_tensors; i++)
	{
		const BrTrainTensor *tensor = &set.tensors[i];
		size_t n = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
		float *values = malloc(n * sizeof(float));

		for (size_t j = 0; j < n; j++)
			values[j] = (float) set.parameters[tensor->offset + j];
		tensors[i] = (BrNamedTensor){tensor->name, tensor->rows, tensor->columns, values};
	}
	return tensors;
}

static void
free_tensors(BrNamedTensor *tensors, int n)
{
	for (int i = 0; i < n; i++)
		free((float *) tensors[i].values);
	free(tensors);
}

static void
make_image(Served *served, BrAddition addition, BrTrainSet set)
{
	OpenModel *open = &served->trained.open;
	BrNamedTensor *tensors = named_tensors(set);
	size_t n = served->trained.model->shape.map.total;
	float *weights = malloc(n * sizeof(float));

	for (size_t i = 0; i < n; i++)
		weights[i] = (float) served->trained.model->parameters[i];
	if (br_encoder_with_addition(&open->context, open->image, open->image_size, weights, addition,
								 tensors, set.n_tensors, &served->image,
								 &served->image_size) != BR_OK)
		fail_msg("%s", open->context.detail);
	assert_int_equal(br_encoder_open(&open->context, served->image, served->image_size,
									 &served->encoder),
					 BR_OK);
	free(weights);
	free_tensors(tensors, set.n_tensors);
}

/* Numbers that are floats, and far enough from nothing to matter. */
static void
move_set(BrTrainSet set, double size)
{
	for (size_t i = 0; i < set.n; i++)
		set.parameters[i] = (float) (set.parameters[i] + size * sin((double) i));
}

static void
embed_trained(Served *served, double *embeddings)
{
	const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};

	assert_int_equal(br_train_embed(served->trained.run, &batch, 0, embeddings), BR_OK);
}

/* Leaves 3 heads of each layer, and 9 neurons. */
static void
prune_model(OpenModel *open)
{
	double importance[1024];
	BrModelShape shape;
	void *image;
	size_t size;

	br_encoder_tell_shape(open->encoder, &shape);
	assert_true(shape.heads > 3 && shape.layers * shape.intermediate <= 1024);
	for (int i = 0; i < 1024; i++)
		importance[i] = sin(i);
	assert_int_equal(br_compress_structure(&open->context, open->image, open->image_size,
										   importance, importance, 3, 9, &image, &size),
					 BR_OK);
	model_close(open);
	open->image = image;
	open->image_size = size;
	assert_int_equal(br_encoder_open(&open->context, image, size, &open->encoder), BR_OK);
}

static void
trained_open_pruned(Trained *trained, const char *name, const BrTrainOptions *options)
{
	BrContext *context = &trained->open.context;

	model_open_golden(&trained->open, name);
	prune_model(&trained->open);
	assert_int_equal(br_train_open(context, trained->open.encoder, (BrTrainHead){0}, 1,
								   &trained->model),
					 BR_OK);
	assert_true(trained->model->shape.attended < trained->model->shape.hidden);
	assert_int_equal(br_train_begin(context, trained->model, options, &trained->run), BR_OK);
	trained->dim = br_train_dimensions(trained->model);
}

static void
served_open(Served *served, const char *name, bool pruned, BrAddition addition)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	const AdditionOptions bottleneck = {.kind = BOTTLENECK, .bottleneck = {addition.size, 3}};
	const AdditionOptions prefix = {.kind = PREFIX, .prefix = {addition.size, 0, 3}};
	bool is_prefix = addition.kind == BR_ADDITION_PREFIX;
	Trained *trained = &served->trained;

	*served = (Served){.compared = 0};
	if (pruned)
		trained_open_pruned(trained, name, &options);
	else
		trained_open(trained, name, (BrTrainHead){0}, &options);
	served->expected = calloc(TEXTS * (size_t) trained->dim, sizeof(double));
	addition_create(&served->addition, trained, options.backend, is_prefix ? &prefix : &bottleneck);
	move_set(served->addition.set, is_prefix ? 1 : 0.2);
	addition_push(&served->addition);
	embed_trained(served, served->expected);
	make_image(served, addition, served->addition.set);
}

static void
served_close(Served *served)
{
	br_encoder_close(served->encoder);
	br_base_free(&served->trained.open.context, served->image);
	addition_destroy(&served->addition);
	free(served->expected);
	trained_close(&served->trained);
}

/* ---- what is served ---- */

static float *
embed_served(const Served *served, const BrEncoder *encoder, const BrCompute *compute)
{
	BrContext context;
	float *embeddings = calloc(TEXTS * (size_t) served->trained.dim, sizeof(float));

	br_base_context_init(&context);
	assert_int_equal(br_encoder_embed_tokens(encoder, &context, compute, ids, offsets, TEXTS,
											 embeddings),
					 BR_OK);
	return embeddings;
}

/* The largest difference, relative to the largest number. */
static double
difference_of(const Served *served, const float *embeddings)
{
	double largest = 0;
	double difference = 0;

	for (int i = 0; i < TEXTS * served->trained.dim; i++)
	{
		largest = fmax(largest, fabs(served->expected[i]));
		difference = fmax(difference, fabs(served->expected[i] - (double) embeddings[i]));
	}
	return difference / largest;
}

static double
least_cosine(const Served *served, const float *embeddings)
{
	int dim = served->trained.dim;
	double least = 1;

	for (int text = 0; text < TEXTS; text++)
	{
		double product = 0;
		double a = 0;
		double b = 0;

		for (int i = text * dim; i < (text + 1) * dim; i++)
		{
			product += served->expected[i] * (double) embeddings[i];
			a += served->expected[i] * served->expected[i];
			b += (double) embeddings[i] * (double) embeddings[i];
		}
		least = fmin(least, product / sqrt(a * b));
	}
	return least;
}

/* bound: of the difference, in f32; a cosine in what is less precise. */
static void
check_packed(Served *served, const BrBackend *backend, BrPrecision precision, double bound)
{
	BrContext context;
	size_t size = br_encoder_packed_size(served->encoder, backend, precision);
	BrCompute compute = {.backend = backend};
	void *packed = NULL;
	float *embeddings;
	double found;

	if (size == 0)
		return;
	br_base_context_init(&context);
	assert_int_equal(posix_memalign(&packed, 64, size), 0);
	assert_int_equal(br_encoder_pack(served->encoder, &context, backend, precision, packed), BR_OK);
	compute.packed = packed;
	embeddings = embed_served(served, served->encoder, &compute);
	found = precision == BR_PRECISION_F32 ? difference_of(served, embeddings)
										  : 1 - least_cosine(served, embeddings);
	if (!(found <= bound))
		fail_msg("%s, precision %d: %g", backend->name, (int) precision, found);
	free(embeddings);
	free(packed);
	served->compared++;
}

static void
check_served(Served *served, const char *name)
{
	for (size_t b = 0; b < N_BACKENDS; b++)
	{
		const BrBackend *backend = load_backend(backends[b]);

		if (backend == NULL)
			continue;
		for (int threads = 1; threads <= 3; threads += 2)
		{
			BrCompute compute = {.backend = backend};
			BrContext context;
			float *embeddings;
			double difference;

			br_base_context_init(&context);
			if (threads > 1)
				assert_int_equal(br_base_pool_create(&context, threads, &compute.pool), BR_OK);
			embeddings = embed_served(served, served->encoder, &compute);
			difference = difference_of(served, embeddings);
			if (!(difference <= BOUND))
				fail_msg("%s, %s, %d threads: %g", name, backends[b], threads, difference);
			free(embeddings);
			br_base_pool_destroy(compute.pool);
			served->compared++;
		}
		check_packed(served, backend, BR_PRECISION_F32, BOUND);
		check_packed(served, backend, BR_PRECISION_BF16, 0.001);
		check_packed(served, backend, BR_PRECISION_INT8, 0.02);
	}
	assert_true(served->compared >= 2);
}

/* Without the addition the same weights embed otherwise. */
static void
check_that_it_matters(const Served *served)
{
	const BrCompute compute = {.backend = br_math_portable_backend()};
	float *embeddings = embed_served(served, served->trained.open.encoder, &compute);

	assert_true(difference_of(served, embeddings) > 0.05);
	free(embeddings);
}

static void
bottlenecks_are_served(void **state)
{
	(void) state;
	for (size_t m = 0; m < N_MODELS; m++)
		for (int size = 1; size <= 32; size += 13)
		{
			Served served;

			served_open(&served, models[m], false, (BrAddition){BR_ADDITION_BOTTLENECK, size});
			check_served(&served, models[m]);
			check_that_it_matters(&served);
			served_close(&served);
		}
}

/* Shorter than texts and longer, and longer than the model has positions. */
static void
prefixes_are_served(void **state)
{
	static const int lengths[] = {1, 6, 100};

	(void) state;
	for (size_t m = 0; m < N_MODELS; m++)
		for (int i = 0; i < 3; i++)
		{
			Served served;

			served_open(&served, models[m], false, (BrAddition){BR_ADDITION_PREFIX, lengths[i]});
			check_served(&served, models[m]);
			check_that_it_matters(&served);
			served_close(&served);
		}
}

static void
additions_of_pruned_models_are_served(void **state)
{
	static const BrAddition additions[] = {{BR_ADDITION_BOTTLENECK, 5}, {BR_ADDITION_PREFIX, 6}};

	(void) state;
	for (size_t m = 0; m < N_MODELS; m++)
		for (int i = 0; i < 2; i++)
		{
			Served served;

			served_open(&served, models[m], true, additions[i]);
			check_served(&served, models[m]);
			check_that_it_matters(&served);
			served_close(&served);
		}
}

/* Smaller copies would lose what was added, so there are none. */
static void
models_with_additions_stay_whole(void **state)
{
	static const BrAddition additions[] = {{BR_ADDITION_BOTTLENECK, 5}, {BR_ADDITION_PREFIX, 6}};
	static const double importance[1024];
	const char *text = "a red cup";
	const size_t length = strlen(text);

	(void) state;
	for (int i = 0; i < 2; i++)
		for (int way = 0; way < 3; way++)
		{
			Served served;
			BrContext context;
			void *copy = &served;
			size_t size = 1;
			BrStatus status;

			served_open(&served, "tiny-bert-cls", false, additions[i]);
			br_base_context_init(&context);
			if (way == 0)
				status = br_compress_vocabulary(&context, served.image, served.image_size, &text,
												&length, 1, 1, &copy, &size);
			else if (way == 1)
				status = br_compress_structure(&context, served.image, served.image_size,
											   importance, importance, 3, 9, &copy, &size);
			else
				status =
					br_compress_layers(&context, served.image, served.image_size, 1, &copy, &size);
			assert_int_equal(status, BR_ERR_UNSUPPORTED);
			assert_non_null(strstr(context.detail, "that it was added to"));
			assert_null(copy);
			served_close(&served);
		}
}

static void
check_alone(BrAddition addition)
{
	const BrCompute compute = {.backend = br_math_portable_backend()};
	Served served;
	float alone[32];

	served_open(&served, "tiny-mpnet-mean", false, addition);
	assert_int_equal(served.trained.dim, 32);
	for (int text = 0; text < TEXTS; text += 3)
	{
		const int32_t own[] = {0, offsets[text + 1] - offsets[text]};
		BrContext context;

		br_base_context_init(&context);
		assert_int_equal(br_encoder_embed_tokens(served.encoder, &context, &compute,
												 ids + offsets[text], own, 1, alone),
						 BR_OK);
		for (int i = 0; i < 32; i++)
			assert_true(fabs((double) alone[i] - served.expected[text * 32 + i]) <= BOUND);
	}
	served_close(&served);
}

/* Texts that are computed one by one are what they are among others. */
static void
texts_do_not_see_each_other(void **state)
{
	(void) state;
	check_alone((BrAddition){BR_ADDITION_BOTTLENECK, 6});
	check_alone((BrAddition){BR_ADDITION_PREFIX, 6});
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bottlenecks_are_served),
		cmocka_unit_test(prefixes_are_served),
		cmocka_unit_test(additions_of_pruned_models_are_served),
		cmocka_unit_test(models_with_additions_stay_whole),
		cmocka_unit_test(texts_do_not_see_each_other),
	};

	fill_texts();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
