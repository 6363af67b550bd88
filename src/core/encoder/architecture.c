/*
 * architecture.c
 *	  Transformers by the names that their folders use.
 *
 * Architectures of the BERT family compute the same and differ in what their
 * configuration and tensors are called: one row of a table each. Query, key
 * and value are stored as one matrix, so that one product makes all three.
 */
#include <stdio.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define NAME_SIZE 160
#define LAYER_NAME_SIZE 64

static const BrArchitecture architectures[] = {
	{
		.model_type = "bert",
		.prefix = "bert.",
		.word = "embeddings.word_embeddings.weight",
		.position = "embeddings.position_embeddings.weight",
		.type = "embeddings.token_type_embeddings.weight",
		.norm = "embeddings.LayerNorm",
		.layer = "encoder.layer",
		.query = "attention.self.query",
		.key = "attention.self.key",
		.value = "attention.self.value",
		.output = "attention.output.dense",
		.attention_norm = "attention.output.LayerNorm",
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
						"%s: the architecture \"%s\" is not handled; \"bert\" is.", where,
						br_encoder_quote(model_type, quoted));
}

static BrStatus
read_activation(BrContext *context, const char *where, const cJSON *json, uint32_t *activation)
{
	const char *name;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status = br_encoder_json_string(context, where, json, "hidden_act", "gelu", &name);

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

static BrStatus
read_epsilon(BrContext *context, const char *where, const cJSON *json, float *epsilon)
{
	const cJSON *member = br_encoder_json_get(json, "layer_norm_eps");

	*epsilon = 1e-12f;
	if (member == NULL)
		return BR_OK;
	if (!cJSON_IsNumber(member) || !(member->valuedouble >= 0 && member->valuedouble < 1))
		return br_base_fail(context, BR_ERR_FORMAT,
							"%s: \"layer_norm_eps\" must be a number from 0 to 1.", where);
	*epsilon = (float) member->valuedouble;
	return BR_OK;
}

BrStatus
br_encoder_read_config(BrContext *context, const char *where, const cJSON *json,
					   BrImageConfig *config)
{
	BrStatus status = read_architecture(context, where, json, &config->architecture);

	if (status == BR_OK)
		status = check_variants(context, where, json);
	if (status == BR_OK)
		status = read_activation(context, where, json, &config->activation);
	if (status == BR_OK)
		status = read_epsilon(context, where, json, &config->epsilon);
	if (status == BR_OK)
		status = read_size(context, where, json, "hidden_size", BR_MAX_HIDDEN, &config->hidden);
	if (status == BR_OK)
		status =
			read_size(context, where, json, "num_hidden_layers", BR_MAX_LAYERS, &config->layers);
	if (status == BR_OK)
		status =
			read_size(context, where, json, "num_attention_heads", BR_MAX_HIDDEN, &config->heads);
	if (status == BR_OK)
		status = read_size(context, where, json, "intermediate_size", BR_MAX_INTERMEDIATE,
						   &config->intermediate);
	if (status == BR_OK)
		status =
			read_size(context, where, json, "vocab_size", BR_MAX_VOCABULARY, &config->vocabulary);
	if (status == BR_OK)
		status = read_size(context, where, json, "max_position_embeddings", BR_MAX_POSITIONS,
						   &config->positions);
	if (status == BR_OK && config->hidden % config->heads != 0)
		status = br_base_fail(context, BR_ERR_FORMAT,
							  "%s: hidden_size %u is not a multiple of num_attention_heads %u.",
							  where, config->hidden, config->heads);
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
	if (status == BR_OK)
		status = read_type_row(reader);
	if (status == BR_OK)
		status = read_norm(reader, reader->prefix, names->norm, map->gain, map->bias);
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
