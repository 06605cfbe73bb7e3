"""The clients of rehome.py, and the account of a case: what each client's sessions went through."""

import json
import os
import subprocess
import threading
from dataclasses import dataclass, field

from .matrix import client_command

# So long a call may take until it is a hang, in seconds; clients wait no longer.
PATIENCE = 10
HANG = 9.8
# An answer to an order: every session of the client may first have to wait for a call, and then ask more than once.
ANSWER_TIMEOUT = 90


class Client:
    """A client's process with all its sessions: clients/hold.py."""

    def __init__(self, tools, name, prefix, urls, sessions, pace, births, work):
        self.name = name
        hold = {
            "urls": urls, "ms": [0, 400, 0, 800], "pace": pace, "births": births, "patience": PATIENCE, "last": 5,
        }
        task = {
            "url": urls[0], "server": "ours", "transport": "streamable-http", "dialect": "legacy", "modes": ["legacy"],
            "sessions": sessions, "prefix": prefix, "keyed": False, "delete": False, "http": "1.1", "ca": "", "drive": False,
            "hold": hold,
        }
        self._talk = work / f"client-{name}.err"
        with open(self._talk, "w") as sink:
            self._process = subprocess.Popen(
                client_command(tools, name, task), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sink, text=True,
                bufsize=1, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )

    def answer(self):
        # What never answers would keep the suite waiting for ever.
        watch = threading.Timer(ANSWER_TIMEOUT, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if not line:
            raise RuntimeError(f"{self.name} ended or did not answer within {ANSWER_TIMEOUT} s: {self._talk}")
        return json.loads(line)

    def order(self, **what):
        self._process.stdin.write(json.dumps(what) + "\n")
        return self.answer()

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


@dataclass
class Kill:
    """Processes that were killed at a time: `began` just before the first, `ended` just after the last."""

    began: float
    ended: float
    servers: set = field(default_factory=set)
    proxy: bool = False
    # When a proxy was there again, on the ports where it was.
    back: float = 0


@dataclass
class Account:
    """One line of the table."""

    client: str
    sessions: int = 0
    due: int = 0
    moved: int = 0
    lost: int = 0
    calls: int = 0
    failed: int = 0
    on_server: int = 0
    on_proxy: int = 0
    other: int = 0
    again: int = 0
    hangs: int = 0
    twice: int = 0
    before: int = 0
    heard: int = 0
    slowest: float = 0
    detail: list = field(default_factory=list)

    def say(self, what):
        if len(self.detail) < 12:
            self.detail.append(f"{self.client}: {what}")

    @property
    def problems(self):
        """What the claims rule out."""
        ruled_out = {
            "no session": not self.sessions, "no call": not self.calls, f"{self.lost} lost": self.lost,
            f"{self.other} calls failed that were in flight on nothing killed": self.other,
            f"{self.again} calls failed beyond one per session and kill": self.again, f"{self.hangs} hangs": self.hangs,
            f"{self.twice} calls executed more than once": self.twice,
            f"{self.heard} of {self.sessions} sessions got a notification afterwards": self.heard < self.sessions,
            f"{self.moved} of {self.due} sessions were moved": self.moved < self.due,
        }
        return [f"{self.client}: {words}" for words, true in ruled_out.items() if true]


def killed_under(made, times, kills):
    """The kill that a failed call was in flight at, and which of its processes it was on: (kill, "server" or "proxy")."""
    for kill in kills:
        if kill.servers and made["start"] <= kill.ended and made["end"] >= kill.began:
            # What a living process began was not in flight on a dead one.
            if all(one.process in kill.servers for one in times):
                return kill, "server"
        # Until it is back there is nobody to ask.
        if kill.proxy and made["start"] <= kill.back and made["end"] >= kill.began:
            return kill, "proxy"
    return None, None


def account(client, report, services, executions, kills, is_due, marks):
    """`services`: their names in the order of the URLs; `is_due(process)`: whether a session that began there was to be moved; `marks`: names of the notifications asked for
    before and after."""
    told = Account(client)
    for session in report["sessions"]:
        told.sessions += 1
        name = f"session {session['session']} ({services[session['session'] % len(services)]})"
        if not session["opened"]["ok"]:
            told.lost += 1
            told.say(f"{name} did not open: {session['opened']['text']}")
            continue
        if session["lost"] or session["anew"]:
            told.lost += 1
            told.say(f"{name} {'began anew' if session['anew'] else 'lost'}: {session['calls'][-1]['error']}")
        told.before += marks[0] in session["heard"]
        told.heard += marks[1] in session["heard"]
        failures = []
        for made in session["calls"]:
            times = executions.of[made["call"]]
            told.calls += 1
            seconds = made["end"] - made["start"]
            told.slowest = max(told.slowest, seconds)
            told.hangs += seconds >= HANG
            told.twice += len(times) > 1
            if len(times) > 1:
                told.say(f"{made['call']} was executed by {[one.process for one in times]}")
            if not made["ok"]:
                failures.append((made, *killed_under(made, times, kills)))
        told.failed += len(failures)
        _judge_failures(told, name, failures)
        _judge_move(told, session, executions, is_due)
    return told


def _judge_failures(told, name, failures):
    seen = set()
    for made, kill, where in failures:
        if where is None:
            told.other += 1
            told.say(f"{name}: {made['call']} after {made['end'] - made['start']:.1f} s: {made['error']}")
        elif where == "proxy":
            told.on_proxy += 1
        else:
            told.on_server += 1
            told.again += id(kill) in seen
            seen.add(id(kill))


def _judge_move(told, session, executions, is_due):
    homes = [one.process for made in session["calls"] for one in executions.of[made["call"]][:1]]
    if homes and is_due(homes[0]):
        told.due += 1
        # A session that was lost and begun anew has not been moved.
        told.moved += homes[-1] != homes[0] and not session["anew"] and not session["lost"]


def total(accounts):
    whole = Account("all")
    for each in accounts:
        for name, value in vars(each).items():
            if isinstance(value, int):
                setattr(whole, name, getattr(whole, name) + value)
        whole.slowest = max(whole.slowest, each.slowest)
    return whole
