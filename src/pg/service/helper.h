/*
 * helper.h
 *	  A helper process as those see it who have one: the service's worker, and a
 *	  session for the time of an index build.
 *
 * Needs no database connection and no transaction. Whoever has one asks
 * br_pg_helper_run again and again; a helper that is not there is started, after a
 * failure not before a while that doubles, up to a minute, as long as it fails.
 */
#ifndef BR_HELPER_H
#define BR_HELPER_H

#include "helper/br_exchange.h"
#include "pg/br_pg.h"

typedef enum BrPgHelperState
{
	BR_PG_HELPER_DOWN,	   /* to be started at retry_at */
	BR_PG_HELPER_STARTING, /* it has not said yet with what it computes; given up at retry_at */
	BR_PG_HELPER_READY
} BrPgHelperState;

/* With what a helper computes. */
typedef struct BrPgHelperTask
{
	char compute[32]; /* "cpu", or the name of a device's shared object */
	int number;		  /* of the device */
	int64 memory;	  /* bytes for models, 0: what the device has */
	int threads;	  /* of the CPU */
} BrPgHelperTask;

typedef struct BrPgHelper
{
	BrPgHelperState state;
	BrPgHelperTask task;
	pid_t pid;	 /* while down: of one that was killed and has not ended yet, or 0 */
	int socket;	 /* to wait for in a WaitEventSet; PGINVALID_SOCKET while down */
	char *lanes; /* BR_EXCHANGE_BYTES, mapped until br_pg_helper_release */
	int file;	 /* of the lanes */
	bool
		is_lent; /* of a session: its failures are told, and what it left behind is reaped, by the caller alone */
	bool ends_with_process;
	int failures; /* one after another, without an answer in between */
	TimestampTz retry_at;
	TimestampTz killed_at;
	bool busy[BR_EXCHANGE_LANES];
	uint64 asked[BR_EXCHANGE_LANES]; /* the number of the request in each */
	uint64 number;					 /* of the last request */
	BrDeviceInfo device;			 /* as it was when it last answered */
	BrStatus failure; /* the last one; BR_ERR_UNSUPPORTED: there is no such device here */
	char detail[BR_DETAIL_SIZE]; /* of it: a sentence; "" for nothing */
} BrPgHelper;

/*
 * Maps the lanes; false, with errno, where they cannot be. helper: zeroed before
 * the first time, and there as long as this process, at whose end the helper
 * ends. is_lent: it belongs to a session, which tells of its failures itself and
 * may have other children.
 */
extern bool br_pg_helper_init(BrPgHelper *helper, bool is_lent);

/* Ends it at once and gives the lanes back; br_pg_helper_init may follow. */
extern void br_pg_helper_release(BrPgHelper *helper);

/*
 * Starts the helper where it is down and it is time to, starts another one where
 * the task has changed, and hears when it is ready; true where its state changed.
 */
extern bool br_pg_helper_run(BrPgHelper *helper, const BrPgHelperTask *task);

/*
 * Sends a request of a lane that is not busy, to a helper that is ready; version
 * and number are filled in. false: the helper has gone, and is DOWN.
 */
extern bool br_pg_helper_send(BrPgHelper *helper, BrExchangeRequest *request);

/*
 * The next reply that is there, to the request in its lane; false: none. A helper
 * that has died, has failed or talks nonsense is DOWN afterwards, and what was in
 * its lanes is lost.
 */
extern bool br_pg_helper_receive(BrPgHelper *helper, BrExchangeReply *reply);

/* As after a failure: ends it at once. For one that takes too long; why: a sentence. */
extern void br_pg_helper_give_up(BrPgHelper *helper, const char *why);

/* Ends it at once, and forgets its failures: the next run starts it. */
extern void br_pg_helper_stop(BrPgHelper *helper);

#endif /* BR_HELPER_H */
