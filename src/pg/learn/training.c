/*
 * training.c
 *	  What learners read: matrices of the events in use, each made on first use.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "pg/learn/learn_int.h"

/* users stand in for baskets where those that hold something together are so much rarer */
#define MANY_MORE_USERS 10

BrPgTraining *
br_pg_training_create(const BrPgLearnData *data, const bool *use, BrPgLooks *looks)
{
	BrPgTraining *training = palloc0(sizeof(BrPgTraining));

	training->data = data;
	training->use = use;
	training->memory = CurrentMemoryContext;
	training->looks = looks != NULL ? looks : br_pg_looks_create(data);
	return training;
}

const float *
br_pg_training_embeddings(const BrPgTraining *training)
{
	return br_pg_looks_embeddings(training->looks);
}

const BrLists *
br_pg_training_content(BrPgTraining *training)
{
	return br_pg_looks_content(training->looks);
}

const BrSparse *
br_pg_training_words(BrPgTraining *training)
{
	return br_pg_looks_words(training->looks);
}

const BrSparse *
br_pg_training_phrases(BrPgTraining *training)
{
	return br_pg_looks_phrases(training->looks);
}

const BrSparse *
br_pg_training_word_parts(BrPgTraining *training)
{
	return br_pg_looks_parts(training->looks);
}

static int
count_sets(const BrSparse *rows)
{
	int n = 0;

	for (int row = 0; row < rows->rows; row++)
		n += rows->starts[row + 1] - rows->starts[row] > 1;
	return n;
}

const BrSparse *
br_pg_training_user_items(BrPgTraining *training)
{
	MemoryContext outer = MemoryContextSwitchTo(training->memory);

	if (!training->has_user_items)
		training->user_items = br_pg_learn_user_items(training->data, training->use);
	training->has_user_items = true;
	MemoryContextSwitchTo(outer);
	return &training->user_items;
}

const BrSparse *
br_pg_training_sets(BrPgTraining *training)
{
	MemoryContext outer = MemoryContextSwitchTo(training->memory);

	if (!training->has_sets)
	{
		const BrSparse *users = br_pg_training_user_items(training);

		training->sets = br_pg_learn_baskets(training->data, training->use);
		training->sets_of_users = count_sets(&training->sets) * MANY_MORE_USERS < count_sets(users);
		if (training->sets_of_users)
			training->sets = *users;
	}
	training->has_sets = true;
	MemoryContextSwitchTo(outer);
	return &training->sets;
}

const BrSparse *
br_pg_training_user_bundles(BrPgTraining *training)
{
	MemoryContext outer = MemoryContextSwitchTo(training->memory);

	if (!training->has_user_bundles)
		training->user_bundles = br_pg_learn_user_bundles(training->data, training->use);
	training->has_user_bundles = true;
	MemoryContextSwitchTo(outer);
	return &training->user_bundles;
}

const BrSparse *
br_pg_training_bundle_items(BrPgTraining *training)
{
	const BrSparse *all = &training->data->bundle_items;
	MemoryContext outer = MemoryContextSwitchTo(training->memory);
	BrSparse *known = &training->bundle_items;

	if (training->bundle_known == NULL)
	{
		MemoryContextSwitchTo(outer);
		return all;
	}
	if (!training->has_bundle_items)
	{
		int64 n = 0;

		*known = *all;
		known->starts = palloc0(sizeof(int64_t) * ((Size) all->rows + 1));
		known->ids =
			palloc_extended(sizeof(int32_t) * Max(all->starts[all->rows], 1), MCXT_ALLOC_HUGE);
		known->values =
			palloc_extended(sizeof(float) * Max(all->starts[all->rows], 1), MCXT_ALLOC_HUGE);
		for (int row = 0; row < all->rows; row++)
		{
			for (int64 i = all->starts[row];
				 training->bundle_known[row] && i < all->starts[row + 1]; i++)
			{
				known->ids[n] = all->ids[i];
				known->values[n++] = all->values[i];
			}
			known->starts[row + 1] = n;
		}
	}
	training->has_bundle_items = true;
	MemoryContextSwitchTo(outer);
	return known;
}
