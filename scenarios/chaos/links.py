"""The links between regions: a proxy in front of every region's NATS gateway port.

A gateway advertises its proxy's address, so every gateway connection goes through a proxy. Which
link a connection belongs to is read from the CONNECT line that the connecting server sends
(`"gateway":"us"`): that way one advertised address per region is enough, and addresses that the
servers gossip lead through the same proxy.

  cut    connections of the link are reset and new ones refused
  freeze bytes are held, connections stay up (what a router that drops packets looks like)
  delay  every byte arrives that much later, in order
  heal   back to a plain link

Run as a program it is the proxy; `Links` starts that program and speaks to it over its stdin,
so that moving bytes does not compete with the load's threads for one interpreter.
"""
import asyncio
import os
import re
import subprocess
import sys

from processes import EnvironmentFailure, Process, free_port

_GATEWAY_NAME = re.compile(rb'^CONNECT \{.*?"gateway":"([^"]+)"', re.DOTALL)


class Links:
    """Threads: one. Owns the proxy process. gateway_port: region -> where its gateway listens."""

    def __init__(self, gateway_port, directory):
        self.proxy_port = {region: free_port() for region in gateway_port}
        self.regions = list(gateway_port)
        routes = [f"{r}:{self.proxy_port[r]}:{gateway_port[r]}" for r in gateway_port]
        self._process = Process("links", [sys.executable, os.path.abspath(__file__), *routes],
                                directory)
        self._child = None

    def start(self):
        self._child = self._process.spawn(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self._child.stdout.readline().strip() != b"ready":
            raise EnvironmentFailure("the link proxy did not start:\n" + self._process.tail())

    def stop(self):
        self._process.kill()

    def _tell(self, *words):
        self._child.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self._child.stdin.flush()
        answer = self._child.stdout.readline().strip()
        if answer != b"ok":
            raise EnvironmentFailure(f"the link proxy answered {answer!r}\n" + self._process.tail())

    def cut(self, a, b):
        self._tell("cut", a, b)

    def freeze(self, a, b):
        self._tell("freeze", a, b)

    def delay(self, a, b, seconds):
        self._tell("delay", a, b, seconds)

    def heal(self, a, b):
        self._tell("heal", a, b)

    def pairs(self, region=None):
        every = [(a, b) for i, a in enumerate(self.regions) for b in self.regions[i + 1:]]
        return [pair for pair in every if region is None or region in pair]

    def isolate(self, region):
        for a, b in self.pairs(region):
            self.cut(a, b)

    def heal_all(self):
        for a, b in self.pairs():
            self.heal(a, b)


class PlainLinks:
    """In place of Links where nothing will be cut: gateways meet without a proxy."""

    def __init__(self, gateway_port, _directory):
        self.proxy_port = dict(gateway_port)
        self.regions = list(gateway_port)

    def start(self):
        pass

    def stop(self):
        pass

    def heal_all(self):
        pass


class _Link:
    def __init__(self):
        self.cut = False
        self.delay_s = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.writers = set()

    def set(self, mode, seconds=0.0):
        self.cut = mode == "cut"
        self.delay_s = seconds if mode == "delay" else 0.0
        if mode == "freeze":
            self.flowing.clear()
        else:
            self.flowing.set()
        if self.cut:
            for writer in list(self.writers):
                writer.transport.abort()


async def _pump(source, sink, link_of, first=b""):
    """Moves bytes in order, each chunk no earlier than the link's delay after it was read."""
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue(maxsize=1024)

    async def deliver():
        while (item := await queue.get()) is not None:
            due, chunk = item
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            link = link_of()
            if link:
                await link.flowing.wait()
            sink.write(chunk)
            await sink.drain()
        sink.close()

    task = asyncio.create_task(deliver())
    try:
        chunk = first or await source.read(65536)
        while chunk and not task.done():
            link = link_of()
            await queue.put((loop.time() + (link.delay_s if link else 0.0), chunk))
            chunk = await source.read(65536)
        await queue.put(None)
        await task
    except (OSError, asyncio.IncompleteReadError):
        task.cancel()
    sink.transport.abort()


async def _serve(links, region, target_port, reader, writer):
    try:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target_port)
    except OSError:
        writer.transport.abort()
        return
    known = []
    back = asyncio.create_task(_pump(far_reader, writer, lambda: known[0] if known else None))
    try:
        hello = b""
        while not (name := _GATEWAY_NAME.match(hello)):
            chunk = await reader.read(65536)
            if not chunk or len(hello) > 1 << 20:
                raise OSError("no CONNECT")
            hello += chunk
        link = links.setdefault(frozenset((name.group(1).decode(), region)), _Link())
        if link.cut:
            raise OSError("cut")
        known.append(link)
        link.writers |= {writer, far_writer}
        await _pump(reader, far_writer, lambda: link, hello)
        link.writers -= {writer, far_writer}
    except OSError:
        pass
    writer.transport.abort()
    far_writer.transport.abort()
    await back


async def _main(routes):
    links = {}
    for route in routes:
        region, port, target = route.split(":")

        async def accept(reader, writer, region=region, target=int(target)):
            await _serve(links, region, target, reader, writer)

        await asyncio.start_server(accept, "127.0.0.1", int(port))
    print("ready", flush=True)
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        mode, a, b, *rest = line.decode().split()
        links.setdefault(frozenset((a, b)), _Link()).set(mode, *map(float, rest))
        print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
