/*
 * test_tune_device.c
 *	  A fine-tuning whose embeddings and gradients a device computes.
 *
 * The device is a second copy of the model, with a run of the portable backend: it
 * gives the bits that the tuning would have without it, so that after any failure,
 * and whoever goes on, the end must be the same to the bit.
 */
#include <math.h>

#include "unit/tune_fixture.h"

/* Steps of a tuning, two epochs of them. */
#define STEPS 8

struct BrDevice
{
	Shop *shop;
	int calls;
	int sets;	  /* calls that brought parameters */
	int drops;	  /* batches with dropout, which is not done */
	int fails_at; /* the call that fails, from 1; 0: none */
	BrStatus failure;
	bool lost; /* after a failure of its own */
	int open;
};

struct BrDeviceTraining
{
	BrTrainModel *model;
	BrTrainRun *run;
};

/* ---- the device ---- */

static BrStatus
suffer(BrDevice *device, BrContext *context)
{
	device->calls++;
	if (!device->lost && device->calls != device->fails_at)
		return BR_OK;
	device->lost = device->lost || device->failure == BR_ERR_DEVICE;
	return br_base_fail(context, device->failure, "The device fails at call %d.", device->calls);
}

static void
close_mirror(BrDevice *device, BrDeviceTraining *training)
{
	if (training == NULL)
		return;
	br_train_end(training->run);
	br_train_close(training->model);
	free(training);
	device->open--;
}

static BrStatus
open_mirror(BrDevice *device, BrContext *context, const BrDeviceTrainable *trainable,
			BrDeviceTraining **training)
{
	const BrTrainOptions plain = {.backend = br_math_portable_backend()};
	BrTrainHead none = {0};
	BrStatus status = suffer(device, context);

	*training = NULL;
	if (status != BR_OK)
		return status;
	assert_int_equal(device->open, 0);
	*training = calloc(1, sizeof(BrDeviceTraining));
	assert_non_null(*training);
	device->open++;
	status = br_train_open(context, device->shop->open.encoder, none, 0, &(*training)->model);
	if (status == BR_OK)
		status = br_train_begin(context, (*training)->model, &plain, &(*training)->run);
	if (status != BR_OK)
	{
		close_mirror(device, *training);
		*training = NULL;
		return status;
	}
	assert_int_equal(trainable->n, br_train_count((*training)->model));
	memcpy(br_train_parameters((*training)->model), trainable->parameters,
		   trainable->n * sizeof(float));
	return BR_OK;
}

static BrStatus
set_mirror(BrDevice *device, BrContext *context, BrDeviceTraining *training,
		   const float *parameters)
{
	BrStatus status = suffer(device, context);

	device->sets++;
	br_train_zero_gradient(training->model);
	if (status == BR_OK)
		memcpy(br_train_parameters(training->model), parameters,
			   br_train_count(training->model) * sizeof(float));
	return status;
}

static BrStatus
embed_mirror(BrDevice *device, BrContext *context, BrDeviceTraining *training,
			 const BrDeviceBatch *texts, float *embeddings)
{
	const BrTrainBatch batch = {texts->ids, texts->offsets, texts->texts, NULL};
	BrStatus status = suffer(device, context);

	assert_int_equal(texts->drop > 0, texts->drop_attention > 0);
	device->drops += texts->drop > 0;
	return status == BR_OK ? br_train_embed(training->run, &batch, 0, embeddings) : status;
}

static BrStatus
back_mirror(BrDevice *device, BrContext *context, BrDeviceTraining *training, const float *slope)
{
	BrStatus status = suffer(device, context);

	return status == BR_OK ? br_train_backpropagate(training->run, slope) : status;
}

static BrStatus
take_mirror(BrDevice *device, BrContext *context, BrDeviceTraining *training, float *gradient)
{
	const float *there = br_train_gradient(training->model);
	BrStatus status = suffer(device, context);

	for (size_t i = 0; i < br_train_count(training->model) && status == BR_OK; i++)
		gradient[i] += there[i];
	br_train_zero_gradient(training->model);
	return status;
}

static const BrDeviceTable mirror = {
	.version = BR_DEVICE_VERSION,
	.name = "mirror",
	.open_training = open_mirror,
	.close_training = close_mirror,
	.set_parameters = set_mirror,
	.embed_batch = embed_mirror,
	.propagate_back = back_mirror,
	.take_gradient = take_mirror,
};

/* ---- tunings ---- */

/* Mining, validation and words that are left out, whatever of them the objective has. */
static void
open_shop(Shop *shop, BrTuneObjective objective, BrTuneMethod method)
{
	shop_open(shop, objective, method);
	shop->options.epochs = 2;
	shop->options.batch = 8;
	shop->options.negatives = 2;
	shop->options.negatives_to = 9;
	shop->options.dropout = 0;
	shop->options.attention_dropout = 0;
	shop->options.word_dropout = 0.2;
	shop->options.validate_every = 3;
	shop->options.lora_rank = 4;
	shop->options.adalora_rank = 4;
	shop->options.adalora_target_rank = 2;
	shop->data.n_examples = KINDS * TRAINED + KINDS;
	shop->data.n_validation = KINDS;
}

static void
give_device(Shop *shop, BrDevice *device)
{
	*device = (BrDevice){.shop = shop, .failure = BR_ERR_DEVICE};
	shop->device_table = &mirror;
	shop->device = device;
}

static void
take_device(Shop *shop)
{
	shop->device_table = NULL;
	shop->device = NULL;
}

/* To the end, closes the tuning, and says what it was then. */
static Bytes
finish(Shop *shop, BrTune *tune)
{
	BrTuneProgress progress;
	Bytes bytes;

	do
		progress = shop_step(shop, tune);
	while (progress.end == BR_TUNE_GOES_ON);
	bytes = shop_save(shop, tune);
	br_tune_close(tune);
	return bytes;
}

static void
expect_same(Bytes expected, Bytes actual)
{
	assert_int_equal(actual.size, expected.size);
	assert_memory_equal(actual.bytes, expected.bytes, expected.size);
	free(actual.bytes);
}

/* ---- tests ---- */

static void
devices_follow_every_objective(void **state)
{
	static const BrTuneObjective objectives[] = {BR_TUNE_CONTRASTIVE, BR_TUNE_SCORE,
												 BR_TUNE_TEXT_CLASSES, BR_TUNE_PAIR_CLASSES};

	(void) state;
	for (size_t i = 0; i < sizeof(objectives) / sizeof(objectives[0]); i++)
	{
		Shop shop;
		BrDevice device;
		Bytes expected;

		open_shop(&shop, objectives[i], BR_TUNE_FULL);
		expected = finish(&shop, shop_tune(&shop));
		give_device(&shop, &device);
		expect_same(expected, finish(&shop, shop_tune(&shop)));
		assert_int_equal(device.open, 0);
		/* each step, each of the validations, and of contrastive each mining: once */
		assert_int_equal(device.sets, STEPS + 4 + (objectives[i] == BR_TUNE_CONTRASTIVE ? 2 : 0));
		free(expected.bytes);
		shop_close(&shop);
	}
}

/* Dropout is of steps alone, and not of mining, validation and embeddings. */
static void
dropout_is_of_steps(void **state)
{
	Shop shop;
	BrDevice device;
	BrTune *tune;
	float embeddings[TEXTS * 32];

	(void) state;
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.dropout = 0.1;
	shop.options.attention_dropout = 0.1;
	give_device(&shop, &device);
	tune = shop_tune(&shop);
	while (shop_step(&shop, tune).end == BR_TUNE_GOES_ON)
		;
	assert_int_equal(br_encoder_info(shop.open.encoder)->dimensions, 32);
	assert_int_equal(br_tune_embed(tune, shop.ids, shop.offsets, TEXTS, embeddings), BR_OK);
	assert_int_equal(device.drops, STEPS);
	br_tune_close(tune);
	shop_close(&shop);
}

/* How far apart what was trained is, of its length. */
static double
difference_of(BrTune *left, BrTune *right)
{
	BrTuneTensors here;
	BrTuneTensors there;
	double squares = 0;
	double apart = 0;

	br_tune_delta(left, &here);
	br_tune_delta(right, &there);
	assert_int_equal(here.n, there.n);
	for (size_t i = 0; i < here.n; i++)
	{
		double difference = (double) here.values[i] - (double) there.values[i];

		squares += (double) here.values[i] * (double) here.values[i];
		apart += difference * difference;
	}
	return sqrt(apart / squares);
}

/* A device gives the gradient of whole matrices, which is folded into that of the additions. */
static void
devices_follow_additions(void **state)
{
	static const BrTuneMethod methods[] = {BR_TUNE_LORA, BR_TUNE_ADALORA};

	(void) state;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
	{
		Shop shop;
		BrDevice device;
		BrTune *here;
		BrTune *there;
		float embeddings[2][TEXTS * 64];
		int n = TEXTS * 32;

		open_shop(&shop, BR_TUNE_CONTRASTIVE, methods[i]);
		shop.options.optimiser = BR_TRAIN_SGD;
		shop.options.rate = 0.2;
		here = shop_tune(&shop);
		give_device(&shop, &device);
		there = shop_tune(&shop);
		assert_int_equal(br_encoder_info(shop.open.encoder)->dimensions, 32);
		for (int step = 0; step < STEPS; step++)
		{
			BrTuneProgress expected = shop_step(&shop, here);
			BrTuneProgress progress = shop_step(&shop, there);

			assert_true(fabs(progress.loss - expected.loss) <= 1e-5 * expected.loss);
		}
		assert_true(difference_of(here, there) <= 2e-6);
		assert_int_equal(br_tune_embed(here, shop.ids, shop.offsets, TEXTS, embeddings[0]), BR_OK);
		device.sets = 0;
		assert_int_equal(br_tune_embed(there, shop.ids, shop.offsets, TEXTS, embeddings[1]), BR_OK);
		assert_int_equal(device.sets, 1);
		for (int j = 0; j < n; j++)
			assert_true(fabs((double) embeddings[0][j] - (double) embeddings[1][j]) <= 1e-5);
		br_tune_close(here);
		br_tune_close(there);
		shop_close(&shop);
	}
}

/* ---- devices that are lost ---- */

/* A device is lost at one of its calls; true: none was left for it. */
static bool
lose_at(Shop *shop, int call, Bytes expected)
{
	BrDevice device;
	BrTune *tune;
	BrTune *restored;
	BrTuneProgress progress = {.end = BR_TUNE_GOES_ON};
	BrTuneProgress before;
	BrStatus status;
	Bytes bytes;

	give_device(shop, &device);
	device.fails_at = call;
	status = shop_open_tune(shop, &shop->open.context, &tune);
	if (call == 1)
	{
		assert_int_equal(status, BR_ERR_DEVICE);
		assert_null(tune);
		take_device(shop);
		return false;
	}
	assert_int_equal(status, BR_OK);
	br_tune_tell_progress(tune, &before);
	while (status == BR_OK && progress.end == BR_TUNE_GOES_ON)
	{
		before = progress;
		status = br_tune_step(tune, &progress);
	}
	if (status == BR_OK)
	{
		assert_true(device.calls < call);
		br_tune_close(tune);
		take_device(shop);
		return true;
	}
	assert_int_equal(status, BR_ERR_DEVICE);
	assert_int_equal(br_tune_step(tune, &progress), BR_ERR_DEVICE);
	assert_non_null(strstr(shop->open.context.detail, "The device fails at call"));
	/* all but the validation after a step, which is still due, has not been */
	assert_true(progress.step == before.step || progress.step == before.step + 1);

	take_device(shop);
	bytes = shop_save(shop, tune);
	restored = shop_tune(shop);
	assert_int_equal(shop_restore(restored, bytes), BR_OK);
	free(bytes.bytes);
	assert_int_equal(br_tune_leave_device(tune), BR_OK);
	assert_int_equal(device.open, 0);
	expect_same(expected, finish(shop, tune));
	expect_same(expected, finish(shop, restored));
	return false;
}

static void
lost_devices_change_nothing(void **state)
{
	Shop shop;
	Bytes expected;
	int call = 1;

	(void) state;
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.most_steps = 5;
	/* parts of a batch add up on the device */
	shop.options.chunk_tokens = 40;
	expected = finish(&shop, shop_tune(&shop));
	while (!lose_at(&shop, call, expected))
		call++;
	assert_true(call > 40);
	free(expected.bytes);
	shop_close(&shop);
}

/* What passes, such as a lack of memory, is told, and the step taken again. */
static void
passing_failures_pass(void **state)
{
	Shop shop;
	BrDevice device;
	Bytes expected;
	int failed = 0;
	bool done = false;

	(void) state;
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	shop.options.most_steps = 3;
	expected = finish(&shop, shop_tune(&shop));
	give_device(&shop, &device);
	for (int call = 2; !done; call++)
	{
		BrTuneProgress progress;
		BrTune *tune;

		give_device(&shop, &device);
		device.failure = BR_ERR_MEMORY;
		device.fails_at = call;
		tune = shop_tune(&shop);
		done = true;
		do
			if (br_tune_step(tune, &progress) != BR_OK)
			{
				done = false;
				failed++;
			}
		while (progress.end == BR_TUNE_GOES_ON);
		expect_same(expected, shop_save(&shop, tune));
		br_tune_close(tune);
	}
	assert_true(failed > 15);
	free(expected.bytes);
	shop_close(&shop);
}

/* After each of the steps a tuning changes from a device to none, or the other way round. */
static void
states_go_both_ways(void **state)
{
	Shop shop;
	BrDevice device;
	BrTuneProgress progress = {.end = BR_TUNE_GOES_ON};
	BrTune *tune = NULL;
	Bytes bytes = {NULL, 0, 0, NULL};
	Bytes expected;

	(void) state;
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	expected = finish(&shop, shop_tune(&shop));
	for (int i = 0; progress.end == BR_TUNE_GOES_ON; i++)
	{
		if (i % 2 == 0)
			give_device(&shop, &device);
		else
			take_device(&shop);
		tune = shop_tune(&shop);
		if (i > 0)
			assert_int_equal(shop_restore(tune, bytes), BR_OK);
		free(bytes.bytes);
		progress = shop_step(&shop, tune);
		bytes = shop_save(&shop, tune);
		br_tune_close(tune);
	}
	assert_int_equal(progress.step, STEPS);
	expect_same(expected, bytes);
	free(expected.bytes);
	shop_close(&shop);
}

/* ---- what devices do not train ---- */

static void
expect_trains(Shop *shop, BrDevice *device, const char *refused)
{
	BrTune *tune;
	BrStatus status;

	give_device(shop, device);
	status = shop_open_tune(shop, &shop->open.context, &tune);
	assert_int_equal(br_tune_device_trains(&shop->options), refused == NULL);
	if (refused == NULL)
		assert_int_equal(status, BR_OK);
	else
	{
		assert_int_equal(status, BR_ERR_UNSUPPORTED);
		assert_string_equal(shop->open.context.detail, refused);
		assert_int_equal(device->calls, 0);
	}
	br_tune_close(tune);
	shop_close(shop);
}

static void
what_devices_do_not_train_is_told_before(void **state)
{
	Shop shop;
	BrDevice device;

	(void) state;
	open_shop(&shop, BR_TUNE_MASKED_WORDS, BR_TUNE_FULL);
	expect_trains(&shop, &device, "No device trains by masked words.");
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_BOTTLENECK);
	shop.options.bottleneck_size = 8;
	expect_trains(&shop, &device, "No device trains bottlenecks.");
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_PREFIX);
	expect_trains(&shop, &device, "No device trains prefixes.");
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_LORA);
	shop.options.adversary = 0.1;
	expect_trains(&shop, &device, "No device trains against an adversary.");
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_ADALORA);
	expect_trains(&shop, &device, NULL);
	open_shop(&shop, BR_TUNE_TEXT_CLASSES, BR_TUNE_FULL);
	expect_trains(&shop, &device, NULL);
}

/* Whichever allocation fails, of either side, all memory comes back, and the device is closed. */
static void
lack_of_memory_is_told(void **state)
{
	Shop shop;
	BrDevice device;
	int failed = 0;
	bool done = false;

	(void) state;
	open_shop(&shop, BR_TUNE_CONTRASTIVE, BR_TUNE_LORA);
	for (int allowed = 0; !done; allowed++)
	{
		Ledger ledger = {0, 0, allowed};
		BrContext context;
		BrTuneProgress progress;
		BrTune *tune;
		BrStatus status;

		give_device(&shop, &device);
		ledger_context(&context, &ledger);
		status = shop_open_tune(&shop, &context, &tune);
		if (status == BR_OK)
			status = br_tune_step(tune, &progress);
		if (status == BR_OK)
			status = br_tune_leave_device(tune);
		if (status == BR_OK)
			assert_int_equal(device.open, 0);
		if (status == BR_OK)
			status = br_tune_step(tune, &progress);
		br_tune_close(tune);
		assert_int_equal(ledger.outstanding, 0);
		assert_int_equal(device.open, 0);
		done = status == BR_OK;
		failed += status == BR_ERR_MEMORY;
		assert_true(done || status == BR_ERR_MEMORY);
	}
	assert_true(failed > 40);
	shop_close(&shop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(devices_follow_every_objective),
		cmocka_unit_test(dropout_is_of_steps),
		cmocka_unit_test(devices_follow_additions),
		cmocka_unit_test(lost_devices_change_nothing),
		cmocka_unit_test(passing_failures_pass),
		cmocka_unit_test(states_go_both_ways),
		cmocka_unit_test(what_devices_do_not_train_is_told_before),
		cmocka_unit_test(lack_of_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
