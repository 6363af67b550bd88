/*
 * check_tuning.c
 *	  A whole fine-tuning on the device, against the same one on the processor.
 *
 * Texts are [CLS], the word of a kind, a word of their own and [SEP]; those of a kind
 * go with those of the next one. Weights are compared by how far apart the two
 * tunings end, of the way that they have gone. Plain gradient descent is what
 * optimises, because Adam makes a whole step of what a gradient has of rounding.
 */
#include "cuda/checks.h"

#ifdef BR_WITHOUT_ENCODER

static void
without_the_encoder(void)
{
	check_skipped("built without the encoder");
}

static const Check checks[] = {
	{"fine-tunings follow the processor's", without_the_encoder},
};

#else

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/math/br_math.h"
#include "core/tune/br_tune.h"
#include "cuda/golden.h"

extern const BrDeviceTable *br_device_table(void);

/* How far apart tunings may end, of the way that the processor's has gone. */
#define EMULATED_PART 2e-5
#define DEVICE_PART 1e-1

/* The same of losses and embeddings, of what they are. */
#define LOSS_PART (check_on_device ? 2e-2 : 1e-4)

#define KINDS 8
#define OF_KIND 4
#define TEXTS (KINDS * OF_KIND)
#define EXAMPLES (TEXTS / 2)
#define TOKENS 4
#define HERE 0
#define THERE 1

typedef struct Twins
{
	void *image;
	BrEncoder *encoder;
	BrDevice *device;
	int32_t ids[TEXTS * TOKENS];
	int32_t offsets[TEXTS + 1];
	BrTuneExample examples[EXAMPLES];
	BrTuneData data;
	BrTuneOptions options;
	BrTune *tune[2];
} Twins;

static void
make_data(Twins *twins)
{
	for (int i = 0; i < TEXTS; i++)
	{
		const int32_t text[TOKENS] = {2, 100 + i / OF_KIND, 200 + i, 3};

		memcpy(twins->ids + i * TOKENS, text, sizeof(text));
		twins->offsets[i + 1] = TOKENS * (i + 1);
	}
	for (int i = 0; i < EXAMPLES; i++)
	{
		int kind = 2 * (i % (KINDS / 2));
		int number = i / (KINDS / 2);

		twins->examples[i] = (BrTuneExample){.first = kind * OF_KIND + number,
											 .second = (kind + 1) * OF_KIND + number,
											 .third = -1,
											 .label = kind % 3};
	}
	twins->data = (BrTuneData){
		.ids = twins->ids,
		.offsets = twins->offsets,
		.n_texts = TEXTS,
		.examples = twins->examples,
		.n_examples = EXAMPLES,
		.classes = 3,
		.lead = 1,
		.tail = 1,
	};
}

static void
set_options(Twins *twins, BrTuneObjective objective, BrTuneMethod method)
{
	BrTuneOptions *options = &twins->options;

	br_tune_defaults(objective, method, options);
	options->optimiser = BR_TRAIN_SGD;
	options->rate = method == BR_TUNE_FULL ? 0.02 : 0.2;
	options->warm_up = 0;
	options->batch = 6;
	options->epochs = 3;
	options->dropout = 0.1;
	options->attention_dropout = 0.1;
	options->chunk_tokens = 20;
	options->lora_rank = 4;
	/* a device that rounds may have other ranks, and so other negatives */
	options->negatives = check_on_device ? 0 : 2;
	options->negatives_to = 9;
	options->seed = 3;
}

static void
close_twins(Twins *twins)
{
	for (int i = 0; i < 2; i++)
		br_tune_close(twins->tune[i]);
	br_device_table()->close(twins->device);
	golden_close(twins->encoder, twins->image);
}

/* false: the folder is not there, or the check has failed. */
static bool
open_twins(Twins *twins, BrTuneObjective objective, BrTuneMethod method)
{
	BrTuneCompute compute = {.backend = br_math_portable_backend()};

	memset(twins, 0, sizeof(*twins));
	twins->encoder = golden_open_tiny("tiny-bert-cls", &twins->image);
	if (twins->encoder == NULL)
	{
		check_skipped("the folders of models are not there");
		return false;
	}
	make_data(twins);
	set_options(twins, objective, method);
	check_ok(br_device_table()->open(&check_context, 0, &twins->device));
	for (int i = 0; i < 2 && !check_has_failed(); i++)
	{
		check_ok(br_tune_open(&check_context, twins->encoder, &twins->data, &twins->options,
							  &compute, &twins->tune[i]));
		compute.device_table = br_device_table();
		compute.device = twins->device;
	}
	if (check_has_failed())
		close_twins(twins);
	return !check_has_failed();
}

static float *
copy_values(BrTune *tune)
{
	BrTuneTensors all;

	br_tune_delta(tune, &all);
	return memcpy(check_memory(all.n * sizeof(float)), all.values, all.n * sizeof(float));
}

static double
length_between(const float *values, const float *others, size_t n)
{
	double squares = 0;

	for (size_t i = 0; i < n; i++)
		squares +=
			((double) values[i] - (double) others[i]) * ((double) values[i] - (double) others[i]);
	return sqrt(squares);
}

static void
compare_steps(Twins *twins)
{
	BrTuneProgress progress[2];

	do
	{
		for (int i = 0; i < 2 && !check_has_failed(); i++)
			check_ok(br_tune_step(twins->tune[i], &progress[i]));
		if (!check_has_failed() &&
			!(fabs(progress[THERE].loss - progress[HERE].loss) <= LOSS_PART * progress[HERE].loss))
			check_failed("step %d: the loss is %.7g, not %.7g", (int) progress[HERE].step,
						 progress[THERE].loss, progress[HERE].loss);
	} while (!check_has_failed() && progress[HERE].end == BR_TUNE_GOES_ON);
}

/* What both have learned, of all texts; every embedding is of some length. */
static void
compare_embeddings(Twins *twins)
{
	size_t dim = (size_t) br_encoder_info(twins->encoder)->dimensions;
	float *rows[2] = {check_room(TEXTS * dim), check_room(TEXTS * dim)};
	float *zeros = check_memory(dim * sizeof(float));

	memset(zeros, 0, dim * sizeof(float));
	for (int i = 0; i < 2 && !check_has_failed(); i++)
		check_ok(br_tune_embed(twins->tune[i], twins->ids, twins->offsets, TEXTS, rows[i]));
	for (size_t i = 0; i < TEXTS && !check_has_failed(); i++)
	{
		double length = length_between(rows[HERE] + i * dim, zeros, dim);
		double apart = length_between(rows[HERE] + i * dim, rows[THERE] + i * dim, dim);

		if (!(length > 0 && apart <= LOSS_PART * length))
			check_failed("the embedding of text %d is off by %.3g of %.3g", (int) i, apart, length);
	}
}

static void
follow(BrTuneObjective objective, BrTuneMethod method)
{
	Twins twins;
	BrTuneTensors all;
	float *start;
	double way;
	double apart;

	if (!open_twins(&twins, objective, method))
		return;
	br_tune_delta(twins.tune[HERE], &all);
	start = copy_values(twins.tune[HERE]);
	compare_steps(&twins);
	if (check_has_failed())
	{
		close_twins(&twins);
		return;
	}
	way = length_between(start, copy_values(twins.tune[HERE]), all.n);
	apart = length_between(copy_values(twins.tune[HERE]), copy_values(twins.tune[THERE]), all.n);
	printf("# %s, %s: %.2g of the way apart\n", br_tune_objective_name(objective),
		   br_tune_method_name(method), apart / way);
	CHECK(way > 0 && apart <= (check_on_device ? DEVICE_PART : EMULATED_PART) * way);
	compare_embeddings(&twins);
	close_twins(&twins);
}

static void
fine_tunings_follow(void)
{
	follow(BR_TUNE_CONTRASTIVE, BR_TUNE_FULL);
	follow(BR_TUNE_TEXT_CLASSES, BR_TUNE_FULL);
	follow(BR_TUNE_CONTRASTIVE, BR_TUNE_LORA);
}

/* Left in the middle, it ends where the processor's does. */
static void
fine_tunings_go_on_without_it(void)
{
	BrTuneProgress progress;
	Twins twins;

	if (!open_twins(&twins, BR_TUNE_CONTRASTIVE, BR_TUNE_FULL))
		return;
	for (int i = 0; i < 2 && !check_has_failed(); i++)
		for (int step = 0; step < 2; step++)
			check_ok(br_tune_step(twins.tune[i], &progress));
	check_ok(br_tune_leave_device(twins.tune[THERE]));
	br_device_table()->close(twins.device);
	twins.device = NULL;
	compare_steps(&twins);
	if (!check_has_failed())
		compare_embeddings(&twins);
	close_twins(&twins);
}

static const Check checks[] = {
	{"fine-tunings follow the processor's", fine_tunings_follow},
	{"fine-tunings go on without the device", fine_tunings_go_on_without_it},
};

#endif

const Checks tuning_checks = {checks, LENGTH(checks)};
