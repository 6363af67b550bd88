/*
 * unigram.c
 *	  Unigram: of all ways to cover a piece of text with tokens the one with the
 *	  highest sum of scores.
 *
 * Spaces become the replacement ("\u2581"), and each piece begins with one.
 * Going through a piece from left to right, the best way to each place is
 * known when its turn comes: it is made longer by every token that the text
 * begins with there, and by an unknown character where no token is just one
 * character. Of ways with equal sums the first one found stays. Unknown
 * characters side by side are one token.
 *
 * A way is kept as the length of the last token to each place, in a path; of
 * the sums only those that can still be reached are there, in a ring. Of a long
 * piece the places that all ways lead through are settled from time to time, so
 * that a window of it is in memory, and nothing more is looked at once the ids
 * are complete. Where ways never meet, as in one character repeated, the path
 * is four bytes for each byte of the piece.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* Bytes of a piece between two attempts to settle its beginning. */
#define SETTLE_INTERVAL 8192

#define UNKNOWN (-1)

/* In a path: marks a place on the best way. No token is so long. */
#define CHOSEN (UINT32_C(1) << 31)

/* One piece on its way to ids. */
typedef struct Piece
{
	const BrTokenizer *tokenizer;
	BrTokenWork *work;
	const char *text;
	size_t size;
	size_t base;		  /* place of work->path[0] in text */
	size_t n_scores;	  /* of work->scores, which is a ring */
	size_t unknown_begin; /* a run of unknown characters that is not yet a token */
	size_t unknown_end;
} Piece;

/* ---- tokens of a text ---- */

/* The child of a node by its label, NULL: none. */
static const BrImageNode *
find_child(const BrTokenizer *tokenizer, const BrImageNode *node, uint8_t label)
{
	const BrImageNode *children = tokenizer->nodes + node->children;
	uint32_t low = 0;
	uint32_t high = node->n_children;

	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (children[middle].label == label)
			return &children[middle];
		if (children[middle].label < label)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Whether a token may stand for text that the caller has not marked as special. */
static bool
may_use(const Piece *piece, int32_t token)
{
	return !piece->work->plain || !(piece->tokenizer->tokens[token].flags & BR_TOKEN_SPECIAL);
}

/* ---- from the best way to ids ---- */

/* The token that covers text[at ..] for length bytes on the best way, UNKNOWN: none does. */
static int32_t
token_at(const Piece *piece, size_t at, size_t length)
{
	uint32_t hash = BR_HASH_SEED;
	int32_t token;

	for (size_t i = 0; i < length; i++)
		hash = br_encoder_hash_byte(hash, (unsigned char) piece->text[at + i]);
	token = br_encoder_find_token(piece->tokenizer, hash, "", 0, piece->text + at, length);
	return token >= 0 && may_use(piece, token) ? token : UNKNOWN;
}

static BrStatus
flush_unknown(Piece *piece)
{
	const BrTokenizer *tokenizer = piece->tokenizer;
	size_t begin = piece->unknown_begin;
	size_t size = piece->unknown_end - begin;
	int32_t token = UNKNOWN;

	piece->unknown_begin = piece->unknown_end;
	if (size == 0)
		return BR_OK;
	/* together they may be a token after all, as they are not one by one */
	if (size <= tokenizer->config->longest_token)
		token = token_at(piece, begin, size);
	return br_encoder_append_id(piece->work,
								token == UNKNOWN ? tokenizer->config->unknown_id
												 : tokenizer->tokens[token].id);
}

static BrStatus
append_token(Piece *piece, size_t at, size_t length)
{
	const BrTokenizer *tokenizer = piece->tokenizer;
	int32_t token = token_at(piece, at, length);
	BrStatus status;

	if (token == UNKNOWN || tokenizer->tokens[token].id == tokenizer->config->unknown_id)
	{
		if (piece->unknown_begin == piece->unknown_end)
			piece->unknown_begin = at;
		piece->unknown_end = at + length;
		return BR_OK;
	}
	status = flush_unknown(piece);
	if (status == BR_OK)
		status = br_encoder_append_id(piece->work, tokenizer->tokens[token].id);
	return status;
}

/* Appends the tokens of the best way from the base to end, which becomes the base. */
static BrStatus
settle(Piece *piece, size_t end)
{
	uint32_t *path = piece->work->path;
	size_t n = end - piece->base;
	uint32_t length = path[n];
	BrStatus status = BR_OK;

	/* the way is known from its end: turn it round */
	for (size_t at = n; at > 0;)
	{
		size_t before = at - length;
		uint32_t further = path[before];

		path[before] = length;
		length = further;
		at = before;
	}
	for (size_t at = 0; at < n && status == BR_OK && piece->work->n_ids < piece->work->room;)
	{
		status = append_token(piece, piece->base + at, path[at]);
		at += path[at];
	}
	piece->base = end;
	return status;
}

/*
 * The last place that all ways lead through which may still become the best:
 * those to text[at] and, by a token that begins before, to places behind it,
 * of which the path has filled from its base on.
 */
static size_t
common_place(const Piece *piece, size_t at, size_t filled)
{
	uint32_t *path = piece->work->path;
	size_t here = at - piece->base;
	size_t common = here;

	for (size_t i = here; i > 0; i -= path[i] & ~CHOSEN)
		path[i] |= CHOSEN;
	path[0] |= CHOSEN;
	for (size_t end = here + 1; end < filled; end++)
	{
		size_t i = end;

		if (path[end] == 0)
			continue;
		while (!(path[i] & CHOSEN))
			i -= path[i];
		common = i < common ? i : common;
	}
	for (size_t i = here; i > 0; i -= path[i])
		path[i] &= ~CHOSEN;
	path[0] &= ~CHOSEN;
	return piece->base + common;
}

/* Room for the path from the base to size bytes behind it, what is new of it empty. */
static BrStatus
reserve_path(BrTokenWork *work, size_t used, size_t size)
{
	void *path = work->path;
	BrStatus status = br_encoder_grow(work->context, &path, &work->path_capacity, used, size - used,
									  sizeof(uint32_t));

	work->path = path;
	if (status == BR_OK)
		memset(work->path + used, 0, (size - used) * sizeof(uint32_t));
	return status;
}

/* Settles what can be of the piece before at; *filled: nodes of the path in use, from the base. */
static BrStatus
advance(Piece *piece, size_t at, size_t *filled)
{
	size_t base = piece->base;
	size_t moved = common_place(piece, at, *filled) - base;
	BrStatus status = BR_OK;

	if (br_base_cancelled(piece->work->context))
		return br_base_fail(piece->work->context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
	if (moved > 0)
	{
		status = settle(piece, base + moved);
		memmove(piece->work->path, piece->work->path + moved, (*filled - moved) * sizeof(uint32_t));
		*filled -= moved;
	}
	return status;
}

/* ---- the best way ---- */

/* A way to text[at] of this score, whose last token has length bytes. */
static void
reach(const Piece *piece, size_t at, double score, size_t length)
{
	uint32_t *last = &piece->work->path[at - piece->base];
	double *best = &piece->work->scores[at % piece->n_scores];

	if (*last == 0 || score > *best)
	{
		*best = score;
		*last = (uint32_t) length;
	}
}

/* Makes the best way to text[at] longer, where a character of this many bytes stands. */
static void
extend(const Piece *piece, size_t at, size_t character)
{
	const BrTokenizer *tokenizer = piece->tokenizer;
	const BrImageNode *state = tokenizer->nodes;
	double score = at == 0 ? 0 : piece->work->scores[at % piece->n_scores];
	size_t room = piece->size - at;
	bool single = false;

	if (room > tokenizer->config->longest_token)
		room = tokenizer->config->longest_token;
	for (size_t i = 1; i <= room; i++)
	{
		state = find_child(tokenizer, state, (uint8_t) piece->text[at + i - 1]);
		if (state == NULL)
			break;
		if (state->token < 0 || !may_use(piece, state->token))
			continue;
		reach(piece, at + i, tokenizer->scores[state->token] + score, i);
		single |= i == character;
	}
	if (!single)
		reach(piece, at + character, tokenizer->config->unknown_score + score, character);
}

static BrStatus
encode_piece(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text, size_t size)
{
	Piece piece = {.tokenizer = tokenizer, .work = work, .text = text, .size = size};
	size_t longest = tokenizer->config->longest_token < 4 ? 4 : tokenizer->config->longest_token;
	void *scores = work->scores;
	size_t filled = 0;
	size_t look = SETTLE_INTERVAL;
	size_t at = 0;
	BrStatus status;

	longest = longest < size ? longest : size;
	piece.n_scores = longest + 1;
	status = br_encoder_grow(work->context, &scores, &work->scores_capacity, 0, piece.n_scores,
							 sizeof(double));
	work->scores = scores;
	while (at < size && status == BR_OK && work->n_ids < work->room)
	{
		int character;
		size_t wanted;

		if (at >= look)
		{
			status = advance(&piece, at, &filled);
			/* where ways do not meet, what is looked through again grows along */
			look = at + SETTLE_INTERVAL + (at - piece.base);
			if (status != BR_OK || work->n_ids >= work->room)
				break;
		}
		wanted = at - piece.base + (size - at < longest ? size - at : longest) + 1;
		if (wanted > filled)
			status = reserve_path(work, filled, wanted);
		filled = wanted > filled ? wanted : filled;
		if (status != BR_OK)
			break;
		br_encoder_decode(text + at, &character);
		extend(&piece, at, (size_t) character);
		at += (size_t) character;
	}
	if (status == BR_OK && at == size && work->n_ids < work->room)
		status = settle(&piece, size);
	if (status == BR_OK && work->n_ids < work->room)
		status = flush_unknown(&piece);
	return status;
}

/* ---- pieces ---- */

/* Bytes of the piece that text begins with; in it is one replacement or space, in front. */
static size_t
piece_size(const BrImageConfig *config, const char *text, size_t size)
{
	size_t at = 0;

	if (!(config->flags & BR_UNIGRAM_SPLIT))
		return size;
	do
		at++;
	while (at < size && text[at] != ' ' &&
		   !(config->prefix_size <= size - at &&
			 memcmp(text + at, config->prefix, config->prefix_size) == 0));
	return at;
}

/* A text between whitespace, or all of it: spaces become replacements, and it is split there. */
static BrStatus
encode_words(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text, size_t size)
{
	const BrImageConfig *config = tokenizer->config;
	bool prepend = (config->flags & BR_UNIGRAM_PREPEND) && text[0] != ' ' &&
		!(config->prefix_size <= size && memcmp(text, config->prefix, config->prefix_size) == 0);
	size_t at = 0;
	BrStatus status = BR_OK;

	while (at < size && status == BR_OK && work->n_ids < work->room)
	{
		size_t end = at + piece_size(config, text + at, size - at);
		size_t room = (end - at + 1) * (config->prefix_size + 1);
		void *spare = work->spare;
		size_t n = 0;

		/* a piece that may hold many spaces is the whole text */
		if (config->flags & BR_UNIGRAM_SPLIT)
			room = end - at + 2 * config->prefix_size;
		status = br_encoder_grow(work->context, &spare, &work->spare_capacity, 0, room, 1);
		work->spare = spare;
		if (status != BR_OK)
			break;
		if (prepend && at == 0)
			for (; n < config->prefix_size; n++)
				work->spare[n] = config->prefix[n];
		for (; at < end; at++)
			if (text[at] != ' ')
				work->spare[n++] = text[at];
			else
				for (uint32_t i = 0; i < config->prefix_size; i++)
					work->spare[n++] = config->prefix[i];
		status = encode_piece(tokenizer, work, work->spare, n);
	}
	return status;
}

BrStatus
br_encoder_unigram(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text, size_t size)
{
	size_t begin = 0;
	size_t at = 0;
	BrStatus status = BR_OK;

	if (!(tokenizer->config->flags & BR_UNIGRAM_SPLIT_WHITESPACE))
		return size > 0 ? encode_words(tokenizer, work, text, size) : BR_OK;
	while (at < size && status == BR_OK && work->n_ids < work->room)
	{
		int length;
		bool space = br_encoder_is_whitespace(br_encoder_decode(text + at, &length));

		if (space && at > begin)
			status = encode_words(tokenizer, work, text + begin, at - begin);
		at += (size_t) length;
		begin = space ? at : begin;
	}
	if (begin < size && status == BR_OK && work->n_ids < work->room)
		status = encode_words(tokenizer, work, text + begin, size - begin);
	return status;
}

/* ---- windows ---- */

static bool
is_plain_letter(int32_t character)
{
	return br_encoder_stands_alone(character) &&
		(br_encoder_is_letter(character) || br_encoder_is_number(character));
}

/* Whether the character map leaves something of a character, and no whitespace. */
static bool
maps_to_word(const BrTokenizer *tokenizer, const char *text, size_t size)
{
	size_t length;
	const char *string = br_encoder_map_characters(&tokenizer->normalizer, text, size, &length);
	int bytes;

	if (string == NULL)
		return true;
	for (size_t at = 0; at < length; at += (size_t) bytes)
		if (br_encoder_is_whitespace(br_encoder_decode(string + at, &bytes)))
			return false;
	return length > 0;
}

/*
 * Before a lone space between letters or digits: it begins a piece, no cluster
 * reaches over it, and no rule that strips or joins spaces has a say in it.
 */
bool
br_encoder_unigram_cuts(const BrTokenizer *tokenizer, const char *text, size_t at, size_t size)
{
	uint32_t flags = tokenizer->config->flags;
	size_t letter;
	size_t before;
	int length;

	if (text[at] != ' ' || at + 1 >= size ||
		!(flags & (BR_UNIGRAM_SPLIT | BR_UNIGRAM_SPLIT_WHITESPACE)) ||
		!is_plain_letter(br_encoder_decode(text + at + 1, &length)) ||
		!is_plain_letter(br_encoder_decode_before(text, at, &letter)) || letter == 0 ||
		br_encoder_is_prepended(br_encoder_decode_before(text, letter, &before)))
		return false;
	return maps_to_word(tokenizer, text + letter, at - letter);
}
