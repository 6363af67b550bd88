/*
 * helper.c
 *	  Starts the helper process, talks with it, and ends it.
 *
 * The helper is executed with nothing of this process but standard error, one
 * end of a socket and the file of the lanes. It is a child of who has it alone,
 * in a process group of its own, and is always waited for here: an orphan would
 * be inherited by whatever process is the first of a container, and where that is
 * the postmaster it would take the end of an unknown child by a signal for a
 * crash, and restart the server.
 *
 * Nothing the helper does may hurt this process. Records are received without
 * waiting, and believed when every number in them is possible; the file of the
 * lanes is sealed, and its memory taken beforehand, because a mapped page that is
 * not there ends the process that touches it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "pg/service/helper.h"

/* what the two descriptors are called in the helper, and the first number that is free there */
#define HELPER_SOCKET 3
#define HELPER_FILE 4
#define HELPER_FREE 5

/* a device's libraries take some seconds to start, on a machine with many devices more */
#define START_MS 60000
#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 60000

/* a killed process ends within moments, unless a driver holds it in the kernel; then it is left alone */
#define MOMENT_MS 100
#define END_MS 10000
#define STEP_US 1000

/* ---- its end ---- */

/* Whether it has ended, which is waited for for so long, and how. */
static bool
has_ended(BrPgHelper *helper, int milliseconds, int *status)
{
	for (int waited = 0; helper->pid != 0; waited += STEP_US)
	{
		pid_t ended = waitpid(helper->pid, status, WNOHANG);

		if (ended == helper->pid || (ended < 0 && errno == ECHILD))
			helper->pid = 0;
		else if (waited >= milliseconds * 1000)
			return false;
		else
			pg_usleep(STEP_US);
	}
	return true;
}

/* Down, and dead or about to be; true: with how it ended. */
static bool
bring_down(BrPgHelper *helper, int *status)
{
	if (helper->state == BR_PG_HELPER_DOWN)
		return false;
	close(helper->socket);
	helper->socket = PGINVALID_SOCKET;
	kill(helper->pid, SIGKILL);
	helper->killed_at = GetCurrentTimestamp();
	helper->state = BR_PG_HELPER_DOWN;
	memset(helper->busy, 0, sizeof(helper->busy));
	return has_ended(helper, MOMENT_MS, status);
}

/* What goes to sessions of any encoding is ASCII, whatever a library or a path has in it. */
static void
clean(char *text)
{
	for (; *text != '\0'; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

/* Down, because of what a sentence says. Only what is new is logged. */
static void
fail(BrPgHelper *helper, BrStatus failure, const char *why)
{
	char detail[BR_DETAIL_SIZE];
	bool is_new;
	int pause = FIRST_PAUSE_MS;
	int status;

	strlcpy(detail, why, sizeof(detail));
	clean(detail);
	is_new = helper->failures == 0 || strcmp(helper->detail, detail) != 0;
	(void) bring_down(helper, &status);
	for (int i = 0; i < helper->failures && pause < LONGEST_PAUSE_MS; i++)
		pause *= 2;
	pause = Min(pause, LONGEST_PAUSE_MS);
	helper->failures++;
	helper->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause);
	helper->failure = failure;
	strlcpy(helper->detail, detail, sizeof(helper->detail));
	if (helper->is_lent)
		return;
	ereport(is_new ? LOG : DEBUG1,
			(errmsg("the helper process of the embedding service has failed"),
			 errdetail("%s", helper->detail),
			 errhint("It is started again in %d s.", pause / 1000)));
}

/* It has closed its socket. */
static void
fail_dead(BrPgHelper *helper)
{
	char detail[BR_DETAIL_SIZE];
	int status = 0;

	if (!bring_down(helper, &status))
		strlcpy(detail, "The helper process has closed its socket.", sizeof(detail));
	else if (WIFSIGNALED(status))
		snprintf(detail, sizeof(detail), "The helper process was ended by signal %d: %s.",
				 WTERMSIG(status), pg_strsignal(WTERMSIG(status)));
	else
		snprintf(detail, sizeof(detail), "The helper process ended with exit code %d.",
				 WEXITSTATUS(status));
	fail(helper, BR_ERR_DEVICE, detail);
}

static void
end_with_process(int code, Datum argument)
{
	BrPgHelper *helper = (BrPgHelper *) DatumGetPointer(argument);
	int status;

	(void) bring_down(helper, &status);
	(void) has_ended(helper, END_MS, &status);
}

/* ---- its beginning ---- */

/* Executes the program with these descriptors and no others; an errno. */
static int
spawn(const char *path, char **arguments, int socket, int file, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int failure;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, socket, HELPER_SOCKET);
	posix_spawn_file_actions_adddup2(&files, file, HELPER_FILE);
	posix_spawn_file_actions_addclosefrom_np(&files, HELPER_FREE);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes,
							 POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
								 POSIX_SPAWN_SETSIGMASK);
	posix_spawnattr_setpgroup(&attributes, 0);
	sigfillset(&signals);
	posix_spawnattr_setsigdefault(&attributes, &signals);
	sigemptyset(&signals);
	posix_spawnattr_setsigmask(&attributes, &signals);
	failure = posix_spawn(pid, path, &files, &attributes, arguments, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return failure;
}

/* An errno. */
static int
execute(BrPgHelper *helper, const char *path, int socket, int file)
{
	const BrPgHelperTask *task = &helper->task;
	char *arguments[] = {"bundle_rec_helper",
						 psprintf("--socket=%d", HELPER_SOCKET),
						 psprintf("--file=%d", HELPER_FILE),
						 psprintf("--backends=%s/bundle_rec", pkglib_path),
						 psprintf("--compute=%s", task->compute),
						 psprintf("--number=%d", task->number),
						 psprintf("--memory=" INT64_FORMAT, task->memory),
						 psprintf("--threads=%d", task->threads),
						 NULL};
	int failure = spawn(path, arguments, socket, file, &helper->pid);

	for (int i = 1; arguments[i] != NULL; i++)
		pfree(arguments[i]);
	return failure;
}

/* So much memory for the lanes that no page of them can be missing; an errno. */
static int
take_memory(const BrPgHelper *helper)
{
	int failure;

	do
		failure = posix_fallocate(helper->file, 0, (off_t) BR_EXCHANGE_BYTES);
	while (failure == EINTR);
	return failure;
}

/* Executes it with the other end of helper->socket; an errno. */
static int
start_process(BrPgHelper *helper, const char *path)
{
	int sockets[2];
	int theirs;
	int file;
	int failure;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
		return errno;
	/* copies whose numbers are none of those that they get there */
	theirs = fcntl(sockets[1], F_DUPFD_CLOEXEC, HELPER_FREE);
	file = fcntl(helper->file, F_DUPFD_CLOEXEC, HELPER_FREE);
	failure = theirs >= 0 && file >= 0 ? execute(helper, path, theirs, file) : EMFILE;
	close(sockets[1]);
	if (theirs >= 0)
		close(theirs);
	if (file >= 0)
		close(file);
	if (failure != 0)
		close(sockets[0]);
	else
		helper->socket = sockets[0];
	return failure;
}

static void
start(BrPgHelper *helper)
{
	char path[MAXPGPATH];
	char detail[BR_DETAIL_SIZE];
	int failure = take_memory(helper);

	snprintf(path, sizeof(path), "%s/bundle_rec/bundle_rec_helper", pkglib_path);
	if (failure == 0)
		failure = start_process(helper, path);
	if (failure == 0)
	{
		helper->state = BR_PG_HELPER_STARTING;
		helper->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), START_MS);
		return;
	}
	helper->pid = 0;
	snprintf(detail, sizeof(detail), "Could not start \"%.300s\": %s.", path, strerror(failure));
	fail(helper, BR_ERR_DEVICE, detail);
}

/* Whether one that was killed is still in the way; not for ever. */
static bool
is_in_the_way(BrPgHelper *helper, TimestampTz now)
{
	int status;

	/* those that were left alone; a session's other children are waited for by others */
	while (!helper->is_lent && helper->pid == 0 && waitpid(-1, NULL, WNOHANG) > 0)
		;
	if (has_ended(helper, 0, &status))
		return false;
	if (!TimestampDifferenceExceeds(helper->killed_at, now, END_MS))
		return true;
	ereport(LOG,
			(errmsg("the helper process of the embedding service does not end"),
			 errdetail("Process %d was killed, and is still there after %d s.", (int) helper->pid,
					   END_MS / 1000)));
	helper->pid = 0;
	return false;
}

/* ---- what it says ---- */

static bool
is_string(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

/* Whether it can be a reply at all. */
static bool
is_possible(const BrExchangeReply *reply, ssize_t size)
{
	const BrDeviceInfo *device = &reply->device;

	return size == (ssize_t) sizeof(*reply) && reply->version == BR_EXCHANGE_VERSION &&
		reply->kind >= BR_EXCHANGE_READY && reply->kind <= BR_EXCHANGE_FAILED &&
		reply->status <= BR_ERR_DEVICE && reply->seconds >= 0 && reply->model_bytes >= 0 &&
		is_string(device->name, sizeof(device->name)) &&
		is_string(device->instructions, sizeof(device->instructions)) &&
		is_string(device->precision, sizeof(device->precision)) &&
		is_string(reply->detail, sizeof(reply->detail));
}

static bool
is_expected(const BrPgHelper *helper, const BrExchangeReply *reply)
{
	if (reply->kind == BR_EXCHANGE_READY)
		return helper->state == BR_PG_HELPER_STARTING && reply->status == BR_OK;
	return helper->state == BR_PG_HELPER_READY && reply->lane < BR_EXCHANGE_LANES &&
		helper->busy[reply->lane] && helper->asked[reply->lane] == reply->number;
}

/* A record that is there, and good news; false: none, or the helper is down now. */
static bool
listen_to(BrPgHelper *helper, BrExchangeReply *reply)
{
	ssize_t size;

	do
		size = recv(helper->socket, reply, sizeof(*reply), MSG_DONTWAIT | MSG_TRUNC);
	while (size < 0 && errno == EINTR);
	if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return false;
	if (size <= 0)
		fail_dead(helper);
	else if (!is_possible(reply, size))
		fail(helper, BR_ERR_FORMAT, "The helper process does not say what it should.");
	else if (reply->kind == BR_EXCHANGE_FAILED)
		fail(helper, (BrStatus) reply->status,
			 reply->detail[0] != '\0' ? reply->detail : "It does not say why.");
	else if (!is_expected(helper, reply))
		fail(helper, BR_ERR_FORMAT, "The helper process answers what it was not asked.");
	else
	{
		clean(reply->device.name);
		clean(reply->device.instructions);
		clean(reply->device.precision);
		clean(reply->detail);
		helper->device = reply->device;
		return true;
	}
	return false;
}

/* ---- the door ---- */

/* What they have in common; NULL with errno. */
static char *
map_lanes(int file)
{
	void *lanes;

	if (file < 0 || ftruncate(file, (off_t) BR_EXCHANGE_BYTES) != 0 ||
		fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return NULL;
	lanes = mmap(NULL, BR_EXCHANGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	return lanes == MAP_FAILED ? NULL : lanes;
}

bool
br_pg_helper_init(BrPgHelper *helper, bool is_lent)
{
	BrPgHelper before = *helper;
	int file = memfd_create("bundle_rec lanes", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char *lanes = map_lanes(file);
	int failure = errno;

	if (lanes == NULL)
	{
		if (file >= 0)
			close(file);
		errno = failure;
		return false;
	}
	/* of one that was killed and has not ended yet we know until it has */
	*helper = (BrPgHelper){.socket = PGINVALID_SOCKET,
						   .file = file,
						   .lanes = lanes,
						   .is_lent = is_lent,
						   .ends_with_process = true,
						   .pid = before.pid,
						   .killed_at = before.killed_at};
	if (!before.ends_with_process)
		on_proc_exit(end_with_process, PointerGetDatum(helper));
	return true;
}

void
br_pg_helper_release(BrPgHelper *helper)
{
	br_pg_helper_stop(helper);
	if (helper->lanes == NULL)
		return;
	munmap(helper->lanes, BR_EXCHANGE_BYTES);
	close(helper->file);
	helper->lanes = NULL;
}

static bool
same_task(const BrPgHelperTask *task, const BrPgHelperTask *other)
{
	return strcmp(task->compute, other->compute) == 0 && task->number == other->number &&
		task->memory == other->memory && task->threads == other->threads;
}

static void
run_down(BrPgHelper *helper)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < helper->retry_at)
		return;
	if (is_in_the_way(helper, now))
		helper->retry_at = TimestampTzPlusMilliseconds(now, MOMENT_MS);
	else
		start(helper);
}

static void
run_starting(BrPgHelper *helper)
{
	BrExchangeReply reply;

	if (listen_to(helper, &reply))
		helper->state = BR_PG_HELPER_READY;
	else if (helper->state == BR_PG_HELPER_STARTING && GetCurrentTimestamp() >= helper->retry_at)
		br_pg_helper_give_up(helper, "The helper process does not become ready.");
}

bool
br_pg_helper_run(BrPgHelper *helper, const BrPgHelperTask *task)
{
	BrPgHelperState before = helper->state;
	bool is_other = !same_task(&helper->task, task);

	if (is_other)
	{
		br_pg_helper_stop(helper);
		helper->task = *task;
	}
	if (helper->state == BR_PG_HELPER_DOWN)
		run_down(helper);
	else if (helper->state == BR_PG_HELPER_STARTING)
		run_starting(helper);
	return is_other || helper->state != before;
}

bool
br_pg_helper_send(BrPgHelper *helper, BrExchangeRequest *request)
{
	ssize_t size;

	Assert(helper->state == BR_PG_HELPER_READY && request->lane < BR_EXCHANGE_LANES &&
		   !helper->busy[request->lane]);
	request->version = BR_EXCHANGE_VERSION;
	request->number = ++helper->number;
	do
		size = send(helper->socket, request, sizeof(*request), MSG_DONTWAIT | MSG_NOSIGNAL);
	while (size < 0 && errno == EINTR);
	if (size != (ssize_t) sizeof(*request))
	{
		fail_dead(helper);
		return false;
	}
	helper->busy[request->lane] = true;
	helper->asked[request->lane] = request->number;
	return true;
}

bool
br_pg_helper_receive(BrPgHelper *helper, BrExchangeReply *reply)
{
	if (helper->state != BR_PG_HELPER_READY || !listen_to(helper, reply))
		return false;
	helper->busy[reply->lane] = false;
	if (reply->status == BR_OK)
		helper->failures = 0;
	return true;
}

void
br_pg_helper_give_up(BrPgHelper *helper, const char *why)
{
	fail(helper, BR_ERR_DEVICE, why);
}

void
br_pg_helper_stop(BrPgHelper *helper)
{
	int status;

	(void) bring_down(helper, &status);
	helper->failures = 0;
	helper->retry_at = 0;
}
