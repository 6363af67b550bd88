/*
 * itemsets_int.h
 *	  What the files about frequent sets share: trees of baskets, and the sets kept.
 *
 * Items are known by their place in an order, 0 being nearest to the root.
 */
#ifndef ITEMSETS_INT_H
#define ITEMSETS_INT_H

#include "core/learn/growing_int.h"
#include "core/learn/learn_int.h"

/* What has been asked for, and what it took so far. */
typedef struct BrBudget
{
	BrContext *context;
	size_t limit; /* bytes; 0: none */
	size_t used;
	int64_t steps; /* since it was asked whether to stop */
} BrBudget;

/* As br_learn_grow, within the limit. */
extern BrStatus br_learn_budget_grow(BrBudget *budget, BrGrowing *array, size_t more, size_t size);
/* Zeroed elements within the limit; NULL: *status says why. */
extern void *br_learn_budget_array(BrBudget *budget, size_t n, size_t size, BrStatus *status);
extern void br_learn_budget_free(BrBudget *budget, BrGrowing *array, size_t size);
/* Counts steps of about a nanosecond. */
extern BrStatus br_learn_budget_step(BrBudget *budget, int64_t steps);

typedef struct BrTreeNode
{
	int32_t place;
	int32_t parent; /* -1: the root's */
	int32_t next;	/* node of the same place; -1: none */
	int64_t count;	/* baskets that run through it */
} BrTreeNode;

/*
 * Baskets as paths from the root, in ascending order of places; equal beginnings
 * are stored once. `first` and `support` are 0 but for the places that are present.
 */
typedef struct BrTree
{
	BrGrowing nodes;   /* BrTreeNode */
	BrGrowing slots;   /* int32_t: children by parent and place; -1: free */
	size_t mask;	   /* of the slots in use */
	BrGrowing present; /* int32_t: places, ascending once chosen */
	int places;
	int32_t *first;	  /* (places): 1 + the latest node of each */
	int64_t *support; /* (places): baskets */
} BrTree;

extern BrStatus br_learn_tree_init(BrBudget *budget, int places, BrTree *tree);
extern void br_learn_tree_free(BrBudget *budget, BrTree *tree);

/* Counts `count` baskets with this place, before there are nodes. */
extern BrStatus br_learn_tree_count(BrBudget *budget, BrTree *tree, int32_t place, int64_t count);
/* Prepares for at most `nodes` nodes; the present places stay. */
extern BrStatus br_learn_tree_prepare(BrBudget *budget, BrTree *tree, int64_t nodes);
/* Puts a path of ascending places in. */
extern BrStatus br_learn_tree_insert(BrBudget *budget, BrTree *tree, const int32_t *path, int n,
									 int64_t count);
extern void br_learn_tree_clear(BrTree *tree);

/* The sets kept so far. */
typedef enum BrKeeping
{
	BR_KEEP_ALL,	/* as long as the limit is not reached */
	BR_KEEP_COUNTS, /* it was: what support do those within the limit have? */
	BR_KEEP_FIRST	/* all of more support, and of those with just it the first */
} BrKeeping;

typedef struct BrKept
{
	BrBudget *budget;
	BrKeeping keeping;
	int64_t limit;
	int64_t threshold; /* sets of less support are of no use any more */
	int64_t edge;	   /* KEEP_FIRST: support of the last within the limit */
	int64_t at_edge;   /* of them, how many are still to be kept */
	BrGrowing items;   /* int32_t */
	BrGrowing ends;	   /* int64_t: of each set, in items */
	BrGrowing support; /* int64_t: of each set; KEEP_COUNTS: a heap, the least on top */
} BrKept;

extern BrStatus br_learn_kept_add(BrKept *kept, const int32_t *items, int size, int64_t support);
/* After KEEP_COUNTS: makes ready for KEEP_FIRST, for which sets come in order of items. */
extern void br_learn_kept_again(BrKept *kept);
extern BrStatus br_learn_kept_sorted(BrKept *kept, BrItemsets *sets);
extern void br_learn_kept_free(BrKept *kept);

#endif /* ITEMSETS_INT_H */
