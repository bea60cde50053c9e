"""What only a process of its own shows: a module that is not of its library, and Ctrl-C."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import peer_health as ph
import pytest

PACKAGE = Path(ph.__file__).parent
LOADED = "import peer_health; print(peer_health.__file__)"


@pytest.mark.parametrize("falsified", [False, True])
def test_a_module_of_another_library_is_not_loaded(tmp_path, falsified):
    copied = tmp_path / "peer_health"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    generated = copied / "_generated/peer_health_ffi.py"
    text = generated.read_text(encoding="utf-8")
    line = re.compile(r"(checksum_method_permit_success\(\) != )(\d+)")
    assert len(line.findall(text)) == 1
    if falsified:
        text = line.sub(lambda found: f"{found[1]}{int(found[2]) ^ 1}", text)
    generated.write_text(text, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", LOADED], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if falsified:
        assert done.returncode != 0 and "checksum mismatch" in done.stderr
    else:
        assert (done.returncode, done.stdout.strip()) == (0, str(copied / "__init__.py")), done.stderr


WAITS = """
from datetime import timedelta
import peer_health as ph
registry = ph.HealthRegistry()
events = registry.events()
try:
    print("waits", flush=True)
    events.next_events(1, timedelta(days=1))
except KeyboardInterrupt:
    print("interrupted", registry.is_empty())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to one process")
def test_ctrl_c_ends_a_long_wait():
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)  # the wait itself is a day
            assert (process.returncode, out) == (0, "interrupted True\n")
        finally:
            process.kill()
