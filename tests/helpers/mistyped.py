"""Names in gin files, mistyped: each must be refused."""

import random
import re

from mmv_tf.common import bindings, config

ROOT = config.gin_folder().parent
# A value goes on in lines that are indented or begin with a bracket.
BINDING = re.compile(r"^([\w./]+) = (?:.|\n[ \]})])*", re.M)


def mistyped(name: str, rs: random.Random) -> str:
    """A name with one letter left out or doubled, or with the next letter in front of it as well."""
    while True:
        i = rs.randrange(len(name) - 1)
        wrong = name[:i] + rs.choice(
            [name[i + 1 :], name[i] * 2 + name[i + 1 :], name[i + 1] + name[i] + name[i + 2 :]]
        )
        if "." not in name[i : i + 2] and "/" not in name[i : i + 2] and wrong != name:
            return wrong


def refused(files, params) -> bool:
    try:
        config.parse(files, params)
        bindings.check(files, params, ["", str(ROOT)])
    except (ValueError, SyntaxError):
        return True
    return False
