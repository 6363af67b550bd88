/*
 * settings.c
 *	  The settings of scans.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "pg/am/am.h"

#define DEFAULT_HORIZON 150
#define DEFAULT_FULL_SCAN_ROWS 20000

int br_am_scan_order = BR_AM_SCAN_STRICT;
int br_am_horizon = DEFAULT_HORIZON;
int br_am_probes = 0;
double br_am_recall = 0;
int br_am_full_scan_rows = DEFAULT_FULL_SCAN_ROWS;

static const struct config_enum_entry scan_orders[] = {
	{"strict", BR_AM_SCAN_STRICT, false},
	{"relaxed", BR_AM_SCAN_RELAXED, false},
	{NULL, 0, false},
};

static bool
check_recall(double *value, void **extra pg_attribute_unused(),
			 GucSource source pg_attribute_unused())
{
	if (*value == 0 || (*value >= BR_AM_LEAST_RECALL && *value <= BR_AM_MOST_RECALL))
		return true;
	GUC_check_errdetail("A recall target is between %g and %g, or 0 for the index's own.",
						BR_AM_LEAST_RECALL, BR_AM_MOST_RECALL);
	return false;
}

void
br_am_define_settings(void)
{
	DefineCustomEnumVariable("bundle_rec.scan_order",
							 "Whether a bundle_ann scan may return a row later than its distance.",
							 "strict leaves out a row that is found too late for its place.",
							 &br_am_scan_order, BR_AM_SCAN_STRICT, scan_orders, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.horizon",
							"Rows that a bundle_ann scan may return from the nearest lists alone.",
							"Before any further row, all lists are looked at.", &br_am_horizon,
							DEFAULT_HORIZON, 1, 1000000, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.probes", "Lists that a bundle_ann scan begins with.",
							"0: as many as the recall target needs.", &br_am_probes, 0, 0,
							BR_AM_MAX_LISTS, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("bundle_rec.recall",
							 "Share of the true nearest rows that bundle_ann scans aim at.",
							 "0: what each index says, WITH (recall = ...).", &br_am_recall, 0, 0,
							 BR_AM_MOST_RECALL, PGC_USERSET, 0, check_recall, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.full_scan_rows",
							"Indexes of fewer rows are scanned with all lists from the beginning.",
							NULL, &br_am_full_scan_rows, DEFAULT_FULL_SCAN_ROWS, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
}
