/*
 * compat.h
 *	  The only place for differences between PostgreSQL versions.
 */
#ifndef BR_COMPAT_H
#define BR_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000 || PG_VERSION_NUM >= 160000
#error "bundle_rec is tested with PostgreSQL 15 only"
#endif

#endif /* BR_COMPAT_H */
