#!/usr/bin/env python3
"""load_csv.py: from a folder of CSV files, as people have them, to the demo's tables.

    load_csv.py SOURCE TARGET

Every *.csv below SOURCE is recognised by the columns in its header, never by
its name: a column has a role (item, title, price, basket, user, ...) found
through the aliases below, and the roles of its columns say what a file holds.

    items               item and any of title, category, price, cost, stock
                        (several such files are joined by item)
    events              item, and a basket or a user
    visits              basket and user: whose basket it was, and when
    bundle contents     bundle and item
    bundle prices       bundle, and a list or final price
    bundle purchases    bundle, and a basket or a user: each becomes a basket of
                        the bundle's items

TARGET receives items.csv, purchases.csv, bundle_item.csv, bundle_price.csv in
the column order of tools/demo/shop.sql, and facts: one name=value per line,
what was found, for the shell to source. What is wrong with the data ends the
run with one line that names file, row (the header is row 1), value and remedy.

Only the standard library is used.
"""

import collections
import csv
import datetime
import decimal
import os
import re
import sys

ALIASES = {
    "item": "item id item_id sku asin product product_id",
    "title": "title titles name names item_name product_name",
    "category": "category categories tag tags",
    "price": "price unit_price",
    "cost": "cost unit_cost",
    "stock": "stock inventory in_stock",
    "basket": "basket basket_id session session_id order order_id transaction transaction_id",
    "user": "user user_id customer customer_id",
    "quantity": "quantity qty",
    "time": "timestamp time date bought_at occurred_at",
    "bundle": "bundle bundle_id",
    "list_price": "list_price",
    "final_price": "final_price bundle_price",
}
ROLE_OF = {alias: role for role, aliases in ALIASES.items() for alias in aliases.split()}
# these count only where no other column of the file has their role
WEAK_ALIASES = set("id name names product tag tags date time".split())
ITEM_ROLES = ("title", "category", "price", "cost", "stock")
MONEY_ROLES = ("price", "cost", "list_price", "final_price")
LARGEST_MONEY = decimal.Decimal("9999999999.99")  # numeric(12, 2)
LARGEST_COUNT = 2147483647  # integer


class DataError(Exception):
    """What is wrong with the data, in one sentence for the person who has them."""


class Table:
    """One CSV file: its kind, the roles of its columns, and its rows as dicts by role."""

    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path)
        with open(path, newline="", encoding="utf-8-sig") as file:
            try:
                lines = list(csv.reader(file, delimiter=self._delimiter(file), strict=True))
            except UnicodeDecodeError as error:
                raise DataError(f"{self.name}: not UTF-8 at byte {error.start}; "
                                "convert it, with iconv for instance") from None
            except csv.Error as error:
                raise DataError(f"{self.name}: not a CSV file: {error}") from None
        if not lines:
            raise DataError(f"{self.name}: empty; a header line is needed")
        self.header = lines[0]
        self.roles = self._find_roles()
        self.kind = self._find_kind()
        self.lines = lines[1:]

    @staticmethod
    def _delimiter(file):
        """The one of comma, semicolon and tab that the header line uses most."""
        line = file.readline()
        file.seek(0)
        return max(",;\t", key=line.count)

    def _find_roles(self):
        """Role of each column, or None; one role twice is an error."""
        names = [re.sub(r"[\s_-]+", "_", name.strip().lower()) for name in self.header]
        strong = {ROLE_OF.get(name) for name in names if name not in WEAK_ALIASES}
        roles = [None if name in WEAK_ALIASES and ROLE_OF[name] in strong else ROLE_OF.get(name)
                 for name in names]
        for role, count in collections.Counter(filter(None, roles)).items():
            if count > 1:
                same = [name for name, its in zip(self.header, roles) if its == role]
                raise DataError(f"{self.name}: the columns {', '.join(map(repr, same))} "
                                f"all mean {role}; rename or remove all but one")
        return roles

    def _find_kind(self):
        has = set(filter(None, self.roles))
        if "bundle" in has:
            if "item" in has:
                return "bundle contents"
            if has & {"basket", "user"}:
                return "bundle purchases"
            return "bundle prices" if has & {"list_price", "final_price"} else None
        if "item" in has:
            if has & {"basket", "user"}:
                return "events"
            return "items" if has & set(ITEM_ROLES) else None
        return "visits" if {"basket", "user"} <= has else None

    def __contains__(self, role):
        return role in self.roles

    def rows(self):
        """Yields (row number, {role: stripped text}); blank lines are skipped."""
        for number, line in enumerate(self.lines, start=2):
            if not line:
                continue
            if len(line) != len(self.header):
                raise DataError(f"{self.name}, row {number}: {len(line)} fields, but the "
                                f"header has {len(self.header)}; quote fields with commas")
            yield number, {role: text.strip() for role, text in zip(self.roles, line) if role}

    def required(self, row, number, role):
        if not row[role]:
            raise DataError(f"{self.name}, row {number}: {role} is empty")
        return row[role]


def parse_money(table, number, role, text):
    """A price as numeric(12, 2) takes it; None where the field is empty."""
    if not text:
        return None
    if re.fullmatch(r"[$€£]?\s*\d+(\.\d*)?|[$€£]?\s*\.\d+", text):
        amount = decimal.Decimal(re.sub(r"[$€£\s]", "", text))
        if amount <= LARGEST_MONEY:
            return amount
    raise DataError(f"{table.name}, row {number}: {role} {text!r} is not a price; "
                    "write it like 12.50, or leave it empty where it is unknown")


def parse_count(table, number, role, text, least):
    if not text:
        return None
    if re.fullmatch(r"\d+", text) and least <= int(text) <= LARGEST_COUNT:
        return int(text)
    raise DataError(f"{table.name}, row {number}: {role} {text!r} is not a whole number "
                    f"from {least} up")


def parse_time(table, number, text):
    """ISO 8601, or seconds or milliseconds since 1970; as text for timestamptz."""
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{9,13}", text):
            seconds = int(text) / (1000 if len(text) > 11 else 1)
            return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat()
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).isoformat()
    except (ValueError, OverflowError):
        raise DataError(f"{table.name}, row {number}: time {text!r} is neither ISO 8601 "
                        "(2025-01-31 12:00:00) nor seconds since 1970") from None


def parse_category(text):
    """(category, all words): of [[A,B,C,D],[E]] the third level C, of A|B|C the first tag A.

    Paths stop at the third level because constraints and the diversity of a
    slate work on groups of items, and leaves hold two or three items each.
    """
    if text.startswith("[["):
        paths = [path.split(",") for path in text.strip("[]").split("],[")]
        return paths[0][:3][-1].strip(), ", ".join(dict.fromkeys(sum(paths, [])))
    levels = text.split("|")
    return levels[0].strip(), ", ".join(levels)


class Shop:
    """Everything found in a folder, joined."""

    def __init__(self, tables):
        self.tables = collections.defaultdict(list)
        for table in tables:
            self.tables[table.kind].append(table)
        self.items = {}             # item -> {role: value}
        self.visits = {}            # basket -> (user, time)
        self.bundles = collections.defaultdict(dict)    # bundle -> {item: None}, an ordered set
        self.bundle_prices = {}     # bundle -> (list price, final price)
        self.purchases = {}         # (basket, user, item) -> [quantity, price, time]
        self.unknown_items = set()
        self.unknown_events = 0
        self._read_items(tables)
        self._read_visits()
        self._read_bundles()
        self._read_events()
        self._read_bundle_purchases()

    def _read_items(self, tables):
        if not self.tables["items"]:
            seen = "; ".join(f"{table.name} has {', '.join(table.header)}" for table in tables)
            raise DataError("no file of items: one needs a column item (or id, item_id, sku) and "
                            "a title, category, price, cost or stock. "
                            f"Found: {seen or 'no .csv file'}")
        for table in self.tables["items"]:
            first = {}
            for number, row in table.rows():
                item = table.required(row, number, "item")
                if item in first:
                    raise DataError(f"{table.name}, row {number}: item {item!r} again; it stands "
                                    f"in row {first[item]} already; remove one of them")
                first[item] = number
                known = self.items.setdefault(item, {})
                for role, value in self._item_values(table, number, row):
                    if known.setdefault(role, value) != value:
                        raise DataError(f"{table.name}, row {number}: {role} of item {item!r} is "
                                        f"{value!s}, but {known[role]!s} in another file")

    @staticmethod
    def _item_values(table, number, row):
        """(role, value) of the fields that are not empty."""
        for role in ITEM_ROLES:
            text = row.get(role)
            if not text:
                continue
            if role in MONEY_ROLES:
                yield role, parse_money(table, number, role, text)
            elif role == "stock":
                yield role, parse_count(table, number, role, text, 0)
            elif role == "category":
                category, words = parse_category(text)
                yield "category", category or None
                yield "tags", words or None
            else:
                yield role, text

    def _read_visits(self):
        for table in self.tables["visits"]:
            for number, row in table.rows():
                basket = table.required(row, number, "basket")
                if basket in self.visits:
                    raise DataError(f"{table.name}, row {number}: {basket!r} again; a basket "
                                    "belongs to one user and is listed once")
                self.visits[basket] = (row["user"] or None,
                                       parse_time(table, number, row.get("time")))

    def _read_bundles(self):
        for table in self.tables["bundle contents"]:
            for number, row in table.rows():
                item = table.required(row, number, "item")
                if item in self.items:
                    self.bundles[table.required(row, number, "bundle")][item] = None
        for table in self.tables["bundle prices"]:
            for number, row in table.rows():
                bundle = table.required(row, number, "bundle")
                if bundle in self.bundle_prices:
                    raise DataError(f"{table.name}, row {number}: bundle {bundle!r} again")
                self.bundle_prices[bundle] = tuple(
                    parse_money(table, number, role, row.get(role))
                    for role in ("list_price", "final_price"))

    def _add(self, basket, user, item, quantity, price, time):
        """One line of a basket; the same item twice in a basket adds up."""
        visit_user, visit_time = self.visits.get(basket, (None, None))
        key = (basket, user or visit_user, item)
        if key in self.purchases:
            self.purchases[key][0] += quantity
        else:
            self.purchases[key] = [quantity, price, time or visit_time]

    def _read_events(self):
        for table in self.tables["events"]:
            for number, row in table.rows():
                item = table.required(row, number, "item")
                basket, user = row.get("basket"), row.get("user")
                if not basket and not user:
                    raise DataError(f"{table.name}, row {number}: neither basket nor user")
                price = parse_money(table, number, "price", row.get("price"))
                time = parse_time(table, number, row.get("time"))
                quantity = parse_count(table, number, "quantity", row.get("quantity"), 1)
                if item not in self.items:
                    self.unknown_items.add(item)
                    self.unknown_events += 1
                    continue
                self._add(basket or user, user, item, quantity or 1, price, time)

    def _read_bundle_purchases(self):
        """A bundle's items join the basket they were bought in, or make one of their own."""
        for table in self.tables["bundle purchases"]:
            for number, row in table.rows():
                bundle = table.required(row, number, "bundle")
                basket, user = row.get("basket"), row.get("user")
                if not basket and not user:
                    raise DataError(f"{table.name}, row {number}: neither basket nor user")
                time = parse_time(table, number, row.get("time"))
                for item in self.bundles.get(bundle, ()):
                    key = (basket, user or self.visits.get(basket, (None,))[0], item)
                    if not basket or key not in self.purchases:
                        self._add(basket or f"{user}/{bundle}", user, item, 1, None, time)

    def facts(self):
        """What was found, in the order in which it is worth reading."""
        has = {f"has_{role}": int(any(role in item for item in self.items.values()))
               for role in ITEM_ROLES}
        return {
            "items": len(self.items),
            "purchases": len(self.purchases),
            "baskets": len({basket for basket, _, _ in self.purchases}),
            "users": len({user for _, user, _ in self.purchases if user}),
            "bundles": len(self.bundles),
            "unknown_items": len(self.unknown_items),
            "unknown_events": self.unknown_events,
            **has,
            "has_user": int(any(user for _, user, _ in self.purchases)),
            "has_time": int(any(line[2] for line in self.purchases.values())),
        }


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_shop(shop, target):
    os.makedirs(target, exist_ok=True)
    item_columns = ("title", "category", "tags", "price", "cost", "stock")
    write_csv(os.path.join(target, "items.csv"), ("item",) + item_columns,
              ([item] + [values.get(role) for role in item_columns]
               for item, values in shop.items.items()))
    write_csv(os.path.join(target, "purchases.csv"),
              ("basket", "user_id", "item", "quantity", "price", "bought_at"),
              ([basket, user, item] + line
               for (basket, user, item), line in shop.purchases.items()))
    write_csv(os.path.join(target, "bundle_item.csv"), ("bundle", "item"),
              ((bundle, item) for bundle, items in shop.bundles.items() for item in items))
    write_csv(os.path.join(target, "bundle_price.csv"), ("bundle", "list_price", "final_price"),
              ((bundle,) + prices for bundle, prices in shop.bundle_prices.items()))
    with open(os.path.join(target, "facts"), "w", encoding="utf-8") as file:
        for name, value in shop.facts().items():
            file.write(f"{name}={value}\n")


def read_folder(source):
    """All tables of a folder, in the order of their names."""
    if not os.path.isdir(source):
        raise DataError(f"{source}: not a folder")
    names = sorted(name for name in os.listdir(source) if name.lower().endswith(".csv"))
    return [Table(os.path.join(source, name)) for name in names]


def check_purchases(shop):
    if shop.purchases:
        return
    if shop.unknown_events:
        raise DataError(f"no purchases: all {shop.unknown_events} events name items that no file "
                        f"of items describes, such as {min(shop.unknown_items)!r}")
    raise DataError("no purchases: a file with item and basket (or session, order, user), or one "
                    "with bundle and user beside the bundles' contents, is needed")


def main(arguments):
    if len(arguments) != 2:
        print("usage: load_csv.py SOURCE TARGET", file=sys.stderr)
        return 2
    source, target = arguments
    csv.field_size_limit(10_000_000)
    try:
        tables = read_folder(source)
        shop = Shop(tables)
        check_purchases(shop)
    except (DataError, OSError) as error:
        print(f"load_csv: {error}", file=sys.stderr)
        return 1
    write_shop(shop, target)
    for table in tables:
        kind = table.kind or f"not recognised, left out (columns {', '.join(table.header)})"
        print(f"  {table.name}: {kind}")
    if shop.unknown_events:
        print(f"  {shop.unknown_events} events name {len(shop.unknown_items)} items that no "
              "file of items describes; left out")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
