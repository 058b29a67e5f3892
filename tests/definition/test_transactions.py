"""What a transaction's declaration admits, and what it refuses at once."""

import pytest

import makegood as mg


@mg.transaction
def book(db: mg.Connection, seat: int) -> str:
    return f"seat {seat}"


def test_the_connection_is_no_part_of_the_arguments():
    assert bytes(book.signature.encode_arguments((7,), {})) == b"[7]"
    assert [parameter.name for parameter in book.signature.parameters] == ["seat"]


def test_it_is_a_plain_function():
    with pytest.raises(mg.DefinitionError, match="declare it with `def`"):

        @mg.transaction
        async def book_later(db: mg.Connection, seat: int) -> None: ...


def test_its_first_parameter_is_the_connection():
    with pytest.raises(mg.DefinitionError, match="the first parameter is the connection"):

        @mg.transaction  # type: ignore[arg-type]
        def book_nothing() -> None: ...

    with pytest.raises(mg.DefinitionError, match="the first parameter is the connection"):

        @mg.transaction  # type: ignore[arg-type]
        def book_by_name(*, db: mg.Connection) -> None: ...


def test_it_has_no_probe():
    with pytest.raises(mg.DefinitionError, match="never unknown"):

        @book.probe
        def find(seat: int) -> str:
            return ""


def test_a_compensation_takes_the_result_and_the_arguments():
    with pytest.raises(
        mg.DefinitionError, match="the result first, then the transaction's own parameters: seat"
    ):

        @book.compensation
        async def unbook(booking: str) -> None: ...


def test_a_compensating_transaction_takes_the_connection_before_them():
    with pytest.raises(mg.DefinitionError, match="the connection and the result first"):

        @book.compensating_transaction  # type: ignore[arg-type]
        def unbook(booking: str, seat: int) -> None: ...


def test_a_compensating_transaction_is_a_plain_function_too():
    with pytest.raises(mg.DefinitionError, match="declare it with `def`"):

        @book.compensating_transaction
        async def unbook(db: mg.Connection, booking: str, seat: int) -> None: ...


def test_it_has_one_compensation():
    @mg.transaction
    def sell(db: mg.Connection, seat: int) -> int:
        return seat

    @sell.compensation
    def unsell(result: int, seat: int) -> None: ...

    with pytest.raises(mg.DefinitionError, match="transaction sell already has a compensation, unsell"):

        @sell.compensating_transaction
        def unsell_again(db: mg.Connection, result: int, seat: int) -> None: ...


def test_its_options_can_be_changed_for_one_call():
    hasty = book.options(timeout=1, name="book_fast")
    assert hasty.transacts("do")
    assert hasty.options_.timeout_seconds == 1
    assert book.options_.timeout_seconds == 5


def test_it_cannot_be_called_outside_a_workflow():
    with pytest.raises(mg.OutsideWorkflow, match="step book was called outside a workflow"):
        book(7)
