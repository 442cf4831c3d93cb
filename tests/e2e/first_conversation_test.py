"""What the README shows a new user: three regions, one conversation with any client."""
import subprocess
import time
import unittest

import one_node  # noqa: F401: puts the cluster on the path
from cluster import Cluster
from processes import wait_until


class FirstConversation(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster().__enter__()
        cls.addClassCleanup(cls.cluster.__exit__, None, None, None)

    def cli(self, region, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.cluster.nodes[region].port), *words],
                              capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    def everywhere(self, value, *words):
        for region in self.cluster.regions:
            wait_until(lambda: self.cli(region, *words) == value, 10,
                       f"{words} is {value!r} in {region}, it is {self.cli(region, *words)!r}")

    def pause(self, a, b, action="pause"):
        self.assertEqual(self.cli(a, "geo", "peer", b, action), "OK")

    def test_a_write_in_us_is_read_in_ap_within_a_second(self):
        self.assertEqual(self.cli("us", "set", "k", "1"), "OK")
        written = time.monotonic()
        wait_until(lambda: self.cli("ap", "get", "k") == "1", 1, "ap reads what us wrote")
        self.assertLess(time.monotonic() - written, 1)

    def test_increments_on_both_sides_of_a_cut_all_count(self):
        self.cli("us", "set", "likes", "10")
        self.everywhere("10", "get", "likes")
        self.pause("us", "eu")
        self.assertEqual(self.cli("us", "incrby", "likes", "5"), "15")
        self.assertEqual(self.cli("eu", "incrby", "likes", "7"), "17")
        time.sleep(0.5)
        self.assertEqual(self.cli("eu", "get", "likes"), "17")
        self.pause("us", "eu", "resume")
        self.everywhere("22", "get", "likes")

    def test_a_set_keeps_increments_that_it_had_not_seen(self):
        self.cli("us", "set", "n", "10")
        self.everywhere("10", "get", "n")
        self.pause("us", "eu")
        self.assertEqual(self.cli("us", "set", "n", "100"), "OK")
        self.assertEqual(self.cli("eu", "incrby", "n", "5"), "15")
        self.pause("us", "eu", "resume")
        self.everywhere("105", "get", "n")

    def test_a_delete_forgets_what_it_saw_and_no_more(self):
        self.cli("us", "set", "d", "10")
        self.everywhere("10", "get", "d")
        self.pause("us", "eu")
        self.assertEqual(self.cli("us", "del", "d"), "1")
        self.assertEqual(self.cli("eu", "incrby", "d", "5"), "15")
        self.pause("us", "eu", "resume")
        self.everywhere("5", "get", "d")

    def test_the_later_set_wins_and_the_loser_is_listed(self):
        self.pause("us", "eu")
        self.cli("us", "set", "name", "earlier")
        time.sleep(0.05)
        self.cli("eu", "set", "name", "later")
        self.pause("us", "eu", "resume")
        self.everywhere("later", "get", "name")
        listed = "".join(self.cli(region, "geo", "conflicts") for region in self.cluster.regions)
        self.assertIn("name", listed)
        self.assertIn("later", self.cli("us", "geo", "explain", "name"))

    def test_databases_ttls_and_flushes_travel(self):
        self.cli("us", "-n", "4", "set", "session", "x", "ex", "500")
        self.everywhere("x", "-n", "4", "get", "session")
        self.assertTrue(490 <= int(self.cli("ap", "-n", "4", "ttl", "session")) <= 500)
        self.assertEqual(self.cli("eu", "-n", "4", "flushdb"), "OK")
        self.everywhere("", "-n", "4", "get", "session")

    def test_waitregions_tells_when_a_write_is_everywhere(self):
        client = self.cluster.client("us")
        pipe = client.pipeline(transaction=False)
        pipe.set("w", "1")
        pipe.execute_command("WAITREGIONS", 2, 5000)
        self.assertEqual(pipe.execute(), [True, 2])
        self.assertEqual(self.cluster.client("ap").get("w"), b"1")

    def test_a_token_reads_its_own_writes_in_another_region(self):
        with self.cluster.client("us", single_connection_client=True) as client:
            for i in range(20):
                client.set("mine", i)
                token = client.execute_command("GEO", "TOKEN")
                there = self.cluster.client("ap")
                there.execute_command("GEO", "AWAIT", token, 5000)
                self.assertEqual(there.get("mine"), b"%d" % i)

    def test_status_and_digest(self):
        status = self.cli("us", "geo", "status")
        self.assertIn("eu", status)
        self.assertIn("ap", status)
        state, seconds = self.cluster.settle(20)
        self.assertIsNotNone(seconds, state)
        one = {self.cli(region, "geo", "digest", "42") for region in self.cluster.regions}
        self.assertEqual(len(one), 1)
        before = self.cli("us", "geo", "digest")
        self.cli("us", "set", "digest", "changes")
        self.assertNotEqual(self.cli("us", "geo", "digest"), before)


if __name__ == "__main__":
    unittest.main()
