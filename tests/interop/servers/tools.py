"""The tools both Python servers offer; what differs between the SDKs is theirs."""

import asyncio

from journal import CURRENT

RETRY_MS = 200
PATIENCE = 10
# Between the last progress and the result: the TypeScript SDKs drop progress that they read in one go with the result.
APART = 0.15
# So often subscribers are told that the tools changed.
TICK = 0.2
# Tools on one page of a list.
PAGE = 3
# While a call works it says so this often, in milliseconds.
STEP_MS = 200


def register_steady(server, journal, context_type):
    """What rehome.py calls; the same list of tools in every process, or no session could be moved."""

    async def work(call: str, ms: int, ctx: context_type) -> str:
        journal.call("work", call)
        for done in range(0, ms, STEP_MS):
            await ctx.report_progress(done, ms)
            await asyncio.sleep(min(STEP_MS, ms - done) / 1000)
        journal.done(call)
        return call

    async def notify(call: str, ctx: context_type) -> str:
        journal.call("notify", call)
        await ctx.session.send_log_message(level="info", data=call)
        journal.done(call)
        return call

    for tool in (work, notify):
        server.tool(structured_output=False)(tool)


def register(server, journal, context_type):
    async def echo(text: str, call: str) -> str:
        journal.call("echo", call)
        return text

    async def count(n: int, call: str, ctx: context_type) -> str:
        journal.call("count", call)
        for step in range(1, n + 1):
            await ctx.report_progress(step, n)
        await asyncio.sleep(APART)
        return call

    async def announce(call: str, ctx: context_type) -> str:
        journal.call("announce", call)
        # Without an open stream the SDK drops the message, so the server waits for the stream rather than race it.
        await asyncio.wait_for(CURRENT.get().listening.wait(), PATIENCE)
        await ctx.session.send_log_message(level="info", data=call)
        return call

    async def slow(late: bool, call: str, ctx: context_type) -> str:
        journal.call("slow", call)
        resumed = CURRENT.get().resumed
        resumed.clear()
        await ctx.close_sse_stream()
        if late:
            # The answer then takes the resumed stream live; otherwise it waits in the event store to be replayed.
            await asyncio.wait_for(resumed.wait(), PATIENCE)
            await asyncio.sleep(RETRY_MS / 1000)
        return call

    async def linger(call: str) -> str:
        journal.call("linger", call)
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            journal.event("cancelled")
            raise
        return call

    for tool in (echo, count, announce, slow, linger):
        server.tool(structured_output=False)(tool)
    # What only this version has. No tool has an output schema, as with the other servers of a mixed pair: py2 clients
    # check an answer against a list that they ask for after the call, when a step may have moved them.
    server.tool(name=f"echo-of-{journal.server}", structured_output=False)(echo)
