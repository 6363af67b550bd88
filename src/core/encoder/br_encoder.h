/*
 * br_encoder.h
 *	  The door of the encoder room: from text to token ids to an embedding.
 *
 * A model folder is imported once into an image: one contiguous, pointer-free,
 * checked block that holds configuration, tokenizer tables and weights. The
 * image is what the database stores, what the shared packed file contains, and
 * what an encoder is opened over, without a copy.
 */
#ifndef BR_ENCODER_H
#define BR_ENCODER_H

#include "core/base/br_base.h"
#include "core/math/br_backend.h"
#include "core/math/br_device.h"

/* Raised when the layout of an image changes. */
#define BR_ENCODER_LAYOUT_VERSION 2

/* One file of a model folder, by its path inside the folder ("1_Pooling/config.json"). */
typedef struct BrModelFile
{
	const char *path;
	const void *data;
	size_t size;
} BrModelFile;

/* As a folder calls it: "mean", "weightedmean"; NULL: no such pooling. */
extern const char *br_encoder_pooling_name(BrPooling pooling);

/* What a model is. Strings live as long as the image. */
typedef struct BrModelInfo
{
	const char *architecture; /* "bert" */
	const char *tokenizer;	  /* "wordpiece", "bpe", "unigram" */
	BrPooling pooling;
	bool normalize; /* embeddings have length 1 */
	int dimensions; /* of an embedding */
	int hidden_size;
	int layers;
	int heads;
	int vocabulary; /* rows of the word table */
	int max_tokens; /* with special tokens; longer texts are cut */
	int64_t parameters;
} BrModelInfo;

typedef struct BrEncoder BrEncoder;

/*
 * The paths, relative to the folder, that an import may need, in the order in
 * which they should be read; paths with a module folder come from
 * modules.json, so this takes its text (NULL: a plain Hugging Face folder).
 * *paths: array of *n strings in one block that the caller frees.
 */
extern BrStatus br_encoder_needed_files(BrContext *context, const char *modules_json,
										size_t modules_size, char ***paths, int *n);

/*
 * Checks everything in the files of a sentence-transformers or plain Hugging
 * Face folder and builds the image. Plain folders get mean pooling, no
 * normalisation.
 * *image: *image_size bytes, owned by the caller (br_base_free). All inside it
 * stands at multiples of 64 bytes from its beginning.
 * BR_ERR_FORMAT: missing, damaged or contradictory file; BR_ERR_UNSUPPORTED:
 * architecture, tokenizer part or module that is not handled, by name;
 * BR_ERR_NUMERIC: NaN or infinite weight, by tensor.
 */
extern BrStatus br_encoder_import(BrContext *context, const BrModelFile *files, int n_files,
								  void **image, size_t *image_size);

/*
 * Opens an encoder over an image, which must stay in place and unchanged until
 * br_encoder_close, aligned to 8 bytes at least, best to 64 as a mapped file
 * is. Checks the header, every offset and the sizes, not the
 * weights themselves. The allocator of the context must outlive the encoder.
 */
extern BrStatus br_encoder_open(BrContext *context, const void *image, size_t image_size,
								BrEncoder **encoder);
extern void br_encoder_close(BrEncoder *encoder); /* NULL is ignored */
extern const BrModelInfo *br_encoder_info(const BrEncoder *encoder);

/*
 * Token ids of a UTF-8 text, with special tokens, cut to max_tokens.
 * parse_special: special tokens written inside the text become their ids, as
 * Hugging Face does; otherwise they are plain text.
 * *ids: *n ids, owned by the caller (br_base_free).
 * BR_ERR_ARGUMENT: not UTF-8.
 */
extern BrStatus br_encoder_tokenize(const BrEncoder *encoder, BrContext *context, const char *text,
									size_t size, bool parse_special, int32_t **ids, int *n);

/*
 * The same of many texts: ids of text i at *ids + (*offsets)[i] .. (*offsets)[i + 1].
 * Asks for cancellation before each text. *ids, *offsets (n + 1): a block each,
 * owned by the caller; both NULL after a failure. BR_ERR_LIMIT: more ids than
 * an int32_t counts.
 */
extern BrStatus br_encoder_encode(const BrEncoder *encoder, BrContext *context,
								  const char *const *texts /* (n) */, const size_t *sizes /* (n) */,
								  int n, bool parse_special, int32_t **ids, int32_t **offsets);

/*
 * The model as devices see it, with its weights where they stand in the image.
 * *transformer: one block, owned by the caller (br_base_free), which serves as
 * long as the image does; the table of distances is in the block.
 * BR_ERR_UNSUPPORTED: the model has an addition or has lost heads, which devices do
 * not compute.
 */
extern BrStatus br_encoder_describe(const BrEncoder *encoder, BrContext *context,
									BrTransformer **transformer);

/*
 * The same of a shape (below) with weights elsewhere, shape->map.total of them, to
 * which the description points.
 */
struct BrModelShape;
extern BrStatus br_encoder_describe_weights(BrContext *context, const struct BrModelShape *shape,
											const float *weights, BrTransformer **transformer);

/*
 * Packed weights: the dense layers' matrices as one backend on one instruction
 * set multiplies them in one precision, in one contiguous pointer-free block
 * that may be shared as the image is. In int8, matrices that lose too much
 * stay in a higher precision.
 */

/* Raised when the form of packed weights changes. */
#define BR_ENCODER_PACKED_VERSION 1

/* Bytes of the block; 0: the backend does not pack in this precision here, or has no memory. */
extern size_t br_encoder_packed_size(const BrEncoder *encoder, const BrBackend *backend,
									 BrPrecision precision);

/*
 * Packs the weights of the encoder's image. packed: of that many bytes,
 * aligned to 64. Asks for cancellation before each matrix.
 * BR_ERR_ARGUMENT: the backend does not pack in this precision here.
 */
extern BrStatus br_encoder_pack(const BrEncoder *encoder, BrContext *context,
								const BrBackend *backend, BrPrecision precision, void *packed);

/*
 * Checks that a block is what br_encoder_pack gives for these arguments: sizes
 * and places of all matrices, not the weights themselves. BR_ERR_FORMAT: it is
 * not, or is damaged.
 */
extern BrStatus br_encoder_check_packed(const BrEncoder *encoder, BrContext *context,
										const BrBackend *backend, BrPrecision precision,
										const void *packed, size_t size);

/* With what to compute. */
typedef struct BrCompute
{
	const BrBackend *backend;
	const void *packed; /* checked before, for this backend; NULL: plain weights, in f32 */
	BrPool *pool;		/* NULL: in the caller's thread alone */
	int64_t *tokens;	/* raised by the tokens computed; NULL: not counted */
} BrCompute;

/*
 * Embeddings of texts, through the model's whole module chain. Texts are packed
 * by token count, without padding, and come back in their own order. Checks
 * for cancellation between layers.
 */
extern BrStatus br_encoder_embed(const BrEncoder *encoder, BrContext *context,
								 const BrCompute *compute, const char *const *texts /* (n) */,
								 const size_t *sizes /* (n) */, int n, bool parse_special,
								 float *embeddings /* (n, dimensions) */);

/* The same from token ids: ids of text i at offsets[i] .. offsets[i + 1]. */
extern BrStatus br_encoder_embed_tokens(const BrEncoder *encoder, BrContext *context,
										const BrCompute *compute, const int32_t *ids,
										const int32_t *offsets /* (n + 1) */, int n,
										float *embeddings /* (n, dimensions) */);

/*
 * The model as numbers: what it takes to compute it, or its gradient, outside
 * of this room. All weights stand in one array, in the order of the map.
 */

#define BR_IMAGE_MAX_STEPS 8

typedef enum BrStepKind
{
	BR_STEP_DENSE,
	BR_STEP_NORMALIZE
} BrStepKind;

/* What follows pooling. */
typedef struct BrImageStep
{
	uint32_t kind;
	uint32_t in_dim;
	uint32_t out_dim;
	uint32_t activation; /* BrActivation */
	uint32_t has_bias;
} BrImageStep;

/* Distances between tokens are told apart by this many rows. */
#define BR_RELATIVE_BUCKETS 32

/*
 * Where each matrix stands among the weights, in floats. Computed from the
 * configuration, so that a damaged image cannot misdirect it. Each begins at a
 * multiple of 64 bytes; what is between them is 0.
 */
typedef struct BrWeightMap
{
	size_t word;	 /* (vocabulary, hidden) */
	size_t position; /* (positions, hidden) */
	size_t type_row; /* (hidden): all tokens are of the first type; not there without types */
	size_t gain;	 /* (hidden) */
	size_t bias;	 /* (hidden) */
	size_t relative; /* (BR_RELATIVE_BUCKETS, heads), where the architecture has it */

	size_t layer; /* the first layer; the rest relative to a layer */
	size_t layer_stride;
	size_t qkv_weight; /* (3 * attended, hidden) */
	size_t qkv_bias;
	size_t output_weight; /* (hidden, attended) */
	size_t output_bias;
	size_t attention_gain; /* (hidden) */
	size_t attention_bias;
	size_t up_weight; /* (intermediate, hidden) */
	size_t up_bias;
	size_t down_weight; /* (hidden, intermediate) */
	size_t down_bias;
	size_t layer_gain; /* (hidden) */
	size_t layer_bias;

	size_t step_weight[BR_IMAGE_MAX_STEPS]; /* (out_dim, in_dim) */
	size_t step_bias[BR_IMAGE_MAX_STEPS];
	size_t total;
} BrWeightMap;

/* A transformer of the BERT family, its pooling, and the steps that follow. */
typedef struct BrModelShape
{
	int hidden;
	int layers;
	int heads;
	int attended; /* heads * the dimension of one; hidden, or less where heads were removed */
	int intermediate;
	int vocabulary;
	int positions;
	int first_position; /* row of the position table for the first token */
	int max_tokens;
	BrActivation activation;
	float epsilon; /* of the layer norms */
	bool typed;	   /* map.type_row is added to every token */
	bool relative; /* attention adds map.relative */
	BrPooling pooling;
	int n_steps;
	BrImageStep steps[BR_IMAGE_MAX_STEPS];
	BrWeightMap map;
} BrModelShape;

extern void br_encoder_tell_shape(const BrEncoder *encoder, BrModelShape *shape);

/* All weights, map.total of them. They live as long as the image. */
extern const float *br_encoder_weights(const BrEncoder *encoder);

/*
 * Rows of the position table for the tokens of packed texts. Where positions
 * begin behind the row of padding (first_position above 0), a padding token in
 * a text stands at that row and is not counted, as in transformers.
 */
extern void br_encoder_number_tokens(int first_position, const int32_t *ids,
									 const int32_t *offsets /* (texts + 1) */, int texts,
									 int32_t *positions /* (offsets[texts]) */);

/* The row of the relative table for a key that stands distance tokens behind the query. */
extern int br_encoder_relative_bucket(int distance);

#define BR_TENSOR_NAME_SIZE 160

typedef enum BrTensorKind
{
	BR_TENSOR_MATRIX, /* of a dense layer */
	BR_TENSOR_TABLE,  /* rows are looked up */
	BR_TENSOR_BIAS,	  /* of a dense layer */
	BR_TENSOR_NORM	  /* gain or bias of a layer norm */
} BrTensorKind;

/*
 * One tensor by the name that the model's own folder uses, without a prefix
 * such as "bert."; those of dense steps are called "steps.<number>.linear.weight".
 */
typedef struct BrModelTensor
{
	char name[BR_TENSOR_NAME_SIZE];
	BrTensorKind kind;
	int rows;
	int columns;   /* 0: a vector of rows elements */
	size_t offset; /* among the weights */
} BrModelTensor;

/* The tensors from number 0 on; false: there is none of that number. */
extern bool br_encoder_tensor(const BrEncoder *encoder, int number, BrModelTensor *tensor);

/*
 * A copy of an image that has other weights, map.total of them.
 * *copy: image_size bytes, owned by the caller (br_base_free).
 * BR_ERR_FORMAT: not an image; BR_ERR_NUMERIC: NaN or infinite weight.
 */
extern BrStatus br_encoder_with_weights(BrContext *context, const void *image, size_t image_size,
										const float *weights, void **copy);

/*
 * What fine-tuning added to a model without merging it into the weights. An
 * image may have one addition behind its weights; whoever opens it computes with
 * it, in f32 whatever the precision of the rest, on every backend of the CPU.
 * Devices do not (br_encoder_describe), and it cannot be trained on.
 */
typedef enum BrAdditionKind
{
	BR_ADDITION_NONE,
	BR_ADDITION_BOTTLENECK, /* behind both halves of every layer: x + up(f(down(x))) */
	BR_ADDITION_PREFIX		/* keys and values of every layer before those of a text */
} BrAdditionKind;

/* The longest prefix. */
#define BR_ENCODER_MOST_PREFIX 512

typedef struct BrAddition
{
	BrAdditionKind kind;

	/*
	 * Of a bottleneck its narrow side, from 1 to the hidden size; of a prefix its
	 * length, from 1 to BR_ENCODER_MOST_PREFIX. Where attention looks at distances, a
	 * prefix stands right before the text; it takes none of the model's positions.
	 */
	int size;
} BrAddition;

extern BrAddition br_encoder_addition(const BrEncoder *encoder);

/*
 * The tensors that an addition to the model has or would have, from number 0 on;
 * false: there is none of that number. Of a bottleneck, for the names of the
 * output projection and of the last dense layer of every layer,
 * "x.adapter_down.weight" (size, hidden), "….bias" (size), "x.adapter_up.weight"
 * (hidden, size) and "….bias" (hidden). Of a prefix, for the names of key and
 * value, "x.prefix.weight" (size, attended). offset: among the addition's numbers.
 */
extern bool br_encoder_added_tensor(const BrEncoder *encoder, BrAddition addition, int number,
									BrModelTensor *tensor);

/* The numbers of the addition; NULL: there is none. They live as long as the image. */
extern const float *br_encoder_added(const BrEncoder *encoder);

typedef struct BrNamedTensor
{
	const char *name;
	int rows;
	int columns;		 /* 0: a vector of rows elements */
	const float *values; /* (rows, columns) */
} BrNamedTensor;

/*
 * A copy of an image that has other weights and, in place of its own addition,
 * this one. tensors: all of the addition's, by name; others are passed over.
 * *copy: *copy_size bytes, owned by the caller (br_base_free).
 * Fails as br_encoder_with_weights does; BR_ERR_ARGUMENT: a size out of its
 * range, or a tensor that is missing or of another shape.
 */
extern BrStatus br_encoder_with_addition(BrContext *context, const void *image, size_t image_size,
										 const float *weights, BrAddition addition,
										 const BrNamedTensor *tensors, int n_tensors, void **copy,
										 size_t *copy_size);

/*
 * Smaller copies of an image: fewer layers, heads, neurons or tokens. One with an
 * addition is refused (BR_ERR_UNSUPPORTED): what was added fits the whole model.
 */

/*
 * The shape that the model has with fewer layers, heads (which keep their
 * dimension) and neurons of the middle of a layer: at least 1 of each and no more
 * than now. BR_ERR_ARGUMENT: other numbers.
 */
extern BrStatus br_encoder_reshape(const BrEncoder *encoder, BrContext *context, int layers,
								   int heads, int intermediate, BrModelShape *shape);

/*
 * A copy of an image that has a shape which br_encoder_reshape gave for it and
 * these weights, shape->map.total of them; those between tensors must be 0.
 * *copy: *copy_size bytes, owned by the caller (br_base_free).
 * BR_ERR_FORMAT: not an image; BR_ERR_ARGUMENT: the shape of another model;
 * BR_ERR_NUMERIC: NaN or infinite weight.
 */
extern BrStatus br_encoder_with_shape(BrContext *context, const void *image, size_t image_size,
									  const BrModelShape *shape, const float *weights, void **copy,
									  size_t *copy_size);

/*
 * Raises the uses of each token by how often texts have it, cut as they are
 * embedded, the template's included. Tokens behind the cut and those that words
 * which become unknown begin with may be counted, too. Asks for cancellation before
 * each text. BR_ERR_ARGUMENT: not UTF-8.
 */
extern BrStatus br_encoder_count_tokens(const BrEncoder *encoder, BrContext *context,
										const char *const *texts /* (n) */,
										const size_t *sizes /* (n) */, int n,
										int64_t *uses /* (vocabulary) */);

/*
 * A copy of an image that has only some of its tokens, numbered anew in their
 * order, and of the word table the rows of these. kept: 1 for a token that must
 * stay; set, too, for what else does, so that every text can still be tokenised
 * as before it was if all its tokens are kept:
 *
 * always: added tokens, the template's, that of unknown text, and in models whose
 * positions begin behind the row of padding all up to the padding token;
 * WordPiece, Unigram: tokens of one character, continued ones too;
 * BPE: those of all bytes, and of what kept tokens are merged, step by step.
 *
 * So texts of kept tokens have the same tokens and, bit by bit, the same
 * embeddings; a word of WordPiece that was unknown may be found out of kept pieces
 * if pieces that it was begun with are not.
 * *copy: *copy_size bytes, owned by the caller (br_base_free).
 * BR_ERR_FORMAT: not an image.
 */
extern BrStatus br_encoder_with_tokens(BrContext *context, const void *image, size_t image_size,
									   uint8_t *kept /* (vocabulary) */, void **copy,
									   size_t *copy_size);

/*
 * Images whose weights are bytes: every row of a matrix or table is a scale times
 * whole numbers from -127 to 127. They are computed as all others are; what they
 * are good for is their short form, about a quarter of the size, for storing.
 */

/*
 * A copy of an image with each row rounded to such numbers, its largest one to
 * 127; rows that then would not be finite stay. Vectors stay as they are.
 * *copy: image_size bytes, owned by the caller (br_base_free); NULL after a failure.
 * BR_ERR_FORMAT: not an image; BR_ERR_NUMERIC: NaN or infinite weight;
 * BR_ERR_UNSUPPORTED: the model has an addition.
 */
extern BrStatus br_encoder_round_weights(BrContext *context, const void *image, size_t image_size,
										 void **copy);

/*
 * The short form of an image, of which br_encoder_restore makes the same bytes.
 * *shortened: *size bytes, owned by the caller (br_base_free); NULL and 0 where
 * the image's weights are no such bytes, and after a failure. BR_ERR_FORMAT: not an image.
 */
extern BrStatus br_encoder_shorten(BrContext *context, const void *image, size_t image_size,
								   void **shortened, size_t *size);

/*
 * Writes the image of a short form. image: of the size that it had, aligned to 8.
 * BR_ERR_FORMAT: not a short form of an image of that size, of another version, or
 * damaged; the image is of no use then.
 */
extern BrStatus br_encoder_restore(BrContext *context, const void *shortened, size_t size,
								   void *image, size_t image_size);

#endif /* BR_ENCODER_H */
