-- service.sql
--    The embedding service, which computes for all connections in one process.

CREATE FUNCTION service_state(OUT state text, OUT compute text, OUT instructions text, OUT "precision" text,
                              OUT memory bigint, OUT memory_free bigint, OUT models int, OUT model_bytes bigint,
                              OUT evicted bigint, OUT worker_pid int, OUT helper_pid int, OUT started_at timestamptz,
                              OUT batches bigint, OUT texts bigint, OUT tokens bigint, OUT tokens_per_second double precision,
                              OUT waiting int, OUT queue_wait_p50 double precision, OUT queue_wait_p99 double precision,
                              OUT fallbacks bigint, OUT restarts bigint, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE C STABLE ROWS 1 PARALLEL SAFE
AS 'MODULE_PATHNAME', 'br_service_state';
COMMENT ON FUNCTION service_state() IS
'What the view gpu shows, which says what it is; no row unless the library is preloaded';

CREATE VIEW gpu AS SELECT * FROM service_state();
COMMENT ON VIEW gpu IS
'The embedding service: one row where bundle_rec is in shared_preload_libraries, otherwise none';
COMMENT ON COLUMN gpu.state IS
'off: bundle_rec.embedding_service says so; no device: it says auto, and there is none; starting; ready; down: it failed, and starts again by itself. Sessions compute by themselves unless it is ready';
COMMENT ON COLUMN gpu.compute IS 'The device that computes, or the library on the CPU; NULL unless ready, as all columns up to evicted and started_at';
COMMENT ON COLUMN gpu.instructions IS 'For which instructions';
COMMENT ON COLUMN gpu."precision" IS 'Precision class of the embeddings: of a device, or on the CPU of the last model it computed with';
COMMENT ON COLUMN gpu.memory IS 'Bytes of memory of the device, or of the machine';
COMMENT ON COLUMN gpu.memory_free IS 'Bytes of them that were free after the last batch';
COMMENT ON COLUMN gpu.models IS 'Models that are loaded';
COMMENT ON COLUMN gpu.model_bytes IS 'Bytes that these take';
COMMENT ON COLUMN gpu.evicted IS 'How often a model was unloaded to make room, since started_at';
COMMENT ON COLUMN gpu.started_at IS 'When the process that computes became ready';
COMMENT ON COLUMN gpu.worker_pid IS 'Process of the worker; for members of pg_read_all_stats';
COMMENT ON COLUMN gpu.helper_pid IS 'Process that computes, which is no server process; for members of pg_read_all_stats';
COMMENT ON COLUMN gpu.batches IS 'Batches computed; this and the next columns count from the start of the server';
COMMENT ON COLUMN gpu.texts IS 'Texts computed';
COMMENT ON COLUMN gpu.tokens IS 'Tokens computed';
COMMENT ON COLUMN gpu.tokens_per_second IS 'Tokens for each second in which something was computed; NULL until something was';
COMMENT ON COLUMN gpu.waiting IS 'Requests that wait now';
COMMENT ON COLUMN gpu.queue_wait_p50 IS 'Milliseconds that half of the requests waited at most before they were computed, right to a half';
COMMENT ON COLUMN gpu.queue_wait_p99 IS 'The same of 99 in 100';
COMMENT ON COLUMN gpu.fallbacks IS 'Calls that sessions computed by themselves because the service could not';
COMMENT ON COLUMN gpu.restarts IS 'How often the process that computes became ready again, after a failure or other settings';
COMMENT ON COLUMN gpu.last_error IS 'What went wrong last; for members of pg_read_all_stats';
COMMENT ON COLUMN gpu.last_error_at IS 'When that was';
GRANT SELECT ON gpu TO PUBLIC;
