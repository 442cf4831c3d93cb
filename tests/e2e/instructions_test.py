"""How many instructions a request takes, counted by callgrind and not timed: the same on a busy
machine. A change that costs more than a tenth fails here and says where the profile is.

The counts leave the kernel out; they are of pipelines of 16 on one connection, 64-byte values.
Lower a limit when a change has made its command cheaper.
"""
import glob
import itertools
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scenarios", "chaos"))

from cluster import binary  # noqa: E402: found through the path above
from processes import free_port  # noqa: E402

LIMITS = {  # a tenth above what was counted
    "GET": 1_310, "SET": 1_560, "INCR": 1_550,
    "HGET": 2_020, "HSET": 2_980, "HINCRBY": 3_340, "SADD": 2_820, "ZADD": 6_680,
    "LPUSH": 3_170, "LPOP": 3_140,
}
BEFORE = {"GET": "SET", "HGET": "HSET", "LPOP": "LPUSH"}  # what fills the keys that it wants
KEYS = 2_000
SCORES = (n * 7_919 % 100_003 for n in itertools.count())
PIPELINE = 16


def encode(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def request(command, i):
    """Of strings many keys, of the others many elements of one key."""
    name, value = b"%012d" % i, b"v" * 64
    return {
        "GET": lambda: encode(b"GET", b"key:" + name),
        "SET": lambda: encode(b"SET", b"key:" + name, value),
        "INCR": lambda: encode(b"INCR", b"counter:" + name),
        "HGET": lambda: encode(b"HGET", b"hash", name),
        "HSET": lambda: encode(b"HSET", b"hash", name, value),
        "HINCRBY": lambda: encode(b"HINCRBY", b"counters", name, b"1"),
        "SADD": lambda: encode(b"SADD", b"set", name),
        "ZADD": lambda: encode(b"ZADD", b"sorted", b"%d" % next(SCORES), name),
        "LPUSH": lambda: encode(b"LPUSH", b"list", value),
        "LPOP": lambda: encode(b"LPOP", b"list"),
    }[command]()


class Instructions(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory(prefix="atoll-instructions-")
        self.addCleanup(self.directory.cleanup)
        self.out = os.path.join(self.directory.name, "callgrind.out")
        port = free_port()
        self.log = open(os.path.join(self.directory.name, "log"), "w")
        self.addCleanup(self.log.close)
        self.server = subprocess.Popen(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.out}", binary(), "server",
             "--port", str(port), "--dir", self.directory.name, "--appendonly", "no",
             "--save", "", "--threads", "1"],
            stdout=self.log, stderr=subprocess.STDOUT)
        self.addCleanup(self.end)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client = socket.create_connection(("127.0.0.1", port), timeout=60)
                break
            except OSError:
                self.assertIsNone(self.server.poll(), "the server ended at its start")
                self.assertLess(time.monotonic(), deadline, "the server does not listen")
                time.sleep(0.1)
        self.addCleanup(self.client.close)
        self.replies = self.client.makefile("rb")

    def end(self):
        self.server.terminate()
        try:
            self.server.wait(30)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()

    def run_load(self, command):
        pending = [request(command, i) for i in range(KEYS)]
        for at in range(0, len(pending), PIPELINE):
            batch = pending[at:at + PIPELINE]
            self.client.sendall(b"".join(batch))
            for _ in batch:
                reply = self.replies.readline()
                self.assertNotIn(reply[:1], (b"-", b""), reply)
                if reply.startswith(b"$"):
                    self.replies.read(int(reply[1:]) + 2)

    def counted(self):
        """Instructions since the last call."""
        before = set(glob.glob(self.out + "*"))
        subprocess.run(["callgrind_control", "--dump", str(self.server.pid)], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for path in set(glob.glob(self.out + "*")) - before:
                with open(path) as file:
                    totals = re.search(r"^totals: (\d+)", file.read(), re.MULTILINE)
                if totals:
                    return int(totals.group(1))
            time.sleep(0.05)
        self.fail("callgrind wrote no dump")

    def test_each_request_stays_within_its_limit(self):
        for command in LIMITS:
            self.run_load(BEFORE.get(command, command))
        for command, limit in LIMITS.items():
            self.counted()
            self.run_load(command)
            per_request = self.counted() / KEYS
            print(f"{command}: {per_request:,.0f} instructions a request, limit {limit:,}")
            with self.subTest(command=command):
                self.assertLessEqual(
                    per_request, limit,
                    "for a profile: valgrind --tool=callgrind, callgrind_annotate")
                self.assertGreater(per_request, limit / 2, "the limit is due to be lowered")


if __name__ == "__main__":
    unittest.main()
