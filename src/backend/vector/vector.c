/*
 * vector.c
 *	  The choice of table.
 */
#include <stdlib.h>
#include <string.h>

#include "backend/vector/br_vector.h"

BrBackend *
br_vector_table(BrBackend tables[BR_VECTOR_SETS])
{
	const char *most = getenv(BR_BACKEND_ISA_VARIABLE);
	const BrBackend *source = NULL;
	BrBackend *table = &tables[2];

	if (most == NULL || strcmp(most, "avx512") == 0)
		source = br_vector_table_avx512();
	if (source == NULL)
	{
		table = &tables[1];
		if (most == NULL || strcmp(most, "baseline") != 0)
			source = br_vector_table_avx2();
	}
	if (source == NULL)
	{
		table = &tables[0];
		source = br_vector_table_baseline();
	}
	*table = *source;
	return table;
}
