"""The completion files of bash, zsh and fish, written from what verbs declare.

Owns: the three shells' languages, and the values that are written in them.  May not know: the
program whose verbs they are.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What can stand in one place: fixed words, and one of the kinds that the shell looks up.
STICKS, OPERATIONS, DIRECTORIES, NOTHING = "sticks", "operations", "dirs", ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What can stand in one place."""

    words: tuple[str, ...] = ()
    kind: str = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option of a verb; `values` is None for a flag."""

    names: tuple[str, ...]
    help: str
    metavar: str
    values: Values | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One verb: its options, and what its words can be, in order."""

    name: str
    summary: str
    options: tuple[Option, ...]
    words: tuple[Values, ...]


# ---------------------------------------------------------------------------------- bash

# Names are what somebody wrote on a stick: never a word list for compgen, which would run them.
BASH = r"""# bash completion of nodestoragectl; written when the package was built

_nodestoragectl_offer() {
    local word
    for word; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$(printf %q "$word")")
    done
}

# The daemon keeps the names in files beside its socket: a Tab starts no program.
_nodestoragectl_read() {
    local socket=${NODESTORAGE_SOCKET:-@SOCKET@} word
    [[ -r ${socket%/*}/$1 ]] || return
    while IFS= read -r word; do
        _nodestoragectl_offer "$word"
    done <"${socket%/*}/$1"
}

_nodestoragectl_kind() {
    local kind=$1 word
    shift
    _nodestoragectl_offer "$@"
    case $kind in
        sticks | operations) _nodestoragectl_read "$kind" ;;
        dirs)
            compopt -o filenames 2>/dev/null
            while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -d -- "$current")
            ;;
    esac
}

_nodestoragectl() {
    local current=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]-} option='' place=0 index
    local options takes
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        _nodestoragectl_offer @VERBS@
        return
    fi
    case $verb in
@OPTIONS@        *) return ;;
    esac
    for ((index = 2; index < COMP_CWORD; index++)); do
        if [[ -n $option ]]; then
            option=''
        elif [[ $takes == *" ${COMP_WORDS[index]} "* ]]; then
            option=${COMP_WORDS[index]}
        elif [[ ${COMP_WORDS[index]} != -* ]]; then
            ((++place))
        fi
    done
    if [[ -z $option && $current == -* ]]; then
        # shellcheck disable=SC2086 # a list of words
        _nodestoragectl_offer $options
        return
    fi
    case "$verb ${option:-$place}" in
@VALUES@    esac
}

complete -F _nodestoragectl nodestoragectl
"""


def bash(found: list[Verb], socket: str) -> str:
    """The completion file of bash; `socket` is where the daemon listens, beside its names."""
    options, values = "", ""
    for verb in found:
        every = " ".join(name for one in verb.options for name in one.names)
        takes = " ".join(name for one in verb.options if one.values for name in one.names)
        options += f"        {verb.name}) options='{every}' takes=' {takes} ' ;;\n"
        places = [
            ("|".join(f"'{verb.name} {name}'" for name in one.names), one.values)
            for one in verb.options
            if one.values
        ]
        places += [(f"'{verb.name} {at}'", one) for at, one in enumerate(verb.words)]
        for place, one in places:
            if one.words or one.kind:
                said = " ".join((one.kind or "''", *one.words))
                values += f"        {place}) _nodestoragectl_kind {said} ;;\n"
    first = " ".join([*(verb.name for verb in found), "--help", "--version"])
    text = BASH.replace("@SOCKET@", socket).replace("@VERBS@", first)
    return text.replace("@OPTIONS@", options).replace("@VALUES@", values)


# ---------------------------------------------------------------------------------- zsh

ZSH = r"""#compdef nodestoragectl
# written when the package was built

# The daemon keeps the names in files beside its socket: a Tab starts no program.
_nodestoragectl_read() {
    local -a found
    local file=${${NODESTORAGE_SOCKET:-@SOCKET@}:h}/$1
    shift
    found=("$@")
    [[ -r $file ]] && found+=(${(f)"$(<$file)"})
    compadd -a found
}

_nodestoragectl() {
    local -a verbs
    if ((CURRENT == 2)); then
        verbs=(
@VERBS@        )
        _describe verb verbs
        return
    fi
    local verb=$words[2]
    shift words
    ((CURRENT--))
    case $verb in
@CASES@    esac
}

_nodestoragectl "$@"
"""


def _zsh_quoted(text: str) -> str:
    for special in "\\[]:":
        text = text.replace(special, f"\\{special}")
    return text.replace("'", "'\\''")


def _zsh_action(values: Values) -> str:
    # A space before a function's name: _arguments hands over only the words written here.
    if values.kind == STICKS:
        return " _nodestoragectl_read sticks" + "".join(f" {word}" for word in values.words)
    if values.kind == OPERATIONS:
        return " _nodestoragectl_read operations"
    if values.kind == DIRECTORIES:
        return "_files -/"
    return f"({' '.join(values.words)})" if values.words else " "


def zsh(found: list[Verb], socket: str) -> str:
    """The completion file of zsh; `socket` as in `bash`."""
    listed, cases = "", ""
    for verb in found:
        listed += f"            '{verb.name}:{_zsh_quoted(verb.summary)}'\n"
        rules = []
        for one in verb.options:
            others = f"({' '.join(one.names)})"
            for name in one.names:
                rule = f"{others}{name}[{_zsh_quoted(one.help)}]"
                if one.values:
                    rule += f":{_zsh_quoted(one.metavar)}:{_zsh_action(one.values)}"
                rules.append(rule)
        rules += [f"{at}:word:{_zsh_action(one)}" for at, one in enumerate(verb.words, 1)]
        lines = " \\\n".join(f"                '{rule}'" for rule in rules)
        cases += f"        {verb.name})\n            _arguments \\\n{lines}\n            ;;\n"
    text = ZSH.replace("@SOCKET@", socket)
    return text.replace("@VERBS@", listed).replace("@CASES@", cases)


# ---------------------------------------------------------------------------------- fish

FISH = r"""# fish completion of nodestoragectl; written when the package was built

function __nodestoragectl_at -d 'VERB PLACE OPTION...: is this word of the verb asked for?'
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]; or return 1
    set -l place 0
    set -l value 0
    for word in $words[3..-1]
        if test $value = 1
            set value 0
        else if contains -- $word $argv[3..-1]
            set value 1
        else if not string match -q -- '-*' $word
            set place (math $place + 1)
        end
    end
    test $value = 0; and test $place = $argv[2]
end

function __nodestoragectl_verb
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test $words[2] = $argv[1]
end

# The daemon keeps the names in files beside its socket: a Tab starts no program.
function __nodestoragectl_read
    set -l socket @SOCKET@
    set -q NODESTORAGE_SOCKET; and set socket $NODESTORAGE_SOCKET
    set -l file (string replace -r '/[^/]*$' '' -- $socket)/$argv[1]
    test -r $file; or return
    while read -l word
        printf '%s\n' $word
    end <$file
end

complete -c nodestoragectl -f
complete -c nodestoragectl -n __fish_is_first_token -l help -d 'all verbs'
complete -c nodestoragectl -n __fish_is_first_token -l version -d 'the version'
"""


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _fish_values(values: Values) -> str:
    asked = {
        STICKS: "(__nodestoragectl_read sticks)",
        OPERATIONS: "(__nodestoragectl_read operations)",
        DIRECTORIES: "(__fish_complete_directories (commandline -ct))",
    }
    return _fish_quoted(" ".join([*values.words, asked.get(values.kind, "")]).strip())


def fish(found: list[Verb], socket: str) -> str:
    """The completion file of fish; `socket` as in `bash`."""
    lines = []
    for verb in found:
        start = "complete -c nodestoragectl"
        lines.append(
            f"{start} -n __fish_is_first_token -a {verb.name} -d {_fish_quoted(verb.summary)}"
        )
        takes = "".join(f" {name}" for one in verb.options if one.values for name in one.names)
        for one in verb.options:
            names = " ".join(
                f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                for name in one.names
            )
            line = f"{start} -n '__nodestoragectl_verb {verb.name}' {names}"
            if one.values:
                line += f" -x -a {_fish_values(one.values)}"
            lines.append(f"{line} -d {_fish_quoted(one.help)}")
        lines += [
            f"{start} -n '__nodestoragectl_at {verb.name} {at}{takes}' -a {_fish_values(one)}"
            for at, one in enumerate(verb.words)
            if one.words or one.kind
        ]
    return FISH.replace("@SOCKET@", socket) + "\n".join(lines) + "\n"
