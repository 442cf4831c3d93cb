"""npm's ioredis and redis (RESP3) run against Atoll unmodified.

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


class NodeClients(OneNodeTest):
    def run_script(self, name, **environment):
        done = subprocess.run(["node", "--test", "--test-reporter=tap", os.path.join(HERE, name)],
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, "ATOLL_PORT": str(self.port), **environment})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("# fail 0", done.stdout)
        self.assertNotIn("# tests 0", done.stdout)

    def test_ioredis(self):
        self.run_script("ioredis_client.cjs")

    def test_ioredis_over_tls(self):
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

    def test_redis_resp3(self):
        self.run_script("redis_client.cjs")


if __name__ == "__main__":
    unittest.main()
