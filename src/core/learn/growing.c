/*
 * growing.c
 *	  Arrays that are reallocated as they grow, to twice their size, so that
 *	  adding elements one by one takes time in proportion to their number.
 */
#include <string.h>

#include "core/learn/growing_int.h"

#define FIRST_ROOM 64

size_t
br_learn_grown_room(const BrGrowing *array, size_t more)
{
	size_t needed = array->n + more;

	if (needed <= array->room)
		return array->room;
	return array->room * 2 > needed ? array->room * 2 : needed + FIRST_ROOM;
}

bool
br_learn_grow(BrContext *context, BrGrowing *array, size_t more, size_t size)
{
	size_t room = br_learn_grown_room(array, more);
	void *elements;

	if (room == array->room)
		return true;
	if (room > SIZE_MAX / size)
	{
		br_base_fail(context, BR_ERR_MEMORY, "Could not allocate %zu elements of %zu bytes.", room,
					 size);
		return false;
	}
	elements = br_base_alloc(context, room * size);
	if (elements == NULL)
		return false;
	if (array->n > 0)
		memcpy(elements, array->elements, array->n * size);
	br_base_free(context, array->elements);
	array->elements = elements;
	array->room = room;
	return true;
}
