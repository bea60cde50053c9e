"""What only a process of its own shows: a module that is not of its library, and Ctrl-C."""

import re
import shutil
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
import os, signal, sys, threading, time
from datetime import timedelta
import peer_health as ph

def interrupt(main=threading.get_ident()):
    still, last = 0, None
    while still < 20:  # the main thread waits in the library, and not on its way there
        frame = sys._current_frames()[main]
        here = frame.f_code.co_filename, frame.f_lasti
        still, last = still + 1 if here == last and "peer_health" in here[0] else 0, here
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

registry = ph.HealthRegistry()
events = registry.events()
try:
    threading.Thread(target=interrupt, daemon=True).start()
    events.next_events(1, timedelta(days=1))
except KeyboardInterrupt:
    print("interrupted", registry.is_empty())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT to send to one process")
def test_ctrl_c_ends_a_long_wait():
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "interrupted True\n"), done.stderr
