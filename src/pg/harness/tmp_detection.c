#include "pg/harness/harness.h"
#include "postgres.h"
void
br_pg_evaluate_detection(BrPgEvaluation *evaluation, const char *seed)
{
}
