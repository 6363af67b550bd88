/*
 * detect.h
 *	  Bundles out of what a catalog has: those within a session, and those that
 *	  its baskets suggest.
 *
 * Both show only what the caller may see. SPI must be connected.
 */
#ifndef BR_PG_LEARN_DETECT_H
#define BR_PG_LEARN_DETECT_H

#include "pg/catalog/catalog.h"

/* A bundle that was found. */
typedef struct BrPgFound
{
	int n;
	char **item_ids;
	double score;
} BrPgFound;

/*
 * The bundles within a session, the best first, by the detector in service or
 * else by fixed weights; items in the order of the session. None of fewer than two
 * different items. Raises 22023 for more than BR_BUNDLE_MAX_SESSION, 42704 for one
 * that the catalog does not have.
 */
extern BrPgFound *br_pg_detect_bundles(const BrPgCatalog *catalog, char **item_ids, int n_ids,
									   int *n);

/* A set of items that stand in many baskets together. */
typedef struct BrPgMined
{
	int n;
	char **item_ids;   /* in the order in which the catalog met them */
	char **categories; /* (n), NULL: none */
	char *name;		   /* NULL: nothing in common */
	int64 support;
	double expected;
	double lift;
	double price; /* NaN: unknown */
} BrPgMined;

/* What is asked for. */
typedef struct BrPgMiningRequest
{
	int k;
	int64 min_support;
	int min_size;
	int max_size;
} BrPgMiningRequest;

/* As the SQL function says; *n of them. Raises 55000 where no itemsets serve. */
extern BrPgMined *br_pg_mine_bundles(const BrPgCatalog *catalog, const BrPgMiningRequest *request,
									 int *n);

/* names.c: gives each its name. */
extern void br_pg_name_bundles(const BrPgCatalog *catalog, BrPgMined *mined, int n);

/* source_texts.c */

/*
 * Texts of n items as the caller sees them in the source, its text columns joined
 * by blanks, "" where there is none; (n), palloc'd.
 */
extern char **br_pg_source_texts(const BrPgCatalog *catalog, char **item_ids, int n);

#endif /* BR_PG_LEARN_DETECT_H */
