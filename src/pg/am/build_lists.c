/*
 * build_lists.c
 *	  From rows to lists: k-means on a sample, then each row to its list.
 */
#include "postgres.h"

#include <math.h>

#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

#include "core/math/br_math.h"
#include "pg/am/build_int.h"
#include "pg/service/service.h"

#define SAMPLE_PER_LIST 50
#define LEAST_SAMPLE_PER_LIST 8
/* of maintenance_work_mem, for the sample; k-means needs little beside it */
#define SAMPLE_SHARE .75
/* rows that are assigned together; a device is given more, since it gets all centroids each time */
#define BATCH_ROWS 2048
#define DEVICE_BATCH_BYTES ((Size) 64 * 1024 * 1024)
/* of maintenance_work_mem, for them */
#define DEVICE_BATCH_SHARE .25
/* assignments of the sample until k-means is done, as good as always, and calibration */
#define ASSIGNMENTS 10
#define CALIBRATION_QUERIES 256
#define CALIBRATION_NEIGHBOURS 10
#define LEAST_NEIGHBOURS 4

/* ---- the sample ---- */

static int
sample_size(const BrAmBuild *build)
{
	double fits =
		SAMPLE_SHARE * maintenance_work_mem * 1024.0 / (sizeof(float) * build->shape.dims);
	double wanted = (double) build->n_lists * SAMPLE_PER_LIST;

	return (int) Max(1, Min(Min(fits, wanted), (double) build->n_rows));
}

/*
 * n of the rows, each set of n being as likely as any other (Knuth, The Art of
 * Computer Programming, volume 2, algorithm 3.4.2 S).
 */
static float *
draw_sample(BrAmBuild *build, int n)
{
	int dims = build->shape.dims;
	float *sample = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(float) * dims * (Size) n);
	double squared_norms = 0;
	int drawn = 0;
	BrRandom random;
	BrAmRow row;

	br_base_random_init(&random, build->meta.seed, 1);
	br_am_build_rewind(build);
	for (int64 i = 0; drawn < n && br_am_build_next(build, &row); i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((build->n_rows - i) * br_base_random_uniform(&random) >= n - drawn)
			continue;
		br_am_build_vector(build, &row, sample + (Size) dims * drawn);
		squared_norms += br_ann_squared_norm(row.vector, dims);
		drawn++;
	}
	if (build->meta.metric != BR_METRIC_COSINE && squared_norms > 0)
		build->meta.mean_norm = (float) sqrt(squared_norms / n);
	return sample;
}

static float *
squared_norms_of(const float *centroids, int n, int dims)
{
	float *norms = palloc(sizeof(float) * n);

	for (int i = 0; i < n; i++)
	{
		double sum = 0;

		for (int j = 0; j < dims; j++)
			sum += (double) centroids[(Size) i * dims + j] * centroids[(Size) i * dims + j];
		norms[i] = (float) sum;
	}
	return norms;
}

/* ---- k-means ---- */

static void
report_share(void *arg pg_attribute_unused(), double share)
{
	br_am_build_done((int64) (100 * share));
}

/* The list of each vector. */
static void
assign_rows(BrAmBuild *build, const float *vectors, int n, const float *norms, int32_t *lists_of)
{
	BrStatus status =
		br_ann_assign(&build->context, build->backend, build->pool, build->assigner, vectors, n,
					  build->shape.dims, build->centroids, norms, build->n_lists, lists_of);

	br_pg_service_tell_assigner(build->assigner);
	br_pg_check(status, &build->context, "could not assign rows to lists", NULL);
}

/* How many lists a scan has to begin with, from the neighbours of some of the sample in it. */
static void
calibrate(BrAmBuild *build, const float *sample, int n)
{
	/*
	 * The nearest rows are in the sample as often as all others. More than so
	 * many are asked for, because the very nearest may be copies of the row, which
	 * are in its list and say nothing of queries that are no copies.
	 */
	double neighbours =
		Max(LEAST_NEIGHBOURS, rint(CALIBRATION_NEIGHBOURS * ((double) n / build->n_rows)));
	float *norms = squared_norms_of(build->centroids, build->n_lists, build->shape.dims);
	int32_t *lists_of = palloc(sizeof(int32_t) * n);

	if (n <= CALIBRATION_NEIGHBOURS || build->n_lists == 1)
		return;
	assign_rows(build, sample, n, norms, lists_of);
	br_pg_check(br_ann_calibrate(&build->context, build->backend, (BrMetric) build->meta.metric,
								 sample, n, build->shape.dims, build->centroids, build->n_lists,
								 lists_of, Min(CALIBRATION_QUERIES, n), (int) Max(1, neighbours),
								 br_am_recalls, BR_AM_N_RECALLS, build->meta.shares,
								 build->meta.gaps),
				&build->context, "could not find out how many lists to visit", NULL);
	pfree(lists_of);
	pfree(norms);
}

void
br_am_build_cluster(BrAmBuild *build)
{
	int wanted = br_am_option_lists(build->index);
	BrStatus status;
	float *sample;
	int n;

	build->n_lists = wanted > 0 ? wanted : br_am_lists_for((double) build->n_rows);
	n = sample_size(build);
	build->n_lists = Max(1, Min(build->n_lists, wanted > 0 ? n : n / LEAST_SAMPLE_PER_LIST));
	br_am_build_begin_phase(BR_AM_PHASE_CLUSTER, 100);
	sample = draw_sample(build, n);
	build->centroids =
		MemoryContextAllocHuge(CurrentMemoryContext,
							   sizeof(float) * build->shape.dims * (Size) build->n_lists);
	build->assigner = br_pg_service_open_assigner((double) build->n_rows + (double) ASSIGNMENTS * n,
												  build->n_lists, build->shape.dims);
	status = br_ann_kmeans(&build->context, build->backend, build->pool, build->assigner, sample, n,
						   build->shape.dims, build->n_lists, build->meta.seed, report_share, NULL,
						   build->centroids);
	br_pg_service_tell_assigner(build->assigner);
	br_pg_check(status, &build->context, "could not divide rows into lists", NULL);
	calibrate(build, sample, n);
	pfree(sample);
}

/* ---- to lists ---- */

/* Rows that are assigned together, and what they are sorted with. */
typedef struct Assigning
{
	BrAmBuild *build;
	Tuplesortstate *sort;
	TupleTableSlot *slot;
	float *norms;	/* (n_lists) squared, of the centroids */
	float *vectors; /* (room, dims) */
	char *rows;		/* (room) varlenas, each with a row as the temporary file has it */
	int row_stride;
	int32_t *nearest; /* (room) */
	int room;
	int n;
} Assigning;

static void
assign_batch(Assigning *assigning)
{
	BrAmBuild *build = assigning->build;

	assign_rows(build, assigning->vectors, assigning->n, assigning->norms, assigning->nearest);
	for (int i = 0; i < assigning->n; i++)
	{
		TupleTableSlot *slot = assigning->slot;

		ExecClearTuple(slot);
		slot->tts_values[0] = Int32GetDatum(assigning->nearest[i]);
		slot->tts_values[1] = PointerGetDatum(assigning->rows + (Size) i * assigning->row_stride);
		slot->tts_isnull[0] = slot->tts_isnull[1] = false;
		ExecStoreVirtualTuple(slot);
		tuplesort_puttupleslot(assigning->sort, slot);
	}
	assigning->n = 0;
}

static void
assign_all(Assigning *assigning)
{
	BrAmBuild *build = assigning->build;
	int64 done = 0;
	BrAmRow row;

	br_am_build_begin_phase(BR_AM_PHASE_ASSIGN, build->n_rows);
	br_am_build_rewind(build);
	while (br_am_build_next(build, &row))
	{
		char *copy = assigning->rows + (Size) assigning->n * assigning->row_stride;

		CHECK_FOR_INTERRUPTS();
		SET_VARSIZE(copy, VARHDRSZ + build->row_bytes);
		memcpy(VARDATA(copy), build->row, build->row_bytes);
		br_am_build_vector(build, &row,
						   assigning->vectors + (Size) assigning->n * build->shape.dims);
		if (++assigning->n == assigning->room)
			assign_batch(assigning);
		br_am_build_done(++done);
	}
	if (assigning->n > 0)
		assign_batch(assigning);
}

static TupleDesc
sorted_rows(void)
{
	TupleDesc descriptor = CreateTemplateTupleDesc(2);

	TupleDescInitEntry(descriptor, 1, "list", INT4OID, -1, 0);
	TupleDescInitEntry(descriptor, 2, "row", BYTEAOID, -1, 0);
	return descriptor;
}

static int
batch_rows(const Assigning *assigning)
{
	const BrAmBuild *build = assigning->build;
	double bytes = Min(DEVICE_BATCH_BYTES, DEVICE_BATCH_SHARE * maintenance_work_mem * 1024.0);

	if (build->assigner == NULL)
		return BATCH_ROWS;
	return (int) Max(BATCH_ROWS,
					 bytes / (sizeof(float) * build->shape.dims + assigning->row_stride));
}

static void
begin_assigning(BrAmBuild *build, Assigning *assigning)
{
	AttrNumber column = 1;
	Oid less = Int4LessOperator;
	Oid collation = InvalidOid;
	bool nulls_first = false;
	TupleDesc descriptor = sorted_rows();

	*assigning = (Assigning){.build = build};
	assigning->sort = tuplesort_begin_heap(descriptor, 1, &column, &less, &collation, &nulls_first,
										   maintenance_work_mem, NULL, TUPLESORT_NONE);
	assigning->slot = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	assigning->norms = squared_norms_of(build->centroids, build->n_lists, build->shape.dims);
	assigning->row_stride = (int) MAXALIGN(VARHDRSZ + build->row_bytes);
	assigning->room = batch_rows(assigning);
	assigning->vectors = palloc(sizeof(float) * assigning->room * build->shape.dims);
	assigning->rows = palloc((Size) assigning->room * assigning->row_stride);
	assigning->nearest = palloc(sizeof(int32_t) * assigning->room);
}

static void
end_assigning(Assigning *assigning)
{
	ExecDropSingleTupleTableSlot(assigning->slot);
	pfree(assigning->norms);
	pfree(assigning->vectors);
	pfree(assigning->rows);
	pfree(assigning->nearest);
}

/* ---- to pages ---- */

/* The centroids as pages keep them. */
static void
rotate_centroids(BrAmBuild *build, BrAmQuantizer *quantizer)
{
	int rotated_dims = build->shape.rotated_dims;

	build->rotated = MemoryContextAllocHuge(CurrentMemoryContext,
											sizeof(uint16) * rotated_dims * (Size) build->n_lists);
	for (int i = 0; i < build->n_lists; i++)
	{
		br_ann_rotate(quantizer->rotation, build->centroids + (Size) i * build->shape.dims,
					  quantizer->rotated);
		br_math_half_from_floats(quantizer->rotated, rotated_dims,
								 build->rotated + (Size) i * rotated_dims);
	}
}

/* One sorted row after another; false at the end. */
static bool
next_sorted(const Assigning *assigning, TupleTableSlot *slot, int *list, BrAmRow *row)
{
	BrAmBuild *build = assigning->build;
	bool is_null;

	if (!tuplesort_gettupleslot(assigning->sort, true, false, slot, NULL))
		return false;
	*list = DatumGetInt32(slot_getattr(slot, 1, &is_null));
	memcpy(build->row, VARDATA_ANY(DatumGetPointer(slot_getattr(slot, 2, &is_null))),
		   build->row_bytes);
	br_am_build_parse(build, row);
	return true;
}

/* Lists without rows are left out. */
static void
write_lists(BrAmBuild *build, const Assigning *assigning, BrAmQuantizer *quantizer)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(sorted_rows(), &TTSOpsMinimalTuple);
	BrAmRow row = {0};
	int list;
	int written = 0;
	int64 done = 0;
	bool more = next_sorted(assigning, slot, &list, &row);

	build->lists = palloc0(sizeof(BrAmList) * build->n_lists);
	while (more)
	{
		int current = list;
		uint16 *centroid = build->rotated + (Size) current * build->shape.rotated_dims;
		uint16 *kept = build->rotated + (Size) written * build->shape.rotated_dims;
		BrAmList *entry = &build->lists[written++];
		BrAmWriter *writer;

		memmove(kept, centroid, sizeof(uint16) * build->shape.rotated_dims);
		entry->list = build->meta.next_list++;
		entry->state = BR_AM_LIST_LIVE;
		writer = br_am_writer_begin(build->index, quantizer, entry->list, kept, false);
		for (; more && list == current; more = next_sorted(assigning, slot, &list, &row))
		{
			CHECK_FOR_INTERRUPTS();
			br_am_writer_add(writer, &row);
			br_am_build_done(++done);
		}
		br_am_writer_end(writer, entry);
	}
	build->n_lists = written;
	ExecDropSingleTupleTableSlot(slot);
}

void
br_am_build_write(BrAmBuild *build)
{
	BrAmQuantizer quantizer;
	Assigning assigning;

	begin_assigning(build, &assigning);
	assign_all(&assigning);
	br_pg_service_close_assigner(build->assigner);
	br_am_build_begin_phase(BR_AM_PHASE_WRITE, build->n_rows);
	tuplesort_performsort(assigning.sort);
	br_am_quantizer_create(&build->meta, build->shape.text, &quantizer);
	rotate_centroids(build, &quantizer);
	write_lists(build, &assigning, &quantizer);
	tuplesort_end(assigning.sort);
	end_assigning(&assigning);
}
