/*
 * pool.c
 *	  Threads that run tasks and are idle in between.
 *
 * A run is a generation: the caller raises it under the lock, every thread
 * whose number is below the number of tasks runs its one task, and the last
 * of them wakes the caller. Runs may follow each other within microseconds,
 * less than it takes to wake a thread, so both sides look for a moment before
 * they sleep; then they do sleep, since a server's other sessions want the
 * processor.
 */
#define _POSIX_C_SOURCE 200809L /* clock_gettime, sigfillset */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#include "core/base/br_base.h"

#define POLL_NANOSECONDS 20000000

/* Looks before sleeping: some tens of microseconds. */
#define LOOKS 1000

struct BrPool
{
	BrAllocator allocator;
	int threads; /* with the caller's */

	pthread_mutex_t lock; /* of all below; the atomic ones may be read without it */
	pthread_cond_t begun;
	pthread_cond_t ended;
	atomic_ullong generation;
	atomic_bool stopping;
	void (*task)(void *arg, int number);
	void *arg;
	int n;
	atomic_int running; /* tasks of this generation in threads of the pool */

	struct PoolThread
	{
		BrPool *pool;
		int number;
		pthread_t thread;
	} members[]; /* (threads - 1) */
};

static void
pause_briefly(void)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
}

/* Returns when there may be a task, or after a moment. */
static void
look_for_task(BrPool *pool, uint64_t seen)
{
	for (int i = 0; i < LOOKS; i++)
	{
		if (atomic_load(&pool->generation) != seen || atomic_load(&pool->stopping))
			return;
		pause_briefly();
	}
}

static void
run_own_task(BrPool *pool, int number)
{
	pool->task(pool->arg, number);
	if (atomic_fetch_sub(&pool->running, 1) > 1)
		return;
	/* with the lock held, the caller is either before its look at running or asleep */
	pthread_mutex_lock(&pool->lock);
	pthread_cond_signal(&pool->ended);
	pthread_mutex_unlock(&pool->lock);
}

static void *
work(void *arg)
{
	struct PoolThread *member = arg;
	BrPool *pool = member->pool;
	uint64_t seen = 0;

	for (;;)
	{
		bool mine;

		look_for_task(pool, seen);
		pthread_mutex_lock(&pool->lock);
		while (pool->generation == seen && !pool->stopping)
			pthread_cond_wait(&pool->begun, &pool->lock);
		seen = pool->generation;
		mine = member->number < pool->n;
		pthread_mutex_unlock(&pool->lock);
		if (pool->stopping)
			return NULL;
		if (mine)
			run_own_task(pool, member->number);
	}
}

/* Ends and joins the first n - 1 threads. */
static void
stop(BrPool *pool, int n)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->begun);
	pthread_mutex_unlock(&pool->lock);
	for (int i = 0; i < n - 1; i++)
		pthread_join(pool->members[i].thread, NULL);
	pthread_cond_destroy(&pool->ended);
	pthread_cond_destroy(&pool->begun);
	pthread_mutex_destroy(&pool->lock);
	pool->allocator.free(pool->allocator.arg, pool);
}

/* Starts the threads; returns how many there are, with the caller's. */
static int
start(BrPool *pool)
{
	sigset_t all;
	sigset_t before;
	int n = 1;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (n < pool->threads)
	{
		struct PoolThread *member = &pool->members[n - 1];

		member->pool = pool;
		member->number = n;
		if (pthread_create(&member->thread, NULL, work, member) != 0)
			break;
		n++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

BrStatus
br_base_pool_create(BrContext *context, int threads, BrPool **pool)
{
	BrPool *created;
	int started;

	*pool = NULL;
	if (threads < 2 || threads > BR_POOL_MAX_THREADS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A pool has 2 to %d threads, not %d.",
							BR_POOL_MAX_THREADS, threads);
	created =
		br_base_alloc_array(context, 1,
							sizeof(BrPool) + (size_t) (threads - 1) * sizeof(struct PoolThread));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->allocator = context->allocator;
	created->threads = threads;
	pthread_mutex_init(&created->lock, NULL);
	pthread_cond_init(&created->begun, NULL);
	pthread_cond_init(&created->ended, NULL);
	started = start(created);
	if (started < threads)
	{
		stop(created, started);
		return br_base_fail(context, BR_ERR_MEMORY, "Only %d of %d threads could be started.",
							started - 1, threads - 1);
	}
	*pool = created;
	return BR_OK;
}

int
br_base_pool_threads(const BrPool *pool)
{
	return pool != NULL ? pool->threads : 1;
}

static void
wait_for_others(BrPool *pool, const BrCancel *poll)
{
	for (int i = 0; i < LOOKS && atomic_load(&pool->running) > 0; i++)
		pause_briefly();
	pthread_mutex_lock(&pool->lock);
	while (pool->running > 0)
	{
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += POLL_NANOSECONDS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&pool->ended, &pool->lock, &until) == 0)
			continue;
		pthread_mutex_unlock(&pool->lock);
		if (poll->requested != NULL)
			(void) poll->requested(poll->arg);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
}

void
br_base_pool_run(BrPool *pool, void (*task)(void *arg, int number), void *arg, int n,
				 const BrCancel *poll)
{
	if (n > 1)
	{
		pthread_mutex_lock(&pool->lock);
		pool->task = task;
		pool->arg = arg;
		pool->n = n;
		pool->running = n - 1;
		pool->generation++;
		pthread_cond_broadcast(&pool->begun);
		pthread_mutex_unlock(&pool->lock);
	}
	if (n > 0)
		task(arg, 0);
	if (n > 1)
		wait_for_others(pool, poll);
}

void
br_base_pool_destroy(BrPool *pool)
{
	if (pool != NULL)
		stop(pool, pool->threads);
}
