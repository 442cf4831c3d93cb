#!/usr/bin/python3
"""Writes redis-server's replies into replies.txt, so that replies_test.cpp compares with Redis.

usage: record_replies.py [--check] [file]     --check: only tell whether the file would change

Lines of the file: '# title' begins a group on an empty server, '@resp3' switches its protocol,
a command at the left margin, its reply indented below. Wants redis-server 7.0 in the PATH.
"""
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def quote(data):
    out = ""
    for byte in data:
        if byte in b'"\\':
            out += "\\" + chr(byte)
        elif 32 <= byte < 127:
            out += chr(byte)
        else:
            out += "\\x%02x" % byte
    return '"' + out + '"'


def render(stream):
    line = stream.readline()[:-2]
    kind, rest = chr(line[0]), line[1:]
    if kind in "+-:,(#":
        return line.decode()
    if kind == "_":
        return "nil"
    if kind in "$=":
        size = int(rest)
        if size < 0:
            return "nil"
        data = stream.read(size + 2)[:-2]
        return ("=" if kind == "=" else "") + quote(data)
    count = int(rest)
    if count < 0:
        return "nil*"
    if kind == "%":
        return "{" + ", ".join(render(stream) + ": " + render(stream) for _ in range(count)) + "}"
    items = [render(stream) for _ in range(count)]
    return {"*": "[", "~": "~[", ">": ">["}[kind] + ", ".join(items) + "]"


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.stream = self.socket.makefile("rb")

    def ask(self, *args):
        out = b"*%d\r\n" % len(args)
        for arg in args:
            data = arg.encode() if isinstance(arg, str) else arg
            out += b"$%d\r\n%s\r\n" % (len(data), data)
        self.socket.sendall(out)
        return render(self.stream)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def record(text, client):
    out = []
    for line in text.splitlines():
        if line.startswith("  "):
            continue
        out.append(line)
        if line.startswith("# "):
            client.ask("HELLO", "2")
            client.ask("SELECT", "0")
            client.ask("FLUSHALL")
        elif line == "@resp3":
            client.ask("HELLO", "3")
        elif line:
            out.append("  " + client.ask(*shlex.split(line)))
    return "\n".join(out) + "\n"


def main():
    args = [a for a in sys.argv[1:] if a != "--check"]
    path = Path(args[0]) if args else Path(__file__).with_name("replies.txt")
    old = path.read_text()
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            ["redis-server", "--port", str(port), "--save", "", "--dir", home],
            stdout=subprocess.DEVNULL)
        try:
            for _ in range(100):
                try:
                    client = Client(port)
                    break
                except OSError:
                    time.sleep(0.05)
            new = record(old, client)
        finally:
            server.terminate()
            server.wait()
    if "--check" in sys.argv:
        print("same" if new == old else "different")
        return 0 if new == old else 1
    path.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
