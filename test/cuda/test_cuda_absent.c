/*
 * test_cuda_absent.c
 *	  Where there is no device the backend loads all the same, and says so.
 *
 * Every device is hidden from the runtime, so that this holds on machines that
 * have one too.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/math/br_device.h"

static int number;
static int failures;

static void
check(bool passed, const char *what)
{
	printf("%s %d - %s\n", passed ? "ok" : "not ok", ++number, what);
	failures += !passed;
}

int
main(void)
{
	const char *directory = getenv("BR_BACKEND_DIR");
	char path[4096];
	void *object;
	BrDeviceTableFunction device_function;
	BrBackendTable backend_function;
	const BrDeviceTable *table;
	BrContext context;
	BrDevice *device;

	setenv("CUDA_VISIBLE_DEVICES", "-1", 1);
	snprintf(path, sizeof(path), "%s/br_backend_cuda.so", directory != NULL ? directory : "build");
	if (access(path, R_OK) != 0)
	{
		printf("1..0 # SKIP br_backend_cuda.so is not built\n");
		return 0;
	}
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	check(object != NULL, "the backend loads without a driver");
	if (object == NULL)
	{
		printf("# %s\n1..%d\n", dlerror(), number);
		return 1;
	}
	*(void **) &device_function = dlsym(object, BR_DEVICE_SYMBOL);
	*(void **) &backend_function = dlsym(object, BR_BACKEND_SYMBOL);
	check(device_function != NULL && backend_function != NULL, "it exports both tables");
	check(backend_function() == NULL, "there is no table of operations without a device");
	table = device_function();
	check(table != NULL && table->version == BR_DEVICE_VERSION, "there is a table of devices");
	br_base_context_init(&context);
	check(table->count(&context) == 0, "it counts no device");
	check(strstr(context.detail, "CUDA") != NULL, "it says why");
	printf("# %s\n", context.detail);
	context.detail[0] = '\0';
	check(table->open(&context, 0, &device) != BR_OK && device == NULL, "it opens none");
	check(context.detail[0] != '\0', "it says why again");
	table->close(NULL);
	printf("1..%d\n", number);
	return failures == 0 ? 0 : 1;
}
