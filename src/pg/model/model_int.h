/*
 * model_int.h
 *	  What the files of src/pg/model share.
 */
#ifndef BR_MODEL_INT_H
#define BR_MODEL_INT_H

#include "pgtime.h"

#include "pg/embedding.h"
#include "pg/model/model.h"
#include "pg/model/packed_file.h"

/* load.c: an image becomes a model of the current user; returns its number */

extern int32 br_pg_model_insert(const char *name, const void *image, size_t size,
								BrContext *context);

/* load.c: what is asked of the files of a model, wherever they come from */

/*
 * Raises 58P01 where a file is not there without which there is no model.
 * directory: where it was looked for; NULL: among files that a client gave.
 */
extern void br_pg_model_require_file(const char *directory, const char *path, bool there);

/* Raises 54000 where a file is larger than any that is read. */
extern void br_pg_model_require_size(const char *path, int64 size);

/* files.c: files that a client gave, in the memory context in which they are gathered */

/*
 * The files that an import may need among those given, in the current memory
 * context, *n of them; contents that came in one piece stay where they are.
 * Says how many others there were. What was given cannot be used again.
 */
extern BrModelFile *br_pg_given_needed(BrPgGiven *given, BrContext *context, int *n);

/* chunks.c: what the database keeps of an image */

typedef struct BrPgStoredForm
{
	const char *weights; /* stored_model's column */
	const void *data;
	size_t size;
} BrPgStoredForm;

/* The form that an image is stored in: itself, or memory of the context. */
extern BrPgStoredForm br_pg_chunks_form(const void *image, size_t size, BrContext *context);

/* Of a model whose row is there, with the rights of the extension's owner. */
extern void br_pg_chunks_insert(int32 model, const BrPgStoredForm *form);

/* BrPgPackedSource's fill: the image of the model whose number *arg is, an int32; raises XX001. */
extern void br_pg_chunks_fill(void *arg, void *contents);

/* store.c: models in use */

/* Packed weights that are mapped; weights.c knows what is in it. */
typedef struct BrPgWeights BrPgWeights;

/* A model that the connection has mapped. */
typedef struct BrPgOpenModel
{
	struct BrPgOpenModel *next; /* less recently used */
	BrPgPackedKey key;			/* of the image */
	BrPgPacked packed;
	BrEncoder *encoder;
	BrPgWeights *weights; /* all that were wanted so far */
	LocalTransactionId used_in;
	pg_time_t renewed; /* when the use of its files was last noted */
} BrPgOpenModel;

/*
 * The key of a model's image. SPI must be connected. Raises 42704 if the model
 * is gone, 55000 where another version has stored it.
 */
extern void br_pg_model_key(int32 model, BrPgPackedKey *key);

/* As br_pg_model_encoder. */
extern BrPgOpenModel *br_pg_model_open(int32 model);

/* weights.c: packed weights */

/* The key of the packed weights of an image, without their size. */
extern void br_pg_weights_key(const BrPgPackedKey *image, const BrBackend *backend,
							  BrPrecision precision, BrPgPackedKey *key);

/*
 * The weights as the backend multiplies them in precision, mapped from their
 * packed file (made of the image if it is not there), valid as long as the
 * model is open; NULL where the backend takes plain ones.
 */
extern const void *br_pg_weights_open(BrPgOpenModel *model, const BrBackend *backend,
									  BrPrecision precision);

/* The same, and the key of their file; of size 0 where there is none. */
extern void br_pg_weights_find(BrPgOpenModel *model, const BrBackend *backend,
							   BrPrecision precision, BrPgPackedKey *key);
extern void br_pg_weights_renew(const BrPgOpenModel *model);
extern void br_pg_weights_close(BrPgOpenModel *model);

/* use.c: what this session has done with each model */

typedef struct BrPgModelUse
{
	int64 tokens; /* embedded */
	double seconds;
	int64 query_hits; /* single texts whose embedding was kept */
	int64 query_misses;
} BrPgModelUse;

/* Counted for as long as the connection lives, from 0. */
extern BrPgModelUse *br_pg_model_use(const uint8 hash[BR_PG_HASH_SIZE]);

/* query_cache.c: embeddings of single texts */

/* All that an embedding depends on. */
typedef struct BrPgQueryKey
{
	const uint8 *hash; /* of the image (BR_PG_HASH_SIZE) */
	BrPgComputing by;
	bool parse_special;
	const char *text;
} BrPgQueryKey;

/* A copy, palloc'd; NULL where there is none. */
extern BrEmbedding *br_pg_query_find(const BrPgQueryKey *key);

/* Keeps a copy, where bundle_rec.query_cache leaves room, in place of those not used longest. */
extern void br_pg_query_keep(const BrPgQueryKey *key, const BrEmbedding *embedding);

#endif /* BR_MODEL_INT_H */
