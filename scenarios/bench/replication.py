"""How soon a write is seen in another region, and what it takes of the wire."""
import os
import socket
import subprocess
import sys
import time

from contenders import HERE, load
from cluster import Cluster
from goals import at_most


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


def wire(quick):
    """What one region publishes, before compression, and how few deltas a hot counter takes."""
    requests = 200_000 if quick else 1_000_000
    print("\n## On the wire\n\n| load | deltas per write | bytes per write | payload | goal |\n"
          "|---|---:|---:|---:|---|", flush=True)
    with Cluster(geo_compression="no") as cluster:
        node = cluster.nodes["us"]
        for title, test, keys, payload in (("SET of 64 B", "set", 1_000_000, 80),
                                           ("INCR of one key", "incr", 1, 16)):
            before = node.info("geo")
            per_second, _ = load(node.port, test, 16, requests, keys)
            cluster.settle(120)
            after = node.info("geo")
            deltas = (after["geo_deltas_sent"] - before["geo_deltas_sent"]) / requests
            size = (after["geo_batch_bytes_sent"] - before["geo_batch_bytes_sent"]) / requests
            goal = (at_most("bytes on the wire per SET", size, payload + 24, "{:.0f}")
                    if test == "set" else
                    at_most("deltas for 100,000 INCRs of one key", deltas * 100_000, 1000, "{:.0f}"))
            print(f"| {title}, {per_second:,.0f}/s | {deltas:.4f} | {size:.1f} | {payload} | {goal} "
                  "|", flush=True)
