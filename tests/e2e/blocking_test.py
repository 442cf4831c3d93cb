"""Commands that wait for keys: what clients get, beside redis-server, on one thread and several;
and what no comparison tells: that nothing is lost or given twice, and what another region brings.
"""
import random
import threading
import time
import unittest

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection, RedisServer, converse
from cluster import Cluster
from processes import wait_until

PAUSE_S = 0.02  # behind each step: for whoever is woken by it


def conversation(*steps):
    return list(steps)


# All keys on one thread, so that also with several ones the first to come is the first served.
ON_ONE_THREAD = {
    "who comes first is served first": conversation(
        ("a!", "BLPOP", "{k}1", "{k}2", 0), ("b!", "BRPOP", "{k}1", 0), ("c!", "BLPOP", "{k}1", 0),
        ("w", "RPUSH", "{k}2", "x"), ("w", "RPUSH", "{k}1", "1"), ("w", "RPUSH", "{k}1", "2", "3"),
        ("w", "LRANGE", "{k}1", 0, -1), ("a", "PING"), ("b", "PING"), ("c", "PING")),
    "what is there is taken at once": conversation(
        ("w", "RPUSH", "{k}2", "1", "2", "3", "4", "5"), ("w", "BLPOP", "{k}1", "{k}2", 0),
        ("w", "BRPOP", "{k}2", 0), ("w", "BLMOVE", "{k}2", "{k}3", "LEFT", "RIGHT", 0),
        ("w", "BRPOPLPUSH", "{k}2", "{k}3", 0),
        ("w", "BLMPOP", 0, 2, "{k}1", "{k}3", "LEFT", "COUNT", 5), ("w", "EXISTS", "{k}2", "{k}3")),
    "a transaction is served as a whole": conversation(
        ("a!", "BLPOP", "q", 0), ("w", "MULTI"), ("w", "RPUSH", "q", "1", "2"), ("w", "LPOP", "q"),
        ("w", "EXEC"), ("w", "LLEN", "q")),
    "a key that is gone before the end of a transaction": conversation(
        ("a!", "BLPOP", "q", 0), ("w", "MULTI"), ("w", "RPUSH", "q", "1"), ("w", "DEL", "q"),
        ("w", "EXEC"), ("w", "RPUSH", "q", "2")),
    "a chain": conversation(
        ("a!", "BLMOVE", "{k}1", "{k}2", "RIGHT", "LEFT", 0), ("b!", "BLPOP", "{k}2", 0),
        ("w", "RPUSH", "{k}1", "x"), ("w", "EXISTS", "{k}1", "{k}2")),
    "a list of itself": conversation(
        ("a!", "BRPOPLPUSH", "k", "k", 0), ("w", "RPUSH", "k", "1", "2"),
        ("w", "LRANGE", "k", 0, -1)),
    "a target of another type": conversation(
        ("a!", "BLMOVE", "{k}1", "{k}2", "LEFT", "LEFT", 0), ("w", "SET", "{k}2", "v"),
        ("w", "RPUSH", "{k}1", "x"), ("w", "LRANGE", "{k}1", 0, -1)),
    "a key of another type": conversation(
        ("a!", "BLPOP", "k", 0), ("w", "SET", "k", "v"), ("w", "DEL", "k"), ("w", "ZADD", "k", 1, "m"),
        ("w", "DEL", "k"), ("w", "RPUSH", "k", "x"), ("b", "BLPOP", "k", 0.01), ("w", "SET", "k", "v"),
        ("b", "BLPOP", "k", 0), ("b", "BZPOPMIN", "k", 0), ("b", "BLMOVE", "k", "l", "LEFT", "LEFT", 0)),
    "sorted sets": conversation(
        ("a!", "BZPOPMIN", "{k}1", "{k}2", 0), ("b!", "BZPOPMAX", "{k}2", 0),
        ("c!", "BZMPOP", 0, 2, "{k}1", "{k}2", "MAX", "COUNT", 2),
        ("w", "ZADD", "{k}2", 1, "a", 2, "b", 3, "c", 4, "d", 5, "e"), ("w", "ZRANGE", "{k}2", 0, -1),
        ("d3!", "BZPOPMIN", "k", 0), ("w", "ZADD", "k", 1.5, "m"), ("e3!", "BZMPOP", 0, 1, "k", "MIN"),
        ("w", "ZINCRBY", "k", 2, "n")),
    "lists popped by several": conversation(
        ("a!", "BLMPOP", 0, 2, "{k}1", "{k}2", "RIGHT", "COUNT", 2),
        ("w", "RPUSH", "{k}2", "1", "2", "3"), ("w", "LRANGE", "{k}2", 0, -1)),
    "whatever makes a list": conversation(
        ("w", "RPUSH", "{k}from", "1", "2"), ("a!", "BLPOP", "{k}to", 0),
        ("w", "RENAME", "{k}from", "{k}to"), ("a!", "BLPOP", "{k}3", 0), ("w", "COPY", "{k}to", "{k}3"),
        ("a!", "BLPOP", "{k}4", 0), ("w", "LMOVE", "{k}to", "{k}4", "LEFT", "LEFT"),
        ("a!", "BLPOP", "{k}5", 0), ("w", "EVAL", "return redis.call('rpush', KEYS[1], 1, 2)", 1, "{k}5"),
        ("a!", "BZPOPMIN", "{k}6", 0), ("w", "ZADD", "{k}z", 1, "m"),
        ("w", "ZUNIONSTORE", "{k}6", 1, "{k}z"),
        ("w", "EXISTS", *[f"{{k}}{key}" for key in ("from", "to", 3, 4, 5, 6)])),
    "another database": conversation(
        ("a", "SELECT", 1), ("a!", "BLPOP", "k", 0), ("w", "RPUSH", "k", "0"), ("v", "SELECT", 1),
        ("v", "RPUSH", "k", "1"), ("w", "LRANGE", "k", 0, -1)),
    "within a transaction nothing waits": conversation(
        ("w", "MULTI"), ("w", "BLPOP", "k", 0), ("w", "BLMOVE", "k", "l", "LEFT", "LEFT", 0),
        ("w", "BRPOPLPUSH", "k", "l", 0), ("w", "BLMPOP", 0, 1, "k", "LEFT"),
        ("w", "BZPOPMAX", "k", 0), ("w", "BZMPOP", 0, 1, "k", "MIN"), ("w", "EXEC"),
        ("w", "EVAL", "return redis.call('blpop', KEYS[1], 0)", 1, "k")),
    "time": conversation(
        *[("w", *words) for words in (
            ("BLPOP", "k", 0.03), ("BRPOP", "k", "0.001"), ("BLMOVE", "k", "l", "LEFT", "LEFT", 0.01),
            ("BRPOPLPUSH", "k", "l", 0.01), ("BLMPOP", 0.01, 1, "k", "LEFT"),
            ("BZPOPMIN", "k", "1e-3"), ("BZMPOP", 0.01, 1, "k", "MIN"))],
        ("e3", "BLPOP", "k", 0.01), ("e3", "BLMOVE", "k", "l", "LEFT", "LEFT", 0.01)),
    "bad input": conversation(
        *[("w", "BLPOP", "k", time_s) for time_s in ("x", "", "-1", "nan", "-inf", " 1", "0.1s")],
        *[("w", *words) for words in (
            ("BLPOP", "k"), ("BLMOVE", "k", "l", "LEFT", "UP", 0), ("BLMOVE", "k", "l", "LEFT", "LEFT", "x"),
            ("BLMOVE", "k", "l", "UP", "LEFT", "x"), ("BLMPOP", "x", 1, "k", "LEFT"),
            ("BLMPOP", 0, 0, "k", "LEFT"), ("BLMPOP", 0, 2, "k", "LEFT"), ("BLMPOP", 0, 1, "k", "UP"),
            ("BLMPOP", 0, 1, "k", "LEFT", "COUNT", 0), ("BLMPOP", 0, 1, "k", "LEFT", "COUNT"),
            ("BLMPOP", 0, "x", "k", "LEFT"), ("BZMPOP", 0, 1, "k", "LEFT"), ("BZMPOP", "-1", 1, "k", "MIN"),
            ("BZMPOP", 0, 1, "k", "MIN", "COUNT", "x"), ("CLIENT", "UNBLOCK", "x"),
            ("CLIENT", "UNBLOCK", 1, "NEVER"), ("CLIENT", "UNBLOCK", 123456))]),
    "CLIENT UNBLOCK": conversation(
        ("a!", "BLPOP", "k", 0), ("w", "CLIENT", "UNBLOCK", ("id", "a")),
        ("a!", "BZPOPMIN", "k", 0), ("w", "CLIENT", "UNBLOCK", ("id", "a"), "ERROR"),
        ("a!", "BLMOVE", "k", "l", "LEFT", "LEFT", 0),
        ("w", "CLIENT", "UNBLOCK", ("id", "a"), "timeout"), ("w", "CLIENT", "UNBLOCK", ("id", "a")),
        ("w", "RPUSH", "k", "x"), ("w", "LRANGE", "k", 0, -1)),
    "replies switched off": conversation(
        ("a!", "CLIENT", "REPLY", "OFF"), ("a!", "BLPOP", "k", 0), ("w", "RPUSH", "k", "1", "2"),
        ("a", "CLIENT", "REPLY", "ON"), ("a", "BLPOP", "k", 0)),
}

# Keys of several threads, one client that waits.
SPREAD = {
    "each of the keys": conversation(*[step for n in range(6) for step in (
        ("a!", "BLPOP", *[f"key{i}" for i in range(6)], 0), ("w", "RPUSH", f"key{n}", n))]),
    "the first that is there": conversation(
        ("w", "RPUSH", "key4", "4"), ("w", "RPUSH", "key1", "1"),
        ("a", "BRPOP", *[f"key{i}" for i in range(6)], 0), ("w", "EXISTS", "key1", "key4")),
    "moved": conversation(*[step for n in range(6) for step in (
        ("a!", "BLMOVE", f"key{n}", f"other{n}", "LEFT", "LEFT", 0), ("w", "RPUSH", f"key{n}", n),
        ("w", "LRANGE", f"other{n}", 0, -1))]),
    "sorted sets": conversation(*[step for n in range(6) for step in (
        ("a!", "BZMPOP", 0, 6, *[f"key{i}" for i in range(6)], "MIN"), ("w", "ZADD", f"key{n}", n, n))]),
    "time and unblocking": conversation(
        ("a", "BLPOP", *[f"key{i}" for i in range(6)], 0.05),
        ("a!", "BLPOP", *[f"key{i}" for i in range(6)], 0), ("w", "CLIENT", "UNBLOCK", ("id", "a")),
        ("w", "RPUSH", "key1", "x"), ("w", "LRANGE", "key1", 0, -1)),
}


class WaitsForKeys:
    """Subclasses say on how many threads."""

    def test_conversations(self):
        server = RedisServer()
        self.addCleanup(server.stop)
        for port in (server.port, self.port):  # ids of clients that are no length of a list
            for _ in range(20):
                Connection(port).close()
        for name, steps in {**ON_ONE_THREAD, **SPREAD}.items():
            with self.subTest(name):
                expected = converse(server.port, steps + [("w", "FLUSHALL")], 2, pause_s=PAUSE_S)
                self.assertEqual(converse(self.port, steps + [("w", "FLUSHALL")], 2, expected,
                                          PAUSE_S), expected)

    def connect(self):
        connection = Connection(self.port)
        self.addCleanup(connection.close)
        return connection

    def block(self, connection, *words):
        connection.send(*words)
        wait_until(lambda: self.redis.info("clients")["blocked_clients"] > 0, 5, "it waits")

    def test_too_long(self):
        """redis-server 7.0 calls these negative; 7.2 does not."""
        for seconds in ("inf", "1e30", "9223372036854775807"):
            self.assertEqual(self.connect().call("BLPOP", "k", seconds),
                             ("-", b"ERR timeout is out of range"))

    def test_nobody_comes_in_between(self):
        """Not even the pipeline that has brought the element; and who waits gets no more answers."""
        waits, brings = self.connect(), self.connect()
        self.block(waits, "BLPOP", "q", 0)
        waits.send("PING")
        for words in (("RPUSH", "q", "x"), ("LPOP", "q"), ("LLEN", "q")):
            brings.send(*words)
        self.assertTrue(brings.wait(3))
        self.assertEqual(brings.frames, [(":", b"1"), ("$", None), (":", b"0")])
        self.assertTrue(waits.wait(2))
        self.assertEqual(waits.frames, [("*", ("$", b"q"), ("$", b"x")), ("+", b"PONG")])

    def test_who_has_gone_takes_nothing(self):
        for keys in (["q"], ["q", "r", "s", "t"]):
            gone = Connection(self.port)
            self.block(gone, "BLPOP", *keys, 0)
            self.assertIn("b", [client["flags"] for client in self.redis.client_list()])
            gone.close()
            wait_until(lambda: self.redis.info("clients")["blocked_clients"] == 0, 5, "it is gone")
            time.sleep(PAUSE_S)
            self.redis.rpush("q", "x")
            self.assertEqual(self.redis.lpop("q"), b"x")

    def test_a_pause_of_writes_holds_for_them_too(self):
        waits = self.connect()
        self.block(waits, "BLPOP", "q", 0)
        pipe = self.redis.pipeline(transaction=True)
        pipe.rpush("q", "x")
        pipe.execute_command("CLIENT", "PAUSE", 200, "WRITE")
        before = time.monotonic()
        pipe.execute()
        self.assertTrue(waits.wait(1))
        self.assertGreater(time.monotonic() - before, 0.15)

    def test_queues(self):
        """Producers and consumers of several kinds: every element comes out once."""
        queues = [f"queue{n}" for n in range(5)]
        seed = time.time_ns() % 1000000
        print("seed", seed)
        produced, consumed, errors = [], [], []
        producing = threading.Event()

        def produce(number):
            connection, r = Connection(self.port), random.Random(seed + number)
            for n in range(300):
                items = [f"{number}:{n}:{i}" for i in range(r.randrange(1, 4))]
                produced.extend(items)
                push = r.choice(("LPUSH", "RPUSH"))
                if r.randrange(4) == 0:
                    for words in (("MULTI",), (push, r.choice(queues), *items), ("EXEC",)):
                        connection.call(*words)
                else:
                    connection.call(push, r.choice(queues), *items)
            connection.close()

        def consume(number):
            try:
                connection, r = Connection(self.port), random.Random(seed + 100 + number)
                while True:
                    some = r.sample(queues, r.randrange(1, 4))
                    kind = r.randrange(4)
                    if kind == 0:
                        frame = connection.call("BLMPOP", 0.5, len(some), *some, "LEFT", "COUNT", 3)
                        found = [item[1] for item in frame[2][1:]] if len(frame) > 1 else []
                    elif kind == 1:
                        frame = connection.call("BRPOPLPUSH", some[0], f"taken{number}", 0.05)
                        found = [frame[1]] if len(frame) > 1 and frame[1] else []
                    else:
                        frame = connection.call(r.choice(("BLPOP", "BRPOP")), *some, 0.5)
                        found = [frame[2][1]] if len(frame) > 1 else []
                    consumed.extend(item.decode() for item in found)
                    if not found and producing.is_set() and \
                            not any(self.redis_exists(connection, q) for q in queues):
                        return connection.close()
            except Exception as error:  # told by the test's thread
                errors.append(error)

        consumers = [threading.Thread(target=consume, args=(n,)) for n in range(6)]
        producers = [threading.Thread(target=produce, args=(n,)) for n in range(3)]
        for thread in consumers + producers:
            thread.start()
        for thread in producers:
            thread.join()
        producing.set()
        for thread in consumers:
            thread.join()
        self.assertEqual(errors, [])
        self.assertEqual(sorted(consumed), sorted(produced), f"seed {seed}")

    @staticmethod
    def redis_exists(connection, key):
        return connection.call("EXISTS", key)[1] != b"0"


class OnOneThread(WaitsForKeys, OneNodeTest):
    options = {"threads": 1, "appendonly": "yes", "appendfsync": "always"}


class OnThreeThreads(WaitsForKeys, OneNodeTest):
    options = {"threads": 3, "appendonly": "yes", "appendfsync": "everysec"}

    def test_a_node_ends_while_clients_wait(self):
        for keys in (["q"], ["q", "r", "s", "t"]):
            self.block(self.connect(), "BLPOP", *keys, 0)
        # tearDownClass() asks for the exit status, and fails where the node does not end in time.


class Regions(unittest.TestCase):
    def test_what_another_region_brings_wakes_who_waits(self):
        with Cluster(regions=("us", "eu"), threads=2) as cluster:
            us = cluster.client("us")
            for keys in (["q"], [f"key{n}" for n in range(6)]):
                waits = Connection(cluster.nodes["eu"].port)
                waits.send("BLPOP", *keys, 0)
                self.assertFalse(waits.wait(1, 0.2))
                us.rpush(keys[-1], "x")
                self.assertTrue(waits.wait(1, 10))
                self.assertEqual(waits.frames, [("*", ("$", keys[-1].encode()), ("$", b"x"))])
                wait_until(lambda: us.llen(keys[-1]) == 0, 10, "it is gone everywhere")
                waits.send("BZPOPMIN", "zset", 0)
                us.zadd("zset", {"m": 2})
                self.assertTrue(waits.wait(2, 10))
                self.assertEqual(waits.frames[1][2:], (("$", b"m"), ("$", b"2")))
                waits.close()


if __name__ == "__main__":
    unittest.main()
