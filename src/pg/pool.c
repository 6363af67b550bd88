/*
 * pool.c
 *	  The threads of this session.
 *
 * They are started when something is computed first, so that they exist in no
 * process that forks, and sleep in between. Nothing of PostgreSQL is known to
 * them: their memory is malloc's, and signals are the main thread's alone.
 */
#include "postgres.h"

#include <sched.h>

#include "miscadmin.h"
#include "storage/ipc.h"

#include "pg/br_pg.h"

static BrPool *session_pool = NULL;

static int
count_cores(void)
{
	cpu_set_t cores;

	/* more cores than the set has room for: an error, and as many as we may use anyway */
	if (sched_getaffinity(0, sizeof(cores), &cores) != 0)
		return BR_POOL_MAX_THREADS;
	return Min(CPU_COUNT(&cores), BR_POOL_MAX_THREADS);
}

static void
end_pool(int code, Datum arg)
{
	br_base_pool_destroy(session_pool);
	session_pool = NULL;
}

BrPool *
br_pg_session_pool(void)
{
	static bool registered = false;
	int threads = br_pg_threads > 0 ? br_pg_threads : count_cores();
	BrContext context;

	if (threads == br_base_pool_threads(session_pool))
		return session_pool;
	end_pool(0, (Datum) 0);
	if (threads == 1)
		return NULL;
	if (!registered)
		on_proc_exit(end_pool, (Datum) 0);
	registered = true;
	br_base_context_init(&context);
	br_pg_check(br_base_pool_create(&context, threads, &session_pool), &context,
				"could not start the threads of bundle_rec.threads",
				"Set bundle_rec.threads to a lower number.");
	return session_pool;
}
