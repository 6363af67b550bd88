/*
 * architecture.c
 *	  Transformers by the names that their folders use.
 *
 * Architectures of the BERT family compute the same but for their positions,
 * and differ in what their configuration and tensors are called: one row of a
 * table each. Query, key and value are stored as one matrix, so that one
 * product makes all three.
 */
#include <stdio.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define NAME_SIZE 160
#define LAYER_NAME_SIZE 64

static const BrConfigNames bert_members = {"hidden_size",		  "num_hidden_layers",
										   "num_attention_heads", "intermediate_size",
										   "hidden_act",		  "layer_norm_eps"};

static const BrConfigNames distilbert_members = {"dim",		   "n_layers",	 "n_heads",
												 "hidden_dim", "activation", NULL};

#define EMBEDDINGS                               \
	.word = "embeddings.word_embeddings.weight", \
	.position = "embeddings.position_embeddings.weight", .norm = "embeddings.LayerNorm"

/* From the attention's projections on, in the words of BERT. */
#define BERT_LAYERS                                                                          \
	EMBEDDINGS, .type = "embeddings.token_type_embeddings.weight", .layer = "encoder.layer", \
				.query = "attention.self.query", .key = "attention.self.key",                \
				.value = "attention.self.value", .output = "attention.output.dense",         \
				.attention_norm = "attention.output.LayerNorm", .up = "intermediate.dense",  \
				.down = "output.dense", .layer_norm = "output.LayerNorm"

#define ROBERTA(name)                                                       \
	{                                                                       \
		.model_type = name, .prefix = "roberta.", .members = &bert_members, \
		.positions = BR_POSITIONS_AFTER_PADDING, BERT_LAYERS                \
	}

/* An image holds the number of its row: new ones come last. */
static const BrArchitecture architectures[] = {
	{.model_type = "bert", .prefix = "bert.", .members = &bert_members, BERT_LAYERS},
	ROBERTA("roberta"),
	ROBERTA("xlm-roberta"),
	ROBERTA("camembert"),
	{
		.model_type = "distilbert",
		.prefix = "distilbert.",
		.members = &distilbert_members,
		EMBEDDINGS,
		.layer = "transformer.layer",
		.query = "attention.q_lin",
		.key = "attention.k_lin",
		.value = "attention.v_lin",
		.output = "attention.out_lin",
		.attention_norm = "sa_layer_norm",
		.up = "ffn.lin1",
		.down = "ffn.lin2",
		.layer_norm = "output_layer_norm",
	},
	{
		.model_type = "mpnet",
		.prefix = "mpnet.",
		.members = &bert_members,
		.positions = BR_POSITIONS_FROM_TWO,
		EMBEDDINGS,
		.relative = "encoder.relative_attention_bias.weight",
		.layer = "encoder.layer",
		.query = "attention.attn.q",
		.key = "attention.attn.k",
		.value = "attention.attn.v",
		.output = "attention.attn.o",
		.attention_norm = "attention.LayerNorm",
		.up = "intermediate.dense",
		.down = "output.dense",
		.layer_norm = "output.LayerNorm",
	},
};

static const struct
{
	const char *name;
	BrActivation activation;
} activations[] = {
	{"gelu", BR_ACTIVATION_GELU_ERF},
	{"gelu_new", BR_ACTIVATION_GELU_TANH},
	{"gelu_pytorch_tanh", BR_ACTIVATION_GELU_TANH},
	{"relu", BR_ACTIVATION_RELU},
};

/*
 * Keys before the query take the first half of the buckets, those behind it
 * the second. Each half has one bucket for every distance below 8; from there
 * on a bucket ends where the distance has grown by the square root of two, and
 * the last has no end. These are the smallest distances of the buckets that
 * transformers 4.57.6 gives, in whose float32 logarithms nothing is rounded
 * across a limit.
 */
int
br_encoder_relative_bucket(int distance)
{
	static const int begins[] = {12, 16, 23, 32, 46, 64, 91};
	const int exact = 8;
	int magnitude = distance < 0 ? -distance : distance;
	int bucket = magnitude < exact ? magnitude : exact;

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		bucket += magnitude >= begins[i];
	return bucket + (distance > 0 ? BR_RELATIVE_BUCKETS / 2 : 0);
}

const BrArchitecture *
br_encoder_architecture(uint32_t number)
{
	return number < sizeof(architectures) / sizeof(architectures[0]) ? &architectures[number]
																	 : NULL;
}

/* A required member that is a count from 1 to maximum. */
static BrStatus
read_size(BrContext *context, const char *where, const cJSON *json, const char *key,
		  int64_t maximum, uint32_t *size)
{
	int64_t value;
	BrStatus status =
		br_encoder_json_int(context, where, json, key, 1, maximum, BR_JSON_REQUIRED, &value);

	*size = (uint32_t) value;
	return status;
}

static BrStatus
read_architecture(BrContext *context, const char *where, const cJSON *json, uint32_t *number)
{
	const char *model_type;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status = br_encoder_json_string(context, where, json, "model_type", NULL, &model_type);

	if (status != BR_OK)
		return status;
	if (model_type == NULL)
		return br_base_fail(context, BR_ERR_FORMAT, "%s lacks \"model_type\".", where);
	for (*number = 0; br_encoder_architecture(*number) != NULL; (*number)++)
		if (strcmp(model_type, br_encoder_architecture(*number)->model_type) == 0)
			return BR_OK;
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"%s: the architecture \"%s\" is not handled; bert, roberta, xlm-roberta, camembert, distilbert and mpnet are.",
						where, br_encoder_quote(model_type, quoted));
}

static BrStatus
read_activation(BrContext *context, const char *where, const cJSON *json, const char *key,
				uint32_t *activation)
{
	const char *name;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status = br_encoder_json_string(context, where, json, key, "gelu", &name);

	if (status != BR_OK)
		return status;
	for (size_t i = 0; i < sizeof(activations) / sizeof(activations[0]); i++)
		if (strcmp(name, activations[i].name) == 0)
		{
			*activation = activations[i].activation;
			return BR_OK;
		}
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"%s: the activation \"%s\" is not handled; gelu, gelu_new, gelu_pytorch_tanh and relu are.",
						where, br_encoder_quote(name, quoted));
}

/* Options that would change what a layer computes. */
static BrStatus
check_variants(BrContext *context, const char *where, const cJSON *json)
{
	const char *position_type;
	char quoted[BR_QUOTED_SIZE];
	bool decoder;
	BrStatus status = br_encoder_json_string(context, where, json, "position_embedding_type",
											 "absolute", &position_type);

	if (status == BR_OK)
		status = br_encoder_json_bool(context, where, json, "is_decoder", false, &decoder);
	if (status != BR_OK)
		return status;
	if (strcmp(position_type, "absolute") != 0)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: position_embedding_type \"%s\" is not handled; \"absolute\" is.",
							where, br_encoder_quote(position_type, quoted));
	if (decoder)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: a decoder (is_decoder) is not handled.", where);
	return BR_OK;
}

/* Distances are cut into 32 buckets whatever is said here, so nothing else can be meant. */
static BrStatus
check_buckets(BrContext *context, const char *where, const cJSON *json)
{
	static const char key[] = "relative_attention_num_buckets";
	int64_t buckets;
	BrStatus status =
		br_encoder_json_int(context, where, json, key, 1, INT32_MAX, BR_RELATIVE_BUCKETS, &buckets);

	if (status == BR_OK && buckets != BR_RELATIVE_BUCKETS)
		status = br_base_fail(context, BR_ERR_UNSUPPORTED, "%s: %s %lld is not handled; %d is.",
							  where, key, (long long) buckets, BR_RELATIVE_BUCKETS);
	return status;
}

static BrStatus
read_epsilon(BrContext *context, const char *where, const cJSON *json, const char *key,
			 float *epsilon)
{
	const cJSON *member = key != NULL ? br_encoder_json_get(json, key) : NULL;

	*epsilon = 1e-12f;
	if (member == NULL)
		return BR_OK;
	if (!cJSON_IsNumber(member) || !(member->valuedouble >= 0 && member->valuedouble < 1))
		return br_base_fail(context, BR_ERR_FORMAT, "%s: \"%s\" must be a number from 0 to 1.",
							where, key);
	*epsilon = (float) member->valuedouble;
	return BR_OK;
}

/* Size of the position table, and which of its rows the first token takes. */
static BrStatus
read_positions(BrContext *context, const char *where, const cJSON *json, BrPositions positions,
			   BrImageConfig *config)
{
	int64_t padding = 1;
	BrStatus status = read_size(context, where, json, "max_position_embeddings", BR_MAX_POSITIONS,
								&config->positions);

	config->first_position = 0;
	if (status != BR_OK || positions == BR_POSITIONS_FROM_ZERO)
		return status;
	if (positions == BR_POSITIONS_AFTER_PADDING)
		status = br_encoder_json_int(context, where, json, "pad_token_id", 0,
									 (int64_t) config->vocabulary - 1, padding, &padding);
	if (status == BR_OK && padding + 1 >= config->positions)
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: max_position_embeddings %u leaves no position behind that of padding, %lld.",
							where, config->positions, (long long) padding);
	config->first_position = (uint32_t) padding + 1;
	return status;
}

/* The sizes of the transformer's matrices. */
static BrStatus
read_sizes(BrContext *context, const char *where, const cJSON *json, const BrConfigNames *members,
		   BrImageConfig *config)
{
	BrStatus status =
		read_size(context, where, json, members->hidden, BR_MAX_HIDDEN, &config->hidden);

	if (status == BR_OK)
		status = read_size(context, where, json, members->layers, BR_MAX_LAYERS, &config->layers);
	if (status == BR_OK)
		status = read_size(context, where, json, members->heads, BR_MAX_HIDDEN, &config->heads);
	if (status == BR_OK)
		status = read_size(context, where, json, members->intermediate, BR_MAX_INTERMEDIATE,
						   &config->intermediate);
	if (status == BR_OK)
		status =
			read_size(context, where, json, "vocab_size", BR_MAX_VOCABULARY, &config->vocabulary);
	if (status == BR_OK && config->hidden % config->heads != 0)
		status =
			br_base_fail(context, BR_ERR_FORMAT, "%s: %s %u is not a multiple of %s %u.", where,
						 members->hidden, config->hidden, members->heads, config->heads);
	return status;
}

BrStatus
br_encoder_read_config(BrContext *context, const char *where, const cJSON *json,
					   BrImageConfig *config)
{
	const BrArchitecture *architecture;
	const BrConfigNames *members;
	BrStatus status = read_architecture(context, where, json, &config->architecture);

	if (status != BR_OK)
		return status;
	architecture = br_encoder_architecture(config->architecture);
	members = architecture->members;
	status = check_variants(context, where, json);
	if (status == BR_OK && architecture->relative != NULL)
		status = check_buckets(context, where, json);
	if (status == BR_OK)
		status = read_activation(context, where, json, members->activation, &config->activation);
	if (status == BR_OK)
		status = read_epsilon(context, where, json, members->epsilon, &config->epsilon);
	if (status == BR_OK)
		status = read_sizes(context, where, json, members, config);
	if (status == BR_OK)
		status = read_positions(context, where, json, architecture->positions, config);
	return status;
}

/* ---- weights ---- */

/* One model being read: the names of its tensors begin with prefix. */
typedef struct WeightReader
{
	BrContext *context;
	const BrTensorFile *file;
	const BrArchitecture *architecture;
	const BrImageConfig *config;
	const BrWeightMap *map;
	float *weights; /* NULL: only look whether all is there */
	const char *prefix;
	char layer[LAYER_NAME_SIZE]; /* prefix of the current layer's tensors */
	uint64_t parameters;
} WeightReader;

/* Reads prefix, name and suffix into the weights from at on. */
static BrStatus
read_tensor(WeightReader *reader, const char *prefix, const char *name, const char *suffix,
			uint32_t rows, uint32_t columns, size_t at)
{
	char full[NAME_SIZE];

	snprintf(full, sizeof(full), "%s%s%s", prefix, name, suffix);
	reader->parameters += (uint64_t) rows * (columns == 0 ? 1 : columns);
	return br_encoder_tensor_read(reader->context, reader->file, full, rows, columns,
								  reader->weights == NULL ? NULL : reader->weights + at);
}

static BrStatus
read_linear(WeightReader *reader, const char *name, uint32_t out_dim, uint32_t in_dim,
			size_t weight, size_t bias)
{
	BrStatus status = read_tensor(reader, reader->layer, name, ".weight", out_dim, in_dim, weight);

	if (status == BR_OK)
		status = read_tensor(reader, reader->layer, name, ".bias", out_dim, 0, bias);
	return status;
}

/* Folders converted from TensorFlow call weight and bias gamma and beta. */
static BrStatus
read_norm(WeightReader *reader, const char *prefix, const char *name, size_t gain, size_t bias)
{
	uint32_t hidden = reader->config->hidden;
	char old[NAME_SIZE];
	bool is_old;
	BrStatus status;

	snprintf(old, sizeof(old), "%s%s.gamma", prefix, name);
	is_old = br_encoder_tensor_find(reader->file, old) != NULL;
	status = read_tensor(reader, prefix, name, is_old ? ".gamma" : ".weight", hidden, 0, gain);
	if (status == BR_OK)
		status = read_tensor(reader, prefix, name, is_old ? ".beta" : ".bias", hidden, 0, bias);
	return status;
}

/* Of all types only the first is used: a text alone is the first segment. */
static BrStatus
read_type_row(WeightReader *reader)
{
	const BrArchitecture *names = reader->architecture;
	uint32_t hidden = reader->config->hidden;
	float *place = reader->weights;
	char name[NAME_SIZE];
	const BrTensor *tensor;
	uint32_t types = 1;
	BrStatus status;

	snprintf(name, sizeof(name), "%s%s", reader->prefix, names->type);
	tensor = br_encoder_tensor_find(reader->file, name);
	if (tensor != NULL && tensor->n_dimensions == 2 && tensor->shape[0] > 1 &&
		tensor->shape[0] <= BR_MAX_POSITIONS)
		types = (uint32_t) tensor->shape[0];
	if (place == NULL)
		return read_tensor(reader, reader->prefix, names->type, "", types, hidden, 0);

	reader->weights = br_base_alloc_array(reader->context, (size_t) types * hidden, sizeof(float));
	if (reader->weights == NULL)
	{
		reader->weights = place;
		return BR_ERR_MEMORY;
	}
	status = read_tensor(reader, reader->prefix, names->type, "", types, hidden, 0);
	memcpy(place + reader->map->type_row, reader->weights, hidden * sizeof(float));
	br_base_free(reader->context, reader->weights);
	reader->weights = place;
	return status;
}

static BrStatus
read_embeddings(WeightReader *reader)
{
	const BrArchitecture *names = reader->architecture;
	const BrImageConfig *config = reader->config;
	const BrWeightMap *map = reader->map;
	BrStatus status = read_tensor(reader, reader->prefix, names->word, "", config->vocabulary,
								  config->hidden, map->word);

	if (status == BR_OK)
		status = read_tensor(reader, reader->prefix, names->position, "", config->positions,
							 config->hidden, map->position);
	if (status == BR_OK && names->type != NULL)
		status = read_type_row(reader);
	if (status == BR_OK)
		status = read_norm(reader, reader->prefix, names->norm, map->gain, map->bias);
	if (status == BR_OK && names->relative != NULL)
		status = read_tensor(reader, reader->prefix, names->relative, "", BR_RELATIVE_BUCKETS,
							 config->heads, map->relative);
	return status;
}

static BrStatus
read_layer(WeightReader *reader, uint32_t number)
{
	const BrArchitecture *names = reader->architecture;
	const BrWeightMap *map = reader->map;
	const char *parts[3] = {names->query, names->key, names->value};
	uint32_t hidden = reader->config->hidden;
	uint32_t intermediate = reader->config->intermediate;
	size_t at = map->layer + number * map->layer_stride;
	BrStatus status = BR_OK;

	snprintf(reader->layer, sizeof(reader->layer), "%s%s.%u.", reader->prefix, names->layer,
			 number);
	for (size_t i = 0; i < 3 && status == BR_OK; i++)
		status = read_linear(reader, parts[i], hidden, hidden,
							 at + map->qkv_weight + i * hidden * hidden,
							 at + map->qkv_bias + i * hidden);
	if (status == BR_OK)
		status = read_linear(reader, names->output, hidden, hidden, at + map->output_weight,
							 at + map->output_bias);
	if (status == BR_OK)
		status = read_norm(reader, reader->layer, names->attention_norm, at + map->attention_gain,
						   at + map->attention_bias);
	if (status == BR_OK)
		status = read_linear(reader, names->up, intermediate, hidden, at + map->up_weight,
							 at + map->up_bias);
	if (status == BR_OK)
		status = read_linear(reader, names->down, hidden, intermediate, at + map->down_weight,
							 at + map->down_bias);
	if (status == BR_OK)
		status = read_norm(reader, reader->layer, names->layer_norm, at + map->layer_gain,
						   at + map->layer_bias);
	return status;
}

BrStatus
br_encoder_read_weights(BrContext *context, const BrTensorFile *file, const BrImageConfig *config,
						const BrWeightMap *map, float *weights, uint64_t *parameters)
{
	WeightReader reader = {
		.context = context,
		.file = file,
		.architecture = br_encoder_architecture(config->architecture),
		.config = config,
		.map = map,
		.weights = weights,
		.prefix = "",
	};
	char name[NAME_SIZE];
	BrStatus status;

	snprintf(name, sizeof(name), "%s%s", reader.architecture->prefix, reader.architecture->word);
	if (br_encoder_tensor_find(file, name) != NULL)
		reader.prefix = reader.architecture->prefix;

	status = read_embeddings(&reader);
	for (uint32_t i = 0; i < config->layers && status == BR_OK; i++)
	{
		status = read_layer(&reader, i);
		if (status == BR_OK && br_base_cancelled(context))
			status = br_base_fail(context, BR_ERR_CANCELLED, "The import was cancelled.");
	}
	*parameters = reader.parameters;
	return status;
}
