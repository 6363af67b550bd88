/*
 * feedback.c
 *	  Feedback on the slots of decisions, exactly once.
 *
 * Feedback is a row of its own, keyed by decision and event id, and a row in
 * the queue that fold empties: writers meet no common row. A repeated call
 * finds its row there and changes nothing.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#include "pg/bulk.h"
#include "pg/decide/decision_log.h"
#include "pg/policy/policy.h"
#include "pg/policy/reward.h"
#include "pg/privacy/privacy.h"

/* A log whose feedback is being written: of a catalog's decisions, or a policy's choices. */
typedef struct Target
{
	int32 number;	   /* 0: none yet */
	const char *table; /* "decision" or "choice" */
	BrPgForgotten forgotten;
} Target;

/* What the log says of the decision that feedback is about. */
typedef struct LoggedDecision
{
	int32 policy;
	int32 slots;
	char *algorithm; /* NULL: the policy was dropped */
	double weight;	 /* of this kind of feedback in its reward */
	bool deterministic;
	bool anonymised; /* by forget_user */
	char *user_id;	 /* NULL: nobody's */
} LoggedDecision;

/* as it is now, whatever the caller's snapshot: forget_user may have changed it */
static LoggedDecision
find_decision(const Target *target, int64 decision_id, const char *kind)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(decision_id), CStringGetTextDatum(kind)};
	LoggedDecision decision;
	uint64 found;
	bool is_null;

	PushActiveSnapshot(GetLatestSnapshot());
	found =
		br_pg_execute(psprintf("SELECT d.policy, pg_catalog.cardinality(d.%s),"
							   " d.deterministic, d.anonymised_at IS NOT NULL, d.user_id,"
							   " p.algorithm, CASE pg_catalog.jsonb_typeof(p.reward -> $2)"
							   " WHEN 'object' THEN p.reward -> $2 ->> 'weight'"
							   " ELSE p.reward ->> $2 END::pg_catalog.float8"
							   " FROM bundle_rec.%s_%d d LEFT JOIN bundle_rec.policy p"
							   " USING (policy) WHERE d.decision_id = $1",
							   strcmp(target->table, "choice") == 0 ? "slot_arms" : "slot_sizes",
							   target->table, target->number),
					  2, types, values, NULL, true, 1);
	PopActiveSnapshot();
	if (found == 0)
		br_pg_decision_unknown(decision_id);
	decision.policy = DatumGetInt32(br_pg_column(0, 1, &is_null));
	decision.slots = DatumGetInt32(br_pg_column(0, 2, &is_null));
	decision.deterministic = DatumGetBool(br_pg_column(0, 3, &is_null));
	decision.anonymised = DatumGetBool(br_pg_column(0, 4, &is_null));
	decision.user_id = br_pg_column_text(0, 5);
	decision.algorithm = br_pg_column_text(0, 6);
	decision.weight = br_pg_column_number(0, 7, 0);
	return decision;
}

/* A reward that the algorithm has no place for would be cut off when it is counted. */
static void
check_range(const BrPgFeedback *feedback, const LoggedDecision *decision)
{
	const BrAlgorithm *algorithm =
		decision->algorithm != NULL ? br_bandit_algorithm(decision->algorithm) : NULL;
	double reward = feedback->value * decision->weight;

	if (algorithm == NULL || !br_bandit_algorithm_bounded(algorithm) || fabs(reward) <= 1)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("a reward of %g is out of the range of the policy", reward),
			 errdetail("Feedback \"%s\" of %g weighs %g, and algorithm \"%s\" takes rewards from 0 "
					   "to 1.",
					   feedback->kind, feedback->value, decision->weight, decision->algorithm),
			 errhint(
				 "Give the kind a smaller weight with alter_policy, or use an algorithm for any "
				 "reward, such as thompson_gaussian.")));
}

static void
check_feedback(const BrPgFeedback *feedback, const LoggedDecision *decision)
{
	if (feedback->rank < 1 || feedback->rank > decision->slots)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("decision %lld has no rank %d", (long long) feedback->decision_id,
						feedback->rank),
				 errdetail("It offered ranks 1 to %d.", decision->slots)));
	if (feedback->kind[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the kind of feedback is empty"),
				 errhint("Give a kind such as 'click' or 'purchase'.")));
	if (!isfinite(feedback->value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the value of feedback must be finite, not %g", feedback->value)));
	check_range(feedback, decision);
	if (fabs(feedback->value) > BR_PG_LARGEST_REWARD)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("the value of feedback is out of range: %g", feedback->value),
				 errdetail("It is a number between %g and %g.", -BR_PG_LARGEST_REWARD,
						   BR_PG_LARGEST_REWARD)));
}

/*
 * A session may say whose it is. The log no longer knows the user of a decision
 * whose user was forgotten; then it must be somebody who was.
 */
static void
check_user(const BrPgFeedback *feedback, const LoggedDecision *decision, BrPgForgotten *forgotten)
{
	if (feedback->user_id == NULL)
		return;
	if (decision->anonymised
			? br_pg_is_forgotten(forgotten, feedback->user_id)
			: decision->user_id != NULL && strcmp(feedback->user_id, decision->user_id) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("decision %lld was not taken for user \"%s\"",
					(long long) feedback->decision_id, feedback->user_id),
			 errhint("Give the user that the decision was asked for, or leave user_id out.")));
}

/* the event id stands there already: the same content is no error, other content is */
static void
check_same(int32 number, const BrPgFeedback *feedback, const char *event_id)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(feedback->decision_id), CStringGetTextDatum(event_id)};
	bool is_null;
	int32 rank;
	char *kind;
	double value;

	br_pg_execute(psprintf("SELECT rank, kind, value FROM bundle_rec.feedback_%d"
						   " WHERE decision_id = $1 AND event_id = $2",
						   number),
				  2, types, values, NULL, false, 1);
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("event \"%s\" was recorded by a concurrent transaction", event_id),
				 errhint("Repeat the transaction.")));
	rank = DatumGetInt32(br_pg_column(0, 1, &is_null));
	kind = br_pg_column_text(0, 2);
	value = DatumGetFloat8(br_pg_column(0, 3, &is_null));
	if (rank != feedback->rank || strcmp(kind, feedback->kind) != 0 || value != feedback->value)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("event \"%s\" of decision %lld was recorded with other content", event_id,
						(long long) feedback->decision_id),
				 errdetail("Recorded: rank %d, kind \"%s\", value %g. Now: rank %d, kind \"%s\", "
						   "value %g.",
						   rank, kind, value, feedback->rank, feedback->kind, feedback->value),
				 errhint("A correction is a new event: give it an event_id of its own and the "
						 "difference as its value.")));
}

static bool
insert_feedback(int32 number, const BrPgFeedback *feedback, const char *event_id,
				const LoggedDecision *decision)
{
	static const Oid types[] = {INT8OID, TEXTOID, INT4OID, TEXTOID, FLOAT8OID, INT4OID, BOOLOID};
	Datum values[] = {
		Int64GetDatum(feedback->decision_id),	CStringGetTextDatum(event_id),
		Int32GetDatum(feedback->rank),			CStringGetTextDatum(feedback->kind),
		Float8GetDatum(feedback->value),		Int32GetDatum(decision->policy),
		BoolGetDatum(!decision->deterministic),
	};

	br_pg_execute(psprintf("WITH recorded AS (INSERT INTO bundle_rec.feedback_%d (decision_id,"
						   " event_id, rank, kind, value, received_at)"
						   " VALUES ($1, $2, $3, $4, $5, pg_catalog.now())"
						   " ON CONFLICT (decision_id, event_id) DO NOTHING RETURNING decision_id),"
						   " queued AS (INSERT INTO bundle_rec.unfolded_feedback (policy,"
						   " decision_id, event_id) SELECT $6, $1, $2 FROM recorded WHERE $7)"
						   " SELECT FROM recorded",
						   number),
				  7, types, values, NULL, false, 0);
	return SPI_processed == 1;
}

/*
 * The id under which feedback is recorded. What the application gave becomes a
 * keyed hash where the decision's user was forgotten, as the ids recorded
 * before did: a repeated one is still found.
 */
static const char *
recorded_event_id(int32 number, const BrPgFeedback *feedback, const LoggedDecision *decision)
{
	const char *made_up = psprintf("%d:%s", feedback->rank, feedback->kind);
	uint8 secret[BR_PG_HASH_BYTES];

	if (feedback->event_id == NULL || strcmp(feedback->event_id, made_up) == 0)
		return made_up;
	if (!decision->anonymised)
		return feedback->event_id;
	br_pg_secret(number, secret);
	return br_pg_pseudonym(secret, BR_PG_HASH_BYTES, "event", feedback->event_id);
}

static void
refuse_while_forgetting(int64 decision_id)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the user of decision %lld is just being forgotten", (long long) decision_id),
			 errhint("Repeat the transaction when forget_user has ended.")));
}

/* ---- doors ---- */

static void
require_insert(const BrPgPolicy *policy)
{
	if (!br_pg_policy_is_owned(policy) &&
		pg_class_aclcheck(br_pg_child("feedback", policy->catalog), GetUserId(), ACL_INSERT) !=
			ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to give feedback on choices of policy \"%s\"",
						policy->name),
				 errhint("GRANT INSERT ON bundle_rec.feedback_%d TO this role.", policy->catalog)));
}

/* asked of the system's caches: of most decisions the answer must not cost a statement */
static bool
are_choices(int32 number)
{
	return OidIsValid(
		get_relname_relid(psprintf("choice_%d", number), get_namespace_oid("bundle_rec", false)));
}

static void
aim(Target *target, int64 decision_id)
{
	int32 number = br_pg_decision_number(decision_id);
	bool choices;

	if (target->number == number)
		return;
	choices = are_choices(number);
	if (choices)
	{
		BrPgPolicy *policy = br_pg_policy_of_choices(number);

		if (policy == NULL)
			br_pg_decision_unknown(decision_id);
		require_insert(policy);
	}
	else
		br_pg_catalog_require_insert(br_pg_decision_catalog(decision_id), "feedback",
									 "give feedback on decisions");
	target->number = number;
	target->table = choices ? "choice" : "decision";
	br_pg_forgotten_open(number, "feedback", &target->forgotten);
}

static bool
add_feedback(Target *target, const BrPgFeedback *feedback)
{
	const char *event_id;
	LoggedDecision decision;
	bool is_new;
	BrPgRights rights;

	aim(target, feedback->decision_id);
	br_pg_enter_owner(&rights);
	decision = find_decision(target, feedback->decision_id, feedback->kind);
	if (br_pg_is_forgotten(&target->forgotten, decision.user_id))
		refuse_while_forgetting(feedback->decision_id);
	check_user(feedback, &decision, &target->forgotten);
	check_feedback(feedback, &decision);
	event_id = recorded_event_id(target->number, feedback, &decision);
	is_new = insert_feedback(target->number, feedback, event_id, &decision);
	if (!is_new)
		check_same(target->number, feedback, event_id);
	br_pg_leave(&rights);
	return is_new;
}

bool
br_pg_add_feedback(const BrPgFeedback *feedback)
{
	Target target = {.number = 0};

	return add_feedback(&target, feedback);
}

/* An element of a batch; two batches of the same events lock them in the same order. */
typedef struct Element
{
	const BrPgFeedback *feedback;
	int place; /* from 1 */
} Element;

static int
compare_elements(const void *left, const void *right)
{
	const Element *a = left, *b = right;
	const char *of_a = a->feedback->event_id, *of_b = b->feedback->event_id;
	int order;

	if (a->feedback->decision_id != b->feedback->decision_id)
		return a->feedback->decision_id < b->feedback->decision_id ? -1 : 1;
	order = strcmp(of_a != NULL ? of_a : "", of_b != NULL ? of_b : "");
	if (order == 0)
		order = a->feedback->rank - b->feedback->rank;
	if (order == 0)
		order = strcmp(a->feedback->kind, b->feedback->kind);
	return order != 0 ? order : a->place - b->place;
}

static void
name_element(void *argument)
{
	errcontext("element %d of feedback_batch", ((const Element *) argument)->place);
}

int64
br_pg_add_feedback_batch(const BrPgFeedback *feedback, int n)
{
	Element *elements = palloc(sizeof(Element) * Max(n, 1));
	Target target = {.number = 0};
	int64 n_new = 0;

	for (int i = 0; i < n; i++)
		elements[i] = (Element){.feedback = &feedback[i], .place = i + 1};
	qsort(elements, n, sizeof(Element), compare_elements);
	for (int i = 0; i < n; i++)
	{
		ErrorContextCallback context = {error_context_stack, name_element, &elements[i]};

		CHECK_FOR_INTERRUPTS();
		error_context_stack = &context;
		if (add_feedback(&target, elements[i].feedback))
			n_new++;
		error_context_stack = context.previous;
	}
	return n_new;
}
