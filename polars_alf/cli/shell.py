"""Commands for the shell around the others: completion, manual."""

from __future__ import annotations

from typing import Annotated, Literal

from typer import Argument, Context, Typer

app = Typer()


@app.command()
def completion(
    context: Context,
    shell: Annotated[
        Literal["bash", "zsh", "fish", "powershell"],
        Argument(metavar="bash|zsh|fish|powershell", help="The shell to print a script for."),
    ],
) -> None:
    """Print a script by which a shell completes commands.

    It completes options, their words, and folders, those with tables first, without running this
    program. For bash, add to ~/.bashrc: source <(polars-alf completion bash). For zsh, to ~/.zshrc
    after compinit: source <(polars-alf completion zsh). For fish, write it to
    ~/.config/fish/completions/polars-alf.fish. For PowerShell, add to $PROFILE: polars-alf
    completion powershell | Out-String | Invoke-Expression.

    Exit codes: 0 done, 2 wrong usage.
    """
    from polars_alf.cli.completion import WRITERS
    from polars_alf.cli.usage import describe_commands

    print(WRITERS[shell](describe_commands(context.find_root().command)), end="")


@app.command()
def manual(context: Context) -> None:
    """Print the manual of all commands, as a page for man.

    To read it: polars-alf manual | man -l -. To keep it, write it to
    ~/.local/share/man/man1/polars-alf.1.

    Exit codes: 0 done, 2 wrong usage.
    """
    from polars_alf.cli.manual import write_manual
    from polars_alf.cli.usage import describe_commands

    print(write_manual(describe_commands(context.find_root().command)), end="")
