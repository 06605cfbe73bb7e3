"""Client on the Python SDK 1.x."""

from contextlib import asynccontextmanager

import httpx
from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from exercise import main
from wire import http_client


@asynccontextmanager
async def streams(task, peer):
    if task.transport == "http+sse":

        def factory(headers=None, timeout=None, auth=None):
            return http_client(httpx, task, peer, headers, timeout)

        async with sse_client(task.url, httpx_client_factory=factory) as (read, write):
            yield read, write
    else:
        async with http_client(httpx, task, peer) as client:
            async with streamable_http_client(task.url, http_client=client) as (read, write, _):
                yield read, write


@asynccontextmanager
async def opener(task, peer):
    async def sample(_context, params):
        text = peer.answer_to(params.messages[0].content.text)
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", model="none", content=content)

    async def logged(params):
        peer.notices.put_nowait(str(params.data))

    async with (
        streams(task, peer) as (read, write),
        ClientSession(read, write, sampling_callback=sample, logging_callback=logged) as session,
    ):
        peer.version = (await session.initialize()).protocolVersion

        async def call(tool, arguments, on_progress):
            result = await session.call_tool(tool, arguments, progress_callback=on_progress)
            text = result.content[0].text
            if result.isError:
                raise RuntimeError(text)
            return text

        peer.call = call
        peer.notify = session.send_roots_list_changed
        yield


if __name__ == "__main__":
    main("py1", opener)
