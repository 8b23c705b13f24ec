"""Scripts by which shells complete commands, options, words and folders; none runs the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from polars_alf.cli.usage import PROGRAM, Command, Parameter

_BASH = r"""# bash completion of polars-alf
_polars_alf_folders() {
  local folder tables=()
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen -d -- "$1")
  for folder in "${COMPREPLY[@]}"; do
    [[ -e ${folder/#\~/$HOME}/sessions.pqt ]] && tables+=("$folder")
  done
  [[ $2 && ${#tables[@]} -gt 0 ]] && COMPREPLY=("${tables[@]}")
}
_polars_alf() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
  local command="" kind="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${command:+$command }${COMP_WORDS[i]}" in
      @COMMANDS@) command="${command:+$command }${COMP_WORDS[i]}" ;;
    esac
  done
  case "$command:$previous" in
@VALUES@
    *)
      if [[ $current == -* ]]; then
        kind=words
        case "$command" in
@OPTIONS@
        esac
      else
        case "$command" in
@ARGUMENTS@
        esac
      fi ;;
  esac
  COMPREPLY=()
  case "$kind" in
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
    tables) _polars_alf_folders "$current" 1 ;;
    folders) _polars_alf_folders "$current" "" ;;
    files) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
  esac
}
complete -F _polars_alf polars-alf
"""

_ZSH = r"""#compdef polars-alf
# zsh completion of polars-alf
_polars_alf_tables() {
  local -a tables
  tables=(${~PREFIX}*/sessions.pqt(N:h))
  if (( $#tables )); then
    compadd -f -- ${tables/#$HOME/\~}
  else
    _files -/
  fi
}
_polars_alf_commands() { _describe command inner }
_polars_alf() {
  local command="" word
  for word in ${words[2,CURRENT-1]}; do
    case "${command:+$command }$word" in
      @COMMANDS@) command="${command:+$command }$word" ;;
    esac
  done
  local -a inner parts
  parts=(${(z)command})
  shift $#parts words
  (( CURRENT -= $#parts ))
  case "$command" in
@CASES@
  esac
}
if [[ $funcstack[1] == _polars_alf ]]; then
  _polars_alf "$@"
else
  compdef _polars_alf polars-alf
fi
"""

_FISH = r"""# fish completion of polars-alf
function __polars_alf_is
    set -l command
    for word in (commandline -opc)[2..]
        switch (string join -- ' ' $command $word)
            case @COMMANDS@
                set -a command $word
        end
    end
    test "$command" = "$argv"
end
function __polars_alf_tables
    set -l tables
    for folder in (__fish_complete_directories (commandline -ct))
        set -l path (string split -f1 \t $folder)
        set path (string replace -r '^~' $HOME $path)
        test -e $path/sessions.pqt; and set -a tables $folder
    end
    if set -q tables[1]
        printf '%s\n' $tables
    else
        __fish_complete_directories (commandline -ct)
    end
end
complete -c polars-alf -f
@LINES@
"""

_POWERSHELL = r"""# PowerShell completion of polars-alf
Register-ArgumentCompleter -Native -CommandName polars-alf -ScriptBlock {
    param($current, $ast, $position)
    $commands = @(@COMMANDS@)
    $options = @{
@OPTIONS@
    }
    $values = @{
@VALUES@
    }
    $arguments = @{
@ARGUMENTS@
    }
    $command = ''
    $previous = ''
    foreach ($element in $ast.CommandElements | Select-Object -Skip 1) {
        if ($element.Extent.EndOffset -ge $position) { break }
        $previous = "$element"
        $longer = "$command $previous".Trim()
        if ($commands -ccontains $longer) { $command = $longer }
    }
    $found = $values["$command|$previous"]
    if ($null -eq $found) {
        $found = if ($current -like '-*') { $options[$command] } else { $arguments[$command] }
    }
    if ($found -is [string]) {
        $folders = Get-ChildItem -Directory -Path "$current*" -ErrorAction SilentlyContinue
        $tables = $folders | Where-Object { Test-Path (Join-Path $_.FullName 'sessions.pqt') }
        if ($found -eq 'tables' -and $tables) { $folders = $tables }
        if ($found -eq 'files') { $folders = Get-ChildItem -Path "$current*" }
        $parent = if ($current) { Split-Path $current -Parent } else { '' }
        $found = $folders | ForEach-Object {
            if ($parent) { Join-Path $parent $_.Name } else { $_.Name }
        }
    }
    $found | Where-Object { $_ -like "$current*" } | ForEach-Object {
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }
}
"""


def write_bash(commands: Sequence[Command]) -> str:
    """Return the script for bash 4.4 or newer."""
    values, options, arguments = [], [], []
    for command in commands:
        name = " ".join(command.words)
        for option in command.options:
            if option.metavar:
                patterns = "|".join(f'"{name}:{each}"' for each in option.names)
                values.append(f"    {patterns}) {_assign(option)} ;;")
        words = " ".join(each for option in command.options for each in option.names)
        options.append(f'          "{name}") words="{words}" ;;')
        inner = _list_inner(commands, command)
        if inner:
            shown = " ".join(each.words[-1] for each in inner)
            arguments.append(f'          "{name}") kind=words words="{shown}" ;;')
        elif command.arguments:
            arguments.append(f'          "{name}") {_assign(command.arguments[0])} ;;')
    return _fill(
        _BASH,
        COMMANDS="|".join(f'"{" ".join(command.words)}"' for command in commands if command.words),
        VALUES="\n".join(values),
        OPTIONS="\n".join(options),
        ARGUMENTS="\n".join(arguments),
    )


def write_zsh(commands: Sequence[Command]) -> str:
    """Return the script for zsh, to be sourced, or to be a file ``_polars-alf`` of ``fpath``."""
    actions = {"": " ", "tables": "_polars_alf_tables", "folders": "_files -/", "files": "_files"}

    def act(parameter: Parameter) -> str:
        if parameter.kind == "words":
            return f"({' '.join(parameter.words)})"
        return actions[parameter.kind]

    cases = []
    for command in commands:
        lines = [f'    "{" ".join(command.words)}")']
        inner = _list_inner(commands, command)
        if inner:
            described = " ".join(_quote(f"{each.words[-1]}:{each.summary}") for each in inner)
            lines.append(f"      inner=({described})")
        lines.append("      _arguments \\")
        for option in command.options:
            text = option.help.replace("[", "(").replace("]", ")").replace(":", " -")
            value = f":{option.metavar.replace(':', ' ')}:{act(option)}" if option.metavar else ""
            lines += [f"        {_quote(f'*{name}[{text}]{value}')} \\" for name in option.names]
        if inner:
            lines.append("        '*:command:_polars_alf_commands' ;;")
        elif command.arguments:
            argument = command.arguments[0]
            lines.append(f"        {_quote(f'*:{argument.metavar}:{act(argument)}')} ;;")
        else:
            lines.append("        ;;")
        cases.append("\n".join(lines))
    return _fill(
        _ZSH,
        COMMANDS="|".join(f'"{" ".join(command.words)}"' for command in commands if command.words),
        CASES="\n".join(cases),
    )


def write_fish(commands: Sequence[Command]) -> str:
    """Return the script for fish."""
    lines = []

    def complete(parameter: Parameter) -> str:
        if parameter.kind == "words":
            return f"-xa {_quote(' '.join(parameter.words))}"
        return {
            "tables": "-xa '(__polars_alf_tables)'",
            "folders": "-xa '(__fish_complete_directories (commandline -ct))'",
            "files": "-rF",
            "": "-x",
        }[parameter.kind]

    for command in commands:
        start = f"complete -c {PROGRAM} -n {_quote(' '.join(['__polars_alf_is', *command.words]))}"
        inner = _list_inner(commands, command)
        lines += [f"{start} -a {each.words[-1]} -d {_quote(each.summary)}" for each in inner]
        if not inner:
            lines += [
                f"{start} {complete(argument).removeprefix('-x').replace('a ', '-a ', 1)}"
                if argument.kind in ("tables", "folders", "words")
                else f"{start} -F"
                for argument in command.arguments[:1]
                if argument.kind
            ]
        for option in command.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in option.names
            )
            value = f" {complete(option)}" if option.metavar else ""
            lines.append(f"{start} {names}{value} -d {_quote(option.help)}")
    names = " ".join(_quote(" ".join(command.words)) for command in commands if command.words)
    return _fill(_FISH, COMMANDS=names, LINES="\n".join(lines))


def write_powershell(commands: Sequence[Command]) -> str:
    """Return the script for PowerShell 5.1 or newer."""
    options, values, arguments = [], [], []

    def show(words: Sequence[str]) -> str:
        return f"@({', '.join(_double(word) for word in words)})"

    def complete(parameter: Parameter) -> str:
        if parameter.kind in ("", "words"):
            return show(parameter.words)
        return _double(parameter.kind)

    for command in commands:
        name = " ".join(command.words)
        names = [each for option in command.options for each in option.names]
        options.append(f"        {_double(name)} = {show(names)}")
        for option in command.options:
            if option.metavar:
                values += [
                    f"        {_double(f'{name}|{each}')} = {complete(option)}"
                    for each in option.names
                ]
        inner = _list_inner(commands, command)
        if inner:
            shown = show([each.words[-1] for each in inner])
            arguments.append(f"        {_double(name)} = {shown}")
        elif command.arguments:
            arguments.append(f"        {_double(name)} = {complete(command.arguments[0])}")
    return _fill(
        _POWERSHELL,
        COMMANDS=", ".join(_double(" ".join(each.words)) for each in commands if each.words),
        OPTIONS="\n".join(options),
        VALUES="\n".join(values),
        ARGUMENTS="\n".join(arguments),
    )


WRITERS: dict[str, Callable[[Sequence[Command]], str]] = {
    "bash": write_bash,
    "zsh": write_zsh,
    "fish": write_fish,
    "powershell": write_powershell,
}
"""Functions that make the script of a shell, by its name."""


def _assign(parameter: Parameter) -> str:
    if parameter.kind == "words":
        return f'kind=words words="{" ".join(parameter.words)}"'
    return f"kind={parameter.kind}"


def _list_inner(commands: Sequence[Command], group: Command) -> list[Command]:
    return [
        command
        for command in commands
        if len(command.words) == len(group.words) + 1 and command.words[:-1] == group.words
    ]


def _fill(template: str, **values: str) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template


def _quote(text: str) -> str:
    """Return a text in single quotes, as POSIX shells and fish read them."""
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def _double(text: str) -> str:
    """Return a text in single quotes as PowerShell reads them."""
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
