/*
 * history.h
 *	  Which models served a catalog, from when until when, and why.
 *
 * All in an owner section, by whoever has locked the catalog or has just made it.
 */
#ifndef BR_CATALOG_HISTORY_H
#define BR_CATALOG_HISTORY_H

#include "pg/br_pg.h"

/* A model that serves a catalog, or is to. */
typedef struct BrPgService
{
	int32 catalog;
	int32 model;	 /* 0: none */
	const char *why; /* "created", "altered", "promoted", "forced" or "rolled back" */
	int64 gate;		 /* that it passed; 0: none */
	Oid by;			 /* role that asked for it */
} BrPgService;

/*
 * The model serves the catalog from now on, whichever it was moving to. Does
 * nothing but forget that move where the model is in service already.
 */
extern void br_pg_history_serve(const BrPgService *service);

/* The catalog moves to the model, in place of any that it was moving to; 0: it stays. */
extern void br_pg_history_plan(const BrPgService *service);

/* The catalog has moved to the model. */
extern void br_pg_history_switch(int32 catalog, int32 model);

/*
 * The model before the one in service, of those that are still there; 0: there
 * was none. One that was left by a rollback does not count: rolling back twice goes
 * back two models.
 */
extern int32 br_pg_history_former(int32 catalog);

#endif /* BR_CATALOG_HISTORY_H */
