"""The example and the guide do as they say."""

import re
import runpy
import subprocess
import sys
import textwrap
from datetime import timedelta
from pathlib import Path

import peer_health as ph
import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "doc/guide.md").read_text(encoding="utf-8")
EXAMPLES = ROOT / "ffi/examples"


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found, f"the guide shows no {language}"
    return found


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_guide_runs_as_written(number):
    exec(compile(blocks("python")[number], f"guide, block {number}", "exec"), {})


@pytest.mark.parametrize("language, file", [("kotlin", "Phone.kt"), ("swift", "Phone.swift")])
def test_what_the_guide_shows_of_other_languages_is_in_the_example(language, file):
    text = textwrap.dedent((EXAMPLES / file).read_text(encoding="utf-8"))
    for block in blocks(language):
        lines = "\n".join(line.strip() for line in block.strip().splitlines())
        assert lines in "\n".join(line.strip() for line in text.splitlines()), block


def test_the_example_runs():
    done = subprocess.run([sys.executable, EXAMPLES / "phone.py"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-3:] == ["after a restart alice is OPEN", "a push message: sync now? True", "synced"]


def test_a_phone_dials_no_silent_peer_again_and_survives_a_torn_file(tmp_path):
    example = runpy.run_path(str(EXAMPLES / "phone.py"))
    dials, errors = [], [example["DialFailed"]("TIMEOUT")]

    def dial(peer, deadline):
        dials.append(peer)
        assert timedelta(0) < deadline < ph.default_config().probe_lease
        if errors:
            raise errors[0]

    path = tmp_path / "peers.json"
    phone = example["Phone"](path, dial)
    assert all(phone.sync(b"a") > timedelta(0) for _ in range(9)) and len(dials) == 5
    phone.background()
    phone = example["Phone"](path, dial)
    assert phone.sync(b"a") is not None and len(dials) == 5
    errors.clear()
    assert phone.wake_up(b"a") and phone.wake_up(b"new") and phone.sync(b"a") is None and len(dials) == 6
    errors.append(example["DialFailed"]("CLOSED"))
    assert all(phone.sync(b"c") is not None for _ in range(9))
    assert phone.registry.status(b"c") == ph.Status.CLOSED, "our own endpoint was closed"
    path.write_bytes(b"torn")
    assert example["Phone"](path, dial).registry.is_empty()
