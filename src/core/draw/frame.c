/*
 * frame.c
 *	  What surrounds the data of a plot: its head, style, legend and axes.
 *
 * Colours are classes of one style sheet, so that a dark page gets others. The
 * six of a page are those of Okabe and Ito, darkened where white paper asks for
 * it; further series have the same colours with dashes.
 */
#include <math.h>
#include <string.h>

#include "core/draw/draw_int.h"

#define COLOURS 6
#define MARGIN 16.0
#define TITLE_HEIGHT 30.0
#define SWATCH 18.0
#define LEGEND_GAP 18.0
#define LEGEND_WIDTH 240.0 /* the widest name */

typedef struct Palette
{
	const char *paper;
	const char *text;
	const char *soft;
	const char *grid;
	const char *colours[COLOURS];
} Palette;

static const Palette light = {
	"#ffffff",
	"#1f2328",
	"#59636e",
	"#e1e5ea",
	{"#0072b2", "#d55e00", "#00875f", "#a8479a", "#9a7400", "#5b6570"},
};
static const Palette dark = {
	"#0d1117",
	"#e6edf3",
	"#9aa4af",
	"#2a313a",
	{"#56b4e9", "#f0883e", "#2fc99a", "#e29ac6", "#e6c744", "#aeb8c2"},
};

int
br_draw_frame_colour(int series)
{
	return series % COLOURS;
}

const char *
br_draw_frame_dash(int series)
{
	static const char *const dashes[] = {"", " stroke-dasharray=\"6 3\"",
										 " stroke-dasharray=\"2 3\"",
										 " stroke-dasharray=\"8 3 2 3\""};

	return dashes[series / COLOURS % 4];
}

BrStatus
br_draw_frame_check(BrContext *context, const BrPlot *plot)
{
	if (plot->width < BR_DRAW_PLOT_MIN_SIZE || plot->width > BR_DRAW_PLOT_MAX_SIZE)
		return br_base_fail(context, BR_ERR_ARGUMENT, "The width is %d; it may be %d to %d.",
							plot->width, BR_DRAW_PLOT_MIN_SIZE, BR_DRAW_PLOT_MAX_SIZE);
	if (plot->height != 0 &&
		(plot->height < BR_DRAW_PLOT_MIN_SIZE || plot->height > BR_DRAW_PLOT_MAX_SIZE))
		return br_base_fail(context, BR_ERR_ARGUMENT, "The height is %d; it may be %d to %d.",
							plot->height, BR_DRAW_PLOT_MIN_SIZE, BR_DRAW_PLOT_MAX_SIZE);
	if (plot->n_series < 1 || plot->n_series > BR_DRAW_PLOT_MAX_SERIES)
		return br_base_fail(context, BR_ERR_ARGUMENT, "There are %d series; there may be 1 to %d.",
							plot->n_series, BR_DRAW_PLOT_MAX_SERIES);
	return BR_OK;
}

static bool
is_text(const char *text)
{
	return text != NULL && text[0] != '\0';
}

/* ---- style ---- */

static void
write_palette(BrSvg *svg, const Palette *palette, int n_series)
{
	br_draw_svg_write(svg,
					  ".br-paper{fill:%s}.br-text{fill:%s}.br-soft{fill:%s}.br-grid{stroke:%s}",
					  palette->paper, palette->text, palette->soft, palette->grid);
	br_draw_svg_write(svg, ".br-axis{stroke:%s}.br-mark{stroke:%s}", palette->soft, palette->text);
	for (int i = 0; i < COLOURS && i < n_series; i++)
		br_draw_svg_write(svg, ".br-l%d{stroke:%s}.br-f%d{fill:%s}", i, palette->colours[i], i,
						  palette->colours[i]);
}

static void
open_document(BrFrame *frame, const char *title, const char *description)
{
	BrSvg *svg = &frame->svg;
	int width = frame->plot->width;
	int height = (int) frame->height;

	br_draw_svg_write(svg,
					  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
					  "viewBox=\"0 0 %d %d\" role=\"img\" font-family=\"system-ui, -apple-system, "
					  "Segoe UI, Helvetica, Arial, sans-serif\" font-size=\"12\">\n",
					  width, height, width, height);
	br_draw_svg_write(svg, "<title>%t</title>\n<desc>%t</desc>\n<style>",
					  is_text(frame->plot->title) ? frame->plot->title : title, description);
	write_palette(svg, &light, frame->plot->n_series);
	br_draw_svg_write(svg, "@media (prefers-color-scheme:dark){");
	write_palette(svg, &dark, frame->plot->n_series);
	br_draw_svg_write(svg, "}</style>\n<rect class=\"br-paper\" width=\"%d\" height=\"%d\"/>\n",
					  width, height);
	if (is_text(frame->plot->title))
	{
		br_draw_svg_write(svg,
						  "<text class=\"br-text\" x=\"%n\" y=\"26\" font-size=\"16\" "
						  "font-weight=\"600\">",
						  MARGIN);
		/* at 16 pixels instead of 12 */
		br_draw_svg_write_short(svg, frame->plot->title, (width - 2 * MARGIN) * 0.75);
		br_draw_svg_write(svg, "</text>\n");
	}
}

/* ---- legend ---- */

/*
 * Places names line by line and returns the number of lines; svg NULL only
 * counts them.
 */
static int
flow_legend(const BrPlot *plot, BrSvg *svg, double top)
{
	double widest = fmin(LEGEND_WIDTH, plot->width - 2 * MARGIN - SWATCH - 6);
	double x = MARGIN;
	int line = 0;

	if (plot->series == NULL)
		return 0;
	for (int i = 0; i < plot->n_series; i++)
	{
		double width = fmin(widest, br_draw_svg_text_width(plot->series[i]));
		double y;

		if (x > MARGIN && x + SWATCH + 6 + width > plot->width - MARGIN)
		{
			x = MARGIN;
			line++;
		}
		y = top + line * BR_SVG_LINE + 10;
		if (svg != NULL)
		{
			br_draw_svg_write(svg,
							  "<path class=\"br-l%d\"%s fill=\"none\" stroke-width=\"3\" "
							  "d=\"M%n %nh%n\"/><text class=\"br-text\" x=\"%n\" y=\"%n\">",
							  br_draw_frame_colour(i), br_draw_frame_dash(i), x, y, SWATCH,
							  x + SWATCH + 6, y + 4);
			br_draw_svg_write_short(svg, plot->series[i], widest);
			br_draw_svg_write(svg, "</text>\n");
		}
		x += SWATCH + 6 + width + LEGEND_GAP;
	}
	return line + 1;
}

static double
legend_top(const BrPlot *plot)
{
	return (is_text(plot->title) ? TITLE_HEIGHT : 0) + 8;
}

double
br_draw_frame_top(const BrPlot *plot)
{
	return legend_top(plot) + flow_legend(plot, NULL, 0) * BR_SVG_LINE + 8;
}

double
br_draw_frame_bottom(const BrPlot *plot)
{
	return is_text(plot->x_label) ? 46 : 28;
}

/* ---- axes ---- */

/* From the end on, a label is left out that would touch the one that was kept last. */
static void
write_x_axis(BrFrame *frame)
{
	double ticks[BR_SVG_MAX_TICKS];
	char label[BR_SVG_LABEL_SIZE];
	BrSvg *svg = &frame->svg;
	int n = br_draw_axis_ticks(&frame->x, ticks);
	double limit = frame->plot->width + MARGIN;

	for (int i = n - 1; i >= 0; i--)
	{
		double x = br_draw_axis_pixel(&frame->x, ticks[i]);
		double half;

		br_draw_axis_label(&frame->x, ticks[i], label);
		half = br_draw_svg_text_width(label) / 2;
		if (frame->y.step == 0)
			br_draw_svg_write(svg, "<path class=\"br-grid\" d=\"M%n %nV%n\"/>", x, frame->y.to,
							  frame->y.from);
		br_draw_svg_write(svg, "<path class=\"br-axis\" d=\"M%n %nv5\"/>", x, frame->y.from);
		if (x + half > limit)
			continue;
		br_draw_svg_write(svg,
						  "<text class=\"br-soft\" x=\"%n\" y=\"%n\" text-anchor=\"middle\">%t"
						  "</text>\n",
						  x, frame->y.from + 19, label);
		limit = x - half - 8;
	}
	if (is_text(frame->plot->x_label))
	{
		br_draw_svg_write(svg, "<text class=\"br-text\" x=\"%n\" y=\"%n\" text-anchor=\"middle\">",
						  (frame->x.from + frame->x.to) / 2, frame->height - 10);
		br_draw_svg_write_short(svg, frame->plot->x_label, frame->plot->width - 2 * MARGIN);
		br_draw_svg_write(svg, "</text>\n");
	}
}

static void
write_y_axis(BrFrame *frame)
{
	double ticks[BR_SVG_MAX_TICKS];
	char label[BR_SVG_LABEL_SIZE];
	BrSvg *svg = &frame->svg;
	int n = frame->y.step > 0 ? br_draw_axis_ticks(&frame->y, ticks) : 0;

	for (int i = 0; i < n; i++)
	{
		double y = br_draw_axis_pixel(&frame->y, ticks[i]);

		br_draw_axis_label(&frame->y, ticks[i], label);
		br_draw_svg_write(svg, "<path class=\"br-grid\" d=\"M%n %nH%n\"/>", frame->x.from, y,
						  frame->x.to);
		br_draw_svg_write(svg,
						  "<text class=\"br-soft\" x=\"%n\" y=\"%n\" text-anchor=\"end\">%t"
						  "</text>\n",
						  frame->x.from - 8, y + 4, label);
	}
	if (is_text(frame->plot->y_label))
	{
		double middle = (frame->y.from + frame->y.to) / 2;

		br_draw_svg_write(svg,
						  "<text class=\"br-text\" transform=\"translate(16 %n) rotate(-90)\" "
						  "text-anchor=\"middle\">",
						  middle);
		br_draw_svg_write_short(svg, frame->plot->y_label, frame->y.from - frame->y.to);
		br_draw_svg_write(svg, "</text>\n");
	}
}

/* Room at the right that the last label of x needs, given where the axis begins. */
static double
overhang(const BrFrame *frame)
{
	double ticks[BR_SVG_MAX_TICKS];
	char label[BR_SVG_LABEL_SIZE];
	const BrAxis *x = &frame->x;
	int n = br_draw_axis_ticks(x, ticks);
	double beyond;

	if (n == 0)
		return 0;
	br_draw_axis_label(x, ticks[n - 1], label);
	beyond =
		(x->high - ticks[n - 1]) / (x->high - x->low) * (frame->plot->width - MARGIN - x->from);
	return br_draw_svg_text_width(label) / 2 + 4 - beyond;
}

/* The widest label of y. */
static double
label_room(const BrAxis *axis)
{
	double ticks[BR_SVG_MAX_TICKS];
	char label[BR_SVG_LABEL_SIZE];
	double widest = 0;
	int n = br_draw_axis_ticks(axis, ticks);

	for (int i = 0; i < n; i++)
	{
		br_draw_axis_label(axis, ticks[i], label);
		widest = fmax(widest, br_draw_svg_text_width(label));
	}
	return widest + MARGIN;
}

void
br_draw_frame_open(BrFrame *frame, const char *title, const char *description, double left,
				   double right)
{
	const BrPlot *plot = frame->plot;
	double label = is_text(plot->y_label) ? 20 : 0;

	if (left == 0)
		left = label_room(&frame->y) + 6;
	frame->x.from = left + label;
	frame->x.to = plot->width - right - fmax(MARGIN, right > 0 ? 0 : overhang(frame));
	frame->y.from = frame->height - br_draw_frame_bottom(plot);
	frame->y.to = br_draw_frame_top(plot);
	/* a legend may leave little: then it is covered rather than turned upside down */
	frame->x.to = fmax(frame->x.to, frame->x.from + 20);
	frame->y.to = fmin(frame->y.to, frame->y.from - 20);
	open_document(frame, title, description);
	flow_legend(plot, &frame->svg, legend_top(plot));
	write_y_axis(frame);
	write_x_axis(frame);
	br_draw_svg_write(&frame->svg, "<path class=\"br-axis\" d=\"M%n %nH%n\"/>\n", frame->x.from,
					  frame->y.from, frame->x.to);
}

void
br_draw_frame_empty(BrFrame *frame, const char *title)
{
	open_document(frame, title, "No rows.");
	br_draw_svg_write(&frame->svg,
					  "<text class=\"br-soft\" x=\"%n\" y=\"%n\" text-anchor=\"middle\">No rows"
					  "</text>\n",
					  frame->plot->width / 2.0, frame->height / 2);
}

BrStatus
br_draw_frame_close(BrFrame *frame, char **text)
{
	br_draw_svg_write(&frame->svg, "</svg>\n");
	if (frame->svg.failed)
	{
		br_base_free(frame->svg.context, frame->svg.text);
		return br_base_fail(frame->svg.context, BR_ERR_MEMORY, "There is no memory for the plot.");
	}
	*text = frame->svg.text;
	return BR_OK;
}
