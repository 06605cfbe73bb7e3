"""Client on the Python SDK 2.x, held to the handshake."""

from contextlib import asynccontextmanager

import httpx2
import mcp_types as types
from mcp import Client
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
        http_client(httpx2, peer) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode="legacy",
            sampling_callback=sample,
            logging_callback=logged,
        ) as client,
    ):

        async def call(tool, arguments, on_progress):
            result = await client.call_tool(tool, arguments, progress_callback=on_progress)
            text = result.content[0].text
            if result.is_error:
                raise RuntimeError(text)
            return text

        peer.call = call
        yield


main("py2", opener)
