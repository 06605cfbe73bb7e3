#!/usr/bin/env python3
"""Real MCP clients against real MCP servers, with dualgate between them and its split moving underneath."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from harness.gate import Gate, Stepper
from harness.install import WORK, Tools
from harness.matrix import CLIENTS, FEATURES, LANES, SERVERS, client_command, start_server
from harness.procs import free_ports, unwind_on_terminate
from harness.table import print_failures, print_table
from harness.verify import Journals, judge

CLIENT_TIMEOUT = 120


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, help="the binary under test")
    parser.add_argument("--rmcp-client", type=Path, help="the built example interop_rmcp; without it rmcp is left out")
    parser.add_argument("--work", type=Path, default=WORK, help="packages, logs, journals (default: interop in target)")
    parser.add_argument("--only", default="", help="clients and servers to run, by name: client:ts1,server:py2")
    parser.add_argument("--sessions", type=int, default=4, help="sessions per client and server")
    parser.add_argument("--direct", action="store_true", help="no proxy: is it the suite or an SDK that fails?")
    args = parser.parse_args()
    if not args.direct and not args.dualgate:
        parser.error("--dualgate is needed, or --direct")
    args.work = args.work.resolve()
    return args


def chosen(only, role, names):
    wanted = [item.split(":")[1] for item in only.split(",") if item.startswith(f"{role}:")]
    unknown = set(wanted) - set(names)
    if unknown:
        raise SystemExit(f"no such {role}: {', '.join(sorted(unknown))}")
    return [name for name in names if not wanted or name in wanted]


def run_client(tools, client, url, kind, sessions, work):
    command = client_command(tools, client, url, kind, sessions)
    talk = work / f"client-{client}.err"
    try:
        with open(talk, "w") as sink:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=sink, text=True, timeout=CLIENT_TIMEOUT)
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as problem:
        failure = {"calls": 1, "failed": 1, "detail": [f"no report ({problem}), see {talk}"], "ids": {}}
        return {"client": client, "server": kind, "features": {feature: failure for feature in FEATURES}}


def run_server_kind(tools, args, lane, kind, clients, work):
    """Returns the reports of all clients, the journals, and the stepper (None without a proxy)."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    names = ["v1"] if args.direct else ["v1", "v2"]
    ports = free_ports(len(names))
    with ExitStack() as running:
        logs = []
        for name, port in zip(names, ports):
            process, log = start_server(tools, kind, port, name, work)
            running.callback(process.stop)
            logs.append(log)
        stepper = None
        port = ports[0]
        if not args.direct:
            gate = Gate(args.dualgate, *ports, "50:50", work)
            running.callback(gate.stop)
            stepper = running.enter_context(Stepper(gate))
            port = gate.listen
        url = f"http://127.0.0.1:{port}{lane.path}"
        reports = [run_client(tools, client, url, kind, args.sessions, work) for client in clients]
    return reports, Journals(logs), stepper


def whole_run_checks(kind, reports, journals, stepper):
    """What holds for all clients of a server together: (name, problem or empty)."""
    reported = {call for report in reports for f in report["features"].values() for ids in f["ids"].values() for call in ids}
    stray = sorted(set(journals.executed) - reported, key=str)
    checks = [(f"{kind}: no call nobody made", f"executed: {stray[:5]}" if stray else "")]
    if stepper:
        births = journals.births()
        checks.append((f"{kind}: births {dict(births)}", "" if len(births) == 2 else "only one server got sessions"))
        steps = f"{kind}: {stepper.taken} split changes acknowledged"
        checks.append((steps, "; ".join(stepper.errors[:3]) or ("" if stepper.taken >= 4 else "not one whole cycle")))
    return checks


def main():
    args = arguments()
    unwind_on_terminate()
    clients = chosen(args.only, "client", CLIENTS)
    kinds = chosen(args.only, "server", SERVERS)
    tools = Tools(args.work)
    tools.rmcp_client = args.rmcp_client
    if not args.rmcp_client and "rmcp" in clients:
        clients.remove("rmcp")
        print("rmcp is left out: no --rmcp-client", file=sys.stderr)
    started = time.monotonic()
    rows, checks = {}, []
    for lane in LANES:
        for kind in kinds:
            work = args.work / "runs" / lane.transport / kind
            reports, journals, stepper = run_server_kind(tools, args, lane, kind, clients, work)
            for report in reports:
                rows[lane.transport, report["client"], kind] = judge(report, journals)
            checks += whole_run_checks(kind, reports, journals, stepper)
    print_table(rows)
    print_failures(rows)
    print()
    for name, problem in checks:
        print(f"{'FAIL' if problem else 'ok'} {name}{': ' + problem if problem else ''}")
    judged = [cell.ok for cells in rows.values() for cell in cells.values() if not cell.reason]
    judged += [not problem for _, problem in checks]
    print(f"\ntook {time.monotonic() - started:.0f} s")
    print(f"{judged.count(True)} passed, {judged.count(False)} failed")
    sys.exit(0 if all(judged) else 1)


if __name__ == "__main__":
    main()
