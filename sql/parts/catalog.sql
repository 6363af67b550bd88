-- catalog.sql
--    Catalogs over the tables people already have: descriptions, and the parent
--    tables whose children item_<n>, item_state_<n>, ... hold each catalog's
--    data. Parents stay empty; the keys and indexes are the children's.
--
--    No table of the extension has a foreign key: keys are there before rows
--    are restored, and pg_restore -j loads tables in any order. The functions
--    that add and drop rows hold and delete what belongs together.

CREATE SEQUENCE catalog_number AS int MAXVALUE 4194303;
COMMENT ON SEQUENCE catalog_number IS 'Numbers of catalogs, never reused; the high bits of decision ids';

CREATE TABLE catalog (
    catalog int PRIMARY KEY DEFAULT nextval('@extschema@.catalog_number') CHECK (catalog BETWEEN 1 AND 4194303),
    name text NOT NULL UNIQUE CHECK (name <> ''),
    items regclass NOT NULL,
    owner name NOT NULL,
    item_id name NOT NULL,
    text name[] NOT NULL DEFAULT '{}',
    price name,
    cost name,
    stock name,
    category name,
    active name,
    created_at name,
    image name,
    model int,
    next_model int,
    discount double precision NOT NULL DEFAULT 0 CHECK (discount >= 0 AND discount < 1),
    keep_events interval CHECK (keep_events > '0'),
    keep_decisions interval CHECK (keep_decisions > '0'),
    CHECK (model IS NULL OR text <> '{}')
);
COMMENT ON TABLE catalog IS 'One row per catalog: its source table, who owned that when the catalog was created (and may drop it once the table is gone; a name, so that a dump can be restored where that role is not), the names of its columns there, its model and the one that it is moving to, the discount on generated bundles, and for how long events and decisions are kept';

CREATE SEQUENCE event_source_number AS int;
COMMENT ON SEQUENCE event_source_number IS 'Numbers of event and bundle sources, never reused';

CREATE TABLE event_source (
    source int PRIMARY KEY DEFAULT nextval('@extschema@.event_source_number'),
    catalog int NOT NULL,
    events regclass,
    user_id name,
    item_id name,
    bundle_id name,
    basket_id name,
    kind name,
    quantity name,
    price name,
    occurred_at name,
    default_kind text NOT NULL DEFAULT 'purchase' CHECK (default_kind <> ''),
    weights jsonb NOT NULL DEFAULT '{"view": 0.1, "click": 0.2, "cart": 0.5, "purchase": 1, "return": -1}',
    UNIQUE (catalog, events),
    CHECK (events IS NULL OR item_id IS NOT NULL OR bundle_id IS NOT NULL)
);
CREATE UNIQUE INDEX event_source_logged ON event_source (catalog) WHERE events IS NULL;
COMMENT ON TABLE event_source IS 'One row per table of purchases or other events that feeds a catalog, with the names of its columns, the kind of rows that name none, and what an event of each kind weighs in a user''s history; the row without a table is what log_event writes';

CREATE TABLE bundle_source (
    source int PRIMARY KEY DEFAULT nextval('@extschema@.event_source_number'),
    catalog int NOT NULL,
    bundles regclass NOT NULL,
    bundle_id name NOT NULL,
    item_id name NOT NULL,
    quantity name,
    price name,
    UNIQUE (catalog, bundles)
);
COMMENT ON TABLE bundle_source IS 'One row per table of curated bundles that feeds a catalog, with the names of its columns';

CREATE TABLE catalog_state (
    catalog int PRIMARY KEY,
    baskets bigint NOT NULL DEFAULT 0 CHECK (baskets >= 0),
    max_basket_items int,
    neighbours int,
    typical_price double precision,
    refreshed_at timestamptz,
    synced_at timestamptz,
    events_since timestamptz,
    events_counted bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE catalog_state IS 'What refresh knows of a catalog as a whole: baskets and events counted, the largest basket whose pairs were counted, how many neighbours each item has, median price of an active item; and the moment before which events are too old to be taken from a source';

CREATE TABLE item (
    catalog int NOT NULL,
    item int NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    category text,
    created_at timestamptz,
    text_hash bytea,
    pending_text text,
    embedding embedding,
    model int,
    precision_class text
);
COMMENT ON TABLE item IS 'Items of all catalogs: dense number, id, category, and the embedding of the text whose SHA-256 is text_hash; pending_text waits for refresh to embed it';

CREATE TABLE item_shadow (
    catalog int NOT NULL,
    item int NOT NULL,
    text_hash bytea NOT NULL,
    pending_text text,
    embedding embedding,
    model int,
    precision_class text
);
COMMENT ON TABLE item_shadow IS 'What the model that a catalog is moving to makes of the texts, as in item; empty where a catalog is not moving';

CREATE TABLE item_state (
    catalog int NOT NULL,
    item int NOT NULL,
    price double precision,
    cost double precision,
    stock double precision,
    active boolean NOT NULL
) WITH (fillfactor = 70);
COMMENT ON TABLE item_state IS 'What changes with every sale: price, cost, stock, and whether an item may be offered; an item that is no longer in its source has no row';

CREATE TABLE item_count (
    catalog int NOT NULL,
    item int NOT NULL,
    baskets bigint NOT NULL
);
COMMENT ON TABLE item_count IS 'Baskets that hold an item, as of the last refresh';

CREATE TABLE item_pair (
    catalog int NOT NULL,
    item int NOT NULL,
    other int NOT NULL,
    together bigint NOT NULL
);
COMMENT ON TABLE item_pair IS 'Baskets that hold both of two items, as of the last refresh; each pair stands there in both directions';

CREATE TABLE item_neighbour (
    catalog int NOT NULL,
    item int NOT NULL,
    neighbours int[] NOT NULL,
    similarity real[] NOT NULL
);
COMMENT ON TABLE item_neighbour IS 'Nearest items by embedding, nearest first, with their cosine similarity';

CREATE TABLE event (
    catalog int NOT NULL,
    source int NOT NULL,
    user_id text COLLATE "C",
    item_id text COLLATE "C",
    bundle_id text COLLATE "C",
    basket_id text COLLATE "C",
    kind text NOT NULL,
    quantity double precision NOT NULL,
    price double precision,
    occurred_at timestamptz NOT NULL,
    weight smallint NOT NULL CHECK (weight IN (-1, 1)),
    CHECK ((item_id IS NULL) <> (bundle_id IS NULL))
);
COMMENT ON TABLE event IS 'Events of items and of whole bundles that refresh has counted; weight -1 takes a row back that its source no longer holds';

CREATE TABLE event_queue (LIKE event INCLUDING CONSTRAINTS);
COMMENT ON TABLE event_queue IS 'Events as triggers, sync and log_event appended them, until refresh counts them; those of items that no source holds yet wait for the item';

CREATE TABLE item_change (
    catalog int NOT NULL,
    item int NOT NULL
);
COMMENT ON TABLE item_change IS 'Items that came, went, or became active or inactive since the last refresh: what its stored neighbours must learn';

CREATE TABLE bundle (
    catalog int NOT NULL,
    bundle int NOT NULL,
    bundle_id text COLLATE "C" NOT NULL
);
COMMENT ON TABLE bundle IS 'Curated bundles of all catalogs: dense number and id; one without rows in bundle_item is no longer in its source';

CREATE TABLE bundle_item (
    catalog int NOT NULL,
    bundle int NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    quantity double precision NOT NULL,
    price double precision,
    source int NOT NULL
);
COMMENT ON TABLE bundle_item IS 'What a curated bundle holds, one row per item, as its source says; price is that of the whole bundle';

CREATE TABLE bundle_count (
    catalog int NOT NULL,
    bundle int NOT NULL,
    purchases bigint NOT NULL
);
COMMENT ON TABLE bundle_count IS 'Purchases of a curated bundle as a whole less returns, as of the last refresh';

CREATE SEQUENCE rejected_number;
COMMENT ON SEQUENCE rejected_number IS 'Numbers of rejected rows';

CREATE TABLE rejected (
    rejected bigint PRIMARY KEY DEFAULT nextval('@extschema@.rejected_number'),
    catalog int NOT NULL,
    origin regclass NOT NULL,
    row_id text COLLATE "C",
    reason text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX rejected_row_id ON rejected (catalog, origin, row_id);
COMMENT ON TABLE rejected IS 'Source rows that a catalog could not take, with the reason';

CREATE TABLE refused_text (
    catalog int NOT NULL,
    model int NOT NULL,
    text_hash bytea NOT NULL CHECK (pg_catalog.octet_length(text_hash) = 32),
    reason text NOT NULL,
    noticed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (catalog, model, text_hash)
);
COMMENT ON TABLE refused_text IS 'Texts of items, by their SHA-256, of which a model made no embedding, with the reason: such an item has none, and does not wait for one';

SELECT pg_catalog.pg_extension_config_dump('@extschema@.catalog_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.event_source_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rejected_number', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.catalog', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.event_source', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.catalog_state', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item_shadow', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item_state', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item_count', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item_pair', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item_neighbour', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.event', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.event_queue', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.item_change', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.bundle_source', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.bundle', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.bundle_item', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.bundle_count', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.rejected', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.refused_text', '');
REVOKE ALL ON SEQUENCE catalog_number, event_source_number, rejected_number FROM PUBLIC;
REVOKE ALL ON TABLE catalog, event_source, catalog_state, item, item_shadow, item_state, item_count, item_pair, item_neighbour,
    event, event_queue, item_change, bundle_source, bundle, bundle_item, bundle_count, rejected,
    refused_text FROM PUBLIC;

CREATE FUNCTION items_changed() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_items_changed';
COMMENT ON FUNCTION items_changed() IS 'Trigger that carries changed rows of a source into its catalog; create_catalog attaches it';

CREATE FUNCTION events_changed() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_events_changed';
COMMENT ON FUNCTION events_changed() IS 'Trigger that appends changed rows of an event source to its catalog''s log; add_event_source attaches it';

CREATE FUNCTION create_catalog(name text, items regclass, item_id name, text name[] DEFAULT '{}',
                               price name DEFAULT NULL, cost name DEFAULT NULL, stock name DEFAULT NULL,
                               category name DEFAULT NULL, active name DEFAULT NULL,
                               created_at name DEFAULT NULL, image name DEFAULT NULL,
                               model text DEFAULT NULL, discount double precision DEFAULT 0)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_create_catalog';
COMMENT ON FUNCTION create_catalog(text, regclass, name, name[], name, name, name, name, name, name, name, text, double precision) IS
'Makes a catalog over a table of the caller''s, plain or partitioned, and keeps it up to date by triggers; or over a view or foreign table, which sync compares whenever it is called. Arguments after items name columns; NULL means there is none. text: columns whose text is embedded, joined by blanks; price and cost in one currency, stock in units, NULL in a row meaning unknown; active: NULL in a row means true. model NULL: the default model where there is text. discount: fraction taken off generated bundles, in [0, 1), NULL as 0. An error where name, items or item_id is NULL';

CREATE FUNCTION add_event_source(catalog text, events regclass, user_id name DEFAULT NULL,
                                 item_id name DEFAULT NULL, bundle_id name DEFAULT NULL,
                                 basket_id name DEFAULT NULL, kind name DEFAULT NULL,
                                 quantity name DEFAULT NULL, price name DEFAULT NULL,
                                 occurred_at name DEFAULT NULL, default_kind text DEFAULT 'purchase',
                                 weights jsonb DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_add_event_source';
COMMENT ON FUNCTION add_event_source(text, regclass, name, name, name, name, name, name, name, name, text, jsonb) IS
'Feeds a catalog from a table of purchases or other events, one row per item, or per curated bundle that was bought whole (bundle_id): now, and by triggers from then on; views and foreign tables whenever sync is called. The name arguments after events name columns; NULL means there is none, but item_id or bundle_id is needed. default_kind: of rows that name no kind. Purchases count baskets and pairs, a return takes its quantity out of the basket it names; every kind weighs in its user''s history as weights says, a number in [-1, 1] per kind, 0 for others; NULL: {"view": 0.1, "click": 0.2, "cart": 0.5, "purchase": 1, "return": -1}. Without basket_id each purchase is a basket of its own; without occurred_at events happened when they were noticed, and a row that says no time is older than all others. An error where catalog or events is NULL';

CREATE FUNCTION alter_catalog(catalog text, model text DEFAULT NULL, items regclass DEFAULT NULL,
                              item_id name DEFAULT NULL, text name[] DEFAULT NULL, price name DEFAULT NULL,
                              cost name DEFAULT NULL, stock name DEFAULT NULL, category name DEFAULT NULL,
                              active name DEFAULT NULL, created_at name DEFAULT NULL,
                              discount double precision DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_alter_catalog';
COMMENT ON FUNCTION alter_catalog(text, text, regclass, name, name[], name, name, name, name, name, name, double precision) IS
'Changes what is given about a catalog and leaves what is NULL. items: another table, with the same columns unless they are given too; also where the table was dropped. A column that is given as an empty string is no longer the catalog''s. Either compares all items with the source, as sync does. model: refresh embeds the texts with it beside the model in service, and the catalog switches at once when it has them all; naming the model in service takes that back. Waits for a refresh that runs. For the catalog''s owner. An error where catalog is NULL';

CREATE FUNCTION refresh(catalog text, max_texts int DEFAULT NULL) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_refresh';
COMMENT ON FUNCTION refresh(text, int) IS
'Counts the events that came since the last refresh, embeds new and changed texts, and those that the model needs to which alter_catalog moves the catalog, and brings stored neighbours and the indexes of bundle_ann on the source''s texts up to date; all or nothing. Of items at most max_texts texts are embedded, NULL: all. For the catalog''s owner. An error where catalog is NULL';

CREATE FUNCTION sync(catalog text)
RETURNS TABLE (source text, kind text, added bigint, changed bigint, removed bigint, rejected bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 100000 ROWS 3
AS 'MODULE_PATHNAME', 'br_sync';
COMMENT ON FUNCTION sync(text) IS
'Compares every source of a catalog with what the catalog holds of it and makes good the difference, one row per source. Views and foreign tables need it whenever they changed; tables after what no trigger sees: logical replication, ATTACH and DETACH of partitions, loads with triggers off. Writers of the tables wait meanwhile. Memory is bounded by maintenance_work_mem. Call refresh afterwards. For the owner of the catalog and its sources. An error where catalog is NULL';

CREATE FUNCTION drop_event_source(catalog text, events regclass, keep_events boolean DEFAULT false) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_event_source';
COMMENT ON FUNCTION drop_event_source(text, regclass, boolean) IS
'Ends what add_event_source began, also where the table is gone (give its OID then). The next refresh no longer counts its events, unless keep_events. For the catalog''s owner. An error where catalog or events is NULL; NULL for keep_events is false';

CREATE FUNCTION log_event(catalog text, user_id text DEFAULT NULL, item_id text DEFAULT NULL,
                          kind text DEFAULT 'purchase', basket_id text DEFAULT NULL, bundle_id text DEFAULT NULL,
                          quantity double precision DEFAULT 1, price double precision DEFAULT NULL,
                          occurred_at timestamptz DEFAULT NULL)
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_log_event';
COMMENT ON FUNCTION log_event(text, text, text, text, text, text, double precision, double precision, timestamptz) IS
'Tells a catalog of an event that stands in no table: of an item, or of a curated bundle as a whole. occurred_at NULL: now; quantity NULL: 1; kind NULL: purchase. Calling it twice logs two events. Needs INSERT on the catalog''s event table. An error where catalog, or both item_id and bundle_id, are NULL';

CREATE FUNCTION drop_catalog(name text) RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'br_drop_catalog';
COMMENT ON FUNCTION drop_catalog(text) IS
'Drops a catalog with its tables, triggers, policies, decisions and feedback; its source stays. For the catalog''s owner. An error where name is NULL';

CREATE VIEW catalog_coverage WITH (security_barrier) AS
SELECT c.name AS catalog,
       c.catalog AS number,
       coalesce(i.items, 0) AS items,
       coalesce(i.active, 0) AS active,
       coalesce(i.embedded, 0) AS embedded,
       coalesce(i.pending, 0) AS pending,
       coalesce(r.rejected, 0) AS rejected,
       coalesce(e.events, 0) AS events,
       coalesce(e.unfolded, 0) AS unfolded,
       s.baskets,
       coalesce(p.pairs, 0) AS pairs,
       s.refreshed_at,
       s.synced_at,
       m.name AS model,
       n.name AS next_model,
       CASE WHEN n.name IS NOT NULL THEN coalesce(w.embedded, 0) END AS next_embedded
FROM @extschema@.catalog c
JOIN @extschema@.catalog_state s USING (catalog)
LEFT JOIN (SELECT catalog, count(*) AS items, count(*) FILTER (WHERE active) AS active,
                  count(embedding) AS embedded, count(pending_text) AS pending
           FROM @extschema@.item JOIN @extschema@.item_state USING (catalog, item)
           GROUP BY catalog) i USING (catalog)
LEFT JOIN (SELECT catalog, count(*) AS rejected
           FROM (SELECT catalog FROM @extschema@.rejected
                 UNION ALL SELECT catalog
                 FROM @extschema@.refused_text f JOIN @extschema@.catalog k USING (catalog)
                 JOIN @extschema@.item i USING (catalog, text_hash) JOIN @extschema@.item_state USING (catalog, item)
                 WHERE f.model IN (k.model, k.next_model)) a
           GROUP BY catalog) r USING (catalog)
LEFT JOIN (SELECT catalog, sum(weight)::bigint AS events, count(*) FILTER (WHERE queued) AS unfolded
           FROM (SELECT catalog, weight, false AS queued FROM @extschema@.event
                 UNION ALL SELECT catalog, weight, true FROM @extschema@.event_queue) q
           GROUP BY catalog) e USING (catalog)
LEFT JOIN (SELECT catalog, count(*) / 2 AS pairs FROM @extschema@.item_pair GROUP BY catalog) p USING (catalog)
LEFT JOIN (SELECT catalog, count(*) AS embedded
           FROM @extschema@.item_shadow w JOIN @extschema@.item i USING (catalog, item) JOIN @extschema@.item_state USING (catalog, item)
           WHERE w.embedding IS NOT NULL AND w.pending_text IS NULL AND w.text_hash = i.text_hash
           GROUP BY catalog) w USING (catalog)
LEFT JOIN @extschema@.stored_model m ON m.model = c.model
LEFT JOIN @extschema@.stored_model n ON n.model = c.next_model
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT')
   OR EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.rolname IN (c.owner, current_user)
              AND (o.rolsuper AND o.rolname = current_user
                   OR o.rolname = c.owner AND pg_catalog.pg_has_role(o.oid, 'USAGE') AND pg_catalog.has_table_privilege(
                      o.oid, pg_catalog.to_regclass(pg_catalog.format('@extschema@.item_%s', c.catalog)), 'SELECT')));
COMMENT ON VIEW catalog_coverage IS 'How complete and how fresh each catalog is, for those whose source the current user may SELECT from';
COMMENT ON COLUMN catalog_coverage.catalog IS 'Name of the catalog';
COMMENT ON COLUMN catalog_coverage.number IS 'Number of the catalog, which ends the names of its tables, such as decision_1';
COMMENT ON COLUMN catalog_coverage.items IS 'Items that the source holds now';
COMMENT ON COLUMN catalog_coverage.active IS 'Those of them that may be offered';
COMMENT ON COLUMN catalog_coverage.embedded IS 'Those of them that have an embedding, perhaps of an older text';
COMMENT ON COLUMN catalog_coverage.pending IS 'Those of them whose text waits for refresh';
COMMENT ON COLUMN catalog_coverage.rejected IS 'Rows set aside, as rejected_row lists them';
COMMENT ON COLUMN catalog_coverage.events IS 'Rows that the event sources hold now';
COMMENT ON COLUMN catalog_coverage.unfolded IS 'Changes of event rows that no refresh has counted yet: new ones, or of items that are not known';
COMMENT ON COLUMN catalog_coverage.baskets IS 'Baskets counted, as of the last refresh';
COMMENT ON COLUMN catalog_coverage.pairs IS 'Pairs of items bought together at least once, as of the last refresh';
COMMENT ON COLUMN catalog_coverage.refreshed_at IS 'When the last refresh began; NULL: never';
COMMENT ON COLUMN catalog_coverage.synced_at IS 'When the last sync began; NULL: never';
COMMENT ON COLUMN catalog_coverage.model IS 'Model that serves the catalog; NULL: none';
COMMENT ON COLUMN catalog_coverage.next_model IS 'Model that the catalog is moving to; NULL: none';
COMMENT ON COLUMN catalog_coverage.next_embedded IS 'Items whose present text that model has embedded; NULL where there is none';
GRANT SELECT ON catalog_coverage TO PUBLIC;

CREATE VIEW rejected_row WITH (security_barrier) AS
SELECT c.name AS catalog, r.origin, r.row_id, r.reason, r.noticed_at
FROM (SELECT catalog, origin, row_id, reason, noticed_at FROM @extschema@.rejected
      UNION ALL SELECT catalog, k.items, i.item_id, f.reason, f.noticed_at
      FROM @extschema@.refused_text f JOIN @extschema@.catalog k USING (catalog)
      JOIN @extschema@.item i USING (catalog, text_hash) JOIN @extschema@.item_state USING (catalog, item)
      WHERE f.model IN (k.model, k.next_model)) r
JOIN @extschema@.catalog c USING (catalog)
JOIN pg_catalog.pg_class o ON o.oid = r.origin
WHERE pg_catalog.has_table_privilege(c.items, 'SELECT')
  AND pg_catalog.has_table_privilege(r.origin, 'SELECT')
  AND CASE WHEN o.relkind IN ('v', 'f') THEN pg_catalog.pg_has_role(o.relowner, 'USAGE')
           ELSE NOT pg_catalog.row_security_active(r.origin) END;
COMMENT ON VIEW rejected_row IS 'Rows that a catalog could not take, and items whose text its model could not embed, for those whose source the current user may SELECT from, unless row-level security limits what he sees there; of a view or foreign table, for those who have its owner''s rights';
COMMENT ON COLUMN rejected_row.catalog IS 'Name of the catalog';
COMMENT ON COLUMN rejected_row.origin IS 'The source the row stands in';
COMMENT ON COLUMN rejected_row.row_id IS 'Item id of the row, or bundle id and item id; NULL where it has none';
COMMENT ON COLUMN rejected_row.reason IS 'What is wrong with it';
COMMENT ON COLUMN rejected_row.noticed_at IS 'When it was set aside';
GRANT SELECT ON rejected_row TO PUBLIC;
