"""The clients of rehome.py, and the account of a case: what each client's sessions went through."""

import json
import os
import re
import subprocess
import threading
from dataclasses import dataclass, field

from .matrix import client_command

# So long a call may take until it is a hang, in seconds; clients wait no longer.
PATIENCE = 10
HANG = 9.8
# An answer to an order: every session of the client may first have to wait for a call, and then ask more than once.
ANSWER_TIMEOUT = 90
# What SDKs say of a session that they have given up themselves.
CLIENT_DIED = re.compile(r"ClosedResource|BrokenResource|session died|not connected|(connection|transport|channel) (is )?closed", re.I)


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
    """A process that was killed: `began` just before, `ended` when it was gone, which until then may have been sent something.
    Processes that are killed together have the same `began`."""

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
    # Their own call was in flight when the proxy was killed, and that was the end of the client.
    lost_on_proxy: int = 0
    # The same, and no notification reaches them any more: the SDK resumes its call where its stream was.
    deaf_on_proxy: int = 0
    calls: int = 0
    failed: int = 0
    on_server: int = 0
    on_proxy: int = 0
    other: int = 0
    again: int = 0
    hangs: int = 0
    hangs_on_proxy: int = 0
    twice: int = 0
    before: int = 0
    asked: int = 0
    heard: int = 0
    slowest: float = 0
    _said: dict = field(default_factory=dict)

    def say(self, what, example):
        """The same is said once, with how often it was and one example."""
        # Ids and times differ where the problem is the same.
        times, first = self._said.get(key := re.sub(r"\d+", "N", what), (0, f"{what}, as {example}"))
        self._said[key] = (times + 1, first)

    @property
    def detail(self):
        return [f"{self.client}: {times} × {first}" for times, first in self._said.values()]

    @property
    def problems(self):
        """What the claims rule out."""
        ruled_out = {
            "no session": not self.sessions, "no call": not self.calls, f"{self.lost} lost": self.lost,
            f"{self.other} calls failed that were in flight on nothing killed": self.other,
            f"{self.again} calls failed beyond one per session and kill": self.again, f"{self.hangs} hangs": self.hangs,
            f"{self.twice} calls executed more than once": self.twice,
            f"{self.heard} of {self.asked} sessions got a notification afterwards": self.heard < self.asked,
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
    """`services`: their names in the order of the URLs; `is_due(process)`: whether a session that began there was to be
    moved; `marks`: names of the notifications asked for before and after."""
    told = Account(client)
    for session in report["sessions"]:
        where = f"session {session['session']} ({services[session['session'] % len(services)]})"
        told.sessions += 1
        if not session["opened"]["ok"]:
            told.lost += 1
            told.say(f"did not open: {session['opened']['text']}", where)
            continue
        told.before += marks[0] in session["heard"]
        _judge(told, session, where, executions, kills, is_due, marks[1])
    return told


def _judge(told, session, where, executions, kills, is_due, mark):
    calls = [_Call(made, executions.of[made["call"]], kills) for made in session["calls"]]
    if died := _died_with_proxy(session, calls):
        # What its application asks of it afterwards goes nowhere.
        calls = calls[: died + 1]
        told.lost_on_proxy += 1
    elif session["lost"] or session["anew"]:
        told.lost += 1
        told.say("begun anew" if session["anew"] else f"lost: {session['calls'][-1]['error']}", where)
    if not died:
        _judge_move(told, session, calls, is_due)
    if not died and mark not in session["heard"] and not session["lost"] and any(call.where == "proxy" for call in calls):
        told.deaf_on_proxy += 1
        told.say("in flight at a killed proxy, hears nothing afterwards", where)
    elif not died:
        told.asked += 1
        told.heard += mark in session["heard"]
    for call in calls:
        call.count(told, where)
    kills_seen = [call.kill.began for call in calls if call.where == "server"]
    told.again += len(kills_seen) - len(set(kills_seen))


def _died_with_proxy(session, calls):
    """The place of the call at whose proxy the client itself came to its end, as some SDKs do: no request is sent any more."""
    if not session["lost"] or not CLIENT_DIED.search(session["calls"][-1]["error"]):
        return 0
    return next((at for at, call in enumerate(calls) if call.where == "proxy"), 0)


def _judge_move(told, session, calls, is_due):
    homes = [call.times[0].process for call in calls if call.times]
    if homes and is_due(homes[0]):
        told.due += 1
        # A session that was lost and begun anew has not been moved.
        told.moved += homes[-1] != homes[0] and not session["anew"] and not session["lost"]


class _Call:
    """A call as its client saw it, and as the servers did."""

    def __init__(self, made, times, kills):
        self.made, self.times = made, times
        self.seconds = made["end"] - made["start"]
        self.kill, self.where = (None, None) if made["ok"] else killed_under(made, times, kills)

    def count(self, told, session):
        example = f"{self.made['call']} of {session} after {self.seconds:.1f} s"
        told.calls += 1
        told.slowest = max(told.slowest, self.seconds)
        if len(self.times) > 1:
            told.twice += 1
            told.say(f"executed by {[one.process for one in self.times]}", self.made["call"])
        if self.seconds >= HANG and self.where == "proxy":
            told.hangs_on_proxy += 1
        elif self.seconds >= HANG:
            told.hangs += 1
            told.say("hangs", f"{example}, in flight at a killed {self.where}, executed by {[one.process for one in self.times]}")
        if self.made["ok"]:
            return
        told.failed += 1
        if self.where == "proxy":
            told.on_proxy += 1
        elif self.where == "server":
            told.on_server += 1
        else:
            told.other += 1
            told.say(f"failed: {self.made['error']}", example)


def total(accounts):
    whole = Account("all")
    for each in accounts:
        for name, value in vars(each).items():
            if isinstance(value, int):
                setattr(whole, name, getattr(whole, name) + value)
        whole.slowest = max(whole.slowest, each.slowest)
    return whole
