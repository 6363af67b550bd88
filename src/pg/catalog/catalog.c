/*
 * catalog.c
 *	  Catalogs as the rest of src/pg sees them: their description, and whether
 *	  the caller may read them and their items.
 *
 * A catalog is owned by whoever owns its source table now, and may be read by
 * whoever may SELECT from it. Where row-level security applies to the caller,
 * the source itself is asked, as the caller, which items are visible.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "catalog/pg_user_mapping.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "pg/bulk.h"
#include "pg/catalog/catalog_int.h"

#define CATALOG_COLUMNS                                                                        \
	"SELECT c.catalog, c.name, c.items::pg_catalog.oid, c.item_id, c.text::pg_catalog.text[]," \
	" c.price, c.cost, c.stock, c.category, c.active, c.created_at, c.model, c.discount,"      \
	" s.baskets, s.typical_price, c.owner"                                                     \
	" FROM bundle_rec.catalog c JOIN bundle_rec.catalog_state s USING (catalog) WHERE "

char *
br_pg_catalog_sql(const char *pattern, int32 number)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (const char *c = pattern; *c != '\0'; c++)
	{
		if (*c == '@')
			appendStringInfo(&sql, "%d", number);
		else
			appendStringInfoChar(&sql, *c);
	}
	return sql.data;
}

void
br_pg_prefer_generic_plans(void)
{
	static const char *const settings[][2] = {{"plan_cache_mode", "force_generic_plan"},
											  {"enable_seqscan", "off"},
											  {"enable_hashjoin", "off"},
											  {"enable_mergejoin", "off"}};

	for (int i = 0; i < lengthof(settings); i++)
		br_pg_set_for_section(settings[i][0], settings[i][1]);
}

static Datum
column(int number, bool *is_null)
{
	return br_pg_column(0, number, is_null);
}

/* the catalog in the only row of the SPI result */
static BrPgCatalog *
read_catalog(void)
{
	BrPgCatalog *catalog = palloc0(sizeof(BrPgCatalog));
	Datum value;
	bool is_null;

	catalog->number = DatumGetInt32(column(1, &is_null));
	catalog->name = br_pg_column_text(0, 2);
	catalog->items = DatumGetObjectId(column(3, &is_null));
	catalog->item_id = br_pg_column_text(0, 4);
	catalog->text =
		br_pg_text_array(DatumGetArrayTypeP(column(5, &is_null)), "text", &catalog->n_text);
	catalog->price = br_pg_column_text(0, 6);
	catalog->cost = br_pg_column_text(0, 7);
	catalog->stock = br_pg_column_text(0, 8);
	catalog->category = br_pg_column_text(0, 9);
	catalog->active = br_pg_column_text(0, 10);
	catalog->created_at = br_pg_column_text(0, 11);
	value = column(12, &is_null);
	catalog->model = is_null ? 0 : DatumGetInt32(value);
	catalog->discount = DatumGetFloat8(column(13, &is_null));
	catalog->baskets = DatumGetInt64(column(14, &is_null));
	value = column(15, &is_null);
	catalog->typical_price = is_null ? NAN : DatumGetFloat8(value);
	catalog->owner = get_role_oid(br_pg_column_text(0, 16), true);
	return catalog;
}

/* the owner is the source's; false where that is gone, and the owner it had is left */
static bool
find_owner(BrPgCatalog *catalog)
{
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(catalog->items));

	if (!HeapTupleIsValid(tuple))
		return false;
	catalog->owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return true;
}

/* the description by name, whether the source is there or not */
static BrPgCatalog *
find_by_name(const char *name)
{
	static const Oid types[] = {TEXTOID};
	Datum values[] = {CStringGetTextDatum(name)};
	BrPgCatalog *catalog;
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(CATALOG_COLUMNS "c.name = $1", 1, types, values, NULL, true, 1);
	br_pg_leave(&rights);
	if (found == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no catalog \"%s\"", name),
				 errhint("The view bundle_rec.catalog_coverage lists catalogs; create_catalog"
						 " makes one.")));
	catalog = read_catalog();
	SPI_freetuptable(SPI_tuptable);
	return catalog;
}

BrPgCatalog *
br_pg_catalog_open(const char *name)
{
	BrPgCatalog *catalog = find_by_name(name);

	if (!find_owner(catalog))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the source table of catalog \"%s\" was dropped", name),
				 errhint("Drop the catalog with drop_catalog(%s), or name another table with"
						 " alter_catalog(%s, items => 'table').",
						 quote_literal_cstr(name), quote_literal_cstr(name))));
	return catalog;
}

/*
 * Where the source is gone, its owner is known by name only. A later role of that
 * name does not have his rights on the catalog's tables.
 */
static bool
is_still_owner(const BrPgCatalog *catalog)
{
	return OidIsValid(catalog->owner) &&
		pg_class_aclcheck(br_pg_child("item", catalog->number), catalog->owner, ACL_SELECT) ==
		ACLCHECK_OK;
}

BrPgCatalog *
br_pg_catalog_open_owned(const char *name)
{
	BrPgCatalog *catalog = find_by_name(name);

	if (!find_owner(catalog) && !is_still_owner(catalog))
		catalog->owner = InvalidOid;
	if (!has_privs_of_role(GetUserId(), catalog->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of catalog \"%s\"", name),
				 errhint("The owner of a catalog is the owner of its source table.")));
	return catalog;
}

/* the description by number, whether the source is there or not; NULL where there is none */
static BrPgCatalog *
find_by_number(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};
	BrPgCatalog *catalog = NULL;
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found = br_pg_execute_now(CATALOG_COLUMNS "c.catalog = $1", 1, types, values);
	br_pg_leave(&rights);
	if (found > 0)
		catalog = read_catalog();
	SPI_freetuptable(SPI_tuptable);
	return catalog;
}

BrPgCatalog *
br_pg_catalog_find(int32 number)
{
	BrPgCatalog *catalog = find_by_number(number);

	return catalog != NULL && find_owner(catalog) ? catalog : NULL;
}

BrPgCatalog *
br_pg_catalog_reopen(const BrPgCatalog *catalog)
{
	BrPgCatalog *now = find_by_number(catalog->number);

	if (now == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("catalog \"%s\" was dropped by a concurrent transaction", catalog->name)));
	(void) find_owner(now);
	return now;
}

void
br_pg_catalog_hold(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};

	if (br_pg_execute("SELECT FROM bundle_rec.catalog WHERE catalog = $1 FOR KEY SHARE", 1, types,
					  values, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the catalog was dropped by a concurrent transaction"),
				 errhint("The view bundle_rec.catalog_coverage lists catalogs.")));
}

void
br_pg_catalog_lock(int32 number)
{
	static const Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(number)};

	br_pg_catalog_hold(number);
	br_pg_execute("SELECT FROM bundle_rec.catalog_state WHERE catalog = $1 FOR UPDATE", 1, types,
				  values, NULL, false, 0);
}

void
br_pg_catalog_require_reader(const BrPgCatalog *catalog)
{
	if (pg_class_aclcheck(catalog->items, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for catalog \"%s\"", catalog->name),
				 errhint("Reading a catalog needs SELECT on its source table.")));
}

void
br_pg_catalog_require_insert(const BrPgCatalog *catalog, const char *table, const char *to)
{
	Oid relation = br_pg_child(table, catalog->number);

	/* grants follow a new owner of the source only when the catalog is refreshed */
	if (!has_privs_of_role(GetUserId(), catalog->owner) &&
		pg_class_aclcheck(relation, GetUserId(), ACL_INSERT) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s of catalog \"%s\"", to, catalog->name),
				 errhint("GRANT INSERT ON bundle_rec.%s_%d TO this role.", table,
						 catalog->number)));
}

void
br_pg_catalog_require_owner(const BrPgCatalog *catalog)
{
	if (!pg_class_ownercheck(catalog->items, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of catalog \"%s\"", catalog->name),
				 errhint("The owner of a catalog is the owner of its source table.")));
}

void
br_pg_catalog_follow_owner(const BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog->number),
					  CStringGetTextDatum(GetUserNameFromId(catalog->owner, false))};
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	if (br_pg_execute("SELECT owner FROM bundle_rec.catalog WHERE catalog = $1"
					  " AND owner <> $2::pg_catalog.name FOR NO KEY UPDATE",
					  lengthof(types), types, values, NULL, false, 0) > 0)
	{
		br_pg_children_hand_over(catalog->number, get_role_oid(br_pg_column_text(0, 1), true),
								 catalog->owner);
		br_pg_execute("UPDATE bundle_rec.catalog SET owner = $2::pg_catalog.name"
					  " WHERE catalog = $1",
					  lengthof(types), types, values, NULL, false, 0);
	}
	br_pg_leave(&rights);
}

/* as whom a role logs in at a foreign server; InvalidOid: it says nothing of itself there */
static Oid
user_mapping(Oid role, Oid server)
{
	Oid mapping = GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
								  ObjectIdGetDatum(role), ObjectIdGetDatum(server));

	return OidIsValid(mapping)
		? mapping
		: GetSysCacheOid2(USERMAPPINGUSERSERVER, Anum_pg_user_mapping_oid,
						  ObjectIdGetDatum(InvalidOid), ObjectIdGetDatum(server));
}

/* whether the server of a foreign table takes the caller for another one than the source's owner */
static bool
is_foreign_to(Oid table, Oid owner)
{
	Oid server;

	if (get_rel_relkind(table) != RELKIND_FOREIGN_TABLE)
		return false;
	server = GetForeignTable(table)->serverid;
	return user_mapping(GetUserId(), server) != user_mapping(owner, server);
}

static bool
has_foreign_part(const BrPgCatalog *catalog)
{
	ListCell *cell;

	if (GetUserId() == catalog->owner)
		return false;
	if (get_rel_relkind(catalog->items) != RELKIND_PARTITIONED_TABLE)
		return is_foreign_to(catalog->items, catalog->owner);
	foreach (cell, find_all_inheritors(catalog->items, NoLock, NULL))
		if (is_foreign_to(lfirst_oid(cell), catalog->owner))
			return true;
	return false;
}

bool
br_pg_catalog_must_ask(const BrPgCatalog *catalog)
{
	return get_rel_relkind(catalog->items) == RELKIND_VIEW ||
		check_enable_rls(catalog->items, InvalidOid, true) == RLS_ENABLED ||
		has_foreign_part(catalog);
}

/* ---- what the caller can see ---- */

/* type and equality operator of the source's id column */
typedef struct IdColumn
{
	Oid type; /* as the column has it, perhaps a domain */
	char *array_type;
	char *equals; /* schema-qualified */
	FmgrInfo input;
	Oid io_parameter;
} IdColumn;

static void
find_id_column(const BrPgCatalog *catalog, IdColumn *id)
{
	AttrNumber number = get_attnum(catalog->items, catalog->item_id);
	Oid base, input, operator;
	HeapTuple tuple;
	Form_pg_operator form;

	if (number == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("the source of catalog \"%s\" has no column \"%s\" any more", catalog->name,
						catalog->item_id)));
	base = getBaseType(get_atttype(catalog->items, number));
	id->type = base;
	/* without a typmod "character" would mean character(1), and cut ids short */
	id->array_type = format_type_extended(get_array_type(base), -1,
										  FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY);
	getTypeInputInfo(base, &input, &id->io_parameter);
	fmgr_info(input, &id->input);

	operator= lookup_type_cache(base, TYPECACHE_EQ_OPR)->eq_opr;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("type %s of column \"%s\" has no equality", format_type_be(base),
						catalog->item_id)));
	form = (Form_pg_operator) GETSTRUCT(tuple);
	id->equals =
		psprintf("OPERATOR(%s.%s)", quote_identifier(get_namespace_name(form->oprnamespace)),
				 NameStr(form->oprname));
	ReleaseSysCache(tuple);
}

static Datum
id_array(IdColumn *id, char **item_ids, int n)
{
	Datum *values = palloc(sizeof(Datum) * n);

	for (int i = 0; i < n; i++)
		values[i] = InputFunctionCall(&id->input, item_ids[i], id->io_parameter, -1);
	return br_pg_array(values, NULL, n, id->type);
}

typedef struct VisibleId
{
	const char *id;
	int first; /* index of its first mention, the next ones follow in `next` */
} VisibleId;

static HTAB *
index_ids(char **item_ids, int n, int *next)
{
	HTAB *table = br_pg_text_table("item ids", Max(n, 16), sizeof(VisibleId), CurrentMemoryContext);

	for (int i = 0; i < n; i++)
	{
		bool found;
		VisibleId *entry = hash_search(table, &item_ids[i], HASH_ENTER, &found);

		next[i] = found ? entry->first : -1;
		entry->first = i;
	}
	return table;
}

/* runs the query, with one argument, with the caller's rights; rows are in the SPI result */
static uint64
select_visible(const char *sql, Datum argument, Oid type)
{
	Datum values[] = {argument};
	Oid types[] = {type};
	int guc_level = NewGUCNestLevel();
	uint64 found;
	Oid user;
	int security;

	/*
	 * Unlike br_pg_enter_role this keeps the caller's search_path: a policy's
	 * functions are the caller's business and may need it, and our own query
	 * names everything with its schema.
	 */
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(user, security | SECURITY_RESTRICTED_OPERATION);
	found = br_pg_execute(sql, 1, types, values, NULL, true, 0);
	SetUserIdAndSecContext(user, security);
	AtEOXact_GUC(false, guc_level);
	return found;
}

static char *
from_source(const BrPgCatalog *catalog)
{
	return psprintf("%s%s", get_rel_relkind(catalog->items) == RELKIND_RELATION ? "ONLY " : "",
					br_pg_qualified_name(catalog->items));
}

/* the id in a row of the SPI result, as the catalog has it */
static char *
seen_id(const IdColumn *id, uint64 row)
{
	char *seen = br_pg_column_text(row, 1);

	if (id->type == BPCHAROID && seen != NULL)
		seen[bpchartruelen(seen, (int) strlen(seen))] = '\0';
	return seen;
}

void
br_pg_catalog_visible(const BrPgCatalog *catalog, char **item_ids, int n, bool *visible)
{
	IdColumn id;
	int *next = palloc(sizeof(int) * Max(n, 1));
	HTAB *index = index_ids(item_ids, n, next);
	const char *id_name = quote_identifier(catalog->item_id);
	uint64 found;

	if (n <= 0)
		return;
	memset(visible, 0, sizeof(bool) * (Size) n);
	find_id_column(catalog, &id);
	found = select_visible(psprintf("SELECT s.%s FROM %s s WHERE s.%s %s ANY ($1::%s)", id_name,
									from_source(catalog), id_name, id.equals, id.array_type),
						   id_array(&id, item_ids, n), get_array_type(id.type));
	for (uint64 row = 0; row < found; row++)
	{
		char *seen = seen_id(&id, row);
		VisibleId *entry;

		entry = hash_search(index, &seen, HASH_FIND, NULL);
		for (int i = entry == NULL ? -1 : entry->first; i >= 0; i = next[i])
			visible[i] = true;
	}
	SPI_freetuptable(SPI_tuptable);
	hash_destroy(index);
}

void
br_pg_catalog_refuse_item(const BrPgCatalog *catalog, const char *item_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("there is no item \"%s\" in catalog \"%s\"", item_id, catalog->name),
			 errhint("Items are named by the text of column \"%s\" of the source table.",
					 catalog->item_id)));
}

void
br_pg_catalog_require_visible(const BrPgCatalog *catalog, char **item_ids, int n)
{
	bool *visible = palloc(sizeof(bool) * Max(n, 1));

	if (!br_pg_catalog_must_ask(catalog))
		return;
	br_pg_catalog_visible(catalog, item_ids, n, visible);
	for (int i = 0; i < n; i++)
		if (!visible[i])
			br_pg_catalog_refuse_item(catalog, item_ids[i]);
}

uint64
br_pg_catalog_select_visible(const BrPgCatalog *catalog, Oid source, const char *id,
							 const char *other, char **ids, int n)
{
	/* the column of ids is found as in the source of the items */
	BrPgCatalog stand_in = {.name = catalog->name,
							.items = source,
							.item_id = unconstify(char *, id)};
	const char *id_name = quote_identifier(id);
	IdColumn column;

	find_id_column(&stand_in, &column);
	return select_visible(psprintf("SELECT s.%s, s.%s FROM %s s WHERE s.%s %s ANY ($1::%s)",
								   id_name, quote_identifier(other), from_source(&stand_in),
								   id_name, column.equals, column.array_type),
						  id_array(&column, ids, n), get_array_type(column.type));
}

char **
br_pg_catalog_list_visible(const BrPgCatalog *catalog, int limit, int *n)
{
	const char *id_name = quote_identifier(catalog->item_id);
	IdColumn id;
	uint64 found;
	char **item_ids;

	find_id_column(catalog, &id);
	found = select_visible(psprintf("SELECT s.%s FROM %s s WHERE s.%s IS NOT NULL"
									" ORDER BY s.%s LIMIT $1",
									id_name, from_source(catalog), id_name, id_name),
						   Int64GetDatum(limit), INT8OID);
	item_ids = palloc(sizeof(char *) * Max(found, 1));
	for (uint64 row = 0; row < found; row++)
		item_ids[row] = seen_id(&id, row);
	SPI_freetuptable(SPI_tuptable);
	*n = (int) found;
	return item_ids;
}

void
br_pg_catalog_index_embeddings(const BrPgCatalog *catalog)
{
	br_pg_children_index_embeddings(catalog->number, catalog->model);
	br_pg_children_unindex_embeddings(catalog->number, catalog->model);
}
