/*
 * tokenizer.c
 *	  What all Hugging Face tokenizers share: added tokens, template, cut.
 *
 * A text is first searched for added tokens that match as written. What lies
 * between them is normalised and searched again for those that match after
 * normalising; what then remains goes to the tokenizer's own model. The
 * longest added token at the leftmost place wins. Special tokens take part
 * only where the caller asks for it; a special token that matches and is not
 * asked for is stepped over whole, as the reference does.
 *
 * Text is handed on in windows that end where the tokenizer's own model says
 * that what stands before cannot touch what stands behind, and no further once
 * the ids are complete: the cost of a long text is that of its beginning.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* Smallest window of text that is encoded at once, and of text checked; bytes. */
#define WINDOW_SIZE 4096
#define VALIDATED_SIZE (1 << 20)

/* BERT's words end at whitespace, which is in none of them. */
static bool
wordpiece_cuts(const BrTokenizer *tokenizer, const char *text, size_t at, size_t size)
{
	(void) tokenizer;
	(void) size;
	return text[at - 1] == ' ' || text[at - 1] == '\n' || text[at - 1] == '\t';
}

static const BrTokenizerKind kinds[] = {
	[BR_TOKENIZER_WORDPIECE] = {"wordpiece", br_encoder_bert_normalize, br_encoder_wordpiece,
								wordpiece_cuts},
	[BR_TOKENIZER_BPE] = {"bpe", br_encoder_normalize_rules, br_encoder_bpe, br_encoder_bpe_cuts},
	[BR_TOKENIZER_UNIGRAM] = {"unigram", br_encoder_normalize_rules, br_encoder_unigram,
							  br_encoder_unigram_cuts},
};

typedef struct AddedMatch
{
	const BrImageAdded *token; /* NULL: none up to the end */
	size_t begin;			   /* with the whitespace that the token takes */
	size_t end;
	size_t resume; /* where the search for the next one goes on */
} AddedMatch;

const BrTokenizerKind *
br_encoder_tokenizer_kind(uint32_t number)
{
	return number < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[number] : NULL;
}

/*
 * Whether an added token that is looked for in normalised text can tell a
 * window's end from the middle of a text: it has whitespace inside, or takes
 * in what follows it.
 */
static bool
crosses_windows(const BrTokenizer *tokenizer, const BrImageAdded *added)
{
	const char *text = tokenizer->text + added->offset;
	bool crosses = (added->flags & BR_ADDED_STRIP_RIGHT) != 0 &&
		tokenizer->config->tokenizer != BR_TOKENIZER_WORDPIECE;

	for (uint32_t i = 0; i < added->size; i++)
		crosses |= text[i] == ' ' || (text[i] >= '\t' && text[i] <= '\r');
	return crosses;
}

void
br_encoder_open_tokenizer(const void *image, BrTokenizer *tokenizer)
{
	memset(tokenizer, 0, sizeof(*tokenizer));
	tokenizer->config = br_encoder_part(image, BR_PART_CONFIG);
	tokenizer->tokens = br_encoder_part(image, BR_PART_VOCABULARY);
	tokenizer->slots = br_encoder_part(image, BR_PART_SLOTS);
	tokenizer->added = br_encoder_part(image, BR_PART_ADDED);
	tokenizer->template = br_encoder_part(image, BR_PART_TEMPLATE);
	tokenizer->text = br_encoder_part(image, BR_PART_TEXT);
	tokenizer->merges = br_encoder_part(image, BR_PART_MERGES);
	tokenizer->merge_slots = br_encoder_part(image, BR_PART_MERGE_SLOTS);
	tokenizer->bytes = br_encoder_part(image, BR_PART_BYTES);
	tokenizer->pairs = br_encoder_part(image, BR_PART_PAIRS);
	tokenizer->scores = br_encoder_part(image, BR_PART_SCORES);
	tokenizer->nodes = br_encoder_part(image, BR_PART_TRIE);
	tokenizer->normalizer = (BrNormalizer){tokenizer->config, br_encoder_part(image, BR_PART_UNITS),
										   br_encoder_part(image, BR_PART_REPLACEMENTS)};
	tokenizer->whole = !br_encoder_rules_cut(&tokenizer->normalizer);

	for (uint32_t i = 0; i < tokenizer->config->n_added; i++)
	{
		const BrImageAdded *added = &tokenizer->added[i];
		unsigned char first = (unsigned char) tokenizer->text[added->offset];

		if ((added->flags & BR_ADDED_NORMALIZED) == 0)
			tokenizer->starts_raw[first] = true;
		else
		{
			tokenizer->starts_normalized[first] = true;
			tokenizer->whole |= crosses_windows(tokenizer, added);
		}
	}
}

BrStatus
br_encoder_grow(BrContext *context, void **buffer, size_t *capacity, size_t n, size_t size,
				size_t width)
{
	size_t wanted = *capacity < 64 ? 64 : *capacity;
	void *larger;

	if (n + size <= *capacity)
		return BR_OK;
	while (wanted < n + size)
		wanted *= 2;
	larger = br_base_alloc(context, wanted * width);
	if (larger == NULL)
		return BR_ERR_MEMORY;
	if (n > 0)
		memcpy(larger, *buffer, n * width);
	br_base_free(context, *buffer);
	*buffer = larger;
	*capacity = wanted;
	return BR_OK;
}

BrStatus
br_encoder_append_text(BrTokenWork *work, const char *bytes, size_t size)
{
	if (work->text_size + size > work->text_capacity)
	{
		void *text = work->text;
		BrStatus status =
			br_encoder_grow(work->context, &text, &work->text_capacity, work->text_size, size, 1);

		work->text = text;
		if (status != BR_OK)
			return status;
	}
	if (size > 0)
		memcpy(work->text + work->text_size, bytes, size);
	work->text_size += size;
	return BR_OK;
}

BrStatus
br_encoder_append_id(BrTokenWork *work, int32_t id)
{
	if (work->n_ids == work->ids_capacity)
	{
		void *ids = work->ids;
		BrStatus status = br_encoder_grow(work->context, &ids, &work->ids_capacity, work->n_ids, 1,
										  sizeof(int32_t));

		work->ids = ids;
		if (status != BR_OK)
			return status;
	}
	work->ids[work->n_ids++] = id;
	if (work->uses != NULL)
		work->uses[id]++;
	return BR_OK;
}

BrStatus
br_encoder_append_mark(BrTokenWork *work, uint64_t mark)
{
	if (work->n_marks == work->marks_capacity)
	{
		void *marks = work->marks;
		BrStatus status = br_encoder_grow(work->context, &marks, &work->marks_capacity,
										  work->n_marks, 1, sizeof(uint64_t));

		work->marks = marks;
		if (status != BR_OK)
			return status;
	}
	work->marks[work->n_marks++] = mark;
	return BR_OK;
}

void
br_encoder_close_work(BrTokenWork *work)
{
	br_base_free(work->context, work->text);
	br_base_free(work->context, work->spare);
	br_base_free(work->context, work->marks);
	br_base_free(work->context, work->hashes);
	br_base_free(work->context, work->symbols);
	br_base_free(work->context, work->path);
	br_base_free(work->context, work->scores);
	br_base_free(work->context, work->ids);
}

int
br_encoder_find_token(const BrTokenizer *tokenizer, uint32_t hash, const char *prefix,
					  size_t prefix_size, const char *bytes, size_t size)
{
	uint32_t mask = tokenizer->config->n_slots - 1;

	for (uint32_t probe = 0; probe <= mask; probe++)
	{
		uint32_t slot = tokenizer->slots[(hash + probe) & mask];
		const BrImageToken *token;
		const char *text;

		if (slot == 0)
			break;
		token = &tokenizer->tokens[slot - 1];
		text = tokenizer->text + token->offset;
		if (token->hash == hash && token->size == prefix_size + size &&
			memcmp(text, prefix, prefix_size) == 0 && memcmp(text + prefix_size, bytes, size) == 0)
			return (int) slot - 1;
	}
	return -1;
}

/* Whether no letter, digit or the like touches text[begin .. end). */
static bool
is_single_word(const char *text, size_t size, size_t begin, size_t end)
{
	size_t before;
	int length;

	return (begin == 0 || !br_encoder_is_word(br_encoder_decode_before(text, begin, &before))) &&
		(end == size || !br_encoder_is_word(br_encoder_decode(text + end, &length)));
}

/* Takes in the whitespace around a match that its token asks for. */
static void
strip_around(const char *text, size_t size, size_t from, AddedMatch *match)
{
	if (match->token->flags & BR_ADDED_STRIP_LEFT)
		while (match->begin > from)
		{
			size_t before;

			if (!br_encoder_is_whitespace(br_encoder_decode_before(text, match->begin, &before)))
				break;
			match->begin = before;
		}
	if (match->token->flags & BR_ADDED_STRIP_RIGHT)
		while (match->end < size)
		{
			int length;

			if (!br_encoder_is_whitespace(br_encoder_decode(text + match->end, &length)))
				break;
			match->end += (size_t) length;
		}
}

/* The longest added token at text[at], which its set may begin with. */
static const BrImageAdded *
added_at(const BrTokenizer *tokenizer, const char *text, size_t size, size_t at, uint32_t set)
{
	for (uint32_t i = 0; i < tokenizer->config->n_added; i++)
	{
		const BrImageAdded *added = &tokenizer->added[i];

		if ((added->flags & BR_ADDED_NORMALIZED) == set && added->size <= size - at &&
			memcmp(tokenizer->text + added->offset, text + at, added->size) == 0)
			return added;
	}
	return NULL;
}

/*
 * The next added token of a set that begins in text[search .. limit). from:
 * where what was not yet handed on begins, which a match does not reach
 * behind. Without one the match is empty and stands at limit.
 */
static AddedMatch
find_added(const BrTokenizer *tokenizer, const char *text, size_t size, size_t from, size_t search,
		   size_t limit, uint32_t set, bool parse_special)
{
	const bool *starts = set ? tokenizer->starts_normalized : tokenizer->starts_raw;
	AddedMatch match;

	while (search < limit)
	{
		const BrImageAdded *added;
		size_t end;

		if (!starts[(unsigned char) text[search]] ||
			(added = added_at(tokenizer, text, size, search, set)) == NULL)
		{
			search++;
			continue;
		}
		end = search + added->size;
		if (((added->flags & BR_ADDED_SPECIAL) && !parse_special) ||
			((added->flags & BR_ADDED_SINGLE_WORD) && !is_single_word(text, size, search, end)))
		{
			search = end;
			continue;
		}
		match = (AddedMatch){added, search, end, end};
		strip_around(text, size, from, &match);
		return match;
	}
	return (AddedMatch){NULL, limit, limit, search};
}

static bool
complete(const BrTokenWork *work)
{
	return work->n_ids >= work->room;
}

/* Ids of text without an added token that matches as written. */
static BrStatus
encode_piece(const BrTokenizer *tokenizer, BrTokenWork *work, const char *piece, size_t piece_size,
			 bool parse_special)
{
	const BrTokenizerKind *kind = &kinds[tokenizer->config->tokenizer];
	size_t from = 0;
	size_t search = 0;
	BrStatus status = kind->normalize(&tokenizer->normalizer, work, piece, piece_size);
	while (status == BR_OK && from < work->text_size && !complete(work))
	{
		AddedMatch match = find_added(tokenizer, work->text, work->text_size, from, search,
									  work->text_size, BR_ADDED_NORMALIZED, parse_special);

		if (match.begin > from)
			status = kind->encode(tokenizer, work, work->text + from, match.begin - from);
		if (status == BR_OK && match.token != NULL && !complete(work))
			status = br_encoder_append_id(work, match.token->id);
		from = match.end;
		search = match.resume;
	}
	return status;
}

/* End of the window that begins at from: where the text can be cut, or the end. */
static size_t
window_end(const BrTokenizer *tokenizer, const char *text, size_t from, size_t size)
{
	const BrTokenizerKind *kind = &kinds[tokenizer->config->tokenizer];
	size_t end = from + WINDOW_SIZE;

	if (tokenizer->whole || size - from <= WINDOW_SIZE)
		return size;
	while (end < size && !kind->cuts(tokenizer, text, end, size))
		end++;
	return end;
}

static BrStatus
encode_raw(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text, size_t size,
		   bool parse_special)
{
	size_t from = 0;
	size_t search = 0;
	BrStatus status = BR_OK;

	while (status == BR_OK && from < size && !complete(work))
	{
		AddedMatch match = find_added(tokenizer, text, size, from, search,
									  window_end(tokenizer, text, from, size), 0, parse_special);

		if (br_base_cancelled(work->context))
			return br_base_fail(work->context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
		if (match.begin > from)
			status = encode_piece(tokenizer, work, text + from, match.begin - from, parse_special);
		if (status == BR_OK && match.token != NULL && !complete(work))
			status = br_encoder_append_id(work, match.token->id);
		from = match.end;
		search = match.resume;
	}
	return status;
}

static BrStatus
check_utf8(BrContext *context, const char *text, size_t size)
{
	size_t at = 0;

	while (at < size)
	{
		size_t end = size - at > VALIDATED_SIZE ? at + VALIDATED_SIZE : size;

		/* not in the middle of a character */
		for (int i = 0; i < 3 && end < size && ((unsigned char) text[end] & 0xC0) == 0x80; i++)
			end--;
		if (!br_encoder_is_utf8(text + at, end - at))
			return br_base_fail(context, BR_ERR_ARGUMENT, "The text is not valid UTF-8.");
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Tokenizing was cancelled.");
		at = end;
	}
	return BR_OK;
}

BrStatus
br_encoder_encode_text(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text,
					   size_t size, bool parse_special)
{
	const BrImageConfig *config = tokenizer->config;
	size_t begin = work->n_ids;
	BrStatus status = check_utf8(work->context, text, size);

	if (status != BR_OK)
		return status;
	work->plain = !parse_special;
	if (work->hashes == NULL && config->max_word_characters > 0)
	{
		work->hashes =
			br_base_alloc_array(work->context, config->max_word_characters, sizeof(uint32_t));
		if (work->hashes == NULL)
			return BR_ERR_MEMORY;
	}

	for (uint32_t i = 0; i < config->n_before && status == BR_OK; i++)
		status = br_encoder_append_id(work, tokenizer->template[i]);

	work->room = begin + config->max_tokens - config->n_after;
	if (status == BR_OK)
		status = encode_raw(tokenizer, work, text, size, parse_special);
	if (work->n_ids > work->room)
		work->n_ids = work->room;

	for (uint32_t i = 0; i < config->n_after && status == BR_OK; i++)
		status = br_encoder_append_id(work, tokenizer->template[config->n_before + i]);
	return status;
}
