"""An image with volumes, and a program that keeps all sorts of files in them and ends when one is not as it left it."""

from __future__ import annotations

from pathlib import Path

from tests.lab import fleet, images, recipe

TAG = "perdure-lab/volumes:1"
VOLUMES = ("/cache", "/data")
PROGRAM = (fleet.PROGRAMS / "volumes.py.txt").read_text()
"""Prints a nonce that exists in its memory and its volume, and a count that it also keeps in an open file there."""


def load(site: fleet.Fleet, *hosts: fleet.Host) -> None:
    """Gives hosts the image, which is the same on all of them."""
    archive: Path = site.outside / "volumes.tar"
    if not archive.exists():
        layer = site.outside / "volumes.folder"
        for volume in VOLUMES:
            folder = layer / volume[1:]
            folder.mkdir(parents=True)
            (folder / "of-the-image").write_text("fresh")
        images.write_over(archive, TAG, site.lab.cache.image(recipe.BASE_IMAGE), layer, VOLUMES)
    for host in hosts:
        host.docker.cli("load", "--input", f"{site.inside}/volumes.tar")
