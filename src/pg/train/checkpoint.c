/*
 * checkpoint.c
 *	  States of a training in the database.
 *
 * Two are kept: should the newest be damaged, the one before will do.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "pg/train/train_int.h"
#include "pg/worker/job.h"

#define CHUNK_BYTES (4 * 1024 * 1024)

static BrPgTrainChunks
chunks_of(int64 job, int seed, int64 step)
{
	return (BrPgTrainChunks){
		.n_keys = 3,
		.keys = {job, seed, step},
		.bytes = CHUNK_BYTES,
		.insert = "INSERT INTO bundle_rec.job_checkpoint (job, seed, step, chunk, contents)"
				  " VALUES ($1, $2, $3, $4, $5)",
		.count = "SELECT pg_catalog.count(*),"
				 " COALESCE(pg_catalog.sum(pg_catalog.octet_length(contents)), 0)"
				 " FROM bundle_rec.job_checkpoint WHERE job = $1 AND seed = $2 AND step = $3",
		.select = "SELECT contents FROM bundle_rec.job_checkpoint WHERE job = $1 AND seed = $2"
				  " AND step = $3 AND chunk = $4",
	};
}

void
br_pg_train_checkpoint(int64 job, int seed, int64 step, const void *state, Size size)
{
	static const Oid types[] = {INT8OID, INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(job), Int64GetDatum(seed), Int64GetDatum(step)};
	BrPgTrainChunks chunks = chunks_of(job, seed, step);

	/* one of a later step could not be read, or what came after this one was lost */
	br_pg_job_execute("DELETE FROM bundle_rec.job_checkpoint c WHERE c.job = $1 AND c.step >= 0"
					  " AND (c.seed <> $2 OR c.step >= $3 OR c.step <"
					  " (SELECT pg_catalog.max(l.step) FROM bundle_rec.job_checkpoint l"
					  "  WHERE l.job = $1 AND l.seed = $2 AND l.step < $3))",
					  lengthof(types), types, values);
	br_pg_train_write_chunks(&chunks, state, size);
}

void
br_pg_train_keep_best(int64 job, int seed, const void *image, Size size)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(job)};
	BrPgTrainChunks chunks = chunks_of(job, seed, BR_PG_TRAIN_BEST);

	br_pg_job_execute("DELETE FROM bundle_rec.job_checkpoint WHERE job = $1 AND step = -1",
					  lengthof(types), types, values);
	br_pg_train_write_chunks(&chunks, image, size);
}

int64 *
br_pg_train_checkpoints(int64 job, int seed, int *n)
{
	static const Oid types[] = {INT8OID, INT8OID};
	Datum values[] = {Int64GetDatum(job), Int64GetDatum(seed)};
	int64 *steps;
	bool is_null;

	*n =
		(int) br_pg_job_execute("SELECT DISTINCT step FROM bundle_rec.job_checkpoint WHERE job = $1"
								" AND seed = $2 AND step >= 0 ORDER BY step DESC",
								lengthof(types), types, values);
	steps = palloc(sizeof(int64) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		steps[i] = DatumGetInt64(br_pg_column(i, 1, &is_null));
	return steps;
}

char *
br_pg_train_read_checkpoint(int64 job, int seed, int64 step, Size *size)
{
	BrPgTrainChunks chunks = chunks_of(job, seed, step);

	/* should a piece be missing, the checksum of the state tells */
	return br_pg_train_read_chunks(&chunks, size);
}

void
br_pg_train_forget(int64 job)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(job)};

	br_pg_job_execute("DELETE FROM bundle_rec.job_checkpoint WHERE job = $1", 1, types, values);
	br_pg_job_execute("DELETE FROM bundle_rec.job_data WHERE job = $1", 1, types, values);
}
