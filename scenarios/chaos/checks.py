"""What a history allows: pure functions from what clients saw to a list of violations.

No I/O and no clock in here, so that checks_test.py can hand every check a history that breaks its
rule and demand that the check says so.
"""
import dataclasses

MAX_SHOWN = 20


class Violation(AssertionError):
    """A promise was broken. `expected` is set when a run was meant to break it."""

    expected = False


@dataclasses.dataclass
class Crash:
    """Writes acknowledged in the last `grace_s` before `at` may be gone (any suffix of them).

    `forgets_all`: the node came back with nothing and healed while it served. A DEL that found
    nothing there removed nothing, as its answer said: it does not decide what the key holds.
    """

    at: float
    grace_s: float
    forgets_all: bool = False


def demand(problems, what):
    if problems:
        shown = "\n  ".join(problems[:MAX_SHOWN])
        more = f"\n  and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        raise Violation(f"{what}:\n  {shown}{more}")


def possible_values(operations, crash=None):
    """Values that a key with one writer may have; None is absence.

    An acknowledged operation decides; one of unknown outcome may or may not have happened; a
    crash takes back at most the operations acknowledged within its grace.
    """
    possible = {None}
    crossed = crash is None
    for operation in operations:
        if not crossed and operation.sent_at > crash.at:
            crossed = True
        lost = (not crossed and operation.acked_at is not None
                and operation.acked_at > crash.at - crash.grace_s)
        blind = (operation.found_nothing and crash is not None and crash.forgets_all
                 and operation.sent_at > crash.at)
        if operation.acked_at is None or lost or blind:
            possible = possible | {operation.value}
        else:
            possible = {operation.value}
    return possible


def owned_keys(history, observed, crash=None):
    """Every key with one writer holds its last acknowledged write, and no deleted key is back."""
    problems = []
    for key, operations in sorted(history.items()):
        allowed = possible_values(operations, crash)
        value = observed.get(key)
        if value in allowed:
            continue
        if value is not None and None in allowed:
            kind = "a deleted key is back"
        elif value is None:
            kind = "an acknowledged write is missing"
        else:
            kind = "an older write is back"
        problems.append(f"{key.decode()}: {kind}: holds {value!r}, allowed "
                        f"{sorted(map(repr, allowed))[:4]}")
    return problems


def counters(histories, observed, crashes=None):
    """Every counter holds exactly the acknowledged increments, give or take unknown outcomes.

    histories: {region: {counter: [Increment]}}; crashes: {region: Crash}.
    """
    problems = []
    for name in sorted({name for history in histories.values() for name in history}):
        sure = most = 0
        for region, history in histories.items():
            increments = history.get(name, [])
            sure += sum(1 for one in increments if one.acked_at is not None
                        and not _within_grace(one, (crashes or {}).get(region)))
            most += len(increments)
        value = int(observed.get(name) or 0)
        if not sure <= value <= most:
            expected = sure if sure == most else f"{sure} to {most}"
            problems.append(f"{name.decode()}: holds {value}, {expected} increments were made")
    return problems


def _within_grace(one, crash):
    return crash is not None and crash.at - crash.grace_s < one.acked_at and one.sent_at <= crash.at


def same_data(dumps):
    """All regions hold the same keys with the same values: {region: {key: value}}."""
    problems = []
    (first, base), *others = dumps.items()
    for region, dump in others:
        for key in sorted(base.keys() | dump.keys()):
            if base.get(key) != dump.get(key):
                problems.append(f"{key}: {first} holds {base.get(key)!r}, "
                                f"{region} holds {dump.get(key)!r}")
    return problems


def absent(deleted, observed):
    """None of the keys whose deletion everybody has seen is back."""
    return [f"{key.decode()}: was deleted and is back with {observed[key]!r}"
            for key in sorted(deleted) if observed.get(key) is not None]


def settled(state, seconds, deadline_s):
    """The calm phase ended in equal digests, no tombstones and nothing pending."""
    if seconds is not None:
        return []
    return [f"{deadline_s} s after the calm began: " +
            "; ".join(f"{region} {values}" for region, values in state.items())]


def pairs_agree(observed):
    """Keys that one command writes together ({x}a and {x}b) hold the same value."""
    return [f"{key.decode()} holds {value!r} but its twin holds {observed.get(key[:-1] + b'b')!r}"
            for key, value in sorted(observed.items())
            if key.startswith(b"{pair:") and key.endswith(b"}a")
            and observed.get(key[:-1] + b"b") != value]
