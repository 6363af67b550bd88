/*
 * tokenizer_int.h
 *	  What the files of the encoder room that make or are tokenizers share.
 *
 * tokenizer_import.c, tokenizer_config.c, tokenizer_json.c and those that they
 * call read a tokenizer's files into a BrTokenizerImport, tokenizer_write.c
 * puts it into an image. tokenizer.c and the model of its kind (wordpiece.c,
 * bpe.c, unigram.c) run over the image.
 */
#ifndef BR_TOKENIZER_INT_H
#define BR_TOKENIZER_INT_H

#include "core/encoder/encoder_int.h"

/* ---- grapheme.c: what is one character to a reader ---- */

/* End of the extended grapheme cluster that begins at text[at]. */
extern size_t br_encoder_grapheme_end(const char *text, size_t at, size_t size);

/* Whether a character neither joins its neighbours in a cluster nor ends one for a reason of its own. */
extern bool br_encoder_stands_alone(int32_t character);

/* Whether a character takes the one behind it into its cluster, whatever that is. */
extern bool br_encoder_is_prepended(int32_t character);

/* ---- tokenizer_import.c ---- */

typedef struct BrImportToken
{
	const char *text;
	uint32_t size;
	int32_t id;
	double score;
} BrImportToken;

typedef struct BrImportAdded
{
	const char *text; /* as written in the file */
	int32_t id;
	uint32_t flags;
} BrImportAdded;

/* A tokenizer as its files describe it; strings point into the files' trees. */
typedef struct BrTokenizerImport
{
	cJSON *json;		   /* tokenizer.json or vocab.json; NULL: vocab.txt or sentencepiece */
	cJSON *config;		   /* tokenizer_config.json; NULL: none */
	cJSON *special_map;	   /* special_tokens_map.json; NULL: none */
	char *lines;		   /* vocab.txt, merges.txt or pieces, cut into strings */
	BrImportToken *tokens; /* (config.n_tokens) */
	uint32_t *slots;	   /* (config.n_slots): hash table of token number + 1 */
	BrImportAdded *added;  /* (config.n_added) */
	uint32_t added_flags;  /* config.flags with which added tokens are normalised */
	int32_t *template;	   /* (config.n_before + config.n_after) */
	BrImageMerge *merges;  /* (config.n_merges) */
	uint32_t *units; /* (config.n_units), the character map's trie and behind it its strings */
} BrTokenizerImport;

/* Reads the tokenizer of the folder into import and its part of config. */
extern BrStatus br_encoder_read_tokenizer(BrContext *context, const BrFolder *folder,
										  BrImageConfig *config, BrTokenizerImport *import);
extern void br_encoder_close_tokenizer(BrContext *context, BrTokenizerImport *import);

/* Makes import->slots for the tokens that are there; before the first br_encoder_token_id. */
extern BrStatus br_encoder_index_tokens(BrContext *context, BrImageConfig *config,
										BrTokenizerImport *import);

/* The number of a token, -1: none; of equal ones the last. br_encoder_token_id: its id. */
extern int64_t br_encoder_token_number(const BrTokenizerImport *import, const BrImageConfig *config,
									   const char *text, size_t size);
extern int32_t br_encoder_token_id(const BrTokenizerImport *import, const BrImageConfig *config,
								   const char *text);

/* Whether text is UTF-8 with something in it and without a NUL. */
extern BrStatus br_encoder_check_lines(BrContext *context, const BrModelFile *file);

/* ---- tokenizer_config.c: what other files say about a tokenizer ---- */

/* The class that the reference makes of a folder's tokenizer. */
typedef enum BrTokenizerClass
{
	BR_CLASS_BERT,
	BR_CLASS_MPNET,
	BR_CLASS_ROBERTA,
	BR_CLASS_XLM_ROBERTA,
	BR_CLASS_ANY /* tokenizer.json alone counts */
} BrTokenizerClass;

extern BrTokenizerClass br_encoder_tokenizer_class(const BrTokenizerImport *import,
												   const BrImageConfig *config);

/* The text of a special token by its role ("cls_token"); NULL: it has none. */
extern const char *br_encoder_role(const BrTokenizerImport *import, BrTokenizerClass class,
								   const char *key);

/* Enters the special tokens of a tokenizer without tokenizer.json, with their flags. */
extern BrStatus br_encoder_add_class_tokens(BrContext *context, BrTokenizerClass class,
											BrImageConfig *config, BrTokenizerImport *import);

/* Id of the token with this role; BR_ERR_FORMAT, naming the file where, without one. */
extern BrStatus br_encoder_require_role(BrContext *context, const char *where,
										BrTokenizerClass class, const BrImageConfig *config,
										const BrTokenizerImport *import, const char *key,
										int32_t *id);

/* A template of one special token before the text and one behind it. */
extern BrStatus br_encoder_class_template(BrContext *context, const char *where,
										  BrTokenizerClass class, BrImageConfig *config,
										  BrTokenizerImport *import);

/* tokenizer_config.json and special_tokens_map.json over what was read. */
extern BrStatus br_encoder_apply_tokenizer_config(BrContext *context, BrImageConfig *config,
												  BrTokenizerImport *import);

/* The members of an added token; special and normalized default to each other's opposite. */
extern BrStatus br_encoder_read_added_flags(BrContext *context, const char *where,
											const cJSON *entry, uint32_t *flags);

/* ---- tokenizer_json.c, tokenizer_model.c, tokenizer_parts.c: tokenizer.json ---- */

/* import->json into the rest of import and config. */
extern BrStatus br_encoder_read_tokenizer_json(BrContext *context, const char *where,
											   BrImageConfig *config, BrTokenizerImport *import);

/* The member of json that key names must be an object of the wanted type. */
extern BrStatus br_encoder_json_part(BrContext *context, const char *where, const cJSON *json,
									 const char *key, const char *wanted, const cJSON **part);

/* Which model the file describes, and all of it: vocabulary, merges or scores. */
extern BrStatus br_encoder_read_model(BrContext *context, const char *where, const cJSON *json,
									  BrImageConfig *config, BrTokenizerImport *import);

/* {"token": id, ...} */
extern BrStatus br_encoder_read_vocabulary(BrContext *context, const char *where,
										   const cJSON *vocabulary, BrImageConfig *config,
										   BrTokenizerImport *import);

/* Normaliser and pre-tokenizer, of the kinds that go with the model. */
extern BrStatus br_encoder_read_parts(BrContext *context, const char *where, const cJSON *json,
									  BrImageConfig *config, BrTokenizerImport *import);

/* ---- bpe_import.c, sentencepiece.c: tokenizers without tokenizer.json ---- */

/* Enters a merge of the tokens left and right, both in the vocabulary, as their texts together. */
extern BrStatus br_encoder_add_merge(BrContext *context, const char *where, const char *left,
									 size_t left_size, const char *right, size_t right_size,
									 BrImageConfig *config, BrTokenizerImport *import);

/* import->json is vocab.json. */
extern BrStatus br_encoder_read_bpe_files(BrContext *context, const char *vocab_path,
										  const BrModelFile *merges, BrImageConfig *config,
										  BrTokenizerImport *import);
extern BrStatus br_encoder_read_sentencepiece(BrContext *context, const BrModelFile *file,
											  BrImageConfig *config, BrTokenizerImport *import);

/* Makes the unknown score of the tokens' scores, all of which must be finite. */
extern BrStatus br_encoder_finish_scores(BrContext *context, const char *where,
										 BrImageConfig *config, const BrTokenizerImport *import);

/* ---- charsmap.c: the character map of sentencepiece ---- */

/* What normalising needs: of an image, or of an import. */
typedef struct BrNormalizer
{
	const BrImageConfig *config;
	const uint32_t *units;
	const char *replacements;
} BrNormalizer;

/*
 * Reads a map: the size of a trie, the trie, strings that its values lead to.
 * BR_ERR_FORMAT, with where and what in front: it leads outside itself.
 */
extern BrStatus br_encoder_read_charsmap(BrContext *context, const char *where, const uint8_t *data,
										 size_t size, BrImageConfig *config,
										 BrTokenizerImport *import);

/* The string for the shortest key that text begins with; NULL: none. *length: its bytes. */
extern const char *br_encoder_map_characters(const BrNormalizer *normalizer, const char *text,
											 size_t size, size_t *length);

/* ---- tokenizer_write.c: the tokenizer's parts of an image ---- */

/* What the text is searched for: the added tokens, normalised where they must be. */
typedef struct BrAddedTexts
{
	char **texts;	 /* (n_added) */
	uint32_t *sizes; /* (n_added) */
} BrAddedTexts;

/* Drops those of import->added that can never match. */
extern BrStatus br_encoder_prepare_added(BrContext *context, BrImageConfig *config,
										 BrTokenizerImport *import, BrAddedTexts *added);
extern void br_encoder_close_added(BrContext *context, const BrImageConfig *config,
								   BrAddedTexts *added);

/* Sets the sizes that config still lacks, after br_encoder_prepare_added. *text_size: of BR_PART_TEXT. */
extern BrStatus br_encoder_plan_tokenizer(BrContext *context, BrImageConfig *config,
										  const BrTokenizerImport *import,
										  const BrAddedTexts *added, uint64_t *text_size);

/* Fills the parts; the header must be there. */
extern BrStatus br_encoder_write_tokenizer(BrContext *context, const BrImageConfig *config,
										   const BrTokenizerImport *import,
										   const BrAddedTexts *added, void *image);

/* ---- tokenizer.c ---- */

/* A tokenizer over an image. */
typedef struct BrTokenizer
{
	const BrImageConfig *config;
	const BrImageToken *tokens;
	const uint32_t *slots;
	const BrImageAdded *added;
	const int32_t *template;
	const char *text;
	const BrImageMerge *merges;
	const uint32_t *merge_slots;
	const int32_t *bytes;
	const uint8_t *pairs;
	const double *scores;
	const BrImageNode *nodes;
	BrNormalizer normalizer;
	bool starts_raw[256];		 /* first bytes of added tokens, matched as written */
	bool starts_normalized[256]; /* and after normalising */
	bool whole;					 /* text cannot be cut into windows */
} BrTokenizer;

/* A token of a word that may still be merged with its neighbours (bpe.c). */
typedef struct BrSymbol
{
	int32_t id;		  /* -1: merged into the one before */
	int32_t previous; /* -1: none */
	int32_t next;	  /* -1: none */
} BrSymbol;

/* Buffers of one tokenizing call, reused from text to text. */
typedef struct BrTokenWork
{
	BrContext *context;
	char *text; /* normalised piece */
	size_t text_size;
	size_t text_capacity;
	char *spare; /* what a step of normalising reads, or a word with what stands in front of it */
	size_t spare_size;
	size_t spare_capacity;
	uint64_t *marks; /* combining marks that wait to be ordered; merges that wait */
	size_t n_marks;
	size_t marks_capacity;
	uint32_t *hashes;  /* of the beginnings of a word (max_word_characters) */
	BrSymbol *symbols; /* of a word, while they are merged */
	size_t symbols_capacity;
	uint32_t *path; /* bytes of the last token on the best way to each place (unigram.c) */
	size_t path_capacity;
	double *scores; /* of the best ways to the places ahead */
	size_t scores_capacity;
	int32_t *ids;
	size_t n_ids;
	size_t ids_capacity;
	size_t room;   /* ids that may still come, without the template */
	bool plain;	   /* special tokens are not asked for */
	int64_t *uses; /* (vocabulary): raised by every id, dropped ones included; NULL: not counted */
} BrTokenWork;

typedef enum BrTokenizerNumber
{
	BR_TOKENIZER_WORDPIECE,
	BR_TOKENIZER_BPE,
	BR_TOKENIZER_UNIGRAM
} BrTokenizerNumber;

/* What differs between tokenizers. */
typedef struct BrTokenizerKind
{
	const char *name;

	/* puts the normalised piece into work->text */
	BrStatus (*normalize)(const BrNormalizer *normalizer, BrTokenWork *work, const char *piece,
						  size_t size);

	/* appends the ids of normalised text, until work->room of them are there */
	BrStatus (*encode)(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text,
					   size_t size);

	/* whether what stands at and behind text[at] has the same ids without what stands before, and so the other way */
	bool (*cuts)(const BrTokenizer *tokenizer, const char *text, size_t at, size_t size);
} BrTokenizerKind;

/* By number, as an image stores it; NULL: none. */
extern const BrTokenizerKind *br_encoder_tokenizer_kind(uint32_t number);

extern void br_encoder_open_tokenizer(const void *image, BrTokenizer *tokenizer);
extern void br_encoder_close_work(BrTokenWork *work);

/* Appends the ids of a text, with the template's, to work->ids. */
extern BrStatus br_encoder_encode_text(const BrTokenizer *tokenizer, BrTokenWork *work,
									   const char *text, size_t size, bool parse_special);

/* Number of the token with these bytes, -1: none; hash is that of prefix and bytes together. */
extern int br_encoder_find_token(const BrTokenizer *tokenizer, uint32_t hash, const char *prefix,
								 size_t prefix_size, const char *bytes, size_t size);

/* Makes room for size elements behind n of them; the contents move along. */
extern BrStatus br_encoder_grow(BrContext *context, void **buffer, size_t *capacity, size_t n,
								size_t size, size_t width);
extern BrStatus br_encoder_append_text(BrTokenWork *work, const char *bytes, size_t size);
extern BrStatus br_encoder_append_id(BrTokenWork *work, int32_t id);
extern BrStatus br_encoder_append_mark(BrTokenWork *work, uint64_t mark);

/* ---- wordpiece.c, bert_normalizer.c ---- */

extern BrStatus br_encoder_bert_normalize(const BrNormalizer *normalizer, BrTokenWork *work,
										  const char *piece, size_t size);
extern BrStatus br_encoder_wordpiece(const BrTokenizer *tokenizer, BrTokenWork *work,
									 const char *text, size_t size);

/* ---- bpe.c ---- */

extern BrStatus br_encoder_bpe(const BrTokenizer *tokenizer, BrTokenWork *work, const char *text,
							   size_t size);
extern bool br_encoder_bpe_cuts(const BrTokenizer *tokenizer, const char *text, size_t at,
								size_t size);

/* The character that stands for a byte in byte-level BPE's tokens, and back (-1: for none). */
extern int32_t br_encoder_byte_character(int byte);
extern int br_encoder_character_byte(int32_t character);

/* Where a pair of ids is first looked for in BR_PART_MERGE_SLOTS. */
static inline uint32_t
br_encoder_hash_pair(int32_t left, int32_t right)
{
	uint32_t hash =
		(uint32_t) left * UINT32_C(0x9E3779B1) ^ (uint32_t) right * UINT32_C(0x85EBCA6B);

	return hash ^ hash >> 15;
}

/* ---- unigram.c, unigram_normalizer.c ---- */

extern BrStatus br_encoder_normalize_rules(const BrNormalizer *normalizer, BrTokenWork *work,
										   const char *piece, size_t size);

/* Whether the rules treat a text in windows as they treat it whole. */
extern bool br_encoder_rules_cut(const BrNormalizer *normalizer);
extern BrStatus br_encoder_unigram(const BrTokenizer *tokenizer, BrTokenWork *work,
								   const char *text, size_t size);
extern bool br_encoder_unigram_cuts(const BrTokenizer *tokenizer, const char *text, size_t at,
									size_t size);

/* ---- encoder.c ---- */

extern const BrTokenizer *br_encoder_tokenizer(const BrEncoder *encoder);

#endif /* BR_TOKENIZER_INT_H */
