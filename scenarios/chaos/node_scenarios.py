"""Scenarios about one node's environment: its disk."""
import os
import resource
import signal
import subprocess
import tempfile
import time

import redis

from checks import Violation, demand
from scenario import scenario

DISK_BYTES = 96 << 20


class SmallDisk:
    """A directory that fills up: a small tmpfs for root, else a limit on the size of files.

    fill() makes every further write fail, free() gives the room back.
    """

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="atoll-disk-")
        self.mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", self.path],
            stderr=subprocess.DEVNULL).returncode == 0
        self._ballast = os.path.join(self.path, "ballast")

    def preexec(self):
        if not self.mounted:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def fill(self, process):
        if not self.mounted:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            return
        with open(self._ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
            except OSError:
                pass

    def free(self, process):
        if self.mounted:
            os.unlink(self._ballast)
        else:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", "-l", self.path], check=False)
        subprocess.run(["rm", "-rf", self.path], check=False)


def _write_until_refused(client, acknowledged, deadline_s):
    """Writes until a reply is an error; returns that error."""
    end = time.monotonic() + deadline_s
    unknown = 0
    while time.monotonic() < end:
        number = len(acknowledged) + unknown
        try:
            client.set(f"disk:{number}", f"{number}:" + "v" * 2000)
        except redis.ResponseError as error:
            return error
        except (redis.TimeoutError, redis.ConnectionError):
            unknown += 1  # it met the full disk itself: its answer waits for the disk
            demand([f"{unknown} writes hang"] if unknown > 1 else [], "a full disk answers MISCONF")
            continue
        acknowledged.append(number)
    raise Violation(f"{deadline_s} s after the disk was full writes are still acknowledged")


def _full_disk(run, appendfsync):
    with SmallDisk() as disk:
        run.say("on a small tmpfs" if disk.mounted else "under a file size limit: not root")
        with run.cluster(appendfsync=appendfsync, per_region={"us": {
                "dir": os.path.join(disk.path, "data")}}) as cluster:
            node = cluster.nodes["us"]
            if not disk.mounted:
                node.stop()
                node._preexec = disk.preexec
                node.start()
            client = cluster.client("us", timeout=3)
            acknowledged = []
            for number in range(2000):
                client.set(f"disk:{number}", f"{number}:" + "v" * 2000)
                acknowledged.append(number)
            disk.fill(node)
            error = _write_until_refused(client, acknowledged, 30)
            run.say(f"refused: {error}")
            demand([str(error)] if "MISCONF" not in repr(error) and
                   not str(error).startswith("MISCONF") else [], "a full disk answers MISCONF")
            demand([] if client.get("disk:0") else ["disk:0"], "reads go on")
            demand([] if cluster.client("eu").set("elsewhere", "1") else ["eu"],
                   "other regions go on")
            disk.free(node)
            end = time.monotonic() + 30
            while True:
                try:
                    client.set("after", "room")
                    break
                except redis.ResponseError:
                    if time.monotonic() > end:
                        raise Violation("30 s after there was room again writes are refused")
                    time.sleep(0.2)
            run.say("writes are served again")
            node.kill()
            cluster.links.isolate("us")
            node.start()
            client = cluster.client("us")
            # everysec: what was acknowledged in the second before the kill may be gone.
            sure = acknowledged if appendfsync == "always" else acknowledged[:2000]
            missing = [f"disk:{number}" for number in sure if client.get(f"disk:{number}") is None]
            demand(missing, "what was acknowledged before the disk was full is there")
            cluster.links.heal_all()
            run.calm(cluster)


@scenario(timeout_s=180)
def full_disk_fsync_always(run):
    """The disk of a region fills up.

    Workload:  SETs of 2 KB to us, appendfsync always.
    Faults:    us's disk is full, then has room again; then kill -9.
    Invariant: MISCONF for writes and only for them; writes again once there is room; nothing
               acknowledged is missing.
    """
    _full_disk(run, "always")


@scenario(timeout_s=180)
def full_disk_fsync_everysec(run):
    """The disk of a region fills up.

    Workload:  SETs of 2 KB to us, appendfsync everysec.
    Faults:    us's disk is full, then has room again; then kill -9.
    Invariant: MISCONF for writes and only for them; writes again once there is room.
    """
    _full_disk(run, "everysec")
