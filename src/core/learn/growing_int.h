/*
 * growing_int.h
 *	  Arrays that are reallocated as they grow.
 */
#ifndef GROWING_INT_H
#define GROWING_INT_H

#include "core/base/br_base.h"

typedef struct BrGrowing
{
	void *elements;
	size_t n;
	size_t room;
} BrGrowing;

/* The room that an array has once `more` further elements fit. */
extern size_t br_learn_grown_room(const BrGrowing *array, size_t more);

/* Room for `more` further elements of this size; false: no memory, and nothing changed. */
extern bool br_learn_grow(BrContext *context, BrGrowing *array, size_t more, size_t size);

#endif /* GROWING_INT_H */
