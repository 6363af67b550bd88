/*
 * test_train_additions.c
 *	  Additions in float: every backend and any number of threads give one
 *	  gradient, and images have what was learned.
 */
#include <math.h>

#include "unit/addition_fixture.h"

#define TEXTS 9
#define TOKENS 112
#define RUNS 6
#define BOUND 5e-6

static const char *const backends[] = {"portable", "openblas", "onednn"};

/* Texts of 4, 6, ... 20 and of 4 tokens. */
typedef struct Tokens
{
	int32_t ids[TOKENS];
	int32_t offsets[TEXTS + 1];
	BrTrainBatch batch;
} Tokens;

static void
fill_tokens(Tokens *tokens)
{
	tokens->offsets[0] = 0;
	for (int i = 0; i < TEXTS; i++)
		tokens->offsets[i + 1] = tokens->offsets[i] + 4 + 2 * i;
	assert_true(tokens->offsets[TEXTS] <= TOKENS);
	for (int i = 0; i < TOKENS; i++)
		tokens->ids[i] = (31 * i) % 1000;
	tokens->batch = (BrTrainBatch){tokens->ids, tokens->offsets, TEXTS, NULL};
}

/* A loss with slopes that are not 0 and not the same anywhere. */
static BrStatus
sine_loss(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
		  double *loss, BrReal *slope)
{
	(void) arg, (void) context;
	*loss = 0;
	for (int i = 0; i < texts * dim; i++)
	{
		*loss += (double) embeddings[i] * sin(i + 1);
		slope[i] += (float) sin(i + 1);
	}
	return BR_OK;
}

static const AdditionOptions additions[] = {{.kind = LORA, .lora = {5, 10, BR_TRAIN_LORA_ALL, 3}},
											{.kind = ADALORA,
											 .adalora = {5, 2, 10, BR_TRAIN_LORA_ALL, 0.1, 0.85,
														 0.85, 9, 2, 2, 1, 3}},
											{.kind = BOTTLENECK, .bottleneck = {7, 3}},
											{.kind = PREFIX, .prefix = {7, 5, 3}}};

static void
addition_open(Addition *addition, Trained *trained, const BrBackend *backend, AdditionKind kind)
{
	assert_true(additions[kind].kind == kind);
	addition_create(addition, trained, backend, &additions[kind]);
	/* factors and biases that are 0 would hide half of the products */
	for (size_t i = 0; i < addition->set.n; i++)
		addition->set.parameters[i] += 0.03F * (float) sin((double) i);
	addition_push(addition);
}

static float *
gradient_of(const char *backend_name, int threads, AdditionKind kind, size_t *n)
{
	BrTrainOptions options = {.backend = load_backend(backend_name),
							  .dropout = 0.1,
							  .attention_dropout = 0.1};
	BrContext context;
	Trained trained;
	Addition addition;
	Tokens tokens;
	float *gradient;
	double loss;

	if (options.backend == NULL)
		return NULL;
	br_base_context_init(&context);
	if (threads > 1)
		assert_int_equal(br_base_pool_create(&context, threads, &options.pool), BR_OK);
	fill_tokens(&tokens);
	trained_open(&trained, "tiny-mpnet-mean", (BrTrainHead){0}, &options);
	addition_open(&addition, &trained, options.backend, kind);
	assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, 3, sine_loss, NULL, 30, &loss),
					 BR_OK);
	addition_pull(&addition);
	*n = addition.set.n;
	gradient = copied(addition.set.gradient, *n * sizeof(float));
	addition_destroy(&addition);
	trained_close(&trained);
	br_base_pool_destroy(options.pool);
	return gradient;
}

static void
check_addition(AdditionKind kind)
{
	size_t n;
	float *expected = gradient_of("portable", 1, kind, &n);
	double largest = 0;
	int compared = 0;

	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, fabs((double) expected[i]));
	assert_true(largest > 0.01);
	for (int run = 0; run < RUNS; run++)
	{
		const char *backend = backends[run / 2];
		int threads = run % 2 == 0 ? 1 : 3;
		float *gradient = gradient_of(backend, threads, kind, &n);

		if (gradient == NULL)
			continue;
		for (size_t i = 0; i < n; i++)
			if (!(fabs((double) gradient[i] - (double) expected[i]) <= BOUND * largest))
				fail_msg("%s, %d threads, parameter %zu: %g, not %g", backend, threads, i,
						 (double) gradient[i], (double) expected[i]);
		free(gradient);
		compared++;
	}
	assert_true(compared >= 2);
	free(expected);
}

static void
gradients_agree(void **state)
{
	(void) state;
	check_addition(LORA);
	check_addition(ADALORA);
	check_addition(BOTTLENECK);
	check_addition(PREFIX);
}

static BrStatus
make_image(BrContext *context, void *arg)
{
	const Trained *trained = arg;
	void *image;
	size_t size;
	BrStatus status = br_train_make_image(context, trained->model, trained->open.image,
										  trained->open.image_size, &image, &size);

	br_base_free(context, image);
	return status;
}

/* What a trained model's image embeds is what its run embeds, and not what it was. */
static void
check_image(AdditionKind kind)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	const BrCompute compute = {.backend = options.backend};
	float trained_rows[TEXTS * 32];
	float plain[TEXTS * 32];
	float served[TEXTS * 32];
	double largest = 0;
	Trained trained;
	Addition addition;
	Tokens tokens;
	BrEncoder *encoder;
	BrContext *context = &trained.open.context;
	void *image;
	size_t size;

	fill_tokens(&tokens);
	trained_open(&trained, "tiny-mpnet-mean", (BrTrainHead){0}, &options);
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, plain), BR_OK);
	addition_open(&addition, &trained, options.backend, kind);
	assert_int_equal(br_train_embed(trained.run, &tokens.batch, 0, trained_rows), BR_OK);
	assert_int_equal(br_train_make_image(context, trained.model, trained.open.image,
										 trained.open.image_size, &image, &size),
					 BR_OK);
	assert_true(kind <= ADALORA ? size == trained.open.image_size : size > trained.open.image_size);
	assert_int_equal(br_encoder_open(context, image, size, &encoder), BR_OK);
	assert_int_equal(br_encoder_embed_tokens(encoder, context, &compute, tokens.ids, tokens.offsets,
											 TEXTS, served),
					 BR_OK);
	for (int i = 0; i < TEXTS * 32; i++)
	{
		assert_true(fabsf(served[i] - trained_rows[i]) <= 1e-5F);
		largest = fmax(largest, fabs((double) (served[i] - plain[i])));
	}
	assert_true(largest > 1e-3);
	br_encoder_close(encoder);
	br_base_free(context, image);

	expect_no_leaks(make_image, &trained);
	addition_destroy(&addition);
	trained_close(&trained);
}

static void
images_have_what_was_added(void **state)
{
	(void) state;
	check_image(LORA);
	check_image(ADALORA);
	check_image(BOTTLENECK);
	check_image(PREFIX);
}

/* Nor does an image have it that is another model's, or that has an addition already. */
static void
images_of_others_are_refused(void **state)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend()};
	Trained trained;
	Addition addition;
	OpenModel other;
	BrContext *context = &trained.open.context;
	void *image;
	void *second;
	size_t size;
	size_t second_size;

	(void) state;
	model_open_golden(&other, "tiny-bert-cls");
	trained_open(&trained, "tiny-mpnet-mean", (BrTrainHead){0}, &options);
	addition_open(&addition, &trained, options.backend, BOTTLENECK);
	assert_int_equal(br_train_make_image(context, trained.model, other.image, other.image_size,
										 &image, &size),
					 BR_ERR_FORMAT);
	assert_null(image);
	assert_int_equal(br_train_make_image(context, trained.model, trained.open.image,
										 trained.open.image_size, &image, &size),
					 BR_OK);
	assert_int_equal(br_train_make_image(context, trained.model, image, size, &second,
										 &second_size),
					 BR_ERR_FORMAT);
	assert_null(second);
	br_base_free(context, image);
	addition_destroy(&addition);
	trained_close(&trained);
	model_close(&other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_agree),
		cmocka_unit_test(images_have_what_was_added),
		cmocka_unit_test(images_of_others_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
