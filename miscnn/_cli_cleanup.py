"""``miscnn cleanup``: what may be left lying about, and can be made again.

Nothing is deleted that does not carry miscnn's own marks: the name of a temporary file that nobody
writes any more; the description of a prepared subject, and no file beside it that miscnn does not
write.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from miscnn._cli_common import JSON_OPTION, QUIET_OPTION, echo_json, told_size
from miscnn._files import is_abandoned, is_old, replaced_beside, target_of

_KINDS = ("leftovers", "prepared", "batches")
_WRITING_SAMPLE = re.compile(r"\.writing-[A-Za-z0-9_]{8}")
_PREPARED = re.compile(r"[A-Za-z0-9._-]*-[0-9a-f]{20}")
_BATCHES = re.compile(r"batches-[0-9a-f]{20}")
_OF_SAMPLE = re.compile(r"(image|labels|positions)\.b2nd|(sample|measures-[0-9a-f]+)\.json")
_OF_BATCHES = re.compile(r"(images|labels)-\d{6}\.npy|complete\.json")


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
    leftovers  temporary files of processes that are no more; those of other machines and
               containers when they are a day old
    prepared   prepared subjects (of cache="disk"), which save time in the next training
    batches    stored batches (of prepare_batches=True)

    Nothing is removed that does not carry miscnn's marks; links are not followed. A folder whose
    replacement was interrupted stays, old and new, and it is told how to finish it. Do not run it
    while a training uses these folders. The exit status is 0 if all could be removed, 1 if not, 2
    if it cannot be done.
    """
    found = sorted(find(folders or (".",), only or _KINDS), key=lambda f: (f.kind, str(f.path)))
    kept = [text for f in folders or (".",) for text in _interrupted(Path(f))]
    kept = list(dict.fromkeys(kept))
    failed: dict[str, str] = {}
    if not dry_run:
        for item in found:
            try:
                _remove(item)
            except FileNotFoundError:  # somebody else was faster
                continue
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
                "kept": kept,
            }
        )
    else:
        if not quiet:
            for item in found:
                click.echo(f"{told_size(item.size):>12}  {item.kind:<9}  {item.path}")
            done = "can be removed" if dry_run else "removed"
            click.echo(f"{told_size(total):>12}  in all, {len(found) - len(failed)} {done}")
            for text in kept:
                click.echo(text)
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
    # of what lies in another, overlapping folders were named
    return [f for path, f in found.items() if not any(p in found for p in path.parents)]


def _interrupted(folder: Path) -> Iterator[str]:
    """Tell which folders were being replaced when the process was killed."""
    for where, folders, _ in os.walk(folder, followlinks=False):
        for name in sorted(folders):
            replaced = Path(where) / name
            pair = target_of(replaced)
            if pair is None:
                continue
            folders.remove(name)
            temporary, target = pair
            if not is_abandoned(temporary) and temporary.exists():
                continue  # it goes on
            if temporary.name in folders:
                folders.remove(temporary.name)
            wanted = "the name it had" if target is None else str(target)
            there = target is not None and target.exists()
            new = f"{temporary} is the new one, " if temporary.exists() else ""
            yield (
                f"the replacement of {'a folder' if target is None else target} was interrupted, "
                f"and nothing of it is removed: {new}{replaced} the old one"
                + (
                    f". {target} is there: delete what you do not need"
                    if there
                    else f"; rename the one that you want to {wanted}, and delete the other"
                )
            )


def _marked(folder: Path) -> Iterator[tuple[Path, str]]:
    for where, folders, files in os.walk(folder, followlinks=False):
        here = Path(where)
        for name in sorted(folders):
            path = here / name
            if target_of(path) or (is_abandoned(path) and replaced_beside(path)):
                folders.remove(name)  # of an interrupted replacement
                continue
            kind = None if path.is_symlink() else _kind_of_folder(path)
            if kind is not None:
                folders.remove(name)
                yield path, kind
        for name in sorted(files):
            path = here / name
            if not path.is_symlink() and is_abandoned(path):
                yield path, "leftovers"


def _kind_of_folder(path: Path) -> str | None:
    if is_abandoned(path):
        return "leftovers"
    try:
        if _WRITING_SAMPLE.fullmatch(path.name):
            return "leftovers" if is_old(path) and _holds_only(path, _OF_SAMPLE) else None
        if _PREPARED.fullmatch(path.name) and _holds_only(path, _OF_SAMPLE) and _says_sample(path):
            return "prepared"
        if _BATCHES.fullmatch(path.name) and _holds_only(path, _OF_BATCHES):
            return "batches"
    except OSError:  # it cannot be looked into
        return None
    return None


def _holds_only(folder: Path, names: re.Pattern[str]) -> bool:
    for entry in folder.iterdir():
        known = names.fullmatch(entry.name) or is_abandoned(entry)
        if not known or entry.is_symlink() or not entry.is_file():
            return False
    return True


def _says_sample(folder: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        document = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
        return isinstance(document, dict) and {"checksums", "class_rows"} <= set(document)
    return False


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file())


def _remove(item: Found) -> None:
    if item.path.is_dir():
        shutil.rmtree(item.path)
    else:
        item.path.unlink()
    if item.kind == "prepared" and item.path.parent.name == "prepared":
        with suppress(OSError):  # there is more in it
            item.path.parent.rmdir()
