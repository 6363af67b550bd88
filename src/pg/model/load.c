/*
 * load.c
 *	  Models come and go: from a folder of the server, or files that a client
 *	  gives, into tables, and out.
 *
 * Everything is read and checked before the first row is written. The image,
 * as core makes it of the files, is stored in parts that a row can hold, with
 * its SHA-256 beside it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "catalog/pg_authid_d.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/model/lineage.h"
#include "pg/model/model_int.h"
#include "pg/model/packed_file.h"

#define CHUNK (4 * 1024 * 1024)
#define MAX_WEIGHTS ((int64) 16 * 1024 * 1024 * 1024)
#define MAX_OTHER ((int64) 256 * 1024 * 1024)

#define SERVER_HINT \
	"The folder is on the database server and must be readable for the user that the server runs as."

/* What has been read of a folder. */
typedef struct Folder
{
	const char *directory;
	BrModelFile *files;
	int n;
	BrContext context;
} Folder;

static bool
may_read_server_files(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES);
}

/* ---- reading ---- */

static bool
ends_with(const char *path, const char *name)
{
	size_t length = strlen(path);
	size_t end = strlen(name);

	return length >= end && strcmp(path + length - end, name) == 0 &&
		(length == end || path[length - end - 1] == '/');
}

static void
require_folder(const char *directory)
{
	struct stat status;

	if (!is_absolute_path(directory))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME), errmsg("\"%s\" is not an absolute path", directory),
				 errhint(SERVER_HINT)));
	if (stat(directory, &status) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open the model folder \"%s\": %m", directory),
				 errhint(SERVER_HINT)));
	if (!S_ISDIR(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a folder", directory),
				 errhint("Give the folder that holds config.json and model.safetensors.")));
}

static void
read_whole(int fd, const char *path, char *data, size_t size)
{
	size_t at = 0;

	while (at < size)
	{
		ssize_t got;

		CHECK_FOR_INTERRUPTS();
		got = read(fd, data + at, Min(size - at, CHUNK));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("could not read file \"%s\": %m", path)));
		if (got == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("file \"%s\" became shorter while it was read", path)));
		at += got;
	}
}

void
br_pg_model_require_size(const char *path, int64 size)
{
	int64 limit = ends_with(path, "model.safetensors") ? MAX_WEIGHTS : MAX_OTHER;

	if (size > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("file \"%s\" is too large", path),
				 errdetail("It has %lld bytes; at most %lld are read.", (long long) size,
						   (long long) limit)));
}

/* Size of an open file that may be read; raises otherwise. */
static size_t
size_to_read(int fd, const char *path)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", path)));
	if (!S_ISREG(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a regular file", path)));
	br_pg_model_require_size(path, (int64) status.st_size);
	return (size_t) status.st_size;
}

/* Appends a file of the folder, if it is there, to what has been read. */
static bool
read_file(Folder *folder, const char *path)
{
	char *full = psprintf("%s/%s", folder->directory, path);
	int fd = OpenTransientFile(full, O_RDONLY | O_NONBLOCK | O_CLOEXEC | PG_BINARY);
	size_t size;
	char *data;

	if (fd < 0)
	{
		if (errno == ENOENT)
			return false;
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not open file \"%s\": %m", full),
				 errhint(SERVER_HINT)));
	}
	size = size_to_read(fd, full);
	data = MemoryContextAllocHuge(CurrentMemoryContext, size + 1);
	read_whole(fd, full, data, size);
	CloseTransientFile(fd);
	folder->files[folder->n++] = (BrModelFile){pstrdup(path), data, size};
	return true;
}

void
br_pg_model_require_file(const char *directory, const char *path, bool there)
{
	if (there || !(ends_with(path, "config.json") || ends_with(path, "model.safetensors")))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 directory != NULL
				 ? errmsg("the model folder \"%s\" lacks the file \"%s\"", directory, path)
				 : errmsg("the files given lack \"%s\"", path),
			 ends_with(path, "config.json")
				 ? errhint(
					   "Give the whole folder of a sentence-transformers or Hugging Face model.")
				 : errhint(
					   "Weights are read from safetensors files only; convert other formats first.")));
}

/* All files of the folder that an import may need. */
static void
read_folder(Folder *folder)
{
	const BrModelFile *modules;
	char **paths;
	int n_paths;
	BrStatus status;

	folder->files = palloc(sizeof(BrModelFile));
	folder->n = 0;
	modules = read_file(folder, "modules.json") ? &folder->files[0] : NULL;
	status = br_encoder_needed_files(&folder->context, modules != NULL ? modules->data : NULL,
									 modules != NULL ? modules->size : 0, &paths, &n_paths);
	br_pg_check(status, &folder->context, "could not read the model folder", NULL);

	folder->files = repalloc(folder->files, sizeof(BrModelFile) * (n_paths + 1));
	for (int i = 0; i < n_paths; i++)
		if (strcmp(paths[i], "modules.json") != 0)
			br_pg_model_require_file(folder->directory, paths[i], read_file(folder, paths[i]));
}

/* ---- storing ---- */

static void
name_taken(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("model \"%s\" already exists", name),
			 errhint("Drop it first with drop_model, or choose another name.")));
}

/* The insertion finds what came meanwhile. */
void
br_pg_model_require_new_name(const char *name)
{
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);
	BrPgRights saved;

	if (name[0] == '\0')
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a model needs a name")));
	br_pg_enter_owner(&saved);
	if (br_pg_execute("SELECT FROM bundle_rec.stored_model WHERE name = $1", 1, &type, &value, NULL,
					  false, 1) > 0)
		name_taken(name);
	br_pg_leave(&saved);
}

static bytea *
make_bytea(const void *data, size_t size)
{
	bytea *result = palloc(VARHDRSZ + size);

	SET_VARSIZE(result, VARHDRSZ + size);
	memcpy(VARDATA(result), data, size);
	return result;
}

/* Number of the new row of stored_model. */
static int32
insert_model(const char *name, const char *loader, const BrPgPackedKey *key, const char *weights,
			 const BrModelInfo *info)
{
	static const char sql[] =
		"INSERT INTO bundle_rec.stored_model (name, hash, layout, bytes, architecture, tokenizer, "
		"pooling, normalize, dimensions, max_tokens, parameters, loaded_by, weights) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::name, $13) "
		"ON CONFLICT (name) DO NOTHING RETURNING model";
	Oid types[13] = {TEXTOID, BYTEAOID, INT4OID, INT8OID, TEXTOID, TEXTOID, TEXTOID,
					 BOOLOID, INT4OID,	INT4OID, INT8OID, TEXTOID, TEXTOID};
	Datum values[13] = {
		CStringGetTextDatum(name),
		PointerGetDatum(make_bytea(key->hash, BR_PG_HASH_SIZE)),
		Int32GetDatum(key->layout),
		Int64GetDatum((int64) key->size),
		CStringGetTextDatum(info->architecture),
		CStringGetTextDatum(info->tokenizer),
		CStringGetTextDatum(br_encoder_pooling_name(info->pooling)),
		BoolGetDatum(info->normalize),
		Int32GetDatum(info->dimensions),
		Int32GetDatum(info->max_tokens),
		Int64GetDatum(info->parameters),
		CStringGetTextDatum(loader),
		CStringGetTextDatum(weights),
	};
	bool is_null;

	if (br_pg_execute(sql, lengthof(types), types, values, NULL, false, 0) != 1)
		name_taken(name);
	return DatumGetInt32(br_pg_column(0, 1, &is_null));
}

/* Whether another model has the same image, and so the same packed file. */
static bool
image_shared(int32 model, const BrPgPackedKey *key)
{
	Oid types[2] = {INT4OID, BYTEAOID};
	Datum values[2] = {Int32GetDatum(model),
					   PointerGetDatum(make_bytea(key->hash, BR_PG_HASH_SIZE))};

	return br_pg_execute("SELECT FROM bundle_rec.stored_model WHERE model <> $1 AND hash = $2",
						 lengthof(types), types, values, NULL, false, 1) > 0;
}

int32
br_pg_model_insert(const char *name, const void *image, size_t size, BrContext *context)
{
	char *loader = GetUserNameFromId(GetUserId(), false);
	BrPgPackedKey key = {.layout = BR_ENCODER_LAYOUT_VERSION, .size = size};
	BrPgStoredForm form;
	BrPgRights saved;
	BrEncoder *encoder;
	int32 model;

	br_pg_check(br_encoder_open(context, image, size, &encoder), context,
				"could not open the model that was read", NULL);
	br_pg_sha256(image, size, key.hash);
	form = br_pg_chunks_form(image, size, context);
	br_pg_enter_owner(&saved);
	model = insert_model(name, loader, &key, form.weights, br_encoder_info(encoder));
	br_pg_chunks_insert(model, &form);
	if (!image_shared(model, &key))
		br_pg_packed_remove_at_end(key.hash, false);
	br_pg_leave(&saved);
	br_encoder_close(encoder);
	return model;
}

/* failure: what to say where the files are no model */
static void
import(const char *name, const BrModelFile *files, int n, BrContext *context, const char *failure)
{
	void *image;
	size_t image_size;

	br_pg_check(br_encoder_import(context, files, n, &image, &image_size), context, failure, NULL);
	(void) br_pg_model_insert(name, image, image_size, context);
}

static MemoryContext
begin_work(BrContext *context)
{
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "bundle_rec load_model",
											   ALLOCSET_DEFAULT_SIZES);

	br_pg_context(context, work);
	return work;
}

void
br_pg_model_load(const char *name, const char *directory)
{
	Folder folder = {.directory = directory};
	MemoryContext before;

	if (!may_read_server_files())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to load models from the server's files"),
				 errhint("It takes the rights of the role pg_read_server_files. From a client,"
						 " load_model(name, files) takes the contents themselves.")));
	br_pg_require_writes("load_model()");
	br_pg_model_require_new_name(name);
	require_folder(directory);

	before = MemoryContextSwitchTo(begin_work(&folder.context));
	read_folder(&folder);
	import(name, folder.files, folder.n, &folder.context,
		   psprintf("could not load a model from \"%s\"", directory));
	MemoryContextDelete(MemoryContextSwitchTo(before));
}

void
br_pg_model_load_given(const char *name, BrPgGiven *given)
{
	BrContext context;
	BrModelFile *files;
	MemoryContext before;
	int n;

	br_pg_require_writes("load_model()");
	br_pg_model_require_new_name(name);

	before = MemoryContextSwitchTo(begin_work(&context));
	files = br_pg_given_needed(given, &context, &n);
	import(name, files, n, &context, "could not load a model from the files given");
	MemoryContextDelete(MemoryContextSwitchTo(before));
}

/* ---- dropping ---- */

ArrayType *
br_pg_model_used_by(int32 model, bool for_drop)
{
	static const char sql[] =
		"SELECT coalesce(array_agg(c.name ORDER BY c.name COLLATE \"C\"), '{}') "
		"FROM bundle_rec.catalog c WHERE (c.model = $1 OR c.next_model = $1 OR c.catalog IN "
		"(SELECT i.catalog FROM bundle_rec.item i WHERE i.model = $1)) AND ($2 IS NULL OR "
		"pg_catalog.has_table_privilege($2, c.items::pg_catalog.oid, 'SELECT') OR EXISTS ("
		"SELECT FROM pg_catalog.pg_roles o WHERE o.rolname = c.owner "
		"AND pg_catalog.pg_has_role($2, o.oid, 'USAGE')))";
	MemoryContext caller = CurrentMemoryContext;
	static const Oid types[] = {INT4OID, OIDOID};
	Datum values[] = {Int32GetDatum(model), ObjectIdGetDatum(GetUserId())};
	BrPgRights saved;
	ArrayType *names;
	bool is_null;

	br_pg_enter_owner(&saved);
	br_pg_execute(sql, lengthof(types), types, values, for_drop ? " n" : NULL, !for_drop, 0);
	MemoryContextSwitchTo(caller);
	names = DatumGetArrayTypePCopy(br_pg_column(0, 1, &is_null));
	br_pg_leave(&saved);
	SPI_freetuptable(SPI_tuptable);
	return names;
}

static void
require_unused(const char *name, int32 model)
{
	ArrayType *catalogs;

	/* also those whose transaction committed while we waited for the model's row */
	PushActiveSnapshot(GetLatestSnapshot());
	catalogs = br_pg_model_used_by(model, true);
	PopActiveSnapshot();
	if (ArrayGetNItems(ARR_NDIM(catalogs), ARR_DIMS(catalogs)) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST), errmsg("model \"%s\" is in use", name),
			 errdetail("Catalogs that use it: %s.",
					   TextDatumGetCString(OidFunctionCall2(F_ARRAY_TO_STRING_ANYARRAY_TEXT,
															PointerGetDatum(catalogs),
															CStringGetTextDatum(", ")))),
			 errhint(
				 "Move those catalogs to another model with alter_catalog and refresh, or drop them.")));
}

/* loader: the role's name, as stored; it may have been dropped since */
static void
require_dropper(const char *name, const char *loader)
{
	Oid role = get_role_oid(loader, true);

	if (may_read_server_files() || (OidIsValid(role) && has_privs_of_role(GetUserId(), role)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to drop model \"%s\"", name),
			 errhint("It takes the rights of \"%s\", who loaded it, or of the role"
					 " pg_read_server_files.",
					 loader)));
}

void
br_pg_model_drop(const char *name)
{
	static const char find[] = "SELECT model, hash, layout, loaded_by FROM bundle_rec.stored_model"
							   " WHERE name = $1 FOR UPDATE";
	Oid text_type = TEXTOID;
	Oid int_type = INT4OID;
	Datum value = CStringGetTextDatum(name);
	BrPgPackedKey key = {.layout = 0};
	BrPgRights saved;
	bool is_null;
	int32 model;
	char *loader;

	br_pg_require_writes("drop_model()");
	br_pg_enter_owner(&saved);
	if (br_pg_execute(find, 1, &text_type, &value, NULL, false, 1) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("model \"%s\" does not exist", name),
				 errhint("The view bundle_rec.model lists the models.")));
	model = DatumGetInt32(br_pg_column(0, 1, &is_null));
	memcpy(key.hash, VARDATA_ANY(DatumGetByteaPP(br_pg_column(0, 2, &is_null))), BR_PG_HASH_SIZE);
	key.layout = DatumGetInt32(br_pg_column(0, 3, &is_null));
	loader = br_pg_column_text(0, 4);
	br_pg_leave(&saved);
	require_dropper(name, loader);

	br_pg_enter_owner(&saved);
	require_unused(name, model);
	value = Int32GetDatum(model);
	br_pg_execute("DELETE FROM bundle_rec.stored_lineage WHERE model = $1", 1, &int_type, &value,
				  NULL, false, 0);
	br_pg_execute("DELETE FROM bundle_rec.model_chunk WHERE model = $1", 1, &int_type, &value, NULL,
				  false, 0);
	br_pg_execute("DELETE FROM bundle_rec.stored_model WHERE model = $1", 1, &int_type, &value,
				  NULL, false, 0);
	if (!image_shared(model, &key))
		br_pg_packed_remove_at_end(key.hash, true);
	br_pg_leave(&saved);
	br_pg_packed_remove_stale();
}
