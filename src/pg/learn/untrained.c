/*
 * untrained.c
 *	  What items looked like before the catalog's model was trained.
 *
 * A model that was trained on a shop's bundles knows them: of these its embeddings
 * say more than they will of any that come. A ranker or a detector that weighed
 * them by bundles the model has seen would trust them too far. It asks about the
 * embeddings of the model that the training began with; what they say of a bundle
 * the trained ones say as well, or better, for then the weight is only too careful.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/embedding.h"
#include "pg/learn/learn_int.h"
#include "pg/model/lineage.h"
#include "pg/model/model.h"

#define TEXTS_AT_ONCE 256

/* Items that have an embedding now and a text, and rows for those of the other model. */
typedef struct Untrained
{
	const BrPgLearnData *data;
	int32 model;
	float *rows; /* (n_items, dims), 0 at first */
	char **texts;
	int *index; /* of the texts' items */
	int n;		/* texts that wait */
} Untrained;

static bool
has_embedding(const BrPgLearnData *data, int item)
{
	const float *row = data->embeddings + (Size) item * data->dims;

	for (int i = 0; i < data->dims; i++)
		if (row[i] != 0)
			return true;
	return false;
}

static void
embed_waiting(Untrained *untrained)
{
	int dims = untrained->data->dims;
	float *embeddings = palloc(sizeof(float) * Max(untrained->n, 1) * dims);

	if (untrained->n > 0)
		(void) br_pg_model_embed(untrained->model, untrained->texts, untrained->n, false, NULL,
								 embeddings);
	for (int i = 0; i < untrained->n; i++)
	{
		/* rounded to halves, as what the catalog holds is */
		BrEmbedding *embedding = br_pg_embedding_from_floats(embeddings + (Size) i * dims, dims);

		br_pg_embedding_direction(embedding, untrained->rows + (Size) untrained->index[i] * dims);
		pfree(embedding);
	}
	pfree(embeddings);
	untrained->n = 0;
}

const float *
br_pg_untrained_embeddings(const BrPgLearnData *data)
{
	int32 served = data->catalog->model;
	Untrained untrained = {.data = data};

	if (data->embeddings == NULL || data->n_items > BR_PG_MOST_COMPARED)
		return NULL;
	untrained.model = br_pg_model_before_training(served);
	if (untrained.model == served || untrained.model == 0 ||
		br_encoder_info(br_pg_model_encoder(untrained.model))->dimensions != data->dims)
		return NULL;
	untrained.rows =
		MemoryContextAllocExtended(data->memory, sizeof(float) * (Size) data->n_items * data->dims,
								   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	untrained.texts = palloc(sizeof(char *) * TEXTS_AT_ONCE);
	untrained.index = palloc(sizeof(int) * TEXTS_AT_ONCE);
	for (int i = 0; i < data->n_items; i++)
	{
		if (data->items[i].text == NULL || !has_embedding(data, i))
			continue;
		untrained.texts[untrained.n] = data->items[i].text;
		untrained.index[untrained.n++] = i;
		if (untrained.n == TEXTS_AT_ONCE)
			embed_waiting(&untrained);
	}
	embed_waiting(&untrained);
	pfree(untrained.texts);
	pfree(untrained.index);
	return untrained.rows;
}
