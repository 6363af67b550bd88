/*
 * test_encoder_short.c
 *	  Images whose weights are bytes: what rounding does to a row, by its
 *	  definition, and that a short form gives back every bit or nothing.
 */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/encoder_fixture.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};

/* A golden model and a copy of its image with rounded weights. */
typedef struct Rounded
{
	OpenModel open;
	void *image;
	BrEncoder *encoder;
} Rounded;

static void
rounded_open(Rounded *rounded, const char *name)
{
	model_open_golden(&rounded->open, name);
	assert_int_equal(br_encoder_round_weights(&rounded->open.context, rounded->open.image,
											  rounded->open.image_size, &rounded->image),
					 BR_OK);
	assert_int_equal(br_encoder_open(&rounded->open.context, rounded->image,
									 rounded->open.image_size, &rounded->encoder),
					 BR_OK);
}

static void
rounded_close(Rounded *rounded)
{
	br_encoder_close(rounded->encoder);
	br_base_free(&rounded->open.context, rounded->image);
	model_close(&rounded->open);
}

static double
largest_of(const float *row, int n)
{
	double largest = 0;

	for (int i = 0; i < n; i++)
		largest = fmax(largest, fabs((double) row[i]));
	return largest;
}

/* ---- rounding ---- */

/* The nearest multiples of a 127th of the largest number, to the 2^-16 that scales are rounded up. */
static void
check_row(const float *before, const float *after, int n)
{
	double step = largest_of(before, n) / 127 * (1 + 0x1p-16);
	double scale = largest_of(after, n) / 127;

	for (int i = 0; i < n; i++)
	{
		double multiple = scale > 0 ? (double) after[i] / scale : 0;

		assert_true(fabs((double) after[i] - (double) before[i]) <= .5 * step);
		assert_true(multiple == rint(multiple) && fabs(multiple) <= 127);
	}
}

static void
rows_become_bytes_and_vectors_stay(void **state)
{
	(void) state;
	for (int m = 0; m < LENGTH(models); m++)
	{
		Rounded rounded;
		BrModelTensor tensor;
		int changed = 0;

		rounded_open(&rounded, models[m]);
		for (int i = 0; br_encoder_tensor(rounded.encoder, i, &tensor); i++)
		{
			const float *before = br_encoder_weights(rounded.open.encoder) + tensor.offset;
			const float *after = br_encoder_weights(rounded.encoder) + tensor.offset;
			size_t n = (size_t) tensor.rows * (size_t) (tensor.columns > 0 ? tensor.columns : 1);

			if (tensor.columns == 0)
				assert_memory_equal(before, after, n * sizeof(float));
			else
				changed += memcmp(before, after, n * sizeof(float)) != 0;
			for (int row = 0; tensor.columns > 0 && row < tensor.rows; row++)
				check_row(before + (size_t) row * (size_t) tensor.columns,
						  after + (size_t) row * (size_t) tensor.columns, tensor.columns);
		}
		assert_true(changed > 10);
		rounded_close(&rounded);
	}
}

static void
what_is_rounded_stays(void **state)
{
	Rounded rounded;
	void *again;

	(void) state;
	rounded_open(&rounded, "tiny-bert-cls");
	assert_int_equal(br_encoder_round_weights(&rounded.open.context, rounded.image,
											  rounded.open.image_size, &again),
					 BR_OK);
	assert_memory_equal(rounded.image, again, rounded.open.image_size);
	br_base_free(&rounded.open.context, again);
	rounded_close(&rounded);
}

/* ---- short forms ---- */

/* Its header and the tokenizer aside, a number takes a byte, and a row four more. */
static size_t
bytes_of_weights(const BrEncoder *encoder)
{
	BrModelTensor tensor;
	size_t bytes = 0;

	for (int i = 0; br_encoder_tensor(encoder, i, &tensor); i++)
		bytes += (size_t) tensor.rows * (tensor.columns > 0 ? 4 + (size_t) tensor.columns : 4);
	return bytes;
}

static void
a_short_form_gives_the_image_back(void **state)
{
	(void) state;
	for (int m = 0; m < LENGTH(models); m++)
	{
		Rounded rounded;
		BrModelShape shape;
		void *shortened;
		void *image;
		size_t size;

		rounded_open(&rounded, models[m]);
		assert_int_equal(br_encoder_shorten(&rounded.open.context, rounded.image,
											rounded.open.image_size, &shortened, &size),
						 BR_OK);
		assert_non_null(shortened);
		br_encoder_tell_shape(rounded.encoder, &shape);
		assert_true(size <= rounded.open.image_size - shape.map.total * sizeof(float) +
						bytes_of_weights(rounded.encoder) + 64);
		image = malloc(rounded.open.image_size);
		memset(image, 0xA5, rounded.open.image_size);
		assert_int_equal(br_encoder_restore(&rounded.open.context, shortened, size, image,
											rounded.open.image_size),
						 BR_OK);
		assert_memory_equal(image, rounded.image, rounded.open.image_size);
		free(image);
		br_base_free(&rounded.open.context, shortened);
		rounded_close(&rounded);
	}
}

/* Changes one row of the word table of a rounded model; whether there is a short form still. */
static bool
shortens_with_row(Rounded *rounded, const float *row)
{
	BrModelShape shape;
	float *weights;
	void *copy;
	void *shortened;
	size_t size;

	br_encoder_tell_shape(rounded->encoder, &shape);
	weights = malloc(shape.map.total * sizeof(float));
	memcpy(weights, br_encoder_weights(rounded->encoder), shape.map.total * sizeof(float));
	memcpy(weights + shape.map.word + 5 * (size_t) shape.hidden, row,
		   (size_t) shape.hidden * sizeof(float));
	assert_int_equal(br_encoder_with_weights(&rounded->open.context, rounded->image,
											 rounded->open.image_size, weights, &copy),
					 BR_OK);
	assert_int_equal(br_encoder_shorten(&rounded->open.context, copy, rounded->open.image_size,
										&shortened, &size),
					 BR_OK);
	assert_true((shortened != NULL) == (size > 0));
	if (shortened != NULL)
	{
		void *image = malloc(rounded->open.image_size);

		assert_int_equal(br_encoder_restore(&rounded->open.context, shortened, size, image,
											rounded->open.image_size),
						 BR_OK);
		assert_memory_equal(image, copy, rounded->open.image_size);
		free(image);
	}
	br_base_free(&rounded->open.context, shortened);
	br_base_free(&rounded->open.context, copy);
	free(weights);
	return size > 0;
}

static void
only_what_bytes_say_exactly_is_shortened(void **state)
{
	static const float exact[] = {0x1p-20F, -0x1p-149F, 0x1.0p100F, 3};
	Rounded rounded;
	float row[1024];

	(void) state;
	rounded_open(&rounded, "tiny-bert-cls");
	assert_false(shortens_with_row(&rounded, br_encoder_weights(rounded.open.encoder)));
	memset(row, 0, sizeof(row));
	assert_true(shortens_with_row(&rounded, row));
	row[3] = -0.0F;
	assert_false(shortens_with_row(&rounded, row));
	for (int i = 0; i < LENGTH(exact); i++)
	{
		row[1] = 127 * exact[i];
		row[3] = -5 * exact[i];
		assert_true(shortens_with_row(&rounded, row));
		row[3] = nextafterf(row[3], row[3] + 10 * exact[i]);
		assert_int_equal(shortens_with_row(&rounded, row), fabsf(exact[i]) == 0x1p-149F);
	}
	rounded_close(&rounded);
}

/* Nor is anything said of an image whose numbers go beyond what a float holds. */
static void
the_largest_numbers_stay_finite(void **state)
{
	OpenModel open;
	BrModelShape shape;
	BrEncoder *encoder;
	float *weights;
	void *changed;
	void *rounded;

	(void) state;
	model_open_golden(&open, "tiny-bert-cls");
	br_encoder_tell_shape(open.encoder, &shape);
	weights = malloc(shape.map.total * sizeof(float));
	memcpy(weights, br_encoder_weights(open.encoder), shape.map.total * sizeof(float));
	weights[shape.map.word + 1] = FLT_MAX;
	assert_int_equal(br_encoder_with_weights(&open.context, open.image, open.image_size, weights,
											 &changed),
					 BR_OK);
	assert_int_equal(br_encoder_round_weights(&open.context, changed, open.image_size, &rounded),
					 BR_OK);
	assert_int_equal(br_encoder_open(&open.context, rounded, open.image_size, &encoder), BR_OK);
	for (size_t i = 0; i < shape.map.total; i++)
		assert_true(isfinite(br_encoder_weights(encoder)[i]));
	br_encoder_close(encoder);
	br_base_free(&open.context, rounded);
	br_base_free(&open.context, changed);
	free(weights);
	model_close(&open);
}

/* ---- what is refused ---- */

/* A copy with bottlenecks of one number, all 0. */
static void
add_bottlenecks(const OpenModel *open, BrContext *context, void **copy, size_t *size)
{
	static const float zeros[1024];
	const BrAddition addition = {BR_ADDITION_BOTTLENECK, 1};
	BrModelTensor tensors[64];
	BrNamedTensor named[64];
	int n = 0;

	while (br_encoder_added_tensor(open->encoder, addition, n, &tensors[n]))
	{
		named[n] = (BrNamedTensor){tensors[n].name, tensors[n].rows, tensors[n].columns, zeros};
		n++;
	}
	assert_int_equal(br_encoder_with_addition(context, open->image, open->image_size,
											  br_encoder_weights(open->encoder), addition, named, n,
											  copy, size),
					 BR_OK);
}

static void
additions_are_no_bytes(void **state)
{
	OpenModel open;
	void *added;
	void *made;
	size_t added_size;
	size_t size;

	(void) state;
	model_open_golden(&open, "tiny-bert-cls");
	add_bottlenecks(&open, &open.context, &added, &added_size);
	assert_int_equal(br_encoder_round_weights(&open.context, added, added_size, &made),
					 BR_ERR_UNSUPPORTED);
	assert_null(made);
	assert_int_equal(br_encoder_shorten(&open.context, added, added_size, &made, &size), BR_OK);
	assert_null(made);
	br_base_free(&open.context, added);
	model_close(&open);
}

/* Cut anywhere it is refused; with other bytes it is refused, or its image is one that opens. */
static void
damage_is_refused_or_harmless(void **state)
{
	Rounded rounded;
	BrContext *context = &rounded.open.context;
	BrRandom random;
	void *shortened;
	void *image;
	size_t size;
	int refused = 0;

	(void) state;
	rounded_open(&rounded, "tiny-xlmr-mean");
	assert_int_equal(br_encoder_shorten(context, rounded.image, rounded.open.image_size, &shortened,
										&size),
					 BR_OK);
	image = malloc(rounded.open.image_size);
	br_base_random_init(&random, 11, 0);
	for (int i = 0; i < 200; i++)
	{
		size_t cut = br_base_random_below(&random, (uint32_t) size);
		char *copy = malloc(size);
		BrStatus status;

		memcpy(copy, shortened, size);
		assert_int_equal(br_encoder_restore(context, copy, cut, image, rounded.open.image_size),
						 BR_ERR_FORMAT);
		for (int j = 0; j < 4; j++)
			copy[br_base_random_below(&random, i % 2 == 0 ? 2048 : (uint32_t) size)] ^=
				(char) (1 + br_base_random_below(&random, 255));
		status = br_encoder_restore(context, copy, size, image, rounded.open.image_size);
		if (status == BR_OK)
		{
			BrEncoder *encoder;

			assert_int_equal(br_encoder_open(context, image, rounded.open.image_size, &encoder),
							 BR_OK);
			br_encoder_close(encoder);
		}
		else
			assert_int_equal(status, BR_ERR_FORMAT);
		refused += status != BR_OK;
		free(copy);
	}
	assert_true(refused > 50 && refused < 200);
	assert_int_equal(br_encoder_restore(context, shortened, size, image,
										rounded.open.image_size - 8),
					 BR_ERR_FORMAT);
	free(image);
	br_base_free(context, shortened);
	rounded_close(&rounded);
}

static void
no_memory_leaves_none(void **state)
{
	Rounded rounded;
	BrContext context;
	Ledger ledger = {0};
	BrStatus status = BR_ERR_MEMORY;
	void *made;
	size_t size;
	int allowed = 0;

	(void) state;
	rounded_open(&rounded, "tiny-bert-cls");
	ledger_context(&context, &ledger);
	for (; status != BR_OK; allowed++)
	{
		ledger.allowed = allowed;
		status = br_encoder_shorten(&context, rounded.image, rounded.open.image_size, &made, &size);
		assert_true(status == BR_OK || (status == BR_ERR_MEMORY && made == NULL && size == 0));
		if (status != BR_OK)
			assert_int_equal(ledger.outstanding, 0);
	}
	assert_true(allowed >= 3);
	br_base_free(&context, made);
	assert_int_equal(ledger.outstanding, 0);
	status = BR_ERR_MEMORY;
	for (allowed = 0; status != BR_OK; allowed++)
	{
		ledger.allowed = allowed;
		status = br_encoder_round_weights(&context, rounded.image, rounded.open.image_size, &made);
		assert_true(status == BR_OK || (status == BR_ERR_MEMORY && made == NULL));
		if (status != BR_OK)
			assert_int_equal(ledger.outstanding, 0);
	}
	br_base_free(&context, made);
	rounded_close(&rounded);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_become_bytes_and_vectors_stay),
		cmocka_unit_test(what_is_rounded_stays),
		cmocka_unit_test(a_short_form_gives_the_image_back),
		cmocka_unit_test(only_what_bytes_say_exactly_is_shortened),
		cmocka_unit_test(the_largest_numbers_stay_finite),
		cmocka_unit_test(additions_are_no_bytes),
		cmocka_unit_test(damage_is_refused_or_harmless),
		cmocka_unit_test(no_memory_leaves_none),
	};

	return cmocka_run_group_tests_name("encoder: weights as bytes", tests, NULL, NULL);
}
