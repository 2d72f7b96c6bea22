"""Progress: what a terminal, a log and a quiet run are shown."""

import io

import pytest
from rich.console import Console

from model import progress, ratings


def shown(terminal: bool, quiet: bool = False) -> tuple[str, list[str]]:
    """What is written of two stages, the second with rows, and the notices of a plain listener."""
    stream, notices = io.StringIO(), list[str]()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with progress.Stages(console, quiet) as stages:
        stages("converting [1/2]")
        pace = ratings.Pace("counting ids", stages, total=4000)
        plain = ratings.Pace("counting ids", notices.append)
        for _ in range(3):
            pace.add(1000)
            plain.add(1000)
    return stream.getvalue(), notices


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-one seconds pass between any two looks at the clock."""
    now = iter(range(0, 100_000, 21))
    monkeypatch.setattr("time.monotonic", lambda: float(next(now)))


def test_a_terminal_has_a_bar_with_rows_a_second(clock: None) -> None:
    text, notices = shown(terminal=True)
    assert "converting [1/2]\n" in text.replace("\r", "")
    assert "counting ids" in text and "3,000 rows" in text and "a second" in text
    assert [notice.split(",")[0] for notice in notices] == [
        "counting ids: 1",
        "counting ids: 2",
        "counting ids: 3",
    ]


def test_a_log_has_lines(clock: None) -> None:
    text, _ = shown(terminal=False)
    lines = text.splitlines()
    assert lines[0] == "converting [1/2]"
    assert any(line.startswith("counting ids: 3,000 rows, ") for line in lines)
    assert "\x1b" not in text


def test_quiet_shows_nothing(clock: None) -> None:
    assert shown(terminal=True, quiet=True)[0] == ""
    assert shown(terminal=False, quiet=True)[0] == ""


def test_short_work_has_no_lines() -> None:
    text, notices = shown(terminal=False)
    assert text == "converting [1/2]\n"
    assert notices == []
