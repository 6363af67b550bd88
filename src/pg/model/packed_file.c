/*
 * packed_file.c
 *	  The files through which all backends share one copy of a model.
 *
 * Weights live in a table, so that backups and standbys have them; for
 * computing they are copied once into a file of the data directory, the image,
 * which every backend maps. A backend of operations may want them in a form of
 * its own; that is a second file, made of the first. Files are a cache: named by
 * the hash of the image and the form of their contents, left out of base
 * backups by their prefix, and written anew when they are gone, damaged, or not
 * what the server wrote.
 *
 * A file under its final name is whole and never changes, since it is written
 * under another name and renamed. That other file is also the lock which lets
 * one backend write while others wait: a lock on the file itself (flock), which
 * the kernel takes back from a backend that dies. Its next owner begins again
 * in the same file.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cryptohash.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "pg/model/packed_file.h"

#define PIECE (4 * 1024 * 1024)
#define TURN_POLL_MS 20
#define CACHE_HINT                                                                  \
	"Sessions share the model through this file of the data directory: free space " \
	"there, or remove what stands in the way, and call again."

typedef struct PackedHeader
{
	char magic[16];
	uint32 version;
	int32 layout;
	uint64 size; /* of the contents */
	uint8 hash[BR_PG_HASH_SIZE];
	char form[BR_PG_PACKED_FORM];
	pg_crc32c crc;		  /* of the contents */
	pg_crc32c header_crc; /* of everything before it */
} PackedHeader;

#define HEADER_MAGIC "bundle_rec pack"
#define HEADER_VERSION 2

static void
fill_header(const BrPgPackedKey *key, pg_crc32c crc, PackedHeader *header)
{
	memset(header, 0, sizeof(*header));
	strlcpy(header->magic, HEADER_MAGIC, sizeof(header->magic));
	header->version = HEADER_VERSION;
	header->layout = key->layout;
	header->size = key->size;
	memcpy(header->hash, key->hash, BR_PG_HASH_SIZE);
	strlcpy(header->form, key->form, sizeof(header->form));
	header->crc = crc;
	INIT_CRC32C(header->header_crc);
	COMP_CRC32C(header->header_crc, header, offsetof(PackedHeader, header_crc));
	FIN_CRC32C(header->header_crc);
}

/* ---- checking and mapping ---- */

/* NULL where the open file may be mapped, else what is wrong with it. */
static const char *
wrong_file(int fd, const BrPgPackedKey *key, pg_crc32c *crc)
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
	if ((uint64) status.st_size != BR_PG_PACKED_HEADER + key->size)
		return "its size is wrong";
	if (pg_pread(fd, &found, sizeof(found), 0) != (ssize_t) sizeof(found))
		return "its header cannot be read";
	fill_header(key, found.crc, &wanted);
	if (memcmp(&found, &wanted, sizeof(found)) != 0)
		return "its header is wrong";
	*crc = found.crc;
	return NULL;
}

static pg_crc32c
crc_of(const void *contents, uint64 size)
{
	pg_crc32c crc;

	INIT_CRC32C(crc);
	for (uint64 at = 0; at < size; at += PIECE)
	{
		CHECK_FOR_INTERRUPTS();
		COMP_CRC32C(crc, (const char *) contents + at, Min(PIECE, size - at));
	}
	FIN_CRC32C(crc);
	return crc;
}

/* The same of what is mapped. */
static const char *
wrong_contents(const BrPgPackedKey *key, const BrPgPackedSource *source, pg_crc32c expected,
			   const void *contents)
{
	if (!EQ_CRC32C(crc_of(contents, key->size), expected))
		return "its contents are damaged";
	return source->wrong != NULL ? source->wrong(source->arg, contents) : NULL;
}

/* Maps the file if it is there and right; otherwise *reason says what is wrong, NULL: not there. */
static bool
try_map(const char *name, const BrPgPackedKey *key, const BrPgPackedSource *source,
		BrPgPacked *packed, const char **reason)
{
	size_t size = BR_PG_PACKED_HEADER + key->size;
	pg_crc32c expected = 0;
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

	*packed = (BrPgPacked){base, size, (char *) base + BR_PG_PACKED_HEADER};
	PG_TRY();
	{
		*reason = wrong_contents(key, source, expected, packed->contents);
	}
	PG_CATCH();
	{
		br_pg_packed_unmap(packed);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (*reason == NULL)
	{
		br_pg_packed_renew(name);
		return true;
	}
	br_pg_packed_unmap(packed);
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

void
br_pg_sha256(const void *data, size_t size, uint8 hash[BR_PG_HASH_SIZE])
{
	pg_cryptohash_ctx *sha = pg_cryptohash_create(PG_SHA256);
	bool done = sha != NULL && pg_cryptohash_init(sha) == 0;

	for (size_t at = 0; done && at < size; at += PIECE)
	{
		CHECK_FOR_INTERRUPTS();
		done = pg_cryptohash_update(sha, (const uint8 *) data + at, Min(PIECE, size - at)) == 0;
	}
	if (!done || pg_cryptohash_final(sha, hash, BR_PG_HASH_SIZE) != 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(sha));
	pg_cryptohash_free(sha);
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
					(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", name),
					 errhint(CACHE_HINT)));
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
				 errmsg("could not reserve %lld bytes for file \"%s\": %m", (long long) size, name),
				 errhint(CACHE_HINT)));
	}
}

/* Through a mapping, so that contents of any size are nobody's private memory; their checksum. */
static pg_crc32c
write_filled(int fd, const char *name, const BrPgPackedKey *key, const BrPgPackedSource *source)
{
	size_t size = BR_PG_PACKED_HEADER + key->size;
	char *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pg_crc32c crc = 0;

	if (base == MAP_FAILED)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not map file \"%s\": %m", name)));
	PG_TRY();
	{
		source->fill(source->arg, base + BR_PG_PACKED_HEADER);
		crc = crc_of(base + BR_PG_PACKED_HEADER, key->size);
	}
	PG_FINALLY();
	{
		munmap(base, size);
	}
	PG_END_TRY();
	return crc;
}

static void
write_file(int fd, const char *name, const BrPgPackedKey *key, const BrPgPackedSource *source)
{
	PackedHeader header;
	pg_crc32c crc;

	reserve_space(fd, name, BR_PG_PACKED_HEADER + key->size);
	crc = write_filled(fd, name, key, source);
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
					(errcode_for_file_access(), errmsg("could not create file \"%s\": %m", name),
					 errhint(CACHE_HINT)));
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
		const char *end = strstr(entry->d_name, BR_PG_PACKED_WRITTEN);
		int fd;

		if (strncmp(entry->d_name, BR_PG_PACKED_PREFIX, strlen(BR_PG_PACKED_PREFIX)) != 0 ||
			end == NULL || end[strlen(BR_PG_PACKED_WRITTEN)] != '\0' ||
			strcmp(entry->d_name, own_name) == 0)
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

	snprintf(new_name, sizeof(new_name), "%s" BR_PG_PACKED_WRITTEN, name);
	fd = take_turn(new_name);
	PG_TRY();
	{
		if (try_map(name, key, source, packed, &reason))
			discard(fd, new_name);
		else
		{
			if (reason != NULL)
				ereport(LOG, (errmsg("file \"%s\" is written anew: %s", name, reason)));
			write_file(fd, new_name, key, source);
			/* the renaming would open it, which may not be ours to open */
			if (reason != NULL)
				(void) unlink(name);
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
	if (try_map(name, key, source, packed, &reason))
		return;
	create_file(name, key, source, packed);
	if (packed->base == NULL && !try_map(name, key, source, packed, &reason))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("file \"%s\" cannot be used although it was just written", name),
				 errdetail("Reason: %s.", reason != NULL ? reason : "it is gone again")));
}
