/*
 * backends.c
 *	  The table of tensor operations of this session.
 *
 * The portable table is built in. The libraries behind the others start
 * threads while they are loaded, unless told otherwise, and threads must exist
 * neither in the postmaster, whose children fork, nor in a backend, whose
 * signals they would take. So each sits behind a shared object that is loaded
 * on first use, in a child only, with one thread ordered and all signals
 * blocked meanwhile.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include "miscadmin.h"

#include "pg/backends.h"

#define REASON_SIZE 512

typedef struct Backend
{
	const char *name;
	const char *library; /* what to install; NULL: built in */
	const BrBackend *table;
	char reason[REASON_SIZE]; /* why table is NULL; "" before the first try */
} Backend;

/* Each at its BrPgBackendChoice less one. */
static Backend backends[BR_PG_N_BACKENDS] = {
	{.name = "portable"},
	{.name = "openblas", .library = "OpenBLAS"},
	{.name = "onednn", .library = "oneDNN"},
};

static Backend *
chosen(BrPgBackendChoice choice)
{
	return &backends[choice - 1];
}

/* ---- loading ---- */

/* What the libraries are told while they are loaded, and what they were told before. */
typedef struct Variable
{
	const char *name;
	const char *value;
	char *before;
} Variable;

static void
tell_libraries(Variable *variables, int n)
{
	for (int i = 0; i < n; i++)
	{
		const char *before = getenv(variables[i].name);

		variables[i].before = before != NULL ? pstrdup(before) : NULL;
		setenv(variables[i].name, variables[i].value, 1);
	}
}

static void
restore_environment(const Variable *variables, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (variables[i].before != NULL)
			setenv(variables[i].name, variables[i].before, 1);
		else
			unsetenv(variables[i].name);
	}
}

/* Loads the object and asks it for its table; NULL, with the reason, where that fails. */
static const BrBackend *
open_object(const char *path, char *reason)
{
	void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	BrBackendTable function = NULL;
	const BrBackend *table;
	const char *failure;

	if (object != NULL)
		function = (BrBackendTable) dlsym(object, BR_BACKEND_SYMBOL);
	if (function == NULL)
	{
		failure = dlerror();
		strlcpy(reason, failure != NULL ? failure : "it exports no table", REASON_SIZE);
		return NULL;
	}
	table = function();
	if (table == NULL)
		strlcpy(reason, "it cannot run on this processor", REASON_SIZE);
	else if (table->version != BR_BACKEND_VERSION)
	{
		snprintf(reason, REASON_SIZE, "\"%s\" is of version %u, this library needs %d", path,
				 table->version, BR_BACKEND_VERSION);
		table = NULL;
	}
	return table;
}

/* The environment is read while loading only, and is left as it was. */
static const BrBackend *
open_with_one_thread(const char *path, char *reason)
{
	Variable variables[] = {{"OPENBLAS_NUM_THREADS", "1", NULL},
							{"OMP_NUM_THREADS", "1", NULL},
							{"OMP_WAIT_POLICY", "passive", NULL}};
	const BrBackend *table;
	sigset_t all;
	sigset_t before;

	tell_libraries(variables, lengthof(variables));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	table = open_object(path, reason);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	restore_environment(variables, lengthof(variables));
	return table;
}

static const BrBackend *
load(Backend *backend)
{
	char path[MAXPGPATH];

	if (backend->table != NULL)
		return backend->table;
	if (backend->library == NULL)
		backend->table = br_math_portable_backend();
	else if (MyProcPid == PostmasterPid)
		strlcpy(backend->reason, "it is never loaded in the postmaster", REASON_SIZE);
	else
	{
		snprintf(path, sizeof(path), "%s/bundle_rec/br_backend_%s.so", pkglib_path, backend->name);
		backend->table = open_with_one_thread(path, backend->reason);
	}
	return backend->table;
}

/* ---- choosing ---- */

/* From the fastest on; each is tried once for a connection: a failure would cost every call. */
static Backend *
choose_automatically(void)
{
	static const BrPgBackendChoice by_speed[] = {BR_PG_BACKEND_ONEDNN, BR_PG_BACKEND_OPENBLAS};

	for (int i = 0; i < lengthof(by_speed); i++)
	{
		Backend *backend = chosen(by_speed[i]);

		if (backend->table != NULL || (backend->reason[0] == '\0' && load(backend) != NULL))
			return backend;
	}
	return chosen(BR_PG_BACKEND_PORTABLE);
}

static Backend *
choose(void)
{
	return br_pg_backend == BR_PG_BACKEND_AUTO ? choose_automatically()
											   : chosen((BrPgBackendChoice) br_pg_backend);
}

const BrBackend *
br_pg_session_backend(void)
{
	Backend *backend = choose();

	if (load(backend) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not load the backend \"%s\"", backend->name),
				 errdetail("%s", backend->reason),
				 errhint("Install %s, or set bundle_rec.backend to auto or portable.",
						 backend->library)));
	return backend->table;
}

void
br_pg_list_backends(BrPgBackendStatus list[BR_PG_N_BACKENDS])
{
	const Backend *in_use = choose();

	for (int i = 0; i < BR_PG_N_BACKENDS; i++)
	{
		Backend *backend = &backends[i];
		const BrBackend *table = load(backend);

		list[i] = (BrPgBackendStatus){
			.name = backend->name,
			.table = table,
			.in_use = table != NULL && backend == in_use,
			.reason = table != NULL ? NULL : backend->reason,
		};
	}
}

/* ---- precision ---- */

static const char *const class_names[BR_PG_N_PRECISION_CLASSES] = {"f32", "bf16", "int8", "f16"};

const char *
br_pg_precision_name(int precision)
{
	return class_names[precision];
}

int
br_pg_precision_class(const char *name)
{
	for (int i = 0; i < BR_PG_N_PRECISION_CLASSES; i++)
		if (strcmp(name, class_names[i]) == 0)
			return i;
	return -1;
}

/* every backend takes plain weights, which are in f32 */
bool
br_pg_computes_in(const BrBackend *backend, BrPrecision precision)
{
	return precision == BR_PRECISION_F32 || (backend->packs != NULL && backend->packs(precision));
}

static char *
list_precisions(const BrBackend *backend)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < BR_PRECISION_COUNT; i++)
		if (br_pg_computes_in(backend, (BrPrecision) i))
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", br_pg_precision_name(i));
	return list.data;
}

BrPrecision
br_pg_session_precision(const BrBackend *backend)
{
	/* of int8 nobody can promise that its cosine to f32 is at least .999 */
	if (br_pg_precision == BR_PG_PRECISION_AUTO)
		return br_pg_computes_in(backend, BR_PRECISION_BF16) ? BR_PRECISION_BF16 : BR_PRECISION_F32;
	if (!br_pg_computes_in(backend, (BrPrecision) br_pg_precision))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the backend \"%s\" does not compute in %s here", backend->name,
						br_pg_precision_name(br_pg_precision)),
				 errdetail("On this processor (%s) it computes in %s.", backend->instruction_set(),
						   list_precisions(backend)),
				 errhint("Set bundle_rec.precision to auto, or bundle_rec.backend to one of which "
						 "backends() says that it does.")));
	return (BrPrecision) br_pg_precision;
}
