"""Random commands of the whole table beside redis-server 7.0, reply by reply, errors too.

What a command takes, redis-server says itself (COMMAND DOCS): arguments are drawn by their type and
name from small pools, so that commands meet the same few keys, of all types; some are spoilt. Every
hundred commands all keys of all databases are compared.

ATOLL_SEED=n repeats a run of one seed. What is not compared, and why, stands in EXCLUDED and
YOUNGER, with nothing left out in silence: a command of redis-server is drawn, or named there, or
answered by Atoll with the reason why it lacks it.
"""
import os
import random
import time
import unittest

import redis

from one_node import OneNodeTest  # first: it knows where the next ones are
from beside_redis import Connection, RedisServer

SECONDS = 20
FIXED_SEEDS = [1, 2, 3, 4]
FIXED_COMMANDS = 1500
DATABASES = 3

RANDOM = "what it picks is not determined; the tests of its type say what it must be"
CURSOR = "cursors are each server's own; the tests of its type walk them"
LEX = "defined for members of one score only; set_commands_test.py compares it with such keys"
BYTES = "memory is each server's own"
STATE = "tells or changes a server's or a connection's state; tests of its own"
# By name, by "group:" or by "flag:".
EXCLUDED = {
    "flag:blocking": "waits; tests of its own",
    "flag:pubsub": "pushes; pubsub_test.py",
    "group:server": STATE, "group:connection": STATE, "group:scripting": "script_test.py",
    "group:cluster": "no node is a cluster", "group:pubsub": "pubsub_test.py",
    "group:transactions": "drawn as whole transactions",
    "randomkey": RANDOM, "spop": RANDOM, "srandmember": RANDOM, "hrandfield": RANDOM,
    "zrandmember": RANDOM,
    "scan": CURSOR, "sscan": CURSOR, "hscan": CURSOR, "zscan": CURSOR,
    "zrangebylex": LEX, "zrevrangebylex": LEX, "zlexcount": LEX, "zremrangebylex": LEX,
    "object|freq": "asks for a policy", "object|idletime": "goes by the clock",
    "object|refcount": BYTES, "object|help": "each server's own words",
    "object|encoding": "how values lie in memory after edits is each server's own",
    "swapdb": "refused: regions could not merge it",
    "wait": "waits for replicas; Atoll has none",
    "sort": "drawn by make_sort()", "sort_ro": "drawn by make_sort()",
}
# Drawn although their group is excluded.
INCLUDED = ["dbsize", "flushall", "flushdb", "echo", "select"]
RARE = {"flushall": 0.02, "flushdb": 0.02, "select": 0.1}
UNORDERED = {"smembers", "sinter", "sunion", "sdiff", "keys", "hkeys", "hvals"}

KEYS = {"string": ["s1", "s2", "n1"], "hash": ["h1", "h2"], "set": ["t1", "t2"],
        "sorted-set": ["z1", "z2"], "list": ["l1", "l2"]}
ALL_KEYS = [key for keys in KEYS.values() for key in keys] + ["none"]
WORDS = ["a", "b", "c", "1", "2", "3", "10", "-4", "", "two words", "\xff\x00", "7.5"]
INTEGERS = ["0", "1", "-1", "2", "-2", "5", "17", "100", "-100", "3"]
DOUBLES = ["0", "1", "-1", "2.5", "-0.25", "7", "100", "1e3", "inf", "-inf"]
BAD = ["x", "", "nan", " 1", "1 ", "1.5", "1e400", "9223372036854775807", "9223372036854775808",
       "-9223372036854775808", "-1", "0", "(", "[", "GET", "COUNT", "NX", "XX", "100000"]
GLOBS = ["*", "s*", "?1", "[hl]*", "none", "[^s]*", "\\s1", ""]
# Nothing expires while the test runs, or has already.
SPANS_S = ["1000", "5000", "0", "-1", "9223372036854775807", "9223372036854775", "x"]
SPANS_MS = ["1000000", "5000000", "0", "-1", "9223372036854775807"]
BY = ["w_*", "nosort", "h*->a", "w_*->", "*", "none_*"]
GETS = ["#", "w_*", "h*->a", "*", "x", "w_*->a", "l*"]


def text(frame):
    return frame[1].decode("latin-1")


def pairs(frame):
    """An array of names and values as a dictionary."""
    return {text(frame[i]): frame[i + 1] for i in range(1, len(frame), 2)}


def arguments_of(frame):
    arguments = []
    for item in frame[1:]:
        fields = pairs(item)
        flags = {text(flag) if isinstance(flag, tuple) else flag
                 for flag in fields.get("flags", ("*",))[1:]}
        arguments.append({
            "name": text(fields["name"]), "type": text(fields["type"]),
            "token": text(fields["token"]) if "token" in fields else None,
            "optional": "optional" in flags, "multiple": "multiple" in flags,
            "again": "multiple_token" in flags,
            "args": arguments_of(fields["arguments"]) if "arguments" in fields else []})
    return arguments


class Syntax:
    """All commands of a server: name, group, flags, arguments."""

    def __init__(self, connection):
        self.commands = {}
        docs = connection.call("COMMAND", "DOCS")
        self._add_docs(docs)
        for row in connection.call("COMMAND")[1:]:
            self._add_flags(row)

    def _add_docs(self, docs):
        for name, frame in pairs(docs).items():
            fields = pairs(frame)
            if "subcommands" in fields:
                self._add_docs(fields["subcommands"])
                continue
            self.commands[name] = {
                "group": text(fields["group"]), "flags": set(),
                "args": arguments_of(fields["arguments"]) if "arguments" in fields else []}

    def _add_flags(self, row):
        name = text(row[1])
        if name in self.commands:
            self.commands[name]["flags"] = {text(flag) for flag in row[3][1:]}
        for sub in row[10][1:] if len(row) > 10 else []:
            self._add_flags(sub)

    def reason_to_exclude(self, name):
        command = self.commands[name]
        if name in INCLUDED:
            return None
        for entry in [name, "group:" + command["group"],
                      *("flag:" + flag for flag in command["flags"])]:
            if entry in EXCLUDED:
                return EXCLUDED[entry]
        return None


class Generator:
    def __init__(self, dice, commands):
        self.dice = dice
        self.commands = commands
        self.names = sorted(commands)
        self.weights = [RARE.get(name, 1) for name in self.names]

    def command(self):
        if self.dice.random() < 0.06:
            return self.spoilt(self.make_sort())
        name = self.dice.choices(self.names, self.weights)[0]
        command = self.commands[name]
        self.group = command["group"]
        self.name = name
        words = name.upper().split("|") + self.all_of(command["args"])
        return self.spoilt(words)

    def spoilt(self, words):
        if self.dice.random() > 0.1:
            return words
        words = list(words)
        at = self.dice.randrange(1, len(words) + 1)
        how = self.dice.choice(("replace", "drop", "add", "key"))
        if how == "add" or at == len(words):
            words.insert(at, self.dice.choice(BAD))
        elif how == "drop":
            del words[at]
        elif how == "key":
            words[at] = self.dice.choice(ALL_KEYS)
        else:
            words[at] = self.dice.choice(BAD)
        return words

    def all_of(self, args):
        words = []
        for i, arg in enumerate(args):
            if arg["name"] == "numkeys":
                count = self.dice.randint(1, 3)
                words.append(str(count if self.dice.random() < 0.95 else count + 1))
                self.many = count
                continue
            if arg["optional"] and self.dice.random() < 0.6:
                continue
            words += self.one_of(arg)
        return words

    def one_of(self, arg):
        times = 1
        if arg["multiple"]:
            times = getattr(self, "many", None) or self.dice.randint(1, 3)
            if arg["type"] == "key":
                self.many = None
        words = []
        for n in range(times):
            if arg["token"] and (n == 0 or arg["again"]):
                words.append(arg["token"])
            words += self.value_of(arg)
        return words

    def value_of(self, arg):
        kind = arg["type"]
        if kind == "pure-token":
            return []
        if kind == "oneof":
            return self.one_of(self.dice.choice(arg["args"]))
        if kind == "block":
            return self.all_of(arg["args"])
        if kind == "key":
            own = KEYS.get(self.group)
            wide = own is None or self.dice.random() < 0.12
            return [self.dice.choice(ALL_KEYS if wide else own)]
        return [self.dice.choice(self.pool_of(arg["name"], kind))]

    def pool_of(self, name, kind):
        now = int(time.time())
        if name in ("seconds", "milliseconds") or (name == "expiration" and kind == "integer"):
            return SPANS_MS if "milli" in name or self.name.startswith("p") else SPANS_S
        if kind == "unix-time":
            scale = 1000 if "milli" in name else 1
            # SET leaves a key that has expired for redis-server to find: DBSIZE counts it until then.
            past = [] if self.name == "set" else ["1", "-1"]
            return [str((now + 1000) * scale), str((now + 90000) * scale), "0", *past]
        if "db" in name or self.name == "select":
            return ["0", "1", "2", "0", "1", "2", "99", "-1", "x"]
        if name in ("min", "max", "start", "stop") and self.group == "sorted-set":
            return DOUBLES + INTEGERS + ["(1", "(2.5", "(-inf"]
        if kind == "double" or name in ("score", "weight"):
            return DOUBLES
        if name == "increment" and "float" in self.name:
            return ["0.5", "-2.25", "3", "1e2", "inf", "x", " 1", "1.5"]
        if kind == "integer":
            return INTEGERS
        if kind == "pattern":
            return GLOBS
        return WORDS

    def make_sort(self):
        self.name = "sort"
        by = self.dice.choice([None, None, *BY])
        alpha = self.dice.random() < 0.5
        words = [self.dice.choice(KEYS["list"] + KEYS["set"] + KEYS["sorted-set"] + ["none", "s1"])]
        if by is not None:
            words += ["BY", by]
        # Equal weights and sets that are not sorted come in any order: no part of them is compared.
        undetermined = by is not None and (alpha or "*" not in by)
        if not undetermined and self.dice.random() < 0.4:
            words += ["LIMIT", self.dice.choice(INTEGERS), self.dice.choice(INTEGERS)]
        # What is stored may be sorted next, and redis-server compares no further than a zero byte,
        # which SETRANGE makes: no strings of these keys among it.
        stores = self.dice.random() < 0.3 and not undetermined
        gets = [pattern for pattern in GETS if not stores or pattern != "*"]
        for _ in range(self.dice.choice((0, 0, 1, 2))):
            words += ["GET", self.dice.choice(gets)]
        words += self.dice.choice(([], ["ASC"], ["DESC"], ["desc"]))
        if alpha:
            words.append("ALPHA")
        if stores:
            return ["SORT", *words, "STORE", self.dice.choice(KEYS["list"] + ALL_KEYS)]
        return [self.dice.choice(("SORT", "SORT_RO")), *words]


def filling():
    """What a run begins with, and comes back to when much is gone."""
    yield ["SET", "s1", "hello"]
    yield ["SET", "s2", "10"]
    yield ["HSET", "h1", "a", "1", "b", "two", "1", "3"]
    yield ["HSET", "h2", "a", "7.5", "c", "c"]
    yield ["SADD", "t1", "1", "2", "3", "10"]
    yield ["SADD", "t2", "a", "2", "c"]
    yield ["ZADD", "z1", "1", "a", "2", "b", "2.5", "1"]
    yield ["ZADD", "z2", "-1", "2", "7", "c", "inf", "3"]
    yield ["RPUSH", "l1", "3", "1", "2", "10"]
    yield ["RPUSH", "l2", "a", "2", "c", "2"]
    for i, weight in enumerate(("5", "-1", "x"), 1):
        yield ["SET", f"w_{i}", weight]


# What runs have found, each of it wrong once.
FOUND = [
    ["LMPOP", "2", "l2", "l1", "LEFT", "COUNT", "-1", "NX"],
    ["LMPOP", "1", "l2", "LEFT", "COUNT", "1", "NX"],
    ["SELECT", "-9223372036854775808"],
    ["SELECT", "2147483648"],
    ["ZINCRBY", "z2", "NX", "c"],
    ["ZINCRBY", "z2", "xx", "nx"],
    ["ZINCRBY", "z2", "1", "nx"],
]


# ---- Comparing ----

def rounded(frame):
    """Scores as numbers: 7.0 prints some with more digits than 7.2 does."""
    if frame[0] in ",$" and frame[1]:
        try:
            number = float(frame[1])
            return (frame[0], number if number == number else frame[1])
        except ValueError:
            return frame
    if frame[0] in "*~%>":
        return (frame[0], *(rounded(item) for item in frame[1:]))
    return frame


def comparable(words, frame):
    name = words[0].lower()
    upper = {word.upper() for word in words[1:]}
    if name.startswith("z"):
        frame = rounded(frame)
    if frame[0] in "*~" and len(frame) > 1:
        if name in UNORDERED or (name in ("sort", "sort_ro") and "BY" in upper):
            return (frame[0], *sorted(frame[1:], key=repr))
        if name == "hgetall":
            return (frame[0], *sorted(zip(frame[1::2], frame[2::2]), key=repr))
    if frame[0] == "%" and name == "hgetall":
        return (frame[0], *sorted(zip(frame[1::2], frame[2::2]), key=repr))
    return frame


CLOCKS = {"ttl": 1, "expiretime": 1, "pttl": 2000, "pexpiretime": 2000}


def alike(words, theirs, ours):
    slack = CLOCKS.get(words[0].lower())
    if slack and theirs[0] == ours[0] == ":" and int(theirs[1]) > 0:
        return abs(int(theirs[1]) - int(ours[1])) <= slack
    return comparable(words, theirs) == comparable(words, ours)


def younger(words):
    """Why 7.2, which Atoll follows, answers otherwise than the 7.0 beside it; None if it does not."""
    name = words[0].lower()
    upper = {word.upper() for word in words[1:]}
    if name in ("zrank", "zrevrank") and len(words) == 4:
        return "7.2 knows WITHSCORE"
    if name.startswith("z") and "BYLEX" in upper:
        return LEX
    if name == "lpos" and "-9223372036854775808" in upper:
        return "7.2 refuses the one rank that has no opposite"
    return None


def encoded(words):
    return [word.encode("latin-1") for word in words]


class RandomCommands(OneNodeTest):
    """The node has three threads, so that keys of one command live on several."""

    options = {"appendonly": "no", "threads": 3}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = RedisServer()
        connection = Connection(cls.other.port)
        cls.syntax = Syntax(connection)
        connection.close()

    @classmethod
    def tearDownClass(cls):
        cls.other.stop()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.maxDiff = None
        redis.Redis(port=self.other.port).flushall()

    def connect(self, protocol):
        both = Connection(self.other.port), Connection(self.port)
        for each in both:
            self.addCleanup(each.close)
            if protocol == 3:
                each.call("HELLO", 3)
        return both

    def drawn(self):
        """Commands that both have and nothing excludes."""
        ours = {name.decode() for name in self.redis.execute_command("COMMAND LIST")}
        return {name: command for name, command in self.syntax.commands.items()
                if name in ours and not self.syntax.reason_to_exclude(name)}

    def same(self, both, words, seed, number=0):
        """The frame that both have answered with."""
        for each in both:
            each.frames.clear()
        theirs, ours = (each.call(*encoded(words)) for each in both)
        if theirs[0] == "-" and b"converted into double" in theirs[1] and theirs != ours:
            # 7.0 takes what an earlier number has left in errno for this one's; a new client ends that.
            newcomer = Connection(self.other.port)
            newcomer.call("PING")
            newcomer.close()
            theirs = both[0].call(*encoded(words))
        if not alike(words, theirs, ours):
            self.fail(f"{words}, command {number} of ATOLL_SEED={seed}\n"
                      f"redis-server: {comparable(words, theirs)}\n"
                      f"Atoll:        {comparable(words, ours)}")
        return ours

    def contents(self, both, seed, number):
        for db in range(DATABASES):
            self.same(both, ["SELECT", str(db)], seed, number)
            for item in sorted(self.same(both, ["KEYS", "*"], seed, number)[1:]):
                key = item[1].decode("latin-1")
                kind = self.same(both, ["TYPE", key], seed, number)[1]
                words = {b"string": ["GET", key], b"hash": ["HGETALL", key],
                         b"set": ["SMEMBERS", key], b"list": ["LRANGE", key, "0", "-1"],
                         b"zset": ["ZRANGE", key, "0", "-1", "WITHSCORES"]}[kind]
                self.same(both, words, seed, number)
                self.same(both, ["PTTL", key], seed, number)
        self.same(both, ["SELECT", "0"], seed, number)

    def transaction(self, both, generator, seed, number):
        """Both answer EXEC alike: part by part, as their commands compare."""
        parts = []
        self.same(both, ["MULTI"], seed, number)
        for _ in range(generator.dice.randint(1, 4)):
            words = generator.command()
            if younger(words) or words[0] in ("SELECT", "SORT", "SORT_RO"):
                continue
            if self.same(both, words, seed, number) == ("+", b"QUEUED"):
                parts.append(words)
        if generator.dice.random() < 0.15:
            self.same(both, ["DISCARD"], seed, number)
            return
        for each in both:
            each.frames.clear()
        theirs, ours = (each.call("EXEC") for each in both)
        self.assertEqual((theirs[0], len(theirs)), (ours[0], len(ours)), (parts, seed, number))
        if theirs[0] != "*":
            self.assertEqual(theirs, ours, (parts, seed, number))
            return
        for words, a, b in zip(parts, theirs[1:], ours[1:]):
            self.assertTrue(alike(words, a, b), f"{words} of {parts}: {a} and {b}, command {number} "
                                                f"of ATOLL_SEED={seed}")

    def run_seed(self, seed, goes_on):
        dice = random.Random(seed)
        generator = Generator(dice, self.drawn())
        both = self.connect(dice.choice((2, 3)))
        for each in both:
            each.call("FLUSHALL")
        number = errors = 0
        while goes_on(number):
            if number % 150 == 0:
                for words in filling():
                    self.same(both, words, seed, number)
            number += 1
            if dice.random() < 0.02:
                self.transaction(both, generator, seed, number)
                continue
            words = generator.command()
            if younger(words):
                continue
            errors += self.same(both, words, seed, number)[0] == "-"
            if number % 100 == 0:
                self.contents(both, seed, number)
        self.contents(both, seed, number)
        self.assertLess(number // 50, errors, "some were spoilt, or met another type")
        self.assertLess(errors, number * 2 // 3, "many were sound")

    def test_fresh_seed(self):
        seed = int(os.environ.get("ATOLL_SEED", time.time_ns() % 1_000_000_000))
        print(f"ATOLL_SEED={seed}", flush=True)
        end = time.monotonic() + SECONDS
        self.run_seed(seed, lambda number: time.monotonic() < end)

    def test_what_was_found(self):
        both = self.connect(2)
        for words in [*filling(), *FOUND]:
            with self.subTest(words):
                self.same(both, words, "none")

    def test_fixed_seeds(self):
        for seed in FIXED_SEEDS:
            with self.subTest(seed):
                self.run_seed(seed, lambda number: number < FIXED_COMMANDS)

    # Every command of redis-server is compared, or excluded with a reason, or Atoll says why not.
    def test_nothing_is_left_out(self):
        drawn = self.drawn()
        self.assertGreater(len(drawn), 110)
        for entry in EXCLUDED:
            kind, _, name = entry.partition(":")
            known = {"group": {c["group"] for c in self.syntax.commands.values()},
                     "flag": {f for c in self.syntax.commands.values() for f in c["flags"]}}
            self.assertIn(name or kind, known.get(kind, self.syntax.commands), entry)
        ours, _ = self.connect(2)[::-1]
        for name in sorted(self.syntax.commands):
            if name in drawn or self.syntax.reason_to_exclude(name):
                continue
            reply = ours.call(*name.split("|"), "x")
            self.assertEqual(reply[0], "-", name)
            self.assertRegex(reply[1].decode(), "^ERR unknown (sub)?command '[^']*': .*Atoll", name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
