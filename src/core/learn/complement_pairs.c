/*
 * complement_pairs.c
 *	  Directed pairs: added up, parted into what is learned and what judges it,
 *	  and counted by category.
 */
#include "core/learn/complement_int.h"
#include "core/math/br_math.h"

void
br_learn_complement_pairs_free(BrContext *context, BrComplementPairs *pairs)
{
	br_base_free(context, pairs->source);
	br_base_free(context, pairs->target);
	br_base_free(context, pairs->weight);
	memset(pairs, 0, sizeof(*pairs));
}

static BrStatus
pairs_allocate(BrContext *context, int64_t n, BrComplementPairs *pairs)
{
	pairs->source = br_base_alloc_array(context, (size_t) n, sizeof(int32_t));
	pairs->target = br_base_alloc_array(context, (size_t) n, sizeof(int32_t));
	pairs->weight = br_base_alloc_array(context, (size_t) n, sizeof(float));
	return pairs->source != NULL && pairs->target != NULL && pairs->weight != NULL ? BR_OK
																				   : BR_ERR_MEMORY;
}

static void
append(BrComplementPairs *pairs, int32_t source, int32_t target, float weight)
{
	pairs->source[pairs->n] = source;
	pairs->target[pairs->n] = target;
	pairs->weight[pairs->n++] = weight;
}

/* both directions of two items fall on the same side */
static bool
is_held_out(int32_t source, int32_t target, double share, uint64_t seed)
{
	uint64_t low = (uint64_t) (source < target ? source : target);
	uint64_t high = (uint64_t) (source < target ? target : source);
	BrRandom random;

	br_base_random_init(&random, seed, UINT64_C(1) << 63 | high << 31 | low);
	return br_base_random_uniform(&random) < share;
}

static BrStatus
build(BrContext *context, const int32_t *source, const int32_t *target, const float *weight,
	  const BrComplementPair *pairs, int64_t n, int items, BrSparse *matrix)
{
	BrEntry *entries = br_base_alloc_array(context, (size_t) n, sizeof(BrEntry));
	BrStatus status;

	if (entries == NULL)
		return BR_ERR_MEMORY;
	for (int64_t i = 0; i < n; i++)
		entries[i] = pairs != NULL ? (BrEntry){pairs[i].source, pairs[i].target, pairs[i].weight}
								   : (BrEntry){source[i], target[i], weight[i]};
	status = br_learn_sparse_build(context, entries, n, items, items, matrix);
	br_base_free(context, entries);
	return status;
}

BrStatus
br_learn_complement_split(BrContext *context, const BrComplementPair *pairs, int64_t n, int items,
						  double share, uint64_t seed, BrSparse *all, BrSparse *trained,
						  BrComplementPairs *training, BrComplementPairs *held)
{
	BrStatus status = build(context, NULL, NULL, NULL, pairs, n, items, all);

	if (status == BR_OK)
		status = pairs_allocate(context, br_learn_entries(all), training);
	if (status == BR_OK)
		status = pairs_allocate(context, br_learn_entries(all), held);
	if (status != BR_OK)
		return status;
	for (int source = 0; source < items; source++)
		for (int64_t i = all->starts[source]; i < all->starts[source + 1]; i++)
		{
			if (i % BR_COMPLEMENT_PAIRS_A_CHECK == 0 && br_base_cancelled(context))
				return BR_ERR_CANCELLED;
			append(is_held_out(source, all->ids[i], share, seed) ? held : training, source,
				   all->ids[i], all->values[i]);
		}
	if (training->n == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "No pair is left to learn from.");
	return build(context, training->source, training->target, training->weight, NULL, training->n,
				 items, trained);
}

void
br_learn_complement_fill_bias(const BrComplementItems *items, const BrComplementPairs *pairs,
							  double k, double temperature, double *from, double *into, float *bias)
{
	size_t n = (size_t) items->categories;
	double total = 0;

	for (int64_t i = 0; i < pairs->n; i++)
	{
		int source = items->category[pairs->source[i]];
		int target = items->category[pairs->target[i]];

		if (source < 0 || target < 0)
			continue;
		bias[(size_t) source * n + (size_t) target] += pairs->weight[i];
		from[source] += (double) pairs->weight[i];
		into[target] += (double) pairs->weight[i];
		total += (double) pairs->weight[i];
	}
	for (size_t source = 0; source < n; source++)
		for (size_t target = 0; target < n; target++)
		{
			float *place = bias + source * n + target;
			double chance = total > 0 ? from[source] * into[target] / total : 0;

			*place = chance > 0
				? (float) (temperature * br_math_log(((double) *place + k) / (chance + k)))
				: 0;
		}
}
