"""Many sessions served by a few connections, and what each of them does in its turn."""

import asyncio
from dataclasses import dataclass

from .session import PATH, Refused, Session
from .wire import Connection, Gone

WORKERS = 16
FAILURES = (Gone, Refused, TimeoutError)


@dataclass(frozen=True)
class Fault:
    session: Session
    calls: list
    problem: Exception

    def __repr__(self):
        return f"session {self.session.number}: {self.problem!r}"


class Crowd:
    """Sessions served by a few connections that take turns."""

    def __init__(self, port, count, path=PATH):
        self.sessions = [Session(number, path) for number in range(count)]
        self._connections = [Connection(port) for _ in range(WORKERS)]
        self.errors = []
        self.in_flight = set()
        self.may_call = asyncio.Event()
        self.may_call.set()

    async def each(self, act, on_progress=None):
        """`act(session, connection)` once for every session; failures are kept, not raised."""
        queue = list(reversed(self.sessions))

        async def work(connection):
            while queue:
                await self.may_call.wait()
                if not queue:
                    return
                session = queue.pop()
                self.in_flight.add(session)
                try:
                    await act(session, connection)
                except FAILURES as problem:
                    self.errors.append(Fault(session, session.calls[-1:], problem))
                self.in_flight.discard(session)
                if on_progress:
                    await on_progress(len(self.sessions) - len(queue))

        await asyncio.gather(*(work(connection) for connection in self._connections))


async def birth(session, connection):
    await session.open(connection)
    await session.call(connection)


async def call(session, connection):
    await session.call(connection)


def homes_of(journals, sessions):
    return {session: journals.homes(session.calls) for session in sessions}
