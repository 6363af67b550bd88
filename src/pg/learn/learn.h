/*
 * learn.h
 *	  The door of what is learned from a catalog's events: fitting it, versions
 *	  of it, and what those in service say.
 *
 * A version is one learner's product: lists of companions, vectors, sets, or a
 * few weights. It is immutable; which one of a kind is in service changes in
 * one transaction. Learners run in core over matrices (data.h); what they are and
 * what parameters they take stands in kinds.c. SPI must be connected throughout.
 */
#ifndef BR_PG_LEARN_H
#define BR_PG_LEARN_H

#include "pg/br_pg.h"

#include "utils/jsonb.h"

#include "pg/catalog/catalog.h"

/* Versions of a kind that are kept, the one in service beside them. */
#define BR_PG_KEPT_VERSIONS 3

/* What fit made. */
typedef struct BrPgFitted
{
	const char *kind;
	int32 version;
	double seconds;
	Datum figures; /* jsonb */
} BrPgFitted;

/*
 * Fits a kind, or with NULL each that the data support, and puts it into
 * service; palloc'd, *n of them. parameters: NULL for defaults. Raises 42704,
 * 42501, 22023 for kinds and parameters, and 55000 where the data do not support
 * the kind that was asked for.
 */
extern BrPgFitted *br_pg_fit(const char *catalog, const char *kind, Jsonb *parameters, int *n);

/* What fit will do, checked before it is queued: raises as above. */
extern void br_pg_fit_check(const char *kind, Jsonb *parameters);

/*
 * Queues a fit of a catalog that was fitted before, once new events are
 * bundle_rec.refit_share of those that were counted by then, unless one waits
 * already: learning costs in proportion to what is new. The caller has the
 * owner's rights.
 */
extern void br_pg_refit_when_stale(const BrPgCatalog *catalog);

/* Both raise 42704 for a version that the catalog has not, and 42501. */
extern void br_pg_serve_version(const char *catalog, int32 version);
extern void br_pg_drop_version(const char *catalog, int32 version);

/* progress.c: how far a fit is, seen by all sessions */

#define BR_PG_FIT_PROGRESS ((ProgressCommandType) 8601)

enum
{
	BR_PG_FIT_CATALOG,
	BR_PG_FIT_KIND, /* number of br_pg_fit_kind_name */
	BR_PG_FIT_DONE,
	BR_PG_FIT_TOTAL
};

/* NULL: no such kind */
extern const char *br_pg_fit_kind_name(int number);

#endif /* BR_PG_LEARN_H */
