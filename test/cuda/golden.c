/*
 * golden.c
 *	  Reads the golden models, where core is built with the encoder.
 */
#include "cuda/golden.h"

#ifndef BR_WITHOUT_ENCODER

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/checks.h"

#define MOST_FILES 32

typedef struct Folder
{
	BrModelFile files[MOST_FILES];
	int n;
} Folder;

char *
golden_read(const char *directory, const char *name, size_t *size)
{
	char *path = check_memory(strlen(directory) + strlen(name) + 2);
	char *data = NULL;
	FILE *file;

	sprintf(path, "%s/%s", directory, name);
	file = fopen(path, "rb");
	if (file == NULL)
		return NULL;
	if (fseek(file, 0, SEEK_END) == 0)
	{
		long length = ftell(file);

		rewind(file);
		data = check_memory((size_t) length + 1);
		*size = fread(data, 1, (size_t) length, file);
		data[*size] = '\0';
	}
	fclose(file);
	return data;
}

/* Whether the folder is there. */
static bool
read_folder(const char *directory, Folder *folder)
{
	size_t size = 0;
	char *modules = golden_read(directory, "modules.json", &size);
	char **paths;
	int n;

	folder->n = 0;
	if (br_encoder_needed_files(&check_context, modules, size, &paths, &n) != BR_OK)
		return false;
	for (int i = 0; i < n && folder->n < MOST_FILES; i++)
	{
		char *data = golden_read(directory, paths[i], &size);
		char *name = check_memory(strlen(paths[i]) + 1);

		strcpy(name, paths[i]);
		if (data != NULL)
			folder->files[folder->n++] = (BrModelFile){name, data, size};
	}
	br_base_free(&check_context, paths);
	return folder->n > 1;
}

BrEncoder *
golden_open(const char *directory, void **image)
{
	Folder folder;
	BrEncoder *encoder = NULL;
	size_t size;

	*image = NULL;
	if (!read_folder(directory, &folder))
		return NULL;
	check_ok(br_encoder_import(&check_context, folder.files, folder.n, image, &size));
	if (*image != NULL)
		check_ok(br_encoder_open(&check_context, *image, size, &encoder));
	return encoder;
}

const char *
golden_directory(void)
{
	const char *golden = getenv("BR_TEST_DIR");

	return golden != NULL ? golden : "test/golden";
}

BrEncoder *
golden_open_tiny(const char *name, void **image)
{
	char directory[4096];

	snprintf(directory, sizeof(directory), "%s/models/%s", golden_directory(), name);
	return golden_open(directory, image);
}

void
golden_close(BrEncoder *encoder, void *image)
{
	br_encoder_close(encoder);
	br_base_free(&check_context, image);
}

#endif /* BR_WITHOUT_ENCODER */
