/*
 * figures.c
 *	  One number for how good a model is at what validation asks.
 *
 * Ranks count who is strictly nearer and half of who is as near, so a model
 * that gives every text the same vector is as good as chance and no better.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/tune/validate_int.h"

/* Anchors whose cosines are one product. */
#define BLOCK 64

static double
dot(const BrReal *left, const BrReal *right, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += (double) left[i] * (double) right[i];
	return sum;
}

static const BrReal *
row_of(const BrTune *tune, const BrTuneTable *table, int32_t text)
{
	return table->rows + (size_t) table->place[tune->texts.same[text]] * (size_t) tune->dim;
}

static const BrTuneExample *
validation_example(const BrTune *tune, int i)
{
	return &tune->data.examples[tune->n_training + i];
}

/* ---- classes ---- */

/* What the head gives for a class of one example. */
static double
logit_of(const BrTune *tune, const BrReal *head, int inputs, int classes, const BrReal *left,
		 const BrReal *right, int class)
{
	const BrReal *weight = head + (size_t) class * (size_t) inputs;
	int dim = tune->dim;
	double sum = (double) head[(size_t) classes * (size_t) inputs + (size_t) class];

	sum += dot(weight, left, dim);
	if (right == NULL)
		return sum;
	sum += dot(weight + dim, right, dim);
	for (int i = 0; i < dim; i++)
		sum += (double) weight[2 * dim + i] * fabs((double) left[i] - (double) right[i]);
	return sum;
}

int
br_tune_count_right(const BrTune *tune, const BrTuneBatch *batch, const BrReal *embeddings)
{
	BrTrainHead what = br_train_head(tune->model);
	int n_tensors;
	const BrTrainTensor *tensors = br_train_tensors(tune->model, &n_tensors);
	const BrReal *head = br_train_parameters(tune->model) + tensors[n_tensors - 2].offset;
	bool pairs = tune->options.objective == BR_TUNE_PAIR_CLASSES;
	int right = 0;

	for (int i = 0; i < batch->n; i++)
	{
		const BrReal *left = embeddings + (size_t) i * (size_t) tune->dim;
		const BrReal *other = pairs ? left + (size_t) batch->n * (size_t) tune->dim : NULL;
		double best = -INFINITY;
		int likeliest = 0;

		for (int class = 0; class < what.classes; class ++)
		{
			double logit = logit_of(tune, head, what.inputs, what.classes, left, other, class);

			if (logit > best)
			{
				best = logit;
				likeliest = class;
			}
		}
		right += likeliest == batch->labels[i];
	}
	return right;
}

/* ---- ranks of partners ---- */

static int
compare_pairs(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *) left;
	uint64_t b = *(const uint64_t *) right;

	return (a > b) - (a < b);
}

/* Which text is asked for by which. */
typedef struct Question
{
	int32_t anchor;
	int32_t partner;
} Question;

/* The memory of all ranks. */
typedef struct Ranking
{
	uint64_t *asked;	 /* (n_validation): pairs, ascending */
	Question *questions; /* (n) */
	int n;
	BrReal *anchors; /* (BLOCK, dim) */
	BrReal *cosines; /* (BLOCK, texts of the table) */
} Ranking;

/* 1 / rank of a partner among the texts that do not go with the anchor. */
static double
reciprocal_rank(const BrTune *tune, const BrTuneTable *table, const Ranking *ranking,
				Question question, const BrReal *cosines)
{
	int32_t own = table->place[tune->texts.same[question.partner]];
	double nearer = 0;

	for (int i = 0; i < table->n; i++)
	{
		uint64_t pair = br_tune_pair(tune, question.anchor, table->texts[i]);

		if (i == own || cosines[i] < cosines[own] ||
			br_tune_goes_with(tune, question.anchor, table->texts[i]) ||
			bsearch(&pair, ranking->asked, (size_t) tune->n_validation, sizeof(uint64_t),
					compare_pairs) != NULL)
			continue;
		nearer += cosines[i] > cosines[own] ? 1 : 0.5;
	}
	return 1 / (1 + nearer);
}

static BrStatus
rank_all(const BrTune *tune, const BrTuneTable *table, const Ranking *ranking, double *figure)
{
	size_t row = (size_t) tune->dim;
	double sum = 0;

	for (int first = 0; first < ranking->n; first += BLOCK)
	{
		int n = ranking->n - first < BLOCK ? ranking->n - first : BLOCK;

		if (br_base_cancelled(tune->context))
			return br_base_fail(tune->context, BR_ERR_CANCELLED,
								"Cancelled while ranking texts of validation.");
		for (int i = 0; i < n; i++)
			memcpy(ranking->anchors + (size_t) i * row,
				   row_of(tune, table, ranking->questions[first + i].anchor), row * sizeof(BrReal));
		tune->compute.backend->multiply_transposed(ranking->anchors, table->rows, n, table->n,
												   tune->dim, ranking->cosines);
		for (int i = 0; i < n; i++)
			sum += reciprocal_rank(tune, table, ranking, ranking->questions[first + i],
								   ranking->cosines + (size_t) i * (size_t) table->n);
	}
	*figure = ranking->n > 0 ? sum / ranking->n : 0;
	return BR_OK;
}

/* A text is no answer to itself. */
static void
list_questions(const BrTune *tune, Ranking *ranking)
{
	for (int i = 0; i < tune->n_validation; i++)
	{
		const BrTuneExample *example = validation_example(tune, i);

		ranking->asked[i] = br_tune_pair(tune, example->first, example->second);
		if (tune->texts.same[example->first] == tune->texts.same[example->second])
			continue;
		ranking->questions[ranking->n++] = (Question){example->first, example->second};
		if (tune->options.both_directions)
			ranking->questions[ranking->n++] = (Question){example->second, example->first};
	}
	qsort(ranking->asked, (size_t) tune->n_validation, sizeof(uint64_t), compare_pairs);
}

BrStatus
br_tune_rank_partners(const BrTune *tune, const BrTuneTable *table, double *figure)
{
	BrContext *context = tune->context;
	size_t n = (size_t) tune->n_validation;
	Ranking ranking = {
		.asked = br_base_alloc_array(context, n, sizeof(uint64_t)),
		.questions = br_base_alloc_array(context, n, 2 * sizeof(Question)),
		.anchors = br_base_alloc_array(context, BLOCK, (size_t) tune->dim * sizeof(BrReal)),
		.cosines = br_base_alloc_array(context, (size_t) table->n, BLOCK * sizeof(BrReal)),
	};
	BrStatus status = BR_ERR_MEMORY;

	if (ranking.asked != NULL && ranking.questions != NULL && ranking.anchors != NULL &&
		ranking.cosines != NULL)
	{
		list_questions(tune, &ranking);
		status = rank_all(tune, table, &ranking, figure);
	}
	br_base_free(context, ranking.asked);
	br_base_free(context, ranking.questions);
	br_base_free(context, ranking.anchors);
	br_base_free(context, ranking.cosines);
	return status;
}

double
br_tune_share_nearer(const BrTune *tune, const BrTuneTable *table)
{
	double right = 0;

	for (int i = 0; i < tune->n_validation; i++)
	{
		const BrTuneExample *example = validation_example(tune, i);
		const BrReal *anchor = row_of(tune, table, example->first);
		double near = dot(anchor, row_of(tune, table, example->second), tune->dim);
		double far = dot(anchor, row_of(tune, table, example->third), tune->dim);

		right += near > far ? 1 : near == far ? 0.5 : 0;
	}
	return right / tune->n_validation;
}

/* ---- correlations ---- */

/* Pearson's; 0 where one side does not vary. */
static double
pearson_of(const double *left, const double *right, int n)
{
	double mean_left = 0;
	double mean_right = 0;
	double both = 0;
	double squares_left = 0;
	double squares_right = 0;

	for (int i = 0; i < n; i++)
	{
		mean_left += left[i] / n;
		mean_right += right[i] / n;
	}
	for (int i = 0; i < n; i++)
	{
		both += (left[i] - mean_left) * (right[i] - mean_right);
		squares_left += (left[i] - mean_left) * (left[i] - mean_left);
		squares_right += (right[i] - mean_right) * (right[i] - mean_right);
	}
	return squares_left > 0 && squares_right > 0 ? both / sqrt(squares_left * squares_right) : 0;
}

typedef struct Ranked
{
	double value;
	int at;
} Ranked;

static int
compare_ranked(const void *left, const void *right)
{
	double a = ((const Ranked *) left)->value;
	double b = ((const Ranked *) right)->value;

	return (a > b) - (a < b);
}

/* Values become their ranks; equal ones share the mean of theirs. */
static void
make_ranks(double *values, int n, Ranked *ranked)
{
	for (int i = 0; i < n; i++)
		ranked[i] = (Ranked){values[i], i};
	qsort(ranked, (size_t) n, sizeof(Ranked), compare_ranked);
	for (int begin = 0, end; begin < n; begin = end)
	{
		/* one at least, also of what is not a number */
		end = begin + 1;
		while (end < n && ranked[end].value <= ranked[begin].value)
			end++;
		for (int i = begin; i < end; i++)
			values[ranked[i].at] = (begin + end - 1) / 2.0;
	}
}

BrStatus
br_tune_correlate(const BrTune *tune, const BrTuneTable *table, double *spearman, double *pearson)
{
	BrContext *context = tune->context;
	int n = tune->n_validation;
	double *cosines = br_base_alloc_array(context, (size_t) n, 2 * sizeof(double));
	Ranked *ranked = br_base_alloc_array(context, (size_t) n, sizeof(Ranked));
	BrStatus status = BR_ERR_MEMORY;

	if (cosines != NULL && ranked != NULL)
	{
		double *scores = cosines + n;

		for (int i = 0; i < n; i++)
		{
			const BrTuneExample *example = validation_example(tune, i);

			cosines[i] = dot(row_of(tune, table, example->first),
							 row_of(tune, table, example->second), tune->dim);
			scores[i] = (double) example->score;
		}
		*pearson = pearson_of(cosines, scores, n);
		make_ranks(cosines, n, ranked);
		make_ranks(scores, n, ranked);
		*spearman = pearson_of(cosines, scores, n);
		status = BR_OK;
	}
	br_base_free(context, cosines);
	br_base_free(context, ranked);
	return status;
}
