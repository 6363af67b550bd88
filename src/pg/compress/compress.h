/*
 * compress.h
 *	  The door of compressing models: a smaller model beside one that is there.
 *
 * SPI must be connected.
 */
#ifndef BR_PG_COMPRESS_H
#define BR_PG_COMPRESS_H

#include "pg/br_pg.h"

#include "utils/jsonb.h"

typedef struct BrPgCompression
{
	const char *model;
	const char *new_name;
	const char *catalog; /* whose items' texts are read */
	const char *method;
	Jsonb *parameters; /* NULL: all by default */
} BrPgCompression;

/* What there was and what there is; NaN where a number says nothing. */
typedef struct BrPgCompressed
{
	const char *quantity;
	double before;
	double after;
} BrPgCompressed;

#define BR_PG_COMPRESSED_MAX 12

/*
 * Makes a smaller model, stores it with its lineage, and measures both on texts
 * that were left out of its making. Returns how many rows there are. Raises 22023
 * for a method or a parameter that there is not, 55000 for a catalog with too few
 * texts, 42501 for who is not the catalog's owner, and what storing a model does.
 */
extern int br_pg_compress(const BrPgCompression *compression,
						  BrPgCompressed rows[BR_PG_COMPRESSED_MAX]);

#endif /* BR_PG_COMPRESS_H */
