"""Pub/Sub and keyspace notifications of one node: beside redis-server, frame by frame, and what
several threads and slow subscribers ask for."""
import threading
import time
import unittest

import redis

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection, RedisServer, converse
from processes import wait_until

CONVERSATIONS = {
    "channels": [
        ("s", "SUBSCRIBE", "a", "b", "a"), ("p", "PUBLISH", "a", "1"), ("p", "PUBLISH", "c", "2"),
        ("s", "PSUBSCRIBE", "[ab]*", "*", "x?"), ("p", "PUBLISH", "a", "3"),
        ("p", "PUBLISH", "xy", "4"), ("s", "UNSUBSCRIBE", "a", "nothing"),
        ("p", "PUBLISH", "a", "5"), ("s", "PUNSUBSCRIBE", "*"), ("p", "PUBLISH", "b", ""),
        ("s", "PUNSUBSCRIBE", "[ab]*", "x?"), ("s", "UNSUBSCRIBE"), ("s", "UNSUBSCRIBE"),
        ("s", "PUNSUBSCRIBE"), ("s", "SUNSUBSCRIBE"), ("p", "PUBLISH", "b", "6")],
    "shard channels": [
        ("s", "SSUBSCRIBE", "a", "b"), ("s", "SUBSCRIBE", "a"), ("p", "SPUBLISH", "a", "1"),
        ("p", "PUBLISH", "a", "2"), ("p", "PUBSUB", "SHARDCHANNELS", "a*"),
        ("p", "PUBSUB", "SHARDNUMSUB", "a", "b", "c"), ("p", "PUBSUB", "SHARDNUMSUB"),
        ("s", "SUNSUBSCRIBE", "a"), ("p", "SPUBLISH", "a", "3"), ("s", "SUNSUBSCRIBE"),
        ("s", "UNSUBSCRIBE"), ("p", "SPUBLISH", "b", "4")],
    "what a subscriber may do": [
        ("s", "SUBSCRIBE", "a"), ("s", "PING"), ("s", "PING", "x"), ("s", "GET", "k"),
        ("s", "CONFIG", "GET", "maxmemory"), ("s", "MULTI"), ("s", "NOSUCH"), ("s", "PING", "a", "b"),
        ("s", "UNSUBSCRIBE"), ("s", "PING"), ("s", "DISCARD"), ("s", "SSUBSCRIBE", "z"),
        ("s", "ECHO", "x"), ("s", "RESET"), ("s", "ECHO", "x"), ("p", "PUBLISH", "a", "1"),
        ("p", "SPUBLISH", "z", "1")],
    "transactions": [
        ("s", "SUBSCRIBE", "c"), ("t", "MULTI"), ("t", "PUBLISH", "c", "1"),
        ("t", "SUBSCRIBE", "d"), ("t", "SSUBSCRIBE", "e"), ("t", "SET", "k", "v"),
        ("t", "PUBLISH", "c", "2"), ("t", "EXEC"), ("p", "PUBLISH", "d", "3"),
        ("t", "UNSUBSCRIBE", "d"), ("t", "GET", "k"), ("t", "MULTI"), ("t", "PUBSUB", "NUMSUB", "c"),
        ("t", "PUBSUB", "NUMPAT"), ("t", "EXEC")],
    "looking": [
        ("s", "SUBSCRIBE", "one", "two", "other"), ("r", "SUBSCRIBE", "two"),
        ("r", "PSUBSCRIBE", "p*", "q*"), ("s", "PSUBSCRIBE", "p*"),
        ("p", "PUBSUB", "CHANNELS", "tw*"), ("p", "PUBSUB", "NUMSUB", "one", "two", "three"),
        ("p", "PUBSUB", "NUMSUB"), ("p", "PUBSUB", "NUMPAT"), ("p", "PUBSUB", "HELP"),
        ("p", "PUBSUB", "NOSUCH"), ("p", "PUBSUB", "NUMPAT", "x"), ("p", "PUBSUB"),
        ("p", "PUBSUB", "CHANNELS", "a", "b"), ("p", "PUBLISH", "a"), ("p", "SUBSCRIBE")],
    "without replies": [
        ("s!", "CLIENT", "REPLY", "OFF"), ("s", "SUBSCRIBE", "a"), ("p", "PUBLISH", "a", "1"),
        ("s", "UNSUBSCRIBE", "a"), ("s", "CLIENT", "REPLY", "ON")],
}

# Of keys on different threads the parts of one MGET or DEL are told in any order: those of one
# step that tells of several have one {tag}.
EVENTS = {
    "strings": [
        ("SET", "k", "v"), ("SET", "k", "v", "EX", "100"), ("SET", "k", "v", "KEEPTTL"),
        ("SET", "k", "v", "NX"), ("SET", "n", "v", "GET"), ("SETNX", "k", "v"),
        ("SETNX", "fresh", "v"), ("SETEX", "k", "100", "v"), ("PSETEX", "pk", "100000", "v"),
        ("GETSET", "k", "w"), ("GETSET", "gs", "w"), ("GETDEL", "k"), ("GETDEL", "k"),
        ("APPEND", "k", "x"), ("APPEND", "k", "y"), ("SETRANGE", "k", "1", "z"),
        ("SETRANGE", "sr", "1", "z"), ("SETRANGE", "sr2", "1", ""), ("MSET", "a", "1", "b", "2"),
        ("MSETNX", "c", "1", "d", "2"), ("MSETNX", "c", "1", "e", "2"), ("STRLEN", "none"),
        ("GET", "k"), ("GET", "none"), ("MGET", "k", "{m}1", "{m}2"), ("GETRANGE", "none", "0", "1"),
        ("LCS", "k", "none")],
    "counters": [
        ("INCR", "n"), ("INCRBY", "n", "3"), ("DECR", "n"), ("DECRBY", "n2", "4"),
        ("INCRBYFLOAT", "f", "1.5"), ("INCRBYFLOAT", "f", "1"), ("SET", "t", "x"), ("INCR", "t")],
    "deadlines": [
        ("SET", "k", "v"), ("EXPIRE", "k", "100"), ("PEXPIRE", "k", "100000"),
        ("EXPIRE", "k", "10", "GT"), ("EXPIREAT", "k", "99999999999"),
        ("PEXPIREAT", "k", "99999999999999"), ("PERSIST", "k"), ("PERSIST", "k"),
        ("GETEX", "k", "EX", "100"), ("GETEX", "k", "PERSIST"), ("GETEX", "k", "PERSIST"),
        ("GETEX", "k"), ("GETEX", "none"), ("TTL", "none"), ("EXPIRE", "none", "1"),
        ("EXPIRE", "k", "-1"), ("SET", "k", "v"), ("GETEX", "k", "EXAT", "1"), ("SET", "k", "v"),
        ("PEXPIREAT", "k", "1")],
    "keys": [
        ("SET", "k", "v", "EX", "100"), ("RENAME", "k", "k2"), ("SET", "k", "w"),
        ("RENAME", "k", "k2"), ("RENAME", "k2", "k2"), ("SET", "k", "v"), ("RENAMENX", "k", "k2"),
        ("RENAMENX", "k", "k3"), ("COPY", "k3", "k4"), ("COPY", "k3", "k4"),
        ("COPY", "k3", "k4", "REPLACE"), ("COPY", "none", "k4"), ("COPY", "k3", "k5", "DB", "1"),
        ("MOVE", "k3", "2"), ("MOVE", "k3", "2"), ("DEL", "k2", "none"), ("DEL", "k4"), ("UNLINK", "k2"),
        ("SET", "u", "v"), ("UNLINK", "u"), ("EXISTS", "none"), ("TYPE", "none"),
        ("TOUCH", "none"), ("OBJECT", "ENCODING", "none"), ("FLUSHALL",)],
    "transactions": [
        ("MULTI",), ("SET", "a", "1"), ("INCR", "b"), ("RENAME", "a", "c"), ("DEL", "b", "c"),
        ("EXEC",), ("GET", "a")],
}


class BesideRedis(OneNodeTest):
    """The node has three threads; connections are dealt out to them in turn."""

    options = {"appendonly": "no", "threads": 3}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = RedisServer()

    @classmethod
    def tearDownClass(cls):
        cls.other.stop()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.maxDiff = None
        redis.Redis(port=self.other.port).flushall()

    def compare(self, steps, protocol):
        theirs = converse(self.other.port, steps, protocol)
        ours = converse(self.port, steps, protocol, theirs)
        self.assertEqual(theirs, ours)

    def test_conversations(self):
        for title, steps in CONVERSATIONS.items():
            for protocol in (2, 3):
                if protocol == 3 and title == "what a subscriber may do":
                    # RESET speaks RESP2 from then on; the rest is allowed here.
                    steps = [step for step in steps if step[1] != "CONFIG"]
                with self.subTest(title, protocol=protocol):
                    self.compare(steps, protocol)

    def test_command_table(self):
        for command in ("subscribe", "unsubscribe", "psubscribe", "punsubscribe", "ssubscribe",
                        "sunsubscribe", "publish", "spublish"):
            with self.subTest(command):
                ours, theirs = (_once(port, "COMMAND", "INFO", command)[1]
                                for port in (self.port, self.other.port))
                # Redis 7.0 does not name may_replicate and has no hints to compare.
                flags = [flag for flag in ours[3] if flag != ("+", b"may_replicate")]
                self.assertEqual((ours[:3], flags, ours[4:8]), (theirs[:3], list(theirs[3]), theirs[4:8]))
                self.assertEqual(ours[9], theirs[9], "key specs")

    def test_keyspace_events(self):
        for title, steps in EVENTS.items():
            for letters in ("KEAnm", "Kg", "E$x", "En", "Km", "A", "K"):
                with self.subTest(title, letters=letters):
                    for port in (self.port, self.other.port):
                        client = redis.Redis(port=port)
                        client.flushall()
                        client.config_set("notify-keyspace-events", letters)
                    script = [("s", "PSUBSCRIBE", "__key*__:*"),
                              *(("c", *step) for step in steps)]
                    try:
                        self.compare(script, 2)
                    finally:
                        self.redis.config_set("notify-keyspace-events", "")

    def test_events_of_ones_own_commands_follow_their_replies(self):
        self.redis.config_set("notify-keyspace-events", "KEA")
        self.addCleanup(self.redis.config_set, "notify-keyspace-events", "")
        for key in range(20):  # on every thread
            connection = Connection(self.port)
            connection.call("HELLO", 3)
            connection.call("SUBSCRIBE", f"__keyspace@0__:{key}")
            connection.frames.clear()
            connection.call("SET", key, "v")
            connection.call("PUBLISH", f"__keyspace@0__:{key}", "mine")
            self.assertTrue(connection.wait(4), connection.frames)
            channel = b"__keyspace@0__:%d" % key
            push = lambda text: (">", ("$", b"message"), ("$", channel), ("$", text))  # noqa: E731
            self.assertEqual(connection.frames,
                             [("+", b"OK"), push(b"set"), (":", b"1"), push(b"mine")])
            connection.close()

    def test_the_option_reads_as_in_redis(self):
        theirs = redis.Redis(port=self.other.port)
        self.addCleanup(self.redis.config_set, "notify-keyspace-events", "")
        for letters in ("KEA", "Kgm", "n", "xKEe$", "KEg$lshzxetd", "", "Eq", "?"):
            answers = []
            for client in (self.redis, theirs):
                try:
                    client.config_set("notify-keyspace-events", letters)
                    answers.append(client.config_get("notify-keyspace-events"))
                except redis.ResponseError as error:
                    answers.append(str(error))
            self.assertEqual(*answers, letters)


def _once(port, *words):
    connection = Connection(port)
    try:
        return connection.call(*words)
    finally:
        connection.close()


def _server_ms(client):
    seconds, micros = client.time()
    return seconds * 1000 + micros // 1000


class Expiry(OneNodeTest):
    options = {"appendonly": "no", "threads": 2}

    def setUp(self):
        super().setUp()
        self.redis.config_set("notify-keyspace-events", "KEAn")
        self.events = Connection(self.port)
        self.events.call("PSUBSCRIBE", "__keyevent@0__:*")

    def tearDown(self):
        self.events.close()
        self.redis.config_set("notify-keyspace-events", "")
        self.redis.config_set("maxmemory", 0)
        super().tearDown()

    def names(self):
        return [(frame[3][1].split(b":", 1)[1], frame[4][1]) for frame in self.events.frames[1:]]

    def test_keys_that_expire_unasked(self):
        for i in range(20):
            self.redis.set(f"k{i}", "v", px=30)
        self.assertTrue(self.events.wait(1 + 4 * 20), self.names())
        for i in range(20):
            own = [event for event, key in self.names() if key == b"k%d" % i]
            self.assertEqual(own, [b"new", b"set", b"expire", b"expired"])

    def test_a_key_that_a_write_finds_expired(self):
        self.redis.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        self.addCleanup(self.redis.execute_command, "DEBUG", "SET-ACTIVE-EXPIRE", "1")
        self.redis.set("k", "v", px=100)
        deadline = self.redis.execute_command("PEXPIRETIME", "k")
        wait_until(lambda: _server_ms(self.redis) > deadline, 5, "the deadline passes")
        self.redis.set("k", "w")
        self.assertTrue(self.events.wait(1 + 6), self.names())
        self.assertEqual([event for event, _ in self.names()],
                         [b"new", b"set", b"expire", b"expired", b"new", b"set"])

    def test_evicted(self):
        self.redis.config_set("maxmemory-policy", "allkeys-random")
        for i in range(200):
            self.redis.set(f"k{i}", "v" * 1000)
        self.redis.config_set("maxmemory", 100_000)
        wait_until(lambda: self.redis.info("stats")["evicted_keys"] > 0, 10, "keys are evicted")
        self.assertTrue(self.events.wait(1 + 400 + 1))
        self.assertIn(b"evicted", {event for event, _ in self.names()})


class Threads(OneNodeTest):
    options = {"appendonly": "no", "threads": 3}
    PUBLISHERS, SUBSCRIBERS, MESSAGES = 6, 6, 400

    def test_every_publishers_order_at_every_subscriber(self):
        subscribers = [Connection(self.port) for _ in range(self.SUBSCRIBERS)]
        for i, subscriber in enumerate(subscribers):
            subscriber.call("SUBSCRIBE" if i % 2 else "PSUBSCRIBE", "news")
        counts = []

        def publish(who):
            connection = Connection(self.port)
            for n in range(self.MESSAGES):
                if n % 50 == 49:
                    connection.send("MULTI")
                connection.send("PUBLISH", "news", f"{who} {n}")
                if n % 50 == 49:
                    connection.send("EXEC")
            connection.wait(self.MESSAGES + 2 * (self.MESSAGES // 50))
            counts.extend(frame for frame in connection.frames if frame[0] == ":")
            counts.extend(frame[1] for frame in connection.frames if frame[0] == "*")
            connection.close()

        threads = [threading.Thread(target=publish, args=(who,)) for who in range(self.PUBLISHERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(set(counts), {(":", b"%d" % self.SUBSCRIBERS)})
        self.assertEqual(len(counts), self.PUBLISHERS * self.MESSAGES)
        for subscriber in subscribers:
            self.assertTrue(subscriber.wait(1 + self.PUBLISHERS * self.MESSAGES))
            heard = [tuple(map(int, frame[-1][1].split())) for frame in subscriber.frames[1:]]
            for who in range(self.PUBLISHERS):
                self.assertEqual([n for w, n in heard if w == who], list(range(self.MESSAGES)))
            subscriber.close()

    def test_disconnecting_unsubscribes(self):
        connections = [Connection(self.port) for _ in range(9)]
        for connection in connections:
            connection.call("SUBSCRIBE", "x", "y")
            connection.call("PSUBSCRIBE", "z*")
        self.assertEqual(self.redis.pubsub_numsub("x"), [(b"x", 9)])
        self.assertEqual(self.redis.info("stats")["pubsub_channels"], 2)
        self.assertEqual(self.redis.info("stats")["pubsub_patterns"], 1)
        for connection in connections:
            connection.close()
        wait_until(lambda: self.redis.pubsub_numsub("x") == [(b"x", 0)], 10, "all are gone")
        self.assertEqual((self.redis.pubsub_channels(), self.redis.pubsub_numpat()), ([], 0))
        self.assertEqual(self.redis.publish("x", "1"), 0)

    def test_client_list_and_kill(self):
        subscriber = Connection(self.port)
        subscriber.call("SUBSCRIBE", "a", "b")
        subscriber.wait(2)
        subscriber.call("PSUBSCRIBE", "p")
        subscriber.call("SSUBSCRIBE", "s")
        (line,) = self.redis.client_list(_type="pubsub")
        self.assertEqual((line["flags"], line["sub"], line["psub"], line["ssub"]),
                         ("P", "2", "1", "1"))
        self.assertNotIn(line["id"], {c["id"] for c in self.redis.client_list(_type="normal")})
        self.assertEqual(self.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub"), 1)
        self.assertFalse(subscriber.wait(100), "it was closed")
        subscriber.close()

    def test_idle_subscribers_are_left_alone(self):
        subscriber, idle = Connection(self.port), Connection(self.port)
        subscriber.call("SUBSCRIBE", "a")
        idle.call("PING")
        self.redis.config_set("timeout", 1)
        self.addCleanup(self.redis.config_set, "timeout", 0)
        self.assertFalse(idle.wait(2, deadline_s=15), "an idle client is closed")
        publisher = redis.Redis(port=self.port)
        self.assertEqual(publisher.publish("a", "1"), 1)
        self.assertTrue(subscriber.wait(2))
        subscriber.call("UNSUBSCRIBE")
        self.assertFalse(subscriber.wait(4, deadline_s=15), "it is as any other now")


class SlowSubscribers(OneNodeTest):
    options = {"appendonly": "no", "threads": 2}

    def tearDown(self):
        self.redis.config_set("client-output-buffer-limit", "pubsub 32mb 8mb 60")
        super().tearDown()

    def cut_off(self, limit):
        """Publishes what one of two subscribers does not read until that one is gone."""
        self.redis.config_set("client-output-buffer-limit", limit)
        slow, quick = Connection(self.port), Connection(self.port)
        for each in (slow, quick):
            each.call("SUBSCRIBE", "feed")
        closes = self.redis.info("stats")["client_output_buffer_limit_disconnections"]
        sent = 0
        end = time.monotonic() + 20
        while self.redis.pubsub_numsub("feed")[0][1] == 2:
            self.assertLess(time.monotonic(), end, "nobody cuts it off")
            self.redis.publish("feed", "x" * 100_000)
            sent += 1
            self.assertTrue(quick.wait(1 + sent), "who reads gets everything")
        self.assertEqual(self.redis.info("stats")["client_output_buffer_limit_disconnections"],
                         closes + 1)
        self.assertEqual(self.redis.publish("feed", "last"), 1)
        self.assertTrue(quick.wait(2 + sent))
        for each in (slow, quick):
            each.close()

    def test_hard_limit(self):
        self.cut_off("pubsub 1mb 0 0")

    def test_soft_limit(self):
        self.cut_off("pubsub 0 100kb 1")

    def test_the_limit_of_normal_clients_is_another(self):
        self.redis.config_set("client-output-buffer-limit", "normal 0 0 0 pubsub 10 0 0")
        self.redis.set("big", "x" * 1000)
        client = Connection(self.port)
        self.assertEqual(len(client.call("GET", "big")[1]), 1000)
        client.close()


if __name__ == "__main__":
    unittest.main()
