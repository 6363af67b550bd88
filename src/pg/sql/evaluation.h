/*
 * evaluation.h
 *	  What the SQL functions over states of off-policy estimators share.
 */
#ifndef BR_PG_EVALUATION_H
#define BR_PG_EVALUATION_H

#include "fmgr.h"
#include "utils/array.h"

#include "core/eval/br_eval.h"

/* The numbers of a float8[], of which there must be size; raises 22023 otherwise. */
extern double *br_pg_state_numbers(ArrayType *array, int size);

/* Argument 0, a state, to be changed: itself in an aggregate, elsewhere a copy. */
extern ArrayType *br_pg_own_state(FunctionCallInfo fcinfo);

/* Argument i, the state of an estimator, to be read; raises 22023 if it is none. */
extern const double *br_pg_estimator_state(FunctionCallInfo fcinfo, int i, BrContext *context);

/* br_pg_check for whatever looks at a state. */
extern void br_pg_check_state(BrStatus status, const BrContext *context);

#endif /* BR_PG_EVALUATION_H */
