-- What looks into an index of bundle_ann.

CREATE FUNCTION bundle_ann_check(index regclass, deep boolean DEFAULT false) RETURNS bigint
LANGUAGE C STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'br_ann_check';
COMMENT ON FUNCTION bundle_ann_check(regclass, boolean) IS 'Verifies every page of an index of bundle_ann, and returns the number of its rows; deep: every code, and that index and table hold the same rows. Raises 22004 if an argument is NULL, 42501 for others than the table''s owner, 42809 if it is no such index, and XX002 at the first fault, with its block and a hint to REINDEX. Inserts go on meanwhile, vacuums wait; on a standby, a vacuum that is replayed meanwhile may look like a fault';

CREATE FUNCTION bundle_ann_stats(index regclass,
    OUT rows bigint, OUT dead bigint, OUT pending bigint, OUT lists integer,
    OUT shortest_list bigint, OUT average_list double precision, OUT longest_list bigint,
    OUT pages bigint, OUT posting_pages bigint, OUT exact_pages bigint,
    OUT directory_pages bigint, OUT other_pages bigint, OUT bytes_per_row double precision,
    OUT dimensions integer, OUT metric text, OUT recall double precision,
    OUT visited double precision, OUT model text, OUT skipped bigint) RETURNS record
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'br_ann_stats';
COMMENT ON FUNCTION bundle_ann_stats(regclass) IS 'What an index of bundle_ann holds: rows in lists, slots of deleted ones, texts that wait to be embedded; its lists and their lengths in rows; pages (other_pages: free, of lists that were rewritten, of texts that wait), bytes per row; what it was built for: dimensions, metric, target of recall, the share of the lists that scans visit for it, model of a text index; and how many rows strict order has left out in this session. Raises 22004 if the index is NULL, 42501 without SELECT on the table, 42809 if it is no such index';

CREATE FUNCTION bundle_ann_recall(index regclass, sample integer DEFAULT 100, k integer DEFAULT 10) RETURNS double precision
LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'br_ann_recall';
COMMENT ON FUNCTION bundle_ann_recall(regclass, integer, integer) IS 'Measures which share of the k true nearest rows an index of bundle_ann returns first, for a sample of its rows, with the settings of the session; compares each of them with all rows. The same index gives the same sample. NULL if no two rows are seen. Raises 22004 if an argument is NULL, 22023 if sample is not in 1 to 100000 or k not in 1 to 10000, 42501 without SELECT on the table, 42809 if it is no such index';

CREATE FUNCTION bundle_ann_flush(index regclass) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'br_ann_flush';
COMMENT ON FUNCTION bundle_ann_flush(regclass) IS 'Embeds the texts that wait in an index of bundle_ann and moves them into its lists; returns how many. Raises 22004 if the index is NULL, 42501 for others than the table''s owner, 42809 if it is no such index, and 55000 if its model is gone or changed';
