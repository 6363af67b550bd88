/*
 * warm_start.h
 *	  Teaching a policy from a log that was kept elsewhere.
 */
#ifndef BR_WARM_START_H
#define BR_WARM_START_H

#include "pg/br_pg.h"

/*
 * Counts the rows of a query, which runs with the caller's rights; returns how
 * many. SPI must be connected, in nobody's section; the caller of the function
 * owns the policy.
 */
extern int64 br_pg_policy_warm_start(const char *name, const char *query);

#endif /* BR_WARM_START_H */
