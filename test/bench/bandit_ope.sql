-- bandit_ope.sql: a log of as many decisions as :rows says.
CREATE TABLE logged AS
SELECT (random() < .05)::int::float8 AS reward, random() AS target, .02 + .98 * random() AS logged, .1 * random() AS predicted,
       .1 * random() AS expected, random() < .1 AS matched
FROM generate_series(1, :rows);
VACUUM ANALYZE logged;
