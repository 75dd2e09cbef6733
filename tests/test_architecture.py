"""The import law of the rooms, read from the syntax tree."""

import ast
import re
from pathlib import Path

import pytest

from cityseg_ext.labels import LABELS

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cityseg_ext"
FILES = sorted(PACKAGE.rglob("*.py"))
REGISTERED = {
    "datasets",
    "transforms",
    "losses",
    "metrics",
    "hooks",
    "models",
    "optim",
    "refiners",
    "samplers",
    "visualization",
}
PURE_LIBRARIES = {"numpy", "torch", "triton", "numba", "llvmlite", "scipy", "cv2"}
FRAMEWORK = {"mmengine", "mmcv", "mmseg"}
STDLIB = __import__("sys").stdlib_module_names


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else parts[0].removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Absolute names of everything that a file imports, anywhere in it."""
    found = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def own_rooms(path: Path) -> set[str]:
    names = (name.split(".") for name in imports_of(path))
    return {name[1] for name in names if name[0] == "cityseg_ext" and len(name) > 1} - {room_of(path)}


def libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports_of(path)} - set(STDLIB) - {"cityseg_ext"}


def allowed(room: str) -> tuple[set[str], set[str] | None]:
    """Rooms and libraries that a room may import; None stands for any library."""
    pure = {"labels", "checks"}
    if room in pure | {"__init__", "doctor", "shipped"}:  # the doctor speaks where nothing else is installed
        return set(), set()
    if room == "whole_file":  # registered rooms write files too
        return {"checks"}, set()
    if room == "__main__":
        return {"doctor", "shipped"}, set()
    if room == "functional":
        return pure, PURE_LIBRARIES
    if room == "statistics_file":  # registered rooms read that file alike, and may not import each other
        return pure | {"functional"}, set()
    if room in REGISTERED:
        others = {"PIL", "prettytable", "rich"} | ({"pydensecrf"} if room == "refiners" else set())
        return pure | {"functional", "statistics_file", "whole_file"}, PURE_LIBRARIES | FRAMEWORK | others
    if room == "plugin":
        return REGISTERED, set()
    return pure | {"doctor", "functional", "statistics_file", "shipped", "plugin", "whole_file"} | REGISTERED, None


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    rooms, allowed_libraries = allowed(room_of(path))
    assert own_rooms(path) <= rooms
    if allowed_libraries is not None:
        assert libraries(path) <= allowed_libraries


def test_the_documented_law_is_this_one():
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("| room |") :].partition("\n\n")[0].splitlines()[2:]
    documented = {}
    for row in table:
        rooms, _, imports = (cell.strip() for cell in row.strip("|").split("|"))
        for room in re.findall(r"`(\w+)`", rooms):
            documented[room] = imports
    assert set(documented) == {room_of(path) for path in FILES} - {"__init__"}
    words = {"the registered rooms": REGISTERED, "everything above": allowed("apis")[0]}
    for room, imports in documented.items():
        named = words.get(imports, set(re.findall(r"`(\w+)`", imports)))
        assert named - {room} == allowed(room)[0], room


def test_the_law_is_not_vacuous():
    assert own_rooms(PACKAGE / "losses" / "focal_dice.py") == {"checks", "functional", "labels"}
    assert "mmseg" in libraries(PACKAGE / "metrics" / "dice.py")


def test_pictures_are_drawn_without_pyplot():
    """Its backend and its open figures are those of the notebook or program that imports the package."""
    for path in FILES:
        assert "matplotlib.pyplot" not in imports_of(path), path


def test_no_compiled_operators_are_imported():
    for path in FILES:
        assert not any(name.startswith(("mmcv.ops", "torchvision")) for name in imports_of(path)), path


def test_facts_about_cityscapes_stand_in_labels_only():
    colors = {label.color for label in LABELS} - {(0, 0, 0)}
    for path in FILES:
        if path == PACKAGE / "labels.py":
            continue
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Tuple) and len(node.elts) == 3:
                values = tuple(part.value for part in node.elts if isinstance(part, ast.Constant))
                assert values not in colors, f"{path}:{node.lineno}"
            if isinstance(node, ast.Constant) and node.value in (19, 29) and type(node.value) is int:
                raise AssertionError(f"a number of classes in {path}:{node.lineno}")


def test_names_and_sizes():
    for path in FILES:
        text = path.read_text()
        assert not re.search(r"TODO(?!\(#\d+\))", text), path
        if path.name != "labels.py":
            assert len(text.splitlines()) <= 260, path
    for path in sorted((ROOT / "tools").glob("*.py")):
        assert len(path.read_text().splitlines()) <= 150, path


UNSAFE_MODULES = {"marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "mmengine.load", "Config.fromstring"}


def unsafe_loads(path: Path) -> list[str]:
    """What in a file could run code that a data file carries."""
    tree, found = ast.parse(path.read_text()), []
    pickle_names = {name for name in imports_of(path) if name.split(".")[0] == "pickle"}
    found += sorted(pickle_names - {"pickle", "pickle.UnpicklingError"} | imports_of(path) & UNSAFE_MODULES)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, call = ast.unparse(node.func), ast.unparse(node)
        if (
            name in UNSAFE_CALLS
            or name.startswith(("pickle.", "torch.hub.", "torch.jit.load", "fileio.load"))
            or (name == "torch.load" and "weights_only=True" not in call)
            or "allow_pickle=True" in call
            or "shell=True" in call
        ):
            found.append(f"{path.name}: {call}")
    return found


def test_nothing_is_read_unsafely():
    found = [line for path in [*FILES, *(ROOT / "tools").glob("*.py")] for line in unsafe_loads(path)]
    # One place, for files that the user trusts and says so.
    assert found == ["checkpoint.py: torch.load(path, map_location='cpu', weights_only=False)"]


def test_unsafe_loads_are_found(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "a.py"
    for line in (
        "torch.load(path)",
        "import pickle; pickle.load(file)",
        "from pickle import load",
        "np.load(path, allow_pickle=True)",
        "import yaml",
        "eval(text)",
        "torch.hub.load_state_dict_from_url(url)",
        "subprocess.run(line, shell=True)",
    ):
        file.write_text(line)
        assert unsafe_loads(file), line
    file.write_text("from pickle import UnpicklingError\ntorch.load(path, weights_only=True)\nnp.load(path)")
    assert not unsafe_loads(file)
