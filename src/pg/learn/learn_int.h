/*
 * learn_int.h
 *	  What the files of learning share: a learner's product before it is stored.
 */
#ifndef BR_PG_LEARN_INT_H
#define BR_PG_LEARN_INT_H

#include "lib/stringinfo.h"

#include "pg/learn/data.h"
#include "pg/learn/learn.h"
#include "pg/parameters.h"

/* ---- kinds.c: the learners ---- */

typedef enum BrPgKindNumber
{
	BR_PG_KIND_POPULARITY, /* of items, with time decay */
	BR_PG_KIND_ASSOCIATION,
	BR_PG_KIND_EASE,
	BR_PG_KIND_ALS,
	BR_PG_KIND_BPR,
	BR_PG_KIND_COMPLEMENT,
	BR_PG_KIND_LEXICAL,
	BR_PG_KIND_ITEMSETS,
	BR_PG_KIND_BUNDLE_COMPANIONS,
	BR_PG_KIND_BUNDLE_ASSOCIATION,
	BR_PG_KIND_BUNDLE_EASE,
	BR_PG_KIND_BUNDLE_LIKENESS, /* by what is in them */
	BR_PG_KIND_BUNDLE_GRAPH,
	BR_PG_KIND_DETECTOR,	  /* of bundles within a session */
	BR_PG_KIND_RANKER,		  /* of generated bundles and items */
	BR_PG_KIND_BUNDLE_RANKER, /* of curated bundles */
	BR_PG_N_KINDS
} BrPgKindNumber;

#define BR_PG_MOST_PARAMETERS 10

typedef struct BrPgSet
{
	int n;
	int32 *columns; /* (n): items, then n_items + category */
	int64 support;
} BrPgSet;

/* What a learner left. Numbers in it are indexes of data. */
typedef struct BrPgLearned
{
	BrPgKindNumber kind;
	double parameters[BR_PG_MOST_PARAMETERS];
	BrLists lists;	 /* n 0: none */
	bool of_bundles; /* lists and vectors are of bundles, not of items */
	float *bias;	 /* (n_items or n_bundles): what each has whatever the context; NULL: none */
	int dims;		 /* of vectors; 0: none */
	float *vectors;	 /* (n_items or n_bundles, dims) */
	int n_weights;
	double *weights;
	int n_sets;
	BrPgSet *sets;
	StringInfoData figures; /* a JSON object without its last brace; "" at first */
	double seconds;
} BrPgLearned;

/*
 * Of more items the neighbours that refresh stored are taken, which are fewer, and are
 * those of the model in service; nor are so many embedded again by another one.
 */
#define BR_PG_MOST_COMPARED 20000

/* looks.c: what no mask hides, texts and embeddings, each read on first use */
typedef struct BrPgLooks BrPgLooks;
extern BrPgLooks *br_pg_looks_create(const BrPgLearnData *data);
extern const BrLists *br_pg_looks_content(BrPgLooks *looks);
extern const float *br_pg_looks_embeddings(const BrPgLooks *looks);

/*
 * The same with the embeddings of the model before it was trained, of the same
 * memory; the looks themselves where br_pg_untrained_embeddings has none.
 */
extern BrPgLooks *br_pg_looks_untrained(BrPgLooks *looks);
extern const BrSparse *br_pg_looks_words(BrPgLooks *looks);
extern const BrSparse *br_pg_looks_phrases(BrPgLooks *looks);
extern const BrSparse *br_pg_looks_parts(BrPgLooks *looks);

/*
 * untrained.c: as the data's embeddings, by the model from which the catalog's was
 * fine-tuned, of the data's memory; NULL: it never was, that model is gone, or the
 * items are too many to embed again.
 */
extern const float *br_pg_untrained_embeddings(const BrPgLearnData *data);

/* What learners are given. Matrices are made on first use, of the events in use. */
typedef struct BrPgTraining
{
	const BrPgLearnData *data;
	const bool *use;		  /* (n_events); NULL: all */
	const bool *bundle_known; /* (n_bundles): whose contents may be seen; NULL: all */
	bool has_sets;
	BrSparse sets;		/* rows of items that were wanted together: baskets, or else users */
	bool sets_of_users; /* which of the two */
	bool has_user_items;
	BrSparse user_items;
	bool has_user_bundles;
	BrSparse user_bundles;
	bool has_bundle_items;
	BrSparse bundle_items; /* those that are known */
	BrPgLooks *looks;	   /* shared by trainings of the same data */
	const BrProgress *progress;
	MemoryContext memory;
} BrPgTraining;

/* looks: NULL for new ones */
extern BrPgTraining *br_pg_training_create(const BrPgLearnData *data, const bool *use,
										   BrPgLooks *looks);
extern const BrSparse *br_pg_training_sets(BrPgTraining *training);
extern const BrSparse *br_pg_training_user_items(BrPgTraining *training);
extern const BrSparse *br_pg_training_user_bundles(BrPgTraining *training);
extern const BrSparse *br_pg_training_bundle_items(BrPgTraining *training);

/* Embeddings (n_items, dims), of unit length, or 0; NULL: none. */
extern const float *br_pg_training_embeddings(const BrPgTraining *training);

/* Nearest items by embedding; empty where there are none. */
extern const BrLists *br_pg_training_content(BrPgTraining *training);

/*
 * Words of the items' texts, words and adjacent pairs of them, and parts of words,
 * each (n_items, terms); NULL: no texts.
 */
extern const BrSparse *br_pg_training_words(BrPgTraining *training);
extern const BrSparse *br_pg_training_phrases(BrPgTraining *training);
extern const BrSparse *br_pg_training_word_parts(BrPgTraining *training);

/* NULL: no such kind */
extern const BrPgParameter *br_pg_kind_parameters(BrPgKindNumber kind);

/* BR_PG_N_KINDS where there is none of that name */
extern BrPgKindNumber br_pg_kind_of(const char *name);

/* What learners of the kind read besides events: bits of data.h. */
extern int br_pg_kind_reads(BrPgKindNumber kind);

/*
 * Fits a kind in memory, into the current context. Returns NULL, or a sentence
 * why the data do not support it.
 */
extern const char *br_pg_kind_fit(BrPgTraining *training, BrPgLearned *learned);

/* Reads parameters into learned->parameters; NULL: defaults. Raises 22023. */
extern void br_pg_read_fit_parameters(BrPgKindNumber kind, Jsonb *given, double *parameters);

/* Adds "name": value to the figures. */
extern void br_pg_add_figure(BrPgLearned *learned, const char *name, double value);

/* ---- store.c: versions in tables ---- */

/* Writes a version and puts it into service; drops those that are no longer kept. */
extern int32 br_pg_store_version(const BrPgLearnData *data, const BrPgLearned *learned,
								 Datum *figures);

/* ---- progress.c ---- */

extern void br_pg_progress_begin(const BrPgCatalog *catalog);
extern void br_pg_progress_kind(BrPgKindNumber kind);
extern const BrProgress *br_pg_progress_report(void);
extern void br_pg_progress_end(void);

#endif /* BR_PG_LEARN_INT_H */
