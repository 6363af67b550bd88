/*
 * state.c
 *	  Saving a fine-tuning between two steps, and going on from there.
 *
 * A state is a head, which tells whether the state belongs here, with a checksum
 * of its own, then the record, arrays, and a checksum of all. What follows from
 * seed and epoch, such as the order of examples, is not in it; mined negatives
 * are, because the model that mined them has changed since.
 */
#include <math.h>
#include <string.h>

#include "core/tune/tune_int.h"

#define MAGIC UINT64_C(0x0a656e7574725242) /* "BRrtune\n" */

typedef struct StateHead
{
	uint64_t magic;
	uint64_t version;
	uint64_t model;
	uint64_t options;
	uint64_t data;
	uint64_t trained; /* numbers of the set */
	uint64_t moments; /* of the optimiser */
	uint64_t method;  /* numbers that the method remembers besides the set */
	uint64_t negatives;
	uint64_t best;	   /* numbers of the best set; 0: there is none */
	uint64_t checksum; /* of what stands above */
} StateHead;

/* Something of a state: where it stands here, and its size in bytes. */
typedef struct StatePart
{
	void *bytes;
	size_t size;
} StatePart;

#define PARTS 8

/* Bytes that are moved at once. */
#define PIECE ((size_t) 1 << 20)

static StateHead
head_here(const BrTune *tune)
{
	StateHead head = {
		.magic = MAGIC,
		.version = BR_TUNE_STATE_VERSION,
		.model = tune->model_print,
		.options = tune->options_print,
		.data = tune->data_print,
		.trained = tune->set.n,
		.moments = br_train_state_of(tune->optimiser).n,
		.method = br_tune_method_state(tune).n,
		.negatives = (uint64_t) tune->n_training * (uint64_t) tune->options.negatives,
		.best = tune->best != NULL ? tune->set.n : 0,
	};
	BrTuneHash hash;

	br_tune_hash_init(&hash);
	br_tune_hash_add(&hash, &head, offsetof(StateHead, checksum));
	head.checksum = hash.state;
	return head;
}

static void
list_parts(BrTune *tune, const StateHead *head, StatePart *parts)
{
	BrTrainState state = br_train_state_of(tune->optimiser);
	BrTrainState method = br_tune_method_state(tune);

	parts[0] = (StatePart){&tune->record, sizeof(tune->record)};
	parts[1] = (StatePart){state.steps, sizeof(*state.steps)};
	parts[2] = (StatePart){tune->set.parameters, head->trained * sizeof(BrReal)};
	parts[3] = (StatePart){state.moments, head->moments * sizeof(BrReal)};
	parts[4] = (StatePart){tune->negatives, head->negatives * sizeof(int32_t)};
	parts[5] = (StatePart){tune->best, head->best * sizeof(BrReal)};
	parts[6] = (StatePart){method.steps, method.steps != NULL ? sizeof(*method.steps) : 0};
	parts[7] = (StatePart){method.moments, head->method * sizeof(BrReal)};
}

size_t
br_tune_state_size(const BrTune *tune)
{
	StateHead head = head_here(tune);
	size_t counters = br_tune_method_state(tune).steps != NULL ? 2 : 1;

	return sizeof(head) + sizeof(tune->record) + counters * sizeof(int64_t) +
		(head.trained + head.moments + head.best + head.method) * sizeof(BrReal) +
		head.negatives * sizeof(int32_t) + sizeof(uint64_t);
}

/* A state that could only go wrong must not take the place of a good one. */
static BrStatus
check_finite(const BrTune *tune)
{
	for (size_t i = 0; i < tune->set.n; i++)
		if (!isfinite(tune->set.parameters[i]))
			return br_base_fail(tune->context, BR_ERR_NUMERIC,
								"After step %lld a trained number is not finite.",
								(long long) tune->record.step);
	return BR_OK;
}

/* Moves all parts piece by piece, so that it can be cancelled, and adds them to the hash. */
static BrStatus
move_parts(BrTune *tune, const StateHead *head, BrTuneWrite write, BrTuneRead read, void *arg,
		   BrTuneHash *hash)
{
	BrStatus status = BR_OK;
	StatePart parts[PARTS];

	list_parts(tune, head, parts);
	for (int i = 0; i < PARTS; i++)
		for (size_t at = 0; at < parts[i].size && status == BR_OK; at += PIECE)
		{
			char *bytes = (char *) parts[i].bytes + at;
			size_t n = parts[i].size - at < PIECE ? parts[i].size - at : PIECE;

			if (br_base_cancelled(tune->context))
				return br_base_fail(tune->context, BR_ERR_CANCELLED,
									"Cancelled while a state was %s.",
									write != NULL ? "saved" : "restored");
			status = write != NULL ? write(arg, bytes, n) : read(arg, bytes, n);
			if (status == BR_OK)
				br_tune_hash_add(hash, bytes, n);
		}
	return status;
}

BrStatus
br_tune_save(BrTune *tune, BrTuneWrite write, void *arg)
{
	StateHead head = head_here(tune);
	BrStatus status = check_finite(tune);
	BrTuneHash hash;

	br_tune_hash_init(&hash);
	br_tune_hash_add(&hash, &head, sizeof(head));
	if (status == BR_OK)
		status = write(arg, &head, sizeof(head));
	if (status == BR_OK)
		status = move_parts(tune, &head, write, NULL, arg, &hash);
	return status == BR_OK ? write(arg, &hash.state, sizeof(hash.state)) : status;
}

/* ---- restoring ---- */

static BrStatus
check_head(const BrTune *tune, const StateHead *head)
{
	StateHead here = head_here(tune);
	BrContext *context = tune->context;
	BrTuneHash hash;

	br_tune_hash_init(&hash);
	br_tune_hash_add(&hash, head, offsetof(StateHead, checksum));
	if (head->magic != MAGIC)
		return br_base_fail(context, BR_ERR_FORMAT, "This is not the state of a fine-tuning.");
	if (head->checksum != hash.state)
		return br_base_fail(context, BR_ERR_FORMAT, "The head of the state is damaged.");
	if (head->version != here.version)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"The state is of version %llu; this library reads version %llu.",
							(unsigned long long) head->version, (unsigned long long) here.version);
	if (head->model != here.model)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The state is of another model.");
	if (head->options != here.options)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The state is of other options.");
	if (head->data != here.data)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The state is of other data.");
	if (memcmp(head, &here, sizeof(here)) != 0)
		return br_base_fail(context, BR_ERR_FORMAT,
							"The sizes in the state are not those of here.");
	return BR_OK;
}

BrStatus
br_tune_restore(BrTune *tune, BrTuneRead read, void *arg)
{
	BrContext *context = tune->context;
	StateHead head;
	BrTuneHash hash;
	uint64_t checksum;
	BrStatus status;

	if (tune->record.started)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"A state is restored before the first step alone.");
	status = read(arg, &head, sizeof(head));
	if (status == BR_OK)
		status = check_head(tune, &head);
	if (status != BR_OK)
		return status;
	br_tune_hash_init(&hash);
	br_tune_hash_add(&hash, &head, sizeof(head));
	status = move_parts(tune, &head, NULL, read, arg, &hash);
	if (status == BR_OK)
		status = read(arg, &checksum, sizeof(checksum));
	if (status == BR_OK && checksum != hash.state)
		status = br_base_fail(context, BR_ERR_FORMAT, "The state is damaged.");
	if (status == BR_OK)
		br_tune_show(tune);
	return status;
}
