/*
 * bulk.h
 *	  Rows written straight into a table of the extension, many at a time.
 */
#ifndef BR_BULK_H
#define BR_BULK_H

#include "pg/br_pg.h"

/* Rows by columns: value r of column c is values[c][r]. */
typedef struct BrPgBatch
{
	int rows;
	int columns;
	const char *const *names; /* (columns) */
	Datum *const *values;	  /* (columns) of (rows) */
	bool *const *nulls;		  /* (columns) of (rows); NULL: values[c][0] for every row */
} BrPgBatch;

/*
 * Appends the rows to a table and its indexes; columns that are not named are
 * NULL, defaults and constraints are not looked at. What was written is seen by
 * the next statement of the transaction. Raises 23505 for a key that is there.
 */
extern void br_pg_bulk_insert(Oid table, const BrPgBatch *batch);

/* A relation of the extension's, by its name; raises 42P01 where somebody dropped it. */
extern Oid br_pg_relation(const char *name);

/* The table of a catalog, such as "event" of number 3 for event_3; raises 42P01. */
extern Oid br_pg_child(const char *table, int32 number);

/* The sequence of a catalog that numbers the rows of a table: "item" of 3 for item_3_number. */
extern Oid br_pg_sequence(const char *table, int32 number);

#endif /* BR_BULK_H */
