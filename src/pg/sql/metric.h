/*
 * metric.h
 *	  What the files of metrics share.
 */
#ifndef BR_METRIC_H
#define BR_METRIC_H

#include "fmgr.h"

/* A row of the type metric; NaN is NULL there. */
extern Datum br_pg_metric(FunctionCallInfo fcinfo, double value, double error, double n);

/* Raises 22003 where value is NaN or infinite; name is the argument's. */
extern void br_pg_require_finite(double value, const char *name);

#endif /* BR_METRIC_H */
