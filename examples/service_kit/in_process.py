"""Call a service without a process or a socket: for tests."""

import asyncio

import httpx
from starlette.applications import Starlette


def client(application: Starlette) -> httpx.Client:
    """A client whose requests go straight to the application, each on an event loop of its own."""
    transport = httpx.ASGITransport(application)

    async def call(request: httpx.Request) -> httpx.Response:
        response = await transport.handle_async_request(request)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())

    return httpx.Client(
        transport=httpx.MockTransport(lambda request: asyncio.run(call(request))), base_url="http://service"
    )
