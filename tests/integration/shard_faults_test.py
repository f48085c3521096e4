"""Any rank of one host dies or hangs, wherever it is: the router says so and
ends, and nothing is left. (tests/sharding/group_faults_test.cc is exact about
the point; here the shards are real.) And no shard outlives its router."""

import concurrent.futures
import contextlib
import itertools
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile
import unittest

from drover_server import BIN, MODEL
from logged_process import LoggedProcess

# The rank that says it is to have a fault has it before it is drover-shard.
WRAPPER = """#!/bin/sh
case " $* " in *" --rank={rank} "*) kill -{signal} $$ ;; esac
exec {shard} "$@"
"""
# Tells its number and stops.
STOPPED_SHARD = """#!/bin/sh
echo $$ >{fifo}
kill -STOP $$
"""


def children(pid):
    text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def write_program(folder, text):
    program = pathlib.Path(folder) / "shard"
    program.write_text(text)
    program.chmod(0o700)
    return str(program)


def start_router(folder, *flags):
    """Two shards."""
    return LoggedProcess([
        str(BIN / "drover"), "serve", "--model", str(MODEL), "--num-shard", "2",
        "--host", "127.0.0.1", "--grpc-port", "0", "--port", "0",
        "--kv-cache-bytes", "64MiB", "--termination-log",
        folder + "/termination", *flags
    ])


def start_faulty(folder, point, rank, how):
    """Time is short only where nothing else tells of the fault."""
    hangs = how == signal.SIGSTOP
    starts = point in ("start", "loading")
    flags = ["--shard-patience-seconds", "2" if hangs else "60",
             "--shard-start-timeout-seconds",
             "10" if hangs and starts else "120"]
    if point == "start":
        flags += ["--shard-binary", write_program(folder, WRAPPER.format(
            rank=rank, signal=how.name[3:], shard=BIN / "drover-shard"))]
    return start_router(folder, *flags)


def stream_from(router, stack):
    """A client that has had the first of its thousand tokens."""
    address = router.await_line(r" ready .* grpc=(\S+)")
    client = stack.enter_context(subprocess.Popen(
        [str(BIN / "drover"), "generate", "--address", address,
         "--max-new-tokens", "1000", "--min-new-tokens", "1000", "Once"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    client.stdout.read(1)
    return client


class ShardFaultsTest(unittest.TestCase):

    def for_each(self, point):
        """Each rank, dying and hanging: at the same time, since most of it is
        waiting."""
        faults = list(itertools.product((0, 1),
                                        (signal.SIGKILL, signal.SIGSTOP)))
        shared_memory = os.listdir("/dev/shm")
        with concurrent.futures.ThreadPoolExecutor(len(faults)) as pool:
            done = pool.map(lambda fault: self.lose(point, *fault), faults)
            for (rank, how), problem in zip(faults, list(done)):
                with self.subTest(point=point, rank=rank, how=how.name):
                    self.assertIsNone(problem)
        self.assertEqual(os.listdir("/dev/shm"), shared_memory)

    def lose(self, point, rank, how):
        """None, or what is wrong."""
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            router = stack.enter_context(
                start_faulty(folder, point, rank, how))
            client = None
            if point in ("idle", "stop"):
                router.await_line(" ready ")
            elif point in ("step", "drain"):
                client = stream_from(router, stack)
            elif point == "loading":
                router.await_line(f"rank {rank}: loading")
            shards = [] if point == "start" else children(router.pid)
            if point in ("drain", "stop"):
                router.signal(signal.SIGTERM)
            if point == "drain":
                router.await_line(" draining ")
            if point != "start":
                with contextlib.suppress(ProcessLookupError):
                    os.kill(shards[rank], how)
            status = router.wait()
            said = client.communicate(timeout=60)[1] if client else None
            return self.problem(point, rank, how, status, router, shards, said)

    @staticmethod
    def problem(point, rank, how, status, router, shards, said):
        log = router.log()
        if point != "stop" and status != 1:
            return f"exit {status}:\n{log}"
        if said is not None and b"not available" not in said:
            return f"the client heard: {said}"
        if point != "stop" and how == signal.SIGKILL and \
                f"the shard of rank {rank} was killed by signal 9" not in log:
            return f"the rank is not named:\n{log}"
        left = [pid for pid in shards if os.path.exists(f"/proc/{pid}")]
        if left:
            return f"processes {left} are left"
        for port in re.findall(r" (?:grpc|http)=127.0.0.1:(\d+)", log):
            with socket.socket() as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(("127.0.0.1", int(port)))
        return None

    def test_at_start(self):
        self.for_each("start")

    def test_while_it_loads(self):
        self.for_each("loading")

    def test_when_it_is_idle(self):
        self.for_each("idle")

    def test_in_a_step(self):
        self.for_each("step")

    def test_in_a_drain(self):
        self.for_each("drain")

    def test_at_stop(self):
        self.for_each("stop")


class KilledRouterTest(unittest.TestCase):

    def kill(self, router, shards):
        """No shard outlives it."""
        ends = [os.pidfd_open(pid) for pid in shards]
        router.signal(signal.SIGKILL)
        for end in ends:
            with open(end):  # readable once its process has ended
                self.assertEqual(select.select([end], [], [], 60)[0], [end])

    def for_each_stopped_rank(self, begin):
        """None, or either one; begin(router, stack): until it is there."""
        for stopped in (None, 0, 1):
            with self.subTest(stopped=stopped), contextlib.ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                router = stack.enter_context(start_router(folder))
                begin(router, stack)
                shards = children(router.pid)
                self.assertEqual(len(shards), 2)
                if stopped is not None:
                    os.kill(shards[stopped], signal.SIGSTOP)
                self.kill(router, shards)

    def test_before_its_shards_say_a_word(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            shard = write_program(folder, STOPPED_SHARD.format(fifo=fifo))
            with start_router(folder, "--shard-binary", shard) as router:
                # Never without a reader, and with a writer of its own, so
                # without an end.
                numbers = os.open(fifo, os.O_RDWR)
                self.addCleanup(os.close, numbers)
                lines = b""
                while lines.count(b"\n") < 2:
                    ready, _, _ = select.select([numbers], [], [], 60)
                    self.assertTrue(ready, "a shard does not start")
                    lines += os.read(numbers, 64)
                self.kill(router, set(map(int, lines.split())))

    def test_while_they_load(self):
        def begin(router, _):
            for rank in (0, 1):
                router.await_line(f"rank {rank}: loading")

        self.for_each_stopped_rank(begin)

    def test_in_a_step(self):
        self.for_each_stopped_rank(stream_from)


if __name__ == "__main__":
    unittest.main()
