--
-- chance.sql
--	  The random numbers of the demo, and the schema "hidden" for all that its
--	  shoppers have in mind and the recommender never reads.
--
-- Every random number has a name, "basket 17 size" say, and is the MD5 sum of
-- it: no seed, no order of evaluation, no setting of the server changes it, so
-- that every machine gets the same shop.
--
CREATE SCHEMA hidden;

COMMENT ON SCHEMA hidden IS
'What the demo''s shoppers have in mind; the recommender never reads it';

CREATE FUNCTION hidden.uniform(VARIADIC name text[]) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((('x' || substr(md5(array_to_string(name, ' ')), 1, 13))::bit(52)::bigint) + 0.5::float8)
       / 4503599627370496.0::float8;

COMMENT ON FUNCTION hidden.uniform(text[]) IS
'Uniform in (0, 1), 52 bits, decided by the name alone; a NULL among the words is skipped';
