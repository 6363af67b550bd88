/*
 * build_int.h
 *	  What the files that build an index share.
 *
 * A build reads the table once: rows go to a temporary file, texts embedded in
 * batches on the way. From that file comes the sample for k-means, and then
 * every row once more, to a sort by list and from there to the pages.
 */
#ifndef BR_BUILD_INT_H
#define BR_BUILD_INT_H

#include "pg/am/am_int.h"

#include "storage/buffile.h"

/* As pg_stat_progress_create_index shows them; 1 is PostgreSQL's own. */
typedef enum BrAmBuildPhase
{
	BR_AM_PHASE_READ = 2,
	BR_AM_PHASE_CLUSTER,
	BR_AM_PHASE_ASSIGN,
	BR_AM_PHASE_WRITE,
	BR_AM_PHASE_LOG
} BrAmBuildPhase;

typedef struct BrAmBuild
{
	Relation heap;
	Relation index;
	IndexInfo *info;
	BrAmMeta meta; /* as it will be written; dims 0 until a row was read */
	BrAmShape shape;
	BrContext context;
	const BrBackend *backend;
	BrPool *pool;		  /* NULL: one thread */
	BrAssigner *assigner; /* NULL: the backend assigns rows to lists */
	double heap_rows;

	BufFile *rows; /* the temporary file */
	int64 n_rows;
	int row_bytes; /* of a row in it: pointer, and the rest as on an exact page, but for the norm */
	char *row;	   /* one such */

	int n_lists;
	float *centroids; /* (n_lists, dims) */
	BrAmList *lists;  /* (n_lists) what was written */
	uint16 *rotated;  /* (n_lists, rotated_dims) their centroids */
} BrAmBuild;

/* Begins a phase with so much to do; 0: not counted. */
extern void br_am_build_begin_phase(BrAmBuildPhase phase, int64 total);
extern void br_am_build_done(int64 done);

/* build_rows.c */

/* Reads the table. */
extern void br_am_build_read(BrAmBuild *build);

/* Before the first br_am_build_next. */
extern void br_am_build_rewind(BrAmBuild *build);

/* The next row of the temporary file; row->vector is valid until the next call. false: no more. */
extern bool br_am_build_next(BrAmBuild *build, BrAmRow *row);

/* The row whose bytes build->row holds, as in the temporary file; row->vector points into it. */
extern void br_am_build_parse(BrAmBuild *build, BrAmRow *row);

/* The vector as it is clustered: for the cosine of length 1. */
extern void br_am_build_vector(const BrAmBuild *build, const BrAmRow *row,
							   float *vector /* (dims) */);

/* build_lists.c */

/* Sample, k-means, and what is learned from the sample: centroids and the metapage's shares. */
extern void br_am_build_cluster(BrAmBuild *build);

/* Every row to the pages of its list. */
extern void br_am_build_write(BrAmBuild *build);

#endif /* BR_BUILD_INT_H */
