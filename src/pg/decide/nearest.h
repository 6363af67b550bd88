/*
 * nearest.h
 *	  Nearest items of a catalog by embedding.
 */
#ifndef BR_NEAREST_H
#define BR_NEAREST_H

#include "pg/br_pg.h"

#include "core/ann/br_ann.h"
#include "pg/catalog/catalog.h"
#include "pg/embedding.h"

/* One active item; embedding: NULL while it has none, gone after the call. */
typedef void (*BrPgScanned)(void *state, int32 item, const BrEmbedding *embedding);

/*
 * Calls scanned for every active item of a catalog, in bounded memory; what it
 * allocates in the current context goes with the batch. Can be cancelled. SPI
 * must be connected.
 */
extern void br_pg_scan_items(const BrPgCatalog *catalog, BrPgScanned scanned, void *state);

/* The ids of n items, in their order, palloc'd. SPI must be connected. */
extern char **br_pg_item_ids(const BrPgCatalog *catalog, const int32 *items, int n);

/*
 * The k active items of a catalog whose embeddings are nearest to `query`,
 * nearest first, ties to the smaller number; palloc'd, *n of them, at most k.
 * except: an item that is left out, 0 for none. Found through the index, which
 * may miss one in a thousand. Can be cancelled. SPI must be connected.
 */
extern BrNeighbour *br_pg_nearest(const BrPgCatalog *catalog, const BrEmbedding *query, int k,
								  int32 except, int *n);

/* The embedding of a text under the catalog's model. Raises 55000 where it has none. */
extern BrEmbedding *br_pg_nearest_embed(const BrPgCatalog *catalog, const char *text);

/*
 * The k active items of a catalog whose embeddings are nearest to a text under
 * the catalog's model, as br_pg_nearest does.
 * Raises 55000 where the catalog has no model.
 */
extern BrNeighbour *br_pg_nearest_to_text(const BrPgCatalog *catalog, const char *text, int k,
										  int *n);

#endif /* BR_NEAREST_H */
