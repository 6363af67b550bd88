/*
 * test_serve_model.c
 *	  Random operations on the queue, beside a slow model of the same rules.
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

#define DATABASES 4
#define CONNECTIONS 6
#define SLOTS 60

/* The queue, and what was posted to it. */
typedef struct Desk
{
	BrContext context;
	BrServeQueue *queue;
	BrServeRequest posted[SLOTS];
	bool waits[SLOTS];
} Desk;

/* ---- the slow model ---- */

typedef struct Share
{
	int64_t tag;
	int64_t stamp;
} Share;

typedef struct Slow
{
	BrServeRequest list[SLOTS]; /* in the order in which they came */
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

/* ---- both of them ---- */

static void
check_take(Desk *desk, Slow *slow, BrRandom *random, int64_t now)
{
	BrServeLimits limits = {.tokens = 1 + (int) br_base_random_below(random, 400),
							.texts = 1 + (int) br_base_random_below(random, 30),
							.linger = br_base_random_below(random, 100)};
	bool idle = br_base_random_below(random, 3) == 0;
	int expected[SLOTS];
	int found[SLOTS];
	int64_t wait;
	int64_t found_wait;
	int n = slow_take(slow, &limits, now, idle, expected, &wait);
	int64_t tokens = 0;

	assert_int_equal(br_serve_take(desk->queue, &limits, now, idle, found, &found_wait), n);
	assert_int_equal(found_wait, wait);
	for (int i = 0; i < n; i++)
	{
		assert_int_equal(found[i], expected[i]);
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

		memset(&desk, 0, sizeof(desk));
		br_base_context_init(&desk.context);
		assert_int_equal(br_serve_create(&desk.context, SLOTS, &desk.queue), BR_OK);
		br_base_random_init(&random, seed, 0);
		for (int64_t now = 0; now < 10000; now++)
		{
			uint32_t what = br_base_random_below(&random, 10);
			int slot = (int) br_base_random_below(&random, SLOTS);

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
		cmocka_unit_test(random_operations_agree_with_a_slow_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
