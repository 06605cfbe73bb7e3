"""The tools both Python servers offer; what differs between the SDKs is passed in."""

import asyncio

from journal import CURRENT

RETRY_MS = 200
PATIENCE = 10


def register(server, journal, context_type, sampling_message):
    async def echo(text: str, call: str) -> str:
        journal.call("echo", call)
        return text

    async def count(n: int, call: str, ctx: context_type) -> str:
        journal.call("count", call)
        for step in range(1, n + 1):
            await ctx.report_progress(step, n)
        return call

    async def ask(call: str, ctx: context_type) -> str:
        journal.call("ask", call)
        answer = await ctx.session.create_message(
            [sampling_message(call)], max_tokens=100, related_request_id=ctx.request_id
        )
        return answer.content.text

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

    for tool in (echo, count, ask, announce, slow):
        server.tool()(tool)
