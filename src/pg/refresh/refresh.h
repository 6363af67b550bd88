/*
 * refresh.h
 *	  Bringing what is known of a catalog up to date.
 */
#ifndef BR_REFRESH_H
#define BR_REFRESH_H

#include "pg/br_pg.h"

/*
 * Everything that refresh(catalog, max_texts) does; at most so many texts are
 * embedded. SPI must be connected. Raises 42704, 42501.
 */
extern void br_pg_catalog_refresh(const char *name, int64 max_texts);

#endif /* BR_REFRESH_H */
