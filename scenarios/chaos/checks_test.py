"""Canaries: every check is handed a history that breaks its rule and must say so.

Also the links: a scenario whose cut does not cut would pass for ever.
"""
import unittest

import checks
from checks import Crash
from workload import Increment, Operation


def write(value, at):
    return Operation(value, at, at + 0.01)


def unknown(value, at):
    return Operation(value, at, None)


class OwnedKeysCheck(unittest.TestCase):
    def check(self, operations, value, crash=None):
        observed = {} if value is None else {b"k": value}
        return checks.owned_keys({b"k": operations}, observed, crash)

    def test_the_last_acknowledged_write_is_demanded(self):
        history = [write(b"1", 1), write(b"2", 2)]
        self.assertFalse(self.check(history, b"2"))
        self.assertIn("older write", self.check(history, b"1")[0])
        self.assertIn("missing", self.check(history, None)[0])
        self.assertTrue(self.check(history, b"never written"))

    def test_a_deleted_key_that_is_back_is_reported(self):
        history = [write(b"1", 1), write(None, 2)]
        self.assertFalse(self.check(history, None))
        self.assertIn("deleted key is back", self.check(history, b"1")[0])

    def test_an_unknown_outcome_allows_both_and_nothing_else(self):
        history = [write(b"1", 1), write(b"2", 2), unknown(b"3", 3)]
        self.assertFalse(self.check(history, b"2"))
        self.assertFalse(self.check(history, b"3"))
        self.assertTrue(self.check(history, b"1"))
        self.assertTrue(self.check(history, None))

    def test_a_crash_takes_back_its_grace_and_not_more(self):
        history = [write(b"1", 1), write(b"2", 8.0), write(b"3", 9.5)]
        self.assertFalse(self.check(history, b"2", Crash(10, 1)))
        self.assertFalse(self.check(history, b"3", Crash(10, 1)))
        self.assertTrue(self.check(history, b"1", Crash(10, 1)))
        self.assertTrue(self.check(history, b"2", Crash(10, 0)))

    def test_a_delete_that_found_nothing_on_an_empty_disk_does_not_decide(self):
        history = [write(b"1", 1), Operation(None, 11, 11.1, found_nothing=True)]
        self.assertFalse(self.check(history, b"1", Crash(10, 1, forgets_all=True)))
        self.assertTrue(self.check(history, b"1", Crash(10, 1)))
        self.assertTrue(self.check(history, b"2", Crash(10, 1, forgets_all=True)))

    def test_writes_after_the_crash_are_not_taken_back(self):
        history = [write(b"1", 9.9), write(b"2", 10.5)]
        self.assertTrue(self.check(history, b"1", Crash(10, 1)))
        self.assertFalse(self.check(history, b"2", Crash(10, 1)))


class CountersCheck(unittest.TestCase):
    def check(self, increments, value, crash=None):
        return checks.counters({"us": {b"c": increments}, "eu": {}},
                               {b"c": str(value).encode()}, {"us": crash})

    def test_one_too_few_and_one_too_many_are_reported(self):
        history = [Increment(t, t + 0.01) for t in range(5)]
        self.assertFalse(self.check(history, 5))
        self.assertTrue(self.check(history, 4))
        self.assertTrue(self.check(history, 6))

    def test_an_unknown_outcome_counts_once_or_not_at_all(self):
        history = [Increment(1, 1.01), Increment(2, None)]
        self.assertFalse(self.check(history, 1))
        self.assertFalse(self.check(history, 2))
        self.assertTrue(self.check(history, 0))
        self.assertTrue(self.check(history, 3))

    def test_a_crash_takes_back_its_grace_and_not_more(self):
        history = [Increment(1, 1.01), Increment(9.5, 9.51), Increment(11, 11.01)]
        self.assertFalse(self.check(history, 2, Crash(10, 1)))
        self.assertTrue(self.check(history, 1, Crash(10, 1)))
        self.assertTrue(self.check(history, 2, Crash(10, 0)))


class OtherChecks(unittest.TestCase):
    def test_regions_that_differ_are_reported(self):
        self.assertFalse(checks.same_data({"us": {1: b"a"}, "eu": {1: b"a"}}))
        self.assertTrue(checks.same_data({"us": {1: b"a"}, "eu": {1: b"b"}}))
        self.assertTrue(checks.same_data({"us": {1: b"a"}, "eu": {}}))
        self.assertTrue(checks.same_data({"us": {}, "eu": {}, "ap": {1: b"a"}}))

    def test_a_key_that_came_back_is_reported(self):
        self.assertFalse(checks.absent([b"k"], {b"other": b"1"}))
        self.assertTrue(checks.absent([b"k"], {b"k": b"1"}))

    def test_a_calm_that_did_not_settle_is_reported(self):
        self.assertFalse(checks.settled({}, 1.5, 60))
        self.assertTrue(checks.settled({"us": {"tombstones": 3}}, None, 60))

    def test_torn_pairs_are_reported(self):
        self.assertFalse(checks.pairs_agree({b"{pair:1}a": b"x", b"{pair:1}b": b"x"}))
        self.assertTrue(checks.pairs_agree({b"{pair:1}a": b"x", b"{pair:1}b": b"y"}))
        self.assertTrue(checks.pairs_agree({b"{pair:1}a": b"x"}))

    def test_demand_raises_and_names_the_promise(self):
        checks.demand([], "nothing")
        with self.assertRaisesRegex(checks.Violation, "no write is lost"):
            checks.demand(["k"], "no write is lost")


if __name__ == "__main__":
    unittest.main()
