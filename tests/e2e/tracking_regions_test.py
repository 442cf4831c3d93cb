"""Near caches in several regions: what one region writes makes void what clients of another keep."""
import random
import threading
import time
import unittest

import redis

from one_node import OneNodeTest  # noqa: F401: it knows where the next ones are
from beside_redis import Connection
from cluster import Cluster
from processes import wait_until

REGIONS = ("us", "eu")
ARRIVES_S = 10
QUIET_S = 0.5


def track(connection, *options):
    connection.call("HELLO", 3)
    connection.call("CLIENT", "TRACKING", "ON", *options)
    connection.frames.clear()


def invalidated(frame):
    """The keys of a push, None for all; False if it is none."""
    if frame[0] != ">" or frame[1][1] != b"invalidate":
        return False
    return None if frame[2][0] == "_" else [key[1] for key in frame[2][1:]]


class Regions(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(regions=REGIONS, threads=2).__enter__()
        cls.clients = {region: cls.cluster.client(region) for region in REGIONS}

    @classmethod
    def tearDownClass(cls):
        cls.cluster.__exit__(None, None, None)

    def setUp(self):
        self.us, self.eu = (self.clients[region] for region in REGIONS)
        self.near = Connection(self.cluster.nodes["eu"].port)
        self.addCleanup(self.near.close)

    def hears(self, *expected):
        """These invalidations and, in QUIET_S, none more."""
        self.near.wait(len(expected), ARRIVES_S)
        self.near.wait(len(expected) + 1, QUIET_S)
        self.assertEqual([invalidated(frame) for frame in self.near.frames], list(expected))
        self.near.frames.clear()

    def read(self, *keys):
        for key in keys:
            self.near.call("GET", key)
        self.near.frames.clear()

    def test_a_write_elsewhere_is_told(self):
        track(self.near, "NOLOOP")
        for write in (lambda: self.us.set("k", "v"), lambda: self.us.expire("k", 1000),
                      lambda: self.us.persist("k"), lambda: self.us.append("k", "w"),
                      lambda: self.us.delete("k"), lambda: self.us.incr("k"),
                      lambda: self.us.incr("k")):
            self.read("k")
            write()
            self.hears([b"k"])
        self.us.delete("none")
        self.us.set("k", "x", nx=True)
        self.read("k")
        self.hears()

    def test_prefixes_and_transactions(self):
        track(self.near, "BCAST", "PREFIX", "user:")
        pipe = self.us.pipeline(transaction=True)
        for name in ("user:{s}2", "user:{s}1", "order:{s}1"):
            pipe.set(name, "v")
        pipe.execute()
        self.hears([b"user:{s}1", b"user:{s}2"])

    def test_a_redirection_of_resp2(self):
        listener = Connection(self.cluster.nodes["eu"].port)
        self.addCleanup(listener.close)
        listener_id = listener.call("CLIENT", "ID")[1]
        listener.call("SUBSCRIBE", "__redis__:invalidate")
        listener.frames.clear()
        self.near.call("CLIENT", "TRACKING", "ON", "REDIRECT", listener_id)
        self.read("r")
        self.us.set("r", "v")
        self.assertTrue(listener.wait(1, ARRIVES_S))
        self.assertEqual(listener.frames, [("*", ("$", b"message"), ("$", b"__redis__:invalidate"),
                                            ("*", ("$", b"r")))])

    def test_a_flush_elsewhere_drops_everything(self):
        for flush in (self.us.flushall, self.us.flushdb):
            self.us.set("f", "v")
            wait_until(lambda: self.eu.get("f") == b"v", ARRIVES_S, "the write arrives")
            near = Connection(self.cluster.nodes["eu"].port)
            track(near)
            near.call("GET", "f")
            near.frames.clear()
            flush()
            self.assertTrue(near.wait(1, ARRIVES_S))
            near.wait(1000, QUIET_S)
            # Each thread tells of what it has flushed.
            self.assertEqual({invalidated(frame) for frame in near.frames}, {None})
            near.close()

    def test_expiry_of_what_was_written_elsewhere(self):
        track(self.near)
        self.us.set("e", "v", px=600)
        wait_until(lambda: self.eu.get("e") == b"v", ARRIVES_S, "the write arrives")
        self.read("e")
        self.hears([b"e"])

    def test_what_comes_after_a_cut_is_told(self):
        track(self.near)
        self.us.set("c", "before")
        wait_until(lambda: self.eu.get("c") == b"before", ARRIVES_S, "the write arrives")
        self.read("c")
        self.cluster.links.cut("us", "eu")
        self.us.set("c", "after")
        self.hears()
        self.cluster.links.heal_all()
        wait_until(lambda: self.eu.get("c") == b"after", 60, "the write arrives")
        self.hears([b"c"])

    def test_what_a_healed_slot_brings_is_told(self):
        """Beyond what the outbox holds a region heals by slots."""
        self.us.set("{h}same", "v")
        self.us.set("{h}changed", "before")
        self.us.set("{h}deleted", "v")
        wait_until(lambda: self.eu.get("{h}deleted") == b"v", ARRIVES_S, "the writes arrive")
        track(self.near)
        self.read("{h}same", "{h}changed", "{h}deleted")
        self.us.config_set("geo-outbox-limit", "1mb")
        self.addCleanup(self.us.config_set, "geo-outbox-limit", "1gb")
        self.us.execute_command("GEO", "PEER", "eu", "PAUSE")
        self.us.set("{h}changed", "after")
        self.us.delete("{h}deleted")
        pipe = self.us.pipeline(transaction=False)
        for n in range(4000):
            pipe.set(f"bulk{n}", "x" * 1000)
        pipe.execute()
        self.us.execute_command("GEO", "PEER", "eu", "RESUME")
        wait_until(lambda: self.eu.get("{h}changed") == b"after", 60, "the slot arrives")
        wait_until(lambda: self.eu.get("{h}deleted") is None, 60, "the slot arrives")
        self.near.wait(2, ARRIVES_S)
        self.near.wait(3, QUIET_S)
        self.assertEqual(sorted(invalidated(frame) for frame in self.near.frames),
                         [[b"{h}changed"], [b"{h}deleted"]])


class NearCache(threading.Thread):
    """One that reads at random, keeps what it read, and drops what it is told to. It asks for many
    keys at once, so that changes meet reads that are under way."""

    def __init__(self, port, keys, seed, *options):
        super().__init__()
        self._connection = Connection(port)
        if options != ("deaf",):
            track(self._connection, *options)
        self._keys = keys
        self._random = random.Random(seed)
        self._asked = []
        self._over = threading.Event()
        self.copies = {}
        self.drops = 0
        self.error = None

    def run(self):
        try:
            while not self._over.is_set():
                for _ in range(self._random.randrange(1, 20)):
                    key = self._random.choice(self._keys)
                    self._asked.append(key)
                    self._connection.send("GET", key)
                while self._asked:
                    self._connection.wait(1, 10)
                    self.listen()
        except Exception as error:  # told by the test's thread
            self.error = error

    def listen(self):
        for frame in self._connection.frames:
            dropped = invalidated(frame)
            if dropped is False:
                self.copies[self._asked.pop(0)] = None if frame[0] == "_" else frame[1]
            elif dropped is None:
                self.copies.clear()
            else:
                self.drops += 1
                for key in dropped:
                    self.copies.pop(key.decode(), None)
        self._connection.frames.clear()

    def stop_reading(self):
        self._over.set()
        self.join()

    def calm(self):
        while self._connection.wait(1, QUIET_S):
            self.listen()

    def close(self):
        self._connection.close()


class Writer(threading.Thread):
    def __init__(self, client, keys, seed, until):
        super().__init__()
        self._client, self._keys, self._until = client, keys, until
        self._random = random.Random(seed)
        self.error = None

    def run(self):
        try:
            while time.monotonic() < self._until:
                self.write(self._random.choice(self._keys))
        except Exception as error:
            self.error = error

    def write(self, key):
        r, client = self._random, self._client
        kind = r.randrange(100)
        try:
            if kind < 35:
                client.set(key, r.randrange(1000000))
            elif kind < 50:
                client.set(key, r.randrange(1000000), px=r.randrange(1, 300))
            elif kind < 65:
                client.incr(key)
            elif kind < 75:
                client.delete(key)
            elif kind < 80:
                client.pexpire(key, r.randrange(1, 300))
            elif kind < 85:
                client.mset({name: r.randrange(1000) for name in r.sample(self._keys, 5)})
            elif kind < 90:
                pipe = client.pipeline(transaction=True)
                pipe.set(key, r.randrange(1000))
                pipe.incr(r.choice(self._keys))
                pipe.execute()
            elif kind < 95:
                client.rename(key, r.choice(self._keys))
            elif kind < 99:
                client.append(key, r.randrange(10))
            elif r.randrange(20) == 0:
                client.flushall()
        except redis.ResponseError:
            pass  # of what is no number (any more), or not there


class Consistency(unittest.TestCase):
    def test_no_copy_is_stale_when_all_is_calm(self):
        """Random writers in both regions, a link that is cut meanwhile; then calm. No near cache
        holds what its region does not, in any mode; one that does not track does."""
        keys = [f"key{n}" for n in range(60)]
        seed = int(time.time())
        print("seed", seed)
        with Cluster(regions=REGIONS, threads=3) as cluster:
            until = time.monotonic() + 12
            caches = {region: [NearCache(cluster.nodes[region].port, keys, seed + n, *options)
                               for n, options in enumerate(((), (), ("BCAST",),
                                                            ("BCAST", "PREFIX", "key"), ("deaf",)))]
                      for region in REGIONS}
            writers = [Writer(cluster.client(region), keys, seed + n, until)
                       for region in REGIONS for n in range(2)]
            workers = writers + [cache for each in caches.values() for cache in each]
            for worker in workers:
                worker.start()
            for _ in range(3):
                time.sleep(1.5)
                cluster.links.cut("us", "eu")
                time.sleep(1)
                cluster.links.heal_all()
            for writer in writers:
                writer.join()
            clients = {region: cluster.client(region) for region in REGIONS}
            time.sleep(1)  # a late FLUSHALL may have left them nothing
            for each in caches.values():
                for cache in each:
                    cache.stop_reading()
            for key in keys[::2]:
                clients["us"].set(key, "the last value")
            digest = {}

            def converged():
                digest.update({r: clients[r].execute_command("GEO", "DIGEST") for r in REGIONS})
                return len(set(digest.values())) == 1
            time.sleep(0.5)  # the last deadlines pass
            wait_until(converged, 60, "the regions agree")
            for region, each in caches.items():
                for cache in each:
                    cache.calm()
            for worker in workers:
                self.assertIsNone(worker.error)
            for region, each in caches.items():
                stale = [{key: (copy, clients[region].get(key)) for key, copy in cache.copies.items()
                          if copy != clients[region].get(key)} for cache in each]
                for cache, wrong in zip(each[:-1], stale):
                    self.assertEqual(wrong, {}, f"{region}, seed {seed}")
                    self.assertGreater(len(cache.copies), 10, "it has kept something")
                    self.assertGreater(cache.drops, 100, "it was told of something")
                self.assertGreater(len(stale[-1]), 0, "who does not track is wrong by now")
                for cache in each:
                    cache.close()


if __name__ == "__main__":
    unittest.main()
