"""Debian's python3-redis runs against Atoll unmodified: a walk over what applications use."""
import asyncio
import threading
import time
import unittest

import redis
import redis.asyncio

from one_node import OneNodeTest


class PythonClient:
    """Subclasses say on how many threads."""

    def test_set_and_all_its_options(self):
        r = self.redis
        self.assertTrue(r.set("k", "1"))
        self.assertIsNone(r.set("k", "2", nx=True))
        self.assertTrue(r.set("k", "2", xx=True))
        self.assertIsNone(r.set("new", "2", xx=True))
        self.assertEqual(r.set("k", "3", get=True), b"2")
        r.set("k", "4", ex=100)
        self.assertTrue(0 < r.ttl("k") <= 100)
        r.set("k", "5", keepttl=True)
        self.assertTrue(0 < r.ttl("k") <= 100)
        r.set("k", "6")
        self.assertEqual(r.ttl("k"), -1)
        r.set("k", "7", px=50_000)
        self.assertTrue(40_000 < r.pttl("k") <= 50_000)
        r.set("k", "8", exat=int(time.time()) + 200)
        self.assertTrue(190 <= r.ttl("k") <= 200)
        with self.assertRaisesRegex(redis.ResponseError, "invalid expire time"):
            r.set("k", "v", ex=-1)
        with self.assertRaisesRegex(redis.ResponseError, "syntax error"):
            r.execute_command("SET", "k", "v", "NX", "XX")

    def test_string_commands(self):
        r = self.redis
        self.assertEqual(r.append("s", "Hello"), 5)
        self.assertEqual(r.append("s", " World"), 11)
        self.assertEqual(r.strlen("s"), 11)
        self.assertEqual(r.getrange("s", 0, 4), b"Hello")
        self.assertEqual(r.getrange("s", -5, -1), b"World")
        self.assertEqual(r.setrange("s", 6, "Redis"), 11)
        self.assertEqual(r.get("s"), b"Hello Redis")
        self.assertEqual(r.setrange("pad", 3, "x"), 4)
        self.assertEqual(r.get("pad"), b"\0\0\0x")
        self.assertEqual(r.getset("s", "new"), b"Hello Redis")
        self.assertEqual(r.getdel("s"), b"new")
        self.assertIsNone(r.get("s"))
        r.setex("e", 100, "v")
        self.assertEqual(r.getex("e", persist=True), b"v")
        self.assertEqual(r.ttl("e"), -1)
        self.assertTrue(r.psetex("p", 5000, "v"))
        self.assertTrue(r.setnx("nx", "1"))
        self.assertFalse(r.setnx("nx", "2"))
        binary = bytes(range(256))
        r.set(b"\0\r\n\xff", binary)
        self.assertEqual(r.get(b"\0\r\n\xff"), binary)
        big = b"x" * (8 << 20)
        r.set("big", big)
        self.assertEqual(r.get("big"), big)

    def test_multi_key_commands(self):
        r = self.redis
        self.assertTrue(r.mset({f"m{i}": i for i in range(200)}))
        self.assertEqual(r.mget([f"m{i}" for i in range(200)]), [b"%d" % i for i in range(200)])
        self.assertFalse(r.msetnx({"m1": "x", "fresh": "y"}))
        self.assertIsNone(r.get("fresh"))
        self.assertTrue(r.msetnx({"fresh1": "x", "fresh2": "y"}))
        self.assertEqual(r.exists("m1", "m1", "m2", "no"), 3)
        self.assertEqual(r.touch("m1", "no"), 1)
        self.assertEqual(r.delete("m1", "m2", "no"), 2)
        self.assertEqual(r.unlink("m3", "no"), 1)

    def test_counters(self):
        r = self.redis
        self.assertEqual(r.incr("n"), 1)
        self.assertEqual(r.incrby("n", 41), 42)
        self.assertEqual(r.decr("n"), 41)
        self.assertEqual(r.decrby("n", 50), -9)
        self.assertAlmostEqual(r.incrbyfloat("f", 10.5), 10.5)
        self.assertAlmostEqual(r.incrbyfloat("f", "5.0e3"), 5010.5)
        r.set("text", "abc")
        with self.assertRaisesRegex(redis.ResponseError, "not an integer or out of range"):
            r.incr("text")
        r.set("edge", 2 ** 63 - 1)
        with self.assertRaisesRegex(redis.ResponseError, "would overflow"):
            r.incr("edge")
        self.assertEqual(r.get("edge"), b"%d" % (2 ** 63 - 1))
        self.assertEqual(r.decrby("n", 0), -9)

    def test_expiry(self):
        r = self.redis
        r.set("k", "v")
        self.assertTrue(r.expire("k", 100))
        self.assertFalse(r.expire("no", 100))
        self.assertTrue(r.persist("k"))
        self.assertEqual(r.ttl("k"), -1)
        self.assertEqual(r.ttl("no"), -2)
        self.assertFalse(r.execute_command("EXPIRE", "k", 10, "XX"))
        self.assertTrue(r.execute_command("EXPIRE", "k", 10, "NX"))
        self.assertFalse(r.execute_command("EXPIRE", "k", 5, "GT"))
        self.assertTrue(r.execute_command("EXPIRE", "k", 5, "LT"))
        when = int(time.time()) + 1000
        self.assertTrue(r.expireat("k", when))
        self.assertEqual(r.execute_command("EXPIRETIME", "k"), when)
        self.assertEqual(r.execute_command("PEXPIRETIME", "k"), when * 1000)
        r.set("short", "v", px=80)
        self.assertEqual(r.get("short"), b"v")
        time.sleep(0.15)
        self.assertIsNone(r.get("short"))
        self.assertEqual(r.exists("short"), 0)
        r.mset({f"many{i}": "x" for i in range(100)})
        for i in range(100):
            r.pexpire(f"many{i}", 50)
        self.assertTrue(_within(5, lambda: r.dbsize() == 1), "expired keys are found by nobody")
        self.assertTrue(r.pexpire("k", -1))
        self.assertEqual(r.exists("k"), 0)

    def test_keys(self):
        r = self.redis
        r.mset({"user:1": "a", "user:2": "b", "other": "c"})
        self.assertEqual(sorted(r.keys("user:*")), [b"user:1", b"user:2"])
        self.assertEqual(sorted(r.keys("user:[2-9]")), [b"user:2"])
        self.assertEqual(sorted(r.scan_iter("user:?", count=1)), [b"user:1", b"user:2"])
        self.assertEqual(sorted(r.scan_iter(_type="string")), [b"other", b"user:1", b"user:2"])
        self.assertIn(r.randomkey(), [b"user:1", b"user:2", b"other"])
        self.assertEqual(r.type("other"), b"string")
        self.assertEqual(r.type("no"), b"none")
        self.assertTrue(r.rename("other", "renamed"))
        self.assertEqual(r.get("renamed"), b"c")
        self.assertFalse(r.renamenx("renamed", "user:1"))
        with self.assertRaisesRegex(redis.ResponseError, "no such key"):
            r.rename("no", "x")
        self.assertTrue(r.copy("renamed", "copied"))
        self.assertFalse(r.copy("renamed", "copied"))
        self.assertTrue(r.copy("user:1", "copied", replace=True))
        self.assertEqual(r.get("copied"), b"a")
        self.assertEqual(r.dbsize(), 4)
        self.assertEqual(r.object("encoding", "user:1"), b"embstr")
        self.assertGreater(r.memory_usage("user:1"), 0)

    def test_scan_returns_what_stays_while_others_come_and_go(self):
        r = self.redis
        stays = {b"stay:%d" % i for i in range(2000)}
        r.mset({key: "x" for key in stays})
        found, cursor, turn = set(), None, 0
        while cursor != 0:
            cursor, keys = r.scan(cursor or 0, count=50)
            found.update(keys)
            r.mset({f"come:{turn}:{i}": "x" for i in range(20)})
            r.delete(*[f"come:{turn - 1}:{i}" for i in range(20)])
            turn += 1
        self.assertTrue(stays <= found, f"{len(stays - found)} keys were not returned")

    def test_numbered_databases(self):
        five = redis.Redis(port=self.port, db=5)
        self.addCleanup(five.close)
        self.redis.set("k", "zero")
        five.set("k", "five")
        self.assertEqual((self.redis.get("k"), five.get("k")), (b"zero", b"five"))
        self.assertTrue(five.move("k", 6))
        self.assertIsNone(five.get("k"))
        self.redis.execute_command("COPY", "k", "k", "DB", 5)
        self.assertEqual(five.get("k"), b"zero")
        five.flushdb()
        self.assertEqual((self.redis.get("k"), five.dbsize()), (b"zero", 0))
        with self.assertRaisesRegex(redis.ResponseError, "out of range"):
            redis.Redis(port=self.port).execute_command("SELECT", 99)
        self.redis.flushall()

    def test_transactions(self):
        r = self.redis
        pipe = r.pipeline(transaction=True)
        pipe.set("a", 1).incr("a").mget("a", "b").set("b{x}", "y")
        self.assertEqual(pipe.execute(), [True, 2, [b"2", None], True])
        pipe = r.pipeline()
        pipe.set("a", "text").incr("a").set("after", "runs")
        with self.assertRaises(redis.ResponseError):
            pipe.execute()
        self.assertEqual(r.get("after"), b"runs")
        with self.assertRaisesRegex(redis.ResponseError, "EXECABORT|wrong number"):
            r.pipeline().execute_command("SET", "only-key").execute()

    def test_watch(self):
        r, other = self.redis, redis.Redis(port=self.port)
        self.addCleanup(other.close)
        r.set("w", 1)
        with r.pipeline() as pipe:
            pipe.watch("w")
            other.set("w", 2)
            pipe.multi()
            pipe.set("w", 3)
            with self.assertRaises(redis.WatchError):
                pipe.execute()
        self.assertEqual(r.get("w"), b"2")
        with r.pipeline() as pipe:
            pipe.watch("w")
            value = int(pipe.get("w"))
            pipe.multi()
            pipe.set("w", value + 10)
            pipe.execute()
        self.assertEqual(r.get("w"), b"12")

    def test_watched_transactions_from_many_threads_lose_nothing(self):
        def increment(pipe):
            value = int(pipe.get("sum") or 0)
            pipe.multi()
            pipe.set("sum", value + 1)

        def add():
            client = redis.Redis(port=self.port)
            for _ in range(50):
                client.transaction(increment, "sum")
            client.close()

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.redis.get("sum"), b"200")

    def test_pipelines_answer_in_order(self):
        pipe = self.redis.pipeline(transaction=False)
        for i in range(5000):
            pipe.set(f"p{i}", i)
            pipe.get(f"p{i}")
        replies = pipe.execute()
        self.assertEqual(replies[1::2], [b"%d" % i for i in range(5000)])

    def test_server_and_connection_commands(self):
        r = self.redis
        self.assertEqual(r.echo("hi"), b"hi")
        self.assertTrue(r.client_setname("walk"))
        self.assertEqual(r.client_getname(), "walk")
        self.assertIsInstance(r.client_id(), int)
        self.assertIn("walk", [client["name"] for client in r.client_list()])
        seconds, micros = r.time()
        self.assertAlmostEqual(seconds + micros / 1e6, time.time(), delta=5)
        self.assertGreater(r.command_count(), 50)
        self.assertIn("get", r.command())
        self.assertEqual(r.config_get("appendonly").get("appendonly"), "yes")
        self.assertTrue(r.config_set("slowlog-max-len", 77))
        self.assertEqual(r.config_get("slowlog-max-len"), {"slowlog-max-len": "77"})
        with self.assertRaises(redis.ResponseError):
            r.config_set("no-such-setting", 1)
        self.assertTrue(r.config_resetstat())
        r.slowlog_reset()
        r.config_set("slowlog-log-slower-than", 0)
        r.get("x")
        self.assertGreater(r.slowlog_len(), 0)
        r.slowlog_get(5)
        r.config_set("slowlog-log-slower-than", 10000)
        self.assertTrue(r.bgsave())
        r.lastsave()
        info = r.info()
        self.assertIn("redis_version", info)
        r.set("k", 1)
        self.assertEqual(r.info("keyspace")["db0"]["keys"], 1)

    def test_monitor_shows_commands(self):
        with self.redis.monitor() as monitor:
            other = redis.Redis(port=self.port)
            other.set("seen", "1")
            for _ in range(20):
                if "seen" in monitor.next_command()["command"]:
                    break
            else:
                self.fail("MONITOR did not show the SET")
            other.close()

    def test_client_kill_closes_a_connection(self):
        victim = redis.Redis(port=self.port, single_connection_client=True)
        identity = victim.client_id()
        self.assertEqual(self.redis.execute_command("CLIENT", "KILL", "ID", identity), 1)
        with self.assertRaises(redis.ConnectionError):
            victim.connection.send_command("PING", check_health=False)
            victim.connection.read_response()

    def test_errors_are_worded_as_redis_words_them(self):
        r = self.redis
        for words, text in (
                (("NOSUCH", "a"), "unknown command 'NOSUCH', with args beginning with: 'a'"),
                (("GET",), "wrong number of arguments for 'get' command"),
                (("EXPIRE", "k", "abc"), "value is not an integer or out of range"),
                (("SET", "k", "v", "BOGUS"), "syntax error"),
                (("CONFIG", "NOSUCH"), "unknown subcommand"),
                (("EXEC",), "EXEC without MULTI"),
                (("DISCARD",), "DISCARD without MULTI"),
                (("SETRANGE", "k", "-1", "x"), "offset is out of range")):
            with self.assertRaisesRegex(redis.ResponseError, text, msg=words):
                r.execute_command(*words)

    def test_collections_as_python_has_them(self):
        r = redis.Redis(port=self.port, decode_responses=True)
        self.addCleanup(r.close)
        self.assertEqual(r.hset("h", mapping={"a": 1, "b": "text"}), 2)
        self.assertEqual(r.hgetall("h"), {"a": "1", "b": "text"})
        self.assertEqual(r.hmget("h", "a", "none"), ["1", None])
        self.assertEqual(r.hincrbyfloat("h", "a", 0.5), 1.5)
        self.assertEqual(dict(r.hscan_iter("h")), {"a": "1.5", "b": "text"})
        self.assertEqual(r.sadd("s", "a", "b", "c"), 3)
        self.assertEqual(r.smembers("s"), {"a", "b", "c"})
        self.assertEqual(r.sinter("s", "s2"), set())
        self.assertEqual(set(r.sscan_iter("s")), {"a", "b", "c"})
        self.assertEqual(r.zadd("z", {"a": 1, "b": 2.5, "c": float("-inf")}), 3)
        self.assertEqual(r.zrange("z", 0, -1, withscores=True),
                         [("c", float("-inf")), ("a", 1.0), ("b", 2.5)])
        self.assertEqual(r.zadd("z", {"a": 5}, incr=True), 6.0)
        self.assertEqual(r.zrank("z", "a"), 2)
        self.assertEqual(dict(r.zscan_iter("z"))["b"], 2.5)
        self.assertEqual(r.zpopmax("z"), [("a", 6.0)])
        self.assertEqual(r.rpush("l", *range(5)), 5)
        self.assertEqual(r.lrange("l", 1, 2), ["1", "2"])
        self.assertEqual(r.lpop("l", 2), ["0", "1"])
        self.assertEqual(r.sort("l", desc=True), ["4", "3", "2"])
        with self.assertRaisesRegex(redis.ResponseError, "WRONGTYPE"):
            r.get("l")

    def test_queues_that_are_waited_for(self):
        r = self.redis
        self.assertIsNone(r.blpop(["q1", "q2"], timeout=0.05))
        taken = []

        def work():
            worker = redis.Redis(port=self.port, socket_timeout=20)
            while (item := worker.blpop(["q1", "q2", "q3"], timeout=10))[1] != b"end":
                taken.append(int(item[1]))
            worker.close()

        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers:
            worker.start()
        for n in range(300):
            r.rpush(f"q{1 + n % 3}", n)
        self.assertTrue(_within(10, lambda: len(taken) == 300))
        for _ in workers:
            r.rpush("q1", "end")
        for worker in workers:
            worker.join()
        self.assertEqual(sorted(taken), list(range(300)))
        r.rpush("from", "x")
        self.assertEqual(r.blmove("from", "to", 1, "LEFT", "RIGHT"), b"x")
        self.assertEqual(r.brpoplpush("to", "from", 1), b"x")
        r.zadd("z", {"a": 1})
        self.assertEqual(r.bzpopmin("z", 1), (b"z", b"a", 1.0))

    def test_locks_keep_threads_apart(self):
        inside, most = [0], [0]

        def work():
            client = redis.Redis(port=self.port, socket_timeout=20)
            for _ in range(20):
                with client.lock("lock", timeout=20, sleep=0.002):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    total = int(client.get("sum") or 0)
                    time.sleep(0.0005)
                    client.set("sum", total + 1)
                    inside[0] -= 1
            client.close()

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((self.redis.get("sum"), most[0]), (b"80", 1))

    def test_a_lock_expires_and_who_is_late_releases_nothing(self):
        r = self.redis
        late = r.lock("lock", timeout=0.1)
        self.assertTrue(late.acquire())
        self.assertFalse(r.lock("lock", blocking_timeout=0.03).acquire())
        following = r.lock("lock", timeout=20, sleep=0.01)
        self.assertTrue(following.acquire(blocking_timeout=5))
        for attempt in (late.reacquire, late.release):
            with self.assertRaises(redis.exceptions.LockNotOwnedError):
                attempt()
        self.assertTrue(following.owned())
        self.assertTrue(following.extend(30))
        self.assertTrue(40_000 < r.pttl("lock") <= 50_000)
        self.assertTrue(following.extend(5, replace_ttl=True))
        self.assertTrue(4_000 < r.pttl("lock") <= 5_000)
        following.release()
        self.assertFalse(r.exists("lock"))

    def test_messages_in_a_thread(self):
        heard = []
        pubsub = self.redis.pubsub(ignore_subscribe_messages=True)
        pubsub.subscribe(news=lambda message: heard.append(message["data"]))
        pubsub.psubscribe(**{"n*": lambda message: heard.append(message["channel"])})
        listening = pubsub.run_in_thread(sleep_time=0.01)
        try:
            self.assertTrue(_within(5, lambda: self.redis.publish("news", "x") == 2))
            self.assertTrue(_within(5, lambda: sorted(heard) == [b"news", b"x"]), heard)
        finally:
            listening.stop()
            listening.join()

    def test_a_pool_that_many_threads_share(self):
        pool = redis.BlockingConnectionPool(max_connections=4, timeout=20, port=self.port,
                                            socket_timeout=20)
        self.addCleanup(pool.disconnect)

        def work(n):
            client = redis.Redis(connection_pool=pool)
            for i in range(50):
                client.pipeline().set(f"k{n}", i).incr("sum").execute()
                if client.get(f"k{n}") != b"%d" % i:
                    return

        threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.redis.get("sum"), b"800")

    def test_a_lost_connection_is_opened_anew(self):
        client = redis.Redis(port=self.port, db=4, client_name="lost", retry_on_timeout=True)
        self.addCleanup(client.close)
        client.set("k", "four")
        (lost,) = [c for c in self.redis.client_list() if c["name"] == "lost"]
        self.assertEqual(self.redis.client_kill_filter(_id=lost["id"]), 1)
        self.assertEqual(client.get("k"), b"four")
        self.assertEqual(client.client_getname(), "lost")

    def test_asyncio(self):
        async def converse():
            r = redis.asyncio.Redis(port=self.port)
            await asyncio.gather(*[r.incr("n") for _ in range(100)])
            self.assertEqual(await r.get("n"), b"100")
            async with r.pipeline(transaction=True) as pipe:
                self.assertEqual(await pipe.set("a", 1).incr("a").execute(), [True, 2])
            waiting = asyncio.create_task(r.blpop("q", timeout=10))
            await r.rpush("q", "x")
            self.assertEqual(await waiting, (b"q", b"x"))
            inside = 0

            async def work():
                nonlocal inside
                async with r.lock("lock", timeout=20, sleep=0.002):
                    inside += 1
                    self.assertEqual(inside, 1)
                    await r.incr("held")
                    inside -= 1

            await asyncio.gather(*[work() for _ in range(10)])
            self.assertEqual(await r.get("held"), b"10")
            async with r.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe("news")
                await r.publish("news", "x")
                async for message in pubsub.listen():
                    self.assertEqual(message["data"], b"x")
                    break
            await r.close(close_connection_pool=True)

        asyncio.run(converse())


class OnOneThread(PythonClient, OneNodeTest):
    options = {**OneNodeTest.options, "threads": 1}


class OnThreeThreads(PythonClient, OneNodeTest):
    options = {**OneNodeTest.options, "threads": 3}


def _within(seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


if __name__ == "__main__":
    unittest.main()
