/*
 * module.c
 *	  The magic block and what happens when the library is loaded.
 *
 * Loading defines settings and nothing else: no thread is started and no
 * mathematics library is opened, since the library may be loaded by the
 * postmaster (shared_preload_libraries), whose children must be able to fork.
 */
#include "postgres.h"

#include "fmgr.h"

#include "pg/am/am.h"
#include "pg/br_pg.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	br_pg_define_settings();
	br_am_define_options();
}
