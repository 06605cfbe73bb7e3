"""What every Python client does in each of its sessions; clients/exercise.mjs and the rmcp example do the same.

A client brings `opener(task, peer)`, an async context manager that connects `peer` with its SDK and ends the session
when it is left. The task comes as one JSON argument; run.py documents its fields.
"""

import asyncio
import json
import ssl
import sys
from pathlib import Path

from wire import status_after_delete

CALL_TIMEOUT = 10
NOTICE_TIMEOUT = 2.5
CANCEL_AFTER = 0.3
# Sessions are born over a whole cycle of the moving split rather than in one moment of it.
BIRTH_INTERVAL = 0.25
GONE = (400, 404)


class Task(dict):
    """The JSON argument, its fields as attributes."""

    __getattr__ = dict.__getitem__

    @property
    def features(self):
        dialects = json.loads((Path(__file__).parent.parent / "dialects.json").read_text())
        return dialects[self.dialect].get(self.server) or dialects[self.dialect]["ours"]

    @property
    def trust(self):
        return ssl.create_default_context(cafile=self.ca) if self.ca else True


class Tally:
    def __init__(self, features):
        self.features = {name: {"calls": 0, "failed": 0, "detail": [], "ids": {}} for name in features}
        self.versions = {}
        self.wire = {}

    def call(self, feature, session, call):
        self.features[feature]["ids"].setdefault(str(session), []).append(call)

    def outcome(self, feature, error=None):
        entry = self.features[feature]
        entry["calls"] += 1
        if error:
            entry["failed"] += 1
            entry["detail"].append(error)

    def heard(self, http_version):
        self.wire[http_version] = self.wire.get(http_version, 0) + 1


class Peer:
    """One session: what the exercise asks of an SDK client, and what the SDK's callbacks leave here."""

    def __init__(self, task, session, tally):
        self.key = f"{task.prefix}-{session}"
        self.mode = task.modes[session % len(task.modes)]
        self.notices = asyncio.Queue()
        self.session_id = None
        self.version = None
        self.cut_next = False
        self.heard = tally.heard

    def answer_to(self, prompt):
        return f"answer: {prompt}"

    async def call(self, tool, arguments, on_progress):
        """Set by the opener: the text of the tool's result, or an exception."""
        raise NotImplementedError

    async def tools(self):
        """Set by the opener where lists are asked for: the names on all pages."""
        raise NotImplementedError

    async def notify(self):
        """Set by the opener: a notification to the server."""
        raise NotImplementedError

    def listen(self):
        """Set by the opener where streams are subscribed to: a context manager that gives an iterator of events."""
        raise NotImplementedError


def fill(arguments, call):
    return {key: call if value == "$call" else value for key, value in arguments.items()}


async def plain_call(peer, tool, step, spec, call):
    progress = []

    async def on_progress(done, *_):
        progress.append(done)

    peer.cut_next = spec.get("cut", False)
    text = await asyncio.wait_for(peer.call(tool, fill(step["arguments"], call), on_progress), CALL_TIMEOUT)
    if "expect" in spec and spec["expect"].replace("$call", call) not in text:
        raise AssertionError(f"unexpected answer: {text[:200]}")
    if "progress" in spec and progress != list(range(1, spec["progress"] + 1)):
        raise AssertionError(f"progress was {progress}")
    if "notice" in spec:
        await notice(peer, spec["notice"].replace("$call", call))


async def notice(peer, wanted):
    while wanted not in await asyncio.wait_for(peer.notices.get(), NOTICE_TIMEOUT):
        pass


async def listed_call(peer, step, spec, call):
    """What was listed is called: only the version that listed it has a tool of that name."""
    names = [name for name in await asyncio.wait_for(peer.tools(), CALL_TIMEOUT) if name.startswith(step["tool"])]
    if len(names) != 1:
        raise AssertionError(f"of {step['tool']} there were {names}")
    await plain_call(peer, names[0], step, spec, call)


async def listening(peer, step, spec, call):
    async with asyncio.timeout(CALL_TIMEOUT):
        async with peer.listen() as events:
            for _ in range(step["events"]):
                await asyncio.wait_for(anext(events), NOTICE_TIMEOUT)
            await plain_call(peer, step["tool"], step, spec, call)
            await asyncio.wait_for(anext(events), NOTICE_TIMEOUT)


async def cancelled_call(peer, step, _spec, call):
    async def ignore(*_):
        pass

    try:
        await asyncio.wait_for(peer.call(step["tool"], fill(step["arguments"], call), ignore), CANCEL_AFTER)
    except TimeoutError:
        return
    raise AssertionError("the call was over before it was cancelled")


async def one_step(peer, step, spec, call):
    acts = {"listed": listed_call, "listen": listening, "cancel": cancelled_call}
    if "act" in step:
        await acts[step["act"]](peer, step, spec, call)
    else:
        await plain_call(peer, step["tool"], step, spec, call)


async def run_feature(peer, tally, session, feature, spec):
    for round_number in range(spec["repeat"]):
        for case, step in enumerate(spec["calls"]):
            error = None
            for attempt in range(spec.get("attempts", 1)):
                call = f"{peer.key}-{feature}-{round_number}-{case}-{attempt}"
                tally.call(feature, session, call)
                try:
                    await one_step(peer, step, spec, call)
                    error = None
                    break
                except Exception as problem:
                    error = f"{call}: {problem!r}"
            tally.outcome(feature, error)
            await asyncio.sleep(spec.get("pace_ms", 0) / 1000)


async def run_session(opener, task, session, tally):
    await asyncio.sleep(session * BIRTH_INTERVAL)
    peer = Peer(task, session, tally)
    left = list(task.features)
    after = ["delete"] if task.delete else []
    try:
        async with opener(task, peer):
            tally.versions[str(session)] = peer.version
            while left:
                await run_feature(peer, tally, session, left[0], task.features[left[0]])
                left.pop(0)
        if after:
            status = await asyncio.to_thread(status_after_delete, task, peer.session_id)
            tally.outcome("delete", None if status in GONE else f"session {session}: {status} after DELETE")
    except BaseException as problem:
        # One dead session must not hide the others; what it did not reach counts as failed.
        for feature in [*left, *after]:
            tally.outcome(feature, f"session {session}: {problem!r}")


def main(client, opener):
    task = Task(json.loads(sys.argv[1]))
    if "hold" in task:
        from hold import hold

        hold(opener, task)
        return
    if task.drive:
        # Here because drive.py builds on this file.
        from drive import drive

        drive(opener, task)
        return
    tally = Tally([*task.features, *(["delete"] if task.delete else [])])

    async def all_sessions():
        await asyncio.gather(*(run_session(opener, task, number, tally) for number in range(task.sessions)))

    asyncio.run(all_sessions())
    report = {"client": client, "server": task.server, "features": tally.features}
    print(json.dumps({**report, "versions": tally.versions, "wire": tally.wire}))
