"""npm's ioredis and redis (RESP3) run against Atoll unmodified.

The packages are installed beforehand (npm ci) where NODE_PATH points.
"""
import os
import subprocess
import unittest

from one_node import OneNodeTest

HERE = os.path.dirname(os.path.abspath(__file__))


class NodeClients(OneNodeTest):
    def run_script(self, name):
        done = subprocess.run(["node", "--test", "--test-reporter=tap", os.path.join(HERE, name)],
                              capture_output=True, text=True, timeout=120,
                              env={**os.environ, "ATOLL_PORT": str(self.port)})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("# fail 0", done.stdout)
        self.assertNotIn("# tests 0", done.stdout)

    def test_ioredis(self):
        self.run_script("ioredis_client.cjs")

    def test_redis_resp3(self):
        self.run_script("redis_client.cjs")


if __name__ == "__main__":
    unittest.main()
