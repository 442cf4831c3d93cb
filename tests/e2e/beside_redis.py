"""One conversation of several connections with two servers, frame by frame.

Every server of the test gets the same steps, each once the step before was answered. What a
connection has received in the end is compared as bytes are: pushes are no arrays, and a message
stands before or behind a reply.
"""
import os
import shutil
import socket
import subprocess
import tempfile
import time

from processes import free_port, listens, wait_until

DEADLINE_S = 3


class RedisServer:
    """Debian's redis-server, which redis-tools also has, under another name."""

    def __init__(self, *options):
        self._directory = tempfile.mkdtemp(prefix="atoll-beside-")
        self.port = free_port()
        program = shutil.which("redis-server")
        if program is None:
            program = os.path.join(self._directory, "redis-server")
            os.symlink(shutil.which("redis-check-rdb"), program)
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--save", "", "--dir", self._directory, *options],
            stdout=subprocess.DEVNULL)
        wait_until(lambda: listens(self.port), DEADLINE_S, "redis-server listens")

    def stop(self):
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)


class Connection:
    """Frames as tuples: a push is ('>', ...), an array ('*', ...), the rest (type, value)."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._bytes = b""
        self.frames = []

    def close(self):
        self.socket.close()

    def send(self, *words):
        out = b"*%d\r\n" % len(words)
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            out += b"$%d\r\n%s\r\n" % (len(word), word)
        self.socket.sendall(out)

    def wait(self, count, deadline_s=DEADLINE_S):
        """Until so many frames have come in all; False when they have not in time, or the server
        has closed."""
        end = time.monotonic() + deadline_s
        while True:
            self._parse()
            if len(self.frames) >= count:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(1 << 16)
            except socket.timeout:
                return False
            except ConnectionError:
                return False
            if not more:
                return False
            self._bytes += more

    def call(self, *words):
        """The next frame after sending."""
        self.send(*words)
        before = len(self.frames)
        if not self.wait(before + 1):
            raise AssertionError(f"no answer to {words}")
        return self.frames[before]

    def _parse(self):
        at = 0
        while (parsed := self._frame(at)) is not None:
            frame, at = parsed
            self.frames.append(frame)
        self._bytes = self._bytes[at:]

    def _frame(self, at):
        end = self._bytes.find(b"\r\n", at)
        if end < 0:
            return None
        kind, rest = chr(self._bytes[at]), self._bytes[at + 1:end]
        at = end + 2
        if kind in "$=":
            size = int(rest)
            if size < 0:
                return ("$", None), at
            if len(self._bytes) < at + size + 2:
                return None
            return (kind, self._bytes[at:at + size]), at + size + 2
        if kind not in "*>~%":
            return (kind, rest), at
        count = int(rest) * (2 if kind == "%" else 1)
        items = []
        for _ in range(max(count, 0)):
            parsed = self._frame(at)
            if parsed is None:
                return None
            items.append(parsed[0])
            at = parsed[1]
        return (kind, *items), at


MESSAGES = (b"message", b"pmessage", b"smessage", b"invalidate", b"tracking-redir-broken")


def is_message(frame):
    return frame[0] in "*>" and len(frame) > 1 and frame[1][1:2] in [(name,) for name in MESSAGES]


def _replies(connection):
    return sum(not is_message(frame) for frame in connection.frames)


def _with_patterns_in_order(frames):
    """A client that listens to several patterns hears them in the order of a hash table."""
    ordered = list(frames)
    for i in range(len(ordered)):
        at = i
        while at > 0 and all(is_message(f) and f[1][1] == b"pmessage"
                             for f in (ordered[at - 1], ordered[at])) and \
                ordered[at - 1][3:] == ordered[at][3:] and ordered[at] < ordered[at - 1]:
            ordered[at - 1], ordered[at] = ordered[at], ordered[at - 1]
            at -= 1
    return ordered


def _named(item, names):
    """A frame, or a part of one, with who a number is in place of its connection's id."""
    if item[0] == ":" and item[1] in names:
        return (":", names[item[1]])
    return (item[0], *(_named(part, names) if isinstance(part, tuple) else part
                       for part in item[1:]))


def converse(port, steps, protocol, expected=None, pause_s=0):
    """Returns what each connection has received. A step is (connection, words...), and over when it
    has its replies: SUBSCRIBE and its kin have one for each name, a step of "name!" has none. A
    connection begins with its first step; one of "name2" or "name3" speaks that protocol. A word
    ("id", name) is that connection's id, and stands for it in what is returned. With `expected`,
    another server's transcript, it waits for as many frames as that has; `pause_s` passes behind
    each step."""
    connections = {}
    names = {}
    queueing = set()
    try:
        for name, *words in steps:
            silent, name = name.endswith("!"), name.rstrip("!")
            if name not in connections:
                connections[name] = Connection(port)
                speaks = int(name[-1]) if name[-1] in "23" else protocol
                if speaks == 3:
                    connections[name].call("HELLO", 3)
                names[connections[name].call("CLIENT", "ID")[1]] = name
                connections[name].frames.clear()
            connection = connections[name]
            words = [next(i for i in names if names[i] == word[1]) if isinstance(word, tuple)
                     else word for word in words]
            wanted = 1
            if words[0].endswith("SUBSCRIBE") and name not in queueing:
                wanted = max(1, len(words) - 1)
            if words[0] == "MULTI":
                queueing.add(name)
            elif words[0] in ("EXEC", "DISCARD", "RESET"):
                queueing.discard(name)
            before = _replies(connection)
            connection.send(*words)
            end = time.monotonic() + (0 if silent else DEADLINE_S)
            while _replies(connection) < before + wanted and time.monotonic() < end:
                connection.wait(len(connection.frames) + 1)
            time.sleep(pause_s)
        for name, connection in connections.items():
            if expected is not None:
                connection.wait(len(expected[name]) - 1)
            try:
                connection.send("PING", "the end")
            except ConnectionError:
                continue  # the server has closed it
            while connection.wait(len(connection.frames) + 1):
                if "the end" in str(connection.frames[-1]):
                    break
        return {name: [_named(frame, names) for frame in _with_patterns_in_order(each.frames)]
                for name, each in connections.items()}
    finally:
        for connection in connections.values():
            connection.close()
