/*
 * chunks.c
 *	  What the database keeps of a model's image: its bytes, or its short form
 *	  where its weights are bytes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/model/model_int.h"

#define CHUNK (4 * 1024 * 1024)

/* ---- writing ---- */

BrPgStoredForm
br_pg_chunks_form(const void *image, size_t size, BrContext *context)
{
	void *shortened;
	size_t shortened_size;

	br_pg_check(br_encoder_shorten(context, image, size, &shortened, &shortened_size), context,
				"could not store the model", NULL);
	return shortened == NULL ? (BrPgStoredForm){"f32", image, size}
							 : (BrPgStoredForm){"int8", shortened, shortened_size};
}

void
br_pg_chunks_insert(int32 model, const BrPgStoredForm *form)
{
	static const char sql[] =
		"INSERT INTO bundle_rec.model_chunk (model, part, data) VALUES ($1, $2, $3)";
	Oid types[3] = {INT4OID, INT4OID, BYTEAOID};
	int part = 0;

	for (size_t at = 0; at < form->size; at += CHUNK)
	{
		size_t some = Min(CHUNK, form->size - at);
		bytea *chunk = palloc(VARHDRSZ + some);
		Datum values[3] = {Int32GetDatum(model), Int32GetDatum(part++), PointerGetDatum(chunk)};

		SET_VARSIZE(chunk, VARHDRSZ + some);
		memcpy(VARDATA(chunk), (const char *) form->data + at, some);
		CHECK_FOR_INTERRUPTS();
		br_pg_execute(sql, lengthof(types), types, values, NULL, false, 0);
		pfree(chunk);
	}
}

/* ---- reading ---- */

static void
pg_attribute_noreturn() report_damage(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a stored model is damaged"),
			 errdetail("The parts in bundle_rec.model_chunk do not give an image of the size and"
					   " the SHA-256 that bundle_rec.stored_model states."),
			 errhint("Drop the model and load it again.")));
}

/* One chunk, palloc'd; NULL after the last. */
static bytea *
read_chunk(int32 model, int part)
{
	static const char sql[] =
		"SELECT data FROM bundle_rec.model_chunk WHERE model = $1 AND part = $2";
	Oid types[2] = {INT4OID, INT4OID};
	Datum values[2] = {Int32GetDatum(model), Int32GetDatum(part)};
	BrPgRights saved;
	bytea *data = NULL;
	bool is_null;

	br_pg_enter_owner(&saved);
	if (br_pg_execute(sql, 2, types, values, NULL, true, 1) == 1)
		data = DatumGetByteaPCopy(br_pg_column(0, 1, &is_null));
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);
	return data;
}

/* All chunks behind each other; returns how many bytes they have, at most as many as there is room. */
static size_t
read_chunks(int32 model, char *bytes, size_t room)
{
	size_t size = 0;
	bytea *chunk;

	for (int part = 0; (chunk = read_chunk(model, part)) != NULL; part++)
	{
		size_t some = VARSIZE_ANY_EXHDR(chunk);

		CHECK_FOR_INTERRUPTS();
		if (some > room - size)
			report_damage();
		memcpy(bytes + size, VARDATA_ANY(chunk), some);
		size += some;
		pfree(chunk);
	}
	return size;
}

static bool
is_short(int32 model)
{
	static const char sql[] =
		"SELECT FROM bundle_rec.stored_model WHERE model = $1 AND weights = 'int8'";
	Oid type = INT4OID;
	Datum value = Int32GetDatum(model);
	BrPgRights saved;
	bool found;

	br_pg_enter_owner(&saved);
	found = br_pg_execute(sql, 1, &type, &value, NULL, true, 1) > 0;
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/* false: the chunks are no short form of an image of that size */
static bool
restore(int32 model, void *image, size_t image_size)
{
	char *bytes = palloc_extended(image_size, MCXT_ALLOC_HUGE);
	size_t size = read_chunks(model, bytes, image_size);
	BrContext context;
	bool restored;

	br_pg_context(&context, CurrentMemoryContext);
	restored = br_encoder_restore(&context, bytes, size, image, image_size) == BR_OK;
	pfree(bytes);
	return restored;
}

void
br_pg_chunks_fill(void *arg, void *contents)
{
	int32 model = *(int32 *) arg;
	BrPgPackedKey key;
	uint8 hash[BR_PG_HASH_SIZE];

	br_pg_model_key(model, &key);
	if (is_short(model) ? !restore(model, contents, key.size)
						: read_chunks(model, contents, key.size) != key.size)
		report_damage();
	br_pg_sha256(contents, key.size, hash);
	if (memcmp(hash, key.hash, sizeof(hash)) != 0)
		report_damage();
}
