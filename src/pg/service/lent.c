/*
 * lent.c
 *	  A helper process that a session has for itself, while it builds or trains.
 *
 * The service's own helper computes texts for which users wait, and what takes
 * minutes would be in their way. One that is lent is started when there is work,
 * and ended with it or with the session. Its failures are told by who has it.
 */
#include "postgres.h"

#include <poll.h>

#include "miscadmin.h"
#include "utils/wait_event.h"

#include "pg/service/service_int.h"

#define START_SECONDS 15
#define MOMENT_MS 20

/* Until it says something, a signal comes, or a moment has passed. */
static void
wait_for_helper(const BrPgHelper *helper)
{
	struct pollfd event = {.fd = helper->socket, .events = POLLIN};

	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	(void) poll(&event, 1, MOMENT_MS);
	pgstat_report_wait_end();
}

bool
br_pg_lent_start(BrPgHelper *helper)
{
	int64 deadline = br_pg_service_now() + START_SECONDS * INT64CONST(1000000);
	BrPgHelperTask task;

	br_pg_service_task(&task);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		br_pg_helper_run(helper, &task);
		if (helper->state == BR_PG_HELPER_READY)
			return true;
		if (helper->failures > 0)
			return false;
		if (br_pg_service_now() > deadline)
			br_pg_helper_give_up(helper,
								 psprintf("The helper process was not ready after %d s.",
										  START_SECONDS));
		else
			wait_for_helper(helper);
	}
}

BrStatus
br_pg_lent_receive(BrPgHelper *helper, BrContext *context, int seconds, const char *what,
				   BrExchangeReply *reply)
{
	int64 deadline = br_pg_service_now() + seconds * INT64CONST(1000000);

	while (!br_pg_helper_receive(helper, reply))
	{
		if (helper->state != BR_PG_HELPER_READY)
			return br_base_fail(context, BR_ERR_DEVICE, "%s", helper->detail);
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "The session was cancelled.");
		if (br_pg_service_now() > deadline)
			return br_base_fail(context, BR_ERR_DEVICE, "The device took longer than %d s for %s.",
								seconds, what);
		wait_for_helper(helper);
	}
	if (reply->status == BR_OK)
		return BR_OK;
	/* that it was cancelled is no cancel of ours */
	return br_base_fail(context,
						reply->status == BR_ERR_CANCELLED ? BR_ERR_DEVICE
														  : (BrStatus) reply->status,
						"%s", reply->detail);
}
