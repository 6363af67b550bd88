/*
 * serve_int.h
 *	  What the files of the room that serves share: requests, and the tree of
 *	  those who share.
 *
 * The tree has three levels: the root, databases, connections. A node has the
 * virtual time of its children, and of itself a tag: the virtual time at which
 * its next request starts, in tokens. Tags are whole numbers, so that nothing
 * is rounded however long a queue lives.
 */
#ifndef BR_SERVE_INT_H
#define BR_SERVE_INT_H

#include "core/serve/br_serve.h"

#define BR_SERVE_NONE (-1)
#define BR_SERVE_ROOT 0

/* One who shares, by its number in the queue. Databases and connections have the same members. */
typedef struct BrServeNode
{
	int parent; /* NONE of the root, and of a node that is free */
	uint32_t id;
	int waiting; /* requests below it */

	int64_t tag;
	uint64_t stamp; /* raised with each change of a tag: of equal tags the smaller goes first */

	/* of the children */
	int64_t now;	 /* their virtual time */
	int64_t latest;	 /* the greatest tag that one of them ever had */
	int first_child; /* of those with requests, in no order */

	/* of a connection: its requests by slot, as they came */
	int first_request;
	int last_request;

	int next; /* among the waiting children of a parent, or among those who are idle */
	int previous;
	int chain; /* the next of the same bucket, or the next that is free */

	/* while a batch is planned */
	int64_t planned_tag;
	uint64_t planned_stamp;
	int planned_request; /* of a connection: its next of the batch's model */
	int64_t started;	 /* of a parent: the greatest tag at which one of its children was taken */
	int heap;			 /* of a parent: where its children in the batch's turn stand */
	int heap_size;
} BrServeNode;

/* A slot. */
typedef struct BrServeEntry
{
	BrServeRequest request;
	int node; /* the connection, NONE: nothing waits here */
	int next; /* of the same connection */
	int previous;
} BrServeEntry;

struct BrServeQueue
{
	BrAllocator allocator;
	int slots;
	int n_nodes;
	uint32_t mask; /* of the buckets, a power of two less one */
	uint64_t stamp;
	int free_node;
	int first_idle; /* the longest idle */
	int last_idle;

	BrServeEntry *entries; /* (slots) */
	BrServeNode *nodes;	   /* (n_nodes) */
	int *buckets;		   /* (mask + 1) */
	int *heap;			   /* (n_nodes) */
};

/* Takes a request out of its connection, which becomes idle with its last one, and so may its database. */
extern void br_serve_remove(BrServeQueue *queue, int slot);

/* Whose turn it is of two of the same parent, by their tags. */
static inline bool
br_serve_before(int64_t tag, uint64_t stamp, int64_t other_tag, uint64_t other_stamp)
{
	return tag < other_tag || (tag == other_tag && stamp < other_stamp);
}

#endif /* BR_SERVE_INT_H */
