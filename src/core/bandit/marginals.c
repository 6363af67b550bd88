/*
 * marginals.c
 *	  P(member b stands at slot k), whatever the earlier slots hold.
 *
 * A slate is built slot by slot, and what is known of a slot is its
 * distribution given the earlier ones. The marginal is the sum over all
 * beginnings, each with its probability: a walk through the tree of prefixes.
 * Where the tree is too large, slates are replayed and counted.
 */
#include <string.h>

#include "core/bandit/br_bandit.h"

#define MAX_PREFIXES 20000
#define MIN_REPLAYS 10000

/* Prefixes of 0 to slots - 1 members, or MAX_PREFIXES + 1 where there are more. */
static int
count_prefixes(int pool, int slots)
{
	int64_t level = 1;
	int64_t total = 1;

	for (int k = 1; k < slots && total <= MAX_PREFIXES; k++)
	{
		level *= pool - k + 1;
		total += level;
	}
	return total > MAX_PREFIXES ? MAX_PREFIXES + 1 : (int) total;
}

/* The walk: of each level the distribution, the member taken and how likely the prefix is. */
typedef struct PrefixWalk
{
	int *taken;		/* (slots) */
	double *likely; /* (slots) */
	double *level;	/* (slots, pool) */
} PrefixWalk;

/* Next member of the level that can be taken, from `from` on; pool: none. */
static int
next_possible(const double *level, int from, int pool)
{
	while (from < pool && !(level[from] > 0))
		from++;
	return from;
}

/* The distribution behind the first k members of the walk, added to the marginals of slot k. */
static BrStatus
enter_level(BrContext *context, const BrBelief *belief, const BrSlateRequest *request, int slots,
			PrefixWalk *walk, int k, double *probability)
{
	double *level = walk->level + (size_t) k * (size_t) request->pool;
	BrStatus status = br_bandit_probabilities(context, belief, request, walk->taken, k, level);

	if (status == BR_OK && br_base_cancelled(context))
		status = br_base_fail(context, BR_ERR_CANCELLED, "Cancelled.");
	if (status != BR_OK)
		return status;
	for (int b = 0; b < request->pool; b++)
		probability[(size_t) b * (size_t) request->slots + (size_t) k] +=
			walk->likely[k] * level[b];
	walk->taken[k] = next_possible(level, 0, k + 1 < slots ? request->pool : 0);
	return BR_OK;
}

static BrStatus
enumerate(BrContext *context, const BrBelief *belief, const BrSlateRequest *request, int slots,
		  PrefixWalk *walk, double *probability)
{
	size_t pool = (size_t) request->pool;
	int k = 0;
	BrStatus status;

	walk->likely[0] = 1;
	status = enter_level(context, belief, request, slots, walk, 0, probability);
	while (status == BR_OK && k >= 0)
	{
		const double *level = walk->level + (size_t) k * pool;
		int member = walk->taken[k];

		if (k + 1 == slots || member == request->pool)
		{
			/* up again, to the next member of the level above */
			if (--k >= 0)
				walk->taken[k] = next_possible(walk->level + (size_t) k * pool, walk->taken[k] + 1,
											   request->pool);
			continue;
		}
		walk->likely[k + 1] = walk->likely[k] * level[member];
		k++;
		status = enter_level(context, belief, request, slots, walk, k, probability);
	}
	return status;
}

static BrStatus
replay(BrContext *context, const BrBelief *belief, const BrSlateRequest *request, int replays,
	   double *probability)
{
	BrRandom keys;

	br_base_random_init(&keys, request->key, BR_BANDIT_STREAM_REPLAY);
	for (int i = 0; i < replays; i++)
	{
		BrSlateRequest again = *request;
		BrSlate slate;
		BrStatus status;

		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled.");
		again.key = br_base_random_u64(&keys);
		status = br_bandit_slate(context, belief, &again, &slate);
		if (status != BR_OK)
			return status;
		for (int k = 0; k < slate.slots; k++)
			probability[(size_t) slate.chosen[k] * (size_t) request->slots + (size_t) k] +=
				1.0 / replays;
		br_bandit_slate_free(context, &slate);
	}
	return BR_OK;
}

BrStatus
br_bandit_marginals(BrContext *context, const BrBelief *belief, const BrSlateRequest *request,
					int replays, bool *estimated, double *probability)
{
	int slots = request->slots < request->pool ? request->slots : request->pool;
	PrefixWalk walk = {0};
	BrArena *arena;
	BrStatus status = BR_ERR_MEMORY;

	if (request->slots < 1 || request->pool < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A slate of %d slots from a pool of %d members.", request->slots,
							request->pool);
	memset(probability, 0, sizeof(double) * (size_t) request->pool * (size_t) request->slots);
	*estimated = count_prefixes(request->pool, slots) > MAX_PREFIXES;
	if (slots == 0)
		return BR_OK;
	if (*estimated && replays < MIN_REPLAYS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d replays of a slate of %d slots from %d members; at least %d are "
							"needed.",
							replays, slots, request->pool, MIN_REPLAYS);
	if (*estimated)
		return replay(context, belief, request, replays, probability);

	arena = br_base_arena_create(context, 16384);
	if (arena == NULL)
		return BR_ERR_MEMORY;
	walk.taken = br_base_arena_alloc_array(arena, (size_t) slots, sizeof(int));
	walk.likely = br_base_arena_alloc_array(arena, (size_t) slots, sizeof(double));
	walk.level =
		br_base_arena_alloc_array(arena, (size_t) request->pool, (size_t) slots * sizeof(double));
	if (walk.taken != NULL && walk.likely != NULL && walk.level != NULL)
		status = enumerate(context, belief, request, slots, &walk, probability);
	br_base_arena_destroy(arena);
	return status;
}
