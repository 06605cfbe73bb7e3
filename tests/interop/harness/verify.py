"""Turns a client's report and the servers' journals into cells. Who executed a call is what the servers say."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from .matrix import reason

MODERN_ERA = "2026-07-28"


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

    def anywhere(self, event, session):
        return sum(times for (name, (_, of)), times in self.events.items() if (name, of) == (event, session))

    def births(self):
        """Sessions that executed something, by server: health probes open sessions too, but call nothing."""
        homes = {home for executions in self.executed.values() for home in executions}
        return Counter(server for server, _ in homes)


class Judge:
    """One cell per feature of a report, and one that counts the sessions found on more than one server."""

    def __init__(self, lane, report, journals):
        self._lane, self._report, self._journals = lane, report, journals
        self.cells = {}
        self._sessions = defaultdict(list)

    def verdict(self):
        for name in self._lane.features:
            self._executions(name, self._report["features"][name])
        moved = self.cells["moved"] = Cell(len(self._sessions))
        for session, calls in sorted(self._sessions.items()):
            homes = self._journals.homes(calls)
            # A modern client has no session to keep; what it must keep fails its own features otherwise.
            if len(homes) > 1 and self._report["versions"].get(session) != MODERN_ERA:
                moved.fail(f"session {session} was on {sorted(homes)}")
            self._streams(session, homes)
        self._wire()
        return self.cells

    def _executions(self, name, told):
        cell = self.cells[name] = Cell(told["calls"], told["failed"], list(told["detail"]))
        cell.reason = reason(self._lane.name, self._report["client"], self._report["server"], name)
        for session, calls in told["ids"].items():
            self._sessions[session] += calls
            for call in calls:
                times = len(self._journals.executed[call])
                if times != 1 and not any(call in line for line in cell.detail):
                    cell.fail(f"{call} was executed {times} times")

    def _blame(self, name, session, problem):
        # What the client itself saw fail needs no second entry.
        if not self._report["features"][name]["failed"]:
            self.cells[name].fail(f"session {session}: {problem}")

    def _streams(self, session, homes):
        features, journals = self._report["features"], self._journals
        if "delete" in self._lane.features and not journals.count("deleted", homes):
            self._blame("delete", session, "no server saw it end")
        if "get-stream" in self._lane.features:
            lost = len(features["resume"]["ids"].get(session, [])) if "resume" in features else 0
            resumed = journals.count("resumed", homes)
            listened = journals.count("listening", homes)
            if resumed < lost:
                self._blame("resume", session, f"{resumed} resumptions for {lost} lost streams")
            # SDKs reopen a lost stream in silence, so that none was lost can only be seen at the server.
            if resumed > lost or listened != 1:
                problem = f"{listened} streams opened, {resumed} resumed for {lost} lost on purpose"
                self._blame("get-stream", session, problem)
        if "listen" in self._lane.features:
            key = f"{self._report['prefix']}-{session}"
            for feature, event in (("listen", "listening"), ("listen", "unlistened"), ("cancel", "cancelled")):
                due, seen = len(features[feature]["ids"].get(session, [])), journals.anywhere(event, key)
                if seen != due:
                    self._blame(feature, session, f"servers saw {event} {seen} times, it was due {due} times")

    def _wire(self):
        """The HTTP version is what the client was given, seen on its side of the wire."""
        wanted = "HTTP/1.1" if self._lane.http == "1.1" else "HTTP/2"
        wire = self.cells["wire"] = Cell(sum(self._report["wire"].values()))
        for version, times in self._report["wire"].items():
            if version != wanted:
                wire.fail(f"{times} times {version} instead of {wanted}")
