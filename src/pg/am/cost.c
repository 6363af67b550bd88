/*
 * cost.c
 *	  What the planner is told a scan costs.
 *
 * The first row needs all codes of a round; each further one little, but a
 * heap page. So the first costs go to the start, where a LIMIT cannot divide
 * them, and the vectors and rows to the rest, which a LIMIT takes its share of:
 * without one, or behind a filter that leaves few rows, a sort is cheaper.
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "utils/float.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

#include "pg/am/am_int.h"

/* in units of cpu_operator_cost, which is about 25 ns where pages are cached */
#define CODE_OPERATORS .3
#define LIST_OPERATORS 2
#define VECTOR_OPERATORS 6
/* vectors looked at before the first row is returned */
#define FIRST_VECTORS 48
/* part of the price of a page: codes are read by every scan, and so mostly in memory */
#define CODE_PAGE_SHARE .25

typedef struct Costs
{
	double rows;
	double visited; /* share of the codes that the first round reads */
	double lists;
	BrAmShape shape;
} Costs;

static void
forbid(Cost *startup_cost, Cost *total_cost)
{
	*startup_cost = get_float8_infinity();
	*total_cost = get_float8_infinity();
}

/* false: the index does not give the order that the operator means */
static bool
look_at_index(const IndexPath *path, Costs *costs)
{
	Relation index = index_open(path->indexinfo->indexoid, NoLock);
	double recall = br_am_recall > 0 ? br_am_recall : br_am_option_recall(index);
	bool text = br_am_is_text(index);
	BrAmMeta meta;
	bool fits;

	br_am_meta_read(index, &meta);
	fits = !text || br_am_operator_fits(index, &meta);
	index_close(index, NoLock);
	/* before the first row it is the emptiest of indexes, whatever its dimensions will be */
	br_am_shape(&costs->shape, Max(meta.dims, 1), text);
	costs->rows = Max(1, path->indexinfo->tuples);
	costs->lists = br_am_lists_for(costs->rows);
	costs->visited = costs->rows < br_am_full_scan_rows || meta.metric == BR_METRIC_INNER_PRODUCT
		? 1
		: br_am_share_for(&meta, recall);
	if (br_am_probes > 0)
		costs->visited = Min(1, br_am_probes / costs->lists);
	return fits;
}

void
br_am_cost(struct PlannerInfo *root pg_attribute_unused(), struct IndexPath *path,
		   double loop_count pg_attribute_unused(), Cost *startup_cost, Cost *total_cost,
		   Selectivity *selectivity, double *correlation, double *pages)
{
	IndexOptInfo *index = path->indexinfo;
	double table_rows = Max(1, index->rel->tuples);
	double random_page;
	double sequential_page;
	double codes;
	double code_pages;
	double vector_pages;
	Costs costs;

	*correlation = 0;
	*selectivity = 1;
	*pages = index->pages;
	/* of several orders a scan gives the first: a sort is better */
	if (list_length(path->indexorderbys) != 1 || !look_at_index(path, &costs))
	{
		forbid(startup_cost, total_cost);
		return;
	}
	get_tablespace_page_costs(index->reltablespace, &random_page, &sequential_page);
	codes = costs.rows * costs.visited;
	code_pages = ceil(codes / costs.shape.per_posting);
	vector_pages = ceil(costs.rows / costs.shape.per_exact);
	*startup_cost = cpu_operator_cost *
			(costs.lists * LIST_OPERATORS + codes * CODE_OPERATORS +
			 FIRST_VECTORS * VECTOR_OPERATORS) +
		sequential_page * CODE_PAGE_SHARE * code_pages +
		random_page * CODE_PAGE_SHARE * Min(FIRST_VECTORS, vector_pages);
	*total_cost = *startup_cost +
		cpu_operator_cost * costs.rows * (CODE_OPERATORS + VECTOR_OPERATORS) +
		random_page * vector_pages + cpu_index_tuple_cost * costs.rows;
	*selectivity = Min(1, costs.rows / table_rows);
	*pages = code_pages + vector_pages;
}
