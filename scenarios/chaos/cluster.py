"""Regions on this machine for scenarios and end-to-end tests: real nodes, real NATS servers.

`Cluster` is one NATS server and one node per region, joined by gateways whose links can be cut,
frozen and delayed (links.py). All of it lives in one temporary directory, on free loopback ports,
and is gone when the `with` block ends; after a failure the directory stays and its path is said.

The program under test is $ATOLL_BINARY, otherwise build/atoll of this repository.
"""
import os
import shutil
import sys
import tempfile
import time

import redis
import redis.crc

from links import Links, PlainLinks
from processes import (EnvironmentFailure, Process, REPOSITORY, free_port, listens, wait_until)

START_DEADLINE_S = 60
SLOTS = 16384


def binary():
    path = os.environ.get("ATOLL_BINARY") or os.path.join(REPOSITORY, "build", "atoll")
    if not os.access(path, os.X_OK):
        raise EnvironmentFailure(f"there is no program at {path}: run ./dev build first")
    return path


class NatsServer(Process):
    """One region's NATS server: clients on client_port, other regions through links' proxies."""

    def __init__(self, region, gateway_port, links, directory):
        self.client_port = free_port()
        self._gateway_port = gateway_port
        config = os.path.join(directory, "nats.conf")
        super().__init__("nats", ["nats-server", "-c", config], directory)
        remotes = "\n".join(
            f'    {{name: {other}, urls: ["nats://127.0.0.1:{links.proxy_port[other]}"]}}'
            for other in links.regions if other != region)
        with open(config, "w") as file:
            file.write(f"server_name: {region}\nlisten: 127.0.0.1:{self.client_port}\n"
                       f'client_advertise: "127.0.0.1:{self.client_port}"\n'
                       f"gateway {{\n  name: {region}\n  listen: 127.0.0.1:{gateway_port}\n"
                       f'  advertise: "127.0.0.1:{links.proxy_port[region]}"\n'
                       f"  gateways: [\n{remotes}\n  ]\n}}\n")

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.client_port}"

    def start(self):
        self.spawn()
        wait_until(lambda: listens(self.client_port) and listens(self._gateway_port), 15,
                   f"nats-server listens on {self.client_port}")


class Node(Process):
    """One Atoll node. `options` are lines of its configuration file; None leaves one out."""

    def __init__(self, name, directory, options, preexec=None):
        self.port = free_port()
        os.makedirs(directory, exist_ok=True)
        self.options = {"port": self.port, "bind": "127.0.0.1", "dir": directory, "threads": 1,
                        **options}
        self.config_path = os.path.join(directory, f"{name}.conf")
        super().__init__(name, [binary(), "server", self.config_path], directory, preexec)

    @property
    def data_dir(self):
        return self.options["dir"]

    def start(self, wait=True, **options):
        """Writes the configuration (with `options` changed) and waits for the first PONG."""
        self.options.update({name.replace("_", "-"): value for name, value in options.items()})
        os.makedirs(self.data_dir, exist_ok=True)
        with open(self.config_path, "w") as file:
            for name, value in self.options.items():
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        file.write(f"{name} {one}\n")
        self.spawn()
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def ready():
            if not self.running():
                raise EnvironmentFailure(f"{self.name} ended at its start:\n{self.tail()}")
            try:
                return self.client(timeout=1).ping()
            except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
                return False
        wait_until(ready, START_DEADLINE_S, f"{self.name} answers PING on {self.port}")

    def client(self, db=0, timeout=20, **options):
        """A python3-redis client that never retries by itself: a retried INCR counts twice."""
        return redis.Redis(host="127.0.0.1", port=self.port, db=db, socket_timeout=timeout,
                           socket_connect_timeout=5, **options)

    def info(self, section="everything"):
        return self.client().info(section)

    def geo(self, *words):
        return self.client().execute_command("GEO", *words)

    def log_text(self):
        with open(self.output_path, "r", errors="replace") as file:
            return file.read()


class Cluster:
    """Threads: one (clients may be used from any). Owns every process and the directory."""

    def __init__(self, regions=("us", "eu", "ap"), per_region=None, reserve=(), links=Links,
                 **options):
        """options apply to every node, per_region[name] to one. Regions named in `reserve` have
        their NATS server running but no node until start_node(). With PlainLinks no link can be
        cut, and no proxy takes part."""
        self.directory = tempfile.mkdtemp(prefix="atoll-cluster-")
        self.regions = list(regions)
        self._reserve = set(reserve)
        self.keep = False
        gateway_port = {region: free_port() for region in regions}
        self.links = links(gateway_port, self.directory)
        self.nats, self.nodes = {}, {}
        for number, region in enumerate(regions, 1):
            directory = os.path.join(self.directory, region)
            os.makedirs(directory)
            self.nats[region] = NatsServer(region, gateway_port[region], self.links, directory)
            given = {**options, **(per_region or {}).get(region, {})}
            self.nodes[region] = Node(f"node-{region}", directory, {
                "dir": os.path.join(directory, "data"), "region": region, "region-id": number,
                "geo-nats-url": self.nats[region].url, "appendonly": "yes",
                "appendfsync": "everysec",
                **{name.replace("_", "-"): value for name, value in given.items()}})

    def __enter__(self):
        try:
            self.links.start()
            for server in self.nats.values():
                server.start()
            running = [r for r in self.regions if r not in self._reserve]
            for region in running:
                self.nodes[region].start(wait=False)
            for region in running:
                self.nodes[region].wait_ready()
            self.wait_connected()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, error, trace):
        failed = kind is not None or self.keep
        for process in [*self.nodes.values(), *self.nats.values()]:
            if process.running():
                process.resume()
                process.kill()
        self.links.stop()
        if failed and not getattr(error, "expected", False):
            for region, node in self.nodes.items():
                print(f"--- last lines of {region}'s node\n{node.tail()}", flush=True)
            print(f"--- everything is kept in {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def live(self):
        return [region for region in self.regions if self.nodes[region].running()]

    def client(self, region, **options):
        return self.nodes[region].client(**options)

    def start_node(self, region, **options):
        self.nodes[region].start(**options)

    def wait_connected(self, deadline_s=30):
        """Until every running node sees every other running node."""
        live = self.live()

        def connected():
            try:
                return all(self.nodes[r].info("geo").get("geo_peers_connected", 0) >=
                           len(live) - 1 for r in live)
            except (redis.ConnectionError, redis.TimeoutError):
                return False
        wait_until(connected, deadline_s, f"all of {', '.join(live)} see each other", 0.1)

    def dump(self, region):
        """Every key of every database: {(db, key): value}, read with SCAN and pipelined GETs."""
        found = {}
        databases = sorted({0} | {int(name[2:]) for name in self.client(region).info("keyspace")})
        for db in databases:
            client = self.client(region, db=db)
            cursor = None
            while cursor != 0:
                cursor, keys = client.scan(cursor or 0, count=2000)
                values = client.mget(keys) if keys else []
                found.update(((db, key), value) for key, value in zip(keys, values)
                             if value is not None)
        return found

    def geo_state(self):
        """What the calm phase polls, per running region."""
        state = {}
        for region in self.live():
            info = self.nodes[region].info("geo")
            state[region] = {"digest": self.nodes[region].geo("DIGEST"),
                             "tombstones": info.get("geo_tombstones"),
                             "pending": info.get("geo_pending")}
        return state

    def differences(self, shown=4):
        """Lines that say where regions whose digests differ do differ, for a failure's message."""
        digests = {}
        for region in self.live():
            pipe = self.client(region).pipeline(transaction=False)
            for slot in range(SLOTS):
                pipe.execute_command("GEO", "DIGEST", slot)
            digests[region] = pipe.execute()
        slots = {slot for slot, row in enumerate(zip(*digests.values())) if len(set(row)) > 1}
        dumps = {region: self.dump(region) for region in self.live()}
        keys = sorted({key for dump in dumps.values() for key in dump
                       if redis.crc.key_slot(key[1]) in slots})
        lines = [f"{len(slots)} slots differ ({sorted(slots)[:shown]}); visible keys there: {keys[:8]}"]
        for db, key in keys[:shown]:
            for region in self.live():
                state = self.client(region, db=db).execute_command("GEO", "EXPLAIN", key)
                lines.append(f"{region} {key} = {dumps[region].get((db, key))!r}: {state!r}")
        return lines

    def settle(self, deadline_s):
        """The calm: links healed, everybody up. Returns (state, seconds) once digests are equal
        and tombstones and pending are 0; at the deadline returns (state, None)."""
        self.links.heal_all()
        started = time.monotonic()
        state = {}
        while time.monotonic() - started < deadline_s:
            try:
                state = self.geo_state()
            except (redis.ConnectionError, redis.TimeoutError) as error:
                state = {"unreachable": str(error)}
                time.sleep(0.2)
                continue
            if (len({s["digest"] for s in state.values()}) == 1 and
                    all(s["tombstones"] == 0 and s["pending"] == 0 for s in state.values())):
                return state, time.monotonic() - started
            time.sleep(0.2)
        return state, None
