"""What is installed, what conflicts, and the commands that mend it: ``python -m cityseg_ext doctor``.

Only the standard library is imported here, and packages are tried in processes of their own: the doctor must be able to
speak where nothing else is.
"""

from __future__ import annotations

import importlib.metadata as metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
MAINTAINED, UPSTREAM = "onedl-", ""  # how the names of OpenMMLab's distributions begin
OPENMMLAB = ("mmcv", "mmengine", "mmsegmentation")
PIP = "python -m pip"

_PROBES = {
    "torch": "import torch; torch.zeros(1).numpy(); cuda = torch.cuda.is_available(); "
    "names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if cuda else []; "
    "facts = dict(version=torch.__version__, devices=names, built=torch.version.cuda, "
    "mps=torch.backends.mps.is_available())",
    "torchvision": "import torchvision; facts = dict(version=torchvision.__version__)",
    "cv2": "import cv2; facts = dict(version=cv2.__version__)",
    "mmcv": "import importlib.util, mmcv; "
    "facts = dict(version=mmcv.__version__, compiled=importlib.util.find_spec('mmcv._ext') is not None)",
    "mmengine": "import mmengine; facts = dict(version=mmengine.__version__)",
    "mmseg": "import mmseg; facts = dict(version=mmseg.__version__)",
    "cityseg_ext.plugin": "import cityseg_ext.plugin; facts = dict(version=cityseg_ext.__version__)",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: ``'ok'``, ``'note'`` (works, with a limit) or ``'problem'``.
        text: what was found.
        cure: the command or step that mends it.
    """

    level: str
    text: str
    cure: str = ""


def examine() -> list[Finding]:
    """Look at this environment; it is not changed."""
    with ThreadPoolExecutor(2) as pool:
        facts = dict(zip(_PROBES, pool.map(_probe, _PROBES.values()), strict=True))
    installed = _installed()
    return [
        _python(sys.version_info[:2]),
        *_torch(facts["torch"], shutil.which("nvidia-smi") is not None),
        *_torchvision(facts["torchvision"], "torchvision" in installed),
        *_opencv(facts["cv2"], installed),
        *_openmmlab(facts, installed),
        *_package(facts["cityseg_ext.plugin"]),
        *_extras(installed, _requirements()),
    ]


def report(findings: Sequence[Finding]) -> str:
    """The findings as lines for a terminal, and what they come to in the last one.

    Example:
        >>> print(report([Finding("problem", "two OpenCVs", "remove one")]))
        PROBLEM  two OpenCVs
                 mend: remove one
        1 problem.
    """
    lines = []
    for finding in findings:
        lines.append(f"{finding.level.upper() if finding.level == 'problem' else finding.level:<9}{finding.text}")
        if finding.cure:
            lines.append(f"{'':9}{'mend' if finding.level == 'problem' else 'to change that'}: {finding.cure}")
    count = sum(finding.level == "problem" for finding in findings)
    lines.append("No problem was found." if not count else f"{count} problem{'s' if count > 1 else ''}.")
    return "\n".join(lines)


def _probe(code: str) -> dict:
    """What a piece of code says about a package, in a process of its own; ``error`` if it fails."""
    script = f"import json, sys\n{code}\nsys.stderr.flush()\nprint('\\n' + json.dumps(facts))"
    try:
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    except subprocess.TimeoutExpired:
        return {"error": "no answer within five minutes"}
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"the process ended with code {run.returncode}"}
    return json.loads(run.stdout.strip().splitlines()[-1])


def _installed() -> dict[str, str]:
    """Versions of all packages by name, as pip writes names; what an interrupted pip has left has none."""
    found: dict[str, str] = {}
    for dist in metadata.distributions():
        name = (dist.metadata or {}).get("Name")
        if name:
            found.setdefault(_as_pip_writes(name), dist.version)  # the first on the path is the one that is imported
    return found


def _as_pip_writes(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _python(version: tuple[int, int]) -> Finding:
    text = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    if version < (3, 10):
        return Finding("problem", f"{text}: 3.10 or newer is needed", "make an environment with Python 3.11")
    return Finding("ok", text)


def _torch(facts: Mapping, has_gpu: bool) -> list[Finding]:
    if "error" in facts:
        return [Finding("problem", f"torch cannot be used: {facts['error']}", f"{PIP} install --force-reinstall torch")]
    text = f"torch {facts['version']}"
    if facts["devices"]:
        return [Finding("ok", f"{text}, {', '.join(facts['devices'])}")]
    if facts["mps"]:
        return [Finding("ok", f"{text}, Apple GPU (MPS)")]
    if has_gpu and facts["built"] is None:
        cure = f"{PIP} uninstall -y torch, and the command that PyTorch's installation page gives for your CUDA"
        return [Finding("problem", f"{text} is built for the CPU only, and this machine has an NVIDIA GPU", cure)]
    if has_gpu:
        cure = "update the NVIDIA driver, or install the build of torch for its CUDA version"
        return [Finding("problem", f"{text} (CUDA {facts['built']}) does not see the NVIDIA GPU of this machine", cure)]
    return [Finding("note", f"{text}, CPU only")]


def _torchvision(facts: Mapping, installed: bool) -> list[Finding]:
    if not installed:
        return []  # needed for torchvision:// weights only
    if "error" in facts:
        text = f"torchvision is installed and does not import; runs here do without it: {facts['error']}"
        return [Finding("problem", text, f"{PIP} uninstall -y torchvision (or install the one built for this torch)")]
    return [Finding("ok", f"torchvision {facts['version']}")]


def _opencv(facts: Mapping, installed: Mapping[str, str]) -> list[Finding]:
    present = [name for name in OPENCV if name in installed]
    again = f"{PIP} uninstall -y {' '.join(present)} && {PIP} install opencv-python"
    if len(present) > 1:
        text = f"{len(present)} packages provide cv2 and overwrite each other's files: {', '.join(present)}"
        return [Finding("problem", text, again)]
    if "error" in facts:
        headless = f"{PIP} uninstall -y {' '.join(present)} && {PIP} install opencv-python-headless"
        # Without libGL there is no display either, and the headless build needs none.
        cure = headless if "libGL" in facts["error"] else again if present else f"{PIP} install opencv-python"
        return [Finding("problem", f"OpenCV cannot be used: {facts['error']}", cure)]
    return [Finding("ok", f"OpenCV {facts['version']} ({', '.join(present) or 'not from pip'})")]


def _openmmlab(facts: Mapping[str, Mapping], installed: Mapping[str, str]) -> list[Finding]:
    prefixes = (MAINTAINED, UPSTREAM)
    lines = {prefix: [prefix + name for name in OPENMMLAB if prefix + name in installed] for prefix in prefixes}
    lite = ["mmcv-lite"] if "mmcv-lite" in installed else []
    if lines[MAINTAINED] and (lines[UPSTREAM] or lite):
        wrong = lines[UPSTREAM] + lite
        text = f"both lines of OpenMMLab are installed, over each other: {', '.join(lines[MAINTAINED] + wrong)}"
        cure = (
            f"{PIP} uninstall -y {' '.join(wrong + lines[MAINTAINED])} && "
            f"{PIP} install {' '.join(MAINTAINED + name for name in OPENMMLAB)}"
        )
        return [Finding("problem", text, cure)]
    broken = [f"{name}: {facts[name]['error']}" for name in ("mmcv", "mmengine", "mmseg") if "error" in facts[name]]
    if broken:
        cure = f"{PIP} install {' '.join(MAINTAINED + name for name in OPENMMLAB)}"
        return [Finding("problem", f"OpenMMLab cannot be used: {'; '.join(broken)}", cure)]
    line = "maintained" if lines[MAINTAINED] else "upstream"
    versions = ", ".join(f"{name} {facts[name]['version']}" for name in ("mmengine", "mmcv", "mmseg"))
    found = [Finding("ok", f"OpenMMLab, the {line} line: {versions}")]
    if not facts["mmcv"]["compiled"]:
        found.append(Finding("note", "mmcv has no compiled operators; none of the configs here needs any"))
    return found


def _package(facts: Mapping) -> list[Finding]:
    if "error" in facts:
        return [Finding("problem", f"cityseg_ext does not load: {facts['error']}", "mend the problems above first")]
    return [Finding("ok", f"cityseg_ext {facts['version']}: all components register")]


def _requirements() -> list[str]:
    """What this package asks for, with extras; nothing where it runs from a checkout without being installed."""
    try:
        return metadata.requires("cityseg-ext") or []
    except metadata.PackageNotFoundError:
        return []


def _extras(installed: Mapping[str, str], requirements: Sequence[str]) -> list[Finding]:
    wanted: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"""extra\s*==\s*["']([\w-]+)["']""", requirement)
        if extra and extra[1] != "dev":
            name = re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0]
            wanted.setdefault(extra[1], []).append(_as_pip_writes(name))
    found = []
    for extra, names in wanted.items():
        missing = [name for name in names if name not in installed]
        if missing:
            cure = f"{PIP} install 'cityseg_ext[{extra}]'"
            found.append(Finding("note", f"extra '{extra}' is not there ({', '.join(missing)})", cure))
        else:
            found.append(Finding("ok", f"extra '{extra}': {', '.join(f'{name} {installed[name]}' for name in names)}"))
    return found
