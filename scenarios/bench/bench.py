#!/usr/bin/python3
"""./dev bench: Atoll beside Debian's redis-server, in one run on one machine.

  bench.py [--quick] [--rounds N] [--only PART ...]
  bench.py --growth KEYS        reply times while a table grows to that many keys
  bench.py --micro [OPTIONS]    the micro-benchmarks (Google Benchmark's options)

Speed: the server is pinned to core 0 and redis-benchmark to core 1, so a figure is what one core
serves. Rounds are interleaved (A B C A B C ...), because machines drift; medians are printed, and
ratios are medians of the ratios within a round. CPU is the server's own time over all its threads
per request, from /proc. Contenders:

  redis       redis-server without persistence
  atoll       without persistence and without peers
  atoll+log   appendonly yes, appendfsync everysec, no peers
  atoll+geo   appendonly yes, appendfsync everysec, two peers that log and apply all of it, three
              NATS servers. These five processes share core 1 with the load. Elsewhere peers have
              machines of their own; here the two peers run at the lowest priority, so that the load
              is not what they slow down, and finish after it.
  atoll+geo=  the same region, its peers at the same priority as the load: what core 1 then gives

What that leaves open the last columns say: `behind` is the time from the load's end until both
peers have applied its last write (nothing may be lost: after every run the three regions' digests
must be equal), and `peer CPU` what one peer spends on a request until then, over all its threads.
Where that is below the server's CPU, a peer with a core of its own keeps up. Messages that were
dropped on the way, and pulls that repaired it, are printed below the table.

Memory: growth of the resident set per key, distinct 16-byte keys. Collections: CPU per request of
hashes, sets, sorted sets and lists, and growth of the resident set per element. Durability: CPU with the log, reply
times and memory while a snapshot runs, restarts. Lag: one region writes 10,000 stamped values a
second and another one is polled for them; both ends share this machine's clock. Latency: reply times
at half load, and while a million keys expire at once. Eviction: hit ratios at equal maxmemory.

Goals stand beside the figures and in a summary at the end. They are for a quiet machine.
"""
import argparse
import os
import sys

from contenders import REPOSITORY
from durability import durability
from elements import elements
from eviction import eviction
from goals import print_summary
from latency import growth, latency
from memory import memory
from replication import lag, wire
from speed import speed

MICRO = os.path.join(REPOSITORY, "build/scenarios/bench/micro/micro_bench")


def main():
    if sys.argv[1:2] == ["--micro"]:
        os.execvp("taskset", ["taskset", "-c", "0", MICRO, *sys.argv[2:]])
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests, one round")
    parser.add_argument("--rounds", type=int, help="5, and 1 with --quick")
    parser.add_argument("--growth", type=int, metavar="KEYS")
    given, parts = None, {
        "speed": lambda: speed(given.quick, rounds),
        "memory": lambda: memory(given.quick),
        "collections": lambda: elements(given.quick, rounds),
        "durability": lambda: durability(given.quick, rounds),
        "wire": lambda: wire(given.quick),
        "lag": lambda: lag(given.quick),
        "latency": lambda: latency(given.quick),
        "eviction": lambda: eviction(given.quick),
    }
    parser.add_argument("--only", choices=parts, nargs="+", default=list(parts), metavar="PART",
                        help=", ".join(parts))
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else 5)
    if os.cpu_count() < 2:
        sys.exit("the bench needs two cores: one for the server, one for the load")
    os.environ["GOMAXPROCS"] = "1"  # for the NATS servers: they have one core
    if given.growth:
        growth(given.growth)
    else:
        for part in given.only:
            parts[part]()
    print_summary()


if __name__ == "__main__":
    main()
