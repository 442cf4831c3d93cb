"""npm's clients, and what applications put on top of them, run against Atoll unmodified.

The packages are installed beforehand (npm ci) where NODE_PATH points.
"""
import os
import shutil
import subprocess
import tempfile
import unittest

from authority import Authority
from one_node import Node, OneNodeTest
from processes import free_port

HERE = os.path.dirname(os.path.abspath(__file__))


class Scripts(OneNodeTest):
    def run_script(self, name, **environment):
        done = subprocess.run(["node", "--test", "--test-reporter=tap", os.path.join(HERE, name)],
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, "ATOLL_PORT": str(self.port), **environment})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("# fail 0", done.stdout)
        self.assertNotIn("# tests 0", done.stdout)


class NodeClients:
    """Subclasses say on how many threads."""

    def test_ioredis(self):
        self.run_script("ioredis_client.cjs")

    def test_redis_resp3(self):
        self.run_script("redis_client.cjs")

    def test_near_cache(self):
        self.run_script("near_cache.cjs")

    def test_session_store(self):
        self.run_script("session_store.cjs")

    def test_rate_limiter(self):
        self.run_script("rate_limiter.cjs")

    def test_redlock(self):
        self.run_script("redlock.cjs")


class OnOneThread(NodeClients, Scripts):
    options = {"threads": 1, "appendonly": "yes", "appendfsync": "always"}


class OnThreeThreads(NodeClients, Scripts):
    options = {"threads": 3, "appendonly": "yes", "appendfsync": "everysec"}


class OverTls(Scripts):
    def test_ioredis(self):
        directory = tempfile.mkdtemp(prefix="atoll-node-tls-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        authority = Authority(directory, "authority")
        cert, key = authority.issue("server")
        node = Node("sealed", directory, {
            "dir": directory, "save": '""', "tls-port": free_port(), "tls-cert-file": cert,
            "tls-key-file": key, "tls-ca-cert-file": authority.cert})
        self.addCleanup(node.stop)
        node.start()
        self.run_script("ioredis_client.cjs", ATOLL_PORT=str(node.options["tls-port"]),
                        ATOLL_TLS_FILES=":".join([authority.cert, *authority.issue("client")]))


if __name__ == "__main__":
    unittest.main()
