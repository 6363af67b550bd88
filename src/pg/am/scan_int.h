/*
 * scan_int.h
 *	  What the files of a scan share.
 *
 * A scan goes in rounds. Each reads the codes of some lists and keeps the
 * candidates with the smallest bounds; what it turned away lies at or above a
 * limit. Candidates are then looked at exactly, smallest bound first, and a row
 * is handed out once its value is not above any bound that is left, nor above
 * the limit. When the candidates are used up, the next round begins at the limit.
 */
#ifndef BR_SCAN_INT_H
#define BR_SCAN_INT_H

#include "pg/am/am_int.h"

#include "lib/pairingheap.h"

/* A row whose distance is known. */
typedef struct BrAmFound
{
	pairingheap_node node;
	double value; /* what the operator gives */
	float order;  /* the same as bounds are: comparable with them */
	ItemPointerData tid;
	uint16 slot;
	BlockNumber page; /* InvalidBlockNumber: a row that waits, whose text is remembered already */
	uint32 list;
} BrAmFound;

/* A list by its distance from the query. */
typedef struct BrAmPlaceInOrder
{
	float order;
	int list; /* in BrAmScan.lists */
} BrAmPlaceInOrder;

/*
 * The block of codes at the end of a list, as it was when the list was read. A
 * row added later may raise its width and so lower the bounds of the others
 * below where a later round begins: they are compared with the width of before.
 * The snapshot sees no row that was added later, unless it waited before.
 */
typedef struct BrAmEnd
{
	BlockNumber page; /* InvalidBlockNumber: not read yet */
	int first;		  /* slot of the block's first row */
	float width;
} BrAmEnd;

typedef struct BrAmScan
{
	Relation index;
	MemoryContext memory; /* of one run, from rescan to rescan */
	BrContext context;
	BrAmMeta meta;
	BrAmShape shape;
	bool text;

	/* the query */
	bool ordered;  /* false: all rows, in no order */
	bool nothing;  /* the index is empty */
	uint16 *query; /* (dims) */
	double squared_norm;
	float factor; /* by which the rotated query is longer than the query */
	BrCodeQuery *codes;
	bool deep; /* the second stage, or a small index, which begins with it */

	/* lists */
	BrAmList *lists; /* that count */
	int n_lists;
	BrAmEnd *ends;					/* (n_lists) */
	struct BrAmPlaceInOrder *order; /* (n_lists) nearest first */
	uint32 generation;				/* of the directory, when it was read */
	BlockNumber blocks;				/* of the index: no chain is longer */

	/* the round */
	int round;	 /* 0: none was begun */
	int visited; /* lists that it reads */
	float from;	 /* bounds below were dealt with in earlier rounds */
	float limit; /* bounds at or above wait for the next one; infinity: none do */
	BrCandidates *candidates;
	int keep;
	bool from_disk; /* the last vectors were not in memory: it pays to ask for pages early */
	pairingheap *found;

	struct tids_hash *seen; /* rows that were found, or that an unordered scan returned */

	/* what was handed out */
	int64 n_returned;
	double last_value;

	/* without an order: where it stands */
	int list;
	BlockNumber block;
	ItemPointer tids; /* (per_posting) of the page read last */
	int n_tids;
	int tid;
} BrAmScan;

/* Deviations of the bounds of the second stage: one row in 700 fails them, and fewer lose their place. */
#define BR_AM_DEEP_EPSILON 3.0

/* ---- scan.c ---- */

/* Makes the tables of the query anew, with bounds of so many deviations. */
extern void br_am_scan_prepare_codes(BrAmScan *scan, double epsilon);

/* Whether a row was noted before. */
extern bool br_am_scan_has_seen(const BrAmScan *scan, ItemPointerData tid);

/* Notes a row; false: it was noted before. */
extern bool br_am_scan_see(BrAmScan *scan, ItemPointerData tid);

/* ---- scan_round.c ---- */

/* Reads the directory anew; lists are those that count. */
extern void br_am_scan_lists(BrAmScan *scan);

/*
 * The next round: fills candidates and sets limit. Rounds of the first stage
 * read the nearest lists; those of the second read all.
 */
extern void br_am_scan_round(BrAmScan *scan);

/* Whether the first stage may hand out no more, or has looked at all that it can reach. */
extern bool br_am_scan_stage_is_over(const BrAmScan *scan);

/*
 * Puts a row among those found, unless it was noted before. page, slot: where its vector is;
 * InvalidBlockNumber: not in a list.
 */
extern void br_am_scan_found(BrAmScan *scan, const ItemPointerData *tid, const uint16 *vector,
							 double squared_norm, BlockNumber page, uint32 list, int slot);

/* Reads the vectors of the next candidates, and puts them among those found. false: there is none left. */
extern bool br_am_scan_rerank(BrAmScan *scan);

/* The next row in no order. */
extern bool br_am_scan_plain(BrAmScan *scan, ItemPointer tid);

#endif /* BR_SCAN_INT_H */
