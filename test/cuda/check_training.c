/*
 * check_training.c
 *	  Training on the device, against the same run on the processor.
 *
 * The portable backend computes in float what PyTorch was found to compute (the
 * unit tests of core/train); the device must give every tensor of every golden
 * model the same gradient within what its products round away. On an emulated
 * device they are of floats as they are, and only the order of sums differs. A real
 * one rounds factors to 10 bits of the mantissa, by 2^-11 at most; through all
 * products of both ways that comes to less than two hundredths of a tensor's length.
 */
#include "cuda/checks.h"

#ifdef BR_WITHOUT_ENCODER

static void
without_the_encoder(void)
{
	check_skipped("built without the encoder");
}

static const Check checks[] = {
	{"gradients follow the processor's", without_the_encoder},
};

#else

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/math/br_math.h"
#include "core/train/br_train_adapters.h"
#include "core/train/br_train_losses.h"
#include "core/train/br_train_optimiser.h"
#include "cuda/golden.h"
#ifdef BR_EMULATED
#include <cuda_runtime_api.h>
#endif

extern const BrDeviceTable *br_device_table(void);

/* How far a tensor may be off, of its length, besides a part of the longest tensor's. */
#define EMULATED_PART 2e-5
#define DEVICE_PART 2e-2
#define OF_THE_LONGEST 1e-2

#define TEXTS 6
#define MOST_TOKENS 11

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};

/* A model twice: one is trained by the processor, one by the device. */
typedef struct Twins
{
	const char *name;
	void *image;
	BrEncoder *encoder;
	BrDevice *device;
	BrTrainModel *model[2];
	BrTrainRun *run[2];
	int32_t *offsets;
	int32_t *ids;
	int dimensions;
} Twins;

#define HERE 0
#define THERE 1

static double
part_allowed(void)
{
	return check_on_device ? DEVICE_PART : EMULATED_PART;
}

/* Texts of one token, of the most, and of some in between, some words often. */
static void
make_texts(Twins *twins)
{
	const BrModelShape *shape = br_train_shape(twins->model[HERE]);
	int longest = shape->max_tokens < MOST_TOKENS ? shape->max_tokens : MOST_TOKENS;

	twins->offsets = check_memory((TEXTS + 1) * sizeof(int32_t));
	twins->ids = check_memory(TEXTS * MOST_TOKENS * sizeof(int32_t));
	twins->offsets[0] = 0;
	for (int i = 0; i < TEXTS; i++)
	{
		int length = i == 0 ? longest : i == 1 ? 1 : 2 + check_below(longest - 1);

		twins->offsets[i + 1] = twins->offsets[i] + length;
		for (int j = twins->offsets[i]; j < twins->offsets[i + 1]; j++)
			twins->ids[j] = check_below(check_below(2) == 0 ? 9 : shape->vocabulary);
	}
}

static BrTrainOptions
options_with(double dropout, BrDevice *device)
{
	return (BrTrainOptions){
		.backend = br_math_portable_backend(),
		.dropout = dropout,
		.attention_dropout = dropout * 1.5,
		.seed = 5,
		.device_table = br_device_table(),
		.device = device,
	};
}

static void
close_twins(Twins *twins)
{
	for (int i = 0; i < 2; i++)
	{
		br_train_end(twins->run[i]);
		br_train_close(twins->model[i]);
	}
	br_device_table()->close(twins->device);
	golden_close(twins->encoder, twins->image);
}

/* false: the folder is not there, or the check has failed. */
static bool
open_twins(Twins *twins, const char *name, double dropout)
{
	*twins = (Twins){.name = name};
	twins->encoder = golden_open_tiny(name, &twins->image);
	if (twins->encoder == NULL)
	{
		check_skipped("the folders of models are not there");
		return false;
	}
	check_ok(br_device_table()->open(&check_context, 0, &twins->device));
	for (int i = 0; i < 2; i++)
	{
		BrTrainOptions options = options_with(dropout, i == THERE ? twins->device : NULL);

		check_ok(
			br_train_open(&check_context, twins->encoder, (BrTrainHead){0}, 1, &twins->model[i]));
		if (!check_has_failed())
			check_ok(br_train_begin(&check_context, twins->model[i], &options, &twins->run[i]));
	}
	if (check_has_failed())
	{
		close_twins(twins);
		return false;
	}
	make_texts(twins);
	twins->dimensions = br_train_dimensions(twins->model[HERE]);
	return true;
}

static BrTrainBatch
batch_of(const Twins *twins)
{
	return (BrTrainBatch){twins->ids, twins->offsets, TEXTS, NULL};
}

/* The length of a tensor, or with other that of the difference. */
static double
length_of(const float *values, const float *other, size_t n)
{
	double squares = 0;

	for (size_t i = 0; i < n; i++)
	{
		double value = (double) values[i] - (other != NULL ? (double) other[i] : 0);

		squares += value * value;
	}
	return sqrt(squares);
}

static size_t
size_of(const BrTrainTensor *tensor)
{
	return (size_t) tensor->rows * (size_t) (tensor->columns > 0 ? tensor->columns : 1);
}

/* The gradient of every tensor of a set, of which one at least is not 0. */
static void
compare_sets(const Twins *twins, const BrTrainSet *here, const BrTrainSet *there, const char *how)
{
	const BrTrainTensor *worst = NULL;
	double most = 0;
	double longest = 0;

	for (int i = 0; i < here->n_tensors; i++)
		longest = fmax(longest,
					   length_of(here->gradient + here->tensors[i].offset, NULL,
								 size_of(&here->tensors[i])));
	CHECK(longest > 0);
	for (int i = 0; i < here->n_tensors; i++)
	{
		const BrTrainTensor *tensor = &here->tensors[i];
		const float *own = here->gradient + tensor->offset;
		double length = length_of(own, NULL, size_of(tensor));
		double apart = length_of(there->gradient + tensor->offset, own, size_of(tensor));
		double part = apart / (length + OF_THE_LONGEST * longest);

		if (!(part <= part_allowed()))
			check_failed("%s, %s: the gradient of %s is off by %.3g; its length is %.3g, the "
						 "longest %.3g",
						 twins->name, how, tensor->name, apart, length, longest);
		if (part >= most)
		{
			most = part;
			worst = tensor;
		}
	}
	printf("# %s, %s: of %d tensors %s is off by most, %.2g of its length\n", twins->name, how,
		   here->n_tensors, worst != NULL ? worst->name : "none", most);
}

static void
compare_gradients(const Twins *twins, const char *how)
{
	BrTrainSet here = br_train_set(twins->model[HERE]);
	BrTrainSet there = br_train_set(twins->model[THERE]);

	compare_sets(twins, &here, &there, how);
}

static void
compare_embeddings(const Twins *twins, const char *how, const float *here, const float *there)
{
	for (int i = 0; i < TEXTS; i++)
	{
		size_t at = (size_t) i * (size_t) twins->dimensions;
		double length = length_of(here + at, NULL, (size_t) twins->dimensions);
		double apart = length_of(there + at, here + at, (size_t) twins->dimensions);

		if (!(apart <= part_allowed() * length))
			check_failed("%s, %s: the embedding of text %d is off by %.3g of %.3g", twins->name,
						 how, i, apart, length);
	}
}

/* Embeddings of both, and the gradient of a loss whose slope is any. */
static void
compare_way_back(const Twins *twins, uint64_t step, const char *how)
{
	size_t n = TEXTS * (size_t) twins->dimensions;
	float *slope = check_floats(n, 1);
	float *embeddings[2] = {check_room(n), check_room(n)};
	BrTrainBatch batch = batch_of(twins);

	for (int i = 0; i < 2 && !check_has_failed(); i++)
	{
		br_train_zero_gradient(twins->model[i]);
		check_ok(br_train_embed(twins->run[i], &batch, step, embeddings[i]));
		check_ok(br_train_backpropagate(twins->run[i], slope));
	}
	if (check_has_failed())
		return;
	compare_embeddings(twins, how, embeddings[HERE], embeddings[THERE]);
	compare_gradients(twins, how);
}

static void
gradients_follow(void)
{
	for (int i = 0; i < LENGTH(models) && !check_has_failed(); i++)
	{
		Twins twins;

		if (!open_twins(&twins, models[i], 0))
			return;
		compare_way_back(&twins, 0, "without dropout");
		close_twins(&twins);
	}
}

static void
gradients_follow_with_dropout(void)
{
	for (int i = 0; i < LENGTH(models) && !check_has_failed(); i++)
	{
		Twins twins;

		if (!open_twins(&twins, models[i], 0.3))
			return;
		compare_way_back(&twins, 3, "with dropout, step 3");
		compare_way_back(&twins, 4, "with dropout, step 4");
		close_twins(&twins);
	}
}

/* ---- whole steps ---- */

static BrTrainContrastive
contrast(void)
{
	return (BrTrainContrastive){br_math_portable_backend(), 0.05, 0, true, 0, NULL};
}

/* Parts, each embedded twice, give what the batch at once gives; the share is a later one. */
static void
parts_make_the_whole(void)
{
	BrTrainShare share = {0.5, 77};
	BrTrainContrastive loss = contrast();
	Twins twins;
	double value[2];

	if (!open_twins(&twins, "tiny-bert-cls", 0.2))
		return;
	for (int i = 0; i < 2; i++)
	{
		BrTrainBatch batch = batch_of(&twins);

		batch.share = &share;
		check_ok(br_train_accumulate(twins.run[i], &batch, 9, br_train_contrastive, &loss,
									 i == THERE ? 12 : 0, &value[i]));
	}
	if (!(fabs(value[THERE] - value[HERE]) <= 10 * part_allowed() * value[HERE]))
		check_failed("the loss is %.7g, not %.7g", value[THERE], value[HERE]);
	if (!check_has_failed())
		compare_gradients(&twins, "in parts");
	close_twins(&twins);
}

static void
steps_follow(void)
{
	const int steps = 10;
	BrTrainRecipe recipe = {.rule = BR_TRAIN_ADAMW,
							.rate = 1e-3,
							.beta1 = 0.9,
							.beta2 = 0.999,
							.epsilon = 1e-8,
							.decay = 0.01,
							.clip = 1,
							.schedule = BR_TRAIN_LINEAR,
							.warm_up = 2,
							.steps = steps};
	BrTrainContrastive loss = contrast();
	BrTrainOptimiser *optimiser[2];
	double first = 0;
	double value[2] = {0, 0};
	double length;
	Twins twins;

	if (!open_twins(&twins, "tiny-mpnet-mean", 0.1))
		return;
	for (int i = 0; i < 2; i++)
	{
		BrTrainSet set = br_train_set(twins.model[i]);

		check_ok(br_train_optimiser_create(&check_context, &set, &recipe, NULL, &optimiser[i]));
	}
	for (int step = 0; step < steps && !check_has_failed(); step++)
	{
		BrTrainBatch batch = batch_of(&twins);

		for (int i = 0; i < 2; i++)
		{
			check_ok(br_train_accumulate(twins.run[i], &batch, (uint64_t) step,
										 br_train_contrastive, &loss, 0, &value[i]));
			check_ok(br_train_update(optimiser[i], &length));
		}
		first = step == 0 ? value[HERE] : first;
		if (!(fabs(value[THERE] - value[HERE]) <= (check_on_device ? 4e-2 : 1e-3) * first))
			check_failed("step %d: the loss is %.7g, not %.7g", step, value[THERE], value[HERE]);
	}
	printf("# the loss after %d steps: %.6f, on the processor %.6f, at first %.6f\n", steps,
		   value[THERE], value[HERE], first);
	CHECK(value[THERE] < 0.9 * first);
	for (int i = 0; i < 2; i++)
		br_train_optimiser_destroy(optimiser[i]);
	close_twins(&twins);
}

/* Two steps without a pull in between, so that gradients add up. */
static void
check_additions(Twins *twins, BrTrainLora **lora)
{
	const BrTrainLoraOptions low_rank = {3, 6, BR_TRAIN_LORA_ALL, 2};
	BrTrainContrastive loss = contrast();
	BrTrainBatch batch = batch_of(twins);
	BrTrainSet set[2];
	double value;

	for (int i = 0; i < 2; i++)
	{
		check_ok(br_train_lora_create(&check_context, twins->model[i], br_math_portable_backend(),
									  &low_rank, &lora[i]));
		if (check_has_failed())
			return;
		set[i] = br_train_lora_set(lora[i]);
		/* up matrices begin as 0, and then no slope of a down one would be seen */
		for (size_t j = 0; j < set[i].n; j++)
			set[i].parameters[j] += (float) ((j * 7) % 11) / 100;
		br_train_lora_push(lora[i]);
		for (uint64_t step = 0; step < 2; step++)
			check_ok(br_train_accumulate(twins->run[i], &batch, step, br_train_contrastive, &loss,
										 step == 1 ? 12 : 0, &value));
		br_train_lora_pull(lora[i]);
	}
	CHECK(set[HERE].n_tensors == 24);
	compare_sets(twins, &set[HERE], &set[THERE], "low-rank additions");
}

static void
additions_follow(void)
{
	BrTrainLora *lora[2] = {NULL, NULL};
	Twins twins;

	if (!open_twins(&twins, "tiny-bert-cls", 0.1))
		return;
	check_additions(&twins, lora);
	for (int i = 0; i < 2; i++)
		br_train_lora_destroy(lora[i]);
	close_twins(&twins);
}

/* ---- bits, leftovers, failures ---- */

/* The device's gradient of any slope. */
static BrStatus
gradient_there(const Twins *twins, const float *slope, uint64_t step)
{
	BrTrainBatch batch = batch_of(twins);
	float *embeddings = check_room(TEXTS * (size_t) twins->dimensions);
	BrStatus status;

	br_train_zero_gradient(twins->model[THERE]);
	status = br_train_embed(twins->run[THERE], &batch, step, embeddings);
	return status == BR_OK ? br_train_backpropagate(twins->run[THERE], slope) : status;
}

static float *
copy_gradient(const Twins *twins)
{
	size_t bytes = br_train_count(twins->model[THERE]) * sizeof(float);

	return memcpy(check_memory(bytes), br_train_gradient(twins->model[THERE]), bytes);
}

static void
check_same_gradient(const Twins *twins, const float *expected)
{
	CHECK(memcmp(expected, br_train_gradient(twins->model[THERE]),
				 br_train_count(twins->model[THERE]) * sizeof(float)) == 0);
}

static int cancelled_after;

static bool
cancel_later(void *arg)
{
	(void) arg;
	return cancelled_after-- <= 0;
}

/* The same bits again, and after calls that were broken off at any place. */
static void
nothing_is_left_from_before(void)
{
	Twins twins;
	float *slope;
	float *expected;
	int broken = 0;

	if (!open_twins(&twins, "tiny-bert-cased-max-dense", 0.1))
		return;
	slope = check_floats(TEXTS * (size_t) twins.dimensions, 1);
	check_ok(gradient_there(&twins, slope, 1));
	expected = copy_gradient(&twins);
	CHECK(length_of(expected, NULL, br_train_count(twins.model[THERE])) > 0);
	check_ok(gradient_there(&twins, slope, 2));
	check_ok(gradient_there(&twins, slope, 1));
	check_same_gradient(&twins, expected);
	for (int i = 0; i < 100 && !check_has_failed(); i++)
	{
		BrStatus status;

		cancelled_after = i;
		check_context.cancel.requested = cancel_later;
		status = gradient_there(&twins, slope, 2);
		check_context.cancel.requested = NULL;
		if (status == BR_OK)
			break;
		CHECK(status == BR_ERR_CANCELLED);
		broken++;
		check_ok(gradient_there(&twins, slope, 1));
		check_same_gradient(&twins, expected);
	}
	/* once before each layer at least, on both ways */
	CHECK(broken >= 2 * br_train_shape(twins.model[THERE])->layers && broken < 100);
	close_twins(&twins);
}

/* Each fails in its turn, is told of, and the same call again does its work. */
static void
every_allocation_of_training_may_fail(void)
{
	Twins twins;
	BrTrainOptions options;
	float *slope;
	float *expected;
	int failures = 0;
	int number = 0;
#ifdef BR_EMULATED
	int pieces = emulated_pieces();
#endif

	if (!open_twins(&twins, "tiny-mpnet-mean", 0.1))
		return;
	slope = check_floats(TEXTS * (size_t) twins.dimensions, 1);
	check_ok(gradient_there(&twins, slope, 1));
	expected = copy_gradient(&twins);
	options = options_with(0.1, twins.device);
	do
	{
		br_train_end(twins.run[THERE]);
		br_cuda_fail_allocation(++number);
		for (int turn = 0; turn < 9; turn++)
		{
			BrStatus status = turn == 0 || twins.run[THERE] == NULL
				? br_train_begin(&check_context, twins.model[THERE], &options, &twins.run[THERE])
				: BR_OK;

			if (status == BR_OK)
				status = gradient_there(&twins, slope, 1);
			if (status == BR_OK)
				break;
			CHECK(status == BR_ERR_MEMORY && strstr(check_context.detail, "memory") != NULL);
			failures++;
		}
		check_same_gradient(&twins, expected);
	} while (!check_has_failed() && number < 100 && br_cuda_failing_allocation() == 0);
	br_cuda_fail_allocation(0);
	printf("# %d of %d allocations that failed made a call fail\n", failures, number - 1);
	CHECK(failures >= 4 && failures == number - 1);
	close_twins(&twins);
#ifdef BR_EMULATED
	CHECK(emulated_pieces() == pieces);
#endif
}

static void
what_a_device_does_not_train_is_refused(void)
{
	BrTrainContrastive loss = contrast();
	BrTrainAdversary adversary = {1, 1};
	BrTrainBottleneckOptions narrow = {4, 1};
	BrTrainPrefixOptions short_prefix = {3, 0, 1};
	BrTrainBottleneck *bottleneck;
	BrTrainPrefix *prefix;
	BrDeviceTable other = *br_device_table();
	BrTrainOptions options;
	BrTrainBatch batch;
	BrTrainRun *run;
	float *room;
	double value[2];
	Twins twins;

	if (!open_twins(&twins, "tiny-bert-cls", 0))
		return;
	batch = batch_of(&twins);
	room = check_room(TEXTS * (size_t) twins.dimensions);
	CHECK(br_train_backpropagate(twins.run[THERE], room) == BR_ERR_ARGUMENT);
	CHECK(br_train_accumulate_adversarial(twins.run[THERE], &batch, 0, br_train_contrastive, &loss,
										  0, &adversary, &value[0],
										  &value[1]) == BR_ERR_UNSUPPORTED);
	twins.ids[3] = -1;
	CHECK(br_train_embed(twins.run[THERE], &batch, 0, room) == BR_ERR_ARGUMENT);
	twins.ids[3] = 4;
	options = options_with(0, twins.device);
	options.memory = 100000;
	check_ok(br_train_begin(&check_context, twins.model[THERE], &options, &run));
	CHECK(br_train_embed(run, &batch, 0, room) == BR_ERR_LIMIT);
	CHECK(strstr(check_context.detail, "100000") != NULL);
	br_train_end(run);
	check_ok(br_train_bottleneck_create(&check_context, twins.model[THERE], &narrow, &bottleneck));
	CHECK(br_train_embed(twins.run[THERE], &batch, 0, room) == BR_ERR_UNSUPPORTED);
	br_train_bottleneck_destroy(bottleneck);
	check_ok(br_train_prefix_create(&check_context, twins.model[THERE], options.backend,
									&short_prefix, &prefix));
	CHECK(br_train_embed(twins.run[THERE], &batch, 0, room) == BR_ERR_UNSUPPORTED);
	br_train_prefix_destroy(prefix);
	other.open_training = NULL;
	options.device_table = &other;
	CHECK(br_train_begin(&check_context, twins.model[THERE], &options, &run) == BR_ERR_UNSUPPORTED);
	CHECK(run == NULL);
	check_ok(br_train_embed(twins.run[THERE], &batch, 0, room));
	close_twins(&twins);
}

static const Check checks[] = {
	{"gradients follow the processor's", gradients_follow},
	{"gradients follow the processor's with dropout", gradients_follow_with_dropout},
	{"parts make the whole", parts_make_the_whole},
	{"ten steps follow the processor's", steps_follow},
	{"low-rank additions follow the processor's", additions_follow},
	{"no gradient is left from before", nothing_is_left_from_before},
	{"every allocation of training may fail", every_allocation_of_training_may_fail},
	{"what a device does not train is refused", what_a_device_does_not_train_is_refused},
};

#endif

const Checks training_checks = {checks, LENGTH(checks)};
