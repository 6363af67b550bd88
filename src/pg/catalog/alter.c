/*
 * alter.c
 *	  What alter_catalog changes about a catalog.
 *
 * What concerns the source is written down, checked against it and made good by
 * a comparison of all items, in one transaction. Another model is only named
 * here; refresh moves the catalog to it.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "pg/catalog/catalog_int.h"
#include "pg/catalog/create.h"
#include "pg/catalog/history.h"
#include "pg/model/model.h"

/* ---- the model ---- */

/* whether nothing is embedded yet, so that there is nothing to move */
static bool
is_unembedded(const BrPgCatalog *catalog)
{
	return br_pg_execute(br_pg_catalog_sql("SELECT FROM bundle_rec.item_@"
										   " WHERE embedding IS NOT NULL",
										   catalog->number),
						 0, NULL, NULL, NULL, false, 1) == 0;
}

/* in an owner section; the state is locked */
static void
set_model(const BrPgCatalog *catalog, BrPgService service)
{
	static const char move[] =
		"UPDATE bundle_rec.catalog SET next_model = CASE WHEN model <> $2 THEN $2 END"
		" WHERE catalog = $1 AND next_model IS DISTINCT FROM CASE WHEN model <> $2 THEN $2 END";
	static const char replace[] =
		"UPDATE bundle_rec.catalog SET model = $2, next_model = NULL WHERE catalog = $1";
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number), Int32GetDatum(service.model)};
	bool at_once = is_unembedded(catalog);

	br_pg_model_hold(service.model);
	/* naming the next model once more keeps what it has embedded */
	if (br_pg_execute(at_once ? replace : move, lengthof(types), types, values, NULL, false, 0) > 0)
		br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_shadow_@", catalog->number), 0,
					  NULL, NULL, NULL, false, 0);
	if (at_once)
		br_pg_history_serve(&service);
	else
	{
		if (service.model == catalog->model)
			service.model = 0;
		br_pg_history_plan(&service);
	}
}

/* ---- the source ---- */

/* "" as a new name takes the column away, NULL leaves it as it is */
static char *
changed_name(char *name, char *present)
{
	if (name == NULL)
		return present;
	return name[0] == '\0' ? NULL : name;
}

/* what the catalog will be; image is no part of it */
static BrPgCatalog
changed_catalog(const BrPgCatalog *catalog, const BrPgCatalogChange *change)
{
	BrPgCatalog changed = *catalog;
	char **columns[BR_PG_CATALOG_COLUMNS] = {&changed.item_id,	 &changed.price,	&changed.cost,
											 &changed.stock,	 &changed.category, &changed.active,
											 &changed.created_at};

	for (int i = 0; i < BR_PG_CATALOG_COLUMNS; i++)
		*columns[i] = changed_name(change->columns[i], *columns[i]);
	if (changed.item_id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a catalog cannot be without item ids"),
				 errhint("Name the column that holds them, or leave item_id out.")));
	if (change->has_text)
	{
		changed.text = change->text;
		changed.n_text = change->n_text;
	}
	if (OidIsValid(change->items))
		changed.items = change->items;
	if (change->has_discount)
		changed.discount = change->discount;
	return changed;
}

static bool
concerns_source(const BrPgCatalogChange *change)
{
	for (int i = 0; i < BR_PG_CATALOG_COLUMNS; i++)
		if (change->columns[i] != NULL)
			return true;
	return change->has_text || OidIsValid(change->items);
}

/* a model reads texts: it comes with the first text column, and goes with the last */
static void
fit_model(BrPgCatalog *changed, const char *model)
{
	if (changed->n_text == 0 && model != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("model \"%s\" has no text to read", model),
				 errdetail("Catalog \"%s\" has no text columns.", changed->name),
				 errhint("Name them: text => '{title}'.")));
	if (changed->n_text == 0)
		changed->model = 0;
	else if (changed->model == 0)
		changed->model = br_pg_model_number(model);
}

/* in an owner section */
static void
store(const BrPgCatalog *changed)
{
	static const Oid types[] = {INT4OID, OIDOID,  TEXTARRAYOID, TEXTOID, TEXTOID, TEXTOID,
								TEXTOID, TEXTOID, TEXTOID,		TEXTOID, INT4OID, FLOAT8OID};
	const char *columns[BR_PG_CATALOG_COLUMNS] = {changed->item_id,	  changed->price,
												  changed->cost,	  changed->stock,
												  changed->category,  changed->active,
												  changed->created_at};
	Datum values[12] = {0};
	char nulls[13] = "            ";

	values[0] = Int32GetDatum(changed->number);
	values[1] = ObjectIdGetDatum(changed->items);
	values[2] = br_pg_text_array_datum(changed->text, changed->n_text);
	for (int i = 0; i < BR_PG_CATALOG_COLUMNS; i++)
	{
		nulls[3 + i] = columns[i] == NULL ? 'n' : ' ';
		if (columns[i] != NULL)
			values[3 + i] = CStringGetTextDatum(columns[i]);
	}
	values[10] = Int32GetDatum(changed->model);
	nulls[10] = changed->model == 0 ? 'n' : ' ';
	values[11] = Float8GetDatum(changed->discount);
	br_pg_execute("UPDATE bundle_rec.catalog SET items = $2, text = $3::pg_catalog.name[],"
				  " item_id = $4, price = $5, cost = $6, stock = $7, category = $8, active = $9,"
				  " created_at = $10, model = $11, discount = $12, next_model = CASE WHEN $11"
				  " IS NOT NULL THEN next_model END WHERE catalog = $1",
				  lengthof(types), types, values, nulls, false, 0);
}

/* triggers go with the table, rows are compared */
static void
follow_source(const BrPgCatalog *before, BrPgCatalog *changed)
{
	Relation source = br_pg_source_open(changed->items);
	BrPgSyncCounts counts;

	changed->owner = source->rd_rel->relowner;
	br_pg_catalog_follow_owner(changed);

	if (before->items != changed->items)
	{
		br_pg_source_unfollow("", before->number);
		br_pg_source_follow(source, "", changed->number, "items_changed");
	}
	br_pg_items_sync(changed, source, &counts);
	table_close(source, NoLock);
}

void
br_pg_catalog_alter(const char *name, const BrPgCatalogChange *change)
{
	BrPgCatalog *catalog = br_pg_catalog_open_owned(name);
	BrPgService service = {.why = change->why == NULL ? "altered" : change->why,
						   .gate = change->gate,
						   .by = GetUserId()};
	BrPgCatalog changed;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	br_pg_catalog_lock(catalog->number);
	br_pg_leave(&rights);
	catalog = br_pg_catalog_reopen(catalog);
	changed = changed_catalog(catalog, change);
	fit_model(&changed, change->model);
	service.catalog = changed.number;
	service.model = changed.model;
	br_pg_enter_owner(&rights);
	store(&changed);
	if (changed.model != catalog->model)
		br_pg_history_serve(&service);
	if (change->model != NULL)
	{
		service.model = br_pg_model_number(change->model);
		set_model(&changed, service);
	}
	br_pg_leave(&rights);
	if (concerns_source(change))
		follow_source(catalog, &changed);
}
