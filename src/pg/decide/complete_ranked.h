/*
 * complete_ranked.h
 *	  What is missing from a set of items, as the ranker in service sees it.
 */
#ifndef BR_COMPLETE_RANKED_H
#define BR_COMPLETE_RANKED_H

#include "pg/catalog/catalog.h"
#include "pg/embedding.h"
#include "pg/learn/serving.h"

/* An item of the set. */
typedef struct BrPgGiven
{
	int32 item;
	int64 baskets;
	BrEmbedding *embedding; /* NULL: none */
} BrPgGiven;

typedef struct BrPgScoredItem
{
	int32 item;
	double score;
} BrPgScoredItem;

/*
 * Every active item that is none of the given ones, in no order, and the
 * probability that the ranker gives it in their company, in (0, 1); palloc'd, *n
 * of them. A ranker must serve. SPI must be connected.
 */
extern BrPgScoredItem *br_pg_complete_ranked(const BrPgCatalog *catalog, const BrPgServing *serving,
											 const BrPgGiven *given, int n_given, int *n);

#endif /* BR_COMPLETE_RANKED_H */
