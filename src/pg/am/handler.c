/*
 * handler.c
 *	  The access method bundle_ann: what PostgreSQL asks of it, and its options.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "catalog/pg_type_d.h"
#include "commands/vacuum.h"
#include "utils/builtins.h"

#include "pg/am/am_int.h"

PG_FUNCTION_INFO_V1(br_ann_handler);

/* The distance functions, by which operator classes are told apart. */
extern Datum br_embedding_cosine_distance(PG_FUNCTION_ARGS);
extern Datum br_embedding_negative_inner_product(PG_FUNCTION_ARGS);
extern Datum br_embedding_l2_distance(PG_FUNCTION_ARGS);
extern Datum br_text_cosine_distance(PG_FUNCTION_ARGS);
extern Datum br_text_negative_inner_product(PG_FUNCTION_ARGS);
extern Datum br_text_l2_distance(PG_FUNCTION_ARGS);

static const struct
{
	PGFunction function;
	BrMetric metric;
	bool text;
} distances[] = {
	{br_embedding_cosine_distance, BR_METRIC_COSINE, false},
	{br_embedding_negative_inner_product, BR_METRIC_INNER_PRODUCT, false},
	{br_embedding_l2_distance, BR_METRIC_L2, false},
	{br_text_cosine_distance, BR_METRIC_COSINE, true},
	{br_text_negative_inner_product, BR_METRIC_INNER_PRODUCT, true},
	{br_text_l2_distance, BR_METRIC_L2, true},
};

/* ---- operator classes ---- */

/* -1: it is none of them */
static int
find_distance(PGFunction function)
{
	for (size_t i = 0; i < lengthof(distances); i++)
		if (distances[i].function == function)
			return (int) i;
	return -1;
}

bool
br_am_knows_distance(Oid function, Oid type)
{
	FmgrInfo info;
	int distance;

	fmgr_info(function, &info);
	distance = find_distance(info.fn_addr);
	return distance >= 0 && type == (distances[distance].text ? TEXTOID : br_pg_embedding_type());
}

static int
distance_of(Relation index)
{
	int distance = find_distance(index_getprocinfo(index, 1, 1)->fn_addr);

	if (distance < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("index \"%s\" has an operator class that bundle_ann does not know",
						RelationGetRelationName(index)),
				 errhint("Use one of the operator classes that bundle_rec declares.")));
	return distance;
}

BrMetric
br_am_metric(Relation index)
{
	return distances[distance_of(index)].metric;
}

bool
br_am_is_text(Relation index)
{
	return distances[distance_of(index)].text;
}

/* ---- options ---- */

static relopt_kind option_kind;

void
br_am_define_options(void)
{
	option_kind = add_reloption_kind();
	add_real_reloption(option_kind, "recall", "Share of the true nearest rows that a scan aims at",
					   BR_AM_DEFAULT_RECALL, BR_AM_LEAST_RECALL, BR_AM_MOST_RECALL,
					   AccessExclusiveLock);
	add_int_reloption(option_kind, "lists", "Lists of the next build; 0: by the number of rows", 0,
					  0, BR_AM_MAX_LISTS, AccessExclusiveLock);
	add_int_reloption(option_kind, "pending",
					  "Texts that may wait before an insert embeds them with its own",
					  BR_AM_DEFAULT_PENDING, 1, 1000000, AccessExclusiveLock);
	add_string_reloption(option_kind, "model",
						 "Model that embeds indexed text; empty: bundle_rec.default_model", "",
						 NULL, AccessExclusiveLock);
}

static bytea *
parse_options(Datum options, bool validate)
{
	static const relopt_parse_elt elements[] = {
		{"recall", RELOPT_TYPE_REAL, offsetof(BrAmOptions, recall)},
		{"lists", RELOPT_TYPE_INT, offsetof(BrAmOptions, lists)},
		{"pending", RELOPT_TYPE_INT, offsetof(BrAmOptions, pending)},
		{"model", RELOPT_TYPE_STRING, offsetof(BrAmOptions, model)},
	};

	return build_reloptions(options, validate, option_kind, sizeof(BrAmOptions), elements,
							lengthof(elements));
}

#define OPTIONS(index) ((const BrAmOptions *) (index)->rd_options)

double
br_am_option_recall(Relation index)
{
	return OPTIONS(index) == NULL ? BR_AM_DEFAULT_RECALL : OPTIONS(index)->recall;
}

int
br_am_option_lists(Relation index)
{
	return OPTIONS(index) == NULL ? 0 : OPTIONS(index)->lists;
}

int
br_am_option_pending(Relation index)
{
	return OPTIONS(index) == NULL ? BR_AM_DEFAULT_PENDING : OPTIONS(index)->pending;
}

const char *
br_am_option_model(Relation index)
{
	const BrAmOptions *options = OPTIONS(index);
	const char *model;

	if (options == NULL || options->model == 0)
		return NULL;
	model = (const char *) options + options->model;
	return model[0] == '\0' ? NULL : model;
}

/* ---- the handler ---- */

bool
br_am_is_index(Relation relation)
{
	return relation->rd_rel->relkind == RELKIND_INDEX && relation->rd_indam != NULL &&
		relation->rd_indam->ambuild == br_am_build;
}

PGDLLEXPORT Datum
br_ann_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *routine = makeNode(IndexAmRoutine);

	routine->amstrategies = 1;
	routine->amsupport = 1;
	routine->amcanorderbyop = true;
	/* no key need be restricted: what is asked for is an order */
	routine->amoptionalkey = true;
	routine->amparallelvacuumoptions = VACUUM_OPTION_PARALLEL_BULKDEL;
	routine->amkeytype = InvalidOid;

	routine->ambuild = br_am_build;
	routine->ambuildempty = br_am_build_empty;
	routine->aminsert = br_am_insert;
	routine->ambulkdelete = br_am_bulk_delete;
	routine->amvacuumcleanup = br_am_vacuum_cleanup;
	routine->amcostestimate = br_am_cost;
	routine->amoptions = parse_options;
	routine->ambuildphasename = br_am_build_phase;
	routine->amvalidate = br_am_validate;
	routine->ambeginscan = br_am_begin_scan;
	routine->amrescan = br_am_rescan;
	routine->amgettuple = br_am_next;
	routine->amendscan = br_am_end_scan;
	PG_RETURN_POINTER(routine);
}
