#!/usr/bin/env python3
"""What becomes of open sessions when their server is drained, rolled back or killed, and their proxy too: case by client.

Each client holds its sessions open, every one with a GET stream, and makes calls in all of them meanwhile. Who executed a
call, and how often, is what the servers' journals say. `--write before` or `--write after` puts the table into
docs/rehoming.md, between the comments of that name. `--expect before` judges nothing but the suite itself.
"""

import argparse
import json
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.fleet import Executions, Front, Server, seal_key
from harness.held import Client, Kill, account, total
from harness.install import HERE, WORK, Tools
from harness.matrix import CLIENTS
from harness.procs import free_ports, unwind_on_terminate
from harness.relay import Relay
from harness.report import say, to_its_end
from survive import versions

DOCUMENT = HERE.parent.parent / "docs/rehoming.md"
# Event streams without ids, JSON answers, event streams with ids from three SDKs; one refuses unknown sessions with 400.
KINDS = ("py1-plain", "py1-json", "py2", "ts", "ts-400", "rmcp")
# In (a) alone: from one SDK's server to another's.
MIXED = ("py1-plain", "py2")
# What the configuration says of sessions; a binary from before moves has no word for the pace of a drain. A server that has
# to share its cores with 200 sessions is not down for being late: one that is dead refuses at once.
TABLES = """[service.health]
timeout = "2s"
fall = 6
[service.sessions]
on_drain = "rehome"
drain_deadline = "3s"
{drain_pace}rollback_deadline = "2s"
rollback_pace = "3s"
"""
DRAIN_PACE = {"after": 'drain_pace = "3s"\n', "before": ""}
# After the deadline: so long until the last session of an entry that is drained, or rolled back, has moved. Where nothing
# moves sessions there is nothing to wait for.
MOVED_WITHIN = {"after": 30, "before": 8}
OUTAGE = 1.0
# Between the kill of a proxy and that of a server: clients have opened their streams again by then.
BETWEEN = 4.0
NOTICE_WITHIN = 5


class Stage:
    """Servers for all cases, and what one case puts before them."""

    def __init__(self, tools, args, running):
        self.tools, self.args = tools, args
        self.work = args.work / "runs" / "rehome"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        # One for all replicas.
        self.key = seal_key(self.work)
        self.servers = {
            (kind, slot): Server(tools, kind, f"{kind}-{slot}", self.work, running)
            for kind in args.servers for slot in ("primary", "secondary")
        }

    def all_up(self):
        """Also after a case that has killed some."""
        dead = [server for server in self.servers.values() if not server.alive]
        for server in dead:
            server.start()
        for server in dead:
            server.wait()

    def pairs(self, case):
        """Service -> ports of primary and secondary."""
        kinds = {kind: (kind, kind) for kind in self.args.servers}
        if case.mixed and set(MIXED) <= set(self.args.servers):
            kinds["-".join(MIXED)] = MIXED
        # A port where nobody listens.
        nobody = free_ports(1)[0]
        return {
            name: (self.servers[first, "primary"].port, nobody if case.alone else self.servers[second, "secondary"].port)
            for name, (first, second) in kinds.items()
        }

    def primaries(self):
        return [self.servers[kind, "primary"] for kind in self.args.servers]

    def kill_primaries(self):
        began = time.time()
        for server in self.primaries():
            server.strike()
        killed = [(server.kill(), time.time()) for server in self.primaries()]
        return [Kill(began, ended, {name}) for name, ended in killed]


class Scene:
    """One case: the proxy, or two, and the clients with their sessions."""

    def __init__(self, stage, case, running):
        self.stage, self.case, self.args = stage, case, stage.args
        self.work = stage.work / case.name
        self.pairs = stage.pairs(case)
        self.left = ""
        self.fronts = []
        tables = TABLES.format(drain_pace=DRAIN_PACE[self.args.expect])
        for name in ("one", "two")[: 2 if case.replicas else 1]:
            front = Front(self.args.dualgate, self.pairs, case.split, self.work / name, stage.key, tables)
            running.callback(front.stop)
            self.fronts.append(front)
        for front in self.fronts:
            front.wait_up(("primary",) if case.alone else ("primary", "secondary"))
        port = None
        if case.replicas:
            self.relay = Relay(self.fronts[0].listen)
            running.callback(self.relay.stop)
            port = self.relay.port
        share = self.args.sessions // len(self.args.clients)
        self.clients = []
        for name in self.args.clients:
            prefix = f"{case.name}-{name}"
            urls = self.fronts[0].urls(port)
            client = Client(stage.tools, name, prefix, urls, share, self.args.pace, self.args.births, self.work)
            running.callback(client.stop)
            self.clients.append(client)

    @property
    def front(self):
        return self.fronts[0]

    def each(self, ask):
        """The same of every client at a time: name -> answer."""
        with ThreadPoolExecutor(len(self.clients)) as pool:
            return dict(zip((client.name for client in self.clients), pool.map(ask, self.clients)))

    def order(self, **what):
        return self.each(lambda client: client.order(**what))

    def moved_within(self, entry, deadline):
        """Says how long it took until the entry had no session, by the proxy's own account."""
        limit = deadline + MOVED_WITHIN[self.args.expect]
        took = self.front.empty_within(entry, limit)
        if took is None:
            self.left = f"{entry} still has sessions after {limit} s: {self.front.sessions(entry)}"
        print(f"    {self.case.name}: {self.left or f'{entry} empty after {took:.1f} s'}")


# Each case returns what it has killed.
def drained(scene):
    scene.front.each("split", "0:100")
    scene.moved_within("primary", 3)
    return []


def rolled_back(scene):
    scene.front.each("rollback")
    scene.moved_within("secondary", 5)
    return []


def restarted(scene):
    kills = scene.stage.kill_primaries()
    time.sleep(OUTAGE)
    for server in scene.stage.primaries():
        server.restart()
    for server in scene.stage.primaries():
        server.wait()
    return kills


def proxy_then_server(scene):
    kill = Kill(time.time(), time.time(), proxy=True)
    scene.front.kill()
    scene.front.start()
    kill.back = time.time()
    print(f"    {scene.case.name}: the proxy was back after {kill.back - kill.began:.2f} s")
    time.sleep(BETWEEN)
    return [kill, *scene.stage.kill_primaries()]


def other_replica(scene):
    kill = Kill(time.time(), time.time(), proxy=True)
    scene.front.kill()
    kills = scene.stage.kill_primaries()
    scene.relay.aim(scene.fronts[1].listen)
    kill.back = time.time()
    return [kill, *kills]


@dataclass(frozen=True)
class Case:
    name: str
    title: str
    act: object
    split: str = "100:0"
    # The entry whose sessions are to be moved.
    leaves: str = "primary"
    # Nobody listens at the other entry.
    alone: bool = False
    mixed: bool = False
    replicas: bool = False


CASES = (
    Case("a", "split 0 → 100, drained past its deadline", drained, mixed=True),
    Case("b", "rollback at 50 %", rolled_back, split="50:50", leaves="secondary"),
    Case("c", "kill -9 of the endpoint, its restart", restarted, alone=True),
    Case("d", "kill -9 of the proxy, then of the endpoint", proxy_then_server),
    Case("e", "replica and endpoint killed, on to the other", other_replica, replicas=True),
)


def play(stage, case):
    """The accounts of a case, what was wrong with the suite itself, and what the proxy said of an entry that was not left."""
    began = time.monotonic()
    stage.all_up()
    if case.act is restarted:
        for server in stage.primaries():
            server.stand_by()
    with ExitStack() as running:
        scene = Scene(stage, case, running)
        ready = time.monotonic()
        opened = scene.each(lambda client: client.answer())
        heard = scene.order(do="notify", mark="before", within=NOTICE_WITHIN)
        time.sleep(stage.args.warm)
        open_at = time.monotonic()
        kills = case.act(scene)
        acted = time.monotonic()
        time.sleep(stage.args.settle)
        scene.order(do="notify", mark="after", within=NOTICE_WITHIN)
        time.sleep(1)
        reports = scene.order(do="stop")
        told = time.monotonic()
        (scene.work / "reports.json").write_text(json.dumps(reports))
        executions = Executions.read(stage.work)
    accounts = [
        account(
            name, report, list(scene.pairs), executions, kills, lambda process: f"-{case.leaves}-" in process,
            ("before", "after"),
        )
        for name, report in reports.items()
    ]
    unready = [f"{name}: {told['opened']} opened {told['failed']}" for name, told in opened.items() if told["failed"]]
    # Where the streams were not open beforehand, nothing is shown by those that are not open afterwards.
    unready += [f"{name}: notifications to {told['heard']} sessions" for name, told in heard.items() if told["heard"] < opened[name]["opened"]]
    laps = (began, ready, open_at, acted, told, time.monotonic())
    spent = zip(("started", "opened", "acted", "told", "stopped"), laps, laps[1:])
    print(f"    {case.name}: {', '.join(f'{what} in {end - start:.1f} s' for what, start, end in spent)}")
    return accounts, unready, scene.left


HEAD = (
    "case", "client", "sessions", "moved / to move", "lost", "lost with a killed proxy", "calls", "failed", "in flight at a killed endpoint",
    "at a killed proxy", "neither", "more than once", "hangs", "of calls at a killed proxy", "executed twice", "notified afterwards", "deaf with a killed proxy",
)


def row(case, told):
    return (
        case.name, told.client, told.sessions, f"{told.moved} / {told.due}", told.lost, told.lost_on_proxy, told.calls, told.failed, told.on_server,
        told.on_proxy, told.other, told.again, told.hangs, told.hangs_on_proxy, told.twice, f"{told.heard} / {told.asked}", told.deaf_on_proxy,
    )


def table(results):
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|" + "---:|" * (len(HEAD) - 2)]
    for case, accounts in results.items():
        for told in (*accounts, *([total(accounts)] if len(accounts) > 1 else [])):
            words = [str(word) for word in row(case, told)]
            if told.client == "all":
                words = [f"**{word}**" for word in words]
            lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


def write(section, text, tools):
    """Between the comments of that name, and nowhere else; the versions are those of the last table written."""
    names = "\n".join(f"- {client}: {package}" for client, package in versions(tools).items())
    said = DOCUMENT.read_text()
    for mark, content in ((section, text), ("versions", names)):
        whole = f"<!-- {mark} -->\n{content}\n<!-- /{mark} -->"
        said, times = re.subn(rf"<!-- {mark} -->.*?<!-- /{mark} -->", lambda _: whole, said, flags=re.S)
        if times != 1:
            raise SystemExit(f"{DOCUMENT.name} has no place for {mark}")
    DOCUMENT.write_text(said)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, required=True, help="the binary under test")
    parser.add_argument("--rmcp-client", type=Path, help="the built example interop_rmcp; without it rmcp is left out")
    parser.add_argument("--work", type=Path, default=WORK, help="packages, logs, journals (default: interop in target)")
    parser.add_argument("--sessions", type=int, default=200, help="of all clients together")
    parser.add_argument("--pace", type=float, default=2.0, help="seconds between the calls of a session, on average")
    parser.add_argument("--cases", default="a,b,c,d,e")
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--servers", default=",".join(KINDS))
    parser.add_argument("--quick", action="store_true", help="50 sessions, less time in between")
    parser.add_argument("--expect", choices=("before", "after"), default="after", help="before: without rehoming, not judged")
    parser.add_argument("--write", choices=("before", "after"), help="put the table into docs/rehoming.md")
    args = parser.parse_args()
    args.work, args.dualgate = args.work.resolve(), args.dualgate.resolve()
    args.cases = [case for case in CASES if case.name in args.cases.split(",")]
    args.clients = [client for client in args.clients.split(",") if client != "rmcp" or args.rmcp_client]
    args.servers = [server for server in args.servers.split(",") if server != "rmcp" or args.rmcp_client]
    if args.quick:
        args.sessions, args.pace = min(args.sessions, 50), min(args.pace, 1.2)
    args.warm, args.settle, args.births = (1, 4, 0.05) if args.quick else (2, 6, 0.15)
    return args


def main():
    args = arguments()
    unwind_on_terminate()
    tools = Tools(args.work)
    tools.rmcp_client = args.rmcp_client and args.rmcp_client.resolve()
    began = time.monotonic()
    results, failed = {}, 0
    with ExitStack() as running:
        stage = Stage(tools, args, running)
        for case in args.cases:
            results[case], unready, left = play(stage, case)
            accounts = results[case]
            say(f"{case.name}: all sessions open, with their streams", unready)
            failed += bool(unready)
            problems = [problem for told in accounts for problem in told.problems] + ([left] if left else [])
            details = [line for told in accounts for line in told.detail]
            if args.expect == "after":
                say(f"{case.name}: {case.title}", problems + details, ok=not problems)
                failed += bool(problems)
            else:
                for line in details:
                    print(f"    {line[:300]}")
    text = table(results)
    print(f"\n{text}\n\ntook {time.monotonic() - began:.0f} s")
    if args.write:
        write(args.write, text, tools)
    print(f"{len(results)} cases, {failed} problems")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    with to_its_end("rehome.py"):
        main()
