/*
 * tune_fixture.h
 *	  A shop whose partners follow a rule that no words tell, for fine-tunings.
 *
 * A text is [CLS], a word of its kind, a word of its own and [SEP]. A text of kind
 * k goes with those of kind k + KINDS; kinds are words of their own, so that a
 * model as it comes cannot know, and the words of their own are different in the
 * validation examples, so that none is learned by heart.
 */
#ifndef TUNE_FIXTURE_H
#define TUNE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "core/tune/br_tune.h"
#include "unit/encoder_fixture.h"

#define KINDS 8
#define OF_KIND 6 /* texts */
#define TEXTS (2 * KINDS * OF_KIND)
#define TRAINED 4 /* texts of a kind that training examples have */
#define EXAMPLES (KINDS * OF_KIND)

typedef struct Shop
{
	OpenModel open;
	int32_t ids[TEXTS * 4];
	int32_t offsets[TEXTS + 1];
	int32_t special[2];
	BrTuneExample examples[EXAMPLES];
	BrTuneData data;
	BrTuneOptions options;
	BrPool *pool; /* NULL: the caller's thread alone */
	const BrDeviceTable *device_table;
	BrDevice *device; /* NULL: there is none */
} Shop;

static inline int
shop_text(int kind, int number)
{
	return kind * OF_KIND + number;
}

/* Training examples first, then two of each kind for validation. */
static inline void
shop_open(Shop *shop, BrTuneObjective objective, BrTuneMethod method)
{
	int n = 0;

	memset(shop, 0, sizeof(*shop));
	model_open_golden(&shop->open, "tiny-bert-cls");
	for (int i = 0; i < TEXTS; i++)
	{
		const int32_t text[] = {2, 100 + i / OF_KIND, 200 + i, 3};

		memcpy(shop->ids + (size_t) i * 4, text, sizeof(text));
		shop->offsets[i + 1] = 4 * (i + 1);
	}
	for (int number = 0; number < OF_KIND; number++)
		for (int kind = 0; kind < KINDS; kind++)
			shop->examples[n++] = (BrTuneExample){
				.first = shop_text(kind, number),
				.second = shop_text(kind + KINDS, (number * 5 + kind) % TRAINED),
				.third = -1,
				.label = kind % 3,
				.score = kind % 2 == 0 ? 0.9F : -0.5F,
			};
	for (int i = KINDS * TRAINED; i < EXAMPLES; i++)
		shop->examples[i].second = shop_text(i % KINDS + KINDS, i / KINDS);
	shop->special[0] = 2;
	shop->special[1] = 3;
	shop->data = (BrTuneData){
		.ids = shop->ids,
		.offsets = shop->offsets,
		.n_texts = TEXTS,
		.examples = shop->examples,
		.n_examples = EXAMPLES,
		.n_validation = KINDS * (OF_KIND - TRAINED),
		.classes = 3,
		.special = shop->special,
		.n_special = 2,
		.lead = 1,
		.tail = 1,
		.mask_id = 4,
	};
	br_tune_defaults(objective, method, &shop->options);
	shop->options.batch = 8;
	shop->options.epochs = 10;
	shop->options.rate = 5e-3;
	shop->options.patience = 0;
	shop->options.seed = 7;
}

static inline void
shop_close(Shop *shop)
{
	model_close(&shop->open);
}

static inline BrStatus
shop_open_tune(Shop *shop, BrContext *context, BrTune **tune)
{
	const BrTuneCompute compute = {
		.backend = br_math_portable_backend(),
		.pool = shop->pool,
		.device_table = shop->device_table,
		.device = shop->device,
	};

	return br_tune_open(context, shop->open.encoder, &shop->data, &shop->options, &compute, tune);
}

static inline BrTune *
shop_tune(Shop *shop)
{
	BrTune *tune;

	if (shop_open_tune(shop, &shop->open.context, &tune) != BR_OK)
		fail_msg("%s", shop->open.context.detail);
	return tune;
}

/* A step that must succeed. */
static inline BrTuneProgress
shop_step(Shop *shop, BrTune *tune)
{
	BrTuneProgress progress;

	if (br_tune_step(tune, &progress) != BR_OK)
		fail_msg("%s", shop->open.context.detail);
	return progress;
}

/* A state in memory. */
typedef struct Bytes
{
	char *bytes;
	size_t size;
	size_t at;
	BrContext *context;
} Bytes;

static inline BrStatus
write_bytes(void *arg, const void *bytes, size_t size)
{
	Bytes *to = arg;

	to->bytes = realloc(to->bytes, to->size + size);
	assert_non_null(to->bytes);
	memcpy(to->bytes + to->size, bytes, size);
	to->size += size;
	return BR_OK;
}

static inline BrStatus
read_bytes(void *arg, void *bytes, size_t size)
{
	Bytes *from = arg;

	if (from->size - from->at < size)
		return br_base_fail(from->context, BR_ERR_FORMAT, "The state is cut short.");
	memcpy(bytes, from->bytes + from->at, size);
	from->at += size;
	return BR_OK;
}

/* bytes.bytes: of the caller, to be freed. */
static inline Bytes
shop_save(Shop *shop, BrTune *tune)
{
	Bytes bytes = {NULL, 0, 0, &shop->open.context};

	assert_int_equal(br_tune_save(tune, write_bytes, &bytes), BR_OK);
	assert_int_equal(bytes.size, br_tune_state_size(tune));
	return bytes;
}

static inline BrStatus
shop_restore(BrTune *tune, Bytes bytes)
{
	bytes.at = 0;
	return br_tune_restore(tune, read_bytes, &bytes);
}

#endif /* TUNE_FIXTURE_H */
