"""Many sessions held open, each making calls all the while, whatever happens to what they talk to: rehome.py's clients.

The task is that of exercise.py with `hold`: {"urls": [...], "ms": [...], "pace": SECONDS, "births": SECONDS, "patience":
SECONDS, "last": TRIES}. Session n talks to the n-th URL (in turn), and its calls take `ms` milliseconds in turn, `pace`
apart on average. A line comes when all have tried to open, and one for each line of the standard input:

    {"do": "notify", "mark": TEXT, "within": SECONDS}   each session asks for a notification on its GET stream
    {"do": "stop"}                                      the report; each session first calls until one call is answered,
                                                        `last` times at most and not for long: what has none is lost

A session is never opened again. Times are those of the system's clock, in seconds.
"""

import asyncio
import json
import os
import random
import sys
import time

from drive import Driver

# Many sessions begin at a time, which takes as long as it takes.
OPEN_WITHIN = 40
# After a call that failed the next comes this soon, in seconds.
AGAIN = 0.4
# A notification asked for that has not come after so long is asked for once more.
ASK_AGAIN = 1.6
# After so many seconds no further last call is begun: what hangs time and again is lost as well.
LAST_WITHIN = 15


class Held:
    def __init__(self, opener, task, number):
        told = task["hold"]
        url = told["urls"][number % len(told["urls"])]
        self.number, self.told = number, told
        self.key = f"{task['prefix']}-{number}"
        self.driver = Driver(opener, type(task)({**task, "url": url}), number, told["patience"])
        self.orders = asyncio.Queue()
        self.calls, self.heard = [], {}
        self.opened = self.lost = None

    async def open(self):
        await asyncio.sleep(self.number * self.told["births"])
        self.opened = (await self.driver.carry_out({"do": "connect", "patience": OPEN_WITHIN}))["answer"]

    async def call(self, tool, **arguments):
        name = f"{self.key}-{len(self.calls)}"
        made = {"session": self.number, "call": name, "tool": tool, "start": time.time()}
        order = {"do": "call", "tool": tool, "arguments": {"call": name, **arguments}}
        answer = (await self.driver.carry_out(order))["answer"]
        right = answer["ok"] and answer["text"] == name
        self.calls.append({**made, "end": time.time(), "ok": right, "error": "" if right else answer["text"][:300]})
        return name, right

    async def work(self):
        ms = self.told["ms"]
        return (await self.call("work", ms=ms[(self.number + len(self.calls)) % len(ms)]))[1]

    async def notify(self, order):
        """Asks, more than once if need be; seconds until one that was asked for has come."""
        began = time.time()
        while (left := began + order["within"] - time.time()) > 0:
            name, _ = await self.call("notify")
            heard = await self.driver.carry_out({"do": "notice", "text": name, "within": min(ASK_AGAIN, left)})
            if heard["answer"]["ok"]:
                self.heard[order["mark"]] = time.time() - began
                return
            # A stream that is gone at once is not asked as fast as that.
            await asyncio.sleep(0.2)

    async def live(self, answered):
        right = True
        while True:
            pause = self.told["pace"] * random.uniform(0.5, 1.5) if right else AGAIN
            try:
                order = await asyncio.wait_for(self.orders.get(), pause)
            except TimeoutError:
                right = await self.work()
                continue
            if order["do"] == "stop":
                await self.last_words()
                return
            await self.notify(order)
            answered(self)

    async def last_words(self):
        self.lost, began = True, time.time()
        for _ in range(self.told["last"]):
            if await self.work():
                self.lost = False
                return
            if time.time() - began > LAST_WITHIN:
                return
            await asyncio.sleep(AGAIN)

    def report(self):
        return {
            "session": self.number, "opened": self.opened, "lost": self.lost, "anew": False, "heard": self.heard,
            "calls": self.calls,
        }


async def run(opener, task):
    def tell(**what):
        print(json.dumps(what), flush=True)

    sessions = [Held(opener, task, number) for number in range(task["sessions"])]
    await asyncio.gather(*(session.open() for session in sessions))
    living = [session for session in sessions if session.opened["ok"]]
    tell(opened=len(living), failed=[session.opened["text"] for session in sessions if session not in living][:5])
    answered = asyncio.Queue()
    lives = [asyncio.create_task(session.live(answered.put_nowait)) for session in living]
    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        for session in living:
            session.orders.put_nowait(order)
        if order["do"] == "stop":
            await asyncio.gather(*lives)
            tell(sessions=[session.report() for session in sessions])
            # The sessions' own ends are no part of this.
            break
        for _ in living:
            await answered.get()
        tell(heard=sum(order["mark"] in session.heard for session in living))
    sys.stdout.flush()
    os._exit(0)


def hold(opener, task):
    asyncio.run(run(opener, task))
