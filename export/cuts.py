"""Vocabulary cuts: which users and candidates a file knows, and has rows for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import tensorflow as tf

from export.serving import Ranker, Tower

NONE = "none"
TOP = "top:"


class CutError(ValueError):
    """The cut can't be made as asked; the message says what to do."""


@dataclass(frozen=True)
class Cut:
    """Which ids of one vocabulary stay.

    Attributes:
        top: as many of the most frequent ones, where not None; 0 for none at all.
        listed: these alone, where not None.
    """

    top: int | None = None
    listed: frozenset[str] | None = None

    @property
    def keeps_all(self) -> bool:
        """Whether nothing is cut."""
        return self.top is None and self.listed is None

    def __str__(self) -> str:
        if self.listed is not None:
            return f"{len(self.listed)} listed"
        return "all" if self.top is None else f"the {self.top} most frequent" if self.top else NONE


EVERYTHING = Cut()


def parse(text: str | None, option: str, may_be_none: bool) -> Cut:
    """A cut as the command line has it.

    Args:
        text: `top:N`, `none`, or a file with an id a line; None cuts nothing.
        option: the option's name, for messages.
        may_be_none: whether all ids may go.

    Raises:
        CutError: it is none of these.
    """
    if text is None:
        return EVERYTHING
    if text == NONE and may_be_none:
        return Cut(top=0)
    if text.startswith(TOP):
        number = text.removeprefix(TOP)
        if not number.isdecimal() or int(number) < 1:
            raise CutError(f"{option} {text}: give a number of at least 1, such as {TOP}1000")
        return Cut(top=int(number))
    return Cut(listed=_listed(Path(text).expanduser(), option))


def _listed(path: Path, option: str) -> frozenset[str]:
    choices = "a file with an id a line, top:N, or none"
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise CutError(f"{option} {path}: {error.strerror}: give {choices}") from error
    except UnicodeDecodeError as error:
        raise CutError(f"{option} {path}: not UTF-8 text: give {choices}") from error
    ids = frozenset(line for line in lines if line)
    if not ids:
        raise CutError(f"{option} {path}: no ids in it: give {choices}")
    return ids


def apply(
    ranker: Ranker,
    users: Cut,
    candidates: Cut,
    user_counts: Mapping[str, int],
    candidate_counts: Mapping[str, int],
) -> Ranker:
    """The ranker without the ids that are cut: nothing of them stays, neither text nor row.

    Args:
        ranker: the whole one.
        users: what to keep.
        candidates: likewise; at least one.
        user_counts: how often each user id occurs, for `top`.
        candidate_counts: likewise.

    Raises:
        CutError: a listed id isn't in the vocabulary.
    """
    return replace(
        ranker,
        users=_cut(ranker.users, users, user_counts, "--users"),
        candidates=_cut(ranker.candidates, candidates, candidate_counts, "--items"),
    )


def _cut(tower: Tower, cut: Cut, counts: Mapping[str, int], option: str) -> Tower:
    if cut.keeps_all:
        return tower
    if cut.listed is not None:
        kept = cut.listed
        unknown = sorted(kept.difference(tower.vocabulary))
        if unknown:
            raise CutError(
                f"{option}: {len(unknown)} of the {len(kept)} ids are not in the model's "
                f"vocabulary, such as {unknown[0]!r}: take them out of the file"
            )
    else:
        # Of equally frequent ids, those that come first in the vocabulary.
        ordered = sorted(tower.vocabulary, key=lambda one: -counts.get(one, 0))
        kept = frozenset(ordered[: cut.top])
    rows = [0, *(row for row, one in enumerate(tower.vocabulary, 1) if one in kept)]
    vocabulary = tuple(one for one in tower.vocabulary if one in kept)
    lookup = (
        tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None) if vocabulary else None
    )
    return Tower(lookup, vocabulary, tower.table[rows])
