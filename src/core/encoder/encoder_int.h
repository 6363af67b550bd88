/*
 * encoder_int.h
 *	  What the files of the encoder room share.
 *
 * An import runs left to right: json.c and safetensors.c read files,
 * folder.c and architecture.c understand a model, tokenizer_import.c its
 * tokenizer, import.c writes the image. Use runs over the image alone:
 * image.c checks it, tokenizer.c and wordpiece.c, bpe.c or unigram.c make ids,
 * forward.c makes token embeddings, encoder.c pools them. What the files of
 * tokenizers share is in tokenizer_int.h. A further architecture is a row in
 * architecture.c and, where its layers differ, a forward pass; a further
 * tokenizer is a reader and a row in tokenizer.c.
 */
#ifndef BR_ENCODER_INT_H
#define BR_ENCODER_INT_H

#include <cjson/cJSON.h>

#include "core/encoder/br_encoder.h"

/* ---- json.c: JSON that a stranger wrote ---- */

/* Room for a name out of a file, made fit for a sentence. */
#define BR_QUOTED_SIZE 100

/* The first characters of name, control characters replaced; returns buffer. */
extern const char *br_encoder_quote(const char *name, char buffer[BR_QUOTED_SIZE]);

/*
 * Parses one JSON value that fills data. where names the file in messages.
 * The tree belongs to cJSON's allocator: cJSON_Delete it before returning to
 * the caller of the room. BR_ERR_FORMAT: not UTF-8, not JSON, or a string
 * with a NUL, which cJSON would cut short; BR_ERR_LIMIT: nested or split
 * further than any model file is.
 */
extern BrStatus br_encoder_json_parse(BrContext *context, const char *where, const void *data,
									  size_t size, cJSON **root);

/* Member by name; of several the last, as Python reads them; NULL: absent or null. */
extern const cJSON *br_encoder_json_get(const cJSON *object, const char *key);

/* Typed members. An absent or null one gives the fallback; another type is BR_ERR_FORMAT. */
extern BrStatus br_encoder_json_int(BrContext *context, const char *where, const cJSON *object,
									const char *key, int64_t minimum, int64_t maximum,
									int64_t fallback, int64_t *value);
extern BrStatus br_encoder_json_bool(BrContext *context, const char *where, const cJSON *object,
									 const char *key, bool fallback, bool *value);
extern BrStatus br_encoder_json_string(BrContext *context, const char *where, const cJSON *object,
									   const char *key, const char *fallback, const char **value);

/* A fallback outside the range makes a member of br_encoder_json_int required. */
#define BR_JSON_REQUIRED INT64_MIN

/* ---- safetensors.c ---- */

#define BR_TENSOR_MAX_DIMENSIONS 8

typedef struct BrTensor
{
	const char *name;
	const char *type; /* "F32" */
	int n_dimensions;
	int64_t shape[BR_TENSOR_MAX_DIMENSIONS];
	uint64_t begin; /* bytes from the start of the data */
	uint64_t end;
} BrTensor;

typedef struct BrTensorFile
{
	const char *path;
	const uint8_t *data; /* behind the header */
	cJSON *header;
	BrTensor *tensors; /* (n), sorted by name */
	int n;
} BrTensorFile;

/*
 * Checks the whole header of a safetensors file. The tensors point into it:
 * data must stay until br_encoder_tensors_close, which accepts a file that
 * could not be opened, too.
 */
extern BrStatus br_encoder_tensors_open(BrContext *context, const char *path, const void *data,
										size_t size, BrTensorFile *file);
extern void br_encoder_tensors_close(BrContext *context, BrTensorFile *file);
extern const BrTensor *br_encoder_tensor_find(const BrTensorFile *file, const char *name);

/*
 * Copies a tensor as float32. columns 0: a vector of rows elements.
 * BR_ERR_FORMAT: no such tensor, or another shape; BR_ERR_UNSUPPORTED: not of
 * type F32, F16 or BF16; BR_ERR_NUMERIC: NaN or infinity.
 */
extern BrStatus br_encoder_tensor_read(BrContext *context, const BrTensorFile *file,
									   const char *name, int64_t rows, int64_t columns,
									   float *values /* (rows, columns); NULL: check only */);

/* ---- unicode.c: characters as Hugging Face's tokenizers see them ---- */

extern bool br_encoder_is_utf8(const char *text, size_t size);

/* Code point at text, which must be UTF-8; *length: its bytes. */
extern int32_t br_encoder_decode(const char *text, int *length);
extern int br_encoder_encode_character(int32_t character, char bytes[4]);

extern bool br_encoder_is_whitespace(int32_t character);	  /* Unicode White_Space */
extern bool br_encoder_is_control(int32_t character);		  /* Cc, Cf, Co */
extern bool br_encoder_is_nonspacing_mark(int32_t character); /* Mn */
extern bool br_encoder_is_punctuation(int32_t character);	  /* ASCII punctuation and P* */
extern bool br_encoder_is_word(int32_t character);	 /* \w of a Unicode regular expression */
extern bool br_encoder_is_cjk(int32_t character);	 /* ideographs that stand alone */
extern bool br_encoder_is_letter(int32_t character); /* \p{L} of byte-level BPE's expression */
extern bool br_encoder_is_number(int32_t character); /* \p{N} of the same */

/* Lower case of one character: 1 or 2 of them. */
extern int br_encoder_lower(int32_t character, int32_t lower[2]);

/* Canonical decomposition, at most BR_DECOMPOSED_MAX characters; returns their number. */
#define BR_DECOMPOSED_MAX 4
extern int br_encoder_decompose(int32_t character, int32_t decomposed[BR_DECOMPOSED_MAX]);
extern int br_encoder_combining_class(int32_t character);

/* The character that ends before at; *begin: where it begins. */
extern int32_t br_encoder_decode_before(const char *text, size_t at, size_t *begin);

/* ---- image.c: the layout, version BR_ENCODER_LAYOUT_VERSION ---- */

#define BR_IMAGE_ALIGNMENT 64
#define BR_IMAGE_PREFIX_SIZE 16

typedef enum BrImagePart
{
	BR_PART_CONFIG,		 /* BrImageConfig */
	BR_PART_VOCABULARY,	 /* BrImageToken (n_tokens) */
	BR_PART_SLOTS,		 /* uint32_t (n_slots): hash table of token number + 1, 0 empty */
	BR_PART_ADDED,		 /* BrImageAdded (n_added), longest text first */
	BR_PART_TEMPLATE,	 /* int32_t (n_before + n_after) */
	BR_PART_TEXT,		 /* bytes of all tokens */
	BR_PART_MERGES,		 /* BrImageMerge (n_merges), by rank */
	BR_PART_MERGE_SLOTS, /* uint32_t (n_merge_slots): hash table of rank + 1, 0 empty */
	BR_PART_BYTES,		 /* int32_t (n_bytes): id of the token of one byte, -1 none */
	BR_PART_PAIRS,	/* uint8_t (n_pairs): bit for two bytes: some merge gives them side by side */
	BR_PART_SCORES, /* double (n_scores), of the tokens */
	BR_PART_TRIE,	/* BrImageNode (n_nodes), parents before children */
	BR_PART_UNITS,	/* uint32_t (n_units): trie of the character map */
	BR_PART_REPLACEMENTS, /* char (n_replacements): strings of the character map */
	BR_PART_WEIGHTS,	  /* float */
	BR_PART_COUNT
} BrImagePart;

typedef struct BrImageSpan
{
	uint64_t offset; /* from the start of the image; a multiple of 64 */
	uint64_t size;	 /* bytes */
} BrImageSpan;

typedef struct BrImageHeader
{
	char magic[8];
	uint32_t layout_version;
	uint32_t byte_order; /* BR_IMAGE_BYTE_ORDER as the writer stores it */
	uint64_t size;		 /* of the image */
	BrImageSpan parts[BR_PART_COUNT];
} BrImageHeader;

typedef struct BrImageToken
{
	uint32_t offset; /* in BR_PART_TEXT */
	uint32_t size;
	uint32_t hash;
	int32_t id;
	uint32_t flags; /* BR_TOKEN_ */
} BrImageToken;

#define BR_TOKEN_SPECIAL 0x01 /* not to be found in a text that is plain */

/* The pair of tokens left, right becomes one. */
typedef struct BrImageMerge
{
	int32_t left; /* ids */
	int32_t right;
	int32_t merged;
} BrImageMerge;

/* A node of the trie of all tokens' bytes; the first is the root. */
typedef struct BrImageNode
{
	uint32_t children; /* number of the first of them, which are sorted by label */
	int32_t token;	   /* that ends here, -1 none */
	uint8_t label;	   /* the byte that leads here */
	uint8_t n_children;
	uint16_t unused;
} BrImageNode;

#define BR_BYTE_VALUES 256
#define BR_PAIR_BYTES (BR_BYTE_VALUES * BR_BYTE_VALUES / 8)

/* Flags of an added token, and of WordPiece's normaliser. */
#define BR_ADDED_SINGLE_WORD 0x01
#define BR_ADDED_STRIP_LEFT 0x02
#define BR_ADDED_STRIP_RIGHT 0x04
#define BR_ADDED_NORMALIZED 0x08
#define BR_ADDED_SPECIAL 0x10

#define BR_BERT_CLEAN_TEXT 0x01
#define BR_BERT_SPACE_CJK 0x02
#define BR_BERT_STRIP_ACCENTS 0x04
#define BR_BERT_LOWERCASE 0x08
#define BR_BERT_LOWERCASE_FIRST 0x10 /* do_lower_case of sentence-transformers */

/* Flags of byte-level BPE, and of Unigram's pre-tokenizer. */
#define BR_BPE_PREFIX_SPACE 0x0100
#define BR_BPE_FUSE_UNKNOWN 0x0200
#define BR_UNIGRAM_PREPEND 0x0400		   /* the replacement in front of each piece */
#define BR_UNIGRAM_SPLIT 0x0800			   /* in front of each replacement */
#define BR_UNIGRAM_SPLIT_WHITESPACE 0x1000 /* at whitespace, before the above */

/* One step of a normaliser. */
typedef enum BrRuleKind
{
	BR_RULE_CHARSMAP,
	BR_RULE_STRIP_LEFT,
	BR_RULE_STRIP_RIGHT,
	BR_RULE_SPACES, /* two spaces or more become content */
	BR_RULE_REPLACE /* pattern becomes content */
} BrRuleKind;

#define BR_RULE_TEXT_SIZE 24
#define BR_MAX_RULES 8

typedef struct BrImageRule
{
	uint32_t kind;
	uint32_t pattern_size;
	uint32_t content_size;
	char pattern[BR_RULE_TEXT_SIZE];
	char content[BR_RULE_TEXT_SIZE];
} BrImageRule;

typedef struct BrImageAdded
{
	uint32_t offset; /* in BR_PART_TEXT; normalised where so flagged */
	uint32_t size;
	int32_t id;
	uint32_t flags;
} BrImageAdded;

typedef struct BrImageConfig
{
	uint32_t architecture; /* row in architecture.c */
	uint32_t tokenizer;	   /* row in tokenizer.c */
	uint32_t hidden;
	uint32_t layers;
	uint32_t heads;
	uint32_t intermediate;
	uint32_t vocabulary;
	uint32_t positions;
	uint32_t activation;	 /* BrActivation */
	float epsilon;			 /* of the layer norms */
	uint32_t first_position; /* 0, or the padding token's id + 1, which keeps its row for itself */
	uint32_t pooling;		 /* BrPooling */
	uint32_t max_tokens;
	uint32_t attended; /* width of query, key and value; 0: hidden, as without removed heads */
	uint64_t parameters;

	uint32_t n_steps;
	BrImageStep steps[BR_IMAGE_MAX_STEPS];

	uint32_t n_tokens;
	uint32_t n_slots; /* power of two */
	uint32_t n_added;
	uint32_t n_before; /* template: ids before the text */
	uint32_t n_after;

	uint32_t flags;		/* BR_BERT_, BR_BPE_, BR_UNIGRAM_ */
	int32_t unknown_id; /* -1: none, which only byte-level BPE may have */
	uint32_t max_word_characters;
	uint32_t prefix_size; /* of the continuing prefix, "##", or the replacement of a space */
	char prefix[BR_IMAGE_PREFIX_SIZE];

	uint32_t n_merges;
	uint32_t n_merge_slots; /* power of two; 0 without merges */
	uint32_t n_bytes;		/* BR_BYTE_VALUES or 0 */
	uint32_t n_pairs;		/* BR_PAIR_BYTES or 0 */
	uint32_t n_scores;		/* n_tokens or 0 */
	uint32_t n_nodes;
	uint32_t n_units;
	uint32_t n_replacements;
	uint32_t longest_token; /* bytes */
	uint32_t n_rules;
	double unknown_score;
	BrImageRule rules[BR_MAX_RULES];
} BrImageConfig;

/* Limits within which nothing computed from a configuration can overflow. */
#define BR_MAX_HIDDEN 16384
#define BR_MAX_INTERMEDIATE 131072
#define BR_MAX_LAYERS 256
#define BR_MAX_VOCABULARY 4000000
#define BR_MAX_POSITIONS 65536
#define BR_MAX_WORD_CHARACTERS 1000
#define BR_MAX_NODES 16000000
#define BR_MAX_REPLACEMENT 255 /* bytes of one string of the character map */

/* heads * the dimension of one */
static inline uint32_t
br_encoder_attended(const BrImageConfig *config)
{
	return config->attended != 0 ? config->attended : config->hidden;
}

extern void br_encoder_map_weights(const BrImageConfig *config, BrWeightMap *map);

/* Sizes of the parts of an image; false where they do not fit in memory. */
extern bool br_encoder_plan_image(const BrImageConfig *config, size_t text_size,
								  BrImageHeader *header);

/* Checks everything that a damaged image could make harmful. */
extern BrStatus br_encoder_check_image(BrContext *context, const void *image, size_t size);

static inline const void *
br_encoder_part(const void *image, BrImagePart part)
{
	return (const char *) image + ((const BrImageHeader *) image)->parts[part].offset;
}

/* Hash of a token's bytes (FNV-1a); seed with BR_HASH_SEED or a hash to go on from. */
#define BR_HASH_SEED UINT32_C(2166136261)

static inline uint32_t
br_encoder_hash_byte(uint32_t hash, unsigned char byte)
{
	return (hash ^ byte) * UINT32_C(16777619);
}

/* ---- architecture.c ---- */

/* Members of config.json, by the names an architecture gives them. */
typedef struct BrConfigNames
{
	const char *hidden;
	const char *layers;
	const char *heads;
	const char *intermediate;
	const char *activation;
	const char *epsilon; /* NULL: always 1e-12 */
} BrConfigNames;

/* By what the rows of the position table are chosen. */
typedef enum BrPositions
{
	BR_POSITIONS_FROM_ZERO,
	BR_POSITIONS_AFTER_PADDING, /* behind row pad_token_id */
	BR_POSITIONS_FROM_TWO		/* behind row 1, whatever pad_token_id says */
} BrPositions;

/* The tensors of a transformer, by the names its own folder uses. */
typedef struct BrArchitecture
{
	const char *model_type; /* of config.json */
	const char *prefix;		/* that tensor names may or may not have */
	const BrConfigNames *members;
	BrPositions positions;
	const char *word;
	const char *position;
	const char *type;	  /* NULL: tokens have no types */
	const char *relative; /* NULL: attention does not look at distances */
	const char *norm;	  /* the rest of a layer norm's name is .weight and .bias */
	const char *layer;	  /* a number and the names below follow it */
	const char *query;
	const char *key;
	const char *value;
	const char *output;
	const char *attention_norm;
	const char *up;
	const char *down;
	const char *layer_norm;
} BrArchitecture;

/* By number, as an image stores it; NULL: none. */
extern const BrArchitecture *br_encoder_architecture(uint32_t number);

/* How many tokens a text may have for the position table. */
static inline uint32_t
br_encoder_usable_positions(const BrImageConfig *config)
{
	return config->positions - config->first_position;
}

/* Reads config.json into the transformer's part of config. */
extern BrStatus br_encoder_read_config(BrContext *context, const char *where, const cJSON *json,
									   BrImageConfig *config);

/*
 * Copies all tensors of the transformer into their places, and counts their
 * parameters. weights NULL: checks that all are there in their shapes.
 */
extern BrStatus br_encoder_read_weights(BrContext *context, const BrTensorFile *file,
										const BrImageConfig *config, const BrWeightMap *map,
										float *weights, uint64_t *parameters);

/* ---- folder.c: the files of a model folder and its module chain ---- */

/* Zero but for the files before the first use; the strings are its own. */
typedef struct BrFolder
{
	const BrModelFile *files;
	int n;
	char *transformer; /* path prefix of the transformer's files: "" or "0_Transformer/" */
	char *step_path[BR_IMAGE_MAX_STEPS]; /* of the dense steps' weights, else NULL */
} BrFolder;

/* "directory" + "name"; NULL without memory. Free with br_base_free. */
extern char *br_encoder_join(BrContext *context, const char *directory, const char *name);

/* NULL: not there. */
extern const BrModelFile *br_encoder_find_file(const BrFolder *folder, const char *path);

/* A JSON file of the transformer; *json NULL where an optional one is not there. */
extern BrStatus br_encoder_open_json(BrContext *context, const BrFolder *folder, const char *path,
									 bool required, cJSON **json);

/* Reads of modules.json where the transformer's files are. */
extern BrStatus br_encoder_read_modules(BrContext *context, BrFolder *folder);

/*
 * Reads pooling and steps into config, whose transformer part must be there,
 * and the places of the steps' files into folder.
 */
extern BrStatus br_encoder_read_chain(BrContext *context, BrFolder *folder, BrImageConfig *config);
extern void br_encoder_close_folder(BrContext *context, BrFolder *folder);

/* ---- limits.c ---- */

/* The names under which the transformer module keeps its own configuration; NULL: no more. */
extern const char *br_encoder_limit_file(int number);

/*
 * Reads how many tokens a text may have, and whether it is lower-cased first.
 * tokenizer_config: the tree of tokenizer_config.json, or NULL.
 */
extern BrStatus br_encoder_read_limits(BrContext *context, const BrFolder *folder,
									   const cJSON *tokenizer_config, BrImageConfig *config);

/* ---- addition.c: what an image has behind its weights ---- */

/*
 * Of an image whose other parts are checked and whose weights end at end:
 * *size, of all its bytes, becomes what it should be; false: no addition is there.
 */
extern bool br_encoder_addition_size(const void *image, uint64_t end, uint64_t *size);

/* Of a checked image. *values: where its numbers are, NULL without an addition. */
extern BrAddition br_encoder_open_addition(const void *image, const float **values);

/* Of a checked image: BR_ERR_UNSUPPORTED where it has one, which smaller copies would lose. */
extern BrStatus br_encoder_refuse_addition(BrContext *context, const void *image);

/* Rows of what a half of a layer gave, as its bottleneck makes them, in place. */
extern void br_encoder_adapt(const BrEncoder *encoder, const BrBackend *backend, uint32_t layer,
							 int half, int rows, float *narrow /* (rows, size) */,
							 float *wide /* (rows, hidden) */, float *values /* (rows, hidden) */);

/*
 * Attention of one text of the batch, of some heads, as the backend's attention
 * is, with the prefix before it. No text has more than reach tokens with it.
 */
extern void br_encoder_attend_with_prefix(
	const BrEncoder *encoder, const BrBackend *backend, uint32_t layer,
	const float *qkv /* (tokens, 3 * attended) */, int tokens, int first_head, int last_head,
	const float *relative /* (heads, 2 * reach - 1) */, int reach, float *scratch,
	float *room /* (reach, 4 * attended) */, float *attended /* (tokens, attended) */);

/* ---- tensors.c ---- */

/* Writes weights into an image of the caller's. BR_ERR_NUMERIC: one is not finite. */
extern BrStatus br_encoder_put_weights(BrContext *context, void *image, const float *weights);

/* ---- encoder.c: what its other files see of an encoder ---- */

extern const BrImageConfig *br_encoder_config(const BrEncoder *encoder);
extern const BrWeightMap *br_encoder_weight_map(const BrEncoder *encoder);

/* ---- packed.c ---- */

/* The matrices of a layer, in the order in which a table of packed weights has them. */
typedef enum BrMatrixKind
{
	BR_MATRIX_QKV,
	BR_MATRIX_OUTPUT,
	BR_MATRIX_UP,
	BR_MATRIX_DOWN
} BrMatrixKind;

#define BR_MATRICES_OF_LAYER 4

/* Where a packed matrix stands; those of the layers come first, then one for each step. */
typedef struct BrPackedMatrix
{
	uint64_t offset; /* from the beginning of the block */
	uint32_t precision;
	uint32_t reserved;
} BrPackedMatrix;

extern const BrPackedMatrix *br_encoder_packed_table(const void *packed);

/* ---- forward.c ---- */

/* The buffers of one embedding call, sized by its largest batch. */
typedef struct BrForwardWork
{
	void *block;	 /* as allocated */
	char *memory;	 /* in it, at a multiple of 64 */
	size_t capacity; /* bytes */
	float *hidden;	 /* (tokens, hidden): token embeddings at the end */
} BrForwardWork;

/* Makes room for a batch, so that br_encoder_forward does not allocate. */
extern BrStatus br_encoder_prepare_forward(const BrEncoder *encoder, BrContext *context,
										   const BrCompute *compute,
										   const int32_t *offsets /* (texts + 1) */, int texts,
										   BrForwardWork *work);

/*
 * Token embeddings of a packed batch, for which work was prepared, into
 * work->hidden; ids are checked by the caller. Calls nothing of the context
 * but its cancel callback.
 */
extern BrStatus br_encoder_forward(const BrEncoder *encoder, BrContext *context,
								   const BrCompute *compute, const int32_t *ids /* (tokens) */,
								   const int32_t *offsets /* (texts + 1) */, int texts,
								   BrForwardWork *work);

/* A dense layer of the model, by its number in a table of packed weights. */
typedef struct BrDense
{
	uint32_t number;
	const float *weight;
	const float *bias;
	int in_dim;
	int out_dim;
} BrDense;

/* out_dim is 0 of a step that has no matrix. */
extern BrDense br_encoder_dense(const BrEncoder *encoder, uint32_t number);

/*
 * output = the layer of input, by its packed matrix or, where nothing is
 * packed, by the plain one. scratch: as packed_scratch says; false: there was
 * no memory.
 */
extern bool br_encoder_run_dense(const BrCompute *compute, const BrDense *dense, const float *input,
								 int rows, BrActivation activation, void *scratch, float *output);

/* What to fail with where br_encoder_run_dense did. */
extern BrStatus br_encoder_out_of_memory(BrContext *context);

/* Bytes of scratch that br_encoder_run_dense may need for any matrix of the model. */
extern size_t br_encoder_dense_scratch(const BrEncoder *encoder, const BrCompute *compute,
									   int rows);

/* ---- pooling.c ---- */

/* Bytes of work memory that br_encoder_pool needs. */
extern size_t br_encoder_pooled_size(const BrEncoder *encoder, const BrCompute *compute, int texts);

/* The embeddings of texts whose token embeddings are there. */
extern BrStatus br_encoder_pool(const BrEncoder *encoder, BrContext *context,
								const BrCompute *compute,
								const float *tokens /* (offsets[texts], hidden) */,
								const int32_t *offsets /* (texts + 1) */, int texts, void *memory,
								float *embeddings /* (texts, dimensions) */);

#endif /* BR_ENCODER_INT_H */
