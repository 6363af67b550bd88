/*
 * assign.c
 *	  Which variant a unit gets, and the log of who got one.
 *
 * A hash decides, so a unit gets the same variant wherever and however often it
 * is asked for, and any application can compute it: with h0 and h1 the first and
 * the second 32 bits of SHA-256(salt || ':' || unit), most significant byte first,
 * a unit is in the experiment where first_slot <= h0 < end_slot, with the layer's
 * salt where there is a layer, and gets the first variant whose end_slot is above h1,
 * with the experiment's salt. What was logged comes before that: a unit keeps its
 * variant when weights change. Each unit has a row of its own, which its first
 * exposure writes and later ones only read, so writers of different units never
 * wait for each other.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "pg/bulk.h"
#include "pg/experiment/experiment.h"

#define MAX_UNIT_BYTES 1000

static const char experiment_sql[] =
	"SELECT e.experiment, e.name, COALESCE(e.layer, 0), e.salt, COALESCE(l.salt, e.salt),"
	" e.holdout, e.first_slot, e.end_slot, e.version, e.stopped_at IS NOT NULL, v.variant,"
	" v.weight, v.end_slot FROM bundle_rec.experiment e"
	" JOIN bundle_rec.experiment_variant v ON v.experiment = e.experiment"
	" AND v.version = e.version LEFT JOIN bundle_rec.experiment_layer l ON l.layer = e.layer"
	" WHERE e.name = $1 ORDER BY v.variant COLLATE \"C\"";

static BrPgExperiment *
experiment_of_rows(uint64 n)
{
	BrPgExperiment *experiment = palloc0(sizeof(BrPgExperiment));
	bool is_null;

	experiment->number = DatumGetInt32(br_pg_column(0, 1, &is_null));
	experiment->name = br_pg_column_text(0, 2);
	experiment->layer = DatumGetInt32(br_pg_column(0, 3, &is_null));
	experiment->salt = br_pg_column_text(0, 4);
	experiment->traffic_salt = br_pg_column_text(0, 5);
	experiment->holdout = DatumGetFloat8(br_pg_column(0, 6, &is_null));
	experiment->first_slot = DatumGetInt64(br_pg_column(0, 7, &is_null));
	experiment->end_slot = DatumGetInt64(br_pg_column(0, 8, &is_null));
	experiment->version = DatumGetInt32(br_pg_column(0, 9, &is_null));
	experiment->stopped = DatumGetBool(br_pg_column(0, 10, &is_null));
	experiment->n_variants = (int) n;
	experiment->variants = palloc(sizeof(char *) * n);
	experiment->weights = palloc(sizeof(double) * n);
	experiment->end_slots = palloc(sizeof(int64) * n);
	for (int i = 0; i < experiment->n_variants; i++)
	{
		experiment->variants[i] = br_pg_column_text(i, 11);
		experiment->weights[i] = DatumGetFloat8(br_pg_column(i, 12, &is_null));
		experiment->end_slots[i] = DatumGetInt64(br_pg_column(i, 13, &is_null));
	}
	return experiment;
}

BrPgExperiment *
br_pg_experiment_open(const char *name, bool now)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	BrPgExperiment *experiment;
	BrPgRights rights;
	uint64 n;

	br_pg_enter_owner(&rights);
	n = now ? br_pg_execute_now(experiment_sql, 1, types, values)
			: br_pg_execute(experiment_sql, 1, types, values, NULL, true, 0);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("experiment \"%s\" does not exist", name),
				 errhint("SELECT experiment FROM bundle_rec.experiment_state lists experiments; "
						 "create_experiment makes one.")));
	experiment = experiment_of_rows(n);
	br_pg_leave(&rights);
	experiment->exposures = br_pg_child("exposure", experiment->number);
	return experiment;
}

/* 32 bits of the hash, the first or the second */
static int64
slot_of(const char *salt, const char *unit_id, int which)
{
	char *text = psprintf("%s:%s", salt, unit_id);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);
	uint32 word;

	if (hash == NULL || pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) text, strlen(text)) < 0 ||
		pg_cryptohash_final(hash, digest, sizeof(digest)) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute SHA-256: %s", pg_cryptohash_error(hash))));
	pg_cryptohash_free(hash);
	memcpy(&word, digest + 4 * which, sizeof(word));
	return pg_ntoh32(word);
}

/* by the hash alone; NULL outside of the experiment's slots */
static char *
variant_by_hash(const BrPgExperiment *experiment, const char *unit_id)
{
	int64 slot = slot_of(experiment->traffic_salt, unit_id, 0);

	if (slot < experiment->first_slot || slot >= experiment->end_slot)
		return NULL;
	slot = slot_of(experiment->salt, unit_id, 1);
	for (int i = 0; i < experiment->n_variants; i++)
		if (slot < experiment->end_slots[i])
			return experiment->variants[i];
	elog(ERROR, "experiment %d has no variant for slot " INT64_FORMAT, experiment->number, slot);
}

/* what is logged of the unit at this moment, or NULL; in an owner section */
static char *
logged_variant(const BrPgExperiment *experiment, const char *unit_id)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(unit_id)};
	uint64 n;

	PushActiveSnapshot(GetLatestSnapshot());
	n = br_pg_execute(psprintf("SELECT variant FROM bundle_rec.exposure_%d WHERE unit_id = $1",
							   experiment->number),
					  1, types, values, NULL, true, 1);
	PopActiveSnapshot();
	return n == 0 ? NULL : br_pg_column_text(0, 1);
}

/* false where the unit was logged before, by whomever */
static bool
log_exposure(const BrPgExperiment *experiment, const char *unit_id, const char *variant)
{
	static const Oid types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum values[] = {CStringGetTextDatum(unit_id), CStringGetTextDatum(variant),
					  Int32GetDatum(experiment->version)};

	return br_pg_execute(psprintf("INSERT INTO bundle_rec.exposure_%d (unit_id, variant, version,"
								  " exposed_at) VALUES ($1, $2, $3, pg_catalog.now())"
								  " ON CONFLICT (unit_id) DO NOTHING",
								  experiment->number),
						 3, types, values, NULL, false, 0) == 1;
}

static void
check_unit(const char *unit_id)
{
	if (unit_id[0] == '\0' || strlen(unit_id) > MAX_UNIT_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"unit_id\" has %zu bytes", strlen(unit_id)),
				 errhint("Give an id of 1 to %d bytes.", MAX_UNIT_BYTES)));
}

static bool
must_log(BrPgExposureLog log)
{
	bool possible = !RecoveryInProgress() && !XactReadOnly;

	if (log == BR_PG_EXPOSURE_ON && !possible)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot log an exposure %s",
						RecoveryInProgress() ? "on a standby" : "in a read-only transaction"),
				 errhint("Call with log => NULL or log => false.")));
	return log != BR_PG_EXPOSURE_OFF && possible;
}

static void
require_right(const BrPgExperiment *experiment, AclMode rights, const char *to)
{
	if (pg_class_aclmask(experiment->exposures, GetUserId(), rights, ACLMASK_ANY) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s experiment \"%s\"", to, experiment->name),
				 errhint("GRANT INSERT ON bundle_rec.exposure_%d TO this role.",
						 experiment->number)));
}

char *
br_pg_experiment_assign(const char *name, const char *unit_id, BrPgExposureLog log)
{
	bool logging = must_log(log);
	BrPgExperiment *experiment = br_pg_experiment_open(name, false);
	BrPgRights rights;
	char *variant;

	check_unit(unit_id);
	require_right(experiment, ACL_INSERT, "assign variants of");
	if (experiment->stopped)
		return NULL;
	br_pg_enter_owner(&rights);
	variant = logged_variant(experiment, unit_id);
	if (variant == NULL)
	{
		variant = variant_by_hash(experiment, unit_id);
		if (variant != NULL && logging && !log_exposure(experiment, unit_id, variant))
		{
			/* another session was first, perhaps under other weights */
			char *first = logged_variant(experiment, unit_id);

			variant = first != NULL ? first : variant;
		}
	}
	br_pg_leave(&rights);
	return variant;
}

char *
br_pg_experiment_assignment(const char *name, const char *unit_id)
{
	BrPgExperiment *experiment = br_pg_experiment_open(name, false);
	BrPgRights rights;
	char *variant;

	check_unit(unit_id);
	require_right(experiment, ACL_INSERT | ACL_SELECT, "see assignments of");
	if (experiment->stopped)
		return NULL;
	br_pg_enter_owner(&rights);
	variant = logged_variant(experiment, unit_id);
	if (variant == NULL)
		variant = variant_by_hash(experiment, unit_id);
	br_pg_leave(&rights);
	return variant;
}
