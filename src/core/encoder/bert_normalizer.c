/*
 * bert_normalizer.c
 *	  The normaliser of BERT, as Hugging Face's BertNormalizer.
 *
 * One character at a time passes a chain: drop control characters and make
 * whitespace plain, put spaces around ideographs, decompose and drop
 * nonspacing marks, lower case. Marks that remain after decomposing wait for
 * the next character of class 0 and are then put into canonical order; since
 * that order is stable, dropping the others before sorting changes nothing.
 */
#include <stdlib.h>

#include "core/encoder/tokenizer_int.h"

/* Last station: lower case, and into the text. */
static BrStatus
emit(const BrImageConfig *config, BrTokenWork *work, int32_t character)
{
	int32_t lower[2] = {character, 0};
	int n = 1;
	char bytes[8];
	int size = 0;

	if (config->flags & BR_BERT_LOWERCASE)
		n = br_encoder_lower(character, lower);
	for (int i = 0; i < n; i++)
		size += br_encoder_encode_character(lower[i], bytes + size);
	return br_encoder_append_text(work, bytes, (size_t) size);
}

static int
compare_marks(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *) left;
	uint64_t b = *(const uint64_t *) right;

	return (a > b) - (a < b);
}

/* A waiting mark: class, place in the sequence, character. */
#define MARK_CHARACTER_BITS 21
#define MARK_PLACE_BITS 34

static BrStatus
flush_marks(const BrImageConfig *config, BrTokenWork *work)
{
	BrStatus status = BR_OK;

	if (work->n_marks > 1)
		qsort(work->marks, work->n_marks, sizeof(work->marks[0]), compare_marks);
	for (size_t i = 0; i < work->n_marks && status == BR_OK; i++)
		status = emit(config, work,
					  (int32_t) (work->marks[i] & ((UINT64_C(1) << MARK_CHARACTER_BITS) - 1)));
	work->n_marks = 0;
	return status;
}

static BrStatus
decompose(const BrImageConfig *config, BrTokenWork *work, int32_t character)
{
	int32_t parts[BR_DECOMPOSED_MAX];
	int n = br_encoder_decompose(character, parts);
	BrStatus status = BR_OK;

	for (int i = 0; i < n && status == BR_OK; i++)
	{
		int class;

		if (br_encoder_is_nonspacing_mark(parts[i]))
			continue;
		class = br_encoder_combining_class(parts[i]);
		if (class > 0)
		{
			uint64_t place = (uint64_t) work->n_marks << MARK_CHARACTER_BITS;

			status =
				br_encoder_append_mark(work,
									   (uint64_t) class << (MARK_CHARACTER_BITS + MARK_PLACE_BITS) |
										   place | (uint64_t) parts[i]);
			continue;
		}
		if (work->n_marks > 0)
			status = flush_marks(config, work);
		if (status == BR_OK)
			status = emit(config, work, parts[i]);
	}
	return status;
}

static BrStatus
accent_station(const BrImageConfig *config, BrTokenWork *work, int32_t character)
{
	if (config->flags & BR_BERT_STRIP_ACCENTS)
		return decompose(config, work, character);
	return emit(config, work, character);
}

static BrStatus
normalize_character(const BrImageConfig *config, BrTokenWork *work, int32_t character)
{
	BrStatus status = BR_OK;
	bool spaced;

	if (config->flags & BR_BERT_CLEAN_TEXT)
	{
		if (character == '\t' || character == '\n' || character == '\r')
			character = ' ';
		else if (character == 0xFFFD || br_encoder_is_control(character))
			return BR_OK;
		else if (br_encoder_is_whitespace(character))
			character = ' ';
	}

	spaced = (config->flags & BR_BERT_SPACE_CJK) && br_encoder_is_cjk(character);
	if (spaced)
		status = accent_station(config, work, ' ');
	if (status == BR_OK)
		status = accent_station(config, work, character);
	if (status == BR_OK && spaced)
		status = accent_station(config, work, ' ');
	return status;
}

/* Printable ASCII is a letter to lower or itself, and ends the wait of marks. */
static BrStatus
normalize_plain(const BrImageConfig *config, BrTokenWork *work, char byte)
{
	if (work->n_marks > 0)
	{
		BrStatus status = flush_marks(config, work);

		if (status != BR_OK)
			return status;
	}
	if ((config->flags & (BR_BERT_LOWERCASE | BR_BERT_LOWERCASE_FIRST)) && byte >= 'A' &&
		byte <= 'Z')
		byte = (char) (byte + ('a' - 'A'));
	return br_encoder_append_text(work, &byte, 1);
}

BrStatus
br_encoder_bert_normalize(const BrNormalizer *normalizer, BrTokenWork *work, const char *piece,
						  size_t size)
{
	const BrImageConfig *config = normalizer->config;
	BrStatus status = BR_OK;
	size_t at = 0;

	work->text_size = 0;
	while (at < size && status == BR_OK)
	{
		int32_t lower[2];
		int n = 1;
		int length = 1;

		if (piece[at] >= ' ' && piece[at] < 0x7F)
			status = normalize_plain(config, work, piece[at]);
		else
		{
			lower[0] = br_encoder_decode(piece + at, &length);
			if (config->flags & BR_BERT_LOWERCASE_FIRST)
				n = br_encoder_lower(lower[0], lower);
			for (int i = 0; i < n && status == BR_OK; i++)
				status = normalize_character(config, work, lower[i]);
		}
		at += (size_t) length;
	}
	if (status == BR_OK)
		status = flush_marks(config, work);
	work->n_marks = 0;
	return status;
}
