#!/usr/bin/env python3
"""A thousand sessions while the split marches 10, 50, 100, 0, and what a killed proxy or a killed server does to them."""

import argparse
import asyncio
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from harness.crowd import FAILURES, Crowd, birth, call, homes_of
from harness.install import WORK, Tools
from harness.procs import unwind_on_terminate
from harness.report import to_its_end
from harness.scene import Checks, Scene
from harness.session import EventStream, Session
from harness.wire import Connection

MARCH = ("50:50", "0:100", "100:0")
# The default health rule: how long until a dead entry is down, and until a living one is up again.
INTERVAL, PROBE_TIMEOUT, FALL, RISE = 2, 1, 3, 2
SLACK = 1.5
DOWN_WITHIN = FALL * INTERVAL + PROBE_TIMEOUT + SLACK
UP_WITHIN = RISE * INTERVAL + PROBE_TIMEOUT + SLACK
BIRTH_PAUSE = 0.1


def check_executions(checks, journals, sessions, excused=frozenset()):
    """`excused`: calls that were in flight at a kill; those may be lost, but not doubled."""
    calls = [made for session in sessions for made in session.calls]
    wrong = [made for made in calls if len(journals.executed[made]) not in ((0, 1) if made in excused else (1,))]
    checks.check("every call executed exactly once", not wrong, f"{len(calls)} calls, {len(wrong)} wrong {wrong[:3]}")
    moved = [session.number for session, homes in homes_of(journals, sessions).items() if len(homes) > 1]
    checks.check("no session moved", not moved, f"{len(moved)} of {len(sessions)} {moved[:3]}")


async def open_streams(scene, crowd, per_server):
    """Event streams on the first sessions of each server."""
    streams, taken = [], Counter()
    for session, homes in homes_of(scene.journals(), crowd.sessions).items():
        for server, _ in homes:
            if taken[server] < per_server:
                taken[server] += 1
                streams.append(EventStream(scene.gate.listen, session))
                await streams[-1].open()
    return streams


async def check_streams(checks, scene, streams):
    connection = Connection(scene.gate.listen)
    broken = [f"session {stream.session.number}: {stream.broken}" for stream in streams if stream.broken]
    silent = []
    for stream in streams:
        try:
            await stream.wait_for(await stream.session.call(connection, "announce"))
        except FAILURES as problem:
            silent.append(f"session {stream.session.number}: {problem!r}")
    checks.check("no stream broken", not broken, f"{len(streams)} held, {len(broken)} broken {broken[:3]}")
    checks.check("every stream still delivers", not silent, f"{len(silent)} silent {silent[:3]}")


class ProxyKill:
    """Kills dualgate in the middle of a round, right after a change of split was acknowledged, and starts it again."""

    def __init__(self, scene, crowd, split):
        self._scene, self._crowd, self._split = scene, crowd, split
        self.excused, self.shown, self.took = set(), "", 0.0

    async def strike(self):
        gate, crowd = self._scene.gate, self._crowd
        await asyncio.to_thread(gate.split, self._split)
        crowd.may_call.clear()
        self.excused = {session.calls[-1] for session in crowd.in_flight}
        began = time.monotonic()
        gate.kill()
        await asyncio.to_thread(gate.start)
        self.took = time.monotonic() - began
        self.shown = await asyncio.to_thread(gate.current_split)
        crowd.may_call.set()


async def march(checks, scene, args):
    crowd = Crowd(scene.gate.listen, args.sessions)
    began = time.monotonic()
    await crowd.each(birth)
    checks.check("sessions opened", not crowd.errors, f"{args.sessions} in {time.monotonic() - began:.1f} s {crowd.errors[:3]}")
    births = scene.journals().births()
    wanted = args.sessions / 10
    checks.check("births at 90:10", abs(births["v2"] - wanted) <= 1, dict(births))
    streams = await open_streams(scene, crowd, args.streams // 2)

    kill = ProxyKill(scene, crowd, MARCH[0]) if args.kill_proxy else None
    began = time.monotonic()
    for number in range(args.calls):
        due = [MARCH[number]] if number < len(MARCH) else []

        async def halfway(done):
            if due and done >= args.sessions // 2:
                split = due.pop()
                if kill and number == 0:
                    await kill.strike()
                else:
                    await asyncio.to_thread(scene.gate.split, split)

        await crowd.each(call, halfway)
    seconds = time.monotonic() - began
    made = args.calls * args.sessions
    excused = kill.excused if kill else set()
    errors = [fault for fault in crowd.errors if not excused.intersection(fault.calls)]
    checks.check("calls during the march", not errors, f"{made} in {seconds:.1f} s, {len(errors)} errors {errors[:3]}")
    if kill:
        checks.check("the acknowledged split survived the kill", kill.shown == MARCH[0], f"{kill.shown}")
        checks.check("ready again after the kill", True, f"{kill.took:.2f} s, {len(excused)} calls were in flight")
        for stream in streams:
            await stream.close()
        streams = await open_streams(scene, crowd, args.streams // 2)
    check_executions(checks, scene.journals(), crowd.sessions, excused)
    await check_streams(checks, scene, streams)
    for stream in streams:
        await stream.close()


class Births:
    """New clients, one after the other, and where they were born."""

    def __init__(self, scene):
        self._scene = scene
        self._connection = Connection(scene.gate.listen)
        self._number = 0

    async def one(self):
        """The server's name, or the failure."""
        session = Session(f"new-{self._number}")
        self._number += 1
        try:
            await birth(session, self._connection)
        except FAILURES as problem:
            return repr(problem)
        return next(iter(self._scene.journals().homes(session.calls)))[0]

    async def many(self, count):
        return Counter([await self.one() for _ in range(count)])

    async def until(self, wanted, within):
        """Seconds until a client was born at `wanted` (None: not in time), and what came before."""
        began = time.monotonic()
        seen = Counter()
        while time.monotonic() - began < within:
            home = await self.one()
            if home == wanted:
                return time.monotonic() - began, seen
            seen[home] += 1
            await asyncio.sleep(BIRTH_PAUSE)
        return None, seen


async def kill_server(checks, scene, args):
    births = Births(scene)
    born = await births.many(20)
    checks.check("births at 50:50", abs(born["v2"] - 10) <= 1, dict(born))
    crowd = Crowd(scene.gate.listen, 40)
    await crowd.each(birth)
    at_primary = [s for s, homes in homes_of(scene.journals(), crowd.sessions).items() if "v1" in dict(homes)]
    others = len(crowd.sessions) - len(at_primary)

    scene.servers["v2"].kill()
    killed = time.monotonic()
    window, last_fault = Counter(), 0
    while time.monotonic() - killed < DOWN_WITHIN:
        home = await births.one()
        window[home] += 1
        if home != "v1":
            last_fault = time.monotonic() - killed
        await asyncio.sleep(BIRTH_PAUSE)
    print(f"new clients while the secondary was dying: {dict(window)}, the last failed after {last_fault:.1f} s")
    born = await births.many(20)
    checks.check(f"all new clients at the primary {DOWN_WITHIN} s after the kill", born["v1"] == 20, dict(born))

    crowd.errors.clear()
    await crowd.each(call)
    faults = [fault for fault in crowd.errors if fault.session in at_primary]
    checks.check("sessions of the primary go on", not faults, f"{len(at_primary)} sessions {faults[:3]}")
    print(f"sessions of the killed server: {others}, of which {len(crowd.errors) - len(faults)} got an error")

    await asyncio.to_thread(scene.start, "v2")
    took, seen = await births.until("v2", UP_WITHIN)
    checks.check(f"the secondary gets clients again within {UP_WITHIN} s", took is not None, f"{took and round(took, 1)} s, {dict(seen)}")
    born = await births.many(20)
    checks.check("births at 50:50 again", abs(born["v2"] - 10) <= 1, dict(born))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=WORK, help="packages, logs, journals (default: interop in target)")
    parser.add_argument("--server", choices=("py1", "py2", "ts"), default="py2")
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=4, help="rounds of one call per session")
    parser.add_argument("--streams", type=int, default=20)
    kills = parser.add_mutually_exclusive_group()
    kills.add_argument("--kill-proxy", action="store_true")
    kills.add_argument("--kill-server", action="store_true")
    args = parser.parse_args()
    args.work = args.work.resolve()
    return args


def main():
    args = arguments()
    unwind_on_terminate()
    tools = Tools(args.work)
    checks = Checks()
    began = time.monotonic()
    with ExitStack() as running:
        scene = Scene(tools, args, "50:50" if args.kill_server else "90:10", running)
        asyncio.run((kill_server if args.kill_server else march)(checks, scene, args))
    print(f"\ntook {time.monotonic() - began:.0f} s")
    print(f"{checks.results.count(True)} passed, {checks.results.count(False)} failed")
    sys.exit(0 if all(checks.results) else 1)


if __name__ == "__main__":
    with to_its_end("march.py"):
        main()
