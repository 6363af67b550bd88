#include "postgres.h"

#include "pg/harness/harness.h"
void
br_pg_evaluate_detection(BrPgEvaluation *evaluation, const char *seed)
{
}
