/*
 * br_draw.h
 *	  The door of the draw room: figures as drawings that a browser shows.
 *
 * A drawing is one SVG document in ASCII, complete in itself, and the same for
 * the same numbers on every machine.
 */
#ifndef BR_DRAW_H
#define BR_DRAW_H

#include "core/base/br_base.h"

#define BR_DRAW_PLOT_MIN_SIZE 160
#define BR_DRAW_PLOT_MAX_SIZE 4000
#define BR_DRAW_PLOT_MAX_SERIES 24
#define BR_DRAW_PLOT_MAX_INTERVALS 200
#define BR_DRAW_PLOT_MAX_BINS 1000

/*
 * What all plots have. A plot is one standalone SVG document in ASCII: what is
 * not ASCII is written as character references, so that it survives any
 * encoding. The same input gives the same bytes on every machine. Its colours
 * are told apart by the colour-blind and follow a dark page.
 */
typedef struct BrPlot
{
	const char *title;	 /* UTF-8, as all texts here; NULL: none */
	const char *x_label; /* NULL: none */
	const char *y_label;
	int width;	/* pixels, BR_DRAW_PLOT_MIN_SIZE to _MAX_SIZE */
	int height; /* 0: what suits the plot */
	bool time;	/* x is in seconds since 2000-01-01 00:00 and labelled by the calendar */
	const char *const *series; /* (n_series) names for the legend; NULL: one without a name */
	int n_series;			   /* 1 to BR_DRAW_PLOT_MAX_SERIES */
} BrPlot;

typedef struct BrPlotPoint
{
	int series;
	double x;
	double y;	  /* NaN: a gap in the line */
	double lower; /* of the band; NaN, both: none at this point */
	double upper;
} BrPlotPoint;

typedef struct BrPlotInterval
{
	const char *label;
	int series;
	double value; /* NaN: not drawn */
	double lower; /* may be infinite; NaN, both: none */
	double upper;
} BrPlotInterval;

typedef struct BrPlotBin
{
	int series;
	double lower; /* < upper */
	double upper;
	double count; /* >= 0 */
} BrPlotBin;

/*
 * Each writes *svg, NUL-terminated, which the caller frees with br_base_free;
 * n may be 0, and the plot says so. BR_ERR_ARGUMENT: a size, a series or a bound out of its range,
 * NaN where it has no meaning; the detail names the point. BR_ERR_NUMERIC:
 * numbers beyond 1e100. BR_ERR_MEMORY.
 */

/* A line for each series with its band, points joined in the order of x. */
extern BrStatus br_draw_plot_series(BrContext *context, const BrPlot *plot,
									const BrPlotPoint *points, int n, char **svg);

/*
 * A row for each interval, in the given order, at most
 * BR_DRAW_PLOT_MAX_INTERVALS, and a line at reference where that is not NaN.
 */
extern BrStatus br_draw_plot_intervals(BrContext *context, const BrPlot *plot,
									   const BrPlotInterval *intervals, int n, double reference,
									   char **svg);

/*
 * Bars from 0, those of several series over each other. Where bins are not of
 * one width, a bar's height is its count over its width.
 */
extern BrStatus br_draw_plot_histogram(BrContext *context, const BrPlot *plot,
									   const BrPlotBin *bins, int n, char **svg);

/*
 * Counts values into bins of one round width, about wanted of them (1 to
 * BR_DRAW_PLOT_MAX_BINS) between the least and the greatest, the same for all
 * series. values: (n), finite; series: (n), below n_series. *bins:
 * (n_series, bins of a series), *n_bins in all, empty ones too; the caller frees it.
 */
extern BrStatus br_draw_count_bins(BrContext *context, const double *values, const int *series,
								   int n, int n_series, int wanted, BrPlotBin **bins, int *n_bins);

#endif /* BR_DRAW_H */
