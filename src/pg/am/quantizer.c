/*
 * quantizer.c
 *	  Rows to codes, and onto pages.
 */
#include "postgres.h"

#include <math.h>

#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/am_int.h"

/* A rotation that this session has used. */
typedef struct Known
{
	struct Known *next;
	int dims;
	uint64 seed;
	BrRotation *rotation;
} Known;

/*
 * Rotations are kept for the session: what one is made of takes longer to draw
 * than a query to rotate. There are as many as numbers of dimensions in use.
 */
static const BrRotation *
session_rotation(int dims, uint64 seed)
{
	static BrContext context;
	static Known *all = NULL;
	Known *known;

	for (known = all; known != NULL; known = known->next)
		if (known->dims == dims && known->seed == seed)
			return known->rotation;
	br_pg_context(&context, TopMemoryContext);
	known = MemoryContextAlloc(TopMemoryContext, sizeof(Known));
	*known = (Known){.next = all, .dims = dims, .seed = seed};
	br_pg_check(br_ann_rotation_create(&context, dims, seed, &known->rotation), &context,
				"could not prepare the index", NULL);
	all = known;
	return known->rotation;
}

void
br_am_quantizer_create(const BrAmMeta *meta, bool text, BrAmQuantizer *quantizer)
{
	br_am_shape(&quantizer->shape, meta->dims, text);
	quantizer->metric = (BrMetric) meta->metric;
	br_pg_context(&quantizer->context, CurrentMemoryContext);
	quantizer->rotation = session_rotation(meta->dims, meta->seed);
	quantizer->plain = palloc(sizeof(float) * quantizer->shape.dims);
	quantizer->rotated = palloc(sizeof(float) * quantizer->shape.rotated_dims);
	quantizer->bits = palloc(quantizer->shape.code_bits / 8);
}

void
br_am_quantizer_rotate(BrAmQuantizer *quantizer, const uint16 *vector)
{
	int dims = quantizer->shape.dims;

	br_math_half_to_floats(vector, dims, quantizer->plain);
	if (quantizer->metric == BR_METRIC_COSINE)
	{
		double squared_norm = br_ann_squared_norm(vector, dims);
		float factor = squared_norm > 0 ? (float) (1 / sqrt(squared_norm)) : 0;

		for (int i = 0; i < dims; i++)
			quantizer->plain[i] *= factor;
	}
	br_ann_rotate(quantizer->rotation, quantizer->plain, quantizer->rotated);
}

void
br_am_quantizer_encode(BrAmQuantizer *quantizer, const uint16 *centroid, BrCode *code)
{
	br_ann_encode(quantizer->metric, quantizer->shape.dims, quantizer->rotated, centroid,
				  quantizer->bits, code);
}

double
br_am_exact_norm(Page page, const BrAmShape *shape, int slot)
{
	double norm;

	memcpy(&norm, BrAmExactEntry(page, shape, slot) + shape->norm_offset, sizeof(norm));
	return norm;
}

void
br_am_page_put(const BrAmQuantizer *quantizer, Page posting, Page exact, const BrAmRow *row,
			   const BrCode *code)
{
	const BrAmShape *shape = &quantizer->shape;
	int slot = BrAmPagePosting(posting)->rows++;
	int lane = slot % BR_ANN_BLOCK_ROWS;
	BrAmBlock *block = BrAmPageBlock(posting, shape, slot / BR_ANN_BLOCK_ROWS);
	int exact_slot = slot % shape->per_exact;
	double norm = br_ann_squared_norm(row->vector, shape->dims);

	BrAmTids(posting, shape)[slot] = row->tid;
	block->add[lane] = code->add;
	block->scale[lane] = code->scale;
	block->width = Max(block->width, code->width);
	br_ann_block_put(block->codes, shape->code_bits, lane, quantizer->bits);
	if (shape->text)
		memcpy(BrAmExactEntry(exact, shape, exact_slot), row->hash, BR_AM_TEXT_HASH_SIZE);
	memcpy(BrAmExactEntry(exact, shape, exact_slot) + shape->norm_offset, &norm, sizeof(norm));
	memcpy(BrAmExactVector(exact, shape, exact_slot), row->vector, sizeof(uint16) * shape->dims);
}
