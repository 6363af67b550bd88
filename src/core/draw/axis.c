/*
 * axis.c
 *	  Where an axis begins and ends, its ticks, and what stands at them.
 *
 * Ticks of numbers are 1, 2 or 5 times a power of ten apart. Those of time are
 * whole seconds to weeks, months or years apart, by the proleptic Gregorian
 * calendar, counted from 2000-01-01.
 */
#include <math.h>
#include <stdio.h>

#include "core/draw/draw_int.h"

#define DAY 86400.0
/* 2000-01-03 was a Monday. */
#define FIRST_MONDAY (2 * DAY)
/* Relative width below which two numbers are the same. */
#define SAME 1e-12
/* And absolute: ticks have a step that is far from the smallest doubles. */
#define NOTHING 1e-90
/* In steps: a tick so near to an end stands at it, however it was rounded. */
#define SLACK 1e-3

static double
power_of_ten(int exponent)
{
	double power = 1;

	for (int i = 0; i < (exponent < 0 ? -exponent : exponent); i++)
		power *= 10;
	return exponent < 0 ? 1 / power : power;
}

/* The largest exponent whose power of ten is at most value > 0. */
static int
exponent_of(double value)
{
	int exponent = 0;

	while (power_of_ten(exponent + 1) <= value * (1 + SAME))
		exponent++;
	while (power_of_ten(exponent) > value * (1 + SAME))
		exponent--;
	return exponent;
}

double
br_draw_axis_round_step(double value)
{
	double power = power_of_ten(exponent_of(value));

	for (int i = 0; i < 3; i++)
	{
		static const double factors[] = {1, 2, 5};

		if (value <= factors[i] * power * (1 + SAME))
			return factors[i] * power;
	}
	return 10 * power;
}

BrStatus
br_draw_axis_fit(BrContext *context, BrAxis *axis, double low, double high, int wanted, bool round)
{
	double size = fmax(fabs(low), fabs(high));

	if (!(size <= BR_SVG_LARGEST))
		return br_base_fail(context, BR_ERR_NUMERIC, "Numbers reach from %g to %g.", low, high);
	if (!(high - low > fmax(SAME * size, NOTHING)))
	{
		double margin = size > 10 * NOTHING ? 0.1 * size : 1;

		low -= margin;
		high += margin;
	}
	*axis = (BrAxis){.low = low, .high = high, .unit = BR_AXIS_NUMBER};
	axis->step = br_draw_axis_round_step((high - low) / wanted);
	axis->decimals = -exponent_of(axis->step);
	if (axis->decimals < 0)
		axis->decimals = 0;
	if (round)
	{
		axis->low = floor(low / axis->step + SLACK) * axis->step;
		axis->high = ceil(high / axis->step - SLACK) * axis->step;
	}
	return BR_OK;
}

BrStatus
br_draw_axis_fit_time(BrContext *context, BrAxis *axis, double low, double high, int wanted)
{
	static const double seconds[] = {1,		2,	   5,	  10,  15,		30,		 60,
									 120,	300,   600,	  900, 1800,	3600,	 7200,
									 10800, 21600, 43200, DAY, 2 * DAY, 7 * DAY, 14 * DAY};
	static const double months[] = {1, 2, 3, 6, 12};

	if (!(fmax(fabs(low), fabs(high)) < 1e14))
		return br_base_fail(context, BR_ERR_NUMERIC, "Times reach from %g to %g.", low, high);
	if (!(high - low > 0))
	{
		low -= DAY / 2;
		high += DAY / 2;
	}
	*axis = (BrAxis){.low = low, .high = high, .unit = BR_AXIS_SECOND};
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++)
	{
		axis->step = seconds[i];
		if ((high - low) / axis->step <= wanted)
			return BR_OK;
	}
	axis->unit = BR_AXIS_MONTH;
	for (size_t i = 0; i < sizeof(months) / sizeof(months[0]); i++)
	{
		axis->step = months[i];
		if ((high - low) / (axis->step * 30.4 * DAY) <= wanted)
			return BR_OK;
	}
	axis->step = 12 * br_draw_axis_round_step((high - low) / (365.2425 * DAY) / wanted);
	return BR_OK;
}

double
br_draw_axis_pixel(const BrAxis *axis, double value)
{
	return axis->from + (value - axis->low) / (axis->high - axis->low) * (axis->to - axis->from);
}

/* ---- the calendar ---- */

typedef struct Moment
{
	int64_t year;
	int month; /* 1 to 12 */
	int day;
	int second; /* of the day */
} Moment;

/* Years here begin in March, so that the leap day is their last; eras have 400 of them. */
static Moment
moment_of(double seconds)
{
	double days = floor(seconds / DAY);
	/* days since 0000-03-01 */
	int64_t number = (int64_t) days + 730425;
	int64_t era = (number >= 0 ? number : number - 146096) / 146097;
	int64_t of_era = number - era * 146097;
	int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int month = (int) ((5 * of_year + 2) / 153);
	Moment moment;

	moment.day = (int) (of_year - (153 * month + 2) / 5 + 1);
	moment.month = month < 10 ? month + 3 : month - 9;
	moment.year = year + era * 400 + (moment.month <= 2);
	moment.second = (int) (seconds - days * DAY);
	return moment;
}

/* Seconds at the first of a month that is counted from January of year 0. */
static double
month_start(double months)
{
	int64_t year = (int64_t) floor(months / 12);
	int month = (int) (months - 12.0 * (double) year) + 1;
	int64_t shifted = month <= 2 ? year - 1 : year;
	int64_t era = (shifted >= 0 ? shifted : shifted - 399) / 400;
	int64_t of_era = shifted - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5;

	return DAY *
		(double) (era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 730425);
}

void
br_draw_axis_moment(double seconds, char label[BR_SVG_LABEL_SIZE])
{
	Moment moment = moment_of(seconds);
	int length = snprintf(label, BR_SVG_LABEL_SIZE, "%04lld-%02d-%02d", (long long) moment.year,
						  moment.month, moment.day);

	if (moment.second != 0)
		snprintf(label + length, BR_SVG_LABEL_SIZE - length, " %02d:%02d:%02d",
				 moment.second / 3600, moment.second / 60 % 60, moment.second % 60);
}

/* ---- ticks ---- */

static int
month_ticks(const BrAxis *axis, double *ticks)
{
	Moment first = moment_of(axis->low);
	double month = floor((12.0 * (double) first.year + first.month - 1) / axis->step) * axis->step;
	int n = 0;

	for (; n < BR_SVG_MAX_TICKS && month_start(month) <= axis->high; month += axis->step)
	{
		if (month_start(month) >= axis->low)
			ticks[n++] = month_start(month);
	}
	return n;
}

int
br_draw_axis_ticks(const BrAxis *axis, double ticks[BR_SVG_MAX_TICKS])
{
	double origin = axis->unit == BR_AXIS_SECOND && axis->step >= 7 * DAY ? FIRST_MONDAY : 0;
	double first = ceil((axis->low - origin) / axis->step - SLACK);
	double last = floor((axis->high - origin) / axis->step + SLACK);
	int n = 0;

	if (axis->unit == BR_AXIS_MONTH)
		return month_ticks(axis, ticks);
	for (; n < BR_SVG_MAX_TICKS && first + n <= last; n++)
		ticks[n] = origin + (first + n) * axis->step;
	return n;
}

static void
label_moment(const BrAxis *axis, double tick, char *label)
{
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
										 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	Moment moment = moment_of(tick);
	const char *month = months[moment.month - 1];

	if (axis->unit == BR_AXIS_MONTH && axis->step >= 12)
		snprintf(label, BR_SVG_LABEL_SIZE, "%lld", (long long) moment.year);
	else if (axis->unit == BR_AXIS_MONTH)
		snprintf(label, BR_SVG_LABEL_SIZE, "%s %lld", month, (long long) moment.year);
	else if (moment.second == 0)
		snprintf(label, BR_SVG_LABEL_SIZE, "%s %d", month, moment.day);
	else if (axis->step < 60)
		snprintf(label, BR_SVG_LABEL_SIZE, "%02d:%02d:%02d", moment.second / 3600,
				 moment.second / 60 % 60, moment.second % 60);
	else
		snprintf(label, BR_SVG_LABEL_SIZE, "%02d:%02d", moment.second / 3600,
				 moment.second / 60 % 60);
}

void
br_draw_axis_label(const BrAxis *axis, double tick, char label[BR_SVG_LABEL_SIZE])
{
	if (axis->unit == BR_AXIS_NUMBER)
		br_draw_svg_number(tick, axis->decimals, label);
	else
		label_moment(axis, tick, label);
}
