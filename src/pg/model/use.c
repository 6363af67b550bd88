/*
 * use.c
 *	  What this session has done with each model, for model_info.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/model/model_int.h"

typedef struct Counted
{
	struct Counted *next;
	uint8 hash[BR_PG_HASH_SIZE];
	BrPgModelUse use;
} Counted;

BrPgModelUse *
br_pg_model_use(const uint8 hash[BR_PG_HASH_SIZE])
{
	static Counted *all = NULL;
	Counted *counted = all;

	while (counted != NULL && memcmp(counted->hash, hash, BR_PG_HASH_SIZE) != 0)
		counted = counted->next;
	if (counted == NULL)
	{
		counted = MemoryContextAllocZero(TopMemoryContext, sizeof(Counted));
		memcpy(counted->hash, hash, BR_PG_HASH_SIZE);
		counted->next = all;
		all = counted;
	}
	return &counted->use;
}
