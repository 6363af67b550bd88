/*
 * bpe_import.c
 *	  Merges of byte-level BPE, and the files vocab.json and merges.txt.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* ---- merges ---- */

static BrStatus
unknown_part(BrContext *context, const char *where, const BrImageConfig *config, const char *text,
			 size_t size)
{
	char name[BR_QUOTED_SIZE];
	char quoted[BR_QUOTED_SIZE];
	size_t shown = size < sizeof(name) - 1 ? size : sizeof(name) - 1;

	/* not in the middle of a character */
	while (shown < size && shown > 0 && ((unsigned char) text[shown] & 0xC0) == 0x80)
		shown--;
	memcpy(name, text, shown);
	name[shown] = '\0';
	return br_base_fail(context, BR_ERR_FORMAT,
						"%s: merge %u has or makes the token \"%s\", which is not in the vocabulary.",
						where, config->n_merges, br_encoder_quote(name, quoted));
}

BrStatus
br_encoder_add_merge(BrContext *context, const char *where, const char *left, size_t left_size,
					 const char *right, size_t right_size, BrImageConfig *config,
					 BrTokenizerImport *import)
{
	int64_t left_token = br_encoder_token_number(import, config, left, left_size);
	int64_t right_token = br_encoder_token_number(import, config, right, right_size);
	char *together = br_base_alloc(context, left_size + right_size + 1);
	int64_t merged;
	BrStatus status = BR_OK;

	if (together == NULL)
		return BR_ERR_MEMORY;
	memcpy(together, left, left_size);
	memcpy(together + left_size, right, right_size);
	merged = br_encoder_token_number(import, config, together, left_size + right_size);
	if (left_token < 0)
		status = unknown_part(context, where, config, left, left_size);
	else if (right_token < 0)
		status = unknown_part(context, where, config, right, right_size);
	else if (merged < 0)
		status = unknown_part(context, where, config, together, left_size + right_size);
	else
		import->merges[config->n_merges++] =
			(BrImageMerge){import->tokens[left_token].id, import->tokens[right_token].id,
						   import->tokens[merged].id};
	br_base_free(context, together);
	return status;
}

/* ---- merges.txt ---- */

static bool
is_blank(char character)
{
	return character == ' ' || (character >= '\t' && character <= '\r');
}

/* The next word of [*at, end); *size 0: no more. */
static const char *
next_word(const char **at, const char *end, size_t *size)
{
	const char *begin;

	while (*at < end && is_blank(**at))
		(*at)++;
	begin = *at;
	while (*at < end && !is_blank(**at))
		(*at)++;
	*size = (size_t) (*at - begin);
	return begin;
}

/* Whether the merge that was read last is there already: the reference counts the first. */
static bool
is_known_merge(const BrImageConfig *config, const BrTokenizerImport *import, uint32_t *slots,
			   uint32_t mask)
{
	const BrImageMerge *last = &import->merges[config->n_merges - 1];
	uint32_t slot = br_encoder_hash_pair(last->left, last->right) & mask;

	for (; slots[slot] != 0; slot = (slot + 1) & mask)
	{
		const BrImageMerge *other = &import->merges[slots[slot] - 1];

		if (other->left == last->left && other->right == last->right)
			return true;
	}
	slots[slot] = config->n_merges;
	return false;
}

/*
 * Two tokens a line. The first line, which names the version, is not read, nor
 * is what stands behind the last line's end: the reference reads neither.
 */
static BrStatus
read_lines(BrContext *context, const BrModelFile *file, BrImageConfig *config,
		   BrTokenizerImport *import, uint32_t *slots, uint32_t mask)
{
	const char *at = file->data;
	const char *end = at + file->size;
	uint32_t number = 1;
	BrStatus status = BR_OK;

	for (const char *line_end; status == BR_OK; at = line_end + 1, number++)
	{
		const char *left;
		const char *right;
		size_t left_size;
		size_t right_size;
		size_t more;

		line_end = memchr(at, '\n', (size_t) (end - at));
		if (line_end == NULL)
			break;
		if (number == 1)
			continue;
		left = next_word(&at, line_end, &left_size);
		right = next_word(&at, line_end, &right_size);
		next_word(&at, line_end, &more);
		if (right_size == 0 || more != 0)
			return br_base_fail(context, BR_ERR_FORMAT,
								"%s: line %u is not two tokens with a space between.", file->path,
								number);
		status = br_encoder_add_merge(context, file->path, left, left_size, right, right_size,
									  config, import);
		if (status == BR_OK && is_known_merge(config, import, slots, mask))
			config->n_merges--;
		if (status == BR_OK && number % 4096 == 0 && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
	}
	return status;
}

static BrStatus
read_merges(BrContext *context, const BrModelFile *file, BrImageConfig *config,
			BrTokenizerImport *import)
{
	const char *text = file->data;
	size_t n = 0;
	uint32_t n_slots = 2;
	uint32_t *slots;
	BrStatus status = br_encoder_check_lines(context, file);

	if (status != BR_OK)
		return status;
	for (size_t i = 0; i < file->size; i++)
		n += text[i] == '\n';
	if (n > BR_MAX_VOCABULARY)
		return br_base_fail(context, BR_ERR_LIMIT, "%s has more than %d lines.", file->path,
							BR_MAX_VOCABULARY);
	while (n_slots < 2 * n)
		n_slots *= 2;
	import->merges = br_base_alloc_array(context, n + 1, sizeof(BrImageMerge));
	slots = br_base_alloc_array(context, n_slots, sizeof(uint32_t));
	if (import->merges == NULL || slots == NULL)
		status = BR_ERR_MEMORY;
	else
		status = read_lines(context, file, config, import, slots, n_slots - 1);
	br_base_free(context, slots);
	return status;
}

BrStatus
br_encoder_read_bpe_files(BrContext *context, const char *vocab_path, const BrModelFile *merges,
						  BrImageConfig *config, BrTokenizerImport *import)
{
	BrTokenizerClass class = br_encoder_tokenizer_class(import, config);
	BrStatus status;

	if (class != BR_CLASS_ROBERTA)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: byte-level BPE of another class than RobertaTokenizer is not handled without tokenizer.json.",
							vocab_path);
	config->tokenizer = BR_TOKENIZER_BPE;
	config->unknown_id = -1;
	status = br_encoder_read_vocabulary(context, vocab_path, import->json, config, import);
	if (status == BR_OK)
		status = read_merges(context, merges, config, import);
	if (status == BR_OK)
		status = br_encoder_class_template(context, vocab_path, class, config, import);
	if (status == BR_OK)
		status = br_encoder_add_class_tokens(context, class, config, import);
	return status;
}
