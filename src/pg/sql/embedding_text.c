/*
 * embedding_text.c
 *	  The text form of an embedding, [0.1,0.2], in and out.
 *
 * Out, a component is the shortest decimal that reads back as the same half,
 * and the nearest of those; an integer stands in full. A half that is no
 * integer is m / 2^s with m below 2048 and s at most 24. With p decimal places
 * its neighbours are the integers around m 10^p / 2^s, and one of them
 * identifies the half if it is nearer than half the gap to the next half. In
 * units of 2^(p-s) the value is m 5^p and the gap is 5^p, so all of it is exact
 * in 64 bits, and the gap, being odd, has no half-way point to be on.
 */
#include "postgres.h"

#include <math.h>

#include "mb/pg_wchar.h"
#include "parser/scansup.h"
#include "utils/builtins.h"

#include "pg/embedding.h"

PG_FUNCTION_INFO_V1(br_embedding_in);
PG_FUNCTION_INFO_V1(br_embedding_out);

/* more than the longest component, -5.9605e-08, and a comma */
#define MAX_COMPONENT_TEXT 16

/* Below 10^SMALLEST_FIXED_EXPONENT numbers are written with an exponent, as real is. */
#define SMALLEST_FIXED_EXPONENT (-4)

/* digits / 10^places */
typedef struct Decimal
{
	uint32 digits;
	int places;
} Decimal;

/*
 * For mantissa / 2^shift, no integer. is_narrow_below: the half below is only
 * half a gap away, as it is from a power of two.
 */
static Decimal
shortest_decimal(uint32 mantissa, int shift, bool is_narrow_below)
{
	uint64 gap = 1;

	for (int places = 1;; places++)
	{
		int bits = shift - places;
		uint64 one = UINT64CONST(1) << bits; /* in the last place */
		uint64 value;
		uint32 digits;
		uint64 rest;
		bool fits_below;
		bool fits_above;

		gap *= 5;
		value = mantissa * gap;
		digits = (uint32) (value >> bits);
		rest = value & (one - 1);
		fits_below = (is_narrow_below ? 4 : 2) * rest < gap;
		fits_above = 2 * (one - rest) < gap;
		if (fits_above && (!fits_below || 2 * rest + digits % 2 > one))
			return (Decimal){digits + 1, places};
		if (fits_below)
			return (Decimal){digits, places};
	}
}

static char *
write_decimal(char *out, Decimal decimal)
{
	char digits[MAX_COMPONENT_TEXT];
	int n = pg_ultoa_n(decimal.digits, digits);
	int integer_digits = n - decimal.places;

	if (integer_digits - 1 < SMALLEST_FIXED_EXPONENT)
	{
		*out++ = digits[0];
		if (n > 1)
			*out++ = '.';
		memcpy(out, digits + 1, n - 1);
		out += n - 1;
		return out + sprintf(out, "e-%02d", 1 - integer_digits);
	}
	if (integer_digits <= 0)
	{
		memcpy(out, "0.0000", 2 - integer_digits);
		out += 2 - integer_digits;
		memcpy(out, digits, n);
		return out + n;
	}
	memcpy(out, digits, integer_digits);
	out += integer_digits;
	*out++ = '.';
	memcpy(out, digits + integer_digits, n - integer_digits);
	return out + n - integer_digits;
}

/* Writes a finite half and returns the end of what was written. */
static char *
write_half(char *out, uint16 half)
{
	int exponent = half >> 10 & 0x1F;
	uint32 mantissa = exponent == 0 ? half & 0x3FF : (half & 0x3FF) | 0x400;
	int shift = 25 - Max(exponent, 1);

	if (half & 0x8000)
		*out++ = '-';
	if (shift <= 0)
		return out + pg_ultoa_n(mantissa << -shift, out);
	if ((mantissa & ((1U << shift) - 1)) == 0)
		return out + pg_ultoa_n(mantissa >> shift, out);
	return write_decimal(out, shortest_decimal(mantissa, shift, mantissa == 0x400 && exponent > 1));
}

PGDLLEXPORT Datum
br_embedding_out(PG_FUNCTION_ARGS)
{
	BrEmbedding *embedding = PG_GETARG_EMBEDDING(0);
	char *text = palloc((Size) embedding->dims * MAX_COMPONENT_TEXT + 2);
	char *out = text;

	for (int i = 0; i < embedding->dims; i++)
	{
		*out++ = i == 0 ? '[' : ',';
		out = write_half(out, embedding->components[i]);
	}
	*out++ = ']';
	*out = '\0';
	PG_RETURN_CSTRING(text);
}

/* What is being read, for the error's sake. */
typedef struct Reader
{
	const char *text;
	const char *next; /* first byte not read */
	int index;		  /* of the component that is being read, from 0 */
} Reader;

static void
fail(const Reader *reader, const char *expected)
{
	int position = pg_mbstrlen_with_len(reader->text, reader->next - reader->text) + 1;
	int length = *reader->next == '\0' ? 0 : pg_mblen(reader->next);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid input syntax for type embedding"),
			 length == 0 ? errdetail("Component %d, character %d: expected %s, found the end.",
									 reader->index + 1, position, expected)
						 : errdetail("Component %d, character %d: expected %s, found \"%.*s\".",
									 reader->index + 1, position, expected, length, reader->next),
			 errhint("An embedding is written like [0.1,0.2], with 1 to %d numbers.",
					 BR_EMBEDDING_MAX_DIMS)));
}

static void
skip_space(Reader *reader)
{
	while (scanner_isspace(*reader->next))
		reader->next++;
}

static void
expect(Reader *reader, char wanted, const char *expected)
{
	skip_space(reader);
	if (*reader->next != wanted)
		fail(reader, expected);
	if (wanted != '\0')
		reader->next++;
}

/* A number as float8 reads it, but for hexadecimal ones, which strtod reads too. */
static double
read_number(Reader *reader)
{
	char *end;
	double value;

	skip_space(reader);
	value = strtod(reader->next, &end);
	if (end == reader->next || memchr(reader->next, 'x', end - reader->next) != NULL ||
		memchr(reader->next, 'X', end - reader->next) != NULL)
		fail(reader, "a number");
	reader->next = end;
	return value;
}

PGDLLEXPORT Datum
br_embedding_in(PG_FUNCTION_ARGS)
{
	char *text = PG_GETARG_CSTRING(0);
	int32 typmod = PG_GETARG_INT32(2);
	Reader reader = {text, text, 0};
	int64 dims = 1;
	BrEmbedding *embedding;

	for (const char *comma = strchr(text, ','); comma != NULL; comma = strchr(comma + 1, ','))
		dims++;
	embedding = br_pg_embedding_create(dims);

	expect(&reader, '[', "\"[\"");
	for (reader.index = 0; reader.index < dims; reader.index++)
	{
		if (reader.index > 0)
			expect(&reader, ',', "\",\" or \"]\"");
		embedding->components[reader.index] =
			br_pg_embedding_component(read_number(&reader), reader.index);
	}
	reader.index = dims - 1;
	expect(&reader, ']', "\",\" or \"]\"");
	expect(&reader, '\0', "nothing more");
	br_pg_embedding_check_typmod(dims, typmod);
	PG_RETURN_POINTER(embedding);
}
