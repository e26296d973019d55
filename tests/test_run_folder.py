"""The folder of a run: one run at a time, what attempts wasted, which checkpoints count."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import stat
import subprocess
import sys
import time

import pytest

from resque import safeguard
from resque.costs import Costs, Spent
from resque.energy import Energy
from resque.errors import ResqueError, UsageError
from resque.files import write_folder
from resque.run_folder import (
    begin,
    cannot_save,
    clear_staging,
    finish,
    lock_folder,
    newest_checkpoint,
    seal,
    staging,
    write_heartbeat,
)

SETTINGS = {"model": "m", "seed": 0, "patience": ("0.02:3",), "warmup": math.nan}
HOLD = """
import sys
from pathlib import Path
from resque.run_folder import lock_folder

lock = lock_folder(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def costs(training, evaluation=(0, 0), overhead=(0, 0)):
    """Costs from (seconds, kWh) of each phase."""
    return Costs(*(Spent(s, Energy(cpu=kwh)) for s, kwh in (training, evaluation, overhead)))


def wasted(attempt):
    return attempt.wasted.seconds, attempt.wasted.energy.total


def save(folder, step, spent=None):
    """Make a checkpoint."""
    staged = clear_staging(folder)
    (staged / "model").mkdir()
    (staged / "model" / "weights.bin").write_bytes(bytes(range(256)) * step)
    return seal(folder, step, {"step": step, "costs": (spent or Costs()).to_dict()})


def test_a_run_begins_and_another_is_refused(tmp_path):
    first = begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    assert (first.number, first.checkpoint, first.base, first.finished) == (0, None, Costs(), False)
    assert wasted(first) == (0, 0)
    with pytest.raises(UsageError, match="an unfinished run: --resume goes on with it; --overwri"):
        begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    finish(tmp_path, first, SETTINGS)
    with pytest.raises(UsageError, match="a finished run: --overwrite begins anew") as caught:
        begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    assert "--resume" not in str(caught.value)


def test_resuming_goes_on_with_the_same_run(tmp_path):
    first = begin(tmp_path, SETTINGS, resume=True, overwrite=False)  # nothing there: a new one
    write_heartbeat(tmp_path, first, 0, costs((3, 1)), 3, "running")
    again = begin(tmp_path, SETTINGS, resume=True, overwrite=False)
    assert (again.run_id, again.started, again.number) == (first.run_id, first.started, 1)
    finish(tmp_path, again, SETTINGS)
    assert begin(tmp_path, SETTINGS, resume=True, overwrite=False).finished


def test_a_run_that_was_killed_after_its_record_has_ended(tmp_path):
    first = begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    write_heartbeat(tmp_path, first, 0, costs((3, 1)), 10, "running")
    records = tmp_path / "records.jsonl"
    for other in ('{"run_id": "another"}\n', f'{{"run_id": "{first.run_id}", "mea', "\n3\n"):
        with records.open("a", encoding="utf-8") as file:
            file.write(other)
        assert not begin(tmp_path, SETTINGS, resume=True, overwrite=False).finished
    with records.open("a", encoding="utf-8") as file:
        file.write(f'{{"run_id": "{first.run_id}"}}\n')
    assert begin(tmp_path, SETTINGS, resume=True, overwrite=False).finished
    with pytest.raises(UsageError, match="a finished run"):
        begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    other = begin(tmp_path, SETTINGS, resume=False, overwrite=True)
    assert wasted(other) == (0, 0)


def test_overwriting_begins_anew(tmp_path):
    first = begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    write_heartbeat(tmp_path, first, 0, costs((3, 1)), 10, "finished")
    save(tmp_path, 10)
    finish(tmp_path, first, SETTINGS)
    other = begin(tmp_path, {"model": "other"}, resume=False, overwrite=True)
    assert other.run_id != first.run_id
    assert (other.number, wasted(other)) == (0, (0, 0))  # the finished run was of use
    assert newest_checkpoint(tmp_path) == (None, ())
    assert begin(tmp_path, {"model": "other"}, resume=True, overwrite=False).number == 0


def test_all_settings_that_differ_are_listed(tmp_path):
    begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    changed = {"model": "n", "patience": (), "warmup": None, "seed": 0, "new": [1]}
    with pytest.raises(UsageError, match="cannot go on") as caught:
        begin(tmp_path, changed, resume=True, overwrite=False)
    _, _, listed = str(caught.value).partition("cannot go on: ")
    assert sorted(listed.split("; ")) == [
        "model: 'm' then, 'n' now",
        "new: None then, [1] now",
        "patience: ['0.02:3'] then, [] now",
    ]


def test_a_run_that_cannot_be_read_is_named(tmp_path):
    begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    (tmp_path / "run.json").write_text('{"run_id": "a')
    with pytest.raises(ResqueError, match=r"cannot read .*run\.json"):
        begin(tmp_path, SETTINGS, resume=True, overwrite=False)


def test_what_several_attempts_on_several_machines_wasted(tmp_path):
    def resume():
        return begin(tmp_path, SETTINGS, resume=True, overwrite=False)

    def beat(attempt, *nodes):
        for node, spent in enumerate(nodes):
            write_heartbeat(tmp_path, attempt, node, spent, 0, "running")

    first = resume()
    save(tmp_path, 10, costs((60, 12), (10, 1.5), (99, 99)))
    beat(first, costs((100, 10), (20, 2), (9, 9)), costs((99, 8), (19, 1), (9, 9)))
    # seconds of the first machine, energy of both; overhead is not done again
    second = resume()
    assert (second.number, second.base.training.seconds) == (1, 60)
    assert wasted(second) == pytest.approx((120 - 70, 21 - 13.5))
    # no checkpoint in this attempt: all of it is lost
    beat(second, costs((30, 3), (5, 0.5)), costs((31, 2), (6, 0.25)))
    third = resume()
    assert wasted(third) == pytest.approx((50 + 35, 7.5 + 5.75))
    # a checkpoint later than the heartbeat: nothing more is lost
    beat(third, costs((30, 3)), costs((30, 1)))
    save(tmp_path, 20, costs((100, 17), (10, 1.5)))
    fourth = resume()
    assert (fourth.number, fourth.base.training.seconds) == (3, 100)
    assert wasted(fourth) == pytest.approx((85, 13.25))
    # its checkpoint turns out to be broken: what was done since the one before is lost too
    beat(fourth, costs((7, 1)), costs((7, 0.5)))
    (tmp_path / "checkpoints" / "step-00000020" / "progress.json").unlink()
    fifth = resume()
    assert fifth.base.training.seconds == 60
    assert fifth.notes == ("skipped the broken checkpoint step-00000020: progress.json is missing",)
    assert wasted(fifth) == pytest.approx((85 + 40 + 7, 13.25 + 5 + 1.5))
    # and what is begun anew has wasted everything
    beat(fifth, costs((1, 0.5)))
    sixth = begin(tmp_path, SETTINGS, resume=False, overwrite=True)
    assert wasted(sixth) == pytest.approx((132 + 70 + 1, 19.75 + 13.5 + 0.5))
    # an attempt that ended before its first heartbeat forgets nothing
    assert wasted(resume()) == pytest.approx(wasted(sixth))
    again = begin(tmp_path, SETTINGS, resume=False, overwrite=True)
    assert wasted(again) == pytest.approx(wasted(sixth))
    beat(again, costs((2, 1)))
    assert wasted(resume()) == pytest.approx((203 + 2, 33.75 + 1))


def test_a_run_without_a_checkpoint_has_wasted_all_its_work(tmp_path):
    first = begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    write_heartbeat(tmp_path, first, 1, costs((30, 3)), 5, "running")  # the first machine left none
    again = begin(tmp_path, SETTINGS, resume=True, overwrite=False)
    assert (again.checkpoint, again.base) == (None, Costs())
    assert wasted(again) == (30, 3)


def test_heartbeats_replace_each_other_and_leave_nothing_else(tmp_path):
    attempt = begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    for step in (1, 2):
        write_heartbeat(tmp_path, attempt, 0, costs((step, 0)), step, "running")
    (file,) = (tmp_path / "attempts").iterdir()
    found = json.loads(file.read_text())
    assert (file.name, found["step"], found["status"]) == ("000-node0.json", 2, "running")
    assert Costs.from_dict(found["costs"]) == costs((2, 0))


def test_the_two_newest_checkpoints_are_kept(tmp_path):
    assert newest_checkpoint(tmp_path) == (None, ())
    paths = [save(tmp_path, step) for step in (5, 10, 100)]
    assert newest_checkpoint(tmp_path) == (paths[-1], ())
    assert sorted((tmp_path / "checkpoints").iterdir()) == paths[1:]
    assert json.loads((paths[-1] / "progress.json").read_text())["step"] == 100
    assert save(tmp_path, 100) == paths[-1]  # the same step again takes its place
    assert newest_checkpoint(tmp_path) == (paths[-1], ())


def lengthen(file):
    file.write_bytes(file.read_bytes() + b"x")


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "harm", "words"),
    [
        ("model/weights.bin", flip, "model/weights.bin is damaged"),
        ("model/weights.bin", lambda f: os.truncate(f, 7), "model/weights.bin is damaged"),
        (
            "model/weights.bin",
            lengthen,
            "model/weights.bin is damaged",
        ),
        ("model/weights.bin", lambda f: f.unlink(), "model/weights.bin is missing"),
        ("progress.json", flip, "progress.json is damaged"),
        ("model", shutil.rmtree, "model/weights.bin is missing"),
        ("manifest.json", lambda f: f.unlink(), "its manifest cannot be read"),
        ("manifest.json", lambda f: os.truncate(f, 20), "its manifest cannot be read"),
        ("manifest.json", lambda f: os.truncate(f, 0), "its manifest cannot be read"),
        ("manifest.json", lambda f: f.write_bytes(b"\xff"), "its manifest cannot be read"),
        ("manifest.json", lambda f: f.write_text("[]"), "its manifest cannot be read"),
        ("manifest.json", lambda f: f.write_text('{"a": 3}'), "its manifest cannot be read"),
    ],
)
def test_a_broken_checkpoint_is_named_and_skipped(tmp_path, name, harm, words):
    whole, broken = save(tmp_path, 10), save(tmp_path, 20)
    harm(broken / name)
    found, notes = newest_checkpoint(tmp_path)
    assert found == whole
    (note,) = notes
    assert note.startswith(f"skipped the broken checkpoint step-00000020: {words}")
    harm(whole / name)
    found, notes = newest_checkpoint(tmp_path)
    assert found is None
    assert [note.split(":")[0][-8:] for note in notes] == ["00000020", "00000010"]


def test_a_broken_checkpoint_does_not_push_a_whole_one_out(tmp_path):
    save(tmp_path, 10)
    flip(save(tmp_path, 30) / "progress.json")
    saved = save(tmp_path, 20)  # the run went on from step 10
    assert newest_checkpoint(tmp_path)[0] == saved
    flip(saved / "progress.json")
    assert newest_checkpoint(tmp_path)[0].name == "step-00000010"


def test_what_a_crash_left_half_written_does_not_count(tmp_path):
    whole = save(tmp_path, 10)
    shutil.copytree(whole, staging(tmp_path))
    shutil.copytree(whole, whole.with_name("step-20.old"))
    assert newest_checkpoint(tmp_path) == (whole, ())
    staged = clear_staging(tmp_path)
    assert list(staged.iterdir()) == []
    assert newest_checkpoint(save(tmp_path, 30).parents[1])[0].name == "step-00000030"
    assert not staging(tmp_path).exists()


def test_a_checkpoint_that_the_disk_refuses_does_not_count(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(_):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises((OSError, ResqueError), match="No space left"):
            save(tmp_path, 10)
    error = cannot_save(tmp_path, 10, full)
    assert "step 10: No space left on device. There is no earlier one; make room" in str(error)
    assert not staging(tmp_path).exists()
    kept = save(tmp_path, 10)
    clear_staging(tmp_path)
    assert f"{kept.name} is kept; make room and go on" in str(cannot_save(tmp_path, 20, full))
    assert newest_checkpoint(tmp_path) == (kept, ())


def test_folders_that_cannot_be_synchronised_are_no_error(tmp_path, monkeypatch):
    real = os.fsync

    def refuse_folders(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "a folder")
        real(handle)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    begin(tmp_path, SETTINGS, resume=False, overwrite=False)
    saved = save(tmp_path, 10)
    assert newest_checkpoint(tmp_path) == (saved, ())


def test_one_run_at_a_time_until_its_process_ends_however_it_ends(tmp_path):
    folder = tmp_path / "new"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        try:
            assert other.stdout.readline() == "held\n"
            for _ in range(2):
                with pytest.raises(ResqueError, match=r"another run is writing into .*new: wait"):
                    lock_folder(folder)
        finally:
            other.kill()
        other.wait()
        lock = lock_folder(folder)
    second = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert second.returncode == 1
    assert "ResqueError: another run is writing into" in second.stderr
    lock.release()
    lock_folder(folder).release()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResqueError, match=r"cannot write to .*file"):
        lock_folder(tmp_path / "file")


def test_what_a_kill_left_beside_a_folder_is_in_nobodys_way(tmp_path):
    for name in (".model-new", ".model-old", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("old")
    write_folder(tmp_path / "model", lambda folder: (folder / "weights").write_text("new"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "new"


def test_a_heartbeat_that_fails_does_not_end_the_watch(monkeypatch):
    monkeypatch.setattr(safeguard, "LOOK", 0.01)
    monkeypatch.setattr(safeguard, "HEARTBEAT", 0.0)
    beats = []

    def beat():
        beats.append(None)
        raise RuntimeError("the meter fails")

    with safeguard.Safeguard(beat, safeguard.StopRequest(), 60.0, False):
        deadline = time.monotonic() + 10
        while len(beats) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(beats) >= 3
