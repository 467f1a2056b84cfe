"""A folder of one node that others mount over the lab's network: a store whose link can be slow, cut or dead."""

from __future__ import annotations

from collections.abc import Sequence

from tests import conditions
from tests.lab.node import Node

PORT = 2222
KEY = "/root/.ssh/lab"


class RemoteStore:
    """Exported by one node with sshfs, mounted by others at the same path. Made by `Lab.remote_store`."""

    def __init__(self, name: str, server: Node, clients: Sequence[Node]) -> None:
        self.path = f"/srv/remote/{name}"
        """Where it lies in the server and in every client."""
        self.server = server
        self.clients = tuple(clients)

    def start(self) -> None:
        """Starts the server and mounts the folder in the clients."""
        server = self.server
        server.run(["mkdir", "-p", self.path, "/run/sshd", "/root/.ssh"])
        if not server.path(KEY).exists():
            for key in (KEY, "/etc/ssh/lab_host"):
                server.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
            server.run(["cp", f"{KEY}.pub", "/root/.ssh/authorized_keys"])
        address = ["-p", str(PORT), "-o", f"ListenAddress={server.address}"]
        server.daemon(["/usr/sbin/sshd", "-D", "-e", "-h", "/etc/ssh/lab_host", *address], log="/var/log/sshd.log")
        for client in self.clients:
            self.mount(client)

    def mount(self, client: Node) -> None:
        """Mounts it in one node, again after the node's restart."""
        client.write(KEY, self.server.path(KEY).read_text(), mode=0o600)
        client.run(["mkdir", "-p", self.path])
        options = {
            "port": str(PORT),
            "IdentityFile": KEY,
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
            "Ciphers": "aes128-gcm@openssh.com",
            "allow_other": "",
            "cache": "no",
        }
        written = ",".join(f"{name}={value}" if value else name for name, value in options.items())
        mount = ["sshfs", "-o", written, f"root@{self.server.address}:{self.path}", self.path]
        conditions.eventually(
            lambda: client.run(mount, check=False).returncode == 0, message=f"{client} cannot mount {self.path}"
        )

    def unmount(self, client: Node) -> None:
        """Takes it away from one node, in use or not."""
        client.run(["umount", "--lazy", self.path])
