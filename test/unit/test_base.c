/*
 * test_base.c
 *	  The base room: context, arena, random numbers.
 *
 * Random numbers are compared with the known answers that Random123 publishes
 * for philox4x32-10 (kat_vectors); the rest follows from arithmetic by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
