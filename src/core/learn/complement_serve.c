/*
 * complement_serve.c
 *	  What a model of complements says: of two items, and of all of them.
 */
#include "core/learn/complement_int.h"

/* Items projected at once, and targets scored at once: some 20 million products at most. */
#define SOURCE_BLOCK 32
#define TARGET_BLOCK 4096

void
br_learn_complement_free(BrContext *context, BrComplement *complement)
{
	br_base_free(context, complement->source);
	br_base_free(context, complement->target);
	br_base_free(context, complement->bias);
	memset(complement, 0, sizeof(*complement));
}

double
br_learn_complement_score(const BrComplement *complement, const float *source, int source_category,
						  const float *target, int target_category)
{
	size_t dims = (size_t) complement->dims;
	double score = (double) br_learn_complement_bias(complement->bias, complement->categories,
													 source_category, target_category);

	for (int i = 0; i < complement->rank; i++)
	{
		const float *from = complement->source + (size_t) i * dims;
		const float *into = complement->target + (size_t) i * dims;
		double f = 0;
		double g = 0;

		for (size_t d = 0; d < dims; d++)
		{
			f += (double) from[d] * (double) source[d];
			g += (double) into[d] * (double) target[d];
		}
		score += f * g;
	}
	return score;
}

/* Work memory of the lists. */
typedef struct Room
{
	float *f;	   /* (SOURCE_BLOCK, rank) */
	float *g;	   /* (items, rank) */
	float *tile;   /* (SOURCE_BLOCK, TARGET_BLOCK) */
	float *scores; /* (SOURCE_BLOCK, items) */
} Room;

static void
room_free(BrContext *context, Room *room)
{
	br_base_free(context, room->f);
	br_base_free(context, room->g);
	br_base_free(context, room->tile);
	br_base_free(context, room->scores);
}

static BrStatus
room_create(BrContext *context, int items, int rank, Room *room)
{
	room->f = br_base_alloc_array(context, (size_t) SOURCE_BLOCK * (size_t) rank, sizeof(float));
	room->g = br_base_alloc_array(context, (size_t) items * (size_t) rank, sizeof(float));
	room->tile = br_base_alloc_array(context, (size_t) SOURCE_BLOCK * TARGET_BLOCK, sizeof(float));
	room->scores =
		br_base_alloc_array(context, (size_t) SOURCE_BLOCK * (size_t) items, sizeof(float));
	return room->f != NULL && room->g != NULL && room->tile != NULL && room->scores != NULL
		? BR_OK
		: BR_ERR_MEMORY;
}

/* Scores of `rows` sources from first on, in tiles between which cancelling is asked for. */
static BrStatus
score_block(BrContext *context, const BrBackend *backend, const BrComplement *complement,
			const BrComplementItems *items, int first, int rows, Room *room)
{
	backend->multiply_transposed(items->embeddings + (size_t) first * (size_t) items->dims,
								 complement->source, rows, complement->rank, items->dims, room->f);
	for (int column = 0; column < items->n; column += TARGET_BLOCK)
	{
		int columns = items->n - column < TARGET_BLOCK ? items->n - column : TARGET_BLOCK;

		if (br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		backend->multiply_transposed(room->f, room->g + (size_t) column * (size_t) complement->rank,
									 rows, columns, complement->rank, room->tile);
		for (int row = 0; row < rows; row++)
			memcpy(room->scores + (size_t) row * (size_t) items->n + (size_t) column,
				   room->tile + (size_t) row * (size_t) columns, sizeof(float) * (size_t) columns);
	}
	return BR_OK;
}

static void
add_bias(const BrComplement *complement, const BrComplementItems *items, int source, float *scores)
{
	if (items->category == NULL)
		return;
	for (int target = 0; target < items->n; target++)
		scores[target] +=
			br_learn_complement_bias(complement->bias, complement->categories,
									 items->category[source], items->category[target]);
}

static BrStatus
fill(BrContext *context, const BrBackend *backend, const BrComplement *complement,
	 const BrComplementItems *items, Room *room, BrListBuilder *builder)
{
	for (int first = 0; first < items->n; first += SOURCE_BLOCK)
	{
		int rows = items->n - first < SOURCE_BLOCK ? items->n - first : SOURCE_BLOCK;

		if (br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		backend->multiply_transposed(items->embeddings + (size_t) first * (size_t) items->dims,
									 complement->target, rows, complement->rank, items->dims,
									 room->g + (size_t) first * (size_t) complement->rank);
	}
	for (int first = 0; first < items->n; first += SOURCE_BLOCK)
	{
		int rows = items->n - first < SOURCE_BLOCK ? items->n - first : SOURCE_BLOCK;
		BrStatus status = score_block(context, backend, complement, items, first, rows, room);

		for (int row = 0; status == BR_OK && row < rows; row++)
		{
			float *scores = room->scores + (size_t) row * (size_t) items->n;

			if (br_base_cancelled(context))
				return BR_ERR_CANCELLED;
			add_bias(complement, items, first + row, scores);
			status = br_learn_lists_add(builder, scores, items->n, first + row, -INFINITY);
		}
		if (status != BR_OK)
			return status;
	}
	return BR_OK;
}

BrStatus
br_learn_complement_lists(BrContext *context, const BrBackend *backend,
						  const BrComplement *complement, const BrComplementItems *items, int depth,
						  BrLists *lists)
{
	BrListBuilder *builder = NULL;
	Room room = {0};
	BrStatus status = br_learn_complement_check_items(context, items);

	memset(lists, 0, sizeof(*lists));
	if (status != BR_OK)
		return status;
	if (items->dims != complement->dims ||
		(items->category != NULL && items->categories != complement->categories))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Items have %d dimensions and %d categories, the model %d and %d.",
							items->dims, items->categories, complement->dims,
							complement->categories);
	status = room_create(context, items->n, complement->rank, &room);
	if (status == BR_OK)
		status = br_learn_lists_begin(context, items->n, depth, &builder);
	if (status == BR_OK)
		status = fill(context, backend, complement, items, &room, builder);
	if (status == BR_OK)
		status = br_learn_lists_end(builder, lists);
	else
		br_learn_lists_abandon(builder);
	room_free(context, &room);
	return status;
}
