/*
 * difference_fixture.h
 *	  Slopes beside central differences of what they are slopes of.
 */
#ifndef DIFFERENCE_FIXTURE_H
#define DIFFERENCE_FIXTURE_H

#include <stddef.h>

/* A function of numbers that the argument holds or points to, and how it is compared. */
typedef struct Differences
{
	double (*function)(void *arg);
	void *arg;
	double step;	 /* to both sides */
	double absolute; /* how far a slope may be from the difference */
	double relative; /* and besides, as a share of the difference */
} Differences;

/*
 * The test fails, with name and index, unless this is the slope of the function
 * by a number that it reads; the number is put back.
 */
extern void expect_slope(const Differences *differences, const char *name, size_t index,
						 double *number, double slope);

#endif /* DIFFERENCE_FIXTURE_H */
