#!/usr/bin/env python3
"""Tests of tools/demo/load_csv.py: what it recognises, joins, expands and refuses.

    test/demo/test_load_csv.py                      in TAP
    python3 -m unittest discover -s test/demo       in unittest's own form
"""

import contextlib
import csv
import importlib.util
import io
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
SPEC = importlib.util.spec_from_file_location(
    "load_csv", os.path.join(ROOT, "tools", "demo", "load_csv.py"))
load_csv = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(load_csv)

ITEMS = "item,title,price\na,Tent,100\nb,Stove,30.5\nc,Lamp,\n"


class Folder(unittest.TestCase):
    """Runs the loader over files given as text."""

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.source = os.path.join(temporary.name, "source")
        self.target = os.path.join(temporary.name, "target")
        os.mkdir(self.source)

    def load(self, **files):
        """Writes each text as NAME.csv, runs the loader; (exit status, stdout, stderr)."""
        for name, text in files.items():
            mode = "wb" if isinstance(text, bytes) else "w"
            encoding = None if isinstance(text, bytes) else "utf-8"
            with open(os.path.join(self.source, name + ".csv"), mode, encoding=encoding) as file:
                file.write(text)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = load_csv.main([self.source, self.target])
        return status, out.getvalue(), err.getvalue()

    def loads(self, **files):
        status, out, err = self.load(**files)
        self.assertEqual((status, err), (0, ""))
        return out

    def refuses(self, *words, **files):
        """The run fails with one line that contains each of the words, and writes nothing."""
        status, _, err = self.load(**files)
        self.assertEqual(status, 1)
        self.assertEqual(err.count("\n"), 1)
        for word in words:
            self.assertIn(word, err)
        self.assertFalse(os.path.exists(self.target))

    def rows(self, name):
        with open(os.path.join(self.target, name), newline="", encoding="utf-8") as file:
            return list(csv.reader(file))[1:]

    def facts(self):
        with open(os.path.join(self.target, "facts"), encoding="utf-8") as file:
            return dict(line.strip().split("=") for line in file)


class Recognition(Folder):
    def test_plain_files(self):
        self.loads(x=ITEMS, y="order,item,user\n1,a,u\n1,b,u\n2,c,v\n")
        self.assertEqual(self.rows("items.csv"), [["a", "Tent", "", "", "100", "", ""],
                                                  ["b", "Stove", "", "", "30.5", "", ""],
                                                  ["c", "Lamp", "", "", "", "", ""]])
        self.assertEqual(self.rows("purchases.csv"), [["1", "u", "a", "1", "", ""],
                                                      ["1", "u", "b", "1", "", ""],
                                                      ["2", "v", "c", "1", "", ""]])
        facts = self.facts()
        self.assertEqual([facts[name] for name in ("items", "purchases", "baskets", "users")],
                         ["3", "3", "2", "2"])
        self.assertEqual([facts[name] for name in ("has_price", "has_cost", "has_stock")],
                         ["1", "0", "0"])

    def test_every_alias_of_an_item(self):
        for alias in ("item", "id", "Item ID", "item_id", "ITEM-ID", "sku"):
            with self.subTest(alias):
                self.loads(x=f"{alias},name\na,Tent\n", y=f"session ID,{alias}\n1,a\n")
                self.assertEqual(self.rows("items.csv")[0][:2], ["a", "Tent"])

    def test_line_number_beside_item(self):
        self.loads(x=ITEMS, y="id,order_id,item_id\n1,9,a\n2,9,b\n")
        self.assertEqual([row[2] for row in self.rows("purchases.csv")], ["a", "b"])

    def test_byte_order_mark_semicolons_quotes(self):
        self.loads(x="\ufeffitem;title\na;\"Tent; \"\"Dome\"\"\nfor 2\"\n", y="order\titem\n1\ta\n")
        self.assertEqual(self.rows("items.csv")[0][1], 'Tent; "Dome"\nfor 2')

    def test_unknown_file_is_named(self):
        out = self.loads(x=ITEMS, y="order,item\n1,a\n", z="bundle,intent\n1,camping\n")
        self.assertIn("z.csv: not recognised, left out (columns bundle, intent)", out)

    def test_currency_signs(self):
        self.loads(x="item,price\na,$12.50\nb,€ 3\n", y="order,item\n1,a\n")
        self.assertEqual([row[4] for row in self.rows("items.csv")], ["12.50", "3"])


class Joining(Folder):
    def test_two_item_files(self):
        self.loads(titles="item ID,titles\na,Tent\nb,Stove\n",
                   categories='item ID,categories\nb,"[[Sport,Outdoor,Stoves,Gas],[Gifts]]"\n',
                   events="session ID,item ID\n1,a\n")
        self.assertEqual(self.rows("items.csv"),
                         [["b", "Stove", "Stoves", "Sport, Outdoor, Stoves, Gas, Gifts", "", "", ""],
                          ["a", "Tent", "", "", "", "", ""]])

    def test_first_tag_is_the_category(self):
        self.loads(x="item,tags\na,Indie|Puzzle\n", y="order,item\n1,a\n")
        self.assertEqual(self.rows("items.csv")[0][2:4], ["Indie", "Indie, Puzzle"])

    def test_visits_give_user_and_time(self):
        self.loads(x=ITEMS, events="session ID,item ID\n7,a\n",
                   visits="user ID,session ID,timestamp\nu,7,1405036800\n")
        # 1405036800 = 2014-07-11 00:00:00 UTC, by date -u -d @1405036800
        self.assertEqual(self.rows("purchases.csv"),
                         [["7", "u", "a", "1", "", "2014-07-11T00:00:00+00:00"]])
        self.assertEqual(self.facts()["has_time"], "1")

    def test_times_in_their_forms(self):
        for text, moment in (("1405036800000", "2014-07-11T00:00:00+00:00"),
                             ("2014-07-11 08:30:00", "2014-07-11T08:30:00"),
                             ("2014-07-11T08:30:00Z", "2014-07-11T08:30:00+00:00")):
            with self.subTest(text):
                self.loads(x=ITEMS, y=f"order,item,time\n1,a,{text}\n")
                self.assertEqual(self.rows("purchases.csv")[0][5], moment)

    def test_repeated_line_adds_quantity(self):
        self.loads(x=ITEMS, y="order,item,qty\n1,a,2\n1,a,3\n")
        self.assertEqual(self.rows("purchases.csv"), [["1", "", "a", "5", "", ""]])

    def test_without_baskets_a_user_is_one_basket(self):
        self.loads(x=ITEMS, y="user,item\nu,a\nu,b\n")
        self.assertEqual([row[:3] for row in self.rows("purchases.csv")],
                         [["u", "u", "a"], ["u", "u", "b"]])

    def test_unknown_items_are_counted(self):
        out = self.loads(x=ITEMS, y="order,item\n1,a\n1,zz\n2,zz\n")
        self.assertIn("2 events name 1 items", out)
        self.assertEqual(self.facts()["purchases"], "1")


class Bundles(Folder):
    CONTENTS = "bundle_id,item_id\n1,a\n1,b\n2,c\n"

    def test_purchase_becomes_a_basket(self):
        self.loads(x=ITEMS, contents=self.CONTENTS, bought="user_id,bundle_id\nu,1\nv,2\n")
        self.assertEqual([row[:3] for row in self.rows("purchases.csv")],
                         [["u/1", "u", "a"], ["u/1", "u", "b"], ["v/2", "v", "c"]])

    def test_purchase_inside_a_session_is_not_counted_twice(self):
        self.loads(x=ITEMS, contents=self.CONTENTS, events="session,item\n7,a\n",
                   bought="session,bundle\n7,1\n")
        self.assertEqual([row[:4] for row in self.rows("purchases.csv")],
                         [["7", "", "a", "1"], ["7", "", "b", "1"]])

    def test_prices(self):
        self.loads(x=ITEMS, contents=self.CONTENTS, bought="user_id,bundle_id\nu,1\n",
                   prices="bundle_id,list_price,final_price\n1,130.50,99.00\n")
        self.assertEqual(self.rows("bundle_price.csv"), [["1", "130.50", "99.00"]])


class Refusals(Folder):
    EVENTS = "order,item\n1,a\n"

    def test_empty_folder(self):
        self.refuses("no file of items", "no .csv file")

    def test_missing_folder(self):
        os.rmdir(self.source)
        self.refuses("not a folder")

    def test_no_items_file(self):
        self.refuses("no file of items", "y.csv has order, item", y=self.EVENTS)

    def test_no_purchases(self):
        self.refuses("no purchases", "basket", x=ITEMS)

    def test_all_events_unknown(self):
        self.refuses("no purchases", "'zz'", x=ITEMS, y="order,item\n1,zz\n")

    def test_empty_file(self):
        self.refuses("y.csv: empty", x=ITEMS, y="")

    def test_two_columns_of_one_meaning(self):
        self.refuses("x.csv", "'item'", "'sku'", x="item,sku,title\na,b,Tent\n", y=self.EVENTS)

    def test_wrong_number_of_fields(self):
        self.refuses("x.csv, row 3", "3 fields", "has 2",
                     x="item,title\na,Tent\nb,Stove, small\n", y=self.EVENTS)

    def test_unterminated_quote(self):
        self.refuses("x.csv", "not a CSV file", x='item,title\na,"Tent\n', y=self.EVENTS)

    def test_latin1(self):
        self.refuses("x.csv", "not UTF-8", x="item,title\na,Küche\n".encode("latin-1"),
                     y=self.EVENTS)

    def test_duplicate_item(self):
        self.refuses("x.csv, row 4", "item 'a'", "row 2",
                     x="item,title\na,Tent\nb,Stove\na,Lamp\n", y=self.EVENTS)

    def test_contradicting_files(self):
        self.refuses("z.csv, row 2", "price", "99", "100",
                     x=ITEMS, y=self.EVENTS, z="item,price\na,99\n")

    def test_empty_item(self):
        self.refuses("x.csv, row 2", "item is empty", x="item,title\n,Tent\n", y=self.EVENTS)

    def test_prices_that_are_none(self):
        for price in ("free", "-1", "nan", "inf", "1e3", "12,50", "1 000", "99999999999"):
            with self.subTest(price):
                self.refuses("x.csv, row 3", "price", repr(price),
                             x=f'item,price\na,1\nb,"{price}"\n', y=self.EVENTS)

    def test_stock_that_is_none(self):
        self.refuses("x.csv, row 2", "stock '-3'", x="item,stock\na,-3\n", y=self.EVENTS)

    def test_time_that_is_none(self):
        self.refuses("y.csv, row 2", "time 'yesterday'",
                     x=ITEMS, y="order,item,timestamp\n1,a,yesterday\n")

    def test_basket_of_two_users(self):
        self.refuses("z.csv, row 3", "'1' again",
                     x=ITEMS, y=self.EVENTS, z="session,user\n1,u\n1,v\n")


class TapResult(unittest.TestResult):
    """Prints each test as a line of TAP."""

    def stopTest(self, test):
        broken = [trace for failed, trace in self.failures + self.errors
                  if failed is test or getattr(failed, "test_case", None) is test]
        print(f"{'not ok' if broken else 'ok'} {self.testsRun} - {test.id().partition('.')[2]}")
        print("".join(f"# {line}\n" for trace in broken for line in trace.split("\n")), end="")
        super().stopTest(test)


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = TapResult()
    suite.run(result)
    print(f"1..{result.testsRun}")
    sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
