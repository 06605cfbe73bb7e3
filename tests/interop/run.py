#!/usr/bin/env python3
"""Real MCP clients against real MCP servers, with dualgate between them and its split moving underneath."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from harness.certificates import Certificates, Rotor, Served
from harness.gate import Gate, Stepper
from harness.install import WORK, Tools
from harness.matrix import CLIENTS, LANES, client_command, launch_server
from harness.procs import accepts, free_ports, unwind_on_terminate, wait_until
from harness.report import say, to_its_end
from harness.table import print_failures, print_table
from harness.verify import MODERN_ERA, Journals, Judge

CLIENT_TIMEOUT = 60
# Ends of sessions that are closed connections reach a server's journal a moment after the client has gone.
SETTLED_WITHIN = 3
# What a pair of different eras goes through, one whole session long each, before the split begins to step.
HOLDS = (("90:10", 1.0), ("50:50", 1.0), ("10:90", 1.0))
MIXED_SESSIONS = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, help="the binary under test")
    parser.add_argument("--rmcp-client", type=Path, help="the built example interop_rmcp; without it rmcp is left out")
    parser.add_argument("--work", type=Path, default=WORK, help="packages, logs, journals (default: interop in target)")
    parser.add_argument("--only", default="", help="what to run, by name: lane:modern,client:ts1,server:py2")
    parser.add_argument("--sessions", type=int, default=3, help="sessions per client and server")
    parser.add_argument("--side-by-side", type=int, default=2, help="pairs of servers that are run at a time")
    parser.add_argument("--direct", action="store_true", help="no proxy: is it the suite or an SDK that fails?")
    args = parser.parse_args()
    if not args.direct and not args.dualgate:
        parser.error("--dualgate is needed, or --direct")
    args.work = args.work.resolve()
    args.only = [item.split(":", 1) for item in args.only.split(",") if item]
    return args


def chosen(args, role, names):
    wanted = {name for kind, name in args.only if kind == role}
    return [name for name in names if not wanted or name in wanted]


class Run:
    """One lane against one pair of servers, with all of the lane's clients at a time."""

    def __init__(self, tools, args, lane, pair, clients, certificates):
        self.tools, self.args, self.lane, self.pair = tools, args, lane, pair
        self.clients = [client for client in clients if client in lane.clients]
        self.certificates = certificates
        self.work = args.work / "runs" / lane.name / pair.name
        self.stepper = self.rotor = None
        self.mixed = pair.primary != pair.secondary

    def task_of(self, client, url):
        """What a client is to do, as its one argument."""
        lane = self.lane
        return {
            "url": url,
            "server": self.pair.primary,
            "transport": lane.transport,
            "dialect": lane.dialect,
            # Eras of the sessions in turn.
            "modes": lane.modes_of(client),
            "sessions": MIXED_SESSIONS if self.mixed else self.args.sessions,
            # The names of calls and, where `keyed`, the sessions' own API keys begin with it.
            "prefix": f"{client}-{self.pair.name}",
            "keyed": lane.keyed,
            # Whether the session is to be refused after its end.
            "delete": "delete" in lane.features and lane.transport != "http+sse",
            # 1.1, 2 (agreed by ALPN) or h2c (known beforehand).
            "http": lane.http,
            "ca": str(self.certificates.ca) if lane.tls else "",
            # Line by line instead: clients/drive.py.
            "drive": False,
        }

    def run_client(self, client, url):
        task = self.task_of(client, url)
        talk = self.work / f"client-{client}.err"
        trust = {"NODE_EXTRA_CA_CERTS": task["ca"]} if task["ca"] else {}
        try:
            with open(talk, "w") as sink:
                done = subprocess.run(
                    client_command(self.tools, client, task), stdout=subprocess.PIPE, stderr=sink, text=True,
                    timeout=CLIENT_TIMEOUT, env={**os.environ, **trust},
                )
            report = json.loads(done.stdout)
        except (subprocess.TimeoutExpired, json.JSONDecodeError) as problem:
            failure = {"calls": 1, "failed": 1, "detail": [f"no report ({problem}), see {talk}"], "ids": {}}
            features = {feature: failure for feature in self.lane.features}
            report = {"client": client, "server": task["server"], "features": features, "versions": {}, "wire": {}}
        if task["transport"] == "http+sse" and "delete" in self.lane.features:
            # There is nothing to ask for; that the server has seen the end is in its journal.
            report["features"]["delete"] = {"calls": task["sessions"], "failed": 0, "detail": [], "ids": {}}
        return {**report, "prefix": task["prefix"]}

    def start(self, running):
        """The URL for the clients, and the servers' journals."""
        kinds = {"v1": self.pair.primary} if self.args.direct else {"v1": self.pair.primary, "v2": self.pair.secondary}
        ports = free_ports(len(kinds))
        logs = []
        for (name, kind), port in zip(kinds.items(), ports):
            process, log = launch_server(self.tools, kind, port, name, self.work, self.lane.transport)
            running.callback(process.stop)
            logs.append((process, log, port))
        for process, _, port in logs:
            process.wait_ready(lambda: accepts(port))
        scheme, port = "http", ports[0]
        journals = [log for _, log, _ in logs]
        if not self.args.direct:
            tables = f"[service.health]\n{self.lane.health}\n" if self.lane.health else ""
            tls = Served(self.certificates, self.work) if self.lane.tls else None
            gate = Gate(self.args.dualgate, *ports, "90:10" if self.mixed else "50:50", self.work, tables=tables, tls=tls)
            running.callback(gate.stop)
            holds, begun = (HOLDS, lambda: True) if self.mixed else ((), lambda: len(Journals(journals).births()) == 2)
            # At 50:50 both get sessions; clients that start side by side may all be born in a moment of nearly 100:0.
            self.stepper = running.enter_context(Stepper(gate, holds, begun=begun))
            port = gate.listen
            if tls:
                scheme, port = "https", gate.tls
                self.rotor = running.enter_context(Rotor(tls, port))
        host = "localhost" if self.lane.tls else "127.0.0.1"
        return f"{scheme}://{host}:{port}{self.lane.path}", journals

    def __call__(self):
        """Rows of the table, checks, seconds."""
        began = time.monotonic()
        try:
            rows, checks = self.meet()
        except (OSError, RuntimeError, TimeoutError) as problem:
            rows, checks = {}, [(f"{self.lane.name} x {self.pair.name}: came to its end", repr(problem))]
        return rows, checks, time.monotonic() - began

    def meet(self):
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        with ExitStack() as running:
            url, logs = self.start(running)
            with ThreadPoolExecutor(len(self.clients)) as pool:
                reports = list(pool.map(lambda client: self.run_client(client, url), self.clients))
            journals = self.settled(logs, reports)
        rows = {}
        for report in reports:
            rows[self.lane.name, report["client"], self.pair.name] = Judge(self.lane, report, journals).verdict()
        return rows, self.checks(reports, journals)

    def settled(self, logs, reports):
        """The journals as they are once every session's end is in them, read before the servers stop."""

        def complete():
            journals = Journals(logs)
            return all(
                cell.failed == 0
                for report in reports
                for name, cell in Judge(self.lane, report, journals).verdict().items()
                if name in ("delete", "listen", "cancel")
            )

        try:
            wait_until(complete, "the end of every session", SETTLED_WITHIN, 0.1)
        except TimeoutError:
            pass
        return Journals(logs)

    def checks(self, reports, journals):
        """What holds for all clients together: (name, problem or empty)."""
        name = f"{self.lane.name} x {self.pair.name}"
        reported = {call for report in reports for f in report["features"].values() for ids in f["ids"].values() for call in ids}
        stray = sorted(set(journals.executed) - reported, key=str)
        checks = [(f"{name}: no call nobody made", f"executed: {stray[:5]}" if stray else "")]
        if self.stepper:
            births = journals.births()
            # Handshakes can be had from one of them only, so a pair may leave one to those who negotiate.
            one_suffices = self.mixed and not any(MODERN_ERA in report["versions"].values() for report in reports)
            alone = len(births) < 2 and not (one_suffices and births)
            checks.append((f"{name}: births {dict(births)}", "only one server got sessions" if alone else ""))
            steps = f"{name}: {self.stepper.taken} split changes acknowledged"
            problem = "; ".join(self.stepper.errors[:3]) or ("" if self.stepper.taken >= 4 else "not one whole cycle")
            checks.append((steps, problem))
        if self.rotor:
            problem = "; ".join(self.rotor.errors[:3]) or ("" if self.rotor.taken >= 3 else "too few")
            checks.append((f"{name}: {self.rotor.taken} certificates replaced under load", problem))
        for report in reports:
            wrong = self.eras_wrong(report)
            checks.append((f"{name}: eras of {report['client']}", wrong))
        return checks

    def eras_wrong(self, report):
        """An era is one answer: what negotiates is modern where both entries are, legacy otherwise."""
        both = all(kind.startswith(("py2", "ts2", "rmcp")) for kind in (self.pair.primary, self.pair.secondary))
        modes = self.lane.modes_of(report["client"])
        wrong = []
        for session, version in report["versions"].items():
            mode = modes[int(session) % len(modes)]
            modern = mode == "modern" or (mode == "auto" and both)
            if (version == MODERN_ERA) != modern:
                wrong.append(f"session {session} ({mode}) got {version}")
        return "; ".join(wrong[:3])


def main():
    args = arguments()
    unwind_on_terminate()
    clients = chosen(args, "client", CLIENTS)
    tools = Tools(args.work)
    tools.rmcp_client = args.rmcp_client
    if not args.rmcp_client and "rmcp" in clients:
        clients.remove("rmcp")
        print("rmcp is left out, as client and as server: no --rmcp-client", file=sys.stderr)
    started = time.monotonic()
    certificates = Certificates(tools.python["py2"], args.work / "certificates")
    lanes = [lane for lane in LANES if lane.name in chosen(args, "lane", [lane.name for lane in LANES])]
    runs = [
        Run(tools, args, lane, pair, clients, certificates)
        for lane in lanes
        if lane.direct or not args.direct
        for pair in lane.pairs
        if pair.name in chosen(args, "server", [pair.name]) and (pair.primary != "rmcp" or args.rmcp_client)
    ]
    runs = [run for run in runs if run.clients]
    rows, checks = {}, []
    with ThreadPoolExecutor(args.side_by_side) as pool:
        for run, (its_rows, its_checks, seconds) in zip(runs, pool.map(lambda run: run(), runs)):
            print(f"{run.lane.name} x {run.pair.name}: {seconds:.0f} s", file=sys.stderr)
            rows |= its_rows
            checks += its_checks
    print_table(rows)
    print_failures(rows)
    print()
    for name, problem in checks:
        say(name, [problem] if problem else [])
    judged = [cell.ok for cells in rows.values() for cell in cells.values() if not cell.reason]
    judged += [not problem for _, problem in checks]
    print(f"\ntook {time.monotonic() - started:.0f} s")
    print(f"{judged.count(True)} passed, {judged.count(False)} failed")
    sys.exit(0 if judged and all(judged) else 1)


if __name__ == "__main__":
    with to_its_end("run.py"):
        main()
