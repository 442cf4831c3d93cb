"""Requests per second and CPU per request, side by side."""
import os
import statistics
import sys
import time

from contenders import KEYS, Redis, bare_atoll, cpu_seconds, load, logged_atoll, pin, running
from cluster import Cluster
from goals import at_most
from links import PlainLinks

REQUESTS = {1: 150_000, 16: 1_500_000, 64: 3_000_000}
# Server CPU per request, as a ratio to redis-server's.
CPU = {("set", 1): 0.80, ("get", 1): 0.78, ("set", 16): 0.38, ("get", 16): 0.35,
       ("incr", 16): 0.38, ("set", 64): 0.28, ("get", 64): 0.25}


def give_way(process, lowest):
    """Lowest or normal CPU priority for all threads. Where the kernel shares out time by session
    first (autogroup), that is what counts."""
    nice = 19 if lowest else 0
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), nice)
    if os.path.exists(f"/proc/{process.pid}/autogroup"):
        with open(f"/proc/{process.pid}/autogroup", "w") as file:
            file.write(str(nice))


class Geo:
    """The region us of a cluster, with its peers at the lowest priority or at the load's."""

    def __init__(self, cluster, peers_give_way):
        self.cluster = cluster
        self.peers = [cluster.nodes["eu"], cluster.nodes["ap"]]
        self.peers_give_way = peers_give_way
        self.port, self.pid = cluster.nodes["us"].port, cluster.nodes["us"].pid

    def before(self):
        for peer in self.peers:
            give_way(peer, self.peers_give_way)
        self.spent = sum(cpu_seconds(peer.pid) for peer in self.peers)

    def after(self, requests):
        """(seconds until both peers had the last write, CPU us/request of one peer)"""
        started = time.monotonic()
        marker = str(time.time_ns())
        self.cluster.client("us").set("bench:marker", marker)
        for peer in self.peers:
            client = peer.client(timeout=120)
            while (client.get("bench:marker") or b"").decode() != marker:
                if time.monotonic() - started > 300:
                    sys.exit(f"{peer.name} is still behind 300 s after the load")
                time.sleep(0.005)
        behind = time.monotonic() - started
        spent = sum(cpu_seconds(peer.pid) for peer in self.peers) - self.spent
        for peer in self.peers:
            give_way(peer, False)
        _wait_for_peers(self.cluster)
        return behind, spent / len(self.peers) * 1e6 / requests


def speed(quick, rounds):
    scale = 0.2 if quick else 1.0
    print("\n## Speed\n\nOne core for the server, 64-byte values, 50 connections; medians of "
          f"{rounds} interleaved rounds. atoll+geo: the peers give way to the load and finish "
          "after it; atoll+geo=: they do not.\n", flush=True)
    with running(redis=Redis, atoll=bare_atoll, **{"atoll+log": logged_atoll}) as servers:
        with Cluster(links=PlainLinks) as cluster:
            contenders = dict(servers)
            contenders["atoll+geo"] = Geo(cluster, peers_give_way=True)
            contenders["atoll+geo="] = Geo(cluster, peers_give_way=False)
            for other in [*cluster.nats.values(), cluster.nodes["eu"], cluster.nodes["ap"]]:
                pin(other, 1)
            pin(contenders["atoll+geo"], 0)
            for name in ("redis", "atoll", "atoll+log", "atoll+geo"):
                load(contenders[name].port, "set", 32, int(2_000_000 * scale))  # so that GETs hit
            _wait_for_peers(cluster)
            print("| load | server | requests/s | of redis | p50 ms | CPU us/request | of redis | "
                  "behind s | peer CPU us | goal |\n"
                  "|---|---|---:|---:|---:|---:|---:|---:|---:|---|",
                  flush=True)
            for test in ("set", "get", "incr"):
                for pipeline in (1, 16, 64):
                    requests = int(REQUESTS[pipeline] * scale)
                    results = _interleaved(contenders, test, pipeline, requests, rounds)
                    _print_speed(f"{test.upper()} P{pipeline}", results,
                                 CPU.get((test, pipeline)))
            _print_repairs(cluster)


def _wait_for_peers(cluster):
    """A backlog of the last round must not be shipped on the next round's time, nor its log be
    flushed and snapshot written on it."""
    state, seconds = cluster.settle(300)
    if seconds is None:
        sys.exit(f"the peers did not catch up within 300 s: {state}")

    def spent():
        return sum(cpu_seconds(node.pid) for node in cluster.nodes.values())

    before, deadline = spent(), time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = spent()
        if now - before < 0.1:
            return
        before = now


def _interleaved(contenders, test, pipeline, requests, rounds):
    results = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, process in contenders.items():
            geo = isinstance(process, Geo)
            if geo:
                process.before()
            before = cpu_seconds(process.pid)
            per_second, p50 = load(process.port, test, pipeline, requests,
                                   100_000 if test == "incr" else KEYS)
            cpu_us = (cpu_seconds(process.pid) - before) * 1e6 / requests
            results[name].append((per_second, p50, cpu_us, *(process.after(requests) if geo
                                                             else ())))
    return results


def _print_speed(title, results, bound):
    base = results["redis"]
    for name, rows in results.items():
        rate, p50, cpu, *peers = (statistics.median(column) for column in zip(*rows))
        faster = statistics.median(a[0] / b[0] for a, b in zip(rows, base))
        dearer = statistics.median(a[2] / b[2] for a, b in zip(rows, base) if b[2])
        # GETs leave nothing to apply.
        behind = f"{peers[0]:.2f} | {peers[1]:.2f}" if peers and "GET" not in title else " | "
        goal = at_most(f"CPU of {title} to redis'", dearer, bound) if (
            name == "atoll" and bound) else ""
        if name == "atoll+geo" and title == "SET P16":
            more = statistics.median(a[2] - b[2] for a, b in zip(rows, results["atoll+log"]))
            goal = (at_most("CPU that two peers add to SET P16 with a log, us", more, 0.3) +
                    "; peer " + at_most("CPU of a peer for SET P16, us", peers[1], 0.5))
        print(f"| {title} | {name} | {rate:,.0f} | {faster:.2f} | {p50:.3f} | {cpu:.2f} | "
              f"{dearer:.2f} | {behind} | {goal} |", flush=True)


def _print_repairs(cluster):
    info = {region: node.info("geo") for region, node in cluster.nodes.items()}
    dropped = sum(i["geo_nats_dropped"] + i["geo_nats_slow_consumer"] for i in info.values())
    pulls = sum(i["geo_pulls"] for i in info.values())
    print(f"\nAfter every run of atoll+geo the regions' digests were equal. Of "
          f"{info['us']['geo_batches_sent']:,} batches {dropped} messages were dropped on the way, "
          f"{pulls} pulls made up for it.", flush=True)


