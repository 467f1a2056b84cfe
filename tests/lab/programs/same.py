"""It is the same process: a nonce that is never written, a checksum over memory, a counter in step with one in a file."""

# mypy: ignore-errors
from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
import zlib

nonce = os.urandom(16)
size = int(sys.argv[1]) << 20
memory = bytearray(os.urandom(1 << 20) * (size >> 20))
for at in range(0, size, 4096):
    memory[at : at + 8] = at.to_bytes(8, "little")
sum_then = zlib.crc32(memory)
count = wrong = 0
file = os.open("/count", os.O_RDWR | os.O_CREAT)
os.pwrite(file, b"%020d" % 0, 0)


def say() -> None:
    while True:
        said = {
            "id": hashlib.sha256(nonce).hexdigest(),
            "sum": zlib.crc32(memory),
            "then": sum_then,
            "n": count,
            "wrong": wrong,
        }
        with open("/.said", "w") as out:
            json.dump(said, out)
        os.replace("/.said", "/said")
        time.sleep(0.02)


threading.Thread(target=say, daemon=True).start()
while True:
    if int(os.pread(file, 20, 0)) != count:
        wrong += 1
    count += 1
    os.pwrite(file, b"%020d" % count, 0)
    time.sleep(0.001)
