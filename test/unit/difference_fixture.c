/*
 * difference_fixture.c
 *	  Slopes beside central differences of what they are slopes of.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/difference_fixture.h"

void
expect_slope(const Differences *differences, const char *name, size_t index, double *number,
			 double slope)
{
	double kept = *number;
	double difference;

	*number = kept + differences->step;
	difference = differences->function(differences->arg);
	*number = kept - differences->step;
	difference = (difference - differences->function(differences->arg)) / (2 * differences->step);
	*number = kept;
	/* so that a NaN fails, too */
	if (!(fabs(slope - difference) <=
		  differences->absolute + differences->relative * fabs(difference)))
		fail_msg("%s[%zu]: slope %.12g, difference %.12g", name, index, slope, difference);
}
