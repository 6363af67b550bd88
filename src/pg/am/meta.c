/*
 * meta.c
 *	  The metapage.
 */
#include "postgres.h"

#include <float.h>

#include "pg/am/am_int.h"

/* the seed of every rotation: no secret, but the same index in every build */
#define SEED UINT64CONST(0x62756E646C65)

const double br_am_recalls[BR_AM_N_RECALLS] = {.8, .9, .95, .98, .99, .995, .999};

void
br_am_meta_init(Page page, BrMetric metric)
{
	BrAmMeta *meta;

	br_am_page_init(page, BR_AM_PAGE_META, 0, NULL);
	meta = BrAmPageMeta(page);
	memset(meta, 0, sizeof(BrAmMeta));
	meta->magic = BR_AM_MAGIC;
	meta->version = BR_AM_VERSION;
	meta->metric = (int32) metric;
	meta->seed = SEED;
	meta->next_list = 1;
	meta->first_directory = InvalidBlockNumber;
	meta->last_directory = InvalidBlockNumber;
	meta->mean_norm = 1;
	for (int i = 0; i < BR_AM_N_RECALLS; i++)
	{
		meta->shares[i] = 1;
		meta->gaps[i] = FLT_MAX;
	}
	meta->first_pending = InvalidBlockNumber;
	meta->last_pending = InvalidBlockNumber;
}

static void
check(Relation index, const BrAmMeta *meta)
{
	if (meta->magic != BR_AM_MAGIC || meta->dims < 0 || meta->dims > BR_ANN_MAX_DIMS ||
		meta->metric < BR_METRIC_COSINE || meta->metric > BR_METRIC_L2 ||
		!(meta->mean_norm > 0 && meta->mean_norm < FLT_MAX))
		br_am_report_damage(index, BR_AM_META_BLOCK, "It is no sound metapage");
	if (meta->version != BR_AM_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" was written by another version of bundle_rec",
						RelationGetRelationName(index)),
				 errdetail("Its layout is %u, and this version reads %d.", meta->version,
						   BR_AM_VERSION),
				 errhint("REINDEX INDEX writes it anew.")));
}

void
br_am_meta_read(Relation index, BrAmMeta *meta)
{
	Buffer buffer =
		br_am_read(index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL, BUFFER_LOCK_SHARE);

	*meta = *BrAmPageMeta(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	check(index, meta);
}

/* Between the recalls that were measured, on a line. */
static double
interpolate(const float *values /* (BR_AM_N_RECALLS) */, double recall)
{
	int i = 1;
	double part;

	while (i < BR_AM_N_RECALLS - 1 && br_am_recalls[i] < recall)
		i++;
	part = (recall - br_am_recalls[i - 1]) / (br_am_recalls[i] - br_am_recalls[i - 1]);
	part = Max(0, Min(1, part));
	return values[i - 1] + part * (values[i] - values[i - 1]);
}

double
br_am_share_for(const BrAmMeta *meta, double recall)
{
	return interpolate(meta->shares, recall);
}

double
br_am_gap_for(const BrAmMeta *meta, double recall)
{
	return interpolate(meta->gaps, recall);
}

bool
br_am_meta_change(Relation index, bool (*change)(BrAmMeta *meta, void *arg), void *arg)
{
	Buffer buffer =
		br_am_read(index, BR_AM_META_BLOCK, BR_AM_PAGE_META, 0, NULL, BUFFER_LOCK_EXCLUSIVE);
	GenericXLogState *record = GenericXLogStart(index);
	Page page = GenericXLogRegisterBuffer(record, buffer, 0);
	bool changed = change(BrAmPageMeta(page), arg);

	if (changed)
		GenericXLogFinish(record);
	else
		GenericXLogAbort(record);
	UnlockReleaseBuffer(buffer);
	return changed;
}
