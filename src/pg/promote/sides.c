/*
 * sides.c
 *	  What a model makes of all items of a catalog.
 *
 * Embeddings that the catalog holds of the model are taken as they are; of the
 * model in service that is nearly all of them. What is missing is embedded here and
 * kept for the gate alone: nothing that serves changes. Both sides are rounded to
 * halves, as they would be served.
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "pg/embedding.h"
#include "pg/model/model.h"
#include "pg/promote/promote_int.h"
#include "pg/refresh/refresh.h"

#define TEXTS_PER_BATCH 256
/* one text is timed so often on each side, and for so long at most */
#define TIMINGS 41
#define LONGEST_TIMING 10.0

static void
take(BrPgSide *side, int index, const BrEmbedding *embedding)
{
	br_pg_embedding_direction(embedding, side->vectors + (Size) index * side->dims);
	side->has_vector[index] = true;
}

/* ---- those that the catalog holds ---- */

static void
take_stored(BrPgSide *side, const BrPgLearnData *data)
{
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "embeddings", ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = CurrentMemoryContext;
	int n = data->catalog->number;
	Portal portal =
		br_pg_open_latest(psprintf("SELECT item, embedding FROM bundle_rec.item_%d WHERE model = %d"
								   " AND embedding IS NOT NULL AND pending_text IS NULL UNION ALL"
								   " SELECT w.item, w.embedding FROM bundle_rec.item_shadow_%d w"
								   " JOIN bundle_rec.item_%d i USING (item) WHERE w.model = %d"
								   " AND w.embedding IS NOT NULL AND w.pending_text IS NULL"
								   " AND w.text_hash = i.text_hash",
								   n, side->model, n, n, side->model));

	while (br_pg_fetch(portal))
	{
		MemoryContextSwitchTo(batch);
		for (uint64 row = 0; row < SPI_processed; row++)
		{
			bool is_null;
			int index = br_pg_learn_item_index(data, DatumGetInt32(br_pg_column(row, 1, &is_null)));
			BrEmbedding *embedding = DatumGetEmbedding(br_pg_column(row, 2, &is_null));

			if (index >= 0 && embedding->dims == side->dims)
				take(side, index, embedding);
		}
		MemoryContextSwitchTo(outer);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch);
	}
	MemoryContextDelete(batch);
}

/* ---- those that are missing ---- */

/* An item that has a text and no vector. */
typedef struct Missing
{
	int index;
	char *text;
	Size length;
} Missing;

/* short texts first: a batch of like lengths is embedded fastest; equal ones together */
static int
compare_missing(const void *left, const void *right)
{
	const Missing *a = left;
	const Missing *b = right;

	/* of millions it takes seconds */
	CHECK_FOR_INTERRUPTS();
	if (a->length != b->length)
		return a->length < b->length ? -1 : 1;
	return strcmp(a->text, b->text);
}

static Missing *
list_missing(const BrPgSide *side, const BrPgLearnData *data, int *n)
{
	Missing *missing = palloc_extended(sizeof(Missing) * Max(data->n_items, 1), MCXT_ALLOC_HUGE);

	*n = 0;
	for (int i = 0; i < data->n_items; i++)
		if (data->items[i].text != NULL && !side->has_vector[i])
			missing[(*n)++] = (Missing){i, data->items[i].text, strlen(data->items[i].text)};
	qsort(missing, *n, sizeof(Missing), compare_missing);
	return missing;
}

/* as many different texts as a batch holds, from the first on; returns how many items have them */
static int
embed_batch(BrPgSide *side, const Missing *missing, int n)
{
	BrPgTexts texts = {.model = side->model, .dims = side->dims};
	BrPgRefreshWork work = {.budget = PG_INT64_MAX};
	int *place = palloc(sizeof(int) * n);
	int used = 0;

	texts.texts = palloc(sizeof(char *) * TEXTS_PER_BATCH);
	for (; used < n; used++)
	{
		if (used == 0 || strcmp(missing[used].text, missing[used - 1].text) != 0)
		{
			if (texts.n == TEXTS_PER_BATCH)
				break;
			texts.texts[texts.n++] = missing[used].text;
		}
		place[used] = texts.n - 1;
	}
	br_pg_texts_embed(&texts, &work);
	for (int i = 0; i < used; i++)
		if (texts.embeddings[place[i]] != NULL)
			take(side, missing[i].index, texts.embeddings[place[i]]);
	return used;
}

static void
embed_missing(BrPgSide *side, const BrPgLearnData *data)
{
	MemoryContext batch =
		AllocSetContextCreate(CurrentMemoryContext, "texts", ALLOCSET_DEFAULT_SIZES);
	int n;
	Missing *missing = list_missing(side, data, &n);

	for (int first = 0; first < n;)
	{
		MemoryContext outer = MemoryContextSwitchTo(batch);

		CHECK_FOR_INTERRUPTS();
		first += embed_batch(side, missing + first, n - first);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(batch);
	}
	MemoryContextDelete(batch);
	pfree(missing);
}

void
br_pg_side_fill(BrPgSide *side, const BrPgLearnData *data)
{
	int n = Max(data->n_items, 1);
	int64 texts = 0, lacking = 0;

	/* what keeps it from working at all is no fault of a text */
	(void) br_pg_model_computing();
	side->dims = br_encoder_info(br_pg_model_encoder(side->model))->dimensions;
	side->vectors =
		palloc_extended(sizeof(float) * (Size) n * side->dims, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	side->has_vector = palloc_extended(sizeof(bool) * n, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	take_stored(side, data);
	embed_missing(side, data);
	for (int i = 0; i < data->n_items; i++)
	{
		texts += data->items[i].text != NULL;
		lacking += data->items[i].text != NULL && !side->has_vector[i];
	}
	side->unembedded = texts == 0 ? 0 : (double) lacking / (double) texts;
}

/* ---- how long one takes ---- */

static double
embed_one(const BrPgSide *side, char *text)
{
	float *components = palloc(sizeof(float) * side->dims);
	instr_time start, duration;

	INSTR_TIME_SET_CURRENT(start);
	(void) br_pg_model_embed(side->model, &text, 1, false, NULL, components);
	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, start);
	pfree(components);
	return INSTR_TIME_GET_MILLISEC(duration);
}

/* indices of items that both sides embed, spread over all; returns how many, at most TIMINGS */
static int
choose_timed(const BrPgSide sides[2], const BrPgLearnData *data, int chosen[TIMINGS])
{
	int stride = Max(1, data->n_items / TIMINGS);
	int n = 0;

	for (int i = 0; i < data->n_items && n < TIMINGS; i++)
		if (data->items[i].text != NULL && sides[0].has_vector[i] && sides[1].has_vector[i] &&
			i >= n * stride)
			chosen[n++] = i;
	return n;
}

void
br_pg_sides_time(const BrPgSide sides[2], const BrPgLearnData *data, double milliseconds[2])
{
	double times[2][TIMINGS];
	int chosen[TIMINGS];
	int n = choose_timed(sides, data, chosen);
	double total = 0;
	int timed = 0;

	milliseconds[0] = milliseconds[1] = NAN;
	if (n == 0)
		return;
	/* the first one maps a model's file */
	for (int side = 0; side < 2; side++)
		(void) embed_one(&sides[side], data->items[chosen[0]].text);
	for (; timed < TIMINGS && total < LONGEST_TIMING * 1000; timed++)
		for (int side = 0; side < 2; side++)
		{
			CHECK_FOR_INTERRUPTS();
			times[side][timed] = embed_one(&sides[side], data->items[chosen[timed % n]].text);
			total += times[side][timed];
		}
	for (int side = 0; side < 2; side++)
	{
		qsort(times[side], timed, sizeof(double), br_pg_compare_doubles);
		milliseconds[side] = times[side][timed / 2];
	}
}
