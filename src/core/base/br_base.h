/*
 * br_base.h
 *	  The door of the base room: what every other room of core stands on.
 *
 * Status codes, a call context (allocator, cancel callback, error detail), an
 * arena and a counter-based random number generator. Core never exits, prints
 * or longjmps: a function that can fail returns a BrStatus and leaves one
 * sentence of detail in its context.
 */
#ifndef BR_BASE_H
#define BR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum BrStatus
{
	BR_OK = 0,
	BR_ERR_ARGUMENT,	/* a value the caller passed is out of its range */
	BR_ERR_MEMORY,		/* the allocator returned NULL */
	BR_ERR_CANCELLED,	/* the cancel callback said so */
	BR_ERR_FORMAT,		/* a file or an image is damaged or malformed */
	BR_ERR_UNSUPPORTED, /* well-formed, but of a kind that is not handled */
	BR_ERR_NUMERIC,		/* NaN, infinity, or a matrix that is not positive definite */
	BR_ERR_LIMIT,		/* larger than a documented limit */
	BR_ERR_SYNTAX		/* a text is not written as its kind is */
} BrStatus;

/* Memory from the caller. alloc returns NULL on failure and never longjmps. */
typedef struct BrAllocator
{
	void *(*alloc)(void *arg, size_t size);
	void (*free)(void *arg, void *pointer); /* NULL is ignored */
	void *arg;
} BrAllocator;

/* Answers whether the call should stop; it must not act on it itself. */
typedef struct BrCancel
{
	bool (*requested)(void *arg);
	void *arg;
} BrCancel;

#define BR_DETAIL_SIZE 512

/*
 * What one call into core needs from outside. The caller owns it; core keeps
 * no pointer to it after the call unless the function says so.
 */
typedef struct BrContext
{
	BrAllocator allocator;
	BrCancel cancel;			 /* requested may be NULL: never cancelled */
	char detail[BR_DETAIL_SIZE]; /* after a failure: one English sentence, UTF-8 */
} BrContext;

/* A context over malloc and free that is never cancelled (tests, tools). */
extern void br_base_context_init(BrContext *context);

/* size bytes, uninitialised; NULL with detail set when there is no memory. */
extern void *br_base_alloc(BrContext *context, size_t size);

/* count * size bytes, zeroed; overflow of the product counts as no memory. */
extern void *br_base_alloc_array(BrContext *context, size_t count, size_t size);

extern void br_base_free(BrContext *context, void *pointer);

/* Formats the detail and returns status, so that `return br_base_fail(...)` reads well. */
extern BrStatus br_base_fail(BrContext *context, BrStatus status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

extern bool br_base_cancelled(const BrContext *context);

/*
 * An arena: many small allocations released together. Everything it hands out
 * is aligned to 64 bytes and lives until br_base_arena_destroy.
 */
typedef struct BrArena BrArena;

/* block_size: bytes per block, > 0; larger requests get a block of their own. */
extern BrArena *br_base_arena_create(BrContext *context, size_t block_size);
extern void *br_base_arena_alloc(BrArena *arena, size_t size); /* uninitialised; NULL: no memory */
extern void *br_base_arena_alloc_array(BrArena *arena, size_t count, size_t size); /* zeroed */
extern void br_base_arena_destroy(BrArena *arena); /* NULL is ignored */

/*
 * Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011). The same (key, stream) gives the
 * same sequence on every machine; different streams of one key are
 * independent, so a draw can be replayed without its predecessors.
 */
typedef struct BrRandom
{
	uint64_t key;
	uint64_t stream;
	uint64_t counter; /* blocks consumed */
	uint32_t block[4];
	int left; /* words of block not yet handed out */
} BrRandom;

extern void br_base_random_init(BrRandom *random, uint64_t key, uint64_t stream);
extern uint32_t br_base_random_u32(BrRandom *random);
extern uint64_t br_base_random_u64(BrRandom *random);

/* Uniform in the open interval (0, 1), 53 bits, never 0 or 1. */
extern double br_base_random_uniform(BrRandom *random);

/* Uniform in 0 .. bound - 1 without modulo bias; bound > 0. */
extern uint32_t br_base_random_below(BrRandom *random, uint32_t bound);

#endif /* BR_BASE_H */
