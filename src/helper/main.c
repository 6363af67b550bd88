/*
 * main.c
 *	  bundle_rec_helper: the process that computes for the embedding service.
 *
 * It is executed by the service's worker, as br_exchange.h says, and has
 * nothing of PostgreSQL, so that whatever a device's libraries do to their
 * process they do to this one. It takes one request after another until the
 * socket closes. Of what it inherited it keeps two descriptors and the server's
 * log, which is its standard error; that is also where a library's standard
 * output goes.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "helper/helper_int.h"

#define EXIT_FAILED 1
#define EXIT_USAGE 2

/* ---- arguments ---- */

static bool
read_number(const char *text, int64_t least, int64_t most, int64_t *number)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	*number = value;
	return errno == 0 && end != text && *end == '\0' && value >= least && value <= most;
}

static bool
is_word(const char *text)
{
	return text[0] != '\0' && text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0';
}

/* One --name=value; false: there is no such name, or the value is none of it. */
static bool
read_argument(const char *argument, BrHelperTask *task)
{
	static const char *const names[] = {"--socket", "--file",	"--backends", "--compute",
										"--number", "--memory", "--threads"};
	const char *value = strchr(argument, '=');
	int64_t number = 0;
	size_t which = 0;

	if (value == NULL)
		return false;
	while (which < sizeof(names) / sizeof(names[0]) &&
		   (strlen(names[which]) != (size_t) (value - argument) ||
			strncmp(argument, names[which], (size_t) (value - argument)) != 0))
		which++;
	value++;
	switch (which)
	{
		case 0:
		case 1:
			if (!read_number(value, STDERR_FILENO + 1, INT_MAX, &number))
				return false;
			*(which == 0 ? &task->socket : &task->file) = (int) number;
			return true;
		case 2:
			task->backends = value;
			return value[0] != '\0';
		case 3:
			task->compute = value;
			return is_word(value);
		case 4:
			if (!read_number(value, 0, INT_MAX, &number))
				return false;
			task->number = (int) number;
			return true;
		case 5:
			return read_number(value, 0, INT64_MAX, &task->memory);
		case 6:
			if (!read_number(value, 0, BR_POOL_MAX_THREADS, &number))
				return false;
			task->threads = (int) number;
			return true;
		default:
			return false;
	}
}

static bool
read_arguments(int argc, char **argv, BrHelperTask *task)
{
	*task = (BrHelperTask){.threads = 1};
	for (int i = 1; i < argc; i++)
		if (!read_argument(argv[i], task))
		{
			fprintf(stderr, "bundle_rec_helper: \"%s\" is no argument of it\n", argv[i]);
			return false;
		}
	if (task->socket == 0 || task->file == 0 || task->socket == task->file ||
		task->backends == NULL || task->compute == NULL)
	{
		fprintf(stderr,
				"bundle_rec_helper: needs --socket=FD --file=FD --backends=DIR "
				"--compute=cpu|DEVICE; the service of bundle_rec calls it\n");
		return false;
	}
	return true;
}

/* ---- the process ---- */

/* Everything but standard error, the socket and the file. */
static void
close_inherited(const BrHelperTask *task)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
	{
		int64_t descriptor;

		if (read_number(entry->d_name, STDERR_FILENO + 1, INT_MAX, &descriptor) &&
			descriptor != task->socket && descriptor != task->file &&
			descriptor != dirfd(directory))
			close((int) descriptor);
	}
	if (directory != NULL)
		closedir(directory);
}

/*
 * Ends it whatever it does. Without a failure: where the server is the first process
 * of a container it inherits the orphan, and takes an unknown child that a signal
 * has ended for a crash of its own.
 */
static void
end_by_signal(int number)
{
	(void) number;
	_exit(EXIT_SUCCESS);
}

static void
prepare_process(const BrHelperTask *task)
{
	static const int ignored[] = {SIGINT, SIGHUP, SIGPIPE};
	int nothing = open("/dev/null", O_RDONLY);
	sigset_t none;

	/* with its parent it has nobody to compute for; the closed socket says the same, later */
	signal(SIGTERM, end_by_signal);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (nothing >= 0)
		dup2(nothing, STDIN_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	close_inherited(task);
	fcntl(task->socket, F_SETFD, FD_CLOEXEC);
	fcntl(task->file, F_SETFD, FD_CLOEXEC);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- work ---- */

static BrStatus
open_compute(BrHelper *helper, const BrHelperTask *task)
{
	helper->models = (BrHelperModels){.context = &helper->context,
									  .compute = &helper->compute,
									  .budget = task->memory};
	return strcmp(task->compute, "cpu") == 0
		? br_helper_open_cpu(&helper->compute, &helper->context, task)
		: br_helper_open_device(&helper->compute, &helper->context, task);
}

/* Says that it is ready, or why it will never be. */
static bool
begin(BrHelper *helper, const BrHelperTask *task)
{
	BrStatus status = open_compute(helper, task);
	BrExchangeReply reply;

	br_helper_fill_reply(helper, status == BR_OK ? BR_EXCHANGE_READY : BR_EXCHANGE_FAILED, status,
						 NULL, &reply);
	return br_helper_send(&helper->exchange, &reply) && status == BR_OK;
}

/* Until the socket closes; false: what computes has failed. */
static bool
serve(BrHelper *helper)
{
	static BrExchangeRequest request;
	static BrExchangeReply reply;

	while (br_helper_receive(&helper->exchange, &request))
	{
		br_helper_answer(helper, &request, &reply);
		if (!br_helper_send(&helper->exchange, &reply))
			return true;
		if (reply.kind == BR_EXCHANGE_FAILED)
			return false;
	}
	return true;
}

int
main(int argc, char **argv)
{
	static BrHelper helper;
	BrHelperTask task;

	if (!read_arguments(argc, argv, &task))
		return EXIT_USAGE;
	prepare_process(&task);
	br_base_context_init(&helper.context);
	if (br_helper_open_exchange(&helper.exchange, &helper.context, &task) != BR_OK)
	{
		fprintf(stderr, "bundle_rec_helper: %s\n", helper.context.detail);
		return EXIT_USAGE;
	}
	helper.context.cancel = (BrCancel){br_helper_service_gone, &helper.exchange};
	/* libraries of devices may hang in what they do at the end, and the kernel takes all back */
	_exit(begin(&helper, &task) && serve(&helper) ? EXIT_SUCCESS : EXIT_FAILED);
}
