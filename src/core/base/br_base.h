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
	BR_ERR_SYNTAX,		/* a text is not written as its kind is */
	BR_ERR_DEVICE		/* a device failed, and is of no further use to this process */
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
 * Threads that run tasks and are idle in between. A task must not call back
 * into the caller of core: no allocator and no cancel callback of the caller's.
 * The threads have all signals blocked.
 */
typedef struct BrPool BrPool;

/* No task of a pool is numbered as high. */
#define BR_POOL_MAX_THREADS 256

/*
 * threads: how many compute, the caller's own included; 2 to
 * BR_POOL_MAX_THREADS. BR_ERR_MEMORY: not all of them could be started. The
 * allocator of the context must outlive the pool. A process that forks must
 * not use it in the child.
 */
extern BrStatus br_base_pool_create(BrContext *context, int threads, BrPool **pool);
extern int br_base_pool_threads(const BrPool *pool); /* NULL: 1 */

/*
 * Runs task(arg, 0) .. task(arg, n - 1), each once, n at most the number of
 * threads, task 0 in the caller's; returns when all have returned. While the
 * caller waits for the others it asks poll, some fifty times a second, so that
 * the answer may reach the tasks by the caller's own means. pool NULL: n is 1.
 */
extern void br_base_pool_run(BrPool *pool, void (*task)(void *arg, int number), void *arg, int n,
							 const BrCancel *poll);
extern void br_base_pool_destroy(BrPool *pool); /* joins the threads; NULL is ignored */

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
#define BR_PHILOX_ROUNDS 10
#define BR_PHILOX_MULTIPLIER_0 UINT32_C(0xD2511F53)
#define BR_PHILOX_MULTIPLIER_1 UINT32_C(0xCD9E8D57)
#define BR_PHILOX_WEYL_0 UINT32_C(0x9E3779B9)
#define BR_PHILOX_WEYL_1 UINT32_C(0xBB67AE85)

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
