/*
 * complement.c
 *	  What is bought after what, learned over texts that are already vectors.
 *
 * A case goes with a phone, a phone not with a case, and another phone reads
 * more like a phone than either. So a source and a target are projected by two
 * maps. Both begin as one, where the model is plain similarity, and every step
 * is pulled back towards it: few pairs then move the maps little, and what they
 * never spoke of stays as it was.
 */
#include "core/learn/complement_int.h"
#include "core/math/br_math.h"

/* streams of the seed, beyond that of the start */
#define STREAM_SHUFFLE (UINT64_C(1) << 32)
#define STREAM_HARD (UINT64_C(2) << 32)
#define STREAM_JUDGE (UINT64_C(3) << 32)

void
br_learn_complement_defaults(BrComplementOptions *options)
{
	*options = (BrComplementOptions){.rank = 128,
									 .temperature = 0.05,
									 .learning_rate = 0.001,
									 .penalty = 1,
									 .smoothing = 5,
									 .held_out = 0.1,
									 .epochs = 50,
									 .patience = 3,
									 .batch = 256};
}

static BrStatus
check_options(BrContext *context, const BrComplementOptions *options, int dims)
{
	const struct
	{
		const char *name;
		double value;
		double least;
		double most;
	} ranges[] = {{"rank", options->rank, 1, dims < 128 ? dims : 128},
				  {"temperature", options->temperature, 0.001, 100},
				  {"learning_rate", options->learning_rate, 1e-8, 10},
				  {"penalty", options->penalty, 0, 1e12},
				  {"smoothing", options->smoothing, 1e-3, 1e9},
				  {"held_out", options->held_out, 0, 0.5},
				  {"epochs", options->epochs, 0, 100000},
				  {"patience", options->patience, 1, 100000},
				  {"batch", options->batch, 2, 4096},
				  {"hard", options->hard, 0, 64}};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (!(ranges[i].value >= ranges[i].least && ranges[i].value <= ranges[i].most))
			return br_base_fail(context, BR_ERR_ARGUMENT, "%s is %g, which is not in [%g, %g].",
								ranges[i].name, ranges[i].value, ranges[i].least, ranges[i].most);
	return BR_OK;
}

BrStatus
br_learn_complement_check_items(BrContext *context, const BrComplementItems *items)
{
	if (items->n < 1 || items->dims < 1 || items->dims > 1024)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"There are %d items of %d dimensions; 1 to 1024 are learned from.",
							items->n, items->dims);
	if (items->category != NULL && (items->categories < 0 || items->categories > 2048))
		return br_base_fail(context, BR_ERR_ARGUMENT, "There are %d categories, not 0 to 2048.",
							items->categories);
	for (int item = 0; item < items->n; item++)
	{
		const float *row = items->embeddings + (size_t) item * (size_t) items->dims;

		if (item % 4096 == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		for (int i = 0; i < items->dims; i++)
			if (!isfinite(row[i]))
				return br_base_fail(context, BR_ERR_ARGUMENT,
									"The embedding of item %d is not finite.", item);
		if (items->category != NULL &&
			(items->category[item] < -1 || items->category[item] >= items->categories))
			return br_base_fail(context, BR_ERR_ARGUMENT, "Item %d is of category %d of %d.", item,
								items->category[item], items->categories);
	}
	return BR_OK;
}

static BrStatus
check_pairs(BrContext *context, const BrComplementPair *pairs, int64_t n, int items,
			const BrLists *alike)
{
	if (n < 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There are no pairs to learn from.");
	if (alike != NULL && alike->n != items)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%d items are alike to others, of %d.",
							alike->n, items);
	for (int64_t i = 0; alike != NULL && i < alike->starts[items]; i++)
		if (alike->ids[i] < 0 || alike->ids[i] >= items)
			return br_base_fail(context, BR_ERR_ARGUMENT, "There is no item %d.", alike->ids[i]);
	for (int64_t i = 0; i < n; i++)
	{
		const BrComplementPair *pair = &pairs[i];

		if (i % BR_COMPLEMENT_PAIRS_A_CHECK == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		if (pair->source < 0 || pair->source >= items || pair->target < 0 ||
			pair->target >= items || pair->source == pair->target)
			return br_base_fail(context, BR_ERR_ARGUMENT, "A pair leads from item %d to item %d.",
								pair->source, pair->target);
		if (!isfinite(pair->weight) || pair->weight <= 0)
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"The pair from item %d to item %d weighs %g.", pair->source,
								pair->target, (double) pair->weight);
	}
	return BR_OK;
}

/* All that training needs beside the model. */
typedef struct Course
{
	BrSparse all;
	BrSparse trained;
	BrComplementPairs training;
	BrComplementPairs held;
	const BrLists *alike; /* may be NULL */
	double *log_expected; /* (items) */
	int32_t *hard;		  /* (batch, hard) */
	float *log_hard;	  /* (batch) */
	BrReal *best;		  /* (2, rank, dims) */
	double best_loss;
	int best_epoch;
	BrAdam adam;
} Course;

static void
course_free(BrContext *context, Course *course)
{
	br_learn_sparse_free(context, &course->all);
	br_learn_sparse_free(context, &course->trained);
	br_learn_complement_pairs_free(context, &course->training);
	br_learn_complement_pairs_free(context, &course->held);
	br_base_free(context, course->log_expected);
	br_base_free(context, course->hard);
	br_base_free(context, course->log_hard);
	br_base_free(context, course->best);
	br_learn_adam_free(context, &course->adam);
}

static int64_t
parameters_of(const BrComplementModel *model)
{
	return 2 * (int64_t) model->options.rank * model->items->dims;
}

static BrStatus
course_create(BrComplementModel *model, const BrComplementPair *pairs, int64_t n, Course *course)
{
	BrContext *context = model->context;
	const BrComplementOptions *options = &model->options;
	int items = model->items->n;
	BrStatus status =
		br_learn_complement_split(context, pairs, n, items, options->held_out, options->seed,
								  &course->all, &course->trained, &course->training, &course->held);

	if (status == BR_OK)
		status = br_learn_adam_create(context, parameters_of(model), &course->adam);
	if (status != BR_OK)
		return status;
	course->log_expected = br_base_alloc_array(context, (size_t) items, sizeof(double));
	course->hard = br_base_alloc_array(context, (size_t) options->batch * (size_t) options->hard,
									   sizeof(int32_t));
	course->log_hard = br_base_alloc_array(context, (size_t) options->batch, sizeof(float));
	course->best = br_base_alloc_array(context, (size_t) parameters_of(model), sizeof(BrReal));
	if (course->log_expected == NULL || course->hard == NULL || course->log_hard == NULL ||
		course->best == NULL)
		return BR_ERR_MEMORY;

	/* an item that is no target in training counts as half of one */
	for (int64_t i = 0; i < course->training.n; i++)
		course->log_expected[course->training.target[i]]++;
	for (int item = 0; item < items; item++)
	{
		double count = course->log_expected[item] > 0 ? course->log_expected[item] : 0.5;

		course->log_expected[item] =
			br_math_log(count * options->batch / (double) course->training.n);
	}
	model->log_expected = course->log_expected;
	return BR_OK;
}

static BrStatus
shuffle(BrContext *context, BrComplementPairs *pairs, uint64_t seed, uint64_t stream)
{
	BrRandom random;

	br_base_random_init(&random, seed, stream);
	for (int64_t i = pairs->n - 1; i > 0; i--)
	{
		int64_t other = (int64_t) (br_base_random_u64(&random) % (uint64_t) (i + 1));
		int32_t source = pairs->source[i];
		int32_t target = pairs->target[i];
		float weight = pairs->weight[i];

		if (i % BR_COMPLEMENT_PAIRS_A_CHECK == 0 && br_base_cancelled(context))
			return BR_ERR_CANCELLED;
		pairs->source[i] = pairs->source[other];
		pairs->target[i] = pairs->target[other];
		pairs->weight[i] = pairs->weight[other];
		pairs->source[other] = source;
		pairs->target[other] = target;
		pairs->weight[other] = weight;
	}
	return BR_OK;
}

/* For a pair up to `hard` of its source's list, from a random place on, that go with it nowhere. */
static void
draw_hard(const BrComplementModel *model, Course *course, int32_t source, BrRandom *random,
		  int32_t *hard, float *log_hard)
{
	const BrLists *alike = course->alike;
	int wanted = model->options.hard;
	int64_t first = alike != NULL ? alike->starts[source] : 0;
	int64_t n = alike != NULL ? alike->starts[source + 1] - first : 0;
	uint32_t from = n > 0 ? br_base_random_below(random, (uint32_t) n) : 0;
	int drawn = 0;

	for (int64_t i = 0; i < n && drawn < wanted; i++)
	{
		int32_t item = alike->ids[first + (i + from) % n];

		if (item != source && !br_learn_complement_known(model->known, source, item) &&
			!br_learn_complement_known(model->known, item, source))
			hard[drawn++] = item;
	}
	*log_hard = n > wanted ? (float) br_math_log((double) wanted / (double) n) : 0;
	while (drawn < wanted)
		hard[drawn++] = -1;
}

static BrComplementBatch
next_batch(const BrComplementModel *model, Course *course, const BrComplementPairs *pairs,
		   int64_t first, BrRandom *random)
{
	int64_t left = pairs->n - first;
	BrComplementBatch batch = {left < model->options.batch ? (int) left : model->options.batch,
							   pairs->source + first,
							   pairs->target + first,
							   pairs->weight + first,
							   course->hard,
							   course->log_hard};

	for (int p = 0; p < batch.n; p++)
		draw_hard(model, course, batch.source[p], random,
				  course->hard + (size_t) p * (size_t) model->options.hard, &course->log_hard[p]);
	return batch;
}

/*
 * A step of Adam on the loss, and then as far back towards the start as leaves
 * 1 / (1 + rate * penalty) of the distance. (Added to the gradient, the penalty
 * would be scaled by Adam, and a large one would swing about the start.)
 */
static void
descend(BrComplementModel *model, BrAdam *adam)
{
	int64_t half = parameters_of(model) / 2;
	BrReal keep = (BrReal) (1 / (1 + model->options.learning_rate * model->options.penalty));

	br_learn_adam_begin(adam);
	br_learn_adam_step(adam, model->options.learning_rate, 0, 2 * half, model->slope,
					   model->parameters);
	for (int64_t i = 0; i < 2 * half; i++)
	{
		BrReal start = model->start[i < half ? i : i - half];

		model->parameters[i] = start + keep * (model->parameters[i] - start);
	}
}

/* The held-out loss is new to the model, so the best epoch is known; without any, the last is. */
static BrStatus
judge(BrComplementModel *model, Course *course, int epoch)
{
	double total = 0;
	double weights = 0;
	BrRandom random;
	BrStatus status = BR_OK;

	/* the same order and the same hard items each time */
	br_base_random_init(&random, model->options.seed, STREAM_JUDGE + 1);
	model->known = &course->all;
	for (int64_t first = 0; status == BR_OK && first < course->held.n;
		 first += model->options.batch)
	{
		BrComplementBatch batch = next_batch(model, course, &course->held, first, &random);
		double weight = 0;
		double loss;

		for (int p = 0; p < batch.n; p++)
			weight += (double) batch.weight[p];
		status = br_learn_complement_loss(model, &batch, &loss);
		total += weight * loss;
		weights += weight;
	}
	model->known = &course->trained;
	if (status != BR_OK)
		return status;
	total = weights > 0 ? total / weights : 0;
	if (epoch == 0 || course->held.n == 0 || total < course->best_loss)
	{
		course->best_loss = total;
		course->best_epoch = epoch;
		memcpy(course->best, model->parameters, sizeof(BrReal) * (size_t) parameters_of(model));
	}
	return BR_OK;
}

static BrStatus
run_epoch(BrComplementModel *model, Course *course, int epoch)
{
	BrRandom random;
	BrStatus status = shuffle(model->context, &course->training, model->options.seed,
							  STREAM_SHUFFLE + (uint64_t) epoch);

	br_base_random_init(&random, model->options.seed, STREAM_HARD + (uint64_t) epoch);
	for (int64_t first = 0; status == BR_OK && first < course->training.n;
		 first += model->options.batch)
	{
		BrComplementBatch batch = next_batch(model, course, &course->training, first, &random);
		double loss;

		status = br_learn_complement_loss(model, &batch, &loss);
		if (status == BR_OK && !isfinite(loss))
			status = br_base_fail(model->context, BR_ERR_NUMERIC,
								  "The loss left the finite numbers in epoch %d.", epoch);
		if (status == BR_OK)
			status = br_learn_complement_back(model, &batch);
		if (status == BR_OK)
			descend(model, &course->adam);
	}
	return status;
}

static BrStatus
train(BrComplementModel *model, Course *course, const BrProgress *progress)
{
	BrStatus status = shuffle(model->context, &course->held, model->options.seed, STREAM_JUDGE);

	model->known = &course->trained;
	if (status == BR_OK)
		status = judge(model, course, 0);
	for (int epoch = 1; status == BR_OK && epoch <= model->options.epochs &&
		 (course->held.n == 0 || epoch - course->best_epoch <= model->options.patience);
		 epoch++)
	{
		status = run_epoch(model, course, epoch);
		if (status == BR_OK)
			status = judge(model, course, epoch);
		br_learn_report(progress, epoch, model->options.epochs);
	}
	return status;
}

static BrStatus
learn_bias(const BrComplementModel *model, const Course *course, float *bias)
{
	BrContext *context = model->context;
	size_t n = (size_t) model->items->categories;
	double *counts = br_base_alloc_array(context, 2 * n, sizeof(double));

	if (counts == NULL)
		return BR_ERR_MEMORY;
	br_learn_complement_fill_bias(model->items, &course->training, model->options.smoothing,
								  model->options.temperature, counts, counts + n, bias);
	br_base_free(context, counts);
	return BR_OK;
}

/* Into a result whose arrays are there. */
static BrStatus
learn(BrContext *context, const BrComplementItems *items, const BrComplementPair *pairs, int64_t n,
	  const BrLists *alike, const BrComplementOptions *options, const BrProgress *progress,
	  BrComplement *complement)
{
	size_t size = (size_t) options->rank * (size_t) items->dims;
	Course course = {.alike = alike};
	BrComplementModel model;
	BrStatus status = br_learn_complement_create(context, items, options, &model);

	if (status != BR_OK)
		return status;
	model.bias = complement->bias;
	status = course_create(&model, pairs, n, &course);
	if (status == BR_OK && items->category != NULL)
		status = learn_bias(&model, &course, complement->bias);
	if (status == BR_OK)
		status = train(&model, &course, progress);
	for (size_t i = 0; status == BR_OK && i < size; i++)
	{
		complement->source[i] = (float) course.best[i];
		complement->target[i] = (float) course.best[size + i];
	}
	complement->epoch = course.best_epoch;
	complement->held_out_loss = course.held.n > 0 ? course.best_loss : (double) NAN;
	course_free(context, &course);
	br_learn_complement_destroy(&model);
	return status;
}

BrStatus
br_learn_complement(BrContext *context, const BrComplementItems *items,
					const BrComplementPair *pairs, int64_t n, const BrLists *alike,
					const BrComplementOptions *options, const BrProgress *progress,
					BrComplement *complement)
{
	BrStatus status = br_learn_complement_check_items(context, items);
	size_t categories = items->category != NULL ? (size_t) items->categories : 0;

	memset(complement, 0, sizeof(*complement));
	if (status == BR_OK)
		status = check_options(context, options, items->dims);
	if (status == BR_OK)
		status = check_pairs(context, pairs, n, items->n, alike);
	if (status != BR_OK)
		return status;
	complement->dims = items->dims;
	complement->rank = options->rank;
	complement->categories = (int) categories;
	complement->source =
		br_base_alloc_array(context, (size_t) options->rank * (size_t) items->dims, sizeof(float));
	complement->target =
		br_base_alloc_array(context, (size_t) options->rank * (size_t) items->dims, sizeof(float));
	complement->bias = br_base_alloc_array(context, categories * categories, sizeof(float));
	status = complement->source != NULL && complement->target != NULL && complement->bias != NULL
		? learn(context, items, pairs, n, alike, options, progress, complement)
		: BR_ERR_MEMORY;
	if (status != BR_OK)
		br_learn_complement_free(context, complement);
	return status;
}
