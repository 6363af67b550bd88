/*
 * test_train_losses.c
 *	  Every loss, compiled in double, beside torch's values and beside
 *	  differences of itself.
 *
 * The values and slopes of train_tiny-bert-cls.json are torch's autograd in
 * float64 (test/golden/train_reference.py), written with ten digits.
 */
#include "unit/train_double.h"

#include "unit/gradient_fixture.h"

#define TORCH_BOUND 1e-9
#define MOST 200

/* ---- torch's values ---- */

static void
read_numbers(const cJSON *json, const char *name, double *values)
{
	const cJSON *item;
	int i = 0;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, name))
	{
		assert_true(i < MOST);
		values[i++] = item->valuedouble;
	}
	assert_true(i > 0);
}

static void
assert_numbers(const cJSON *json, const char *name, const double *values)
{
	const cJSON *item;
	int i = 0;

	cJSON_ArrayForEach(item, cJSON_GetObjectItem(json, name))
	{
		if (!(fabs(values[i] - item->valuedouble) <= TORCH_BOUND * (1 + fabs(item->valuedouble))))
			fail_msg("%s: %s[%d] is %.12g, torch's %.12g",
					 cJSON_GetObjectItem(json, "name")->valuestring, name, i, values[i],
					 item->valuedouble);
		i++;
	}
	assert_true(i > 0);
}

static void
check_torch_case(const cJSON *json, BrTrainLoss loss, const void *arg)
{
	double embeddings[MOST];
	double slope[MOST] = {0};
	double expected = cJSON_GetObjectItem(json, "loss")->valuedouble;
	double value;
	BrContext context;

	br_base_context_init(&context);
	read_numbers(json, "embeddings", embeddings);
	if (loss(arg, &context, embeddings, cJSON_GetObjectItem(json, "texts")->valueint,
			 cJSON_GetObjectItem(json, "dim")->valueint, &value, slope) != BR_OK)
		fail_msg("%s", context.detail);
	if (!(fabs(value - expected) <= TORCH_BOUND * (1 + expected)))
		fail_msg("%s: %.12g, torch's %.12g", cJSON_GetObjectItem(json, "name")->valuestring, value,
				 expected);
	assert_numbers(json, "slope", slope);
}

static void
check_torch_head(const cJSON *json, bool pairs)
{
	BrTrainHead head = {3, pairs ? 9 : 3, false};
	double labels[MOST];
	int32_t classes[4];
	Trained trained;
	BrTrainOptions options = {.backend = br_math_portable_backend()};
	BrTrainClasses arg = {.backend = options.backend,
						  .labels = classes,
						  .pairs = pairs,
						  .smoothing = 0.2};

	trained_open(&trained, "tiny-bert-cls", head, &options);
	arg.model = trained.model;
	read_numbers(json, "labels", labels);
	for (int i = 0; i < 4; i++)
		classes[i] = (int32_t) labels[i];
	read_numbers(json, "weight", trained.model->parameters + trained.model->head_dense.weight);
	read_numbers(json, "bias", trained.model->parameters + trained.model->head_dense.bias);
	check_torch_case(json, br_train_classes, &arg);
	assert_numbers(json, "weight_slope",
				   trained.model->gradient + trained.model->head_dense.weight);
	assert_numbers(json, "bias_slope", trained.model->gradient + trained.model->head_dense.bias);
	trained_close(&trained);
}

static void
losses_match_torch(void **state)
{
	const BrBackend *backend = br_math_portable_backend();
	cJSON *file = read_cases("train_tiny-bert-cls.json");
	double targets[MOST];
	double teacher[MOST];
	double numbers[MOST];
	uint8_t excluded[MOST];
	int32_t sets[9];
	const BrTrainContrastive contrastive = {backend, 0.5, 0, true, 0, NULL};
	const BrTrainContrastive forward = {backend, 0.5, 0, false, 0, NULL};
	const BrTrainContrastive all = {backend, 0.3, 1, true, 0.1, excluded};
	const BrTrainTriplet triplet = {1.5, false};
	const BrTrainTriplet triplet_cosine = {0.5, true};
	const BrTrainCosine cosine = {targets};
	const BrTrainDistillation distillation = {teacher, 4};
	const BrTrainSets completion = {backend, 0.3, sets, excluded};
	const BrTrainMatryoshka matryoshka = {br_train_contrastive, &contrastive, (const int[]){4, 2},
										  (const double[]){1, 0.5}, 2};
	const struct
	{
		const char *name;
		BrTrainLoss loss;
		const void *arg;
	} cases[] = {
		{"contrastive", br_train_contrastive, &contrastive},
		{"contrastive_forward", br_train_contrastive, &forward},
		{"contrastive_all", br_train_contrastive, &all},
		{"triplet", br_train_triplet, &triplet},
		{"triplet_cosine", br_train_triplet, &triplet_cosine},
		{"cosine", br_train_cosine, &cosine},
		{"distillation", br_train_distillation, &distillation},
		{"matryoshka", br_train_matryoshka, &matryoshka},
		{"sets", br_train_sets, &completion},
	};
	const cJSON *item;
	size_t found = 0;

	(void) state;
	cJSON_ArrayForEach(item, cJSON_GetObjectItem(file, "losses"))
	{
		const char *name = cJSON_GetObjectItem(item, "name")->valuestring;

		if (cJSON_GetObjectItem(item, "targets") != NULL)
			read_numbers(item, "targets", targets);
		if (cJSON_GetObjectItem(item, "teacher") != NULL)
			read_numbers(item, "teacher", teacher);
		if (cJSON_GetObjectItem(item, "excluded") != NULL)
		{
			read_numbers(item, "excluded", numbers);
			for (int i = 0; i < cJSON_GetArraySize(cJSON_GetObjectItem(item, "excluded")); i++)
				excluded[i] = (uint8_t) numbers[i];
		}
		for (int i = 0; i < cJSON_GetArraySize(cJSON_GetObjectItem(item, "sets")); i++)
			sets[i] = cJSON_GetArrayItem(cJSON_GetObjectItem(item, "sets"), i)->valueint;
		if (strncmp(name, "classes", 7) == 0)
			check_torch_head(item, strcmp(name, "classes_pairs") == 0);
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
			if (strcmp(name, cases[i].name) == 0)
			{
				check_torch_case(item, cases[i].loss, cases[i].arg);
				found++;
			}
	}
	assert_int_equal(found, sizeof(cases) / sizeof(cases[0]));
	assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(file, "losses")), found + 2);
	cJSON_Delete(file);
}

/* ---- differences ---- */

typedef struct Judged
{
	BrTrainLoss loss;
	const void *arg;
	double embeddings[MOST];
	int texts;
	int dim;
} Judged;

static double
value_of(void *arg)
{
	const Judged *judged = arg;
	double slope[MOST] = {0};
	double value;
	BrContext context;

	br_base_context_init(&context);
	assert_int_equal(judged->loss(judged->arg, &context, judged->embeddings, judged->texts,
								  judged->dim, &value, slope),
					 BR_OK);
	return value;
}

/* The slope adds to what is there. */
static void
check_differences(BrTrainLoss loss, const void *arg, int texts, int dim)
{
	Judged judged = {.loss = loss, .arg = arg, .texts = texts, .dim = dim};
	const Differences differences = {value_of, &judged, 1e-6, 1e-8, 1e-6};
	double slope[MOST];
	double value;
	BrContext context;
	BrRandom random;

	br_base_context_init(&context);
	br_base_random_init(&random, 12, (uint64_t) texts);
	for (int i = 0; i < texts * dim; i++)
	{
		judged.embeddings[i] = 2 * br_base_random_uniform(&random) - 1;
		slope[i] = 10;
	}
	if (loss(arg, &context, judged.embeddings, texts, dim, &value, slope) != BR_OK)
		fail_msg("%s", context.detail);
	for (int i = 0; i < texts * dim; i++)
		expect_slope(&differences, "embeddings", (size_t) i, &judged.embeddings[i], slope[i] - 10);
}

static void
slopes_are_differences(void **state)
{
	const BrBackend *backend = br_math_portable_backend();
	static const uint8_t excluded[5 * 15] = {[1] = 1, [20] = 1, [36] = 1, [44] = 1, [60] = 1};
	static const double targets[] = {1, -1, 0, 0.3, -0.7, 0.1};
	static const int32_t sets[] = {5, 5, 2, 3, 3, 3, 3, 3, 1, 4, 4, 4};
	static const uint8_t no_negatives[12 * 12] = {[3] = 1, [36] = 1, [100] = 1, [143] = 1};
	static const int32_t labels[] = {0, 1, 3, 2, 1, 1};
	double teacher[12 * 6];
	BrTrainContrastive contrastive = {backend, 0.05, 0, false, 0, NULL};
	const BrTrainContrastive hard = {backend, 0.2, 2, true, 0.15, excluded};
	const BrTrainMatryoshka cut = {br_train_contrastive, &hard, (const int[]){5, 3, 1}, NULL, 3};
	const BrTrainOptions options = {.backend = backend};
	BrTrainClasses classes = {backend, NULL, labels, true, 0.1};
	Trained trained;

	(void) state;
	for (int i = 0; i < 12 * 6; i++)
		teacher[i] = cos(i);
	for (int both = 0; both < 2; both++)
	{
		contrastive.both_directions = both;
		check_differences(br_train_contrastive, &contrastive, 12, 5);
	}
	check_differences(br_train_contrastive, &hard, 20, 5);
	check_differences(br_train_matryoshka, &cut, 20, 5);
	check_differences(br_train_sets, &(BrTrainSets){backend, 0.2, sets, no_negatives}, 12, 5);
	check_differences(br_train_sets, &(BrTrainSets){backend, 0.05, sets, NULL}, 12, 7);
	check_differences(br_train_triplet, &(BrTrainTriplet){0.7, false}, 18, 5);
	check_differences(br_train_triplet, &(BrTrainTriplet){0.7, true}, 18, 5);
	check_differences(br_train_cosine, &(BrTrainCosine){targets}, 12, 5);
	check_differences(br_train_distillation, &(BrTrainDistillation){teacher, 6}, 12, 5);

	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){4, 15, false}, &options);
	classes.model = trained.model;
	check_differences(br_train_classes, &classes, 12, 5);
	trained_close(&trained);
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){4, 5, false}, &options);
	classes.model = trained.model;
	classes.pairs = false;
	check_differences(br_train_classes, &classes, 6, 5);
	trained_close(&trained);
}

/* ---- what is known without torch ---- */

/*
 * Anchors {1,0} and {0,1}, candidates {.6,.8} and {1,0}, the second none of the first
 * anchor's. At a temperature of .0005 that leaves losses of 0 and of 1600; what is
 * excluded is nearer by 800, of which an exponential leaves nothing.
 */
static void
excluded_candidates_may_be_nearest(void **state)
{
	static const uint8_t excluded[4] = {0, 1, 0, 0};
	const BrTrainContrastive options = {br_math_portable_backend(), 0.0005, 0, false, 0, excluded};
	const double embeddings[] = {1, 0, 0, 1, 0.6, 0.8, 1, 0};
	double slope[8] = {0};
	double loss;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_train_contrastive(&options, &context, embeddings, 4, 2, &loss, slope),
					 BR_OK);
	assert_true(fabs(loss - 800) < 1e-9);
	for (int i = 0; i < 8; i++)
		assert_true(isfinite(slope[i]));
	assert_true(slope[0] == 0 && slope[1] == 0);
}

/* An excluded candidate may be anything: it has no slope, and the loss does not see it. */
static void
excluded_candidates_do_not_count(void **state)
{
	uint8_t excluded[4] = {0, 1, 0, 0};
	const BrTrainContrastive options = {br_math_portable_backend(), 0.1, 0, false, 0.2, excluded};
	double embeddings[] = {1, 2, -1, 1, 2, 1, 0.5, 3};
	double slope[8] = {0};
	double before;
	double after;
	BrContext context;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_train_contrastive(&options, &context, embeddings, 4, 2, &before, slope),
					 BR_OK);
	/* anchor 0 has its own positive alone, which costs nothing */
	assert_true(slope[0] == 0 && slope[1] == 0 && slope[2] != 0);

	/* its own positive stays whatever is said of it */
	excluded[0] = 1;
	assert_int_equal(br_train_contrastive(&options, &context, embeddings, 4, 2, &after, slope),
					 BR_OK);
	assert_true(before == after);
}

static void
wrong_options_are_refused(void **state)
{
	const BrBackend *backend = br_math_portable_backend();
	static const double embeddings[24] = {1, 2, 3, 4, 5, 6};
	static const double target = 1.5;
	static const int32_t labels[] = {0, 5, 0, 0, 0, 0};
	const BrTrainContrastive bad_contrasts[] = {{backend, 0, 0, true, 0, NULL},
												{backend, NAN, 0, true, 0, NULL},
												{backend, 0.1, 0, true, 1, NULL},
												{backend, 0.1, -1, true, 0, NULL},
												{backend, 0.1, 3, true, 0, NULL}};
	static const int32_t alone[] = {1, 2, 1};
	static const int32_t pair[] = {1, 1, 2};
	const BrTrainSets bad_sets[] = {{backend, 0.1, alone, NULL},
									{backend, 0, pair, NULL},
									{backend, NAN, pair, NULL}};
	const BrTrainTriplet bad_triplets[] = {{-1, false}, {NAN, true}};
	const BrTrainOptions options = {.backend = backend};
	const BrTrainContrastive good = {backend, 0.1, 0, true, 0, NULL};
	const BrTrainMatryoshka bad_cuts[] = {{br_train_contrastive, &good, (const int[]){5}, NULL, 1},
										  {br_train_contrastive, &good, (const int[]){0}, NULL, 1},
										  {br_train_contrastive, &good, (const int[]){2},
										   (const double[]){-1}, 1},
										  {br_train_contrastive, &good, (const int[]){2}, NULL, 0}};
	double slope[24];
	double loss;
	Trained trained;
	BrTrainClasses classes = {backend, NULL, labels, false, 0};
	BrContext *context = &trained.open.context;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){3, 4, false}, &options);
	for (size_t i = 0; i < sizeof(bad_contrasts) / sizeof(bad_contrasts[0]); i++)
		assert_int_equal(br_train_contrastive(&bad_contrasts[i], context, embeddings, 6, 4, &loss,
											  slope),
						 BR_ERR_ARGUMENT);
	for (size_t i = 0; i < sizeof(bad_triplets) / sizeof(bad_triplets[0]); i++)
		assert_int_equal(br_train_triplet(&bad_triplets[i], context, embeddings, 6, 4, &loss,
										  slope),
						 BR_ERR_ARGUMENT);
	for (size_t i = 0; i < sizeof(bad_cuts) / sizeof(bad_cuts[0]); i++)
		assert_int_equal(br_train_matryoshka(&bad_cuts[i], context, embeddings, 6, 4, &loss, slope),
						 BR_ERR_ARGUMENT);
	for (size_t i = 0; i < sizeof(bad_sets) / sizeof(bad_sets[0]); i++)
		assert_int_equal(br_train_sets(&bad_sets[i], context, embeddings, 3, 4, &loss, slope),
						 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_triplet(&(BrTrainTriplet){1, false}, context, embeddings, 5, 4, &loss,
									  slope),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_cosine(&(BrTrainCosine){&target}, context, embeddings, 2, 4, &loss,
									 slope),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_cosine(&(BrTrainCosine){&target}, context, embeddings, 3, 4, &loss,
									 slope),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_train_distillation(&(BrTrainDistillation){embeddings, 3}, context,
										   embeddings, 2, 4, &loss, slope),
					 BR_ERR_ARGUMENT);

	classes.model = trained.model;
	assert_int_equal(br_train_classes(&classes, context, embeddings, 6, 4, &loss, slope),
					 BR_ERR_ARGUMENT);
	assert_non_null(strstr(context->detail, "label 5"));
	assert_int_equal(br_train_classes(&classes, context, embeddings, 1, 3, &loss, slope),
					 BR_ERR_ARGUMENT);
	classes.smoothing = 1;
	assert_int_equal(br_train_classes(&classes, context, embeddings, 1, 4, &loss, slope),
					 BR_ERR_ARGUMENT);
	trained_close(&trained);
}

/* So many places are dropped as the share says, within four standard deviations. */
static void
dropout_drops_its_share(void **state)
{
	const double share = 0.1;
	BrTrainOptions options = {.backend = br_math_portable_backend(), .dropout = share, .seed = 11};
	const int32_t ids[] = {2, 3};
	const int32_t offsets[] = {0, 2};
	static double values[1000];
	double embeddings[32];
	int dropped = 0;
	Trained trained;

	(void) state;
	trained_open(&trained, "tiny-bert-cls", (BrTrainHead){0}, &options);
	assert_int_equal(br_train_embed(trained.run, &(BrTrainBatch){ids, offsets, 1, NULL}, 1,
									embeddings),
					 BR_OK);
	for (int row = 0; row < 100; row++)
	{
		for (int i = 0; i < 1000; i++)
			values[i] = 1;
		br_train_drop(trained.run, trained.run->drop, BR_SITE_DOWN, row, 1000, values);
		for (int i = 0; i < 1000; i++)
		{
			dropped += values[i] == 0;
			assert_true(values[i] == 0 || fabs(values[i] - 1 / (1 - share)) < 1e-4);
		}
	}
	assert_true(fabs(dropped - share * 100000) < 4 * sqrt(100000 * share * (1 - share)));
	trained_close(&trained);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(losses_match_torch),
		cmocka_unit_test(slopes_are_differences),
		cmocka_unit_test(excluded_candidates_do_not_count),
		cmocka_unit_test(excluded_candidates_may_be_nearest),
		cmocka_unit_test(wrong_options_are_refused),
		cmocka_unit_test(dropout_drops_its_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
