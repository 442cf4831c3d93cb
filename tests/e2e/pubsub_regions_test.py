"""Pub/Sub between regions: real nodes, real NATS servers, links that are cut."""
import time
import unittest

from one_node import OneNodeTest  # noqa: F401: it knows where the next ones are
from beside_redis import Connection
from cluster import Cluster
from nats_wire import NatsWire
from processes import wait_until

QUIET_S = 0.5  # what has crossed by mistake has had this much longer than what was to cross


class Regions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(regions=("us", "eu"), threads=2, geo_compression="no").__enter__()
        cls.clients = {region: cls.cluster.client(region) for region in ("us", "eu")}

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def setUp(self):
        self.connections = []

    def tearDown(self):
        for connection in self.connections:
            connection.close()
        for client in self.clients.values():
            client.config_set("geo-regional-channels", "")
            client.config_set("notify-keyspace-events", "")
            self.assertTrue(client.ping())

    def listen(self, region, *words):
        connection = Connection(self.cluster.nodes[region].port)
        self.connections.append(connection)
        connection.call(*words)
        connection.frames.clear()
        return connection

    def heard(self, connection, count):
        """So many messages, and in QUIET_S not one more."""
        self.assertTrue(connection.wait(count, 10), connection.frames)
        self.assertFalse(connection.wait(count + 1, QUIET_S), connection.frames[count:])
        return [frame[-1][1] for frame in connection.frames]

    def test_each_message_crosses_once_and_in_order(self):
        listeners = {(region, n): self.listen(region, "SUBSCRIBE", "news")
                     for region in ("us", "eu") for n in range(4)}  # on both threads
        publisher = Connection(self.cluster.nodes["us"].port)
        self.connections.append(publisher)
        sent = [b"%d" % n for n in range(1000)]
        for payload in sent:
            publisher.send("PUBLISH", "news", payload)
        self.assertTrue(publisher.wait(len(sent)))
        self.assertEqual(set(publisher.frames), {(":", b"4")}, "receivers of its own region")
        for connection in listeners.values():
            self.assertEqual(self.heard(connection, len(sent)), sent)

    def test_all_kinds_cross(self):
        eu = [self.listen("eu", "PSUBSCRIBE", "n*"), self.listen("eu", "SSUBSCRIBE", "news"),
              self.listen("eu", "SUBSCRIBE", "large")]
        us = self.clients["us"]
        us.publish("news", b"\0\r\n\xff")
        us.execute_command("SPUBLISH", "news", "sharded")
        pipe = us.pipeline(transaction=True)
        pipe.publish("next", "of a transaction")
        pipe.execute()
        large = bytes(range(256)) * 8000
        us.publish("large", large)
        self.assertEqual(self.heard(eu[0], 2), [b"\0\r\n\xff", b"of a transaction"])
        self.assertEqual(self.heard(eu[1], 1), [b"sharded"])
        self.assertEqual(self.heard(eu[2], 1), [large])

    def test_a_regional_prefix_stays(self):
        self.clients["us"].config_set("geo-regional-channels", "local: here")
        eu = self.listen("eu", "PSUBSCRIBE", "*")
        us = self.listen("us", "PSUBSCRIBE", "*")
        for channel in ("local:x", "here", "hereafter", "global"):
            self.clients["us"].publish(channel, channel)
        self.assertEqual(self.heard(us, 4), [b"local:x", b"here", b"hereafter", b"global"])
        self.assertEqual(self.heard(eu, 1), [b"global"])

    def test_keyspace_events_stay(self):
        for client in self.clients.values():
            client.config_set("notify-keyspace-events", "KEA")
        eu = self.listen("eu", "PSUBSCRIBE", "*")
        us = self.listen("us", "PSUBSCRIBE", "*")
        self.clients["us"].set("k", "v")
        wait_until(lambda: self.clients["eu"].get("k") == b"v", 10, "the write arrives")
        self.assertEqual(self.heard(us, 2), [b"set", b"k"])
        self.assertEqual(self.heard(eu, 0), [])

    def test_a_pause_and_a_cut_lose_messages_and_nothing_else(self):
        us, eu = self.clients["us"], self.clients["eu"]
        there = self.listen("eu", "SUBSCRIBE", "news")
        here = self.listen("us", "SUBSCRIBE", "news")
        for begin, end in ((lambda: us.execute_command("GEO", "PEER", "eu", "PAUSE"),
                            lambda: us.execute_command("GEO", "PEER", "eu", "RESUME")),
                           (lambda: eu.execute_command("GEO", "PEER", "us", "PAUSE"),
                            lambda: eu.execute_command("GEO", "PEER", "us", "RESUME")),
                           (lambda: self.cluster.links.cut("us", "eu"),
                            self.cluster.links.heal_all)):
            begin()
            refused = time.monotonic() + 2
            while time.monotonic() < refused:  # more than a beacon's time, so that both know
                self.assertEqual(us.publish("news", "lost"), 1)
                us.incr("written")
                time.sleep(0.05)
            there.wait(len(there.frames) + 1000, QUIET_S)
            there.frames.clear()
            us.publish("news", "lost too")
            self.assertEqual(self.heard(there, 0), [])
            end()
            wait_until(lambda: us.publish("news", "again") and there.wait(1, 0.2), 30,
                       "messages cross again")
            self.assertNotIn(b"lost too", [frame[-1][1] for frame in there.frames])
            wait_until(lambda: eu.get("written") == us.get("written"), 30, "the writes arrive")
            there.wait(len(there.frames) + 1000, QUIET_S)
            there.frames.clear()
        self.assertNotIn(b"", [frame[-1][1] for frame in here.frames])

    def test_altered_messages_are_counted_and_not_delivered(self):
        ear = NatsWire(self.cluster.nats["us"].client_port)
        ear.subscribe("atoll.out.1.>")
        there = self.listen("eu", "SUBSCRIBE", "news")
        self.clients["us"].publish("news", "the original")
        self.assertEqual(self.heard(there, 1), [b"the original"])
        subject = payload = None
        while payload is None or b"the original" not in payload:
            subject, _, payload = ear.recv(5)
        ear.close()
        before = self.clients["eu"].info("geo")["geo_rejected_malformed"]
        mouth = NatsWire(self.cluster.nats["eu"].client_port)
        for at in range(len(payload)):
            mouth.publish(subject, payload[:at])
            mouth.publish(subject, payload[:at] + bytes([payload[at] ^ 0x41]) + payload[at + 1:])
        mouth.flush()
        mouth.close()
        wait_until(lambda: self.clients["eu"].info("geo")["geo_rejected_malformed"] > before, 10,
                   "it is counted")
        for text in self.heard(there, len(there.frames)):
            self.assertEqual(text, b"the original")


class WithoutNats(unittest.TestCase):
    def test_publish_works_in_the_region(self):
        with Cluster(regions=("us", "eu"), threads=2) as cluster:
            for server in cluster.nats.values():
                server.kill()
            listener = Connection(cluster.nodes["us"].port)
            listener.call("SUBSCRIBE", "news")
            for n in range(100):
                self.assertEqual(cluster.client("us").publish("news", n), 1)
            self.assertTrue(listener.wait(101))
            listener.close()


if __name__ == "__main__":
    unittest.main()
