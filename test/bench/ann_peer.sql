--
-- ann_peer.sql
--    The tables of ann.sql once more, with pgvector's type :type.
--
\set ON_ERROR_STOP 1
CREATE TABLE item_pgvector (
    id int PRIMARY KEY,
    filter int GENERATED ALWAYS AS ((hashint4(id) & 2147483647) % 1000) STORED,
    v :type(384));
CREATE TABLE query_pgvector (id int PRIMARY KEY, v :type(384));
CREATE TABLE pool_pgvector (id int PRIMARY KEY, v :type(384));
INSERT INTO item_pgvector (id, v) SELECT id, v::real[]::vector:::type FROM item_bundle_ann ORDER BY id;
INSERT INTO query_pgvector SELECT id, v::real[]::vector:::type FROM query_bundle_ann ORDER BY id;
INSERT INTO pool_pgvector SELECT id, v::real[]::vector:::type FROM pool_bundle_ann ORDER BY id;
