/*
 * adam.c
 *	  The optimiser of what is trained by gradient.
 */
#include "core/learn/real_int.h"

#define DECAY_FIRST 0.9
#define DECAY_SECOND 0.999
#define EPSILON 1e-8

BrStatus
br_learn_adam_create(BrContext *context, int64_t n, BrAdam *adam)
{
	memset(adam, 0, sizeof(*adam));
	adam->n = n;
	adam->first = br_base_alloc_array(context, (size_t) n, sizeof(BrReal));
	adam->second = br_base_alloc_array(context, (size_t) n, sizeof(BrReal));
	if (adam->first != NULL && adam->second != NULL)
		return BR_OK;
	br_learn_adam_free(context, adam);
	return BR_ERR_MEMORY;
}

void
br_learn_adam_free(BrContext *context, BrAdam *adam)
{
	br_base_free(context, adam->first);
	br_base_free(context, adam->second);
	memset(adam, 0, sizeof(*adam));
}

void
br_learn_adam_begin(BrAdam *adam)
{
	adam->steps++;
}

/* The moments start at 0; both are divided by how much of them has been filled. */
void
br_learn_adam_step(BrAdam *adam, double rate, int64_t first, int64_t last, const BrReal *slope,
				   BrReal *parameters)
{
	BrReal pace = (BrReal) (rate / (1 - pow(DECAY_FIRST, (double) adam->steps)));
	BrReal spread = (BrReal) (1 / sqrt(1 - pow(DECAY_SECOND, (double) adam->steps)));

	for (int64_t i = first; i < last; i++)
	{
		BrReal g = slope[i];

		adam->first[i] += (BrReal) (1 - DECAY_FIRST) * (g - adam->first[i]);
		adam->second[i] += (BrReal) (1 - DECAY_SECOND) * (g * g - adam->second[i]);
		parameters[i] -=
			pace * adam->first[i] / ((BrReal) sqrt(adam->second[i]) * spread + (BrReal) EPSILON);
	}
}
