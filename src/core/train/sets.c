/*
 * sets.c
 *	  The loss of completing sets: each member of a set is to be nearer to the
 *	  others than what belongs to other sets.
 *
 * The mean cosine of a candidate with all members but one follows from the
 * cosines of all texts with all texts, which are one product of unit vectors:
 * the sum over the set without one row. So do slopes, the other way round.
 */
#include "core/math/br_math.h"
#include "core/train/br_train_losses.h"
#include "core/train/train_int.h"

/* One batch. */
typedef struct Completion
{
	const BrTrainSets *options;
	int n;
	int targets;	 /* texts whose set has others */
	BrReal *units;	 /* (n, dim) */
	BrReal *inverse; /* (n): 1 / length */
	BrReal *cosines; /* (n, n) */
	BrReal *slopes;	 /* (n, n): of the cosines of the row's text, as a member that others miss */
	BrReal *outer;	 /* (n, dim): slopes of the units */
	double *sums;	 /* (n): of the cosines of a set's members; then of their slopes */
	double *scores;	 /* (n): of one target */
} Completion;

/* Behind the last member of the set that begins with a text. */
static int
end_of_set(const Completion *completion, int first)
{
	const int32_t *sets = completion->options->sets;
	int end = first + 1;

	while (end < completion->n && sets[end] == sets[first])
		end++;
	return end;
}

static bool
completes(const Completion *completion, int target, int candidate)
{
	const BrTrainSets *options = completion->options;

	if (candidate == target)
		return true;
	return options->sets[candidate] != options->sets[target] &&
		(options->excluded == NULL ||
		 !options->excluded[(size_t) target * (size_t) completion->n + (size_t) candidate]);
}

/* Cross-entropy of one target among its candidates, and the slopes of its scores. */
static double
complete(Completion *completion, int target, int others)
{
	const BrReal *own = completion->cosines + (size_t) target * (size_t) completion->n;
	BrReal *slopes = completion->slopes + (size_t) target * (size_t) completion->n;
	double temperature = completion->options->temperature;
	double *scores = completion->scores;
	double largest = -INFINITY;
	double total = 0;

	for (int i = 0; i < completion->n; i++)
	{
		scores[i] = (completion->sums[i] - (double) own[i]) / (others * temperature);
		if (completes(completion, target, i))
			largest = fmax(largest, scores[i]);
	}
	for (int i = 0; i < completion->n; i++)
		if (completes(completion, target, i))
			total += br_math_exp(scores[i] - largest);
	for (int i = 0; i < completion->n; i++)
		if (completes(completion, target, i))
			slopes[i] = (BrReal) ((br_math_exp(scores[i] - largest) / total - (i == target)) /
								  ((double) completion->targets * others * temperature));
	return (largest + br_math_log(total) - scores[target]) / completion->targets;
}

/* Makes the slopes of members' cosines of those of the scores in which each is missing. */
static void
share_slopes(Completion *completion, int first, int end)
{
	size_t n = (size_t) completion->n;

	memset(completion->sums, 0, n * sizeof(double));
	for (int i = first; i < end; i++)
		for (size_t c = 0; c < n; c++)
			completion->sums[c] += (double) completion->slopes[(size_t) i * n + c];
	for (int i = first; i < end; i++)
		for (size_t c = 0; c < n; c++)
		{
			BrReal *slope = &completion->slopes[(size_t) i * n + c];

			*slope = (BrReal) (completion->sums[c] - (double) *slope);
		}
}

static double
complete_all(Completion *completion)
{
	size_t n = (size_t) completion->n;
	double loss = 0;

	for (int first = 0, end; first < completion->n; first = end)
	{
		end = end_of_set(completion, first);
		if (end - first < 2)
			continue;
		memset(completion->sums, 0, n * sizeof(double));
		for (int i = first; i < end; i++)
			for (size_t c = 0; c < n; c++)
				completion->sums[c] += (double) completion->cosines[(size_t) i * n + c];
		for (int i = first; i < end; i++)
			loss += complete(completion, i, end - first - 1);
		share_slopes(completion, first, end);
	}
	return loss;
}

static void
run_completion(Completion *completion, const BrReal *embeddings, int dim, double *loss,
			   BrReal *slope)
{
	const BrBackend *backend = completion->options->backend;
	int n = completion->n;
	BrTrainFactor units = {completion->units, dim, false};

	br_train_make_units(embeddings, n, dim, completion->units, completion->inverse);
	br_train_multiply(backend, units, (BrTrainFactor){completion->units, dim, true}, n, n, dim, 1,
					  0, n, completion->cosines);
	*loss = complete_all(completion);
	br_train_multiply(backend, (BrTrainFactor){completion->slopes, n, false}, units, n, dim, n, 1,
					  0, dim, completion->outer);
	br_train_multiply(backend, (BrTrainFactor){completion->slopes, n, true}, units, n, dim, n, 1, 1,
					  dim, completion->outer);
	br_train_add_through_lengths(completion->units, completion->inverse, completion->outer, n, dim,
								 slope);
}

static BrStatus
check_sets(BrContext *context, Completion *completion)
{
	const BrTrainSets *options = completion->options;

	if (!(options->temperature > 0) || !isfinite(options->temperature))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The temperature %g is not above 0.",
							options->temperature);
	for (int first = 0, end; first < completion->n; first = end)
	{
		end = end_of_set(completion, first);
		completion->targets += end - first > 1 ? end - first : 0;
	}
	if (completion->targets == 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "None of %d texts is in a set with another.",
							completion->n);
	return BR_OK;
}

BrStatus
br_train_sets(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
			  double *loss, BrReal *slope)
{
	Completion completion = {.options = arg, .n = texts};
	BrStatus status = check_sets(context, &completion);
	size_t size = (size_t) texts * (size_t) dim;
	size_t cosines = (size_t) texts * (size_t) texts;

	if (status != BR_OK)
		return status;
	completion.units =
		br_base_alloc_array(context, 2 * size + 2 * cosines + (size_t) texts, sizeof(BrReal));
	completion.sums = br_base_alloc_array(context, 2 * (size_t) texts, sizeof(double));
	if (completion.units == NULL || completion.sums == NULL)
		status = BR_ERR_MEMORY;
	else
	{
		completion.outer = completion.units + size;
		completion.cosines = completion.outer + size;
		completion.slopes = completion.cosines + cosines;
		completion.inverse = completion.slopes + cosines;
		completion.scores = completion.sums + texts;
		run_completion(&completion, embeddings, dim, loss, slope);
	}
	br_base_free(context, completion.units);
	br_base_free(context, completion.sums);
	return status;
}
