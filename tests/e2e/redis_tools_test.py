"""Redis' own tools run against Atoll unmodified: redis-cli and redis-benchmark."""
import subprocess
import unittest

from one_node import OneNodeTest


class RedisTools(OneNodeTest):
    def cli(self, *words, stdin=None, check=True):
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], input=stdin,
                              capture_output=True, text=True, timeout=60)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_cli_commands_and_reply_types(self):
        self.assertEqual(self.cli("set", "k", "v"), "OK\n")
        self.assertEqual(self.cli("get", "k"), "v\n")
        self.assertEqual(self.cli("get", "nothing"), "\n")
        self.assertEqual(self.cli("incrby", "n", "41"), "41\n")
        self.assertEqual(self.cli("mget", "k", "nothing", "n"), "v\n\n41\n")
        self.assertIn("ERR value is not an integer",
                      self.cli("incr", "k", check=False))
        self.assertIn("ERR unknown command", self.cli("nosuchcommand", check=False))

    def test_cli_resp3(self):
        self.assertEqual(self.cli("-3", "get", "nothing"), "\n")
        hello = self.cli("-3", "hello", "3")
        self.assertIn("proto", hello)
        self.assertIn("3", hello)

    def test_cli_database_number_and_scripted_input(self):
        self.cli("-n", "5", "set", "k", "five")
        self.assertEqual(self.cli("-n", "5", "get", "k"), "five\n")
        self.assertEqual(self.cli("get", "k"), "\n")
        out = self.cli(stdin="multi\nset a 1\nincr a\nexec\n")
        self.assertIn("2", out.split())

    def test_cli_scan_finds_every_key_by_pattern(self):
        self.redis.mset({f"scan:{i}": "x" for i in range(3000)})
        self.redis.mset({f"other:{i}": "x" for i in range(100)})
        found = self.cli("--scan", "--pattern", "scan:*").split()
        self.assertEqual(sorted(set(found)), sorted(f"scan:{i}" for i in range(3000)))

    def test_cli_pipe_loads_a_protocol_file(self):
        commands = "".join(f"*3\r\n$3\r\nSET\r\n${len(f'pipe:{i}')}\r\npipe:{i}\r\n$1\r\nx\r\n"
                           for i in range(5000))
        out = self.cli("--pipe", stdin=commands)
        self.assertIn("errors: 0, replies: 5000", out)
        self.assertEqual(self.redis.dbsize(), 5000)

    def test_cli_info_has_redis_sections(self):
        info = self.cli("info")
        for section in ("# Server", "# Clients", "# Memory", "# Stats", "# Keyspace"):
            self.assertIn(section, info)
        for field in ("redis_version:", "uptime_in_seconds:", "connected_clients:",
                      "used_memory:", "total_commands_processed:"):
            self.assertIn(field, info)

    def test_cli_bigkeys_and_memkeys_walk_the_key_space(self):
        self.redis.mset({"small": "x", "big": "x" * 5000})
        self.assertIn("big", self.cli("--bigkeys"))
        self.assertIn("big", self.cli("--memkeys"))

    def test_cli_latency_and_stat_talk_to_it(self):
        done = subprocess.run(["timeout", "3", "redis-cli", "-p", str(self.port), "--latency",
                               "--raw"], capture_output=True, text=True)
        self.assertNotIn("ERR", done.stdout + done.stderr)

    def test_benchmark_runs_its_tests(self):
        done = subprocess.run(
            ["redis-benchmark", "-p", str(self.port), "-n", "20000", "-c", "20", "-P", "8", "-q",
             "-r", "1000", "-t", "ping,set,get,incr,mset"],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Error", done.stdout + done.stderr)
        self.assertGreaterEqual(done.stdout.count("requests per second"), 6, done.stdout)
        self.assertGreater(int(self.redis.get("counter:000000000001")), 0)

    def test_benchmark_with_threads_and_resp3(self):
        done = subprocess.run(
            ["redis-benchmark", "-p", str(self.port), "-n", "20000", "-c", "20", "--threads", "2",
             "-3", "-q", "-t", "set,get"], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("Error", done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
