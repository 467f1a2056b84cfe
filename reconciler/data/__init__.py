"""The files that ship with the package: schemas, templates and examples.

The folders are links to the ones at the repository's root; a wheel holds the files themselves. Read them through
`importlib.resources.files(data)`, which finds both.
"""

from __future__ import annotations
