/*
 * parameters.h
 *	  Numbers by name in a JSON object, as fit and compress_model take them.
 */
#ifndef BR_PG_PARAMETERS_H
#define BR_PG_PARAMETERS_H

#include "pg/br_pg.h"

#include "utils/jsonb.h"

typedef struct BrPgParameter
{
	const char *name; /* NULL: the end */
	double fallback;  /* what it is where it is not given; out of range: who reads it decides */
	double least;
	double most;
	bool whole;
} BrPgParameter;

/*
 * Sets numbers[i] to what is given for rules[i], or to its fallback. given: NULL
 * for all by default. taker: who takes them, as a message begins; example: an
 * object that it would take. Raises 22023 for another name, what is no number
 * in range, and what is no object.
 */
extern void br_pg_read_parameters(const BrPgParameter *rules, const char *taker,
								  const char *example, Jsonb *given, double *numbers);

/* All of them as an object. */
extern Jsonb *br_pg_parameters_json(const BrPgParameter *rules, const double *numbers);

#endif /* BR_PG_PARAMETERS_H */
