/*
 * measure.c
 *	  Two models side by side: how large, how fast, how alike.
 *
 * Both embed the same texts in this session, in 32 bits, with weights packed where
 * the backend packs them: what the embedding service or a lower precision would
 * make of one of them is no property of it.
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

BrCompute
br_pg_compress_compute(BrContext *context, const BrEncoder *encoder)
{
	BrCompute compute = {.backend = br_pg_session_backend(), .pool = br_pg_session_pool()};
	size_t size = compute.backend->packs == NULL
		? 0
		: br_encoder_packed_size(encoder, compute.backend, BR_PRECISION_F32);
	void *packed;

	if (size == 0)
		return compute;
	packed = br_base_alloc(context, size + 64);
	if (packed == NULL)
		br_pg_check(BR_ERR_MEMORY, context, FAILURE, NULL);
	/* to a cache line, as packed weights must be */
	packed = (void *) TYPEALIGN(64, packed);
	br_pg_check(br_encoder_pack(encoder, context, compute.backend, BR_PRECISION_F32, packed),
				context, FAILURE, NULL);
	compute.packed = packed;
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

void
br_pg_compress_measure(BrContext *context, const void *image, size_t size,
					   const BrPgCompressTexts *sample, BrPgCompressMeasured *measured)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext work =
		AllocSetContextCreate(outer, "bundle_rec measuring", ALLOCSET_DEFAULT_SIZES);
	BrContext own;
	BrEncoder *encoder;
	BrCompute compute;
	instr_time begun;
	instr_time ended;

	br_pg_context(&own, work);
	br_pg_check(br_encoder_open(&own, image, size, &encoder), &own, FAILURE, NULL);
	measured->bytes = (double) size;
	measured->info = *br_encoder_info(encoder);
	br_encoder_tell_shape(encoder, &measured->shape);
	measured->embeddings =
		palloc_extended(sizeof(float) * sample->n * (Size) measured->info.dimensions,
						MCXT_ALLOC_HUGE);
	compute = br_pg_compress_compute(&own, encoder);
	embed(&own, encoder, &compute, sample, Min(sample->n, WARM_TEXTS), measured->embeddings);
	INSTR_TIME_SET_CURRENT(begun);
	embed(&own, encoder, &compute, sample, sample->n, measured->embeddings);
	INSTR_TIME_SET_CURRENT(ended);
	INSTR_TIME_SUBTRACT(ended, begun);
	measured->texts_per_second = sample->n / Max(INSTR_TIME_GET_DOUBLE(ended), 1e-9);
	br_encoder_close(encoder);
	MemoryContextDelete(work);
}

int
br_pg_compress_rows(BrContext *context, const BrPgCompressMeasured *before,
					const BrPgCompressMeasured *after, int sample,
					BrPgCompressed rows[BR_PG_COMPRESSED_MAX])
{
	BrCompressLikeness likeness;
	int n = 0;

	br_pg_check(br_compress_compare(context, before->embeddings, after->embeddings, sample,
									before->info.dimensions, NEIGHBOURS, &likeness),
				context, "could not compare the models", NULL);
	rows[n++] = (BrPgCompressed){"bytes", before->bytes, after->bytes};
	rows[n++] = (BrPgCompressed){"parameters", (double) before->info.parameters,
								 (double) after->info.parameters};
	rows[n++] = (BrPgCompressed){"vocabulary", before->shape.vocabulary, after->shape.vocabulary};
	rows[n++] = (BrPgCompressed){"layers", before->shape.layers, after->shape.layers};
	rows[n++] = (BrPgCompressed){"heads", before->shape.heads, after->shape.heads};
	rows[n++] = (BrPgCompressed){"neurons", before->shape.intermediate, after->shape.intermediate};
	rows[n++] =
		(BrPgCompressed){"texts_per_second", before->texts_per_second, after->texts_per_second};
	rows[n++] = (BrPgCompressed){"mean_cosine", 1, likeness.mean_cosine};
	rows[n++] = (BrPgCompressed){"least_cosine", 1, likeness.least_cosine};
	rows[n++] = (BrPgCompressed){"recall_at_10", isnan(likeness.recall) ? NAN : 1, likeness.recall};
	return n;
}
