/*
 * store.c
 *	  Stored models in use: which one a name means, and its encoder.
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

#include "pg/model/model_int.h"

/* Mapped images that a connection keeps beyond the transaction that used them. */
#define KEPT_MODELS 4

static BrPgOpenModel *open_models = NULL;
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
pg_attribute_noreturn() no_such_model(const char *name)
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

/* NULL: the only model there is. */
static const char *
meant_by(const char *name)
{
	if (name != NULL && name[0] != '\0')
		return name;
	return br_pg_default_model != NULL && br_pg_default_model[0] != '\0' ? br_pg_default_model
																		 : NULL;
}

/* The row of a statement that selects MODEL_COLUMNS, if it is one. */
static bool
find(const char *sql, int n_arguments, Oid type, Datum value, BrPgStoredModel *found)
{
	BrPgRights saved;
	bool is_null;
	bool is_one;

	br_pg_enter_owner(&saved);
	is_one = br_pg_execute(sql, n_arguments, &type, &value, NULL, true, 2) == 1;
	if (is_one)
	{
		const char *name = br_pg_column_text(0, 4);

		found->number = DatumGetInt32(br_pg_column(0, 1, &is_null));
		found->dimensions = DatumGetInt32(br_pg_column(0, 2, &is_null));
		memcpy(found->hash, VARDATA_ANY(DatumGetByteaPP(br_pg_column(0, 3, &is_null))),
			   BR_PG_HASH_SIZE);
		memset(found->name, 0, NAMEDATALEN);
		memcpy(found->name, name, pg_mbcliplen(name, (int) strlen(name), NAMEDATALEN - 1));
	}
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);
	return is_one;
}

#define MODEL_COLUMNS "SELECT model, dimensions, hash, name FROM bundle_rec.stored_model "

bool
br_pg_model_find(const char *name, BrPgStoredModel *found)
{
	name = meant_by(name);
	if (name == NULL)
		return find(MODEL_COLUMNS "LIMIT 2", 0, TEXTOID, (Datum) 0, found);
	return find(MODEL_COLUMNS "WHERE name = $1", 1, TEXTOID, CStringGetTextDatum(name), found);
}

bool
br_pg_model_find_contents(const uint8 hash[BR_PG_HASH_SIZE], BrPgStoredModel *found)
{
	bytea *value = palloc(VARHDRSZ + BR_PG_HASH_SIZE);

	SET_VARSIZE(value, VARHDRSZ + BR_PG_HASH_SIZE);
	memcpy(VARDATA(value), hash, BR_PG_HASH_SIZE);
	return find(MODEL_COLUMNS "WHERE hash = $1 ORDER BY model LIMIT 1", 1, BYTEAOID,
				PointerGetDatum(value), found);
}

void
br_pg_model_get(const char *name, BrPgStoredModel *found)
{
	BrPgRights saved;

	if (br_pg_model_find(name, found))
		return;
	br_pg_enter_owner(&saved);
	no_such_model(meant_by(name));
}

int32
br_pg_model_number(const char *name)
{
	BrPgStoredModel found;

	br_pg_model_get(name, &found);
	return found.number;
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

void
br_pg_model_key(int32 model, BrPgPackedKey *key)
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
	strlcpy(key->form, BR_PG_PACKED_IMAGE, sizeof(key->form));
	key->size = (uint64) DatumGetInt64(br_pg_column(0, 3, &is_null));
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

/* Lets go of what this transaction has not used, from the least recently used on. */
static void
close_unused(void)
{
	int n = 0;

	for (BrPgOpenModel **link = &open_models; *link != NULL;)
	{
		BrPgOpenModel *model = *link;

		if (++n < KEPT_MODELS || model->used_in == MyProc->lxid)
		{
			link = &model->next;
			continue;
		}
		*link = model->next;
		br_pg_weights_close(model);
		br_encoder_close(model->encoder);
		br_pg_packed_unmap(&model->packed);
		pfree(model);
	}
}

static BrPgOpenModel *
open_model(int32 number, const BrPgPackedKey *key)
{
	BrPgPackedSource source = {.fill = br_pg_chunks_fill, .arg = &number};
	BrContext context;
	BrPgOpenModel *model;
	BrStatus status;

	if (open_memory == NULL)
		open_memory =
			AllocSetContextCreate(TopMemoryContext, "bundle_rec models", ALLOCSET_SMALL_SIZES);
	close_unused();
	model = MemoryContextAllocZero(open_memory, sizeof(BrPgOpenModel));
	model->key = *key;
	PG_TRY();
	{
		br_pg_packed_map(key, &source, &model->packed);
		br_pg_context(&context, open_memory);
		status = br_encoder_open(&context, model->packed.contents, key->size, &model->encoder);
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
renew(BrPgOpenModel *model)
{
	pg_time_t now = (pg_time_t) time(NULL);
	char name[BR_PG_PACKED_NAME];

	if (now - model->renewed < BR_PG_PACKED_RENEWAL)
		return;
	br_pg_packed_name(&model->key, name);
	br_pg_packed_renew(name);
	br_pg_weights_renew(model);
	model->renewed = now;
}

static BrPgOpenModel *
take_open_model(const BrPgPackedKey *key)
{
	for (BrPgOpenModel **link = &open_models; *link != NULL; link = &(*link)->next)
	{
		BrPgOpenModel *model = *link;

		if (memcmp(model->key.hash, key->hash, BR_PG_HASH_SIZE) == 0 &&
			model->key.layout == key->layout)
		{
			*link = model->next;
			return model;
		}
	}
	return NULL;
}

BrPgOpenModel *
br_pg_model_open(int32 model)
{
	BrPgPackedKey key;
	BrPgOpenModel *opened;

	br_pg_model_key(model, &key);
	opened = take_open_model(&key);
	if (opened == NULL)
		opened = open_model(model, &key);
	renew(opened);
	opened->used_in = MyProc->lxid;
	opened->next = open_models;
	open_models = opened;
	return opened;
}

const BrEncoder *
br_pg_model_encoder(int32 model)
{
	return br_pg_model_open(model)->encoder;
}
