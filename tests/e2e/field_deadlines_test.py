"""Deadlines of hash fields on a node: what keyspace events and near caches hear of them, and that a
restart keeps them, from the log and from a snapshot. (The redis-server of the system has none.)"""
import unittest

import redis

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection
from processes import wait_until


class FieldDeadlines(OneNodeTest):
    def call(self, line):
        return self.redis.execute_command(*line.split())

    def test_events(self):
        self.redis.config_set("notify-keyspace-events", "KEAn")
        self.addCleanup(self.redis.config_set, "notify-keyspace-events", "")
        events = Connection(self.port)
        self.addCleanup(events.close)
        events.call("PSUBSCRIBE", "__keyevent@0__:*")
        for line, told in [
                ("HSET h a 1 b 2 c 3", "new hset"),
                ("HEXPIRE h 100 FIELDS 2 a b", "hexpire"),
                ("HEXPIRE h 200 NX FIELDS 1 a", ""),
                ("HPERSIST h FIELDS 2 a c", "hpersist"),
                ("HPERSIST h FIELDS 1 a", ""),
                ("HGETEX h FIELDS 1 a", ""),
                ("HGETEX h EX 100 FIELDS 1 a", "hexpire"),
                ("HGETEX h PERSIST FIELDS 1 a", "hpersist"),
                ("HSETEX h EX 100 FIELDS 1 d 1", "hset hexpire"),
                ("HSETEX h KEEPTTL FIELDS 1 d 1", "hset"),
                ("HEXPIREAT h 1 FIELDS 1 d", "hdel"),
                ("HGETDEL h FIELDS 1 c", "hdel"),
                ("HPEXPIRE h 0 FIELDS 2 a b", "hdel del"),
                ("HSETEX e PX 20 FIELDS 1 f v", "new hset hexpire hexpired del"),
                ("HSET s stays 1", "new hset"),
                ("HSETEX s PX 20 FIELDS 2 f v g v", "hset hexpire hexpired")]:
            before = len(events.frames)
            self.call(line)
            self.assertTrue(events.wait(before + len(told.split())), (line, events.frames[before:]))
            names = [f[3][1].split(b":", 1)[1].decode() for f in events.frames[before:]]
            self.assertEqual(" ".join(names), told, line)
        self.assertEqual(self.redis.keys(), [b"s"])
        self.assertGreaterEqual(self.redis.info("stats")["expired_subkeys"], 3)

    def test_near_caches_hear_of_it(self):
        self.call("HSETEX h PX 200 FIELDS 1 f v")
        self.call("HSET h g w")
        cache = Connection(self.port)
        self.addCleanup(cache.close)
        cache.call("HELLO", "3")
        cache.call("CLIENT", "TRACKING", "ON")
        self.assertIn(b"f", repr(cache.call("HGETALL", "h")).encode())
        before = len(cache.frames)
        self.assertTrue(cache.wait(before + 1), cache.frames)
        self.assertIn("invalidate", repr(cache.frames[before]))
        self.assertEqual(self.redis.hgetall("h"), {b"g": b"w"})

    def test_watched(self):
        self.call("HSETEX h PX 100 FIELDS 1 f v")
        with self.redis.pipeline() as transaction:
            transaction.watch("h")
            wait_until(lambda: not self.redis.exists("h"), 5, "the field expires")
            transaction.multi()
            transaction.set("k", "v")
            with self.assertRaises(redis.WatchError):
                transaction.execute()

    def test_a_restart_keeps_them(self):
        if self._node is None:
            self.skipTest("not our node")
        self.call("HSET h a 1 b 2 c 3")
        self.call("HSETEX h EX 1000 FIELDS 1 d 4")
        self.call("HEXPIRE h 2000 FIELDS 1 a")
        self.call("HPEXPIRE h 50 FIELDS 1 b")
        self.call("HINCRBY n f 5")
        self.call("HEXPIRE n 3000 FIELDS 1 f")
        ask = [f"HPEXPIRETIME {key} FIELDS 4 a c d f" for key in "hn"]
        want = [self.call(line) for line in ask]
        for snapshot in (False, True):
            if snapshot:
                self.redis.save()
            self.assertEqual(self._node.stop(), 0)
            self._node.start()
            self.redis = redis.Redis(port=self._node.port, socket_timeout=20)
            self.addCleanup(self.redis.close)
            self.assertEqual([self.call(line) for line in ask], want)
            wait_until(lambda: self.call("HLEN h") == 3, 5, "one field is gone")
            self.assertEqual(self.call("HGET n f"), b"5")


if __name__ == "__main__":
    unittest.main()
