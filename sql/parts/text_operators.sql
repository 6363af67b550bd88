-- text_operators.sql
--    Distances between texts by their meaning.

CREATE FUNCTION text_cosine_distance(text, text) RETURNS double precision
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'br_text_cosine_distance';
COMMENT ON FUNCTION text_cosine_distance(text, text) IS
'Cosine distance of the embeddings of two texts under bundle_rec.default_model, or the only model there is; NULL if an argument is NULL';

CREATE FUNCTION text_negative_inner_product(text, text) RETURNS double precision
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'br_text_negative_inner_product';
COMMENT ON FUNCTION text_negative_inner_product(text, text) IS
'Negative inner product of the embeddings of two texts under bundle_rec.default_model, or the only model there is; NULL if an argument is NULL';

CREATE FUNCTION text_l2_distance(text, text) RETURNS double precision
LANGUAGE C STABLE STRICT PARALLEL SAFE COST 100000 AS 'MODULE_PATHNAME', 'br_text_l2_distance';
COMMENT ON FUNCTION text_l2_distance(text, text) IS
'Euclidean distance of the embeddings of two texts under bundle_rec.default_model, or the only model there is; NULL if an argument is NULL';

CREATE OPERATOR <=> (LEFTARG = text, RIGHTARG = text, FUNCTION = text_cosine_distance, COMMUTATOR = <=>);
COMMENT ON OPERATOR <=> (text, text) IS 'Cosine distance of the texts'' embeddings';
CREATE OPERATOR <#> (LEFTARG = text, RIGHTARG = text, FUNCTION = text_negative_inner_product, COMMUTATOR = <#>);
COMMENT ON OPERATOR <#> (text, text) IS 'Negative inner product of the texts'' embeddings';
CREATE OPERATOR <-> (LEFTARG = text, RIGHTARG = text, FUNCTION = text_l2_distance, COMMUTATOR = <->);
COMMENT ON OPERATOR <-> (text, text) IS 'Euclidean distance of the texts'' embeddings';
