"""Scenarios about what lies between regions: links, NATS, clocks, regions that go and come."""
import os
import time

import checks
from checks import Violation, demand
from nats_wire import NatsWire
from processes import wait_until
from scenario import scenario
from workload import Counters, Load, OwnedKeys, everything

INCREMENTS_PER_REGION = 20_000


@scenario(timeout_s=240)
def region_cut_off(run):
    """Three regions count and write while links go and come.

    Workload:  20,000 INCRs in each of three regions, beside sets, deletes, expiries and pairs.
    Faults:    ap is cut off for 30 s; later us-eu is frozen for 4 s and eu-ap is slow.
    Invariant: every region serves every write all the time; 60,000 in all, everywhere.
    """
    with run.cluster() as cluster:
        load = everything(cluster, run.seed, per_second=200)
        load.writers = [w for w in load.writers if not isinstance(w, Counters)]
        counting = Load([Counters(cluster, region, run.seed, per_second=480,
                                  quota=INCREMENTS_PER_REGION) for region in cluster.regions])
        with load, counting:
            time.sleep(2)
            run.say("cutting ap off")
            cluster.links.isolate("ap")
            time.sleep(30)
            run.say("healing ap, freezing us-eu, slowing eu-ap")
            cluster.links.heal_all()
            cluster.links.freeze("us", "eu")
            cluster.links.delay("eu", "ap", 0.15)
            time.sleep(4)
            cluster.links.heal_all()
            counting.wait(120)
            load.stop()
        demand(load.refusals() + counting.refusals(), "a cut link refuses nobody")
        data = run.calm(cluster, load)
        run.check_history(counting, data)
        total = sum(int(data.get(name, 0)) for name in Counters.NAMES)
        if total != INCREMENTS_PER_REGION * len(cluster.regions):
            raise Violation(f"{total} increments were counted, "
                            f"{INCREMENTS_PER_REGION * len(cluster.regions)} were made")


@scenario(timeout_s=180)
def nats_servers_restart(run):
    """The wire between the regions dies again and again.

    Workload:  everything, in three regions.
    Faults:    each NATS server is killed for 2 s in turn, then all of them for 5 s.
    Invariant: every region serves every write all the time; nothing is lost or counted twice.
    """
    with run.cluster() as cluster, everything(cluster, run.seed) as load:
        for region, server in cluster.nats.items():
            time.sleep(1.5)
            run.say(f"killing NATS in {region}")
            server.kill()
            time.sleep(2)
            server.start()
        time.sleep(1)
        run.say("killing all NATS servers")
        for server in cluster.nats.values():
            server.kill()
        time.sleep(5)
        for server in cluster.nats.values():
            server.start()
        time.sleep(2)
        load.stop()
        demand(load.refusals(), "a dead NATS server refuses nobody")
        run.calm(cluster, load)


@scenario(timeout_s=120)
def node_frozen(run):
    """A region's node stops answering without closing anything.

    Workload:  everything, in three regions.
    Faults:    eu's node is stopped by SIGSTOP for 8 s.
    Invariant: us and ap serve every write meanwhile; eu catches up.
    """
    with run.cluster() as cluster, everything(cluster, run.seed) as load:
        time.sleep(2)
        cluster.nodes["eu"].pause()
        before = {w.name: w.done for w in load.writers}
        time.sleep(8)
        stuck = [w.name for w in load.writers if w.region != "eu" and
                 w.done - before[w.name] < 100]
        cluster.nodes["eu"].resume()
        demand(stuck, "a region that is down slows no other down")
        time.sleep(2)
        run.calm(cluster, load)


@scenario(timeout_s=180)
def nats_server_frozen(run):
    """A NATS server stands still without closing anything.

    Workload:  24 MB of noise in us.
    Faults:    us's NATS server is stopped by SIGSTOP before it; us's node is told to end.
    Invariant: us answers, notices and ends in order; all is in eu when both are back.
    """
    with run.cluster(regions=("us", "eu")) as cluster:
        us, nats = cluster.nodes["us"], cluster.nats["us"]
        client = us.client()
        nats.pause()
        for number in range(400):
            client.set(f"noise:{number}", os.urandom(60_000))
        wait_until(lambda: us.info("geo")["geo_nats_connected"] == 0, 60,
                   "us notices that its NATS server stands still")
        client.set("noise:last", os.urandom(60_000))
        status = us.stop()
        demand([f"exit status {status}"] if status else [], "us ends in order")
        nats.resume()
        us.start()
        held = run.calm(cluster)
        demand([] if len(held) == 401 else [f"{len(held)} of 401 keys"], "nothing is missing")


def _fill_and_settle(run, cluster, count):
    """Keys that stay and keys that will be deleted, known in every region."""
    client = cluster.client("us")
    for start in range(0, count, 500):
        client.mset({f"{kind}:{i}": f"old-{i}" for i in range(start, start + 500)
                     for kind in ("kept", "gone")})
    run.calm(cluster)
    return [b"gone:%d" % i for i in range(count)]


def _outgrow_the_outbox(cluster, regions, megabytes):
    """Writes more than any outbox of the scenario holds, so that replay cannot reach back."""
    value = "x" * 10_000
    for region in regions:
        client = cluster.client(region)
        for start in range(0, megabytes * 100, 50):
            pipe = client.pipeline(transaction=False)
            for i in range(start, start + 50):
                # Not compressible to nothing, and never twice the same key: nothing coalesces.
                pipe.set(f"bulk:{region}:{i}", f"{i}-{value}-{i * 7919}")
            pipe.execute()


def _says_lapsed(cluster, region):
    return "lapsed" in repr(cluster.client(region).execute_command("GEO", "STATUS"))


def _away(run, leave, come_back):
    with run.cluster(geo_outbox_limit="1mb", geo_horizon_bytes="1mb",
                     auto_aof_rewrite_min_size="1mb", auto_aof_rewrite_percentage="1",
                     geo_compression="no") as cluster:
        gone = _fill_and_settle(run, cluster, 3000)
        leave(cluster)
        with everything(cluster, run.seed, regions=("us", "eu")) as load:
            for region, half in (("us", gone[::2]), ("eu", gone[1::2])):
                client = cluster.client(region)
                for start in range(0, len(half), 100):
                    client.delete(*half[start:start + 100])
            run.say("writing more than the outboxes hold")
            _outgrow_the_outbox(cluster, ("us", "eu"), 8)
            # Silent for five beacons and behind by more than the horizon's bytes: no replay serves it.
            wait_until(lambda: all(_says_lapsed(cluster, region) for region in ("us", "eu")), 30,
                       "ap to lapse")
            run.say("ap comes back")
            come_back(cluster)
            time.sleep(3)
            data = run.calm(cluster, load)
        demand(checks.absent(gone, data), "no deleted key comes back")
        kept = [f"kept:{i} is missing" for i in range(3000) if data.get(b"kept:%d" % i) is None]
        demand(kept, "nothing else is deleted")
        return data


@scenario(timeout_s=180)
def away_past_the_outbox(run):
    """A region is down while the others delete, and write more than their outboxes hold.

    Workload:  3,000 keys deleted in us and eu; 16 MB written against outboxes of 1 MB.
    Faults:    ap's node is stopped all the while, then started.
    Invariant: no deleted key comes back anywhere; ap heals by slots.
    """
    _away(run, leave=lambda cluster: cluster.nodes["ap"].stop(),
          come_back=lambda cluster: cluster.start_node("ap"))


@scenario(timeout_s=180)
def cut_off_past_the_outbox(run):
    """The same with a region that is alive behind a cut link, and writes.

    Workload:  as away_past_the_outbox, and ap sets keys of its own while it is cut off.
    Faults:    ap's links are cut all the while, then healed.
    Invariant: no deleted key comes back; what ap wrote meanwhile is everywhere.
    """
    def leave(cluster):
        cluster.links.isolate("ap")
        time.sleep(1)
        cluster.client("ap").mset({f"island:{i}": f"{i}" for i in range(500)})

    data = _away(run, leave, lambda cluster: cluster.links.heal_all())
    demand([f"island:{i} is missing" for i in range(500) if data.get(b"island:%d" % i) is None],
           "what a cut-off region acknowledged is not lost")


@scenario(timeout_s=120)
def late_writes_meet_tombstones(run):
    """Writes that were overtaken by a delete arrive after it.

    Workload:  ap sets 2,000 keys that us deletes half a second later, and 500 that us deleted
               half a second before.
    Faults:    ap is cut off meanwhile.
    Invariant: the later of the two wins, although the delete came first in us and eu.
    """
    with run.cluster() as cluster:
        doomed = [b"doomed:%d" % i for i in range(2000)]
        spared = [b"spared:%d" % i for i in range(500)]
        us, ap = cluster.client("us"), cluster.client("ap")
        us.mset({key: "old" for key in doomed + spared})
        run.calm(cluster)
        cluster.links.isolate("ap")
        us.delete(*spared)
        time.sleep(0.5)
        ap.mset({key: "late" for key in doomed + spared})
        time.sleep(0.5)
        us.delete(*doomed)
        time.sleep(2)
        data = run.calm(cluster)
        demand(checks.absent(doomed, data), "a delete beats every write before it")
        demand([f"{key.decode()} holds {data.get(key)!r}" for key in spared
                if data.get(key) != b"late"], "a write beats every delete before it")


@scenario(timeout_s=120)
def clock_five_minutes_off(run):
    """One region's wall clock is 5 minutes fast, and later is set right.

    Workload:  everything; then chains in which each region overwrites what it read from another.
    Faults:    eu's clock is 300 s ahead; after an orderly restart it is right again.
    Invariant: a write that observed another one wins, whatever the clocks say; the skew shows.
    """
    with run.cluster(per_region={"eu": {"debug_clock_offset": 300_000}}) as cluster:
        # A deadline is an instant of the wall clock: regions whose clocks differ by 5 minutes
        # disagree for 5 minutes about what has expired, so nothing expires in this load.
        with everything(cluster, run.seed, ttl_ms=(3_600_000, 7_200_000)) as load:
            time.sleep(4)
            for region in ("us", "ap"):
                skew = abs(int(cluster.nodes[region].info("geo")["peer_eu"]["skew_ms"]))
                if not 290_000 < skew < 310_000:
                    raise Violation(f"{region} reports a skew of {skew} ms for eu, whose clock is "
                                    "300,000 ms off")
            run.calm(cluster, load)
        _chain(cluster, "chain:fast", ("eu", "us", "ap", "eu", "ap", "us"))
        run.say("restarting eu with the right time")
        cluster.nodes["eu"].stop()
        cluster.start_node("eu", debug_clock_offset=0)
        cluster.wait_connected()
        _chain(cluster, "chain:fast", ("eu", "us", "eu", "ap"))
        _chain(cluster, "chain:own", ("eu", "eu", "us", "eu"))
        run.calm(cluster)


def _chain(cluster, key, regions):
    """Each region waits until it sees the one before it, then overwrites: the last one wins."""
    last = None
    for step, region in enumerate(regions):
        client = cluster.client(region)
        wait_until(lambda: client.get(key) == last or last is None, 10,
                   f"{region} sees {key} = {last!r}")
        last = f"{step}-{region}".encode()
        client.set(key, last)
    for region in cluster.regions:
        client = cluster.client(region)
        end = time.monotonic() + 10
        while client.get(key) != last:
            if time.monotonic() > end:
                raise Violation(f"{key} is {client.get(key)!r} in {region}; {last!r} was written "
                                "by a client that had seen every earlier value")
            time.sleep(0.05)


@scenario(timeout_s=180)
def empty_region_joins(run):
    """A new region is started beside two that are full and busy.

    Workload:  100,000 keys in us and eu, and everything on top while ap joins.
    Faults:    ap starts with an empty disk.
    Invariant: ap ends with every key; the others serve every write meanwhile.
    """
    with run.cluster(reserve=("ap",)) as cluster:
        client = cluster.client("us")
        for start in range(0, 100_000, 1000):
            client.mset({f"full:{i}": f"value-{i}" for i in range(start, start + 1000)})
        with everything(cluster, run.seed, regions=("us", "eu")) as load:
            time.sleep(1)
            run.say("starting ap")
            cluster.start_node("ap")
            time.sleep(4)
            load.stop()
            demand(load.refusals(), "a joining region slows no other down")
            data = run.calm(cluster, load)
        missing = [f"full:{i} is {data.get(b'full:%d' % i)!r}" for i in range(100_000)
                   if data.get(b"full:%d" % i) != b"value-%d" % i]
        demand(missing, "a joining region receives everything")


@scenario(timeout_s=120)
def operator_quarantine(run):
    """GEO PEER PAUSE is a partition made by hand.

    Workload:  owned keys and counters, in three regions.
    Faults:    us pauses ap for 6 s; a second time us restarts while the pause is on.
    Invariant: nothing crosses the pause in either direction; RESUME or a restart ends it.
    """
    with run.cluster() as cluster:
        writers = [kind(cluster, region, run.seed) for region in cluster.regions
                   for kind in (OwnedKeys, Counters)]
        with Load(writers) as load:
            time.sleep(1)
            us, ap = cluster.client("us"), cluster.client("ap")
            us.execute_command("GEO", "PEER", "ap", "PAUSE")
            time.sleep(1)
            us.set("from:us", "1")
            ap.set("from:ap", "1")
            time.sleep(5)
            crossed = [key for key, client in (("from:us", ap), ("from:ap", us))
                       if client.get(key) is not None]
            demand(crossed, "nothing crosses a pause")
            us.execute_command("GEO", "PEER", "ap", "RESUME")
            run.calm(cluster, load)
        us.execute_command("GEO", "PEER", "ap", "PAUSE")
        cluster.nodes["us"].stop()
        cluster.start_node("us")
        cluster.client("us").set("after", "restart")
        cluster.wait_connected()
        run.calm(cluster)


@scenario(timeout_s=120)
def noise_on_the_wire(run):
    """Somebody else publishes on Atoll's subjects.

    Workload:  owned keys and counters, in three regions.
    Faults:    garbage, truncated and altered copies of real messages on every subject in use.
    Invariant: nothing of it is applied, a metric counts it, no node falls, nothing is lost.
    """
    with run.cluster(geo_compression="no") as cluster:
        writers = [kind(cluster, region, run.seed) for region in cluster.regions
                   for kind in (OwnedKeys, Counters)]
        before = {region: _rejected(cluster, region) for region in cluster.regions}
        with Load(writers) as load:
            ear = NatsWire(cluster.nats["us"].client_port)
            ear.subscribe("atoll.>")
            heard = []
            end = time.monotonic() + 3
            while time.monotonic() < end:
                message = ear.recv(0.2)
                if message:
                    heard.append(message)
            ear.close()
            subjects = sorted({subject for subject, _, _ in heard})
            run.say(f"{len(heard)} messages on {', '.join(subjects)}")
            if not subjects:
                raise Violation("no message was seen on atoll.>, so noise there proves nothing")
            mouth = NatsWire(cluster.nats["eu"].client_port)
            for subject in subjects:
                for garbage in (b"", b"\0", b"hello", b"\xff" * 300, run.random.randbytes(5000)):
                    mouth.publish(subject, garbage)
            for subject, _, payload in run.random.choices(heard, k=300):
                mouth.publish(subject, payload[:run.random.randrange(len(payload) + 1)])
                altered = bytearray(payload)
                for _ in range(3):
                    if altered:
                        altered[run.random.randrange(len(altered))] ^= 1 << run.random.randrange(8)
                mouth.publish(subject, bytes(altered))
            mouth.flush()
            mouth.close()
            time.sleep(2)
            run.calm(cluster, load)
        demand([f"{region} counted nothing" for region in ("us", "ap")
                if _rejected(cluster, region) <= before[region]], "noise is counted")


def _rejected(cluster, region):
    """How many messages a node has refused, whatever the reason."""
    info = cluster.nodes[region].info("geo")
    return sum(value for name, value in info.items()
               if name.startswith("geo_rejected") and isinstance(value, int))


@scenario(timeout_s=120)
def two_regions_with_one_id(run):
    """A region is configured with an id that another one has.

    Workload:  owned keys and counters in us and eu.
    Faults:    a third node comes up as region xx with us's id 1, and writes.
    Invariant: an error in log and metric; nothing of the impostor's is applied; us and eu go on.
    """
    with run.cluster(reserve=("xx",), regions=("us", "eu", "xx"),
                     per_region={"xx": {"region_id": 1}}) as cluster:
        writers = [kind(cluster, region, run.seed) for region in ("us", "eu")
                   for kind in (OwnedKeys, Counters)]
        with Load(writers) as load:
            before = {region: _rejected(cluster, region) for region in ("us", "eu")}
            cluster.start_node("xx")
            impostor = cluster.client("xx")
            try:
                impostor.mset({f"impostor:{i}": "1" for i in range(200)})
            except Exception as error:  # noqa: BLE001: refusing the write is as good an answer
                run.say(f"the impostor's write was refused: {error}")
            time.sleep(4)
            applied = [f"{region} holds {cluster.client(region).exists(*names)} of them"
                       for names in [[f"impostor:{i}" for i in range(200)]]
                       for region in ("us", "eu") if cluster.client(region).exists(*names)]
            demand(applied, "nothing of a region with a stolen id is applied")
            told = [region for region in ("us", "eu", "xx")
                    if "region-id" in cluster.nodes[region].log_text() or
                    "region id" in cluster.nodes[region].log_text()]
            if not told:
                raise Violation("no log says that two regions have one id")
            if all(_rejected(cluster, region) <= before[region] for region in ("us", "eu")):
                raise Violation("no metric counts the impostor's messages")
            cluster.nodes["xx"].kill()
            run.calm(cluster, load)
