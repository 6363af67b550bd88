/*
 * encoder_fixture.c
 *	  Model folders and golden rows for the tests of the encoder.
 */
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#include "unit/encoder_fixture.h"

void *
fixture_read_file(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	char *data;
	long length;

	if (file == NULL)
		return NULL;
	fseek(file, 0, SEEK_END);
	length = ftell(file);
	rewind(file);
	data = malloc((size_t) length + 1);
	*size = fread(data, 1, (size_t) length, file);
	data[*size] = '\0';
	fclose(file);
	return data;
}

char *
path_from(const char *variable, const char *name)
{
	const char *directory = getenv(variable);
	char *path;

	if (directory == NULL || directory[0] == '\0')
		return NULL;
	path = malloc(strlen(directory) + strlen(name) + 2);
	sprintf(path, "%s/%s", directory, name);
	return path;
}

static void
add_if_there(Folder *folder, const char *directory, const char *path)
{
	char *full = malloc(strlen(directory) + strlen(path) + 2);
	size_t size = 0;
	void *data;

	sprintf(full, "%s/%s", directory, path);
	data = fixture_read_file(full, &size);
	if (data != NULL)
		folder->files[folder->n++] = (BrModelFile){strdup(path), data, size};
	free(full);
}

bool
folder_read(Folder *folder, const char *directory)
{
	BrContext context;
	const BrModelFile *modules;
	char **paths;
	int n;

	memset(folder, 0, sizeof(*folder));
	br_base_context_init(&context);
	add_if_there(folder, directory, "modules.json");
	modules = folder_find(folder, "modules.json");
	if (br_encoder_needed_files(&context, modules ? modules->data : NULL,
								modules ? modules->size : 0, &paths, &n) != BR_OK)
		return false;
	for (int i = 0; i < n; i++)
		if (folder_find(folder, paths[i]) == NULL)
			add_if_there(folder, directory, paths[i]);
	br_base_free(&context, paths);
	return folder_find(folder, "config.json") != NULL;
}

void
folder_read_golden(Folder *folder, const char *name)
{
	char path[200];
	char *directory;

	snprintf(path, sizeof(path), "models/%s", name);
	directory = path_from("BR_TEST_DIR", path);
	if (directory == NULL)
	{
		directory = malloc(sizeof(path) + 20);
		sprintf(directory, "test/golden/%s", path);
	}
	if (!folder_read(folder, directory))
		fail_msg("%s is missing", directory);
	free(directory);
}

void
folder_free(Folder *folder)
{
	for (int i = 0; i < folder->n; i++)
	{
		free((char *) folder->files[i].path);
		free((void *) folder->files[i].data);
	}
	folder->n = 0;
}

const BrModelFile *
folder_find(const Folder *folder, const char *path)
{
	for (int i = 0; i < folder->n; i++)
		if (strcmp(folder->files[i].path, path) == 0)
			return &folder->files[i];
	return NULL;
}

void
folder_remove(Folder *folder, const char *path)
{
	for (int i = 0; i < folder->n; i++)
		if (strcmp(folder->files[i].path, path) == 0)
		{
			free((char *) folder->files[i].path);
			free((void *) folder->files[i].data);
			folder->files[i] = folder->files[--folder->n];
			return;
		}
	fail_msg("no file %s to remove", path);
}

void
folder_set(Folder *folder, const char *path, const void *data, size_t size)
{
	char *copy = malloc(size + 1);

	memcpy(copy, data, size);
	copy[size] = '\0';
	if (folder_find(folder, path) != NULL)
		folder_remove(folder, path);
	folder->files[folder->n++] = (BrModelFile){strdup(path), copy, size};
}

void
folder_set_text(Folder *folder, const char *path, const char *text)
{
	folder_set(folder, path, text, strlen(text));
}

void
folder_replace(Folder *folder, const char *path, const char *from, const char *to)
{
	const BrModelFile *file = folder_find(folder, path);
	const char *at;
	char *text;

	assert_non_null(file);
	at = strstr(file->data, from);
	if (at == NULL)
		fail_msg("%s does not contain %s", path, from);
	text = malloc(file->size + strlen(to));
	memcpy(text, file->data, (size_t) (at - (const char *) file->data));
	strcpy(text + (at - (const char *) file->data), to);
	memcpy(text + (at - (const char *) file->data) + strlen(to), at + strlen(from),
		   file->size - (size_t) (at - (const char *) file->data) - strlen(from));
	folder_set(folder, path, text, file->size - strlen(from) + strlen(to));
	free(text);
}

void
folder_change(Folder *folder, const cJSON *json)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "remove"))
		folder_remove(folder, item->valuestring);
	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "replace"))
		folder_replace(folder, cJSON_GetArrayItem(item, 0)->valuestring,
					   cJSON_GetArrayItem(item, 1)->valuestring,
					   cJSON_GetArrayItem(item, 2)->valuestring);
}

cJSON *
read_cases(const char *name)
{
	char *path = path_from("BR_TEST_DIR", name);
	size_t size;
	char *text = path != NULL ? fixture_read_file(path, &size) : NULL;
	cJSON *json;

	if (text == NULL)
		fail_msg("%s is missing in BR_TEST_DIR", name);
	json = cJSON_ParseWithLength(text, size);
	assert_non_null(json);
	free(text);
	free(path);
	return json;
}

/* The header's tree, and where the data behind it begins. */
static cJSON *
read_header(const BrModelFile *file, const char **data)
{
	uint64_t size;
	cJSON *header;

	assert_non_null(file);
	memcpy(&size, file->data, sizeof(size));
	header = cJSON_ParseWithLength((const char *) file->data + 8, size);
	assert_non_null(header);
	*data = (const char *) file->data + 8 + size;
	return header;
}

static void
entry_span(const cJSON *entry, size_t *begin, size_t *size)
{
	const cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");

	*begin = (size_t) cJSON_GetArrayItem(offsets, 0)->valuedouble;
	*size = (size_t) cJSON_GetArrayItem(offsets, 1)->valuedouble - *begin;
}

void *
folder_tensor(const Folder *folder, const char *path, const char *name, size_t *size)
{
	const char *data;
	cJSON *header = read_header(folder_find(folder, path), &data);
	size_t begin;
	void *copy;

	entry_span(cJSON_GetObjectItemCaseSensitive(header, name), &begin, size);
	copy = malloc(*size + 1);
	memcpy(copy, data + begin, *size);
	cJSON_Delete(header);
	return copy;
}

static void
add_entry(cJSON *header, const char *name, const char *type, int rows, int columns, size_t begin,
		  size_t size)
{
	cJSON *entry = cJSON_AddObjectToObject(header, name);
	cJSON *shape;
	cJSON *offsets;

	cJSON_AddStringToObject(entry, "dtype", type);
	shape = cJSON_AddArrayToObject(entry, "shape");
	cJSON_AddItemToArray(shape, cJSON_CreateNumber(rows));
	if (columns > 0)
		cJSON_AddItemToArray(shape, cJSON_CreateNumber(columns));
	offsets = cJSON_AddArrayToObject(entry, "data_offsets");
	cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double) begin));
	cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double) (begin + size)));
}

void
folder_set_tensor(Folder *folder, const char *path, const char *name, const char *type, int rows,
				  int columns, const void *data, size_t size)
{
	const BrModelFile *file = folder_find(folder, path);
	const char *old;
	cJSON *header = read_header(file, &old);
	char *packed = malloc(file->size + size);
	size_t at = 0;
	uint64_t header_size;
	cJSON *entry;
	char *text;

	cJSON_DeleteItemFromObjectCaseSensitive(header, name);
	cJSON_ArrayForEach(entry, header)
	{
		cJSON *offsets = cJSON_GetObjectItem(entry, "data_offsets");
		size_t begin;
		size_t length;

		if (offsets == NULL)
			continue;
		entry_span(entry, &begin, &length);
		memcpy(packed + at, old + begin, length);
		cJSON_SetNumberValue(cJSON_GetArrayItem(offsets, 0), (double) at);
		at += length;
		cJSON_SetNumberValue(cJSON_GetArrayItem(offsets, 1), (double) at);
	}
	add_entry(header, name, type, rows, columns, at, size);
	memcpy(packed + at, data, size);
	at += size;

	text = cJSON_PrintUnformatted(header);
	header_size = strlen(text);
	text = realloc(text, header_size + 8 + at);
	memmove(text + 8, text, header_size);
	memcpy(text, &header_size, 8);
	memcpy(text + 8 + header_size, packed, at);
	folder_set(folder, path, text, 8 + header_size + at);
	cJSON_Delete(header);
	free(packed);
	free(text);
}

void
model_open(OpenModel *model, const Folder *folder)
{
	memset(model, 0, sizeof(*model));
	br_base_context_init(&model->context);
	if (br_encoder_import(&model->context, folder->files, folder->n, &model->image,
						  &model->image_size) != BR_OK ||
		br_encoder_open(&model->context, model->image, model->image_size, &model->encoder) != BR_OK)
		fail_msg("%s", model->context.detail);
}

void
model_open_golden(OpenModel *model, const char *name)
{
	Folder folder;

	folder_read_golden(&folder, name);
	model_open(model, &folder);
	folder_free(&folder);
}

void
model_close(OpenModel *model)
{
	br_encoder_close(model->encoder);
	br_base_free(&model->context, model->image);
}

static void *
ledger_alloc(void *arg, size_t size)
{
	Ledger *ledger = arg;
	size_t *block;

	if (ledger->allowed == 0)
		return NULL;
	ledger->allowed--;
	block = malloc(size + 16);
	block[0] = size;
	ledger->outstanding += size;
	if (ledger->outstanding > ledger->peak)
		ledger->peak = ledger->outstanding;
	return block + 2;
}

static void
ledger_free(void *arg, void *pointer)
{
	Ledger *ledger = arg;

	if (pointer == NULL)
		return;
	ledger->outstanding -= ((size_t *) pointer)[-2];
	free((size_t *) pointer - 2);
}

void
ledger_context(BrContext *context, Ledger *ledger)
{
	br_base_context_init(context);
	context->allocator = (BrAllocator){ledger_alloc, ledger_free, ledger};
}

int
expect_no_leaks(BrStatus (*attempt)(BrContext *context, void *arg), void *arg)
{
	BrStatus status = BR_ERR_MEMORY;
	int tries = 0;

	for (; status == BR_ERR_MEMORY; tries++)
	{
		Ledger ledger = {.allowed = tries};
		BrContext context;

		ledger_context(&context, &ledger);
		status = attempt(&context, arg);
		assert_true(ledger.outstanding == 0);
	}
	assert_int_equal(status, BR_OK);
	return tries;
}

bool
count_down(void *arg)
{
	Countdown *countdown = arg;

	return ++countdown->made > countdown->checks;
}

static void
read_row(const cJSON *json, GoldenRow *row)
{
	const cJSON *ids = cJSON_GetObjectItem(json, "ids");
	const cJSON *embedding = cJSON_GetObjectItem(json, "embedding");
	const cJSON *item;
	int i = 0;

	row->text = strdup(cJSON_GetObjectItem(json, "text")->valuestring);
	row->n_ids = cJSON_GetArraySize(ids);
	row->dimensions = cJSON_GetArraySize(embedding);
	row->ids = malloc(sizeof(int32_t) * (size_t) row->n_ids);
	row->embedding = malloc(sizeof(float) * (size_t) row->dimensions);
	cJSON_ArrayForEach(item, ids) row->ids[i++] = item->valueint;
	i = 0;
	cJSON_ArrayForEach(item, embedding) row->embedding[i++] = (float) item->valuedouble;
}

bool
golden_read(Golden *golden, const char *path)
{
	size_t size;
	char *text = path != NULL ? fixture_read_file(path, &size) : NULL;
	cJSON *json;
	const cJSON *rows;
	const cJSON *row;

	memset(golden, 0, sizeof(*golden));
	if (text == NULL)
		return false;
	json = cJSON_ParseWithLength(text, size);
	free(text);
	assert_non_null(json);
	rows = cJSON_GetObjectItem(json, "rows");
	golden->max_tokens = cJSON_GetObjectItem(json, "max_seq_length")->valueint;
	golden->rows = calloc((size_t) cJSON_GetArraySize(rows), sizeof(GoldenRow));
	cJSON_ArrayForEach(row, rows) read_row(row, &golden->rows[golden->n++]);
	cJSON_Delete(json);
	return true;
}

void
golden_free(Golden *golden)
{
	for (int i = 0; i < golden->n; i++)
	{
		free(golden->rows[i].text);
		free(golden->rows[i].ids);
		free(golden->rows[i].embedding);
	}
	free(golden->rows);
}

double
golden_cosine(const GoldenRow *row, const float *embedding, bool normalized, double *difference)
{
	double dot = 0;
	double ours = 0;
	double theirs = 0;
	double largest = 0;

	*difference = 0;
	for (int i = 0; i < row->dimensions; i++)
	{
		dot += (double) embedding[i] * row->embedding[i];
		ours += (double) embedding[i] * embedding[i];
		theirs += (double) row->embedding[i] * row->embedding[i];
		*difference = fmax(*difference, fabs((double) embedding[i] - row->embedding[i]));
		largest = fmax(largest, fabs((double) row->embedding[i]));
	}
	*difference /= normalized ? 1 : largest;
	return dot / sqrt(ours * theirs);
}

const BrBackend *
load_backend(const char *name)
{
	char file[100];
	char *path;
	void *library;
	BrBackendTable table;

	if (strcmp(name, "portable") == 0)
		return br_math_portable_backend();
	snprintf(file, sizeof(file), "br_backend_%s.so", name);
	path = path_from("BR_BACKEND_DIR", file);
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	setenv("OMP_NUM_THREADS", "1", 1);
	library = path != NULL ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
	free(path);
	if (library == NULL)
		return NULL;
	*(void **) &table = dlsym(library, BR_BACKEND_SYMBOL);
	return table != NULL ? table() : NULL;
}

static void
check_row(OpenModel *model, const char *name, const char *text, const cJSON *expected, bool special)
{
	const cJSON *item;
	int32_t *ids;
	int n;
	int i = 0;

	assert_int_equal(br_encoder_tokenize(model->encoder, &model->context, text, strlen(text),
										 special, &ids, &n),
					 BR_OK);
	cJSON_ArrayForEach(item, expected)
	{
		if (i >= n || ids[i] != item->valueint)
			fail_msg("%s: other ids of \"%s\" from %d on%s", name, text, i,
					 special ? "" : " (special tokens plain)");
		i++;
	}
	assert_int_equal(i, n);
	br_base_free(&model->context, ids);
}

static void
check_case_rows(OpenModel *model, const cJSON *json)
{
	const char *name = cJSON_GetObjectItem(json, "name")->valuestring;
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, "rows"))
	{
		const char *text = cJSON_GetObjectItem(item, "text")->valuestring;
		const cJSON *special = cJSON_GetObjectItem(item, "special");
		const cJSON *plain = cJSON_GetObjectItem(item, "plain");

		check_row(model, name, text, special, true);
		check_row(model, name, text, plain != NULL ? plain : special, false);
	}
}

void
check_cases(const char *file, int least, void (*prepare)(Folder *folder, const cJSON *json))
{
	cJSON *cases = read_cases(file);
	const cJSON *item;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(cases, "cases"))
	{
		OpenModel model;
		Folder folder;

		folder_read_golden(&folder, cJSON_GetObjectItem(item, "model")->valuestring);
		folder_change(&folder, item);
		prepare(&folder, item);
		model_open(&model, &folder);
		check_case_rows(&model, item);
		model_close(&model);
		folder_free(&folder);
	}
	assert_true(cJSON_GetArraySize(cJSON_GetObjectItem(cases, "cases")) > least);
	cJSON_Delete(cases);
}

void
expect_failure(const Folder *folder, BrStatus expected, const char *hint)
{
	BrContext context;
	void *image;
	size_t size;
	BrStatus status;

	br_base_context_init(&context);
	status = br_encoder_import(&context, folder->files, folder->n, &image, &size);
	if (status != expected || strstr(context.detail, hint) == NULL)
		fail_msg("status %d instead of %d, detail without \"%s\": %s", status, expected, hint,
				 context.detail);
	assert_null(image);
}
