/*
 * series.c
 *	  Lines over time or any other number, with bands.
 *
 * The points of a series are joined in the order of x. Where a value is
 * missing the line is broken, where a bound is, the band; what stands alone
 * between two gaps is a dot, and its band a bar.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/draw/draw_int.h"

/* So many points, and dots show where they are. */
#define MAX_DOTS 60

#define TITLE "Series"

typedef struct Ordered
{
	const BrPlotPoint *point;
	int number; /* in the input */
} Ordered;

static int
compare_points(const void *left, const void *right)
{
	const Ordered *a = left;
	const Ordered *b = right;

	if (a->point->series != b->point->series)
		return a->point->series - b->point->series;
	if (a->point->x != b->point->x)
		return a->point->x < b->point->x ? -1 : 1;
	return a->number - b->number;
}

typedef struct Range
{
	double low;
	double high;
} Range;

/* NaN widens nothing */
static void
widen(Range *range, double value)
{
	range->low = fmin(range->low, value);
	range->high = fmax(range->high, value);
}

static BrStatus
check_point(BrContext *context, const BrPlot *plot, const BrPlotPoint *point, int number)
{
	if (point->series < 0 || point->series >= plot->n_series)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Point %d is of series %d.", number,
							point->series);
	if (!isfinite(point->x) || isinf(point->y) || isinf(point->lower) || isinf(point->upper))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Point %d is not finite: x %g, y %g, lower %g, upper %g.", number,
							point->x, point->y, point->lower, point->upper);
	if (point->lower > point->upper || isnan(point->lower) != isnan(point->upper))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Point %d, at x %g, has the lower bound %g and the upper bound %g.",
							number, point->x, point->lower, point->upper);
	return BR_OK;
}

static BrStatus
read_points(BrContext *context, const BrPlot *plot, const BrPlotPoint *points, int n,
			Ordered *ordered, Range *x, Range *y)
{
	for (int i = 0; i < n; i++)
	{
		BrStatus status = check_point(context, plot, &points[i], i + 1);

		if (status != BR_OK)
			return status;
		ordered[i] = (Ordered){.point = &points[i], .number = i};
		widen(x, points[i].x);
		widen(y, points[i].y);
		widen(y, points[i].lower);
		widen(y, points[i].upper);
	}
	/* all gaps */
	if (y->low > y->high)
		*y = (Range){0, 1};
	qsort(ordered, n, sizeof(Ordered), compare_points);
	return BR_OK;
}

static double
pixel_x(const BrFrame *frame, const Ordered *at)
{
	return br_draw_axis_pixel(&frame->x, at->point->x);
}

/* Points [0, n) of one series: its band, run by run between gaps. */
static void
write_band(BrFrame *frame, const Ordered *ordered, int n, int colour)
{
	BrSvg *svg = &frame->svg;

	for (int start = 0; start < n;)
	{
		int end = start;

		while (end < n && !isnan(ordered[end].point->lower))
			end++;
		if (end - start == 1)
			br_draw_svg_write(svg, "<path class=\"br-l%d\" stroke-width=\"2\" d=\"M%n %nV%n\"/>\n",
							  colour, pixel_x(frame, &ordered[start]),
							  br_draw_axis_pixel(&frame->y, ordered[start].point->lower),
							  br_draw_axis_pixel(&frame->y, ordered[start].point->upper));
		else if (end > start)
		{
			br_draw_svg_write(svg, "<path class=\"br-f%d\" fill-opacity=\"0.18\" d=\"", colour);
			for (int i = start; i < end; i++)
				br_draw_svg_write(svg, "%s%n %n", i == start ? "M" : "L",
								  pixel_x(frame, &ordered[i]),
								  br_draw_axis_pixel(&frame->y, ordered[i].point->upper));
			for (int i = end - 1; i >= start; i--)
				br_draw_svg_write(svg, "L%n %n", pixel_x(frame, &ordered[i]),
								  br_draw_axis_pixel(&frame->y, ordered[i].point->lower));
			br_draw_svg_write(svg, "Z\"/>\n");
		}
		start = end + 1;
	}
}

static bool
is_gap(const Ordered *ordered, int n, int i)
{
	return i < 0 || i >= n || isnan(ordered[i].point->y);
}

static void
write_line(BrFrame *frame, const Ordered *ordered, int n, int series)
{
	BrSvg *svg = &frame->svg;
	int colour = br_draw_frame_colour(series);

	br_draw_svg_write(svg,
					  "<path class=\"br-l%d\"%s fill=\"none\" stroke-width=\"2\" "
					  "stroke-linejoin=\"round\" d=\"",
					  colour, br_draw_frame_dash(series));
	for (int i = 0; i < n; i++)
	{
		if (!is_gap(ordered, n, i))
			br_draw_svg_write(svg, "%s%n %n", is_gap(ordered, n, i - 1) ? "M" : "L",
							  pixel_x(frame, &ordered[i]),
							  br_draw_axis_pixel(&frame->y, ordered[i].point->y));
	}
	br_draw_svg_write(svg, "\"/>\n");
	for (int i = 0; i < n; i++)
	{
		bool alone = is_gap(ordered, n, i - 1) && is_gap(ordered, n, i + 1);

		if (!is_gap(ordered, n, i) && (alone || n <= MAX_DOTS))
			br_draw_svg_write(svg, "<circle class=\"br-f%d\" cx=\"%n\" cy=\"%n\" r=\"%s\"/>\n",
							  colour, pixel_x(frame, &ordered[i]),
							  br_draw_axis_pixel(&frame->y, ordered[i].point->y),
							  alone ? "4" : "2.5");
	}
}

/* All bands lie below all lines. */
static void
write_series(BrFrame *frame, const Ordered *ordered, int n)
{
	for (int pass = 0; pass < 2; pass++)
	{
		for (int start = 0; start < n;)
		{
			int series = ordered[start].point->series;
			int end = start;

			while (end < n && ordered[end].point->series == series)
				end++;
			if (pass == 0)
				write_band(frame, ordered + start, end - start, br_draw_frame_colour(series));
			else
				write_line(frame, ordered + start, end - start, series);
			start = end;
		}
	}
}

/* For who cannot see: how much there is, and between what. */
static void
describe(const BrPlot *plot, int n, const Range *x, const Range *y, char *text, size_t size)
{
	char ends[4][BR_SVG_LABEL_SIZE];

	for (int i = 0; i < 2; i++)
	{
		double end = i == 0 ? x->low : x->high;

		if (plot->time)
			br_draw_axis_moment(end, ends[i]);
		else
			snprintf(ends[i], BR_SVG_LABEL_SIZE, "%.6g", end);
	}
	snprintf(ends[2], BR_SVG_LABEL_SIZE, "%.6g", y->low);
	snprintf(ends[3], BR_SVG_LABEL_SIZE, "%.6g", y->high);
	snprintf(text, size, "%d series of %d points; horizontally %s to %s, vertically %s to %s.",
			 plot->n_series, n, ends[0], ends[1], ends[2], ends[3]);
}

static BrStatus
draw(BrContext *context, BrFrame *frame, const BrPlotPoint *points, int n, Ordered *ordered)
{
	const BrPlot *plot = frame->plot;
	Range x = {INFINITY, -INFINITY};
	Range y = {INFINITY, -INFINITY};
	char description[256];
	BrStatus status = read_points(context, plot, points, n, ordered, &x, &y);

	if (status == BR_OK && plot->time)
		status = br_draw_axis_fit_time(context, &frame->x, x.low, x.high, plot->width / 90 + 1);
	else if (status == BR_OK)
		status = br_draw_axis_fit(context, &frame->x, x.low, x.high, plot->width / 90 + 1, false);
	if (status == BR_OK)
		status = br_draw_axis_fit(context, &frame->y, y.low, y.high, 5, true);
	if (status != BR_OK)
		return status;
	describe(plot, n, &x, &y, description, sizeof(description));
	br_draw_frame_open(frame, TITLE, description, 0, 0);
	write_series(frame, ordered, n);
	return BR_OK;
}

BrStatus
br_draw_plot_series(BrContext *context, const BrPlot *plot, const BrPlotPoint *points, int n,
					char **svg)
{
	BrFrame frame = {.svg = {.context = context}, .plot = plot};
	BrStatus status = br_draw_frame_check(context, plot);
	Ordered *ordered;

	*svg = NULL;
	frame.height = plot->height != 0 ? plot->height : 400;
	if (status != BR_OK)
		return status;
	if (n == 0)
	{
		br_draw_frame_empty(&frame, TITLE);
		return br_draw_frame_close(&frame, svg);
	}
	ordered = br_base_alloc_array(context, n, sizeof(Ordered));
	if (ordered == NULL)
		return BR_ERR_MEMORY;
	status = draw(context, &frame, points, n, ordered);
	br_base_free(context, ordered);
	if (status == BR_OK)
		return br_draw_frame_close(&frame, svg);
	br_base_free(context, frame.svg.text);
	return status;
}
