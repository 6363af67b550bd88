/*
 * watch.c
 *	  What every fuzz target is watched for: time, memory, leaks, sentences.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fuzz/fuzz.h"

/* Of an input, in processor time: a second, sanitizers included. */
#define MAX_CLOCKS CLOCKS_PER_SEC

/* Core may take this much for nothing, and this many times the input. */
#define MEMORY_BASE (8 << 20)
#define MEMORY_FACTOR 100

int fuzz_accepted;

void
fuzz_fail(const char *file, int line, const char *condition, const char *detail)
{
	fflush(stdout);
	fprintf(stderr, "%s:%d: does not hold: %s%s%s\n", file, line, condition,
			detail[0] != '\0' ? "; " : "", detail);
	abort();
}

void
fuzz_run(void (*target)(const uint8_t *data, size_t size), const uint8_t *data, size_t size)
{
	clock_t begin = clock();

	target(data, size);
	FUZZ_CHECK(clock() - begin < MAX_CLOCKS);
}

/* A block's size stands before it, in a header that keeps it aligned. */
#define HEADER_SIZE 64

static void *
watched_alloc(void *arg, size_t size)
{
	FuzzContext *fuzz = arg;
	char *block;

	if (fuzz->left >= 0 && fuzz->left-- == 0)
	{
		fuzz->failed = true;
		return NULL;
	}
	FUZZ_CHECK(size <= fuzz->limit - fuzz->bytes);
	block = malloc(HEADER_SIZE + size);
	if (block == NULL)
		fuzz_fail(__FILE__, __LINE__, "memory of the machine", "");
	memcpy(block, &size, sizeof(size));
	memset(block + HEADER_SIZE, 0xA5, size < 256 ? size : 256);
	fuzz->blocks++;
	fuzz->bytes += size;
	return block + HEADER_SIZE;
}

static void
watched_free(void *arg, void *pointer)
{
	FuzzContext *fuzz = arg;
	size_t size;

	if (pointer == NULL)
		return;
	memcpy(&size, (char *) pointer - HEADER_SIZE, sizeof(size));
	fuzz->blocks--;
	fuzz->bytes -= size;
	free((char *) pointer - HEADER_SIZE);
}

void
fuzz_context_init(FuzzContext *fuzz, size_t input_size)
{
	memset(fuzz, 0, sizeof(*fuzz));
	fuzz->context.allocator = (BrAllocator){watched_alloc, watched_free, fuzz};
	fuzz->limit = MEMORY_BASE + MEMORY_FACTOR * input_size;
	fuzz->left = -1;
}

void
fuzz_check_status(const FuzzContext *fuzz, BrStatus status)
{
	const char *detail = fuzz->context.detail;

	if (status == BR_OK)
		return;
	FUZZ_CHECK(status > BR_OK && status <= BR_ERR_SYNTAX && status != BR_ERR_CANCELLED);
	FUZZ_CHECK(status != BR_ERR_MEMORY || fuzz->failed);
	FUZZ_CHECK(detail[0] != '\0' && memchr(detail, '\0', BR_DETAIL_SIZE) != NULL);
	if (!fuzz_is_utf8(detail, strlen(detail)))
		fuzz_fail(__FILE__, __LINE__, "the detail is UTF-8", detail);
	for (const char *at = detail; *at != '\0'; at++)
		if ((unsigned char) *at < ' ')
			fuzz_fail(__FILE__, __LINE__, "the detail is one line", detail);
}

void
fuzz_check_freed(const FuzzContext *fuzz)
{
	FUZZ_CHECK(fuzz->blocks == 0 && fuzz->bytes == 0);
}

uint64_t
fuzz_hash(const uint8_t *data, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
	return hash ^ hash >> 29;
}

bool
fuzz_is_utf8(const void *bytes, size_t size)
{
	const uint8_t *text = bytes;
	size_t at = 0;

	while (at < size)
	{
		uint32_t lead = text[at];
		size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
		uint32_t character = lead < 0x80 ? lead : lead & (0x7Fu >> length);
		static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};

		if ((lead >= 0x80 && lead < 0xC0) || lead > 0xF7 || length > size - at)
			return false;
		for (size_t i = 1; i < length; i++)
		{
			if ((text[at + i] & 0xC0) != 0x80)
				return false;
			character = character << 6 | (text[at + i] & 0x3F);
		}
		if (character < smallest[length] || character > 0x10FFFF ||
			(character >= 0xD800 && character <= 0xDFFF))
			return false;
		at += length;
	}
	return true;
}
