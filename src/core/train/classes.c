/*
 * classes.c
 *	  The head's loss: classes of texts, and of pairs of texts.
 */
#include "core/math/br_math.h"
#include "core/train/br_train_losses.h"
#include "core/train/train_int.h"

/* What the head reads of example i: the embedding, or both and how far they are apart. */
static void
make_inputs(const BrReal *embeddings, int n, int dim, bool pairs, BrReal *inputs)
{
	size_t width = (size_t) dim;

	if (!pairs)
	{
		memcpy(inputs, embeddings, (size_t) n * width * sizeof(BrReal));
		return;
	}
	for (int i = 0; i < n; i++)
	{
		const BrReal *left = embeddings + (size_t) i * width;
		const BrReal *right = embeddings + (size_t) (n + i) * width;
		BrReal *to = inputs + (size_t) i * 3 * width;

		memcpy(to, left, width * sizeof(BrReal));
		memcpy(to + width, right, width * sizeof(BrReal));
		for (int j = 0; j < dim; j++)
			to[2 * dim + j] = left[j] > right[j] ? left[j] - right[j] : right[j] - left[j];
	}
}

/* Adds to the embeddings' slopes what comes through the inputs. */
static void
add_input_slopes(const BrReal *embeddings, const BrReal *input_slopes, int n, int dim, bool pairs,
				 BrReal *slope)
{
	size_t width = (size_t) dim;

	if (!pairs)
	{
		br_train_add(slope, input_slopes, n * dim);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		size_t left = (size_t) i * width;
		size_t right = (size_t) (n + i) * width;
		const BrReal *from = input_slopes + (size_t) i * 3 * width;

		br_train_add(slope + left, from, dim);
		br_train_add(slope + right, from + width, dim);
		for (size_t j = 0; j < width; j++)
		{
			BrReal apart = embeddings[left + j] - embeddings[right + j];
			BrReal sign = (BrReal) ((apart > 0) - (apart < 0));

			slope[left + j] += sign * from[2 * width + j];
			slope[right + j] -= sign * from[2 * width + j];
		}
	}
}

/* Cross-entropy of one example; its scores become their slopes, times share. */
static double
class_entropy(BrReal *scores, int classes, int label, double smoothing, double share)
{
	double largest = -INFINITY;
	double total = 0;
	double sum = 0;
	double own = (double) scores[label];

	for (int i = 0; i < classes; i++)
	{
		largest = fmax(largest, (double) scores[i]);
		sum += (double) scores[i];
	}
	for (int i = 0; i < classes; i++)
		total += br_math_exp((double) scores[i] - largest);
	for (int i = 0; i < classes; i++)
		scores[i] = (BrReal) (share *
							  (br_math_exp((double) scores[i] - largest) / total -
							   (i == label ? 1 - smoothing : 0) - smoothing / classes));
	return share *
		(largest + br_math_log(total) - (1 - smoothing) * own - smoothing * sum / classes);
}

static BrStatus
check_classes(BrContext *context, const BrTrainClasses *options, int texts, int dim)
{
	BrTrainHead head = options->model->head;
	int inputs = options->pairs ? 3 * dim : dim;

	if (head.classes == 0 || head.inputs != inputs)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The model's head has %d classes of %d inputs; the loss needs %d inputs.",
							head.classes, head.inputs, inputs);
	if (!(options->smoothing >= 0 && options->smoothing < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Smoothing %g is not in [0, 1).",
							options->smoothing);
	if (texts < 1 || (options->pairs && texts % 2 != 0))
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d texts are no pairs.", texts);
	for (int i = 0; i < (options->pairs ? texts / 2 : texts); i++)
		if (options->labels[i] < 0 || options->labels[i] >= head.classes)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"Example %d has the label %d; the head has classes 0 to %d.", i,
								options->labels[i], head.classes - 1);
	return BR_OK;
}

BrStatus
br_train_classes(const void *arg, BrContext *context, const BrReal *embeddings, int texts, int dim,
				 double *loss, BrReal *slope)
{
	const BrTrainClasses *options = arg;
	BrStatus status = check_classes(context, options, texts, dim);
	BrTrainModel *model = options->model;
	const BrTrainDense *head = &model->head_dense;
	int n = options->pairs ? texts / 2 : texts;
	BrReal *inputs;
	BrReal *input_slopes;
	BrReal *scores;

	if (status != BR_OK)
		return status;
	inputs = br_base_alloc_array(context, (size_t) n,
								 (size_t) (2 * head->in_dim + head->out_dim) * sizeof(BrReal));
	if (inputs == NULL)
		return BR_ERR_MEMORY;
	input_slopes = inputs + (size_t) n * (size_t) head->in_dim;
	scores = input_slopes + (size_t) n * (size_t) head->in_dim;

	make_inputs(embeddings, n, dim, options->pairs, inputs);
	br_train_dense(options->backend, head, model->parameters, inputs, n, scores);
	*loss = 0;
	for (int i = 0; i < n; i++)
		*loss += class_entropy(scores + (size_t) i * (size_t) head->out_dim, head->out_dim,
							   options->labels[i], options->smoothing, 1.0 / n);
	br_train_dense_input(options->backend, head, model->parameters, scores, n, 0, input_slopes);
	br_train_dense_weight(options->backend, head, inputs, scores, n, 0, head->out_dim,
						  model->gradient);
	add_input_slopes(embeddings, input_slopes, n, dim, options->pairs, slope);
	br_base_free(context, inputs);
	return BR_OK;
}
