/*
 * helper_fixture.c
 *	  The helper process as its tests see it: started, asked, ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/helper_fixture.h"

#define PAGE 4096

/* ---- places ---- */

static char folder[HELPER_PATH] = "";

const char *
helper_folder(void)
{
	const char *parent = getenv("TMPDIR");

	if (folder[0] == '\0')
	{
		snprintf(folder, sizeof(folder), "%s/br_helper_XXXXXX", parent != NULL ? parent : P_tmpdir);
		assert_non_null(mkdtemp(folder));
	}
	return folder;
}

int
helper_clean_up(void **state)
{
	char command[HELPER_PATH + 20];

	(void) state;
	snprintf(command, sizeof(command), "rm -rf '%s'", folder);
	assert_true(folder[0] == '\0' || system(command) == 0);
	folder[0] = '\0';
	return 0;
}

void
helper_set_faults(const char *faults)
{
	char path[HELPER_PATH + 20];
	char new_path[HELPER_PATH + 30];
	FILE *file;

	snprintf(path, sizeof(path), "%s/faults", helper_folder());
	snprintf(new_path, sizeof(new_path), "%s.new", path);
	file = fopen(new_path, "w");
	assert_non_null(file);
	fputs(faults, file);
	fclose(file);
	/* never seen half-written */
	assert_int_equal(rename(new_path, path), 0);
	setenv("BR_FAULTS", path, 1);
}

/* The folder in which everything is built: this program is in test/unit below it. */
static const char *
build_folder(void)
{
	static char path[PATH_MAX];
	ssize_t size = readlink("/proc/self/exe", path, sizeof(path) - 1);

	assert_true(size > 0);
	path[size] = '\0';
	for (int i = 0; i < 3; i++)
		*strrchr(path, '/') = '\0';
	return path;
}

const BrBackend *
helper_backend(void)
{
	const BrBackend *backend;

	setenv("BR_BACKEND_DIR", build_folder(), 1);
	backend = load_backend("onednn");
	if (backend == NULL)
		backend = load_backend("openblas");
	return backend != NULL ? backend : br_math_portable_backend();
}

/* ---- the process ---- */

void
helper_execute(char **arguments)
{
	char path[PATH_MAX + 20];

	snprintf(path, sizeof(path), "%s/bundle_rec_helper", build_folder());
	execv(path, arguments);
	_exit(127);
}

static void
execute_with(const HelperProcess *helper, int socket, const char *compute, int64_t memory,
			 int threads)
{
	char arguments[7][PATH_MAX + 40];
	char *pointers[] = {"bundle_rec_helper", arguments[0], arguments[1], arguments[2],
						arguments[3],		 arguments[4], arguments[5], NULL};
	bool cpu = strcmp(compute, "cpu") == 0;

	snprintf(arguments[0], sizeof(arguments[0]), "--socket=%d", socket);
	snprintf(arguments[1], sizeof(arguments[1]), "--file=%d", helper->file);
	snprintf(arguments[2], sizeof(arguments[2]), "--backends=%s%s", build_folder(),
			 cpu ? "" : "/test/helper");
	snprintf(arguments[3], sizeof(arguments[3]), "--compute=%s", compute);
	snprintf(arguments[4], sizeof(arguments[4]), "--memory=%lld", (long long) memory);
	snprintf(arguments[5], sizeof(arguments[5]), "--threads=%d", threads);
	helper_execute(pointers);
}

void
helper_start(HelperProcess *helper, const char *compute, int64_t memory, int threads)
{
	int sockets[2];

	memset(helper, 0, sizeof(*helper));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets), 0);
	helper->socket = sockets[0];
	helper->file = memfd_create("lanes", 0);
	assert_true(helper->file >= 0 && ftruncate(helper->file, (off_t) BR_EXCHANGE_BYTES) == 0);
	helper->lanes =
		mmap(NULL, BR_EXCHANGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, helper->file, 0);
	assert_true(helper->lanes != MAP_FAILED);
	helper->pid = fork();
	assert_true(helper->pid >= 0);
	if (helper->pid == 0)
	{
		close(sockets[0]);
		execute_with(helper, sockets[1], compute, memory, threads);
	}
	close(sockets[1]);
}

void
helper_start_ready(HelperProcess *helper, const char *compute, int64_t memory, int threads)
{
	helper_start(helper, compute, memory, threads);
	assert_true(helper_receive(helper, HELPER_PATIENCE_MS));
	if (helper->reply.kind != BR_EXCHANGE_READY)
		fail_msg("the helper is not ready: %s", helper->reply.detail);
	assert_int_equal(helper->reply.version, BR_EXCHANGE_VERSION);
	assert_int_equal(helper->reply.status, BR_OK);
	assert_int_equal(helper->reply.models, 0);
}

void
helper_send(HelperProcess *helper, const BrExchangeRequest *request)
{
	assert_int_equal(send(helper->socket, request, sizeof(*request), MSG_NOSIGNAL),
					 sizeof(*request));
}

bool
helper_receive(HelperProcess *helper, int milliseconds)
{
	struct pollfd poller = {.fd = helper->socket, .events = POLLIN};

	if (poll(&poller, 1, milliseconds) <= 0)
		return false;
	return recv(helper->socket, &helper->reply, sizeof(helper->reply), 0) ==
		(ssize_t) sizeof(helper->reply);
}

BrStatus
helper_ask(HelperProcess *helper, BrExchangeRequest *request)
{
	request->version = BR_EXCHANGE_VERSION;
	request->number = ++helper->number;
	helper_send(helper, request);
	assert_true(helper_receive(helper, HELPER_PATIENCE_MS));
	assert_int_equal(helper->reply.version, BR_EXCHANGE_VERSION);
	assert_int_equal(helper->reply.kind, BR_EXCHANGE_DONE);
	assert_int_equal(helper->reply.number, helper->number);
	assert_int_equal(helper->reply.lane, request->lane);
	/* a failure says why */
	assert_int_equal(helper->reply.detail[0] != '\0', helper->reply.status != BR_OK);
	return (BrStatus) helper->reply.status;
}

int
helper_wait(HelperProcess *helper, int milliseconds)
{
	int status;

	for (int waited = 0; waited <= milliseconds; waited += 5)
	{
		if (waitpid(helper->pid, &status, WNOHANG) == helper->pid)
			return status;
		usleep(5000);
	}
	return -1;
}

void
helper_forget(HelperProcess *helper)
{
	if (helper->socket >= 0)
		close(helper->socket);
	close(helper->file);
	munmap(helper->lanes, BR_EXCHANGE_BYTES);
}

void
helper_end(HelperProcess *helper)
{
	close(helper->socket);
	helper->socket = -1;
	assert_int_equal(helper_wait(helper, HELPER_PATIENCE_MS), 0);
	helper_forget(helper);
}

/* ---- models ---- */

static void
write_file(BrExchangeFile *file, const char *name, const char *end, const void *data, size_t size)
{
	static const char page[PAGE] = "what a packed file begins with";
	FILE *written;

	snprintf(file->path, sizeof(file->path), "%s/%s.%s", helper_folder(), name, end);
	file->offset = PAGE;
	file->size = size;
	written = fopen(file->path, "wb");
	assert_non_null(written);
	assert_int_equal(fwrite(page, 1, PAGE, written), PAGE);
	assert_int_equal(fwrite(data, 1, size, written), size);
	fclose(written);
}

void
stored_open(StoredModel *stored, const char *name)
{
	memset(stored, 0, sizeof(*stored));
	model_open_golden(&stored->model, name);
	stored->info = br_encoder_info(stored->model.encoder);
	stored->request.kind = BR_EXCHANGE_EMBED;
	stored->request.dimensions = (uint32_t) stored->info->dimensions;
	/* of the tests' models the names differ */
	memcpy(stored->request.hash, name + strlen("tiny-"),
		   strlen(name + strlen("tiny-")) < BR_EXCHANGE_HASH ? strlen(name + strlen("tiny-"))
															 : BR_EXCHANGE_HASH);
	write_file(&stored->request.image, name, "image", stored->model.image,
			   stored->model.image_size);
}

void
stored_pack(StoredModel *stored, const BrBackend *backend, BrPrecision precision)
{
	size_t size = br_encoder_packed_size(stored->model.encoder, backend, precision);
	const char *end = precision == BR_PRECISION_F32 ? "f32"
		: precision == BR_PRECISION_BF16			? "bf16"
													: "int8";

	assert_true(size > 0);
	free(stored->packed);
	stored->packed = aligned_alloc(64, (size + 63) / 64 * 64);
	assert_int_equal(br_encoder_pack(stored->model.encoder, &stored->model.context, backend,
									 precision, stored->packed),
					 BR_OK);
	write_file(&stored->request.weights, stored->info->architecture, end, stored->packed, size);
	stored->request.precision = precision;
}

void
stored_close(StoredModel *stored)
{
	model_close(&stored->model);
	free(stored->packed);
}

/* ---- texts ---- */

void
texts_make(Texts *texts, StoredModel *stored, int n, uint64_t seed, const BrBackend *backend)
{
	BrCompute compute = {.backend = backend, .packed = stored->packed};
	BrRandom random;

	assert_true(n <= HELPER_TEXTS && stored->info->dimensions <= 64);
	br_base_random_init(&random, seed, 0);
	texts->n = n;
	texts->offsets[0] = 0;
	for (int i = 0; i < n; i++)
	{
		uint32_t longest = (uint32_t) stored->info->max_tokens;
		uint32_t length = 1 + br_base_random_below(&random, longest < 64 ? longest : 64);

		texts->offsets[i + 1] = texts->offsets[i] + (int32_t) length;
		for (int32_t j = texts->offsets[i]; j < texts->offsets[i + 1]; j++)
			texts->ids[j] =
				(int32_t) br_base_random_below(&random, (uint32_t) stored->info->vocabulary);
	}
	assert_int_equal(br_encoder_embed_tokens(stored->model.encoder, &stored->model.context,
											 &compute, texts->ids, texts->offsets, n,
											 texts->embeddings),
					 BR_OK);
}

BrStatus
texts_ask(const Texts *texts, HelperProcess *helper, const StoredModel *stored, int lane)
{
	char *at = helper->lanes + (size_t) lane * BR_EXCHANGE_LANE_BYTES;
	BrExchangeRequest request = stored->request;
	size_t offsets = ((size_t) texts->n + 1) * sizeof(int32_t);

	request.lane = (uint32_t) lane;
	request.texts = (uint32_t) texts->n;
	request.tokens = (uint32_t) texts->offsets[texts->n];
	memcpy(at, texts->offsets, offsets);
	memcpy(at + offsets, texts->ids, request.tokens * sizeof(int32_t));
	return helper_ask(helper, &request);
}

void
texts_expect(const Texts *texts, const HelperProcess *helper, const StoredModel *stored, int lane,
			 double bound)
{
	const float *found = (const float *) (helper->lanes + (size_t) lane * BR_EXCHANGE_LANE_BYTES);

	for (int i = 0; i < texts->n * stored->info->dimensions; i++)
	{
		double expected = (double) texts->embeddings[i];

		if (!(fabs((double) found[i] - expected) <= bound * fmax(1, fabs(expected))))
			fail_msg("%s, component %d: %.9g instead of %.9g", stored->info->architecture, i,
					 (double) found[i], expected);
	}
}
