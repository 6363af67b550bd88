/*
 * test_serve_training.c
 *	  Training on a device that another process has: both sides, in one process.
 *
 * The device is backend/linear_training.h, whose gradients are known. The payload
 * is so small that parameters go in many pieces.
 */
#include <math.h>

#include "unit/train_fixture.h"

#include "backend/linear_training.h"
#include "core/serve/br_serve_training.h"
#include "core/train/br_train_losses.h"

#define PAYLOAD (20 * 1024)
#define TEXTS 4

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};

static const int32_t offsets[TEXTS + 1] = {0, 3, 4, 9, 11};
static const int32_t ids[] = {5, 6, 5, 7, 8, 9, 5, 5, 10, 11, 6};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};

/* Both ends; device is that of linear_training. */
typedef struct Ends
{
	BrServeTrainer trainer;
	BrContext there; /* the trainer's */
	BrServeChannel channel;
	BrDevice *device; /* of this side */
	_Alignas(8) char payload[PAYLOAD];
	int asked;
	BrStatus answer; /* instead of the trainer's, where it is not BR_OK */
	BrServeTraining last;

	/* what the device was opened with */
	const BrDeviceTrainable *expected; /* NULL: is not looked at */
} Ends;

static Ends ends;

/* ---- the device ---- */

static void
expect_tensor(const BrDeviceTrainable *trainable, const float *actual, const float *expected)
{
	assert_int_equal(actual == NULL, expected == NULL);
	if (expected != NULL)
		assert_int_equal(actual - trainable->parameters, expected - ends.expected->parameters);
}

static void
expect_layer(const BrDeviceTrainable *trainable, const BrTransformerLayer *actual,
			 const BrTransformerLayer *expected)
{
	expect_tensor(trainable, actual->qkv_weight, expected->qkv_weight);
	expect_tensor(trainable, actual->qkv_bias, expected->qkv_bias);
	expect_tensor(trainable, actual->output_weight, expected->output_weight);
	expect_tensor(trainable, actual->output_bias, expected->output_bias);
	expect_tensor(trainable, actual->attention_gain, expected->attention_gain);
	expect_tensor(trainable, actual->attention_bias, expected->attention_bias);
	expect_tensor(trainable, actual->up_weight, expected->up_weight);
	expect_tensor(trainable, actual->up_bias, expected->up_bias);
	expect_tensor(trainable, actual->down_weight, expected->down_weight);
	expect_tensor(trainable, actual->down_bias, expected->down_bias);
	expect_tensor(trainable, actual->layer_gain, expected->layer_gain);
	expect_tensor(trainable, actual->layer_bias, expected->layer_bias);
}

static void
expect_model(const BrDeviceTrainable *trainable)
{
	const BrTransformer *actual = trainable->model;
	const BrTransformer *expected = ends.expected->model;

	assert_int_equal(trainable->n, ends.expected->n);
	assert_int_equal(actual->hidden, expected->hidden);
	assert_int_equal(actual->layers, expected->layers);
	assert_int_equal(actual->heads, expected->heads);
	assert_int_equal(actual->intermediate, expected->intermediate);
	assert_int_equal(actual->vocabulary, expected->vocabulary);
	assert_int_equal(actual->positions, expected->positions);
	assert_int_equal(actual->max_tokens, expected->max_tokens);
	assert_int_equal(actual->dimensions, expected->dimensions);
	assert_int_equal(actual->first_position, expected->first_position);
	assert_true(actual->epsilon == expected->epsilon);
	assert_int_equal(actual->activation, expected->activation);
	assert_int_equal(actual->pooling, expected->pooling);
	expect_tensor(trainable, actual->word, expected->word);
	expect_tensor(trainable, actual->position, expected->position);
	expect_tensor(trainable, actual->type_row, expected->type_row);
	expect_tensor(trainable, actual->gain, expected->gain);
	expect_tensor(trainable, actual->bias, expected->bias);
	expect_tensor(trainable, actual->relative, expected->relative);
	for (int i = 0; i < expected->layers; i++)
		expect_layer(trainable, &actual->layer[i], &expected->layer[i]);
	assert_int_equal(actual->n_steps, expected->n_steps);
	for (int i = 0; i < expected->n_steps; i++)
	{
		assert_int_equal(actual->steps[i].normalize, expected->steps[i].normalize);
		assert_int_equal(actual->steps[i].in_dim, expected->steps[i].in_dim);
		assert_int_equal(actual->steps[i].out_dim, expected->steps[i].out_dim);
		assert_int_equal(actual->steps[i].activation, expected->steps[i].activation);
		expect_tensor(trainable, actual->steps[i].weight, expected->steps[i].weight);
		expect_tensor(trainable, actual->steps[i].bias, expected->steps[i].bias);
	}
	if (expected->relative != NULL)
	{
		assert_int_equal(trainable->buckets, ends.expected->buckets);
		assert_memory_equal(trainable->bucket, ends.expected->bucket,
							(2 * (size_t) expected->max_tokens - 1) * sizeof(int32_t));
	}
}

static BrStatus
open_linear(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
			BrDeviceTraining **training)
{
	if (ends.expected != NULL)
		expect_model(trainable);
	return linear_open(device, context, trainable, training);
}

static BrStatus
embed_linear(BrDevice *device, BrContext *context, BrDeviceTraining *training,
			 const BrDeviceBatch *texts, float *embeddings)
{
	/* what the run was told arrives */
	if (texts->drop > 0)
		assert_true(texts->drop == 6554 && texts->drop_attention == 13107 &&
					texts->first_token == 0 && texts->key != 0 && texts->memory == 77);
	return linear_embed(device, context, training, texts, embeddings);
}

static const BrDeviceTable linear = {
	.version = BR_DEVICE_VERSION,
	.name = "linear",
	.open_training = open_linear,
	.close_training = linear_close,
	.set_parameters = linear_set,
	.embed_batch = embed_linear,
	.propagate_back = linear_back,
	.take_gradient = linear_take,
};

/* ---- both ends ---- */

static BrStatus
answer(void *arg, BrContext *context, const BrServeTraining *message)
{
	BrStatus status;

	(void) arg;
	ends.asked++;
	ends.last = *message;
	if (ends.answer != BR_OK)
		return br_base_fail(context, ends.answer, "The channel does not answer.");
	status = br_serve_trainer_answer(&ends.trainer, message, ends.payload, PAYLOAD);
	return status == BR_OK ? BR_OK : br_base_fail(context, status, "%s", ends.there.detail);
}

static void
open_ends(BrContext *context)
{
	memset(&ends, 0, sizeof(ends));
	br_base_context_init(&ends.there);
	br_serve_trainer_init(&ends.trainer, &ends.there, &linear, (BrDevice *) &ends);
	ends.channel = (BrServeChannel){ends.payload, PAYLOAD, answer, NULL};
	assert_int_equal(br_serve_connect(context, &ends.channel, &ends.device), BR_OK);
}

static void
close_ends(void)
{
	br_serve_disconnect(ends.device);
	br_serve_trainer_release(&ends.trainer);
	assert_int_equal(linear_open_count(), 0);
}

static BrTrainOptions
options_there(void)
{
	return (BrTrainOptions){
		.backend = br_math_portable_backend(),
		.device_table = br_serve_training_table(),
		.device = ends.device,
	};
}

/* ---- tests ---- */

/* The sum over tokens, and what it gives each parameter. */
static void
expect_sums(const Trained *trained, const float *embeddings, const float *slope)
{
	size_t n = br_train_shape(trained->model)->map.total;
	size_t dim = (size_t) trained->dim;
	double *gradient = calloc(n, sizeof(double));

	assert_non_null(gradient);
	for (int i = 0; i < TEXTS; i++)
		for (size_t d = 0; d < dim; d++)
		{
			double sum = 0;

			for (int j = offsets[i]; j < offsets[i + 1]; j++)
			{
				size_t place = ((size_t) ids[j] * dim + d) % n;

				sum += (double) trained->set.parameters[place];
				gradient[place] += (double) slope[(size_t) i * dim + d];
			}
			assert_true(fabs((double) embeddings[(size_t) i * dim + d] - sum) <= 1e-6);
		}
	for (size_t i = 0; i < n; i++)
		assert_true(fabs((double) trained->set.gradient[i] - gradient[i]) <= 1e-5);
	free(gradient);
}

/* Every model arrives as it was described, and its numbers go both ways. */
static void
models_are_trained_there(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
	{
		Trained trained;
		BrTrainOptions plain = {.backend = br_math_portable_backend()};
		BrTrainOptions options;
		BrTransformer *described;
		BrDeviceTrainable expected;
		const BrModelShape *shape;
		int32_t bucket[2 * 600];
		float *embeddings;
		float *slope;
		BrTrainRun *run;

		trained_open(&trained, models[i], (BrTrainHead){0}, &plain);
		shape = br_train_shape(trained.model);
		open_ends(&trained.open.context);
		assert_int_equal(br_encoder_describe_weights(&trained.open.context, shape,
													 trained.set.parameters, &described),
						 BR_OK);
		if (shape->relative)
			described->relative = trained.set.parameters + shape->map.relative;
		assert_true(shape->max_tokens <= 600);
		for (int j = 0; j < 2 * shape->max_tokens - 1; j++)
			bucket[j] = br_encoder_relative_bucket(j - shape->max_tokens + 1);
		expected = (BrDeviceTrainable){described, trained.set.parameters, shape->map.total, bucket,
									   BR_RELATIVE_BUCKETS};
		ends.expected = &expected;
		options = options_there();
		options.dropout = 0.1;
		options.attention_dropout = 0.2;
		options.memory = 77;
		assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &run),
						 BR_OK);
		assert_true(ends.asked > 2 && linear_open_count() == 1);
		embeddings = calloc((size_t) (TEXTS * trained.dim), sizeof(float));
		slope = calloc((size_t) (TEXTS * trained.dim), sizeof(float));
		for (int j = 0; j < TEXTS * trained.dim; j++)
			slope[j] = (float) (j % 7) / 8 - 0.25f;
		/* other parameters than those it was opened with */
		for (size_t j = 0; j < trained.set.n; j++)
			trained.set.parameters[j] += (float) (j % 5) / 16;
		for (int round = 0; round < 2; round++)
		{
			br_train_zero_gradient(trained.model);
			assert_int_equal(br_train_embed(run, &batch, 3, embeddings), BR_OK);
			assert_int_equal(br_train_backpropagate(run, slope), BR_OK);
			expect_sums(&trained, embeddings, slope);
		}
		free(embeddings);
		free(slope);
		br_train_end(run);
		assert_int_equal(linear_open_count(), 0);
		br_base_free(&trained.open.context, described);
		close_ends();
		trained_close(&trained);
	}
}

/* What does not come back is told, and a channel without an answer is not asked again. */
static void
failures_are_told(void **state)
{
	static const BrStatus passing[] = {BR_ERR_MEMORY, BR_ERR_LIMIT, BR_ERR_NUMERIC};
	static const BrStatus final[] = {BR_ERR_CANCELLED, BR_ERR_DEVICE};
	BrTrainOptions plain = {.backend = br_math_portable_backend()};
	float embeddings[TEXTS * 64] = {0};

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		BrTrainOptions options;
		Trained trained;
		BrTrainRun *run;
		BrTrainRun *other;
		int asked;

		trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &plain);
		assert_true(trained.dim <= 64);
		open_ends(&trained.open.context);
		options = options_there();
		for (size_t j = 0; j < sizeof(passing) / sizeof(passing[0]); j++)
		{
			ends.answer = passing[j];
			assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &run),
							 passing[j]);
			assert_string_equal(trained.open.context.detail, "The channel does not answer.");
			assert_null(run);
		}
		ends.answer = BR_OK;
		assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &run),
						 BR_OK);
		assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &other),
						 BR_ERR_UNSUPPORTED);
		assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
		ends.answer = passing[0];
		assert_int_equal(br_train_backpropagate(run, embeddings), passing[0]);
		ends.answer = BR_OK;
		assert_int_equal(br_train_backpropagate(run, embeddings), BR_ERR_ARGUMENT);
		assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
		assert_int_equal(br_train_backpropagate(run, embeddings), BR_OK);
		ends.answer = final[i];
		assert_int_equal(br_train_embed(run, &batch, 0, embeddings), final[i]);
		ends.answer = BR_OK;
		asked = ends.asked;
		assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_ERR_DEVICE);
		br_train_end(run);
		assert_int_equal(ends.asked, asked);
		close_ends();
		trained_close(&trained);
	}
}

/* ---- messages that are wrong ---- */

typedef struct Damage
{
	uint32_t kind; /* of the message */
	size_t offset; /* in it, or from `in_payload` on in the payload */
	uint64_t value;
	size_t size; /* of the value: 4 or 8 */
} Damage;

#define AT(member) offsetof(BrServeTraining, member)
#define IN_PAYLOAD 100000
#define WORD(number) (IN_PAYLOAD + 8 * (size_t) (number))
#define INT(number) (IN_PAYLOAD + 4 * (size_t) (number))

static const Damage damages[] = {
	{BR_SERVE_OPEN, AT(kind), 0, 4},
	{BR_SERVE_OPEN, AT(kind), 7, 4},
	{BR_SERVE_OPEN, AT(n), 0, 8},
	{BR_SERVE_OPEN, AT(n), 100, 8},
	{BR_SERVE_OPEN, AT(n), UINT64_MAX, 8},
	{BR_SERVE_OPEN, AT(hidden), 0, 4},
	{BR_SERVE_OPEN, AT(layers), UINT32_MAX, 4},
	{BR_SERVE_OPEN, AT(layers), 1001, 4},
	{BR_SERVE_OPEN, AT(layers), 500, 4},
	{BR_SERVE_OPEN, AT(steps), 101, 4},
	{BR_SERVE_OPEN, AT(vocabulary), 0, 4},
	{BR_SERVE_OPEN, AT(max_tokens), 0, 4},
	{BR_SERVE_OPEN, AT(max_tokens), INT32_MAX, 4}, /* its distances do not fit */
	{BR_SERVE_OPEN, AT(activation), 5, 4},
	{BR_SERVE_OPEN, AT(pooling), 6, 4},
	{BR_SERVE_OPEN, WORD(0), UINT64_MAX, 8},		/* no words */
	{BR_SERVE_OPEN, WORD(1), UINT64_C(1) << 40, 8}, /* behind the end */
	{BR_SERVE_OPEN, WORD(6), UINT64_MAX, 8},		/* a layer's matrix */
	{BR_SERVE_OPEN, WORD(6 + 24), 2, 8},			/* a step's normalize, of two layers */
	{BR_SERVE_PARAMETERS, AT(count), 0, 8},
	{BR_SERVE_PARAMETERS, AT(count), PAYLOAD / 4 + 1, 8},
	{BR_SERVE_PARAMETERS, AT(at), UINT64_MAX, 8},
	{BR_SERVE_PARAMETERS, AT(at), UINT64_C(1) << 40, 8},
	{BR_SERVE_GRADIENT, AT(count), 0, 8},
	{BR_SERVE_GRADIENT, AT(count), UINT64_MAX, 8},
	{BR_SERVE_GRADIENT, AT(at), UINT64_C(1) << 62, 8},
	{BR_SERVE_EMBED, AT(texts), 0, 4},
	{BR_SERVE_EMBED, AT(texts), 5, 4},
	{BR_SERVE_EMBED, AT(texts), UINT32_MAX, 4},
	{BR_SERVE_EMBED, AT(tokens), 10, 4},
	{BR_SERVE_EMBED, AT(tokens), UINT32_MAX, 4},
	{BR_SERVE_EMBED, INT(0), 1, 4},
	{BR_SERVE_EMBED, INT(2), 0, 4},
	{BR_SERVE_EMBED, INT(4), INT32_MAX, 4},
	{BR_SERVE_EMBED, INT(5), UINT32_MAX, 4}, /* an id */
};

/* What answer is given to the message of a kind, with its payload, once it is damaged. */
static BrStatus
ask_damaged(const Damage *damage, const BrServeTraining *right, const char *payload)
{
	BrServeTraining message = *right;
	char *place = damage->offset >= IN_PAYLOAD ? ends.payload + (damage->offset - IN_PAYLOAD)
											   : (char *) &message + damage->offset;

	memcpy(ends.payload, payload, PAYLOAD);
	memcpy(place, &damage->value, damage->size);
	return br_serve_trainer_answer(&ends.trainer, &message, ends.payload, PAYLOAD);
}

static char right_payload[7][PAYLOAD];
static BrServeTraining right_message[7];

/* Keeps the last message of each kind, before it is answered. */
static BrStatus
keep_and_answer(void *arg, BrContext *context, const BrServeTraining *message)
{
	right_message[message->kind] = *message;
	memcpy(right_payload[message->kind], ends.payload, PAYLOAD);
	return answer(arg, context, message);
}

static void
wrong_messages_are_refused(void **state)
{
	BrTrainOptions plain = {.backend = br_math_portable_backend()};
	BrTrainOptions options;
	BrServeTraining message = {.kind = BR_SERVE_BACK};
	float embeddings[TEXTS * 64] = {0};
	Trained trained;
	BrTrainRun *run;

	(void) state;
	trained_open(&trained, "tiny-mpnet-mean", (BrTrainHead){0}, &plain);
	assert_true(trained.dim <= 64 && br_train_shape(trained.model)->layers == 2);
	open_ends(&trained.open.context);
	br_serve_disconnect(ends.device);
	ends.channel.ask = keep_and_answer;
	assert_int_equal(br_serve_connect(&trained.open.context, &ends.channel, &ends.device), BR_OK);
	assert_int_equal(br_serve_trainer_answer(&ends.trainer, &message, ends.payload, PAYLOAD),
					 BR_ERR_ARGUMENT);
	options = options_there();
	assert_int_equal(br_train_begin(&trained.open.context, trained.model, &options, &run), BR_OK);
	assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
	assert_int_equal(br_train_backpropagate(run, embeddings), BR_OK);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
	{
		uint32_t kind = damages[i].kind;

		if (ask_damaged(&damages[i], &right_message[kind], right_payload[kind]) != BR_ERR_ARGUMENT)
			fail_msg("damage %zu was not refused", i);
		assert_true(ends.there.detail[0] != '\0');
		ends.there.detail[0] = '\0';
		/* and it goes on */
		assert_int_equal(linear_open_count(), 1);
		assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
		assert_int_equal(br_train_backpropagate(run, embeddings), BR_OK);
	}
	/* a way back for which nothing is embedded any more */
	assert_int_equal(br_serve_trainer_answer(&ends.trainer, &message, ends.payload, PAYLOAD),
					 BR_ERR_ARGUMENT);
	br_train_end(run);
	close_ends();
	trained_close(&trained);
}

/* Of either side, each in its turn; then the same again works. */
static void
every_allocation_may_fail(void **state)
{
	BrTrainOptions plain = {.backend = br_math_portable_backend()};
	float embeddings[TEXTS * 64] = {0};
	Trained trained;
	int failed = 0;

	(void) state;
	trained_open(&trained, "tiny-mpnet-mean", (BrTrainHead){0}, &plain);
	for (int side = 0; side < 2; side++)
		for (int allowed = 0; allowed < 50; allowed++)
		{
			BrContext context;
			Ledger here = {.allowed = -1};
			Ledger there = {.allowed = -1};
			BrTrainOptions options;
			BrTrainRun *run = NULL;
			BrStatus status;

			ledger_context(&context, &here);
			open_ends(&context);
			ledger_context(&ends.there, &there);
			options = options_there();
			(side == 0 ? &here : &there)->allowed = allowed;
			status = br_train_begin(&context, trained.model, &options, &run);
			if (status == BR_OK)
				status = br_train_embed(run, &batch, 0, embeddings);
			(side == 0 ? &here : &there)->allowed = -1;
			if (status != BR_OK)
			{
				assert_int_equal(status, BR_ERR_MEMORY);
				if (run == NULL)
					assert_int_equal(br_train_begin(&context, trained.model, &options, &run),
									 BR_OK);
				assert_int_equal(br_train_embed(run, &batch, 0, embeddings), BR_OK);
				failed++;
			}
			assert_int_equal(br_train_backpropagate(run, embeddings), BR_OK);
			br_train_end(run);
			close_ends();
			assert_int_equal(here.outstanding, 0);
			assert_int_equal(there.outstanding, 0);
			if (status == BR_OK)
				break;
			assert_true(allowed < 49);
		}
	assert_true(failed >= 7);
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(models_are_trained_there),
		cmocka_unit_test(failures_are_told),
		cmocka_unit_test(wrong_messages_are_refused),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
