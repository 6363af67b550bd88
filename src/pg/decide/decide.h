/*
 * decide.h
 *	  One decision, from the request to the logged slate.
 *
 * The path: context (context.c) and candidates (candidates.c), the pool of
 * feasible bundles (pool.c), or for curated bundles both at once (curated.c), the
 * slate under the policy (decide.c), reasons (reasons.c), the log (log.c). All
 * reads of one decision use the caller's active snapshot; only the log writes.
 * Everything is palloc'd in the SPI context of the call. SPI must be connected.
 */
#ifndef BR_DECIDE_H
#define BR_DECIDE_H

#include "pg/br_pg.h"

#include "core/bandit/br_bandit.h"
#include "core/bundle/br_bundle.h"
#include "pg/catalog/catalog.h"
#include "pg/embedding.h"
#include "pg/learn/serving.h"
#include "pg/policy/policy.h"
#include "pg/rule/rule.h"

/* Candidates that bundles are made of; a full search over sizes 2 and 3 stays near 1 ms. */
#define BR_PG_CANDIDATES 60

/*
 * Money goes through core in millionths, so that sums of decimal prices are
 * whole numbers: exact, whatever the order, and 0.1 + 0.2 fits a budget of 0.3.
 */
#define BR_PG_MILLIONTHS 1e6

typedef enum BrPgLogging
{
	BR_PG_LOG_AUTO, /* on where it can be: off on standbys and in read-only transactions */
	BR_PG_LOG_ON,
	BR_PG_LOG_OFF
} BrPgLogging;

/* What the caller asked for, checked. */
typedef struct BrPgRequest
{
	const char *kind; /* "bundle", "item" or "curated" */
	bool curated;
	bool exclude_owned;						/* of curated bundles: what the user bought already */
	struct BrPgBundleTables *bundle_tables; /* of curated bundles */
	BrPgCatalog *catalog;
	BrPgPolicy *policy;
	BrPgServing *serving; /* learners */
	int32 ranker;		  /* version by whose weights bundles are scored; 0: the fixed ones */
	char *user_id;		  /* NULL: nobody in particular */
	int n_basket;
	char **basket;
	char *query; /* NULL: none */
	int wanted;
	BrConstraints constraints;
	bool has_budget;
	double budget; /* as asked for; constraints.budget is in millionths */
	bool has_margin;
	Datum categories; /* text[] */
	bool has_categories;
	int n_exclude;
	char **exclude;
	bool in_stock;
	double diversity; /* of the policy unless the caller says */
	BrPgLogging logging;
	bool seeded;
	int64 seed;
	BrPgRules *rules; /* of the catalog, in force now */
	Datum filters;	  /* jsonb: the filters as they were asked for, for the log */
} BrPgRequest;

/* An item that the request starts from. */
typedef struct BrPgContextItem
{
	int32 item;
	char *item_id;
	const char *source; /* "basket" or "history" */
	double weight;		/* of its evidence, in (0, 1] */
	int64 baskets;
} BrPgContextItem;

/* An item that may be offered, and where the evidence for it comes from. */
typedef struct BrPgItem
{
	BrCandidate candidate;
	char *item_id;
	char *category;
	BrEmbedding *embedding; /* NULL: not embedded yet */
	int64 baskets;
	int content_from; /* index into context, -1: none, -2: the query */
	double similarity;
	int copurchase_from; /* index into context, -1: none */
	int64 together;
	double strength; /* by which candidates are chosen */
	bool found;		 /* a bundle of the search before holds it */
	bool ready_only; /* a ready set needs it; no bundle is made of it (ready_sets.h) */
} BrPgItem;

typedef struct BrPgDecisionLearned BrPgDecisionLearned; /* learned.c */

/*
 * A curated bundle of the pool. Its pairs are kept with it: a matrix over all
 * items of the pool would mostly hold pairs of different bundles.
 */
typedef struct BrPgCurated
{
	int32 bundle; /* dense number */
	char *bundle_id;
	int64 purchases;	/* of the bundle as a whole */
	double *quantity;	/* (size): of each item */
	double *content;	/* (size, size), as below */
	double *copurchase; /* (size, size) */
	int64 *together;	/* (size, size) */
} BrPgCurated;

/* A bundle of the pool that a rule pins. */
typedef struct BrPgPinned
{
	const BrPgRule *rule;
	int member; /* of the pool */
	int slot;	/* from 0; -1: there is none left for it */
} BrPgPinned;

typedef struct BrPgDecision
{
	const BrPgRequest *request;
	int n_context;
	BrPgContextItem *context;
	BrPgDecisionLearned *learned;
	HTAB *proposals; /* of a request for generated bundles or items (proposals.h) */
	int n_items;
	BrPgItem *items; /* by dense number */
	double *content; /* (n_items, n_items): similarity of text, at least 0 */
	double *copurchase;
	int64 *together; /* (n_items, n_items): baskets with both */
	BrPool pool;
	BrPgCurated *curated; /* (pool.n) where the request is for curated bundles; else NULL */
	/* (pool.n) of generated bundles: the curated one that a member is, or NULL; NULL: none is any */
	char **curated_ids;
	int n_pinned;
	BrPgPinned *pinned;
	BrSlate slate;
	bool *explored;	   /* (slate.slots): the policy expected more of another that remained */
	char **reasons;	   /* (slate.slots): JSON text */
	uint64 key;		   /* random key */
	int64 decision_id; /* 0: not logged */
} BrPgDecision;

/*
 * Where the arguments stand in one of the functions that decide; -1: not an
 * argument of this one.
 */
typedef struct BrPgArgumentPlaces
{
	int user_id, basket, query, wanted, size, budget, min_margin, categories, exclude, in_stock,
		diversity, policy, log, seed, exclude_owned;
} BrPgArgumentPlaces;

/*
 * sql/recommend_sql.c: the arguments of a call, checked; the first is the
 * catalog. kind: see BrPgRequest; wanted: the argument's name. SPI must be
 * connected.
 */
extern BrPgRequest *br_pg_decide_request(FunctionCallInfo fcinfo, const char *kind,
										 const char *wanted, const BrPgArgumentPlaces *at);

/* Takes the decision and logs it as the request says. Fewer slots than wanted raise a NOTICE. */
extern BrPgDecision *br_pg_decide(const BrPgRequest *request);

/*
 * Context and candidates of a request. before: what a search found too little
 * among, so that this one looks further for what the constraints need; NULL: none.
 */
extern void br_pg_decide_context(BrPgDecision *decision);
extern void br_pg_decide_candidates(BrPgDecision *decision, const BrPgDecision *before);

/* choose_items.c */

/*
 * The strongest items, BR_PG_CANDIDATES of them. When those before did not make
 * enough feasible bundles: some of those that made any, and of the strongest, and
 * the rest of the room shared by the items that strain a budget and a margin
 * least. What rules want stands before either.
 */
extern void br_pg_decide_choose(BrPgDecision *decision, const BrPgDecision *before);

/* Sorts the items by dense number, and numbers their categories. */
extern void br_pg_decide_number(BrPgDecision *decision);

/*
 * Adds those of n items, none of which is there, that may be offered at any price,
 * marked as ready_only.
 */
extern void br_pg_decide_fetch_ready(BrPgDecision *decision, const int32 *items, int n);

/* Log-scaled to [0, 1]: n of all. */
extern double br_pg_decide_popularity(int64 n, int64 all);

/* 1 today, halved every 30 days; age in days, INFINITY: unknown. */
extern double br_pg_decide_freshness(double age);

/* Candidates and pool of a request for curated bundles; fewer than wanted raise a NOTICE. */
extern void br_pg_decide_curated(BrPgDecision *decision);

/* Place of an item among those of the decision, which stand by number; -1: none. */
extern int br_pg_decide_index_of(const BrPgDecision *decision, int32 item);

/* Affinities of the candidates, and the pool of feasible bundles. */
extern void br_pg_decide_pool(BrPgDecision *decision);

/*
 * Looks the pairs inside the chosen bundles up one by one, for their reasons:
 * the pool counts a pair only where one end is among the other's best partners.
 */
extern void br_pg_decide_exact_pairs(BrPgDecision *decision);

/* ---- what rules make of a decision (ruled.c) ---- */

/*
 * Moves items that rules want among the candidates, at most `room` in all, to
 * the front, where the first `reserved` are already; of equals the first. evenly:
 * requirements share the room, else each has a few. Returns how many stand there
 * then.
 */
extern int br_pg_decide_reserve(BrPgDecision *decision, int reserved, int room, bool evenly);

/* Tells the candidates, whose categories are numbered, what rules cap and require of them. */
extern void br_pg_decide_rule_candidates(BrPgDecision *decision);

/*
 * Finds what is pinned in the pool, or adds it where the constraints let it. What
 * cannot be offered is left out, with a message at DEBUG1.
 */
extern void br_pg_decide_pin(BrPgDecision *decision, const BrCandidate *candidates,
							 const BrAffinity *affinity);
extern void br_pg_decide_pin_curated(BrPgDecision *decision);

/* Gives what is pinned its slots, of so many; returns the pins of the request, *n of them. */
extern BrPin *br_pg_decide_place_pins(BrPgDecision *decision, int slots, int *n);

/* What is pinned to a slot of the slate, NULL where the policy chose. */
extern const BrPgPinned *br_pg_decide_pinned_to(const BrPgDecision *decision, int slot);

/* Curated bundles that rules pin, then those with most of what they boost, at most `room`. */
extern int32 *br_pg_decide_ruled_bundles(const BrPgRequest *request, int room, int *n);

/* Whether rules ban a curated bundle for its items, or cap it. */
extern bool br_pg_decide_rules_refuse(const BrPgRules *rules, const char *bundle_id,
									  char *const *item_ids, char *const *categories, int n);

/*
 * Fills reasons: why each slot was offered (features and what they add to the score,
 * pairs inside, evidence from the context, whether the policy explored).
 */
extern void br_pg_decide_reasons(BrPgDecision *decision);

/* Whether this call will write the log; raises where log => true cannot be honoured. */
extern bool br_pg_decide_will_log(const BrPgRequest *request);
extern void br_pg_decide_log(BrPgDecision *decision);

/* The ids of a bundle's items as text[]. */
extern ArrayType *br_pg_decide_item_ids(const BrPgDecision *decision, const BrBundle *bundle);

#endif /* BR_DECIDE_H */
