/*
 * complete.h
 *	  What is missing from a set of items.
 */
#ifndef BR_COMPLETE_H
#define BR_COMPLETE_H

#include "pg/catalog/catalog.h"

typedef struct BrPgCompletion
{
	char *item_id;
	double score; /* the ranker's probability, or mean affinity to the set; in (0, 1] */
} BrPgCompletion;

/*
 * The k active items that go best with those given and are none of them, best
 * first, as far as the caller may see them and no rule bans them. Without a ranker
 * in service only such as have anything to do with the set. SPI must be connected.
 * Raises 22023 for no items or too many, 42704 for one that the catalog does not
 * have.
 */
extern BrPgCompletion *br_pg_complete(const BrPgCatalog *catalog, char **item_ids, int n_ids, int k,
									  int *n);

#endif /* BR_COMPLETE_H */
