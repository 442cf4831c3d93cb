"""What the benchmarks promise, and whether it held. A figure that a noisy machine gave is no test's
verdict: the bench prints, and never fails."""

_judged = []


def at_most(what, value, bound, form="{:.2f}"):
    """For the cell of a table: the bound and whether it held."""
    return _judge(what, value <= bound, "at most", value, bound, form)


def at_least(what, value, bound, form="{:.2f}"):
    return _judge(what, value >= bound, "at least", value, bound, form)


def _judge(what, met, kind, value, bound, form):
    _judged.append((what, met, kind, form.format(value), form.format(bound)))
    return f"{kind} {form.format(bound)}: {'met' if met else 'MISSED'}"


def print_summary():
    missed = [judged for judged in _judged if not judged[1]]
    print(f"\n## Goals\n\n{len(_judged) - len(missed)} of {len(_judged)} met.")
    for what, _, kind, value, bound in missed:
        print(f" * missed: {what} is {value}, the goal {kind} {bound}")
