/*
 * adalora.c
 *	  Low-rank additions that share out their rank among the matrices.
 *
 * Seen from the model it is a low-rank addition with A = Q and B = P diag(l), so
 * lora.c does all that depends on the batch, and from the slope of its factors
 * follow, before an update,
 *
 *		slope of P = slope of B diag(l),	slope of l = sum over outputs of P slope of B
 *
 * A triplet is a column of P, a number of l and a row of Q. Where l is 0 the
 * slope of l need not be, so a triplet that was given up can come back.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/math/br_math.h"
#include "core/train/br_train_adapters.h"
#include "core/train/train_int.h"

/* Of each matrix: Q, l and P. */
#define TENSORS_OF_TARGET 3

/* One matrix: places in the set, and in that of the low-rank addition. */
typedef struct AdaloraTarget
{
	size_t down;	 /* Q (rank, inputs) */
	size_t singular; /* l (rank) */
	size_t up;		 /* P (outputs, rank) */
	size_t lora_down;
	size_t lora_up;
	int inputs;
	int outputs;
} AdaloraTarget;

typedef struct Triplet
{
	double importance;
	int number; /* rank times the matrix, and which of it */
} Triplet;

struct BrTrainAdalora
{
	BrContext *context;
	BrTrainLora *lora;
	const BrBackend *backend;
	BrTrainAdaloraOptions options;
	BrTrainSet set;
	BrTrainTensor *tensors;	  /* the set's */
	AdaloraTarget *targets;	  /* (n_targets): in the order of the low-rank addition's */
	BrTrainMatrixRank *ranks; /* (n_targets) */
	int n_targets;
	size_t n_own;	  /* numbers of triplets; the head's follow in the set */
	size_t lora_head; /* where the head begins in the low-rank addition's set */
	int64_t steps;
	BrReal *sensitivity; /* (n_own): what an optimiser's moments are, in one block with */
	BrReal *uncertainty; /* (n_own) */
	BrReal *kept;		 /* (n_targets, rank): 1, or 0 where a triplet was given up */
	Triplet *order;		 /* (n_targets, rank) */
	BrReal *square;		 /* (rank, rank) */
};

static int
count_triplets(const BrTrainAdalora *adalora)
{
	return adalora->n_targets * adalora->options.rank;
}

int
br_train_adalora_budget(const BrTrainAdaloraOptions *options, int matrices, int64_t step)
{
	double first = (double) matrices * options->rank;
	double last = fmax(1, floor(matrices * options->target_rank));
	int64_t span = options->steps - options->final - options->warm_up;
	double left;

	if (step <= options->warm_up)
		return (int) first;
	if (step >= options->steps - options->final)
		return (int) last;
	left = 1 - (double) (step - options->warm_up) / (double) span;
	return (int) floor(last + (first - last) * left * left * left);
}

/* ---- before an update ---- */

/* From the slopes of the low-rank addition's factors, which are then 0. */
static void
take_slopes(BrTrainAdalora *adalora)
{
	BrTrainSet lora = br_train_lora_set(adalora->lora);
	const BrReal *parameters = adalora->set.parameters;
	BrReal *gradient = adalora->set.gradient;
	size_t rank = (size_t) adalora->options.rank;

	for (int i = 0; i < adalora->n_targets; i++)
	{
		const AdaloraTarget *target = &adalora->targets[i];

		br_train_add(gradient + target->down, lora.gradient + target->lora_down,
					 target->inputs * adalora->options.rank);
		for (size_t output = 0; output < (size_t) target->outputs; output++)
			for (size_t r = 0; r < rank; r++)
			{
				BrReal slope = lora.gradient[target->lora_up + output * rank + r];

				gradient[target->up + output * rank + r] +=
					slope * parameters[target->singular + r];
				gradient[target->singular + r] +=
					slope * parameters[target->up + output * rank + r];
			}
	}
	for (size_t i = adalora->n_own; i < adalora->set.n; i++)
		gradient[i] += lora.gradient[adalora->lora_head + i - adalora->n_own];
	memset(lora.gradient, 0, lora.n * sizeof(BrReal));
}

/*
 * Adds the slope of orthogonality |F F' - 1|^2, 4 (F F' - 1) F, of a factor
 * whose rows are its vectors; transposed: of one whose columns are.
 */
static void
add_penalty(BrTrainAdalora *adalora, size_t at, int size, bool transposed)
{
	const BrReal *factor = adalora->set.parameters + at;
	BrReal *slope = adalora->set.gradient + at;
	BrReal scale = (BrReal) (4 * adalora->options.orthogonality);
	int rank = adalora->options.rank;
	int stride = transposed ? rank : size;
	BrTrainFactor square = {adalora->square, rank, false};

	br_train_multiply(adalora->backend, (BrTrainFactor){factor, stride, transposed},
					  (BrTrainFactor){factor, stride, !transposed}, rank, rank, size, 1, 0, rank,
					  adalora->square);
	for (int i = 0; i < rank; i++)
		adalora->square[(size_t) i * (size_t) rank + (size_t) i] -= 1;
	if (transposed)
		br_train_multiply(adalora->backend, (BrTrainFactor){factor, rank, false}, square, size,
						  rank, rank, scale, 1, rank, slope);
	else
		br_train_multiply(adalora->backend, square, (BrTrainFactor){factor, size, false}, rank,
						  size, rank, scale, 1, size, slope);
}

/* The paper's (9) and (10), of every number of a triplet. */
static void
smooth_sensitivity(BrTrainAdalora *adalora)
{
	BrReal beta1 = (BrReal) adalora->options.beta1;
	BrReal beta2 = (BrReal) adalora->options.beta2;

	for (size_t i = 0; i < adalora->n_own; i++)
	{
		BrReal now = (BrReal) fabs((double) adalora->set.parameters[i] * adalora->set.gradient[i]);
		BrReal mean = beta1 * adalora->sensitivity[i] + (1 - beta1) * now;

		adalora->sensitivity[i] = mean;
		adalora->uncertainty[i] = beta2 * adalora->uncertainty[i] +
			(1 - beta2) * (BrReal) fabs((double) now - (double) mean);
	}
}

/* An update will refuse a gradient that is not finite, and averages must not keep it. */
static bool
gradient_finite(const BrTrainAdalora *adalora)
{
	for (size_t i = 0; i < adalora->set.n; i++)
		if (!isfinite(adalora->set.gradient[i]))
			return false;
	return true;
}

void
br_train_adalora_pull(BrTrainAdalora *adalora)
{
	br_train_lora_pull(adalora->lora);
	take_slopes(adalora);
	for (int i = 0; i < adalora->n_targets; i++)
	{
		const AdaloraTarget *target = &adalora->targets[i];

		add_penalty(adalora, target->down, target->inputs, false);
		add_penalty(adalora, target->up, target->outputs, true);
	}
	if (!gradient_finite(adalora))
		return;
	if (adalora->steps < adalora->options.steps - adalora->options.final)
		smooth_sensitivity(adalora);
	adalora->steps++;
}

/* ---- after an update ---- */

/* Of so many numbers, stride apart, the mean of sensitivity times uncertainty. */
static double
mean_score(const BrTrainAdalora *adalora, size_t at, int n, size_t stride)
{
	double sum = 0;

	for (int i = 0; i < n; i++, at += stride)
		sum += (double) adalora->sensitivity[at] * (double) adalora->uncertainty[at];
	return sum / n;
}

static int
by_importance(const void *left, const void *right)
{
	const Triplet *a = left;
	const Triplet *b = right;

	if (a->importance != b->importance)
		return a->importance > b->importance ? -1 : 1;
	return a->number < b->number ? -1 : a->number > b->number;
}

/* The budget's most important triplets of all matrices stay, the paper's (7). */
static void
choose_triplets(BrTrainAdalora *adalora)
{
	size_t rank = (size_t) adalora->options.rank;
	int budget = br_train_adalora_budget(&adalora->options, adalora->n_targets, adalora->steps);

	for (int i = 0; i < count_triplets(adalora); i++)
	{
		const AdaloraTarget *target = &adalora->targets[i / adalora->options.rank];
		size_t r = (size_t) i % rank;

		adalora->order[i] =
			(Triplet){mean_score(adalora, target->singular + r, 1, 1) +
						  mean_score(adalora, target->down + r * (size_t) target->inputs,
									 target->inputs, 1) +
						  mean_score(adalora, target->up + r, target->outputs, rank),
					  i};
	}
	qsort(adalora->order, (size_t) count_triplets(adalora), sizeof(Triplet), by_importance);
	for (int i = 0; i < count_triplets(adalora); i++)
	{
		int number = adalora->order[i].number;

		adalora->kept[number] = i < budget;
		if (i >= budget)
			adalora->set.parameters[adalora->targets[number / adalora->options.rank].singular +
									(size_t) number % rank] = 0;
	}
}

static bool
is_due(const BrTrainAdalora *adalora)
{
	const BrTrainAdaloraOptions *options = &adalora->options;

	return adalora->steps > options->warm_up &&
		(adalora->steps % options->interval == 0 ||
		 adalora->steps >= options->steps - options->final);
}

void
br_train_adalora_push(BrTrainAdalora *adalora)
{
	BrTrainSet lora = br_train_lora_set(adalora->lora);
	const BrReal *parameters = adalora->set.parameters;
	size_t rank = (size_t) adalora->options.rank;

	if (is_due(adalora))
		choose_triplets(adalora);
	for (int i = 0; i < adalora->n_targets; i++)
	{
		const AdaloraTarget *target = &adalora->targets[i];

		memcpy(lora.parameters + target->lora_down, parameters + target->down,
			   rank * (size_t) target->inputs * sizeof(BrReal));
		for (size_t j = 0; j < rank * (size_t) target->outputs; j++)
			lora.parameters[target->lora_up + j] =
				parameters[target->up + j] * parameters[target->singular + j % rank];
	}
	memcpy(lora.parameters + adalora->lora_head, parameters + adalora->n_own,
		   (adalora->set.n - adalora->n_own) * sizeof(BrReal));
	br_train_lora_push(adalora->lora);
}

/* ---- the set ---- */

static BrStatus
check_adalora(BrContext *context, const BrTrainAdaloraOptions *options)
{
	if (!(options->target_rank > 0) || options->target_rank > options->rank)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A target rank of %g; it is above 0 and at most the first rank, %d.",
							options->target_rank, options->rank);
	if (options->warm_up < 0 || options->final < 0 || options->interval < 1 ||
		options->warm_up > options->steps - options->final - 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"%lld steps of warm-up and %lld at the end of %lld, ranks chosen every %lld; between the two there must be one step, and ranks are chosen every 1 or more.",
							(long long) options->warm_up, (long long) options->final,
							(long long) options->steps, (long long) options->interval);
	if (!(options->beta1 >= 0 && options->beta1 < 1) ||
		!(options->beta2 >= 0 && options->beta2 < 1))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Averages of importance with beta %g and %g; both must be in [0, 1).",
							options->beta1, options->beta2);
	if (!(options->orthogonality >= 0) || !isfinite(options->orthogonality))
		return br_base_fail(context, BR_ERR_ARGUMENT, "Orthogonality %g is not at least 0.",
							options->orthogonality);
	return BR_OK;
}

static size_t
place_tensor_named(BrTrainAdalora *adalora, const BrTrainTensor *like, const char *name, int rows,
				   int columns)
{
	BrTrainTensor *tensor = &adalora->tensors[adalora->set.n_tensors++];
	int length = (int) (strlen(like->name) - strlen("lora_A.weight"));

	*tensor = (BrTrainTensor){.rows = rows,
							  .columns = columns,
							  .offset = adalora->set.n,
							  .decays = columns > 0};
	snprintf(tensor->name, sizeof(tensor->name), "%.*s%s", length, like->name, name);
	adalora->set.n += (size_t) rows * (size_t) (columns > 0 ? columns : 1);
	return tensor->offset;
}

/* Three tensors for each two of the low-rank addition, then its last ones, the head's. */
static void
place_triplets(BrTrainAdalora *adalora)
{
	BrTrainSet lora = br_train_lora_set(adalora->lora);
	int rank = adalora->options.rank;

	for (int i = 0; i < adalora->n_targets; i++)
	{
		const BrTrainTensor *down = &lora.tensors[2 * i];
		const BrTrainTensor *up = down + 1;
		AdaloraTarget *target = &adalora->targets[i];

		*target = (AdaloraTarget){.lora_down = down->offset,
								  .lora_up = up->offset,
								  .inputs = down->columns,
								  .outputs = up->rows};
		target->down = place_tensor_named(adalora, down, "adalora_Q.weight", rank, target->inputs);
		target->singular = place_tensor_named(adalora, down, "adalora_lambda.weight", rank, 0);
		target->up = place_tensor_named(adalora, down, "adalora_P.weight", target->outputs, rank);
		snprintf(adalora->ranks[i].name, sizeof(adalora->ranks[i].name), "%.*s.weight",
				 (int) (strlen(down->name) - strlen(".lora_A.weight")), down->name);
	}
	adalora->n_own = adalora->set.n;
	adalora->lora_head = lora.n;
	for (int i = 2 * adalora->n_targets; i < lora.n_tensors; i++)
	{
		BrTrainTensor *tensor = &adalora->tensors[adalora->set.n_tensors++];

		*tensor = lora.tensors[i];
		if (tensor->offset < adalora->lora_head)
			adalora->lora_head = tensor->offset;
		tensor->offset += adalora->n_own - adalora->lora_head;
	}
	adalora->set.n += lora.n - adalora->lora_head;
}

/* Q as the low-rank addition drew A, P alike, l 0, and all triplets there. */
static void
fill_triplets(BrTrainAdalora *adalora)
{
	BrTrainSet lora = br_train_lora_set(adalora->lora);
	BrReal *parameters = adalora->set.parameters;
	size_t rank = (size_t) adalora->options.rank;

	for (int i = 0; i < adalora->n_targets; i++)
	{
		const AdaloraTarget *target = &adalora->targets[i];
		double deviation = 1 / sqrt((double) target->outputs);
		BrRandom random;

		memcpy(parameters + target->down, lora.parameters + target->lora_down,
			   rank * (size_t) target->inputs * sizeof(BrReal));
		br_base_random_init(&random, adalora->options.seed, (uint64_t) (adalora->n_targets + i));
		for (size_t j = 0; j < rank * (size_t) target->outputs; j++)
			parameters[target->up + j] = (BrReal) (deviation * br_math_normal(&random));
	}
	memcpy(parameters + adalora->n_own, lora.parameters + adalora->lora_head,
		   (adalora->set.n - adalora->n_own) * sizeof(BrReal));
	for (int i = 0; i < count_triplets(adalora); i++)
		adalora->kept[i] = 1;
}

static int
count_targets(const BrTrainModel *model, unsigned matrices)
{
	int n = 0;

	for (unsigned bit = 1; bit <= BR_TRAIN_LORA_ALL; bit <<= 1)
		n += (matrices & bit) != 0;
	return n * br_train_shape(model)->layers;
}

static BrStatus
open_adalora(BrTrainAdalora *adalora, BrTrainModel *model)
{
	BrContext *context = adalora->context;
	const BrTrainAdaloraOptions *options = &adalora->options;
	const BrTrainLoraOptions lora = {options->rank, options->alpha, options->matrices,
									 options->seed};
	size_t rank = (size_t) options->rank;
	size_t n;
	BrStatus status = br_train_lora_create(context, model, adalora->backend, &lora, &adalora->lora);

	if (status != BR_OK)
		return status;
	adalora->n_targets = count_targets(model, options->matrices);
	n = (size_t) adalora->n_targets;
	adalora->tensors =
		br_base_alloc_array(context, (size_t) br_train_lora_set(adalora->lora).n_tensors + n,
							sizeof(BrTrainTensor));
	adalora->targets = br_base_alloc_array(context, n, sizeof(AdaloraTarget));
	adalora->ranks = br_base_alloc_array(context, n, sizeof(BrTrainMatrixRank));
	adalora->order = br_base_alloc_array(context, n * rank, sizeof(Triplet));
	adalora->square = br_base_alloc_array(context, rank * rank, sizeof(BrReal));
	if (adalora->tensors == NULL || adalora->targets == NULL || adalora->ranks == NULL ||
		adalora->order == NULL || adalora->square == NULL)
		return BR_ERR_MEMORY;
	adalora->set.tensors = adalora->tensors;
	place_triplets(adalora);
	adalora->set.parameters = br_base_alloc_array(context, adalora->set.n, sizeof(BrReal));
	adalora->set.gradient = br_base_alloc_array(context, adalora->set.n, sizeof(BrReal));
	adalora->sensitivity =
		br_base_alloc_array(context, 2 * adalora->n_own + n * rank, sizeof(BrReal));
	if (adalora->set.parameters == NULL || adalora->set.gradient == NULL ||
		adalora->sensitivity == NULL)
		return BR_ERR_MEMORY;
	adalora->uncertainty = adalora->sensitivity + adalora->n_own;
	adalora->kept = adalora->uncertainty + adalora->n_own;
	fill_triplets(adalora);
	return BR_OK;
}

BrStatus
br_train_adalora_create(BrContext *context, BrTrainModel *model, const BrBackend *backend,
						const BrTrainAdaloraOptions *options, BrTrainAdalora **adalora)
{
	BrStatus status = check_adalora(context, options);
	BrTrainAdalora *created;

	*adalora = NULL;
	if (status != BR_OK)
		return status;
	created = br_base_alloc_array(context, 1, sizeof(BrTrainAdalora));
	if (created == NULL)
		return BR_ERR_MEMORY;
	created->context = context;
	created->backend = backend;
	created->options = *options;
	status = open_adalora(created, model);
	if (status != BR_OK)
	{
		br_train_adalora_destroy(created);
		return status;
	}
	*adalora = created;
	return BR_OK;
}

void
br_train_adalora_destroy(BrTrainAdalora *adalora)
{
	BrContext *context;

	if (adalora == NULL)
		return;
	context = adalora->context;
	br_train_lora_destroy(adalora->lora);
	br_base_free(context, adalora->tensors);
	br_base_free(context, adalora->targets);
	br_base_free(context, adalora->ranks);
	br_base_free(context, adalora->order);
	br_base_free(context, adalora->square);
	br_base_free(context, adalora->set.parameters);
	br_base_free(context, adalora->set.gradient);
	br_base_free(context, adalora->sensitivity);
	br_base_free(context, adalora);
}

BrTrainSet
br_train_adalora_set(BrTrainAdalora *adalora)
{
	return adalora->set;
}

BrTrainState
br_train_adalora_state(BrTrainAdalora *adalora)
{
	return (BrTrainState){&adalora->steps, adalora->sensitivity,
						  2 * adalora->n_own + (size_t) count_triplets(adalora)};
}

const BrTrainMatrixRank *
br_train_adalora_ranks(BrTrainAdalora *adalora, int *n)
{
	for (int i = 0; i < adalora->n_targets; i++)
	{
		adalora->ranks[i].rank = 0;
		for (int r = 0; r < adalora->options.rank; r++)
			adalora->ranks[i].rank += adalora->kept[i * adalora->options.rank + r] != 0;
	}
	*n = adalora->n_targets;
	return adalora->ranks;
}
