/*
 * looks.c
 *	  What items look like: the words of their texts, and which embeddings are
 *	  near. Nothing of a user is in it, so all parts of a split may know it.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/backends.h"
#include "pg/learn/kinds.h"
#include "pg/learn/texts.h"

/* nearest items that count */
#define DEPTH 200
/* rows whose products are taken together */
#define ROWS 128

struct BrPgLooks
{
	const BrPgLearnData *data;
	const float *embeddings; /* (n_items, dims); NULL: none */
	BrPgLooks *untrained;	 /* NULL: not asked for yet */
	bool has_content;
	BrLists content;
	bool has_words;
	bool any_text;
	BrSparse words;
	BrSparse phrases;
	BrSparse parts;
};

BrPgLooks *
br_pg_looks_create(const BrPgLearnData *data)
{
	BrPgLooks *looks = MemoryContextAllocZero(data->memory, sizeof(BrPgLooks));

	looks->data = data;
	looks->embeddings = data->embeddings;
	return looks;
}

BrPgLooks *
br_pg_looks_untrained(BrPgLooks *looks)
{
	const float *embeddings;

	if (looks->untrained != NULL)
		return looks->untrained;
	looks->untrained = looks;
	embeddings = br_pg_untrained_embeddings(looks->data);
	if (embeddings != NULL)
	{
		/* of which only the embeddings are others */
		(void) br_pg_looks_words(looks);
		looks->untrained = MemoryContextAlloc(looks->data->memory, sizeof(BrPgLooks));
		*looks->untrained = *looks;
		looks->untrained->embeddings = embeddings;
		looks->untrained->untrained = looks->untrained;
		looks->untrained->has_content = false;
	}
	return looks->untrained;
}

const float *
br_pg_looks_embeddings(const BrPgLooks *looks)
{
	return looks->embeddings;
}

/* a library that has products in double, where one can be loaded */
const BrBackend *
br_pg_learning_backend(void)
{
	BrPgBackendStatus list[BR_PG_N_BACKENDS];
	const BrBackend *session = br_pg_session_backend();

	if (session->multiply_transposed_double != NULL)
		return session;
	br_pg_list_backends(list);
	for (int i = BR_PG_N_BACKENDS - 1; i >= 0; i--)
		if (list[i].table != NULL && list[i].table->multiply_transposed_double != NULL)
			return list[i].table;
	return br_math_portable_backend();
}

/* ---- embeddings ---- */

static void
compare_all(BrPgLooks *looks)
{
	const BrPgLearnData *data = looks->data;
	const BrBackend *backend = br_pg_session_backend();
	float *products =
		palloc_extended(sizeof(float) * ROWS * (Size) Max(data->n_items, 1), MCXT_ALLOC_HUGE);
	BrListBuilder *builder;
	BrContext context;
	BrStatus status;

	br_pg_context(&context, data->memory);
	status = br_learn_lists_begin(&context, data->n_items, DEPTH, &builder);
	for (int first = 0; status == BR_OK && first < data->n_items; first += ROWS)
	{
		int rows = Min(ROWS, data->n_items - first);

		CHECK_FOR_INTERRUPTS();
		backend->multiply_transposed(looks->embeddings + (Size) first * data->dims,
									 looks->embeddings, rows, data->n_items, data->dims, products);
		for (int i = 0; status == BR_OK && i < rows; i++)
			status = br_learn_lists_add(builder, products + (Size) i * data->n_items, data->n_items,
										first + i, 0);
	}
	if (status == BR_OK)
		status = br_learn_lists_end(builder, &looks->content);
	br_pg_check(status, &context, "could not compare embeddings", NULL);
	pfree(products);
}

/* the lists that refresh keeps */
static void
read_neighbours(BrPgLooks *looks)
{
	const BrPgLearnData *data = looks->data;
	int room = 1024;
	int32_t *ids = palloc(sizeof(int32_t) * room);
	float *weights = palloc(sizeof(float) * room);
	int next = 0;
	Portal portal = br_pg_open_latest(
		br_pg_catalog_sql("SELECT item, neighbours, similarity FROM bundle_rec.item_neighbour_@ ORDER BY item",
						  data->catalog->number));
	BrListBuilder *builder;
	BrContext context;
	BrStatus status;

	br_pg_context(&context, data->memory);
	status = br_learn_lists_begin(&context, data->n_items, DEPTH, &builder);
	while (br_pg_fetch(portal))
	{
		for (uint64 row = 0; row < SPI_processed && status == BR_OK; row++)
		{
			bool is_null;
			int index = br_pg_learn_item_index(data, DatumGetInt32(br_pg_column(row, 1, &is_null)));
			int n, n_weights, kept = 0;
			const int32 *others = br_pg_column_elements(row, 2, &n);
			const float *similarity = br_pg_column_elements(row, 3, &n_weights);

			for (int i = 0; index >= 0 && i < Min(Min(n, n_weights), room); i++)
			{
				ids[kept] = br_pg_learn_item_index(data, others[i]);
				weights[kept] = similarity[i];
				kept += ids[kept] >= 0;
			}
			for (; index >= 0 && next < index && status == BR_OK; next++)
				status = br_learn_lists_add_some(builder, ids, weights, 0, -1, 0);
			if (index >= 0 && status == BR_OK)
				status = br_learn_lists_add_some(builder, ids, weights, kept, index, 0), next++;
		}
		SPI_freetuptable(SPI_tuptable);
	}
	if (status == BR_OK)
		status = br_learn_lists_end(builder, &looks->content);
	br_pg_check(status, &context, "could not read the nearest items", NULL);
}

const BrLists *
br_pg_looks_content(BrPgLooks *looks)
{
	if (!looks->has_content && looks->embeddings != NULL)
	{
		if (looks->data->n_items <= BR_PG_MOST_COMPARED)
			compare_all(looks);
		else
			read_neighbours(looks);
	}
	looks->has_content = true;
	return &looks->content;
}

/* ---- words ---- */

static void
read_words(BrPgLooks *looks)
{
	const BrPgLearnData *data = looks->data;
	MemoryContext outer = MemoryContextSwitchTo(data->memory);
	BrText *texts = br_pg_training_texts(data);
	BrWordOptions single = {0}, paired = {.pairs = true};
	BrVocabulary *words, *phrases, *parts;
	BrContext context;
	BrStatus status;

	for (int i = 0; i < data->n_items; i++)
		looks->any_text = looks->any_text || texts[i].size > 0;
	br_pg_context(&context, data->memory);
	status = br_learn_vocabulary_create(&context, &words);
	if (status == BR_OK)
		status = br_learn_vocabulary_create(&context, &phrases);
	if (status == BR_OK)
		status = br_learn_vocabulary_create(&context, &parts);
	if (status == BR_OK)
		status = br_learn_words(&context, texts, data->n_items, words, &single, &looks->words);
	if (status == BR_OK)
		status = br_learn_words(&context, texts, data->n_items, phrases, &paired, &looks->phrases);
	if (status == BR_OK)
		status = br_learn_word_parts(&context, texts, data->n_items, parts, NULL, &looks->parts);
	br_pg_check(status, &context, "could not read the words of texts", NULL);
	br_learn_vocabulary_free(&context, words);
	br_learn_vocabulary_free(&context, phrases);
	br_learn_vocabulary_free(&context, parts);
	MemoryContextSwitchTo(outer);
}

const BrSparse *
br_pg_looks_words(BrPgLooks *looks)
{
	if (!looks->has_words)
		read_words(looks);
	looks->has_words = true;
	return looks->any_text ? &looks->words : NULL;
}

const BrSparse *
br_pg_looks_phrases(BrPgLooks *looks)
{
	return br_pg_looks_words(looks) != NULL ? &looks->phrases : NULL;
}

const BrSparse *
br_pg_looks_parts(BrPgLooks *looks)
{
	return br_pg_looks_words(looks) != NULL ? &looks->parts : NULL;
}
