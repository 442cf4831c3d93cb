"""What the benchmarks run and load: servers pinned to core 0, the load on core 1, and the figures
that the kernel keeps of them."""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "chaos"))

import redis  # noqa: E402: found through the path above
from cluster import Node  # noqa: E402
from processes import REPOSITORY, Process, free_port, listens, wait_until  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
KEYS = 1_000_000


def pin(process, core):
    subprocess.run(["taskset", "-a", "-c", "-p", str(core), str(process.pid)], check=True,
                   stdout=subprocess.DEVNULL)


def _cpu_of(path):
    with open(path) as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def cpu_seconds(pid):
    return _cpu_of(f"/proc/{pid}/stat")


def thread_cpu_seconds(pid, name):
    """Of the threads whose names begin so."""
    spent = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/comm") as file:
            if file.read().startswith(name):
                spent += _cpu_of(f"/proc/{pid}/task/{thread}/stat")
    return spent


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * PAGE


class Redis(Process):
    """redis-server, by default without persistence. redis-tools' redis-check-rdb is the same
    program."""

    def __init__(self, directory, *options):
        self.port = free_port()
        self.directory = os.path.join(directory, "redis")
        os.makedirs(self.directory, exist_ok=True)
        program = shutil.which("redis-server")
        if not program:
            program = os.path.join(self.directory, "redis-server")
            os.symlink(shutil.which("redis-check-rdb"), program)
        super().__init__("redis", [program, "--port", str(self.port), "--save", "",
                                   "--appendonly", "no", *options], self.directory)

    def start(self):
        self.spawn()
        wait_until(lambda: listens(self.port), 10, "redis-server listens")

    def client(self, timeout=60):
        return redis.Redis(port=self.port, socket_timeout=timeout)


def bare_atoll(directory, **options):
    """Without a log, unless `options` (underscores for dashes) ask for one, and without peers."""
    options = {name.replace("_", "-"): value for name, value in options.items()}
    return Node("atoll", os.path.join(directory, "atoll"), {
        "dir": os.path.join(directory, "atoll", "data"), "appendonly": "no", "save": '""',
        **options})


def logged_atoll(directory):
    """Rewriting is off, as it is for redis' AOF."""
    return bare_atoll(directory, appendonly="yes", appendfsync="everysec",
                      auto_aof_rewrite_percentage="0")


@contextmanager
def running(**makers):
    """Starts {name: make(directory)} in a directory that is gone afterwards, pinned to core 0. Whoever
    measures runs on core 1 meanwhile, beside the load."""
    directory = tempfile.mkdtemp(prefix="atoll-bench-")
    servers = {}
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {1})
        for name, make in makers.items():
            os.makedirs(os.path.join(directory, name))
            servers[name] = make(os.path.join(directory, name))
            servers[name].start()
            pin(servers[name], 0)
        yield servers
    finally:
        for server in servers.values():
            server.kill()
        shutil.rmtree(directory, ignore_errors=True)
        os.sched_setaffinity(0, cores)


def load(port, test, pipeline, requests, keys=KEYS):
    """One redis-benchmark run on core 1: (requests/s, p50 in ms)."""
    return load_command(port, pipeline, requests, keys, "-d", "64", "-t", test)


def load_command(port, pipeline, requests, keys, *words):
    """The same of a command, in which __rand_int__ stands for twelve digits of a number below
    `keys`."""
    done = subprocess.run(
        ["taskset", "-c", "1", "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "-c",
         "50", "-P", str(pipeline), "-n", str(requests), "-r", str(keys), *words],
        capture_output=True, text=True, timeout=600)
    found = re.findall(r"([\d.]+) requests per second(?:, p50=([\d.]+))?",
                       done.stdout.replace("\r", "\n"))
    if not found:
        sys.exit(f"redis-benchmark said nothing usable: {done.stdout[-300:]} {done.stderr[-300:]}")
    return float(found[-1][0]), float(found[-1][1] or "nan")


def paced(port, rate, seconds, sets=50, keys=KEYS, wait=True):
    """paced_load on core 1: requests at a fixed rate. Its figures, or (wait=False) a function that
    waits for them."""
    child = subprocess.Popen(
        ["taskset", "-c", "1", os.path.join(REPOSITORY, "build/scenarios/bench/load/paced_load"),
         "--port", str(port), "--rate", str(rate), "--seconds", str(seconds), "--sets", str(sets),
         "--keys", str(keys)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def figures():
        out, errors = child.communicate(timeout=seconds + 120)
        if child.returncode != 0:
            sys.exit(errors.strip())
        return json.loads(out)

    return figures() if wait else figures


def fill(port, count, size, ttl=None):
    """Keys 0 .. count - 1; `ttl` is what SET gets besides: (b"EX", b"864000")."""
    value = b"v" * size
    tail = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in ttl or ())
    head = b"*%d\r\n$3\r\nSET\r\n$16\r\n" % (3 + len(ttl or ()))
    with socket.create_connection(("127.0.0.1", port)) as connection:
        replies = connection.makefile("rb", 1 << 20)
        for start in range(0, count, 1000):
            connection.sendall(b"".join(
                head + b"key:%012d" % i + b"\r\n$%d\r\n" % size + value + b"\r\n" + tail
                for i in range(start, start + 1000)))
            for _ in range(1000):
                if replies.readline() != b"+OK\r\n":
                    sys.exit("a SET of the memory measurement was refused")
