/*
 * check_failures.c
 *	  Every allocation of a whole session fails in its turn.
 *
 * A call either does its work all the same, with smaller batches, or says that
 * there is no memory; then the same call, asked again, does it. At the end all
 * memory has been given back.
 */
#include <stdio.h>
#include <string.h>

#include "cuda/checks.h"
#include "cuda/models.h"
#ifdef BR_EMULATED
#include <cuda_runtime_api.h>
#endif

extern const BrDeviceTable *br_device_table(void);

#define TEXTS 12
#define DIMS 5
#define LISTS 4
#define BEST 3

/* What a session is asked, and what it must answer. */
typedef struct Session
{
	BrTransformer model;
	int32_t *offsets;
	int32_t *ids;
	float *expected; /* (TEXTS, dimensions) */
	float *vectors;	 /* (TEXTS, DIMS) */
	int failures;
} Session;

/* Once more where there was no memory, which must be said in words. */
static BrStatus
again(Session *session, BrStatus status)
{
	if (status == BR_ERR_MEMORY)
	{
		session->failures++;
		CHECK(strstr(check_context.detail, "memory") != NULL);
	}
	return status;
}

static BrDevice *
open_device(Session *session)
{
	const BrDeviceTable *table = br_device_table();
	BrDevice *device;

	if (again(session, table->open(&check_context, 0, &device)) == BR_ERR_MEMORY)
		check_ok(table->open(&check_context, 0, &device));
	return device;
}

static void
embed(Session *session, BrDevice *device)
{
	const BrDeviceTable *table = br_device_table();
	float *actual = check_room(TEXTS * (size_t) session->model.dimensions);
	BrDeviceModel *loaded;

	if (again(session, table->load(device, &check_context, &session->model, &loaded)) ==
		BR_ERR_MEMORY)
	{
		CHECK(loaded == NULL);
		check_ok(table->load(device, &check_context, &session->model, &loaded));
	}
	for (int turn = 0; turn < 2 && !check_has_failed(); turn++)
	{
		int texts = turn == 0 ? 1 : TEXTS;

		if (again(session,
				  table->embed(device, &check_context, loaded, session->ids, session->offsets,
							   texts, actual)) == BR_ERR_MEMORY)
			check_ok(table->embed(device, &check_context, loaded, session->ids, session->offsets,
								  texts, actual));
		model_check(&session->model, actual, session->expected, texts);
	}
	table->unload(device, loaded);
}

/* Each vector's best row is itself, and so is its centroid where it is one. */
static void
search(Session *session, BrDevice *device)
{
	const BrDeviceTable *table = br_device_table();
	int32_t nearest[TEXTS];
	int32_t ids[TEXTS * BEST];
	float similarities[TEXTS * BEST];

	for (int turn = 0; turn < 2; turn++)
		if (again(session,
				  table->place_centroids(device, &check_context, session->vectors, LISTS, DIMS)) ==
			BR_OK)
			break;
	for (int turn = 0; turn < 2; turn++)
		if (again(session,
				  table->assign(device, &check_context, session->vectors, TEXTS, nearest, NULL)) ==
			BR_OK)
			break;
	for (int turn = 0; turn < 2; turn++)
		if (again(session,
				  table->top_k(device, &check_context, session->vectors, TEXTS, session->vectors,
							   TEXTS, DIMS, BEST, ids, similarities)) == BR_OK)
			break;
	for (int i = 0; i < LISTS; i++)
		CHECK(nearest[i] == i);
	for (int i = 0; i < TEXTS; i++)
		CHECK(ids[i * BEST] == i);
}

/* Vectors of length 1, so that none is nearer to a row than itself. */
static void
make_vectors(Session *session)
{
	session->vectors = check_memory(TEXTS * DIMS * sizeof(float));
	for (int i = 0; i < TEXTS; i++)
		for (int j = 0; j < DIMS; j++)
			session->vectors[i * DIMS + j] = j == i % DIMS ? 0.8f
				: j == (i + 1 + i / DIMS) % DIMS		   ? 0.6f
														   : 0;
}

static void
every_allocation_may_fail(void)
{
	static const ModelShape shape =
		{64, 1, 2, 64, 20, 0, BR_ACTIVATION_GELU_ERF, BR_POOLING_MEAN, true, false, true, true};
	Session session = {.model = model_make(&shape)};
	int number = 0;
	int failures = 0;
	int last = 1;

	session.offsets = model_offsets(TEXTS, shape.max_tokens);
	session.ids = model_ids(session.offsets, TEXTS);
	session.expected = model_expected(&session.model, session.ids, session.offsets, TEXTS);
	make_vectors(&session);
#ifdef BR_EMULATED
	CHECK(emulated_pieces() == 0);
#endif
	/* until a whole session asks for less memory than often enough to fail */
	do
	{
		BrDevice *device;

		br_cuda_fail_allocation(++number);
		device = open_device(&session);
		if (device == NULL)
			break;
		embed(&session, device);
		search(&session, device);
		last = session.failures - failures;
		failures = session.failures;
		br_device_table()->close(device);
	} while (!check_has_failed() && number < 100 && br_cuda_failing_allocation() == 0);
	br_cuda_fail_allocation(0);
	printf("# %d of %d allocations that failed made a call fail\n", failures, number - 1);
	CHECK(failures >= 3 && failures < number && last == 0);
#ifdef BR_EMULATED
	CHECK(emulated_pieces() == 0);
#endif
}

static const Check checks[] = {
	{"every allocation may fail", every_allocation_may_fail},
};

const Checks failure_checks = {checks, LENGTH(checks)};
