/*
 * source_texts.c
 *	  Texts of a few items, for who cannot wait until the whole source is read.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#include "pg/learn/detect.h"

typedef struct Place
{
	const char *id; /* the key */
	int first;		/* place among the ids */
} Place;

/* first: (n), where each id is mentioned first */
static HTAB *
index_places(char **item_ids, int n, int *first)
{
	HTAB *places = br_pg_text_table("items", Max(n, 16), sizeof(Place), CurrentMemoryContext);

	for (int i = 0; i < n; i++)
	{
		bool found;
		Place *place = hash_search(places, &item_ids[i], HASH_ENTER, &found);

		if (!found)
			place->first = i;
		first[i] = place->first;
	}
	return places;
}

static void
add_column(const BrPgCatalog *catalog, const char *column, HTAB *places, char **item_ids, int n,
		   char **texts)
{
	uint64 found = br_pg_catalog_select_visible(catalog, catalog->items, catalog->item_id, column,
												item_ids, n);

	for (uint64 row = 0; row < found; row++)
	{
		char *id = br_pg_column_text(row, 1);
		char *text = br_pg_column_text(row, 2);
		const Place *place = id == NULL ? NULL : hash_search(places, &id, HASH_FIND, NULL);

		/* in a database of another encoding a text may not be what it seems */
		if (place == NULL || text == NULL ||
			!pg_verify_mbstr(PG_UTF8, text, (int) strlen(text), true))
			continue;
		texts[place->first] =
			texts[place->first][0] == '\0' ? text : psprintf("%s %s", texts[place->first], text);
	}
	SPI_freetuptable(SPI_tuptable);
}

char **
br_pg_source_texts(const BrPgCatalog *catalog, char **item_ids, int n)
{
	char **texts = palloc(sizeof(char *) * Max(n, 1));
	int *first = palloc(sizeof(int) * Max(n, 1));
	HTAB *places = index_places(item_ids, n, first);

	for (int i = 0; i < n; i++)
		texts[i] = "";
	/* a column that was dropped says nothing; a warning has said so */
	for (int c = 0; c < catalog->n_text && n > 0; c++)
		if (get_attnum(catalog->items, catalog->text[c]) != InvalidAttrNumber)
			add_column(catalog, catalog->text[c], places, item_ids, n, texts);
	for (int i = 0; i < n; i++)
		texts[i] = texts[first[i]];
	hash_destroy(places);
	pfree(first);
	return texts;
}
