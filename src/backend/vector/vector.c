/*
 * vector.c
 *	  The choice of an instruction set.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/vector/br_vector.h"

const BrVectorSet *
br_vector_set(void)
{
	const char *most = getenv(BR_BACKEND_ISA_VARIABLE);
	const BrVectorSet *set = NULL;

	if (most == NULL || strncmp(most, "avx512", 6) == 0)
		set = br_vector_set_avx512();
	if (set == NULL && (most == NULL || strcmp(most, "baseline") != 0))
		set = br_vector_set_avx2();
	return set != NULL ? set : br_vector_set_baseline();
}
