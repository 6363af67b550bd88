/*
 * half_text.c
 *	  Vectors of halves as text, [0.1,0.2], and in binary, in and out.
 *
 * Out, a component is the shortest decimal that reads back as the same half,
 * and the nearest of those; an integer stands in full. A half that is no
 * integer is m / 2^s with m below 2048 and s at most 24. With p decimal places
 * its neighbours are the integers around m 10^p / 2^s, and one of them
 * identifies the half if it is nearer than half the gap to the next half. In
 * units of 2^(p-s) the value is m 5^p and the gap is 5^p, so all of it is exact
 * in 64 bits, and the gap, being odd, has no half-way point to be on.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/math/br_math.h"

/* Below 10^SMALLEST_FIXED_EXPONENT numbers are written with an exponent, as SQL's real is. */
#define SMALLEST_FIXED_EXPONENT (-4)

/* Digits of the largest uint32_t. */
#define MAX_DIGITS 10

/*
 * Two roundings, to float and then to half, could end one half beside the
 * nearest. Not if the first one rounds to odd: of the two floats around an
 * inexact value it takes the one with an odd mantissa, which never is a tie
 * between two halves.
 */
static float
float_to_odd(double value)
{
	float rounded = (float) value;
	uint32_t bits;

	memcpy(&bits, &rounded, sizeof(bits));
	if ((double) rounded != value && (bits & 1) == 0)
		rounded = nextafterf(rounded, value > (double) rounded ? INFINITY : -INFINITY);
	return rounded;
}

uint16_t
br_math_half_from_double(double value)
{
	return br_math_half_from_float(isfinite(value) ? float_to_odd(value) : (float) value);
}

BrStatus
br_math_half_out_of_range(BrContext *context, double value, int index)
{
	if (isnan(value))
		return br_base_fail(context, BR_ERR_NUMERIC, "Component %d is NaN.", index + 1);
	if (isinf(value))
		return br_base_fail(context, BR_ERR_NUMERIC, "Component %d is %sInfinity.", index + 1,
							value < 0 ? "-" : "");
	return br_base_fail(context, BR_ERR_NUMERIC, "Component %d is %g.", index + 1, value);
}

/* ---- out ---- */

/* digits / 10^places */
typedef struct Decimal
{
	uint32_t digits;
	int places;
} Decimal;

/*
 * For mantissa / 2^shift, no integer. is_narrow_below: the half below is only
 * half a gap away, as it is from a power of two.
 */
static Decimal
shortest_decimal(uint32_t mantissa, int shift, bool is_narrow_below)
{
	uint64_t gap = 1;

	for (int places = 1;; places++)
	{
		int bits = shift - places;
		uint64_t one = UINT64_C(1) << bits; /* in the last place */
		uint64_t value;
		uint32_t digits;
		uint64_t rest;
		bool fits_below;
		bool fits_above;

		gap *= 5;
		value = mantissa * gap;
		digits = (uint32_t) (value >> bits);
		rest = value & (one - 1);
		fits_below = (is_narrow_below ? 4 : 2) * rest < gap;
		fits_above = 2 * (one - rest) < gap;
		if (fits_above && (!fits_below || 2 * rest + digits % 2 > one))
			return (Decimal){digits + 1, places};
		if (fits_below)
			return (Decimal){digits, places};
	}
}

/* Returns how many digits were written. */
static int
write_digits(char *out, uint32_t value)
{
	char reversed[MAX_DIGITS];
	int n = 0;

	do
		reversed[n++] = (char) ('0' + value % 10);
	while ((value /= 10) > 0);
	for (int i = 0; i < n; i++)
		out[i] = reversed[n - 1 - i];
	return n;
}

static char *
write_decimal(char *out, Decimal decimal)
{
	char digits[MAX_DIGITS];
	int n = write_digits(digits, decimal.digits);
	int integer_digits = n - decimal.places;

	if (integer_digits - 1 < SMALLEST_FIXED_EXPONENT)
	{
		*out++ = digits[0];
		if (n > 1)
			*out++ = '.';
		memcpy(out, digits + 1, (size_t) n - 1);
		out += n - 1;
		memcpy(out, "e-0", 3); /* the smallest half is 6e-08 */
		out[3] = (char) ('0' + 1 - integer_digits);
		return out + 4;
	}
	if (integer_digits <= 0)
	{
		memcpy(out, "0.0000", (size_t) (2 - integer_digits));
		out += 2 - integer_digits;
		memcpy(out, digits, (size_t) n);
		return out + n;
	}
	memcpy(out, digits, (size_t) integer_digits);
	out += integer_digits;
	*out++ = '.';
	memcpy(out, digits + integer_digits, (size_t) decimal.places);
	return out + decimal.places;
}

/* Writes a finite half and returns the end of what was written. */
static char *
write_half(char *out, uint16_t half)
{
	int exponent = half >> 10 & 0x1F;
	uint32_t mantissa = exponent == 0 ? half & 0x3FF : (half & 0x3FF) | 0x400;
	int shift = 25 - (exponent > 1 ? exponent : 1);

	if (half & 0x8000)
		*out++ = '-';
	if (shift <= 0)
		return out + write_digits(out, mantissa << -shift);
	if ((mantissa & ((1U << shift) - 1)) == 0)
		return out + write_digits(out, mantissa >> shift);
	return write_decimal(out, shortest_decimal(mantissa, shift, mantissa == 0x400 && exponent > 1));
}

size_t
br_math_half_print(const uint16_t *halves, int n, char *text)
{
	char *out = text;

	for (int i = 0; i < n; i++)
	{
		*out++ = i == 0 ? '[' : ',';
		out = write_half(out, halves[i]);
	}
	*out++ = ']';
	*out = '\0';
	return (size_t) (out - text);
}

/* ---- in ---- */

/* What is being read, for the error's sake. */
typedef struct Reader
{
	BrContext *context;
	const char *text;
	const char *next; /* first byte not read */
	int index;		  /* of the component that is being read, from 0 */
} Reader;

/* Bytes of the UTF-8 character at text; 0: it is none, or a control character. */
static int
character_length(const char *text)
{
	const unsigned char *bytes = (const unsigned char *) text;
	unsigned lead = bytes[0];
	int length = lead < ' ' || lead == 0x7F ? 0
		: lead < 0x80						? 1
		: lead < 0xC2						? 0
		: lead < 0xE0						? 2
		: lead < 0xF0						? 3
											: 4;

	for (int i = 1; i < length; i++)
		if ((bytes[i] & 0xC0) != 0x80)
			return 0;
	/* too long a form, a surrogate, or beyond the last character */
	if ((lead == 0xE0 && bytes[1] < 0xA0) || (lead == 0xED && bytes[1] > 0x9F) ||
		(lead == 0xF0 && bytes[1] < 0x90) || (lead == 0xF4 && bytes[1] > 0x8F) || lead > 0xF4)
		return 0;
	return length;
}

/* All that was read is ASCII, so that its bytes are its characters. */
static BrStatus
fail(const Reader *reader, const char *expected)
{
	int component = reader->index + 1;
	int position = (int) (reader->next - reader->text) + 1;
	int length = character_length(reader->next);

	if (*reader->next == '\0')
		return br_base_fail(reader->context, BR_ERR_SYNTAX,
							"Component %d, character %d: expected %s, found the end.", component,
							position, expected);
	if (length == 0)
		return br_base_fail(reader->context, BR_ERR_SYNTAX,
							"Component %d, character %d: expected %s, found the byte 0x%02X.",
							component, position, expected, (unsigned char) *reader->next);
	return br_base_fail(reader->context, BR_ERR_SYNTAX,
						"Component %d, character %d: expected %s, found \"%.*s\".", component,
						position, expected, length, reader->next);
}

/* The whitespace of SQL, whatever the locale. */
static void
skip_space(Reader *reader)
{
	while (*reader->next == ' ' || *reader->next == '\t' || *reader->next == '\n' ||
		   *reader->next == '\r' || *reader->next == '\f' || *reader->next == '\v')
		reader->next++;
}

/* A number as float8 reads it, but for hexadecimal ones, which strtod reads too. */
static BrStatus
read_component(Reader *reader, uint16_t *half)
{
	char *end;
	double value;

	skip_space(reader);
	value = strtod(reader->next, &end);
	if (end == reader->next || memchr(reader->next, 'x', (size_t) (end - reader->next)) != NULL ||
		memchr(reader->next, 'X', (size_t) (end - reader->next)) != NULL)
		return fail(reader, "a number");
	*half = br_math_half_from_double(value);
	if (!BR_MATH_HALF_IS_FINITE(*half))
		return br_math_half_out_of_range(reader->context, value, reader->index);
	reader->next = end;
	skip_space(reader);
	return BR_OK;
}

BrStatus
br_math_half_count_text(BrContext *context, const char *text, int64_t *n)
{
	*n = 1;
	for (const char *comma = strchr(text, ','); comma != NULL; comma = strchr(comma + 1, ','))
		(*n)++;
	if (*n > BR_MATH_MAX_COMPONENTS)
		return br_base_fail(context, BR_ERR_LIMIT, "%lld components, of at most %d.",
							(long long) *n, BR_MATH_MAX_COMPONENTS);
	return BR_OK;
}

BrStatus
br_math_half_parse(BrContext *context, const char *text, uint16_t *halves, int n)
{
	Reader reader = {context, text, text, 0};

	skip_space(&reader);
	if (*reader.next != '[')
		return fail(&reader, "\"[\"");
	for (;; reader.index++)
	{
		BrStatus status;

		reader.next++; /* the bracket or a comma: there are n - 1 of these */
		status = read_component(&reader, &halves[reader.index]);
		if (status != BR_OK)
			return status;
		if (*reader.next != ',' || reader.index + 1 >= n)
			break;
	}
	if (*reader.next != ']')
		return fail(&reader, "\",\" or \"]\"");
	reader.next++;
	skip_space(&reader);
	if (*reader.next != '\0')
		return fail(&reader, "nothing more");
	return BR_OK;
}

/* ---- binary ---- */

static unsigned
read_field(const unsigned char *bytes)
{
	return (unsigned) bytes[0] << 8 | bytes[1];
}

static void
write_field(unsigned char *bytes, unsigned value)
{
	bytes[0] = (unsigned char) (value >> 8);
	bytes[1] = (unsigned char) value;
}

BrStatus
br_math_half_count_binary(BrContext *context, const void *message, size_t size, int *n)
{
	const unsigned char *bytes = message;
	unsigned second;

	*n = 0;
	if (size < BR_MATH_HALF_BINARY_HEADER)
		return br_base_fail(context, BR_ERR_FORMAT, "%zu bytes, of at least %d.", size,
							BR_MATH_HALF_BINARY_HEADER);
	*n = (int) read_field(bytes);
	second = read_field(bytes + 2);
	if (*n < 1 || *n > BR_MATH_MAX_COMPONENTS)
		return br_base_fail(context, BR_ERR_LIMIT, "%d components, of 1 to %d.", *n,
							BR_MATH_MAX_COMPONENTS);
	if (second != 0 || size != BR_MATH_HALF_BINARY_SIZE(*n))
		return br_base_fail(context, BR_ERR_FORMAT,
							"%d dimensions, a second field of %u, and %zu bytes of components.", *n,
							second, size - BR_MATH_HALF_BINARY_HEADER);
	return BR_OK;
}

BrStatus
br_math_half_receive(BrContext *context, const void *message, uint16_t *halves, int n)
{
	const unsigned char *bytes = (const unsigned char *) message + BR_MATH_HALF_BINARY_HEADER;

	for (int i = 0; i < n; i++)
	{
		halves[i] = (uint16_t) read_field(bytes + 2 * (size_t) i);
		if (!BR_MATH_HALF_IS_FINITE(halves[i]))
			return br_math_half_out_of_range(context, br_math_half_to_float(halves[i]), i);
	}
	return BR_OK;
}

void
br_math_half_send(const uint16_t *halves, int n, void *message)
{
	unsigned char *bytes = message;

	write_field(bytes, (unsigned) n);
	write_field(bytes + 2, 0);
	for (int i = 0; i < n; i++)
		write_field(bytes + BR_MATH_HALF_BINARY_HEADER + 2 * (size_t) i, halves[i]);
}
