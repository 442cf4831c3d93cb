"""Resident bytes per key."""
import time

from contenders import KEYS, Redis, bare_atoll, fill, resident_bytes, running
from goals import at_most

CASES = (("8 B", 8, None, 62), ("64 B", 64, None, 118),
         ("64 B with TTL", 64, (b"EX", b"864000"), 126))


def memory(quick):
    count = 200_000 if quick else KEYS
    print(f"\n## Memory\n\nResident bytes per key after {count:,} keys of 16 bytes.\n\n"
          "| value | redis | atoll | of redis | goal |\n|---|---:|---:|---:|---|", flush=True)
    for title, size, ttl, bound in CASES:
        used = {}
        for name, make in (("redis", Redis), ("atoll", bare_atoll)):
            with running(**{name: make}) as servers:
                time.sleep(0.5)
                before = resident_bytes(servers[name].pid)
                fill(servers[name].port, count, size, ttl)
                time.sleep(1.5)
                used[name] = (resident_bytes(servers[name].pid) - before) / count
        print(f"| {title} | {used['redis']:.1f} | {used['atoll']:.1f} | "
              f"{used['atoll'] / used['redis']:.2f} | "
              f"{at_most(f'bytes per key, {title}', used['atoll'], bound, '{:.0f}')} |", flush=True)
