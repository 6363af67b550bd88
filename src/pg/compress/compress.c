/*
 * compress.c
 *	  From a model and a catalog's texts to a smaller model.
 *
 * Nothing of the model that is there changes, nor of the catalog: whoever likes
 * what the rows say moves a catalog to the new model.
 */
#include "postgres.h"

#include <math.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/compress/compress_int.h"
#include "pg/model/lineage.h"
#include "pg/model/model.h"

#define FAILURE BR_PG_COMPRESS_FAILURE

/* ---- methods ---- */

void
br_pg_compress_refuse_whole(const BrPgCompressWork *work, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("nothing would be removed from model \"%s\"", work->compression->model),
			 errdetail("%s", detail), errhint("%s", hint)));
}

static void
prune_vocabulary(BrPgCompressWork *work)
{
	br_pg_check(br_compress_vocabulary(&work->context, work->image, work->size, work->learned.texts,
									   work->learned.sizes, work->learned.n,
									   (int64_t)
										   work->parameters.numbers[BR_PG_VOCABULARY_LEAST_USES],
									   &work->made, &work->made_size),
				&work->context, FAILURE, NULL);
}

static void
round_weights(BrPgCompressWork *work)
{
	br_pg_check(br_encoder_round_weights(&work->context, work->image, work->size, &work->made),
				&work->context, FAILURE, NULL);
	work->made_size = work->size;
	if (memcmp(work->made, work->image, work->size) == 0)
		br_pg_compress_refuse_whole(work, "Its weights are bytes already.",
									"Choose another method.");
}

/* How many of n stay where a share goes, at least one. */
static int
left_of(int n, double removed)
{
	return Max(n - (int) rint(n * removed), 1);
}

static double *
allocate_weights(int layers, int n)
{
	return palloc_extended(sizeof(double) * (Size) layers * (Size) n, MCXT_ALLOC_HUGE);
}

static void
prune_structure(BrPgCompressWork *work)
{
	BrContext *context = &work->context;
	const double *numbers = work->parameters.numbers;
	BrCompressOptions options = {.backend = work->backend,
								 .pool = br_pg_session_pool(),
								 .draws = (int) numbers[BR_PG_STRUCTURE_DRAWS],
								 .seed = (uint64_t) numbers[BR_PG_COMPRESS_SEED]};
	int texts = (int) Min(numbers[BR_PG_STRUCTURE_TEXTS], work->learned.n);
	BrEncoder *encoder;
	BrModelShape shape;
	int32_t *ids;
	int32_t *offsets;
	double *heads;
	double *neurons;
	int heads_kept;
	int neurons_kept;

	br_pg_check(br_encoder_open(context, work->image, work->size, &encoder), context, FAILURE,
				NULL);
	br_encoder_tell_shape(encoder, &shape);
	heads_kept = left_of(shape.heads, numbers[BR_PG_STRUCTURE_HEADS_REMOVED]);
	neurons_kept = left_of(shape.intermediate, numbers[BR_PG_STRUCTURE_NEURONS_REMOVED]);
	if (heads_kept == shape.heads && neurons_kept == shape.intermediate)
		br_pg_compress_refuse_whole(work,
									psprintf("Each of its layers has %d heads and %d neurons.",
											 shape.heads, shape.intermediate),
									"Raise \"heads_removed\" or \"neurons_removed\".");
	heads = allocate_weights(shape.layers, shape.heads);
	neurons = allocate_weights(shape.layers, shape.intermediate);
	br_pg_check(br_encoder_encode(encoder, context, work->learned.texts, work->learned.sizes, texts,
								  false, &ids, &offsets),
				context, FAILURE, NULL);
	br_pg_check(br_compress_weigh(context, encoder, &options, ids, offsets, texts, heads, neurons),
				context, FAILURE, BR_PG_COMPRESS_BACKENDS);
	br_pg_check(br_compress_structure(context, work->image, work->size, heads, neurons, heads_kept,
									  neurons_kept, &work->made, &work->made_size),
				context, FAILURE, NULL);
	br_encoder_close(encoder);
}

/* ---- storing ---- */

static Jsonb *
parse_json(const char *json)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}

static Jsonb *
data_json(const BrPgCompressWork *work)
{
	return parse_json(psprintf("{\"texts\": %d, \"sample\": %d, \"sha256\": \"%s\"}",
							   work->learned.n, work->sample.n,
							   br_pg_compress_texts_hash(&work->learned)));
}

static Jsonb *
figures_json(const BrPgCompressed *rows, int n)
{
	StringInfoData json;

	initStringInfo(&json);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&json, "%s\"%s\": ", i > 0 ? ", " : "{", rows[i].quantity);
		if (isnan(rows[i].after))
			appendStringInfoString(&json, "null");
		else
			appendStringInfo(&json, "%.9g", rows[i].after);
	}
	appendStringInfoChar(&json, '}');
	return parse_json(json.data);
}

static void
store(const BrPgCompressWork *work, const BrPgCompressed *rows, int n)
{
	BrPgLineage lineage = {.made_by = "compress",
						   .parent = work->model,
						   .catalog = work->compression->catalog,
						   .objective = "compress",
						   .method = work->compression->method,
						   .parameters = br_pg_compress_parameters_json(&work->parameters),
						   .seed = (int64) work->parameters.numbers[BR_PG_COMPRESS_SEED],
						   .data = data_json(work),
						   .learned_until = DT_NOBEGIN,
						   .figures = figures_json(rows, n),
						   .backend = work->backend->name,
						   .threads = work->threads};

	br_pg_model_store(work->compression->new_name, work->made, work->made_size, &lineage);
}

/* ---- the whole ---- */

static void
make(BrPgCompressWork *work)
{
	switch (work->parameters.method)
	{
		case BR_PG_COMPRESS_VOCABULARY:
			prune_vocabulary(work);
			break;
		case BR_PG_COMPRESS_STRUCTURE:
			prune_structure(work);
			break;
		case BR_PG_COMPRESS_LAYERS:
			br_pg_compress_layers(work);
			break;
		case BR_PG_COMPRESS_INT8:
			round_weights(work);
			break;
	}
}

int
br_pg_compress(const BrPgCompression *compression, BrPgCompressed rows[BR_PG_COMPRESSED_MAX])
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_rec compress", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(memory);
	BrPgCompressWork work = {.compression = compression};
	BrPgCompressMeasured before;
	BrPgCompressMeasured after;
	BrPgCatalog *catalog;
	bool in_bytes;
	int n;

	br_pg_require_writes("compress_model()");
	br_pg_read_compress_parameters(compression, &work.parameters);
	br_pg_model_require_new_name(compression->new_name);
	catalog = br_pg_catalog_open(compression->catalog);
	br_pg_catalog_require_owner(catalog);
	br_pg_context(&work.context, memory);
	work.backend = br_pg_session_backend();
	work.threads = br_base_pool_threads(br_pg_session_pool());
	work.model = br_pg_model_number(compression->model);
	br_pg_compress_texts(catalog, (int) work.parameters.numbers[BR_PG_COMPRESS_SAMPLE],
						 (uint64) work.parameters.numbers[BR_PG_COMPRESS_SEED], &work.learned,
						 &work.sample);

	work.image = br_pg_model_image(work.model, &work.size);
	make(&work);
	in_bytes = work.parameters.method == BR_PG_COMPRESS_INT8;
	br_pg_compress_measure(&work.context, work.image, work.size, &work.sample, in_bytes, &before);
	br_pg_compress_measure(&work.context, work.made, work.made_size, &work.sample, in_bytes,
						   &after);
	n = br_pg_compress_rows(&work.context, &before, &after, work.sample.n, in_bytes, rows);
	store(&work, rows, n);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(memory);
	return n;
}
