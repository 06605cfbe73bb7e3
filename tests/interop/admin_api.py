#!/usr/bin/env python3
"""Thousands of requests, generated from the OpenAPI document by Schemathesis, against the admin API.

No answer may be a server error that is not meant, none may be late, each must be what the document says, and what was
changed must be in the audit, line by line.
"""

import argparse
import http.server
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from harness.gate import Gate
from harness.install import WORK, install_python, locked
from harness.procs import free_ports, unwind_on_terminate, wait_until
from harness.scene import Checks

HERE = Path(__file__).resolve().parent
REQUEST_TIMEOUT = 5
# Too many wait, what was waited for did not come, the disk is full.
MEANT = {503: ("busy", "stopping"), 504: ("wait-timed-out",), 507: ("not-stored",)}
CHANGES = ("split", "rollback", "deploy")
# Rollouts have revisions, too; what they do by themselves nobody has asked for.
OF_ROLLOUTS = ("started", "promoted")
# And so do orders about the sessions of an entry.
OF_SESSIONS = ("departs",)
# What is made and has no revision of its own.
STEERED = ("/pause", "/advance")
# Answers to a change that was made, or was not.
UNSURE = ("wait-timed-out", "deployed-over")
KEPT_EVENTS = 1024
MOST_RUNS = 1000
# About 2,000 changes in a round: more than events are kept.
OPERATOR_PAUSE = 0.025
LEAST_MOVES = 1500


def slug(note):
    return note["type"].removeprefix("urn:dualgate:problem:")


def is_meant(note):
    if note.get("path") == "/health/ready":
        return note["status"] == 503
    return slug(note) in MEANT.get(note["status"], ())


class Api:
    def __init__(self, gate, work):
        self.url = f"http://127.0.0.1:{gate.admin}"
        self.token = (work / "state" / "admin-token").read_text().strip()

    def open(self, path, **headers):
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        return urllib.request.urlopen(urllib.request.Request(self.url + path, headers=headers), timeout=REQUEST_TIMEOUT)

    def get(self, path):
        with self.open(path) as answer:
            return json.load(answer)

    def put(self, path, body):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def audit(self):
        """All of it, page by page: how much is in one answer has bounds in lines and in bytes."""
        entries, after = [], 0
        while page := self.get(f"/v1/audit?limit=10000&after={after}")["entries"]:
            entries += page
            after = max(line["seq"] for line in page)
        return entries

    def events(self, after, count):
        """The first events for a listener that comes back."""
        events = []
        with self.open("/v1/events", **{"Last-Event-ID": after}) as stream:
            event = {}
            while len(events) < count:
                line = stream.readline().decode().rstrip("\n")
                if not line:
                    events.extend([event] if "data" in event else [])
                    event = {}
                elif not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    event[name] = value
        return events


def answering(running):
    """Servers that take every health check of kind `http`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(3)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.callback(server.shutdown)
    return [server.server_port for server in servers]


class Generator(threading.Thread):
    """Schemathesis, again and again with other seeds, until there are requests enough: long runs of it slow down."""

    def __init__(self, python, api, args, work, endpoints, seeds, wanted):
        super().__init__()
        self.notes, self.output = work / f"notes-{seeds.start}.jsonl", work / f"schemathesis-{seeds.start}.out"
        self.said = ""
        self._seeds, self._wanted, self._work = seeds, wanted, work
        self._environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "harness.generated",
            "PYTHONPATH": str(HERE),
            "DUALGATE_NOTES": str(self.notes),
            "DUALGATE_ENDPOINTS": " ".join(endpoints),
        }
        self._command = [
            python.parent / "st", "--config-file", HERE / "schemathesis.toml", "run", f"{api.url}/v1/openapi.json",
            "--header", f"Authorization: Bearer {api.token}",
            "--exclude-path", "/v1/events",
            "--checks", "all",
            # Statuses are judged below; shares that do not make 100 are as the document wants them, and no split.
            "--exclude-checks", "not_a_server_error,positive_data_acceptance",
            "--max-examples", args.examples,
            "--continue-on-failure",
            "--suppress-health-check", "all",
            "--request-timeout", REQUEST_TIMEOUT,
            "--warnings", "off",
            "--no-color",
        ]

    def run(self):
        for seed in self._seeds:
            phases = "coverage,fuzzing" if seed == self._seeds.start else "fuzzing"
            command = [*self._command, "--seed", seed, "--phases", phases]
            environment = {**self._environment, "DUALGATE_DICE": str(seed)}
            with open(self.output, "w") as sink:
                done = subprocess.run(list(map(str, command)), cwd=self._work, env=environment, stdout=sink, stderr=sink)
            if done.returncode != 0:
                self.said = self.output.read_text()
                return
            if len(self.read()) >= self._wanted:
                return

    def read(self):
        return [json.loads(line) for line in self.notes.read_text().splitlines()]


class Operator(threading.Thread):
    """Moves the split all the while, so that what is generated meets every state."""

    def __init__(self, api):
        super().__init__(daemon=True)
        self.notes = []
        self._api, self._dice = api, random.Random(1)
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(OPERATOR_PAUSE):
            share = self._dice.choice((0, 100, self._dice.randrange(101)))
            status, answer = self._api.put("/v1/services/default/split", {"primary": share, "secondary": 100 - share})
            made = bool(answer.get("changed"))
            note = {"status": status, "type": answer.get("type", ""), "made": made, "revision": answer.get("revision"), "replayed": False}
            self.notes.append(note)


def check_audit(checks, api, notes):
    """Every change has its line, and every line its change."""
    notes = [note for note in notes if not note["replayed"]]
    made = [note for note in notes if note["made"] and note["status"] == 200]
    steered = sum(note.get("path", "").endswith(STEERED) for note in made)
    made = [note["revision"] for note in made if not note.get("path", "").endswith(STEERED)]
    unsure = sum(slug(note) in UNSURE for note in notes)
    is_change = lambda line: line.get("type") in (*CHANGES, *OF_ROLLOUTS, *OF_SESSIONS) or (line.get("type"), line.get("command")) == ("steered", "approve")
    lines = [line for line in api.audit() if is_change(line)]
    own = sum(str(line.get("actor")).startswith("rollout") for line in lines)
    in_audit = [line["revision"] for line in lines]
    missing = set(made) - set(in_audit)
    checks.check("each change that was answered is in the audit", not missing, f"{len(made)} answered, missing {sorted(missing)[:5]}")
    checks.check("no two changes have one revision", len(set(made)) == len(made))
    checks.check("no line without a change", len(lines) <= len(made) + unsure + own, f"{len(lines)} lines, {own} of rollouts, {unsure} changes unsure")
    checks.check("the audit goes forth to the revision in force", in_audit == sorted(set(in_audit)) and in_audit[-1] == api.get("/v1/services/default/split")["revision"])
    # A raise that a rollback overtakes has used up a revision; that of a step that was advanced is answered to nobody.
    overtaken = steered + sum(slug(note) in ("overtaken-by-rollback", "not-stored", *UNSURE) for note in notes)
    skipped = in_audit[-1] - 1 - len(in_audit)
    checks.check("no revision without a line", skipped <= overtaken, f"{skipped} skipped, {overtaken} raises not made")
    kinds = Counter(line["type"] for line in lines)
    checks.check("there were changes of each kind", set(kinds) >= set(CHANGES), dict(kinds))


def check_events(checks, api):
    """A listener that was away for long is told what it has lost."""
    gap, first = api.events("of-another-run-1", 2)
    run = first["id"].rsplit("-", 1)[0]
    checks.check("a stranger's last id is a gap", json.loads(gap["data"])["type"] == "gap" and "id" not in gap)
    events = api.events(f"{run}-1", KEPT_EVENTS + 1)
    ids = [int(event["id"].rsplit("-", 1)[1]) for event in events[1:]]
    checks.check("what is lost is counted", json.loads(events[0]["data"]).get("lost") == ids[0] - 2, events[0]["data"])
    checks.check("what is kept comes in order", ids == list(range(ids[0], ids[0] + KEPT_EVENTS)), f"from {ids[0]} on")


def one_round(checks, python, args, seed, running):
    work = args.work / "runs" / "admin_api"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    primary, secondary, third = answering(running)
    health = '[service.health]\nkind = "http"\npath = "/"\ninterval = "200ms"\ntimeout = "100ms"\n'
    gate = Gate(args.dualgate, primary, secondary, "90:10", work, tables=health)
    running.callback(gate.stop)
    api = Api(gate, work)
    endpoints = [f"http://127.0.0.1:{third}", f"http://127.0.0.1:{free_ports(1)[0]}"]
    began = time.monotonic()
    operator = Operator(api)
    operator.start()
    # Two at once are two more operators.
    seeds = [range(first, first + MOST_RUNS) for first in (2 * seed * MOST_RUNS, (2 * seed + 1) * MOST_RUNS)]
    generators = [Generator(python, api, args, work, endpoints, one, args.requests // 2) for one in seeds]
    for generator in generators:
        generator.start()
    for generator in generators:
        generator.join()
    wait_until(lambda: len(operator.notes) > LEAST_MOVES, "so many moves that events are lost", timeout=90)
    operator.done.set()
    operator.join()
    generated = [note for generator in generators for note in generator.read()]
    notes = generated + operator.notes
    statuses = dict(sorted(Counter(note["status"] for note in generated).items()))
    print(f"seed {seed}: {len(generated)} requests in {time.monotonic() - began:.0f} s, {statuses}")
    for generator in generators:
        checks.check("as the document says", not generator.said, generator.said[-6000:])
    checks.check("enough requests", len(generated) >= args.requests, len(generated))
    wrong = [note for note in notes if note["status"] >= 500 and not is_meant(note)]
    checks.check("no server error", not wrong, wrong[:3])
    check_audit(checks, api, notes)
    if len(generated) >= args.requests:
        check_events(checks, api)
    began = time.monotonic()
    alive = api.get("/v1/services")["services"]
    checks.check("it answers still", len(alive) == 1, f"{(time.monotonic() - began) * 1e3:.1f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, required=True)
    parser.add_argument("--examples", type=int, default=100, help="of each operation in each run of Schemathesis")
    parser.add_argument("--requests", type=int, default=10_000, help="of each round, in as many runs as it takes")
    parser.add_argument("--rounds", type=int, default=1, help="each with a dualgate and a seed of its own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=WORK)
    args = parser.parse_args()
    args.dualgate = args.dualgate.resolve()
    unwind_on_terminate()
    with locked(args.work):
        python = install_python(args.work, "schemathesis")
    checks = Checks()
    for seed in range(args.seed, args.seed + args.rounds):
        with ExitStack() as running:
            one_round(checks, python, args, seed, running)
    return 0 if checks.results and all(checks.results) else 1


if __name__ == "__main__":
    sys.exit(main())
