/*
 * store.c
 *	  Stored models in use: which one a name means, its encoder, embedding.
 *
 * A name is looked up for every call, so that a connection never answers with
 * a model that was dropped or replaced; what is kept are the mapped images, by
 * the hash of their contents, which cannot be stale.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/model/model.h"
#include "pg/model/packed_file.h"

/* Mapped images that a connection keeps beyond the transaction that used them. */
#define KEPT_MODELS 4

typedef struct OpenModel
{
	struct OpenModel *next; /* less recently used */
	BrPgPackedKey key;
	BrPgPacked packed;
	BrEncoder *encoder;
	LocalTransactionId used_in;
	pg_time_t renewed; /* when the use of its file was last noted */
} OpenModel;

static OpenModel *open_models = NULL;
static MemoryContext open_memory = NULL;

/* ---- by name ---- */

static char *
list_models(void)
{
	StringInfoData list;
	uint64 n = br_pg_execute("SELECT name FROM bundle_rec.stored_model ORDER BY name", 0, NULL,
							 NULL, NULL, true, 20);

	initStringInfo(&list);
	for (uint64 i = 0; i < n; i++)
		appendStringInfo(&list, "%s\"%s\"", i > 0 ? ", " : "", br_pg_column_text(i, 1));
	return list.data;
}

static void
no_such_model(const char *name)
{
	char *others = list_models();

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 name == NULL && others[0] != '\0'
				 ? errmsg("there are several models and none is named")
				 : name == NULL ? errmsg("there is no model")
								: errmsg("model \"%s\" does not exist", name),
			 others[0] == '\0' ? errhint("Load one with load_model(name, directory).")
				 : name == NULL
				 ? errhint("Name one of %s, or set bundle_rec.default_model.", others)
				 : errhint("There is %s.", others)));
}

int32
br_pg_model_number(const char *name)
{
	BrPgRights saved;
	uint64 n;
	bool is_null;
	int32 model;

	if (name == NULL || name[0] == '\0')
		name = br_pg_default_model != NULL && br_pg_default_model[0] != '\0' ? br_pg_default_model
																			 : NULL;
	br_pg_enter_owner(&saved);
	if (name == NULL)
		n = br_pg_execute("SELECT model FROM bundle_rec.stored_model LIMIT 2", 0, NULL, NULL, NULL,
						  true, 2);
	else
	{
		Oid type = TEXTOID;
		Datum value = CStringGetTextDatum(name);

		n = br_pg_execute("SELECT model FROM bundle_rec.stored_model WHERE name = $1", 1, &type,
						  &value, NULL, true, 1);
	}
	if (n != 1)
		no_such_model(name);
	model = DatumGetInt32(br_pg_column(0, 1, &is_null));
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);
	return model;
}

/* ---- by number ---- */

void
br_pg_model_hold(int32 model)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(model);

	if (br_pg_execute("SELECT FROM bundle_rec.stored_model WHERE model = $1 FOR KEY SHARE", 1,
					  &type, &value, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the model was dropped by a concurrent transaction"),
				 errhint("The view bundle_rec.model lists the models.")));
}

/* Key of the image of a model; raises 42704 if the model is gone. */
static void
read_key(int32 model, BrPgPackedKey *key)
{
	static const char sql[] =
		"SELECT hash, layout, bytes FROM bundle_rec.stored_model WHERE model = $1";
	Oid type = INT4OID;
	Datum value = Int32GetDatum(model);
	BrPgRights saved;
	bool is_null;

	br_pg_enter_owner(&saved);
	if (br_pg_execute(sql, 1, &type, &value, NULL, true, 1) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model number %d does not exist", model),
				 errhint("It was dropped; the view bundle_rec.model lists the models.")));
	memcpy(key->hash, VARDATA_ANY(DatumGetByteaPP(br_pg_column(0, 1, &is_null))), BR_PG_HASH_SIZE);
	key->layout = DatumGetInt32(br_pg_column(0, 2, &is_null));
	key->image_size = (uint64) DatumGetInt64(br_pg_column(0, 3, &is_null));
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);

	if (key->layout != BR_ENCODER_LAYOUT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("model number %d was stored by another version of bundle_rec", model),
				 errdetail("Its layout is %d, this version reads %d.", key->layout,
						   BR_ENCODER_LAYOUT_VERSION),
				 errhint("Drop the model and load it again.")));
}

/* BrPgPackedSource: the chunks of a model, one at a time. */
static bytea *
read_chunk(void *arg, int part)
{
	static const char sql[] =
		"SELECT data FROM bundle_rec.model_chunk WHERE model = $1 AND part = $2";
	Oid types[2] = {INT4OID, INT4OID};
	Datum values[2] = {Int32GetDatum(*(int32 *) arg), Int32GetDatum(part)};
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

/* Lets go of what this transaction has not used, from the least recently used on. */
static void
close_unused(void)
{
	int n = 0;

	for (OpenModel **link = &open_models; *link != NULL;)
	{
		OpenModel *model = *link;

		if (++n < KEPT_MODELS || model->used_in == MyProc->lxid)
		{
			link = &model->next;
			continue;
		}
		*link = model->next;
		br_encoder_close(model->encoder);
		br_pg_packed_unmap(&model->packed);
		pfree(model);
	}
}

static OpenModel *
open_model(int32 number, const BrPgPackedKey *key)
{
	BrPgPackedSource source = {read_chunk, &number};
	BrContext context;
	OpenModel *model;
	BrStatus status;

	if (open_memory == NULL)
		open_memory =
			AllocSetContextCreate(TopMemoryContext, "bundle_rec models", ALLOCSET_SMALL_SIZES);
	close_unused();
	model = MemoryContextAllocZero(open_memory, sizeof(OpenModel));
	model->key = *key;
	PG_TRY();
	{
		br_pg_packed_map(key, &source, &model->packed);
		br_pg_context(&context, open_memory);
		status = br_encoder_open(&context, model->packed.image, key->image_size, &model->encoder);
		br_pg_check(status, &context, "could not open a stored model",
					"Drop the model and load it again.");
	}
	PG_CATCH();
	{
		br_pg_packed_unmap(&model->packed);
		pfree(model);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return model;
}

/* a connection may live, and use what it has mapped, for longer than files are kept */
static void
renew(OpenModel *model)
{
	pg_time_t now = (pg_time_t) time(NULL);
	char name[BR_PG_PACKED_NAME];

	if (now - model->renewed < BR_PG_PACKED_RENEWAL)
		return;
	br_pg_packed_name(&model->key, name);
	br_pg_packed_renew(name);
	model->renewed = now;
}

static OpenModel *
take_open_model(const BrPgPackedKey *key)
{
	for (OpenModel **link = &open_models; *link != NULL; link = &(*link)->next)
	{
		OpenModel *model = *link;

		if (memcmp(model->key.hash, key->hash, BR_PG_HASH_SIZE) == 0 &&
			model->key.layout == key->layout)
		{
			*link = model->next;
			return model;
		}
	}
	return NULL;
}

const BrEncoder *
br_pg_model_encoder(int32 model)
{
	BrPgPackedKey key;
	OpenModel *opened;

	read_key(model, &key);
	opened = take_open_model(&key);
	if (opened == NULL)
		opened = open_model(model, &key);
	renew(opened);
	opened->used_in = MyProc->lxid;
	opened->next = open_models;
	open_models = opened;
	return opened->encoder;
}

/* ---- what encoders do ---- */

/* The encoder, for callers that may not be connected to SPI. */
static const BrEncoder *
encoder_of(int32 model)
{
	const BrEncoder *encoder;

	SPI_connect();
	encoder = br_pg_model_encoder(model);
	SPI_finish();
	return encoder;
}

static char *
to_utf8(const char *text)
{
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

void
br_pg_model_embed(int32 model, char **texts, int n, bool parse_special, float *embeddings)
{
	const BrEncoder *encoder = encoder_of(model);
	BrCompute compute = {.backend = br_pg_session_backend()};
	MemoryContext work =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_rec embed", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);
	const char **converted = palloc(sizeof(char *) * Max(n, 1));
	size_t *sizes = palloc(sizeof(size_t) * Max(n, 1));
	BrContext context;
	BrStatus status;

	for (int i = 0; i < n; i++)
	{
		converted[i] = to_utf8(texts[i]);
		sizes[i] = strlen(converted[i]);
	}
	br_pg_context(&context, work);
	status = br_encoder_embed(encoder, &context, &compute, converted, sizes, n, parse_special,
							  embeddings);
	br_pg_check(status, &context, "could not embed text", NULL);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
	CHECK_FOR_INTERRUPTS();
}

int32 *
br_pg_model_tokenize(int32 model, const char *text, bool parse_special, int *n)
{
	const BrEncoder *encoder = encoder_of(model);
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
