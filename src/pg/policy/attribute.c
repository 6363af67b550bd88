/*
 * attribute.c
 *	  From purchases in the catalog's events to feedback on slots.
 *
 * A purchase counts for the user's last decision before it that offered what
 * was bought, among decisions of policies whose reward names the kind and within
 * the window of the kind; there for every slot that holds the item, but its
 * margin once, for the topmost of them. So what a slot should have received is a
 * function of the log and of the events as they stand; what it has received is
 * in the feedback; the difference is appended. Events that come late, are taken
 * back or come again need no rules of their own, and a fold that is repeated
 * finds no difference left.
 *
 * Only users are looked at of whom events have come since the last time, and of
 * their decisions only those which these events, or others that they displace,
 * can belong to.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/guc.h"

#include "pg/catalog/catalog.h"
#include "pg/policy/attribute.h"
#include "pg/policy/reward.h"

/* rows of the queue per statement, so that memory stays bounded */
#define ATTRIBUTE_BATCH 5000

/*
 * Here @ is the catalog's number, $1 too, and $2 rows of the queue at most.
 *
 * due: rows taken out of the queue. Those that have yet to happen wait, since
 * what will be offered until then is not known.
 */
#define DUE                                                                                \
	"due AS (DELETE FROM bundle_rec.unattributed_event WHERE ctid = ANY (ARRAY("           \
	"  SELECT ctid FROM bundle_rec.unattributed_event"                                     \
	"  WHERE catalog = $1 AND occurred_at <= pg_catalog.now() ORDER BY user_id LIMIT $2))" \
	"  RETURNING *),"

/* what is attributed to whose decisions, and how far back from an event these may be */
#define NAMED                                                                                \
	"named AS MATERIALIZED (SELECT p.policy, k.key AS kind, " BR_PG_REWARD_WINDOW " AS span" \
	"  FROM bundle_rec.policy p, pg_catalog.jsonb_each(p.reward) k"                          \
	"  WHERE p.catalog = $1 AND k.key = ANY (" BR_PG_ATTRIBUTED_KINDS ")),"                  \
	" reach AS MATERIALIZED (SELECT pg_catalog.max(span) AS most FROM named),"

/*
 * The users, and the moment from which on their purchases may look otherwise
 * than before. A basket is as old as its first row.
 */
#define TOUCHED                                                                                              \
	"touched AS MATERIALIZED (SELECT user_id, pg_catalog.min(happened) - (SELECT most FROM reach) AS since"  \
	"  FROM (SELECT user_id, occurred_at AS happened FROM due UNION ALL"                                     \
	"   SELECT e.user_id, e.occurred_at FROM"                                                                \
	"   (SELECT DISTINCT source, basket_id FROM due WHERE basket_id IS NOT NULL) b"                          \
	"   CROSS JOIN LATERAL (SELECT user_id, occurred_at FROM bundle_rec.event_@ o WHERE o.source = b.source" \
	"    AND o.basket_id = b.basket_id AND o.kind = 'purchase' OFFSET 0) e) h"                               \
	"  WHERE user_id IS NOT NULL GROUP BY user_id),"

/*
 * Their decisions and what these offered. Decisions from before the events that
 * are kept are left as they are. The log's index of users has the database's
 * collation, events have another.
 */
#define OFFERED                                                                                                                                   \
	"decided AS MATERIALIZED (SELECT d.decision_id, d.user_id, d.decided_at, d.policy, d.slot_sizes,"                                             \
	"  d.slot_items, d.slot_item_share, d.slot_item_margin, d.slot_bundles, d.price, d.margin FROM touched t CROSS JOIN LATERAL"                  \
	"  (SELECT * FROM bundle_rec.decision_@ o WHERE o.user_id = t.user_id COLLATE pg_catalog.\"default\" AND o.decided_at >= t.since OFFSET 0) d" \
	"  WHERE NOT d.deterministic AND d.policy IN (SELECT policy FROM named)"                                                                      \
	"  AND d.decided_at >= (SELECT COALESCE(events_since, '-infinity')"                                                                           \
	"   FROM bundle_rec.catalog_state WHERE catalog = $1)),"                                                                                      \
	" slot AS MATERIALIZED (SELECT d.decision_id, s.rank::int, s.size,"                                                                           \
	"  pg_catalog.sum(s.size) OVER (PARTITION BY d.decision_id ORDER BY s.rank) - s.size AS before,"                                              \
	"  b.bundle_id, CASE WHEN d.price[s.rank] <= 1e12"                                                                                            \
	"  AND pg_catalog.abs(d.margin[s.rank]) <= 1e12 THEN d.price[s.rank] * d.margin[s.rank] END AS margin"                                        \
	"  FROM decided d CROSS JOIN LATERAL unnest(d.slot_sizes) WITH ORDINALITY AS s (size, rank)"                                                  \
	"  LEFT JOIN bundle_rec.bundle_@ b ON b.bundle = d.slot_bundles[s.rank]),"                                                                    \
	" member AS MATERIALIZED (SELECT s.decision_id, s.rank, i.item_id,"                                                                           \
	"  CASE WHEN m.share BETWEEN 0 AND 1 THEN m.share ELSE 1.0 / s.size END AS share,"                                                            \
	"  CASE WHEN pg_catalog.abs(m.margin) <= 1e12 THEN m.margin END AS margin,"                                                                   \
	"  s.rank = pg_catalog.min(s.rank) OVER (PARTITION BY s.decision_id, i.item_id) AS topmost"                                                   \
	"  FROM decided d JOIN slot s USING (decision_id) CROSS JOIN LATERAL"                                                                         \
	"  unnest(d.slot_items, d.slot_item_share, d.slot_item_margin) WITH ORDINALITY"                                                               \
	"   AS m (item, share, margin, place) CROSS JOIN LATERAL"                                                                                     \
	"  (SELECT item_id FROM bundle_rec.item_@ o WHERE o.item = m.item OFFSET 0) i"                                                                \
	"  WHERE m.place > s.before AND m.place <= s.before + s.size),"                                                                               \
	" offer AS (SELECT d.decision_id, d.policy, d.user_id, d.decided_at, o.whole, o.id"                                                           \
	"  FROM decided d JOIN (SELECT DISTINCT decision_id, false AS whole, item_id AS id FROM member"                                               \
	"   UNION ALL SELECT decision_id, true, bundle_id FROM slot WHERE bundle_id IS NOT NULL) o"                                                   \
	"  USING (decision_id)),"

/*
 * What they bought and did not return. The rows of a basket that name the same
 * thing are one purchase, at the time of the first; returns that name the basket
 * are taken out of it, as refresh does. Without a basket every moment is one.
 */
#define BOUGHT                                                                                                   \
	"held AS MATERIALIZED (SELECT DISTINCT e.source, e.user_id, e.basket_id, e.item_id, e.bundle_id,"            \
	"  CASE WHEN e.basket_id IS NULL THEN e.occurred_at END AS moment"                                           \
	"  FROM touched t CROSS JOIN LATERAL (SELECT * FROM bundle_rec.event_@ o"                                    \
	"   WHERE o.user_id = t.user_id AND o.occurred_at >= t.since OFFSET 0) e WHERE e.kind = 'purchase'"          \
	"  AND e.occurred_at <= pg_catalog.now()),"                                                                  \
	" line AS (SELECT h.*, e.kind, e.occurred_at, e.quantity, e.weight FROM held h CROSS JOIN LATERAL"           \
	"  (SELECT * FROM bundle_rec.event_@ o WHERE o.source = h.source AND o.basket_id = h.basket_id OFFSET 0) e"  \
	"  WHERE (e.kind = 'purchase' AND e.user_id = h.user_id OR e.kind = 'return')"                               \
	"  AND COALESCE(e.item_id = h.item_id, e.bundle_id = h.bundle_id) AND e.occurred_at <= pg_catalog.now()"     \
	"  UNION ALL SELECT h.*, e.kind, e.occurred_at, e.quantity, e.weight FROM held h CROSS JOIN LATERAL"         \
	"  (SELECT * FROM bundle_rec.event_@ o WHERE o.user_id = h.user_id AND o.occurred_at = h.moment OFFSET 0) e" \
	"  WHERE e.source = h.source AND e.basket_id IS NULL AND e.kind = 'purchase'"                                \
	"  AND COALESCE(e.item_id = h.item_id, e.bundle_id = h.bundle_id)),"                                         \
	" purchase AS MATERIALIZED (SELECT user_id, bundle_id IS NOT NULL AS whole,"                                 \
	"  COALESCE(item_id, bundle_id) AS id,"                                                                      \
	"  pg_catalog.min(occurred_at) FILTER (WHERE kind = 'purchase' AND live > 0) AS bought_at,"                  \
	"  pg_catalog.sum(CASE kind WHEN 'purchase' THEN amount ELSE -amount END) AS quantity,"                      \
	"  pg_catalog.row_number() OVER () AS number"                                                                \
	"  FROM (SELECT source, user_id, basket_id, item_id, bundle_id, moment, kind, occurred_at,"                  \
	"   pg_catalog.sum(weight) AS live, pg_catalog.sum(weight * LEAST(quantity, 1e9)) AS amount FROM line"       \
	"   GROUP BY 1, 2, 3, 4, 5, 6, 7, 8) l"                                                                      \
	"  GROUP BY source, user_id, basket_id, item_id, bundle_id, moment"                                          \
	"  HAVING pg_catalog.sum(CASE kind WHEN 'purchase' THEN amount ELSE -amount END) > 1e-9),"

/* the last matching decision of each purchase and kind, and what it sold by that */
#define CREDIT                                                                                               \
	"credit AS MATERIALIZED (SELECT decision_id, kind, whole, id, pg_catalog.sum(quantity) AS quantity FROM" \
	"  (SELECT DISTINCT ON (b.number, n.kind) o.decision_id, n.kind, b.whole, b.id, b.quantity"              \
	"   FROM purchase b JOIN offer o ON o.user_id = b.user_id AND o.whole = b.whole AND o.id = b.id"         \
	"   JOIN named n ON n.policy = o.policy"                                                                 \
	"   WHERE o.decided_at < b.bought_at AND b.bought_at <= o.decided_at + n.span"                           \
	"   ORDER BY b.number, n.kind, o.decided_at DESC, o.decision_id DESC) l"                                 \
	"  GROUP BY 1, 2, 3, 4),"

/*
 * What each slot should have received of each kind, and what it has. Explicit
 * feedback on a slot and kind leaves nothing to attribute.
 */
#define WORTH                                                                                           \
	"sold AS (SELECT m.decision_id, m.rank, n.kind, pg_catalog.bool_and(c.id IS NOT NULL) AS complete," \
	"  LEAST(1, COALESCE(pg_catalog.sum(m.share) FILTER (WHERE c.id IS NOT NULL), 0)) AS share,"        \
	"  COALESCE(pg_catalog.sum(c.quantity * m.margin) FILTER (WHERE m.topmost), 0) AS margin"           \
	"  FROM member m JOIN decided d USING (decision_id) JOIN named n USING (policy)"                    \
	"  LEFT JOIN credit c ON c.decision_id = m.decision_id AND c.kind = n.kind"                         \
	"   AND NOT c.whole AND c.id = m.item_id GROUP BY 1, 2, 3),"                                        \
	" worth AS (SELECT s.decision_id, s.rank, s.kind, CASE s.kind"                                      \
	"  WHEN 'purchase' THEN (s.complete OR c.id IS NOT NULL)::int::pg_catalog.float8"                   \
	"  WHEN 'partial_purchase' THEN CASE WHEN s.complete OR c.id IS NOT NULL THEN 1 ELSE s.share END"   \
	"  ELSE GREATEST(LEAST(s.margin + COALESCE(c.quantity * k.margin, 0), 1e12), -1e12) END AS value"   \
	"  FROM sold s JOIN slot k USING (decision_id, rank) LEFT JOIN credit c"                            \
	"  ON c.decision_id = s.decision_id AND c.kind = s.kind AND c.whole AND c.id = k.bundle_id),"       \
	" received AS MATERIALIZED (SELECT f.decision_id, f.rank, f.kind,"                                  \
	"  pg_catalog.bool_or(NOT f.attributed) AS explicit,"                                               \
	"  pg_catalog.count(*) FILTER (WHERE f.attributed) AS events,"                                      \
	"  COALESCE(pg_catalog.sum(f.value) FILTER (WHERE f.attributed), 0) AS value"                       \
	"  FROM decided d CROSS JOIN LATERAL (SELECT * FROM bundle_rec.feedback_@ o"                        \
	"   WHERE o.decision_id = d.decision_id OFFSET 0) f"                                                \
	"  WHERE f.kind = ANY (" BR_PG_ATTRIBUTED_KINDS ") GROUP BY 1, 2, 3),"                              \
	" owed AS MATERIALIZED (SELECT w.decision_id, w.rank, w.kind, COALESCE(r.events, 0) AS events,"     \
	"  CASE WHEN r.explicit THEN 0 ELSE w.value END - COALESCE(r.value, 0) AS value"                    \
	"  FROM worth w LEFT JOIN received r USING (decision_id, rank, kind)),"

/*
 * The last row of the queue that says something of a slot gives its event the
 * id: a keyed hash of the row, then rank and kind, since it may say something of
 * several, and how many such events there were before.
 */
#define ORIGIN                                                                                                               \
	"origin AS MATERIALIZED (SELECT DISTINCT ON (user_id, id) user_id, id, occurred_at,"                                     \
	"  bundle_rec.pseudonym(s.secret, 'source_' || source, pg_catalog.concat_ws(' ', user_id,"                               \
	"   id, whole, basket_id, kind, quantity, occurred_at)) AS row_id"                                                       \
	"  FROM (SELECT *, COALESCE(item_id, bundle_id) AS id, bundle_id IS NOT NULL AS whole FROM due) q,"                      \
	"  bundle_rec.catalog_secret s WHERE s.catalog = $1"                                                                     \
	"  ORDER BY user_id, id, occurred_at DESC, row_id),"                                                                     \
	" named_by AS (SELECT DISTINCT ON (w.decision_id, w.rank, w.kind) w.*, d.policy, COALESCE(o.row_id, 'source') AS row_id" \
	"  FROM owed w JOIN decided d USING (decision_id) JOIN slot s USING (decision_id, rank)"                                 \
	"  LEFT JOIN origin o ON o.user_id = d.user_id AND (o.id = s.bundle_id OR EXISTS (SELECT"                                \
	"   FROM member m WHERE m.decision_id = w.decision_id AND m.rank = w.rank AND m.item_id = o.id))"                        \
	"  WHERE pg_catalog.abs(w.value) > 1e-9"                                                                                 \
	"  ORDER BY w.decision_id, w.rank, w.kind, o.occurred_at DESC NULLS LAST, row_id),"

#define RECORD(rows)                                                                             \
	"recorded AS (INSERT INTO bundle_rec.feedback_@ (decision_id, event_id, rank, kind, value,"  \
	"  received_at, attributed) SELECT decision_id, row_id || ':' || rank || ':' || kind || ':'" \
	"  || events + 1, rank, kind, value, pg_catalog.now(), true FROM " rows                      \
	"  ON CONFLICT (decision_id, event_id) DO NOTHING RETURNING decision_id, event_id),"         \
	" queued AS (INSERT INTO bundle_rec.unfolded_feedback (policy, decision_id, event_id)"       \
	"  SELECT (SELECT policy FROM bundle_rec.decision_@ d WHERE d.decision_id = r.decision_id)," \
	"  r.decision_id, r.event_id FROM recorded r)"

static const char attribute_statement[] =
	"WITH " DUE " " NAMED " " TOUCHED " " OFFERED " " BOUGHT " " CREDIT " " WORTH " " ORIGIN
	" " RECORD("named_by") " SELECT FROM recorded";

/* $1 a policy: explicit feedback that it has yet to count, on slots that have attributed feedback */
static const char supersede_statement[] =
	"WITH given AS (SELECT DISTINCT f.decision_id, f.rank, f.kind"
	"  FROM bundle_rec.unfolded_feedback u JOIN bundle_rec.feedback_@ f USING (decision_id, event_id)"
	"  WHERE u.policy = $1 AND NOT f.attributed AND f.kind = ANY (" BR_PG_ATTRIBUTED_KINDS ")),"
	" superseded AS (SELECT a.decision_id, a.rank, a.kind, pg_catalog.count(*) AS events,"
	"  -pg_catalog.sum(a.value) AS value, 'superseded' AS row_id"
	"  FROM given JOIN bundle_rec.feedback_@ a USING (decision_id, rank, kind) WHERE a.attributed"
	"  GROUP BY 1, 2, 3 HAVING pg_catalog.abs(pg_catalog.sum(a.value)) > 1e-9),"
	" " RECORD("superseded") " SELECT FROM recorded";

/*
 * The planner cannot know how many rows the steps have. Hash joins are right
 * for any number, and where an index must be used the statement looks up row by
 * row (LATERAL ... OFFSET 0).
 */
static void
set_up_planner(void)
{
	static const char *const settings[] = {"enable_nestloop", "enable_mergejoin"};

	for (int i = 0; i < lengthof(settings); i++)
		br_pg_set_for_section(settings[i], "off");
}

void
br_pg_attribute(int32 catalog, int32 policy, Snapshot snapshot)
{
	static const Oid types[] = {INT4OID, INT4OID};
	Datum of_catalog[] = {Int32GetDatum(catalog), Int32GetDatum(ATTRIBUTE_BATCH)};
	Datum of_policy[] = {Int32GetDatum(policy)};

	int settings = NewGUCNestLevel();

	set_up_planner();
	while (br_pg_execute_once_at("SELECT FROM bundle_rec.unattributed_event WHERE catalog = $1"
								 " AND occurred_at <= pg_catalog.now() LIMIT 1",
								 1, types, of_catalog, snapshot) > 0)
	{
		CHECK_FOR_INTERRUPTS();
		br_pg_execute_once_at(br_pg_catalog_sql(attribute_statement, catalog), 2, types, of_catalog,
							  snapshot);
		SPI_freetuptable(SPI_tuptable);
	}
	br_pg_execute_once_at(br_pg_catalog_sql(supersede_statement, catalog), 1, types, of_policy,
						  snapshot);
	AtEOXact_GUC(true, settings);
}
