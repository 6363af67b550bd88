/*
 * slate.c
 *	  An ordered slate, with the propensity of every slot.
 *
 * Chance enters slot by slot. For each slot the algorithm distributes
 * probability over the members that still compete, a uniform share is mixed in,
 * and one uniform of a stream of its own picks the member. Given the earlier
 * slots the propensity is then known exactly, whatever the algorithm.
 *
 * A member that is taken has an infinite penalty, so taking members out and
 * keeping a slate diverse are one subtraction. Pinned members have it from the
 * beginning.
 */
#include <string.h>

#include "core/bandit/bandit_int.h"

/* beyond any reward, and far enough below infinity for products */
#define MAX_DIVERSITY 1e100

#define ARENA_BLOCK ((size_t) 64 * 1024)

static BrStatus
check_request(BrContext *context, const BrBelief *belief, const BrSlateRequest *request)
{
	bool listed = belief->spec->model != BR_MODEL_SHARED;

	if (request->pool < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A pool of %d members.", request->pool);
	if (!(request->diversity >= 0 && request->diversity <= MAX_DIVERSITY))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The diversity penalty is %g; it must be between 0 and %g.",
							request->diversity, MAX_DIVERSITY);
	for (int i = 0; i < request->n_pins; i++)
	{
		const BrPin *pin = &request->pins[i];

		if (pin->slot < 0 || pin->member < 0 || pin->member >= request->pool)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Pool member %d, of %d, is pinned to slot %d.", pin->member + 1,
								request->pool, pin->slot + 1);
		for (int j = 0; j < i; j++)
			if (request->pins[j].slot == pin->slot || request->pins[j].member == pin->member)
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"Pool members %d and %d are pinned to slots %d and %d.",
									request->pins[j].member + 1, pin->member + 1,
									request->pins[j].slot + 1, pin->slot + 1);
	}
	if (listed && request->arms == NULL && request->pool > belief->n_arms)
		return br_base_fail(context, BR_ERR_ARGUMENT, "A pool of %d members, of %d arms.",
							request->pool, belief->n_arms);
	return BR_OK;
}

/* Every arm exists and stands in the pool at most once. */
static BrStatus
check_arms(const BrChooser *chooser)
{
	const BrSlateRequest *request = chooser->request;
	int n_arms = chooser->belief->n_arms;
	int *member_of;

	if (chooser->belief->spec->model == BR_MODEL_SHARED || request->arms == NULL)
		return BR_OK;
	member_of = br_base_arena_alloc_array(chooser->arena, (size_t) n_arms, sizeof(int));
	if (member_of == NULL)
		return BR_ERR_MEMORY;
	for (int b = 0; b < request->pool; b++)
	{
		int arm = request->arms[b];

		if (arm < -1 || arm >= n_arms)
			return br_base_fail(chooser->context, BR_ERR_ARGUMENT,
								"Pool member %d is arm %d, of %d arms.", b + 1, arm + 1, n_arms);
		if (arm >= 0 && member_of[arm] != 0)
			return br_base_fail(chooser->context, BR_ERR_ARGUMENT,
								"Pool members %d and %d are both arm %d.", member_of[arm], b + 1,
								arm + 1);
		if (arm >= 0)
			member_of[arm] = b + 1;
	}
	return BR_OK;
}

static BrStatus
fail_features(const BrChooser *chooser, int member)
{
	int dims = chooser->belief->spec->dims;
	const float *row = chooser->request->features + (size_t) member * (size_t) dims;
	int i = 0;

	while (isfinite(row[i]))
		i++;
	return br_base_fail(chooser->context, BR_ERR_ARGUMENT,
						"Feature %d of pool member %d is %g; it must be finite.", i + 1, member + 1,
						(double) row[i]);
}

/* Blocks of members from rows of members; the last block is filled up with zeros. */
static BrStatus
arrange_features(BrChooser *chooser)
{
	const float *row = chooser->request->features;
	int dims = chooser->belief->spec->dims;

	for (int member = 0; member < chooser->request->pool; member++, row += dims)
	{
		double *lane = br_bandit_features_of(chooser, member);
		bool finite = true;

		for (int i = 0; i < dims; i++)
		{
			double value = (double) row[i];
			double magnitude = fabs(value);

			lane[i * BR_BANDIT_LANES] = value;
			finite = finite && magnitude <= FLT_MAX;
			if (magnitude > chooser->largest[i])
				chooser->largest[i] = magnitude;
		}
		if (!finite)
			return fail_features(chooser, member);
	}
	return BR_OK;
}

static BrStatus
allocate_chooser(BrChooser *chooser)
{
	const BrPolicySpec *spec = chooser->belief->spec;
	bool linear = spec->model != BR_MODEL_ARM;
	size_t padded = chooser->padded;

	if (linear)
	{
		chooser->features =
			br_base_arena_alloc_array(chooser->arena, padded, (size_t) spec->dims * sizeof(double));
		chooser->largest =
			br_base_arena_alloc_array(chooser->arena, (size_t) spec->dims, sizeof(double));
		if (chooser->features == NULL || chooser->largest == NULL)
			return BR_ERR_MEMORY;
	}
	if ((spec->algorithm->deviations & BR_MODEL_BIT(spec->model)) != 0)
	{
		chooser->deviation = br_base_arena_alloc_array(chooser->arena, padded, sizeof(double));
		if (chooser->deviation == NULL)
			return BR_ERR_MEMORY;
	}
	chooser->mean = br_base_arena_alloc_array(chooser->arena, padded, sizeof(double));
	chooser->penalty = br_base_arena_alloc_array(chooser->arena, padded, sizeof(double));
	if (chooser->mean == NULL || chooser->penalty == NULL)
		return BR_ERR_MEMORY;
	for (size_t b = (size_t) chooser->request->pool; b < padded; b++)
		chooser->penalty[b] = INFINITY;
	for (int i = 0; i < chooser->request->n_pins; i++)
		chooser->penalty[chooser->request->pins[i].member] = INFINITY;
	return BR_OK;
}

/* Everything about a decision but its slots. slots: that will be distributed. */
static BrStatus
prepare_chooser(BrChooser *chooser, int slots)
{
	const BrAlgorithm *algorithm = chooser->belief->spec->algorithm;
	const BrSlateRequest *request = chooser->request;
	BrStatus status;

	chooser->slots = slots;
	chooser->padded =
		((size_t) request->pool + BR_BANDIT_LANES - 1) / BR_BANDIT_LANES * BR_BANDIT_LANES;
	chooser->diverse = request->similarity != NULL && request->diversity > 0;
	chooser->remaining = request->pool - request->n_pins;
	chooser->taken = -1;
	status = check_arms(chooser);
	if (status == BR_OK)
		status = allocate_chooser(chooser);
	if (status == BR_OK && chooser->features != NULL)
		status = arrange_features(chooser);
	if (status == BR_OK)
		status = br_bandit_estimate(chooser);
	if (status == BR_OK && algorithm->prepare != NULL)
		status = algorithm->prepare(chooser);
	return status;
}

/* Puts the penalties of the members like `chosen` where they exceed earlier ones. */
static BrStatus
penalise_similar(BrChooser *chooser, int chosen, double *similarity /* (pool) */)
{
	const BrSlateRequest *request = chooser->request;

	request->similarity(request->similarity_arg, chosen, similarity);
	for (int b = 0; b < request->pool; b++)
	{
		if (!(similarity[b] >= 0 && similarity[b] <= 1))
			return br_base_fail(chooser->context, BR_ERR_ARGUMENT,
								"The similarity of pool members %d and %d is %g; "
								"it must be from 0 to 1.",
								chosen + 1, b + 1, similarity[b]);
		chooser->penalty[b] = fmax(chooser->penalty[b], request->diversity * similarity[b]);
	}
	chooser->penalties_changed = true;
	return BR_OK;
}

/* more: whether another slot will be distributed. */
static BrStatus
take_member(BrChooser *chooser, int chosen, bool more, double *similarity /* (pool) */)
{
	BrStatus status = BR_OK;

	if (more && chooser->diverse)
		status = penalise_similar(chooser, chosen, similarity);
	if (br_bandit_competes(chooser, chosen))
		chooser->remaining--;
	chooser->penalty[chosen] = INFINITY;
	return status;
}

static double
mix_uniform(const BrChooser *chooser, double q)
{
	double epsilon = chooser->belief->epsilon;

	return (1 - epsilon) * q + epsilon / (double) chooser->remaining;
}

/* The member that one uniform falls on, and its propensity. */
static int
sample_member(const BrChooser *chooser, int slot, const double *q, double *propensity)
{
	BrRandom random;
	double uniform;
	double cumulated = 0;
	int sampled = -1;

	br_base_random_init(&random, chooser->request->key, BR_BANDIT_STREAM_SLOT + (uint64_t) slot);
	uniform = br_base_random_uniform(&random);
	for (int b = 0; b < chooser->request->pool && uniform >= cumulated; b++)
	{
		double p;

		if (!br_bandit_competes(chooser, b))
			continue;
		p = mix_uniform(chooser, q[b]);
		/* rounding may leave the total below the uniform: then the last possible member has it */
		if (p > 0)
		{
			sampled = b;
			*propensity = p;
			cumulated += p;
		}
	}
	return sampled;
}

/* The member pinned to a slot; -1: none. */
static int
pinned_to(const BrSlateRequest *request, int slot)
{
	for (int i = 0; i < request->n_pins; i++)
		if (request->pins[i].slot == slot)
			return request->pins[i].member;
	return -1;
}

/* Lets the algorithm choose. taken stays that of the last slot that it chose for. */
static BrStatus
draw_slot(BrChooser *chooser, BrSlate *slate, int slot, double *q)
{
	size_t pool = (size_t) chooser->request->pool;
	BrStatus status;

	memset(q, 0, pool * sizeof(double));
	chooser->votes = slate->votes == NULL ? NULL : slate->votes + (size_t) slot * pool;
	status = chooser->belief->spec->algorithm->distribute(chooser, q);
	if (status != BR_OK)
		return status;
	chooser->taken = sample_member(chooser, slot, q, &slate->propensity[slot]);
	slate->chosen[slot] = chooser->taken;
	return BR_OK;
}

static BrStatus
fill_slots(BrChooser *chooser, BrSlate *slate)
{
	size_t pool = (size_t) chooser->request->pool;
	double *q = br_base_arena_alloc_array(chooser->arena, pool, sizeof(double));
	double *similarity = br_base_arena_alloc_array(chooser->arena, pool, sizeof(double));

	if (q == NULL || similarity == NULL)
		return BR_ERR_MEMORY;
	for (int slot = 0; slot < slate->slots; slot++)
	{
		BrStatus status = BR_OK;

		slate->chosen[slot] = pinned_to(chooser->request, slot);
		slate->propensity[slot] = 1;
		if (slate->chosen[slot] < 0)
			status = draw_slot(chooser, slate, slot, q);
		if (status != BR_OK)
			return status;
		status = take_member(chooser, slate->chosen[slot], slot + 1 < slate->slots, similarity);
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

static BrStatus
fill_slate(BrChooser *chooser, BrSlate *slate)
{
	BrContext *context = chooser->context;
	const BrAlgorithm *algorithm = chooser->belief->spec->algorithm;
	size_t pool = (size_t) chooser->request->pool;
	BrStatus status = prepare_chooser(chooser, slate->slots);

	if (status != BR_OK)
		return status;
	slate->chosen = br_base_alloc_array(context, (size_t) slate->slots, sizeof(int));
	slate->propensity = br_base_alloc_array(context, (size_t) slate->slots, sizeof(double));
	slate->expected = br_base_alloc_array(context, pool, sizeof(double));
	if (slate->chosen == NULL || slate->propensity == NULL || slate->expected == NULL)
		return BR_ERR_MEMORY;
	if (chooser->voting)
	{
		slate->votes = br_base_alloc_array(context, pool, (size_t) slate->slots * sizeof(uint16_t));
		if (slate->votes == NULL)
			return BR_ERR_MEMORY;
	}
	for (int b = 0; b < chooser->request->pool; b++)
		slate->expected[b] =
			algorithm->expected != NULL ? algorithm->expected(chooser, b) : chooser->mean[b];
	return fill_slots(chooser, slate);
}

BrStatus
br_bandit_slate(BrContext *context, const BrBelief *belief, const BrSlateRequest *request,
				BrSlate *slate)
{
	BrChooser chooser = {.context = context, .belief = belief, .request = request};
	BrStatus status = check_request(context, belief, request);

	memset(slate, 0, sizeof(*slate));
	if (status == BR_OK && request->slots < 1)
		status = br_base_fail(context, BR_ERR_ARGUMENT,
							  "A slate of %d slots; at least 1 is needed.", request->slots);
	slate->slots = request->slots < request->pool ? request->slots : request->pool;
	for (int i = 0; status == BR_OK && i < request->n_pins; i++)
		if (request->pins[i].slot >= slate->slots)
			status =
				br_base_fail(context, BR_ERR_ARGUMENT, "Pool member %d is pinned to slot %d of %d.",
							 request->pins[i].member + 1, request->pins[i].slot + 1, slate->slots);
	if (status != BR_OK)
	{
		memset(slate, 0, sizeof(*slate));
		return status;
	}
	chooser.arena = br_base_arena_create(context, ARENA_BLOCK);
	if (chooser.arena == NULL)
	{
		memset(slate, 0, sizeof(*slate));
		return BR_ERR_MEMORY;
	}
	status = fill_slate(&chooser, slate);
	br_base_arena_destroy(chooser.arena);
	if (status != BR_OK)
		br_bandit_slate_free(context, slate);
	return status;
}

void
br_bandit_slate_free(BrContext *context, BrSlate *slate)
{
	br_base_free(context, slate->chosen);
	br_base_free(context, slate->propensity);
	br_base_free(context, slate->votes);
	br_base_free(context, slate->expected);
	memset(slate, 0, sizeof(*slate));
}

/* ---- for evaluation ---- */

static BrStatus
take_earlier(BrChooser *chooser, const int *earlier, int n_earlier)
{
	size_t pool = (size_t) chooser->request->pool;
	double *similarity = br_base_arena_alloc_array(chooser->arena, pool, sizeof(double));

	if (similarity == NULL)
		return BR_ERR_MEMORY;
	for (int k = 0; k < n_earlier; k++)
	{
		BrStatus status;

		if (earlier[k] < 0 || earlier[k] >= chooser->request->pool ||
			!br_bandit_competes(chooser, earlier[k]))
			return br_base_fail(chooser->context, BR_ERR_ARGUMENT,
								"Slot %d holds pool member %d, which is not one of %d members or "
								"stands in an earlier slot.",
								k + 1, earlier[k] + 1, chooser->request->pool);
		status = take_member(chooser, earlier[k], true, similarity);
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

static BrStatus
fill_probabilities(BrChooser *chooser, const int *earlier, int n_earlier, double *probability)
{
	size_t pool = (size_t) chooser->request->pool;
	BrStatus status = prepare_chooser(chooser, 1);

	memset(probability, 0, pool * sizeof(double));
	if (status == BR_OK)
		status = take_earlier(chooser, earlier, n_earlier);
	if (status != BR_OK || chooser->remaining == 0)
		return status;
	chooser->votes = br_base_arena_alloc_array(chooser->arena, pool, sizeof(uint16_t));
	if (chooser->votes == NULL)
		return BR_ERR_MEMORY;
	status = chooser->belief->spec->algorithm->distribute(chooser, probability);
	for (int b = 0; b < chooser->request->pool; b++)
	{
		if (br_bandit_competes(chooser, b))
			probability[b] = mix_uniform(chooser, probability[b]);
	}
	return status;
}

BrStatus
br_bandit_probabilities(BrContext *context, const BrBelief *belief, const BrSlateRequest *request,
						const int *earlier, int n_earlier, double *probability)
{
	BrChooser chooser = {.context = context, .belief = belief, .request = request};
	BrStatus status = check_request(context, belief, request);

	if (status == BR_OK && (n_earlier < 0 || n_earlier > request->pool))
		status = br_base_fail(context, BR_ERR_ARGUMENT, "%d earlier slots of a pool of %d.",
							  n_earlier, request->pool);
	if (status != BR_OK)
		return status;
	chooser.arena = br_base_arena_create(context, ARENA_BLOCK);
	if (chooser.arena == NULL)
		return BR_ERR_MEMORY;
	status = fill_probabilities(&chooser, earlier, n_earlier, probability);
	br_base_arena_destroy(chooser.arena);
	return status;
}
