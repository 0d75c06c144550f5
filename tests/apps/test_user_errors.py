"""What a command shows of the log: every warning once, whichever library has set up logging before."""

import subprocess
import sys

import pytest

STARTS = {
    "as train.py": "from absl import app; app.run(lambda _: explain(run), ['train.py'])",
    "as eval.py, which reads a checkpoint first": (
        "from absl import app, logging as theirs\ntheirs.info('a line of Orbax')\n"
        "app.run(lambda _: explain(run), ['eval.py'])"
    ),
    "as python -m vidjax": "explain(run)",
    "twice": "explain(run_nothing); explain(run)",
}


@pytest.mark.parametrize("start", STARTS)
def test_a_warning_is_shown_once(start):
    code = f"""
import logging
from absl import logging as theirs
from vidjax.apps.user_errors import explain

def run_nothing():
    theirs.info("a line of Orbax")

def run():
    theirs.warning("of absl")
    run_nothing()
    logging.getLogger("other").info("no warning")
    logging.getLogger("vidjax").warning("told by vidjax")
    logging.getLogger("other").warning("told by another")

{STARTS[start]}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip() for line in done.stderr.splitlines()]
    assert lines == ["WARNING  told by vidjax", "WARNING  told by another"]
    assert done.stdout == ""


def test_the_log_of_tests_is_left_alone(caplog, capsys):
    import logging

    from vidjax.apps.user_errors import explain

    assert explain(lambda: logging.getLogger("vidjax").warning("told")) == 0
    assert [record.message for record in caplog.records] == ["told"]
    assert capsys.readouterr().err.split() == ["WARNING", "told"]
