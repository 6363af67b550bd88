/*
 * packed_file.h
 *	  The files through which all backends share one copy of a model: its image,
 *	  and its weights as a backend has packed them.
 */
#ifndef BR_PACKED_FILE_H
#define BR_PACKED_FILE_H

#include "pg/br_pg.h"

#define BR_PG_HASH_SIZE 32					/* SHA-256 */
#define BR_PG_PACKED_PREFIX "pgsql_tmp_br_" /* pgsql_tmp: what base backups leave out */
#define BR_PG_PACKED_WRITTEN ".new"			/* the end of a name while its file is written */
#define BR_PG_PACKED_FORM 80
#define BR_PG_PACKED_NAME 192
#define BR_PG_PACKED_HEADER 4096 /* bytes before the contents, which so begin at a page */
/* seconds for which a use is not noted again */
#define BR_PG_PACKED_RENEWAL (12 * 60 * 60)

/* The form of an image, which every backend reads. */
#define BR_PG_PACKED_IMAGE "generic"

/* What of which model: a packed file of one key never changes. */
typedef struct BrPgPackedKey
{
	uint8 hash[BR_PG_HASH_SIZE];  /* of the image */
	int32 layout;				  /* BR_ENCODER_LAYOUT_VERSION of the image */
	char form[BR_PG_PACKED_FORM]; /* of the contents: [a-z0-9_-], the end of the file's name */
	uint64 size;				  /* bytes of the contents */
} BrPgPackedKey;

/* A mapped packed file. The contents are read-only and aligned to a page. */
typedef struct BrPgPacked
{
	void *base;
	size_t size;
	const void *contents;
} BrPgPacked;

/*
 * Where contents come from: fill writes all of them into memory that is the file. It
 * may raise errors, and so may wrong, which says what is wrong with contents that are
 * undamaged, NULL where nothing is; it may be NULL.
 */
typedef struct BrPgPackedSource
{
	void (*fill)(void *arg, void *contents);
	const char *(*wrong)(void *arg, const void *contents);
	void *arg;
} BrPgPackedSource;

/*
 * Maps the packed file of key, written from source first where it is missing
 * or not usable; several backends may ask at once. Cancellable. Raises file
 * errors, and what source does.
 */
extern void br_pg_packed_map(const BrPgPackedKey *key, const BrPgPackedSource *source,
							 BrPgPacked *packed);
extern void br_pg_packed_unmap(BrPgPacked *packed);

/*
 * Removes all files of the image with this hash when the current transaction
 * commits, or when it aborts; in either case when it is prepared.
 * Backends that have them mapped keep them; one that wants them writes them again.
 */
extern void br_pg_packed_remove_at_end(const uint8 hash[BR_PG_HASH_SIZE], bool commit);

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
