/*
 * queue.c
 *	  Who waits, and with which share.
 *
 * Somebody who begins to wait starts at the virtual time of his parent, or where
 * his last request ended if that is later: being idle earns nothing, and what
 * he had beyond his share is paid back. The virtual time itself follows those
 * who are served (batch.c); when nobody waits below a parent any more it moves
 * to the latest of all tags there, so that all are equal again.
 *
 * Tags of those who are idle are remembered for at least as many as there are
 * slots. Who is forgotten, the longest idle first, had at most the tokens of one
 * request to pay back.
 */
#include <string.h>

#include "core/serve/serve_int.h"

/* Nodes of each of the two levels, for one slot: one for who waits, one for who is remembered. */
#define NODES_PER_SLOT 4

#define MAX_SLOTS (1 << 20)

/* ---- lists ---- */

static int
bucket_of(const BrServeQueue *queue, int parent, uint32_t id)
{
	/* two rounds of a multiplicative hash: ids of connections are small numbers */
	uint32_t hash = (id + (uint32_t) parent * UINT32_C(0x85EBCA6B)) * UINT32_C(0x9E3779B1);

	return (int) ((hash ^ (hash >> 15)) & queue->mask);
}

static void
unchain(BrServeQueue *queue, int number)
{
	BrServeNode *node = &queue->nodes[number];
	int *link = &queue->buckets[bucket_of(queue, node->parent, node->id)];

	while (*link != number)
		link = &queue->nodes[*link].chain;
	*link = node->chain;
}

static void
leave_idle(BrServeQueue *queue, int number)
{
	BrServeNode *node = &queue->nodes[number];
	int *before =
		node->previous == BR_SERVE_NONE ? &queue->first_idle : &queue->nodes[node->previous].next;
	int *behind =
		node->next == BR_SERVE_NONE ? &queue->last_idle : &queue->nodes[node->next].previous;

	*before = node->next;
	*behind = node->previous;
}

static void
enter_idle(BrServeQueue *queue, int number)
{
	BrServeNode *node = &queue->nodes[number];

	node->next = BR_SERVE_NONE;
	node->previous = queue->last_idle;
	if (queue->last_idle == BR_SERVE_NONE)
		queue->first_idle = number;
	else
		queue->nodes[queue->last_idle].next = number;
	queue->last_idle = number;
}

static void
enter_waiting(BrServeQueue *queue, int number)
{
	BrServeNode *node = &queue->nodes[number];
	BrServeNode *parent = &queue->nodes[node->parent];

	node->previous = BR_SERVE_NONE;
	node->next = parent->first_child;
	if (node->next != BR_SERVE_NONE)
		queue->nodes[node->next].previous = number;
	parent->first_child = number;
}

static void
leave_waiting(BrServeQueue *queue, int number)
{
	BrServeNode *node = &queue->nodes[number];

	if (node->previous == BR_SERVE_NONE)
		queue->nodes[node->parent].first_child = node->next;
	else
		queue->nodes[node->previous].next = node->next;
	if (node->next != BR_SERVE_NONE)
		queue->nodes[node->next].previous = node->previous;
}

/* ---- nodes ---- */

static void
clear_node(BrServeNode *node, int parent, uint32_t id)
{
	memset(node, 0, sizeof(*node));
	node->parent = parent;
	node->id = id;
	node->first_child = BR_SERVE_NONE;
	node->first_request = BR_SERVE_NONE;
	node->last_request = BR_SERVE_NONE;
}

/*
 * A node that nobody has. Of a database that is idle all connections were idle
 * before it, so that it is never forgotten before them.
 */
static int
take_node(BrServeQueue *queue)
{
	int number = queue->free_node;

	if (number != BR_SERVE_NONE)
	{
		queue->free_node = queue->nodes[number].chain;
		return number;
	}
	number = queue->first_idle;
	leave_idle(queue, number);
	unchain(queue, number);
	return number;
}

/* The child of that id, which waits from now on if it has not waited before. */
static int
wake_child(BrServeQueue *queue, int parent, uint32_t id)
{
	int *bucket = &queue->buckets[bucket_of(queue, parent, id)];
	int number = *bucket;
	BrServeNode *node;

	while (number != BR_SERVE_NONE &&
		   (queue->nodes[number].parent != parent || queue->nodes[number].id != id))
		number = queue->nodes[number].chain;
	if (number == BR_SERVE_NONE)
	{
		number = take_node(queue);
		clear_node(&queue->nodes[number], parent, id);
		queue->nodes[number].chain = *bucket;
		*bucket = number;
	}
	else if (queue->nodes[number].waiting == 0)
		leave_idle(queue, number);
	node = &queue->nodes[number];
	if (node->waiting == 0)
	{
		if (node->tag < queue->nodes[parent].now)
			node->tag = queue->nodes[parent].now;
		node->stamp = ++queue->stamp;
		enter_waiting(queue, number);
	}
	return number;
}

/* A node without requests any more; when it was the last one of its parent, all there are equal. */
static void
rest_node(BrServeQueue *queue, int number)
{
	BrServeNode *parent = &queue->nodes[queue->nodes[number].parent];

	leave_waiting(queue, number);
	enter_idle(queue, number);
	if (parent->waiting == 0 && parent->latest > parent->now)
		parent->now = parent->latest;
}

/* ---- the queue ---- */

static void
clear_queue(BrServeQueue *queue)
{
	for (int i = 0; i < queue->slots; i++)
		queue->entries[i].node = BR_SERVE_NONE;
	for (uint32_t i = 0; i <= queue->mask; i++)
		queue->buckets[i] = BR_SERVE_NONE;
	clear_node(&queue->nodes[BR_SERVE_ROOT], BR_SERVE_NONE, 0);
	for (int i = 1; i < queue->n_nodes; i++)
	{
		clear_node(&queue->nodes[i], BR_SERVE_NONE, 0);
		queue->nodes[i].chain = i + 1 < queue->n_nodes ? i + 1 : BR_SERVE_NONE;
	}
	queue->free_node = 1;
	queue->first_idle = BR_SERVE_NONE;
	queue->last_idle = BR_SERVE_NONE;
}

BrStatus
br_serve_create(BrContext *context, int slots, BrServeQueue **queue)
{
	BrServeQueue *made;
	size_t buckets = 1;

	*queue = NULL;
	if (slots < 1 || slots > MAX_SLOTS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d slots, there must be 1 to %d.", slots,
							MAX_SLOTS);
	made = br_base_alloc_array(context, 1, sizeof(*made));
	if (made == NULL)
		return BR_ERR_MEMORY;
	made->allocator = context->allocator;
	made->slots = slots;
	made->n_nodes = NODES_PER_SLOT * slots + 1;
	while (buckets < (size_t) made->n_nodes)
		buckets *= 2;
	made->mask = (uint32_t) buckets - 1;
	made->entries = br_base_alloc_array(context, (size_t) slots, sizeof(BrServeEntry));
	made->nodes = br_base_alloc_array(context, (size_t) made->n_nodes, sizeof(BrServeNode));
	made->heap = br_base_alloc_array(context, (size_t) made->n_nodes, sizeof(int));
	made->buckets = br_base_alloc_array(context, buckets, sizeof(int));
	if (made->entries == NULL || made->nodes == NULL || made->heap == NULL || made->buckets == NULL)
	{
		br_serve_destroy(made);
		return BR_ERR_MEMORY;
	}
	clear_queue(made);
	*queue = made;
	return BR_OK;
}

void
br_serve_destroy(BrServeQueue *queue)
{
	BrAllocator allocator;

	if (queue == NULL)
		return;
	allocator = queue->allocator;
	allocator.free(allocator.arg, queue->entries);
	allocator.free(allocator.arg, queue->nodes);
	allocator.free(allocator.arg, queue->heap);
	allocator.free(allocator.arg, queue->buckets);
	allocator.free(allocator.arg, queue);
}

int
br_serve_waiting(const BrServeQueue *queue)
{
	return queue->nodes[BR_SERVE_ROOT].waiting;
}

BrStatus
br_serve_post(BrServeQueue *queue, BrContext *context, const BrServeRequest *request)
{
	BrServeEntry *entry;
	BrServeNode *connection;
	int database;

	if (request->slot < 0 || request->slot >= queue->slots)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Slot %d, there are 0 to %d.", request->slot,
							queue->slots - 1);
	entry = &queue->entries[request->slot];
	if (entry->node != BR_SERVE_NONE)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Slot %d waits already.", request->slot);
	if (request->texts < 1 || request->tokens < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d texts of %d tokens, there must be at least one of each.",
							request->texts, request->tokens);

	database = wake_child(queue, BR_SERVE_ROOT, request->database);
	entry->request = *request;
	entry->node = wake_child(queue, database, request->connection);
	connection = &queue->nodes[entry->node];
	entry->next = BR_SERVE_NONE;
	entry->previous = connection->last_request;
	if (entry->previous == BR_SERVE_NONE)
		connection->first_request = request->slot;
	else
		queue->entries[entry->previous].next = request->slot;
	connection->last_request = request->slot;
	connection->waiting++;
	queue->nodes[database].waiting++;
	queue->nodes[BR_SERVE_ROOT].waiting++;
	return BR_OK;
}

void
br_serve_remove(BrServeQueue *queue, int slot)
{
	BrServeEntry *entry = &queue->entries[slot];
	BrServeNode *connection = &queue->nodes[entry->node];
	int number = entry->node;

	if (entry->previous == BR_SERVE_NONE)
		connection->first_request = entry->next;
	else
		queue->entries[entry->previous].next = entry->next;
	if (entry->next == BR_SERVE_NONE)
		connection->last_request = entry->previous;
	else
		queue->entries[entry->next].previous = entry->previous;
	entry->node = BR_SERVE_NONE;

	for (int above = number; above != BR_SERVE_NONE; above = queue->nodes[above].parent)
		queue->nodes[above].waiting--;
	for (; number != BR_SERVE_ROOT && queue->nodes[number].waiting == 0;
		 number = queue->nodes[number].parent)
		rest_node(queue, number);
}

bool
br_serve_withdraw(BrServeQueue *queue, int slot)
{
	if (slot < 0 || slot >= queue->slots || queue->entries[slot].node == BR_SERVE_NONE)
		return false;
	br_serve_remove(queue, slot);
	return true;
}
