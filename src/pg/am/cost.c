/*
 * cost.c
 *	  What the planner is told a scan costs.
 *
 * Before the first row a scan reads directory and codes, and some vectors;
 * after it each row takes a vector and a row of the table, both anywhere. What
 * comes first is the start-up cost, which no LIMIT makes smaller, and the rest
 * is what a LIMIT takes its share of: without one, or behind a filter that
 * leaves few rows, a sort is cheaper.
 *
 * Factors are from timings of 30,000 to 60,000 rows of 32, 384 and 1536
 * dimensions in memory. There are two prices that a scan competes with, and
 * both are not true in memory: a table that is read through costs too little,
 * and rows that another index finds too much. Between them lies what a page is
 * put at here.
 *
 * On texts what counts is how many must be embedded, and there the planner is
 * wrong by all of them: it charges the operator for each row that any plan
 * returns, though after a scan the operator finds the embedding remembered. So
 * nothing is charged for the scan, which makes it cheaper than a sort of the
 * same rows; a sort of fewer rows than a scan returns stays cheaper still.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "pg/am/am_int.h"

/*
 * More than any other plan costs, disabled ones included. Not infinity, since
 * the planner subtracts the start-up cost from the total.
 */
#define NEVER 1e300

/* in units of cpu_operator_cost, which are about 10 ns */
#define LIST_OPERATORS(dims) (.01 * (dims))
#define CODE_OPERATORS(bits) (.1 + .0005 * (bits))
#define VECTOR_OPERATORS(dims) (100 + .25 * (dims))
/* vectors looked at before the first row is returned */
#define FIRST_VECTORS 48
/* what a page costs of one that is read from outside */
#define PAGE_SHARE .1
/* the first so many rows are taken to be scattered; more find some pages read already */
#define SCATTERED_ROWS 1000.0

/* What the costs depend on. */
typedef struct Measures
{
	double rows;
	double lists;
	double first_share; /* of the lists, read before the first row */
	double table_pages;
	BrAmShape shape;
} Measures;

/* About what share of the lists a scan reads before its first row. */
static double
first_share(Relation index, const BrAmMeta *meta, const Measures *measures)
{
	if (br_am_probes > 0)
		return Min(1, br_am_probes / measures->lists);
	if (measures->rows < br_am_full_scan_rows || meta->metric == BR_METRIC_INNER_PRODUCT)
		return 1;
	return br_am_share_for(meta, br_am_recall > 0 ? br_am_recall : br_am_option_recall(index));
}

/* false: the index does not give the order that the operator means */
static bool
measure_index(const IndexOptInfo *info, Measures *measures)
{
	Relation index = index_open(info->indexoid, NoLock);
	bool text = br_am_is_text(index);
	int lists = br_am_option_lists(index);
	BrAmMeta meta;
	bool fits;

	br_am_meta_read(index, &meta);
	fits = !text || br_am_operator_fits(index, &meta);
	/* before the first row it is the emptiest of indexes, whatever its dimensions will be */
	br_am_shape(&measures->shape, Max(meta.dims, 1), text);
	measures->rows = Max(1, info->tuples);
	measures->lists = lists > 0 ? lists : br_am_lists_for(measures->rows);
	measures->first_share = first_share(index, &meta, measures);
	measures->table_pages = info->rel->pages;
	index_close(index, NoLock);
	return fits;
}

/* How many of so many pages a row takes if rows are scattered over them. */
static double
pages_of_a_row(double pages)
{
	return pages / SCATTERED_ROWS * (1 - exp(-SCATTERED_ROWS / Max(1, pages)));
}

static void
add_up(const Measures *measures, Oid tablespace, double loop_count, Cost *startup_cost,
	   Cost *total_cost)
{
	const BrAmShape *shape = &measures->shape;
	double codes = measures->rows * CODE_OPERATORS(shape->code_bits);
	double code_pages = ceil(measures->rows / shape->per_posting);
	double exact_pages = ceil(measures->rows / shape->per_exact);
	double directory_pages = ceil(measures->lists / shape->per_directory);
	double vector = VECTOR_OPERATORS(shape->dims) * cpu_operator_cost;
	double random_page;
	double sequential_page;

	get_tablespace_page_costs(tablespace, &random_page, &sequential_page);
	/* a scan that is repeated finds its pages in memory */
	random_page *= PAGE_SHARE / Max(1, loop_count);
	sequential_page *= PAGE_SHARE / Max(1, loop_count);

	*startup_cost = cpu_operator_cost *
			(measures->lists * LIST_OPERATORS(shape->dims) + measures->first_share * codes) +
		sequential_page * (directory_pages + measures->first_share * code_pages) +
		Min(FIRST_VECTORS, measures->rows) * vector + random_page * Min(FIRST_VECTORS, exact_pages);
	*total_cost = *startup_cost + cpu_operator_cost * codes + sequential_page * code_pages +
		measures->rows *
			(vector + cpu_index_tuple_cost +
			 random_page * (pages_of_a_row(exact_pages) + pages_of_a_row(measures->table_pages)));
}

void
br_am_cost(struct PlannerInfo *root pg_attribute_unused(), struct IndexPath *path,
		   double loop_count, Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
		   double *correlation, double *pages)
{
	const IndexOptInfo *info = path->indexinfo;
	Measures measures;

	*correlation = 0;
	*selectivity = Min(1, info->tuples / Max(1, info->rel->tuples));
	*pages = info->pages;
	/* it answers no condition, and of several orders it gives the first: a sort is better */
	if (list_length(path->indexorderbys) != 1 || !measure_index(info, &measures))
	{
		*startup_cost = NEVER;
		*total_cost = NEVER;
		return;
	}
	if (measures.shape.text)
	{
		*correlation = 1;
		*startup_cost = 0;
		*total_cost = 0;
		return;
	}
	add_up(&measures, info->reltablespace, loop_count, startup_cost, total_cost);
}
