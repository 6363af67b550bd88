/*
 * learn_int.h
 *	  What the files of the learn room share.
 */
#ifndef LEARN_INT_H
#define LEARN_INT_H

#include "core/learn/br_learn.h"

static inline int64_t
br_learn_entries(const BrSparse *matrix)
{
	return matrix->starts[matrix->rows];
}

static inline float
br_learn_value(const BrSparse *matrix, int64_t place)
{
	return matrix->values != NULL ? matrix->values[place] : 1;
}

static inline void
br_learn_report(const BrProgress *progress, int64_t done, int64_t total)
{
	if (progress != NULL && progress->report != NULL)
		progress->report(progress->arg, done, total);
}

#endif /* LEARN_INT_H */
