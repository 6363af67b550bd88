/*
 * test_serve.c
 *	  Whose texts are computed next: shares counted in tokens, order, and time.
 *
 * test_serve_model.c has random operations beside a slow model of the same rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/serve/br_serve.h"

#define SLOTS 1200
#define FOREVER INT64_C(1000000000000)

typedef struct Desk
{
	BrContext context;
	BrServeQueue *queue;
	BrServeRequest posted[SLOTS];
	bool waits[SLOTS];
	int batch[SLOTS];
	int64_t wait;
} Desk;

static void
open_desk(Desk *desk, int slots)
{
	memset(desk, 0, sizeof(*desk));
	br_base_context_init(&desk->context);
	assert_int_equal(br_serve_create(&desk->context, slots, &desk->queue), BR_OK);
}

static int
free_slot(const Desk *desk)
{
	int slot = 0;

	while (desk->waits[slot])
		slot++;
	return slot;
}

static int
post(Desk *desk, uint32_t database, uint32_t connection, int tokens)
{
	int slot = free_slot(desk);

	desk->posted[slot] = (BrServeRequest){.slot = slot,
										  .database = database,
										  .connection = connection,
										  .texts = 1,
										  .tokens = tokens};
	desk->waits[slot] = true;
	assert_int_equal(br_serve_post(desk->queue, &desk->context, &desk->posted[slot]), BR_OK);
	return slot;
}

/* A batch of so many tokens while nothing else is computed. */
static int
take(Desk *desk, int tokens)
{
	BrServeLimits limits = {.tokens = tokens, .texts = SLOTS, .linger = FOREVER};
	int n = br_serve_take(desk->queue, &limits, 0, true, desk->batch, &desk->wait);

	for (int i = 0; i < n; i++)
		desk->waits[desk->batch[i]] = false;
	return n;
}

static bool
in_batch(const Desk *desk, int n, int slot)
{
	for (int i = 0; i < n; i++)
		if (desk->batch[i] == slot)
			return true;
	return false;
}

static int
tokens_of(const Desk *desk, int n, uint32_t database, uint32_t connection)
{
	int tokens = 0;

	for (int i = 0; i < n; i++)
	{
		const BrServeRequest *request = &desk->posted[desk->batch[i]];

		if (request->database == database && request->connection == connection)
			tokens += request->tokens;
	}
	return tokens;
}

/* ---- shares ---- */

/* However much another connection has posted before, one text is in the very next batch. */
static void
one_text_does_not_wait_behind_thousands(void **state)
{
	Desk desk;

	(void) state;
	open_desk(&desk, SLOTS);
	for (int i = 0; i < 1000; i++)
		post(&desk, 1, 1, 100);
	for (uint32_t round = 0; round < 20; round++)
	{
		int slots[30];
		int n;

		for (int i = 0; i < 30; i++)
			slots[i] = post(&desk, 1, 100 + (uint32_t) i, 10);
		n = take(&desk, 2000);
		for (int i = 0; i < 30; i++)
			assert_true(in_batch(&desk, n, slots[i]));
		/* and the batch is full all the same: 30 of 10 tokens, 17 of 100 */
		assert_int_equal(n, 47);
	}
	br_serve_destroy(desk.queue);
}

/* One connection in one database, a hundred in the other: each database gets a half. */
static void
databases_share_equally(void **state)
{
	int64_t served[2] = {0, 0};
	int64_t each[100] = {0};
	Desk desk;

	(void) state;
	open_desk(&desk, SLOTS);
	for (int batch = 0; batch < 200; batch++)
	{
		int n;

		for (uint32_t i = 0; i < 100; i++)
			if (batch % 8 == 0)
				post(&desk, 7, i, 40);
		while (br_serve_waiting(desk.queue) < 900)
			post(&desk, 8, 5, 70);
		n = take(&desk, 1000);
		for (uint32_t i = 0; i < 100; i++)
			each[i] += tokens_of(&desk, n, 7, i);
		served[0] = 0;
		for (int i = 0; i < 100; i++)
			served[0] += each[i];
		served[1] += tokens_of(&desk, n, 8, 5);
		assert_true(llabs(served[0] - served[1]) <= 1000);
		for (int i = 1; i < 100; i++)
			assert_true(llabs(each[i] - each[0]) <= 40);
	}
	assert_true(served[0] + served[1] > 200 * 900);
	br_serve_destroy(desk.queue);
}

/* Both have enough waiting: what they get from now on differs by less than a batch. */
static void
expect_equal_shares(Desk *desk, uint32_t database, uint32_t other, uint32_t connection)
{
	int64_t difference = 0;

	for (int batch = 0; batch < 30; batch++)
	{
		int n;

		for (int i = 0; i < 8; i++)
		{
			post(desk, database, 1, 100);
			post(desk, other, connection, 100);
		}
		n = take(desk, 1000);
		difference += tokens_of(desk, n, database, 1) - tokens_of(desk, n, other, connection);
		assert_true(llabs(difference) <= 1000);
	}
}

/* Who was away has no claim to what others got meanwhile, nor have they to pay for it. */
static void
idling_earns_nothing_and_costs_nothing(void **state)
{
	Desk desk;

	(void) state;
	for (uint32_t other = 1; other <= 2; other++)
	{
		/* another connection, then another database */
		open_desk(&desk, SLOTS);
		post(&desk, other, 2, 100);
		for (int i = 0; i < 500; i++)
			post(&desk, 1, 1, 100);
		for (int i = 0; i < 20; i++)
			take(&desk, 1000);
		expect_equal_shares(&desk, 1, other, 2);
		br_serve_destroy(desk.queue);

		/* nothing waited in between */
		open_desk(&desk, SLOTS);
		for (int i = 0; i < 500; i++)
			post(&desk, 1, 1, 100);
		while (take(&desk, 1000) > 0)
			;
		expect_equal_shares(&desk, 1, other, 2);
		br_serve_destroy(desk.queue);

		/* somebody never seen before */
		open_desk(&desk, SLOTS);
		for (int i = 0; i < 500; i++)
			post(&desk, 1, 1, 100);
		for (int i = 0; i < 20; i++)
			take(&desk, 1000);
		expect_equal_shares(&desk, 1, other, 3);
		br_serve_destroy(desk.queue);
	}
}

/* Posting one large request at a time, always after its predecessor, gives no more than a share. */
static void
emptying_the_own_queue_does_not_escape_the_share(void **state)
{
	int64_t large = 0;
	int64_t small = 0;
	bool waits = false;
	Desk desk;

	(void) state;
	open_desk(&desk, SLOTS);
	for (int batch = 0; batch < 400; batch++)
	{
		int n;

		if (!waits)
			post(&desk, 1, 1, 900);
		while (br_serve_waiting(desk.queue) < 100)
			post(&desk, 1, 2, 10);
		n = take(&desk, 1000);
		waits = tokens_of(&desk, n, 1, 1) == 0;
		large += tokens_of(&desk, n, 1, 1);
		small += tokens_of(&desk, n, 1, 2);
		assert_true(large - small <= 1000);
	}
	assert_true(large > 400 * 300 && small > 400 * 300);
	br_serve_destroy(desk.queue);
}

/* More connections come and go than a queue remembers. */
static void
the_forgotten_cost_nothing(void **state)
{
	Desk desk;

	(void) state;
	open_desk(&desk, 20);
	for (int i = 0; i < 10; i++)
		post(&desk, 1, 1, 100);
	for (uint32_t i = 0; i < 10000; i++)
	{
		int slot = post(&desk, 1 + i % 700, 10 + i, 10);
		int n = take(&desk, 50);

		/* those of the first connection have more than fits, so that one goes alone at times */
		while (!in_batch(&desk, n, slot))
		{
			post(&desk, 1, 1, 100);
			n = take(&desk, 50);
		}
		assert_true(br_serve_waiting(desk.queue) <= 12);
	}
	br_serve_destroy(desk.queue);
}

/* ---- order ---- */

static void
expect_batch(Desk *desk, int tokens, const int *expected, int n)
{
	assert_int_equal(take(desk, tokens), n);
	for (int i = 0; i < n; i++)
		assert_int_equal(desk->batch[i], expected[i]);
}

/* Slots are posted in ascending order: a turn each, in the order of their first posts. */
static void
equals_go_in_the_order_they_came(void **state)
{
	Desk desk;

	(void) state;
	open_desk(&desk, 20);
	for (uint32_t i = 0; i < 9; i++)
		post(&desk, 1, 9 - i / 3, 10); /* 9 9 9 8 8 8 7 7 7 */
	expect_batch(&desk, 90, (const int[]){0, 3, 6, 1, 4, 7, 2, 5, 8}, 9);

	/* of databases first, whose shares are equal whatever is in them */
	post(&desk, 3, 1, 10);
	post(&desk, 3, 2, 10);
	post(&desk, 2, 1, 10);
	post(&desk, 2, 1, 10);
	post(&desk, 2, 1, 10);
	expect_batch(&desk, 50, (const int[]){0, 2, 1, 3, 4}, 5);
	assert_int_equal(take(&desk, 50), 0);
	assert_int_equal(desk.wait, -1);
	br_serve_destroy(desk.queue);
}

/* A batch is of one model; those of another are passed over and lose nothing. */
static void
a_batch_is_of_one_model(void **state)
{
	BrServeLimits limits = {.tokens = 40, .texts = 100};
	Desk desk;

	(void) state;
	open_desk(&desk, 20);
	for (int i = 0; i < 12; i++)
	{
		BrServeRequest request = {.slot = i,
								  .database = 1,
								  .connection = 1 + (uint32_t) (i % 3),
								  .model = i % 3 == 1 ? 5 : 6,
								  .texts = 1,
								  .tokens = 10};

		assert_int_equal(br_serve_post(desk.queue, &desk.context, &request), BR_OK);
	}
	assert_int_equal(br_serve_take(desk.queue, &limits, 0, true, desk.batch, &desk.wait), 4);
	assert_memory_equal(desk.batch, ((const int[]){0, 2, 3, 5}), 4 * sizeof(int));
	/* now it is the turn of the one in the middle, and somebody who comes does not pass it */
	assert_int_equal(br_serve_post(desk.queue, &desk.context,
								   &(BrServeRequest){.slot = 15,
													 .database = 1,
													 .connection = 9,
													 .model = 5,
													 .texts = 1,
													 .tokens = 10}),
					 BR_OK);
	assert_int_equal(br_serve_take(desk.queue, &limits, 0, true, desk.batch, &desk.wait), 4);
	assert_memory_equal(desk.batch, ((const int[]){1, 15, 4, 7}), 4 * sizeof(int));
	br_serve_destroy(desk.queue);
}

/* Nobody is overtaken because he has more than still fits. */
static void
only_one_alone_exceeds_the_budget(void **state)
{
	BrServeLimits limits = {.tokens = 100, .texts = 3};
	Desk desk;

	(void) state;
	open_desk(&desk, 20);
	post(&desk, 1, 1, 60);
	post(&desk, 1, 2, 41);
	post(&desk, 1, 3, 10);
	post(&desk, 1, 4, 500);
	expect_batch(&desk, 100, (const int[]){0}, 1);
	expect_batch(&desk, 100, (const int[]){1, 2}, 2);
	expect_batch(&desk, 100, (const int[]){3}, 1);
	for (int i = 0; i < 4; i++)
		post(&desk, 1, 1, 1);
	assert_int_equal(br_serve_take(desk.queue, &limits, 0, true, desk.batch, &desk.wait), 3);
	assert_int_equal(br_serve_take(desk.queue, &limits, 0, true, desk.batch, &desk.wait), 1);
	br_serve_destroy(desk.queue);
}

/* ---- when ---- */

static void
a_batch_is_due_when_full_or_old_or_idle(void **state)
{
	BrServeLimits limits = {.tokens = 100, .texts = 10, .linger = 2000};
	BrServeRequest request = {.database = 1, .connection = 1, .texts = 1, .tokens = 30};
	Desk desk;

	(void) state;
	open_desk(&desk, 20);
	assert_int_equal(br_serve_take(desk.queue, &limits, 0, true, desk.batch, &desk.wait), 0);
	assert_int_equal(desk.wait, -1);
	for (int i = 0; i < 3; i++)
	{
		request.slot = i;
		request.posted = 10000 + 100 * i;
		assert_int_equal(br_serve_post(desk.queue, &desk.context, &request), BR_OK);
		assert_int_equal(br_serve_take(desk.queue, &limits, 10500, false, desk.batch, &desk.wait),
						 0);
		assert_int_equal(desk.wait, 1500);
	}
	assert_int_equal(br_serve_take(desk.queue, &limits, 11999, false, desk.batch, &desk.wait), 0);
	assert_int_equal(desk.wait, 1);
	assert_int_equal(br_serve_take(desk.queue, &limits, 12000, false, desk.batch, &desk.wait), 3);

	/* what was not due has left nothing behind */
	for (int i = 0; i < 3; i++)
	{
		request.slot = i;
		assert_int_equal(br_serve_post(desk.queue, &desk.context, &request), BR_OK);
	}
	assert_int_equal(br_serve_take(desk.queue, &limits, 10500, true, desk.batch, &desk.wait), 3);

	/* full: the next does not fit, or nothing more would */
	for (int i = 0; i < 4; i++)
	{
		request.slot = i;
		assert_int_equal(br_serve_post(desk.queue, &desk.context, &request), BR_OK);
	}
	assert_int_equal(br_serve_take(desk.queue, &limits, 10500, false, desk.batch, &desk.wait), 3);
	limits.tokens = 30;
	assert_int_equal(br_serve_take(desk.queue, &limits, 10500, false, desk.batch, &desk.wait), 1);
	br_serve_destroy(desk.queue);
}

static void
what_is_withdrawn_is_not_served(void **state)
{
	Desk desk;

	(void) state;
	open_desk(&desk, SLOTS);
	for (uint32_t i = 0; i < 6; i++)
		post(&desk, 1 + i % 2, 1, 10);
	assert_true(br_serve_withdraw(desk.queue, 2));
	assert_false(br_serve_withdraw(desk.queue, 2));
	assert_false(br_serve_withdraw(desk.queue, SLOTS - 1));
	assert_false(br_serve_withdraw(desk.queue, SLOTS));
	assert_false(br_serve_withdraw(desk.queue, -1));
	desk.waits[2] = false;
	assert_int_equal(br_serve_waiting(desk.queue), 5);
	expect_batch(&desk, 100, (const int[]){0, 1, 4, 3, 5}, 5);
	assert_false(br_serve_withdraw(desk.queue, 0));

	/* who withdraws everything pays for nothing */
	post(&desk, 1, 1, 1000);
	assert_true(br_serve_withdraw(desk.queue, 0));
	desk.waits[0] = false;
	expect_equal_shares(&desk, 1, 2, 1);
	br_serve_destroy(desk.queue);
}

static void
impossible_requests_are_refused(void **state)
{
	BrServeRequest good = {.slot = 4, .texts = 1, .tokens = 1};
	BrServeRequest bad;
	BrServeQueue *queue;
	Desk desk;

	(void) state;
	open_desk(&desk, 5);
	for (int i = 0; i < 4; i++)
	{
		bad = good;
		bad.slot = i == 0 ? -1 : i == 1 ? 5 : 4;
		bad.texts = i == 2 ? 0 : 1;
		bad.tokens = i == 3 ? 0 : 1;
		assert_int_equal(br_serve_post(desk.queue, &desk.context, &bad), BR_ERR_ARGUMENT);
	}
	assert_int_equal(br_serve_waiting(desk.queue), 0);
	assert_int_equal(br_serve_post(desk.queue, &desk.context, &good), BR_OK);
	assert_int_equal(br_serve_post(desk.queue, &desk.context, &good), BR_ERR_ARGUMENT);
	assert_int_equal(br_serve_waiting(desk.queue), 1);
	assert_int_equal(br_serve_create(&desk.context, 0, &queue), BR_ERR_ARGUMENT);
	assert_null(queue);
	br_serve_destroy(NULL);
	br_serve_destroy(desk.queue);
}

/* Each of the allocations in turn is refused. */
static void *
refuse_one(void *arg, size_t size)
{
	return (*(int *) arg)-- == 0 ? NULL : malloc(size);
}

static void
no_memory_is_an_error_and_no_leak(void **state)
{
	BrContext context;
	BrServeQueue *queue;
	int allowed;
	int refused = 0;

	(void) state;
	br_base_context_init(&context);
	context.allocator.alloc = refuse_one;
	context.allocator.arg = &allowed;
	for (int i = 0; allowed = i, br_serve_create(&context, 3, &queue) != BR_OK; i++)
	{
		assert_null(queue);
		refused++;
	}
	assert_true(refused >= 3);
	br_serve_destroy(queue);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_text_does_not_wait_behind_thousands),
		cmocka_unit_test(databases_share_equally),
		cmocka_unit_test(idling_earns_nothing_and_costs_nothing),
		cmocka_unit_test(emptying_the_own_queue_does_not_escape_the_share),
		cmocka_unit_test(the_forgotten_cost_nothing),
		cmocka_unit_test(equals_go_in_the_order_they_came),
		cmocka_unit_test(a_batch_is_of_one_model),
		cmocka_unit_test(only_one_alone_exceeds_the_budget),
		cmocka_unit_test(a_batch_is_due_when_full_or_old_or_idle),
		cmocka_unit_test(what_is_withdrawn_is_not_served),
		cmocka_unit_test(impossible_requests_are_refused),
		cmocka_unit_test(no_memory_is_an_error_and_no_leak),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
