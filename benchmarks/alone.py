"""`score` alone: the serving module with one signature, to see beside it what the others cost."""

from typing import Any

from export import serving


class ScoreAlone(serving.ServingModule):
    """The serving module with one signature."""

    @property
    def signatures(self) -> dict[str, Any]:
        """`score`."""
        return {"score": self.score}
