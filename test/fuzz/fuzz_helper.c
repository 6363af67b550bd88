/*
 * fuzz_helper.c
 *	  Any requests to the helper process, with anything in their lanes.
 *
 * It is asked within this process, on the CPU. A request may be refused, with a
 * sentence; if it is not, what stands in the lane is right, and nothing else in
 * the lanes has changed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "fuzz/helper_step.h"
#include "helper/helper_int.h"

/* Of an input: numbers looked at or multiplied. More would only take longer. */
#define MAX_WORK (4 << 20)
#define MAX_MEMORY (200 << 20)

/* ---- what there is in every input ---- */

static char path[BR_EXCHANGE_PATH];
static void *image;
static size_t image_size;
static BrEncoder *encoder;
static BrContext own;
static BrHelperCompute cpu;
static char *lanes;

static void
remove_file(void)
{
	remove(path);
}

/* The smallest model, in a file. */
static void
write_model(void)
{
	const char *folder = getenv("TMPDIR");
	FuzzFolder files;
	int descriptor;

	fuzz_folder_init(&files, FUZZ_WORDS);
	FUZZ_CHECK(br_encoder_import(&own, files.files, files.n, &image, &image_size) == BR_OK);
	FUZZ_CHECK(br_encoder_open(&own, image, image_size, &encoder) == BR_OK);
	FUZZ_CHECK(br_encoder_info(encoder)->dimensions == FUZZ_STEP_DIMENSIONS);
	snprintf(path, sizeof(path), "%s/fuzz_helper_XXXXXX", folder != NULL ? folder : P_tmpdir);
	descriptor = mkstemp(path);
	FUZZ_CHECK(descriptor >= 0 && write(descriptor, image, image_size) == (ssize_t) image_size);
	close(descriptor);
	atexit(remove_file);
}

static void
prepare(void)
{
	static const BrHelperTask task = {.backends = "/nowhere", .compute = "cpu", .threads = 1};

	if (lanes == NULL)
	{
		br_base_context_init(&own);
		write_model();
		/* none of the others is there */
		FUZZ_CHECK(br_helper_open_cpu(&cpu, &own, &task) == BR_OK);
		FUZZ_CHECK(cpu.backend == br_math_portable_backend());
		lanes = mmap(NULL, BR_EXCHANGE_BYTES, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		FUZZ_CHECK(lanes != MAP_FAILED);
	}
	/* zeros again */
	FUZZ_CHECK(madvise(lanes, BR_EXCHANGE_BYTES, MADV_DONTNEED) == 0);
}

/* ---- requests ---- */

static void
fill_request(const FuzzStep *step, const uint8_t *data, BrExchangeRequest *request)
{
	uint64_t hash = fuzz_hash(data, step->lane_bytes);

	memset(request, 0, sizeof(*request));
	request->version = step->version;
	request->kind = step->kind;
	request->lane = step->lane;
	request->texts = step->texts;
	request->tokens = step->tokens;
	request->dimensions = step->dimensions;
	request->rows = step->rows;
	request->dims = step->dims;
	request->precision = step->precision;
	request->number = hash;
	request->hash[0] = step->hash;
	strcpy(request->image.path, path);
	request->image.size = image_size;
	if (step->flags & FUZZ_STEP_WEIGHTS)
		request->weights = request->image;
	if (step->flags & FUZZ_STEP_IMAGE)
		return;
	/* somewhere else, or in a file of another name, whose end may be missing */
	request->image.offset = hash % 3 == 0 ? hash : hash % 3 == 1 ? 4096 * (hash % 5) : 0;
	request->image.size = hash % 2 == 0 ? hash >> 7 : hash % (image_size + 10);
	if (hash % 7 == 0)
		memset(request->image.path, data[0], hash % 2 == 0 ? sizeof(request->image.path) : 5);
}

/* Numbers that are looked at, if the request is what it says. */
static uint64_t
work_of(const FuzzStep *step, const BrHelper *helper)
{
	uint64_t values = (uint64_t) step->rows * step->dims;

	if (step->kind == BR_EXCHANGE_EMBED)
		return 100 + (uint64_t) step->texts + step->tokens;
	return 100 +
		values * (step->kind == BR_EXCHANGE_ASSIGN ? 1 + (uint64_t) helper->compute.lists : 1);
}

/* ---- answers ---- */

static void
check_embeddings(const BrExchangeRequest *request, const int32_t *before, const float *embeddings)
{
	size_t n = (size_t) request->texts * FUZZ_STEP_DIMENSIONS;
	float *expected = malloc(n * sizeof(float));

	/* what was accepted is what the encoder accepts, too */
	FUZZ_CHECK(br_encoder_embed_tokens(encoder, &own,
									   &(BrCompute){.backend = br_math_portable_backend()},
									   before + request->texts + 1, before, (int) request->texts,
									   expected) == BR_OK);
	FUZZ_CHECK(memcmp(expected, embeddings, n * sizeof(float)) == 0);
	free(expected);
}

static void
check_nearest(const BrHelper *helper, const BrExchangeRequest *request, const int32_t *nearest)
{
	const float *distances = (const float *) (nearest + request->rows);

	for (uint32_t i = 0; i < request->rows; i++)
	{
		FUZZ_CHECK(nearest[i] >= 0 && nearest[i] < helper->compute.lists);
		FUZZ_CHECK(distances[i] >= 0);
	}
}

static void
check_reply(const BrHelper *helper, const BrExchangeRequest *request, const BrExchangeReply *reply)
{
	FUZZ_CHECK(reply->version == BR_EXCHANGE_VERSION);
	FUZZ_CHECK(reply->kind == BR_EXCHANGE_DONE);
	FUZZ_CHECK(reply->number == request->number && reply->lane == request->lane);
	FUZZ_CHECK(reply->seconds >= 0);
	FUZZ_CHECK(reply->status <= BR_ERR_SYNTAX && reply->status != BR_ERR_CANCELLED);
	FUZZ_CHECK(memchr(reply->detail, '\0', sizeof(reply->detail)) != NULL);
	FUZZ_CHECK((reply->detail[0] != '\0') == (reply->status != BR_OK));
	FUZZ_CHECK(reply->models == helper->models.n &&
			   (reply->models > 0) == (reply->model_bytes > 0));
	FUZZ_CHECK(helper->models.budget == 0 || reply->models <= 1);
}

/* How much of a lane a request may change. */
static size_t
room_of(const BrExchangeRequest *request)
{
	if (request->kind == BR_EXCHANGE_EMBED)
		return (size_t) request->texts * FUZZ_STEP_DIMENSIONS * sizeof(float);
	return request->kind == BR_EXCHANGE_ASSIGN ? (size_t) request->rows * 8 : 0;
}

static BrStatus
answer(BrHelper *helper, const BrExchangeRequest *request)
{
	size_t at = request->lane % BR_EXCHANGE_LANES * BR_EXCHANGE_LANE_BYTES;
	size_t offsets = (size_t) request->texts + 1 + request->tokens;
	int32_t *before = request->kind == BR_EXCHANGE_EMBED && offsets <= MAX_WORK
		? malloc(offsets * sizeof(int32_t))
		: NULL;
	BrExchangeReply reply;
	char behind = 0;

	if (before != NULL)
		memcpy(before, lanes + at, offsets * sizeof(int32_t));
	if (room_of(request) < BR_EXCHANGE_LANE_BYTES)
		behind = lanes[at + room_of(request)];
	br_helper_answer(helper, request, &reply);
	check_reply(helper, request, &reply);
	if (reply.status == BR_OK && request->kind == BR_EXCHANGE_EMBED)
		check_embeddings(request, before, (const float *) (lanes + at));
	if (reply.status == BR_OK && request->kind == BR_EXCHANGE_ASSIGN)
		check_nearest(helper, request, (const int32_t *) (lanes + at));
	if (room_of(request) < BR_EXCHANGE_LANE_BYTES)
		FUZZ_CHECK(lanes[at + room_of(request)] == behind);
	free(before);
	return (BrStatus) reply.status;
}

/* ---- inputs ---- */

static void
run_steps(BrHelper *helper, const FuzzContext *fuzz, const uint8_t *data, size_t size)
{
	uint64_t work = 0;
	FuzzStep step;

	while (size > sizeof(step))
	{
		BrExchangeRequest request;
		BrStatus status;

		memcpy(&step, data, sizeof(step));
		data += sizeof(step);
		size -= sizeof(step);
		if (step.lane_bytes > size)
			step.lane_bytes = (uint16_t) size;
		memcpy(lanes + step.lane % BR_EXCHANGE_LANES * BR_EXCHANGE_LANE_BYTES, data,
			   step.lane_bytes);
		fill_request(&step, data, &request);
		data += step.lane_bytes;
		size -= step.lane_bytes;
		if (step.flags & FUZZ_STEP_BUDGET)
			helper->models.budget = (int64_t) image_size;
		work += work_of(&step, helper);
		if (work > MAX_WORK)
			return;
		if (helper->models.budget > 0 && helper->models.n > 1)
			(void) br_helper_models_make_room(&helper->models, helper->models.first);
		status = answer(helper, &request);
		fuzz_accepted += status == BR_OK;
		FUZZ_CHECK(status != BR_ERR_MEMORY || fuzz->failed);
	}
}

/* left: allocations until one fails; negative: none does. */
static void
run_input(const uint8_t *data, size_t size, long left)
{
	static BrHelper helper;
	FuzzContext fuzz;

	prepare();
	fuzz_context_init(&fuzz, size);
	fuzz.limit = MAX_MEMORY;
	fuzz.left = left;
	memset(&helper, 0, sizeof(helper));
	helper.context = fuzz.context;
	helper.exchange.lanes = lanes;
	helper.compute = cpu;
	helper.models = (BrHelperModels){.context = &helper.context, .compute = &helper.compute};
	run_steps(&helper, &fuzz, data, size);

	(void) br_helper_models_make_room(&helper.models, NULL);
	FUZZ_CHECK(helper.models.n == 0 && helper.models.bytes == 0 && helper.models.first == NULL);
	br_base_free(&helper.context, helper.compute.centroids);
	br_base_free(&helper.context, helper.compute.norms);
	fuzz_check_freed(&fuzz);
}

FUZZ_TARGET(helper)
{
	uint64_t hash = fuzz_hash(data, size);

	run_input(data, size, -1);
	if (hash % 4 == 0)
		run_input(data, size, (long) (hash >> 8) % 40);
}
