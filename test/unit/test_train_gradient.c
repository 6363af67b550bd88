/*
 * test_train_gradient.c
 *	  The gradient of whole models, compiled in double, beside differences of
 *	  the loss.
 *
 * The loss is a fixed random direction times the embeddings, with dropout: the
 * same decisions come back at every evaluation. A parameter that the batch
 * reads is moved both ways; one that it does not read must have no gradient.
 * Of every tensor a seeded sample is checked, and with BR_SLOW=1 in the environment
 * everything.
 */
#include "unit/train_double.h"

#include "unit/gradient_fixture.h"

#define SAMPLE 16
#define TOKENS 17
#define TEXTS 4
#define MOST_DIMENSIONS 64

/* Texts of 1, 3, 12 and 1 tokens: distances beyond 8, a token twice, a text twice. */
static const int32_t offsets[TEXTS + 1] = {0, 1, 4, 16, 17};
static const int32_t ids[TOKENS] = {7, 2, 30, 3, 2, 41, 5, 41, 90, 8, 1, 700, 12, 33, 65, 3, 7};
static const BrTrainBatch batch = {ids, offsets, TEXTS, NULL};

static double direction[TEXTS * MOST_DIMENSIONS];

/* One model with a run over it. */
typedef struct Check
{
	Trained trained;
	BrTrainModel *model; /* of trained */
	size_t outputs;		 /* texts times dimensions */
} Check;

static void
check_begin(Check *check, const Folder *folder, double dropout)
{
	const BrTrainOptions options = {.backend = br_math_portable_backend(),
									.dropout = dropout,
									.attention_dropout = 2 * dropout,
									.seed = 3};
	BrRandom random;

	trained_open_folder(&check->trained, folder, (BrTrainHead){0}, &options);
	check->model = check->trained.model;
	check->outputs = TEXTS * (size_t) check->trained.dim;
	assert_true(check->outputs <= TEXTS * MOST_DIMENSIONS);
	br_base_random_init(&random, 8, 1);
	for (size_t i = 0; i < check->outputs; i++)
		direction[i] = 2 * br_base_random_uniform(&random) - 1;
}

static double
loss_of(void *arg)
{
	const Check *check = arg;
	double embeddings[TEXTS * MOST_DIMENSIONS];
	double loss = 0;

	assert_int_equal(br_train_embed(check->trained.run, &batch, 5, embeddings), BR_OK);
	for (size_t i = 0; i < check->outputs; i++)
		loss += direction[i] * embeddings[i];
	return loss;
}

static void
fill_gradient(Check *check)
{
	br_train_zero_gradient(check->model);
	loss_of(check);
	assert_int_equal(br_train_backpropagate(check->trained.run, direction), BR_OK);
}

/* Whether the batch reads a row of a table. */
static bool
is_read(const Check *check, const BrTrainTensor *tensor, int row)
{
	const BrModelShape *shape = check->trained.run->shape;

	for (int i = 0; i < TOKENS; i++)
		if ((tensor->offset == shape->map.word && ids[i] == row) ||
			(tensor->offset == shape->map.position && check->trained.run->positions[i] == row))
			return true;
	return tensor->offset != shape->map.word && tensor->offset != shape->map.position;
}

/* All of them, or a sample of those that are read; the gradient of the others is 0. */
static int
check_tensor(Check *check, const BrTrainTensor *tensor, BrRandom *random)
{
	const Differences differences = {loss_of, check, 1e-5, 1e-6, 1e-4};
	bool every = getenv("BR_SLOW") != NULL;
	size_t columns = tensor->columns > 0 ? (size_t) tensor->columns : 1;
	size_t n = tensor_numbers(tensor);
	size_t read = 0;
	int checked = 0;

	for (int row = 0; row < tensor->rows; row++)
		read += is_read(check, tensor, row) ? columns : 0;
	for (size_t i = 0; i < n; i++)
	{
		if (!is_read(check, tensor, (int) (i / columns)))
			assert_true(check->model->gradient[tensor->offset + i] == 0);
		else if (every || br_base_random_below(random, (uint32_t) read) < SAMPLE)
		{
			expect_slope(&differences, tensor->name, i,
						 &check->model->parameters[tensor->offset + i],
						 check->model->gradient[tensor->offset + i]);
			checked++;
		}
	}
	return checked;
}

static void
check_folder(const Folder *folder, double dropout)
{
	const BrTrainTensor *tensors;
	BrRandom random;
	Check check;
	int checked = 0;
	int n;

	check_begin(&check, folder, dropout);
	fill_gradient(&check);
	tensors = br_train_tensors(check.model, &n);
	br_base_random_init(&random, 4, 4);
	for (int i = 0; i < n; i++)
		checked += check_tensor(&check, &tensors[i], &random);
	print_message("%d of %zu parameters\n", checked, br_train_count(check.model));
	assert_true(checked > 8 * n);
	trained_close(&check.trained);
}

static void
golden_models_have_their_gradient(void **state)
{
	static const char *const names[] = {"tiny-bert-cls",		"tiny-bert-cased-max-dense",
										"tiny-distilbert-mean", "tiny-mpnet-mean",
										"tiny-roberta-mean",	"tiny-xlmr-mean"};

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Folder folder;

		print_message("%s: ", names[i]);
		folder_read_golden(&folder, names[i]);
		check_folder(&folder, i % 2 == 0 ? 0.1 : 0);
		folder_free(&folder);
	}
}

/* The poolings and activations that no golden model has, without dropout. */
static void
other_chains_have_their_gradient(void **state)
{
	static const struct
	{
		const char *pooling;
		const char *activation;
	} chains[] = {{"weightedmean", "relu"},
				  {"mean_sqrt_len_tokens", "gelu_new"},
				  {"lasttoken", "gelu"}};

	(void) state;
	for (size_t i = 0; i < sizeof(chains) / sizeof(chains[0]); i++)
	{
		Folder folder;
		char to[100];

		folder_read_golden(&folder, "tiny-bert-cls");
		snprintf(to, sizeof(to), "\"pooling_mode\": \"%s\"", chains[i].pooling);
		folder_replace(&folder, "1_Pooling/config.json", "\"pooling_mode\": \"cls\"", to);
		snprintf(to, sizeof(to), "\"hidden_act\": \"%s\"", chains[i].activation);
		folder_replace(&folder, "config.json", "\"hidden_act\": \"gelu\"", to);
		check_folder(&folder, 0);
		folder_free(&folder);
	}
}

/* A key's bias adds the same to all scores of a query, which softmax does not see. */
static void
key_biases_have_no_gradient(void **state)
{
	static const struct
	{
		const char *model;
		const char *name;
	} keys[] = {{"tiny-bert-cls", "attention.self.key.bias"},
				{"tiny-distilbert-mean", "attention.k_lin.bias"},
				{"tiny-mpnet-mean", "attention.attn.k.bias"}};

	(void) state;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		const BrTrainTensor *tensors;
		Folder folder;
		Check check;
		int found = 0;
		int n;

		folder_read_golden(&folder, keys[i].model);
		check_begin(&check, &folder, 0.1);
		fill_gradient(&check);
		tensors = br_train_tensors(check.model, &n);
		for (int t = 0; t < n; t++)
			if (strstr(tensors[t].name, keys[i].name) != NULL)
			{
				found++;
				for (int j = 0; j < tensors[t].rows; j++)
					assert_true(fabs(check.model->gradient[tensors[t].offset + (size_t) j]) <
								1e-13);
			}
		assert_int_equal(found, check.trained.run->shape->layers);
		trained_close(&check.trained);
		folder_free(&folder);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden_models_have_their_gradient),
		cmocka_unit_test(other_chains_have_their_gradient),
		cmocka_unit_test(key_biases_have_no_gradient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
