-- diversify.sql
--    What to show together, so that it does not repeat itself.

CREATE FUNCTION diversify(catalog text, items text[], quality double precision[] DEFAULT NULL, k int DEFAULT 10,
                          theta double precision DEFAULT 0.5, method text DEFAULT 'dpp')
RETURNS TABLE (rank int, item_id text)
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 10
AS 'MODULE_PATHNAME', 'br_diversify';
COMMENT ON FUNCTION diversify(text, text[], double precision[], int, double precision, text) IS
'The k of at most 2,000 items, in the order they are picked, that are good by quality (one number an item; NULL: all alike) and whose texts do not repeat one another: each pick adds most to theta * sum of quality + (1 - theta) * diversity of all picks. method dpp: diversity is ln det of the cosines of their embeddings (the greedy choice of a determinantal point process); coverage: the sum over all given items of the cosine with the nearest pick, at least 0. theta from 0, diversity alone, to 1, quality alone. An item without text is like no other; where nothing new is left, the rest follows by quality. An error for an item that the catalog does not have or the caller may not see, one named twice, and where an argument other than quality is NULL';
