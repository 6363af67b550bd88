/*
 * names.c
 *	  Names of bundles from what their items' texts share.
 *
 * Words tell the more the fewer of the texts in question have them. Where texts
 * share nothing the categories speak: by their words, or one beside the other.
 */
#include "postgres.h"


#include "core/learn/br_learn.h"
#include "pg/learn/detect.h"
#include "pg/learn/learn_int.h"
#include "pg/learn/texts.h"

/* Words and how much they tell, of all texts that are named together. */
typedef struct Wordbook
{
	BrVocabulary *vocabulary;
	float *idf;
} Wordbook;

static Wordbook
read_words(const BrText *texts, int n)
{
	BrWordOptions options = {0};
	Wordbook book;
	BrSparse counts;
	BrContext context;
	BrStatus status;

	br_pg_context(&context, CurrentMemoryContext);
	status = br_learn_vocabulary_create(&context, &book.vocabulary);
	if (status == BR_OK)
		status = br_learn_words(&context, texts, n, book.vocabulary, &options, &counts);
	br_pg_check(status, &context, "could not read the words of texts", NULL);
	book.idf = palloc_extended(sizeof(float) * Max(counts.columns, 1), MCXT_ALLOC_HUGE);
	br_pg_check(br_learn_lexical_idf(&context, &counts, BR_LEXICAL_TFIDF, book.idf), &context,
				"could not weigh words", NULL);
	br_learn_sparse_free(&context, &counts);
	return book;
}

/* NULL: nothing shared */
static char *
shared_words(const Wordbook *book, const BrText *texts, int n)
{
	char name[BR_SHARED_WORDS_SIZE + 1];
	BrContext context;

	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_shared_words(&context, texts, n, book == NULL ? NULL : book->vocabulary,
									  book == NULL ? NULL : book->idf, name),
				&context, "could not name a bundle", NULL);
	return name[0] == '\0' ? NULL : pstrdup(name);
}

/* "Bread + Butter", each once; NULL where one is unknown or it gets too long */
static char *
join_categories(char **categories, int n)
{
	StringInfoData joined;

	initStringInfo(&joined);
	for (int i = 0; i < n; i++)
	{
		bool known = false;

		if (categories[i] == NULL)
			return NULL;
		for (int j = 0; j < i; j++)
			known = known || strcmp(categories[i], categories[j]) == 0;
		if (!known)
			appendStringInfo(&joined, "%s%s", joined.len > 0 ? " + " : "", categories[i]);
	}
	return joined.len > 0 && joined.len <= BR_SHARED_WORDS_SIZE ? joined.data : NULL;
}

static char *
name_of_categories(char **categories, int n)
{
	BrText *texts = palloc(sizeof(BrText) * n);
	char *name;

	for (int i = 0; i < n; i++)
		texts[i] = br_pg_read_text(categories[i]);
	name = shared_words(NULL, texts, n);
	return name != NULL ? name : join_categories(categories, n);
}

void
br_pg_name_bundles(const BrPgCatalog *catalog, BrPgMined *mined, int n)
{
	int n_items = 0, at = 0;
	char **item_ids, **texts;
	BrText *read;
	Wordbook book;

	for (int s = 0; s < n; s++)
		n_items += mined[s].n;
	item_ids = palloc(sizeof(char *) * Max(n_items, 1));
	read = palloc(sizeof(BrText) * Max(n_items, 1));
	for (int s = 0; s < n; s++)
		for (int i = 0; i < mined[s].n; i++)
			item_ids[at++] = mined[s].item_ids[i];
	texts = br_pg_source_texts(catalog, item_ids, n_items);
	for (int i = 0; i < n_items; i++)
		read[i] = br_pg_read_text(texts[i]);
	book = read_words(read, n_items);
	at = 0;
	for (int s = 0; s < n; s++)
	{
		mined[s].name = shared_words(&book, read + at, mined[s].n);
		if (mined[s].name == NULL)
			mined[s].name = name_of_categories(mined[s].categories, mined[s].n);
		at += mined[s].n;
	}
}
