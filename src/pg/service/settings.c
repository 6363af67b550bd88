/*
 * settings.c
 *	  The settings of the embedding service.
 *
 * All but the slots, which are memory of the server, change with a reload; how
 * long a session waits for the service, and from when on it has a device build
 * its indexes, is its own affair.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "pg/service/service_int.h"

#define DEVICE_NAME_SIZE 32
#define MAX_MEMORY_MB (1024 * 1024)

int br_pg_service_mode = BR_PG_SERVICE_OFF;
char *br_pg_service_device = NULL;
int br_pg_service_linger = 200;
int br_pg_service_memory = 0;
int br_pg_service_slots = 64;
int br_pg_service_timeout = 10000;
int br_pg_service_build_work = 100;

static const struct config_enum_entry modes[] = {
	{"off", BR_PG_SERVICE_OFF, false},
	{"cpu", BR_PG_SERVICE_CPU, false},
	{"gpu", BR_PG_SERVICE_GPU, false},
	{"auto", BR_PG_SERVICE_AUTO, false},
	{NULL, 0, false},
};

/* The name, of at most size - 1 letters, and the number of a device; false: it is none. */
static bool
parse_device(const char *device, char *name, int size, int *number)
{
	size_t length = strspn(device, "abcdefghijklmnopqrstuvwxyz0123456789_");
	const char *digits = device + length + 1;

	if (length == 0 || length >= (size_t) size)
		return false;
	memcpy(name, device, length);
	name[length] = '\0';
	*number = 0;
	if (device[length] == '\0')
		return true;
	if (device[length] != ':' || strlen(digits) == 0 || strlen(digits) > 4 ||
		strspn(digits, "0123456789") != strlen(digits))
		return false;
	*number = atoi(digits);
	return true;
}

void
br_pg_service_task(BrPgHelperTask *task)
{
	memset(task, 0, sizeof(*task));
	if (br_pg_service_mode == BR_PG_SERVICE_CPU)
	{
		strlcpy(task->compute, "cpu", sizeof(task->compute));
		task->threads = br_pg_worker_threads;
	}
	else
		(void) parse_device(br_pg_service_device, task->compute, sizeof(task->compute),
							&task->number);
	task->memory = (int64) br_pg_service_memory * 1024 * 1024;
}

static bool
check_device(char **value, void **extra, GucSource source)
{
	char name[DEVICE_NAME_SIZE];
	int number;

	if (parse_device(*value, name, sizeof(name), &number) && strcmp(name, "cpu") != 0)
		return true;
	GUC_check_errdetail("A device is a name of at most %d letters, digits and _, and may have a "
						"number: cuda, cuda:1.",
						DEVICE_NAME_SIZE - 1);
	return false;
}

/* What the worker goes by. */
static void
define_of_worker(void)
{
	DefineCustomEnumVariable("bundle_rec.embedding_service",
							 "Where one process computes the embeddings of all connections.",
							 "off: every session computes by itself; auto: on a device where there "
							 "is one, else as off. Needs shared_preload_libraries.",
							 &br_pg_service_mode, BR_PG_SERVICE_OFF, modes, PGC_SIGHUP, 0, NULL,
							 NULL, NULL);
	DefineCustomStringVariable("bundle_rec.service_device",
							   "Device on which the embedding service computes.",
							   "NAME or NAME:NUMBER; NAME is that of a library br_backend_NAME.so.",
							   &br_pg_service_device, "cuda", PGC_SIGHUP, 0, check_device, NULL,
							   NULL);
	DefineCustomIntVariable("bundle_rec.service_linger",
							"Microseconds for which the embedding service lets a request wait for "
							"others while it computes.",
							NULL, &br_pg_service_linger, 200, 0, 1000000, PGC_SIGHUP, 0, NULL, NULL,
							NULL);
	DefineCustomIntVariable("bundle_rec.service_memory",
							"Memory for models that the embedding service keeps loaded.",
							"Those not used longest go first; 0: what the device has.",
							&br_pg_service_memory, 0, 0, MAX_MEMORY_MB, PGC_SIGHUP, GUC_UNIT_MB,
							NULL, NULL, NULL);
}

void
br_pg_service_define_settings(bool preloading)
{
	define_of_worker();
	/* where it is not preloaded it counts for nothing, and a file that names it is no error */
	DefineCustomIntVariable("bundle_rec.service_slots",
							"Requests to the embedding service that there is room for.",
							"Each takes 256 kB of shared memory.", &br_pg_service_slots, 64, 8,
							1024, preloading ? PGC_POSTMASTER : PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.service_timeout",
							"How long a session waits for the embedding service.",
							"Then it computes by itself.", &br_pg_service_timeout, 10000, 1,
							INT_MAX, PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("bundle_rec.service_build_work",
							"Work of an index build, in billions of multiply-adds, from which on "
							"the device of the embedding service does it.",
							"-1: none is done by it.", &br_pg_service_build_work, 100, -1, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);
}
