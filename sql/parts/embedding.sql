-- embedding.sql
--    The type embedding: half-precision vectors, their casts, distances,
--    arithmetic, order and aggregates.

CREATE TYPE embedding;

CREATE FUNCTION embedding_in(cstring, oid, integer) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_in';
COMMENT ON FUNCTION embedding_in(cstring, oid, integer) IS
'Reads the text form of an embedding, [0.1,0.2]; each number is rounded to the nearest half-precision number';

CREATE FUNCTION embedding_out(embedding) RETURNS cstring
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_out';
COMMENT ON FUNCTION embedding_out(embedding) IS
'Text form of an embedding: each component as the shortest decimal that reads back as the same value; NULL if the embedding is NULL';

CREATE FUNCTION embedding_recv(internal, oid, integer) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_recv';
COMMENT ON FUNCTION embedding_recv(internal, oid, integer) IS
'Reads the binary form of an embedding: int16 dimensions, int16 0, one IEEE half per component, all in network byte order';

CREATE FUNCTION embedding_send(embedding) RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_send';
COMMENT ON FUNCTION embedding_send(embedding) IS
'Binary form of an embedding: int16 dimensions, int16 0, one IEEE half per component, all in network byte order; NULL if the embedding is NULL';

CREATE FUNCTION embedding_typmod_in(cstring[]) RETURNS integer
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_typmod_in';
COMMENT ON FUNCTION embedding_typmod_in(cstring[]) IS
'Type modifier of embedding(n): the number of dimensions, 1 to 16000; NULL if the argument is NULL';

-- out of line when large, but never compressed: halves of an embedding hardly shrink
CREATE TYPE embedding (
    INPUT = embedding_in,
    OUTPUT = embedding_out,
    RECEIVE = embedding_recv,
    SEND = embedding_send,
    TYPMOD_IN = embedding_typmod_in,
    INTERNALLENGTH = VARIABLE,
    ALIGNMENT = int4,
    STORAGE = external
);
COMMENT ON TYPE embedding IS
'A vector of 1 to 16000 half-precision components, none of them NaN or infinite; embedding(n) has n dimensions. 8 bytes and 2 for each dimension';

-- casts

CREATE FUNCTION embedding(embedding, integer, boolean) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_coerce';
COMMENT ON FUNCTION embedding(embedding, integer, boolean) IS
'The embedding itself if it has the declared dimensions, else an error; NULL if an argument is NULL';

CREATE CAST (embedding AS embedding) WITH FUNCTION embedding(embedding, integer, boolean) AS IMPLICIT;
COMMENT ON CAST (embedding AS embedding) IS 'Checks the number of dimensions that embedding(n) declares';

CREATE FUNCTION embedding(real[], integer, boolean) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_from_array';
COMMENT ON FUNCTION embedding(real[], integer, boolean) IS
'Embedding with the elements of an array, rounded to half precision, and with the declared dimensions if any are (else -1); an error where an element is NULL; NULL if an argument is NULL';

CREATE FUNCTION embedding(double precision[], integer, boolean) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_from_array';
COMMENT ON FUNCTION embedding(double precision[], integer, boolean) IS
'Embedding with the elements of an array, rounded to half precision, and with the declared dimensions if any are (else -1); an error where an element is NULL; NULL if an argument is NULL';

CREATE FUNCTION embedding(integer[], integer, boolean) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_from_array';
COMMENT ON FUNCTION embedding(integer[], integer, boolean) IS
'Embedding with the elements of an array, rounded to half precision, and with the declared dimensions if any are (else -1); an error where an element is NULL; NULL if an argument is NULL';

CREATE FUNCTION embedding(numeric[], integer, boolean) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_from_array';
COMMENT ON FUNCTION embedding(numeric[], integer, boolean) IS
'Embedding with the elements of an array, rounded to half precision, and with the declared dimensions if any are (else -1); an error where an element is NULL; NULL if an argument is NULL';

CREATE CAST (real[] AS embedding) WITH FUNCTION embedding(real[], integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (real[] AS embedding) IS 'Rounds each element to half precision; NULL elements are an error';
CREATE CAST (double precision[] AS embedding)
    WITH FUNCTION embedding(double precision[], integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (double precision[] AS embedding) IS 'Rounds each element to half precision; NULL elements are an error';
CREATE CAST (integer[] AS embedding) WITH FUNCTION embedding(integer[], integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (integer[] AS embedding) IS 'Rounds each element to half precision; NULL elements are an error';
CREATE CAST (numeric[] AS embedding) WITH FUNCTION embedding(numeric[], integer, boolean) AS ASSIGNMENT;
COMMENT ON CAST (numeric[] AS embedding) IS 'Rounds each element to half precision; NULL elements are an error';

CREATE FUNCTION real_array(embedding) RETURNS real[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_to_reals';
COMMENT ON FUNCTION real_array(embedding) IS 'Components of an embedding, exactly; NULL if it is NULL';

CREATE FUNCTION double_array(embedding) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_to_doubles';
COMMENT ON FUNCTION double_array(embedding) IS 'Components of an embedding, exactly; NULL if it is NULL';

CREATE CAST (embedding AS real[]) WITH FUNCTION real_array(embedding) AS ASSIGNMENT;
COMMENT ON CAST (embedding AS real[]) IS 'Components of an embedding, exactly';
CREATE CAST (embedding AS double precision[]) WITH FUNCTION double_array(embedding) AS ASSIGNMENT;
COMMENT ON CAST (embedding AS double precision[]) IS 'Components of an embedding, exactly';

-- measures; the price of products is that of some hundred dimensions

CREATE FUNCTION dims(embedding) RETURNS integer
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_dims';
COMMENT ON FUNCTION dims(embedding) IS 'Number of dimensions, 1 to 16000; NULL if the embedding is NULL';

CREATE FUNCTION l2_norm(embedding) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_l2_norm';
COMMENT ON FUNCTION l2_norm(embedding) IS 'Euclidean length; NULL if the embedding is NULL';

CREATE FUNCTION l2_normalize(embedding) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_l2_normalize';
COMMENT ON FUNCTION l2_normalize(embedding) IS
'The embedding scaled to Euclidean length 1, within half precision; the zero embedding stays zero; NULL if the embedding is NULL';

CREATE FUNCTION cosine_distance(embedding, embedding) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'br_embedding_cosine_distance';
COMMENT ON FUNCTION cosine_distance(embedding, embedding) IS
'1 minus the cosine of the angle, in [0, 2]; 1 where an embedding is zero; NULL if an argument is NULL';

CREATE FUNCTION inner_product(embedding, embedding) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'br_embedding_inner_product';
COMMENT ON FUNCTION inner_product(embedding, embedding) IS
'Sum of the products of the components; NULL if an argument is NULL';

CREATE FUNCTION negative_inner_product(embedding, embedding) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'br_embedding_negative_inner_product';
COMMENT ON FUNCTION negative_inner_product(embedding, embedding) IS
'The inner product with its sign changed, so that the most similar sorts first; NULL if an argument is NULL';

CREATE FUNCTION l2_distance(embedding, embedding) RETURNS double precision
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'br_embedding_l2_distance';
COMMENT ON FUNCTION l2_distance(embedding, embedding) IS
'Euclidean distance, at least 0; NULL if an argument is NULL';

CREATE OPERATOR <=> (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = cosine_distance, COMMUTATOR = <=>);
COMMENT ON OPERATOR <=> (embedding, embedding) IS 'Cosine distance';
CREATE OPERATOR <#> (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = negative_inner_product, COMMUTATOR = <#>);
COMMENT ON OPERATOR <#> (embedding, embedding) IS 'Negative inner product';
CREATE OPERATOR <-> (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = l2_distance, COMMUTATOR = <->);
COMMENT ON OPERATOR <-> (embedding, embedding) IS 'Euclidean distance';

-- arithmetic

CREATE FUNCTION embedding_add(embedding, embedding) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_add';
COMMENT ON FUNCTION embedding_add(embedding, embedding) IS
'Sum, component by component, rounded to half precision; NULL if an argument is NULL';

CREATE FUNCTION embedding_subtract(embedding, embedding) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_subtract';
COMMENT ON FUNCTION embedding_subtract(embedding, embedding) IS
'Difference, component by component, rounded to half precision; NULL if an argument is NULL';

CREATE FUNCTION embedding_multiply(embedding, embedding) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_multiply';
COMMENT ON FUNCTION embedding_multiply(embedding, embedding) IS
'Product, component by component, rounded to half precision; NULL if an argument is NULL';

CREATE OPERATOR + (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_add, COMMUTATOR = +);
COMMENT ON OPERATOR + (embedding, embedding) IS 'Sum, component by component';
CREATE OPERATOR - (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_subtract);
COMMENT ON OPERATOR - (embedding, embedding) IS 'Difference, component by component';
CREATE OPERATOR * (LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_multiply, COMMUTATOR = *);
COMMENT ON OPERATOR * (embedding, embedding) IS 'Product, component by component';

-- order and equality

CREATE FUNCTION embedding_eq(embedding, embedding) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_eq';
COMMENT ON FUNCTION embedding_eq(embedding, embedding) IS
'Whether dimensions and all components are equal, -0 being 0; NULL if an argument is NULL';

CREATE FUNCTION embedding_ne(embedding, embedding) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_ne';
COMMENT ON FUNCTION embedding_ne(embedding, embedding) IS
'Whether dimensions or a component differ, -0 being 0; NULL if an argument is NULL';

CREATE FUNCTION embedding_lt(embedding, embedding) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_lt';
COMMENT ON FUNCTION embedding_lt(embedding, embedding) IS
'Whether the left sorts before the right, by the first component that differs, then by dimensions; NULL if an argument is NULL';

CREATE FUNCTION embedding_le(embedding, embedding) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_le';
COMMENT ON FUNCTION embedding_le(embedding, embedding) IS
'Whether the left sorts before the right or equals it; NULL if an argument is NULL';

CREATE FUNCTION embedding_gt(embedding, embedding) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_gt';
COMMENT ON FUNCTION embedding_gt(embedding, embedding) IS
'Whether the left sorts after the right, by the first component that differs, then by dimensions; NULL if an argument is NULL';

CREATE FUNCTION embedding_ge(embedding, embedding) RETURNS boolean
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_ge';
COMMENT ON FUNCTION embedding_ge(embedding, embedding) IS
'Whether the left sorts after the right or equals it; NULL if an argument is NULL';

CREATE FUNCTION embedding_cmp(embedding, embedding) RETURNS integer
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_cmp';
COMMENT ON FUNCTION embedding_cmp(embedding, embedding) IS
'Below, equal to or above 0 as the left sorts before, with or after the right; NULL if an argument is NULL';

CREATE FUNCTION embedding_hash(embedding) RETURNS integer
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_hash';
COMMENT ON FUNCTION embedding_hash(embedding) IS 'Hash, the same for equal embeddings; NULL if the embedding is NULL';

CREATE FUNCTION embedding_hash_extended(embedding, bigint) RETURNS bigint
LANGUAGE C IMMUTABLE STRICT LEAKPROOF PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_hash_extended';
COMMENT ON FUNCTION embedding_hash_extended(embedding, bigint) IS
'64-bit hash under a seed, the same for equal embeddings; NULL if an argument is NULL';

CREATE OPERATOR = (
    LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_eq, COMMUTATOR = =, NEGATOR = <>,
    RESTRICT = eqsel, JOIN = eqjoinsel, HASHES, MERGES
);
COMMENT ON OPERATOR = (embedding, embedding) IS 'Equal';
CREATE OPERATOR <> (
    LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_ne, COMMUTATOR = <>, NEGATOR = =,
    RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (embedding, embedding) IS 'Not equal';
CREATE OPERATOR < (
    LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_lt, COMMUTATOR = >, NEGATOR = >=,
    RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (embedding, embedding) IS 'Sorts before';
CREATE OPERATOR <= (
    LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_le, COMMUTATOR = >=, NEGATOR = >,
    RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (embedding, embedding) IS 'Sorts before or equal';
CREATE OPERATOR > (
    LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_gt, COMMUTATOR = <, NEGATOR = <=,
    RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (embedding, embedding) IS 'Sorts after';
CREATE OPERATOR >= (
    LEFTARG = embedding, RIGHTARG = embedding, FUNCTION = embedding_ge, COMMUTATOR = <=, NEGATOR = <,
    RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (embedding, embedding) IS 'Sorts after or equal';

CREATE OPERATOR FAMILY embedding_ops USING btree;
COMMENT ON OPERATOR FAMILY embedding_ops USING btree IS 'Order of embeddings';
CREATE OPERATOR CLASS embedding_ops DEFAULT FOR TYPE embedding USING btree FAMILY embedding_ops AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >,
    FUNCTION 1 embedding_cmp(embedding, embedding);
COMMENT ON OPERATOR CLASS embedding_ops USING btree IS 'Order of embeddings, for sorting and uniqueness';

CREATE OPERATOR FAMILY embedding_ops USING hash;
COMMENT ON OPERATOR FAMILY embedding_ops USING hash IS 'Equality of embeddings by hash';
CREATE OPERATOR CLASS embedding_ops DEFAULT FOR TYPE embedding USING hash FAMILY embedding_ops AS
    OPERATOR 1 =,
    FUNCTION 1 embedding_hash(embedding),
    FUNCTION 2 embedding_hash_extended(embedding, bigint);
COMMENT ON OPERATOR CLASS embedding_ops USING hash IS 'Equality of embeddings by hash, for joins and grouping';

-- aggregates

CREATE FUNCTION embedding_accumulate(double precision[], embedding) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_accumulate';
COMMENT ON FUNCTION embedding_accumulate(double precision[], embedding) IS
'Adds an embedding to the state of sum and avg: a count, then the sum of each component; {0} is empty; NULL if an argument is NULL';

CREATE FUNCTION embedding_combine(double precision[], double precision[]) RETURNS double precision[]
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_combine';
COMMENT ON FUNCTION embedding_combine(double precision[], double precision[]) IS
'Joins two states of sum or avg; NULL if an argument is NULL';

CREATE FUNCTION embedding_sum_final(double precision[]) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_sum_final';
COMMENT ON FUNCTION embedding_sum_final(double precision[]) IS
'Sum that a state holds, rounded to half precision; NULL if the state is NULL or empty';

CREATE FUNCTION embedding_avg_final(double precision[]) RETURNS embedding
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'br_embedding_avg_final';
COMMENT ON FUNCTION embedding_avg_final(double precision[]) IS
'Average that a state holds, rounded to half precision; NULL if the state is NULL or empty';

CREATE AGGREGATE sum(embedding) (
    SFUNC = embedding_accumulate, STYPE = double precision[], SSPACE = 4096, INITCOND = '{0}',
    FINALFUNC = embedding_sum_final, COMBINEFUNC = embedding_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE sum(embedding) IS
'Sum, component by component, rounded to half precision once; NULLs are skipped, NULL if there is nothing else';

CREATE AGGREGATE avg(embedding) (
    SFUNC = embedding_accumulate, STYPE = double precision[], SSPACE = 4096, INITCOND = '{0}',
    FINALFUNC = embedding_avg_final, COMBINEFUNC = embedding_combine, PARALLEL = SAFE
);
COMMENT ON AGGREGATE avg(embedding) IS
'Average, component by component, rounded to half precision once; NULLs are skipped, NULL if there is nothing else';
