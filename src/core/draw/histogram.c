/*
 * histogram.c
 *	  How numbers are distributed, and how far several distributions overlap:
 *	  bars of one series see-through, lines around those of several.
 */
#include <math.h>
#include <stdio.h>

#include "core/draw/draw_int.h"

#define TITLE "Histogram"
#define SAME_WIDTH 1e-6

static BrStatus
check_bin(BrContext *context, const BrPlot *plot, const BrPlotBin *bin, int number)
{
	if (bin->series < 0 || bin->series >= plot->n_series)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Bin %d is of series %d.", number,
							bin->series);
	if (!isfinite(bin->lower) || !isfinite(bin->upper) || bin->lower >= bin->upper)
		return br_base_fail(context, BR_ERR_ARGUMENT, "Bin %d reaches from %g to %g.", number,
							bin->lower, bin->upper);
	if (!isfinite(bin->count) || bin->count < 0)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The count of bin %d is %g.", number,
							bin->count);
	return BR_OK;
}

typedef struct Extent
{
	double low;
	double high;
	double top;		/* the highest bar */
	bool densities; /* bins of several widths */
} Extent;

static double
bar_height(const BrPlotBin *bin, bool densities)
{
	return densities ? bin->count / (bin->upper - bin->lower) : bin->count;
}

static BrStatus
measure(BrContext *context, const BrPlot *plot, const BrPlotBin *bins, int n, Extent *extent)
{
	double narrowest = INFINITY;
	double widest = 0;

	*extent = (Extent){.low = INFINITY, .high = -INFINITY};
	for (int i = 0; i < n; i++)
	{
		BrStatus status = check_bin(context, plot, &bins[i], i + 1);

		if (status != BR_OK)
			return status;
		extent->low = fmin(extent->low, bins[i].lower);
		extent->high = fmax(extent->high, bins[i].upper);
		narrowest = fmin(narrowest, bins[i].upper - bins[i].lower);
		widest = fmax(widest, bins[i].upper - bins[i].lower);
	}
	extent->densities = widest > narrowest * (1 + SAME_WIDTH);
	for (int i = 0; i < n; i++)
		extent->top = fmax(extent->top, bar_height(&bins[i], extent->densities));
	return BR_OK;
}

static void
write_bars(BrFrame *frame, const BrPlotBin *bins, int n, const Extent *extent)
{
	bool single = frame->plot->n_series == 1;
	double base = br_draw_axis_pixel(&frame->y, 0);

	for (int series = 0; series < frame->plot->n_series; series++)
	{
		int colour = br_draw_frame_colour(series);

		br_draw_svg_write(&frame->svg, "<path class=\"br-f%d br-l%d\"%s fill-opacity=\"%s\" d=\"",
						  colour, colour, br_draw_frame_dash(series), single ? "0.75" : "0.3");
		for (int i = 0; i < n; i++)
		{
			double from = br_draw_axis_pixel(&frame->x, bins[i].lower);
			double to = br_draw_axis_pixel(&frame->x, bins[i].upper);
			double top = br_draw_axis_pixel(&frame->y, bar_height(&bins[i], extent->densities));

			if (bins[i].series == series && bins[i].count > 0)
				br_draw_svg_write(&frame->svg, "M%n %nV%nH%nV%nZ", from, base, top, to, base);
		}
		br_draw_svg_write(&frame->svg, "\"/>\n");
	}
}

static BrStatus
draw(BrContext *context, BrFrame *frame, BrPlot *plot, const BrPlotBin *bins, int n)
{
	char description[128];
	Extent extent;
	BrStatus status = measure(context, plot, bins, n, &extent);

	if (status == BR_OK)
		status = br_draw_axis_fit(context, &frame->x, extent.low, extent.high, plot->width / 90 + 1,
								  false);
	if (status == BR_OK)
		status = br_draw_axis_fit(context, &frame->y, 0, extent.top > 0 ? extent.top : 1, 5, true);
	if (status != BR_OK)
		return status;
	if (plot->y_label == NULL)
		plot->y_label = extent.densities ? "count per unit" : "count";
	snprintf(description, sizeof(description),
			 "%d series of %d bins; horizontally %.6g to %.6g, the highest bar is %.6g.",
			 plot->n_series, n, extent.low, extent.high, extent.top);
	br_draw_frame_open(frame, TITLE, description, 0, 0);
	write_bars(frame, bins, n, &extent);
	return BR_OK;
}

BrStatus
br_draw_plot_histogram(BrContext *context, const BrPlot *plot, const BrPlotBin *bins, int n,
					   char **svg)
{
	BrPlot labelled = *plot;
	BrFrame frame = {.svg = {.context = context}, .plot = &labelled};
	BrStatus status = br_draw_frame_check(context, plot);

	*svg = NULL;
	frame.height = plot->height != 0 ? plot->height : 320;
	if (status != BR_OK)
		return status;
	if (n == 0)
		br_draw_frame_empty(&frame, TITLE);
	else
		status = draw(context, &frame, &labelled, bins, n);
	if (status == BR_OK)
		return br_draw_frame_close(&frame, svg);
	br_base_free(context, frame.svg.text);
	return status;
}

BrStatus
br_draw_count_bins(BrContext *context, const double *values, const int *series, int n, int n_series,
				   int wanted, BrPlotBin **bins, int *n_bins)
{
	double low = INFINITY;
	double high = -INFINITY;
	double step;
	BrAxis axis;
	BrStatus status;
	int each;

	*bins = NULL;
	*n_bins = 0;
	if (wanted < 1 || wanted > BR_DRAW_PLOT_MAX_BINS)
		return br_base_fail(context, BR_ERR_ARGUMENT,
							"There shall be %d bins; there may be 1 to %d.", wanted,
							BR_DRAW_PLOT_MAX_BINS);
	for (int i = 0; i < n; i++)
	{
		if (!isfinite(values[i]))
			return br_base_fail(context, BR_ERR_ARGUMENT, "Value %d is %g.", i + 1, values[i]);
		low = fmin(low, values[i]);
		high = fmax(high, values[i]);
	}
	if (n == 0)
		return BR_OK;
	status = br_draw_axis_fit(context, &axis, low, high, wanted, true);
	if (status != BR_OK)
		return status;
	step = axis.step;
	each = (int) fmax(1, round((axis.high - axis.low) / step));
	*bins = br_base_alloc_array(context, (size_t) each * n_series, sizeof(BrPlotBin));
	if (*bins == NULL)
		return BR_ERR_MEMORY;
	*n_bins = each * n_series;
	for (int i = 0; i < *n_bins; i++)
		(*bins)[i] = (BrPlotBin){.series = i / each,
								 .lower = axis.low + i % each * step,
								 .upper = axis.low + (i % each + 1) * step};
	for (int i = 0; i < n; i++)
	{
		/* the greatest value belongs to the last bin, and an edge to the bin that it begins */
		int bin = (int) fmin(each - 1, fmax(0, floor((values[i] - axis.low) / step + 1e-9)));

		(*bins)[series[i] * each + bin].count++;
	}
	return BR_OK;
}
