"""The few words of the NATS text protocol that a scenario needs to listen in and to lie."""
import json
import socket


class NatsWire:
    """One connection. Threads: one. recv() returns (subject, reply subject or None, payload)."""

    def __init__(self, port, timeout_s=5.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self._file = self._socket.makefile("rb")
        self.server_info = json.loads(self._file.readline()[len("INFO "):])
        self._socket.sendall(b'CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n')
        self.flush()

    def close(self):
        self._socket.close()

    def subscribe(self, subject):
        self._socket.sendall(f"SUB {subject} 1\r\n".encode())
        self.flush()

    def publish(self, subject, payload, reply=""):
        self._socket.sendall(f"PUB {subject} {reply} {len(payload)}\r\n".encode() + payload +
                             b"\r\n")

    def flush(self):
        """Until the server has seen everything sent so far."""
        self._socket.sendall(b"PING\r\n")
        while (line := self._line()) != b"PONG":
            if line.startswith((b"MSG", b"HMSG")):
                self._message(line)

    def recv(self, timeout_s=1.0):
        """The next message, or None when none came in time."""
        self._socket.settimeout(timeout_s)
        try:
            while not (line := self._line()).startswith((b"MSG", b"HMSG")):
                pass
            return self._message(line)
        except TimeoutError:
            # A buffered reader is of no use after a timeout; whatever is on the wire stays there.
            self._file = self._socket.makefile("rb")
            return None
        finally:
            self._socket.settimeout(5.0)

    def _line(self):
        line = self._file.readline()
        if not line:
            raise ConnectionError("the NATS server closed the connection")
        line = line.rstrip(b"\r\n")
        if line == b"PING":
            self._socket.sendall(b"PONG\r\n")
        return line

    def _message(self, line):
        words = line.decode().split(" ")
        payload = self._file.read(int(words[-1]) + 2)[:-2]
        fixed = 6 if words[0] == "HMSG" else 5
        if words[0] == "HMSG":
            payload = payload[int(words[-2]):]
        return words[1], words[3] if len(words) == fixed else None, payload
