#!/usr/bin/env python3
"""Each client is shown to survive what dualgate says by itself in the legacy era: a table, client by case.

To survive is: the call fails at its caller within seconds, or does not fail at all, and the next call of the same
session succeeds once the server is back. `--write` writes docs/survival.md; without it the table must be what is there.
"""

import argparse
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from harness.gate import Gate
from harness.install import HERE, WORK, Tools
from harness.matrix import CLIENTS, client_command, start_server
from harness.procs import free_ports, unwind_on_terminate, wait_until
from harness.relay import Relay
from harness.report import say, to_its_end

DOCUMENT = HERE.parent.parent / "docs/survival.md"
# An answer that takes longer than this has kept its caller waiting.
SECONDS = 9
# So often, a second apart, it is tried whether a stream is open again.
STREAM_TRIES = 7
# So many calls, a second each at the most, until every session has had its turn.
TURNS = 9
# A silent server is down after three seconds: before `first_byte_timeout`, and not by a moment without a free core.
# Without failover nobody is put out for failing its clients, which five clients that fail at a time would bring about.
TOP = """[shutdown]
delay = "100ms"
drain = "500ms"
"""
TABLES = """[service.traffic]
first_byte_timeout = "5s"
failover = false
[service.health]
interval = "600ms"
timeout = "600ms"
rise = 1
fall = 5
"""
# Sessions leave their server: by themselves where it is gone, in order where its entry is given no clients any more. What
# still runs there then is cut five seconds later.
MOVES = """[service.sessions]
drain_deadline = "500ms"
drain_pace = "500ms"
check = "{check}"
handshakes_per_second = {pace}
hold = "{hold}"
[service.health]
interval = "600ms"
timeout = "600ms"
rise = 1
fall = 5
"""
PATHS = {"streamable-http": "/mcp", "http+sse": "/sse"}
SSE_CLIENTS = ("py1", "py2", "ts1", "ts2")


class Client:
    """A client that does what it is told, see clients/drive.py."""

    def __init__(self, tools, name, url, transport, work):
        self.name = name
        task = {
            "url": url, "server": "py1", "transport": transport, "dialect": "legacy", "modes": ["legacy"],
            "sessions": 1, "prefix": name, "keyed": False, "delete": True, "http": "1.1", "ca": "", "drive": True,
        }
        self._sink = open(work / f"client-{name}.err", "w")
        command = client_command(tools, name, task)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._sink, text=True, bufsize=1, env=os.environ
        )

    def order(self, what):
        """The answer to one order; a client that has ended is one too."""
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            return {"ok": False, "text": "the process ended", "seconds": 0}
        told = json.loads(line)
        return {**told["answer"], "seconds": told["seconds"]}

    def stop(self):
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._sink.close()


class Stage:
    """Two servers behind relays, dualgate before them, and the clients: the primary's events have no ids."""

    def __init__(self, tools, args, name, transport, tables, running):
        self.work = args.work / "runs" / "survive" / name
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.logs, self.relays = {}, {}
        ports = dict(zip(("v1", "v2"), free_ports(2)))
        for (name, port), kind in zip(ports.items(), ("py1-plain", "py1")):
            process, self.logs[name] = start_server(tools, kind, port, name, self.work, transport)
            running.callback(process.stop)
            self.relays[name] = Relay(port)
            running.callback(self.relays[name].stop)
        self.gate = Gate(
            args.dualgate, self.relays["v1"].port, self.relays["v2"].port, "100:0", self.work, top=TOP,
            tables=tables + f'path = "{PATHS[transport]}"\n',
        )
        running.callback(self.gate.stop)
        url = f"http://127.0.0.1:{self.gate.listen}{PATHS[transport]}"
        able = CLIENTS if transport == "streamable-http" else SSE_CLIENTS
        self.clients = [Client(tools, name, url, transport, self.work) for name in args.clients if name in able]
        for client in self.clients:
            running.callback(client.stop)
        self._calls = 0
        # The primary is put out for having failed five clients at a time, and nobody lives there: the last case of a stage.
        self.is_left = False

    def all(self, **order):
        """The same of every client at a time: name -> answer."""
        with ThreadPoolExecutor(len(self.clients)) as pool:
            return dict(zip((client.name for client in self.clients), pool.map(lambda c: c.order(order), self.clients)))

    def call(self, tool="echo", mark="", within=None, **arguments):
        self._calls += 1
        call = f"call-{self._calls}{mark}"
        arguments = {"text": call, **arguments} if tool == "echo" else arguments
        return self.all(do="call", tool=tool, arguments={"call": call, **arguments}, within=within)

    def linger(self):
        """A call that goes on while something else happens, once every client's has reached its server."""
        before = self._lingering()
        pool = ThreadPoolExecutor(1)
        pending = pool.submit(self.call, "linger")
        pool.shutdown(wait=False)
        wait_until(lambda: self._lingering() - before >= len(self.clients), "every client's call at its server")
        return pending

    def _lingering(self):
        return sum(log.read_text().count('"tool": "linger"') for log in self.logs.values())

    def struck(self):
        """How many faults the relays have met."""
        return sum(relay.struck for relay in self.relays.values())

    def sessions(self, entry):
        """How many live there."""
        return self._sum("sessions", f'entry="{entry}"')

    def refused(self):
        """How many moves were refused."""
        return self._sum("rehomed_total", 'result="refused"')

    def undelivered(self):
        """How many messages dualgate has answered 202 and could not deliver."""
        return self._sum("undelivered_messages_total", "")

    def _sum(self, name, label):
        figures = re.findall(rf"^dualgate_{name}(\{{.*\}}) (\d+)", self.gate.metrics(), re.M)
        return sum(int(figure) for labels, figure in figures if label in labels)

    def once_for_each(self, count, before, what):
        """Waits until `count` has grown by one for each client."""
        wait_until(lambda: count() - before >= len(self.clients), f"{what} for each client", pause=0.05)


# Each case returns client -> the answer that shows whether it failed there.
def unreachable(stage):
    stage.relays["v1"].refuse()
    answers = stage.call()
    stage.relays["v1"].allow()
    return answers


def lost(stage):
    return stage.call(mark="fault-lose")


def timed_out(stage):
    return stage.call(mark="fault-stall")


def cut(stage):
    return stage.call("count", mark="fault-cut", n=5)


def stream_gone(stage):
    """It is survived when notifications come again; those sent while nobody listened are nobody's."""
    # A stream that is lost before it is open is another case.
    deaf = {name: answer for name, answer in heard(stage, "before").items() if not answer["ok"]}
    stage.relays["v1"].cut_streams()
    return heard(stage, "after") | deaf


def heard(stage, when):
    """Client -> the answer that shows whether a notification reached it, which is tried for a while."""
    reached = {}
    for attempt in range(STREAM_TRIES):
        call = f"notice-{when}-{attempt}"
        answers = stage.all(do="call", tool="announce", arguments={"call": call})
        told = stage.all(do="notice", text=call, within=1)
        reached |= {name: answers[name] for name in told if told[name]["ok"] or not answers[name]["ok"]}
        if len(reached) == len(told):
            break
    return {name: reached.get(name, told[name]) for name in told}


def stream_refused(stage):
    before = stage.struck()
    stage.relays["v1"].refuse_streams(True)
    answers = stage.all(do="connect")
    stage.once_for_each(stage.struck, before, "a stream refused")
    stage.relays["v1"].refuse_streams(False)
    return answers


def notification(stage):
    before = stage.undelivered()
    stage.relays["v1"].refuse()
    answers = stage.all(do="notify")
    stage.once_for_each(stage.undelivered, before, "a notification lost")
    stage.relays["v1"].allow()
    return answers


def response(stage):
    stage.relays["v1"].lose_answers(True)
    answers = stage.call("ask", within=3)
    stage.relays["v1"].lose_answers(False)
    return answers


def delete(stage):
    stage.relays["v1"].refuse()
    answers = stage.all(do="end")
    stage.relays["v1"].allow()
    stage.gate.wait_up()
    stage.all(do="connect")
    return answers


def nobody(stage):
    for relay in stage.relays.values():
        relay.refuse()
    answers = stage.all(do="connect")
    for relay in stage.relays.values():
        relay.allow()
    stage.gate.wait_up()
    again = stage.all(do="connect")
    return {name: answers[name] if again[name]["ok"] else again[name] for name in answers}


def silent(stage):
    stage.relays["v1"].freeze()
    answers = stage.call()
    stage.relays["v1"].thaw()
    return answers


def stopping(stage):
    pending = stage.linger()
    stage.gate.stop()
    answers = pending.result()
    stage.gate.start()
    return answers


def unknown(stage):
    stage.gate.stop()
    shutil.rmtree(stage.work / "state")
    stage.gate.start()
    stage.gate.wait_up()
    answers = stage.call()
    again = {client.name: client.order({"do": "connect"}) for client in stage.clients if not answers[client.name]["ok"]}
    return {name: again[name] if name in again and not again[name]["ok"] else answers[name] for name in answers}


def dropped(stage):
    return stage.call(mark="fault-drop")


def sse_silent(stage):
    pending = stage.linger()
    stage.relays["v1"].freeze()
    answers = pending.result()
    stage.relays["v1"].thaw()
    return answers


def sse_broken(stage):
    pending = stage.linger()
    stage.relays["v1"].cut_streams()
    return pending.result()


def died(stage):
    """Its sessions go on at the other entry while it stays away."""
    pending = stage.linger()
    stage.gate.split("50:50")
    stage.relays["v1"].refuse()
    stage.is_left = True
    return both(pending.result(), stage.call())


def died_at_once(stage):
    """The same for calls that were not on their way yet, and find more sessions lost than may be opened in their time: they fail
    until their sessions have had their turns."""
    stage.gate.split("50:50")
    stage.relays["v1"].refuse()
    stage.is_left = True
    first = stage.call()
    if all(answer["ok"] for answer in first.values()) and len(first) == len(CLIENTS):
        raise RuntimeError("every session got its turn in time, so that this shows nothing")
    for _ in range(TURNS):
        after = stage.call()
        if all(answer["ok"] for answer in after.values()):
            break
    return both(first, after)


def both(answers, after):
    """The answers, where the same sessions went on while their server was still away; else what did not."""
    return {name: answer if after[name]["ok"] else {**after[name], "hang": True} for name, answer in answers.items()}


def drained(stage):
    """At the deadline the session is moved, and somewhat later the call is cut."""
    pending = stage.linger()
    stage.gate.split("0:100")
    return pending.result()


def drained_idle(stage):
    """Nothing runs when the deadline comes."""
    stage.gate.split("0:100")
    wait_until(lambda: stage.sessions("primary") == 0, "all sessions have left")
    return stage.call()


def refused(stage):
    """A call before the deadline, which is in nobody's way, and one when all have been refused."""
    before = stage.refused()
    stage.gate.split("0:100")
    during = stage.call()
    stage.once_for_each(stage.refused, before, "a move refused")
    return both(during, stage.call())


FAILS, PASSES, EITHER = (False,), (True,), (False, True)
GOES_ON = {True: "no failure", False: "fails at once, goes on"}
LATE = {False: "its caller's timeout, goes on"}
NOT_YET = {False: "fails at once, the next succeeds"}
ANEW = {True: "begins anew by itself", False: "fails at once, connects anew"}
# What goes wrong, how it is brought about, the split, whether the call fails at its caller, the words for that, and
# whether each client's fault must have been met at a relay.
CASES = (
    ("the endpoint cannot be reached", unreachable, "100:0", FAILS, GOES_ON, False),
    ("its connection is lost during the call", lost, "100:0", FAILS, GOES_ON, True),
    ("no answer within `first_byte_timeout`", timed_out, "100:0", FAILS, GOES_ON, True),
    ("the endpoint is silent: its checks fail while the call waits", silent, "100:0", FAILS, GOES_ON, False),
    ("the event stream of the answer is cut, its events had no ids", cut, "100:0", FAILS, GOES_ON, True),
    ("the event stream of the answer is cut, its events had ids", cut, "0:100", PASSES, GOES_ON, True),
    ("the GET stream is lost", stream_gone, "100:0", PASSES, GOES_ON, True),
    ("the GET stream cannot be opened (503)", stream_refused, "100:0", PASSES, GOES_ON, True),
    ("a notification cannot be delivered (202)", notification, "100:0", PASSES, GOES_ON, False),
    ("an answer to the server cannot be delivered (202)", response, "100:0", FAILS, LATE, True),
    ("DELETE cannot be delivered (200)", delete, "100:0", PASSES, GOES_ON, False),
    ("`initialize` finds nobody (503)", nobody, "100:0", FAILS, NOT_YET, False),
    ("the proxy stops, and is started again", stopping, "100:0", FAILS, GOES_ON, False),
    ("a session id that does not open (404)", unknown, "100:0", EITHER, ANEW, False),
)
SSE_CASES = (
    ("HTTP+SSE: a call cannot be delivered (202, the error on the stream)", dropped, "100:0", FAILS, GOES_ON, True),
    ("HTTP+SSE: the endpoint is silent while the call waits", sse_silent, "100:0", FAILS, GOES_ON, False),
    ("HTTP+SSE: the session's stream breaks during the call", sse_broken, "100:0", FAILS, GOES_ON, True),
)
LEAVES = {False: "the call fails at once, goes on elsewhere"}
EITHER_WAY = dict.fromkeys(EITHER, "fails until its turn comes, goes on elsewhere")
MOVE_CASES = (
    ("its server is drained, and the session is moved", drained_idle, "100:0", PASSES, GOES_ON, False),
    ("its server is drained, and the call runs past the deadline", drained, "100:0", FAILS, LEAVES, False),
    ("its server dies during the call, and the session is moved", died, "100:0", FAILS, LEAVES, False),
)
REFUSED_CASES = (("its server is drained, and the move is refused: a tool is missing", refused, "100:0", PASSES, GOES_ON, False),)
SSE_MOVE_CASES = (
    ("HTTP+SSE: its server is drained, and the call runs past the deadline", drained, "100:0", FAILS, LEAVES, False),
    ("HTTP+SSE: its server dies during the call, and the session is moved", died, "100:0", FAILS, LEAVES, False),
)
PACE_CASES = (("its server dies, and its move does not get its turn in time", died_at_once, "100:0", EITHER, EITHER_WAY, False),)
# Stage: transport, configuration, cases.
ALL = {
    "fails": ("streamable-http", TABLES, CASES),
    "fails-sse": ("http+sse", TABLES, SSE_CASES),
    "moves": ("streamable-http", MOVES.format(check="capabilities", pace=200, hold="3s"), MOVE_CASES),
    "moves-sse": ("http+sse", MOVES.format(check="capabilities", pace=200, hold="3s"), SSE_MOVE_CASES),
    "refused": ("streamable-http", MOVES.format(check="tools", pace=200, hold="3s"), REFUSED_CASES),
    "paced": ("streamable-http", MOVES.format(check="capabilities", pace=1, hold="1s"), PACE_CASES),
}


def play(stage, case):
    """Client -> the word for the table, and problems."""
    name, act, split, expected, said, must_strike = case
    stage.gate.split(split)
    stage.gate.wait_up()
    connected = stage.all(do="connect")
    before = stage.struck()
    answers = act(stage)
    if not stage.is_left:
        stage.gate.wait_up()
    after = stage.call()
    words, problems = {}, []
    if must_strike and stage.struck() - before < len(stage.clients):
        problems.append(f"only {stage.struck() - before} clients met the fault")
    for client, answer in answers.items():
        words[client] = said.get(answer["ok"], "")
        if not connected[client]["ok"]:
            problems.append(f"{client}: did not connect: {connected[client]['text']}")
        if answer.get("hang") or answer["seconds"] > SECONDS:
            problems.append(f"{client}: waited {answer['seconds']:.1f} s: {answer['text']}")
        if answer["ok"] not in expected:
            problems.append(f"{client}: {answer['text']}")
        if not after[client]["ok"]:
            problems.append(f"{client}: the next call failed: {after[client]['text']}")
            words[client] = "does not go on"
    told = ", ".join(f"{client} {answer['seconds']:.1f} s" for client, answer in answers.items())
    say(f"{name}: {told}", problems)
    return words, problems


def versions(tools):
    """Client -> package and version, as installed."""
    lock = (HERE.parent.parent / "Cargo.lock").read_text()
    node = json.loads((HERE / "package.json").read_text())["dependencies"]
    python = {name: (HERE / f"requirements-{name}.txt").read_text() for name in ("py1", "py2")}
    mcp = {name: re.search(r"^mcp==(\S+)", text, re.M)[1] for name, text in python.items()}
    rmcp = re.search(r'name = "rmcp"\nversion = "([^"]+)"', lock)[1]
    return {
        "py1": f"Python `mcp` {mcp['py1']}", "py2": f"Python `mcp` {mcp['py2']}",
        "ts1": f"TypeScript `@modelcontextprotocol/sdk` {node['@modelcontextprotocol/sdk']}",
        "ts2": f"TypeScript `@modelcontextprotocol/client` {node['@modelcontextprotocol/client']}",
        "rmcp": f"Rust `rmcp` {rmcp}",
    }


def document(table, clients, tools):
    names = versions(tools)
    head = ["case", *clients]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {case} | {' | '.join(words.get(client, '–') for client in clients)} |" for case, words in table.items()]
    return f"""# What clients survive

Written by `tests/interop/survive.py --write`, which the interop suite repeats and compares. Legacy sessions over
Streamable HTTP and HTTP+SSE (which rmcp does not speak), each client with its SDK's defaults, dualgate between it and a server that keeps its sessions while the
way to it fails, or which they leave. *Fails at once, goes on*: the call fails at its caller within seconds, and the next call of the same
session succeeds once the server is back. *No failure*: nothing that its caller would have to handle. *Connects anew*: the
session is over, a new one is had at once.

{chr(10).join(lines)}

- {(chr(10) + '- ').join(f'{client}: {names[client]}' for client in clients)}
- An answer to the server that is lost leaves the call waiting at the server; it fails at its caller's own timeout.
- After a 404 only rmcp begins a new session by itself; for the others the call fails, and a new connect succeeds.
- The sessions of an entry that was taken back end in shapes of this table: 404 for what is begun then, the JSON-RPC error before an answer and the error event in a stream for what is cut.
"""


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dualgate", type=Path, required=True, help="the binary under test")
    parser.add_argument("--rmcp-client", type=Path, help="the built example interop_rmcp; without it rmcp is left out")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--write", action="store_true", help="write docs/survival.md")
    parser.add_argument("--clients", default=",".join(CLIENTS), help="only these clients")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    args = parser.parse_args()
    args.work = args.work.resolve()
    args.clients = [client for client in args.clients.split(",") if client != "rmcp" or args.rmcp_client]
    return args


def main():
    args = arguments()
    unwind_on_terminate()
    tools = Tools(args.work)
    tools.rmcp_client = args.rmcp_client
    began = time.monotonic()
    table, problems = {}, []
    for name, (transport, tables, cases) in ALL.items():
        cases = [case for case in cases if args.case in case[0]]
        if not cases:
            continue
        with ExitStack() as running:
            stage = Stage(tools, args, name, transport, tables, running)
            for case in cases:
                table[case[0]], its_problems = play(stage, case)
                problems += its_problems
    text = document(table, args.clients, tools)
    whole = not args.case and args.clients == list(CLIENTS)
    if args.write and whole and not problems:
        DOCUMENT.write_text(text)
    elif whole and (not DOCUMENT.exists() or DOCUMENT.read_text() != text):
        said = DOCUMENT.read_text().splitlines() if DOCUMENT.exists() else []
        differences = list(difflib.unified_diff(said, text.splitlines(), "docs/survival.md", "seen now", n=0, lineterm=""))
        say("docs/survival.md says otherwise; --write writes what was seen now", differences)
        problems += differences
    print(f"took {time.monotonic() - began:.0f} s")
    print(f"{len(table)} cases, {len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    with to_its_end("survive.py"):
        main()
