/*
 * test_helper_train.c
 *	  Training through the helper process, on the device that fails as it is told to.
 *
 * What that device trains has known gradients (backend/linear_training.h); the
 * same messages in one process are in test_serve_training.c.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "core/serve/br_serve_training.h"
#include "core/train/br_train.h"
#include "core/train/br_train_losses.h"
#include "core/train/br_train_optimiser.h"
#include "unit/helper_fixture.h"

#define TEXTS 4
#define DIMENSIONS 64 /* at most */
#define STEPS 30

static const int32_t offsets[TEXTS + 1] = {0, 3, 4, 9, 11};
static const int32_t ids[] = {5, 6, 5, 7, 8, 9, 5, 5, 10, 11, 6};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};

/* A model, and a helper that trains it. */
typedef struct Training
{
	OpenModel open;
	BrTrainModel *model;
	HelperProcess helper;
	BrServeChannel channel;
	BrDevice *device;
	BrTrainOptions options;
	BrTrainRun *run;
} Training;

/* One message in lane 1; that the process is gone is seen by the socket. */
static BrStatus
ask(void *arg, BrContext *context, const BrServeTraining *message)
{
	HelperProcess *helper = arg;
	BrExchangeRequest request = {
		.version = BR_EXCHANGE_VERSION,
		.kind = BR_EXCHANGE_TRAIN,
		.lane = 1,
		.number = ++helper->number,
		.training = *message,
	};

	helper_send(helper, &request);
	if (!helper_receive(helper, HELPER_PATIENCE_MS))
		return br_base_fail(context, BR_ERR_DEVICE, "The helper process has ended.");
	assert_int_equal(helper->reply.number, request.number);
	assert_int_equal(helper->reply.kind,
					 helper->reply.status == BR_ERR_DEVICE ? BR_EXCHANGE_FAILED : BR_EXCHANGE_DONE);
	if (helper->reply.status == BR_OK)
		return BR_OK;
	return br_base_fail(context, (BrStatus) helper->reply.status, "%s", helper->reply.detail);
}

static void
open_training(Training *training, const char *compute)
{
	memset(training, 0, sizeof(*training));
	model_open_golden(&training->open, "tiny-roberta-mean");
	assert_int_equal(br_train_open(&training->open.context, training->open.encoder,
								   (BrTrainHead){0}, 1, &training->model),
					 BR_OK);
	assert_true(br_train_dimensions(training->model) <= DIMENSIONS);
	helper_start_ready(&training->helper, compute, 0, 1);
	training->channel = (BrServeChannel){training->helper.lanes + BR_EXCHANGE_LANE_BYTES,
										 BR_EXCHANGE_LANE_BYTES, ask, &training->helper};
	assert_int_equal(br_serve_connect(&training->open.context, &training->channel,
									  &training->device),
					 BR_OK);
	training->options = (BrTrainOptions){
		.backend = br_math_portable_backend(),
		.device_table = br_serve_training_table(),
		.device = training->device,
	};
}

static BrStatus
begin(Training *training)
{
	return br_train_begin(&training->open.context, training->model, &training->options,
						  &training->run);
}

static void
close_training(Training *training)
{
	br_train_end(training->run);
	br_serve_disconnect(training->device);
	br_train_close(training->model);
	model_close(&training->open);
}

/* The sum over a text's tokens, of the parameters as they are. */
static void
expect_sums(Training *training, const float *embeddings)
{
	const float *parameters = br_train_parameters(training->model);
	int dim = br_train_dimensions(training->model);

	for (int i = 0; i < TEXTS; i++)
		for (int d = 0; d < dim; d++)
		{
			double sum = 0;

			for (int j = offsets[i]; j < offsets[i + 1]; j++)
				sum += (double) parameters[ids[j] * dim + d];
			assert_true(fabs((double) embeddings[i * dim + d] - sum) <= 1e-6);
		}
}

/* Steps whose loss falls to what sums can reach: each text's embedding becomes its target's. */
static void
steps_are_taken_there(void **state)
{
	BrTrainRecipe recipe = {.rule = BR_TRAIN_SGD, .rate = 4, .steps = STEPS};
	static float targets[TEXTS * DIMENSIONS];
	static float embeddings[TEXTS * DIMENSIONS];
	BrTrainDistillation loss = {targets, 0};
	BrTrainOptimiser *optimiser;
	Training training;
	BrTrainSet set;
	double length;
	double first = 0;
	double value = 0;

	(void) state;
	helper_set_faults("");
	open_training(&training, "faulty");
	assert_int_equal(begin(&training), BR_OK);
	set = br_train_set(training.model);
	loss.dimensions = br_train_dimensions(training.model);
	for (int i = 0; i < TEXTS * loss.dimensions; i++)
		targets[i] = (float) (i % 11) / 10 - 0.5f;
	assert_int_equal(br_train_optimiser_create(&training.open.context, &set, &recipe, NULL,
											   &optimiser),
					 BR_OK);
	for (int step = 0; step < STEPS; step++)
	{
		assert_int_equal(br_train_embed(training.run, &batch, (uint64_t) step, embeddings), BR_OK);
		expect_sums(&training, embeddings);
		/* in parts of a text or two at a time */
		assert_int_equal(br_train_accumulate(training.run, &batch, (uint64_t) step,
											 br_train_distillation, &loss, step % 2 == 0 ? 4 : 0,
											 &value),
						 BR_OK);
		first = step == 0 ? value : first;
		assert_int_equal(br_train_update(optimiser, &length), BR_OK);
	}
	/* the four sums are independent, so that every target can be reached */
	assert_true(first > 0.05 && value < first / 100);
	br_train_optimiser_destroy(optimiser);
	br_train_end(training.run);
	training.run = NULL;
	helper_end(&training.helper);
	close_training(&training);
}

/* What passes is told and passes; the model of another request is not in its way. */
static void
passing_failures_pass(void **state)
{
	static float embeddings[TEXTS * DIMENSIONS];
	Training training;

	(void) state;
	helper_set_faults("");
	open_training(&training, "faulty");
	assert_int_equal(begin(&training), BR_OK);
	helper_set_faults("memory 3\n");
	assert_int_equal(br_train_embed(training.run, &batch, 0, embeddings), BR_ERR_MEMORY);
	assert_non_null(strstr(training.open.context.detail, "memory for 3 texts"));
	helper_set_faults("");
	assert_int_equal(br_train_backpropagate(training.run, embeddings), BR_ERR_ARGUMENT);
	assert_int_equal(br_train_embed(training.run, &batch, 0, embeddings), BR_OK);
	expect_sums(&training, embeddings);
	assert_int_equal(br_train_backpropagate(training.run, embeddings), BR_OK);
	br_train_end(training.run);
	training.run = NULL;
	helper_end(&training.helper);
	close_training(&training);
}

/* A device that fails, or takes its process with it, ends the training and nothing else. */
static void
final_failures_are_told(void **state)
{
	static const char *const faults[] = {"device\n", "abort\n"};
	static float embeddings[TEXTS * DIMENSIONS];

	(void) state;
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		for (int when = 0; when < 3; when++)
		{
			Training training;

			helper_set_faults("");
			open_training(&training, "faulty");
			if (when > 0)
				assert_int_equal(begin(&training), BR_OK);
			if (when > 1)
				assert_int_equal(br_train_embed(training.run, &batch, 0, embeddings), BR_OK);
			helper_set_faults(faults[i]);
			if (when == 0)
				assert_int_equal(begin(&training), BR_ERR_DEVICE);
			else if (when == 1)
				assert_int_equal(br_train_embed(training.run, &batch, 0, embeddings),
								 BR_ERR_DEVICE);
			else
				assert_int_equal(br_train_backpropagate(training.run, embeddings), BR_ERR_DEVICE);
			assert_true(training.open.context.detail[0] != '\0');
			helper_set_faults("");
			if (when > 0)
				assert_int_equal(br_train_embed(training.run, &batch, 0, embeddings),
								 BR_ERR_DEVICE);
			assert_true(helper_wait(&training.helper, HELPER_PATIENCE_MS) != -1);
			helper_forget(&training.helper);
			close_training(&training);
		}
}

static void
the_processor_is_no_device(void **state)
{
	Training training;

	(void) state;
	open_training(&training, "cpu");
	assert_int_equal(begin(&training), BR_ERR_UNSUPPORTED);
	assert_non_null(strstr(training.open.context.detail, "does not train"));
	helper_end(&training.helper);
	close_training(&training);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_are_taken_there),
		cmocka_unit_test(passing_failures_pass),
		cmocka_unit_test(final_failures_are_told),
		cmocka_unit_test(the_processor_is_no_device),
	};

	return cmocka_run_group_tests(tests, NULL, helper_clean_up);
}
