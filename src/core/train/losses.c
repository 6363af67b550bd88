/*
 * losses.c
 *	  Losses of pairs and triples, of another model's embeddings, and of
 *	  embeddings cut short.
 */
#include "core/train/br_train_losses.h"
#include "core/train/train_int.h"

/* ---- cosines ---- */

static double
cosine_of(const BrReal *left, const BrReal *right, int dim)
{
	return (double) br_train_dot(left, right, dim) * (double) br_train_inverse_length(left, dim) *
		(double) br_train_inverse_length(right, dim);
}

/* Adds weight times the slope of the cosine with respect to left: (r/|r| - cosine l/|l|) / |l|. */
static void
add_cosine_slope(const BrReal *left, const BrReal *right, int dim, double cosine, double weight,
				 BrReal *slope)
{
	double inverse = (double) br_train_inverse_length(left, dim);
	double other = (double) br_train_inverse_length(right, dim);

	br_train_add_scaled(slope, (BrReal) (weight * inverse * other), right, dim);
	br_train_add_scaled(slope, (BrReal) (-weight * cosine * inverse * inverse), left, dim);
}

BrStatus
br_train_cosine(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
				double *loss, BrReal *slope)
{
	const BrTrainCosine *options = arg;
	int n = texts / 2;

	if (texts < 2 || texts % 2 != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d texts are no pairs.", texts);
	*loss = 0;
	for (int i = 0; i < n; i++)
	{
		size_t left = (size_t) i * (size_t) dim;
		size_t right = (size_t) (n + i) * (size_t) dim;
		double cosine = cosine_of(embeddings + left, embeddings + right, dim);
		double off = cosine - options->targets[i];

		if (!(options->targets[i] >= -1 && options->targets[i] <= 1))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Pair %d has the target %g; a cosine is in [-1, 1].", i,
								options->targets[i]);
		*loss += off * off / n;
		add_cosine_slope(embeddings + left, embeddings + right, dim, cosine, 2 * off / n,
						 slope + left);
		add_cosine_slope(embeddings + right, embeddings + left, dim, cosine, 2 * off / n,
						 slope + right);
	}
	return BR_OK;
}

/* ---- triples ---- */

static double
distance_of(const BrReal *left, const BrReal *right, int dim, bool cosine)
{
	double squares = 0;

	if (cosine)
		return 1 - cosine_of(left, right, dim);
	for (int i = 0; i < dim; i++)
	{
		double apart = (double) left[i] - (double) right[i];

		squares += apart * apart;
	}
	return sqrt(squares);
}

/* Adds weight times the slopes of the distance with respect to both. */
static void
add_distance_slopes(const BrReal *left, const BrReal *right, int dim, bool cosine, double distance,
					double weight, BrReal *left_slope, BrReal *right_slope)
{
	if (cosine)
	{
		add_cosine_slope(left, right, dim, 1 - distance, -weight, left_slope);
		add_cosine_slope(right, left, dim, 1 - distance, -weight, right_slope);
		return;
	}
	for (int i = 0; distance > 0 && i < dim; i++)
	{
		BrReal own = (BrReal) (weight * ((double) left[i] - (double) right[i]) / distance);

		left_slope[i] += own;
		right_slope[i] -= own;
	}
}

BrStatus
br_train_triplet(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
				 double *loss, BrReal *slope)
{
	const BrTrainTriplet *options = arg;
	int n = texts / 3;

	if (texts < 3 || texts % 3 != 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d texts are no triples.", texts);
	if (!(options->margin >= 0) || !isfinite(options->margin))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The margin %g is not at least 0.",
							options->margin);
	*loss = 0;
	for (int i = 0; i < n; i++)
	{
		size_t anchor = (size_t) i * (size_t) dim;
		size_t positive = anchor + (size_t) n * (size_t) dim;
		size_t negative = positive + (size_t) n * (size_t) dim;
		double near = distance_of(embeddings + anchor, embeddings + positive, dim, options->cosine);
		double far = distance_of(embeddings + anchor, embeddings + negative, dim, options->cosine);
		double excess = near - far + options->margin;

		if (excess <= 0)
			continue;
		*loss += excess / n;
		add_distance_slopes(embeddings + anchor, embeddings + positive, dim, options->cosine, near,
							1.0 / n, slope + anchor, slope + positive);
		add_distance_slopes(embeddings + anchor, embeddings + negative, dim, options->cosine, far,
							-1.0 / n, slope + anchor, slope + negative);
	}
	return BR_OK;
}

/* ---- another model's embeddings ---- */

BrStatus
br_train_distillation(const void *arg, BrContext *context, const BrReal *embeddings, int texts,
					  int dim, double *loss, BrReal *slope)
{
	const BrTrainDistillation *options = arg;
	double share = 1.0 / ((double) texts * dim);

	if (options->dimensions < dim)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The teacher has %d dimensions, the model %d.", options->dimensions,
							dim);
	*loss = 0;
	for (int i = 0; i < texts; i++)
		for (int j = 0; j < dim; j++)
		{
			size_t at = (size_t) i * (size_t) dim + (size_t) j;
			double off = (double) embeddings[at] -
				(double) options->teacher[(size_t) i * (size_t) options->dimensions + (size_t) j];

			*loss += share * off * off;
			slope[at] += (BrReal) (2 * share * off);
		}
	return BR_OK;
}

/* ---- embeddings cut short ---- */

/* Adds weight times the inner loss of the first few dimensions. */
static BrStatus
add_cut_loss(const BrTrainMatryoshka *options, BrContext *context, const BrReal *embeddings,
			 int texts, int dim, int number, BrReal *cut, BrReal *cut_slope, double *loss,
			 BrReal *slope)
{
	int few = options->dims[number];
	double weight = options->weights != NULL ? options->weights[number] : 1;
	double own = 0;
	BrStatus status;

	for (int i = 0; i < texts; i++)
		memcpy(cut + (size_t) i * (size_t) few, embeddings + (size_t) i * (size_t) dim,
			   (size_t) few * sizeof(BrReal));
	memset(cut_slope, 0, (size_t) texts * (size_t) few * sizeof(BrReal));
	status = options->loss(options->arg, context, cut, texts, few, &own, cut_slope);
	*loss += weight * own;
	for (int i = 0; i < texts && status == BR_OK; i++)
		br_train_add_scaled(slope + (size_t) i * (size_t) dim, (BrReal) weight,
							cut_slope + (size_t) i * (size_t) few, few);
	return status;
}

static BrStatus
check_cuts(BrContext *context, const BrTrainMatryoshka *options, int dim)
{
	if (options->n < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Embeddings are cut to no number of dimensions.");
	for (int i = 0; i < options->n; i++)
	{
		double weight = options->weights != NULL ? options->weights[i] : 1;

		if (options->dims[i] < 1 || options->dims[i] > dim)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Embeddings of %d dimensions cannot be cut to %d.", dim,
								options->dims[i]);
		if (!(weight >= 0) || !isfinite(weight))
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The weight %g of %d dimensions is not at least 0.", weight,
								options->dims[i]);
	}
	return BR_OK;
}

BrStatus
br_train_matryoshka(const void *arg, BrContext *context, const BrReal *embeddings, int texts,
					int dim, double *loss, BrReal *slope)
{
	const BrTrainMatryoshka *options = arg;
	BrStatus status = check_cuts(context, options, dim);
	size_t size = (size_t) texts * (size_t) dim;
	BrReal *cut;

	if (status != BR_OK)
		return status;
	cut = br_base_alloc_array(context, 2 * size, sizeof(BrReal));
	if (cut == NULL)
		return BR_ERR_MEMORY;
	*loss = 0;
	for (int i = 0; i < options->n && status == BR_OK; i++)
		status =
			add_cut_loss(options, context, embeddings, texts, dim, i, cut, cut + size, loss, slope);
	br_base_free(context, cut);
	return status;
}
