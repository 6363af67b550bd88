/*
 * test_draw.c
 *	  Plots: coordinates and ticks by hand arithmetic, dates beside those of the
 *	  C library, texts, and what is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/draw/br_draw.h"

#define SECONDS_1970_TO_2000 946684800LL

static const BrPlot plain = {.width = 720, .n_series = 1};

static void
assert_has(const char *svg, const char *part)
{
	if (strstr(svg, part) == NULL)
		fail_msg("\"%s\" is not in %s", part, svg);
}

static void
assert_lacks(const char *svg, const char *part)
{
	if (strstr(svg, part) != NULL)
		fail_msg("\"%s\" is in %s", part, svg);
}

static char *
draw_series(const BrPlot *plot, const BrPlotPoint *points, int n)
{
	BrContext context;
	char *svg;

	br_base_context_init(&context);
	if (br_draw_plot_series(&context, plot, points, n, &svg) != BR_OK)
		fail_msg("%s", context.detail);
	return svg;
}

#define POINT(at, value)                                \
	{                                                   \
		.x = at, .y = value, .lower = NAN, .upper = NAN \
	}

/*
 * Labels of y are "10" at the widest: 2 * 6.7 + 22 pixels at the left, 16 at the
 * right and above, 28 below. So x 0 .. 10 is 35.4 .. 704, y 0 .. 10 is 372 .. 16.
 */
static void
points_lie_where_they_should(void **state)
{
	const BrPlotPoint points[] = {POINT(10, 10), POINT(0, 0), POINT(5, 2.5)};
	char *svg = draw_series(&plain, points, 3);

	(void) state;
	assert_has(svg, "viewBox=\"0 0 720 400\"");
	assert_has(svg, "d=\"M35.4 372L369.7 283L704 16\"");
	assert_has(svg, "<desc>1 series of 3 points; horizontally 0 to 10, vertically 0 to 10.</desc>");
	/* ticks 0, 2, .., 10 of y */
	assert_has(svg, "d=\"M35.4 300.8H704\"");
	assert_has(svg, "x=\"27.4\" y=\"304.8\" text-anchor=\"end\">2</text>");
	free(svg);
}

/* A gap breaks the line; a point between two gaps is a dot, with a bar for a band. */
static void
gaps_break_lines_and_bands(void **state)
{
	const BrPlotPoint points[] = {
		{.x = 0, .y = 0, .lower = 0, .upper = 5},
		{.x = 2.5, .y = 5, .lower = 5, .upper = 10},
		{.x = 5, .y = NAN, .lower = NAN, .upper = NAN},
		{.x = 7.5, .y = 5, .lower = 0, .upper = 10},
		{.x = 10, .y = NAN, .lower = NAN, .upper = NAN},
	};
	char *svg = draw_series(&plain, points, 5);

	(void) state;
	assert_has(svg, "d=\"M35.4 194L202.55 16L202.55 194L35.4 372Z\"");
	assert_has(svg, "d=\"M536.85 372V16\"");
	assert_has(svg, "d=\"M35.4 372L202.55 194M536.85 194\"");
	assert_has(svg, "cx=\"536.85\" cy=\"194\" r=\"4\"");
	free(svg);
}

static void
dates_are_those_of_the_c_library(void **state)
{
	BrPlot plot = plain;
	BrRandom random;

	(void) state;
	plot.time = true;
	br_base_random_init(&random, 3, 0);
	for (int i = 0; i < 2000; i++)
	{
		/* years 1 to 5000, and the days around the end of a February */
		int64_t second =
			(int64_t) (br_base_random_u64(&random) % (5000ULL * 31556952)) - 62135596800LL;
		BrPlotPoint point = POINT((double) (second - SECONDS_1970_TO_2000), 1);
		time_t moment = (time_t) second;
		struct tm parts;
		char wanted[80];
		char *svg;

		gmtime_r(&moment, &parts);
		snprintf(wanted, sizeof(wanted), "horizontally %04d-%02d-%02d %02d:%02d:%02d to",
				 parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min,
				 parts.tm_sec);
		svg = draw_series(&plot, &point, 1);
		if (second % 86400 != 0)
			assert_has(svg, wanted);
		free(svg);
	}
}

/* 2024 has 366 days: the first of March is day 60. The left end is at 3 * 6.7 + 22 = 42.1. */
static void
ticks_follow_the_calendar(void **state)
{
	const double year_2024 = 8766 * 86400.0;
	const BrPlotPoint year[] = {POINT(year_2024, 0), POINT(year_2024 + 366 * 86400.0, 1)};
	const BrPlotPoint weeks[] = {POINT(year_2024, 0), POINT(year_2024 + 34 * 86400.0, 1)};
	const BrPlotPoint hours[] = {POINT(year_2024 + 79200, 0), POINT(year_2024 + 108000, 1)};
	BrPlot plot = plain;
	char place[80];
	char *svg;

	(void) state;
	plot.time = true;
	svg = draw_series(&plot, year, 2);
	assert_has(svg, ">Jan 2024<");
	assert_has(svg, ">Mar 2024<");
	assert_lacks(svg, ">Feb 2024<");
	/* the last label, "Jan 2025", needs 8 * 6.7 / 2 + 4 at the right */
	snprintf(place, sizeof(place), "x=\"%.2f\" y=\"391\"", 42.1 + 60 / 366.0 * (720 - 30.8 - 42.1));
	assert_has(svg, place);
	free(svg);
	/* 2024-01-01 was a Monday */
	svg = draw_series(&plot, weeks, 2);
	assert_has(svg, ">Jan 8<");
	assert_has(svg, ">Jan 15<");
	assert_lacks(svg, ">Jan 9<");
	free(svg);
	/* from ten in the evening to six in the morning */
	svg = draw_series(&plot, hours, 2);
	assert_has(svg, ">22:00<");
	assert_has(svg, ">Jan 2<");
	assert_has(svg, ">02:00<");
	free(svg);
}

static void
numbers_are_round(void **state)
{
	const BrPlotPoint small[] = {POINT(0, 0.0123), POINT(1, 0.0141)};
	const BrPlotPoint large[] = {POINT(0, -12000), POINT(1, 34000)};
	const BrPlotPoint huge[] = {POINT(0, 1e12), POINT(1, 4e12)};
	const BrPlotPoint close[] = {POINT(0, 0.50000012), POINT(1, 0.50000021)};
	const BrPlotPoint tiny[] = {POINT(0, 0), POINT(1, 1e-310)};
	const BrPlotPoint faint[] = {POINT(0, 1e-9), POINT(1, 4e-9)};
	const BrPlotPoint same[] = {POINT(5, 3), POINT(5, 3)};
	char *svg = draw_series(&plain, small, 2);

	(void) state;
	/* steps of .0005 from .012 to .0145 */
	assert_has(svg, ">0.0120<");
	assert_has(svg, ">0.0145<");
	assert_lacks(svg, ">0.0150<");
	free(svg);
	svg = draw_series(&plain, large, 2);
	assert_has(svg, ">-20,000<");
	assert_has(svg, ">0<");
	assert_has(svg, ">40,000<");
	free(svg);
	svg = draw_series(&plain, huge, 2);
	assert_has(svg, ">2e12<");
	free(svg);
	svg = draw_series(&plain, close, 2);
	assert_has(svg, ">0.50000012<");
	assert_has(svg, ">0.50000022<");
	free(svg);
	svg = draw_series(&plain, faint, 2);
	assert_has(svg, ">2e-9<");
	free(svg);
	/* no different from two zeros */
	svg = draw_series(&plain, tiny, 2);
	assert_has(svg, ">-1.0<");
	assert_has(svg, ">0.0<");
	free(svg);
	svg = draw_series(&plain, same, 2);
	assert_has(svg, ">5.0<");
	free(svg);
}

/* Markup, a control character, what is no UTF-8, and letters beyond ASCII. */
static void
texts_are_escaped(void **state)
{
	const char *const names[] = {"a<b>&\"c\"'\x01", "\xC3\xA9\xFF\xE6\x97\xA5\xF0\x9F\x98\x80"};
	const BrPlotPoint points[] = {{.series = 1, .x = 1, .y = 1, .lower = NAN, .upper = NAN}};
	BrPlot plot = {.width = 320, .series = names, .n_series = 2, .y_label = "<y>"};
	char *svg;

	(void) state;
	plot.title = "A title that is far too long for a plot as narrow as this one is";
	svg = draw_series(&plot, points, 1);
	assert_has(svg, "a&#x3C;b&#x3E;&#x26;&#x22;c&#x22;&#x27;&#xFFFD;</text>");
	assert_has(svg, "&#xE9;&#xFFFD;&#x65E5;&#x1F600;</text>");
	assert_has(svg, "&#x3C;y&#x3E;</text>");
	assert_has(svg, "is far too long fo&#x2026;</text>");
	assert_has(svg,
			   "<title>A title that is far too long for a plot as narrow as this one is</title>");
	for (const char *byte = svg; *byte != '\0'; byte++)
		assert_true(*byte > 0 && *byte < 127);
	free(svg);
}

/*
 * Labels "b" and "a" and numbers "2.00 [1.00, 3.00]" of 17 characters: the axis
 * is 34.7 .. 720 - 16 - 125.9 = 578.1, for .9 .. 3.1 with its margins of 5 %.
 */
static void
intervals_have_rows(void **state)
{
	const BrPlotInterval intervals[] = {
		{.label = "a", .value = 2, .lower = 1, .upper = 3},
		{.label = "b", .value = 1.5, .lower = -INFINITY, .upper = 2},
		{.label = "b", .value = 1.5, .lower = NAN, .upper = NAN},
	};
	BrContext context;
	char place[80];
	char *svg;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_draw_plot_intervals(&context, &plain, intervals, 3, 1, &svg), BR_OK);
	/* 16 above, 30 a row, 32 below */
	assert_has(svg, "viewBox=\"0 0 720 138\"");
	snprintf(place, sizeof(place), "cx=\"%.1f\" cy=\"31.67\"", (34.7 + 578.1) / 2);
	assert_has(svg, place);
	snprintf(place, sizeof(place), "d=\"M%.1f 16V110\"", 34.7 + 0.1 / 2.2 * 543.4);
	assert_has(svg, place);
	assert_has(svg, ">2.00 [1.00, 3.00]<");
	assert_has(svg, ">1.50 [-&#x221E;, 2.00]<");
	assert_has(svg, "d=\"M34.7 63H");
	assert_has(svg, ">1.50</text>");
	free(svg);
}

/* y 0 .. 4 is 292 .. 16; x 0 .. 1 begins at 6.7 + 22 + 20 and ends at 704. */
static void
histograms_have_bars(void **state)
{
	const BrPlotBin bins[] = {{0, 0, 0.5, 4}, {0, 0.5, 1, 1}, {0, 0.25, 0.75, 0}};
	const BrPlotBin unequal[] = {{0, 0, 0.5, 1}, {0, 0.5, 0.75, 1}};
	BrContext context;
	char *svg;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_draw_plot_histogram(&context, &plain, bins, 3, &svg), BR_OK);
	assert_has(svg, "d=\"M48.7 292V16H376.35V292ZM376.35 292V223H704V292Z\"");
	assert_has(svg, ">count<");
	free(svg);
	/* 1 / .5 and 1 / .25 */
	assert_int_equal(br_draw_plot_histogram(&context, &plain, unequal, 2, &svg), BR_OK);
	assert_has(svg, "d=\"M48.7 292V154H");
	assert_has(svg, ">count per unit<");
	free(svg);
}

/* Edges belong to the bin that they begin, the greatest value to the last one. */
static void
values_are_counted_into_bins(void **state)
{
	const double values[] = {0, 0.1, 0.19, 0.2, 0.95, 1, 0.3};
	const int series[] = {0, 0, 0, 0, 0, 0, 1};
	const double wanted[] = {1, 2, 1, 0, 0, 0, 0, 0, 0, 2};
	BrContext context;
	BrPlotBin *bins;
	int n;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_draw_count_bins(&context, values, series, 7, 2, 10, &bins, &n), BR_OK);
	assert_int_equal(n, 20);
	for (int i = 0; i < 10; i++)
	{
		assert_true(fabs(bins[i].lower - i / 10.0) < 1e-12);
		assert_true(bins[i].count == wanted[i]);
		assert_true(bins[10 + i].series == 1 && bins[10 + i].count == (i == 3));
	}
	free(bins);
	assert_int_equal(br_draw_count_bins(&context, values, series, 0, 1, 10, &bins, &n), BR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(br_draw_count_bins(&context, values, series, 7, 2, 0, &bins, &n),
					 BR_ERR_ARGUMENT);
}

static void
empty_plots_say_so(void **state)
{
	BrContext context;
	char *svg;

	(void) state;
	br_base_context_init(&context);
	assert_int_equal(br_draw_plot_series(&context, &plain, NULL, 0, &svg), BR_OK);
	assert_has(svg, ">No rows</text>");
	free(svg);
	assert_int_equal(br_draw_plot_intervals(&context, &plain, NULL, 0, NAN, &svg), BR_OK);
	assert_has(svg, ">No rows</text>");
	free(svg);
	assert_int_equal(br_draw_plot_histogram(&context, &plain, NULL, 0, &svg), BR_OK);
	assert_has(svg, ">No rows</text>");
	free(svg);
}

static void
assert_refused(BrPlot plot, BrPlotPoint point, BrStatus status, const char *detail)
{
	BrContext context;
	char *svg;

	br_base_context_init(&context);
	assert_int_equal(br_draw_plot_series(&context, &plot, &point, 1, &svg), status);
	assert_string_equal(context.detail, detail);
	assert_null(svg);
}

static void
plots_refuse_bad_input(void **state)
{
	const BrPlotInterval interval = {.label = "", .value = INFINITY, .lower = NAN, .upper = NAN};
	const BrPlotInterval turned = {.label = "", .value = 1, .lower = 2, .upper = 0};
	const BrPlotBin bin = {.lower = 1, .upper = 1, .count = 1};
	const BrPlotBin negative = {.lower = 0, .upper = 1, .count = -1};
	BrPlotPoint point = POINT(0, 0);
	BrPlot plot = plain;
	BrContext context;
	char *svg;

	(void) state;
	plot.width = 159;
	assert_refused(plot, point, BR_ERR_ARGUMENT, "The width is 159; it may be 160 to 4000.");
	plot = plain;
	plot.height = 4001;
	assert_refused(plot, point, BR_ERR_ARGUMENT, "The height is 4001; it may be 160 to 4000.");
	plot = plain;
	plot.n_series = 25;
	assert_refused(plot, point, BR_ERR_ARGUMENT, "There are 25 series; there may be 1 to 24.");
	point.series = 1;
	assert_refused(plain, point, BR_ERR_ARGUMENT, "Point 1 is of series 1.");
	point = (BrPlotPoint){.x = 3, .y = 1, .lower = 2, .upper = 1};
	assert_refused(plain, point, BR_ERR_ARGUMENT,
				   "Point 1, at x 3, has the lower bound 2 and the upper bound 1.");
	point = (BrPlotPoint){.x = NAN, .y = 1, .lower = 0, .upper = 1};
	assert_refused(plain, point, BR_ERR_ARGUMENT,
				   "Point 1 is not finite: x nan, y 1, lower 0, upper 1.");
	point = (BrPlotPoint){.x = 1e200, .y = 1, .lower = 0, .upper = 1};
	assert_refused(plain, point, BR_ERR_NUMERIC, "Numbers reach from 1e+200 to 1e+200.");

	br_base_context_init(&context);
	assert_int_equal(br_draw_plot_intervals(&context, &plain, &interval, 1, NAN, &svg),
					 BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "The value of interval 1 is inf.");
	assert_int_equal(br_draw_plot_intervals(&context, &plain, &turned, 1, NAN, &svg),
					 BR_ERR_ARGUMENT);
	assert_int_equal(br_draw_plot_histogram(&context, &plain, &bin, 1, &svg), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "Bin 1 reaches from 1 to 1.");
	assert_int_equal(br_draw_plot_histogram(&context, &plain, &negative, 1, &svg), BR_ERR_ARGUMENT);
	assert_string_equal(context.detail, "The count of bin 1 is -1.");
}

/* An allocator that has room for so many blocks, and counts those that are not freed. */
typedef struct Scarce
{
	int left;
	int live;
} Scarce;

static void *
scarce_alloc(void *arg, size_t size)
{
	Scarce *scarce = arg;

	if (scarce->left-- <= 0)
		return NULL;
	scarce->live++;
	return malloc(size);
}

static void
scarce_free(void *arg, void *pointer)
{
	((Scarce *) arg)->live -= pointer != NULL;
	free(pointer);
}

static void
no_memory_leaves_nothing(void **state)
{
	static BrPlotPoint points[3000];
	Scarce scarce;
	BrContext context;
	BrStatus status = BR_ERR_MEMORY;
	char *svg = NULL;
	int blocks = 0;

	(void) state;
	for (int i = 0; i < 3000; i++)
		points[i] = (BrPlotPoint){.x = i, .y = sin(i), .lower = -1, .upper = 1};
	br_base_context_init(&context);
	context.allocator.alloc = scarce_alloc;
	context.allocator.free = scarce_free;
	context.allocator.arg = &scarce;
	for (; status == BR_ERR_MEMORY; blocks++)
	{
		scarce = (Scarce){.left = blocks};
		status = br_draw_plot_series(&context, &plain, points, 3000, &svg);
		assert_int_equal(scarce.live, status == BR_OK);
	}
	assert_int_equal(status, BR_OK);
	assert_true(blocks > 3);
	free(svg);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(points_lie_where_they_should),
		cmocka_unit_test(gaps_break_lines_and_bands),
		cmocka_unit_test(dates_are_those_of_the_c_library),
		cmocka_unit_test(ticks_follow_the_calendar),
		cmocka_unit_test(numbers_are_round),
		cmocka_unit_test(texts_are_escaped),
		cmocka_unit_test(intervals_have_rows),
		cmocka_unit_test(histograms_have_bars),
		cmocka_unit_test(values_are_counted_into_bins),
		cmocka_unit_test(empty_plots_say_so),
		cmocka_unit_test(plots_refuse_bad_input),
		cmocka_unit_test(no_memory_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
