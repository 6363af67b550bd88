/*
 * sentencepiece.c
 *	  sentencepiece.bpe.model, the file that XLM-RoBERTa's Unigram comes from.
 *
 * The file is a protocol buffer: fields of a number, a kind and a value, some
 * of which are messages again. What is needed of it is a list of pieces with
 * their scores and kinds, the kind of the model and the character map; all else
 * is skipped. Ids are not those of the file: XLM-RoBERTa puts <s>, <pad>, </s>
 * and <unk> first, the pieces from the file's fourth on behind them, and <mask>
 * last. Normaliser and pre-tokenizer are those that the reference makes of the
 * file.
 */
#include <string.h>

#include "core/encoder/tokenizer_int.h"

/* Fields by their numbers, from sentencepiece_model.proto. */
enum
{
	MODEL_PIECES = 1,
	MODEL_TRAINER = 2,
	MODEL_NORMALIZER = 3,
	PIECE_TEXT = 1,
	PIECE_SCORE = 2,
	PIECE_KIND = 3,
	TRAINER_MODEL_KIND = 3,
	TRAINER_BYTE_FALLBACK = 35,
	NORMALIZER_CHARSMAP = 2
};

#define MODEL_KIND_UNIGRAM 1
#define PIECE_KIND_CONTROL 3
#define PIECE_KIND_USER 4

/* How a field's value is written. */
enum
{
	WIRE_VARINT = 0,
	WIRE_64_BITS = 1,
	WIRE_BYTES = 2,
	WIRE_32_BITS = 5
};

/* What of a message has not been read yet. */
typedef struct Message
{
	const uint8_t *at;
	const uint8_t *end;
} Message;

typedef struct Field
{
	uint64_t number;
	uint64_t value; /* of a number, by its bits */
	Message bytes;	/* of bytes */
} Field;

static const char *const first_tokens[] = {"<s>", "<pad>", "</s>", "<unk>"};

#define N_FIRST 4	 /* of them */
#define N_REPLACED 3 /* the file's pieces in their place */
#define UNKNOWN_ID 3

static BrStatus
damaged(BrContext *context, const BrModelFile *file, const uint8_t *at)
{
	return br_base_fail(context, BR_ERR_FORMAT, "%s is damaged near byte %zu of %zu.", file->path,
						(size_t) (at - (const uint8_t *) file->data), file->size);
}

static bool
read_varint(Message *message, uint64_t *value)
{
	*value = 0;
	for (int shift = 0; shift < 64 && message->at < message->end; shift += 7)
	{
		uint8_t byte = *message->at++;

		*value |= (uint64_t) (byte & 0x7F) << shift;
		if ((byte & 0x80) == 0)
			return true;
	}
	return false;
}

/* The next field; false: the message is damaged. */
static bool
read_field(Message *message, Field *field)
{
	uint64_t tag;
	uint64_t size = 0;

	if (!read_varint(message, &tag))
		return false;
	*field = (Field){.number = tag >> 3};
	switch (tag & 7)
	{
		case WIRE_VARINT:
			return read_varint(message, &field->value);
		case WIRE_64_BITS:
			size = 8;
			break;
		case WIRE_32_BITS:
			size = 4;
			break;
		case WIRE_BYTES:
			if (!read_varint(message, &size))
				return false;
			break;
		default:
			return false;
	}
	if (size > (uint64_t) (message->end - message->at))
		return false;
	field->bytes = (Message){message->at, message->at + size};
	message->at += size;
	if ((tag & 7) != WIRE_BYTES)
		for (uint64_t i = 0; i < size; i++)
			field->value |= (uint64_t) field->bytes.at[i] << (8 * i);
	return true;
}

/* ---- one pass over the file ---- */

typedef struct Pass
{
	BrContext *context;
	const BrModelFile *file;
	BrImageConfig *config;
	BrTokenizerImport *import;
	uint32_t n_pieces;
	uint64_t text_size;
	uint64_t text_at;
	Message charsmap;
	bool writing; /* tokens and their texts; otherwise count them */
} Pass;

static void
put_token(Pass *pass, const char *text, size_t size, double score)
{
	char *place = pass->import->lines + pass->text_at;
	uint32_t number = pass->config->n_tokens++;

	memcpy(place, text, size);
	place[size] = '\0';
	pass->import->tokens[number] = (BrImportToken){place, (uint32_t) size, (int32_t) number, score};
	pass->text_at += size + 1;
}

/* What the file says is special, or added by hand, is so for the tokenizer. */
static void
put_added(Pass *pass, const char *text, uint64_t kind)
{
	bool control = kind == PIECE_KIND_CONTROL;

	if (!control && kind != PIECE_KIND_USER)
		return;
	pass->import->added[pass->config->n_added++] =
		(BrImportAdded){text, -1, control ? BR_ADDED_SPECIAL : 0};
}

static BrStatus
read_piece(Pass *pass, Message piece)
{
	Field field;
	Message text = {piece.at, piece.at};
	uint64_t kind = 1;
	uint32_t bits = 0;
	float score;

	while (piece.at < piece.end)
	{
		if (!read_field(&piece, &field))
			return damaged(pass->context, pass->file, piece.at);
		if (field.number == PIECE_TEXT)
			text = field.bytes;
		else if (field.number == PIECE_SCORE)
			bits = (uint32_t) field.value;
		else if (field.number == PIECE_KIND)
			kind = field.value;
	}
	memcpy(&score, &bits, sizeof(score));
	pass->n_pieces++;
	pass->text_size += (uint64_t) (text.end - text.at) + 1;
	if (text.at == text.end ||
		!br_encoder_is_utf8((const char *) text.at, (size_t) (text.end - text.at)) ||
		memchr(text.at, '\0', (size_t) (text.end - text.at)) != NULL)
		return br_base_fail(pass->context, BR_ERR_FORMAT,
							"%s: piece %u is empty or not UTF-8 text.", pass->file->path,
							pass->n_pieces - 1);
	if (!pass->writing)
		return BR_OK;
	if (pass->n_pieces > N_REPLACED)
		put_token(pass, (const char *) text.at, (size_t) (text.end - text.at), (double) score);
	if (kind == PIECE_KIND_CONTROL || kind == PIECE_KIND_USER)
	{
		char *place = pass->import->lines + pass->text_at;

		memcpy(place, text.at, (size_t) (text.end - text.at));
		place[text.end - text.at] = '\0';
		pass->text_at += (uint64_t) (text.end - text.at) + 1;
		put_added(pass, place, kind);
	}
	return BR_OK;
}

static BrStatus
read_trainer(Pass *pass, Message trainer)
{
	Field field;

	while (trainer.at < trainer.end)
	{
		if (!read_field(&trainer, &field))
			return damaged(pass->context, pass->file, trainer.at);
		if (field.number == TRAINER_MODEL_KIND && field.value != MODEL_KIND_UNIGRAM)
			return br_base_fail(pass->context, BR_ERR_UNSUPPORTED,
								"%s: a model of kind %llu is not handled; Unigram (1) is.",
								pass->file->path, (unsigned long long) field.value);
		if (field.number == TRAINER_BYTE_FALLBACK && field.value != 0)
			return br_base_fail(pass->context, BR_ERR_UNSUPPORTED,
								"%s: a model with \"byte_fallback\" is not handled.",
								pass->file->path);
	}
	return BR_OK;
}

static BrStatus
read_normalizer(Pass *pass, Message normalizer)
{
	Field field;

	while (normalizer.at < normalizer.end)
	{
		if (!read_field(&normalizer, &field))
			return damaged(pass->context, pass->file, normalizer.at);
		if (field.number == NORMALIZER_CHARSMAP)
			pass->charsmap = field.bytes;
	}
	return BR_OK;
}

static BrStatus
read_file(Pass *pass, bool writing)
{
	const uint8_t *data = pass->file->data;
	Message model = {data, data + pass->file->size};
	Field field;
	BrStatus status = BR_OK;

	pass->writing = writing;
	pass->n_pieces = 0;
	while (model.at < model.end && status == BR_OK)
	{
		if (!read_field(&model, &field))
			return damaged(pass->context, pass->file, model.at);
		if (field.number == MODEL_PIECES)
			status = read_piece(pass, field.bytes);
		else if (field.number == MODEL_TRAINER)
			status = read_trainer(pass, field.bytes);
		else if (field.number == MODEL_NORMALIZER)
			status = read_normalizer(pass, field.bytes);
		if (status == BR_OK && pass->n_pieces % 4096 == 1 && br_base_cancelled(pass->context))
			status = br_base_fail(pass->context, BR_ERR_CANCELLED, "The import was cancelled.");
	}
	return status;
}

/* ---- the tokenizer ---- */

static BrStatus
read_pieces(Pass *pass)
{
	BrImageConfig *config = pass->config;
	BrTokenizerImport *import = pass->import;
	BrStatus status = read_file(pass, false);

	if (status != BR_OK)
		return status;
	if (pass->n_pieces < N_REPLACED ||
		pass->n_pieces + N_FIRST - N_REPLACED + 1 > config->vocabulary)
		return br_base_fail(pass->context, BR_ERR_FORMAT,
							"%s has %u pieces; %d to %u go with the model's vocabulary of %u.",
							pass->file->path, pass->n_pieces, N_REPLACED,
							config->vocabulary - N_FIRST + N_REPLACED - 1, config->vocabulary);
	/* each text may be there twice, as a token and as an added one */
	import->lines = br_base_alloc(pass->context, (size_t) (2 * pass->text_size) + 64);
	import->tokens = br_base_alloc_array(pass->context, (size_t) pass->n_pieces + N_FIRST + 1,
										 sizeof(BrImportToken));
	import->added =
		br_base_alloc_array(pass->context, (size_t) pass->n_pieces + 1, sizeof(BrImportAdded));
	if (import->lines == NULL || import->tokens == NULL || import->added == NULL)
		return BR_ERR_MEMORY;
	for (int i = 0; i < N_FIRST; i++)
		put_token(pass, first_tokens[i], strlen(first_tokens[i]), 0);
	status = read_file(pass, true);
	if (status == BR_OK)
	{
		put_token(pass, "<mask>", strlen("<mask>"), 0);
		status = br_encoder_index_tokens(pass->context, config, import);
	}
	return status;
}

/* Ids of the file's own added tokens; of those that XLM-RoBERTa does not have there are none. */
static void
number_added(BrImageConfig *config, BrTokenizerImport *import)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < config->n_added; i++)
	{
		import->added[i].id = br_encoder_token_id(import, config, import->added[i].text);
		if (import->added[i].id >= 0)
			import->added[kept++] = import->added[i];
	}
	config->n_added = kept;
}

/* Character map, stripping on the right, spaces into one replacement, which is put in front. */
static BrStatus
set_parts(Pass *pass)
{
	static const char replacement[] = "\xE2\x96\x81";
	BrImageConfig *config = pass->config;
	BrImageRule spaces = {.kind = BR_RULE_SPACES, .content_size = sizeof(replacement) - 1};
	size_t size = (size_t) (pass->charsmap.end - pass->charsmap.at);
	BrStatus status = BR_OK;

	memcpy(spaces.content, replacement, sizeof(replacement) - 1);
	if (size > 0)
	{
		config->rules[config->n_rules++] = (BrImageRule){.kind = BR_RULE_CHARSMAP};
		status = br_encoder_read_charsmap(pass->context, pass->file->path, pass->charsmap.at, size,
										  config, pass->import);
	}
	config->rules[config->n_rules++] = (BrImageRule){.kind = BR_RULE_STRIP_RIGHT};
	config->rules[config->n_rules++] = spaces;
	config->prefix_size = sizeof(replacement) - 1;
	memcpy(config->prefix, replacement, sizeof(replacement) - 1);
	config->flags = BR_UNIGRAM_PREPEND | BR_UNIGRAM_SPLIT;
	config->unknown_id = UNKNOWN_ID;
	return status;
}

BrStatus
br_encoder_read_sentencepiece(BrContext *context, const BrModelFile *file, BrImageConfig *config,
							  BrTokenizerImport *import)
{
	Pass pass = {.context = context, .file = file, .config = config, .import = import};
	BrTokenizerClass class = br_encoder_tokenizer_class(import, config);
	BrStatus status;

	if (class != BR_CLASS_XLM_ROBERTA)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: sentencepiece of another class than XLMRobertaTokenizer is not handled without tokenizer.json.",
							file->path);
	config->tokenizer = BR_TOKENIZER_UNIGRAM;
	status = read_pieces(&pass);
	if (status == BR_OK)
		status = set_parts(&pass);
	if (status == BR_OK)
		status = br_encoder_finish_scores(context, file->path, config, import);
	if (status != BR_OK)
		return status;
	number_added(config, import);
	status = br_encoder_class_template(context, file->path, class, config, import);
	if (status == BR_OK)
		status = br_encoder_add_class_tokens(context, class, config, import);
	return status;
}
