#!/usr/bin/env python3
"""Thousands of sessions that do nothing, a tenth of them with a GET stream, and a planned drain: how long until the old
entry is empty, at what pace the new one saw handshakes, and what the proxy's memory is. Afterwards each session makes a
call, which the new entry must have executed, and each stream gets a notification.

No MCP SDK: harness/session.py against servers/light.py. `--rate` is the most handshakes that any second may have.
"""

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from harness.crowd import FAILURES, Crowd, call
from harness.fleet import Front, seal_key
from harness.install import HERE, WORK
from harness.procs import Process, accepts, free_ports, unwind_on_terminate
from harness.report import to_its_end
from harness.scene import Checks
from harness.session import INITIALIZE, EventStream
from harness.verify import Journals
from harness.wire import Connection

DEADLINE = 2
TABLES = """[service.sessions]
on_drain = "rehome"
drain_deadline = "{deadline}s"
{more}
"""
# So many streams are opened, and asked for a notification, at a time.
AT_A_TIME = 20


def resident(pid):
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


class Stage:
    def __init__(self, args, running):
        self.work = args.work / "runs" / "idle"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.logs, ports = {}, free_ports(2)
        for name, port in zip(("primary", "secondary"), ports):
            self.logs[name] = self.work / f"{name}.jsonl"
            self.logs[name].touch()
            command = [sys.executable, HERE / "servers/light.py", "--port", port, "--name", name, "--log", self.logs[name]]
            process = Process(command, self.work / f"{name}.out")
            running.callback(process.stop)
            process.wait_ready(lambda: accepts(port))
        tables = TABLES.format(deadline=DEADLINE, more=args.tables)
        self.front = Front(args.dualgate, {"light": ports}, "100:0", self.work, seal_key(self.work), tables)
        running.callback(self.front.stop)
        self.front.wait_up()

    def resident(self):
        return resident(self.front.pid)

    def handshakes(self, server):
        """When the clients' sessions were opened there, in seconds; health checks do not count."""
        entries = map(json.loads, self.logs[server].read_text().splitlines())
        client = INITIALIZE["clientInfo"]["name"]
        return [entry["time"] for entry in entries if entry.get("event") == "created" and entry["client"] == client]


def most_in_a_second(times):
    """In any second, wherever it begins."""
    times, most, first = sorted(times), 0, 0
    for last, at in enumerate(times):
        while at - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


async def in_turn(items, act):
    """Failures of `act`, a few at a time."""
    queue, failures = list(items), []

    async def work():
        while queue:
            item = queue.pop()
            try:
                await act(item)
            except FAILURES as problem:
                failures.append(f"session {item.session.number}: {problem!r}")

    await asyncio.gather(*(work() for _ in range(AT_A_TIME)))
    return failures


async def announced(port, streams):
    """Streams on which a notification that was asked for did not come."""

    async def ask(stream):
        connection = Connection(port)
        try:
            await stream.wait_for(await stream.session.call(connection, "announce"))
        finally:
            connection.close()

    return await in_turn(streams, ask)


async def open_all(stage, args, checks):
    crowd = Crowd(stage.front.listen, args.sessions, "/light/mcp")

    async def birth(session, connection):
        await session.open(connection)

    began = time.monotonic()
    await crowd.each(birth)
    checks.check("sessions opened", not crowd.errors, f"{args.sessions} in {time.monotonic() - began:.1f} s {crowd.errors[:3]}")
    streams = [EventStream(stage.front.listen, session) for session in crowd.sessions[: args.streams]]
    failures = await in_turn(streams, lambda stream: stream.open())
    failures += await announced(stage.front.listen, streams)
    checks.check("streams opened", not failures, f"{len(streams)}, {len(failures)} failed {failures[:3]}")
    return crowd, streams


async def drain(stage, args, checks):
    empty = stage.resident()
    crowd, streams = await open_all(stage, args, checks)
    await asyncio.sleep(2)
    held = stage.resident()
    print(f"memory of the proxy: {empty / 2**20:.1f} MiB, with the sessions {held / 2**20:.1f} MiB: "
          f"{(held - empty) / args.sessions:.0f} B each")
    began = time.time()
    await asyncio.to_thread(stage.front.each, "split", "0:100")
    took = await asyncio.to_thread(stage.front.empty_within, "primary", DEADLINE + args.within)
    left = sum(stage.front.sessions("primary").values())
    pace = stage.handshakes("secondary")
    print(f"moved: {args.sessions - left} of {args.sessions}, {len(pace)} handshakes from T+{min(pace, default=began) - began:.1f} s "
          f"to T+{max(pace, default=began) - began:.1f} s, {most_in_a_second(pace)} at most in any second")
    after = stage.resident()
    print(f"memory of the proxy after the move: {after / 2**20:.1f} MiB, {(after - held) / args.sessions:+.0f} B for each session")
    checks.check(f"all moved within {args.within} s", took is not None, f"{took and f'{took - DEADLINE:.1f}'} s after the deadline, {left} left")
    if args.rate:
        checks.check(f"never more than {args.rate} handshakes a second", most_in_a_second(pace) <= args.rate, most_in_a_second(pace))
    before = {session: len(session.calls) for session in crowd.sessions}
    await crowd.each(call)
    checks.check("each session goes on", not crowd.errors, f"{len(crowd.errors)} of {args.sessions} failed {crowd.errors[:3]}")
    journals = Journals(stage.logs.values())
    at = Counter(
        home for session, calls in before.items() for made in session.calls[calls:] for home, _ in journals.executed[made]
    )
    checks.check("their calls are executed by the new entry, once", at == {"secondary": args.sessions}, dict(at))
    failures = await announced(stage.front.listen, [stream for stream in streams if not stream.broken])
    broken = [f"session {stream.session.number}: {stream.broken}" for stream in streams if stream.broken]
    checks.check("each stream still delivers", not failures + broken, f"{len(failures)} silent, {len(broken)} broken {(failures + broken)[:3]}")
    for stream in streams:
        await stream.close()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, required=True, help="the binary under test")
    parser.add_argument("--work", type=Path, default=WORK, help="logs, journals (default: interop in target)")
    parser.add_argument("--sessions", type=int, default=5000)
    parser.add_argument("--streams", type=int, default=500, help="so many of them have a GET stream")
    parser.add_argument("--within", type=int, default=60, help="seconds from the deadline until the last has moved")
    parser.add_argument("--rate", type=int, help="the most handshakes that any second may have")
    parser.add_argument("--tables", default="", help="more keys of [service.sessions]")
    args = parser.parse_args()
    args.work, args.dualgate = args.work.resolve(), args.dualgate.resolve()
    return args


def main():
    args = arguments()
    unwind_on_terminate()
    checks = Checks()
    with ExitStack() as running:
        asyncio.run(drain(Stage(args, running), args, checks))
    print(f"{checks.results.count(True)} passed, {checks.results.count(False)} failed")
    sys.exit(0 if all(checks.results) else 1)


if __name__ == "__main__":
    with to_its_end("idle.py"):
        main()
