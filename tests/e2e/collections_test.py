"""Hashes, and commands of any key on them, beside redis-server: what a random conversation gets,
what a fixed one tells who listens to keyspace events, and the rows of the command table.

A family is a function that makes one command out of random numbers, and says what of the reply is
to be compared: another family is one function more in FAMILIES. The seed is printed; ATOLL_SEED
sets it.
"""
import os
import random
import unittest

import redis

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection, RedisServer, converse

COMMANDS = 600  # of one conversation

# ---- What of a reply is compared ----


def exact(frame):
    return frame


def in_any_order(frame):
    return (frame[0], *sorted(frame[1:], key=repr)) if frame[0] in "*~" else frame


def pairs_in_any_order(frame):
    """Names with what stands behind them: flat, or as a map."""
    if frame[0] not in "*%":
        return frame
    return (frame[0], *sorted(zip(frame[1::2], frame[2::2]), key=repr))


def scanned(items):
    """A cursor, and an array that `items` compares. For a COUNT that takes all in one call."""
    return lambda frame: (frame[0], frame[1], items(frame[2])) if frame[0] == "*" else frame


def length(frame):
    if frame[0] == "-":
        return frame
    return (frame[0], len(frame), [len(item) for item in frame[1:] if isinstance(item, tuple)])


# ---- Families ----

HASHES = ["h1", "h2", "{h}3"]
STRINGS = ["s1", "{h}s2"]
KEYS = HASHES + STRINGS + ["none"]
FIELDS = ["f", "g", "n", "x", "", "long" * 20, "with blank", b"\x00\r\n\xff"]
VALUES = ["v", "", "7", "-3", "1.5", "0x10", " 1", "+1", "1e3", "007", "inf", "w" * 100,
          b"\x80\x00"]
INTEGERS = ["1", "-1", "0", "17", "x", "1.0", "", "9223372036854775808"]
LARGE = ["9223372036854775807", "-9223372036854775808", "-1", "1"]  # for no float: it would round
FLOATS = ["0.5", "-2.25", "3", "1e2", "inf", "-inf", "nan", "x", "", " 1"]
FLOAT_FIELDS = ["f", "g", "x", "", "with blank"]


def some(draw, words, most):
    return [draw.choice(words) for _ in range(draw.randint(1, most))]


def pairs(draw, most):
    return [word for _ in range(draw.randint(1, most))
            for word in (draw.choice(FIELDS), draw.choice(VALUES))]


def hash_command(draw):
    key = draw.choice(HASHES * 4 + KEYS)
    field = draw.choice(FIELDS)
    return draw.choice([
        lambda: (("HSET", key, *pairs(draw, 4)), exact),
        lambda: (("HSET", key, *pairs(draw, 2)), exact),
        lambda: (("HSET", key, *pairs(draw, 2), "odd"), exact),
        lambda: (("HMSET", key, *pairs(draw, 3)), exact),
        lambda: (("HSETNX", key, field, draw.choice(VALUES)), exact),
        lambda: (("HGET", key, field), exact),
        lambda: (("HMGET", key, *some(draw, FIELDS, 4)), exact),
        lambda: (("HGETALL", key), pairs_in_any_order),
        lambda: (("HKEYS", key), in_any_order),
        lambda: (("HVALS", key), in_any_order),
        lambda: (("HLEN", key), exact),
        lambda: (("HEXISTS", key, field), exact),
        lambda: (("HSTRLEN", key, field), exact),
        lambda: (("HDEL", key, *some(draw, FIELDS, 3)), exact),
        lambda: (("HINCRBY", key, field, draw.choice(INTEGERS)), exact),
        lambda: (("HINCRBY", key, "n", draw.choice(LARGE)), exact),
        lambda: (("HINCRBYFLOAT", key, draw.choice(FLOAT_FIELDS), draw.choice(FLOATS)), exact),
        lambda: (("HINCRBYFLOAT", key, "x", draw.choice(FLOATS)), exact),
        lambda: (("HRANDFIELD", key), length),
        lambda: (("HRANDFIELD", key, draw.choice(["0", "2", "100", "-5", "y", ""])), length),
        lambda: (("HRANDFIELD", key, draw.choice(["2", "-5", "-9223372036854775808",
                                                  "9223372036854775807"]), "WITHVALUES"), length),
        lambda: (("HRANDFIELD", key, "1000", "withvalues"), in_any_order if draw.protocol == 3
                 else pairs_in_any_order),
        lambda: (("HRANDFIELD", key, "1", draw.choice(["VALUES", "WITHVALUES"]), "x"), exact),
        lambda: (("HSCAN", key, "0", "COUNT", "1000"), scanned(pairs_in_any_order)),
        lambda: (("HSCAN", key, "0", "MATCH", draw.choice(["*", "[fg]", "long*", ""]), "COUNT",
                  draw.choice(["100", "1000", "0", "-1", "x"])), scanned(pairs_in_any_order)),
        lambda: (("HSCAN", key, draw.choice(["0", "x", "0 "]), draw.choice(["TYPE", "COUNT"]),
                  *draw.choice([[], ["hash"]])), scanned(pairs_in_any_order)),
        lambda: ((draw.choice(["HGET", "HSET", "HDEL", "HLEN", "HINCRBY", "HSCAN", "HRANDFIELD"]),
                  *draw.choice([[], [key], [key, "f"]])), length),
    ])()


def generic_command(draw):
    key, other = draw.choice(KEYS), draw.choice(KEYS)
    when = str(99999999999 + draw.randint(0, 5))
    return draw.choice([
        lambda: (("TYPE", key), exact),
        lambda: (("EXISTS", *some(draw, KEYS, 4)), exact),
        lambda: (("TOUCH", *some(draw, KEYS, 4)), exact),
        lambda: ((draw.choice(["DEL", "UNLINK"]), *some(draw, KEYS, 2)), exact),
        lambda: (("EXPIREAT", key, when), exact),
        lambda: (("EXPIREAT", key, when, draw.choice(["NX", "XX", "GT", "LT"])), exact),
        lambda: (("EXPIREAT", key, "1"), exact),
        lambda: (("EXPIRETIME", key), exact),
        lambda: (("PERSIST", key), exact),
        lambda: (("RENAME", key, other), exact),
        lambda: (("RENAMENX", key, other), exact),
        lambda: (("COPY", key, other, *draw.choice([[], ["REPLACE"], ["DB", "1"],
                                                    ["DB", "1", "REPLACE"], ["FOO"]])), exact),
        lambda: (("MOVE", key, draw.choice(["0", "1", "99"])), exact),
        lambda: (("SELECT", draw.choice(["0", "0", "0", "1"])), exact),
        lambda: (("KEYS", "*"), in_any_order),
        lambda: (("DBSIZE",), exact),
    ])()


def string_command(draw):
    key, value = draw.choice(KEYS), draw.choice(VALUES)
    return draw.choice([
        lambda: (("SET", draw.choice(STRINGS), value), exact),
        lambda: (("SET", key, value, "NX"), exact),
        lambda: (("SET", key, value, "GET"), exact),
        lambda: (("SET", key, value, "XX", "GET", "EX", "0"), exact),
        lambda: (("GET", key), exact),
        lambda: (("MGET", *some(draw, KEYS, 4)), exact),
        lambda: (("GETSET", key, value), exact),
        lambda: (("GETDEL", key), exact),
        lambda: (("GETEX", key, *draw.choice([[], ["PERSIST"], ["EX", "0"], ["FOO"]])), exact),
        lambda: (("APPEND", key, value), exact),
        lambda: (("STRLEN", key), exact),
        lambda: (("SETRANGE", key, draw.choice(["0", "3", "-1", "x"]), value), exact),
        lambda: (("GETRANGE", key, draw.choice(["0", "-2", "x"]), "5"), exact),
        lambda: (("INCR", key), exact),
        lambda: (("INCRBY", key, draw.choice(INTEGERS)), exact),
        lambda: (("INCRBYFLOAT", key, draw.choice(FLOATS)), exact),
        lambda: (("LCS", key, draw.choice(KEYS), *draw.choice([[], ["LEN"], ["FOO"]])), exact),
        lambda: (("SETNX", key, value), exact),
        lambda: (("MSETNX", key, value, draw.choice(KEYS), value), exact),
    ])()


# With how often they are drawn.
FAMILIES = {hash_command: 6, generic_command: 2, string_command: 1}

# ---- Fixed conversations ----

EVENTS = {
    "fields": [
        ("HSET", "h", "f", "1"), ("HSET", "h", "f", "2", "g", "3"), ("HMSET", "h", "f", "2"),
        ("HSETNX", "h", "f", "1"), ("HSETNX", "h", "new", "1"), ("HSETNX", "h2", "f", "1"),
        ("HINCRBY", "h", "f", "1"), ("HINCRBY", "h3", "f", "1"), ("HINCRBYFLOAT", "h", "f", "1.5"),
        ("HINCRBYFLOAT", "h4", "f", "1.5"), ("HINCRBY", "h", "f", "1"), ("HDEL", "h", "none"),
        ("HDEL", "h", "f", "none"), ("HDEL", "none", "f"), ("HDEL", "h", "g", "new"),
        ("HGET", "none", "f"), ("HGET", "h2", "none"), ("HMGET", "none", "f"), ("HGETALL", "none"),
        ("HLEN", "none"), ("HSCAN", "none", "0"), ("HRANDFIELD", "none"), ("HEXISTS", "none", "f"),
        ("HSTRLEN", "none", "f"), ("HKEYS", "none"), ("HVALS", "none"), ("GET", "h2"), ("INCR", "h2")],
    "keys": [
        ("HSET", "h", "f", "1"), ("EXPIRE", "h", "1000"), ("RENAME", "h", "i"),
        ("HSET", "h", "f", "1"), ("RENAME", "h", "i"), ("COPY", "i", "j"), ("COPY", "i", "j"),
        ("COPY", "i", "j", "REPLACE"), ("MOVE", "j", "1"), ("RENAMENX", "i", "k"),
        ("PERSIST", "k"), ("EXPIRE", "k", "100"), ("PERSIST", "k"), ("SET", "k", "v"),
        ("HSET", "h", "f", "v"), ("GETDEL", "h"), ("DEL", "h"), ("HSET", "h", "f", "v"),
        ("EXPIRE", "h", "-1"), ("HSET", "h", "f", "v"), ("UNLINK", "h")],
}


class Collections(OneNodeTest):
    """The node has three threads: keys that one command names lie on several."""

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
        self.theirs = redis.Redis(port=self.other.port)
        self.addCleanup(self.theirs.close)
        self.theirs.flushall()

    def converse_at_random(self, seed, protocol):
        draw = random.Random(seed)
        draw.protocol = protocol
        ours, theirs = Connection(self.port), Connection(self.other.port)
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        if protocol == 3:
            ours.call("HELLO", "3")
            theirs.call("HELLO", "3")
        spoken = []
        for _ in range(COMMANDS):
            family = draw.choices(list(FAMILIES), FAMILIES.values())[0]
            words, compared = family(draw)
            spoken.append(words)
            wanted, got = theirs.call(*words), ours.call(*words)
            self.assertEqual(compared(wanted), compared(got),
                             f"seed {seed}, RESP{protocol}, after {spoken[-8:]}")

    def test_random_conversations(self):
        seed = int(os.environ.get("ATOLL_SEED", random.randrange(1 << 32)))
        print(f"ATOLL_SEED={seed}")
        for protocol in (2, 3):
            with self.subTest(protocol=protocol):
                self.redis.flushall()
                self.theirs.flushall()
                self.converse_at_random(seed + protocol, protocol)

    def test_keyspace_events(self):
        self.addCleanup(self.redis.config_set, "notify-keyspace-events", "")
        for title, steps in EVENTS.items():
            for letters in ("KEAnm", "Kg", "Eh", "En"):
                with self.subTest(title, letters=letters):
                    for client in (self.redis, self.theirs):
                        client.flushall()
                        client.config_set("notify-keyspace-events", letters)
                    script = [("s", "PSUBSCRIBE", "__key*__:*"), *(("c", *step) for step in steps)]
                    theirs = converse(self.other.port, script, 2)
                    self.assertEqual(theirs, converse(self.port, script, 2, theirs))

    def test_command_table(self):
        listed = ("COMMAND", "LIST", "FILTERBY", "ACLCAT", "hash")
        names = {name for _, name in _once(self.other.port, *listed)[1:]}
        self.assertLessEqual(names, {name for _, name in _once(self.port, *listed)[1:]})
        for name in sorted(names):
            with self.subTest(name):
                ours, theirs = (_once(port, "COMMAND", "INFO", name)
                                for port in (self.port, self.other.port))
                self.assertEqual(theirs, ours)

    def test_encodings(self):
        def encoding(client, key):
            return client.object("ENCODING", key)
        for client in (self.redis, self.theirs):
            client.hset("small", mapping={f"f{i}": i for i in range(512)})
            client.hset("many", mapping={f"f{i}": i for i in range(513)})
            client.hset("long", "f", "v" * 65)
            client.hset("long name", "f" * 65, "v")
            client.hset("64", "f" * 64, "v" * 64)
            client.set("n", 1)
        for key in ("small", "many", "long", "long name", "64", "n"):
            self.assertEqual(encoding(self.redis, key), encoding(self.theirs, key), key)

    def test_scan_by_type(self):
        for client in (self.redis, self.theirs):
            client.hset("h1", "f", "v")
            client.hset("h2", "f", "v")
            client.set("s", "v")
        for kind in ("hash", "HASH", "string", "set", "nonsense"):
            with self.subTest(kind):
                ours, theirs = (sorted(client.scan_iter(_type=kind))
                                for client in (self.redis, self.theirs))
                self.assertEqual(theirs, ours)

    def test_a_walk_of_a_large_hash_finds_what_stays(self):
        self.redis.hset("h", mapping={f"f{i}": i for i in range(5000)})
        found, cursor, calls = {}, 0, 0
        while True:
            cursor, items = self.redis.hscan("h", cursor, count=50)
            self.assertLess(len(items), 200)
            found.update(items)
            self.redis.hset("h", mapping={f"new{calls}-{i}": i for i in range(20)})
            self.redis.hdel("h", *[f"new{calls}-{i}" for i in range(10)])
            calls += 1
            if cursor == 0:
                break
        self.assertGreater(calls, 50)
        for i in range(5000):
            self.assertEqual(found[b"f%d" % i], b"%d" % i)

    def test_what_redis_7_0_has_not(self):
        self.redis.hset("h", mapping={"a": 1, "b": 2})
        call = Connection(self.port).call
        self.assertEqual(in_any_order(call("HSCAN", "h", "0", "NOVALUES")[2]),
                         ("*", ("$", b"a"), ("$", b"b")))
        explained = call("GEO", "EXPLAIN", "h")[1:]
        explained = {name: value for (_, name), value in zip(explained[::2], explained[1::2])}
        self.assertEqual(explained[b"type"], ("$", b"hash"))
        self.assertEqual(explained[b"elements"], (":", b"2"))
        self.assertEqual(explained[b"value"], ("$", None))
        self.assertIn(("$", b"collection"), explained[b"base"])
        self.assertEqual(call("HGETDEL", "h", "FIELDS", "3", "a", "none", "a"),
                         ("*", ("$", b"1"), ("$", None), ("$", None)))
        self.assertEqual(call("HGETDEL", "h", "FIELDS", "1", "b"), ("*", ("$", b"2")))
        self.assertEqual(call("EXISTS", "h"), (":", b"0"))


def _once(port, *words):
    connection = Connection(port)
    try:
        return connection.call(*words)
    finally:
        connection.close()


if __name__ == "__main__":
    unittest.main()
