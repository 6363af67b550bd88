-- ann.sql
--    The access method bundle_ann and its operator classes, for embeddings and
--    for texts: each has one operator, which orders, and as its support function
--    the distance that the operator gives.

CREATE FUNCTION bundle_ann_handler(internal) RETURNS index_am_handler
LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_ann_handler';
COMMENT ON FUNCTION bundle_ann_handler(internal) IS
'What PostgreSQL calls to learn the functions of the access method bundle_ann';

CREATE ACCESS METHOD bundle_ann TYPE INDEX HANDLER bundle_ann_handler;
COMMENT ON ACCESS METHOD bundle_ann IS
'Nearest rows by embedding: lists of quantised codes, reranked from the vectors in the index';

CREATE OPERATOR FAMILY embedding_cosine_ops USING bundle_ann;
COMMENT ON OPERATOR FAMILY embedding_cosine_ops USING bundle_ann IS 'Nearest embeddings by cosine distance, <=>';
CREATE OPERATOR CLASS embedding_cosine_ops DEFAULT FOR TYPE embedding USING bundle_ann FAMILY embedding_cosine_ops AS
    OPERATOR 1 <=> FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 cosine_distance(embedding, embedding);
COMMENT ON OPERATOR CLASS embedding_cosine_ops USING bundle_ann IS 'Nearest embeddings by cosine distance, <=>';

CREATE OPERATOR FAMILY embedding_ip_ops USING bundle_ann;
COMMENT ON OPERATOR FAMILY embedding_ip_ops USING bundle_ann IS 'Nearest embeddings by negative inner product, <#>';
CREATE OPERATOR CLASS embedding_ip_ops FOR TYPE embedding USING bundle_ann FAMILY embedding_ip_ops AS
    OPERATOR 1 <#> FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 negative_inner_product(embedding, embedding);
COMMENT ON OPERATOR CLASS embedding_ip_ops USING bundle_ann IS 'Nearest embeddings by negative inner product, <#>';

CREATE OPERATOR FAMILY embedding_l2_ops USING bundle_ann;
COMMENT ON OPERATOR FAMILY embedding_l2_ops USING bundle_ann IS 'Nearest embeddings by Euclidean distance, <->';
CREATE OPERATOR CLASS embedding_l2_ops FOR TYPE embedding USING bundle_ann FAMILY embedding_l2_ops AS
    OPERATOR 1 <-> FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 l2_distance(embedding, embedding);
COMMENT ON OPERATOR CLASS embedding_l2_ops USING bundle_ann IS 'Nearest embeddings by Euclidean distance, <->';

-- texts, by their embeddings

CREATE OPERATOR FAMILY text_cosine_ops USING bundle_ann;
COMMENT ON OPERATOR FAMILY text_cosine_ops USING bundle_ann IS 'Nearest texts by cosine distance of their embeddings, <=>';
CREATE OPERATOR CLASS text_cosine_ops DEFAULT FOR TYPE text USING bundle_ann FAMILY text_cosine_ops AS
    OPERATOR 1 <=> FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 text_cosine_distance(text, text);
COMMENT ON OPERATOR CLASS text_cosine_ops USING bundle_ann IS 'Nearest texts by cosine distance of their embeddings, <=>';

CREATE OPERATOR FAMILY text_ip_ops USING bundle_ann;
COMMENT ON OPERATOR FAMILY text_ip_ops USING bundle_ann IS 'Nearest texts by negative inner product of their embeddings, <#>';
CREATE OPERATOR CLASS text_ip_ops FOR TYPE text USING bundle_ann FAMILY text_ip_ops AS
    OPERATOR 1 <#> FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 text_negative_inner_product(text, text);
COMMENT ON OPERATOR CLASS text_ip_ops USING bundle_ann IS 'Nearest texts by negative inner product of their embeddings, <#>';

CREATE OPERATOR FAMILY text_l2_ops USING bundle_ann;
COMMENT ON OPERATOR FAMILY text_l2_ops USING bundle_ann IS 'Nearest texts by Euclidean distance of their embeddings, <->';
CREATE OPERATOR CLASS text_l2_ops FOR TYPE text USING bundle_ann FAMILY text_l2_ops AS
    OPERATOR 1 <-> FOR ORDER BY pg_catalog.float_ops,
    FUNCTION 1 text_l2_distance(text, text);
COMMENT ON OPERATOR CLASS text_l2_ops USING bundle_ann IS 'Nearest texts by Euclidean distance of their embeddings, <->';
