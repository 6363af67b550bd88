/*
 * split.h
 *	  Parts of a catalog's events that know nothing of each other.
 */
#ifndef BR_PG_LEARN_SPLIT_H
#define BR_PG_LEARN_SPLIT_H

#include "pg/learn/data.h"

/* The first 8 hexadecimal digits of md5(id || seed), as a number. */
extern uint32 br_pg_md5_number(const char *id, const char *seed);

/*
 * The unit that an event belongs to, so that nothing of a unit stands on both
 * sides of a split: its user, or where it has none its basket.
 */
extern const char *br_pg_event_unit(const BrPgLearnData *data, const BrPgLearnEvent *event);

#endif /* BR_PG_LEARN_SPLIT_H */
