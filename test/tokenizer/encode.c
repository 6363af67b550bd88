/*
 * encode.c
 *	  Token ids of many texts, for test/tokenizer/compare.
 *
 * encode DIRECTORY 0|1: reads texts from the standard input, each as its
 * number of bytes (uint32_t) and its bytes, and writes for each the number of
 * its ids (int32_t) and the ids; 1 parses special tokens inside a text. First
 * of all it writes how many tokens a text may have.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/encoder/br_encoder.h"

#define MAX_FILES 32

static void *
read_file(const char *directory, const char *path, size_t *size)
{
	char name[4096];
	FILE *file;
	char *data = NULL;
	long length;

	snprintf(name, sizeof(name), "%s/%s", directory, path);
	file = fopen(name, "rb");
	if (file == NULL)
		return NULL;
	fseek(file, 0, SEEK_END);
	length = ftell(file);
	rewind(file);
	data = malloc((size_t) length + 1);
	*size = fread(data, 1, (size_t) length, file);
	fclose(file);
	return data;
}

static void
stop(const char *what, const char *detail)
{
	fprintf(stderr, "encode: %s: %s\n", what, detail);
	exit(2);
}

static BrEncoder *
open_model(BrContext *context, const char *directory)
{
	BrModelFile files[MAX_FILES];
	int n_files = 0;
	size_t modules_size = 0;
	char *modules = read_file(directory, "modules.json", &modules_size);
	char **paths;
	int n;
	void *image;
	size_t image_size;
	BrEncoder *encoder;

	if (br_encoder_needed_files(context, modules, modules_size, &paths, &n) != BR_OK)
		stop(directory, context->detail);
	for (int i = 0; i < n && n_files < MAX_FILES; i++)
	{
		BrModelFile *file = &files[n_files];

		file->path = paths[i];
		file->data = read_file(directory, paths[i], &file->size);
		n_files += file->data != NULL;
	}
	if (br_encoder_import(context, files, n_files, &image, &image_size) != BR_OK ||
		br_encoder_open(context, image, image_size, &encoder) != BR_OK)
		stop(directory, context->detail);
	free(modules);
	return encoder;
}

int
main(int argc, char **argv)
{
	BrContext context;
	BrEncoder *encoder;
	int32_t number;
	uint32_t size;

	if (argc != 3)
		stop("usage", "encode DIRECTORY 0|1");
	br_base_context_init(&context);
	encoder = open_model(&context, argv[1]);
	number = br_encoder_info(encoder)->max_tokens;
	fwrite(&number, sizeof(number), 1, stdout);
	while (fread(&size, sizeof(size), 1, stdin) == 1)
	{
		char *text = malloc((size_t) size + 1);
		int32_t *ids;

		if (fread(text, 1, size, stdin) != size)
			stop("standard input", "it ends inside a text");
		if (br_encoder_tokenize(encoder, &context, text, size, strcmp(argv[2], "1") == 0, &ids,
								&number) != BR_OK)
			stop("tokenize", context.detail);
		fwrite(&number, sizeof(number), 1, stdout);
		fwrite(ids, sizeof(int32_t), (size_t) number, stdout);
		br_base_free(&context, ids);
		free(text);
	}
	return 0;
}
