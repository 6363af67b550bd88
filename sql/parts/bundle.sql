-- bundle.sql
--    What belongs together: scores of item pairs, items bought together, items
--    that read alike.

CREATE FUNCTION pair_scores(together bigint, left_count bigint, right_count bigint, baskets bigint,
                            shrinkage double precision DEFAULT 10,
                            OUT confidence double precision, OUT lift double precision,
                            OUT pmi double precision, OUT npmi double precision,
                            OUT jaccard double precision, OUT shrunk_cosine double precision)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_pair_scores';
COMMENT ON FUNCTION pair_scores(bigint, bigint, bigint, bigint, double precision) IS
'How strongly two items belong together: of all baskets, left_count hold the one, right_count the other, together both. confidence = together / left_count; lift = baskets * together / (left_count * right_count), 1 means independent; pmi = ln lift, -Infinity where never together; npmi = pmi scaled to [-1, 1]; jaccard = together / baskets with either; shrunk_cosine = together / sqrt(left_count * right_count) * together / (together + shrinkage), shrinkage in pseudo-baskets. NULL if any argument is NULL';

CREATE FUNCTION bought_together(catalog text, items text[], k int DEFAULT 10, measure text DEFAULT 'confidence')
RETURNS TABLE (rank int, item_id text, together bigint, confidence double precision, lift double precision,
               pmi double precision, npmi double precision, jaccard double precision,
               shrunk_cosine double precision)
LANGUAGE C STABLE PARALLEL UNSAFE COST 1000 ROWS 10
AS 'MODULE_PATHNAME', 'br_bought_together';
COMMENT ON FUNCTION bought_together(text, text[], int, text) IS
'The k items most strongly bought together with the given ones, as of the last refresh, active or not, as long as the source holds them and the caller may see them; ranked by a measure of pair_scores (shrinkage 10), then together, then id. For several items: scores are means over those of them that are in any basket, together is the sum. No rows where items is empty; an error where an argument is NULL';

CREATE TYPE similar_item AS (rank int, item_id text, similarity double precision);
COMMENT ON TYPE similar_item IS 'A row of similar_items';
COMMENT ON COLUMN similar_item.rank IS '1 for the nearest';
COMMENT ON COLUMN similar_item.item_id IS 'Id of the item';
COMMENT ON COLUMN similar_item.similarity IS 'Cosine of the embeddings, in [-1, 1]';

CREATE FUNCTION similar_items(catalog text, item_id text DEFAULT NULL, query text DEFAULT NULL, k int DEFAULT 10)
RETURNS SETOF similar_item
LANGUAGE C STABLE PARALLEL UNSAFE COST 10000 ROWS 10
AS 'MODULE_PATHNAME', 'br_similar_items';
COMMENT ON FUNCTION similar_items(text, text, text, int) IS
'The k active items whose text is nearest to that of an item, or to a query: give one of the two, the other stays NULL. similarity: cosine of the embeddings, in [-1, 1]. By exact search over all items that the caller may see. An error where catalog or k is NULL';
