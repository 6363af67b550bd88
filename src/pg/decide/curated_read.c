/*
 * curated_read.c
 *	  What the rows of curated bundles and of their items say.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/decide/curated.h"

static int64
count_column(uint64 row, int column)
{
	bool is_null;

	return DatumGetInt64(br_pg_column(row, column, &is_null));
}

/* columns 1 place, 2 bundle, 3 bundle_id, 4 purchases; then those of the member */
static void
read_member(uint64 row, BrPgMember *member)
{
	bool is_null;
	Datum value;

	member->item_id = br_pg_column_text(row, 5);
	member->quantity = br_pg_column_number(row, 6, 1);
	member->bundle_price = br_pg_column_number(row, 7, NAN);
	member->source = DatumGetInt32(br_pg_column(row, 8, &is_null));
	value = br_pg_column(row, 9, &is_null);
	member->item = is_null ? 0 : DatumGetInt32(value);
	member->category = br_pg_column_text(row, 10);
	member->age = br_pg_column_number(row, 11, INFINITY);
	member->price = rint(br_pg_column_number(row, 12, NAN) * BR_PG_MILLIONTHS);
	member->cost = rint(br_pg_column_number(row, 13, NAN) * BR_PG_MILLIONTHS);
	member->stock = br_pg_column_number(row, 14, INFINITY);
	value = br_pg_column(row, 15, &is_null);
	member->live = !is_null && DatumGetBool(value);
	member->baskets = count_column(row, 16);
}

static const char read_statement[] =
	"SELECT u.place, b.bundle, b.bundle_id, COALESCE(n.purchases, 0),"
	" m.item_id, m.quantity, m.price, m.source, i.item, i.category,"
	" EXTRACT(epoch FROM pg_catalog.now() - i.created_at)::pg_catalog.float8 / 86400,"
	" s.price, s.cost, s.stock, s.active, COALESCE(c.baskets, 0)"
	" FROM pg_catalog.unnest($1) WITH ORDINALITY AS u(bundle, place)"
	" JOIN bundle_rec.bundle_@ b USING (bundle) JOIN bundle_rec.bundle_item_@ m USING (bundle)"
	" LEFT JOIN bundle_rec.bundle_count_@ n USING (bundle)"
	" LEFT JOIN bundle_rec.item_@ i USING (item_id)"
	" LEFT JOIN bundle_rec.item_state_@ s USING (item)"
	" LEFT JOIN bundle_rec.item_count_@ c USING (item)"
	" ORDER BY u.place, i.item NULLS FIRST, m.item_id";

BrPgDraft *
br_pg_curated_read(const BrPgCatalog *catalog, const int32 *numbers, int n, int *n_drafts)
{
	static const Oid types[] = {INT4ARRAYOID};
	Datum values[] = {br_pg_int4_array(numbers, n)};
	BrPgDraft *drafts = palloc(sizeof(BrPgDraft) * Max(n, 1));
	BrPgMember *members;
	int64 place_before = 0;
	uint64 found;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql(read_statement, catalog->number), 1, types, values,
						  NULL, true, 0);
	br_pg_leave(&rights);
	members = palloc_extended(sizeof(BrPgMember) * Max(found, 1), MCXT_ALLOC_HUGE);
	*n_drafts = 0;
	for (uint64 row = 0; row < found; row++)
	{
		int64 place = count_column(row, 1);

		read_member(row, &members[row]);
		if (place != place_before)
		{
			BrPgDraft *draft = &drafts[(*n_drafts)++];

			draft->bundle = numbers[place - 1];
			draft->bundle_id = br_pg_column_text(row, 3);
			draft->purchases = count_column(row, 4);
			draft->members = &members[row];
			draft->size = 0;
			place_before = place;
		}
		drafts[*n_drafts - 1].size++;
	}
	SPI_freetuptable(SPI_tuptable);
	return drafts;
}

int64
br_pg_curated_most_purchases(const BrPgCatalog *catalog)
{
	BrPgRights rights;
	uint64 found;
	int64 most;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(br_pg_catalog_sql("SELECT purchases FROM bundle_rec.bundle_count_@"
											" ORDER BY purchases DESC, bundle LIMIT 1",
											catalog->number),
						  0, NULL, NULL, NULL, true, 1);
	br_pg_leave(&rights);
	most = found == 0 ? 0 : count_column(0, 1);
	SPI_freetuptable(SPI_tuptable);
	return Max(most, 0);
}
