"""What a scenario declares and what runs it.

A scenario says its workload, its faults and its invariant before it starts; it ends in a calm
phase: the load stops, links heal, everybody is up, and within a deadline digests are equal,
tombstones and pending removes are 0, all regions hold the same data, and every writer's own
history agrees with it.
"""
import dataclasses
import inspect
import random
import time

import checks
from checks import demand
from cluster import Cluster
from workload import MAX_TTL_MS, Counters, OwnedKeys, PairReader

SCENARIOS = {}


@dataclasses.dataclass
class Scenario:
    name: str
    body: object
    timeout_s: int
    long: bool
    text: str


def scenario(timeout_s=180, long=False):
    """Registers a function as a scenario; its docstring declares workload, faults, invariant."""
    def register(body):
        text = inspect.getdoc(body) or ""
        for word in ("Workload:", "Faults:", "Invariant:"):
            assert word in text, f"{body.__name__} does not declare its {word}"
        SCENARIOS[body.__name__] = Scenario(body.__name__, body, timeout_s, long, text)
        return body
    return register


class Run:
    """One execution: a seed, the rule that is switched off (if any), and a clock for messages."""

    def __init__(self, seed, disabled_rule=None, seconds=None, calm_deadline_s=60, settings=None):
        self.seed = seed
        self._settings = settings or {}
        self.random = random.Random(seed)
        self.seconds = seconds
        self._calm_deadline_s = calm_deadline_s
        self._disabled_rule = disabled_rule
        self._started = time.monotonic()

    def say(self, text):
        print(f"[{time.monotonic() - self._started:6.1f} s] {text}", flush=True)

    def cluster(self, **options):
        if self._disabled_rule:
            options["debug_disable_rule"] = self._disabled_rule
        options.update(self._settings)
        self.say("starting regions")
        return Cluster(**options)

    def calm(self, cluster, load=None, crashes=None):
        """The calm phase and every check of it. Returns what all regions hold in database 0."""
        if load:
            load.stop()
            self.say(f"calm begins; {load.acknowledged()} operations were acknowledged")
        state, seconds = cluster.settle(self._calm_deadline_s)
        unsettled = checks.settled(state, seconds, self._calm_deadline_s)
        if unsettled and "unreachable" not in state:
            unsettled += cluster.differences()
        demand(unsettled, "the regions converge")
        self.say(f"converged {seconds:.1f} s after the calm began")
        dumps = self._equal_dumps(cluster)
        data = {key: value for (db, key), value in next(iter(dumps.values())).items() if db == 0}
        if load:
            self.check_history(load, data, crashes)
        return data

    @staticmethod
    def _equal_dumps(cluster):
        """Dumps are taken one after the other, and a key may expire between two of them: a
        difference counts when it outlasts the longest TTL of the load."""
        end = time.monotonic() + MAX_TTL_MS / 1000 + 2
        while True:
            dumps = {region: cluster.dump(region) for region in cluster.live()}
            problems = checks.same_data(dumps)
            if not problems:
                return dumps
            if time.monotonic() > end:
                demand(problems, "equal digests mean equal data")
            time.sleep(0.3)

    def check_history(self, load, data, crashes=None):
        crashes = crashes or {}
        for region, history in load.histories(OwnedKeys).items():
            demand(checks.owned_keys(history, data, crashes.get(region)),
                   f"what clients of {region} were told holds")
        demand(checks.counters(load.histories(Counters), data, crashes), "counters are exact")
        demand(checks.pairs_agree(data), "keys written together are equal")
        demand([line for reader in load.of(PairReader) for line in reader.torn],
               "keys written by one command become visible at once")
