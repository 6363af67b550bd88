/*
 * reward.h
 *	  What a policy calls a reward, and where some of it comes from.
 *
 * A reward is a jsonb object: per kind of feedback a weight, or an object of a
 * weight and the window in which the kind is waited for. The pieces of SQL
 * below read it from a row p of bundle_rec.policy.
 */
#ifndef BR_REWARD_H
#define BR_REWARD_H

#include "pg/br_pg.h"

/* Kinds that are drawn from the events of the catalog's sources, as a text[]. */
#define BR_PG_ATTRIBUTED_KINDS "'{purchase,partial_purchase,margin}'::pg_catalog.text[]"

/*
 * Values of feedback and weights in rewards are at most this, either sign, so
 * that no sum of squares of them overflows.
 */
#define BR_PG_LARGEST_REWARD 1e12
#define BR_PG_LARGEST_REWARD_TEXT "1e12"

/* what feedback f is worth to policy p; NaN where no function of ours can have written it */
#define BR_PG_REWARD_OF_FEEDBACK                                                       \
	"(CASE WHEN pg_catalog.abs(f.value) <= " BR_PG_LARGEST_REWARD_TEXT " THEN f.value" \
	" ELSE 'NaN' END * COALESCE(CASE pg_catalog.jsonb_typeof(p.reward -> f.kind)"      \
	" WHEN 'object' THEN p.reward -> f.kind ->> 'weight'"                              \
	" ELSE p.reward ->> f.kind END::pg_catalog.float8, 0))"

/* how long after a decision p waits for a kind, a row (key, value) k of its reward */
#define BR_PG_REWARD_WINDOW \
	"COALESCE((k.value ->> 'window')::pg_catalog.interval, p.attribution_window)"

/* how long after a decision of policy $1 its slots are learned from */
#define BR_PG_LONGEST_WINDOW                                                    \
	"(SELECT pg_catalog.max(" BR_PG_REWARD_WINDOW ") FROM bundle_rec.policy p," \
	" pg_catalog.jsonb_each(p.reward) k WHERE p.policy = $1)"

/*
 * Raises 22023 for a reward that is none, and for a window (of the reward, or
 * the default one) that is negative or absurd; 55000 for a margin that a catalog
 * without prices and costs cannot tell. catalog 0: of no catalog. In an owner
 * section.
 */
extern void br_pg_reward_check(Datum reward, Datum window, int32 catalog);

#endif /* BR_REWARD_H */
