/*
 * embed.c
 *	  What encoders do for SQL: token ids and embeddings of texts.
 *
 * Single texts are what applications ask with, often the same ones, so that
 * their embeddings are kept for a while; texts in bulk are read once.
 */
#include "postgres.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "pg/model/model_int.h"
#include "pg/service/service.h"

static char *
to_utf8(const char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

/* The model, for callers that may not be connected to SPI. */
static BrPgOpenModel *
open_model(int32 number)
{
	BrPgOpenModel *model;

	SPI_connect();
	model = br_pg_model_open(number);
	SPI_finish();
	return model;
}

/* What is embedded: texts, or where ids is not NULL their token ids. */
typedef struct Job
{
	int n;
	const char *const *texts; /* (n) UTF-8 */
	const size_t *sizes;	  /* (n) */
	bool parse_special;
	const int32 *ids;
	const int32 *offsets; /* (n + 1) */
	BrPool *pool;		  /* NULL: that of the session */
	float *embeddings;	  /* (n, dimensions) */
	BrPgComputing by;	  /* what has computed them */
} Job;

/* ---- in this session ---- */

static BrPgComputing
session_computing(void)
{
	const BrBackend *backend = br_pg_session_backend();

	return (BrPgComputing){backend, (int) br_pg_session_precision(backend)};
}

/* As br_encoder_embed with what this session computes with. */
static BrStatus
compute_here(BrPgOpenModel *model, BrContext *context, Job *job)
{
	BrPgModelUse *use = br_pg_model_use(model->key.hash);
	BrCompute with = {.pool = job->pool != NULL ? job->pool : br_pg_session_pool(),
					  .tokens = &use->tokens};

	job->by = session_computing();
	with.backend = job->by.backend;
	with.packed = br_pg_weights_open(model, with.backend, (BrPrecision) job->by.precision);
	if (job->ids != NULL)
		return br_encoder_embed_tokens(model->encoder, context, &with, job->ids, job->offsets,
									   job->n, job->embeddings);
	return br_encoder_embed(model->encoder, context, &with, job->texts, job->sizes, job->n,
							job->parse_special, job->embeddings);
}

/* ---- by the service ---- */

static void
describe(BrPgOpenModel *model, BrPgServiceModel *described)
{
	BrPgComputing here;

	*described = (BrPgServiceModel){.image = model->key,
									.precision = BR_PRECISION_F32,
									.dimensions = br_encoder_info(model->encoder)->dimensions};
	if (!br_pg_service_wants_weights())
		return;
	here = session_computing();
	described->precision = (BrPrecision) here.precision;
	br_pg_weights_find(model, here.backend, described->precision, &described->weights);
}

/* What the model does not take is for this session to refuse: no other one has a part in it. */
static bool
is_acceptable(const BrEncoder *encoder, const Job *job)
{
	const BrModelInfo *info = br_encoder_info(encoder);

	for (int i = 0; i < job->n; i++)
	{
		int length = job->offsets[i + 1] - job->offsets[i];

		if (length < 1 || length > info->max_tokens)
			return false;
	}
	for (int i = 0; i < job->offsets[job->n]; i++)
		if (job->ids[i] < 0 || job->ids[i] >= info->vocabulary)
			return false;
	return true;
}

/* Turns texts into token ids, which serve this session, too, if it must compute after all. */
static bool
encode(BrPgOpenModel *model, BrContext *context, Job *job)
{
	int32 *ids;
	int32 *offsets;

	if (job->ids == NULL)
	{
		if (br_encoder_encode(model->encoder, context, job->texts, job->sizes, job->n,
							  job->parse_special, &ids, &offsets) != BR_OK)
			return false;
		job->ids = ids;
		job->offsets = offsets;
	}
	return is_acceptable(model->encoder, job);
}

/* Not where a device computes what devices do not: that is known, and no failure. */
static bool
is_served(const BrEncoder *encoder)
{
	return br_pg_service_wanted() &&
		(br_pg_service_wants_weights() || br_encoder_addition(encoder).kind == BR_ADDITION_NONE);
}

/* false: this session must compute. */
static bool
compute_by_service(BrPgOpenModel *model, BrContext *context, Job *job)
{
	BrPgServiceModel described;
	int precision;

	if (job->n == 0 || !is_served(model->encoder) || !encode(model, context, job))
		return false;
	describe(model, &described);
	precision = br_pg_service_embed(&described, job->ids, job->offsets, job->n, job->embeddings);
	if (precision < 0)
		return false;
	br_pg_model_use(model->key.hash)->tokens += job->offsets[job->n];
	/* with the session's own weights it computes as the session does */
	job->by =
		(BrPgComputing){br_pg_service_wants_weights() ? br_pg_session_backend() : NULL, precision};
	return true;
}

/* ---- either ---- */

static BrStatus
compute(BrPgOpenModel *model, BrContext *context, Job *job)
{
	BrPgModelUse *use = br_pg_model_use(model->key.hash);
	instr_time begun;
	instr_time ended;
	BrStatus status = BR_OK;

	INSTR_TIME_SET_CURRENT(begun);
	if (!compute_by_service(model, context, job))
		status = compute_here(model, context, job);
	INSTR_TIME_SET_CURRENT(ended);
	INSTR_TIME_SUBTRACT(ended, begun);
	use->seconds += INSTR_TIME_GET_DOUBLE(ended);
	return status;
}

BrPgComputing
br_pg_model_computing(void)
{
	int precision = br_pg_service_precision();

	return precision >= 0 ? (BrPgComputing){NULL, precision} : session_computing();
}

BrPgComputing
br_pg_model_computing_of(int32 model)
{
	BrPgComputing any = br_pg_model_computing();

	/* only then is the model asked, which may have to be opened */
	return any.backend == NULL && !is_served(open_model(model)->encoder) ? session_computing()
																		 : any;
}

/* What a batch worked with, malloc would keep for the next one, which may never come. */
static void
give_back_memory(void)
{
#ifdef __GLIBC__
	(void) malloc_trim(0);
#endif
}

/* Does a job in a memory context of its own, and is there for a cancel. */
static void
run(int32 model, Job *job)
{
	BrPgOpenModel *opened = open_model(model);
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_rec embed", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);
	BrContext context;

	br_pg_context(&context, work);
	br_pg_check(compute(opened, &context, job), &context, "could not embed text", NULL);
	MemoryContextSwitchTo(before);
	/* the token ids may lie in there */
	job->ids = NULL;
	MemoryContextDelete(work);
	if (job->n > 1)
		give_back_memory();
	CHECK_FOR_INTERRUPTS();
}

static BrPgComputing
embed_texts(int32 model, char **texts, int n, bool parse_special, BrPool *pool, float *embeddings)
{
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_rec texts", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);
	const char **converted = palloc(sizeof(char *) * Max(n, 1));
	size_t *sizes = palloc(sizeof(size_t) * Max(n, 1));
	Job job = {.n = n,
			   .texts = converted,
			   .sizes = sizes,
			   .parse_special = parse_special,
			   .pool = pool,
			   .embeddings = embeddings};

	for (int i = 0; i < n; i++)
	{
		converted[i] = to_utf8(texts[i]);
		sizes[i] = strlen(converted[i]);
	}
	run(model, &job);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
	return job.by;
}

int
br_pg_model_embed(int32 model, char **texts, int n, bool parse_special, BrPool *pool,
				  float *embeddings)
{
	return embed_texts(model, texts, n, parse_special, pool, embeddings).precision;
}

void
br_pg_model_embed_tokens(int32 model, const int32 *ids, const int32 *offsets, int n,
						 float *embeddings)
{
	Job job = {.n = n, .ids = ids, .offsets = offsets, .embeddings = embeddings};

	run(model, &job);
}

BrEmbedding *
br_pg_model_embed_text(int32 model, const char *text, bool parse_special)
{
	BrPgPackedKey image;
	BrPgQueryKey key = {image.hash, br_pg_model_computing_of(model), parse_special, text};
	BrPgModelUse *use;
	BrEmbedding *embedding;
	float *components;
	int dimensions;

	SPI_connect();
	br_pg_model_key(model, &image);
	SPI_finish();
	use = br_pg_model_use(image.hash);
	embedding = br_pg_query_find(&key);
	if (embedding != NULL)
	{
		use->query_hits++;
		return embedding;
	}
	use->query_misses++;
	dimensions = br_encoder_info(open_model(model)->encoder)->dimensions;
	components = palloc(sizeof(float) * dimensions);
	/* what was expected to compute it may not have done so */
	key.by = embed_texts(model, (char *[1]){unconstify(char *, text)}, 1, parse_special, NULL,
						 components);
	embedding = br_pg_embedding_from_floats(components, dimensions);
	pfree(components);
	br_pg_query_keep(&key, embedding);
	return embedding;
}

int32 *
br_pg_model_tokenize(int32 model, const char *text, bool parse_special, int *n)
{
	const BrEncoder *encoder = open_model(model)->encoder;
	const char *converted = to_utf8(text);
	BrContext context;
	int32 *ids;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	status = br_encoder_tokenize(encoder, &context, converted, strlen(converted), parse_special,
								 &ids, n);
	br_pg_check(status, &context, "could not tokenize text", NULL);
	return ids;
}
