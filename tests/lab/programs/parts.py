"""Uses one of each thing that a process may hold, and says again and again whether each is as it was left."""

# mypy: ignore-errors
from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import multiprocessing
import os
import select
import signal
import socket
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
TOKEN = os.urandom(16).hex().encode()
checks = {}


def check(function):
    """A generator: up to its first yield it builds, and after each it is asked again; it yields whether all is well."""
    part = function()
    next(part)
    checks[function.__name__] = part


def contents(path):
    with open(path, "rb") as file:
        return file.read()


def drain(descriptor, length):
    return os.read(descriptor, length)


@check
def deleted_file():
    with open("/tmp/gone", "w+b", buffering=0) as file:
        data = TOKEN * (5 << 15)
        file.write(data)
        os.unlink("/tmp/gone")
        while True:
            yield os.pread(file.fileno(), len(data), 0) == data


@check
def deleted_twin():
    with open("/tmp/twin", "w+b", buffering=0) as file:
        file.write(TOKEN)
        os.link("/tmp/twin", "/tmp/other")
        os.unlink("/tmp/twin")
        while True:
            yield os.pread(file.fileno(), 32, 0) == TOKEN and contents("/tmp/other") == TOKEN


@check
def shared_memory_file():
    with open("/dev/shm/part", "w+b") as file:
        file.truncate(1 << 20)
        view = mmap.mmap(file.fileno(), 1 << 20)
        view[4096 : 4096 + len(TOKEN)] = TOKEN
        while True:
            yield view[4096 : 4096 + len(TOKEN)] == TOKEN and contents("/dev/shm/part")[4096:4128] == TOKEN


@check
def system_v():
    libc.shmat.restype = ctypes.c_void_p
    memory = libc.shmget(0x1234, 65536, 0o1600)
    where = libc.shmat(memory, None, 0)
    ctypes.memmove(where, TOKEN, len(TOKEN))
    semaphores = libc.semget(0x4321, 1, 0o1600)
    libc.semctl(semaphores, 0, 16, 7)
    while True:
        yield ctypes.string_at(where, len(TOKEN)) == TOKEN and libc.semctl(semaphores, 0, 12) == 7


@check
def posix_semaphore():
    semaphore = multiprocessing.Semaphore(3)
    semaphore.acquire()
    while True:
        yield semaphore.get_value() == 2


@check
def child_with_pipes_and_epoll():
    shared = mmap.mmap(-1, 8192)
    there, here = os.pipe(), os.pipe()
    if os.fork() == 0:
        count = 0
        while word := drain(there[0], 64):
            count += 1
            shared[:8] = count.to_bytes(8, "little")
            os.write(here[1], word[::-1])
        os._exit(0)
    poll = select.epoll()
    poll.register(here[0], select.EPOLLIN)
    count = 0
    while True:
        os.write(there[1], TOKEN)
        count += 1
        yield bool(poll.poll(5)) and drain(here[0], 64) == TOKEN[::-1] and int.from_bytes(shared[:8], "little") == count


@check
def bytes_in_a_pipe():
    out, into = os.pipe()
    os.write(into, TOKEN)
    while True:
        word = drain(out, 64)
        os.write(into, word)
        yield word == TOKEN


@check
def unix_sockets():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("/tmp/listener")
    listener.listen(5)
    client = socket.socket(socket.AF_UNIX)
    client.connect("/tmp/listener")
    server, _ = listener.accept()
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    left.send(TOKEN)
    while True:
        client.send(TOKEN)
        queued = right.recv(64)
        left.send(queued)
        late = socket.socket(socket.AF_UNIX)
        late.connect("/tmp/listener")
        listener.accept()[0].close()
        late.close()
        yield server.recv(64) == TOKEN and queued == TOKEN


@check
def tcp_inside():
    listener = socket.create_server(("127.0.0.1", 7777))
    client = socket.create_connection(("127.0.0.1", 7777))
    server, _ = listener.accept()
    server.settimeout(5)
    while True:
        client.sendall(TOKEN)
        late = socket.create_connection(("127.0.0.1", 7777), timeout=5)
        listener.accept()[0].close()
        late.close()
        yield server.recv(64) == TOKEN


@check
def events():
    number = os.eventfd(5, os.EFD_NONBLOCK)
    timer = os.timerfd_create(time.CLOCK_MONOTONIC)
    while True:
        os.timerfd_settime(timer, initial=0.01)  # a periodic one that has expired unread is dead after CRIU's restore
        value = os.eventfd_read(number)
        os.eventfd_write(number, value)
        yield value == 5 and int.from_bytes(drain(timer, 8), "little") > 0


@check
def pending_signal():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    os.kill(os.getpid(), signal.SIGUSR2)
    while True:
        yield signal.SIGUSR2 in signal.sigpending()


@check
def interval_timer():
    rung = []
    signal.signal(signal.SIGALRM, lambda *_: rung.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    while True:
        before = len(rung)
        for _ in range(500):
            if len(rung) > before:
                break
            time.sleep(0.01)
        yield len(rung) > before


@check
def inotify():
    os.makedirs("/watched", exist_ok=True)
    watch = libc.inotify_init()
    libc.inotify_add_watch(watch, b"/watched", 0x100)
    count = 0
    while True:
        count += 1
        open(f"/watched/{count}", "w").close()
        seen = select.select([watch], [], [], 5)[0] and drain(watch, 4096)
        os.unlink(f"/watched/{count}")
        yield bool(seen) and str(count).encode() in seen


@check
def file_lock():
    with open("/tmp/lock", "w") as file, open("/tmp/lock", "w") as other:
        fcntl.flock(file, fcntl.LOCK_EX)
        while True:
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield False
            except BlockingIOError:
                yield True


@check
def threads():
    counts = [0, 0, 0]

    def live(which):
        while True:
            counts[which] += 1
            time.sleep(0.001)

    for which in range(3):
        threading.Thread(target=live, args=(which,), daemon=True).start()
    while True:
        before = list(counts)
        time.sleep(0.02)
        yield all(now > was for now, was in zip(counts, before, strict=True))


n = 0
while True:
    n += 1
    bad = [name for name, part in checks.items() if not next(part)]
    with open("/.said", "w") as out:
        json.dump({"n": n, "bad": bad, "token": TOKEN.decode(), "wrong": 0}, out)
    os.replace("/.said", "/said")
