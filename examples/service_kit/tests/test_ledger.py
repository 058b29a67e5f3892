from pathlib import Path

import apsw
import pytest
from service_kit.ledger import Effect, Ledger, StoredAnswer, read_effects

ANSWER = StoredAnswer("/marks", "{}", 201, '{"mark_id":1}')


def test_an_effect_is_kept_with_its_time(ledger: Ledger) -> None:
    ledger.record("mark", "key-1", "order-1", 3, item="blue")

    expected = Effect(1, "mark", "key-1", None, "order-1", "blue", 3, 1_700_000_000.0)
    assert read_effects(ledger.path) == [expected]
    assert ledger.find("key-1") == expected


def test_effects_are_read_in_the_order_they_happened(ledger: Ledger) -> None:
    for key in ["b", "c", "a"]:
        ledger.record("mark", key, "order-1", 1)

    assert [effect.key for effect in read_effects(ledger.path)] == ["b", "c", "a"]


def test_one_key_has_one_effect(ledger: Ledger) -> None:
    ledger.record("mark", "key-1", "order-1", 1)

    with pytest.raises(apsw.ConstraintError):
        ledger.record("mark", "key-1", "order-1", 1)


def test_one_original_is_undone_once(ledger: Ledger) -> None:
    undone = ledger.record("unmark", "undo-1", "order-1", 1, original="key-1")

    assert ledger.undo_of("key-1") == undone
    with pytest.raises(apsw.ConstraintError):
        ledger.record("unmark", "undo-2", "order-1", 1, original="key-1")


@pytest.mark.parametrize("tampering", ["UPDATE effects SET amount = 0", "DELETE FROM effects"])
def test_nothing_written_changes(ledger: Ledger, tampering: str) -> None:
    ledger.record("mark", "key-1", "order-1", 1)

    with pytest.raises(apsw.ConstraintError, match="append-only"):
        ledger.connection.execute(tampering)


def test_a_failure_between_effect_and_answer_leaves_neither(ledger: Ledger) -> None:
    def fail_half_way() -> None:
        with ledger.transaction():
            ledger.record("mark", "key-1", "order-1", 1)
            ledger.keep_answer("key-1", ANSWER)
            raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        fail_half_way()

    assert ledger.find("key-1") is None
    assert ledger.answer("key-1") is None


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "marks.db")
    with ledger.transaction():
        effect = ledger.record("mark", "key-1", "order-1", 1)
        ledger.keep_answer("key-1", ANSWER)
    ledger.close()

    reopened = Ledger(tmp_path / "marks.db")
    assert (reopened.find("key-1"), reopened.answer("key-1")) == (effect, ANSWER)
    reopened.close()


def test_commits_are_synced_to_the_disk(ledger: Ledger) -> None:
    assert ledger.connection.pragma("journal_mode") == "wal"
    assert ledger.connection.pragma("synchronous") == 2  # FULL
