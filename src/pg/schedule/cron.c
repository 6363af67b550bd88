/*
 * cron.c
 *	  A schedule's entry in pg_cron.
 *
 * pg_cron keeps its entries in one database of a server, and starts them in any.
 * Where that is ours, entries are made and removed as the current user, by
 * pg_cron's own functions. Where it is another one nothing of this session can
 * reach it, and whoever can is told what to run there.
 *
 * An entry must not fail for ever once what it calls is gone. Its command asks
 * whether the procedure is there, and removes the entry if not; the procedure
 * does so where the schedule is gone.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "commands/proclang.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "pg/schedule/schedule_int.h"

static bool
is_here(void)
{
	return OidIsValid(get_extension_oid("pg_cron", true));
}

/* the database that pg_cron uses, NULL where the server has not loaded it */
static const char *
configured_database(void)
{
	return GetConfigOption("cron.database_name", true, false);
}

static const char *
this_database(void)
{
	return get_database_name(MyDatabaseId);
}

static bool
may_use(void)
{
	Oid schema = get_namespace_oid("cron", true);

	return OidIsValid(schema) &&
		pg_namespace_aclcheck(schema, GetUserId(), ACL_USAGE) == ACLCHECK_OK;
}

static void
require_use(void)
{
	char *user = GetUserNameFromId(GetUserId(), false);

	if (!may_use())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not use pg_cron", user),
				 errhint("As a superuser run GRANT USAGE ON SCHEMA cron TO %s.",
						 quote_identifier(user))));
}

BrPgCron
br_pg_cron_find(void)
{
	BrPgCron cron = {.is_here = is_here()};
	const char *database = configured_database();

	if (cron.is_here)
	{
		require_use();
		return cron;
	}
	if (database == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schedules need pg_cron, which this server has not loaded"),
				 errdetail("Everything else works without it; any other scheduler can call refresh,"
						   " fit and train."),
				 errhint("Install it (Debian: postgresql-15-cron), set shared_preload_libraries ="
						 " 'pg_cron' and cron.database_name = '%s', restart the server, and run"
						 " CREATE EXTENSION pg_cron.",
						 this_database())));
	if (strcmp(database, this_database()) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"pg_cron\" is not installed in this database"),
				 errhint("As a superuser run CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron"
						 " TO %s.",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	cron.database = pstrdup(database);
	return cron;
}

char *
br_pg_cron_name(int64 schedule)
{
	return psprintf("bundle_rec schedule %lld of %s", (long long) schedule, this_database());
}

/*
 * What pg_cron runs. In a DO the procedure can commit as it can by itself, but
 * its name is looked up only if it is there.
 */
static char *
command(int64 schedule, const char *name, bool here)
{
	char *call = psprintf("CALL bundle_rec.run_schedule(%lld)", (long long) schedule);
	char *body;

	if (!OidIsValid(get_language_oid("plpgsql", true)))
		return call;
	body = psprintf("BEGIN IF pg_catalog.to_regprocedure('bundle_rec.run_schedule(bigint)')"
					" IS NOT NULL THEN %s;%s%s%s END IF; END",
					call, here ? " ELSE PERFORM cron.unschedule(" : "",
					here ? quote_literal_cstr(name) : "", here ? ");" : "");
	return psprintf("DO %s", quote_literal_cstr(body));
}

static void
say_scheduling(void *argument)
{
	errcontext("scheduling work on a catalog with pg_cron");
}

static int64
add_here(const char *name, const char *expression, const char *what)
{
	static const Oid types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(name), CStringGetTextDatum(expression),
					  CStringGetTextDatum(what)};
	ErrorContextCallback context = {.callback = say_scheduling, .previous = error_context_stack};
	bool is_null;

	error_context_stack = &context;
	br_pg_execute("SELECT cron.schedule($1, $2, $3)", lengthof(types), types, values, NULL, false,
				  0);
	error_context_stack = context.previous;
	return DatumGetInt64(br_pg_column(0, 1, &is_null));
}

int64
br_pg_cron_add(const BrPgCron *cron, int64 schedule, const char *expression, char **statement)
{
	char *name = br_pg_cron_name(schedule);
	char *what = command(schedule, name, cron->is_here);

	*statement = NULL;
	if (cron->is_here)
		return add_here(name, expression, what);
	*statement = psprintf("SELECT cron.schedule_in_database(%s, %s, %s, %s, %s)",
						  quote_literal_cstr(name), quote_literal_cstr(expression),
						  quote_literal_cstr(what), quote_literal_cstr(this_database()),
						  quote_literal_cstr(GetUserNameFromId(GetUserId(), false)));
	ereport(WARNING,
			(errmsg("schedule %lld starts once pg_cron knows it, which is in database \"%s\"",
					(long long) schedule, cron->database),
			 errhint("As a superuser run there: %s;", *statement)));
	return 0;
}

static uint64
remove_here(const char *name, const char *role)
{
	static const Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(name), CStringGetTextDatum(role)};

	return br_pg_execute("SELECT cron.unschedule(j.jobid) FROM cron.job j"
						 " WHERE j.jobname OPERATOR(pg_catalog.=) $1"
						 " AND j.username OPERATOR(pg_catalog.=) $2",
						 lengthof(types), types, values, NULL, false, 0);
}

bool
br_pg_cron_remove_own(const char *name)
{
	return is_here() && may_use() && remove_here(name, GetUserNameFromId(GetUserId(), false)) > 0;
}

void
br_pg_cron_remove(const char *name, const char *role)
{
	const char *database = configured_database();
	bool here = is_here();
	bool sees_all = superuser() || strcmp(GetUserNameFromId(GetUserId(), false), role) == 0;

	/* who sees all and finds none was preceded by somebody who called pg_cron himself */
	if (here && may_use() && (remove_here(name, role) > 0 || sees_all))
		return;
	if (!here && (database == NULL || strcmp(database, this_database()) == 0))
		return;
	ereport(WARNING,
			(errmsg("the entry \"%s\" of role \"%s\" is left in pg_cron", name, role),
			 errdetail("When it runs next it finds nothing to do."),
			 errhint("As role %s or a superuser run in database \"%s\": SELECT"
					 " cron.unschedule(jobid) FROM cron.job WHERE jobname = %s;",
					 quote_identifier(role), here ? this_database() : database,
					 quote_literal_cstr(name))));
}
