/*
 * compress_int.h
 *	  What the files of src/pg/compress share.
 */
#ifndef BR_PG_COMPRESS_INT_H
#define BR_PG_COMPRESS_INT_H

#include "core/compress/br_compress.h"
#include "core/encoder/br_encoder.h"
#include "pg/catalog/catalog.h"
#include "pg/compress/compress.h"
#include "pg/embedding.h"
#include "pg/model/packed_file.h"
#include "pg/parameters.h"

/* ---- parameters.c ---- */

typedef enum BrPgCompressMethod
{
	BR_PG_COMPRESS_VOCABULARY,
	BR_PG_COMPRESS_STRUCTURE,
	BR_PG_COMPRESS_LAYERS,
	BR_PG_COMPRESS_INT8
} BrPgCompressMethod;

#define BR_PG_COMPRESS_METHODS (BR_PG_COMPRESS_INT8 + 1)

/* Places of numbers, first those of all methods; names, defaults and ranges stand in parameters.c. */
enum
{
	BR_PG_COMPRESS_SAMPLE, /* texts that are left out, at most */
	BR_PG_COMPRESS_SEED,
	BR_PG_COMPRESS_OWN
};
enum
{
	BR_PG_VOCABULARY_LEAST_USES = BR_PG_COMPRESS_OWN
};
enum
{
	BR_PG_STRUCTURE_HEADS_REMOVED = BR_PG_COMPRESS_OWN, /* shares of a layer's */
	BR_PG_STRUCTURE_NEURONS_REMOVED,
	BR_PG_STRUCTURE_TEXTS, /* to weigh with, at most */
	BR_PG_STRUCTURE_DRAWS
};
enum
{
	BR_PG_LAYERS_LAYERS = BR_PG_COMPRESS_OWN, /* that stay; 0: half of them, rounded up */
	BR_PG_LAYERS_TEXTS,						  /* to learn from, at most */
	BR_PG_LAYERS_EPOCHS,
	BR_PG_LAYERS_BATCH,
	BR_PG_LAYERS_RATE
};

#define BR_PG_COMPRESS_MOST_PARAMETERS 10

typedef struct BrPgCompressParameters
{
	BrPgCompressMethod method;
	double numbers[BR_PG_COMPRESS_MOST_PARAMETERS];
} BrPgCompressParameters;

extern void br_pg_read_compress_parameters(const BrPgCompression *compression,
										   BrPgCompressParameters *parameters);

/* All that the method takes, defaults written out. */
extern Jsonb *br_pg_compress_parameters_json(const BrPgCompressParameters *parameters);

/* ---- texts.c ---- */

/* Texts in UTF-8. */
typedef struct BrPgCompressTexts
{
	const char **texts; /* (n) */
	size_t *sizes;		/* (n) */
	int n;
} BrPgCompressTexts;

/*
 * The different texts of a catalog's items: in an order that the seed draws, those
 * of which at most a fifth and at most so many are the sample, the others to learn
 * from. Raises 55000 where there are too few.
 */
extern void br_pg_compress_texts(const BrPgCatalog *catalog, int most_sample, uint64 seed,
								 BrPgCompressTexts *learned, BrPgCompressTexts *sample);

/* SHA-256 of texts and where they end, in hexadecimal, palloc'd. */
extern char *br_pg_compress_texts_hash(const BrPgCompressTexts *texts);

/* ---- compress.c ---- */

/* One call. What a method makes is of its context's memory. */
typedef struct BrPgCompressWork
{
	const BrPgCompression *compression;
	BrContext context; /* of the call's memory */
	BrPgCompressParameters parameters;
	int32 model;
	const void *image; /* of the model */
	size_t size;
	BrPgCompressTexts learned;
	BrPgCompressTexts sample;
	void *made; /* the new image */
	size_t made_size;
	const BrBackend *backend; /* that makes it */
	int threads;
} BrPgCompressWork;

#define BR_PG_COMPRESS_FAILURE "could not compress the model"
#define BR_PG_COMPRESS_BACKENDS \
	"Set bundle_rec.backend to one that trains, such as openblas or portable."

/* Raises 22023: the parameters would leave the model as it is. */
extern void br_pg_compress_refuse_whole(const BrPgCompressWork *work, const char *detail,
										const char *hint) pg_attribute_noreturn();

/* ---- distil.c ---- */

/*
 * Sets what is made to the model with fewer layers, trained on the learned texts to
 * embed as the whole one does. Tells in NOTICEs how far it is, where it takes long.
 */
extern void br_pg_compress_layers(BrPgCompressWork *work);

/* ---- measure.c ---- */

/* With what this session computes in 32 bits; weights are packed into the context's memory. */
extern BrCompute br_pg_compress_compute(BrContext *context, const BrEncoder *encoder);

/* A sample's embeddings. */
typedef struct BrPgCompressEmbedded
{
	float
		*embeddings; /* (sample, dimensions); NULL: they were not asked for, or are not to be had */
	double texts_per_second;
} BrPgCompressEmbedded;

typedef struct BrPgCompressMeasured
{
	double bytes; /* in the tables */
	BrModelShape shape;
	BrModelInfo info;			/* its strings are gone */
	BrPgCompressEmbedded plain; /* in 32 bits */
	BrPgCompressEmbedded int8;	/* with weights and inputs of bytes */
} BrPgCompressMeasured;

/* Embeds the sample as this session computes; in_bytes: in int8, too, where its backend does. */
extern void br_pg_compress_measure(BrContext *context, const void *image, size_t size,
								   const BrPgCompressTexts *sample, bool in_bytes,
								   BrPgCompressMeasured *measured);

/* Rows of the answer; of both models and what lies between them. */
extern int br_pg_compress_rows(BrContext *context, const BrPgCompressMeasured *before,
							   const BrPgCompressMeasured *after, int sample, bool in_bytes,
							   BrPgCompressed rows[BR_PG_COMPRESSED_MAX]);

#endif /* BR_PG_COMPRESS_INT_H */
