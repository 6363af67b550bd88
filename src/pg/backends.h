/*
 * backends.h
 *	  The backends there are, for the function that lists them.
 */
#ifndef BR_BACKENDS_H
#define BR_BACKENDS_H

#include "pg/br_pg.h"

#define BR_PG_N_BACKENDS 3

typedef struct BrPgBackendStatus
{
	const char *name;
	const BrBackend *table; /* NULL where not available */
	bool in_use;			/* what the setting bundle_rec.backend leads to now */
	const char *reason;		/* why not available; NULL where it is */
} BrPgBackendStatus;

/* Tries to load what has not been tried. Strings live as long as the connection. */
extern void br_pg_list_backends(BrPgBackendStatus backends[BR_PG_N_BACKENDS]);

/* Whether a backend computes in a precision here. */
extern bool br_pg_computes_in(const BrBackend *backend, BrPrecision precision);

#endif /* BR_BACKENDS_H */
