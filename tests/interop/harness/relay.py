"""A TCP relay before a server: it refuses, freezes, loses and cuts on command, while the server keeps its sessions."""

import asyncio
import socket
import threading

from .procs import free_ports


class Link:
    """One relayed connection, and what has passed on it."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        # The fault that its latest request asked for.
        self.fault = ""
        self.is_stream = False

    def abort(self):
        for _, writer in (self.near, self.far):
            # A reset, not an end: what is lost is not ended in order.
            linger = (1).to_bytes(4, "little") + bytes(4)
            end = writer.get_extra_info("socket")
            # An end that its peer has reset is closed by now, and takes no options.
            if end.fileno() != -1:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()


class Relay:
    """Faults are asked for in the request itself: with `fault-drop` in its body it is lost on its way, with `fault-lose` its
    answer is, `fault-stall` gets none, and `fault-cut` loses its connection after the first progress notification."""

    def __init__(self, port):
        self._target = port
        self._links = set()
        self._moving = None
        self._refuse_streams = self._lose_answers = False
        # How often a fault was really met.
        self.struck = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener = None
        (self.port,) = free_ports(1)
        self._do(self._begin())

    def _do(self, doing):
        return asyncio.run_coroutine_threadsafe(doing, self._loop).result(10)

    async def _begin(self):
        self._moving = self._moving or asyncio.Event()
        self._moving.set()
        self._listener = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, reuse_address=True)

    async def _accepted(self, reader, writer):
        try:
            far = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        link = Link((reader, writer), far)
        if not self._listener.is_serving():
            # Accepted before the refusal, but known only now.
            link.abort()
            return
        self._links.add(link)
        try:
            await asyncio.gather(self._to_server(link), self._to_client(link))
        finally:
            self._links.discard(link)

    async def _to_server(self, link):
        try:
            while data := await link.near[0].read(65536):
                await self._moving.wait()
                if data.startswith(b"GET "):
                    link.is_stream = True
                    if self._refuse_streams:
                        self.struck += 1
                        link.abort()
                        return
                if self._lose_answers and b'"role":"assistant"' in data.replace(b" ", b""):
                    self.struck += 1
                    link.abort()
                    return
                if b"fault-drop" in data:
                    self.struck += 1
                    link.abort()
                    return
                for fault in ("lose", "stall", "cut"):
                    if f"fault-{fault}".encode() in data:
                        link.fault = fault
                link.far[1].write(data)
                await link.far[1].drain()
            link.far[1].close()
        except OSError:
            link.abort()

    async def _to_client(self, link):
        try:
            while data := await link.far[0].read(65536):
                await self._moving.wait()
                if link.fault == "lose":
                    self.struck += 1
                    link.abort()
                    return
                if link.fault == "stall":
                    self.struck += 1
                    continue
                link.near[1].write(data)
                await link.near[1].drain()
                if link.fault == "cut" and b"notifications/progress" in data:
                    await asyncio.sleep(0.05)
                    self.struck += 1
                    link.abort()
                    return
            link.near[1].close()
        except OSError:
            link.abort()

    async def _refuse(self):
        self._listener.close()
        for link in list(self._links):
            link.abort()

    async def _cut_streams(self):
        for link in list(self._links):
            if link.is_stream:
                self.struck += 1
                link.abort()

    async def _freeze(self):
        self._moving.clear()

    async def _thaw(self):
        self._moving.set()

    def refuse(self):
        """Nobody listens any more, and every connection is lost."""
        self._do(self._refuse())

    def allow(self):
        self._do(self._begin())

    def aim(self, port):
        """New connections go there; those that are open stay where they are."""
        self._target = port

    def freeze(self):
        """Connections are accepted, and nothing moves on any."""
        self._do(self._freeze())

    def thaw(self):
        self._do(self._thaw())

    def cut_streams(self):
        self._do(self._cut_streams())

    def refuse_streams(self, refused):
        self._refuse_streams = refused

    def lose_answers(self, lost):
        """The client's answers to the server's requests."""
        self._lose_answers = lost

    def stop(self):
        self._do(self._refuse())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
