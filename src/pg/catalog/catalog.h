/*
 * catalog.h
 *	  Catalogs as the rest of src/pg sees them: a description by name, and the
 *	  two questions every answer asks: which items does this id name, and which
 *	  of these may the caller see.
 */
#ifndef BR_CATALOG_H
#define BR_CATALOG_H

#include "pg/br_pg.h"

typedef struct BrPgCatalog
{
	int32 number; /* the n of item_<n> */
	char *name;
	Oid items;	   /* the source table; may be gone: see br_pg_catalog_open */
	Oid owner;	   /* of the source table, and so of the catalog */
	char *item_id; /* columns of the source; NULL where the catalog has none */
	int n_text;
	char **text;
	char *price;
	char *cost;
	char *stock;
	char *category;
	char *active;
	char *created_at;
	int32 model; /* 0: none */
	double discount;
	/* from catalog_state */
	int64 baskets;
	double typical_price; /* NaN: unknown */
} BrPgCatalog;

/*
 * The catalog's description in the current memory context. SPI must be
 * connected. Raises 42704 with a hint where there is no such catalog, and
 * 42P01 where its source table was dropped.
 */
extern BrPgCatalog *br_pg_catalog_open(const char *name);

/*
 * The same for what only the owner may do, and must be able to do where the
 * source is gone: then owner is who owned it. Raises 42704, 42501.
 */
extern BrPgCatalog *br_pg_catalog_open_owned(const char *name);

/*
 * The same by number, as policies, decisions and triggers know it; NULL where
 * there is none, or its source is gone. Sees what the transaction itself wrote.
 */
extern BrPgCatalog *br_pg_catalog_find(int32 number);

/*
 * The description as it is now: whoever waited for the lock on a catalog's state
 * may have waited for alter_catalog. Raises 42704 where it was dropped.
 */
extern BrPgCatalog *br_pg_catalog_reopen(const BrPgCatalog *catalog);

/*
 * In an owner section: keeps drop_catalog waiting until the transaction ends.
 * For whoever adds rows that belong to a catalog. Raises 42704 where it was
 * dropped meanwhile.
 */
extern void br_pg_catalog_hold(int32 number);

/* The same, and waits for who refreshes, compares or alters the catalog; these wait then. */
extern void br_pg_catalog_lock(int32 number);

/*
 * In an owner section, at the end of a refresh: makes the index through which
 * items are found by their embedding, if it is missing, and drops those of models
 * that the catalog has left. Waits for nobody: what cannot be done now, the next
 * refresh does.
 */
extern void br_pg_catalog_index_embeddings(const BrPgCatalog *catalog);

/* Raises 42501 unless the current user may SELECT from the catalog's source. */
extern void br_pg_catalog_require_reader(const BrPgCatalog *catalog);

/*
 * Raises 42501, with the GRANT that is missing, unless the current user has the
 * rights of the catalog's owner or INSERT on a table of the catalog, such as
 * "decision". `to` says what for ("log decisions").
 */
extern void br_pg_catalog_require_insert(const BrPgCatalog *catalog, const char *table,
										 const char *to);

/* Raises 42501 unless the current user has the rights of the source's owner. */
extern void br_pg_catalog_require_owner(const BrPgCatalog *catalog);

/*
 * Writes down who owns the source now, and gives him the rights on the catalog's
 * tables, where ALTER TABLE or REASSIGN OWNED has passed it on since. The caller
 * has the owner's rights.
 */
extern void br_pg_catalog_follow_owner(const BrPgCatalog *catalog);

/*
 * Whether answers must be filtered through the source as the caller: row-level
 * security applies to the caller there, or it is a view or on a foreign server,
 * which may show him other rows than it shows its owner.
 */
extern bool br_pg_catalog_must_ask(const BrPgCatalog *catalog);

/*
 * Keeps of the n item ids those whose source rows the caller can see, by
 * querying the source as the caller under the active snapshot; visible[i] is
 * set for each. SPI must be connected.
 */
extern void br_pg_catalog_visible(const BrPgCatalog *catalog, char **item_ids, int n,
								  bool *visible);

/* Raises 42704: the catalog has no such item, or none that the caller may see. */
extern void br_pg_catalog_refuse_item(const BrPgCatalog *catalog, const char *item_id)
	pg_attribute_noreturn();

/* Raises 42704 for the first of the items whose source row the caller cannot see. */
extern void br_pg_catalog_require_visible(const BrPgCatalog *catalog, char **item_ids, int n);

/*
 * The rows of another source of the catalog's whose id is among n ids, as the
 * caller can see them under the active snapshot: id and another column, in
 * columns 1 and 2 of the SPI result. Returns how many.
 */
extern uint64 br_pg_catalog_select_visible(const BrPgCatalog *catalog, Oid source, const char *id,
										   const char *other, char **ids, int n);

/*
 * Ids of source rows that the caller can see, at most limit of them, the first in
 * the order of ids; asked and conditions as above.
 */
extern char **br_pg_catalog_list_visible(const BrPgCatalog *catalog, int limit, int *n);

/*
 * In an owner section: the tables choice_<n> and feedback_<n> of a policy that
 * has a number in place of a catalog, and their end.
 */
extern void br_pg_catalog_create_choices(int32 number, Oid owner);
extern void br_pg_catalog_drop_choices(int32 number);

/*
 * In an owner section: the table arm_<n> of such a policy, whose arms have so
 * many features, with an index that finds the largest inner product with them.
 */
extern void br_pg_catalog_create_arms(int32 number, int32 policy, int arm_features);

/*
 * A statement over the tables of one catalog: every @ in pattern becomes its
 * number, so that "item_@" names item_<n>. palloc'd.
 */
extern char *br_pg_catalog_sql(const char *pattern, int32 number);

#endif /* BR_CATALOG_H */
