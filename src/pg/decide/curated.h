/*
 * curated.h
 *	  Curated bundles on the way to a decision: which of them to look at, what
 *	  their rows say, and who may see them.
 */
#ifndef BR_CURATED_H
#define BR_CURATED_H

#include "pg/decide/decide.h"

#include "utils/hsearch.h"

/* curated_source.c: the tables that bundles come from, and who may see them */

typedef struct BrPgBundleTable
{
	int32 source;
	Oid table;
	char *bundle_id; /* columns */
	char *item_id;
	bool priced;
	bool row_security; /* it applies to the caller */
} BrPgBundleTable;

typedef struct BrPgBundleTables
{
	int n;
	BrPgBundleTable *tables;
	bool filtered; /* some bundles may be invisible to the caller */
} BrPgBundleTables;

/*
 * Those of a catalog's sources of bundles that are still there. Raises 55000
 * where the catalog never had one, 42501 where the caller may not SELECT from
 * one of them.
 */
extern BrPgBundleTables *br_pg_bundle_tables(const BrPgCatalog *catalog);

/* A row of bundle_item_<n>. */
typedef struct BrPgBundleRow
{
	const char *bundle_id;
	char *item_id;
	int32 source;
} BrPgBundleRow;

/*
 * The same for a caller who need not get curated bundles: NULL where the catalog
 * has none, or he may not SELECT from all of their tables.
 */
extern BrPgBundleTables *br_pg_bundle_tables_readable(const BrPgCatalog *catalog);

/*
 * Whether the caller can see each of n rows where they came from, and the
 * item in the source of the items. Rows of tables that are not there count as
 * seen.
 */
extern void br_pg_bundle_rows_visible(const BrPgCatalog *catalog, const BrPgBundleTables *tables,
									  const BrPgBundleRow *rows, int n, bool *visible);

/*
 * Whether the caller may see a bundle that held these items when it was
 * offered. Raises 42501 as br_pg_bundle_tables does.
 */
extern bool br_pg_bundle_visible(const BrPgCatalog *catalog, const char *bundle_id, char **item_ids,
								 int n);

/*
 * Bundles in a pool: so many, or twice as many as are wanted, as far as a pool
 * goes. Reading them takes most of the time of a decision.
 */
#define BR_PG_CURATED_POOL 128

/* curated_find.c: numbers of bundles worth looking at */

/* What the user bought: numbers of whole bundles, and of items, those of the bundles included. */
typedef struct BrPgOwned
{
	HTAB *bundles;
	HTAB *items;
} BrPgOwned;

typedef struct BrPgCuratedLearned BrPgCuratedLearned; /* curated_learned.c */

extern BrPgOwned *br_pg_curated_owned(const BrPgDecision *decision);
extern bool br_pg_curated_owns(HTAB *numbers, int32 number);

/*
 * Bundles with evidence from the context, those that learners speak for, much
 * purchased ones and new ones, for a pool of `room`: up to `room` of each, the most
 * promising first, each once. learned: may be NULL. *all: there are no others.
 */
extern int32 *br_pg_curated_promising(const BrPgDecision *decision, HTAB *proposals,
									  BrPgCuratedLearned *learned, int room, int *n, bool *all);

/*
 * The n newest bundles below a number that the budget and the categories do not
 * rule out at a glance, newest first; fewer where there are no more.
 */
extern int32 *br_pg_curated_below(const BrPgDecision *decision, int32 number, int *n);

/* curated_read.c: what the rows of bundles say */

/* An item in a bundle. */
typedef struct BrPgMember
{
	int32 item; /* dense number; 0: the catalog does not know it */
	char *item_id;
	char *category;
	double quantity;
	double bundle_price; /* as this row says; NaN: it does not */
	int32 source;
	bool live;	  /* it is in the source of the items, and active */
	double price; /* in millionths, like cost; NaN: unknown */
	double cost;
	double stock; /* INFINITY: not tracked */
	double age;	  /* in days; INFINITY: unknown */
	int64 baskets;
} BrPgMember;

typedef struct BrPgDraft
{
	int32 bundle;
	char *bundle_id;
	int64 purchases;
	int size;
	BrPgMember *members; /* by item number, unknown ones first */
} BrPgDraft;

/* The bundles of these numbers that have items, in the order of the numbers. */
extern BrPgDraft *br_pg_curated_read(const BrPgCatalog *catalog, const int32 *numbers, int n,
									 int *n_drafts);

/* curated.c: leaves the bundles of which the caller can see every row; returns how many */
extern int br_pg_curated_keep_visible(const BrPgCatalog *catalog, const BrPgBundleTables *tables,
									  BrPgDraft *drafts, int n);

/* Whether all of it is there and active, and its rows agree about its price. */
extern bool br_pg_curated_is_whole(const BrPgBundleTables *tables, const BrPgDraft *draft);

/* How often the most purchased bundle was bought, 0 where none was. */
extern int64 br_pg_curated_most_purchases(const BrPgCatalog *catalog);

/* A bundle that may be offered, and its money in millionths; NaN: unknown. */
typedef struct BrPgOffer
{
	BrPgDraft draft;
	double list_price;
	double price;
	double margin;
} BrPgOffer;

/*
 * curated_pool.c: items, curated and pool of the decision from n offers, strongest
 * first. learned: may be NULL.
 */
extern void br_pg_curated_pool(BrPgDecision *decision, HTAB *proposals, BrPgCuratedLearned *learned,
							   const BrPgOffer *offers, int n);

#endif /* BR_CURATED_H */
