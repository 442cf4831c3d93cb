"""Collections beside redis-server: CPU per request, and resident bytes per element."""
import socket
import statistics
import sys
import time

from contenders import (Redis, bare_atoll, cpu_seconds, load_command, resident_bytes, running)
from goals import at_most

VALUE = b"v" * 64
SPREAD = 100_000  # keys, or elements of one key, that commands choose from
PIPELINE = 16
CPU = 0.60  # of redis-server's

# What is said of a load, its command, requests a round. All of a line's keys or members are there
# after begin(); LPOP takes what LPUSH, the line before, has left.
RANDOM = "__rand_int__"
LOADS = (
    ("HSET, 100,000 hashes of one field", ("HSET", f"hash:{RANDOM}", "field", VALUE), 1_000_000),
    ("HGET, 100,000 hashes of one field", ("HGET", f"hash:{RANDOM}", "field"), 1_000_000),
    ("HSET, one hash of 100,000 fields", ("HSET", "hash", f"field:{RANDOM}", VALUE), 1_000_000),
    ("HGET, one hash of 100,000 fields", ("HGET", "hash", f"field:{RANDOM}"), 1_000_000),
    ("SADD, one set of 100,000 members", ("SADD", "set", f"member:{RANDOM}"), 1_000_000),
    ("ZADD, one sorted set of 100,000 members", ("ZADD", "zset", RANDOM, f"member:{RANDOM}"),
     600_000),
    ("LPUSH, one list", ("LPUSH", "list", VALUE), 1_000_000),
    ("LPOP, the same list", ("LPOP", "list"), 1_000_000),
    ("LRANGE 100", ("LRANGE", "range", "0", "99"), 100_000),
)

# Title, elements of a key, keys, bytes of a name, of a value (None: a sorted set), goal.
SIZES = (("hashes of 16 fields of 64 B", 16, 60_000, 8, 64, 85),
         ("sorted sets of 1,000 members of 12 B", 1000, 1_000, 12, None, 81))


def elements(quick, rounds):
    _speed(0.2 if quick else 1.0, rounds)
    _memory(0.2 if quick else 1.0)


def _speed(scale, rounds):
    print(f"\n## Collections\n\nAs for speed, neither side with a log, pipelines of {PIPELINE}; medians "
          f"of {rounds} interleaved rounds.\n\n"
          "| load | redis: requests/s | CPU us | atoll: requests/s | CPU us | CPU of redis' | goal |\n"
          "|---|---:|---:|---:|---:|---:|---|", flush=True)
    with running(redis=Redis, atoll=bare_atoll) as servers:
        for server in servers.values():
            _begin(server.port)
        rows = {title: {name: [] for name in servers} for title, _, _ in LOADS}
        for _ in range(rounds):
            for title, words, requests in LOADS:
                for name, server in servers.items():
                    rows[title][name].append(_measure(server, words, int(requests * scale)))
        for title, by_server in rows.items():
            _print_speed(title, by_server["redis"], by_server["atoll"])


def _measure(server, words, requests):
    before = cpu_seconds(server.pid)
    per_second, _ = load_command(server.port, PIPELINE, requests, SPREAD, *words)
    return per_second, (cpu_seconds(server.pid) - before) * 1e6 / requests


def _print_speed(title, redis_rows, atoll_rows):
    figures = [statistics.median(column) for rows in (redis_rows, atoll_rows)
               for column in zip(*rows)]
    ratio = statistics.median(a[1] / r[1] for a, r in zip(atoll_rows, redis_rows) if r[1])
    print(f"| {title} | {figures[0]:,.0f} | {figures[1]:.2f} | {figures[2]:,.0f} | "
          f"{figures[3]:.2f} | {ratio:.2f} | {at_most(f'CPU of {title} to redis', ratio, CPU)} |",
          flush=True)


def _begin(port):
    """Everything that the loads choose from is there, under the names that redis-benchmark makes."""
    numbers = [b"%012d" % n for n in range(SPREAD)]
    with Filler(port) as filler:
        for n in numbers:
            filler.send(b"HSET", b"hash:" + n, b"field", VALUE)
            filler.send(b"HSET", b"hash", b"field:" + n, VALUE)
            filler.send(b"SADD", b"set", b"member:" + n)
            filler.send(b"ZADD", b"zset", n, b"member:" + n)
        for _ in range(1000):
            filler.send(b"RPUSH", b"range", VALUE)


def _memory(scale):
    print("\n## Memory of collections\n\nResident bytes per element.\n\n"
          "| | elements | redis | atoll | of redis | goal |\n|---|---:|---:|---:|---:|---|", flush=True)
    for title, count, keys, name_bytes, value_bytes, bound in SIZES:
        keys = int(keys * scale)
        used = {}
        for name, make in (("redis", Redis), ("atoll", bare_atoll)):
            with running(**{name: make}) as servers:
                time.sleep(0.5)
                before = resident_bytes(servers[name].pid)
                with Filler(servers[name].port) as filler:
                    for key in range(keys):
                        filler.send(*_collection(key, count, name_bytes, value_bytes))
                time.sleep(1.5)
                used[name] = (resident_bytes(servers[name].pid) - before) / (keys * count)
        print(f"| {title} | {keys * count:,} | {used['redis']:.1f} | {used['atoll']:.1f} | "
              f"{used['atoll'] / used['redis']:.2f} | "
              f"{at_most(f'bytes per element, {title}', used['atoll'], bound, '{:.0f}')} |", flush=True)


def _collection(key, count, name_bytes, value_bytes):
    names = [b"%0*d" % (name_bytes, n) for n in range(count)]
    if value_bytes is None:
        return (b"ZADD", b"zset:%d" % key, *[word for n, name in enumerate(names)
                                             for word in (b"%d.5" % n, name)])
    return (b"HSET", b"hash:%d" % key, *[word for name in names
                                         for word in (name, b"v" * value_bytes)])


class Filler:
    """One connection that writes ahead. Bounds: a thousand requests without a reply. Ends the run
    where a request was refused."""

    AHEAD = 1000

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._replies = self._socket.makefile("rb", 1 << 20)
        self._requests = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._flush()
        self._socket.close()

    def send(self, *words):
        self._requests.append(b"*%d\r\n" % len(words) +
                              b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        if len(self._requests) == self.AHEAD:
            self._flush()

    def _flush(self):
        self._socket.sendall(b"".join(self._requests))
        for _ in self._requests:
            if not self._replies.readline().startswith(b":"):
                sys.exit("a write of the measurement of collections was refused")
        self._requests = []
