/*
 * grapheme.c
 *	  Extended grapheme clusters (Unicode Standard Annex 29), of Unicode 16.
 *
 * The character map of sentencepiece is applied to clusters, so where one ends
 * decides about token ids. utf8proc has the property that the rules are made
 * of; what Unicode 16 changed in it, and what an older utf8proc may not know,
 * stands here. Regional indicators are treated as characters of their own:
 * two of them are so long that a map never sees them together. A test compares
 * the classes over all characters with what the tokenizers library 0.22.2 does.
 */
#include <utf8proc.h>

#include "core/encoder/tokenizer_int.h"

typedef enum ClusterClass
{
	CLASS_ALONE,
	CLASS_CONTROL,
	CLASS_EXTEND,
	CLASS_JOINER, /* U+200D */
	CLASS_SPACING_MARK,
	CLASS_PREPEND,
	CLASS_LEADING_JAMO,
	CLASS_VOWEL_JAMO,
	CLASS_TRAILING_JAMO,
	CLASS_SYLLABLE, /* of two parts; a vowel or a trailing part may follow */
	CLASS_FULL_SYLLABLE,
	CLASS_PICTOGRAPH
} ClusterClass;

typedef struct Range
{
	int32_t first;
	int32_t last;
	ClusterClass class;
} Range;

#define X CLASS_EXTEND
#define M CLASS_SPACING_MARK
#define P CLASS_PICTOGRAPH

/* What differs from Unicode 15, and what is set aside for pictographs. */
static const Range changed[] = {
	{0x0897, 0x0897, X},   {0x0CC0, 0x0CC0, X},	  {0x0CC7, 0x0CC8, X},
	{0x0CCA, 0x0CCB, X},   {0x1715, 0x1715, X},	  {0x1734, 0x1734, X},
	{0x1B3B, 0x1B3B, X},   {0x1B3D, 0x1B3D, X},	  {0x1B43, 0x1B44, X},
	{0x1BAA, 0x1BAA, X},   {0x1BF2, 0x1BF3, X},	  {0x2065, 0x2065, CLASS_CONTROL},
	{0xA953, 0xA953, X},   {0xA9C0, 0xA9C0, X},	  {0xFFF0, 0xFFF8, CLASS_CONTROL},
	{0x10D69, 0x10D6D, X}, {0x10EFC, 0x10EFC, X}, {0x111C0, 0x111C0, X},
	{0x11235, 0x11235, X}, {0x1134D, 0x1134D, X}, {0x113B8, 0x113B8, X},
	{0x113B9, 0x113BA, M}, {0x113BB, 0x113C0, X}, {0x113C2, 0x113C2, X},
	{0x113C5, 0x113C5, X}, {0x113C7, 0x113C9, X}, {0x113CA, 0x113CA, M},
	{0x113CC, 0x113CD, M}, {0x113CE, 0x113D0, X}, {0x113D1, 0x113D1, CLASS_PREPEND},
	{0x113D2, 0x113D2, X}, {0x113E1, 0x113E2, X}, {0x116B6, 0x116B6, X},
	{0x1171E, 0x1171E, M}, {0x1193D, 0x1193D, X}, {0x11F41, 0x11F41, X},
	{0x11F5A, 0x11F5A, X}, {0x1611E, 0x16129, X}, {0x1612A, 0x1612C, M},
	{0x1612D, 0x1612F, X}, {0x16FF0, 0x16FF1, X}, {0x1D166, 0x1D166, X},
	{0x1D16D, 0x1D16D, X}, {0x1E5EE, 0x1E5EF, X}, {0x1F02C, 0x1F02F, P},
	{0x1F094, 0x1F09F, P}, {0x1F0AF, 0x1F0B0, P}, {0x1F0C0, 0x1F0C0, P},
	{0x1F0D0, 0x1F0D0, P}, {0x1F0F6, 0x1F0FF, P}, {0x1F1AE, 0x1F1E5, P},
	{0x1F203, 0x1F20F, P}, {0x1F23C, 0x1F23F, P}, {0x1F249, 0x1F24F, P},
	{0x1F252, 0x1F25F, P}, {0x1F266, 0x1F2FF, P}, {0x1F6D8, 0x1F6DB, P},
	{0x1F6ED, 0x1F6EF, P}, {0x1F6FD, 0x1F6FF, P}, {0x1F777, 0x1F77A, P},
	{0x1F7DA, 0x1F7DF, P}, {0x1F7EC, 0x1F7EF, P}, {0x1F7F1, 0x1F7FF, P},
	{0x1F80C, 0x1F80F, P}, {0x1F848, 0x1F84F, P}, {0x1F85A, 0x1F85F, P},
	{0x1F888, 0x1F88F, P}, {0x1F8AE, 0x1F8AF, P}, {0x1F8B2, 0x1F8FF, P},
	{0x1FA54, 0x1FA5F, P}, {0x1FA6E, 0x1FA6F, P}, {0x1FA7D, 0x1FA7F, P},
	{0x1FA89, 0x1FA8F, P}, {0x1FABE, 0x1FABE, P}, {0x1FAC6, 0x1FACD, P},
	{0x1FADC, 0x1FADF, P}, {0x1FAE9, 0x1FAEF, P}, {0x1FAF9, 0x1FAFF, P},
	{0x1FC00, 0x1FFFD, P},
};

/* Consonants that a virama of their script joins (Indic_Conjunct_Break). */
static const int32_t consonants[][2] = {
	{0x0915, 0x0939}, {0x0958, 0x095F}, {0x0978, 0x097F}, {0x0995, 0x09A8}, {0x09AA, 0x09B0},
	{0x09B2, 0x09B2}, {0x09B6, 0x09B9}, {0x09DC, 0x09DD}, {0x09DF, 0x09DF}, {0x09F0, 0x09F1},
	{0x0A95, 0x0AA8}, {0x0AAA, 0x0AB0}, {0x0AB2, 0x0AB3}, {0x0AB5, 0x0AB9}, {0x0AF9, 0x0AF9},
	{0x0B15, 0x0B28}, {0x0B2A, 0x0B30}, {0x0B32, 0x0B33}, {0x0B35, 0x0B39}, {0x0B5C, 0x0B5D},
	{0x0B5F, 0x0B5F}, {0x0B71, 0x0B71}, {0x0C15, 0x0C28}, {0x0C2A, 0x0C39}, {0x0C58, 0x0C5A},
	{0x0D15, 0x0D3A},
};

#undef X
#undef M
#undef P

static ClusterClass
class_by_utf8proc(int32_t character)
{
	switch (utf8proc_get_property(character)->boundclass)
	{
		case UTF8PROC_BOUNDCLASS_CR:
		case UTF8PROC_BOUNDCLASS_LF:
		case UTF8PROC_BOUNDCLASS_CONTROL:
			return CLASS_CONTROL;
		case UTF8PROC_BOUNDCLASS_EXTEND:
			return CLASS_EXTEND;
		case UTF8PROC_BOUNDCLASS_ZWJ:
			return CLASS_JOINER;
		case UTF8PROC_BOUNDCLASS_SPACINGMARK:
			return CLASS_SPACING_MARK;
		case UTF8PROC_BOUNDCLASS_PREPEND:
			return CLASS_PREPEND;
		case UTF8PROC_BOUNDCLASS_L:
			return CLASS_LEADING_JAMO;
		case UTF8PROC_BOUNDCLASS_V:
			return CLASS_VOWEL_JAMO;
		case UTF8PROC_BOUNDCLASS_T:
			return CLASS_TRAILING_JAMO;
		case UTF8PROC_BOUNDCLASS_LV:
			return CLASS_SYLLABLE;
		case UTF8PROC_BOUNDCLASS_LVT:
			return CLASS_FULL_SYLLABLE;
		case UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC:
			return CLASS_PICTOGRAPH;
		default:
			return CLASS_ALONE;
	}
}

static ClusterClass
class_of(int32_t character)
{
	int low = 0;
	int high = (int) (sizeof(changed) / sizeof(changed[0])) - 1;

	if (character < 0x80)
		return character >= ' ' && character < 0x7F ? CLASS_ALONE : CLASS_CONTROL;
	while (low <= high)
	{
		int middle = (low + high) / 2;

		if (character < changed[middle].first)
			high = middle - 1;
		else if (character > changed[middle].last)
			low = middle + 1;
		else
			return changed[middle].class;
	}
	return class_by_utf8proc(character);
}

static bool
is_consonant(int32_t character)
{
	if (character < 0x0915 || character > 0x0D3A)
		return false;
	for (size_t i = 0; i < sizeof(consonants) / sizeof(consonants[0]); i++)
		if (character >= consonants[i][0] && character <= consonants[i][1])
			return true;
	return false;
}

static bool
is_virama(int32_t character)
{
	return character == 0x094D || character == 0x09CD || character == 0x0ACD ||
		character == 0x0B4D || character == 0x0C4D || character == 0x0D4D;
}

/* What the characters of a cluster so far say about the next one. */
typedef struct Cluster
{
	ClusterClass last;
	bool pictograph; /* nothing but marks has followed a pictograph */
	bool consonant;	 /* nothing but marks has followed a consonant */
	bool virama;	 /* one of them a virama */
} Cluster;

static void
take(Cluster *cluster, int32_t character, ClusterClass class)
{
	bool mark = class == CLASS_EXTEND || class == CLASS_JOINER;

	cluster->pictograph = class == CLASS_PICTOGRAPH ||
		(cluster->pictograph && class == CLASS_EXTEND) ||
		(cluster->pictograph && class == CLASS_JOINER && cluster->last != CLASS_JOINER);
	if (is_consonant(character))
	{
		cluster->consonant = true;
		cluster->virama = false;
	}
	else if (!mark || character == 0x200C)
		cluster->consonant = false;
	cluster->virama |= is_virama(character);
	cluster->last = class;
}

/* Whether the rules join a character to the cluster before it. */
static bool
joins(const Cluster *cluster, int32_t character, ClusterClass class)
{
	ClusterClass last = cluster->last;

	if (last == CLASS_CONTROL || class == CLASS_CONTROL)
		return false;
	if (class == CLASS_EXTEND || class == CLASS_JOINER || class == CLASS_SPACING_MARK ||
		last == CLASS_PREPEND)
		return true;
	if (last == CLASS_LEADING_JAMO)
		return class == CLASS_LEADING_JAMO || class == CLASS_VOWEL_JAMO ||
			class == CLASS_SYLLABLE || class == CLASS_FULL_SYLLABLE;
	if (last == CLASS_SYLLABLE || last == CLASS_VOWEL_JAMO)
		return class == CLASS_VOWEL_JAMO || class == CLASS_TRAILING_JAMO;
	if (last == CLASS_FULL_SYLLABLE || last == CLASS_TRAILING_JAMO)
		return class == CLASS_TRAILING_JAMO;
	if (last == CLASS_JOINER && class == CLASS_PICTOGRAPH && cluster->pictograph)
		return true;
	return is_consonant(character) && cluster->consonant && cluster->virama;
}

size_t
br_encoder_grapheme_end(const char *text, size_t at, size_t size)
{
	Cluster cluster = {CLASS_ALONE, false, false, false};
	int length;
	int32_t character = br_encoder_decode(text + at, &length);

	at += (size_t) length;
	/* between characters of ASCII is always an end, but for the one that ends lines */
	if (character < 0x80 && at < size && (unsigned char) text[at] < 0x80)
		return at + (character == '\r' && text[at] == '\n');

	take(&cluster, character, class_of(character));
	while (at < size)
	{
		ClusterClass class;

		character = br_encoder_decode(text + at, &length);
		class = class_of(character);
		if (!joins(&cluster, character, class))
			break;
		take(&cluster, character, class);
		at += (size_t) length;
	}
	return at;
}

bool
br_encoder_stands_alone(int32_t character)
{
	return class_of(character) == CLASS_ALONE;
}

bool
br_encoder_is_prepended(int32_t character)
{
	return class_of(character) == CLASS_PREPEND;
}
