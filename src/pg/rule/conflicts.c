/*
 * conflicts.c
 *	  Rules that cannot both be followed at some moment.
 *
 * A new rule is put into the table first and then compared with those whose
 * times overlap its own. The rules before it did not contradict each other, so
 * that whatever does has the new one in it, and all of it overlaps that one. What
 * pinned items and bundles are is judged as it is now; where it changes later, a
 * pin that another rule forbids is left out of the answer.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "core/bundle/br_bundle.h"
#include "pg/rule/rule.h"

/* $1: the catalog's number, $2: the new rule; the parts below read these three */
#define OVERLAPPING                                                                              \
	"WITH made AS (SELECT valid FROM bundle_rec.merchandiser_rule"                               \
	" WHERE catalog = $1 AND name = $2),"                                                        \
	" r AS (SELECT o.*, CASE WHEN o.bundle_id IS NOT NULL THEN 'curated'"                        \
	" WHEN pg_catalog.cardinality(o.items) = 1 THEN 'item' ELSE 'bundle' END AS kind"            \
	" FROM bundle_rec.merchandiser_rule o JOIN made ON o.valid && made.valid"                    \
	" WHERE o.catalog = $1),"                                                                    \
	" pinned AS (SELECT p.name, p.bundle_id, m.item_id, i.category FROM r p, LATERAL"            \
	" (SELECT pg_catalog.unnest(p.items) COLLATE \"C\" AS item_id UNION ALL SELECT b.item_id"    \
	" FROM bundle_rec.bundle_@ x JOIN bundle_rec.bundle_item_@ b USING (bundle)"                 \
	" WHERE x.bundle_id = p.bundle_id) m LEFT JOIN bundle_rec.item_@ i ON i.item_id = m.item_id" \
	" WHERE p.action = 'pin')"

/* each gives two rules, the first of which pins or requires, and a sentence */
#define BANNED_ITEM                                                                       \
	"SELECT p.name AS a, b.name AS b, pg_catalog.format("                                 \
	"'Rule \"%s\" pins item \"%s\", which rule \"%s\" bans.', p.name, p.item_id, b.name)" \
	" FROM pinned p JOIN r b ON b.action = 'ban' AND p.item_id = ANY (b.items)"
#define BANNED_CATEGORY                                                                  \
	"SELECT p.name, b.name, pg_catalog.format('Rule \"%s\" pins item \"%s\" of category" \
	" \"%s\", which rule \"%s\" bans.', p.name, p.item_id, p.category, b.name)"          \
	" FROM pinned p JOIN r b ON b.action = 'ban' AND p.category = ANY (b.categories)"
#define BANNED_BUNDLE                                                                         \
	"SELECT p.name, b.name, pg_catalog.format("                                               \
	"'Rule \"%s\" pins bundle \"%s\", which rule \"%s\" bans.', p.name, p.bundle_id, b.name)" \
	" FROM r p JOIN r b ON p.action = 'pin' AND b.action = 'ban' AND p.bundle_id = b.bundle_id"
#define SAME_SLOT                                                                      \
	"SELECT p.name, b.name, pg_catalog.format("                                        \
	"'Rule \"%s\" pins to slot %s, as rule \"%s\" does.', p.name, p.slot, b.name)"     \
	" FROM r p JOIN r b ON p.action = 'pin' AND b.action = 'pin' AND p.name <> b.name" \
	" AND p.kind = b.kind AND p.slot = b.slot"
#define SAME_PIN                                                                       \
	"SELECT p.name, b.name, pg_catalog.format("                                        \
	"'Rule \"%s\" pins what rule \"%s\" pins.', p.name, b.name)"                       \
	" FROM r p JOIN r b ON p.action = 'pin' AND b.action = 'pin' AND p.name <> b.name" \
	" AND (p.items = b.items OR p.bundle_id = b.bundle_id)"
#define OVER_CAP                                                                                 \
	"SELECT p.name, b.name, pg_catalog.format('Rule \"%s\" pins %s items of category \"%s\", of" \
	" which rule \"%s\" allows %s.', p.name, pg_catalog.count(*), p.category, b.name, b.amount)" \
	" FROM pinned p JOIN r b ON b.action = 'cap' AND p.category = ANY (b.categories)"            \
	" GROUP BY p.name, p.category, b.name, b.amount HAVING pg_catalog.count(*) > b.amount"
#define LACKING                                                                                 \
	"SELECT p.name, b.name, pg_catalog.format('Rule \"%s\" pins no item of the categories that" \
	" rule \"%s\" requires.', p.name, b.name)"                                                  \
	" FROM r p JOIN r b ON p.action = 'pin' AND p.kind = 'bundle' AND b.action = 'require'"     \
	" AND NOT EXISTS (SELECT FROM pinned h WHERE h.name = p.name"                               \
	" AND h.category = ANY (b.categories))"

/* when each of the required categories is banned, by whichever rules, and when they all are */
#define ALL_BANNED                                                                                \
	"SELECT p.name, n.names, pg_catalog.format('Rule \"%s\" requires categories all of which are" \
	" banned at some time by rule \"%s\".', p.name, n.names) FROM r p, LATERAL"                   \
	" (SELECT pg_catalog.range_intersect_agg(COALESCE((SELECT pg_catalog.range_agg(b.valid)"      \
	" FROM r b WHERE b.action = 'ban' AND c.category = ANY (b.categories)),"                      \
	" pg_catalog.tstzmultirange())) AS at FROM pg_catalog.unnest(p.categories) c(category)) t,"   \
	" LATERAL (SELECT pg_catalog.string_agg(b.name, '\", \"' ORDER BY b.name) AS names FROM r b"  \
	" WHERE b.action = 'ban' AND b.categories && p.categories) n"                                 \
	" WHERE p.action = 'require' AND NOT pg_catalog.isempty(t.at"                                 \
	" * pg_catalog.tstzmultirange(p.valid))"

static const char conflicts[] = OVERLAPPING
	" SELECT CASE WHEN q.a = $2 THEN q.b ELSE q.a END, q.detail FROM"
	" (SELECT * FROM (" BANNED_ITEM " UNION ALL " BANNED_CATEGORY " UNION ALL " BANNED_BUNDLE
	" UNION ALL " SAME_SLOT " UNION ALL " SAME_PIN " UNION ALL " OVER_CAP " UNION ALL " LACKING
	") two(a, b, detail) WHERE a = $2 OR b = $2 UNION ALL " ALL_BANNED ") q"
	" ORDER BY q.a <> $2, 1, 2 LIMIT 1";

/* each costs the search for bundles a factor of two */
static void
check_number_of_requirements(const BrPgCatalog *catalog, const char *name)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog->number), CStringGetTextDatum(name)};
	bool is_null;

	br_pg_execute_now("SELECT pg_catalog.count(*) FROM bundle_rec.merchandiser_rule m"
					  " JOIN bundle_rec.merchandiser_rule o USING (catalog)"
					  " WHERE m.catalog = $1 AND m.name = $2 AND m.action = 'require'"
					  " AND o.action = 'require' AND o.valid && m.valid",
					  lengthof(types), types, values);
	if (DatumGetInt64(br_pg_column(0, 1, &is_null)) > BR_BUNDLE_MAX_REQUIRED)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("rule \"%s\" would be one requirement too many", name),
				 errdetail("At most %d rules that require something may overlap in time.",
						   BR_BUNDLE_MAX_REQUIRED),
				 errhint("One rule may name several categories, of which a bundle needs one.")));
}

void
br_pg_rule_check_conflicts(const BrPgCatalog *catalog, const char *name)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(catalog->number), CStringGetTextDatum(name)};

	check_number_of_requirements(catalog, name);
	if (br_pg_execute_now(br_pg_catalog_sql(conflicts, catalog->number), lengthof(types), types,
						  values) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CHECK_VIOLATION),
				 errmsg("rule \"%s\" contradicts rule \"%s\"", name, br_pg_column_text(0, 1)),
				 errdetail("%s", br_pg_column_text(0, 2)),
				 errhint("Drop the other with drop_rule, or give the two times that do not overlap"
						 " with \"valid\".")));
}
