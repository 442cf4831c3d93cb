"""Bytes that no client should send: each connection gets Redis' error, the node lives on."""
import os
import random
import socket
import time
import unittest

from one_node import OneNodeTest


class ProtocolAbuse(OneNodeTest):
    def connect(self, timeout=5):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        self.addCleanup(connection.close)
        return connection

    def answer(self, *chunks, pause=0.0):
        """Everything the server says until it closes, or until it has been silent for a second."""
        connection = self.connect(timeout=1)
        said = b""
        try:
            for chunk in chunks:
                connection.sendall(chunk)
                time.sleep(pause)
            while data := connection.recv(65536):
                said += data
        except TimeoutError:
            return said, "open"
        except (ConnectionResetError, BrokenPipeError):
            pass
        return said, "closed"

    def test_malformed_lengths_get_redis_errors_and_a_closed_connection(self):
        for sent, error in (
                (b"*-5x\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
                (b"*99999999999\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
                (b"*1\r\n$-7\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                (b"*1\r\n$99999999999\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                (b"*1\r\n$abc\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                (b"*1\r\n!3\r\nGET\r\n", b"-ERR Protocol error: expected '$', got '!'\r\n"),
                (b"SET \"unbalanced\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
                (b"*" + b"1" * 70000, b"-ERR Protocol error: too big mbulk count string\r\n"),
                (b"*1\r\n$" + b"1" * 70000, b"-ERR Protocol error: too big bulk count string\r\n"),
                (b"x" * 70000, b"-ERR Protocol error: too big inline request\r\n")):
            with self.subTest(sent=sent[:30]):
                self.assertEqual(self.answer(sent), (error, "closed"))

    def test_commands_before_the_malformed_one_are_answered(self):
        said, state = self.answer(b"PING\r\nSET k 1\r\n*1\r\n$-9\r\n")
        self.assertTrue(said.startswith(b"+PONG\r\n+OK\r\n-ERR Protocol error"), said)
        self.assertEqual(state, "closed")
        self.assertEqual(self.redis.get("k"), b"1")

    def test_empty_requests_are_skipped(self):
        self.assertEqual(self.answer(b"\r\n\r\n*0\r\n*-1\r\nPING\r\n"), (b"+PONG\r\n", "open"))

    def test_a_command_in_single_bytes_is_a_command(self):
        request = b"*3\r\n$3\r\nSET\r\n$5\r\nbytes\r\n$4\r\na\r\nb\r\n"
        chunks = [request[i:i + 1] for i in range(len(request))]
        self.assertEqual(self.answer(*chunks, pause=0.002), (b"+OK\r\n", "open"))
        self.assertEqual(self.redis.get("bytes"), b"a\r\nb")

    def test_half_a_command_and_gone(self):
        for cut in range(1, 30):
            connection = self.connect()
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$1\r\nx\r\n"[:cut])
            connection.close()
        self.assertIsNone(self.redis.get("half"))

    @unittest.skipIf("ATOLL_E2E_PORT" in os.environ, "redis-server reserves what was promised")
    def test_a_promised_huge_value_takes_no_memory_before_it_comes(self):
        before = self.redis.info("memory")["used_memory"]
        held = []
        for _ in range(50):
            connection = self.connect()
            connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\nx")
            held.append(connection)
        time.sleep(0.3)
        grown = self.redis.info("memory")["used_memory"] - before
        self.assertLess(grown, 64 << 20)

    def test_very_many_arguments(self):
        count = 100_000
        request = b"*%d\r\n$3\r\nDEL\r\n" % (count + 1) + b"$1\r\nk\r\n" * count
        self.redis.set("k", 1)
        connection = self.connect(timeout=30)
        connection.sendall(request)
        self.assertEqual(connection.recv(100), b":1\r\n")

    def test_mget_of_very_many_keys(self):
        count = 50_000
        self.redis.set("k", "v")
        connection = self.connect(timeout=30)
        connection.sendall(b"*%d\r\n$4\r\nMGET\r\n" % (count + 1) + b"$1\r\nk\r\n" * count)
        wanted = len(b"*50000\r\n") + count * len(b"$1\r\nv\r\n")
        got = 0
        while got < wanted:
            got += len(connection.recv(1 << 20))
        self.assertEqual(got, wanted)

    def test_http_is_refused(self):
        said, state = self.answer(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET http 1\r\n")
        self.assertEqual(state, "closed")
        self.assertIsNone(self.redis.get("http"))
        self.assertNotIn(b"OK", said)

    def test_a_client_that_never_reads_does_not_stop_the_others(self):
        self.redis.set("wide", "x" * 100_000)
        deaf = self.connect()
        deaf.setblocking(False)
        try:
            for _ in range(500):
                deaf.send(b"GET wide\r\n")
        except (BlockingIOError, ConnectionResetError, BrokenPipeError):
            pass
        started = time.monotonic()
        for _ in range(100):
            self.redis.get("k")
        self.assertLess(time.monotonic() - started, 5)

    def test_random_bytes(self):
        seed = int(os.environ.get("ATOLL_SEED", time.time_ns() % 1_000_000))
        dice = random.Random(seed)
        alphabet = [b"*", b"$", b"\r\n", b"1", b"3", b"-", b"GET", b"SET", b"k", b"\0", b"\"", b" ",
                    b"+", b":", b"%", b"~", b"*3\r\n$3\r\nSET\r\n$1\r\nr\r\n$1\r\nv\r\n"]
        for _ in range(300):
            connection = self.connect()
            piece = b"".join(dice.choices(alphabet, k=dice.randrange(1, 60)))
            if dice.random() < 0.3:
                piece = dice.randbytes(dice.randrange(1, 3000))
            try:
                connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            except (ConnectionResetError, BrokenPipeError):
                pass
            except TimeoutError:
                self.fail(f"the node neither answered nor closed; ATOLL_SEED={seed}")
            connection.close()
        self.assertTrue(self.redis.ping(), f"ATOLL_SEED={seed}")


if __name__ == "__main__":
    unittest.main()
