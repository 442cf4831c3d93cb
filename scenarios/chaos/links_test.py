"""Canary of the links: a cut link carries nothing, a healed one carries again, a delay delays."""
import os
import tempfile
import time
import unittest

from cluster import NatsServer
from links import Links
from nats_wire import NatsWire
from processes import free_port, wait_until

REGIONS = ("us", "eu", "ap")


class LinksTest(unittest.TestCase):
    def setUp(self):
        self._directory = tempfile.TemporaryDirectory(prefix="atoll-links-")
        ports = {region: free_port() for region in REGIONS}
        self.links = Links(ports, self._directory.name)
        self.links.start()
        self.addCleanup(self._directory.cleanup)
        self.addCleanup(self.links.stop)
        self.wire = {}
        for region in REGIONS:
            directory = os.path.join(self._directory.name, region)
            os.mkdir(directory)
            server = NatsServer(region, ports[region], self.links, directory)
            server.start()
            self.addCleanup(server.kill)
            self.wire[region] = NatsWire(server.client_port)
            self.addCleanup(self.wire[region].close)
            self.wire[region].subscribe("seen.>")

    def arrives(self, source, target, timeout_s=1.0):
        word = f"seen.{source}.{time.monotonic_ns()}"
        self.wire[source].publish(word, b"x")
        self.wire[source].flush()
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            message = self.wire[target].recv(0.1)
            if message and message[0] == word:
                return True
        return False

    def test_links_cut_heal_freeze_and_delay(self):
        wait_until(lambda: all(self.arrives(a, b, 0.2) and self.arrives(b, a, 0.2)
                               for a, b in self.links.pairs()), 20, "the gateways connect")
        self.links.cut("us", "ap")
        self.assertFalse(self.arrives("us", "ap"))
        self.assertFalse(self.arrives("ap", "us"))
        self.assertTrue(self.arrives("us", "eu"), "the other links stay up")
        self.assertTrue(self.arrives("ap", "eu"), "the other links stay up")
        self.links.heal("us", "ap")
        wait_until(lambda: self.arrives("us", "ap", 0.2) and self.arrives("ap", "us", 0.2), 20,
                   "a healed link carries again")
        self.links.freeze("us", "eu")
        self.assertFalse(self.arrives("us", "eu"))
        self.links.heal("us", "eu")
        self.assertTrue(self.arrives("us", "eu"))
        self.links.delay("us", "eu", 0.3)
        started = time.monotonic()
        self.assertTrue(self.arrives("us", "eu"))
        self.assertGreater(time.monotonic() - started, 0.29)


if __name__ == "__main__":
    unittest.main()
