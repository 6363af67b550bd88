/*
 * catalog_alter.c
 *	  What alter_catalog changes about a catalog.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/catalog_create.h"
#include "pg/model.h"

/* against a refresh, whose end is waited for */
static void
lock_state(const BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number)};

	if (br_pg_execute("SELECT FROM bundle_rec.catalog_state WHERE catalog = $1 FOR UPDATE", 1,
					  types, values, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("catalog \"%s\" was dropped", catalog->name)));
}

/* whether nothing is embedded yet, so that there is nothing to move */
static bool
is_unembedded(const BrPgCatalog *catalog)
{
	return br_pg_execute(br_pg_catalog_sql("SELECT FROM bundle_rec.item_@"
										   " WHERE embedding IS NOT NULL",
										   catalog->number),
						 0, NULL, NULL, NULL, false, 1) == 0;
}

static void
set_model(const BrPgCatalog *catalog, int32 model)
{
	static const char move[] =
		"UPDATE bundle_rec.catalog SET next_model = CASE WHEN model <> $2 THEN $2 END"
		" WHERE catalog = $1 AND next_model IS DISTINCT FROM CASE WHEN model <> $2 THEN $2 END";
	static const char replace[] =
		"UPDATE bundle_rec.catalog SET model = $2, next_model = NULL WHERE catalog = $1";
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number), Int32GetDatum(model)};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_model_hold(model);
	lock_state(catalog);
	/* naming the next model once more keeps what it has embedded */
	if (br_pg_execute(is_unembedded(catalog) ? replace : move, lengthof(types), types, values, NULL,
					  false, 0) > 0)
		br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_shadow_@", catalog->number), 0,
					  NULL, NULL, NULL, false, 0);
	br_pg_leave(&rights);
}

void
br_pg_catalog_alter(const char *name, const char *model)
{
	BrPgCatalog *catalog = br_pg_catalog_open(name);

	br_pg_catalog_require_owner(catalog);
	if (model == NULL)
		return;
	if (catalog->n_text == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has no text to read", model),
				 errdetail("Catalog \"%s\" has no text columns.", name)));
	set_model(catalog, br_pg_model_number(model));
}
