/*
 * packed_names.c
 *	  Which packed files there are: their names, their use, their removal.
 *
 * The files of a model are known by its hash, with which their names begin, so
 * that whoever drops it needs not know what forms of it were ever wanted.
 *
 * The models of other databases cannot be seen, and DROP DATABASE tells nobody,
 * so that a file which no model wants is known by its age only: those in use
 * have their time of modification renewed, the others are removed some day.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/xact.h"
#include "pgtime.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#include "pg/model/packed_file.h"

#define DAY (24 * 60 * 60)

/* What the names of all files of one image begin with. */
#define STEM_SIZE (sizeof(BR_PG_PACKED_PREFIX) + 2 * BR_PG_HASH_SIZE + 1)

static void
stem_of(const uint8 hash[BR_PG_HASH_SIZE], char stem[STEM_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	char *end = stem + strlen(strcpy(stem, BR_PG_PACKED_PREFIX));

	for (int i = 0; i < BR_PG_HASH_SIZE; i++)
	{
		*end++ = digits[hash[i] >> 4];
		*end++ = digits[hash[i] & 15];
	}
	strcpy(end, "_");
}

void
br_pg_packed_name(const BrPgPackedKey *key, char name[BR_PG_PACKED_NAME])
{
	char stem[STEM_SIZE];

	stem_of(key->hash, stem);
	snprintf(name, BR_PG_PACKED_NAME, "%s%d_%s", stem, key->layout, key->form);
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
	const char *hash = name + strlen(BR_PG_PACKED_PREFIX);
	size_t length = strlen(name);

	return strncmp(name, BR_PG_PACKED_PREFIX, strlen(BR_PG_PACKED_PREFIX)) == 0 &&
		strspn(hash, "0123456789abcdef") == 2 * BR_PG_HASH_SIZE &&
		hash[2 * BR_PG_HASH_SIZE] == '_' &&
		strcmp(name + length - strlen(BR_PG_PACKED_WRITTEN), BR_PG_PACKED_WRITTEN) != 0;
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
	char stem[STEM_SIZE];
} Removal;

static Removal *removals = NULL; /* of the current transaction, in its memory */

/* After a commit nothing may raise an error: no directory of PostgreSQL's, then. */
static void
remove_by_stem(const char *stem)
{
	DIR *directory = opendir(".");
	struct dirent *entry;

	if (directory == NULL)
		return;
	while ((entry = readdir(directory)) != NULL)
		if (strncmp(entry->d_name, stem, strlen(stem)) == 0 && is_packed_name(entry->d_name))
			(void) unlink(entry->d_name);
	closedir(directory);
}

/*
 * How a prepared transaction ends, this backend will not be told: the files
 * go at once then, and are made anew should they be needed again.
 */
static void
remove_at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	for (Removal *removal = removals; removal != NULL; removal = removal->next)
		if (event == XACT_EVENT_PREPARE || removal->commit == (event == XACT_EVENT_COMMIT))
			remove_by_stem(removal->stem);
	removals = NULL;
}

void
br_pg_packed_remove_at_end(const uint8 hash[BR_PG_HASH_SIZE], bool commit)
{
	static bool registered = false;
	Removal *removal = MemoryContextAlloc(TopTransactionContext, sizeof(Removal));

	if (!registered)
		RegisterXactCallback(remove_at_end, NULL);
	registered = true;
	removal->commit = commit;
	stem_of(hash, removal->stem);
	removal->next = removals;
	removals = removal;
}
