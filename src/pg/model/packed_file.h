/*
 * packed_file.h
 *	  The file through which all backends share one copy of a model.
 */
#ifndef BR_PACKED_FILE_H
#define BR_PACKED_FILE_H

#include "pg/br_pg.h"

#define BR_PG_HASH_SIZE 32 /* SHA-256 */
#define BR_PG_PACKED_NAME 128
/* seconds for which a use is not noted again */
#define BR_PG_PACKED_RENEWAL (12 * 60 * 60)

/* Which image: a packed file of one key never changes. */
typedef struct BrPgPackedKey
{
	uint8 hash[BR_PG_HASH_SIZE]; /* of the image */
	int32 layout;				 /* BR_ENCODER_LAYOUT_VERSION of the image */
	uint64 image_size;			 /* bytes */
} BrPgPackedKey;

/* A mapped packed file. The image is read-only and aligned to a page. */
typedef struct BrPgPacked
{
	void *base;
	size_t size;
	const void *image;
} BrPgPacked;

/*
 * Where the bytes of an image come from: parts 0, 1, ... in order, each
 * palloc'd, NULL after the last. May raise errors.
 */
typedef struct BrPgPackedSource
{
	bytea *(*part)(void *arg, int part);
	void *arg;
} BrPgPackedSource;

/*
 * Maps the packed file of key, written from source first where it is missing
 * or not usable; several backends may ask at once. Cancellable. Raises file
 * errors, and XX001 where what source gives has not the key's hash.
 */
extern void br_pg_packed_map(const BrPgPackedKey *key, const BrPgPackedSource *source,
							 BrPgPacked *packed);
extern void br_pg_packed_unmap(BrPgPacked *packed);

/*
 * Removes the file when the current transaction commits, or when it aborts; in
 * either case when it is prepared.
 * Backends that have it mapped keep it; one that wants it writes it again.
 */
extern void br_pg_packed_remove_at_end(const BrPgPackedKey *key, bool commit);

/* The name of a key's file, in the data directory. */
extern void br_pg_packed_name(const BrPgPackedKey *key, char name[BR_PG_PACKED_NAME]);

/* Notes that the file is used, unless that was noted a short while ago. */
extern void br_pg_packed_renew(const char *name);

/*
 * Removes the files that were not used for bundle_rec.packed_file_days, be
 * their models of this database or of another, or of none any more.
 */
extern void br_pg_packed_remove_stale(void);

/* SHA-256 of bytes, in pieces, cancellable. */
extern void br_pg_sha256(const void *data, size_t size, uint8 hash[BR_PG_HASH_SIZE]);

#endif /* BR_PACKED_FILE_H */
