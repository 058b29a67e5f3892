"""A fake world, and steps that act on it well; the planted defects are in the tests."""

from __future__ import annotations

import makegood as mg


class World:
    """Accounts, and what was booked under which key."""

    def __init__(self) -> None:
        self.accounts: dict[str, int] = {}
        self.booked: dict[str, str] = {}

    def book(self, account: str, amount: int, key: str) -> str:
        if key not in self.booked:
            self.accounts[account] = self.accounts.get(account, 0) + amount
            if not self.accounts[account]:
                del self.accounts[account]
            self.booked[key] = f"{account}-{len(self.booked)}"
        return self.booked[key]

    def unbook(self, account: str, amount: int) -> None:
        """For a compensation: books back what was booked by its step, if that was."""
        if mg.original_key() in self.booked:
            self.book(account, -amount, mg.idempotency_key())


def good_step(world: World, name: str, **options: object) -> mg.Step[[int], str]:
    @mg.step(name=name, **options)  # type: ignore[call-overload, untyped-decorator]
    async def do(amount: int) -> str:
        return world.book(name, amount, mg.idempotency_key())

    @do.compensation
    async def undo(receipt: str | None, amount: int) -> None:
        world.unbook(name, amount)

    return do  # type: ignore[no-any-return]
