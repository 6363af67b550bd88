/*
 * reward_model.c
 *	  Predicted rewards for DM and DR: ridge and logistic regression, cross-fitted.
 *
 * Rows are dealt to folds, and a row is predicted by the model of its fold, which
 * was fitted to all other folds: no row is predicted by a model that saw it. The
 * ridge regression of a fold follows from sums that are kept by fold. The
 * logistic one needs its rows again at every step, so they are kept, without the
 * zeros that one-hot arms are full of.
 */
#include <math.h>
#include <string.h>

#include "core/eval/br_eval.h"
#include "core/math/br_math.h"

#define MAX_STEPS 100
#define MAX_HALVINGS 30

/* a pivot this small beside its diagonal says that the columns depend on each other */
#define SINGULAR 1e-13

/* how often, in rows, the caller is asked whether to stop */
#define ROWS_BETWEEN_QUESTIONS 1024

/* What is not zero of a row. */
typedef struct Entry
{
	int32_t feature;
	float value;
} Entry;

struct BrRewardModel
{
	bool logistic;
	int dims;
	int width; /* dims and the intercept, which stands last */
	int folds;
	double penalty;
	double *rows;	 /* (folds): of each */
	double *theta;	 /* (folds, width) */
	double *gram;	 /* ridge: (folds, width(width+1)/2), packed */
	double *moments; /* ridge: (folds, width): sum r x */
	Entry *row;		 /* (width): the row that is being added */
	size_t n;		 /* logistic: rows kept */
	size_t room;	 /* and room for them */
	size_t *begin;	 /* (room): where a row begins in entries */
	double *rewards; /* (room) */
	uint8_t *fold;	 /* (room) */
	size_t n_entries;
	size_t entries_room;
	Entry *entries; /* (entries_room) */
};

int
br_eval_fold(const void *key, size_t length, uint64_t seed, int folds)
{
	const unsigned char *bytes = key;
	uint64_t hash = UINT64_C(0xCBF29CE484222325) ^ seed;

	/* FNV-1a, and the finaliser of SplitMix64, since FNV's high bits are poor */
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001B3);
	hash = (hash ^ (hash >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	hash = (hash ^ (hash >> 27)) * UINT64_C(0x94D049BB133111EB);
	hash ^= hash >> 31;
	return (int) (hash % (uint64_t) folds);
}

void
br_eval_reward_model_free(BrContext *context, BrRewardModel *model)
{
	if (model == NULL)
		return;
	br_base_free(context, model->rows);
	br_base_free(context, model->theta);
	br_base_free(context, model->gram);
	br_base_free(context, model->moments);
	br_base_free(context, model->row);
	br_base_free(context, model->begin);
	br_base_free(context, model->rewards);
	br_base_free(context, model->fold);
	br_base_free(context, model->entries);
	br_base_free(context, model);
}

static BrStatus
check_shape(BrContext *context, int dims, int folds, double penalty)
{
	if (dims < 1 || dims > BR_EVAL_MAX_FEATURES)
		return br_base_fail(context, BR_ERR_LIMIT,
							"A reward model of %d features; 1 to %d are allowed.", dims,
							BR_EVAL_MAX_FEATURES);
	if (folds < 2 || folds > BR_EVAL_MAX_FOLDS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d folds; 2 to %d are allowed.", folds,
							BR_EVAL_MAX_FOLDS);
	if (!(penalty >= 0 && isfinite(penalty)))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"The penalty is %g; it must be finite and at least 0.", penalty);
	return BR_OK;
}

BrStatus
br_eval_reward_model_create(BrContext *context, bool logistic, int dims, int folds, double penalty,
							BrRewardModel **model)
{
	size_t width = (size_t) dims + 1;
	BrStatus status = check_shape(context, dims, folds, penalty);
	BrRewardModel *made;

	*model = NULL;
	if (status != BR_OK)
		return status;
	made = br_base_alloc_array(context, 1, sizeof(BrRewardModel));
	if (made == NULL)
		return BR_ERR_MEMORY;
	made->logistic = logistic;
	made->dims = dims;
	made->width = dims + 1;
	made->folds = folds;
	made->penalty = penalty;
	made->rows = br_base_alloc_array(context, (size_t) folds, sizeof(double));
	made->theta = br_base_alloc_array(context, (size_t) folds * width, sizeof(double));
	made->row = br_base_alloc_array(context, width, sizeof(Entry));
	if (!logistic)
	{
		made->gram =
			br_base_alloc_array(context, (size_t) folds * BR_MATH_PACKED(width), sizeof(double));
		made->moments = br_base_alloc_array(context, (size_t) folds * width, sizeof(double));
	}
	if (made->rows == NULL || made->theta == NULL || made->row == NULL ||
		(!logistic && (made->gram == NULL || made->moments == NULL)))
	{
		br_eval_reward_model_free(context, made);
		return BR_ERR_MEMORY;
	}
	*model = made;
	return BR_OK;
}

/* ---- rows ---- */

/* The entries of x and of the intercept; -1: the number of a feature that is not finite. */
static int
compress(BrRewardModel *model, const double *x, int *bad)
{
	int n = 0;

	*bad = -1;
	for (int i = 0; i < model->dims; i++)
	{
		if (!isfinite((float) x[i]))
		{
			*bad = i;
			return 0;
		}
		if (x[i] != 0)
			model->row[n++] = (Entry){i, (float) x[i]};
	}
	model->row[n++] = (Entry){model->dims, 1};
	return n;
}

static void
add_products(double *gram, const Entry *row, int n, double weight)
{
	for (int i = 0; i < n; i++)
	{
		double *line = gram + BR_MATH_PACKED(row[i].feature);
		double scaled = weight * (double) row[i].value;

		for (int j = 0; j <= i; j++)
			line[row[j].feature] += scaled * (double) row[j].value;
	}
}

/* A copy of an array with more room, in place of the array; NULL: no memory. */
static void *
widen(BrContext *context, void *array, size_t used, size_t room)
{
	void *wider = br_base_alloc(context, room);

	if (wider == NULL)
		return NULL;
	if (used > 0)
		memcpy(wider, array, used);
	br_base_free(context, array);
	return wider;
}

#define WIDEN(context, array, n, room)                                                          \
	do                                                                                          \
	{                                                                                           \
		void *wider = widen(context, array, (n) * sizeof(*(array)), (room) * sizeof(*(array))); \
                                                                                                \
		if (wider == NULL)                                                                      \
			return BR_ERR_MEMORY;                                                               \
		(array) = wider;                                                                        \
	} while (0)

static BrStatus
make_room(BrContext *context, BrRewardModel *model, size_t n_entries)
{
	if (model->n == model->room)
	{
		size_t room = model->room == 0 ? 1024 : model->room * 2;

		WIDEN(context, model->begin, model->n, room);
		WIDEN(context, model->rewards, model->n, room);
		WIDEN(context, model->fold, model->n, room);
		model->room = room;
	}
	if (model->n_entries + n_entries > model->entries_room)
	{
		size_t room = (model->n_entries + n_entries) * 2;

		WIDEN(context, model->entries, model->n_entries, room);
		model->entries_room = room;
	}
	return BR_OK;
}

static BrStatus
keep_row(BrContext *context, BrRewardModel *model, int fold, int n, double reward)
{
	BrStatus status = make_room(context, model, (size_t) n);

	if (status != BR_OK)
		return status;
	model->begin[model->n] = model->n_entries;
	model->rewards[model->n] = reward;
	model->fold[model->n] = (uint8_t) fold;
	memcpy(model->entries + model->n_entries, model->row, (size_t) n * sizeof(Entry));
	model->n_entries += (size_t) n;
	model->n++;
	return BR_OK;
}

BrStatus
br_eval_reward_model_add(BrContext *context, BrRewardModel *model, int fold, const double *x,
						 double reward)
{
	int bad;
	int n = compress(model, x, &bad);

	if (bad >= 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Feature %d is %g; it must be finite.",
							bad + 1, x[bad]);
	if (model->logistic ? !(reward >= 0 && reward <= 1) : !isfinite(reward))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The reward is %g; %s.", reward,
							model->logistic ? "a logistic model takes rewards between 0 and 1"
											: "it must be finite");
	if (model->logistic)
	{
		BrStatus status = keep_row(context, model, fold, n, reward);

		if (status != BR_OK)
			return status;
	}
	else
	{
		double *moments = model->moments + (size_t) fold * (size_t) model->width;

		add_products(model->gram + (size_t) fold * BR_MATH_PACKED(model->width), model->row, n, 1);
		for (int i = 0; i < n; i++)
			moments[model->row[i].feature] += reward * (double) model->row[i].value;
	}
	model->rows[fold] += 1;
	return BR_OK;
}

/* ---- fitting ---- */

/* Solves gram x = right in their places. */
static BrStatus
solve(BrContext *context, double *gram, double *diagonal, int width, double *right)
{
	BrStatus status;

	for (int i = 0; i < width; i++)
		diagonal[i] = gram[BR_MATH_PACKED(i + 1) - 1];
	status = br_math_cholesky(context, gram, width);
	for (int i = 0; status == BR_OK && i < width; i++)
	{
		double pivot = gram[BR_MATH_PACKED(i + 1) - 1];

		if (!(pivot * pivot > SINGULAR * diagonal[i]))
			status = BR_ERR_NUMERIC;
	}
	if (status == BR_ERR_CANCELLED || status == BR_ERR_MEMORY)
		return status;
	if (status != BR_OK)
		return br_base_fail(context, BR_ERR_NUMERIC,
							"The features of the log depend on each other linearly.");
	br_math_solve_lower(gram, width, right);
	br_math_solve_lower_transposed(gram, width, right);
	return BR_OK;
}

static void
add_penalty(const BrRewardModel *model, double *gram)
{
	for (int i = 0; i < model->dims; i++)
		gram[BR_MATH_PACKED(i + 1) - 1] += model->penalty;
}

static BrStatus
fit_ridge(BrContext *context, BrRewardModel *model, int fold, double *gram, double *diagonal)
{
	size_t packed = BR_MATH_PACKED(model->width);
	size_t width = (size_t) model->width;
	double *theta = model->theta + (size_t) fold * width;

	memset(gram, 0, packed * sizeof(double));
	memset(theta, 0, width * sizeof(double));
	for (int other = 0; other < model->folds; other++)
	{
		if (other == fold)
			continue;
		for (size_t i = 0; i < packed; i++)
			gram[i] += model->gram[(size_t) other * packed + i];
		for (size_t i = 0; i < width; i++)
			theta[i] += model->moments[(size_t) other * width + i];
	}
	add_penalty(model, gram);
	return solve(context, gram, diagonal, model->width, theta);
}

static double
linear(const Entry *row, size_t n, const double *theta)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += theta[row[i].feature] * (double) row[i].value;
	return sum;
}

/* log(1 + e^eta) */
static double
log_one_plus_exp(double eta)
{
	return eta > 0 ? eta + br_math_log(1 + br_math_exp(-eta)) : br_math_log(1 + br_math_exp(eta));
}

static size_t
row_entries(const BrRewardModel *model, size_t row)
{
	return (row + 1 < model->n ? model->begin[row + 1] : model->n_entries) - model->begin[row];
}

/*
 * The penalised loss of theta over all folds but one, and unless gradient is
 * NULL its gradient and Hessian.
 */
static BrStatus
logistic_loss(BrContext *context, const BrRewardModel *model, int fold, const double *theta,
			  double *loss, double *gradient, double *hessian)
{
	*loss = 0;
	for (int i = 0; i < model->dims; i++)
		*loss += model->penalty / 2 * theta[i] * theta[i];
	for (int i = 0; gradient != NULL && i < model->width; i++)
		gradient[i] = i < model->dims ? model->penalty * theta[i] : 0;
	if (gradient != NULL)
	{
		memset(hessian, 0, BR_MATH_PACKED(model->width) * sizeof(double));
		add_penalty(model, hessian);
	}
	for (size_t r = 0; r < model->n; r++)
	{
		const Entry *row = model->entries + model->begin[r];
		size_t n = row_entries(model, r);
		double eta, p;

		if (r % ROWS_BETWEEN_QUESTIONS == 0 && br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Cancelled at row %zu of %zu.", r,
								model->n);
		if (model->fold[r] == fold)
			continue;
		eta = linear(row, n, theta);
		*loss += log_one_plus_exp(eta) - model->rewards[r] * eta;
		if (gradient == NULL)
			continue;
		p = br_math_logistic(eta);
		for (size_t i = 0; i < n; i++)
			gradient[row[i].feature] += (p - model->rewards[r]) * (double) row[i].value;
		add_products(hessian, row, (int) n, p * (1 - p));
	}
	return BR_OK;
}

static double
largest(const double *values, int n)
{
	double most = 0;

	for (int i = 0; i < n; i++)
		most = fmax(most, fabs(values[i]));
	return most;
}

/* Newton steps, each halved until the loss falls. scratch: (3, width) */
static BrStatus
fit_logistic(BrContext *context, BrRewardModel *model, int fold, double *hessian, double *scratch)
{
	size_t width = (size_t) model->width;
	double *theta = model->theta + (size_t) fold * width;
	double *gradient = scratch;
	double *diagonal = scratch + width;
	double *next = scratch + 2 * width;
	double enough = 1e-10 * (1 + (double) model->n);

	memset(theta, 0, width * sizeof(double));
	for (int step = 0; step < MAX_STEPS; step++)
	{
		double loss, next_loss = INFINITY, share = 1;
		BrStatus status = logistic_loss(context, model, fold, theta, &loss, gradient, hessian);

		if (status != BR_OK)
			return status;
		if (largest(gradient, model->width) < enough)
			return BR_OK;
		status = solve(context, hessian, diagonal, model->width, gradient);
		for (int halving = 0; status == BR_OK && halving < MAX_HALVINGS; halving++, share /= 2)
		{
			for (size_t i = 0; i < width; i++)
				next[i] = theta[i] - share * gradient[i];
			status = logistic_loss(context, model, fold, next, &next_loss, NULL, NULL);
			if (next_loss <= loss)
				break;
		}
		if (status != BR_OK)
			return status;
		if (!(next_loss < loss))
			return BR_OK; /* as near as doubles come */
		memcpy(theta, next, width * sizeof(double));
	}
	return BR_OK;
}

BrStatus
br_eval_reward_model_fit(BrContext *context, BrRewardModel *model)
{
	double *gram = br_base_alloc_array(context, BR_MATH_PACKED(model->width), sizeof(double));
	double *scratch = br_base_alloc_array(context, (size_t) model->width * 3, sizeof(double));
	BrStatus status = gram == NULL || scratch == NULL ? BR_ERR_MEMORY : BR_OK;
	double total = 0;

	for (int fold = 0; fold < model->folds; fold++)
		total += model->rows[fold];
	for (int fold = 0; status == BR_OK && fold < model->folds; fold++)
	{
		if (model->rows[fold] == 0)
			continue;
		if (total == model->rows[fold])
			status =
				br_base_fail(context, BR_ERR_ARGUMENT,
							 "All %g rows belong together, and none is left to learn from.", total);
		else if (!model->logistic)
			status = fit_ridge(context, model, fold, gram, scratch);
		else
			status = fit_logistic(context, model, fold, gram, scratch);
	}
	br_base_free(context, gram);
	br_base_free(context, scratch);
	return status;
}

double
br_eval_reward_model_predict(const BrRewardModel *model, int fold, const double *x)
{
	const double *theta = model->theta + (size_t) fold * (size_t) model->width;
	double sum = theta[model->dims];

	for (int i = 0; i < model->dims; i++)
		sum += theta[i] * x[i];
	return !model->logistic ? sum : br_math_logistic(sum);
}
