"""The key is taken elsewhere: in a function, a class, a variable."""

from makegood import idempotency_key

import makegood as mg
from tests.check.world import bank, mail


class Bank:
    def __init__(self, url: str) -> None:
        self.url = url

    async def charge(self, order: str) -> str:
        return await bank.post(self.url, order, self._key())

    def _key(self) -> str:
        return idempotency_key()

    async def refund(self, order: str) -> None:
        key = mg.original_key
        await bank.post(self.url, order, key())


account = Bank("https://bank.example")


@mg.step(timeout=10)
async def charge(order: str) -> str:
    return await account.charge(order)


@charge.compensation
async def refund(receipt: str | None, order: str) -> None:
    if receipt is None:
        print("nobody knows")
    else:
        print(receipt.upper())
    await account.refund(order)


@mg.step(timeout=3 * mg.DAY, retry=None)
async def approve(order: str) -> str | mg.Pending:
    await send(order, mg.completion_token())
    return mg.PENDING


async def send(order: str, token: str) -> None:
    key = mg.idempotency_key()
    await mail.send(order, token, key)


def connected() -> Bank:
    return Bank("https://another-bank.example")


@mg.step(timeout=10)
async def transfer(order: str) -> str:
    await connected().charge(order)
    return await Bank("https://bank.example").charge(order)


@transfer.compensation
async def transfer_back(done: str | None, order: str) -> None:
    other = connected()
    await other.refund(order)


@mg.workflow
async def fulfil(order: str) -> str:
    return await charge(order) + await transfer(order) + await approve(order)
