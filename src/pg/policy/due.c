/*
 * due.c
 *	  Which policies have something to learn, and folding one of many.
 *
 * A scheduler folds all that is due in one statement: what stops one policy
 * must not keep the others from learning.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/policy/policy.h"

/* when a decision of p that was taken at u.decided_at is learned from */
#define CLOSES                                                              \
	"u.decided_at + (SELECT pg_catalog.max(COALESCE((k.value ->> 'window')" \
	"::pg_catalog.interval, p.attribution_window)) FROM pg_catalog.jsonb_each(p.reward) k)"

/* fold_size decisions and events that can be counted now, or one of them for fold_every */
static const char due[] =
	"SELECT p.name FROM bundle_rec.policy p WHERE"
	" (SELECT pg_catalog.count(*) FROM (SELECT FROM bundle_rec.unfolded_decision u"
	"  WHERE u.policy = p.policy AND " CLOSES " <= pg_catalog.now() LIMIT p.fold_size) d)"
	" + (SELECT pg_catalog.count(*) FROM (SELECT FROM bundle_rec.unfolded_feedback u"
	"  WHERE u.policy = p.policy AND NOT EXISTS (SELECT FROM bundle_rec.unfolded_decision w"
	"  WHERE w.decision_id = u.decision_id) LIMIT p.fold_size) f)"
	" >= CASE WHEN (SELECT pg_catalog.max(o.created_at) FROM bundle_rec.posterior o"
	"  WHERE o.policy = p.policy) <= pg_catalog.now() - p.fold_every THEN 1 ELSE p.fold_size END"
	" ORDER BY p.name";

char **
br_pg_policy_due(int *n)
{
	BrPgRights rights;
	uint64 found;
	char **names;
	int n_owned = 0;

	br_pg_enter_owner(&rights);
	found = br_pg_execute(due, 0, NULL, NULL, NULL, false, 0);
	br_pg_leave(&rights);
	names = palloc(sizeof(char *) * Max(found, 1));
	for (uint64 row = 0; row < found; row++)
		names[row] = br_pg_column_text(row, 1);
	for (uint64 i = 0; i < found; i++)
		if (br_pg_policy_is_owned(br_pg_policy_open(0, names[i])))
			names[n_owned++] = names[i];
	*n = n_owned;
	return names;
}

static int32
fold_as_owner(const char *name)
{
	BrPgRights rights;
	int32 version;

	br_pg_enter_owner(&rights);
	version = br_pg_policy_fold(name);
	br_pg_leave(&rights);
	return version;
}

/* a warning in the place of the error; what ends the whole statement is raised */
static void
warn_instead(const char *name, MemoryContext memory, ResourceOwner owner)
{
	ErrorData *error;

	MemoryContextSwitchTo(memory);
	error = CopyErrorData();
	FlushErrorState();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->elevel > ERROR)
		ReThrowError(error);
	ereport(WARNING,
			(errcode(error->sqlerrcode), errmsg("policy \"%s\" was not folded", name),
			 errdetail("%s",
					   error->detail == NULL ? error->message
											 : psprintf("%s: %s", error->message, error->detail)),
			 error->hint != NULL ? errhint("%s", error->hint) : 0));
	FreeErrorData(error);
}

bool
br_pg_policy_try_fold(const char *name, int32 *version)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool folded = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		*version = fold_as_owner(name);
		ReleaseCurrentSubTransaction();
		folded = true;
	}
	PG_CATCH();
	{
		warn_instead(name, memory, owner);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return folded;
}
