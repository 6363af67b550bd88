/*
 * privacy.c
 *	  The list of forgotten users, and masks.
 *
 * Whoever writes a name first locks the table he writes to, then reads the list
 * under a dirty snapshot, which shows rows that have not committed yet.
 * forget_user adds the hash first and then waits for all who hold such a lock:
 * one of the two sees the other, so that no name slips past, and no shopper
 * ever waits for a forget_user. These reads are plain index scans of our own
 * tables by their keys: no statement runs, and no rights are needed.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "common/hmac.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/bulk.h"
#include "pg/privacy/privacy.h"

/* after that many look-ups in one statement the whole list is read */
#define FEW_LOOKUPS 20
/* hexadecimal digits of a mask, and the bytes they show */
#define MASK_DIGITS 16

/* ---- keyed hashes ---- */

static void
keyed_hash(const uint8 *secret, int secret_length, const char *value, uint8 hash[BR_PG_HASH_BYTES])
{
	pg_hmac_ctx *hmac = pg_hmac_create(PG_SHA256);

	if (hmac == NULL || pg_hmac_init(hmac, secret, secret_length) < 0 ||
		pg_hmac_update(hmac, (const uint8 *) value, strlen(value)) < 0 ||
		pg_hmac_final(hmac, hash, BR_PG_HASH_BYTES) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a keyed hash: %s", pg_hmac_error(hmac))));
	pg_hmac_free(hmac);
}

char *
br_pg_pseudonym(const uint8 *secret, int secret_length, const char *what, const char *value)
{
	uint8 hash[BR_PG_HASH_BYTES];
	char digits[MASK_DIGITS + 1];

	keyed_hash(secret, secret_length, value, hash);
	hex_encode((const char *) hash, MASK_DIGITS / 2, digits);
	digits[MASK_DIGITS] = '\0';
	return psprintf("%s_%s", what, digits);
}

/* ---- reading the two tables ---- */

typedef void (*TakeHash)(BrPgForgotten *forgotten, const bytea *hash);

static const bytea *
second_column(HeapTuple tuple, TupleDesc descriptor)
{
	bool is_null;

	return DatumGetByteaPP(heap_getattr(tuple, 2, descriptor, &is_null));
}

static Datum
hash_datum(const uint8 *hash)
{
	bytea *value = palloc(VARHDRSZ + BR_PG_HASH_BYTES);

	SET_VARSIZE(value, VARHDRSZ + BR_PG_HASH_BYTES);
	memcpy(VARDATA(value), hash, BR_PG_HASH_BYTES);
	return PointerGetDatum(value);
}

/* rows of forgotten_user: of the catalog, or only that hash; returns whether there are any */
static bool
scan_forgotten(BrPgForgotten *forgotten, const uint8 *hash, TakeHash take)
{
	Relation table = table_open(br_pg_relation("forgotten_user"), AccessShareLock);
	ScanKeyData keys[2];
	SnapshotData snapshot;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(forgotten->catalog));
	if (hash != NULL)
		ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_BYTEAEQ, hash_datum(hash));
	InitDirtySnapshot(snapshot);
	scan = systable_beginscan(table, br_pg_relation("forgotten_user_pkey"), true, &snapshot,
							  hash != NULL ? 2 : 1, keys);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	for (; take != NULL && HeapTupleIsValid(tuple); tuple = systable_getnext(scan))
		take(forgotten, second_column(tuple, RelationGetDescr(table)));
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	return found;
}

void
br_pg_secret(int32 catalog, uint8 secret[BR_PG_HASH_BYTES])
{
	Relation table = table_open(br_pg_relation("catalog_secret"), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(catalog));
	scan = systable_beginscan(table, br_pg_relation("catalog_secret_pkey"), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("catalog number %d has lost its secret", catalog),
				 errhint("Restore its row of bundle_rec.catalog_secret from a backup; with"
						 " another one forgotten users are no longer known.")));
	memcpy(secret, VARDATA_ANY(second_column(tuple, RelationGetDescr(table))), BR_PG_HASH_BYTES);
	systable_endscan(scan);
	table_close(table, AccessShareLock);
}

Datum
br_pg_user_hash(int32 catalog, const char *user_id)
{
	uint8 secret[BR_PG_HASH_BYTES], hash[BR_PG_HASH_BYTES];

	br_pg_secret(catalog, secret);
	keyed_hash(secret, BR_PG_HASH_BYTES, user_id, hash);
	return hash_datum(hash);
}

/* ---- the list ---- */

void
br_pg_forgotten_open(int32 catalog, const char *table, BrPgForgotten *forgotten)
{
	LockRelationOid(br_pg_child(table, catalog), RowExclusiveLock);
	memset(forgotten, 0, sizeof(*forgotten));
	forgotten->catalog = catalog;
	forgotten->memory = CurrentMemoryContext;
	forgotten->any = scan_forgotten(forgotten, NULL, NULL);
	if (forgotten->any)
		br_pg_secret(catalog, forgotten->secret);
}

static void
keep_hash(BrPgForgotten *forgotten, const bytea *hash)
{
	(void) hash_search(forgotten->hashes, VARDATA_ANY(hash), HASH_ENTER, NULL);
}

static void
read_all(BrPgForgotten *forgotten)
{
	HASHCTL control = {
		.keysize = BR_PG_HASH_BYTES,
		.entrysize = BR_PG_HASH_BYTES,
		.hcxt = forgotten->memory,
	};

	forgotten->hashes =
		hash_create("forgotten users", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	(void) scan_forgotten(forgotten, NULL, keep_hash);
}

bool
br_pg_is_forgotten(BrPgForgotten *forgotten, const char *user_id)
{
	uint8 hash[BR_PG_HASH_BYTES];

	if (!forgotten->any || user_id == NULL)
		return false;
	keyed_hash(forgotten->secret, BR_PG_HASH_BYTES, user_id, hash);
	if (forgotten->hashes == NULL && forgotten->asked++ < FEW_LOOKUPS)
		return scan_forgotten(forgotten, hash, NULL);
	if (forgotten->hashes == NULL)
		read_all(forgotten);
	return hash_search(forgotten->hashes, hash, HASH_FIND, NULL) != NULL;
}

/* ---- who sees names ---- */

bool
br_pg_may_read_column(Oid table, const char *column)
{
	AttrNumber number = get_attnum(table, column);

	return number != InvalidAttrNumber &&
		(pg_class_aclcheck(table, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
		 pg_attribute_aclcheck(table, number, GetUserId(), ACL_SELECT) == ACLCHECK_OK);
}

bool
br_pg_sees_users(Oid decisions)
{
	return !br_pg_mask_users || br_pg_may_read_column(decisions, "user_id");
}
