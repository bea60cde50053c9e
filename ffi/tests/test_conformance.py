"""The published scenarios have the same answers through Python as in Rust; a false expectation is found."""

import copy
import os
from pathlib import Path

import pytest
from conformance import play, scenarios

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "tests/conformance/scenarios.json", ROOT / "tests/conformance/extra.json"]
FILES += [Path(file) for file in os.environ.get("CONFORMANCE_SCENARIOS", "").split(os.pathsep) if file]
ALL = [scenario for file in FILES for scenario in scenarios(file)]


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario["id"])
def test_the_scenario_passes(scenario):
    assert play(scenario) == []


def falsified(value):
    if isinstance(value, bool):
        return not value
    if value is None:
        return 0
    if isinstance(value, str):
        return {"open": "closed", "now": "other"}.get(value, "open" if value == "closed" else "now")
    return value + 1


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario["id"])
def test_every_falsified_expectation_is_found(scenario):
    for number, step in enumerate(scenario["steps"]):
        for field, value in step.get("expect", {}).items():
            for of in value if isinstance(value, dict) else [None]:
                changed = copy.deepcopy(scenario)
                expect = changed["steps"][number]["expect"]
                if of is None:
                    expect[field] = falsified(value)
                else:
                    expect[field][of] = falsified(value[of])
                line = f"{scenario['id']}: step {number}: {field}{f'.{of}' if of else ''}: got "
                assert any(told.startswith(line) for told in play(changed)), line


def test_what_is_unknown_is_an_error():
    for place in ["config", "step"]:
        changed = copy.deepcopy(ALL[0])
        (changed["config"] if place == "config" else changed["steps"][0])["surprise"] = 1
        with pytest.raises(AssertionError, match="surprise"):
            play(changed)
