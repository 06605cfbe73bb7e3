"""One thing at a time: what survive.py asks of a client, line by line, and what came of it.

    {"do": "connect"}                                    a new session; the one before is forgotten
    {"do": "call", "tool": NAME, "arguments": {...}}     ok with the text of the result; "within": its caller's own
                                                         timeout in seconds
    {"do": "notice", "text": TEXT, "within": SECONDS}    ok when a log message with it has come
    {"do": "notify"}                                     a notification to the server
    {"do": "end"}                                        ends the session, with DELETE

Each is answered with {"seconds": N, "answer": {"ok": BOOL, "text": TEXT, "hang": BOOL}}.
"""

import asyncio
import json
import sys
import time

from exercise import Peer, Tally

# What did not come back in this time hangs.
PATIENCE = 12


class Driver:
    def __init__(self, opener, task, number=0, patience=PATIENCE):
        self._opener, self._task, self._number, self._patience = opener, task, number, patience
        self._peer = self._holder = self._leave = None

    async def _hold(self, connected):
        async with self._opener(self._task, self._peer):
            connected.set()
            await self._leave.wait()

    async def _unless_dead(self, doing):
        """What the SDK's own tasks raise ends the session: then nothing else comes back."""
        doing = asyncio.ensure_future(doing)
        try:
            await asyncio.wait({doing, self._holder}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return await doing
        finally:
            # Left alone it would take what a later order waits for.
            doing.cancel()
        raise RuntimeError(f"the session died: {self._holder.exception()!r}")

    async def connect(self, _order):
        if self._holder:
            self._holder.cancel()
        self._peer, self._leave = Peer(self._task, self._number, Tally([])), asyncio.Event()
        connected = asyncio.Event()
        self._holder = asyncio.create_task(self._hold(connected))
        await self._unless_dead(connected.wait())
        return self._peer.version

    async def call(self, order):
        async def ignore(*_):
            pass

        called = self._unless_dead(self._peer.call(order["tool"], order["arguments"], ignore))
        try:
            async with asyncio.timeout(order.get("within")):
                return await called
        except TimeoutError as late:
            raise RuntimeError("its caller's timeout") from late

    async def notice(self, order):
        async def heard():
            while order["text"] not in await self._peer.notices.get():
                pass

        async with asyncio.timeout(order["within"]):
            await self._unless_dead(heard())

    async def notify(self, _order):
        await self._unless_dead(self._peer.notify())

    async def end(self, _order):
        self._leave.set()
        await self._holder

    async def carry_out(self, order):
        began, patience = time.monotonic(), order.get("patience", self._patience)
        try:
            text = await asyncio.wait_for(getattr(self, order["do"])(order), patience)
            answer = {"ok": True, "text": text}
        except TimeoutError:
            answer = {"ok": False, "hang": time.monotonic() - began >= patience, "text": "no end to it"}
        except BaseException as problem:
            answer = {"ok": False, "text": repr(problem)}
        return {"seconds": time.monotonic() - began, "answer": answer}


def drive(opener, task):
    async def orders():
        driver = Driver(opener, task)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await driver.carry_out(json.loads(line))), flush=True)

    asyncio.run(orders())
