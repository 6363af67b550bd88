/*
 * learn_countdown.h
 *	  A context that runs out of memory, or is cancelled, after so many calls.
 */
#ifndef LEARN_COUNTDOWN_H
#define LEARN_COUNTDOWN_H

#include <limits.h>
#include <stdlib.h>

#include "core/base/br_base.h"

typedef struct Countdown
{
	int allocations; /* that succeed */
	int live;
	int checks; /* of the cancel callback that answer no */
} Countdown;

static inline void *
countdown_alloc(void *arg, size_t size)
{
	Countdown *countdown = arg;

	if (countdown->allocations-- <= 0)
		return NULL;
	countdown->live++;
	return malloc(size);
}

static inline void
countdown_free(void *arg, void *pointer)
{
	Countdown *countdown = arg;

	countdown->live -= pointer != NULL;
	free(pointer);
}

static inline bool
countdown_cancel(void *arg)
{
	Countdown *countdown = arg;

	return countdown->checks-- <= 0;
}

static inline void
countdown_begin(BrContext *context, Countdown *countdown, int allocations, int checks)
{
	br_base_context_init(context);
	*countdown = (Countdown){allocations, 0, checks};
	context->allocator = (BrAllocator){countdown_alloc, countdown_free, countdown};
	context->cancel = (BrCancel){countdown_cancel, countdown};
}

#endif /* LEARN_COUNTDOWN_H */
