/*
 * embedding_text.c
 *	  The forms in which an embedding comes and goes: text, [0.1,0.2], and binary.
 *
 * Both are read and written by core (half_text.c). Here are memory, the type
 * modifier and the sentences around core's details.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "libpq/pqformat.h"

#include "pg/embedding.h"

PG_FUNCTION_INFO_V1(br_embedding_in);
PG_FUNCTION_INFO_V1(br_embedding_out);
PG_FUNCTION_INFO_V1(br_embedding_recv);
PG_FUNCTION_INFO_V1(br_embedding_send);

PGDLLEXPORT Datum
br_embedding_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	int32 typmod = PG_GETARG_INT32(2);
	int64 dims;
	BrEmbedding *embedding;
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	/* that there are too many dimensions is said by the next line, with their number */
	(void) br_math_half_count_text(&context, text, &dims);
	embedding = br_pg_embedding_create(dims);
	br_pg_embedding_check(br_math_half_parse(&context, text, embedding->components, dims),
						  &context);
	br_pg_embedding_check_typmod(dims, typmod);
	PG_RETURN_POINTER(embedding);
}

PGDLLEXPORT Datum
br_embedding_out(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	char *text = palloc(BR_MATH_HALF_TEXT_SIZE(embedding->dims));

	br_math_half_print(embedding->components, embedding->dims, text);
	PG_RETURN_CSTRING(text);
}

/* The binary form is that of pgvector's halfvec. */
PGDLLEXPORT Datum
br_embedding_recv(PG_FUNCTION_ARGS)
{
	StringInfo message = (StringInfo) PG_GETARG_POINTER(0);
	int32 typmod = PG_GETARG_INT32(2);
	int size = message->len - message->cursor;
	/* raises by itself where there is no whole header */
	const char *bytes = pq_getmsgbytes(message, Max(size, BR_MATH_HALF_BINARY_HEADER));
	int dims;
	BrEmbedding *embedding;
	BrContext context;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	status = br_math_half_count_binary(&context, bytes, size, &dims);
	embedding = br_pg_embedding_create(dims);
	br_pg_embedding_check(status, &context);
	br_pg_embedding_check_typmod(dims, typmod);
	br_pg_embedding_check(br_math_half_receive(&context, bytes, embedding->components, dims),
						  &context);
	PG_RETURN_POINTER(embedding);
}

PGDLLEXPORT Datum
br_embedding_send(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	size_t size = VARHDRSZ + BR_MATH_HALF_BINARY_SIZE(embedding->dims);
	bytea *message = palloc(size);

	SET_VARSIZE(message, size);
	br_math_half_send(embedding->components, embedding->dims, VARDATA(message));
	PG_RETURN_BYTEA_P(message);
}
