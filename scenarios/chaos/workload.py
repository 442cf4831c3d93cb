"""The load of a scenario: python3-redis clients in threads that write down what they did.

Every operation is recorded with when it was sent and when it was acknowledged. An operation whose
connection broke has an unknown outcome (acked_at None); one that was answered with an error did
nothing. checks.py says which states such a history allows.
"""
import dataclasses
import random
import threading
import time

import redis

GONE = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError)
MAX_TTL_MS = 3000


@dataclasses.dataclass
class Operation:
    value: bytes | None       # what a SET stored; None for a DEL
    sent_at: float
    acked_at: float | None    # None: the outcome is unknown
    found_nothing: bool = False  # a DEL that answered 0


@dataclasses.dataclass
class Increment:
    sent_at: float
    acked_at: float | None


class Writer(threading.Thread):
    """One connection to one region, writing batches at a pace until stop() or its quota."""

    def __init__(self, cluster, region, seed, per_second=400, batch=10, quota=None):
        super().__init__(daemon=True, name=f"{type(self).__name__}-{region}")
        self.region = region
        self.random = random.Random(f"{seed}-{region}-{type(self).__name__}")
        self.errors = {}              # error text -> how often it was answered
        self.lost_connections = 0
        self.done = 0                 # operations acknowledged
        self.failure = None
        self._client = cluster.client(region, timeout=10)
        self._pause_s = batch / per_second
        self._batch = batch
        self._quota = quota
        self._stopping = threading.Event()

    def commands(self, count):
        """Returns `count` (command words, note) pairs. Called on the writer's thread."""
        raise NotImplementedError

    def record(self, note, sent_at, acked_at, reply):
        """Called once per command that was not refused."""
        raise NotImplementedError

    def stop(self):
        self._stopping.set()

    def finished(self):
        return not self.is_alive()

    def run(self):
        try:
            next_at = time.monotonic()
            while not self._stopping.is_set() and self._quota != 0:
                self._one_batch()
                next_at = max(next_at + self._pause_s, time.monotonic() - 1)
                time.sleep(max(0.0, next_at - time.monotonic()))
        except Exception as error:  # noqa: BLE001: the scenario reports it as its own failure
            self.failure = error

    def _one_batch(self):
        count = self._batch if self._quota is None else min(self._batch, self._quota)
        batch = self.commands(count)
        pipe = self._client.pipeline(transaction=False)
        for words, _ in batch:
            pipe.execute_command(*words)
        sent_at = time.time()
        try:
            replies = pipe.execute(raise_on_error=False)
        except GONE as error:
            self.lost_connections += 1
            if not _never_sent(error):
                for _, note in batch:
                    self.record(note, sent_at, None, None)
            self._stopping.wait(0.05)
            return
        acked_at = time.time()
        for (_, note), reply in zip(batch, replies):
            if isinstance(reply, Exception):
                text = str(reply)
                self.errors[text] = self.errors.get(text, 0) + 1
                continue
            self.done += 1
            if self._quota is not None:
                self._quota -= 1
            self.record(note, sent_at, acked_at, reply)


def _never_sent(error):
    """A refused connection carried nothing; anything else may have."""
    return isinstance(error, redis.ConnectionError) and "Connection refused" in str(error)


class OwnedKeys(Writer):
    """SET and DEL on keys that only this writer touches: their end state is known exactly."""

    def __init__(self, cluster, region, seed, keys=400, deletes=0.3, value_bytes=24, tag="a",
                 **pace):
        super().__init__(cluster, region, seed, **pace)
        self.history = {}             # key -> [Operation]
        self.rename(tag)
        self._keys = keys
        self._deletes = deletes
        self._padding = b"." * value_bytes
        self._sequence = 0

    def rename(self, tag):
        """Before start(): keys of another tag are other keys."""
        self._prefix = b"own:%s:%s:" % (tag.encode(), self.region.encode())

    def commands(self, count):
        batch = []
        for _ in range(count):
            self._sequence += 1
            key = self._prefix + b"%d" % self.random.randrange(self._keys)
            if self.random.random() < self._deletes:
                batch.append((("DEL", key), (key, None)))
            else:
                value = b"%d%s" % (self._sequence, self._padding)
                batch.append((("SET", key, value), (key, value)))
        return batch

    def record(self, note, sent_at, acked_at, reply):
        key, value = note
        found_nothing = value is None and reply == 0
        self.history.setdefault(key, []).append(Operation(value, sent_at, acked_at, found_nothing))


class Counters(Writer):
    """INCR on counters that every region increments; nobody ever resets them."""

    NAMES = [b"hits:%d" % i for i in range(8)]

    def __init__(self, cluster, region, seed, **pace):
        super().__init__(cluster, region, seed, **pace)
        self.history = {}             # counter -> [Increment]

    def commands(self, count):
        names = self.random.choices(self.NAMES, k=count)
        return [(("INCR", name), name) for name in names]

    def record(self, note, sent_at, acked_at, reply):
        self.history.setdefault(note, []).append(Increment(sent_at, acked_at))


class SharedKeys(Writer):
    """Every region writes the same few keys in every way: only agreement can be demanded.

    Its pairs ({pair:region:n}a and b) are written by one MSET, so they are equal at any moment.
    """

    def __init__(self, cluster, region, seed, keys=50, ttl_ms=(50, MAX_TTL_MS), **pace):
        super().__init__(cluster, region, seed, **pace)
        self._keys = keys
        self._ttl_ms = ttl_ms
        self._sequence = 0

    def commands(self, count):
        return [(self._one(), None) for _ in range(count)]

    def _one(self):
        self._sequence += 1
        dice = self.random.random()
        number = self.random.randrange(self._keys)
        value = f"{self.region}-{self._sequence}"
        if dice < 0.35:
            return "SET", f"shared:{number}", value
        if dice < 0.45:
            return "SET", f"shared:{number}", value, "PX", self.random.randrange(*self._ttl_ms)
        if dice < 0.60:
            return "DEL", f"shared:{number}"
        if dice < 0.70:
            return "APPEND", f"shared:{number}", "+"
        if dice < 0.75:
            return "PERSIST", f"shared:{number}"
        if dice < 0.80:
            return "PEXPIRE", f"shared:{number}", self.random.randrange(*self._ttl_ms)
        if dice < 0.90:
            return "INCRBY", f"reset:{number}", self.random.randrange(-5, 10)
        if dice < 0.93:
            return "SET", f"reset:{number}", self.random.randrange(1000)
        if dice < 0.96:
            return "DEL", f"reset:{number}"
        pair = f"{{pair:{self.region}:{number}}}"
        return "MSET", f"{pair}a", value, f"{pair}b", value

    def record(self, note, sent_at, acked_at, reply):
        pass


class PairReader(Writer):
    """Reads other regions' pairs while they change and keeps those that it saw torn."""

    def __init__(self, cluster, region, seed, keys=50, **pace):
        super().__init__(cluster, region, seed, **pace)
        self.torn = []
        self._owners = [other for other in cluster.regions if other != region]
        self._keys = keys

    def commands(self, count):
        pairs = [f"{{pair:{self.random.choice(self._owners)}:{self.random.randrange(self._keys)}}}"
                 for _ in range(count)]
        return [(("MGET", f"{pair}a", f"{pair}b"), pair) for pair in pairs]

    def record(self, note, sent_at, acked_at, reply):
        if reply and reply[0] != reply[1]:
            self.torn.append(f"{self.region} read {note} as {reply[0]!r} and {reply[1]!r}")


class Load:
    """A set of writers that run together. Threads: start, stop and wait from one thread."""

    def __init__(self, writers):
        self.writers = list(writers)

    def __enter__(self):
        for writer in self.writers:
            writer.start()
        return self

    def __exit__(self, kind, error, trace):
        self.stop()

    def stop(self):
        for writer in self.writers:
            writer.stop()
        self.wait(60)

    def wait(self, deadline_s):
        """Until every writer has done its quota (or was stopped)."""
        end = time.monotonic() + deadline_s
        for writer in self.writers:
            writer.join(max(0.0, end - time.monotonic()))
            if writer.failure:
                raise writer.failure
            if writer.is_alive():
                raise TimeoutError(f"{writer.name} did not finish in {deadline_s} s; errors: "
                                   f"{writer.errors}, connections lost: {writer.lost_connections}")

    def of(self, kind):
        return [writer for writer in self.writers if isinstance(writer, kind)]

    def histories(self, kind):
        """The histories of all writers of a kind: {region: {key: [operations]}}."""
        found = {}
        for writer in self.of(kind):
            found.setdefault(writer.region, {}).update(writer.history)
        return found

    def acknowledged(self):
        return sum(writer.done for writer in self.writers)

    def refusals(self):
        """Errors answered and connections lost, as lines; empty when every write was served."""
        return [f"{writer.name}: errors {writer.errors}, connections lost {writer.lost_connections}"
                for writer in self.writers if writer.errors or writer.lost_connections]


def everything(cluster, seed, regions=None, per_second=300, **shared):
    """The mixed load most scenarios run: owned keys, shared keys and counters in every region."""
    writers = []
    for region in regions or cluster.regions:
        writers.append(OwnedKeys(cluster, region, seed, per_second=per_second))
        writers.append(SharedKeys(cluster, region, seed, per_second=per_second / 2, **shared))
        writers.append(Counters(cluster, region, seed, per_second=per_second))
        writers.append(PairReader(cluster, region, seed, per_second=per_second / 3))
    return Load(writers)
