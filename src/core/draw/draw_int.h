/*
 * draw_int.h
 *	  What the files of drawings share: a text that grows, an axis, a frame.
 */
#ifndef BR_DRAW_INT_H
#define BR_DRAW_INT_H

#include "core/draw/br_draw.h"

#define BR_SVG_LABEL_SIZE 48
#define BR_SVG_MAX_TICKS 32
#define BR_SVG_LARGEST 1e100

/* Text at the size of labels: pixels of a narrow and of a wide character, and of a line. */
#define BR_SVG_NARROW 6.7
#define BR_SVG_WIDE 12.0
#define BR_SVG_LINE 20.0

/* A text that grows; once memory has run out it takes nothing more. */
typedef struct BrSvg
{
	BrContext *context;
	char *text;
	size_t length;
	size_t room;
	bool failed;
} BrSvg;

/*
 * Adds format, in which %s is a string as it is, %t a text to be escaped, %n a
 * double as a coordinate (two decimals at most), %d an int.
 */
extern void br_draw_svg_write(BrSvg *svg, const char *format, ...);

/* Text to be escaped, at most pixels wide; what does not fit is replaced by an ellipsis. */
extern void br_draw_svg_write_short(BrSvg *svg, const char *text, double pixels);

/* How wide a text is, by a rule of thumb. */
extern double br_draw_svg_text_width(const char *text);

/* value with decimals, thousands in groups; powers of ten where that is long. */
extern void br_draw_svg_number(double value, int decimals, char label[BR_SVG_LABEL_SIZE]);

typedef enum BrAxisUnit
{
	BR_AXIS_NUMBER,
	BR_AXIS_SECOND,
	BR_AXIS_MONTH
} BrAxisUnit;

typedef struct BrAxis
{
	double low; /* < high */
	double high;
	BrAxisUnit unit;
	double step;  /* between ticks, in the unit */
	int decimals; /* of a tick */
	double from;  /* pixel of low */
	double to;	  /* pixel of high */
} BrAxis;

/*
 * An axis of about `wanted` steps from low to high, which are widened where
 * they are the same. round: its ends are ticks. BR_ERR_NUMERIC: not finite, or
 * beyond BR_SVG_LARGEST.
 */
extern BrStatus br_draw_axis_fit(BrContext *context, BrAxis *axis, double low, double high,
								 int wanted, bool round);
extern BrStatus br_draw_axis_fit_time(BrContext *context, BrAxis *axis, double low, double high,
									  int wanted);
extern int br_draw_axis_ticks(const BrAxis *axis, double ticks[BR_SVG_MAX_TICKS]);
extern void br_draw_axis_label(const BrAxis *axis, double tick, char label[BR_SVG_LABEL_SIZE]);
extern double br_draw_axis_pixel(const BrAxis *axis, double value);

/* The smallest of 1, 2, 5 times a power of ten that is at least value > 0. */
extern double br_draw_axis_round_step(double value);

/* "2025-03-14", or with the time of day where that is not midnight. */
extern void br_draw_axis_moment(double seconds, char label[BR_SVG_LABEL_SIZE]);

typedef struct BrFrame
{
	BrSvg svg;
	const BrPlot *plot;
	double height;
	BrAxis x;
	BrAxis y; /* step 0: none, rows instead of an axis */
} BrFrame;

/* Checks what all plots have. */
extern BrStatus br_draw_frame_check(BrContext *context, const BrPlot *plot);

/*
 * Writes everything but data: x and y, fitted, get their pixels between
 * left and right pixels of room (left 0: what the labels of y need). title
 * stands for a missing one; description is for who cannot see.
 */
extern void br_draw_frame_open(BrFrame *frame, const char *title, const char *description,
							   double left, double right);

/* "No rows", in the middle of a plot without axes. */
extern void br_draw_frame_empty(BrFrame *frame, const char *title);

/* Ends the document and hands it out, or frees it and says BR_ERR_MEMORY. */
extern BrStatus br_draw_frame_close(BrFrame *frame, char **text);

/* Pixels above the area that holds data: title and legend. */
extern double br_draw_frame_top(const BrPlot *plot);
extern double br_draw_frame_bottom(const BrPlot *plot);

/* Classes of a series: its number of colour, and the attribute that tells apart those of one colour. */
extern int br_draw_frame_colour(int series);
extern const char *br_draw_frame_dash(int series);

#endif /* BR_DRAW_INT_H */
