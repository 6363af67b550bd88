/*
 * load_model.c
 *	  Model folders and files of texts for the programs that measure.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load_model.h"

#define MAX_FILES 64

_Noreturn void
die(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(2);
}

void
check(BrStatus status, const char *what, const BrContext *context)
{
	if (status != BR_OK)
		die(what, context->detail);
}

/* NULL: no such file. */
static char *
read_file(const char *path, size_t *size)
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
	if (data == NULL || fread(data, 1, (size_t) length, file) != (size_t) length)
		die(path, "cannot be read");
	data[length] = '\0';
	*size = (size_t) length;
	fclose(file);
	return data;
}

Texts
read_texts(const char *path)
{
	size_t size = 0;
	size_t place = 0;
	Texts texts = {.data = read_file(path, &size)};

	if (texts.data == NULL)
		die(path, "cannot be opened");
	texts.texts = malloc((size / 4 + 1) * sizeof(char *));
	texts.sizes = malloc((size / 4 + 1) * sizeof(size_t));
	if (texts.texts == NULL || texts.sizes == NULL)
		die(path, "no memory");
	while (place + 4 <= size)
	{
		const unsigned char *head = (const unsigned char *) texts.data + place;
		size_t length = (size_t) head[0] | (size_t) head[1] << 8 | (size_t) head[2] << 16 |
			(size_t) head[3] << 24;

		place += 4;
		if (length > size - place)
			die(path, "ends inside a text");
		texts.texts[texts.n] = texts.data + place;
		texts.sizes[texts.n++] = length;
		place += length;
	}
	return texts;
}

/* Reads what the folder has of the files that an import may need. */
static int
read_folder(BrContext *context, const char *folder, BrModelFile *files)
{
	char full[4096];
	size_t size = 0;
	char **paths;
	char *modules;
	int n_paths;
	int n = 0;

	snprintf(full, sizeof(full), "%s/modules.json", folder);
	modules = read_file(full, &size);
	check(br_encoder_needed_files(context, modules, size, &paths, &n_paths), folder, context);
	for (int i = 0; i < n_paths && n < MAX_FILES; i++)
	{
		snprintf(full, sizeof(full), "%s/%s", folder, paths[i]);
		files[n].path = strdup(paths[i]);
		files[n].data = read_file(full, &files[n].size);
		if (files[n].data != NULL)
			n++;
	}
	br_base_free(context, paths);
	free(modules);
	return n;
}

BrEncoder *
load_model(BrContext *context, const char *folder)
{
	BrModelFile files[MAX_FILES];
	BrEncoder *encoder;
	void *image;
	size_t size;
	int n = read_folder(context, folder, files);

	check(br_encoder_import(context, files, n, &image, &size), folder, context);
	for (int i = 0; i < n; i++)
	{
		free((void *) files[i].path);
		free((void *) files[i].data);
	}
	check(br_encoder_open(context, image, size, &encoder), folder, context);
	return encoder;
}
