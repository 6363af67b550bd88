/*
 * refresh_int.h
 *	  What the files of refresh share.
 */
#ifndef BR_REFRESH_INT_H
#define BR_REFRESH_INT_H

#include "pg/catalog/catalog_int.h"
#include "pg/embedding.h"
#include "pg/refresh/refresh.h"

/* matrix.c: embeddings on disk, row by row, for one refresh */

typedef struct BrPgMatrix BrPgMatrix;

extern BrPgMatrix *br_pg_matrix_create(int dims);
extern void br_pg_matrix_append(BrPgMatrix *matrix, int32 item, const uint16 *halves);
extern int br_pg_matrix_rows(const BrPgMatrix *matrix);
extern int32 br_pg_matrix_item(const BrPgMatrix *matrix, int row);
extern void br_pg_matrix_read(BrPgMatrix *matrix, int first, int n, uint16 *halves /* (n, dims) */);
extern void br_pg_matrix_free(BrPgMatrix *matrix);

/* neighbours.c: stored neighbours */

/*
 * Makes item_neighbour_<n> the exact nearest active items of every active item
 * that has an embedding. changed: embeddings made by this refresh, which
 * stand for what the table says, or with alone for all that there is; NULL
 * where there are none. SPI must be connected.
 */
extern void br_pg_neighbours_refresh(const BrPgCatalog *catalog, BrPgMatrix *changed, int dims,
									 bool alone);

/* refused.c: texts of which the model makes no embedding */

/* Refused texts on their way into the tables. */
typedef struct BrPgRefused
{
	MemoryContext memory;
	int n;
	int capacity;
	Datum *hashes;	/* (n) */
	Datum *reasons; /* (n) */
} BrPgRefused;

extern void br_pg_refused_init(BrPgRefused *refused);
extern void br_pg_refused_keep(BrPgRefused *refused, const uint8 *hash /* (32) */,
							   const char *reason);

/* embed.c */

/*
 * Embeds the texts that wait and brings stored neighbours up to date, and takes
 * a step towards the model that the catalog is moving to, within the budget of
 * work. Returns how many items got an embedding. The catalog has a model and its
 * state is locked; SPI must be connected.
 */
extern int64 br_pg_refresh_embeddings(BrPgCatalog *catalog, BrPgRefreshWork *work);

/* Whose texts are embedded, and by which model. */
typedef struct BrPgEmbedJob
{
	const BrPgCatalog *catalog;
	int32 model;
	bool shadow; /* into item_shadow_<n> rather than item_<n> */
} BrPgEmbedJob;

/* Embeddings that were made, and what they belong to. */
typedef struct BrPgFresh
{
	BrPgMatrix *matrix; /* NULL where no text waits */
	uint8 *hashes;		/* (rows, 32) of the text */
	uint8 *precisions;	/* (rows) class in which it was embedded */
	int capacity;
	int dims;
	BrPgRefused refused; /* what could not be embedded */
} BrPgFresh;

/* Embeds waiting texts, as many as the budget allows. */
extern void br_pg_refresh_embed(const BrPgEmbedJob *job, BrPgRefreshWork *work, BrPgFresh *fresh);

/*
 * Writes them where the item still has that text and no other transaction holds
 * its row, and sets aside the items whose text was refused.
 */
extern void br_pg_refresh_write(const BrPgEmbedJob *job, BrPgFresh *fresh, BrPgRefreshWork *work);
extern void br_pg_refresh_discard(BrPgFresh *fresh);

/* Components of a model's embeddings. */
extern int br_pg_refresh_dims(int32 model);

/* refused.c, once more */

/* Writes down which texts were refused and why; their items no longer wait, and have no embedding. */
extern void br_pg_refused_write(const BrPgEmbedJob *job, const BrPgRefused *refused,
								BrPgRefreshWork *work);

/* Forgets those that no item has any more, or that a former model refused. */
extern void br_pg_refused_forget(const BrPgCatalog *catalog);

/* One WARNING for the items that this refresh set aside, none where there were none. */
extern void br_pg_refused_warn(const BrPgCatalog *catalog, const BrPgRefreshWork *work);

/* texts.c: texts that were embedded before, from the source once more */

/*
 * Puts the texts of items into item_shadow_<n>, to be embedded, where that has
 * not their present text. *problem: a sentence where the source lacks columns,
 * otherwise NULL.
 */
extern void br_pg_texts_to_shadow(const BrPgCatalog *catalog, char **problem);

/*
 * Makes the texts wait again of items that have text but no embedding, and
 * nothing that would change that: they were not in the source when the catalog
 * moved to another model. The next refresh embeds them.
 */
extern void br_pg_texts_recover(const BrPgCatalog *catalog);

/* text_indexes.c */

/* Embeds the texts that wait in indexes of bundle_ann on the catalog's source. */
extern void br_pg_refresh_text_indexes(const BrPgCatalog *catalog);

/* move.c: to another model */

/*
 * Sets the model that serves the catalog, as it is now that its state is
 * locked; returns the model that it is moving to, 0 for none.
 */
extern int32 br_pg_move_models(BrPgCatalog *catalog);

/*
 * Embeds texts with the next model, within the budget. Once it has all of them
 * the catalog switches, neighbours included; returns whether it did, *changed
 * then being how many items have another embedding.
 */
extern bool br_pg_move_step(BrPgCatalog *catalog, int32 next, BrPgRefreshWork *work,
							int64 *changed);

#endif /* BR_REFRESH_INT_H */
