/*
 * module.c
 *	  The magic block and what happens when the library is loaded.
 *
 * Loading defines settings: no thread is started and no mathematics library is
 * opened, since the library may be loaded by the postmaster
 * (shared_preload_libraries), whose children must be able to fork. There it asks
 * for the memory and the worker of the embedding service, too.
 */
#include "postgres.h"

#include "fmgr.h"

#include "pg/am/am.h"
#include "pg/br_pg.h"
#include "pg/service/service.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	br_pg_service_init();
	br_pg_define_settings();
	br_am_define_options();
}
