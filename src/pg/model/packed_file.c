/*
 * packed_file.c
 *	  The file through which all backends share one copy of a model.
 *
 * Weights live in a table, so that backups and standbys have them; for
 * computing they are copied once into a file of the data directory, which
 * every backend maps. The file is a cache: named by the hash of its contents,
 * left out of base backups by its prefix, and written anew when it is gone,
 * damaged, or not what the server wrote.
 *
 * A file under its final name is whole and never changes, since it is written
 * under another name and renamed. That other file is also the lock which lets
 * one backend write while others wait: a lock on the file itself (flock), which
 * the kernel takes back from a backend that dies. Its next owner begins again
 * in the same file.
 *
 * The models of other databases cannot be seen, and DROP DATABASE tells nobody,
 * so that a file which no model wants is known by its age only: those in use
 * have their time of modification renewed, the others are removed some day.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "common/cryptohash.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "pg/model/packed_file.h"

#define PREFIX "pgsql_tmp_br_" /* pgsql_tmp: what base backups leave out */
#define BEING_WRITTEN ".new"
#define HEADER_SPACE 4096 /* so that the image begins at a page */
#define PIECE (4 * 1024 * 1024)
#define TURN_POLL_MS 20
#define DAY (24 * 60 * 60)

typedef struct PackedHeader
{
	char magic[16];
	uint32 version;
	int32 layout;
	uint64 image_size;
	uint8 hash[BR_PG_HASH_SIZE];
	pg_crc32c image_crc;
	pg_crc32c header_crc; /* of everything before it */
} PackedHeader;

#define HEADER_MAGIC "bundle_rec pack"
#define HEADER_VERSION 1

void
br_pg_packed_name(const BrPgPackedKey *key, char name[BR_PG_PACKED_NAME])
{
	static const char digits[] = "0123456789abcdef";
	char hex[2 * BR_PG_HASH_SIZE + 1];

	for (int i = 0; i < BR_PG_HASH_SIZE; i++)
	{
		hex[2 * i] = digits[key->hash[i] >> 4];
		hex[2 * i + 1] = digits[key->hash[i] & 15];
	}
	hex[2 * BR_PG_HASH_SIZE] = '\0';
	snprintf(name, BR_PG_PACKED_NAME, PREFIX "%s_%d_generic", hex, key->layout);
}

static void
fill_header(const BrPgPackedKey *key, pg_crc32c image_crc, PackedHeader *header)
{
	memset(header, 0, sizeof(*header));
	strlcpy(header->magic, HEADER_MAGIC, sizeof(header->magic));
	header->version = HEADER_VERSION;
	header->layout = key->layout;
	header->image_size = key->image_size;
	memcpy(header->hash, key->hash, BR_PG_HASH_SIZE);
	header->image_crc = image_crc;
	INIT_CRC32C(header->header_crc);
	COMP_CRC32C(header->header_crc, header, offsetof(PackedHeader, header_crc));
	FIN_CRC32C(header->header_crc);
}

/* ---- checking and mapping ---- */

/* NULL where the open file may be mapped, else what is wrong with it. */
static const char *
wrong_file(int fd, const BrPgPackedKey *key, pg_crc32c *image_crc)
{
	struct stat status;
	PackedHeader found;
	PackedHeader wanted;

	if (fstat(fd, &status) != 0)
		return strerror(errno);
	if (!S_ISREG(status.st_mode))
		return "it is not a regular file";
	if (status.st_uid != geteuid())
		return "it belongs to another user";
	if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return "others may write to it";
	if ((uint64) status.st_size != HEADER_SPACE + key->image_size)
		return "its size is wrong";
	if (pg_pread(fd, &found, sizeof(found), 0) != (ssize_t) sizeof(found))
		return "its header cannot be read";
	fill_header(key, found.image_crc, &wanted);
	if (memcmp(&found, &wanted, sizeof(found)) != 0)
		return "its header is wrong";
	*image_crc = found.image_crc;
	return NULL;
}

static pg_crc32c
image_crc_of(const BrPgPacked *packed, uint64 image_size)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	for (uint64 at = 0; at < image_size; at += PIECE)
	{
		CHECK_FOR_INTERRUPTS();
		COMP_CRC32C(crc, (const char *) packed->image + at, Min(PIECE, image_size - at));
	}
	FIN_CRC32C(crc);
	return crc;
}

/* Maps the file if it is there and right; otherwise *reason says what is wrong, NULL: not there. */
static bool
try_map(const char *name, const BrPgPackedKey *key, BrPgPacked *packed, const char **reason)
{
	size_t size = HEADER_SPACE + key->image_size;
	pg_crc32c expected = 0;
	bool same = false;
	void *base;
	int fd = OpenTransientFile(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | PG_BINARY);

	*reason = NULL;
	if (fd < 0)
	{
		if (errno != ENOENT)
			*reason = errno == ELOOP ? "it is a symbolic link" : pstrdup(strerror(errno));
		return false;
	}
	*reason = wrong_file(fd, key, &expected);
	base = *reason == NULL ? mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0) : NULL;
	if (base == MAP_FAILED)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not map file \"%s\": %m", name)));
	CloseTransientFile(fd);
	if (*reason != NULL)
		return false;

	*packed = (BrPgPacked){base, size, (char *) base + HEADER_SPACE};
	PG_TRY();
	{
		same = EQ_CRC32C(image_crc_of(packed, key->image_size), expected);
	}
	PG_CATCH();
	{
		br_pg_packed_unmap(packed);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (same)
	{
		br_pg_packed_renew(name);
		return true;
	}
	br_pg_packed_unmap(packed);
	*reason = "its contents are damaged";
	return false;
}

void
br_pg_packed_unmap(BrPgPacked *packed)
{
	if (packed->base != NULL)
		munmap(packed->base, packed->size);
	memset(packed, 0, sizeof(*packed));
}

/* ---- writing ---- */

static pg_cryptohash_ctx *
begin_sha256(void)
{
	pg_cryptohash_ctx *sha = pg_cryptohash_create(PG_SHA256);

	if (sha == NULL || pg_cryptohash_init(sha) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(sha));
	return sha;
}

static void
add_sha256(pg_cryptohash_ctx *sha, const void *data, size_t size)
{
	if (pg_cryptohash_update(sha, data, size) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(sha));
}

static void
end_sha256(pg_cryptohash_ctx *sha, uint8 hash[BR_PG_HASH_SIZE])
{
	if (pg_cryptohash_final(sha, hash, BR_PG_HASH_SIZE) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(sha));
	pg_cryptohash_free(sha);
}

void
br_pg_sha256(const void *data, size_t size, uint8 hash[BR_PG_HASH_SIZE])
{
	pg_cryptohash_ctx *sha = begin_sha256();

	for (size_t at = 0; at < size; at += PIECE)
	{
		CHECK_FOR_INTERRUPTS();
		add_sha256(sha, (const char *) data + at, Min(PIECE, size - at));
	}
	end_sha256(sha, hash);
}

static void
write_at(int fd, const char *name, const void *data, size_t size, off_t at)
{
	while (size > 0)
	{
		ssize_t written = pg_pwrite(fd, data, size, at);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			if (written == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", name)));
		}
		data = (const char *) data + written;
		size -= written;
		at += written;
	}
}

/* Takes the space at once: a full disk is an error here, and no signal later. */
static void
reserve_space(int fd, const char *name, off_t size)
{
	int failure;

	if (ftruncate(fd, 0) != 0 || fchmod(fd, S_IRUSR | S_IWUSR) != 0)
		ereport(ERROR,
				(errcode_for_file_access(), errmsg("could not prepare file \"%s\": %m", name)));
	do
	{
		CHECK_FOR_INTERRUPTS();
		failure = posix_fallocate(fd, 0, size);
	} while (failure == EINTR);
	if (failure != 0)
	{
		errno = failure;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not reserve %lld bytes for file \"%s\": %m", (long long) size,
						name)));
	}
}

static void
write_file(int fd, const char *name, const BrPgPackedKey *key, const BrPgPackedSource *source)
{
	pg_cryptohash_ctx *sha = begin_sha256();
	uint8 hash[BR_PG_HASH_SIZE];
	PackedHeader header;
	pg_crc32c crc;
	uint64 size = 0;
	bytea *part;

	reserve_space(fd, name, HEADER_SPACE + key->image_size);
	INIT_CRC32C(crc);
	for (int i = 0; (part = source->part(source->arg, i)) != NULL; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (size + VARSIZE_ANY_EXHDR(part) > key->image_size)
			break;
		add_sha256(sha, VARDATA_ANY(part), VARSIZE_ANY_EXHDR(part));
		COMP_CRC32C(crc, VARDATA_ANY(part), VARSIZE_ANY_EXHDR(part));
		write_at(fd, name, VARDATA_ANY(part), VARSIZE_ANY_EXHDR(part), HEADER_SPACE + size);
		size += VARSIZE_ANY_EXHDR(part);
		pfree(part);
	}
	FIN_CRC32C(crc);
	end_sha256(sha, hash);
	if (part != NULL || size != key->image_size || memcmp(hash, key->hash, sizeof(hash)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a stored model is damaged"),
				 errdetail(
					 "The parts in bundle_rec.model_chunk do not have the size and the SHA-256 "
					 "that bundle_rec.stored_model states."),
				 errhint("Drop the model and load it again.")));

	fill_header(key, crc, &header);
	write_at(fd, name, &header, sizeof(header), 0);
}

/* ---- whose turn it is to write ---- */

/* Whether the open file still stands under its name: the last owner may have renamed it. */
static bool
still_named(int fd, const char *name)
{
	struct stat open_file;
	struct stat named;

	return fstat(fd, &open_file) == 0 && lstat(name, &named) == 0 &&
		open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

/* Removes the file we hold the lock of, never the one of the next owner. */
static void
discard(int fd, const char *name)
{
	if (still_named(fd, name))
		(void) unlink(name);
}

static void
wait_a_little(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, TURN_POLL_MS,
					 PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* The file to write into, locked. */
static int
take_turn(const char *name)
{
	for (;;)
	{
		int fd = OpenTransientFilePerm(name,
									   O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC |
										   PG_BINARY,
									   S_IRUSR | S_IWUSR);

		if (fd < 0)
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("could not create file \"%s\": %m", name)));
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		{
			if (still_named(fd, name))
				return fd;
		}
		else if (errno != EWOULDBLOCK && errno != EINTR)
			ereport(ERROR,
					(errcode_for_file_access(), errmsg("could not lock file \"%s\": %m", name)));
		CloseTransientFile(fd);
		wait_a_little();
	}
}

/* Half-written files that nobody is writing to: their backends died. */
static void
remove_leftovers(const char *own_name)
{
	DIR *directory = AllocateDir(".");
	struct dirent *entry;

	while ((entry = ReadDirExtended(directory, ".", LOG)) != NULL)
	{
		const char *end = strstr(entry->d_name, BEING_WRITTEN);
		int fd;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0 || end == NULL ||
			end[strlen(BEING_WRITTEN)] != '\0' || strcmp(entry->d_name, own_name) == 0)
			continue;
		fd = OpenTransientFile(entry->d_name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			discard(fd, entry->d_name);
		CloseTransientFile(fd);
	}
	FreeDir(directory);
}

/* Writes the file unless somebody did while we waited for our turn. */
static void
create_file(const char *name, const BrPgPackedKey *key, const BrPgPackedSource *source,
			BrPgPacked *packed)
{
	char new_name[BR_PG_PACKED_NAME];
	const char *reason;
	int fd;

	snprintf(new_name, sizeof(new_name), "%s" BEING_WRITTEN, name);
	fd = take_turn(new_name);
	PG_TRY();
	{
		if (try_map(name, key, packed, &reason))
			discard(fd, new_name);
		else
		{
			if (reason != NULL)
				ereport(LOG, (errmsg("file \"%s\" is written anew: %s", name, reason)));
			write_file(fd, new_name, key, source);
			durable_rename(new_name, name, ERROR);
			remove_leftovers(new_name);
			br_pg_packed_remove_stale();
		}
	}
	PG_CATCH();
	{
		discard(fd, new_name);
		CloseTransientFile(fd);
		PG_RE_THROW();
	}
	PG_END_TRY();
	CloseTransientFile(fd);
}

void
br_pg_packed_map(const BrPgPackedKey *key, const BrPgPackedSource *source, BrPgPacked *packed)
{
	char name[BR_PG_PACKED_NAME];
	const char *reason;

	memset(packed, 0, sizeof(*packed));
	br_pg_packed_name(key, name);
	if (try_map(name, key, packed, &reason))
		return;
	create_file(name, key, source, packed);
	if (packed->base == NULL && !try_map(name, key, packed, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" cannot be used although it was just written", name),
				 errdetail("Reason: %s.", reason != NULL ? reason : "it is gone again")));
}

/* ---- what nobody uses ---- */

/* how long ago a file of ours was last used, in seconds; -1 where it is none */
static pg_time_t
unused_for(const char *name)
{
	struct stat status;

	if (lstat(name, &status) != 0 || !S_ISREG(status.st_mode) || status.st_uid != geteuid())
		return -1;
	return Max(0, (pg_time_t) time(NULL) - (pg_time_t) status.st_mtime);
}

void
br_pg_packed_renew(const char *name)
{
	if (unused_for(name) >= BR_PG_PACKED_RENEWAL)
		(void) utimensat(AT_FDCWD, name, NULL, AT_SYMLINK_NOFOLLOW);
}

/* whether a name is that of a whole packed file, by whatever version */
static bool
is_packed_name(const char *name)
{
	const char *hash = name + strlen(PREFIX);
	size_t length = strlen(name);

	return strncmp(name, PREFIX, strlen(PREFIX)) == 0 &&
		strspn(hash, "0123456789abcdef") == 2 * BR_PG_HASH_SIZE &&
		hash[2 * BR_PG_HASH_SIZE] == '_' &&
		strcmp(name + length - strlen(BEING_WRITTEN), BEING_WRITTEN) != 0;
}

void
br_pg_packed_remove_stale(void)
{
	pg_time_t limit = (pg_time_t) br_pg_packed_file_days * DAY;
	DIR *directory;
	struct dirent *entry;

	if (br_pg_packed_file_days == 0)
		return;
	directory = AllocateDir(".");
	while ((entry = ReadDirExtended(directory, ".", LOG)) != NULL)
	{
		if (!is_packed_name(entry->d_name) || unused_for(entry->d_name) <= limit)
			continue;
		if (unlink(entry->d_name) == 0)
			ereport(LOG,
					(errmsg("removed file \"%s\", which was not used for %d days", entry->d_name,
							br_pg_packed_file_days)));
	}
	FreeDir(directory);
}

/* ---- removing ---- */

typedef struct Removal
{
	struct Removal *next;
	bool commit; /* when the transaction commits; else when it aborts */
	char name[BR_PG_PACKED_NAME];
} Removal;

static Removal *removals = NULL; /* of the current transaction, in its memory */

/*
 * How a prepared transaction ends, this backend will not be told: the file
 * goes at once then, and is made anew should it be needed again.
 */
static void
remove_at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	for (Removal *removal = removals; removal != NULL; removal = removal->next)
		if (event == XACT_EVENT_PREPARE || removal->commit == (event == XACT_EVENT_COMMIT))
			(void) unlink(removal->name);
	removals = NULL;
}

void
br_pg_packed_remove_at_end(const BrPgPackedKey *key, bool commit)
{
	static bool registered = false;
	Removal *removal = MemoryContextAlloc(TopTransactionContext, sizeof(Removal));

	if (!registered)
		RegisterXactCallback(remove_at_end, NULL);
	registered = true;
	removal->commit = commit;
	br_pg_packed_name(key, removal->name);
	removal->next = removals;
	removals = removal;
}
