/*
 * learn_detector.c
 *	  Which sets of a session's items are bundles, learned from sessions whose
 *	  bundles are known.
 *
 * In three steps, each over what the one before says: how probably two items
 * stand in one bundle; what Jaccard index to expect of a set with the bundle most
 * like it; and from which expectation on a set should be named. Bundles that are
 * the whole of their session say nothing about pairs: all would be together. A
 * model that was trained may know these bundles, so that embeddings are those from
 * before it was (untrained.c).
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/learn/kinds.h"
#include "pg/learn/sessions.h"

/* fewer sessions than these say nothing about the weights */
#define LEAST_SESSIONS 20
/* thresholds that are tried: .3, .325, ... .95 */
#define FIRST_THRESHOLD 0.3
#define THRESHOLD_STEP 0.025
#define THRESHOLDS 27

/* A session on its way through the steps. */
typedef struct Example
{
	const BrPgSession *session;
	float *features; /* (n, n, BR_PAIR_COUNT) */
	BrSessionSets sets;
	double *scores; /* (sets.n) */
} Example;

static Size
feature_bytes(const BrPgSession *session)
{
	return sizeof(float) * BR_PAIR_COUNT * (Size) session->n * session->n;
}

/*
 * Every so many-th session, as many as are asked for and memory holds, in the first
 * places of the sessions; *n of them.
 */
static Example *
choose_examples(BrPgSession *sessions, int n_sessions, int most, int *n)
{
	Example *examples = palloc_extended(sizeof(Example) * Max(n_sessions, 1), MCXT_ALLOC_HUGE);
	Size bytes = 0;
	int stride;

	for (int s = 0; s < n_sessions; s++)
		bytes += 4 * feature_bytes(&sessions[s]);
	stride = Max((n_sessions + most - 1) / most, (int) (bytes / Max(br_pg_fit_memory(), 1)) + 1);
	*n = 0;
	for (int s = 0; s < n_sessions; s += stride)
	{
		sessions[*n] = sessions[s];
		examples[*n] = (Example){.session = &sessions[*n]};
		(*n)++;
	}
	return examples;
}

/* ---- pairs ---- */

/* whether two places stand in one bundle that is not the whole session */
static bool
are_bundled(const BrPgSession *session, int left, int right)
{
	for (int b = 0; b < session->n_bundles; b++)
	{
		int size = session->starts[b + 1] - session->starts[b];
		bool has_left = false, has_right = false;

		for (int i = session->starts[b]; size < session->n && i < session->starts[b + 1]; i++)
		{
			has_left = has_left || session->members[i] == left;
			has_right = has_right || session->members[i] == right;
		}
		if (has_left && has_right)
			return true;
	}
	return false;
}

static bool
tells_of_pairs(const BrPgSession *session)
{
	for (int b = 0; b < session->n_bundles; b++)
		if (session->starts[b + 1] - session->starts[b] < session->n)
			return true;
	return false;
}

static const char *
fit_pairs(const Example *examples, int n, double l2, BrDetector *detector, BrPgLearned *learned)
{
	BrExamples pairs = {.features = BR_PAIR_COUNT};
	int64 most = 0, bundled = 0;
	float *values, *targets;
	BrContext context;

	for (int e = 0; e < n; e++)
		most += examples[e].session->n * (examples[e].session->n - 1) / 2;
	values = palloc_extended(sizeof(float) * BR_PAIR_COUNT * Max(most, 1), MCXT_ALLOC_HUGE);
	targets = palloc_extended(sizeof(float) * Max(most, 1), MCXT_ALLOC_HUGE);
	for (int e = 0; e < n; e++)
		for (int i = 0; tells_of_pairs(examples[e].session) && i < examples[e].session->n; i++)
			for (int j = i + 1; j < examples[e].session->n; j++)
			{
				memcpy(values + pairs.n * BR_PAIR_COUNT,
					   examples[e].features +
						   ((Size) i * examples[e].session->n + j) * BR_PAIR_COUNT,
					   sizeof(float) * BR_PAIR_COUNT);
				targets[pairs.n] = are_bundled(examples[e].session, i, j);
				bundled += targets[pairs.n++] > 0;
			}
	pairs.values = values;
	pairs.targets = targets;
	br_pg_add_figure(learned, "pairs", (double) pairs.n);
	if (bundled == 0 || bundled == pairs.n)
		return "No basket tells which of its items were bundled and which were not.";
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_logistic_fit(&context, &pairs, l2, detector->pair), &context,
				"could not learn which items belong together", NULL);
	pfree(values);
	pfree(targets);
	return NULL;
}

/* ---- sets ---- */

static void
propose_sets(Example *example, const BrDetector *detector)
{
	int n = example->session->n;
	double *probability = palloc(sizeof(double) * n * n);
	BrContext context;

	br_bundle_detect_pairs(detector, example->features, n, probability);
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_bundle_detect_sets(&context, probability, n, &example->sets), &context,
				"could not propose sets of a session", NULL);
	pfree(probability);
}

static void
fit_sets(const Example *examples, int n, double l2, BrDetector *detector)
{
	BrExamples sets = {.features = BR_SET_COUNT};
	float *values, *targets;
	BrContext context;
	int64 most = 0;

	for (int e = 0; e < n; e++)
		most += examples[e].sets.n;
	values = palloc_extended(sizeof(float) * BR_SET_COUNT * Max(most, 1), MCXT_ALLOC_HUGE);
	targets = palloc_extended(sizeof(float) * Max(most, 1), MCXT_ALLOC_HUGE);
	for (int e = 0; e < n; e++)
	{
		const BrSessionSets *proposed = &examples[e].sets;

		memcpy(values + sets.n * BR_SET_COUNT, proposed->features,
			   sizeof(float) * BR_SET_COUNT * proposed->n);
		for (int s = 0; s < proposed->n; s++)
			targets[sets.n++] =
				(float) br_pg_best_jaccard(examples[e].session,
										   proposed->members + proposed->starts[s],
										   proposed->starts[s + 1] - proposed->starts[s]);
	}
	sets.values = values;
	sets.targets = targets;
	br_pg_context(&context, CurrentMemoryContext);
	br_pg_check(br_learn_logistic_fit(&context, &sets, l2, detector->set), &context,
				"could not learn which sets are bundles", NULL);
	pfree(values);
	pfree(targets);
}

/* ---- the threshold ---- */

static BrPgDetected
judge(const Example *examples, int n, double threshold)
{
	BrPgDetected mean = {0, 0};
	int chosen[2 * BR_BUNDLE_MAX_SESSION];

	for (int e = 0; e < n; e++)
	{
		const BrSessionSets *sets = &examples[e].sets;
		int n_chosen = br_bundle_detect_choose(examples[e].scores, sets->n, threshold, chosen);
		BrPgDetected one =
			br_pg_judge_sets(examples[e].session, sets->starts, sets->members, chosen, n_chosen);

		mean.exact += one.exact / n;
		mean.f1 += one.f1 / n;
	}
	return mean;
}

static void
choose_threshold(Example *examples, int n, BrDetector *detector, BrPgLearned *learned)
{
	BrPgDetected best = {0, -1};

	for (int e = 0; e < n; e++)
	{
		examples[e].scores = palloc(sizeof(double) * Max(examples[e].sets.n, 1));
		br_bundle_detect_scores(detector, &examples[e].sets, examples[e].scores);
	}
	for (int step = 0; step < THRESHOLDS; step++)
	{
		double threshold = FIRST_THRESHOLD + step * THRESHOLD_STEP;
		BrPgDetected there = judge(examples, n, threshold);

		if (there.f1 > best.f1)
		{
			best = there;
			detector->threshold = threshold;
		}
		CHECK_FOR_INTERRUPTS();
	}
	br_pg_add_figure(learned, "threshold", detector->threshold);
	br_pg_add_figure(learned, "exact", best.exact);
	br_pg_add_figure(learned, "f1", best.f1);
}

const char *
br_pg_fit_detector(BrPgTraining *training, BrPgLearned *learned)
{
	double l2 = learned->parameters[BR_PG_DETECTOR_L2];
	BrDetector *detector = palloc0(sizeof(BrDetector));
	int n_sessions, n;
	BrPgSession *sessions = br_pg_sessions(training->data, training->use, &n_sessions);
	BrPgPurchases *purchases;
	const float *embeddings;
	Example *examples;
	const char *reason;

	if (n_sessions < LEAST_SESSIONS)
		return psprintf("In only %d baskets of 2 to %d items a curated bundle was bought; a detector"
						" needs %d.",
						n_sessions, BR_BUNDLE_MAX_SESSION, LEAST_SESSIONS);
	examples = choose_examples(sessions, n_sessions,
							   (int) learned->parameters[BR_PG_DETECTOR_SESSIONS], &n);
	purchases = br_pg_purchases_create(training->data, training->use, sessions, n);
	embeddings = br_pg_looks_embeddings(br_pg_looks_untrained(training->looks));
	for (int e = 0; e < n; e++)
	{
		examples[e].features = palloc_extended(feature_bytes(examples[e].session), MCXT_ALLOC_HUGE);
		br_pg_session_features(training->data, embeddings, purchases, examples[e].session,
							   examples[e].features);
		CHECK_FOR_INTERRUPTS();
	}
	br_pg_add_figure(learned, "sessions", n);
	reason = fit_pairs(examples, n, l2, detector, learned);
	if (reason != NULL)
		return reason;
	for (int e = 0; e < n; e++)
	{
		propose_sets(&examples[e], detector);
		CHECK_FOR_INTERRUPTS();
	}
	fit_sets(examples, n, l2, detector);
	choose_threshold(examples, n, detector, learned);
	learned->n_weights = BR_PG_DETECTOR_WEIGHTS;
	learned->weights = br_pg_detector_weights(detector);
	return NULL;
}

/* ---- weights as they are stored ---- */

double *
br_pg_detector_weights(const BrDetector *detector)
{
	double *weights = palloc(sizeof(double) * BR_PG_DETECTOR_WEIGHTS);

	memcpy(weights, detector->pair, sizeof(detector->pair));
	memcpy(weights + lengthof(detector->pair), detector->set, sizeof(detector->set));
	weights[BR_PG_DETECTOR_WEIGHTS - 1] = detector->threshold;
	return weights;
}

void
br_pg_detector_read(const double *weights, BrDetector *detector)
{
	memcpy(detector->pair, weights, sizeof(detector->pair));
	memcpy(detector->set, weights + lengthof(detector->pair), sizeof(detector->set));
	detector->threshold = weights[BR_PG_DETECTOR_WEIGHTS - 1];
}
