"""One node for the tests of a file: started once, on a free port, in a temporary directory.

With ATOLL_E2E_PORT set the tests run against whatever listens there instead: run them against
redis-server once to see that they demand what Redis does.
"""
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "..", "scenarios", "chaos"))

from cluster import Node  # noqa: E402: found through the path above
import redis  # noqa: E402


class OneNodeTest(unittest.TestCase):
    """Subclasses use self.port and self.redis; every test begins with an empty server."""

    options = {"appendonly": "yes", "appendfsync": "everysec", "threads": 2}
    _node = None

    @classmethod
    def setUpClass(cls):
        cls.port = int(os.environ.get("ATOLL_E2E_PORT", 0))
        if cls.port:
            return
        cls._directory = tempfile.mkdtemp(prefix="atoll-e2e-")
        cls._node = Node("node", cls._directory, {"dir": os.path.join(cls._directory, "data"),
                                                  **cls.options})
        cls._node.start()
        cls.port = cls._node.port

    @classmethod
    def tearDownClass(cls):
        if cls._node is None:
            return
        status = cls._node.stop()
        tail = cls._node.tail()
        cls._node = None
        shutil.rmtree(cls._directory, ignore_errors=True)
        if status != 0:
            raise AssertionError(f"the node ended with status {status}:\n{tail}")

    def setUp(self):
        self.redis = redis.Redis(port=self.port, socket_timeout=20)
        self.redis.flushall()
        self.addCleanup(self.redis.close)

    def tearDown(self):
        self.assertTrue(self.redis.ping(), "the node lives after the test")
