/*
 * test_helper_requests.c
 *	  The helper process: what it refuses, and that it goes on afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/helper_fixture.h"

#define DEVICE_BOUND 1e-5

/* ---- requests that are wrong ---- */

typedef struct Damage
{
	size_t offset; /* of a number of four bytes */
	uint32_t value;
	BrStatus expected;
} Damage;

#define AT(member) offsetof(BrExchangeRequest, member)

static const Damage damages[] = {
	{AT(version), 0, BR_ERR_ARGUMENT},
	{AT(version), BR_EXCHANGE_VERSION + 1, BR_ERR_ARGUMENT},
	{AT(kind), 0, BR_ERR_ARGUMENT},
	{AT(kind), 5, BR_ERR_ARGUMENT},
	{AT(kind), BR_EXCHANGE_TRAIN, BR_ERR_UNSUPPORTED},
	{AT(kind), BR_EXCHANGE_ASSIGN, BR_ERR_ARGUMENT},
	{AT(lane), BR_EXCHANGE_LANES, BR_ERR_ARGUMENT},
	{AT(lane), UINT32_MAX, BR_ERR_ARGUMENT},
	{AT(texts), 0, BR_ERR_ARGUMENT},
	{AT(texts), 1, BR_ERR_ARGUMENT}, /* the rest of the offsets would be ids */
	{AT(texts), UINT32_MAX, BR_ERR_ARGUMENT},
	{AT(tokens), 3, BR_ERR_ARGUMENT},
	{AT(tokens), 8 * 1024 * 1024, BR_ERR_ARGUMENT}, /* one lane, and the offsets */
	{AT(tokens), UINT32_MAX, BR_ERR_ARGUMENT},
	{AT(dimensions), 0, BR_ERR_ARGUMENT},
	{AT(dimensions), 31, BR_ERR_ARGUMENT},
	{AT(dimensions), UINT32_MAX, BR_ERR_ARGUMENT},
	{AT(image.path), 0, BR_ERR_ARGUMENT},
	{AT(image.path), 0x41414141, BR_ERR_FORMAT},
	{AT(image.offset), 64, BR_ERR_ARGUMENT},
	{AT(image.offset), 8192, BR_ERR_FORMAT},
	{AT(image.offset) + 4, 1u << 31, BR_ERR_ARGUMENT},
	{AT(image.offset) + 4, 1u << 30, BR_ERR_FORMAT},
	{AT(image.size), 0, BR_ERR_ARGUMENT},
	{AT(image.size), 64, BR_ERR_FORMAT},
	{AT(image.size) + 4, UINT32_MAX, BR_ERR_ARGUMENT},
	{AT(image.size) + 4, INT32_MAX, BR_ERR_FORMAT},
	{AT(weights.size), 4096, BR_ERR_ARGUMENT}, /* without a path */
};

static void
wrong_numbers_are_refused(void **state)
{
	StoredModel stored;
	HelperProcess helper;
	Texts texts;

	(void) state;
	stored_open(&stored, "tiny-bert-cls");
	texts_make(&texts, &stored, 4, 2, helper_backend());
	helper_start_ready(&helper, "cpu", 0, 1);
	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++)
	{
		BrExchangeRequest request;
		int32_t *at = (int32_t *) helper.lanes;

		/* a right one in between: the lanes are written, and nothing has been spoilt */
		assert_int_equal(texts_ask(&texts, &helper, &stored, 0), BR_OK);
		texts_expect(&texts, &helper, &stored, 0, 0);
		memcpy(at, texts.offsets, 5 * sizeof(int32_t));
		memcpy(at + 5, texts.ids, (size_t) texts.offsets[4] * sizeof(int32_t));
		request = stored.request;
		request.version = BR_EXCHANGE_VERSION;
		request.texts = 4;
		request.tokens = (uint32_t) texts.offsets[4];
		memcpy((char *) &request + damages[i].offset, &damages[i].value, sizeof(uint32_t));
		helper_send(&helper, &request);
		assert_true(helper_receive(&helper, HELPER_PATIENCE_MS));
		assert_int_equal(helper.reply.kind, BR_EXCHANGE_DONE);
		if (helper.reply.status != damages[i].expected)
			fail_msg("damage %zu: %u instead of %d: %s", i, helper.reply.status,
					 damages[i].expected, helper.reply.detail);
		assert_true(helper.reply.detail[0] != '\0');
	}
	helper_end(&helper);
	stored_close(&stored);
}

/* What stands in a lane is checked as well. */
static void
wrong_lanes_are_refused(void **state)
{
	StoredModel stored;
	HelperProcess helper;
	Texts texts;

	(void) state;
	stored_open(&stored, "tiny-bert-cls");
	texts_make(&texts, &stored, 10, 2, helper_backend());
	helper_start_ready(&helper, "cpu", 0, 1);
	for (int i = 0; i <= 10; i++)
	{
		static const int32_t values[] = {INT32_MIN, -1, 100000, INT32_MAX};

		for (int j = 0; j < 4; j++)
		{
			Texts damaged = texts;

			/* the last one says how many there are: change it behind the request's back */
			if (i < 10)
				damaged.offsets[i] = values[j];
			else
				damaged.offsets[9] = texts.offsets[10];
			assert_int_equal(texts_ask(&damaged, &helper, &stored, 0), BR_ERR_ARGUMENT);
			damaged = texts;
			damaged.ids[i] = j == 2 ? stored.info->vocabulary : values[j];
			assert_int_equal(texts_ask(&damaged, &helper, &stored, 0), BR_ERR_ARGUMENT);
		}
	}
	assert_int_equal(texts_ask(&texts, &helper, &stored, 0), BR_OK);
	texts_expect(&texts, &helper, &stored, 0, 0);
	helper_end(&helper);
	stored_close(&stored);
}

/* A thousand requests with random numbers in every field, some small, some of any size. */
static void
random_requests_are_answered(void **state)
{
	static const char *const computes[] = {"cpu", "faulty"};
	StoredModel stored;
	HelperProcess helper;
	BrRandom random;
	Texts texts;

	(void) state;
	helper_set_faults("");
	stored_open(&stored, "tiny-bert-cls");
	texts_make(&texts, &stored, 4, 2, helper_backend());
	br_base_random_init(&random, 77, 0);
	for (size_t which = 0; which < 2; which++)
	{
		helper_start_ready(&helper, computes[which], 0, 1);
		for (int i = 0; i < 1000; i++)
		{
			BrExchangeRequest request = stored.request;
			uint32_t *numbers = (uint32_t *) &request;
			uint32_t *lane = (uint32_t *) helper.lanes;

			for (size_t j = 0; j < 200; j++)
				lane[j] = br_base_random_u32(&random) >> br_base_random_below(&random, 32);
			/* every field, half of the time those of the model are right */
			for (size_t j = 0; j < AT(hash) / sizeof(uint32_t); j++)
				numbers[j] = br_base_random_u32(&random) >> br_base_random_below(&random, 32);
			for (size_t j = AT(hash) / sizeof(uint32_t);
				 i % 2 == 0 && j < sizeof(request) / sizeof(uint32_t); j++)
				numbers[j] = br_base_random_u32(&random);
			/* so that more than the first check is seen */
			if (i % 4 < 3)
			{
				request.version = BR_EXCHANGE_VERSION;
				request.lane %= BR_EXCHANGE_LANES;
				request.kind = 1 + (uint32_t) i / 4 % 4;
				if (request.kind == BR_EXCHANGE_TRAIN && i % 2 != 0)
					request.training.kind = 1 + (uint32_t) i / 16 % 6;
			}
			/* some are right by chance, and then there must be an end of them */
			request.rows %= 5000;
			helper_send(&helper, &request);
			assert_true(helper_receive(&helper, HELPER_PATIENCE_MS));
			assert_int_equal(helper.reply.kind, BR_EXCHANGE_DONE);
			assert_int_equal(helper.reply.number, request.number);
		}
		assert_int_equal(texts_ask(&texts, &helper, &stored, 0), BR_OK);
		texts_expect(&texts, &helper, &stored, 0, which == 0 ? 0 : DEVICE_BOUND);
		helper_end(&helper);
	}
	stored_close(&stored);
}

/* ---- files that are wrong ---- */

static void
expect_file_refused(HelperProcess *helper, StoredModel *stored, const Texts *texts,
					const char *hint)
{
	assert_int_equal(texts_ask(texts, helper, stored, 0), BR_ERR_FORMAT);
	if (strstr(helper->reply.detail, hint) == NULL)
		fail_msg("no \"%s\": %s", hint, helper->reply.detail);
	assert_int_equal(helper->reply.models, 0);
}

static void
wrong_files_are_refused(void **state)
{
	const BrBackend *backend = helper_backend();
	StoredModel stored;
	HelperProcess helper;
	BrExchangeFile image;
	Texts texts;
	FILE *file;

	(void) state;
	stored_open(&stored, "tiny-bert-cls");
	texts_make(&texts, &stored, 4, 2, backend);
	image = stored.request.image;
	helper_start_ready(&helper, "cpu", 0, 1);

	strcat(stored.request.image.path, ".gone");
	expect_file_refused(&helper, &stored, &texts, "No such file");
	assert_int_equal(symlink(image.path, stored.request.image.path), 0);
	expect_file_refused(&helper, &stored, &texts, "Could not open");
	unlink(stored.request.image.path);
	assert_int_equal(mkfifo(stored.request.image.path, 0600), 0);
	expect_file_refused(&helper, &stored, &texts, "not a regular file");
	stored.request.image = image;

	/* packed for nobody: the image in place of weights */
	stored.request.weights = image;
	expect_file_refused(&helper, &stored, &texts,
						backend->packs != NULL ? "packed weights" : "packed");
	stored.request.weights.size = 0;

	/* one byte too short */
	assert_int_equal(truncate(image.path, (off_t) (image.offset + image.size - 1)), 0);
	expect_file_refused(&helper, &stored, &texts, "it must have");

	/* and of the right size, but with something else in it */
	assert_int_equal(truncate(image.path, (off_t) (image.offset + image.size)), 0);
	file = fopen(image.path, "r+b");
	fseek(file, (long) image.offset + 40, SEEK_SET);
	fputs("no image", file);
	fclose(file);
	expect_file_refused(&helper, &stored, &texts, "");
	helper_end(&helper);
	stored_close(&stored);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_numbers_are_refused),
		cmocka_unit_test(wrong_lanes_are_refused),
		cmocka_unit_test(random_requests_are_answered),
		cmocka_unit_test(wrong_files_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, helper_clean_up);
}
