"""The same over a Ray cluster on loopback."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import long_work
import pytest
from long_work import moving, restore, setting_for
from restore import RequestError
from restore.inference.jobs import Job
from restore.longjobs.journal import folder_for
from restore.longjobs.restoring import restore_by
from restore.media.probe import probe

ray = pytest.importorskip("ray", reason="Ray is not installed (restorekit[ray])")


@pytest.fixture(scope="module")
def cluster():
    # Workers look for modules where they are told, as those of another machine would.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(long_work.__file__).parent), before]))
    try:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        pytest.skip(f"no Ray cluster can be begun here: {error}")
    yield
    ray.shutdown()
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.mark.timeout(600)
def test_two_workers_one_killed_one_video_and_ten(cluster, clips, tmp_path, capfd):
    """One long video and ten short ones; killing a worker in the middle changes nothing in the output."""
    from restore.longjobs.ray_workers import RayWorkers

    source = clips.make(tmp_path / "in.mp4", frames=90, size=(32, 48), planes=moving, audio=1, gop=12)
    shorts = [clips.make(tmp_path / f"{k}.mp4", frames=4 + k, planes=moving) for k in range(10)]
    files = [(path, tmp_path / f"{path.stem}.out.mkv") for path in (source, *shorts)]
    setting = setting_for("causal")
    pool = RayWorkers(setting, "auto", {}, workers=2)

    def kill():
        while not (folder_for(files[0][1]) / "000000.packets").exists():
            time.sleep(0.002)
        busy = [k for k in range(2) if k not in pool.free()] or [0]
        os.kill(pool.ids[busy[0]], signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    results, errors = {}, {}
    restore_by(
        pool, [Job(probe(a), b) for a, b in files], setting, {},
        lambda job, r: results.update({job.output: r}), lambda job, e: errors.update({job.output: e}),
    )  # fmt: skip
    assert not errors
    assert "a worker died" in capfd.readouterr().err
    assert [results[output]["frames"] for _, output in files] == [90, *range(4, 14)]
    restore(source, tmp_path / "one.mkv", "causal")
    assert files[0][1].read_bytes() == (tmp_path / "one.mkv").read_bytes()
    for path, output in files[1:4]:
        restore_short(path, tmp_path / "short.mkv")
        assert [f.planes[0].tolist() for f in clips.read(output)] == [
            f.planes[0].tolist() for f in clips.read(tmp_path / "short.mkv")
        ]
    assert not [p for p in tmp_path.iterdir() if p.name.endswith((".restore", ".part"))]


def restore_short(source, output):
    restore(source, output, "causal", overwrite=True)


def test_a_node_with_other_weights_is_refused(cluster):
    from restore.longjobs import ray_workers

    setting = setting_for("frame")

    class Other(ray_workers._Actor):
        def describe(self):
            return {"identity": {"weights": {"net": "other"}}, "node": "far", "pid": 1}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_workers, "_Actor", Other)
        with pytest.raises(RequestError, match=r"(?s)node far.*weights.net +mine +other"):
            ray_workers.RayWorkers(setting, "auto", {"weights": {"net": "mine"}}, workers=1)


def test_no_cluster_is_one_line():
    from restore.longjobs.ray_workers import RayWorkers

    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(RequestError, match="no Ray cluster"):
        RayWorkers(setting_for("frame"), "auto", {})
