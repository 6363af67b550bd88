/*
 * prune.c
 *	  Which models that were made of others may go.
 *
 * A model without lineage was loaded from files, and nobody could make it again
 * from what the database holds: it stays. The lineage of others says how they
 * were made; children keep the names of their parents.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"

#include "pg/catalog/history.h"
#include "pg/model/model.h"
#include "pg/promote/promote_int.h"

/* A model that may go, unless it is in use. */
typedef struct Spare
{
	int32 model;
	char *name;
} Spare;

/* in an owner section: the models that catalogs would go back to, an int4[] */
static Datum
list_former(void)
{
	uint64 n = br_pg_execute_now("SELECT catalog FROM bundle_rec.catalog", 0, NULL, NULL);
	int32 *catalogs = palloc(sizeof(int32) * Max(n, 1));
	bool is_null;

	for (uint64 i = 0; i < n; i++)
		catalogs[i] = DatumGetInt32(br_pg_column(i, 1, &is_null));
	for (uint64 i = 0; i < n; i++)
		catalogs[i] = br_pg_history_former(catalogs[i]);
	return br_pg_int4_array(catalogs, (int) n);
}

static const char spare_models[] =
	"WITH spare AS (SELECT m.model, m.name, m.loaded_by, pg_catalog.row_number()"
	"  OVER (PARTITION BY l.catalog ORDER BY m.model DESC) AS place"
	" FROM bundle_rec.stored_model m JOIN bundle_rec.stored_lineage l USING (model)"
	" WHERE NOT EXISTS (SELECT FROM bundle_rec.catalog c WHERE m.model IN (c.model, c.next_model))"
	"  AND m.model <> ALL ($1))"
	" SELECT s.model, s.name FROM spare s WHERE s.place > $2"
	" AND (pg_catalog.pg_has_role($3, 'pg_read_server_files', 'USAGE') OR EXISTS ("
	"  SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = s.loaded_by"
	"  AND pg_catalog.pg_has_role($3, r.oid, 'USAGE'))) ORDER BY s.model";

static Spare *
list_spare(int keep, int *n)
{
	static const Oid types[] = {INT4ARRAYOID, INT4OID, OIDOID};
	Datum values[] = {0, Int32GetDatum(keep), ObjectIdGetDatum(GetUserId())};
	BrPgRights rights;
	Spare *spare;
	bool is_null;

	br_pg_enter_owner(&rights);
	values[0] = list_former();
	*n = (int) br_pg_execute_now(spare_models, lengthof(types), types, values);
	br_pg_leave(&rights);
	spare = palloc(sizeof(Spare) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		spare[i] = (Spare){DatumGetInt32(br_pg_column(i, 1, &is_null)), br_pg_column_text(i, 2)};
	return spare;
}

/* whether nobody holds it, and no catalog has anything of it */
static bool
is_free(int32 model)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(model)};
	BrPgRights rights;
	ArrayType *catalogs;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now("SELECT FROM bundle_rec.stored_model WHERE model = $1"
							  " FOR UPDATE SKIP LOCKED",
							  1, types, values);
	br_pg_leave(&rights);
	if (found == 0)
		return false;
	catalogs = br_pg_model_used_by(model, true);
	return ArrayGetNItems(ARR_NDIM(catalogs), ARR_DIMS(catalogs)) == 0;
}

char **
br_pg_prune_models(int keep, int *n)
{
	Spare *spare;
	char **dropped;
	int all;

	br_pg_require_writes("prune_models()");
	if (keep < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"keep\" must be at least 0: %d", keep)));
	spare = list_spare(keep, &all);
	dropped = palloc(sizeof(char *) * Max(all, 1));
	*n = 0;
	for (int i = 0; i < all; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_free(spare[i].model))
			continue;
		br_pg_model_drop(spare[i].name);
		dropped[(*n)++] = spare[i].name;
	}
	return dropped;
}
