"""Below the SDK: an HTTP client that notes the session id and, when asked, loses one answer in the middle."""


def http_client(httpx, peer):
    """`httpx` is the module of the SDK's own generation (httpx or httpx2)."""

    class Cut(httpx.AsyncByteStream):
        def __init__(self, stream):
            self._stream = stream

        async def __aiter__(self):
            seen = b""
            async for chunk in self._stream:
                yield chunk
                seen += chunk
                # After the first whole event the client holds an id to come back with.
                if b"id:" in seen and seen.replace(b"\r", b"").endswith(b"\n\n"):
                    raise httpx.ReadError("cut by the test")

        async def aclose(self):
            await self._stream.aclose()

    class Transport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request):
            response = await super().handle_async_request(request)
            peer.session_id = peer.session_id or response.headers.get("mcp-session-id")
            if peer.cut_next and request.method == "POST" and b'"tools/call"' in request.content:
                peer.cut_next = False
                response.stream = Cut(response.stream)
            return response

    return httpx.AsyncClient(transport=Transport(), timeout=httpx.Timeout(30, read=300))
