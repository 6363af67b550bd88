/*
 * files.c
 *	  The files of a model as a client gives them: a model_file[], or the rows
 *	  of an aggregate.
 *
 * A file may be too large for one message or one bytea, so what follows each
 * other under one path are its pieces, in order. A path that comes again after
 * another one is refused: there was no ORDER BY, and the pieces may be in any
 * order.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/model/model_int.h"

#define PATHS_TOLD 5

/* A file and the elements of the array that are its pieces. */
typedef struct GivenFile
{
	char *path;
	int first;
	int pieces;
	BrModelFile whole; /* its path is NULL until the file is needed */
} GivenFile;

struct BrPgGiven
{
	bytea **contents; /* of each piece, in order */
	int n_pieces;
	int max_pieces;
	bool owned; /* each content is a chunk of memory of its own */
	GivenFile *files;
	int n;
	int max_files;
};

/* ---- what is given ---- */

static void
refuse_path(const char *path, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("\"%s\" is not a path inside a model's folder", path), errdetail("%s", why),
			 errhint("Paths are relative to the folder, such as config.json or"
					 " 1_Pooling/config.json.")));
}

/* the path without leading "./" */
static char *
checked_path(char *path)
{
	while (path[0] == '.' && path[1] == '/')
		path += 2;
	if (path[0] == '\0')
		refuse_path(path, "It is empty.");
	if (path[0] == '/')
		refuse_path(path, "It is absolute.");
	for (const char *part = path; part != NULL; part = strchr(part, '/'))
	{
		part += *part == '/';
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
			refuse_path(path, "It leads out of the folder.");
	}
	return path;
}

/* the file of this path, NULL where there is none yet */
static GivenFile *
find_file(const BrPgGiven *given, const char *path)
{
	for (int i = 0; i < given->n; i++)
		if (strcmp(given->files[i].path, path) == 0)
			return &given->files[i];
	return NULL;
}

BrPgGiven *
br_pg_given_create(bool owned)
{
	BrPgGiven *given = palloc0(sizeof(BrPgGiven));

	given->owned = owned;
	given->max_pieces = given->max_files = 16;
	given->contents = palloc(sizeof(bytea *) * given->max_pieces);
	given->files = palloc(sizeof(GivenFile) * given->max_files);
	return given;
}

static void
add_file(BrPgGiven *given, char *path)
{
	if (given->n == given->max_files)
	{
		given->max_files *= 2;
		given->files = repalloc(given->files, sizeof(GivenFile) * given->max_files);
	}
	given->files[given->n++] = (GivenFile){path, given->n_pieces, 1, {NULL, NULL, 0}};
}

void
br_pg_given_add(BrPgGiven *given, char *path, bytea *content)
{
	GivenFile *file;

	path = checked_path(path);
	file = find_file(given, path);
	if (file == NULL)
		add_file(given, path);
	else if (file == &given->files[given->n - 1])
		file->pieces++;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the pieces of file \"%s\" do not follow each other", path),
				 errhint("Give them in their order, with ORDER BY path, part inside the call.")));
	if (given->n_pieces == given->max_pieces)
	{
		given->max_pieces *= 2;
		given->contents = repalloc(given->contents, sizeof(bytea *) * given->max_pieces);
	}
	given->contents[given->n_pieces++] = content;
}

static void
require_value(bool is_null, int element, const char *what)
{
	if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s %d of \"files\" is NULL", what, element + 1)));
}

BrPgGiven *
br_pg_given_array(ArrayType *array)
{
	BrPgGiven *given = br_pg_given_create(false);
	Datum *elements;
	bool *nulls;
	int n;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elements, &nulls,
					  &n);
	for (int i = 0; i < n; i++)
	{
		HeapTupleHeader row;
		Datum path, content;
		bool is_null;

		CHECK_FOR_INTERRUPTS();
		require_value(nulls[i], i, "element");
		row = DatumGetHeapTupleHeader(elements[i]);
		path = GetAttributeByNum(row, 1, &is_null);
		require_value(is_null, i, "the path of element");
		content = GetAttributeByNum(row, 2, &is_null);
		require_value(is_null, i, "the content of element");
		br_pg_given_add(given, TextDatumGetCString(path), DatumGetByteaPP(content));
	}
	return given;
}

/* ---- what a model needs of it ---- */

/* pieces go as they are copied, so that there is hardly more than one copy at a time */
static char *
join_pieces(BrPgGiven *given, const GivenFile *file, size_t size)
{
	char *data = MemoryContextAllocHuge(CurrentMemoryContext, size + 1);
	char *end = data;

	for (int i = file->first; i < file->first + file->pieces; i++)
	{
		bytea *piece = given->contents[i];

		CHECK_FOR_INTERRUPTS();
		memcpy(end, VARDATA_ANY(piece), VARSIZE_ANY_EXHDR(piece));
		end += VARSIZE_ANY_EXHDR(piece);
		if (given->owned)
			pfree(piece);
	}
	return data;
}

static BrModelFile
whole_file(BrPgGiven *given, GivenFile *file)
{
	size_t size = 0;

	if (file->whole.path != NULL)
		return file->whole;
	for (int i = file->first; i < file->first + file->pieces; i++)
		size += VARSIZE_ANY_EXHDR(given->contents[i]);
	br_pg_model_require_size(file->path, (int64) size);
	file->whole = (BrModelFile){file->path,
								file->pieces == 1 ? VARDATA_ANY(given->contents[file->first])
												  : join_pieces(given, file, size),
								size};
	return file->whole;
}

static void
tell_ignored(const BrPgGiven *given)
{
	StringInfoData paths;
	int ignored = 0;

	initStringInfo(&paths);
	for (int i = 0; i < given->n; i++)
	{
		if (given->files[i].whole.path != NULL)
			continue;
		if (++ignored <= PATHS_TOLD)
			appendStringInfo(&paths, "%s%s", ignored > 1 ? ", " : "", given->files[i].path);
	}
	if (ignored > PATHS_TOLD)
		appendStringInfoString(&paths, ", ...");
	if (ignored > 0)
		ereport(NOTICE,
				(errmsg_plural("%d of %d files is not needed and was ignored",
							   "%d of %d files are not needed and were ignored", ignored, ignored,
							   given->n),
				 errdetail("Ignored: %s.", paths.data)));
}

BrModelFile *
br_pg_given_needed(BrPgGiven *given, BrContext *context, int *n)
{
	BrModelFile modules = {NULL, NULL, 0};
	BrModelFile *files;
	GivenFile *file;
	char **paths;
	int n_paths;

	file = find_file(given, "modules.json");
	if (file != NULL)
		modules = whole_file(given, file);
	br_pg_check(br_encoder_needed_files(context, modules.data, modules.size, &paths, &n_paths),
				context, "could not load a model from the files given", NULL);

	files = palloc(sizeof(BrModelFile) * n_paths);
	*n = 0;
	for (int i = 0; i < n_paths; i++)
	{
		file = find_file(given, paths[i]);
		br_pg_model_require_file(NULL, paths[i], file != NULL);
		if (file == NULL)
			continue;
		files[(*n)++] = whole_file(given, file);
	}
	tell_ignored(given);
	return files;
}
