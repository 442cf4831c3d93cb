"""Scripts: replies beside redis-server's, clients' libraries that rest on scripts, slow ones."""
import threading
import unittest

from one_node import OneNodeTest
from beside_redis import Connection, RedisServer
from cluster import Cluster
from processes import wait_until
import redis
import script_cases

BUSY = b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."


def cases():
    for script in (script_cases.CONVERSIONS + script_cases.ERRORS + script_cases.REDIS_LIBRARY +
                   script_cases.HEADERS + script_cases.LIBRARIES):
        yield ("EVAL", script, 0)
    for script, keys, args in script_cases.COMMANDS:
        yield ("EVAL", script, len(keys), *keys, *args)
    for script in script_cases.HEADERS:
        yield ("EVAL_RO", script, 0)
    yield ("EVAL_RO", "return redis.call('set', KEYS[1], 1)", 1, "a")
    yield ("EVAL_RO", "return redis.call('get', KEYS[1])", 1, "k")
    yield ("EVAL", "return redis.call('set', KEYS[1], 1)", 1, "a")
    for count in ("x", "5", "-1", "1.5", "", "99999999999999999999"):
        yield ("EVAL", "return 1", count)
    for words in (("EVAL",), ("EVAL", "return 1"), ("EVALSHA", "abc", 0), ("EVALSHA", "z" * 40, 0),
                  ("EVALSHA", "ab" * 20, 0), ("EVALSHA", "ab" * 20, "x"), ("SCRIPT",),
                  ("SCRIPT", "NOSUCH"), ("SCRIPT", "EXISTS"), ("SCRIPT", "EXISTS", "x", "ab" * 20),
                  ("SCRIPT", "LOAD"), ("SCRIPT", "LOAD", "return 1"), ("SCRIPT", "LOAD", "retur"),
                  ("SCRIPT", "LOAD", "#!lua flags=x\n"), ("SCRIPT", "KILL"),
                  ("SCRIPT", "EXISTS", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"),
                  ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0),
                  ("EVALSHA", "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB", 0),
                  ("EVALSHA_RO", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0),
                  ("SCRIPT", "FLUSH", "foo"), ("SCRIPT", "FLUSH", "SYNC", "x"),
                  ("SCRIPT", "FLUSH", "SYNC"), ("SCRIPT", "FLUSH", "ASYNC"), ("SCRIPT", "FLUSH"),
                  ("EVALSHA", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", 0),
                  ("SCRIPT", "DEBUG", "foo"), ("SCRIPT", "DEBUG", "NO"), ("SCRIPT", "HELP")):
        yield words
    # In MULTI a script is one of its commands.
    yield ("MULTI",)
    yield ("SET", "in", "1")
    yield ("EVAL", "return redis.call('incr', KEYS[1])", 1, "in")
    yield ("EVAL", "return redis.call('mget', 'in', 'elsewhere')", 0)
    yield ("EVAL", "error('inside')", 0)
    yield ("EVALSHA", "ab" * 20, 0)
    yield ("GET", "in")
    yield ("EXEC",)


class BesideRedis(OneNodeTest):
    """Whatever the number of threads, replies are redis-server's."""

    options = {"threads": 3, "appendonly": "no"}

    def test_replies_are_those_of_redis(self):
        server = RedisServer()
        self.addCleanup(server.stop)
        for protocol in (2, 3):
            ours, theirs = Connection(self.port), Connection(server.port)
            for connection in (ours, theirs):
                connection.call("FLUSHALL")
                connection.call("SCRIPT", "FLUSH")
                connection.call("HELLO", protocol)
            different = []
            for words in cases():
                expected, got = theirs.call(*words), ours.call(*words)
                if expected != got:
                    different.append((words, expected, got))
            ours.close()
            theirs.close()
            for words, expected, got in different:
                print(words, "\n   redis:", str(expected)[:300], "\n   atoll:", str(got)[:300])
            self.assertEqual(len(different), 0)


ENDLESS = {
    "bare": "while true do end",
    "behind pcall": "while true do pcall(function() while true do end end) end",
    "in coroutines": "while true do coroutine.wrap(function() while true do end end)() end",
    "of calls": "while true do redis.call('ping') end",
    "of calls behind pcall": "while true do pcall(redis.call, 'get', 'k') end",
    "in xpcall's handler": "xpcall(error, function() while true do end end) while true do end",
}
WRITES_AND_GOES_ON = """
redis.call('set', KEYS[1], 'half')
local till = ARGV[1] * 1000000
local function now() local t = redis.call('time') return t[1] * 1000000 + t[2] end
local from = now()
while now() - from < till do end
redis.call('set', KEYS[1], 'whole')
return 'done'
"""


class SlowScripts:
    """A script that runs past busy-reply-threshold; subclasses say on how many threads."""

    def setUp(self):
        super().setUp()
        self.redis.config_set("busy-reply-threshold", 50)

    def connect(self):
        connection = Connection(self.port)
        self.addCleanup(connection.close)
        return connection

    def begin(self, *words):
        """An EVAL that is slow by now: others hear BUSY."""
        caller = self.connect()
        caller.send(*words)
        for_all = self.connect()
        wait_until(lambda: for_all.call("GET", words[3] if words[2] else "any")[1] == BUSY, 10,
                   "the script is slow")
        return caller, for_all

    def test_every_endless_script_is_killed(self):
        for name, script in ENDLESS.items():
            with self.subTest(name):
                caller, other = self.begin("EVAL", script, 0)
                self.assertEqual(other.call("PING")[1], BUSY)
                self.assertEqual(other.call("SCRIPT", "FLUSH")[1], BUSY)
                self.assertEqual(other.call("SHUTDOWN")[1], BUSY)
                self.assertEqual(self.connect().call("SCRIPT", "KILL"), ("+", b"OK"))
                self.assertTrue(caller.wait(1))
                self.assertIn(b"Script killed by user with SCRIPT KILL.", caller.frames[0][1])
                self.assertEqual(other.call("PING"), ("+", b"PONG"))
                self.assertEqual(other.call("SCRIPT", "KILL")[1][:7], b"NOTBUSY")

    def test_one_that_has_written_ends_by_itself(self):
        caller, other = self.begin("EVAL", WRITES_AND_GOES_ON, 1, "k", "1")
        self.assertEqual(other.call("SCRIPT", "KILL")[1][:10], b"UNKILLABLE")
        self.assertEqual(other.call("GET", "k")[1], BUSY)
        self.assertTrue(caller.wait(1, 10))
        self.assertEqual(caller.frames[0], ("$", b"done"))
        self.assertEqual(other.call("GET", "k"), ("$", b"whole"))

    def test_what_may_run_meanwhile(self):
        queued = self.connect()
        queued.call("MULTI")
        queued.call("SET", "k", "queued")
        caller, other = self.begin("EVAL", ENDLESS["bare"], 0)
        self.assertEqual(queued.call("EXEC")[1],
                         b"EXECABORT Transaction discarded because of: " + BUSY)
        self.assertEqual(other.call("MULTI"), ("+", b"OK"))
        self.assertEqual(other.call("SET", "k", "v")[1], BUSY)
        self.assertEqual(other.call("DISCARD"), ("+", b"OK"))
        self.assertEqual(other.call("UNWATCH"), ("+", b"OK"))
        self.assertEqual(other.call("HELLO", 3)[0], "%")
        quits = self.connect()
        self.assertEqual(quits.call("QUIT"), ("+", b"OK"))
        waits = self.connect()
        waits.send("WATCH", "k")
        waits.send("GET", "k")
        resets = self.connect()
        resets.send("RESET")
        self.assertFalse(waits.wait(1, 0.3), "WATCH waits for the script's end")
        self.assertFalse(resets.wait(1, 0.1))
        other.call("SCRIPT", "KILL")
        self.assertTrue(waits.wait(2))
        self.assertEqual(waits.frames, [("+", b"OK"), ("$", None)])
        self.assertTrue(resets.wait(1))
        self.assertEqual(resets.frames, [("+", b"RESET")])

    def test_the_callers_pipeline_keeps_its_order(self):
        caller = self.connect()
        words = [("SET", "n", "1"), ("EVAL", ENDLESS["bare"], 0), ("INCR", "n"), ("GET", "n")]
        for each in words:
            caller.send(*each)
        other = self.connect()
        wait_until(lambda: other.call("PING")[1] == BUSY, 10, "the script is slow")
        caller.send("INCR", "n")  # arrives while its connection's script runs
        other.call("SCRIPT", "KILL")
        self.assertTrue(caller.wait(5))
        self.assertEqual(caller.frames[0], ("+", b"OK"))
        self.assertIn(b"killed", caller.frames[1][1])
        self.assertEqual(caller.frames[2:], [(":", b"2"), ("$", b"2"), (":", b"3")])

    def test_what_comes_before_it_is_slow_hears_of_it_too(self):
        """Requests that a thread of the script has answered or taken when it stops, and commands
        over several threads that wait for such a one."""
        for round in range(20):
            caller, others = self.connect(), [self.connect() for _ in range(8)]
            for other in others:
                other.call("SELECT", 0)
                other.frames.clear()
            for n, other in enumerate(others):
                if n == 4:
                    caller.send("EVAL", ENDLESS["bare"], round % 2, *["k"] * (round % 2))
                for words in (("GET", "k"), ("DBSIZE",), ("MGET", "a", "b", "k"), ("GET", "k")):
                    other.send(*words)
            for other in others:
                self.assertTrue(other.wait(4), f"round {round}: {other.frames}")
                for frame, usual in zip(other.frames, "$:*$"):
                    self.assertIn(frame[0], ("-", usual))
            wait_until(lambda: others[0].call("SCRIPT", "KILL")[0] == "+", 10, "it is killed")
            self.assertTrue(caller.wait(1))

    def test_in_a_transaction(self):
        caller = self.connect()
        for words in (("MULTI",), ("INCR", "n"), ("EVAL", ENDLESS["bare"], 0), ("INCR", "n")):
            caller.call(*words)
        caller.send("EXEC")
        other = self.connect()
        wait_until(lambda: other.call("PING")[1] == BUSY, 10, "the script is slow")
        other.call("SCRIPT", "KILL")
        self.assertTrue(caller.wait(5))
        self.assertEqual((caller.frames[4][1], caller.frames[4][3]), ((":", b"1"), (":", b"2")))
        self.assertEqual(caller.frames[4][2][0], "-")

    def test_many_clients_hear_of_it(self):
        caller, other = self.begin("EVAL", ENDLESS["bare"], 0)
        clients = [self.connect() for _ in range(100)]
        for client in clients:
            for _ in range(50):
                client.send("SET", "k", "x" * 1000)
        for client in clients:
            self.assertTrue(client.wait(50))
            self.assertEqual(set(client.frames), {("-", BUSY)})
        for client in clients[::2]:
            client.close()  # while it runs
        other.call("SCRIPT", "KILL")
        self.assertTrue(caller.wait(1))
        self.assertEqual(clients[1].call("PING"), ("+", b"PONG"))
        self.assertEqual(self.redis.get("k"), None)


class SlowOnOneThread(SlowScripts, OneNodeTest):
    options = {"threads": 1, "appendonly": "yes", "appendfsync": "always"}


class SlowOnThreeThreads(SlowScripts, OneNodeTest):
    options = {"threads": 3, "appendonly": "yes", "appendfsync": "everysec"}


class ShutdownWhileSlow(OneNodeTest):
    options = {"threads": 2, "appendonly": "yes", "busy-reply-threshold": 50}

    # SHUTDOWN NOSAVE ends the node, and half of what a script wrote is not there afterwards.
    def test_nosave_leaves_no_half_of_a_script(self):
        for script, keys in (("while true do end", 0), (WRITES_AND_GOES_ON, 1)):
            self.redis.set("before", "there")
            caller = Connection(self.port)
            caller.send("EVAL", script, keys, *(["k"] if keys else []), "1000")
            other = Connection(self.port)
            wait_until(lambda: other.call("GET", "k")[1] == BUSY, 10, "the script is slow")
            other.send("SHUTDOWN", "NOSAVE")
            other.wait(len(other.frames) + 1)
            wait_until(lambda: not self._node.running(), 20, "the node has ended")
            caller.close()
            other.close()
            self._node.start()
            self.assertEqual(self.redis.get("before"), b"there")
            self.assertIsNone(self.redis.get("k"))


TOKEN_BUCKET = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = redis.call('TIME')
local at = now[1] + now[2] / 1000000
local state = redis.call('GET', KEYS[1])
local tokens, last = burst, at
if state then tokens, last = struct.unpack('>dd', state) end
tokens = math.min(burst, tokens + (at - last) * rate)
local allowed = tokens >= 1
if allowed then tokens = tokens - 1 end
redis.call('SET', KEYS[1], struct.pack('>dd', tokens, at), 'PX', 60000)
return {allowed and 1 or 0, tostring(tokens)}
"""


class Clients(OneNodeTest):
    """What clients' libraries build upon scripts, on several threads, with every write durable."""

    options = {"threads": 3, "appendonly": "yes", "appendfsync": "always"}

    def test_lock(self):
        lock = self.redis.lock("a lock", timeout=10)
        self.assertTrue(lock.acquire(blocking=False))
        self.assertFalse(self.redis.lock("a lock", timeout=10).acquire(blocking=False))
        self.assertTrue(lock.extend(20))
        self.assertTrue(lock.reacquire())
        lock.release()
        with self.assertRaises(redis.exceptions.LockError):
            lock.release()
        with self.redis.lock("a lock", timeout=10):
            self.assertTrue(self.redis.lock("a lock").locked())

    def test_registered_scripts_survive_a_flush(self):
        add = self.redis.register_script("return redis.call('incrby', KEYS[1], ARGV[1])")
        self.assertEqual(add(keys=["n"], args=[5]), 5)
        self.redis.script_flush()
        self.assertEqual(add(keys=["n"], args=[5]), 10)
        self.assertEqual(self.redis.script_exists(add.sha), [True])
        self.assertEqual(self.redis.pipeline().eval("return 1", 0).evalsha(add.sha, 1, "n", 1)
                         .execute(), [1, 11])

    def test_token_bucket(self):
        bucket = self.redis.register_script(TOKEN_BUCKET)
        allowed = [bucket(keys=["user"], args=[0.001, 5])[0] for _ in range(8)]
        self.assertEqual(allowed, [1] * 5 + [0] * 3)

    # Two keys on different threads: whoever looks sees both as one script left them.
    def test_a_script_is_one_command(self):
        keys = ["{one}k", "{three}k"]
        failures = []

        def write():
            client = redis.Redis(port=self.port)
            for _ in range(200):
                client.eval("redis.call('incr', KEYS[1]) redis.call('incr', KEYS[2])", 2, *keys)

        def read():
            client = redis.Redis(port=self.port)
            for _ in range(200):
                pair = client.pipeline(transaction=True).get(keys[0]).get(keys[1]).execute()
                both = client.eval("return redis.call('mget', unpack(KEYS))", 2, *keys)
                if pair[0] != pair[1] or both[0] != both[1]:
                    failures.append((pair, both))

        threads = [threading.Thread(target=each) for each in (write, write, read, read)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assertEqual(self.redis.mget(keys), [b"400", b"400"])

    def test_undeclared_keys(self):
        reached, refused = 0, 0
        for n in range(20):
            try:
                self.redis.eval("return redis.call('set', ARGV[1], 1)", 1, "declared", f"k{n}")
                reached += 1
            except redis.exceptions.ResponseError as error:
                self.assertIn("has not declared in KEYS", str(error))
                refused += 1
        self.assertGreater(reached, 0)
        self.assertGreater(refused, 0)
        for command in ("dbsize", "randomkey", "flushall"):
            with self.assertRaisesRegex(redis.exceptions.ResponseError, "must declare no keys"):
                self.redis.eval(f"return redis.call('{command}')", 1, "declared")
        self.assertEqual(self.redis.eval("return redis.call('set', ARGV[1], 1)", 0, "any"), b"OK")

    def test_watch_sees_what_a_script_writes(self):
        with self.redis.pipeline() as pipe:
            pipe.watch("w")
            self.redis.eval("return redis.call('set', KEYS[1], 1)", 1, "w")
            pipe.multi()
            pipe.get("w")
            with self.assertRaises(redis.exceptions.WatchError):
                pipe.execute()

    def test_events_and_messages_reach_every_thread(self):
        self.redis.config_set("notify-keyspace-events", "KEA")
        listeners = [Connection(self.port) for _ in range(6)]
        for each in listeners:
            each.call("PSUBSCRIBE", "__keyevent@0__:set", "news")
        self.redis.eval("redis.call('set', KEYS[1], 1) redis.call('publish', 'news', 'x')", 1, "k")
        for each in listeners:
            self.assertTrue(each.wait(4), each.frames)
            self.assertEqual([frame[-1][1] for frame in each.frames[2:]], [b"k", b"x"])
            each.close()
        self.redis.config_set("notify-keyspace-events", "")

    def test_rights_are_the_callers(self):
        self.redis.execute_command("ACL", "SETUSER", "app", "on", ">pw", "+eval", "+get", "+publish",
                                   "~a*", "resetchannels")
        app = redis.Redis(port=self.port, username="app", password="pw")
        self.assertIsNone(app.eval("return redis.call('get', KEYS[1])", 1, "a1"))
        denied = redis.exceptions.NoPermissionError
        for script, key, text in (
                ("return redis.call('set', KEYS[1], 1)", "a1",
                 "ACL failure in script: User app has no permissions to run the 'set' command"),
                ("return redis.call('get', 'b1')", "a1",
                 "ACL failure in script: No permissions to access a key"),
                ("return redis.call('publish', 'c', 1)", "a1",
                 "ACL failure in script: No permissions to access a channel"),
                ("return 1", "b1", "No permissions to access a key")):
            with self.assertRaisesRegex(denied, text):
                app.eval(script, 1, key)
        self.assertEqual(app.eval("return {redis.acl_check_cmd('get', 'a') and 1 or 0,"
                                  "redis.acl_check_cmd('set', 'a') and 1 or 0,"
                                  "redis.acl_check_cmd('get', 'b') and 1 or 0}", 0), [1, 0, 0])
        self.assertEqual(self.redis.acl_log()[0]["context"], "toplevel")
        self.assertEqual(self.redis.acl_log()[1]["context"], "lua")
        self.redis.acl_deluser("app")

    def test_monitor_shows_what_it_calls(self):
        monitor = Connection(self.port)
        monitor.call("MONITOR")
        self.redis.eval("return redis.call('incr', KEYS[1])", 1, "n")
        self.assertTrue(monitor.wait(3))
        self.assertIn(b'"EVAL"', monitor.frames[1][1])
        self.assertIn(b'[0 lua] "incr" "n"', monitor.frames[2][1])
        monitor.close()

    def test_statistics(self):
        self.redis.config_resetstat()
        self.redis.script_flush()
        self.redis.eval("redis.call('incr', KEYS[1]) redis.call('incr', KEYS[1])", 1, "n")
        with self.assertRaises(redis.exceptions.ResponseError):
            self.redis.eval("return redis.call('incr', KEYS[1], 2)", 1, "n")
        info = self.redis.info("everything")
        self.assertEqual(info["number_of_cached_scripts"], 2)
        self.assertGreater(info["used_memory_lua"], 10000)
        self.assertEqual(info["cmdstat_incr"]["calls"], 2)
        self.assertEqual(info["cmdstat_eval"]["calls"], 2)

    # Scripts that came by EVAL are many in a careless application; those loaded stay.
    def test_only_so_many_by_eval_are_kept(self):
        self.redis.script_flush()
        loaded = self.redis.script_load("return 'loaded'")
        self.redis.eval("return 'used again and again'", 0)
        for n in range(700):
            self.redis.eval(f"return {n}", 0)
            self.redis.eval("return 'used again and again'", 0)
        self.assertEqual(self.redis.info("memory")["number_of_cached_scripts"], 501)
        self.assertEqual(self.redis.evalsha(loaded, 0), b"loaded")
        self.assertEqual(self.redis.eval("return 0", 0), 0)

    def test_memory_limit(self):
        self.redis.set("big", "x" * 200000)
        self.redis.config_set("maxmemory", 100000)
        try:
            with self.assertRaisesRegex(redis.exceptions.ResponseError, "command not allowed when"):
                self.redis.eval("return redis.call('set', KEYS[1], 1)", 1, "k")
            with self.assertRaisesRegex(redis.exceptions.ResponseError, "allow-oom flag is not set"):
                self.redis.eval("#!lua\nreturn 1", 1, "k")
            for script in ("#!lua flags=allow-oom\nreturn redis.call('set', KEYS[1], 1)",
                           "return redis.call('get', KEYS[1])"):
                self.redis.eval(script, 1, "k")
        finally:
            self.redis.config_set("maxmemory", 0)


class Regions(unittest.TestCase):
    # What a script wrote to several keys arrives in the other region.
    def test_a_scripts_writes_arrive(self):
        with Cluster(regions=("us", "eu"), threads=2) as cluster:
            us, eu = cluster.client("us"), cluster.client("eu")
            us.config_set("busy-reply-threshold", 100)
            us.eval("for i = 1, #KEYS do redis.call('set', KEYS[i], ARGV[1]) end "
                    "return 1", 0, "x")
            names = [f"k{n}" for n in range(50)]
            us.eval("for i, k in ipairs(KEYS) do redis.call('set', k, i) end", 50, *names)
            expected = [str(n + 1).encode() for n in range(50)]
            wait_until(lambda: eu.mget(names) == expected, 20, "all of it arrives")
            # A region whose script takes longer than a beacon is late, and then complete.
            us.eval(WRITES_AND_GOES_ON, 1, "slow", "3")
            eu.incr("meanwhile")
            wait_until(lambda: eu.get("slow") == b"whole" and us.get("meanwhile") == b"1", 20,
                       "both are there")


if __name__ == "__main__":
    unittest.main()
