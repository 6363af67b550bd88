/*
 * privacy.h
 *	  Forgetting users, masks in the place of names, and retention.
 *
 * A forgotten user is remembered as a keyed hash, so that nothing that reads a
 * source or logs a decision brings the name back. Who writes names into tables
 * of a catalog opens the list with br_pg_forgotten_open and asks it.
 */
#ifndef BR_PRIVACY_H
#define BR_PRIVACY_H

#include "pg/br_pg.h"

#include "utils/hsearch.h"

#include "pg/catalog/catalog.h"
#include "pg/policy/policy.h"

/* privacy.c */

#define BR_PG_HASH_BYTES 32

/* The users that a catalog has forgotten, for one statement. */
typedef struct BrPgForgotten
{
	int32 catalog;
	bool any; /* false: everything below is unset, and no user is forgotten */
	uint8 secret[BR_PG_HASH_BYTES];
	int asked;			  /* look-ups so far */
	HTAB *hashes;		  /* all of them, once many have been asked for; NULL before */
	MemoryContext memory; /* of hashes */
} BrPgForgotten;

/*
 * Opens the list for a statement that will write to <table>_<n>, such as
 * "event_queue", after locking that table as a writer does. A forget_user that
 * is under way is seen although it has not committed: it waits for whoever held
 * such a lock before.
 */
extern void br_pg_forgotten_open(int32 catalog, const char *table, BrPgForgotten *forgotten);

/*
 * False for NULL. Costs nothing where no user was forgotten, else a keyed hash
 * and an index look-up.
 */
extern bool br_pg_is_forgotten(BrPgForgotten *forgotten, const char *user_id);

/* The keyed hash of a user of a catalog, as bytea. */
extern Datum br_pg_user_hash(int32 catalog, const char *user_id);

/* <what>_ and 16 hexadecimal digits of HMAC-SHA-256(secret, value), palloc'd. */
extern char *br_pg_pseudonym(const uint8 *secret, int secret_length, const char *what,
							 const char *value);

/* The key of a catalog; raises where it has none. */
extern void br_pg_secret(int32 catalog, uint8 secret[BR_PG_HASH_BYTES]);

/* Whether the current user may SELECT a column of a table. */
extern bool br_pg_may_read_column(Oid table, const char *column);

/* Whether the current user is shown names, not masks, from a table decision_<n>. */
extern bool br_pg_sees_users(Oid decisions);

/* forget.c; SPI must be connected, in nobody's section */

typedef struct BrPgForgetting
{
	int64 events;
	int64 decisions;
	int64 feedback;
	Datum in_sources; /* jsonb */
} BrPgForgetting;

/* Raises 42501 for others than the owner, 25001 above READ COMMITTED, 22023 for "". */
extern BrPgForgetting br_pg_forget_user(const BrPgCatalog *catalog, const char *user_id);

/*
 * The same for what a policy chose for a user; sets how many choices lost the
 * name, and how many of their events their ids.
 */
extern void br_pg_forget_chooser(const BrPgPolicy *policy, const char *user_id, int64 *choices,
								 int64 *feedback);

/* Whether the user was forgotten. */
extern bool br_pg_unforget_user(const BrPgCatalog *catalog, const char *user_id);

/* expire.c */

/* events and decisions: NULL keeps them for ever. SPI must be connected, in nobody's section. */
extern void br_pg_set_retention(const BrPgCatalog *catalog, const Interval *events,
								const Interval *decisions);

/*
 * Steps of refresh, which holds the catalog's state, in an owner section:
 * before counting, events that are too old are queued to be taken back; after
 * it, what was taken back is removed together with what it took back;
 * decisions that are too old and waited for by nobody go with their feedback.
 */
extern void br_pg_expire_events(int32 catalog);
extern void br_pg_compact_events(int32 catalog);
extern void br_pg_expire_decisions(int32 catalog);

/* In an owner section, which holds the policy: its choices that are older than it keeps them. */
extern void br_pg_expire_choices(const BrPgPolicy *policy);

#endif /* BR_PRIVACY_H */
