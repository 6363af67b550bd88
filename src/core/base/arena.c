/*
 * arena.c
 *	  Many small allocations, released together.
 *
 * A list of blocks; the newest one is handed out from the front. A request
 * larger than a block gets one of its own, put behind the newest so that what
 * is left of that one stays in use.
 */
#include <string.h>

#include "core/base/br_base.h"

#define ARENA_ALIGNMENT 64

typedef struct ArenaBlock
{
	struct ArenaBlock *next;
	char *data;	 /* aligned to ARENA_ALIGNMENT, behind this header */
	size_t used; /* bytes of data handed out */
	size_t size; /* bytes of data */
} ArenaBlock;

struct BrArena
{
	BrContext *context;
	size_t block_size;
	ArenaBlock *newest;
};

BrArena *
br_base_arena_create(BrContext *context, size_t block_size)
{
	BrArena *arena = br_base_alloc(context, sizeof(BrArena));

	if (arena == NULL)
		return NULL;
	arena->context = context;
	arena->block_size = block_size;
	arena->newest = NULL;
	return arena;
}

static ArenaBlock *
block_create(BrContext *context, size_t size)
{
	const size_t overhead = sizeof(ArenaBlock) + ARENA_ALIGNMENT - 1;
	ArenaBlock *block;
	uintptr_t end_of_header;

	if (size > SIZE_MAX - overhead)
	{
		br_base_fail(context, BR_ERR_MEMORY, "Could not allocate %zu bytes.", size);
		return NULL;
	}
	block = br_base_alloc(context, size + overhead);
	if (block == NULL)
		return NULL;

	end_of_header = (uintptr_t) (block + 1);
	block->data = (char *) (block + 1) + (-end_of_header & (ARENA_ALIGNMENT - 1));
	block->used = 0;
	block->size = size;
	block->next = NULL;
	return block;
}

void *
br_base_arena_alloc(BrArena *arena, size_t size)
{
	ArenaBlock *block = arena->newest;
	void *pointer;

	if (size > SIZE_MAX - (ARENA_ALIGNMENT - 1))
	{
		br_base_fail(arena->context, BR_ERR_MEMORY, "Could not allocate %zu bytes.", size);
		return NULL;
	}
	/* an address of its own even for nothing */
	size = size == 0 ? ARENA_ALIGNMENT
					 : (size + ARENA_ALIGNMENT - 1) & ~(size_t) (ARENA_ALIGNMENT - 1);

	if (block == NULL || size > block->size - block->used)
	{
		block = block_create(arena->context, size > arena->block_size ? size : arena->block_size);
		if (block == NULL)
			return NULL;
		if (size > arena->block_size && arena->newest != NULL)
		{
			block->next = arena->newest->next;
			arena->newest->next = block;
		}
		else
		{
			block->next = arena->newest;
			arena->newest = block;
		}
	}
	pointer = block->data + block->used;
	block->used += size;
	return pointer;
}

void *
br_base_arena_alloc_array(BrArena *arena, size_t count, size_t size)
{
	void *pointer;

	if (size > 0 && count > SIZE_MAX / size)
	{
		br_base_fail(arena->context, BR_ERR_MEMORY, "Could not allocate %zu elements of %zu bytes.",
					 count, size);
		return NULL;
	}
	pointer = br_base_arena_alloc(arena, count * size);
	if (pointer != NULL)
		memset(pointer, 0, count * size);
	return pointer;
}

void
br_base_arena_destroy(BrArena *arena)
{
	ArenaBlock *block;

	if (arena == NULL)
		return;
	block = arena->newest;
	while (block != NULL)
	{
		ArenaBlock *next = block->next;

		br_base_free(arena->context, block);
		block = next;
	}
	br_base_free(arena->context, arena);
}
