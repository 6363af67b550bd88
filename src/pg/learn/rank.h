/*
 * rank.h
 *	  What rankers weigh, for who scores as they do.
 */
#ifndef BR_PG_LEARN_RANK_H
#define BR_PG_LEARN_RANK_H

#include "postgres.h"

/* The learners whose evidence a ranker weighs; a bit for each kind. */
extern uint32 br_pg_ranked_item_kinds(void);
extern uint32 br_pg_ranked_bundle_kinds(void);

#endif /* BR_PG_LEARN_RANK_H */
