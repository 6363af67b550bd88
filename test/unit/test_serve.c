/*
 * test_serve.c
 *	  Whose texts are computed next: shares counted in tokens, and random
 *	  operations beside a slow model of the same rules.
 *
 * The model keeps requests in one list in the order in which they came, tags in
 * plain arrays that forget nobody, and finds every turn by looking at everything.
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

/* ---- the slow model ---- */

#define DATABASES 4
#define CONNECTIONS 6
#define MODEL_SLOTS 60

typedef struct Share
{
	int64_t tag;
	int64_t stamp;
} Share;

typedef struct Slow
{
	BrServeRequest list[MODEL_SLOTS]; /* in the order in which they came */
	int n;
	int64_t stamp;
	Share database[DATABASES];
	Share connection[DATABASES][CONNECTIONS];
	int64_t now[DATABASES + 1]; /* virtual times: of each database, and of the root */
	int64_t latest[DATABASES + 1];
} Slow;

static bool
slow_waits(const Slow *slow, uint32_t database, int64_t connection)
{
	for (int i = 0; i < slow->n; i++)
		if (slow->list[i].database == database &&
			(connection < 0 || slow->list[i].connection == (uint32_t) connection))
			return true;
	return false;
}

static void
slow_start(Slow *slow, Share *share, int64_t now)
{
	if (share->tag < now)
		share->tag = now;
	share->stamp = ++slow->stamp;
}

static void
slow_post(Slow *slow, const BrServeRequest *request)
{
	uint32_t d = request->database;

	if (!slow_waits(slow, d, -1))
		slow_start(slow, &slow->database[d], slow->now[DATABASES]);
	if (!slow_waits(slow, d, request->connection))
		slow_start(slow, &slow->connection[d][request->connection], slow->now[d]);
	slow->list[slow->n++] = *request;
}

static void
slow_remove(Slow *slow, int at)
{
	uint32_t d = slow->list[at].database;

	memmove(&slow->list[at], &slow->list[at + 1],
			(size_t) (--slow->n - at) * sizeof(BrServeRequest));
	if (!slow_waits(slow, d, -1) && slow->latest[d] > slow->now[d])
		slow->now[d] = slow->latest[d];
	if (slow->n == 0 && slow->latest[DATABASES] > slow->now[DATABASES])
		slow->now[DATABASES] = slow->latest[DATABASES];
}

static int
slow_find(const Slow *slow, int slot)
{
	for (int i = 0; i < slow->n; i++)
		if (slow->list[i].slot == slot)
			return i;
	return -1;
}

static bool
earlier(const Share *one, const Share *other)
{
	return one->tag != other->tag ? one->tag < other->tag : one->stamp < other->stamp;
}

/* The request whose turn it is, of a model or, with -1, of any; -1: none. */
static int
slow_turn(const Slow *slow, int64_t model)
{
	int best = -1;

	for (int i = 0; i < slow->n; i++)
	{
		const BrServeRequest *one = &slow->list[i];
		const BrServeRequest *other = &slow->list[best < 0 ? i : best];

		if (model >= 0 && one->model != (uint32_t) model)
			continue;
		if (best < 0 ||
			(one->database != other->database
				 ? earlier(&slow->database[one->database], &slow->database[other->database])
				 : one->connection != other->connection &&
					 earlier(&slow->connection[one->database][one->connection],
							 &slow->connection[one->database][other->connection])))
			best = i;
	}
	return best;
}

static void
slow_charge(Slow *slow, Share *share, int64_t *latest, int64_t *started, int tokens)
{
	if (share->tag > *started)
		*started = share->tag;
	share->tag += tokens;
	share->stamp = ++slow->stamp;
	if (share->tag > *latest)
		*latest = share->tag;
}

/* No time passes who still waits below it. */
static void
slow_move_times(Slow *slow, int64_t *started)
{
	for (int i = 0; i < slow->n; i++)
	{
		uint32_t d = slow->list[i].database;
		int64_t tag = slow->connection[d][slow->list[i].connection].tag;

		if (tag < started[d])
			started[d] = tag;
		if (slow->database[d].tag < started[DATABASES])
			started[DATABASES] = slow->database[d].tag;
	}
	for (int i = 0; i <= DATABASES; i++)
		if (started[i] > slow->now[i])
			slow->now[i] = started[i];
}

static int
slow_take(Slow *slow, const BrServeLimits *limits, int64_t now, bool idle, int *slots,
		  int64_t *wait)
{
	Slow planned = *slow;
	int64_t started[DATABASES + 1];
	int64_t oldest = INT64_MAX;
	int64_t model;
	int tokens = 0;
	int texts = 0;
	int n = 0;
	bool full = false;
	int at;

	*wait = -1;
	if (slow->n == 0)
		return 0;
	memcpy(started, slow->now, sizeof(started));
	model = slow->list[slow_turn(slow, -1)].model;
	while (!full && (at = slow_turn(&planned, model)) >= 0)
	{
		BrServeRequest next = planned.list[at];
		uint32_t d = next.database;

		full =
			n > 0 && (tokens + next.tokens > limits->tokens || texts + next.texts > limits->texts);
		if (full)
			break;
		slots[n++] = next.slot;
		tokens += next.tokens;
		texts += next.texts;
		oldest = next.posted < oldest ? next.posted : oldest;
		slow_charge(&planned, &planned.connection[d][next.connection], &planned.latest[d],
					&started[d], next.tokens);
		slow_charge(&planned, &planned.database[d], &planned.latest[DATABASES], &started[DATABASES],
					next.tokens);
		slow_remove(&planned, at);
	}
	full = full || tokens >= limits->tokens || texts >= limits->texts;
	if (!full && !idle && now - oldest < limits->linger)
	{
		*wait = limits->linger - (now - oldest);
		return 0;
	}
	*slow = planned;
	slow_move_times(slow, started);
	*wait = 0;
	return n;
}

static void
check_take(Desk *desk, Slow *slow, BrRandom *random, int64_t now)
{
	BrServeLimits limits = {.tokens = 1 + (int) br_base_random_below(random, 400),
							.texts = 1 + (int) br_base_random_below(random, 30),
							.linger = br_base_random_below(random, 100)};
	bool idle = br_base_random_below(random, 3) == 0;
	int expected[MODEL_SLOTS];
	int64_t wait;
	int n = slow_take(slow, &limits, now, idle, expected, &wait);
	int64_t tokens = 0;

	assert_int_equal(br_serve_take(desk->queue, &limits, now, idle, desk->batch, &desk->wait), n);
	assert_int_equal(desk->wait, wait);
	for (int i = 0; i < n; i++)
	{
		assert_int_equal(desk->batch[i], expected[i]);
		tokens += desk->posted[expected[i]].tokens;
		desk->waits[expected[i]] = false;
	}
	assert_true(n <= 1 || tokens <= limits.tokens);
}

static void
random_operations_agree_with_a_slow_model(void **state)
{
	BrRandom random;
	Desk desk;
	int taken = 0;

	(void) state;
	for (uint64_t seed = 0; seed < 20; seed++)
	{
		Slow slow = {.n = 0};

		open_desk(&desk, MODEL_SLOTS);
		br_base_random_init(&random, seed, 0);
		for (int64_t now = 0; now < 10000; now++)
		{
			uint32_t what = br_base_random_below(&random, 10);
			int slot = (int) br_base_random_below(&random, MODEL_SLOTS);

			if (what < (seed % 2 == 0 ? 7 : 5) && !desk.waits[slot])
			{
				desk.posted[slot] =
					(BrServeRequest){.slot = slot,
									 .database = br_base_random_below(&random, DATABASES),
									 .connection = br_base_random_below(&random, CONNECTIONS),
									 .model = br_base_random_below(&random, 1 + seed % 3),
									 .texts = 1 + (int) br_base_random_below(&random, 8),
									 .tokens = 1 + (int) br_base_random_below(&random, 120),
									 .posted = now};
				desk.waits[slot] = true;
				assert_int_equal(br_serve_post(desk.queue, &desk.context, &desk.posted[slot]),
								 BR_OK);
				slow_post(&slow, &desk.posted[slot]);
			}
			else if (what == 9)
			{
				int at = slow_find(&slow, slot);

				assert_int_equal(br_serve_withdraw(desk.queue, slot), at >= 0);
				if (at >= 0)
					slow_remove(&slow, at);
				desk.waits[slot] = false;
			}
			else
			{
				check_take(&desk, &slow, &random, now);
				taken++;
			}
			assert_int_equal(br_serve_waiting(desk.queue), slow.n);
		}
		br_serve_destroy(desk.queue);
	}
	assert_true(taken > 20 * 2000);
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
		cmocka_unit_test(random_operations_agree_with_a_slow_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
