"""Sets and sorted sets beside redis-server: thousands of random commands, reply by reply, and the
keyspace events of a fixed list.

ATOLL_SEED=n repeats a run. Scores are quarters: 7.0 prints others with more digits than 7.2 does.
"""
import os
import random
import time
import unittest

import redis

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection, RedisServer, converse

COMMANDS = 4000
SETS = ["s1", "s2", "s3", "s4"]
SORTED = ["z1", "z2", "z3", "z4"]
LEX = ["l1", "l2"]  # of one score only, which is all that ranges by member are defined for
OTHER = ["none", "text", "z1", "s1"]
MEMBERS = [f"m{i}" for i in range(24)] + ["1", "2", "30", "-4", "", "a b", "\x00\xff"]
SCORES = ["0", "1", "-1", "2.5", "-0.25", "7", "7", "100", "1e3", "inf", "-inf", "+inf", "0x10"]
BAD = ["x", "", "nan", " 1", "1 ", "1e400", "(", "[", "9223372036854775808", "-1", "0", "limit"]
# Replies that are sets whatever they are called.
UNORDERED = {"SMEMBERS", "SINTER", "SUNION", "SDIFF"}


class Generator:
    """Commands of all kinds, most of them sound, some with one argument spoilt."""

    def __init__(self, dice):
        self.dice = dice
        self.kinds = [kind for kind in dir(self) if kind.startswith("make_")]

    def command(self):
        words = getattr(self, self.dice.choice(self.kinds))()
        words = [str(word) for word in words]
        if self.dice.random() < 0.08:
            spoil = self.dice.choice(("replace", "drop", "add"))
            # Not the key: one that has many scores must not be asked for ranges by member.
            at = self.dice.randrange(2, len(words) + 1)
            if at == len(words) or (words[0] == "ZADD" and words[1] in LEX):
                return words
            if spoil == "replace":
                words[at] = self.dice.choice(BAD)
            elif spoil == "drop":
                del words[at]
            else:
                words.insert(at, self.dice.choice(BAD))
        if self.dice.random() < 0.05:
            words[0] = words[0].lower()
        return words

    def some(self, what, most=4):
        return [self.dice.choice(what) for _ in range(self.dice.randint(1, most))]

    def maybe(self, *words):
        return list(words) if self.dice.random() < 0.4 else []

    def one(self, *what):
        return self.dice.choice(what)

    def set(self):
        return self.dice.choice(SETS + OTHER if self.dice.random() < 0.1 else SETS)

    def sorted(self):
        return self.dice.choice(SORTED + OTHER if self.dice.random() < 0.1 else SORTED)

    def member(self):
        return self.dice.choice(MEMBERS)

    def rank(self):
        return self.dice.randint(-12, 12)

    def score_bound(self):
        return self.one("", "(") + self.one("-inf", "inf", "0", "1", "2.5", "-1", "7", "50")

    def lex_bound(self):
        return self.one("-", "+", "[m1", "(m1", "[m2", "(m20", "[m9", "(", "[")

    def limit(self):
        return self.maybe("LIMIT", self.dice.randint(-1, 6), self.dice.randint(-1, 6))

    def make_sadd(self):
        return ["SADD", self.set(), *self.some(MEMBERS, 8)]

    make_sadd_more = make_sadd

    def make_srem(self):
        return ["SREM", self.set(), *self.some(MEMBERS, 3)]

    def make_smove(self):
        return ["SMOVE", self.set(), self.set(), self.member()]

    def make_look_at_set(self):
        return self.one(["SCARD", self.set()], ["SMEMBERS", self.set()],
                        ["SISMEMBER", self.set(), self.member()],
                        ["SMISMEMBER", self.set(), *self.some(MEMBERS)])

    def make_join_sets(self):
        keys = [self.set() for _ in range(self.dice.randint(1, 3))]
        name = self.one("SINTER", "SUNION", "SDIFF")
        return self.one([name, *keys], [name + "STORE", self.set(), *keys],
                        ["SINTERCARD", len(keys), *keys, *self.maybe("LIMIT", self.one(0, 1, 2))])

    def pairs(self):
        return [word for _ in range(self.dice.randint(1, 5))
                for word in (self.dice.choice(SCORES), self.member())]

    def make_zadd(self):
        return ["ZADD", self.sorted(), *self.maybe(self.one("NX", "XX", "GT", "LT")),
                *self.maybe("CH"), *self.pairs()]

    make_zadd_more = make_zadd

    def make_zadd_options(self):
        return ["ZADD", self.sorted(), *self.some(["NX", "XX", "GT", "LT", "CH", "INCR"], 3),
                *self.pairs()[:self.one(2, 2, 2, 4)]]

    def make_zadd_lex(self):
        return ["ZADD", self.dice.choice(LEX), "0", self.member(), "0", self.member()]

    def make_zincrby(self):
        return ["ZINCRBY", self.sorted(), self.dice.choice(SCORES), self.member()]

    def make_zrem(self):
        return ["ZREM", self.sorted(), *self.some(MEMBERS, 3)]

    def make_look_at_sorted(self):
        return self.one(["ZCARD", self.sorted()], ["ZSCORE", self.sorted(), self.member()],
                        ["ZMSCORE", self.sorted(), *self.some(MEMBERS)],
                        ["ZRANK", self.sorted(), self.member()],
                        ["ZREVRANK", self.sorted(), self.member()])

    def make_count(self):
        return self.one(["ZCOUNT", self.sorted(), self.score_bound(), self.score_bound()],
                        ["ZLEXCOUNT", self.dice.choice(LEX), self.lex_bound(), self.lex_bound()])

    def make_old_ranges(self):
        return self.one(
            [self.one("ZRANGE", "ZREVRANGE"), self.sorted(), self.rank(), self.rank(),
             *self.maybe("WITHSCORES")],
            [self.one("ZRANGEBYSCORE", "ZREVRANGEBYSCORE"), self.sorted(), self.score_bound(),
             self.score_bound(), *self.maybe("WITHSCORES"), *self.limit()],
            [self.one("ZRANGEBYLEX", "ZREVRANGEBYLEX"), self.dice.choice(LEX), self.lex_bound(),
             self.lex_bound(), *self.limit()])

    def make_zrange(self):
        store = self.dice.random() < 0.4
        name = ["ZRANGESTORE", self.sorted()] if store else ["ZRANGE"]
        scores = [] if store else self.maybe("WITHSCORES")
        return self.one(
            [*name, self.sorted(), self.rank(), self.rank(), *self.maybe("REV"), *scores],
            [*name, self.sorted(), self.score_bound(), self.score_bound(), *self.maybe("REV"),
             "BYSCORE", *self.limit(), *scores],
            [*name, self.dice.choice(LEX), self.lex_bound(), self.lex_bound(), "BYLEX",
             *self.maybe("REV"), *self.limit()])

    def make_remove_range(self):
        if self.dice.random() < 0.5:
            return self.make_count()
        return self.one(["ZREMRANGEBYRANK", self.sorted(), self.rank(), self.one(-9, 2, 3)],
                        ["ZREMRANGEBYSCORE", self.sorted(), self.score_bound(), self.score_bound()],
                        ["ZREMRANGEBYLEX", self.dice.choice(LEX), self.lex_bound(),
                         self.lex_bound()])

    def make_pop(self):
        return self.one([self.one("ZPOPMIN", "ZPOPMAX"), self.sorted(), *self.maybe(self.rank())],
                        ["ZMPOP", "2", self.sorted(), self.sorted(), self.one("MIN", "MAX"),
                         *self.maybe("COUNT", self.one(1, 2, 0, 50))])

    def make_join_sorted(self):
        keys = [self.one(self.sorted(), self.sorted(), self.set())
                for _ in range(self.dice.randint(1, 3))]
        name = self.one("ZINTER", "ZUNION", "ZDIFF")
        options = []
        if name != "ZDIFF" or self.dice.random() < 0.05:
            options += self.maybe("WEIGHTS", *(self.one("0", "1", "-2", "0.5", "inf")
                                               for _ in keys))
            options += self.maybe("AGGREGATE", self.one("SUM", "MIN", "MAX", "min"))
        return self.one([name, len(keys), *keys, *options, *self.maybe("WITHSCORES")],
                        [name + "STORE", self.sorted(), len(keys), *keys, *options],
                        ["ZINTERCARD", len(keys), *keys, *self.maybe("LIMIT", self.one(0, 1, 2))])

    def make_other(self):
        return self.one(["DEL", self.one(*SETS, *SORTED, *LEX)],
                        ["EXISTS", self.one(*SETS, *SORTED, *LEX)], ["SET", "text", "v"])


def encoded(words):
    return [word.encode("latin-1") for word in words]


def plain(frame):
    """Scores as numbers: 7.0 and 7.2 differ in how they print 1e20."""
    if frame[0] in ",$" and frame[1]:
        try:
            number = float(frame[1])
            return (frame[0], frame[1] if number != number else number)
        except ValueError:
            return frame
    if frame[0] in "*~%>":
        return (frame[0], *(plain(item) for item in frame[1:]))
    return frame


def comparable(name, frame):
    frame = plain(frame)
    if name.upper() in UNORDERED and frame[0] in "*~":
        return (frame[0], *sorted(frame[1:], key=repr))
    return frame


class BesideRedis(OneNodeTest):
    """The node has three threads, so that keys of one command live on several."""

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

    def connect(self, protocol):
        ours, theirs = Connection(self.port), Connection(self.other.port)
        for each in (ours, theirs):
            self.addCleanup(each.close)
            if protocol == 3:
                each.call("HELLO", 3)
        return ours, theirs

    def walk(self, connection, name, key):
        """Everything that SSCAN or ZSCAN meets: members, or members and scores."""
        cursor, met = b"0", {}
        while True:
            _, (_, cursor), (_, *items) = connection.call(name, key, cursor, "COUNT", 5)
            step = 2 if name == "ZSCAN" else 1
            for i in range(0, len(items), step):
                met[items[i][1]] = float(items[i + 1][1]) if step == 2 else None
            if cursor == b"0":
                return met

    def check_random(self, dice, ours, theirs):
        """What is drawn is there, differs where it should, and is gone after SPOP."""
        key = dice.choice(SETS + SORTED)
        is_set = key in SETS
        count = dice.choice([None, 0, 1, 2, 5, 9, 100, -1, -7])
        pops = is_set and dice.random() < 0.3 and (count is None or count >= 0)
        name = "SPOP" if pops else "SRANDMEMBER" if is_set else "ZRANDMEMBER"
        there = theirs.call("SMEMBERS" if is_set else "ZRANGE", key, *([] if is_set else [0, -1]))
        if there[0] == "-":
            return
        there = {item[1] for item in there[1:]}
        words = [name, key] if count is None else [name, key, count]
        reply = ours.call(*words)
        shape = theirs.call("SRANDMEMBER", *words[1:]) if pops else theirs.call(*words)
        if count is None:
            drawn = [] if reply in (("$", None), ("_", b"")) else [reply[1]]
            self.assertEqual(bool(there), bool(drawn), words)
        else:
            drawn = [item[1] for item in reply[1:]]
            self.assertEqual(len(reply), len(shape), words)
            if not pops:
                self.assertEqual(reply[0], shape[0], words)
            if count > 0:
                self.assertEqual(len(set(drawn)), len(drawn), words)
        self.assertLessEqual(set(drawn), there, words)
        if pops and drawn:
            self.assertEqual(theirs.call("SREM", key, *drawn), (":", b"%d" % len(drawn)), words)

    def check_all(self, ours, theirs):
        for key in SETS + SORTED + LEX:
            kind = theirs.call("TYPE", key)[1]
            if kind == b"set":
                words = ["SMEMBERS", key]
                self.assertEqual(self.walk(ours, "SSCAN", key), self.walk(theirs, "SSCAN", key))
            else:
                words = ["ZRANGE", key, "0", "-1", "WITHSCORES"]
                if kind == b"zset":
                    self.assertEqual(self.walk(ours, "ZSCAN", key),
                                     self.walk(theirs, "ZSCAN", key))
            self.assertEqual(*(comparable(words[0], each.call(*words)) for each in (ours, theirs)))

    def run_random(self, protocol):
        seed = int(os.environ.get("ATOLL_SEED", time.time_ns() % 1_000_000))
        print(f"ATOLL_SEED={seed}", flush=True)
        dice = random.Random(seed)
        generator = Generator(dice)
        ours, theirs = self.connect(protocol)
        errors = 0
        for n in range(COMMANDS):
            ours.frames.clear()
            theirs.frames.clear()
            if n % 15 == 14:
                self.check_random(dice, ours, theirs)
                continue
            words = generator.command()
            if words[0].upper() in ("ZRANK", "ZREVRANK") and len(words) != 3:
                continue  # WITHSCORE is younger than the server beside
            expected, found = (comparable(words[0], each.call(*encoded(words)))
                               for each in (theirs, ours))
            errors += expected[0] == "-"
            self.assertEqual(expected, found, f"{words}, command {n}, ATOLL_SEED={seed}")
            if n % 200 == 199:
                self.check_all(ours, theirs)
        self.check_all(ours, theirs)
        self.assertLess(COMMANDS // 50, errors, "some were spoilt")
        self.assertLess(errors, COMMANDS // 3, "most were sound")

    def test_random_commands_in_resp2(self):
        self.run_random(2)

    def test_random_commands_in_resp3(self):
        self.run_random(3)

    def test_command_table(self):
        """Arity, flags, keys and categories; where 7.2 differs, the rows say what 7.2 says."""
        names = {name.lower() for name in (
            "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers "
            "smismember spop srandmember srem sscan sunion sunionstore zadd zcard zcount zdiff "
            "zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore zpopmax "
            "zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrem "
            "zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex "
            "zrevrangebyscore zscan zscore zunion zunionstore").split()}
        ours, theirs = self.connect(2)
        for name in sorted(names):
            with self.subTest(name):
                mine, other = (each.call("COMMAND", "INFO", name)[1] for each in (ours, theirs))
                self.assertEqual(mine[:9], other[:9])
                self.assertEqual(mine[9], other[9], "key specs")
        for words in (["ZUNIONSTORE", "d", "2", "a", "b"], ["SINTERSTORE", "d", "a", "b"],
                      ["ZRANGESTORE", "d", "a", "0", "1"], ["ZMPOP", "2", "a", "b", "MIN"],
                      ["ZINTER", "2", "a", "b"], ["SMOVE", "a", "b", "m"]):
            self.assertEqual(*(each.call("COMMAND", "GETKEYS", *words) for each in (ours, theirs)))

    def test_keyspace_events(self):
        for letters in ("KEAnm", "Es", "Kz"):
            for port in (self.port, self.other.port):
                client = redis.Redis(port=port)
                client.flushall()
                client.config_set("notify-keyspace-events", letters)
            script = [("s", "PSUBSCRIBE", "__key*__:*"), *(("c", *step) for step in EVENTS)]
            try:
                with self.subTest(letters):
                    theirs = converse(self.other.port, script, 2)
                    self.assertEqual(theirs, converse(self.port, script, 2, theirs))
            finally:
                self.redis.config_set("notify-keyspace-events", "")


EVENTS = [
    ("SADD", "s", "a", "b", "c"), ("SADD", "s", "a"), ("SADD", "t", "b", "d"), ("SREM", "s", "x"),
    ("SREM", "s", "a"), ("SMOVE", "s", "u", "b"), ("SMOVE", "s", "u", "x"), ("SMOVE", "s", "u", "c"),
    ("SMOVE", "u", "u", "b"), ("SINTERSTORE", "v", "u", "t"), ("SINTERSTORE", "v", "u", "u"),
    ("SINTERSTORE", "v", "u", "none"), ("SINTERSTORE", "v", "u", "none"),
    ("SUNIONSTORE", "v", "u", "t"), ("SDIFFSTORE", "v", "v", "t"), ("SDIFFSTORE", "v", "v", "v"),
    ("SADD", "one", "a"), ("SPOP", "one", "0"), ("SPOP", "one"), ("SPOP", "one"),
    ("SADD", "one", "a"), ("SPOP", "one", "3"), ("SADD", "one", "a"), ("SREM", "one", "a"),
    ("SMEMBERS", "none"), ("SISMEMBER", "none", "a"), ("SCARD", "none"), ("SSCAN", "none", "0"),
    ("SRANDMEMBER", "none"), ("SINTER", "none"), ("SINTERCARD", "1", "none"),
    ("ZADD", "z", "1", "a", "2", "b"), ("ZADD", "z", "1", "a"), ("ZADD", "z", "5", "a"),
    ("ZADD", "z", "NX", "6", "a"), ("ZADD", "z", "INCR", "1", "a"), ("ZADD", "z", "INCR", "0", "a"),
    ("ZINCRBY", "z", "1", "c"), ("ZADD", "z", "XX", "1", "none"), ("ZREM", "z", "none"),
    ("ZREM", "z", "c"), ("ZADD", "y", "1", "p", "2", "q", "3", "r", "4", "s", "5", "t"),
    ("ZREMRANGEBYRANK", "y", "0", "0"), ("ZREMRANGEBYRANK", "y", "9", "9"),
    ("ZREMRANGEBYSCORE", "y", "2", "2"), ("ZREMRANGEBYLEX", "y", "[r", "[r"),
    ("ZPOPMIN", "y"), ("ZPOPMAX", "y", "0"), ("ZPOPMAX", "y", "5"), ("ZPOPMAX", "y", "5"),
    ("ZMPOP", "2", "none", "z", "MIN"), ("ZMPOP", "1", "z", "MAX", "COUNT", "9"),
    ("ZADD", "z", "1", "a", "2", "b"), ("ZUNIONSTORE", "y", "2", "z", "u"),
    ("ZINTERSTORE", "y", "1", "z"), ("ZINTERSTORE", "y", "2", "z", "none"),
    ("ZDIFFSTORE", "y", "1", "z"), ("ZRANGESTORE", "y", "z", "0", "0"),
    ("ZRANGESTORE", "y", "z", "9", "9"), ("ZRANGESTORE", "y", "z", "9", "9"),
    ("ZREMRANGEBYRANK", "z", "0", "-1"), ("ZSCORE", "none", "a"), ("ZRANGE", "none", "0", "1"),
    ("ZCARD", "none"), ("ZUNION", "1", "none"), ("ZRANK", "none", "a"), ("ZCOUNT", "none", "0", "1"),
]


if __name__ == "__main__":
    unittest.main(verbosity=2)
