/*
 * test_encoder_architecture.c
 *	  Every architecture from token ids on, and configurations that contradict it.
 *
 * Token ids come from the golden files, so that a model's arithmetic is tested
 * apart from its tokenizer; the models get that of tiny-bert-cls here. Where a
 * golden text cannot show something, embeddings of fixed ids are from
 * transformers 4.57.6 (torch 2.15.0, f32, eager attention): the mean of the
 * token embeddings, normalised where the model's folder does so.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "unit/encoder_fixture.h"

#define WEIGHTS "model.safetensors"
#define POSITIONS "embeddings.position_embeddings.weight"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

#define DIM 32

static const char *const backends[] = {"portable", "openblas"};

/* The folder of a golden model with the tokenizer of tiny-bert-cls. */
static void
read_model(Folder *folder, const char *name)
{
	static const char *const files[] = {"tokenizer.json", "tokenizer_config.json"};
	Folder other;

	folder_read_golden(folder, name);
	folder_read_golden(&other, "tiny-bert-cls");
	for (int i = 0; i < LENGTH(files); i++)
	{
		const BrModelFile *file = folder_find(&other, files[i]);

		folder_set(folder, files[i], file->data, file->size);
	}
	folder_free(&other);
}

/* The bound of the design: 5e-6, of the largest component where that is not normalised. */
static void
assert_embedding(const float *actual, const float *expected, bool normalized)
{
	double largest = normalized ? 1 : 0;

	for (int i = 0; i < DIM && !normalized; i++)
		largest = fmax(largest, fabs((double) expected[i]));
	for (int i = 0; i < DIM; i++)
		if (!(fabs((double) actual[i] - (double) expected[i]) <= 5e-6 * largest))
			fail_msg("component %d is %.8g instead of %.8g", i, (double) actual[i],
					 (double) expected[i]);
}

static void
check_rows(OpenModel *model, const Golden *golden, const BrBackend *backend)
{
	bool normalized = br_encoder_info(model->encoder)->normalize;
	int32_t *offsets = calloc((size_t) golden->n + 1, sizeof(int32_t));
	int32_t *ids = malloc((size_t) golden->n * (size_t) golden->max_tokens * sizeof(int32_t));
	float *embeddings = malloc((size_t) golden->n * DIM * sizeof(float));

	for (int i = 0; i < golden->n; i++)
	{
		const GoldenRow *row = &golden->rows[i];

		memcpy(ids + offsets[i], row->ids, (size_t) row->n_ids * sizeof(int32_t));
		offsets[i + 1] = offsets[i] + row->n_ids;
	}
	assert_int_equal(br_encoder_embed_tokens(model->encoder, &model->context,
											 &(BrCompute){.backend = backend}, ids, offsets,
											 golden->n, embeddings),
					 BR_OK);
	for (int i = 0; i < golden->n; i++)
	{
		assert_int_equal(golden->rows[i].dimensions, DIM);
		assert_embedding(embeddings + (size_t) i * DIM, golden->rows[i].embedding, normalized);
	}
	free(offsets);
	free(ids);
	free(embeddings);
}

static void
golden_ids_give_golden_embeddings(void **state)
{
	static const char *const models[][2] = {{"tiny-bert-cls", "bert"},
											{"tiny-distilbert-mean", "distilbert"},
											{"tiny-mpnet-mean", "mpnet"},
											{"tiny-roberta-mean", "roberta"},
											{"tiny-xlmr-mean", "xlm-roberta"}};
	static const char *const variables[] = {"BR_TEST_DIR", "BR_GOLDEN"};

	(void) state;
	for (int i = 0; i < LENGTH(models) * LENGTH(variables); i++)
	{
		const char *const *name = models[i / LENGTH(variables)];
		const char *variable = variables[i % LENGTH(variables)];
		char file[100];
		char *path;
		Folder folder;
		OpenModel model;
		Golden golden;

		snprintf(file, sizeof(file), "%s.json", name[0]);
		path = path_from(variable, file);
		read_model(&folder, name[0]);
		model_open(&model, &folder);
		assert_string_equal(br_encoder_info(model.encoder)->architecture, name[1]);
		if (golden_read(&golden, path))
			for (int j = 0; j < LENGTH(backends); j++)
			{
				const BrBackend *backend = load_backend(backends[j]);

				if (backend != NULL)
					check_rows(&model, &golden, backend);
			}
		else
			assert_string_equal(variable, "BR_GOLDEN");
		golden_free(&golden);
		model_close(&model);
		folder_free(&folder);
		free(path);
	}
}

static void
check_ids(const Folder *folder, const int32_t *ids, int n, const float *expected, bool normalized)
{
	OpenModel model;

	model_open(&model, folder);
	for (int i = 0; i < LENGTH(backends); i++)
	{
		const BrBackend *backend = load_backend(backends[i]);
		float embedding[DIM];

		if (backend == NULL)
			continue;
		assert_int_equal(br_encoder_embed_tokens(model.encoder, &model.context,
												 &(BrCompute){.backend = backend}, ids,
												 (const int32_t[]){0, n}, 1, embedding),
						 BR_OK);
		assert_embedding(embedding, expected, normalized);
	}
	model_close(&model);
}

/* Padding tokens inside a text: some architectures do not count them, some do. */
static void
padding_in_a_text_is_numbered_as_reference(void **state)
{
	static const int32_t ids[] = {0, 300, 1, 41, 1, 1, 500, 777, 2};
	static const struct
	{
		const char *model;
		const char *from;
		const char *to;
		bool normalized;
		float expected[DIM];
	} cases[] = {
		{"tiny-roberta-mean",
		 "\"roberta\"",
		 "\"roberta\"",
		 false,
		 {-0.4651046f, -0.4609649f,	 -1.05496f,	  0.1082072f,  0.3696513f,	-0.502849f,
		  0.3165416f,  -0.04509176f, -0.1457771f, -0.4862965f, 0.9561179f,	-0.04932095f,
		  0.8020636f,  0.08977959f,	 -0.980067f,  -0.5740421f, 0.1540211f,	0.2394074f,
		  0.2581477f,  -0.1760843f,	 -0.3797311f, 0.7738398f,  -0.1118786f, 0.3840107f,
		  -0.9294533f, 1.298715f,	 1.016751f,	  -0.9756885f, 0.1791337f,	0.01574231f,
		  0.3421484f,  -0.1118531f}},
		{"tiny-roberta-mean",
		 "\"roberta\"",
		 "\"camembert\"",
		 false,
		 {-0.4651046f, -0.4609649f,	 -1.05496f,	  0.1082072f,  0.3696513f,	-0.502849f,
		  0.3165416f,  -0.04509176f, -0.1457771f, -0.4862965f, 0.9561179f,	-0.04932095f,
		  0.8020636f,  0.08977959f,	 -0.980067f,  -0.5740421f, 0.1540211f,	0.2394074f,
		  0.2581477f,  -0.1760843f,	 -0.3797311f, 0.7738398f,  -0.1118786f, 0.3840107f,
		  -0.9294533f, 1.298715f,	 1.016751f,	  -0.9756885f, 0.1791337f,	0.01574231f,
		  0.3421484f,  -0.1118531f}},
		{"tiny-roberta-mean",
		 "\"pad_token_id\": 1",
		 "\"pad_token_id\": 41",
		 false,
		 {-0.5950874f, -0.4944647f, -1.19777f,	 -0.005256126f, 0.6546836f,	 -0.720573f,
		  0.1852196f,  0.1380314f,	-0.3433968f, -0.6744963f,	1.080282f,	 -0.7641475f,
		  1.129683f,   0.4237014f,	-1.528296f,	 -0.6846162f,	0.4312744f,	 0.1927004f,
		  -0.1465203f, -0.1774934f, -0.4551863f, 0.7674481f,	-0.5864335f, 0.9818987f,
		  -1.189338f,  1.037308f,	0.9540644f,	 -0.5269697f,	1.005473f,	 0.4670666f,
		  1.090153f,   -0.2428916f}},
		{"tiny-xlmr-mean",
		 "\"xlm-roberta\"",
		 "\"xlm-roberta\"",
		 true,
		 {-0.06200775f, 0.129141f,		0.07631618f,  -0.2625698f, -0.1459907f,	  -0.3206442f,
		  -0.1257137f,	-0.0006700357f, 0.3241502f,	  -0.0905038f, 0.01948678f,	  -0.005225168f,
		  0.05868959f,	-0.08821961f,	-0.01596384f, -0.1463173f, 0.0398277f,	  -0.28051f,
		  0.09084475f,	0.3080581f,		0.1093126f,	  0.01185404f, -0.005196521f, 0.1722373f,
		  0.008361429f, 0.1133865f,		-0.07666251f, 0.3451119f,  0.1707518f,	  -0.4110385f,
		  0.2343273f,	-0.04568558f}},
		{"tiny-xlmr-mean",
		 "\"xlm-roberta\"",
		 "\"bert\"",
		 true,
		 {-0.1152369f,	0.1285008f,	  0.1075783f,	-0.129699f,	  0.01550597f, -0.2978742f,
		  -0.1654708f,	-0.0899073f,  0.1543466f,	-0.01478437f, 0.0608825f,  -0.003719088f,
		  0.04982709f,	-0.08575336f, -0.1553926f,	-0.1107139f,  0.1348206f,  -0.2074424f,
		  0.07218283f,	0.3130919f,	  0.1102968f,	-0.09150098f, 0.1823347f,  0.1732404f,
		  0.02969499f,	0.1816572f,	  -0.09933922f, 0.3709995f,	  0.2044177f,  -0.5148786f,
		  -0.08255353f, 0.006604066f}},
		{"tiny-mpnet-mean",
		 "\"pad_token_id\": 1",
		 "\"pad_token_id\": 1",
		 true,
		 {-0.0276151f, 0.144271f,	 0.3250182f,   0.2745482f,	 0.01966384f, -0.1155844f,
		  0.285437f,   -0.09326839f, 0.07373871f,  -0.06555931f, 0.03695387f, -0.08258281f,
		  -0.3594322f, 0.08258685f,	 0.006289553f, 0.08625451f,	 -0.303882f,  -0.2404585f,
		  -0.3516404f, 0.09097252f,	 0.2698384f,   -0.1826426f,	 0.06386732f, 0.1551628f,
		  0.2352925f,  0.02466621f,	 -0.03034206f, -0.144102f,	 0.08813977f, 0.02858119f,
		  0.08804549f, -0.1471935f}},
	};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
	{
		Folder folder;

		read_model(&folder, cases[i].model);
		folder_replace(&folder, "config.json", cases[i].from, cases[i].to);
		check_ids(&folder, ids, LENGTH(ids), cases[i].expected, cases[i].normalized);
		folder_free(&folder);
	}
}

/* 200 tokens, further apart than the buckets tell; row i of the position table is row i % 80. */
static void
mpnet_tells_all_distances(void **state)
{
	static const float expected[DIM] = {-0.05546393f, 0.1101983f,	-0.06221966f,  0.2223114f,
										-0.1589826f,  -0.1563664f,	0.5365264f,	   -0.02792434f,
										-0.00985405f, -0.06386521f, -0.007869347f, -0.2366088f,
										-0.1625324f,  0.1452938f,	-0.02353841f,  0.1436859f,
										-0.3011014f,  -0.2123692f,	0.1358621f,	   -0.04950338f,
										0.2075866f,	  -0.2359737f,	0.1825566f,	   0.1764177f,
										0.1095085f,	  0.005525317f, -0.1184242f,   -0.05768321f,
										0.2628127f,	  -0.01449242f, 0.1179713f,	   -0.1780505f};
	int32_t ids[200];
	size_t size;
	char *old;
	char *more;
	size_t row = DIM * sizeof(float);
	Folder folder;

	(void) state;
	for (int i = 0; i < LENGTH(ids); i++)
		ids[i] = (i * 37 + 11) % 1200;
	read_model(&folder, "tiny-mpnet-mean");
	old = folder_tensor(&folder, WEIGHTS, POSITIONS, &size);
	assert_int_equal(size, 80 * row);
	more = malloc(202 * row);
	for (size_t i = 0; i < 202; i++)
		memcpy(more + i * row, old + i % 80 * row, row);
	folder_set_tensor(&folder, WEIGHTS, POSITIONS, "F32", 202, DIM, more, 202 * row);
	folder_replace(&folder, "config.json", "\"max_position_embeddings\": 80",
				   "\"max_position_embeddings\": 202");
	folder_replace(&folder, "tokenizer_config.json", "\"model_max_length\": 64",
				   "\"model_max_length\": 200");
	check_ids(&folder, ids, LENGTH(ids), expected, true);
	folder_free(&folder);
	free(old);
	free(more);
}

/* 80 rows of positions: those up to padding's are no token's. */
static void
positions_limit_the_length(void **state)
{
	static const struct
	{
		const char *model;
		const char *padding;
		int tokens;
	} cases[] = {{"tiny-roberta-mean", "\"pad_token_id\": 1", 78},
				 {"tiny-roberta-mean", "\"pad_token_id\": 0", 79},
				 {"tiny-xlmr-mean", "\"pad_token_id\": 1", 78},
				 {"tiny-mpnet-mean", "\"pad_token_id\": 0", 78},
				 {"tiny-distilbert-mean", "\"pad_token_id\": 1", 80}};

	(void) state;
	for (int i = 0; i < LENGTH(cases); i++)
	{
		int32_t ids[81];
		float embedding[DIM];
		OpenModel model;
		Folder folder;

		for (int j = 0; j < LENGTH(ids); j++)
			ids[j] = j + 5;
		read_model(&folder, cases[i].model);
		folder_replace(&folder, "config.json",
					   strcmp(cases[i].model, "tiny-distilbert-mean") == 0 ? "\"pad_token_id\": 0"
																		   : "\"pad_token_id\": 1",
					   cases[i].padding);
		folder_replace(&folder, "tokenizer_config.json", "\"model_max_length\": 64",
					   "\"model_max_length\": 1000000");
		model_open(&model, &folder);
		assert_int_equal(br_encoder_info(model.encoder)->max_tokens, cases[i].tokens);
		for (int more = 0; more < 2; more++)
			assert_int_equal(br_encoder_embed_tokens(model.encoder, &model.context,
													 &(BrCompute){.backend =
																	  br_math_portable_backend()},
													 ids,
													 (const int32_t[]){0, cases[i].tokens + more},
													 1, embedding),
							 more == 0 ? BR_OK : BR_ERR_ARGUMENT);
		model_close(&model);
		folder_free(&folder);
	}
}

/* One change of config.json, and what must come of it. */
typedef struct Change
{
	const char *model;
	const char *from;
	const char *to;
	BrStatus status;
	const char *hints[2];
} Change;

static const Change changes[] = {
	/* sizes that the weights do not have */
	{"tiny-distilbert-mean",
	 "\"hidden_dim\": 64",
	 "\"hidden_dim\": 63",
	 BR_ERR_FORMAT,
	 {"\"transformer.layer.0.ffn.lin1.weight\" has the shape (64, 32)", "asks for (63, 32)"}},
	{"tiny-distilbert-mean", "\"dim\": 32", "\"dim\": 36", BR_ERR_FORMAT, {"36", "32"}},
	{"tiny-distilbert-mean",
	 "\"n_layers\": 2",
	 "\"n_layers\": 3",
	 BR_ERR_FORMAT,
	 {"lacks", "\"transformer.layer.2.attention.q_lin.weight\""}},
	{"tiny-distilbert-mean",
	 "\"n_heads\": 4",
	 "\"n_heads\": 5",
	 BR_ERR_FORMAT,
	 {"dim 32", "n_heads 5"}},
	{"tiny-roberta-mean",
	 "\"vocab_size\": 1200",
	 "\"vocab_size\": 1201",
	 BR_ERR_FORMAT,
	 {"\"embeddings.word_embeddings.weight\" has the shape (1200, 32)", "asks for (1201, 32)"}},
	{"tiny-roberta-mean",
	 "\"num_hidden_layers\": 2",
	 "\"num_hidden_layers\": 3",
	 BR_ERR_FORMAT,
	 {"lacks", "\"encoder.layer.2.attention.self.query.weight\""}},
	{"tiny-xlmr-mean",
	 "\"max_position_embeddings\": 80",
	 "\"max_position_embeddings\": 82",
	 BR_ERR_FORMAT,
	 {"\"embeddings.position_embeddings.weight\" has the shape (80, 32)", "asks for (82, 32)"}},
	{"tiny-xlmr-mean",
	 "\"intermediate_size\": 64",
	 "\"intermediate_size\": 65",
	 BR_ERR_FORMAT,
	 {"\"encoder.layer.0.intermediate.dense.weight\" has the shape (64, 32)", "asks for (65, 32)"}},
	{"tiny-mpnet-mean",
	 "\"num_attention_heads\": 4",
	 "\"num_attention_heads\": 8",
	 BR_ERR_FORMAT,
	 {"\"encoder.relative_attention_bias.weight\" has the shape (32, 4)", "asks for (32, 8)"}},
	{"tiny-mpnet-mean",
	 "\"num_hidden_layers\": 2",
	 "\"num_hidden_layers\": 3",
	 BR_ERR_FORMAT,
	 {"lacks", "\"encoder.layer.2.attention.attn.q.weight\""}},
	/* positions that padding leaves none of, and padding that is no token */
	{"tiny-roberta-mean",
	 "\"max_position_embeddings\": 80",
	 "\"max_position_embeddings\": 2",
	 BR_ERR_FORMAT,
	 {"max_position_embeddings 2", "padding"}},
	{"tiny-roberta-mean",
	 "\"pad_token_id\": 1",
	 "\"pad_token_id\": 1200",
	 BR_ERR_FORMAT,
	 {"pad_token_id", "1199"}},
	{"tiny-roberta-mean",
	 "\"pad_token_id\": 1",
	 "\"pad_token_id\": -1",
	 BR_ERR_FORMAT,
	 {"pad_token_id", "1199"}},
	/* what would change the computation */
	{"tiny-distilbert-mean", "\"gelu\"", "\"silu\"", BR_ERR_UNSUPPORTED, {"silu", "gelu"}},
	{"tiny-roberta-mean", "\"gelu\"", "\"quick_gelu\"", BR_ERR_UNSUPPORTED, {"quick_gelu", "gelu"}},
	{"tiny-roberta-mean",
	 "absolute",
	 "relative_key_query",
	 BR_ERR_UNSUPPORTED,
	 {"relative_key_query", "absolute"}},
	{"tiny-xlmr-mean", "{", "{\"is_decoder\": true,", BR_ERR_UNSUPPORTED, {"decoder", ""}},
	{"tiny-mpnet-mean",
	 "\"relative_attention_num_buckets\": 32",
	 "\"relative_attention_num_buckets\": 64",
	 BR_ERR_UNSUPPORTED,
	 {"relative_attention_num_buckets 64", "32"}},
	{"tiny-mpnet-mean", "\"mpnet\"", "\"electra\"", BR_ERR_UNSUPPORTED, {"electra", "mpnet"}},
};

static void
contradictions_are_named(void **state)
{
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	for (int i = 0; i < LENGTH(changes); i++)
	{
		const Change *change = &changes[i];
		Folder folder;
		void *image;
		size_t size;
		BrStatus status;

		read_model(&folder, change->model);
		folder_replace(&folder, "config.json", change->from, change->to);
		status = br_encoder_import(&context, folder.files, folder.n, &image, &size);
		if (status != change->status || strstr(context.detail, change->hints[0]) == NULL ||
			strstr(context.detail, change->hints[1]) == NULL)
			fail_msg("%s to %s: status %d, %s", change->from, change->to, status, context.detail);
		assert_null(image);
		folder_free(&folder);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_ids_give_golden_embeddings),
		cmocka_unit_test(padding_in_a_text_is_numbered_as_reference),
		cmocka_unit_test(mpnet_tells_all_distances),
		cmocka_unit_test(positions_limit_the_length),
		cmocka_unit_test(contradictions_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
