/*
 * test_math_text.c
 *	  Vectors of halves as text and in binary.
 *
 * What a text must read as is found by searching all halves, by their
 * definition, for the nearest one; that a printed decimal is the shortest, by
 * trying the C library's shorter ones.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* Bits of the largest finite half; the values of halves rise with their bits. */
#define LARGEST 0x7BFF

/* The value of a half that is not negative, by its definition. */
static double
half_value(int bits)
{
	int exponent = bits >> 10;
	double mantissa = bits & 0x3FF;

	return exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25);
}

/* The nearest of all halves, of two the one with the even mantissa; -1: beyond the last. */
static int
nearest_half(double value)
{
	int low = 0;
	int high = LARGEST;

	while (high - low > 1)
	{
		int middle = (low + high) / 2;

		if (half_value(middle) <= value)
			low = middle;
		else
			high = middle;
	}
	if (value >= 65520)
		return -1;
	if (value - half_value(low) != half_value(high) - value)
		return value - half_value(low) < half_value(high) - value ? low : high;
	return low % 2 == 0 ? low : high;
}

/* Parses a text that must be well-formed, or fails with the status and detail expected. */
static int
parse(const char *text, uint16_t *halves, BrStatus expected, const char *detail)
{
	BrContext context;
	int64_t n;
	BrStatus status;

	br_base_context_init(&context);
	assert_int_equal(br_math_half_count_text(&context, text, &n), BR_OK);
	status = br_math_half_parse(&context, text, halves, (int) n);
	if (status != expected || (detail != NULL && strcmp(context.detail, detail) != 0))
		fail_msg("\"%s\": status %d, %s", text, status, context.detail);
	return (int) n;
}

static void
decimals_read_as_the_nearest_half(void **state)
{
	BrRandom random;

	(void) state;
	br_base_random_init(&random, 20250301, 1);
	for (int i = 0; i < 40000; i++)
	{
		int bits = (int) br_base_random_below(&random, LARGEST);
		double middle = (half_value(bits) + half_value(bits + 1)) / 2;
		double values[] = {middle, nextafter(middle, 0), nextafter(middle, 1e9),
						   half_value(bits) +
							   br_base_random_uniform(&random) *
								   (half_value(bits + 1) - half_value(bits))};

		for (int j = 0; j < LENGTH(values); j++)
		{
			char text[80];
			uint16_t halves[2];

			snprintf(text, sizeof(text), "[%.17g,-%.17g]", values[j], values[j]);
			assert_int_equal(parse(text, halves, BR_OK, NULL), 2);
			assert_int_equal(halves[0], nearest_half(values[j]));
			assert_int_equal(halves[1], nearest_half(values[j]) | 0x8000);
			assert_int_equal(br_math_half_from_double(values[j]), halves[0]);
		}
	}
}

/* Digits without leading or trailing zeros, of a text without an exponent's. */
static int
significant_digits(const char *text)
{
	char digits[40];
	int n = 0;

	for (; *text != '\0' && *text != 'e'; text++)
		if (*text >= '0' && *text <= '9' && (n > 0 || *text != '0'))
			digits[n++] = *text;
	while (n > 1 && digits[n - 1] == '0')
		n--;
	return n;
}

static void
every_half_prints_as_its_shortest_decimal(void **state)
{
	(void) state;
	for (int bits = 1; bits <= LARGEST; bits++)
	{
		uint16_t half = (uint16_t) (bits | 0x8000);
		char text[BR_MATH_HALF_TEXT_SIZE(1)];
		size_t length = br_math_half_print(&half, 1, text);
		double value = half_value(bits);
		double read = strtod(text + 2, NULL);
		char shorter[40];

		assert_int_equal(length, strlen(text));
		assert_int_equal(text[1], '-');
		assert_int_equal(nearest_half(read), bits);
		assert_true((strchr(text, 'e') != NULL) == (value < 1e-4 && value != 1e-4));
		if (value == floor(value))
		{
			assert_true(read == value);
			continue;
		}
		/* the C library's nearest decimal of as many digits is no nearer, if it reads as the same half */
		snprintf(shorter, sizeof(shorter), "%.*e", significant_digits(text) - 1, value);
		assert_true(fabs(strtod(shorter, NULL) - value) >= fabs(read - value) ||
					nearest_half(strtod(shorter, NULL)) != bits);
		if (significant_digits(text) > 1)
		{
			snprintf(shorter, sizeof(shorter), "%.*e", significant_digits(text) - 2, value);
			assert_int_not_equal(nearest_half(strtod(shorter, NULL)), bits);
		}
	}
}

static void
what_is_no_vector_is_said(void **state)
{
	static const struct
	{
		const char *text;
		BrStatus status;
		const char *detail;
	} cases[] = {
		{"", BR_ERR_SYNTAX, "Component 1, character 1: expected \"[\", found the end."},
		{" [ ]", BR_ERR_SYNTAX, "Component 1, character 4: expected a number, found \"]\"."},
		{"[1 2,3]", BR_ERR_SYNTAX,
		 "Component 1, character 4: expected \",\" or \"]\", found \"2\"."},
		{"[1,2],", BR_ERR_SYNTAX, "Component 2, character 6: expected nothing more, found \",\"."},
		{"[1,,,", BR_ERR_SYNTAX, "Component 2, character 4: expected a number, found \",\"."},
		{"[1,0X1p3]", BR_ERR_SYNTAX, "Component 2, character 4: expected a number, found \"0\"."},
		{"[1,\xE2\x82\xAC]", BR_ERR_SYNTAX,
		 "Component 2, character 4: expected a number, found \"\xE2\x82\xAC\"."},
		{"[1,\xE9]", BR_ERR_SYNTAX,
		 "Component 2, character 4: expected a number, found the byte 0xE9."},
		{"[1,\xED\xA0\x80]", BR_ERR_SYNTAX,
		 "Component 2, character 4: expected a number, found the byte 0xED."},
		{"[1\x01]", BR_ERR_SYNTAX,
		 "Component 1, character 3: expected \",\" or \"]\", found the byte 0x01."},
		{"[nan]", BR_ERR_NUMERIC, "Component 1 is NaN."},
		{"[1,-1e400]", BR_ERR_NUMERIC, "Component 2 is -Infinity."},
		{"[65520]", BR_ERR_NUMERIC, "Component 1 is 65520."},
	};
	uint16_t halves[8];

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
		parse(cases[i].text, halves, cases[i].status, cases[i].detail);
	assert_int_equal(parse("\f[\v1 ,\t2\n]\r", halves, BR_OK, NULL), 2);
	assert_int_equal(halves[1], 0x4000);
}

static void
commas_announce_components(void **state)
{
	BrContext context;
	char *text = malloc(BR_MATH_MAX_COMPONENTS + 1);
	int64_t n;

	(void) state;
	br_base_context_init(&context);
	memset(text, ',', BR_MATH_MAX_COMPONENTS);
	text[BR_MATH_MAX_COMPONENTS] = '\0';
	assert_int_equal(br_math_half_count_text(&context, text, &n), BR_ERR_LIMIT);
	assert_int_equal(n, BR_MATH_MAX_COMPONENTS + 1);
	text[BR_MATH_MAX_COMPONENTS - 1] = '\0';
	assert_int_equal(br_math_half_count_text(&context, text, &n), BR_OK);
	assert_int_equal(n, BR_MATH_MAX_COMPONENTS);
	free(text);
}

static void
binary_form_is_checked(void **state)
{
	static const unsigned char message[] = {0, 2, 0, 0, 0x3C, 0, 0xC0, 1};
	static const struct
	{
		unsigned char bytes[8];
		size_t size;
		BrStatus status;
	} cases[] = {
		{{0, 2, 0, 0, 0x3C, 0, 0xC0, 1}, 7, BR_ERR_FORMAT},
		{{0, 1, 0, 0, 0x3C, 0, 0xC0, 1}, 8, BR_ERR_FORMAT},
		{{0, 2, 0, 1, 0x3C, 0, 0xC0, 1}, 8, BR_ERR_FORMAT},
		{{0, 2, 0, 0, 0x3C, 0, 0xC0, 1}, 3, BR_ERR_FORMAT},
		{{0, 0, 0, 0}, 4, BR_ERR_LIMIT},
		{{0x3E, 0x81, 0, 0}, 4, BR_ERR_LIMIT},
	};
	static const unsigned char not_finite[2][6] = {{0, 1, 0, 0, 0x7C, 0}, {0, 1, 0, 0, 0xFE, 0}};
	unsigned char sent[8];
	uint16_t halves[2];
	BrContext context;
	int n;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_math_half_count_binary(&context, message, sizeof(message), &n), BR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(br_math_half_receive(&context, message, halves, n), BR_OK);
	assert_int_equal(halves[0], 0x3C00);
	assert_int_equal(halves[1], 0xC001);
	br_math_half_send(halves, n, sent);
	assert_memory_equal(sent, message, sizeof(message));

	for (int i = 0; i < LENGTH(cases); i++)
		assert_int_equal(br_math_half_count_binary(&context, cases[i].bytes, cases[i].size, &n),
						 cases[i].status);
	for (int i = 0; i < 2; i++)
		assert_int_equal(br_math_half_receive(&context, not_finite[i], halves, 1), BR_ERR_NUMERIC);
	assert_string_equal(context.detail, "Component 1 is NaN.");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decimals_read_as_the_nearest_half),
		cmocka_unit_test(every_half_prints_as_its_shortest_decimal),
		cmocka_unit_test(what_is_no_vector_is_said),
		cmocka_unit_test(commas_announce_components),
		cmocka_unit_test(binary_form_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
