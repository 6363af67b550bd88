/*
 * test_compress_vocabulary.c
 *	  Models with fewer tokens beside the models that they were made of.
 *
 * Which tokens a text has, and which of a vocabulary's are characters, is found
 * here apart from what prunes: from the golden ids, which are Hugging Face's, and
 * from the folder's own vocabulary.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/compress/br_compress.h"
#include "core/math/br_math.h"
#include "unit/encoder_fixture.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))
#define NEVER INT64_MAX

static const char *const models[] = {"tiny-bert-cls",		 "tiny-bert-cased-max-dense",
									 "tiny-distilbert-mean", "tiny-mpnet-mean",
									 "tiny-roberta-mean",	 "tiny-xlmr-mean"};

/* A golden model, and one made of it for some of its golden texts. */
typedef struct Pruned
{
	OpenModel open;
	Golden golden;
	const char **texts;
	size_t *sizes;
	void *image;
	size_t image_size;
	BrEncoder *encoder;
} Pruned;

static void
pruned_open(Pruned *pruned, const char *name, int n_texts, int64_t least_uses)
{
	BrContext *context = &pruned->open.context;
	char file[80];
	char *path;

	snprintf(file, sizeof(file), "%s.json", name);
	path = path_from("BR_TEST_DIR", file);
	assert_non_null(path);
	assert_true(golden_read(&pruned->golden, path));
	free(path);
	model_open_golden(&pruned->open, name);
	pruned->texts = malloc((size_t) pruned->golden.n * sizeof(char *));
	pruned->sizes = malloc((size_t) pruned->golden.n * sizeof(size_t));
	for (int i = 0; i < pruned->golden.n; i++)
	{
		pruned->texts[i] = pruned->golden.rows[i].text;
		pruned->sizes[i] = strlen(pruned->texts[i]);
	}
	assert_int_equal(br_compress_vocabulary(context, pruned->open.image, pruned->open.image_size,
											pruned->texts, pruned->sizes, n_texts, least_uses,
											&pruned->image, &pruned->image_size),
					 BR_OK);
	assert_int_equal(br_encoder_open(context, pruned->image, pruned->image_size, &pruned->encoder),
					 BR_OK);
}

static void
pruned_close(Pruned *pruned)
{
	br_encoder_close(pruned->encoder);
	br_base_free(&pruned->open.context, pruned->image);
	model_close(&pruned->open);
	golden_free(&pruned->golden);
	free(pruned->texts);
	free(pruned->sizes);
}

static int
embed(Pruned *pruned, const BrEncoder *encoder, int text, float *embedding)
{
	const BrCompute compute = {.backend = br_math_portable_backend()};

	assert_int_equal(br_encoder_embed(encoder, &pruned->open.context, &compute,
									  &pruned->texts[text], &pruned->sizes[text], 1, false,
									  embedding),
					 BR_OK);
	return br_encoder_info(encoder)->dimensions;
}

/* The rows of the word table for a text's tokens, one after another. */
static float *
words_of(Pruned *pruned, const BrEncoder *encoder, int text, int *n)
{
	BrModelShape shape;
	int32_t *ids;
	float *rows;

	br_encoder_tell_shape(encoder, &shape);
	assert_int_equal(br_encoder_tokenize(encoder, &pruned->open.context, pruned->texts[text],
										 pruned->sizes[text], false, &ids, n),
					 BR_OK);
	rows = malloc((size_t) (*n + 1) * (size_t) shape.hidden * sizeof(float));
	for (int i = 0; i < *n; i++)
	{
		assert_in_range(ids[i], 0, shape.vocabulary - 1);
		memcpy(rows + i * shape.hidden,
			   br_encoder_weights(encoder) + shape.map.word + (size_t) ids[i] * 32,
			   32 * sizeof(float));
	}
	assert_int_equal(shape.hidden, 32);
	br_base_free(&pruned->open.context, ids);
	return rows;
}

/* For half of the texts: these are as before bit by bit, and the rest have tokens. */
static void
texts_of_kept_tokens_are_the_same(void **state)
{
	(void) state;
	for (int i = 0; i < LENGTH(models); i++)
	{
		Pruned pruned;
		int half;

		pruned_open(&pruned, models[i], 28, 1);
		half = pruned.golden.n / 2;
		assert_int_equal(half, 28);
		assert_true(br_encoder_info(pruned.encoder)->vocabulary <
					br_encoder_info(pruned.open.encoder)->vocabulary);
		assert_true(pruned.image_size < pruned.open.image_size);
		for (int text = 0; text < pruned.golden.n; text++)
		{
			float before[64];
			float after[64];
			int n_before;
			int n_after;
			float *words_before = words_of(&pruned, pruned.open.encoder, text, &n_before);
			float *words_after = words_of(&pruned, pruned.encoder, text, &n_after);
			int dim = embed(&pruned, pruned.open.encoder, text, before);

			assert_int_equal(embed(&pruned, pruned.encoder, text, after), dim);
			assert_true(n_after >= 2);
			if (text < half)
			{
				assert_int_equal(n_before, n_after);
				assert_memory_equal(words_before, words_after,
									(size_t) n_before * 32 * sizeof(float));
				assert_memory_equal(before, after, (size_t) dim * sizeof(float));
			}
			free(words_before);
			free(words_after);
		}
		pruned_close(&pruned);
	}
}

/* One character, which in vocab.txt may stand behind "##". */
static bool
is_character(const char *token)
{
	int n = 0;

	if (strncmp(token, "##", 2) == 0 && token[2] != '\0')
		token += 2;
	for (; *token != '\0'; token++)
		n += ((unsigned char) *token & 0xC0) != 0x80;
	return n == 1;
}

/*
 * Golden texts without unknown words use the tokens that their golden ids are:
 * those stay, the characters, and the special tokens, which are written in
 * brackets; nothing else does.
 */
static void
no_other_tokens_are_kept(void **state)
{
	bool used[1200] = {false};
	const char *texts[64];
	size_t sizes[64];
	Pruned pruned;
	Folder folder;
	const BrModelFile *vocabulary;
	char *line;
	void *image;
	size_t size;
	BrEncoder *encoder;
	int unknown = -1;
	int n = 0;
	int expected = 0;

	(void) state;
	pruned_open(&pruned, "tiny-bert-cls", 1, 1);
	folder_read_golden(&folder, "tiny-bert-cls");
	vocabulary = folder_find(&folder, "vocab.txt");
	assert_non_null(vocabulary);
	for (int pass = 0; pass < 2; pass++)
	{
		char *copy = strndup(vocabulary->data, vocabulary->size);
		char *rest = copy;

		for (int id = 0; (line = strsep(&rest, "\n")) != NULL && *line != '\0'; id++)
			if (pass == 0)
				unknown = strcmp(line, "[UNK]") == 0 ? id : unknown;
			else
				expected += used[id] || is_character(line) ||
					(line[0] == '[' && line[strlen(line) - 1] == ']');
		free(copy);
		for (int i = 0; pass == 0 && i < pruned.golden.n; i++)
		{
			const GoldenRow *row = &pruned.golden.rows[i];
			bool known = true;

			for (int j = 0; j < row->n_ids; j++)
				known &= row->ids[j] != unknown;
			if (!known || row->n_ids == pruned.golden.max_tokens)
				continue;
			texts[n] = row->text;
			sizes[n++] = strlen(row->text);
			for (int j = 0; j < row->n_ids; j++)
				used[row->ids[j]] = true;
		}
	}
	assert_true(unknown >= 0 && n > 10);
	assert_int_equal(br_compress_vocabulary(&pruned.open.context, pruned.open.image,
											pruned.open.image_size, texts, sizes, n, 1, &image,
											&size),
					 BR_OK);
	assert_int_equal(br_encoder_open(&pruned.open.context, image, size, &encoder), BR_OK);
	assert_int_equal(br_encoder_info(encoder)->vocabulary, expected);
	assert_int_equal(br_encoder_info(pruned.open.encoder)->parameters -
						 br_encoder_info(encoder)->parameters,
					 (1200 - expected) * 32);
	br_encoder_close(encoder);
	br_base_free(&pruned.open.context, image);
	folder_free(&folder);
	pruned_close(&pruned);
}

/*
 * With nothing but what tokenizers cannot do without, characters are left, of
 * BPE bytes; of unknown words and characters there would be fewer tokens.
 */
static void
every_text_still_has_tokens(void **state)
{
	static const char text[] = "blue xylophone";

	(void) state;
	for (int i = 0; i < LENGTH(models); i++)
	{
		bool bytes = strcmp(models[i], "tiny-roberta-mean") == 0;
		bool unigram = strcmp(models[i], "tiny-xlmr-mean") == 0;
		BrContext *context;
		Pruned pruned;
		int32_t *ids;
		int n;

		pruned_open(&pruned, models[i], 56, NEVER);
		context = &pruned.open.context;
		assert_int_equal(br_encoder_tokenize(pruned.encoder, context, text, strlen(text), false,
											 &ids, &n),
						 BR_OK);
		/* with a space before the first word, or in place of the spaces, and two special tokens */
		assert_int_equal(n, 2 + (bytes ? 14 : unigram ? 15 : 13));
		br_base_free(context, ids);
		pruned_close(&pruned);
	}
}

static void
wrong_arguments_are_refused(void **state)
{
	static const char *const broken[] = {"\xff"};
	static const size_t size = 1;
	OpenModel open;
	void *image;
	size_t image_size;

	(void) state;
	model_open_golden(&open, "tiny-bert-cls");
	assert_int_equal(br_compress_vocabulary(&open.context, open.image, open.image_size, broken,
											&size, 0, 0, &image, &image_size),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(open.context.detail, "at least 1"));
	assert_int_equal(br_compress_vocabulary(&open.context, open.image, open.image_size, broken,
											&size, 1, 1, &image, &image_size),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(open.context.detail, "UTF-8"));
	assert_null(image);
	assert_int_equal(br_compress_vocabulary(&open.context, open.image, open.image_size - 64, broken,
											&size, 0, 1, &image, &image_size),
					 BR_ERR_FORMAT);
	model_close(&open);
}

/* Memory that runs out, and a cancel, at every place: an error, and all is given back. */
static void
failures_leave_nothing(void **state)
{
	static const char *const text[] = {"a blue thing"};
	static const size_t size = 12;

	(void) state;
	for (int i = 3; i < LENGTH(models); i++)
	{
		OpenModel open;
		Ledger ledger = {.allowed = 0};
		Countdown countdown = {0, 0};
		BrContext context;
		BrStatus status;
		void *image;
		size_t image_size;

		model_open_golden(&open, models[i]);
		do
		{
			int allowed = ledger.allowed + 1;

			ledger = (Ledger){.allowed = allowed};
			ledger_context(&context, &ledger);
			status = br_compress_vocabulary(&context, open.image, open.image_size, text, &size, 1,
											1, &image, &image_size);
			ledger.allowed = allowed;
			if (status != BR_OK)
			{
				assert_int_equal(status, BR_ERR_MEMORY);
				assert_int_equal(ledger.outstanding, 0);
			}
		} while (status != BR_OK);
		assert_true(ledger.allowed > 5);
		br_base_free(&context, image);
		assert_int_equal(ledger.outstanding, 0);

		context.cancel = (BrCancel){count_down, &countdown};
		ledger.allowed = -1;
		assert_int_equal(br_compress_vocabulary(&context, open.image, open.image_size, text, &size,
												1, 1, &image, &image_size),
						 BR_ERR_CANCELLED);
		assert_int_equal(ledger.outstanding, 0);
		model_close(&open);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_of_kept_tokens_are_the_same),
		cmocka_unit_test(no_other_tokens_are_kept),
		cmocka_unit_test(every_text_still_has_tokens),
		cmocka_unit_test(wrong_arguments_are_refused),
		cmocka_unit_test(failures_leave_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
