/*
 * checks.h
 *	  What the checks of the CUDA backend share: how they are run, and arrays on
 *	  the device.
 *
 * They are one program twice: with the kernels as they are, for a machine with a
 * device (make -f src/core.mk cuda-check), and with the emulated one, a unit test
 * everywhere. So they need no library for tests; they speak TAP.
 */
#ifndef BR_TEST_CUDA_CHECKS_H
#define BR_TEST_CUDA_CHECKS_H

#include "backend/cuda/cuda_int.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

typedef struct Check
{
	const char *name;
	void (*run)(void);
} Check;

/* The checks of each file. */
typedef struct Checks
{
	const Check *checks;
	int n;
} Checks;

extern const Checks row_checks;
extern const Checks attention_checks;
extern const Checks product_checks;
extern const Checks search_checks;
extern const Checks model_checks;
extern const Checks golden_checks;
extern const Checks failure_checks;
extern const Checks table_checks;
extern const Checks training_kernel_checks;
extern const Checks training_checks;
extern const Checks tuning_checks;

/* The check that runs has failed; only the first failure of one is shown. */
extern void check_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern bool check_has_failed(void);
extern void check_skipped(const char *why);

#define CHECK(condition)                                                       \
	do                                                                         \
	{                                                                          \
		if (!(condition))                                                      \
			check_failed("%s:%d: not so: %s", __FILE__, __LINE__, #condition); \
	} while (0)

/* Of a status that must be BR_OK. */
extern void check_ok(BrStatus status);

/* The context and the stream of all checks. */
extern BrContext check_context;
extern BrStream check_stream;

/* Whether the kernels run on a device, and fast, so that larger shapes take no time. */
extern bool check_on_device;

/* Random numbers, the same for each check. */
extern int check_below(int bound); /* 0 .. bound - 1 */
extern float *check_floats(size_t n, double scale);

/* The same, each a number that a half holds. */
extern float *check_rounded(size_t n, double scale);

/* Room for n floats that are all NaN. */
extern float *check_room(size_t n);

/* Memory of the device, let go of when the check ends. host NULL: NULL. */
extern void *check_take(size_t bytes);
extern void *check_upload(const void *host, size_t bytes);
extern BrHalf *check_upload_halves(const float *host, size_t n);
extern void check_download(void *host, const void *device, size_t bytes);
extern void check_download_halves(float *host, const BrHalf *device, size_t n);

/* The host's memory, let go of when the check ends. */
extern void *check_memory(size_t bytes);

/* |actual - expected| <= absolute + relative |expected| everywhere; NaN is close to nothing. */
extern void check_close(const char *what, const float *actual, const float *expected, size_t n,
						double absolute, double relative);

extern double check_cosine(const float *left, const float *right, int n);

#endif /* BR_TEST_CUDA_CHECKS_H */
