"""Progress on the terminal: a line for each stage, and a bar for the one under way."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn


class Stages:
    """Shows stages of long work; where a stage goes by rows, how many are done, and how fast.

    Args:
        terminal: where to.
        quiet: whether to show nothing.
    """

    def __init__(self, terminal: Console, quiet: bool = False) -> None:
        self._terminal, self._quiet = terminal, quiet
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=20))
        pace = TextColumn("{task.fields[pace]}", markup=False)
        self._bar = Progress(
            SpinnerColumn(),
            *columns,
            pace,
            console=terminal,
            transient=True,
            disable=quiet or not terminal.is_terminal,
        )
        self._work, self._task = "", self._begin("starting")

    @property
    def has_bar(self) -> bool:
        """Whether rows are shown by a bar: not in a log."""
        return self._terminal.is_terminal

    def __enter__(self) -> "Stages":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, message: str) -> None:
        """Begins a stage."""
        if not self._quiet:
            self._terminal.print(message, markup=False, highlight=False, soft_wrap=True)
        self._work, self._task = "", self._begin(message)

    def rows(self, work: str, done: int, total: int | None, pace: str) -> None:
        """Moves the bar: rows done, of how many where that is known, and both in words."""
        if work != self._work:
            self._work, self._task = work, self._begin(work)
        known = None if total is None else max(total, done)
        self._bar.update(self._task, completed=done, total=known, pace=pace)

    def _begin(self, description: str) -> TaskID:
        for task in self._bar.task_ids:
            self._bar.remove_task(task)
        return self._bar.add_task(description, total=None, pace="")
