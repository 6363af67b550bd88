/*
 * tune_int.h
 *	  What the files of the tune room share.
 */
#ifndef TUNE_INT_H
#define TUNE_INT_H

#include "core/train/br_train_losses.h"
#include "core/train/br_train_texts.h"
#include "core/tune/br_tune.h"

/*
 * What is drawn for different purposes must not be the same, so each mixes its
 * own number into the seed.
 */
#define BR_TUNE_DRAW_HEAD UINT64_C(0x9b1c5a7d30e2f401)
#define BR_TUNE_DRAW_ADAPTER UINT64_C(0x5f2e8c0b71d69403)
#define BR_TUNE_DRAW_ORDER UINT64_C(0xc7a4093e6d815f05)
#define BR_TUNE_DRAW_NEGATIVES UINT64_C(0x3d60f8b294ce1707)
#define BR_TUNE_DRAW_WORDS UINT64_C(0xe84b17c65fa03d09)
#define BR_TUNE_DRAW_SENTENCES UINT64_C(0x76d3a92f0c5be80b)
#define BR_TUNE_DRAW_VALIDATION UINT64_C(0x1a95e64d83f7c20d)

/* Texts that are embedded at once where nothing is learned: about so many tokens. */
#define BR_TUNE_READ_TOKENS 1024

/* A hash of bytes in pieces: equal pieces in equal order give equal numbers. */
typedef struct BrTuneHash
{
	uint64_t state;
} BrTuneHash;

extern void br_tune_hash_init(BrTuneHash *hash);
extern void br_tune_hash_add(BrTuneHash *hash, const void *bytes, size_t size);
extern void br_tune_hash_number(BrTuneHash *hash, int64_t number);

/* Texts cut to length, and which of them are the same. */
typedef struct BrTuneTexts
{
	int32_t *ids;
	int32_t *offsets; /* (n + 1) */
	int32_t *same;	  /* (n): the first text of the same ids */
	int n;
} BrTuneTexts;

/* Pairs of texts that go together, each as first of the same ids, smaller << 32 | larger. */
typedef struct BrTunePairs
{
	uint64_t *pairs; /* (n), ascending, distinct */
	size_t n;
} BrTunePairs;

/* All that changes but arrays, in fields of 8 bytes, as it is saved. */
typedef struct BrTuneRecord
{
	int64_t step;
	int64_t epoch;
	int64_t tokens;
	int64_t started;	 /* validation before the first step was made */
	int64_t due;		 /* validation after the last step is still to be made */
	int64_t validated;	 /* and was made */
	int64_t mined_epoch; /* whose negatives there are; -1: of none */
	int64_t unimproved;	 /* validations in a row */
	int64_t best;
	int64_t best_step;
	int64_t end;
	double loss;
	double rate;
	double length;
	double best_figure;
	BrTuneValidation start;
	BrTuneValidation validation;
} BrTuneRecord;

struct BrTune
{
	BrContext *context;
	BrTuneCompute compute;
	BrTuneOptions options;
	BrTuneData data;
	BrTrainRecipe recipe;

	BrTuneTexts texts;
	BrTunePairs known; /* of training examples; of contrastive and sets alone */
	int n_training;	   /* examples, or pairs of sentences */
	int n_validation;
	int n_given;				  /* hard negatives of an anchor that the data give: 0 or 1 */
	BrTrainNext *sentences;		  /* (n_training): of this epoch */
	BrTrainNext *sentences_asked; /* (n_validation) */

	BrTrainModel *model;
	/* one of these, or of full training none */
	BrTrainLora *lora;
	BrTrainAdalora *adalora;
	BrTrainBottleneck *bottleneck;
	BrTrainPrefix *prefix;
	BrTrainSet set;
	BrTrainRun *run;
	BrTrainRun *guesser; /* that validates masked words: without dropout; else NULL */
	BrTrainOptimiser *optimiser;
	int dim;

	int64_t steps_of_epoch;
	int64_t planned_epoch; /* whose order there is; -1: of none */
	int32_t *order;		   /* (n_training) */
	int32_t *negatives;	   /* (n_training, options.negatives): texts; -1: there are fewer */
	BrReal *best;		   /* (set.n); NULL without validation examples */
	float *base;		   /* (weights): of the encoder as it was; NULL: options.mix is 1 */
	BrTuneRecord record;

	uint64_t model_print;
	uint64_t options_print;
	uint64_t data_print;
};

/* ---- data.c ---- */

/* Checks data and takes texts and known pairs from them. */
extern BrStatus br_tune_take_data(BrTune *tune);

/* Whether a training example pairs two texts, or they are the same. */
extern bool br_tune_goes_with(const BrTune *tune, int32_t left, int32_t right);

/* Two texts as a pair, the same either way round. */
extern uint64_t br_tune_pair(const BrTune *tune, int32_t left, int32_t right);

extern bool br_tune_has_pairs(BrTuneObjective objective); /* examples have a second text */
extern bool br_tune_has_labels(BrTuneObjective objective);
extern uint64_t br_tune_print_options(const BrTuneOptions *options);
extern uint64_t br_tune_print_model(BrTrainModel *model);
extern uint64_t br_tune_print_data(const BrTuneData *data);

/* ---- order.c ---- */

/* The order of an epoch's examples, in place of the last one's. */
extern BrStatus br_tune_plan_epoch(BrTune *tune, int64_t epoch);

/* The examples of a step of an epoch are order[first] .. order[first + n - 1]. */
extern void br_tune_find_batch(const BrTune *tune, int64_t number, int *first, int *n);

/* ---- mine.c ---- */

/* Hard negatives of an epoch, by the model as it is. After a failure the old ones are there. */
extern BrStatus br_tune_mine(BrTune *tune, int64_t epoch);

/* Embeddings of texts without dropout. */
extern BrStatus br_tune_read(BrTune *tune, const int32_t *texts /* (n) */, int n,
							 BrReal *embeddings /* (n, dim) */);

/* Rows become vectors of length 1, those of length 0 stay. */
extern void br_tune_make_units(BrReal *rows /* (n, dim) */, int n, int dim);

/* ---- batch.c ---- */

/* Examples of one step, and their loss. */
typedef struct BrTuneBatch
{
	int n; /* examples */
	int n_texts;
	int n_negatives; /* of each anchor */
	int32_t *texts;	 /* (n_texts): numbers of texts; of next sentence NULL */
	BrTrainBatch batch;

	BrTrainLoss loss; /* NULL: masked words */
	const void *arg;
	BrTrainContrastive contrastive;
	BrTrainSets completion;
	BrTrainTriplet triplet;
	BrTrainCosine cosine;
	BrTrainClasses classes;
	BrTrainDistillation distillation;
	BrTrainMatryoshka matryoshka;

	int32_t *ids;
	int32_t *offsets;
	uint8_t *excluded;
	int32_t *sets; /* (n_texts): of sets */
	double *targets;
	int32_t *labels;
	BrReal *teacher;
} BrTuneBatch;

/*
 * Of n examples by their numbers, with mined negatives if learning. After a
 * failure, too, br_tune_free_batch.
 */
extern BrStatus br_tune_gather(BrTune *tune, const int32_t *examples /* (n) */, int n,
							   bool learning, BrTuneBatch *batch);
extern void br_tune_free_batch(BrContext *context, BrTuneBatch *batch);

/* Words of a batch are changed as the options say. */
extern BrStatus br_tune_augment(BrTune *tune, uint64_t step, BrTuneBatch *batch);

/* ---- sets.c ---- */

extern BrStatus br_tune_check_sets(BrTune *tune);
extern int br_tune_set_size(const BrTune *tune, int32_t set); /* members */

/* Pairs of members of one training set, in no order and maybe more than once. */
extern size_t br_tune_count_set_pairs(const BrTune *tune);
extern void br_tune_list_set_pairs(const BrTune *tune, uint64_t *pairs);

/* Texts of a batch of sets, and which of them are no negatives of which. */
extern BrStatus br_tune_place_sets(const BrTune *tune, const int32_t *numbers /* (n) */,
								   BrTuneBatch *batch);

/* ---- masked.c ---- */

/* Adds the gradient of a masked batch in parts of options.chunk_tokens. */
extern BrStatus br_tune_accumulate_masked(BrTune *tune, BrTrainRun *run, const BrTrainBatch *batch,
										  uint64_t step, double *value, int *guessed);

/* ---- tune.c ---- */

/*
 * What a validation means for the record: whether its weights are the best so
 * far, or whether patience is at an end. Before the record has started they are.
 */
extern bool br_tune_judge(BrTuneRecord *record, const BrTuneValidation *validation,
						  double least_improvement, int patience);

/* ---- validate.c ---- */

extern BrStatus br_tune_validate(BrTune *tune, BrTuneValidation *validation);

/* ---- method.c ---- */

/* What is trained, when the recipe is known. */
extern BrStatus br_tune_open_set(BrTune *tune);
extern void br_tune_close_set(BrTune *tune);

/* Before an update; after it, when the model becomes what the set says. */
extern void br_tune_pull(BrTune *tune);
extern void br_tune_push(BrTune *tune);

/* The model becomes what the set says, of whatever step; no ranks are chosen anew. */
extern void br_tune_show(BrTune *tune);

/* What the method remembers besides the set; steps and moments NULL: nothing. */
extern BrTrainState br_tune_method_state(const BrTune *tune);

#endif /* TUNE_INT_H */
