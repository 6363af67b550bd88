/*
 * model.h
 *	  Models as the rest of src/pg sees them: an open encoder by number or name.
 */
#ifndef BR_MODEL_H
#define BR_MODEL_H

#include "pg/br_pg.h"

#include "core/encoder/br_encoder.h"
#include "pg/embedding.h"
#include "pg/model/packed_file.h"

/* A model that is stored. */
typedef struct BrPgStoredModel
{
	int32 number;
	int dimensions;				 /* of its embeddings */
	uint8 hash[BR_PG_HASH_SIZE]; /* of its contents */
	char name[NAMEDATALEN];		 /* as much of it as fits */
} BrPgStoredModel;

/*
 * The model called name, NULL or "" meaning what it does for
 * br_pg_model_number, or the one of some contents; false: there is none. SPI
 * must be connected.
 */
extern bool br_pg_model_find(const char *name, BrPgStoredModel *found);
extern bool br_pg_model_find_contents(const uint8 hash[BR_PG_HASH_SIZE], BrPgStoredModel *found);

/* As br_pg_model_find, and raises 42704 with a hint that lists what there is. */
extern void br_pg_model_get(const char *name, BrPgStoredModel *found);

/*
 * Number of the model called name; NULL or "" means bundle_rec.default_model,
 * or else the only model there is. SPI must be connected. Raises 42704 with a
 * hint that lists what there is.
 */
extern int32 br_pg_model_number(const char *name);

/*
 * In an owner section: keeps drop_model waiting until the transaction ends.
 * For whoever stores the number of a model. Raises 42704 if the model is gone.
 */
extern void br_pg_model_hold(int32 model);

/*
 * The encoder of a model, mapped from its packed file (created if it is not
 * there) and kept for the connection; valid until the end of the transaction.
 * SPI must be connected. Raises 42704 if the model is gone.
 */
extern const BrEncoder *br_pg_model_encoder(int32 model);

/* By what an embedding is computed. */
typedef struct BrPgComputing
{
	const BrBackend *backend; /* of the session; NULL: the embedding service's device */
	int precision;			  /* class, br_pg_precision_name */
} BrPgComputing;

/*
 * What would compute an embedding now. Raises 0A000 where the settings ask for
 * what is not to be had.
 */
extern BrPgComputing br_pg_model_computing(void);

/* The same of one model: devices do not compute all of them. Raises 42704 if it is gone. */
extern BrPgComputing br_pg_model_computing_of(int32 model);

/*
 * Embeds texts in the database's encoding; embeddings is (n, dimensions). Returns
 * the class of precision in which they were computed, which is one for all.
 * pool: NULL: that of the session. Cancellable. Texts are converted to UTF-8
 * first. Callers with very many texts bound memory by calling for some hundreds
 * at a time.
 */
extern int br_pg_model_embed(int32 model, char **texts, int n, bool parse_special, BrPool *pool,
							 float *embeddings);

/*
 * The same from token ids: ids of text i at offsets[i] .. offsets[i + 1]. Raises
 * 22023 where they are none of the model's.
 */
extern void br_pg_model_embed_tokens(int32 model, const int32 *ids, const int32 *offsets, int n,
									 float *embeddings);

/*
 * The embedding of a single text, which may be kept from an earlier call
 * (bundle_rec.query_cache); palloc'd.
 */
extern BrEmbedding *br_pg_model_embed_text(int32 model, const char *text, bool parse_special);

/*
 * Token ids of a text in the database's encoding, palloc'd; *n of them.
 */
extern int32 *br_pg_model_tokenize(int32 model, const char *text, bool parse_special, int *n);

/*
 * Reads a model folder of the server and stores it under name. SPI must be
 * connected. Raises 42501 without the rights of pg_read_server_files, 42710
 * where the name is taken, file errors, and what br_encoder_import finds wrong.
 */
extern void br_pg_model_load(const char *name, const char *directory);

/* Files of a model that a client gives, whole or in pieces. */
typedef struct BrPgGiven BrPgGiven;

/* owned: each content is palloc'd, and is freed when it is no longer needed. */
extern BrPgGiven *br_pg_given_create(bool owned);

/*
 * Adds a file, or a piece of the file that was added last. path and content
 * must stay where they are. Raises 42602 for a path that leads out of a
 * folder, 22023 where the pieces of a file do not follow each other.
 */
extern void br_pg_given_add(BrPgGiven *given, char *path, bytea *content);

/* All elements of a model_file[]. Raises 22004 where something in it is NULL. */
extern BrPgGiven *br_pg_given_array(ArrayType *array);

/*
 * Loads a model from such files. Who may is the business of the SQL function's
 * privileges.
 */
extern void br_pg_model_load_given(const char *name, BrPgGiven *given);

/*
 * Removes a model. SPI must be connected. Raises 42501 for who has neither the
 * rights of the role that loaded it nor those of pg_read_server_files, 42704
 * for an unknown name, and 2BP01 while catalogs use the model.
 */
extern void br_pg_model_drop(const char *name);

/*
 * Names of the catalogs that use the model, are moving to it or hold embeddings
 * of it, sorted, as a text[] in the current memory context: those that the caller
 * may know of, as of the active snapshot; for_drop: all of them, as of now. SPI
 * must be connected.
 */
extern ArrayType *br_pg_model_used_by(int32 model, bool for_drop);

/*
 * All that is known of a model, as the row that the SQL function model_info
 * describes. SPI must be connected.
 */
extern HeapTuple br_pg_model_info(int32 model, TupleDesc descriptor);

#endif /* BR_MODEL_H */
