/*
 * load_backend.c
 *	  Backends for the programs that measure.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/load_backend.h"

const BrBackend *
load_backend(const char *name, const char **why)
{
	const char *directory = getenv("BR_BACKEND_DIR");
	const BrBackend *backend;
	BrBackendTable table;
	char path[4096];
	void *library;

	if (strcmp(name, "portable") == 0)
		return br_math_portable_backend();
	/* as the module does: no threads of a BLAS's own */
	setenv("OPENBLAS_NUM_THREADS", "1", 1);
	setenv("OMP_NUM_THREADS", "1", 1);
	snprintf(path, sizeof(path), "%s/br_backend_%s.so", directory != NULL ? directory : "build",
			 name);
	library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (library == NULL)
	{
		*why = dlerror();
		return NULL;
	}
	*(void **) &table = dlsym(library, BR_BACKEND_SYMBOL);
	backend = table != NULL ? table() : NULL;
	if (backend == NULL || backend->version != BR_BACKEND_VERSION)
	{
		*why = "it does not run on this machine, or is of another version";
		return NULL;
	}
	return backend;
}
