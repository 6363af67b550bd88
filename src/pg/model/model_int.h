/*
 * model_int.h
 *	  What the files that load models share.
 */
#ifndef BR_MODEL_INT_H
#define BR_MODEL_INT_H

#include "pg/model/model.h"

/* load.c: what is asked of the files of a model, wherever they come from */

/*
 * Raises 58P01 where a file is not there without which there is no model.
 * directory: where it was looked for; NULL: among files that a client gave.
 */
extern void br_pg_model_require_file(const char *directory, const char *path, bool there);

/* Raises 54000 where a file is larger than any that is read. */
extern void br_pg_model_require_size(const char *path, int64 size);

/* files.c: files that a client gave, in the memory context in which they are gathered */

/*
 * The files that an import may need among those given, in the current memory
 * context, *n of them; contents that came in one piece stay where they are.
 * Says how many others there were. What was given cannot be used again.
 */
extern BrModelFile *br_pg_given_needed(BrPgGiven *given, BrContext *context, int *n);

#endif /* BR_MODEL_INT_H */
