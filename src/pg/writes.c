/*
 * writes.c
 *	  What writes, asked where nothing can be written.
 *
 * Without this the first inner statement would complain, of a SELECT that the
 * caller never wrote, or of a lock mode.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"

#include "pg/br_pg.h"

void
br_pg_require_writes(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s during recovery", function),
				 errhint("Call it on the primary.")));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot execute %s in a read-only transaction", function),
				 errhint("Call it in a transaction that may write: BEGIN READ WRITE.")));
}
