"""Client on the Python SDK 2.x, in the era that the task asks for."""

from contextlib import asynccontextmanager

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from exercise import main
from wire import http_client


@asynccontextmanager
async def streams(task, peer):
    if task.transport == "http+sse":

        def factory(headers=None, timeout=None, auth=None):
            return http_client(httpx2, task, peer, headers, timeout)

        async with sse_client(task.url, httpx_client_factory=factory) as pair:
            yield pair
    else:
        async with http_client(httpx2, task, peer) as http:
            async with streamable_http_client(task.url, http_client=http) as pair:
                yield pair


async def all_tools(client):
    names, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        names += [tool.name for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return names


@asynccontextmanager
async def opener(task, peer):
    async def sample(_context, params):
        text = peer.answer_to(params.messages[0].content.text)
        content = types.TextContent(type="text", text=text)
        return types.CreateMessageResult(role="assistant", model="none", content=content)

    async def logged(params):
        peer.notices.put_nowait(str(params.data))

    mode = "2026-07-28" if peer.mode == "modern" else peer.mode
    async with Client(
        streams(task, peer), mode=mode, sampling_callback=sample, logging_callback=logged
    ) as client:
        peer.version = client.protocol_version

        async def call(tool, arguments, on_progress):
            result = await client.call_tool(tool, arguments, progress_callback=on_progress)
            text = result.content[0].text
            if result.is_error:
                raise RuntimeError(text)
            return text

        @asynccontextmanager
        async def listen():
            async with client.listen(tools_list_changed=True) as subscription:
                yield aiter(subscription)

        peer.call = call
        peer.notify = client.send_roots_list_changed
        peer.tools = lambda: all_tools(client)
        peer.listen = listen
        yield


if __name__ == "__main__":
    main("py2", opener)
