"""Near caches of one node: CLIENT TRACKING beside redis-server, frame by frame."""
import time
import unittest

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection, RedisServer, converse, is_message

ON = ("CLIENT", "TRACKING", "ON")
OFF = ("CLIENT", "TRACKING", "OFF")
INFO = ("CLIENT", "TRACKINGINFO")
YES = ("CLIENT", "CACHING", "YES")
NO = ("CLIENT", "CACHING", "NO")

CONVERSATIONS = {
    "what is refused": [
        ("t", "CLIENT", "TRACKING", "MAYBE"), ("t", *ON, "NOSUCH"), ("t", *ON, "REDIRECT"),
        ("t", *ON, "REDIRECT", "x"), ("t", *ON, "REDIRECT", "99999999"),
        ("t", *ON, "REDIRECT", "0"), ("t", *ON, "REDIRECT", "-1"),
        ("t", *ON, "REDIRECT", ("id", "t"), "REDIRECT", ("id", "t")), ("t", *ON, "PREFIX", "a"),
        ("t", *ON, "PREFIX"), ("t", *ON, "BCAST", "OPTIN"), ("t", *ON, "BCAST", "OPTOUT"),
        ("t", *ON, "OPTIN", "OPTOUT"), ("t", *ON, "BCAST", "PREFIX", "a", "PREFIX", "ab"),
        ("t", *ON, "BCAST", "PREFIX", "ab", "PREFIX", "a"),
        ("t", *ON, "BCAST", "PREFIX", "a", "PREFIX", "a"),
        ("t", *ON, "BCAST", "PREFIX", "a", "PREFIX", ""), ("t", *INFO), ("t", *YES), ("t", *NO),
        ("t", "CLIENT", "CACHING", "MAYBE"), ("t", "CLIENT", "CACHING"), ("t", "CLIENT", "TRACKING"),
        ("t", "CLIENT", "GETREDIR", "x"), ("t", *INFO, "x"), ("t", *ON), ("t", *ON, "BCAST"),
        ("t", *YES), ("t", *NO), ("t", "CLIENT", "CACHING", "MAYBE"), ("t", *ON, "OPTIN"),
        ("t", *ON, "OPTOUT"), ("t", *NO), ("t", *INFO), ("t", *OFF), ("t", *ON, "OPTOUT"),
        ("t", *ON, "OPTIN"), ("t", *YES), ("t", *INFO), ("t", *OFF, "NOSUCH"), ("t", *INFO),
        ("t", *OFF), ("t", *OFF), ("t", *ON, "BCAST", "PREFIX", "foo", "PREFIX", "bar"),
        ("t", *ON, "BCAST", "PREFIX", "fo"), ("t", *ON, "BCAST", "PREFIX", "bar"),
        ("t", *ON, "BCAST", "PREFIX", "x"), ("t", *ON), ("t", *ON, "BCAST", "NOLOOP"), ("t", *INFO),
        ("t", "CLIENT", "GETREDIR")],
    "what was read": [
        ("t", *ON), ("t", *INFO), ("t", "CLIENT", "GETREDIR"), ("t", "GET", "k"),
        ("w", "SET", "k", "1"), ("w", "SET", "k", "2"), ("t", "PING"), ("t", "MGET", "{s}a", "{s}b"),
        ("w", "SET", "{s}b", "1"), ("w", "SET", "{s}a", "1"), ("t", "EXISTS", "k"),
        ("t", "TTL", "k"), ("w", "EXPIRE", "k", "100"), ("t", "STRLEN", "k"), ("w", "PERSIST", "k"),
        ("t", "TYPE", "k"), ("w", "PERSIST", "k"), ("w", "RENAME", "k", "{k}2"), ("t", "GET", "{k}2"),
        ("w", "COPY", "{k}2", "k"), ("w", "SETNX", "{k}2", "x"), ("w", "DEL", "{k}2", "none"),
        ("t", "GET", "k"), ("w", "MOVE", "k", "3"), ("t", "GET", "k"), ("w", "SELECT", "3"),
        ("w", "SET", "k", "in 3"), ("t", "GETRANGE", "k", "0", "1"), ("t", "OBJECT", "ENCODING", "k"),
        ("w", "APPEND", "k", "x"), ("t", "LCS", "k", "k"), ("w", "INCR", "n"), ("t", "GET", "n"),
        ("w", "INCRBYFLOAT", "n", "1.5"), ("t", "GET", "none"), ("w", "DEL", "none"),
        ("t", "GETEX", "k", "PERSIST"), ("t", "DBSIZE"),
        ("w", "SET", "k", "3"), ("t", "GET", "k"), ("t", *OFF), ("w", "SET", "k", "4"),
        ("t", *INFO), ("t", "CLIENT", "GETREDIR")],
    "one's own": [
        ("t", *ON), ("t", "GET", "k"), ("t", "SET", "k", "1"), ("t", "SET", "k", "2"),
        ("t", "GET", "k"), ("t", "MULTI"), ("t", "SET", "k", "3"), ("t", "GET", "k"),
        ("t", "INCR", "k"), ("t", "EXEC"), ("t", "PING"), ("t", "GET", "k"), ("t", *OFF),
        ("t", *ON, "NOLOOP"), ("t", "GET", "k"), ("t", "SET", "k", "4"), ("t", "GET", "k"),
        ("w", "SET", "k", "5"), ("t", "GET", "k"), ("t", "MULTI"), ("t", "SET", "k", "6"),
        ("t", "EXEC"), ("t", "GET", "k"), ("w", "MULTI"), ("w", "SET", "k", "7"), ("w", "EXEC"),
        ("t", *INFO), ("t", "FLUSHALL"), ("t", "PING")],
    "opting in and out": [
        ("t", *ON, "OPTIN"), ("t", "GET", "k"), ("w", "SET", "k", "1"), ("t", *YES), ("t", *INFO),
        ("t", "GET", "k"), ("t", *INFO), ("w", "SET", "k", "2"), ("t", *YES), ("t", "PING"),
        ("t", "GET", "k"), ("w", "SET", "k", "3"), ("t", *YES), ("t", "MULTI"), ("t", "GET", "k"),
        ("t", "EXEC"), ("w", "SET", "k", "4"), ("t", "GET", "k"), ("w", "SET", "k", "5"),
        ("t", *YES), ("t", "NOSUCH"), ("t", *INFO), ("t", *YES), ("t", "CLIENT", "NOSUCH"),
        ("t", *INFO), ("t", "MULTI"), ("t", "GET", "k"), ("t", *YES), ("t", "GET", "j"),
        ("t", "EXEC"), ("w", "SET", "k", "6"), ("w", "SET", "j", "1"), ("t", *OFF),
        ("t", *ON, "OPTOUT"), ("t", "GET", "k"), ("w", "SET", "k", "7"), ("t", *NO), ("t", *INFO),
        ("t", "GET", "k"), ("w", "SET", "k", "8"), ("t", "GET", "k"), ("w", "SET", "k", "9"),
        ("t", "PING")],
    "broadcasts": [
        ("t", *ON, "BCAST", "PREFIX", "a:", "PREFIX", "b:"), ("u", *ON, "BCAST"),
        ("v", *ON, "BCAST", "NOLOOP"), ("w", "SET", "a:1", "1"), ("w", "SET", "c:1", "1"),
        ("w", "MSET", "{s}c", "1", "{s}b", "1", "{s}a", "1"), ("v", "SET", "b:2", "1"),
        ("t", "SET", "a:", "1"), ("w", "MULTI"), ("w", "SET", "a:1", "2"), ("w", "SET", "a:1", "3"),
        ("w", "EXEC"), ("w", "DEL", "none"), ("w", "DEL", "a:1"), ("t", *INFO), ("u", *INFO),
        ("t", *OFF), ("w", "SET", "a:1", "1"), ("u", "RESET"), ("w", "SET", "a:1", "2"),
        ("w", "FLUSHDB"), ("w", "SET", "b:1", "1"), ("v", *INFO)],
    "redirections": [
        ("r2", "PING"), ("r3", "PING"), ("t", *ON, "REDIRECT", ("id", "r2")), ("t", *INFO),
        ("t", "GET", "k"), ("w", "SET", "k", "1"), ("r2", "SUBSCRIBE", "__redis__:invalidate"),
        ("t", "GET", "k"), ("w", "SET", "k", "2"), ("t", "GET", "k"), ("t", "SET", "k", "3"),
        ("t", *ON, "REDIRECT", ("id", "r3")), ("t", "CLIENT", "GETREDIR"), ("t", "GET", "k"),
        ("w", "SET", "k", "4"), ("t", *OFF), ("t", *ON, "BCAST", "REDIRECT", ("id", "r3")),
        ("w", "SET", "k", "5"), ("t", *OFF), ("t", *ON, "REDIRECT", ("id", "t")), ("t", "GET", "k"),
        ("w", "SET", "k", "6"), ("t", "GET", "k")],
    "a redirection that goes": [
        ("r2", "PING"), ("r3", "PING"), ("t", *ON, "REDIRECT", ("id", "r3")), ("t", "GET", "k"),
        ("t", "GET", "j"), ("w", "CLIENT", "KILL", "ID", ("id", "r3")), ("w", "SET", "k", "1"),
        ("t", *INFO), ("w", "SET", "j", "1"), ("t", "GET", "k"), ("t", *ON, "REDIRECT", ("id", "r2")),
        ("t", *INFO), ("t", *OFF), ("t", *INFO)],
    "flushes": [
        ("t", *ON), ("u", *ON, "BCAST", "PREFIX", "nothing"), ("w", "MSET", "{s}a", "1", "{s}b", "2"),
        ("t", "MGET", "{s}a", "{s}b"), ("w", "FLUSHALL"), ("t", "PING"), ("u", "PING"),
        ("w", "SET", "{s}a", "1"), ("w", "SELECT", "5"), ("w", "FLUSHDB"), ("t", "PING"),
        ("w", "MULTI"), ("w", "FLUSHALL"), ("w", "EXEC"), ("t", "FLUSHALL"), ("t", "PING")],
    "without replies": [
        ("t", *ON), ("t", "GET", "k"), ("t!", "CLIENT", "REPLY", "OFF"), ("w", "SET", "k", "1"),
        ("t!", "GET", "k"), ("w", "PING"), ("w", "SET", "k", "2"), ("t", "CLIENT", "REPLY", "ON")],
}


def pushes_apart(frames):
    """On several threads, pushes for keys of several threads come in any order, and beside a reply
    that they have nothing to do with."""
    return ([frame for frame in frames if not is_message(frame)],
            sorted(str(frame) for frame in frames if is_message(frame)))


class BesideRedis(OneNodeTest):
    maxDiff = None
    options = {**OneNodeTest.options, "threads": 1}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.reference = RedisServer("--databases", "16")

    @classmethod
    def tearDownClass(cls):
        cls.reference.stop()
        super().tearDownClass()

    pause_s = 0

    @staticmethod
    def compared(frames):
        return frames

    def test_conversations(self):
        for protocol in (2, 3):
            for name, steps in CONVERSATIONS.items():
                with self.subTest(name, protocol=protocol):
                    for port in (self.reference.port, self.port):
                        flusher = Connection(port)
                        flusher.call("FLUSHALL")
                        flusher.close()
                    expected = converse(self.reference.port, steps, protocol)
                    given = converse(self.port, steps, protocol, expected, self.pause_s)
                    for connection, frames in expected.items():
                        self.assertEqual(self.compared(given[connection]), self.compared(frames),
                                         connection)

    def test_pipelines(self):
        """Pushes stand where Redis has them among the replies of one pipeline."""
        for words in (["GET k", "SET k 1", "GET k", "SET k 2", "PING"],
                      ["GET k", "MULTI", "SET k 1", "SET k 2", "EXEC", "GET k", "DEL k"]):
            frames = []
            for port in (self.reference.port, self.port):
                connection = Connection(port)
                self.addCleanup(connection.close)
                for command in (["FLUSHALL"], ["HELLO", 3], ON):
                    connection.call(*command)
                connection.frames.clear()
                for command in words:
                    connection.send(*command.split())
                connection.send("ECHO", "the end")
                while not connection.frames or connection.frames[-1][1] != b"the end":
                    self.assertTrue(connection.wait(len(connection.frames) + 1))
                frames.append(self.compared(connection.frames))
            self.assertEqual(frames[1], frames[0])


class BesideRedisOnThreads(BesideRedis):
    options = {**OneNodeTest.options, "threads": 3}

    # Each step's pushes cross threads, to a redirection even two, before the next step is taken.
    pause_s = 0.005
    test_pipelines = None  # what a push stands between differs from run to run

    @staticmethod
    def compared(frames):
        return pushes_apart(frames)


class Limits(OneNodeTest):
    def test_client_list_and_info(self):
        target, client = Connection(self.port), Connection(self.port)
        for connection in (target, client):
            self.addCleanup(connection.close)
        target_id = target.call("CLIENT", "ID")[1].decode()
        self.assertEqual(client.call(*ON, "BCAST", "REDIRECT", target_id), ("+", b"OK"))
        line = client.call("CLIENT", "INFO")[1].decode()
        self.assertIn(" flags=tB ", line)
        self.assertIn(f" redir={target_id} ", line)
        self.assertIn(" flags=N ", target.call("CLIENT", "INFO")[1].decode())
        self.assertIn(" redir=-1 ", target.call("CLIENT", "INFO")[1].decode())
        self.assertEqual(self.redis.info("clients")["tracking_clients"], 1)
        self.assertEqual(self.redis.info("stats")["tracking_total_prefixes"], 1)

    def test_the_table_is_limited(self):
        self.assertEqual(self.redis.config_get("tracking-table-max-keys"),
                         {"tracking-table-max-keys": "1000000"})
        self.redis.config_set("tracking-table-max-keys", 100)
        self.addCleanup(self.redis.config_set, "tracking-table-max-keys", 1000000)
        client = Connection(self.port)
        self.addCleanup(client.close)
        client.call("HELLO", 3)
        client.call(*ON)
        for n in range(1000):
            client.send("GET", f"key{n}")
        client.wait(2 + 1000 + 900)
        given_up = [frame for frame in client.frames if is_message(frame)]
        self.assertEqual(len(given_up), 900)
        stats = self.redis.info("stats")
        self.assertEqual((stats["tracking_total_keys"], stats["tracking_total_items"]), (100, 100))

    def test_who_does_not_read_its_pushes_is_cut_off(self):
        """As client-output-buffer-limit says; the node's memory is its own again."""
        self.redis.config_set("client-output-buffer-limit", "normal 1mb 0 0")
        self.addCleanup(self.redis.config_set, "client-output-buffer-limit", "normal 0 0 0")
        client = Connection(self.port)
        self.addCleanup(client.close)
        client.call("HELLO", 3)
        client.call(*ON, "BCAST")
        pipe = self.redis.pipeline(transaction=False)
        end = time.monotonic() + 30
        while self.redis.info("clients")["tracking_clients"] and time.monotonic() < end:
            for n in range(1000):
                pipe.set(f"{n}:{'x' * 1000}", "v")
            pipe.execute()
        self.assertEqual(self.redis.info("clients")["tracking_clients"], 0)


if __name__ == "__main__":
    unittest.main()
