"""Build what is uploaded of all distributions, and try these very files where nothing else of this project is.

::

    python release/wheels.py build                   # wheels and source archives, into dist
    python release/wheels.py try                     # with the libraries of this environment: nothing is downloaded
    python release/wheels.py try --python python3.12 # with libraries from the package index

`try` builds nothing. It makes an empty environment, installs ``xcore-xai[bench,craft]`` from the wheels, and compares
CRAFT with the controls on the painted world, from a folder outside the repository.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
LEFT_BEHIND = shutil.ignore_patterns("tests", "build", "dist", "__pycache__", "*.egg-info", "*_training", ".*")
"""What lies beside the sources and belongs in no wheel: an old `build` folder would bring files that are gone."""
BUILD = """
import os, sys
from setuptools import build_meta
kind, out, *folders = sys.argv[1:]
for folder in folders:
    os.chdir(folder)
    print("building in", folder, flush=True)
    getattr(build_meta, f"build_{kind}")(out)
"""
CPU = "https://download.pytorch.org/whl/cpu"
TRIED = "xcore-xai[bench,craft]"
BENCH = ("bench", "--methods", "craft", "--seeds", "1", "--metrics", "TS,CS,recovery", "--set", "craft.k=3")
OURS = ("xcore", "__editable__")
"""How the files of this project in an environment begin."""


def distributions() -> dict[str, Path]:
    """Name of each distribution that is released -> its folder, the core first; examples are not."""
    plugins = sorted(path.parent for path in ROOT.glob("plugins/*/*/pyproject.toml"))
    folders = [ROOT, *(folder for folder in plugins if folder.parent.name != "examples")]
    return {str(project(folder)["name"]): folder for folder in folders}


def project(folder: Path) -> dict[str, object]:
    """The table ``project`` of the distribution in a folder."""
    table: dict[str, object] = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def build(out: Path, kinds: Iterable[str] = ("wheel", "sdist")) -> list[Path]:
    """Build the wheels and source archives of all distributions, or one of these kinds; returns the files."""
    out.mkdir(parents=True, exist_ok=True)
    for kind in kinds:  # one process for all of a kind: to load what builds them takes longer than to build one
        with tempfile.TemporaryDirectory() as scratch:
            copies = [Path(scratch) / name for name in distributions()]
            for folder, copy in zip(distributions().values(), copies, strict=True):
                staged(folder, copy)
            call = [sys.executable, "-c", BUILD, kind, str(out.resolve()), *map(str, copies)]
            done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"a distribution cannot be built:\n{done.stdout}{done.stderr}")
    return files_in(out)


def files_in(folder: Path) -> list[Path]:
    """The wheels and source archives in a folder, which may hold more than these."""
    return sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])


def staged(folder: Path, copy: Path) -> None:
    """Copy what a distribution is built from, with the licence of the project."""
    copy.mkdir()
    for path in (folder / name for name in ("pyproject.toml", "README.md", "LICENSE.wordnet")):
        if path.is_file():
            shutil.copy(path, copy)
    shutil.copy(ROOT / "LICENSE", copy)
    code = folder / ("xcore" if folder == ROOT else "src")
    shutil.copytree(code, copy / code.name, ignore=LEFT_BEHIND)


def missing(built: Path) -> list[str]:
    """Files of the sources of a distribution that its wheel or source archive lacks, such as weights or templates."""
    name = built.name.partition("-")[0].replace("_", "-")
    folder = distributions()[name]
    sources = folder if folder == ROOT else folder / "src"
    packages = [sources / "xcore"] if folder == ROOT else [p for p in sources.iterdir() if p.suffix != ".egg-info"]
    if built.suffix == ".whl":
        with ZipFile(built) as archive:
            held = set(archive.namelist())
    else:
        top = built.name.removesuffix(".tar.gz") + ("/" if folder == ROOT else "/src/")
        with tarfile.open(built) as packed:
            held = {path.removeprefix(top) for path in packed.getnames()}
    files = (path for package in packages for path in package.rglob("*") if path.is_file())
    wanted = {path.relative_to(sources).as_posix() for path in files if "__pycache__" not in path.parts}
    return sorted(wanted - held)


def environment(folder: Path, python: str = "") -> Path:
    """Make an empty environment and return its interpreter.

    Without `python` it is of this interpreter and has the libraries of this environment, as links to them, and nothing
    of this project.
    """
    options = ["--without-pip"] if not python else []
    subprocess.run([python or sys.executable, "-m", "venv", *options, str(folder)], check=True)
    inside = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python:
        place = subprocess.run(
            [str(inside), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        lend(Path(place))
    return inside


def lend(place: Path) -> None:
    """Link the libraries of this environment into another one's folder; the first on the path wins."""
    for folder in (Path(entry) for entry in sys.path if entry.endswith("site-packages")):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            ours = path.name.lower().startswith(OURS)
            if not ours and path.suffix != ".pth" and path.name != "__pycache__" and not (place / path.name).exists():
                (place / path.name).symlink_to(path)


def install(python: Path, wheels: Path, what: str = TRIED, offline: bool = True) -> None:
    """Install from a folder of wheels; offline, every other library has to be there already, in a version that fits."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "-q"]
    if not offline:
        subprocess.run([*pip, "torch", "torchvision", "--index-url", CPU], check=True)
    subprocess.run([*pip, *(["--no-index"] if offline else []), "--find-links", str(wheels), what], check=True)


def bench(python: Path, folder: Path, words: Iterable[str] = BENCH) -> str:
    """Run `xcore bench` in a folder, with no path that leads into the repository; returns what it printed."""
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XCORE_PLUGINS")}
    clean |= {"XCORE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    listed = [str(python), "-m", "xcore", "list"]
    return "".join(
        subprocess.run(call, cwd=folder, env=clean, check=True, stdout=subprocess.PIPE, text=True).stdout
        for call in (listed, [str(python), "-m", "xcore", *words])
    )


def try_out(wheels: Path, python: str) -> None:
    """Install the wheels in an empty environment and compare CRAFT with the controls from there."""
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        inside = environment(place / "environment", python)
        install(inside, wheels, offline=not python)
        (place / "elsewhere").mkdir()
        print(bench(inside, place / "elsewhere"))


def main() -> None:
    """Read the command line."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = flags.add_subparsers(dest="step", required=True)
    for name, text in (("build", "build the wheels and source archives"), ("try", "try the wheels that were built")):
        step = steps.add_parser(name, help=text)
        step.add_argument("--out", type=Path, default=ROOT / "dist", help="folder of the files (default: dist)")
        if name == "try":
            step.add_argument("--python", default="", help="interpreter to try them with, from the package index")
    asked = flags.parse_args()
    if asked.step == "build":
        for old in files_in(asked.out):
            old.unlink()
        build(asked.out)
    files = files_in(asked.out)
    if lacking := {file.name: absent for file in files if (absent := missing(file))}:
        raise SystemExit(f"files are missing in what was built: {lacking}")
    wheels = [file for file in files if file.suffix == ".whl"]
    if absent_wheels := len(distributions()) - len(wheels):
        hint = "build them: python release/wheels.py build"
        raise SystemExit(f"{asked.out} lacks the wheels of {absent_wheels} distributions; {hint}")
    print(f"{len(wheels)} wheels and {len(files) - len(wheels)} source archives in {asked.out}", file=sys.stderr)
    if asked.step == "try":
        try_out(asked.out, asked.python)


if __name__ == "__main__":
    main()
