/*
 * rights.c
 *	  Whose rights a statement runs with.
 *
 * No function of the extension is SECURITY DEFINER. Where an extension table
 * is touched, the user id is switched to the extension's owner for just that
 * statement, with SECURITY_RESTRICTED_OPERATION and a search_path that holds
 * nothing of the user's, so that no code but ours can run in between.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"

#include "pg/br_pg.h"

static Oid
extension_owner(void)
{
	Relation extensions = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	Oid owner = InvalidOid;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("bundle_rec"));
	scan = systable_beginscan(extensions, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		owner = ((Form_pg_extension) GETSTRUCT(tuple))->extowner;
	systable_endscan(scan);
	table_close(extensions, AccessShareLock);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"bundle_rec\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION bundle_rec.")));
	return owner;
}

static void
enter(BrPgRights *saved, Oid role, int context)
{
	GetUserIdAndSecContext(&saved->user, &saved->security);
	SetUserIdAndSecContext(role, saved->security | SECURITY_LOCAL_USERID_CHANGE | context);
	saved->guc_level = NewGUCNestLevel();
}

void
br_pg_set_for_section(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
}

static void
enter_restricted(BrPgRights *saved, Oid role)
{
	enter(saved, role, SECURITY_RESTRICTED_OPERATION);
	br_pg_set_for_section("search_path", "pg_catalog, pg_temp");
}

void
br_pg_enter_owner(BrPgRights *saved)
{
	enter_restricted(saved, extension_owner());
}

void
br_pg_enter_role(BrPgRights *saved, Oid role)
{
	enter_restricted(saved, OidIsValid(role) ? role : GetUserId());
}

void
br_pg_enter_caller(BrPgRights *saved, Oid role)
{
	enter(saved, role, 0);
}

void
br_pg_leave(const BrPgRights *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->security);
}
