/*
 * wordpiece.c
 *	  WordPiece: words, then the longest pieces of them that are tokens.
 *
 * Words end at whitespace; a punctuation character is a word of its own.
 * Within a word the longest beginning that is a token is taken, then the
 * longest continuation (a token that begins with the prefix, "##"), and so
 * on; a word that cannot be covered, or is too long, is one unknown token.
 * The hash goes from left to right, so one pass over what is left of a word
 * gives the hashes of all its beginnings.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/*
 * The longest token that text begins with, in at most room bytes; its number,
 * -1: none. *taken: its bytes, without the prefix.
 */
static int
longest_piece(const BrTokenizer *tokenizer, BrTokenWork *work, bool continued, const char *text,
			  size_t room, size_t *taken)
{
	const BrImageConfig *config = tokenizer->config;
	size_t prefix_size = continued ? config->prefix_size : 0;
	uint32_t hash = BR_HASH_SEED;
	size_t n = 0;
	size_t end;

	for (size_t i = 0; i < prefix_size; i++)
		hash = br_encoder_hash_byte(hash, (unsigned char) config->prefix[i]);

	for (end = 0; end < room;)
	{
		hash = br_encoder_hash_byte(hash, (unsigned char) text[end++]);
		if (end == room || ((unsigned char) text[end] & 0xC0) != 0x80)
			work->hashes[n++] = hash;
	}

	while (n > 0)
	{
		int token = br_encoder_find_token(tokenizer, work->hashes[--n], config->prefix, prefix_size,
										  text, end);

		if (token >= 0)
		{
			*taken = end;
			return token;
		}
		do
			end--;
		while (end > 0 && ((unsigned char) text[end] & 0xC0) == 0x80);
	}
	return -1;
}

static BrStatus
encode_word(const BrTokenizer *tokenizer, BrTokenWork *work, const char *word, size_t size,
			size_t characters)
{
	size_t begin = work->n_ids;
	size_t at = 0;

	if (characters > tokenizer->config->max_word_characters)
		return br_encoder_append_id(work, tokenizer->config->unknown_id);

	while (at < size)
	{
		size_t taken = 0;
		int token = longest_piece(tokenizer, work, at > 0, word + at, size - at, &taken);
		BrStatus status;

		if (token < 0)
		{
			work->n_ids = begin;
			return br_encoder_append_id(work, tokenizer->config->unknown_id);
		}
		status = br_encoder_append_id(work, tokenizer->tokens[token].id);
		if (status != BR_OK)
			return status;
		at += taken;
	}
	return BR_OK;
}

BrStatus
br_encoder_wordpiece(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text, size_t size)
{
	BrStatus status = BR_OK;
	size_t begin = 0; /* of the word */
	size_t characters = 0;
	size_t at = 0;

	while (at < size && status == BR_OK && work->n_ids < work->room)
	{
		int length;
		int32_t character = br_encoder_decode(text + at, &length);
		bool space = br_encoder_is_whitespace(character);

		if (!space && !br_encoder_is_punctuation(character))
		{
			at += (size_t) length;
			characters++;
			continue;
		}
		if (characters > 0)
			status = encode_word(tokenizer, work, text + begin, at - begin, characters);
		if (!space && status == BR_OK)
			status = encode_word(tokenizer, work, text + at, (size_t) length, 1);
		at += (size_t) length;
		begin = at;
		characters = 0;
	}
	if (characters > 0 && status == BR_OK && work->n_ids < work->room)
		status = encode_word(tokenizer, work, text + begin, size - begin, characters);
	return status;
}
