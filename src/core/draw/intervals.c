/*
 * intervals.c
 *	  Intervals below each other, each with its label and its numbers: what an
 *	  experiment or several estimators say.
 */
#include <math.h>
#include <stdio.h>

#include "core/draw/draw_int.h"

#define ROW 30.0
#define TITLE "Intervals"

static BrStatus
check_interval(BrContext *context, const BrPlot *plot, const BrPlotInterval *interval, int number)
{
	if (interval->series < 0 || interval->series >= plot->n_series)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Interval %d is of series %d.", number,
							interval->series);
	if (isinf(interval->value))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The value of interval %d is %g.", number,
							interval->value);
	if (interval->lower > interval->upper || isnan(interval->lower) != isnan(interval->upper))
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"Interval %d has the lower bound %g and the upper bound %g.", number,
							interval->lower, interval->upper);
	return BR_OK;
}

static void
widen(double *low, double *high, double value)
{
	if (isfinite(value))
	{
		*low = fmin(*low, value);
		*high = fmax(*high, value);
	}
}

/* The axis, with room at both ends for the arrows of intervals without an end. */
static BrStatus
fit_values(BrContext *context, BrFrame *frame, const BrPlotInterval *intervals, int n,
		   double reference)
{
	double low = INFINITY;
	double high = -INFINITY;
	double margin;

	widen(&low, &high, reference);
	for (int i = 0; i < n; i++)
	{
		BrStatus status = check_interval(context, frame->plot, &intervals[i], i + 1);

		if (status != BR_OK)
			return status;
		widen(&low, &high, intervals[i].value);
		widen(&low, &high, intervals[i].lower);
		widen(&low, &high, intervals[i].upper);
	}
	if (low > high)
		low = high = 0;
	margin = 0.05 * (high - low);
	return br_draw_axis_fit(context, &frame->x, low - margin, high + margin,
							frame->plot->width / 120 + 1, false);
}

/* "0.12 [0.08, 0.16]" */
static void
format_interval(const BrPlotInterval *interval, int decimals, char *text, size_t size)
{
	char value[BR_SVG_LABEL_SIZE] = "";
	char lower[BR_SVG_LABEL_SIZE];
	char upper[BR_SVG_LABEL_SIZE];

	if (!isnan(interval->value))
		br_draw_svg_number(interval->value, decimals, value);
	br_draw_svg_number(interval->lower, decimals, lower);
	br_draw_svg_number(interval->upper, decimals, upper);
	if (isnan(interval->lower))
		snprintf(text, size, "%s", value);
	else
		snprintf(text, size, "%s%s[%s, %s]", value, value[0] != '\0' ? " " : "", lower, upper);
}

/* An end of an interval: a cap, or an arrow at the end of the axis. */
static void
write_end(BrFrame *frame, double value, double y, double direction)
{
	double end = direction < 0 ? frame->x.from : frame->x.to;

	if (isfinite(value))
		br_draw_svg_write(&frame->svg, "M%n %nv10", br_draw_axis_pixel(&frame->x, value), y - 5);
	else
		br_draw_svg_write(&frame->svg, "M%n %nL%n %nL%n %n", end - 6 * direction, y - 5, end, y,
						  end - 6 * direction, y + 5);
}

static double
end_pixel(const BrFrame *frame, double value)
{
	if (isfinite(value))
		return br_draw_axis_pixel(&frame->x, value);
	return value < 0 ? frame->x.from : frame->x.to;
}

static void
write_row(BrFrame *frame, const BrPlotInterval *interval, double y, double label_room,
		  const char *numbers)
{
	BrSvg *svg = &frame->svg;
	int colour = br_draw_frame_colour(interval->series);

	br_draw_svg_write(svg,
					  "<g><title>%t: %t</title><text class=\"br-text\" x=\"%n\" y=\"%n\" "
					  "text-anchor=\"end\">",
					  interval->label, numbers, frame->x.from - 12, y + 4);
	br_draw_svg_write_short(svg, interval->label, label_room);
	br_draw_svg_write(svg, "</text>");
	if (!isnan(interval->lower))
	{
		br_draw_svg_write(svg,
						  "<path class=\"br-l%d\" fill=\"none\" stroke-width=\"2\" d=\"M%n %nH%n",
						  colour, end_pixel(frame, interval->lower), y,
						  end_pixel(frame, interval->upper));
		write_end(frame, interval->lower, y, -1);
		write_end(frame, interval->upper, y, 1);
		br_draw_svg_write(svg, "\"/>");
	}
	if (!isnan(interval->value))
		br_draw_svg_write(svg, "<circle class=\"br-f%d\" cx=\"%n\" cy=\"%n\" r=\"5\"/>", colour,
						  br_draw_axis_pixel(&frame->x, interval->value), y);
	br_draw_svg_write(svg,
					  "<text class=\"br-soft\" x=\"%n\" y=\"%n\" text-anchor=\"end\">%t</text>"
					  "</g>\n",
					  frame->plot->width - 16.0, y + 4, numbers);
}

static void
draw(BrFrame *frame, const BrPlotInterval *intervals, int n, double reference)
{
	char numbers[4 * BR_SVG_LABEL_SIZE];
	char description[128];
	double labels = 0;
	double widest = 0;
	double row;

	for (int i = 0; i < n; i++)
	{
		format_interval(&intervals[i], frame->x.decimals + 1, numbers, sizeof(numbers));
		widest = fmax(widest, br_draw_svg_text_width(numbers));
		labels = fmax(labels, br_draw_svg_text_width(intervals[i].label));
	}
	labels = fmin(labels, 0.35 * frame->plot->width);
	snprintf(description, sizeof(description), "%d intervals; their values are in the rows.", n);
	br_draw_frame_open(frame, TITLE, description, labels + 28, widest + 12);
	if (!isnan(reference))
		br_draw_svg_write(&frame->svg,
						  "<path class=\"br-mark\" stroke-dasharray=\"4 3\" d=\"M%n %nV%n\"/>\n",
						  br_draw_axis_pixel(&frame->x, reference), frame->y.to, frame->y.from);
	row = (frame->y.from - frame->y.to) / n;
	for (int i = 0; i < n; i++)
	{
		format_interval(&intervals[i], frame->x.decimals + 1, numbers, sizeof(numbers));
		write_row(frame, &intervals[i], frame->y.to + (i + 0.5) * row, labels, numbers);
	}
}

BrStatus
br_draw_plot_intervals(BrContext *context, const BrPlot *plot, const BrPlotInterval *intervals,
					   int n, double reference, char **svg)
{
	BrFrame frame = {.svg = {.context = context}, .plot = plot};
	BrStatus status = br_draw_frame_check(context, plot);

	*svg = NULL;
	if (status != BR_OK)
		return status;
	if (n > BR_DRAW_PLOT_MAX_INTERVALS)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There are %d intervals; there may be %d.", n,
							BR_DRAW_PLOT_MAX_INTERVALS);
	frame.height = plot->height;
	if (plot->height == 0)
		frame.height =
			ceil(br_draw_frame_top(plot) + fmax(n, 1) * ROW + br_draw_frame_bottom(plot) + 4);
	if (frame.height < BR_DRAW_PLOT_MIN_SIZE && n == 0)
		frame.height = BR_DRAW_PLOT_MIN_SIZE;
	if (n == 0)
		br_draw_frame_empty(&frame, TITLE);
	else
	{
		if (isinf(reference))
			return br_base_fail(context, BR_ERR_ARGUMENT, "The reference is %g.", reference);
		status = fit_values(context, &frame, intervals, n, reference);
		if (status != BR_OK)
			return status;
		draw(&frame, intervals, n, reference);
	}
	return br_draw_frame_close(&frame, svg);
}
