/*
 * batch.c
 *	  The next batch: planned first, and taken only where it is due.
 *
 * A plan works on copies of the tags, so that one which is not due yet leaves
 * nothing behind. Who has requests of the batch's model stands in a heap of his
 * parent, the one whose turn it is on top; taking a request of so many tokens
 * moves the tags of its connection and of its database on by as many.
 *
 * The virtual time below a parent follows the tags at which requests were
 * taken, but never passes anybody who waits: those of another model were passed
 * over, and whoever comes now must not start before them, nor long after.
 */
#include "core/serve/serve_int.h"

/* A batch on its way. */
typedef struct Plan
{
	uint32_t model;
	int *slots;
	int n;
	int64_t texts;
	int64_t tokens;
	uint64_t stamp;
	int64_t oldest; /* when its oldest request was posted */
	bool full;
} Plan;

/* ---- heaps of children ---- */

static bool
planned_before(const BrServeQueue *queue, int left, int right)
{
	const BrServeNode *one = &queue->nodes[left];
	const BrServeNode *other = &queue->nodes[right];

	return br_serve_before(one->planned_tag, one->planned_stamp, other->planned_tag,
						   other->planned_stamp);
}

/* Moves down what stands at the top and may be out of its order. */
static void
sink_from(BrServeQueue *queue, int *heap, int size, int at)
{
	int node = heap[at];

	for (;;)
	{
		int child = 2 * at + 1;

		if (child + 1 < size && planned_before(queue, heap[child + 1], heap[child]))
			child++;
		if (child >= size || !planned_before(queue, heap[child], node))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = node;
}

static void
make_heap(BrServeQueue *queue, const BrServeNode *parent)
{
	for (int i = parent->heap_size / 2 - 1; i >= 0; i--)
		sink_from(queue, queue->heap + parent->heap, parent->heap_size, i);
}

/* Puts the top where it belongs now, or out of the heap where it has nothing more. */
static void
settle_top(BrServeQueue *queue, BrServeNode *parent, bool more)
{
	int *heap = queue->heap + parent->heap;

	if (!more)
		heap[0] = heap[--parent->heap_size];
	if (parent->heap_size > 0)
		sink_from(queue, heap, parent->heap_size, 0);
}

static int
top_of(const BrServeQueue *queue, int parent)
{
	return queue->heap[queue->nodes[parent].heap];
}

/* ---- planning ---- */

/* Of those who wait below a parent, the one whose turn it is, whatever the model. */
static int
next_child(const BrServeQueue *queue, int parent)
{
	int best = queue->nodes[parent].first_child;

	for (int i = queue->nodes[best].next; i != BR_SERVE_NONE; i = queue->nodes[i].next)
		if (br_serve_before(queue->nodes[i].tag, queue->nodes[i].stamp, queue->nodes[best].tag,
							queue->nodes[best].stamp))
			best = i;
	return best;
}

/* The first request of the model from slot on. */
static int
find_request(const BrServeQueue *queue, int slot, uint32_t model)
{
	while (slot != BR_SERVE_NONE && queue->entries[slot].request.model != model)
		slot = queue->entries[slot].next;
	return slot;
}

/* Makes the heap of a parent of those who have something for the batch; *heap: its place, then its end. */
static void
gather(BrServeQueue *queue, const Plan *plan, int parent, int *heap)
{
	BrServeNode *above = &queue->nodes[parent];
	int end = *heap;

	for (int i = above->first_child; i != BR_SERVE_NONE; i = queue->nodes[i].next)
	{
		BrServeNode *node = &queue->nodes[i];

		node->planned_tag = node->tag;
		node->planned_stamp = node->stamp;
		node->planned_request = find_request(queue, node->first_request, plan->model);
		if (node->planned_request != BR_SERVE_NONE || node->heap_size > 0)
			queue->heap[end++] = i;
	}
	above->heap = *heap;
	above->heap_size = end - *heap;
	above->started = above->now;
	*heap = end;
	make_heap(queue, above);
}

static void
prepare(BrServeQueue *queue, Plan *plan)
{
	int heap = 0;

	for (int i = queue->nodes[BR_SERVE_ROOT].first_child; i != BR_SERVE_NONE;
		 i = queue->nodes[i].next)
		gather(queue, plan, i, &heap);
	gather(queue, plan, BR_SERVE_ROOT, &heap);
}

/* Moves a node on by what was taken of it. */
static void
charge(BrServeQueue *queue, Plan *plan, int number, int tokens, bool more)
{
	BrServeNode *node = &queue->nodes[number];
	BrServeNode *parent = &queue->nodes[node->parent];

	if (node->planned_tag > parent->started)
		parent->started = node->planned_tag;
	node->planned_tag += tokens;
	node->planned_stamp = ++plan->stamp;
	settle_top(queue, parent, more);
}

static void
fill_plan(BrServeQueue *queue, const BrServeLimits *limits, Plan *plan)
{
	while (queue->nodes[BR_SERVE_ROOT].heap_size > 0)
	{
		int database = top_of(queue, BR_SERVE_ROOT);
		int connection = top_of(queue, database);
		BrServeNode *node = &queue->nodes[connection];
		int slot = node->planned_request;
		const BrServeRequest *request = &queue->entries[slot].request;

		if (plan->n > 0 &&
			(plan->tokens + request->tokens > limits->tokens ||
			 plan->texts + request->texts > limits->texts))
		{
			plan->full = true;
			return;
		}
		if (plan->n == 0 || request->posted < plan->oldest)
			plan->oldest = request->posted;
		plan->slots[plan->n++] = slot;
		plan->tokens += request->tokens;
		plan->texts += request->texts;
		node->planned_request = find_request(queue, queue->entries[slot].next, plan->model);
		charge(queue, plan, connection, request->tokens, node->planned_request != BR_SERVE_NONE);
		charge(queue, plan, database, request->tokens, queue->nodes[database].heap_size > 0);
	}
	plan->full = plan->tokens >= limits->tokens || plan->texts >= limits->texts;
}

/* ---- taking ---- */

/* The tags of those of whom something is taken, and how late any below their parents is. */
static void
charge_taken(BrServeQueue *queue, const Plan *plan)
{
	for (int i = 0; i < plan->n; i++)
		for (int number = queue->entries[plan->slots[i]].node; number != BR_SERVE_ROOT;
			 number = queue->nodes[number].parent)
		{
			BrServeNode *node = &queue->nodes[number];
			BrServeNode *parent = &queue->nodes[node->parent];

			node->tag = node->planned_tag;
			node->stamp = node->planned_stamp;
			if (node->tag > parent->latest)
				parent->latest = node->tag;
		}
	queue->stamp = plan->stamp;
}

/* Moves the virtual time below a parent on to where the batch began to take last. */
static void
move_time(BrServeQueue *queue, int parent)
{
	BrServeNode *above = &queue->nodes[parent];
	int64_t now = above->started;

	for (int i = above->first_child; i != BR_SERVE_NONE; i = queue->nodes[i].next)
		if (queue->nodes[i].tag < now)
			now = queue->nodes[i].tag;
	if (now > above->now)
		above->now = now;
}

static void
take_plan(BrServeQueue *queue, const Plan *plan)
{
	charge_taken(queue, plan);
	for (int i = 0; i < plan->n; i++)
		br_serve_remove(queue, plan->slots[i]);
	for (int i = queue->nodes[BR_SERVE_ROOT].first_child; i != BR_SERVE_NONE;
		 i = queue->nodes[i].next)
		move_time(queue, i);
	move_time(queue, BR_SERVE_ROOT);
}

int
br_serve_take(BrServeQueue *queue, const BrServeLimits *limits, int64_t now, bool idle, int *slots,
			  int64_t *wait)
{
	Plan plan = {.slots = slots, .stamp = queue->stamp};
	int first;

	*wait = BR_SERVE_NONE;
	if (br_serve_waiting(queue) == 0)
		return 0;
	first = next_child(queue, next_child(queue, BR_SERVE_ROOT));
	plan.model = queue->entries[queue->nodes[first].first_request].request.model;
	prepare(queue, &plan);
	fill_plan(queue, limits, &plan);
	if (!idle && !plan.full && now - plan.oldest < limits->linger)
	{
		*wait = limits->linger - (now - plan.oldest);
		return 0;
	}
	*wait = 0;
	take_plan(queue, &plan);
	return plan.n;
}
