/*
 * status.c
 *	  Between core and PostgreSQL: memory and cancellation inwards, errors
 *	  outwards.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/br_pg.h"

static void *
context_alloc(void *arg, size_t size)
{
	return MemoryContextAllocExtended((MemoryContext) arg, size,
									  MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
}

static void
context_free(void *arg, void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

static bool
cancel_pending(void *arg)
{
	return QueryCancelPending || ProcDiePending;
}

void
br_pg_context(BrContext *context, MemoryContext memory)
{
	context->allocator.alloc = context_alloc;
	context->allocator.free = context_free;
	context->allocator.arg = memory;
	context->cancel.requested = cancel_pending;
	context->cancel.arg = NULL;
	context->detail[0] = '\0';
}

static int
sqlstate_of(BrStatus status)
{
	switch (status)
	{
		case BR_OK:
			return ERRCODE_SUCCESSFUL_COMPLETION;
		case BR_ERR_ARGUMENT:
			return ERRCODE_INVALID_PARAMETER_VALUE;
		case BR_ERR_MEMORY:
			return ERRCODE_OUT_OF_MEMORY;
		case BR_ERR_CANCELLED:
			return ERRCODE_QUERY_CANCELED;
		case BR_ERR_FORMAT:
			return ERRCODE_INVALID_BINARY_REPRESENTATION;
		case BR_ERR_UNSUPPORTED:
			return ERRCODE_FEATURE_NOT_SUPPORTED;
		case BR_ERR_NUMERIC:
			return ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE;
		case BR_ERR_LIMIT:
			return ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		case BR_ERR_SYNTAX:
			return ERRCODE_INVALID_TEXT_REPRESENTATION;
		case BR_ERR_DEVICE:
			return ERRCODE_SYSTEM_ERROR;
	}
	return ERRCODE_INTERNAL_ERROR;
}

void
br_pg_check(BrStatus status, const BrContext *context, const char *message, const char *hint)
{
	if (status == BR_OK)
		return;
	/* raises by itself, and with the right text, when the cancel is still pending */
	if (status == BR_ERR_CANCELLED)
		CHECK_FOR_INTERRUPTS();

	ereport(ERROR,
			(errcode(sqlstate_of(status)), errmsg("%s", message),
			 context->detail[0] != '\0' ? errdetail("%s", context->detail) : 0,
			 hint != NULL ? errhint("%s", hint) : 0));
}
