"""Polls one region for the probe that another region writes; prints each one's age in ms.

A process of its own: in the writer's interpreter its polling would delay the writes it measures.
A probe's age is taken when the GET that first shows it has answered, so half a polling turn
(tens of microseconds) is on top of the lag.
"""
import socket
import sys
import time


def main(port):
    ages, last = [], b""
    request = b"*3\r\n$4\r\nMGET\r\n$9\r\nlag:probe\r\n$8\r\nlag:stop\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        while True:
            connection.sendall(request)
            reply = connection.recv(4096)
            now = time.time_ns()
            parts = reply.split(b"\r\n")  # *2, $19, probe, $1, stop (or $-1)
            if parts[1] != b"$-1" and parts[2] != last:
                last = parts[2]
                ages.append((now - int(last)) / 1e6)
            if not reply.endswith(b"$-1\r\n"):
                break
            time.sleep(0.0001)
    print("\n".join(f"{age:.3f}" for age in ages), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
