/*
 * children.c
 *	  The tables of one catalog.
 *
 * A catalog's data stand in tables of its own, item_<n>, event_<n> and so on,
 * which inherit from the extension's empty parents. They are no members of the
 * extension: a dump carries them as tables, with their rows, keys and rights.
 * Keys make rows unique; the other indexes only make reading fast, so a first
 * load writes its rows without them and makes them afterwards.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "pg/catalog/catalog_int.h"

/* rows without a key can be deleted all the same where somebody publishes all tables */
#define WITHOUT_KEY(child) "ALTER TABLE bundle_rec." child "_@ REPLICA IDENTITY FULL"

/* What is put into a child besides what it inherits; @ is the catalog's number. */
typedef struct Child
{
	const char *parent;
	const char *keys; /* beside the check of the number; "" where there are none */
	const char *fill;
	const char *grant; /* to the source's owner, who may grant it further */
	const char *more;  /* statements, or NULL */
} Child;

static const Child children[] = {
	{"item", ", PRIMARY KEY (item), UNIQUE (item_id)", "100", "SELECT",
	 "CREATE SEQUENCE bundle_rec.item_@_number AS int OWNED BY bundle_rec.item_@.item;"
	 " ALTER TABLE bundle_rec.item_@ ALTER item"
	 " SET DEFAULT pg_catalog.nextval('bundle_rec.item_@_number')"},
	{"item_shadow", ", PRIMARY KEY (item)", "100", "SELECT", NULL},
	{"item_state", ", PRIMARY KEY (item)", "70", "SELECT", NULL},
	{"item_count", ", PRIMARY KEY (item)", "90", "SELECT", NULL},
	{"item_pair", ", PRIMARY KEY (item, other)", "90", "SELECT", NULL},
	{"item_neighbour", ", PRIMARY KEY (item)", "100", "SELECT", NULL},
	{"learned_list", ", PRIMARY KEY (version, item)", "100", "SELECT", NULL},
	{"learned_vector", ", PRIMARY KEY (version, item)", "100", "SELECT", NULL},
	{"learned_set", ", PRIMARY KEY (version, number)", "100", "SELECT", NULL},
	{"item_change", "", "100", "SELECT", WITHOUT_KEY("item_change")},
	{"event", "", "100", "SELECT, INSERT", WITHOUT_KEY("event")},
	{"event_queue", "", "100", "SELECT", WITHOUT_KEY("event_queue")},
	{"bundle", ", PRIMARY KEY (bundle), UNIQUE (bundle_id)", "100", "SELECT",
	 "CREATE SEQUENCE bundle_rec.bundle_@_number AS int OWNED BY bundle_rec.bundle_@.bundle;"
	 " ALTER TABLE bundle_rec.bundle_@ ALTER bundle"
	 " SET DEFAULT pg_catalog.nextval('bundle_rec.bundle_@_number')"},
	{"bundle_item", ", PRIMARY KEY (bundle, item_id)", "90", "SELECT", NULL},
	{"bundle_count", ", PRIMARY KEY (bundle)", "90", "SELECT", NULL},
	/* the column too: what he grants of it goes when he goes */
	{"decision", ", PRIMARY KEY (decision_id)", "100", "SELECT, SELECT (decision_id), INSERT",
	 NULL},
	{"feedback", ", PRIMARY KEY (decision_id, event_id)", "100", "SELECT, INSERT", NULL},
};

/* The same for a policy that has a number in place of a catalog. */
static const Child choice_children[] = {
	{"choice", ", PRIMARY KEY (decision_id)", "100", "SELECT, SELECT (decision_id), INSERT", NULL},
	{"feedback", ", PRIMARY KEY (decision_id, event_id)", "100", "SELECT, INSERT", NULL},
};

/* Indexes that are no keys, named <child>_<name>. */
static const struct
{
	const char *parent;
	const char *name;
	const char *columns;
} indexes[] = {
	{"item", "category", "(category, item) WHERE category IS NOT NULL"},
	{"item", "text_hash", "(text_hash) WHERE embedding IS NOT NULL"},
	{"item", "pending", "(item) WHERE pending_text IS NOT NULL"},
	{"item", "lost",
	 "(item) WHERE text_hash IS NOT NULL AND pending_text IS NULL AND embedding IS NULL"},
	{"item_shadow", "text_hash", "(text_hash)"},
	{"item_count", "most", "(baskets DESC, item)"},
	{"item_pair", "most", "(item, together DESC, other)"},
	{"learned_set", "items", "USING gin (items) WITH (fastupdate = off)"},
	{"event", "user", "(user_id, occurred_at DESC) WHERE user_id IS NOT NULL"},
	{"event", "basket", "(source, basket_id)"},
	{"event", "taken", "(source) WHERE weight < 0"},
	{"event", "age", "USING brin (occurred_at)"},
	{"event_queue", "user", "(user_id, occurred_at DESC) WHERE user_id IS NOT NULL"},
	{"bundle_item", "item", "(item_id, bundle DESC)"},
	{"bundle_count", "most", "(purchases DESC, bundle)"},
	{"decision", "user", "(user_id, decided_at) WHERE user_id IS NOT NULL"},
	{"decision", "age", "USING brin (decided_at)"},
};

void
br_pg_run(const char *sql)
{
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(result));
}

/* Where the caller's tables go by default: with our rights he could choose any tablespace. */
static void
ignore_defaults(void)
{
	static const char *const settings[][2] = {{"default_tablespace", ""},
											  {"default_table_access_method",
											   DEFAULT_TABLE_ACCESS_METHOD}};

	for (int i = 0; i < lengthof(settings); i++)
		br_pg_set_for_section(settings[i][0], settings[i][1]);
}

void
br_pg_children_create_indexes(int32 number, const char *parent)
{
	ignore_defaults();
	for (int i = 0; i < lengthof(indexes); i++)
		if (parent == NULL || strcmp(parent, indexes[i].parent) == 0)
			br_pg_run(psprintf("CREATE INDEX %s_%d_%s ON bundle_rec.%s_%d %s", indexes[i].parent,
							   number, indexes[i].name, indexes[i].parent, number,
							   indexes[i].columns));
}

void
br_pg_children_drop_indexes(int32 number, const char *parent)
{
	for (int i = 0; i < lengthof(indexes); i++)
		if (strcmp(parent, indexes[i].parent) == 0)
			br_pg_run(psprintf("DROP INDEX IF EXISTS bundle_rec.%s_%d_%s", indexes[i].parent,
							   number, indexes[i].name));
}

/* ---- the index of embeddings ---- */

/*
 * One for each model, because embeddings of two models have nothing to do with
 * each other, nor need have the same dimensions: while a catalog moves from one
 * to another, rows of both are in the table.
 */
static const char *
embeddings_index(int32 number, int32 model)
{
	return psprintf("item_%d_embedding_%d", number, model);
}

static bool
exists(const char *name)
{
	return OidIsValid(get_relname_relid(name, get_namespace_oid("bundle_rec", false)));
}

static void
create_embeddings_index(int32 number, int32 model)
{
	ignore_defaults();
	br_pg_run(psprintf("CREATE INDEX %s ON bundle_rec.item_%d USING bundle_ann"
					   " (embedding bundle_rec.embedding_cosine_ops) WHERE model = %d",
					   embeddings_index(number, model), number, model));
}

void
br_pg_children_index_embeddings(int32 number, int32 model)
{
	Oid items =
		get_relname_relid(psprintf("item_%d", number), get_namespace_oid("bundle_rec", false));

	if (model == 0 || exists(embeddings_index(number, model)) ||
		!ConditionalLockRelationOid(items, ShareLock))
		return;
	create_embeddings_index(number, model);
}

void
br_pg_children_unindex_embeddings(int32 number, int32 model)
{
	static const Oid types[] = {TEXTOID, TEXTOID};
	Datum values[] = {CStringGetTextDatum(psprintf("^item_%d_embedding_[0-9]+$", number)),
					  CStringGetTextDatum(embeddings_index(number, model))};
	Oid items =
		get_relname_relid(psprintf("item_%d", number), get_namespace_oid("bundle_rec", false));
	uint64 stale = br_pg_execute("SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_class c"
								 " WHERE c.relnamespace = 'bundle_rec'::pg_catalog.regnamespace"
								 " AND c.relkind = 'i' AND c.relname ~ $1 AND c.relname <> $2",
								 lengthof(types), types, values, NULL, false, 0);
	SPITupleTable *table = SPI_tuptable;

	if (stale > 0 && ConditionalLockRelationOid(items, AccessExclusiveLock))
		for (uint64 row = 0; row < stale; row++)
			br_pg_run(psprintf("DROP INDEX bundle_rec.%s",
							   SPI_getvalue(table->vals[row], table->tupdesc, 1)));
	SPI_freetuptable(table);
}

static char *
quoted_role(Oid role)
{
	return pstrdup(quote_identifier(GetUserNameFromId(role, false)));
}

static void
create_child(const Child *kind, int32 number, const char *reader)
{
	const char *child = psprintf("bundle_rec.%s_%d", kind->parent, number);

	br_pg_run(psprintf("CREATE TABLE %s (CHECK (catalog = %d)%s) INHERITS (bundle_rec.%s)"
					   " WITH (fillfactor = %s);"
					   " ALTER TABLE %s ALTER catalog SET DEFAULT %d;"
					   " GRANT %s ON %s TO %s WITH GRANT OPTION",
					   child, number, kind->keys, kind->parent, kind->fill, child, number,
					   kind->grant, child, reader));
	if (kind->more != NULL)
		br_pg_run(br_pg_catalog_sql(kind->more, number));
}

void
br_pg_children_create(int32 number, Oid owner)
{
	ignore_defaults();
	for (int i = 0; i < lengthof(children); i++)
		create_child(&children[i], number, quoted_role(owner));
	br_pg_children_create_indexes(number, NULL);
}

void
br_pg_catalog_create_choices(int32 number, Oid owner)
{
	ignore_defaults();
	for (int i = 0; i < lengthof(choice_children); i++)
		create_child(&choice_children[i], number, quoted_role(owner));
	br_pg_run(
		psprintf("CREATE INDEX choice_%d_user ON bundle_rec.choice_%d (user_id)"
				 " WHERE user_id IS NOT NULL;"
				 " CREATE INDEX choice_%d_age ON bundle_rec.choice_%d USING brin (decided_at)",
				 number, number, number, number));
}

void
br_pg_catalog_create_arms(int32 number, int32 policy, int arm_features)
{
	ignore_defaults();
	br_pg_run(psprintf("CREATE TABLE bundle_rec.arm_%d (vector bundle_rec.embedding(%d) NOT NULL,"
					   " CHECK (policy = %d), PRIMARY KEY (arm, added))"
					   " INHERITS (bundle_rec.arm);"
					   " CREATE UNIQUE INDEX arm_%d_name ON bundle_rec.arm_%d (name)"
					   " WHERE retired IS NULL;"
					   " CREATE INDEX arm_%d_vector ON bundle_rec.arm_%d USING bundle_ann"
					   " (vector bundle_rec.embedding_ip_ops) WHERE retired IS NULL",
					   number, arm_features, policy, number, number, number, number));
}

void
br_pg_catalog_drop_choices(int32 number)
{
	br_pg_run(psprintf("DROP TABLE IF EXISTS bundle_rec.arm_%d", number));
	for (int i = 0; i < lengthof(choice_children); i++)
		br_pg_run(
			psprintf("DROP TABLE IF EXISTS bundle_rec.%s_%d", choice_children[i].parent, number));
}

/* ---- another owner ---- */

/*
 * $1: a table, $2: its catalog's former owner, $3: the new one. What others than
 * the table's owner granted on it: the statement to grant it, and, where a right
 * on the table does not take it along when it goes, that to revoke it.
 */
static const char others_grants[] =
	"SELECT pg_catalog.format('GRANT %s %s ON bundle_rec.%I TO %s%s', a.privilege_type, g.of_column,"
	" c.relname, COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC'), CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' END),"
	" CASE WHEN g.of_column <> '' AND a.grantor = $2 THEN pg_catalog.format("
	"'REVOKE %s %s ON bundle_rec.%I FROM %s CASCADE', a.privilege_type, g.of_column, c.relname,"
	" COALESCE(pg_catalog.quote_ident(r.rolname), 'PUBLIC')) END"
	" FROM pg_catalog.pg_class c CROSS JOIN LATERAL (SELECT c.relacl, ''"
	" UNION ALL SELECT t.attacl, pg_catalog.format('(%I)', t.attname)"
	" FROM pg_catalog.pg_attribute t WHERE t.attrelid = c.oid AND t.attnum > 0) g(acl, of_column)"
	" CROSS JOIN LATERAL pg_catalog.aclexplode(g.acl) a"
	" LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee"
	" WHERE c.oid = $1 AND a.grantor <> c.relowner AND a.grantee <> $3";

/* sql may be NULL: nothing to do */
static void
run_as(Oid role, const char *sql)
{
	BrPgRights rights;

	if (sql == NULL)
		return;
	br_pg_enter_role(&rights, role);
	br_pg_run(sql);
	br_pg_leave(&rights);
}

static void
hand_over(const char *child, const char *grant, Oid from, Oid to)
{
	static const Oid types[] = {OIDOID, OIDOID, OIDOID};
	Datum values[] = {ObjectIdGetDatum(
						  get_relname_relid(child, get_namespace_oid("bundle_rec", false))),
					  ObjectIdGetDatum(from), ObjectIdGetDatum(to)};
	SPITupleTable *grants;

	br_pg_execute(others_grants, lengthof(types), types, values, NULL, false, 0);
	grants = SPI_tuptable;
	for (uint64 row = 0; row < grants->numvals; row++)
		run_as(from, SPI_getvalue(grants->vals[row], grants->tupdesc, 2));
	/* what the tables' own owner may do with them was granted by nobody */
	if (OidIsValid(from) && from != GetUserId())
		br_pg_run(
			psprintf("REVOKE ALL ON bundle_rec.%s FROM %s CASCADE", child, quoted_role(from)));
	br_pg_run(psprintf("GRANT %s ON bundle_rec.%s TO %s WITH GRANT OPTION", grant, child,
					   quoted_role(to)));
	for (uint64 row = 0; row < grants->numvals; row++)
		run_as(to, SPI_getvalue(grants->vals[row], grants->tupdesc, 1));
	SPI_freetuptable(grants);
}

void
br_pg_children_hand_over(int32 number, Oid from, Oid to)
{
	for (int i = 0; i < lengthof(children); i++)
		hand_over(psprintf("%s_%d", children[i].parent, number), children[i].grant, from, to);
}

void
br_pg_children_drop(int32 number)
{
	for (int i = 0; i < lengthof(children); i++)
		br_pg_run(psprintf("DROP TABLE IF EXISTS bundle_rec.%s_%d", children[i].parent, number));
}
