/*
 * test_base.c
 *	  The base room: context, arena, random numbers, threads.
 *
 * Random numbers are compared with the known answers that Random123 publishes
 * for philox4x32-10 (kat_vectors); the rest follows from arithmetic by hand.
 */
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/br_base.h"

/* An allocator that counts what is out and can refuse. */
typedef struct Ledger
{
	int outstanding;
	int allowed; /* allocations before it refuses; below 0: no limit */
} Ledger;

static void *
ledger_alloc(void *arg, size_t size)
{
	Ledger *ledger = arg;

	if (ledger->allowed == 0)
		return NULL;
	ledger->allowed--;
	ledger->outstanding++;
	return malloc(size);
}

static void
ledger_free(void *arg, void *pointer)
{
	Ledger *ledger = arg;

	ledger->outstanding -= pointer != NULL;
	free(pointer);
}

static BrContext
context_over(Ledger *ledger)
{
	BrContext context;

	br_base_context_init(&context);
	context.allocator.alloc = ledger_alloc;
	context.allocator.free = ledger_free;
	context.allocator.arg = ledger;
	return context;
}

static bool
flag_is_set(void *arg)
{
	return *(bool *) arg;
}

static void
array_is_zeroed_and_overflow_refused(void **state)
{
	BrContext context;
	unsigned char *array;

	(void) state;
	br_base_context_init(&context);
	array = br_base_alloc_array(&context, 37, 3);
	assert_non_null(array);
	for (int i = 0; i < 37 * 3; i++)
		assert_int_equal(array[i], 0);
	br_base_free(&context, array);
	br_base_free(&context, NULL);

	assert_null(br_base_alloc_array(&context, SIZE_MAX / 2, 3));
	assert_non_null(strstr(context.detail, "elements of 3 bytes"));
}

static void
nothing_is_not_a_failure(void **state)
{
	BrContext context;
	void *empty;
	void *empty_array;

	(void) state;
	br_base_context_init(&context);
	empty = br_base_alloc(&context, 0);
	empty_array = br_base_alloc_array(&context, 0, 8);
	assert_non_null(empty);
	assert_non_null(empty_array);
	br_base_free(&context, empty);
	br_base_free(&context, empty_array);
}

static void
refused_memory_says_how_much(void **state)
{
	Ledger ledger = {.allowed = 0};
	BrContext context = context_over(&ledger);

	(void) state;
	assert_null(br_base_alloc(&context, 4321));
	assert_string_equal(context.detail, "Could not allocate 4321 bytes.");
}

static void
failure_formats_detail_and_returns_status(void **state)
{
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_base_fail(&context, BR_ERR_FORMAT, "Tensor %s has %d rows.", "a.b", 7),
					 BR_ERR_FORMAT);
	assert_string_equal(context.detail, "Tensor a.b has 7 rows.");
}

/* 511 bytes fit. An odd number of ASCII bytes leaves room for half of a 2-byte character. */
static void
long_detail_is_cut_between_characters(void **state)
{
	BrContext context;
	char text[1024];

	(void) state;
	br_base_context_init(&context);

	for (int i = 0; i < 1000; i += 2)
		memcpy(text + i, "\xC3\xA9", 2);
	text[1000] = '\0';
	br_base_fail(&context, BR_ERR_FORMAT, "%s", text);
	assert_int_equal(strlen(context.detail), 510);
	br_base_fail(&context, BR_ERR_FORMAT, "x%s", text);
	assert_int_equal(strlen(context.detail), 511);

	memset(text, 'a', 1000);
	br_base_fail(&context, BR_ERR_FORMAT, "%s", text);
	assert_int_equal(strlen(context.detail), 511);

	memcpy(text + 508, "\xF0\x9F\x98\x80", 4);
	br_base_fail(&context, BR_ERR_FORMAT, "%s", text);
	assert_int_equal(strlen(context.detail), 508);
}

static void
cancel_asks_the_callback(void **state)
{
	BrContext context;
	bool flag = false;

	(void) state;
	br_base_context_init(&context);
	assert_false(br_base_cancelled(&context));
	context.cancel.requested = flag_is_set;
	context.cancel.arg = &flag;
	assert_false(br_base_cancelled(&context));
	flag = true;
	assert_true(br_base_cancelled(&context));
}

static void
arena_is_aligned_disjoint_and_released(void **state)
{
	static const size_t sizes[] = {1, 64, 65, 0, 1000, 5000, 3, 4096, 100000, 7};
	const int n = (int) (sizeof(sizes) / sizeof(sizes[0]));
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);
	BrArena *arena = br_base_arena_create(&context, 4096);
	unsigned char *pieces[10];

	(void) state;
	assert_non_null(arena);
	for (int i = 0; i < n; i++)
	{
		pieces[i] = br_base_arena_alloc(arena, sizes[i]);
		assert_non_null(pieces[i]);
		assert_int_equal((uintptr_t) pieces[i] % 64, 0);
		for (int j = 0; j < i; j++)
			assert_ptr_not_equal(pieces[i], pieces[j]);
		memset(pieces[i], i + 1, sizes[i]);
	}
	for (int i = 0; i < n; i++)
		for (size_t j = 0; j < sizes[i]; j++)
			assert_int_equal(pieces[i][j], i + 1);

	br_base_arena_destroy(arena);
	assert_int_equal(ledger.outstanding, 0);
	br_base_arena_destroy(NULL);
}

/* 64 allocations of 64 bytes fill one block of 4096; a large one in between does not end it. */
static void
arena_block_stays_in_use_beside_large_requests(void **state)
{
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);
	BrArena *arena = br_base_arena_create(&context, 4096);

	(void) state;
	for (int i = 0; i < 64; i++)
	{
		assert_non_null(br_base_arena_alloc(arena, 60));
		if (i == 10)
			assert_non_null(br_base_arena_alloc(arena, 8192));
	}
	assert_int_equal(ledger.outstanding, 3); /* the arena, its block, the large one */
	assert_non_null(br_base_arena_alloc(arena, 1));
	assert_int_equal(ledger.outstanding, 4);
	br_base_arena_destroy(arena);
	assert_int_equal(ledger.outstanding, 0);
}

static void
arena_arrays_are_zeroed_and_failures_clean(void **state)
{
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);
	BrArena *arena = br_base_arena_create(&context, 256);
	unsigned char *array;

	(void) state;
	memset(br_base_arena_alloc(arena, 64), 0xFF, 64);
	array = br_base_arena_alloc_array(arena, 50, 5);
	for (int i = 0; i < 250; i++)
		assert_int_equal(array[i], 0);
	assert_null(br_base_arena_alloc_array(arena, SIZE_MAX / 4, 8));
	assert_null(br_base_arena_alloc(arena, SIZE_MAX - 3));

	ledger.allowed = 0;
	assert_null(br_base_arena_alloc(arena, 1000));
	assert_null(br_base_arena_create(&context, 256));
	br_base_arena_destroy(arena);
	assert_int_equal(ledger.outstanding, 0);
}

static void
philox_matches_published_answers(void **state)
{
	static const struct
	{
		uint64_t counter;
		uint64_t stream;
		uint64_t key;
		uint32_t words[4];
	} answers[] = {
		{0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{UINT64_C(0x85a308d3243f6a88),
		 UINT64_C(0x0370734413198a2e),
		 UINT64_C(0x299f31d0a4093822),
		 {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
	{
		BrRandom random;

		br_base_random_init(&random, answers[i].key, answers[i].stream);
		random.counter = answers[i].counter;
		for (int word = 0; word < 4; word++)
			assert_int_equal(br_base_random_u32(&random), answers[i].words[word]);
	}
}

static void
draws_are_built_from_words(void **state)
{
	BrRandom random;

	(void) state;
	br_base_random_init(&random, 0, 0);
	assert_true(br_base_random_u64(&random) == UINT64_C(0xe169c58d6627e8d5));
	assert_int_equal(br_base_random_u32(&random), 0xbc57ac4c);
	assert_int_equal(random.counter, 1);

	/* (0xe169c58d6627e8d5 >> 11 | 1) / 2^53 */
	br_base_random_init(&random, 0, 0);
	assert_true(br_base_random_uniform(&random) == 0x1.c2d38b1acc4fdp-1);
}

static void
uniform_stays_inside_its_interval(void **state)
{
	BrRandom lowest = {.left = 4};
	BrRandom highest = {.block = {~0u, ~0u, ~0u, ~0u}, .left = 4};

	(void) state;
	assert_true(br_base_random_uniform(&lowest) == 0x1p-53);
	assert_true(br_base_random_uniform(&highest) == 1 - 0x1p-53);
}

/* 2^32 mod 3 = 1, so exactly the word 0 is dropped; then 2^31 * 3 / 2^32 = 1.5 */
static void
below_drops_what_would_bias(void **state)
{
	BrRandom random = {.block = {0, UINT32_C(1) << 31, ~0u, 0}, .left = 4};

	(void) state;
	assert_int_equal(br_base_random_below(&random, 3), 1);
	assert_int_equal(random.left, 2);
	assert_int_equal(br_base_random_below(&random, 3), 2);
	assert_int_equal(br_base_random_below(&random, 1), 0);
}

/* Chi-square with 9 degrees of freedom is above 33.7 once in 10,000 times. */
static void
below_is_even(void **state)
{
	BrRandom random;
	int counts[10] = {0};
	double chi_square = 0;

	(void) state;
	br_base_random_init(&random, 42, 7);
	for (int i = 0; i < 100000; i++)
		counts[br_base_random_below(&random, 10)]++;
	for (int i = 0; i < 10; i++)
		chi_square += (counts[i] - 10000.0) * (counts[i] - 10000.0) / 10000;
	assert_true(chi_square < 33.7);
}

static void
streams_and_keys_differ_and_replay(void **state)
{
	BrRandom first;
	BrRandom again;
	BrRandom other_stream;
	BrRandom other_key;
	int equal = 0;

	(void) state;
	br_base_random_init(&first, 5, 1);
	br_base_random_init(&again, 5, 1);
	br_base_random_init(&other_stream, 5, 2);
	br_base_random_init(&other_key, 6, 1);
	for (int i = 0; i < 1000; i++)
	{
		uint64_t word = br_base_random_u64(&first);

		assert_true(word == br_base_random_u64(&again));
		equal += word == br_base_random_u64(&other_stream);
		equal += word == br_base_random_u64(&other_key);
	}
	assert_int_equal(equal, 0);
}

/* ---- threads ---- */

#define POOL_THREADS 5

/* What the tasks of a run did; each task writes its own place. */
typedef struct Run
{
	int runs[POOL_THREADS];
	pthread_t threads[POOL_THREADS];
	sigset_t blocked[POOL_THREADS];
} Run;

static void
note_run(void *arg, int number)
{
	Run *run = arg;

	run->runs[number]++;
	run->threads[number] = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &run->blocked[number]);
}

static const BrCancel no_poll = {NULL, NULL};

static void
pool_runs_each_task_once(void **state)
{
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);
	Run run = {.runs = {0}};
	BrPool *pool;

	(void) state;
	assert_int_equal(br_base_pool_create(&context, POOL_THREADS, &pool), BR_OK);
	assert_int_equal(br_base_pool_threads(pool), POOL_THREADS);
	/* from none to all, so that threads sit out runs and come back */
	for (int round = 0; round < 200; round++)
		for (int n = 0; n <= POOL_THREADS; n++)
		{
			memset(&run, 0, sizeof(run));
			br_base_pool_run(pool, note_run, &run, n, &no_poll);
			for (int i = 0; i < POOL_THREADS; i++)
				assert_int_equal(run.runs[i], i < n);
		}
	assert_true(pthread_equal(run.threads[0], pthread_self()));
	for (int i = 0; i < POOL_THREADS; i++)
		for (int j = 0; j < i; j++)
			assert_false(pthread_equal(run.threads[i], run.threads[j]));
	br_base_pool_destroy(pool);
	assert_int_equal(ledger.outstanding, 0);
}

static void
one_task_needs_no_pool(void **state)
{
	Run run = {.runs = {0}};

	(void) state;
	assert_int_equal(br_base_pool_threads(NULL), 1);
	br_base_pool_run(NULL, note_run, &run, 1, &no_poll);
	assert_int_equal(run.runs[0], 1);
	assert_true(pthread_equal(run.threads[0], pthread_self()));
	br_base_pool_run(NULL, note_run, &run, 0, &no_poll);
	assert_int_equal(run.runs[0], 1);
	br_base_pool_destroy(NULL);
}

static void
pool_is_destroyed_without_a_run(void **state)
{
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);

	(void) state;
	for (int threads = 2; threads <= POOL_THREADS; threads++)
	{
		BrPool *pool;

		assert_int_equal(br_base_pool_create(&context, threads, &pool), BR_OK);
		br_base_pool_destroy(pool);
		assert_int_equal(ledger.outstanding, 0);
	}
}

/* The threads take no signal, and the caller's own mask is as before. */
static void
pool_threads_block_signals(void **state)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGALRM, SIGHUP};
	Run run = {.runs = {0}};
	BrContext context;
	BrPool *pool;
	sigset_t before;
	sigset_t mask;

	(void) state;
	br_base_context_init(&context);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &mask, &before);
	assert_int_equal(br_base_pool_create(&context, POOL_THREADS, &pool), BR_OK);
	br_base_pool_run(pool, note_run, &run, POOL_THREADS, &no_poll);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
	{
		assert_int_equal(sigismember(&run.blocked[0], signals[i]), 0);
		for (int j = 1; j < POOL_THREADS; j++)
			assert_int_equal(sigismember(&run.blocked[j], signals[i]), 1);
	}
	assert_int_equal(sigismember(&run.blocked[0], SIGUSR2), 1);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	br_base_pool_destroy(pool);
}

/* A task that ends only when the caller has been asked some times. */
typedef struct Waiting
{
	pthread_t caller;
	atomic_int asked;
	int asked_elsewhere;
} Waiting;

static bool
count_questions(void *arg)
{
	Waiting *waiting = arg;

	waiting->asked_elsewhere += !pthread_equal(pthread_self(), waiting->caller);
	atomic_fetch_add(&waiting->asked, 1);
	return false;
}

static void
wait_for_questions(void *arg, int number)
{
	Waiting *waiting = arg;

	while (number == 1 && atomic_load(&waiting->asked) < 3)
		sched_yield();
}

static void
pool_asks_while_it_waits(void **state)
{
	Waiting waiting = {.caller = pthread_self()};
	BrCancel poll = {count_questions, &waiting};
	BrContext context;
	BrPool *pool;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_base_pool_create(&context, 3, &pool), BR_OK);
	br_base_pool_run(pool, wait_for_questions, &waiting, 3, &poll);
	assert_true(atomic_load(&waiting.asked) >= 3);
	assert_int_equal(waiting.asked_elsewhere, 0);
	br_base_pool_destroy(pool);
}

static void
pool_refuses_what_it_cannot_be(void **state)
{
	static const int wrong[] = {-1, 0, 1, BR_POOL_MAX_THREADS + 1, INT_MAX};
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);
	BrPool *pool = NULL;

	(void) state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		pool = (BrPool *) &ledger;
		assert_int_equal(br_base_pool_create(&context, wrong[i], &pool), BR_ERR_ARGUMENT);
		assert_null(pool);
	}
	assert_non_null(strstr(context.detail, "2 to 256 threads"));
	ledger.allowed = 0;
	assert_int_equal(br_base_pool_create(&context, 2, &pool), BR_ERR_MEMORY);
	assert_null(pool);
	assert_int_equal(ledger.outstanding, 0);
}

/* Room for some stacks but not for all: the threads that were started end again. */
static void
pool_needs_all_its_threads(void **state)
{
	Ledger ledger = {.allowed = -1};
	BrContext context = context_over(&ledger);
	size_t pages = 0;
	struct rlimit before;
	struct rlimit tight;
	FILE *statm = fopen("/proc/self/statm", "r");
	BrPool *pool;
	BrStatus status;

	(void) state;
	assert_non_null(statm);
	assert_int_equal(fscanf(statm, "%zu", &pages), 1);
	fclose(statm);
	assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t) pages * (rlim_t) sysconf(_SC_PAGESIZE) + (64 << 20);
	assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
	status = br_base_pool_create(&context, BR_POOL_MAX_THREADS, &pool);
	assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
	assert_int_equal(status, BR_ERR_MEMORY);
	assert_null(pool);
	assert_non_null(strstr(context.detail, "of 255 threads could be started"));
	assert_int_equal(ledger.outstanding, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(array_is_zeroed_and_overflow_refused),
		cmocka_unit_test(nothing_is_not_a_failure),
		cmocka_unit_test(refused_memory_says_how_much),
		cmocka_unit_test(failure_formats_detail_and_returns_status),
		cmocka_unit_test(long_detail_is_cut_between_characters),
		cmocka_unit_test(cancel_asks_the_callback),
		cmocka_unit_test(arena_is_aligned_disjoint_and_released),
		cmocka_unit_test(arena_block_stays_in_use_beside_large_requests),
		cmocka_unit_test(arena_arrays_are_zeroed_and_failures_clean),
		cmocka_unit_test(philox_matches_published_answers),
		cmocka_unit_test(draws_are_built_from_words),
		cmocka_unit_test(uniform_stays_inside_its_interval),
		cmocka_unit_test(below_drops_what_would_bias),
		cmocka_unit_test(below_is_even),
		cmocka_unit_test(streams_and_keys_differ_and_replay),
		cmocka_unit_test(pool_runs_each_task_once),
		cmocka_unit_test(one_task_needs_no_pool),
		cmocka_unit_test(pool_is_destroyed_without_a_run),
		cmocka_unit_test(pool_threads_block_signals),
		cmocka_unit_test(pool_asks_while_it_waits),
		cmocka_unit_test(pool_refuses_what_it_cannot_be),
		cmocka_unit_test(pool_needs_all_its_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
