/*
 * pairs.c
 *	  What speaks for two items of a session belonging together.
 *
 * Words are weighed by how few of the session's items have them, not of all
 * items: what all of a session have in common parts none of them from another,
 * and a session can be judged without reading the catalog. On labelled sessions
 * of electronics it is worth as much as the idf of the catalog.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/sessions.h"
#include "pg/learn/texts.h"

/* what parts the steps of a category's path */
#define SEPARATORS ",;|/>"
#define MOST_STEPS 16

static float *
pair_of(float *features, int n, int i, int j)
{
	return features + ((Size) i * n + j) * BR_PAIR_COUNT;
}

static void
set_both(float *features, int n, int i, int j, BrPairFeature feature, double value)
{
	pair_of(features, n, i, j)[feature] = pair_of(features, n, j, i)[feature] = (float) value;
}

/* ---- words ---- */

static void
compare_words(const BrPgPairItem *items, int n, float *features)
{
	BrText *texts = palloc(sizeof(BrText) * n);
	BrWordOptions words = {0};
	BrLexicalOptions options = {.measure = BR_LEXICAL_TFIDF};
	BrVocabulary *vocabulary;
	BrSparse counts, weights;
	BrContext context;
	BrStatus status;
	float *idf;

	for (int i = 0; i < n; i++)
		texts[i] = br_pg_read_text(items[i].text);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_vocabulary_create(&context, &vocabulary), &context,
				"could not read the words of a session", NULL);
	status = br_learn_words(&context, texts, n, vocabulary, &words, &counts);
	br_pg_check(status, &context, "could not read the words of a session", NULL);
	idf = palloc_extended(sizeof(float) * Max(counts.columns, 1), MCXT_ALLOC_HUGE);
	status = br_learn_lexical_idf(&context, &counts, BR_LEXICAL_TFIDF, idf);
	if (status == BR_OK)
		status = br_learn_lexical_weights(&context, &counts, idf, &options, &weights);
	br_pg_check(status, &context, "could not weigh the words of a session", NULL);
	for (int i = 0; i < n; i++)
		for (int j = i + 1; j < n; j++)
			set_both(features, n, i, j, BR_PAIR_WORDS, br_learn_sparse_product(&weights, i, j));
}

/* ---- embeddings ---- */

static void
compare_embeddings(const BrPgPairItem *items, int n, float *features)
{
	for (int i = 0; i < n; i++)
		for (int j = i + 1; j < n; j++)
		{
			double sum = 0;

			/* one of an earlier model waits for refresh */
			if (items[i].embedding == NULL || items[j].embedding == NULL ||
				items[i].dims != items[j].dims)
				continue;
			for (int d = 0; d < items[i].dims; d++)
				sum += (double) items[i].embedding[d] * items[j].embedding[d];
			set_both(features, n, i, j, BR_PAIR_CONTENT, sum);
		}
}

/* ---- categories ---- */

/* A category as steps from the general to the particular, such as "Garden > Tools". */
typedef struct Path
{
	int n;
	BrText steps[MOST_STEPS];
} Path;

static Path
read_path(const char *category)
{
	Path path = {0};

	while (category != NULL && *category != '\0' && path.n < MOST_STEPS)
	{
		size_t size = strcspn(category, SEPARATORS);
		const char *first = category + strspn(category, " \t");
		const char *last = category + size;

		while (last > first && (last[-1] == ' ' || last[-1] == '\t'))
			last--;
		if (last > first)
			path.steps[path.n++] = (BrText){first, (size_t) (last - first)};
		category += size + (category[size] != '\0');
	}
	return path;
}

/* twice the steps that both begin with, over those of both */
static double
path_likeness(const Path *left, const Path *right)
{
	int same = 0;

	while (same < left->n && same < right->n && left->steps[same].size == right->steps[same].size &&
		   memcmp(left->steps[same].bytes, right->steps[same].bytes, left->steps[same].size) == 0)
		same++;
	return left->n + right->n > 0 ? 2.0 * same / (left->n + right->n) : 0;
}

static void
compare_categories(const BrPgPairItem *items, int n, float *features)
{
	Path *paths = palloc(sizeof(Path) * n);

	for (int i = 0; i < n; i++)
		paths[i] = read_path(items[i].category);
	for (int i = 0; i < n; i++)
		for (int j = i + 1; j < n; j++)
			set_both(features, n, i, j, BR_PAIR_CATEGORY, path_likeness(&paths[i], &paths[j]));
}

void
br_pg_pair_features(const BrPgPairItem *items, int n, float *features)
{
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "session", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(memory);

	memset(features, 0, sizeof(float) * BR_PAIR_COUNT * (Size) n * n);
	compare_words(items, n, features);
	compare_embeddings(items, n, features);
	compare_categories(items, n, features);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(memory);
}

/* ---- purchases ---- */

typedef struct PairKey
{
	int32 low;
	int32 high;
} PairKey;

typedef struct PairCount
{
	PairKey key;
	int64 together;
} PairCount;

struct BrPgPurchases
{
	BrSparse baskets; /* (n_baskets, n_items): what was bought item by item, as refresh counts it */
	int64 *bought;	  /* (n_items): baskets */
	HTAB *pairs;	  /* PairCount, of pairs that stand in a session */
};

static PairKey
key_of(int32 a, int32 b)
{
	return (PairKey){Min(a, b), Max(a, b)};
}

static void
read_baskets(const BrPgLearnData *data, const bool *use, BrSparse *baskets)
{
	BrEntry *entries = palloc_extended(sizeof(BrEntry) * Max(data->n_events, 1), MCXT_ALLOC_HUGE);
	BrContext context;
	int64 n = 0;

	for (int64 i = 0; i < data->n_events; i++)
	{
		const BrPgLearnEvent *event = &data->events[i];

		if ((use == NULL || use[i]) && event->item >= 0 && event->basket >= 0)
			entries[n++] = (BrEntry){event->basket, event->item, event->bought};
	}
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_sparse_build(&context, entries, n, data->n_baskets, data->n_items,
									  baskets),
				&context, "could not arrange what was bought", NULL);
	pfree(entries);
}

static void
count_row(BrPgPurchases *purchases, const bool *wanted, int row)
{
	const int32_t *ids = purchases->baskets.ids + purchases->baskets.starts[row];
	int n = (int) (purchases->baskets.starts[row + 1] - purchases->baskets.starts[row]);

	for (int i = 0; i < n; i++)
		purchases->bought[ids[i]]++;
	for (int i = 0; i < n && n <= br_pg_max_basket_items; i++)
		for (int j = i + 1; wanted[ids[i]] && j < n; j++)
		{
			PairKey key = key_of(ids[i], ids[j]);
			PairCount *pair =
				wanted[ids[j]] ? hash_search(purchases->pairs, &key, HASH_FIND, NULL) : NULL;

			if (pair != NULL)
				pair->together++;
		}
}

BrPgPurchases *
br_pg_purchases_create(const BrPgLearnData *data, const bool *use, const BrPgSession *sessions,
					   int n)
{
	HASHCTL control = {.keysize = sizeof(PairKey),
					   .entrysize = sizeof(PairCount),
					   .hcxt = CurrentMemoryContext};
	BrPgPurchases *purchases = palloc0(sizeof(BrPgPurchases));
	bool *wanted =
		palloc_extended(sizeof(bool) * Max(data->n_items, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	purchases->bought =
		palloc_extended(sizeof(int64) * Max(data->n_items, 1), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	purchases->pairs = hash_create("pairs", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	for (int s = 0; s < n; s++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < sessions[s].n; i++)
		{
			wanted[sessions[s].items[i]] = true;
			for (int j = i + 1; j < sessions[s].n; j++)
			{
				PairKey key = key_of(sessions[s].items[i], sessions[s].items[j]);
				bool found;
				PairCount *pair = hash_search(purchases->pairs, &key, HASH_ENTER, &found);

				if (!found)
					pair->together = 0;
			}
		}
	}
	read_baskets(data, use, &purchases->baskets);
	for (int row = 0; row < purchases->baskets.rows; row++)
	{
		count_row(purchases, wanted, row);
		if (row % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	pfree(wanted);
	return purchases;
}

static bool
has_bought(const BrPgPurchases *purchases, int basket, int32_t item)
{
	const BrSparse *baskets = &purchases->baskets;
	int64 low = baskets->starts[basket], high = baskets->starts[basket + 1];

	while (low < high)
	{
		int64 middle = low + (high - low) / 2;

		if (baskets->ids[middle] < item)
			low = middle + 1;
		else
			high = middle;
	}
	return low < baskets->starts[basket + 1] && baskets->ids[low] == item;
}

/* the session's own basket must not tell what belongs together in it */
static double
copurchase(const BrPgPurchases *purchases, const BrPgSession *session, int32_t a, int32_t b)
{
	PairKey key = key_of(a, b);
	const PairCount *pair = hash_search(purchases->pairs, &key, HASH_FIND, NULL);
	int64 own_a = has_bought(purchases, session->basket, a);
	int64 own_b = has_bought(purchases, session->basket, b);
	int64 together = pair == NULL ? 0 : pair->together;

	if (together > 0)
		together -= own_a && own_b;
	return br_bundle_shrunk_cosine(together, purchases->bought[a] - own_a,
								   purchases->bought[b] - own_b, BR_BUNDLE_SHRINKAGE);
}

void
br_pg_session_features(const BrPgLearnData *data, const float *embeddings,
					   const BrPgPurchases *purchases, const BrPgSession *session, float *features)
{
	BrPgPairItem *items = palloc(sizeof(BrPgPairItem) * session->n);

	for (int i = 0; i < session->n; i++)
	{
		const BrPgLearnItem *item = &data->items[session->items[i]];

		items[i] = (BrPgPairItem){
			.text = item->text,
			.category = item->category < 0 ? NULL : data->categories[item->category],
			.embedding =
				embeddings == NULL ? NULL : embeddings + (Size) session->items[i] * data->dims,
			.dims = data->dims,
		};
	}
	br_pg_pair_features(items, session->n, features);
	for (int i = 0; i < session->n; i++)
		for (int j = i + 1; j < session->n; j++)
			set_both(features, session->n, i, j, BR_PAIR_COPURCHASE,
					 sqrt(copurchase(purchases, session, session->items[i], session->items[j])));
	pfree(items);
}
