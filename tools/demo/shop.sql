--
-- shop.sql
--	  The tables of the demo's shop: ordinary tables, nothing in them is made
--	  for the extension.
--
CREATE SCHEMA shop;

CREATE TABLE shop.product
(
    item     text PRIMARY KEY,
    title    text,
    category text,
    tags     text,
    price    numeric(12, 2) CHECK (price >= 0),
    cost     numeric(12, 2) CHECK (cost >= 0),
    stock    integer CHECK (stock >= 0)
);

CREATE TABLE shop.purchase
(
    purchase  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    basket    text NOT NULL,
    user_id   text,
    item      text NOT NULL REFERENCES shop.product,
    quantity  integer NOT NULL DEFAULT 1,
    price     numeric(12, 2),           -- of one piece, as charged
    bought_at timestamptz
);

CREATE INDEX ON shop.purchase (item);
CREATE INDEX ON shop.purchase (basket);

-- curated bundles, where the data have some
CREATE TABLE shop.bundle_item
(
    bundle text,
    item   text REFERENCES shop.product,
    PRIMARY KEY (bundle, item)
);

CREATE TABLE shop.bundle_price
(
    bundle      text PRIMARY KEY,
    list_price  numeric(12, 2),
    final_price numeric(12, 2)
);
