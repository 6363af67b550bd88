/*
 * br_tune.h
 *	  The door of the tune room: one fine-tuning, from data to new weights.
 *
 * A tuning is opened over an encoder, data and options, and goes on step by
 * step: each call of br_tune_step is one step of the optimiser, with whatever is
 * due around it, such as mining negatives or validation. Between two steps its
 * state can be saved; a tuning opened anew with the same encoder, data and
 * options and restored from it goes on as if nothing had been: with the same
 * backend and number of threads, or the same device, to the same bits. With others it
 * goes on all the same: nothing of a tuning is on a device alone. All that is drawn at random
 * depends on the seed and on the place where it is drawn, so a step that was
 * cancelled or failed has changed nothing, and can be taken again.
 */
#ifndef BR_TUNE_H
#define BR_TUNE_H

#include "core/base/br_base.h"
#include "core/encoder/br_encoder.h"
#include "core/math/br_backend.h"
#include "core/train/br_train.h"
#include "core/train/br_train_adapters.h"
#include "core/train/br_train_optimiser.h"

/* ---- what is learned ---- */

typedef enum BrTuneObjective
{
	BR_TUNE_CONTRASTIVE,  /* pairs belong together: br_train_contrastive */
	BR_TUNE_TRIPLET,	  /* first is nearer to second than to third: br_train_triplet, by cosine */
	BR_TUNE_SCORE,		  /* the cosine of a pair is its score: br_train_cosine */
	BR_TUNE_TEXT_CLASSES, /* a text has a label: br_train_classes */
	BR_TUNE_PAIR_CLASSES, /* a pair has a label, such as related or not: br_train_classes */
	BR_TUNE_MASKED_WORDS, /* hidden words are guessed: br_train_accumulate_masked */
	BR_TUNE_NEXT_SENTENCE, /* a text follows another in its document: br_train_draw_next */
	BR_TUNE_DISTILLATION,  /* embeddings are those of another model: br_train_distillation */
	BR_TUNE_SETS		   /* a member of a set is near to the others: br_train_sets */
} BrTuneObjective;

#define BR_TUNE_OBJECTIVES 9

/* "contrastive", "triplet", "score", "text_classes", ...; NULL: there is no such objective. */
extern const char *br_tune_objective_name(BrTuneObjective objective);

/* By what the model is trained. */
typedef enum BrTuneMethod
{
	BR_TUNE_FULL,		/* all of its weights */
	BR_TUNE_LORA,		/* low-rank additions to dense layers */
	BR_TUNE_ADALORA,	/* the same, of ranks that are shared out */
	BR_TUNE_BOTTLENECK, /* bottlenecks behind dense layers */
	BR_TUNE_PREFIX		/* keys and values that attention sees before every text's */
} BrTuneMethod;

#define BR_TUNE_METHODS 5

/* "full", "lora", "adalora", "bottleneck", "prefix"; NULL: there is no such method. */
extern const char *br_tune_method_name(BrTuneMethod method);

/* What one example says, of texts by their numbers; what an objective does not ask is unread. */
typedef struct BrTuneExample
{
	int32_t first;	/* the anchor, or the only text */
	int32_t second; /* its partner: of pairs and triplets */
	int32_t third;	/* no partner: of triplets; of contrastive a hard negative; -1: none */
	int32_t label;	/* of classes: from 0 to classes - 1 */
	float score;	/* of a score: in [-1, 1] */
} BrTuneExample;

/*
 * All arrays are the caller's and must stay unchanged until br_tune_close. Texts
 * that are cut to the same ids count as one text.
 */
typedef struct BrTuneData
{
	/* token ids of text i, special tokens included: ids[offsets[i]] .. ids[offsets[i + 1] - 1] */
	const int32_t *ids;
	const int32_t *offsets; /* (n_texts + 1), from 0 */
	int n_texts;

	/*
	 * The last n_validation are for validation alone. Masked words and
	 * distillation read first alone; next sentence has no examples, and the
	 * last n_validation are of the texts, which should end with whole documents.
	 */
	const BrTuneExample *examples; /* (n_examples); of sets unread */
	int n_examples;
	int n_validation; /* 0: the last weights are taken */

	/*
	 * Of sets, which are their examples: the texts of set i are
	 * members[sets[i]] .. members[sets[i + 1] - 1], at least two.
	 */
	const int32_t *sets; /* (n_examples + 1), from 0 */
	const int32_t *members;

	int classes; /* of text and pair classes, at least 2; otherwise unread */

	const float
		*teacher; /* (n_texts, teacher_dimensions): of distillation; may be NULL otherwise */
	int teacher_dimensions; /* at least those of the model */

	/* (n_texts): of next sentence, two at least, equal side by side; may be NULL otherwise */
	const int32_t *documents;

	const int32_t *special; /* (n_special): ids that are no words, such as [CLS] and [SEP] */
	int n_special;
	int lead;		 /* special tokens that every text begins with */
	int tail;		 /* special tokens that every text ends with; a cut text keeps them */
	int32_t mask_id; /* stands for a hidden word: of masked words; otherwise unread */
} BrTuneData;

/* ---- how it is learned ---- */

#define BR_TUNE_MATRYOSHKA 8 /* the most numbers of dimensions */

/*
 * Set by br_tune_defaults, then changed, then looked through by
 * br_tune_check_options. Names of fields are what a user calls them
 * (br_tune_fields).
 */
typedef struct BrTuneOptions
{
	BrTuneObjective objective;
	BrTuneMethod method;

	/* what additions are: br_train_adapters.h */
	int lora_rank;				/* from 1 to the hidden size */
	double lora_alpha;			/* above 0; of AdaLoRA, too */
	unsigned lora_matrices;		/* BR_TRAIN_LORA_..., at least one; of AdaLoRA, too */
	int adalora_rank;			/* at first, from 1 to the hidden size */
	double adalora_target_rank; /* at the end, on average; above 0, at most adalora_rank */
	double
		adalora_warm_up;  /* the share of all steps that have all ranks, in [0, 1); and of those */
	double adalora_final; /* at the end whose ranks stay, with the former below 1 */
	double adalora_penalty; /* of factors that are not orthogonal, at least 0 */
	int bottleneck_size;	/* from 1 to the hidden size */
	int prefix_length;		/* from 1 to BR_ENCODER_MOST_PREFIX */
	int prefix_width;		/* of the network that makes it; 0: none, it is trained itself */

	/* how far */
	int epochs;			/* passes over the examples, at least 1 */
	int64_t most_steps; /* of the optimiser; 0: as many as the epochs have */
	int batch;			/* examples of a step, at least 1, of pairs and sets to be told apart at
						   least 2; steps of an epoch have as many or, evenly spread, fewer */

	/* the optimiser: br_train_optimiser.h */
	BrTrainRule optimiser;
	BrTrainSchedule schedule;
	double rate;
	double warm_up; /* the share of all steps, in [0, 1] */
	double decay;
	double clip;
	double momentum;
	double beta1;
	double beta2;
	double epsilon;

	/* the objective */
	double temperature;	  /* of contrastive and sets, above 0 */
	bool both_directions; /* of contrastive */
	double smoothing;	  /* of contrastive and classes, in [0, 1) */
	double margin;		  /* of triplets, at least 0, in cosine distance */
	double mask_share;	  /* of masked words, in (0, 1] */

	/*
	 * Of contrastive: hard negatives of each anchor, drawn by seed from those at
	 * the ranks negatives_from to negatives_to of all texts by their cosine to
	 * the anchor, mined at the beginning of each epoch with the model as it is
	 * then. Neither the anchor nor a text that a training example pairs it with,
	 * either way round, has a rank. An anchor with fewer such texts has fewer.
	 */
	int negatives;		/* at least 0, at most as many as there are ranks */
	int negatives_from; /* at least 1 */
	int negatives_to;	/* at least negatives_from */

	/*
	 * Of contrastive: what is the same text as an anchor, or what a training
	 * example pairs with it, either way round, is no negative in its batch; of sets
	 * what is the same text as a target, or with it in a training set.
	 */
	bool no_false_negatives;

	/* embeddings cut to these must serve, too; not of classes, masked words and next sentence */
	int matryoshka[BR_TUNE_MATRYOSHKA]; /* (n_matryoshka), each from 1 to the model's dimensions */
	int n_matryoshka;					/* 0: all dimensions alone */

	/* what is disturbed while training: br_train.h, br_train_texts.h */
	double dropout;			  /* in [0, 1) */
	double attention_dropout; /* in [0, 1) */
	double word_dropout;	  /* in [0, 1) */
	double word_swap;		  /* in [0, 1] */
	double word_span;		  /* in [0, 1] */
	int longest_span;		  /* at least 1 */
	double adversary; /* the size of disturbances against the loss; 0: none; not of masked words */
	double adversary_weight; /* above 0 */

	/*
	 * What br_tune_weights and br_tune_image give, by full, LoRA and AdaLoRA: the model as it was, and so
	 * much of the way to what was learned, in (0, 1] (Wortsman et al., "Robust
	 * fine-tuning of zero-shot models", CVPR 2022).
	 */
	double mix;

	/* when to stop, where there are validation examples */
	int64_t validate_every;	  /* steps; 0: at the end of each epoch; always after the last step */
	int patience;			  /* validations in a row without improvement that end it; 0: none do */
	double least_improvement; /* by which a figure must pass the best one, at least 0 */

	int most_tokens;  /* of a text; longer ones are cut; 0: as many as the model takes */
	int chunk_tokens; /* br_train_accumulate; 0: a batch at once */
	int64_t memory;	  /* bytes that a batch may take; 0: whatever it takes */
	int64_t seed;	  /* at least 0 */
} BrTuneOptions;

typedef enum BrTuneFieldKind
{
	BR_TUNE_INT,	/* int */
	BR_TUNE_INT64,	/* int64_t */
	BR_TUNE_DOUBLE, /* double */
	BR_TUNE_BOOL,	/* bool */
	BR_TUNE_CHOICE, /* an enum, as an int, by its word: words[value] */
	BR_TUNE_FLAGS,	/* unsigned: a list of words, bit i for words[i] */
	BR_TUNE_INTS	/* int[BR_TUNE_MATRYOSHKA], and how many in the int at count_offset */
} BrTuneFieldKind;

/* A field of BrTuneOptions that a user may set; objective and method are not among them. */
typedef struct BrTuneField
{
	const char *name;
	BrTuneFieldKind kind;
	size_t offset; /* in BrTuneOptions */
	size_t count_offset;
	double lowest;	/* of numbers */
	double highest; /* of numbers; infinity: none */
	bool above;		/* lowest itself is out of range */
	bool below;		/* highest itself is out of range */
	const char *const *words;
	int n_words;
} BrTuneField;

extern const BrTuneField *br_tune_fields(int *n);

/*
 * What an objective is usually trained with. Sets: temperature .1, 48 sets, 7
 * epochs, three quarters of the way. Contrastive: temperature .05, both
 * directions, no false negatives, batch 64, 2 epochs, AdamW at 5e-5, linear with
 * a tenth of warm-up, clipping at 1, texts of 64 tokens; additions at
 * ten times the rate, prefixes at a hundred times. Sets every field.
 */
extern void br_tune_defaults(BrTuneObjective objective, BrTuneMethod method,
							 BrTuneOptions *options);

/*
 * Looks through options by themselves; what depends on the model or the data
 * br_tune_open does. BR_ERR_ARGUMENT: a field out of its range, or against
 * another; the detail begins with the field's name and a space, and tells
 * the value and what is right; *field, which may be NULL, is the name.
 */
extern BrStatus br_tune_check_options(BrContext *context, const BrTuneOptions *options,
									  const char **field);

/* ---- one fine-tuning ---- */

typedef struct BrTune BrTune;

/* What computes a tuning. */
typedef struct BrTuneCompute
{
	const BrBackend *backend;
	BrPool *pool; /* NULL: the caller's thread alone */

	/*
	 * A device that computes all embeddings of texts, of steps as of mining,
	 * validation and br_tune_embed, and their gradients; NULL: there is none. The
	 * rest, such as losses, ranks of negatives and the optimiser, is the backend's and
	 * the pool's. One training is open there for as long as the tuning, and nothing else
	 * may use it.
	 */
	const BrDeviceTable *device_table;
	BrDevice *device;
} BrTuneCompute;

/*
 * Whether devices train with these options: masked words, bottlenecks, prefixes and
 * adversaries are the backend's alone. Which models and batches a device takes is its
 * own affair.
 */
extern bool br_tune_device_trains(const BrTuneOptions *options);

/*
 * The encoder may be closed afterwards; context, data and what computes must
 * outlive the tuning. options and compute are copied.
 * *tune: of the caller (br_tune_close); NULL after a failure.
 * BR_ERR_ARGUMENT: an option out of its range, as br_tune_check_options tells,
 * or, by number, an example or text that is: texts that there are not, tokens
 * that the model does not have, labels, scores; no example to learn from; of
 * contrastive fewer than two different pairs.
 * BR_ERR_UNSUPPORTED: the backend does not train, or the device not this model, or not
 * with these options. BR_ERR_MEMORY, BR_ERR_DEVICE: also as br_device.h has them.
 */
extern BrStatus br_tune_open(BrContext *context, const BrEncoder *encoder, const BrTuneData *data,
							 const BrTuneOptions *options, const BrTuneCompute *compute,
							 BrTune **tune);
extern void br_tune_close(BrTune *tune); /* NULL is ignored */

/*
 * Between two steps, after one that has failed too: from now on the backend computes
 * everything, and goes on from where the tuning is, as one does that is restored
 * from its state without a device. The device may go then. Without one nothing happens.
 * BR_ERR_MEMORY: the tuning is good for closing alone.
 */
extern BrStatus br_tune_leave_device(BrTune *tune);

typedef enum BrTuneEnd
{
	BR_TUNE_GOES_ON,
	BR_TUNE_ALL_STEPS, /* all have been taken */
	BR_TUNE_PATIENCE   /* validation has not improved for so long */
} BrTuneEnd;

/*
 * What validation examples say of a model, without dropout, augmentation and
 * adversary. figure, of which more is better:
 *	contrastive			mean reciprocal rank of the partner by cosine among the
 *						texts of validation examples, without the anchor and what
 *						examples pair it with besides (in both directions if trained
 *						so); equal cosines share their ranks
 *	sets				mean reciprocal rank of each member by its mean cosine with the
 *						others, among the texts of validation examples that its set
 *						does not have; equal ones share their ranks
 *	triplet				share of triplets whose partner is nearer
 *	score				Spearman's correlation of cosines and scores; 0 where it is none
 *	classes, next		share of examples whose label is the likeliest
 *	masked, distillation	the loss with the other sign
 */
typedef struct BrTuneValidation
{
	double loss; /* the mean over validation examples */
	double figure;
	double pearson; /* of cosines and scores: of a score; otherwise 0 */
} BrTuneValidation;

typedef struct BrTuneProgress
{
	int64_t step;	/* taken so far */
	int64_t steps;	/* in all, if patience lasts */
	int epoch;		/* of the last step, from 0 */
	double loss;	/* of the last step, without an adversary's part */
	double rate;	/* of the last step */
	double length;	/* of the last step's gradient, before clipping */
	int64_t tokens; /* that training texts had so far, validation and mining aside */

	bool validated; /* after the last step */
	BrTuneValidation validation;
	BrTuneValidation start; /* of the model before the first step; 0 without validation examples */
	bool best;				/* these are the best weights so far, or there is no validation */
	int64_t best_step;		/* after which the best weights were; 0: those at the beginning */
	double best_figure;		/* 0 without validation examples */
	BrTuneEnd end;
} BrTuneProgress;

/*
 * One step of the optimiser; before the first one validation, at the beginning
 * of an epoch mining, and after it validation where it is due. Asks for
 * cancelling between layers. At the end it does nothing but tell the progress.
 * BR_ERR_CANCELLED: nothing has changed, the step can be taken again; or, where
 * the validation after it was cancelled, the next call is that validation alone.
 * BR_ERR_NUMERIC: the loss or its gradient is not finite; the detail tells step
 * and rate; nothing has changed. BR_ERR_LIMIT: the batch does not fit into
 * options.memory, or has more than 2^31 - 1 tokens. Of a device all that br_device.h
 * has besides, and nothing has changed: after BR_ERR_DEVICE it is of no use, and
 * br_tune_leave_device goes on without it.
 */
extern BrStatus br_tune_step(BrTune *tune, BrTuneProgress *progress);

/* Where it stands, without a step. */
extern void br_tune_tell_progress(const BrTune *tune, BrTuneProgress *progress);

/* ---- saving and restoring ---- */

/* Raised when the form of a state changes. */
#define BR_TUNE_STATE_VERSION 2

/* Takes the next bytes of a state; what it returns other than BR_OK ends the saving. */
typedef BrStatus (*BrTuneWrite)(void *arg, const void *bytes, size_t size);

/* Gives the next size bytes of a state; BR_ERR_FORMAT with a detail: there are not as many. */
typedef BrStatus (*BrTuneRead)(void *arg, void *bytes, size_t size);

extern size_t br_tune_state_size(const BrTune *tune); /* bytes, as it is now */

/*
 * All that a tuning remembers: a version, fingerprints of model, options and
 * data, progress, trained numbers, moments, AdaLoRA's choices, mined negatives, the best numbers,
 * and a checksum behind them, in pieces of at most 1 MiB. Changes nothing. Bytes
 * are of machines that begin numbers with their lowest byte.
 * BR_ERR_NUMERIC: a trained number is not finite; nothing was written.
 */
extern BrStatus br_tune_save(BrTune *tune, BrTuneWrite write, void *arg);

/*
 * Goes on where a state was saved, of a tuning just opened.
 * BR_ERR_ARGUMENT: it is of another model, other options or other data, which
 * the detail tells apart; nothing has changed. BR_ERR_UNSUPPORTED: of another
 * version. BR_ERR_FORMAT: no state, cut short, or damaged; then, or where it
 * was cancelled, the tuning is good for closing alone.
 */
extern BrStatus br_tune_restore(BrTune *tune, BrTuneRead read, void *arg);

/* ---- what was learned ---- */

/* How many weights br_tune_weights writes: br_encoder_tell_shape's map.total. */
extern size_t br_tune_weights_count(const BrTune *tune);

/*
 * The weights of the encoder as br_encoder_with_weights takes them: the best by
 * validation, or the last where there is none, as far as options.mix says. Low-rank additions are in
 * them. Bottlenecks and prefixes are not: br_tune_image has them.
 */
extern BrStatus br_tune_weights(BrTune *tune, float *weights /* (br_tune_weights_count) */);

/*
 * The image of the encoder by the same weights, with bottlenecks or a prefix
 * where it has them; without the head. image: that of the encoder which was opened.
 * *copy: *copy_size bytes, owned by the caller (br_base_free); NULL after a failure.
 * Fails as br_train_make_image does.
 */
extern BrStatus br_tune_image(BrTune *tune, const void *image, size_t image_size, void **copy,
							  size_t *copy_size);

/* Tensors whose numbers stand in one array, each at its offset; in place, until the next step. */
typedef struct BrTuneTensors
{
	const BrTrainTensor *tensors; /* (n_tensors) */
	int n_tensors;
	const float *values; /* (n) */
	size_t n;
} BrTuneTensors;

/* The head, of the same weights: "head.weight", ...; n_tensors 0: the objective has none. */
extern void br_tune_head(const BrTune *tune, BrTuneTensors *head);

/* All that was trained, of the same weights: of additions a small part of a model. */
extern void br_tune_delta(const BrTune *tune, BrTuneTensors *delta);

/*
 * Embeddings by all that was learned, additions included, of token ids: those of text i at
 * offsets[i] .. offsets[i + 1]. BR_ERR_ARGUMENT: as br_train_embed.
 */
extern BrStatus br_tune_embed(BrTune *tune, const int32_t *ids,
							  const int32_t *offsets /* (n + 1) */, int n,
							  float *embeddings /* (n, dimensions) */);

#endif /* BR_TUNE_H */
