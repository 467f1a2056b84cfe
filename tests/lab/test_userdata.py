"""Rendered user data on a machine: it prepares it, and a job of AWS Batch survives that EC2 takes the machine back."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from reconciler.cli import main
from tests import conditions
from tests.lab import recipe
from tests.lab.docker import Docker
from tests.lab.node import Node

PROGRAMS = Path(sys.executable).parent

STUBS = {
    # what user data calls and a node cannot have: packages from elsewhere, an environment from PyPI, systemd
    "apt-get": 'echo "$@" >> /var/log/asked-apt',
    "apt-cache": "[ -e /root/has-criu ]",
    "add-apt-repository": 'echo "repository $@" >> /var/log/asked-apt; touch /root/has-criu',
    "systemctl": 'echo "$@" >> /var/log/systemctl',
    "python3": f"""
        [ "$1 $2" = "-m venv" ] || exec /usr/bin/python3 "$@"
        mkdir -p "$3/bin" && ln -s {PROGRAMS}/perdure-agent /usr/local/sbin/pip "$3/bin/" """,
    "pip": 'echo "$@" >> /var/log/pip',
}

METADATA = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        self.say(200, b"token")
    def do_GET(self):
        known = (self.headers.get("X-aws-ec2-metadata-token"), self.path) == ("token", "/latest/meta-data/spot/instance-action")
        self.say(200 if known and os.path.exists("/root/announced") else 404, b'{"action": "terminate"}')
    def say(self, code, body):
        self.send_response(code); self.end_headers(); self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", 8080), Answer).serve_forever()
"""

COUNTER = """
import secrets, sys, time
nonce = secrets.token_hex(16)
for number in range(10**9):
    print(number, nonce, flush=True); time.sleep(0.02)
"""


def render(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.run(["render", *words]) == 0
    return capsys.readouterr().out


def prepared(node: Node, script: str) -> Docker:
    for name, text in STUBS.items():
        node.write(f"/usr/local/sbin/{name}", f"#!/bin/sh\n{text}\n", 0o755)
    docker = node.docker()
    node.write("/root/userdata.sh", script, 0o755)
    node.run(["/root/userdata.sh"])
    return docker


def numbers(docker: Docker, name: str) -> list[tuple[int, str]]:
    lines = docker.node.run(["docker", "logs", name], check=False).stdout.splitlines()
    return [(int(line.split()[0]), line.split()[1]) for line in lines if len(line.split()) == 2]


@pytest.mark.parametrize("known", [True, False], ids=["criu in the distribution", "criu elsewhere"])
def test_user_data_prepares_a_machine(node: Node, capsys: pytest.CaptureFixture[str], known: bool) -> None:
    if known:
        node.write("/root/has-criu", "")
    script = render(capsys, "userdata", "--root", "/mnt/shared")
    docker = prepared(node, script)
    assert docker.cli("info", "--format", "{{.DefaultRuntime}}") == "perdure"
    assert docker.printed(recipe.TINY_IMAGE, "echo", "hello") == "hello"
    assert json.loads(node.path("/etc/perdure/runtime.json").read_text())["arch"]["roots"] == ["/mnt/shared"]
    asked = node.path("/var/log/asked-apt").read_text()
    assert " criu " in asked
    assert ("ppa:criu/ppa" in asked) is not known
    assert "perdure==" in node.path("/var/log/pip").read_text()
    node.run(["/root/userdata.sh"])
    assert docker.cli("info", "--format", "{{.DefaultRuntime}}") == "perdure"


def test_a_batch_job_goes_on_after_its_machine_was_taken_back(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    node.write("/usr/libexec/amazon-ecs-init", "", 0o755)  # there already, as on a second start
    docker = prepared(node, render(capsys, "userdata", "--root", "/mnt/shared", "--ecs-cluster", "lab"))
    assert "ECS_CLUSTER=lab\nECS_ENABLE_SPOT_INSTANCE_DRAINING=true\n" in node.path("/etc/ecs/ecs.config").read_text()
    assert "enable --now perdure-reclaim" in node.path("/var/log/systemctl").read_text()
    job = json.loads(
        render(capsys, "batch-job", "count", recipe.BASE_IMAGE, "--root", "/mnt/shared", "--", "python3", "-c", COUNTER)
    )
    properties = job["containerProperties"]
    given = [f"--env={each['name']}={each['value']}" for each in properties["environment"]]
    run = ("run", "--detach", *given, "--env=AWS_BATCH_JOB_ID=0b1c-7:3")
    docker.cli(*run, "--env=AWS_BATCH_JOB_ATTEMPT=1", "--name", "first", properties["image"], *properties["command"])
    conditions.eventually(lambda: len(numbers(docker, "first")) > 20)

    node.daemon(["/usr/bin/python3", "-c", METADATA], log="/var/log/metadata.log")
    watcher = node.daemon(
        ["/usr/local/sbin/perdure-reclaim"], log="/var/log/reclaim.log", env={"METADATA": "http://127.0.0.1:8080"}
    )
    node.write("/root/announced", "")
    conditions.eventually(
        lambda: docker.cli("inspect", "--format", "{{.State.Status}}", "first") == "exited", message=watcher.output
    )
    watcher.stop()
    last, nonce = numbers(docker, "first")[-1]
    assert docker.inspect("first")["State"]["ExitCode"] == 137, "which the retry strategy knows"
    assert {"onExitCode": "137", "action": "RETRY"} in job["retryStrategy"]["evaluateOnExit"]

    docker.cli(*run, "--env=AWS_BATCH_JOB_ATTEMPT=2", "--name", "second", properties["image"], *properties["command"])
    first, same = conditions.eventually(lambda: numbers(docker, "second"), message=lambda: docker.cli("logs", "second"))[0]
    assert (same, last <= first <= last + 2) == (nonce, True), (last, first)
