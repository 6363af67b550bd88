/*
 * br_serve.h
 *	  The door of the room that decides whose texts are computed next.
 *
 * Many connections wait at once: some with one text, for which a user waits,
 * some with ten thousand. They are served by start-time fair queueing (Goyal,
 * Vin and Cheng, "Start-time fair queuing: a scheduling algorithm for
 * integrated services packet switching networks", SIGCOMM 1996) over two
 * levels: databases share the device equally, and within a database its
 * connections do, by tokens. So one text never waits behind ten thousand, and
 * a database full of connections does not starve another.
 */
#ifndef BR_SERVE_H
#define BR_SERVE_H

#include "core/base/br_base.h"

/* What one request asks for. */
typedef struct BrServeRequest
{
	int slot;			 /* the caller's number of it, below the queue's slots */
	uint32_t database;	 /* whose share it takes */
	uint32_t connection; /* whose share of that */
	uint32_t model;		 /* only requests of one model are computed together */
	int texts;
	int tokens;
	int64_t posted; /* microseconds, of any clock that never goes back */
} BrServeRequest;

/* How much goes into a batch, and how long it is waited for. */
typedef struct BrServeLimits
{
	int tokens;		/* at most, unless one request has more */
	int texts;		/* at most */
	int64_t linger; /* microseconds for which the oldest request may wait for others */
} BrServeLimits;

typedef struct BrServeQueue BrServeQueue;

/* slots: requests that can wait at a time, at least 1. */
extern BrStatus br_serve_create(BrContext *context, int slots, BrServeQueue **queue);
extern void br_serve_destroy(BrServeQueue *queue); /* NULL is ignored */

/* BR_ERR_ARGUMENT: the slot waits already, is out of range, or texts or tokens are below 1. */
extern BrStatus br_serve_post(BrServeQueue *queue, BrContext *context,
							  const BrServeRequest *request);

/* A request that is no longer wanted; false: it does not wait. */
extern bool br_serve_withdraw(BrServeQueue *queue, int slot);
extern int br_serve_waiting(const BrServeQueue *queue);

/*
 * Takes the next batch: whose turn it is, and then others of its model as long
 * as they fit, in their turn. 0: none yet, and *wait says for how long nobody
 * needs to ask again unless somebody posts (microseconds; -1: nobody waits).
 * A batch is due when it is full, when its oldest has waited for the linger,
 * or when idle: nothing else is being computed.
 */
extern int br_serve_take(BrServeQueue *queue, const BrServeLimits *limits, int64_t now, bool idle,
						 int *slots /* (slots) */, int64_t *wait);

#endif /* BR_SERVE_H */
