/*
 * model_files.c
 *	  The files of a model as a client gives them: model_file[].
 *
 * A file may be too large for one message or one bytea, so elements that
 * follow each other under one path are its pieces, in order. A path that comes
 * again after another one is refused: the array was built without an ORDER BY,
 * and the pieces may be in any order.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/model_int.h"

#define PATHS_TOLD 5

/* A file and the elements of the array that are its pieces. */
typedef struct GivenFile
{
	char *path;
	int first;
	int pieces;
	bool needed;
} GivenFile;

typedef struct Given
{
	bytea **contents; /* of each element */
	GivenFile *files;
	int n;
} Given;

/* ---- what the array holds ---- */

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

static void
require_value(bool is_null, int element, const char *what)
{
	if (is_null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s %d of \"files\" is NULL", what, element + 1)));
}

/* the file of this path, NULL where there is none yet */
static GivenFile *
find_file(const Given *given, const char *path)
{
	for (int i = 0; i < given->n; i++)
		if (strcmp(given->files[i].path, path) == 0)
			return &given->files[i];
	return NULL;
}

static void
add_element(Given *given, int element, Datum value, bool value_is_null)
{
	HeapTupleHeader row;
	GivenFile *file;
	bool is_null;
	Datum column;
	char *path;

	require_value(value_is_null, element, "element");
	row = DatumGetHeapTupleHeader(value);
	column = GetAttributeByNum(row, 1, &is_null);
	require_value(is_null, element, "the path of element");
	path = checked_path(TextDatumGetCString(column));
	column = GetAttributeByNum(row, 2, &is_null);
	require_value(is_null, element, "the content of element");
	given->contents[element] = DatumGetByteaPP(column);

	file = find_file(given, path);
	if (file == NULL)
		given->files[given->n++] = (GivenFile){path, element, 1, false};
	else if (file == &given->files[given->n - 1])
		file->pieces++;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the pieces of file \"%s\" do not follow each other", path),
				 errhint("Build the array in their order, as in array_agg((path, content)::"
						 "bundle_rec.model_file ORDER BY path, part).")));
}

static void
read_array(Given *given, ArrayType *array)
{
	Datum *elements;
	bool *nulls;
	int n;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elements, &nulls,
					  &n);
	given->contents = palloc(sizeof(bytea *) * Max(n, 1));
	given->files = palloc(sizeof(GivenFile) * Max(n, 1));
	given->n = 0;
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		add_element(given, i, elements[i], nulls[i]);
	}
}

/* ---- what a model needs of it ---- */

static BrModelFile
whole_file(const Given *given, const GivenFile *file)
{
	bytea **piece = given->contents + file->first;
	size_t size = 0;
	char *data, *end;

	for (int i = 0; i < file->pieces; i++)
		size += VARSIZE_ANY_EXHDR(piece[i]);
	br_pg_model_require_size(file->path, (int64) size);
	if (file->pieces == 1)
		return (BrModelFile){file->path, VARDATA_ANY(piece[0]), size};

	data = MemoryContextAllocHuge(CurrentMemoryContext, size + 1);
	end = data;
	for (int i = 0; i < file->pieces; i++)
	{
		CHECK_FOR_INTERRUPTS();
		memcpy(end, VARDATA_ANY(piece[i]), VARSIZE_ANY_EXHDR(piece[i]));
		end += VARSIZE_ANY_EXHDR(piece[i]);
	}
	return (BrModelFile){file->path, data, size};
}

static void
tell_ignored(const Given *given)
{
	StringInfoData paths;
	int ignored = 0;

	initStringInfo(&paths);
	for (int i = 0; i < given->n; i++)
	{
		if (given->files[i].needed)
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
br_pg_model_take_files(BrContext *context, ArrayType *array, int *n)
{
	BrModelFile modules = {NULL, NULL, 0};
	BrModelFile *files;
	GivenFile *file;
	Given given;
	char **paths;
	int n_paths;

	read_array(&given, array);
	file = find_file(&given, "modules.json");
	if (file != NULL)
		modules = whole_file(&given, file);
	br_pg_check(br_encoder_needed_files(context, modules.data, modules.size, &paths, &n_paths),
				context, "could not load a model from the files given", NULL);

	files = palloc(sizeof(BrModelFile) * n_paths);
	*n = 0;
	for (int i = 0; i < n_paths; i++)
	{
		file = find_file(&given, paths[i]);
		br_pg_model_require_file(NULL, paths[i], file != NULL);
		if (file == NULL)
			continue;
		file->needed = true;
		files[(*n)++] = whole_file(&given, file);
	}
	tell_ignored(&given);
	return files;
}
