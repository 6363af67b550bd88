/*
 * test_encoder_threads.c
 *	  Embedding with several threads: the same as with one.
 *
 * The expected embeddings are those of the caller's thread alone, which the
 * other tests of the encoder compare with the reference.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/math/br_math.h"
#include "unit/encoder_fixture.h"

#define MOST_TEXTS 100
#define MOST_THREADS 5

/* Texts of 1 to 45 words, in no order of length. */
typedef struct Texts
{
	char storage[MOST_TEXTS][400];
	const char *texts[MOST_TEXTS];
	size_t sizes[MOST_TEXTS];
} Texts;

static Texts *
make_texts(void)
{
	Texts *made = calloc(1, sizeof(Texts));

	for (int i = 0; i < MOST_TEXTS; i++)
	{
		for (int j = 0; j <= i * 7 % 45; j++)
			sprintf(made->storage[i] + strlen(made->storage[i]), "w%d ", (i * j) % 1000);
		made->texts[i] = made->storage[i];
		made->sizes[i] = strlen(made->storage[i]);
	}
	return made;
}

static BrPool *
make_pool(int threads)
{
	BrContext context;
	BrPool *pool;

	br_base_context_init(&context);
	assert_int_equal(br_base_pool_create(&context, threads, &pool), BR_OK);
	return pool;
}

static float *
embed(OpenModel *model, BrCompute compute, const Texts *texts, int n, int64_t *tokens)
{
	size_t dimensions = (size_t) br_encoder_info(model->encoder)->dimensions;
	float *embeddings = calloc((size_t) n * dimensions + 1, sizeof(float));

	*tokens = 0;
	compute.tokens = tokens;
	assert_int_equal(br_encoder_embed(model->encoder, &model->context, &compute, texts->texts,
									  texts->sizes, n, false, embeddings),
					 BR_OK);
	return embeddings;
}

/* ---- the same embeddings ---- */

/*
 * Threads cut other batches than one thread does. A library's product of a row
 * may depend on how many rows there are, in the last bits of embeddings of
 * length 1; the reference's does not.
 */
static void
assert_same(const BrBackend *backend, const float *actual, const float *expected, size_t n)
{
	double allowed = backend == br_math_portable_backend() ? 0 : 1e-6;

	for (size_t i = 0; i < n; i++)
		if (!(fabs((double) actual[i] - (double) expected[i]) <= allowed))
			fail_msg("%s: component %zu of %zu is %.9g, with one thread %.9g", backend->name, i, n,
					 (double) actual[i], (double) expected[i]);
}

/* pools: of 2 to MOST_THREADS threads */
static void
check_counts(OpenModel *model, BrCompute compute, BrPool *const *pools, const Texts *texts)
{
	static const int counts[] = {0, 1, 2, 5, 40, MOST_TEXTS};
	size_t dimensions = (size_t) br_encoder_info(model->encoder)->dimensions;

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
	{
		int64_t tokens;
		int64_t tokens_together;
		float *expected;

		compute.pool = NULL;
		expected = embed(model, compute, texts, counts[i], &tokens);
		for (int threads = 2; threads <= MOST_THREADS; threads++)
		{
			float *embeddings;

			compute.pool = pools[threads - 2];
			embeddings = embed(model, compute, texts, counts[i], &tokens_together);
			assert_same(compute.backend, embeddings, expected, (size_t) counts[i] * dimensions);
			assert_int_equal(tokens_together, tokens);
			free(embeddings);
		}
		free(expected);
	}
}

static void
check_backend(OpenModel *model, const BrBackend *backend, BrPool *const *pools, const Texts *texts)
{
	check_counts(model, (BrCompute){.backend = backend}, pools, texts);
	for (int i = 0; i < BR_PRECISION_COUNT && backend->packs != NULL; i++)
	{
		BrPrecision precision = (BrPrecision) i;
		size_t size = br_encoder_packed_size(model->encoder, backend, precision);
		void *packed = NULL;

		if (!backend->packs(precision))
			continue;
		assert_int_equal(posix_memalign(&packed, 64, size), 0);
		assert_int_equal(br_encoder_pack(model->encoder, &model->context, backend, precision,
										 packed),
						 BR_OK);
		check_counts(model, (BrCompute){.backend = backend, .packed = packed}, pools, texts);
		free(packed);
	}
}

/* One with a dense layer behind the pooling, and one with relative positions. */
static void
threads_change_no_embedding(void **state)
{
	static const char *const backends[] = {"portable", "openblas", "onednn"};
	static const char *const models[] = {"tiny-bert-cased-max-dense", "tiny-mpnet-mean"};
	Texts *texts = make_texts();
	BrPool *pools[MOST_THREADS - 1];

	(void) state;
	for (int i = 0; i < MOST_THREADS - 1; i++)
		pools[i] = make_pool(i + 2);
	for (int i = 0; i < 2; i++)
	{
		OpenModel model;

		model_open_golden(&model, models[i]);
		for (int j = 0; j < 3; j++)
		{
			const BrBackend *backend = load_backend(backends[j]);

			if (backend != NULL)
				check_backend(&model, backend, pools, texts);
			else
				print_message("backend %s is not built\n", backends[j]);
		}
		model_close(&model);
	}
	for (int i = 0; i < MOST_THREADS - 1; i++)
		br_base_pool_destroy(pools[i]);
	free(texts);
}

/* ---- cancelling ---- */

/* What the backend below notes. cmocka runs one test at a time. */
static struct
{
	pthread_t caller;
	atomic_bool cancelled; /* the caller has said yes */
	atomic_bool known;	   /* and was asked again, so that the flag of all threads is up */
	atomic_int running;	   /* products under way */
	atomic_int late;	   /* products begun when it was known */
	bool hold;			   /* products of other threads last until the cancel */
	int foreign;		   /* questions that other threads asked the caller */
} watch;

/* Of another thread, none ends between the yes and the moment when all can know it. */
static void
watched_linear(const float *input, const float *weight, const float *bias, int rows, int in_dim,
			   int out_dim, BrActivation activation, float *output)
{
	bool other = !pthread_equal(pthread_self(), watch.caller);

	atomic_fetch_add(&watch.running, 1);
	if (atomic_load(&watch.known))
		atomic_fetch_add(&watch.late, 1);
	while (other && (watch.hold || atomic_load(&watch.cancelled)) && !atomic_load(&watch.known))
		sched_yield();
	br_math_portable_backend()->linear(input, weight, bias, rows, in_dim, out_dim, activation,
									   output);
	atomic_fetch_sub(&watch.running, 1);
}

static bool
watched_cancel(void *arg)
{
	watch.foreign += !pthread_equal(pthread_self(), watch.caller);
	if (atomic_load(&watch.cancelled))
		atomic_store(&watch.known, true);
	if (count_down(arg))
		atomic_store(&watch.cancelled, true);
	return atomic_load(&watch.cancelled);
}

static void
watch_anew(bool hold)
{
	watch.caller = pthread_self();
	atomic_store(&watch.cancelled, false);
	atomic_store(&watch.known, false);
	atomic_store(&watch.late, 0);
	watch.hold = hold;
}

/* Before each product a thread looks: only one more can begin. All have ended on return. */
static void
check_cancelled(OpenModel *model, const BrCompute *compute, const Texts *texts, int checks,
				bool hold)
{
	float *embeddings = malloc(MOST_TEXTS * 32 * sizeof(float));
	Countdown countdown = {checks, 0};

	watch_anew(hold);
	model->context.cancel = (BrCancel){watched_cancel, &countdown};
	model->context.detail[0] = '\0';
	assert_int_equal(br_encoder_embed(model->encoder, &model->context, compute, texts->texts,
									  texts->sizes, MOST_TEXTS, false, embeddings),
					 BR_ERR_CANCELLED);
	assert_int_equal(atomic_load(&watch.running), 0);
	assert_true(atomic_load(&watch.late) < MOST_THREADS);
	assert_int_equal(watch.foreign, 0);
	assert_non_null(strstr(model->context.detail, "was cancelled."));
	model->context.cancel = (BrCancel){NULL, NULL};
	free(embeddings);
}

static void
cancel_ends_all_threads(void **state)
{
	BrBackend backend = *br_math_portable_backend();
	BrCompute compute = {.backend = &backend, .pool = make_pool(MOST_THREADS)};
	Texts *texts = make_texts();
	OpenModel model;
	float *expected;
	float *again;
	int64_t tokens;

	(void) state;
	backend.linear = watched_linear;
	model_open_golden(&model, "tiny-bert-cls");
	watch_anew(false);
	expected = embed(&model, compute, texts, MOST_TEXTS, &tokens);
	for (int checks = 0; checks < 60; checks++)
		check_cancelled(&model, &compute, texts, checks, false);
	/* the caller's own batch has ended long before: it is asked while it waits */
	for (int checks = 60; checks < 64; checks++)
		check_cancelled(&model, &compute, texts, checks, true);

	/* the pool has nothing of it left */
	watch_anew(false);
	again = embed(&model, compute, texts, MOST_TEXTS, &tokens);
	assert_memory_equal(again, expected, MOST_TEXTS * 32 * sizeof(float));
	free(expected);
	free(again);
	free(texts);
	br_base_pool_destroy(compute.pool);
	model_close(&model);
}

/* ---- memory ---- */

/* The caller's allocator, which must not be called by the pool. */
typedef struct OwnLedger
{
	BrAllocator ledger;
	pthread_t caller;
	atomic_int foreign;
} OwnLedger;

static void *
own_alloc(void *arg, size_t size)
{
	OwnLedger *own = arg;

	if (!pthread_equal(pthread_self(), own->caller))
		atomic_fetch_add(&own->foreign, 1);
	return own->ledger.alloc(own->ledger.arg, size);
}

static void
own_free(void *arg, void *pointer)
{
	OwnLedger *own = arg;

	if (!pthread_equal(pthread_self(), own->caller))
		atomic_fetch_add(&own->foreign, 1);
	own->ledger.free(own->ledger.arg, pointer);
}

static void
no_memory_is_an_error_with_threads(void **state)
{
	const BrBackend *backend = br_math_portable_backend();
	BrCompute compute = {.backend = backend, .pool = make_pool(3)};
	Texts *texts = make_texts();
	OwnLedger own = {.caller = pthread_self()};
	float *embeddings = malloc(MOST_TEXTS * 32 * sizeof(float));
	BrStatus status = BR_ERR_MEMORY;
	BrContext context;
	Ledger ledger;
	OpenModel model;
	float *expected;
	int64_t tokens;
	int allowed = 0;

	(void) state;
	model_open_golden(&model, "tiny-bert-cls");
	expected = embed(&model, compute, texts, 50, &tokens);
	ledger_context(&context, &ledger);
	own.ledger = context.allocator;
	context.allocator = (BrAllocator){own_alloc, own_free, &own};
	for (; status == BR_ERR_MEMORY; allowed++)
	{
		ledger = (Ledger){.allowed = allowed};
		context.detail[0] = '\0';
		status = br_encoder_embed(model.encoder, &context, &compute, texts->texts, texts->sizes, 50,
								  false, embeddings);
		assert_int_equal(ledger.outstanding, 0);
		assert_true(status == BR_OK || context.detail[0] != '\0');
	}
	assert_int_equal(status, BR_OK);
	assert_true(allowed > 3 + 2 * 3); /* for the call, and for each of three threads */
	assert_memory_equal(embeddings, expected, 50 * 32 * sizeof(float));
	assert_int_equal(atomic_load(&own.foreign), 0);
	free(expected);
	free(embeddings);
	free(texts);
	br_base_pool_destroy(compute.pool);
	model_close(&model);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_change_no_embedding),
		cmocka_unit_test(cancel_ends_all_threads),
		cmocka_unit_test(no_memory_is_an_error_with_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
