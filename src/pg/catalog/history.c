/*
 * history.c
 *	  Which models served a catalog.
 *
 * A row is a time of service. One that has not begun is the move under way:
 * there is at most one, and it goes where the move is given up. Rows are in the
 * order of their numbers, since a move is named before it ends and no other
 * begins meanwhile.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/catalog/history.h"

static const char rolled_back[] = "rolled back";

/* now: whether its service begins at once */
static void
insert(const BrPgService *service, bool now)
{
	static const Oid types[] = {INT4OID, INT4OID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(service->catalog),
					  Int32GetDatum(service->model),
					  CStringGetTextDatum(service->why),
					  Int64GetDatum(service->gate),
					  CStringGetTextDatum(GetUserNameFromId(service->by, false)),
					  TimestampTzGetDatum(GetCurrentTimestamp())};

	br_pg_execute("INSERT INTO bundle_rec.stored_model_history (catalog, model, model_name, why,"
				  " gate, ordered_by, served_from) SELECT $1, m.model, m.name, $3,"
				  " NULLIF($4, 0), $5, $6 FROM bundle_rec.stored_model m WHERE m.model = $2",
				  lengthof(types), types, values, now ? NULL : "     n", false, 0);
}

static void
forget_plan(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};

	br_pg_execute("DELETE FROM bundle_rec.stored_model_history WHERE catalog = $1"
				  " AND served_from IS NULL",
				  1, types, values, NULL, false, 0);
}

static void
end_service(int32 catalog)
{
	static const Oid types[] = {INT4OID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(catalog), TimestampTzGetDatum(GetCurrentTimestamp())};

	br_pg_execute("UPDATE bundle_rec.stored_model_history SET served_until = $2"
				  " WHERE catalog = $1 AND served_from IS NOT NULL AND served_until IS NULL",
				  lengthof(types), types, values, NULL, false, 0);
}

static bool
serves_already(const BrPgService *service)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(service->catalog), Int32GetDatum(service->model)};

	return br_pg_execute("SELECT FROM bundle_rec.stored_model_history WHERE catalog = $1"
						 " AND model = $2 AND served_from IS NOT NULL AND served_until IS NULL",
						 lengthof(types), types, values, NULL, false, 1) > 0;
}

void
br_pg_history_serve(const BrPgService *service)
{
	forget_plan(service->catalog);
	if (serves_already(service))
		return;
	end_service(service->catalog);
	if (service->model != 0)
		insert(service, true);
}

static bool
is_planned(const BrPgService *service)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(service->catalog), Int32GetDatum(service->model)};

	return br_pg_execute("SELECT FROM bundle_rec.stored_model_history WHERE catalog = $1"
						 " AND model = $2 AND served_from IS NULL",
						 lengthof(types), types, values, NULL, false, 1) > 0;
}

void
br_pg_history_plan(const BrPgService *service)
{
	/* who names the next model once more changes nothing, and is not why it serves */
	if (is_planned(service) && strcmp(service->why, "altered") == 0)
		return;
	forget_plan(service->catalog);
	if (service->model != 0)
		insert(service, false);
}

void
br_pg_history_switch(int32 catalog, int32 model)
{
	static const Oid types[] = {INT4OID, INT4OID, TIMESTAMPTZOID};
	Datum values[] = {Int32GetDatum(catalog), Int32GetDatum(model),
					  TimestampTzGetDatum(GetCurrentTimestamp())};

	end_service(catalog);
	br_pg_execute("UPDATE bundle_rec.stored_model_history SET served_from = $3"
				  " WHERE catalog = $1 AND model = $2 AND served_from IS NULL",
				  lengthof(types), types, values, NULL, false, 0);
}

/* ---- what a rollback goes back to ---- */

/* Models one upon the other, the one in service on top. */
typedef struct Stack
{
	int n;
	int32 *models;
} Stack;

static void
take_row(Stack *stack, int32 model, bool back)
{
	while (back && stack->n > 0 && stack->models[stack->n - 1] != model)
		stack->n--;
	if (stack->n == 0 || stack->models[stack->n - 1] != model)
		stack->models[stack->n++] = model;
}

static bool
exists(int32 model)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(model)};

	return br_pg_execute_now("SELECT FROM bundle_rec.stored_model WHERE model = $1", 1, types,
							 values) > 0;
}

int32
br_pg_history_former(int32 catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog)};
	Stack stack = {0};
	uint64 n = br_pg_execute_now("SELECT model, why FROM bundle_rec.stored_model_history"
								 " WHERE catalog = $1 AND served_from IS NOT NULL"
								 " ORDER BY history",
								 1, types, values);
	bool is_null;

	stack.models = palloc(sizeof(int32) * Max(n, 1));
	for (uint64 row = 0; row < n; row++)
		take_row(&stack, DatumGetInt32(br_pg_column(row, 1, &is_null)),
				 strcmp(br_pg_column_text(row, 2), rolled_back) == 0);
	for (int i = stack.n - 2; i >= 0; i--)
		if (stack.models[i] != stack.models[stack.n - 1] && exists(stack.models[i]))
			return stack.models[i];
	return 0;
}
