#!/usr/bin/python3
"""./dev bench: Atoll beside Debian's redis-server, in one run on one machine.

  bench.py [--quick] [--rounds N] [--only speed|memory|lag]

Speed: the server is pinned to core 0 and redis-benchmark to core 1, so a figure is what one core
serves. Rounds are interleaved (A B C A B C ...), because machines drift; medians are printed, and
ratios are medians of the ratios within a round. CPU is the server's own time over all its threads
per request, from /proc. Contenders:

  redis       redis-server without persistence
  atoll       without persistence and without peers
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

Memory: growth of the resident set per key, distinct 16-byte keys. Lag: one region writes 10,000
stamped values a second and another one is polled for them; both ends share this machine's clock.
"""
import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "chaos"))

from cluster import Cluster, Node  # noqa: E402: found through the path above
from links import PlainLinks  # noqa: E402
from processes import Process, free_port, listens, wait_until  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
REQUESTS = {1: 150_000, 16: 1_500_000, 64: 3_000_000}
KEYS = 1_000_000


def pin(process, core):
    subprocess.run(["taskset", "-a", "-c", "-p", str(core), str(process.pid)], check=True,
                   stdout=subprocess.DEVNULL)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE


class Redis(Process):
    """redis-server without persistence. redis-tools' redis-check-rdb is the same program."""

    def __init__(self, directory):
        self.port = free_port()
        program = shutil.which("redis-server")
        if not program:
            program = os.path.join(directory, "redis-server")
            os.symlink(shutil.which("redis-check-rdb"), program)
        super().__init__("redis", [program, "--port", str(self.port), "--save", "",
                                   "--appendonly", "no"], directory)

    def start(self):
        self.spawn()
        wait_until(lambda: listens(self.port), 10, "redis-server listens")


def bare_atoll(directory):
    return Node("atoll", os.path.join(directory, "atoll"), {
        "dir": os.path.join(directory, "atoll", "data"), "appendonly": "no", "save": '""'})


def load(port, test, pipeline, requests, keys=KEYS):
    """One redis-benchmark run on core 1: (requests/s, p50 in ms)."""
    done = subprocess.run(
        ["taskset", "-c", "1", "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "-c",
         "50", "-P", str(pipeline), "-n", str(requests), "-d", "64", "-r", str(keys), "-t", test],
        capture_output=True, text=True, timeout=600)
    found = re.findall(r"([\d.]+) requests per second(?:, p50=([\d.]+))?",
                       done.stdout.replace("\r", "\n"))
    if not found:
        sys.exit(f"redis-benchmark said nothing usable: {done.stdout[-300:]} {done.stderr[-300:]}")
    return float(found[-1][0]), float(found[-1][1] or "nan")


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
    directory = tempfile.mkdtemp(prefix="atoll-bench-")
    contenders = {"redis": Redis(directory), "atoll": bare_atoll(directory)}
    os.environ["GOMAXPROCS"] = "1"  # for the NATS servers: they have one core
    print("\n## Speed\n\nOne core for the server, 64-byte values, 50 connections; medians of "
          f"{rounds} interleaved rounds. atoll+geo: the peers give way to the load and finish "
          "after it; atoll+geo=: they do not.\n", flush=True)
    os.environ["GOMAXPROCS"] = "1"  # the NATS servers get one core
    try:
        with Cluster(links=PlainLinks) as cluster:
            for process in contenders.values():
                process.start()
            contenders["atoll+geo"] = Geo(cluster, peers_give_way=True)
            contenders["atoll+geo="] = Geo(cluster, peers_give_way=False)
            for other in [*cluster.nats.values(), cluster.nodes["eu"], cluster.nodes["ap"]]:
                pin(other, 1)
            for name in ("redis", "atoll", "atoll+geo"):
                pin(contenders[name], 0)
                load(contenders[name].port, "set", 32, int(2_000_000 * scale))  # so that GETs hit
            _wait_for_peers(cluster)
            print("| load | server | requests/s | of redis | p50 ms | CPU us/request | of redis | "
                  "behind s | peer CPU us |\n|---|---|---:|---:|---:|---:|---:|---:|---:|",
                  flush=True)
            for test in ("set", "get", "incr"):
                for pipeline in (1, 16, 64):
                    requests = int(REQUESTS[pipeline] * scale)
                    results = _interleaved(contenders, test, pipeline, requests, rounds)
                    _print_speed(f"{test.upper()} P{pipeline}", results)
            _print_repairs(cluster)
    finally:
        for process in contenders.values():
            if isinstance(process, Process):
                process.kill()
        shutil.rmtree(directory, ignore_errors=True)


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


def _print_speed(title, results):
    base = results["redis"]
    for name, rows in results.items():
        rate, p50, cpu, *peers = (statistics.median(column) for column in zip(*rows))
        faster = statistics.median(a[0] / b[0] for a, b in zip(rows, base))
        dearer = statistics.median(a[2] / b[2] for a, b in zip(rows, base) if b[2])
        # GETs leave nothing to apply.
        behind = f"{peers[0]:.2f} | {peers[1]:.2f}" if peers and "GET" not in title else " | "
        print(f"| {title} | {name} | {rate:,.0f} | {faster:.2f} | {p50:.3f} | {cpu:.2f} | "
              f"{dearer:.2f} | {behind} |", flush=True)


def _print_repairs(cluster):
    info = {region: node.info("geo") for region, node in cluster.nodes.items()}
    dropped = sum(i["geo_nats_dropped"] + i["geo_nats_slow_consumer"] for i in info.values())
    pulls = sum(i["geo_pulls"] for i in info.values())
    print(f"\nAfter every run of atoll+geo the regions' digests were equal. Of "
          f"{info['us']['geo_batches_sent']:,} batches {dropped} messages were dropped on the way, "
          f"{pulls} pulls made up for it.", flush=True)


def memory(quick):
    count = 200_000 if quick else KEYS
    print(f"\n## Memory\n\nResident bytes per key after {count:,} keys of 16 bytes.\n\n"
          "| value | redis | atoll | of redis |\n|---|---:|---:|---:|", flush=True)
    for title, size, ttl in (("8 B", 8, False), ("64 B", 64, False), ("64 B with TTL", 64, True)):
        used = {}
        for name, make in (("redis", Redis), ("atoll", bare_atoll)):
            directory = tempfile.mkdtemp(prefix="atoll-bench-")
            process = make(directory)
            try:
                process.start()
                time.sleep(0.5)
                before = resident_bytes(process.pid)
                fill(process.port, count, size, ttl)
                time.sleep(1.5)
                used[name] = (resident_bytes(process.pid) - before) / count
            finally:
                process.kill()
                shutil.rmtree(directory, ignore_errors=True)
        print(f"| {title} | {used['redis']:.1f} | {used['atoll']:.1f} | "
              f"{used['atoll'] / used['redis']:.2f} |", flush=True)


def fill(port, count, size, ttl):
    value = b"v" * size
    tail = b"$2\r\nEX\r\n$6\r\n864000\r\n" if ttl else b""
    head = b"*%d\r\n$3\r\nSET\r\n$16\r\n" % (5 if ttl else 3)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replies = connection.makefile("rb", 1 << 20)
        for start in range(0, count, 1000):
            connection.sendall(b"".join(
                head + b"key:%012d" % i + b"\r\n$%d\r\n" % size + value + b"\r\n" + tail
                for i in range(start, start + 1000)))
            for _ in range(1000):
                if replies.readline() != b"+OK\r\n":
                    sys.exit("a SET of the memory measurement was refused")


def lag(quick):
    """A writer sends 10 SETs every ms; every 10th key is a probe that carries its send time."""
    seconds = 5 if quick else 20
    per_second = 10_000
    print(f"\n## Replication lag\n\n{per_second:,} writes a second in us for {seconds} s, probes "
          "polled for in eu, loopback.\n", flush=True)
    with Cluster() as cluster:
        reader = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "lag_reader.py"),
             str(cluster.nodes["eu"].port)], stdout=subprocess.PIPE, text=True)
        assert reader.stdout.readline().strip() == "ready"
        written = _paced_writes(cluster.nodes["us"].port, per_second, seconds)
        cluster.client("us").set("lag:stop", "1")
        seen = [float(line) for line in reader.communicate(timeout=60)[0].split()]
        if len(seen) < 100:
            sys.exit(f"only {len(seen)} probes were seen in eu")
        seen.sort()
        quantile = [seen[min(len(seen) - 1, int(len(seen) * q))] for q in (0.5, 0.9, 0.99, 1.0)]
        print("| writes/s | probes | p50 ms | p90 ms | p99 ms | max ms |\n"
              "|---:|---:|---:|---:|---:|---:|")
        print(f"| {written / seconds:,.0f} | {len(seen)} | " +
              " | ".join(f"{value:.2f}" for value in quantile) + " |", flush=True)


def _paced_writes(port, per_second, seconds):
    """10 writes every ms over one connection; the last of each ten is the probe lag_reader reads."""
    written = 0
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        started = time.monotonic()
        while (now := time.monotonic() - started) < seconds:
            ahead = written / per_second - now
            if ahead > 0:
                time.sleep(ahead)
            batch = b"".join(b"*3\r\n$3\r\nSET\r\n$12\r\nload:%07d\r\n$8\r\nxxxxxxxx\r\n" %
                             ((written + i) % 1_000_000) for i in range(9))
            stamp = b"%d" % time.time_ns()
            connection.sendall(batch + b"*3\r\n$3\r\nSET\r\n$9\r\nlag:probe\r\n$%d\r\n%s\r\n" %
                               (len(stamp), stamp))
            written += 10
            if written % 100 == 0:
                received = 0
                while received < 100 * 5:  # "+OK\r\n" each
                    received += len(connection.recv(65536))
    return written


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the requests, one round")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--only", choices=["speed", "memory", "lag"])
    given = parser.parse_args()
    if os.cpu_count() < 2:
        sys.exit("the bench needs two cores: one for the server, one for the load")
    if given.only in (None, "speed"):
        speed(given.quick, given.rounds or (1 if given.quick else 5))
    if given.only in (None, "memory"):
        memory(given.quick)
    if given.only in (None, "lag"):
        lag(given.quick)


if __name__ == "__main__":
    main()
