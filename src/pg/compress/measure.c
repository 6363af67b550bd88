/*
 * measure.c
 *	  Two models side by side: how large, how fast, how alike.
 *
 * Both embed the same texts in this session, in 32 bits, with weights packed where
 * the backend packs them: what the embedding service or a lower precision would
 * make of one of them is no property of it. Only where weights become bytes both
 * are computed in bytes, too.
 */
#include "postgres.h"

#include <math.h>

#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "pg/compress/compress_int.h"

#define NEIGHBOURS 10

/* Texts that are embedded before the clock starts, so that pages and caches are there. */
#define WARM_TEXTS 32

#define FAILURE "could not measure a model"

/* Weights in a precision, into the context's memory; NULL: plain ones, in 32 bits. */
static const void *
pack(BrContext *context, const BrEncoder *encoder, const BrBackend *backend, BrPrecision precision)
{
	size_t size = backend->packs == NULL ? 0 : br_encoder_packed_size(encoder, backend, precision);
	void *packed;

	if (size == 0)
		return NULL;
	packed = br_base_alloc(context, size + 64);
	if (packed == NULL)
		br_pg_check(BR_ERR_MEMORY, context, FAILURE, NULL);
	/* to a cache line, as packed weights must be */
	packed = (void *) TYPEALIGN(64, packed);
	br_pg_check(br_encoder_pack(encoder, context, backend, precision, packed), context, FAILURE,
				NULL);
	return packed;
}

BrCompute
br_pg_compress_compute(BrContext *context, const BrEncoder *encoder)
{
	BrCompute compute = {.backend = br_pg_session_backend(), .pool = br_pg_session_pool()};

	compute.packed = pack(context, encoder, compute.backend, BR_PRECISION_F32);
	return compute;
}

static void
embed(BrContext *context, const BrEncoder *encoder, const BrCompute *compute,
	  const BrPgCompressTexts *texts, int n, float *embeddings)
{
	br_pg_check(br_encoder_embed(encoder, context, compute, texts->texts, texts->sizes, n, false,
								 embeddings),
				context, FAILURE, NULL);
}

/* Embeds the sample, so many texts a second. */
static BrPgCompressEmbedded
embed_sample(BrContext *context, const BrEncoder *encoder, const BrCompute *compute,
			 const BrPgCompressTexts *sample, MemoryContext memory)
{
	Size size = sizeof(float) * sample->n * (Size) br_encoder_info(encoder)->dimensions;
	BrPgCompressEmbedded embedded = {.embeddings =
										 MemoryContextAllocExtended(memory, size, MCXT_ALLOC_HUGE)};
	instr_time begun;
	instr_time ended;

	embed(context, encoder, compute, sample, Min(sample->n, WARM_TEXTS), embedded.embeddings);
	INSTR_TIME_SET_CURRENT(begun);
	embed(context, encoder, compute, sample, sample->n, embedded.embeddings);
	INSTR_TIME_SET_CURRENT(ended);
	INSTR_TIME_SUBTRACT(ended, begun);
	embedded.texts_per_second = sample->n / Max(INSTR_TIME_GET_DOUBLE(ended), 1e-9);
	return embedded;
}

static double
bytes_in_tables(BrContext *context, const void *image, size_t size)
{
	void *shortened;
	size_t shortened_size;

	br_pg_check(br_encoder_shorten(context, image, size, &shortened, &shortened_size), context,
				FAILURE, NULL);
	br_base_free(context, shortened);
	return (double) (shortened != NULL ? shortened_size : size);
}

void
br_pg_compress_measure(BrContext *context, const void *image, size_t size,
					   const BrPgCompressTexts *sample, bool in_bytes,
					   BrPgCompressMeasured *measured)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work =
		AllocSetContextCreate(outer, "bundle_rec measuring", ALLOCSET_DEFAULT_SIZES);
	BrContext own;
	BrEncoder *encoder;
	BrCompute compute;

	br_pg_context(&own, work);
	br_pg_check(br_encoder_open(&own, image, size, &encoder), &own, FAILURE, NULL);
	measured->bytes = bytes_in_tables(&own, image, size);
	measured->info = *br_encoder_info(encoder);
	br_encoder_tell_shape(encoder, &measured->shape);
	compute = br_pg_compress_compute(&own, encoder);
	measured->plain = embed_sample(&own, encoder, &compute, sample, outer);
	measured->int8 = (BrPgCompressEmbedded){.texts_per_second = NAN};
	if (in_bytes)
		compute.packed = pack(&own, encoder, compute.backend, BR_PRECISION_INT8);
	if (in_bytes && compute.packed != NULL)
		measured->int8 = embed_sample(&own, encoder, &compute, sample, outer);
	br_encoder_close(encoder);
	MemoryContextDelete(work);
}

/* ---- rows ---- */

static BrCompressLikeness
compare(BrContext *context, const BrPgCompressMeasured *before, const float *embeddings, int sample)
{
	BrCompressLikeness likeness = {NAN, NAN, NAN};

	if (embeddings != NULL)
		br_pg_check(br_compress_compare(context, before->plain.embeddings, embeddings, sample,
										before->info.dimensions, NEIGHBOURS, &likeness),
					context, "could not compare the models", NULL);
	return likeness;
}

/* What both make of the texts if they are computed in bytes, beside the original in 32 bits. */
static int
add_rows_in_bytes(BrContext *context, const BrPgCompressMeasured *before,
				  const BrPgCompressMeasured *after, int sample, BrPgCompressed *rows, int n)
{
	rows[n++] = (BrPgCompressed){"int8_texts_per_second", before->int8.texts_per_second,
								 after->int8.texts_per_second};
	rows[n++] =
		(BrPgCompressed){"int8_mean_cosine",
						 compare(context, before, before->int8.embeddings, sample).mean_cosine,
						 compare(context, before, after->int8.embeddings, sample).mean_cosine};
	return n;
}

int
br_pg_compress_rows(BrContext *context, const BrPgCompressMeasured *before,
					const BrPgCompressMeasured *after, int sample, bool in_bytes,
					BrPgCompressed rows[BR_PG_COMPRESSED_MAX])
{
	BrCompressLikeness likeness = compare(context, before, after->plain.embeddings, sample);
	int n = 0;

	rows[n++] = (BrPgCompressed){"bytes", before->bytes, after->bytes};
	rows[n++] = (BrPgCompressed){"parameters", (double) before->info.parameters,
								 (double) after->info.parameters};
	rows[n++] = (BrPgCompressed){"vocabulary", before->shape.vocabulary, after->shape.vocabulary};
	rows[n++] = (BrPgCompressed){"layers", before->shape.layers, after->shape.layers};
	rows[n++] = (BrPgCompressed){"heads", before->shape.heads, after->shape.heads};
	rows[n++] = (BrPgCompressed){"neurons", before->shape.intermediate, after->shape.intermediate};
	rows[n++] = (BrPgCompressed){"texts_per_second", before->plain.texts_per_second,
								 after->plain.texts_per_second};
	rows[n++] = (BrPgCompressed){"mean_cosine", 1, likeness.mean_cosine};
	rows[n++] = (BrPgCompressed){"least_cosine", 1, likeness.least_cosine};
	rows[n++] = (BrPgCompressed){"recall_at_10", isnan(likeness.recall) ? NAN : 1, likeness.recall};
	if (in_bytes)
		n = add_rows_in_bytes(context, before, after, sample, rows, n);
	return n;
}
