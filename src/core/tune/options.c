/*
 * options.c
 *	  What a fine-tuning may be told, by name.
 *
 * One table says of each field what it is called and which values it takes. It
 * checks options, and what reads a user's parameters goes by it, too.
 */
#include <math.h>
#include <string.h>

#include "core/tune/tune_int.h"

static const char *const optimiser_words[] = {"adamw", "sgd"};
static const char *const schedule_words[] = {"constant", "linear", "cosine"};
static const char *const matrix_words[] = {"query", "key", "value", "output", "up", "down"};

#define WORDS(list) .words = (list), .n_words = (int) (sizeof(list) / sizeof((list)[0]))
#define AT(field) .name = #field, .offset = offsetof(BrTuneOptions, field)

static const BrTuneField fields[] = {
	{AT(lora_rank), .kind = BR_TUNE_INT, .lowest = 1, .highest = 65536},
	{AT(lora_alpha), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY, .above = true},
	{AT(lora_matrices), .kind = BR_TUNE_FLAGS, WORDS(matrix_words)},
	{AT(adalora_rank), .kind = BR_TUNE_INT, .lowest = 1, .highest = 65536},
	{AT(adalora_target_rank), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 65536, .above = true},
	{AT(adalora_warm_up), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(adalora_final), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(adalora_penalty), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY},
	{AT(bottleneck_size), .kind = BR_TUNE_INT, .lowest = 1, .highest = 65536},
	{AT(prefix_length), .kind = BR_TUNE_INT, .lowest = 1, .highest = BR_ENCODER_MOST_PREFIX},
	{AT(prefix_width), .kind = BR_TUNE_INT, .lowest = 0, .highest = BR_TRAIN_PREFIX_WIDEST},
	{AT(epochs), .kind = BR_TUNE_INT, .lowest = 1, .highest = 1000000},
	{AT(most_steps), .kind = BR_TUNE_INT64, .lowest = 0, .highest = 1e15},
	{AT(batch), .kind = BR_TUNE_INT, .lowest = 1, .highest = 65536},
	{AT(optimiser), .kind = BR_TUNE_CHOICE, WORDS(optimiser_words)},
	{AT(schedule), .kind = BR_TUNE_CHOICE, WORDS(schedule_words)},
	{AT(rate), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY, .above = true},
	{AT(warm_up), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1},
	{AT(decay), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY},
	{AT(clip), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY},
	{AT(momentum), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(beta1), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(beta2), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(epsilon), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY, .above = true},
	{AT(temperature), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY, .above = true},
	{AT(both_directions), .kind = BR_TUNE_BOOL},
	{AT(smoothing), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(margin), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY},
	{AT(mask_share), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .above = true},
	{AT(negatives), .kind = BR_TUNE_INT, .lowest = 0, .highest = 1024},
	{AT(negatives_from), .kind = BR_TUNE_INT, .lowest = 1, .highest = 1000000},
	{AT(negatives_to), .kind = BR_TUNE_INT, .lowest = 1, .highest = 1000000},
	{AT(no_false_negatives), .kind = BR_TUNE_BOOL},
	{AT(matryoshka), .kind = BR_TUNE_INTS, .count_offset = offsetof(BrTuneOptions, n_matryoshka),
	 .lowest = 1, .highest = 65536},
	{AT(dropout), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(attention_dropout), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(word_dropout), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .below = true},
	{AT(word_swap), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1},
	{AT(word_span), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1},
	{AT(longest_span), .kind = BR_TUNE_INT, .lowest = 1, .highest = 65536},
	{AT(adversary), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY},
	{AT(adversary_weight), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY, .above = true},
	{AT(mix), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = 1, .above = true},
	{AT(validate_every), .kind = BR_TUNE_INT64, .lowest = 0, .highest = 1e15},
	{AT(patience), .kind = BR_TUNE_INT, .lowest = 0, .highest = 1000000},
	{AT(least_improvement), .kind = BR_TUNE_DOUBLE, .lowest = 0, .highest = INFINITY},
	{AT(most_tokens), .kind = BR_TUNE_INT, .lowest = 0, .highest = 65536},
	{AT(chunk_tokens), .kind = BR_TUNE_INT, .lowest = 0, .highest = 1e9},
	{AT(memory), .kind = BR_TUNE_INT64, .lowest = 0, .highest = 1e15},
	{AT(seed), .kind = BR_TUNE_INT64, .lowest = 0, .highest = 9007199254740992.0},
};

#define N_FIELDS ((int) (sizeof(fields) / sizeof(fields[0])))

const BrTuneField *
br_tune_fields(int *n)
{
	*n = N_FIELDS;
	return fields;
}

const char *
br_tune_objective_name(BrTuneObjective objective)
{
	static const char *const names[BR_TUNE_OBJECTIVES] = {"contrastive",   "triplet",
														  "score",		   "text_classes",
														  "pair_classes",  "masked_words",
														  "next_sentence", "distillation",
														  "sets"};

	return (unsigned) objective < BR_TUNE_OBJECTIVES ? names[objective] : NULL;
}

const char *
br_tune_method_name(BrTuneMethod method)
{
	static const char *const names[BR_TUNE_METHODS] = {"full", "lora", "adalora", "bottleneck",
													   "prefix"};

	return (unsigned) method < BR_TUNE_METHODS ? names[method] : NULL;
}

void
br_tune_defaults(BrTuneObjective objective, BrTuneMethod method, BrTuneOptions *options)
{
	bool contrastive = objective == BR_TUNE_CONTRASTIVE;
	bool sets = objective == BR_TUNE_SETS;
	bool masked = objective == BR_TUNE_MASKED_WORDS;

	memset(options, 0, sizeof(*options));
	options->objective = objective;
	options->method = method;
	options->lora_rank = 16;
	options->lora_alpha = 32;
	options->lora_matrices = BR_TRAIN_LORA_ALL;
	options->adalora_rank = 12;
	options->adalora_target_rank = 8;
	options->adalora_warm_up = 0.1;
	options->adalora_final = 0.3;
	options->adalora_penalty = 0.1;
	options->bottleneck_size = 48;
	options->prefix_length = 16;
	options->epochs = sets ? 7 : contrastive ? 2 : 3;
	options->batch = sets ? 48 : contrastive ? 64 : 32;
	options->optimiser = BR_TRAIN_ADAMW;
	options->schedule = BR_TRAIN_LINEAR;
	options->rate = method == BR_TUNE_FULL ? 5e-5 : method == BR_TUNE_PREFIX ? 5e-3 : 5e-4;
	options->warm_up = 0.1;
	options->decay = 0.01;
	options->clip = 1;
	options->momentum = 0.9;
	options->beta1 = 0.9;
	options->beta2 = 0.999;
	options->epsilon = 1e-8;
	options->temperature = sets ? 0.1 : 0.05;
	options->both_directions = true;
	options->margin = 0.2;
	options->mask_share = 0.15;
	options->negatives_from = 5;
	options->negatives_to = 50;
	options->no_false_negatives = true;
	options->dropout = 0.1;
	options->attention_dropout = 0.1;
	options->longest_span = 3;
	options->adversary_weight = 1;
	options->mix = sets ? 0.75 : 1;
	options->patience = 3;
	options->most_tokens = masked ? 128 : 64;
	options->memory = INT64_C(1) << 30;
}

/* ---- checks ---- */

static BrStatus
fail_number(BrContext *context, const BrTuneField *field, double value)
{
	if (isinf(field->highest))
		return br_base_fail(context, BR_ERR_ARGUMENT, "%s is %g; it must be %s %g.", field->name,
							value, field->above ? "above" : "at least", field->lowest);
	return br_base_fail(context, BR_ERR_ARGUMENT, "%s is %.16g; it must be %s %g and %s %.16g.",
						field->name, value, field->above ? "above" : "at least", field->lowest,
						field->below ? "below" : "at most", field->highest);
}

static bool
in_range(const BrTuneField *field, double value)
{
	return isfinite(value) && (field->above ? value > field->lowest : value >= field->lowest) &&
		(field->below ? value < field->highest : value <= field->highest);
}

static BrStatus
check_ints(BrContext *context, const BrTuneField *field, const char *options)
{
	const int *values = (const int *) (const void *) (options + field->offset);
	int n = *(const int *) (const void *) (options + field->count_offset);

	if (n < 0 || n > BR_TUNE_MATRYOSHKA)
		return br_base_fail(context, BR_ERR_ARGUMENT, "%s has %d numbers; it takes 0 to %d.",
							field->name, n, BR_TUNE_MATRYOSHKA);
	for (int i = 0; i < n; i++)
		if (!in_range(field, values[i]))
			return fail_number(context, field, values[i]);
	return BR_OK;
}

static BrStatus
check_field(BrContext *context, const BrTuneField *field, const char *options)
{
	const void *at = options + field->offset;
	double value = 0;

	switch (field->kind)
	{
		case BR_TUNE_BOOL:
			return BR_OK;
		case BR_TUNE_INTS:
			return check_ints(context, field, options);
		case BR_TUNE_CHOICE:
			if (*(const unsigned *) at < (unsigned) field->n_words)
				return BR_OK;
			return br_base_fail(context, BR_ERR_ARGUMENT, "%s has no choice of number %u.",
								field->name, *(const unsigned *) at);
		case BR_TUNE_FLAGS:
			if (*(const unsigned *) at != 0 && *(const unsigned *) at >> field->n_words == 0)
				return BR_OK;
			return br_base_fail(context, BR_ERR_ARGUMENT,
								"%s is %#x; at least one of the lowest %d bits must be set, and no other.",
								field->name, *(const unsigned *) at, field->n_words);
		case BR_TUNE_INT:
			value = *(const int *) at;
			break;
		case BR_TUNE_INT64:
			value = (double) *(const int64_t *) at;
			break;
		case BR_TUNE_DOUBLE:
			value = *(const double *) at;
			break;
	}
	return in_range(field, value) ? BR_OK : fail_number(context, field, value);
}

/* Sets the name of the field that stands against others, and why. */
static BrStatus
check_together(BrContext *context, const BrTuneOptions *options, const char **field)
{
	bool headed =
		br_tune_has_labels(options->objective) || options->objective == BR_TUNE_MASKED_WORDS;

	*field = "batch";
	if ((options->objective == BR_TUNE_CONTRASTIVE || options->objective == BR_TUNE_SETS) &&
		options->batch < 2)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"batch is %d; the objective %s takes at least 2 examples at a time.",
							options->batch, br_tune_objective_name(options->objective));
	*field = "negatives_to";
	if (options->negatives_to < options->negatives_from)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"negatives_to is %d; it must be at least negatives_from, %d.",
							options->negatives_to, options->negatives_from);
	*field = "negatives";
	if (options->negatives > options->negatives_to - options->negatives_from + 1)
		return br_base_fail(context, BR_ERR_ARGUMENT, "negatives is %d; ranks %d to %d have %d.",
							options->negatives, options->negatives_from, options->negatives_to,
							options->negatives_to - options->negatives_from + 1);
	*field = "matryoshka";
	if (headed && options->n_matryoshka > 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"matryoshka does not go with the objective %s, whose head reads all dimensions.",
							br_tune_objective_name(options->objective));
	*field = "adversary";
	if (options->objective == BR_TUNE_MASKED_WORDS && options->adversary > 0)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"adversary does not go with the objective %s.",
							br_tune_objective_name(options->objective));
	*field = "adalora_target_rank";
	if (options->method == BR_TUNE_ADALORA && options->adalora_target_rank > options->adalora_rank)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"adalora_target_rank is %g; it must be at most adalora_rank, %d.",
							options->adalora_target_rank, options->adalora_rank);
	*field = "adalora_final";
	if (options->method == BR_TUNE_ADALORA &&
		options->adalora_warm_up + options->adalora_final >= 1)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"adalora_final is %g; with adalora_warm_up, %g, it must leave a part of the steps.",
							options->adalora_final, options->adalora_warm_up);
	*field = NULL;
	return BR_OK;
}

BrStatus
br_tune_check_options(BrContext *context, const BrTuneOptions *options, const char **field)
{
	const char *ignored;
	const char **name = field != NULL ? field : &ignored;

	*name = "objective";
	if (br_tune_objective_name(options->objective) == NULL)
		return br_base_fail(context, BR_ERR_ARGUMENT, "objective has no choice of number %d.",
							(int) options->objective);
	*name = "method";
	if (br_tune_method_name(options->method) == NULL)
		return br_base_fail(context, BR_ERR_ARGUMENT, "method has no choice of number %d.",
							(int) options->method);
	for (int i = 0; i < N_FIELDS; i++)
	{
		*name = fields[i].name;
		if (check_field(context, &fields[i], (const char *) options) != BR_OK)
			return BR_ERR_ARGUMENT;
	}
	return check_together(context, options, name);
}

/* ---- fingerprint ---- */

uint64_t
br_tune_print_options(const BrTuneOptions *options)
{
	const char *bytes = (const char *) options;
	BrTuneHash hash;

	br_tune_hash_init(&hash);
	br_tune_hash_number(&hash, options->objective);
	br_tune_hash_number(&hash, options->method);
	br_tune_hash_number(&hash, options->n_matryoshka);
	for (int i = 0; i < N_FIELDS; i++)
	{
		static const size_t sizes[] = {
			[BR_TUNE_INT] = sizeof(int),		 [BR_TUNE_INT64] = sizeof(int64_t),
			[BR_TUNE_DOUBLE] = sizeof(double),	 [BR_TUNE_BOOL] = sizeof(bool),
			[BR_TUNE_CHOICE] = sizeof(unsigned), [BR_TUNE_FLAGS] = sizeof(unsigned),
		};
		size_t size = fields[i].kind == BR_TUNE_INTS ? (size_t) options->n_matryoshka * sizeof(int)
													 : sizes[fields[i].kind];

		br_tune_hash_add(&hash, bytes + fields[i].offset, size);
	}
	return hash.state;
}
