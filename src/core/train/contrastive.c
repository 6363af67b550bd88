/*
 * contrastive.c
 *	  The contrastive loss of a batch, in one direction or both.
 *
 * Similarities of all anchors with all candidates are one product of unit
 * vectors, and the slopes of both sides are two more with the slopes of the
 * similarities; only what softmax asks for is done number by number, in double.
 */
#include "core/math/br_math.h"
#include "core/train/br_train_losses.h"
#include "core/train/train_int.h"

/* One batch: n anchors against m candidates. */
typedef struct Contrast
{
	const BrTrainContrastive *options;
	int n;
	int m;
	BrReal *units;	 /* (texts, dim) */
	BrReal *inverse; /* (texts): 1 / length */
	BrReal *scores;	 /* (n, m): similarities over the temperature */
	BrReal *slopes;	 /* (n, m): of the scores */
	BrReal *outer;	 /* (texts, dim): slopes of the units */
	double *weights; /* (m): of one softmax */
} Contrast;

static bool
is_candidate(const Contrast *contrast, int anchor, int candidate)
{
	const uint8_t *excluded = contrast->options->excluded;

	return excluded == NULL || candidate == anchor ||
		!excluded[(size_t) anchor * (size_t) contrast->m + (size_t) candidate];
}

/* Whether softmax number own sees score i. */
static bool
counts_for(const Contrast *contrast, int own, int i, bool across)
{
	return across ? is_candidate(contrast, i, own) : is_candidate(contrast, own, i);
}

/*
 * Cross-entropy of one softmax over count scores, step apart, whose target is
 * at own; adds share times its slope. across: the scores are those of one
 * candidate with all anchors.
 */
static double
cross_entropy(Contrast *contrast, int own, int count, bool across, double share)
{
	size_t step = across ? (size_t) contrast->m : 1;
	size_t begin = across ? (size_t) own : (size_t) own * (size_t) contrast->m;
	const BrReal *scores = contrast->scores + begin;
	double smoothing = contrast->options->smoothing;
	double largest = -INFINITY;
	double total = 0;
	double sum = 0;
	int candidates = 0;

	for (int i = 0; i < count; i++)
		if (counts_for(contrast, own, i, across))
			largest = fmax(largest, (double) scores[(size_t) i * step]);
	for (int i = 0; i < count; i++)
	{
		bool counts = counts_for(contrast, own, i, across);
		double score = (double) scores[(size_t) i * step];

		contrast->weights[i] = counts ? br_math_exp(score - largest) : 0;
		total += contrast->weights[i];
		sum += counts ? score : 0;
		candidates += counts;
	}
	for (int i = 0; i < count; i++)
	{
		bool counts = counts_for(contrast, own, i, across);
		double target = (i == own ? 1 - smoothing : 0) + smoothing / candidates;

		if (counts)
			contrast->slopes[begin + (size_t) i * step] +=
				(BrReal) (share * (contrast->weights[i] / total - target));
	}
	return share *
		(largest + br_math_log(total) - (1 - smoothing) * (double) scores[(size_t) own * step] -
		 smoothing * sum / candidates);
}

static double
contrast_all(Contrast *contrast)
{
	bool both = contrast->options->both_directions;
	double share = (both ? 0.5 : 1) / contrast->n;
	double loss = 0;

	for (int i = 0; i < contrast->n; i++)
		loss += cross_entropy(contrast, i, contrast->m, false, share);
	for (int i = 0; both && i < contrast->n; i++)
		loss += cross_entropy(contrast, i, contrast->n, true, share);
	return loss;
}

void
br_train_make_units(const BrReal *embeddings, int texts, int dim, BrReal *units, BrReal *inverse)
{
	for (int i = 0; i < texts; i++)
	{
		size_t at = (size_t) i * (size_t) dim;

		inverse[i] = br_train_inverse_length(embeddings + at, dim);
		br_train_add_scaled(units + at, inverse[i], embeddings + at, dim);
	}
}

void
br_train_add_through_lengths(const BrReal *units, const BrReal *inverse, const BrReal *outer,
							 int texts, int dim, BrReal *slope)
{
	for (int i = 0; i < texts; i++)
	{
		size_t at = (size_t) i * (size_t) dim;
		BrReal along = br_train_dot(units + at, outer + at, dim);

		br_train_add_scaled(slope + at, inverse[i], outer + at, dim);
		br_train_add_scaled(slope + at, -along * inverse[i], units + at, dim);
	}
}

static void
run_contrast(Contrast *contrast, const BrReal *embeddings, int texts, int dim, double *loss,
			 BrReal *slope)
{
	const BrBackend *backend = contrast->options->backend;
	BrReal factor = (BrReal) (1 / contrast->options->temperature);
	int n = contrast->n;
	int m = contrast->m;
	size_t behind = (size_t) n * (size_t) dim;
	BrTrainFactor anchors = {contrast->units, dim, false};
	BrTrainFactor candidates = {contrast->units + behind, dim, false};

	br_train_make_units(embeddings, texts, dim, contrast->units, contrast->inverse);
	br_train_multiply(backend, anchors, (BrTrainFactor){candidates.values, dim, true}, n, m, dim,
					  factor, 0, m, contrast->scores);
	*loss = contrast_all(contrast);
	br_train_multiply(backend, (BrTrainFactor){contrast->slopes, m, false}, candidates, n, dim, m,
					  factor, 0, dim, contrast->outer);
	br_train_multiply(backend, (BrTrainFactor){contrast->slopes, m, true}, anchors, m, dim, n,
					  factor, 0, dim, contrast->outer + behind);
	br_train_add_through_lengths(contrast->units, contrast->inverse, contrast->outer, texts, dim,
								 slope);
}

static BrStatus
check_contrast(BrContext *context, const BrTrainContrastive *options, int texts)
{
	if (!(options->temperature > 0) || !isfinite(options->temperature) ||
		!(options->smoothing >= 0 && options->smoothing < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Temperature %g, smoothing %g; they must be above 0, and in [0, 1).",
							options->temperature, options->smoothing);
	if (options->negatives < 0 || texts < 1 || texts % (2 + options->negatives) != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%d texts are no pairs with %d hard negatives each.", texts,
							options->negatives);
	return BR_OK;
}

BrStatus
br_train_contrastive(const void *arg, BrContext *context, const BrReal *embeddings, int texts,
					 int dim, double *loss, BrReal *slope)
{
	const BrTrainContrastive *options = arg;
	Contrast contrast = {.options = options};
	BrStatus status = check_contrast(context, options, texts);
	size_t size = (size_t) texts * (size_t) dim;
	size_t scores;

	if (status != BR_OK)
		return status;
	contrast.n = texts / (2 + options->negatives);
	contrast.m = texts - contrast.n;
	scores = (size_t) contrast.n * (size_t) contrast.m;
	contrast.units =
		br_base_alloc_array(context, 2 * size + 2 * scores + (size_t) texts, sizeof(BrReal));
	contrast.weights = br_base_alloc_array(context, (size_t) contrast.m, sizeof(double));
	if (contrast.units == NULL || contrast.weights == NULL)
		status = BR_ERR_MEMORY;
	else
	{
		contrast.outer = contrast.units + size;
		contrast.scores = contrast.outer + size;
		contrast.slopes = contrast.scores + scores;
		contrast.inverse = contrast.slopes + scores;
		run_contrast(&contrast, embeddings, texts, dim, loss, slope);
	}
	br_base_free(context, contrast.units);
	br_base_free(context, contrast.weights);
	return status;
}
