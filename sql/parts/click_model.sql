-- click_model.sql
--    What independent arms win and where they stand; models of what clicks say
--    about items and positions.

CREATE FUNCTION thompson_probabilities(alpha double precision[], beta double precision[])
RETURNS TABLE (arm int, probability double precision)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 10 COST 10000
AS 'MODULE_PATHNAME', 'br_thompson_probabilities';
COMMENT ON FUNCTION thompson_probabilities(double precision[], double precision[]) IS
'With which probability each of up to 1000 independent arms, believed to be Beta(alpha, beta), has the largest draw: what Thompson sampling chooses it with, by integration to 1e-9. Parameters lie between 1e-9 and 1e10. No rows if an argument is NULL';

CREATE FUNCTION thompson_marginals(alpha double precision[], beta double precision[], slots int)
RETURNS TABLE (arm int, slot int, probability double precision)
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 100 COST 10000
AS 'MODULE_PATHNAME', 'br_thompson_marginals';
COMMENT ON FUNCTION thompson_marginals(double precision[], double precision[], int) IS
'With which probability each of up to 1000 arms, believed to be Beta(alpha, beta), stands at each of 1 to 100 slots when one draw of every arm orders them, the largest first; by integration to 1e-9. 0 in slots beyond the number of arms. No rows if an argument is NULL';

CREATE FUNCTION expected_clicks(attractiveness double precision[], examination double precision[] DEFAULT NULL)
RETURNS double precision[]
LANGUAGE C IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_expected_clicks';
COMMENT ON FUNCTION expected_clicks(double precision[], double precision[]) IS
'The clicks to expect at each position of a list of items: attractiveness times examination (position-based model) or, where examination is NULL, attractiveness times the probability that nothing above was clicked (cascade model). NULL if attractiveness is NULL';

CREATE FUNCTION fit_position_model(query text, tolerance double precision DEFAULT 1e-9, max_iterations int DEFAULT 100000)
RETURNS TABLE ("position" bigint, examination double precision, shown double precision, clicks double precision,
               iterations int, log_likelihood double precision)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 10 COST 10000
AS 'MODULE_PATHNAME', 'br_fit_position_model';
COMMENT ON FUNCTION fit_position_model(text, double precision, int) IS
'How likely each position is examined, the likeliest 1, under the position-based click model P(click) = examination * attractiveness, by expectation maximisation. query is a SELECT, read with the caller''s rights, with columns item, position and clicked (boolean, or 0 and 1), or shown and clicks instead of clicked (counts). An error where no item links two positions: their examination cannot be told from what stood there. Ends when parameters are within tolerance, relative. No rows if an argument is NULL';

CREATE FUNCTION fit_attractiveness(query text, tolerance double precision DEFAULT 1e-9, max_iterations int DEFAULT 100000)
RETURNS TABLE (item text, attractiveness double precision, shown double precision, clicks double precision)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 1000 COST 10000
AS 'MODULE_PATHNAME', 'br_fit_attractiveness';
COMMENT ON FUNCTION fit_attractiveness(text, double precision, int) IS
'How likely each item is clicked where it is examined: the other half of the model that fit_position_model fits to the same query. No rows if an argument is NULL';

CREATE FUNCTION fit_cascade_model(query text)
RETURNS TABLE (item text, attractiveness double precision, examined double precision, clicks double precision,
               log_likelihood double precision)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 1000 COST 10000
AS 'MODULE_PATHNAME', 'br_fit_cascade_model';
COMMENT ON FUNCTION fit_cascade_model(text) IS
'How likely each item is clicked when it is looked at, under the cascade model: a list is read from the top to its first click. query is a SELECT, read with the caller''s rights, with columns list, position, item and clicked (boolean, or 0 and 1). examined and clicks count down to each list''s first click. No rows if the argument is NULL';
