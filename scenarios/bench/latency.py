"""How long single requests take: under half of what the server could do, while a million keys
expire at once, and while the table grows."""
import os
import subprocess
import time

from contenders import KEYS, Redis, bare_atoll, fill, load, paced, running
from goals import at_most

SERVERS = {"redis": Redis, "atoll": bare_atoll}


def latency(quick):
    _half_load(4 if quick else 20)
    _expiry(200_000 if quick else KEYS)


def growth(keys):
    """Many keys in one go, with single requests between them; and a tenth of it on keys that are
    there, because the machine and the load on the other core delay replies too."""
    print(f"\n## Growth\n\n{keys:,} keys of 8 B, written with pipelines of 16 on 4 connections, while "
          "1,000 GETs a second are timed.\n\n| load | keys/s | p99 us | p99.9 us | longest us | "
          "goal |\n|---|---:|---:|---:|---:|---|", flush=True)
    with running(atoll=bare_atoll) as servers:
        fill(servers["atoll"].port, KEYS, 8)
        still = _while_writing("the same million keys", servers["atoll"], keys // 10, KEYS)
    with running(atoll=bare_atoll) as servers:
        growing = _while_writing("new keys", servers["atoll"], keys, 2_000_000_000)
        more = max(0, growing - still)
        print("\nLonger by growth: " + at_most("the longest reply is later by growth, us", more, 2000,
                                               "{:.0f}"), flush=True)


def _while_writing(title, server, requests, keys):
    """Prints a row; returns the longest reply in us."""
    started = time.monotonic()
    writer = subprocess.Popen(
        ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "-q", "-c", "4", "-P", "16",
         "-n", str(requests), "-r", str(keys), "-d", "8", "-t", "set"],
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.nice(19))  # it is not to delay the one that measures
    seen = []
    while writer.poll() is None:
        seen.append(paced(server.port, 1000, 2, sets=0))
        took = time.monotonic() - started
    worst = {figure: max(s[figure] for s in seen) for figure in ("p99", "p999", "max")}
    print(f"| {title} | {requests / took:,.0f} | {worst['p99']:.0f} | {worst['p999']:.0f} | "
          f"{worst['max']:.0f} | |", flush=True)
    return worst["max"]


def _half_load(seconds):
    print(f"\n## Latency\n\nHalf of what redis-server does without pipelining, for {seconds} s, half "
          "SETs, 50 connections, from when a request was due.\n\n"
          "| server | requests/s | p50 us | p99 us | p99.9 us | goal |\n|---|---:|---:|---:|---:|---|",
          flush=True)
    with running(**SERVERS) as servers:
        for server in servers.values():
            fill(server.port, KEYS, 64)
        peak, _ = load(servers["redis"].port, "set", 1, 200_000)
        rounds = {name: [] for name in servers}
        for _ in range(3):
            for name, server in servers.items():
                rounds[name].append(paced(server.port, int(peak / 2), seconds))
    for name, figures in rounds.items():
        p50, p99, p999 = (sorted(f[q] for f in figures)[1] for q in ("p50", "p99", "p999"))
        goal = ""
        if name == "atoll":
            goal = "; ".join(
                at_most(f"{q} at half load to redis'", mine / theirs, 1.0)
                for q, mine, theirs in zip(("p50", "p99", "p99.9"), (p50, p99, p999), redis))
        else:
            redis = p50, p99, p999
        print(f"| {name} | {figures[0]['per_second']:,.0f} | {p50:.0f} | {p99:.0f} | {p999:.0f} | "
              f"{goal} |", flush=True)


def _expiry(keys):
    print(f"\n## Expiry\n\n{keys:,} keys expire in the same millisecond, while 2,000 GETs a second "
          "are timed.\n\n| server | gone after s | longest us | goal |\n|---|---:|---:|---|",
          flush=True)
    with running(**SERVERS) as servers:
        for name, server in servers.items():
            at = time.time() + 8 + keys / 100_000
            fill(server.port, keys, 64, (b"PXAT", b"%d" % (at * 1000)))
            client = server.client()
            time.sleep(max(0, at - 2 - time.time()))
            assert client.dbsize() == keys, "filling took longer than the keys live"
            figures = paced(server.port, 2000, 8, sets=0, wait=False)
            time.sleep(max(0, at - time.time()))
            left = client.dbsize()
            while left and time.time() < at + 60:
                time.sleep(0.05)
                left = client.dbsize()
            gone = time.time() - at
            longest = figures()["max"]
            goal = ""
            if name == "atoll":
                goal = at_most("seconds until expired keys are gone", gone, 2.0) + (
                    "; " + at_most("longest reply meanwhile, us", longest, 5000, "{:.0f}"))
            print(f"| {name} | {gone:.2f} | {longest:.0f} | {goal} |", flush=True)
