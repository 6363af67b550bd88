/*
 * am_int.h
 *	  What the files of src/pg/am share: pages, shapes, lists. README.md beside
 *	  it explains how they work together; locks are taken in the order given
 *	  there.
 */
#ifndef BR_AM_INT_H
#define BR_AM_INT_H

#include "pg/br_pg.h"

#include "access/genam.h"
#include "access/generic_xlog.h"
#include "access/reloptions.h"
#include "access/transam.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

#include "core/ann/br_ann.h"
#include "pg/am/am.h"
#include "pg/embedding.h"
#include "pg/model/packed_file.h"

/* ---- pages ---- */

#define BR_AM_MAGIC 0xB4A1
#define BR_AM_VERSION 1
#define BR_AM_META_BLOCK 0

/* Of BrAmSpecial.kind; 0 is no kind, so that a zeroed page is none. */
typedef enum BrAmPageKind
{
	BR_AM_PAGE_META = 1,
	BR_AM_PAGE_DIRECTORY, /* lists and their centroids */
	BR_AM_PAGE_POSTING,	  /* codes and heap pointers of rows of a list */
	BR_AM_PAGE_EXACT,	  /* the half vectors of the rows of a posting page */
	BR_AM_PAGE_PENDING,	  /* token ids of texts that wait to be embedded */
	BR_AM_PAGE_FREE		  /* may be used again */
} BrAmPageKind;

/* The special area of every page. */
typedef struct BrAmSpecial
{
	BlockNumber next; /* of the same chain: directory, posting and pending pages */
	uint32 list;	  /* posting and exact pages: of which list; pending pages: number in the
					   * chain; neither is used again */
	uint16 kind;
	uint16 flags;
	uint16 magic;
	uint16 unused;
} BrAmSpecial;

#define BR_AM_FLAG_FROZEN 1 /* of a posting page: nothing may be appended */

#define BrAmPageSpecial(page) ((BrAmSpecial *) PageGetSpecialPointer(page))

/* ---- the metapage ---- */

/* Recalls for which the share of lists to visit was measured at the last build. */
#define BR_AM_N_RECALLS 7
extern const double br_am_recalls[BR_AM_N_RECALLS];

typedef struct BrAmMeta
{
	uint32 magic;
	uint32 version;
	int32 dims;		   /* 0 until the first row */
	int32 metric;	   /* BrMetric */
	uint64 seed;	   /* of the rotation */
	uint32 generation; /* raised whenever the set of lists that count changes */
	uint32 next_list;
	BlockNumber first_directory; /* InvalidBlockNumber until the first row */
	BlockNumber last_directory;
	float
		shares[BR_AM_N_RECALLS]; /* of the lists to visit, in (0, 1]: what scans cost on average */
	float gaps[BR_AM_N_RECALLS]; /* how much farther than the nearest list they may be */
	float
		mean_norm; /* root of the mean squared length of rows at the last build; 1 for the cosine */
	double rows;   /* at the last build or vacuum */

	/* of an index on text */
	BlockNumber first_pending; /* InvalidBlockNumber: none has ever waited */
	BlockNumber last_pending;
	uint32 pending;	 /* rows that wait */
	int32 model;	 /* number; 0 until the first row, and for embeddings */
	int32 precision; /* class, br_pg_precision_name */
	uint8 model_hash[BR_PG_HASH_SIZE];
	char model_name[NAMEDATALEN];
} BrAmMeta;

#define BrAmPageMeta(page) ((BrAmMeta *) PageGetContents(page))

/* ---- the directory ---- */

typedef enum BrAmListState
{
	BR_AM_LIST_EMPTY, /* the entry may be used again */
	BR_AM_LIST_LIVE,
	BR_AM_LIST_FROZEN, /* being rewritten: it counts, but nothing may be appended */
	BR_AM_LIST_NEW, /* takes the place of list `replaces`: counts once that one is dead or gone */
	BR_AM_LIST_DEAD /* its pages may still be read by older scans */
} BrAmListState;

/* What a list is; on a directory page the centroid follows. */
typedef struct BrAmListEntry
{
	FullTransactionId dead_since; /* when it was declared dead */
	uint32 list;
	uint32 replaces;
	BlockNumber head;
	BlockNumber tail;	/* or a page from which it can be reached */
	uint32 rows;		/* about so many: of the last rewrite or vacuum */
	float squared_norm; /* of the centroid */
	uint16 state;
	uint16 unused[3];
	uint16 centroid[FLEXIBLE_ARRAY_MEMBER]; /* (rotated_dims) halves */
} BrAmListEntry;

typedef struct BrAmDirectoryPage
{
	uint32 entries; /* used or EMPTY; fewer than BrAmShape.per_directory only on the last page */
	uint32 unused;
} BrAmDirectoryPage;

#define BrAmPageDirectory(page) ((BrAmDirectoryPage *) PageGetContents(page))

/* ---- posting and exact pages ---- */

/*
 * Rows fill a posting page in order and stay in their slots until the whole
 * list is rewritten: a row that is gone has an invalid heap pointer. Slot s has
 * its code in row s % 32 of block s / 32 and its vector in slot s % per_exact
 * of page exact[s / per_exact].
 */
typedef struct BrAmPosting
{
	uint16 rows; /* slots in use */
	uint16 dead; /* of them without a row */
	BlockNumber exact[FLEXIBLE_ARRAY_MEMBER];
} BrAmPosting;

#define BrAmPagePosting(page) ((BrAmPosting *) PageGetContents(page))

/* A block of codes on a posting page; the codes follow. */
typedef struct BrAmBlock
{
	float width; /* the largest of the rows */
	float add[BR_ANN_BLOCK_ROWS];
	float scale[BR_ANN_BLOCK_ROWS];
	uint8 codes[FLEXIBLE_ARRAY_MEMBER];
} BrAmBlock;

#define BR_AM_TEXT_HASH_SIZE 16

/* How an index of so many dimensions lies on its pages. */
typedef struct BrAmShape
{
	int dims;
	int rotated_dims;
	int code_bits;
	bool text;
	int entry_bytes; /* of a vector on an exact page: hash of its text, if it is of one, norm, vector */
	int norm_offset;   /* of its squared length, a double, inside it */
	int vector_offset; /* of the vector inside it */
	int per_exact;
	int per_posting;
	int n_exact;	 /* exact pages of a full posting page */
	int tids_offset; /* from the page's beginning */
	int blocks_offset;
	int block_bytes;
	int directory_bytes; /* of an entry */
	int per_directory;
} BrAmShape;

#define BrAmTids(page, shape) ((ItemPointer) ((char *) (page) + (shape)->tids_offset))
#define BrAmPageBlock(page, shape, block) \
	((BrAmBlock *) ((char *) (page) + (shape)->blocks_offset + (block) * (shape)->block_bytes))
#define BrAmExactEntry(page, shape, slot) \
	((char *) PageGetContents(page) + (slot) * (shape)->entry_bytes)
#define BrAmExactVector(page, shape, slot) \
	((uint16 *) (BrAmExactEntry(page, shape, slot) + (shape)->vector_offset))
#define BrAmDirectoryEntry(page, shape, place)                                       \
	((BrAmListEntry *) ((char *) PageGetContents(page) + sizeof(BrAmDirectoryPage) + \
						(place) * (shape)->directory_bytes))

/* The squared length of a vector on an exact page. */
extern double br_am_exact_norm(Page page, const BrAmShape *shape, int slot);

/* A row as lists hold it. */
typedef struct BrAmRow
{
	ItemPointerData tid;
	uint8 hash[BR_AM_TEXT_HASH_SIZE]; /* of its text; unused for embeddings */
	const uint16 *vector;			  /* (dims) halves */
} BrAmRow;

/* ---- handler.c: options ---- */

typedef struct BrAmOptions
{
	int32 vl_len_;
	double recall; /* target of scans, in [.5, .999] */
	int lists;	   /* at a build; 0: by the number of rows */
	int pending;   /* texts that may wait before an insert embeds them */
	int model;	   /* offset of its name; 0: none was given */
} BrAmOptions;

#define BR_AM_DEFAULT_RECALL .95
#define BR_AM_DEFAULT_PENDING 64

extern double br_am_option_recall(Relation index);
extern int br_am_option_lists(Relation index);
extern int br_am_option_pending(Relation index);
extern const char *br_am_option_model(Relation index); /* NULL: none was given */

/* The metric of the index's operator class, and whether it indexes text: from its support function. */
extern BrMetric br_am_metric(Relation index);
extern bool br_am_is_text(Relation index);

/* Whether a function is one of the distances that operator classes are told apart by, of such a type. */
extern bool br_am_knows_distance(Oid function, Oid type);

/* ---- pages.c ---- */

/* How many lists suit so many rows; at least 1. */
extern int br_am_lists_for(double rows);

/* dims: 1 .. BR_ANN_MAX_DIMS */
extern void br_am_shape(BrAmShape *shape, int dims, bool text);

/* Raises 54000 where an embedding has more dimensions than can be indexed. */
extern void br_am_check_dims(Relation index, int dims);

/* An empty page of a kind; of a posting or exact page all that a full one has lies before pd_lower. */
extern void br_am_page_init(Page page, BrAmPageKind kind, uint32 list, const BrAmShape *shape);

/* Whether a page, which is not new, has a header of this index. */
extern bool br_am_page_is_sound(Page page);

/* Whether a page is of that kind and list (posting and exact pages), and its counts are possible. */
extern bool br_am_page_is(Page page, BrAmPageKind kind, uint32 list, const BrAmShape *shape);

/*
 * Reads and locks a page. Raises XX002 with its block and a hint to reindex
 * where br_am_page_is says no. shape may be NULL where the kind needs none.
 */
extern Buffer br_am_read(Relation index, BlockNumber block, BrAmPageKind kind, uint32 list,
						 const BrAmShape *shape, int lock);

/* The same, but InvalidBuffer where the page has become another one: for scans, which begin anew then. */
extern Buffer br_am_try_read(Relation index, BlockNumber block, BrAmPageKind kind, uint32 list,
							 const BrAmShape *shape, int lock, BufferAccessStrategy strategy);

/* Pins a page that will be locked and checked later; InvalidBuffer: there is no such block. */
extern Buffer br_am_pin(Relation index, BlockNumber block);

/* XX002: the page of a block is damaged; what: such as "its list is 3, not 4". */
extern void br_am_report_damage(Relation index, BlockNumber block, const char *what)
	pg_attribute_noreturn();

/*
 * A page to fill, from the free space map or at the end of the index; pinned
 * and exclusively locked. Its contents are those of a free page, or zero.
 */
extern Buffer br_am_new_buffer(Relation index);

/* ---- meta.c ---- */

/* The metapage of an index without rows. */
extern void br_am_meta_init(Page page, BrMetric metric);

/* A copy. Raises XX002 where it is none, and a hint to reindex where it is of another version. */
extern void br_am_meta_read(Relation index, BrAmMeta *meta);

/* The share of the lists that held so much of the neighbours of rows at the last build, in (0, 1]. */
extern double br_am_share_for(const BrAmMeta *meta, double recall);

/* In the order of lists, how much above that of the nearest a scan must go for it. */
extern double br_am_gap_for(const BrAmMeta *meta, double recall);

/*
 * Changes the metapage: change(meta, arg) under the exclusive lock, in a
 * record of its own; false from it changes nothing.
 */
extern bool br_am_meta_change(Relation index, bool (*change)(BrAmMeta *meta, void *arg), void *arg);

/* ---- directory.c ---- */

/* A list, and where its entry stands. */
typedef struct BrAmList
{
	uint32 list;
	uint32 replaces;
	uint16 state;
	uint16 place; /* on its directory page */
	BlockNumber directory;
	BlockNumber head;
	BlockNumber tail;
	uint32 rows;
	FullTransactionId dead_since;
	BrListView view; /* where a query was given */
} BrAmList;

/*
 * All entries of the directory that are not empty, as of one moment, palloc'd,
 * *n of them; no entry is locked afterwards. query: fills each view; NULL: none.
 * centroids: (n, rotated_dims) halves, palloc'd; NULL: not wanted. *meta: of
 * that moment.
 */
extern BrAmList *br_am_directory_read(Relation index, const BrCodeQuery *query, BrAmMeta *meta,
									  const BrAmShape *shape, uint16 **centroids, int *n);

/*
 * Removes from lists those that do not count: dead ones, and new ones whose
 * predecessor counts. Returns how many are left, in their order.
 */
extern int br_am_directory_counting(BrAmList *lists, int n);

/*
 * Adds an entry in a place that is empty, or on a new page at the end.
 * entry->centroid is not looked at. The record that it writes holds nothing
 * else. list->directory and list->place are set.
 */
extern void br_am_directory_add(Relation index, const BrAmShape *shape, BrAmList *list,
								const uint16 *centroid, float squared_norm);

/*
 * Changes entries: change(entry, arg, i) under exclusive locks, in one record;
 * at most 3 lists. new_generation: raises the metapage's generation in the
 * same record. Raises XX002 where an entry is no longer that list.
 */
extern void br_am_directory_change(Relation index, const BrAmShape *shape, BrAmList *const *lists,
								   int n, bool new_generation,
								   void (*change)(BrAmListEntry *entry, void *arg, int i),
								   void *arg);

/* ---- quantizer.c: rows to codes ---- */

/* What encoding needs; kept with the index's relcache entry or by the caller. */
typedef struct BrAmQuantizer
{
	BrAmShape shape;
	BrMetric metric;
	BrContext context;
	const BrRotation *rotation; /* the session's */
	float *plain;				/* (dims) */
	float *rotated;				/* (rotated_dims) */
	uint8 *bits;				/* (code_bits / 8) */
} BrAmQuantizer;

/* In the current memory context, with which it goes. */
extern void br_am_quantizer_create(const BrAmMeta *meta, bool text, BrAmQuantizer *quantizer);

/* Puts a vector, for the cosine at length 1, into quantizer->rotated. */
extern void br_am_quantizer_rotate(BrAmQuantizer *quantizer, const uint16 *vector);

/* The code of what br_am_quantizer_rotate was called with last, into quantizer->bits and *code. */
extern void br_am_quantizer_encode(BrAmQuantizer *quantizer, const uint16 *centroid, BrCode *code);

/* Puts the row's code and pointer into the next slot of a posting page, and its vector onto its exact page. */
extern void br_am_page_put(const BrAmQuantizer *quantizer, Page posting, Page exact,
						   const BrAmRow *row, const BrCode *code);

/* ---- append.c: one row to a list ---- */

/*
 * Adds a row to the nearest list that takes rows, durably but for the WAL's
 * flush. waiting: the pending page that it leaves in the same record, pinned and
 * not locked, or InvalidBuffer: leave(page, arg) takes it off the page's image.
 * false: leave said that it is no longer there, and nothing was added.
 */
extern bool br_am_append(Relation index, BrAmQuantizer *quantizer, const BrAmRow *row,
						 Buffer waiting, bool (*leave)(Page page, void *arg), void *arg);

/* Makes the first list of an index without rows; does nothing where another session has. */
extern void br_am_create_first_list(Relation index, int dims);

/* ---- rewrite.c: lists in place of others ---- */

/*
 * For whoever finds no list that takes rows: waits for the rewrite that is
 * going on, and makes lists live again that one has left frozen.
 */
extern void br_am_thaw(Relation index, const BrAmShape *shape);

/* ---- writer.c: whole lists, in order ---- */

/*
 * Writes a list to pages of its own, which nothing points to before the caller
 * adds it to the directory. logged: each page in a record; else the caller logs
 * the whole index.
 */
typedef struct BrAmWriter BrAmWriter;

extern BrAmWriter *br_am_writer_begin(Relation index, BrAmQuantizer *quantizer, uint32 list,
									  const uint16 *centroid, bool logged);
extern void br_am_writer_add(BrAmWriter *writer, const BrAmRow *row);

/* Sets head, tail and rows of *list; frees the writer. */
extern void br_am_writer_end(BrAmWriter *writer, BrAmList *list);

/* ---- reader.c: whole lists ---- */

/*
 * Calls row for each row of a list, with posting's block and the slot; pages
 * are pinned, not locked, meanwhile. What row returns tells whether to go on.
 * Raises XX002 where the chain is broken. Cancellable.
 */
extern void br_am_read_list(Relation index, const BrAmShape *shape, const BrAmList *list,
							BufferAccessStrategy strategy,
							bool (*row)(void *arg, const BrAmRow *row), void *arg);

/*
 * Calls page for each posting page of a list, in order, share-locked. It may
 * lock the page otherwise but must leave it locked. Raises XX002 where the
 * chain is broken. Cancellable.
 */
extern void br_am_walk_list(Relation index, const BrAmShape *shape, const BrAmList *list,
							BufferAccessStrategy strategy, void (*page)(void *arg, Buffer buffer),
							void *arg);

/* ---- text.c: models of indexes on text ---- */

/*
 * The model that a text index embeds with, checked: the one of the metapage,
 * or before the first row the one of the options or bundle_rec.default_model,
 * which *meta then names. Raises 55000 with a hint to reindex where it is gone
 * or has other contents.
 */
extern int32 br_am_model(Relation index, BrAmMeta *meta);

/* Dimensions of its embeddings. */
extern int br_am_model_dims(Relation index, BrAmMeta *meta);

/*
 * Embeds texts with the model of br_am_model, in the threads of pool, rounded
 * to half; pool NULL: those of the session. Reads the model with the rights of
 * the extension's owner. Raises 22003 for a text that has no vector.
 */
extern void br_am_embed_texts(Relation index, BrAmMeta *meta, char **texts, int n, BrPool *pool,
							  uint16 *halves /* (n, dims) */);

/* The hash by which the vector of a text is found again. */
extern void br_am_text_hash(const char *text, uint8 hash[BR_AM_TEXT_HASH_SIZE]);

/*
 * Whether the operator, which uses bundle_rec.default_model, means the model
 * of the index. Raises nothing where there is no such model.
 */
extern bool br_am_operator_fits(Relation index, BrAmMeta *meta);

/*
 * The vector of a query's text, under the index's model. Raises 55000 where
 * the operator, which uses bundle_rec.default_model, means another model.
 */
extern BrEmbedding *br_am_query_of_text(Relation index, BrAmMeta *meta, const char *text);

/*
 * Lets the operator find the vector of a text by its hash: called for each row
 * that a scan returns, because the operator is evaluated for it once more.
 */
extern void br_am_remember_text(const BrAmMeta *meta, const uint8 hash[BR_AM_TEXT_HASH_SIZE],
								const uint16 *vector, int dims);

/* ---- pending.c: texts that wait ---- */

/* Adds a text; embeds what waits where the option's limit is reached. */
extern void br_am_pending_insert(Relation index, BrAmMeta *meta, const char *text, ItemPointer tid);

/*
 * The rows that wait, palloc'd in the current context, *n of them. with_vectors:
 * embedded, or from the session's memory where it has embedded them before;
 * otherwise vectors are NULL. Raises 22003 where a row has no vector.
 */
extern BrAmRow *br_am_pending_rows(Relation index, BrAmMeta *meta, bool with_vectors, int *n);

/*
 * Removes rows of which dead answers true; *removed, *kept are raised. Before
 * lists are looked at: a row may move from here to there.
 */
extern void br_am_pending_delete(Relation index, IndexBulkDeleteCallback dead, void *state,
								 double *removed, double *kept);

/* ---- the access method's functions, one file each ---- */

extern IndexBuildResult *br_am_build(Relation heap, Relation index, IndexInfo *info);
extern void br_am_build_empty(Relation index);
extern char *br_am_build_phase(int64 phase);
extern bool br_am_insert(Relation index, Datum *values, bool *is_null, ItemPointer tid,
						 Relation heap, IndexUniqueCheck unique, bool unchanged, IndexInfo *info);
extern IndexBulkDeleteResult *br_am_bulk_delete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
												IndexBulkDeleteCallback dead, void *state);
extern IndexBulkDeleteResult *br_am_vacuum_cleanup(IndexVacuumInfo *info,
												   IndexBulkDeleteResult *stats);
extern void br_am_cost(struct PlannerInfo *root, struct IndexPath *path, double loop_count,
					   Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
					   double *correlation, double *pages);
extern bool br_am_validate(Oid opclass);
/* Rows that strict order left out in this session because they were found too late. */
extern int64 br_am_skipped;

extern IndexScanDesc br_am_begin_scan(Relation index, int n_keys, int n_order_bys);
extern void br_am_rescan(IndexScanDesc scan, ScanKey keys, int n_keys, ScanKey order_bys,
						 int n_order_bys);
extern bool br_am_next(IndexScanDesc scan, ScanDirection direction);
extern void br_am_end_scan(IndexScanDesc scan);

/* Index builds and vacuums: the name of the lock that a rewrite of lists holds (LockPage). */
#define BR_AM_REWRITE_LOCK BR_AM_META_BLOCK

#endif /* BR_AM_INT_H */
