-- plot.sql
--    Results as drawings: one SVG document, which a browser shows as it is.
--
-- UNSAFE in parallel, because a query may call anything.

CREATE FUNCTION plot_series(query text, title text DEFAULT NULL, x_label text DEFAULT NULL, y_label text DEFAULT NULL,
                            width integer DEFAULT 720, height integer DEFAULT NULL)
RETURNS text LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'br_plot_series';
COMMENT ON FUNCTION plot_series(text, text, text, text, integer, integer) IS
'An SVG of lines with bands from a query with the columns x (a number, date or timestamp) and y, and optionally series, lower and upper, run read-only as the caller; NULL in y is a gap, and for an argument but query and width means without it';

CREATE FUNCTION plot_intervals(query text, reference double precision DEFAULT NULL, title text DEFAULT NULL, x_label text DEFAULT NULL,
                               y_label text DEFAULT NULL, width integer DEFAULT 720, height integer DEFAULT NULL)
RETURNS text LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'br_plot_intervals';
COMMENT ON FUNCTION plot_intervals(text, double precision, text, text, text, integer, integer) IS
'An SVG of intervals below each other from a query with the columns label and value, and optionally lower, upper and series, run read-only as the caller; a dashed line stands at reference; NULL in value, lower or upper is not drawn, and for an argument but query and width means without it';

CREATE FUNCTION plot_histogram(query text, bins integer DEFAULT 20, title text DEFAULT NULL, x_label text DEFAULT NULL,
                               y_label text DEFAULT NULL, width integer DEFAULT 720, height integer DEFAULT NULL)
RETURNS text LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'br_plot_histogram';
COMMENT ON FUNCTION plot_histogram(text, integer, text, text, text, integer, integer) IS
'An SVG of bars from a query with the column value, counted into about so many bins, or the columns lower, upper and count, and optionally series, run read-only as the caller; NULL is allowed in series only, and for an argument but query, bins and width means without it';
