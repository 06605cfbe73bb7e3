"""What every Python client does in each of its sessions; clients/exercise.mjs and the rmcp example do the same.

A client brings `opener(url, peer)`, an async context manager that connects `peer` with its SDK and ends the session
with DELETE when it is left.
"""

import asyncio
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

CALL_TIMEOUT = 10
NOTICE_TIMEOUT = 1.5
# Sessions are born over a whole cycle of the moving split rather than in one moment of it.
BIRTH_INTERVAL = 0.25
GONE = (400, 404)


def dialect(server_kind):
    dialects = json.loads((Path(__file__).parent.parent / "dialects.json").read_text())
    return dialects["everything" if server_kind == "everything" else "ours"]


class Tally:
    def __init__(self, features):
        self.features = {name: {"calls": 0, "failed": 0, "detail": [], "ids": {}} for name in features}

    def call(self, feature, session, call):
        self.features[feature]["ids"].setdefault(str(session), []).append(call)

    def outcome(self, feature, error=None):
        entry = self.features[feature]
        entry["calls"] += 1
        if error:
            entry["failed"] += 1
            entry["detail"].append(error)


class Peer:
    """One session: what the exercise asks of an SDK client, and what the SDK's callbacks leave here."""

    def __init__(self):
        self.notices = asyncio.Queue()
        self.session_id = None
        self.cut_next = False

    def answer_to(self, prompt):
        return f"answer: {prompt}"

    async def call(self, tool, arguments, on_progress):
        """Set by the opener: the text of the tool's result, or an exception."""
        raise NotImplementedError


def fill(arguments, call):
    return {key: call if value == "$call" else value for key, value in arguments.items()}


async def one_call(peer, step, spec, call):
    progress = []

    async def on_progress(done, *_):
        progress.append(done)

    peer.cut_next = spec.get("cut", False)
    text = await asyncio.wait_for(peer.call(step["tool"], fill(step["arguments"], call), on_progress), CALL_TIMEOUT)
    if "expect" in spec and spec["expect"].replace("$call", call) not in text:
        raise AssertionError(f"unexpected answer: {text[:200]}")
    if "progress" in spec and progress != list(range(1, spec["progress"] + 1)):
        raise AssertionError(f"progress was {progress}")


async def notice(peer, spec, call):
    wanted = spec["notice"].replace("$call", call)
    while wanted not in await asyncio.wait_for(peer.notices.get(), NOTICE_TIMEOUT):
        pass


async def run_feature(peer, tally, prefix, session, feature, spec):
    for round_number in range(spec["repeat"]):
        for case, step in enumerate(spec["calls"]):
            error = None
            for attempt in range(spec.get("attempts", 1)):
                call = f"{prefix}-{session}-{feature}-{round_number}-{case}-{attempt}"
                tally.call(feature, session, call)
                try:
                    await one_call(peer, step, spec, call)
                    if "notice" in spec:
                        await notice(peer, spec, call)
                    error = None
                    break
                except Exception as problem:
                    error = f"{call}: {problem!r}"
            tally.outcome(feature, error)
            await asyncio.sleep(spec.get("pace_ms", 0) / 1000)


def status_after_delete(url, session_id):
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Mcp-Session-Id": session_id,
        "MCP-Protocol-Version": "2025-11-25",
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=CALL_TIMEOUT) as answer:
            return answer.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


async def run_session(opener, url, prefix, session, features, tally):
    await asyncio.sleep(session * BIRTH_INTERVAL)
    peer = Peer()
    left = list(features)
    try:
        async with opener(url, peer):
            while left:
                await run_feature(peer, tally, prefix, session, left[0], features[left[0]])
                left.pop(0)
        status = await asyncio.to_thread(status_after_delete, url, peer.session_id)
        tally.outcome("delete", None if status in GONE else f"session {session}: {status} after DELETE")
    except BaseException as problem:
        # One dead session must not hide the others; what it did not reach counts as failed.
        for feature in [*left, "delete"]:
            tally.outcome(feature, f"session {session}: {problem!r}")


def main(client, opener):
    url, server_kind, sessions = sys.argv[1], sys.argv[2], int((sys.argv[3:] or ["4"])[0])
    features = dialect(server_kind)
    tally = Tally([*features, "delete"])
    prefix = f"{client}-{server_kind}"

    async def all_sessions():
        await asyncio.gather(
            *(run_session(opener, url, prefix, number, features, tally) for number in range(sessions))
        )

    asyncio.run(all_sessions())
    print(json.dumps({"client": client, "server": server_kind, "features": tally.features}))
