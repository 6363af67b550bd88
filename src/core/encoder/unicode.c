/*
 * unicode.c
 *	  Characters as Hugging Face's fast tokenizers see them.
 *
 * Those tokenizers classify with tables of Unicode 8 and decompose with tables
 * of Unicode 9; utf8proc knows later versions. Token ids must be the same, so
 * the characters that changed in between are listed here and treated as they
 * are there: a mark, punctuation or format character that is too new is an
 * ordinary character, and one whose combining class is too new stays in place.
 * Lower case and what a word consists of go the other way: there they follow
 * Unicode 16, whose letters are added. A test compares every class over all
 * characters with what the tokenizers library 0.22.1 gives.
 */
#include <string.h>

#include <utf8proc.h>

#include "core/encoder/encoder_int.h"

/* What a newer character is not yet there. */
enum
{
	NOT_YET_FORMAT = 1,
	NOT_YET_MARK = 2, /* nonspacing */
	NOT_YET_PUNCTUATION = 4,
	NOT_YET_COMBINING = 8 /* of a class above 0 */
};

#define F NOT_YET_FORMAT
#define M NOT_YET_MARK
#define P NOT_YET_PUNCTUATION
#define C NOT_YET_COMBINING

static const struct
{
	int32_t first;
	int32_t last;
	int32_t not_yet;
} too_new[] = {
	{0x061D, 0x061D, P},	   {0x07FD, 0x07FD, M | C},	  {0x0890, 0x0891, F},
	{0x0898, 0x089F, M | C},   {0x08CA, 0x08D3, M | C},	  {0x08D4, 0x08E1, M},
	{0x08E2, 0x08E2, F},	   {0x09FD, 0x09FD, P},		  {0x09FE, 0x09FE, M | C},
	{0x0A76, 0x0A76, P},	   {0x0AFA, 0x0AFF, M},		  {0x0B55, 0x0B55, M},
	{0x0C04, 0x0C04, M},	   {0x0C3C, 0x0C3C, M | C},	  {0x0C77, 0x0C77, P},
	{0x0C84, 0x0C84, P},	   {0x0D00, 0x0D00, M},		  {0x0D3B, 0x0D3C, M | C},
	{0x0D81, 0x0D81, M},	   {0x0EBA, 0x0EBA, M | C},	  {0x0ECE, 0x0ECE, M},
	{0x1715, 0x1715, C},	   {0x180F, 0x180F, M},		  {0x1885, 0x1886, M},
	{0x1ABF, 0x1ACE, M | C},   {0x1B7D, 0x1B7E, P},		  {0x1DF6, 0x1DFA, M | C},
	{0x1DFB, 0x1DFB, M},	   {0x2E43, 0x2E4F, P},		  {0x2E52, 0x2E5D, P},
	{0xA82C, 0xA82C, M | C},   {0xA8C5, 0xA8C5, M},		  {0xA8FF, 0xA8FF, M},
	{0xA9BD, 0xA9BD, M},	   {0x10D24, 0x10D27, M | C}, {0x10EAB, 0x10EAC, M | C},
	{0x10EAD, 0x10EAD, P},	   {0x10EFD, 0x10EFF, M | C}, {0x10F46, 0x10F50, M | C},
	{0x10F55, 0x10F59, P},	   {0x10F82, 0x10F85, M | C}, {0x10F86, 0x10F89, P},
	{0x11070, 0x11070, M | C}, {0x11073, 0x11074, M},	  {0x110C2, 0x110C2, M},
	{0x110CD, 0x110CD, F},	   {0x111C9, 0x111C9, M},	  {0x111CF, 0x111CF, M},
	{0x1123E, 0x1123E, M},	   {0x11241, 0x11241, M},	  {0x1133B, 0x1133B, M | C},
	{0x11438, 0x1143F, M},	   {0x11442, 0x11444, M},	  {0x11446, 0x11446, M},
	{0x1144B, 0x1144F, P},	   {0x1145A, 0x1145B, P},	  {0x1145D, 0x1145D, P},
	{0x1145E, 0x1145E, M | C}, {0x11660, 0x1166C, P},	  {0x116B9, 0x116B9, P},
	{0x1182F, 0x11837, M},	   {0x11839, 0x1183A, M | C}, {0x1183B, 0x1183B, P},
	{0x1193B, 0x1193C, M},	   {0x1193D, 0x1193D, C},	  {0x1193E, 0x1193E, M | C},
	{0x11943, 0x11943, M | C}, {0x11944, 0x11946, P},	  {0x119D4, 0x119D7, M},
	{0x119DA, 0x119DB, M},	   {0x119E0, 0x119E0, M | C}, {0x119E2, 0x119E2, P},
	{0x11A01, 0x11A0A, M},	   {0x11A33, 0x11A33, M},	  {0x11A34, 0x11A34, M | C},
	{0x11A35, 0x11A38, M},	   {0x11A3B, 0x11A3E, M},	  {0x11A3F, 0x11A46, P},
	{0x11A47, 0x11A47, M | C}, {0x11A51, 0x11A56, M},	  {0x11A59, 0x11A5B, M},
	{0x11A8A, 0x11A96, M},	   {0x11A98, 0x11A98, M},	  {0x11A99, 0x11A99, M | C},
	{0x11A9A, 0x11A9C, P},	   {0x11A9E, 0x11AA2, P},	  {0x11B00, 0x11B09, P},
	{0x11C30, 0x11C36, M},	   {0x11C38, 0x11C3D, M},	  {0x11C3F, 0x11C3F, M},
	{0x11C41, 0x11C45, P},	   {0x11C70, 0x11C71, P},	  {0x11C92, 0x11CA7, M},
	{0x11CAA, 0x11CB0, M},	   {0x11CB2, 0x11CB3, M},	  {0x11CB5, 0x11CB6, M},
	{0x11D31, 0x11D36, M},	   {0x11D3A, 0x11D3A, M},	  {0x11D3C, 0x11D3D, M},
	{0x11D3F, 0x11D41, M},	   {0x11D42, 0x11D42, M | C}, {0x11D43, 0x11D43, M},
	{0x11D44, 0x11D45, M | C}, {0x11D47, 0x11D47, M},	  {0x11D90, 0x11D91, M},
	{0x11D95, 0x11D95, M},	   {0x11D97, 0x11D97, M | C}, {0x11EF3, 0x11EF4, M},
	{0x11EF7, 0x11EF8, P},	   {0x11F00, 0x11F01, M},	  {0x11F36, 0x11F3A, M},
	{0x11F40, 0x11F40, M},	   {0x11F41, 0x11F41, C},	  {0x11F42, 0x11F42, M | C},
	{0x11F43, 0x11F4F, P},	   {0x11FFF, 0x11FFF, P},	  {0x12FF1, 0x12FF2, P},
	{0x13430, 0x1343F, F},	   {0x13440, 0x13440, M},	  {0x13447, 0x13455, M},
	{0x16E97, 0x16E9A, P},	   {0x16F4F, 0x16F4F, M},	  {0x16FE2, 0x16FE2, P},
	{0x16FE4, 0x16FE4, M},	   {0x16FF0, 0x16FF1, C},	  {0x1CF00, 0x1CF2D, M},
	{0x1CF30, 0x1CF46, M},	   {0x1E000, 0x1E006, M},	  {0x1E008, 0x1E018, M},
	{0x1E01B, 0x1E021, M},	   {0x1E023, 0x1E024, M},	  {0x1E026, 0x1E02A, M},
	{0x1E08F, 0x1E08F, M | C}, {0x1E130, 0x1E136, M | C}, {0x1E2AE, 0x1E2AE, M | C},
	{0x1E2EC, 0x1E2EF, M | C}, {0x1E4EC, 0x1E4EF, M | C}, {0x1E944, 0x1E94A, M},
	{0x1E95E, 0x1E95F, P},
};

/* Letters, digits and marks of Unicode 15.1 and 16, which utf8proc may not know. */
static const int32_t new_word_characters[][2] = {
	{0x0897, 0x0897},	{0x1C89, 0x1C8A},	{0xA7CB, 0xA7CD},	{0xA7DA, 0xA7DC},
	{0x105C0, 0x105F3}, {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85},
	{0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFC}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
	{0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0}, {0x113C2, 0x113C2},
	{0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2},
	{0x116D0, 0x116E3}, {0x11BC0, 0x11BE0}, {0x11BF0, 0x11BF9}, {0x11F5A, 0x11F5A},
	{0x13460, 0x143FA}, {0x16100, 0x16139}, {0x16D40, 0x16D6C}, {0x16D70, 0x16D79},
	{0x18CFF, 0x18CFF}, {0x1CCF0, 0x1CCF9}, {0x1E5D0, 0x1E5FA}, {0x2EBF0, 0x2EE5D},
};

#undef F
#undef M
#undef P
#undef C

static bool
not_yet(int32_t character, int what)
{
	int low = 0;
	int high = (int) (sizeof(too_new) / sizeof(too_new[0])) - 1;

	while (low <= high)
	{
		int middle = (low + high) / 2;

		if (character < too_new[middle].first)
			high = middle - 1;
		else if (character > too_new[middle].last)
			low = middle + 1;
		else
			return (too_new[middle].not_yet & what) != 0;
	}
	return false;
}

bool
br_encoder_is_utf8(const char *text, size_t size)
{
	const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *) text;
	size_t at = 0;

	while (at < size)
	{
		utf8proc_int32_t character;
		utf8proc_ssize_t length;

		if (bytes[at] < 0x80)
		{
			at++;
			continue;
		}
		length = utf8proc_iterate(bytes + at, size - at < 4 ? (utf8proc_ssize_t) (size - at) : 4,
								  &character);
		if (length <= 0)
			return false;
		at += (size_t) length;
	}
	return true;
}

int32_t
br_encoder_decode(const char *text, int *length)
{
	const unsigned char *bytes = (const unsigned char *) text;

	if (bytes[0] < 0x80)
	{
		*length = 1;
		return bytes[0];
	}
	if (bytes[0] < 0xE0)
	{
		*length = 2;
		return (bytes[0] & 0x1F) << 6 | (bytes[1] & 0x3F);
	}
	if (bytes[0] < 0xF0)
	{
		*length = 3;
		return (bytes[0] & 0x0F) << 12 | (bytes[1] & 0x3F) << 6 | (bytes[2] & 0x3F);
	}
	*length = 4;
	return (bytes[0] & 0x07) << 18 | (bytes[1] & 0x3F) << 12 | (bytes[2] & 0x3F) << 6 |
		(bytes[3] & 0x3F);
}

int32_t
br_encoder_decode_before(const char *text, size_t at, size_t *begin)
{
	int length;

	*begin = at - 1;
	while (*begin > 0 && ((unsigned char) text[*begin] & 0xC0) == 0x80)
		(*begin)--;
	return br_encoder_decode(text + *begin, &length);
}

int
br_encoder_encode_character(int32_t character, char bytes[4])
{
	return (int) utf8proc_encode_char(character, (utf8proc_uint8_t *) bytes);
}

bool
br_encoder_is_whitespace(int32_t character)
{
	if (character < 0x80)
		return character == ' ' || (character >= '\t' && character <= '\r');
	return character == 0x85 || character == 0xA0 || character == 0x1680 ||
		(character >= 0x2000 && character <= 0x200A) || character == 0x2028 ||
		character == 0x2029 || character == 0x202F || character == 0x205F || character == 0x3000;
}

bool
br_encoder_is_control(int32_t character)
{
	utf8proc_category_t category;

	if (character < 0x80)
		return character < ' ' || character == 0x7F;
	category = utf8proc_category(character);
	return category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CO ||
		(category == UTF8PROC_CATEGORY_CF && !not_yet(character, NOT_YET_FORMAT));
}

bool
br_encoder_is_nonspacing_mark(int32_t character)
{
	if (character < 0x300)
		return false;
	/* Unicode 14 made the Hanunoo sign Pamudpod a spacing mark */
	return character == 0x1734 ||
		(utf8proc_category(character) == UTF8PROC_CATEGORY_MN && !not_yet(character, NOT_YET_MARK));
}

bool
br_encoder_is_punctuation(int32_t character)
{
	if (character < 0x80)
		return (character >= '!' && character <= '/') || (character >= ':' && character <= '@') ||
			(character >= '[' && character <= '`') || (character >= '{' && character <= '~');

	/* later versions reclassified the Canadian chi sign and the Sharada sandhi mark */
	if (character == 0x166D || character == 0x111C9)
		return true;
	switch (utf8proc_category(character))
	{
		case UTF8PROC_CATEGORY_PC:
		case UTF8PROC_CATEGORY_PD:
		case UTF8PROC_CATEGORY_PS:
		case UTF8PROC_CATEGORY_PE:
		case UTF8PROC_CATEGORY_PI:
		case UTF8PROC_CATEGORY_PF:
		case UTF8PROC_CATEGORY_PO:
			return !not_yet(character, NOT_YET_PUNCTUATION);
		default:
			return false;
	}
}

/* Alphabetic, marks, decimal digits, connectors and joiners (Unicode technical standard 18). */
bool
br_encoder_is_word(int32_t character)
{
	switch (utf8proc_category(character))
	{
		case UTF8PROC_CATEGORY_LU:
		case UTF8PROC_CATEGORY_LL:
		case UTF8PROC_CATEGORY_LT:
		case UTF8PROC_CATEGORY_LM:
		case UTF8PROC_CATEGORY_LO:
		case UTF8PROC_CATEGORY_MN:
		case UTF8PROC_CATEGORY_MC:
		case UTF8PROC_CATEGORY_ME:
		case UTF8PROC_CATEGORY_ND:
		case UTF8PROC_CATEGORY_NL:
		case UTF8PROC_CATEGORY_PC:
			return true;
		default:
			break;
	}
	for (size_t i = 0; i < sizeof(new_word_characters) / sizeof(new_word_characters[0]); i++)
		if (character >= new_word_characters[i][0] && character <= new_word_characters[i][1])
			return true;

	/* joiners, and the letters in circles and squares, which are symbols yet alphabetic */
	return character == 0x200C || character == 0x200D ||
		(character >= 0x24B6 && character <= 0x24E9) ||
		(character >= 0x1F130 && character <= 0x1F149) ||
		(character >= 0x1F150 && character <= 0x1F169) ||
		(character >= 0x1F170 && character <= 0x1F189);
}

/* Letters of Unicode 16, and its numbers, which utf8proc may not know. */
static const int32_t new_letters[][2] = {
	{0x1C89, 0x1C8A},	{0xA7CB, 0xA7CD},	{0xA7DA, 0xA7DC},	{0x105C0, 0x105F3},
	{0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
	{0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
	{0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
	{0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
	{0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};

static const int32_t new_numbers[][2] = {
	{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
	{0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};

static bool
in_ranges(int32_t character, const int32_t (*ranges)[2], size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (character >= ranges[i][0] && character <= ranges[i][1])
			return true;
	return false;
}

bool
br_encoder_is_letter(int32_t character)
{
	if (character < 0x80)
		return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z');
	switch (utf8proc_category(character))
	{
		case UTF8PROC_CATEGORY_LU:
		case UTF8PROC_CATEGORY_LL:
		case UTF8PROC_CATEGORY_LT:
		case UTF8PROC_CATEGORY_LM:
		case UTF8PROC_CATEGORY_LO:
			return true;
		default:
			return character >= new_letters[0][0] &&
				in_ranges(character, new_letters, sizeof(new_letters) / sizeof(new_letters[0]));
	}
}

bool
br_encoder_is_number(int32_t character)
{
	if (character < 0x80)
		return character >= '0' && character <= '9';
	switch (utf8proc_category(character))
	{
		case UTF8PROC_CATEGORY_ND:
		case UTF8PROC_CATEGORY_NL:
		case UTF8PROC_CATEGORY_NO:
			return true;
		default:
			return character >= new_numbers[0][0] &&
				in_ranges(character, new_numbers, sizeof(new_numbers) / sizeof(new_numbers[0]));
	}
}

/*
 * The blocks of Chinese ideographs as Hugging Face lists them, with the gap
 * from U+2B820 that its list has.
 */
bool
br_encoder_is_cjk(int32_t character)
{
	return (character >= 0x4E00 && character <= 0x9FFF) ||
		(character >= 0x3400 && character <= 0x4DBF) ||
		(character >= 0x20000 && character <= 0x2A6DF) ||
		(character >= 0x2A700 && character <= 0x2B81F) ||
		(character >= 0x2B920 && character <= 0x2CEAF) ||
		(character >= 0xF900 && character <= 0xFAFF) ||
		(character >= 0x2F800 && character <= 0x2FA1F);
}

/* Upper case letters of Unicode 16, which utf8proc may not know. */
static int32_t
lower_of_new(int32_t character)
{
	switch (character)
	{
		case 0x1C89:
			return 0x1C8A;
		case 0xA7CB:
			return 0x0264;
		case 0xA7CC:
			return 0xA7CD;
		case 0xA7DA:
			return 0xA7DB;
		case 0xA7DC:
			return 0x019B;
		default:
			return character >= 0x10D50 && character <= 0x10D65 ? character + 0x20 : character;
	}
}

int
br_encoder_lower(int32_t character, int32_t lower[2])
{
	if (character < 0x80)
	{
		lower[0] = character >= 'A' && character <= 'Z' ? character + ('a' - 'A') : character;
		return 1;
	}
	/* the one letter whose lower case is two characters: i and a dot above */
	if (character == 0x130)
	{
		lower[0] = 'i';
		lower[1] = 0x307;
		return 2;
	}
	lower[0] = utf8proc_tolower(character);
	if (lower[0] == character)
		lower[0] = lower_of_new(character);
	return 1;
}

int
br_encoder_decompose(int32_t character, int32_t decomposed[BR_DECOMPOSED_MAX])
{
	int boundary_class = 0;
	utf8proc_ssize_t n;

	/* below are no decompositions; U+11938 got its own in Unicode 13 */
	if (character >= 0xC0 && character != 0x11938)
	{
		n = utf8proc_decompose_char(character, decomposed, BR_DECOMPOSED_MAX, UTF8PROC_DECOMPOSE,
									&boundary_class);
		if (n >= 1 && n <= BR_DECOMPOSED_MAX)
			return (int) n;
	}
	decomposed[0] = character;
	return 1;
}

int
br_encoder_combining_class(int32_t character)
{
	if (character < 0x300 || not_yet(character, NOT_YET_COMBINING))
		return 0;
	return utf8proc_get_property(character)->combining_class;
}
