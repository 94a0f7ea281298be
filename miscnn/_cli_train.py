"""``miscnn train``: a pipeline file, run or looked through."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from miscnn._cli_common import (
    JSON_OPTION,
    QUIET_OPTION,
    echo_json,
    is_watched,
    load_keras_quietly,
    speaker,
    summary_rows,
    told_in_lines,
)
from miscnn._cli_values import Converted, settings_of, typed_value

if TYPE_CHECKING:
    from miscnn.pipeline import Pipeline

_NAME = re.compile(r"\w+(\.\w+)*")


def setting(text: str) -> tuple[str, Any]:
    """Read ``section.key=value``."""
    name, sign, value = text.partition("=")
    if not sign or not _NAME.fullmatch(name.strip()):
        raise ValueError("expected SECTION.KEY=VALUE, such as training.epochs=3")
    return name.strip(), typed_value(value)


SET_OPTION = click.option(
    "--set",
    "settings",
    type=Converted("SECTION.KEY=VALUE", setting),
    multiple=True,
    help="A value in place of the file's: 'preprocessor.patch_shape=[64, 64, 32]', "
    "network.architecture.depth=3, preprocessor.subfunctions.0.clip=false (0: the first). "
    "Several times for several.",
)
OUTPUT_OPTION = click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Folder for everything that is written. Default: that of FILE.",
)


@click.command(short_help="Train as a pipeline file says, and save a bundle.")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@OUTPUT_OPTION
@click.option("--epochs", type=click.IntRange(min=1), help="In place of the file's.")
@SET_OPTION
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the file and the data set, and tell what would be done. Builds no network.",
)
@JSON_OPTION
@QUIET_OPTION
def train(
    file: str,
    output: str | None,
    epochs: int | None,
    settings: tuple[tuple[str, Any], ...],
    dry_run: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train as the pipeline FILE (TOML or YAML) says, and save a bundle.

    Evaluates first if the file has a section [evaluation]. Interrupted, the same command goes on
    where it was. All that is wrong with the file is told at once, with its lines. The exit status
    is 0 if all went well, 2 if it cannot be done, 130 if it was interrupted.
    """
    from miscnn.pipeline import Pipeline

    options = {} if epochs is None else {"training.epochs": ("--epochs", epochs)}
    pipeline = Pipeline.from_file(file, settings_of(settings, options))
    quiet = quiet or as_json
    if dry_run:
        plan = _plan(pipeline, output)
        if as_json:
            echo_json(plan)
        elif not quiet:
            click.echo(_told(plan))
        return
    pipeline.check(output)  # what is wrong is told before Keras is loaded
    load_keras_quietly(speaker(quiet))
    watched = is_watched()
    try:
        with told_in_lines(not quiet and not watched):
            result = pipeline.run(output, verbose=int(not quiet and watched))
    except KeyboardInterrupt:
        if not quiet:
            speaker(quiet)(f"\n{_left_behind(pipeline, output)}")
        raise
    scores = None if result.evaluation is None else result.evaluation.summary()
    if as_json:
        echo_json(
            {
                "bundle": str(result.bundle),
                "training": list(result.training),
                "validation": list(result.validation),
                "trained": result.trained,
                "history": result.history.history,
                "evaluation": None
                if result.evaluation is None or scores is None
                else {
                    "path": str(result.evaluation.evaluation_path),
                    "scores": summary_rows(scores),
                },
            }
        )
    elif not quiet:
        if scores is not None:
            click.echo(f"Scores of subjects that their network has not seen:\n{scores}\n")
        who = f"{len(result.training)} subjects"
        who += f", validated on {len(result.validation)}" if result.validation else ""
        if not result.trained:
            click.echo(
                f"Nothing was trained: the checkpoints hold all {result.history.epochs} epochs "
                "(--set training.resume=false begins anew)."
            )
        done = "Trained" if result.trained else "It was trained"
        click.echo(f"{done} on {who}. Wrote the bundle {result.bundle}")


def _left_behind(pipeline: Pipeline, output: str | None) -> str:
    """Tell what an interrupted run has kept, and how it goes on."""
    document = pipeline.to_dict()
    kept, anew = [], []
    for section, key in (("evaluation", "evaluation_path"), ("training", "checkpoint_path")):
        if document.get(section, {}).get(key) is None:
            continue
        path = pipeline.path(section, key, output)
        if document[section]["resume"]:
            kept += [str(path)] if path.exists() else []
        else:
            anew.append(f"[{section}] begins anew (resume = false)")
    if not kept:
        return "; ".join(["No checkpoint was written that could be gone on from", *anew])
    told = f"What was done lies in {' and '.join(kept)}. Give the same command again to go on"
    return "; ".join([told, *anew])


def _plan(pipeline: Pipeline, output: str | None) -> dict[str, Any]:
    """Look at file and data set; tell what a run would do."""
    data_io, training, validation = pipeline.check(output)
    document = pipeline.to_dict()
    section = document["training"]
    evaluation = document.get("evaluation")
    interface, layout = data_io.interface, data_io.layout
    return {
        "data": str(pipeline.path("data", "path")),
        "layout": None if layout is None else f"{layout.description}; {layout.format} files",
        "classes": interface.classes,
        "channels": interface.channels,
        "training": training,
        "validation": validation,
        "chain": [step["type"] for step in document["preprocessor"]["subfunctions"]],
        "analysis": document["preprocessor"]["analysis"],
        "patch_shape": document["preprocessor"]["patch_shape"],
        "batch_size": document["preprocessor"]["batch_size"],
        "architecture": document["network"]["architecture"]["type"],
        "loss": document["network"]["loss"]["type"],
        "epochs": section["epochs"],
        "max_minutes": section["max_minutes"],
        "evaluation": None if evaluation is None else _evaluation(evaluation),
        "bundle": str(pipeline.path("bundle", "folder", output)),
        "document": document,
    }


def _evaluation(section: dict[str, Any]) -> str:
    if "folds" not in section:
        return str(section["method"])
    splitter = section["splitter"]
    kind = "random" if splitter is None else splitter["type"]
    return f"{section['method']}, {section['folds']} folds ({kind})"


def _told(plan: dict[str, Any]) -> str:
    from miscnn.neural_network._recipe import DEFAULT_EPOCHS

    patch = " x ".join(map(str, plan["patch_shape"] or ()))
    limits = [f"{plan['epochs']} epoch{'s' * (plan['epochs'] > 1)}"] if plan["epochs"] else []
    limits += [f"{plan['max_minutes']} minutes"] if plan["max_minutes"] else []
    who = f"{len(plan['training'])} subjects"
    if plan["validation"]:
        who += f", {len(plan['validation'])} others validate"
    rows = [
        ("data", f"{plan['data']} ({plan['layout'] or 'an interface of your own'})"),
        ("images", f"{plan['channels']} channel(s), {plan['classes']} classes"),
        ("training", f"{who}; {' or '.join(limits) or f'{DEFAULT_EPOCHS} epochs'}"),
        ("chain", " -> ".join(plan["chain"]) or "no subfunctions"),
        ("batches", f"{plan['batch_size']} of {plan['analysis']}" + (f", {patch}" * bool(patch))),
        ("network", f"{plan['architecture']}, {plan['loss']}"),
        ("evaluation", plan["evaluation"] or "none"),
        ("bundle", plan["bundle"]),
    ]
    lines = [f"{name:<11} {text}" for name, text in rows]
    return "\n".join([*lines, "", "Nothing was trained: this was a dry run. All is well so far."])
