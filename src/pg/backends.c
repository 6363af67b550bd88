/*
 * backends.c
 *	  The table of tensor operations of this session.
 *
 * The portable table is built in. OpenBLAS starts threads while it is loaded,
 * unless told otherwise, and threads must exist neither in the postmaster,
 * whose children fork, nor in a backend, whose signals they would take. So it
 * sits behind a shared object that is loaded on first use, in a child only,
 * with one thread ordered and all signals blocked meanwhile.
 */
#include "postgres.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include "miscadmin.h"

#include "pg/backends.h"

#define THREADS_VARIABLE "OPENBLAS_NUM_THREADS"
#define REASON_SIZE 512

static const BrBackend *openblas = NULL;
static char openblas_reason[REASON_SIZE] = ""; /* why openblas is NULL; "" before the first try */

/* Loads the object and asks it for its table; NULL, with the reason, where that fails. */
static const BrBackend *
open_object(const char *path)
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
		strlcpy(openblas_reason, failure != NULL ? failure : "it exports no table", REASON_SIZE);
		return NULL;
	}
	table = function();
	if (table == NULL)
		strlcpy(openblas_reason, "it cannot run on this processor", REASON_SIZE);
	else if (table->version != BR_BACKEND_VERSION)
	{
		snprintf(openblas_reason, REASON_SIZE, "\"%s\" is of version %u, this library needs %d",
				 path, table->version, BR_BACKEND_VERSION);
		table = NULL;
	}
	return table;
}

/* The environment is read while loading only, and is left as it was. */
static const BrBackend *
open_with_one_thread(const char *path)
{
	const char *former = getenv(THREADS_VARIABLE);
	char *saved = former != NULL ? pstrdup(former) : NULL;
	const BrBackend *table;
	sigset_t all;
	sigset_t before;

	setenv(THREADS_VARIABLE, "1", 1);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	table = open_object(path);
	pthread_sigmask(SIG_SETMASK, &before, NULL);

	if (saved != NULL)
		setenv(THREADS_VARIABLE, saved, 1);
	else
		unsetenv(THREADS_VARIABLE);
	return table;
}

static const BrBackend *
load_openblas(void)
{
	char path[MAXPGPATH];

	if (openblas != NULL)
		return openblas;
	if (MyProcPid == PostmasterPid)
	{
		strlcpy(openblas_reason, "it is never loaded in the postmaster", REASON_SIZE);
		return NULL;
	}
	snprintf(path, sizeof(path), "%s/bundle_rec/br_backend_openblas.so", pkglib_path);
	openblas = open_with_one_thread(path);
	return openblas;
}

/* auto asks once for a connection, since a failure would cost every call anew. */
static const BrBackend *
choose_automatically(void)
{
	if (openblas == NULL && openblas_reason[0] == '\0')
		load_openblas();
	return openblas != NULL ? openblas : br_math_portable_backend();
}

const BrBackend *
br_pg_session_backend(void)
{
	if (br_pg_backend == BR_PG_BACKEND_PORTABLE)
		return br_math_portable_backend();
	if (br_pg_backend == BR_PG_BACKEND_AUTO)
		return choose_automatically();

	if (load_openblas() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("could not load the backend \"openblas\""),
				 errdetail("%s", openblas_reason),
				 errhint("Install OpenBLAS, or set bundle_rec.backend to auto or portable.")));
	return openblas;
}

void
br_pg_list_backends(BrPgBackendStatus backends[BR_PG_N_BACKENDS])
{
	const BrBackend *fast = load_openblas();
	bool use_fast = fast != NULL && br_pg_backend != BR_PG_BACKEND_PORTABLE;

	backends[0] = (BrPgBackendStatus){
		.name = br_math_portable_backend()->name,
		.available = true,
		.in_use = br_pg_backend != BR_PG_BACKEND_OPENBLAS && !use_fast,
		.instruction_set = br_math_portable_backend()->instruction_set(),
	};
	backends[1] = (BrPgBackendStatus){
		.name = "openblas",
		.available = fast != NULL,
		.in_use = use_fast,
		.instruction_set = fast != NULL ? fast->instruction_set() : NULL,
		.reason = fast != NULL ? NULL : openblas_reason,
	};
}
