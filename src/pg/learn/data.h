/*
 * data.h
 *	  What a catalog's events say, as matrices over dense numbers.
 *
 * The events that refresh has counted are read once, and added up per user,
 * basket and thing. Learners then see all of them or, where something is to be
 * tested, those that a mask leaves: nothing of a test reaches a matrix.
 */
#ifndef BR_PG_LEARN_DATA_H
#define BR_PG_LEARN_DATA_H

#include "pg/br_pg.h"

#include "core/learn/br_learn.h"
#include "pg/catalog/catalog.h"

/* An item that the source holds. */
typedef struct BrPgLearnItem
{
	int32 number;	/* the dense number in item_<n> */
	int32 category; /* by first appearance; -1: none */
	bool active;
	double price; /* NaN: unknown */
	double age;	  /* days; INFINITY: unknown */
	char *item_id;
	char *text; /* NULL: none, or not read */
} BrPgLearnItem;

/* What one user did with one thing in one basket. */
typedef struct BrPgLearnEvent
{
	int32 user;		/* -1: nobody's */
	int32 basket;	/* -1: none */
	int32 item;		/* -1: it was a bundle */
	int32 bundle;	/* -1: it was an item */
	float bought;	/* quantity bought less returned; above 0: it was kept */
	float strength; /* sum of what the source says that events of their kinds weigh */
	double at;		/* seconds since 1970 of the last one; -INFINITY: unknown */
} BrPgLearnEvent;

typedef struct BrPgLearnData
{
	const BrPgCatalog *catalog;
	MemoryContext memory; /* of all this */
	int n_items;
	BrPgLearnItem *items; /* by ascending number */
	int n_categories;
	char **categories;
	int n_users;
	char **users;
	int n_baskets;
	char **baskets; /* ids as their sources give them */
	int n_bundles;
	int32 *bundles; /* dense numbers in bundle_<n>, ascending */
	char **bundle_ids;
	BrSparse bundle_items; /* (n_bundles, n_items): quantities */
	int64 counted;		   /* events that refresh had ever counted, or fewer than are here */
	int64 n_events;
	BrPgLearnEvent *events; /* of items and bundles that are there */
	double now;				/* seconds since 1970 */
	int dims;
	float *embeddings; /* (n_items, dims): of unit length, or all 0; NULL: not read */
} BrPgLearnData;

/* What to read besides events. */
enum
{
	BR_PG_LEARN_TEXTS = 1,
	BR_PG_LEARN_EMBEDDINGS = 2
};

/*
 * Reads a catalog, into a context below the current one; `what` is of the bits
 * above. The caller has the owner's rights. SPI must be connected.
 */
extern BrPgLearnData *br_pg_learn_read(const BrPgCatalog *catalog, int what);

/* The same without events: items and bundles alone. */
extern BrPgLearnData *br_pg_learn_read_items(const BrPgCatalog *catalog, int what);
extern void br_pg_learn_data_free(BrPgLearnData *data);

/* Index of an item or bundle by its dense number; -1: not among them. */
extern int br_pg_learn_item_index(const BrPgLearnData *data, int32 number);
extern int br_pg_learn_bundle_index(const BrPgLearnData *data, int32 number);

/*
 * Matrices of the events whose place in `use` is true (NULL: all), palloc'd in
 * the current context. baskets: (n_baskets, n_items), 1 where a basket holds an
 * item at the end, bundles taken apart. user_items: (n_users, n_items), how much
 * a user wants an item, bundles taken apart. user_bundles: (n_users, n_bundles),
 * 1 where he keeps it.
 */
extern BrSparse br_pg_learn_baskets(const BrPgLearnData *data, const bool *use);
extern BrSparse br_pg_learn_user_items(const BrPgLearnData *data, const bool *use);
extern BrSparse br_pg_learn_user_bundles(const BrPgLearnData *data, const bool *use);

#endif /* BR_PG_LEARN_DATA_H */
