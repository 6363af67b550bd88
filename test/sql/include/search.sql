--
-- search.sql
--    A plain search for feasible bundles, to count those that an answer should
--    have had.
--
-- good (id, price, cost, category): what each item costs in a bundle, NULL where
-- that is unknown. Sums are exact where prices and budget are whole numbers.
--

-- up to `wanted` feasible bundles of the items given cheapest first: how many
-- there are. Adds one item after the other and looks no further where even the
-- cheapest, or the most profitable, of those that follow would not do.
CREATE FUNCTION extend(prices float8[], costs float8[], best float8[], kinds text[], meets boolean[], n int, start int, need int, price float8, cost float8,
                       held text[], met boolean, budget float8, min_margin float8, most int, wanted int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    found int := 0;
    q float8;
BEGIN
    FOR i IN start .. n - need + 1 LOOP
        q := price + prices[i];
        CONTINUE WHEN q > budget OR cardinality(array_positions(held, kinds[i])) >= most OR need = 1 AND NOT (met OR meets[i]);
        IF need = 1 THEN
            IF min_margin IS NULL OR (q > 0 AND (q - cost - costs[i]) / q >= min_margin) THEN
                found := found + 1;
            END IF;
        -- best[i + 1]: what one of the items after i can gain at most
        ELSIF (budget IS NULL OR q + (need - 1) * prices[i + 1] <= budget)
            AND (min_margin IS NULL OR (1 - min_margin) * q - cost - costs[i] + (need - 1) * best[i + 1] >= -1e-9) THEN
            found := found + extend(prices, costs, best, kinds, meets, n, i + 1, need - 1, q, cost + costs[i],
                                    CASE WHEN kinds[i] IS NULL THEN held ELSE held || kinds[i] END, met OR meets[i], budget, min_margin, most, wanted - found);
        END IF;
        EXIT WHEN found >= wanted;
        EXIT WHEN budget IS NOT NULL AND price + need * prices[i] > budget;
    END LOOP;
    RETURN found;
END $$;

-- Feasible bundles of these items, counted up to `wanted`; items that no bundle can
-- have are left out first. At most `most` items of each capped category, and an item
-- of one that is required.
CREATE FUNCTION feasible(items text[], size int4range, budget float8, min_margin float8, wanted int,
                         capped text[] DEFAULT '{}', most int DEFAULT NULL, required text[] DEFAULT NULL) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE
    prices float8[];
    costs float8[];
    best float8[];
    kinds text[];
    meets boolean[];
    found int := 0;
BEGIN
    SELECT array_agg(q ORDER BY q, id), array_agg(c ORDER BY q, id),
           array_agg(greatest((1 - min_margin) * q - c, later) ORDER BY q, id),
           array_agg(CASE WHEN category = ANY (capped) THEN category END ORDER BY q, id),
           array_agg(required IS NULL OR coalesce(category = ANY (required), false) ORDER BY q, id)
    INTO prices, costs, best, kinds, meets
    FROM (SELECT id, q, c, category, max((1 - min_margin) * q - c) OVER (ORDER BY q, id ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS later
          FROM (SELECT id, category, coalesce(price, 0) AS q, coalesce(cost, 0) AS c FROM good
                WHERE id = ANY (items) AND (budget IS NULL OR price IS NOT NULL)
                  AND (min_margin IS NULL OR (price IS NOT NULL AND cost IS NOT NULL))) p) w;
    IF NOT true = ANY (meets) THEN
        RETURN 0;
    END IF;
    FOR size_now IN lower(size) .. upper(size) - 1 LOOP
        EXIT WHEN found >= wanted;
        found := found + extend(prices, costs, best, kinds, meets, coalesce(cardinality(prices), 0), 1, size_now, 0, 0, '{}', false,
                                budget, min_margin, most, wanted - found);
    END LOOP;
    RETURN found;
END $$;
