/*
 * operations.h
 *	  The checks that every backend passes, and what tests of backends share.
 */
#ifndef BR_TEST_OPERATIONS_H
#define BR_TEST_OPERATIONS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/math/br_backend.h"

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* One backend at one instruction set; table is NULL where it cannot run, and why says so. */
typedef struct Variant
{
	const char *backend;
	const char *instruction_set; /* NULL: whatever the processor has */
	const BrBackend *table;
	char why[256];
} Variant;

/* Loads it from BR_BACKEND_DIR. Says in why what is missing where it leaves table NULL. */
extern void open_variant(Variant *variant);

/* The table of the variant that is the test's state, and random numbers from the beginning. */
extern const BrBackend *table_or_skip(void **state);

/* Every plain operation; the state of each is a Variant. */
#define OPERATION_TESTS 8
extern const struct CMUnitTest operation_tests[OPERATION_TESTS];

/* Every operation that training needs besides; the same state. */
#define TRAINING_TESTS 4
extern const struct CMUnitTest training_tests[TRAINING_TESTS];

/* The same tests with the variant in their names and as their state; free_names them. */
extern void name_tests(struct CMUnitTest *tests /* (n) */, const struct CMUnitTest *from /* (n) */,
					   int n, Variant *variant);
extern void free_names(struct CMUnitTest *tests, int n);

extern BrRandom random_source;

/* n floats, uniform in (-scale, scale) */
extern float *random_floats(size_t n, double scale);

/* Room for n floats and the guard, filled so that what is not written is seen. */
extern float *guarded(size_t n);
extern void assert_guard(const float *values, size_t n);

/* |actual - expected| <= absolute + relative |expected| for every element; NaN never passes. */
extern void assert_close(const float *actual, const float *expected, size_t n, double absolute,
						 double relative);

/*
 * By how much sums of n products in two orders may differ. A sum between 2 and
 * 4 is rounded by 7e-8, as a standard deviation, at each addition; roundings
 * add up as a walk does, here two of them; three times that.
 */
extern double sum_tolerance(int n);

#endif /* BR_TEST_OPERATIONS_H */
