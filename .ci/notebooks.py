"""Execute the notebooks of examples/, one by one, on small budgets.

    python .ci/notebooks.py FOLDER [NAME ...]

Each is written to FOLDER as it looks when executed, and its files to a folder of its name beside
it. Fails if a cell does, if a cell shows a warning, or if a notebook is not as it should be
committed: with outputs or execution counts, without ids of cells, without parameters.
"""

# ruff: noqa: T201 - a script for the terminal
from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import papermill  # type: ignore[import-untyped]

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SECONDS = 600  # for a cell

_WARNING = re.compile(r"^.*\bWARNING\b.*$|^.*\w*Warning: .*$", re.MULTILINE)
# Without ipywidgets progress bars are text; TensorFlow greets. Nothing is wrong with either.
_HARMLESS = re.compile("IProgress not found|before absl::InitializeLog")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def faults_of(path: Path) -> list[str]:
    """Tell what a notebook should not be committed with."""
    notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    faults = []
    if (notebook.nbformat, notebook.nbformat_minor) < (4, 5):
        faults.append(f"is in format {notebook.nbformat}.{notebook.nbformat_minor}, not 4.5")
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3":
        faults.append(f"wants the kernel {kernel!r}, not 'python3'")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    faults += [f"cell {cell.id} holds outputs" for cell in code if cell.outputs]
    faults += [f"cell {cell.id} has an execution count" for cell in code if cell.execution_count]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", ())]
    if code[:1] != tagged:
        faults.append("the first code cell, and no other, must have the tag 'parameters'")
    else:
        missing = {"output", "budget"} - set(re.findall(r"^(\w+) =", tagged[0].source, re.M))
        faults += [f"has no parameter {name!r}" for name in sorted(missing)]
    return faults


def warnings_in(notebook: Any) -> list[str]:
    """Return the warnings that cells show."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            lines = _WARNING.findall(output.get("text", ""))
            found += [f"cell {cell.id}: {line}" for line in lines if not _HARMLESS.search(line)]
    return found


def execute(path: Path, folder: Path) -> list[str]:
    """Run a notebook on a small budget; return what is wrong with it."""
    parameters = {"output": str(folder / path.stem), "budget": "small"}
    try:
        executed = papermill.execute_notebook(
            path,
            folder / path.name,
            parameters,
            cwd=EXAMPLES,
            kernel_name="python3",
            progress_bar=False,
            execution_timeout=SECONDS,
        )
    except papermill.PapermillExecutionError as error:
        return [f"cell {error.cell_index + 1} failed\n{_COLOURS.sub('', str(error))}"]
    return warnings_in(executed)


def main() -> int:
    """Check all notebooks, then execute them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the executed notebooks go")
    parser.add_argument("names", nargs="*", help="only those whose name begins so, such as 03")
    arguments = parser.parse_args()
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # Cells run in the folder of the notebooks.
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [
        path
        for path in sorted(EXAMPLES.glob("*.ipynb"))
        if not arguments.names or path.name.startswith(tuple(arguments.names))
    ]
    if not chosen:
        print(f"no such notebooks in {EXAMPLES}: {', '.join(arguments.names) or '*.ipynb'}")
        return 1
    wrong = 0
    for path in chosen:
        begin = time.monotonic()
        try:
            faults = faults_of(path) or execute(path, folder)
        except (nbformat.ValidationError, json.JSONDecodeError) as error:
            faults = [f"is no notebook: {error}"]
        print(f"{path.name:32}{time.monotonic() - begin:6.0f} s", flush=True)
        for fault in faults:
            print(f"  {fault}", flush=True)
        wrong += bool(faults)
    print(f"{len(chosen)} notebooks, {wrong} with faults")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
