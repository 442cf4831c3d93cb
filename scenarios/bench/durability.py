"""What the log, a snapshot and a restart cost."""
import statistics
import subprocess
import time

import redis

from contenders import (KEYS, Redis, bare_atoll, cpu_seconds, fill, load, logged_atoll, paced, pin,
                        running, thread_cpu_seconds)
from goals import at_least, at_most
from processes import wait_until

WRITE_BACK_S = 2  # after a load, until what it wrote is on the disk


def durability(quick, rounds):
    _log(300_000 if quick else 1_500_000, rounds)
    _snapshot(3 if quick else 10)
    _restart(300_000 if quick else 2 * KEYS)


def _redis_with_aof(directory):
    return Redis(directory, "--appendonly", "yes", "--appendfsync", "everysec",
                 "--auto-aof-rewrite-percentage", "0")


def _log(requests, rounds):
    print("\n## The log\n\nSET P16 with everysec, all threads on one core, their CPU until 2 s after "
          "the load. Throughput is what the thread that serves would do alone.\n\n"
          "| server | CPU us/request, all threads | of redis with AOF | serving thread | goal |\n"
          "|---|---:|---:|---:|---|", flush=True)
    rows = {"redis with AOF": [], "atoll without a log": [], "atoll": []}
    with running(redis=_redis_with_aof, bare=bare_atoll, logged=logged_atoll) as servers:
        for name, server in zip(rows, servers.values()):
            load(server.port, "set", 32, requests)
        for _ in range(rounds):
            for name, server in zip(rows, servers.values()):
                thread = "redis-server" if "redis" in name else "atoll-shard"
                before = cpu_seconds(server.pid), thread_cpu_seconds(server.pid, thread)
                load(server.port, "set", 16, requests)
                time.sleep(WRITE_BACK_S)
                after = cpu_seconds(server.pid), thread_cpu_seconds(server.pid, thread)
                rows[name].append([(b - a) * 1e6 / requests for a, b in zip(before, after)])
    for name, figures in rows.items():
        cpu, thread = (statistics.median(column) for column in zip(*figures))
        dearer = statistics.median(a[0] / b[0] for a, b in zip(figures, rows["redis with AOF"]))
        goal = ""
        if name == "atoll":
            lost = 1 - statistics.median(
                b[1] / a[1] for a, b in zip(figures, rows["atoll without a log"]))
            goal = at_most("CPU of SET P16 with everysec to redis' AOF", dearer, 0.5) + (
                "; throughput lost: " + at_most("throughput that the log takes", lost, 0.15))
        print(f"| {name} | {cpu:.2f} | {dearer:.2f} | {thread:.2f} | {goal} |", flush=True)


def _snapshot(seconds):
    print(f"\n## A snapshot\n\n{KEYS:,} keys of 64 B, 20,000 requests a second (half SETs), for "
          f"{seconds} s without and {seconds} s with BGSAVE one after the other.\n\n"
          "| server | p99 us | while saving | memory MB | while saving | goal |\n"
          "|---|---:|---:|---:|---:|---|", flush=True)
    with running(redis=_redis_with_aof, atoll=logged_atoll) as servers:
        for name, server in servers.items():
            fill(server.port, KEYS, 64)
            time.sleep(3)
            calm, rest, _ = _watch(server, seconds, save=False)
            saving, peak, saves = _watch(server, seconds, save=True)
            goal = ""
            if name == "atoll":
                goal = at_most("p99 while saving to p99", saving["p99"] / calm["p99"], 1.25) + (
                    "; " + at_most("memory while saving to memory", peak / rest, 1.05))
            print(f"| {name}, {saves} snapshots | {calm['p99']:.0f} | {saving['p99']:.0f} | "
                  f"{rest / 1e6:.0f} | {peak / 1e6:.0f} | {goal} |", flush=True)


def _watch(server, seconds, save):
    """(latencies, most memory, snapshots) under load, with snapshots one after the other or none."""
    figures = paced(server.port, 20_000, seconds, wait=False)
    peak, saves, client = 0, 0, server.client()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        running = client.info("persistence")["rdb_bgsave_in_progress"]
        if save and not running:
            client.execute_command("BGSAVE")
            saves += 1
        peak = max(peak, _memory_of(server.pid))
        time.sleep(0.05)
    return figures(), peak, saves


def _memory_of(pid):
    """Of a process and the children that it forks to save."""

    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    used = 0
    for each in [pid, *map(int, children.split())]:
        try:
            with open(f"/proc/{each}/smaps_rollup") as file:
                used += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
        except (OSError, ProcessLookupError):
            pass  # it has just ended
    return used


def _serves(node):
    try:
        return node.client(timeout=1).ping()
    except redis.RedisError:
        return False


def _restart(keys):
    print(f"\n## A restart\n\n{keys:,} keys of 64 B, from start to the first PONG.\n\n"
          "| from | s | per second | goal |\n|---|---:|---:|---|", flush=True)
    with running(atoll=logged_atoll) as servers:
        node = servers["atoll"]
        fill(node.port, keys, 64)
        time.sleep(WRITE_BACK_S)
        for title, stop in (("the log, after kill -9", node.kill),
                            ("the snapshot, after SIGTERM", node.stop)):
            if "snapshot" in title:
                node.client().execute_command("SAVE")
            stop()
            started = time.monotonic()
            node.start(wait=False)
            pin(node, 0)
            wait_until(lambda: _serves(node), 120, "the node serves again", every_s=0.005)
            took = time.monotonic() - started
            found = node.client().dbsize()
            assert found == keys, f"{found} of {keys} keys are back"
            rate = keys / took
            print(f"| {title} | {took:.2f} | {rate:,.0f} | "
                  f"{at_least(f'keys a second from {title}', rate, 1_000_000, '{:,.0f}')} |",
                  flush=True)
