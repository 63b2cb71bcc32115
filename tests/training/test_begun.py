"""A run that was killed, or ran out of disk, while it made its folder begins again with the same command."""

import os

import pytest

import rescrnet
from rescrnet.errors import ModelError, OutputError
from rescrnet.training.folder import RunFolder
from rescrnet.training.progress import ProgressReporter
from tests.attack.kills import kill_after
from tests.support.configs import tiny

CONFIG = tiny(training__epochs=1)
LEFT = {
    "folder": {},
    "empty-config": {"config.yaml": ""},
    "config": {"config.yaml": CONFIG.to_yaml()},
    "partial-config": {".config.yaml.partial": "net"},
    "partial-record": {"config.yaml": CONFIG.to_yaml(), ".run.json.partial": "{"},
}


def put(folder, files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("files", LEFT.values(), ids=LEFT.keys())
def test_the_same_command_begins_again(cells, tmp_path, files):
    run = put(tmp_path / "run", files)
    with pytest.raises(ModelError, match="is no run folder, nothing of a run is in it yet"):
        rescrnet.resume(cells, run, progress=ProgressReporter())
    rescrnet.train(cells, run, CONFIG, progress=ProgressReporter())
    assert not [path.name for path in run.iterdir() if path.name.startswith(".")]
    assert rescrnet.load(run)


@pytest.mark.parametrize("text", ["# mine\n" + CONFIG.to_yaml(), "training: {epochs: 3}\n", "notes", "a: b: c"])
def test_a_configuration_of_somebody_is_not_replaced(cells, tmp_path, text):
    run = put(tmp_path / "run", {"config.yaml": text})
    with pytest.raises(OutputError, match="already holds files"):
        rescrnet.train(cells, run, CONFIG, progress=ProgressReporter())
    assert (run / "config.yaml").read_text() == text


def test_a_run_that_is_there_is_continued_not_begun(cells, tmp_path):
    rescrnet.train(cells, tmp_path / "run", CONFIG, progress=ProgressReporter())
    with pytest.raises(OutputError, match=r"already holds files; .*--resume continues it"):
        rescrnet.train(cells, tmp_path / "run", CONFIG, progress=ProgressReporter())


@pytest.mark.parametrize("size", ["4k", "8k", "12k", "16k"])
def test_a_full_disk_leaves_a_folder_that_the_same_command_begins_in(cells, mount, size):
    disk = mount(f"size={size}")
    with pytest.raises((OutputError, OSError)):
        rescrnet.train(cells, disk / "run", CONFIG, progress=ProgressReporter())
    RunFolder(disk / "run").check_free()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_operation_leaves_a_folder_that_goes_on(cells, tmp_path):
    for count in range(0, 40, 3):
        run, child = tmp_path / f"run{count}", os.fork()
        if not child:
            kill_after(count)
            rescrnet.train(cells, run, CONFIG, progress=ProgressReporter())
            os._exit(0)
        os.waitpid(child, 0)
        again = (
            rescrnet.resume
            if RunFolder(run).exists
            else lambda data, out, **how: rescrnet.train(data, out, CONFIG, **how)
        )
        assert again(cells, run, progress=ProgressReporter()).card.trained.epoch == 1
