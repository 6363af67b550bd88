/*
 * fuzz_embedding_binary.c
 *	  Any bytes as the binary form of an embedding.
 *
 * What is accepted is sent as the same bytes, and survives the text form.
 */
#include <stdlib.h>
#include <string.h>

#include "core/math/br_math.h"
#include "fuzz/fuzz.h"

static void
check_forms(const uint8_t *data, size_t size, const uint16_t *halves, int n)
{
	uint8_t *message = malloc(BR_MATH_HALF_BINARY_SIZE(n));
	char *text = malloc(BR_MATH_HALF_TEXT_SIZE(n));
	uint16_t *read = malloc((size_t) n * sizeof(uint16_t));
	FuzzContext fuzz;
	int64_t counted;

	br_math_half_send(halves, n, message);
	FUZZ_CHECK(size == BR_MATH_HALF_BINARY_SIZE(n) && memcmp(message, data, size) == 0);

	fuzz_context_init(&fuzz, 0);
	FUZZ_CHECK(br_math_half_print(halves, n, text) < BR_MATH_HALF_TEXT_SIZE(n));
	FUZZ_CHECK(br_math_half_count_text(&fuzz.context, text, &counted) == BR_OK && counted == n);
	FUZZ_CHECK(br_math_half_parse(&fuzz.context, text, read, n) == BR_OK);
	FUZZ_CHECK(memcmp(read, halves, (size_t) n * sizeof(uint16_t)) == 0);
	free(message);
	free(text);
	free(read);
}

FUZZ_TARGET(embedding_binary)
{
	FuzzContext fuzz;
	uint16_t *halves;
	int n;
	BrStatus status;

	fuzz_context_init(&fuzz, 0);
	status = br_math_half_count_binary(&fuzz.context, data, size, &n);
	fuzz_check_status(&fuzz, status);
	FUZZ_CHECK(n >= 0 && n <= UINT16_MAX);
	if (status != BR_OK)
	{
		FUZZ_CHECK(status == BR_ERR_FORMAT || status == BR_ERR_LIMIT);
		return;
	}
	FUZZ_CHECK(n >= 1 && n <= BR_MATH_MAX_COMPONENTS);
	halves = malloc((size_t) n * sizeof(uint16_t));
	status = br_math_half_receive(&fuzz.context, data, halves, n);
	fuzz_check_status(&fuzz, status);
	FUZZ_CHECK(status == BR_OK || status == BR_ERR_NUMERIC);
	if (status == BR_OK)
	{
		fuzz_accepted++;
		check_forms(data, size, halves, n);
	}
	free(halves);
}
