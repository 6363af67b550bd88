/*
 * text.c
 *	  Models of indexes on text, and what they make of texts.
 *
 * An index is bound to the contents of a model, by their hash: vectors of two
 * models say nothing about each other. Whoever inserts or scans need not be
 * able to read the model's tables.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "mb/pg_wchar.h"
#include "utils/snapmgr.h"

#include "core/math/br_math.h"
#include "pg/am/text_int.h"
#include "pg/model/model.h"

/* of a text that an error names */
#define SHOWN_BYTES 80

/* ---- looking at models ---- */

/*
 * Models are read under the statement's snapshot, and as they are now where
 * there is none, or one so old that it might not know a model that an index
 * was built with since.
 */
bool
br_am_begin_models(void)
{
	bool pushed = !ActiveSnapshotSet() || (IsolationUsesXactSnapshot() && !IsInParallelMode());

	if (pushed)
		PushActiveSnapshot(GetLatestSnapshot());
	return pushed;
}

void
br_am_end_models(bool pushed)
{
	if (pushed)
		PopActiveSnapshot();
}

static void
pg_attribute_noreturn() raise_model_gone(Relation index, const BrAmMeta *meta)
{
	BrPgStoredModel other;
	bool replaced = meta->model_name[0] != '\0' && br_pg_model_find(meta->model_name, &other);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 replaced ? errmsg("model \"%s\" of index \"%s\" has other contents now",
							   meta->model_name, RelationGetRelationName(index))
					  : errmsg("model \"%s\" of index \"%s\" is gone", meta->model_name,
							   RelationGetRelationName(index)),
			 errdetail("Vectors of different models cannot be compared."),
			 errhint("REINDEX INDEX embeds its texts anew; or load the former model again.")));
}

/* The model of an index. SPI is connected. */
static void
find_model(Relation index, BrAmMeta *meta, BrPgStoredModel *found)
{
	if (meta->model != 0)
	{
		if (!br_pg_model_find_contents(meta->model_hash, found))
			raise_model_gone(index, meta);
		return;
	}
	br_pg_model_get(br_am_option_model(index), found);
	meta->model = found->number;
	meta->precision = br_pg_model_computing_of(found->number).precision;
	memcpy(meta->model_hash, found->hash, BR_PG_HASH_SIZE);
	memcpy(meta->model_name, found->name, NAMEDATALEN);
}

static void
model_of(Relation index, BrAmMeta *meta, BrPgStoredModel *found)
{
	bool pushed = br_am_begin_models();

	SPI_connect();
	find_model(index, meta, found);
	SPI_finish();
	br_am_end_models(pushed);
}

int32
br_am_model(Relation index, BrAmMeta *meta)
{
	BrPgStoredModel found;

	model_of(index, meta, &found);
	return found.number;
}

int
br_am_model_dims(Relation index, BrAmMeta *meta)
{
	BrPgStoredModel found;

	model_of(index, meta, &found);
	return found.dimensions;
}

bool
br_am_has_model(Relation index)
{
	BrPgStoredModel found;
	bool has_model;
	BrAmMeta meta;
	bool pushed;

	br_am_meta_read(index, &meta);
	if (meta.model == 0)
		return true;
	pushed = br_am_begin_models();
	SPI_connect();
	has_model = br_pg_model_find_contents(meta.model_hash, &found);
	SPI_finish();
	br_am_end_models(pushed);
	return has_model;
}

/* ---- the operator's model ---- */

/* Whether the index, if it has no rows yet, would take the operator's model. */
static bool
will_fit(Relation index, const BrPgStoredModel *of_operator)
{
	const char *option = br_am_option_model(index);
	BrPgStoredModel named;

	return option == NULL ||
		(br_pg_model_find(option, &named) &&
		 memcmp(named.hash, of_operator->hash, BR_PG_HASH_SIZE) == 0);
}

bool
br_am_operator_fits(Relation index, BrAmMeta *meta)
{
	bool pushed = br_am_begin_models();
	BrPgStoredModel of_operator;
	bool fits;

	SPI_connect();
	fits = br_pg_model_find(NULL, &of_operator);
	if (fits && meta->model == 0)
		fits = will_fit(index, &of_operator);
	else if (fits)
		fits = memcmp(meta->model_hash, of_operator.hash, BR_PG_HASH_SIZE) == 0;
	SPI_finish();
	br_am_end_models(pushed);
	return fits;
}

/* The model of the index, which must be the one that the operator uses. */
static void
require_fit(Relation index, BrAmMeta *meta, BrPgStoredModel *found)
{
	BrPgStoredModel of_operator;

	SPI_connect();
	find_model(index, meta, found);
	br_pg_model_get(NULL, &of_operator);
	SPI_finish();
	if (memcmp(found->hash, of_operator.hash, BR_PG_HASH_SIZE) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is of model \"%s\", and the operator means model \"%s\"",
						RelationGetRelationName(index), found->name, of_operator.name),
				 errdetail(
					 "Operators on text use bundle_rec.default_model, or the only model there is."),
				 errhint("Set bundle_rec.default_model to \"%s\", or REINDEX INDEX with the other model in its options.",
						 found->name)));
}

BrEmbedding *
br_am_query_of_text(Relation index, BrAmMeta *meta, const char *text)
{
	bool pushed = br_am_begin_models();
	BrPgStoredModel found;
	BrEmbedding *query;

	require_fit(index, meta, &found);
	query = br_pg_model_embed_text(found.number, text, false);
	br_am_end_models(pushed);
	return query;
}

/* ---- texts ---- */

/*
 * SHA-256 rather than a faster hash, because texts come from people: who could
 * make two of them collide would be found in another's place.
 */
void
br_am_text_hash(const char *text, uint8 hash[BR_AM_TEXT_HASH_SIZE])
{
	pg_cryptohash_ctx *sha = pg_cryptohash_create(PG_SHA256);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];

	if (sha == NULL || pg_cryptohash_init(sha) < 0 ||
		pg_cryptohash_update(sha, (const uint8 *) text, strlen(text)) < 0 ||
		pg_cryptohash_final(sha, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(sha));
	pg_cryptohash_free(sha);
	memcpy(hash, digest, BR_AM_TEXT_HASH_SIZE);
}

bool
br_am_vector_is_finite(const uint16 *vector, int dims)
{
	for (int i = 0; i < dims; i++)
		if (!BR_MATH_HALF_IS_FINITE(vector[i]))
			return false;
	return true;
}

void
br_am_report_no_vector(Relation index, const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("a text has no embedding that index \"%s\" could hold",
					RelationGetRelationName(index)),
			 errdetail("The model gives %s a component that is larger than 65504 or not a number.",
					   text),
			 errhint("Leave such rows out with a partial index.")));
}

static const char *
beginning_of(const char *text)
{
	int size = (int) strlen(text);
	int shown = pg_mbcliplen(text, size, SHOWN_BYTES);

	return psprintf("\"%.*s%s\"", shown, text, shown < size ? "..." : "");
}

void
br_am_embed_texts(Relation index, BrAmMeta *meta, char **texts, int n, BrPool *pool, uint16 *halves)
{
	bool pushed = br_am_begin_models();
	BrPgStoredModel model;
	float *floats;

	SPI_connect();
	find_model(index, meta, &model);
	SPI_finish();
	floats = palloc_extended(sizeof(float) * model.dimensions * n, MCXT_ALLOC_HUGE);
	br_pg_model_embed(model.number, texts, n, false, pool, floats);
	br_math_half_from_floats(floats, (size_t) n * model.dimensions, halves);
	for (int i = 0; i < n; i++)
		if (!br_am_vector_is_finite(halves + (size_t) i * model.dimensions, model.dimensions))
			br_am_report_no_vector(index, beginning_of(texts[i]));
	pfree(floats);
	br_am_end_models(pushed);
}
