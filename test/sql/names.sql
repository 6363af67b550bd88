\unset ECHO
\set QUIET 1
\i test/sql/include/setup.sql
--
-- names.sql
--    Names that need quoting, or are as long as names may be, for everything that
--    has one: role, schema, table, partition, columns, catalog, policy, model.
--
SELECT plan(38);
SET client_min_messages = error;

-- the name but for its last character, which is the number of what it names
CREATE FUNCTION public.nth(name text, n int) RETURNS text LANGUAGE sql AS $$SELECT regexp_replace(name, '.$', '') || n$$;
CREATE FUNCTION public.hint(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    hint text;
BEGIN
    EXECUTE statement;
    RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
    RETURN hint;
END $$;

CREATE FUNCTION public.live(name text, models text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    owner text = public.nth(name, 1);
    other text = public.nth(name, 2);
    source text = format('%I.%I', name, name);
    number int;
    cure text;
BEGIN
    EXECUTE format('CREATE ROLE %I', owner);
    EXECUTE format('CREATE ROLE %I', other);
    EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', name, owner);
    EXECUTE format('GRANT ALL ON SCHEMA %I TO %I', name, other);
    PERFORM bundle_rec.load_model(name, models);
    EXECUTE format('SET LOCAL ROLE %I', owner);
    EXECUTE format('CREATE TABLE %s (%I text PRIMARY KEY, %I text, %I float8, %I text, %I timestamptz)', source,
                   public.nth(name, 1), public.nth(name, 2), public.nth(name, 3), public.nth(name, 4), public.nth(name, 5));
    EXECUTE format('INSERT INTO %s SELECT %L || i, ''a thing '' || i, i, %L FROM generate_series(1, 6) i', source, name, name);
    EXECUTE format('CREATE TABLE %I.%I (%I text, %I int, %I text) PARTITION BY LIST (%4$I)', name, public.nth(name, 7),
                   public.nth(name, 1), public.nth(name, 2), public.nth(name, 3));
    EXECUTE format('CREATE TABLE %1$I.%2$I PARTITION OF %1$I.%3$I DEFAULT', name, public.nth(name, 8), public.nth(name, 7));
    EXECUTE format('CREATE VIEW %I.%I AS SELECT * FROM %s', name, public.nth(name, 6), source);
    RETURN NEXT lives_ok(format('SELECT bundle_rec.create_catalog(%L, %L, %L, text => ARRAY[%L], price => %L, category => %L, created_at => %L, model => %L)',
        name, source, public.nth(name, 1), public.nth(name, 2), public.nth(name, 3), public.nth(name, 4), public.nth(name, 5), name), 'a catalog');
    RETURN NEXT throws_ok(format('SELECT bundle_rec.create_catalog(%L, %L, %L)', name, source, public.nth(name, 1)), '42710',
                          format('catalog "%s" already exists', name), 'its name is taken');
    RETURN NEXT ok(strpos(public.hint(format('SELECT bundle_rec.create_catalog(%L, %L, %L)', name, source, public.nth(name, 1))), 
                          format('drop_catalog(%L)', name)) > 0, 'and quoted in a hint');
    RETURN NEXT lives_ok(format('SELECT bundle_rec.add_event_source(%L, %L, item_id => %L, basket_id => %L, kind => %L)', name,
        format('%I.%I', name, public.nth(name, 7)), public.nth(name, 1), public.nth(name, 2), public.nth(name, 3)), 'its events');
    RETURN NEXT lives_ok(format('SELECT bundle_rec.create_catalog(%L, %L, %L, text => ARRAY[%L], model => %L)', other, format('%I.%I', name, public.nth(name, 6)),
                                public.nth(name, 1), public.nth(name, 2), name), 'another over a view');
    EXECUTE format('INSERT INTO %s SELECT %L || i, ''a thing '' || i, i, %L FROM generate_series(7, 9) i', source, name, name);
    EXECUTE format('INSERT INTO %I.%I SELECT %L || i, r, ''purchase'' FROM generate_series(1, 20) r, generate_series(1, 3) i', name, public.nth(name, 8), name);
    RETURN NEXT lives_ok(format('SELECT bundle_rec.sync(%L), bundle_rec.sync(%L), bundle_rec.refresh(%1$L), bundle_rec.refresh(%2$L)', name, other), 'synchronised and refreshed');
    RETURN NEXT results_eq('SELECT catalog, items, embedded FROM bundle_rec.catalog_coverage ORDER BY catalog COLLATE "C" = ' || quote_literal(other),
                           format('VALUES (%L::text, 9::bigint, 9::bigint), (%L, 9, 9)', name, other), 'with all items');
    RETURN NEXT set_eq(format('SELECT item_id FROM bundle_rec.bought_together(%L, ARRAY[%L])', name, name || 1), ARRAY[name || 2, name || 3], 'and their baskets');
    RETURN NEXT lives_ok(format('SELECT bundle_rec.create_policy(%L, ''epsilon_greedy'', %L, make_default => true)', public.nth(name, 3), name), 'a policy');
    RETURN NEXT results_eq(format('SELECT count(*) FROM bundle_rec.recommend(%L, query => ''a thing'', categories => ARRAY[%1$L], policy => %L)', name, public.nth(name, 3)),
                           'VALUES (5::bigint)', 'decides');
    RETURN NEXT lives_ok(format('SELECT bundle_rec.feedback(max(decision_id), 1, kind => %L, event_id => %1$L) FROM bundle_rec.recommend(%L)', name, name), 'and takes feedback');
    EXECUTE format('GRANT SELECT ON %s TO %I', source, other);
    SELECT c.number INTO number FROM bundle_rec.catalog_coverage c WHERE catalog = name;
    EXECUTE format('GRANT INSERT ON bundle_rec.decision_%s TO %I', number, other);
    EXECUTE format('SET LOCAL ROLE %I', other);
    RETURN NEXT lives_ok(format('SELECT bundle_rec.recommend(%L)', name), 'others log by grant');
    RETURN NEXT is((SELECT used_by FROM bundle_rec.model m WHERE m.name = live.name), ARRAY[name], 'the model says who uses it');

    RESET ROLE;
    -- another owner, who must not lose what was granted to the first one
    EXECUTE format('CREATE ROLE %I', public.nth(name, 3));
    EXECUTE format('GRANT ALL ON SCHEMA %I TO %I', name, public.nth(name, 3));
    EXECUTE format('ALTER TABLE %s OWNER TO %I', source, public.nth(name, 3));
    EXECUTE format('SET LOCAL ROLE %I', public.nth(name, 3));
    PERFORM bundle_rec.refresh(name);
    EXECUTE format('SET LOCAL ROLE %I', other);
    RETURN NEXT lives_ok(format('SELECT bundle_rec.recommend(%L)', name), 'the grant outlives a change of owners');
    RESET ROLE;
    EXECUTE format('ALTER TABLE %s OWNER TO %I', source, owner);

    -- a partition of another role: the hint is a statement that mends it
    EXECUTE format('ALTER TABLE %I.%I OWNER TO %I', name, public.nth(name, 8), other);
    EXECUTE format('SELECT bundle_rec.drop_event_source(%L, %L)', name, format('%I.%I', name, public.nth(name, 7)));
    EXECUTE format('SET LOCAL ROLE %I', owner);
    cure := public.hint(format('SELECT bundle_rec.add_event_source(%L, %L, item_id => %L)', name, format('%I.%I', name, public.nth(name, 7)), public.nth(name, 1)));
    EXECUTE format('SET LOCAL ROLE %I', other);
    RETURN NEXT lives_ok(cure, 'a hint for the owner of a partition');
    EXECUTE format('SET LOCAL ROLE %I', owner);
    RETURN NEXT lives_ok(format('SELECT bundle_rec.add_event_source(%L, %L, item_id => %L)', name, format('%I.%I', name, public.nth(name, 7)), public.nth(name, 1)), 'mends it');
    EXECUTE format('DROP TABLE %s CASCADE', source);
    RETURN NEXT ok(strpos(public.hint(format('SELECT bundle_rec.recommend(%L)', name)), format('drop_catalog(%L)', name)) > 0, 'a hint quotes the name');
    RETURN NEXT lives_ok(format('SELECT bundle_rec.drop_catalog(%L), bundle_rec.drop_catalog(%L)', name, other), 'and so they can be dropped');
    RESET ROLE;
    RETURN NEXT lives_ok(format('SELECT bundle_rec.drop_model(%L)', name), 'with the model');
    EXECUTE format('DROP OWNED BY %I, %I, %I', owner, other, public.nth(name, 3));
    EXECUTE format('DROP ROLE %I, %I, %I', owner, other, public.nth(name, 3));
END $$;

SELECT public.live(E'br_test "Sch\\ema". ''it''''s''\n\t$1 @ %s %I;--x', :'golden_dir' || '/models/tiny-bert-cls');
SELECT public.live('br_test_' || repeat('é', 27) || 'x', :'golden_dir' || '/models/tiny-bert-cls');
SELECT * FROM finish();
