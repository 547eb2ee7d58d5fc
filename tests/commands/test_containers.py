"""The files for containers against the repository: what they copy, install and run is there."""

import pathlib
import re

import yaml

from mmv_tf import __main__ as mmv_tf

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILES = {path.name: path.read_text() for path in sorted(ROOT.glob("Dockerfile*"))}
SERVICES = yaml.safe_load((ROOT / "compose.yml").read_text())["services"]


def test_what_is_copied_is_there_and_is_all_that_an_installation_takes():
    assert set(DOCKERFILES) == {"Dockerfile", "Dockerfile.train"}
    for name, text in DOCKERFILES.items():
        for sources in re.findall(r"^COPY (.+) \S+$", text, re.M):
            for source in sources.split():
                assert source.startswith("dist/") or (ROOT / source).exists(), (name, source)
    copied = {
        word for line in re.findall(r"^COPY (.+)$", DOCKERFILES["Dockerfile.train"], re.M) for word in line.split()
    }
    linked = {path.name for path in (ROOT / "mmv_tf").iterdir() if path.is_symlink()}
    assert copied >= {"setup.py", "pyproject.toml", "README.md", "LICENSE", "mmv_tf", *linked} and len(linked) == 3


def test_what_is_run_is_a_command_and_stays_on_this_machine():
    assert set(SERVICES) == {"train", "tensorboard", "search"}
    for name, service in SERVICES.items():
        if "entrypoint" not in service:
            assert service["command"][0] in mmv_tf.COMMANDS, name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    (gin_file,) = [word for word in SERVICES["train"]["command"] if word.startswith("--gin_file=")]
    assert (ROOT / gin_file.partition("=")[2]).is_file()
    assert (ROOT / SERVICES["train"]["build"]["dockerfile"]).is_file()
    assert re.search(r"^USER (?!root)", DOCKERFILES["Dockerfile.train"], re.M)
