/*
 * schedule.c
 *	  Making and ending schedules.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "pg/catalog/catalog.h"
#include "pg/schedule/schedule_int.h"

void
br_pg_schedule_require(const char *role, int32 number, const char *what, int64 which)
{
	Oid made_by = get_role_oid(role, true);
	const BrPgCatalog *catalog;

	if (OidIsValid(made_by) && has_privs_of_role(GetUserId(), made_by))
		return;
	catalog = br_pg_catalog_find(number);
	if (catalog == NULL ? superuser() : pg_class_ownercheck(catalog->items, GetUserId()))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be owner of the catalog of %s %lld, or have made the schedule", what,
					(long long) which)));
}

/* pg_cron connects as the role, each time */
static void
require_login(void)
{
	char *user = GetUserNameFromId(GetUserId(), false);
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool may = HeapTupleIsValid(tuple) && ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!may)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot log in, and pg_cron would have to as it", user),
				 errhint("Schedule as a member of it that can, or run ALTER ROLE %s LOGIN.",
						 quote_identifier(user))));
}

static int64
insert(int32 catalog, const char *cron, char **tasks, int n, Jsonb *parameters)
{
	static const Oid types[] = {INT4OID, NAMEOID, TEXTOID, TEXTARRAYOID, JSONBOID};
	Datum values[] = {Int32GetDatum(catalog),
					  CStringGetDatum(GetUserNameFromId(GetUserId(), false)),
					  CStringGetTextDatum(cron), br_pg_text_array_datum(tasks, n),
					  JsonbPGetDatum(parameters)};
	BrPgRights rights;
	bool is_null;

	values[1] = DirectFunctionCall1(namein, values[1]);
	br_pg_enter_owner(&rights);
	br_pg_catalog_hold(catalog);
	br_pg_execute("INSERT INTO bundle_rec.stored_schedule (catalog, role, cron, tasks, parameters)"
				  " VALUES ($1, $2, $3, $4, $5) RETURNING schedule",
				  lengthof(types), types, values, NULL, false, 0);
	br_pg_leave(&rights);
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
}

static void
write_entry(int64 schedule, int64 job, const char *statement)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(schedule), CStringGetTextDatum(br_pg_cron_name(schedule)),
					  Int64GetDatum(job), statement == NULL ? 0 : CStringGetTextDatum(statement)};
	const char nulls[] = {' ', ' ', job == 0 ? 'n' : ' ', statement == NULL ? 'n' : ' '};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_execute("UPDATE bundle_rec.stored_schedule SET cron_name = $2, cron_job = $3,"
				  " cron_statement = $4 WHERE schedule = $1",
				  lengthof(types), types, values, nulls, false, 0);
	br_pg_leave(&rights);
}

int64
br_pg_schedule_create(const char *name, const char *expression, char **tasks, int n,
					  Jsonb *parameters)
{
	const BrPgCatalog *catalog = br_pg_catalog_open(name);
	BrPgCron cron;
	char *statement;
	int64 schedule, job;

	br_pg_catalog_require_owner(catalog);
	br_pg_tasks_check(tasks, n, parameters);
	cron = br_pg_cron_find();
	require_login();
	schedule = insert(catalog->number, expression, tasks, n, parameters);
	/*
	 * The row is whole but for the number of its entry before pg_cron hears of it,
	 * which may start it at once.
	 */
	job = br_pg_cron_add(&cron, schedule, expression, &statement);
	write_entry(schedule, job, statement);
	return schedule;
}

/* Entries of schedules whose rows are gone: names and roles, as the last statement returned them. */
static void
remove_entries(uint64 n)
{
	char **names = palloc(sizeof(char *) * Max(n, 1));
	char **roles = palloc(sizeof(char *) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
	{
		names[i] = br_pg_column_text(i, 1);
		roles[i] = br_pg_column_text(i, 2);
	}
	for (uint64 i = 0; i < n; i++)
		br_pg_cron_remove(names[i], roles[i]);
}

void
br_pg_schedule_remove(int64 schedule)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(schedule)};
	BrPgRights rights;
	uint64 found;
	bool is_null;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now("SELECT role, catalog FROM bundle_rec.stored_schedule"
							  " WHERE schedule = $1 FOR UPDATE",
							  1, types, values);
	br_pg_leave(&rights);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no schedule %lld", (long long) schedule),
				 errhint("The view bundle_rec.schedules lists them.")));
	br_pg_schedule_require(br_pg_column_text(0, 1), DatumGetInt32(br_pg_column(0, 2, &is_null)),
						   "schedule", schedule);
	br_pg_enter_owner(&rights);
	found = br_pg_execute_now("DELETE FROM bundle_rec.stored_schedule WHERE schedule = $1"
							  " RETURNING cron_name, role",
							  1, types, values);
	br_pg_leave(&rights);
	remove_entries(found);
}

void
br_pg_schedule_remove_all(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	br_pg_execute_now("DELETE FROM bundle_rec.stored_alert WHERE catalog = $1", 1, types, values);
	found = br_pg_execute_now("DELETE FROM bundle_rec.stored_schedule WHERE catalog = $1"
							  " RETURNING cron_name, role",
							  1, types, values);
	br_pg_leave(&rights);
	remove_entries(found);
}
