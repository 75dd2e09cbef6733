"""tools/export.py and tools/publish.py in this process, and the flag that they share with others."""

import pytest
import torch
from conftest import ROOT, TINY

from cityseg_ext.apis.config import load_config
from cityseg_ext.apis.export_check import Agreement
from cityseg_ext.apis.segmentor import build_segmentor


def test_publish_then_export_without_a_config(run_tool, tmp_path, monkeypatch):
    cfg = load_config(str(ROOT / "configs" / "deeplabv3_r18_focaldice.py"), work_dir="w", cfg_options=TINY)
    cfg.dump(tmp_path / "tiny model.py")
    torch.save(dict(state_dict=build_segmentor(cfg).state_dict()), tmp_path / "last.pth")
    last = run_tool("publish", "last.pth", "--name", "tiny")[-1]
    (checkpoint,) = (tmp_path / "published").glob("tiny-*.pth")
    shown = checkpoint.relative_to(tmp_path)
    assert last.startswith(f"Wrote {shown} (") and last.endswith(f"its card {shown.with_suffix('.md')}")

    # Exporting takes long, and tests/apis/test_export.py does it.
    monkeypatch.setattr("cityseg_ext.apis.export._write", lambda model, path, *_: path.write_bytes(b"model"))
    agreement = Agreement(1e-6, 0.5, ((64, 65),))
    monkeypatch.setattr("cityseg_ext.apis.export.check_agreement", lambda *_: agreement)
    assert (
        run_tool("export", "last.pth", "--format", "torch")[0] == "Config: tiny model.py, found beside the checkpoint"
    )
    (tmp_path / "another.py").touch()
    with pytest.raises(ValueError, match="or a published one, but got another.py, tiny model.py. Name its config too"):
        run_tool("export", "last.pth", "--format", "torch")
    last = run_tool("export", shown, "--format", "torch", "--out", "new/a.pt2")[-1]
    assert last == (
        "Wrote new/a.pt2 (0.0 MB). Against the model on images of 64x65: 50.0000% of the pixels get the same class, "
        "largest difference 1.0e-06."
    )
    with pytest.raises(FileExistsError, match="--overwrite"):
        run_tool("export", "tiny model.py", shown, "--format", "torch", "--out", "new/a.pt2")


@pytest.mark.parametrize("script", ["train", "test", "infer", "demo", "cityscapes_submit", "export", "publish"])
def test_tools_that_read_checkpoints_can_trust_them(script, run_tool, capsys):
    with pytest.raises(SystemExit):
        run_tool(script, "--help")
    assert "--trust-checkpoint" in capsys.readouterr().out
