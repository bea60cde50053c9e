"""ffi/api.txt lists the interface, and every function of it is called by a test."""

import re
from pathlib import Path

from api import lines

HERE = Path(__file__).resolve().parent
LISTED = (HERE.parent / "api.txt").read_text().splitlines()


def test_the_interface_is_what_is_listed():
    assert list(lines()) == LISTED, "if that is meant: python ffi/tests/api.py > ffi/api.txt, and see API_VERSION"


def test_every_function_is_called_by_a_test():
    tests = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    functions = [re.match(r"(?:async )?(?:\w+\.)?(\w+)\(.*\)", line) for line in LISTED]
    names = {found[1] for found in functions if found and found[1].islower()}
    by_name = {"disable", "metrics_only", "end_wait"}  # among the calls that take a peer, too
    assert len(names) > 30 and by_name <= names
    assert [name for name in sorted(names) if f".{name}(" not in tests and f"ph.{name}" not in tests] == []


def test_every_value_of_an_enum_is_known_to_the_guide_or_to_a_test():
    tests = "".join(path.read_text() for path in HERE.glob("*.py"))
    kinds = {line for line in LISTED if re.fullmatch(r"(ErrorKind|Recorded|RefusalReason|Window)\.\w+(\(.*\))?", line)}
    names = {line.split("(")[0].split(".")[1] for line in kinds} - {"OTHER"}
    assert len(names) == 16 and [name for name in sorted(names) if name not in tests] == []
