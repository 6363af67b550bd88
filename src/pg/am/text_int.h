/*
 * text_int.h
 *	  What the files about indexes on text share.
 *
 * Pending pages form a chain. Rows enter at its last page, a row leaves the
 * page on which it is, and only the first page leaves the chain, when it is
 * empty and not the last one. Pages are numbered along the chain, in
 * BrAmSpecial.list, and no number is used twice: whoever follows `next` without
 * a lock sees by the number whether the page is still the one that was meant.
 */
#ifndef BR_TEXT_INT_H
#define BR_TEXT_INT_H

#include "pg/am/am_int.h"

/* ---- text.c ---- */

/* Around all that reads models: gives them a snapshot. What begin returns, end takes. */
extern bool br_am_begin_models(void);
extern void br_am_end_models(bool pushed);

/* Whether halves are all finite: of some texts a model may make none that are. */
extern bool br_am_vector_is_finite(const uint16 *vector /* (dims) */, int dims);

/* 22003. text: what names it, such as a row of the table. */
extern void br_am_report_no_vector(Relation index, const char *text) pg_attribute_noreturn();

/* ---- text_memory.c ---- */

/* NULL: not kept. Valid until the next br_am_remember_text. */
extern const uint16 *br_am_recall_text(const uint8 model_hash[BR_PG_HASH_SIZE],
									   const uint8 text_hash[BR_AM_TEXT_HASH_SIZE], int *dims);

/* ---- pending.c: pages of texts that wait ---- */

/* A row on a pending page; they follow each other from the page's contents to pd_lower. */
typedef struct BrAmPendingEntry
{
	ItemPointerData tid;
	uint16 n_ids;
	uint8 hash[BR_AM_TEXT_HASH_SIZE];
	int32 ids[FLEXIBLE_ARRAY_MEMBER];
} BrAmPendingEntry;

#define BR_AM_PENDING_SIZE(n_ids) (offsetof(BrAmPendingEntry, ids) + sizeof(int32) * (n_ids))
#define BR_AM_PENDING_ROOM \
	((int) (BLCKSZ - MAXALIGN(SizeOfPageHeaderData) - MAXALIGN(sizeof(BrAmSpecial))))
/* a row of more has no room on a page */
#define BR_AM_PENDING_MAX_IDS \
	((int) ((BR_AM_PENDING_ROOM - offsetof(BrAmPendingEntry, ids)) / sizeof(int32)))

/*
 * The entry at *at, which is moved behind it; NULL at the end. *at begins at 0.
 * page: that of block, or its image in a record. Raises XX002 where the entry
 * cannot be one.
 */
extern BrAmPendingEntry *br_am_pending_entry(Relation index, BlockNumber block, Page page, int *at);

/* Takes the entry before `at` off the page; `at` becomes its place. */
extern void br_am_pending_take(Page page, BrAmPendingEntry *entry, int *at);

/* A copy of an entry, and the page that it was on. */
typedef struct BrAmWaiting
{
	BlockNumber block;
	BrAmPendingEntry *entry;
} BrAmWaiting;

/*
 * Of the rows that wait, in the order of their coming, at most limit after the
 * first `skip`; palloc'd. A row that moves to its list meanwhile may be missing.
 */
extern BrAmWaiting *br_am_pending_copy(Relation index, int64 skip, int64 limit, int *n);

/* Adds an entry at the end; returns how many wait then. */
extern uint32 br_am_pending_append(Relation index, const BrAmPendingEntry *entry);

/* Takes empty pages off the beginning of the chain. The caller holds BR_AM_FLUSH_LOCK. */
extern void br_am_pending_unlink(Relation index);

/* ---- flush.c ---- */

/*
 * The name of the lock (LockPage) of who moves rows to lists or takes pages off
 * the chain.
 */
#define BR_AM_FLUSH_LOCK 1

/*
 * Vectors of rows that wait, from the session's memory or their token ids;
 * components may be infinite (br_am_vector_is_finite).
 */
extern void br_am_embed_waiting(Relation index, BrAmMeta *meta, const BrAmWaiting *waiting, int n,
								uint16 *halves /* (n, dims) */);

#endif /* BR_TEXT_INT_H */
