/*
 * refit.c
 *	  When what was learned is old.
 *
 * A fit reads all events, so it is no part of a refresh, which must cost what is
 * new. It is queued when a share of all events is new: each event then pays for
 * a constant number of events that are read again, however many there are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "pg/learn/learn.h"
#include "pg/worker/job.h"

static bool
is_stale(int32 catalog)
{
	static const Oid types[] = {INT4OID, FLOAT8OID};
	Datum values[] = {Int32GetDatum(catalog), Float8GetDatum(br_pg_refit_share)};

	return br_pg_execute("SELECT FROM bundle_rec.catalog_state s WHERE s.catalog = $1"
						 " AND s.events_counted > (SELECT pg_catalog.max(l.events)"
						 "  FROM bundle_rec.learned_version l WHERE l.catalog = $1 AND l.serving)"
						 "  * (1 + $2)"
						 " AND NOT EXISTS (SELECT FROM bundle_rec.stored_job j WHERE j.catalog = $1"
						 "  AND j.kind = 'fit' AND (j.state = 'queued' OR j.state = 'running'"
						 "  AND NOT bundle_rec.job_interrupted(j.job, j.updated_at)))",
						 lengthof(types), types, values, NULL, false, 0) > 0;
}

void
br_pg_refit_when_stale(const BrPgCatalog *catalog)
{
	BrPgRights rights;
	bool stale;

	if (br_pg_refit_share <= 0)
		return;
	br_pg_enter_owner(&rights);
	stale = is_stale(catalog->number);
	br_pg_leave(&rights);
	if (stale)
		(void) br_pg_job_queue_fit(catalog->name, NULL, NULL);
}
