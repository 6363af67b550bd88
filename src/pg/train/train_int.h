/*
 * train_int.h
 *	  What the files of training share.
 */
#ifndef BR_PG_TRAIN_INT_H
#define BR_PG_TRAIN_INT_H

#include "datatype/timestamp.h"

#include "core/tune/br_tune.h"
#include "pg/learn/data.h"
#include "pg/train/train.h"

/* ---- what is asked for ---- */

/* What an example is made of, and so which columns a query has. */
typedef enum BrPgTrainShape
{
	BR_PG_TRAIN_PAIRS,		 /* anchor, positive, and negative where there is one */
	BR_PG_TRAIN_TRIPLETS,	 /* anchor, positive, negative */
	BR_PG_TRAIN_SCORES,		 /* two texts and their cosine */
	BR_PG_TRAIN_LABELS,		 /* a text and its class */
	BR_PG_TRAIN_PAIR_LABELS, /* two texts and their class */
	BR_PG_TRAIN_TEXTS,		 /* a text */
	BR_PG_TRAIN_SENTENCES,	 /* a sentence and its document */
	BR_PG_TRAIN_SETS		 /* a text and its set, as a document */
} BrPgTrainShape;

/* Where a catalog's pairs come from. */
typedef enum BrPgTrainSource
{
	BR_PG_TRAIN_AUTO, /* bundles, or baskets where they say too little */
	BR_PG_TRAIN_BUNDLES,
	BR_PG_TRAIN_BASKETS
} BrPgTrainSource;

/* Parameters that are ours, not br_tune's. */
typedef struct BrPgTrainChoice
{
	double holdout;	   /* share of the latest sessions that is not learned from, [0, .5] */
	double validation; /* share of what is learned from that is looked at only, [0, .5] */
	int64 pairs;	   /* or sets; at most so many are drawn of all that a catalog knows */
	BrPgTrainSource source;
	int classes;   /* 0: as many as the highest label says */
	char *teacher; /* name of a model; NULL: none */
	int seeds; /* runs, of which validation chooses the best; seeds count on from options.seed */
} BrPgTrainChoice;

/* A training: its row, and what its parameters say. */
typedef struct BrPgTrainPlan
{
	int64 job;
	Oid role;
	char *catalog; /* its name */
	char *objective;
	char *method;
	char *query; /* NULL: what the catalog knows */
	char *search_path;
	char *model_name; /* NULL: named after the job */
	bool promote;
	int32 parent;
	char *parent_name;
	Jsonb *parameters;
	BrPgTrainShape shape;
	BrPgTrainChoice choice;
	BrTuneOptions options;

	/* once it has been read what is learned from */
	uint8 *sha256; /* (PG_SHA256_DIGEST_LENGTH); NULL: it has not */
	Jsonb *data;
	TimestampTz learned_until;

	char *model; /* that was stored; NULL: none yet */
	int seeds_done;
	int best_seed; /* of these; -1: there is none yet */
	double best_figure;
} BrPgTrainPlan;

/* parameters.c */

/*
 * Reads objective, method and parameters into a plan, and checks all that can be
 * checked without data. Raises 22023 with the name of what is wrong.
 */
extern void br_pg_train_read_parameters(BrPgTrainPlan *plan);

/* All parameters as they are, those that were not given, too. */
extern Jsonb *br_pg_train_all_parameters(const BrPgTrainPlan *plan);

/* ---- what is learned from ---- */

/* The stream of random numbers of a seed that says what is for validation; those above are free. */
#define BR_PG_TRAIN_STREAM_VALIDATION 1

/* texts.c: texts as token ids, each once, in the context that was current at first */

typedef struct BrPgTrainTexts BrPgTrainTexts;

/* keeps_strings: for br_pg_train_texts_strings. */
extern BrPgTrainTexts *br_pg_train_texts_create(int32 model, bool keeps_strings);

/* Number of a text, from 0. */
extern int32 br_pg_train_texts_add(BrPgTrainTexts *texts, const char *text);
extern int br_pg_train_texts_count(const BrPgTrainTexts *texts);
extern const int32 *br_pg_train_texts_ids(const BrPgTrainTexts *texts, const int32 **offsets);
extern char **br_pg_train_texts_strings(const BrPgTrainTexts *texts);

/* One example, texts by their numbers, -1 where it has none. */
typedef struct BrPgTrainExample
{
	int32 first;
	int32 second;
	int32 third;
	int32 label;
	int32 document;
	float score;
} BrPgTrainExample;

/* Examples in the making: those of training, and those of validation. */
typedef struct BrPgTrainExamples
{
	BrPgTrainExample *of[2]; /* palloc'd */
	int64 n[2];
	int64 room[2];
} BrPgTrainExamples;

/* data.c */
extern void br_pg_train_examples_add(BrPgTrainExamples *examples, const BrPgTrainExample *example,
									 bool validates);

/* Where examples came from, for the lineage. */
typedef struct BrPgTrainCounts
{
	const char *source; /* "bundles", "baskets", "texts" or "query" */
	int64 sessions;		/* that were learned from, those for validation included */
	int64 validation_sessions;
	int64 held_out;			   /* later sessions */
	int64 met;				   /* pairs or rows that there were to draw from */
	TimestampTz learned_until; /* DT_NOBEGIN: no event was */
} BrPgTrainCounts;

/* pairs.c: what goes together in a catalog, as pairs or sets. Raises 55000 where it is too little. */
extern BrPgTrainCounts br_pg_train_pairs(const BrPgTrainPlan *plan, const BrPgLearnData *data,
										 BrPgTrainTexts *texts, BrPgTrainExamples *examples);

/* rows.c: what a query gives */

/* What columns a query has, as a sentence. */
extern const char *br_pg_train_columns_hint(BrPgTrainShape shape);

/* Opens the query as the current user; raises what is wrong with it or its columns. */
extern void br_pg_train_check_query(BrPgTrainShape shape, const char *sql);
extern BrPgTrainCounts br_pg_train_rows(const BrPgTrainPlan *plan, BrPgTrainTexts *texts,
										BrPgTrainExamples *examples);

/* data.c: all of it in one block, which is what is stored */

typedef struct BrPgTrainData
{
	char *image; /* (size) */
	Size size;
	int n_texts;
	int n_examples; /* those of validation last */
	int n_validation;
	int dimensions;					  /* of the teacher; 0: there is none */
	const int32 *offsets;			  /* (n_texts + 1) */
	const int32 *ids;				  /* (offsets[n_texts]) */
	const BrPgTrainExample *examples; /* (n_examples) */
	const float *teacher;			  /* (n_texts, dimensions) */
} BrPgTrainData;

/* Seconds since 1970 as a time. */
extern TimestampTz br_pg_train_time(double seconds);

/*
 * Reads what the plan says, in the present transaction, whose snapshot is
 * repeatable, with the rights of the job's role; *counts: where it came from.
 * In the current memory context. Raises 55000 where it is too little.
 */
extern BrPgTrainData *br_pg_train_gather(const BrPgTrainPlan *plan, BrPgTrainCounts *counts);

/* Writes data to the job, and what they are to its row; sets them in the plan. */
extern void br_pg_train_keep(BrPgTrainPlan *plan, const BrPgTrainData *data,
							 const BrPgTrainCounts *counts);

/* The same data again. Raises XX001 where they are not what was kept. */
extern BrPgTrainData *br_pg_train_fetch(const BrPgTrainPlan *plan);

/*
 * As core takes them, over the same arrays where it can be; in the current memory
 * context. Raises 0A000 where the model has no token that hides a word, and needs one.
 */
extern BrTuneData br_pg_train_tune_data(const BrPgTrainPlan *plan, const BrPgTrainData *data);

/* ---- chunks.c: blocks of bytes in tables ---- */

typedef struct BrPgTrainChunks
{
	int n_keys;			/* at most 3 */
	int64 keys[3];		/* of the rows: $1 .. */
	Size bytes;			/* of a piece */
	const char *insert; /* the keys, then the number of the piece, then its bytes */
	const char *count;	/* the keys: how many pieces, and bytes */
	const char *select; /* the keys, then the number of the piece: its bytes */
} BrPgTrainChunks;

extern void br_pg_train_write_chunks(const BrPgTrainChunks *chunks, const void *bytes, Size size);

/* All that is there, palloc'd; NULL where nothing is. */
extern char *br_pg_train_read_chunks(const BrPgTrainChunks *chunks, Size *size);

/* ---- what a crash leaves: checkpoint.c ---- */

/* The step under which the image of the best seed stands. */
#define BR_PG_TRAIN_BEST (-1)

/* Writes one, and removes those of the job that are older than the one before. */
extern void br_pg_train_checkpoint(int64 job, int seed, int64 step, const void *state, Size size);

/* Writes an image as that of the best seed, in place of any other. */
extern void br_pg_train_keep_best(int64 job, int seed, const void *image, Size size);

/* Steps of a seed that have a checkpoint, the latest first, palloc'd; *n of them. */
extern int64 *br_pg_train_checkpoints(int64 job, int seed, int *n);

/* The bytes of one, palloc'd; NULL: it is not there. */
extern char *br_pg_train_read_checkpoint(int64 job, int seed, int64 step, Size *size);

/* Of a job that is done: data and checkpoints. */
extern void br_pg_train_forget(int64 job);

#endif /* BR_PG_TRAIN_INT_H */
