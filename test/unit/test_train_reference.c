/*
 * test_train_reference.c
 *	  Gradients and steps of training in float, beside torch's.
 *
 * train_tiny-bert-cls.json holds what torch's autograd and optimisers give in
 * float64 (test/golden/train_reference.py). Every backend that is built is
 * compared.
 */
#include <math.h>

#include "core/train/br_train_losses.h"
#include "core/train/br_train_optimiser.h"
#include "unit/train_fixture.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* Relative to a value of the gradient, or to a hundredth of the largest of its tensor. */
#define GRADIENT_BOUND 1e-4
#define LOSS_BOUND 1e-4

/* What single precision leaves where terms cancel out, as in the biases of keys. */
#define ROUNDING 1e-7
#define STEPS 10
#define MOST_TEXTS 12
#define MOST_TOKENS 200

static const char *const backends[] = {"portable", "openblas", "onednn"};

typedef struct Tokens
{
	int32_t ids[MOST_TOKENS];
	int32_t offsets[MOST_TEXTS + 1];
	BrTrainBatch batch;
} Tokens;

static void
read_batch(const cJSON *texts, Tokens *tokens)
{
	const cJSON *text;
	const cJSON *id;
	int n = 0;
	int at = 0;

	tokens->offsets[0] = 0;
	cJSON_ArrayForEach(text, texts)
	{
		cJSON_ArrayForEach(id, text)
		{
			assert_true(at < MOST_TOKENS);
			tokens->ids[at++] = id->valueint;
		}
		assert_true(n < MOST_TEXTS);
		tokens->offsets[++n] = at;
	}
	tokens->batch = (BrTrainBatch){tokens->ids, tokens->offsets, n, NULL};
}

static void
check_tensor_gradient(const cJSON *expected, const BrTrainTensor *tensor, const float *gradient)
{
	size_t n = (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
	const cJSON *at = cJSON_GetObjectItem(expected, "at");
	const cJSON *values = cJSON_GetObjectItem(expected, "values");
	double length = cJSON_GetObjectItem(expected, "length")->valuedouble;
	double largest = fabs(cJSON_GetArrayItem(values, 0)->valuedouble);
	double squares = 0;

	for (size_t i = 0; i < n; i++)
		squares += (double) gradient[tensor->offset + i] * gradient[tensor->offset + i];
	if (!(fabs(sqrt(squares) - length) <= ROUNDING + GRADIENT_BOUND * length))
		fail_msg("%s: length %.9g, torch's %.9g", tensor->name, sqrt(squares), length);
	for (int i = 0; i < cJSON_GetArraySize(at); i++)
	{
		double value = cJSON_GetArrayItem(values, i)->valuedouble;
		double ours = gradient[tensor->offset + (size_t) cJSON_GetArrayItem(at, i)->valueint];

		if (!(fabs(ours - value) <= ROUNDING + GRADIENT_BOUND * fmax(fabs(value), largest / 100)))
			fail_msg("%s[%d]: %.9g, torch's %.9g", tensor->name,
					 cJSON_GetArrayItem(at, i)->valueint, ours, value);
	}
}

static void
check_gradient(const cJSON *file, const BrBackend *backend)
{
	const cJSON *expected = cJSON_GetObjectItem(file, "gradient");
	const cJSON *all = cJSON_GetObjectItem(expected, "tensors");
	const BrTrainOptions options = {.backend = backend};
	const BrTrainContrastive loss = {backend, 0.05, 0, true, 0, NULL};
	const BrTrainTensor *tensors;
	Trained trained;
	Tokens tokens;
	double value;
	int n;

	read_batch(cJSON_GetArrayItem(cJSON_GetObjectItem(file, "batches"), 0), &tokens);
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &options);
	assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, 0, br_train_contrastive, &loss,
										 0, &value),
					 BR_OK);
	assert_true(fabs(value - cJSON_GetObjectItem(expected, "loss")->valuedouble) <= LOSS_BOUND);
	tensors = br_train_tensors(trained.model, &n);
	assert_int_equal(n, cJSON_GetArraySize(all));
	for (int i = 0; i < n; i++)
	{
		const cJSON *own = cJSON_GetObjectItemCaseSensitive(all, tensors[i].name);

		assert_non_null(own);
		check_tensor_gradient(own, &tensors[i], br_train_gradient(trained.model));
	}
	trained_close(&trained);
}

static void
gradients_match_torch(void **state)
{
	cJSON *file = read_cases("train_tiny-bert-cls.json");

	(void) state;
	for (size_t i = 0; i < LENGTH(backends); i++)
	{
		const BrBackend *backend = load_backend(backends[i]);

		if (backend != NULL)
			check_gradient(file, backend);
		else
			print_message("backend %s is not built\n", backends[i]);
	}
	cJSON_Delete(file);
}

/* Ten steps over two batches in turn, as the script's: linear, two warm, clipped to 1. */
static void
check_steps(const cJSON *file, const char *name, const BrTrainRecipe *recipe,
			const BrBackend *backend, BrPool *pool)
{
	const cJSON *expected = cJSON_GetObjectItem(file, name);
	const BrTrainOptions options = {.backend = backend, .pool = pool};
	const BrTrainContrastive loss = {backend, 0.05, 0, true, 0, NULL};
	BrTrainOptimiser *optimiser;
	Trained trained;
	Tokens tokens;

	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &options);
	assert_int_equal(br_train_optimiser_create(&trained.open.context, &trained.set, recipe, pool,
											   &optimiser),
					 BR_OK);
	for (int step = 0; step < STEPS; step++)
	{
		double value;
		double length;
		double torch_value =
			cJSON_GetArrayItem(cJSON_GetObjectItem(expected, "losses"), step)->valuedouble;
		double torch_length =
			cJSON_GetArrayItem(cJSON_GetObjectItem(expected, "lengths"), step)->valuedouble;

		read_batch(cJSON_GetArrayItem(cJSON_GetObjectItem(file, "batches"), step % 2), &tokens);
		assert_int_equal(br_train_accumulate(trained.run, &tokens.batch, (uint64_t) step,
											 br_train_contrastive, &loss, 0, &value),
						 BR_OK);
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
		if (!(fabs(value - torch_value) <= LOSS_BOUND) ||
			!(fabs(length - torch_length) <= 1e-3 * torch_length))
			fail_msg("%s, %s, step %d: loss %.9g and length %.9g, torch's %.9g and %.9g", name,
					 backend->name, step, value, length, torch_value, torch_length);
	}
	br_train_optimiser_destroy(optimiser);
	trained_close(&trained);
}

static void
steps_follow_torch(void **state)
{
	static const BrTrainRecipe adamw = {.rule = BR_TRAIN_ADAMW,
										.schedule = BR_TRAIN_LINEAR,
										.rate = 2e-3,
										.steps = STEPS,
										.warm_up = 2,
										.beta1 = 0.9,
										.beta2 = 0.999,
										.epsilon = 1e-8,
										.decay = 0.01,
										.clip = 1};
	static const BrTrainRecipe sgd = {.rule = BR_TRAIN_SGD,
									  .schedule = BR_TRAIN_LINEAR,
									  .rate = 1e-2,
									  .steps = STEPS,
									  .warm_up = 2,
									  .momentum = 0.9,
									  .decay = 0.01,
									  .clip = 1};
	cJSON *file = read_cases("train_tiny-bert-cls.json");
	BrContext context;
	BrPool *pool;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_base_pool_create(&context, 3, &pool), BR_OK);
	for (size_t i = 0; i < LENGTH(backends); i++)
	{
		const BrBackend *backend = load_backend(backends[i]);

		if (backend == NULL)
			continue;
		check_steps(file, "adamw", &adamw, backend, i == 1 ? pool : NULL);
		check_steps(file, "sgd", &sgd, backend, i == 1 ? pool : NULL);
	}
	br_base_pool_destroy(pool);
	cJSON_Delete(file);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gradients_match_torch),
		cmocka_unit_test(steps_follow_torch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
