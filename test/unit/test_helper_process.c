/*
 * test_helper_process.c
 *	  The helper as a process: what it takes with it, and how it ends.
 *
 * It must end by itself when nobody is there to compute for, whatever it does at
 * that moment, and never by a signal unless something in it has crashed.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "unit/helper_fixture.h"

#define EXITED_WITH(code) ((code) << 8)
#define DEVICE_BOUND 1e-5

/* What takes so long that no test waits for it. */
#define VERY_LONG_MS 600000

/* ---- how it is called ---- */

/* Executes it with arguments as they are, and gives its exit status and the beginning of what it says. */
static int
call(char **arguments, char *said, size_t size)
{
	int ends[2];
	int status;
	ssize_t length = 0;
	ssize_t part;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
	{
		dup2(ends[1], STDERR_FILENO);
		helper_execute(arguments);
	}
	close(ends[1]);
	while ((part = read(ends[0], said + length, size - 1 - (size_t) length)) > 0)
		length += part;
	said[length] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void
expect_usage(char **arguments, const char *hint)
{
	char said[1000];

	assert_int_equal(call(arguments, said, sizeof(said)), EXITED_WITH(2));
	if (strstr(said, hint) == NULL)
		fail_msg("no \"%s\" in \"%s\"", hint, said);
}

static void
wrong_arguments_are_refused(void **state)
{
	static char *const wrong[] =
		{"--socket=2",	"--socket=x",  "--socket=3x",	  "--socket=",
		 "--file=-3",	"--backends=", "--compute=../up", "--compute=",
		 "--number=-1", "--memory=-1", "--threads=1000",  "--memory=99999999999999999999",
		 "--unknown=1", "--sock=3",	   "--socket",		  "nonsense"};
	char *none[] = {"bundle_rec_helper", NULL};
	char *few[] = {"bundle_rec_helper", "--socket=3", "--file=4", "--compute=cpu", NULL};
	char *same[] = {"bundle_rec_helper", "--socket=3",	  "--file=3",
					"--compute=cpu",	 "--backends=/x", NULL};

	(void) state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
	{
		char *arguments[] = {"bundle_rec_helper", "--compute=cpu", wrong[i], NULL};

		expect_usage(arguments, wrong[i]);
	}
	expect_usage(none, "needs --socket");
	expect_usage(few, "needs --socket");
	expect_usage(same, "needs --socket");
}

/* What it is given must be a socket of records and a file of the right size. */
static void
wrong_descriptors_are_refused(void **state)
{
	char socket_argument[30];
	char file_argument[30];
	char *arguments[] = {"bundle_rec_helper", socket_argument,		 file_argument,
						 "--compute=cpu",	  "--backends=/nowhere", NULL};
	int streams[2];
	int records[2];
	int file = memfd_create("short", 0);

	(void) state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, streams), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, records), 0);
	assert_int_equal(ftruncate(file, (off_t) BR_EXCHANGE_BYTES - 1), 0);
	snprintf(file_argument, sizeof(file_argument), "--file=%d", file);
	snprintf(socket_argument, sizeof(socket_argument), "--socket=%d", 900);
	expect_usage(arguments, "not a socket of records");
	snprintf(socket_argument, sizeof(socket_argument), "--socket=%d", streams[1]);
	expect_usage(arguments, "not a socket of records");
	snprintf(socket_argument, sizeof(socket_argument), "--socket=%d", records[1]);
	expect_usage(arguments, "not a file of");
	snprintf(file_argument, sizeof(file_argument), "--file=%d", records[0]);
	expect_usage(arguments, "not a file of");
	for (int i = 0; i < 2; i++)
	{
		close(streams[i]);
		close(records[i]);
	}
	close(file);
}

/* ---- what it has ---- */

static void
read_descriptor(const HelperProcess *helper, int number, char *target, size_t size)
{
	char path[100];
	ssize_t length;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int) helper->pid, number);
	length = readlink(path, target, size - 1);
	target[length > 0 ? length : 0] = '\0';
}

static void
it_keeps_two_descriptors_and_the_log(void **state)
{
	int others[20];
	int kept = 0;
	HelperProcess helper;
	char target[300];
	char log[300];

	(void) state;
	for (int i = 0; i < 20; i++)
		others[i] = open("/proc/self/exe", O_RDONLY);
	helper_start_ready(&helper, "cpu", 0, 1);
	for (int i = 0; i < 20; i++)
		close(others[i]);
	read_descriptor(&helper, 0, target, sizeof(target));
	assert_string_equal(target, "/dev/null");
	read_descriptor(&helper, 1, target, sizeof(target));
	read_descriptor(&helper, 2, log, sizeof(log));
	assert_string_equal(target, log);
	for (int i = 3; i < 1000; i++)
	{
		read_descriptor(&helper, i, target, sizeof(target));
		kept += target[0] != '\0';
		if (target[0] != '\0' && strncmp(target, "socket:", 7) != 0 &&
			strncmp(target, "/memfd:lanes", 12) != 0)
			fail_msg("it has kept %s", target);
	}
	assert_int_equal(kept, 2);
	helper_end(&helper);
}

/* ---- devices that are of no use ---- */

static void
expect_no_beginning(const char *compute, const char *faults, BrStatus status, const char *hint)
{
	HelperProcess helper;

	helper_set_faults(faults);
	helper_start(&helper, compute, 0, 1);
	assert_true(helper_receive(&helper, HELPER_PATIENCE_MS));
	assert_int_equal(helper.reply.version, BR_EXCHANGE_VERSION);
	assert_int_equal(helper.reply.kind, BR_EXCHANGE_FAILED);
	assert_int_equal(helper.reply.status, status);
	if (strstr(helper.reply.detail, hint) == NULL)
		fail_msg("no \"%s\": %s", hint, helper.reply.detail);
	assert_int_equal(helper_wait(&helper, HELPER_PATIENCE_MS), EXITED_WITH(1));
	helper_forget(&helper);
}

static void
a_device_that_is_of_no_use_says_why(void **state)
{
	(void) state;
	expect_no_beginning("nowhere", "", BR_ERR_UNSUPPORTED, "br_backend_nowhere.so");
	expect_no_beginning("faulty", "none\n", BR_ERR_UNSUPPORTED, "There is no device");
	expect_no_beginning("faulty", "wrong version\n", BR_ERR_UNSUPPORTED, "is of version");
	expect_no_beginning("faulty", "device\n", BR_ERR_DEVICE, "as it was told");
}

/* ---- failures while it computes ---- */

typedef struct Running
{
	HelperProcess helper;
	StoredModel stored;
	Texts texts;
} Running;

/* A helper that has answered once, and has now the faults. */
static void
begin(Running *running, const char *faults)
{
	helper_set_faults("");
	stored_open(&running->stored, "tiny-bert-cls");
	texts_make(&running->texts, &running->stored, 5, 1, br_math_portable_backend());
	helper_start_ready(&running->helper, "faulty", 0, 1);
	assert_int_equal(texts_ask(&running->texts, &running->helper, &running->stored, 0), BR_OK);
	texts_expect(&running->texts, &running->helper, &running->stored, 0, DEVICE_BOUND);
	helper_set_faults(faults);
}

/* The texts are in lane 0 again. */
static void
send_texts(Running *running, uint32_t lane)
{
	BrExchangeRequest request = running->stored.request;
	char *at = running->helper.lanes + lane * BR_EXCHANGE_LANE_BYTES;
	size_t offsets = ((size_t) running->texts.n + 1) * sizeof(int32_t);

	request.version = BR_EXCHANGE_VERSION;
	request.lane = lane;
	request.number = ++running->helper.number;
	request.texts = (uint32_t) running->texts.n;
	request.tokens = (uint32_t) running->texts.offsets[running->texts.n];
	memcpy(at, running->texts.offsets, offsets);
	memcpy(at + offsets, running->texts.ids, request.tokens * sizeof(int32_t));
	helper_send(&running->helper, &request);
}

static void
finish(Running *running, int status)
{
	assert_int_equal(helper_wait(&running->helper, HELPER_PATIENCE_MS), status);
	helper_forget(&running->helper);
	stored_close(&running->stored);
}

static void
a_device_that_fails_ends_it(void **state)
{
	Running running;

	(void) state;
	for (int batches = 0; batches < 3; batches++)
	{
		char faults[50];

		/* one was computed before */
		snprintf(faults, sizeof(faults), "after %d\ndevice\n", batches + 1);
		begin(&running, faults);
		for (int i = 0; i < batches; i++)
		{
			assert_int_equal(texts_ask(&running.texts, &running.helper, &running.stored, 1), BR_OK);
			texts_expect(&running.texts, &running.helper, &running.stored, 1, DEVICE_BOUND);
		}
		send_texts(&running, 1);
		assert_true(helper_receive(&running.helper, HELPER_PATIENCE_MS));
		assert_int_equal(running.helper.reply.kind, BR_EXCHANGE_FAILED);
		assert_int_equal(running.helper.reply.status, BR_ERR_DEVICE);
		assert_int_equal(running.helper.reply.number, running.helper.number);
		assert_int_equal(running.helper.reply.lane, 1);
		assert_string_equal(running.helper.reply.detail, "The device fails as it was told to.");
		finish(&running, EXITED_WITH(1));
	}
}

/* The service is told, and may go on. */
static void
infinite_embeddings_are_an_error(void **state)
{
	Running running;

	(void) state;
	begin(&running, "overflow\n");
	assert_int_equal(texts_ask(&running.texts, &running.helper, &running.stored, 0),
					 BR_ERR_NUMERIC);
	helper_set_faults("");
	assert_int_equal(texts_ask(&running.texts, &running.helper, &running.stored, 0), BR_OK);
	texts_expect(&running.texts, &running.helper, &running.stored, 0, DEVICE_BOUND);
	helper_end(&running.helper);
	stored_close(&running.stored);
}

static void
a_device_that_crashes_takes_it_along(void **state)
{
	Running running;

	(void) state;
	begin(&running, "abort\n");
	send_texts(&running, 0);
	assert_false(helper_receive(&running.helper, HELPER_PATIENCE_MS));
	finish(&running, SIGABRT);
}

/* Both lanes are sent before the first one is answered. */
static void
requests_are_answered_in_their_order(void **state)
{
	Running running;

	(void) state;
	begin(&running, "slow 50\n");
	for (int i = 0; i < 5; i++)
	{
		send_texts(&running, 0);
		send_texts(&running, 1);
		for (int lane = 0; lane < 2; lane++)
		{
			assert_true(helper_receive(&running.helper, HELPER_PATIENCE_MS));
			assert_int_equal(running.helper.reply.status, BR_OK);
			assert_int_equal(running.helper.reply.lane, lane);
			assert_int_equal(running.helper.reply.number,
							 running.helper.number - 1 + (uint64_t) lane);
			assert_true(running.helper.reply.seconds >= 0.05);
			texts_expect(&running.texts, &running.helper, &running.stored, lane, DEVICE_BOUND);
		}
	}
	helper_end(&running.helper);
	stored_close(&running.stored);
}

/* ---- nobody to compute for ---- */

static void
a_closed_socket_cancels_what_it_computes(void **state)
{
	Running running;
	char faults[50];

	(void) state;
	snprintf(faults, sizeof(faults), "slow %d\n", VERY_LONG_MS);
	begin(&running, faults);
	send_texts(&running, 0);
	assert_false(helper_receive(&running.helper, 100));
	close(running.helper.socket);
	running.helper.socket = -1;
	finish(&running, EXITED_WITH(0));
}

static void
hang(Running *running)
{
	char faults[50];

	snprintf(faults, sizeof(faults), "hang %d\n", VERY_LONG_MS / 1000);
	begin(running, faults);
	send_texts(running, 0);
	assert_false(helper_receive(&running->helper, 100));
}

static void
one_that_hangs_is_ended_by_a_signal(void **state)
{
	Running running;

	(void) state;
	/* not by those that a server's processes get for other reasons */
	hang(&running);
	kill(running.helper.pid, SIGINT);
	kill(running.helper.pid, SIGHUP);
	kill(running.helper.pid, SIGPIPE);
	assert_int_equal(helper_wait(&running.helper, 100), -1);
	kill(running.helper.pid, SIGTERM);
	finish(&running, EXITED_WITH(0));

	hang(&running);
	kill(running.helper.pid, SIGKILL);
	finish(&running, SIGKILL);
}

/* Its parent dies while it hangs: this process inherits it, and sees it end without a failure. */
static void
it_does_not_outlive_its_parent(void **state)
{
	int ends[2];
	pid_t parent;
	pid_t orphan;
	int status;

	(void) state;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(ends), 0);
	(void) helper_folder();
	parent = fork();
	assert_true(parent >= 0);
	if (parent == 0)
	{
		Running running;

		hang(&running);
		if (write(ends[1], &running.helper.pid, sizeof(pid_t)) == sizeof(pid_t))
			raise(SIGKILL);
		_exit(1);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &orphan, sizeof(orphan)), sizeof(orphan));
	close(ends[0]);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_int_equal(status, SIGKILL);
	{
		HelperProcess helper = {.pid = orphan};

		assert_int_equal(helper_wait(&helper, HELPER_PATIENCE_MS), EXITED_WITH(0));
	}
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* Nothing is computed for somebody who does not talk as it should. */
static void
a_record_of_another_size_ends_it(void **state)
{
	static const size_t sizes[] = {0, 1, sizeof(BrExchangeRequest) - 1,
								   sizeof(BrExchangeRequest) + 1};
	static char record[sizeof(BrExchangeRequest) + 1];

	(void) state;
	for (int i = 0; i < 4; i++)
	{
		HelperProcess helper;

		helper_start_ready(&helper, "cpu", 0, 1);
		assert_int_equal(send(helper.socket, record, sizes[i], MSG_NOSIGNAL), sizes[i]);
		assert_false(helper_receive(&helper, HELPER_PATIENCE_MS));
		assert_int_equal(helper_wait(&helper, HELPER_PATIENCE_MS), EXITED_WITH(0));
		helper_forget(&helper);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_arguments_are_refused),
		cmocka_unit_test(wrong_descriptors_are_refused),
		cmocka_unit_test(it_keeps_two_descriptors_and_the_log),
		cmocka_unit_test(a_device_that_is_of_no_use_says_why),
		cmocka_unit_test(a_device_that_fails_ends_it),
		cmocka_unit_test(infinite_embeddings_are_an_error),
		cmocka_unit_test(a_device_that_crashes_takes_it_along),
		cmocka_unit_test(requests_are_answered_in_their_order),
		cmocka_unit_test(a_closed_socket_cancels_what_it_computes),
		cmocka_unit_test(one_that_hangs_is_ended_by_a_signal),
		cmocka_unit_test(it_does_not_outlive_its_parent),
		cmocka_unit_test(a_record_of_another_size_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, helper_clean_up);
}
