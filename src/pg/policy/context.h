/*
 * context.h
 *	  Contexts of choices: what a policy declares, and the features that a given
 *	  context becomes.
 */
#ifndef BR_CONTEXT_H
#define BR_CONTEXT_H

#include "pg/br_pg.h"

#include "utils/jsonb.h"

#include "pg/embedding.h"

/*
 * A feature is at most this large: squares and products of it stay far from
 * overflow, and one broken value cannot blind a policy for good.
 */
#define BR_PG_MAX_FEATURE 1e6

/*
 * Features of a declared context: a number of them, or an object that names
 * each value and says what it holds: "number", "boolean", {"least": a, "most": b}
 * (scaled to [0, 1]), or a list of texts (one feature each; "*" takes all
 * others). NULL: 0. Raises 22023 where it is no such declaration.
 */
extern int br_pg_context_dims(Jsonb *declared);

/*
 * The features of a context as palloc'd floats, (br_pg_context_dims). given: a
 * float8[], a jsonb (an object, or an array of numbers) or an embedding, as type
 * says; InvalidOid: none. policy: the name, for messages. Raises 22023 or 22003
 * naming the feature.
 */
extern float *br_pg_context_features(const char *policy, Jsonb *declared, Oid type, Datum given);

/* n numbers as floats; raises 22023 or 22003: `what` and the number's place, from 1. */
extern float *br_pg_context_floats(const double *values, int n, const char *what);

/* A float8[] without NULLs, palloc'd; raises 22004 naming the argument. */
extern double *br_pg_float8_argument(ArrayType *array, const char *argument, int *n);

#endif /* BR_CONTEXT_H */
