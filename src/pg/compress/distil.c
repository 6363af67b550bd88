/*
 * distil.c
 *	  A model with fewer layers, which learns to embed as the whole one does.
 *
 * The layers that stay begin with the weights that they had. Then all weights are
 * trained on texts of the catalog, so that their embeddings become those which the
 * whole model gives; these are computed once, in 32 bits. What core allocates is of
 * the call's memory, which an error frees.
 *
 * Sources: Hinton et al., "Distilling the knowledge in a neural network", 2015;
 * Sanh et al., "DistilBERT", 2019, section 3, for the layers.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "core/tune/br_tune.h"
#include "pg/compress/compress_int.h"

/* texts that the whole model embeds between two looks at the clock */
#define TEACHER_TEXTS 256

/*
 * Tokens of a batch that are trained on at once: texts of usual length fit, and
 * the memory of long ones has an end.
 */
#define CHUNK_TOKENS 2048

#define NOTICE_SECONDS 10

/* Token ids of the texts to learn from, and what the whole model makes of them. */
typedef struct Lessons
{
	int32_t *ids;
	int32_t *offsets; /* (n + 1) */
	int n;
	float *teacher; /* (n, dimensions) */
	int dimensions;
} Lessons;

/* ---- how far it is ---- */

typedef struct Progress
{
	const char *message; /* of two numbers */
	TimestampTz told;	 /* when the last line was, or it began */
	int tenths;			 /* told */
} Progress;

static Progress
begin_progress(const char *message)
{
	return (Progress){.message = message, .told = GetCurrentTimestamp()};
}

/* A line for each tenth, if it takes as long as that. */
static void
tell(Progress *progress, int64 done, int64 all)
{
	TimestampTz now = GetCurrentTimestamp();
	int tenths = (int) (done * 10 / all);

	if (tenths == progress->tenths || done == all ||
		!TimestampDifferenceExceeds(progress->told, now, NOTICE_SECONDS * 1000))
		return;
	progress->told = now;
	progress->tenths = tenths;
	ereport(NOTICE, (errmsg(progress->message, (long long) done, (long long) all)));
}

/* ---- the whole model ---- */

/* How many layers stay; where that is the default, it is written into the parameters. */
static int
count_layers(BrPgCompressWork *work, int layers)
{
	double *kept = &work->parameters.numbers[BR_PG_LAYERS_LAYERS];

	if (*kept == 0)
		*kept = (layers + 1) / 2;
	if (*kept >= layers)
		br_pg_compress_refuse_whole(work,
									psprintf("Of its layers, %d, there would stay %d.", layers,
											 (int) *kept),
									layers == 1
										? "Choose another method."
										: psprintf("Let \"layers\" be at most %d.", layers - 1));
	return (int) *kept;
}

/* Embeds the texts with the whole model. */
static void
ask_teacher(const BrEncoder *encoder, BrContext *context, Lessons *lessons)
{
	BrCompute compute = br_pg_compress_compute(context, encoder);
	Progress progress = begin_progress("the whole model has embedded %lld of %lld texts");

	for (int first = 0; first < lessons->n; first += TEACHER_TEXTS)
	{
		int some = Min(lessons->n - first, TEACHER_TEXTS);
		int32 offsets[TEACHER_TEXTS + 1];

		for (int i = 0; i <= some; i++)
			offsets[i] = lessons->offsets[first + i] - lessons->offsets[first];
		br_pg_check(br_encoder_embed_tokens(encoder, context, &compute,
											lessons->ids + lessons->offsets[first], offsets, some,
											lessons->teacher +
												(Size) first * (Size) lessons->dimensions),
					context, BR_PG_COMPRESS_FAILURE, NULL);
		tell(&progress, first + some, lessons->n);
	}
}

/* Returns how many layers stay. */
static int
prepare(BrPgCompressWork *work, Lessons *lessons)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "bundle_rec whole model",
												 ALLOCSET_DEFAULT_SIZES);
	BrContext own;
	BrEncoder *encoder;
	int layers;

	br_pg_context(&own, memory);
	br_pg_check(br_encoder_open(&own, work->image, work->size, &encoder), &own,
				BR_PG_COMPRESS_FAILURE, NULL);
	layers = count_layers(work, br_encoder_info(encoder)->layers);
	lessons->n = (int) Min(work->parameters.numbers[BR_PG_LAYERS_TEXTS], work->learned.n);
	lessons->dimensions = br_encoder_info(encoder)->dimensions;
	lessons->teacher =
		palloc_extended(sizeof(float) * (Size) lessons->n * (Size) lessons->dimensions,
						MCXT_ALLOC_HUGE);
	br_pg_check(br_encoder_encode(encoder, &work->context, work->learned.texts, work->learned.sizes,
								  lessons->n, false, &lessons->ids, &lessons->offsets),
				&work->context, BR_PG_COMPRESS_FAILURE, NULL);
	ask_teacher(encoder, &own, lessons);
	br_encoder_close(encoder);
	MemoryContextDelete(memory);
	return layers;
}

/* ---- the model with fewer layers ---- */

static BrTuneOptions
options_of(const BrPgCompressWork *work)
{
	const double *numbers = work->parameters.numbers;
	BrTuneOptions options;

	br_tune_defaults(BR_TUNE_DISTILLATION, BR_TUNE_FULL, &options);
	options.epochs = (int) numbers[BR_PG_LAYERS_EPOCHS];
	options.batch = (int) numbers[BR_PG_LAYERS_BATCH];
	options.rate = numbers[BR_PG_LAYERS_RATE];
	options.seed = (int64_t) numbers[BR_PG_COMPRESS_SEED];
	options.chunk_tokens = CHUNK_TOKENS;
	/* texts are cut as the model cuts them */
	options.most_tokens = 0;
	/* what a text's embedding is, is exact: there is nothing that noise could teach */
	options.dropout = 0;
	options.attention_dropout = 0;
	return options;
}

static const char *
hint_of(BrStatus status)
{
	switch (status)
	{
		case BR_ERR_UNSUPPORTED:
			return BR_PG_COMPRESS_BACKENDS;
		case BR_ERR_NUMERIC:
			return "Lower \"rate\".";
		case BR_ERR_LIMIT:
			return "Lower \"batch\".";
		default:
			return NULL;
	}
}

static void
check_tune(BrStatus status, const BrContext *context)
{
	br_pg_check(status, context, BR_PG_COMPRESS_FAILURE, hint_of(status));
}

static void
take_steps(BrTune *tune, BrContext *context)
{
	Progress progress = begin_progress("taken %lld of %lld steps of training");
	BrTuneProgress stands;

	do
	{
		CHECK_FOR_INTERRUPTS();
		check_tune(br_tune_step(tune, &stands), context);
		tell(&progress, stands.step, stands.steps);
	} while (stands.end == BR_TUNE_GOES_ON);
}

static void
train(BrPgCompressWork *work, const void *image, size_t size, const Lessons *lessons)
{
	BrContext *context = &work->context;
	BrTuneOptions options = options_of(work);
	BrTuneExample *examples =
		palloc_extended(sizeof(BrTuneExample) * (Size) lessons->n, MCXT_ALLOC_HUGE);
	/* no text is cut or disturbed, so it need not be known which tokens are special */
	BrTuneData data = {.ids = lessons->ids,
					   .offsets = lessons->offsets,
					   .n_texts = lessons->n,
					   .examples = examples,
					   .n_examples = lessons->n,
					   .teacher = lessons->teacher,
					   .teacher_dimensions = lessons->dimensions};
	BrTuneCompute compute = {.backend = work->backend, .pool = br_pg_session_pool()};
	BrEncoder *encoder;
	BrTune *tune;

	for (int i = 0; i < lessons->n; i++)
		examples[i] = (BrTuneExample){.first = i};
	br_pg_check(br_encoder_open(context, image, size, &encoder), context, BR_PG_COMPRESS_FAILURE,
				NULL);
	CHECK_FOR_INTERRUPTS();
	check_tune(br_tune_open(context, encoder, &data, &options, &compute, &tune), context);
	br_encoder_close(encoder);
	take_steps(tune, context);
	check_tune(br_tune_image(tune, image, size, &work->made, &work->made_size), context);
	br_tune_close(tune);
	pfree(examples);
}

void
br_pg_compress_layers(BrPgCompressWork *work)
{
	Lessons lessons;
	int layers = prepare(work, &lessons);
	void *image;
	size_t size;

	br_pg_check(br_compress_layers(&work->context, work->image, work->size, layers, &image, &size),
				&work->context, BR_PG_COMPRESS_FAILURE, NULL);
	train(work, image, size, &lessons);
	br_base_free(&work->context, image);
	br_base_free(&work->context, lessons.ids);
	br_base_free(&work->context, lessons.offsets);
	pfree(lessons.teacher);
}
