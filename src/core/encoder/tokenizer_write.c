/*
 * tokenizer_write.c
 *	  The tokenizer's parts of an image.
 *
 * What a tokenizer looks up while it runs is made here once: the texts that
 * added tokens are found by, the hash tables of tokens and of merges, which
 * bytes a merge may have side by side, and the trie of all tokens.
 */
#include <stdlib.h>
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* Tokens entered into the trie between two looks at the cancel flag. */
#define CANCEL_INTERVAL 4096

static void *
part_for_writing(void *image, BrImagePart part)
{
	return (char *) image + ((BrImageHeader *) image)->parts[part].offset;
}

/* ---- added tokens ---- */

/* A token that normalising leaves nothing of can never match. */
static void
drop_empty_added(BrContext *context, BrImageConfig *config, BrTokenizerImport *import,
				 BrAddedTexts *added)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < config->n_added; i++)
	{
		if (added->sizes[i] == 0)
		{
			br_base_free(context, added->texts[i]);
			added->texts[i] = NULL;
			continue;
		}
		if (kept != i)
		{
			import->added[kept] = import->added[i];
			added->sizes[kept] = added->sizes[i];
			added->texts[kept] = added->texts[i];
			added->texts[i] = NULL;
		}
		kept++;
	}
	config->n_added = kept;
}

BrStatus
br_encoder_prepare_added(BrContext *context, BrImageConfig *config, BrTokenizerImport *import,
						 BrAddedTexts *added)
{
	const BrTokenizerKind *kind = br_encoder_tokenizer_kind(config->tokenizer);
	BrImageConfig added_config = *config;
	BrNormalizer normalizer = {&added_config, import->units, NULL};
	BrTokenWork work = {.context = context};
	BrStatus status = BR_OK;

	added_config.flags = import->added_flags;
	if (import->units != NULL)
		normalizer.replacements = (const char *) (import->units + config->n_units);
	added->texts = br_base_alloc_array(context, (size_t) config->n_added + 1, sizeof(char *));
	added->sizes = br_base_alloc_array(context, (size_t) config->n_added + 1, sizeof(uint32_t));
	if (added->texts == NULL || added->sizes == NULL)
		return BR_ERR_MEMORY;

	for (uint32_t i = 0; i < config->n_added && status == BR_OK; i++)
	{
		const BrImportAdded *token = &import->added[i];

		work.text_size = 0;
		if (token->flags & BR_ADDED_NORMALIZED)
			status = kind->normalize(&normalizer, &work, token->text, strlen(token->text));
		else
			status = br_encoder_append_text(&work, token->text, strlen(token->text));
		if (status == BR_OK)
			added->texts[i] = br_base_alloc(context, work.text_size);
		if (status == BR_OK && added->texts[i] == NULL)
			status = BR_ERR_MEMORY;
		if (status != BR_OK)
			break;
		if (work.text_size > 0)
			memcpy(added->texts[i], work.text, work.text_size);
		added->sizes[i] = (uint32_t) work.text_size;
	}
	br_encoder_close_work(&work);
	if (status == BR_OK)
		drop_empty_added(context, config, import, added);
	return status;
}

void
br_encoder_close_added(BrContext *context, const BrImageConfig *config, BrAddedTexts *added)
{
	for (uint32_t i = 0; added->texts != NULL && i < config->n_added; i++)
		br_base_free(context, added->texts[i]);
	br_base_free(context, added->texts);
	br_base_free(context, added->sizes);
}

/* Longest first, so that the first match is the longest; equal ones in their order. */
static int
by_size(const void *left, const void *right)
{
	const BrImageAdded *a = left;
	const BrImageAdded *b = right;

	if (a->size != b->size)
		return a->size > b->size ? -1 : 1;
	return (a->offset > b->offset) - (a->offset < b->offset);
}

/* ---- the trie of all tokens ---- */

/* Tokens in the order of their bytes, and of equal ones in that of the file. */
static int
by_bytes(const void *left, const void *right)
{
	const BrImportToken *a = *(const BrImportToken *const *) left;
	const BrImportToken *b = *(const BrImportToken *const *) right;
	int order = memcmp(a->text, b->text, a->size < b->size ? a->size : b->size);

	if (order != 0)
		return order;
	if (a->size != b->size)
		return a->size < b->size ? -1 : 1;
	return (a > b) - (a < b);
}

static const BrImportToken **
sort_tokens(BrContext *context, const BrImageConfig *config, const BrTokenizerImport *import)
{
	const BrImportToken **sorted =
		br_base_alloc_array(context, config->n_tokens, sizeof(BrImportToken *));

	if (sorted == NULL)
		return NULL;
	for (uint32_t i = 0; i < config->n_tokens; i++)
		sorted[i] = &import->tokens[i];
	qsort(sorted, config->n_tokens, sizeof(sorted[0]), by_bytes);
	return sorted;
}

static size_t
common_bytes(const BrImportToken *left, const BrImportToken *right)
{
	size_t size = left->size < right->size ? left->size : right->size;
	size_t n = 0;

	while (n < size && left->text[n] == right->text[n])
		n++;
	return n;
}

/* Nodes of the trie: for each token the bytes that the one before it does not begin with. */
static BrStatus
count_nodes(BrContext *context, BrImageConfig *config, const BrTokenizerImport *import)
{
	const BrImportToken **sorted = sort_tokens(context, config, import);
	uint64_t n = 1;

	if (sorted == NULL)
		return BR_ERR_MEMORY;
	for (uint32_t i = 0; i < config->n_tokens; i++)
		n += sorted[i]->size - (i > 0 ? common_bytes(sorted[i - 1], sorted[i]) : 0);
	br_base_free(context, sorted);
	if (n > BR_MAX_NODES)
		return br_base_fail(context, BR_ERR_LIMIT,
							"The vocabulary has more than %d different beginnings of tokens.",
							BR_MAX_NODES);
	config->n_nodes = (uint32_t) n;
	return BR_OK;
}

/* The tokens [first, last) of the sorted ones begin alike; their node is made, its children not. */
typedef struct TrieRange
{
	uint32_t first;
	uint32_t last;
} TrieRange;

/* Level by level: the node whose turn it is gets its children at the end. */
static BrStatus
write_trie(BrContext *context, const BrImageConfig *config, const BrTokenizerImport *import,
		   BrImageNode *nodes)
{
	const BrImportToken **sorted = sort_tokens(context, config, import);
	TrieRange *ranges = br_base_alloc_array(context, config->n_nodes, sizeof(TrieRange));
	uint32_t *depths = br_base_alloc_array(context, config->n_nodes, sizeof(uint32_t));
	BrStatus status = sorted != NULL && ranges != NULL && depths != NULL ? BR_OK : BR_ERR_MEMORY;
	uint32_t n = 1;

	if (status == BR_OK)
	{
		ranges[0] = (TrieRange){0, config->n_tokens};
		nodes[0].token = -1;
	}
	for (uint32_t i = 0; i < n && status == BR_OK; i++)
	{
		uint32_t at = ranges[i].first;

		/* tokens that end here; of equal ones the last counts */
		for (; at < ranges[i].last && sorted[at]->size == depths[i]; at++)
			if (depths[i] > 0)
				nodes[i].token = (int32_t) (sorted[at] - import->tokens);
		nodes[i].children = n;
		while (at < ranges[i].last)
		{
			uint8_t label = (uint8_t) sorted[at]->text[depths[i]];
			uint32_t begin = at;

			while (at < ranges[i].last && (uint8_t) sorted[at]->text[depths[i]] == label)
				at++;
			nodes[n] = (BrImageNode){.token = -1, .label = label};
			ranges[n] = (TrieRange){begin, at};
			depths[n++] = depths[i] + 1;
			nodes[i].n_children++;
		}
		if (i % CANCEL_INTERVAL == 0 && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
	}
	br_base_free(context, sorted);
	br_base_free(context, ranges);
	br_base_free(context, depths);
	return status;
}

/* ---- merges ---- */

/* Enters a merge into the hash table; an equal one that is there gives way. */
static void
enter_merge(const BrImageConfig *config, const BrImageMerge *merges, uint32_t *slots, uint32_t rank)
{
	uint32_t mask = config->n_merge_slots - 1;
	uint32_t slot = br_encoder_hash_pair(merges[rank].left, merges[rank].right) & mask;

	while (slots[slot] != 0)
	{
		const BrImageMerge *other = &merges[slots[slot] - 1];

		if (other->left == merges[rank].left && other->right == merges[rank].right)
			break;
		slot = (slot + 1) & mask;
	}
	slots[slot] = rank + 1;
}

/* Marks all bytes that stand side by side in a token that is made of bytes. */
static void
mark_pairs(const BrImportToken *token, const int *byte_of, uint8_t *pairs)
{
	int before = -1;

	for (uint32_t at = 0; at < token->size;)
	{
		int length;
		int32_t character = br_encoder_decode(token->text + at, &length);
		int byte = character < 2 * BR_BYTE_VALUES ? byte_of[character] : -1;

		if (before >= 0 && byte >= 0)
		{
			uint32_t pair = (uint32_t) before * BR_BYTE_VALUES + (uint32_t) byte;

			pairs[pair / 8] |= (uint8_t) (1 << pair % 8);
		}
		before = byte;
		at += (uint32_t) length;
	}
}

/*
 * Whether ids and texts of tokens go together one by one, and all bytes have
 * theirs: a byte that gives nothing lets its neighbours meet.
 */
static bool
ids_tell_texts(const BrImageConfig *config, const BrTokenizerImport *import, const int32_t *bytes,
			   uint8_t *seen)
{
	bool tell = true;

	for (int byte = 0; byte < BR_BYTE_VALUES; byte++)
		tell &= bytes[byte] >= 0;
	for (uint32_t i = 0; i < config->n_tokens; i++)
	{
		tell &= seen[import->tokens[i].id] == 0;
		seen[import->tokens[i].id] = 1;
	}
	return tell;
}

static BrStatus
write_bpe(BrContext *context, const BrImageConfig *config, const BrTokenizerImport *import,
		  void *image)
{
	BrImageMerge *merges = part_for_writing(image, BR_PART_MERGES);
	uint32_t *slots = part_for_writing(image, BR_PART_MERGE_SLOTS);
	int32_t *bytes = part_for_writing(image, BR_PART_BYTES);
	uint8_t *pairs = part_for_writing(image, BR_PART_PAIRS);
	uint8_t *seen = br_base_alloc_array(context, config->vocabulary, 1);
	int byte_of[2 * BR_BYTE_VALUES];

	if (seen == NULL)
		return BR_ERR_MEMORY;
	for (uint32_t i = 0; i < config->n_merges; i++)
	{
		merges[i] = import->merges[i];
		enter_merge(config, merges, slots, i);
	}
	for (int32_t i = 0; i < 2 * BR_BYTE_VALUES; i++)
		byte_of[i] = br_encoder_character_byte(i);
	for (int byte = 0; byte < BR_BYTE_VALUES; byte++)
	{
		char text[8] = "";

		br_encoder_encode_character(br_encoder_byte_character(byte), text);
		bytes[byte] = br_encoder_token_id(import, config, text);
	}
	for (uint32_t i = 0; i < config->n_tokens; i++)
		mark_pairs(&import->tokens[i], byte_of, pairs);
	/* a symbol whose bytes cannot be told from its id may touch anything */
	if (!ids_tell_texts(config, import, bytes, seen))
		memset(pairs, 0xFF, config->n_pairs);
	br_base_free(context, seen);
	return BR_OK;
}

/* ---- all of it ---- */

BrStatus
br_encoder_plan_tokenizer(BrContext *context, BrImageConfig *config,
						  const BrTokenizerImport *import, const BrAddedTexts *added,
						  uint64_t *text_size)
{
	*text_size = 0;
	config->longest_token = 0;
	for (uint32_t i = 0; i < config->n_tokens; i++)
	{
		*text_size += import->tokens[i].size;
		if (import->tokens[i].size > config->longest_token)
			config->longest_token = import->tokens[i].size;
	}
	for (uint32_t i = 0; i < config->n_added; i++)
		*text_size += added->sizes[i];

	if (config->tokenizer == BR_TOKENIZER_BPE)
	{
		config->n_bytes = BR_BYTE_VALUES;
		config->n_pairs = BR_PAIR_BYTES;
		for (config->n_merge_slots = 2; config->n_merge_slots < 2 * config->n_merges;)
			config->n_merge_slots *= 2;
	}
	if (config->tokenizer != BR_TOKENIZER_UNIGRAM)
		return BR_OK;
	config->n_scores = config->n_tokens;
	return count_nodes(context, config, import);
}

static void
write_texts(const BrImageConfig *config, const BrTokenizerImport *import,
			const BrAddedTexts *added_texts, void *image)
{
	BrImageToken *tokens = part_for_writing(image, BR_PART_VOCABULARY);
	BrImageAdded *added = part_for_writing(image, BR_PART_ADDED);
	char *text = part_for_writing(image, BR_PART_TEXT);
	uint32_t at = 0;

	for (uint32_t i = 0; i < config->n_tokens; i++)
	{
		const BrImportToken *token = &import->tokens[i];
		uint32_t hash = BR_HASH_SEED;

		for (uint32_t j = 0; j < token->size; j++)
			hash = br_encoder_hash_byte(hash, (unsigned char) token->text[j]);
		memcpy(text + at, token->text, token->size);
		tokens[i] = (BrImageToken){at, token->size, hash, token->id, 0};
		at += token->size;
	}
	for (uint32_t i = 0; i < config->n_added; i++)
	{
		memcpy(text + at, added_texts->texts[i], added_texts->sizes[i]);
		added[i] =
			(BrImageAdded){at, added_texts->sizes[i], import->added[i].id, import->added[i].flags};
		at += added_texts->sizes[i];
	}
	qsort(added, config->n_added, sizeof(BrImageAdded), by_size);
}

BrStatus
br_encoder_write_tokenizer(BrContext *context, const BrImageConfig *config,
						   const BrTokenizerImport *import, const BrAddedTexts *added, void *image)
{
	BrImageToken *tokens = part_for_writing(image, BR_PART_VOCABULARY);
	double *scores = part_for_writing(image, BR_PART_SCORES);

	write_texts(config, import, added, image);
	memcpy(part_for_writing(image, BR_PART_SLOTS), import->slots,
		   config->n_slots * sizeof(uint32_t));
	if (config->n_before + config->n_after > 0)
		memcpy(part_for_writing(image, BR_PART_TEMPLATE), import->template,
			   (config->n_before + config->n_after) * sizeof(int32_t));
	if (config->n_units > 0)
	{
		memcpy(part_for_writing(image, BR_PART_UNITS), import->units,
			   config->n_units * sizeof(uint32_t));
		memcpy(part_for_writing(image, BR_PART_REPLACEMENTS), import->units + config->n_units,
			   config->n_replacements);
	}
	if (config->tokenizer == BR_TOKENIZER_BPE)
		return write_bpe(context, config, import, image);
	if (config->tokenizer != BR_TOKENIZER_UNIGRAM)
		return BR_OK;

	for (uint32_t i = 0; i < config->n_tokens; i++)
		scores[i] = import->tokens[i].score;
	for (uint32_t i = 0; i < config->n_added; i++)
	{
		const char *text = import->added[i].text;
		int64_t number = br_encoder_token_number(import, config, text, strlen(text));

		/* what is special must not come out of plain text */
		if (number >= 0 && (import->added[i].flags & BR_ADDED_SPECIAL))
			tokens[number].flags = BR_TOKEN_SPECIAL;
	}
	return write_trie(context, config, import, part_for_writing(image, BR_PART_TRIE));
}
