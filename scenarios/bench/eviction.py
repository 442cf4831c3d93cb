"""What a full cache keeps: hit ratios on the same traces at the same maxmemory, and whether
maxmemory is kept."""
import itertools
import random
import socket

from contenders import Redis, bare_atoll, resident_bytes, running
from goals import at_least, at_most

MAXMEMORY = 32 << 20
NAMES = 400_000
VALUE = b"v" * 100
PIPELINE = 100
POLICIES = ("allkeys-lru", "allkeys-lfu")


def zipf(count):
    """Ranks 0 .. NAMES - 1, rank r with a weight of 1 / (r + 1)^0.9; the same in every run."""
    weights = list(itertools.accumulate((rank + 1) ** -0.9 for rank in range(NAMES)))
    return random.Random(7).choices(range(NAMES), cum_weights=weights, k=count)


def with_scans(count):
    """Every fifth of a Zipf trace is followed by as many names that come once."""
    ranks, once = zipf(count), itertools.count(NAMES)
    part = count // 10
    for start in range(0, count, 2 * part):
        yield from ranks[start:start + part]
        yield from itertools.islice(once, part)


def shifting(count):
    """The favourites change: every twentieth, all ranks move on by a twentieth of the names."""
    for number, rank in enumerate(zipf(count)):
        yield (rank + number // (count // 20) * (NAMES // 20)) % NAMES


TRACES = {"Zipf": zipf, "Zipf and scans": with_scans, "shifting Zipf": shifting}


def eviction(quick):
    count = 300_000 if quick else 2_000_000
    print(f"\n## Eviction\n\nHit ratio of {count:,} GETs, each miss followed by a SET of "
          f"{len(VALUE)} B, maxmemory {MAXMEMORY >> 20} MB; the first half fills the cache and does "
          "not count. `over`: the most that used_memory was above maxmemory.\n\n"
          "| trace | server | policy | hits | resident MB | over | goal |\n"
          "|---|---|---|---:|---:|---:|---|", flush=True)
    for title, trace in TRACES.items():
        best = {"redis": 0, "atoll": 0}
        for name, policy in itertools.product(best, POLICIES):
            hits, used, over = _run(name, policy, trace(count), count)
            best[name] = max(best[name], hits)
            goal = ""
            if name == "atoll":
                goal = at_most(f"used_memory above maxmemory, {title}, {policy}", over, 0.01, "{:.1%}")
                if policy == POLICIES[-1]:
                    goal += "; best " + at_least(f"hits to redis' best, {title}", best["atoll"],
                                                 best["redis"], "{:.3f}")
            print(f"| {title} | {name} | {policy} | {hits:.3f} | {used / (1 << 20):.0f} | {over:.1%} "
                  f"| {goal} |", flush=True)


def _run(name, policy, trace, count):
    def make(directory):
        if name == "redis":
            return Redis(directory, "--maxmemory", str(MAXMEMORY), "--maxmemory-policy", policy)
        return bare_atoll(directory, maxmemory=MAXMEMORY, maxmemory_policy=policy)

    with running(server=make) as servers:
        server = servers["server"]
        client = server.client()
        hits, over = 0, 0.0
        trace = iter(trace)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            replies = connection.makefile("rb", 1 << 16)
            for done in range(0, count, PIPELINE):
                names = [b"key:%09d" % n for n in itertools.islice(trace, PIPELINE)]
                missed = _get(connection, replies, names)
                if done >= count // 2:
                    hits += len(names) - len(missed)
                _set(connection, replies, missed)
                if done % (50 * PIPELINE) == 0:
                    over = max(over, client.info("memory")["used_memory"] / MAXMEMORY - 1)
        return hits / (count - count // 2), resident_bytes(server.pid), over


def _get(connection, replies, names):
    connection.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$%d\r\n%s\r\n" % (len(n), n) for n in names))
    missed = []
    for name in names:
        if replies.readline() == b"$-1\r\n":
            missed.append(name)
        else:
            replies.read(len(VALUE) + 2)
    return missed


def _set(connection, replies, names):
    connection.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" %
                                (len(n), n, len(VALUE), VALUE) for n in names))
    for _ in names:
        assert replies.readline() == b"+OK\r\n", "a SET was refused"
