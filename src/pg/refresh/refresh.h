/*
 * refresh.h
 *	  Bringing what is known of a catalog up to date.
 */
#ifndef BR_REFRESH_H
#define BR_REFRESH_H

#include "pg/br_pg.h"

/* What one refresh may do, and what it did. */
typedef struct BrPgRefreshWork
{
	int64 budget;		 /* texts that may still be embedded, with whichever model */
	int64 embedded;		 /* texts that were */
	int64 set_aside;	 /* items whose text no embedding can be made of */
	char *first_refusal; /* sentence about the first of those; NULL where there are none */
	double seconds;		 /* that embedding took */
} BrPgRefreshWork;

/*
 * Everything that refresh(catalog, max_texts) does, max_texts being the budget of
 * work. SPI must be connected. Raises 42704, 42501.
 */
extern void br_pg_catalog_refresh(const char *name, BrPgRefreshWork *work);

#endif /* BR_REFRESH_H */
