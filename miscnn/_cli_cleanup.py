"""``miscnn cleanup``: what may be left lying about, and can be made again.

Nothing is deleted that does not carry miscnn's own marks: the name of a temporary file *and* the
number of a process that is no more; the description of a prepared subject, and no file beside it
that miscnn does not write.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from miscnn._cli_common import JSON_OPTION, QUIET_OPTION, echo_json, told_size

_KINDS = ("leftovers", "prepared", "batches")
_WRITING = re.compile(r"\.writing-(\d+)-[0-9a-f]{12}(\.[^/]*)?")
_WRITING_SAMPLE = re.compile(r"\.writing-[A-Za-z0-9_]{8}")
_PREPARED = re.compile(r"[A-Za-z0-9._-]*-[0-9a-f]{20}")
_BATCHES = re.compile(r"batches-[0-9a-f]{20}")
_OF_SAMPLE = re.compile(r"(image|labels|positions)\.b2nd|(sample|measures-[0-9a-f]+)\.json")
_OF_BATCHES = re.compile(r"(images|labels)-\d{6}\.npy|complete\.json")
_DAY = 86_400  # seconds


@dataclass(frozen=True)
class Found:
    """A file or folder that can be removed.

    Attributes
    ----------
    path : Path
    kind : {"leftovers", "prepared", "batches"}
    size : int
        Bytes.
    """

    path: Path
    kind: str
    size: int


@click.command(short_help="Remove temporary files and caches of miscnn.")
@click.argument(
    "folders", metavar="[FOLDER]...", nargs=-1, type=click.Path(exists=True, file_okay=False)
)
@click.option(
    "--only",
    type=click.Choice(_KINDS),
    multiple=True,
    help="Only this kind; several times for several. Default: all.",
)
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
@JSON_OPTION
@QUIET_OPTION
def cleanup(
    folders: tuple[str, ...], only: tuple[str, ...], dry_run: bool, as_json: bool, quiet: bool
) -> None:
    """Remove what miscnn has left below FOLDER and can make again (default: here).

    \b
    leftovers  temporary files of processes that are no more
    prepared   prepared subjects (of cache="disk"), which save time in the next training
    batches    stored batches (of prepare_batches=True)

    Nothing is removed that does not carry miscnn's marks; links are not followed. Do not run it
    while a training uses these folders. The exit status is 0 if all could be removed, 1 if not, 2
    if it cannot be done.
    """
    found = sorted(find(folders or (".",), only or _KINDS), key=lambda f: (f.kind, str(f.path)))
    failed: dict[str, str] = {}
    if not dry_run:
        for item in found:
            try:
                _remove(item.path)
            except OSError as error:
                failed[str(item.path)] = error.strerror or str(error)
    total = sum(f.size for f in found if str(f.path) not in failed)
    if as_json:
        echo_json(
            {
                "dry_run": dry_run,
                "found": [{"path": str(f.path), "kind": f.kind, "size": f.size} for f in found],
                "bytes": total,
                "failed": failed,
            }
        )
    else:
        if not quiet:
            for item in found:
                click.echo(f"{told_size(item.size):>12}  {item.kind:<9}  {item.path}")
            done = "can be removed" if dry_run else "removed"
            click.echo(f"{told_size(total):>12}  in all, {len(found) - len(failed)} {done}")
        for path, reason in failed.items():
            click.echo(f"{path} cannot be removed: {reason}", err=True)
    if failed:
        click.get_current_context().exit(1)


def find(folders: tuple[str, ...], kinds: tuple[str, ...]) -> list[Found]:
    """Return what can be removed below some folders, each once."""
    found: dict[Path, Found] = {}
    for folder in folders:
        for path, kind in _marked(Path(folder)):
            if kind in kinds:
                found.setdefault(path.resolve(), Found(path, kind, _size(path)))
    return list(found.values())


def _marked(folder: Path) -> Iterator[tuple[Path, str]]:
    for where, folders, files in os.walk(folder, followlinks=False):
        here = Path(where)
        for name in sorted(folders):
            path = here / name
            kind = None if path.is_symlink() else _kind_of_folder(path)
            if kind is not None:
                folders.remove(name)
                yield path, kind
        for name in sorted(files):
            path = here / name
            if not path.is_symlink() and _is_abandoned(name):
                yield path, "leftovers"


def _kind_of_folder(path: Path) -> str | None:
    if _is_abandoned(path.name):
        return "leftovers"
    if _WRITING_SAMPLE.fullmatch(path.name):
        old = time.time() - path.stat().st_mtime > _DAY
        return "leftovers" if old and _holds_only(path, _OF_SAMPLE) else None
    if _PREPARED.fullmatch(path.name) and _holds_only(path, _OF_SAMPLE) and _says_sample(path):
        return "prepared"
    if _BATCHES.fullmatch(path.name) and _holds_only(path, _OF_BATCHES):
        return "batches"
    return None


def _is_abandoned(name: str) -> bool:
    """Tell whether this is a temporary file of a process that is no more."""
    found = _WRITING.fullmatch(name)
    if found is None:
        return False
    try:
        os.kill(int(found[1]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # it is another user's
        return False
    return False


def _holds_only(folder: Path, names: re.Pattern[str]) -> bool:
    for entry in folder.iterdir():
        known = names.fullmatch(entry.name) or _is_abandoned(entry.name)
        if not known or entry.is_symlink() or not entry.is_file():
            return False
    return True


def _says_sample(folder: Path) -> bool:
    with suppress(OSError, ValueError):
        document = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        return isinstance(document, dict) and {"checksums", "class_rows"} <= set(document)
    return False


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if path.parent.name == "prepared":
        with suppress(OSError):  # there is more in it
            path.parent.rmdir()
