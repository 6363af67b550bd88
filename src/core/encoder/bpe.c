/*
 * bpe.c
 *	  Byte-level byte pair encoding, as RoBERTa has it from GPT-2.
 *
 * A text is cut into words by a regular expression: the contractions 's 't 're
 * 've 'm 'll 'd; letters, numbers or other characters, each kind with one
 * space before it if there is one; whitespace, whose last character is left to
 * the word behind it. The bytes of a word are tokens; of all neighbours that
 * may be merged the pair of the lowest rank is, the leftmost of equal ones,
 * until none is left.
 *
 * Pairs wait in a heap by rank and place, so that a word of n bytes costs
 * n log n. A word is first cut where two bytes meet that no merge has side by
 * side: no token can reach over such a place, and of a long word without
 * spaces only the beginning is looked at.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* Merges of one word between two looks at the cancel flag. */
#define CANCEL_INTERVAL (1 << 16)

typedef enum CharacterKind
{
	KIND_LETTER,
	KIND_NUMBER,
	KIND_SPACE,
	KIND_OTHER
} CharacterKind;

/* ---- bytes as characters ---- */

/* Bytes that stand for themselves: those of Latin-1 that can be seen. */
static bool
is_visible(int byte)
{
	return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

int32_t
br_encoder_byte_character(int byte)
{
	int32_t hidden = 0;

	if (is_visible(byte))
		return byte;
	for (int other = 0; other < byte; other++)
		hidden += !is_visible(other);
	return BR_BYTE_VALUES + hidden;
}

int
br_encoder_character_byte(int32_t character)
{
	for (int byte = 0; byte < BR_BYTE_VALUES; byte++)
		if (br_encoder_byte_character(byte) == character)
			return byte;
	return -1;
}

/* ---- words ---- */

static CharacterKind
kind_at(const char *text, size_t at, int *length)
{
	int32_t character = br_encoder_decode(text + at, length);

	if (br_encoder_is_whitespace(character))
		return KIND_SPACE;
	if (br_encoder_is_letter(character))
		return KIND_LETTER;
	return br_encoder_is_number(character) ? KIND_NUMBER : KIND_OTHER;
}

/* Bytes of the contraction that text begins with, 0: none. */
static size_t
contraction(const char *text, size_t size)
{
	static const char *const endings[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
	{
		size_t length = strlen(endings[i]);

		if (length <= size && memcmp(text, endings[i], length) == 0)
			return length;
	}
	return 0;
}

/* Whitespace from at on: to the end of the text, or but for its last character. */
static size_t
spaces_end(const char *text, size_t at, size_t size)
{
	size_t end = at;
	size_t last = at;
	int length;

	while (end < size && kind_at(text, end, &length) == KIND_SPACE)
	{
		last = end;
		end += (size_t) length;
	}
	return end == size || last == at ? end : last;
}

/* End of the word that begins at text[at]. */
static size_t
word_end(const char *text, size_t at, size_t size)
{
	int length;
	size_t end = at;
	CharacterKind kind;

	if (text[at] == '\'' && contraction(text + at, size - at) > 0)
		return at + contraction(text + at, size - at);
	if (text[at] == ' ' && at + 1 < size)
		end++;
	kind = kind_at(text, end, &length);
	if (kind == KIND_SPACE)
		return spaces_end(text, at, size);
	do
		end += (size_t) length;
	while (end < size && kind_at(text, end, &length) == kind);
	return end;
}

/* A word takes a space from before it, but nothing reaches back over one. */
bool
br_encoder_bpe_cuts(const BrTokenizer *tokenizer, const char *text, size_t at, size_t size)
{
	size_t before;

	(void) tokenizer;
	(void) size;
	return text[at] == ' ' &&
		!br_encoder_is_whitespace(br_encoder_decode_before(text, at, &before));
}

/* ---- merging ---- */

/* The rank of a pair, -1: it is not merged. */
static int64_t
find_merge(const BrTokenizer *tokenizer, int32_t left, int32_t right)
{
	uint32_t mask = tokenizer->config->n_merge_slots - 1;
	uint32_t hash = br_encoder_hash_pair(left, right);

	if (tokenizer->config->n_merges == 0)
		return -1;
	for (uint32_t probe = 0; probe <= mask; probe++)
	{
		uint32_t slot = tokenizer->merge_slots[(hash + probe) & mask];

		if (slot == 0)
			break;
		if (tokenizer->merges[slot - 1].left == left && tokenizer->merges[slot - 1].right == right)
			return (int64_t) slot - 1;
	}
	return -1;
}

/* Enters the pair that begins at symbol at, if it is merged, into the heap. */
static BrStatus
push_pair(const BrTokenizer *tokenizer, BrTokenWork *work, int32_t at)
{
	const BrSymbol *symbols = work->symbols;
	int64_t rank;
	uint64_t waiting;
	size_t place;
	BrStatus status;

	if (at < 0 || symbols[at].next < 0)
		return BR_OK;
	rank = find_merge(tokenizer, symbols[at].id, symbols[symbols[at].next].id);
	if (rank < 0)
		return BR_OK;
	waiting = (uint64_t) rank << 32 | (uint32_t) at;
	status = br_encoder_append_mark(work, waiting);
	if (status != BR_OK)
		return status;

	for (place = work->n_marks - 1; place > 0 && work->marks[(place - 1) / 2] > waiting;
		 place = (place - 1) / 2)
		work->marks[place] = work->marks[(place - 1) / 2];
	work->marks[place] = waiting;
	return BR_OK;
}

static uint64_t
pop_pair(BrTokenWork *work)
{
	uint64_t first = work->marks[0];
	uint64_t moved = work->marks[--work->n_marks];
	size_t place = 0;

	for (;;)
	{
		size_t child = 2 * place + 1;

		if (child >= work->n_marks)
			break;
		if (child + 1 < work->n_marks && work->marks[child + 1] < work->marks[child])
			child++;
		if (work->marks[child] >= moved)
			break;
		work->marks[place] = work->marks[child];
		place = child;
	}
	work->marks[place] = moved;
	return first;
}

/* Merges the pair at symbol at, unless what stands there now would become another token. */
static BrStatus
merge_pair(const BrTokenizer *tokenizer, BrTokenWork *work, uint32_t rank, int32_t at)
{
	BrSymbol *symbol = &work->symbols[at];
	int32_t merged = tokenizer->merges[rank].merged;
	BrSymbol *right;
	int64_t now;
	BrStatus status;

	if (symbol->id < 0 || symbol->next < 0)
		return BR_OK;
	right = &work->symbols[symbol->next];
	now = find_merge(tokenizer, symbol->id, right->id);
	if (now < 0 || tokenizer->merges[now].merged != merged)
		return BR_OK;

	symbol->id = merged;
	symbol->next = right->next;
	right->id = -1;
	if (right->next >= 0)
		work->symbols[right->next].previous = at;
	status = push_pair(tokenizer, work, symbol->previous);
	if (status == BR_OK)
		status = push_pair(tokenizer, work, at);
	return status;
}

/* The tokens of single bytes, those that are unknown included. *n: how many, 0 before. */
static BrStatus
make_symbols(const BrTokenizer *tokenizer, BrTokenWork *work, const char *bytes, size_t size,
			 int32_t *n)
{
	const BrImageConfig *config = tokenizer->config;
	void *symbols = work->symbols;
	bool after_unknown = false;
	BrStatus status;

	if (size > INT32_MAX)
		return br_base_fail(work->context, BR_ERR_LIMIT,
							"The text has a word of %zu bytes; at most %d are tokenized.", size,
							INT32_MAX);
	status = br_encoder_grow(work->context, &symbols, &work->symbols_capacity, 0, size,
							 sizeof(BrSymbol));
	work->symbols = symbols;
	for (size_t i = 0; i < size && status == BR_OK; i++)
	{
		int32_t id = tokenizer->bytes[(unsigned char) bytes[i]];
		bool fused = id < 0 && after_unknown && (config->flags & BR_BPE_FUSE_UNKNOWN);

		after_unknown = id < 0;
		if (id < 0)
			id = config->unknown_id;
		if (id < 0 || fused)
			continue;
		work->symbols[*n] = (BrSymbol){id, *n - 1, -1};
		if (*n > 0)
			work->symbols[*n - 1].next = *n;
		(*n)++;
	}
	return status;
}

/* Ids of bytes whose merges no neighbour takes part in. */
static BrStatus
encode_part(const BrTokenizer *tokenizer, BrTokenWork *work, const char *bytes, size_t size)
{
	int32_t n = 0;
	uint32_t steps = 0;
	BrStatus status = make_symbols(tokenizer, work, bytes, size, &n);

	work->n_marks = 0;
	for (int32_t i = 0; i < n && status == BR_OK; i++)
		status = push_pair(tokenizer, work, i);
	while (work->n_marks > 0 && status == BR_OK)
	{
		uint64_t pair = pop_pair(work);

		if (++steps % CANCEL_INTERVAL == 0 && br_base_cancelled(work->context))
			status = br_base_fail(work->context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
		else
			status =
				merge_pair(tokenizer, work, (uint32_t) (pair >> 32), (int32_t) (uint32_t) pair);
	}
	for (int32_t i = 0; i < n && status == BR_OK && work->n_ids < work->room; i++)
		if (work->symbols[i].id >= 0)
			status = br_encoder_append_id(work, work->symbols[i].id);
	work->n_marks = 0;
	return status;
}

/* Whether some merge has these two bytes side by side. */
static bool
may_touch(const BrTokenizer *tokenizer, unsigned char left, unsigned char right)
{
	uint32_t pair = (uint32_t) left * BR_BYTE_VALUES + right;

	return (tokenizer->pairs[pair / 8] >> (pair % 8) & 1) != 0;
}

static BrStatus
encode_word(const BrTokenizer *tokenizer, BrTokenWork *work, const char *word, size_t size)
{
	size_t begin = 0;
	BrStatus status = BR_OK;

	for (size_t end = 1; end <= size && status == BR_OK && work->n_ids < work->room; end++)
		if (end == size ||
			!may_touch(tokenizer, (unsigned char) word[end - 1], (unsigned char) word[end]))
		{
			status = encode_part(tokenizer, work, word + begin, end - begin);
			begin = end;
		}
	return status;
}

BrStatus
br_encoder_bpe(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text, size_t size)
{
	size_t at = 0;
	BrStatus status = BR_OK;

	if ((tokenizer->config->flags & BR_BPE_PREFIX_SPACE) && size > 0 && text[0] != ' ')
	{
		void *spare = work->spare;

		status = br_encoder_grow(work->context, &spare, &work->spare_capacity, 0, size + 1, 1);
		work->spare = spare;
		if (status != BR_OK)
			return status;
		work->spare[0] = ' ';
		memcpy(work->spare + 1, text, size);
		text = work->spare;
		size++;
	}
	while (at < size && status == BR_OK && work->n_ids < work->room)
	{
		size_t end = word_end(text, at, size);

		status = encode_word(tokenizer, work, text + at, end - at);
		at = end;
	}
	return status;
}
