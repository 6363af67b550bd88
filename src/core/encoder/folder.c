/*
 * folder.c
 *	  The files of a model folder, and the chain of modules that it describes.
 *
 * A sentence-transformers folder lists its modules in modules.json: the
 * transformer, the pooling, then any sequence of dense layers and
 * normalisations. A folder without modules.json is a plain transformer, which
 * is pooled by the mean. Anything else is refused by its name: leaving a
 * module out would give vectors that are silently wrong.
 */
#include <stdio.h>
#include <string.h>

#include "core/encoder/encoder_int.h"

#define MAX_MODULES (2 + BR_IMAGE_MAX_STEPS)

typedef enum ModuleKind
{
	MODULE_TRANSFORMER,
	MODULE_POOLING,
	MODULE_DENSE,
	MODULE_NORMALIZE,
	MODULE_COUNT
} ModuleKind;

static const char *const module_names[MODULE_COUNT] = {"Transformer", "Pooling", "Dense",
													   "Normalize"};

typedef struct Module
{
	ModuleKind kind;
	const char *path; /* inside the folder; into the JSON tree */
} Module;

typedef struct ModuleList
{
	cJSON *json;
	Module modules[MAX_MODULES];
	int n;
} ModuleList;

/* What belongs to the transformer, besides its module's own configuration. */
static const char *const transformer_files[] = {"config.json",
												"tokenizer_config.json",
												"special_tokens_map.json",
												"tokenizer.json",
												"vocab.txt",
												"vocab.json",
												"merges.txt",
												"sentencepiece.bpe.model",
												"model.safetensors"};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

char *
br_encoder_join(BrContext *context, const char *directory, const char *name)
{
	size_t size = strlen(directory) + strlen(name) + 2;
	char *path = br_base_alloc(context, size);

	if (path != NULL)
		snprintf(path, size, "%s%s%s", directory,
				 directory[0] != '\0' && directory[strlen(directory) - 1] != '/' ? "/" : "", name);
	return path;
}

const BrModelFile *
br_encoder_find_file(const BrFolder *folder, const char *path)
{
	for (int i = 0; i < folder->n; i++)
		if (strcmp(folder->files[i].path, path) == 0)
			return &folder->files[i];
	return NULL;
}

BrStatus
br_encoder_open_json(BrContext *context, const BrFolder *folder, const char *path, bool required,
					 cJSON **json)
{
	const BrModelFile *file = br_encoder_find_file(folder, path);
	BrStatus status;

	*json = NULL;
	if (file == NULL)
	{
		if (!required)
			return BR_OK;
		return br_base_fail(context, BR_ERR_FORMAT, "The model lacks the file \"%s\".", path);
	}
	status = br_encoder_json_parse(context, path, file->data, file->size, json);
	if (status == BR_OK && !cJSON_IsObject(*json))
	{
		cJSON_Delete(*json);
		*json = NULL;
		status = br_base_fail(context, BR_ERR_FORMAT, "%s is not a JSON object.", path);
	}
	return status;
}

/* ---- modules.json ---- */

/* Inside the folder: no step upwards, no absolute path. */
static bool
path_stays_inside(const char *path)
{
	if (path[0] == '/' || strchr(path, '\\') != NULL)
		return false;
	for (const char *part = path; part != NULL; part = strchr(part, '/'))
	{
		part += *part == '/';
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
			return false;
	}
	return true;
}

static bool
has_control_character(const char *path)
{
	for (; *path != '\0'; path++)
		if ((unsigned char) *path < ' ')
			return true;
	return false;
}

/* The class name alone: packages were renamed between versions. */
static BrStatus
read_module_kind(BrContext *context, const char *type, ModuleKind *kind)
{
	char quoted[BR_QUOTED_SIZE];
	const char *name = strrchr(type, '.');

	if (name != NULL && strncmp(type, "sentence_transformers.", 22) == 0)
		for (int i = 0; i < MODULE_COUNT; i++)
			if (strcmp(name + 1, module_names[i]) == 0)
			{
				*kind = (ModuleKind) i;
				return BR_OK;
			}
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"modules.json: the module \"%s\" is not handled; Transformer, Pooling, Dense and Normalize of sentence_transformers are.",
						br_encoder_quote(type, quoted));
}

static BrStatus
read_module(BrContext *context, const cJSON *entry, Module *module)
{
	const char *type = NULL;
	const char *path = NULL;
	char quoted[BR_QUOTED_SIZE];
	BrStatus status = br_encoder_json_string(context, "modules.json", entry, "type", NULL, &type);

	if (status == BR_OK)
		status = br_encoder_json_string(context, "modules.json", entry, "path", NULL, &path);
	if (status != BR_OK)
		return status;
	if (type == NULL || path == NULL)
		return br_base_fail(context, BR_ERR_FORMAT, "modules.json: a module lacks type or path.");
	/* the path stands in messages as it is */
	if (has_control_character(path))
		return br_base_fail(context, BR_ERR_FORMAT,
							"modules.json: the path \"%s\" contains a control character.",
							br_encoder_quote(path, quoted));
	if (!path_stays_inside(path))
		return br_base_fail(context, BR_ERR_FORMAT,
							"modules.json: the path \"%s\" leads out of the folder.",
							br_encoder_quote(path, quoted));
	module->path = path;
	return read_module_kind(context, type, &module->kind);
}

static BrStatus
check_order(BrContext *context, const ModuleList *list)
{
	for (int i = 0; i < list->n; i++)
		if ((list->modules[i].kind == MODULE_TRANSFORMER) != (i == 0) ||
			(list->modules[i].kind == MODULE_POOLING) != (i == 1))
			return br_base_fail(context, BR_ERR_UNSUPPORTED,
								"modules.json: module %d is %s; the order must be Transformer, Pooling, then Dense and Normalize.",
								i, module_names[list->modules[i].kind]);
	if (list->n < 2)
		return br_base_fail(context, BR_ERR_FORMAT, "modules.json: the Pooling module is missing.");
	return BR_OK;
}

/* Delete list->json afterwards, whatever the status. */
static BrStatus
read_module_list(BrContext *context, const void *data, size_t size, ModuleList *list)
{
	const cJSON *entry;
	BrStatus status;

	list->n = 0;
	status = br_encoder_json_parse(context, "modules.json", data, size, &list->json);
	if (status != BR_OK)
		return status;
	if (!cJSON_IsArray(list->json))
		return br_base_fail(context, BR_ERR_FORMAT, "modules.json is not a JSON array.");

	cJSON_ArrayForEach(entry, list->json)
	{
		if (list->n == MAX_MODULES)
			return br_base_fail(context, BR_ERR_LIMIT, "modules.json has more than %d modules.",
								MAX_MODULES);
		status = read_module(context, entry, &list->modules[list->n]);
		if (status != BR_OK)
			return status;
		list->n++;
	}
	return check_order(context, list);
}

/* ---- which files ---- */

/* Paths collected while counting, then while writing them. */
typedef struct PathWriter
{
	char **paths; /* NULL: count only */
	char *text;
	size_t size;
	int n;
} PathWriter;

static void
add_path(PathWriter *writer, const char *directory, const char *name)
{
	const char *slash = directory[0] != '\0' && directory[strlen(directory) - 1] != '/' ? "/" : "";
	size_t size = strlen(directory) + strlen(slash) + strlen(name) + 1;

	if (writer->paths != NULL)
	{
		writer->paths[writer->n] = writer->text + writer->size;
		snprintf(writer->text + writer->size, size, "%s%s%s", directory, slash, name);
	}
	writer->size += size;
	writer->n++;
}

static void
add_all_paths(PathWriter *writer, const ModuleList *list)
{
	const char *transformer = list->n > 0 ? list->modules[0].path : "";

	add_path(writer, "", "modules.json");
	add_path(writer, "", "config_sentence_transformers.json");
	for (int i = 0; br_encoder_limit_file(i) != NULL; i++)
		add_path(writer, transformer, br_encoder_limit_file(i));
	for (int i = 1; i < list->n; i++)
		if (list->modules[i].kind != MODULE_NORMALIZE)
			add_path(writer, list->modules[i].path, "config.json");
	for (int i = 2; i < list->n; i++)
		if (list->modules[i].kind == MODULE_DENSE)
			add_path(writer, list->modules[i].path, "model.safetensors");
	for (size_t i = 0; i < COUNT(transformer_files); i++)
		add_path(writer, transformer, transformer_files[i]);
}

BrStatus
br_encoder_needed_files(BrContext *context, const char *modules_json, size_t modules_size,
						char ***paths, int *n)
{
	ModuleList list = {NULL, {{MODULE_TRANSFORMER, NULL}}, 0};
	PathWriter writer = {NULL, NULL, 0, 0};
	BrStatus status = BR_OK;

	*paths = NULL;
	*n = 0;
	if (modules_json != NULL)
		status = read_module_list(context, modules_json, modules_size, &list);
	if (status == BR_OK)
	{
		add_all_paths(&writer, &list);
		*paths = br_base_alloc(context, (size_t) writer.n * sizeof(char *) + writer.size);
		if (*paths == NULL)
			status = BR_ERR_MEMORY;
		else
		{
			writer = (PathWriter){*paths, (char *) (*paths + writer.n), 0, 0};
			add_all_paths(&writer, &list);
			*n = writer.n;
		}
	}
	cJSON_Delete(list.json);
	return status;
}

/* ---- the chain ---- */

static BrStatus
pooling_by_name(BrContext *context, const char *where, const char *name, uint32_t *pooling)
{
	char quoted[BR_QUOTED_SIZE];

	for (*pooling = 0; br_encoder_pooling_name((BrPooling) *pooling) != NULL; (*pooling)++)
		if (strcmp(name, br_encoder_pooling_name((BrPooling) *pooling)) == 0)
			return BR_OK;
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"%s: the pooling mode \"%s\" is not handled; cls, mean, max, mean_sqrt_len_tokens, weightedmean and lasttoken are.",
						where, br_encoder_quote(name, quoted));
}

/* Until version 5 of sentence-transformers: a boolean per mode; none means mean. */
static BrStatus
read_old_pooling(BrContext *context, const char *where, const cJSON *json, const char **mode)
{
	static const char *const old[][2] = {{"pooling_mode_cls_token", "cls"},
										 {"pooling_mode_max_tokens", "max"},
										 {"pooling_mode_mean_tokens", "mean"},
										 {"pooling_mode_mean_sqrt_len_tokens",
										  "mean_sqrt_len_tokens"},
										 {"pooling_mode_weightedmean_tokens", "weightedmean"},
										 {"pooling_mode_lasttoken", "lasttoken"}};
	int n = 0;

	*mode = "mean";
	for (size_t i = 0; i < COUNT(old); i++)
	{
		bool on;
		BrStatus status = br_encoder_json_bool(context, where, json, old[i][0], false, &on);

		if (status != BR_OK)
			return status;
		if (on)
		{
			*mode = old[i][1];
			n++;
		}
	}
	if (n > 1)
		return br_base_fail(context, BR_ERR_UNSUPPORTED,
							"%s: %d pooling modes side by side are not handled.", where, n);
	return BR_OK;
}

/*
 * include_prompt is not looked at: it leaves the tokens of a prompt out, and a
 * folder whose texts get one is refused (check_prompt).
 */
static BrStatus
read_pooling(BrContext *context, const BrFolder *folder, const char *path, BrImageConfig *config)
{
	const cJSON *mode;
	const char *name = NULL;
	int64_t dim;
	cJSON *json;
	BrStatus status = br_encoder_open_json(context, folder, path, true, &json);

	if (status != BR_OK)
		return status;
	status = br_encoder_json_int(context, path, json, "word_embedding_dimension", 1, BR_MAX_HIDDEN,
								 config->hidden, &dim);
	if (status == BR_OK)
		status = br_encoder_json_int(context, path, json, "embedding_dimension", 1, BR_MAX_HIDDEN,
									 dim, &dim);
	if (status == BR_OK && dim != config->hidden)
		status = br_base_fail(context, BR_ERR_FORMAT,
							  "%s: pools %lld dimensions, but the transformer has %u.", path,
							  (long long) dim, config->hidden);

	mode = br_encoder_json_get(json, "pooling_mode");
	if (cJSON_IsArray(mode) && cJSON_GetArraySize(mode) == 1)
		mode = mode->child;
	if (status == BR_OK && mode == NULL)
		status = read_old_pooling(context, path, json, &name);
	else if (status == BR_OK && !cJSON_IsString(mode))
		status = br_base_fail(context, BR_ERR_UNSUPPORTED, "%s: \"pooling_mode\" must be one mode.",
							  path);
	else if (mode != NULL)
		name = mode->valuestring;
	if (status == BR_OK)
		status = pooling_by_name(context, path, name, &config->pooling);
	cJSON_Delete(json);
	return status;
}

static BrStatus
read_dense_activation(BrContext *context, const char *where, const cJSON *json,
					  uint32_t *activation)
{
	static const struct
	{
		const char *name;
		BrActivation activation;
	} known[] = {
		{"torch.nn.modules.activation.Tanh", BR_ACTIVATION_TANH},
		{"torch.nn.modules.activation.ReLU", BR_ACTIVATION_RELU},
		{"torch.nn.modules.activation.GELU", BR_ACTIVATION_GELU_ERF},
		{"torch.nn.modules.linear.Identity", BR_ACTIVATION_NONE},
	};
	char quoted[BR_QUOTED_SIZE];
	const char *name;
	BrStatus status =
		br_encoder_json_string(context, where, json, "activation_function", known[0].name, &name);

	if (status != BR_OK)
		return status;
	for (size_t i = 0; i < COUNT(known); i++)
		if (strcmp(name, known[i].name) == 0)
		{
			*activation = known[i].activation;
			return BR_OK;
		}
	return br_base_fail(context, BR_ERR_UNSUPPORTED,
						"%s: the activation \"%s\" is not handled; Tanh, ReLU, GELU and Identity of torch.nn are.",
						where, br_encoder_quote(name, quoted));
}

/* A dense layer works on the sentence embedding and nothing else. */
static BrStatus
check_dense_names(BrContext *context, const char *where, const cJSON *json)
{
	static const char *const keys[] = {"module_input_name", "module_output_name"};

	for (size_t i = 0; i < COUNT(keys); i++)
	{
		const char *name;
		char quoted[BR_QUOTED_SIZE];
		BrStatus status =
			br_encoder_json_string(context, where, json, keys[i], "sentence_embedding", &name);

		if (status != BR_OK)
			return status;
		if (strcmp(name, "sentence_embedding") != 0)
			return br_base_fail(context, BR_ERR_UNSUPPORTED,
								"%s: %s \"%s\" is not handled; \"sentence_embedding\" is.", where,
								keys[i], br_encoder_quote(name, quoted));
	}
	return BR_OK;
}

static BrStatus
read_dense(BrContext *context, const BrFolder *folder, const char *path, uint32_t dim,
		   BrImageStep *step)
{
	int64_t in_dim = 0;
	int64_t out_dim = 0;
	bool bias = true;
	cJSON *json;
	BrStatus status = br_encoder_open_json(context, folder, path, true, &json);

	if (status != BR_OK)
		return status;
	status = br_encoder_json_int(context, path, json, "in_features", 1, BR_MAX_HIDDEN,
								 BR_JSON_REQUIRED, &in_dim);
	if (status == BR_OK)
		status = br_encoder_json_int(context, path, json, "out_features", 1, BR_MAX_HIDDEN,
									 BR_JSON_REQUIRED, &out_dim);
	if (status == BR_OK)
		status = br_encoder_json_bool(context, path, json, "bias", true, &bias);
	if (status == BR_OK)
		status = read_dense_activation(context, path, json, &step->activation);
	if (status == BR_OK)
		status = check_dense_names(context, path, json);
	if (status == BR_OK && in_dim != dim)
		status = br_base_fail(context, BR_ERR_FORMAT,
							  "%s: takes %lld dimensions, but the module before gives %u.", path,
							  (long long) in_dim, dim);
	step->kind = BR_STEP_DENSE;
	step->in_dim = dim;
	step->out_dim = (uint32_t) out_dim;
	step->has_bias = bias;
	cJSON_Delete(json);
	return status;
}

/* The module's configuration, by its path inside the folder. */
static BrStatus
read_module_config(BrContext *context, BrFolder *folder, const Module *module,
				   BrImageConfig *config)
{
	uint32_t n = config->n_steps;
	uint32_t dim = n > 0 ? config->steps[n - 1].out_dim : config->hidden;
	char *path;
	BrStatus status;

	if (module->kind == MODULE_NORMALIZE)
	{
		config->steps[n] = (BrImageStep){.kind = BR_STEP_NORMALIZE, .in_dim = dim, .out_dim = dim};
		config->n_steps++;
		return BR_OK;
	}
	path = br_encoder_join(context, module->path, "config.json");
	if (path == NULL)
		return BR_ERR_MEMORY;
	if (module->kind == MODULE_POOLING)
		status = read_pooling(context, folder, path, config);
	else
	{
		status = read_dense(context, folder, path, dim, &config->steps[n]);
		folder->step_path[n] = br_encoder_join(context, module->path, "model.safetensors");
		if (status == BR_OK && folder->step_path[n] == NULL)
			status = BR_ERR_MEMORY;
		config->n_steps++;
	}
	br_base_free(context, path);
	return status;
}

/* A prompt that is prepended by default would change every vector. */
static BrStatus
check_prompt(BrContext *context, const BrFolder *folder)
{
	static const char where[] = "config_sentence_transformers.json";
	const char *name = NULL;
	const cJSON *prompt;
	char quoted[BR_QUOTED_SIZE];
	cJSON *json;
	BrStatus status = br_encoder_open_json(context, folder, where, false, &json);

	if (status != BR_OK || json == NULL)
		return status;
	status = br_encoder_json_string(context, where, json, "default_prompt_name", NULL, &name);
	if (status == BR_OK && name != NULL)
	{
		prompt = br_encoder_json_get(br_encoder_json_get(json, "prompts"), name);
		if (!cJSON_IsString(prompt) || prompt->valuestring[0] != '\0')
			status = br_base_fail(context, BR_ERR_UNSUPPORTED,
								  "%s: the default prompt \"%s\" is not handled.", where,
								  br_encoder_quote(name, quoted));
	}
	cJSON_Delete(json);
	return status;
}

BrStatus
br_encoder_read_modules(BrContext *context, BrFolder *folder)
{
	const BrModelFile *file = br_encoder_find_file(folder, "modules.json");
	ModuleList list = {NULL, {{MODULE_TRANSFORMER, NULL}}, 0};
	BrStatus status = BR_OK;

	if (file != NULL)
		status = read_module_list(context, file->data, file->size, &list);
	if (status == BR_OK)
	{
		const char *path = list.n > 0 ? list.modules[0].path : "";

		/* joined with nothing, a directory ends with its slash */
		folder->transformer = br_encoder_join(context, path, "");
		if (folder->transformer == NULL)
			status = BR_ERR_MEMORY;
	}
	cJSON_Delete(list.json);
	return status;
}

BrStatus
br_encoder_read_chain(BrContext *context, BrFolder *folder, BrImageConfig *config)
{
	const BrModelFile *file = br_encoder_find_file(folder, "modules.json");
	ModuleList list = {NULL, {{MODULE_TRANSFORMER, NULL}}, 0};
	BrStatus status;

	config->pooling = BR_POOLING_MEAN;
	config->n_steps = 0;
	if (file == NULL)
		return BR_OK;

	status = read_module_list(context, file->data, file->size, &list);
	for (int i = 1; i < list.n && status == BR_OK; i++)
		status = read_module_config(context, folder, &list.modules[i], config);
	cJSON_Delete(list.json);
	if (status == BR_OK)
		status = check_prompt(context, folder);
	return status;
}

void
br_encoder_close_folder(BrContext *context, BrFolder *folder)
{
	br_base_free(context, folder->transformer);
	for (int i = 0; i < BR_IMAGE_MAX_STEPS; i++)
		br_base_free(context, folder->step_path[i]);
}
