"""``restore new-plugin``: a repository for a new plugin."""

from __future__ import annotations

from pathlib import Path

import click

from restore.cli.options import as_json, print_json

# As restore.scaffold has them; named here so that --help imports nothing else.
KINDS = ("model", "degradation", "loss", "schedule", "optimizer", "pruner", "dataset", "metric")
LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause")


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="What to add [default: model].")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder [default: restorekit-NAME].")
@click.option("--license", "license_", type=click.Choice(LICENSES), default="MIT", show_default=True)
@click.option("--author", default="", help="For the licence and the metadata [default: The NAME authors].")
@as_json
def command(name: str, kinds: tuple[str, ...], output: Path | None, license_: str, author: str, json_: bool) -> None:
    """Write a complete repository for the plugin NAME, ready to publish.

    It has an example of every --kind that trains and runs, recipes, tests that call the conformance kit, a licence, and
    workflows for tests and for publishing. A network to train the others with is always among them.

    \b
    restore new-plugin mynet
    cd restorekit-mynet && pip install -e ".[test]"
    pytest && restore check mynet && restore run --plugin mynet
    """
    from restore.plugins import registry
    from restore.scaffold import Scaffold, name_plugin, write

    names = name_plugin(name, registry())
    folder = output or Path(names.distribution)
    written = write(Scaffold(names, kinds or ("model",), license_, author), folder)
    steps = [
        f'cd {folder} && pip install -e ".[test]"',
        f"pytest && restore check {names.plugin} && restore run --plugin {names.plugin}",
    ]
    if json_:
        files = [path.relative_to(folder).as_posix() for path in written]
        print_json(
            {
                "folder": str(folder),
                "plugin": names.plugin,
                "distribution": names.distribution,
                "package": names.package,
                "files": files,
                "next": steps,
            }
        )
        return
    for path in written:
        click.echo(str(path))
    click.echo("\nIt works as it stands; then make it yours:")
    for step in steps:
        click.echo(f"  {step}")
