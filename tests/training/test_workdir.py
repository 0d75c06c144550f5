"""One training at a time in a work directory, and only with the settings it was started with."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from configs import motion
from vidjax.config import Config, MeshConfig
from vidjax.training import workdir
from vidjax.training.loop import dry_run


def test_a_second_training_is_refused_while_the_first_lasts(tmp_path):
    code = (
        "import sys; from pathlib import Path; from vidjax.training import workdir\n"
        "with workdir.lock(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout.readline() == "locked\n"
    refused = pytest.raises(workdir.WorkdirError, match=rf"another training is running .*process {first.pid} on ")
    with refused, workdir.lock(tmp_path):
        pass
    first.kill()
    first.communicate()
    with workdir.lock(tmp_path):
        pass


def test_a_config_cut_off_by_a_kill_does_not_stop_a_run(tmp_path):
    workdir.claim(tmp_path, Config())
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text[:100])
    workdir.claim(tmp_path, Config())
    assert (tmp_path / "config.json").read_text() == text


def test_only_what_changes_no_result_may_change(tmp_path):
    other = Config(mesh=MeshConfig(data=2))
    other.data.reading.num_workers, other.train.keep_last = 3, 7
    other.train.log_every, other.train.eval_epochs, other.eval.batch_size = 1, 0.5, 4
    other.eval.every = ("pictures=5",)
    workdir.refuse_changes(tmp_path, Config(), other)
    other.seed = 1
    with pytest.raises(workdir.WorkdirError, match=r"another config.*\n  seed: 0 → 1\n") as refused:
        workdir.refuse_changes(tmp_path, Config(), other)
    assert str(refused.value).count("\n  ") == 1


def test_who_wants_to_train_for_longer_learns_how(tmp_path):
    longer = Config()
    longer.train.epochs = 20
    with pytest.raises(workdir.WorkdirError) as refused:
        workdir.refuse_changes(tmp_path, Config(), longer)
    diff, road = str(refused.value).splitlines()[1:]
    assert diff == "  train.epochs: 10.0 → 20"
    assert road == f"to train for longer: a new --workdir and --config.model.init_from={tmp_path}"


def test_who_wants_other_views_learns_how_to_evaluate_with_them(tmp_path):
    views = Config()
    views.eval.num_clips = 5
    with pytest.raises(workdir.WorkdirError) as refused:
        workdir.refuse_changes(tmp_path, Config(), views)
    assert str(refused.value).endswith(f"python eval.py --workdir={tmp_path} --config.eval.num_clips=5")
    assert "init_from" not in str(refused.value)


def test_other_classes_do_not_continue_a_run(tmp_path):
    workdir.refuse_classes(tmp_path, ("a", "b"), ["a", "b"])
    with pytest.raises(workdir.WorkdirError, match="on the classes a, b, but the data now has b, a; choose a new"):
        workdir.refuse_classes(tmp_path, ("a", "b"), ("b", "a"))


def everything(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.fixture(params=["lock", "try_place"])
def use(request):
    """What a training does first with its work directory, and what a dry run does."""

    def use(path):
        if request.param == "try_place":
            return workdir.try_place(path)
        with workdir.lock(path):
            pass

    return use


def test_what_keeps_a_work_directory_from_being_made_is_named(tmp_path, use):
    (tmp_path / "file").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(
        workdir.WorkdirError, match=rf"{tmp_path}/file cannot be made: {tmp_path}/file is not a folder; "
    ):
        use(tmp_path / "file")
    with pytest.raises(workdir.WorkdirError, match=rf"file/a/b cannot be made: {tmp_path}/file is not a folder; "):
        use(tmp_path / "file" / "a" / "b")
    with pytest.raises(workdir.WorkdirError, match=r"/proc/foo cannot be made: /proc does not accept new folders; "):
        use(Path("/proc/foo"))
    assert everything(tmp_path) == before


def test_a_folder_that_may_not_be_written(tmp_path, use, monkeypatch):
    """As anybody but the superuser, who may write everywhere."""

    def refused(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("os.mkdir", refused)
    monkeypatch.setattr("os.open", refused)
    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(workdir.WorkdirError, match=rf"a/b cannot be made: Permission denied, in {tmp_path}; "):
        use(tmp_path / "a" / "b")
    with pytest.raises(workdir.WorkdirError, match=rf"{tmp_path} cannot be written: Permission denied; choose another"):
        use(tmp_path)


def test_a_dry_run_leaves_nothing_behind(tmp_path):
    workdir.try_place(tmp_path / "runs" / "mine")
    workdir.try_place(tmp_path)
    assert everything(tmp_path) == []


def test_a_dry_run_refuses_a_work_directory_that_a_training_could_not_make(tmp_path):
    (tmp_path / "file").touch()
    config = motion.get_config()
    config.data.train = str(tmp_path / "not_generated_yet" / "train.csv")
    with pytest.raises(workdir.WorkdirError, match="is not a folder"):
        dry_run(config, tmp_path / "file")
