/*
 * fuzz_folder.c
 *	  A model folder of which some files were written by a stranger.
 *
 * The input is a list of files, each a line "=== PATH" and the lines below it;
 * a PATH that begins with a minus is taken away. They replace those of a valid
 * folder, so one changed file is as easy to reach as a whole folder.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz/fuzz.h"

static const char marker[] = "=== ";

#define MARKER_SIZE (sizeof(marker) - 1)

/* Begin of the next line that is a marker, or the end. */
static char *
next_marker(char *at, const char *end)
{
	while (at < end)
	{
		char *newline = memchr(at, '\n', (size_t) (end - at));

		if ((size_t) (end - at) >= MARKER_SIZE && memcmp(at, marker, MARKER_SIZE) == 0)
			return at;
		if (newline == NULL)
			break;
		at = newline + 1;
	}
	return (char *) end;
}

/* text: one byte longer than size, cut into strings here. */
static void
change_folder(FuzzFolder *folder, char *text, size_t size)
{
	char *end = text + size;
	char *at = next_marker(text, end);

	*end = '\0';
	while (at < end)
	{
		char *path = at + MARKER_SIZE;
		char *line = memchr(path, '\n', (size_t) (end - path));
		char *content = line != NULL ? line + 1 : end;
		size_t content_size;

		if (line != NULL)
			*line = '\0';
		at = next_marker(content, end);
		content_size = (size_t) (at - content);
		/* the newline before the next marker belongs to the marker */
		if (at < end)
			content_size -= content_size > 0;
		if (path[0] == '-')
			fuzz_folder_set(folder, path + 1, NULL, 0);
		else
			fuzz_folder_set(folder, path, content, content_size);
	}
}

/* Which files are asked for is decided before there are any. */
static void
check_needed_files(const FuzzFolder *folder)
{
	for (int i = 0; i < folder->n; i++)
	{
		FuzzContext fuzz;
		char **paths;
		int n;
		BrStatus status;

		if (strcmp(folder->files[i].path, "modules.json") != 0)
			continue;
		fuzz_context_init(&fuzz, folder->files[i].size);
		status = br_encoder_needed_files(&fuzz.context, folder->files[i].data,
										 folder->files[i].size, &paths, &n);
		fuzz_check_status(&fuzz, status);
		for (int j = 0; j < n; j++)
		{
			FUZZ_CHECK(paths[j][0] != '/' && strstr(paths[j], "/../") == NULL);
			FUZZ_CHECK(strncmp(paths[j], "../", 3) != 0);
		}
		br_base_free(&fuzz.context, paths);
		fuzz_check_freed(&fuzz);
	}
}

FUZZ_TARGET(folder)
{
	FuzzFolder folder;
	char *text = malloc(size + 1);

	if (size > 0)
		memcpy(text, data, size);
	fuzz_folder_init(&folder, FUZZ_WORDS);
	change_folder(&folder, text, size);
	check_needed_files(&folder);
	fuzz_import(&folder, size, fuzz_hash(data, size));
	free(text);
}
