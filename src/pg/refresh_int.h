/*
 * refresh_int.h
 *	  What the files of refresh share.
 */
#ifndef BR_REFRESH_INT_H
#define BR_REFRESH_INT_H

#include "pg/catalog_int.h"

/*
 * refresh_embed.c: embeds the texts that wait and brings stored neighbours up
 * to date. The catalog has a model and its state is locked; SPI must be
 * connected.
 */
extern void br_pg_refresh_embeddings(const BrPgCatalog *catalog);

#endif /* BR_REFRESH_INT_H */
