/*
 * worker.c
 *	  The worker of the embedding service: it keeps a helper at work.
 *
 * It is connected to no database and has no transaction; all that it does for
 * connections stands in shared memory. Its loop raises no error: what goes
 * wrong goes wrong in the helper, and is noted for those who wait. However it
 * ends, it says so and wakes them, and ends with a code that the server does not
 * take for a crash.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "pg/service/service_int.h"

#define NAME "bundle_rec embedding service"
#define RESTART_SECONDS 5
#define SHORTEST_WAIT_US 50
#define N_EVENTS 3

typedef struct Worker
{
	BrPgDispatch dispatch;
	BrPgHelperTask task; /* of the helper */
	bool no_device;		 /* auto has found none since the settings were read */
	bool was_ready;		 /* the helper, since the settings were read */
	WaitEventSet *events;
	pgsocket socket; /* in events, and whose */
	pid_t helper;
} Worker;

static Worker worker;

/* ---- the beginning ---- */

static void
register_worker(void)
{
	BackgroundWorker entry = {
		.bgw_name = NAME,
		.bgw_type = NAME,
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_ConsistentState,
		.bgw_restart_time = RESTART_SECONDS,
		.bgw_library_name = "$libdir/bundle_rec",
		.bgw_function_name = "br_service_main",
	};

	RegisterBackgroundWorker(&entry);
}

void
br_pg_service_init(void)
{
	br_pg_service_define_settings(process_shared_preload_libraries_in_progress);
	if (!process_shared_preload_libraries_in_progress)
		return;
	br_pg_ring_request();
	register_worker();
}

/* ---- the state that others see ---- */

static bool
is_wanted(void)
{
	return br_pg_service_mode != BR_PG_SERVICE_OFF && !worker.no_device;
}

static BrPgServiceState
current_state(void)
{
	if (br_pg_service_mode == BR_PG_SERVICE_OFF)
		return BR_PG_SERVICE_STOPPED;
	if (worker.no_device)
		return BR_PG_SERVICE_NO_DEVICE;
	if (worker.dispatch.helper.state == BR_PG_HELPER_READY)
		return BR_PG_SERVICE_READY;
	return worker.dispatch.helper.state == BR_PG_HELPER_STARTING ? BR_PG_SERVICE_STARTING
																 : BR_PG_SERVICE_DOWN;
}

/* With the lock held: what changes when a helper has become ready. */
static void
note_ready(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	worker.was_ready = true;
	if (shared->started_at != 0)
		shared->counts.restarts++;
	shared->started_at = GetCurrentTimestamp();
	shared->failing = false;
	shared->counts.models = 0;
	shared->counts.model_bytes = 0;
	shared->counts.evicted = 0;
}

/* With the lock held: what is known of a helper that is ready. */
static void
note_device(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	shared->device = worker.dispatch.helper.device;
	shared->precision = br_pg_service_mode == BR_PG_SERVICE_CPU
		? -1
		: br_pg_precision_class(shared->device.precision);
}

static void
publish(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	BrPgServiceState state = current_state();

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (state == BR_PG_SERVICE_READY && shared->state != state)
		note_ready();
	if (state == BR_PG_SERVICE_READY)
		note_device();
	/* who waits for a slot of a service that has gone waits for nothing */
	else if (shared->state == BR_PG_SERVICE_READY)
		ConditionVariableBroadcast(&shared->freed);
	/* what was switched off has not failed */
	if (state == BR_PG_SERVICE_STOPPED || state == BR_PG_SERVICE_NO_DEVICE)
		shared->failing = false;
	shared->state = state;
	shared->helper_pid = (int) worker.dispatch.helper.pid;
	LWLockRelease(shared->lock);
}

/* ---- the helper ---- */

/* What the helper was at is lost; sessions hear of the first failure since it was ready. */
static void
note_failure(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;
	const BrPgHelper *helper = &worker.dispatch.helper;
	uint64 before;

	worker.no_device = br_pg_service_mode == BR_PG_SERVICE_AUTO && !worker.was_ready &&
		helper->failure == BR_ERR_UNSUPPORTED;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	before = shared->failures;
	br_pg_service_note_failure(helper->detail);
	if (shared->failing || worker.no_device)
		shared->failures = before;
	shared->failing = !worker.no_device;
	LWLockRelease(shared->lock);
	publish();
	br_pg_dispatch_drop(&worker.dispatch);
}

/* Ends the helper because of what the settings say: no failure. */
static void
end_helper(void)
{
	BrPgDispatch *dispatch = &worker.dispatch;

	if (dispatch->helper.state == BR_PG_HELPER_DOWN)
		return;
	br_pg_helper_stop(&dispatch->helper);
	publish();
	br_pg_dispatch_drop(dispatch);
}

static void
run_helper(void)
{
	BrPgHelper *helper = &worker.dispatch.helper;
	BrPgHelperTask task;

	br_pg_service_task(&task);
	if (memcmp(&worker.task, &task, sizeof(task)) != 0)
	{
		end_helper();
		br_pg_helper_stop(helper);
		memcpy(&worker.task, &task, sizeof(task));
		worker.dispatch.helper_failures = 0;
	}
	if (br_pg_helper_run(helper, &task) && helper->state == BR_PG_HELPER_READY &&
		br_pg_service_mode != BR_PG_SERVICE_CPU &&
		br_pg_precision_class(helper->device.precision) < 0)
		br_pg_helper_give_up(helper, "The device computes in an unknown precision.");
}

static bool
has_failed(void)
{
	return worker.dispatch.helper.failures > worker.dispatch.helper_failures;
}

static void
look_after_helper(void)
{
	BrPgDispatch *dispatch = &worker.dispatch;
	int64 deadline = br_pg_dispatch_deadline(dispatch);

	if (deadline >= 0 && br_pg_service_now() > deadline)
		br_pg_helper_give_up(&dispatch->helper, "A batch of texts took longer than 30 s.");
	if (has_failed())
		note_failure();
	dispatch->helper_failures = dispatch->helper.failures;
	if (is_wanted())
		run_helper();
	else
		end_helper();
}

/* ---- signals and waiting ---- */

static void
read_settings(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	worker.no_device = false;
	worker.was_ready = false;
}

static void
answer_signals(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ShutdownRequestPending)
		proc_exit(1);
	if (ConfigReloadPending)
		read_settings();
}

/* The helper's socket is another one whenever there is another helper. */
static void
prepare_events(void)
{
	const BrPgHelper *helper = &worker.dispatch.helper;

	if (worker.events != NULL && worker.socket == helper->socket && worker.helper == helper->pid)
		return;
	if (worker.events != NULL)
		FreeWaitEventSet(worker.events);
	worker.events = CreateWaitEventSet(TopMemoryContext, N_EVENTS);
	worker.socket = helper->socket;
	worker.helper = helper->pid;
	AddWaitEventToSet(worker.events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(worker.events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (worker.socket != PGINVALID_SOCKET)
		AddWaitEventToSet(worker.events, WL_SOCKET_READABLE, worker.socket, NULL, NULL);
}

/* The earlier of two waits, of which -1 is none. */
static int64
earlier(int64 wait, int64 other)
{
	if (wait < 0 || other < 0)
		return Max(wait, other);
	return Min(wait, other);
}

/* Microseconds until there is something to do by itself; -1: nothing. */
static int64
time_to_wait(int64 batches)
{
	const BrPgHelper *helper = &worker.dispatch.helper;
	int64 deadline = br_pg_dispatch_deadline(&worker.dispatch);
	int64 wait = batches;

	if (has_failed())
		return 0;
	if (deadline >= 0)
		wait = earlier(wait, Max(deadline - br_pg_service_now(), 0) + 1000);
	if (is_wanted() && helper->state != BR_PG_HELPER_READY)
		wait = earlier(wait, Max(helper->retry_at - GetCurrentTimestamp(), 0) + 1000);
	return wait;
}

/* Events are waited for in milliseconds, the linger of a batch is shorter. */
static void
wait_for_work(int64 wait)
{
	long milliseconds = wait < 0 ? -1 : (long) Min(wait / 1000, 60000);
	WaitEvent event;

	prepare_events();
	if (WaitEventSetWait(worker.events, milliseconds, &event, 1, PG_WAIT_EXTENSION) == 0 &&
		milliseconds == 0 && wait > 0)
		pg_usleep(Min(wait, SHORTEST_WAIT_US));
	ResetLatch(MyLatch);
}

/* ---- the end ---- */

/* With the lock held: nobody computes what is in the slots. */
static void
clear_slots(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	for (int i = 0; i < shared->slots; i++)
	{
		BrPgSlot *slot = &shared->slot[i];

		if (slot->state == BR_PG_SLOT_ABANDONED)
			br_pg_ring_free(i);
		else if (slot->state == BR_PG_SLOT_POSTED || slot->state == BR_PG_SLOT_COMPUTING)
		{
			slot->state = BR_PG_SLOT_FAILED;
			SetLatch(slot->latch);
		}
	}
}

static void
leave(int code, Datum arg)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (is_wanted())
	{
		br_pg_service_note_failure("The worker of the embedding service has ended.");
		shared->failing = true;
	}
	shared->state = is_wanted() ? BR_PG_SERVICE_DOWN : BR_PG_SERVICE_STOPPED;
	shared->worker = NULL;
	shared->worker_pid = 0;
	shared->helper_pid = 0;
	shared->counts.waiting = 0;
	clear_slots();
	ConditionVariableBroadcast(&shared->freed);
	LWLockRelease(shared->lock);
}

/* ---- the worker ---- */

static void
arrive(void)
{
	BrPgServiceShared *shared = br_pg_service_shared;

	before_shmem_exit(leave, (Datum) 0);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	clear_slots();
	shared->worker = MyLatch;
	shared->worker_pid = MyProcPid;
	LWLockRelease(shared->lock);
}

void
br_service_main(Datum argument)
{
	MemoryContext turn;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	/* there is no statement to cancel */
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	turn = AllocSetContextCreate(TopMemoryContext, NAME, ALLOCSET_DEFAULT_SIZES);
	br_pg_dispatch_init(&worker.dispatch);
	arrive();
	for (;;)
	{
		MemoryContextSwitchTo(turn);
		answer_signals();
		look_after_helper();
		br_pg_dispatch_receive(&worker.dispatch);
		if (has_failed())
			continue;
		publish();
		br_pg_dispatch_collect(&worker.dispatch);
		wait_for_work(time_to_wait(br_pg_dispatch_send(&worker.dispatch)));
		MemoryContextReset(turn);
	}
}
