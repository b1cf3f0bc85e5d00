"""`kato help TOPIC`: a word goes in; what every command has in common comes out."""

TOPICS = {
    "names": (
        "What an app, a task or a machine is called.",
        """An app has a path: /voting/vote. `vote` means it too where only one app ends so, `voting/vote` always.
A task is called like its app, with the number of its start: voting_vote.3. `vote.3` means it too, where only one
ends so; its whole id (kato ps -o json) always does. Ended tasks are known for a day: kato logs, kato inspect.
A machine has an id and a host name: kato nodes.""",
    ),
    "output": (
        "Tables, JSON, YAML, colours, and watching.",
        """Listings take -o table, json or yaml. A table is for people and shows the most important; JSON and YAML
have all. -w shows a listing again whenever it changes: on a terminal in its place; with -o json a line
for each row that is new, different or gone.
Colour is for terminals that want it: NO_COLOR=1 or TERM=dumb ends it. A narrow terminal has a line a cell.
What is asked for goes to stdout; what is wrong, and notes, to stderr.""",
    ),
    "exit-codes": (
        "What a command's exit code says.",
        """0    it is done
1    it failed, or is not as wished in time; `plan`: something would change; `doctor`: something is a fault
2    wrong words or a wrong file; `plan`: any error
130  Ctrl-C (128 and the signal's number)
`exec` ends with the exit code of its command, 128 + n where signal n ended it, 127 where there is no such program,
126 where it may not be executed.""",
    ),
    "environment": (
        "Variables that commands and cells read.",
        """KATO_API       where the cell's API listens (--api); else 127.0.0.1:8180
KATO_TOKEN, KATO_TOKEN_FILE  the token that a cell of elsewhere asks for, or a file that holds it (kato certify)
KATO_CA        a file of certificates that vouch for such a cell: a copy of its access/ca.pem
KATO_INGRESS   where the cell listens for HTTP by host name (--ingress); else 127.0.0.1:8181
KATO_DNS       where the cell answers for names below `kato` (--dns); else nowhere
KATO_DNS_FORWARD=1  asks the machine's resolvers for all other names (--dns-forward)
KATO_DNS_OWN=1  has this machine ask the cell for names, in /etc/resolv.conf (--dns-own)
KATO_SHIP      where output and the cell's log are shipped to (--ship): file:PATH, unix:PATH, tcp:HOST:PORT
KATO_DATA      the folder in which a cell lives (--data); else /var/lib/kato, or ~/.local/share/kato without root
KATO_LOG       how the lines of the cell's log look (--log): text, or json with the ids that each is about
KATO_PRIVILEGED=1  lets containers have all of the machine (docs/security.md)
KATO_DEBUG=1   shows where a fault in Káto is
COMPOSE_FILE, COMPOSE_PROFILES, COMPOSE_PROJECT_NAME  for -f, --profile and -p, as Compose has them
DOCKER_HOST, DOCKER_CONFIG  the engine's socket, and where docker login writes
NO_COLOR, TERM, COLUMNS     how a terminal is written to
BROWSER        the program that kato open starts""",
    ),
    "files": (
        "Which files are taken, and how they are looked for.",
        """A Compose file, or a Marathon app, list of apps or group, in JSON or YAML; told by its shape.
Of a folder the first of compose.yaml, compose.yml, docker-compose.yaml, docker-compose.yml, marathon.json,
marathon.yaml and marathon.yml; a compose.override.yaml beside a Compose file is merged upon it.
-f FILE, given again, merges Compose files in order; --profile, --service and -p choose what of them is meant.
${VAR} is of the environment, then of the .env beside the file.
kato validate FILE says all that is wrong, kato plan FILE what would change, kato convert FILE what it becomes.""",
    ),
}
"""Each with a line that says what it is about."""


def listed() -> str:
    """Every topic with its line."""
    return "\n".join(["Topics (kato help TOPIC):", *(f"  {name:12} {line}" for name, (line, _) in TOPICS.items())])
