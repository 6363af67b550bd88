/*
 * context.c
 *	  Memory, cancellation and error detail of one call into core.
 *
 * Every allocation of core passes here, so that running out of memory always
 * ends as BR_ERR_MEMORY with a sentence that says how much was wanted.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/br_base.h"

static void *
malloc_alloc(void *arg, size_t size)
{
	(void) arg;
	return malloc(size);
}

static void
malloc_free(void *arg, void *pointer)
{
	(void) arg;
	free(pointer);
}

void
br_base_context_init(BrContext *context)
{
	memset(context, 0, sizeof(*context));
	context->allocator.alloc = malloc_alloc;
	context->allocator.free = malloc_free;
}

void *
br_base_alloc(BrContext *context, size_t size)
{
	/* allocators may answer a request of nothing with NULL, which would read as a failure */
	void *pointer = context->allocator.alloc(context->allocator.arg, size > 0 ? size : 1);

	if (pointer == NULL)
		br_base_fail(context, BR_ERR_MEMORY, "Could not allocate %zu bytes.", size);
	return pointer;
}

void *
br_base_alloc_array(BrContext *context, size_t count, size_t size)
{
	void *pointer;

	if (size > 0 && count > SIZE_MAX / size)
	{
		br_base_fail(context, BR_ERR_MEMORY, "Could not allocate %zu elements of %zu bytes.", count,
					 size);
		return NULL;
	}
	pointer = br_base_alloc(context, count * size);
	if (pointer != NULL)
		memset(pointer, 0, count * size);
	return pointer;
}

void
br_base_free(BrContext *context, void *pointer)
{
	if (pointer != NULL)
		context->allocator.free(context->allocator.arg, pointer);
}

/* The length of text, at most size, that does not end inside a UTF-8 sequence. */
static size_t
whole_characters(const char *text, size_t size)
{
	size_t start = size;

	while (start > 0 && ((unsigned char) text[start - 1] & 0xC0) == 0x80)
		start--;
	if (start > 0 && (unsigned char) text[start - 1] >= 0xC0)
	{
		unsigned char lead = (unsigned char) text[start - 1];
		size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;

		if (start - 1 + length > size)
			return start - 1;
	}
	return size;
}

BrStatus
br_base_fail(BrContext *context, BrStatus status, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(context->detail, BR_DETAIL_SIZE, format, args);
	va_end(args);

	if (length < 0)
		context->detail[0] = '\0';
	else if (length >= BR_DETAIL_SIZE)
		context->detail[whole_characters(context->detail, BR_DETAIL_SIZE - 1)] = '\0';
	return status;
}

bool
br_base_cancelled(const BrContext *context)
{
	return context->cancel.requested != NULL && context->cancel.requested(context->cancel.arg);
}
