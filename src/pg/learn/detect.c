/*
 * detect.c
 *	  The bundles within a session.
 *
 * Only what the session holds is read: its texts from the source as the caller
 * sees it, its embeddings and how often two of it were bought together from the
 * catalog.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "pg/embedding.h"
#include "pg/learn/detect.h"
#include "pg/learn/sessions.h"

typedef struct Session
{
	const BrPgCatalog *catalog;
	int n;
	char **item_ids;
	int32 *items;
	int64 *baskets; /* (n): that hold it */
	BrPgPairItem *seen;
	bool embedded; /* whether any item has an embedding */
	float *features;
} Session;

/* ---- what is read ---- */

static const float *
unit_vector(const BrEmbedding *embedding)
{
	float *vector = palloc(sizeof(float) * embedding->dims);

	br_pg_embedding_direction(embedding, vector);
	return vector;
}

static void
take_item(Session *session, uint64 row)
{
	int at = session->n++;
	bool is_null;
	Datum value = br_pg_column(row, 2, &is_null);

	session->item_ids[at] = br_pg_column_text(row, 1);
	if (is_null)
		br_pg_catalog_refuse_item(session->catalog, session->item_ids[at]);
	session->items[at] = DatumGetInt32(value);
	session->seen[at].category = br_pg_column_text(row, 3);
	session->baskets[at] = DatumGetInt64(br_pg_column(row, 4, &is_null));
	value = br_pg_column(row, 5, &is_null);
	if (is_null)
		return;
	session->seen[at].embedding = unit_vector(DatumGetEmbedding(value));
	session->seen[at].dims = DatumGetEmbedding(value)->dims;
	session->embedded = true;
}

/* each item once, in the order of the session */
static void
read_items(Session *session, char **item_ids, int n)
{
	static const Oid types[] = {TEXTARRAYOID};
	Datum values[] = {br_pg_text_array_datum(item_ids, n)};
	char **texts;
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT u.item_id, i.item, i.category, COALESCE(c.baskets, 0),"
										" i.embedding FROM (SELECT x.id COLLATE \"C\" AS item_id,"
										"  pg_catalog.min(x.place) AS place"
										"  FROM pg_catalog.unnest($1) WITH ORDINALITY AS x(id, place)"
										"  GROUP BY 1) u"
										" LEFT JOIN bundle_rec.item_@ i USING (item_id)"
										" LEFT JOIN bundle_rec.item_count_@ c USING (item)"
										" ORDER BY u.place",
										session->catalog->number),
					  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	session->item_ids = palloc(sizeof(char *) * Max(found, 1));
	session->items = palloc(sizeof(int32) * Max(found, 1));
	session->baskets = palloc(sizeof(int64) * Max(found, 1));
	session->seen = palloc0(sizeof(BrPgPairItem) * Max(found, 1));
	for (uint64 row = 0; row < found; row++)
		take_item(session, row);
	SPI_freetuptable(SPI_tuptable);
	br_pg_catalog_require_visible(session->catalog, session->item_ids, session->n);
	texts = br_pg_source_texts(session->catalog, session->item_ids, session->n);
	for (int i = 0; i < session->n; i++)
		session->seen[i].text = texts[i];
}

static int
place_of(const Session *session, int32 item)
{
	int at = 0;

	while (session->items[at] != item)
		at++;
	return at;
}

static void
read_purchases(Session *session)
{
	static const Oid types[] = {INT4ARRAYOID};
	Datum values[] = {br_pg_int4_array(session->items, session->n)};
	BrPgRights rights;
	uint64 found;

	br_pg_enter_owner(&rights);
	found =
		br_pg_execute(br_pg_catalog_sql("SELECT item, other, together FROM bundle_rec.item_pair_@"
										" WHERE item = ANY ($1) AND other = ANY ($1)",
										session->catalog->number),
					  1, types, values, NULL, true, 0);
	br_pg_leave(&rights);
	for (uint64 row = 0; row < found; row++)
	{
		bool is_null;
		int a = place_of(session, DatumGetInt32(br_pg_column(row, 1, &is_null)));
		int b = place_of(session, DatumGetInt32(br_pg_column(row, 2, &is_null)));
		int64 together = DatumGetInt64(br_pg_column(row, 3, &is_null));

		session->features[(a * session->n + b) * BR_PAIR_COUNT + BR_PAIR_COPURCHASE] =
			(float) sqrt(br_bundle_shrunk_cosine(together, session->baskets[a], session->baskets[b],
												 BR_BUNDLE_SHRINKAGE));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* the one in service, or fixed weights */
static void
read_detector(const Session *session, BrDetector *detector)
{
	static const Oid types[] = {INT4OID, TEXTOID};
	Datum values[] = {Int32GetDatum(session->catalog->number),
					  CStringGetTextDatum(br_pg_fit_kind_name(BR_PG_KIND_DETECTOR))};
	const double *weights = NULL;
	BrPgRights rights;
	uint64 found;
	int n = 0;

	br_pg_enter_owner(&rights);
	found = br_pg_execute("SELECT weights FROM bundle_rec.learned_version WHERE catalog = $1"
						  " AND kind = $2 AND serving",
						  lengthof(types), types, values, NULL, true, 0);
	br_pg_leave(&rights);
	if (found > 0)
		weights = br_pg_column_elements(0, 1, &n);
	/* one of another version of the library weighs other features */
	if (n == BR_PG_DETECTOR_WEIGHTS)
		br_pg_detector_read(weights, detector);
	else
		*detector =
			session->embedded ? br_bundle_fixed_detector : br_bundle_fixed_detector_of_words;
	SPI_freetuptable(SPI_tuptable);
}

/* ---- what is found ---- */

static BrPgFound *
name_sets(const Session *session, const BrDetector *detector, const BrSessionSets *sets, int *n)
{
	double *scores = palloc(sizeof(double) * Max(sets->n, 1));
	int *chosen = palloc(sizeof(int) * Max(sets->n, 1));
	BrPgFound *found;

	br_bundle_detect_scores(detector, sets, scores);
	*n = br_bundle_detect_choose(scores, sets->n, detector->threshold, chosen);
	found = palloc(sizeof(BrPgFound) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		const int *members = sets->members + sets->starts[chosen[i]];

		found[i].n = sets->starts[chosen[i] + 1] - sets->starts[chosen[i]];
		found[i].score = scores[chosen[i]];
		found[i].item_ids = palloc(sizeof(char *) * found[i].n);
		for (int j = 0; j < found[i].n; j++)
			found[i].item_ids[j] = session->item_ids[members[j]];
	}
	return found;
}

BrPgFound *
br_pg_detect_bundles(const BrPgCatalog *catalog, char **item_ids, int n_ids, int *n)
{
	Session session = {.catalog = catalog};
	BrDetector detector;
	double *probability;
	BrSessionSets sets;
	BrContext context;

	if (n_ids > BR_BUNDLE_MAX_SESSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"items\" names %d items, more than the %d of a session", n_ids,
						BR_BUNDLE_MAX_SESSION)));
	*n = 0;
	read_items(&session, item_ids, n_ids);
	if (session.n < 2)
		return NULL;
	session.features = palloc(sizeof(float) * BR_PAIR_COUNT * session.n * session.n);
	probability = palloc(sizeof(double) * session.n * session.n);
	br_pg_pair_features(session.seen, session.n, session.features);
	read_purchases(&session);
	read_detector(&session, &detector);
	br_bundle_detect_pairs(&detector, session.features, session.n, probability);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_detect_sets(&context, probability, session.n, &sets), &context,
				"could not propose sets of a session", NULL);
	return name_sets(&session, &detector, &sets, n);
}
