/*
 * attribute.h
 *	  Rewards drawn from what users bought.
 */
#ifndef BR_ATTRIBUTE_H
#define BR_ATTRIBUTE_H

#include "pg/br_pg.h"

/*
 * Brings the attributed feedback of a catalog up to its events, and takes back
 * what explicit feedback on slots of the policy supersedes, as the snapshot saw
 * both. The caller has locked the catalog's policies that learn from purchases,
 * and no one else may run it for the catalog then. In an owner section. Costs
 * nothing where nothing waits.
 */
extern void br_pg_attribute(int32 catalog, int32 policy, Snapshot snapshot);

#endif /* BR_ATTRIBUTE_H */
