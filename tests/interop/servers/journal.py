"""What a Python server writes down about itself: calls it executed, sessions born and ended, streams opened and lost.

The SDKs number their streams by request id, which repeats from session to session. So the session of the moment
travels in a context variable: the SDK starts a session's tasks in the context of its `initialize` (or of the GET that
is an HTTP+SSE session), and handles every later request in a context of its own, so all see the right one. A modern
request belongs to no session; what it has in common with its client's others is the client's key.
"""

import asyncio
import json
import re
from contextvars import ContextVar

SESSION_HEADER = b"mcp-session-id"
KEY_HEADER = b"x-api-key"
METHOD_HEADER = b"mcp-method"
# Where HTTP+SSE has its session id.
ENDPOINT = re.compile(rb"session_id=(\w+)")


class Session:
    def __init__(self, identity=None):
        self.id = identity
        self.listening = asyncio.Event()
        self.resumed = asyncio.Event()


CURRENT: ContextVar[Session] = ContextVar("session")


class Journal:
    def __init__(self, path, server):
        self._file = open(path, "a", buffering=1)
        self.server = server

    def call(self, tool, call):
        self._write(tool=tool, call=call, session=CURRENT.get().id)

    def done(self, call):
        """What was begun has come to its end: a call without this was running when its process died."""
        self._write(event="done", done=call, session=CURRENT.get().id)

    def event(self, event, session=None):
        self._write(event=event, session=session or CURRENT.get().id)

    def _write(self, **facts):
        self._file.write(json.dumps({"server": self.server, **facts}) + "\n")


class Watch:
    """ASGI middleware that keeps the journal of sessions and sets `CURRENT`."""

    def __init__(self, app, journal):
        self._app = app
        self._journal = journal
        self._sessions = {}

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] == "GET" and scope["path"] == "/sse":
            await self._sse(scope, receive, send)
        else:
            await self._streamable(scope, receive, send)

    async def _sse(self, scope, receive, send):
        """The session is this request: it is born with it and ends with it."""
        session = Session()
        CURRENT.set(session)
        session.listening.set()

        async def watched(message):
            # The first event says where to post, and that has the id in it.
            if session.id is None and (found := ENDPOINT.search(message.get("body", b""))):
                session.id = found[1].decode()
                self._sessions[session.id] = session
                self._journal.event("listening")
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            self._journal.event("deleted")

    async def _streamable(self, scope, receive, send):
        headers = dict(scope["headers"])
        posted_to = ENDPOINT.search(scope["query_string"])
        asked = (posted_to[1] if posted_to else headers.get(SESSION_HEADER, b"")).decode()
        session = self._sessions.get(asked) or Session(headers.get(KEY_HEADER, b"").decode() or None)
        CURRENT.set(session)
        listens = headers.get(METHOD_HEADER) == b"subscriptions/listen"

        async def watched(message):
            if message["type"] == "http.response.start" and message["status"] == 200:
                if listens:
                    self._journal.event("listening")
                else:
                    self._note(scope["method"], headers, dict(message["headers"]), session)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            if listens:
                self._journal.event("unlistened")

    def _note(self, method, headers, answer, session):
        if method == "POST" and SESSION_HEADER in answer and SESSION_HEADER not in headers:
            session.id = answer[SESSION_HEADER].decode()
            self._sessions[session.id] = session
            self._journal.event("created")
        elif method == "GET" and b"last-event-id" in headers:
            self._journal.event("resumed")
        elif method == "GET":
            session.listening.set()
            self._journal.event("listening")
        elif method == "DELETE":
            del self._sessions[session.id]
            self._journal.event("deleted")


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
