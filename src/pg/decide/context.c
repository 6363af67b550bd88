/*
 * context.c
 *	  What a request starts from: the basket, and what the user did before.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/decide.h"

/* items of the user's history that count, newest first, and what they weigh beside a basket */
#define HISTORY_ITEMS 20
#define HISTORY_WEIGHT 0.5

/* rows of item, id, baskets and what its evidence weighs beside a basket's */
static void
add_context(BrPgDecision *decision, const char *source, double weight)
{
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		BrPgContextItem *entry = &decision->context[decision->n_context];
		bool is_null;

		entry->item = DatumGetInt32(br_pg_column(row, 1, &is_null));
		entry->item_id = br_pg_column_text(row, 2);
		entry->baskets = DatumGetInt64(br_pg_column(row, 3, &is_null));
		entry->source = source;
		entry->weight = weight * DatumGetFloat8(br_pg_column(row, 4, &is_null));
		decision->n_context++;
	}
}

static void
add_basket(BrPgDecision *decision)
{
	static const Oid types[] = {TEXTARRAYOID};
	const BrPgRequest *request = decision->request;
	Datum values[] = {br_pg_text_array_datum(request->basket, request->n_basket)};
	int32 n = request->catalog->number;

	br_pg_execute(psprintf("SELECT i.item, i.item_id, COALESCE(c.baskets, 0), 1::pg_catalog.float8"
						   " FROM bundle_rec.item_%d i LEFT JOIN bundle_rec.item_count_%d c USING (item)"
						   " WHERE i.item_id = ANY ($1) ORDER BY i.item",
						   n, n),
				  1, types, values, NULL, true, 0);
	add_context(decision, "basket", 1.0);
}

/* what the caller may not see is told as what is not there */
static void
report_unknown(const BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;

	for (int i = 0; i < request->n_basket; i++)
	{
		bool found = false;

		for (int j = 0; j < decision->n_context && !found; j++)
			found = strcmp(decision->context[j].item_id, request->basket[i]) == 0;
		if (!found)
			ereport(NOTICE,
					(errmsg("basket item \"%s\" is not in catalog \"%s\" and was ignored",
							request->basket[i], request->catalog->name)));
	}
}

/* the newest events of the user in one of the two tables of events */
#define RECENT(table)                                                           \
	"(SELECT e.source, e.item_id, e.bundle_id, e.occurred_at, e.kind, e.weight" \
	" FROM bundle_rec." table "_%d e WHERE e.user_id = $1"                      \
	" ORDER BY e.occurred_at DESC LIMIT 200)"

/*
 * An event weighs what its source says of its kind; what was sent back weighs
 * nothing. Who has a bundle has its items.
 */
#define HISTORY                                                                                      \
	"SELECT i.item, i.item_id, COALESCE(c.baskets, 0), LEAST(h.strength, 1) FROM ("                  \
	"SELECT COALESCE(e.item_id, m.item_id) AS item_id,"                                              \
	" pg_catalog.max(e.occurred_at) AS latest, pg_catalog.sum(e.weight"                              \
	" * COALESCE((s.weights ->> e.kind)::pg_catalog.float8, 0)) AS strength"                         \
	" FROM (" RECENT("event") " UNION ALL " RECENT(                                                  \
		"event_queue") ") e"                                                                         \
					   " JOIN bundle_rec.event_source s USING (source)"                              \
					   " LEFT JOIN bundle_rec.bundle_%d b ON b.bundle_id = e.bundle_id"              \
					   " LEFT JOIN bundle_rec.bundle_item_%d m ON m.bundle = b.bundle GROUP BY 1) h" \
					   " JOIN bundle_rec.item_%d i USING (item_id)"                                  \
					   " LEFT JOIN bundle_rec.item_count_%d c USING (item)"                          \
					   " WHERE h.strength > 1e-9 AND i.item <> ALL ($2)"                             \
					   " ORDER BY h.latest DESC, i.item LIMIT $3"

static void
add_history(BrPgDecision *decision)
{
	static const Oid types[] = {TEXTOID, INT4ARRAYOID, INT4OID};
	int32 n = decision->request->catalog->number;
	int32 *have = palloc(sizeof(int32) * Max(decision->n_context, 1));
	Datum values[3];

	for (int i = 0; i < decision->n_context; i++)
		have[i] = decision->context[i].item;
	values[0] = CStringGetTextDatum(decision->request->user_id);
	values[1] = br_pg_int4_array(have, decision->n_context);
	values[2] = Int32GetDatum(HISTORY_ITEMS);
	br_pg_execute(psprintf(HISTORY, n, n, n, n, n, n), 3, types, values, NULL, true, 0);
	add_context(decision, "history", decision->request->n_basket > 0 ? HISTORY_WEIGHT : 1.0);
}

/* what the caller may not see must not show up in reasons either */
static void
keep_visible(BrPgDecision *decision)
{
	int n = decision->n_context;
	char **ids = palloc(sizeof(char *) * Max(n, 1));
	bool *visible = palloc(sizeof(bool) * Max(n, 1));

	for (int i = 0; i < n; i++)
		ids[i] = decision->context[i].item_id;
	br_pg_catalog_visible(decision->request->catalog, ids, n, visible);
	decision->n_context = 0;
	for (int i = 0; i < n; i++)
		if (visible[i])
			decision->context[decision->n_context++] = decision->context[i];
}

void
br_pg_decide_context(BrPgDecision *decision)
{
	const BrPgRequest *request = decision->request;
	BrPgRights rights;

	decision->context = palloc0(sizeof(BrPgContextItem) * (request->n_basket + HISTORY_ITEMS));
	br_pg_enter_owner(&rights);
	if (request->n_basket > 0)
		add_basket(decision);
	if (request->user_id != NULL)
		add_history(decision);
	br_pg_leave(&rights);

	if (decision->n_context > 0 && br_pg_catalog_must_ask(request->catalog))
		keep_visible(decision);
	report_unknown(decision);
}
