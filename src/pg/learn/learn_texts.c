/*
 * learn_texts.c
 *	  What reads texts: words that tell what belongs together, and bundles that
 *	  are alike.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/kinds.h"
#include "pg/learn/texts.h"

#define TF_IDF_DEPTH 500

static const char no_texts[] = "The catalog has no text columns, or all texts are empty.";

BrText
br_pg_read_text(const char *text)
{
	/* in a database of another encoding a text may not be what it seems */
	if (text == NULL || !pg_verify_mbstr(PG_UTF8, text, (int) strlen(text), true))
		text = "";
	return (BrText){text, strlen(text)};
}

BrText *
br_pg_training_texts(const BrPgLearnData *data)
{
	BrText *texts = palloc_extended(sizeof(BrText) * Max(data->n_items, 1), MCXT_ALLOC_HUGE);

	for (int i = 0; i < data->n_items; i++)
		texts[i] = br_pg_read_text(data->items[i].text);
	return texts;
}

/* ---- words that were learned ---- */

/* texts by terms, each present one weighing `weights`, rows of length 1 */
static BrSparse
weighted(const BrSparse *terms, const float *weights)
{
	int64 n = terms->starts[terms->rows];
	BrSparse weighted = *terms;

	weighted.values = palloc_extended(sizeof(float) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int row = 0; row < terms->rows; row++)
	{
		double square = 0;

		for (int64 i = terms->starts[row]; i < terms->starts[row + 1]; i++)
			square += (double) weights[terms->ids[i]] * weights[terms->ids[i]];
		for (int64 i = terms->starts[row]; i < terms->starts[row + 1]; i++)
			weighted.values[i] = square > 0 ? (float) (weights[terms->ids[i]] / sqrt(square)) : 0;
	}
	return weighted;
}

/* both matrices side by side, at the roots of their shares: products are blends of cosines */
static BrSparse
side_by_side(const BrSparse *left, double left_share, const BrSparse *right, double right_share)
{
	int64 n = left->starts[left->rows] + right->starts[right->rows];
	float left_scale = (float) sqrt(left_share), right_scale = (float) sqrt(right_share);
	BrSparse both = {.rows = left->rows, .columns = left->columns + right->columns};
	int64 at = 0;

	both.starts = palloc_extended(sizeof(int64_t) * ((Size) left->rows + 1), MCXT_ALLOC_HUGE);
	both.ids = palloc_extended(sizeof(int32_t) * Max(n, 1), MCXT_ALLOC_HUGE);
	both.values = palloc_extended(sizeof(float) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int row = 0; row < left->rows; row++)
	{
		both.starts[row] = at;
		for (int64 i = left->starts[row]; left_scale > 0 && i < left->starts[row + 1]; i++)
		{
			both.ids[at] = left->ids[i];
			both.values[at++] = left->values[i] * left_scale;
		}
		for (int64 i = right->starts[row]; right_scale > 0 && i < right->starts[row + 1]; i++)
		{
			both.ids[at] = left->columns + right->ids[i];
			both.values[at++] = right->values[i] * right_scale;
		}
	}
	both.starts[left->rows] = at;
	return both;
}

static BrSparse
learn_terms(const BrSparse *terms, const BrSparse *sets, double shrinkage)
{
	float *weights = palloc_extended(sizeof(float) * Max(terms->columns, 1), MCXT_ALLOC_HUGE);
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_term_weights(&context, terms, sets, shrinkage, weights), &context,
				"could not learn what words tell", NULL);
	return weighted(terms, weights);
}

static void
list_alike(const BrSparse *rows, int depth, BrLists *lists)
{
	BrLexicalSearch search = {.depth = depth,
							  .least = 0,
							  .same = true,
							  .progress = br_pg_progress_report()};
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_lexical_lists(&context, rows, rows, &search, lists), &context,
				"could not compare texts", NULL);
}

const char *
br_pg_fit_lexical(BrPgTraining *training, BrPgLearned *learned)
{
	const BrSparse *words = br_pg_training_phrases(training);
	const BrSparse *parts = br_pg_training_word_parts(training);
	const BrSparse *sets = br_pg_training_sets(training);
	double share = learned->parameters[BR_PG_LEXICAL_PARTS];
	double shrinkage = learned->parameters[BR_PG_LEXICAL_SHRINKAGE];
	BrSparse both, of_words, of_parts;

	if (words == NULL)
		return no_texts;
	of_words = learn_terms(words, sets, shrinkage);
	of_parts = learn_terms(parts, sets, shrinkage);
	both = side_by_side(&of_words, 1 - share, &of_parts, share);
	br_pg_add_figure(learned, "phrases", words->columns);
	br_pg_add_figure(learned, "parts", parts->columns);
	list_alike(&both, (int) learned->parameters[BR_PG_LEXICAL_DEPTH], &learned->lists);
	return NULL;
}

/* ---- TF-IDF ---- */

static void
tf_idf(const BrSparse *counts, BrSparse *weights)
{
	BrLexicalOptions options = {.measure = BR_LEXICAL_TFIDF};
	float *idf = palloc_extended(sizeof(float) * Max(counts->columns, 1), MCXT_ALLOC_HUGE);
	BrContext context;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	status = br_learn_lexical_idf(&context, counts, BR_LEXICAL_TFIDF, idf);
	if (status == BR_OK)
		status = br_learn_lexical_weights(&context, counts, idf, &options, weights);
	br_pg_check(status, &context, "could not weigh words", NULL);
	pfree(idf);
}

bool
br_pg_tf_idf_words(BrPgTraining *training, BrSparse *weights)
{
	const BrSparse *words = br_pg_training_words(training);

	if (words == NULL)
		return false;
	tf_idf(words, weights);
	return true;
}

void
br_pg_tf_idf_lists(BrPgTraining *training, BrLists *lists)
{
	BrSparse weights;

	*lists = (BrLists){0};
	if (!br_pg_tf_idf_words(training, &weights))
		return;
	list_alike(&weights, TF_IDF_DEPTH, lists);
}

/* ---- bundles ---- */

static void
scale_rows(BrSparse *matrix)
{
	for (int row = 0; row < matrix->rows; row++)
	{
		double square = 0;

		for (int64 i = matrix->starts[row]; i < matrix->starts[row + 1]; i++)
			square += (double) matrix->values[i] * matrix->values[i];
		for (int64 i = matrix->starts[row]; square > 0 && i < matrix->starts[row + 1]; i++)
			matrix->values[i] = (float) (matrix->values[i] / sqrt(square));
	}
}

void
br_pg_bundle_words(BrPgTraining *training, BrSparse *result)
{
	const BrSparse *bundles = &training->data->bundle_items;
	const BrSparse *counts = br_pg_training_words(training);
	BrEntry *entries;
	BrSparse words;
	BrContext context;
	int64 n = 0;

	tf_idf(counts, &words);
	for (int64 i = 0; i < bundles->starts[bundles->rows]; i++)
		n += words.starts[bundles->ids[i] + 1] - words.starts[bundles->ids[i]];
	entries = palloc_extended(sizeof(BrEntry) * Max(n, 1), MCXT_ALLOC_HUGE);
	n = 0;
	for (int b = 0; b < bundles->rows; b++)
		for (int64 i = bundles->starts[b]; i < bundles->starts[b + 1]; i++)
			for (int64 t = words.starts[bundles->ids[i]]; t < words.starts[bundles->ids[i] + 1];
				 t++)
				entries[n++] = (BrEntry){b, words.ids[t], words.values[t]};
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_sparse_build(&context, entries, n, bundles->rows, words.columns, result),
				&context, "could not arrange what bundles say", NULL);
	scale_rows(result);
	pfree(entries);
}

/* An entry of a list. */
typedef struct Entry
{
	int32_t id;
	float weight;
} Entry;

/* the strongest first, ties by number */
static int
compare_entries(const void *left, const void *right)
{
	const Entry *a = left;
	const Entry *b = right;

	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static void
sort_list(BrLists *lists, int list, Entry *entries)
{
	int64 first = lists->starts[list];
	int n = (int) (lists->starts[list + 1] - first);

	for (int i = 0; i < n; i++)
		entries[i] = (Entry){lists->ids[first + i], lists->weights[first + i]};
	qsort(entries, n, sizeof(Entry), compare_entries);
	for (int i = 0; i < n; i++)
	{
		lists->ids[first + i] = entries[i].id;
		lists->weights[first + i] = entries[i].weight;
	}
}

/*
 * Squares sharpen: a bundle that is twice as alike counts four times. And what
 * everybody has tells little about a like of it: it counts less by the root of
 * its purchases.
 */
static void
sharpen(BrPgTraining *training, BrLists *lists, int depth)
{
	const BrSparse *bought = br_pg_training_user_bundles(training);
	int32 *purchases = palloc0(sizeof(int32) * Max(bought->columns, 1));
	Entry *entries = palloc(sizeof(Entry) * depth);

	for (int64 i = 0; i < bought->starts[bought->rows]; i++)
		purchases[bought->ids[i]]++;
	for (int64 i = 0; i < lists->starts[lists->n]; i++)
		lists->weights[i] *= lists->weights[i] / (float) sqrt(1.0 + purchases[lists->ids[i]]);
	for (int i = 0; i < lists->n; i++)
		sort_list(lists, i, entries);
	pfree(entries);
	pfree(purchases);
}

const char *
br_pg_fit_bundle_likeness(BrPgTraining *training, BrPgLearned *learned)
{
	const BrPgLearnData *data = training->data;
	double share = learned->parameters[BR_PG_LIKENESS_WORDS];
	int depth = (int) learned->parameters[BR_PG_LIKENESS_DEPTH];
	BrSparse items = data->bundle_items, words, both;
	int64 n = items.starts[items.rows];

	if (data->n_bundles < 2)
		return "There are fewer than two curated bundles.";
	items.values = palloc_extended(sizeof(float) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
		items.values[i] = 1;
	scale_rows(&items);
	if (br_pg_training_words(training) != NULL)
		br_pg_bundle_words(training, &words);
	else
	{
		words = items;
		share = 0;
	}
	both = side_by_side(&items, 1 - share, &words, share);
	learned->of_bundles = true;
	list_alike(&both, depth, &learned->lists);
	sharpen(training, &learned->lists, depth);
	return NULL;
}

/* ---- profiles ---- */

struct BrPgProfiles
{
	BrSparse bundles; /* (n_bundles, terms), rows of length 1 */
	float *profile;	  /* (terms), all 0 between calls */
};

BrPgProfiles *
br_pg_profiles_create(BrPgTraining *training)
{
	BrPgProfiles *profiles;

	if (br_pg_training_words(training) == NULL)
		return NULL;
	profiles = palloc0(sizeof(BrPgProfiles));
	br_pg_bundle_words(training, &profiles->bundles);
	profiles->profile = palloc_extended(sizeof(float) * Max(profiles->bundles.columns, 1),
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	return profiles;
}

/* the length of the profile is the same for all bundles */
void
br_pg_profile_scores(const BrPgProfiles *profiles, const int32_t *owned, int n, float *scores)
{
	const BrSparse *bundles = &profiles->bundles;

	for (int c = 0; c < n; c++)
		for (int64 i = bundles->starts[owned[c]]; i < bundles->starts[owned[c] + 1]; i++)
			profiles->profile[bundles->ids[i]] += bundles->values[i];
	for (int b = 0; b < bundles->rows; b++)
	{
		double sum = 0;

		for (int64 i = bundles->starts[b]; i < bundles->starts[b + 1]; i++)
			sum += (double) bundles->values[i] * profiles->profile[bundles->ids[i]];
		scores[b] = (float) sum;
	}
	for (int c = 0; c < n; c++)
		for (int64 i = bundles->starts[owned[c]]; i < bundles->starts[owned[c] + 1]; i++)
			profiles->profile[bundles->ids[i]] = 0;
}
