/*
 * fuzz_embedding_text.c
 *	  Any bytes as the text form of an embedding.
 *
 * What is accepted prints, and what is printed reads back as the same halves,
 * in text and in binary; printing again gives the same text.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/math/br_math.h"
#include "fuzz/fuzz.h"

/* As SQL does it; NULL where the text was refused. */
static uint16_t *
parse(const char *text, int64_t *n)
{
	FuzzContext fuzz;
	uint16_t *halves = NULL;
	BrStatus status;

	fuzz_context_init(&fuzz, 0);
	status = br_math_half_count_text(&fuzz.context, text, n);
	FUZZ_CHECK((status == BR_OK) == (*n <= BR_MATH_MAX_COMPONENTS));
	if (status == BR_OK)
	{
		halves = malloc((size_t) *n * sizeof(uint16_t));
		status = br_math_half_parse(&fuzz.context, text, halves, (int) *n);
	}
	fuzz_check_status(&fuzz, status);
	FUZZ_CHECK(status == BR_OK || status == BR_ERR_LIMIT || status == BR_ERR_SYNTAX ||
			   status == BR_ERR_NUMERIC);
	if (status == BR_OK)
		return halves;
	free(halves);
	return NULL;
}

static void
check_text(const uint16_t *halves, int64_t n)
{
	char *printed = malloc(BR_MATH_HALF_TEXT_SIZE(n));
	size_t length = br_math_half_print(halves, (int) n, printed);
	int64_t n_again;
	uint16_t *again;

	FUZZ_CHECK(length == strlen(printed) && length < BR_MATH_HALF_TEXT_SIZE(n));
	again = parse(printed, &n_again);
	FUZZ_CHECK(again != NULL && n_again == n);
	FUZZ_CHECK(memcmp(again, halves, (size_t) n * sizeof(uint16_t)) == 0);
	free(again);
	free(printed);
}

static void
check_binary(const uint16_t *halves, int64_t n)
{
	size_t size = BR_MATH_HALF_BINARY_SIZE(n);
	uint8_t *message = malloc(size);
	uint16_t *received = malloc((size_t) n * sizeof(uint16_t));
	FuzzContext fuzz;
	int counted;

	fuzz_context_init(&fuzz, 0);
	br_math_half_send(halves, (int) n, message);
	FUZZ_CHECK(br_math_half_count_binary(&fuzz.context, message, size, &counted) == BR_OK);
	FUZZ_CHECK(counted == n);
	FUZZ_CHECK(br_math_half_receive(&fuzz.context, message, received, counted) == BR_OK);
	FUZZ_CHECK(memcmp(received, halves, (size_t) n * sizeof(uint16_t)) == 0);
	free(message);
	free(received);
}

/* The first number, read once more, is no further from its half than from the neighbours. */
static void
check_first(const char *text, uint16_t half)
{
	double value = strtod(strchr(text, '[') + 1, NULL);
	double distance = fabs(value - (double) br_math_half_to_float(half));

	for (int step = -1; step <= 1; step += 2)
	{
		uint16_t beside = (uint16_t) (half + step);

		if ((half & 0x7FFF) == 0 && step < 0)
			beside = half ^ 0x8001; /* the smallest of the other sign */
		if (BR_MATH_HALF_IS_FINITE(beside))
			FUZZ_CHECK(distance <= fabs(value - (double) br_math_half_to_float(beside)));
	}
}

FUZZ_TARGET(embedding_text)
{
	char *text = malloc(size + 1);
	uint16_t *halves;
	int64_t n;

	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	halves = parse(text, &n);
	if (halves != NULL)
	{
		fuzz_accepted++;
		FUZZ_CHECK(n >= 1);
		for (int i = 0; i < n; i++)
			FUZZ_CHECK(BR_MATH_HALF_IS_FINITE(halves[i]));
		check_first(text, halves[0]);
		check_text(halves, n);
		check_binary(halves, n);
	}
	free(halves);
	free(text);
}
