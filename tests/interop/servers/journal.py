"""What a Python server writes down about itself: calls it executed, sessions born and ended, streams resumed.

The SDKs number their streams by request id, which repeats from session to session. So the session of the moment
travels in a context variable: the SDK starts a session's tasks in the context of its `initialize`, and handles every
later request in a context of its own, so both see the right one.
"""

import asyncio
import json
from contextvars import ContextVar

SESSION_HEADER = b"mcp-session-id"


class Session:
    def __init__(self, identity=None):
        self.id = identity
        self.listening = asyncio.Event()
        self.resumed = asyncio.Event()


CURRENT: ContextVar[Session] = ContextVar("session")


class Journal:
    def __init__(self, path, server):
        self._file = open(path, "a", buffering=1)
        self._server = server

    def call(self, tool, call):
        self._write(tool=tool, call=call, session=CURRENT.get().id)

    def event(self, event, session):
        self._write(event=event, session=session)

    def _write(self, **facts):
        self._file.write(json.dumps({"server": self._server, **facts}) + "\n")


class Watch:
    """ASGI middleware that keeps the journal of sessions and sets `CURRENT`."""

    def __init__(self, app, journal):
        self._app = app
        self._journal = journal
        self._sessions = {}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        asked = headers.get(SESSION_HEADER, b"").decode()
        session = self._sessions.get(asked) or Session()
        CURRENT.set(session)

        async def watched(message):
            if message["type"] == "http.response.start" and message["status"] == 200:
                self._note(scope["method"], headers, dict(message["headers"]), session)
            await send(message)

        await self._app(scope, receive, watched)

    def _note(self, method, headers, answer, session):
        if method == "POST" and session.id is None and SESSION_HEADER in answer:
            session.id = answer[SESSION_HEADER].decode()
            self._sessions[session.id] = session
            self._journal.event("created", session.id)
        elif method == "GET" and b"last-event-id" in headers:
            self._journal.event("resumed", session.id)
        elif method == "GET":
            session.listening.set()
            self._journal.event("listening", session.id)
        elif method == "DELETE":
            del self._sessions[session.id]
            self._journal.event("deleted", session.id)


class Events:
    """The event store of both Python servers; each adds its SDK's base class and event type."""

    event_type = None

    def __init__(self):
        self._events = []

    async def store_event(self, stream_id, message):
        self._events.append((CURRENT.get().id, stream_id, message))
        return str(len(self._events))

    async def replay_events_after(self, last_event_id, send_callback):
        session, stream, _ = self._events[int(last_event_id) - 1]
        for number in range(int(last_event_id), len(self._events)):
            if self._events[number][:2] == (session, stream) and self._events[number][2] is not None:
                await send_callback(self.event_type(self._events[number][2], str(number + 1)))
        CURRENT.get().resumed.set()
        return stream
