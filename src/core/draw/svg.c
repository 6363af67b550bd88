/*
 * svg.c
 *	  Text of a drawing: a buffer that grows, escaping, numbers.
 *
 * Numbers are formatted from integers here and nowhere else: no locale, and
 * the same digits on every machine.
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/draw/draw_int.h"

#define REPLACEMENT 0xFFFD
#define ELLIPSIS 0x2026
/* From here on numbers are written with a power of ten. */
#define LONG 1e12

static void
add_bytes(BrSvg *svg, const char *bytes, size_t n)
{
	if (svg->failed)
		return;
	if (svg->length + n + 1 > svg->room)
	{
		size_t room = 2 * (svg->length + n + 1) + 4096;
		char *text = br_base_alloc(svg->context, room);

		if (text == NULL)
		{
			svg->failed = true;
			return;
		}
		if (svg->length > 0)
			memcpy(text, svg->text, svg->length);
		br_base_free(svg->context, svg->text);
		svg->text = text;
		svg->room = room;
	}
	memcpy(svg->text + svg->length, bytes, n);
	svg->length += n;
	svg->text[svg->length] = '\0';
}

static void
add_string(BrSvg *svg, const char *string)
{
	add_bytes(svg, string, strlen(string));
}

/* ---- text ---- */

/* Bytes that follow the first one of a character; -1: it begins none. */
static int
bytes_after(unsigned char first)
{
	if (first < 0x80)
		return 0;
	if (first < 0xC2 || first > 0xF4)
		return -1;
	return first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
}

/* The next code point; what is no UTF-8 counts as a replacement character, a byte at a time. */
static uint32_t
next_code_point(const char **text)
{
	const unsigned char *bytes = (const unsigned char *) *text;
	int more = bytes_after(bytes[0]);
	uint32_t code = more <= 0 ? bytes[0] : bytes[0] & (0x3F >> more);

	for (int i = 1; i <= more; i++)
	{
		if ((bytes[i] & 0xC0) != 0x80)
			more = -1;
		else
			code = code << 6 | (bytes[i] & 0x3F);
	}
	*text += more < 0 ? 1 : more + 1;
	return more < 0 ? REPLACEMENT : code;
}

/* XML 1.0 knows no control characters but these three, and no surrogates. */
static bool
is_xml(uint32_t code)
{
	return code >= 0x20
		? !(code >= 0xD800 && code < 0xE000) && code != 0xFFFE && code != 0xFFFF && code <= 0x10FFFF
		: code == '\t' || code == '\n' || code == '\r';
}

static void
add_code_point(BrSvg *svg, uint32_t code)
{
	char reference[16];

	if (!is_xml(code))
		code = REPLACEMENT;
	if (code < 0x20 || code > 0x7E || strchr("&<>\"'", (int) code) != NULL)
		snprintf(reference, sizeof(reference), "&#x%" PRIX32 ";", code);
	else
	{
		reference[0] = (char) code;
		reference[1] = '\0';
	}
	add_string(svg, reference);
}

/* Ideographs and their like are as wide as they are high. */
static double
code_point_width(uint32_t code)
{
	return code >= 0x1100 ? BR_SVG_WIDE : BR_SVG_NARROW;
}

double
br_draw_svg_text_width(const char *text)
{
	double width = 0;

	while (*text != '\0')
		width += code_point_width(next_code_point(&text));
	return width;
}

void
br_draw_svg_write_short(BrSvg *svg, const char *text, double pixels)
{
	bool fits = br_draw_svg_text_width(text) <= pixels;
	double width = BR_SVG_NARROW;

	while (*text != '\0')
	{
		uint32_t code = next_code_point(&text);

		width += code_point_width(code);
		if (!fits && width > pixels)
		{
			add_code_point(svg, ELLIPSIS);
			return;
		}
		add_code_point(svg, code);
	}
}

/* ---- numbers ---- */

/* A whole number, with commas between thousands where it is grouped and has five digits or more. */
static int
format_whole(char *out, uint64_t value, bool grouped)
{
	char digits[32];
	int n = snprintf(digits, sizeof(digits), "%" PRIu64, value);
	int length = 0;

	for (int i = 0; i < n; i++)
	{
		out[length++] = digits[i];
		if (grouped && n > 4 && i < n - 1 && (n - 1 - i) % 3 == 0)
			out[length++] = ',';
	}
	out[length] = '\0';
	return length;
}

/* value >= 0, value * 10^decimals < 2^63 */
static int
format_fixed(char *out, double value, int decimals, bool trim)
{
	uint64_t scale = 1;
	uint64_t scaled;
	int length;

	for (int i = 0; i < decimals; i++)
		scale *= 10;
	scaled = (uint64_t) llround(value * (double) scale);
	length = format_whole(out, scaled / scale, !trim);
	scaled %= scale;
	for (int i = 0; i < decimals && !(trim && scaled == 0); i++)
	{
		if (i == 0)
			out[length++] = '.';
		scale /= 10;
		out[length++] = (char) ('0' + scaled / scale);
		scaled %= scale;
	}
	out[length] = '\0';
	return length;
}

/* Mantissa and power of ten of value > 0. */
static void
format_power(char *out, double value)
{
	int exponent = 0;
	int length;

	for (; value >= 10; exponent++)
		value /= 10;
	for (; value < 1; exponent--)
		value *= 10;
	if (llround(value * 1e6) >= 10000000)
	{
		value /= 10;
		exponent++;
	}
	length = format_fixed(out, value, 6, true);
	snprintf(out + length, 8, "e%d", exponent);
}

void
br_draw_svg_number(double value, int decimals, char label[BR_SVG_LABEL_SIZE])
{
	double size = fabs(value);
	char *digits = label;

	/* what is rounded to 0 has no sign */
	if (value < 0 && (size >= LONG || size * pow(10, decimals) >= 0.5))
		*digits++ = '-';
	if (!isfinite(value))
		snprintf(digits, 8, "\xE2\x88\x9E");
	else if (size >= LONG || (size > 0 && (size < 1e-3 ? decimals > 6 : decimals > 15)))
		format_power(digits, size);
	else if (decimals > (size > 0 ? 15 : 6) || size * pow(10, decimals) > 1e18)
		format_fixed(digits, size, 0, false);
	else
		format_fixed(digits, size, decimals, false);
}

static void
add_coordinate(BrSvg *svg, double value)
{
	char digits[BR_SVG_LABEL_SIZE];

	if (!(fabs(value) < 1e7))
		value = value < 0 ? -1e7 : 1e7;
	if (value < 0 && value > -0.005)
		value = 0;
	if (value < 0)
		add_string(svg, "-");
	format_fixed(digits, fabs(value), 2, true);
	add_string(svg, digits);
}

void
br_draw_svg_write(BrSvg *svg, const char *format, ...)
{
	va_list arguments;
	char whole[16];
	const char *text;

	va_start(arguments, format);
	for (; *format != '\0'; format++)
	{
		const char *percent = strchr(format, '%');

		if (percent == NULL)
			percent = format + strlen(format);
		add_bytes(svg, format, (size_t) (percent - format));
		format = percent;
		if (*format == '\0')
			break;
		switch (*++format)
		{
			case 's':
				add_string(svg, va_arg(arguments, const char *));
				break;
			case 't':
				for (text = va_arg(arguments, const char *); *text != '\0';)
					add_code_point(svg, next_code_point(&text));
				break;
			case 'n':
				add_coordinate(svg, va_arg(arguments, double));
				break;
			case 'd':
				snprintf(whole, sizeof(whole), "%d", va_arg(arguments, int));
				add_string(svg, whole);
				break;
		}
	}
	va_end(arguments);
}
