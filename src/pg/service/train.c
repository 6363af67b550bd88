/*
 * train.c
 *	  The service's device for who trains a model.
 *
 * Training takes minutes to hours and all of a device's attention, so it has a
 * helper process of its own, as an index build has (assign.c). Messages of
 * core/serve/br_serve_training.h go through one of its lanes. What core calls here
 * raises no error; after a failure of the helper, or a cancel, no message follows.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "core/serve/br_serve_training.h"
#include "pg/service/service_int.h"

/* For a batch, or a piece of a large model's parameters, on a device that has other work. */
#define MESSAGE_SECONDS 60

#define LANE 0

/* What a service may take to start, and how often it is looked at. */
#define START_SECONDS 15
#define LOOK_MS 50

typedef struct Trainer
{
	BrPgServiceTrainer trainer; /* what the caller has */
	BrServeChannel channel;
	MemoryContextCallback callback;
} Trainer;

static BrPgHelper helper;
static Trainer *open_trainer = NULL;

static BrStatus
ask(void *arg, BrContext *context, const BrServeTraining *message)
{
	BrExchangeRequest request = {.kind = BR_EXCHANGE_TRAIN, .lane = LANE, .training = *message};
	BrExchangeReply reply;

	if (arg != open_trainer || helper.state != BR_PG_HELPER_READY)
		return br_base_fail(context, BR_ERR_DEVICE, "The helper process has ended.");
	if (!br_pg_helper_send(&helper, &request))
		return br_base_fail(context, BR_ERR_DEVICE, "%s", helper.detail);
	return br_pg_lent_receive(&helper, context, MESSAGE_SECONDS, "a step of training", &reply);
}

/* With the memory that the trainer is in. */
static void
release(void *arg)
{
	if (arg != open_trainer)
		return;
	open_trainer = NULL;
	br_pg_helper_release(&helper);
}

static void
tell(const char *detail)
{
	ereport(WARNING,
			(errmsg("the device does not train: this process does it by itself"),
			 errdetail("%s", detail)));
}

/* Starts the helper and connects to it; false, after a WARNING, if that fails. */
static bool
connect_helper(BrContext *context, Trainer *trainer)
{
	if (!br_pg_helper_init(&helper, true))
	{
		tell(psprintf("Could not map memory for its helper process: %s.", strerror(errno)));
		return false;
	}
	open_trainer = trainer;
	trainer->channel = (BrServeChannel){
		.payload = helper.lanes + LANE * BR_EXCHANGE_LANE_BYTES,
		.bytes = BR_EXCHANGE_LANE_BYTES,
		.ask = ask,
		.arg = trainer,
	};
	if (!br_pg_lent_start(&helper))
		tell(helper.detail);
	else if (br_serve_connect(context, &trainer->channel, &trainer->trainer.device) != BR_OK)
		tell(context->detail);
	else
		return true;
	release(trainer);
	return false;
}

/* A training takes so long that a moment more for a device is well spent. */
static bool
has_device(void)
{
	int64 deadline = br_pg_service_now() + START_SECONDS * INT64CONST(1000000);

	while (br_pg_service_starts() && br_pg_service_now() < deadline)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, LOOK_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return br_pg_service_precision() >= 0;
}

BrPgServiceTrainer *
br_pg_service_open_trainer(BrContext *context)
{
	Trainer *trainer;

	if (open_trainer != NULL || !has_device())
		return NULL;
	trainer = palloc0(sizeof(Trainer));
	trainer->trainer.table = br_serve_training_table();
	trainer->callback = (MemoryContextCallback){.func = release, .arg = trainer};
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &trainer->callback);
	if (!connect_helper(context, trainer))
		return NULL;
	trainer->trainer.name = helper.task.compute;
	return &trainer->trainer;
}

void
br_pg_service_close_trainer(BrPgServiceTrainer *trainer)
{
	if (trainer != NULL)
		release((Trainer *) trainer);
}
