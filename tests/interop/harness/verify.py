"""Turns a client's report and the servers' journals into cells. Who executed a call is what the servers say."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from .matrix import FEATURES, REASONS


@dataclass
class Cell:
    calls: int = 0
    failed: int = 0
    detail: list = field(default_factory=list)
    reason: str = ""

    @property
    def ok(self):
        return self.calls > 0 and self.failed == 0

    def fail(self, detail):
        self.failed += 1
        self.detail.append(detail)

    def __str__(self):
        if self.reason:
            return "-"
        return f"{'ok' if self.ok else 'FAIL'} {self.calls - self.failed}/{self.calls}"


class Journals:
    """The journals of both instances, read as one."""

    def __init__(self, paths):
        self.executed = defaultdict(list)
        self.events = Counter()
        for path in paths:
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                home = (entry["server"], entry["session"])
                if "call" in entry:
                    self.executed[entry["call"]].append(home)
                else:
                    self.events[entry["event"], home] += 1

    def homes(self, calls):
        return {home for call in calls for home in self.executed[call]}

    def count(self, event, homes):
        return sum(self.events[event, home] for home in homes)

    def births(self):
        """Sessions that executed something, by server: health probes open sessions too, but call nothing."""
        homes = {home for executions in self.executed.values() for home in executions}
        return Counter(server for server, _ in homes)


def judge(report, journals):
    """One cell per feature, and one that counts the sessions found on more than one server."""
    cells = {}
    sessions = defaultdict(list)
    for name in FEATURES:
        told = report["features"][name]
        cell = cells[name] = Cell(told["calls"], told["failed"], list(told["detail"]))
        cell.reason = REASONS.get((report["client"], report["server"], name), "")
        for session, calls in told["ids"].items():
            sessions[session] += calls
            for call in calls:
                if len(journals.executed[call]) != 1 and not any(call in line for line in cell.detail):
                    cell.fail(f"{call} was executed {len(journals.executed[call])} times")
    moved = cells["moved"] = Cell(len(sessions))

    def blame(name, session, problem):
        # What the client itself saw fail needs no second entry.
        if not report["features"][name]["failed"]:
            cells[name].fail(f"session {session}: {problem}")

    for session, calls in sorted(sessions.items()):
        homes = journals.homes(calls)
        if len(homes) > 1:
            moved.fail(f"session {session} was on {sorted(homes)}")
        if not journals.count("deleted", homes):
            blame("delete", session, "no server saw it end")
        lost = len(report["features"]["resume"]["ids"].get(session, []))
        resumed = journals.count("resumed", homes)
        listened = journals.count("listening", homes)
        if resumed < lost:
            blame("resume", session, f"{resumed} resumptions for {lost} lost streams")
        # SDKs reopen a lost stream in silence, so that none was lost can only be seen at the server.
        if resumed > lost or listened != 1:
            blame("get-stream", session, f"{listened} streams opened, {resumed} resumed for {lost} lost on purpose")
    return cells
