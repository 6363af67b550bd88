/*
 * texts.h
 *	  Words of a catalog's texts, for learners and for baselines.
 */
#ifndef BR_PG_LEARN_TEXTS_H
#define BR_PG_LEARN_TEXTS_H

#include "pg/learn/learn_int.h"

/* A text as the learn room reads it; "" for NULL and for what is not UTF-8. */
extern BrText br_pg_read_text(const char *text);

/* The texts of the items, "" where there is none: (n_items). */
extern BrText *br_pg_training_texts(const BrPgLearnData *data);

/* TF-IDF of the words of each item's text, rows of length 1; false: no texts. */
extern bool br_pg_tf_idf_words(BrPgTraining *training, BrSparse *weights);

/* Nearest items by TF-IDF of words, nothing learned; no lists where there are no texts. */
extern void br_pg_tf_idf_lists(BrPgTraining *training, BrLists *lists);

/*
 * Bundles as vectors of the words of their items, and who owns some as the mean
 * of theirs.
 */
typedef struct BrPgProfiles BrPgProfiles;

/* NULL where there are no texts. */
extern BrPgProfiles *br_pg_profiles_create(BrPgTraining *training);
extern void br_pg_profile_scores(const BrPgProfiles *profiles, const int32_t *owned, int n,
								 float *scores /* (n_bundles) */);

/* TF-IDF of the words of each bundle's items, mean over them, of length 1: (n_bundles, terms). */
extern void br_pg_bundle_words(BrPgTraining *training, BrSparse *words);

#endif /* BR_PG_LEARN_TEXTS_H */
