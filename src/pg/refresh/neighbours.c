/*
 * neighbours.c
 *	  The stored neighbours of every item, by exact search.
 *
 * Similarities come from products of blocks of unit vectors, read from a
 * temporary file, so memory holds two blocks and the best rows of one of them.
 * A refresh that changed little does little: an item gets a whole new list if
 * it is new or changed, or if something in its list changed or left; every
 * other list can only be entered by new and changed items, and is compared
 * with those alone. Either way the lists are those that a search over all
 * active items would give.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "core/ann/br_ann.h"
#include "pg/embedding.h"
#include "pg/refresh/refresh_int.h"

#define LEFT_ROWS 1024
/* components of a right block: 256 rows of 384 dimensions, some 20 ms of work */
#define RIGHT_COMPONENTS (256 * 384)

/* What is known of a row of the matrix of all items. */
typedef struct Row
{
	bool entering; /* new or changed since the lists were stored */
	bool has_list;
	bool full; /* its list must be searched for anew */
} Row;

typedef struct Place
{
	int32 item; /* key */
	int row;
} Place;

typedef struct Search
{
	const BrPgCatalog *catalog;
	BrPgMatrix *all;
	int dims;
	int n;
	Row *rows;
	HTAB *places;
	int k;
	int right_rows;
	int *left_ids; /* (LEFT_ROWS) rows of the present left block */
	float *left;   /* (LEFT_ROWS, dims), unit length */
	int *right_ids;
	float *right;	   /* (right_rows, dims), unit length */
	float *similarity; /* (LEFT_ROWS, right_rows) */
	uint16 *halves;	   /* (right_rows, dims) */
	float *thresholds; /* (LEFT_ROWS) least similarity that still enters */
	BrTopK **top;	   /* (LEFT_ROWS) */
	BrContext context;
} Search;

/* ---- which items there are ---- */

static HTAB *
create_places(void)
{
	HASHCTL control = {.keysize = sizeof(int32),
					   .entrysize = sizeof(Place),
					   .hcxt = CurrentMemoryContext};

	return hash_create("rows of items", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
set_place(HTAB *places, int32 item, int row)
{
	Place *place = hash_search(places, &item, HASH_ENTER, NULL);

	place->row = row;
}

/* -1 where the item is none of those searched */
static int
find_place(HTAB *places, int32 item)
{
	Place *place = hash_search(places, &item, HASH_FIND, NULL);

	return place == NULL ? -1 : place->row;
}

static Portal
open_cursor(const char *pattern, int32 catalog)
{
	MemoryContext caller = CurrentMemoryContext;
	Portal portal;
	BrPgRights rights;

	br_pg_enter_owner(&rights);
	portal = SPI_cursor_open_with_args(NULL, br_pg_catalog_sql(pattern, catalog), 0, NULL, NULL,
									   NULL, false, 0);
	MemoryContextSwitchTo(caller);
	br_pg_leave(&rights);
	return portal;
}

/* what reading one portion of rows may take */
static MemoryContext
create_batch(void)
{
	return AllocSetContextCreate(CurrentMemoryContext, "rows", ALLOCSET_DEFAULT_SIZES);
}

/*
 * All active items with an embedding, those of `changed` with their new one,
 * or with alone nothing but the latter, which are the last rows.
 * *first_changed: where they begin.
 */
static void
gather_items(Search *search, BrPgMatrix *changed, bool alone, int *first_changed)
{
	HTAB *fresh = create_places();
	BrPgMatrix *all = search->all;
	Portal portal;
	uint16 *halves = palloc(sizeof(uint16) * search->dims);
	int n_changed = changed == NULL ? 0 : br_pg_matrix_rows(changed);
	bool *active = palloc0(sizeof(bool) * Max(n_changed, 1));
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext batch = create_batch();

	for (int i = 0; i < n_changed; i++)
		set_place(fresh, br_pg_matrix_item(changed, i), i);
	portal = open_cursor("SELECT i.item, i.embedding FROM bundle_rec.item_@ i"
						 " JOIN bundle_rec.item_state_@ s USING (item) WHERE s.active"
						 " AND (i.embedding IS NOT NULL OR i.pending_text IS NOT NULL)",
						 search->catalog->number);
	while (br_pg_fetch(portal))
	{
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool is_null;
			int32 item = DatumGetInt32(br_pg_column(row, 1, &is_null));
			Datum value = br_pg_column(row, 2, &is_null);
			int place = find_place(fresh, item);
			BrEmbedding *embedding;

			if (place >= 0)
				active[place] = true;
			if (place >= 0 || is_null || alone)
				continue;
			MemoryContextSwitchTo(batch);
			embedding = DatumGetEmbedding(value);
			if (embedding->dims == search->dims)
				br_pg_matrix_append(all, item, embedding->components);
			MemoryContextSwitchTo(outer);
		}
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch);
	}
	MemoryContextDelete(batch);
	*first_changed = br_pg_matrix_rows(all);
	for (int i = 0; i < n_changed; i++)
		if (active[i])
		{
			br_pg_matrix_read(changed, i, 1, halves);
			br_pg_matrix_append(all, br_pg_matrix_item(changed, i), halves);
		}
	hash_destroy(fresh);
}

/* ---- which lists need what ---- */

/* length of the stored lists, if the setting was then what it is now */
static int64
expected_length(int32 catalog)
{
	Portal portal =
		open_cursor("SELECT pg_catalog.count(*) FROM bundle_rec.item_neighbour_@", catalog);
	bool is_null;
	int64 n;

	(void) br_pg_fetch(portal);
	n = DatumGetInt64(br_pg_column(0, 1, &is_null));
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	return Min((int64) br_pg_neighbours, n - 1);
}

/*
 * Whether the lists are those of the items there are: then nothing needs to be
 * read. Forgets the items that came and went, which the lists are to learn of.
 */
static bool
is_up_to_date(const BrPgCatalog *catalog)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum values[] = {Int32GetDatum(catalog->number), Int32GetDatum(br_pg_neighbours)};
	BrPgRights rights;
	bool changed;

	br_pg_enter_owner(&rights);
	changed =
		br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_change_@", catalog->number), 0,
					  NULL, NULL, NULL, false, 0) > 0;
	changed |= br_pg_execute("UPDATE bundle_rec.catalog_state SET neighbours = $2"
							 " WHERE catalog = $1 AND neighbours IS DISTINCT FROM $2",
							 lengthof(types), types, values, NULL, false, 0) > 0;
	br_pg_leave(&rights);
	return !changed;
}

/* marks what the stored list of a row says about it */
static void
judge_list(Search *search, int row, ArrayType *neighbours, int64 expected)
{
	const int32 *item = (const int32 *) ARR_DATA_PTR(neighbours);
	int length = ArrayGetNItems(ARR_NDIM(neighbours), ARR_DIMS(neighbours));

	search->rows[row].has_list = true;
	/* the setting bundle_rec.neighbours was another one then */
	if (length != expected)
		search->rows[row].full = true;
	for (int i = 0; i < length && !search->rows[row].full; i++)
	{
		int other = find_place(search->places, item[i]);

		if (other < 0 || search->rows[other].entering)
			search->rows[row].full = true;
	}
}

/* reads the stored lists; those of items that are no longer searched are deleted */
static void
judge_lists(Search *search)
{
	int64 expected = expected_length(search->catalog->number);
	Portal portal = open_cursor("SELECT item, neighbours FROM bundle_rec.item_neighbour_@",
								search->catalog->number);
	static const Oid types[] = {INT4ARRAYOID};
	int capacity = 1024, n_gone = 0;
	Datum *gone = palloc(sizeof(Datum) * capacity);
	Datum values[1];
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext batch = create_batch();
	BrPgRights rights;

	while (br_pg_fetch(portal))
	{
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool is_null;
			int32 item = DatumGetInt32(br_pg_column(i, 1, &is_null));
			int row = find_place(search->places, item);

			if (row >= 0)
			{
				MemoryContextSwitchTo(batch);
				judge_list(search, row, DatumGetArrayTypeP(br_pg_column(i, 2, &is_null)), expected);
				MemoryContextSwitchTo(outer);
				continue;
			}
			if (n_gone == capacity)
			{
				capacity *= 2;
				gone = repalloc_huge(gone, sizeof(Datum) * capacity);
			}
			gone[n_gone++] = Int32GetDatum(item);
		}
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch);
	}
	MemoryContextDelete(batch);
	if (n_gone == 0)
		return;
	values[0] = br_pg_array(gone, NULL, n_gone, INT4OID);
	br_pg_enter_owner(&rights);
	br_pg_execute(br_pg_catalog_sql("DELETE FROM bundle_rec.item_neighbour_@"
									" WHERE item = ANY ($1)",
									search->catalog->number),
				  1, types, values, NULL, false, 0);
	br_pg_leave(&rights);
}

/* returns how many rows enter */
static int
judge_rows(Search *search)
{
	int entering = 0;

	for (int i = 0; i < search->n; i++)
	{
		Row *row = &search->rows[i];

		row->entering = row->entering || !row->has_list;
		row->full = row->full || row->entering;
		entering += row->entering;
	}
	/* comparing most lists with most items is no cheaper than beginning again */
	if (entering > search->n / 4)
		for (int i = 0; i < search->n; i++)
			search->rows[i].full = true;
	return entering;
}

/* ---- searching ---- */

static void
to_unit(const uint16 *halves, int dims, float *unit)
{
	double square = br_math_half_dot(halves, halves, dims);
	float scale = square > 0 ? (float) (1 / sqrt(square)) : 0;

	br_math_half_to_floats(halves, dims, unit);
	for (int i = 0; i < dims; i++)
		unit[i] *= scale;
}

static void
offer_block(Search *search, int n_left, int n_right)
{
	for (int i = 0; i < n_left; i++)
	{
		const float *similarity = search->similarity + (Size) i * n_right;

		for (int j = 0; j < n_right; j++)
		{
			if (similarity[j] < search->thresholds[i] ||
				search->right_ids[j] == search->left_ids[i])
				continue;
			br_ann_top_k_offer(search->top[i], br_pg_matrix_item(search->all, search->right_ids[j]),
							   similarity[j]);
			search->thresholds[i] = (float) br_ann_top_k_threshold(search->top[i]);
		}
	}
}

/* compares the left block with all rows, or with those that enter */
static void
compare_left(Search *search, int n_left, bool entering_only)
{
	const BrBackend *backend = br_pg_session_backend();
	int row = 0;

	while (row < search->n)
	{
		int n = Min(search->right_rows, search->n - row);
		int n_right = 0;

		br_pg_matrix_read(search->all, row, n, search->halves);
		for (int i = 0; i < n; i++)
		{
			if (entering_only && !search->rows[row + i].entering)
				continue;
			search->right_ids[n_right] = row + i;
			to_unit(search->halves + (Size) i * search->dims, search->dims,
					search->right + (Size) n_right * search->dims);
			n_right++;
		}
		row += n;
		if (n_right == 0)
			continue;
		backend->multiply_transposed(search->left, search->right, n_left, n_right, search->dims,
									 search->similarity);
		CHECK_FOR_INTERRUPTS();
		offer_block(search, n_left, n_right);
	}
}

/* offers what the stored lists of the left block hold */
static void
seed_left(Search *search, int n_left)
{
	static const Oid types[] = {INT4ARRAYOID};
	HTAB *left = create_places();
	Datum *items = palloc(sizeof(Datum) * n_left);
	Datum values[1];
	BrPgRights rights;
	uint64 found;

	for (int i = 0; i < n_left; i++)
	{
		int32 item = br_pg_matrix_item(search->all, search->left_ids[i]);

		items[i] = Int32GetDatum(item);
		set_place(left, item, i);
	}
	values[0] = br_pg_array(items, NULL, n_left, INT4OID);
	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT item, neighbours, similarity"
										" FROM bundle_rec.item_neighbour_@ WHERE item = ANY ($1)",
										search->catalog->number),
					  1, types, values, NULL, false, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int place = find_place(left, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		ArrayType *ids = DatumGetArrayTypeP(br_pg_column(row, 2, &is_null));
		ArrayType *near = DatumGetArrayTypeP(br_pg_column(row, 3, &is_null));
		int length = ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids));

		for (int i = 0; i < length; i++)
			br_ann_top_k_offer(search->top[place], ((const int32 *) ARR_DATA_PTR(ids))[i],
							   ((const float4 *) ARR_DATA_PTR(near))[i]);
		search->thresholds[place] = (float) br_ann_top_k_threshold(search->top[place]);
	}
	SPI_freetuptable(SPI_tuptable);
	hash_destroy(left);
}

static void
write_list(Search *search, int32 item, const BrNeighbour *near, int n)
{
	static const Oid types[] = {INT4OID, INT4ARRAYOID, FLOAT4ARRAYOID};
	Datum *ids = palloc(sizeof(Datum) * Max(n, 1));
	Datum *similarities = palloc(sizeof(Datum) * Max(n, 1));
	Datum values[3];

	for (int i = 0; i < n; i++)
	{
		ids[i] = Int32GetDatum(near[i].id);
		/* the product of two unit vectors may be one by a rounding more */
		similarities[i] = Float4GetDatum((float4) Max(-1.0, Min(1.0, near[i].similarity)));
	}
	values[0] = Int32GetDatum(item);
	values[1] = br_pg_array(ids, NULL, n, INT4OID);
	values[2] = br_pg_array(similarities, NULL, n, FLOAT4OID);
	br_pg_execute(br_pg_catalog_sql("INSERT INTO bundle_rec.item_neighbour_@ (item, neighbours, similarity)"
									" VALUES ($1, $2, $3) ON CONFLICT (item) DO UPDATE"
									" SET neighbours = excluded.neighbours, similarity = excluded.similarity",
									search->catalog->number),
				  lengthof(types), types, values, NULL, false, 0);
}

/* whether something that enters is in the list */
static bool
is_entered(const Search *search, const BrNeighbour *near, int n)
{
	for (int i = 0; i < n; i++)
		if (search->rows[find_place(search->places, near[i].id)].entering)
			return true;
	return false;
}

static void
search_block(Search *search, int n_left, bool merge)
{
	MemoryContext block =
		AllocSetContextCreate(CurrentMemoryContext, "neighbours", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(block);
	BrPgRights rights;

	br_pg_context(&search->context, block);
	for (int i = 0; i < n_left; i++)
	{
		br_pg_matrix_read(search->all, search->left_ids[i], 1, search->halves);
		to_unit(search->halves, search->dims, search->left + (Size) i * search->dims);
		br_pg_check(br_ann_top_k_create(&search->context, search->k, &search->top[i]),
					&search->context, "could not search for neighbours", NULL);
		search->thresholds[i] = -INFINITY;
	}
	if (merge)
		seed_left(search, n_left);
	compare_left(search, n_left, merge);

	br_pg_enter_owner(&rights);
	for (int i = 0; i < n_left; i++)
	{
		int n;
		const BrNeighbour *near = br_ann_top_k_sorted(search->top[i], &n);

		if (!merge || is_entered(search, near, n))
			write_list(search, br_pg_matrix_item(search->all, search->left_ids[i]), near, n);
	}
	br_pg_leave(&rights);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(block);
	CHECK_FOR_INTERRUPTS();
}

/* searches for the lists that are to be made anew, or merges the others */
static void
search_rows(Search *search, bool merge)
{
	int n_left = 0;

	for (int row = 0; row < search->n; row++)
	{
		if (search->rows[row].full == merge)
			continue;
		search->left_ids[n_left++] = row;
		if (n_left == LEFT_ROWS)
		{
			search_block(search, n_left, merge);
			n_left = 0;
		}
	}
	if (n_left > 0)
		search_block(search, n_left, merge);
}

static void
allocate(Search *search)
{
	search->k = br_pg_neighbours;
	search->right_rows = Max(16, RIGHT_COMPONENTS / search->dims);
	search->left_ids = palloc(sizeof(int) * LEFT_ROWS);
	search->left = palloc_extended(sizeof(float) * LEFT_ROWS * search->dims, MCXT_ALLOC_HUGE);
	search->right_ids = palloc(sizeof(int) * search->right_rows);
	search->right = palloc(sizeof(float) * search->right_rows * search->dims);
	search->similarity = palloc(sizeof(float) * LEFT_ROWS * search->right_rows);
	search->halves = palloc(sizeof(uint16) * search->right_rows * search->dims);
	search->thresholds = palloc(sizeof(float) * LEFT_ROWS);
	search->top = palloc(sizeof(BrTopK *) * LEFT_ROWS);
}

void
br_pg_neighbours_refresh(const BrPgCatalog *catalog, BrPgMatrix *changed, int dims, bool alone)
{
	Search search = {0};
	int first_changed, entering;
	MemoryContext memory, outer;

	if (is_up_to_date(catalog) && changed == NULL)
		return;
	memory =
		AllocSetContextCreate(CurrentMemoryContext, "neighbour search", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(memory);
	search.catalog = catalog;
	search.dims = dims;
	search.all = br_pg_matrix_create(dims);
	gather_items(&search, changed, alone, &first_changed);
	search.n = br_pg_matrix_rows(search.all);
	search.rows =
		palloc_extended(sizeof(Row) * (Size) Max(search.n, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	search.places = create_places();
	for (int i = 0; i < search.n; i++)
	{
		set_place(search.places, br_pg_matrix_item(search.all, i), i);
		search.rows[i].entering = i >= first_changed;
	}
	judge_lists(&search);
	entering = judge_rows(&search);
	allocate(&search);
	search_rows(&search, false);
	if (entering > 0)
		search_rows(&search, true);
	br_pg_matrix_free(search.all);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(memory);
}
