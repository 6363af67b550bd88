/*
 * divide.c
 *	  Around which centroids a list that has grown is divided.
 *
 * That is found out before the list is frozen, from a sample of its rows, so
 * that inserts wait for nothing but the copying.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/math/br_math.h"
#include "pg/am/vacuum_int.h"

#define SAMPLE_PER_PART 50
/* of maintenance_work_mem */
#define SAMPLE_SHARE .5
/* a division that leaves more of the rows in one part is none */
#define MOST_IN_ONE_PART .9

/* A sample of unknown many rows: Vitter's algorithm R. */
typedef struct Sample
{
	BrAmQuantizer *quantizer;
	float *vectors; /* (room, rotated_dims) */
	int room;
	int n;
	uint32 seen;
	BrRandom random;
} Sample;

static bool
sample_row(void *arg, const BrAmRow *row)
{
	Sample *sample = arg;
	int rotated_dims = sample->quantizer->shape.rotated_dims;
	uint32 place = sample->seen++;

	CHECK_FOR_INTERRUPTS();
	if (sample->n < sample->room)
		sample->n++;
	else
		place = br_base_random_below(&sample->random, sample->seen);
	if (place >= (uint32) sample->room)
		return true;
	br_am_quantizer_rotate(sample->quantizer, row->vector);
	memcpy(sample->vectors + (Size) place * rotated_dims, sample->quantizer->rotated,
		   sizeof(float) * rotated_dims);
	return true;
}

static Sample *
draw_sample(BrAmRewriter *rewriter, const BrAmList *list, int parts)
{
	const BrAmShape *shape = &rewriter->quantizer.shape;
	double fits =
		SAMPLE_SHARE * maintenance_work_mem * 1024.0 / (sizeof(float) * shape->rotated_dims);
	double wanted = (double) parts * SAMPLE_PER_PART;
	Sample *sample = palloc0(sizeof(Sample));

	sample->quantizer = &rewriter->quantizer;
	sample->room = (int) Max(2, Min(fits, Min(wanted, (double) list->rows)));
	sample->vectors =
		MemoryContextAllocHuge(CurrentMemoryContext,
							   sizeof(float) * shape->rotated_dims * (Size) sample->room);
	br_base_random_init(&sample->random, rewriter->meta.seed, list->list);
	br_am_read_list(rewriter->index, shape, list, rewriter->strategy, sample_row, sample);
	return sample;
}

/* Whether the centroids divide the sample at all. */
static bool
divides(BrAmRewriter *rewriter, const Sample *sample, const float *centroids, int parts)
{
	BrAmQuantizer *quantizer = &rewriter->quantizer;
	int rotated_dims = quantizer->shape.rotated_dims;
	float *norms = palloc(sizeof(float) * parts);
	int *rows = palloc0(sizeof(int) * parts);
	int32_t *nearest = palloc(sizeof(int32_t) * sample->n);
	int most = 0;

	for (int i = 0; i < parts; i++)
	{
		const float *centroid = centroids + (Size) i * rotated_dims;

		norms[i] = 0;
		for (int j = 0; j < rotated_dims; j++)
			norms[i] += centroid[j] * centroid[j];
	}
	br_pg_check(br_ann_assign(&quantizer->context, br_pg_session_backend(), NULL, NULL,
							  sample->vectors, sample->n, rotated_dims, centroids, norms, parts,
							  nearest),
				&quantizer->context, "could not assign rows to lists", NULL);
	for (int i = 0; i < sample->n; i++)
		most = Max(most, ++rows[nearest[i]]);
	return most <= MOST_IN_ONE_PART * sample->n;
}

int
br_am_divide_list(BrAmRewriter *rewriter, const BrAmList *list, int parts, uint16 **centroids)
{
	BrAmQuantizer *quantizer = &rewriter->quantizer;
	int rotated_dims = quantizer->shape.rotated_dims;
	MemoryContext memory =
		AllocSetContextCreate(CurrentMemoryContext, "bundle_ann division", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(memory);
	Sample *sample = draw_sample(rewriter, list, parts);
	float *found;

	parts = Min(parts, sample->n);
	found = MemoryContextAllocHuge(CurrentMemoryContext,
								   sizeof(float) * rotated_dims * (Size) Max(parts, 1));
	if (parts >= 2)
		br_pg_check(br_ann_kmeans(&quantizer->context, br_pg_session_backend(), NULL, NULL,
								  sample->vectors, sample->n, rotated_dims, parts,
								  rewriter->meta.seed + list->list, NULL, NULL, found),
					&quantizer->context, "could not divide a list", NULL);
	if (parts < 2 || !divides(rewriter, sample, found, parts))
		parts = 0;
	MemoryContextSwitchTo(caller);
	*centroids = MemoryContextAllocHuge(CurrentMemoryContext,
										sizeof(uint16) * rotated_dims * (Size) Max(parts, 1));
	br_math_half_from_floats(found, (size_t) parts * rotated_dims, *centroids);
	MemoryContextDelete(memory);
	return parts;
}
