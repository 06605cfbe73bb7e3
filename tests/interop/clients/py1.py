"""Client on the Python SDK 1.x."""

from contextlib import asynccontextmanager

import httpx
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client

from exercise import main
from wire import http_client


@asynccontextmanager
async def opener(url, peer):
    async def sample(_context, params):
        text = peer.answer_to(params.messages[0].content.text)
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", model="none", content=content)

    async def logged(params):
        peer.notices.put_nowait(str(params.data))

    async with (
        http_client(httpx, peer) as client,
        streamable_http_client(url, http_client=client) as (read, write, _),
        ClientSession(read, write, sampling_callback=sample, logging_callback=logged) as session,
    ):
        await session.initialize()

        async def call(tool, arguments, on_progress):
            result = await session.call_tool(tool, arguments, progress_callback=on_progress)
            text = result.content[0].text
            if result.isError:
                raise RuntimeError(text)
            return text

        peer.call = call
        yield


main("py1", opener)
