"""Completion for shells: the table of commands goes in; a script for bash, zsh or fish goes to stdout.

What it knows is written into it, but for the names of what runs: it asks the cell for those (`complete.py`).
"""

import shlex
from typing import Annotated, Literal, NamedTuple

from cyclopts import Parameter

Shell = Annotated[Literal["bash", "zsh", "fish"], Parameter(help="bash, zsh or fish.")]
NAMES = {
    "up": "files",
    "down": "files",
    "plan": "files",
    "validate": "files",
    "convert": "files",
    "backup": "files",
    "restore": "files",
    "ps": "projects",
    "why": "any",
    "scale": "apps",
    "restart": "projects",
    "rm": "apps",
    "rollback": "apps",
    "versions": "apps",
    "wait": "projects",
    "open": "apps",
    "logs": "any",
    "exec": "tasks",
    "inspect": "all",
    "drill": "all",
    "secrets": "set ls rm",
    "volumes": "ls rm",
    "service": "install uninstall",
    "completion": "bash zsh fish",
}
"""What stands behind a command: files, names that the cell knows, or these words."""
KINDS = ("apps", "projects", "tasks", "any", "all")
"""Kinds of names that a cell is asked for; `any`: apps, projects and tasks, `all`: apps, tasks and machines."""


class Offered(NamedTuple):
    """A command, as a script has it."""

    name: str
    help: str
    flags: tuple[str, ...]
    names: str
    outputs: str


def completion(shell: Shell, /) -> None:
    """Print what makes a shell complete commands, flags, and the names of apps and tasks.

    bash: `source <(kato completion bash)` in ~/.bashrc. zsh: the same with zsh in ~/.zshrc, behind compinit.
    fish: `kato completion fish | source` in ~/.config/fish/config.fish.
    """
    print({"bash": bash, "zsh": zsh, "fish": fish}[shell](offered()), end="")


def offered() -> list[Offered]:
    """Every command with its flags."""
    from kato.cli.app import COMMANDS, application
    from kato.cli.words.topics import TOPICS

    app = application()
    found = []
    for name, (_, help) in COMMANDS.items():
        arguments = [each for each in app[name].assemble_argument_collection(parse_docstring=False) if each.parse]
        flags = {flag for each in arguments for flag in each.names if flag.startswith("-")}
        outputs = next((_choices(each.hint) for each in arguments if "--output" in each.names), "")
        found.append(Offered(name, help, (*sorted(flags), "--help"), NAMES.get(name, ""), outputs))
    return [*found, Offered("help", "Explain a command, or a topic.", (), " ".join([*COMMANDS, *TOPICS]), "")]


def _choices(hint: object) -> str:
    return " ".join(getattr(hint, "__args__", ()))


def bash(commands: list[Offered]) -> str:
    """For bash 4 and later."""
    cases = "\n".join(
        f"        {each.name}) flags={shlex.quote(' '.join(each.flags))} names={shlex.quote(each.names)}"
        f" outputs={shlex.quote(each.outputs)} ;;"
        for each in commands
    )
    return f"""_kato() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} flags= names= outputs=
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        COMPREPLY=($(compgen -W {shlex.quote(" ".join(each.name for each in commands))} -- "$word"))
        return
    fi
    case ${{COMP_WORDS[1]}} in
{cases}
    esac
    case ${{COMP_WORDS[COMP_CWORD - 1]}} in
        -o | --output) names=$outputs ;;
    esac
    case $names in
        {" | ".join(KINDS)}) names=$(kato __complete "$names" "${{COMP_WORDS[@]:1:COMP_CWORD}}" 2>/dev/null) ;;
        files) compopt -o default 2>/dev/null; names= ;;
    esac
    if [[ $word == -* ]]; then
        names=$flags
    fi
    COMPREPLY=($(compgen -W "$names" -- "$word"))
}}
complete -F _kato kato
"""


def zsh(commands: list[Offered]) -> str:
    """For zsh 5, once compinit has run."""
    cases = "\n".join(
        f"        {each.name}) flags=({' '.join(each.flags)}) names={shlex.quote(each.names)}"
        f" outputs={shlex.quote(each.outputs)} ;;"
        for each in commands
    )
    described = " ".join(shlex.quote(f"{each.name}:{each.help}") for each in commands)
    return f"""#compdef kato
_kato() {{
    local names= outputs=
    local -a flags described
    if (( CURRENT == 2 )); then
        described=({described})
        _describe command described
        return
    fi
    case $words[2] in
{cases}
    esac
    case $words[CURRENT-1] in
        -o | --output) names=$outputs ;;
    esac
    if [[ $words[CURRENT] == -* ]]; then
        compadd -- $flags
    elif [[ $names == files ]]; then
        _files
    elif [[ {" || ".join(f"$names == {kind}" for kind in KINDS)} ]]; then
        compadd -- ${{(f)"$(kato __complete $names "${{(@)words[2,CURRENT]}}" 2>/dev/null)"}}
    else
        compadd -- ${{=names}}
    fi
}}
compdef _kato kato
"""


def fish(commands: list[Offered]) -> str:
    """For fish 3."""
    lines = ["complete -c kato -f"]
    for each in commands:
        behind = f"-n '__fish_seen_subcommand_from {each.name}'"
        lines.append(f"complete -c kato -n __fish_use_subcommand -a {each.name} -d {_fish(each.help)}")
        for flag in each.flags:
            kind = f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
            takes = f" -x -a '{each.outputs}'" if flag in ("-o", "--output") else ""
            lines.append(f"complete -c kato {behind} {kind}{takes}")
        if each.names in KINDS:
            asks = f"(kato __complete {each.names} (commandline -opc)[2..-1] (commandline -ct) 2>/dev/null)"
            lines.append(f"complete -c kato {behind} -a '{asks}'")
        elif each.names == "files":
            lines.append(f"complete -c kato {behind} -F")
        elif each.names:
            lines.append(f"complete -c kato {behind} -a '{each.names}'")
    return "\n".join(lines) + "\n"


def _fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
