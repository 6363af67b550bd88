/*
 * detection.c
 *	  Naming the bundles of sessions that nobody has seen.
 *
 * Beside the learned detector stand the session as one, all of its pairs, and
 * clusters of titles, whose cut is chosen on the training sessions. Metrics are
 * means over sessions, so that a session with many bundles counts no more than
 * another; "all pairs" names many bundles exactly, and pays for it in F1.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/harness/harness.h"
#include "pg/learn/kinds.h"
#include "pg/learn/sessions.h"
#include "pg/learn/texts.h"

/* cuts that are tried: 0, .01, ... .3, .34, ... .98 */
#define FINE_CUTS 30
#define FINE_STEP 0.01
#define CUTS 48
#define COARSE_STEP 0.04

/* Sets of one session that a method names. */
typedef struct Named
{
	int n;
	int *starts;  /* (n + 1) */
	int *members; /* (starts[n]) */
	int *all;	  /* (n): 0, 1, ... */
} Named;

/* What names the bundles of one seed. */
typedef struct Naming
{
	BrPgEvaluation *evaluation;
	BrPgTraining *training;
	BrDetector detector;
	bool has_words;
	BrSparse words; /* TF-IDF of the items' texts */
	double cut;
} Naming;

static Named
named_create(int most_sets, int most_members)
{
	Named named = {.starts = palloc0(sizeof(int) * (most_sets + 1)),
				   .members = palloc(sizeof(int) * Max(most_members, 1)),
				   .all = palloc(sizeof(int) * Max(most_sets, 1))};

	for (int i = 0; i < most_sets; i++)
		named.all[i] = i;
	return named;
}

static BrPgDetected
judge(const BrPgSession *session, const Named *named)
{
	return br_pg_judge_sets(session, named->starts, named->members, named->all, named->n);
}

static void
end_set(Named *named, int size)
{
	named->starts[named->n + 1] = named->starts[named->n] + size;
	named->n++;
}

static Named
name_whole(const BrPgSession *session)
{
	Named named = named_create(1, session->n);

	for (int i = 0; i < session->n; i++)
		named.members[i] = i;
	end_set(&named, session->n);
	return named;
}

static Named
name_pairs(const BrPgSession *session)
{
	int n = session->n * (session->n - 1) / 2;
	Named named = named_create(n, 2 * n);

	for (int i = 0; i < session->n; i++)
		for (int j = i + 1; j < session->n; j++)
		{
			named.members[2 * named.n] = i;
			named.members[2 * named.n + 1] = j;
			end_set(&named, 2);
		}
	return named;
}

/* ---- clusters of titles ---- */

static BrMerge *
link_titles(const Naming *naming, const BrPgSession *session)
{
	int n = session->n;
	double *similarity = palloc0(sizeof(double) * n * n);
	BrMerge *merges = palloc(sizeof(BrMerge) * n);
	BrContext context;

	for (int i = 0; i < n; i++)
		for (int j = i + 1; j < n; j++)
			similarity[i * n + j] =
				br_learn_sparse_product(&naming->words, session->items[i], session->items[j]);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_average_linkage(&context, similarity, n, merges), &context,
				"could not cluster a session", NULL);
	pfree(similarity);
	return merges;
}

/* clusters whose links are all at or above the cut; single items are no bundle */
static Named
name_clusters(const BrPgSession *session, const BrMerge *merges, double cut)
{
	int n = session->n;
	Named named = named_create(n, n);
	int *cluster = palloc(sizeof(int) * n);
	int joined = 0;

	for (int i = 0; i < n; i++)
		cluster[i] = i;
	while (joined < n - 1 && merges[joined].link >= cut)
	{
		for (int i = 0; i < n; i++)
			if (cluster[i] == merges[joined].left || cluster[i] == merges[joined].right)
				cluster[i] = n + joined;
		joined++;
	}
	for (int c = n; c < n + joined; c++)
	{
		int size = 0;

		for (int i = 0; i < n; i++)
			if (cluster[i] == c)
				named.members[named.starts[named.n] + size++] = i;
		if (size > 0)
			end_set(&named, size);
	}
	pfree(cluster);
	return named;
}

static double
cut_of(int step)
{
	return step <= FINE_CUTS ? step * FINE_STEP
							 : FINE_CUTS * FINE_STEP + (step - FINE_CUTS) * COARSE_STEP;
}

/* the cut with the highest mean F1 on the training sessions */
static double
choose_cut(const Naming *naming)
{
	double sums[CUTS] = {0};
	int n, best = 0;
	BrPgSession *sessions = br_pg_sessions(naming->training->data, naming->training->use, &n);

	for (int s = 0; s < n; s++)
	{
		BrMerge *merges = link_titles(naming, &sessions[s]);

		for (int step = 0; step < CUTS; step++)
		{
			Named named = name_clusters(&sessions[s], merges, cut_of(step));

			sums[step] += judge(&sessions[s], &named).f1;
			pfree(named.starts);
			pfree(named.members);
			pfree(named.all);
		}
		pfree(merges);
		CHECK_FOR_INTERRUPTS();
	}
	for (int step = 1; step < CUTS; step++)
		if (sums[step] > sums[best])
			best = step;
	return cut_of(best);
}

/* ---- what was learned ---- */

static Named
name_learned(const Naming *naming, const BrPgPurchases *purchases, const BrPgSession *session)
{
	int n = session->n;
	float *features = palloc(sizeof(float) * BR_PAIR_COUNT * n * n);
	double *probability = palloc(sizeof(double) * n * n);
	double *scores = palloc(sizeof(double) * 2 * n);
	Named named = named_create(2 * n, 0);
	BrSessionSets sets;
	BrContext context;

	br_pg_session_features(naming->training->data, br_pg_training_embeddings(naming->training),
						   purchases, session, features);
	br_bundle_detect_pairs(&naming->detector, features, n, probability);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_detect_sets(&context, probability, n, &sets), &context,
				"could not propose sets of a session", NULL);
	br_bundle_detect_scores(&naming->detector, &sets, scores);
	named.starts = sets.starts;
	named.members = sets.members;
	named.n = br_bundle_detect_choose(scores, sets.n, naming->detector.threshold, named.all);
	return named;
}

/* what detect_bundles would go by */
static void
fit_detector(Naming *naming)
{
	BrPgLearned *learned = palloc0(sizeof(BrPgLearned));

	learned->kind = BR_PG_KIND_DETECTOR;
	initStringInfo(&learned->figures);
	br_pg_read_fit_parameters(BR_PG_KIND_DETECTOR, NULL, learned->parameters);
	if (br_pg_fit_detector(naming->training, learned) == NULL)
		br_pg_detector_read(learned->weights, &naming->detector);
	else
		naming->detector = naming->training->data->embeddings != NULL
			? br_bundle_fixed_detector
			: br_bundle_fixed_detector_of_words;
}

/* ---- a seed ---- */

static void
tell(BrPgBoard *board, const char *method, BrPgDetected detected)
{
	br_pg_board_value(board, method, "exact", detected.exact);
	br_pg_board_value(board, method, "f1", detected.f1);
}

static void
name_all(const Naming *naming, const BrPgPurchases *purchases, const BrPgSession *session,
		 int32 unit)
{
	BrPgBoard *board = naming->evaluation->board;
	Named whole = name_whole(session), pairs = name_pairs(session), clusters, learned;

	br_pg_board_begin_case(board, unit, 0, 0, NULL, NULL);
	tell(board, "whole", judge(session, &whole));
	tell(board, "pairs", judge(session, &pairs));
	if (naming->has_words)
	{
		clusters = name_clusters(session, link_titles(naming, session), naming->cut);
		tell(board, "clusters", judge(session, &clusters));
	}
	learned = name_learned(naming, purchases, session);
	tell(board, "detector", judge(session, &learned));
}

void
br_pg_evaluate_detection(BrPgEvaluation *evaluation, const char *seed)
{
	BrPgParts parts = br_pg_split_events(evaluation, seed, true);
	Naming naming = {.evaluation = evaluation,
					 .training =
						 br_pg_training_create(evaluation->data, parts.train, evaluation->looks)};
	MemoryContext memory, outer;
	BrPgPurchases *purchases;
	BrPgSession *sessions;
	int32 *units;
	int n;

	fit_detector(&naming);
	naming.has_words = br_pg_tf_idf_words(naming.training, &naming.words);
	if (naming.has_words)
		naming.cut = choose_cut(&naming);
	sessions = br_pg_sessions(evaluation->data, parts.test, &n);
	units = br_pg_split_basket_units(evaluation, parts.test);
	purchases = br_pg_purchases_create(evaluation->data, parts.train, sessions, n);
	memory = AllocSetContextCreate(CurrentMemoryContext, "session", ALLOCSET_DEFAULT_SIZES);
	outer = MemoryContextSwitchTo(memory);
	for (int s = 0; s < n; s++)
	{
		CHECK_FOR_INTERRUPTS();
		name_all(&naming, purchases, &sessions[s], units[sessions[s].basket]);
		MemoryContextReset(memory);
	}
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(memory);
}
