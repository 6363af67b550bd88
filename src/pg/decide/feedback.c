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

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "pg/decide/decision_log.h"
#include "pg/privacy/privacy.h"

/* What the log says of the decision that feedback is about. */
typedef struct LoggedDecision
{
	int32 policy;
	int32 slots;
	bool deterministic;
	bool anonymised; /* by forget_user */
	char *user_id;	 /* NULL: nobody's */
} LoggedDecision;

/* as it is now, whatever the caller's snapshot: forget_user may have changed it */
static LoggedDecision
find_decision(const BrPgCatalog *catalog, int64 decision_id)
{
	static const Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(decision_id)};
	LoggedDecision decision;
	uint64 found;
	bool is_null;

	PushActiveSnapshot(GetLatestSnapshot());
	found = br_pg_execute(psprintf("SELECT policy, pg_catalog.cardinality(slot_sizes),"
								   " deterministic, anonymised_at IS NOT NULL, user_id"
								   " FROM bundle_rec.decision_%d WHERE decision_id = $1",
								   catalog->number),
						  1, types, values, NULL, true, 1);
	PopActiveSnapshot();
	if (found == 0)
		br_pg_decision_unknown(decision_id);
	decision.policy = DatumGetInt32(br_pg_column(0, 1, &is_null));
	decision.slots = DatumGetInt32(br_pg_column(0, 2, &is_null));
	decision.deterministic = DatumGetBool(br_pg_column(0, 3, &is_null));
	decision.anonymised = DatumGetBool(br_pg_column(0, 4, &is_null));
	decision.user_id = br_pg_column_text(0, 5);
	return decision;
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
}

/* the event id stands there already: the same content is no error, other content is */
static void
check_same(const BrPgCatalog *catalog, const BrPgFeedback *feedback, const char *event_id)
{
	static const Oid types[] = {INT8OID, TEXTOID};
	Datum values[] = {Int64GetDatum(feedback->decision_id), CStringGetTextDatum(event_id)};
	bool is_null;
	int32 rank;
	char *kind;
	double value;

	br_pg_execute(psprintf("SELECT rank, kind, value FROM bundle_rec.feedback_%d"
						   " WHERE decision_id = $1 AND event_id = $2",
						   catalog->number),
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
insert_feedback(const BrPgCatalog *catalog, const BrPgFeedback *feedback, const char *event_id,
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
						   catalog->number),
				  7, types, values, NULL, false, 0);
	return SPI_processed == 1;
}

/*
 * The id under which feedback is recorded. What the application gave becomes a
 * keyed hash where the decision's user was forgotten, as the ids recorded
 * before did: a repeated one is still found.
 */
static const char *
recorded_event_id(const BrPgCatalog *catalog, const BrPgFeedback *feedback,
				  const LoggedDecision *decision)
{
	const char *made_up = psprintf("%d:%s", feedback->rank, feedback->kind);
	uint8 secret[BR_PG_HASH_BYTES];

	if (feedback->event_id == NULL || strcmp(feedback->event_id, made_up) == 0)
		return made_up;
	if (!decision->anonymised)
		return feedback->event_id;
	br_pg_secret(catalog->number, secret);
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

bool
br_pg_add_feedback(const BrPgFeedback *feedback)
{
	BrPgCatalog *catalog = br_pg_decision_catalog(feedback->decision_id);
	const char *event_id;
	BrPgForgotten forgotten;
	LoggedDecision decision;
	bool is_new;
	BrPgRights rights;

	br_pg_catalog_require_insert(catalog, "feedback", "give feedback on decisions");
	br_pg_forgotten_open(catalog->number, "feedback", &forgotten);
	br_pg_enter_owner(&rights);
	decision = find_decision(catalog, feedback->decision_id);
	if (br_pg_is_forgotten(&forgotten, decision.user_id))
		refuse_while_forgetting(feedback->decision_id);
	check_feedback(feedback, &decision);
	event_id = recorded_event_id(catalog, feedback, &decision);
	is_new = insert_feedback(catalog, feedback, event_id, &decision);
	if (!is_new)
		check_same(catalog, feedback, event_id);
	br_pg_leave(&rights);
	return is_new;
}
