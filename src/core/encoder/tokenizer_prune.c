/*
 * tokenizer_prune.c
 *	  A copy of an image with fewer tokens.
 *
 * That fewer tokens leave texts of kept ones as they were is a matter of each
 * kind. WordPiece takes the longest piece, and the longest of all is the
 * longest of those kept if it is kept. Unigram takes the best way, and without
 * some ways the best one stays the best; what an unknown character costs must
 * stay, too. BPE takes the merge of the lowest rank: of a kept token all merges
 * that lead to it are kept, so that all steps that were taken still are, and no
 * others come before them.
 *
 * The tokens that stay are read back as an import would have found them, and
 * written as an import writes them.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* What is made of an image on the way to the smaller one. */
typedef struct Pruning
{
	BrContext *context;
	const void *image;
	const BrImageConfig *old;
	BrTokenizer tokenizer; /* of the image */
	const uint8_t *kept;   /* (old->vocabulary) */
	int32_t *ids;		   /* (old->vocabulary): the new id of a token, -1: it goes */
	BrImageConfig config;
	BrTokenizerImport import;
	BrAddedTexts added; /* texts are the image's */
} Pruning;

/* ---- which tokens must stay ---- */

static bool
is_one_character(const BrTokenizer *tokenizer, const BrImageToken *token)
{
	const BrImageConfig *config = tokenizer->config;
	const char *text = tokenizer->text + token->offset;
	uint32_t size = token->size;
	int length;

	if (config->tokenizer == BR_TOKENIZER_WORDPIECE && size > config->prefix_size &&
		memcmp(text, config->prefix, config->prefix_size) == 0)
	{
		text += config->prefix_size;
		size -= config->prefix_size;
	}
	if (size == 0 || !br_encoder_is_utf8(text, size))
		return false;
	br_encoder_decode(text, &length);
	return (uint32_t) length == size;
}

static bool
has_token(const BrImageConfig *config, int32_t id)
{
	return id >= 0 && (uint32_t) id < config->vocabulary;
}

/* Of what kept tokens are merged: usually found in one go, as parts have lower ranks. */
static BrStatus
keep_parts(BrContext *context, const BrTokenizer *tokenizer, uint8_t *kept)
{
	const BrImageConfig *config = tokenizer->config;
	bool grew = config->n_merges > 0;

	while (grew)
	{
		grew = false;
		if (br_base_cancelled(context))
			return br_base_fail(context, BR_ERR_CANCELLED, "Choosing tokens was cancelled.");
		for (uint32_t i = config->n_merges; i-- > 0;)
		{
			const BrImageMerge *merge = &tokenizer->merges[i];

			if (!kept[merge->merged] || !has_token(config, merge->left) ||
				!has_token(config, merge->right) || (kept[merge->left] && kept[merge->right]))
				continue;
			kept[merge->left] = 1;
			kept[merge->right] = 1;
			grew = true;
		}
	}
	return BR_OK;
}

static BrStatus
keep_needed(BrContext *context, const BrTokenizer *tokenizer, uint8_t *kept)
{
	const BrImageConfig *config = tokenizer->config;

	for (uint32_t i = 0; i < config->n_before + config->n_after; i++)
		kept[tokenizer->template[i]] = 1;
	for (uint32_t i = 0; i < config->n_added; i++)
		kept[tokenizer->added[i].id] = 1;
	if (config->unknown_id >= 0)
		kept[config->unknown_id] = 1;
	/* the padding token is known by its number, which must not change */
	for (uint32_t id = 0; id < config->first_position && id < config->vocabulary; id++)
		kept[id] = 1;
	for (uint32_t i = 0; i < config->n_bytes; i++)
		if (tokenizer->bytes[i] >= 0)
			kept[tokenizer->bytes[i]] = 1;
	for (uint32_t i = 0; i < config->n_tokens && config->tokenizer != BR_TOKENIZER_BPE; i++)
		if (is_one_character(tokenizer, &tokenizer->tokens[i]))
			kept[tokenizer->tokens[i].id] = 1;
	return keep_parts(context, tokenizer, kept);
}

/* ---- the tokenizer of those ---- */

static BrStatus
number_tokens(Pruning *pruning)
{
	uint32_t n = 0;

	pruning->ids = br_base_alloc_array(pruning->context, pruning->old->vocabulary, sizeof(int32_t));
	if (pruning->ids == NULL)
		return BR_ERR_MEMORY;
	for (uint32_t id = 0; id < pruning->old->vocabulary; id++)
		pruning->ids[id] = pruning->kept[id] ? (int32_t) n++ : -1;
	pruning->config.vocabulary = n;
	pruning->config.parameters -= (uint64_t) (pruning->old->vocabulary - n) * pruning->old->hidden;
	if (pruning->config.unknown_id >= 0)
		pruning->config.unknown_id = pruning->ids[pruning->config.unknown_id];
	return BR_OK;
}

static BrStatus
read_tokens(Pruning *pruning)
{
	const BrTokenizer *tokenizer = &pruning->tokenizer;
	BrTokenizerImport *import = &pruning->import;
	BrImageConfig *config = &pruning->config;

	import->tokens =
		br_base_alloc_array(pruning->context, pruning->old->n_tokens, sizeof(BrImportToken));
	if (import->tokens == NULL)
		return BR_ERR_MEMORY;
	config->n_tokens = 0;
	for (uint32_t i = 0; i < pruning->old->n_tokens; i++)
	{
		const BrImageToken *token = &tokenizer->tokens[i];

		if (pruning->kept[token->id])
			import->tokens[config->n_tokens++] =
				(BrImportToken){tokenizer->text + token->offset, token->size,
								pruning->ids[token->id],
								pruning->old->n_scores > 0 ? tokenizer->scores[i] : 0};
	}
	if (config->n_tokens == 0)
		return br_base_fail(pruning->context, BR_ERR_UNSUPPORTED,
							"No token of the tokenizer is used, nor does it need any.");
	return br_encoder_index_tokens(pruning->context, config, import);
}

static BrStatus
read_merges(Pruning *pruning)
{
	const BrTokenizer *tokenizer = &pruning->tokenizer;
	BrTokenizerImport *import = &pruning->import;
	BrImageConfig *config = &pruning->config;

	import->merges = br_base_alloc_array(pruning->context, (size_t) pruning->old->n_merges + 1,
										 sizeof(BrImageMerge));
	if (import->merges == NULL)
		return BR_ERR_MEMORY;
	config->n_merges = 0;
	for (uint32_t i = 0; i < pruning->old->n_merges; i++)
	{
		BrImageMerge merge = tokenizer->merges[i];

		if (pruning->kept[merge.merged] && has_token(pruning->old, merge.left) &&
			has_token(pruning->old, merge.right))
			import->merges[config->n_merges++] =
				(BrImageMerge){pruning->ids[merge.left], pruning->ids[merge.right],
							   pruning->ids[merge.merged]};
	}
	return BR_OK;
}

/* Added tokens as they are found, which need not be normalised again. */
static BrStatus
read_added(Pruning *pruning)
{
	BrContext *context = pruning->context;
	const BrTokenizer *tokenizer = &pruning->tokenizer;
	size_t n = pruning->config.n_added;

	pruning->import.added = br_base_alloc_array(context, n + 1, sizeof(BrImportAdded));
	pruning->added.texts = br_base_alloc_array(context, n + 1, sizeof(char *));
	pruning->added.sizes = br_base_alloc_array(context, n + 1, sizeof(uint32_t));
	if (pruning->import.added == NULL || pruning->added.texts == NULL ||
		pruning->added.sizes == NULL)
		return BR_ERR_MEMORY;
	for (size_t i = 0; i < n; i++)
	{
		const BrImageAdded *added = &tokenizer->added[i];

		pruning->import.added[i] = (BrImportAdded){"", pruning->ids[added->id], added->flags};
		pruning->added.texts[i] = (char *) tokenizer->text + added->offset;
		pruning->added.sizes[i] = added->size;
	}
	return BR_OK;
}

/* The template, and the character map with its strings behind it. */
static BrStatus
read_rest(Pruning *pruning)
{
	const BrTokenizer *tokenizer = &pruning->tokenizer;
	BrTokenizerImport *import = &pruning->import;
	const BrImageConfig *config = &pruning->config;
	size_t template = config->n_before + config->n_after;
	size_t units = config->n_units * sizeof(uint32_t);

	import->template = br_base_alloc_array(pruning->context, template + 1, sizeof(int32_t));
	import->units = br_base_alloc(pruning->context, units + config->n_replacements + 1);
	if (import->template == NULL || import->units == NULL)
		return BR_ERR_MEMORY;
	for (size_t i = 0; i < template; i++)
		import->template[i] = pruning->ids[tokenizer->template[i]];
	if (units > 0)
	{
		memcpy(import->units, tokenizer->normalizer.units, units);
		memcpy((char *) import->units + units, tokenizer->normalizer.replacements,
			   config->n_replacements);
	}
	return BR_OK;
}

/* ---- the image ---- */

static void *
part_for_writing(void *image, BrImagePart part)
{
	return (char *) image + ((BrImageHeader *) image)->parts[part].offset;
}

/* Which tokens are not to come out of plain text. */
static void
copy_flags(const Pruning *pruning, void *image)
{
	BrImageToken *tokens = part_for_writing(image, BR_PART_VOCABULARY);

	for (uint32_t i = 0; i < pruning->old->n_tokens; i++)
		if (pruning->kept[pruning->tokenizer.tokens[i].id])
			(tokens++)->flags = pruning->tokenizer.tokens[i].flags;
}

/* All behind the word table stays; of that, the rows of kept tokens. */
static void
copy_weights(const Pruning *pruning, void *image)
{
	const float *from = br_encoder_part(pruning->image, BR_PART_WEIGHTS);
	float *to = part_for_writing(image, BR_PART_WEIGHTS);
	size_t hidden = pruning->old->hidden;
	BrWeightMap before;
	BrWeightMap after;

	br_encoder_map_weights(pruning->old, &before);
	br_encoder_map_weights(&pruning->config, &after);
	for (uint32_t id = 0; id < pruning->old->vocabulary; id++)
		if (pruning->kept[id])
			memcpy(to + after.word + (size_t) pruning->ids[id] * hidden,
				   from + before.word + id * hidden, hidden * sizeof(float));
	memcpy(to + after.position, from + before.position,
		   (after.total - after.position) * sizeof(float));
}

static BrStatus
write_image(Pruning *pruning, void **copy, size_t *copy_size)
{
	BrContext *context = pruning->context;
	BrImageHeader header;
	uint64_t text_size;
	BrStatus status = br_encoder_plan_tokenizer(context, &pruning->config, &pruning->import,
												&pruning->added, &text_size);

	if (status != BR_OK)
		return status;
	if (!br_encoder_plan_image(&pruning->config, (size_t) text_size, &header))
		return br_base_fail(context, BR_ERR_LIMIT, "The model is too large for an image.");
	*copy = br_base_alloc(context, (size_t) header.size);
	if (*copy == NULL)
		return BR_ERR_MEMORY;
	*copy_size = (size_t) header.size;
	memset(*copy, 0, *copy_size);
	memcpy(*copy, &header, sizeof(header));
	memcpy(part_for_writing(*copy, BR_PART_CONFIG), &pruning->config, sizeof(BrImageConfig));
	status = br_encoder_write_tokenizer(context, &pruning->config, &pruning->import,
										&pruning->added, *copy);
	if (status != BR_OK)
		return status;
	copy_flags(pruning, *copy);
	copy_weights(pruning, *copy);
	return br_encoder_check_image(context, *copy, *copy_size);
}

static void
close_pruning(Pruning *pruning)
{
	BrContext *context = pruning->context;
	BrTokenizerImport *import = &pruning->import;

	br_base_free(context, pruning->ids);
	br_base_free(context, import->tokens);
	br_base_free(context, import->slots);
	br_base_free(context, import->merges);
	br_base_free(context, import->added);
	br_base_free(context, import->template);
	br_base_free(context, import->units);
	br_base_free(context, pruning->added.texts);
	br_base_free(context, pruning->added.sizes);
}

BrStatus
br_encoder_with_tokens(BrContext *context, const void *image, size_t image_size, uint8_t *kept,
					   void **copy, size_t *copy_size)
{
	Pruning pruning = {.context = context, .image = image, .kept = kept};
	BrStatus status = br_encoder_check_image(context, image, image_size);

	*copy = NULL;
	*copy_size = 0;
	if (status == BR_OK)
		status = br_encoder_refuse_addition(context, image);
	if (status != BR_OK)
		return status;
	pruning.old = br_encoder_part(image, BR_PART_CONFIG);
	pruning.config = *pruning.old;
	br_encoder_open_tokenizer(image, &pruning.tokenizer);
	status = keep_needed(context, &pruning.tokenizer, kept);
	if (status == BR_OK)
		status = number_tokens(&pruning);
	if (status == BR_OK)
		status = read_tokens(&pruning);
	if (status == BR_OK)
		status = read_merges(&pruning);
	if (status == BR_OK)
		status = read_added(&pruning);
	if (status == BR_OK)
		status = read_rest(&pruning);
	if (status == BR_OK)
		status = write_image(&pruning, copy, copy_size);
	close_pruning(&pruning);
	if (status != BR_OK)
	{
		br_base_free(context, *copy);
		*copy = NULL;
		*copy_size = 0;
	}
	return status;
}
