/*
 * am.h
 *	  The index access method bundle_ann as the rest of src/pg sees it.
 */
#ifndef BR_AM_H
#define BR_AM_H

#include "pg/br_pg.h"

#include "utils/relcache.h"

/* settings.c: of scans */

#define BR_AM_LEAST_RECALL .5
#define BR_AM_MOST_RECALL .999
#define BR_AM_MAX_LISTS 65536

typedef enum BrAmScanOrder
{
	BR_AM_SCAN_STRICT,
	BR_AM_SCAN_RELAXED
} BrAmScanOrder;

extern int br_am_scan_order;	 /* BrAmScanOrder */
extern int br_am_horizon;		 /* rows that the nearest lists alone may hand out */
extern int br_am_probes;		 /* lists that a scan begins with; 0: by the recall target */
extern double br_am_recall;		 /* target of scans; 0: the index's own */
extern int br_am_full_scan_rows; /* smaller indexes begin with all lists */

extern void br_am_define_settings(void);

/* handler.c: WITH (...), once when the module is loaded */
extern void br_am_define_options(void);

/*
 * Embeds the texts that wait in an index and moves them into its lists;
 * returns how many. Nothing for an index of embeddings. Cancellable; what is
 * done by then stays.
 */
extern int64 br_am_flush(Relation index);

/* Whether the model of an index on text is still there; true for others, and without rows. */
extern bool br_am_has_model(Relation index);

/* Whether a relation is an index of this access method. */
extern bool br_am_is_index(Relation relation);

#endif /* BR_AM_H */
