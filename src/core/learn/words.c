/*
 * words.c
 *	  Words of a text, folded so that spellings of one word are one.
 *
 * A text is folded as Unicode's NFKC_Casefold: compatibility forms become plain
 * ones, capitals small letters, and what is invisible goes away. Words are then
 * the runs of letters, marks and numbers.
 *
 * Folding is done piece by piece rather than at once, so that a word can be
 * shown as it was spelled. A piece ends at a character whose folding holds no
 * letter, mark or number, hence no word reaches over its end.
 */
#include <string.h>

#include <utf8proc.h>

#include "core/learn/words_int.h"

/* More than the longest folding of a character, which has 18. */
#define FOLDED_CHARACTERS 32

/* Longer pieces are cut: sorting the marks of one takes the square of its length. */
#define PIECE_MAX_SIZE 1024

/* Words between two questions whether to stop. */
#define WORDS_A_CHECK 1000

#define FOLDING \
	(UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE)

void
br_learn_word_reader_init(BrWordReader *reader, BrContext *context)
{
	memset(reader, 0, sizeof(*reader));
	reader->context = context;
}

void
br_learn_word_reader_free(BrWordReader *reader)
{
	br_base_free(reader->context, reader->characters);
	reader->characters = NULL;
	reader->room = 0;
}

void
br_learn_word_reader_start(BrWordReader *reader, BrText text)
{
	reader->text = text;
	reader->at = 0;
	reader->folded = (BrText){NULL, 0};
	reader->folded_at = 0;
}

static bool
is_ascii_word(unsigned char character)
{
	return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
		(character >= '0' && character <= '9');
}

static bool
is_mark(int32_t character)
{
	utf8proc_category_t category = utf8proc_category(character);

	return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
		category == UTF8PROC_CATEGORY_ME;
}

static bool
is_letter_or_number(int32_t character)
{
	switch (utf8proc_category(character))
	{
		case UTF8PROC_CATEGORY_LU:
		case UTF8PROC_CATEGORY_LL:
		case UTF8PROC_CATEGORY_LT:
		case UTF8PROC_CATEGORY_LM:
		case UTF8PROC_CATEGORY_LO:
		case UTF8PROC_CATEGORY_ND:
		case UTF8PROC_CATEGORY_NL:
		case UTF8PROC_CATEGORY_NO:
			return true;
		default:
			return false;
	}
}

/* Characters that fold to nothing, such as a soft hyphen, do not end a piece. */
static bool
continues_piece(int32_t character)
{
	utf8proc_int32_t folded[FOLDED_CHARACTERS];
	int boundary = 0;
	utf8proc_ssize_t n;

	n = utf8proc_decompose_char(character, folded, FOLDED_CHARACTERS, FOLDING, &boundary);
	for (utf8proc_ssize_t i = 0; i < n; i++)
		if (is_letter_or_number(folded[i]) || is_mark(folded[i]))
			return true;
	return n == 0;
}

/* Steps over one character: its length, and whether it is part of a piece; -1: not UTF-8. */
static int
step(const BrWordReader *reader, size_t at, bool *inside)
{
	const unsigned char *bytes = (const unsigned char *) reader->text.bytes + at;
	utf8proc_int32_t character;
	utf8proc_ssize_t length;
	size_t left = reader->text.size - at;

	if (bytes[0] < 0x80)
	{
		*inside = is_ascii_word(bytes[0]);
		return 1;
	}
	length = utf8proc_iterate(bytes, left < 4 ? (utf8proc_ssize_t) left : 4, &character);
	if (length <= 0)
		return -1;
	*inside = continues_piece(character);
	return (int) length;
}

/* *found: there was another piece; *ascii: it is plain. */
static BrStatus
find_piece(BrWordReader *reader, bool *found, bool *ascii)
{
	const char *bytes = reader->text.bytes;
	size_t begin = reader->at;

	*found = false;
	*ascii = true;
	while (reader->at < reader->text.size && reader->at - begin < PIECE_MAX_SIZE)
	{
		bool inside = false;
		int length = step(reader, reader->at, &inside);

		if (length < 0)
			return br_base_fail(reader->context, BR_ERR_ARGUMENT,
								"A text is not valid UTF-8 at byte %zu.", reader->at);
		if (inside)
			*ascii = *ascii && length == 1;
		else if (*found)
			break;
		else
			begin = reader->at + (size_t) length;
		reader->at += (size_t) length;
		*found = *found || inside;
	}
	reader->piece = (BrText){bytes + begin, reader->at - begin};
	return BR_OK;
}

static BrStatus
make_room(BrWordReader *reader, size_t characters)
{
	if (characters <= reader->room)
		return BR_OK;
	br_base_free(reader->context, reader->characters);
	reader->room = 0;
	/* reencoding ends the text with a zero, for which there must be room */
	reader->characters = br_base_alloc(reader->context, sizeof(int32_t) * (characters + 1));
	if (reader->characters == NULL)
		return BR_ERR_MEMORY;
	reader->room = characters;
	return BR_OK;
}

static BrStatus
fold_piece(BrWordReader *reader, bool ascii)
{
	const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *) reader->piece.bytes;
	size_t size = reader->piece.size;
	utf8proc_ssize_t n;
	BrStatus status = make_room(reader, size < 64 ? 64 : size);

	if (status != BR_OK)
		return status;
	reader->folded = (BrText){(const char *) reader->characters, size};
	reader->folded_at = 0;
	if (ascii)
	{
		char *folded = (char *) reader->characters;

		for (size_t i = 0; i < size; i++)
			folded[i] = (char) (bytes[i] >= 'A' && bytes[i] <= 'Z' ? bytes[i] + 32 : bytes[i]);
		return BR_OK;
	}
	n = utf8proc_decompose(bytes, (utf8proc_ssize_t) size, reader->characters,
						   (utf8proc_ssize_t) reader->room, FOLDING);
	if (n > (utf8proc_ssize_t) reader->room)
	{
		status = make_room(reader, (size_t) n);
		if (status != BR_OK)
			return status;
		n = utf8proc_decompose(bytes, (utf8proc_ssize_t) size, reader->characters,
							   (utf8proc_ssize_t) reader->room, FOLDING);
	}
	if (n >= 0)
		n = utf8proc_reencode(reader->characters, n, FOLDING);
	if (n < 0)
		return br_base_fail(reader->context, BR_ERR_ARGUMENT, "A text cannot be folded: %s.",
							utf8proc_errmsg(n));
	reader->folded = (BrText){(const char *) reader->characters, (size_t) n};
	return BR_OK;
}

/*
 * The next word of a folded text from *at on, which moves behind it; false:
 * there is none. A mark alone begins no word, as it belongs to a separator.
 */
static bool
next_word(BrText text, size_t *at, BrText *word)
{
	const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *) text.bytes;
	size_t begin = text.size;
	size_t end = text.size;

	while (*at < text.size)
	{
		utf8proc_int32_t character;
		utf8proc_ssize_t length =
			utf8proc_iterate(bytes + *at, (utf8proc_ssize_t) (text.size - *at), &character);
		bool inside;

		inside = is_letter_or_number(character) || (begin < text.size && is_mark(character));
		if (!inside && begin < text.size)
			break;
		if (inside && begin == text.size)
			begin = *at;
		/* what is longer keeps its beginning */
		if (inside && *at + (size_t) length - begin <= BR_WORD_MAX_SIZE)
			end = *at + (size_t) length;
		*at += (size_t) length;
	}
	if (begin == text.size)
		return false;
	*word = (BrText){text.bytes + begin, end - begin};
	return true;
}

BrStatus
br_learn_word_reader_next(BrWordReader *reader, BrWord *word)
{
	BrText folded;
	BrText another;
	size_t behind;
	bool first;

	memset(word, 0, sizeof(*word));
	while (first = reader->folded_at == 0, !next_word(reader->folded, &reader->folded_at, &folded))
	{
		bool found;
		bool ascii;
		BrStatus status = find_piece(reader, &found, &ascii);

		if (status == BR_OK && found)
			status = fold_piece(reader, ascii);
		if (status != BR_OK)
			return status;
		if (!found)
			return BR_OK;
	}
	word->folded = folded.bytes;
	word->size = (int) folded.size;

	/* a piece of several words, such as a fraction, does not tell where each stands */
	behind = reader->folded_at;
	if (first && !next_word(reader->folded, &behind, &another))
		word->spelled = reader->piece;
	if (++reader->words % WORDS_A_CHECK == 0 && br_base_cancelled(reader->context))
		return br_base_fail(reader->context, BR_ERR_CANCELLED, "Reading words was cancelled.");
	return BR_OK;
}
