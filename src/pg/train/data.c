/*
 * data.c
 *	  What a training learns from, read once and kept.
 *
 * All of it is one block without pointers: a header, the texts' token ids, the
 * examples, and what a teacher says of the texts. It is stored in pieces, its
 * SHA-256 beside it. The block is for this server only, until the job is done.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/catalog/catalog.h"
#include "pg/model/lineage.h"
#include "pg/model/model.h"
#include "pg/train/train_int.h"
#include "pg/worker/job.h"

#define CHUNK_BYTES (1024 * 1024)
#define MAGIC 0x42525431 /* BRT1 */
/* texts that a teacher embeds together */
#define TEACHER_TEXTS 256

typedef struct Header
{
	uint32 magic;
	int32 n_texts;
	int32 n_ids;
	int32 n_examples;
	int32 n_validation;
	int32 dimensions;
} Header;

TimestampTz
br_pg_train_time(double seconds)
{
	double since_2000 = seconds - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY;

	return (TimestampTz) rint(since_2000 * USECS_PER_SEC);
}

void
br_pg_train_examples_add(BrPgTrainExamples *examples, const BrPgTrainExample *example,
						 bool validates)
{
	int part = validates ? 1 : 0;

	if (examples->n[part] == examples->room[part])
	{
		examples->room[part] = Max(examples->room[part] * 2, 256);
		examples->of[part] = examples->of[part] == NULL
			? palloc(sizeof(BrPgTrainExample) * examples->room[part])
			: repalloc_huge(examples->of[part],
							sizeof(BrPgTrainExample) * (Size) examples->room[part]);
	}
	examples->of[part][examples->n[part]++] = *example;
}

/* ---- texts of a catalog ---- */

/* Adds each sentence of a text as an example; they end with a full stop or the like, or a line. */
static void
add_sentences(const char *text, int32 document, bool validates, BrPgTrainTexts *texts,
			  BrPgTrainExamples *examples)
{
	while (*text != '\0')
	{
		const char *end = text;

		while (*end != '\0' && *end != '\n' &&
			   !(strchr(".!?", *end) != NULL && (end[1] == ' ' || end[1] == '\0')))
			end++;
		if (end > text)
		{
			BrPgTrainExample example = {.second = -1, .third = -1, .document = document};
			char *sentence = pnstrdup(text, end - text);

			example.first = br_pg_train_texts_add(texts, sentence);
			br_pg_train_examples_add(examples, &example, validates);
			pfree(sentence);
		}
		text = *end == '\0' ? end : end + 1;
		while (*text == ' ')
			text++;
	}
}

static BrPgTrainCounts
read_texts(const BrPgTrainPlan *plan, const BrPgLearnData *data, BrPgTrainTexts *texts,
		   BrPgTrainExamples *examples)
{
	BrPgTrainCounts counts = {.source = "texts", .learned_until = DT_NOBEGIN};
	BrRandom random;

	br_base_random_init(&random, plan->options.seed, BR_PG_TRAIN_STREAM_VALIDATION);
	for (int i = 0; i < data->n_items; i++)
	{
		bool validates = br_base_random_uniform(&random) < plan->choice.validation;
		int before = br_pg_train_texts_count(texts);

		CHECK_FOR_INTERRUPTS();
		if (data->items[i].text == NULL)
			continue;
		counts.met++;
		if (plan->shape == BR_PG_TRAIN_SENTENCES)
			add_sentences(data->items[i].text, i, validates, texts, examples);
		else if (br_pg_train_texts_add(texts, data->items[i].text) == before)
			br_pg_train_examples_add(examples,
									 &(BrPgTrainExample){.first = before,
														 .second = -1,
														 .third = -1},
									 validates);
	}
	return counts;
}

static BrPgTrainCounts
read_catalog(const BrPgTrainPlan *plan, BrPgTrainTexts *texts, BrPgTrainExamples *examples)
{
	BrPgLearnData *data = br_pg_learn_read(br_pg_catalog_open(plan->catalog), BR_PG_LEARN_TEXTS);
	BrPgTrainCounts counts;

	if (plan->shape == BR_PG_TRAIN_PAIRS || plan->shape == BR_PG_TRAIN_SETS)
		counts = br_pg_train_pairs(plan, data, texts, examples);
	else
		counts = read_texts(plan, data, texts, examples);
	br_pg_learn_data_free(data);
	return counts;
}

/* ---- the block ---- */

/* (n, dimensions); what the teacher learned its pupil does, too, which *counts then says */
static float *
ask_teacher(const BrPgTrainPlan *plan, const BrPgTrainTexts *texts, int *dimensions,
			BrPgTrainCounts *counts)
{
	int n = br_pg_train_texts_count(texts);
	char **strings;
	BrPgStoredModel teacher;
	float *embeddings;

	*dimensions = 0;
	if (plan->choice.teacher == NULL)
		return NULL;
	strings = br_pg_train_texts_strings(texts);
	br_pg_model_get(plan->choice.teacher, &teacher);
	*dimensions = teacher.dimensions;
	counts->learned_until = Max(counts->learned_until, br_pg_model_learned_until(teacher.number));
	embeddings =
		palloc_extended(sizeof(float) * (Size) Max(n, 1) * teacher.dimensions, MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i += TEACHER_TEXTS)
		(void) br_pg_model_embed(teacher.number, strings + i, Min(n - i, TEACHER_TEXTS), false,
								 br_pg_session_pool(), embeddings + (Size) i * teacher.dimensions);
	return embeddings;
}

/* Sets what is where in a block that has its header. */
static void
find_parts(BrPgTrainData *data)
{
	const Header *header = (const Header *) data->image;
	const char *place = data->image + sizeof(Header);

	data->n_texts = header->n_texts;
	data->n_examples = header->n_examples;
	data->n_validation = header->n_validation;
	data->dimensions = header->dimensions;
	data->offsets = (const int32 *) place;
	place += sizeof(int32) * ((Size) header->n_texts + 1);
	data->ids = (const int32 *) place;
	place += sizeof(int32) * (Size) header->n_ids;
	data->examples = (const BrPgTrainExample *) place;
	place += sizeof(BrPgTrainExample) * (Size) header->n_examples;
	data->teacher = header->dimensions > 0 ? (const float *) place : NULL;
}

static Size
size_of(const Header *header)
{
	return sizeof(Header) + sizeof(int32) * ((Size) header->n_texts + 1 + header->n_ids) +
		sizeof(BrPgTrainExample) * (Size) header->n_examples +
		sizeof(float) * (Size) header->n_texts * header->dimensions;
}

static BrPgTrainData *
build(const BrPgTrainTexts *texts, const BrPgTrainExamples *examples, const float *teacher,
	  int dimensions)
{
	BrPgTrainData *data = palloc0(sizeof(BrPgTrainData));
	const int32 *offsets;
	const int32 *ids = br_pg_train_texts_ids(texts, &offsets);
	int n_texts = br_pg_train_texts_count(texts);
	Header header = {.magic = MAGIC,
					 .n_texts = n_texts,
					 .n_ids = offsets[n_texts],
					 .n_examples = (int32) (examples->n[0] + examples->n[1]),
					 .n_validation = (int32) examples->n[1],
					 .dimensions = dimensions};

	data->size = size_of(&header);
	data->image = palloc_extended(data->size, MCXT_ALLOC_HUGE);
	memcpy(data->image, &header, sizeof(header));
	find_parts(data);
	memcpy(unconstify(int32 *, data->offsets), offsets, sizeof(int32) * ((Size) n_texts + 1));
	memcpy(unconstify(int32 *, data->ids), ids, sizeof(int32) * (Size) header.n_ids);
	for (int part = 0; part < 2; part++)
		if (examples->n[part] > 0)
			memcpy(unconstify(BrPgTrainExample *, data->examples) +
					   (part == 0 ? 0 : examples->n[0]),
				   examples->of[part], sizeof(BrPgTrainExample) * (Size) examples->n[part]);
	if (teacher != NULL)
		memcpy(unconstify(float *, data->teacher), teacher,
			   sizeof(float) * (Size) n_texts * dimensions);
	return data;
}

BrPgTrainData *
br_pg_train_gather(const BrPgTrainPlan *plan, BrPgTrainCounts *counts)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext memory =
		AllocSetContextCreate(outer, "gathered for training", ALLOCSET_DEFAULT_SIZES);
	BrPgTrainExamples examples = {{NULL}};
	BrPgTrainTexts *texts;
	BrPgTrainData *data;
	float *teacher;
	int dimensions;

	MemoryContextSwitchTo(memory);
	texts = br_pg_train_texts_create(plan->parent, plan->choice.teacher != NULL);
	*counts = plan->query == NULL ? read_catalog(plan, texts, &examples)
								  : br_pg_train_rows(plan, texts, &examples);
	if (examples.n[0] == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there is nothing to learn from"),
				 errdetail("%lld examples were found, and %lld of them are for validation.",
						   (long long) (examples.n[0] + examples.n[1]), (long long) examples.n[1]),
				 plan->query == NULL
					 ? errhint("Name text columns in create_catalog, and refresh the catalog.")
					 : errhint("Give a query that returns more rows.")));
	teacher = ask_teacher(plan, texts, &dimensions, counts);
	MemoryContextSwitchTo(outer);
	data = build(texts, &examples, teacher, dimensions);
	MemoryContextDelete(memory);
	return data;
}

/* ---- keeping it ---- */

static uint8 *
hash_of(const BrPgTrainData *data)
{
	uint8 *hash = palloc(PG_SHA256_DIGEST_LENGTH);
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0 ||
		pg_cryptohash_update(context, (const uint8 *) data->image, data->size) < 0 ||
		pg_cryptohash_final(context, hash, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute a SHA-256 hash");
	pg_cryptohash_free(context);
	return hash;
}

static BrPgTrainChunks
chunks_of(int64 job)
{
	return (BrPgTrainChunks){
		.n_keys = 1,
		.keys = {job},
		.bytes = CHUNK_BYTES,
		.insert = "INSERT INTO bundle_rec.job_data (job, chunk, contents) VALUES ($1, $2, $3)",
		.count = "SELECT pg_catalog.count(*),"
				 " COALESCE(pg_catalog.sum(pg_catalog.octet_length(contents)), 0)"
				 " FROM bundle_rec.job_data WHERE job = $1",
		.select = "SELECT contents FROM bundle_rec.job_data WHERE job = $1 AND chunk = $2",
	};
}

void
br_pg_train_keep(BrPgTrainPlan *plan, const BrPgTrainData *data, const BrPgTrainCounts *counts)
{
	static const char sql[] =
		"UPDATE bundle_rec.stored_training SET sha256 = $2, learned_until = NULLIF($3, '-infinity'),"
		" data = pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object("
		"'source', $4::text, 'sessions', NULLIF($5, 0), 'validation_sessions', NULLIF($6, 0),"
		" 'held_out', CASE WHEN $5 > 0 THEN $7 END, 'found', $8, 'examples', $9, 'validation', $10,"
		" 'texts', $11, 'tokens', $12, 'sha256', pg_catalog.encode($2, 'hex')))"
		" WHERE job = $1 RETURNING data";
	static const Oid types[] = {INT8OID, BYTEAOID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID,
								INT8OID, INT8OID,  INT4OID,		   INT4OID, INT4OID, INT4OID};
	bytea *hash = palloc(PG_SHA256_DIGEST_LENGTH + VARHDRSZ);
	Datum values[] = {Int64GetDatum(plan->job),
					  PointerGetDatum(hash),
					  TimestampTzGetDatum(counts->learned_until),
					  CStringGetTextDatum(counts->source),
					  Int64GetDatum(counts->sessions),
					  Int64GetDatum(counts->validation_sessions),
					  Int64GetDatum(counts->held_out),
					  Int64GetDatum(counts->met),
					  Int32GetDatum(data->n_examples),
					  Int32GetDatum(data->n_validation),
					  Int32GetDatum(data->n_texts),
					  Int32GetDatum(data->offsets[data->n_texts])};
	BrPgTrainChunks chunks = chunks_of(plan->job);
	bool is_null;

	plan->sha256 = hash_of(data);
	plan->learned_until = counts->learned_until;
	SET_VARSIZE(hash, PG_SHA256_DIGEST_LENGTH + VARHDRSZ);
	memcpy(VARDATA(hash), plan->sha256, PG_SHA256_DIGEST_LENGTH);
	br_pg_job_execute("DELETE FROM bundle_rec.job_data WHERE job = $1", 1, types, values);
	br_pg_train_write_chunks(&chunks, data->image, data->size);
	if (br_pg_job_execute(sql, lengthof(types), types, values) > 0)
		plan->data = DatumGetJsonbPCopy(br_pg_column(0, 1, &is_null));
}

BrPgTrainData *
br_pg_train_fetch(const BrPgTrainPlan *plan)
{
	BrPgTrainChunks chunks = chunks_of(plan->job);
	BrPgTrainData *data = palloc0(sizeof(BrPgTrainData));
	const Header *header;

	data->image = br_pg_train_read_chunks(&chunks, &data->size);
	header = (const Header *) data->image;
	if (data->size < sizeof(Header) || header->magic != MAGIC || data->size != size_of(header) ||
		memcmp(hash_of(data), plan->sha256, PG_SHA256_DIGEST_LENGTH) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("what job %lld learns from is damaged", (long long) plan->job),
				 errhint("Train anew: the rows of bundle_rec.job_data are not what was written.")));
	find_parts(data);
	return data;
}
