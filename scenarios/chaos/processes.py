"""Child processes of a scenario: started in a directory, paused, killed, and never left behind.

Every child gets PR_SET_PDEATHSIG, so that a runner which is itself killed (a test's TIMEOUT)
leaves no server on the machine. Ports come from below the kernel's ephemeral range: a port taken
from above it may be the source port of some connection at the moment a server comes back to it.
"""
import ctypes
import os
import random
import signal
import socket
import subprocess
import time

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_ports_given = set()


class EnvironmentFailure(Exception):
    """The scenario could not be staged (a server did not start, a port was taken)."""


def free_port():
    """A loopback port that nobody listens on and that this process has not handed out before."""
    for _ in range(1000):
        port = random.SystemRandom().randint(20000, 31999)
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port
    raise EnvironmentFailure("no free port between 20000 and 31999")


def wait_until(condition, deadline_s, what, every_s=0.05):
    """Polls until condition() is true; raises EnvironmentFailure naming `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise EnvironmentFailure(f"after {deadline_s:g} s still not: {what}")
        time.sleep(every_s)


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
        return True
    except OSError:
        return False


class Process:
    """One child process whose output goes to a file; may be started again after it ended."""

    def __init__(self, name, argv, directory, preexec=None):
        self.name = name
        self.argv = list(argv)
        self.directory = directory
        self.output_path = os.path.join(directory, f"{name}.out")
        self._preexec = preexec
        self._child = None

    @property
    def pid(self):
        return self._child.pid

    def running(self):
        return self._child is not None and self._child.poll() is None

    def _before_exec(self):
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if self._preexec:
            self._preexec()

    def spawn(self, stdin=subprocess.DEVNULL, stdout=None):
        if self.running():
            raise EnvironmentFailure(f"{self.name} is running already")
        with open(self.output_path, "ab") as output:
            self._child = subprocess.Popen(
                self.argv, cwd=self.directory, stdin=stdin, stdout=stdout or output,
                stderr=output, start_new_session=True, preexec_fn=self._before_exec)
        return self._child

    def signal(self, number):
        self._child.send_signal(number)

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """kill -9: no goodbye, no sync. Returns the moment after which nothing more ran."""
        if self.running():
            self._child.kill()
            self._child.wait()
        return time.time()

    def stop(self, deadline_s=30):
        """SIGTERM; the exit status. A process that does not end in time is a failure."""
        if not self.running():
            return self._child.returncode if self._child else 0
        self._child.send_signal(signal.SIGCONT)
        self._child.terminate()
        try:
            return self._child.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise EnvironmentFailure(f"{self.name} did not end within {deadline_s} s of SIGTERM")

    def tail(self, lines=25):
        try:
            with open(self.output_path, "r", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""
