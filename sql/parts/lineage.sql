-- lineage.sql
--    Where models that were made of others come from.

CREATE TABLE stored_lineage (
    model int PRIMARY KEY,
    made_by text NOT NULL CHECK (made_by IN ('train', 'compress')),
    parent int NOT NULL,
    parent_name text NOT NULL,
    job bigint,
    catalog int,
    objective text NOT NULL,
    method text NOT NULL,
    parameters jsonb NOT NULL,
    seed bigint NOT NULL,
    data jsonb NOT NULL,
    learned_until timestamptz,
    figures jsonb NOT NULL,
    backend text NOT NULL,
    threads int NOT NULL
);
COMMENT ON TABLE stored_lineage IS 'One row per model that was trained or compressed: of which it was made, and from what';
SELECT pg_catalog.pg_extension_config_dump('@extschema@.stored_lineage', '');
REVOKE ALL ON TABLE stored_lineage FROM PUBLIC;

CREATE VIEW lineage WITH (security_barrier) AS
SELECT m.name AS model, l.made_by, l.parent_name AS parent,
       NOT EXISTS (SELECT FROM @extschema@.stored_model p WHERE p.model = l.parent) AS parent_dropped,
       c.name AS catalog, l.objective, l.method, l.parameters, l.seed, l.data, l.learned_until,
       l.figures, l.backend, l.threads, l.job, m.loaded_at AS made_at, m.loaded_by AS made_for
FROM @extschema@.stored_lineage l JOIN @extschema@.stored_model m USING (model)
LEFT JOIN @extschema@.catalog c ON c.catalog = l.catalog
WHERE l.catalog IS NULL OR pg_catalog.has_table_privilege(c.items, 'SELECT')
   OR EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = m.loaded_by AND pg_catalog.pg_has_role(r.oid, 'USAGE'));
COMMENT ON VIEW lineage IS 'Where each model that was trained or compressed comes from, for who made it and those who may SELECT from the source of its catalog';
COMMENT ON COLUMN lineage.model IS 'Name of the model';
COMMENT ON COLUMN lineage.made_by IS 'What made it: train or compress';
COMMENT ON COLUMN lineage.parent IS 'Name of the model that it was made of, as it was then';
COMMENT ON COLUMN lineage.parent_dropped IS 'Whether that model is gone';
COMMENT ON COLUMN lineage.catalog IS 'Catalog whose data it was made from; NULL: none, or one that was dropped';
COMMENT ON COLUMN lineage.objective IS 'What it was trained for';
COMMENT ON COLUMN lineage.method IS 'Which of its weights were trained, or how it was compressed';
COMMENT ON COLUMN lineage.parameters IS 'All parameters, those by default too';
COMMENT ON COLUMN lineage.seed IS 'Seed of all that was drawn';
COMMENT ON COLUMN lineage.data IS 'What was learned from: counts, and the SHA-256 of the snapshot';
COMMENT ON COLUMN lineage.learned_until IS 'Time of the latest event that it, a model that it was made of, or its teacher learned from; NULL: none did';
COMMENT ON COLUMN lineage.figures IS 'What came of it, such as the validation figure of the weights kept';
COMMENT ON COLUMN lineage.backend IS 'Backend, or device of the embedding service, that computed it; several, in their order, where it changed on the way';
COMMENT ON COLUMN lineage.threads IS 'Threads that it was computed with; with the same backend, as many threads, data, parameters and seed the weights are the same bits';
COMMENT ON COLUMN lineage.job IS 'Number of the job that made it; NULL: none did';
COMMENT ON COLUMN lineage.made_at IS 'Start of the transaction that stored it';
COMMENT ON COLUMN lineage.made_for IS 'Role that it was made for';
GRANT SELECT ON lineage TO PUBLIC;
