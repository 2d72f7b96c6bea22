"""The model card says what was measured, and what the model can't do."""

from dataclasses import replace

import pytest

from export import model_card, report, stable_units
from tests.support import Exported

ORIGIN = report.Origin("trained here", "embedded: x 1.0", "0" * 64, 42, 3, {"tensorflow": "2.21"})


@pytest.fixture(scope="module")
def card(exported: Exported, simplified: stable_units.Simplified) -> str:
    parity, size = exported.parity_of("int8"), len(exported.float_model)
    return model_card.render(parity, exported.reference, simplified, ORIGIN, size).decode()


@pytest.mark.parametrize(
    "heading",
    ["Intended use", "Data", "Training", "Metrics", "Quantization", "Limitations", "Licences"],
)
def test_has_every_part(card: str, heading: str) -> None:
    assert f"\n## {heading}\n\n" in card


def test_names_the_file(card: str, exported: Exported) -> None:
    assert exported.parity_of("int8").file.sha256 in card


def test_tables_are_whole(card: str) -> None:
    rows = [line for line in card.splitlines() if line.startswith("|")]
    metrics = [row for row in rows if "≤" in row or "≥" in row]
    columns = next(row for row in rows if row.startswith("| figure")).count("|")

    assert len(metrics) >= 10
    assert {row.count("|") for row in metrics} == {columns}


def test_warns_of_the_untrained_row(card: str) -> None:
    assert "untrained" in card and "out-of-vocabulary" in card


def test_says_what_became_of_the_hidden_units(
    card: str, simplified: stable_units.Simplified
) -> None:
    left = sum(layer.left for layer in simplified.layers)
    assert f"Hidden units in the file: {left} of 320: " in card
    assert "116,641 trained numbers" in card


def test_a_given_model_was_not_trained_here(
    exported: Exported, simplified: stable_units.Simplified
) -> None:
    given = replace(ORIGIN, model="saved_model", epochs=None)
    parity = exported.parity_of("int8")
    card = model_card.render(parity, exported.reference, simplified, given, 1_000_000).decode()

    assert "Trained elsewhere" in card and "epochs" not in card
