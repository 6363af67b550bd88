--
-- ann.sql
--    The tables of ann.sh. Each system searches a table of its own, named after
--    it, that holds the same vectors; these are ours.
--
--    filter is from 0 to 999, has nothing to do with the vector and no index:
--    filter < 10 keeps 1 % of the rows.
--
\set ON_ERROR_STOP 1
CREATE TABLE item_bundle_ann (
    id int PRIMARY KEY,
    filter int GENERATED ALWAYS AS ((hashint4(id) & 2147483647) % 1000) STORED,
    v embedding(384));
CREATE TABLE query_bundle_ann (id int PRIMARY KEY, v embedding(384));
-- rows that are inserted later
CREATE TABLE pool_bundle_ann (id int PRIMARY KEY, v embedding(384));
-- distance of the last of the nearest rows that pass the filter, at most ten of them
CREATE TABLE truth (filter int, query int, distance float8, rows int);
