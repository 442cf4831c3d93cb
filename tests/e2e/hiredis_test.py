"""hiredis, C's client and what redis-cli is built on, runs against Atoll unmodified."""
import os
import subprocess
import time
import unittest

from one_node import OneNodeTest
from processes import wait_until


class HiredisClients:
    """Subclasses say on how many threads."""

    def test_debians_library(self):
        """RESP2: Debian's hiredis is older than RESP3."""
        done = subprocess.run([os.environ["ATOLL_HIREDIS_CLIENT"]], capture_output=True, text=True,
                              timeout=120, env={**os.environ, "ATOLL_PORT": str(self.port)})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ]", done.stdout)

    def test_pushes_of_resp3(self):
        """redis-cli holds a newer one, and says what its push callback gets."""
        cli = subprocess.Popen(["redis-cli", "-p", str(self.port), "-3", "--show-pushes", "yes"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(cli.wait)
        self.addCleanup(cli.kill)
        self.redis.mset({f"k{n}": 1 for n in range(6)})
        cli.stdin.write("CLIENT TRACKING ON\n" + "".join(f"GET k{n}\n" for n in range(6)))
        cli.stdin.flush()
        wait_until(lambda: self.redis.info("stats")["tracking_total_keys"] == 6, 5, "all are read")
        for n in range(6):
            self.redis.incr(f"k{n}")
        self.redis.hset("h", "f", 1)  # was not read
        cli.stdin.write("GET k0\nHGETALL h\n")
        cli.stdin.close()
        said = cli.stdout.read()
        cli.stdout.close()
        lines = said.splitlines()
        self.assertEqual(lines[:7] + lines[-2:], ["OK"] + ["1"] * 6 + ["2", "f 1"], said)
        self.assertEqual(sorted(zip(lines[7:-2:2], lines[8:-2:2])),
                         [("invalidate", f"k{n}") for n in range(6)], said)


class OnOneThread(HiredisClients, OneNodeTest):
    options = {"threads": 1, "appendonly": "yes", "appendfsync": "always"}


class OnThreeThreads(HiredisClients, OneNodeTest):
    options = {"threads": 3, "appendonly": "yes", "appendfsync": "everysec"}


if __name__ == "__main__":
    unittest.main()
