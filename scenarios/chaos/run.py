#!/usr/bin/python3
"""Runs scenarios with real processes.

  run.py --list                         what there is, with what each one declares
  run.py region_cut_off                 one of them
  run.py --seed 7 soak                  its random choices from a seed
  run.py --disable-rule tombstones --expect-violation away_past_the_outbox
                                        passes only if the checks catch the missing rule, in one
                                        of --runs where what comes of it is a matter of timing

Exit status: 0 passed, 1 a promise was broken, 2 the scenario could not be staged.
"""
import argparse
import sys
import time
import traceback

import checks
import crash_scenarios  # noqa: F401: registers its scenarios
import geo_scenarios    # noqa: F401
import node_scenarios   # noqa: F401
from processes import EnvironmentFailure
from scenario import SCENARIOS, Run


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=list(SCENARIOS), metavar="scenario")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seed", type=int, help="default: from the clock; printed first")
    parser.add_argument("--seconds", type=float, help="how long a soak lasts")
    parser.add_argument("--disable-rule", help="a rule of the nodes to switch off")
    parser.add_argument("--set", action="append", default=[], metavar="name=value",
                        help="an option of every node, instead of the scenario's own")
    parser.add_argument("--expect-violation", action="store_true")
    parser.add_argument("--runs", type=int, default=1,
                        help="with --expect-violation: how many may pass before one notices")
    given = parser.parse_args()
    if given.list or not given.name:
        for one in SCENARIOS.values():
            print(f"{one.name}{' (long)' if one.long else ''}\n    " +
                  one.text.replace("\n", "\n    ") + "\n")
        return 0
    seed = given.seed if given.seed is not None else int(time.time()) % 1_000_000
    checks.Violation.expected = given.expect_violation
    chosen = SCENARIOS[given.name]
    print(f"{chosen.name}, seed {seed}\n{chosen.text}\n", flush=True)
    status = stage(chosen, seed, given)
    for again in range(1, given.runs if given.expect_violation else 1):
        if status != 1:
            break
        print("Nothing noticed: another run.\n", flush=True)
        status = stage(chosen, seed + again, given)
    if given.expect_violation and status == 1:
        print("\nThe rule is switched off and nothing noticed: the checks prove nothing.")
    return status


def stage(chosen, seed, given):
    """One run. 0: as it should be, a violation where one is expected; 1: not; 2: not staged."""
    run = Run(seed, given.disable_rule, given.seconds,
              calm_deadline_s=15 if given.expect_violation else 30,
              settings=dict(option.replace("-", "_").split("=", 1) for option in given.set))
    try:
        chosen.body(run)
    except checks.Violation as violation:
        print(f"\nVIOLATED {violation}\n\nagain: scenarios/chaos/run.py --seed {seed} "
              f"{chosen.name}", flush=True)
        return 0 if given.expect_violation else 1
    except EnvironmentFailure as failure:
        print(f"\nNOT STAGED {failure}", flush=True)
        return 2
    except Exception:  # noqa: BLE001: a broken scenario is a failure that needs its traceback
        traceback.print_exc()
        return 2
    if not given.expect_violation:
        run.say("passed")
    return 1 if given.expect_violation else 0


if __name__ == "__main__":
    sys.exit(main())
