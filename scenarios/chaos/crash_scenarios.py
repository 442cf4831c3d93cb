"""Scenarios about nodes that die, lose their disk or are restarted in order."""
import shutil
import time

import checks
from checks import Crash, demand
from processes import wait_until
from scenario import scenario
from workload import Counters, Load, OwnedKeys, everything

# What everysec may lose: the last second before the crash.
EVERYSEC_GRACE_S = 1.0


def _local(cluster, region):
    """One region's own view, before any other region could have healed it."""
    return {key: value for (db, key), value in cluster.dump(region).items() if db == 0}


def _states(cluster, region, keys):
    """What GEO EXPLAIN says of keys of one region, for a failure's message."""
    states = {}
    for db in {db for db, _ in keys}:
        names = [name for number, name in keys if number == db]
        pipe = cluster.client(region, db=db).pipeline(transaction=False)
        for name in names:
            pipe.execute_command("GEO", "EXPLAIN", name)
        states.update({(db, name): state for name, state in zip(names, pipe.execute())})
    return states


def _kill_alone(run, cluster, grace_s):
    """kill -9 of us while nobody can give it back what it forgot; its disk alone must answer."""
    run.say("killing us while it is cut off")
    cluster.links.isolate("us")
    load = Load([kind(cluster, "us", run.seed, per_second=2000, **more)
                 for kind, more in ((OwnedKeys, {"tag": "alone"}), (Counters, {}))])
    with load:
        time.sleep(4)
        crash = Crash(cluster.nodes["us"].kill(), grace_s)
        time.sleep(0.2)
    cluster.start_node("us")
    data = _local(cluster, "us")
    run.say(f"{load.acknowledged()} acknowledged writes are checked against its disk")
    run.check_history(load, data, {"us": crash})
    cluster.links.heal_all()
    run.calm(cluster, load, {"us": crash})
    # The counters of this round are forgotten, so that the next one starts from zero.
    cluster.client("us").delete(*Counters.NAMES)
    run.calm(cluster)


def _kill_in_company(run, cluster, grace_s):
    """kill -9 of us under load in all regions; it goes on writing after its restart."""
    with everything(cluster, run.seed) as load:
        time.sleep(3)
        run.say("killing us")
        crash = Crash(cluster.nodes["us"].kill(), grace_s)
        time.sleep(1.5)
        elsewhere = _local(cluster, "eu")
        cluster.start_node("us")
        time.sleep(3)
        data = run.calm(cluster, load, {"us": crash})
    # Keys that us did not touch again hold at least what eu had of them when us died.
    history = load.histories(OwnedKeys)["us"]
    untouched = [key for key, operations in history.items() if operations[-1].sent_at < crash.at]
    demand([f"{key.decode()}: eu had {elsewhere.get(key)!r}, now {data.get(key)!r}"
            for key in untouched if elsewhere.get(key) != data.get(key)],
           "what was shipped before the crash comes back to the region that forgot it")


@scenario(timeout_s=180)
def kill_with_fsync_always(run):
    """A node dies with kill -9 and has synced every write before it answered.

    Workload:  owned keys and counters on us alone, then everything in three regions.
    Faults:    us is killed while cut off from the others, then again in company.
    Invariant: nothing acknowledged is missing, not even before other regions could help.
    """
    with run.cluster(appendfsync="always") as cluster:
        _kill_alone(run, cluster, 0.0)
        _kill_in_company(run, cluster, 0.0)


@scenario(timeout_s=180)
def kill_with_fsync_everysec(run):
    """A node dies with kill -9 and syncs once a second.

    Workload:  as kill_with_fsync_always.
    Faults:    as kill_with_fsync_always.
    Invariant: at most the last second is missing; what other regions had of it comes back, and
               counters never count a forgotten increment twice.
    """
    with run.cluster(appendfsync="everysec") as cluster:
        _kill_alone(run, cluster, EVERYSEC_GRACE_S)
        _kill_in_company(run, cluster, EVERYSEC_GRACE_S)


@scenario(timeout_s=120)
def disk_lost(run):
    """A region loses its disk and starts again with nothing.

    Workload:  everything, in three regions.
    Faults:    eu is killed, its directory removed, and it is started again under load.
    Invariant: it heals from the others, reuses no stamp and continues no counter entry.
    """
    with run.cluster() as cluster, everything(cluster, run.seed) as load:
        time.sleep(3)
        crash = Crash(cluster.nodes["eu"].kill(), EVERYSEC_GRACE_S, forgets_all=True)
        shutil.rmtree(cluster.nodes["eu"].data_dir)
        time.sleep(1)
        cluster.start_node("eu")
        time.sleep(4)
        run.calm(cluster, load, {"eu": crash})


@scenario(timeout_s=120)
def disk_lost_behind_a_cut(run):
    """A region loses its disk, and who knows its last writes cannot be reached when it comes back.

    Workload:  eu counts to 150 and sets keys, then begins anew and counts 10 more.
    Faults:    ap misses the second half of it; eu loses its disk and hears from ap alone.
    Invariant: all 160 count, and all keys are there, once us is back with the other half.
    """
    with run.cluster() as cluster:
        _count(cluster, "eu", "early", 100)
        run.calm(cluster)
        cluster.links.cut("eu", "ap")
        cluster.links.cut("us", "ap")
        _count(cluster, "eu", "late", 50)
        # The last thing written: it comes after the tally.
        wait_until(lambda: cluster.client("us").get("late:49") == b"49", 10, "us has all of eu's")
        run.say("eu loses its disk; ap knows 100 of its 150, us all of them and is cut off")
        cluster.nodes["eu"].kill()
        shutil.rmtree(cluster.nodes["eu"].data_dir)
        cluster.links.isolate("us")
        cluster.links.heal("eu", "ap")
        cluster.start_node("eu")
        end = time.monotonic() + 15
        while (tally := cluster.client("eu").get("tally")) != b"100":
            demand([f"tally is {tally!r}"] if time.monotonic() > end else [], "eu heals from ap")
            time.sleep(0.05)
        _count(cluster, "eu", "after", 10)
        time.sleep(1)
        data = run.calm(cluster)
        demand([f"tally is {data.get(b'tally')!r}"] if data.get(b"tally") != b"160" else [],
               "160 increments were acknowledged")
        keys = [b"%s:%d" % (tag, i) for tag, count in
                ((b"early", 100), (b"late", 50), (b"after", 10)) for i in range(count)]
        demand([f"{key.decode()} is missing" for key in keys if key not in data],
               "every key that was set is there")


def _count(cluster, region, tag, count):
    client = cluster.client(region)
    for i in range(count):
        client.incr("tally")
        client.set(f"{tag}:{i}", i)


@scenario(timeout_s=120)
def memory_only_node_restarts(run):
    """A node without appendonly dies: its log was memory.

    Workload:  everything, in three regions, appendonly no.
    Faults:    eu is killed and started again with nothing.
    Invariant: it heals by slots from the others; the others lose nothing of theirs.
    """
    with run.cluster(appendonly="no", save='""') as cluster, everything(cluster, run.seed) as load:
        time.sleep(3)
        crash = Crash(cluster.nodes["eu"].kill(), EVERYSEC_GRACE_S, forgets_all=True)
        time.sleep(1)
        cluster.start_node("eu")
        time.sleep(4)
        run.calm(cluster, load, {"eu": crash})


@scenario(timeout_s=120)
def orderly_restart(run):
    """All regions are stopped with SIGTERM and started again: ./dev down, ./dev up.

    Workload:  everything, numbered databases and TTLs.
    Faults:    none but the stop.
    Invariant: every region comes back with exactly what it had, alone and before it hears from
               the others; counters and TTLs go on.
    """
    with run.cluster() as cluster:
        with everything(cluster, run.seed) as load:
            time.sleep(3)
            client = cluster.client("us", db=3)
            client.set("in-three", "x", ex=1000)
            data = run.calm(cluster, load)
        demand(checks.counters(load.histories(Counters), data), "counters are exact")
        before = cluster.dump("us")
        states = {region: _states(cluster, region, before) for region in cluster.regions}
        for region in cluster.regions:
            status = cluster.nodes[region].stop()
            demand([f"{region} ended with status {status}"] if status else [],
                   "SIGTERM is an orderly end")
        for server in cluster.nats.values():
            server.kill()
        for region in cluster.regions:
            cluster.start_node(region)
            # Keys with a TTL of the load may have expired meanwhile; none may have appeared.
            after = cluster.dump(region)
            now = _states(cluster, region, before)
            lost = [f"{region} lost {key} = {value!r}, {states[region][key]}; has "
                    f"{after.get(key)!r}, {now[key]}" for key, value in before.items()
                    if after.get(key) != value and not key[1].startswith(b"shared:")]
            demand(lost, "an orderly stop keeps the data")
            demand([f"{region} grew {key}" for key in after if key not in before],
                   "an orderly stop keeps the data")
        ttl = cluster.client("ap", db=3).ttl("in-three")
        demand([f"its TTL is {ttl}"] if not 900 < ttl <= 1000 else [], "a TTL survives a restart")
        for server in cluster.nats.values():
            server.start()
        cluster.wait_connected()
        for region in cluster.regions:
            cluster.client(region).incr("after")
        data = run.calm(cluster)
        demand([f"after is {data.get(b'after')!r}"] if data.get(b"after") != b"3" else [],
               "counters go on")


@scenario(timeout_s=1200, long=True)
def soak(run):
    """Everything at once, chosen by the seed, for ten minutes.

    Workload:  everything, in three regions, appendfsync always.
    Faults:    links cut, frozen and slowed, NATS killed, nodes frozen, killed and restarted.
    Invariant: after every round of faults the regions converge and the histories hold.
    """
    end = time.monotonic() + (run.seconds or 600)
    round_number = 0
    with run.cluster(appendfsync="always") as cluster:
        while time.monotonic() < end:
            round_number += 1
            load = everything(cluster, run.seed + round_number, per_second=200)
            for writer in load.of(OwnedKeys):
                writer.rename(f"round{round_number}")
            load.writers = [w for w in load.writers if not isinstance(w, Counters)]
            with load:
                for _ in range(run.random.randrange(2, 6)):
                    _random_fault(run, cluster)
                    time.sleep(run.random.uniform(0.2, 3))
                for node in cluster.nodes.values():
                    if not node.running():
                        node.start()
                for server in cluster.nats.values():
                    if not server.running():
                        server.start()
                cluster.links.heal_all()
                run.calm(cluster, load)


def _random_fault(run, cluster):
    region = run.random.choice(cluster.regions)
    a, b = run.random.choice(cluster.links.pairs())
    node, nats = cluster.nodes[region], cluster.nats[region]
    fault = run.random.choice(["cut", "freeze", "delay", "heal", "nats", "freeze node", "kill",
                               "restart"])
    run.say(f"{fault}: {a}-{b} or {region}")
    if fault == "cut":
        cluster.links.cut(a, b)
    elif fault == "freeze":
        cluster.links.freeze(a, b)
    elif fault == "delay":
        cluster.links.delay(a, b, run.random.uniform(0.01, 0.5))
    elif fault == "heal":
        cluster.links.heal_all()
    elif fault == "nats":
        nats.kill()
        time.sleep(run.random.uniform(0, 2))
        nats.start()
    elif fault == "freeze node":
        node.pause()
        time.sleep(run.random.uniform(0, 3))
        node.resume()
    elif fault == "kill":
        node.kill()
        time.sleep(run.random.uniform(0, 2))
        node.start()
    else:
        node.stop()
        node.start()
