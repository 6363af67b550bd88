/*
 * chunks.c
 *	  Blocks of bytes in tables, in pieces: a value of a table holds 1 GB at most.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/train/train_int.h"
#include "pg/worker/job.h"

#define MOST_KEYS 3

static const Oid types[MOST_KEYS + 2] = {INT8OID, INT8OID, INT8OID, INT8OID, BYTEAOID};

void
br_pg_train_write_chunks(const BrPgTrainChunks *chunks, const void *bytes, Size size)
{
	Oid types_here[MOST_KEYS + 2];
	Datum values[MOST_KEYS + 2];
	bytea *chunk = palloc(Min(size, chunks->bytes) + VARHDRSZ);
	int n = chunks->n_keys;

	memcpy(types_here, types, sizeof(Oid) * (n + 1));
	types_here[n + 1] = BYTEAOID;
	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(chunks->keys[i]);
	values[n + 1] = PointerGetDatum(chunk);
	for (Size done = 0; done < size; done += chunks->bytes)
	{
		Size part = Min(size - done, chunks->bytes);

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(chunk, part + VARHDRSZ);
		memcpy(VARDATA(chunk), (const char *) bytes + done, part);
		values[n] = Int64GetDatum((int64) (done / chunks->bytes));
		br_pg_job_execute(chunks->insert, n + 2, types_here, values);
	}
	pfree(chunk);
}

static Size
count_bytes(const BrPgTrainChunks *chunks, const Datum *values, int64 *n)
{
	bool is_null;

	br_pg_job_execute(chunks->count, chunks->n_keys, types, values);
	*n = DatumGetInt64(br_pg_column(0, 1, &is_null));
	return (Size) DatumGetInt64(br_pg_column(0, 2, &is_null));
}

char *
br_pg_train_read_chunks(const BrPgTrainChunks *chunks, Size *size)
{
	Datum values[MOST_KEYS + 1];
	Size done = 0, all;
	char *bytes;
	int64 n;

	for (int i = 0; i < chunks->n_keys; i++)
		values[i] = Int64GetDatum(chunks->keys[i]);
	*size = 0;
	all = count_bytes(chunks, values, &n);
	if (all == 0)
		return NULL;
	bytes = palloc_extended(all, MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
	{
		bool is_null;
		Datum stored;
		bytea *chunk;
		Size part;

		CHECK_FOR_INTERRUPTS();
		values[chunks->n_keys] = Int64GetDatum(i);
		if (br_pg_job_execute(chunks->select, chunks->n_keys + 1, types, values) == 0)
			break;
		stored = br_pg_column(0, 1, &is_null);
		chunk = DatumGetByteaPP(stored);
		part = Min(VARSIZE_ANY_EXHDR(chunk), all - done);
		memcpy(bytes + done, VARDATA_ANY(chunk), part);
		done += part;
		if ((Pointer) chunk != DatumGetPointer(stored))
			pfree(chunk);
		SPI_freetuptable(SPI_tuptable);
	}
	*size = done;
	return bytes;
}
